//! `windlass serve --demo`: a sample repository with a hook, and commits pushed to it, through the
//! same doors as everybody's.

use std::path::Path;
use std::process::Stdio;

use windlass_model::RepoName;
use windlass_store::{ForgeKind, NewRepo};
use windlass_web::urls;

use crate::cli::say;
use crate::folders::Folders;
use crate::report::Problem;
use crate::server::Server;
use crate::spool;

const NAME: &str = "demo";

/// What is committed and pushed: message and files.
const COMMITS: &[(&str, &[(&str, &str)])] = &[
    (
        "Count the words of a text",
        &[
            ("windlass.yml", SPEC),
            ("count.sh", COUNT),
            ("test.sh", TEST),
            ("text", TEXT),
        ],
    ),
    (
        "Count faster (this one breaks the test)",
        &[("count.sh", BROKEN)],
    ),
];

const SPEC: &str = r#"# How this repository is built: one step after the other, each must pass.
timeout: 10m
steps:
  - name: look around
    run: |
      uname -sr
      ls -l
  - name: build
    run: |
      printf '\033[1mbuilding\033[0m '
      for part in scanner parser counter; do
        printf '\033[36m%s\033[0m ' "$part"
        sleep 0.4
      done
      printf '\033[32mdone\033[0m\n'
  - name: test
    run: sh test.sh
"#;
const COUNT: &str = "#!/bin/sh\nwc -w < \"$1\" | tr -d ' '\n";
const BROKEN: &str = "#!/bin/sh\nwc -l < \"$1\" | tr -d ' '\n";
const TEST: &str = r#"#!/bin/sh
for i in 1 2 3 4 5; do
  printf '\r\033[Krunning test %d of 5' "$i"
  sleep 0.2
done
printf '\n'
found=$(sh count.sh text)
if [ "$found" = 9 ]; then
  printf '\033[32mok\033[0m    count.sh counts 9 words\n'
else
  printf '\033[31mFAIL\033[0m  count.sh says %s words, there are 9\n' "$found" >&2
  exit 1
fi
"#;
const TEXT: &str = "a windlass lifts what\nis too heavy for hands\n";

/// Makes the repository if it is not there, pushes to it, and prints what to open.
pub(crate) async fn set_up(server: &Server, folders: &Folders) -> Result<(), Problem> {
    let bare = folders.root.join("demo.git");
    let work = folders.root.join("demo-checkout");
    let name: RepoName = NAME.parse()?;
    if !bare.join("HEAD").exists() {
        git(&folders.root, &["init", "-q", "--bare", "demo.git"]).await?;
    }
    spool::install(&bare)?;
    let store = server.store();
    let first = !store.repos().await?.iter().any(|repo| repo.name == name);
    if first {
        let new = NewRepo {
            name: name.clone(),
            url: bare.display().to_string(),
            forge: ForgeKind::Git,
            forge_name: None,
            webhook_secret: None,
            status_token: None,
            build_forks: false,
        };
        store.add_repo(&new).await?;
        if work.exists() {
            std::fs::remove_dir_all(&work)?;
        }
        git(
            &folders.root,
            &["init", "-q", "-b", "main", "demo-checkout"],
        )
        .await?;
        for (message, files) in COMMITS {
            for (file, text) in *files {
                std::fs::write(work.join(file), text)?;
            }
            git(&work, &["add", "-A"]).await?;
            git(&work, &["commit", "-q", "-m", message]).await?;
            // Each commit is a push of its own, so each becomes a build.
            let target = bare.display().to_string();
            git(&work, &["push", "-q", &target, "HEAD:refs/heads/main"]).await?;
        }
    }
    let url = server.url();
    say("the demo repository got two pushes; open");
    say(format_args!("  {url}{}  all builds", urls::builds()));
    for (number, words) in [(1, "passes"), (2, "fails in its test")] {
        say(format_args!(
            "  {url}{}  {words}",
            urls::build(&name, number)
        ));
    }
    say("push more yourself:");
    say(format_args!(
        "  cd {} && git commit --allow-empty -m again",
        work.display()
    ));
    say(format_args!("  git push {} HEAD:main", bare.display()));
    Ok(())
}

async fn git(dir: &Path, args: &[&str]) -> Result<(), Problem> {
    let ran = tokio::process::Command::new("git")
        .args([
            "-c",
            "user.name=Windlass demo",
            "-c",
            "user.email=demo@windlass.invalid",
        ])
        .args(["-c", "commit.gpgsign=false", "-c", "core.hooksPath=hooks"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .output()
        .await;
    let output = ran.map_err(|e| {
        Problem::new(format!("could not run git: {e}")).hint("install it: apt-get install git")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Problem::new(format!(
        "git {} failed: {}",
        args[0],
        words.trim()
    )))
}
