//! A writer and a reader at the two ends of a channel, between code that blocks (tar) and code that
//! does not (HTTP).

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender};

/// How much goes through a channel at once.
const CHUNK: usize = 128 * 1024;

/// How many chunks wait in a channel.
pub const QUEUE: usize = 4;

/// The writing end of a channel of chunks.
#[derive(Debug)]
pub struct ChunkWriter {
    sender: Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl ChunkWriter {
    /// Whoever reads ends when this is dropped.
    pub fn new(sender: Sender<io::Result<Bytes>>) -> Self {
        Self {
            sender,
            chunk: Vec::with_capacity(CHUNK),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender
            .blocking_send(Ok(chunk.into()))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..n]);
        if self.chunk.len() == CHUNK {
            self.send()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.send()
    }
}

/// The reading end of a channel of chunks.
#[derive(Debug)]
pub struct ChunkReader {
    receiver: Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl ChunkReader {
    /// Ends when the sender is dropped.
    pub fn new(receiver: Receiver<io::Result<Bytes>>) -> Self {
        Self {
            receiver,
            chunk: Bytes::new(),
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk?,
            }
        }
        let n = buf.len().min(self.chunk.len());
        buf[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}
