//! Images that NVRTC has compiled, kept on disk, so that a program is compiled for an architecture
//! once.
//!
//! An entry is a file named by its key, the SHA-256 of all that decides the image: the source, the
//! options (which name the architecture) and NVRTC's version. It holds a magic number, the key, the
//! SHA-256 of the image, and the image.
//!
//! Guarantees: an entry that is damaged or another's is compiled anew and replaced; entries are
//! written beside their name and renamed, so that concurrent processes see whole entries or none;
//! entries that were not read for longest go, once all together are larger than the limit; where
//! nothing can be read or written, all works without.

use super::nvrtc::{CudaImage, CudaTarget, Nvrtc, NvrtcError, options};
use crate::fs::write_atomically;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MAGIC: &[u8; 16] = b"\x00DIN.KERNEL.1\x0d\x0a\x1a";
const SUFFIX: &str = ".kernel";
/// Bytes of all entries.
const LIMIT: u64 = 1 << 30;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCache {
    folder: Option<PathBuf>,
    limit: u64,
}

/// What decides an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key([u8; 32]);

impl Key {
    fn new(version: (i32, i32), options: &[String], source: &str) -> Key {
        let mut digest = Sha256::new();
        let version = format!("{}.{}", version.0, version.1);
        let parts = [version.as_str()].into_iter().chain(options.iter().map(String::as_str)).chain([source]);
        // Each with its length before it, so that no two lists of texts run together to the same
        // bytes.
        digest.update((options.len() as u64).to_le_bytes());
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
        Key(digest.finalize().into())
    }

    fn file(&self) -> String {
        let hex: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        hex + SUFFIX
    }
}

/// Whether a file is one of ours: an entry, or one that a process left half written.
fn ours(name: &str) -> bool {
    let name = name.strip_prefix('.').unwrap_or(name);
    let Some((key, rest)) = name.split_once('.') else { return false };
    key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()) && rest.starts_with(&SUFFIX[1..])
}

impl ImageCache {
    /// The user's: in the folder that `DIN_CACHE` names, else `$XDG_CACHE_HOME/din`, else
    /// `~/.cache/din`.
    pub fn of_user() -> ImageCache {
        ImageCache { folder: folder(&|name| std::env::var_os(name)), limit: LIMIT }
    }

    /// In a folder, which is made when it is needed.
    pub fn at(folder: PathBuf, limit: u64) -> ImageCache {
        ImageCache { folder: Some(folder), limit }
    }

    /// The image of a source for a target, from the cache or compiled; `name` stands in messages.
    pub fn compile(
        &self,
        nvrtc: &Nvrtc,
        source: &str,
        name: &str,
        target: CudaTarget,
    ) -> Result<CudaImage, NvrtcError> {
        let key = Key::new(nvrtc.version(), &options(target), source);
        match self.find(key, target) {
            Some(image) => Ok(image),
            None => {
                let image = nvrtc.compile(source, name, target)?;
                self.keep(key, &image.code);
                Ok(image)
            }
        }
    }

    fn find(&self, key: Key, target: CudaTarget) -> Option<CudaImage> {
        let path = self.folder.as_ref()?.join(key.file());
        let mut file = File::open(path).ok()?;
        let found = file.metadata().ok()?;
        if !found.is_file() || found.len() > self.limit {
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?.strip_prefix(&key.0)?;
        let (digest, code) = rest.split_first_chunk::<32>()?;
        if Sha256::digest(code).as_slice() != digest {
            return None;
        }
        let image = CudaImage { target, code: code.to_vec(), log: String::new() };
        image.check().ok()?;
        // That it was read just now; where the file is another user's, it counts from when it was
        // written.
        let _ = file.set_modified(SystemTime::now());
        Some(image)
    }

    /// Keeps an image if that can be done.
    fn keep(&self, key: Key, code: &[u8]) {
        let Some(folder) = &self.folder else { return };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&key.0);
        bytes.extend_from_slice(&Sha256::digest(code));
        bytes.extend_from_slice(code);
        if create(folder).is_ok() && write_atomically(&folder.join(key.file()), &bytes).is_ok() {
            self.trim(folder, &key.file());
        }
    }

    /// Removes entries, those not read for longest first, until all are within the limit; `kept`
    /// stays.
    fn trim(&self, folder: &Path, kept: &str) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        let mut sum = 0u64;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(data) = entry.metadata() else { continue };
            if !ours(&name) || !data.is_file() {
                continue;
            }
            sum = sum.saturating_add(data.len());
            if name != kept {
                all.push((data.modified().unwrap_or(SystemTime::UNIX_EPOCH), data.len(), entry.path()));
            }
        }
        all.sort();
        for (_, bytes, path) in all {
            if sum <= self.limit {
                return;
            }
            // Another process may have done it; a half-written file of one that still writes is
            // compiled once more another time.
            let _ = fs::remove_file(path);
            sum -= bytes;
        }
    }
}

/// Makes a folder and those above it, for the user alone.
fn create(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The folder of the user's cache, by the environment. A relative `XDG_CACHE_HOME` does not count,
/// as its specification has it.
fn folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = set("DIN_CACHE") {
        return Some(own);
    }
    let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    Some(base.or_else(|| set("HOME").map(|home| home.join(".cache")))?.join("din"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(source: &str) -> Key {
        Key::new((13, 0), &options(CudaTarget::Cubin(90)), source)
    }

    fn find(cache: &ImageCache, key: Key) -> Option<Vec<u8>> {
        cache.find(key, CudaTarget::Cubin(90)).map(|image| image.code)
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_was_kept_is_found_and_every_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ImageCache::at(folder.path().join("deep/er"), LIMIT);
        assert_eq!(find(&cache, key("a")), None);
        cache.keep(key("a"), b"\x7fELF an image");
        cache.keep(key("b"), b"\x7fELF another");
        assert_eq!(find(&cache, key("a")).unwrap(), b"\x7fELF an image");
        assert_eq!(find(&cache, key("b")).unwrap(), b"\x7fELF another");
        let at = |k: Key| folder.path().join("deep/er").join(k.file());
        let whole = fs::read(at(key("a"))).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            fs::write(at(key("a")), &bytes).unwrap();
            assert_eq!(find(&cache, key("a")), None, "byte {place}");
            fs::write(at(key("a")), &whole[..place]).unwrap();
            assert_eq!(find(&cache, key("a")), None, "cut to {place}");
        }
        // Whole, but no machine code.
        cache.keep(key("a"), b"text");
        assert_eq!(find(&cache, key("a")), None);
        // Another entry under this name.
        fs::copy(at(key("b")), at(key("a"))).unwrap();
        assert_eq!(find(&cache, key("a")), None);
        cache.keep(key("a"), b"\x7fELF an image");
        assert_eq!(find(&cache, key("a")).unwrap(), b"\x7fELF an image");
        assert_eq!(files(&folder.path().join("deep/er")), 2);
    }

    #[test]
    fn all_that_decides_an_image_is_in_its_key() {
        let base = key("a");
        assert_eq!(base, key("a"));
        assert_ne!(base, key("b"));
        assert_ne!(base, Key::new((13, 1), &options(CudaTarget::Cubin(90)), "a"));
        assert_ne!(base, Key::new((13, 0), &options(CudaTarget::Cubin(100)), "a"));
        assert_ne!(base, Key::new((13, 0), &options(CudaTarget::Ptx(90)), "a"));
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_ne!(Key::new((13, 0), &texts(&["ab", "c"]), "d"), Key::new((13, 0), &texts(&["a", "bc"]), "d"));
        assert_ne!(Key::new((13, 0), &texts(&["a"]), "b"), Key::new((13, 0), &texts(&["a", "b"]), ""));
    }

    #[test]
    fn the_entries_not_read_for_longest_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        // Room for three entries of 80 + 20 bytes.
        let cache = ImageCache::at(folder.path().into(), 350);
        let code: [u8; 20] = *b"\x7fELF and sixteen more".first_chunk().unwrap();
        let at = |name: &str| folder.path().join(key(name).file());
        fs::write(folder.path().join("a note"), vec![0; 1000]).unwrap();
        let left = folder.path().join(format!(".{}.123-0.tmp", key("z").file()));
        fs::write(&left, code).unwrap();
        let aged = |path: &Path, hours: u64| {
            let then = SystemTime::now() - Duration::from_secs(3600 * hours);
            File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
        };
        aged(&left, 9);
        for (name, hours) in [("a", 8), ("b", 7), ("c", 6)] {
            cache.keep(key(name), &code);
            aged(&at(name), hours);
        }
        assert!(left.exists());
        assert!(find(&cache, key("a")).is_some(), "and is the newest by that");
        cache.keep(key("d"), &code);
        assert!(!left.exists() && !at("b").exists());
        assert!(at("a").exists() && at("c").exists() && at("d").exists());
        // One that is larger than all others together may be.
        cache.keep(key("e"), &[1; 400]);
        assert!(at("e").exists() && !at("a").exists() && !at("d").exists());
        assert!(folder.path().join("a note").exists());
    }

    #[test]
    fn without_a_folder_that_can_be_written_nothing_is_kept_and_nothing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "no folder").unwrap();
        for cache in [ImageCache::at(file.join("din"), LIMIT), ImageCache { folder: None, limit: LIMIT }] {
            cache.keep(key("a"), b"\x7fELF");
            assert_eq!(find(&cache, key("a")), None);
        }
        // A folder where the entry would be.
        let cache = ImageCache::at(folder.path().into(), LIMIT);
        fs::create_dir(folder.path().join(key("a").file())).unwrap();
        cache.keep(key("a"), b"\x7fELF");
        assert_eq!(find(&cache, key("a")), None);
    }

    #[test]
    fn writers_side_by_side_leave_whole_entries() {
        let folder = tempfile::tempdir().unwrap();
        let cache = ImageCache::at(folder.path().into(), LIMIT);
        let code = b"\x7fELF".repeat(25_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        cache.keep(key("a"), &code);
                        assert_eq!(find(&cache, key("a")).unwrap(), code);
                    }
                });
            }
        });
        assert_eq!(files(folder.path()), 1);
    }

    #[test]
    fn the_users_folder() {
        let of = |all: &[(&str, &str)]| {
            let all: Vec<(String, OsString)> = all.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            folder(&|name| all.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
        };
        let (own, xdg, home) = (("DIN_CACHE", "/own"), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/u"));
        assert_eq!(of(&[own, xdg, home]), Some("/own".into()));
        assert_eq!(of(&[("DIN_CACHE", ""), xdg, home]), Some("/xdg/din".into()));
        assert_eq!(of(&[home]), Some("/home/u/.cache/din".into()));
        assert_eq!(of(&[("XDG_CACHE_HOME", "relative"), home]), Some("/home/u/.cache/din".into()));
        assert_eq!(of(&[]), None);
    }
}
