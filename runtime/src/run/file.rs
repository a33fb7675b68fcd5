//! Files that are whole or absent: written beside their target, flushed to the disk, then renamed over it.
//! A crash leaves either the old file or the new one, and at most a temporary file whose name starts with a dot.

use super::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// A file being written; takes its name at [`AtomicFile::commit`], and is removed if dropped before.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Opens a temporary file in the target's folder, which must exist.
    pub fn create(target: &Path) -> Result<Self> {
        if target.is_dir() {
            return Err(Error::input(format!("{}: expected a file to write, found a directory", target.display())));
        }
        let name = target
            .file_name()
            .ok_or_else(|| Error::input(format!("{}: expected the name of a file to write", target.display())))?;
        let folder = parent(target);
        for attempt in 0u32.. {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{attempt}.tmp", std::process::id()));
            let temporary = folder.join(hidden);
            match OpenOptions::new().write(true).read(true).create_new(true).open(&temporary) {
                Ok(file) => return Ok(Self { file, temporary, target: target.to_path_buf(), committed: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
                Err(e) => return Err(Error::file("write", target, &e)),
            }
        }
        Err(Error::machine(format!("{}: no free name for a temporary file", target.display())))
    }

    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where the bytes go until the commit.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Flushes to the disk and renames.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::file("write", &self.target, &e))?;
        fs::rename(&self.temporary, &self.target).map_err(|e| Error::file("write", &self.target, &e))?;
        self.committed = true;
        sync_folder(parent(&self.target))
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nothing more can be done about a temporary file that cannot be removed.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `bytes` as the whole of `target`.
pub fn write_atomically(target: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.file().write_all(bytes).map_err(|e| Error::file("write", target, &e))?;
    file.commit()
}

/// What stands at `path`, links followed; `None` where nothing does. Any other failure is an error, never taken for absence.
pub fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("read", path, &e)),
    }
}

/// The folder that holds `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes renames and new names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::file("flush", folder, &e))
}

/// Hex SHA-256 of a file, read in pieces.
pub fn sha256_file(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(|e| Error::file("read", path, &e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut digest = Sha256::new();
    let mut piece = vec![0u8; 1 << 20];
    loop {
        let n = reader.read(&mut piece).map_err(|e| Error::file("read", path, &e))?;
        if n == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(piece.get(..n).unwrap_or_default());
    }
}

/// Hex SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_dropped_file_leaves_nothing_and_a_committed_one_replaces_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        fs::write(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.file().write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write_atomically(&target, b"new").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(sha256_file(&target).unwrap(), sha256(b"new"));
    }
}
