//! Over HTTP: who may read, where passwords go, and what each failure is called.

use windlass_engine::checkout::{CheckoutError, resolve_head};
use windlass_model::Revision;

use crate::bridge::{BASIC, Bridge, Manner};
use crate::lab::{
    Lab, assert_error, contains, depth, everything_in, noise, read, source, with_password,
    with_submodules,
};

fn serve(lab: &Lab, manner: Manner) -> Bridge {
    Bridge::start(&lab.path("srv"), manner)
}

#[tokio::test]
async fn a_commit_that_is_no_tip_is_fetched_alone() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let commits: Vec<_> = (0..5)
        .map(|i| repo.commit(&[("f", &i.to_string())]))
        .collect();
    let bridge = serve(&lab, Manner::default());
    let source = source(&format!("{}/a.git", bridge.url));
    let ws = lab
        .checkout(&source, &commits[2], &depth(1), "ws")
        .await
        .unwrap();
    assert_eq!(read(ws.join("f")), "2");
    assert_eq!(lab.ask(&ws, &["rev-list", "--count", "HEAD"]), "1");
    // The mirror has this commit, and neither its parent nor its child.
    let mirror = lab.mirror();
    for absent in [&commits[1], &commits[3]] {
        let found = std::process::Command::new("git")
            .args(["cat-file", "-e", absent.as_str()])
            .current_dir(mirror.path())
            .stderr(std::process::Stdio::null())
            .status();
        assert!(!found.unwrap().success());
    }
    let head = resolve_head(&lab.git, &source, Some("main")).await.unwrap();
    assert_eq!(head, commits[4]);
}

#[tokio::test]
async fn the_second_build_does_not_ask_the_server() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let bridge = serve(&lab, Manner::default());
    let source = source(&format!("{}/a.git", bridge.url));
    assert!(
        lab.ensure(&source, &at, &depth(1))
            .await
            .unwrap()
            .from_network
    );
    let asked = bridge.seen().len();
    lab.checkout(&source, &at, &depth(1), "ws").await.unwrap();
    assert_eq!(bridge.seen().len(), asked);
    bridge.stop();
    lab.checkout(&source, &at, &depth(1), "ws2").await.unwrap();
    let newer = repo.commit(&[("f", "y")]);
    let result = lab.ensure(&source, &newer, &depth(1)).await;
    assert_error!(result, CheckoutError::ConnectionRefused { .. });
}

#[tokio::test]
async fn many_builds_at_once_share_one_fetch() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let other = repo.commit(&[("f", "y")]);
    let bridge = serve(&lab, Manner::default());
    let source = source(&format!("{}/a.git", bridge.url));
    let lab = &lab;
    let builds = (0..12).map(|i| {
        let (source, at) = (&source, if i % 3 == 0 { &other } else { &at });
        async move {
            let ws = lab
                .checkout(source, at, &depth(1), &format!("ws{i}"))
                .await
                .unwrap();
            assert_eq!(read(ws.join("f")), if i % 3 == 0 { "y" } else { "x" });
        }
    });
    futures_util::future::join_all(builds).await;
    let packs = bridge
        .seen()
        .iter()
        .filter(|(r, _)| r.starts_with("POST"))
        .count();
    assert!(packs <= 4, "{packs} requests for two commits");
}

#[tokio::test]
async fn passwords_open_the_door_and_are_found_nowhere() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let bridge = serve(
        &lab,
        Manner {
            private: true,
            ..Manner::default()
        },
    );
    let open = source(&format!("{}/a.git", bridge.url));
    let good = with_password(open.clone(), "me", "hunter2");
    let bad = with_password(open.clone(), "me", "wrong-password");

    let result = lab.ensure(&open, &at, &depth(1)).await;
    assert_error!(result, CheckoutError::AuthenticationFailed { .. });
    let result = lab.ensure(&bad, &at, &depth(1)).await;
    let text = assert_error!(result, CheckoutError::AuthenticationFailed { .. });
    assert!(!text.contains("wrong-password"), "{text}");
    let result = resolve_head(&lab.git, &bad, Some("main")).await;
    assert_error!(result, CheckoutError::AuthenticationFailed { .. });

    let ws = lab.checkout(&good, &at, &depth(1), "ws").await.unwrap();
    assert_eq!(resolve_head(&lab.git, &good, None).await.unwrap(), at);
    for dir in [ws.as_path(), lab.dir.path()] {
        let all = everything_in(dir);
        for secret in ["hunter2", "bWU6aHVudGVyMg"] {
            assert!(!contains(&all, secret), "{secret} is in {}", dir.display());
        }
    }
    // In the URL it is understood, and taken out at once.
    let inside = source(&open.url.replace("http://", "http://me:hunter2@"));
    let newer = repo.commit(&[("f", "y")]);
    let ws = lab
        .checkout(&inside, &newer, &depth(1), "ws2")
        .await
        .unwrap();
    assert_eq!(lab.ask(&ws, &["remote", "get-url", "origin"]), open.url);
    assert!(!contains(&everything_in(&ws), "hunter2"));
}

#[tokio::test]
async fn passwords_are_not_in_any_argument_list() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", &noise())]);
    let bridge = serve(
        &lab,
        Manner {
            private: true,
            ..Manner::default()
        },
    );
    bridge.stall(true);
    let good = with_password(source(&format!("{}/a.git", bridge.url)), "me", "hunter2");
    let plan = depth(1);
    let fetch = lab.ensure(&good, &at, &plan);
    let look = async {
        let mut seen = 0;
        for _ in 0..50 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            for process in std::fs::read_dir("/proc").unwrap().flatten() {
                let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
                if contains(&line, &bridge.url) {
                    seen += 1;
                    assert!(!contains(&line, "hunter2"));
                }
            }
        }
        bridge.stall(false);
        seen
    };
    let (fetched, seen) = tokio::join!(fetch, look);
    fetched.unwrap();
    assert!(seen > 0, "the fetch was never seen");
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_take_the_password_along() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let thief = serve(&lab, Manner::default());
    // Whether the password was wanted before the redirect or not.
    for private in [false, true] {
        let redirect = Some(thief.url.clone());
        let moved = serve(
            &lab,
            Manner {
                redirect,
                private,
                ..Manner::default()
            },
        );
        let good = with_password(source(&format!("{}/a.git", moved.url)), "me", "hunter2");
        lab.mirror().remove().await.unwrap();
        let result = lab
            .checkout(&good, &at, &depth(1), &private.to_string())
            .await;
        // git follows a redirect of its first request only. That is an error, and no leak.
        assert_eq!(result.is_err(), private, "{result:?}");
        let told = moved
            .seen()
            .iter()
            .any(|(_, who)| who.as_deref() == Some(BASIC));
        assert_eq!(told, private, "{:?}", moved.seen());
    }
    assert!(!thief.seen().is_empty());
    assert!(
        thief
            .seen()
            .iter()
            .all(|(_, who)| who.as_deref() != Some(BASIC)),
        "leaked"
    );
}

#[tokio::test]
async fn only_submodules_on_the_same_server_get_the_password() {
    let lab = Lab::new();
    let (top, near, far) = (lab.repo("a.git"), lab.repo("near.git"), lab.repo("far.git"));
    let (near_at, far_at) = (near.commit(&[("f", "near")]), far.commit(&[("f", "far")]));
    let home = serve(
        &lab,
        Manner {
            private: true,
            ..Manner::default()
        },
    );
    let strange = serve(&lab, Manner::default());
    // What a helper or netrc of the user knows is none of a stranger's business either.
    std::fs::write(
        lab.path("home/.netrc"),
        "machine 127.0.0.1 login me password hunter2\n",
    )
    .unwrap();
    let helper = "[credential]\n\thelper = \"!echo username=me; echo password=hunter2; :\"\n";
    std::fs::write(lab.path("home/.gitconfig"), helper).unwrap();
    let modules = format!(
        "[submodule \"near\"]\n\tpath = near\n\turl = ../near.git\n\
         [submodule \"far\"]\n\tpath = far\n\turl = {}/far.git\n",
        strange.url
    );
    let files: &[(&str, &str, &[u8])] = &[(".gitmodules", "100644", modules.as_bytes())];
    let at = top.commit_on("main", files, &[("near", &near_at), ("far", &far_at)]);
    let good = with_password(source(&format!("{}/a.git", home.url)), "me", "hunter2");
    let ws = lab
        .checkout(&good, &at, &with_submodules(), "ws")
        .await
        .unwrap();
    assert_eq!(read(ws.join("near/f")) + &read(ws.join("far/f")), "nearfar");
    assert!(
        strange.seen().iter().all(|(_, who)| who.is_none()),
        "{:?}",
        strange.seen()
    );
    assert!(!contains(&everything_in(&ws), "hunter2"));

    // And where the stranger asks for a password, there is none.
    let strange = serve(
        &lab,
        Manner {
            private: true,
            ..Manner::default()
        },
    );
    let modules = format!(
        "[submodule \"far\"]\n\tpath = far\n\turl = {}/far.git\n",
        strange.url
    );
    let files: &[(&str, &str, &[u8])] = &[(".gitmodules", "100644", modules.as_bytes())];
    let at = top.commit_on("main", files, &[("far", &far_at)]);
    let result = lab.checkout(&good, &at, &with_submodules(), "ws2").await;
    assert_error!(result, CheckoutError::AuthenticationFailed { .. });
    assert!(
        strange
            .seen()
            .iter()
            .all(|(_, who)| who.as_deref() != Some(BASIC))
    );
}

#[tokio::test]
async fn each_failure_has_its_name() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let bridge = serve(&lab, Manner::default());
    let result = lab
        .ensure(&source(&format!("{}/b.git", bridge.url)), &at, &depth(1))
        .await;
    assert_error!(result, CheckoutError::RepositoryNotFound { .. });
    for url in [
        "https://nonexistent.invalid/a.git",
        "ssh://git@nonexistent.invalid/a.git",
    ] {
        let result = lab.ensure(&source(url), &at, &depth(1)).await;
        assert_error!(result, CheckoutError::HostUnknown { .. });
    }
    for url in [
        "http://127.0.0.1:1/a.git",
        "git://127.0.0.1:1/a.git",
        "ssh://git@127.0.0.1:1/a",
    ] {
        let result = lab.ensure(&source(url), &at, &depth(1)).await;
        assert_error!(result, CheckoutError::ConnectionRefused { .. });
    }
    let missing: Revision = "2".repeat(40).parse().unwrap();
    let mut here = source(&format!("{}/a.git", bridge.url));
    for git_ref in [None, Some("refs/heads/main"), Some("refs/heads/gone")] {
        here.git_ref = git_ref.map(str::to_owned);
        let result = lab.ensure(&here, &missing, &depth(1)).await;
        assert_error!(result, CheckoutError::NoSuchRevision { .. });
    }
    bridge.stall(true);
    let big = repo.commit(&[("f", &noise())]);
    let git = lab
        .git
        .clone()
        .with_time_limit(std::time::Duration::from_millis(700));
    let result = lab
        .mirror()
        .ensure(&git, &here, &big, &depth(1), &|_| ())
        .await;
    assert_error!(result, CheckoutError::TimedOut { .. });
}

#[tokio::test]
async fn a_server_that_refuses_commit_ids_is_asked_for_the_ref() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let commits: Vec<_> = (0..5)
        .map(|i| repo.commit(&[("f", &i.to_string())]))
        .collect();
    let bridge = serve(
        &lab,
        Manner {
            old: true,
            ..Manner::default()
        },
    );
    // With the ref, without it, and where the branch has moved on in the meantime.
    for (i, (revision, git_ref)) in [
        (&commits[4], Some("refs/heads/main")),
        (&commits[2], Some("refs/heads/main")),
        (&commits[0], None),
    ]
    .into_iter()
    .enumerate()
    {
        lab.mirror().remove().await.unwrap();
        let mut source = source(&format!("{}/a.git", bridge.url));
        source.git_ref = git_ref.map(str::to_owned);
        let ws = lab
            .checkout(&source, revision, &depth(1), &format!("ws{i}"))
            .await
            .unwrap();
        assert_eq!(lab.ask(&ws, &["rev-list", "--count", "HEAD"]), "1");
        assert_eq!(lab.ask(&ws, &["rev-parse", "HEAD"]), revision.as_str());
    }
}

#[tokio::test]
async fn plain_files_on_a_web_server_work() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "1")]);
    repo.commit(&[("f", "2")]);
    repo.run(&["update-server-info"]);
    let bridge = serve(
        &lab,
        Manner {
            dumb: true,
            ..Manner::default()
        },
    );
    let mut source = source(&format!("{}/a.git", bridge.url));
    source.git_ref = Some("refs/heads/main".into());
    let ws = lab.checkout(&source, &at, &depth(1), "ws").await.unwrap();
    assert_eq!(read(ws.join("f")), "1");
}

#[tokio::test]
async fn after_a_force_push_old_and_new_can_be_built() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    repo.commit(&[("f", "base")]);
    let old = repo.commit(&[("f", "old")]);
    let bridge = serve(&lab, Manner::default());
    let mut source = source(&format!("{}/a.git", bridge.url));
    source.git_ref = Some("refs/heads/main".into());
    lab.ensure(&source, &old, &depth(5)).await.unwrap();
    repo.run(&["update-ref", "refs/heads/main", "main~1"]);
    let new = repo.commit(&[("f", "new")]);
    let never = repo.commit_on("side", &[("f", "100644", b"never fetched")], &[]);
    repo.run(&["update-ref", "-d", "refs/heads/side"]);
    repo.run(&["reflog", "expire", "--expire=now", "--all"]);
    repo.run(&["gc", "-q", "--prune=now"]);
    let ws = lab.checkout(&source, &new, &depth(5), "new").await.unwrap();
    assert_eq!(read(ws.join("f")), "new");
    assert_eq!(lab.ask(&ws, &["rev-list", "--count", "HEAD"]), "2");
    // Built before, so it is in the mirror though the server has forgotten it.
    let ws = lab.checkout(&source, &old, &depth(5), "old").await.unwrap();
    assert_eq!(read(ws.join("f")), "old");
    let result = lab.ensure(&source, &never, &depth(1)).await;
    let text = assert_error!(result, CheckoutError::NoSuchRevision { .. });
    assert!(text.contains(never.as_str()));
}

#[tokio::test]
async fn progress_reaches_the_log() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let bridge = serve(&lab, Manner::default());
    let lines = std::sync::Mutex::new(Vec::new());
    let log = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let source = source(&format!("{}/a.git", bridge.url));
    lab.mirror()
        .ensure(&lab.git, &source, &at, &depth(1), &log)
        .await
        .unwrap();
    let lines = lines.into_inner().unwrap();
    assert!(
        lines.iter().any(|l| l.contains("objects: 100%")),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|l| !l.contains(['\n', '\r', '\x1b'])),
        "{lines:?}"
    );
}
