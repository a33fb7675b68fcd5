//! Where the elements of every axis of one batch lie: counts, offsets, and who is above whom.
//!
//! Filled from a checked batch; allocations are kept from step to step.

use super::steps::StepOrder;
use super::unique::UniqueElements;
use crate::leaves::LeafRange;
use din_program::axes::{AxisId, AxisKind, AxisTree, BATCH, GLOBAL, MAX_KEYS};

/// Elements `begin..end` of an axis.
pub type ElementRange = (usize, usize);

/// See the module.
#[derive(Debug)]
pub struct Layout {
    pub axes: AxisTree,
    /// By axis: see [`AxisTree::tile_axis`].
    tile_axes: Vec<AxisId>,
    samples: usize,
    /// Place of the first sample in the global batch.
    first_row: usize,
    /// First sample of each request, then the number of samples; empty without requests.
    requests: Vec<u32>,
    /// By axis, of those of entries: their elements under each element of the parent; of the
    /// samples' second name, under each request.
    offsets: Vec<Vec<u32>>,
    /// By axis, of unique ones; empty for the others.
    uniques: Vec<UniqueElements>,
    /// By axis, of the steps of a sequence; empty for the others.
    steps: Vec<StepOrder>,
    /// First sample, and first request, of each leaf, then their number.
    sample_leaves: Vec<u32>,
    request_leaves: Vec<u32>,
    /// Number of the first leaf in the global batch, which has so many.
    first_leaf: usize,
    total_leaves: usize,
    /// Room for the leaves of another axis.
    element_leaves: Vec<u32>,
}

impl Layout {
    pub fn new(axes: AxisTree) -> Layout {
        let mut uniques = Vec::new();
        uniques.resize_with(axes.count(), UniqueElements::default);
        let mut steps = Vec::new();
        steps.resize_with(axes.count(), StepOrder::default);
        Layout {
            steps,
            tile_axes: axes.ids().map(|id| axes.tile_axis(id)).collect(),
            samples: 0,
            first_row: 0,
            requests: Vec::new(),
            offsets: vec![Vec::new(); axes.count()],
            uniques,
            sample_leaves: vec![0],
            request_leaves: vec![0],
            first_leaf: 0,
            total_leaves: 0,
            element_leaves: Vec::new(),
            axes,
        }
    }

    /// A batch of `samples`, in one leaf: `requests` as [`super::StepInputs::requests`],
    /// `sequences` the offsets of each sequence.
    pub fn set(&mut self, samples: usize, requests: &[u32], sequences: &[Vec<u32>]) {
        self.samples = samples;
        self.requests.clear();
        self.requests.extend_from_slice(requests);
        for id in self.axes.ids() {
            let (before, rest) = self.offsets.split_at_mut(id.index());
            let offsets = &mut rest[0];
            offsets.clear();
            match *self.axes.kind(id) {
                AxisKind::Sequence { sequence, shared: None, .. } => {
                    offsets.extend_from_slice(&sequences[sequence as usize]);
                }
                AxisKind::Sequence { sequence, shared: Some(_), .. } => {
                    let mut end = 0;
                    offsets.push(end);
                    for (request, list) in self.requests.windows(2).zip(sequences[sequence as usize].windows(2)) {
                        for _ in request[0]..request[1] {
                            end += list[1] - list[0];
                            offsets.push(end);
                        }
                    }
                }
                AxisKind::Fixed { size } => offsets.extend((0..=samples as u32).map(|sample| sample * size)),
                AxisKind::Second { of: BATCH } => offsets.extend_from_slice(&self.requests),
                AxisKind::Second { of } | AxisKind::Steps { of } => offsets.extend_from_slice(&before[of.index()]),
                AxisKind::Pairs { of, .. } => {
                    let lists = if of == BATCH { &self.requests } else { &before[of.index()] };
                    let mut end = 0;
                    offsets.push(end);
                    for list in lists.windows(2) {
                        for _ in list[0]..list[1] {
                            end += list[1] - list[0];
                            offsets.push(end);
                        }
                    }
                }
                AxisKind::Global | AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Unique(_) => {}
            }
        }
        let units = if requests.is_empty() { samples } else { requests.len() - 1 };
        self.set_leaves([0, units as u32].into_iter(), 0, 1);
    }

    /// Says where the batch begins in the global one.
    pub fn begin_at(&mut self, first_row: usize) {
        self.first_row = first_row;
    }

    /// Cuts the batch into leaves, after [`Layout::set`].
    pub fn cut(&mut self, leaves: &LeafRange) {
        self.set_leaves(leaves.bounds.iter().copied(), leaves.first, leaves.total);
    }

    fn set_leaves(&mut self, bounds: impl Iterator<Item = u32> + Clone, first: usize, total: usize) {
        (self.first_leaf, self.total_leaves) = (first, total);
        self.sample_leaves.clear();
        self.request_leaves.clear();
        if self.requests.is_empty() {
            self.sample_leaves.extend(bounds);
        } else {
            self.sample_leaves.extend(bounds.clone().map(|request| self.requests[request as usize]));
            self.request_leaves.extend(bounds);
        }
        for id in self.axes.ids() {
            let Some(of) = self.axes.steps_of(id) else { continue };
            let (by, owners) = (self.tile_axes[id.index()], self.axes.parent(of).expect("a sequence has a parent"));
            let mut leaves = std::mem::take(&mut self.element_leaves);
            leaves.clear();
            leaves.extend(self.leaves(by).iter().map(|&unit| self.range(owners, by, 0, unit as usize).1 as u32));
            self.steps[id.index()].build(&leaves, &self.offsets[of.index()]);
            self.element_leaves = leaves;
        }
    }

    /// Orders the entries on the steps of a sequence anew: within every so many lists, in place of
    /// the leaves.
    pub fn order_steps(&mut self, axis: AxisId, lists: u32) {
        let of = self.axes.steps_of(axis).expect("an axis of steps");
        let offsets = &self.offsets[of.index()];
        let all = offsets.len().saturating_sub(1) as u32;
        let leaves = &mut self.element_leaves;
        leaves.clear();
        leaves.extend((0..all).step_by(lists as usize).chain([all]));
        self.steps[axis.index()].build(leaves, offsets);
    }

    /// The order of the entries on the steps of a sequence.
    pub fn steps(&self, axis: AxisId) -> &StepOrder {
        &self.steps[axis.index()]
    }

    /// The number of the batch's first leaf in the global batch, and how many leaves that has.
    pub fn leaf_numbers(&self) -> (usize, usize) {
        (self.first_leaf, self.total_leaves)
    }

    /// The numbers of the batch's leaves in the global batch.
    pub fn leaf_range(&self) -> std::ops::Range<usize> {
        self.first_leaf..self.first_leaf + self.sample_leaves.len() - 1
    }

    /// Of a tile axis: the first element of each leaf, then their number.
    pub fn leaves(&self, tile_axis: AxisId) -> &[u32] {
        match self.axes.kind(tile_axis) {
            AxisKind::Batch { .. } => &self.sample_leaves,
            AxisKind::Request => &self.request_leaves,
            AxisKind::Unique(_) => &self.unique(tile_axis).leaves,
            AxisKind::Global
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => {
                unreachable!("tiles are cut by samples, requests or unique elements")
            }
        }
    }

    /// Fills the unique axes, after [`Layout::set`] and [`Layout::cut`]: `rows` gives the row
    /// numbers of a table's feature.
    pub fn join<'a>(&mut self, rows: &dyn Fn(u32, u32) -> &'a [u32]) {
        for id in self.axes.ids() {
            let Some(unique) = self.axes.unique(id) else { continue };
            let by = self.tile_axes[unique.over.index()];
            let mut leaves = std::mem::take(&mut self.element_leaves);
            leaves.clear();
            leaves.extend(self.leaves(by).iter().map(|&unit| self.range(unique.over, by, 0, unit as usize).1 as u32));
            let mut keys = [&[][..]; MAX_KEYS];
            for (key, &(table, feature)) in keys.iter_mut().zip(&unique.keys) {
                *key = rows(table, feature);
            }
            self.uniques[id.index()].build(&leaves, &keys[..unique.keys.len()]);
            self.element_leaves = leaves;
        }
    }

    /// The elements of a unique axis; it has none before [`Layout::join`].
    pub fn unique(&self, axis: AxisId) -> &UniqueElements {
        &self.uniques[axis.index()]
    }

    /// Elements of an axis.
    pub fn count(&self, axis: AxisId) -> usize {
        match self.axes.kind(axis) {
            AxisKind::Global => 1,
            AxisKind::Batch { .. } => self.samples,
            AxisKind::Request => self.requests.len().saturating_sub(1),
            AxisKind::Unique(_) => self.unique(axis).count(),
            AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => self.offsets(axis).last().map_or(0, |&n| n as usize),
        }
    }

    /// Offsets of an axis of entries, by element of its parent; empty for another axis.
    pub fn offsets(&self, axis: AxisId) -> &[u32] {
        &self.offsets[axis.index()]
    }

    /// First sample of each request, then the number of samples.
    pub fn requests(&self) -> &[u32] {
        &self.requests
    }

    /// The first element of `axis` under element `at` of `to`, where elements of `axis` lie side by
    /// side under those of `to`; `None` where they need not.
    #[inline]
    fn begin(&self, axis: AxisId, to: AxisId, at: usize) -> Option<usize> {
        if axis == to {
            return Some(at);
        }
        match *self.axes.kind(axis) {
            AxisKind::Second { of } => self.begin(of, to, at),
            // Side by side within a leaf only: see `range`.
            AxisKind::Steps { .. } => None,
            AxisKind::Sequence { .. } | AxisKind::Fixed { .. } | AxisKind::Pairs { .. } => {
                let parent = self.axes.parent(axis).expect("entries have owners");
                let first = self.begin(parent, to, at)?;
                Some(self.offsets[axis.index()][first] as usize)
            }
            AxisKind::Batch { request } if request == Some(to) => Some(self.requests[at] as usize),
            AxisKind::Batch { .. } | AxisKind::Global | AxisKind::Request | AxisKind::Unique(_) => None,
        }
    }

    /// The first element of `axis` under each element of `to`, where the one lies directly under
    /// the other.
    pub fn begins(&self, axis: AxisId, to: AxisId) -> Option<&[u32]> {
        match *self.axes.kind(axis) {
            AxisKind::Second { of } if of != to => self.begins(of, to),
            AxisKind::Sequence { parent, .. } | AxisKind::Pairs { of: parent, .. } if parent == to => {
                Some(self.offsets(axis))
            }
            AxisKind::Fixed { .. } if to == BATCH => Some(self.offsets(axis)),
            AxisKind::Batch { request } if request == Some(to) => Some(&self.requests),
            AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Batch { .. }
            | AxisKind::Global
            | AxisKind::Request
            | AxisKind::Unique(_) => None,
        }
    }

    /// Elements of `axis` that belong to elements `from..to` of the tile axis `by`; none of an axis
    /// whose tiles are cut otherwise.
    #[inline]
    pub fn range(&self, axis: AxisId, by: AxisId, from: usize, to: usize) -> ElementRange {
        if axis == GLOBAL {
            return (0, 1);
        }
        if self.tile_axes[axis.index()] != by {
            return (0, 0);
        }
        // The steps of whole leaves are the entries of these leaves.
        let axis = self.axes.entries(axis);
        let begin = |at| self.begin(axis, by, at).expect("an axis lies side by side under its tile axis");
        (begin(from), begin(to))
    }

    /// By element of `of`: the element of `to` above it. See [`AxisTree::is_indexed`].
    pub fn ancestors(&self, of: AxisId, to: AxisId, out: &mut Vec<u32>) {
        out.resize(self.count(of), 0);
        self.above(of, to, 0, out);
    }

    /// The same from element `first` on.
    pub fn above(&self, of: AxisId, to: AxisId, first: usize, out: &mut [u32]) {
        if self.axes.steps_of(to) == Some(of) {
            out.copy_from_slice(&self.steps(to).places[first..first + out.len()]);
        } else if let Some(entries) = self.axes.steps_of(of) {
            out.copy_from_slice(&self.steps(of).entries[first..first + out.len()]);
            if to != entries {
                for above in out {
                    let mut one = [0];
                    self.above(entries, to, *above as usize, &mut one);
                    [*above] = one;
                }
            }
        } else if let Some(unique) = self.axes.unique(to) {
            let element = &self.unique(to).inverse;
            if of == unique.over {
                out.copy_from_slice(&element[first..first + out.len()]);
            } else {
                self.above(of, unique.over, first, out);
                out.iter_mut().for_each(|above| *above = element[*above as usize]);
            }
        } else if self.begin(of, to, 0).is_some() {
            match self.begins(of, to) {
                Some(begins) => owners(self.count(to), |at| begins[at], first, out),
                None => {
                    let begin = |at| self.begin(of, to, at).expect("it was there for the first") as u32;
                    owners(self.count(to), begin, first, out);
                }
            }
        } else if self.axes.shared(of) == Some(to) {
            let (pairs, lists) = (self.offsets(of), self.offsets(to));
            let (count, mut request) = (out.len(), None);
            let each = |sample: usize, before: u32, own: std::ops::Range<usize>| {
                let found = || self.requests.partition_point(|&r| r as usize <= sample).saturating_sub(1);
                let mut at = request.unwrap_or_else(found);
                while self.requests[at + 1] as usize <= sample {
                    at += 1;
                }
                request = Some(at);
                out[own].iter_mut().zip(lists[at] + before..).for_each(|(out, entry)| *out = entry);
            };
            runs(self.samples, |s| pairs[s], first, count, each);
        } else if let AxisKind::Pairs { of: entries, second } = *self.axes.kind(of)
            && to == second
        {
            // Under each first entry, all of its list.
            let (pairs, lists) = (self.offsets(of), self.offsets(second));
            let (entries, count, mut list) = (self.count(entries), out.len(), None);
            let each = |entry: usize, before: u32, own: std::ops::Range<usize>| {
                let found = || lists.partition_point(|&begin| begin as usize <= entry).saturating_sub(1);
                let mut at = list.unwrap_or_else(found);
                while lists[at + 1] as usize <= entry {
                    at += 1;
                }
                list = Some(at);
                out[own].iter_mut().zip(lists[at] + before..).for_each(|(out, second)| *out = second);
            };
            runs(entries, |entry| pairs[entry], first, count, each);
        } else {
            // What is in a list of a common sequence's entries.
            let parent = self.axes.parent(of).expect("what lies under nothing has no ancestor but the global axis");
            self.above(of, parent, first, out);
            for above in out {
                let mut one = [0];
                self.above(parent, to, *above as usize, &mut one);
                [*above] = one;
            }
        }
    }

    /// By element of the parent: the number of its elements on an axis of entries, as
    /// [`din_program::schedule::Storage::Length`].
    pub fn lengths(&self, axis: AxisId, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.offsets(axis).windows(2).map(|w| (w[1] - w[0]) as f32));
    }

    /// By element of an axis of entries: its place in its list, from 0, as
    /// [`din_program::schedule::Storage::Position`].
    pub fn positions(&self, axis: AxisId, out: &mut Vec<f32>) {
        out.clear();
        out.resize(self.count(axis), 0.0);
        let offsets = self.offsets(axis);
        for list in offsets.windows(2) {
            let places = out[list[0] as usize..list[1] as usize].iter_mut().zip(0u32..);
            places.for_each(|(out, place)| *out = place as f32);
        }
    }

    /// Of the samples, or the requests: as [`din_program::schedule::Storage::SampleNumber`], from
    /// element `first` on.
    pub fn sample_numbers_from(&self, axis: AxisId, first: usize, out: &mut [u32]) {
        let number = |element: usize| match self.axes.kind(axis) {
            AxisKind::Request => self.requests[element] as usize,
            AxisKind::Batch { .. } => element,
            AxisKind::Global
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => unreachable!("validated: numbers are of samples or requests"),
        };
        for (out, element) in out.iter_mut().zip(first..) {
            *out = ((self.first_row + number(element)) as f32).to_bits();
        }
    }

    /// The places of the entries from `first` on.
    pub fn positions_from(&self, axis: AxisId, first: usize, out: &mut [u32]) {
        let offsets = self.offsets(axis);
        let count = out.len();
        runs(
            offsets.len().saturating_sub(1),
            |list| offsets[list],
            first,
            count,
            |_, before, own| {
                out[own].iter_mut().zip(before..).for_each(|(out, place)| *out = (place as f32).to_bits());
            },
        );
    }
}

/// Says whose the `count` elements from `first` on are, owner by owner: `begin` gives the first
/// element of each of the `owners`, and their number. `each` gets the owner, how many of its
/// elements come before, and which of the `count` are its own.
fn runs(
    owners: usize,
    begin: impl Fn(usize) -> u32,
    first: usize,
    count: usize,
    mut each: impl FnMut(usize, u32, std::ops::Range<usize>),
) {
    let (mut owner, mut beyond) = (0, owners);
    while owner < beyond {
        let middle = owner.midpoint(beyond);
        if begin(middle + 1) as usize <= first { owner = middle + 1 } else { beyond = middle }
    }
    let mut at = 0;
    while at < count && owner < owners {
        let (from, end) = (begin(owner) as usize, (begin(owner + 1) as usize - first).min(count));
        each(owner, (first + at - from) as u32, at..end);
        (at, owner) = (end, owner + 1);
    }
}

/// Numbers that are written at a time, beyond an owner's end too: there the next one's come.
const STRIDE: usize = 16;

/// Fills `out`, which is for elements from `first` on, with their owners: see [`runs`].
fn owners(owners: usize, begin: impl Fn(usize) -> u32, first: usize, out: &mut [u32]) {
    runs(owners, begin, first, out.len(), |owner, _, own| {
        let owner = owner as u32;
        match out.get_mut(own.start..own.start + own.len().next_multiple_of(STRIDE)) {
            Some(out) => out.as_chunks_mut::<STRIDE>().0.iter_mut().for_each(|out| *out = [owner; STRIDE]),
            None => out[own].fill(owner),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists in lists and their pairs, against nested vectors counted one by one.
    #[test]
    fn lists_in_lists_and_pairs_lie_under_their_owners() {
        // By sample, by visit: the number of items.
        let sessions: [&[usize]; 4] = [&[2, 0], &[], &[3], &[1, 1, 4]];
        let mut axes = AxisTree::new("batch");
        let visits = axes.add_sequence("visits", 0, BATCH);
        let items = axes.add_sequence("items", 1, visits);
        let [second, pairs] = axes.add_pairs(items, "others");
        axes.check().expect("a tree");

        // (sample, visit, item) of every element, and its predecessors' numbers.
        let (mut of_visit, mut of_item, mut of_pair) = (Vec::new(), Vec::new(), Vec::new());
        let (mut visit_offsets, mut item_offsets) = (vec![0u32], vec![0u32]);
        for (sample, visits) in sessions.iter().enumerate() {
            for &count in *visits {
                let (visit, first) = (of_visit.len() as u32, of_item.len() as u32);
                of_visit.push([sample as u32]);
                for item in first..first + count as u32 {
                    of_item.push([sample as u32, visit]);
                    of_pair.extend((first..first + count as u32).map(|other| [sample as u32, visit, item, other]));
                }
                item_offsets.push(of_item.len() as u32);
            }
            visit_offsets.push(of_visit.len() as u32);
        }

        let mut layout = Layout::new(axes);
        layout.set(sessions.len(), &[], &[visit_offsets, item_offsets]);
        let counts = [GLOBAL, BATCH, visits, items, second, pairs].map(|axis| layout.count(axis));
        assert_eq!(counts, [1, 4, 6, 11, 11, 4 + 9 + 1 + 1 + 16]);

        let above = |of, to| {
            let mut out = Vec::new();
            layout.ancestors(of, to, &mut out);
            out
        };
        assert_eq!(above(visits, BATCH), of_visit.iter().map(|v| v[0]).collect::<Vec<_>>());
        for (k, to) in [BATCH, visits].into_iter().enumerate() {
            assert_eq!(above(items, to), of_item.iter().map(|i| i[k]).collect::<Vec<_>>());
            assert_eq!(above(second, to), above(items, to));
        }
        for (k, to) in [BATCH, visits, items, second].into_iter().enumerate() {
            let whole = above(pairs, to);
            assert_eq!(whole, of_pair.iter().map(|p| p[k]).collect::<Vec<_>>());
            // Any part of it is the same.
            for first in 0..whole.len() {
                let mut part = vec![99; (whole.len() - first).min(5)];
                layout.above(pairs, to, first, &mut part);
                assert_eq!(part, whole[first..first + part.len()], "{to:?} {first}");
            }
        }

        for sample in 0..sessions.len() {
            let (from, to) = layout.range(pairs, BATCH, sample, sample + 1);
            let own: Vec<usize> = (0..of_pair.len()).filter(|&p| of_pair[p][0] as usize == sample).collect();
            assert_eq!((from..to).collect::<Vec<_>>(), own, "sample {sample}");
        }
        let mut lengths = Vec::new();
        layout.lengths(items, &mut lengths);
        let mut positions = Vec::new();
        layout.positions(items, &mut positions);
        assert_eq!(positions, [0.0, 1.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        for first in 0..positions.len() {
            let mut part = vec![9; (positions.len() - first).min(4)];
            layout.positions_from(items, first, &mut part);
            let part: Vec<f32> = part.into_iter().map(f32::from_bits).collect();
            assert_eq!(part, positions[first..first + part.len()], "{first}");
        }
        assert_eq!(lengths, [2.0, 0.0, 3.0, 1.0, 1.0, 4.0]);
    }

    /// Lists of one length, and their pairs, against a count of all.
    #[test]
    fn fixed_axes_have_as_many_entries_in_each_sample() {
        let (samples, size, requests) = (5u32, 3u32, [0u32, 2, 2, 5]);
        let mut axes = AxisTree::new("batch");
        let request = axes.add_requests(&[]);
        let fixed = axes.add_fixed("fields", size);
        let [second, pairs] = axes.add_pairs(fixed, "others");
        axes.check().expect("a tree");
        let mut layout = Layout::new(axes);
        layout.set(samples as usize, &requests, &[]);

        let counts = [fixed, second, pairs].map(|axis| layout.count(axis) as u32);
        assert_eq!(counts, [samples * size, samples * size, samples * size * size]);
        let above = |of, to| {
            let mut out = Vec::new();
            layout.ancestors(of, to, &mut out);
            out
        };
        let of_request = |sample: u32| if sample < 2 { 0 } else { 2 };
        let entries = || (0..samples).flat_map(|sample| (0..size).map(move |place| (sample, place)));
        assert_eq!(above(fixed, BATCH), entries().map(|(sample, _)| sample).collect::<Vec<_>>());
        assert_eq!(above(fixed, request), entries().map(|(sample, _)| of_request(sample)).collect::<Vec<_>>());
        let seconds = entries().flat_map(|(sample, _)| (0..size).map(move |other| sample * size + other));
        assert_eq!(above(pairs, second), seconds.collect::<Vec<_>>());
        let mut positions = Vec::new();
        layout.positions(fixed, &mut positions);
        assert_eq!(positions, entries().map(|(_, place)| place as f32).collect::<Vec<_>>());
        assert_eq!([layout.range(fixed, BATCH, 1, 3), layout.range(pairs, BATCH, 1, 3)], [(3, 9), (9, 27)]);
    }

    /// Pairs of samples, against a count of all pairs.
    #[test]
    fn the_samples_of_a_request_pair() {
        let requests = [0u32, 2, 3, 3, 7];
        let samples = 7;
        let mut axes = AxisTree::new("batch");
        let request = axes.add_requests(&[]);
        let [second, pairs] = axes.add_pairs(BATCH, "other");
        axes.check().expect("a tree");
        let mut layout = Layout::new(axes);
        layout.set(samples, &requests, &[]);

        let of = |sample: usize| (1..requests.len()).find(|&r| sample < requests[r] as usize).unwrap() as u32 - 1;
        let all = (0..samples).flat_map(|a| (0..samples).map(move |b| (a, b))).filter(|&(a, b)| of(a) == of(b));
        let (firsts, seconds): (Vec<u32>, Vec<u32>) = all.map(|(a, b)| (a as u32, b as u32)).unzip();
        assert_eq!([second, pairs].map(|axis| layout.count(axis)), [samples, 4 + 1 + 16]);
        let above = |of, to| {
            let mut out = Vec::new();
            layout.ancestors(of, to, &mut out);
            out
        };
        assert_eq!(above(pairs, BATCH), firsts);
        assert_eq!(above(pairs, second), seconds);
        assert_eq!(above(second, request), (0..samples).map(of).collect::<Vec<_>>());
        assert_eq!(above(pairs, request), firsts.iter().map(|&s| of(s as usize)).collect::<Vec<_>>());
        for first in 0..seconds.len() {
            let mut part = vec![99; (seconds.len() - first).min(5)];
            layout.above(pairs, second, first, &mut part);
            assert_eq!(part, seconds[first..first + part.len()], "{first}");
        }
        assert_eq!(layout.range(pairs, BATCH, 2, 4), (4, 9));
    }
}
