//! Caches, also those that a hostile build has packed.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tar::EntryType;
use windlass_engine::results::cache::{CacheError, Saved, key, list, restore, save};
use windlass_model::plan::CachePlan;

use super::{read, workspace, write};

const NO_LIMIT: u64 = u64::MAX;

fn plan(hash: &[&str], paths: &[&str]) -> CachePlan {
    let owned = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
    CachePlan {
        key: "cargo".into(),
        hash: owned(hash),
        paths: owned(paths),
        restore: Vec::new(),
        read_only: false,
    }
}

#[test]
fn keys_follow_paths_and_contents() {
    let ws = workspace(&["Cargo.lock", "sub/Cargo.lock"]);
    let text = |hash: &[&str]| key(ws.path(), &plan(hash, &[])).unwrap();
    assert_eq!(text(&[]).text, "cargo");
    let one = text(&["Cargo.lock"]).text;
    assert_eq!(one.len(), "cargo-".len() + 16);
    assert_eq!(one, text(&["Cargo.lock"]).text);
    let two = text(&["**/Cargo.lock"]).text;
    assert_ne!(one, two);
    write(ws.path(), "sub/Cargo.lock", "changed");
    assert_ne!(two, text(&["**/Cargo.lock"]).text);
    assert_eq!(one, text(&["Cargo.lock"]).text);
    let none = text(&["Cargo.lock", "package-lock.json"]);
    assert_eq!(none.text, one);
    assert!(none.warnings[0].starts_with("no file matches `package-lock.json`"));
    symlink("/etc/passwd", ws.path().join("link.lock")).unwrap();
    assert!(text(&["*.lock"]).warnings[0].contains("symbolic link"));
}

#[test]
fn a_cache_comes_back_as_it_was() {
    let ws = workspace(&[
        "target/debug/app",
        "target/.fingerprint/x",
        "src/main.rs",
        "target/tmp/y",
    ]);
    let home = workspace(&[".cargo/registry/index", ".cargo/credentials"]);
    let app = ws.path().join("target/debug/app");
    std::fs::set_permissions(&app, std::fs::Permissions::from_mode(0o751)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::open(&app)
        .unwrap()
        .set_modified(then)
        .unwrap();
    symlink("debug/app", ws.path().join("target/latest")).unwrap();
    symlink("/etc/passwd", ws.path().join("target/passwd")).unwrap();
    symlink("../../..", ws.path().join("target/up")).unwrap();
    nix::unistd::mkfifo(
        &ws.path().join("target/pipe"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    std::fs::create_dir(ws.path().join("target/empty")).unwrap();
    let locked = ws.path().join("target/.fingerprint");
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();

    let store = tempfile::tempdir().unwrap();
    let plan = plan(&[], &["target", "~/.cargo/registry", "!target/tmp"]);
    let saved = save(
        ws.path(),
        home.path(),
        &plan,
        "cargo/1",
        store.path(),
        NO_LIMIT,
    )
    .unwrap();
    let Saved::Stored { file, skipped, .. } = saved else {
        panic!("{saved:?}");
    };
    let left_out: Vec<_> = skipped.iter().map(|s| s.path.as_str()).collect();
    assert_eq!(left_out, ["target/passwd", "target/pipe", "target/up"]);
    let again = save(
        ws.path(),
        home.path(),
        &plan,
        "cargo/1",
        store.path(),
        NO_LIMIT,
    );
    assert_eq!(again.unwrap(), Saved::AlreadyThere);
    let have = list(store.path()).unwrap();
    assert_eq!(
        have.iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>(),
        ["cargo/1"]
    );

    let (ws, home) = (workspace(&["src/other"]), workspace(&[]));
    let done = restore(&file, ws.path(), home.path(), &plan.paths, NO_LIMIT).unwrap();
    assert!(done.refused.is_empty(), "{:?}", done.refused);
    assert_eq!(read(ws.path(), "target/debug/app"), "target/debug/app");
    assert_eq!(read(ws.path(), "target/latest"), "target/debug/app");
    assert!(ws.path().join("target/empty").is_dir());
    let meta = ws.path().join("target/debug/app").metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o751);
    assert_eq!(meta.modified().unwrap(), then);
    let locked = ws.path().join("target/.fingerprint").metadata().unwrap();
    assert_eq!(locked.permissions().mode() & 0o777, 0o555);
    assert_eq!(
        read(home.path(), ".cargo/registry/index"),
        ".cargo/registry/index"
    );
    assert!(!home.path().join(".cargo/credentials").exists());
    assert!(!ws.path().join("src/main.rs").exists());
    assert!(!ws.path().join("target/tmp").exists());
}

#[test]
fn what_is_not_saved() {
    let ws = workspace(&["target/a"]);
    let store = tempfile::tempdir().unwrap();
    let saved =
        |plan: &CachePlan, limit| save(ws.path(), ws.path(), plan, "k", store.path(), limit);
    let read_only = CachePlan {
        read_only: true,
        ..plan(&[], &["target"])
    };
    assert_eq!(saved(&read_only, NO_LIMIT).unwrap(), Saved::ReadOnly);
    for nothing in ["none", "~/none", "../x", "/etc"] {
        let saved = saved(&plan(&[], &[nothing]), NO_LIMIT).unwrap();
        let skipped = Vec::new();
        assert_eq!(saved, Saved::Nothing { skipped }, "{nothing}");
    }
    let error = saved(&plan(&[], &["target"]), 7).unwrap_err().to_string();
    assert!(
        error.starts_with("cache `k` has more than 7 bytes"),
        "{error}"
    );
    // A failure leaves nothing behind.
    assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
    let long = "x".repeat(300);
    let error = save(
        ws.path(),
        ws.path(),
        &plan(&[], &["target"]),
        &long,
        store.path(),
        9,
    );
    assert!(matches!(error, Err(CacheError::Key { .. })));
}

/// A cache as a hostile build may pack it: kind, name, contents or target.
fn packed(store: &Path, entries: &[(EntryType, &str, &str)]) -> PathBuf {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, name, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6777);
        header.set_mtime(u64::from(u32::MAX) * 4);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let data = if is_link { "" } else { text };
        header.set_size(data.len() as u64);
        // The crate's own functions refuse such names.
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        if is_link {
            old.linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_cksum();
        tar.append(&header, data.as_bytes()).unwrap();
    }
    let path = store.join("evil.tar.zst");
    let bytes = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 0).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_hostile_cache_writes_nowhere_else() {
    use EntryType as E;
    let outer = tempfile::tempdir().unwrap();
    let (ws, home) = (outer.path().join("ws"), outer.path().join("home"));
    std::fs::create_dir(&ws).unwrap();
    write(outer.path(), "secret", "secret");
    let absolute = format!("{}/x", outer.path().display());
    let entries = [
        (E::Regular, "workspace/target/good", "good"),
        (E::Regular, "workspace/../evil", "x"),
        (E::Regular, "workspace/target/../../../evil", "x"),
        (E::Regular, "../evil", "x"),
        (E::Regular, absolute.as_str(), "x"),
        (E::Regular, "workspace//target/x", "x"),
        (E::Regular, "workspace/src/main.rs", "x"),
        (E::Regular, "elsewhere/x", "x"),
        (E::Regular, "home/.bashrc", "x"),
        (E::Symlink, "workspace/target/abs", "/etc"),
        (E::Symlink, "workspace/target/up", "../.."),
        (E::Symlink, "workspace/target/in", "../src"),
        (E::Regular, "workspace/target/in/x", "x"),
        (E::Link, "workspace/target/hard", "../secret"),
        (E::Char, "workspace/target/zero", ""),
        (E::Fifo, "workspace/target/pipe", ""),
    ];
    let file = packed(outer.path(), &entries);
    let done = restore(&file, &ws, &home, &["target".into()], NO_LIMIT).unwrap();
    let refused: Vec<_> = done.refused.iter().map(|s| s.path.as_str()).collect();
    let expected: Vec<_> = entries.iter().map(|e| e.1).collect();
    let fine = ["workspace/target/good", "workspace/target/in"];
    let expected: Vec<_> = expected.into_iter().filter(|e| !fine.contains(e)).collect();
    assert_eq!(refused, expected);
    assert_eq!(done.entries, 2);
    assert_eq!(read(&ws, "target/good"), "good");
    let mode = ws
        .join("target/good")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o777, "no setuid");
    assert!(!ws.join("src").exists() && !home.exists() && !outer.path().join("evil").exists());
    let mut there: Vec<_> = std::fs::read_dir(ws.join("target"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    there.sort();
    assert_eq!(there, ["good", "in"]);
}

#[test]
fn links_in_the_workspace_are_not_followed_when_a_cache_comes_back() {
    let outside = workspace(&["a"]);
    let ws = workspace(&[]);
    symlink(outside.path(), ws.path().join("target")).unwrap();
    let store = tempfile::tempdir().unwrap();
    let file = packed(
        store.path(),
        &[(EntryType::Regular, "workspace/target/a", "evil")],
    );
    let done = restore(&file, ws.path(), ws.path(), &["target".into()], NO_LIMIT).unwrap();
    assert!(
        done.refused[0].reason.contains("symbolic link"),
        "{:?}",
        done.refused
    );
    assert_eq!(read(outside.path(), "a"), "a");
}

#[test]
fn a_link_on_the_way_is_not_followed_when_a_cache_is_saved() {
    let outside = workspace(&["debug/a"]);
    let ws = workspace(&["x"]);
    symlink(outside.path(), ws.path().join("target")).unwrap();
    symlink("x", ws.path().join("out")).unwrap();
    let store = tempfile::tempdir().unwrap();
    for paths in [["target/debug"], ["target"], ["out/debug"]] {
        let plan = plan(&[], &paths);
        let saved = save(ws.path(), ws.path(), &plan, "k", store.path(), NO_LIMIT).unwrap();
        let Saved::Nothing { skipped } = saved else {
            panic!("{paths:?}: {saved:?}");
        };
        assert!(
            skipped[0].reason.starts_with("is a symbolic link"),
            "{skipped:?}"
        );
    }
}

#[test]
fn bombs_and_rubbish_are_errors() {
    let ws = workspace(&["target/zeros"]);
    std::fs::File::create(ws.path().join("target/zeros"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let store = tempfile::tempdir().unwrap();
    let plan = plan(&[], &["target"]);
    let saved = save(ws.path(), ws.path(), &plan, "k", store.path(), NO_LIMIT).unwrap();
    let Saved::Stored { file, bytes, .. } = saved else {
        panic!("{saved:?}");
    };
    assert!(bytes < 1 << 20);
    let other = workspace(&[]);
    let unpack = |file: &Path| restore(file, other.path(), other.path(), &plan.paths, 1 << 20);
    assert!(matches!(unpack(&file), Err(CacheError::TooLarge { .. })));
    assert!(!other.path().join("target/zeros").exists());
    let whole = std::fs::read(&file).unwrap();
    let cut = store.path().join("cut.tar.zst");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let unlimited = restore(&cut, other.path(), other.path(), &plan.paths, NO_LIMIT);
    assert!(matches!(unlimited, Err(CacheError::Io { .. })));
    let mut rubbish = std::fs::File::create(&cut).unwrap();
    rubbish.write_all(b"no cache at all").unwrap();
    assert!(unpack(&cut).is_err());
}
