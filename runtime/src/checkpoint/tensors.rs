//! One safetensors file: written tensor by tensor without holding all of it, read by mapping,
//! refused unless its SHA-256 is the expected one.

use crate::comm;
use crate::fs::{sha256_file, sha256_mapped};
use crate::{Error, Result};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::path::Path;

/// A tensor whose bytes are made when they are written.
pub struct LazyTensor<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    make: Box<dyn Fn() -> Cow<'a, [u8]> + 'a>,
}

impl<'a> LazyTensor<'a> {
    /// Numbers as they lie in memory.
    pub fn f32(shape: Vec<usize>, numbers: &'a [f32]) -> Self {
        Self::lazy(Dtype::F32, shape, move || Cow::Owned(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()))
    }

    /// Little-endian bytes of the dtype's numbers, made on demand.
    pub fn lazy(dtype: Dtype, shape: Vec<usize>, make: impl Fn() -> Cow<'a, [u8]> + 'a) -> Self {
        Self { dtype, shape, make: Box::new(make) }
    }
}

impl View for LazyTensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (self.make)()
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * (self.dtype.bitsize() / 8)
    }
}

/// A tensor whose numbers are looked at while they are written.
struct Watched<'a, 'b> {
    name: &'b str,
    tensor: LazyTensor<'a>,
    /// The first number of the file that is not finite: tensor, position in it, and the number.
    found: &'b Cell<Option<(&'b str, usize, f32)>>,
}

impl View for Watched<'_, '_> {
    fn dtype(&self) -> Dtype {
        self.tensor.dtype()
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        comm::progress();
        let bytes = self.tensor.data();
        if self.tensor.dtype == Dtype::F32 && self.found.get().is_none() {
            let mut numbers = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).enumerate();
            self.found.set(numbers.find(|(_, x)| !x.is_finite()).map(|(at, x)| (self.name, at, x)));
        }
        bytes
    }

    fn data_len(&self) -> usize {
        self.tensor.data_len()
    }
}

/// Writes the tensors (ordered by the format itself: by dtype, then name) and flushes them to the
/// disk; gives the file's SHA-256.
///
/// # Errors
/// A number that is infinite or not a number: what training has made of it is worth nothing.
pub fn write(path: &Path, tensors: Vec<(String, LazyTensor<'_>)>) -> Result<String> {
    let found = Cell::new(None);
    let (names, tensors): (Vec<String>, Vec<LazyTensor<'_>>) = tensors.into_iter().unzip();
    let watched = names.iter().zip(tensors).map(|(name, tensor)| (name, Watched { name, tensor, found: &found }));
    safetensors::tensor::serialize_to_file(watched, None, path).map_err(|e| match e {
        safetensors::SafeTensorError::IoError(e) => Error::file("write", path, &e),
        e => Error::machine(format!("{}: cannot write: {e}", path.display())),
    })?;
    if let Some((name, at, number)) = found.get() {
        return Err(Error::input(format!("the training diverged: number {at} of tensor `{name}` became {number}"))
            .help("train into another --out with a lower learning rate; a checkpoint from before stays as it is"));
    }
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::file("flush", path, &e))?;
    sha256_file(path)
}

/// A mapped file whose hash has been verified.
#[derive(Debug)]
pub struct Mapped {
    map: Mmap,
    path: std::path::PathBuf,
}

impl Mapped {
    pub fn open(path: &Path, expected: &str) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::file("read", path, &e))?;
        // SAFETY: the map is read-only and private to this value; a checkpoint's files are written
        // once and never changed in place (checkpoints are new folders), and their hash is verified
        // through this same map before use.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::file("map", path, &e))?;
        let mapped = Self { map, path: path.to_path_buf() };
        let found = sha256_mapped(&mapped.map, || mapped.release());
        if found != expected {
            return Err(Error::input(format!(
                "{}: the file was altered: expected SHA-256 {expected}, found {found}",
                path.display()
            ))
            .help("use another checkpoint of the run"));
        }
        Ok(mapped)
    }

    /// Gives back the memory of what was read so far; it is read again where it is looked at again.
    pub fn release(&self) {
        #[cfg(target_os = "linux")]
        if !self.map.is_empty() {
            // SAFETY: the map is of a file and was never written to, so the pages that come back
            // are those that go. That they could stay is no error.
            let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        }
    }

    pub fn tensors(&self) -> Result<Tensors<'_>> {
        let inner = SafeTensors::deserialize(&self.map)
            .map_err(|e| Error::input(format!("{}: not a safetensors file: {e}", self.path.display())))?;
        Ok(Tensors { inner, mapped: self })
    }
}

/// The tensors of a file, by name.
pub struct Tensors<'a> {
    inner: SafeTensors<'a>,
    mapped: &'a Mapped,
}

impl Tensors<'_> {
    pub fn path(&self) -> &Path {
        &self.mapped.path
    }

    /// See [`Mapped::release`].
    pub fn release(&self) {
        self.mapped.release();
    }

    fn data(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<&[u8]> {
        let at = self.mapped.path.display();
        let tensor = self
            .inner
            .tensor(name)
            .map_err(|_| Error::input(format!("{at}: expected a tensor `{name}`, found none")))?;
        if tensor.dtype() != dtype || tensor.shape() != shape {
            return Err(Error::input(format!(
                "{at}: tensor `{name}`: expected {dtype:?} {shape:?}, found {:?} {:?}",
                tensor.dtype(),
                tensor.shape()
            )));
        }
        Ok(tensor.data())
    }

    /// Length of the first dimension.
    pub fn rows(&self, name: &str) -> Result<usize> {
        let at = self.mapped.path.display();
        match self.inner.tensor(name) {
            Ok(tensor) => tensor.shape().first().copied().ok_or_else(|| {
                Error::input(format!("{at}: tensor `{name}`: expected a list of values, found a single one"))
            }),
            Err(_) => Err(Error::input(format!("{at}: expected a tensor `{name}`, found none"))),
        }
    }

    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(self.floats(name, shape)?.iter().map(|&b| f32::from_le_bytes(b)).collect())
    }

    /// Floats as they lie in the file.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<&[[u8; 4]]> {
        Ok(self.data(name, Dtype::F32, shape)?.as_chunks().0)
    }

    /// Unsigned integers of 64 bits as they lie in the file.
    pub fn integers(&self, name: &str, shape: &[usize]) -> Result<&[[u8; 8]]> {
        Ok(self.data(name, Dtype::U64, shape)?.as_chunks().0)
    }

    pub fn bytes(&self, name: &str, shape: &[usize]) -> Result<&[u8]> {
        self.data(name, Dtype::U8, shape)
    }
}
