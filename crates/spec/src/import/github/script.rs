//! Expressions inside of scripts. There they are pasted into the text, and whoever names a branch
//! writes a part of the script; here each is a variable, in quotes wherever it stands.

use windlass_model::plan::variable;

use super::expression::{Expr, Piece, parse, pieces};
use super::value::{Scope, secret_of};

/// What a script needs to know.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) scope: Scope<'a>,
    /// `id`s of steps before this one that are scripts.
    pub(super) steps: &'a [String],
    /// Whether all values of an axis are single words, or else must be split as before.
    pub(super) axis_shape: &'a dyn Fn(&str) -> Shape,
    pub(super) line: usize,
}

/// What the values of an axis look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each is one word.
    Word,
    /// Several words, or none, that the shell splits.
    Words,
    /// Pieces of a script.
    Script,
}

/// A script with variables in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) text: String,
    /// Expressions that have become variables, and these.
    pub(super) replaced: Vec<(String, String)>,
    /// Expressions without counterpart: the script stops where it uses one.
    pub(super) unknown: Vec<String>,
    /// Secrets that it reads.
    pub(super) secrets: Vec<String>,
    /// Variables that the job must have, with their values.
    pub(super) env: Vec<(String, String)>,
}

/// Puts variables in place of expressions.
pub(super) fn script(text: &str, around: &Around<'_>) -> Script {
    let mut done = Script::default();
    let mut quotes = Quotes::default();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => {
                quotes.feed(text);
                done.text.push_str(text);
            }
            Piece::Expr(inside) => {
                let place = quotes.place();
                quotes.feed("x");
                let found = parse(inside).and_then(|expr| value(&expr, around, &mut done));
                let shell = match (found, place) {
                    (_, Place::Comment) => inside.replace(['\n', '\r'], " "),
                    (None, Place::Raw) | (Some(_), Place::Raw) => {
                        remember(&mut done.unknown, inside);
                        // No variable is replaced here: what stands before it must stop.
                        String::from("NOT-CONVERTED")
                    }
                    (None, place) => {
                        remember(&mut done.unknown, inside);
                        in_quotes(&stop(inside, around.line), place, false)
                    }
                    (Some(value), place) => {
                        if matches!(value.shape, Shape::Script) && place == Place::Bare {
                            remember(&mut done.unknown, inside);
                            in_quotes(&stop(inside, around.line), place, false)
                        } else {
                            let pair = (inside.to_owned(), value.shell.clone());
                            if !done.replaced.contains(&pair) {
                                done.replaced.push(pair);
                            }
                            in_quotes(&value.shell, place, value.shape == Shape::Words)
                        }
                    }
                };
                done.text.push_str(&shell);
            }
        }
    }
    if done.text.contains("NOT-CONVERTED") && !done.unknown.is_empty() {
        let first = done.unknown.first().cloned().unwrap_or_default();
        done.text = format!(": \"{}\"\n{}", stop(&first, around.line), done.text);
    }
    done
}

fn remember(list: &mut Vec<String>, text: &str) {
    if !list.iter().any(|known| known == text) {
        list.push(text.to_owned());
    }
}

/// A variable that nobody sets: the shell stops with these words.
pub(super) fn stop(what: &str, line: usize) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ');
    let words: String = what
        .chars()
        .map(|c| if legal(c) { c } else { ' ' })
        .take(80)
        .collect();
    format!("${{NOT_CONVERTED:?line {line}: {}}}", words.trim())
}

fn in_quotes(shell: &str, place: Place, split: bool) -> String {
    match place {
        Place::Bare if split => shell.to_owned(),
        Place::Bare => format!("\"{shell}\""),
        Place::Single => format!("'\"{shell}\"'"),
        Place::Double | Place::Comment | Place::Raw => shell.to_owned(),
    }
}

/// What stands for an expression in a shell.
struct Value {
    shell: String,
    shape: Shape,
}

fn value(expr: &Expr, around: &Around<'_>, done: &mut Script) -> Option<Value> {
    let word = |shell: String| Value {
        shell,
        shape: Shape::Word,
    };
    let path = match expr {
        Expr::Text(text) | Expr::Number(text) => return literal(text).map(word),
        Expr::Truth(truth) => return Some(word(truth.to_string())),
        Expr::Or(parts) => {
            let [first, Expr::Text(usual)] = &parts[..] else {
                return None;
            };
            let first = value(first, around, done)?;
            let name = first.shell.strip_prefix("${")?.strip_suffix('}')?;
            let simple = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let usual = literal(usual)?;
            return simple.then(|| word(format!("${{{name}:-{usual}}}")));
        }
        Expr::Name(_) => expr.path()?,
        _ => return None,
    };
    if let Some(secret) = secret_of(expr) {
        remember(&mut done.secrets, &secret);
        return Some(word(format!("${{{secret}}}")));
    }
    let scope = &around.scope;
    if let Some(axis) = scope.axis(&path) {
        return Some(Value {
            shell: format!("${{MATRIX_{}}}", variable(axis)),
            shape: (around.axis_shape)(axis),
        });
    }
    if let Some((input, _)) = scope.input(&path) {
        return Some(word(format!("${{PARAM_{}}}", variable(&input))));
    }
    if let Some((job, output)) = scope.output(&path) {
        let name = format!("NEEDS_{}_{}", variable(&job), variable(&output));
        let pair = (
            name.clone(),
            format!("${{{{ needs.{job}.outputs.{output} }}}}"),
        );
        if !done.env.contains(&pair) {
            done.env.push(pair);
        }
        return Some(word(format!("${{{name}}}")));
    }
    if let Some(rest) = path.strip_prefix("steps.") {
        let (step, output) = rest.split_once(".outputs.")?;
        let known = around.steps.iter().any(|id| id == step);
        return known.then(|| read_output(step, output)).flatten().map(word);
    }
    if let Some(name) = path.strip_prefix("env.") {
        return super::super::pipeline::is_variable(name).then(|| word(format!("${{{name}}}")));
    }
    let text = match path.as_str() {
        "github.workflow" => literal(scope.workflow)?,
        "github.job" => literal(scope.job)?,
        path => of_github(path)?.to_owned(),
    };
    Some(word(text))
}

/// The file that stands for `$GITHUB_OUTPUT` of a step.
pub(super) fn output_file(step: &str) -> String {
    format!(
        "${{TMPDIR}}/output-{}",
        super::super::pipeline::legal_name(step)
    )
}

/// The last value that a step wrote under this name.
pub(super) fn read_output(step: &str, output: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let file = output_file(step);
    let text = || format!("$(sed -n 's/^{output}=//p' \"{file}\" | tail -n 1)");
    output.chars().all(legal).then(text)
}

fn of_github(path: &str) -> Option<&'static str> {
    Some(match path {
        "github.sha" | "github.event.pull_request.head.sha" | "github.event.after" => {
            "${WINDLASS_REVISION}"
        }
        "github.ref" => "${WINDLASS_REF}",
        "github.ref_name" => "${WINDLASS_TAG:-$WINDLASS_BRANCH}",
        "github.head_ref" | "github.event.pull_request.head.ref" => "${WINDLASS_BRANCH}",
        "github.base_ref" | "github.event.pull_request.base.ref" => "${WINDLASS_BASE_BRANCH}",
        "github.event_name" => "${WINDLASS_EVENT}",
        "github.workspace" => "${WINDLASS_WORKSPACE}",
        "github.repository" | "github.event.repository.name" => "${WINDLASS_REPO}",
        "github.run_number" | "github.run_id" => "${WINDLASS_BUILD}",
        "github.event.number" | "github.event.pull_request.number" => "${WINDLASS_PULL_REQUEST}",
        "github.event.head_commit.message" => "$(git log -1 --format=%B)",
        "github.actor" => "$(git log -1 --format=%an)",
        "runner.temp" => "${TMPDIR}",
        "runner.os" => "Linux",
        "runner.arch" => "X64",
        _ => return None,
    })
}

/// A text that means itself in any quotes.
fn literal(text: &str) -> Option<String> {
    let legal = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '.' | '_' | '-' | '/' | ' ' | ':' | '=' | ',' | '+' | '@')
    };
    (!text.is_empty() && text.chars().all(legal)).then(|| text.to_owned())
}

/// What a shell makes of a place in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Outside of quotes.
    Bare,
    Single,
    /// Inside of `"`, or a here-document.
    Double,
    Comment,
    /// A here-document in which nothing is replaced.
    Raw,
}

/// Follows a script as far as quotes go.
#[derive(Debug, Default)]
struct Quotes {
    /// What is open, the innermost last.
    open: Vec<Open>,
    /// Here-documents that begin on the next line: delimiter, whether variables are replaced.
    waiting: Vec<(String, bool)>,
    /// The line so far, in a here-document.
    line: String,
    before: char,
    escaped: bool,
    /// What of `<<` and its word was read.
    arrow: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Open {
    Single,
    Double,
    Comment,
    /// `$(` or `(`
    Round,
    /// `${`
    Curly,
    Here(String, bool),
}

impl Quotes {
    fn place(&self) -> Place {
        match self.open.last() {
            None | Some(Open::Round) => Place::Bare,
            Some(Open::Single) => Place::Single,
            Some(Open::Double) => Place::Double,
            Some(Open::Comment) => Place::Comment,
            Some(Open::Here(_, true)) => Place::Double,
            Some(Open::Here(_, false)) => Place::Raw,
            Some(Open::Curly) => {
                let quoted = |open: &Open| matches!(open, Open::Double | Open::Here(..));
                let outer = self.open.iter().rev().find(|open| **open != Open::Curly);
                if outer.is_some_and(quoted) {
                    Place::Double
                } else {
                    Place::Bare
                }
            }
        }
    }

    fn feed(&mut self, text: &str) {
        for c in text.chars() {
            self.step(c);
            self.before = if self.escaped { '\\' } else { c };
        }
    }

    fn step(&mut self, c: char) {
        if let Some(Open::Here(word, _)) = self.open.last() {
            if c != '\n' {
                self.line.push(c);
                return;
            }
            let ends = self.line.trim() == word;
            self.line.clear();
            if ends {
                self.open.pop();
                self.next_document();
            }
            return;
        }
        if std::mem::take(&mut self.escaped) {
            return;
        }
        let top = self.open.last().cloned();
        match (&top, c) {
            (Some(Open::Single), '\'') | (Some(Open::Double), '"') | (Some(Open::Curly), '}') => {
                self.open.pop();
            }
            (Some(Open::Single), _) => {}
            (Some(Open::Comment), '\n') => {
                self.open.pop();
                self.next_document();
            }
            (Some(Open::Comment), _) => {}
            (_, '\\') => self.escaped = true,
            (Some(Open::Double | Open::Curly), '(') | (_, '(') if self.before == '$' => {
                self.open.push(Open::Round);
            }
            (_, '{') if self.before == '$' => self.open.push(Open::Curly),
            (Some(Open::Double), _) => {}
            (Some(Open::Curly), '"') | (None | Some(Open::Round), '"') => {
                self.open.push(Open::Double);
            }
            (Some(Open::Curly), _) => {}
            (_, '\'') => self.open.push(Open::Single),
            (_, '(') => self.open.push(Open::Round),
            (Some(Open::Round), ')') => {
                self.open.pop();
            }
            (_, '#')
                if self.before.is_whitespace() || self.before == '\0' || self.before == ';' =>
            {
                self.open.push(Open::Comment);
            }
            _ => {}
        }
        self.document(c);
    }

    /// Looks for `<<WORD` outside of quotes.
    fn document(&mut self, c: char) {
        let bare = !matches!(self.open.last(), Some(Open::Double | Open::Comment));
        if c == '\n' {
            self.finish_word();
            self.next_document();
        } else if self.arrow.is_empty() {
            if c == '<' && bare {
                self.arrow.push(c);
            }
        } else if self.arrow == "<" {
            if c == '<' {
                self.arrow.push(c);
            } else {
                self.arrow.clear();
            }
        } else if self.arrow == "<<" && c == '<' {
            // `<<<` is a text in the line.
            self.arrow.clear();
        } else {
            let word = self.arrow.trim_start_matches(['<', '-', ' ']);
            let ends =
                !word.is_empty() && (c.is_whitespace() || matches!(c, ';' | '|' | '&' | ')' | '>'));
            if ends {
                self.finish_word();
            } else {
                self.arrow.push(c);
            }
        }
    }

    fn finish_word(&mut self) {
        let arrow = std::mem::take(&mut self.arrow);
        let Some(word) = arrow.strip_prefix("<<") else {
            return;
        };
        let word = word.trim_start_matches(['-', ' ']);
        let quoted = word.contains(['\'', '"', '\\']);
        let word = word.replace(['\'', '"', '\\'], "");
        // `1 << 2` is no document.
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.chars().all(legal)
        {
            self.waiting.push((word, !quoted));
        }
    }

    fn next_document(&mut self) {
        if !self.waiting.is_empty() {
            let (word, expands) = self.waiting.remove(0);
            self.open.push(Open::Here(word, expands));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Script {
        let shape = |axis: &str| match axis {
            "flags" => Shape::Words,
            "code" => Shape::Script,
            _ => Shape::Word,
        };
        let axis = |name: &str| (name.to_owned(), name.to_owned());
        let matrix = [axis("os"), axis("flags"), axis("code")];
        let inputs = [("name".to_owned(), "text")];
        let needs = ["build".to_owned()];
        let scope = Scope {
            matrix: &matrix,
            inputs: &inputs,
            needs: &needs,
            ..Scope::default()
        };
        let around = Around {
            scope,
            steps: &["v".to_owned()],
            axis_shape: &shape,
            line: 7,
        };
        script(text, &around)
    }

    #[test]
    fn every_expression_stands_in_quotes() {
        for (theirs, ours) in [
            ("x ${{ matrix.os }} y", "x \"${MATRIX_OS}\" y"),
            ("x \"${{ inputs.name }}\"", "x \"${PARAM_NAME}\""),
            ("x '${{ github.head_ref }}'", "x ''\"${WINDLASS_BRANCH}\"''"),
            ("x \"$(y ${{ matrix.os }})\"", "x \"$(y \"${MATRIX_OS}\")\""),
            ("x \"${A:-${{ matrix.os }}}\"", "x \"${A:-${MATRIX_OS}}\""),
            ("x ${{ matrix.flags }}", "x ${MATRIX_FLAGS}"),
            ("x # it's\n${{ matrix.os }}", "x # it's\n\"${MATRIX_OS}\""),
            ("# ${{ matrix.os }}\n", "# matrix.os\n"),
            ("x \\\" ${{ matrix.os }}", "x \\\" \"${MATRIX_OS}\""),
            (
                "cat <<E\n'${{ matrix.os }}'\nE\n${{ matrix.os }}",
                "cat <<E\n'${MATRIX_OS}'\nE\n\"${MATRIX_OS}\"",
            ),
            ("x ${{ secrets.KEY }}", "x \"${KEY}\""),
            ("x ${{ inputs.name || 'a b' }}", "x \"${PARAM_NAME:-a b}\""),
            (
                "x ${{ needs.build.outputs.tag }}",
                "x \"${NEEDS_BUILD_TAG}\"",
            ),
            (
                "echo $((1 << 2)) ${{ matrix.os }}",
                "echo $((1 << 2)) \"${MATRIX_OS}\"",
            ),
            ("x <<< ${{ matrix.os }}", "x <<< \"${MATRIX_OS}\""),
        ] {
            assert_eq!(of(theirs).text, ours, "{theirs}");
        }
        assert_eq!(of("${{ secrets.key }}").secrets, ["KEY"]);
        let output = of("x ${{ steps.v.outputs.tag }}").text;
        assert_eq!(
            output,
            "x \"$(sed -n 's/^tag=//p' \"${TMPDIR}/output-v\" | tail -n 1)\""
        );
    }

    #[test]
    fn what_is_not_known_stops_the_script() {
        for text in [
            "echo ${{ github.event.issue.title }}",
            "echo '${{ github.event.pull_request.body }}'",
            "${{ matrix.code }}",
            "x ${{ steps.other.outputs.y }}",
            "x ${{ a && b || c }}",
            "cat <<'E'\n${{ matrix.os }}\nE\n",
        ] {
            let done = of(text);
            assert!(
                done.text.contains("${NOT_CONVERTED:?line 7: "),
                "{}",
                done.text
            );
            assert_eq!(done.unknown.len(), 1, "{text}");
            assert!(!done.text.contains("${{"), "{}", done.text);
        }
        let evil = of("x ${{ github.event['a\"; rm -rf /; \"'] }}").text;
        assert_eq!(
            evil, "x \"${NOT_CONVERTED:?line 7: github.event  a   rm -rf}\"",
            "{evil}"
        );
    }
}
