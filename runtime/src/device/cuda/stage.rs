//! What the host writes for a step, all at once: the batch's columns, and for every schedule its addresses and words
//! (`din_program::cuda`).

use super::driver::DeviceError;
use super::memory::{At, Bases, Buckets, Plain, Space, bytes_of};
use din_program::cuda::{Address as Names, Cuda, Grid, Launches, Word};
use din_program::schedule::{BATCH, Domain, ONCE, Place, Schedule, Source};

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
    /// By sequence.
    pub offsets: &'a [Vec<u32>],
    /// Number of the step, from 1.
    pub step: u64,
    /// Where offsets into the space of its buffers lead.
    pub home: fn(usize) -> At,
    pub place: &'a dyn Fn(Place) -> At,
    pub source: &'a dyn Fn(Source) -> At,
}

impl Given<'_> {
    fn offsets(&self, d: Domain) -> &[u32] {
        d.index().checked_sub(2).and_then(|s| self.offsets.get(s)).map_or(&[], Vec::as_slice)
    }

    /// Elements of a domain.
    pub fn count(&self, d: Domain) -> usize {
        match d {
            ONCE => 1,
            BATCH => self.samples,
            d => self.offsets(d).last().map_or(0, |&n| n as usize),
        }
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
            let (bounds, longest) = match tiling.domain {
                ONCE | BATCH => (vec![0], 0),
                d => tiling.cut(given.offsets(d)),
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
                        let lengths = given.offsets(d).windows(2).map(|w| (w[1] - w[0]) as f32);
                        stage.fill(lengths, given.samples, "lengths")?
                    }
                    Place::Count(d) => stage.put(&[given.count(d) as f32], "count")?,
                    Place::Step => stage.put(&[given.step as f32], "step")?,
                    place => (given.place)(place),
                },
                Names::Source(Source::Ancestor { of: d, .. }) => {
                    let lists = given.offsets(d).windows(2).enumerate();
                    let parents = lists.flat_map(|(s, w)| std::iter::repeat_n(s as u32, (w[1] - w[0]) as usize));
                    stage.fill(parents, given.count(d), "parents")?
                }
                Names::Source(source) => (given.source)(source),
                Names::Offsets(d) => stage.put_within(given.offsets(d), given.room + 1, "offsets")?,
                Names::Tiles(t) => {
                    // At most one a sample.
                    stage.put_within(&tiles[t as usize].0, given.room + 1, "tiles")?
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

    /// Stages the addresses and words; behind the words stands one more, for who counts what no word asks for.
    pub fn ready(mut self, stage: &mut Stage) -> Result<Ready, DeviceError> {
        self.words.push(0);
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
