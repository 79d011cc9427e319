//! Reading a large log: its page, a thousand of its lines, and the whole of it as text.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::http::Client;
use super::lines::long_lines;
use super::server::{Folder, Repository, Server, build, wait};
use super::{Goal, Row, median, milliseconds};
use crate::command::{output, program};

const READS: usize = 20;
const ROUNDS: usize = 7;
const BYTES: u64 = 100_000_000;

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("window")?;
    let data = folder.path().join("data");
    let spec = format!("steps:\n  - run: |\n      {}\n", long_lines());
    let repository = Repository::create(folder.path(), "lines", &spec)?;
    let server = Server::start(&data, 2)?;
    repository.add_to(&data, "lines")?;
    let mut client = server.client();
    let number = build(&mut client, "lines", &repository.commit("lines")?)?;
    wait(&mut client, "lines", number, true)?;

    let page = format!("/repos/lines/builds/{number}/steps/1");
    let mut rows = Vec::new();
    for (what, path) in [
        ("page of a log of 1,000,000 lines", page.clone()),
        ("page at lines 1-1000", format!("{page}?lines=1-1000")),
        (
            "page at lines 500001-501000",
            format!("{page}?lines=500001-501000"),
        ),
        ("text of lines 1-1000", format!("{page}/log?lines=1-1000")),
        (
            "text of lines 500001-501000",
            format!("{page}/log?lines=500001-501000"),
        ),
        (
            "text of the last 1000 lines",
            format!("{page}/log?tail=1000"),
        ),
    ] {
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..READS {
            let begun = Instant::now();
            size = client.get(&path)?.len();
            times.push(begun.elapsed());
        }
        let time = median(&mut times);
        rows.push(Row {
            what: format!("{what} ({} kB), median of {READS}", size / 1000),
            ours: milliseconds(time),
            beside: String::new(),
            ratio: None,
            goal: Goal::AtMost(20.0, " ms"),
            value: time.as_secs_f64() * 1e3,
        });
    }

    rows.push(whole(&mut client, "lines", number, folder.path())?);

    // Text that can hardly be compressed: as slow as it gets.
    let random = "head -c 74250000 /dev/urandom | base64 -w 99";
    let spec = format!("steps:\n  - {random}\n");
    let repository = Repository::create(folder.path(), "random", &spec)?;
    repository.add_to(&data, "random")?;
    let number = build(&mut client, "random", &repository.commit("random")?)?;
    wait(&mut client, "random", number, true)?;
    rows.push(whole(&mut client, "random", number, folder.path())?);
    Ok(rows)
}

/// Reads the whole of a sealed log.
fn whole(client: &mut Client, repo: &str, number: u64, folder: &Path) -> Result<Row> {
    let path = format!("/repos/{repo}/builds/{number}/steps/1/log");
    let file = folder.join(repo);
    std::fs::write(&file, client.get(&path)?)?;
    let (mut ours, mut copies, mut cats) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (begun, mut read) = (Instant::now(), 0);
        client.read(&path, |bytes| read += bytes.len() as u64)?;
        ours.push(begun.elapsed());
        ensure!(read == BYTES, "the log has {read} bytes");
        copies.push(loopback(&file)?);
        let begun = Instant::now();
        output(program(
            "sh",
            &["-c", &format!("cat '{}' > /dev/null", file.display())],
        ))?;
        cats.push(begun.elapsed());
    }
    let rate = |times: &mut [Duration]| BYTES as f64 / 1e6 / median(times).as_secs_f64();
    let (ours, copy, cat) = (rate(&mut ours), rate(&mut copies), rate(&mut cats));
    Ok(Row {
        what: format!("a sealed log of 100 MB, {repo}, as text, median of {ROUNDS}"),
        ours: format!("{ours:.0} MB/s"),
        beside: format!("{copy:.0} MB/s plain copy over loopback ({cat:.0} MB/s cat)"),
        ratio: Some(ours / copy),
        goal: Goal::AtLeast(500.0, " MB/s"),
        value: ours,
    })
}

/// How long the file takes through a connection on this machine, read and written in pieces as
/// large as ours.
fn loopback(file: &Path) -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let sending = scope.spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let (mut file, mut piece) = (std::fs::File::open(file)?, vec![0; 256 * 1024]);
            loop {
                match file.read(&mut piece)? {
                    0 => return Ok(()),
                    length => stream.write_all(&piece[..length])?,
                }
            }
        });
        let (mut stream, mut piece) = (TcpStream::connect(address)?, vec![0; 256 * 1024]);
        let mut read = 0;
        loop {
            match stream.read(&mut piece)? {
                0 => break,
                length => read += length as u64,
            }
        }
        ensure!(
            read == BYTES && sending.join().is_ok_and(|sent| sent.is_ok()),
            "copy broke"
        );
        Ok(begun.elapsed())
    })
}
