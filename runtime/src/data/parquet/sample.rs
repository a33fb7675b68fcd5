//! The first rows of a file, for a sample of its columns.

use super::super::error::{DAMAGED_HELP, DataError, FaultKind};
use super::super::sample::{ColumnSampler, SAMPLED_ROWS, SampledColumn, SampledKind};
use super::fence::{fenced, said, said_by_arrow};
use super::input::PositionedFile;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_cast::cast;
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The columns of a file.
pub(crate) fn sample(file: File, path: &Path, length: u64) -> Result<Vec<SampledColumn>, DataError> {
    let input = PositionedFile::new(Arc::new(file), length);
    let read = fenced(|| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(input.clone()).map_err(|e| said(&e))?;
        let schema = builder.schema().clone();
        let reader = builder.with_batch_size(SAMPLED_ROWS).with_limit(SAMPLED_ROWS).build().map_err(|e| said(&e))?;
        let batches: Result<Vec<_>, _> = reader.collect();
        Ok((schema, batches.map_err(|e| said_by_arrow(&e))?))
    });
    let (schema, batches) = read.map_err(|what| match input.failure() {
        Some(failure) => DataError::failed(path, &failure.action, &failure.error),
        None => DataError::new(FaultKind::Damaged, path, "a Parquet file that can be read", what).help(DAMAGED_HELP),
    })?;
    let sampled = schema.fields().iter().enumerate().map(|(index, field)| {
        let mut sampler = ColumnSampler::default();
        let kind = match field.data_type() {
            DataType::List(entry) | DataType::LargeList(entry) | DataType::FixedSizeList(entry, _) => {
                kind_of(entry.data_type())
            }
            plain => kind_of(plain),
        };
        if !matches!(kind, SampledKind::Other(_)) {
            batches.iter().for_each(|batch| push(batch.column(index), &mut sampler));
        }
        sampler.finish(field.name().clone(), Some(kind))
    });
    Ok(sampled.collect())
}

fn kind_of(data_type: &DataType) -> SampledKind {
    match data_type {
        DataType::Boolean => SampledKind::Boolean,
        integer if integer.is_integer() => SampledKind::Integer,
        float if float.is_floating() => SampledKind::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SampledKind::Text,
        DataType::Dictionary(_, values) => kind_of(values),
        other => SampledKind::Other(other.to_string()),
    }
}

/// Adds the rows of an array, of lists or of values.
fn push(array: &ArrayRef, sampler: &mut ColumnSampler) {
    let mut list = |entries: Option<ArrayRef>| match entries {
        Some(entries) => {
            sampler.list(entries.len());
            values(&entries, sampler);
        }
        None => {
            sampler.list(0);
            sampler.null();
        }
    };
    match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().iter().for_each(&mut list),
        DataType::LargeList(_) => array.as_list::<i64>().iter().for_each(&mut list),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().iter().for_each(&mut list),
        _ => values(array, sampler),
    }
}

fn values(array: &ArrayRef, sampler: &mut ColumnSampler) {
    let Ok(texts) = cast(array, &DataType::Utf8) else { return };
    for text in texts.as_string::<i32>() {
        match text {
            Some(text) => sampler.value(text.to_string()),
            None => sampler.null(),
        }
    }
}
