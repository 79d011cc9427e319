//! What a path names: a repository, a build, an attempt, a step. Handlers of pages, API and
//! streams find them here, so that all say the same when there is no such thing.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use windlass_model::plan::FIRST_SERVICE_LOG;
use windlass_model::{BuildNumber, Outcome, Plan, RepoName, StepPlan};
use windlass_store::{Attempt, Build, Step};

use crate::error::WebError;
use crate::state::App;

/// `{repo}`
pub(crate) struct RepoPath(pub(crate) RepoName);

/// `{repo}` and `{number}`
pub(crate) struct BuildPath {
    pub(crate) repo: RepoName,
    pub(crate) number: BuildNumber,
}

/// `{repo}`, `{number}` and `{step}`
pub(crate) struct StepPath {
    pub(crate) build: BuildPath,
    /// From 0, as in the store.
    pub(crate) step: i64,
}

/// `{repo}`, `{number}` and `{job}`
pub(crate) struct JobPath {
    pub(crate) build: BuildPath,
    /// From 0, as in the store.
    pub(crate) job: i64,
}

/// `{repo}`, `{number}`, `{attempt}` and `{name}`, and perhaps `{*path}`
pub(crate) struct ArtifactPath {
    pub(crate) build: BuildPath,
    pub(crate) attempt: i64,
    pub(crate) name: String,
    pub(crate) path: String,
}

/// `{id}`
pub(crate) struct DeliveryPath(pub(crate) i64);

type Segments = HashMap<String, String>;

async fn segments(parts: &mut Parts, app: &App) -> Result<Segments, WebError> {
    let path = Path::<Segments>::from_request_parts(parts, app).await;
    path.map(|Path(segments)| segments)
        .map_err(|_| WebError::not_found("such page"))
}

fn segment<'a>(segments: &'a Segments, name: &str) -> &'a str {
    segments.get(name).map_or("", String::as_str)
}

fn repo_of(segments: &Segments) -> Result<RepoName, WebError> {
    let text = segment(segments, "repo");
    text.parse()
        .map_err(|_| WebError::not_found(format!("repository named {text}")))
}

fn counted(segments: &Segments, name: &str) -> Result<i64, WebError> {
    let text = segment(segments, name);
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(WebError::not_found(format!("{name} {text}")).hint("these are counted from 1")),
    }
}

fn build_of(segments: &Segments) -> Result<BuildPath, WebError> {
    let text = segment(segments, "number");
    Ok(BuildPath {
        repo: repo_of(segments)?,
        number: match text.parse() {
            Ok(number) if number > 0 => number,
            _ => return Err(WebError::not_found(format!("build {text}"))),
        },
    })
}

impl FromRequestParts<App> for RepoPath {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, WebError> {
        Ok(Self(repo_of(&segments(parts, app).await?)?))
    }
}

impl FromRequestParts<App> for JobPath {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, WebError> {
        let segments = segments(parts, app).await?;
        Ok(Self {
            build: build_of(&segments)?,
            job: counted(&segments, "job")? - 1,
        })
    }
}

impl FromRequestParts<App> for ArtifactPath {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, WebError> {
        let segments = segments(parts, app).await?;
        Ok(Self {
            build: build_of(&segments)?,
            attempt: counted(&segments, "attempt")?,
            name: segment(&segments, "name").to_owned(),
            path: segment(&segments, "path").to_owned(),
        })
    }
}

impl FromRequestParts<App> for BuildPath {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, WebError> {
        build_of(&segments(parts, app).await?)
    }
}

impl FromRequestParts<App> for StepPath {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, WebError> {
        let segments = segments(parts, app).await?;
        Ok(Self {
            build: build_of(&segments)?,
            step: counted(&segments, "step")? - 1,
        })
    }
}

impl FromRequestParts<App> for DeliveryPath {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, WebError> {
        let segments = segments(parts, app).await?;
        let text = segment(&segments, "id");
        let id = text.parse();
        id.map(Self)
            .map_err(|_| WebError::not_found(format!("delivery {text}")))
    }
}

/// A number in the query, or the words for what is wrong with it.
pub(crate) fn number_in<T: std::str::FromStr>(
    name: &str,
    text: Option<&String>,
) -> Result<Option<T>, WebError> {
    // An empty field of a form is one that nobody filled in.
    match text.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => text
            .parse()
            .map(Some)
            .map_err(|_| WebError::bad_request(format!("`{name}` is not a number: {text}"))),
    }
}

/// A build and one of its attempts: the newest, or the one that is asked for.
pub(crate) async fn find_attempt(
    app: &App,
    path: &BuildPath,
    attempt: Option<&String>,
) -> Result<(Build, Attempt), WebError> {
    let number = number_in("attempt", attempt)?;
    let build = app.store.build(&path.repo, path.number).await?;
    let attempt = app
        .store
        .attempt(build.id, number.unwrap_or(build.attempt))
        .await?;
    Ok((build, attempt))
}

/// Which service of its job a log is of, from 0; `None` for a step's.
pub(crate) fn service_index(log: i64) -> Option<i64> {
    log.checked_sub(i64::from(FIRST_SERVICE_LOG))
        .filter(|index| *index >= 0)
}

/// The services beside an attempt's job, once their logs are there, as what has a log. They are neither passed nor
/// failed, and have no times of their own.
pub(crate) fn service_steps(attempt: &Attempt) -> Vec<Step> {
    if !attempt.state.is_final() {
        return Vec::new();
    }
    let all = attempt.plan.iter().flat_map(Plan::service_logs);
    all.map(|(number, name)| Step::untimed(number.into(), name.to_owned(), Some(Outcome::Skipped)))
        .collect()
}

/// A step, or a service that has a log, and everything that it belongs to.
pub(crate) struct Place {
    pub(crate) build: Build,
    pub(crate) attempt: Attempt,
    pub(crate) steps: Vec<Step>,
    /// Which of `steps`, from 0, or the number of a service's log.
    pub(crate) index: i64,
}

impl Place {
    /// Whether this is no step, but a service beside the job.
    pub(crate) fn is_service(&self) -> bool {
        service_index(self.index).is_some()
    }

    /// The step, or `None` while the plan is not known.
    pub(crate) fn step(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.index == self.index)
    }

    /// The step as it was planned.
    pub(crate) fn planned(&self) -> Option<&StepPlan> {
        let job = self.attempt.plan.as_ref()?.jobs.first()?;
        job.steps.get(usize::try_from(self.index).ok()?)
    }

    /// The step's number in the log folder.
    pub(crate) fn log_step(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }

    /// Whether nothing will be added to the log any more, as far as the store knows.
    pub(crate) fn is_over(&self) -> bool {
        self.attempt.state.is_final() || self.step().is_some_and(|step| step.outcome.is_some())
    }

    pub(crate) fn no_step(&self) -> WebError {
        if self.is_service() {
            return WebError::not_found(format!(
                "log of such a service in build {} of {}",
                self.build.number, self.build.repo
            ))
            .hint("the logs of services are kept when their job is over");
        }
        let error = WebError::not_found(format!(
            "step {} in build {} of {}",
            self.index + 1,
            self.build.number,
            self.build.repo
        ));
        if self.steps.is_empty() && !self.attempt.state.is_final() {
            error.hint("its steps are known once its spec has been read: look again in a moment")
        } else {
            error
        }
    }
}

/// The tombstone of removed logs, as an answer.
pub(crate) fn still_kept(attempt: &Attempt) -> Result<(), WebError> {
    match &attempt.logs_removed {
        Some((ms, why)) => Err(WebError::new(
            StatusCode::GONE,
            format!("the output was removed on {}", crate::text::utc(ms)),
        )
        .hint(why.clone())),
        None => Ok(()),
    }
}

/// Finds the place of a step; the step itself may not be known yet.
pub(crate) async fn find_place(
    app: &App,
    path: &StepPath,
    attempt: Option<&String>,
) -> Result<Place, WebError> {
    let (build, attempt) = find_attempt(app, &path.build, attempt).await?;
    still_kept(&attempt)?;
    let mut steps = app.store.steps(attempt.id).await?;
    if service_index(path.step).is_some() {
        steps.extend(service_steps(&attempt));
    }
    let place = Place {
        build,
        attempt,
        steps,
        index: path.step,
    };
    if let Some(step) = place.step() {
        crate::copies::bring_back(app, &place.attempt, step).await?;
    }
    Ok(place)
}
