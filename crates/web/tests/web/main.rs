//! The server from outside.

mod fixture;
