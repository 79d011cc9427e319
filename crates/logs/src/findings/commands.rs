//! Workflow commands in a log, in the dialects of GitHub, Azure Pipelines and TeamCity. Only those
//! that report a problem are looked at, and they only report: no command changes anything.

use super::Severity;

/// A problem that a command reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) severity: Severity,
    pub(super) message: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u64>,
    pub(super) column: Option<u64>,
    pub(super) code: Option<String>,
}

/// Reads the commands of one log.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Commands are ignored until this word comes as a command (`::stop-commands::WORD`).
    stopped_by: Option<Vec<u8>>,
}

/// No command of a log that wants to stop commands has a longer word.
const MAX_WORD: usize = 200;

impl Commands {
    /// What a row reports, if it is a command that does.
    pub(super) fn read(&mut self, row: &[u8]) -> Option<Reported> {
        if let Some(word) = &self.stopped_by {
            let inner = row.strip_prefix(b"::").and_then(|r| r.strip_suffix(b"::"));
            if inner == Some(word) {
                self.stopped_by = None;
            }
            return None;
        }
        if let Some(rest) = row.strip_prefix(b"::") {
            return self.github(rest);
        }
        let rest = row.strip_prefix(b"##")?;
        let text = String::from_utf8_lossy(rest);
        for (word, severity) in [("error", Severity::Error), ("warning", Severity::Warning)] {
            let message = text
                .strip_prefix('[')
                .and_then(|t| t.strip_prefix(word))
                .and_then(|t| t.strip_prefix(']'));
            if let Some(message) = message {
                return Some(Reported::new(severity, message));
            }
        }
        if let Some(rest) = text.strip_prefix("vso[task.logissue") {
            return azure(rest);
        }
        let rest = text.strip_prefix("teamcity[buildProblem ")?;
        let at = rest.find("description='")? + "description='".len();
        Some(Reported::new(Severity::Error, &teamcity_text(&rest[at..])))
    }

    /// `error file=src/a.js,line=1,col=5::message`
    fn github(&mut self, rest: &[u8]) -> Option<Reported> {
        if let Some(word) = rest.strip_prefix(b"stop-commands::") {
            if !word.is_empty() && word.len() <= MAX_WORD {
                self.stopped_by = Some(word.to_vec());
            }
            return None;
        }
        let text = String::from_utf8_lossy(rest);
        let (command, message) = text.split_once("::")?;
        let (name, properties) = command.split_once(' ').unwrap_or((command, ""));
        let severity = match name {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            "notice" => Severity::Notice,
            _ => return None,
        };
        let mut reported = Reported::new(severity, &unescaped(message));
        let mut title = None;
        for property in properties.split(',') {
            let Some((key, value)) = property.split_once('=') else {
                continue;
            };
            let value = unescaped(value.trim());
            match key.trim() {
                "title" => title = Some(value),
                key => reported.set(key, value),
            }
        }
        match title {
            Some(title) if !title.is_empty() && !reported.message.contains(&title) => {
                reported.message = format!("{title}: {}", reported.message);
            }
            _ => {}
        }
        Some(reported)
    }
}

impl Reported {
    fn new(severity: Severity, message: &str) -> Self {
        Self {
            severity,
            message: message.to_owned(),
            file: None,
            line: None,
            column: None,
            code: None,
        }
    }

    fn set(&mut self, key: &str, value: String) {
        match key {
            "file" | "sourcepath" => self.file = Some(value).filter(|file| !file.is_empty()),
            "line" | "linenumber" => self.line = value.parse().ok(),
            "col" | "columnnumber" => self.column = value.parse().ok(),
            "code" => self.code = Some(value).filter(|code| !code.is_empty()),
            _ => {}
        }
    }
}

/// ` type=error;sourcepath=a.c;linenumber=3]message`
fn azure(rest: &str) -> Option<Reported> {
    let (properties, message) = rest.split_once(']')?;
    let mut reported = Reported::new(Severity::Error, &unescaped(message));
    for property in properties.trim().split(';') {
        match property.split_once('=') {
            Some(("type", "warning")) => reported.severity = Severity::Warning,
            Some((key, value)) => reported.set(key.trim(), unescaped(value)),
            None => {}
        }
    }
    Some(reported)
}

/// The escapes of GitHub's and Azure's commands.
fn unescaped(text: &str) -> String {
    // `%25` last, so that what it makes is not read again.
    text.replace("%0D", "\r")
        .replace("%0A", "\n")
        .replace("%3A", ":")
        .replace("%2C", ",")
        .replace("%3B", ";")
        .replace("%5D", "]")
        .replace("%25", "%")
}

/// Up to the quote that ends it; `|` escapes.
fn teamcity_text(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => break,
            '|' => match chars.next() {
                Some('n' | 'r') => out.push('\n'),
                Some(c) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(row: &str) -> Option<Reported> {
        Commands::default().read(row.as_bytes())
    }

    #[test]
    fn three_dialects_report_problems() {
        let found =
            read("::error file=src/a.js,line=3,col=7,title=Lint::no%2C really%0Anot").unwrap();
        assert_eq!(found.severity, Severity::Error);
        assert_eq!(found.message, "Lint: no, really\nnot");
        assert_eq!(found.file.as_deref(), Some("src/a.js"));
        assert_eq!((found.line, found.column), (Some(3), Some(7)));
        assert_eq!(read("::warning::w").unwrap().severity, Severity::Warning);
        assert_eq!(read("::notice ::n").unwrap().severity, Severity::Notice);
        assert_eq!(read("##[error]bad").unwrap().message, "bad");
        let found =
            read("##vso[task.logissue type=warning;sourcepath=a.c;linenumber=9;code=C1;]odd")
                .unwrap();
        assert_eq!((found.severity, found.line), (Severity::Warning, Some(9)));
        assert_eq!(
            (found.message.as_str(), found.code.as_deref()),
            ("odd", Some("C1"))
        );
        let found =
            read("##teamcity[buildProblem description='it|'s |[bad|]' identity='x']").unwrap();
        assert_eq!(found.message, "it's [bad]");
        assert_eq!(read("::error file=a,line=x::%253A").unwrap().message, "%3A");
    }

    #[test]
    fn what_is_no_report_is_none() {
        for row in [
            "::set-output name=x::error",
            "::group::error",
            "::error",
            "##[group]error",
            "##vso[task.setvariable variable=x]error",
            "::",
            "a ::error::b",
        ] {
            assert_eq!(read(row), None, "{row}");
        }
    }

    #[test]
    fn commands_can_be_stopped() {
        let mut commands = Commands::default();
        assert_eq!(commands.read(b"::stop-commands::abc"), None);
        assert_eq!(commands.read(b"::error::printed by a test"), None);
        assert_eq!(commands.read(b"::abc::"), None);
        assert!(commands.read(b"::error::real").is_some());
    }
}
