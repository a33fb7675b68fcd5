//! All of a plan: placements, memory, traffic, time.

use super::memory::{self, MemoryPlan, TableMemory};
use super::traffic::{self, Fetched, TableTraffic, TrafficPlan};
use super::work::{BatchPart, StepWork};
use super::{Division, ModelUse, RateSource, Rates, RunPlanOptions, choose};
use crate::table::Placement;
use din_program::schedule::AbsorbedWeight;
use din_program::schema::UpdateRule;
use serde::Serialize;

/// What a run of several ranks would take. Bytes, ids and times are those of the rank that has the
/// most to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub ranks: usize,
    /// Samples of the global batch.
    pub batch: u32,
    /// Leaves of this batch.
    pub leaves: usize,
    /// Samples of the rank that has most.
    pub samples: f64,
    /// Ranks that have no samples, since the batch has fewer leaves than there are ranks.
    pub idle_ranks: usize,
    pub tables: Vec<TablePlan>,
    pub memory: MemoryPlan,
    /// Of the rank that has most.
    pub traffic: TrafficPlan,
    /// Its number.
    pub rank: usize,
    pub work: StepWork,
    pub rates: Rates,
    pub time: StepTime,
    /// Samples of all ranks.
    pub samples_per_second: f64,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TablePlan {
    pub name: String,
    pub width: u32,
    #[serde(serialize_with = "placement_name")]
    pub placement: Placement,
    /// Rows of all ranks together, each counted once.
    pub rows: u64,
    pub memory: TableMemory,
    /// Ids in the rank's part of a batch, counted as often as they occur.
    pub entries: f64,
    /// Distinct ones.
    pub distinct: f64,
    /// Distinct ones of the global batch.
    pub distinct_of_batch: f64,
    /// Of the rank with the most traffic.
    pub traffic: TableTraffic,
}

fn placement_name<S: serde::Serializer>(placement: &Placement, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match placement {
        Placement::Sharded => "sharded",
        Placement::Replicated => "replicated",
    })
}

/// Seconds of a step, by part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepTime {
    /// Finding rows of ids and sorting their occurrences.
    pub lookup: f64,
    /// The phases of the schedule.
    pub compute: f64,
    /// Rows, row gradients, and blocks of dense gradients.
    pub all_to_all: f64,
    /// Joined blocks, and reductions of few floats.
    pub gather: f64,
    /// Sums of row gradients, and optimizers.
    pub update: f64,
    /// Reading later batches, by threads that share the cores of the step's.
    pub reading: f64,
    /// Ids and samples of later batches, which travel at the same time.
    pub ahead: f64,
    /// A step: all parts but the last, or the last where it is longer.
    pub total: f64,
    /// The longest part.
    pub bottleneck: &'static str,
}

impl StepTime {
    /// The parts that follow each other, by name.
    pub fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("lookup", self.lookup),
            ("compute", self.compute),
            ("all-to-all", self.all_to_all),
            ("gather", self.gather),
            ("update", self.update),
            ("reading", self.reading),
        ]
    }
}

impl Plan {
    /// The plan of a run.
    ///
    /// # Panics
    /// `options` has no ranks, more ranks than leaves, or leaves that are no power of two; or the
    /// program contradicts itself, as an executor that accepted it has made sure it does not.
    pub fn new(model: &ModelUse<'_>, options: &RunPlanOptions) -> Plan {
        assert!(options.ranks > 0 && options.ranks <= options.leaves as usize, "a rank has a leaf");
        assert!(options.leaves.is_power_of_two(), "the number of leaves is a power of two");
        let division = Division::new(model, options);
        let program = model.program;
        let placements: Vec<Placement> = program
            .tables
            .iter()
            .zip(&options.placements)
            .map(|(spec, asked)| choose(spec, options.ranks, *asked))
            .collect();
        let fetched: Vec<Fetched> =
            (0..program.tables.len()).map(|table| Fetched::new(model, &division, table)).collect();
        let of_table = |table: usize, rank: usize| {
            traffic::table(&division, &program.tables[table], placements[table], &fetched[table], rank)
        };
        let of_rank = |rank: usize| {
            let mut sum = TableTraffic::default();
            (0..program.tables.len()).for_each(|table| sum.add(&of_table(table, rank)));
            traffic::of_rank(model, &division, &placements, sum, rank)
        };
        let all = (0..options.ranks).map(|rank| (rank, of_rank(rank)));
        let (rank, traffic) = all
            .max_by(|(_, a), (_, b)| (a.total.sent + a.total.received).total_cmp(&(b.total.sent + b.total.received)))
            .expect("there is a rank");

        let busiest = division.busiest();
        let part = division.part(model, busiest);
        let tables: Vec<TablePlan> = program
            .tables
            .iter()
            .enumerate()
            .map(|(table, spec)| TablePlan {
                name: spec.name.clone(),
                width: spec.width,
                placement: placements[table],
                rows: model.tables[table].rows,
                memory: memory::table(model, &division, table, placements[table]),
                entries: model.entries(table, part),
                distinct: fetched[table].rows[busiest],
                distinct_of_batch: model.distinct(table, model.part(division.units, division.leaves)),
                traffic: of_table(table, rank),
            })
            .collect();
        let work = work_of(model, options, &division, &tables, part);
        let memory = memory::of_rank(model, &division, options, &tables, &traffic);
        let time = time_of(&work, &traffic, part.samples, options);
        Plan {
            ranks: options.ranks,
            batch: options.batch,
            leaves: division.leaves,
            samples: part.samples,
            idle_ranks: options.ranks.saturating_sub(division.leaves),
            tables,
            memory,
            traffic,
            rank,
            work,
            rates: options.rates,
            time,
            samples_per_second: f64::from(options.batch) / time.total,
        }
    }
}

/// What the busiest rank does in a step.
fn work_of(
    model: &ModelUse<'_>,
    options: &RunPlanOptions,
    division: &Division,
    tables: &[TablePlan],
    part: BatchPart,
) -> StepWork {
    let absorbed = if options.rates.on_host() { AbsorbedWeight::PerSample } else { AbsorbedWeight::BothHalves };
    let mut work = model.phases(part, absorbed);
    let share = division.largest_share();
    for (table, plan) in tables.iter().enumerate() {
        let spec = &model.program.tables[table];
        let width = f64::from(4 * spec.width);
        // What other ranks ask for is looked up, and their gradients are joined.
        let joined = plan.traffic.gradients.received;
        work.ids += plan.entries + plan.traffic.ids.received / traffic::ID_BYTES;
        let updated = match (spec.update_rule, plan.placement) {
            _ if spec.frozen => 0.0,
            (UpdateRule::Dense, Placement::Sharded | Placement::Replicated) => plan.memory.rows as f64,
            (UpdateRule::Sparse, Placement::Sharded) => plan.distinct_of_batch * share,
            (UpdateRule::Sparse, Placement::Replicated) => plan.distinct_of_batch,
        };
        // Weights and state are read and written, the gradient is written and read.
        let row = (plan.memory.total - plan.memory.index) as f64 / plan.memory.rows.max(1) as f64;
        let fetched = if division.ranks > 1 { 2.0 * plan.distinct * width } else { 0.0 };
        let owned = joined + fetched + updated * 2.0 * (row + width);
        work.row_bytes += model.gradient_bytes(table, part);
        match rows_on_device(options) {
            true => work.row_bytes += owned,
            false => work.host_row_bytes += owned,
        }
    }
    // The optimizer of the dense part, which every rank runs.
    work.row_bytes += 2.0 * memory::dense(model) as f64;
    work
}

/// Whether tables are where steps run: on several ranks with GPUs they are in the hosts' memory.
pub(super) fn rows_on_device(options: &RunPlanOptions) -> bool {
    options.rates.on_host() || options.ranks == 1
}

fn time_of(work: &StepWork, traffic: &TrafficPlan, samples: f64, options: &RunPlanOptions) -> StepTime {
    let (rates, ranks) = (&options.rates, options.ranks);
    let products = match rates.source {
        // No call is faster than its operands come.
        RateSource::Published => (work.product_flops / rates.products).max(work.product_bytes / rates.values),
        RateSource::Default | RateSource::Measured | RateSource::Given => work.product_flops / rates.products,
    };
    let compute = products + work.value_bytes / rates.values;
    let exchanged = traffic.tables.rows.larger() + traffic.tables.gradients.larger() + traffic.blocks.larger();
    let gathered = traffic.gathered.larger();
    let one = |operations: u32, bytes: f64, time: &dyn Fn(f64) -> f64| match operations {
        0 => 0.0,
        more => time(bytes) + f64::from(more - 1) * time(0.0),
    };
    let of_host = work.host_row_bytes / Rates::cpu(options.threads).rows;
    let (lookup, update) = (work.ids / rates.ids, work.row_bytes / rates.rows + of_host);
    let all_to_all = one(traffic.exchanges, exchanged, &|bytes| rates.all_to_all(ranks, bytes));
    let gather = one(traffic.gathers, gathered, &|bytes| rates.all_gather(ranks, bytes));
    // One exchange of ids, and one of samples.
    let early = traffic.tables.ids.larger() + traffic.samples.larger();
    let ahead = one(if ranks > 1 { 2 } else { 0 }, early, &|bytes| rates.all_to_all(ranks, bytes));
    let reading = rates.reading.map_or(0.0, |rate| samples / (rate * f64::from(options.threads)));
    let mut time = StepTime { lookup, compute, all_to_all, gather, update, reading, ahead, total: 0.0, bottleneck: "" };
    let parts = time.parts();
    let sum: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
    time.total = sum.max(ahead);
    time.bottleneck = match ahead > sum {
        true => "ahead",
        false => parts.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("a step has parts").0,
    };
    time
}
