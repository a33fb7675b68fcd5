//! Seeded mutations of bytes.

use crate::random_graph::Random;

/// Numbers at which something may overflow or be empty.
const BYTES: [u8; 10] = [0, 1, 2, 9, b'\n', b'"', 0x7f, 0x80, 0xfe, 0xff];

/// `data` with one to four changes; some of them bring in a piece of `other`.
pub fn mutate(data: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = data.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(out.len() + 1);
        let most = if random.chance(0.8) { 8 } else { 64 };
        let length = 1 + random.below(most);
        let end = (at + length).min(out.len());
        match random.below(9) {
            0 if at < out.len() => out[at] ^= 1 << random.below(8),
            1 if at < out.len() => out[at] = BYTES[random.below(BYTES.len())],
            2 if at < out.len() => out[at] = out[at].wrapping_add(random.below(7) as u8).wrapping_sub(3),
            3 => out.insert(at, random.bits() as u8),
            4 => drop(out.drain(at..end)),
            5 => {
                let piece = out[at..end].to_vec();
                let to = random.below(out.len() + 1);
                out.splice(to..to, piece);
            }
            6 => {
                let from = random.below(other.len() + 1);
                let piece = other[from..(from + length).min(other.len())].to_vec();
                out.splice(at..end, piece);
            }
            7 => out[at..end].fill(BYTES[random.below(BYTES.len())]),
            8 if random.chance(0.2) => out.truncate(at),
            // There is no byte at the end to change.
            _ => out.push(random.bits() as u8),
        }
    }
    out
}
