//! `[skip ci]`: how a person says that a push shall not be built.
//!
//! GitHub's five markers ("Skipping workflow runs") and our own, in any case, anywhere in the
//! message of the push's head commit. Only there: a tag is a release and is always built, and so
//! is a pull request, or else a stranger could skip the checks that guard the branch.

/// The markers. What a person wrote matches in any case.
const MARKERS: [&str; 6] = [
    "[skip ci]",
    "[ci skip]",
    "[no ci]",
    "[skip actions]",
    "[actions skip]",
    "[skip windlass]",
];

/// The first marker in `message`, in our spelling.
pub(crate) fn marker(message: &str) -> Option<&'static str> {
    let found = |marker: &&str| {
        let marker = marker.as_bytes();
        let mut windows = message.as_bytes().windows(marker.len());
        windows.any(|window| window.eq_ignore_ascii_case(marker))
    };
    MARKERS.iter().find(|marker| found(marker)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marker_is_found_anywhere_and_in_any_case() {
        for marker_text in MARKERS {
            for message in [
                marker_text.to_owned(),
                format!("Docs only {marker_text}\n\nmore"),
                format!("Docs\n\nwhy {}", marker_text.to_uppercase()),
            ] {
                assert_eq!(marker(&message), Some(marker_text), "{message:?}");
            }
        }
    }

    #[test]
    fn what_looks_like_one_is_none() {
        for message in [
            "",
            "skip ci",
            "[skip  ci]",
            "[skipci]",
            "[ci]",
            "[skip ci",
            "ü[skip",
        ] {
            assert_eq!(marker(message), None, "{message:?}");
        }
    }
}
