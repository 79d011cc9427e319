//! Logs of which only a copy elsewhere is left: they come back to the folder of logs when somebody
//! looks at them.

use std::path::Path;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use windlass_model::AttemptId;
use windlass_store::queue::Phase;

use crate::error::WebError;
use crate::places::Place;
use crate::state::App;

/// Who has copies of logs.
pub trait LogCopies: Send + Sync {
    /// Puts the log of a step into the folder of logs, if there is a copy of it; says whether there
    /// was. The error is for people.
    fn restore<'a>(
        &'a self,
        attempt: &'a AttemptId,
        step: u32,
    ) -> BoxFuture<'a, Result<bool, String>>;
}

/// Sees to it that the log of a place is here, if it is anywhere.
pub(crate) async fn bring_back(app: &App, place: &Place) -> Result<(), WebError> {
    let Some(copies) = &app.copies else {
        return Ok(());
    };
    let wrote = place
        .step()
        .is_some_and(|step| step.output_bytes.is_some_and(|bytes| bytes > 0));
    let attempt = place.attempt.attempt_id();
    if !wrote
        || place.attempt.phase != Phase::Done
        || is_here(&app.log_folder(&attempt), place.log_step())
    {
        return Ok(());
    }
    copies
        .restore(&attempt, place.log_step())
        .await
        .map(drop)
        .map_err(|reason| {
            WebError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("this log is in the archive, and could not be had from there: {reason}"),
            )
            .hint("try again later; `windlass archive status` says how the archive is")
        })
}

/// A log that is sealed has its figures; one that is not has its bytes.
fn is_here(folder: &Path, step: u32) -> bool {
    ["json", "log"]
        .iter()
        .any(|suffix| folder.join(format!("{step}.{suffix}")).exists())
}
