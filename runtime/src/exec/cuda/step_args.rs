//! What the host uploads for a step, all at once: the batch's columns, and for every schedule its
//! pointers and scalars (`din_program::cuda`).
//!
//! First the plan records what goes where, so that all sizes are known before a value is copied;
//! then each array is copied straight into the staging buffer (`upload_copy`).

use super::driver::DeviceError;
use super::memory::{BlockLayout, Plain, RelativePtr, SizeBuckets, words_of};
use super::upload_copy::{ArraySource, PlannedArray};
use crate::exec::common::{Layout, StepNumbers};
use din_program::cuda::{ALIGN, Cuda, Grid, Launches, PointerArg, ScalarArg, Tiling};
use din_program::dropout;
use din_program::schedule::{AxisId, AxisKind, BATCH, GLOBAL, KernelArg, Schedule, Storage};

/// What is in a step's only write.
#[derive(Debug, Default)]
pub(super) struct UploadPlan {
    pub layout: BlockLayout,
    /// In ascending order of where they are.
    pub(super) parts: Vec<PlannedArray>,
    /// What is in nobody else's hands: scalars, pointers, and the tiles of this step and of larger
    /// ones before it.
    pub(super) own: Vec<u32>,
    pub(super) pointers: Vec<RelativePtr>,
    pub(super) tiles: Vec<Vec<u32>>,
    tilings: usize,
}

impl UploadPlan {
    pub fn new(buckets: SizeBuckets) -> UploadPlan {
        UploadPlan { layout: BlockLayout::new(buckets), ..UploadPlan::default() }
    }

    pub fn clear(&mut self) {
        self.layout.clear();
        self.parts.clear();
        self.own.clear();
        self.pointers.clear();
        self.tilings = 0;
    }

    pub fn put<T: Plain>(&mut self, values: &[T], what: &'static str) -> Result<RelativePtr, DeviceError> {
        let (scalars, own) = (words_of(values), ArraySource::Own(self.own.len()));
        self.own.extend_from_slice(scalars);
        self.column(scalars.len(), own, what)
    }

    /// `count` numbers that are somewhere already.
    pub fn column(
        &mut self,
        count: usize,
        numbers: ArraySource,
        what: &'static str,
    ) -> Result<RelativePtr, DeviceError> {
        self.column_within(count, self.layout.buckets.room(count), numbers, what)
    }

    /// With room for `room` numbers.
    pub fn column_within(
        &mut self,
        count: usize,
        room: usize,
        numbers: ArraySource,
        what: &'static str,
    ) -> Result<RelativePtr, DeviceError> {
        let at = self.layout.within(count, room, what)?;
        if count > 0 {
            self.parts.push(PlannedArray { at: at / 4, count, numbers });
        }
        Ok(RelativePtr::Staged(at))
    }

    pub fn pointers(&mut self, pointers: &[RelativePtr]) -> Result<RelativePtr, DeviceError> {
        let (count, first) = (pointers.len() * 2, self.pointers.len());
        self.pointers.extend_from_slice(pointers);
        self.column_within(count, count, ArraySource::Pointers(first), "pointers")
    }

    /// Cuts a tiling.
    fn cut(&mut self, tiling: &Tiling, offsets: &[u32]) -> CutTiling {
        let k = self.tilings;
        if k == self.tiles.len() {
            self.tiles.push(Vec::new());
        }
        self.tilings += 1;
        CutTiling { bounds: Some(k), longest: tiling.cut_into(offsets, &mut self.tiles[k]) }
    }
}

/// First entries by sample or request; of the samples, by request; of a group, first members by its
/// elements.
pub(super) fn offsets(layout: &Layout, d: AxisId) -> &[u32] {
    match layout.axes.kind(d) {
        AxisKind::Batch { .. } => layout.requests(),
        AxisKind::Unique(_) => &layout.unique(d).begins,
        AxisKind::Sequence { .. }
        | AxisKind::Fixed { .. }
        | AxisKind::Second { .. }
        | AxisKind::Steps { .. }
        | AxisKind::Pairs { .. }
        | AxisKind::Global
        | AxisKind::Request => layout.offsets(d),
    }
}

pub(super) fn members(layout: &Layout, d: AxisId) -> &[u32] {
    &layout.unique(d).members
}

/// What an instance of a schedule is run on.
pub(super) struct InstanceArgs<'a> {
    /// Samples, rows or elements.
    pub samples: usize,
    /// How many of them get room.
    pub room: usize,
    /// Where the elements of the axes lie; updates have samples alone.
    pub layout: Option<&'a Layout>,
    /// Elements by axis of the global batch, where other ranks have some of them.
    pub global_counts: Option<&'a [u32]>,
    /// Where the device writes the number of samples, if it finds it: that of a table's rows.
    pub row_count: Option<RelativePtr>,
    pub numbers: StepNumbers,
    /// Where offsets into the space of its buffers lead.
    pub home: &'a dyn Fn(usize) -> RelativePtr,
    pub place: &'a dyn Fn(Storage) -> Result<RelativePtr, DeviceError>,
    pub source: &'a dyn Fn(KernelArg) -> Result<RelativePtr, DeviceError>,
}

/// A schedule with its launches.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScheduleRef<'a> {
    pub cuda: &'a Cuda,
    pub launches: &'a Launches,
    pub schedule: &'a Schedule,
}

impl<'a> InstanceArgs<'a> {
    /// The elements of the batch's axes.
    ///
    /// # Errors
    /// In an update, which has rows alone.
    fn layout(&self, d: AxisId) -> Result<&'a Layout, DeviceError> {
        self.layout.ok_or_else(|| DeviceError::Program(format!("an update asks for axis {}", d.0)))
    }

    fn offsets(&self, d: AxisId) -> Result<&'a [u32], DeviceError> {
        Ok(offsets(self.layout(d)?, d))
    }

    /// Elements of an axis.
    pub fn count(&self, d: AxisId) -> Result<usize, DeviceError> {
        match d {
            GLOBAL => Ok(1),
            BATCH => Ok(self.samples),
            d => Ok(self.layout(d)?.count(d)),
        }
    }

    /// The same of the global batch.
    fn global_count(&self, d: AxisId) -> Result<usize, DeviceError> {
        match self.global_counts {
            Some(counts) => Ok(counts[d.index()] as usize),
            None => self.count(d),
        }
    }

    /// How many of what `offsets` are by get room.
    fn owners_room(&self, d: AxisId, buckets: SizeBuckets) -> Result<usize, DeviceError> {
        let axes = &self.layout(d)?.axes;
        let owner = match axes.kind(d) {
            AxisKind::Unique(_) => Some(d),
            AxisKind::Batch { request } => *request,
            AxisKind::Global
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => axes.parent(d),
        };
        owner.map_or(Ok(self.room), |owner| self.room(owner, buckets))
    }

    /// How many elements of an axis get room.
    fn room(&self, d: AxisId, buckets: SizeBuckets) -> Result<usize, DeviceError> {
        match d {
            GLOBAL => Ok(1),
            BATCH => Ok(self.room),
            d => Ok(buckets.room(self.count(d)?)),
        }
    }
}

/// A schedule asks for what it has no pointer to.
pub(super) fn no_pointer(what: impl std::fmt::Debug) -> DeviceError {
    DeviceError::Program(format!("a schedule asks for a pointer to {what:?}"))
}

/// Instances of a schedule, side by side.
#[derive(Debug, Default)]
pub(super) struct Instances {
    pointers: Vec<RelativePtr>,
    scalars: Vec<u32>,
    count: u32,
    /// By tiling.
    tiles: Vec<LongestTile>,
}

/// What the scratch of a launch is found by: [`ScalarArg::Longest`] of the instance with the
/// longest tile, and how many blocks have tiles.
#[derive(Clone, Copy, Debug, Default)]
struct LongestTile {
    entries: u32,
    blocks: u32,
}

/// A schedule that can be launched.
#[derive(Debug)]
pub(super) struct StagedSchedule {
    pub pointers: RelativePtr,
    pub scalars: RelativePtr,
    pub instances: u32,
    tiles: Vec<LongestTile>,
}

/// A tiling of an instance whose tiles have entries: its bounds among the plan's tiles, if it is
/// cut, and the entries of its longest tile.
#[derive(Clone, Copy, Debug)]
struct CutTiling {
    bounds: Option<usize>,
    longest: u32,
}

/// What the pointers and scalars of an instance are found by.
struct InstanceParts {
    /// By arena slot.
    slots: Vec<RelativePtr>,
    partials: RelativePtr,
    /// By tiling; of those of so many elements nothing is uploaded.
    tilings: Vec<Option<CutTiling>>,
}

impl InstanceParts {
    fn tiling(&self, t: u32) -> Result<CutTiling, DeviceError> {
        let tiling = self.tilings.get(t as usize).copied().flatten();
        tiling.ok_or_else(|| DeviceError::Program(format!("tiling {t} is not cut")))
    }

    fn bounds(&self, t: u32) -> Result<usize, DeviceError> {
        let bounds = self.tiling(t)?.bounds;
        bounds.ok_or_else(|| DeviceError::Program(format!("tiling {t} has no bounds")))
    }
}

impl Instances {
    /// Adds one: its buffers get room in `layout`, its data is staged. Gives its arena slots.
    pub fn add(
        &mut self,
        plan: &mut UploadPlan,
        layout: &mut BlockLayout,
        of: ScheduleRef<'_>,
        args: &InstanceArgs<'_>,
    ) -> Result<Vec<RelativePtr>, DeviceError> {
        let parts = self.lay_out(plan, layout, of, args)?;
        for pointer in &of.launches.pointers {
            let at = stage_pointer(plan, of, args, &parts, layout.buckets, *pointer)?;
            self.pointers.push(at);
        }
        for scalar in &of.launches.scalars {
            self.scalars.push(match *scalar {
                ScalarArg::Elements(d) => args.count(d)? as u32,
                ScalarArg::Tiles(t) => plan.tiles[parts.bounds(t)?].len() as u32 - 1,
                ScalarArg::Longest(t) => parts.tiling(t)?.longest,
            });
        }
        self.count += 1;
        Ok(parts.slots)
    }

    /// Gives the instance's buffers their places and cuts its tilings.
    fn lay_out(
        &mut self,
        plan: &mut UploadPlan,
        layout: &mut BlockLayout,
        ScheduleRef { cuda, launches, schedule }: ScheduleRef<'_>,
        args: &InstanceArgs<'_>,
    ) -> Result<InstanceParts, DeviceError> {
        let mut slots = Vec::with_capacity(schedule.slots.len());
        for slot in &schedule.slots {
            let (count, room) = (args.count(slot.axis)?, args.room(slot.axis, layout.buckets)?);
            slots.push((args.home)(layout.matrix(count, room, slot.width, "buffers of a step")?));
        }
        let chunks = cuda.chunks as usize;
        let partials = (args.home)(layout.matrix(chunks, chunks, launches.partial_floats, "partial sums")?);
        let mut tilings = Vec::with_capacity(launches.tilings.len());
        self.tiles.resize(launches.tilings.len(), LongestTile::default());
        for (tiling, most) in launches.tilings.iter().zip(&mut self.tiles) {
            let steps = schedule.axes.steps_of(tiling.axis).is_some();
            if tiling.entries == 0 && !steps {
                most.blocks = cuda.chunks;
                tilings.push(None);
                continue;
            }
            let (cut, blocks) = if steps {
                let order = args.layout(tiling.axis)?.steps(tiling.axis);
                let longest = order.longest().next_multiple_of(ALIGN);
                let tiles = order.leaves().len() as u32 - 1;
                (CutTiling { bounds: None, longest }, tiles.min(cuda.chunks))
            } else {
                (plan.cut(tiling, args.offsets(tiling.axis)?), cuda.chunks)
            };
            most.entries = cut.longest.max(most.entries);
            most.blocks = blocks.max(most.blocks);
            tilings.push(Some(cut));
        }
        Ok(InstanceParts { slots, partials, tilings })
    }

    /// Stages the pointers and scalars. Behind the scalars stands one more per instance, for the
    /// number of rows that no scalar asks for.
    pub fn stage(mut self, plan: &mut UploadPlan) -> Result<StagedSchedule, DeviceError> {
        self.scalars.extend((0..self.count.max(1)).map(|_| 0));
        Ok(StagedSchedule {
            pointers: plan.pointers(&self.pointers)?,
            scalars: plan.put(&self.scalars, "scalars")?,
            instances: self.count,
            tiles: self.tiles,
        })
    }
}

/// Stages what a pointer leads to, unless it is on the device already.
fn stage_pointer(
    plan: &mut UploadPlan,
    ScheduleRef { launches, schedule, .. }: ScheduleRef<'_>,
    args: &InstanceArgs<'_>,
    parts: &InstanceParts,
    buckets: SizeBuckets,
    pointer: PointerArg,
) -> Result<RelativePtr, DeviceError> {
    match pointer {
        PointerArg::Buffer(id) => match schedule.buffers[id.index()].place {
            Storage::Arena(slot) => Ok(parts.slots[slot.index()]),
            Storage::Length(d) => {
                let count = args.offsets(d)?.len().saturating_sub(1);
                plan.column(count, ArraySource::Lengths(d), "lengths")
            }
            Storage::Position(d) => plan.column(args.layout(d)?.count(d), ArraySource::ListPositions(d), "positions"),
            Storage::SampleNumber(d) => {
                plan.column(args.layout(d)?.count(d), ArraySource::SampleNumbers(d), "numbers of samples")
            }
            Storage::Components(width) => plan.column(width as usize, ArraySource::Components, "components"),
            Storage::DropoutKey(site) => {
                plan.put(&dropout::key(args.numbers.seed, site, args.numbers.step), "dropout key")
            }
            Storage::Count(d) => match args.row_count.filter(|_| d == BATCH) {
                Some(count) => Ok(count),
                None => plan.put(&[args.global_count(d)? as f32], "count"),
            },
            Storage::Step => plan.put(&[args.numbers.step as f32], "step"),
            Storage::Epoch => plan.put(&[args.numbers.epoch as f32], "epoch"),
            place => (args.place)(place),
        },
        PointerArg::Argument(KernelArg::Ancestor { of, to }) => {
            plan.column(args.layout(of)?.count(of), ArraySource::Above { of, to }, "parents")
        }
        PointerArg::Argument(source) => (args.source)(source),
        PointerArg::Offsets(d) => {
            let room = args.owners_room(d, buckets)? + 1;
            plan.column_within(args.offsets(d)?.len(), room, ArraySource::Offsets(d), "offsets")
        }
        PointerArg::Members(d) => plan.column(members(args.layout(d)?, d).len(), ArraySource::Members(d), "members"),
        PointerArg::Tiles(t) => {
            // At most one tile per sample, or per request.
            let room = args.owners_room(launches.tilings[t as usize].axis, buckets)? + 1;
            let bounds = parts.bounds(t)?;
            plan.column_within(plan.tiles[bounds].len(), room, ArraySource::Tiles(bounds), "tiles")
        }
        PointerArg::Steps(d) => plan.column(args.layout(d)?.steps(d).begins().len(), ArraySource::Steps(d), "steps"),
        PointerArg::StepTiles(d) => {
            plan.column(args.layout(d)?.steps(d).leaves().len(), ArraySource::StepTiles(d), "first steps")
        }
        PointerArg::Partials => Ok(parts.partials),
    }
}

impl StagedSchedule {
    /// Values of scratch that one launch needs.
    pub fn scratch(&self, cuda: &Cuda, launches: &Launches, launch: &din_program::cuda::Launch) -> usize {
        match launch.grid {
            Grid::Tiles { tiling } => {
                let LongestTile { entries, blocks } = self.tiles[tiling as usize];
                // An instance has its room behind that of all blocks of the one before.
                let blocks = if self.instances > 1 { cuda.chunks } else { blocks };
                (self.instances as usize).saturating_mul(launch.scratch_floats(launches, entries, blocks))
            }
            Grid::Blocks(_) => 0,
        }
    }

    /// The most that any of its launches needs; 0 where there are none.
    pub fn most_scratch(&self, cuda: &Cuda, launches: &Launches) -> usize {
        launches.launches.iter().map(|l| self.scratch(cuda, launches, l)).max().unwrap_or(0)
    }
}
