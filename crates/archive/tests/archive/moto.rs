//! Runs moto, a server of its own that speaks the S3 API. Also used by the tests of the whole
//! program.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running moto with a bucket named `logs`; gone when it is dropped.
pub(crate) struct Moto {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Moto {
    /// `partners` is the folder `crates/archive/tests/partners`.
    pub(crate) async fn start(partners: &Path) -> Self {
        let program = partners.join("venv/bin/moto_server");
        assert!(
            program.exists(),
            "moto is missing: run crates/archive/tests/partners/install (needs `apt-get install \
             nodejs npm python3-venv`)"
        );
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut moto = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        let http = bare_http(&moto.url);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !http("PUT", "/logs") {
            if let Some(status) = moto.child.try_wait().unwrap() {
                let mut said = String::new();
                let err = moto.child.stderr.take();
                err.unwrap().read_to_string(&mut said).unwrap();
                panic!("moto ended ({status}): {said}");
            }
            assert!(Instant::now() < deadline, "moto does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Nobody reads on: its words must not fill the pipe.
        if let Some(mut err) = moto.child.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()));
        }
        moto
    }
}

/// Asks for something with a bare HTTP request; says whether the answer was 200.
fn bare_http(url: &str) -> impl Fn(&str, &str) -> bool + use<> {
    use std::io::Write as _;
    let address = url.trim_start_matches("http://").to_owned();
    move |method, path| {
        let Ok(mut stream) = std::net::TcpStream::connect(&address) else {
            return false;
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        );
        let mut answer = Vec::new();
        stream.write_all(request.as_bytes()).is_ok()
            && stream.read_to_end(&mut answer).is_ok()
            && answer.starts_with(b"HTTP/1.1 200")
    }
}
