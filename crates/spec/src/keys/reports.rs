//! `reports`: files that are understood.

use windlass_model::plan::ReportKind;

use crate::draft::JobDraft;
use crate::key::{self, About, Key};
use crate::node::Entry;
use crate::problems::Problems;
use crate::schema;
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "reports",
        required: false,
        summary: "reports of tests and coverage, which the build's page shows",
        details: "A map from a format to a pattern or a list of patterns. They are read whether the steps passed or \
                  failed. Failed tests come first, with their output and a link to the line of the log. A report \
                  that can't be read is said to be so, and fails nothing.",
        example: "reports:\n  junit: target/nextest/**/junit.xml\n  lcov: lcov.info\nsteps:\n  - cargo nextest run\n",
        schema: || schema::object(KEYS),
        inside: &[&JUNIT.about, &TAP.about, &LCOV.about, &COBERTURA.about],
    },
    lower: |job, entry, problems| {
        let expected = "a map with `junit`, `tap`, `lcov`, `cobertura`";
        if let Some(entries) = key::entries(&entry.value, "`reports`", expected, problems) {
            key::lower_map(entries, KEYS, "`reports`", job, problems);
        }
    },
};

const KEYS: &[Key<JobDraft>] = &[JUNIT, TAP, LCOV, COBERTURA];

const JUNIT: Key<JobDraft> = Key {
    about: About {
        name: "junit",
        required: false,
        summary: "tests, as JUnit's XML",
        details: "What pytest (`--junit-xml`), cargo-nextest, Maven, Gradle, jest-junit, gotestsum and ctest write.",
        example: "reports: {junit: report.xml}\nsteps: [pytest --junit-xml report.xml]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |job, entry, problems| add(job, ReportKind::Junit, entry, problems),
};

const TAP: Key<JobDraft> = Key {
    about: About {
        name: "tap",
        required: false,
        summary: "tests, as the Test Anything Protocol",
        details: "Versions 12 to 14, with subtests.",
        example: "reports: {tap: results.tap}\nsteps: [prove -v > results.tap]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |job, entry, problems| add(job, ReportKind::Tap, entry, problems),
};

const LCOV: Key<JobDraft> = Key {
    about: About {
        name: "lcov",
        required: false,
        summary: "coverage, as lcov's traces",
        details: "What geninfo, cargo-llvm-cov (`--lcov`), c8 and jest write.",
        example: "reports: {lcov: lcov.info}\nsteps: [cargo llvm-cov --lcov --output-path lcov.info]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |job, entry, problems| add(job, ReportKind::Lcov, entry, problems),
};

const COBERTURA: Key<JobDraft> = Key {
    about: About {
        name: "cobertura",
        required: false,
        summary: "coverage, as Cobertura's XML",
        details: "What coverage.py (`coverage xml`), gcovr and cargo-llvm-cov write.",
        example: "reports: {cobertura: coverage.xml}\nsteps: [coverage xml]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |job, entry, problems| add(job, ReportKind::Cobertura, entry, problems),
};

fn add(job: &mut JobDraft, kind: ReportKind, entry: &Entry, problems: &mut Problems<'_>) {
    let name = format!("`{}`", entry.key);
    let paths = value::paths(&entry.value, &name, false, problems);
    if !paths.is_empty() {
        job.reports.push((kind, paths));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::testing::{codes, job};

    #[test]
    fn formats() {
        let reports = job("reports: {junit: [a.xml, b.xml], lcov: c}\nsteps: [x]").reports;
        assert_eq!(reports[0].kind, ReportKind::Junit);
        assert_eq!(reports[0].paths, ["a.xml", "b.xml"]);
        assert_eq!(reports[1].kind, ReportKind::Lcov);
    }

    #[test]
    fn what_is_no_report() {
        let codes = |text: &str| codes(&format!("reports: {text}\nsteps: [x]"));
        assert_eq!(codes("a.xml"), ["E0132"]);
        assert_eq!(codes("{junti: a.xml}"), ["E0130"]);
        assert_eq!(codes("{junit: /a.xml}"), ["E0212"]);
    }
}
