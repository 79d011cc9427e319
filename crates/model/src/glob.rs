//! Patterns for branches, tags and paths.
//!
//! `*` is any text without `/`, `**` any number of folders, `?` one character, `[a-z]` one of a
//! set, `{a,b}` either. A pattern that begins with `!` takes out what one before it took in.

use globset::{Glob, GlobBuilder, GlobMatcher};

/// Why a pattern can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadGlob(String);

/// One compiled pattern.
///
/// # Errors
/// When the pattern can't be understood.
pub fn compile(pattern: &str) -> Result<GlobMatcher, BadGlob> {
    parse(pattern).map(|glob| glob.compile_matcher())
}

/// Whether a text is a pattern. Much cheaper than making a matcher of it.
///
/// # Errors
/// What is wrong with it.
pub fn check(pattern: &str) -> Result<(), BadGlob> {
    parse(pattern).map(drop)
}

fn parse(pattern: &str) -> Result<Glob, BadGlob> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|e| BadGlob(e.kind().to_string()))
}

fn matches(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?', '[', '{', '\\']) {
        return pattern == text;
    }
    compile(pattern).is_ok_and(|glob| glob.is_match(text))
}

/// Whether a text is taken by the patterns, read in order: the last one that matches counts. With
/// only `!` patterns, everything else is taken. A pattern that can't be understood matches nothing.
pub fn any<S: AsRef<str>>(patterns: &[S], text: &str) -> bool {
    let only_out = patterns.iter().all(|p| p.as_ref().starts_with('!'));
    let mut taken = only_out && !patterns.is_empty();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let (pattern, takes) = match pattern.strip_prefix('!') {
            Some(rest) => (rest, false),
            None => (pattern, true),
        };
        if takes != taken && matches(pattern, text) {
            taken = takes;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_counts() {
        assert!(any(&["main"], "main"));
        assert!(!any(&["main"], "maine"));
        assert!(any(&["release/*"], "release/1"));
        assert!(!any(&["release/*"], "release/1/x"));
        assert!(any(&["release/**"], "release/1/x"));
        assert!(!any(&["src/**", "!src/doc/**"], "src/doc/a"));
        assert!(any(&["src/**", "!src/doc/**", "src/doc/a"], "src/doc/a"));
        assert!(any(&["!docs/**"], "src/a"));
        assert!(!any::<&str>(&[], "a"));
    }

    #[test]
    fn what_is_no_pattern() {
        assert!(compile("[a").is_err());
        assert!(compile("{a").is_err());
    }
}
