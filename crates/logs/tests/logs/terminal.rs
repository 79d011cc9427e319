//! Lines that are drawn over: what is on the page is what would be on a terminal, under numbers
//! that stay.

use proptest::prelude::*;
use windlass_logs::blocks::{blocks, moves_up};
use windlass_logs::{LogReader, Renderer};

use crate::journals::{Journal, record};

fn rows(text: &str) -> Vec<&[u8]> {
    text.as_bytes().split_inclusive(|b| *b == b'\n').collect()
}

/// Number and text of the lines of a block; without its elements.
fn shown(text: &str) -> Vec<(u64, String)> {
    let lines = Renderer::new().block(1, rows(text).into_iter(), 16_384);
    let plain = |html: &str| {
        let mut out = String::new();
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            out.push_str(&rest[..at]);
            rest = &rest[rest[at..].find('>').unwrap() + at + 1..];
        }
        (out + rest).replace("&gt;", ">").replace("&lt;", "<")
    };
    lines
        .iter()
        .map(|line| (line.number, plain(&line.html).trim_end().to_owned()))
        .collect()
}

fn check(text: &str, expected: &[(u64, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(n, t)| (*n, (*t).to_owned()))
        .collect();
    assert_eq!(shown(text), expected, "{text:?}");
}

#[test]
fn progress_of_real_tools_looks_as_on_a_terminal() {
    // docker pull: one line per layer; each update goes up, writes, and comes back down.
    let mut pull = String::from("latest: Pulling from library/alpine\r\n");
    for layer in ["a1", "b2", "c3"] {
        pull += &format!("\r\n\x1b[1A\x1b[2K\r{layer}: Pulling fs layer \r\x1b[1B");
    }
    for done in [10, 50] {
        pull += &format!("\x1b[3A\x1b[2K\ra1: Downloading {done} %\r\x1b[3B");
        pull += &format!("\x1b[1A\x1b[2K\rc3: Downloading {done} %\r\x1b[1B");
    }
    pull +=
        "\x1b[3A\x1b[2K\ra1: Pull complete \r\x1b[3B\x1b[2A\x1b[2K\rb2: Already exists \r\x1b[2B";
    pull +=
        "\x1b[1A\x1b[2K\rc3: Pull complete \r\x1b[1BDigest: sha256:00\r\nStatus: Downloaded\r\n";
    check(
        &pull,
        &[
            (1, "latest: Pulling from library/alpine"),
            (2, "a1: Pull complete"),
            (3, "b2: Already exists"),
            (4, "c3: Pull complete"),
            (5, "Digest: sha256:00"),
            (6, "Status: Downloaded"),
        ],
    );
    // docker compose, buildkit: all lines again, with line ends.
    let mut compose = String::from("[+] Running 0/2\n ⠿ db  Pulling\n ⠿ web Pulling\n");
    for n in 1..=9 {
        compose += &format!(
            "\x1b[3A\x1b[?25l[+] Running {}/2\n \x1b[34m⠿ db  {n} s\x1b[0m\x1b[K\n ⠿ web {n} s\x1b[K\n\x1b[?25h",
            n / 5
        );
    }
    compose += "done\n";
    check(
        &compose,
        &[
            (28, "[+] Running 1/2"),
            (29, " ⠿ db  9 s"),
            (30, " ⠿ web 9 s"),
            (31, "done"),
        ],
    );
    // npm, yarn: a spinner below, erased in the end.
    check(
        "⠋ idealTree\n⠋ reify\n\x1b[2A\x1b[0Jadded 50 packages in 2s\n\n3 packages are looking for funding\n",
        &[
            (3, "added 50 packages in 2s"),
            (4, ""),
            (5, "3 packages are looking for funding"),
        ],
    );
    // cargo and pip write over one line only.
    check(
        "   Compiling a\n    Building [=>   ] 1/9\r\x1b[K   Compiling b\n    Building [===> ] 5/9\r\x1b[K    Finished\n",
        &[
            (1, "   Compiling a"),
            (2, "   Compiling b"),
            (3, "    Finished"),
        ],
    );
    // Two bars of tqdm.
    check(
        "outer 0 %\r\n\x1b[Ainner 0 %\r\x1b[A\n\router 50 %\x1b[A\rinner 9 %\r\n",
        &[(1, "inner 9 %"), (2, "outer 50 %")],
    );
}

#[test]
fn a_line_bears_the_number_of_the_row_whose_text_it_shows() {
    check("a\nb\nc\n\x1b[3AA\n\n\n", &[(4, "A"), (5, "b"), (6, "c")]);
    // Only the first of three is written again, and the next row is below: numbers stay in order.
    check(
        "a\nb\nc\n\x1b[3AA\n\x1b[2Bd\n",
        &[(1, "A"), (2, "b"), (3, "c"), (5, "d")],
    );
    // Saved and restored.
    check("a\nb\x1b7\x1b[A\rx\x1b8c\n", &[(1, "x"), (2, "bc")]);
}

#[test]
fn a_screen_that_is_cleared_is_not_forgotten() {
    check(
        "first\n\x1b[2J\x1b[Hsecond\n\x1b[H\x1b[2Jthird\n\x1bcfourth\n",
        &[(1, "first"), (2, "second"), (3, "third"), (4, "fourth")],
    );
    // A program that draws a whole screen in one row.
    check(
        "\x1b[2J\x1b[1;1Htop\x1b[3;3Hmiddle\x1b[4;1Hbottom\n",
        &[(1, "top\n\n  middle\nbottom")],
    );
}

#[test]
fn hostile_movements_stay_within_bounds() {
    for piece in [
        "\x1b[999999999A",
        "\x1b[999999999B",
        "\x1b[9999;9999H",
        "\x1b[2J\x1b[100;1H",
        "\x1bM",
        "\x1bD",
        "\x1bc",
        "\x1b[J\x1b[1J\x1b[H",
        "\x1b7\x1b[9999B\x1b8",
        "\n",
        "x\n\x1b[A",
    ] {
        let text = piece.repeat(256 * 1024 / piece.len());
        let lines = Renderer::new().block(0, rows(&text).into_iter(), 16_384);
        let bytes: usize = lines.iter().map(|line| line.html.len()).sum();
        assert!(bytes < 4_000_000, "{piece:?}: {bytes}");
        assert!(lines.windows(2).all(|two| two[0].number < two[1].number));
    }
}

/// What a terminal of endless height would show: the definition, without any cleverness.
fn model(text: &str) -> Vec<String> {
    let (mut lines, mut y, mut x) = (vec![Vec::<char>::new()], 0_usize, 0_usize);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\n' => {
                y += 1;
                x = 0;
                if y == lines.len() {
                    lines.push(Vec::new());
                }
            }
            '\r' => x = 0,
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let n: usize = rest[1..end].parse().unwrap_or(0);
                let count = n.max(1);
                match &rest[end..=end] {
                    "A" => y = y.saturating_sub(count),
                    "B" => y = (y + count).min(lines.len() - 1),
                    "F" => (y, x) = (y.saturating_sub(count), 0),
                    "C" => x += count,
                    "D" => x = x.saturating_sub(count),
                    "K" if n == 0 => lines[y].truncate(x),
                    "K" => lines[y].clear(),
                    "J" => {
                        lines[y].truncate(x);
                        lines[y + 1..].iter_mut().for_each(Vec::clear);
                    }
                    _ => {}
                }
                rest = &rest[end + 1..];
            }
            c => {
                let line = &mut lines[y];
                if line.len() <= x {
                    line.resize(x + 1, ' ');
                }
                line[x] = c;
                x += 1;
            }
        }
    }
    let open = !text.ends_with('\n');
    let text_of = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
    let mut out: Vec<String> = lines.iter().map(text_of).collect();
    while out.len() > y + usize::from(open) && out.last().is_some_and(String::is_empty) {
        out.pop();
    }
    out
}

fn drawing() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(
        &[
            "a", "bc", "def", "\n", "\n", "\n", "\r", "\x1b[A", "\x1b[2A", "\x1b[3A", "\x1b[B",
            "\x1b[2B", "\x1b[F", "\x1b[C", "\x1b[2D", "\x1b[K", "\x1b[2K", "\x1b[J", "\x1b[31m",
        ][..],
    );
    proptest::collection::vec(piece, 1..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn lines_are_those_of_a_terminal(text in drawing()) {
        let lines = shown(&text);
        prop_assert!(lines.windows(2).all(|two| two[0].0 < two[1].0), "{:?}", lines);
        let count = rows(&text).len() as u64;
        prop_assert!(lines.iter().all(|(n, _)| (1..=count).contains(n)), "{:?}", lines);
        let text_shown: Vec<&str> = lines
            .iter()
            .flat_map(|(_, text)| text.split('\n'))
            .map(str::trim_end)
            .collect();
        let model = model(&text);
        // Blank lines at the end are nobody's.
        let trimmed = |lines: &[String]| lines.join("\n").trim_end().to_owned();
        let text_shown: Vec<String> = text_shown.iter().map(|s| (*s).to_owned()).collect();
        prop_assert_eq!(trimmed(&text_shown), trimmed(&model));
    }

    /// The short way for simple rows gives what the screen gives.
    #[test]
    fn the_short_way_and_the_screen_agree(
        pieces in proptest::collection::vec(proptest::sample::select(&[
            "a", "<b>", "ü", "\x1b[31m", "\x1b[1;38;5;9m", "\x1b[0m", "\x1b[m", "\x1b[;1m", "\x1b[K",
            "\x1b[38;2;1;2;3m", "\x1b[7m", " ", "\t", "\u{200b}", "\x1b[2K", "://", "http", "https://a.example/x", "http://b.c.", "s:", "/", ")", "(", "&", "?q=1&b", "u@h", ":80", ".", "HTTPS://D.example", "ttp", "h", "\r", "\x1b[4:3m",
        ][..]), 0..12)
    ) {
        let row = pieces.concat() + "\n";
        let (mut short, mut long) = (String::new(), String::new());
        let (mut a, mut b) = (Renderer::new(), Renderer::new());
        a.row(row.as_bytes(), &mut short);
        // A block of one row takes the screen's way.
        let lines = b.block(1, std::iter::once(row.as_bytes()), 16_384);
        long.push_str(lines.first().map_or("", |line| &line.html));
        prop_assert_eq!(&short, &long);
        let (mut next_a, mut next_b) = (String::new(), String::new());
        a.row(b"x\n", &mut next_a);
        b.row(b"x\n", &mut next_b);
        prop_assert_eq!(next_a, next_b);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Wherever one begins to look, the blocks are the same.
    #[test]
    fn every_window_finds_the_same_blocks(
        gaps in proptest::collection::vec((0..450_usize, 1..90_usize), 0..12),
        windows in proptest::collection::vec((0..5000_u64, 1..700_u64), 1..12),
    ) {
        let mut log = Vec::new();
        for (quiet, width) in &gaps {
            for n in 0..*quiet {
                log.extend_from_slice(format!("{n} {}\n", "x".repeat(width * 9)).as_bytes());
            }
            log.extend_from_slice(b"\x1b[2Aup\n");
        }
        log.extend_from_slice(&b"end\n".repeat(150));
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), &Journal::of(&log).bytes, 1 << 20).unwrap();
        let mut reader = LogReader::open(dir.path(), 0).unwrap();
        let total = reader.rows();
        let all = blocks(&mut reader, 0..total).unwrap();
        prop_assert!(all.windows(2).all(|two| two[0].end <= two[1].start));
        for (from, count) in windows {
            let window = from..from + count;
            let touching: Vec<_> = all
                .iter()
                .filter(|b| b.start < window.end && b.end > window.start)
                .cloned()
                .collect();
            prop_assert_eq!(blocks(&mut reader, window).unwrap(), touching);
        }
    }
}

#[test]
fn only_what_moves_up_counts() {
    for bytes in [
        "\x1b[3A",
        "x\x1b[F",
        "\x1b[1;1H",
        "\x1b[?1A\x1bM",
        "\x1b[u",
        "\x1b8",
    ] {
        assert!(moves_up(bytes.as_bytes()), "{bytes:?}");
    }
    for bytes in [
        "",
        "A",
        "\x1b[31mA",
        "\x1b[2K",
        "\x1b[3B",
        "\x1b[J",
        "\x1b",
        "\x1b[",
        "\x1b]0;A\x07",
    ] {
        assert!(!moves_up(bytes.as_bytes()), "{bytes:?}");
    }
}
