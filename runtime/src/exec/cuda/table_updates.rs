//! The updates of a step's tables: the row gradients of all of them are sorted and summed by row in the same launches (`din_rows_*`, see
//! `din_program::cuda`), then each update program runs over the rows of all tables that it is for.

use super::DeviceError;
use super::command_list::{CommandList, ScheduleKernels};
use super::device_model::DeviceTable;
use super::driver::{Driver, KernelLaunch};
use super::memory::{BlockBases, BlockLayout, NULL, RelativePtr, bytes_of_mut};
use super::step_args::{InstanceArgs, Instances, StagedSchedule, UploadPlan};
use din_program::Update;
use din_program::cuda::{
    Cuda, FeaturePointer, FeatureScalar, Launches, RowsLaunch, RowsPointer, RowsTable, ScalarArg, TablePointer,
    TableScalar, plan_rows,
};
use din_program::schedule::{BATCH, KernelArg, Storage};
use din_program::schema::{self, UpdateRule};

/// One feature of a table in a batch: row numbers, where the rows are ([`NULL`] where that is their number), the first gradient (`NULL` where none
/// flows) and the numbers from one to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeatureRows {
    pub rows: RelativePtr,
    pub places: RelativePtr,
    pub elements: usize,
    pub gradient: RelativePtr,
    pub stride: u32,
}

/// A table and what the batch reads of it.
pub(super) struct TableLookups<'a> {
    /// Its number.
    pub table: usize,
    pub spec: &'a schema::Table,
    pub held: &'a DeviceTable,
    pub features: Vec<FeatureRows>,
}

/// What the tables' updates are made from.
pub(super) struct UpdateInputs<'a> {
    pub cuda: &'a Cuda,
    pub updates: &'a [Update],
    /// The launches of an update.
    pub launches: &'a dyn Fn(usize) -> &'a Launches,
    pub step: u64,
}

/// A table that is updated.
#[derive(Debug)]
pub(super) struct UpdatedTable {
    /// Its number, and that of its update.
    pub table: usize,
    pub update: usize,
    /// Row numbers that are sorted.
    pub occurrences: usize,
    /// The word that says how many rows there are; the device writes it.
    elements: RelativePtr,
}

/// An update program over all tables that it is for.
#[derive(Debug)]
pub(super) struct TableUpdateProgram {
    pub update: usize,
    pub ready: StagedSchedule,
    /// The first of the tables.
    pub table: usize,
}

/// The updates with their data staged.
#[derive(Debug, Default)]
pub(super) struct TableUpdates {
    pub tables: Vec<UpdatedTable>,
    pub programs: Vec<TableUpdateProgram>,
    space: BlockLayout,
    /// With the scalars of each.
    launches: Vec<(RowsLaunch, RelativePtr)>,
    /// As they are and with the roles of the two pairs changed.
    pointers: [Option<RelativePtr>; 2],
}

/// The arrays of one table that its update and the kernels before it share.
struct Arrays {
    gradient: RelativePtr,
    touched: RelativePtr,
    index: RelativePtr,
    begins: RelativePtr,
    pieces: RelativePtr,
    sums: [RelativePtr; 2],
    most: usize,
    room: usize,
}

impl Arrays {
    fn new(space: &mut BlockLayout, w: &TableLookups<'_>, of: &RowsTable) -> Result<Arrays, DeviceError> {
        let (total, total_room) = (of.total as usize, of.room as usize);
        let (most, room) = if of.every { (w.held.rows, space.buckets.room(w.held.rows)) } else { (total, total_room) };
        let (pieces, pieces_room) = (total.div_ceil(of.piece() as usize), of.pieces() as usize);
        Ok(Arrays {
            gradient: RelativePtr::Work(space.matrix(most, room, of.width, "row gradients")?),
            touched: RelativePtr::Work(space.within(most, room, "touched")?),
            index: RelativePtr::Work(space.within(most, room, "row index")?),
            begins: RelativePtr::Work(space.within(most + 1, room + 1, "beginnings of rows")?),
            pieces: RelativePtr::Work(space.within(pieces, pieces_room, "rows before pieces")?),
            sums: [
                RelativePtr::Work(space.matrix(pieces, pieces_room, of.width, "first sums of pieces")?),
                RelativePtr::Work(space.matrix(pieces, pieces_room, of.width, "last sums of pieces")?),
            ],
            most,
            room,
        })
    }
}

impl TableUpdates {
    /// Those of the tables of which the batch reads rows, or all of whose rows are updated.
    pub fn new(
        stage: &mut UploadPlan,
        made: &UpdateInputs<'_>,
        wanted: &[TableLookups<'_>],
    ) -> Result<TableUpdates, DeviceError> {
        let buckets = stage.space.buckets;
        let mut space = BlockLayout::new(buckets);
        let (mut tables, mut of_tables) = (Vec::new(), Vec::new());
        let mut all = 0usize;
        for w in wanted {
            let total: usize = w.features.iter().map(|f| f.elements).sum();
            // No bounds of its own: a sum has those of what it sums.
            let room: usize = w.features.iter().map(|f| buckets.room(f.elements)).sum();
            if total == 0 && w.spec.update_rule == UpdateRule::Sparse {
                continue;
            }
            all = all.saturating_add(room);
            if all >= u32::MAX as usize {
                let why =
                    format!("the batch reads tables up to `{}` {all} times, expected fewer than 2^32 - 1", w.spec.name);
                return Err(DeviceError::Input(why));
            }
            let (rows, width, every) = (w.held.rows as u32, w.spec.width, w.spec.update_rule == UpdateRule::Dense);
            of_tables.push(RowsTable { total: total as u32, room: room as u32, rows, width, every });
            tables.push(w);
        }
        if tables.is_empty() {
            return Ok(TableUpdates::default());
        }
        let plan = plan_rows(made.cuda, &of_tables);
        let total = of_tables.iter().map(|t| t.total as usize).sum();
        let mut sorting = [NULL; 4];
        for at in &mut sorting {
            *at = RelativePtr::Work(space.within(total, all, "occurrences")?);
        }
        let counts = RelativePtr::Work(space.exact(plan.counts, "counts of digits")?);
        let arrays = tables.iter().zip(&of_tables).map(|(w, of)| Arrays::new(&mut space, w, of));
        let arrays = arrays.collect::<Result<Vec<Arrays>, _>>()?;
        let mut elements = vec![NULL; tables.len()];
        let programs = programs(stage, &mut space, made, (&tables, &arrays), &mut elements)?;

        let mut pointers = vec![NULL; RowsPointer::Tables as usize];
        for (name, at) in [
            (RowsPointer::Keys, sorting[0]),
            (RowsPointer::Places, sorting[1]),
            (RowsPointer::OtherKeys, sorting[2]),
            (RowsPointer::OtherPlaces, sorting[3]),
            (RowsPointer::Counts, counts),
        ] {
            pointers[name as usize] = at;
        }
        for ((w, a), elements) in tables.iter().zip(&arrays).zip(&elements) {
            let mut own = [NULL; TablePointer::COUNT];
            for (name, at) in [
                (TablePointer::Rows, a.index),
                (TablePointer::Begins, a.begins),
                (TablePointer::Pieces, a.pieces),
                (TablePointer::Gradient, a.gradient),
                (TablePointer::FirstSums, a.sums[0]),
                (TablePointer::LastSums, a.sums[1]),
                (TablePointer::InBatch, a.touched),
                (TablePointer::UpdateCount, RelativePtr::Fixed(w.held.touches.at)),
                (TablePointer::Elements, *elements),
            ] {
                own[name as usize] = at;
            }
            pointers.extend(own);
        }
        let mut scalars = vec![tables.len() as u32];
        let mut first = 0;
        for (w, mut own) in tables.iter().zip(plan.tables) {
            own[TableScalar::FirstFeature as usize] = first;
            own[TableScalar::Features as usize] = w.features.len() as u32;
            first += w.features.len() as u32;
            scalars.extend(own);
        }
        for w in &tables {
            let mut before = 0;
            for f in &w.features {
                let mut own = [NULL; FeaturePointer::COUNT];
                own[FeaturePointer::Rows as usize] = f.rows;
                own[FeaturePointer::Gradient as usize] = f.gradient;
                own[FeaturePointer::Places as usize] = f.places;
                pointers.extend(own);
                let mut of = [0; FeatureScalar::COUNT];
                of[FeatureScalar::Before as usize] = before;
                of[FeatureScalar::Stride as usize] = f.stride;
                scalars.extend(of);
                before += f.elements as u32;
            }
        }
        pointers[RowsPointer::Scalars as usize] = stage.put(&scalars, "scalars of row gradients")?;
        let as_they_are = stage.pointers(&pointers)?;
        pointers.swap(RowsPointer::Keys as usize, RowsPointer::OtherKeys as usize);
        pointers.swap(RowsPointer::Places as usize, RowsPointer::OtherPlaces as usize);
        let changed = stage.pointers(&pointers)?;
        // The only word of a launch.
        let shifts: Vec<u32> = plan.launches.iter().map(|l| l.shift).collect();
        let shifts = stage.put(&shifts, "scalars of row gradients")?;
        let launches = plan.launches.into_iter().enumerate().map(|(k, l)| (l, shifts.plus(4 * k))).collect();
        let updated = tables.iter().zip(&of_tables).zip(elements).map(|((w, of), elements)| UpdatedTable {
            table: w.table,
            update: w.spec.update as usize,
            occurrences: of.total as usize,
            elements,
        });
        let tables = updated.collect();
        Ok(TableUpdates { tables, programs, space, launches, pointers: [Some(as_they_are), Some(changed)] })
    }

    /// ScheduleKernels that ready the gradients, once each.
    pub fn kernels(&self) -> Vec<&'static str> {
        let mut all: Vec<&'static str> = Vec::new();
        for (launch, _) in &self.launches {
            if !all.contains(&launch.kernel) {
                all.push(launch.kernel);
            }
        }
        all
    }

    /// Bytes of the work space.
    pub fn bytes(&self) -> usize {
        self.space.bytes
    }

    /// What needs no gradient. `kernels` gives those of an update, with where the table is that asks for it.
    pub fn list_leading<'a>(
        &self,
        list: &mut CommandList<'a>,
        kernels: &dyn Fn(&TableUpdateProgram) -> ScheduleKernels<'a>,
    ) {
        list.arrays(&self.space, list.bases().work);
        self.list_rows(list, kernels, false);
        for program in &self.programs {
            list.leading(&kernels(program), &program.ready);
        }
    }

    /// The sums, and the updates.
    pub fn list<'a>(&self, list: &mut CommandList<'a>, kernels: &dyn Fn(&TableUpdateProgram) -> ScheduleKernels<'a>) {
        self.list_rows(list, kernels, true);
        for program in &self.programs {
            list.rest(&kernels(program), &program.ready);
        }
    }

    fn list_rows<'a>(
        &self,
        list: &mut CommandList<'a>,
        kernels: &dyn Fn(&TableUpdateProgram) -> ScheduleKernels<'a>,
        sums: bool,
    ) {
        let Some(first) = self.programs.first().map(kernels) else { return };
        let bases = *list.bases();
        for (launch, scalars) in self.launches.iter().filter(|(l, _)| l.sums == sums) {
            list.launch(KernelLaunch {
                kernel: launch.kernel,
                location: first.location,
                grid: (launch.blocks, 1),
                threads: first.cuda.threads,
                shared: launch.shared,
                pointers: bases.resolve(self.pointers[usize::from(launch.swapped)].unwrap_or(NULL)),
                scalars: bases.resolve(*scalars),
                scratch: 0,
                side_stream: false,
            });
        }
    }
}

impl UpdatedTable {
    /// Rows that were updated, once it ran.
    pub fn distinct<D: Driver>(&self, driver: &mut D, bases: &BlockBases) -> Result<usize, DeviceError> {
        let mut found = [0u32];
        driver.read(bases.resolve(self.elements), bytes_of_mut(&mut found))?;
        Ok(found[0] as usize)
    }
}

/// The update programs, each with an instance for each of its tables; and by table the word that says how many rows it has.
fn programs(
    stage: &mut UploadPlan,
    space: &mut BlockLayout,
    made: &UpdateInputs<'_>,
    (tables, arrays): (&[&TableLookups<'_>], &[Arrays]),
    elements: &mut [RelativePtr],
) -> Result<Vec<TableUpdateProgram>, DeviceError> {
    let mut programs: Vec<TableUpdateProgram> = Vec::new();
    for (k, w) in tables.iter().enumerate() {
        let update = w.spec.update as usize;
        if programs.iter().any(|p| p.update == update) {
            continue;
        }
        let launches = (made.launches)(update);
        let mut instances = Instances::default();
        let mut of = Vec::new();
        for (at, (w, a)) in tables.iter().zip(arrays).enumerate().skip(k) {
            if w.spec.update as usize != update {
                continue;
            }
            let held = w.held;
            let place = |place: Storage| match place {
                Storage::Weight => RelativePtr::Fixed(held.weights.at),
                Storage::Gradient => a.gradient,
                Storage::InBatch => a.touched,
                Storage::UpdateSlot(k) => held.slots.get(k as usize).map_or(NULL, |b| RelativePtr::Fixed(b.at)),
                Storage::Frequency => RelativePtr::Fixed(held.counts.at),
                Storage::UpdateCount => RelativePtr::Fixed(held.touches.at),
                _ => NULL,
            };
            let source = |source: KernelArg| if source == KernelArg::RowIndex { a.index } else { NULL };
            let given = InstanceArgs {
                samples: a.most,
                room: a.room,
                layout: None,
                step: made.step,
                home: &RelativePtr::Work,
                place: &place,
                source: &source,
            };
            instances.add(stage, space, (made.cuda, launches, &made.updates[update].schedule), &given)?;
            of.push(at);
        }
        let ready = instances.ready(stage)?;
        let scalars = &launches.scalars;
        let asked = scalars.iter().position(|w| *w == ScalarArg::Elements(BATCH));
        for (y, at) in of.iter().enumerate() {
            // Where no word asks for it, one behind the scalars is told.
            let word = asked.map_or(of.len() * scalars.len() + y, |position| y * scalars.len() + position);
            elements[*at] = ready.scalars.plus(word * 4);
        }
        programs.push(TableUpdateProgram { update, ready, table: w.table });
    }
    Ok(programs)
}
