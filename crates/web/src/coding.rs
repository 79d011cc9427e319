//! `Accept-Encoding` (RFC 9110, section 12.5.3): as what a whole log is sent, and gzip on the way.

use std::io::{self, Write as _};

use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// How the bytes of a whole log are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As they are.
    Identity,
    /// As they are kept.
    Zstd,
    /// Compressed while they are sent.
    Gzip,
}

impl Coding {
    /// What the client likes best. Where it likes several the same, zstd comes first, which costs
    /// nothing, and what is compressed before what is not.
    pub(crate) fn choose(headers: &HeaderMap, zstd: bool, gzip: bool) -> Self {
        // Ranges are of the text itself.
        if headers.contains_key(header::RANGE) {
            return Self::Identity;
        }
        let accepted = Accepted::of(headers);
        // Without a word on it, what is not compressed is taken, but asked for by nobody.
        let identity = accepted.quality(&["identity"]).unwrap_or(0);
        let candidates = [
            (Self::Zstd, zstd, &["zstd"][..]),
            (Self::Gzip, gzip, &["gzip", "x-gzip"][..]),
        ];
        let mut best = (Self::Identity, identity.max(1));
        for (coding, is_there, names) in candidates {
            let quality = accepted.quality(names).unwrap_or(accepted.others);
            let wins = match best.0 {
                Self::Identity => quality >= best.1,
                _ => quality > best.1,
            };
            if is_there && wins {
                best = (coding, quality);
            }
        }
        best.0
    }

    /// The word in `Content-Encoding`.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Zstd => Some("zstd"),
            Self::Gzip => Some("gzip"),
        }
    }

    /// What the entity tag ends with: another representation has another one (RFC 9110, section
    /// 8.8.3).
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::Identity => "",
            Self::Zstd => "-zstd",
            Self::Gzip => "-gzip",
        }
    }
}

/// What the header says: names in lower case, with their weights in thousandths.
struct Accepted {
    named: Vec<(String, u16)>,
    /// `*`
    others: u16,
}

impl Accepted {
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self {
            named: Vec::new(),
            others: 0,
        };
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
        for item in lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
        {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| {
                let (key, value) = part.split_once('=')?;
                key.trim().eq_ignore_ascii_case("q").then(|| {
                    let weight = value.trim().parse::<f32>().unwrap_or(0.0);
                    (weight.clamp(0.0, 1.0) * 1000.0) as u16
                })
            });
            let weight = weight.unwrap_or(1000);
            match name.as_str() {
                "" => {}
                "*" => accepted.others = weight,
                _ => accepted.named.push((name, weight)),
            }
        }
        accepted
    }

    fn quality(&self, names: &[&str]) -> Option<u16> {
        let fitting = self
            .named
            .iter()
            .filter(|(name, _)| names.contains(&&**name));
        fitting.map(|(_, weight)| *weight).max()
    }
}

/// Compresses piece by piece, fast rather than small.
pub(crate) struct Gzip(Option<GzEncoder<Vec<u8>>>);

impl Gzip {
    pub(crate) fn new() -> Self {
        Self(Some(GzEncoder::new(Vec::new(), Compression::fast())))
    }

    /// What to send for the next piece; it may be nothing yet. With the last one all comes.
    pub(crate) fn piece(&mut self, bytes: &[u8], is_last: bool) -> io::Result<Bytes> {
        let Some(encoder) = &mut self.0 else {
            return Ok(Bytes::new());
        };
        encoder.write_all(bytes)?;
        if !is_last {
            return Ok(std::mem::take(encoder.get_mut()).into());
        }
        let encoder = self.0.take();
        encoder.map_or(Ok(Bytes::new()), |e| e.finish().map(Bytes::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn what_the_client_likes_best_is_sent() {
        use Coding::{Gzip, Identity, Zstd};
        for (accepted, coding) in [
            ("", Identity),
            ("zstd", Zstd),
            ("gzip", Gzip),
            ("x-gzip", Gzip),
            ("gzip, deflate, br, zstd", Zstd),
            ("gzip, deflate, br", Gzip),
            ("GZIP;q=0.8, ZSTD;q=0.3", Gzip),
            ("zstd;q=0, gzip;q=0.000", Identity),
            ("zstd;q=0", Identity),
            ("identity, gzip", Gzip),
            ("identity, gzip;q=0.5", Identity),
            ("identity;q=0.2, gzip ; Q = 0.5", Gzip),
            ("*", Zstd),
            ("*;q=0", Identity),
            ("zstd;q=0, *;q=0.1", Gzip),
            ("identity;q=0, *;q=0", Identity),
            ("zstd;q=wrong, gzip", Gzip),
            ("br, deflate", Identity),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(accepted).unwrap();
            headers.insert(header::ACCEPT_ENCODING, value);
            assert_eq!(Coding::choose(&headers, true, true), coding, "{accepted}");
            let without = if coding == Zstd && accepted != "zstd" {
                Gzip
            } else {
                coding
            };
            let without = if accepted == "zstd" {
                Identity
            } else {
                without
            };
            assert_eq!(Coding::choose(&headers, false, true), without, "{accepted}");
            assert_eq!(Coding::choose(&headers, false, false), Identity);
            headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-"));
            assert_eq!(Coding::choose(&headers, true, true), Identity);
        }
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("br"));
        headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(Coding::choose(&headers, true, true), Gzip);
    }

    #[test]
    fn gzip_comes_in_pieces() {
        use std::io::Read as _;
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for size in [1000, 65_536, text.len()] {
            let (mut gzip, mut sent) = (Gzip::new(), Vec::new());
            let count = text.chunks(size).count();
            for (n, piece) in text.chunks(size).enumerate() {
                sent.extend_from_slice(&gzip.piece(piece, n + 1 == count).unwrap());
            }
            assert!(gzip.piece(b"more", true).unwrap().is_empty());
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&sent[..])
                .read_to_end(&mut back)
                .unwrap();
            assert!(back == text);
        }
    }
}
