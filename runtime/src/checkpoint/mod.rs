//! Checkpoints: everything a run needs to go on, or a model to predict, in one folder.
//!
//! ```text
//! step-0000000938/
//!   manifest.json              format, model, program, position in the data, what the tensors are, SHA-256 of
//!                              each file
//!   dense.safetensors          <parameter>, <parameter>.slot.<name>, state.<name>, statistic.<feature>.<kind>
//!   table.good.safetensors     keys, seen, weight, slot.<name>, frequency, updates (ascending by key),
//!                              oov.* (row 0)
//!   table.good.1-of-4.safetensors  the same of the ids that the first of 4 ranks owned
//! ```
//!
//! - `manifest`: what is in a checkpoint. - `save`: writing one, by all ranks of a run.
//! - `table`: a table as tensors, and back. - `tensors`: a file of tensors.
//!
//! Any number of ranks loads what any other number wrote: a rank takes the rows that it owns.
//!
//! Guarantees: the folder is written under another name, flushed, renamed and its parent flushed,
//! so a name in `checkpoints/` is a whole checkpoint; nothing older is changed. Loading verifies
//! every hash, and refuses a checkpoint of another structure, saying what differs. Row numbers are
//! not kept: no result depends on them.

mod manifest;
mod save;
mod table;
mod tensors;

pub use manifest::{FORMAT as MANIFEST_FORMAT, Manifest, Position, describe};
pub use save::save;

use crate::comm::LongOperation;
use crate::exec::DenseState;
use crate::fs::{parent, remove_folder};
use crate::session::{LoadPurpose, ModelState};
use crate::statistics::Statistics;
use crate::table::{ShardPlan, Sharding};
use crate::{Error, Result};
use din_program::Program;
use din_program::schema::DataStatisticKind;
use std::fs;
use std::path::Path;
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

const DENSE: &str = "dense.safetensors";
const MANIFEST: &str = "manifest.json";

/// The file of a table that one rank wrote whole.
fn table_file(name: &str) -> String {
    format!("table.{name}.safetensors")
}

/// The file of one rank's part of a table; ranks count from 0, parts from 1.
fn part_file(name: &str, rank: u32, ranks: u32) -> String {
    format!("table.{name}.{}-of-{ranks}.safetensors", rank + 1)
}

/// Names and shapes of the dense tensors, with what holds them.
enum Dense {
    Parameter(usize),
    Slot(usize, usize),
    State(usize),
    Statistic(usize),
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
    for (k, statistic) in program.schema.statistics.iter().enumerate() {
        let name = format!("statistic.{}", statistic_name(program, k));
        layout.push((name, vec![statistic.kind.values()], Dense::Statistic(k)));
    }
    layout
}

/// `ad.price.moments`
fn statistic_name(program: &Program, statistic: usize) -> String {
    let statistic = program.schema.statistics[statistic];
    let kind = match statistic.kind {
        DataStatisticKind::Moments => "moments",
        DataStatisticKind::Quantiles { .. } => "quantiles",
    };
    format!("{}.{kind}", program.schema.features[statistic.feature as usize].path())
}

fn dense<'a>(program: &Program, model: &'a ModelState) -> Vec<(String, LazyTensor<'a>)> {
    let state = &model.dense;
    let statistic = |k: usize| {
        let known =
            model.statistics.values().expect("a model that is saved was trained, with the statistics of its data");
        &known[k]
    };
    dense_layout(program)
        .into_iter()
        .map(|(name, shape, what)| {
            let values = match what {
                Dense::Parameter(k) => &state.params[k],
                Dense::Slot(k, s) => &state.param_slots[k][s],
                Dense::State(k) => &state.states[k],
                Dense::Statistic(k) => statistic(k),
            };
            (name, LazyTensor::f32(shape, values))
        })
        .collect()
}

/// Reads only the manifest.
pub fn read_manifest(folder: &Path) -> Result<Manifest> {
    Manifest::read(&folder.join(MANIFEST))
}

/// Reads a checkpoint for `program`, which an executor has accepted: of each table the rows that
/// the plan gives to this rank, and what of them the purpose needs.
///
/// # Errors
/// A file that is missing, cut short or altered; another format; a model of another structure.
/// Files without a row for this rank are not looked at.
pub fn load(folder: &Path, program: &Arc<Program>, plan: &ShardPlan, purpose: LoadPurpose) -> Result<LoadedCheckpoint> {
    let manifest = read_manifest(folder)?;
    manifest.agrees_with(program, folder)?;
    let _operation = LongOperation::begin();
    let open = |name: &str| Mapped::open(&folder.join(name), manifest.hash(name, folder)?);
    let mut state = DenseState::new(program);
    (state.step, state.seed) = (manifest.position.step, manifest.seed);
    let mut statistics = vec![Vec::new(); program.schema.statistics.len()];
    let mapped = open(DENSE)?;
    let tensors = mapped.tensors()?;
    for (name, shape, what) in dense_layout(program) {
        let values = tensors.f32(&name, &shape)?;
        match what {
            Dense::Parameter(k) => state.params[k] = values,
            Dense::Slot(k, s) => state.param_slots[k][s] = values,
            Dense::State(k) => state.states[k] = values,
            Dense::Statistic(k) => statistics[k] = values,
        }
    }
    let mut tables = Vec::with_capacity(program.tables.len());
    for (k, spec) in program.tables.iter().enumerate() {
        let shard = plan.shard(k);
        let mut files = Vec::new();
        for (name, of) in wanted_files(&manifest, &spec.name, shard.as_ref()) {
            files.push((open(&name)?, of));
        }
        let mut parts = Vec::with_capacity(files.len());
        for (mapped, of) in &files {
            parts.push((mapped.tensors()?, *of));
        }
        tables.push(table::restore(program, spec, &parts, manifest.seed, shard, purpose, folder)?);
    }
    let statistics = Statistics::new(statistics);
    let model = ModelState::restored(program.clone(), state, tables, statistics, plan, purpose);
    Ok(LoadedCheckpoint { manifest, model })
}

/// The files of a table that may have rows of a rank's part (`None`: all rows), each with the part
/// of the table that it is.
fn wanted_files(manifest: &Manifest, table: &str, shard: Option<&Sharding>) -> Vec<(String, Option<Sharding>)> {
    let ranks = manifest.ranks as usize;
    if ranks == 1 || manifest.files.contains_key(&table_file(table)) {
        return vec![(table_file(table), None)];
    }
    let part = |rank: usize| Sharding { buckets: manifest.leaves, rank, ranks };
    // Ids are in the same buckets only where there are as many.
    let wanted = |part: &Sharding| match shard.filter(|own| own.buckets == part.buckets) {
        Some(own) => part.owned().start < own.owned().end && own.owned().start < part.owned().end,
        None => true,
    };
    let file = |part: Sharding| (part_file(table, part.rank as u32, manifest.ranks), Some(part));
    (0..ranks).map(part).filter(wanted).map(file).collect()
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
        remove_folder(&path).map_err(|e| Error::file("remove", &path, &e))?;
    }
    Ok(())
}

/// Removes a checkpoint that a newer one has made needless: first its name, so that a crash leaves
/// no half of it under that name.
pub fn remove(folder: &Path) -> Result<()> {
    let name = folder.file_name().expect("a checkpoint's folder has a name").to_string_lossy();
    let aside = parent(folder).join(format!(".{name}.{}.old", std::process::id()));
    fs::rename(folder, &aside).map_err(|e| Error::file("remove", folder, &e))?;
    remove_folder(&aside).map_err(|e| Error::file("remove", &aside, &e))
}

#[cfg(test)]
pub(crate) mod tests;
