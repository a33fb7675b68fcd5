//! The updates of a step's tables: the same launches sort and sum the row gradients of all tables
//! (`din_rows_*`, see `din_program::cuda`), then each update program runs over the rows of all
//! tables that it updates. Rows that a rank has fetched are summed alone: their owners update them.

use super::DeviceError;
use super::command_list::{CommandList, ScheduleKernels};
use super::device_model::DeviceTable;
use super::driver::{Driver, KernelLaunch};
use super::memory::{BlockBases, BlockLayout, NULL, RelativePtr, SizeBuckets, bytes_of_mut};
use super::step_args::{InstanceArgs, Instances, ScheduleRef, StagedSchedule, UploadPlan, no_pointer};
use super::upload_copy::ArraySource;
use crate::exec::common::StepNumbers;
use din_program::Update;
use din_program::cuda::{
    Cuda, FeaturePointer, FeatureScalar, Launches, RowsLaunch, RowsPointer, RowsTable, ScalarArg, TablePointer,
    TableScalar, plan_rows,
};
use din_program::schedule::{BATCH, KernelArg, Storage};
use din_program::schema::{self, UpdateRule};

/// One feature of a table in a batch: row numbers, where the rows are ([`NULL`] where that is their
/// number), the first gradient (`NULL` where none flows) and the numbers from one to the next.
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
    pub spec: &'a schema::TableSpec,
    pub rows: SummedRows<'a>,
    pub features: Vec<FeatureRows>,
}

/// The rows whose gradients are summed.
#[derive(Clone, Copy, Debug)]
pub(super) enum SummedRows<'a> {
    /// Those of a table on the device, which are updated.
    Held(&'a DeviceTable),
    /// So many rows that were fetched from their owners, each of which the batch reads.
    Fetched(usize),
}

impl SummedRows<'_> {
    /// How many there are; of a table with an order, in it.
    fn count(self) -> usize {
        match self {
            SummedRows::Held(table) => table.order.as_ref().map_or(table.rows, |order| order.rows().len()),
            SummedRows::Fetched(rows) => rows,
        }
    }

    /// Whether all rows are updated in an order that is not that of their numbers.
    fn in_order(self) -> bool {
        match self {
            SummedRows::Held(table) => table.order.is_some(),
            SummedRows::Fetched(_) => false,
        }
    }

    /// Where the numbers of updates are; [`NULL`] where they are not counted.
    fn updates(self) -> RelativePtr {
        match self {
            SummedRows::Held(table) => RelativePtr::Fixed(table.updates.at),
            SummedRows::Fetched(_) => NULL,
        }
    }
}

/// What the tables' updates are made from.
pub(super) struct UpdateInputs<'a> {
    pub cuda: &'a Cuda,
    pub updates: &'a [Update],
    /// The launches of an update.
    pub launches: &'a dyn Fn(usize) -> &'a Launches,
    pub numbers: StepNumbers,
    /// By table, what sums the squares of its gradient; none where no update reads that.
    pub squared_norms: &'a [u32],
    /// Where the sum of a table is, or the first of all sums.
    pub squared_norm: &'a dyn Fn(usize) -> RelativePtr,
}

/// A table whose row gradients are summed.
#[derive(Debug)]
pub(super) struct UpdatedTable {
    /// Its number.
    pub table: usize,
    /// Row numbers that are sorted.
    pub occurrences: usize,
    /// The word that says how many rows there are; the device writes it.
    elements: RelativePtr,
    /// The sums: the table's width of floats for each of these rows, in ascending order.
    pub sums: RelativePtr,
}

/// An update program over all tables that it is for.
#[derive(Debug)]
pub(super) struct TableUpdateProgram {
    pub update: usize,
    pub staged: StagedSchedule,
    /// The first of the tables.
    pub table: usize,
    /// The tables, and for each the word that says how many rows it has.
    pub elements: Vec<(usize, RelativePtr)>,
}

/// The updates with their data staged.
#[derive(Debug, Default)]
pub(super) struct TableUpdates {
    pub tables: Vec<UpdatedTable>,
    pub programs: Vec<TableUpdateProgram>,
    /// The sums of the squares of gradients, which run before the updates.
    pub squared_norms: Vec<TableUpdateProgram>,
    space: BlockLayout,
    /// With the scalars of each.
    launches: Vec<(RowsLaunch, RelativePtr)>,
    /// As they are and with the roles of the two pairs changed; `None` where nothing is updated.
    pointers: Option<[RelativePtr; 2]>,
}

/// The arrays of one table that its update and the kernels before it share.
struct Arrays {
    gradient: RelativePtr,
    touched: RelativePtr,
    index: RelativePtr,
    begins: RelativePtr,
    pieces: RelativePtr,
    sums: [RelativePtr; 2],
    /// The rows of a table that is updated whole, by position, where that is not their number.
    order: RelativePtr,
    /// How many rows are updated, which the sort finds.
    count: RelativePtr,
    most: usize,
    room: usize,
}

impl Arrays {
    fn pointers(&self, rows: SummedRows<'_>, elements: RelativePtr) -> [RelativePtr; TablePointer::COUNT] {
        let mut pointers = [NULL; TablePointer::COUNT];
        for (name, at) in [
            (TablePointer::Rows, self.index),
            (TablePointer::Begins, self.begins),
            (TablePointer::Pieces, self.pieces),
            (TablePointer::Gradient, self.gradient),
            (TablePointer::FirstSums, self.sums[0]),
            (TablePointer::LastSums, self.sums[1]),
            (TablePointer::InBatch, self.touched),
            (TablePointer::UpdateCount, rows.updates()),
            (TablePointer::Elements, elements),
            (TablePointer::Order, self.order),
            (TablePointer::Count, self.count),
        ] {
            pointers[name as usize] = at;
        }
        pointers
    }

    fn new(
        plan: &mut UploadPlan,
        space: &mut BlockLayout,
        w: &TableLookups<'_>,
        of: &RowsTable,
    ) -> Result<Arrays, DeviceError> {
        let (total, total_room) = (of.total as usize, of.room as usize);
        let rows = w.rows.count();
        let (most, room) = if of.every { (rows, space.buckets.room(rows)) } else { (total, total_room) };
        let (pieces, pieces_room) = (total.div_ceil(of.piece() as usize), of.pieces() as usize);
        let order = match of.every && w.rows.in_order() {
            true => plan.column(rows, ArraySource::OrderedRows(w.table), "rows in order")?,
            false => NULL,
        };
        Ok(Arrays {
            order,
            count: plan.put(&[0f32], "number of rows")?,
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

/// The tables that a step updates.
struct UpdatedTables<'a> {
    lookups: Vec<&'a TableLookups<'a>>,
    sizes: Vec<RowsTable>,
    /// For how many occurrences of all tables there is room.
    room: usize,
}

impl<'a> UpdatedTables<'a> {
    fn new(all: &'a [TableLookups<'a>], buckets: SizeBuckets) -> Result<UpdatedTables<'a>, DeviceError> {
        let mut tables = UpdatedTables { lookups: Vec::new(), sizes: Vec::new(), room: 0 };
        for lookups in all {
            let total: usize = lookups.features.iter().map(|f| f.elements).sum();
            // No bounds of its own: a sum has those of what it sums.
            let room: usize = lookups.features.iter().map(|f| buckets.room(f.elements)).sum();
            let spec = lookups.spec;
            let every = match lookups.rows {
                SummedRows::Held(_) => spec.update_rule == UpdateRule::Dense,
                SummedRows::Fetched(_) => false,
            };
            if total == 0 && !every {
                continue;
            }
            tables.room = tables.room.saturating_add(room);
            if tables.room >= u32::MAX as usize {
                let (name, all) = (&spec.name, tables.room);
                let why = format!("the batch reads tables up to `{name}` {all} times, expected fewer than 2^32 - 1");
                return Err(DeviceError::Input(why));
            }
            let rows = lookups.rows.count() as u32;
            let (total, room) = (total as u32, room as u32);
            tables.sizes.push(RowsTable { total, room, rows, width: spec.width, every });
            tables.lookups.push(lookups);
        }
        Ok(tables)
    }
}

/// What the sort of all tables' occurrences needs.
struct Sorting {
    keys: [RelativePtr; 2],
    places: [RelativePtr; 2],
    counts: RelativePtr,
}

impl Sorting {
    fn new(space: &mut BlockLayout, sizes: &[RowsTable], room: usize, counts: usize) -> Result<Sorting, DeviceError> {
        let total = sizes.iter().map(|t| t.total as usize).sum();
        let mut buffer = || Ok::<_, DeviceError>(RelativePtr::Work(space.within(total, room, "occurrences")?));
        let [keys, places, other_keys, other_places] = [buffer()?, buffer()?, buffer()?, buffer()?];
        let counts = RelativePtr::Work(space.exact(counts, "counts of digits")?);
        Ok(Sorting { keys: [keys, other_keys], places: [places, other_places], counts })
    }

    /// The pointers before those of tables; that to the scalars is still to be set.
    fn pointers(&self) -> Vec<RelativePtr> {
        let mut pointers = vec![NULL; RowsPointer::Tables as usize];
        for (name, at) in [
            (RowsPointer::Keys, self.keys[0]),
            (RowsPointer::Places, self.places[0]),
            (RowsPointer::OtherKeys, self.keys[1]),
            (RowsPointer::OtherPlaces, self.places[1]),
            (RowsPointer::Counts, self.counts),
        ] {
            pointers[name as usize] = at;
        }
        pointers
    }
}

impl FeatureRows {
    fn pointers(&self) -> [RelativePtr; FeaturePointer::COUNT] {
        let mut pointers = [NULL; FeaturePointer::COUNT];
        pointers[FeaturePointer::Rows as usize] = self.rows;
        pointers[FeaturePointer::Gradient as usize] = self.gradient;
        pointers[FeaturePointer::Places as usize] = self.places;
        pointers
    }
}

/// The number of tables, the scalars of each, then those of each feature of each.
fn row_scalars(lookups: &[&TableLookups<'_>], tables: Vec<[u32; TableScalar::COUNT]>) -> Vec<u32> {
    let mut scalars = vec![lookups.len() as u32];
    let mut first = 0;
    for (lookups, mut of_table) in lookups.iter().zip(tables) {
        of_table[TableScalar::FirstFeature as usize] = first;
        of_table[TableScalar::Features as usize] = lookups.features.len() as u32;
        first += lookups.features.len() as u32;
        scalars.extend(of_table);
    }
    for lookups in lookups {
        let mut before = 0;
        for feature in &lookups.features {
            let mut of_feature = [0; FeatureScalar::COUNT];
            of_feature[FeatureScalar::Before as usize] = before;
            of_feature[FeatureScalar::Stride as usize] = feature.stride;
            scalars.extend(of_feature);
            before += feature.elements as u32;
        }
    }
    scalars
}

impl TableUpdates {
    /// Those of the tables of which the batch reads rows, or all of whose rows are updated.
    pub fn new(
        plan: &mut UploadPlan,
        inputs: &UpdateInputs<'_>,
        lookups: &[TableLookups<'_>],
    ) -> Result<TableUpdates, DeviceError> {
        let mut space = BlockLayout::new(plan.layout.buckets);
        let UpdatedTables { lookups, sizes, room } = UpdatedTables::new(lookups, plan.layout.buckets)?;
        if lookups.is_empty() {
            return Ok(TableUpdates::default());
        }
        let rows = plan_rows(inputs.cuda, &sizes);
        let sorting = Sorting::new(&mut space, &sizes, room, rows.counts)?;
        let arrays = lookups.iter().zip(&sizes).map(|(w, of)| Arrays::new(plan, &mut space, w, of));
        let arrays = arrays.collect::<Result<Vec<Arrays>, _>>()?;
        let updates = |w: &TableLookups<'_>| Some(w.spec.update);
        let updates = programs(plan, &mut space, inputs, (&lookups, &arrays), &updates)?;
        let squared_norms = |w: &TableLookups<'_>| inputs.squared_norms.get(w.table).copied();
        let squared_norms = programs(plan, &mut space, inputs, (&lookups, &arrays), &squared_norms)?;
        let mut elements = Vec::with_capacity(lookups.len());
        for lookups in &lookups {
            let words = updates.iter().flat_map(|program| &program.elements);
            let held = words.filter(|(table, _)| *table == lookups.table).map(|(_, word)| *word).next();
            elements.push(match held {
                Some(word) => word,
                // Of rows that were fetched, which no program here updates.
                None => plan.put(&[0u32], "number of rows")?,
            });
        }

        let mut pointers = sorting.pointers();
        for ((lookups, arrays), elements) in lookups.iter().zip(&arrays).zip(&elements) {
            pointers.extend(arrays.pointers(lookups.rows, *elements));
        }
        pointers.extend(lookups.iter().flat_map(|l| &l.features).flat_map(FeatureRows::pointers));
        let scalars = row_scalars(&lookups, rows.tables);
        pointers[RowsPointer::Scalars as usize] = plan.put(&scalars, "scalars of row gradients")?;
        let as_they_are = plan.pointers(&pointers)?;
        pointers.swap(RowsPointer::Keys as usize, RowsPointer::OtherKeys as usize);
        pointers.swap(RowsPointer::Places as usize, RowsPointer::OtherPlaces as usize);
        let swapped = plan.pointers(&pointers)?;
        // The only scalar of a launch.
        let shifts: Vec<u32> = rows.launches.iter().map(|l| l.shift).collect();
        let shifts = plan.put(&shifts, "scalars of row gradients")?;
        let launches = rows.launches.into_iter().enumerate().map(|(k, l)| (l, shifts.plus(4 * k))).collect();
        let updated = lookups.iter().zip(&sizes).zip(&arrays).zip(elements);
        let updated = updated.map(|(((l, size), arrays), elements)| UpdatedTable {
            table: l.table,
            occurrences: size.total as usize,
            elements,
            sums: arrays.gradient,
        });
        let tables = updated.collect();
        let pointers = Some([as_they_are, swapped]);
        Ok(TableUpdates { tables, programs: updates, squared_norms, space, launches, pointers })
    }

    /// The kernels that sum the gradients, once each.
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

    /// What needs no gradient. `kernels` gives those of an update, with where the table is that
    /// asks for it.
    pub fn list_leading<'a>(
        &self,
        list: &mut CommandList<'a>,
        kernels: &dyn Fn(&TableUpdateProgram) -> ScheduleKernels<'a>,
    ) {
        self.list_sort(list, self.programs.first().map(kernels));
        for program in &self.programs {
            list.leading(&kernels(program), &program.staged);
        }
    }

    /// The sums, and the updates.
    pub fn list<'a>(&self, list: &mut CommandList<'a>, kernels: &dyn Fn(&TableUpdateProgram) -> ScheduleKernels<'a>) {
        self.list_sums(list, self.programs.first().map(kernels));
        for program in &self.programs {
            list.rest(&kernels(program), &program.staged);
        }
    }

    /// The sums, and those of their squares; [`TableUpdates::list_whole`] follows.
    pub fn list_squared_norms<'a>(
        &self,
        list: &mut CommandList<'a>,
        kernels: &dyn Fn(&TableUpdateProgram) -> ScheduleKernels<'a>,
    ) {
        self.list_sums(list, self.programs.first().map(kernels));
        let bases = *list.bases();
        for program in &self.squared_norms {
            for (table, word) in &program.elements {
                let counted = self.tables.iter().find(|updated| updated.table == *table);
                let counted = counted.expect("the tables of all programs are those whose gradients are summed");
                list.copy(bases.resolve(counted.elements), bases.resolve(*word), size_of::<u32>());
            }
            list.schedule(&kernels(program), &program.staged);
        }
    }

    /// The updates, with what else leads them.
    pub fn list_whole<'a>(
        &self,
        list: &mut CommandList<'a>,
        kernels: &dyn Fn(&TableUpdateProgram) -> ScheduleKernels<'a>,
    ) {
        for program in &self.programs {
            list.schedule(&kernels(program), &program.staged);
        }
    }

    /// What the sums need of the batch. `kernels` are those of the first table.
    pub fn list_sort<'a>(&self, list: &mut CommandList<'a>, kernels: Option<ScheduleKernels<'a>>) {
        list.arrays(&self.space, list.bases().work);
        self.list_rows(list, kernels, false);
    }

    /// The sums.
    pub fn list_sums<'a>(&self, list: &mut CommandList<'a>, kernels: Option<ScheduleKernels<'a>>) {
        self.list_rows(list, kernels, true);
    }

    fn list_rows<'a>(&self, list: &mut CommandList<'a>, kernels: Option<ScheduleKernels<'a>>, sums: bool) {
        let (Some(first), Some(pointers)) = (kernels, self.pointers) else { return };
        let bases = *list.bases();
        for (launch, scalars) in self.launches.iter().filter(|(l, _)| l.sums == sums) {
            list.launch(KernelLaunch {
                kernel: launch.kernel,
                location: first.location,
                grid: (launch.blocks, 1),
                threads: first.cuda.threads,
                shared: launch.shared,
                pointers: bases.resolve(pointers[usize::from(launch.swapped)]),
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

/// What an update program of a table's rows reads and writes; `squares` is what sums the squares of
/// its gradient.
fn row_update_ptr(
    place: Storage,
    (table, arrays): (&DeviceTable, &Arrays),
    squares: bool,
    (number, made): (usize, &UpdateInputs<'_>),
) -> Result<RelativePtr, DeviceError> {
    match place {
        Storage::Weight => Ok(RelativePtr::Fixed(table.weights.at)),
        Storage::Gradient => Ok(arrays.gradient),
        Storage::InBatch => Ok(arrays.touched),
        Storage::UpdateSlot(_) if squares => Ok((made.squared_norm)(number)),
        Storage::UpdateSlot(k) => Ok(RelativePtr::Fixed(table.slots[k as usize].at)),
        Storage::SquaredNorms => Ok((made.squared_norm)(0)),
        Storage::Frequency => Ok(RelativePtr::Fixed(table.frequency.at)),
        Storage::UpdateCount => Ok(RelativePtr::Fixed(table.updates.at)),
        Storage::Arena(_)
        | Storage::Tile(_)
        | Storage::Partial
        | Storage::Param(_)
        | Storage::State(_)
        | Storage::Dense(_)
        | Storage::Label(_)
        | Storage::Present(_)
        | Storage::Length(_)
        | Storage::Position(_)
        | Storage::SampleNumber(_)
        | Storage::Components(_)
        | Storage::DropoutKey(_)
        | Storage::Count(_)
        | Storage::Step
        | Storage::Epoch => Err(no_pointer(place)),
    }
}

/// Update programs, each with an instance for each of its tables that is held here. `of` gives the
/// program of a table, as an index of an update.
fn programs(
    plan: &mut UploadPlan,
    space: &mut BlockLayout,
    made: &UpdateInputs<'_>,
    (tables, arrays): (&[&TableLookups<'_>], &[Arrays]),
    of: &dyn Fn(&TableLookups<'_>) -> Option<u32>,
) -> Result<Vec<TableUpdateProgram>, DeviceError> {
    let mut programs: Vec<TableUpdateProgram> = Vec::new();
    for (k, w) in tables.iter().enumerate() {
        let Some(update) = of(w) else { continue };
        let number = update as usize;
        if matches!(w.rows, SummedRows::Fetched(_)) || programs.iter().any(|p| p.update == number) {
            continue;
        }
        let launches = (made.launches)(number);
        let mut instances = Instances::default();
        let mut treated = Vec::new();
        for (w, a) in tables.iter().zip(arrays).skip(k) {
            let SummedRows::Held(held) = w.rows else { continue };
            if of(w) != Some(update) {
                continue;
            }
            let squares = made.squared_norms.contains(&update);
            let place = |place: Storage| row_update_ptr(place, (held, a), squares, (w.table, made));
            let source = |source: KernelArg| match source {
                KernelArg::RowIndex => Ok(a.index),
                KernelArg::Buffer(_)
                | KernelArg::Ancestor { .. }
                | KernelArg::Rows { .. }
                | KernelArg::UniqueRows { .. }
                | KernelArg::Table(_)
                | KernelArg::Function(_) => Err(no_pointer(source)),
            };
            let args = InstanceArgs {
                samples: a.most,
                room: a.room,
                layout: None,
                global_counts: None,
                row_count: Some(a.count),
                numbers: made.numbers,
                home: &RelativePtr::Work,
                place: &place,
                source: &source,
            };
            let schedule = ScheduleRef { cuda: made.cuda, launches, schedule: &made.updates[number].schedule };
            instances.add(plan, space, schedule, &args)?;
            treated.push(w.table);
        }
        let staged = instances.stage(plan)?;
        let scalars = &launches.scalars;
        let asked = scalars.iter().position(|w| *w == ScalarArg::Elements(BATCH));
        let word = |(y, &table): (usize, &usize)| {
            // If no scalar asks for it, the one behind the scalars receives it.
            let word = asked.map_or(treated.len() * scalars.len() + y, |position| y * scalars.len() + position);
            (table, staged.scalars.plus(word * 4))
        };
        let elements = treated.iter().enumerate().map(word).collect();
        programs.push(TableUpdateProgram { update: number, staged, table: w.table, elements });
    }
    Ok(programs)
}
