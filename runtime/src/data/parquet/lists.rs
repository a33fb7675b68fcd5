//! List columns of plain numbers, from the levels that the file has of them.
//!
//! The decoding library gives the values of such a column with two numbers for each: the definition
//! level says how much of the path to the value is present, the repetition level whether it begins
//! a row. Building the library's own arrays of lists costs more than decoding; here offsets are
//! made from the levels in one pass, and the memory of the values is used again. Other columns are
//! read by the library alone.

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{ArrayRef, ListArray, PrimitiveArray, new_empty_array};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType as ArrowType, Field, FieldRef};
use parquet::column::page::PageReader;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{DataType, DoubleType, FloatType, Int32Type as Int32, Int64Type as Int64};
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};
use std::sync::Arc;

/// What the levels of a list column mean.
#[derive(Clone, Debug)]
pub(super) struct ListLevels {
    /// The column's index among the leaves of the file's schema.
    pub leaf: usize,
    column: ColumnDescPtr,
    item: FieldRef,
    /// The least definition level of an entry.
    entry: i16,
}

impl ListLevels {
    /// `root` is the index of the column among those of the file, `field` the Arrow type as which
    /// it is read. `None` unless that is a list of 32-bit or 64-bit integers or floats.
    pub fn new(schema: &SchemaDescriptor, root: usize, field: &Field) -> Option<ListLevels> {
        let ArrowType::List(item) = field.data_type() else { return None };
        let plain = [ArrowType::Int32, ArrowType::Int64, ArrowType::Float32, ArrowType::Float64];
        let leaf = (0..schema.num_columns()).find(|&leaf| schema.get_column_root_idx(leaf) == root)?;
        let column = schema.column(leaf);
        let entry = column.max_def_level() - i16::from(column.self_type().is_optional());
        plain.contains(item.data_type()).then(|| ListLevels { leaf, column, item: item.clone(), entry })
    }

    /// Begins decoding behind the first `skip` rows.
    pub fn reader(&self, pages: Box<dyn PageReader>, skip: usize) -> Box<dyn ReadLists> {
        match self.item.data_type() {
            ArrowType::Int32 => self.typed::<Int32, Int32Type>(pages, skip),
            ArrowType::Int64 => self.typed::<Int64, Int64Type>(pages, skip),
            ArrowType::Float32 => self.typed::<FloatType, Float32Type>(pages, skip),
            ArrowType::Float64 => self.typed::<DoubleType, Float64Type>(pages, skip),
            _ => unreachable!("`new` takes these four types"),
        }
    }

    fn typed<T: DataType<T = A::Native>, A: ArrowPrimitiveType>(
        &self,
        pages: Box<dyn PageReader>,
        skip: usize,
    ) -> Box<dyn ReadLists> {
        Box::new(ListReader::<T, A> {
            levels: self.clone(),
            reader: ColumnReaderImpl::new(self.column.clone(), pages),
            skip,
            definitions: Vec::new(),
            repetitions: Vec::new(),
            last: None,
        })
    }
}

/// Decodes a list column of a row group.
pub(super) trait ReadLists: Send {
    /// The lists of the next `rows` rows, or of fewer at the end; then an empty array.
    fn next(&mut self, rows: usize) -> Result<ArrayRef>;
}

struct ListReader<T: DataType, A: ArrowPrimitiveType> {
    levels: ListLevels,
    reader: ColumnReaderImpl<T>,
    /// Rows that are still to be passed over.
    skip: usize,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    /// The values that were given last: their memory is used again once nobody reads them.
    last: Option<ScalarBuffer<A::Native>>,
}

impl<T: DataType<T = A::Native>, A: ArrowPrimitiveType> ReadLists for ListReader<T, A> {
    fn next(&mut self, rows: usize) -> Result<ArrayRef> {
        let skip = std::mem::take(&mut self.skip);
        if self.reader.skip_records(skip)? < skip {
            return Ok(new_empty_array(&ArrowType::Null));
        }
        let reusable = self.last.take().and_then(|last| last.into_inner().into_vec().ok());
        let mut values: Vec<A::Native> = reusable.unwrap_or_default();
        values.clear();
        let (definitions, repetitions) = (&mut self.definitions, &mut self.repetitions);
        definitions.clear();
        repetitions.clear();
        let (mut read, mut at_end) = (0, false);
        while read < rows {
            let (more, _, _) =
                self.reader.read_records(rows - read, Some(definitions), Some(repetitions), &mut values)?;
            read += more;
            // The library stops before a page without values, such as pyarrow writes, and goes on
            // behind it when it is asked again.
            if std::mem::replace(&mut at_end, more == 0) && more == 0 {
                break;
            }
        }
        let rows = read;
        let entry = self.levels.entry;
        let contradictory = || ParquetError::General("levels that contradict each other".into());
        let offsets = offsets(definitions, repetitions, entry, rows).ok_or_else(contradictory)?;
        let entries = offsets[rows] as usize;
        let mut nulls = None;
        if values.len() < entries {
            let whole = self.levels.column.max_def_level();
            let valid: Vec<bool> = definitions.iter().filter(|&&d| d >= entry).map(|&d| d == whole).collect();
            values = spread(&values, &valid).ok_or_else(contradictory)?;
            nulls = Some(NullBuffer::from(valid));
        }
        let values = PrimitiveArray::<A>::try_new(values.into(), nulls)?;
        self.last = Some(values.values().clone());
        // Where the list itself may be null, level 0 says that it is.
        let is_optional = entry > 1 && definitions.contains(&0);
        let lists = definitions.iter().zip(&*repetitions).filter(|&(_, &repetition)| repetition == 0);
        let nulls = is_optional.then(|| lists.map(|(&definition, _)| definition > 0).collect::<Vec<_>>().into());
        let offsets = OffsetBuffer::new(offsets.into());
        Ok(Arc::new(ListArray::try_new(self.levels.item.clone(), offsets, Arc::new(values), nulls)?))
    }
}

/// Where the lists of `rows` rows begin among all entries, and where the last one ends; `None` if
/// the levels are not those of `rows` rows. An entry has a definition level of `entry` or more.
fn offsets(definitions: &[i16], repetitions: &[i16], entry: i16, rows: usize) -> Option<Vec<i32>> {
    i32::try_from(definitions.len()).ok()?;
    let mut offsets = vec![0; rows + 1];
    let (mut list, mut end) = (0, 0);
    for (&definition, &repetition) in definitions.iter().zip(repetitions) {
        // Written at every level, without a branch: what is written last for a list is where it
        // ends, and so where the next one begins.
        *offsets.get_mut(list)? = end;
        list += usize::from(repetition == 0);
        end += i32::from(definition >= entry);
    }
    offsets[rows] = end;
    (list == rows && definitions.len() == repetitions.len()).then_some(offsets)
}

/// The values with a zero wherever there is none.
fn spread<T: Copy + Default>(values: &[T], valid: &[bool]) -> Option<Vec<T>> {
    let mut values = values.iter();
    let spread = valid.iter().map(|&valid| if valid { values.next().copied() } else { Some(T::default()) });
    spread.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_offsets() {
        // [7, null], null, [], [9] of optional lists of optional entries.
        let (definitions, repetitions) = ([3, 2, 0, 1, 3], [0, 1, 0, 0, 0]);
        assert_eq!(offsets(&definitions, &repetitions, 2, 4), Some(vec![0, 2, 2, 2, 3]));
        assert_eq!(spread(&[7, 9], &[true, false, true]), Some(vec![7, 0, 9]));
        assert_eq!(offsets(&[], &[], 2, 0), Some(vec![0]));
    }

    #[test]
    fn contradictory_levels_are_found() {
        assert_eq!(offsets(&[2, 2], &[0, 0], 2, 1), None, "two rows instead of one");
        assert_eq!(offsets(&[2, 2, 2], &[0, 0, 0], 2, 1), None);
        assert_eq!(offsets(&[2], &[1], 2, 1), None, "the first level does not begin a row");
        assert_eq!(offsets(&[2, 2], &[0], 2, 1), None, "a level too many");
        assert_eq!(spread(&[7], &[true, true]), None);
    }
}
