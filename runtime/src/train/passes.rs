//! The passes over the data before the first step.

use super::gather::Gathering;
use super::setup::TrainingRun;
use super::{Event, TrainingOptions, reading};
use crate::Result;
use crate::batch::Batch;
use crate::data::{Dataset, OpenOptions, Order, ReadMode};
use crate::session::{DataPass, PassEvent};
use crate::signal;
use crate::table::AdmittedIds;
use std::path::{Path, PathBuf};

/// Reads the validation data, so that a fault of theirs is not found after an epoch; false where
/// Ctrl-C came between.
pub fn check(run: &mut TrainingRun, observe: &mut dyn FnMut(Event)) -> Result<bool> {
    let Some(valid) = run.valid.clone() else { return Ok(true) };
    let whole = read_once(run, &valid, DataPass::Checking, observe, |_, _| Ok(()))?;
    run.watch.columns(&valid, observe);
    Ok(whole)
}

/// The pass for the statistics of the training data, where features are made by them; false where
/// Ctrl-C came between.
pub fn gather(run: &mut TrainingRun, options: &TrainingOptions, observe: &mut dyn FnMut(Event)) -> Result<bool> {
    let Some(mut gathering) = Gathering::new(run.train.schema()) else { return Ok(true) };
    let paths: Vec<PathBuf> = run.train.files().map(Path::to_path_buf).collect();
    let open = OpenOptions { list_separator: run.train.list_separator(), ..OpenOptions::new(ReadMode::Train) };
    let data = Dataset::open_with(&paths, &gathering.schema, &open)?;
    let whole = read_once(run, &data, DataPass::Gathering, observe, |_, batch| {
        gathering.add(batch);
        Ok(())
    })?;
    if whole {
        run.session.statistics().set(gathering.finish(&*options.ranks)?);
    }
    Ok(whole)
}

/// The counting pass; false where Ctrl-C came between.
pub fn count(run: &mut TrainingRun, observe: &mut dyn FnMut(Event)) -> Result<bool> {
    let (train, program) = (run.train.clone(), run.program.clone());
    let mut counters = run.session.frequency_counters();
    let mut counted = run.session.id_frequencies();
    // By row where every id has one and this rank has all rows, else by id.
    match run.ranks.size() {
        1 => counted.retain(|(table, _)| program.tables[*table].admission.is_some()),
        _ => counters.clear(),
    }
    if counters.is_empty() && counted.is_empty() {
        return Ok(true);
    }
    let whole = read_once(run, &train, DataPass::Counting, observe, |run, batch| {
        counted.iter_mut().for_each(|(_, frequencies)| frequencies.add(&program.schema, batch));
        run.session.count(&mut counters, batch)
    })?;
    if whole {
        run.session.finish_counting(counters)?;
        for AdmittedIds { table, admitted, counted } in run.session.join_frequencies(counted)? {
            observe(Event::Note(format!(
                "table `{}`: {admitted} of {counted} ids in the training data are admitted, {} read the OOV row",
                program.tables[table].name,
                counted - admitted
            )));
        }
    }
    Ok(whole)
}

/// Reads a data set once, in the order of the files, each rank its share; false where Ctrl-C came
/// between.
fn read_once(
    run: &mut TrainingRun,
    data: &Dataset,
    pass: DataPass,
    observe: &mut dyn FnMut(Event),
    mut each: impl FnMut(&mut TrainingRun, &Batch) -> Result<()>,
) -> Result<bool> {
    let own = data.part_rows(run.ranks.rank(), run.ranks.size());
    observe(PassEvent::Begin { pass, rows: own.end - own.start, done: 0 }.into());
    let mut batches = data.stream_in_order(reading(run, Order::File), &run.ranks)?;
    let (mut rows, mut whole) = (0, true);
    while let Some(batch) = batches.next()? {
        each(run, &batch)?;
        rows += batch.rows as u64;
        batches.recycle(batch);
        observe(PassEvent::Advance { rows, loss: None }.into());
        if signal::asked() {
            whole = false;
            break;
        }
    }
    // Other ranks may wait for this one to read on.
    drop(batches);
    observe(PassEvent::End.into());
    Ok(!run.any_rank(!whole)?)
}
