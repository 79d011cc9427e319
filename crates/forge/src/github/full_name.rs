//! A repository's `owner/name`, from GitHub's payloads and from clone URLs, and the address of the
//! API that belongs to a clone URL.

use reqwest::Url;

/// `owner/name` from a clone URL: `https://host/owner/name.git`, `ssh://git@host:22/owner/name`,
/// `git@host:owner/name.git`. None for a path on a disk and for anything that isn't exactly two
/// segments long, such as GitLab's groups within groups.
pub fn full_name_from_url(url: &str) -> Option<String> {
    let (_, path) = host_and_path(url)?;
    let path = path.trim_matches('/');
    let name = path.strip_suffix(".git").unwrap_or(path);
    parts(name).map(|_| name.to_owned())
}

/// The base URL of the REST API for a clone URL: `https://api.github.com`,
/// `https://api.TENANT.ghe.com` for GitHub Enterprise Cloud with data residency, and
/// `https://HOST/api/v3` for an Enterprise Server (REST reference, "Getting started"). None where
/// the clone URL names no host. Only an `http://` URL leads to an `http://` API, with its port;
/// the port of `ssh://` has nothing to do with the API's.
pub fn api_base_from_url(url: &str) -> Option<String> {
    let (origin, _) = host_and_path(url)?;
    let host = origin.host.as_str();
    Some(match host {
        "github.com" | "www.github.com" | "ssh.github.com" => "https://api.github.com".to_owned(),
        _ if host.ends_with(".ghe.com") => format!("https://api.{host}"),
        _ => format!("{}://{host}{}/api/v3", origin.scheme, origin.port),
    })
}

/// The two halves of `owner/name`, if both can be GitHub's: letters, digits, `.`, `_` and `-`.
pub(super) fn parts(full_name: &str) -> Option<(&str, &str)> {
    let legal = |part: &str| {
        let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        // 39 and 100 on GitHub; Gitea has other limits.
        !matches!(part, "" | "." | "..") && part.len() <= 100 && part.bytes().all(alphabet)
    };
    let (owner, name) = full_name.split_once('/')?;
    (legal(owner) && legal(name)).then_some((owner, name))
}

/// Where the web side of a git host is.
struct Origin {
    scheme: &'static str,
    host: String,
    /// `:8443`, or empty.
    port: String,
}

fn host_and_path(url: &str) -> Option<(Origin, String)> {
    let url = url.trim();
    if url.contains("://") {
        let url = Url::parse(url).ok()?;
        let host = url.host_str()?.to_ascii_lowercase();
        let port = || {
            url.port()
                .map_or_else(String::new, |port| format!(":{port}"))
        };
        let (scheme, port) = match url.scheme() {
            "https" => ("https", port()),
            "http" => ("http", port()),
            "ssh" | "git" | "git+ssh" => ("https", String::new()),
            _ => return None,
        };
        let origin = Origin { scheme, host, port };
        return Some((origin, url.path().to_owned()));
    }
    // git's short form, `[user@]host:path` (git-clone(1), "GIT URLS"): a colon before any slash.
    let (host, path) = url.split_once(':')?;
    let host = host.rsplit('@').next().unwrap_or_default();
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    // One letter is a Windows drive.
    if host.len() < 2 || !host.bytes().all(legal) {
        return None;
    }
    let origin = Origin {
        scheme: "https",
        host: host.to_ascii_lowercase(),
        port: String::new(),
    };
    Some((origin, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_clone_url_names_its_repository_and_its_api() {
        let cloud = "https://api.github.com";
        let server = "https://git.example.com/api/v3";
        for (url, api) in [
            ("https://github.com/octo/Hello-World.git", cloud),
            ("https://github.com/octo/Hello-World", cloud),
            ("https://github.com/octo/Hello-World/", cloud),
            ("https://user:token@github.com/octo/Hello-World.git", cloud),
            ("HTTPS://GitHub.com/octo/Hello-World.git", cloud),
            ("git@github.com:octo/Hello-World.git", cloud),
            ("github.com:octo/Hello-World", cloud),
            ("git@github.com:/octo/Hello-World.git", cloud),
            ("ssh://git@github.com/octo/Hello-World.git", cloud),
            ("ssh://git@ssh.github.com:443/octo/Hello-World.git", cloud),
            ("git://github.com/octo/Hello-World.git", cloud),
            ("https://git.example.com/octo/Hello-World.git", server),
            ("git@git.example.com:octo/Hello-World.git", server),
            (
                "ssh://git@git.example.com:2222/octo/Hello-World.git",
                server,
            ),
            (
                "https://git.example.com:8443/octo/Hello-World",
                "https://git.example.com:8443/api/v3",
            ),
            (
                "http://localhost:3000/octo/Hello-World",
                "http://localhost:3000/api/v3",
            ),
            (
                "https://acme.ghe.com/octo/Hello-World.git",
                "https://api.acme.ghe.com",
            ),
        ] {
            let name = full_name_from_url(url);
            assert_eq!(name.as_deref(), Some("octo/Hello-World"), "{url}");
            assert_eq!(api_base_from_url(url).as_deref(), Some(api), "{url}");
        }
    }

    #[test]
    fn what_names_no_repository_on_a_forge_gives_none() {
        for url in [
            "",
            "/srv/git/demo.git",
            "./demo",
            "file:///srv/git/demo.git",
            "C:\\git\\demo",
            "https://github.com/octo",
            "https://github.com/",
            "https://gitlab.com/a/b/c.git",
            "git@github.com:demo.git",
            "https://github.com/octo/..",
            "https://github.com/o/r%2f",
            "https://github.com/o/.git",
            "ext::sh -c id",
            "https:///o/r",
            "a/b:c/d",
        ] {
            assert_eq!(full_name_from_url(url), None, "{url:?}");
        }
        assert_eq!(api_base_from_url("/srv/git/demo.git"), None);
    }
}
