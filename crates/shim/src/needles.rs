//! The forms in which a secret may appear in output: what the mask looks for.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter texts are not looked for: they are everywhere, and masking them would tell more than
/// it hides.
pub(crate) const MIN_NEEDLE: usize = 4;
/// Lines of a secret with several lines are looked for one by one from this length on.
const MIN_LINE: usize = 6;

/// All forms of all `secrets`, without doubles.
pub(crate) fn needles<'a>(secrets: impl IntoIterator<Item = &'a str>) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::new();
    for secret in secrets {
        // A file's last newline gets lost in `$(cat file)`, and comes back with `echo`.
        let trimmed = secret.trim_matches(['\r', '\n', ' ', '\t']);
        if trimmed.len() < MIN_NEEDLE {
            continue;
        }
        forms(secret, &mut all);
        forms(trimmed, &mut all);
        base64_forms(format!("{trimmed}\n").as_bytes(), &mut all);
        if trimmed.contains('\n') {
            for line in trimmed
                .lines()
                .map(|line| line.trim_matches(['\r', ' ', '\t']))
            {
                if line.len() >= MIN_LINE {
                    text_forms(line, &mut all);
                }
            }
        }
    }
    all.retain(|needle| needle.len() >= MIN_NEEDLE);
    all
}

fn forms(value: &str, all: &mut BTreeSet<Vec<u8>>) {
    text_forms(value, all);
    base64_forms(value.as_bytes(), all);
    let hex = |upper| hex(value.as_bytes(), upper);
    all.extend([hex(false), hex(true)]);
}

/// The value itself and as other notations quote it.
fn text_forms(value: &str, all: &mut BTreeSet<Vec<u8>>) {
    all.insert(value.as_bytes().to_vec());
    all.insert(value.replace('\'', "'\\''").into_bytes());
    // Serialising a string to memory can't fail.
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = json
        .get(1..json.len().saturating_sub(1))
        .unwrap_or_default();
    // Go writes these in escapes, for web pages; others escape everything beyond ASCII.
    let go = json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    all.extend([json.as_bytes().to_vec(), go.into_bytes(), ascii(json)]);
    for upper in [false, true] {
        for (kept, space) in [("", "%20"), ("", "+"), ("/", "%20")] {
            all.insert(percent(value, upper, kept, space));
        }
    }
}

fn ascii(json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            out.push(c as u8);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        }
    }
    out
}

fn percent(value: &str, upper: bool, kept: &str, space: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || b"-_.~".contains(&byte)
            || kept.as_bytes().contains(&byte);
        if plain {
            out.push(byte);
        } else if byte == b' ' {
            out.extend_from_slice(space.as_bytes());
        } else {
            out.push(b'%');
            out.extend(hex(&[byte], upper));
        }
    }
    out
}

fn hex(bytes: &[u8], upper: bool) -> Vec<u8> {
    let digits = if upper {
        b"0123456789ABCDEF"
    } else {
        b"0123456789abcdef"
    };
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 15])
        .map(|digit| digits[usize::from(digit)])
        .collect()
}

/// Base64 of anything that has `value` in it: at each of the three alignments, without the
/// characters at the border that depend on the neighbours; and as the end of the text, where no
/// neighbour follows.
fn base64_forms(value: &[u8], all: &mut BTreeSet<Vec<u8>>) {
    for before in 0..3 {
        let mut text = vec![0; before];
        text.extend_from_slice(value);
        // One byte before fills one character and a part of the next; two bytes, two and a part.
        let head = [0, 2, 3][before];
        let ragged = text.len() % 3 != 0;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&text);
            let Some(known) = encoded.as_bytes().get(head..) else {
                continue;
            };
            all.insert(known.to_vec());
            if ragged {
                let padding = "=".repeat(3 - text.len() % 3);
                all.insert([known, padding.as_bytes()].concat());
                all.insert(known[..known.len().saturating_sub(1)].to_vec());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn found(needles: &BTreeSet<Vec<u8>>, text: &str) -> bool {
        let text = text.as_bytes();
        needles
            .iter()
            .any(|needle| text.windows(needle.len()).any(|w| w == needle))
    }

    #[test]
    fn base64_is_found_at_every_place() {
        for secret in ["hunter2", "hunter22", "hunter222", "s3cr?t>>~~\u{ff}"] {
            let all = needles([secret]);
            for before in ["", "a", "ab", "abc", "PASSWORD="] {
                for after in ["", "\n", "xy", "xyz"] {
                    let text = format!("{before}{secret}{after}");
                    assert!(found(&all, &STANDARD.encode(&text)), "{text}");
                    assert!(found(&all, &URL_SAFE.encode(&text)), "{text}");
                    assert!(found(&all, &STANDARD_NO_PAD.encode(&text)), "{text}");
                }
            }
        }
    }

    #[test]
    fn quoted_forms_are_found() {
        let all = needles(["it's \"a\"\\n/<b>&ü c"]);
        for text in [
            r#"it's \"a\"\\n/<b>&ü c"#,
            r#"it's \"a\"\\n/\u003cb\u003e\u0026ü c"#,
            r#"it's \"a\"\\n/<b>&\u00fc c"#,
            r#"'it'\''s "a"\n/<b>&ü c'"#,
            "it%27s%20%22a%22%5cn%2f%3cb%3e%26%c3%bc%20c",
            "it%27s%20%22a%22%5Cn%2F%3Cb%3E%26%C3%BC%20c",
            "it%27s+%22a%22%5Cn%2F%3Cb%3E%26%C3%BC+c",
            "it%27s%20%22a%22%5Cn/%3Cb%3E%26%C3%BC%20c",
            "697427732022612",
        ] {
            // The last one is only the beginning of the hex form: it must not be found.
            assert_eq!(found(&all, text), !text.starts_with('6'), "{text}");
        }
        let value = "it's \"a\"\\n/<b>&ü c";
        assert!(found(
            &all,
            &String::from_utf8(hex(value.as_bytes(), true)).unwrap()
        ));
    }

    #[test]
    fn lines_of_a_key_are_found_one_by_one_and_short_texts_never() {
        let all = needles(["-----BEGIN-----\nabcdefgh\nxy\n-----END-----\n"]);
        assert!(found(&all, "> abcdefgh <"));
        assert!(!all.contains(b"xy".as_slice()));
        assert!(needles(["abc", "a\n", "   \n\n   "]).is_empty());
    }
}
