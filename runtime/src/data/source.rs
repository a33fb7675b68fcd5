//! Rows in reading order, from block to block.
//!
//! Guarantees that what comes is a function of the order of the blocks alone: how many rows are
//! asked for at a time decides only into how many parts they come.

use super::block::{RowBlock, RowBlockReader};
use super::error::DataError;
use super::known::finish_rows;
use super::requests::Flat;
use super::spare::SpareUser;
use super::stream::Reading;
use super::window::Window;
use super::{Inner, Warnings};
use crate::batch::Batch;
use rayon::prelude::*;
use std::sync::Arc;

pub(super) struct Source {
    pub data: Arc<Inner>,
    /// The warnings about the rows that were read.
    pub warnings: Arc<Warnings>,
    /// Blocks in reading order.
    order: Vec<RowBlock>,
    /// Next of them to be begun.
    next_block: usize,
    /// One that is begun.
    open: Option<OpenBlock>,
    /// Rows of the next block to leave out.
    skip_rows: u64,
    /// Rows of a part, at least, where so many are asked for.
    chunk: usize,
    /// Rows on their way to requests, where the schema has them.
    flat: Flat,
    /// Parts of earlier windows, whose memory is used again.
    spare: Vec<Batch>,
    /// On one rank, where streams hand such parts on to each other.
    shared_spare: Option<SpareUser>,
    /// Rows of the largest part since parts were taken back.
    part_rows: usize,
}

struct OpenBlock {
    block: RowBlock,
    reader: Box<dyn RowBlockReader>,
    /// Rows that are still to be read.
    left: u64,
}

/// Consecutive rows that become a part.
struct Piece {
    /// The rest of a block that was begun before.
    open: Option<OpenBlock>,
    /// Blocks to begin, the first without so many rows.
    blocks: Vec<(RowBlock, u64)>,
    /// Rows to read.
    rows: usize,
    part: Batch,
    warnings: Vec<DataError>,
}

impl Source {
    /// Begins `position` rows behind the first.
    pub fn new(reading: Reading, order: Vec<RowBlock>, mut position: u64, chunk: usize) -> Source {
        let Reading { data, warnings } = reading;
        let mut next_block = 0;
        while let Some(block) = order.get(next_block)
            && position >= block.rows
        {
            position -= block.rows;
            next_block += 1;
        }
        let flat = Flat::new(&data.binding.schema);
        Source {
            data,
            warnings,
            order,
            next_block,
            open: None,
            skip_rows: position,
            chunk,
            flat,
            spare: Vec::new(),
            shared_spare: None,
            part_rows: 0,
        }
    }

    /// Uses memory of other streams of the data set, and hands it on to them.
    pub fn share_memory(&mut self) {
        self.shared_spare = Some(SpareUser::new(self.data.clone()));
    }

    /// Reads rows until the window has `rows` of them (or some more, to the end of a request) or
    /// the data end.
    pub fn read(&mut self, rows: usize, window: &mut Window) -> Result<(), DataError> {
        // Also a whole window in parts of a few thousand rows: they need not grow, and their memory
        // fits those of the windows after it.
        let step = self.chunk * rayon::current_num_threads();
        while window.rows < rows {
            let before = window.rows;
            self.read_parts(rows.min(before + step) - before, window)?;
            if window.rows == before {
                break;
            }
        }
        Ok(())
    }

    fn read_parts(&mut self, required: usize, window: &mut Window) -> Result<(), DataError> {
        if let Some(requests) = &self.data.binding.schema.requests {
            let key = requests.key as usize;
            let mut part = self.part();
            self.read_requests(&mut part, required, key)?;
            if part.rows > 0 {
                self.part_rows = self.part_rows.max(part.rows);
                window.push(part);
            }
            return Ok(());
        }
        let mut pieces = self.cut(required);
        // The first fault in the order of the rows, whatever the threads do.
        let faults: Vec<_> = pieces.par_iter_mut().map(|piece| piece.read(&self.data).err()).collect();
        if let Some(fault) = faults.into_iter().flatten().next() {
            return Err(fault);
        }
        for mut piece in pieces {
            self.part_rows = self.part_rows.max(piece.part.rows);
            self.warnings.add(&mut piece.warnings);
            self.data.decoded.add_rows(piece.part.rows);
            window.push(piece.part);
            self.open = piece.open.filter(|open| open.left > 0);
        }
        Ok(())
    }

    /// Gives back the parts of a window. Those that are much larger than what is read now are not
    /// used again, since most of their memory would not be: large batches have many rows due at
    /// once.
    pub fn take_back(&mut self, window: &mut Window) {
        window.clear(&mut self.spare);
        let most = 2 * std::mem::take(&mut self.part_rows).max(self.chunk * rayon::current_num_threads());
        self.spare.retain(|part| part.rows <= most);
        let at_end = self.next_block == self.order.len() && self.open.is_none();
        if let Some(shared) = self.shared_spare.as_ref().filter(|_| at_end) {
            shared.hand_on(&mut self.spare);
        }
    }

    /// An empty part.
    pub fn part(&mut self) -> Batch {
        let spare = self.spare.pop().or_else(|| self.shared_spare.as_ref().and_then(SpareUser::take));
        let mut part = spare.unwrap_or_else(|| Batch::for_schema(&self.data.binding.schema));
        part.clear();
        part
    }

    /// The next rows, as pieces that can be read side by side: no block is in two.
    fn cut(&mut self, mut required: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let take = |rows: u64, required: &mut usize| {
            let taken = rows.min(*required as u64) as usize;
            *required -= taken;
            taken
        };
        while required > 0 {
            let mut piece =
                Piece { open: self.open.take(), blocks: Vec::new(), rows: 0, part: self.part(), warnings: Vec::new() };
            if let Some(open) = &piece.open {
                piece.rows = take(open.left, &mut required);
            }
            while required > 0
                && piece.rows < self.chunk
                && let Some(&block) = self.order.get(self.next_block)
            {
                let skip = std::mem::take(&mut self.skip_rows);
                piece.rows += take(block.rows - skip, &mut required);
                piece.blocks.push((block, skip));
                self.next_block += 1;
            }
            if piece.rows == 0 {
                self.spare.push(piece.part);
                break;
            }
            pieces.push(piece);
        }
        pieces
    }

    /// Whole requests, one block after the other: where one ends is seen only when it is read.
    fn read_requests(&mut self, into: &mut Batch, rows: usize, key: usize) -> Result<(), DataError> {
        let data = self.data.clone();
        loop {
            let block = self.order.get(self.next_block.saturating_sub(1)).copied();
            if let Some(block) = block
                && self.flat.drain(&data.binding, key, &data.files[block.file].path, rows, into)?
            {
                return Ok(());
            }
            self.flat.first_row += self.flat.rows.rows as u64;
            self.flat.rows.clear();
            self.flat.taken = 0;
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(&block) = self.order.get(self.next_block) else { return Ok(()) };
                    self.next_block += 1;
                    self.flat.first_row = block.first_row;
                    self.flat.fresh = true;
                    self.open.insert(OpenBlock::new(&data, block, 0)?)
                }
            };
            let read = open.read(&data, self.chunk, &mut self.flat.rows)?;
            self.data.decoded.add_rows(read);
            let mut warnings = Vec::new();
            open.reader.warnings(&mut warnings);
            self.warnings.add(&mut warnings);
            if read == 0 {
                self.open = None;
            }
        }
    }
}

impl OpenBlock {
    fn new(data: &Inner, block: RowBlock, skip: u64) -> Result<OpenBlock, DataError> {
        let file = &data.files[block.file];
        let reader = file.reader(&data.binding, block, skip)?;
        data.decoded.add_bytes(file.bytes(&data.binding, block), block, skip);
        Ok(OpenBlock { block, reader, left: block.rows - skip })
    }

    fn read(&mut self, data: &Inner, limit: usize, into: &mut Batch) -> Result<usize, DataError> {
        let rows = self.reader.read(&data.binding, limit, into)?;
        finish_rows(data, self.block, self.block.rows - self.left, rows, into)?;
        self.left -= rows as u64;
        Ok(rows)
    }
}

impl Piece {
    fn read(&mut self, data: &Inner) -> Result<(), DataError> {
        let mut blocks = std::mem::take(&mut self.blocks).into_iter();
        while self.part.rows < self.rows {
            let open = match &mut self.open {
                Some(open) if open.left > 0 => open,
                Some(_) | None => match blocks.next() {
                    Some((block, skip)) => self.open.insert(OpenBlock::new(data, block, skip)?),
                    None => break,
                },
            };
            let read = open.read(data, self.rows - self.part.rows, &mut self.part)?;
            open.reader.warnings(&mut self.warnings);
            if read == 0 {
                // A reader says itself where its block ends too early.
                break;
            }
        }
        // What its decoders hold is not kept while other pieces are read.
        self.open = self.open.take().filter(|open| open.left > 0);
        Ok(())
    }
}
