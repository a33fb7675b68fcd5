//! What the first rows of a file show of its columns, for whoever writes a schema for it.

use super::error::DataError;
use super::files;
use std::collections::HashSet;
use std::path::Path;

/// Rows that are looked at.
pub(super) const SAMPLED_ROWS: usize = 4096;

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampledKind {
    Boolean,
    Integer,
    Float,
    Text,
    /// What no column of a spec is made of, such as times: its type.
    Other(String),
}

/// A column, as far as the first rows show.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledColumn {
    pub name: String,
    /// Of its values, or of the entries of its lists.
    pub kind: SampledKind,
    /// Whether the file has texts alone, of which the kind was guessed.
    pub is_of_texts: bool,
    /// The length of each row's list, of a column of lists.
    pub lengths: Option<Vec<usize>>,
    /// Rows without a value.
    pub nulls: usize,
    /// Different values; of integers, booleans and texts.
    pub distinct: usize,
    /// The least and the greatest number, if there are any.
    pub range: Option<(f64, f64)>,
}

/// The columns of a file, in its order; of a folder, of its first file.
///
/// # Errors
/// The file is neither Parquet nor CSV, or its first rows cannot be read.
pub fn sample(path: &Path, list_separator: u8) -> Result<Vec<SampledColumn>, DataError> {
    files::sample(path, list_separator)
}

/// Rows of a column as they are collected.
#[derive(Debug, Default)]
pub(super) struct ColumnSampler {
    /// Values, or entries of lists.
    values: Vec<String>,
    lengths: Option<Vec<usize>>,
    nulls: usize,
}

impl ColumnSampler {
    /// A row without a value.
    pub fn null(&mut self) {
        self.nulls += 1;
    }

    /// A value, or an entry of a list.
    pub fn value(&mut self, text: String) {
        self.values.push(text);
    }

    /// The list of a row, whose entries are added by themselves.
    pub fn list(&mut self, length: usize) {
        self.lengths.get_or_insert_default().push(length);
    }

    /// What was seen; the kind is that of the texts if the file has no types.
    pub fn finish(self, name: String, kind: Option<SampledKind>) -> SampledColumn {
        let is_of_texts = kind.is_none();
        let kind = kind.unwrap_or_else(|| kind_of(&self.values));
        let numbers = match kind {
            SampledKind::Integer | SampledKind::Float => {
                self.values.iter().filter_map(|v| v.parse::<f64>().ok()).collect()
            }
            SampledKind::Boolean => self.values.iter().map(|v| f64::from(v == "true")).collect(),
            SampledKind::Text | SampledKind::Other(_) => Vec::new(),
        };
        let finite = || numbers.iter().copied().filter(|number: &f64| number.is_finite());
        let range = finite().reduce(f64::min).zip(finite().reduce(f64::max));
        let distinct = self.values.iter().collect::<HashSet<_>>().len();
        SampledColumn { name, kind, is_of_texts, lengths: self.lengths, nulls: self.nulls, distinct, range }
    }
}

/// The narrowest kind that all texts are of.
fn kind_of(values: &[String]) -> SampledKind {
    let all = |is: &dyn Fn(&str) -> bool| !values.is_empty() && values.iter().all(|value| is(value));
    if all(&|value| matches!(value, "true" | "false")) {
        SampledKind::Boolean
    } else if all(&|value| value.parse::<i64>().is_ok() || value.parse::<u64>().is_ok()) {
        SampledKind::Integer
    } else if all(&|value| value.parse::<f64>().is_ok()) {
        SampledKind::Float
    } else {
        SampledKind::Text
    }
}
