//! Checkout against real repositories, a real git server over HTTP, and hostile repositories.
//!
//! The laboratory (repositories made on the spot, the server) is in `checkout/lab.rs` and
//! `checkout/bridge.rs`. Needs git with `git http-backend`, and git-lfs for one test; the test for
//! a full disk and the one for a foreign owner need root.

// All of this is test code, also the functions that are no tests themselves.
#![allow(clippy::unwrap_used)]

#[path = "checkout/basics.rs"]
mod basics;
#[path = "checkout/bridge.rs"]
mod bridge;
#[path = "checkout/hostile.rs"]
mod hostile;
#[path = "checkout/lab.rs"]
mod lab;
#[path = "checkout/robust.rs"]
mod robust;
#[path = "checkout/servers.rs"]
mod servers;
