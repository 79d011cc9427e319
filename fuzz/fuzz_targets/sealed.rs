//! Any bytes as a sealed log, and as the files beside one: what is forged or damaged is refused, or
//! read within its bounds.

#![no_main]

use std::io::Write as _;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use windlass_logs::findings::Sketch;
use windlass_logs::seekable::{SeekableReader, compress};

fn open(bytes: &[u8]) -> Option<SeekableReader> {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("room for it");
    SeekableReader::new(file, Path::new("0.log.zst")).ok()
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(mut reader) = open(bytes) {
        let mut at = 0;
        while let Ok(piece) = reader.frame_from(at) {
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
        }
        assert!(at <= reader.len());
    }
    let mut sealed = Vec::new();
    compress(&mut &*bytes, &mut sealed).expect("memory does not fail");
    let mut reader = open(&sealed).expect("what we wrote");
    let mut back = Vec::new();
    while back.len() < bytes.len() {
        back.extend_from_slice(reader.frame_from(back.len() as u64).expect("a frame"));
    }
    assert!(back == bytes);

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("room for it");
    let _ = Sketch::load(file.path());
});
