//! Artifacts of friendly and hostile workspaces.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use windlass_engine::results::artifacts::{ArtifactError, Kept, archive, keep, put_back};
use windlass_model::plan::{ArtifactPlan, OnResult};

use super::{read, workspace, write};

const NO_LIMIT: u64 = u64::MAX;

fn plan(paths: &[&str]) -> ArtifactPlan {
    ArtifactPlan {
        name: "build".into(),
        paths: paths.iter().map(|p| (*p).to_owned()).collect(),
        retention: None,
        required: true,
        when: OnResult::Success,
    }
}

fn paths(kept: &Kept) -> Vec<&str> {
    kept.files.iter().map(|f| f.path.as_str()).collect()
}

fn reason<'a>(kept: &'a Kept, path: &str) -> &'a str {
    let found = kept.skipped.iter().find(|s| s.path == path);
    &found
        .unwrap_or_else(|| panic!("{path} is not in {:?}", kept.skipped))
        .reason
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_kept_with_their_hashes_modes_and_times() {
    let ws = workspace(&["dist/a.whl", "dist/sub/tool", "src/x"]);
    let tool = ws.path().join("dist/sub/tool");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::File::open(&tool)
        .unwrap()
        .set_modified(then)
        .unwrap();
    let store = tempfile::tempdir().unwrap();
    let kept = keep(
        ws.path(),
        &plan(&["dist/**", "none/*"]),
        store.path(),
        NO_LIMIT,
    )
    .unwrap();
    assert_eq!(paths(&kept), ["dist/a.whl", "dist/sub/tool"]);
    assert_eq!(kept.warnings, ["no file matches `none/*`"]);
    // sha256sum of "dist/a.whl".
    use sha2::Digest as _;
    assert_eq!(
        kept.files[0].sha256,
        hex::encode(sha2::Sha256::digest("dist/a.whl"))
    );
    assert_eq!((kept.files[0].bytes, kept.files[0].executable), (10, false));
    assert!(kept.files[1].executable);
    let meta = kept.folder.join("dist/sub/tool").metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o755);
    assert_eq!(meta.modified().unwrap(), then);
    assert_eq!(names(store.path()), ["build"]);
}

#[test]
fn a_second_call_replaces_what_a_crash_left() {
    let ws = workspace(&["a", "b"]);
    let store = tempfile::tempdir().unwrap();
    keep(ws.path(), &plan(&["a"]), store.path(), NO_LIMIT).unwrap();
    write(store.path(), ".build.partial/half", "x");
    write(store.path(), ".build.old/older", "x");
    let kept = keep(ws.path(), &plan(&["b"]), store.path(), NO_LIMIT).unwrap();
    assert_eq!(names(store.path()), ["build"]);
    assert_eq!(names(&kept.folder), ["b"]);
}

#[test]
fn names_do_not_lead_out_of_the_store() {
    let ws = workspace(&["a"]);
    let outer = tempfile::tempdir().unwrap();
    let store = outer.path().join("store");
    for name in ["../evil", "..", "test (rust:1/x)", ".hidden"] {
        let plan = ArtifactPlan {
            name: name.into(),
            ..plan(&["a"])
        };
        let kept = keep(ws.path(), &plan, &store, NO_LIMIT).unwrap();
        assert_eq!(kept.folder.parent(), Some(store.as_path()), "{name}");
        assert_eq!(kept.name, name);
    }
    assert_eq!(names(outer.path()), ["store"]);
    assert_eq!(names(&store).len(), 4);
    let plan = ArtifactPlan {
        name: String::new(),
        ..plan(&["a"])
    };
    let error = keep(ws.path(), &plan, &store, NO_LIMIT).unwrap_err();
    assert!(matches!(error, ArtifactError::Name { .. }));
}

#[test]
fn that_nothing_matches_is_explained() {
    let told = |ws: &Path, pattern: &str| {
        let store = tempfile::tempdir().unwrap();
        let error = keep(ws, &plan(&[pattern]), store.path(), NO_LIMIT).unwrap_err();
        assert_eq!(error.to_string(), format!("no file matches `{pattern}`"));
        assert!(names(store.path()).is_empty());
        error.hint()
    };
    let ws = workspace(&["target/wheels/a.whl", "README"]);
    std::fs::create_dir(ws.path().join("dist")).unwrap();
    let hint = told(ws.path(), "dist/**");
    assert!(
        hint.starts_with("The folder `dist` exists but is empty."),
        "{hint}"
    );
    let hint = told(ws.path(), "dist/*.whl");
    assert!(
        hint.contains("Files that end in `.whl` are in `target/wheels`."),
        "{hint}"
    );
    let hint = told(ws.path(), "build/*");
    assert!(
        hint.starts_with("There is no such thing as the folder `build`."),
        "{hint}"
    );
    let hint = told(ws.path(), "*.txt");
    assert!(
        hint.starts_with("The workspace has `README`, `dist`, `target`."),
        "{hint}"
    );
    let hint = told(ws.path(), "/etc/passwd");
    assert!(
        hint.starts_with("`/etc/passwd` leads out of the workspace."),
        "{hint}"
    );
    let not_required = ArtifactPlan {
        required: false,
        ..plan(&["x"])
    };
    let store = tempfile::tempdir().unwrap();
    let kept = keep(ws.path(), &not_required, store.path(), NO_LIMIT).unwrap();
    assert!(kept.files.is_empty() && kept.folder.is_dir());
}

#[test]
fn too_much_is_refused_and_named() {
    let ws = workspace(&[]);
    write(ws.path(), "small", "1234");
    write(ws.path(), "big", vec![0; 5000]);
    // A sparse file takes no room here but would over there.
    std::fs::File::create(ws.path().join("huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let store = tempfile::tempdir().unwrap();
    let error = keep(ws.path(), &plan(&["**"]), store.path(), 4096).unwrap_err();
    let words = error.to_string();
    assert_eq!(
        words,
        "artifact `build` has 1 TiB in 3 files, and the limit is 4 KiB"
    );
    assert!(
        error.hint().contains("\"huge\" (1 TiB), \"big\" (4.9 KiB)"),
        "{}",
        error.hint()
    );
    assert!(names(store.path()).is_empty());
    assert!(keep(ws.path(), &plan(&["small"]), store.path(), 4).is_ok());
    assert!(keep(ws.path(), &plan(&["small"]), store.path(), 3).is_err());
}

#[test]
fn a_hostile_workspace_leads_nowhere() {
    let ws = workspace(&["dist/good", "dist/line\nbreak", "dist/back\\slash"]);
    let dist = ws.path().join("dist");
    symlink("/etc/passwd", dist.join("passwd")).unwrap();
    symlink("/etc", dist.join("etc")).unwrap();
    symlink("good", dist.join("alias")).unwrap();
    nix::unistd::mkfifo(&dist.join("pipe"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(dist.join("socket")).unwrap();
    std::fs::write(dist.join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    std::fs::create_dir(dist.join(OsStr::from_bytes(b"dir\xff"))).unwrap();
    std::fs::write(dist.join(OsStr::from_bytes(b"dir\xff/x")), "x").unwrap();
    let device = mknod(
        &dist.join("zero"),
        SFlag::S_IFCHR,
        Mode::S_IRWXU,
        makedev(1, 5),
    );
    let store = tempfile::tempdir().unwrap();
    let kept = keep(ws.path(), &plan(&["dist/**"]), store.path(), NO_LIMIT).unwrap();
    assert_eq!(
        paths(&kept),
        ["dist/back\\slash", "dist/good", "dist/line\nbreak"]
    );
    let link = "is a symbolic link to \"/etc/passwd\"; links are not followed";
    assert_eq!(reason(&kept, "dist/passwd"), link);
    assert!(reason(&kept, "dist/etc").starts_with("is a symbolic link"));
    assert!(reason(&kept, "dist/alias").starts_with("is a symbolic link"));
    assert_eq!(
        reason(&kept, "dist/pipe"),
        "is a pipe (FIFO); only regular files are taken"
    );
    assert_eq!(
        reason(&kept, "dist/socket"),
        "is a socket; only regular files are taken"
    );
    for name in ["dist/bad\u{fffd}", "dist/dir\u{fffd}"] {
        assert!(reason(&kept, name).starts_with("has a name that is not UTF-8"));
    }
    // Only root may make devices.
    if device.is_ok() {
        assert_eq!(
            reason(&kept, "dist/zero"),
            "is a device; only regular files are taken"
        );
    }
    // A link in the place of the folder itself.
    std::fs::rename(&dist, ws.path().join("moved")).unwrap();
    symlink("/etc", &dist).unwrap();
    let error = keep(ws.path(), &plan(&["dist/passwd"]), store.path(), NO_LIMIT).unwrap_err();
    let hint = error.hint();
    assert!(
        hint.contains("\"dist\" is a symbolic link to \"/etc\""),
        "{hint}"
    );
}

#[test]
fn a_file_that_grows_all_the_time_has_an_end() {
    let ws = workspace(&[]);
    write(ws.path(), "log", vec![b'x'; 1 << 20]);
    let stop = AtomicBool::new(false);
    let store = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::io::Write as _;
            let log = std::fs::OpenOptions::new()
                .append(true)
                .open(ws.path().join("log"));
            let mut log = log.unwrap();
            while !stop.load(Ordering::Relaxed) && log.metadata().unwrap().len() < 1 << 28 {
                log.write_all(&[b'y'; 4096]).unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(20));
        let kept = keep(ws.path(), &plan(&["log"]), store.path(), NO_LIMIT);
        stop.store(true, Ordering::Relaxed);
        let kept = kept.unwrap();
        let there = kept.folder.join("log").metadata().unwrap().len();
        assert_eq!(there, kept.files[0].bytes);
        assert!(
            kept.warnings[0].contains("changed while it was copied"),
            "{:?}",
            kept.warnings
        );
    });
}

#[test]
fn a_workspace_that_changes_under_our_feet_leads_nowhere() {
    let ws = workspace(&["d/f"]);
    write(ws.path(), "outside", "secret");
    let target = tempfile::tempdir().unwrap();
    write(target.path(), "f", "secret");
    let stop = AtomicBool::new(false);
    let store = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (dir, side) = (ws.path().join("d"), ws.path().join("side"));
            while !stop.load(Ordering::Relaxed) {
                std::fs::rename(&dir, &side).unwrap();
                symlink(target.path(), &dir).unwrap();
                std::fs::remove_file(&dir).unwrap();
                std::fs::rename(&side, &dir).unwrap();
            }
        });
        let _stopped = Stop(&stop);
        for _ in 0..200 {
            let plan = ArtifactPlan {
                required: false,
                ..plan(&["d/f"])
            };
            let kept = keep(ws.path(), &plan, store.path(), NO_LIMIT);
            if kept.is_ok_and(|kept| !kept.files.is_empty()) {
                assert_eq!(read(store.path(), "build/d/f"), "d/f");
            }
        }
    });
}

/// Tells the other thread to stop, also when an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn files_come_back_at_their_places_and_nowhere_else() {
    let ws = workspace(&["dist/a", "dist/tool"]);
    let tool = ws.path().join("dist/tool");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o700)).unwrap();
    let store = tempfile::tempdir().unwrap();
    let kept = keep(ws.path(), &plan(&["dist"]), store.path(), NO_LIMIT).unwrap();

    let outside = workspace(&["secret"]);
    let other = workspace(&["dist/a", "readme"]);
    std::fs::write(other.path().join("dist/a"), "old").unwrap();
    symlink(
        outside.path().join("secret"),
        other.path().join("dist/tool"),
    )
    .unwrap();
    assert_eq!(
        put_back(&kept.folder, other.path()).unwrap(),
        ["dist/a", "dist/tool"]
    );
    assert_eq!(read(other.path(), "dist/a"), "dist/a");
    let meta = other.path().join("dist/tool").symlink_metadata().unwrap();
    assert!(meta.is_file() && meta.permissions().mode() & 0o777 == 0o755);
    assert_eq!(read(outside.path(), "secret"), "secret");

    // A repository with a link in the place of the folder.
    let evil = workspace(&[]);
    symlink(outside.path(), evil.path().join("dist")).unwrap();
    let error = put_back(&kept.folder, evil.path()).unwrap_err().to_string();
    assert!(
        error.contains("dist is a symbolic link, not a folder"),
        "{error}"
    );
    assert_eq!(names(outside.path()), ["secret"]);

    let blocked = workspace(&["dist/a/file"]);
    let error = put_back(&kept.folder, blocked.path()).unwrap_err();
    assert!(matches!(error, ArtifactError::PutBack { .. }), "{error}");
}

#[test]
fn gits_own_folder_is_not_put_back() {
    let ws = workspace(&[".git/hooks/post-checkout", "a"]);
    let store = tempfile::tempdir().unwrap();
    let kept = keep(
        ws.path(),
        &plan(&["a", ".git/hooks"]),
        store.path(),
        NO_LIMIT,
    )
    .unwrap();
    assert_eq!(paths(&kept).len(), 2);
    let other = workspace(&[]);
    assert_eq!(put_back(&kept.folder, other.path()).unwrap(), ["a"]);
}

#[test]
fn an_archive_has_the_same_bytes_each_time() {
    let long = format!("dist/{}end", "long-name/".repeat(30));
    let ws = workspace(&["dist/b", "dist/a", "dist/ä\nö", &long]);
    let store = tempfile::tempdir().unwrap();
    let kept = keep(ws.path(), &plan(&["dist"]), store.path(), NO_LIMIT).unwrap();
    let (mut one, mut two) = (Vec::new(), Vec::new());
    archive(&kept.folder, &mut one).unwrap();
    archive(&kept.folder, &mut two).unwrap();
    assert!(one == two && !one.is_empty());
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(one.as_slice()));
    let paths: Vec<_> = tar
        .entries()
        .unwrap()
        .map(|e| {
            let mut entry = e.unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            assert_eq!(entry.path().unwrap().to_str(), Some(text.as_str()));
            assert_eq!(entry.header().uid().unwrap(), 0);
            text
        })
        .collect();
    let wanted = [
        "dist/a".to_owned(),
        "dist/b".to_owned(),
        long.clone(),
        "dist/ä\nö".to_owned(),
    ];
    assert_eq!(paths, wanted);
}
