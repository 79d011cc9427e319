//! Any bytes survive; damage is noticed.

use proptest::prelude::*;

use super::encode::{PLAIN, plain_run};
use super::*;

fn started(step: u32) -> Record<'static> {
    Record::StepStarted {
        step,
        background: false,
    }
}

fn output(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new().output(7, 3, Stream::Merged, bytes, &mut out);
    out
}

fn decoded(journal: &[u8], piece: usize) -> (Vec<u8>, Vec<Damage>) {
    let (mut bytes, mut damage) = (Vec::new(), Vec::new());
    let mut decoder = Decoder::default();
    for part in journal.chunks(piece) {
        decoder.push(part, |entry, _| match entry {
            Ok(Entry {
                record: Record::Output { bytes: b, .. },
                ..
            }) => {
                bytes.extend_from_slice(&b);
            }
            Ok(_) => {}
            Err(d) => damage.push(d),
        });
    }
    (bytes, damage)
}

#[test]
fn output_reads_well_and_escapes_what_a_line_can_not_hold() {
    let line = output(b"a\tb \x1b[1mc\\d\r\n\0\xff\xc3");
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "0 7 O 3 m a\tb \x1b[1mc\\\\d\\r\\n\\x00\\xff\\xc3\n"
    );
}

#[test]
fn every_byte_at_every_place_of_a_block_is_escaped_or_plain_as_the_table_says() {
    for byte in 0..=255_u8 {
        for place in [0, 1, 31, 32, 40, 63, 64, 70] {
            let mut bytes = [b'a'; 71];
            bytes[place] = byte;
            let expected = if PLAIN[usize::from(byte)] { 71 } else { place };
            assert_eq!(plain_run(&bytes), expected, "{byte:#x} at {place}");
            assert_eq!(decoded(&output(&bytes), 9).0, bytes);
        }
    }
}

#[test]
fn time_never_goes_back() {
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    encoder.encode(100, &started(0), &mut out);
    encoder.encode(50, &started(1), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "0 100 S 0\n1 100 S 1\n");
}

#[test]
fn a_missing_line_is_a_gap_and_a_changed_byte_fails_the_checksum() {
    let mut encoder = Encoder::new();
    let mut lines = Vec::new();
    for (i, text) in [b"one\n", b"two\n", b"six\n"].iter().enumerate() {
        let mut line = Vec::new();
        encoder.output(i as i64, 0, Stream::Merged, *text, &mut line);
        lines.push(line);
    }
    let mut end = Vec::new();
    let nothing = JobEnded {
        records: 0,
        output_bytes: 0,
        crc32: 0,
    };
    encoder.encode(9, &Record::JobEnded(nothing), &mut end);
    lines.push(end);

    let (bytes, damage) = decoded(&lines.concat(), 5);
    assert_eq!(
        (bytes.as_slice(), damage),
        (&b"one\ntwo\nsix\n"[..], vec![])
    );

    let holed = [&lines[0], &lines[2], &lines[3]]
        .map(Vec::as_slice)
        .concat();
    let (_, damage) = decoded(&holed, 64);
    assert_eq!(
        damage[0],
        Damage::Gap {
            expected: 1,
            found: 2
        }
    );
    assert!(matches!(damage[1], Damage::Checksum { .. }));

    let mut changed = lines.concat();
    let at = changed.windows(3).position(|w| w == b"two").unwrap();
    changed[at] = b'T';
    let (bytes, damage) = decoded(&changed, 64);
    assert_eq!(bytes, b"one\nTwo\nsix\n");
    assert!(matches!(&damage[..], [Damage::Checksum { .. }]));

    // A carrier that sends a piece twice harms nothing but the checksum's offset.
    let twice = [&lines[0], &lines[0], &lines[1]]
        .map(Vec::as_slice)
        .concat();
    assert_eq!(decoded(&twice, 64).0, b"one\ntwo\n");
}

#[test]
fn a_line_without_end_takes_no_memory_and_is_told_once() {
    let (mut told, mut seqs) = (Vec::new(), Vec::new());
    let mut decoder = Decoder::default();
    let mut feed = |bytes: &[u8], decoder: &mut Decoder| {
        decoder.push(bytes, |entry, _| match entry {
            Ok(entry) => seqs.push(entry.seq),
            Err(damage) => told.push(damage),
        });
    };
    feed(b"0 1 S 0\n1 2 O 0 m ", &mut decoder);
    for _ in 0..200 {
        feed(&[b'x'; 5000], &mut decoder);
        assert!(decoder.partial.capacity() < 4 * MAX_LINE);
    }
    feed(b"tail\n2 3 S 1\n", &mut decoder);
    assert_eq!(decoder.position().offset, 8 + 10 + 1_000_000 + 5 + 8);
    assert_eq!(seqs, [0, 2]);
    assert!(
        matches!(told[..], [Damage::Malformed(_), Damage::Gap { .. }]),
        "{told:?}"
    );
}

proptest! {
    #[test]
    fn any_bytes_survive_in_any_pieces(
        bytes in proptest::collection::vec(any::<u8>(), 0..60_000),
        piece in 1usize..5_000,
    ) {
        let journal = output(&bytes);
        prop_assert!(std::str::from_utf8(&journal).is_ok());
        for line in journal.split_inclusive(|b| *b == b'\n') {
            prop_assert!(line.len() <= MAX_LINE, "a line of {} bytes", line.len());
        }
        let (back, damage) = decoded(&journal, piece);
        prop_assert_eq!(damage, vec![]);
        prop_assert_eq!(back, bytes);
    }

    #[test]
    fn text_of_many_scripts_survives(text in "\\PC{0,9000}") {
        let journal = output(text.as_bytes());
        prop_assert_eq!(decoded(&journal, 333).0, text.as_bytes());
    }
}

#[test]
fn a_step_says_whether_it_runs_beside_others() {
    for background in [false, true] {
        let mut out = Vec::new();
        let record = Record::StepStarted {
            step: 4,
            background,
        };
        Encoder::new().encode(9, &record, &mut out);
        let line = out.strip_suffix(b"\n").unwrap();
        assert_eq!(parse_line(line).unwrap().record, record);
    }
    // What shims wrote that had no background steps.
    let old = parse_line(b"1 9 S 4").unwrap().record;
    assert_eq!(old, started(4));
}
