//! The pages of a row group, with the entries of list columns counted before they are decoded.
//!
//! A page of a few bytes may stand for millions of entries, so a number of rows does not bound
//! memory. Which entries belong to which row is in the repetition levels, runs of small numbers: a
//! level 0 begins a row. They are counted when a page comes, and decoding ends where it would be
//! too much.

use super::input::PositionedFile;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::SerializedPageReader;
use std::sync::{Arc, Mutex, PoisonError};

/// List entries of a column that are decoded at once, beside those of the longest list among them.
pub(super) const ENTRIES: u64 = 1 << 21;
/// Entries of a list, at most.
pub(super) const LONGEST: u64 = 1 << 24;

/// Why decoding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// So many rows at once have more than [`ENTRIES`].
    Piece,
    /// This row of the row group has more than [`LONGEST`].
    List { row: u64 },
}

/// A row group of a file, read in pieces of a number of rows.
pub(super) struct Pages {
    pub input: PositionedFile,
    pub metadata: Arc<ParquetMetaData>,
    pub group: usize,
    /// Rows that are passed over.
    pub skip: u64,
    /// Rows decoded at once, from there on; at least 1.
    pub piece: usize,
    /// Where it is said that a column has too many entries.
    pub excess: Arc<Mutex<Option<Excess>>>,
}

impl Pages {
    /// Those of a column, by its index among the leaves of the file's schema.
    pub fn of_column(&self, leaf: usize) -> Result<Box<dyn PageReader>> {
        let chunk = self.metadata.row_group(self.group).column(leaf);
        let pages = SerializedPageReader::new(Arc::new(self.input.clone()), chunk, self.num_rows(), None)?;
        let deepest = self.metadata.file_metadata().schema_descr().column(leaf).max_rep_level();
        if deepest == 0 || chunk.num_values() as u64 <= ENTRIES {
            return Ok(Box::new(pages));
        }
        let count = Count::new(deepest, self.skip, self.piece);
        Ok(Box::new(Counted { pages, count, excess: self.excess.clone() }))
    }
}

impl RowGroups for Pages {
    fn num_rows(&self) -> usize {
        self.metadata.row_group(self.group).num_rows() as usize
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        Ok(Box::new(Once(Some(self.of_column(leaf)?))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The one column chunk of a row group.
struct Once(Option<Box<dyn PageReader>>);

impl Iterator for Once {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(Ok)
    }
}

impl PageIterator for Once {}

struct Counted {
    pages: SerializedPageReader<PositionedFile>,
    count: Count,
    excess: Arc<Mutex<Option<Excess>>>,
}

impl Iterator for Counted {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Counted {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(Err(excess)) = page.as_ref().map(|page| self.count.page(page)) {
            *self.excess.lock().unwrap_or_else(PoisonError::into_inner) = Some(excess);
            return Err(ParquetError::General("more list entries than are decoded at once".into()));
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        // Only pages of whole rows are passed over, which say how many they have.
        if let Some(PageMetadata { num_rows: Some(rows), .. }) = self.pages.peek_next_page()? {
            self.count.rows += rows as u64;
        }
        self.pages.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.pages.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        self.pages.take_deferred_dictionary()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

/// Counts the entries of a column, page after page.
struct Count {
    /// Bits of a level.
    width: usize,
    skip: u64,
    piece: u64,
    /// Rows that have begun.
    rows: u64,
    /// Entries of the last row.
    row: u64,
    /// Entries of the last piece of rows.
    entries: u64,
    /// Entries of the longest list in it.
    longest: u64,
}

impl Count {
    fn new(deepest: i16, skip: u64, piece: usize) -> Count {
        let width = (i16::BITS - deepest.leading_zeros()) as usize;
        Count { width, skip, piece: piece as u64, rows: 0, row: 0, entries: 0, longest: 0 }
    }

    /// Levels that are malformed end the count: decoding them is an error.
    fn page(&mut self, page: &Page) -> std::result::Result<(), Excess> {
        let (levels, values) = match page {
            Page::DataPage { buf, num_values, rep_level_encoding: Encoding::RLE, .. } => {
                let Some((length, levels)) = buf.split_first_chunk() else { return Ok(()) };
                let length = u32::from_le_bytes(*length) as usize;
                (&levels[..length.min(levels.len())], num_values)
            }
            // Levels of the old encoding take a bit each: such a page is as long as its entries are
            // many.
            Page::DataPage { .. } | Page::DictionaryPage { .. } => return Ok(()),
            Page::DataPageV2 { buf, num_values, rep_levels_byte_len, .. } => {
                (&buf[..(*rep_levels_byte_len as usize).min(buf.len())], num_values)
            }
        };
        let mut left = u64::from(*values);
        let mut levels = levels.iter().copied();
        while left > 0 {
            let Some(header) = number(&mut levels) else { return Ok(()) };
            let count = header >> 1;
            if header & 1 == 0 {
                let Some(level) = levels.next() else { return Ok(()) };
                self.run(level, count.min(left))?;
                left = left.saturating_sub(count);
                continue;
            }
            // So many groups of eight levels, each of them one byte for each bit of a level.
            for _ in 0..count {
                let mut bits = 0u32;
                for byte in 0..self.width {
                    let Some(next) = levels.next() else { return Ok(()) };
                    bits |= u32::from(next) << (8 * byte);
                }
                for _ in 0..left.min(8) {
                    self.run((bits & ((1 << self.width) - 1)) as u8, 1)?;
                    bits >>= self.width;
                }
                left = left.saturating_sub(8);
            }
        }
        Ok(())
    }

    /// Takes `count` equal levels.
    #[inline]
    fn run(&mut self, level: u8, count: u64) -> std::result::Result<(), Excess> {
        if level > 0 {
            self.row += count;
            self.entries += count;
        } else {
            self.rows += count;
            self.row = 1;
            self.entries += count;
            let read = self.rows.saturating_sub(self.skip);
            // Rows of the last piece that have begun.
            let begun = if read == 0 { 0 } else { (read - 1) % self.piece + 1 };
            if begun <= count {
                (self.entries, self.longest) = (begun, 0);
            }
        }
        self.longest = self.longest.max(self.row);
        if self.rows <= self.skip {
            return Ok(());
        }
        if self.row > LONGEST {
            return Err(Excess::List { row: self.rows - 1 });
        }
        if self.piece > 1 && self.entries.saturating_sub(self.longest) > ENTRIES {
            return Err(Excess::Piece);
        }
        Ok(())
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of runs of levels, as `(level, count)`; eight levels each as one group of bits.
    fn page(runs: &[(u8, u64)], packed: &[u8]) -> Page {
        let mut levels = Vec::new();
        for &(level, count) in runs {
            let mut header = count << 1;
            while header >= 128 {
                levels.push(header as u8 | 128);
                header >>= 7;
            }
            levels.extend([header as u8, level]);
        }
        if !packed.is_empty() {
            levels.push((packed.len() as u8) << 1 | 1);
            levels.extend(packed);
        }
        let values = runs.iter().map(|(_, count)| count).sum::<u64>() + 8 * packed.len() as u64;
        let buf = [(levels.len() as u32).to_le_bytes().as_slice(), &levels].concat();
        Page::DataPage {
            buf: buf.into(),
            num_values: values as u32,
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_found_by_its_row() {
        let mut count = Count::new(1, 0, 1);
        assert_eq!(count.page(&page(&[(0, 7), (1, LONGEST - 1)], &[])), Ok(()));
        assert_eq!(count.row, LONGEST);
        // The row goes on in the next page.
        assert_eq!(count.page(&page(&[(1, 1)], &[])), Err(Excess::List { row: 6 }));
        // One that is passed over is not decoded at once.
        assert_eq!(Count::new(1, 7, 1).page(&page(&[(0, 7), (1, LONGEST + 1), (0, 9)], &[])), Ok(()));
    }

    #[test]
    fn entries_are_counted_by_piece() {
        // Pieces of three rows; the second has a list of 1 + 5 entries.
        let mut count = Count::new(1, 0, 3);
        assert_eq!(count.page(&page(&[(0, 4), (1, 5)], &[0b0000_1110])), Ok(()));
        // Levels 0 1 1 1 0 0 0 0: five more rows, of which one ends the second piece.
        assert_eq!((count.rows, count.entries, count.row), (9, 3, 1));
        let half = ENTRIES / 2;
        let halves = page(&[(0, 1), (1, half), (0, 1), (1, half), (0, 1), (1, half), (0, 1)], &[]);
        assert_eq!(Count::new(1, 0, 3).page(&halves), Err(Excess::Piece));
        assert_eq!(Count::new(1, 0, 2).page(&halves), Ok(()));
        assert_eq!(Count::new(1, 2, 3).page(&halves), Ok(()), "rows that are passed over do not count");
        // Two bits a level: 0 2 1 0 and four more.
        let mut nested = Count::new(2, 0, 100);
        assert_eq!(nested.page(&page(&[], &[0b0001_1000, 0b1010_1010])), Ok(()));
        assert_eq!((nested.rows, nested.row, nested.entries), (2, 5, 8));
    }
}
