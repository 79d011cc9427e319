//! The JSON API, `/api/v1`: the same query functions as the pages. Fields are added, never taken
//! away or given another meaning; times are milliseconds since 1970.

pub(crate) mod builds;
pub(crate) mod deliveries;
pub(crate) mod findings;
pub(crate) mod repos;

/// At most so many rows in one answer.
pub(crate) const MAX_LIMIT: i64 = 200;
/// So many if nothing is said.
pub(crate) const DEFAULT_LIMIT: i64 = 50;

/// What a list's `limit` means.
pub(crate) fn limit(asked: Option<i64>) -> i64 {
    asked.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}
