//! What the host writes for a step, all at once: the batch's columns, and for every schedule its addresses and words
//! (`din_program::cuda`).

use super::driver::DeviceError;
use super::memory::{At, Bases, Buckets, Plain, Space, bytes_of};
use crate::engine::Layout;
use din_program::cuda::{Address as Names, Cuda, Grid, Launches, Word};
use din_program::schedule::{Axis, BATCH, Domain, ONCE, Place, Schedule, Source};

/// The bytes of a step's only write.
#[derive(Debug, Default)]
pub(super) struct Stage {
    bytes: Vec<u8>,
    pub space: Space,
    /// Where an address stands in `bytes`.
    addresses: Vec<(usize, At)>,
}

impl Stage {
    pub fn new(buckets: Buckets) -> Stage {
        Stage { space: Space::new(buckets), ..Stage::default() }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.space.clear();
        self.addresses.clear();
    }

    pub fn put<T: Plain>(&mut self, values: &[T], what: &'static str) -> Result<At, DeviceError> {
        self.put_within(values, self.space.buckets.room(size_of_val(values) / 4), what)
    }

    /// With room for `room` numbers of 4 bytes.
    pub fn put_within<T: Plain>(&mut self, values: &[T], room: usize, what: &'static str) -> Result<At, DeviceError> {
        let bytes = bytes_of(values);
        let at = self.space.within(bytes.len() / 4, room, what)?;
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(bytes);
        Ok(At::Staged(at))
    }

    pub fn fill<T: Plain>(
        &mut self,
        values: impl Iterator<Item = T>,
        count: usize,
        what: &'static str,
    ) -> Result<At, DeviceError> {
        let at = self.space.array(count * size_of::<T>() / 4, what)?;
        self.bytes.resize(at, 0);
        for value in values.take(count) {
            self.bytes.extend_from_slice(bytes_of(&[value]));
        }
        Ok(At::Staged(at))
    }

    pub fn addresses(&mut self, addresses: &[At]) -> Result<At, DeviceError> {
        let at = self.space.exact(addresses.len() * 2, "addresses")?;
        self.bytes.resize(at + addresses.len() * 8, 0);
        self.addresses.extend(addresses.iter().enumerate().map(|(k, a)| (at + 8 * k, *a)));
        Ok(At::Staged(at))
    }

    /// The bytes, with all addresses known.
    pub fn finish(&mut self, bases: &Bases) -> &[u8] {
        for &(at, address) in &self.addresses {
            if let Some(place) = self.bytes.get_mut(at..at + 8) {
                place.copy_from_slice(&bases.resolve(address).to_ne_bytes());
            }
        }
        &self.bytes
    }
}

/// What an instance of a schedule is run on.
pub(super) struct Given<'a> {
    /// Samples, rows or elements.
    pub samples: usize,
    /// How many of them get room.
    pub room: usize,
    /// Where the elements of the domains lie; updates have samples alone.
    pub layout: Option<&'a Layout>,
    /// Number of the step, from 1.
    pub step: u64,
    /// Where offsets into the space of its buffers lead.
    pub home: fn(usize) -> At,
    pub place: &'a dyn Fn(Place) -> At,
    pub source: &'a dyn Fn(Source) -> At,
}

impl Given<'_> {
    /// First entries by sample or request; of the samples, by request; of a group, first members by its elements.
    fn offsets(&self, d: Domain) -> &[u32] {
        self.layout.map_or(&[], |l| match l.axes.of(d) {
            Axis::Batch => l.requests(),
            Axis::Group(g) => l.group(g).map_or(&[], |g| &g.begins),
            _ => l.offsets(d),
        })
    }

    fn members(&self, d: Domain) -> &[u32] {
        let group = self.layout.and_then(|l| if let Axis::Group(g) = l.axes.of(d) { l.group(g) } else { None });
        group.map_or(&[], |g| &g.members)
    }

    /// Elements of a domain.
    pub fn count(&self, d: Domain) -> usize {
        match (d, self.layout) {
            (ONCE, _) => 1,
            (BATCH, _) => self.samples,
            (d, layout) => layout.map_or(0, |l| l.count(d)),
        }
    }

    /// How many of what `offsets` are by get room.
    fn owners_room(&self, d: Domain, buckets: Buckets) -> usize {
        let Some(axes) = self.layout.map(|l| &l.axes) else { return self.room };
        let owner = match axes.of(d) {
            Axis::Group(_) => Some(d),
            Axis::Batch => axes.find(Axis::Requests),
            _ => axes.parent(d),
        };
        owner.map_or(self.room, |owner| self.room(owner, buckets))
    }

    /// How many elements of a domain get room.
    fn room(&self, d: Domain, buckets: Buckets) -> usize {
        match d {
            ONCE => 1,
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
            let (count, room) = (given.count(slot.domain), given.room(slot.domain, space.buckets));
            slots.push((given.home)(space.matrix(count, room, slot.width, "buffers of a step")?));
        }
        let chunks = cuda.chunks as usize;
        let partials = space.matrix(chunks, chunks, launches.partial_floats, "partial sums")?;
        let mut tiles = Vec::with_capacity(launches.tilings.len());
        for (k, tiling) in launches.tilings.iter().enumerate() {
            let (bounds, longest) = match tiling.entries {
                0 => (vec![0], 0),
                _ => tiling.cut(given.offsets(tiling.domain)),
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
                    Place::Arena(slot) => slots[slot.index()],
                    Place::Length(d) => {
                        let lengths = given.offsets(d).windows(2);
                        let (count, lengths) = (lengths.len(), lengths.map(|w| (w[1] - w[0]) as f32));
                        stage.fill(lengths, count, "lengths")?
                    }
                    Place::Count(d) => stage.put(&[given.count(d) as f32], "count")?,
                    Place::Step => stage.put(&[given.step as f32], "step")?,
                    place => (given.place)(place),
                },
                Names::Source(Source::Ancestor { of, to }) => {
                    let mut above = Vec::new();
                    if let Some(layout) = given.layout {
                        layout.ancestors(of, to, &mut above);
                    }
                    stage.put(&above, "parents")?
                }
                Names::Source(source) => (given.source)(source),
                Names::Offsets(d) => {
                    let room = given.owners_room(d, space.buckets) + 1;
                    stage.put_within(given.offsets(d), room, "offsets")?
                }
                Names::Members(d) => stage.put(given.members(d), "members")?,
                Names::Tiles(t) => {
                    // At most one a sample, or request.
                    let room = given.owners_room(launches.tilings[t as usize].domain, space.buckets) + 1;
                    stage.put_within(&tiles[t as usize].0, room, "tiles")?
                }
                Names::Partials => (given.home)(partials),
            };
            self.addresses.push(at);
        }
        self.words.extend(launches.words.iter().map(|word| match *word {
            Word::Elements(d) => given.count(d) as u32,
            Word::Tiles(t) => tiles[t as usize].0.len() as u32 - 1,
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
