//! What git says when something is wrong, and what it means.
//!
//! Every call has `LC_ALL=C`, so the sentences are English and can be known by their words.

/// What the classes of git's complaints look like. The first line of the table that fits wins, so
/// causes stand before their consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    DiskFull,
    DubiousOwnership,
    HostKey,
    Certificate,
    HostUnknown,
    Timeout,
    Refused,
    Authentication,
    NotFound,
    Connection,
    NoSuchRef,
    NoSuchObject,
    NoShallow,
    Unsafe,
    Damaged,
}

const COMPLAINTS: &[(Complaint, &[&str])] = &[
    (
        Complaint::DiskFull,
        &["No space left on device", "Disk quota exceeded"],
    ),
    (Complaint::DubiousOwnership, &["detected dubious ownership"]),
    (
        Complaint::HostKey,
        &[
            "Host key verification failed",
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
        ],
    ),
    (
        Complaint::Certificate,
        &[
            "SSL certificate problem",
            "certificate verification failed",
            "SSL: no alternative certificate subject",
            "SSL: certificate subject name",
            "error setting certificate",
            "certificate has expired",
        ],
    ),
    (
        Complaint::HostUnknown,
        &[
            "Could not resolve host",
            "Name or service not known",
            "Temporary failure in name resolution",
            "nodename nor servname provided",
            "unable to look up",
        ],
    ),
    (
        Complaint::Timeout,
        &[
            "Connection timed out",
            "Operation timed out",
            "Timeout was reached",
            "Operation too slow",
            "Resolving timed out",
            "Connection timeout",
        ],
    ),
    (
        Complaint::Authentication,
        &[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "unable to get password",
            "Permission denied (",
            "Too many authentication failures",
            "The requested URL returned error: 401",
            "The requested URL returned error: 403",
        ],
    ),
    (
        Complaint::NoShallow,
        &[
            "dumb http transport does not support shallow",
            "Server does not support shallow",
            "does not support --depth",
        ],
    ),
    (
        Complaint::NoSuchObject,
        &[
            "not our ref",
            "unadvertised object",
            "no such remote ref",
            "upload-pack: not our",
            "remote did not send all necessary objects for requested",
        ],
    ),
    (
        Complaint::NoSuchRef,
        &["couldn't find remote ref", "Couldn't find remote ref"],
    ),
    (
        Complaint::NotFound,
        &[
            "Repository not found",
            "' not found",
            "does not appear to be a git repository",
            "repository not exported",
            "The requested URL returned error: 404",
            "The requested URL returned error: 410",
            "could not be found or you don't have permission",
            "' does not exist",
        ],
    ),
    (
        Complaint::Connection,
        &[
            "Connection refused",
            "Couldn't connect to server",
            "Could not connect to server",
            "Failed to connect to",
            "No route to host",
            "Network is unreachable",
            "Connection reset by",
            "Connection closed by",
            "unable to connect to",
        ],
    ),
    (
        Complaint::Refused,
        &[
            "' not allowed",
            "is not allowed",
            "strange hostname",
            "strange pathname",
        ],
    ),
    (
        Complaint::Unsafe,
        &[
            "fsck error",
            "invalid path '",
            "Invalid path '",
            "File name too long",
            "is beyond a symbolic link",
            ": hasDotgit",
        ],
    ),
    (
        Complaint::Damaged,
        &[
            "not a git repository",
            "is corrupt",
            "corrupt loose object",
            "loose object",
            "bad object",
            "bad tree object",
            "failed to unpack tree object",
            "unable to read tree",
            "unable to read sha1 file",
            "failed to read object",
            "packfile /",
            "far too short to be a packfile",
            "is too small",
            "index not opened",
            "inflate: data stream error",
            "did not send all necessary objects",
            "bad config",
            "bad shallow line",
            "unexpected line in",
            "object file",
            "unknown error in object",
            "repository format version",
            "missing blob",
        ],
    ),
];

/// Finds the class and the line that says it. What the server's people say (`remote: ...`) is for
/// people only: a hostile server must not steer us by it.
pub(super) fn complaint(stderr: &str) -> Option<(Complaint, String)> {
    let lines = || stderr.lines().filter(|l| !l.starts_with("remote: "));
    COMPLAINTS.iter().find_map(|(class, patterns)| {
        lines()
            .find(|line| patterns.iter().any(|p| line.contains(p)))
            .map(|line| (*class, shorten(line)))
    })
}

pub(super) fn shorten(line: &str) -> String {
    let line = line.trim();
    let line = line
        .strip_prefix("fatal: ")
        .or(line.strip_prefix("error: "))
        .unwrap_or(line);
    line.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real sentences: of git 2.39 and 2.47, OpenSSH 9.2, GitHub, GitLab, Gitea.
    #[test]
    fn sentences_are_understood() {
        use Complaint as C;
        for (stderr, expected) in [
            (
                "fatal: unable to access 'https://nope.invalid/a/': Could not resolve host: nope.invalid",
                C::HostUnknown,
            ),
            (
                "ssh: Could not resolve hostname nope.invalid: Name or service not known\nfatal: Could not read from remote repository.",
                C::HostUnknown,
            ),
            (
                "fatal: unable to access 'http://127.0.0.1:1/a/': Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
                C::Connection,
            ),
            (
                "ssh: connect to host 127.0.0.1 port 1: Connection refused\nfatal: Could not read from remote repository.",
                C::Connection,
            ),
            (
                "ssh: connect to host 10.255.255.1 port 22: Connection timed out\nfatal: Could not read from remote repository.",
                C::Timeout,
            ),
            (
                "No ED25519 host key is known for example.com and you have requested strict checking.\nHost key verification failed.\nfatal: Could not read from remote repository.",
                C::HostKey,
            ),
            (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nIT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!",
                C::HostKey,
            ),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                C::Authentication,
            ),
            (
                "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
                C::Authentication,
            ),
            (
                "remote: Invalid username or token.\nfatal: Authentication failed for 'https://github.com/a/b/'",
                C::Authentication,
            ),
            (
                "fatal: unable to access 'https://h/a/': The requested URL returned error: 403",
                C::Authentication,
            ),
            (
                "remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found",
                C::NotFound,
            ),
            (
                "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
                C::NotFound,
            ),
            (
                "fatal: '/srv/x' does not appear to be a git repository",
                C::NotFound,
            ),
            (
                "fatal: remote error: access denied or repository not exported: /x",
                C::NotFound,
            ),
            (
                "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
                C::Certificate,
            ),
            (
                "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none CRLfile: none",
                C::Certificate,
            ),
            (
                "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output",
                C::DiskFull,
            ),
            (
                "fatal: detected dubious ownership in repository at '/srv/a.git'",
                C::DubiousOwnership,
            ),
            ("fatal: unable to get password from user", C::Authentication),
            ("fatal: couldn't find remote ref refs/heads/x", C::NoSuchRef),
            (
                "fatal: remote error: upload-pack: not our ref 1234567890123456789012345678901234567890",
                C::NoSuchObject,
            ),
            (
                "error: Server does not allow request for unadvertised object 1234",
                C::NoSuchObject,
            ),
            ("fatal: transport 'ext' not allowed", C::Refused),
            (
                "error: object 1234: hasDotgit: contains '.git'\nfatal: fsck error in packed object",
                C::Unsafe,
            ),
            ("error: invalid path '.git/config'", C::Unsafe),
            (
                "error: inflate: data stream error (incorrect header check)",
                C::Damaged,
            ),
            (
                "fatal: packed object 12 (stored in /x/y.pack) is corrupt",
                C::Damaged,
            ),
            (
                "fatal: dumb http transport does not support shallow capabilities",
                C::NoShallow,
            ),
        ] {
            assert_eq!(complaint(stderr).map(|c| c.0), Some(expected), "{stderr}");
        }
        assert_eq!(complaint("fatal: something new"), None);
    }

    #[test]
    fn a_broken_conversation_is_not_a_broken_mirror() {
        for stderr in [
            "fatal: expected 'packfile'",
            "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output",
            "fatal: Could not read from remote repository.",
            "fatal: the remote end hung up unexpectedly",
        ] {
            assert_eq!(complaint(stderr), None, "{stderr}");
        }
    }

    #[test]
    fn a_server_cannot_steer_us_by_what_it_says() {
        assert_eq!(complaint("remote: fatal: the packfile is corrupt"), None);
    }
}
