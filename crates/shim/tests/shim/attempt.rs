//! Places an attempt, runs the shim on it, and reads the journal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use windlass_shim::journal::{Decoder, JobStarted, Record, StepEnded, StepResult, Stream};
use windlass_shim::order::{Limits, ORDER_VERSION, Order, OutputMode, Secrets, StepOrder};

/// No condition that a test waits for takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An attempt folder and its workspace, removed at the end.
pub(crate) struct Attempt {
    pub(crate) dir: PathBuf,
    pub(crate) order: Order,
    pub(crate) secrets: Option<Secrets>,
    _temp: tempfile::TempDir,
}

/// A shell script as a step with merged output.
pub(crate) fn sh(script: &str) -> StepOrder {
    StepOrder {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        timeout_ms: None,
        output: OutputMode::Merged,
        ..StepOrder::default()
    }
}

/// A journal, understood and proven to be whole.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) started: JobStarted,
    pub(crate) began: Vec<u32>,
    pub(crate) notes: Vec<(u32, String)>,
    pub(crate) ends: Vec<StepEnded>,
    /// Output of all steps by stream, in order.
    pub(crate) output: Vec<(u32, Stream, Vec<u8>)>,
}

impl Attempt {
    pub(crate) fn new(steps: Vec<StepOrder>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("attempt");
        let workspace = temp.path().join("workspace");
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&workspace).unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            dir,
            order: Order {
                version: ORDER_VERSION,
                attempt: format!("test-{}-{number}", std::process::id()),
                workspace,
                env: BTreeMap::from([("PATH".to_owned(), path.to_owned())]),
                timeout_ms: None,
                grace_ms: 10_000,
                inherit_env: false,
                limits: Limits::default(),
                output: None,
                steps,
            },
            secrets: None,
            _temp: temp,
        }
    }

    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        let secrets = self.secrets.get_or_insert_default();
        secrets.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn place(&self) {
        let order = serde_json::to_vec(&self.order).unwrap();
        fs::write(self.dir.join("order.json"), order).unwrap();
        if let Some(secrets) = &self.secrets {
            let secrets = serde_json::to_vec(secrets).unwrap();
            fs::write(self.dir.join("secrets.json"), secrets).unwrap();
        }
    }

    /// Places the attempt and starts the shim.
    pub(crate) fn start(&self) -> Shim {
        self.place();
        start_shim(&self.dir)
    }

    /// Runs it to its end, which must be a good one.
    pub(crate) fn run(&self) -> Journal {
        let status = self.start().wait();
        assert_eq!(status.code(), Some(0), "the shim's own exit code");
        self.assert_nothing_left();
        self.journal()
    }

    /// Cancels through the control FIFO.
    pub(crate) fn cancel(&self) {
        let control = self.dir.join("control");
        until("the control FIFO", || control.exists());
        fs::OpenOptions::new()
            .write(true)
            .open(control)
            .and_then(|mut fifo| std::io::Write::write_all(&mut fifo, b"cancel\n"))
            .unwrap();
    }

    /// The output so far, of a journal that may still grow.
    pub(crate) fn output_so_far(&self) -> Vec<u8> {
        let Ok(text) = fs::read(self.dir.join("journal")) else {
            return Vec::new();
        };
        let mut output = Vec::new();
        Decoder::default().push(&text, |entry, _| {
            if let Record::Output { bytes, .. } = entry.unwrap().record {
                output.extend_from_slice(&bytes);
            }
        });
        output
    }

    pub(crate) fn until_output(&self, expected: &str) {
        until(expected, || {
            let output = self.output_so_far();
            String::from_utf8_lossy(&output).contains(expected)
        });
    }

    /// Reads the whole journal; fails if anything is wrong with it.
    pub(crate) fn journal(&self) -> Journal {
        read_journal(&self.dir.join("journal"))
    }

    /// Processes anywhere on the machine that bear this attempt's mark.
    pub(crate) fn left(&self) -> Vec<String> {
        let mark = format!("WINDLASS_ATTEMPT={}", self.order.attempt);
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environ.split(|b| *b == 0).any(|v| v == mark.as_bytes()) {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                left.push(format!("{:?} {}", entry.file_name(), name.trim()));
            }
        }
        left
    }

    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.left(), Vec::<String>::new(), "processes left over");
    }
}

impl Journal {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.output.iter().flat_map(|(_, _, b)| b.clone()).collect()
    }

    pub(crate) fn of_step(&self, step: u32) -> Vec<u8> {
        let of = self.output.iter().filter(|(s, _, _)| *s == step);
        of.flat_map(|(_, _, b)| b.clone()).collect()
    }

    pub(crate) fn stream(&self, wanted: Stream) -> Vec<u8> {
        let of = self.output.iter().filter(|(_, s, _)| *s == wanted);
        of.flat_map(|(_, _, b)| b.clone()).collect()
    }

    pub(crate) fn results(&self) -> Vec<StepResult> {
        self.ends.iter().map(|end| end.result.clone()).collect()
    }

    pub(crate) fn notes_text(&self) -> String {
        let lines: Vec<&str> = self.notes.iter().map(|(_, text)| text.as_str()).collect();
        lines.join("\n")
    }
}

pub(crate) fn read_journal(path: &Path) -> Journal {
    let text = fs::read(path).unwrap();
    let mut journal = Journal {
        started: JobStarted {
            version: 0,
            attempt: String::new(),
            pid: 0,
            limits: String::new(),
        },
        began: Vec::new(),
        notes: Vec::new(),
        ends: Vec::new(),
        output: Vec::new(),
    };
    let mut ended = false;
    let mut ends = BTreeMap::new();
    let mut decoder = Decoder::default();
    decoder.push(&text, |entry, _| {
        assert!(!ended, "nothing may follow the last record");
        let entry = entry.unwrap_or_else(|damage| panic!("{damage}"));
        match entry.record {
            Record::JobStarted(started) => {
                assert_eq!(entry.seq, 0);
                journal.started = started;
            }
            Record::StepStarted { step, .. } => journal.began.push(step),
            Record::Output {
                step,
                stream,
                bytes,
            } => journal.output.push((step, stream, bytes.into_owned())),
            Record::Note { step, text } => journal.notes.push((step, text)),
            Record::StepEnded { step, end } => {
                let of_step = journal.output.iter().filter(|(s, _, _)| *s == step);
                let bytes: usize = of_step.map(|(_, _, b)| b.len()).sum();
                assert_eq!(end.output_bytes, bytes as u64, "output of step {step}");
                assert!(ends.insert(step, end).is_none(), "step {step} ends twice");
            }
            Record::JobEnded(_) => ended = true,
        }
    });
    assert!(ended, "the journal has no end: {journal:?}");
    assert!(ends.keys().copied().eq(0..ends.len() as u32), "{ends:?}");
    journal.ends = ends.into_values().collect();
    assert_eq!(decoder.position().offset, text.len() as u64);
    journal
}

pub(crate) fn start_shim(dir: &Path) -> Shim {
    let child = Command::new(env!("CARGO_BIN_EXE_windlass-shim"))
        .arg("run")
        .arg(dir)
        .env("LEAKED", "from the shim's own environment")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Shim(child)
}

/// A running shim; killed if the test fails before its end.
pub(crate) struct Shim(Child);

impl Shim {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        let mut status = None;
        until("the end of the shim", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

/// Polls until `condition` holds.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
