//! The proof that old code runs on the new schema, and new code on what a deployment meets.
//!
//! | | before | after expand | after contract |
//! | --- | --- | --- | --- |
//! | old code | must pass, or the proof says nothing | **must pass**: a deployment is here for a while, a rollback stays here | may fail: contract waits until no such code runs |
//! | new code | for information: whether it could be released before its migrations | **must pass** | **must pass** |
//!
//! Each cell gets a scratch database of its own: the old release's files, seed data, then the new
//! files up to its stage. Tests of one cell don't see what those of another wrote.

use std::path::Path;

use crate::database::Database;
use crate::error::Error;
use crate::folder::{Folder, Phase};
use crate::load::load;
use crate::plan::Rules;
use crate::release::Oldest;
use crate::run::{Options, Tell, data, up};
use crate::scratch::Scratches;

/// How far the new files are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The old release's schema.
    Before,
    /// With the new files that only add.
    AfterExpand,
    /// With all new files: data changed, then what old code needed removed.
    AfterContract,
}

impl Stage {
    /// In the order of a deployment.
    pub const ALL: [Self; 3] = [Self::Before, Self::AfterExpand, Self::AfterContract];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::AfterExpand => "after expand",
            Self::AfterContract => "after contract",
        }
    }

    /// For programs.
    pub fn id(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::AfterExpand => "after-expand",
            Self::AfterContract => "after-contract",
        }
    }
}

/// Whose tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The release that runs now.
    Old,
    /// The one to be released.
    New,
}

impl Code {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// What is asked of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// Without it nothing is proved.
    MustPass,
    /// Old code after contract.
    MayFail,
    /// New code before its migrations.
    Information,
}

/// What is asked of this code at this stage.
pub fn demand(code: Code, stage: Stage) -> Demand {
    match (code, stage) {
        (Code::Old, Stage::AfterContract) => Demand::MayFail,
        (Code::New, Stage::Before) => Demand::Information,
        _ => Demand::MustPass,
    }
}

/// A place in the matrix.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cell<T> {
    /// Whose tests.
    pub code: Code,
    /// On which schema.
    pub stage: Stage,
    /// What is asked of it.
    pub demand: Demand,
    /// What came of it. `None`: not run, see [`Cell::why_not`].
    pub outcome: Option<T>,
    /// Why it was not run.
    pub why_not: Option<&'static str>,
}

/// What came of all.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Proof<T> {
    /// The new files that only add, in order.
    pub expand: Vec<String>,
    /// The new files that change rows in batches.
    pub data: Vec<String>,
    /// The new files that remove.
    pub contract: Vec<String>,
    /// SHA-256 (hex) over the new files, as a plan has it that would run them all.
    pub hash: String,
    /// In the order in which they were run.
    pub cells: Vec<Cell<T>>,
}

impl<T> Proof<T> {
    /// The cell that was asked to pass and was not seen to: the first of them.
    pub fn fault(&self, passed: impl Fn(&T) -> bool) -> Option<&Cell<T>> {
        self.cells.iter().find(|cell| {
            cell.demand == Demand::MustPass
                && cell.why_not.is_none()
                && !cell.outcome.as_ref().is_some_and(&passed)
        })
    }
}

/// What is to be proved.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Where scratch databases are made.
    pub place: &'a Database,
    /// The old release's migrations.
    pub old: &'a Folder,
    /// The new ones.
    pub new: &'a Folder,
    /// SQL that fills the old schema with data.
    pub seed: Option<&'a Path>,
    /// Leave out the cells that nothing depends on.
    pub only_required: bool,
}

/// Builds the schema of each stage and runs `check` on it, for old and new code. After a failure
/// the others are run all the same: a matrix with holes explains less.
///
/// `scratches`: where the databases are kept; whoever calls removes what is left there.
///
/// # Errors
/// When a database can't be made, a migration fails, or `check` itself can't be done.
pub async fn prove<T>(
    claim: Claim<'_>,
    options: &Options,
    scratches: &mut Scratches,
    tell: Tell<'_>,
    mut check: impl AsyncFnMut(Code, Stage, &Database) -> Result<T, Error>,
) -> Result<Proof<T>, Error> {
    let new_files = |phase: Phase| {
        let files = claim.new.files.iter();
        files
            .filter(move |f| f.phase == phase && claim.old.find(f.version).is_none())
            .map(|f| f.file.clone())
            .collect::<Vec<_>>()
    };
    let mut proof = Proof {
        expand: new_files(Phase::Expand),
        data: new_files(Phase::Data),
        contract: new_files(Phase::Contract),
        hash: claim.hash(),
        cells: Vec::new(),
    };
    let base = scratches.create(claim.place).await?;
    for stage in Stage::ALL {
        claim.advance(&base, stage, options, tell).await?;
        for code in [Code::Old, Code::New] {
            let demand = demand(code, stage);
            let why_not = if stage == Stage::AfterExpand && proof.expand.is_empty() {
                Some("no new file expands")
            } else if stage == Stage::AfterContract
                && proof.contract.is_empty()
                && proof.data.is_empty()
            {
                Some("no new file contracts or changes data")
            } else if claim.only_required && demand != Demand::MustPass {
                Some("not required")
            } else {
                None
            };
            let outcome = match why_not {
                Some(_) => None,
                None => {
                    let database = match scratches.copy(&base).await? {
                        Some(copy) => copy,
                        // This server can't copy: the same again, from the start.
                        None => {
                            let again = scratches.create(claim.place).await?;
                            let until = Stage::ALL.into_iter().filter(|s| *s <= stage);
                            for stage in until {
                                claim.advance(&again, stage, options, &mut |_| {}).await?;
                            }
                            again
                        }
                    };
                    let outcome = check(code, stage, &database).await?;
                    scratches.remove(&database).await?;
                    Some(outcome)
                }
            };
            proof.cells.push(Cell {
                code,
                stage,
                demand,
                outcome,
                why_not,
            });
        }
    }
    scratches.remove(&base).await?;
    Ok(proof)
}

impl Claim<'_> {
    /// From the stage before to this one.
    async fn advance(
        &self,
        database: &Database,
        stage: Stage,
        options: &Options,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let mut options = options.clone();
        let folder = match stage {
            Stage::Before => {
                options.rules = Rules::default();
                self.old
            }
            Stage::AfterExpand => self.new,
            Stage::AfterContract => {
                options.rules.oldest = Some(Oldest::This);
                self.new
            }
        };
        if stage == Stage::AfterContract {
            let how = crate::run::How::default();
            data(database, folder, &options, &how, &mut *tell, None).await?;
        }
        up(database, folder, &options, tell).await?;
        if let (Stage::Before, Some(seed)) = (stage, self.seed) {
            load(database, seed).await?;
        }
        Ok(())
    }

    fn hash(&self) -> String {
        let files = self.new.files.iter();
        let run = files.map(|f| f.version);
        crate::plan::Plan {
            run: run.filter(|v| self.old.find(*v).is_none()).collect(),
            ..crate::plan::Plan::default()
        }
        .hash(self.new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(cells: &[(Code, Stage, Option<bool>)]) -> Proof<bool> {
        let cell = |(code, stage, outcome): &(Code, Stage, Option<bool>)| Cell {
            code: *code,
            stage: *stage,
            demand: demand(*code, *stage),
            outcome: *outcome,
            why_not: outcome.is_none().then_some("not required"),
        };
        Proof {
            expand: Vec::new(),
            data: Vec::new(),
            contract: Vec::new(),
            hash: String::new(),
            cells: cells.iter().map(cell).collect(),
        }
    }

    #[test]
    fn one_cell_may_fail_and_one_says_nothing() {
        for code in [Code::Old, Code::New] {
            for stage in Stage::ALL {
                let failing = proof(&[(code, stage, Some(false))]);
                let free = matches!(
                    (code, stage),
                    (Code::Old, Stage::AfterContract) | (Code::New, Stage::Before)
                );
                assert_eq!(failing.fault(|p| *p).is_none(), free, "{code:?} {stage:?}");
                assert!(proof(&[(code, stage, Some(true))]).fault(|p| *p).is_none());
                assert!(proof(&[(code, stage, None)]).fault(|p| *p).is_none());
            }
        }
    }
}
