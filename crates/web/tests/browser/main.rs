//! The log page in a real Chromium: scrolling, searching, pointing at lines, following, folding, and
//! all of it with the keyboard alone.
//!
//! `WINDLASS_SCREENSHOTS=docs/screenshots cargo nextest run -p windlass-web --test browser` writes
//! the pictures anew; `WINDLASS_TEST_LINES=10000000` makes the long log ten times as long.

// clippy.toml allows it in test functions only, not in what they call.
#![allow(clippy::unwrap_used)]

mod access;
mod attacks;
mod chromium;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../web/fixture.rs"]
mod fixture;
mod looks;
mod viewer;
