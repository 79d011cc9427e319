//! As much of HTTP/1.1 as the measurements need, over one connection that stays open: no library
//! between the clock and the server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// One connection to the server.
pub(super) struct Client {
    address: String,
    token: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(super) fn new(address: &str, token: &str) -> Self {
        Self {
            address: address.to_owned(),
            token: token.to_owned(),
            stream: None,
        }
    }

    /// The body of a page that must be there.
    pub(super) fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        self.read(path, |bytes| body.extend_from_slice(bytes))?;
        Ok(body)
    }

    /// [`Client::get`], but each piece of the body goes to `sink`.
    pub(super) fn read(&mut self, path: &str, sink: impl FnMut(&[u8])) -> Result<()> {
        match self.ask("GET", path, &[], b"", sink)? {
            200 => Ok(()),
            status => bail!("GET {path} was answered with {status}"),
        }
    }

    /// Sends `body` and expects that it is accepted.
    pub(super) fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        let sink = |bytes: &[u8]| answer.extend_from_slice(bytes);
        match self.ask("POST", path, headers, body, sink)? {
            200..=299 => Ok(answer),
            status => {
                let words = String::from_utf8_lossy(&answer);
                bail!("POST {path} was answered with {status}: {words}")
            }
        }
    }

    /// Removes what is at `path`.
    pub(super) fn delete(&mut self, path: &str) -> Result<()> {
        match self.ask("DELETE", path, &[], b"", |_| {})? {
            200..=299 => Ok(()),
            status => bail!("DELETE {path} was answered with {status}"),
        }
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        sink: impl FnMut(&[u8]),
    ) -> Result<u16> {
        // Left out until the answer was read to its end: what fails half-way is not used again.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let (address, token) = (&self.address, &self.token);
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        stream.get_mut().write_all(&request)?;
        let status = answer(&mut stream, sink)
            .with_context(|| format!("{method} {path} was not answered whole"))?;
        self.stream = Some(stream);
        Ok(status)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.address)
            .with_context(|| format!("could not connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(BufReader::with_capacity(256 * 1024, stream))
    }
}

fn answer(stream: &mut BufReader<TcpStream>, mut sink: impl FnMut(&[u8])) -> Result<u16> {
    let status = line(stream)?;
    let status: u16 = status.split(' ').nth(1).unwrap_or_default().parse()?;
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(stream)?.to_ascii_lowercase();
        match header.split_once(':') {
            _ if header.is_empty() => break,
            Some(("content-length", value)) => length = value.trim().parse()?,
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            _ => {}
        }
    }
    if !chunked {
        take(stream, length, &mut sink)?;
        return Ok(status);
    }
    loop {
        let size = usize::from_str_radix(line(stream)?.trim(), 16)?;
        take(stream, size, &mut sink)?;
        line(stream)?;
        if size == 0 {
            return Ok(status);
        }
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if stream.take(64 * 1024).read_line(&mut line)? == 0 {
        bail!("the connection was closed");
    }
    Ok(line.trim_end().to_owned())
}

fn take(
    stream: &mut BufReader<TcpStream>,
    mut length: usize,
    sink: &mut impl FnMut(&[u8]),
) -> Result<()> {
    while length > 0 {
        let bytes = stream.fill_buf()?;
        if bytes.is_empty() {
            bail!("the connection was closed");
        }
        let taken = bytes.len().min(length);
        sink(&bytes[..taken]);
        stream.consume(taken);
        length -= taken;
    }
    Ok(())
}
