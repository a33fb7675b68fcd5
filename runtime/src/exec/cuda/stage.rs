//! What the host writes for a step, all at once: the batch's columns, and for every schedule its addresses and words
//! (`din_program::cuda`).
//!
//! At first it is only said what stands where, so that all sizes are known before a number is copied: then each goes straight to where the device
//! takes it from (`contents`).

use super::contents::{Numbers, Part};
use super::driver::DeviceError;
use super::memory::{At, Buckets, NONE, Plain, Space, words_of};
use crate::exec::common::Layout;
use din_program::cuda::{Address as Names, Cuda, Grid, Launches, Tiling, Word};
use din_program::schedule::{AxisId, AxisKind, BATCH, GLOBAL, KernelArg, Schedule, Storage};

/// What is in a step's only write.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub space: Space,
    /// In ascending order of where they are.
    pub(super) parts: Vec<Part>,
    /// What is in nobody else's hands: words, addresses, and the tiles of this step and of larger ones before it.
    pub(super) own: Vec<u32>,
    pub(super) addresses: Vec<At>,
    pub(super) tiles: Vec<Vec<u32>>,
    tilings: usize,
}

impl Stage {
    pub fn new(buckets: Buckets) -> Stage {
        Stage { space: Space::new(buckets), ..Stage::default() }
    }

    pub fn clear(&mut self) {
        self.space.clear();
        self.parts.clear();
        self.own.clear();
        self.addresses.clear();
        self.tilings = 0;
    }

    pub fn put<T: Plain>(&mut self, values: &[T], what: &'static str) -> Result<At, DeviceError> {
        let (words, own) = (words_of(values), Numbers::Own(self.own.len()));
        self.own.extend_from_slice(words);
        self.column(words.len(), own, what)
    }

    /// `count` numbers that are somewhere already.
    pub fn column(&mut self, count: usize, numbers: Numbers, what: &'static str) -> Result<At, DeviceError> {
        self.column_within(count, self.space.buckets.room(count), numbers, what)
    }

    /// With room for `room` numbers.
    pub fn column_within(
        &mut self,
        count: usize,
        room: usize,
        numbers: Numbers,
        what: &'static str,
    ) -> Result<At, DeviceError> {
        let at = self.space.within(count, room, what)?;
        if count > 0 {
            self.parts.push(Part { at: at / 4, count, numbers });
        }
        Ok(At::Staged(at))
    }

    pub fn addresses(&mut self, addresses: &[At]) -> Result<At, DeviceError> {
        let (count, first) = (addresses.len() * 2, self.addresses.len());
        self.addresses.extend_from_slice(addresses);
        self.column_within(count, count, Numbers::Addresses(first), "addresses")
    }

    /// Cuts a tiling; gives the number of its bounds among `tiles`, and [`Word::Longest`].
    fn cut(&mut self, tiling: &Tiling, offsets: &[u32]) -> (usize, u32) {
        let k = self.tilings;
        if k == self.tiles.len() {
            self.tiles.push(Vec::new());
        }
        self.tilings += 1;
        (k, tiling.cut_into(offsets, &mut self.tiles[k]))
    }
}

/// First entries by sample or request; of the samples, by request; of a group, first members by its elements.
pub(super) fn offsets(layout: &Layout, d: AxisId) -> &[u32] {
    match layout.axes.of(d) {
        AxisKind::Batch => layout.requests(),
        AxisKind::Unique(g) => layout.group(g).map_or(&[], |g| &g.begins),
        _ => layout.offsets(d),
    }
}

pub(super) fn members(layout: &Layout, d: AxisId) -> &[u32] {
    let group = if let AxisKind::Unique(g) = layout.axes.of(d) { layout.group(g) } else { None };
    group.map_or(&[], |g| &g.members)
}

/// What an instance of a schedule is run on.
pub(super) struct Given<'a> {
    /// Samples, rows or elements.
    pub samples: usize,
    /// How many of them get room.
    pub room: usize,
    /// Where the elements of the axes lie; updates have samples alone.
    pub layout: Option<&'a Layout>,
    /// Number of the step, from 1.
    pub step: u64,
    /// Where offsets into the space of its buffers lead.
    pub home: &'a dyn Fn(usize) -> At,
    pub place: &'a dyn Fn(Storage) -> At,
    pub source: &'a dyn Fn(KernelArg) -> At,
}

impl Given<'_> {
    fn offsets(&self, d: AxisId) -> &[u32] {
        self.layout.map_or(&[], |l| offsets(l, d))
    }

    fn members(&self, d: AxisId) -> &[u32] {
        self.layout.map_or(&[], |l| members(l, d))
    }

    /// Elements of an axis.
    pub fn count(&self, d: AxisId) -> usize {
        match (d, self.layout) {
            (GLOBAL, _) => 1,
            (BATCH, _) => self.samples,
            (d, layout) => layout.map_or(0, |l| l.count(d)),
        }
    }

    /// How many of what `offsets` are by get room.
    fn owners_room(&self, d: AxisId, buckets: Buckets) -> usize {
        let Some(axes) = self.layout.map(|l| &l.axes) else { return self.room };
        let owner = match axes.of(d) {
            AxisKind::Unique(_) => Some(d),
            AxisKind::Batch => axes.find(AxisKind::Request),
            _ => axes.parent(d),
        };
        owner.map_or(self.room, |owner| self.room(owner, buckets))
    }

    /// How many elements of an axis get room.
    fn room(&self, d: AxisId, buckets: Buckets) -> usize {
        match d {
            GLOBAL => 1,
            BATCH => self.room,
            d => buckets.room(self.count(d)),
        }
    }
}

/// Instances of a schedule, side by side.
#[derive(Debug, Default)]
pub(super) struct Instances {
    addresses: Vec<At>,
    words: Vec<u32>,
    count: u32,
    /// By tiling: [`Word::Longest`] of the instance with the longest tile.
    longest: Vec<u32>,
}

/// A schedule that can be launched.
#[derive(Debug)]
pub(super) struct Ready {
    pub addresses: At,
    pub words: At,
    pub instances: u32,
    longest: Vec<u32>,
}

impl Instances {
    /// Adds one: its buffers get room in `space`, its data is staged. Gives the places of its arena slots.
    pub fn add(
        &mut self,
        stage: &mut Stage,
        space: &mut Space,
        (cuda, launches, schedule): (&Cuda, &Launches, &Schedule),
        given: &Given<'_>,
    ) -> Result<Vec<At>, DeviceError> {
        let mut slots = Vec::with_capacity(schedule.slots.len());
        for slot in &schedule.slots {
            let (count, room) = (given.count(slot.axis), given.room(slot.axis, space.buckets));
            slots.push((given.home)(space.matrix(count, room, slot.width, "buffers of a step")?));
        }
        let chunks = cuda.chunks as usize;
        let partials = space.matrix(chunks, chunks, launches.partial_floats, "partial sums")?;
        let mut tiles = Vec::with_capacity(launches.tilings.len());
        for (k, tiling) in launches.tilings.iter().enumerate() {
            // Its bounds and the longest tile; the others follow from the number of elements.
            let (bounds, longest) = match tiling.entries {
                0 => (None, 0),
                _ => {
                    let (bounds, longest) = stage.cut(tiling, given.offsets(tiling.axis));
                    (Some(bounds), longest)
                }
            };
            if k == self.longest.len() {
                self.longest.push(0);
            }
            self.longest[k] = self.longest[k].max(longest);
            tiles.push((bounds, longest));
        }
        for name in &launches.addresses {
            let at = match *name {
                Names::Buffer(id) => match schedule.buffers[id.index()].place {
                    Storage::Arena(slot) => slots[slot.index()],
                    Storage::Length(d) => {
                        let count = given.offsets(d).len().saturating_sub(1);
                        stage.column(count, Numbers::Lengths(d), "lengths")?
                    }
                    Storage::Count(d) => stage.put(&[given.count(d) as f32], "count")?,
                    Storage::Step => stage.put(&[given.step as f32], "step")?,
                    place => (given.place)(place),
                },
                Names::Argument(KernelArg::Ancestor { of, to }) => {
                    let count = given.layout.map_or(0, |l| l.count(of));
                    stage.column(count, Numbers::Above { of, to }, "parents")?
                }
                Names::Argument(source) => (given.source)(source),
                Names::Offsets(d) => {
                    let room = given.owners_room(d, space.buckets) + 1;
                    stage.column_within(given.offsets(d).len(), room, Numbers::Offsets(d), "offsets")?
                }
                Names::Members(d) => stage.column(given.members(d).len(), Numbers::Members(d), "members")?,
                Names::Tiles(t) => {
                    // At most one a sample, or request.
                    let room = given.owners_room(launches.tilings[t as usize].axis, space.buckets) + 1;
                    match tiles[t as usize].0 {
                        Some(k) => stage.column_within(stage.tiles[k].len(), room, Numbers::Tiles(k), "tiles")?,
                        None => NONE,
                    }
                }
                Names::Partials => (given.home)(partials),
            };
            self.addresses.push(at);
        }
        self.words.extend(launches.words.iter().map(|word| match *word {
            Word::Elements(d) => given.count(d) as u32,
            Word::Tiles(t) => tiles[t as usize].0.map_or(0, |k| stage.tiles[k].len() as u32 - 1),
            Word::Longest(t) => tiles[t as usize].1,
        }));
        self.count += 1;
        Ok(slots)
    }

    /// Stages the addresses and words; behind the words stands one more an instance, for who counts what no word asks for.
    pub fn ready(mut self, stage: &mut Stage) -> Result<Ready, DeviceError> {
        self.words.extend((0..self.count.max(1)).map(|_| 0));
        Ok(Ready {
            addresses: stage.addresses(&self.addresses)?,
            words: stage.put(&self.words, "words")?,
            instances: self.count,
            longest: self.longest,
        })
    }
}

impl Ready {
    /// Numbers of scratch of one launch.
    pub fn scratch(&self, cuda: &Cuda, launches: &Launches, launch: &din_program::cuda::Launch) -> usize {
        let longest = match launch.grid {
            Grid::Tiles { tiling } => self.longest.get(tiling as usize).copied().unwrap_or(0),
            Grid::Blocks(_) => 0,
        };
        (self.instances as usize).saturating_mul(launch.scratch_floats(cuda, launches, longest))
    }

    /// The most of any of its launches.
    pub fn most_scratch(&self, cuda: &Cuda, launches: &Launches) -> usize {
        launches.launches.iter().map(|l| self.scratch(cuda, launches, l)).max().unwrap_or(0)
    }
}
