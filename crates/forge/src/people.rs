//! What strangers wrote, made fit to be shown to people: one line, no control characters, cut.
//!
//! A commit message, a title or a name can be megabytes long, can hold terminal sequences that
//! rewrite what stands above them, or marks that reverse the order of what stands beside them.

/// Characters of a commit message's first line or of a title that are kept.
pub(crate) const LINE: usize = 200;

/// Characters of a name that are kept. GitHub's logins have at most 39, git's names any number.
pub(crate) const NAME: usize = 100;

/// Bytes of a URL that are kept; a longer one is left out, because half a URL leads elsewhere.
const URL: usize = 2048;

/// `text` in one line of at most `max` characters. Line ends, tabs and runs of blanks become one
/// blank, control characters and invisible marks vanish, and what is too long ends in `…`.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    let mut blank = false;
    for c in text.chars() {
        if c.is_whitespace() {
            blank = length > 0;
            continue;
        }
        if c.is_control() || is_invisible(c) {
            continue;
        }
        let needed = 1 + usize::from(blank);
        if length + needed > max {
            // Room for the ellipsis: the last character goes.
            if length == max {
                line.pop();
            }
            line.truncate(line.trim_end().len());
            line.push('…');
            return line;
        }
        if blank {
            line.push(' ');
            blank = false;
        }
        line.push(c);
        length += needed;
    }
    line
}

/// The first line of `text` that isn't blank, as [`one_line`] shows it.
pub(crate) fn first_line(text: &str, max: usize) -> String {
    let first = text.trim_start().lines().next().unwrap_or_default();
    one_line(first, max)
}

/// `url` if it leads to a web page: a link with another scheme (`javascript:`) runs what it says
/// when a person clicks on it.
pub(crate) fn link(url: &str) -> Option<String> {
    let scheme = url.starts_with("https://") || url.starts_with("http://");
    (scheme && is_plain(url)).then(|| url.to_owned())
}

/// Whether `url` is short enough, and free of blanks, control characters and invisible marks.
pub(crate) fn is_plain(url: &str) -> bool {
    let strange = |c: char| c.is_whitespace() || c.is_control() || is_invisible(c);
    !url.is_empty() && url.len() <= URL && !url.contains(strange)
}

/// Marks without a picture of their own: they hide text or change its direction ("Trojan Source",
/// CVE-2021-42574). The zero-width joiner stays: it belongs to emoji and to several scripts.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_a_character_and_says_so() {
        assert_eq!(one_line("short", 5), "short");
        assert_eq!(one_line("shorter", 5), "shor…");
        assert_eq!(one_line("äöüäöü", 5), "äöüä…");
        assert_eq!(one_line("four five", 5), "four…");
        assert_eq!(one_line("four f", 6), "four f");
        assert_eq!(one_line("abcd  ", 4), "abcd");
        assert_eq!(one_line(&"x".repeat(1_000_000), LINE).chars().count(), LINE);
    }

    #[test]
    fn nothing_is_left_that_moves_a_cursor_or_hides_text() {
        assert_eq!(one_line("a\u{1b}[2Jb\0c\u{9b}1m", 50), "a[2Jbc1m");
        assert_eq!(one_line(" a\r\n\t b\u{2028}c ", 50), "a b c");
        assert_eq!(one_line("user\u{202e}nimda\u{2066}", 50), "usernimda");
        assert_eq!(one_line("\u{1b}\u{feff}", 50), "");
    }

    #[test]
    fn the_first_line_is_the_first_that_says_something() {
        assert_eq!(first_line("\n\n Fix it \n\nbecause", 50), "Fix it");
        assert_eq!(first_line("one\r\ntwo", 50), "one");
        assert_eq!(first_line("  \n ", 50), "");
    }

    #[test]
    fn a_link_leads_to_a_page() {
        for good in ["https://github.com/o/r/commit/1", "http://ghes.local/o/r"] {
            assert_eq!(link(good).as_deref(), Some(good));
        }
        let long = format!("https://host/{}", "a".repeat(URL));
        for bad in [
            "",
            "javascript:alert(1)",
            "/o/r",
            "https://a b",
            "https://a\n",
            &long,
        ] {
            assert_eq!(link(bad), None, "{bad:?}");
        }
    }
}
