//! Writing a checkpoint: the files of every rank into one folder, a manifest, a name.

use super::tensors::{self, LazyTensor};
use super::{DENSE, MANIFEST, Manifest, dense, name, part_file, read_manifest, table, table_file};
use crate::comm::{Channel, Communicator, LongOperation, share_outcomes};
use crate::fs::{metadata, remove_folder, set_permissions, sync_folder, write_atomically};
use crate::session::ModelState;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a checkpoint as `folder/step-…`; gives its path. All ranks call it, with their parts of
/// one model: each writes its own files, and the first rank gives the folder its name when all are
/// on the disk. Where a checkpoint of this step is there already, its tensors are the same, and
/// only the manifest is replaced: at no moment is there none.
///
/// # Errors
/// On all ranks that of the first rank that failed; nothing new is left in `folder` then.
pub fn save(folder: &Path, model: &ModelState, manifest: &Manifest, ranks: &dyn Communicator) -> Result<PathBuf> {
    let target = folder.join(name(manifest.position.step));
    let first = ranks.rank() == 0;
    let make = || make_temporary(folder, manifest.position.step);
    let made = share_outcomes(ranks, Channel::Step, if first { make() } else { Ok(String::new()) })?;
    let temporary = folder.join(&made[0]);
    let written = share_outcomes(ranks, Channel::Step, write_files(&temporary, model, ranks));
    let ended = match &written {
        Ok(lists) if first => {
            let manifest = Manifest { ranks: ranks.size() as u32, files: files(lists), ..manifest.clone() };
            commit(folder, &temporary, &target, manifest)
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.clone()),
    };
    if first && ended.is_err() {
        // The error that led here is the one to report.
        let _ = remove_folder(&temporary);
    }
    written?;
    share_outcomes(ranks, Channel::Step, ended.map(|()| String::new()))?;
    Ok(target)
}

/// Makes the folder that all ranks write into; gives its name in `folder`.
fn make_temporary(folder: &Path, step: u64) -> Result<String> {
    let hidden = format!(".{}.{}.tmp", name(step), std::process::id());
    let temporary = folder.join(&hidden);
    if metadata(&temporary)?.is_some() {
        remove_folder(&temporary).map_err(|e| Error::file("remove", &temporary, &e))?;
    }
    fs::create_dir(&temporary).map_err(|e| Error::file("create", &temporary, &e))?;
    Ok(hidden)
}

/// Writes the files of a rank: its parts of tables that are divided, and on the first rank all
/// else. Gives a line for each: its SHA-256 and its name.
pub(super) fn write_files(folder: &Path, model: &ModelState, ranks: &dyn Communicator) -> Result<String> {
    let _operation = LongOperation::begin();
    let first = ranks.rank() == 0;
    let mut lines = String::new();
    let mut add = |name: String, tensors: Vec<(String, LazyTensor<'_>)>| -> Result<()> {
        let hash = tensors::write(&folder.join(&name), tensors)?;
        lines.push_str(&format!("{hash} {name}\n"));
        Ok(())
    };
    let program = model.program();
    if first {
        add(DENSE.into(), dense(program, model))?;
    }
    for (spec, held) in program.tables.iter().zip(&model.tables) {
        let file = match held.shard() {
            Some(shard) => {
                debug_assert_eq!((shard.rank, shard.ranks), (ranks.rank(), ranks.size()), "the part of this rank");
                part_file(&spec.name, shard.rank as u32, shard.ranks as u32)
            }
            None if first => table_file(&spec.name),
            None => continue,
        };
        let order = held.in_key_order();
        add(file, table::tensors(program, spec, held, &order))?;
    }
    Ok(lines)
}

/// The hashes by file that [`write_files`] gave on all ranks.
fn files(lists: &[String]) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (hash, name) = line.split_once(' ').expect("a line has a hash and a name");
        (name.to_string(), hash.to_string())
    };
    lists.iter().flat_map(|list| list.lines()).map(line).collect()
}

/// Completes a folder with its manifest and gives it its name.
fn commit(folder: &Path, temporary: &Path, target: &Path, manifest: Manifest) -> Result<()> {
    let path = temporary.join(MANIFEST);
    write_atomically(&path, manifest.to_text()?.as_bytes())?;
    // The tensors' writer makes files for their owner alone; a checkpoint's files are all as
    // readable as the user's mask lets them be.
    let mode = fs::metadata(&path).map_err(|e| Error::file("read", &path, &e))?.permissions();
    for name in manifest.files.keys() {
        let file = temporary.join(name);
        fs::File::open(&file)
            .and_then(|opened| set_permissions(&opened, mode.clone()))
            .map_err(|e| Error::file("set permissions of", &file, &e))?;
    }
    sync_folder(temporary)?;
    if metadata(target)?.is_some() {
        return replace_manifest(target, temporary, manifest);
    }
    fs::rename(temporary, target).map_err(|e| Error::file("write", target, &e))?;
    sync_folder(folder)
}

/// Gives the checkpoint `target` the manifest of `temporary`, a checkpoint of the same tensors,
/// which is removed.
fn replace_manifest(target: &Path, temporary: &Path, written: Manifest) -> Result<()> {
    let kept = read_manifest(target)?;
    if kept.files.iter().any(|(name, hash)| written.files.get(name).is_some_and(|found| found != hash)) {
        let target = target.display();
        return Err(Error::machine(format!("{target}: expected the tensors of this step as they are, found others"))
            .help("this is a bug of din; please report it with the spec"));
    }
    let path = temporary.join(MANIFEST);
    if kept.files != written.files {
        // The run was resumed at this step with another number of ranks, which divide the tables
        // otherwise. The files that are there stay.
        let written = Manifest { ranks: kept.ranks, files: kept.files, ..written };
        write_atomically(&path, written.to_text()?.as_bytes())?;
    }
    let manifest = target.join(MANIFEST);
    fs::rename(path, &manifest).map_err(|e| Error::file("write", &manifest, &e))?;
    sync_folder(target)?;
    remove_folder(temporary).map_err(|e| Error::file("remove", temporary, &e))
}
