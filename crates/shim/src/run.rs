//! One attempt at a job: from the lock to the journal's last record.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use windlass_shim::journal::{JobEnded, JobStarted, Record, StepEnded, StepResult};
use windlass_shim::order::{
    CONTROL_FILE, EXIT_ALREADY_TAKEN, JOURNAL_FILE, LOCK_FILE, ORDER_FILE, ORDER_VERSION, Order,
    SECRETS_FILE, Secrets, When,
};

use crate::cgroup::Cgroup;
use crate::control::{self, Control, Stop};
use crate::crew::Crew;
use crate::mask::Automaton;
use crate::step::{self, Job};
use crate::writer::{Carrier, Writer};

/// The version of the journal that this shim writes.
const JOURNAL_VERSION: u32 = 1;

/// Runs the attempt in `folder`. Returns the program's exit code: 0, or [`EXIT_ALREADY_TAKEN`].
///
/// # Errors
/// There is no journal, or not a whole one.
pub(crate) fn run(folder: &Path, carrier: Carrier) -> io::Result<i32> {
    let begin = Instant::now();
    close_inherited();
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK_FILE))?;
    // Held until this function returns.
    let _lock = match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(EXIT_ALREADY_TAKEN),
        Err((_, e)) => return Err(e.into()),
    };
    let mut journal = match Writer::create(&folder.join(JOURNAL_FILE), carrier) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(EXIT_ALREADY_TAKEN),
        journal => journal?,
    };
    // It fails for a process that leads a group already, which is as good.
    nix::unistd::setsid().unwrap_or(nix::unistd::getpid());
    let signals = control::open_signals()?;
    let fifo = control::open_fifo(&folder.join(CONTROL_FILE));
    let (fifo, fifo_error) = match fifo {
        Ok(fifo) => (Some(fifo), None),
        Err(e) => (
            None,
            Some(format!("the control FIFO could not be made: {e}")),
        ),
    };
    let mut control = Control::new(signals, fifo);

    let order = read_order(folder);
    let secrets = read_secrets(folder);
    let subreaper = nix::sys::prctl::set_child_subreaper(true)
        .map_err(|e| format!("the system lets nobody adopt orphans: {}", e.desc()));
    let ready = match (order, secrets, fifo_error, subreaper) {
        (Ok(order), Ok(secrets), None, Ok(())) => Ok((order, secrets)),
        (Err(broken), ..) => Err(broken),
        (Ok(order), secrets, fifo_error, subreaper) => Err(BrokenOrder {
            attempt: order.attempt,
            steps: order.steps.len(),
            reason: [secrets.err(), fifo_error, subreaper.err()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        }),
    };
    match ready {
        Ok((order, secrets)) => {
            let limit = order.timeout_ms.map(Duration::from_millis);
            control.set_deadline(limit.and_then(|limit| begin.checked_add(limit)));
            run_steps(&order, &secrets, &mut control, &mut journal)?;
        }
        Err(broken) => refuse(&broken, &mut control, &mut journal)?,
    }
    Ok(0)
}

/// Closes what the executor had open when it started the shim: neither the shim nor a step shall
/// hold the server's port or log open, possibly for hours after its end.
fn close_inherited() {
    let list = fs::read_dir("/proc/self/fd");
    let open: Vec<i32> = list
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // The list itself was one of them and is closed already.
        nix::unistd::close(fd).unwrap_or_default();
    }
}

fn run_steps(
    order: &Order,
    secrets: &Secrets,
    control: &mut Control,
    journal: &mut Writer,
) -> io::Result<()> {
    let (cgroup, limits) = Cgroup::create(&order.attempt, &order.limits);
    journal.record(&started(&order.attempt, limits));
    journal.flush()?;
    let values = secrets.env.values().chain(&secrets.mask);
    let automaton = Automaton::new(values.map(String::as_str));
    let mut job = Job {
        order,
        secrets,
        automaton: automaton.as_ref(),
        cgroup: cgroup.as_ref(),
        alone: false,
        control,
        journal,
    };
    let mut crew = Crew::default();
    let result = run_each(&mut job, &mut crew);
    crew.abort(&job);
    if let Some(cgroup) = cgroup {
        cgroup.remove();
    }
    result?;
    end(control, journal)
}

fn run_each<'a>(job: &mut Job<'a>, crew: &mut Crew<'a>) -> io::Result<()> {
    let order = job.order;
    for (number, step) in (0..).zip(&order.steps) {
        // A command may have come, or a background step ended, while nothing was awaited.
        crew.look(job)?;
        let failed = crew.failed();
        let stopped = failed && job.control.stop().is_some();
        let end = if let Some(reason) = &step.skip {
            let reason = reason.clone();
            never_ran(StepResult::NotNeeded { reason })
        } else if stopped || failed && step.when == When::Success {
            never_ran(StepResult::Skipped)
        } else if !failed && step.when == When::Failure {
            let reason = "no step before it failed".to_owned();
            never_ran(StepResult::NotNeeded { reason })
        } else if let Some(stop) = job.control.stop() {
            // The first step that did not run carries the cause; the others are skipped.
            let text = match stop {
                Stop::Cancelled => "cancelled before this step began",
                Stop::JobTimeout => "the job's time was over before this step began",
            };
            job.note(number, text);
            never_ran(step::stopped(stop))
        } else {
            crew.run(job, number, step)?;
            continue;
        };
        crew.end(job, number, end)?;
    }
    crew.dismiss(job)
}

/// The whole journal of an attempt that can't be run: nobody shall wait for it for ever.
fn refuse(broken: &BrokenOrder, control: &mut Control, journal: &mut Writer) -> io::Result<()> {
    eprintln!("windlass-shim: {}", broken.reason);
    journal.record(&started(&broken.attempt, "nothing was run".to_owned()));
    let reason = broken.reason.clone();
    let first = never_ran(StepResult::NotStarted { reason });
    journal.record(&Record::StepEnded {
        step: 0,
        end: first,
    });
    for (step, _) in (0..).zip(0..broken.steps).skip(1) {
        let end = never_ran(StepResult::Skipped);
        journal.record(&Record::StepEnded { step, end });
    }
    end(control, journal)
}

fn end(control: &mut Control, journal: &mut Writer) -> io::Result<()> {
    // The journal puts in its own counts.
    journal.record(&Record::JobEnded(JobEnded {
        records: 0,
        output_bytes: 0,
        crc32: 0,
    }));
    while !journal.flush()? {
        control.wait(&[], Some(Instant::now() + step::FULL_DISK_PAUSE))?;
    }
    journal.sync();
    Ok(())
}

fn started(attempt: &str, limits: String) -> Record<'static> {
    Record::JobStarted(JobStarted {
        version: JOURNAL_VERSION,
        attempt: attempt.to_owned(),
        pid: std::process::id(),
        limits,
    })
}

fn never_ran(result: StepResult) -> StepEnded {
    StepEnded {
        result,
        output_bytes: 0,
        left_out_bytes: 0,
        duration_us: 0,
        leftovers: 0,
    }
}

/// What is known of an attempt that can't be run.
struct BrokenOrder {
    attempt: String,
    steps: usize,
    reason: String,
}

fn read_order(folder: &Path) -> Result<Order, BrokenOrder> {
    let mut broken = BrokenOrder {
        attempt: String::new(),
        steps: 0,
        reason: String::new(),
    };
    let text = match fs::read(folder.join(ORDER_FILE)) {
        Ok(text) => text,
        Err(e) => {
            broken.reason = format!("{ORDER_FILE} can't be read: {e}");
            return Err(broken);
        }
    };
    // Another version may look different everywhere: as much as can be known is taken from it.
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    broken.attempt = value["attempt"].as_str().unwrap_or_default().to_owned();
    broken.steps = value["steps"].as_array().map_or(0, Vec::len);
    match value["version"].as_u64() {
        Some(version) if version != u64::from(ORDER_VERSION) => {
            broken.reason = format!(
                "{ORDER_FILE} has version {version}, and this shim understands {ORDER_VERSION}"
            );
            return Err(broken);
        }
        _ => {}
    }
    serde_json::from_slice(&text).map_err(|e| {
        broken.reason = format!("{ORDER_FILE} can't be understood: {e}");
        broken
    })
}

/// Reads the secrets and removes them from the disk, whatever they look like.
fn read_secrets(folder: &Path) -> Result<Secrets, String> {
    let path = folder.join(SECRETS_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Secrets::default()),
        Err(e) => return Err(format!("{SECRETS_FILE} can't be read: {e}")),
    };
    fs::remove_file(&path).map_err(|e| format!("{SECRETS_FILE} can't be removed: {e}"))?;
    // The parser's own words could quote a value.
    serde_json::from_slice(&text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        format!("{SECRETS_FILE} can't be understood (line {line}, column {column})")
    })
}
