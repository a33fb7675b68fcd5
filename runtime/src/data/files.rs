//! From paths to files and their units: the row groups of Parquet, blocks of records of CSV. A unit
//! can be read by itself, which is what makes shuffling, resuming and bounded memory possible.
//!
//! Guarantees that what a path stands for is read as a whole, each file once, or is an error.

use super::bind::Binding;
use super::error::{DataError, FaultKind, Place};
use super::kind::{self, Kind};
use super::{csv, parquet};
use crate::batch::Batch;
use crate::identity::FileIdentity;
use arrow_schema::DataType;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
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

/// What paths stand for, opened and bound.
#[derive(Debug)]
pub(crate) struct Opened {
    pub files: Vec<DataFile>,
    /// Of every file.
    pub identities: HashSet<FileIdentity>,
    pub units: Vec<Unit>,
    /// What folders hold besides data.
    pub left_out: Vec<PathBuf>,
}

/// Finds, opens and binds all files, in order.
pub(crate) fn open<P: AsRef<Path>>(paths: &[P], binding: &Binding) -> Result<Opened, DataError> {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for path in paths {
        expand(path.as_ref(), &mut found, &mut left_out)?;
    }
    let mut first: HashMap<FileIdentity, &Path> = HashMap::new();
    for path in &found {
        let identity = FileIdentity::of(path).map_err(|e| DataError::io(path, &e))?;
        if let Some(other) = first.insert(identity, path) {
            let found = format!("the same file as {}", other.display());
            return Err(DataError::new(FaultKind::SameFile, path, "each file once", found)
                .help("name it once; a folder stands for the files in it"));
        }
    }
    let identities = first.into_keys().collect();
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
    Ok(Opened { files, identities, units, left_out })
}

/// A folder stands for the data files in it, in the order of their names. Names that begin with `.`
/// or `_` are passed over, documentation and code are left out; whatever else is there is an error,
/// since it may be data.
fn expand(path: &Path, found: &mut Vec<PathBuf>, left_out: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let metadata = std::fs::metadata(path).map_err(|e| DataError::io(path, &e))?;
    if !metadata.is_dir() {
        found.push(path.to_path_buf());
        return Ok(());
    }
    let entries: io::Result<Vec<PathBuf>> =
        std::fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries = entries.map_err(|e| DataError::io(path, &e))?;
    entries.sort();
    let before = found.len();
    for entry in entries {
        if entry.file_name().is_none_or(|n| matches!(n.as_encoded_bytes().first(), Some(b'.' | b'_'))) {
            continue;
        }
        let metadata = std::fs::metadata(&entry).map_err(|e| DataError::io(&entry, &e))?;
        if metadata.is_dir() {
            return Err(DataError::new(FaultKind::Format, &entry, "data files in the folder itself", "a subfolder")
                .help(format!(
                    "folders inside a folder are not read: name what is to be read, as `{}`",
                    all_in(path)
                )));
        }
        if is_documentation(&entry) {
            left_out.push(entry);
        } else if kind::of_name(&entry).is_some() {
            found.push(entry);
        } else {
            return Err(not_data(path, &entry));
        }
    }
    if found.len() == before {
        return Err(DataError::new(FaultKind::NotFound, path, format!("data files ({ENDINGS})"), "none")
            .help("name the files themselves, or the directory that holds them"));
    }
    Ok(())
}

/// The error of a file in a folder whose name tells neither data nor documentation.
fn not_data(folder: &Path, entry: &Path) -> DataError {
    let all = all_in(folder);
    let instead = format!("or take it out of the folder, or name what is to be read, as `{all}`");
    match head(entry).and_then(|head| kind::of(entry, &head)) {
        Ok(_) => DataError::new(FaultKind::Format, entry, format!("a name that ends in {ENDINGS}"), "another one")
            .help(format!("rename it; {instead}")),
        Err(error) if error.kind == FaultKind::Io => error,
        Err(error) => match error.help.clone() {
            Some(help) => error.help(format!("{help}; {instead}")),
            None => error,
        },
    }
}

const ENDINGS: &str = ".parquet, .pq, .parq, .csv, .tsv";

/// A shell's pattern for all that is in a folder.
fn all_in(folder: &Path) -> String {
    folder.join("*").display().to_string()
}

/// Whether a name is of text for people, or of code, rather than of rows.
fn is_documentation(path: &Path) -> bool {
    let lower = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let text = ["md", "rst", "txt", "html", "pdf", "din", "py", "ipynb", "sh", "sql"];
    let stems = ["readme", "license", "licence", "notice", "copying", "changelog", "makefile"];
    let data = kind::of_name(path).is_some();
    text.contains(&lower(path.extension()).as_str()) || (!data && stems.contains(&lower(path.file_stem()).as_str()))
}

fn open_file(path: &Path, binding: &Binding) -> Result<(DataFile, Vec<u64>), DataError> {
    let kind = kind::of(path, &head(path)?)?;
    let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
    let length = file.metadata().map_err(|e| DataError::io(path, &e))?.len();
    match kind {
        Kind::Parquet => parquet::open(file, path, length, binding),
        Kind::Separated(delimiter) => csv::open(file, path, length, delimiter, binding),
    }
}

/// The first [`kind::HEAD`] bytes of a file, or all that it has; at least one.
fn head(path: &Path) -> Result<Vec<u8>, DataError> {
    let io = |e: &io::Error| DataError::io(path, e);
    // Before it is opened: a pipe would wait for who writes it.
    let metadata = std::fs::metadata(path).map_err(|e| io(&e))?;
    if !metadata.is_file() {
        return Err(DataError::new(FaultKind::Format, path, "a Parquet or CSV file", "a device or a pipe")
            .help("write the data to a file first: it is read more than once"));
    }
    let mut head = Vec::with_capacity(kind::HEAD);
    let file = File::open(path).map_err(|e| io(&e))?;
    file.take(kind::HEAD as u64).read_to_end(&mut head).map_err(|e| io(&e))?;
    if head.is_empty() {
        return Err(DataError::new(FaultKind::EmptyFile, path, "a Parquet or CSV file", "an empty file")
            .help("check what wrote the file: it stopped before writing a byte"));
    }
    Ok(head)
}
