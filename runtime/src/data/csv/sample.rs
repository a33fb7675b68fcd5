//! The first records of a file, for a sample of its columns.

use super::super::error::DataError;
use super::super::records::{CsvRecord, Start};
use super::super::sample::{ColumnSampler, SAMPLED_ROWS, SampledColumn};
use super::fault::{failed, wrong_count};
use super::value::trimmed;
use std::fs::File;
use std::path::Path;

/// The columns of a file. One is of lists if a field of it has the separator.
pub(crate) fn sample(file: File, path: &Path, delimiter: u8, separator: u8) -> Result<Vec<SampledColumn>, DataError> {
    let mut records = super::records_at(file, path, delimiter, (Start { offset: 0, line: 1 }, None))?;
    let mut record = CsvRecord::new();
    if !records.read(&mut record).map_err(|e| failed(path, e, delimiter, &[]))? {
        return Err(super::without_header(path));
    }
    let names = super::names(path, &record)?;
    let shown: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut columns: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    let mut rows = 0;
    while rows < SAMPLED_ROWS && records.read(&mut record).map_err(|e| failed(path, e, delimiter, &shown))? {
        if record.len() != names.len() {
            return Err(wrong_count(path, &record, names.len(), delimiter));
        }
        for (column, field) in columns.iter_mut().zip(record.fields()) {
            column.push(String::from_utf8_lossy(trimmed(field)).into_owned());
        }
        rows += 1;
    }
    let separator = char::from(separator);
    let sampled = names.into_iter().zip(columns).map(|(name, fields)| {
        let mut sampler = ColumnSampler::default();
        let is_list = fields.iter().any(|field| field.contains(separator));
        for field in fields {
            match (is_list, field.is_empty()) {
                (false, true) => sampler.null(),
                (false, false) => sampler.value(field),
                (true, true) => sampler.list(0),
                (true, false) => {
                    let entries = field.split(separator).map(|entry| entry.trim().to_string());
                    sampler.list(entries.clone().count());
                    entries.for_each(|entry| sampler.value(entry));
                }
            }
        }
        sampler.finish(name, None)
    });
    Ok(sampled.collect())
}
