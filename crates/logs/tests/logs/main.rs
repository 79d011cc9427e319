//! Tests over whole attempts: journal -> files -> reader -> sealed -> HTML.

mod crashes;
mod journals;
mod recording;
mod render_attacks;
mod sealing;
