//! How often ids occur in the training data of a run, and how long lists are.

use crate::Result;
use crate::batch::Batch;
use crate::data::{Batches, Dataset, OpenOptions, Order, ReadMode, StreamOptions};
use crate::placement::{IdDistribution, TableIds};
use crate::run_dir::{RunDirectory, RunRecord};
use crate::session::LoadPurpose;
use crate::statistics::Statistics;
use crate::table::{IdFrequencies, ShardPlan, Table};
use din_program::Program;
use din_program::schema::TableSpec;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

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
    /// Samples of the training data.
    pub samples: u64,
    /// Why no data could be read: then nothing is known of lists and requests.
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
        let plan = ShardPlan::whole(program.tables.len());
        let (_, loaded) = run.load("last", &program, &record, &plan, LoadPurpose::Training)?;
        let steps = loaded.manifest.position.step;
        let (sample, unread) = match Sample::read(&program, &record, &loaded.model.statistics) {
            Ok(sample) => (sample, None),
            Err(error) => (Sample::new(&program), Some(error.to_string())),
        };
        let of_table = |(k, table): (usize, &Table)| {
            let spec = &program.tables[k];
            (spec.name.clone(), ids(spec, table, &record, steps, &sample.tables[k], sample.samples))
        };
        let tables = loaded.model.tables.iter().enumerate().map(of_table).collect();
        let sequences = program.schema.sequences.iter().zip(&sample.lists);
        let lengths = sequences.filter(|(_, lists)| lists.0 > 0);
        let lengths = lengths.map(|(sequence, lists)| (sequence.name.clone(), lists.1 as f64 / lists.0 as f64));
        let candidates = if sample.requests > 0 { sample.samples as f64 / sample.requests as f64 } else { 1.0 };
        Ok(Self { tables, lengths: lengths.collect(), candidates, samples: record.train.rows, unread })
    }
}

/// Samples that one thread of this machine reads per second of a run's training data, in the order
/// of training: the better one of two times.
///
/// # Errors
/// It is no run directory, or its data cannot be read any more.
pub fn measure_reading(path: &Path) -> Result<f64> {
    let run = RunDirectory::open(path)?;
    let record = run.record()?;
    let program = Arc::new(run.program(&record)?);
    let statistics = match program.schema.statistics.is_empty() {
        true => Statistics::default(),
        false => {
            let plan = ShardPlan::whole(program.tables.len());
            run.load("last", &program, &record, &plan, LoadPurpose::Training)?.1.model.statistics
        }
    };
    let mut best = 0.0;
    for _ in 0..2 {
        let begin = Instant::now();
        let (mut batches, mut samples) = (open(&program, &record, &statistics)?, 0);
        while samples < SAMPLES
            && let Some(batch) = batches.next()?
        {
            samples += batch.rows;
            batches.recycle(batch);
        }
        best = f64::max(best, samples as f64 / begin.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// A run's training data in the order of training, by one thread.
fn open(program: &Program, record: &RunRecord, statistics: &Statistics) -> Result<Batches> {
    let mut options = OpenOptions::new(ReadMode::Train);
    options.list_separator = record.list_separator;
    options.statistics = statistics.clone();
    let data = Dataset::open_with(&record.train.paths(), &program.schema, &options)?;
    let mut stream = StreamOptions::new(BATCH, Order::Shuffled { seed: record.seed, epoch: 0 });
    stream.window_rows = SAMPLES;
    Ok(data.stream(stream)?)
}

/// Part of the batches that an id may be in, for its frequency to be estimated by it.
const MOST_BATCHES: f64 = 0.9;

/// From frequencies where the run counted them, else from how many batches contained an id; of an
/// id that nearly every batch contains, from the samples that were read.
fn ids(
    spec: &TableSpec,
    table: &Table,
    record: &RunRecord,
    steps: u64,
    sample: &IdFrequencies,
    samples: u64,
) -> TableIds {
    let (counts, most) = match spec.is_counted() {
        true => (table.frequency(), record.train.rows.max(1) as f64),
        false => (table.updates(), steps.max(1) as f64),
    };
    let per_sample = |id: u64, count: f64| {
        let part = count / most;
        if spec.is_counted() {
            return part.min(1.0);
        }
        match sample.samples_with(id) {
            // No batch has updated it.
            found if spec.frozen => found.unwrap_or(0) as f64 / samples.max(1) as f64,
            Some(found) if part > MOST_BATCHES => found as f64 / samples as f64,
            // A batch contains it with probability `1 - (1 - p)^batch`. Without a sample, half a
            // batch stands for those that do not contain it.
            Some(_) | None => {
                let absent = (1.0 - part).max(0.5 / most);
                -(absent.ln() / f64::from(record.batch)).exp_m1()
            }
        }
    };
    // Ids that are equally frequent are one group; the bits of positive numbers are in their order.
    let mut groups: BTreeMap<u64, f64> = BTreeMap::new();
    let order = table.in_key_order();
    for &(id, row, _) in &order {
        let p = per_sample(id, f64::from(counts[row as usize]));
        *groups.entry(p.to_bits()).or_default() += 1.0;
    }
    let measured = groups.into_iter().map(|(bits, ids)| (f64::from_bits(bits), ids)).collect();
    TableIds { rows: order.len() as u64, distribution: IdDistribution::Measured(measured) }
}

/// Some of a run's training data.
#[derive(Debug)]
struct Sample {
    samples: u64,
    requests: u64,
    /// By sequence: lists and their entries.
    lists: Vec<(u64, u64)>,
    /// By table.
    tables: Vec<IdFrequencies>,
}

impl Sample {
    /// No samples.
    fn new(program: &Program) -> Self {
        Self {
            samples: 0,
            requests: 0,
            lists: vec![(0, 0); program.schema.sequences.len()],
            tables: program.tables.iter().map(|table| IdFrequencies::new(&table.features)).collect(),
        }
    }

    /// Up to [`SAMPLES`] samples.
    fn read(program: &Program, record: &RunRecord, statistics: &Statistics) -> Result<Self> {
        let mut batches = open(program, record, statistics)?;
        let mut sample = Self::new(program);
        while sample.samples < SAMPLES as u64
            && let Some(batch) = batches.next()?
        {
            sample.add(program, &batch);
            batches.recycle(batch);
        }
        Ok(sample)
    }

    fn add(&mut self, program: &Program, batch: &Batch) {
        self.requests += batch.requests.len().saturating_sub(1) as u64;
        for ((lists, entries), offsets) in self.lists.iter_mut().zip(&batch.offsets) {
            *lists += offsets.len().saturating_sub(1) as u64;
            *entries += u64::from(offsets.last().copied().unwrap_or(0));
        }
        self.samples += batch.rows as u64;
        self.tables.iter_mut().for_each(|frequencies| frequencies.add(&program.schema, batch));
    }
}
