//! Looks at the network between the nodes of a cluster: each shim listens, tells its clock to whoever
//! comes, and visits all others.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use windlass_shim::remote::{Meeting, Met};

/// How long a connection and an answer may take.
const LIMIT: Duration = Duration::from_secs(2);
/// The pause between two rounds of visits.
const PAUSE: Duration = Duration::from_millis(250);

/// Meets; prints what came of it. The program's exit code.
pub(crate) fn meet(argument: &str) -> i32 {
    match serde_json::from_str::<Meeting>(argument)
        .map_err(io::Error::from)
        .and_then(|meeting| attend(&meeting))
    {
        Ok(met) => {
            println!("{}", serde_json::to_string(&met).unwrap_or_default());
            0
        }
        Err(e) => {
            eprintln!("windlass-shim: {e}");
            crate::EXIT_BROKEN
        }
    }
}

fn attend(meeting: &Meeting) -> io::Result<Met> {
    let end = Instant::now() + Duration::from_secs(meeting.seconds);
    let listener = TcpListener::bind(("0.0.0.0", meeting.port))?;
    // Ends with the program.
    std::thread::spawn(move || {
        for mut visitor in listener.incoming().flatten() {
            // One that went away again misses nothing.
            visitor
                .write_all(&now_us().to_be_bytes())
                .unwrap_or_default();
        }
    });
    let mut skews: BTreeMap<IpAddr, i64> = BTreeMap::new();
    let mut server = visit_server(&meeting.server);
    while Instant::now() < end {
        let peers = (meeting.peers.as_str(), meeting.port).to_socket_addrs();
        for peer in peers.into_iter().flatten() {
            if !skews.contains_key(&peer.ip())
                && let Ok(skew) = visit(peer)
            {
                skews.insert(peer.ip(), skew);
            }
        }
        std::thread::sleep(PAUSE);
    }
    if server.is_some() {
        server = visit_server(&meeting.server);
    }
    Ok(Met {
        skews_us: skews.into_values().collect(),
        server,
    })
}

/// By how much another one's clock is ahead.
fn visit(peer: SocketAddr) -> io::Result<i64> {
    let before = now_us();
    let mut stream = TcpStream::connect_timeout(&peer, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut theirs = [0; 8];
    stream.read_exact(&mut theirs)?;
    let after = now_us();
    Ok(i64::from_be_bytes(theirs) - (before + (after - before) / 2))
}

/// Why the server can't be reached.
fn visit_server(server: &str) -> Option<String> {
    let addresses = match server.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(e) => return Some(e.to_string()),
    };
    let mut why = "its name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(_) => return None,
            Err(e) => why = e.to_string(),
        }
    }
    Some(why)
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
