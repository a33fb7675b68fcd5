//! Files that are whole or absent: written beside their target, flushed to the disk, then renamed
//! over it. A crash leaves either the old file or the new one, and at most a temporary file whose
//! name starts with a dot. Links are followed to the file that they name, and what is no regular
//! file (a device, a pipe, a socket) is refused.

use crate::comm::{self, LongOperation};
use crate::error::{Error, Result};
use crate::identity::FileIdentity;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// A file being written; takes its name at [`AtomicFile::commit`], and is removed if dropped
/// before.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Opens a temporary file in the target's folder, which must exist.
    ///
    /// # Errors A target that is there and is no regular file, and whatever forbids a new file in
    /// its folder.
    pub fn create(target: &Path) -> Result<Self> {
        Self::create_with_mode(target, 0o666)
    }

    /// The same for a file that may be executed by whom the user's mask lets.
    pub fn create_executable(target: &Path) -> Result<Self> {
        Self::create_with_mode(target, 0o777)
    }

    /// `mode`: permissions of the new file before the user's mask is taken off.
    fn create_with_mode(target: &Path, mode: u32) -> Result<Self> {
        let target = &followed(target)?;
        match fs::metadata(target) {
            Ok(found) if found.is_file() => {}
            Ok(found) => {
                let kind = kind(found.file_type());
                return Err(Error::input(format!("{}: expected a file to write, found {kind}", target.display()))
                    .help("name a new file, or one that may be replaced"));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::file("write", target, &e)),
        }
        let name = target
            .file_name()
            .ok_or_else(|| Error::input(format!("{}: expected the name of a file to write", target.display())))?;
        let folder = parent(target);
        let mut options = OpenOptions::new();
        options.write(true).read(true).create_new(true);
        set_mode(&mut options, mode);
        for attempt in 0u32.. {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}-{attempt}.tmp", std::process::id()));
            let temporary = folder.join(hidden);
            match options.open(&temporary) {
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
        let _operation = LongOperation::begin();
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

/// Writes `bytes` as the whole of `target`, which keeps its permissions, and its owner and group as
/// far as the user may give them.
pub fn rewrite_atomically(target: &Path, bytes: &[u8]) -> Result<()> {
    let before = fs::metadata(target).map_err(|e| Error::file("read", target, &e))?;
    let mut file = AtomicFile::create(target)?;
    file.file().write_all(bytes).map_err(|e| Error::file("write", target, &e))?;
    keep_owner(file.file(), &before);
    set_permissions(file.file(), before.permissions()).map_err(|e| Error::file("set permissions of", target, &e))?;
    file.commit()
}

#[cfg(unix)]
fn keep_owner(file: &File, before: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    // Only root may give a file away; the group may be one of the user's own.
    if fchown(file, Some(before.uid()), Some(before.gid())).is_err() {
        let _ = fchown(file, None, Some(before.gid()));
    }
}

#[cfg(not(unix))]
fn keep_owner(_: &File, _: &fs::Metadata) {}

/// Sets permissions where the file system has them: one without modes, which refuses, holds the
/// bytes as well.
pub fn set_permissions(file: &File, permissions: fs::Permissions) -> io::Result<()> {
    const NOT_PERMITTED: i32 = 1;
    match file.set_permissions(permissions) {
        Err(e) if e.raw_os_error() == Some(NOT_PERMITTED) || e.kind() == io::ErrorKind::Unsupported => Ok(()),
        set => set,
    }
}

#[cfg(unix)]
fn set_mode(options: &mut OpenOptions, mode: u32) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(mode);
}

#[cfg(not(unix))]
fn set_mode(_: &mut OpenOptions, _: u32) {}

/// The path that links at `path` lead to, which need not exist.
pub(crate) fn followed(path: &Path) -> Result<PathBuf> {
    /// As many as Linux follows.
    const LINKS: usize = 40;
    let mut at = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::symlink_metadata(&at) {
            Ok(found) if found.file_type().is_symlink() => {
                let link = fs::read_link(&at).map_err(|e| Error::file("read the link", &at, &e))?;
                at = parent(&at).join(link);
            }
            Ok(_) => return Ok(at),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(at),
            Err(e) => return Err(Error::file("write", path, &e)),
        }
    }
    Err(Error::input(format!("{}: expected a file to write, found links that lead to each other", path.display())))
}

#[cfg(unix)]
fn kind(found: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match found {
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn kind(found: fs::FileType) -> &'static str {
    if found.is_dir() { "a directory" } else { "no regular file" }
}

/// Refuses an output that is one of the command's inputs, by whatever path or link it is named.
pub fn not_an_input<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let found = match FileIdentity::of(out) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::file("write", out, &e)),
    };
    for input in inputs {
        let read = match FileIdentity::of(input) {
            Ok(read) => read,
            // Embedded sources have names that are no files.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(e) => return Err(Error::file("read", input, &e)),
        };
        if found == read {
            let (out, input) = (out.display(), input.display());
            return Err(Error::input(format!("{out}: expected a file to write, found the input {input}"))
                .help("name another output"));
        }
    }
    Ok(())
}

/// What stands at `path`, links followed; `None` where nothing does. Any other failure is an error,
/// never taken for absence.
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
    let _operation = LongOperation::begin();
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::file("flush", folder, &e))
}

/// Removes a folder with all that is in it.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    let _operation = LongOperation::begin();
    fs::remove_dir_all(path)
}

/// Hex SHA-256 of a file.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    read_in_pieces(path, |piece| digest.update(piece))?;
    Ok(hex(&digest.finalize()))
}

/// Hex XXH3 (128 bits, seed 0) of a file: as fast as a disk reads, but no proof against forgery.
pub fn xxh3_file(path: &Path) -> Result<String> {
    let mut hash = Xxh3::new();
    read_in_pieces(path, |piece| hash.update(piece))?;
    Ok(format!("{:032x}", hash.digest128()))
}

fn read_in_pieces(path: &Path, mut take: impl FnMut(&[u8])) -> Result<()> {
    let mut file = File::open(path).map_err(|e| Error::file("read", path, &e))?;
    let mut piece = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                comm::progress();
                take(piece.get(..n).expect("a read fills no more than it is given"));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::file("read", path, &e)),
        }
    }
}

/// Hex SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The same of mapped bytes; `done` is called now and then, when those so far are not looked at
/// again.
pub fn sha256_mapped(bytes: &[u8], mut done: impl FnMut()) -> String {
    const PIECE: usize = 4 << 20;
    let mut digest = Sha256::new();
    for piece in bytes.chunks(PIECE) {
        digest.update(piece);
        done();
    }
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
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
