//! Which file a path leads to, so that two paths to one file are seen to be one.

use std::io;
use std::path::Path;

/// Which file it is, by whatever path or link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileIdentity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
    #[cfg(not(unix))]
    path: std::path::PathBuf,
}

impl FileIdentity {
    #[cfg(unix)]
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    #[cfg(not(unix))]
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: std::fs::canonicalize(path)? })
    }
}
