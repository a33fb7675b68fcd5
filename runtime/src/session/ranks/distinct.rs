//! The distinct ids of one table in a batch, those of one owner side by side.

use std::ops::Range;

/// See the module.
#[derive(Debug, Default)]
pub struct DistinctIds {
    /// By owner, within it by first occurrence.
    pub ids: Vec<u64>,
    /// First id of each owner, then their number.
    begins: Vec<u32>,
    /// By first occurrence.
    found: Vec<u64>,
    owners: Vec<u16>,
    /// By number in `found`: the one in `ids`.
    places: Vec<u32>,
    /// Open addressing: a number in `found` plus 1, or 0.
    slots: Vec<u32>,
}

impl DistinctIds {
    /// Collects the ids of a table's features, each as `known` has it, and gives each element's
    /// position among the distinct ones. `owner` is `None` for a table that every rank has: its ids
    /// stay in the order of their first occurrence.
    pub fn collect<'a>(
        &mut self,
        columns: impl Iterator<Item = &'a [u64]> + Clone,
        positions: &mut [Vec<u32>],
        mut known: impl FnMut(u64) -> u64,
        owner: impl Fn(u64) -> Option<usize>,
        ranks: usize,
    ) {
        let elements: usize = columns.clone().map(<[u64]>::len).sum();
        self.found.clear();
        self.owners.clear();
        self.slots.clear();
        self.slots.resize((2 * elements).next_power_of_two().max(16), 0);
        for (ids, positions) in columns.zip(&mut *positions) {
            positions.clear();
            positions.extend(ids.iter().map(|&id| self.number(known(id))));
        }
        self.owners.extend(self.found.iter().map(|&id| owner(id).map_or(0, |rank| rank as u16)));
        self.begins.clear();
        self.begins.resize(ranks + 1, 0);
        for &owner in &self.owners {
            self.begins[owner as usize + 1] += 1;
        }
        for rank in 0..ranks {
            self.begins[rank + 1] += self.begins[rank];
        }
        // A stable counting sort by owner.
        let mut next = self.begins.clone();
        self.places.clear();
        self.places.extend(self.owners.iter().map(|&owner| {
            let place = &mut next[owner as usize];
            *place += 1;
            *place - 1
        }));
        self.ids.clear();
        self.ids.resize(self.found.len(), 0);
        for (&id, &place) in self.found.iter().zip(&self.places) {
            self.ids[place as usize] = id;
        }
        for position in positions.iter_mut().flatten() {
            *position = self.places[*position as usize];
        }
    }

    /// The number of an id by first occurrence.
    fn number(&mut self, id: u64) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = (id.wrapping_mul(MIX) >> 32) as usize & mask;
        loop {
            match self.slots[at] {
                0 => {
                    self.found.push(id);
                    self.slots[at] = self.found.len() as u32;
                    return self.slots[at] - 1;
                }
                number if self.found[number as usize - 1] == id => return number - 1,
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Which of the ids a rank owns.
    pub fn range(&self, rank: usize) -> Range<u32> {
        self.begins[rank]..self.begins[rank + 1]
    }

    /// The ids that a rank owns.
    pub fn of_rank(&self, rank: usize) -> &[u64] {
        let range = self.range(rank);
        &self.ids[range.start as usize..range.end as usize]
    }
}

/// An odd number with bits all over, near 2^64 over the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_position_is_that_of_its_id() {
        let mut distinct = DistinctIds::default();
        for elements in [0usize, 1, 5, 3000, 40] {
            let a: Vec<u64> = (0..elements as u64).map(|i| i * i % 97).collect();
            let b: Vec<u64> = (0..elements as u64 / 2).map(|i| i * 7 % 1009).collect();
            for ranks in [1, 3, 4] {
                let mut positions = vec![vec![9; 3], Vec::new()];
                let owner = |id: u64| Some((id % 5) as usize % ranks);
                distinct.collect([&a[..], &b[..]].into_iter(), &mut positions, |id| id, owner, ranks);
                for (ids, positions) in [&a, &b].into_iter().zip(&positions) {
                    let found: Vec<u64> = positions.iter().map(|&at| distinct.ids[at as usize]).collect();
                    assert_eq!(*ids, found);
                }
                let all: BTreeSet<u64> = a.iter().chain(&b).copied().collect();
                assert_eq!(distinct.ids.len(), all.len());
                for rank in 0..ranks {
                    assert!(distinct.of_rank(rank).iter().all(|&id| owner(id) == Some(rank)));
                }
                assert_eq!(distinct.range(ranks - 1).end as usize, all.len());
            }
        }
    }
}
