//! From paths to files and their units: the row groups of Parquet, blocks of lines of CSV. A unit can be read by itself,
//! which is what makes shuffling, resuming and bounded memory possible.

use super::bind::Binding;
use super::error::{DataError, FaultKind, Place};
use super::{csv, parquet};
use crate::batch::Batch;
use arrow::datatypes::DataType;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A bound file.
#[derive(Debug)]
pub(crate) struct DataFile {
    /// As given, for messages.
    pub path: PathBuf,
    pub length: u64,
    pub rows: u64,
    /// About so many bytes its wanted columns take in a batch.
    pub decoded_bytes: u64,
    /// Of the footer or header.
    pub digest: u64,
    /// By column to pass through, its type; `None` where the file does not have it.
    pub carried: Vec<Option<DataType>>,
    pub format: Format,
}

#[derive(Debug)]
pub(crate) enum Format {
    Parquet(parquet::ParquetFile),
    Csv(csv::CsvFile),
}

impl DataFile {
    /// Where the row of a unit is.
    pub fn place(&self, unit: Unit, row: u64) -> Result<Place, DataError> {
        match &self.format {
            Format::Parquet(_) => Ok(Place::Row(unit.first_row + row)),
            Format::Csv(csv) => csv.place(&self.path, unit, row),
        }
    }
}

/// Consecutive rows of one file that can be read by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub file: usize,
    /// Row group, or index into the blocks of a CSV.
    pub index: usize,
    /// Row number in the file of its first row.
    pub first_row: u64,
    pub rows: u64,
}

/// Reads a unit from its beginning to its end.
pub(crate) trait UnitReader: Send {
    /// Appends up to `limit` rows; 0 at the end of the unit.
    fn read(&mut self, binding: &Binding, limit: usize, out: &mut Batch) -> Result<usize, DataError>;

    /// Moves the warnings since the last call to `to`, at most one for each column of the unit.
    fn warnings(&mut self, to: &mut Vec<DataError>);
}

/// Starts reading a unit, without its first `skip` rows.
pub(crate) fn reader(
    binding: &Binding,
    file: &DataFile,
    unit: Unit,
    skip: u64,
) -> Result<Box<dyn UnitReader>, DataError> {
    match &file.format {
        Format::Parquet(parquet) => parquet.reader(binding, &file.path, unit, skip),
        Format::Csv(csv) => csv.reader(binding, &file.path, unit, skip),
    }
}

/// Finds, opens and binds all files, in order.
pub(crate) fn open<P: AsRef<Path>>(paths: &[P], binding: &Binding) -> Result<(Vec<DataFile>, Vec<Unit>), DataError> {
    let mut found = Vec::new();
    for path in paths {
        expand(path.as_ref(), &mut found)?;
    }
    let (mut files, mut units) = (Vec::new(), Vec::new());
    for path in found {
        let (file, sizes) = open_file(&path, binding)?;
        let mut first_row = 0;
        for (index, rows) in sizes.into_iter().enumerate() {
            if rows > 0 {
                units.push(Unit { file: files.len(), index, first_row, rows });
            }
            first_row += rows;
        }
        files.push(file);
    }
    Ok((files, units))
}

/// A directory stands for its data files, in the order of their names; names that begin with `.` or `_` are left out.
fn expand(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let metadata = std::fs::metadata(path).map_err(|e| DataError::io(path, &e))?;
    if !metadata.is_dir() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    let mut inside = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| DataError::io(path, &e))? {
        let entry = entry.map_err(|e| DataError::io(path, &e))?.path();
        let hidden = entry.file_name().is_none_or(|n| matches!(n.as_encoded_bytes().first(), Some(b'.' | b'_')));
        if !hidden && kind_by_name(&entry).is_some() && entry.is_file() {
            inside.push(entry);
        }
    }
    if inside.is_empty() {
        return Err(DataError::new(FaultKind::NotFound, path, "data files (.parquet, .pq, .csv, .tsv)", "none")
            .help("name the files themselves, or the directory that holds them"));
    }
    inside.sort();
    found.extend(inside);
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Parquet,
    Separated(u8),
}

fn kind_by_name(path: &Path) -> Option<Kind> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "parquet" | "pq" | "parq" => Some(Kind::Parquet),
        "csv" | "txt" => Some(Kind::Separated(b',')),
        "tsv" => Some(Kind::Separated(b'\t')),
        _ => None,
    }
}

fn open_file(path: &Path, binding: &Binding) -> Result<(DataFile, Vec<u64>), DataError> {
    let io = |e: &std::io::Error| DataError::io(path, e);
    let mut file = File::open(path).map_err(|e| io(&e))?;
    let length = file.metadata().map_err(|e| io(&e))?.len();
    if length == 0 {
        return Err(DataError::new(FaultKind::EmptyFile, path, "a Parquet or CSV file", "an empty file")
            .help("check what wrote the file: it stopped before writing a byte"));
    }
    let mut magic = [0u8; 4];
    let read = file.read(&mut magic).map_err(|e| io(&e))?;
    let kind = match (&magic[..read], kind_by_name(path)) {
        (b"PAR1", _) => Kind::Parquet,
        ([0x1f, 0x8b, ..], _) => {
            return Err(
                DataError::new(FaultKind::Format, path, "a Parquet or CSV file", "a gzip file").help("unpack it first")
            );
        }
        (_, Some(kind)) => kind,
        (_, None) => {
            return Err(DataError::new(FaultKind::Format, path, "a Parquet or CSV file", "another kind of file")
                .help("give CSV files the ending .csv (or .tsv, separated by tabs)"));
        }
    };
    match kind {
        Kind::Parquet => parquet::open(file, path, length, binding),
        Kind::Separated(separator) => csv::open(path, length, separator, binding),
    }
}
