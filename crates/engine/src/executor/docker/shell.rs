//! A terminal in the container of a job, for a person who wants to see why it failed: in the container itself
//! while it runs, and in a copy of what it left when it has ended and was kept.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerConfig, ContainerCreateBody, ExecConfig, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptions, CommitContainerOptions, CreateContainerOptions,
    InspectContainerOptions, ListImagesOptions, RemoveImageOptions, ResizeContainerTTYOptions,
    ResizeExecOptions, StartContainerOptions,
};
use futures_util::Stream;
use tokio::io::AsyncWrite;
use windlass_model::AttemptId;

use super::{DROPPED, DockerExecutor, WORKSPACE, words};
use crate::executor::ExecutorError;

/// What a person talks to.
pub struct Shell {
    /// What it prints.
    pub output: Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>,
    /// What is typed.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// For all else.
    pub handle: ShellHandle,
}

/// A shell's size and its end.
pub struct ShellHandle {
    docker: Docker,
    kind: Kind,
}

enum Kind {
    /// In the container of a job that runs: the command's id.
    Beside(String),
    /// In a container of its own, of an image of its own.
    Copy { container: String, image: String },
}

impl DockerExecutor {
    /// Where it is noted until when the container of an attempt is kept. Not in the attempt's folder, which is
    /// gone by then.
    fn kept_file(&self, attempt: &AttemptId) -> PathBuf {
        let folder = self.local.folder(attempt);
        let root = folder.parent().unwrap_or(Path::new("/"));
        root.join(format!(".kept-{attempt}"))
    }

    /// Whether the container is kept for a person who may come.
    pub(super) fn is_kept(&self, attempt: &AttemptId) -> bool {
        let text = std::fs::read_to_string(self.kept_file(attempt)).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.is_ok_and(|now| {
            text.trim()
                .parse()
                .is_ok_and(|until: u64| until > now.as_secs())
        })
    }

    /// Forgets that it was kept, and removes images that a shell left behind which was killed.
    pub(super) async fn forget_kept(&self, docker: &Docker, attempt: &AttemptId) {
        let path = self.kept_file(attempt);
        if !path.exists() {
            return;
        }
        // A copy's image has the labels of its container.
        let options = ListImagesOptions {
            filters: Some(self.filters(&format!("{}={attempt}", super::ATTEMPT_LABEL))),
            ..ListImagesOptions::default()
        };
        for image in docker.list_images(Some(options)).await.unwrap_or_default() {
            remove_image(docker, &image.id).await;
        }
        std::fs::remove_file(path).unwrap_or_default();
    }

    /// In the place of removing an attempt that has ended: keeps its container for so many seconds, and nothing
    /// else of it. A sweep removes it when the time is over.
    ///
    /// # Errors
    /// The disk, or the daemon.
    pub async fn keep(&self, attempt: &AttemptId, seconds: u64) -> Result<(), ExecutorError> {
        let docker = self.docker()?;
        let path = self.kept_file(attempt);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        std::fs::write(&path, (now + seconds).to_string()).map_err(super::file("write", &path))?;
        let own = format!("{}={attempt}", super::ATTEMPT_LABEL);
        let main = format!("/{}", self.container(attempt));
        for found in self.containers(&docker, &own).await? {
            if !found.names.unwrap_or_default().contains(&main) {
                self.remove_container(&docker, &found.id.unwrap_or_default())
                    .await?;
            }
        }
        super::super::Executor::remove(&self.local, attempt).await
    }

    /// A shell in the attempt's container. With `terminal`, as a person has it; otherwise for a pipe.
    ///
    /// # Errors
    /// There is no such container, or no shell in it.
    pub async fn shell(&self, attempt: &AttemptId, terminal: bool) -> Result<Shell, ExecutorError> {
        let docker = self.docker()?;
        let name = self.container(attempt);
        let Some(found) = self.inspect(&docker, &name).await? else {
            return Err(ExecutorError::Docker {
                doing: "open a shell in the job's container".to_owned(),
                message: "it is gone".to_owned(),
                hint: "containers of jobs that fail are kept with `windlass serve --keep-failed SECONDS`: retry \
                       the build on such a server"
                    .to_owned(),
            });
        };
        let runs = found.state.as_ref().and_then(|state| state.running) == Some(true);
        if runs {
            return self.shell_beside(docker, &name, terminal).await;
        }
        let config = found.config.unwrap_or_default();
        self.shell_in_copy(docker, &name, config, terminal).await
    }

    async fn shell_beside(
        &self,
        docker: Docker,
        name: &str,
        terminal: bool,
    ) -> Result<Shell, ExecutorError> {
        let config = ExecConfig {
            cmd: Some(words(&["sh"])),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(terminal),
            working_dir: Some(WORKSPACE.to_owned()),
            ..ExecConfig::default()
        };
        let failed = |e| self.failed("open a shell in the job's container", e);
        let id = docker.create_exec(name, config).await.map_err(failed)?.id;
        let options = StartExecOptions {
            tty: terminal,
            ..StartExecOptions::default()
        };
        match docker
            .start_exec(&id, Some(options))
            .await
            .map_err(failed)?
        {
            StartExecResults::Attached { output, input } => Ok(Shell {
                output,
                input,
                handle: ShellHandle {
                    docker,
                    kind: Kind::Beside(id),
                },
            }),
            StartExecResults::Detached => Err(ExecutorError::Shim {
                reason: "Docker detached a shell that was to be attached".to_owned(),
            }),
        }
    }

    async fn shell_in_copy(
        &self,
        docker: Docker,
        name: &str,
        of: ContainerConfig,
        terminal: bool,
    ) -> Result<Shell, ExecutorError> {
        let found_labels = of.labels;
        let failed = |e| self.failed("open a shell in a copy of the job's container", e);
        let options = CommitContainerOptions {
            container: Some(name.to_owned()),
            pause: false,
            ..CommitContainerOptions::default()
        };
        let image = docker
            .commit_container(options, ContainerConfig::default())
            .await
            .map_err(failed)?
            .id;
        let body = ContainerCreateBody {
            image: Some(image.clone()),
            entrypoint: Some(words(&["sh"])),
            cmd: Some(Vec::new()),
            user: of.user,
            working_dir: Some(WORKSPACE.to_owned()),
            tty: Some(terminal),
            open_stdin: Some(true),
            stdin_once: Some(true),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            // Should this program be killed: it goes with the container that is kept.
            labels: found_labels,
            host_config: Some(HostConfig {
                // The workspace of a read-only container is on one.
                volumes_from: Some(vec![name.to_owned()]),
                cap_drop: Some(words(DROPPED)),
                security_opt: Some(words(&["no-new-privileges:true"])),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let made = docker
            .create_container(None::<CreateContainerOptions>, body)
            .await;
        let container = match made {
            Ok(made) => made.id,
            Err(e) => {
                remove_image(&docker, &image).await;
                return Err(failed(e));
            }
        };
        let handle = ShellHandle {
            docker: docker.clone(),
            kind: Kind::Copy {
                container: container.clone(),
                image,
            },
        };
        let options = AttachContainerOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            stream: true,
            logs: false,
            detach_keys: None,
        };
        let begun = async {
            let attached = docker.attach_container(&container, Some(options)).await?;
            docker
                .start_container(&container, None::<StartContainerOptions>)
                .await?;
            Ok(attached)
        };
        match begun.await {
            Ok(attached) => Ok(Shell {
                output: attached.output,
                input: attached.input,
                handle,
            }),
            Err(e) => {
                handle.end().await;
                Err(failed(e))
            }
        }
    }
}

impl ShellHandle {
    /// Tells it the size of the person's terminal.
    pub async fn resize(&self, columns: u16, rows: u16) {
        let (w, h) = (i32::from(columns), i32::from(rows));
        // A shell of the wrong size is still a shell.
        match &self.kind {
            Kind::Beside(id) => {
                let options = ResizeExecOptions { h, w };
                self.docker
                    .resize_exec(id, options)
                    .await
                    .unwrap_or_default();
            }
            Kind::Copy { container, .. } => {
                let options = ResizeContainerTTYOptions { h, w };
                let resized = self.docker.resize_container_tty(container, options).await;
                resized.unwrap_or_default();
            }
        }
    }

    /// Removes what was made for it; the shell's exit code, if it can be known.
    pub async fn end(self) -> Option<i64> {
        match self.kind {
            Kind::Beside(id) => self.docker.inspect_exec(&id).await.ok()?.exit_code,
            Kind::Copy { container, image } => {
                let found = self
                    .docker
                    .inspect_container(&container, None::<InspectContainerOptions>)
                    .await;
                let options = bollard::query_parameters::RemoveContainerOptions {
                    force: true,
                    ..Default::default()
                };
                // A container that can't be removed now is a sweep's.
                let removed = self
                    .docker
                    .remove_container(&container, Some(options))
                    .await;
                removed.unwrap_or_default();
                remove_image(&self.docker, &image).await;
                found.ok()?.state?.exit_code
            }
        }
    }
}

async fn remove_image(docker: &Docker, image: &str) {
    let removed = docker
        .remove_image(image, None::<RemoveImageOptions>, None)
        .await;
    if let Err(error) = removed {
        tracing::debug!(%error, image, "a copy of a container stays as an image");
    }
}
