//! A lock in Redis in front of the database's own: whoever waits asks Redis, not the database.
//!
//! It makes nothing safe. A key of Redis goes when its time is over, when Redis restarts without its
//! data, when a replica takes over that had not heard of it; and whoever wrote it hears of that too
//! late. So the database's lock and fence stay the authority (`lock`), and a gate that is lost is
//! taken again if it is free, and otherwise only reported.

use std::fmt;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, Value, cmd};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::database::{DATA, Database, MAIN};
use crate::error::Error;
use crate::lock::Owner;
use crate::run::Which;

/// How long a key lives without renewal. Short, because losing it does no harm, and a killed
/// holder's key stops everybody for that long.
const LIFE: Duration = Duration::from_secs(5);
/// How often it is renewed.
const BEAT: Duration = Duration::from_secs(1);
/// How long a Redis that does not answer is waited for: a restart, a failover.
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Only if the key is still ours: a key that went may be somebody else's by now.
const RENEW: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
                     return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end";
const FREE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
                    return redis.call('del', KEYS[1]) else return 0 end";

/// Where the gate is, and which key.
#[derive(Clone)]
pub struct Gate {
    client: Client,
    place: String,
    key: String,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({} {})", self.place, self.key)
    }
}

/// Who has the gate.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Keyholder {
    /// `user@host:pid`.
    pub name: String,
    /// Since when, in milliseconds since 1970, by its own clock.
    pub since_ms: i64,
    /// After how many milliseconds the key goes, if it is not renewed. `None`: it does not go.
    pub expires_ms: Option<u64>,
    /// The key.
    pub key: String,
    #[serde(skip)]
    value: String,
}

impl fmt::Display for Keyholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (key {})", self.name, self.key)
    }
}

impl Keyholder {
    /// From the key's value: token, name, time.
    fn read(key: &str, value: String, expires: i64) -> Self {
        let mut words = value.split(' ').skip(1);
        Self {
            name: words.next().unwrap_or("somebody").to_owned(),
            since_ms: words.next().and_then(|t| t.parse().ok()).unwrap_or(0),
            expires_ms: u64::try_from(expires).ok(),
            key: key.to_owned(),
            value,
        }
    }
}

impl Gate {
    /// `url`: `redis://[user:password@]host[:port][/db]`, `rediss://...` (TLS), or
    /// `unix:///path/to/socket`. The key is made of the database's address, without user, and the
    /// history table; processes that know the database by different addresses give `name`.
    ///
    /// # Errors
    /// [`Error::Refused`] for anything else.
    pub fn new(
        url: &str,
        name: Option<&str>,
        database: &Database,
        table: &str,
    ) -> Result<Self, Error> {
        let client = Client::open(url).map_err(|e| {
            Error::Refused(format!(
                "--lock is no address of a Redis ({e}): say redis://host:6379/0, or rediss:// for TLS"
            ))
        })?;
        let key = match name {
            Some(name) => format!("windlass-migrate:{name}"),
            None => format!("windlass-migrate:{}:{table}", database.place()),
        };
        Ok(Self {
            client,
            place: crate::database::without_secrets(url),
            key,
        })
    }

    /// The gate of this lock.
    pub fn of(&self, which: Which) -> Self {
        self.beside(match which {
            Which::Schema => MAIN,
            Which::Data => DATA,
        })
    }

    /// The gate of a lock beside the main one.
    pub(crate) fn beside(&self, lane: &str) -> Self {
        Self {
            key: format!("{}{lane}", self.key),
            ..self.clone()
        }
    }

    fn away(&self, error: &RedisError) -> Error {
        Error::Gate {
            gate: self.place.clone(),
            why: error.to_string(),
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(Some(ANSWER));
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    /// Who has it now.
    ///
    /// # Errors
    /// [`Error::Gate`].
    pub async fn holder(&self) -> Result<Option<Keyholder>, Error> {
        let asked = async {
            let mut link = self.connect().await?;
            self.look(&mut link).await
        };
        asked.await.map_err(|e| self.away(&e))
    }

    /// Takes it away from this holder; not from one who came after.
    ///
    /// # Errors
    /// [`Error::Gate`].
    pub async fn evict(&self, holder: &Keyholder) -> Result<(), Error> {
        let asked = async {
            let mut link = self.connect().await?;
            free(&mut link, &self.key, &holder.value).await
        };
        asked.await.map_err(|e| self.away(&e))
    }

    async fn look(
        &self,
        link: &mut MultiplexedConnection,
    ) -> Result<Option<Keyholder>, RedisError> {
        let value: Option<String> = cmd("GET").arg(&self.key).query_async(link).await?;
        let Some(value) = value else {
            return Ok(None);
        };
        let expires: i64 = cmd("PTTL").arg(&self.key).query_async(link).await?;
        Ok(Some(Keyholder::read(&self.key, value, expires)))
    }

    /// Asks for the gate, again and again, until `end`. `waiter` is told who has it, and says how long
    /// to wait before the next try; `None`: we need it no more, and the answer is `None`.
    pub(crate) async fn enter(
        &self,
        me: &Owner,
        end: Instant,
        waiter: &mut impl Waiter,
    ) -> Result<Option<Keeper>, Error> {
        let value = value(me)?;
        let mut link = None;
        let mut away_since: Option<Instant> = None;
        loop {
            let pause = match self.attempt(&mut link, &value).await {
                Ok(None) => {
                    return Ok(link.map(|link| Keeper::start(self.clone(), link, value)));
                }
                Ok(Some(holder)) => {
                    away_since = None;
                    let pause = waiter.wait(Asked::Held(&holder)).await?;
                    if pause.is_some() && Instant::now() >= end {
                        return Err(Error::Shut {
                            holder: Box::new(holder),
                        });
                    }
                    pause
                }
                Err(error) => {
                    link = None;
                    let now = Instant::now();
                    let since = *away_since.get_or_insert(now);
                    if is_final(&error) || now >= end || now - since >= GRACE {
                        return Err(self.away(&error));
                    }
                    let why = format!("{}: {error}", self.place);
                    waiter.wait(Asked::Away(&why)).await?
                }
            };
            match pause {
                Some(pause) => sleep(pause).await,
                None => return Ok(None),
            }
        }
    }

    /// `None`: it is ours.
    async fn attempt(
        &self,
        link: &mut Option<MultiplexedConnection>,
        value: &str,
    ) -> Result<Option<Keyholder>, RedisError> {
        let link = match link {
            Some(link) => link,
            None => link.insert(self.connect().await?),
        };
        loop {
            if take(link, &self.key, value).await? {
                return Ok(None);
            }
            // It may have gone in between.
            if let Some(holder) = self.look(link).await? {
                return Ok(Some(holder));
            }
        }
    }
}

/// Who waits for the gate. Not an async closure: a future that holds one can't be spawned.
pub(crate) trait Waiter: Send {
    /// How long to wait before the next try. `None`: the gate is needed no more.
    fn wait(
        &mut self,
        asked: Asked<'_>,
    ) -> impl Future<Output = Result<Option<Duration>, Error>> + Send;
}

/// What came of asking for the gate.
pub(crate) enum Asked<'a> {
    /// Somebody else has it.
    Held(&'a Keyholder),
    /// Redis does not answer, or not yet.
    Away(&'a str),
}

/// Another try would end in the same way.
fn is_final(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig
    ) || matches!(
        error.code(),
        Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "ERR")
    )
}

/// A value that nobody else has, with what people want to know.
fn value(me: &Owner) -> Result<String, Error> {
    let mut token = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut token))
        .map_err(|e| Error::Refused(format!("could not read /dev/urandom: {e}")))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |d| d.as_millis());
    let name = me.name.replace(char::is_whitespace, "_");
    Ok(format!("{} {name} {now}", hex::encode(token)))
}

async fn take(
    link: &mut MultiplexedConnection,
    key: &str,
    value: &str,
) -> Result<bool, RedisError> {
    let mut set = cmd("SET");
    set.arg(key).arg(value).arg("NX").arg("PX");
    set.arg(millis(LIFE));
    let answer: Value = set.query_async(link).await?;
    Ok(answer != Value::Nil)
}

async fn free(link: &mut MultiplexedConnection, key: &str, value: &str) -> Result<(), RedisError> {
    let mut eval = cmd("EVAL");
    eval.arg(FREE).arg(1).arg(key).arg(value);
    let _: i64 = eval.query_async(link).await?;
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The gate is ours: renews the key until dropped. What is left behind then goes by itself.
#[derive(Debug)]
pub(crate) struct Keeper {
    gate: Gate,
    value: String,
    /// Why it is not ours at the moment.
    lost: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Keeper {
    fn start(gate: Gate, link: MultiplexedConnection, value: String) -> Self {
        let lost = Arc::new(Mutex::new(None));
        let task = tokio::spawn(renew(
            gate.clone(),
            Some(link),
            value.clone(),
            Arc::clone(&lost),
        ));
        Self {
            gate,
            value,
            lost,
            task,
        }
    }

    /// Why the gate is not ours at the moment. Told once.
    pub(crate) fn news(&self) -> Option<String> {
        self.lost.lock().ok()?.take()
    }

    /// Gives it back. If Redis is away there is nothing to give.
    pub(crate) async fn release(self) {
        self.task.abort();
        let freed = async {
            let mut link = self.gate.connect().await?;
            free(&mut link, &self.gate.key, &self.value).await
        };
        // The key's own time ends it otherwise.
        let _late_or_away = timeout(ANSWER, freed).await;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn renew(
    gate: Gate,
    mut link: Option<MultiplexedConnection>,
    value: String,
    lost: Arc<Mutex<Option<String>>>,
) {
    loop {
        sleep(BEAT).await;
        let beaten = async {
            let open = match &mut link {
                Some(open) => open,
                None => link.insert(gate.connect().await?),
            };
            let mut eval = cmd("EVAL");
            eval.arg(RENEW).arg(1).arg(&gate.key).arg(&value);
            eval.arg(millis(LIFE));
            let renewed: i64 = eval.query_async(open).await?;
            if renewed == 1 {
                return Ok(None);
            }
            // Expired while we were paused, or Redis forgot it.
            if take(open, &gate.key, &value).await? {
                return Ok(Some("the key was gone, and was set again".to_owned()));
            }
            Ok::<_, RedisError>(Some("another process has the key by now".to_owned()))
        };
        let news = match beaten.await {
            Ok(news) => news,
            Err(error) => {
                link = None;
                Some(format!("{} does not answer: {error}", gate.place))
            }
        };
        if let Some(news) = news
            && let Ok(mut lost) = lost.lock()
        {
            *lost = Some(news);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_of_the_database_whoever_asks_and_without_secrets() {
        let gate = |url: &str, database: &str| {
            Gate::new(url, None, &Database::parse(database).unwrap(), "t").unwrap()
        };
        let one = gate(
            "redis://:secret@h/1",
            "postgres://a:x@db:5432/app?sslmode=require",
        );
        let two = gate("rediss://h", "postgres://b@db:5432/app");
        assert_eq!(one.key, "windlass-migrate:postgres://db:5432/app:t");
        assert_eq!(one.key, two.key);
        assert!(!format!("{one:?}").contains("secret"), "{one:?}");
        assert_eq!(one.beside(":data").key, format!("{}:data", one.key));
        let database = Database::parse("sqlite:x.db").unwrap();
        let named = Gate::new("redis://h", Some("shop"), &database, "t").unwrap();
        assert_eq!(named.key, "windlass-migrate:shop");
        assert!(Gate::new("http://h", None, &database, "t").is_err());
    }

    #[test]
    fn a_value_of_somebody_else_is_no_reason_to_fail() {
        let ours = Keyholder::read("k", "ab me@h:7 1700".to_owned(), 4000);
        assert_eq!((ours.name.as_str(), ours.since_ms), ("me@h:7", 1700));
        assert_eq!(ours.expires_ms, Some(4000));
        let other = Keyholder::read("k", "1".to_owned(), -1);
        assert_eq!((other.name.as_str(), other.expires_ms), ("somebody", None));
    }
}
