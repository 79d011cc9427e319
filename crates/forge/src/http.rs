//! The HTTP client that talks to forges.

use std::error::Error;

/// How Windlass introduces itself. GitHub refuses requests without ("User agent required").
pub(crate) const USER_AGENT: &str = concat!("windlass/", env!("CARGO_PKG_VERSION"));

/// There is no client: on Linux, because the system has no CA certificates.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot set up HTTPS: {0} (in a container, install the package ca-certificates or set \
     SSL_CERT_FILE)"
)]
pub struct HttpClientError(String);

/// A client with rustls and ring, the system's certificates and its proxy variables. It follows no
/// redirect: who sends a token decides where it may go. One is enough for the whole process.
///
/// # Errors
///
/// When the system's certificates can't be read.
pub fn http_client() -> Result<reqwest::Client, HttpClientError> {
    // Fails only when another part of the process was first, with the one that it wants.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(USER_AGENT)
        .build()
        .map_err(|error| HttpClientError(chain(&error)))
}

/// An error with its causes, on one line: reqwest's own text is only "error sending request".
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
