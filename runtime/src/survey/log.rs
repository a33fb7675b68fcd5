//! How often ids occur in the training data of a run, and how long lists are.

use crate::Result;
use crate::data::{Dataset, OpenOptions, Order, ReadMode, StreamOptions};
use crate::placement::{IdDistribution, TableIds};
use crate::run_dir::{RunDirectory, RunRecord};
use crate::table::{ShardPlan, Table};
use din_program::Program;
use din_program::schema::TableSpec;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Samples whose lists are measured.
const SAMPLES: usize = 1 << 16;
const BATCH: usize = 4096;

/// What a run knows of its training data.
#[derive(Clone, Debug)]
pub struct LogSurvey {
    /// By name of the table.
    pub tables: BTreeMap<String, TableIds>,
    /// By name of the sequence: mean entries.
    pub lengths: BTreeMap<String, f64>,
    /// Mean samples per request; 1 where the schema has no requests.
    pub candidates: f64,
    /// Why lists and requests could not be measured: both are empty then.
    pub unread: Option<String>,
}

impl LogSurvey {
    /// Reads the last checkpoint of a run, and some of its training data where they are still
    /// there.
    ///
    /// # Errors
    /// It is no run directory, has no checkpoint, or is damaged.
    pub fn of_run(path: &Path) -> Result<Self> {
        let run = RunDirectory::open(path)?;
        let record = run.record()?;
        let program = Arc::new(run.program(&record)?);
        let (_, loaded) = run.load("last", &program, &record, &ShardPlan::whole(program.tables.len()))?;
        let steps = loaded.manifest.position.step;
        let of_table = |(spec, table): (&TableSpec, &Table)| (spec.name.clone(), ids(spec, table, &record, steps));
        let tables = program.tables.iter().zip(&loaded.model.tables).map(of_table).collect();
        let (lengths, candidates, unread) = match lists(&program, &record) {
            Ok((lengths, candidates)) => (lengths, candidates, None),
            Err(error) => (BTreeMap::new(), 1.0, Some(error.to_string())),
        };
        Ok(Self { tables, lengths, candidates, unread })
    }
}

/// From frequencies where the run counted them, else from how many batches contained an id.
fn ids(spec: &TableSpec, table: &Table, record: &RunRecord, steps: u64) -> TableIds {
    let rows = usize::from(table.is_dynamic())..table.rows();
    let (counts, most) = match spec.reads_frequency {
        true => (table.frequency(), record.train.rows as f64),
        false => (table.updates(), steps as f64),
    };
    let mut groups: BTreeMap<u32, f64> = BTreeMap::new();
    for &count in &counts[rows.clone()] {
        *groups.entry(count as u32).or_default() += 1.0;
    }
    let per_sample = |count: u32| {
        let part = (f64::from(count) / most.max(1.0)).min(1.0);
        match spec.reads_frequency {
            true => part,
            // A batch contains it with probability `1 - (1 - p)^batch`. What every batch contains
            // is in more of them than can be counted: half a batch is taken off.
            false => -((1.0 - part.min(1.0 - 0.5 / most.max(1.0))).ln() / f64::from(record.batch)).exp_m1(),
        }
    };
    let measured = groups.into_iter().map(|(count, ids)| (per_sample(count), ids)).collect();
    TableIds { rows: rows.len() as u64, distribution: IdDistribution::Measured(measured) }
}

/// Mean entries of each sequence, and mean samples per request.
fn lists(program: &Program, record: &RunRecord) -> Result<(BTreeMap<String, f64>, f64)> {
    let mut options = OpenOptions::new(ReadMode::Train);
    options.list_separator = record.list_separator;
    let data = Dataset::open_with(&record.train.paths(), &program.schema, &options)?;
    let mut stream = StreamOptions::new(BATCH, Order::Shuffled { seed: record.seed, epoch: 0 });
    stream.window_rows = SAMPLES;
    let mut batches = data.stream(stream)?;
    let (mut samples, mut requests) = (0, 0);
    let mut entries = vec![(0u64, 0u64); program.schema.sequences.len()];
    while samples < SAMPLES
        && let Some(batch) = batches.next()?
    {
        samples += batch.rows;
        requests += batch.requests.len().saturating_sub(1);
        for ((lists, total), offsets) in entries.iter_mut().zip(&batch.offsets) {
            *lists += offsets.len().saturating_sub(1) as u64;
            *total += u64::from(offsets.last().copied().unwrap_or(0));
        }
        batches.recycle(batch);
    }
    let mean = |&(lists, total): &(u64, u64)| total as f64 / lists.max(1) as f64;
    let names = program.schema.sequences.iter().map(|sequence| sequence.name.clone());
    let candidates = if requests > 0 { samples as f64 / requests as f64 } else { 1.0 };
    Ok((names.zip(entries.iter().map(mean)).collect(), candidates))
}
