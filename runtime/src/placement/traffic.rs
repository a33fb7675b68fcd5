//! Bytes that a rank sends and receives in one step. What it sends to itself does not count.

use super::work;
use super::{Division, ModelUse};
use crate::leaves::{owned_leaves, subtrees};
use crate::table::Placement;
use din_program::schedule::Combine;
use din_program::schema::{FeatureKind, KeyType, LabelKind, TableSpec};
use serde::Serialize;
use std::collections::BTreeMap;

/// Words of an id.
pub(super) const ID_WORDS: u32 = 2;
pub(super) const ID_BYTES: f64 = 4.0 * ID_WORDS as f64;

/// Words that say which row a gradient is of, where not every row of a message has one.
pub(super) const POSITION_WORDS: u32 = 1;

/// A phase in which every rank would receive more floats than this joins its sums in blocks: see
/// `comm::RankReduction`.
const WHOLE_WORDS: usize = crate::comm::WHOLE_WORDS;

/// Words of a string key, with its length.
const STRING_WORDS: f64 = 5.0;

/// Bytes of a step in one direction and the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    pub sent: f64,
    pub received: f64,
}

impl Traffic {
    fn words(sent: f64, received: f64) -> Self {
        Self { sent: 4.0 * sent, received: 4.0 * received }
    }

    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
    }

    /// The larger direction, which takes the time.
    pub fn larger(&self) -> f64 {
        self.sent.max(self.received)
    }
}

/// What a rank sends and receives for tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TableTraffic {
    /// Ids to the owners of their rows; to all ranks, of a replicated table.
    pub ids: Traffic,
    /// Rows to those who asked for them; none of a replicated table.
    pub rows: Traffic,
    /// Row gradients to the owners of their rows.
    pub gradients: Traffic,
}

impl TableTraffic {
    /// All of these.
    pub fn total(&self) -> Traffic {
        let mut total = self.ids;
        [self.rows, self.gradients].into_iter().for_each(|part| total.add(part));
        total
    }

    /// Of several tables.
    pub(super) fn add(&mut self, other: &Self) {
        self.ids.add(other.ids);
        self.rows.add(other.rows);
        self.gradients.add(other.gradients);
    }
}

/// What the rank with the most traffic sends and receives in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TrafficPlan {
    /// Of all tables.
    pub tables: TableTraffic,
    /// Reductions whose sums are joined in blocks: values out, as an all-to-all.
    pub blocks: Traffic,
    /// The joined blocks, and values that all ranks get, as all-gathers.
    pub gathered: Traffic,
    /// Samples on their way to their ranks, ahead of the step.
    pub samples: Traffic,
    /// All of these.
    pub total: Traffic,
    /// All-to-all operations of a step, without those that are ahead of it.
    pub exchanges: u32,
    /// All-gather operations of a step.
    pub gathers: u32,
}

/// Distinct ids of a table, by rank.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// In the rank's part of the batch.
    pub rows: Vec<f64>,
    /// The same summed over the rank's subtrees.
    pub in_subtrees: Vec<f64>,
}

impl Fetched {
    pub fn new(model: &ModelUse<'_>, division: &Division, table: usize) -> Self {
        let mut known: BTreeMap<usize, f64> = BTreeMap::new();
        let mut distinct =
            |units: usize| *known.entry(units).or_insert_with(|| model.distinct(table, model.part(units, 1)));
        let ranks = 0..division.ranks;
        Self {
            rows: ranks.clone().map(|rank| distinct(division.units_of(&division.owned(rank)))).collect(),
            in_subtrees: ranks.map(|rank| division.subtrees(rank).into_iter().map(&mut distinct).sum()).collect(),
        }
    }

    /// Words of the gradients of a rank's rows: their values, and where some rows are not in all
    /// subtrees, which they are.
    fn gradient_words(&self, division: &Division, rank: usize, width: u32) -> f64 {
        let everywhere = division.subtrees(rank).len() as f64 * self.rows[rank];
        let positions = if everywhere - self.in_subtrees[rank] < 0.5 { 0 } else { POSITION_WORDS };
        self.in_subtrees[rank] * f64::from(width + positions)
    }
}

/// What a rank sends and receives for a table.
pub(super) fn table(
    division: &Division,
    spec: &TableSpec,
    placement: Placement,
    fetched: &Fetched,
    rank: usize,
) -> TableTraffic {
    let ranks = 0..division.ranks;
    let width = spec.width;
    // Of a frozen table there are none.
    let gradients = |rank| if spec.frozen { 0.0 } else { fetched.gradient_words(division, rank, width) };
    let gradients: Vec<f64> = ranks.clone().map(gradients).collect();
    let trees: Vec<f64> = ranks.map(|rank| division.subtrees(rank).len() as f64).collect();
    let others = |of: &[f64]| of.iter().sum::<f64>() - of[rank];
    let to_all = division.ranks as f64 - 1.0;
    // Of the rows that a rank has fetched, the part that is another's; and of those that another
    // one has fetched, the part that is this rank's.
    let (away, here) = match placement {
        Placement::Sharded => (1.0 - division.share(rank), division.share(rank)),
        Placement::Replicated => (to_all, 1.0),
    };
    let (id, values) = (f64::from(ID_WORDS), f64::from(width));
    let own = fetched.rows[rank];
    TableTraffic {
        // One word says how many they are.
        ids: Traffic::words(own * id * away + to_all, others(&fetched.rows) * id * here + to_all),
        rows: match placement {
            Placement::Sharded => Traffic::words(others(&fetched.rows) * values * here, own * values * away),
            Placement::Replicated => Traffic::default(),
        },
        // One word per subtree says how many rows it has.
        gradients: Traffic::words(
            gradients[rank] * away + trees[rank] * to_all,
            others(&gradients) * here + others(&trees),
        ),
    }
}

/// Traffic of a rank, with `tables` the sum of [`table`] over tables.
pub(super) fn of_rank(
    model: &ModelUse<'_>,
    division: &Division,
    placements: &[Placement],
    tables: TableTraffic,
    rank: usize,
) -> TrafficPlan {
    if division.ranks == 1 {
        return TrafficPlan::default();
    }
    let program = model.program;
    let mut plan = TrafficPlan { tables, ..TrafficPlan::default() };
    let to_all = division.ranks as f64 - 1.0;
    if !placements.is_empty() {
        // The first word of a message of ids or rows says whether its rank goes on.
        plan.tables.ids.add(Traffic::words(to_all, to_all));
        plan.tables.rows.add(Traffic::words(to_all, to_all));
        plan.exchanges = 2;
    }
    for phase in work::reductions(&program.train) {
        plan.reduce(&phase, rank, division.ranks, |rank| division.subtrees(rank).len());
    }
    // Elements of every axis.
    plan.gather(program.train.axes.count(), to_all);
    // Updates that sum over the rows of sharded tables, phase by phase side by side.
    let sharded = (0..placements.len()).filter(|&table| placements[table] == Placement::Sharded);
    let summed = sharded.filter(|&table| program.is_summed_over_rows(table));
    let mut phases: Vec<Vec<(Combine, usize)>> = Vec::new();
    // The squares of all gradients are summed before the first update runs.
    let of_squares = |table: usize| program.squared_norm_of_table(table);
    for program_of in [&of_squares as &dyn Fn(usize) -> Option<u32>, &|table| Some(program.tables[table].update)] {
        let before = phases.len();
        for update in summed.clone().filter_map(program_of) {
            let schedule = &program.updates[update as usize].schedule;
            for (k, mut phase) in work::reductions(schedule).enumerate() {
                phases.resize_with(phases.len().max(before + k + 1), Vec::new);
                phases[before + k].append(&mut phase);
            }
        }
    }
    for phase in &phases {
        plan.reduce(phase, rank, division.ranks, |rank| {
            subtrees(owned_leaves(rank, division.ranks, division.buckets)).count()
        });
    }
    if summed.count() > 0 {
        plan.gather(program.tables.len(), to_all);
    }
    plan.samples = samples(model, division, rank);
    plan.total = plan.tables.total();
    [plan.blocks, plan.gathered, plan.samples].into_iter().for_each(|part| plan.total.add(part));
    plan
}

impl TrafficPlan {
    /// So many words of each rank to all others.
    fn gather(&mut self, words: usize, to_all: f64) {
        self.gathered.add(Traffic::words(words as f64 * to_all, words as f64 * to_all));
        self.gathers += 1;
    }

    /// The reductions of a phase, of which each rank has one value per subtree.
    fn reduce(&mut self, phase: &[(Combine, usize)], rank: usize, ranks: usize, trees: impl Fn(usize) -> usize) {
        let own = trees(rank) as f64;
        let all = (0..ranks).map(trees).sum::<usize>() as f64;
        let to_all = ranks as f64 - 1.0;
        let floats: usize = phase.iter().map(|(_, width)| width).sum();
        let sums = phase.iter().filter(|(combine, _)| *combine == Combine::Sum).map(|(_, width)| *width);
        let summed: usize = sums.clone().sum();
        if summed > 0 && floats as f64 * all > WHOLE_WORDS as f64 {
            // Rank `p` joins block `p` of each sum; all ranks join the rest.
            let block = sums.map(|width| width * (rank + 1) / ranks - width * rank / ranks).sum::<usize>() as f64;
            let rest = (floats - summed) as f64;
            self.blocks
                .add(Traffic::words(own * (summed as f64 - block + rest * to_all), (all - own) * (block + rest)));
            self.gathered.add(Traffic::words(block * to_all, summed as f64 - block));
            self.exchanges += 1;
        } else {
            self.gathered.add(Traffic::words(own * floats as f64 * to_all, (all - own) * floats as f64));
        }
        self.gathers += 1;
    }
}

/// Samples of a batch that other ranks decode, as many as ranks have of each other's.
fn samples(model: &ModelUse<'_>, division: &Division, rank: usize) -> Traffic {
    let schema = &model.program.schema;
    let candidates = model.candidates;
    let per_sample = |common: bool| if common { 1.0 / candidates } else { 1.0 };
    let features = schema.features.iter().map(|feature| {
        let each = match feature.kind {
            FeatureKind::Dynamic { .. } => f64::from(ID_WORDS),
            FeatureKind::Fixed { size, .. } => {
                if size <= 1 << 32 {
                    1.0
                } else {
                    f64::from(ID_WORDS)
                }
            }
            FeatureKind::Dense { width } => f64::from(width),
        };
        each * feature.sequence.map_or(1.0, |s| model.lengths[s as usize]) * per_sample(feature.common)
    });
    let lists = schema.sequences.iter().map(|sequence| per_sample(sequence.common));
    let keys = schema.keys.iter().map(|key| match key.kind {
        KeyType::Int64 => f64::from(ID_WORDS),
        KeyType::String => STRING_WORDS,
    });
    // The value of a label, and whether there is one.
    let labels: f64 =
        schema.labels.iter().map(|l| if l.kind == LabelKind::Binary { 2.0 / 32.0 } else { 33.0 / 32.0 }).sum();
    let requests = if schema.requests.is_some() { 1.0 / candidates } else { 0.0 };
    let words = features.chain(lists).chain(keys).sum::<f64>() + labels + requests;
    // Blocks of data are decoded by all ranks in turn, whoever has the samples.
    let part = |rank: usize| division.part(model, rank).samples;
    let ranks = division.ranks as f64;
    let own = part(rank);
    let all: f64 = (0..division.ranks).map(part).sum();
    Traffic::words(words * (all - own) / ranks, words * own * (1.0 - 1.0 / ranks))
}
