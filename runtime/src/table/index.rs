//! From a 64-bit key to a row number: open addressing with linear probing, at most half full, one cache line for most look-ups.
//!
//! Guarantees that any u64 may be a key, that entries are never lost, and that what a look-up finds does not depend on the order in
//! which keys came.

use super::TableError;
use super::region::{Zeroed, ZeroedVec};

/// Whether a row may be read by training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its row exists, but no training batch that is over contained it.
    Unseen,
    /// The current batch contains it for the first time.
    Pending,
    Seen,
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Entry {
    key: u64,
    /// Row number plus 1; 0 for an empty slot.
    row: u32,
    mark: u32,
}
// SAFETY: integers only, no padding (8 + 4 + 4).
unsafe impl Zeroed for Entry {}

#[derive(Debug)]
pub(super) struct Index {
    entries: ZeroedVec<Entry>,
    /// log2 of the number of slots.
    bits: u32,
    length: usize,
}

/// log2 of the slots that a second-level cache holds (512 KiB): smaller indices need no prefetch.
const RESIDENT: u32 = 15;

/// Keys this far ahead are prefetched.
const AHEAD: usize = 12;

impl Index {
    pub fn new() -> Result<Self, TableError> {
        let mut index = Self { entries: ZeroedVec::new(), bits: 8, length: 0 };
        index.entries.extend_to(1 << index.bits)?;
        Ok(index)
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.entries.as_slice())
    }

    #[inline]
    fn slot(&self, key: u64) -> usize {
        // Two multiplications and a shift: every bit of the key reaches the top ones.
        let mixed = (key ^ 0x2545_F491_4F6C_DD1D).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (mixed >> (64 - self.bits)) as usize
    }

    /// Asks for the cache line of the key `AHEAD` places on.
    #[inline]
    pub fn prefetch(&self, ids: &[u64], at: usize) {
        #[cfg(target_arch = "x86_64")]
        if self.bits > RESIDENT
            && let Some(&key) = ids.get(at + AHEAD)
        {
            let entry = self.entries.pointer().wrapping_add(self.slot(key));
            // SAFETY: a prefetch reads nothing that the program can see; any address is allowed.
            unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(entry.cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (ids, at);
    }

    /// Slot of the key, or of the empty place where it belongs.
    #[inline]
    fn probe(&self, key: u64) -> (usize, bool) {
        let entries = self.entries.as_slice();
        let mask = entries.len() - 1;
        let mut slot = self.slot(key);
        loop {
            let entry = &entries[slot & mask];
            if entry.row == 0 {
                return (slot & mask, false);
            }
            if entry.key == key {
                return (slot & mask, true);
            }
            slot += 1;
        }
    }

    #[inline]
    pub fn get(&self, key: u64) -> Option<(u32, Mark)> {
        let (slot, found) = self.probe(key);
        let entry = &self.entries.as_slice()[slot];
        found.then(|| {
            let mark = match entry.mark {
                0 => Mark::Unseen,
                1 => Mark::Pending,
                _ => Mark::Seen,
            };
            (entry.row - 1, mark)
        })
    }

    /// Sets the mark of a key that is there.
    pub fn set_mark(&mut self, key: u64, mark: Mark) {
        if let (slot, true) = self.probe(key) {
            self.entries.as_mut_slice()[slot].mark = mark as u32;
        }
    }

    /// Adds a key that is not there.
    pub fn insert(&mut self, key: u64, row: u32, mark: Mark) -> Result<(), TableError> {
        if (self.length + 1) * 2 > 1 << self.bits {
            self.grow()?;
        }
        let (slot, _) = self.probe(key);
        self.entries.as_mut_slice()[slot] = Entry { key, row: row + 1, mark: mark as u32 };
        self.length += 1;
        Ok(())
    }

    fn grow(&mut self) -> Result<(), TableError> {
        let mut larger = Self { entries: ZeroedVec::new(), bits: self.bits + 1, length: self.length };
        larger.entries.extend_to(1 << larger.bits)?;
        for entry in self.entries.as_slice().iter().filter(|e| e.row != 0) {
            let (slot, _) = larger.probe(entry.key);
            larger.entries.as_mut_slice()[slot] = *entry;
        }
        *self = larger;
        Ok(())
    }

    /// All keys with their rows and whether they are seen, ascending by key.
    pub fn in_key_order(&self) -> Vec<(u64, u32, bool)> {
        let entries = self.entries.as_slice().iter().filter(|e| e.row != 0);
        let mut all: Vec<_> = entries.map(|e| (e.key, e.row - 1, e.mark == Mark::Seen as u32)).collect();
        all.sort_unstable_by_key(|&(key, _, _)| key);
        all
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_as_a_map(keys in prop::collection::vec(prop_oneof![0u64..50, any::<u64>(), (0u64..300).prop_map(|k| k << 40)], 0..2000)) {
            let mut index = Index::new().unwrap();
            let mut map = BTreeMap::new();
            for (i, &key) in keys.iter().enumerate() {
                prop_assert_eq!(index.get(key).map(|e| e.0), map.get(&key).copied());
                if let std::collections::btree_map::Entry::Vacant(free) = map.entry(key) {
                    index.insert(key, i as u32, Mark::Unseen).unwrap();
                    free.insert(i as u32);
                }
                if i % 3 == 0 {
                    index.set_mark(key, Mark::Seen);
                }
            }
            prop_assert_eq!(index.len(), map.len());
            let order: Vec<_> = index.in_key_order().into_iter().map(|(k, r, _)| (k, r)).collect();
            prop_assert_eq!(order, map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn regular_keys_do_not_cluster() {
        for (name, key) in [("dense", (|i| i) as fn(u64) -> u64), ("strided", |i| i << 20), ("high", |i| i << 44)] {
            let mut index = Index::new().unwrap();
            for i in 0..100_000 {
                index.insert(key(i), i as u32, Mark::Seen).unwrap();
            }
            let mask = (1usize << index.bits) - 1;
            let steps: usize =
                (0..100_000).map(|i| (index.probe(key(i)).0.wrapping_sub(index.slot(key(i)))) & mask).sum();
            // Random hashing at this load (0.38) takes 0.31 extra steps on average (Knuth).
            assert!(steps < 40_000, "{name}: {steps} steps");
        }
    }
}
