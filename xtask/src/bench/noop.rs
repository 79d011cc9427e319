//! What a build costs that does nothing: from a signed webhook to the recorded success, each time
//! with a new commit, beside a clone of the same commit and `sh -c true`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::http::Client;
use super::server::{Folder, Repository, Server, cli, wait};
use super::{Goal, Row, median, milliseconds};
use crate::command::output;

const ROUNDS: u64 = 30;
const SECRET: &str = "a secret of the benchmark";

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("noop")?;
    let data = folder.path().join("data");
    let repository = Repository::create(folder.path(), "noop", "steps:\n  - \"true\"\n")?;
    let server = Server::start(&data, 2)?;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET)?;
    // Known by the name that the payloads have, fetched from the disk.
    let url = "https://github.com/bench/noop.git";
    let file = secret.to_string_lossy();
    cli(
        &data,
        &[
            "repo",
            "add",
            "noop",
            "--forge",
            "github",
            "--url",
            url,
            "--webhook-secret-file",
            &file,
        ],
    )?;
    let path = repository.path.to_string_lossy();
    cli(&data, &["repo", "set", "noop", "--url", &path])?;
    let mut client = server.client();
    let (mut ours, mut beside) = (Vec::new(), Vec::new());
    // The first round makes the mirror and warms both up; it does not count.
    for round in 0..=ROUNDS {
        let commit = repository.commit(&format!("round {round}"))?;
        let begun = Instant::now();
        let target = folder.path().join(format!("clone-{round}"));
        clone(&repository, &target)?;
        output(crate::command::program("sh", &["-c", "true"]))?;
        let cloned = begun.elapsed();
        std::fs::remove_dir_all(&target)?;
        let built = webhook(&mut client, &commit, round + 1)?;
        if round > 0 {
            ours.push(built);
            beside.push(cloned);
        }
    }
    let (ours, beside) = (median(&mut ours), median(&mut beside));
    let ratio = ours.as_secs_f64() / beside.as_secs_f64();
    let added = ours.saturating_sub(beside);
    Ok(vec![
        Row {
            what: format!("no-op build, webhook to recorded success, median of {ROUNDS}"),
            ours: milliseconds(ours),
            beside: format!("{} git clone --depth 1 && sh -c true", milliseconds(beside)),
            ratio: Some(ratio),
            goal: Goal::AtMost(3.0, "x"),
            value: ratio,
        },
        Row {
            what: "the same, what we add".to_owned(),
            ours: milliseconds(added),
            beside: String::new(),
            ratio: None,
            goal: Goal::AtMost(60.0, " ms"),
            value: added.as_secs_f64() * 1e3,
        },
    ])
}

/// Clones as a person would who has nothing of it yet.
pub(super) fn clone(repository: &Repository, target: &Path) -> Result<()> {
    let url = format!("file://{}", repository.path.display());
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--depth", "1", &url])
        .arg(target);
    output(git).map(drop)
}

/// From sending the webhook to the time at which the server recorded the end.
fn webhook(client: &mut Client, commit: &str, number: u64) -> Result<Duration> {
    let person = json!({"name": "bench", "email": "bench@example.org"});
    let head = json!({
        "id": commit, "message": "bench", "author": person,
        "url": "https://github.com/bench/noop",
    });
    let payload = json!({
        "ref": "refs/heads/main",
        "before": "0000000000000000000000000000000000000000",
        "after": commit,
        "created": false, "deleted": false, "forced": false,
        "repository": {"id": 1, "full_name": "bench/noop", "default_branch": "main"},
        "head_commit": head,
        "commits": [head],
        "pusher": person,
        "sender": {"login": "bench"},
    })
    .to_string();
    let signature = format!("sha256={}", hmac(SECRET.as_bytes(), payload.as_bytes()));
    let headers = [
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", "push"),
        ("X-GitHub-Delivery", commit),
        ("X-Hub-Signature-256", &signature),
    ];
    let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
    client.post("/hooks/github", &headers, payload.as_bytes())?;
    let begun = Instant::now();
    let path = "/api/v1/builds?repo=noop&limit=1";
    // The build appears a little after its webhook was accepted.
    loop {
        let list: Value = serde_json::from_slice(&client.get(path)?)?;
        if list["builds"][0]["number"] == number {
            break;
        }
        if begun.elapsed() > Duration::from_secs(30) {
            bail!("the webhook for {commit} made no build: {list}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let build = wait(client, "noop", number, false)?;
    let finished = build["finished_ms"]
        .as_u64()
        .context("the build has no end")?;
    // It is cut to whole milliseconds.
    let finished = Duration::from_millis(finished) + Duration::from_micros(500);
    Ok(finished.saturating_sub(sent))
}

/// HMAC-SHA256 in hexadecimal digits (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    hex::encode(outer)
}

#[cfg(test)]
mod tests {
    #[test]
    fn signatures_are_hmac_sha256() {
        // RFC 4231, test case 2.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(
            super::hmac(b"Jefe", b"what do ya want for nothing?"),
            expected
        );
    }
}
