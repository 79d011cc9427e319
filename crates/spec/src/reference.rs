//! The reference page of the spec, out of the tables of keys and codes.

use std::fmt::Write as _;

use crate::codes;
use crate::key::{About, Key};
use crate::keys;

const INTRODUCTION: &str = "\
<!-- Made from crates/spec/src/keys and codes.rs. To change it, change them and run
     `UPDATE=1 cargo test -p windlass-spec`. -->

# The build spec

`windlass.yml` in the root of a repository says what a build does. `windlass.yaml` will do too, and
`windlass.toml`, which says the same in TOML; the first of the three that is there counts.

```yaml
steps:
  - cargo build
  - cargo test
```

That is all that a spec needs. The steps run in order, in the repository's root, and the first that
fails ends the build. With several jobs, `jobs` names them, and each has what stands at the top level
here.

- Values are taken as they are written: `3.10` is 3.10, and `yes` is a word.
- Nothing is ignored silently: a key that isn't on this page is an error.
- All problems are shown at once, with their place.
- YAML's anchors, aliases and `<<` may be used to say a thing once.
- `${{ name }}` is replaced in `env`, `image`, `approve`, `runs-on`, groups, and names and paths of
  artifacts, caches and reports; never in scripts, which read variables (`$MATRIX_OS`,
  `$PARAM_TARGET`, `$WINDLASS_BRANCH`): what strangers wrote never becomes part of a command.
- A spec has at most 256 KiB, 500 jobs, 10,000 with all cells, 500 steps per job, 32 levels, and
  20,000 values with its aliases filled in.
- Editors check and complete with the JSON Schema, which each server has at `/schema/windlass.json`:
  begin the file with `# yaml-language-server: $schema=https://ci.example.org/schema/windlass.json`.
";

/// The reference page in Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    chapter(&mut page, "Keys of the top level", keys::SPEC);
    chapter(
        &mut page,
        "Keys of a job, or of the top level of a spec with one job",
        keys::JOB,
    );
    chapter(&mut page, "Keys of a step", keys::STEP);
    problems(&mut page);
    page
}

// Writing to a String can't fail, so results are dropped here.

fn chapter<T>(page: &mut String, title: &str, keys: &[Key<T>]) {
    let _ = writeln!(
        page,
        "\n## {title}\n\n| key | what it says |\n| --- | --- |"
    );
    for Key { about, .. } in keys {
        let required = if about.required { " (required)" } else { "" };
        let _ = writeln!(page, "| `{}` | {}{required} |", about.name, about.summary);
    }
    for Key { about, .. } in keys {
        section(page, "###", about.name, about);
        for inner in about.inside {
            section(
                page,
                "####",
                &format!("{}.{}", about.name, inner.name),
                inner,
            );
        }
    }
}

fn section(page: &mut String, level: &str, title: &str, about: &About) {
    let mut summary = about.summary.to_owned();
    if let Some(first) = summary.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let details = about.details;
    let example = about.example.trim_end();
    let _ = writeln!(
        page,
        "\n{level} `{title}`\n\n{summary}.\n\n{details}\n\n```yaml\n{example}\n```"
    );
}

fn problems(page: &mut String) {
    let _ = writeln!(
        page,
        "\n## Problems\n\nA code never changes its meaning. `E` is an error: there is no build. `W` \
         is a warning.\n\n| code | what is wrong | what to know |\n| --- | --- | --- |"
    );
    for code in codes::ALL {
        let _ = writeln!(
            page,
            "| {} | {} | {} |",
            code.code, code.title, code.explanation
        );
    }
}
