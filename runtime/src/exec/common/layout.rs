//! Where the elements of every axis of one batch lie: counts, offsets, and who is above whom.
//!
//! Filled from a checked batch; allocations are kept from step to step.

use super::unique::UniqueElements;

use din_program::schedule::{AxisId, AxisKind, AxisTree, Group, MAX_KEYS, Units};

/// Elements `begin..end` of an axis.
pub type ElementRange = (usize, usize);

/// See the module.
#[derive(Debug)]
pub struct Layout {
    pub axes: AxisTree,
    samples: usize,
    /// First sample of each request, then the number of samples; empty without requests.
    requests: Vec<u32>,
    /// By axis, of ragged ones: their elements under each sample (entries of requests: under each request).
    offsets: Vec<Vec<u32>>,
    groups: Vec<UniqueElements>,
}

impl Layout {
    pub fn new(axes: AxisTree) -> Layout {
        Layout { samples: 0, requests: Vec::new(), offsets: vec![Vec::new(); axes.count()], groups: Vec::new(), axes }
    }

    /// A batch of `samples`: `requests` as [`super::StepInputs::requests`], `sequences` the offsets of each sequence.
    pub fn set(&mut self, samples: usize, requests: &[u32], sequences: &[Vec<u32>]) {
        self.samples = samples;
        self.requests.clear();
        self.requests.extend_from_slice(requests);
        for d in 2..self.axes.count() {
            let offsets = &mut self.offsets[d];
            offsets.clear();
            match self.axes.of(AxisId(d as u32)) {
                AxisKind::Entries(s) => offsets.extend_from_slice(&sequences[s as usize]),
                AxisKind::Sequence(s) if self.axes.find(AxisKind::Entries(s)).is_none() => {
                    offsets.extend_from_slice(&sequences[s as usize]);
                }
                AxisKind::Sequence(s) => {
                    let mut end = 0;
                    offsets.push(end);
                    for (request, list) in self.requests.windows(2).zip(sequences[s as usize].windows(2)) {
                        for _ in request[0]..request[1] {
                            end += list[1] - list[0];
                            offsets.push(end);
                        }
                    }
                }
                AxisKind::Global | AxisKind::Batch | AxisKind::Request | AxisKind::Unique(_) => {}
            }
        }
    }

    /// Joins what reads the same rows, after [`Layout::set`]: `rows` gives the row numbers of a table's feature.
    pub fn join<'a>(&mut self, groups: &[Group], rows: &dyn Fn(u32, u32) -> &'a [u32]) {
        self.groups.resize_with(groups.len(), UniqueElements::default);
        for (k, group) in groups.iter().enumerate() {
            let count = self.count(group.over);
            let mut keys = [&[][..]; MAX_KEYS];
            for (key, &(table, feature)) in keys.iter_mut().zip(&group.keys) {
                *key = rows(table, feature);
            }
            self.groups[k].build(count, &keys[..group.keys.len()]);
        }
    }

    /// The elements of a group; it has none before [`Layout::join`].
    pub fn group(&self, group: u32) -> Option<&UniqueElements> {
        self.groups.get(group as usize)
    }

    /// Elements of an axis.
    pub fn count(&self, axis: AxisId) -> usize {
        match self.axes.of(axis) {
            AxisKind::Global => 1,
            AxisKind::Batch => self.samples,
            AxisKind::Request => self.requests.len().saturating_sub(1),
            AxisKind::Unique(g) => self.group(g).map_or(0, UniqueElements::count),
            AxisKind::Sequence(_) | AxisKind::Entries(_) => self.offsets(axis).last().map_or(0, |&n| n as usize),
        }
    }

    /// Offsets of a ragged axis, by sample or by request.
    pub fn offsets(&self, axis: AxisId) -> &[u32] {
        self.offsets.get(axis.index()).map_or(&[], Vec::as_slice)
    }

    /// First sample of each request, then the number of samples.
    pub fn requests(&self) -> &[u32] {
        &self.requests
    }

    /// What tiles are cut from.
    pub fn units(&self, units: Units) -> usize {
        match units {
            Units::Samples => self.samples,
            Units::Requests => self.requests.len().saturating_sub(1),
            Units::Group(g) => self.group(g).map_or(0, UniqueElements::count),
        }
    }

    /// Elements of `axis` that belong to units `from..to`; none of an axis whose tiles are cut otherwise.
    #[inline]
    pub fn range(&self, axis: AxisId, units: Units, from: usize, to: usize) -> ElementRange {
        match self.axes.of(axis) {
            AxisKind::Global => (0, 1),
            _ if self.axes.units(axis) != units => (0, 0),
            AxisKind::Batch | AxisKind::Request | AxisKind::Unique(_) => (from, to),
            AxisKind::Sequence(_) | AxisKind::Entries(_) => {
                let offsets = &self.offsets[axis.index()];
                (offsets[from] as usize, offsets[to] as usize)
            }
        }
    }

    /// By element of `of`: the element of `to` above it. See [`AxisTree::has_ancestor`].
    pub fn ancestors(&self, of: AxisId, to: AxisId, out: &mut Vec<u32>) {
        out.resize(self.count(of), 0);
        self.above(of, to, 0, out);
    }

    /// The same from element `first` on.
    pub fn above(&self, of: AxisId, to: AxisId, first: usize, out: &mut [u32]) {
        let requests = self.requests.len().saturating_sub(1);
        match (self.axes.of(of), self.axes.of(to)) {
            (AxisKind::Batch, AxisKind::Request) => owners(requests, |r| self.requests[r], first, out),
            (AxisKind::Sequence(_), AxisKind::Batch) | (AxisKind::Entries(_), AxisKind::Request) => {
                let offsets = self.offsets(of);
                owners(offsets.len().saturating_sub(1), |o| offsets[o], first, out);
            }
            (AxisKind::Sequence(_), AxisKind::Request) => {
                let offsets = self.offsets(of);
                owners(requests, |r| offsets[self.requests[r] as usize], first, out);
            }
            (AxisKind::Sequence(_), AxisKind::Entries(_)) => {
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
            }
            (_, AxisKind::Unique(g)) => {
                let Some((group, over)) = self.group(g).zip(self.axes.over(g)) else { return };
                if of == over {
                    out.copy_from_slice(&group.of[first..first + out.len()]);
                } else {
                    self.above(of, over, first, out);
                    out.iter_mut().for_each(|above| *above = group.of[*above as usize]);
                }
            }
            _ => {}
        }
    }

    /// By sample (or request): its entries in a ragged axis, as [`din_program::schedule::Storage::Length`].
    pub fn lengths(&self, axis: AxisId, out: &mut Vec<f32>) {
        out.clear();
        out.extend(self.offsets(axis).windows(2).map(|w| (w[1] - w[0]) as f32));
    }
}

/// Says whose the `count` elements from `first` on are, owner by owner: `begin` gives the first element of each of the `owners`, and their number.
/// `each` gets the owner, how many of its elements come before, and which of the `count` are its own.
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
