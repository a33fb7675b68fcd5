//! The bytes of a Parquet file, as the decoding library asks for them: by position.
//!
//! The library passes errors on as text. So a failed system call is kept here, where the caller
//! finds it after the library has given up: that is how a failing disk is distinguished from a
//! damaged file.

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Reads at a position; no two readers share a place.
pub(super) trait ReadAt: Send + Sync {
    /// Reads up to as many bytes as the buffer has, from `offset` bytes on; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

/// A system call that failed.
#[derive(Debug)]
pub(super) struct ReadFailure {
    /// `read 8192 bytes at byte 4`
    pub action: String,
    pub error: io::Error,
}

/// A file of known length. Clones share the file and its failure.
#[derive(Clone)]
pub(super) struct PositionedFile {
    file: Arc<dyn ReadAt>,
    /// In bytes, when the file was opened.
    length: u64,
    failure: Arc<Mutex<Option<ReadFailure>>>,
}

impl PositionedFile {
    pub fn new(file: Arc<dyn ReadAt>, length: u64) -> PositionedFile {
        PositionedFile { file, length, failure: Arc::default() }
    }

    /// The first system call that failed since this was asked last.
    pub fn failure(&self) -> Option<ReadFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads up to as many bytes as the buffer has; 0 at the end of the file.
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let action = format!("read {} bytes at byte {offset}", buffer.len());
                    let text = error.to_string();
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert(ReadFailure { action, error });
                    return Err(io::Error::other(text));
                }
                read => return read,
            }
        }
    }

    /// Exactly `length` bytes.
    fn exactly(&self, offset: u64, length: usize) -> Result<Vec<u8>, ParquetError> {
        let ends = |at: u64| {
            ParquetError::EOF(format!("the end of the file at byte {at} where {length} bytes at {offset} were to come"))
        };
        // Lengths come from the file: none is believed that the file cannot have.
        if offset.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ends(self.length));
        }
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.read(&mut bytes[filled..], offset + filled as u64)? {
                0 => return Err(ends(offset + filled as u64)),
                read => filled += read,
            }
        }
        Ok(bytes)
    }

    /// The last `length` bytes of the file; fewer if it is shorter.
    pub fn tail(&self, length: usize) -> Result<Vec<u8>, ParquetError> {
        let offset = self.length.saturating_sub(length as u64);
        self.exactly(offset, (self.length - offset) as usize)
    }
}

impl Length for PositionedFile {
    fn len(&self) -> u64 {
        self.length
    }
}

/// From a position onwards.
pub(super) struct Sequential {
    input: PositionedFile,
    offset: u64,
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl ChunkReader for PositionedFile {
    type T = BufReader<Sequential>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(Sequential { input: self.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.exactly(start, length).map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const BYTES: &[u8] = b"0123456789";
    /// EIO of Linux.
    const EIO: i32 = 5;

    /// Gives one byte per call, and interrupts every other call. Ends early or fails where it is
    /// asked to.
    struct Unreliable {
        calls: AtomicUsize,
        ends_at: usize,
        fails_at: Option<u64>,
    }

    impl ReadAt for Unreliable {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                return Err(ErrorKind::Interrupted.into());
            }
            if self.fails_at == Some(offset) {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            let left = &BYTES[(offset as usize).min(self.ends_at)..self.ends_at];
            let read = left.len().min(buffer.len()).min(1);
            buffer[..read].copy_from_slice(&left[..read]);
            Ok(read)
        }
    }

    fn unreliable(ends_at: usize, fails_at: Option<u64>) -> PositionedFile {
        PositionedFile::new(Arc::new(Unreliable { calls: AtomicUsize::new(0), ends_at, fails_at }), BYTES.len() as u64)
    }

    #[test]
    fn short_and_interrupted_reads_are_continued() {
        let input = unreliable(10, None);
        assert_eq!(input.get_bytes(2, 5).expect("whole"), &BYTES[2..7]);
        let mut text = String::new();
        input.get_read(7).expect("inside").read_to_string(&mut text).expect("whole");
        assert_eq!(text, "789");
        assert_eq!(input.tail(4).expect("whole"), b"6789");
        assert!(input.failure().is_none());
    }

    #[test]
    fn a_failed_call_is_kept_once() {
        let input = unreliable(10, Some(6));
        input.get_bytes(4, 5).expect_err("the disk fails at byte 6");
        let failure = input.failure().expect("kept");
        assert_eq!((failure.action.as_str(), failure.error.raw_os_error()), ("read 3 bytes at byte 6", Some(EIO)));
        assert!(input.failure().is_none());
        let mut text = String::new();
        input.get_read(4).expect("inside").read_to_string(&mut text).expect_err("fails at byte 6");
        assert_eq!(input.failure().and_then(|f| f.error.raw_os_error()), Some(EIO));
    }

    #[test]
    fn an_early_end_is_no_failure_of_the_machine() {
        let input = unreliable(6, None);
        let error = input.get_bytes(4, 5).expect_err("four bytes are gone").to_string();
        assert_eq!(error, "EOF: the end of the file at byte 6 where 5 bytes at 4 were to come");
        // Without an attempt to allocate them.
        input.get_bytes(4, usize::MAX / 2).expect_err("longer than the file");
        input.get_bytes(u64::MAX, 1).expect_err("behind the file");
        assert!(input.failure().is_none());
    }
}
