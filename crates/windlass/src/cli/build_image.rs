//! `windlass build-image`: what a `build` step runs. Drives Docker's client, so that `.dockerignore`, BuildKit,
//! its caches and its mirrors are as everywhere.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args as ClapArgs;
use serde_json::{Map, json};
use windlass_engine::executor::registry::{DOCKER_HUB, host_of};
use windlass_engine::image_build::{DIGEST, LABEL, Request};

use super::say;
use crate::report::Problem;

/// Everything in one argument: our own words, not a person's.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    request: String,
}

/// The exit code of a step whose image could not be made or pushed.
const FAILED: u8 = 1;

pub(crate) fn run(args: &Args) -> Result<u8, Problem> {
    let request: Request = serde_json::from_str(&args.request)
        .map_err(|e| Problem::new(format!("this is not what a `build` step asks: {e}")))?;
    let paths = Paths::of(&request)?;
    // With the attempt's other temporary files: whatever ends us, it is removed.
    let tmp = tempfile::Builder::new()
        .prefix("windlass-image")
        .tempdir()?;
    let client = Client::new(&request, tmp.path())?;
    std::fs::create_dir_all(&request.locks)?;
    // As long as somebody builds, nobody takes images without a name away: ours has none for a moment.
    let building = File::create(request.locks.join("building.lock"))?;
    building.lock_shared()?;
    let Some(image) = client.build(&request, &paths, tmp.path())? else {
        return Ok(FAILED);
    };
    let code = client.name(&request, &image)?;
    building.unlock()?;
    if building.try_lock().is_ok() {
        client.prune(&request.owner);
    }
    Ok(code)
}

/// The context and the file, as they are on the disk.
struct Paths {
    context: PathBuf,
    file: PathBuf,
}

impl Paths {
    /// A repository may hold links to wherever it likes; what they lead to must not get into an image, nor into
    /// an error message of Docker.
    fn of(request: &Request) -> Result<Self, Problem> {
        let workspace = request.workspace.canonicalize()?;
        let inside = |path: &Path, what: &str| {
            let shown = path.strip_prefix(&request.workspace).unwrap_or(path);
            let shown = shown.display();
            let found = path.canonicalize().map_err(|e| {
                Problem::new(format!("{what} {shown} can't be read: {e}")).hint(
                    "is it in the repository, or among the artifacts of the jobs that this one needs?",
                )
            })?;
            match found.starts_with(&workspace) {
                true => Ok(found),
                false => Err(Problem::new(format!(
                    "{what} {shown} is a link that leads out of the workspace"
                ))
                .hint("put the file itself there")),
            }
        };
        let folder = request.workspace.join(&request.build.context);
        let context = inside(&folder, "the context")?;
        if !context.is_dir() {
            let shown = &request.build.context;
            return Err(Problem::new(format!("the context {shown} is no folder")));
        }
        let file = match &request.build.file {
            Some(file) => request.workspace.join(file),
            None => folder.join("Dockerfile"),
        };
        let mut ignoring = file.clone().into_os_string();
        ignoring.push(".dockerignore");
        for ignore in [folder.join(".dockerignore"), ignoring.into()] {
            if ignore.symlink_metadata().is_ok() {
                inside(&ignore, "the file")?;
            }
        }
        let file = inside(&file, "the file")?;
        Ok(Self { context, file })
    }
}

/// Docker's client, for one daemon and with logins of its own.
struct Client {
    env: Vec<(&'static str, String)>,
    /// `docker buildx build`, or `docker build`.
    build: &'static [&'static str],
    has_buildkit: bool,
}

impl Client {
    fn new(request: &Request, tmp: &Path) -> Result<Self, Problem> {
        let mut client = Self {
            env: vec![("DOCKER_HOST", request.host.clone())],
            build: &["build"],
            has_buildkit: false,
        };
        if let Some(config) = own_config(request, tmp)? {
            client.env.push(("DOCKER_CONFIG", config));
        }
        let version = [
            "version",
            "--format",
            "{{.Client.Version}} {{.Server.Version}}",
        ];
        let output = client.command(&version).output().map_err(|e| {
            Problem::new(format!("Docker's client can't be run: {e}")).hint(
                "a `build` step needs it on the server's machine: `apt-get install docker.io`",
            )
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Problem::new(format!(
                "the Docker daemon at {} can't be used now: {said}",
                request.host
            ))
            .hint("is dockerd running, and may the server's user speak to it?"));
        }
        let versions = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let (own, daemon) = versions.split_once(' ').unwrap_or((&versions, ""));
        let major = |version: &str| version.split('.').next()?.parse::<u32>().ok();
        let has_buildx = || {
            let output = client.command(&["buildx", "version"]).output();
            output.is_ok_and(|output| output.status.success())
        };
        // As for Docker's own client: somebody does not want it.
        let unwanted = std::env::var_os("DOCKER_BUILDKIT").is_some_and(|value| value == "0");
        // Docker's client had BuildKit in itself until it became a plugin, in 23.
        if unwanted {
            client.has_buildkit = false;
        } else if has_buildx() {
            client.build = &["buildx", "build", "--load"];
            client.has_buildkit = true;
        } else if major(own).is_some_and(|m| m < 23) && major(daemon).is_some_and(|m| m >= 19) {
            client.has_buildkit = true;
        }
        let with = match client.has_buildkit {
            true => "1",
            false => "0",
        };
        client.env.push(("DOCKER_BUILDKIT", with.to_owned()));
        say(match client.has_buildkit {
            true => format!("Docker {daemon}, with BuildKit"),
            false if unwanted => format!("Docker {daemon}, without BuildKit (DOCKER_BUILDKIT=0)"),
            false => format!(
                "Docker {daemon}, without BuildKit: its plugin `docker buildx` is not on the server's machine"
            ),
        });
        Ok(client)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(args).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Makes the image; `None` if that failed, which Docker has told already.
    fn build(
        &self,
        request: &Request,
        paths: &Paths,
        tmp: &Path,
    ) -> Result<Option<String>, Problem> {
        let id_file = tmp.join("image-id");
        let mut command = self.command(self.build);
        let what = &request.build;
        command.arg(format!("--iidfile={}", id_file.display()));
        command.arg(format!("--label={LABEL}={}", request.owner));
        command.arg(format!("--file={}", paths.file.display()));
        command.args(what.target.iter().map(|name| format!("--target={name}")));
        let args = what.args.iter();
        command.args(args.map(|(name, value)| format!("--build-arg={name}={value}")));
        match (self.has_buildkit, request.secrets.as_slice()) {
            (_, []) => {}
            (true, names) => {
                for name in names {
                    let file = tmp.join(format!("secret-{name}"));
                    private_file(&file, std::env::var(name).unwrap_or_default().as_bytes())?;
                    command.arg(format!("--secret=id={name},src={}", file.display()));
                }
            }
            (false, _) => say("the job's secrets are not passed on: that needs BuildKit"),
        }
        let status = command.arg("--").arg(&paths.context).status()?;
        if !status.success() {
            say("the image could not be made; Docker's words are above");
            return Ok(None);
        }
        let image = std::fs::read_to_string(&id_file)?.trim().to_owned();
        say(format!("made {image}"));
        Ok(Some(image))
    }

    /// Gives the image its names, and pushes it.
    fn name(&self, request: &Request, image: &str) -> Result<u8, Problem> {
        let what = &request.build;
        let push = match (&request.push, what.push) {
            (_, false) => false,
            (Ok(()), true) => true,
            (Err(why), true) => {
                say(format!("not pushed: {why}"));
                false
            }
        };
        // A name leads to one image for the whole daemon: what is pushed must be ours, and not what another
        // build gave the name meanwhile.
        let naming = File::create(request.locks.join("naming.lock"))?;
        naming.lock()?;
        let mut code = 0;
        for tag in &what.tags {
            if !self.is_done(&["tag", "--", image, tag])? {
                code = FAILED;
            } else if !push {
                say(format!("named {tag}"));
            } else if !self.is_done(&["push", "--", tag])? {
                say(advice(request, tag));
                code = FAILED;
            } else if let Some(digest) = self.digest(image, tag) {
                say(format!("pushed {tag}, {digest}"));
                if request.digest {
                    hand_on(&digest)?;
                }
            }
            if code != 0 {
                break;
            }
        }
        if push {
            // The registry has it; here it would only fill the disk. What BuildKit remembers stays.
            for tag in &what.tags {
                let mut remove = self.command(&["image", "rm", "--no-prune", "--", tag]);
                remove
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()?;
            }
        }
        Ok(code)
    }

    fn is_done(&self, args: &[&str]) -> Result<bool, Problem> {
        Ok(self.command(args).status()?.success())
    }

    /// What the registry calls the image that was pushed.
    fn digest(&self, image: &str, tag: &str) -> Option<String> {
        let format = "{{range .RepoDigests}}{{println .}}{{end}}";
        let output = self
            .command(&["image", "inspect", "--format", format, "--", image])
            .output()
            .ok()?;
        let repository = repository_of(tag);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let digests = text.lines().filter_map(|line| line.split_once('@'));
        let mut ours = digests.filter(|(name, _)| repository_of(name) == repository);
        ours.next().map(|(_, digest)| digest.to_owned())
    }

    /// Takes images away that were made here and have lost their names. Nothing depends on it.
    fn prune(&self, owner: &str) {
        let filter = format!("label={LABEL}={owner}");
        let mut command = self.command(&["image", "prune", "--force", "--filter", &filter]);
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !ended.is_ok_and(|status| status.success()) {
            say("older images could not be removed now; the next build tries again");
        }
    }
}

/// Writes the digest to the job's outputs.
fn hand_on(digest: &str) -> std::io::Result<()> {
    let Some(path) = std::env::var_os("WINDLASS_OUTPUT") else {
        return Ok(());
    };
    let mut file = File::options().append(true).create(true).open(path)?;
    writeln!(file, "{DIGEST}={digest}")
}

/// A configuration for Docker's client that has the repository's logins and nothing else; `None` is the user's own.
fn own_config(request: &Request, tmp: &Path) -> Result<Option<String>, Problem> {
    let Some(logins) = &request.logins else {
        return Ok(None);
    };
    let mut auths = Map::new();
    for login in logins {
        let password = std::env::var(&login.password_in).unwrap_or_default();
        let auth = STANDARD.encode(format!("{}:{password}", login.user));
        let server = match login.host.as_str() {
            // Docker's own name for it in this file.
            DOCKER_HUB => "https://index.docker.io/v1/",
            host => host,
        };
        auths.insert(server.to_owned(), json!({ "auth": auth }));
    }
    let folder = tmp.join("docker");
    std::fs::create_dir(&folder)?;
    let text = json!({ "auths": auths }).to_string();
    private_file(&folder.join("config.json"), text.as_bytes())?;
    // Plugins that this user has installed for itself are found beside the configuration.
    if let Some(home) = std::env::var_os("HOME") {
        let plugins = Path::new(&home).join(".docker/cli-plugins");
        if plugins.is_dir() {
            std::os::unix::fs::symlink(plugins, folder.join("cli-plugins"))?;
        }
    }
    Ok(Some(folder.to_string_lossy().into_owned()))
}

/// A file that only this user reads.
fn private_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

/// `r.example:5000/a/b` of `r.example:5000/a/b:1`, in the form that all names of it share.
fn repository_of(tag: &str) -> &str {
    let tag = tag.trim_start_matches("docker.io/");
    let tag = tag.trim_start_matches("library/");
    let last = tag.rfind('/').map_or(0, |slash| slash + 1);
    match tag[last..].find(':') {
        Some(colon) => &tag[..last + colon],
        None => tag,
    }
}

fn advice(request: &Request, tag: &str) -> String {
    let host = host_of(tag);
    let logins = request.logins.as_deref().unwrap_or_default();
    let known = request.logins.is_none() || logins.iter().any(|login| login.host == host);
    match known {
        true => format!("{tag} could not be pushed: may the login for {host} write there?"),
        false => format!(
            "{tag} could not be pushed, and the repository has no login for {host}: `windlass registry set REPO \
             {host} --user NAME --password-file FILE`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_a_repository_are_one() {
        for (tag, repository) in [
            ("r.example:5000/a/b:1", "r.example:5000/a/b"),
            ("r.example:5000/a", "r.example:5000/a"),
            ("docker.io/library/alpine:3", "alpine"),
            ("alpine", "alpine"),
        ] {
            assert_eq!(repository_of(tag), repository);
        }
    }
}
