//! The order of the entries of a sequence in a recurrence.

/// Within each leaf the entries by step: all first entries, then all second ones, and so on, those
/// of longer lists first. See [`din_program::axes`].
#[derive(Debug, Default)]
pub struct StepOrder {
    /// By place: the entry.
    pub entries: Vec<u32>,
    /// By entry: its place.
    pub places: Vec<u32>,
    /// The first place of each step of each leaf, then the number of entries.
    begins: Vec<u32>,
    /// The first step of each leaf, then their number.
    leaves: Vec<u32>,
    /// Room for the lists of a leaf, longest first.
    lists: Vec<u32>,
}

impl StepOrder {
    /// Orders the entries of lists that begin at `offsets`, `leaves` being the first list of each
    /// leaf, then their number.
    pub fn build(&mut self, leaves: &[u32], offsets: &[u32]) {
        let entries = offsets.last().map_or(0, |&end| end as usize);
        self.entries.clear();
        self.places.clear();
        self.places.resize(entries, 0);
        self.begins.clear();
        self.leaves.clear();
        let length = |list: u32| offsets[list as usize + 1] - offsets[list as usize];
        for leaf in leaves.windows(2) {
            self.leaves.push(self.begins.len() as u32);
            self.lists.clear();
            self.lists.extend((leaf[0]..leaf[1]).filter(|&list| length(list) > 0));
            // Equally long ones in their order.
            self.lists.sort_unstable_by_key(|&list| (std::cmp::Reverse(length(list)), list));
            let (mut step, mut running) = (0, self.lists.len());
            loop {
                while running > 0 && length(self.lists[running - 1]) <= step {
                    running -= 1;
                }
                if running == 0 {
                    break;
                }
                self.begins.push(self.entries.len() as u32);
                for &list in &self.lists[..running] {
                    let entry = offsets[list as usize] + step;
                    self.places[entry as usize] = self.entries.len() as u32;
                    self.entries.push(entry);
                }
                step += 1;
            }
        }
        self.leaves.push(self.begins.len() as u32);
        self.begins.push(entries as u32);
    }

    /// The first place of each step of each leaf, then the number of entries.
    pub fn begins(&self) -> &[u32] {
        &self.begins
    }

    /// The first step of each leaf, then the number of steps of all.
    pub fn leaves(&self) -> &[u32] {
        &self.leaves
    }

    /// Entries of the leaf that has most.
    pub fn longest(&self) -> u32 {
        let begin = |step: u32| self.begins[step as usize];
        self.leaves.windows(2).map(|leaf| begin(leaf[1]) - begin(leaf[0])).max().unwrap_or(0)
    }

    /// The first place of each step of a leaf, then the end of the last one. Of a leaf without
    /// entries one number: there is no step.
    pub fn of_leaf(&self, leaf: usize) -> &[u32] {
        &self.begins[self.leaves[leaf] as usize..=self.leaves[leaf + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the order that sorting entries by leaf, place, length and list gives.
    #[test]
    fn entries_lie_step_by_step() {
        let lengths = [3u32, 0, 5, 1, 3, 0, 0, 2, 2, 9, 1, 0];
        let leaves = [0u32, 5, 7, 12];
        let mut offsets = vec![0u32];
        lengths.iter().for_each(|n| offsets.push(offsets.last().unwrap() + n));
        let mut order = StepOrder::default();
        for _ in 0..2 {
            order.build(&leaves, &offsets);
            let mut wanted = Vec::new();
            for (list, &n) in (0u32..).zip(&lengths) {
                let leaf = leaves.iter().filter(|first| **first <= list).count();
                wanted.extend((0..n).map(|k| (leaf, k, std::cmp::Reverse(n), list, offsets[list as usize] + k)));
            }
            wanted.sort();
            assert_eq!(order.entries, wanted.iter().map(|w| w.4).collect::<Vec<_>>());
            for (place, &entry) in (0u32..).zip(&order.entries) {
                assert_eq!(order.places[entry as usize], place);
            }
            for (leaf, steps) in [(0, 5), (1, 0), (2, 9)] {
                let begins = order.of_leaf(leaf);
                assert_eq!(begins.len(), steps + 1, "leaf {leaf}");
                for (k, step) in begins.windows(2).enumerate() {
                    let own = &wanted[step[0] as usize..step[1] as usize];
                    assert!(!own.is_empty() && own.iter().all(|w| (w.0, w.1) == (leaf + 1, k as u32)));
                }
            }
            assert_eq!(order.of_leaf(2).last(), offsets.last());
        }
    }
}
