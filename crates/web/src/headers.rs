//! Headers that every response has, and the one that every request must have right: `Host`.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::WebError;
use crate::state::App;

/// Nothing but our own files, nothing inline, no frames around us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

const ALWAYS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Adds the security headers, and forbids caching of what does not say otherwise.
pub(crate) async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

/// Refuses requests for other hosts: otherwise any web page could point its own name at this
/// server's address (DNS rebinding) and read it through a visitor's browser. Names that nobody
/// can point anywhere are good: IP addresses and `localhost`. Forges call hooks by whatever name
/// they were given, and sign, so hooks are exempt.
pub(crate) async fn only_our_host(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path().starts_with("/hooks/") {
        return next.run(request).await;
    }
    match asked_host(request.uri(), request.headers()) {
        // A request without a host (HTTP/1.0) was not made by a browser.
        None => next.run(request).await,
        Some(host) if is_ours(&host, &app.public_url) => next.run(request).await,
        Some(_) => WebError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this server is not reached by this name",
        )
        .hint("use the address that the server was configured with (its public URL), or its IP")
        .into_response(),
    }
}

/// The host that the request names, with its port.
pub(crate) fn asked_host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let named = uri.authority().map(|a| a.as_str().to_owned());
    named.or_else(|| {
        let host = headers.get(header::HOST)?;
        // What is not text is nobody's name, and must not count as absent.
        Some(host.to_str().unwrap_or("?").to_owned())
    })
}

fn is_ours(host: &str, public_url: &str) -> bool {
    let name = without_port(host);
    let public = public_url
        .split_once("://")
        .map_or(public_url, |(_, rest)| rest);
    let public = public.split('/').next().unwrap_or_default();
    name.eq_ignore_ascii_case("localhost")
        || name.eq_ignore_ascii_case(without_port(public))
        || name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_localhost_and_addresses_are_ours_and_nothing_else() {
        let public = "https://ci.example.org:8443";
        for good in [
            "ci.example.org",
            "CI.Example.org:8443",
            "localhost",
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "192.168.1.4",
        ] {
            assert!(is_ours(good, public), "{good}");
        }
        for bad in [
            "evil.example",
            "ci.example.org.evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "?",
            "evil.example:80",
        ] {
            assert!(!is_ours(bad, public), "{bad}");
        }
    }
}
