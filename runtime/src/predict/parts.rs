//! The folder of predictions that the ranks of a run write together: one file per rank, each with
//! consecutive rows.
//!
//! Guarantees: the folder gets its name when all files are whole, by rank 0; until then it has a
//! name that starts with a dot. A rank that fails removes its file, and the last one the folder: no
//! new file is made in it once rows are predicted, so nothing is left, whoever fails first.

use super::{OutputFormat, OutputOptions};
use crate::comm::{Channel, Communicator, Messages};
use crate::data::Dataset;
use crate::fs::{followed, metadata, parent, remove_folder, sync_folder};
use crate::{Error, Result};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder being written; takes its name at [`PartsFolder::commit`].
#[derive(Debug)]
pub(super) struct PartsFolder {
    target: PathBuf,
    temporary: PathBuf,
    /// This rank's file.
    own_part: PathBuf,
    renamed: bool,
}

impl PartsFolder {
    /// Makes the folder, on rank 0, under another name; every rank of the run calls it.
    ///
    /// # Errors
    /// What stands at the path cannot be replaced, or a rank does not see the folder.
    pub fn create(output: &OutputOptions, data: &Dataset, ranks: &dyn Communicator) -> Result<Self> {
        let target = followed(&output.path)?;
        let named = |numbers: &[u32]| {
            let temporary = hidden(&target, numbers, "tmp");
            let own_part = temporary.join(part_name(ranks.rank(), ranks.size(), output.format));
            Self { target: target.clone(), temporary, own_part, renamed: false }
        };
        let (mut numbers, mut made) = (Vec::new(), None);
        if ranks.rank() == 0 {
            may_be_replaced(&target, data)?;
            numbers = create_hidden(&target)?.to_vec();
            made = Some(named(&numbers));
        }
        let mut received = Messages::default();
        ranks.all_gather(Channel::Step, &numbers, &mut received)?;
        let parts = made.unwrap_or_else(|| named(received.get(0)));
        if !parts.temporary.is_dir() {
            let (folder, rank) = (parent(&target).display(), ranks.rank());
            return Err(Error::input(format!("{folder}: expected a folder of all ranks; rank {rank} has another one"))
                .help("name an --out on a file system that all machines share"));
        }
        Ok(parts)
    }

    /// Where this rank's rows go.
    pub fn own_part(&self) -> &Path {
        &self.own_part
    }

    /// Gives the folder its name once the file of every rank is whole; every rank of the run calls
    /// it.
    ///
    /// # Errors
    /// A rank failed, or the folder cannot be renamed. Then what stood at the path is there as it
    /// was.
    pub fn commit(mut self, ranks: &dyn Communicator) -> Result<()> {
        let mut received = Messages::default();
        ranks.all_gather(Channel::Step, &[], &mut received)?;
        if ranks.rank() == 0 {
            sync_folder(&self.temporary)?;
            replace(&self.target, &self.temporary)?;
            self.renamed = true;
            sync_folder(parent(&self.target))?;
        }
        ranks.all_gather(Channel::Step, &[], &mut received)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for PartsFolder {
    fn drop(&mut self) {
        if !self.renamed {
            // The file may not be there yet, and the folder goes with the last of its files.
            let _ = fs::remove_file(&self.own_part);
            let _ = fs::remove_dir(&self.temporary);
        }
    }
}

/// `part-00002-of-00004.parquet`
fn part_name(rank: usize, ranks: usize, format: OutputFormat) -> String {
    format!("part-{rank:05}-of-{ranks:05}.{}", format.extension())
}

/// Whether a name is one that [`part_name`] gives.
fn is_part_name(name: &str) -> bool {
    let number = |text: &str| text.parse::<usize>().ok();
    [OutputFormat::Parquet, OutputFormat::Csv].into_iter().any(|format| {
        let stem = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(format.extension()));
        let numbers = stem.and_then(|stem| stem.strip_suffix('.')).and_then(|stem| stem.split_once("-of-"));
        let numbers = numbers.and_then(|(rank, ranks)| Some((number(rank)?, number(ranks)?)));
        numbers.is_some_and(|(rank, ranks)| part_name(rank, ranks, format) == name)
    })
}

/// `.NAME.PROCESS-ATTEMPT.tmp` beside the target.
fn hidden(target: &Path, numbers: &[u32], extension: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().expect("the target was found to have a name"));
    numbers.iter().zip([".", "-"]).for_each(|(number, before)| name.push(format!("{before}{number}")));
    name.push(format!(".{extension}"));
    parent(target).join(name)
}

/// Makes the folder that will become the target; gives the numbers in its name.
fn create_hidden(target: &Path) -> Result<[u32; 2]> {
    for attempt in 0..1000 {
        let numbers = [std::process::id(), attempt];
        match fs::create_dir(hidden(target, &numbers, "tmp")) {
            Ok(()) => return Ok(numbers),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::file("write", target, &e)),
        }
    }
    Err(Error::machine(format!("{}: no free name for a temporary folder", target.display())))
}

/// Refuses a target that is more than earlier predictions, or that is read.
fn may_be_replaced(target: &Path, data: &Dataset) -> Result<()> {
    if target.file_name().is_none() {
        return Err(Error::input(format!("{}: expected the name of a folder to write", target.display())));
    }
    let Some(found) = metadata(target)? else { return Ok(()) };
    let refused = |found: String| {
        let expected = "expected a folder to write, or predictions to replace";
        Err(Error::input(format!("{}: {expected}, found {found}", target.display())).help("name another output"))
    };
    if found.is_file() {
        return if data.holds(target) { refused("an input".into()) } else { Ok(()) };
    }
    if !found.is_dir() {
        return refused("no file".into());
    }
    let unreadable = |e: io::Error| Error::file("read", target, &e);
    for entry in fs::read_dir(target).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_part_name(&name) {
            return refused(format!("a folder with {name} in it"));
        }
        if data.holds(&entry.path()) {
            return refused(format!("the input {name} in it"));
        }
    }
    Ok(())
}

/// Renames the folder `new` to `target`; what stands there goes aside first, and is removed last.
fn replace(target: &Path, new: &Path) -> Result<()> {
    let failed = |e: io::Error| Error::file("write", target, &e);
    let Some(old) = metadata(target)? else { return fs::rename(new, target).map_err(failed) };
    let aside = hidden(target, &[std::process::id()], "old");
    fs::rename(target, &aside).map_err(failed)?;
    if let Err(error) = fs::rename(new, target) {
        fs::rename(&aside, target).map_err(failed)?;
        return Err(failed(error));
    }
    let removed = if old.is_dir() { remove_folder(&aside) } else { fs::remove_file(&aside) };
    removed.map_err(|e| Error::file("remove", &aside, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_told_from_others() {
        assert_eq!(part_name(2, 4, OutputFormat::Parquet), "part-00002-of-00004.parquet");
        assert!(is_part_name("part-00000-of-00001.csv") && is_part_name("part-00015-of-01024.parquet"));
        for other in ["part-0-of-1.csv", "part-00000-of-00001.txt", "part-00000-of-00001", "part-.csv", "data.parquet"]
        {
            assert!(!is_part_name(other), "{other}");
        }
    }

    #[test]
    fn a_folder_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (new, target) = (folder.path().join("new"), folder.path().join("out.csv"));
        for (text, old_is_file) in [("a", false), ("b", false), ("c", true)] {
            if old_is_file {
                fs::remove_dir_all(&target).unwrap();
                fs::write(&target, "old").unwrap();
            }
            fs::create_dir(&new).unwrap();
            fs::write(new.join("part"), text).unwrap();
            replace(&target, &new).unwrap();
            assert_eq!(fs::read_to_string(target.join("part")).unwrap(), text);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        // Where the new one cannot be moved, the old one is there as it was.
        assert!(replace(&target, &new).is_err());
        assert_eq!(fs::read_to_string(target.join("part")).unwrap(), "c");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
