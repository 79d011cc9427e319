//! Pushes to plain git repositories on this machine.
//!
//! The post-receive hook writes one small file per ref into the folder `windlass-spool` of the bare
//! repository, under a temporary name first: pure shell, no server, no network, so a push is kept
//! whether the server runs or not. The server turns each file into a delivery and removes it; the
//! file's name is the delivery's key, so that a crash between the two makes no second one.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inotify::{Inotify, WatchMask, Watches};
use tokio::sync::Notify;
use windlass_store::{ForgeKind, NewDelivery, Repo, Store, StoreError};

use crate::intake::local_path;
use crate::report::Problem;

/// The folder in the bare repository.
pub(crate) const SPOOL: &str = "windlass-spool";

/// How often spools are looked at without any wake-up.
const TICK: Duration = Duration::from_secs(2);

/// Lines between which the hook is ours, in a file that may hold other people's commands too.
const BEGIN: &str = "# >>> windlass >>>";
const END: &str = "# <<< windlass <<<";

const HOOK: &str = r#"# >>> windlass >>>
# Keeps every push for Windlass, whether its server runs or not. `windlass hook install` wrote this.
windlass_spool="$(git rev-parse --absolute-git-dir)/windlass-spool"
windlass_lines=$(cat)
if [ -n "$windlass_lines" ] && mkdir -p "$windlass_spool"; then
    windlass_n=0
    printf '%s\n' "$windlass_lines" | while read -r windlass_line; do
        windlass_n=$((windlass_n + 1))
        windlass_name="$(date +%s%N)-$$-$windlass_n"
        printf '%s\n' "$windlass_line" > "$windlass_spool/.$windlass_name" &&
            mv "$windlass_spool/.$windlass_name" "$windlass_spool/$windlass_name.push" ||
            echo "windlass: this push could not be kept in $windlass_spool" >&2
    done
fi
# <<< windlass <<<
"#;

/// Installs the hook in a bare repository (or a `.git` folder), beside what is there.
pub(crate) fn install(repository: &Path) -> Result<PathBuf, Problem> {
    let problem = |doing: &str, path: &Path, e: std::io::Error| {
        Problem::new(format!("could not {doing} {}: {e}", path.display()))
            .hint("run this as the user who owns the repository")
    };
    let hooks = repository.join("hooks");
    if !repository.join("HEAD").is_file() || !repository.join("objects").is_dir() {
        return Err(Problem::new(format!(
            "{} is not a bare git repository",
            repository.display()
        ))
        .hint("give the folder that pushes go to; `git init --bare DIR` makes one"));
    }
    let spool = repository.join(SPOOL);
    std::fs::create_dir_all(&hooks).map_err(|e| problem("create", &hooks, e))?;
    std::fs::create_dir_all(&spool).map_err(|e| problem("create", &spool, e))?;
    // Whoever may push (write objects) may spool.
    let mode = repository
        .join("objects")
        .metadata()
        .map_or(0o755, |m| m.mode() & 0o7777);
    std::fs::set_permissions(&spool, std::fs::Permissions::from_mode(mode))
        .map_err(|e| problem("share", &spool, e))?;
    let path = hooks.join("post-receive");
    let old = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(problem("read", &path, e)),
    };
    let text = with_hook(&old).ok_or_else(|| {
        Problem::new(format!("{} is not a shell script", path.display())).hint(
            "rename it to post-receive.d/old, say, and call it from a shell script named \
             post-receive",
        )
    })?;
    let temporary = hooks.join(".post-receive.windlass");
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|e| problem("write", &path, e))?;
    Ok(path)
}

/// The hook file's new text: ours is put in place of an older one of ours, or before what is there.
/// What was there reads the pushed refs from stdin too, so it gets them again.
fn with_hook(old: &str) -> Option<String> {
    if old.trim().is_empty() {
        return Some(format!("#!/bin/sh\n{HOOK}"));
    }
    if let (Some(begin), Some(end)) = (old.find(BEGIN), old.find(END)) {
        let tail = old[end + END.len()..].trim_start_matches('\n');
        return Some(format!("{}{HOOK}{tail}", &old[..begin]));
    }
    let (first, rest) = old.split_once('\n')?;
    let shell = first.starts_with("#!") && first.split(['/', ' ']).any(|w| w.ends_with("sh"));
    shell.then(|| {
        format!("{first}\n{HOOK}exec <<WINDLASS_LINES\n$windlass_lines\nWINDLASS_LINES\n{rest}",)
    })
}

/// Turns spooled pushes into deliveries, for ever.
pub(crate) async fn watch(store: Store) {
    let mut watcher = Watcher::new();
    let mut changes = store.changes();
    loop {
        changes.mark_unchanged();
        match store.repos().await {
            Ok(repos) => {
                for repo in &repos {
                    if let Some(spool) = spool_of(repo) {
                        watcher.add(&spool);
                        collect(&store, repo, &spool).await;
                    }
                }
            }
            Err(error) => tracing::error!(%error, "could not list the repositories"),
        }
        tokio::select! {
            () = watcher.wait() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

fn spool_of(repo: &Repo) -> Option<PathBuf> {
    let path = Path::new(local_path(&repo.url)?);
    [path.join(SPOOL), path.join(".git").join(SPOOL)]
        .into_iter()
        .find(|p| p.is_dir())
}

/// Reads the spool's files, the oldest first.
async fn collect(store: &Store, repo: &Repo, spool: &Path) {
    let Ok(entries) = std::fs::read_dir(spool) else {
        return;
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".push") && !name.starts_with('.'))
        .collect();
    names.sort();
    for name in names {
        let path = spool.join(&name);
        if let Err(error) = deliver(store, repo, &name, &path).await {
            tracing::error!(%error, file = %path.display(), "could not take in a push");
            return;
        }
    }
}

async fn deliver(store: &Store, repo: &Repo, name: &str, path: &Path) -> Result<(), StoreError> {
    let failed = |doing| {
        move |source| StoreError::File {
            doing,
            path: path.to_path_buf(),
            source,
        }
    };
    let body = std::fs::read(path).map_err(failed("read"))?;
    let key = format!("{}/{name}", repo.id);
    let remote = path.parent().unwrap_or(path).display().to_string();
    let new = NewDelivery {
        forge: ForgeKind::Git,
        key: &key,
        event: "push",
        repo_id: Some(repo.id),
        content_type: None,
        remote: &remote,
        signature: None,
        body: &body,
    };
    store.receive(&new).await?;
    std::fs::remove_file(path).map_err(failed("remove"))
}

/// Wakes when a file is moved into a watched folder. Without inotify there is only the tick.
struct Watcher {
    watches: Option<Watches>,
    watched: Vec<PathBuf>,
    woken: Arc<Notify>,
}

impl Watcher {
    fn new() -> Self {
        let woken = Arc::new(Notify::new());
        let watches = Inotify::init().ok().map(|inotify| {
            let (watches, woken) = (inotify.watches(), Arc::clone(&woken));
            // A thread of its own that waits in the kernel; it ends with the process.
            std::thread::spawn(move || wake_on_events(inotify, &woken));
            watches
        });
        Self {
            watches,
            watched: Vec::new(),
            woken,
        }
    }

    fn add(&mut self, folder: &Path) {
        if self.watched.iter().any(|known| known == folder) {
            return;
        }
        let Some(watches) = &mut self.watches else {
            return;
        };
        if watches.add(folder, WatchMask::MOVED_TO).is_ok() {
            self.watched.push(folder.to_path_buf());
        }
    }

    async fn wait(&self) {
        self.woken.notified().await;
    }
}

/// What happened does not matter: all spools are read anyway.
fn wake_on_events(mut inotify: Inotify, woken: &Notify) {
    let mut events = [0; 4096];
    while inotify.read_events_blocking(&mut events).is_ok() {
        woken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_changes_nothing_and_keeps_what_was_there() {
        let fresh = with_hook("").unwrap();
        assert_eq!(with_hook(&fresh).unwrap(), fresh);

        let theirs = "#!/bin/bash\nwhile read old new ref; do mail \"$ref\"; done\n";
        let both = with_hook(theirs).unwrap();
        assert!(both.starts_with("#!/bin/bash\n") && both.contains("mail \"$ref\""));
        assert_eq!(with_hook(&both).unwrap(), both);
        assert!(with_hook("#!/usr/bin/python3\nprint()\n").is_none());
    }

    #[test]
    fn the_hook_spools_each_line_and_passes_them_on_to_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let git = dir.path().join("x.git");
        let mut init = std::process::Command::new("git");
        assert!(
            init.args(["init", "-q", "--bare"])
                .arg(&git)
                .status()
                .unwrap()
                .success()
        );
        std::fs::write(git.join("hooks/post-receive"), "#!/bin/sh\ncat > seen\n").unwrap();
        let hook = install(&git).unwrap();
        let mut child = std::process::Command::new(hook)
            .current_dir(&git)
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = "a b refs/heads/x\nc d refs/heads/y\n";
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(git.join("seen")).unwrap(), lines);
        let mut spooled: Vec<_> = std::fs::read_dir(git.join(SPOOL))
            .unwrap()
            .map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap())
            .collect();
        spooled.sort();
        assert_eq!(spooled, ["a b refs/heads/x\n", "c d refs/heads/y\n"]);
    }
}
