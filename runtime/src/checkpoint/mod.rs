//! Checkpoints: everything a run needs to go on, or a model to predict, in one folder.
//!
//! ```text
//! step-0000000938/
//!   manifest.json              format, model, program, position in the data, what the tensors are, SHA-256 of
//!                              each file
//!   dense.safetensors          <parameter>, <parameter>.slot.<name>, state.<name>
//!   table.good.safetensors     keys, seen, weight, slot.<name>, frequency, updates (ascending by key),
//!                              oov.* (row 0)
//! ```
//!
//! Guarantees: the folder is written under another name, flushed, renamed and its parent flushed,
//! so a name in `checkpoints/` is a whole checkpoint; nothing older is changed. Loading verifies
//! every hash, and refuses a checkpoint of another structure, saying what differs. Row numbers are
//! not kept: no result depends on them.

mod manifest;
mod table;
mod tensors;

pub use manifest::{FORMAT as MANIFEST_FORMAT, Manifest, Position, describe};

use crate::exec::DenseState;
use crate::fs::{metadata, parent, set_permissions, sync_folder, write_atomically};
use crate::session::ModelState;
use crate::{Error, Result};
use din_program::Program;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensors::{LazyTensor, Mapped};

/// A checkpoint as read.
#[derive(Debug)]
pub struct LoadedCheckpoint {
    pub manifest: Manifest,
    pub model: ModelState,
}

/// `step-0000000938`
pub fn name(step: u64) -> String {
    format!("step-{step:010}")
}

/// Whether a name is one of a checkpoint: `step-` and exactly ten digits.
fn is_name(name: &str) -> bool {
    name.strip_prefix("step-").is_some_and(|digits| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Writes a checkpoint as `folder/step-…`; gives its path. Where one of this step is there already,
/// its tensors are the same, and only the manifest is replaced: at no moment is there none.
pub fn save(folder: &Path, model: &ModelState, manifest: &Manifest) -> Result<PathBuf> {
    let target = folder.join(name(manifest.position.step));
    let temporary = folder.join(format!(".{}.{}.tmp", name(manifest.position.step), std::process::id()));
    let made = write_folder(&temporary, model, manifest).and_then(|written| {
        if metadata(&target)?.is_some() {
            return replace_manifest(&target, &temporary, &written);
        }
        fs::rename(&temporary, &target).map_err(|e| Error::file("write", &target, &e))?;
        sync_folder(folder)
    });
    if made.is_err() {
        // The error that led here is the one to report.
        let _ = fs::remove_dir_all(&temporary);
    }
    made.map(|()| target)
}

/// Gives the checkpoint `target` the manifest of `temporary`, a checkpoint of the same tensors,
/// which is removed.
fn replace_manifest(target: &Path, temporary: &Path, written: &Manifest) -> Result<()> {
    if read_manifest(target)?.files != written.files {
        let target = target.display();
        return Err(Error::machine(format!("{target}: expected the tensors of this step as they are, found others"))
            .help("this is a bug of din; please report it with the spec"));
    }
    let manifest = target.join(MANIFEST);
    fs::rename(temporary.join(MANIFEST), &manifest).map_err(|e| Error::file("write", &manifest, &e))?;
    sync_folder(target)?;
    fs::remove_dir_all(temporary).map_err(|e| Error::file("remove", temporary, &e))
}

/// Gives the manifest as written, with the files' hashes.
fn write_folder(folder: &Path, model: &ModelState, manifest: &Manifest) -> Result<Manifest> {
    if metadata(folder)?.is_some() {
        fs::remove_dir_all(folder).map_err(|e| Error::file("remove", folder, &e))?;
    }
    fs::create_dir(folder).map_err(|e| Error::file("create", folder, &e))?;
    let mut manifest = manifest.clone();
    manifest.files.clear();
    let mut add = |name: String, tensors: Vec<(String, LazyTensor<'_>)>| -> Result<()> {
        let hash = tensors::write(&folder.join(&name), tensors)?;
        manifest.files.insert(name, hash);
        Ok(())
    };
    let program = model.program();
    add(DENSE.into(), dense(program, &model.dense))?;
    for (spec, held) in program.tables.iter().zip(&model.tables) {
        let order = held.in_key_order();
        add(table_file(&spec.name), table::tensors(program, spec, held, &order))?;
    }
    let path = folder.join(MANIFEST);
    write_atomically(&path, manifest.to_text()?.as_bytes())?;
    // The tensors' writer makes files for their owner alone; a checkpoint's files are all as
    // readable as the user's mask lets them be.
    let mode = fs::metadata(&path).map_err(|e| Error::file("read", &path, &e))?.permissions();
    for name in manifest.files.keys() {
        let file = folder.join(name);
        fs::File::open(&file)
            .and_then(|opened| set_permissions(&opened, mode.clone()))
            .map_err(|e| Error::file("set permissions of", &file, &e))?;
    }
    sync_folder(folder)?;
    Ok(manifest)
}

const DENSE: &str = "dense.safetensors";
const MANIFEST: &str = "manifest.json";

fn table_file(name: &str) -> String {
    format!("table.{name}.safetensors")
}

/// Names and shapes of the dense tensors, with what holds them.
enum Dense {
    Parameter(usize),
    Slot(usize, usize),
    State(usize),
}

fn dense_layout(program: &Program) -> Vec<(String, Vec<usize>, Dense)> {
    let mut layout = Vec::new();
    for (k, parameter) in program.parameters.iter().enumerate() {
        let shape: Vec<usize> = parameter.shape.iter().map(|&n| n as usize).collect();
        layout.push((parameter.name.clone(), shape.clone(), Dense::Parameter(k)));
        for (s, slot) in program.slots(parameter.update).iter().enumerate() {
            let shape = if slot.per == din_program::SlotScope::Weight { shape.clone() } else { vec![1] };
            layout.push((format!("{}.slot.{}", parameter.name, slot.name), shape, Dense::Slot(k, s)));
        }
    }
    for (k, state) in program.states.iter().enumerate() {
        let shape = state.shape.iter().map(|&n| n as usize).collect();
        layout.push((format!("state.{}", state.name), shape, Dense::State(k)));
    }
    layout
}

fn dense<'a>(program: &Program, state: &'a DenseState) -> Vec<(String, LazyTensor<'a>)> {
    dense_layout(program)
        .into_iter()
        .map(|(name, shape, what)| {
            let values = match what {
                Dense::Parameter(k) => &state.params[k],
                Dense::Slot(k, s) => &state.param_slots[k][s],
                Dense::State(k) => &state.states[k],
            };
            (name, LazyTensor::f32(shape, values))
        })
        .collect()
}

/// Reads only the manifest.
pub fn read_manifest(folder: &Path) -> Result<Manifest> {
    Manifest::read(&folder.join(MANIFEST))
}

/// Reads a checkpoint for `program`, which an executor has accepted.
///
/// # Errors
/// A file that is missing, cut short or altered; another format; a model of another structure.
pub fn load(folder: &Path, program: &Arc<Program>) -> Result<LoadedCheckpoint> {
    let manifest = read_manifest(folder)?;
    manifest.agrees_with(program, folder)?;
    let hash = |name: &str| -> Result<&String> {
        manifest.files.get(name).ok_or_else(|| {
            Error::input(format!("{}: expected the hash of {name}, found none", folder.join(MANIFEST).display()))
        })
    };
    let mut state = DenseState::new(program);
    state.step = manifest.position.step;
    let mapped = Mapped::open(&folder.join(DENSE), hash(DENSE)?)?;
    let tensors = mapped.tensors()?;
    for (name, shape, what) in dense_layout(program) {
        let values = tensors.f32(&name, &shape)?;
        match what {
            Dense::Parameter(k) => state.params[k] = values,
            Dense::Slot(k, s) => state.param_slots[k][s] = values,
            Dense::State(k) => state.states[k] = values,
        }
    }
    let mut tables = Vec::with_capacity(program.tables.len());
    for spec in &program.tables {
        let file = table_file(&spec.name);
        let mapped = Mapped::open(&folder.join(&file), hash(&file)?)?;
        tables.push(table::restore(program, spec, &mapped.tensors()?, manifest.seed, folder)?);
    }
    Ok(LoadedCheckpoint { manifest, model: ModelState::restored(program.clone(), state, tables) })
}

/// Names of the checkpoints in `folder`, ascending by step. Other names are not ours and are passed
/// over.
///
/// # Errors
/// A folder with a checkpoint's name but no manifest, or one that cannot be looked at: it is never
/// taken for absent.
pub fn list(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(names),
        Err(e) => return Err(Error::file("read", folder, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::file("read", folder, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_name(&name) {
            continue;
        }
        let manifest = entry.path().join(MANIFEST);
        match fs::metadata(&manifest) {
            Ok(_) => names.push(name),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // A run that is still training may have removed the whole checkpoint since the
                // folder was read.
                let there = entry.path().try_exists().map_err(|e| Error::file("look for", &entry.path(), &e))?;
                if there {
                    return Err(Error::input(format!(
                        "{}: expected the manifest of a checkpoint, found none",
                        manifest.display()
                    ))
                    .help("put the file back, or move the checkpoint's folder out of the run"));
                }
            }
            Err(e) => return Err(Error::file("look for", &manifest, &e)),
        }
    }
    names.sort();
    Ok(names)
}

/// Removes what a crash left half-written or half-removed in `folder`: a checkpoint's name between
/// a dot and a suffix.
pub fn clean(folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::file("read", folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Error::file("read", folder, &e))?;
        let (path, hidden) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let Some((name, _)) = hidden.strip_prefix('.').and_then(|rest| rest.split_once('.')) else { continue };
        if !is_name(name) {
            continue;
        }
        fs::remove_dir_all(&path).map_err(|e| Error::file("remove", &path, &e))?;
    }
    Ok(())
}

/// Removes a checkpoint that a newer one has made needless: first its name, so that a crash leaves
/// no half of it under that name.
pub fn remove(folder: &Path) -> Result<()> {
    let name = folder.file_name().expect("a checkpoint's folder has a name").to_string_lossy();
    let aside = parent(folder).join(format!(".{name}.{}.old", std::process::id()));
    fs::rename(folder, &aside).map_err(|e| Error::file("remove", folder, &e))?;
    fs::remove_dir_all(&aside).map_err(|e| Error::file("remove", &aside, &e))
}

#[cfg(test)]
pub(crate) mod tests;
