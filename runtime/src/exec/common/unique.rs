//! Finds the distinct combinations of row numbers within each leaf: the elements of a unique axis
//! ([`din_program::axes::UniqueKeys`]).
//!
//! Guarantees: unique elements come in the order of the first element that each stands for, all of
//! which are in one leaf, and what one stands for ascends, so neither depends on threads or
//! hashing. Nothing is allocated once
//! the vectors have grown to the size of a batch.

/// The elements of a unique axis in one batch.
#[derive(Debug, Default)]
pub struct UniqueElements {
    /// By element of the axis that is deduplicated: its unique element (numpy's `inverse`).
    pub inverse: Vec<u32>,
    /// By key, by unique element: the row number.
    pub rows: Vec<Vec<u32>>,
    /// What unique element `u` stands for: `members[begins[u]..begins[u + 1]]`.
    pub begins: Vec<u32>,
    pub members: Vec<u32>,
    /// By leaf: its first unique element; then their number.
    pub leaves: Vec<u32>,
    /// The first element that each stands for.
    firsts: Vec<u32>,
    /// Open addressing: a unique element plus 1, or 0.
    slots: Vec<u32>,
}

impl UniqueElements {
    /// Unique elements.
    pub fn count(&self) -> usize {
        self.firsts.len()
    }

    /// Deduplicates the elements of each leaf by `keys`: by key, the row number of each element.
    /// `leaves` has the first element of each leaf, then the number of elements, fewer than
    /// 2^32 - 1.
    pub fn build(&mut self, leaves: &[u32], keys: &[&[u32]]) {
        let count = *leaves.last().expect("the bounds of leaves end with the number of elements") as usize;
        self.firsts.clear();
        self.inverse.clear();
        grow(&mut self.inverse, count);
        grow(&mut self.firsts, count);
        self.leaves.clear();
        self.leaves.push(0);
        for leaf in leaves.windows(2) {
            self.deduplicate(leaf[0] as usize..leaf[1] as usize, keys);
            self.leaves.push(self.firsts.len() as u32);
        }
        self.rows.resize_with(keys.len(), Vec::new);
        for (rows, key) in self.rows.iter_mut().zip(keys) {
            rows.clear();
            grow(rows, count);
            rows.extend(self.firsts.iter().map(|&i| key[i as usize]));
        }
        self.members(count);
    }

    /// Appends the unique elements of one leaf.
    fn deduplicate(&mut self, elements: std::ops::Range<usize>, keys: &[&[u32]]) {
        let slots = (2 * elements.len()).next_power_of_two().max(16);
        self.slots.clear();
        self.slots.resize(slots, 0);
        let mask = slots - 1;
        for i in elements {
            let hash = keys.iter().fold(0u64, |h, key| (h.rotate_left(26) ^ u64::from(key[i])).wrapping_mul(MIX));
            let mut at = (hash >> 32) as usize & mask;
            let element = loop {
                match self.slots[at] {
                    0 => {
                        self.firsts.push(i as u32);
                        self.slots[at] = self.firsts.len() as u32;
                        break self.slots[at] - 1;
                    }
                    found => {
                        let first = self.firsts[found as usize - 1] as usize;
                        if keys.iter().all(|key| key[first] == key[i]) {
                            break found - 1;
                        }
                        at = (at + 1) & mask;
                    }
                }
            };
            self.inverse.push(element);
        }
    }

    /// A stable counting sort of the elements by their unique elements.
    fn members(&mut self, count: usize) {
        let groups = self.count();
        self.begins.clear();
        grow(&mut self.begins, count + 2);
        self.begins.resize(groups + 2, 0);
        for &g in &self.inverse {
            self.begins[g as usize + 2] += 1;
        }
        for g in 2..groups + 2 {
            self.begins[g] += self.begins[g - 1];
        }
        self.members.clear();
        grow(&mut self.members, count);
        self.members.resize(count, 0);
        for (i, &g) in self.inverse.iter().enumerate() {
            let at = &mut self.begins[g as usize + 1];
            self.members[*at as usize] = i as u32;
            *at += 1;
        }
        self.begins.truncate(groups + 1);
    }
}

/// An odd number with bits all over, near 2^64 over the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Room for `count`, and a quarter more where it must be made.
fn grow(values: &mut Vec<u32>, count: usize) {
    if values.capacity() < count {
        values.reserve(count + count / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Against a map of tuples, over batches that grow and shrink.
    #[test]
    fn elements_that_agree_in_all_keys_are_one() {
        let mut unique = UniqueElements::default();
        for (count, distinct) in [(0usize, 1u32), (1, 1), (1000, 7), (40, 1000), (5000, 60), (3, 2)] {
            let number = |i: usize, salt: u64| {
                let x = (i as u64 + 1).wrapping_mul(salt).wrapping_mul(6_364_136_223_846_793_005);
                (x >> 40) as u32 % distinct
            };
            let a: Vec<u32> = (0..count).map(|i| number(i, 3)).collect();
            let b: Vec<u32> = (0..count).map(|i| number(i, 11) << 20).collect();
            unique.build(&[0, count as u32], &[&a, &b]);
            let mut members: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
            let mut order = Vec::new();
            for i in 0..count {
                let all = members.entry((a[i], b[i])).or_default();
                if all.is_empty() {
                    order.push((a[i], b[i]));
                }
                all.push(i as u32);
            }
            assert_eq!(unique.count(), order.len());
            for (g, key) in order.iter().enumerate() {
                assert_eq!((unique.rows[0][g], unique.rows[1][g]), *key);
                let range = unique.begins[g] as usize..unique.begins[g + 1] as usize;
                assert_eq!(unique.members[range], members[key]);
                assert!(members[key].iter().all(|&i| unique.inverse[i as usize] == g as u32));
            }
        }
    }
}
