//! Killed, corrupted, out of space: what is left must never stop the next build.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use windlass_engine::checkout::{CheckoutError, Mirror};
use windlass_engine::git::Git;
use windlass_model::Revision;

use crate::bridge::{Bridge, Manner};
use crate::lab::{Lab, Repo, assert_error, depth, noise, read, source};

/// A commit that is large enough to be stopped in the middle.
fn large(repo: &Repo) -> Revision {
    repo.commit(&[("large", &noise()), ("f", "x")])
}

/// Waits until a fetch into the mirror has a pack half written.
async fn half_a_pack(mirror: &Mirror) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        let listing = std::fs::read_dir(mirror.path().join("objects/pack"));
        let half = |e: std::fs::DirEntry| e.file_name().to_string_lossy().starts_with("tmp_pack");
        if listing.is_ok_and(|l| l.flatten().any(half)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no pack began within 10 s");
}

/// Processes whose command line names `what`.
fn processes(what: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|p| {
            let line = std::fs::read(p.path().join("cmdline")).unwrap_or_default();
            crate::lab::contains(&line, what)
        })
        .count()
}

/// Every kind of leftover that a git killed at a bad moment may leave.
fn litter(mirror: &Path) {
    for file in [
        "shallow.lock",
        "packed-refs.lock",
        "HEAD.lock",
        "config.lock",
        "objects/pack/tmp_pack_x",
        "objects/pack/pack-0.keep",
        "objects/info/commit-graph.lock",
        "refs/windlass/x.lock",
    ] {
        std::fs::create_dir_all(mirror.join(file).parent().unwrap()).unwrap();
        std::fs::write(mirror.join(file), "").unwrap();
    }
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_no_process_and_no_lock() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = large(&repo);
    let bridge = Bridge::start(&lab.path("srv"), Manner::default());
    bridge.stall(true);
    let source = source(&format!("{}/a.git", bridge.url));
    let plan = depth(1);
    let mirror = lab.mirror();
    tokio::select! {
        result = lab.ensure(&source, &at, &plan) => panic!("it ended: {result:?}"),
        () = half_a_pack(&mirror) => {}
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(processes(&source.url), 0, "git lives on");
    litter(lab.mirror().path());
    bridge.stall(false);
    let ws = lab.checkout(&source, &at, &plan, "ws").await.unwrap();
    assert_eq!(read(ws.join("f")), "x");
    assert!(!lab.mirror().path().join("shallow.lock").exists());
}

/// Not a test of its own: the server that the next one kills.
#[tokio::test]
#[ignore = "started by the next test"]
async fn a_server_that_will_be_killed() {
    let Ok(root) = std::env::var("LAB_MIRRORS") else {
        return;
    };
    let mirror = Mirror::open(Path::new(&root), "demo").unwrap();
    let source = source(&std::env::var("LAB_URL").unwrap());
    let at = std::env::var("LAB_REVISION").unwrap().parse().unwrap();
    let git = Git::find().unwrap();
    let _ = mirror.ensure(&git, &source, &at, &depth(1), &|_| ()).await;
}

#[tokio::test]
async fn after_kill_9_of_the_server_the_next_one_goes_on() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = large(&repo);
    let bridge = Bridge::start(&lab.path("srv"), Manner::default());
    bridge.stall(true);
    let source = source(&format!("{}/a.git", bridge.url));
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "robust::a_server_that_will_be_killed",
        ])
        .env("LAB_MIRRORS", lab.path("mirrors"))
        .env("LAB_URL", &source.url)
        .env("LAB_REVISION", at.as_str())
        .process_group(0)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    half_a_pack(&lab.mirror()).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(
        processes(&source.url) > 0,
        "the orphan is what this test is about"
    );
    litter(lab.mirror().path());
    // The orphan's server stays silent, so it would wait for a long time. The next fetch is
    // answered by another one.
    let other = Bridge::start(&lab.path("srv"), Manner::default());
    let begun = Instant::now();
    let elsewhere = crate::lab::source(&format!("{}/a.git", other.url));
    let ws = lab
        .checkout(&elsewhere, &at, &depth(1), "ws")
        .await
        .unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(read(ws.join("f")), "x");
    assert_eq!(processes(&source.url), 0, "the orphan lives on");
}

#[tokio::test]
async fn a_damaged_mirror_heals() {
    type Damage = fn(&Path);
    fn packs(mirror: &Path, change: impl Fn(&Path)) {
        for entry in std::fs::read_dir(mirror.join("objects/pack"))
            .unwrap()
            .flatten()
        {
            let path = entry.path();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&path, mode).unwrap();
            change(&path);
        }
    }
    let damages: &[(&str, Damage)] = &[
        ("packs cut in half", |m| {
            packs(m, |p| {
                let file = std::fs::File::options().write(true).open(p).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            });
        }),
        ("packs of zeros", |m| {
            packs(m, |p| {
                let length = std::fs::metadata(p).unwrap().len() as usize;
                std::fs::write(p, vec![0; length]).unwrap();
            });
        }),
        ("packs gone", |m| {
            packs(m, |p| std::fs::remove_file(p).unwrap());
        }),
        ("objects gone", |m| {
            std::fs::remove_dir_all(m.join("objects")).unwrap();
        }),
        ("no HEAD", |m| std::fs::remove_file(m.join("HEAD")).unwrap()),
        ("garbage in HEAD", |m| {
            std::fs::write(m.join("HEAD"), "\0\0\0").unwrap();
        }),
        ("garbage in config", |m| {
            std::fs::write(m.join("config"), "[[[").unwrap();
        }),
        ("garbage in shallow", |m| {
            std::fs::write(m.join("shallow"), "nonsense\n").unwrap();
        }),
        ("garbage in a ref", |m| {
            for entry in std::fs::read_dir(m.join("refs/windlass"))
                .unwrap()
                .flatten()
            {
                std::fs::write(entry.path(), "nonsense\n").unwrap();
            }
        }),
    ];
    for (what, damage) in damages {
        for wanted in ["same", "newer"] {
            let lab = Lab::new();
            let repo = lab.repo("a.git");
            repo.commit(&[("f", "0")]);
            let old = repo.commit(&[("f", "1")]);
            let mut at = old.clone();
            lab.ensure(&repo.source(), &at, &depth(1)).await.unwrap();
            damage(lab.mirror().path());
            if wanted == "newer" {
                at = repo.commit(&[("f", "2")]);
            }
            let ws = lab.checkout(&repo.source(), &at, &depth(1), "ws").await;
            let ws = ws.unwrap_or_else(|e| panic!("{what}, {wanted}: {e:?}"));
            assert_eq!(
                read(ws.join("f")),
                if wanted == "newer" { "2" } else { "1" }
            );
            // What was damaged and not needed is healed when it is.
            let ws = lab.checkout(&repo.source(), &old, &depth(1), "old").await;
            let ws = ws.unwrap_or_else(|e| panic!("{what}, {wanted}, then the old one: {e:?}"));
            assert_eq!(read(ws.join("f")), "1");
            lab.ask(&ws, &["fsck"]);
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_called_so_and_leaves_no_rubbish() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = large(&repo);
    let small = repo.commit_on("small", &[("f", "100644", b"x")], &[]);
    let disk = lab.path("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=300k", "tmpfs"])
        .arg(&disk)
        .status()
        .unwrap();
    assert!(
        mount.success(),
        "this test mounts a small disk: run it as root"
    );
    let result = async {
        let mirror = Mirror::open(&disk, "demo").unwrap();
        let large = mirror
            .ensure(&lab.git, &repo.source(), &at, &depth(1), &|_| ())
            .await;
        let small = mirror
            .ensure(&lab.git, &repo.source(), &small, &depth(1), &|_| ())
            .await;
        // And a disk that has room for the mirror, but not for the files.
        let mirror = lab.mirror();
        let workspace = disk.join("ws");
        let (git, source, plan) = (&lab.git, repo.source(), depth(1));
        let files = windlass_engine::checkout::checkout(
            git,
            &mirror,
            &source,
            &at,
            &plan,
            &workspace,
            &|_| (),
        )
        .await;
        (large, small, files, workspace.exists())
    }
    .await;
    assert!(
        Command::new("umount")
            .arg(&disk)
            .status()
            .unwrap()
            .success()
    );
    assert_error!(result.0, CheckoutError::DiskFull { .. });
    result
        .1
        .expect("the rubbish of the first is in the way of the second");
    assert_error!(result.2, CheckoutError::DiskFull { .. });
    assert!(!result.3, "half a workspace was left");
}

#[tokio::test]
async fn a_repository_of_somebody_else_is_named_as_such() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let chown = Command::new("chown")
        .args(["-R", "12345"])
        .arg(&repo.path)
        .status()
        .unwrap();
    assert!(
        chown.success(),
        "this test gives a repository away: run it as root"
    );
    let result = lab.ensure(&repo.source(), &at, &depth(1)).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, CheckoutError::DubiousOwnership { .. }),
        "{error:?}"
    );
    assert!(error.hint().contains("safe.directory"));
    let config = format!("[safe]\n\tdirectory = {}\n", repo.path.display());
    std::fs::write(lab.path("home/.gitconfig"), config).unwrap();
    lab.ensure(&repo.source(), &at, &depth(1)).await.unwrap();
}
