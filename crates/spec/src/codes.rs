//! Every problem that a spec may have, with its stable code. A code is never used again for
//! something else: people search for it.

/// One kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `E0130`; a warning begins with `W`.
    pub code: &'static str,
    /// What is wrong, for a list of all codes.
    pub title: &'static str,
    /// Why it is refused and what to do, one or two sentences of Markdown.
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($name:ident $code:literal $title:literal $explanation:literal;)*) => {
        $(pub(crate) const $name: Code =
            Code { code: $code, title: $title, explanation: $explanation };)*
        /// All codes, in order.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    TOO_LARGE "E0101" "file is too large"
        "A spec has at most 256 KiB. Move long scripts to files in the repository and run those.";
    NOT_UTF8 "E0102" "file is not UTF-8"
        "The spec is text in UTF-8, without any other encoding in it.";
    NUL "E0103" "file or value has a NUL character"
        "No program can get a NUL in an argument or variable, and editors don't write one.";
    EMPTY "E0104" "file is empty"
        "There is nothing, or only comments. A spec has at least `steps` with one step.";
    SEVERAL_DOCUMENTS "E0105" "several documents in one file"
        "A line `---` begins another YAML document. A spec is one document.";
    YAML_SYNTAX "E0110" "not valid YAML"
        "The text can't be read as YAML from this place on. Most often it is the indentation, or \
         a value with `: `, ` #`, or one of `[{*&!@%` at its beginning, that needs quotes.";
    TAB "E0111" "tab in the indentation"
        "YAML indents with spaces only.";
    UNCLOSED "E0112" "quote or bracket is not closed"
        "The text runs to the end of the file without the closing mark.";
    TOML_SYNTAX "E0113" "not valid TOML"
        "The text can't be read as TOML at this place.";
    DUPLICATE_KEY "E0114" "key stands twice in one map"
        "Only one of them could count, and which one is easy to overlook.";
    UNKNOWN_ANCHOR "E0115" "alias without an anchor"
        "`*name` repeats what was marked with `&name` further up. A command that begins with `*` \
         needs quotes.";
    RECURSIVE_ALIAS "E0116" "alias inside of its own anchor"
        "A value can't hold itself.";
    TOO_DEEP "E0117" "nested too deep"
        "Maps and lists may stand in each other 32 levels deep.";
    TOO_MANY_NODES "E0118" "file grows too large when its aliases are filled in"
        "With all aliases filled in, a spec has at most 20,000 values and 1 MiB of text.";
    TAG "E0119" "YAML tag"
        "Tags such as `!name` have no meaning in a spec. A command that begins with `!` needs \
         quotes.";
    KEY_NOT_TEXT "E0120" "key is not plain text"
        "A key is a word, not a list, a map or an alias.";
    MERGE "E0121" "`<<` without a map"
        "`<<` takes over the keys of a map, or of a list of maps: `<<: *defaults`.";
    UNKNOWN_KEY "E0130" "unknown key"
        "The key has no meaning here. Nothing is ignored silently: a misspelt key would be.";
    MISSING_KEY "E0131" "required key is missing"
        "The map can't do without this key.";
    WRONG_TYPE "E0132" "value of a wrong type"
        "A list stands where a text belongs, or the like.";
    NO_VALUE "E0133" "value is empty"
        "Nothing follows the key, or the list or script has nothing in it.";
    BAD_VARIABLE "E0134" "name of a variable or secret is not allowed"
        "A variable is named with letters, digits and `_`, and a secret with capital letters, \
         digits and `_`; neither begins with a digit. `WINDLASS_ATTEMPT` belongs to Windlass.";
    BAD_DURATION "E0135" "not a duration"
        "A duration has a unit: `90s`, `10m`, `1h30m`, `500ms`. It is at least `1ms` and at most \
         `720h`.";
    BAD_SIZE "E0136" "not a size"
        "A size has a unit: `512MiB`, `1GiB`, or `512m`, `1g` for short. It is at least `4MiB`.";
    BAD_NUMBER "E0137" "not a number that is allowed here"
        "A whole number in the range that the message names, without quotes.";
    BAD_CHOICE "E0138" "not one of the values that are allowed here"
        "The message names all that are.";
    TOO_MANY_STEPS "E0139" "too many steps"
        "A job has at most 500 steps. Put commands that belong together into one script.";
    CONFLICT "E0140" "two keys contradict each other"
        "Only one of them can count: take the other away.";
    TOO_LONG "E0141" "text is too long"
        "The system passes at most 128 KiB in one argument or variable; a script may have 120 KiB, \
         and a name 100 characters. Move long scripts to files in the repository.";
    BAD_NAME "E0142" "not a name"
        "A name is one line of visible characters.";
    TOO_MANY_PROBLEMS "E0199" "too many problems"
        "The rest is left out; mend the first ones and look again.";
    DUPLICATE_NAME "W0150" "two steps have one name"
        "The second is shown as `name (2)`.";
    JOINED_LINES "W0151" "lines of a script are joined into one"
        "YAML joins the lines of a text that goes on without `|`. Write `run: |`, and the script \
         on the lines below.";
    TIMEOUT_NO_EFFECT "W0152" "step has more time than its job"
        "The job's `timeout` (1h if there is none) ends the step first.";
    NULL_TEXT "W0153" "variable has the text `null`"
        "Values are taken as they are written: the variable is not empty and not unset. Write \
         `\"\"` for an empty text, or put `null` in quotes if you mean the word.";
    REPEATED "W0154" "listed twice"
        "Once is enough.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        for pair in ALL.windows(2) {
            assert!(
                pair[0].code < pair[1].code,
                "{} {}",
                pair[0].code,
                pair[1].code
            );
        }
    }
}
