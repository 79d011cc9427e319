//! What may stand as a URL or a ref in a git command line.
//!
//! git understands far more than people mean: `ext::sh -c ...` runs a command, `-oProxyCommand=`
//! as a host name is an option of ssh, `--upload-pack=` as a URL one of git. Only the forms below
//! pass, everything else is refused before git hears of it.

use windlass_model::Secret;

use super::{CheckoutError, Credential, Source};

/// A URL that was vetted, without anything secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// As git gets it; for a local repository the path.
    pub(super) url: String,
    pub(super) transport: Transport,
}

/// How it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    /// `origin` is scheme, host and port: `https://example.com:8443`.
    Http { origin: String },
    /// ssh or git; the `user@host:port`, for comparing and for messages.
    Other { origin: String },
    /// A path on this machine.
    Local,
}

impl Location {
    /// Vets a source's URL. A user name and password in an http URL become its credential.
    pub(super) fn of(source: &Source) -> Result<(Self, Option<Credential>), CheckoutError> {
        let (location, inside) = Self::parse(&source.url)?;
        let credential = source.credential.clone().or(inside);
        if let Some(c) = &credential {
            // One name or value per line is how helpers speak to git.
            let both = c.username.chars().chain(c.password.expose().chars());
            if both.into_iter().any(char::is_control) {
                return refuse("the credential holds a control character".into());
            }
        }
        Ok((location, credential))
    }

    fn parse(text: &str) -> Result<(Self, Option<Credential>), CheckoutError> {
        if text.is_empty() || text.len() > 2048 {
            return refuse("the URL is empty or longer than 2048 characters".into());
        }
        if text.chars().any(char::is_control) {
            return refuse(format!("the URL {text:?} holds a control character"));
        }
        if text.starts_with('-') {
            return refuse(format!("the URL {text:?} looks like an option"));
        }
        if text.starts_with('/') {
            return Ok((
                Self {
                    url: text.to_owned(),
                    transport: Transport::Local,
                },
                None,
            ));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Self::parse_scheme(&scheme.to_ascii_lowercase(), rest);
        }
        // `user@host:path`, as scp has it. A slash before the colon would make it a path, two
        // colons a remote helper.
        match text.split_once(':') {
            Some((host, path)) if !host.contains('/') && !path.starts_with(':') => {
                check_host(host)?;
                if path.is_empty() || path.starts_with('-') {
                    return refuse(format!(
                        "the path of {text:?} is empty or looks like an option"
                    ));
                }
                let transport = Transport::Other {
                    origin: format!("ssh://{host}"),
                };
                Ok((
                    Self {
                        url: text.to_owned(),
                        transport,
                    },
                    None,
                ))
            }
            Some(_) if text.contains("::") => {
                refuse(format!("{:?} would run a helper program", shown(text)))
            }
            _ => refuse(format!(
                "{:?} is neither a URL nor an absolute path",
                shown(text)
            )),
        }
    }

    fn parse_scheme(scheme: &str, rest: &str) -> Result<(Self, Option<Credential>), CheckoutError> {
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if scheme == "file" {
            if !authority.is_empty() && authority != "localhost" {
                return refuse("a file:// URL names another host".into());
            }
            let path = percent_decode(path)
                .filter(|p| p.starts_with('/') && !p.contains(char::is_control));
            return match path {
                Some(url) => Ok((
                    Self {
                        url,
                        transport: Transport::Local,
                    },
                    None,
                )),
                None => refuse(format!("file://{rest} is not an absolute path")),
            };
        }
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        check_host(host)?;
        if path.len() < 2 {
            return refuse(format!("{scheme}://{host} names no repository"));
        }
        let host = host.to_ascii_lowercase();
        match scheme {
            "http" | "https" => {
                let origin = format!("{scheme}://{host}");
                let url = format!("{origin}{path}");
                let credential = match user {
                    Some(user) => {
                        let (name, password) = user.split_once(':').unwrap_or((user, ""));
                        let decoded = percent_decode(name).zip(percent_decode(password));
                        let Some((username, password)) = decoded else {
                            return refuse("the user name in the URL is not valid".into());
                        };
                        Some(Credential {
                            username,
                            password: Secret::new(password),
                        })
                    }
                    None => None,
                };
                Ok((
                    Self {
                        url,
                        transport: Transport::Http { origin },
                    },
                    credential,
                ))
            }
            "ssh" | "git" => {
                if user.is_some_and(|u| u.contains(':') || u.starts_with('-') || u.is_empty()) {
                    return refuse(format!("the user name in {scheme}://…@{host} is not valid"));
                }
                let at = user.map(|u| format!("{u}@")).unwrap_or_default();
                let origin = format!("{scheme}://{at}{host}");
                let url = format!("{origin}{path}");
                Ok((
                    Self {
                        url,
                        transport: Transport::Other { origin },
                    },
                    None,
                ))
            }
            _ => refuse(format!("{scheme}:// is not a transport that is allowed")),
        }
    }

    /// Whether it is a path on this machine.
    pub(super) fn is_local(&self) -> bool {
        self.transport == Transport::Local
    }

    /// Scheme, host and port, for http only: where a credential may be sent.
    pub(super) fn http_origin(&self) -> Option<&str> {
        match &self.transport {
            Transport::Http { origin } => Some(origin),
            _ => None,
        }
    }

    /// Whether both are the same user on the same server, reached in the same way.
    pub(super) fn same_server(&self, other: &Self) -> bool {
        self.transport == other.transport
    }

    /// The URL of a submodule, as it stands in `.gitmodules` of a repository that lies here.
    pub(super) fn submodule(&self, url: &str) -> Result<Self, CheckoutError> {
        if !(url.starts_with("./") || url.starts_with("../")) {
            let (location, inside) = Self::parse(url)?;
            if location.is_local() {
                return refuse(format!(
                    "the submodule's URL {:?} is a path on this machine; only a relative one may \
                     be, and only where the repository itself is local",
                    shown(url)
                ));
            }
            if inside.is_some() {
                return refuse("a submodule's URL holds a user name or password".into());
            }
            return Ok(location);
        }
        if url.chars().any(char::is_control) {
            return refuse(format!("the URL {url:?} holds a control character"));
        }
        // What comes before the path can't be climbed over.
        let (head, separator, path) = match &self.transport {
            Transport::Local => ("", "/", self.url.trim_start_matches('/')),
            _ => match self.url.split_once("://") {
                Some((_, rest)) => match rest.find('/') {
                    Some(at) => {
                        let start = self.url.len() - rest.len() + at;
                        (&self.url[..start], "/", &self.url[start + 1..])
                    }
                    None => return refuse("the repository's URL has no path".into()),
                },
                None => match self.url.split_once(':') {
                    Some((host, path)) if path.starts_with('/') => (host, ":/", &path[1..]),
                    Some((host, path)) => (host, ":", path),
                    None => return refuse("the repository's URL has no path".into()),
                },
            },
        };
        let mut parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        for part in url.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return refuse(format!(
                            "the submodule's URL {url:?} climbs out of the server's root"
                        ));
                    }
                }
                part => parts.push(part),
            }
        }
        let joined = format!("{head}{separator}{}", parts.join("/"));
        Ok(Self::parse(&joined)?.0)
    }
}

/// Whether `name` may stand as a ref in a command line: git's own rules, and no leading `-`.
pub(super) fn check_ref(name: &str) -> Result<(), CheckoutError> {
    let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad_part = |p: &str| p.is_empty() || p.starts_with('.') || p.ends_with(".lock");
    let bad = name.is_empty()
        || name.len() > 1024
        || name.starts_with(['-', '+'])
        || name.ends_with('.')
        || name == "@"
        || name.contains("..")
        || name.contains("@{")
        || name.chars().any(bad_char)
        || name.split('/').any(bad_part);
    if bad {
        refuse(format!("{name:?} is not a valid ref"))
    } else {
        Ok(())
    }
}

fn check_host(host: &str) -> Result<(), CheckoutError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._~[]:@%+".contains(c) || !c.is_ascii();
    let name = host.rsplit_once('@').map_or(host, |(_, name)| name);
    if name.is_empty() || host.starts_with('-') || name.starts_with('-') || !host.chars().all(legal)
    {
        return refuse(format!("the host name {host:?} is not valid"));
    }
    Ok(())
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// A URL for a message, cut short, and without what may be a password.
fn shown(url: &str) -> String {
    let url: String = url.chars().take(200).collect();
    match url.rsplit_once('@') {
        Some((_, rest)) if url.contains("://") => format!("…@{rest}"),
        _ => url,
    }
}

fn refuse<T>(what: String) -> Result<T, CheckoutError> {
    Err(CheckoutError::Refused { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Location, CheckoutError> {
        Location::parse(url).map(|(l, _)| l)
    }

    #[test]
    fn what_people_write_is_understood() {
        for (url, origin) in [
            ("https://Example.com/a/b.git", "https://example.com"),
            ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080"),
            ("https://[::1]:8443/a", "https://[::1]:8443"),
        ] {
            assert_eq!(parse(url).unwrap().http_origin(), Some(origin));
        }
        for url in [
            "ssh://git@example.com:2222/a/b",
            "git://example.com/a",
            "git@example.com:a/b",
        ] {
            let location = parse(url).unwrap();
            assert_eq!((location.url.as_str(), location.http_origin()), (url, None));
        }
        for (url, path) in [
            ("/srv/a.git", "/srv/a.git"),
            ("file:///srv/a%20b", "/srv/a b"),
        ] {
            let location = parse(url).unwrap();
            assert!(location.is_local() && location.url == path, "{location:?}");
        }
    }

    #[test]
    fn a_password_in_the_url_becomes_the_credential_and_leaves_the_url() {
        let (location, credential) = Location::parse("https://me:p%40ss@example.com/r").unwrap();
        let credential = credential.unwrap();
        assert_eq!(location.url, "https://example.com/r");
        assert_eq!(
            (&*credential.username, credential.password.expose()),
            ("me", "p@ss")
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for url in [
            "",
            "-u",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c touch% /tmp/x",
            "ext::ssh://x/y",
            "fd::17",
            "ftp://example.com/a",
            "relative/path",
            "./x",
            "ssh://-oProxyCommand=touch/x",
            "ssh://git@-oProxyCommand=touch/x",
            "ssh://-oProxyCommand=x@example.com/x",
            "-oProxyCommand=touch:x",
            "git@-oProxyCommand=touch:x",
            "example.com:-x",
            "https://example.com",
            "https:///x",
            "https://exa mple.com/x",
            "https://example.com/x\ny",
            "file://other/x",
            "ssh://me:secret@example.com/x",
            "a/b::c",
        ] {
            let refused = parse(url);
            assert!(
                matches!(refused, Err(CheckoutError::Refused { .. })),
                "{url:?}: {refused:?}"
            );
            assert!(!refused.unwrap_err().to_string().contains("secret"));
        }
    }

    #[test]
    fn relative_submodules_are_found_beside_their_parent() {
        for (parent, url, expected) in [
            ("https://h/a/b.git", "../c.git", "https://h/a/c.git"),
            ("https://h/a/b.git", "../../x/c", "https://h/x/c"),
            ("https://h/a/b", "./c", "https://h/a/b/c"),
            ("git@h:a/b", "../c", "git@h:a/c"),
            ("git@h:/a/b", "../c", "git@h:/a/c"),
            ("ssh://git@h:22/a/b/", "../c", "ssh://git@h:22/a/c"),
            ("/srv/a", "../b", "/srv/b"),
        ] {
            assert_eq!(parse(parent).unwrap().submodule(url).unwrap().url, expected);
        }
        let parent = parse("https://h/a/b").unwrap();
        let up = "../../../x";
        for url in [
            up,
            "/srv/x",
            "file:///srv/x",
            "ext::x",
            "--x",
            "../a\nb",
            "https://u:p@h/x",
        ] {
            let refused = parent.submodule(url);
            assert!(
                matches!(refused, Err(CheckoutError::Refused { .. })),
                "{url}: {refused:?}"
            );
        }
        let local = parse("/srv/a").unwrap();
        assert!(
            local.submodule("/etc/x").is_err(),
            "absolute, though the parent is local"
        );
        assert!(local.submodule("https://h/x").is_ok());
    }

    #[test]
    fn refs_that_are_options_or_patterns_are_refused() {
        for good in [
            "main",
            "refs/heads/main",
            "refs/pull/7/head",
            "feature/a-b_c.d",
            "HEAD",
        ] {
            assert!(check_ref(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-u",
            "--upload-pack=x",
            "a b",
            "a..b",
            "a:b",
            "+a:b",
            "*",
            "a/.b",
            "x.lock",
            "@{u}",
        ] {
            assert!(check_ref(bad).is_err(), "{bad}");
        }
    }
}
