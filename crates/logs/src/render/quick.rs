//! The short way for rows that hold visible text and colours and nothing else: bytes -> HTML
//! without cells. Whatever is not exactly that is left to the screen.

use super::style::Style;
use super::{close_span, escape, escape_url, link, open_span, write_link};
use crate::screen::{Shown, shown};

/// More parameters in one sequence are left to the screen.
const MAX_PARAMS: usize = 16;

/// More addresses in one row are left to the screen, which knows when to stop.
const MAX_ADDRESSES: usize = 50;

/// Renders the row if it is so simple, and says whether it was. If not, nothing has changed.
pub(super) fn row(pen: &mut Style, bytes: &[u8], html: &mut String) -> bool {
    let addresses = addresses(bytes);
    if addresses > MAX_ADDRESSES {
        return false;
    }
    let (begin, before) = (html.len(), *pen);
    // The style of the element that is open.
    let mut open = Style::PLAIN;
    // An address that goes on in the next piece is one link over two styles: not simple.
    let (mut touches, mut torn, mut previous) = (false, false, ' ');
    let done = pieces(pen, bytes, |style, text, markup| {
        torn |= touches;
        if open != style {
            close_span(open, html);
            open_span(style, html);
            open = style;
        }
        if addresses > 0 {
            let (linked, split) = linked(text, style, previous, html);
            touches = linked;
            torn |= split;
        } else if markup {
            escape(text, html);
        } else {
            html.push_str(text);
        }
        previous = text.chars().next_back().unwrap_or(' ');
    });
    if done && !torn {
        close_span(open, html);
        return true;
    }
    *pen = before;
    html.truncate(begin);
    false
}

/// Writes a piece in which addresses may be links. Says whether what may be an address touches its
/// end, and whether this way is not enough: a link within a style belongs around the style.
fn linked(text: &str, style: Style, previous: char, html: &mut String) -> (bool, bool) {
    let mut touches = may_become_address(text);
    let mut done = 0;
    for at in memchr::memchr_iter(b':', text.as_bytes()) {
        if !text.as_bytes()[at..].starts_with(b"://") {
            continue;
        }
        let head = &text.as_bytes()[..at];
        let scheme = [5, 4].into_iter().find(|len| {
            let tail = head.len().checked_sub(*len).map(|from| &head[from..]);
            let known: &[u8] = if *len == 5 { b"https" } else { b"http" };
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(known))
        });
        let Some(from) = scheme.map(|len| at - len).filter(|from| *from >= done) else {
            continue;
        };
        let before = text[..from].chars().next_back().unwrap_or(previous);
        if before.is_alphanumeric() {
            continue;
        }
        let end = link::end_of(&text[from..]) + from;
        touches |= end == text.len();
        let url = &text[from..end];
        let url = &url[..link::without_punctuation(url)];
        let Some(host) = link::host_of(url) else {
            continue;
        };
        if style != Style::PLAIN {
            return (touches, true);
        }
        escape(&text[done..from], html);
        write_link(url, host, html);
        escape_url(url, html);
        html.push_str("</a>");
        done = from + url.len();
    }
    escape(&text[done..], html);
    (touches, false)
}

/// Whether the text ends with the begin of a scheme: `http`, `https:` and so on could go on.
fn may_become_address(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut last = [0; 7];
    let tail = &bytes[bytes.len() - bytes.len().min(last.len())..];
    let last = &mut last[..tail.len()];
    last.copy_from_slice(tail);
    last.make_ascii_lowercase();
    // All of these end with one of few letters, and most texts don't.
    let near = matches!(last.last(), Some(b'h' | b't' | b'p' | b's' | b':' | b'/'));
    near && [
        "h", "ht", "htt", "http", "https", "http:", "https:", "http:/", "https:/",
    ]
    .iter()
    .any(|begin| last.ends_with(begin.as_bytes()))
}

/// The same as plain text, without the line's end.
pub(crate) fn text(pen: &mut Style, bytes: &[u8], out: &mut String) -> bool {
    let begin = out.len();
    let done = pieces(pen, bytes, |_, text, _| out.push_str(text));
    if !done {
        out.truncate(begin);
    }
    done
}

/// How many addresses there may be.
fn addresses(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b':', bytes)
        .filter(|at| bytes[*at..].starts_with(b"://"))
        .count()
}

/// Hands out the row's text: the style of each piece, the piece, and whether it holds a character
/// that HTML needs escaped. Says whether the row was simple; if not, `pen` stays as it was.
fn pieces(pen: &mut Style, bytes: &[u8], mut piece: impl FnMut(Style, &str, bool)) -> bool {
    // A row without an end may be torn within a sequence or a character.
    let (body, whole) = match bytes.strip_suffix(b"\n") {
        Some(body) => (body.strip_suffix(b"\r").unwrap_or(body), true),
        None => (bytes, false),
    };
    let mut rest = body;
    let mut style = *pen;
    while !rest.is_empty() {
        let len = memchr::memchr(0x1b, rest).unwrap_or(rest.len());
        if len > 0 {
            let Some((text, markup)) = visible(&rest[..len], whole) else {
                return false;
            };
            piece(style, text, markup);
            rest = &rest[len..];
            continue;
        }
        match colour(rest, &mut style).filter(|_| whole) {
            Some(len) => rest = &rest[len..],
            None => return false,
        }
    }
    *pen = style;
    true
}

/// The text, if every character is shown as it is, and whether it needs escaping.
fn visible(bytes: &[u8], whole: bool) -> Option<(&str, bool)> {
    // Folds without a way out, because the compiler makes vector instructions of them.
    let (mut plain, mut high, mut markup) = (true, 0, false);
    for b in bytes {
        plain &= (*b >= 0x20) & (*b != 0x7f) | (*b == b'\t');
        high |= *b;
        markup |= (*b == b'<') | (*b == b'>') | (*b == b'&');
    }
    if !plain {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    if high >= 0x80 && !(whole && text.chars().all(|c| shown(c) == Shown::Plain)) {
        return None;
    }
    Some((text, markup))
}

/// Takes over a sequence that sets colours, or that erases what is right of the text (nothing), and
/// says how long it is.
fn colour(bytes: &[u8], style: &mut Style) -> Option<usize> {
    let params = bytes.strip_prefix(b"\x1b[")?;
    let mut codes = [0u16; MAX_PARAMS];
    let mut count = 0;
    let mut any = false;
    for (i, b) in params.iter().enumerate() {
        match b {
            b'0'..=b'9' => {
                any = true;
                let code = codes.get_mut(count)?;
                *code = code.checked_mul(10)?.checked_add(u16::from(b - b'0'))?;
            }
            b';' => {
                any = true;
                count += 1;
                if count == MAX_PARAMS {
                    return None;
                }
            }
            b'm' => {
                let count = if any { count + 1 } else { 0 };
                style.apply(codes[..count].chunks(1));
                return Some(i + 3);
            }
            b'K' if count == 0 && codes[0] == 0 => return Some(i + 3),
            _ => return None,
        }
    }
    None
}
