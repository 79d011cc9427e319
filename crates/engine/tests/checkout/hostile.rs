//! Repositories and requests made to break out. Each test makes the attack, and looks for its trace.

use windlass_engine::checkout::{CheckoutError, Mirror, read_root_file, resolve_head};
use windlass_model::Revision;

use crate::bridge::{Bridge, Manner};
use crate::lab::{Lab, Repo, assert_error, depth, read, source, with_submodules};

/// Checks out over HTTP, where a repository may do least.
async fn over_http(lab: &Lab, at: &Revision) -> Result<std::path::PathBuf, CheckoutError> {
    let bridge = Bridge::start(&lab.path("srv"), Manner::default());
    let source = source(&format!("{}/a.git", bridge.url));
    lab.checkout(&source, at, &with_submodules(), "ws").await
}

/// A commit with a submodule of this name, path and URL, made without git's own checks.
fn submodule(lab: &Lab, name: &str, path: &str, url: &str) -> (Repo, Revision) {
    let repo = lab.repo("a.git");
    let modules = format!("[submodule \"{name}\"]\n\tpath = {path}\n\turl = {url}\n");
    let modules = repo.blob(modules.as_bytes());
    let there = "1".repeat(40);
    let tree = repo.tree(&[
        ("100644", ".gitmodules", &modules),
        ("160000", "sub", &there),
    ]);
    let at = repo.commit_tree("main", &tree);
    (repo, at)
}

fn refused<T>(result: Result<T, CheckoutError>, because: &str) {
    let text = assert_error!(result, CheckoutError::Refused { .. });
    assert!(
        text.contains(because),
        "{because:?} is not the reason: {text}"
    );
}

#[tokio::test]
async fn urls_that_run_programs_or_are_options_are_refused() {
    let lab = Lab::new();
    let mark = lab.path("pwned");
    let at: Revision = "1".repeat(40).parse().unwrap();
    for url in [
        format!("ext::sh -c touch% {}", mark.display()),
        format!("--upload-pack=touch {}", mark.display()),
        format!("-u touch {}", mark.display()),
        format!("ssh://-oProxyCommand=touch%20{}/x", mark.display()),
        format!("-oProxyCommand=touch {}:x", mark.display()),
        "fd::0".to_owned(),
    ] {
        let source = source(&url);
        refused(lab.checkout(&source, &at, &depth(1), "ws").await, "");
        refused(lab.ensure(&source, &at, &depth(1)).await, "");
        refused(resolve_head(&lab.git, &source, None).await, "");
    }
    assert!(!mark.exists());
}

#[tokio::test]
async fn git_itself_would_refuse_them_too() {
    // The second wall: what our own reading of URLs might miss.
    let lab = Lab::new();
    let mark = lab.path("pwned");
    std::fs::write(
        lab.path("home/.gitconfig"),
        format!(
            "[url \"ext::sh -c touch% {} \"]\n\tinsteadOf = https://evil.invalid/\n\
             [protocol \"ext\"]\n\tallow = always\n[protocol]\n\tallow = always\n",
            mark.display()
        ),
    )
    .unwrap();
    let source = source("https://evil.invalid/x");
    refused(
        resolve_head(&lab.git, &source, None).await,
        "'ext' not allowed",
    );
    assert!(!mark.exists());
}

#[tokio::test]
async fn refs_that_are_options_are_refused() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let mark = lab.path("pwned");
    for name in [
        &format!("--upload-pack=touch {}", mark.display()),
        "-u",
        "a:b",
        "+x",
        "*",
    ] {
        let mut source = repo.source();
        refused(
            resolve_head(&lab.git, &source, Some(name)).await,
            "not a valid ref",
        );
        source.git_ref = Some(name.to_owned());
        refused(lab.ensure(&source, &at, &depth(1)).await, "not a valid ref");
    }
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_mirror_stays_below_its_root() {
    let lab = Lab::new();
    for key in ["", "..", "../x", "a/b", ".git", "a\0b", "-x"] {
        refused(Mirror::open(lab.dir.path(), key), "mirror");
    }
}

#[tokio::test]
async fn hooks_templates_and_monitors_of_the_user_do_not_run() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[("f", "x")]);
    let mark = lab.path("pwned");
    let script = format!("#!/bin/sh\ntouch {}\n", mark.display());
    // Everywhere git looks for hooks: the user's, the template's, and those of the source itself.
    let hooks = lab.path("hooks");
    let folders = [
        hooks.clone(),
        lab.path("template/hooks"),
        repo.path.join("hooks"),
    ];
    for dir in &folders {
        std::fs::create_dir_all(dir).unwrap();
        for hook in [
            "post-checkout",
            "reference-transaction",
            "pre-upload",
            "post-index-change",
            "pre-auto-gc",
            "fsmonitor",
        ] {
            std::fs::write(dir.join(hook), &script).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(dir.join(hook), mode).unwrap();
        }
    }
    let hooks = hooks.display();
    std::fs::write(
        lab.path("home/.gitconfig"),
        format!(
            "[core]\n\thooksPath = {hooks}\n\tfsmonitor = {hooks}/fsmonitor\n\
             \tpager = touch {mark}\n[init]\n\ttemplateDir = {}\n[alias]\n\tfetch = !touch {mark}\n",
            lab.path("template").display(),
            mark = mark.display(),
        ),
    )
    .unwrap();
    repo.run(&[
        "config",
        "core.fsmonitor",
        folders[0].join("fsmonitor").to_str().unwrap(),
    ]);
    repo.run(&[
        "config",
        "uploadpack.packObjectsHook",
        folders[0].join("fsmonitor").to_str().unwrap(),
    ]);
    let ws = lab
        .checkout(&repo.source(), &at, &depth(1), "ws")
        .await
        .unwrap();
    assert_eq!(read(ws.join("f")), "x");
    assert!(!ws.join(".git/hooks").exists());
    assert!(!mark.exists(), "something ran");
}

#[tokio::test]
async fn a_configuration_in_the_tree_means_nothing() {
    // A bare repository inside of the tree, and files that look like git's own.
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let mark = lab.path("pwned");
    let config = format!(
        "[core]\n\tbare = true\n\tfsmonitor = touch {}\n",
        mark.display()
    );
    let at = repo.commit(&[
        ("HEAD", "ref: refs/heads/main\n"),
        ("config", &config),
        ("objects/x", ""),
        ("refs/x", ""),
        (".gitconfig", &config),
    ]);
    let ws = over_http(&lab, &at).await.unwrap();
    assert_eq!(read(ws.join("config")), config);
    assert!(!read(ws.join(".git/config")).contains("fsmonitor"));
    assert!(!mark.exists());
}

#[tokio::test]
async fn filters_without_a_configuration_do_nothing() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit(&[
        (
            ".gitattributes",
            "* filter=evil\nx diff=evil merge=evil\n*.bin filter=lfs\n",
        ),
        ("x", "as it is\n"),
        ("a.bin", "no pointer\n"),
    ]);
    let ws = lab
        .checkout(&repo.source(), &at, &depth(1), "ws")
        .await
        .unwrap();
    assert_eq!(read(ws.join("x")), "as it is\n");
    assert_eq!(read(ws.join("a.bin")), "no pointer\n");
}

#[tokio::test]
async fn a_file_cannot_be_written_through_a_symbolic_link() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let outside = lab.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let link = repo.blob(outside.to_str().unwrap().as_bytes());
    let evil = repo.blob(b"evil");
    let inner = repo.tree(&[("100644", "pwned", &evil)]);
    // The same name twice: first the link, then a folder, so that the file goes through the link.
    let trees = [
        repo.tree(&[("120000", "a", &link), ("40000", "a", &inner)]),
        repo.tree(&[("120000", "a", &link), ("100644", "a/pwned", &evil)]),
        repo.tree(&[("100644", "../outside/pwned", &evil)]),
        repo.tree(&[("40000", "..", &inner)]),
        repo.tree(&[("100644", &format!("{}/pwned", outside.display()), &evil)]),
    ];
    for tree in &trees {
        let at = repo.commit_tree("main", tree);
        refused(lab.checkout(&repo.source(), &at, &depth(1), "ws").await, "");
        assert!(!outside.join("pwned").exists());
        repo.run(&["update-ref", "-d", "refs/heads/main"]);
    }
    // A link by itself is harmless: it is there, and leads where it says.
    let at = repo.commit_tree("main", &repo.tree(&[("120000", "a", &link)]));
    let ws = lab
        .checkout(&repo.source(), &at, &depth(1), "ws")
        .await
        .unwrap();
    assert_eq!(std::fs::read_link(ws.join("a")).unwrap(), outside);
}

#[tokio::test]
async fn trees_with_a_dot_git_of_any_spelling_are_refused() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let hook = repo.blob(b"#!/bin/sh\ntouch /tmp/pwned\n");
    let inner = repo.tree(&[("100755", "post-checkout", &hook)]);
    let inner = repo.tree(&[("40000", "hooks", &inner)]);
    for name in [
        ".git",
        ".GIT",
        ".Git",
        "git~1",
        ".g\u{200c}it",
        ".git ",
        ".git::$INDEX_ALLOCATION",
    ] {
        for tree in [
            repo.tree(&[("40000", name, &inner)]),
            repo.tree(&[("40000", "deep", &repo.tree(&[("40000", name, &inner)]))]),
            repo.tree(&[("120000", name, &hook)]),
        ] {
            let at = repo.commit_tree("main", &tree);
            let result = lab.checkout(&repo.source(), &at, &depth(1), "ws").await;
            assert_error!(result, CheckoutError::Refused { .. });
            assert!(!lab.path("ws").exists(), "{name:?} left a workspace");
            repo.run(&["update-ref", "-d", "refs/heads/main"]);
        }
    }
}

#[tokio::test]
async fn huge_names_are_refused_and_long_ones_work() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let blob = repo.blob(b"x");
    for length in [300, 5000, 100_000] {
        let tree = repo.tree(&[("100644", &"n".repeat(length), &blob)]);
        let at = repo.commit_tree("main", &tree);
        let result = lab.checkout(&repo.source(), &at, &depth(1), "ws").await;
        let text = assert_error!(result, CheckoutError::Refused { .. });
        assert!(text.len() < 2000, "the message is as long as the name");
        repo.run(&["update-ref", "-d", "refs/heads/main"]);
    }
    let at = repo.commit_tree("main", &repo.tree(&[("100644", &"n".repeat(255), &blob)]));
    lab.checkout(&repo.source(), &at, &depth(1), "ws")
        .await
        .unwrap();
}

#[tokio::test]
async fn submodules_by_dangerous_urls_are_refused() {
    for (url, because) in [
        ("ext::sh -c touch% /tmp/pwned", ""),
        ("file:///etc", ""),
        ("/etc", ""),
        ("--upload-pack=touch", ""),
        ("ssh://-oProxyCommand=touch/x", ""),
        ("fd::0", ""),
        ("../../../../../../etc", ""),
        ("https://me:secret@example.com/x", ""),
    ] {
        let lab = Lab::new();
        let (_repo, at) = submodule(&lab, "sub", "sub", url);
        refused(over_http(&lab, &at).await, because);
    }
}

#[tokio::test]
async fn submodules_of_local_repositories_may_only_be_relative() {
    let lab = Lab::new();
    let secret = lab.repo("secret.git");
    let there = secret.commit(&[("f", "x")]);
    for url in [
        secret.path.to_str().unwrap().to_owned(),
        format!("file://{}", secret.path.display()),
    ] {
        let repo = lab.repo("a.git");
        let modules = format!("[submodule \"s\"]\n\tpath = s\n\turl = {url}\n");
        let files: &[(&str, &str, &[u8])] = &[(".gitmodules", "100644", modules.as_bytes())];
        let at = repo.commit_on("main", files, &[("s", &there)]);
        let result = lab
            .checkout(&repo.source(), &at, &with_submodules(), "ws")
            .await;
        refused(result, "submodule");
    }
}

#[tokio::test]
async fn submodules_with_dangerous_names_and_paths_are_refused() {
    for (name, path) in [
        ("../../../x", "sub"),
        ("..", "sub"),
        ("-x", "sub"),
        ("sub", "../sub"),
        ("sub", "/tmp/sub"),
        ("sub", ".git/modules/sub"),
        ("sub", "a/.GIT/hooks"),
        ("sub", "-sub"),
        ("sub", "a/../../sub"),
    ] {
        let lab = Lab::new();
        let (_repo, at) = submodule(&lab, name, path, "../other.git");
        refused(over_http(&lab, &at).await, "");
    }
}

#[tokio::test]
async fn a_submodule_cannot_give_a_command_to_run() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let other = lab.repo("other.git");
    let there = other.commit(&[("f", "x")]);
    let mark = lab.path("pwned");
    let modules = format!(
        "[submodule \"s\"]\n\tpath = s\n\turl = ../other.git\n\tupdate = !touch {}\n",
        mark.display()
    );
    let files: &[(&str, &str, &[u8])] = &[(".gitmodules", "100644", modules.as_bytes())];
    let at = repo.commit_on("main", files, &[("s", &there)]);
    refused(over_http(&lab, &at).await, "");
    assert!(!mark.exists());
}

/// CVE-2024-32002: the submodule's folder is a link into `.git`, so its files become hooks.
#[tokio::test]
async fn a_submodule_behind_a_symbolic_link_is_refused() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let other = lab.repo("other.git");
    let there = other.commit(&[("post-checkout", "#!/bin/sh\ntouch /tmp/pwned\n")]);
    for (link, path) in [("a", "a/modules"), ("a", "a")] {
        let modules = format!("[submodule \"s\"]\n\tpath = {path}\n\turl = ../other.git\n");
        let modules = repo.blob(modules.as_bytes());
        let target = repo.blob(b".git");
        let submodules = repo.tree(&[("160000", "modules", there.as_str())]);
        // Once as a tree that can't be (both), once so that only the link is there.
        for tree in [
            repo.tree(&[
                ("100644", ".gitmodules", &modules),
                ("120000", link, &target),
                ("40000", link, &submodules),
            ]),
            repo.tree(&[
                ("100644", ".gitmodules", &modules),
                ("40000", "A", &submodules),
                ("120000", link, &target),
            ]),
        ] {
            repo.run(&["update-ref", "-d", "refs/heads/main"]);
            let at = repo.commit_tree("main", &tree);
            match over_http(&lab, &at).await {
                Err(CheckoutError::Refused { .. }) => {}
                Ok(ws) => {
                    // No commit in the tree at this path: nothing was checked out.
                    assert!(!ws.join(".git/modules").exists());
                    assert!(!ws.join(".git/post-checkout").exists());
                    std::fs::remove_dir_all(ws).unwrap();
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn gitmodules_itself_may_not_be_a_link() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let target = repo.blob(b"/etc/passwd");
    let at = repo.commit_tree("main", &repo.tree(&[("120000", ".gitmodules", &target)]));
    refused(over_http(&lab, &at).await, "");
}

#[tokio::test]
async fn a_submodule_that_contains_itself_ends() {
    // A real circle needs a hash of itself; a long chain costs as much.
    let lab = Lab::new();
    let mut below: Option<Revision> = None;
    for level in (0..12).rev() {
        let repo = lab.repo(
            if level == 0 {
                "a.git".into()
            } else {
                format!("r{level}.git")
            }
            .as_str(),
        );
        let modules = format!(
            "[submodule \"s\"]\n\tpath = s\n\turl = ../r{}.git\n",
            level + 1
        );
        let files: &[(&str, &str, &[u8])] = &[(".gitmodules", "100644", modules.as_bytes())];
        below = Some(match &below {
            Some(below) => repo.commit_on("main", files, &[("s", below)]),
            None => repo.commit(&[("f", "x")]),
        });
    }
    refused(over_http(&lab, &below.unwrap()).await, "levels");
}

#[tokio::test]
async fn a_spec_that_is_a_link_is_not_read() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let at = repo.commit_on("main", &[("windlass.yml", "120000", b"/etc/passwd")], &[]);
    let ws = lab
        .checkout(&repo.source(), &at, &depth(1), "ws")
        .await
        .unwrap();
    refused(
        read_root_file(&ws, &["windlass.yml"], 1 << 20),
        "symbolic link",
    );
}

#[tokio::test]
async fn old_harmless_faults_do_not_stop_a_build() {
    let lab = Lab::new();
    let repo = lab.repo("a.git");
    let blob = repo.blob(b"x");
    let inner = repo.tree(&[("100644", "f", &blob)]);
    // Written by an importer of 2009: a padded mode, an author without space, a strange time zone.
    let tree = repo.tree(&[("040000", "dir", &inner)]);
    let commit = format!(
        "tree {tree}\nauthor Ada<ada@example.com> 1234567890 +051800\n\
         committer  <> 01234567890 +0000\n\nold\n"
    );
    let args = [
        "hash-object",
        "-t",
        "commit",
        "-w",
        "--literally",
        "--stdin",
    ];
    let at = repo.feed(&args, commit.as_bytes());
    repo.run(&["update-ref", "refs/heads/main", &at]);
    let ws = lab
        .checkout(&repo.source(), &at.parse().unwrap(), &depth(1), "ws")
        .await
        .unwrap();
    assert_eq!(read(ws.join("dir/f")), "x");
}
