//! A step as a list of commands: its launches and copies in order, as plain data that says
//! everything a device does except for the contents of memory. Batches whose sizes fall into the
//! same buckets give the same list, which a driver may then replay.

use super::driver::{Command, DeviceArray, DevicePtr, Driver, KernelLaunch};
use super::memory::{BlockBases, BlockLayout, DeviceBlock};
use super::step_args::StagedSchedule;
use din_program::cuda::{Cuda, Grid, Launches};

/// The kernels of a schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScheduleKernels<'a> {
    pub cuda: &'a Cuda,
    pub launches: &'a Launches,
    /// For kernels without a line of their own.
    pub location: &'a str,
}

impl<'a> ScheduleKernels<'a> {
    /// The same for what is asked for there.
    pub fn at(self, location: &'a str) -> ScheduleKernels<'a> {
        ScheduleKernels { location, ..self }
    }
}

/// A list that grows; its blocks have their memory already.
#[derive(Debug)]
pub(super) struct CommandList<'a> {
    commands: Vec<Command<'a>>,
    bases: BlockBases,
    /// Scratch of all launches, one after the other, and its bytes.
    scratch: (DevicePtr, usize),
    /// Whether the driver wants to know of arrays.
    checks: bool,
    /// Whether what is added now goes to the side stream.
    side_stream: bool,
}

impl<'a> CommandList<'a> {
    /// An empty list in the memory of an old one.
    pub fn new<D: Driver>(mut old: Vec<Command<'static>>, bases: BlockBases, scratch: &DeviceBlock) -> CommandList<'a> {
        old.clear();
        CommandList {
            commands: old,
            bases,
            scratch: (scratch.at, scratch.capacity()),
            checks: D::CHECKS,
            side_stream: false,
        }
    }

    pub fn bases(&self) -> &BlockBases {
        &self.bases
    }

    pub fn launch(&mut self, launch: KernelLaunch<'a>) {
        self.commands.push(Command::Launch(KernelLaunch { side_stream: self.side_stream, ..launch }));
    }

    pub fn copy(&mut self, from: DevicePtr, to: DevicePtr, bytes: usize) {
        self.commands.push(Command::Copy { from, to, bytes, side_stream: self.side_stream });
    }

    /// What is added now runs on the side stream, concurrently with what is added after `on` is
    /// false again, until both streams join.
    pub fn set_side_stream(&mut self, on: bool) {
        self.side_stream = on;
    }

    /// What follows waits for the side stream.
    pub fn join(&mut self) {
        self.side_stream = false;
        self.commands.push(Command::Join);
    }

    /// From here on a block has these arrays, none of them written.
    pub fn arrays(&mut self, space: &BlockLayout, block: DevicePtr) {
        if self.checks {
            self.told(block, space.bytes, space.arrays(block, false));
        }
    }

    fn told(&mut self, block: DevicePtr, bytes: usize, arrays: Vec<DeviceArray>) {
        if bytes > 0 {
            self.commands.push(Command::Arrays { block, bytes, arrays });
        }
    }

    /// The launches of a schedule whose data is on the device.
    pub fn schedule(&mut self, kernels: &ScheduleKernels<'a>, ready: &StagedSchedule) {
        self.launches(kernels, ready, &kernels.launches.launches);
    }

    /// Some of them, by position.
    pub fn part(&mut self, kernels: &ScheduleKernels<'a>, ready: &StagedSchedule, launches: std::ops::Range<usize>) {
        self.launches(kernels, ready, &kernels.launches.launches[launches]);
    }

    /// Those that come before the first over tiles: of an update they read what the step begins
    /// with, no gradient.
    pub fn leading(&mut self, kernels: &ScheduleKernels<'a>, ready: &StagedSchedule) {
        self.launches(kernels, ready, &kernels.launches.launches[..leading(kernels.launches)]);
    }

    /// The others.
    pub fn rest(&mut self, kernels: &ScheduleKernels<'a>, ready: &StagedSchedule) {
        self.launches(kernels, ready, &kernels.launches.launches[leading(kernels.launches)..]);
    }

    fn launches(
        &mut self,
        kernels: &ScheduleKernels<'a>,
        ready: &StagedSchedule,
        launches: &'a [din_program::cuda::Launch],
    ) {
        let (at, capacity) = self.scratch;
        for launch in launches {
            if self.checks {
                let bytes = ready.scratch(kernels.cuda, kernels.launches, launch) * 4;
                let scratch = DeviceArray { at, bytes, what: "scratch", written: false };
                self.told(at, capacity, if bytes > 0 { vec![scratch] } else { Vec::new() });
            }
            let blocks = match launch.grid {
                Grid::Tiles { .. } => kernels.cuda.chunks,
                Grid::Blocks(blocks) => blocks,
            };
            self.launch(KernelLaunch {
                kernel: &launch.kernel,
                location: &launch.location,
                grid: (blocks, ready.instances),
                threads: kernels.cuda.threads,
                shared: launch.shared,
                pointers: self.bases.resolve(ready.pointers),
                scalars: self.bases.resolve(ready.scalars),
                // Whether a batch needs it is no part of the list.
                scratch: at,
                side_stream: false,
            });
        }
    }

    /// Has the driver do it; gives the memory back for the next list.
    pub fn run<D: Driver>(self, driver: &mut D) -> (Vec<Command<'static>>, Result<(), super::DeviceError>) {
        let done = driver.run(&self.commands);
        // The same memory, of commands that live longer: there are none.
        (self.commands.into_iter().map_while(|_| None).collect(), done)
    }
}

fn leading(launches: &Launches) -> usize {
    launches.launches.iter().take_while(|l| matches!(l.grid, Grid::Blocks(_))).count()
}
