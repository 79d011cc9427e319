//! Reading XML that a stranger has written: as a list of what opens, what closes and text.
//!
//! A document type is skipped, so there are no entities but the five of XML and numbers, and no
//! "bombs" made of them. Other entities stay as they are written.

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesStart, Event};

/// So much of one attribute's value is kept.
const MAX_VALUE: usize = 64 * 1024;

/// What comes next in a document.
#[derive(Debug)]
pub(super) enum Node {
    Open(Element),
    Close(String),
    Text(String),
}

/// An element's head.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl Element {
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let (_, value) = self.attributes.iter_mut().find(|(n, _)| n == name)?;
        Some(std::mem::take(value))
    }

    /// A value that says something: not empty.
    pub(super) fn take_filled(&mut self, name: &str) -> Option<String> {
        self.take(name).filter(|value| !value.trim().is_empty())
    }

    pub(super) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.take(name)?.trim().parse().ok()
    }
}

/// A document, read from its begin.
pub(super) struct Document<'a> {
    reader: Reader<&'a [u8]>,
    text: &'a str,
}

impl<'a> Document<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        Self { reader, text }
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// A clause about what is wrong, with the line.
    pub(super) fn next(&mut self) -> Result<Option<Node>, String> {
        loop {
            let event = match self.reader.read_event() {
                Ok(event) => event,
                Err(e) => return Err(self.error(&e)),
            };
            let node = match event {
                Event::Start(start) | Event::Empty(start) => Node::Open(element(&start)),
                Event::End(end) => Node::Close(local(end.name().as_ref())),
                Event::Text(text) => Node::Text(lossy(&text)),
                Event::CData(data) => Node::Text(lossy(&data)),
                Event::GeneralRef(name) => Node::Text(match name.resolve_char_ref() {
                    Ok(Some(c)) => c.to_string(),
                    _ => entity(&lossy(&name)),
                }),
                Event::Eof => return Ok(None),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => continue,
            };
            return Ok(Some(node));
        }
    }

    fn error(&self, error: &quick_xml::Error) -> String {
        let at = usize::try_from(self.reader.error_position()).unwrap_or(usize::MAX);
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        format!("line {line}: {error}")
    }
}

fn element(start: &BytesStart<'_>) -> Element {
    let mut attributes = Vec::new();
    // Without checks, because looking for doubles takes time that grows with their square.
    for attribute in start.attributes().with_checks(false).flatten() {
        let raw = lossy(&attribute.value);
        let value = match unescape(&raw) {
            Ok(value) => value.into_owned(),
            Err(_) => raw,
        };
        attributes.push((local(attribute.key.as_ref()), cut(value, MAX_VALUE)));
    }
    Element {
        name: local(start.name().as_ref()),
        attributes,
    }
}

/// A name without its prefix: nobody uses two namespaces in a report.
fn local(name: &[u8]) -> String {
    let name = name.rsplit(|b| *b == b':').next().unwrap_or(name);
    lossy(name)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn entity(name: &str) -> String {
    resolve_predefined_entity(name).map_or_else(|| format!("&{name};"), str::to_owned)
}

/// The first so many bytes, with a word about the rest.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let at = text.floor_char_boundary(most);
        let rest = text.len() - at;
        text.truncate(at);
        text.push_str(&format!("… ({rest} more bytes)"));
        text.shrink_to_fit();
    }
    text
}

/// A document's text, in whatever encoding it says it is. Nothing is refused: bytes that are none
/// become `�`.
pub(super) fn decode(bytes: &[u8]) -> String {
    let utf16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units)
            .map(|c| c.unwrap_or('\u{fffd}'))
            .collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => return utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => return utf16(rest, u16::from_be_bytes),
        _ => {}
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if is_latin(bytes) => bytes.iter().map(|b| char::from(*b)).collect(),
        Err(_) => lossy(bytes),
    }
}

/// Whether the declaration in the first line says that each byte is a character.
fn is_latin(bytes: &[u8]) -> bool {
    let head = lossy(&bytes[..bytes.len().min(200)]).to_ascii_lowercase();
    let declaration = head.split("?>").next().unwrap_or_default();
    declaration.starts_with("<?xml")
        && (declaration.contains("iso-8859-1") || declaration.contains("windows-1252"))
}
