//! The server from outside: what it answers, to whom, and what it never shows.

#![expect(clippy::unwrap_used, reason = "tests may")]

mod access;
mod artifacts;
mod ask;
mod contrast;
mod findings;
mod fixture;
mod followers;
mod hooks;
mod html;
mod log_find;
mod logs;
mod pages;
mod search;
mod services;
