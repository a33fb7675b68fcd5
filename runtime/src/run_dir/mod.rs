//! The run directory: what was trained, how, on what, and what came of it.
//!
//! ```text
//! run/
//!   run.json            what was asked: model, program, seed, batch, data with hashes
//!   program.bin         the compiled program, as evaluation and prediction use it
//!   spec/               the sources that it was made from, for readers
//!   metrics.jsonl       one line per evaluation: of each epoch, and within them if asked for
//!   best.json           which checkpoint is the best on the validation data, and by what
//!   checkpoints/step-…  see `checkpoint`
//!   trace.json          where time went, if `--profile` asked for it
//! ```
//!
//! The JSON files are [`document`]s: each carries a hash of its own text. `program.bin` is under
//! the hash in `run.json`, a checkpoint's tensors under those in its manifest.
//!
//! - `documents`: what the JSON files hold. - `making`: making and clearing the folder.
//! - `opened`: opening it to go on, on ranks. - `load`: looking up checkpoints.

mod documents;
mod load;
mod making;
mod opened;

pub use documents::{Best, DataRecord, FORMAT, FileRecord, MetricsLine, RunRecord, VocabularyRecord};
pub use opened::{OpenedRun, open_as_rank};

use crate::document::{self, JsonLayout};
use crate::error::{Error, Result};
use crate::fs::{metadata, sha256, sync_folder, write_atomically};
use crate::leaves;
use din_program::Program;
use din_program::schema::Vocabulary;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether two programs were made of the same texts, library, vocabularies and `--set` values
/// included, with the same hyper-parameters. Under which paths the texts lay does not matter.
pub fn same_spec(one: &Program, other: &Program) -> bool {
    same_sources(one, other) && changed_vocabulary(one, other).is_none()
}

/// The same without the vocabularies.
fn same_sources(one: &Program, other: &Program) -> bool {
    let texts = |program: &Program| program.sources.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
    texts(one) == texts(other) && one.hypers == other.hypers
}

/// Of two programs of the same sources, the first vocabulary that is not the same file: as it was
/// in the first, and as it is in the other.
pub fn changed_vocabulary<'p>(one: &'p Program, other: &'p Program) -> Option<(&'p Vocabulary, &'p Vocabulary)> {
    if !same_sources(one, other) {
        return None;
    }
    let mut pairs = one.schema.vocabularies.iter().zip(&other.schema.vocabularies);
    pairs.find(|(had, has)| had.text != has.text)
}

/// What to do about a `metrics.jsonl` that is not as it was written.
pub(crate) const METRICS_HELP: &str = "put the file back as din wrote it, or train into another --out";

#[derive(Clone, Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// Whether this process filled it, and whether the folder was there before: what it may clear
    /// away again.
    made: bool,
    found: bool,
    /// Held as long as this process may write; `None` in readers, and where the file system has no
    /// locks. Never read: the lock goes when the last clone is dropped.
    _lock: Option<Arc<File>>,
}

impl RunDirectory {
    /// Opens a run directory to go on with it, and locks it for writing.
    pub fn open_to_write(path: &Path) -> Result<Self> {
        let run = Self::open(path)?;
        Ok(Self { _lock: making::lock(path)?.map(Arc::new), ..run })
    }

    /// Opens a run directory to read from it; another process may be training into it.
    pub fn open(path: &Path) -> Result<Self> {
        let expected = |found: &str| {
            Error::input(format!("{}: expected a run directory, found {found}", path.display()))
                .help("make one with `train … --out DIR`")
        };
        match metadata(path)? {
            None => return Err(expected("nothing")),
            Some(found) if !found.is_dir() => return Err(expected("a file")),
            Some(_) => {}
        }
        if !metadata(&path.join("run.json"))?.is_some_and(|found| found.is_file()) {
            return Err(expected("a folder without run.json"));
        }
        Ok(Self { path: path.to_path_buf(), made: false, found: true, _lock: None })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn record(&self) -> Result<RunRecord> {
        let (path, help) = (self.path.join("run.json"), "put back the run.json that the run began with");
        let record: RunRecord = document::read(&path, Some(FORMAT), help)?;
        if !leaves::is_allowed(record.leaves) {
            let (path, found) = (path.display(), record.leaves);
            return Err(
                Error::input(format!("{path}: leaves: expected a power of two up to 1024, found {found}")).help(help)
            );
        }
        Ok(record)
    }

    /// The program that the run recorded.
    ///
    /// # Errors
    /// A program that is damaged, or another than the run began with.
    pub fn program(&self, record: &RunRecord) -> Result<Program> {
        let path = self.path.join("program.bin");
        let bytes = fs::read(&path).map_err(|e| Error::file("read", &path, &e))?;
        let program = Program::decode(&bytes).map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        let (expected, found) = (&record.program, sha256(&bytes));
        if found != *expected {
            let path = path.display();
            return Err(Error::input(format!("{path}: expected the program of SHA-256 {expected}, found {found}"))
                .help("put back the program.bin that the run began with"));
        }
        Ok(program)
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        write_atomically(&self.path.join(name), document::to_text(value, JsonLayout::File)?.as_bytes())
    }

    /// Lines of `metrics.jsonl` up to a step: evaluations within an epoch, then the one at its end,
    /// for each epoch from 1.
    ///
    /// # Errors
    /// A line that was altered, or one of an epoch or step that another line should be of.
    pub fn metrics(&self, up_to: u64) -> Result<Vec<MetricsLine>> {
        let path = self.path.join("metrics.jsonl");
        let mut lines: Vec<MetricsLine> = Vec::new();
        let (mut epoch, mut behind) = (1, 0);
        for (k, (text, line)) in document::read_lines::<MetricsLine>(&path, METRICS_HELP)?.into_iter().enumerate() {
            let wrong = |expected: String, found: String| {
                let (path, number) = (path.display(), k + 1);
                Err(Error::input(format!("{path}:{number}: expected the line of {expected}, found {found}"))
                    .help(METRICS_HELP))
            };
            if line.epoch != epoch {
                return wrong(format!("epoch {epoch}"), line.epoch.to_string());
            }
            if line.step <= behind {
                return wrong(format!("a step after {behind}"), line.step.to_string());
            }
            behind = line.step;
            epoch += u32::from(line.ends_epoch());
            if line.step <= up_to {
                lines.push(MetricsLine { text: Some(text), ..line });
            }
        }
        Ok(lines)
    }

    /// Replaces `metrics.jsonl`.
    pub fn write_metrics(&self, lines: &[MetricsLine]) -> Result<()> {
        let mut text = String::new();
        for line in lines {
            match &line.text {
                Some(line) => text.push_str(line),
                None => text.push_str(&document::to_text(line, JsonLayout::Line)?),
            }
            text.push('\n');
        }
        write_atomically(&self.path.join("metrics.jsonl"), text.as_bytes())
    }

    pub fn write_best(&self, best: &Best) -> Result<()> {
        self.write_json("best.json", best)
    }

    pub fn best(&self) -> Result<Option<Best>> {
        let path = self.path.join("best.json");
        match metadata(&path)? {
            Some(_) => document::read(&path, None, "`train … --resume` chooses the best checkpoint again").map(Some),
            None => Ok(None),
        }
    }

    /// Makes `best.json` what was computed from the lines of `metrics.jsonl`, after a stop that
    /// left it behind them, or damage. One that is so already stays as it is.
    pub fn restore_best(&self, computed: Option<&Best>) -> Result<()> {
        let path = self.path.join("best.json");
        let kept = match fs::read(&path) {
            Ok(kept) => Some(kept),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::file("read", &path, &e)),
        };
        match (computed, kept) {
            (Some(best), kept) => match kept == Some(document::to_text(best, JsonLayout::File)?.into_bytes()) {
                true => Ok(()),
                false => self.write_best(best),
            },
            (None, Some(_)) => {
                fs::remove_file(&path).map_err(|e| Error::file("remove", &path, &e))?;
                sync_folder(&self.path)
            }
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
