//! Searching a log: the same rows and places as by definition, whatever the pieces.

use windlass_logs::{LogReader, Search, SearchOptions, seal, strip};

use crate::journals::{Journal, record};

fn recorded(log: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &Journal::of(log).bytes, 1 << 20).unwrap();
    dir
}

/// All hits: row and places.
fn all(
    reader: &mut LogReader,
    pattern: &str,
    options: SearchOptions,
) -> Vec<(u64, Vec<(usize, usize)>)> {
    let mut search = Search::new(pattern, options).unwrap();
    let (mut hits, mut from) = (Vec::new(), 0);
    loop {
        let next = search
            .step(reader, from, |hit| {
                hits.push((hit.row, hit.spans()));
                true
            })
            .unwrap();
        if next == from {
            return hits;
        }
        from = next;
    }
}

const LINES: [&str; 8] = [
    "plain text\n",
    "an \x1b[31mer\x1b[0mror in two colours\n",
    "Error: {open\n",
    "dos line error\r\n",
    "\n",
    "50%\r100%\n",
    "\x1b]8;;https://example.org/error\x07link\x1b]8;;\x07\n",
    "close} error error\n",
];

#[test]
fn hits_are_those_of_the_definition_in_live_and_sealed_logs() {
    let log: String = (0..60_000).map(|n| LINES[n * 7 % 8]).collect();
    let dir = recorded(log.as_bytes());
    for sealed in [false, true] {
        if sealed {
            seal(dir.path()).unwrap();
        }
        let mut reader = LogReader::open(dir.path(), 0).unwrap();
        for (pattern, lines) in [
            ("error", &[1, 2, 3, 7][..]),
            ("Error", &[2]),
            ("error$", &[3, 7]),
            ("^close", &[7]),
            (r"\{[^}]*\}", &[]),
            (r"text\s+an", &[]),
            (r"^$", &[4]),
            ("100|50", &[5]),
            (r"link|example\.org", &[6]),
            ("nowhere", &[]),
            (r"\berror\b.*\berror\b", &[7]),
        ] {
            let hits = all(&mut reader, pattern, SearchOptions::default());
            let expected: Vec<u64> = (0..60_000_u64)
                .filter(|n| lines.contains(&(n * 7 % 8)))
                .collect();
            let rows: Vec<u64> = hits.iter().map(|hit| hit.0).collect();
            assert!(
                rows == expected,
                "{pattern}: {} hits, {} expected",
                rows.len(),
                expected.len()
            );
        }
        let hits = all(&mut reader, "error", SearchOptions::default());
        let seven = hits.iter().find(|hit| hit.0 * 7 % 8 == 7).unwrap();
        assert_eq!(seven.1, [(7, 12), (13, 18)]);
        let one = hits.iter().find(|hit| hit.0 * 7 % 8 == 1).unwrap();
        assert_eq!(strip(LINES[1].as_bytes())[one.1[0].0..one.1[0].1], *"error");
    }
}

#[test]
fn options_mean_what_they_say() {
    let dir = recorded(b"a.b\naxb\nA.B\n");
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    let mut rows = |pattern: &str, case_sensitive, literal| -> Vec<u64> {
        let options = SearchOptions {
            case_sensitive,
            literal,
        };
        all(&mut reader, pattern, options)
            .iter()
            .map(|hit| hit.0)
            .collect()
    };
    assert_eq!(rows("a.b", false, false), [0, 1, 2]);
    assert_eq!(rows("a.b", true, false), [0, 1]);
    assert_eq!(rows("a.b", false, true), [0, 2]);
    assert_eq!(rows("A.B", false, true), [2]);
    assert_eq!(rows("(?i)A.B", true, false), [0, 1, 2]);
}

#[test]
fn it_can_be_stopped_go_on_and_go_back() {
    let log: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    let dir = recorded(log.as_bytes());
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    let mut search = Search::new("line [0-9]*77$", SearchOptions::default()).unwrap();
    let mut first = None;
    let next = search
        .step(&mut reader, 78, |hit| {
            first = Some(hit.row);
            false
        })
        .unwrap();
    assert_eq!((first, next), (Some(177), 178));
    assert_eq!(search.step_back(&mut reader, 177).unwrap(), Ok(77));
    assert_eq!(search.step_back(&mut reader, 77).unwrap(), Err(0));
    assert_eq!(search.step_back(&mut reader, u64::MAX).unwrap(), Ok(49_977));
    let mut rare = Search::new("line 5$", SearchOptions::default()).unwrap();
    let (mut before, mut steps) = (50_000, 0);
    let row = loop {
        match rare.step_back(&mut reader, before).unwrap() {
            Ok(row) => break row,
            Err(next) => {
                assert!(next < before);
                before = next;
                steps += 1;
            }
        }
    };
    assert_eq!(row, 5);
    assert!(steps > 0, "it looked at everything at once");
}

#[test]
fn long_lines_are_searched_row_by_row_and_strange_bytes_do_no_harm() {
    let mut log = vec![b'x'; 200_000];
    log[150_000..150_006].copy_from_slice(b"needle");
    log.extend_from_slice(b"\n\xff\xfe needle \0\n");
    let dir = recorded(&log);
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    let hits = all(&mut reader, "needle", SearchOptions::default());
    assert_eq!(hits, [(2, vec![(18_928, 18_934)]), (4, vec![(3, 9)])]);
    let hits = all(&mut reader, r"(?-u)\xff", SearchOptions::default());
    assert_eq!(hits.len(), 1);
    let dir = recorded(b"a\nno end");
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    for (pattern, row) in [("no end", 1), ("d$", 1), ("[a-c]", 0), (r"\w+", 0)] {
        let hits = all(&mut reader, pattern, SearchOptions::default());
        assert_eq!(hits[0].0, row, "{pattern}");
    }
    assert!(all(&mut reader, "^$", SearchOptions::default()).is_empty());
    let empty = recorded(b"");
    let mut reader = LogReader::open(empty.path(), 0).unwrap();
    assert!(all(&mut reader, "x", SearchOptions::default()).is_empty());
}

#[test]
fn groups_of_all_dialects_are_found_with_their_ends() {
    let mut log =
        String::from("::group::Install\na\n::group::inner\nb\n::endgroup::\n::endgroup::\n");
    log += "\x1b[0Ksection_start:1:prep[collapsed=true]\r\x1b[0KPrepare\nc\nsection_end:1:prep\r\x1b[0K\n";
    log += "--- one\nd\n--- a/file of a diff\n+++ two\ne\n::endgroup::\n::endgroup::\nf\n";
    let dir = recorded(log.as_bytes());
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    let mut folds = windlass_logs::Folds::new(false).unwrap();
    while folds.step(&mut reader).unwrap() {}
    let found: Vec<_> = folds
        .folds(reader.rows(), None)
        .into_iter()
        .map(|f| (f.first, f.last, f.title, f.closed, f.level, f.ended))
        .collect();
    let fold = |first, last, title: &str, closed, level, ended| {
        (first, last, title.to_owned(), closed, level, ended)
    };
    assert_eq!(
        found,
        [
            fold(0, 5, "Install", true, 0, true),
            fold(2, 4, "inner", true, 1, true),
            fold(6, 8, "Prepare", true, 0, true),
            fold(9, 11, "one", true, 0, true),
            fold(12, 14, "two", false, 0, true),
        ]
    );
    let dir = recorded(&b"::group::open\nx\ny\n".repeat(3));
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    let mut folds = windlass_logs::Folds::new(false).unwrap();
    while folds.step(&mut reader).unwrap() {}
    let folds = folds.folds(reader.rows(), None);
    assert!(
        folds.iter().all(|fold| !fold.ended && fold.last == 8),
        "{folds:?}"
    );
}
