//! Bytes that a rank sends and receives in one step. What it sends to itself does not count.

use super::work::{self, PhaseReduction};
use super::{Division, ModelUse};
use crate::table::Placement;
use serde::Serialize;
use std::collections::BTreeMap;

/// Words of an id.
const ID_WORDS: u32 = 2;

pub(super) const ID_BYTES: f64 = 4.0 * ID_WORDS as f64;

/// Words that the gradients of a row have once: the number of its subtrees; an id where the owner
/// does not know it from having sent the row.
const COUNT_WORDS: u32 = 1;
pub(super) const RECORD_WORDS: u32 = ID_WORDS + COUNT_WORDS;

/// Words of each subtree in which a row occurs, beside the gradient: its number.
pub(super) const SUBTREE_WORDS: u32 = 1;

/// A phase with more floats than this joins them in blocks, one per rank; with fewer, every rank
/// sends all of them to all others.
const FEW_FLOATS: f64 = 1024.0;

/// Bytes of a step in one direction or the other.
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
    /// Ids to the owners of their rows, ahead of the step.
    pub ids: Traffic,
    /// Rows to those who asked for them.
    pub rows: Traffic,
    /// Row gradients to the owners.
    pub gradients: Traffic,
    /// Row gradients of replicated tables, to all ranks.
    pub replicated: Traffic,
}

impl TableTraffic {
    /// All of these.
    pub fn total(&self) -> Traffic {
        let mut total = self.ids;
        [self.rows, self.gradients, self.replicated].into_iter().for_each(|part| total.add(part));
        total
    }

    /// Of several tables.
    pub(super) fn add(&mut self, other: &Self) {
        self.ids.add(other.ids);
        self.rows.add(other.rows);
        self.gradients.add(other.gradients);
        self.replicated.add(other.replicated);
    }
}

/// What the rank with the most traffic sends and receives in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TrafficPlan {
    /// Of all tables.
    pub tables: TableTraffic,
    /// Gradients of dense parameters, in blocks.
    pub dense: Traffic,
    /// Moments, losses and other small sums.
    pub reductions: Traffic,
    /// All of these.
    pub total: Traffic,
    /// All-to-all operations of a step, without that of ids.
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
            |units: usize| *known.entry(units).or_insert_with(|| model.distinct(table, model.part(units)));
        let ranks = 0..division.ranks;
        Self {
            rows: ranks.clone().map(|rank| distinct(division.units_of(&division.owned(rank)))).collect(),
            in_subtrees: ranks.map(|rank| division.subtrees(rank).into_iter().map(&mut distinct).sum()).collect(),
        }
    }
}

/// What a rank sends and receives for a table: ids, rows, gradients.
pub(super) fn table(
    division: &Division,
    width: u32,
    placement: Placement,
    fetched: &Fetched,
    rank: usize,
) -> TableTraffic {
    let others = |of: &[f64]| of.iter().sum::<f64>() - of[rank];
    let (own, own_trees) = (fetched.rows[rank], fetched.in_subtrees[rank]);
    let (all, all_trees) = (others(&fetched.rows), others(&fetched.in_subtrees));
    let (width, tree) = (f64::from(width), f64::from(SUBTREE_WORDS + width));
    let to_all = division.ranks as f64 - 1.0;
    match placement {
        Placement::Sharded => {
            let (here, away) = (division.share(rank), 1.0 - division.share(rank));
            let (id, count) = (f64::from(ID_WORDS), f64::from(COUNT_WORDS));
            TableTraffic {
                ids: Traffic::words(own * id * away, all * id * here),
                rows: Traffic::words(all * width * here, own * width * away),
                gradients: Traffic::words(
                    (own * count + own_trees * tree) * away,
                    (all * count + all_trees * tree) * here,
                ),
                replicated: Traffic::default(),
            }
        }
        Placement::Replicated => {
            let record = f64::from(RECORD_WORDS);
            TableTraffic {
                replicated: Traffic::words((own * record + own_trees * tree) * to_all, all * record + all_trees * tree),
                ..TableTraffic::default()
            }
        }
    }
}

/// Traffic of a rank, with `tables` the sum of [`table`] over tables.
pub(super) fn of_rank(model: &ModelUse<'_>, division: &Division, tables: TableTraffic, rank: usize) -> TrafficPlan {
    let mut plan = TrafficPlan { tables, ..TrafficPlan::default() };
    if division.ranks == 1 {
        return plan;
    }
    // Rows out, gradients back.
    plan.exchanges = if tables.rows.larger() > 0.0 { 2 } else { 0 };
    plan.gathers = u32::from(tables.replicated.larger() > 0.0);
    let ranks = division.ranks as f64;
    let trees = |rank: usize| division.subtrees(rank).len() as f64;
    let own = trees(rank);
    let others: f64 = (0..division.ranks).map(trees).sum::<f64>() - own;
    for PhaseReduction { floats, moments } in work::reductions(&model.program.train) {
        let (blocks, small) = if floats > FEW_FLOATS { (floats, moments) } else { (0.0, floats + moments) };
        if blocks > 0.0 {
            let (block, rest) = (blocks / ranks, blocks - blocks / ranks);
            plan.dense.add(Traffic::words(own * rest + block * (ranks - 1.0), others * block + rest));
            plan.exchanges += 1;
            plan.gathers += 1;
        }
        if small > 0.0 {
            plan.reductions.add(Traffic::words(own * small * (ranks - 1.0), others * small));
            plan.gathers += 1;
        }
    }
    plan.total = tables.total();
    plan.total.add(plan.dense);
    plan.total.add(plan.reductions);
    plan
}
