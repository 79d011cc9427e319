//! Writes what the archive's outbox holds, checks it, and removes what is to go. One of these per
//! sink: an outage of one holds up no other, and no build.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use windlass_archive::http::backoff;
use windlass_archive::{ArchiveError, Elasticsearch, LogName, S3, Written};
use windlass_model::AttemptId;
use windlass_store::{ArchiveCopy, KeptCopy, Store, StoreError, failpoint};

use crate::archive::{ELASTICSEARCH, Fetcher, OBJECTS, log_name};

/// How often the outbox is looked at without any bell.
const TICK: Duration = Duration::from_secs(60);

/// How many rows are taken at once.
const BATCH: i64 = 50;

/// The longest pause in an outage.
const MOST_PAUSE: Duration = Duration::from_secs(300);

/// How often old indices are looked for.
const DROP_EVERY: Duration = Duration::from_secs(6 * 3600);

/// Where copies go.
#[derive(Clone)]
pub(crate) enum Sink {
    Elasticsearch(Arc<Elasticsearch>),
    Objects(Arc<S3>),
}

impl Sink {
    fn name(&self) -> &'static str {
        match self {
            Self::Elasticsearch(_) => ELASTICSEARCH,
            Self::Objects(_) => OBJECTS,
        }
    }
}

/// What keeping copies needs.
pub(crate) struct Archiver {
    pub(crate) store: Store,
    pub(crate) logs: PathBuf,
    pub(crate) instance: String,
    pub(crate) sink: Sink,
    /// Who brings logs back.
    pub(crate) fetcher: Arc<Fetcher>,
}

/// What became of one copy.
enum Done {
    /// It is settled.
    Settled,
    /// The sink does not work: no other copy will do better.
    Outage(Option<Duration>),
}

impl Archiver {
    /// Works for ever.
    pub(crate) async fn run(self) {
        let mut changes = self.store.changes();
        let (mut outages, mut dropped_at) = (0, None::<Instant>);
        loop {
            changes.mark_unchanged();
            let outage = match self.work_off().await {
                Ok(outage) => outage,
                Err(error) => {
                    tracing::error!(sink = self.sink.name(), %error, "could not work on the archive");
                    Some(None)
                }
            };
            if let Some(after) = outage {
                let pause = backoff(Duration::from_secs(1), outages, MOST_PAUSE);
                outages += 1;
                // Without the bell: builds end all the time, and the outage lasts.
                tokio::time::sleep(pause.max(after.unwrap_or_default())).await;
                continue;
            }
            outages = 0;
            if dropped_at.is_none_or(|at| at.elapsed() >= DROP_EVERY) {
                dropped_at = Some(Instant::now());
                self.drop_old().await;
            }
            let wait = self.until_next().await;
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn until_next(&self) -> Duration {
        match self.store.next_copy_ms(self.sink.name()).await {
            Ok(Some(next)) => {
                let ms = (next - windlass_store::db::now_ms()).max(20);
                Duration::from_millis(ms as u64).min(TICK)
            }
            _ => TICK,
        }
    }

    /// Handles all that is due, one after the other. Says if the sink does not work, and how long
    /// it asked us to wait.
    async fn work_off(&self) -> Result<Option<Option<Duration>>, StoreError> {
        loop {
            let due = self.store.due_copies(self.sink.name(), BATCH).await?;
            if due.is_empty() {
                return Ok(None);
            }
            for copy in due {
                if let Done::Outage(after) = self.handle(&copy).await? {
                    return Ok(Some(after));
                }
            }
        }
    }

    async fn handle(&self, copy: &ArchiveCopy) -> Result<Done, StoreError> {
        let name = log_name(&self.instance, copy);
        let done = if copy.state == "removing" {
            self.remove(copy, &name).await
        } else {
            self.keep(copy, &name).await
        };
        let error = match done {
            Ok(()) => return Ok(Done::Settled),
            Err(Trouble::Store(error)) => return Err(error),
            Err(Trouble::Archive(error)) => error,
        };
        let (log, sink, reason) = (name.describe(), self.sink.name(), error.to_string());
        if let ArchiveError::Refused { .. } | ArchiveError::Setting { .. } = error
            && copy.state == "waiting"
        {
            tracing::error!(log, sink, reason, "the archive refuses a log");
            self.store.copy_refused(copy.id, &reason).await?;
            return Ok(Done::Settled);
        }
        let tries = u32::try_from(copy.tries).unwrap_or(u32::MAX);
        let pause = backoff(Duration::from_secs(1), tries, MOST_PAUSE);
        tracing::warn!(log, sink, ?pause, reason, "a log could not be archived yet");
        let outage = match error {
            ArchiveError::Outage { after, .. } => Some(after),
            _ => None,
        };
        let wait = pause.max(outage.flatten().unwrap_or_default());
        let next = windlass_store::db::now_ms() + wait.as_millis() as i64;
        self.store.copy_later(copy.id, next, &reason).await?;
        Ok(outage.map_or(Done::Settled, Done::Outage))
    }

    /// Writes a copy, reads it back, and notes it.
    async fn keep(&self, copy: &ArchiveCopy, name: &LogName) -> Result<(), Trouble> {
        let attempt = AttemptId::from_row(copy.attempt_id);
        let dir = self.logs.join(attempt.as_str());
        let (at, step) = (dir.clone(), name.step);
        let looked = tokio::task::spawn_blocking(move || windlass_logs::copy::has_log(&at, step));
        let there = looked.await.map_err(|e| ArchiveError::Later {
            reason: e.to_string(),
        })?;
        // One whose files went because another sink has it comes back from there.
        if !there.map_err(ArchiveError::from)?
            && !self.fetcher.fetch_step(copy.attempt_id, step).await?
        {
            self.store
                .copy_empty(copy.id, "there is no log of this step here")
                .await?;
            return Ok(());
        }
        let written = match &self.sink {
            Sink::Elasticsearch(es) => es.write(name, &dir).await?,
            Sink::Objects(s3) => s3.write(name, &dir).await?,
        };
        failpoint::hit(format_args!("after-archive-write"));
        if let Err(error) = self.verify(name, &written).await {
            if let ArchiveError::Differs { .. } = error {
                // Something else is there under this name, of a data folder that was put back
                // from a backup, or it was changed: away with it, and anew.
                tracing::warn!(log = %name.describe(), %error, "the archive holds another log");
                self.discard(name, &written).await?;
            }
            return Err(error.into());
        }
        failpoint::hit(format_args!("after-archive-check"));
        let kept = KeptCopy {
            place: written.place,
            bytes: i64::try_from(written.meta.bytes).unwrap_or(i64::MAX),
            sha256: written.meta.sha256,
            parts: i64::try_from(written.parts).unwrap_or(i64::MAX),
            objects: written.objects,
        };
        self.store.copy_kept(copy.id, &kept).await?;
        tracing::debug!(log = %name.describe(), sink = self.sink.name(), "archived");
        Ok(())
    }

    async fn verify(&self, name: &LogName, written: &Written) -> Result<(), ArchiveError> {
        match &self.sink {
            Sink::Elasticsearch(es) => es.verify(name, &written.meta.sha256).await.map(drop),
            Sink::Objects(s3) => s3.verify(name, &written.meta.sha256).await,
        }
    }

    async fn discard(&self, name: &LogName, written: &Written) -> Result<(), ArchiveError> {
        match &self.sink {
            Sink::Elasticsearch(es) => es.remove(&name.selector()).await.map(drop),
            Sink::Objects(s3) => s3.remove(name, &written.objects).await,
        }
    }

    async fn remove(&self, copy: &ArchiveCopy, name: &LogName) -> Result<(), Trouble> {
        match &self.sink {
            Sink::Elasticsearch(es) => {
                es.remove(&name.selector()).await?;
            }
            Sink::Objects(s3) => {
                let objects = self.store.lone_objects(copy.id).await?;
                s3.remove(name, &objects).await?;
            }
        }
        failpoint::hit(format_args!("after-archive-remove"));
        self.store.copy_removed(copy.id).await?;
        Ok(())
    }

    async fn drop_old(&self) {
        let Sink::Elasticsearch(es) = &self.sink else {
            return;
        };
        let dropped = match es.drop_old(windlass_store::db::now_ms()).await {
            Ok(dropped) => dropped,
            Err(error) => {
                tracing::warn!(%error, "could not look for old indices");
                return;
            }
        };
        for index in dropped {
            match self.store.place_dropped(ELASTICSEARCH, &index).await {
                Ok(logs) => tracing::info!(index, logs, "dropped an old index"),
                Err(error) => tracing::error!(%error, "could not note a dropped index"),
            }
        }
    }
}

/// Ours or theirs.
enum Trouble {
    Store(StoreError),
    Archive(ArchiveError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ArchiveError> for Trouble {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}
