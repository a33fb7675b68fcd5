//! The stand-alone executable: the `din` binary with a compiled program appended to it, and kernels
//! for GPUs if it was built with them.
//!
//! ```text
//! [ executable ][ header: 16 bytes ][ program ][ kernels ][ footer: 232 bytes ]
//! ```
//!
//! The header is a magic number. The footer is, little-endian: a magic number (16 bytes), bundle
//! version (u32), program format (u32), lengths of the executable, the program and the kernels (u64
//! each; 0 kernels where there are none), target triple (56 bytes, padded with zeros), SHA-256 of
//! the program (32), of the kernels (32), of the footer so far (32), the header's magic number
//! again (16), the footer's again (16). `kernels` says what these are.
//!
//! Guarantees: same executable and program, same bytes; either magic number announces an appended
//! part, so that one altered or missing byte of it is an error and never turns the file back into
//! `din`; an executable that carries a program is stripped of it before another is appended.

mod kernels;

pub use kernels::GpuKernels;

use crate::fs::AtomicFile;
use crate::{Error, Result};
use din_program::{FORMAT, Program};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

const HEAD: &[u8; 16] = b"\x00DIN.PROGRAM\x0d\x0a\x1a\x0a";
const FOOT: &[u8; 16] = b"\x00DIN.FOOTER\x0d\x0a\x1a\x0a\x00";
const FOOTER: usize = 232;
const HASHED: usize = 168;
const VERSION: u32 = 2;
const TRIPLE: usize = 56;

/// The triple this binary was made for.
pub fn host_triple() -> String {
    format!("{}-unknown-{}-gnu", std::env::consts::ARCH, std::env::consts::OS)
}

/// What `build` wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Built {
    /// Bytes of the runtime.
    pub executable: u64,
    /// Bytes of the program.
    pub program: u64,
    /// Bytes of the kernels for GPUs.
    pub kernels: u64,
}

/// What an executable carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    pub program: Arc<Program>,
    /// For GPUs, where it was built with them.
    pub kernels: Option<GpuKernels>,
}

/// Lengths and hashes of an appended part, as its footer states them.
struct Footer {
    format: u32,
    executable: u64,
    program: u64,
    kernels: u64,
    triple: String,
    digest: [u8; 32],
    kernels_digest: [u8; 32],
}

impl Footer {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = FOOT.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.format.to_le_bytes());
        bytes.extend_from_slice(&self.executable.to_le_bytes());
        bytes.extend_from_slice(&self.program.to_le_bytes());
        bytes.extend_from_slice(&self.kernels.to_le_bytes());
        let mut triple = [0u8; TRIPLE];
        for (to, from) in triple.iter_mut().zip(self.triple.bytes()) {
            *to = from;
        }
        bytes.extend_from_slice(&triple);
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(&self.kernels_digest);
        let own = Sha256::digest(&bytes);
        bytes.extend_from_slice(&own);
        bytes.extend_from_slice(HEAD);
        bytes.extend_from_slice(FOOT);
        bytes
    }

    /// `None` says that the bytes are not a footer as it was written.
    fn decode(bytes: &[u8; FOOTER]) -> std::result::Result<Self, &'static str> {
        let (hashed, rest) = bytes.split_at(HASHED);
        let (own, magics) = rest.split_at(32);
        if magics.strip_prefix(HEAD) != Some(FOOT) || Sha256::digest(hashed).as_slice() != own {
            return Err("its footer was altered or cut short");
        }
        let mut at = Reader(hashed);
        if &at.take::<16>() != FOOT {
            return Err("its footer was altered");
        }
        if u32::from_le_bytes(at.take()) != VERSION {
            return Err("its bundle version is not one that this executable knows");
        }
        let format = u32::from_le_bytes(at.take());
        let executable = u64::from_le_bytes(at.take());
        let program = u64::from_le_bytes(at.take());
        let kernels = u64::from_le_bytes(at.take());
        let triple = String::from_utf8_lossy(&at.take::<TRIPLE>()).trim_end_matches('\0').to_string();
        let (digest, kernels_digest) = (at.take(), at.take());
        Ok(Footer { format, executable, program, kernels, triple, digest, kernels_digest })
    }
}

/// Reads fixed pieces off a slice that is known to be long enough.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk::<N>().expect("the slice is as long as what is read off it");
        self.0 = rest;
        *head
    }
}

/// What the running executable carries; `None` for plain `din`.
pub fn own() -> Result<Option<Bundle>> {
    let path = own_path()?;
    read(&path)
}

/// The running executable's file.
pub fn own_path() -> Result<std::path::PathBuf> {
    std::env::current_exe().map_err(|e| Error::machine(format!("cannot find the running executable: {e}")))
}

/// What is appended to the executable at `path`; `None` where nothing is.
///
/// # Errors
/// An appended part that is altered, cut short, or made for another runtime or machine.
pub fn read(path: &Path) -> Result<Option<Bundle>> {
    let mut file = File::open(path).map_err(|e| Error::file("read", path, &e))?;
    let Some((footer, start)) = locate(&mut file, path)? else { return Ok(None) };
    let refuse = |why: String| {
        Err(Error::input(format!("{}: the appended program is refused: {why}", path.display()))
            .help("copy the executable again, or build it again with `din build`"))
    };
    let mut bytes = vec![0u8; footer.program as usize];
    file.seek(SeekFrom::Start(start)).map_err(|e| Error::file("read", path, &e))?;
    file.read_exact(&mut bytes).map_err(|e| Error::file("read", path, &e))?;
    let mut kernels = vec![0u8; footer.kernels as usize];
    file.read_exact(&mut kernels).map_err(|e| Error::file("read", path, &e))?;
    for (bytes, digest) in [(&bytes, footer.digest), (&kernels, footer.kernels_digest)] {
        if Sha256::digest(bytes).as_slice() != digest {
            return refuse("it was altered: its SHA-256 is not the one in the footer".into());
        }
    }
    if footer.format != FORMAT {
        return refuse(format!("it has format {}, this runtime reads format {FORMAT}", footer.format));
    }
    if footer.triple != host_triple() {
        return refuse(format!("it was compiled for {}, this is {}", footer.triple, host_triple()));
    }
    let program = match Program::decode(&bytes) {
        Ok(program) => Arc::new(program),
        Err(e) => return refuse(e.to_string()),
    };
    let kernels = match kernels.as_slice() {
        [] => None,
        bytes => match GpuKernels::decode(bytes) {
            Ok(kernels) => Some(kernels),
            Err(why) => return refuse(why),
        },
    };
    Ok(Some(Bundle { program, kernels }))
}

/// Writes `out`: the executable `base` without what it may carry, then `program` and `kernels`.
/// Executable, by rename.
pub fn build(base: &Path, program: &Program, kernels: Option<&GpuKernels>, out: &Path) -> Result<Built> {
    let mut input = File::open(base).map_err(|e| Error::file("read", base, &e))?;
    let executable = match locate(&mut input, base)? {
        Some((footer, _)) => footer.executable,
        None => input.metadata().map_err(|e| Error::file("read", base, &e))?.len(),
    };
    let bytes = program.encode();
    let kernels = kernels.map_or_else(Vec::new, GpuKernels::encode);
    let footer = Footer {
        format: program.format,
        executable,
        program: bytes.len() as u64,
        kernels: kernels.len() as u64,
        triple: program.triple.clone(),
        digest: Sha256::digest(&bytes).into(),
        kernels_digest: Sha256::digest(&kernels).into(),
    };
    if footer.triple.len() > TRIPLE {
        return Err(Error::input(format!("target triple `{}` is too long", footer.triple)));
    }
    let mut output = AtomicFile::create_executable(out)?;
    input.seek(SeekFrom::Start(0)).map_err(|e| Error::file("read", base, &e))?;
    let copied = io::copy(&mut input.take(executable), output.file()).map_err(|e| Error::file("write", out, &e))?;
    if copied != executable {
        return Err(Error::machine(format!("{}: changed while it was copied", base.display())));
    }
    for part in [&HEAD[..], &bytes, &kernels, &footer.encode()] {
        output.file().write_all(part).map_err(|e| Error::file("write", out, &e))?;
    }
    output.commit()?;
    Ok(Built { executable, program: bytes.len() as u64, kernels: kernels.len() as u64 })
}

/// Footer and start of the program, if anything is appended.
fn locate(file: &mut File, path: &Path) -> Result<Option<(Footer, u64)>> {
    let failed = |e: io::Error| Error::file("read", path, &e);
    let length = file.metadata().map_err(failed)?.len();
    let end = elf_end(file).map_err(failed)?.filter(|&end| end <= length);
    // Announced by the header right behind the executable, or by the footer's last bytes.
    let announced_by_head = match end {
        Some(end) if length >= end + HEAD.len() as u64 => &read_at::<16>(file, end).map_err(failed)? == HEAD,
        _ => false,
    };
    let announced_by_foot =
        length > FOOT.len() as u64 && &read_at::<16>(file, length - FOOT.len() as u64).map_err(failed)? == FOOT;
    // What follows an ELF file and is announced by neither is a header cut short, if it begins like
    // one.
    let cut = match end {
        Some(end) if length > end && length < end + HEAD.len() as u64 => {
            let mut bytes = vec![0u8; (length - end) as usize];
            file.seek(SeekFrom::Start(end)).and_then(|_| file.read_exact(&mut bytes)).map_err(failed)?;
            HEAD.starts_with(&bytes)
        }
        _ => false,
    };
    if !announced_by_head && !announced_by_foot && !cut {
        return Ok(None);
    }
    let refuse = |why: &str| {
        Err(Error::input(format!("{}: the appended program is refused: {why}", path.display()))
            .help("copy the executable again, or build it again with `din build`"))
    };
    if length < FOOTER as u64 {
        return refuse("it is cut short");
    }
    let footer = match Footer::decode(&read_at::<FOOTER>(file, length - FOOTER as u64).map_err(failed)?) {
        Ok(footer) => footer,
        Err(why) => return refuse(why),
    };
    let head = HEAD.len() as u64;
    let parts = [footer.executable, head, footer.program, footer.kernels, FOOTER as u64];
    if parts.iter().try_fold(0u64, |sum, &part| sum.checked_add(part)) != Some(length) {
        return refuse("the file is not as long as its footer says");
    }
    if &read_at::<16>(file, footer.executable).map_err(failed)? != HEAD {
        return refuse("its header was altered");
    }
    let start = footer.executable + head;
    Ok(Some((footer, start)))
}

fn read_at<const N: usize>(file: &mut File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Where a 64-bit little-endian ELF file ends by its own headers: behind its last segment, section
/// header table included.
fn elf_end(file: &mut File) -> io::Result<Option<u64>> {
    if file.metadata()?.len() < 64 {
        return Ok(None);
    }
    let header: [u8; 64] = read_at(file, 0)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let mut at = Reader(&header[32..]);
    let segments = u64::from_le_bytes(at.take());
    let sections = u64::from_le_bytes(at.take());
    let _flags_and_header_size: [u8; 6] = at.take();
    let mut half = || u64::from(u16::from_le_bytes(at.take()));
    let (segment_size, segment_count, section_size, section_count) = (half(), half(), half(), half());
    let mut end = sections.saturating_add(section_size * section_count);
    let length = file.metadata()?.len();
    for k in 0..segment_count {
        let place = segments.saturating_add(k * segment_size);
        if segment_size < 56 || place.saturating_add(56) > length {
            break;
        }
        let segment: [u8; 56] = read_at(file, place)?;
        let mut at = Reader(&segment[8..]);
        let offset = u64::from_le_bytes(at.take());
        let _addresses: [u8; 16] = at.take();
        end = end.max(offset.saturating_add(u64::from_le_bytes(at.take())));
    }
    Ok(Some(end))
}

#[cfg(test)]
mod tests;
