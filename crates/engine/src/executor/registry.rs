//! Who we are to the registries that images come from.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use windlass_model::Secret;

/// The registry of names without one.
pub const DOCKER_HUB: &str = "docker.io";

/// Logins by the registry's host (`ghcr.io`, `registry.example:5000`). No step
/// sees them.
#[derive(Debug, Clone, Default)]
pub struct Registries(BTreeMap<String, (String, Secret)>);

impl Registries {
    /// A user's name and password (or token) at a registry.
    pub fn insert(&mut self, host: &str, user: String, password: Secret) {
        self.0.insert(host.to_owned(), (user, password));
    }

    /// The logins of a person who uses Docker's own client (`docker login`), as its `config.json` has them.
    /// Those that it keeps in a program of the system (`credsStore`) are not read.
    pub fn of_docker_client(config: &str) -> Self {
        let mut all = Self::default();
        let config: serde_json::Value = serde_json::from_str(config).unwrap_or_default();
        let auths = config["auths"].as_object();
        for (server, entry) in auths.into_iter().flatten() {
            let login = entry["auth"].as_str().and_then(|text| {
                let plain = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
                let (user, password) = plain.split_once(':')?;
                Some((user.to_owned(), Secret::new(password)))
            });
            let host = server
                .trim_start_matches("https://")
                .trim_start_matches("http://");
            let host = match host.split('/').next().unwrap_or_default() {
                "index.docker.io" => DOCKER_HUB,
                host => host,
            };
            if let Some((user, password)) = login {
                all.insert(host, user, password);
            }
        }
        all
    }

    /// Hosts, names and passwords.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str, &Secret)> {
        let all = self.0.iter();
        all.map(|(host, (user, password))| (host.as_str(), user.as_str(), password))
    }

    /// For pulling this image, if there is a login for where it is.
    pub(super) fn login(&self, image: &str) -> Option<DockerCredentials> {
        let host = host_of(image);
        let (user, password) = self.0.get(host)?;
        let server = match host {
            // Docker's own name for it in credentials.
            DOCKER_HUB => "https://index.docker.io/v1/",
            host => host,
        };
        Some(DockerCredentials {
            username: Some(user.clone()),
            password: Some(password.expose().to_owned()),
            serveraddress: Some(server.to_owned()),
            ..DockerCredentials::default()
        })
    }
}

/// Whether a name or password reaches the daemon as it is. bollard 0.21 writes credentials in the common alphabet
/// of base64, and Docker reads them in the one for URLs (RFC 4648, 5): they differ in two letters, which come
/// from `>`, `?` and `~`, and from what is not ASCII.
pub fn is_sendable(text: &str) -> bool {
    text.is_ascii() && !text.contains(['>', '?', '~', '\x7f'])
}

/// The host of the registry that an image's name leads to: the part before the first slash, if that can't be
/// a user's name at Docker Hub (<https://github.com/distribution/reference>, `splitDockerDomain`).
pub fn host_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => DOCKER_HUB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_s_registry_is_found_as_docker_finds_it() {
        for (image, host) in [
            ("alpine", DOCKER_HUB),
            ("library/alpine:3", DOCKER_HUB),
            ("ghcr.io/a/b:1", "ghcr.io"),
            ("r.example:5000/a@sha256:0", "r.example:5000"),
            ("localhost/a", "localhost"),
        ] {
            assert_eq!(host_of(image), host, "{image}");
        }
        let mut all = Registries::default();
        all.insert("ghcr.io", "ada".to_owned(), Secret::new("x"));
        assert!(all.login("alpine").is_none());
        assert!(all.login("ghcr.io.evil.example/a").is_none());
        let login = all.login("ghcr.io/a/b").unwrap();
        assert_eq!(login.serveraddress.as_deref(), Some("ghcr.io"));
    }

    #[test]
    fn what_is_sendable_is_the_same_in_both_alphabets() {
        let all: String = (' '..='}')
            .filter(|&c| is_sendable(&c.to_string()))
            .collect();
        for start in 0..3 {
            let encoded = STANDARD.encode(&all[start..]);
            assert!(!encoded.contains(['+', '/']), "{encoded}");
        }
        assert!(all.contains("abc") && !is_sendable("a?") && !is_sendable("ü"));
    }

    #[test]
    fn a_person_s_own_logins_are_read() {
        let config = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YWRhOng6eQ=="},
            "r.example:5000": {"auth": "YWRhOng="}, "kept.elsewhere": {}}}"#;
        let all = Registries::of_docker_client(config);
        let hub = all.login("alpine").unwrap();
        assert_eq!(hub.password.as_deref(), Some("x:y"));
        assert!(all.login("r.example:5000/a").is_some());
        assert!(all.login("kept.elsewhere/a").is_none());
        assert!(
            Registries::of_docker_client("no JSON")
                .login("alpine")
                .is_none()
        );
    }
}
