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
    EXPRESSION_SYNTAX "E0160" "condition can't be read"
        "A condition compares names and texts: `branch == \"main\" && event != \"tag\"`. Texts stand \
         in quotes; the operators are `== != < <= > >= in && || !`.";
    EXPRESSION_NAME "E0161" "name is not known"
        "Conditions know `event`, `branch`, `tag`, `base`, `revision`, `message`, `author`, `fork`, \
         `repo`, `schedule`, `params.…`, `matrix.…` and `needs.…`, and nothing else.";
    EXPRESSION_FUNCTION "E0162" "function is not known"
        "The functions are `glob`, `changed`, `contains`, `starts_with` and `ends_with`.";
    EXPRESSION_ARGUMENTS "E0163" "function has too few arguments"
        "`changed` takes patterns, the others a text and what it is compared with.";
    EXPRESSION_TYPE "E0164" "value of a wrong type in a condition"
        "A text is never equal to a number, and `&&` joins only what is true or false. That is said \
         here and not found out at night.";
    EXPRESSION_NOT_TRUTH "E0165" "condition is neither true nor false"
        "Compare the value with something.";
    EXPRESSION_WORD "E0166" "name can never have this value"
        "`event` and `result` are one of a few words.";
    EXPRESSION_WRAPPED "E0167" "`${{ }}` around a condition"
        "`when` holds a condition already.";
    EXPRESSION_NEEDS "E0168" "other jobs are not known here"
        "How other jobs ended is known only in jobs that have `needs`.";
    TEMPLATE_OPEN "E0169" "`${{` is not closed"
        "`${{ name }}` is replaced by the value of the name.";
    TEMPLATE_NEEDS "E0170" "output of a job inside of a text"
        "An output may only be the whole value of a variable: what a job printed shall not become \
         part of a path or of an image's name unseen.";
    TOO_MANY_PROBLEMS "E0199" "too many problems"
        "The rest is left out; mend the first ones and look again.";
    STEPS_AND_JOBS "E0200" "both `steps` and `jobs`"
        "A spec is one job, with `steps` at the top level, or several below `jobs`.";
    NO_JOBS "E0201" "`jobs` is empty"
        "A spec has at least one job, and a job at least one step.";
    JOB_KEY_AT_TOP "E0202" "key of one job stands above all jobs"
        "Beside `jobs` the top level has only what may be a default for all jobs, such as `env` or \
         `timeout`. What makes a job itself (`needs`, `matrix`, `when`, …) belongs into the job.";
    BAD_JOB_NAME "E0203" "not a name for a job"
        "Jobs, templates, parameters and the like are named with letters, digits, `-` and `_`, \
         a letter first, at most 60 characters: the name stands in expressions and URLs.";
    UNKNOWN_NEED "E0204" "needed job does not exist"
        "`needs` names jobs of this spec. A job that may be missing is written `name?`.";
    CYCLE "E0205" "jobs need each other in a circle"
        "None of them could ever begin. Take one of the needs away.";
    TOO_MANY_JOBS "E0206" "too many jobs"
        "A spec has at most 500 jobs, and 10,000 with all cells of all matrices.";
    MATRIX_EMPTY "E0207" "matrix without a cell"
        "`exclude` takes every cell out, or no axis has a value: the job could never run.";
    MATRIX_TOO_LARGE "E0208" "matrix is too large"
        "All cells of a matrix together are at most 10,000.";
    UNKNOWN_AXIS "E0209" "axis is not in the matrix"
        "`exclude` names axes of the matrix and their values.";
    UNKNOWN_TEMPLATE "E0210" "template does not exist"
        "`use` names one of the `templates` of this file or of an included one.";
    BAD_GLOB "E0211" "pattern can't be understood"
        "`*` is any text without `/`, `**` any folders, `?` one character, `[a-z]` one of a set, \
         `{a,b}` either.";
    BAD_PATH "E0212" "path leads out of the workspace"
        "Paths are relative to the repository's root and have no `..`. Only a cache may hold \
         something from the home folder: `~/.cargo`.";
    BAD_CRON "E0213" "not a schedule"
        "Five fields, as crontab(5) has them: minute, hour, day of the month, month, day of the \
         week. `0 3 * * *` is every night at three.";
    BAD_TIME_ZONE "E0214" "time zone does not exist"
        "Time zones are named as in the IANA database: `Europe/Berlin`, `UTC`.";
    BAD_DEFAULT "E0215" "default does not fit the parameter's type"
        "The default is a value that a person could give.";
    DUPLICATE_ARTIFACT "E0216" "two artifacts have one name"
        "Artifacts of one job are told apart by their names.";
    INTERPOLATION_IN_SCRIPT "E0217" "`${{ }}` in a script"
        "Text from outside never becomes part of a script: a branch named `$(rm -rf .)` would run. \
         Scripts read variables: `$MATRIX_<NAME>`, `$PARAM_<NAME>`, `$WINDLASS_BRANCH`.";
    NO_CHECK "E0218" "readiness without a check"
        "`ready` has exactly one of `port`, `run` and `output`.";
    INCLUDE_FAILED "E0219" "included file can't be used"
        "It is missing, or has problems of its own, which are named.";
    BAD_OUTPUT "E0220" "not a name for an output"
        "Outputs are named with letters, digits and `_`, a letter first.";
    RESULT_IN_LIST "E0221" "`result` in a list of conditions"
        "A list means \"one of these\"; how the jobs before must have ended is asked once. Write \
         `when` as one map, or put the rest into `if`.";
    BAD_PARAM "E0222" "parameter was given a value that it does not take"
        "Each parameter has a type; a choice has a list of options.";
    DUPLICATE_SCHEDULE "E0223" "two schedules have one name"
        "Schedules are told apart by their names.";
    NO_ARTIFACTS "E0224" "artifacts of a job that keeps none"
        "`artifacts: true` in `needs` puts the other job's files into the workspace; without `artifacts` \
         of its own it has none.";
    ONLY_OUT "E0225" "patterns that only take out"
        "A pattern that begins with `!` takes out what one before it took in.";
    EXPECT_IN_BACKGROUND "E0226" "`expect` in a background step"
        "A background step is stopped when the others are over: that is its good end, whatever its exit code.";
    BUILD_WITH_OTHERS "E0227" "image made among other things"
        "A job that makes images has only `build` steps: the login with which an image is pushed is used on the \
         server's machine, and must be out of the reach of scripts. Put scripts into another job.";
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
    NEVER_RUNS "W0160" "job or step never runs"
        "Its condition can't hold for any event, or a job that it needs never runs.";
    EXCLUDES_NOTHING "W0161" "`exclude` takes nothing out"
        "No cell of the matrix has these values.";
    NO_MATRIX "W0162" "no effect without a matrix"
        "`fail-fast` and `max-parallel` are about the cells of a `matrix`.";
    UNUSED_TEMPLATE "W0163" "template is not used"
        "No job has `use` with this name.";
    NEVER_FAILS "W0164" "waits for a failure that can't be"
        "`result: failure` is about jobs in `needs`, or steps before; there are none.";
    GLOB_NO_FILE "W0165" "pattern matches no file"
        "None of the files that git knows here is matched: perhaps it is misspelt, or the files were moved.";
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
