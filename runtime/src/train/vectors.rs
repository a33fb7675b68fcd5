//! Vectors that rows start from: `init from "vectors.safetensors"`.
//!
//! A file has a tensor `vectors`, F32 of `[n, width]`, and says whose they are: `ids`, I64 or U64
//! of `[n]`; for string ids `ids`, the UTF-8 of all of them one behind the other (U8), and
//! `offsets` (I64 or U64 of `[n + 1]`), where each begins, then where the last ends.
//!
//! Every rank reads the whole file, checks all of it, and keeps the rows of the ids that it owns.

use super::Event;
use super::setup::{TrainingOptions, TrainingRun};
use crate::comm::{self, Channel, LongOperation, check_agreement, sum_over_ranks};
use crate::data::string_id;
use crate::fs::xxh3_file;
use crate::table::Table;
use crate::{Error, Result};
use din_program::schema::{KeyType, TableKind, TableSpec, VectorFile, seen_from};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

/// Floats that are read at a time, or a row.
const PIECE: usize = 1 << 18;

/// The ids that a rank's part of a table has from a file.
#[derive(Debug)]
pub(super) struct GivenRows {
    table: usize,
    /// For messages.
    path: PathBuf,
    ids: Vec<u64>,
}

/// Gives the rows of ids that files name their vectors, before any other row of a growing table is
/// made.
///
/// # Errors
/// A file that is not as the module says, or that ranks read differently.
pub(super) fn load(run: &mut TrainingRun, options: &TrainingOptions) -> Result<Vec<GivenRows>> {
    let program = run.program.clone();
    let mut given = Vec::new();
    let mut read = Vec::new();
    for (number, spec) in program.tables.iter().enumerate() {
        let Some(named) = &spec.vectors else { continue };
        let _operation = LongOperation::begin();
        let path = options.spec_folder.join(&named.path);
        let file = VectorReader::open(&path, spec, named, &options.spec_folder)?;
        let ids = file.fill(&mut run.session.untrained_tables()?[number])?;
        if run.ranks.size() > 1 {
            read.push(format!("vectors of `{}` with XXH3 {}", spec.name, xxh3_file(&path)?));
        }
        given.push(GivenRows { table: number, path, ids });
    }
    if !read.is_empty() {
        check_agreement(&*run.ranks, Channel::Step, &read)?;
    }
    Ok(given)
}

/// Says how the ids of the files and those of the training data meet, after the counting pass.
///
/// # Errors
/// Another rank failed.
pub(super) fn report(run: &TrainingRun, given: &[GivenRows], observe: &mut dyn FnMut(Event)) -> Result<()> {
    for GivenRows { table, path, ids: named } in given {
        let spec = &run.program.tables[*table];
        let table = &run.session.tables()[*table];
        let (mut rows, frequency) = (Vec::new(), table.frequency());
        table.resolve_read(named, &mut rows)?;
        let used = rows.iter().filter(|&&row| frequency[row as usize] > 0.0).count();
        // The OOV row counts as an id of one sample.
        let counted = frequency[usize::from(table.is_dynamic())..].iter().filter(|&&samples| samples > 0.0).count();
        let own = [used, named.len(), counted].map(|count| count as u64);
        let [used, named, counted] = if table.shard().is_some() { sum_over_ranks(own, &*run.ranks)? } else { own };
        let counted_ids = if spec.admission.is_some() { "admitted ids" } else { "ids" };
        observe(Event::Note(format!(
            "table `{}`: of {counted} {counted_ids} in the training data {used} start from {}, {} do not; \
             {} of its {named} vectors are of other ids",
            spec.name,
            path.display(),
            counted - used,
            named - used,
        )));
    }
    Ok(())
}

/// A file whose header has been read.
struct VectorReader<'a> {
    file: File,
    path: &'a Path,
    spec: &'a TableSpec,
    /// Where the spec names the file.
    place: String,
    tensors: Metadata,
    /// Where the bytes of tensors begin.
    begin: u64,
    length: u64,
}

impl<'a> VectorReader<'a> {
    fn open(path: &'a Path, spec: &'a TableSpec, named: &VectorFile, spec_folder: &Path) -> Result<Self> {
        let place = seen_from(spec_folder, &named.location);
        let failed = |doing: &str, e: &std::io::Error| {
            let error = Error::file(doing, path, e);
            let message = format!("{place}: {}", error.message);
            Error { message, ..error }.help("the path is that from the folder of the spec")
        };
        let mut file = File::open(path).map_err(|e| failed("read", &e))?;
        let length = file.metadata().map_err(|e| failed("read", &e))?.len();
        let wrong = |what: String| {
            Error::input(format!("{place}: {}: expected a safetensors file: {what}", path.display()))
                .help("`safetensors.numpy.save_file` of Python writes one")
        };
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(|_| wrong("it has no header".into()))?;
        let header = u64::from_le_bytes(size);
        if header > LONGEST_HEADER.min(length.saturating_sub(8)) {
            return Err(wrong(format!("its header has {header} bytes, the file {length}")));
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(|e| failed("read", &e))?;
        let tensors = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { file, path, spec, place, tensors, begin: 8 + header, length })
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: {}: {what}", self.place, self.path.display()))
    }

    /// A tensor of one of these types, and its first dimension.
    fn tensor(&self, name: &str, types: &[Dtype], shape: &str, fits: impl Fn(&[usize]) -> bool) -> Result<&TensorInfo> {
        let expected = format!("{} {shape}", types.iter().map(|t| format!("{t:?}")).collect::<Vec<_>>().join(" or "));
        let Some(tensor) = self.tensors.info(name) else {
            let mut others: Vec<String> = self.tensors.tensors().into_keys().map(|name| format!("`{name}`")).collect();
            others.sort();
            let found = if others.is_empty() { "none".into() } else { others.join(", ") };
            return Err(self.wrong(format!("expected a tensor `{name}`, {expected}; found {found}")));
        };
        if !types.contains(&tensor.dtype) || !fits(&tensor.shape) {
            let found = format!("{:?} {:?}", tensor.dtype, tensor.shape);
            return Err(self.wrong(format!("tensor `{name}`: expected {expected}, found {found}")));
        }
        let elements = tensor.shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let bytes = elements.and_then(|elements| elements.checked_mul(tensor.dtype.bitsize() / 8));
        let (first, last) = tensor.data_offsets;
        let held = self.length - self.begin;
        if bytes.and_then(|bytes| first.checked_add(bytes)) != Some(last) || last as u64 > held {
            return Err(self.wrong(format!("tensor `{name}`: the file is cut short, or its header is wrong")));
        }
        Ok(tensor)
    }

    fn read(&self, tensor: &TensorInfo, from: usize, bytes: &mut [u8]) -> Result<()> {
        comm::progress();
        let at = self.begin + (tensor.data_offsets.0 + from) as u64;
        let mut file = &self.file;
        let outcome = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(bytes));
        outcome.map_err(|e| Error::file("read", self.path, &e))
    }

    fn whole(&self, tensor: &TensorInfo) -> Result<Vec<u8>> {
        let mut bytes = vec![0; tensor.data_offsets.1 - tensor.data_offsets.0];
        self.read(tensor, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// 64-bit integers as ids have them; negative ones are an error if `signed` is false.
    fn integers(&self, name: &str, count: Option<usize>, signed: bool) -> Result<Vec<u64>> {
        let shape = count.map_or("[n]".into(), |count| format!("[{count}]"));
        let fits = |found: &[usize]| matches!(found, [n] if count.is_none_or(|count| count == *n));
        let tensor = self.tensor(name, &[Dtype::I64, Dtype::U64], &shape, fits)?;
        let bytes = self.whole(tensor)?;
        let numbers: Vec<u64> = bytes.as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)).collect();
        if tensor.dtype == Dtype::I64
            && !signed
            && let Some(at) = numbers.iter().position(|&number| (number as i64) < 0)
        {
            let found = numbers[at] as i64;
            return Err(self.wrong(format!("tensor `{name}`: expected numbers of at least 0, found {found} at {at}")));
        }
        Ok(numbers)
    }

    /// The ids in the order of the file, each once.
    fn ids(&self) -> Result<Vec<u64>> {
        let ids = match self.spec.kind {
            TableKind::Dynamic { key: KeyType::Int64 } => self.integers("ids", None, true)?,
            TableKind::Dynamic { key: KeyType::String } => self.strings()?,
            TableKind::Fixed { size } => {
                let ids = self.integers("ids", None, false)?;
                if let Some((at, id)) = ids.iter().enumerate().find(|(_, id)| **id >= size) {
                    let expected = format!("expected ids from 0 to {}", size - 1);
                    return Err(self.wrong(format!("tensor `ids`: {expected}, found {id} at {at}")));
                }
                ids
            }
        };
        let mut placed: Vec<(u64, usize)> = ids.iter().copied().zip(0..).collect();
        placed.sort_unstable();
        let twice = placed.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[1].1, pair[0].1));
        if let Some((again, first)) = twice.min() {
            return Err(self
                .wrong(format!("tensor `ids`: expected each id once, found the same one at {first} and at {again}"))
                .help("keep one vector of each id"));
        }
        Ok(ids)
    }

    fn strings(&self) -> Result<Vec<u64>> {
        let text = self.tensor("ids", &[Dtype::U8], "[bytes] for string ids", |shape| shape.len() == 1)?;
        let text = self.whole(text)?;
        let offsets = self.integers("offsets", None, false)?;
        let wrong = |at: usize, what: &str| self.wrong(format!("tensor `offsets`: {what} at {at}"));
        if offsets.first() != Some(&0) || offsets.last() != Some(&(text.len() as u64)) {
            let all = format!("expected offsets from 0 to the {} bytes of `ids`", text.len());
            return Err(self.wrong(format!("tensor `offsets`: {all}")));
        }
        let mut ids = Vec::with_capacity(offsets.len() - 1);
        for (at, pair) in offsets.windows(2).enumerate() {
            let bytes = text.get(pair[0] as usize..pair[1] as usize);
            let bytes = bytes.ok_or_else(|| wrong(at + 1, "expected ascending offsets, found a smaller one"))?;
            let id = std::str::from_utf8(bytes).map_err(|_| wrong(at, "expected UTF-8, found other bytes"))?;
            ids.push(string_id(id));
        }
        Ok(ids)
    }

    /// Gives the ids that the table has their rows; returns these ids.
    fn fill(&self, table: &mut Table) -> Result<Vec<u64>> {
        let ids = self.ids()?;
        let width = self.spec.width as usize;
        let shape = format!("[{}, {width}]", ids.len());
        let tensor = self.tensor("vectors", &[Dtype::F32], &shape, |found| found == [ids.len(), width])?;
        let mut own = Vec::new();
        let rows = (PIECE / width).max(1);
        let (mut bytes, mut vectors) = (vec![0; 4 * rows.min(ids.len()) * width], Vec::new());
        for (piece, ids) in ids.chunks(rows).enumerate() {
            let bytes = &mut bytes[..4 * ids.len() * width];
            self.read(tensor, 4 * piece * rows * width, bytes)?;
            vectors.clear();
            vectors.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)));
            if let Some(at) = vectors.iter().position(|value| !value.is_finite()) {
                let (row, value) = (piece * rows + at / width, vectors[at]);
                let place = format!("component {} of vector {row}", at % width);
                return Err(self.wrong(format!("tensor `vectors`: expected finite values, found {value}: {place}")));
            }
            for (&id, vector) in ids.iter().zip(vectors.chunks_exact(width)) {
                if table.shard().is_none_or(|shard| shard.owns(id)) {
                    table.give_row(id, vector)?;
                    own.push(id);
                }
            }
        }
        Ok(own)
    }
}
