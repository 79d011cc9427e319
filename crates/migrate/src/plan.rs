//! What is to be done, decided from the history and the folder and nothing else.

mod app;

use sha2::{Digest as _, Sha256};

use crate::folder::{File, Folder, Phase};
use crate::release::{Floor, Oldest};
use crate::version::Version;

pub use app::{Answer, App};

/// How a row came into the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The runner ran it.
    Applied,
    /// It was there before: `windlass migrate baseline`.
    Baseline,
}

/// A row of the history table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// See [`File::version`].
    pub version: Version,
    /// See [`File::name`].
    pub name: String,
    /// `expand` or `contract`.
    pub phase: String,
    /// See [`File::checksum`], when it was applied.
    pub checksum: String,
    /// What an application must be to run on this schema: any of these will do.
    pub floors: Vec<Floor>,
    /// How it came here.
    pub how: How,
    /// When, in milliseconds since 1970.
    pub applied_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
    /// Who: `user@host:pid`.
    pub applied_by: String,
    /// The lock's token then: it grows with each holder, whatever the clock says.
    #[serde(skip)]
    pub token: i64,
}

/// What the database says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// By version, rising.
    pub rows: Vec<Row>,
    /// While an empty database is being filled: up to which version, as our tables call it. Until then nothing
    /// can run that a contract migration would break.
    pub filling: Option<i64>,
}

impl History {
    /// The row of this version; of a repeatable file: of this very text, which may have been applied once, and
    /// another one since.
    pub fn find(&self, version: Version) -> Option<&Row> {
        let at = self.rows.binary_search_by_key(&version, |r| r.version);
        at.ok().and_then(|at| self.rows.get(at))
    }

    /// Whether it is applied; of a repeatable file: and its text is the one that was applied last.
    pub fn stands(&self, version: Version) -> bool {
        match self.find(version) {
            Some(row) => self.is_last(row),
            None => false,
        }
    }

    /// Whether no other text of the same repeatable file was applied after this row's.
    pub fn is_last(&self, row: &Row) -> bool {
        if row.version.repeats().is_none() {
            return true;
        }
        let of_one = |r: &&Row| r.version.is_of(row.version);
        let later = |r: &Row| (r.token, r.applied_ms) > (row.token, row.applied_ms);
        !self.rows.iter().filter(of_one).any(later)
    }

    /// The newest version, [`Version::NONE`] without any. Repeatable files have none.
    pub fn newest(&self) -> Version {
        let mut versions = self.rows.iter().rev().map(|r| r.version);
        let newest = versions.find(|version| version.repeats().is_none());
        newest.unwrap_or(Version::NONE)
    }

    /// Whether a contract migration was applied after this version was: it may have removed what the
    /// version's checks name.
    pub fn contracted_since(&self, version: Version) -> bool {
        self.find(version).is_some_and(|row| {
            let at = (row.applied_ms, row.version);
            let later = |r: &Row| r.phase == "contract" && (r.applied_ms, r.version) > at;
            self.rows.iter().any(later)
        })
    }
}

/// What is wrong between history and folder.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[serde(tag = "problem", rename_all = "kebab-case")]
pub enum Mismatch {
    /// The file is not what was applied.
    #[error(
        "{file} was changed after it was applied (checksum {applied:.12} in the database, {ours:.12} here)"
    )]
    Changed {
        /// Its number.
        version: Version,
        /// The file here.
        file: String,
        /// The checksum in the history.
        applied: String,
        /// The checksum of the file.
        ours: String,
    },
    /// A file below one that was applied.
    #[error("{file} is not applied, although {above} is: it came later than its number says")]
    OutOfOrder {
        /// Its number.
        version: Version,
        /// The file.
        file: String,
        /// The newest applied.
        above: Version,
    },
    /// Applied, not newer than the folder, and not in it.
    #[error("migration {version} ({name}) is applied, and this folder does not have it")]
    Missing {
        /// Its number.
        version: Version,
        /// Its name in the history.
        name: String,
    },
    /// The database is older than what the folder begins with.
    #[error(
        "the database is at {applied}, and this folder begins with {file}, which stands for all files up to its version"
    )]
    Behind {
        /// The newest applied.
        applied: Version,
        /// The baseline.
        file: String,
    },
    /// A repeatable file whose text was applied before another one was.
    #[error(
        "{file} is as it was applied once, and another text of it was applied since: that one stays, because a newer \
         release may be what runs on it"
    )]
    Superseded {
        /// Its version.
        version: Version,
        /// The file here.
        file: String,
    },
}

/// A contract migration that waits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Held {
    /// Its number.
    pub version: Version,
    /// Its file.
    pub file: String,
    /// What the oldest running application must be: any of these.
    pub floors: Vec<Floor>,
    /// Data migrations that have to be finished first.
    pub data: Vec<Version>,
    /// Why it waits, in words.
    pub why: String,
}

/// What to allow.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Apply files below applied ones.
    pub allow_out_of_order: bool,
    /// The oldest release that runs: lets contract migrations run that it satisfies.
    pub oldest: Option<Oldest>,
    /// Nothing above this version; repeatable files wait for a run up to the newest.
    pub to: Option<Version>,
    /// Run a repeatable file also if it has a text that was applied before the one that is applied now: who says
    /// so has gone back to it. Not what an older release's application does when it starts once more.
    pub go_back: bool,
}

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// An empty database begins with the baseline of this version ([`Folder::begin`]), which counts for all files up
    /// to it. It is the first of [`Plan::run`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begin: Option<Version>,
    /// To be applied, in this order.
    pub run: Vec<Version>,
    /// Contract migrations that wait.
    pub held: Vec<Held>,
    /// Data migrations that are not finished: `windlass migrate data`.
    pub data: Vec<Version>,
    /// Applied versions above the folder's newest: a newer release was here.
    pub ahead: Vec<Version>,
    /// What stops it.
    pub stops: Vec<Mismatch>,
    /// What does not stop it, and should be known.
    pub warnings: Vec<Mismatch>,
}

impl Plan {
    /// SHA-256 (hex) over what would run: numbers and checksums. Two plans with one hash run the
    /// same statements.
    pub fn hash(&self, folder: &Folder) -> String {
        let mut hash = Sha256::new();
        let files = self.run.iter();
        for file in files.filter_map(|v| folder.runs(*v, self.begin)) {
            hash.update(format!("{} {}\n", file.version, file.checksum));
        }
        hex::encode(hash.finalize())
    }
}

/// Compares history and folder. `fresh`: the database has no table at all, so no code depends on
/// it, and contract migrations run with the others.
pub fn plan(history: &History, folder: &Folder, rules: &Rules, fresh: bool) -> Plan {
    let mut plan = Plan::default();
    let newest_applied = history.newest();
    let newest = folder.newest();
    let filling = if fresh && history.rows.is_empty() {
        newest
    } else {
        history
            .filling
            .map_or(Version::NONE, |key| folder.by_key(key))
    };
    for row in &history.rows {
        match folder.find(row.version) {
            Some(file) if file.checksum != row.checksum => plan.stops.push(Mismatch::Changed {
                version: row.version,
                file: file.file.clone(),
                applied: row.checksum.clone(),
                ours: file.checksum.clone(),
            }),
            Some(_) => {}
            // Another text than the file's: to be applied again, or applied before.
            None if folder.named(row.version).is_some() || !history.is_last(row) => {}
            // Or one that the baseline stands for, or the baseline itself.
            None if folder.baselines.iter().any(|b| row.version <= b.version) => {}
            None if row.version > newest && row.version.repeats().is_none() => {
                plan.ahead.push(row.version);
            }
            None => plan.warnings.push(Mismatch::Missing {
                version: row.version,
                name: row.name.clone(),
            }),
        }
    }
    if history.rows.is_empty() && (fresh || history.filling.is_some()) {
        plan.begin = folder.begin(rules.to).map(|file| file.version);
        plan.run.extend(plan.begin);
    } else if let Some(file) = folder.squashed().filter(|f| f.version > newest_applied)
        && newest_applied > Version::NONE
    {
        plan.stops.push(Mismatch::Behind {
            applied: newest_applied,
            file: file.file.clone(),
        });
    }
    let begin = plan.begin.unwrap_or(Version::NONE);
    for file in folder.files.iter().filter(|file| file.version > begin) {
        let repeats = file.version.repeats().is_some();
        let beyond = |to| file.version > to && (!repeats || to < newest);
        if history.stands(file.version) || rules.to.is_some_and(beyond) {
            continue;
        }
        if repeats
            && history.find(file.version).is_some()
            && !(rules.go_back && plan.ahead.is_empty())
        {
            plan.warnings.push(Mismatch::Superseded {
                version: file.version,
                file: file.file.clone(),
            });
            continue;
        }
        // An empty database has no rows yet, or a few: they are changed on the way, in order.
        let by_command = file.batch.as_ref().is_some_and(|b| b.command.is_some());
        if file.phase == Phase::Data && (file.version > filling || by_command) {
            plan.data.push(file.version);
            continue;
        }
        let unfinished = |version: &&Version| {
            history.find(**version).is_none() && !plan.run.contains(version) && **version > begin
        };
        let data: Vec<Version> = file
            .requires_data
            .iter()
            .filter(unfinished)
            .copied()
            .collect();
        if file.phase == Phase::Contract && (file.version > filling || !data.is_empty()) {
            let why = if file.version > filling {
                held(file, rules)
            } else {
                None
            };
            if why.is_some() || !data.is_empty() {
                plan.held.push(Held {
                    version: file.version,
                    file: file.file.clone(),
                    floors: file.floors(),
                    why: [why, unfinished_words(&data)]
                        .into_iter()
                        .flatten()
                        .collect::<Vec<_>>()
                        .join("; "),
                    data,
                });
                continue;
            }
        } else if file.version < newest_applied && file.phase == Phase::Expand {
            let late = Mismatch::OutOfOrder {
                version: file.version,
                file: file.file.clone(),
                above: newest_applied,
            };
            if rules.allow_out_of_order {
                plan.warnings.push(late);
            } else {
                plan.stops.push(late);
            }
        }
        plan.run.push(file.version);
    }
    plan
}

fn unfinished_words(data: &[Version]) -> Option<String> {
    if data.is_empty() {
        return None;
    }
    let data: Vec<String> = data.iter().map(ToString::to_string).collect();
    Some(format!(
        "data migration {} has to be finished first: windlass migrate data",
        data.join(", ")
    ))
}

/// Why a contract migration waits for old code.
fn held(file: &File, rules: &Rules) -> Option<String> {
    let floors = file.floors();
    let words: Vec<String> = floors.iter().map(ToString::to_string).collect();
    let words = words.join(", or ");
    let why = match &rules.oldest {
        None => format!("code must be {words}; nobody said which is the oldest that still runs"),
        Some(oldest) => {
            let answers: Vec<_> = floors.iter().map(|floor| oldest.reaches(floor)).collect();
            if answers.contains(&Some(true)) {
                return None;
            }
            if answers.iter().all(Option::is_none) {
                format!("code must be {words}, and what you gave says nothing about that")
            } else {
                format!("code must be {words}, and older code still runs")
            }
        }
    };
    Some(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Release;

    fn folder(files: &[(&str, &str)]) -> Folder {
        let texts = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Folder::from_texts(texts).unwrap()
    }

    fn applied(folder: &Folder, versions: &[i64]) -> History {
        let rows = versions.iter().map(|v| {
            let file = folder.find((*v).into());
            Row {
                version: (*v).into(),
                name: "x".to_owned(),
                phase: "expand".to_owned(),
                checksum: file.map_or_else(String::new, |f| f.checksum.clone()),
                floors: file.map(File::floors).unwrap_or_default(),
                how: How::Applied,
                applied_ms: 0,
                duration_ms: 0,
                applied_by: String::new(),
                token: 0,
            }
        });
        History {
            rows: rows.collect(),
            filling: None,
        }
    }

    const CONTRACT: &str =
        "-- windlass: phase contract\n-- windlass: requires-release 2.0\ndrop table a;";

    fn three() -> Folder {
        folder(&[
            ("1_a.sql", "select 1"),
            ("2_b.sql", CONTRACT),
            ("3_c.sql", "select 3"),
        ])
    }

    #[test]
    fn contract_waits_for_old_code_and_expand_does_not_wait_for_contract() {
        let folder = three();
        let history = applied(&folder, &[1]);
        let found = plan(&history, &folder, &Rules::default(), false);
        assert_eq!(found.run, [3]);
        assert_eq!(found.held[0].version, 2);
        assert!(
            found.held[0].why.contains("release 2.0 or newer"),
            "{found:?}"
        );
        let with = |oldest: &str| Rules {
            oldest: Some(oldest.parse().unwrap()),
            ..Rules::default()
        };
        assert_eq!(plan(&history, &folder, &with("2.0.0"), false).run, [2, 3]);
        assert_eq!(plan(&history, &folder, &with("1.9"), false).run, [3]);
        assert_eq!(
            plan(&history, &folder, &with("migration:9"), false).run,
            [3]
        );
        assert_eq!(plan(&history, &folder, &with("this"), false).run, [2, 3]);
        // The contract below an applied one is no disorder.
        let later = applied(&folder, &[1, 3]);
        let found = plan(&later, &folder, &with("2"), false);
        assert_eq!((found.run, found.stops.len()), (vec![2.into()], 0));
    }

    #[test]
    fn an_empty_database_takes_everything_also_after_a_crash_half_way() {
        let folder = three();
        let found = plan(&History::default(), &folder, &Rules::default(), true);
        assert_eq!(found.run, [1, 2, 3]);
        let found = plan(&History::default(), &folder, &Rules::default(), false);
        assert_eq!(found.run, [1, 3]);
        let mut half = applied(&folder, &[1]);
        half.filling = Some(3);
        assert_eq!(plan(&half, &folder, &Rules::default(), false).run, [2, 3]);
    }

    #[test]
    fn data_is_not_ups_business_and_a_contract_waits_for_it() {
        let data = "-- windlass: phase data\n-- windlass: batch a.id\nupdate a set x = 1 where id between :lo and :hi;";
        let contract = format!("{CONTRACT}\n-- windlass: requires-data 2");
        let folder = folder(&[
            ("1_a.sql", "select 1"),
            ("2_b.sql", data),
            ("3_c.sql", &contract),
            ("4_d.sql", "select 4"),
        ]);
        let rules = Rules {
            oldest: Some("2.0".parse().unwrap()),
            ..Rules::default()
        };
        let found = plan(&applied(&folder, &[1]), &folder, &rules, false);
        assert_eq!(
            (found.run.as_slice(), found.data.as_slice()),
            (&[4.into()][..], &[2.into()][..])
        );
        assert_eq!(found.held[0].data, [2]);
        assert!(
            found.held[0].why.starts_with("data migration 2"),
            "{found:?}"
        );
        let both = plan(
            &applied(&folder, &[1, 4]),
            &folder,
            &Rules::default(),
            false,
        );
        assert!(both.held[0].why.contains("; data migration 2"), "{both:?}");
        // Finished late is no disorder, and then the contract runs.
        let found = plan(&applied(&folder, &[1, 4]), &folder, &rules, false);
        assert!(found.stops.is_empty());
        let found = plan(&applied(&folder, &[1, 2, 4]), &folder, &rules, false);
        assert_eq!(
            (found.run.as_slice(), found.data.len()),
            (&[3.into()][..], 0)
        );
        // A fresh database takes all, in order.
        let found = plan(&History::default(), &folder, &Rules::default(), true);
        assert_eq!(found.run, [1, 2, 3, 4]);
        // An application does not wait for data.
        let app = App::of(&folder, None);
        assert_eq!(app.needs, [1, 4]);
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let folder = three();
        let mut history = applied(&folder, &[3, 4]);
        let found = plan(&history, &folder, &Rules::default(), false);
        assert!(matches!(
            found.stops[0],
            Mismatch::OutOfOrder { version, above, .. } if version == 1 && above == 4
        ));
        assert_eq!(found.ahead, [4]);
        let rules = Rules {
            allow_out_of_order: true,
            ..Rules::default()
        };
        let found = plan(&history, &folder, &rules, false);
        assert_eq!((found.run, found.stops.len()), (vec![1.into()], 0));
        history.rows[0].checksum = "x".to_owned();
        let found = plan(&history, &folder, &rules, false);
        assert!(matches!(
            found.stops[0],
            Mismatch::Changed { version, .. } if version == 3
        ));
        let gap = plan(
            &applied(&folder, &[1, 2, 3]),
            &super::tests::folder(&[("3_c.sql", "select 3")]),
            &rules,
            false,
        );
        assert_eq!(gap.warnings.len(), 2);
        assert!(gap.stops.is_empty());
    }

    #[test]
    fn an_application_is_compatible_pending_or_too_old() {
        let folder = three();
        let app = |release: Option<&str>| App::of(&folder, release.and_then(Release::parse));
        assert_eq!(
            app(None).judge(&applied(&folder, &[1])),
            Answer::Pending {
                versions: vec![3.into()]
            }
        );
        assert_eq!(
            app(None).judge(&applied(&folder, &[1, 3, 4])),
            Answer::Compatible { ahead: 1 }
        );
        let old = App {
            needs: vec![1.into()],
            newest: 1.into(),
            release: None,
        };
        let contracted = applied(&folder, &[1, 2, 3]);
        assert!(matches!(
            old.judge(&contracted),
            Answer::TooOld { version, .. } if version == 2
        ));
        let says = |release: &str| App {
            release: Release::parse(release),
            ..old.clone()
        };
        assert!(matches!(
            says("1.9").judge(&contracted),
            Answer::TooOld { .. }
        ));
        assert_eq!(
            says("2.0").judge(&contracted),
            Answer::Compatible { ahead: 2 }
        );
    }

    #[test]
    fn a_repeatable_file_runs_again_with_another_text_and_an_older_release_does_not_undo_that() {
        let with = |text| folder(&[("1_a.sql", "select 1"), ("R__v.sql", text)]);
        let (old, new) = (with("select 1"), with("select 2"));
        let view = |folder: &Folder| folder.files[1].version;
        let row = |folder: &Folder, token| {
            let mut row = applied(folder, &[1]).rows.remove(0);
            (row.version, row.checksum) = (view(folder), folder.files[1].checksum.clone());
            row.token = token;
            row
        };
        let history = |rows: Vec<Row>| {
            let mut history = applied(&old, &[1]);
            history.rows.extend(rows);
            history.rows.sort_by_key(|row| row.version);
            history
        };
        let back = Rules {
            go_back: true,
            ..Rules::default()
        };
        let of = |rows: Vec<Row>, folder: &Folder, rules: &Rules| {
            plan(&history(rows), folder, rules, false)
        };
        let first = of(vec![], &old, &back);
        assert_eq!(first.run, [view(&old)]);
        assert_eq!(of(vec![row(&old, 1)], &old, &back), Plan::default());
        let again = of(vec![row(&old, 1)], &new, &Rules::default());
        assert_eq!((again.run, again.warnings.len()), (vec![view(&new)], 0));
        // The old release starts once more; then a person goes back to it.
        let both = || vec![row(&old, 1), row(&new, 2)];
        let found = of(both(), &old, &Rules::default());
        assert!(found.run.is_empty());
        assert!(
            matches!(found.warnings[..], [Mismatch::Superseded { .. }]),
            "{found:?}"
        );
        assert_eq!(of(both(), &old, &back).run, [view(&old)]);
        assert_eq!(of(both(), &new, &back), Plan::default());
        // Not below migrations of a newer release.
        let mut ahead = history(both());
        ahead.rows.extend(applied(&old, &[2]).rows);
        ahead.rows.sort_by_key(|row| row.version);
        let found = plan(&ahead, &old, &back, false);
        assert_eq!((found.run, found.ahead), (vec![], vec![2.into()]));
        // Who needs the old text may start: it was there, and what came since leaves room for it.
        let compatible = Answer::Compatible { ahead: 0 };
        assert_eq!(App::of(&old, None).judge(&history(both())), compatible);
        let pending = App::of(&new, None).judge(&history(vec![row(&old, 1)]));
        assert_eq!(
            pending,
            Answer::Pending {
                versions: vec![view(&new)]
            }
        );
        // Nothing above a version: the files that repeat come after the newest.
        let to = |to: i64| Rules {
            to: Some(to.into()),
            ..Rules::default()
        };
        assert_eq!(of(vec![], &old, &to(1)).run, [view(&old)]);
        let two = folder(&[
            ("1_a.sql", "select 1"),
            ("2_b.sql", "select 2"),
            ("R__v.sql", "x"),
        ]);
        assert!(
            plan(&applied(&two, &[1]), &two, &to(1), false)
                .run
                .is_empty()
        );
        // It is gone from the folder.
        let gone = folder(&[("1_a.sql", "select 1")]);
        let found = of(both(), &gone, &back);
        assert!(
            matches!(found.warnings[..], [Mismatch::Missing { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn versions_of_several_parts_are_in_their_order() {
        let folder = folder(&[
            ("V1__a.sql", "select 1"),
            ("V1.2__b.sql", "select 2"),
            ("V1.10__c.sql", "select 3"),
            ("V2__d.sql", "select 4"),
        ]);
        let versions = |plan: &Plan| plan.run.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = plan(&History::default(), &folder, &Rules::default(), true);
        assert_eq!(versions(&found), ["1", "1.2", "1.10", "2"]);
        let found = plan(
            &applied(&folder, &[1, 2]),
            &folder,
            &Rules::default(),
            false,
        );
        assert_eq!(found.stops.len(), 2);
        let rules = Rules {
            to: Some("1.5".parse().unwrap()),
            ..Rules::default()
        };
        let found = plan(&applied(&folder, &[1]), &folder, &rules, false);
        assert_eq!(versions(&found), ["1.2"]);
    }

    #[test]
    fn an_empty_database_begins_with_the_newest_baseline_and_no_other_sees_it() {
        let all = [
            ("V1__a.sql", "select 1"),
            ("V2__b.sql", "select 2"),
            ("V3__c.sql", "select 3"),
            ("B1__old.sql", "select 0"),
            ("B2__all.sql", "select 12"),
            ("R__v.sql", "select 0"),
        ];
        let whole = folder(&all);
        let versions = |plan: &Plan| plan.run.iter().map(ToString::to_string).collect::<Vec<_>>();
        let empty = History::default();
        let found = plan(&empty, &whole, &Rules::default(), true);
        assert_eq!(
            (found.begin, versions(&found)),
            (
                Some(2.into()),
                vec!["2".to_owned(), "3".to_owned(), "R__v".to_owned()]
            )
        );
        assert_eq!(
            whole.runs(2.into(), found.begin).unwrap().file,
            "B2__all.sql"
        );
        assert_eq!(whole.runs(3.into(), found.begin).unwrap().file, "V3__c.sql");
        let to_1 = Rules {
            to: Some(1.into()),
            ..Rules::default()
        };
        assert_eq!(plan(&empty, &whole, &to_1, true).begin, Some(1.into()));
        // A database in use, of somebody else, or with all of the files.
        let found = plan(&empty, &whole, &Rules::default(), false);
        assert_eq!((found.begin, found.run.len()), (None, 4));
        let found = plan(&applied(&whole, &[1]), &whole, &Rules::default(), false);
        assert_eq!(
            (found.begin, found.stops.len(), found.run.len()),
            (None, 0, 3)
        );
        // The files that it stands for are gone.
        let rest = folder(&all[2..]);
        assert_eq!(rest.squashed().unwrap().file, "B2__all.sql");
        let found = plan(&applied(&whole, &[1, 2]), &rest, &Rules::default(), false);
        assert_eq!((found.warnings.len(), found.stops.len()), (0, 0));
        assert_eq!(versions(&found), ["3", "R__v"]);
        let found = plan(&applied(&whole, &[1]), &rest, &Rules::default(), false);
        assert!(
            matches!(found.stops[..], [Mismatch::Behind { .. }]),
            "{found:?}"
        );
        assert!(App::of(&rest, None).needs.contains(&2.into()));
        assert_eq!(App::of(&whole, None).needs.len(), 4);
    }
}
