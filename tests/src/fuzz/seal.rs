//! Hashes and lengths set right again. A hash refuses nearly every mutation of a program before
//! anything behind it is tested; what someone makes on purpose has the right one.

use din_program::FORMAT;
use sha2::{Digest, Sha256};

/// A program is its format, a hash and the rest.
const PROGRAM_HEAD: usize = 36;

/// The footer of an executable, and the places in it; see `din_runtime::bundle`.
const FOOTER: usize = 232;
const LENGTHS: usize = 24;
const DIGESTS: usize = 104;
const HASHED: usize = 168;
const MAGICS: usize = 200;
const HEAD: &[u8; 16] = b"\x00DIN.PROGRAM\x0d\x0a\x1a\x0a";
const FOOT: &[u8; 16] = b"\x00DIN.FOOTER\x0d\x0a\x1a\x0a\x00";

/// The bytes as a program with the format of this version and the hash of its contents; `None`
/// where they are too short.
pub fn program(bytes: &[u8]) -> Option<Vec<u8>> {
    let body = bytes.get(PROGRAM_HEAD..)?;
    Some([&FORMAT.to_le_bytes(), Sha256::digest(body).as_slice(), body].concat())
}

/// The bytes as an executable with a program: right magic numbers, lengths that add up, and right
/// hashes; `None` where they are too short for what their footer says.
pub fn bundle(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let end = bytes.len().checked_sub(FOOTER)?;
    let length = |bytes: &[u8], k: usize| {
        let (length, _) = bytes[end + LENGTHS + 8 * k..].split_first_chunk()?;
        usize::try_from(u64::from_le_bytes(*length)).ok()
    };
    // The executable's length is what the others leave.
    let kernels_at = end.checked_sub(length(&bytes, 2)?)?;
    let program_at = kernels_at.checked_sub(length(&bytes, 1)?)?;
    let head_at = program_at.checked_sub(HEAD.len())?;
    bytes[head_at..program_at].copy_from_slice(HEAD);
    if let Some(sealed) = program(&bytes[program_at..kernels_at]) {
        bytes[program_at..kernels_at].copy_from_slice(&sealed);
    }
    let digests = [Sha256::digest(&bytes[program_at..kernels_at]), Sha256::digest(&bytes[kernels_at..end])];
    let footer = &mut bytes[end..];
    footer[..FOOT.len()].copy_from_slice(FOOT);
    footer[LENGTHS..LENGTHS + 8].copy_from_slice(&(head_at as u64).to_le_bytes());
    footer[DIGESTS..HASHED].copy_from_slice(digests.concat().as_slice());
    let own = Sha256::digest(&footer[..HASHED]);
    footer[HASHED..MAGICS].copy_from_slice(&own);
    footer[MAGICS..].copy_from_slice(&[*HEAD, *FOOT].concat());
    Some(bytes)
}
