//! The file system that runs are written to: as checkpoints are, a file is written, flushed and
//! renamed.

use super::{Checkup, Health};
use din_runtime::fs::write_atomically;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a file is written; the median time counts.
const TRIES: usize = 9;
/// Flushing a small file takes a disk some milliseconds; a checkpoint of many files then takes
/// seconds.
const SLOW: Duration = Duration::from_millis(100);

pub(super) fn storage(folder: &Path) -> Checkup {
    let name = "disk";
    let place = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let kind = mounts().and_then(|mounts| kind_of(&mounts, &place));
    let at = match &kind {
        Some(kind) => format!("{} ({kind})", place.display()),
        None => place.display().to_string(),
    };
    let median = match flushed(&place) {
        Ok(median) => median,
        Err(why) => {
            let effect = "runs cannot be written there";
            let help = "choose another folder by --folder, and as --out of `din train`";
            return Checkup::poor(name, Health::Limited, format!("{at}: {why}"), effect, help);
        }
    };
    let found = format!("{at}: a small file is safe on it within {:.1} ms", 1e3 * median.as_secs_f64());
    if let Err(why) = locked(&place) {
        let effect = format!("`din train` cannot lock a run directory: {why}");
        return Checkup::poor(name, Health::Limited, found, effect, "mount it with locks (NFS: without `nolock`)");
    }
    match kind.as_deref() {
        Some("tmpfs" | "ramfs") => {
            let effect = "checkpoints are lost when the machine stops";
            Checkup::poor(name, Health::Limited, found, effect, "write runs to a disk")
        }
        _ if median > SLOW => {
            let effect = "checkpoints of many tables take long";
            Checkup::poor(name, Health::Limited, found, effect, "write runs to a local disk")
        }
        _ => Checkup::good(name, found),
    }
}

/// How long it takes until a file is on the disk under its name.
fn flushed(folder: &Path) -> Result<Duration, String> {
    let file = folder.join(format!(".din-doctor-{}", std::process::id()));
    let mut times = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let began = Instant::now();
        let written = write_atomically(&file, &[1; 4096]);
        times.push(began.elapsed());
        written.map_err(|error| error.message.lines().collect::<Vec<_>>().join(" "))?;
    }
    fs::remove_file(&file).map_err(|why| format!("{}: cannot be removed: {why}", file.display()))?;
    times.sort();
    Ok(times[TRIES / 2])
}

/// Whether a folder can be locked, as a run directory is. One that is locked already can be.
fn locked(folder: &Path) -> Result<(), String> {
    let folder = File::open(folder).map_err(|why| why.to_string())?;
    match folder.try_lock() {
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(why)) => Err(why.to_string()),
    }
}

/// Mount points with the kinds of their file systems.
fn mounts() -> Option<Vec<(PathBuf, String)>> {
    let text = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = text.lines().map(|line| line.split(' ').map(unescaped).collect::<Vec<String>>());
    Some(
        fields
            .filter_map(|mut fields| {
                (fields.len() > 2).then(|| (PathBuf::from(fields.swap_remove(1)), fields.swap_remove(2)))
            })
            .collect(),
    )
}

/// The kind of the file system of a path: that of the innermost mount point, the last of several.
fn kind_of(mounts: &[(PathBuf, String)], path: &Path) -> Option<String> {
    let around = mounts.iter().filter(|(point, _)| path.starts_with(point));
    around.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind.clone())
}

/// A field of `/proc/self/mounts`, in which white space and backslashes are octal numbers.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_string(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_point_counts() {
        let mounts = [("/", "ext4"), ("/data", "xfs"), ("/data/runs", "nfs4")].map(|(p, k)| (p.into(), k.to_string()));
        for (path, kind) in [("/database", "ext4"), ("/data/x", "xfs"), ("/data/runs/a/b", "nfs4")] {
            assert_eq!(kind_of(&mounts, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let checkup = storage(Path::new("no/such/folder"));
        assert_eq!(checkup.health, Health::Limited);
        assert!(checkup.found.contains("no/such/folder"), "{checkup:?}");
    }
}
