//! Terminal output -> safe HTML.
//!
//! | part | what it does |
//! | --- | --- |
//! | `crate::screen` | bytes -> cells: escape sequences, overwriting |
//! | `quick` | rows of text and colours only, without cells: most rows |
//! | here | cells -> HTML |
//! | `style` | colours and attributes |
//! | `link` | which addresses become links |

pub(crate) mod link;
pub(crate) mod quick;
pub(crate) mod style;

use std::fmt::Write as _;

use self::link::Link;
use self::style::Style;
pub use self::style::palette_css;
use crate::screen::{Cell, Screen, Shown, shown};

/// A line of a block of rows that were drawn over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLine {
    /// The number of the row that it stands for; strictly growing from line to line.
    pub number: u64,
    /// Its HTML, as of [`Renderer::row`]. Several lines with `\n` between them where a program put
    /// text on the screen for which no row of the log stands.
    pub html: String,
    /// Characters at its end that are left out.
    pub cut: usize,
}

/// Makes HTML of rows. What a program set in one row (colours, an open hyperlink) holds in the
/// next: use one renderer from row to row. A clone is a bookmark.
///
/// The HTML of a row holds text and these elements only:
/// `<span class="...">` with the classes `fg-0`..`fg-15` and `bg-0`..`bg-15` (the terminal's own
/// colours: the page's theme), `c16`..`c255` and `b16`..`b255` (see [`palette_css`]), `t-bold`,
/// `t-dim`, `t-italic`, `t-underline`, `t-inverse`, `t-strike`, `t-mark` (a control character or an
/// invisible character, made visible); and
/// `<a href="http..." rel="noopener noreferrer nofollow" title="HOST">`.
/// Elements are closed within the row. Tabs and spaces stand as they are: use
/// `white-space: pre-wrap`.
#[derive(Debug, Clone, Default)]
pub struct Renderer {
    screen: Screen,
}

impl Renderer {
    /// A renderer in the state of a fresh terminal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the HTML of one row, given with or without its `\n`. A row that may still grow (the
    /// last one of a live log) is rendered with a clone, and again with the original when it is
    /// whole.
    pub fn row(&mut self, bytes: &[u8], html: &mut String) {
        if self.screen.is_simple() && quick::row(&mut self.screen.pen, bytes, html) {
            return;
        }
        self.screen.row(bytes);
        if memchr::memchr(b':', bytes).is_some() {
            link::find(&mut self.screen.cells, &mut self.screen.links);
        }
        write_cells(&self.screen.cells, &self.screen.links, html);
    }

    /// Renders rows in which the cursor moves up and lines are drawn over (see [`crate::blocks`]):
    /// `first` is the number of the first row. The lines come as they stand after the last row.
    /// Most of a line is shown: at most `max_cells` characters of it.
    pub fn block<'a>(
        &mut self,
        first: u64,
        rows: impl Iterator<Item = &'a [u8]>,
        max_cells: usize,
    ) -> Vec<BlockLine> {
        self.screen.begin_block(first);
        rows.for_each(|row| self.screen.row(row));
        let mut lines: Vec<BlockLine> = Vec::new();
        let mut html = String::new();
        let mut cut = 0;
        for (number, line) in self.screen.end_block() {
            let (mut cells, mut links) = (line.cells, line.links);
            cut += cells.len().saturating_sub(max_cells);
            cells.truncate(max_cells);
            link::find(&mut cells, &mut links);
            write_cells(&cells, &links, &mut html);
            match number {
                Some(number) => lines.push(BlockLine {
                    number,
                    html: std::mem::take(&mut html),
                    cut: std::mem::take(&mut cut),
                }),
                None => html.push('\n'),
            }
        }
        lines
    }

    /// Whether the next row comes out the same from both: colours, an open hyperlink, a torn sequence.
    pub fn is_as(&self, other: &Self) -> bool {
        self.screen.is_as(&other.screen)
    }

    /// Takes over the state after a row without rendering it: for a page that begins in the middle
    /// of a log.
    pub fn skip(&mut self, bytes: &[u8]) {
        // A row without an end may be torn within a character.
        let is_whole = bytes.ends_with(b"\n");
        if !is_whole || !self.screen.is_simple() || memchr::memchr(0x1b, bytes).is_some() {
            self.screen.row(bytes);
        }
    }
}

fn write_cells(cells: &[Cell], links: &[Link], html: &mut String) {
    let mut link = 0;
    let mut style = Style::PLAIN;
    for cell in cells {
        if cell.link != link || cell.style != style {
            close_span(style, html);
            if cell.link != link {
                close_link(link, html);
                open_link(links, cell.link, html);
            }
            open_span(cell.style, html);
            (link, style) = (cell.link, cell.style);
        }
        write_cell(cell, html);
    }
    close_span(style, html);
    close_link(link, html);
}

fn write_cell(cell: &Cell, html: &mut String) {
    match shown(cell.c) {
        Shown::Plain => match cell.c {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            c => html.push(c),
        },
        Shown::Picture(picture) => {
            html.push_str("<span class=\"t-mark\">");
            html.push(picture);
            html.push_str("</span>");
        }
        Shown::Number => {
            // Writing to a String can't fail.
            let number = cell.c as u32;
            let _ = write!(html, "<span class=\"t-mark\">U+{number:04X}</span>");
        }
    }
}

fn open_span(style: Style, html: &mut String) {
    if style != Style::PLAIN {
        html.push_str("<span class=\"");
        style.classes(html);
        html.push_str("\">");
    }
}

fn close_span(style: Style, html: &mut String) {
    if style != Style::PLAIN {
        html.push_str("</span>");
    }
}

fn open_link(links: &[Link], number: u16, html: &mut String) {
    let Some(index) = usize::from(number).checked_sub(1) else {
        return;
    };
    let link = &links[index];
    write_link(&link.url, &link.host, html);
}

fn write_link(url: &str, host: &str, html: &mut String) {
    html.push_str("<a href=\"");
    escape_url(url, html);
    html.push_str("\" rel=\"noopener noreferrer nofollow\" title=\"");
    // A host has no character that means anything to HTML.
    html.push_str(host);
    html.push_str("\">");
}

/// Escapes an address: of what means something to HTML, it can only have `&`.
fn escape_url(url: &str, html: &mut String) {
    for (i, part) in url.split('&').enumerate() {
        if i > 0 {
            html.push_str("&amp;");
        }
        html.push_str(part);
    }
}

fn close_link(number: u16, html: &mut String) {
    if number != 0 {
        html.push_str("</a>");
    }
}

/// Escapes ASCII for an element's text; for an attribute, too, because links have no quotes.
fn escape(text: &str, html: &mut String) {
    let mut rest = text;
    while let Some(at) = memchr::memchr3(b'<', b'>', b'&', rest.as_bytes()) {
        html.push_str(&rest[..at]);
        html.push_str(match rest.as_bytes()[at] {
            b'<' => "&lt;",
            b'>' => "&gt;",
            _ => "&amp;",
        });
        rest = &rest[at + 1..];
    }
    html.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(rows: &[&[u8]]) -> Vec<String> {
        let mut renderer = Renderer::new();
        rows.iter()
            .map(|row| {
                let mut html = String::new();
                renderer.row(row, &mut html);
                html
            })
            .collect()
    }

    fn one(row: &[u8]) -> String {
        html(&[row]).remove(0)
    }

    #[test]
    fn colours_and_attributes_become_classes() {
        for (row, expected) in [
            ("\x1b[31mred\x1b[0m!\n", "<span class=\"fg-1\">red</span>!"),
            (
                "\x1b[1;91;44mx",
                "<span class=\"fg-9 bg-4 t-bold\">x</span>",
            ),
            ("\x1b[38;5;196mx", "<span class=\"c196\">x</span>"),
            ("\x1b[38;5;3mx", "<span class=\"fg-3\">x</span>"),
            (
                "\x1b[48;2;255;0;0;1mx",
                "<span class=\"b196 t-bold\">x</span>",
            ),
            ("\x1b[38:2::0:0:255mx", "<span class=\"c21\">x</span>"),
            (
                "\x1b[2;3;4;7;9mx\x1b[22;23;24;27;29my",
                "<span class=\"t-dim t-italic t-underline t-inverse t-strike\">x</span>y",
            ),
            ("\x1b[31mx\x1b[my", "<span class=\"fg-1\">x</span>y"),
            ("\x1b[31;49;39mx", "x"),
            ("\x1b[8mnot hidden", "not hidden"),
            ("\x1b[38;5mx\x1b[38;5;999my\x1b[38;9mz", "xyz"),
        ] {
            assert_eq!(one(row.as_bytes()), expected, "{row:?}");
        }
    }

    #[test]
    fn the_state_holds_from_row_to_row_and_torn_sequences_are_joined() {
        assert_eq!(
            html(&[b"\x1b[32ma\n", b"b\n", b"\x1b[0mc\n", b"d\n"]),
            [
                "<span class=\"fg-2\">a</span>",
                "<span class=\"fg-2\">b</span>",
                "c",
                "d"
            ]
        );
        // Pieces of one line.
        assert_eq!(
            html(&[b"a\x1b[3", b"1mb\xc3", b"\xa4c\n"]),
            [
                "a",
                "<span class=\"fg-1\">b</span>",
                "<span class=\"fg-1\">\u{e4}c</span>"
            ]
        );
        // A line's end ends everything that is torn.
        assert_eq!(html(&[b"\xc3\n", b"\xa4\n"]), ["\u{fffd}", "\u{fffd}"]);
        assert_eq!(
            html(&[b"x\x1b[3\n", b"1m\n"]),
            ["x<span class=\"t-mark\">\u{241b}</span>[3", "1m"]
        );
        let mut skipped = Renderer::new();
        skipped.skip(b"\x1b[32ma\n");
        skipped.skip(b"plain\n");
        let mut out = String::new();
        skipped.clone().row(b"b", &mut out);
        assert_eq!(out, "<span class=\"fg-2\">b</span>");
    }

    #[test]
    fn a_row_is_what_a_person_would_see_in_the_end() {
        for (row, expected) in [
            ("10%\r50%\r100%\n", "100%"),
            ("abcdef\rxy\r\n", "xycdef"),
            ("working...\r\x1b[Kdone", "done"),
            ("abc\x1b[2Dx", "axc"),
            ("abc\x1b[1Gx", "xbc"),
            ("a\x1b[3Cb", "a   b"),
            ("abc\x1b[1Kd", "   d"),
            ("abc\x1b[2Kd", "   d"),
            ("ab\u{8}c", "ac"),
            ("\u{8}\u{8}a", "a"),
            ("a\tb\r\n", "a\tb"),
            ("\x1b]0;title\x07a\x1b(Bb\x1b[?25lc\x1b[2Jd\x1bMe", "abcde"),
            ("\x1bPq#0;2;0;0;0\x1b\\a\x1b_app\x1b\\b", "ab"),
        ] {
            assert_eq!(one(row.as_bytes()), expected, "{row:?}");
        }
    }

    #[test]
    fn what_can_not_be_seen_is_made_visible() {
        let mark = |text: &str| format!("<span class=\"t-mark\">{text}</span>");
        assert_eq!(
            one(b"a\0b\x07"),
            format!("a{}b{}", mark("\u{2400}"), mark("\u{2407}"))
        );
        assert_eq!(
            one(b"\x7f\x9b1m"),
            format!("{}\u{fffd}1m", mark("\u{2421}"))
        );
        for c in [
            "\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}", "\u{85}", "\u{2028}",
        ] {
            let number = c.chars().next().unwrap() as u32;
            assert_eq!(one(c.as_bytes()), mark(&format!("U+{number:04X}")));
        }
        let family = "\u{1f468}\u{200d}\u{1f469}\u{fe0f} e\u{301} \u{5d0}\u{626}";
        assert_eq!(one(family.as_bytes()), family);
        assert_eq!(one(b"\xff\xfea"), "\u{fffd}\u{fffd}a");
        // No title, however it begins, hides the text behind it.
        let torn = one(b"\x1b]0;evil text\n");
        assert_eq!(torn, format!("{}]0;evil text", mark("\u{241b}")));
    }

    #[test]
    fn links_lead_where_they_say() {
        let link = |url: &str, host: &str, text: &str| {
            format!(
                "<a href=\"{url}\" rel=\"noopener noreferrer nofollow\" title=\"{host}\">{text}</a>"
            )
        };
        let example = link(
            "https://e.example/?a&amp;b",
            "e.example",
            "https://e.example/?a&amp;b",
        );
        assert_eq!(one(b"(https://e.example/?a&b)."), format!("({example})."));
        assert_eq!(one(b"xhttps://e.example"), "xhttps://e.example");
        assert_eq!(
            one(b"\x1b]8;id=1;http://e.example/;x\x1b\\here\x1b]8;;\x1b\\ there"),
            format!("{} there", link("http://e.example/;x", "e.example", "here"))
        );
        assert_eq!(
            html(&[b"\x1b]8;;http://e.example\x07a\n", b"b\x1b]8;;\x07c\n"]),
            [
                link("http://e.example", "e.example", "a"),
                link("http://e.example", "e.example", "b") + "c"
            ]
        );
        for bad in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "http://a\"b",
        ] {
            assert_eq!(one(format!("\x1b]8;;{bad}\x07x").as_bytes()), "x");
        }
        assert_eq!(
            one(b"\x1b[1mhttp://e.ex/\x1b[31mred\x1b[0m"),
            link(
                "http://e.ex/red",
                "e.ex",
                concat!(
                    "<span class=\"t-bold\">http://e.ex/</span>",
                    "<span class=\"fg-1 t-bold\">red</span>"
                )
            )
        );
    }
}
