//! Lines on which a shell, or a tool, shows a command before it runs it.
//!
//! | line | who prints it |
//! | --- | --- |
//! | `+ cargo build` | `sh -x`, `set -x` (`PS4` as usual) |
//! | `$ tsc -p .` | Yarn, GitLab, Travis, scripts that show what they do |
//!
//! `++ id -u` is a command within another one ([`depth`]), and none of the script's own. A `+ ` alone is no proof:
//! differences and package managers print it too. So it counts only in a step that traces
//! ([`traces`]), or in a log that begins with it, and never within a difference ([`Hunk`]).

/// Whether a row shows a command: behind `+ ` with `traced`, else behind `$ `.
pub(super) fn shows(row: &[u8], traced: bool) -> bool {
    let mark: &[u8] = if traced { b"+ " } else { b"$ " };
    row.strip_prefix(mark)
        .and_then(<[u8]>::first)
        .is_some_and(|first| !first.is_ascii_whitespace())
}

/// How many commands deep the trace on this row lies: the number of `+` before a blank and a word.
pub(super) fn depth(row: &[u8]) -> Option<usize> {
    let depth = row.iter().take_while(|b| **b == b'+').count();
    let word = row[depth..].strip_prefix(b" ").and_then(<[u8]>::first);
    (depth > 0 && word.is_some_and(|first| !first.is_ascii_whitespace())).then_some(depth)
}

/// How many lines of a difference follow its head `@@ -1,4 +1,6 @@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hunk {
    old: u64,
    new: u64,
}

impl Hunk {
    /// What the head says, if this is one.
    pub(super) fn head(row: &[u8]) -> Option<Self> {
        let row = std::str::from_utf8(row.get(..row.len().min(80))?).ok()?;
        let (ranges, _) = row.strip_prefix("@@ -")?.split_once(" @@")?;
        let (old, new) = ranges.split_once(" +")?;
        let count = |range: &str| match range.split_once(',') {
            Some((_, count)) => count.parse().ok(),
            None => range.parse::<u64>().ok().map(|_| 1),
        };
        Some(Self {
            old: count(old)?,
            new: count(new)?,
        })
    }

    /// Takes the next row; says whether it belongs to the difference.
    pub(super) fn takes(&mut self, row: &[u8]) -> bool {
        let (old, new) = match row.first() {
            Some(b' ' | b'\n' | b'\r') => (1, 1),
            Some(b'-') => (1, 0),
            Some(b'+') => (0, 1),
            Some(b'\\') => (0, 0),
            _ => return false,
        };
        if self.old < old || self.new < new || self.old + self.new == 0 {
            return false;
        }
        self.old -= old;
        self.new -= new;
        true
    }
}

/// Whether a shell that is started so shows each command before it runs it: by an option (`sh -ex`), or by a
/// `set -x` in the script.
pub fn traces(argv: &[String], script: &str) -> bool {
    let shell = argv.first().map(|program| program.rsplit('/').next());
    let Some(Some("sh" | "bash" | "dash" | "ash" | "ksh" | "zsh")) = shell else {
        return false;
    };
    let by_option = argv[1..]
        .iter()
        .filter(|word| word.as_str() != script)
        .any(|word| turns_on(word) || word == "xtrace");
    by_option || script.lines().any(sets)
}

/// Whether this word of options has an `x`: `-x`, `-ex`, `-euxo`.
fn turns_on(word: &str) -> bool {
    let letters = word.strip_prefix('-').unwrap_or_default();
    letters.contains('x') && letters.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Whether this line of a script turns the trace on.
fn sets(line: &str) -> bool {
    line.split([';', '&', '{', '(']).any(|command| {
        let mut words = command.split_whitespace();
        words.next() == Some("set")
            && words
                .take_while(|word| !word.starts_with('#'))
                .any(|word| turns_on(word) || word == "xtrace")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_the_step_s_own_shell_shows() {
        for (row, traced, is) in [
            ("+ cargo build --release\n", true, true),
            ("+ '[' -n x ']'\n", true, true),
            ("++ id -u\n", true, false),
            ("+  two blanks\n", true, false),
            ("+ \n", true, false),
            ("+\n", true, false),
            ("$ tsc\n", true, false),
            ("+ express@4.18.2\n", false, false),
            ("$ tsc -p .\n", false, true),
            ("$HOME is set\n", false, false),
            ("$ \n", false, false),
        ] {
            assert_eq!(shows(row.as_bytes(), traced), is, "{row:?} {traced}");
        }
    }

    #[test]
    fn a_shell_traces_if_it_is_told_to() {
        let told = |words: &[&str], script: &str| {
            let mut argv: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            argv.push(script.to_owned());
            traces(&argv, script)
        };
        let usual = ["/bin/sh", "-e", "-c"];
        assert!(told(&usual, "cd x\nset -x\nmake"));
        assert!(told(&usual, "set -eux; make"));
        assert!(told(&usual, "  set -e -o xtrace\n"));
        assert!(told(&["bash", "-exo", "pipefail", "-c"], "make"));
        assert!(told(&["bash", "-e", "-o", "xtrace", "-c"], "make"));
        assert!(!told(&usual, "make -x\nset +x\nset -e # not -x"));
        assert!(!told(&usual, "echo set -x"));
        assert!(!told(&["bash", "-eo", "pipefail", "-c"], "make"));
        assert!(!told(&["python3", "-c"], "set -x"));
        assert!(!told(&["perl", "-x"], "print 1"));
        assert!(!traces(&[], "set -x"));
    }

    #[test]
    fn a_difference_is_as_long_as_its_head_says() {
        let mut hunk = Hunk::head(b"@@ -1,2 +1,3 @@ fn x()\n").unwrap();
        for row in [" a\n", "+ b\n", "-c\n", "+ d\n"] {
            assert!(hunk.takes(row.as_bytes()), "{row:?}");
        }
        assert!(!hunk.takes(b"+ make\n"));
        let mut hunk = Hunk::head(b"@@ -7 +7 @@\n").unwrap();
        assert!(hunk.takes(b"-x\n") && hunk.takes(b"\\ No newline at end of file\n"));
        assert!(!hunk.takes(b"words\n"));
        for row in [
            "@@ -1,2 +1 \n",
            "@@ -a +b @@",
            "@@",
            "x @@ -1 +1 @@",
            "@@ -1,99999999999999999999 +1 @@",
        ] {
            assert_eq!(Hunk::head(row.as_bytes()), None, "{row:?}");
        }
    }
}
