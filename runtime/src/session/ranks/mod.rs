//! The rows of a batch on one rank of a run: from the ranks that own them.
//!
//! A rank deduplicates the ids of its part of a batch and asks the owners of their rows for them
//! ([`RowAsker`]): one exchange for all tables, which may be ahead of the steps. When the step
//! comes, owners find the rows, new ids get theirs, and the vectors come back ([`RowFetcher`]). A
//! replicated table is every rank's: all get the ids, so that all add the same rows in the same
//! order, and each reads its own copy.

mod distinct;

use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages, ids, push_id};
use crate::exec::FetchedRows;
use crate::table::{Placement, Resolved, ShardPlan, Table, TableError, row_words};
use crate::threads::Threads;
use crate::{Error, Result};
use din_program::Program;
use distinct::DistinctIds;
use rustc_hash::FxHashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// First word of a message of ids: its rank goes on.
const GOES_ON: u32 = 0;
/// First word of a message of ids: its rank asks for nothing more.
const ENDS: u32 = 1;

/// What ids are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Rows to train: new ids get theirs.
    Training,
    /// Rows to read: an id that training has not seen reads the OOV row.
    Reading,
}

/// What a rank asks for, and is asked for, for one batch.
#[derive(Debug, Default)]
pub struct AskedRows {
    /// By table, by its features: positions among the table's distinct ids.
    pub(super) positions: Resolved,
    /// By table.
    distinct: Vec<Mutex<DistinctIds>>,
    send: Messages,
    /// By rank: the ids that it asks for, by table: their number, then the ids.
    asked: Messages,
}

/// Asks the owners of rows for them, on any thread.
#[derive(Clone, Debug)]
pub struct RowAsker {
    program: Arc<Program>,
    plan: Arc<ShardPlan>,
    ranks: Arc<dyn Communicator>,
    threads: Arc<Threads>,
    /// By table, the ids that have rows, where training gives no others any: none of them before
    /// [`RowAsker::set_admitted`].
    admitted: Arc<Vec<Option<FxHashSet<u64>>>>,
}

impl RowAsker {
    pub(super) fn new(
        program: Arc<Program>,
        plan: Arc<ShardPlan>,
        ranks: Arc<dyn Communicator>,
        threads: Arc<Threads>,
    ) -> Self {
        Self { program, plan, ranks, threads, admitted: Arc::default() }
    }

    pub(super) fn set_admitted(&mut self, admitted: Vec<Option<FxHashSet<u64>>>) {
        self.admitted = Arc::new(admitted);
    }

    /// Asks for the rows of the next batch to train, ahead of its step. Every rank does, each for
    /// its part; false where a rank has ended ([`RowAsker::end`]), and all do.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn ask_ahead(&self, batch: &Batch, asked: &mut AskedRows) -> Result<bool> {
        self.ask(Some(batch), Purpose::Training, Channel::Ahead, asked)
    }

    /// Tells the other ranks that this one asks for nothing more, so that none waits for it.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn end(&self) -> Result<()> {
        let (mut send, mut received) = (Messages::default(), Messages::default());
        (0..self.ranks.size()).for_each(|_| send.push(&[ENDS]));
        self.ranks.all_to_all(Channel::Ahead, &send, &mut received)
    }

    /// `None`: the rank has no batch, but its rows are asked for.
    pub(super) fn ask(
        &self,
        batch: Option<&Batch>,
        purpose: Purpose,
        channel: Channel,
        asked: &mut AskedRows,
    ) -> Result<bool> {
        let AskedRows { positions, distinct, send, asked } = asked;
        let tables = &self.program.tables;
        distinct.resize_with(tables.len(), Mutex::default);
        positions.resize_with(tables.len(), Vec::new);
        let jobs: Vec<_> = distinct.iter().zip(positions).map(|(ids, out)| Mutex::new((ids, out))).collect();
        self.threads.parallel_for(tables.len(), &|t| {
            let mut job = jobs[t].lock().unwrap_or_else(PoisonError::into_inner);
            let (ids, positions) = &mut *job;
            positions.resize_with(tables[t].features.len(), Vec::new);
            let columns = tables[t].features.iter().map(|&f| batch.map_or(&[][..], |batch| &batch.ids[f as usize]));
            let shard = self.plan.shard(t);
            // Ids without a row are one to training, the first of them, and ask the first rank for
            // its OOV row. Each owner has one to read.
            let admitted = match purpose {
                Purpose::Training => self.admitted.get(t).and_then(Option::as_ref),
                Purpose::Reading => None,
            };
            let mut stand_in = None;
            let known = |id: u64| match admitted {
                Some(admitted) if !admitted.contains(&id) => *stand_in.get_or_insert(id),
                Some(_) | None => id,
            };
            let owner = |id: u64| {
                let sharding = shard?;
                let admitted = admitted.is_none_or(|admitted| admitted.contains(&id));
                Some(if admitted { sharding.owner(id) } else { 0 })
            };
            lock(ids).collect(columns, positions, known, owner, self.ranks.size());
        });
        send.clear();
        for rank in 0..self.ranks.size() {
            send.words.push(GOES_ON);
            for (t, ids) in distinct.iter().enumerate() {
                let ids = lock(ids);
                let wanted = match (self.plan.shard(t), purpose) {
                    (Some(_), _) => ids.of_rank(rank),
                    // Each rank has the rows; it must learn which the others add.
                    (None, Purpose::Training) => &ids.ids[..],
                    (None, Purpose::Reading) => &[],
                };
                send.words.push(wanted.len() as u32);
                wanted.iter().for_each(|&id| push_id(&mut send.words, id));
            }
            send.end_message();
        }
        self.ranks.all_to_all(channel, send, asked)?;
        Ok(asked.iter().all(|message| message[0] == GOES_ON))
    }
}

/// Brings the rows of a batch from their owners.
#[derive(Debug)]
pub(super) struct RowFetcher {
    program: Arc<Program>,
    plan: Arc<ShardPlan>,
    ranks: Arc<dyn Communicator>,
    send: Messages,
    received: Messages,
    ids: Vec<u64>,
    pub fetched: Vec<FetchedRows>,
}

impl RowFetcher {
    pub fn new(program: Arc<Program>, plan: Arc<ShardPlan>, ranks: Arc<dyn Communicator>) -> Self {
        let fetched = vec![FetchedRows::default(); program.tables.len()];
        let (send, received) = (Messages::default(), Messages::default());
        Self { program, plan, ranks, send, received, ids: Vec::new(), fetched }
    }

    pub fn ranks(&self) -> &Arc<dyn Communicator> {
        &self.ranks
    }

    /// Finds the rows that are asked of this rank and exchanges their vectors: then
    /// [`RowFetcher::fetched`] has what this rank has asked for. `rows_of` finds the rows of ids in
    /// a table. `asks_to_stop` is this rank's word; returns whether any rank asks to stop.
    ///
    /// # Errors
    /// An id that a table does not have, no memory, or another rank failed.
    pub fn fetch(
        &mut self,
        asked: &AskedRows,
        tables: &mut [Table],
        rows_of: impl Fn(&mut Table, &[u64], &mut Vec<u32>) -> std::result::Result<(), TableError>,
        asks_to_stop: bool,
    ) -> Result<bool> {
        let ranks = self.ranks.size();
        self.fetched.iter_mut().for_each(|fetched| fetched.served.resize_with(ranks, Vec::new));
        self.send.clear();
        for from in 0..ranks {
            self.send.words.push(u32::from(asks_to_stop));
            let mut message = &asked.asked.get(from)[1..];
            for (t, table) in tables.iter_mut().enumerate() {
                let served = &mut self.fetched[t].served[from];
                let count = message[0] as usize;
                self.ids.clear();
                self.ids.extend(ids(&message[1..1 + 2 * count]));
                message = &message[1 + 2 * count..];
                rows_of(table, &self.ids, served).map_err(Error::from)?;
                if self.plan.shard(t).is_some() {
                    table.append_row_words(served, &mut self.send.words);
                }
            }
            self.send.end_message();
        }
        self.ranks.all_to_all(Channel::Step, &self.send, &mut self.received)?;
        for (t, table) in tables.iter_mut().enumerate() {
            let distinct = lock(&asked.distinct[t]);
            let fetched = &mut self.fetched[t];
            fetched.count = distinct.ids.len();
            fetched.values.clear(table.precision());
            fetched.owned_by.clear();
            match self.plan.placements[t] {
                Placement::Sharded => fetched.owned_by.extend((0..ranks).map(|rank| distinct.range(rank))),
                Placement::Replicated => {
                    fetched.owned_by.resize(ranks, 0..distinct.ids.len() as u32);
                    // In training the rows are served to this rank too.
                    let mut own = std::mem::take(&mut fetched.served[self.ranks.rank()]);
                    if own.len() != distinct.ids.len() {
                        rows_of(table, &distinct.ids, &mut own).map_err(Error::from)?;
                    }
                    fetched.values.append_rows(table, &own);
                    fetched.served[self.ranks.rank()] = own;
                }
            }
        }
        let mut stop = false;
        for from in 0..ranks {
            let (word, mut message) = self.received.get(from).split_first().expect("a reply begins with a word");
            stop |= *word != 0;
            for (t, fetched) in self.fetched.iter_mut().enumerate() {
                if self.plan.shard(t).is_some() {
                    let numbers = fetched.owned_by[from].len() * self.program.tables[t].width as usize;
                    let (own, rest) = message.split_at(row_words(tables[t].precision(), numbers));
                    fetched.values.append_words(own, numbers);
                    message = rest;
                }
            }
        }
        Ok(stop)
    }
}

fn lock(ids: &Mutex<DistinctIds>) -> std::sync::MutexGuard<'_, DistinctIds> {
    // What a job left when it panicked is made anew.
    ids.lock().unwrap_or_else(PoisonError::into_inner)
}
