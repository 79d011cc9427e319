//! The mask by example and by property.

use proptest::prelude::*;

use super::*;

/// Feeds `text` in pieces of these sizes, again and again.
fn masked(secrets: &[&str], text: &[u8], pieces: &[usize]) -> Vec<u8> {
    let automaton = Automaton::new(secrets.iter().copied()).unwrap();
    let mut masker = Masker::new();
    let mut out = Vec::new();
    let mut rest = text;
    for piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(rest.len().min(*piece));
        masker.push(&automaton, now, &mut out);
        rest = later;
    }
    masker.finish(&mut out);
    out
}

fn text(secrets: &[&str], input: &str) -> String {
    let whole = masked(secrets, input.as_bytes(), &[1 << 20]);
    assert_eq!(
        whole,
        masked(secrets, input.as_bytes(), &[1]),
        "byte by byte"
    );
    String::from_utf8(whole).unwrap()
}

/// What is visible at once, before the stream goes on.
fn at_once(secrets: &[&str], input: &str) -> String {
    let automaton = Automaton::new(secrets.iter().copied()).unwrap();
    let mut out = Vec::new();
    Masker::new().push(&automaton, input.as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn secrets_are_masked_wherever_they_stand() {
    assert_eq!(text(&["hunter2!"], "a hunter2! b hunter2!"), "a *** b ***");
    assert_eq!(text(&["hunter2!"], "hunter2"), "hunter2");
    assert_eq!(text(&["hunter2!"], "hunterhunter2!"), "hunter***");
    assert_eq!(text(&["hunter2!"], "hunter2!hunter2!"), "******");
}

#[test]
fn needles_that_overlap_become_one_and_leak_no_end() {
    let secrets = &["abcdef!", "def!ghi?", "cdef"];
    assert_eq!(text(secrets, "-abcdef!ghi?-"), "-***-");
    assert_eq!(text(secrets, "-abcdef!ghi-"), "-***ghi-");
    assert_eq!(text(secrets, "-abcdef-"), "-ab***-");
    assert_eq!(text(&["aaaa"], "aaaaaaa b"), "*** b");
}

#[test]
fn escape_sequences_inside_a_secret_do_not_hide_it() {
    for inside in [
        "\x1b[0m",
        "\x1b[38;5;196m",
        "\x1b[K",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\",
        "\x1b(B",
        "\x1b7",
    ] {
        let input = format!("x hun{inside}ter{inside}2! y");
        assert_eq!(text(&["hunter2!"], &input), "x *** y", "{inside:?}");
    }
    let outside = "\x1b[1mhunter2!\x1b[0m";
    assert_eq!(text(&["hunter2!"], outside), "\x1b[1m***\x1b[0m");
}

#[test]
fn secrets_inside_an_escape_sequence_are_masked_too() {
    let link = "\x1b]8;;https://u:hunter2!@h/\x1b\\text\x1b]8;;\x1b\\";
    let expected = "\x1b]8;;https://u:***@h/\x1b\\text\x1b]8;;\x1b\\";
    assert_eq!(text(&["hunter2!"], link), expected);
}

#[test]
fn a_wrapped_secret_is_found_and_a_line_end_is_not_held_back() {
    assert_eq!(text(&["hunter2!"], "a hunter\n2! b"), "a *** b");
    assert_eq!(text(&["hunter2!"], "a hunter\r\n2! b"), "a *** b");
    assert_eq!(text(&["hunter2!"], "hunter\n\n\n2!"), "hunter\n\n\n2!");
    assert_eq!(at_once(&["hunter2!"], "is hunter2!\n"), "is ***\n");
    assert_eq!(at_once(&["hunter2!"], "is hunter2!"), "is ***");
}

#[test]
fn only_what_may_become_a_secret_is_held_back() {
    assert_eq!(at_once(&["hunter2!"], "Password: "), "Password: ");
    assert_eq!(at_once(&["hunter2!"], "50% hunt"), "50% ");
    assert_eq!(at_once(&["hunter2!"], "50%\x1b[1"), "50%\x1b[1");
    assert_eq!(at_once(&["hunter2!"], "huntx"), "huntx");
}

#[test]
fn an_endless_escape_sequence_neither_swallows_nor_grows() {
    let automaton = Automaton::new(["hunter2!"]).unwrap();
    for (begin, again) in [("\x1b]0;", "x"), ("hun\x1b[", "1;"), ("hun", "\x1b[0m")] {
        let mut masker = Masker::new();
        let mut out = Vec::new();
        masker.push(&automaton, begin.as_bytes(), &mut out);
        let chunk = again.repeat(10_000);
        for _ in 0..20 {
            masker.push(&automaton, chunk.as_bytes(), &mut out);
            assert!(masker.held.len() < 40_000, "{} held", masker.held.len());
        }
        masker.finish(&mut out);
        let expected = format!("{begin}{}", chunk.repeat(20));
        assert!(out == expected.as_bytes(), "{begin:?} changed");
        masker.push(&automaton, b" hunter2! ", &mut out);
    }
    // After the limit, text is text again.
    let input = format!("\x1b]0;{}hun\x1b[1mter2!", "x".repeat(5000));
    assert!(!text(&["hunter2!"], &input).contains("ter2!"));
}

#[test]
fn a_large_key_makes_a_small_automaton() {
    let line = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let key: String = (0..50).map(|i| format!("{i:02}{line}\n")).collect();
    let automaton = Automaton::new([key.as_str()]).unwrap();
    let bytes =
        automaton.states.len() * size_of::<State>() + automaton.edges.len() * size_of::<Edge>();
    assert!(bytes < 8 << 20, "{bytes} bytes");
    assert_eq!(
        automaton.mask_text(&format!("> {} <", key.trim())),
        "> *** <"
    );
}

/// Independent of the code above: removes the sequences that the property inserts.
fn stripped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((first, more)) = rest.split_first() {
        if *first == ESC && more.first() == Some(&b'[') {
            let end = more.iter().position(u8::is_ascii_alphabetic);
            rest = end.map_or(&[], |n| &more[n + 1..]);
        } else {
            out.push(*first);
            rest = more;
        }
    }
    out
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|w| w == needle)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_needle_is_visible(
        // A small alphabet makes overlaps and false beginnings likely.
        secrets in proptest::collection::vec("[abc\n]{4,12}", 1..4),
        parts in proptest::collection::vec(
            prop_oneof![
                "[abc \n]{0,10}".prop_map(|s| (None, s)),
                (any::<prop::sample::Index>(), "(\x1b\\[[0-9;]{0,5}m)?")
                    .prop_map(|(i, colour)| (Some(i), colour)),
            ],
            0..12,
        ),
        every in 1usize..5,
        pieces in proptest::collection::vec(1usize..20, 1..8),
    ) {
        let mut input = Vec::new();
        for (secret, text) in &parts {
            match secret {
                None => input.extend_from_slice(text.as_bytes()),
                Some(index) => {
                    for (i, byte) in index.get(&secrets).bytes().enumerate() {
                        if i % every == 0 {
                            input.extend_from_slice(text.as_bytes());
                        }
                        input.push(byte);
                    }
                }
            }
        }
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        prop_assume!(!needles(secrets.iter().copied()).is_empty());
        let out = masked(&secrets, &input, &pieces);
        let visible = stripped(&out);
        for needle in needles(secrets.iter().copied()) {
            prop_assert!(
                !contains(&visible, &needle) && !contains(&out, &needle),
                "{:?} is visible in {:?} from {:?}",
                String::from_utf8_lossy(&needle),
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&input),
            );
        }
        // How it arrives makes no difference.
        prop_assert_eq!(out, masked(&secrets, &input, &[1 << 20]));
    }

    #[test]
    fn text_without_secrets_passes_unchanged(
        input in proptest::collection::vec(
            prop_oneof![4 => 0x20u8..0x7f, 1 => Just(ESC), 1 => any::<u8>()], 0..3000),
        pieces in proptest::collection::vec(1usize..200, 1..8),
    ) {
        let out = masked(&["correct horse battery", "zq#9!"], &input, &pieces);
        let visible = String::from_utf8_lossy(&stripped(&input)).into_owned();
        prop_assume!(!visible.contains("zq#9!"));
        prop_assert_eq!(out, input);
    }
}
