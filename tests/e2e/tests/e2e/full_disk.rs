//! The disk of the data folder is full: nothing is acknowledged that is not stored, nothing that
//! was printed is lost, and all goes on when there is space again.

use nix::mount::{MsFlags, mount, umount};
use windlass_forge::signature::sign_sha256;
use windlass_model::Secret;

use crate::lab::Lab;

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let lab = Lab::new();
    let data = lab.data();
    std::fs::create_dir(&data).unwrap();
    let size = Some("size=24m");
    mount(Some("tmpfs"), &data, Some("tmpfs"), MsFlags::empty(), size)
        .expect("this test mounts a small tmpfs: run it as root");
    let unmount = Unmount(data.clone());

    lab.hooked("r", "steps: ['seq 1 300000; echo done']\n");
    let secret = "a secret of some length";
    std::fs::write(lab.path("secret"), secret).unwrap();
    lab.ok(&[
        "repo",
        "add",
        "app",
        "--forge",
        "github",
        "--url",
        "https://github.com/acme/app.git",
        "--webhook-secret-file",
        "secret",
    ]);
    let server = lab.serve(&[]);
    // Leave room for the database and the start, not for the output.
    let ballast = data.join("ballast");
    let fill = |leave: u64| {
        let free = nix::sys::statvfs::statvfs(&data).unwrap();
        let free = free.blocks_available() as u64 * free.fragment_size() as u64;
        std::fs::write(&ballast, vec![0; (free.saturating_sub(leave)) as usize]).unwrap();
    };
    fill(3 << 20);
    lab.push("r", &["HEAD:main"]);
    lab.wait("the disk is full", || {
        let free = nix::sys::statvfs::statvfs(&data).unwrap();
        free.blocks_available() == 0
    });

    // A large delivery does not fit: it must not be acknowledged.
    let body = format!("{{\"zen\": \"{}\"}}", "x".repeat(2 << 20));
    let answer = lab
        .http
        .post(format!("{}/hooks/github", server.url))
        .header("x-github-event", "ping")
        .header("x-github-delivery", "full-1")
        .header(
            "x-hub-signature-256",
            sign_sha256(&Secret::new(secret), body.as_bytes()),
        )
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_server_error(), "{}", answer.status());

    std::fs::remove_file(&ballast).unwrap();
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    let expected: String = (1..=300_000).map(|n| format!("{n}\n")).collect();
    let log = lab.text(&server, "/repos/r/builds/1/steps/1/log").await;
    assert!(log == format!("{expected}done\n"), "{} bytes", log.len());
    drop(server);
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        umount(&self.0).ok();
    }
}
