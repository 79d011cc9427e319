//! The layout of YAML: two spaces a level, lists below their key, one space where one is enough.

use super::each_scalar;
use crate::node::{Node, Style, Value};

/// What a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It begins something.
    Own,
    /// It goes on with a text in a block: every space at its end counts.
    Script,
    /// It goes on with a text or a collection that began on a line before.
    Continued,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Map,
    List,
}

/// A collection that is open: where it stood, where it stands now.
#[derive(Clone, Copy)]
struct Level {
    old: usize,
    new: usize,
    kind: Kind,
}

pub(super) fn layout(text: &str, tree: Option<&Node>) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let places = Places::new(text, &lines, tree);
    let mut writer = Writer {
        out: String::with_capacity(text.len()),
        levels: Vec::new(),
        shift: 0,
        waiting: Vec::new(),
        blank: false,
    };
    for (number, line) in lines.iter().enumerate() {
        match places.lines[number] {
            Line::Own => writer.own(line, places.starts[number], &places),
            Line::Script => writer.go_on(line, false),
            Line::Continued => writer.go_on(line, true),
        }
    }
    writer.finish()
}

/// What the tree says about the lines.
struct Places {
    lines: Vec<Line>,
    starts: Vec<usize>,
    /// Bytes that are part of a text: no `#` and no `:` there is one of ours.
    texts: Vec<(usize, usize)>,
    /// The ends of keys.
    keys: Vec<usize>,
}

impl Places {
    fn new(text: &str, lines: &[&str], tree: Option<&Node>) -> Self {
        let mut starts = Vec::with_capacity(lines.len());
        let mut at = 0;
        for line in lines {
            starts.push(at);
            at += line.len() + 1;
        }
        let mut places = Self {
            lines: vec![Line::Own; lines.len()],
            starts,
            texts: Vec::new(),
            keys: Vec::new(),
        };
        if let Some(tree) = tree {
            places.collect(text, tree);
        }
        places.texts.sort_unstable();
        places.keys.sort_unstable();
        places
    }

    fn line_of(&self, at: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= at)
            .saturating_sub(1)
    }

    fn collect(&mut self, text: &str, tree: &Node) {
        each_scalar(tree, &mut |node, scalar| {
            let (start, end) = (node.span.start, node.span.end);
            if start < end {
                self.texts.push((start, end));
            }
            let first = self.line_of(start);
            let kind = match scalar.style {
                Style::Block => Line::Script,
                _ => Line::Continued,
            };
            // The parser's place of a block is its text, without the line that begins it.
            let header = matches!(text.as_bytes().get(start), Some(b'|' | b'>'));
            let is_below = scalar.style == Style::Block && !header;
            let first = if is_below { first } else { first + 1 };
            for line in first..self.lines.len() {
                if self.starts[line] >= end {
                    break;
                }
                self.lines[line] = kind;
            }
        });
        self.flow(text, tree);
    }

    /// Collections in brackets over several lines, and the ends of keys.
    fn flow(&mut self, text: &str, node: &Node) {
        let bracket = text.as_bytes().get(node.span.start);
        let is_flow = matches!(bracket, Some(b'{' | b'['));
        match &node.value {
            Value::Scalar(_) => {}
            _ if is_flow => {
                let first = self.line_of(node.span.start);
                let last = self.line_of(node.span.end.saturating_sub(1));
                for line in first + 1..=last {
                    self.lines[line] = Line::Continued;
                }
                self.texts.push((node.span.start, node.span.end));
            }
            Value::List(items) => items.iter().for_each(|item| self.flow(text, item)),
            Value::Map(entries) => {
                for entry in entries {
                    self.keys.push(entry.key_span.end);
                    self.flow(text, &entry.value);
                }
            }
        }
    }

    fn in_text(&self, at: usize) -> bool {
        let next = self.texts.partition_point(|(start, _)| *start <= at);
        self.texts[..next]
            .iter()
            .rev()
            .take(64)
            .any(|(_, end)| at < *end)
    }
}

struct Writer<'t> {
    out: String,
    levels: Vec<Level>,
    /// How far the lines that go on move to the right (or left).
    shift: isize,
    /// Comments, and blank lines before them, until it is known what they are about.
    waiting: Vec<(bool, usize, &'t str)>,
    blank: bool,
}

impl<'t> Writer<'t> {
    fn own(&mut self, line: &'t str, start: usize, places: &Places) {
        let content = line.trim_end_matches([' ', '\t']);
        let trimmed = content.trim_start_matches(' ');
        if trimmed.is_empty() {
            self.blank = true;
            return;
        }
        let column = content.len() - trimmed.len();
        if trimmed.starts_with('#') {
            self.waiting
                .push((std::mem::take(&mut self.blank), column, trimmed));
            return;
        }
        let before = self.levels.clone();
        let mark = column == 0
            && (trimmed.starts_with("---")
                || trimmed.starts_with("...")
                || trimmed.starts_with('%'));
        if mark {
            self.levels.clear();
            self.comments(&before, column, 0);
            self.begin(0);
            self.out.push_str(trimmed);
            self.out.push('\n');
            return;
        }
        let kind = kind_of(trimmed);
        let new = self.level(column, kind);
        self.comments(&before, column, new);
        self.begin(new);
        // Items of lists: each dash is a level of its own.
        let (mut rest, mut column, mut kind) = (trimmed, column, kind);
        while kind == Kind::List {
            let after = rest[1..].trim_start_matches(' ');
            self.out.push('-');
            if after.is_empty() || after.starts_with('#') {
                rest = &rest[1..];
                column += 1;
                break;
            }
            self.out.push(' ');
            column += rest.len() - after.len();
            rest = after;
            kind = kind_of(rest);
            self.level(column, kind);
        }
        let at = start + column;
        self.out.push_str(&tidy(rest, at, places));
        self.out.push('\n');
        let top = self.levels.last().copied();
        self.shift = top.map_or(0, |level| level.new as isize - level.old as isize);
    }

    /// A line that belongs to a text or a collection of a line before.
    fn go_on(&mut self, line: &str, trim: bool) {
        self.blank = false;
        let line = if trim { line.trim_end() } else { line };
        let content = line.trim_start_matches(' ');
        if content.is_empty() {
            // Beyond the indentation, spaces of a script count.
            let spaces = if trim {
                0
            } else {
                line.len() as isize + self.shift
            };
            if !line.is_empty() && spaces > 0 {
                self.out.push_str(&" ".repeat(spaces as usize));
            }
            self.out.push('\n');
            return;
        }
        let column = (line.len() - content.len()) as isize + self.shift;
        self.out
            .push_str(&" ".repeat(usize::try_from(column).unwrap_or_default()));
        self.out.push_str(content);
        self.out.push('\n');
    }

    /// The new column of something at an old one.
    fn level(&mut self, old: usize, kind: Kind) -> usize {
        while let Some(top) = self.levels.last() {
            let deeper = top.old > old;
            let list_is_over = top.old == old && top.kind == Kind::List && kind == Kind::Map;
            if !deeper && !list_is_over {
                break;
            }
            self.levels.pop();
        }
        let new = match self.levels.last() {
            Some(top) if top.old == old && top.kind == kind => return top.new,
            Some(top) => top.new + 2,
            None => 0,
        };
        self.levels.push(Level { old, new, kind });
        new
    }

    /// Comments stand where what they are about stands: what comes next, or what they are in line
    /// with.
    fn comments(&mut self, before: &[Level], next_old: usize, next_new: usize) {
        for (blank, column, text) in std::mem::take(&mut self.waiting) {
            let other = before.iter().find(|level| level.old == column);
            let new = match other {
                Some(level) if column != next_old => level.new,
                _ => next_new,
            };
            self.line(blank, new, text);
        }
    }

    fn line(&mut self, blank: bool, column: usize, text: &str) {
        if blank && !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(&" ".repeat(column));
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn begin(&mut self, column: usize) {
        if std::mem::take(&mut self.blank) && !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out.push_str(&" ".repeat(column));
    }

    fn finish(mut self) -> String {
        let before = self.levels.clone();
        self.comments(&before, usize::MAX, 0);
        self.out
    }
}

fn kind_of(text: &str) -> Kind {
    if text == "-" || text.starts_with("- ") {
        Kind::List
    } else {
        Kind::Map
    }
}

/// One space after a key's colon, none before it, one before a comment.
fn tidy(text: &str, at: usize, places: &Places) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    let mut here = at;
    // The key of this line, if it has one that is not in brackets. A merged map is no key of the tree.
    let next = places.keys.partition_point(|end| *end <= at);
    let own = places.keys.get(next).map(|end| end - at);
    let merge = text.starts_with("<<:").then_some(2);
    if let Some(end) = merge.or(own).filter(|end| *end <= text.len()) {
        let (key, after) = text.split_at(end);
        let colon = after.trim_start_matches(' ');
        if let Some(value) = colon.strip_prefix(':') {
            let value = value.trim_start_matches(' ');
            made.push_str(key);
            made.push(':');
            if !value.is_empty() {
                made.push(' ');
            }
            here = at + text.len() - value.len();
            rest = value;
        }
    }
    let comment = rest
        .char_indices()
        .filter(|(_, c)| *c == '#')
        .map(|(i, _)| i)
        .find(|i| !places.in_text(here + i) && (*i == 0 || rest[..*i].ends_with([' ', '\t'])));
    match comment {
        Some(0) => made.push_str(rest),
        Some(i) => {
            made.push_str(rest[..i].trim_end());
            made.push(' ');
            made.push_str(&rest[i..]);
        }
        None => made.push_str(rest),
    }
    made
}
