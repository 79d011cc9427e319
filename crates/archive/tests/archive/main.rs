//! Copies of logs in a cluster and in object storage: that they come back byte for byte, and what
//! happens when the other side is away, slow, full, or lies.
//!
//! The cluster is the fake of `windlass_archive::testing`, or, with `WINDLASS_TEST_ELASTICSEARCH_URL`
//! set, a real one too. The object storage is moto, a server of its own.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails here")]

mod blocks;
mod cluster;
mod description;
mod faults;
mod lab;
mod moto;
mod object_storage;
mod official_client;
mod search;
