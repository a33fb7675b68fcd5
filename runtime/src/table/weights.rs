//! The weights of rows: f32 as they are trained, or BF16 for inference.
//!
//! An f32 becomes the nearest BF16, of two as near the one with an even last bit; a number beyond
//! the largest becomes infinite. A BF16 is the upper half of the f32 that it stands for, so that
//! reading it rounds nothing.

use super::region::Slab;
use super::{Table, TableError};
use crate::comm::{floats_as_words, words_as_bf16, words_as_bf16_mut, words_as_floats};
use crate::prefetch::prefetch;
use din_program::{BF16_PADDING, TablePrecision};
use half::bf16;

/// Why a table has f32 where it is asked for them.
const TRAINED: &str = "tables that are trained, saved, or copied to a GPU are in f32";

/// Rows between the one that is asked for and the one that is copied.
const AHEAD: usize = 16;

/// A row per id.
#[derive(Debug)]
pub(super) enum Weights {
    F32(Slab<f32>),
    Bf16(Slab<bf16>),
}

impl Weights {
    pub fn new(precision: TablePrecision, width: usize) -> Self {
        match precision {
            TablePrecision::F32 => Self::F32(Slab::new(width)),
            TablePrecision::Bf16 => Self::Bf16(Slab::new(width)),
        }
    }

    pub fn extend_to(&mut self, rows: usize) -> Result<(), TableError> {
        match self {
            Self::F32(slab) => slab.extend_to(rows),
            Self::Bf16(slab) => slab.extend_to(rows),
        }
    }

    pub fn trained(&self) -> &Slab<f32> {
        match self {
            Self::F32(slab) => slab,
            Self::Bf16(_) => unreachable!("{TRAINED}"),
        }
    }

    pub fn trained_mut(&mut self) -> &mut Slab<f32> {
        match self {
            Self::F32(slab) => slab,
            Self::Bf16(_) => unreachable!("{TRAINED}"),
        }
    }
}

impl Table {
    pub fn precision(&self) -> TablePrecision {
        match self.weights {
            Weights::F32(_) => TablePrecision::F32,
            Weights::Bf16(_) => TablePrecision::Bf16,
        }
    }

    /// The first row, for generated code of the table's precision to read.
    pub fn first_row(&self) -> *const u8 {
        match &self.weights {
            Weights::F32(slab) => slab.values.pointer().cast_const().cast(),
            Weights::Bf16(slab) => slab.values.pointer().cast_const().cast(),
        }
    }

    /// Rounds the weights to BF16: the table is from then on for inference alone.
    ///
    /// # Errors
    /// There is no memory for both.
    pub fn round_to_bf16(&mut self) -> Result<(), TableError> {
        let Weights::F32(trained) = &self.weights else { return Ok(()) };
        let mut rounded = Slab::<bf16>::new(self.width);
        rounded.extend_to(self.rows)?;
        for (to, &from) in rounded.values.as_mut_slice().iter_mut().zip(trained.values.as_slice()) {
            *to = bf16::from_f32(from);
        }
        self.weights = Weights::Bf16(rounded);
        Ok(())
    }

    /// Writes a row of a checkpoint, rounded to the table's precision.
    pub(crate) fn set_row(&mut self, row: usize, values: impl Iterator<Item = f32>) {
        match &mut self.weights {
            Weights::F32(slab) => slab.row_mut(row).iter_mut().zip(values).for_each(|(to, value)| *to = value),
            Weights::Bf16(slab) => {
                slab.row_mut(row).iter_mut().zip(values).for_each(|(to, value)| *to = bf16::from_f32(value));
            }
        }
    }

    /// The first weight that is as asked.
    pub fn find_weight(&self, is_it: impl Fn(f32) -> bool) -> Option<f32> {
        match &self.weights {
            Weights::F32(slab) => slab.values.as_slice().iter().copied().find(|&x| is_it(x)),
            Weights::Bf16(slab) => slab.values.as_slice().iter().map(|x| x.to_f32()).find(|&x| is_it(x)),
        }
    }

    /// Appends rows, as words to send: see [`RowValues::append_words`].
    pub fn append_row_words(&self, rows: &[u32], words: &mut Vec<u32>) {
        let numbers = rows.len() * self.width;
        match &self.weights {
            Weights::F32(slab) => {
                words.reserve(numbers);
                each_row(slab, rows, |_, row| words.extend_from_slice(floats_as_words(row)));
            }
            Weights::Bf16(slab) => {
                let begin = words.len();
                words.resize(begin + row_words(TablePrecision::Bf16, numbers), 0);
                let to = words_as_bf16_mut(&mut words[begin..]);
                each_row(slab, rows, |at, row| to[at * row.len()..][..row.len()].copy_from_slice(row));
            }
        }
    }
}

/// Calls `each` with each of some rows of a slab.
fn each_row<T: super::region::Zeroed>(slab: &Slab<T>, rows: &[u32], mut each: impl FnMut(usize, &[T])) {
    let (width, values) = (slab.width, slab.values.as_slice());
    let row = |number: u32| &values[number as usize * width..][..width];
    for (at, &number) in rows.iter().enumerate() {
        if let Some(&later) = rows.get(at + AHEAD) {
            prefetch(row(later).as_ptr(), width * size_of::<T>());
        }
        each(at, row(number));
    }
}

/// Words that so many numbers take: two in BF16 share one.
pub fn row_words(precision: TablePrecision, numbers: usize) -> usize {
    match precision {
        TablePrecision::F32 => numbers,
        TablePrecision::Bf16 => numbers.div_ceil(2),
    }
}

/// Copies of rows, in the precision of their table.
#[derive(Clone, Debug, PartialEq)]
pub enum RowValues {
    F32(Vec<f32>),
    /// There is room behind for [`BF16_PADDING`] bytes.
    Bf16(Vec<bf16>),
}

impl Default for RowValues {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

impl RowValues {
    /// Removes all rows, of which others will have `precision`.
    pub fn clear(&mut self, precision: TablePrecision) {
        match (&mut *self, precision) {
            (Self::F32(values), TablePrecision::F32) => values.clear(),
            (Self::Bf16(values), TablePrecision::Bf16) => values.clear(),
            (_, TablePrecision::F32) => *self = Self::F32(Vec::new()),
            (_, TablePrecision::Bf16) => *self = Self::Bf16(Vec::with_capacity(BF16_PADDING)),
        }
    }

    /// Appends the rows of so many numbers that [`Table::append_row_words`] made words of.
    pub fn append_words(&mut self, words: &[u32], numbers: usize) {
        match self {
            Self::F32(values) => values.extend_from_slice(&words_as_floats(words)[..numbers]),
            Self::Bf16(values) => {
                values.reserve(numbers + BF16_PADDING);
                values.extend_from_slice(&words_as_bf16(words)[..numbers]);
            }
        }
    }

    /// Appends rows of a table of this precision.
    pub fn append_rows(&mut self, table: &Table, rows: &[u32]) {
        match (self, &table.weights) {
            (Self::F32(values), Weights::F32(slab)) => each_row(slab, rows, |_, row| values.extend_from_slice(row)),
            (Self::Bf16(values), Weights::Bf16(slab)) => {
                values.reserve(rows.len() * slab.width + BF16_PADDING);
                each_row(slab, rows, |_, row| values.extend_from_slice(row));
            }
            (Self::F32(_), Weights::Bf16(_)) | (Self::Bf16(_), Weights::F32(_)) => {
                unreachable!("`clear` was told the precision of the table")
            }
        }
    }

    /// Whether they are so many numbers, in this precision, for generated code to read.
    pub fn are(&self, numbers: usize, precision: TablePrecision) -> bool {
        match (self, precision) {
            (Self::F32(values), TablePrecision::F32) => values.len() == numbers,
            (Self::Bf16(values), TablePrecision::Bf16) => {
                values.len() == numbers && 2 * (values.capacity() - values.len()) >= BF16_PADDING
            }
            (Self::F32(_), TablePrecision::Bf16) | (Self::Bf16(_), TablePrecision::F32) => false,
        }
    }

    /// Those of a table that is trained.
    pub fn trained(&self) -> &[f32] {
        match self {
            Self::F32(values) => values,
            Self::Bf16(_) => unreachable!("{TRAINED}"),
        }
    }

    /// The first row, for generated code of this precision to read.
    pub fn first_row(&self) -> *const u8 {
        match self {
            Self::F32(values) => values.as_ptr().cast(),
            Self::Bf16(values) => values.as_ptr().cast(),
        }
    }
}
