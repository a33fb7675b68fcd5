//! The standard library as files: it is embedded in the compiler, and an editor opens files. A
//! read-only copy lies in the user's cache folder, in a folder named by its contents.

use din_compiler::front::library_sources;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of the copy; `None` where there is no place for one.
fn folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let base = cache.unwrap_or_else(std::env::temp_dir);
    Some(base.join("din").join(format!("stdlib-{:016x}", hash())))
}

/// FNV-1a of all texts: another library has another folder.
fn hash() -> u64 {
    let bytes = library_sources().iter().flat_map(|(name, text)| name.bytes().chain([0]).chain(text.bytes()));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The file of a module of the library, which is written if it is not there; `None` where it cannot
/// be.
pub(crate) fn file_of(module: &str) -> Option<PathBuf> {
    let (_, text) = library_sources().iter().find(|(name, _)| *name == module)?;
    let path = folder()?.join(format!("{}.din", module.replace('.', "/")));
    if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
        return Some(path);
    }
    write(&path, text).ok()?;
    Some(path)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    // By rename, so that another server never reads half of it.
    let partial = path.with_extension(format!("{}.partial", std::process::id()));
    fs::write(&partial, text)?;
    let mut permissions = fs::metadata(&partial)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&partial, permissions)?;
    fs::rename(&partial, path)
}

/// Whether a path is one of the copies.
pub(crate) fn is_copy(path: &Path) -> bool {
    folder().is_some_and(|folder| path.starts_with(folder))
}
