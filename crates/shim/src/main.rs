//! The program beside a job.

fn main() {}
