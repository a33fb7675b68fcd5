//! What can be wrong with data, each with its place: file, row or line, column, and where the spec
//! asked for the column.
//!
//! Rows are counted from 0 over the whole file, as in pandas, Arrow and DuckDB; lines of a CSV from
//! 1, the header being line 1.

use crate::comm::RankWarning;
use std::fmt;
use std::path::{Path, PathBuf};

/// Class of a fault: decides exit codes and what may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// No file at the path, or a directory without data.
    NotFound,
    /// One file twice in the data, by whatever paths or links.
    SameFile,
    /// Reading failed: permissions, disk. The machine's fault, not the data's.
    Io,
    /// No bytes.
    EmptyFile,
    /// A file, or the whole data set, without rows.
    NoRows,
    /// Neither Parquet nor CSV by its name or contents.
    Format,
    /// Cut short or altered.
    Damaged,
    /// Text against the rules of CSV: its quotes or line ends.
    Malformed,
    MissingColumn,
    /// Two columns of one name.
    DuplicateColumn,
    WrongType,
    /// A null, or an empty CSV field, where a value is needed.
    Null,
    /// A label that is not 0 or 1.
    BadLabel,
    /// An id outside `category(n)`.
    OutOfRange,
    /// Text that is not a number or an id.
    BadValue,
    /// NaN or infinity in a numeric feature.
    NotFinite,
    /// An integer in a numeric feature that f32 does not hold exactly: a warning.
    Rounded,
    /// Lists of one sequence with different lengths in one row.
    UnequalLength,
    /// A list of numbers whose length is not the declared one.
    WrongWidth,
    /// A CSV record with more or fewer fields than the header.
    FieldCount,
    /// A time that does not come before its row's moment.
    KnownTooLate,
    /// Rows of one request differ in what is declared `common`.
    NotCommon,
    /// More than fits the counters.
    TooLarge,
}

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Row of a Parquet file, from 0.
    Row(u64),
    /// Line of a text file, from 1.
    Line(u64),
}

/// One fault of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFault {
    pub kind: FaultKind,
    pub file: PathBuf,
    pub location: Option<Location>,
    pub column: Option<String>,
    /// Of an `Io` fault, what was being done: `read 8192 bytes at byte 4`.
    pub expected: String,
    /// Empty where there is nothing to show.
    pub found: String,
    /// What in the spec asked for it: `feature ad.good_id` and `models/din.din:18:25`.
    pub required_by: Option<(String, String)>,
    pub help: Option<String>,
}

/// Of several ranks, each of which finds another place: those of one kind in one column are the
/// same warning.
impl From<&DataError> for RankWarning {
    fn from(fault: &DataError) -> Self {
        Self { about: format!("{:?} {:?}", fault.kind, fault.column), text: fault.to_string() }
    }
}

/// A located fault. `Display` is one line: `train.parquet: row 17, column "label": expected 0 or 1,
/// found NaN (label click, din.din:9:5); help: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataError(Box<DataFault>);

impl DataError {
    pub fn new(kind: FaultKind, file: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self(Box::new(DataFault {
            kind,
            file: file.to_path_buf(),
            location: None,
            column: None,
            expected: expected.into(),
            found: found.into(),
            required_by: None,
            help: None,
        }))
    }

    pub fn at(mut self, place: Location) -> Self {
        self.0.location = Some(place);
        self
    }

    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.0.column = Some(column.into());
        self
    }

    pub fn required_by(mut self, what: impl Into<String>, location: impl Into<String>) -> Self {
        self.0.required_by = Some((what.into(), location.into()));
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// A failed read or open, with the path it concerns.
    pub fn io(file: &Path, error: &std::io::Error) -> Self {
        Self::failed(file, "read it", error)
    }

    /// A failed system call: what it was to do (`read 8192 bytes at byte 4`) and its error.
    pub fn failed(file: &Path, action: &str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                Self::new(FaultKind::NotFound, file, "a data file or a directory of them", "nothing at this path")
                    .help("check the path given to --data or --valid")
            }
            std::io::ErrorKind::UnexpectedEof => {
                Self::new(FaultKind::Damaged, file, "a whole file", error.to_string()).help(DAMAGED_HELP)
            }
            _ => Self::new(FaultKind::Io, file, action, error.to_string()),
        }
    }
}

pub(crate) const DAMAGED_HELP: &str = "the file is cut short or altered: write or copy it again";

impl std::ops::Deref for DataError {
    type Target = DataFault;
    fn deref(&self) -> &DataFault {
        &self.0
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match self.location {
            Some(Location::Row(row)) => write!(f, "row {row}")?,
            Some(Location::Line(line)) => write!(f, "line {line}")?,
            None => {}
        }
        if let Some(column) = &self.column {
            write!(f, "{}column \"{column}\"", if self.location.is_some() { ", " } else { "" })?;
        }
        if self.location.is_some() || self.column.is_some() {
            write!(f, ": ")?;
        }
        if self.kind == FaultKind::Io {
            write!(f, "cannot {}: {}", self.expected, self.found)?;
        } else {
            write!(f, "expected {}", self.expected)?;
            if !self.found.is_empty() {
                write!(f, ", found {}", self.found)?;
            }
        }
        if let Some((what, location)) = &self.required_by {
            write!(f, " ({what}, {location})")?;
        }
        if let Some(help) = &self.help {
            write!(f, "; help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DataError {}

impl From<DataError> for crate::Error {
    fn from(error: DataError) -> Self {
        match error.kind {
            FaultKind::Io => crate::Error::machine(error.to_string()),
            FaultKind::NotFound
            | FaultKind::SameFile
            | FaultKind::EmptyFile
            | FaultKind::NoRows
            | FaultKind::Format
            | FaultKind::Damaged
            | FaultKind::Malformed
            | FaultKind::MissingColumn
            | FaultKind::DuplicateColumn
            | FaultKind::WrongType
            | FaultKind::Null
            | FaultKind::BadLabel
            | FaultKind::OutOfRange
            | FaultKind::BadValue
            | FaultKind::NotFinite
            | FaultKind::Rounded
            | FaultKind::UnequalLength
            | FaultKind::WrongWidth
            | FaultKind::FieldCount
            | FaultKind::NotCommon
            | FaultKind::KnownTooLate
            | FaultKind::TooLarge => crate::Error::input(error.to_string()),
        }
    }
}

/// Why a stream of batches ended too early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// What was read is at fault.
    Data(DataError),
    /// The other ranks are not reached, or read other data.
    Ranks(crate::Error),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(error) => error.fmt(f),
            Self::Ranks(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

impl From<DataError> for StreamError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<StreamError> for crate::Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Data(error) => error.into(),
            StreamError::Ranks(error) => error,
        }
    }
}

/// The candidate nearest to `name` by edit distance, if near enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    candidates
        .map(|c| (distance(&name.to_lowercase(), &c.to_lowercase()), c))
        .filter(|&(d, _)| d <= limit)
        .min_by_key(|&(d, _)| d)
        .map(|(_, c)| c)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_everything() {
        let error = DataError::new(FaultKind::BadLabel, Path::new("train.parquet"), "0 or 1", "NaN")
            .at(Location::Row(17))
            .column("label")
            .required_by("label click", "din.din:9:5")
            .help("drop the row");
        assert_eq!(
            error.to_string(),
            "train.parquet: row 17, column \"label\": expected 0 or 1, found NaN (label click, din.din:9:5); help: drop the row"
        );
        assert_eq!(error.kind, FaultKind::BadLabel);
    }

    #[test]
    fn nearest_name() {
        assert_eq!(nearest("good_id", ["shop_id", "goods_id", "x"].into_iter()), Some("goods_id"));
        assert_eq!(nearest("good_id", ["price", "Good_ID"].into_iter()), Some("Good_ID"));
        assert_eq!(nearest("good_id", ["price", "user"].into_iter()), None);
    }
}
