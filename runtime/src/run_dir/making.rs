//! Making a run directory, locking it, and clearing away what is not wanted any more.

use super::{RunDirectory, RunRecord};
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::fs::{metadata, parent, remove_folder, sync_folder, write_atomically};
use din_program::Program;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

const NAMES: [&str; 7] = ["run.json", "program.bin", "metrics.jsonl", "best.json", "trace.json", "spec", "checkpoints"];

/// Stands in a run directory until `run.json` does. It is named as a temporary file of `run.json`
/// and cleaned as one.
const MAKING: &str = ".run.json.making.tmp";

/// Locks a run directory for writing. The lock ends with the process that holds it, however that
/// ends.
///
/// # Errors
/// Another process holds it.
pub(super) fn lock(path: &Path) -> Result<Option<File>> {
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

/// The files of `spec/`: the spec with what it imports beside it and its vocabularies, as they lay
/// to each other, the library's modules, and the `--set` values in one file, one per line.
fn spec_files(program: &Program) -> BTreeMap<PathBuf, String> {
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    // Below `spec/`, whatever a program says.
    let inside = |name: &str| -> PathBuf {
        let parts = Path::new(name).components();
        parts.filter(|part: &Component<'_>| matches!(part, Component::Normal(_))).collect()
    };
    for (name, text) in &program.sources {
        let mut file = inside(name);
        if file.extension().is_none_or(|extension| extension != "din") {
            file.as_mut_os_string().push(".din");
        }
        let texts = files.entry(file).or_default();
        if !texts.is_empty() {
            texts.push('\n');
        }
        texts.push_str(text);
    }
    for vocabulary in &program.schema.vocabularies {
        files.entry(inside(&vocabulary.path)).or_insert_with(|| vocabulary.text.clone());
    }
    files
}

/// Whether `path` is named as [`write_atomically`] names what is not yet a file of a run directory.
fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
        name.ends_with(".tmp") && NAMES.iter().any(|written| name.starts_with(&format!(".{written}.")))
    })
}

impl RunDirectory {
    /// Whether a path may be the folder of a run that has begun. It is not where nothing is there,
    /// or only what [`RunDirectory::create`] replaces.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn may_have_begun(path: &Path) -> Result<bool> {
        match metadata(path)? {
            None => return Ok(false),
            // For the opening to refuse.
            Some(found) if !found.is_dir() => return Ok(true),
            Some(_) => {}
        }
        let is_there = |name: &str| -> Result<bool> { Ok(metadata(&path.join(name))?.is_some()) };
        if is_there("run.json")? {
            return Ok(true);
        }
        let empty = fs::read_dir(path).map_err(|e| Error::file("read", path, &e))?.next().is_none();
        Ok(!empty && !is_there(MAKING)?)
    }

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

    /// Removes what a run directory consists of. [`MAKING`] is there from the first to the last, so
    /// that a stop in between leaves what is cleared the next time. What cannot be removed stays;
    /// the caller has its own error to report, or sees that the folder is not empty.
    fn clear(&self) {
        let _ = File::create(self.path.join(MAKING));
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
}
