//! The product's own schema: an ordered list of files, embedded in the program.

use windlass_migrate::Migration;

/// Every migration ever released, in order. Append only; a released file never changes.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "first",
        sql: include_str!("../migrations/0001_first.sql"),
    },
    Migration {
        version: 2,
        name: "jobs",
        sql: include_str!("../migrations/0002_jobs.sql"),
    },
    Migration {
        version: 3,
        name: "results",
        sql: include_str!("../migrations/0003_results.sql"),
    },
    Migration {
        version: 4,
        name: "schedules",
        sql: include_str!("../migrations/0004_schedules.sql"),
    },
    Migration {
        version: 5,
        name: "retention",
        sql: include_str!("../migrations/0005_retention.sql"),
    },
    Migration {
        version: 6,
        name: "archive",
        sql: include_str!("../migrations/0006_archive.sql"),
    },
];
