//! From paths to files and their blocks: the row groups of Parquet, blocks of records of CSV. A
//! block can be read by itself, which is what makes shuffling, resuming and bounded memory
//! possible.
//!
//! Guarantees that what a path stands for is read as a whole, each file once, or is an error.

use super::bind::Binding;
use super::block::{DataFile, RowBlock};
use super::error::{DataError, FaultKind};
use super::format::{self, DataFormat};
use super::sample::SampledColumn;
use super::{csv, parquet};
use crate::identity::FileIdentity;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What paths stand for, opened and bound.
#[derive(Debug)]
pub(crate) struct OpenedFiles {
    pub files: Vec<DataFile>,
    /// Of every file.
    pub identities: HashSet<FileIdentity>,
    pub blocks: Vec<RowBlock>,
    /// What folders hold besides data.
    pub left_out: Vec<PathBuf>,
}

/// Finds, opens and binds all files, in order.
pub(crate) fn open<P: AsRef<Path>>(paths: &[P], binding: &Binding) -> Result<OpenedFiles, DataError> {
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
    let (mut files, mut blocks) = (Vec::new(), Vec::new());
    for path in found {
        let (file, sizes) = open_file(&path, binding)?;
        let mut first_row = 0;
        for (index, rows) in sizes.into_iter().enumerate() {
            if rows > 0 {
                blocks.push(RowBlock { file: files.len(), index, first_row, rows });
            }
            first_row += rows;
        }
        files.push(file);
    }
    Ok(OpenedFiles { files, identities, blocks, left_out })
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
        } else if format::of_name(&entry).is_some() {
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

/// The error of a file in a folder whose name is of neither data nor documentation.
fn not_data(folder: &Path, entry: &Path) -> DataError {
    let all = all_in(folder);
    let instead = format!("or take it out of the folder, or name what is to be read, as `{all}`");
    match head(entry).and_then(|head| format::of(entry, &head)) {
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
    let lower = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().to_ascii_lowercase());
    let is_one_of = |part: Option<&OsStr>, words: &[&str]| lower(part).is_some_and(|part| words.contains(&&*part));
    let text = ["md", "rst", "txt", "html", "pdf", "din", "py", "ipynb", "sh", "sql"];
    let stems = ["readme", "license", "licence", "notice", "copying", "changelog", "makefile"];
    let data = format::of_name(path).is_some();
    is_one_of(path.extension(), &text) || (!data && is_one_of(path.file_stem(), &stems))
}

/// Opens and binds a file by its format; also the rows of each block.
fn open_file(path: &Path, binding: &Binding) -> Result<(DataFile, Vec<u64>), DataError> {
    let format = format::of(path, &head(path)?)?;
    let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
    let length = file.metadata().map_err(|e| DataError::io(path, &e))?.len();
    match format {
        DataFormat::Parquet => parquet::open(file, path, length, binding),
        DataFormat::Separated(delimiter) => csv::open(file, path, length, delimiter, binding),
    }
}

/// What the first rows of a file, or of the first file of a folder, show of its columns.
pub(super) fn sample(path: &Path, list_separator: u8) -> Result<Vec<SampledColumn>, DataError> {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    expand(path, &mut found, &mut left_out)?;
    let path = found.first().expect("a folder without data is an error");
    let format = format::of(path, &head(path)?)?;
    let file = File::open(path).map_err(|e| DataError::io(path, &e))?;
    match format {
        DataFormat::Parquet => {
            let length = file.metadata().map_err(|e| DataError::io(path, &e))?.len();
            parquet::sample(file, path, length)
        }
        DataFormat::Separated(delimiter) => csv::sample(file, path, delimiter, list_separator),
    }
}

/// The first [`format::HEAD`] bytes of a file, or all that it has; at least one.
fn head(path: &Path) -> Result<Vec<u8>, DataError> {
    let io = |e: &io::Error| DataError::io(path, e);
    // Before it is opened: a pipe would wait for who writes it.
    let metadata = std::fs::metadata(path).map_err(|e| io(&e))?;
    if !metadata.is_file() {
        return Err(DataError::new(FaultKind::Format, path, "a Parquet or CSV file", "a device or a pipe")
            .help("write the data to a file first: it is read more than once"));
    }
    let mut head = Vec::with_capacity(format::HEAD);
    let file = File::open(path).map_err(|e| io(&e))?;
    file.take(format::HEAD as u64).read_to_end(&mut head).map_err(|e| io(&e))?;
    if head.is_empty() {
        return Err(DataError::new(FaultKind::EmptyFile, path, "a Parquet or CSV file", "an empty file")
            .help("check what wrote the file: it stopped before writing a byte"));
    }
    Ok(head)
}
