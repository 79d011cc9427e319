//! The requests of a shim to its server. A server that is away is waited for; one that refuses is not.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::{Agent, Body, SendBody};
use windlass_shim::archive::{self, Item, Owner};
use windlass_shim::remote::{self, Assignment, DENIED, GONE, RUNNER, TAKEN, USELESS};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the other side may be silent while something is sent or read.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the first answer is waited for: a server that was never reached won't be missed by
/// anybody, and an address that is wrong must be told.
const FIRST: Duration = Duration::from_secs(60);
/// How long a server that was there is waited for.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// A shim that was told that there may be no way does not wait long for the first answer before it takes
/// the second.
const FIRST_SILENCE: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The server does not want to hear of this attempt, or can't be reached for longer than sense makes.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Refused> for String {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}

/// Why one request failed.
enum Failure {
    /// Trying again would be refused again.
    Refused(String),
    /// It may be better in a moment.
    Passing(String),
}

pub(crate) struct Server {
    agent: Agent,
    url: String,
    authorization: String,
    runner: String,
    /// Whether everything is here that the attempt begins with: then nothing hangs on the server.
    carried: bool,
    begun: Instant,
    /// When it answered last.
    answered: Mutex<Option<Instant>>,
    /// So many bytes of the journal it has.
    acknowledged: AtomicU64,
}

impl Server {
    pub(crate) fn new(assignment: &Assignment) -> Result<Self, String> {
        let config = Agent::config_builder()
            // The image's variables are not ours.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .user_agent("windlass-shim")
            .build();
        let mut word = [0_u8; 16];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut word))
            .map_err(|e| format!("/dev/urandom: {e}"))?;
        Ok(Self {
            agent: Agent::new_with_config(config),
            url: assignment.url.clone(),
            authorization: format!("Bearer {}", assignment.token),
            runner: word.iter().map(|byte| format!("{byte:02x}")).collect(),
            carried: assignment.carried > 0,
            begun: Instant::now(),
            answered: Mutex::new(None),
            acknowledged: AtomicU64::new(0),
        })
    }

    /// Whether it has not answered for so long that what it has to know is to be printed.
    pub(crate) fn is_away(&self) -> bool {
        match self.answered() {
            Some(at) => at.elapsed() > remote::SILENCE,
            None => self.carried && self.begun.elapsed() > FIRST_SILENCE,
        }
    }

    /// How many bytes of the journal it has, as far as is known here.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn answered(&self) -> Option<Instant> {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches what the attempt begins with.
    pub(crate) fn files(
        &self,
        unpack: impl Fn(&mut dyn Read) -> io::Result<()>,
    ) -> Result<(), Refused> {
        self.again(|| {
            let mut body = self.get("files")?;
            let mut reader = body.as_reader();
            unpack(&mut reader).map_err(|e| match e.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::PermissionDenied => {
                    Failure::Refused(format!("could not unpack the workspace: {e}"))
                }
                _ => Failure::Passing(format!("could not unpack the workspace: {e}")),
            })
        })
    }

    /// Sends journal bytes that begin at an offset; how many the server has now.
    pub(crate) fn journal(&self, at: u64, bytes: &[u8]) -> Result<u64, Refused> {
        self.again(|| {
            let url = format!("{}/journal?at={at}", self.url);
            let request = self.agent.post(url);
            let answer = request
                .header("authorization", &self.authorization)
                .header(RUNNER, &self.runner)
                .send(bytes);
            let text = self.text(answer)?;
            let have = text
                .trim()
                .parse()
                .map_err(|_| Failure::Passing(format!("it answered {text:?}")))?;
            self.acknowledged.store(have, Ordering::Relaxed);
            Ok(have)
        })
    }

    /// What there is to do; empty after a while without anything.
    pub(crate) fn orders(&self) -> Result<String, ()> {
        let mut body = self.get("orders").map_err(drop)?;
        body.read_to_string().map_err(drop)
    }

    /// Tells that the journal has no end.
    pub(crate) fn ended(&self, why: &str) -> Result<(), Refused> {
        self.again(|| {
            let answer = self
                .agent
                .post(format!("{}/ended", self.url))
                .header("authorization", &self.authorization)
                .header(RUNNER, &self.runner)
                .send(why);
            self.text(answer).map(drop)
        })
    }

    /// Sends what the job leaves behind.
    pub(crate) fn results(&self, items: &[Item]) -> Result<(), Refused> {
        self.again(|| {
            let (reader, writer) = io::pipe().map_err(|e| Failure::Passing(e.to_string()))?;
            let items = items.to_vec();
            // If it fails, the archive has no end, which the server notices.
            let packing =
                std::thread::spawn(move || archive::pack(&items, Owner::default(), writer));
            let answer = self
                .agent
                .put(format!("{}/results", self.url))
                .header("authorization", &self.authorization)
                .header(RUNNER, &self.runner)
                .send(SendBody::from_owned_reader(reader));
            let sent = self.text(answer);
            match packing.join() {
                Ok(Err(e)) if e.kind() != io::ErrorKind::BrokenPipe => {
                    Err(Failure::Passing(format!("could not read the results: {e}")))
                }
                _ => sent.map(drop),
            }
        })
    }

    fn get(&self, what: &str) -> Result<Body, Failure> {
        let answer = self
            .agent
            .get(format!("{}/{what}", self.url))
            .header("authorization", &self.authorization)
            .header(RUNNER, &self.runner)
            .call();
        self.body(answer)
    }

    fn text(
        &self,
        answer: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<String, Failure> {
        let mut body = self.body(answer)?;
        let text = body.read_to_string();
        text.map_err(|e| Failure::Passing(e.to_string()))
    }

    fn body(
        &self,
        answer: Result<ureq::http::Response<Body>, ureq::Error>,
    ) -> Result<Body, Failure> {
        let answer = answer.map_err(|e| Failure::Passing(e.to_string()))?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        match status {
            200 => {
                let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
                *answered = Some(Instant::now());
                return Ok(body);
            }
            DENIED => {
                return Err(Failure::Refused(
                    "the server knows another token".to_owned(),
                ));
            }
            TAKEN => {
                let words = "another container has this attempt";
                return Err(Failure::Refused(words.to_owned()));
            }
            GONE => return Err(Failure::Refused("the attempt is over".to_owned())),
            USELESS => {
                let words = "the server can't unpack what the job left behind";
                return Err(Failure::Refused(words.to_owned()));
            }
            _ => {}
        }
        let said = body.read_to_string().unwrap_or_default();
        Err(Failure::Passing(format!("status {status} {said}")))
    }

    /// Tries until it works, with pauses.
    fn again<T>(&self, mut request: impl FnMut() -> Result<T, Failure>) -> Result<T, Refused> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        loop {
            let why = match request() {
                Ok(answer) => return Ok(answer),
                Err(Failure::Refused(why)) => return Err(Refused(why)),
                Err(Failure::Passing(why)) => why,
            };
            let patient = self.carried || self.answered().is_some();
            if begun.elapsed() > if patient { PATIENCE } else { FIRST } {
                return Err(Refused(format!(
                    "the server can't be reached at {}: {why}",
                    self.url
                )));
            }
            if !told {
                eprintln!("windlass-shim: {}: {why}; trying again", self.url);
                told = true;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
