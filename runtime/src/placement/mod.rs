//! The planner of distributed training: where tables go, and what that costs, before anything runs.
//!
//! A [`Plan`] is computed from a program and what the user expects (ranks, batch, rows, lengths of
//! lists, rates), without files, threads or devices. `docs/operations/planning.md` has the model.
//!
//! - `distribution`: distinct ids of a part of a batch. - `work`: what a step computes.
//! - `memory`: bytes of tables, dense values and buffers. - `traffic`: bytes between ranks.
//! - `rates`: what a rank does per second. - `plan`: all of it together. - `fit`: what would fit.

mod distribution;
mod fit;
mod memory;
mod plan;
mod rates;
mod traffic;
mod work;

pub use distribution::IdDistribution;
pub use fit::shown_bytes;
pub use memory::{MemoryPlan, TableMemory};
pub use plan::{Plan, StepTime, TablePlan};
pub use rates::{RateSource, Rates};
pub use traffic::{TableTraffic, Traffic, TrafficPlan};
pub use work::StepWork;

use crate::comm::Communicator;
use crate::leaves::{SumTree, leaf_begin, leaf_count, owned_leaves, subtrees};
use crate::table::{Placement, ShardPlan, Sharding};
use crate::{Error, Result};
use din_program::Program;
use din_program::schema::{TableKind, TableSpec};
use std::ops::Range;
use work::BatchPart;

/// What a rank may have to send for a replicated table in one step.
const REPLICATED: u64 = 64 << 10;

/// Where the rows of a table go in a run of so many ranks, unless `asked` says it.
///
/// A fixed table is replicated where the gradients of all of its rows, sent to every other rank,
/// are at most 64 KiB: such a table is small, and its ids and rows then need not travel. Every
/// other table is sharded. The choice reads nothing of the data, and no bit of the result depends
/// on it.
pub fn choose(table: &TableSpec, ranks: usize, asked: Option<Placement>) -> Placement {
    asked.unwrap_or(match table.kind {
        TableKind::Dynamic { .. } => Placement::Sharded,
        TableKind::Fixed { size } => {
            let others = ranks.saturating_sub(1).max(1) as u64;
            let words = u64::from(traffic::ID_WORDS + traffic::POSITION_WORDS + table.width);
            match size.saturating_mul(4 * words).saturating_mul(others) <= REPLICATED {
                true => Placement::Replicated,
                false => Placement::Sharded,
            }
        }
    })
}

/// Where a rank of a run has the rows of a model's tables: see [`choose`]. `asked` has the tables,
/// by name, whose place was asked for.
///
/// # Errors
/// There are more ranks than leaves, or no table has one of the names.
pub fn shard_plan(
    program: &Program,
    leaves: u32,
    ranks: &dyn Communicator,
    asked: &[(String, Placement)],
) -> Result<ShardPlan> {
    let size = ranks.size();
    if size > leaves as usize {
        return Err(Error::input(format!("{size} ranks: expected at most {leaves}, one for each leaf of a batch"))
            .help(format!("start fewer ranks, or a new run with --leaves {}", size.next_power_of_two())));
    }
    if let Some((unknown, _)) = asked.iter().find(|(name, _)| program.tables.iter().all(|table| table.name != *name)) {
        let names: Vec<&str> = program.tables.iter().map(|table| table.name.as_str()).collect();
        return Err(Error::input(format!("{}: no table `{unknown}`", program.model))
            .help(format!("its tables are {}", names.join(", "))));
    }
    let place = |table: &TableSpec| {
        // Where a table is named twice, the last counts.
        let asked = asked.iter().rev().find(|(name, _)| *name == table.name).map(|(_, placement)| *placement);
        choose(table, size, asked)
    };
    let sharding = Sharding { buckets: leaves, rank: ranks.rank(), ranks: size };
    Ok(ShardPlan { sharding, placements: program.tables.iter().map(place).collect() })
}

/// What is expected of the ids of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableIds {
    /// Ids with a row, over all ranks.
    pub rows: u64,
    pub distribution: IdDistribution,
}

/// A program, and what is expected of its data.
#[derive(Clone, Debug)]
pub struct ModelUse<'a> {
    pub program: &'a Program,
    /// By table.
    pub tables: Vec<TableIds>,
    /// By sequence: mean number of entries.
    pub lengths: Vec<f64>,
    /// Mean number of samples per request that the data have; 1 where they have none.
    pub candidates: f64,
    /// Samples of the training data; where they are not known, more than are read at a time.
    pub samples: Option<u64>,
}

/// How the model is to be trained.
#[derive(Clone, Debug)]
pub struct RunPlanOptions {
    pub ranks: usize,
    /// Samples of the global batch.
    pub batch: u32,
    /// A power of two, as many as ranks at least.
    pub leaves: u32,
    /// Threads of a rank.
    pub threads: u32,
    /// Passes over the training data.
    pub epochs: u32,
    /// By table: where it is to go, whatever [`choose`] would say.
    pub placements: Vec<Option<Placement>>,
    pub rates: Rates,
    /// Bytes that a rank has: of the device, where that is not the CPU.
    pub memory: Option<u64>,
}

impl ModelUse<'_> {
    /// Requests of a global batch that the data have, or else samples.
    fn units(&self, batch: u32) -> usize {
        (f64::from(batch) / self.candidates).round().max(1.0) as usize
    }

    /// So many units of a batch, in so many leaves.
    fn part(&self, units: usize, leaves: usize) -> BatchPart {
        let requests = match &self.program.schema.in_batch {
            // A unit is a sample.
            Some(requests) => units as f64 / f64::from(requests.size),
            None => units as f64,
        };
        BatchPart { samples: units as f64 * self.candidates, requests, leaves: leaves as f64 }
    }
}

/// How a global batch is divided.
#[derive(Clone, Copy, Debug)]
struct Division {
    ranks: usize,
    /// Leaves of the batch.
    leaves: usize,
    /// Buckets of a table.
    buckets: usize,
    /// Units of the batch.
    units: usize,
    /// What joins the sums of ranks.
    tree: SumTree,
}

impl Division {
    fn new(model: &ModelUse<'_>, options: &RunPlanOptions) -> Self {
        let units = model.units(options.batch);
        let leaves = leaf_count(units, options.leaves);
        let tree = if options.rates.on_host() { SumTree::OverLeaves(leaves) } else { SumTree::OverRanks };
        Self { ranks: options.ranks, leaves, buckets: options.leaves as usize, units, tree }
    }

    /// Units of some consecutive leaves.
    fn units_of(&self, leaves: &Range<usize>) -> usize {
        leaf_begin(leaves.end, self.leaves, self.units) - leaf_begin(leaves.start, self.leaves, self.units)
    }

    /// The leaves of a rank.
    fn owned(&self, rank: usize) -> Range<usize> {
        owned_leaves(rank, self.ranks, self.leaves)
    }

    /// Units of each subtree of a rank.
    fn subtrees(&self, rank: usize) -> Vec<usize> {
        match self.tree {
            SumTree::OverLeaves(_) => subtrees(self.owned(rank)).map(|tree| self.units_of(&tree)).collect(),
            SumTree::OverRanks => vec![self.units_of(&self.owned(rank))],
        }
    }

    /// The rank's part of the batch.
    fn part(&self, model: &ModelUse<'_>, rank: usize) -> BatchPart {
        let owned = self.owned(rank);
        model.part(self.units_of(&owned), owned.len())
    }

    /// The part of a sharded table's rows that a rank has.
    fn share(&self, rank: usize) -> f64 {
        owned_leaves(rank, self.ranks, self.buckets).len() as f64 / self.buckets as f64
    }

    /// The rank with the most samples.
    fn busiest(&self) -> usize {
        let by_units = |&rank: &usize| (self.units_of(&self.owned(rank)), self.ranks - rank);
        (0..self.ranks).max_by_key(by_units).expect("there is a rank")
    }

    /// The largest part of a sharded table's rows that a rank has.
    fn largest_share(&self) -> f64 {
        (0..self.ranks).map(|rank| self.share(rank)).fold(0.0, f64::max)
    }
}
