//! A git server over HTTP: the real `git http-backend` behind a small CGI bridge.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// `me:hunter2`, as a client sends it.
pub(crate) const BASIC: &str = "Basic bWU6aHVudGVyMg==";

/// How a server behaves.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// Everybody must be `me:hunter2`.
    pub(crate) private: bool,
    /// Speaks only the oldest protocol, in which bare commit ids are refused.
    pub(crate) old: bool,
    /// No git at all: plain files.
    pub(crate) dumb: bool,
    /// Sends everybody to this place instead.
    pub(crate) redirect: Option<String>,
}

pub(crate) struct Bridge {
    pub(crate) url: String,
    state: Arc<State>,
    address: std::net::SocketAddr,
}

struct State {
    root: PathBuf,
    manner: Manner,
    stopped: AtomicBool,
    /// Packs stop in the middle while this is set.
    stalling: AtomicBool,
    /// Request line and `Authorization` of each request.
    seen: Mutex<Vec<(String, Option<String>)>>,
}

impl Bridge {
    /// Serves the repositories below `root`.
    pub(crate) fn start(root: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            root: root.to_owned(),
            manner,
            stopped: AtomicBool::new(false),
            stalling: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self {
            url: format!("http://{address}"),
            state,
            address,
        }
    }

    pub(crate) fn stall(&self, on: bool) {
        self.state.stalling.store(on, Ordering::SeqCst);
    }

    pub(crate) fn seen(&self) -> Vec<(String, Option<String>)> {
        self.state.seen.lock().unwrap().clone()
    }

    /// From now on the port is closed.
    pub(crate) fn stop(&self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stall(false);
        self.stop();
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let header = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
        };
        let authorization = header("authorization");
        self.seen
            .lock()
            .unwrap()
            .push((request.trim().to_owned(), authorization.clone()));
        let body = if header("transfer-encoding").is_some() {
            read_chunks(&mut reader)
        } else {
            let length = header("content-length")
                .and_then(|l| l.parse().ok())
                .unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            body
        };
        let mut words = request.split_whitespace();
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut out = stream;
        if self.manner.private && authorization.as_deref() != Some(BASIC) {
            let _ = out.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"lab\"\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n",
            );
            return;
        }
        if let Some(to) = &self.manner.redirect {
            let _ = write!(
                out,
                "HTTP/1.1 302 Found\r\nLocation: {to}{target}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            return;
        }
        if self.manner.dumb {
            let file = std::fs::read(self.root.join(path.trim_start_matches('/')));
            let (status, bytes) = match file {
                Ok(bytes) => ("200 OK", bytes),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let length = bytes.len();
            let _ = write!(
                out,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = out.write_all(&bytes);
            return;
        }
        let mut backend = Command::new("git");
        backend
            .arg("http-backend")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_PROJECT_ROOT", &self.root)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", method)
            .env("PATH_INFO", path)
            .env("QUERY_STRING", query)
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
            .env(
                "HTTP_CONTENT_ENCODING",
                header("content-encoding").unwrap_or_default(),
            )
            .env("REMOTE_ADDR", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if let (Some(protocol), false) = (header("git-protocol"), self.manner.old) {
            backend.env("GIT_PROTOCOL", protocol);
        }
        let mut child = backend
            .spawn()
            .expect("git http-backend: apt-get install git");
        let mut stdin = child.stdin.take().unwrap();
        std::thread::spawn(move || {
            let _ = stdin.write_all(&body);
        });
        let mut answer = BufReader::new(child.stdout.take().unwrap());
        let (mut status, mut head) = ("200 OK".to_owned(), String::new());
        loop {
            let mut line = String::new();
            answer.read_line(&mut line).unwrap();
            match line.trim().split_once(": ") {
                Some(("Status", s)) => status = s.to_owned(),
                Some(_) => head.push_str(&format!("{}\r\n", line.trim())),
                None => break,
            }
        }
        let _ = write!(out, "HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n");
        let (mut buffer, mut sent) = (vec![0; 4096], 0);
        while let Ok(n @ 1..) = answer.read(&mut buffer) {
            while sent > 150_000 && self.stalling.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            if out.write_all(&buffer[..n]).is_err() {
                break;
            }
            sent += n;
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn read_chunks(reader: &mut impl BufRead) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
