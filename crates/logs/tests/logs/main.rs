//! Tests over whole attempts: journal -> files -> reader -> sealed -> HTML.

// clippy.toml allows it in test functions only, not in what they call.
#![allow(clippy::unwrap_used)]

mod background;
mod corpus;
mod crashes;
mod findings;
mod html;
mod journals;
mod recording;
mod render_attacks;
mod sealing;
mod searching;
mod terminal;
