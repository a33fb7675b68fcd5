//! What this machine does per second: steps of the program itself, timed.

use crate::batch::{Batch, KeyColumn};
use crate::comm::{Channel, Communicator, Messages, any_rank, ids, progress, push_id};
use crate::placement::{IdDistribution, ModelUse, Plan, RateSource, Rates, RunPlanOptions};
use crate::random::Stream;
use crate::session::{CpuOptions, Device, Session};
use crate::{Error, Result};
use din_program::Program;
use din_program::schema::{FeatureKind, KeyType};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Batches that steps go through, again and again: their rows are known from the second time on.
const BATCHES: u64 = 4;
/// The passes that count take so long; the median one gives the rates.
const TIME: Duration = Duration::from_millis(1500);
/// Passes over the batches at least.
const LEAST_PASSES: usize = 3;
/// Ids of a table that are drawn at most: more do not fit a machine's memory.
const MOST_IDS: u64 = 10_000_000;
/// A prime by which ids are scattered: it divides the size of hardly any table.
const SCATTER: u128 = 2_654_435_761;

/// The rates of a rank with these threads, by training steps on made batches of so many samples,
/// whose ids are drawn as `model` expects them. What belongs to communication and reading is that
/// of `rates`. Several ranks measure at the same time, and all get the means: where they share
/// cores or memory, so they do in training.
///
/// The time of a step is divided among the kinds of work of
/// [`StepWork`](crate::placement::StepWork) by a profile; each rate is the work over its time. So a
/// plan for one rank has the step time that was measured.
///
/// # Errors
/// The program cannot run here, or there is no memory for its tables.
pub fn measure(
    program: &Arc<Program>,
    model: &ModelUse<'_>,
    samples: u32,
    options: &CpuOptions,
    rates: Rates,
    ranks: &dyn Communicator,
) -> Result<Rates> {
    let seed = 1;
    let threads = options.start_threads()?;
    let executor = Device::Cpu.executor(program, options, &threads)?;
    let mut session = Session::new(executor, threads, seed)?;
    let batches: Vec<Batch> = (0..BATCHES).map(|number| made_batch(program, model, samples, number)).collect();
    let mut counters = session.frequency_counters();
    for batch in &batches {
        session.count(&mut counters, batch)?;
    }
    session.finish_counting(counters)?;
    for batch in &batches {
        step(&mut session, batch)?;
    }
    // All are ready.
    any_rank(ranks, false)?;
    let (begin, mut passes) = (Instant::now(), Vec::new());
    while passes.len() < LEAST_PASSES || begin.elapsed() < TIME {
        passes.push(timed_pass(&mut session, &batches)?);
    }
    passes.sort_by(|a, b| a.total().total_cmp(&b.total()));
    let median = passes.swap_remove(passes.len() / 2);
    let StepSeconds { products, values, updates, ids } = median.mean_of(ranks)?;
    let alone = RunPlanOptions {
        ranks: 1,
        batch: samples,
        leaves: 1,
        threads: options.thread_count() as u32,
        epochs: 1,
        placements: vec![None; program.tables.len()],
        rates,
        memory: None,
    };
    let work = Plan::new(model, &alone).work;
    let rate = |work: f64, seconds: f64, otherwise: f64| if work * seconds > 0.0 { work / seconds } else { otherwise };
    Ok(Rates {
        source: RateSource::Measured,
        products: rate(work.product_flops, products, rates.products),
        values: rate(work.value_bytes, values, rates.values),
        rows: rate(work.row_bytes, updates, rates.rows),
        ids: rate(work.ids, ids, rates.ids),
        ..rates
    })
}

/// Where the time of a step went.
struct StepSeconds {
    products: f64,
    values: f64,
    updates: f64,
    ids: f64,
}

impl StepSeconds {
    fn total(&self) -> f64 {
        self.products + self.values + self.updates + self.ids
    }

    /// The mean of all ranks'.
    fn mean_of(self, ranks: &dyn Communicator) -> Result<Self> {
        let mut message = Vec::new();
        let own = [self.products, self.values, self.updates, self.ids];
        own.into_iter().for_each(|seconds| push_id(&mut message, seconds.to_bits()));
        let mut received = Messages::default();
        ranks.all_gather(Channel::Step, &message, &mut received)?;
        let mut sums = [0.0; 4];
        for times in received.iter() {
            sums.iter_mut().zip(ids(times)).for_each(|(sum, time)| *sum += f64::from_bits(time));
        }
        let [products, values, updates, ids] = sums.map(|sum| sum / ranks.size() as f64);
        Ok(Self { products, values, updates, ids })
    }
}

/// Steps through all batches; the mean of their times.
fn timed_pass(session: &mut Session, batches: &[Batch]) -> Result<StepSeconds> {
    session.set_profile(true)?;
    let begin = Instant::now();
    batches.iter().try_for_each(|batch| step(session, batch))?;
    let steps = batches.len() as f64;
    let wall = begin.elapsed().as_secs_f64() / steps;
    let lookups = session.lookups().as_secs_f64() / steps;
    let (mut products, mut values, mut updates) = (0.0, 0.0, 0.0);
    for row in &session.profile().0 {
        match (row.schedule.as_str(), row.flops > 0.0) {
            ("train", true) => products += row.seconds,
            ("train", false) => values += row.seconds,
            _ => updates += row.seconds,
        }
    }
    // What no call takes: the occurrences of ids are sorted, for about as long as their rows are
    // looked up; in the rest threads wait for each other between calls.
    let calls = (products + values + updates) / (session.threads().count() as f64 * steps);
    let ids = lookups + lookups.min((wall - lookups - calls).max(0.0));
    let each = (wall - ids) / (products + values + updates);
    Ok(StepSeconds { products: products * each, values: values * each, updates: updates * each, ids })
}

/// One step, with its update.
fn step(session: &mut Session, batch: &Batch) -> Result<()> {
    // Other ranks wait for the measurement's end.
    progress();
    let loss = session.train(batch)?;
    if loss.is_finite() {
        return Ok(());
    }
    Err(Error::input(format!("--measure: the loss of made data became {loss}, so no update could be timed"))
        .help("plan with a lower learning rate (--set), or without --measure"))
}

/// A batch as the model is expected to be used: the same for the same number.
fn made_batch(program: &Program, model: &ModelUse<'_>, samples: u32, number: u64) -> Batch {
    let schema = &program.schema;
    let samples = samples as usize;
    let mut requests = Vec::new();
    if schema.requests.is_some() {
        let count = (samples as f64 / model.candidates).round().max(1.0) as usize;
        requests.extend((0..=count).map(|r| (r * samples / count) as u32));
    }
    let units = |common: bool| if common { requests.len().saturating_sub(1) } else { samples };
    let offsets: Vec<Vec<u32>> = schema
        .sequences
        .iter()
        .zip(&model.lengths)
        .map(|(sequence, mean)| (0..=units(sequence.common)).map(|unit| (unit as f64 * mean) as u32).collect())
        .collect();
    let mut batch = Batch { rows: samples, ..Batch::default() };
    for (f, feature) in schema.features.iter().enumerate() {
        let stream = Stream::new(number, "made batch: feature", f as u64);
        let count = match feature.sequence {
            Some(s) => offsets[s as usize].last().map_or(0, |&end| end as usize),
            None => units(feature.common),
        };
        let (mut ids, mut dense) = (Vec::new(), Vec::new());
        match feature.kind {
            FeatureKind::Dense { width } => {
                dense.extend((0..count as u64 * u64::from(width)).map(|k| stream.uniform(k) as f32));
            }
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => {
                let served = program.tables.iter().position(|table| table.features.contains(&(f as u32)));
                let most = match feature.kind {
                    FeatureKind::Fixed { size, .. } => size,
                    FeatureKind::Dynamic { .. } | FeatureKind::Dense { .. } => MOST_IDS,
                };
                let draw = Draw::new(served.map(|t| &model.tables[t].distribution), most);
                // Frequent ids lie anywhere in a fixed table. In a dynamic one their rows come
                // first.
                let place = |id: u64| match feature.kind {
                    FeatureKind::Fixed { size, .. } => (u128::from(id) * SCATTER % u128::from(size)) as u64,
                    FeatureKind::Dynamic { .. } | FeatureKind::Dense { .. } => id,
                };
                ids.extend((0..count as u64).map(|k| place(draw.id(stream.uniform(k)))));
            }
        }
        batch.ids.push(ids);
        batch.dense.push(dense);
    }
    for _ in &schema.labels {
        batch.labels.push((0..samples).map(|sample| (sample % 2) as f32).collect());
        batch.present.push(vec![1.0; samples]);
    }
    for key in &schema.keys {
        batch.keys.push(match key.kind {
            KeyType::Int64 => KeyColumn::Int64(vec![0; samples]),
            KeyType::String => KeyColumn::String(vec![String::new(); samples]),
        });
    }
    (batch.requests, batch.offsets) = (requests, offsets);
    batch
}

/// How ids are drawn.
enum Draw {
    /// Of so many, equally often.
    Uniform(u64),
    /// By a continuous form of Zipf's law: id `k` stands for `k - 1/2` to `k + 1/2`.
    Zipf { rows: u64, exponent: f64 },
    /// By groups: where each ends, its first id and its number of ids.
    Groups(Vec<(f64, u64, u64)>),
}

impl Draw {
    fn new(distribution: Option<&IdDistribution>, most: u64) -> Self {
        match distribution {
            None => Self::Uniform(most),
            Some(IdDistribution::Zipf { rows, exponent }) => {
                Self::Zipf { rows: (*rows).min(most).max(1), exponent: *exponent }
            }
            Some(IdDistribution::Measured(groups)) => {
                let (mut end, mut first, mut all) = (0.0, 0, Vec::new());
                for &(p, ids) in groups.iter().filter(|(p, ids)| p * ids > 0.0) {
                    end += p * ids;
                    all.push((end, first, ids as u64));
                    first += ids as u64;
                }
                if all.is_empty() { Self::Uniform(most) } else { Self::Groups(all) }
            }
        }
    }

    /// The id for a uniform number.
    fn id(&self, uniform: f64) -> u64 {
        match self {
            Self::Uniform(ids) => (uniform * *ids as f64) as u64,
            Self::Zipf { rows, exponent } => {
                let (low, high) = (0.5f64, *rows as f64 + 0.5);
                let power = 1.0 - exponent;
                let x = match power.abs() < 1e-9 {
                    true => low * (high / low).powf(uniform),
                    false => {
                        let (low, high) = (low.powf(power), high.powf(power));
                        (low + uniform * (high - low)).powf(1.0 / power)
                    }
                };
                (x.round() as u64).clamp(1, *rows) - 1
            }
            Self::Groups(groups) => {
                let total = groups.last().expect("there is a group").0;
                let at = uniform * total;
                let k = groups.partition_point(|&(end, _, _)| end <= at).min(groups.len() - 1);
                let (end, first, ids) = groups[k];
                let begin = k.checked_sub(1).map_or(0.0, |before| groups[before].0);
                first + ((((at - begin) / (end - begin)) * ids as f64) as u64).min(ids - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is drawn has as many distinct ids as the planner expects.
    #[test]
    fn draws_follow_the_distribution() {
        let zipf = IdDistribution::Zipf { rows: 5_000, exponent: 1.05 };
        let log = IdDistribution::Measured(vec![(0.001, 300.0), (0.02, 30.0), (0.1, 1.0)]);
        for (distribution, entries) in [(zipf, 3_000u64), (log, 700)] {
            let draw = Draw::new(Some(&distribution), MOST_IDS);
            let stream = Stream::new(3, "draws", 0);
            let trials = 50;
            let mut distinct = 0;
            for trial in 0..trials {
                let ids = (0..entries).map(|k| draw.id(stream.uniform(trial * entries + k)));
                distinct += ids.collect::<std::collections::BTreeSet<u64>>().len();
            }
            // One entry per sample, each of exactly one of the log's ids.
            let expected = distribution.distinct(entries as f64, entries as f64);
            let drawn = distinct as f64 / trials as f64;
            assert!((drawn / expected - 1.0).abs() < 0.03, "{drawn} drawn, {expected} expected");
        }
    }
}
