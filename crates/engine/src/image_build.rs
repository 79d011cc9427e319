//! Steps that make container images, as the shim runs them: our own program ([`Request`] is what it is
//! asked), which drives Docker's client.
//!
//! They run on the server's machine and not in the job's container, because only there is the way to the
//! daemon; and alone in their job, so that no script is near the login that an image is pushed with.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use windlass_model::plan::ImageBuild;
use windlass_model::{JobPlan, Secret};
use windlass_shim::order::{Order, Secrets};

use crate::executor::registry::Registries;

/// The hidden command of our program that makes an image.
pub const COMMAND: &str = "build-image";

/// The label of images that were made here; its value is the mark of the data folder.
pub const LABEL: &str = "windlass.built";

/// The output with the digest of the image that was pushed last, if the job declares it.
pub const DIGEST: &str = "digest";

/// The variables of this machine by which Docker's client finds the daemon, and whether it uses BuildKit.
const CLIENT_VARIABLES: &[&str] = &[
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "SSH_AUTH_SOCK",
    "DOCKER_BUILDKIT",
];

/// The folder of the locks, below the folder of all attempts. It can't be an attempt's name.
const LOCKS: &str = ".images";

/// What is asked of the command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// The image.
    pub build: ImageBuild,
    /// The checkout.
    pub workspace: PathBuf,
    /// The daemon, as in `DOCKER_HOST`.
    pub host: String,
    /// The value of [`LABEL`].
    pub owner: String,
    /// The folder of the locks.
    pub locks: PathBuf,
    /// Whether it may push; if not, why.
    pub push: Result<(), String>,
    /// Whether the digest goes to `$WINDLASS_OUTPUT`.
    pub digest: bool,
    /// Names of variables that are BuildKit's secrets.
    pub secrets: Vec<String>,
    /// Who we are to registries; `None` is whoever the user of this machine is.
    pub logins: Option<Vec<Login>>,
}

/// A login at a registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    /// The registry's host.
    pub host: String,
    /// The user's name there.
    pub user: String,
    /// The variable with the password: what is in variables is masked in the log.
    pub password_in: String,
}

/// What is the same for all images that a server makes.
#[derive(Debug, Clone)]
pub struct Builder<'a> {
    /// Our program.
    pub program: &'a Path,
    /// As [`Request::host`].
    pub host: &'a str,
    /// As [`Request::owner`].
    pub owner: String,
    /// The folder of all attempts.
    pub root: &'a Path,
    /// As [`Request::push`].
    pub push: Result<(), String>,
    /// As [`Request::logins`].
    pub registries: Option<&'a Registries>,
}

/// Whether the job makes images.
pub fn has_builds(job: &JobPlan) -> bool {
    job.steps.iter().any(|step| step.build.is_some())
}

/// Puts our program in the place of what a person would type.
pub fn prepare(order: &mut Order, secrets: &mut Secrets, job: &JobPlan, builder: &Builder<'_>) {
    if !has_builds(job) {
        return;
    }
    let names: Vec<String> = secrets.env.keys().cloned().collect();
    let logins = builder.registries.map(|registries| {
        let mut logins = Vec::new();
        for (number, (host, user, password)) in registries.all().enumerate() {
            let password_in = format!("WINDLASS_LOGIN_{number}");
            let value = Secret::expose(password).to_owned();
            secrets.env.insert(password_in.clone(), value);
            logins.push(Login {
                host: host.to_owned(),
                user: user.to_owned(),
                password_in,
            });
        }
        logins
    });
    for (step, ordered) in job.steps.iter().zip(&mut order.steps) {
        let Some(build) = &step.build else { continue };
        let request = Request {
            build: build.clone(),
            workspace: order.workspace.clone(),
            host: builder.host.to_owned(),
            owner: builder.owner.clone(),
            locks: builder.root.join(LOCKS),
            push: builder.push.clone(),
            digest: job.outputs.iter().any(|name| name == DIGEST),
            secrets: names.clone(),
            logins: logins.clone(),
        };
        ordered.argv = vec![
            builder.program.to_string_lossy().into_owned(),
            COMMAND.to_owned(),
            serde_json::to_string(&request).unwrap_or_default(),
        ];
        for name in CLIENT_VARIABLES {
            if let Ok(value) = std::env::var(name) {
                ordered.env.insert((*name).to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::plan::StepPlan;
    use windlass_model::{AttemptId, Event, Trigger};

    use super::*;
    use crate::executor::Inside;
    use crate::order::About;

    #[test]
    fn passwords_travel_only_as_secrets() {
        let step = StepPlan {
            build: Some(ImageBuild::default()),
            ..StepPlan::default()
        };
        let job = JobPlan {
            steps: vec![step],
            ..JobPlan::default()
        };
        let mut registries = Registries::default();
        registries.insert("r.example", "ada".to_owned(), Secret::new("swordfish"));
        let trigger = Trigger::new(
            Event::Manual,
            "a".repeat(40).parse().unwrap(),
            String::new(),
        );
        let about = About {
            repo: "demo",
            number: 1,
            trigger: &trigger,
            url: None,
        };
        let inside = Inside {
            workspace: "/w".into(),
            tmp: "/t".into(),
            env: std::collections::BTreeMap::new(),
        };
        let attempt: AttemptId = "a1".parse().unwrap();
        let mut order = crate::order::order(&attempt, &job, &about, inside);
        let mut secrets = Secrets::default();
        secrets.env.insert("NPM".to_owned(), "x".to_owned());
        let builder = Builder {
            program: Path::new("/bin/windlass"),
            host: "unix:///d",
            owner: "o".to_owned(),
            root: Path::new("/work"),
            push: Ok(()),
            registries: Some(&registries),
        };
        prepare(&mut order, &mut secrets, &job, &builder);
        let argv = &order.steps[0].argv;
        assert_eq!(argv[..2], ["/bin/windlass", COMMAND]);
        let request: Request = serde_json::from_str(&argv[2]).unwrap();
        assert_eq!(request.secrets, ["NPM"]);
        let login = &request.logins.unwrap()[0];
        assert_eq!(secrets.env[&login.password_in], "swordfish");
        assert!(!serde_json::to_string(&order).unwrap().contains("swordfish"));
    }
}
