//! Executors and checkout: a plan becomes running steps.

pub mod checkout;
pub mod git;
