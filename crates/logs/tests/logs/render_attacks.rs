//! Whatever a program prints, the HTML holds text, our spans and our links, and nothing else; and
//! making it takes no time and no memory worth mentioning.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use windlass_logs::{Renderer, strip};

use crate::html::{check, check_lines};

/// Bytes as an attacker would choose them.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(
            &[
                "<script>alert(1)</script>",
                "</span>",
                "</a>",
                "<img src=x onerror=alert(1)>",
                "\"",
                "'",
                "&",
                "&lt;",
                "&#60;",
                ">",
                "<!--",
                "\x1b[31m",
                "\x1b[0m",
                "\x1b[38;5;200m",
                "\x1b[38;2;1;2;3m",
                "\x1b[K",
                "\x1b[1K",
                "\x1b[2K",
                "\x1b[999999999C",
                "\x1b[5D",
                "\x1b[3G",
                "\x1b[",
                "\x1b]",
                "\x1b",
                "\x1b]8;;",
                "\x1b]8;;http://a.example/\x07",
                "\x1b]8;;javascript:alert(1)\x07",
                "\x1b]8;;\x1b\\",
                "\x07",
                "\x1b\\",
                "\x1b]8;;http://a\"onmouseover=alert(1)\x07",
                "http://",
                "https://b.example/?a=<b>",
                "http://a@b.example",
                "http://c.example\\@d",
                "javascript:",
                "\r",
                "\u{8}",
                "\t",
                "\0",
                "\u{202e}",
                "\u{2066}",
                "\u{200b}",
                "\u{9b}",
                "\x1bP",
                "\x1b_",
                "\x1b(",
                "\u{5d0}",
                "\u{1f600}",
            ][..]
        )
        .prop_map(|s| s.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
        "[a-z<>&\"' ]{0,8}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// To other lines, and back.
fn movement() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "",
            "\x1b[A",
            "\x1b[3A",
            "\x1b[2B",
            "\x1b[H",
            "\x1b[5;5H",
            "\x1b[J",
            "\x1b[1J",
            "\x1b[2J",
            "\x1bM",
            "\x1bD",
            "\x1b7",
            "\x1b8",
            "\x1b[s",
            "\x1b[u",
            "\x1bc",
            "\x1b[9d",
        ][..],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_output_makes_html_of_its_own(rows in proptest::collection::vec(hostile(), 1..5)) {
        let mut renderer = Renderer::new();
        for row in rows {
            // As rows are cut from a log: a newline only at the end, or none.
            for row in row.split_inclusive(|b| *b == b'\n') {
                let mut html = String::new();
                let mut skipped = renderer.clone();
                renderer.row(row, &mut html);
                if let Err(wrong) = check(&html) {
                    prop_assert!(false, "{} in {:?}", wrong, html);
                }
                // Skipping leaves the same state.
                skipped.skip(row);
                let (mut a, mut b) = (String::new(), String::new());
                skipped.row(b"probe", &mut a);
                renderer.clone().row(b"probe", &mut b);
                prop_assert_eq!(a, b);
            }
        }
    }

    /// The same where lines are drawn over, and where a search or a group takes them.
    #[test]
    fn no_block_makes_html_of_its_own(
        rows in proptest::collection::vec((hostile(), movement(), hostile()), 1..8)
    ) {
        let rows: Vec<Vec<u8>> = rows
            .into_iter()
            .flat_map(|(a, up, b)| {
                let row = [&a[..], up.as_bytes(), &b[..], b"\n"].concat();
                let rows = row.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec);
                rows.collect::<Vec<_>>()
            })
            .collect();
        let lines = Renderer::new().block(0, rows.iter().map(Vec::as_slice), 16_384);
        let mut below = 0;
        for line in lines {
            prop_assert!(line.number >= below && line.number < rows.len() as u64);
            below = line.number + 1;
            if let Err(wrong) = check_lines(&line.html) {
                prop_assert!(false, "{} in {:?}", wrong, line.html);
            }
        }
        for row in &rows {
            if let Some(windlass_logs::Group::Begin { title, .. }) = windlass_logs::group(row) {
                prop_assert!(!title.contains(|c: char| c.is_control() && c != '\t'), "{:?}", title);
            }
            let mut text = Vec::new();
            windlass_logs::search::text_of(row, &mut text);
            prop_assert!(text.ends_with(b"\n") && text.len() <= row.len());
        }
    }

    #[test]
    fn page_and_plain_text_say_the_same(row in hostile()) {
        let row: Vec<u8> = row.into_iter().filter(|b| *b != b'\n').chain(*b"\n").collect();
        let mut html = String::new();
        Renderer::new().row(&row, &mut html);
        let text = strip(&row);
        // Numbers stand in brackets in plain text and in a span on the page.
        let bare = |text: &str| text.replace(['<', '>', '\n'], "");
        prop_assert_eq!(bare(&check(&html).unwrap()), bare(&text));
        prop_assert!(!text.contains('\x1b'));
    }

    #[test]
    fn plain_words_pass_unchanged(row in "[ -;=?-~\\t]{0,100}") {
        let mut html = String::new();
        Renderer::new().row(row.as_bytes(), &mut html);
        prop_assert_eq!(check(&html).unwrap(), row);
    }
}

/// Found by `fuzz/fuzz_targets/terminal.rs`: a row that clears the screen between its words is two
/// lines of the screen. The log has one row there, so both stand under its number, each whole.
#[test]
fn lines_under_one_number_are_each_whole() {
    let inverse = |text: &str| format!("<span class=\"t-inverse\">{text}</span>");
    for (row, on_screen, alone) in [
        // A reset ends colours, and the cursor goes home.
        (
            &b"\x1b[7m\xff\x1bc\xff"[..],
            format!("{}\n\u{fffd}", inverse("\u{fffd}")),
            format!("{}\u{fffd}", inverse("\u{fffd}")),
        ),
        // A cleared screen keeps both.
        (
            b"\x1b[7m\xff\x1b[2J\xff",
            format!("{}\n {}", inverse("\u{fffd}"), inverse("\u{fffd}")),
            inverse("\u{fffd}\u{fffd}"),
        ),
    ] {
        let lines = Renderer::new().block(1, std::iter::once(row), 16_384);
        let [line] = lines.as_slice() else {
            panic!("{lines:?}");
        };
        assert_eq!((line.number, &line.html), (1, &on_screen));
        check_lines(&line.html).unwrap();
        // Nothing but a block may hold a line feed: any other row is one line.
        check(&line.html).unwrap_err();
        let mut html = String::new();
        Renderer::new().row(row, &mut html);
        assert_eq!(html, alone);
        check(&html).unwrap();
    }
}

#[test]
fn hostile_rows_cost_little() {
    let fill = |piece: &str| piece.repeat(65_536 / piece.len());
    let half = "x".repeat(32_768);
    let rows = [
        fill("\x1b[999999999C"),
        fill("\x1b[999999999Cx\r"),
        fill("\x1b[65535Cx\x1b[2K"),
        fill("\x1b[999999999b"),
        fill("\x1b[999999999@"),
        format!("{half}{}", fill("\x1b[1K").split_at(32_768).0),
        format!("{half}{}", fill("\x1b[2Kx").split_at(32_765).0),
        format!("\x1b[{}m", "1;".repeat(10_000)),
        fill("\x1b[38;2;1;2;3mx"),
        fill("\x1b]0;"),
        fill("\x1bP"),
        fill("-http://."),
        format!("{}{}", fill("-http://.").split_at(1000).0, fill(")")),
        fill("http://a.b "),
        fill("\x1b]8;;http://a\x07x"),
        fill("\u{202e}"),
        fill("\0"),
    ];
    let bytes: Vec<Vec<u8>> = rows
        .into_iter()
        .map(String::into_bytes)
        .chain([vec![0xff; 65_536], vec![0x1b; 65_536]])
        .collect();
    for row in bytes {
        let began = Instant::now();
        let mut html = String::new();
        Renderer::new().row(&row, &mut html);
        let name = row[..row.len().min(20)].escape_ascii().to_string();
        check(&html).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        // Without optimisation; a quadratic row would take minutes.
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{name}: {:?}",
            began.elapsed()
        );
        assert!(html.len() < 6_000_000, "{name}: {} bytes", html.len());
    }
}
