//! Runs the launches of a schedule: what the runtime does on a device, with memory on the host.

use super::{Device, Failure};
use din_program::cuda::{Address, Cuda, Grid, Launches, Word};
use din_program::schedule::{BATCH, BufferId, Domain, ONCE, Place, Root, Schedule, Source};

/// What a schedule is run on. Pointers lead to memory that is known to the device.
pub struct Given<'a> {
    /// Samples, rows or elements.
    pub samples: usize,
    pub offsets: &'a [Vec<u32>],
    pub step: u64,
    pub place: &'a dyn Fn(Place) -> *mut f32,
    pub source: &'a dyn Fn(Source) -> *const u32,
}

/// Memory of a schedule, for one batch.
#[derive(Debug)]
pub struct Running {
    pub addresses: Vec<u64>,
    pub words: Vec<u32>,
    arena: Vec<Vec<f32>>,
    indices: Vec<Vec<u32>>,
    numbers: Vec<Vec<f32>>,
    partials: Vec<f32>,
    longest: Vec<u32>,
}

impl Running {
    /// Numbers of a result; the error says what was not written.
    pub fn result(
        &self,
        device: &Device,
        schedule: &Schedule,
        id: BufferId,
        elements: usize,
    ) -> Result<&[f32], Failure> {
        let buffer = &schedule.buffers[id.index()];
        let Place::Arena(slot) = buffer.place else { return Err(format!("buffer {} is no result", id.0)) };
        let numbers = &self.arena[slot.index()][..elements * buffer.width as usize];
        match device.unwritten(numbers) {
            0 => Ok(numbers),
            n => Err(format!("{n} numbers of result {} are not written", id.0)),
        }
    }

    pub fn address(&self, schedule: &Schedule, id: BufferId) -> *mut f32 {
        match schedule.buffers[id.index()].place {
            Place::Arena(slot) => self.arena[slot.index()].as_ptr().cast_mut(),
            _ => std::ptr::null_mut(),
        }
    }
}

/// Elements of a domain.
fn count(given: &Given<'_>, d: Domain) -> usize {
    match d {
        ONCE => 1,
        BATCH => given.samples,
        d => given.offsets[d.index() - 2].last().map_or(0, |&n| n as usize),
    }
}

/// The buffer of a root.
pub fn root_buffer(root: &Root) -> BufferId {
    match root {
        Root::Loss(buffer)
        | Root::Prediction { buffer, .. }
        | Root::Named { buffer, .. }
        | Root::State { buffer, .. }
        | Root::ParamGradient { buffer, .. } => *buffer,
        Root::RowGradient { view, .. } => view.buffer,
    }
}

/// Readies a schedule and launches it.
pub fn run(
    device: &Device,
    cuda: &Cuda,
    launches: &Launches,
    schedule: &Schedule,
    given: &Given<'_>,
    seed: u64,
) -> Result<Running, Failure> {
    let mut running = [ready(device, cuda, launches, schedule, given)];
    launch(device, cuda, launches, &mut running, seed)?;
    let [running] = running;
    Ok(running)
}

/// Memory and addresses of a batch.
pub fn ready(device: &Device, cuda: &Cuda, launches: &Launches, schedule: &Schedule, given: &Given<'_>) -> Running {
    let mut r = Running {
        addresses: Vec::new(),
        words: Vec::new(),
        arena: schedule.slots.iter().map(|s| vec![f32::NAN; s.width as usize * count(given, s.domain)]).collect(),
        indices: Vec::new(),
        numbers: Vec::new(),
        partials: vec![f32::NAN; launches.partial_floats as usize * cuda.chunks as usize],
        longest: Vec::new(),
    };
    for (k, slot) in r.arena.iter_mut().enumerate() {
        device.buffer(&format!("arena slot {k}"), slot, false);
    }
    device.buffer("partials", &mut r.partials, false);
    let mut tiles = Vec::new();
    for tiling in &launches.tilings {
        let (bounds, longest) = match tiling.domain {
            ONCE | BATCH => (vec![0], 0),
            d => tiling.cut(&given.offsets[d.index() - 2]),
        };
        tiles.push(bounds);
        r.longest.push(longest);
    }
    let numbers = |r: &mut Running, name: &str, mut values: Vec<f32>| {
        device.buffer(name, &mut values, true);
        r.numbers.push(values);
        r.numbers[r.numbers.len() - 1].as_ptr() as u64
    };
    let indices = |r: &mut Running, name: &str, mut values: Vec<u32>| {
        device.buffer(name, &mut values, true);
        r.indices.push(values);
        r.indices[r.indices.len() - 1].as_ptr() as u64
    };
    for address in &launches.addresses {
        let at = match *address {
            Address::Buffer(id) => match schedule.buffers[id.index()].place {
                Place::Arena(slot) => r.arena[slot.index()].as_ptr() as u64,
                Place::Length(d) => {
                    let lengths = given.offsets[d.index() - 2].windows(2).map(|w| (w[1] - w[0]) as f32).collect();
                    numbers(&mut r, "lengths", lengths)
                }
                Place::Count(d) => numbers(&mut r, "count", vec![count(given, d) as f32]),
                Place::Step => numbers(&mut r, "step", vec![given.step as f32]),
                place => (given.place)(place) as u64,
            },
            Address::Source(Source::Ancestor { of: d, .. }) => {
                let offsets = given.offsets[d.index() - 2].windows(2).enumerate();
                let parents = offsets.flat_map(|(s, w)| std::iter::repeat_n(s as u32, (w[1] - w[0]) as usize));
                indices(&mut r, "parents", parents.collect())
            }
            Address::Source(source) => (given.source)(source) as u64,
            Address::Offsets(d) => indices(&mut r, "offsets", given.offsets[d.index() - 2].clone()),
            Address::Tiles(t) => indices(&mut r, "tiles", tiles[t as usize].clone()),
            Address::Partials => r.partials.as_ptr() as u64,
        };
        r.addresses.push(at);
    }
    for word in &launches.words {
        r.words.push(match *word {
            Word::Elements(d) => count(given, d) as u32,
            Word::Tiles(t) => tiles[t as usize].len() as u32 - 1,
            Word::Longest(t) => r.longest[t as usize],
        });
    }
    r
}

/// Launches a schedule on some instances of it side by side, each on memory of its own.
pub fn launch(
    device: &Device,
    cuda: &Cuda,
    launches: &Launches,
    instances: &mut [Running],
    seed: u64,
) -> Result<(), Failure> {
    let addresses: Vec<u64> = instances.iter().flat_map(|r| r.addresses.iter().copied()).collect();
    let words: Vec<u32> = instances.iter().flat_map(|r| r.words.iter().copied()).collect();
    let count = instances.len();
    for (k, launch) in launches.launches.iter().enumerate() {
        let (blocks, longest) = match launch.grid {
            Grid::Tiles { tiling } => {
                let longest = instances.iter().map(|r| r.longest[tiling as usize]).max();
                (cuda.chunks, longest.unwrap_or(0))
            }
            Grid::Blocks(blocks) => (blocks, 0),
        };
        let mut scratch = vec![f32::NAN; count * launch.scratch_floats(cuda, launches, longest)];
        device.buffer("scratch", &mut scratch, false);
        device.launch(
            &launch.kernel,
            (blocks, count as u32),
            cuda.threads,
            launch.shared,
            &addresses,
            &words,
            &mut scratch,
            seed ^ (k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        )?;
    }
    Ok(())
}
