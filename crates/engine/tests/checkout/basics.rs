//! What a build gets: the files, the history, the submodules, from a repository on this machine.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use windlass_engine::checkout::{CheckoutError, own_objects, resolve_head};
use windlass_model::Revision;
use windlass_model::plan::ClonePlan;

use crate::lab::{Lab, assert_error, depth, read, with_submodules};

#[tokio::test]
async fn a_workspace_has_the_files_of_the_commit_and_a_clean_repository() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let files: &[(&str, &str, &[u8])] = &[
        ("README", "100644", b"hello\n"),
        ("bin/run", "100755", b"#!/bin/sh\n"),
        ("bin/link", "120000", b"run"),
        ("with space/\u{fc}.txt", "100644", b"\0\xff"),
    ];
    let revision = repo.commit_on("main", files, &[]);
    let ws = lab
        .checkout(&repo.source(), &revision, &depth(1), "ws")
        .await
        .unwrap();
    assert_eq!(read(ws.join("README")), "hello\n");
    assert_eq!(
        std::fs::read(ws.join("with space/\u{fc}.txt")).unwrap(),
        b"\0\xff"
    );
    let mode = std::fs::metadata(ws.join("bin/run"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o111, 0o111);
    assert_eq!(
        std::fs::read_link(ws.join("bin/link")).unwrap().to_str(),
        Some("run")
    );
    assert_eq!(lab.ask(&ws, &["status", "--porcelain"]), "");
    assert_eq!(lab.ask(&ws, &["rev-parse", "HEAD"]), revision.as_str());
    assert_eq!(lab.ask(&ws, &["rev-parse", "--abbrev-ref", "HEAD"]), "HEAD");
    let origin = lab.ask(&ws, &["remote", "get-url", "origin"]);
    assert_eq!(origin, repo.path.to_str().unwrap());
    lab.ask(&ws, &["fsck", "--strict"]);
}

#[tokio::test]
async fn the_history_is_as_deep_as_the_plan_says_whatever_the_mirror_has() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let commits: Vec<_> = (0..10)
        .map(|i| repo.commit(&[("f", &i.to_string())]))
        .collect();
    let mut number = 0;
    for (wanted, expected) in [
        (Some(1), 1),
        (Some(3), 3),
        (Some(1), 1),
        (None, 10),
        (Some(1), 1),
        (Some(4), 4),
        (None, 10),
    ] {
        number += 1;
        let ws = lab
            .checkout(
                &repo.source(),
                &commits[9],
                &depth(wanted),
                &number.to_string(),
            )
            .await
            .unwrap();
        let count = lab.ask(&ws, &["rev-list", "--count", "HEAD"]);
        assert_eq!(count, expected.to_string(), "depth {wanted:?}");
        lab.ask(&ws, &["fsck"]);
    }
    // Older and newer commits in the same mirror, again as deep as asked.
    let newer = repo.commit(&[("f", "new")]);
    for (revision, wanted, expected) in [
        (&commits[4], Some(2), 2),
        (&commits[4], None, 5),
        (&newer, Some(1), 1),
        (&newer, None, 11),
    ] {
        number += 1;
        let ws = lab
            .checkout(
                &repo.source(),
                revision,
                &depth(wanted),
                &number.to_string(),
            )
            .await
            .unwrap();
        assert_eq!(
            lab.ask(&ws, &["rev-list", "--count", "HEAD"]),
            expected.to_string()
        );
    }
}

#[tokio::test]
async fn a_whole_history_has_its_tags_also_those_of_later() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let old = repo.commit(&[("f", "1")]);
    let now = repo.commit(&[("f", "2")]);
    let later = repo.commit(&[("f", "3")]);
    repo.run(&["update-ref", "refs/tags/v1", old.as_str()]);
    repo.run(&["update-ref", "refs/tags/v3", later.as_str()]);
    let describe = ["describe", "--tags", "--abbrev=0"];
    let source = repo.source();
    let ws = lab
        .checkout(&source, &now, &depth(None), "a")
        .await
        .unwrap();
    assert_eq!(lab.ask(&ws, &describe), "v1");
    // Nothing stands here of what is not in the history.
    assert_eq!(lab.ask(&ws, &["tag"]), "v1");
    // The mirror has the commit, so only the tag is new.
    let annotated = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b",
        "tag",
        "-a",
        "-m",
        "2",
        "v2",
    ];
    repo.run(&[&annotated[..], &[now.as_str()]].concat());
    let ws = lab
        .checkout(&source, &now, &depth(None), "b")
        .await
        .unwrap();
    assert_eq!(lab.ask(&ws, &describe), "v2");
    // While the server is away, those count that were seen last.
    let gone = lab.path("gone");
    std::fs::rename(&repo.path, &gone).unwrap();
    let away = lab
        .checkout(&source, &now, &depth(None), "away")
        .await
        .unwrap();
    assert_eq!(lab.ask(&away, &describe), "v2");
    std::fs::rename(&gone, &repo.path).unwrap();
    // A workspace that leaves this machine keeps them.
    own_objects(&lab.git, &ws).await.unwrap();
    lab.ask(&ws, &["fsck"]);
    assert_eq!(
        lab.ask(&ws, &["describe", "--tags", "--abbrev=0", "HEAD^"]),
        "v1"
    );
    let ws = lab
        .checkout(&source, &now, &depth(Some(2)), "c")
        .await
        .unwrap();
    assert_eq!(lab.ask(&ws, &["tag"]), "");
}

#[tokio::test]
async fn merges_are_counted_in_generations() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let base = repo.commit(&[("f", "base")]);
    repo.run(&["update-ref", "refs/heads/side", base.as_str()]);
    repo.commit(&[("f", "1")]);
    repo.commit_on("side", &[("g", "100644", b"2")], &[]);
    let tree = repo.run(&["rev-parse", "main^{tree}"]);
    let args = [
        "commit-tree",
        "-m",
        "merge",
        "-p",
        "main",
        "-p",
        "side",
        &tree,
    ];
    let merge: Revision = repo.run(&args).parse().unwrap();
    repo.run(&["update-ref", "refs/heads/main", merge.as_str()]);
    for (wanted, expected) in [(1, "1"), (2, "3"), (3, "4"), (100, "4")] {
        let ws = lab
            .checkout(&repo.source(), &merge, &depth(wanted), &wanted.to_string())
            .await;
        assert_eq!(
            lab.ask(&ws.unwrap(), &["rev-list", "--count", "HEAD"]),
            expected
        );
    }
}

#[tokio::test]
async fn the_second_build_needs_no_server() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let old = repo.commit(&[("f", "old")]);
    let new = repo.commit(&[("f", "new")]);
    let fetched = lab
        .ensure(&repo.source(), &new, &depth(None))
        .await
        .unwrap();
    assert!(fetched.from_network && !fetched.healed);
    std::fs::rename(&repo.path, lab.path("gone")).unwrap();
    for (revision, text, plan) in [(&new, "new", depth(None)), (&old, "old", depth(1))] {
        assert!(
            !lab.ensure(&repo.source(), revision, &plan)
                .await
                .unwrap()
                .from_network
        );
        let ws = lab
            .checkout(&repo.source(), revision, &plan, text)
            .await
            .unwrap();
        assert_eq!(read(ws.join("f")), text);
    }
}

#[tokio::test]
async fn a_workspace_that_is_not_ours_is_left_alone() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let revision = repo.commit(&[("f", "x")]);
    std::fs::create_dir(lab.path("full")).unwrap();
    std::fs::write(lab.path("full/precious"), "x").unwrap();
    std::fs::create_dir(lab.path("empty")).unwrap();
    std::os::unix::fs::symlink(lab.path("empty"), lab.path("link")).unwrap();
    for workspace in ["full", "link"] {
        let result = lab
            .checkout(&repo.source(), &revision, &depth(1), workspace)
            .await;
        assert_error!(result, CheckoutError::Refused { .. });
    }
    assert_eq!(read(lab.path("full/precious")), "x");
    lab.checkout(&repo.source(), &revision, &depth(1), "empty")
        .await
        .unwrap();
}

#[tokio::test]
async fn repositories_with_sha256_ids_work() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    std::fs::remove_dir_all(&repo.path).unwrap();
    std::fs::create_dir(&repo.path).unwrap();
    repo.run(&[
        "init",
        "-q",
        "--bare",
        "-b",
        "main",
        "--object-format=sha256",
        ".",
    ]);
    let first = repo.commit(&[("f", "1")]);
    let second = repo.commit(&[("f", "2")]);
    assert_eq!(first.as_str().len(), 64);
    let ws = lab
        .checkout(&repo.source(), &second, &depth(1), "ws")
        .await
        .unwrap();
    assert_eq!(lab.ask(&ws, &["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(read(ws.join("f")), "2");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    repo.commit(&[("f", "x")]);
    let missing: Revision = "1".repeat(40).parse().unwrap();
    let result = lab
        .checkout(&repo.source(), &missing, &depth(1), "ws")
        .await;
    let text = assert_error!(result, CheckoutError::NoSuchRevision { .. });
    assert!(text.contains(missing.as_str()));
    assert!(!lab.path("ws").exists(), "half a workspace was left");

    let blob: Revision = repo.run(&["rev-parse", "main:f"]).parse().unwrap();
    let result = lab.ensure(&repo.source(), &blob, &depth(1)).await;
    assert_error!(
        result,
        CheckoutError::Refused { .. } | CheckoutError::NoSuchRevision { .. }
    );

    let nowhere = crate::lab::source(lab.path("nowhere").to_str().unwrap());
    let result = lab.ensure(&nowhere, &missing, &depth(1)).await;
    assert_error!(result, CheckoutError::RepositoryNotFound { .. });
}

#[tokio::test]
async fn branches_and_tags_lead_to_commits() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let first = repo.commit(&[("f", "1")]);
    repo.run(&["tag", "-a", "-m", "x", "v1", "main"]);
    repo.run(&["tag", "light", "main"]);
    repo.run(&["tag", "both", "main"]);
    let second = repo.commit(&[("f", "2")]);
    repo.run(&["branch", "both", "main"]);
    repo.run(&["update-ref", "refs/pull/7/head", first.as_str()]);
    for (name, expected) in [
        (None, &second),
        (Some("HEAD"), &second),
        (Some("main"), &second),
        (Some("both"), &second),
        (Some("refs/tags/both"), &first),
        (Some("v1"), &first),
        (Some("refs/tags/v1"), &first),
        (Some("light"), &first),
        (Some("refs/pull/7/head"), &first),
    ] {
        let found = resolve_head(&lab.git, &repo.source(), name).await.unwrap();
        assert_eq!(&found, expected, "{name:?}");
    }
    let result = resolve_head(&lab.git, &repo.source(), Some("ain")).await;
    assert_error!(result, CheckoutError::NoSuchRef { git_ref, .. } if git_ref == "ain");
}

#[tokio::test]
async fn submodules_come_with_their_own() {
    let lab = Lab::new();
    let (top, lib, deep) = (
        lab.repo("top.git"),
        lab.repo("lib.git"),
        lab.repo("deep.git"),
    );
    let deep_at = deep.commit(&[("d", "deep")]);
    deep.commit(&[("d", "newer")]);
    let modules = "[submodule \"deep\"]\n\tpath = x/deep\n\turl = ../deep.git\n";
    let files: &[(&str, &str, &[u8])] = &[(".gitmodules", "100644", modules.as_bytes())];
    let lib_at = lib.commit_on("main", files, &[("x/deep", &deep_at)]);
    let modules = "[submodule \"the.lib\"]\n\tpath = lib\n\turl = ../lib.git\n\
                   [submodule \"unused\"]\n\tpath = unused\n\turl = ../unused.git\n";
    let files: &[(&str, &str, &[u8])] = &[(".gitmodules", "100644", modules.as_bytes())];
    let at = top.commit_on("main", files, &[("lib", &lib_at)]);

    let ws = lab
        .checkout(&top.source(), &at, &with_submodules(), "ws")
        .await
        .unwrap();
    assert_eq!(read(ws.join("lib/x/deep/d")), "deep");
    assert_eq!(lab.ask(&ws, &["status", "--porcelain"]), "");
    let status = lab.ask(&ws, &["submodule", "status", "--recursive"]);
    assert!(
        status.contains(&format!("{deep_at} lib/x/deep")),
        "{status}"
    );

    // Without being asked for they are empty folders; with it, the second time without a server.
    let ws = lab
        .checkout(&top.source(), &at, &depth(1), "ws2")
        .await
        .unwrap();
    assert!(ws.join("lib").is_dir() && !ws.join("lib/x").exists());
    std::fs::rename(lab.path("srv"), lab.path("gone")).unwrap();
    lab.checkout(&top.source(), &at, &with_submodules(), "ws3")
        .await
        .unwrap();
}

#[tokio::test]
async fn lfs_is_asked_for_and_missing() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let revision = repo.commit(&[("f", "x")]);
    let plan = ClonePlan {
        lfs: true,
        ..ClonePlan::default()
    };
    let git = lab.git.clone().with_env("PATH", "/nonexistent");
    let result = lab
        .mirror()
        .ensure(&git, &repo.source(), &revision, &plan, &|_| ())
        .await;
    assert_error!(result, CheckoutError::LfsMissing);
}

#[tokio::test]
async fn lfs_files_are_fetched_when_asked_for_and_pointers_otherwise() {
    let lab = Lab::new();
    assert!(
        lab.git.has_lfs(),
        "git-lfs is needed on the PATH: apt-get install git-lfs, or unpack its program from \
         https://git-lfs.com"
    );
    let repo = lab.repo("a.git");
    let content = "large\n";
    let id = {
        use sha2::Digest;
        hex::encode(sha2::Sha256::digest(content))
    };
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize 6\n");
    let revision = repo.commit(&[
        (
            ".gitattributes",
            "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        ),
        ("a.bin", &pointer),
    ]);
    let store = repo.path.join("lfs/objects").join(&id[..2]).join(&id[2..4]);
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join(&id), content).unwrap();

    let ws = lab
        .checkout(&repo.source(), &revision, &depth(1), "pointers")
        .await
        .unwrap();
    assert_eq!(read(ws.join("a.bin")), pointer);
    let plan = ClonePlan {
        lfs: true,
        ..ClonePlan::default()
    };
    let ws = lab
        .checkout(&repo.source(), &revision, &plan, "files")
        .await
        .unwrap();
    assert_eq!(read(ws.join("a.bin")), content);
    // The second time from the mirror.
    std::fs::rename(&repo.path, lab.path("gone")).unwrap();
    let ws = lab
        .checkout(&repo.source(), &revision, &plan, "again")
        .await
        .unwrap();
    assert_eq!(read(ws.join("a.bin")), content);
}

#[tokio::test]
async fn many_packs_become_one_and_nothing_is_lost() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let mut all = Vec::new();
    for i in 0..12 {
        all.push(repo.commit(&[("f", &i.to_string())]));
        lab.ensure(&repo.source(), &all[i], &depth(1))
            .await
            .unwrap();
    }
    assert!(!lab.mirror().maintain(&lab.git, 50).await.unwrap());
    assert!(lab.mirror().maintain(&lab.git, 10).await.unwrap());
    let packs = std::fs::read_dir(lab.mirror().path().join("objects/pack")).unwrap();
    let packs = packs
        .flatten()
        .filter(|e| e.path().extension().is_some_and(|x| x == "pack"));
    assert_eq!(packs.count(), 1);
    std::fs::rename(&repo.path, lab.path("gone")).unwrap();
    for (i, revision) in all.iter().enumerate() {
        let ws = lab
            .checkout(&repo.source(), revision, &depth(1), &format!("ws{i}"))
            .await;
        assert_eq!(read(ws.unwrap().join("f")), i.to_string());
    }
}

/// The figure in the report; the assertion leaves room for a busy machine.
#[tokio::test]
async fn a_small_checkout_takes_milliseconds() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let files: Vec<_> = (0..50).map(|i| format!("dir{}/file{i}", i % 5)).collect();
    let files: Vec<_> = files.iter().map(|n| (n.as_str(), "some text\n")).collect();
    let revision = repo.commit(&files);
    lab.ensure(&repo.source(), &revision, &depth(1))
        .await
        .unwrap();
    let mut best = Duration::MAX;
    for i in 0..20 {
        let begun = Instant::now();
        lab.checkout(&repo.source(), &revision, &depth(1), &format!("ws{i}"))
            .await
            .unwrap();
        best = best.min(begun.elapsed());
    }
    println!("checkout of 50 files from the mirror: {best:?}");
    assert!(best < Duration::from_millis(100), "{best:?}");
}
