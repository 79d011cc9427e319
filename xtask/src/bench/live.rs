//! A log that is watched while it grows: how soon a line is on the page of a real Chromium, and what
//! two hundred followers of a step that prints 50,000 lines a second cost.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::browser::Browser;
use super::server::{Folder, Repository, Server, build, peak_while, wait};
use super::{Goal, Row, median, megabytes, milliseconds};

const FOLLOWERS: usize = 200;
/// Lines that are printed at once, 20 times a second.
const BURST: u64 = 2500;
const BURSTS: u64 = 200;
const LINES: u64 = BURST * BURSTS;
/// Lines whose way to the page is measured.
const STAMPS: usize = 100;

pub(super) fn run() -> Result<Vec<Row>> {
    let mut rows = vec![on_the_page()?];
    rows.extend(followed()?);
    Ok(rows)
}

/// Notes when each stamp is there: the first frame that is drawn after it came into the document.
const WATCH: &str = r#"
    window.seen = new Map();
    const look = () => {
        const at = Date.now();
        for (const [, stamp] of document.body.textContent.matchAll(/stamp (\d{13})\./g)) {
            if (!window.seen.has(stamp)) window.seen.set(stamp, at);
        }
    };
    look();
    window.seen.forEach((at, stamp) => window.seen.set(stamp, 0));
    let asked = false;
    new MutationObserver(() => {
        if (asked) return;
        asked = true;
        requestAnimationFrame(() => { asked = false; look(); });
    }).observe(document, {subtree: true, childList: true, characterData: true});
    return true;
"#;

fn on_the_page() -> Result<Row> {
    let folder = Folder::new("live")?;
    let data = folder.path().join("data");
    // Ten lines a second, with the moment before each is printed.
    let script = format!(
        "for i in $(seq {}); do echo \"stamp $(date +%s%3N).\"; sleep 0.1; done",
        STAMPS + 300
    );
    let spec = format!("steps:\n  - run: '{script}'\n");
    let repository = Repository::create(folder.path(), "live", &spec)?;
    let server = Server::start(&data, 2)?;
    repository.add_to(&data, "live")?;
    let mut client = server.client();
    let number = build(&mut client, "live", &repository.commit("live")?)?;
    let mut browser = Browser::open()?;
    let page = format!(
        "http://{}/repos/live/builds/{number}/steps/1",
        server.address
    );
    let begun = Instant::now();
    loop {
        browser.go(&page)?;
        if browser.run("return document.body.textContent.includes('stamp 1')")? == true {
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(30), "no step begins");
        std::thread::sleep(Duration::from_millis(200));
    }
    browser.run(WATCH)?;
    let enough = format!("return [...window.seen.values()].filter(at => at).length >= {STAMPS}");
    browser.until(&enough)?;
    let seen = browser.run(
        "return [...window.seen].filter(([, at]) => at).map(([stamp, at]) => at - Number(stamp))",
    )?;
    let delays = seen.as_array().context("no delays")?;
    let mut delays: Vec<Duration> = delays
        .iter()
        .filter_map(Value::as_f64)
        .map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1e3))
        .collect();
    ensure!(delays.len() >= STAMPS, "{} lines were seen", delays.len());
    let middle = median(&mut delays);
    let late = delays[delays.len() * 19 / 20];
    Ok(Row {
        what: format!(
            "from before a line is printed until a frame of Chromium shows it, median of {}",
            delays.len()
        ),
        ours: format!(
            "{} (19 of 20: {})",
            milliseconds(middle),
            milliseconds(late)
        ),
        beside: String::new(),
        ratio: None,
        goal: Goal::AtMost(150.0, " ms"),
        value: middle.as_secs_f64() * 1e3,
    })
}

fn followed() -> Result<Vec<Row>> {
    let folder = Folder::new("followed")?;
    let data = folder.path().join("data");
    let script = format!(
        "i=0; while [ $i -lt {BURSTS} ]; do \
         seq -f \"line %010.0f of a step that prints {}\" $((i*{BURST}+1)) $(((i+1)*{BURST})); \
         i=$((i+1)); sleep 0.045; done",
        "fast ".repeat(12)
    );
    let spec = format!("steps:\n  - run: '{script}'\n");
    let repository = Repository::create(folder.path(), "fast", &spec)?;
    let server = Server::start(&data, 2)?;
    repository.add_to(&data, "fast")?;
    let mut client = server.client();
    std::thread::sleep(Duration::from_secs(1));
    let (before, busy) = (server.resident()?, processor_time(server.pid())?);
    let number = build(&mut client, "fast", &repository.commit("fast")?)?;
    let path = format!("/repos/fast/builds/{number}/steps/1/stream?from=0");
    let begun = Instant::now();
    while server
        .client()
        .get(&path.replace("/stream?from=0", ""))
        .is_err()
    {
        ensure!(begun.elapsed() < Duration::from_secs(30), "no step begins");
        std::thread::sleep(Duration::from_millis(5));
    }
    let peak = peak_while(server.pid(), || {
        std::thread::scope(|scope| {
            let followers: Vec<_> = (0..FOLLOWERS)
                .map(|_| scope.spawn(|| follow(&server, &path)))
                .collect();
            followers.into_iter().try_for_each(|follower| {
                follower
                    .join()
                    .unwrap_or_else(|_| bail!("a follower broke"))
            })
        })
    })?;
    let behind = begun.elapsed();
    let busy = processor_time(server.pid())?.saturating_sub(busy);
    let build = wait(&mut client, "fast", number, true)?;
    let step = build["attempts"][0]["steps"][0]["duration_us"].as_u64();
    let step = Duration::from_micros(step.context("no duration")?);
    let rate = LINES as f64 / step.as_secs_f64();
    Ok(vec![
        Row {
            what: format!(
                "{FOLLOWERS} followers of a step that prints {rate:.0} lines/s ({LINES} in all; no follower \
                 missed one): the server's memory"
            ),
            ours: format!("{} (from {})", megabytes(peak), megabytes(before)),
            beside: String::new(),
            ratio: None,
            goal: Goal::AtMost(100.0, " MB"),
            value: peak as f64 / 1e6,
        },
        Row {
            what: "the same: until the last follower had the last line".to_owned(),
            ours: format!("{:.1} s", behind.as_secs_f64()),
            beside: format!("{:.1} s the step", step.as_secs_f64()),
            ratio: Some(behind.as_secs_f64() / step.as_secs_f64()),
            goal: Goal::None,
            value: behind.as_secs_f64(),
        },
        Row {
            what: "the same: the server's time on a processor".to_owned(),
            ours: format!("{:.1} s", busy.as_secs_f64()),
            beside: String::new(),
            ratio: None,
            goal: Goal::None,
            value: busy.as_secs_f64(),
        },
    ])
}

/// Follows the log to its end, and proves that every line came, in order, with the text that it has.
fn follow(server: &Server, path: &str) -> Result<()> {
    let (mut pending, mut wrong) = (Vec::new(), None);
    // The next line that is to come for good.
    let mut next = 1;
    let mut ended = false;
    server.client().read(path, |bytes| {
        pending.extend_from_slice(bytes);
        while let Some(end) = find(&pending, b"\n\n") {
            let message = String::from_utf8_lossy(&pending[..end]);
            ended |= message.contains("event: end");
            if message.contains("event: rows")
                && let Err(error) = take(&message, &mut next)
            {
                wrong.get_or_insert(error);
            }
            pending.drain(..end + 2);
        }
    })?;
    if let Some(error) = wrong {
        return Err(error);
    }
    ensure!(ended, "a follower was not told of the end");
    ensure!(next == LINES + 1, "a follower missed lines from {next} on");
    Ok(())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == what[0]) {
        if bytes[from + at..].starts_with(what) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The rows of a message. By hand: it would take longer to build JSON's values than the server takes.
fn take(message: &str, next: &mut u64) -> Result<()> {
    let number = |text: &str| -> Result<u64> {
        let end = text.find(|c: char| !c.is_ascii_digit());
        Ok(text[..end.unwrap_or(text.len())].parse()?)
    };
    let first = message
        .split_once("\"first_row\":")
        .context("no first row")?;
    let first = number(first.1)?;
    ensure!(first <= *next, "after {next} comes {first}");
    let mut at = first;
    for row in message.split("{\"n\":").skip(1) {
        let n = number(row)?;
        let text = row.split_once("\"html\":\"line ").context("another text")?;
        ensure!(n == at && number(text.1)? == n, "{n} instead of {at}");
        if row.contains("\"partial\":true") {
            break;
        }
        at += 1;
    }
    *next = at;
    Ok(())
}

/// The time that a process has had on processors.
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything: state is field 3, utime and stime are 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("no stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
