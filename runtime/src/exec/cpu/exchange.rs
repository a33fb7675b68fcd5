//! Row gradients on their way to the owners of their rows.
//!
//! On one rank all rows are its own: their gradients stay where the training schedule has left
//! them, and [`Occurrences`] says in which order they are summed. On several ranks each sums what
//! its leaves have of a row, subtree by subtree, and sends the sums to the row's owner, which joins
//! them by the same tree.
//!
//! A message has, by table, by subtree of what the sender has: the number of rows that have
//! gradients in it; where these are not all rows that the sender has fetched from the receiver,
//! which of them they are; then their sums.
//!
//! A rank whose steps run on a GPU has one sum of each row, made there
//! ([`CpuExecutor::fetched_sums`]): the tree is then over the numbers of ranks, and the rest is the
//! same.

use super::bound_schedule::BoundSchedule;
use super::step::UpdateProgram;
use super::{CpuExecutor, TRAIN, UPDATES};
use crate::comm::{Channel, Messages, floats_as_words};
use crate::exec::ExecError;
use crate::exec::common::{FetchedRows, Layout, Lookup, StepInputs, StepNumbers};
use crate::kernels::{Microkernels, Occurrence, RowSegments, StridedRows};
use crate::leaves::{DEFAULT_LEAVES, SumTree, subtrees};
use crate::table::{Occurrences, RowReads, Table};
use crate::threads::ThreadPool;
use din_program::schedule::BATCH;
use din_program::schema::{Feature, UpdateRule};
use std::ops::Range;
use std::ptr::NonNull;

/// What an exchange needs from step to step.
#[derive(Debug, Default)]
pub(super) struct ExchangeBuffers {
    sums: Vec<RowSums>,
    send: Messages,
    received: Messages,
    /// By table.
    arrivals: Vec<Arrivals>,
    order: Vec<u32>,
    /// By table: rows to update, of this rank, and of all where a table's update sums over them.
    row_counts: Vec<u32>,
    pub global_row_counts: Vec<u32>,
}

/// A table's row gradients, summed by row and subtree.
#[derive(Debug, Default)]
struct RowSums {
    /// By sum: the fetched row, ascending, and the number of the subtree.
    rows: Vec<(u32, u32)>,
    /// Where the terms of each begin in the occurrences, then their number.
    begins: Vec<u32>,
    /// By sum, the table's width of floats.
    values: Vec<f32>,
}

/// What the ranks have sent for a table.
#[derive(Debug, Default)]
struct Arrivals {
    /// In the order of the reads: feature, first leaf, and the rows in `rows`.
    reads: Vec<(u16, u16, Range<usize>)>,
    /// Row numbers in this rank's table.
    rows: Vec<u32>,
}

/// Sums that one job makes.
const JOB: usize = 1024;

impl CpuExecutor {
    /// Brings row gradients to the owners of their rows: finds the distinct rows of every table and
    /// what is to be summed for each.
    ///
    /// Reads row numbers and the gradients of the training schedule; writes the occurrences and
    /// where the terms of the sums are, by which [`CpuExecutor::apply`] sums row gradients in a
    /// fixed order.
    pub(super) fn exchange(&mut self, tables: &[Table], inputs: &StepInputs<'_>) -> Result<(), ExecError> {
        self.find_occurrences(tables, inputs);
        for (gradients, lookups) in self.gradients.iter_mut().zip(&self.lookups) {
            gradients.clear();
            gradients.extend(lookups.iter().map(|lookup| gradient_rows(&self.schedules[TRAIN], lookup)));
        }
        if let Some(fetched) = inputs.fetched {
            self.sum_by_subtree(fetched);
            let (_, leaves) = self.schedules[TRAIN].layout.leaf_numbers();
            self.exchange_sums(tables, fetched, SumTree::OverLeaves(leaves))?;
        }
        self.order_rows(tables, inputs.fetched.is_some())
    }

    /// Where the sums of the gradients of a table's fetched rows are to be written, made elsewhere:
    /// the table's width of floats for each of `rows` rows, for [`CpuExecutor::update_rows`].
    pub fn fetched_sums(&mut self, table: usize, rows: usize) -> &mut [f32] {
        let width = self.program.tables[table].width as usize;
        self.exchange.sums.resize_with(self.program.tables.len(), RowSums::default);
        let sums = &mut self.exchange.sums[table];
        sums.rows.clear();
        sums.rows.extend((0..rows as u32).map(|row| (row, 0)));
        sums.values.resize(rows * width, 0.0);
        &mut sums.values
    }

    /// Sends the sums of [`CpuExecutor::fetched_sums`] to the owners of their rows, and receives
    /// those of this rank's rows. Every rank calls it, with a sum for each row that it has fetched.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn exchange_rows(&mut self, tables: &[Table], fetched: &[FetchedRows]) -> Result<(), ExecError> {
        // Of frozen tables there are no sums.
        self.exchange.sums.resize_with(self.program.tables.len(), RowSums::default);
        self.exchange_sums(tables, fetched, SumTree::OverRanks)?;
        self.order_rows(tables, true)
    }

    /// Updates this rank's rows by the sums that it has received.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn update_rows(&mut self, tables: &mut [Table], numbers: StepNumbers) -> Result<(), ExecError> {
        self.stop_all();
        self.bind_row_programs(UpdateProgram::Update, tables, numbers)?;
        self.run_updates()
    }

    /// Brings the sums to the owners of their rows.
    fn exchange_sums(&mut self, tables: &[Table], fetched: &[FetchedRows], tree: SumTree) -> Result<(), ExecError> {
        self.send_sums(fetched, tree)?;
        self.receive_sums(tables, fetched, tree);
        Ok(())
    }

    /// Adds the rows that the batch lacks where a table's updates are dense, and says in which
    /// leaves the rows of each table are updated: where its update sums over them, in the order of
    /// their buckets and ids.
    fn order_rows(&mut self, tables: &[Table], over_ranks: bool) -> Result<(), ExecError> {
        for ((spec, occurrences), table) in self.program.tables.iter().zip(&mut self.occurrences).zip(tables) {
            if spec.update_rule == UpdateRule::Dense {
                occurrences.cover(table.rows());
            }
        }
        self.exchange.row_counts.clear();
        for (t, (table, occurrences)) in tables.iter().zip(&mut self.occurrences).enumerate() {
            let (leaves, order) = (&mut self.row_leaves[t], &mut self.exchange.order);
            if self.program.is_summed_over_rows(t) {
                table.order_rows(&occurrences.rows, order, leaves);
                occurrences.reorder(order);
                let over_ranks = over_ranks && table.shard().is_some();
                let of_squares = UPDATES + tables.len() + self.program.parameters.len() + t;
                self.schedules[UPDATES + t].over_ranks = over_ranks;
                if let Some(schedule) = self.schedules.get_mut(of_squares) {
                    schedule.over_ranks = over_ranks;
                }
            } else {
                leaves.set_whole(occurrences.rows.len(), DEFAULT_LEAVES);
            }
            self.exchange.row_counts.push(occurrences.rows.len() as u32);
        }
        if self.schedules[UPDATES..][..tables.len()].iter().any(|schedule| schedule.over_ranks) {
            self.exchange.global_row_counts.clone_from(&self.exchange.row_counts);
            self.reducer.sum_counts(&mut self.exchange.global_row_counts)?;
        }
        Ok(())
    }

    /// Finds the distinct rows of every table and where in the batch each occurs, tables side by
    /// side.
    fn find_occurrences(&mut self, tables: &[Table], inputs: &StepInputs<'_>) {
        /// The jobs' own parts of two vectors.
        struct Parts(*mut Occurrences, *mut Vec<RowReads<'static>>);
        // SAFETY: job `t` uses the parts at `t` alone.
        unsafe impl Sync for Parts {}
        let parts = Parts(self.occurrences.as_mut_ptr(), self.reads.as_mut_ptr());
        let (program, lookups, layout) = (&self.program, &self.lookups, &self.schedules[TRAIN].layout);
        self.threads.pool().run(tables.len(), &|t, _| {
            let parts = &parts;
            // SAFETY: both vectors have one entry per table, and this job's is used by no other.
            let (occurrences, reads) = unsafe { (&mut *parts.0.add(t), &mut *parts.1.add(t)) };
            let source = inputs.row_source(t);
            let (first_leaf, _) = layout.leaf_numbers();
            for leaf in 0..layout.leaves(BATCH).len() - 1 {
                for (number, lookup) in lookups[t].iter().enumerate() {
                    let feature = program.tables[t].features[lookup.feature] as usize;
                    let (rows, elements) = match lookup.unique {
                        None => (
                            source.row_numbers[lookup.feature].as_slice(),
                            elements_of_leaf(&program.schema.features[feature], inputs, layout, leaf),
                        ),
                        Some((axis, key)) => {
                            let bounds = layout.leaves(axis);
                            let elements = bounds[leaf] as usize..bounds[leaf + 1] as usize;
                            (layout.unique(axis).rows[key as usize].as_slice(), elements)
                        }
                    };
                    let first = elements.start as u32;
                    // SAFETY: the reads are dropped below, before the borrows of `inputs` and of
                    // the layout end.
                    let rows = unsafe { std::mem::transmute::<&[u32], &'static [u32]>(&rows[elements]) };
                    reads.push(RowReads { rows, feature: number as u16, leaf: (first_leaf + leaf) as u16, first });
                }
            }
            occurrences.build(reads, source.count(&tables[t]));
            reads.clear();
        });
    }

    /// Sums the gradients of each fetched row within each of the largest subtrees of this rank's
    /// leaves.
    fn sum_by_subtree(&mut self, fetched: &[FetchedRows]) {
        let leaves = self.schedules[TRAIN].layout.leaf_range();
        let ends: Vec<usize> = subtrees(leaves).map(|tree| tree.end).collect();
        self.exchange.sums.resize_with(fetched.len(), RowSums::default);
        for (t, sums) in self.exchange.sums.iter_mut().enumerate() {
            let width = self.program.tables[t].width as usize;
            sums.find(&self.occurrences[t], &self.gradients[t], &ends);
            sums.sum(&self.occurrences[t].items, &self.gradients[t], width, self.kernels, &mut self.threads.pool());
        }
    }

    /// Sends the sums to the owners of their rows.
    fn send_sums(&mut self, fetched: &[FetchedRows], tree: SumTree) -> Result<(), ExecError> {
        let ranks = self.reducer.ranks().expect("rows are fetched from the ranks of a run");
        let trees = subtrees(tree.owned(ranks.rank(), ranks.size())).count();
        let ExchangeBuffers { sums, send, received, .. } = &mut self.exchange;
        send.clear();
        for rank in 0..ranks.size() {
            for ((sums, fetched), spec) in sums.iter().zip(fetched).zip(&self.program.tables) {
                let owned = fetched.owned_by[rank].clone();
                (0..trees as u32)
                    .for_each(|tree| sums.write(tree, owned.clone(), spec.width as usize, &mut send.words));
            }
            send.end_message();
        }
        ranks.all_to_all(Channel::Step, send, received).map_err(ExecError::Ranks)
    }

    /// Makes the sums that have arrived the terms of this rank's rows.
    fn receive_sums(&mut self, tables: &[Table], fetched: &[FetchedRows], tree: SumTree) {
        let ranks = self.reducer.ranks().expect("rows are fetched from the ranks of a run").size();
        let ExchangeBuffers { received, arrivals, .. } = &mut self.exchange;
        arrivals.resize_with(fetched.len(), Arrivals::default);
        for (arrivals, gradients) in arrivals.iter_mut().zip(&mut self.gradients) {
            arrivals.reads.clear();
            arrivals.rows.clear();
            gradients.clear();
        }
        for from in 0..ranks {
            let mut message = received.get(from);
            let owned = tree.owned(from, ranks);
            for (t, (fetched, spec)) in fetched.iter().zip(&self.program.tables).enumerate() {
                let (arrivals, gradients) = (&mut arrivals[t], &mut self.gradients[t]);
                let served = &fetched.served[from];
                if self.lookups[t].iter().any(|lookup| lookup.view.is_none()) {
                    // Rows may be read without gradients; they count as updated all the same.
                    arrivals.add(owned.start, served.iter().copied(), None, gradients);
                }
                for subtree in subtrees(owned.clone()) {
                    let count = take(&mut message, 1)[0] as usize;
                    let chosen = if count == served.len() { None } else { Some(take(&mut message, count)) };
                    let values = take(&mut message, count * spec.width as usize);
                    let rows = NonNull::from(values).cast();
                    let rows = StridedRows { base: rows, stride: spec.width as usize };
                    match chosen {
                        None => arrivals.add(subtree.start, served.iter().copied(), Some(rows), gradients),
                        Some(chosen) => {
                            let chosen = chosen.iter().map(|&at| served[at as usize]);
                            arrivals.add(subtree.start, chosen, Some(rows), gradients);
                        }
                    }
                }
            }
            assert!(message.is_empty(), "a message ends with its last table");
        }
        for (t, table) in tables.iter().enumerate() {
            let Arrivals { reads, rows } = &arrivals[t];
            let reads: Vec<RowReads<'_>> = reads
                .iter()
                .map(|&(feature, leaf, ref range)| RowReads { rows: &rows[range.clone()], feature, leaf, first: 0 })
                .collect();
            self.occurrences[t].build(&reads, table.rows());
        }
    }
}

impl RowSums {
    /// Finds what is to be summed: each row within each subtree in which it has a gradient. `ends`
    /// has the end of each subtree.
    fn find(&mut self, occurrences: &Occurrences, gradients: &[Option<StridedRows>], ends: &[usize]) {
        self.rows.clear();
        self.begins.clear();
        for (i, &row) in occurrences.rows.iter().enumerate() {
            let mut last = None;
            let first = occurrences.offsets[i];
            for (at, occurrence) in (first..).zip(occurrences.of(i)) {
                if gradients[occurrence.feature as usize].is_none() {
                    continue;
                }
                let tree = match ends {
                    [_] => 0,
                    ends => ends.partition_point(|&end| end <= occurrence.leaf as usize),
                };
                if last != Some(tree) {
                    self.rows.push((row, tree as u32));
                    self.begins.push(at);
                    last = Some(tree);
                }
            }
        }
        self.begins.push(occurrences.items.len() as u32);
    }

    fn sum(
        &mut self,
        items: &[Occurrence],
        gradients: &[Option<StridedRows>],
        width: usize,
        kernels: Microkernels,
        pool: &mut ThreadPool,
    ) {
        /// The memory that jobs write, each its own part.
        struct Out(*mut f32);
        // SAFETY: jobs write disjoint parts.
        unsafe impl Sync for Out {}
        /// Rows of gradients, which the jobs only read.
        struct Terms<'a>(&'a [Option<StridedRows>]);
        // SAFETY: nobody writes gradients while they are summed.
        unsafe impl Sync for Terms<'_> {}
        let count = self.rows.len();
        self.values.resize(count * width, 0.0);
        let (out, terms) = (Out(self.values.as_mut_ptr()), Terms(gradients));
        let segments = RowSegments { offsets: &self.begins, occurrences: items };
        pool.run(count.div_ceil(JOB), &|job, _| {
            let (out, terms) = (&out, &terms);
            let range = (job * JOB, ((job + 1) * JOB).min(count));
            // SAFETY: `values` has `width` floats per sum; an occurrence names an element of its
            // feature's axis, which the feature's gradient covers.
            unsafe { kernels.sum_rows(segments, range, terms.0, width, out.0.wrapping_add(range.0 * width)) }
        });
    }

    /// Appends a subtree's part of a message to the owner of the rows `owned`.
    fn write(&self, tree: u32, owned: Range<u32>, width: usize, words: &mut Vec<u32>) {
        let all =
            self.rows.partition_point(|sum| sum.0 < owned.start)..self.rows.partition_point(|sum| sum.0 < owned.end);
        let of_tree = || all.clone().filter(|&at| self.rows[at].1 == tree);
        let count = of_tree().count();
        words.push(count as u32);
        if count != owned.len() {
            words.extend(of_tree().map(|at| self.rows[at].0 - owned.start));
        }
        if count == all.len() {
            words.extend_from_slice(floats_as_words(&self.values[all.start * width..all.end * width]));
        } else {
            of_tree().for_each(|at| words.extend_from_slice(floats_as_words(&self.values[at * width..][..width])));
        }
    }
}

impl Arrivals {
    /// Adds rows of this rank's table with what a rank has summed for them in a subtree.
    fn add(
        &mut self,
        leaf: usize,
        rows: impl Iterator<Item = u32>,
        gradient: Option<StridedRows>,
        gradients: &mut Vec<Option<StridedRows>>,
    ) {
        let begin = self.rows.len();
        self.rows.extend(rows);
        let feature = u16::try_from(gradients.len()).expect("1024 leaves have fewer than 2^16 subtrees");
        self.reads.push((feature, leaf as u16, begin..self.rows.len()));
        gradients.push(gradient);
    }
}

/// The next words of a message.
fn take<'a>(message: &mut &'a [u32], count: usize) -> &'a [u32] {
    message.split_off(..count).expect("a message is as long as its counts say")
}

/// Where the training schedule leaves the row gradients of a lookup; `None` where none flow.
fn gradient_rows(train: &BoundSchedule, lookup: &Lookup) -> Option<StridedRows> {
    let view = lookup.view?;
    let base = train.addresses[view.buffer.index()].wrapping_add(view.column as usize);
    Some(StridedRows {
        base: NonNull::new(base).expect("results are bound to the arena"),
        stride: train.prepared.buffers[view.buffer.index()].width as usize,
    })
}

/// The elements of a feature in one leaf of the batch.
fn elements_of_leaf(feature: &Feature, inputs: &StepInputs<'_>, layout: &Layout, leaf: usize) -> Range<usize> {
    let units = match layout.axes.request().filter(|_| feature.common) {
        Some(request) => layout.leaves(request),
        None => layout.leaves(BATCH),
    };
    let bound = |leaf: usize| match feature.sequence {
        Some(sequence) => inputs.offsets[sequence as usize][units[leaf] as usize] as usize,
        None => units[leaf] as usize,
    };
    bound(leaf)..bound(leaf + 1)
}
