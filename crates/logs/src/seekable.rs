//! The zstd seekable format.
