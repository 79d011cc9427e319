//! Which addresses may become links: http and https, in plain ASCII, with a host that is what it
//! looks like.

use crate::screen::{Cell, MAX_LINKS, add_link};

/// Longer addresses stay text.
const MAX_URL: usize = 2048;

/// An address that is safe in `href="..."` after escaping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) url: String,
    /// Where it leads, to be shown: user names before an `@` are not part of it.
    pub(crate) host: String,
}

/// The bytes that are characters of RFC 3986, apart from `[`, `]` and `'`, which nobody misses. `\` is
/// not one of them, so browsers can't see another host than we do.
const IN_URL: [bool; 256] = {
    let mut is = [false; 256];
    let mut b = 0;
    while b < 256 {
        is[b] = matches!(b as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/'
            | b'?' | b'#' | b'@' | b'!' | b'$' | b'&' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b'%');
        b += 1;
    }
    is
};

fn is_url_char(c: char) -> bool {
    u8::try_from(c).is_ok_and(|b| IN_URL[usize::from(b)])
}

/// The link for an address, or `None` if it stays text.
pub(crate) fn parse(url: &[u8]) -> Option<Link> {
    let url = std::str::from_utf8(url).ok()?;
    let is_plain = url.bytes().all(|b| IN_URL[usize::from(b)]);
    let host = host_of(url).filter(|_| is_plain)?;
    Some(Link {
        url: url.to_owned(),
        host: host.to_owned(),
    })
}

/// Where a text of characters of addresses leads, or `None` if it is no address that we link.
pub(super) fn host_of(url: &str) -> Option<&str> {
    if url.len() > MAX_URL {
        return None;
    }
    let rest = after_scheme(url)?;
    let end = rest.bytes().position(|b| matches!(b, b'/' | b'?' | b'#'));
    let authority = &rest[..end.unwrap_or(rest.len())];
    let host = authority.rsplit('@').next()?;
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let is_name = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let fits = is_name && name.bytes().any(|b| b.is_ascii_alphanumeric());
    (fits && port.bytes().all(|b| b.is_ascii_digit())).then_some(host)
}

fn after_scheme(url: &str) -> Option<&str> {
    ["https://", "http://"].into_iter().find_map(|scheme| {
        let head = url.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme)
            .then(|| &url[scheme.len()..])
    })
}

/// Makes links of the addresses that stand in a row's text.
pub(crate) fn find(cells: &mut [Cell], links: &mut Vec<Link>) {
    let mut at = 0;
    let mut url = String::new();
    // Looking at what begins like an address and is none is work, too.
    let mut attempts = 0;
    while attempts < MAX_LINKS && at < cells.len() {
        if !begins_at(cells, at) {
            at += 1;
            continue;
        }
        attempts += 1;
        url.clear();
        url.extend(
            cells[at..]
                .iter()
                .take(MAX_URL + 1)
                .take_while(|cell| cell.link == 0 && is_url_char(cell.c))
                .map(|cell| cell.c),
        );
        url.truncate(without_punctuation(&url));
        let Some(link) = parse(url.as_bytes()) else {
            at += 1;
            continue;
        };
        let number = add_link(links, link);
        if number == 0 {
            return;
        }
        for cell in &mut cells[at..at + url.len()] {
            cell.link = number;
        }
        at += url.len();
    }
}

/// Where the characters of an address end in a text that begins with one.
pub(super) fn end_of(text: &str) -> usize {
    let most = text.len().min(MAX_URL + 1);
    let near = &text.as_bytes()[..most];
    near.iter()
        .position(|b| !IN_URL[usize::from(*b)])
        .unwrap_or(most)
}

fn begins_at(cells: &[Cell], at: usize) -> bool {
    let is = |i: usize, c: char| {
        cells
            .get(at + i)
            .is_some_and(|x| x.c.eq_ignore_ascii_case(&c))
    };
    is(0, 'h')
        && cells[at].link == 0
        && (at == 0 || !cells[at - 1].c.is_alphanumeric())
        && "ttp".chars().enumerate().all(|(i, c)| is(i + 1, c))
        && (is(4, ':') || is(4, 's') && is(5, ':'))
}

/// Where an address ends that stands in a sentence or in parentheses.
pub(super) fn without_punctuation(url: &str) -> usize {
    // How many more are closed than opened; most addresses end without one, and are not counted.
    let mut unopened = None;
    let count = || {
        url.bytes().fold(0_i64, |n, b| {
            n + i64::from(b == b')') - i64::from(b == b'(')
        })
    };
    let mut end = url.len();
    // Everything in an address is ASCII; what is cut off opens nothing.
    while let Some(last) = url.as_bytes()[..end].last() {
        match last {
            b'.' | b',' | b';' | b':' | b'!' | b'?' | b'*' => {}
            b')' => {
                let left = unopened.get_or_insert_with(count);
                if *left <= 0 {
                    break;
                }
                *left -= 1;
            }
            _ => break,
        }
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_with_a_plain_host_are_links() {
        for (url, host) in [
            ("https://example.com", "example.com"),
            ("HTTP://Example.com:8080/a?b=c#d", "Example.com:8080"),
            ("https://github.com@evil.example/", "evil.example"),
            ("https://a:b@c.example?x@y", "c.example"),
        ] {
            assert_eq!(parse(url.as_bytes()).unwrap().host, host);
        }
        for url in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//example.com",
            "https://",
            "https:///path",
            "https://a\"onclick=",
            "https://a'b",
            "https://a<b>",
            "https://a b",
            "https://evil.example\\@github.com",
            "https://evil%2eexample",
            "https://пример.example",
            "https://..",
            "https://a:b",
            "http\0s://a",
        ] {
            assert_eq!(parse(url.as_bytes()), None, "{url}");
        }
        assert_eq!(
            parse(format!("https://a/{}", "b".repeat(3000)).as_bytes()),
            None
        );
    }

    #[test]
    fn punctuation_behind_an_address_is_not_part_of_it() {
        for (text, url) in [
            ("https://a.example/x.", "https://a.example/x"),
            ("https://a.example/x)", "https://a.example/x"),
            ("https://a.example/x_(y)", "https://a.example/x_(y)"),
            ("https://a.example/x_(y)),", "https://a.example/x_(y)"),
        ] {
            assert_eq!(&text[..without_punctuation(text)], url);
        }
    }
}
