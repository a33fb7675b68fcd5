//! The run directory: what was trained, how, on what, and what came of it.
//!
//! ```text
//! run/
//!   run.json            what was asked: model, program, seed, batch, data with hashes
//!   program.bin         the compiled program, as evaluation and prediction use it
//!   spec/               the sources that it was made from, for readers
//!   metrics.jsonl       one line per epoch
//!   best.json           which checkpoint is the best on the validation data, and by what
//!   checkpoints/step-…  see `checkpoint`
//!   trace.json          where time went, if `--profile` asked for it
//! ```
//!
//! The JSON files are [`document`]s: each carries a hash of its own text. `program.bin` is under
//! the hash in `run.json`, a checkpoint's tensors under those in its manifest.

use crate::checkpoint::{self, LoadedCheckpoint, Manifest};
use crate::comm::{Channel, Communicator, on_first_rank};
use crate::document::{self, JsonLayout};
use crate::error::{Error, Result};
use crate::exec::Backend;
use crate::fs::{metadata, parent, remove_folder, sha256, sync_folder, write_atomically};
use crate::leaves;
use crate::table::ShardPlan;
use din_program::Program;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A data set as it was at the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    pub files: Vec<FileRecord>,
    pub rows: u64,
    /// [`crate::data::Dataset::fingerprint`].
    pub fingerprint: String,
}

/// A file of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Absolute, links resolved.
    pub path: PathBuf,
    /// Of the file's bytes: see [`xxh3_file`](crate::fs::xxh3_file).
    pub xxh3: String,
}

impl DataRecord {
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }
}

/// `run.json`. What decides the bits of the result; epochs may be added later and threads do not
/// matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub format: u32,
    pub din: String,
    pub model: String,
    /// SHA-256 of the encoded program.
    pub program: String,
    /// What decides the bits beside these.
    pub backend: Backend,
    /// Where steps ran: `cpu`, `cuda:0`.
    pub device: String,
    pub seed: u64,
    pub batch: u32,
    /// Leaves of a batch at most: see [`crate::leaves`].
    pub leaves: u32,
    /// Ranks that began the run. Any number may go on with it.
    pub ranks: u32,
    /// Separator of lists in CSV fields.
    pub list_separator: u8,
    pub train: DataRecord,
    pub valid: Option<DataRecord>,
}

/// Raised when the directory's files or their meaning change.
pub const FORMAT: u32 = 4;

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLine {
    pub epoch: u32,
    pub step: u64,
    /// Mean over the epoch's samples, each as the weights were when its batch came.
    pub train_loss: f64,
    /// On the validation data, in the order of the spec's report; null where undefined (one class
    /// only).
    pub valid: Option<serde_json::Map<String, serde_json::Value>>,
    /// The line as it was read: written back as it stands, since decimal numbers may not survive a
    /// round trip.
    #[serde(skip)]
    pub text: Option<String>,
}

/// `best.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub checkpoint: String,
    pub epoch: u32,
    /// What it was chosen by; absent where there were no validation data, and the last one counts.
    pub metric: Option<String>,
    pub value: Option<f64>,
}

/// A run that was opened to go on with it, and what it recorded when it began.
#[derive(Clone, Debug)]
pub struct OpenedRun {
    pub directory: RunDirectory,
    pub record: RunRecord,
}

impl OpenedRun {
    /// Opens a run directory; the first rank locks it for writing, the others read.
    ///
    /// # Errors
    /// It is no run, was altered, or another process is training into it.
    pub fn to_resume(path: &Path, ranks: &dyn Communicator) -> Result<Self> {
        let directory = open_as_rank(path, ranks, || RunDirectory::open_to_write(path))?;
        let record = directory.record()?;
        Ok(Self { directory, record })
    }
}

/// The run directory that the first rank gets for writing by `open`; the other ranks, when it is
/// there, for reading.
pub fn open_as_rank(
    path: &Path,
    ranks: &dyn Communicator,
    open: impl FnOnce() -> Result<RunDirectory>,
) -> Result<RunDirectory> {
    match on_first_rank(ranks, Channel::Step, open)? {
        Some(directory) => Ok(directory),
        None => RunDirectory::open(path).map_err(|error| {
            let message = error.message.lines().next().expect("an error has a message");
            Error { message: format!("rank {}: {message}", ranks.rank()), ..error }
                .help("choose an --out that all hosts of the run see under the same path")
        }),
    }
}

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

/// The files of `spec/`: the spec with what it imports beside it, as they lay to each other, the
/// library's modules, and the `--set` values in one file, one per line.
fn spec_files(program: &Program) -> BTreeMap<PathBuf, String> {
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (name, text) in &program.sources {
        // Below `spec/`, whatever a program says.
        let inside = |part: &Component<'_>| matches!(part, Component::Normal(_));
        let mut file: PathBuf = Path::new(name).components().filter(inside).collect();
        if file.extension().is_none_or(|extension| extension != "din") {
            file.as_mut_os_string().push(".din");
        }
        let texts = files.entry(file).or_default();
        if !texts.is_empty() {
            texts.push('\n');
        }
        texts.push_str(text);
    }
    files
}

/// Stands in a run directory until `run.json` does. It is named as a temporary file of `run.json`
/// and cleaned as one.
const MAKING: &str = ".run.json.making.tmp";

/// Locks a run directory for writing. The lock ends with the process that holds it, however that
/// ends.
///
/// # Errors
/// Another process holds it.
fn lock(path: &Path) -> Result<Option<File>> {
    let folder = File::open(path).map_err(|e| Error::file("open", path, &e))?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(folder)),
        Err(TryLockError::WouldBlock) => {
            Err(Error::input(format!("{}: another process is training into this folder", path.display()))
                .help("wait until it has ended, or choose another --out"))
        }
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(e)) => Err(Error::file("lock", path, &e)),
    }
}

/// Whether two programs were made of the same texts, library and `--set` values included, with the
/// same hyper-parameters. Under which paths the texts lay does not matter.
pub fn same_spec(one: &Program, other: &Program) -> bool {
    let texts = |program: &Program| program.sources.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
    texts(one) == texts(other) && one.hypers == other.hypers
}

const NAMES: [&str; 7] = ["run.json", "program.bin", "metrics.jsonl", "best.json", "trace.json", "spec", "checkpoints"];

/// What to do about a `metrics.jsonl` that is not as it was written.
pub(crate) const METRICS_HELP: &str = "put the file back as din wrote it, or train into another --out";

/// What a reader saw of a run's checkpoints; training may have changed it since.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Looked at only where the best one is wanted.
    best: Option<Best>,
    /// Ascending by step.
    names: Vec<String>,
}

/// Whether `path` is named as [`write_atomically`] names what is not yet a file of a run directory.
fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
        name.ends_with(".tmp") && NAMES.iter().any(|written| name.starts_with(&format!(".{written}.")))
    })
}

impl RunDirectory {
    /// Makes a new run directory and locks it for writing. What a process that was killed while
    /// making one left is cleared away.
    ///
    /// # Errors
    /// Something is there already, or another process is at it.
    pub fn create(path: &Path, program: &Program, record: &RunRecord) -> Result<Self> {
        let found = metadata(path)?;
        if found.is_none() {
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                fs::create_dir_all(parent).map_err(|e| Error::file("create", parent, &e))?;
            }
            match fs::create_dir(path) {
                // Another run was quicker; the lock says which of the two goes on.
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::file("create", path, &e)),
            }
        }
        if found.as_ref().is_some_and(|found| !found.is_dir()) {
            return Err(Error::input(format!("{}: expected a new folder, found a file", path.display()))
                .help("choose another --out"));
        }
        let run =
            Self { path: path.to_path_buf(), made: true, found: found.is_some(), _lock: lock(path)?.map(Arc::new) };
        if metadata(&path.join(MAKING))?.is_some() && metadata(&path.join("run.json"))?.is_none() {
            run.clear();
        }
        let mut entries = fs::read_dir(path).map_err(|e| Error::file("read", path, &e))?;
        if let Some(entry) = entries.next() {
            entry.map_err(|e| Error::file("read", path, &e))?;
            let what = if metadata(&path.join("run.json"))?.is_some() { "a run" } else { "files" };
            return Err(Error::input(format!("{}: expected a new folder, found one with {what}", path.display()))
                .help("choose another --out, or go on with this run by --resume"));
        }
        match run.fill(program, record) {
            Ok(()) => Ok(run),
            Err(e) => {
                run.clear_unless_begun();
                Err(e)
            }
        }
    }

    fn fill(&self, program: &Program, record: &RunRecord) -> Result<()> {
        let folder = |name: &str| -> Result<PathBuf> {
            let path = self.path.join(name);
            fs::create_dir(&path).map_err(|e| Error::file("create", &path, &e))?;
            Ok(path)
        };
        // Empty, so that it is whole as soon as it is there.
        let making = self.path.join(MAKING);
        File::create(&making).map_err(|e| Error::file("create", &making, &e))?;
        folder("checkpoints")?;
        let spec = folder("spec")?;
        for (name, text) in spec_files(program) {
            let file = spec.join(name);
            let above = parent(&file);
            if above != spec {
                fs::create_dir_all(above).map_err(|e| Error::file("create", above, &e))?;
            }
            write_atomically(&file, text.as_bytes())?;
        }
        write_atomically(&self.path.join("program.bin"), &program.encode())?;
        write_atomically(&self.path.join("metrics.jsonl"), b"")?;
        self.write_json("run.json", record)?;
        fs::remove_file(&making).map_err(|e| Error::file("remove", &making, &e))?;
        sync_folder(&self.path)
    }

    /// Opens a run directory to go on with it, and locks it for writing.
    pub fn open_to_write(path: &Path) -> Result<Self> {
        let run = Self::open(path)?;
        Ok(Self { _lock: lock(path)?.map(Arc::new), ..run })
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

    /// Removes the temporary files and folders that a process left when it was stopped while
    /// writing.
    pub fn clean(&self) -> Result<()> {
        checkpoint::clean(&self.checkpoints())?;
        let entries = fs::read_dir(&self.path).map_err(|e| Error::file("read", &self.path, &e))?;
        for entry in entries {
            let path = entry.map_err(|e| Error::file("read", &self.path, &e))?.path();
            if is_temporary(&path) {
                fs::remove_file(&path).map_err(|e| Error::file("remove", &path, &e))?;
            }
        }
        Ok(())
    }

    /// Removes what [`RunDirectory::create`] made, unless a checkpoint is in it: after a fault
    /// before the first one, nothing is left. Where the checkpoints cannot be listed, everything
    /// stays.
    pub fn clear_unless_begun(&self) {
        if !self.made || !checkpoint::list(&self.checkpoints()).is_ok_and(|names| names.is_empty()) {
            return;
        }
        self.clear();
        if !self.found {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Removes what a run directory consists of, [`MAKING`] last, so that a stop in between leaves
    /// what is cleared the next time. What cannot be removed stays; the caller has its own error to
    /// report, or sees that the folder is not empty.
    fn clear(&self) {
        for name in NAMES {
            let path = self.path.join(name);
            let _ = if path.is_dir() { remove_folder(&path) } else { fs::remove_file(&path) };
        }
        if let Ok(entries) = fs::read_dir(&self.path) {
            for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_temporary(path)) {
                if path.file_name().is_some_and(|name| name != MAKING) {
                    let _ = fs::remove_file(&path);
                }
            }
        }
        let _ = fs::remove_file(self.path.join(MAKING));
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

    /// Lines of `metrics.jsonl` up to a step: one for each epoch from 1.
    ///
    /// # Errors
    /// A line that was altered, or one of an epoch that another line should be of.
    pub fn epochs(&self, up_to: u64) -> Result<Vec<EpochLine>> {
        let path = self.path.join("metrics.jsonl");
        let mut lines = Vec::new();
        for (k, (text, line)) in document::read_lines::<EpochLine>(&path, METRICS_HELP)?.into_iter().enumerate() {
            let expected = k + 1;
            if line.epoch as usize != expected {
                let (path, found) = (path.display(), line.epoch);
                return Err(Error::input(format!(
                    "{path}:{expected}: expected the line of epoch {expected}, found {found}"
                ))
                .help(METRICS_HELP));
            }
            if line.step <= up_to {
                lines.push(EpochLine { text: Some(text), ..line });
            }
        }
        Ok(lines)
    }

    /// Replaces `metrics.jsonl`.
    pub fn write_epochs(&self, lines: &[EpochLine]) -> Result<()> {
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
            Some(_) => document::read(&path, None, "`train … --resume` chooses the best epoch again").map(Some),
            None => Ok(None),
        }
    }

    /// Makes `best.json` what was computed from the epochs' lines, after a stop that left it behind
    /// them, or damage. One that is so already stays as it is.
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
    ) -> Result<(String, LoadedCheckpoint)> {
        self.load_with(wanted, program, record, plan, |_| {})
    }

    /// `before_reading` is called with the folder of each checkpoint that was looked up.
    fn load_with(
        &self,
        wanted: &str,
        program: &Arc<Program>,
        record: &RunRecord,
        plan: &ShardPlan,
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
            match checkpoint::load(&folder, program, plan) {
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

#[cfg(test)]
mod tests;
