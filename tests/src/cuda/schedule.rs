//! Runs the launches of a schedule: what the runtime does on a device, with memory on the host.

use super::{Device, Failure};
use din_compiler::graph::{DomainId, Graph, ONCE};
use din_compiler::interpret::Sizes;
use din_program::cuda::{Address, Cuda, Grid, Launches, Word};
use din_program::schedule::{BufferId, Domain, Place, Root, Schedule, Source};

/// What a schedule is run on. Pointers lead to memory that is known to the device.
pub struct Given<'a> {
    pub graph: &'a Graph,
    /// The interpreter's: how many elements there are, and which lies above which.
    pub sizes: &'a Sizes,
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

impl Given<'_> {
    /// Of each element of `of`, the one of `to` above it.
    fn above(&self, of: Domain, to: Domain) -> Vec<u32> {
        let [from, above] = [of, to].map(|d| DomainId(d.0));
        (0..self.sizes.count(from)).map(|i| self.sizes.ancestor(from, above, i) as u32).collect()
    }

    /// Elements of a domain.
    pub fn count(&self, d: Domain) -> usize {
        self.sizes.count(DomainId(d.0))
    }

    /// What `d` lies under: what it is cut by, or for a group what it joins, and which of them owns which.
    fn owned(&self, d: Domain) -> (Domain, Domain) {
        let domain = self.graph.domain(DomainId(d.0));
        match (&domain.group, domain.parent, self.graph.request()) {
            (Some(group), ..) => (Domain(group.over.0), d),
            (None, Some(ONCE), Some(request)) => (d, Domain(request.0)),
            (None, parent, _) => (d, Domain(parent.unwrap_or(ONCE).0)),
        }
    }

    fn offsets(&self, d: Domain) -> Vec<u32> {
        let (of, owner) = self.owned(d);
        let up = self.above(of, owner);
        (0..=self.count(owner) as u32).map(|s| up.iter().filter(|&&of| of < s).count() as u32).collect()
    }

    /// What the elements of a group stand for, by element.
    fn members(&self, group: Domain) -> Vec<u32> {
        let (over, _) = self.owned(group);
        let up = self.above(over, group);
        let mut all: Vec<u32> = (0..up.len() as u32).collect();
        all.sort_by_key(|&i| up[i as usize]);
        all
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
        arena: schedule.slots.iter().map(|s| vec![f32::NAN; s.width as usize * given.count(s.domain)]).collect(),
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
        let (bounds, longest) = match tiling.entries {
            0 => (vec![0], 0),
            _ => tiling.cut(&given.offsets(tiling.domain)),
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
                    let lengths = given.offsets(d).windows(2).map(|w| (w[1] - w[0]) as f32).collect();
                    numbers(&mut r, "lengths", lengths)
                }
                Place::Count(d) => numbers(&mut r, "count", vec![given.count(d) as f32]),
                Place::Step => numbers(&mut r, "step", vec![given.step as f32]),
                place => (given.place)(place) as u64,
            },
            Address::Source(Source::Ancestor { of, to }) => indices(&mut r, "parents", given.above(of, to)),
            Address::Source(source) => (given.source)(source) as u64,
            Address::Offsets(d) => indices(&mut r, "offsets", given.offsets(d)),
            Address::Members(d) => indices(&mut r, "members", given.members(d)),
            Address::Tiles(t) => indices(&mut r, "tiles", tiles[t as usize].clone()),
            Address::Partials => r.partials.as_ptr() as u64,
        };
        r.addresses.push(at);
    }
    for word in &launches.words {
        r.words.push(match *word {
            Word::Elements(d) => given.count(d) as u32,
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
