//! Looking up the checkpoints of a run, into which another process may be training.

use super::{Best, RunDirectory, RunRecord};
use crate::checkpoint::{self, LoadedCheckpoint, Manifest};
use crate::error::{Error, Result};
use crate::fs::metadata;
use crate::session::LoadPurpose;
use crate::table::ShardPlan;
use din_program::Program;
use std::path::Path;
use std::sync::Arc;

/// What a reader saw of a run's checkpoints; training may have changed it since.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Looked at only where the best one is wanted.
    best: Option<Best>,
    /// Ascending by step.
    names: Vec<String>,
}

impl RunDirectory {
    /// Reads checkpoint `wanted`, `best`, `last` or one of the names in `checkpoints/`, for
    /// `program`, the rows that `plan` gives to this rank; gives its name too. Another process may
    /// be training into the run: where a checkpoint is removed before it is read, the newer one
    /// that has taken its place is looked up and read.
    ///
    /// # Errors
    /// No such checkpoint; one that is damaged, of another structure, or that belongs to another
    /// run than `record` is of.
    pub fn load(
        &self,
        wanted: &str,
        program: &Arc<Program>,
        record: &RunRecord,
        plan: &ShardPlan,
        purpose: LoadPurpose,
    ) -> Result<(String, LoadedCheckpoint)> {
        self.load_with(wanted, program, record, plan, purpose, |_| {})
    }

    /// `before_reading` is called with the folder of each checkpoint that was looked up.
    pub(super) fn load_with(
        &self,
        wanted: &str,
        program: &Arc<Program>,
        record: &RunRecord,
        plan: &ShardPlan,
        purpose: LoadPurpose,
        mut before_reading: impl FnMut(&Path),
    ) -> Result<(String, LoadedCheckpoint)> {
        /// A run would have to write so many checkpoints while one is looked up.
        const LOOKS: usize = 100;
        let mut earlier = None;
        for _ in 0..LOOKS {
            let best = if wanted == "best" { self.best()? } else { None };
            let seen = Seen { best, names: checkpoint::list(&self.checkpoints())? };
            let name = self.choose(wanted, &seen)?;
            let folder = self.checkpoints().join(&name);
            if !seen.names.contains(&name) {
                // `best.json` may be older than the list; it is wrong only if it stays so.
                if wanted == "best" && earlier.as_ref() != Some(&seen) {
                    earlier = Some(seen);
                    continue;
                }
                return Err(Error::input(format!(
                    "{}: expected checkpoint `{name}`, found only {}",
                    self.path.display(),
                    seen.names.join(", ")
                ))
                .help("name one of them by --checkpoint"));
            }
            before_reading(&folder);
            match checkpoint::load(&folder, program, plan, purpose) {
                Ok(loaded) => {
                    self.check_own(&loaded.manifest, record, &folder)?;
                    return Ok((name, loaded));
                }
                Err(e) if name == wanted || metadata(&folder)?.is_some() => return Err(e),
                Err(_) => {}
            }
        }
        Err(Error::machine(format!(
            "{}: {LOOKS} checkpoints were removed by the training before they could be read",
            self.path.display()
        ))
        .help("train with a larger --checkpoint-every, or wait until the training has ended"))
    }

    fn choose(&self, wanted: &str, seen: &Seen) -> Result<String> {
        let last = seen.names.last().ok_or_else(|| {
            Error::input(format!(
                "{}: expected a checkpoint, found none: the run has not finished an epoch",
                self.path.display()
            ))
            .help("go on with it by `train … --resume`")
        })?;
        Ok(match (wanted, &seen.best) {
            ("best", Some(best)) => best.checkpoint.clone(),
            ("best", None) | ("last", _) => last.clone(),
            (name, _) => name.to_string(),
        })
    }

    /// Refuses a checkpoint that this run did not write, by what the run recorded when it began.
    fn check_own(&self, manifest: &Manifest, record: &RunRecord, folder: &Path) -> Result<()> {
        let (seed, batch, leaves) =
            (manifest.seed.to_string(), manifest.batch.to_string(), manifest.leaves.to_string());
        let pairs = [
            ("model", &record.model, &manifest.model),
            ("program", &record.program, &manifest.program),
            ("seed", &record.seed.to_string(), &seed),
            ("batch", &record.batch.to_string(), &batch),
            ("leaves", &record.leaves.to_string(), &leaves),
        ];
        match pairs.into_iter().find(|(_, recorded, found)| recorded != found) {
            Some((what, recorded, found)) => Err(Error::input(format!(
                "{}: expected a checkpoint of the run, whose run.json says {what} {recorded}, found {what} {found}",
                folder.display()
            ))
            .help("move the folder out of the run, or put back the run.json that belongs to it")),
            None => Ok(()),
        }
    }
}
