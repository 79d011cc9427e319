//! YAML (and JSON, which is YAML) to nodes. The only file that knows the YAML parser.
//!
//! The parser gives events and guesses no types. Here they become a tree, with limits that hold
//! also when aliases are filled in: a few hundred bytes of aliases can stand for gigabytes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::codes;
use crate::limits;
use crate::node::{Entry, Node, Style, Value, shorten};
use crate::problems::{Problem, Problems};

mod syntax;

/// Reads one document. `None` if there is none; after a syntax error, what stood before it.
pub(crate) fn read(source: &str, problems: &mut Problems<'_>) -> Option<Node> {
    let options = granit_parser::options! {
        emit_comments: false,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        // One more than ours, so that the message about it is ours.
        flow_nesting_limit: limits::DEPTH + 1,
        block_nesting_limit: limits::DEPTH + 1,
    };
    let mut reader = Reader::new(source, problems);
    for event in Parser::new_from_str_with_options(source, options) {
        let going_on = match event {
            Ok((event, span)) => reader.event(event, span),
            Err(error) => {
                reader.syntax_error(&error);
                Err(Stop)
            }
        };
        if going_on.is_err() {
            reader.problems.cut_off();
            break;
        }
    }
    reader.finish()
}

/// The rest of the file is not read; the reason was reported.
struct Stop;

/// A finished node with what it costs to repeat it.
#[derive(Debug, Clone)]
struct Built {
    node: Node,
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// A key that waits for its value.
enum Key {
    Text(String, Range<usize>),
    /// `<<`: the value's keys are taken over.
    Merge(Range<usize>),
    /// Reported already: the value is read and dropped.
    Refused,
}

/// A collection that is not at its end yet.
struct Frame {
    start: usize,
    end: usize,
    anchor: usize,
    nodes: usize,
    bytes: usize,
    height: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Key to the place where it stood first.
        seen: HashMap<String, Range<usize>>,
        key: Option<Key>,
        merges: Vec<(Range<usize>, Node)>,
    },
}

struct Reader<'r, 's> {
    source: &'r str,
    problems: &'r mut Problems<'s>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    open_anchors: HashSet<usize>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    bytes: usize,
}

impl<'r, 's> Reader<'r, 's> {
    fn new(source: &'r str, problems: &'r mut Problems<'s>) -> Self {
        Self {
            source,
            problems,
            stack: Vec::new(),
            anchors: HashMap::new(),
            open_anchors: HashSet::new(),
            root: None,
            documents: 0,
            nodes: 0,
            bytes: 0,
        }
    }

    fn event(&mut self, event: Event<'_>, place: Span) -> Result<(), Stop> {
        let span = place.byte_range().unwrap_or(0..0);
        if let Some(tag) = event.tag() {
            // `!!str`, `!!map` and `!!seq` say what everything is here anyway.
            if !matches!(tag.core_suffix(), Some("str" | "map" | "seq")) {
                let at = place.tag_span().and_then(|tag| tag.byte_range());
                let at = at.unwrap_or(span.clone());
                let shown = shorten(self.source.get(at.clone()).unwrap_or_default(), 40);
                self.problems.push(
                    Problem::new(codes::TAG, at, format!("`{shown}` is a YAML tag"))
                        .label("has no meaning here")
                        .help("put the whole text in quotes if the `!` belongs to it"),
                );
            }
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problems.push(
                        Problem::new(
                            codes::SEVERAL_DOCUMENTS,
                            span,
                            "a second document begins here",
                        )
                        .label("a spec is one document")
                        .help("take this line and what follows away, or put it above"),
                    );
                    return Err(Stop);
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                // The parser says `~` where nothing is written.
                let nothing = style == Style::Plain && span.is_empty();
                let text = if nothing {
                    String::new()
                } else {
                    text.into_owned()
                };
                let bytes = text.len();
                let node = Node::scalar(span, text, style);
                self.finished(
                    Built {
                        node,
                        nodes: 1,
                        bytes,
                        height: 0,
                    },
                    anchor,
                    (1, bytes),
                )
            }
            Event::SequenceStart(_, anchor, _) => self.open(span, anchor, Open::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                let (entries, merges) = (Vec::new(), Vec::new());
                let seen = HashMap::new();
                self.open(
                    span,
                    anchor,
                    Open::Map {
                        entries,
                        seen,
                        key: None,
                        merges,
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else {
                    return Ok(());
                };
                self.open_anchors.remove(&frame.anchor);
                let anchor = frame.anchor;
                // The end of an indented block is where the next thing begins: not its own.
                let end = if self
                    .source
                    .get(span.clone())
                    .is_some_and(|s| s == "]" || s == "}")
                {
                    span.end
                } else {
                    frame.end
                };
                let built = self.close(frame, end);
                // Its children were counted when they were finished.
                self.finished(built, anchor, (1, 0))
            }
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::UnresolvedAlias(name) => {
                let name = shorten(&name, 40);
                self.problems.push(
                    Problem::new(
                        codes::UNKNOWN_ANCHOR,
                        span.clone(),
                        format!("no `&{name}` above"),
                    )
                    .label("an alias needs its anchor further up")
                    .help("put the text in quotes if the `*` belongs to it"),
                );
                self.unknown(span)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, span: Range<usize>, anchor: usize, open: Open) -> Result<(), Stop> {
        if self.stack.len() >= limits::DEPTH {
            return self.too_deep(span);
        }
        if anchor != 0 {
            self.open_anchors.insert(anchor);
        }
        let (start, end) = (span.start, span.end);
        let frame = Frame {
            start,
            end,
            anchor,
            nodes: 1,
            bytes: 0,
            height: 1,
            open,
        };
        self.stack.push(frame);
        Ok(())
    }

    fn too_deep(&mut self, span: Range<usize>) -> Result<(), Stop> {
        syntax::too_deep(span, self.problems);
        Err(Stop)
    }

    /// Reports it, and forgets the value that it broke off: `[ -f x ] && make` is no list.
    fn syntax_error(&mut self, error: &ScanError) {
        let place = error.marker().byte_offset().unwrap_or(self.source.len());
        let flow = self
            .stack
            .iter()
            .rev()
            .map(|frame| frame.start)
            .find(|start| {
                self.source
                    .get(*start..)
                    .is_some_and(|rest| rest.starts_with(['[', '{']))
            });
        syntax::report(self.source, error, flow, self.problems);
        let (line, _) = self.problems.place(place.min(self.source.len()));
        let on_this_line = |node: &Node| self.problems.place(node.span.end).0 == line;
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            Some(Open::List(items)) => {
                items.pop_if(|item| on_this_line(item));
            }
            Some(Open::Map { entries, .. }) => {
                entries.pop_if(|entry| on_this_line(&entry.value));
            }
            None => {}
        }
    }

    /// Puts the value of an anchor in place of its alias.
    fn alias(&mut self, anchor: usize, span: Range<usize>) -> Result<(), Stop> {
        if self.open_anchors.contains(&anchor) {
            self.problems.push(
                Problem::new(
                    codes::RECURSIVE_ALIAS,
                    span.clone(),
                    "a value can't hold itself",
                )
                .label("this alias stands inside of its own anchor"),
            );
            return self.unknown(span);
        }
        let Some(built) = self.anchors.get(&anchor) else {
            return self.unknown(span);
        };
        if self.stack.len() + built.height > limits::DEPTH {
            return self.too_deep(span);
        }
        // Counted before it is copied: this is where a small file becomes large.
        if self.nodes + built.nodes > limits::NODES || self.bytes + built.bytes > limits::EXPANDED {
            return self.too_many(span);
        }
        if self.waits_for_key() {
            return self.refuse_key(span, "an alias");
        }
        let mut built = built.clone();
        if built.node.is_nothing() {
            built.node.span = span;
        }
        let cost = (built.nodes, built.bytes);
        self.finished(built, 0, cost)
    }

    /// Takes the place of a value that can't be known. It must not cause a second message.
    fn unknown(&mut self, span: Range<usize>) -> Result<(), Stop> {
        if self.waits_for_key() {
            return self.refuse_key(span, "an alias");
        }
        if let Some(Frame {
            open: Open::Map { key, .. },
            ..
        }) = self.stack.last_mut()
        {
            *key = None;
        }
        // The list or map is now shorter than what was meant.
        self.problems.cut_off();
        Ok(())
    }

    fn waits_for_key(&self) -> bool {
        matches!(
            self.stack.last(),
            Some(Frame {
                open: Open::Map { key: None, .. },
                ..
            })
        )
    }

    fn refuse_key(&mut self, span: Range<usize>, what: &str) -> Result<(), Stop> {
        self.problems.push(
            Problem::new(
                codes::KEY_NOT_TEXT,
                span,
                format!("a key is a word, not {what}"),
            )
            .label("expected a key")
            .help("put the whole text in quotes if it is not meant as a key"),
        );
        if let Some(Frame {
            open: Open::Map { key, .. },
            ..
        }) = self.stack.last_mut()
        {
            *key = Some(Key::Refused);
        }
        Ok(())
    }

    fn too_many(&mut self, span: Range<usize>) -> Result<(), Stop> {
        self.problems.push(
            Problem::new(codes::TOO_MANY_NODES, span, "the file grows too large here")
                .label("with all aliases filled in: at most 20,000 values and 1 MiB of text")
                .help("use fewer aliases, or move long scripts to files in the repository"),
        );
        Err(Stop)
    }

    /// A value is complete: it is counted, remembered for its aliases, and put where it belongs.
    fn finished(
        &mut self,
        built: Built,
        anchor: usize,
        (nodes, bytes): (usize, usize),
    ) -> Result<(), Stop> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes > limits::NODES || self.bytes > limits::EXPANDED {
            return self.too_many(built.node.span);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        self.put(built)
    }

    fn put(&mut self, mut built: Built) -> Result<(), Stop> {
        if self.waits_for_key() && !matches!(built.node.value, Value::Scalar(_)) {
            let what = built.node.found_shape();
            return self.refuse_key(built.node.span, what);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(built.node);
            return Ok(());
        };
        frame.nodes += built.nodes;
        frame.bytes += built.bytes;
        frame.height = frame.height.max(built.height + 1);
        frame.end = frame.end.max(built.node.span.end);
        let (entries, seen, key, merges) = match &mut frame.open {
            Open::List(items) => {
                items.push(built.node);
                return Ok(());
            }
            Open::Map {
                entries,
                seen,
                key,
                merges,
            } => (entries, seen, key, merges),
        };
        match key.take() {
            None => *key = Some(new_key(built.node, seen, self.problems)),
            Some(Key::Refused) => {}
            Some(Key::Merge(span)) => merges.push((span, built.node)),
            Some(Key::Text(key, key_span)) => {
                if built.node.is_nothing() {
                    // The parser places "nothing" wherever it noticed: mostly on the next line.
                    built.node.span = key_span.clone();
                }
                entries.push(Entry {
                    key,
                    key_span,
                    value: built.node,
                });
            }
        }
        Ok(())
    }

    fn close(&mut self, frame: Frame, end: usize) -> Built {
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map {
                mut entries,
                mut seen,
                merges,
                ..
            } => {
                for (span, merged) in merges {
                    merge(&mut entries, &mut seen, span, merged, self.problems);
                }
                Value::Map(entries)
            }
        };
        let span = frame.start..end.max(frame.start);
        let node = Node { span, value };
        Built {
            node,
            nodes: frame.nodes,
            bytes: frame.bytes,
            height: frame.height,
        }
    }

    /// The tree. After a syntax error all that is open ends here.
    fn finish(mut self) -> Option<Node> {
        while let Some(frame) = self.stack.pop() {
            let end = frame.end;
            let built = self.close(frame, end);
            if self.put(built).is_err() {
                break;
            }
        }
        self.root
    }
}

fn new_key(
    node: Node,
    seen: &mut HashMap<String, Range<usize>>,
    problems: &mut Problems<'_>,
) -> Key {
    if node.plain() == Some("<<") {
        return Key::Merge(node.span);
    }
    let Value::Scalar(scalar) = node.value else {
        return Key::Refused;
    };
    if let Some(first) = seen.get(&scalar.text) {
        problems.push(duplicate_key(&scalar.text, node.span, first, problems));
        return Key::Refused;
    }
    seen.insert(scalar.text.clone(), node.span.clone());
    Key::Text(scalar.text, node.span)
}

fn duplicate_key(
    key: &str,
    span: Range<usize>,
    first: &Range<usize>,
    problems: &Problems<'_>,
) -> Problem {
    let (line, _) = problems.place(first.start);
    let shown = shorten(key, 40);
    Problem::new(
        codes::DUPLICATE_KEY,
        span,
        format!("`{shown}` stands here twice"),
    )
    .label(format!("the first one is on line {line}"))
    .help("take one of them away")
}

/// `<<: *defaults`: what the map doesn't say itself is taken over.
fn merge(
    entries: &mut Vec<Entry>,
    seen: &mut HashMap<String, Range<usize>>,
    span: Range<usize>,
    merged: Node,
    problems: &mut Problems<'_>,
) {
    let sources = match merged.value {
        Value::List(items) => items,
        _ => vec![merged],
    };
    for source in sources {
        let Value::Map(taken) = source.value else {
            problems.push(
                Problem::new(codes::MERGE, span.clone(), "`<<` needs a map")
                    .label(format!("this is {}", source.found()))
                    .help("write `<<: *name`, where `&name` marks a map further up"),
            );
            continue;
        };
        for entry in taken {
            if !seen.contains_key(&entry.key) {
                seen.insert(entry.key.clone(), entry.key_span.clone());
                entries.push(entry);
            }
        }
    }
}
