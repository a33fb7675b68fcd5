//! Blocks that all ranks decode together: each its columns, some thousand rows at a time. These
//! rows are then distributed, about equally many to each rank, which puts their columns together
//! and has them as if it had decoded them alone.
//!
//! Guarantees that all ranks cut rows at the same places. Where the schema has requests, the rank
//! that decodes their key tells where they begin, so that none is cut.

use super::Step;
use super::blocks::{Segment, Share};
use super::columns::{ColumnSet, ReceivedColumns, distribute, put_together};
use super::exchange::SampleExchange;
use crate::batch::Batch;
use crate::comm::Communicator;
use crate::data::block::{ColumnFormat, RowBlock, RowBlockReader};
use crate::data::error::{DataError, StreamError};
use crate::data::gather::{PartRange, gather};
use crate::data::requests::{Flat, same};
use crate::data::source::Source;
use crate::data::stream::{CHUNK, Reading};
use crate::data::window::Window;
use crate::data::{Inner, Warnings};
use std::sync::Arc;

pub(super) struct SharedReader {
    data: Arc<Inner>,
    warnings: Arc<Warnings>,
    rank: usize,
    /// By rank, what it decodes.
    sets: Vec<ColumnSet>,
    /// Of requests: who decodes it, and which key column that is of its set.
    key: Option<(usize, usize)>,
    open: Option<OpenColumns>,
    /// Of the window that is read.
    segments: Vec<Segment>,
    /// Segments that are read to their end.
    complete: usize,
    /// By segment that is begun, where its rows lie.
    shares: Vec<Vec<Share>>,
    /// Rows of the window that were distributed.
    distributed: u64,
    /// Those of this rank.
    pub window: Window,
    /// By rank, the columns that it sent.
    received: Vec<ReceivedColumns>,
    /// Rows on their way to requests.
    flat: Flat,
    /// For rows to be sent.
    scratch: Batch,
}

/// A block that is begun.
struct OpenColumns {
    block: RowBlock,
    /// `None` where the rank has no columns of the file.
    reader: Option<Box<dyn RowBlockReader>>,
    /// This rank's columns of rows that are decoded.
    rows: Batch,
    /// Rows of the block before these.
    first: u64,
    /// Rows of the block that were distributed.
    at: u64,
    /// Rows of the block in which requests were looked for.
    looked: u64,
}

impl SharedReader {
    /// `blocks` are all that it will read.
    pub fn new(reading: &Reading, blocks: impl Iterator<Item = RowBlock>, ranks: &dyn Communicator) -> SharedReader {
        let Reading { data, warnings } = reading.clone();
        let mut bytes = vec![0u64; data.binding.required.len() + data.binding.passthrough.len()];
        for block in blocks {
            let of_block = by_columns(&data, block).bytes(block);
            bytes.iter_mut().zip(of_block).for_each(|(sum, bytes)| *sum = sum.saturating_add(bytes));
        }
        let sets = distribute(&data.binding, &bytes, ranks.size());
        let key_of = |key: usize| {
            let keys = sets.iter().enumerate().map(|(rank, set)| (rank, set.key(key)));
            let mut keys = keys.filter_map(|(rank, key)| Some((rank, key?)));
            keys.next().expect("the key of requests is always read")
        };
        let key = data.binding.schema.requests.as_ref().map(|requests| key_of(requests.key as usize));
        let received = sets.iter().map(ReceivedColumns::new).collect();
        let flat = Flat::new(&data.binding.schema);
        let scratch = Batch::for_schema(&sets[ranks.rank()].binding.schema);
        SharedReader {
            data,
            warnings,
            rank: ranks.rank(),
            sets,
            key,
            open: None,
            segments: Vec::new(),
            complete: 0,
            shares: Vec::new(),
            distributed: 0,
            window: Window::default(),
            received,
            flat,
            scratch,
        }
    }

    /// Begins a window, which has these segments.
    pub fn begin(&mut self, segments: Vec<Segment>) {
        self.shares = vec![Vec::new(); segments.len()];
        (self.segments, self.complete, self.distributed) = (segments, 0, 0);
    }

    /// Rows of the window.
    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|segment| segment.rows).sum()
    }

    /// Whether all rows of the window are distributed.
    pub fn is_complete(&self) -> bool {
        self.complete == self.segments.len()
    }

    /// Whether a step is due where so many rows of the window are.
    pub fn has_step(&self, due: u64) -> bool {
        !self.is_complete() && self.distributed + self.step_rows() <= due
    }

    /// By segment of the window, where its rows lie.
    pub fn shares(&self) -> &[Vec<Share>] {
        &self.shares
    }

    /// Rows that a step distributes.
    fn step_rows(&self) -> u64 {
        (CHUNK * self.sets.len()) as u64
    }

    /// Decodes this rank's columns, of the segment that is begun, as far as so many rows of the
    /// window are due.
    pub fn decode(&mut self, due: u64) -> Result<(), DataError> {
        let ahead = due.saturating_sub(self.distributed);
        let Some(&segment) = self.segments.get(self.complete).filter(|_| ahead > 0) else { return Ok(()) };
        let at = self.open_block(segment)?.at;
        self.decode_to((segment.begin + segment.rows).min(at.saturating_add(ahead)))
    }

    /// The next rows, which all ranks decode, distribute and put together: every rank calls this at
    /// the same time. There are none where a request goes on behind them.
    pub fn step(&mut self, exchange: &mut SampleExchange, source: &mut Source) -> Step<()> {
        let segment = self.segments[self.complete];
        let (step, ranks) = (self.step_rows(), self.sets.len());
        let &mut OpenColumns { at, looked, .. } = self.open_block(segment)?;
        let end = segment.begin + segment.rows;
        let row = if self.key.is_some() { (looked + step).min(segment.block.rows) } else { (at + step).min(end) };
        self.decode_to(row)?;
        // Relative to `at`: a rank's rows end where the next one's begin.
        let cuts: Vec<u32> = match self.key {
            None => (0..=ranks as u64).map(|rank| ((row - at) * rank / ranks as u64) as u32).collect(),
            Some((owner, key)) => {
                let cuts = if owner == self.rank { self.requests(key, row, end) } else { Vec::new() };
                let Some(messages) = exchange.gather(cuts.into_iter()).map_err(StreamError::Ranks)? else {
                    return Ok(None);
                };
                messages[owner].to_vec()
            }
        };
        let open = self.open.as_mut().expect("its rows were decoded");
        open.looked = row;
        let distributed = u64::from(*cuts.last().expect("there is a rank"));
        if distributed == 0 {
            return Ok(Some(()));
        }
        let (set, rows, scratch) = (&self.sets[self.rank], &open.rows, &mut self.scratch);
        let begin = (at - open.first) as usize;
        let units = |rank: usize| begin + cuts[rank] as usize..begin + cuts[rank + 1] as usize;
        let write = |to: usize, words: &mut Vec<u32>| {
            set.encode(rows, PartRange { part: 0, units: units(to) }, scratch, words);
        };
        let Some(messages) = exchange.send(write).map_err(StreamError::Ranks)? else { return Ok(None) };
        let own = (cuts[self.rank + 1] - cuts[self.rank]) as usize;
        for ((set, message), into) in self.sets.iter().zip(messages).zip(&mut self.received) {
            set.decode(message, own, into);
        }
        open.at += distributed;
        let shares = &mut self.shares[self.complete];
        for (rank, pair) in cuts.windows(2).enumerate().filter(|(_, pair)| pair[0] < pair[1]) {
            shares.push(Share { rank, rows: u64::from(pair[1] - pair[0]), by_columns: true });
        }
        if open.at >= end {
            self.complete += 1;
        }
        if open.at == segment.block.rows {
            self.open = None;
        }
        self.distributed += distributed;
        if own > 0 {
            let first_row = segment.block.first_row + at + u64::from(cuts[self.rank]);
            self.put_together(segment.block, first_row, source)?;
        }
        Ok(Some(()))
    }

    /// The block of a segment, from its first row on where it is not begun.
    fn open_block(&mut self, segment: Segment) -> Result<&mut OpenColumns, DataError> {
        let Segment { block, begin, .. } = segment;
        if self.open.is_none() {
            let set = &self.sets[self.rank];
            let file = &self.data.files[block.file];
            let columns = by_columns(&self.data, block);
            let has = |&column: &usize| file.passthrough[column].is_some();
            let reads = !set.columns.required.is_empty() || set.columns.passthrough.iter().any(has);
            let reader = reads.then(|| columns.reader(&set.binding, &set.columns, &file.path, block, begin));
            let rows = Batch::for_schema(&set.binding.schema);
            let reader = reader.transpose()?;
            let bytes = self.data.binding.distinct_bytes(&columns.bytes(block), &set.columns);
            self.data.decoded.add_bytes(bytes, block, begin);
            self.open = Some(OpenColumns { block, reader, rows, first: begin, at: begin, looked: begin });
        }
        let open = self.open.as_mut().expect("it was begun above");
        assert_eq!(open.block, block, "a block is read to its end");
        Ok(open)
    }

    /// Decodes up to a row of the block.
    fn decode_to(&mut self, row: u64) -> Result<(), DataError> {
        let open = self.open.as_mut().expect("a block is begun before it is decoded");
        let set = &self.sets[self.rank];
        if open.first + open.rows.rows as u64 >= row {
            return Ok(());
        }
        // Without the rows that were distributed.
        let rest = (open.at - open.first) as usize..open.rows.rows;
        self.scratch.clear();
        gather(
            &set.binding.schema,
            std::slice::from_ref(&open.rows),
            &[PartRange { part: 0, units: rest }],
            &mut self.scratch,
        );
        std::mem::swap(&mut open.rows, &mut self.scratch);
        if self.scratch.rows > 2 * CHUNK * self.sets.len() {
            // Before the stream's turn came, much more was decoded than for a step.
            self.scratch = Batch::for_schema(&set.binding.schema);
        }
        open.first = open.at;
        let goal = (row - open.first) as usize;
        while open.rows.rows < goal {
            let more = goal - open.rows.rows;
            let Some(reader) = &mut open.reader else {
                open.rows.passthrough.resize(set.binding.passthrough.len(), Vec::new());
                for (column, rows) in set.binding.passthrough.iter().zip(&mut open.rows.passthrough) {
                    column.append_absent(more, rows);
                }
                open.rows.rows += more;
                break;
            };
            let read = reader.read(&set.binding, more, &mut open.rows)?;
            assert!(read > 0, "a reader says itself where its block ends too early");
            let mut warnings = Vec::new();
            reader.warnings(&mut warnings);
            self.warnings.add(&mut warnings);
        }
        Ok(())
    }

    /// Where the ranks' rows begin, and where the last one's end, behind what was distributed: each
    /// where a request begins. They end with the first request that begins at row `end` of the
    /// block or behind it, or with the last request before `row` that is known to be whole.
    fn requests(&self, key: usize, row: u64, end: u64) -> Vec<u32> {
        let open = self.open.as_ref().expect("its rows were decoded");
        let keys = &open.rows.keys[key];
        let (first, count) = ((open.at - open.first) as usize, (row - open.at) as usize);
        let begins = (1..count).filter(|&row| !same(keys, first + row - 1, keys, first + row));
        // With the block ends its last request.
        let block_end = (row == open.block.rows).then_some(count);
        let begins: Vec<u32> = begins.chain(block_end).map(|row| row as u32).collect();
        // None may be known to be whole yet: then no row is distributed.
        let last = begins.iter().find(|&&row| open.at + u64::from(row) >= end).or(begins.last()).copied().unwrap_or(0);
        let ranks = self.sets.len() as u64;
        let cut = |rank: u64| {
            let even = (u64::from(last) * rank / ranks) as u32;
            if even == 0 { 0 } else { begins[begins.partition_point(|&row| row < even)] }
        };
        (0..=ranks).map(cut).collect()
    }

    /// Makes rows of the columns that this rank received, and units of the rows.
    fn put_together(&mut self, block: RowBlock, first_row: u64, source: &mut Source) -> Result<(), DataError> {
        let data = self.data.clone();
        let (binding, file) = (&data.binding, data.files[block.file].path.as_path());
        let mut part = source.part();
        match &binding.schema.requests {
            None => put_together(binding, &self.sets, &mut self.received, (file, first_row), &mut part)?,
            Some(requests) => {
                let flat = &mut self.flat;
                flat.rows.clear();
                put_together(binding, &self.sets, &mut self.received, (file, first_row), &mut flat.rows)?;
                (flat.taken, flat.first_row, flat.fresh) = (0, first_row, true);
                flat.drain(binding, requests.key as usize, file, usize::MAX, &mut part)?;
            }
        }
        self.data.decoded.add_rows(part.rows);
        self.window.push(part);
        Ok(())
    }
}

/// The columns of a block that all ranks decode.
fn by_columns(data: &Inner, block: RowBlock) -> &dyn ColumnFormat {
    data.files[block.file].contents.by_columns().expect("only blocks of such files are decoded by all ranks")
}
