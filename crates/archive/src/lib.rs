//! Copies of sealed logs outside of this machine: in Elasticsearch or OpenSearch, where they can be
//! searched, and in object storage. Either is enough to get every log back byte for byte.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | how a log is cut into documents, and joined again | [`block`] |
//! | Elasticsearch and OpenSearch | [`elasticsearch`] |
//! | object storage with the S3 API | [`s3`] |
//! | the HTTP client, pauses between tries | [`http`] |
//! | what names a log there | [`name`] |
//! | what can go wrong, and whether it is worth another try | [`error`] |
//! | an Elasticsearch for tests (feature `testing`) | `testing.rs` |
//!
//! No database: the caller keeps what is to be copied, tries again, and remembers what is where.
//! Logs are masked before they are stored anywhere, so what is copied holds no secret that was
//! known.

pub mod block;
pub mod elasticsearch;
pub mod error;
pub mod http;
pub mod name;
pub mod s3;
#[cfg(feature = "testing")]
pub mod testing;

pub use elasticsearch::{Auth, Elasticsearch, ElasticsearchConfig};
pub use error::{ArchiveError, Result};
pub use name::{LogName, Selector, Written};
pub use s3::{S3, S3Config};
