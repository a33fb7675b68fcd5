//! The kernels that sum the tables' row gradients, launched as the runtime does it.

use super::{Device, Failure};
use din_program::cuda::{
    Cuda, FeaturePointer, FeatureScalar, RowsPointer, RowsTable, TablePointer, TableScalar, plan_rows,
};

/// One feature of a table: row numbers, where the rows are (null where that is their number), its
/// first gradient (null where none flows) and the numbers from one to the next. All memory is known
/// to the device.
#[derive(Clone, Copy, Debug)]
pub struct FeatureRows<'a> {
    pub rows: &'a [u32],
    pub places: *const u32,
    pub gradient: *const f32,
    pub stride: u32,
}

/// A table whose rows are wanted.
#[derive(Debug)]
pub struct TableRows<'a> {
    pub width: u32,
    pub rows: u32,
    pub every: bool,
    /// Null where they are not counted.
    pub updates: *mut f32,
    pub features: Vec<FeatureRows<'a>>,
    /// For how many occurrences there is room.
    pub room: usize,
    pub results: RowResults<'a>,
}

/// Where results go: distinct rows, where the occurrences of each begin, summed gradients, and 1 or
/// 0 by row where all are wanted; `elements` and `count` become the number of rows.
#[derive(Debug)]
pub struct RowResults<'a> {
    pub index: &'a mut [u32],
    pub begins: &'a mut [u32],
    pub gradient: &'a mut [f32],
    pub touched: &'a mut [f32],
    pub elements: &'a mut [u32],
    pub count: &'a mut [f32],
}

/// Makes the results known to the device and computes them.
pub fn sum_rows(device: &Device, cuda: &Cuda, tables: &mut [TableRows<'_>], seed: u64) -> Result<(), Failure> {
    let total = |t: &TableRows<'_>| t.features.iter().map(|f| f.rows.len()).sum::<usize>();
    let of = |t: &TableRows<'_>| RowsTable {
        total: total(t) as u32,
        room: t.room as u32,
        rows: t.rows,
        width: t.width,
        every: t.every,
    };
    let of: Vec<RowsTable> = tables.iter().map(of).collect();
    let plan = plan_rows(cuda, &of);
    let all: usize = tables.iter().map(total).sum();
    let unwritten = |n: usize| vec![u32::MAX; n];
    let mut buffers = [all, all, all, all, plan.counts].map(unwritten);
    for (k, b) in buffers.iter_mut().enumerate() {
        device.buffer(&format!("rows buffer {k}"), b, false);
    }
    let mut address = vec![0u64; RowsPointer::Tables as usize];
    for (at, b) in
        [RowsPointer::Keys, RowsPointer::Places, RowsPointer::OtherKeys, RowsPointer::OtherPlaces, RowsPointer::Counts]
            .into_iter()
            .zip(&buffers)
    {
        address[at as usize] = b.as_ptr() as u64;
    }
    let mut words = vec![tables.len() as u32];
    let mut kept = Vec::new();
    let mut first = 0;
    for ((table, of), mut own) in tables.iter_mut().zip(&of).zip(plan.tables) {
        let pieces = of.total.div_ceil(of.piece()) as usize;
        let mut before = unwritten(pieces);
        let mut sums = [(); 2].map(|()| vec![f32::NAN; pieces * table.width as usize]);
        device.buffer("rows before pieces", &mut before, false);
        sums.iter_mut().for_each(|s| device.buffer("sums of pieces", s, false));
        let results = &mut table.results;
        device.buffer("row index", results.index, false);
        device.buffer("beginnings of rows", results.begins, false);
        device.buffer("row gradients", results.gradient, false);
        device.buffer("touched", results.touched, false);
        device.buffer("number of rows", results.elements, true);
        device.buffer("number of rows to compute with", results.count, true);
        let mut at = [0u64; TablePointer::COUNT];
        at[TablePointer::Rows as usize] = results.index.as_ptr() as u64;
        at[TablePointer::Begins as usize] = results.begins.as_ptr() as u64;
        at[TablePointer::Pieces as usize] = before.as_ptr() as u64;
        at[TablePointer::Gradient as usize] = results.gradient.as_ptr() as u64;
        at[TablePointer::FirstSums as usize] = sums[0].as_ptr() as u64;
        at[TablePointer::LastSums as usize] = sums[1].as_ptr() as u64;
        at[TablePointer::InBatch as usize] = results.touched.as_ptr() as u64;
        at[TablePointer::UpdateCount as usize] = table.updates as u64;
        at[TablePointer::Elements as usize] = results.elements.as_ptr() as u64;
        at[TablePointer::Count as usize] = results.count.as_ptr() as u64;
        address.extend(at);
        own[TableScalar::FirstFeature as usize] = first;
        own[TableScalar::Features as usize] = table.features.len() as u32;
        first += table.features.len() as u32;
        words.extend(own);
        kept.push((before, sums));
    }
    for table in tables.iter() {
        let mut before = 0;
        for f in &table.features {
            let mut at = [0u64; FeaturePointer::COUNT];
            at[FeaturePointer::Rows as usize] = f.rows.as_ptr() as u64;
            at[FeaturePointer::Gradient as usize] = f.gradient as u64;
            at[FeaturePointer::Places as usize] = f.places as u64;
            address.extend(at);
            let mut own = [0; FeatureScalar::COUNT];
            own[FeatureScalar::Before as usize] = before;
            own[FeatureScalar::Stride as usize] = f.stride;
            words.extend(own);
            before += f.rows.len() as u32;
        }
    }
    device.buffer("words of tables", &mut words, true);
    address[RowsPointer::Scalars as usize] = words.as_ptr() as u64;
    for l in plan.launches {
        let mut address = address.clone();
        if l.swapped {
            address.swap(RowsPointer::Keys as usize, RowsPointer::OtherKeys as usize);
            address.swap(RowsPointer::Places as usize, RowsPointer::OtherPlaces as usize);
        }
        device.launch(l.kernel, (l.blocks, 1), cuda.threads, l.shared, &address, &[l.shift], &mut [], seed)?;
    }
    drop(kept);
    Ok(())
}
