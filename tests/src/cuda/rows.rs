//! The kernels that sum a table's row gradients, launched as the runtime does it.

use super::{Device, Failure};
use din_program::cuda::{Cuda, RowsAddress, RowsWord, row_launches};

/// One feature of the table: row numbers, where the rows are (null where that is their number), its first gradient (null where none flows) and
/// the numbers from one to the next. All memory is known to the device.
#[derive(Clone, Copy, Debug)]
pub struct FeatureRows<'a> {
    pub rows: &'a [u32],
    pub places: *const u32,
    pub gradient: *const f32,
    pub stride: u32,
}

/// A table whose rows are wanted.
#[derive(Clone, Copy, Debug)]
pub struct TableRows {
    pub width: u32,
    pub rows: u32,
    pub every: bool,
    /// Null where they are not counted.
    pub touches: *mut f32,
}

/// Where results go: distinct rows, summed gradients, and 1 or 0 by row where all are wanted; `words[elements]` becomes their number.
#[derive(Debug)]
pub struct RowResults<'a> {
    pub index: &'a mut [u32],
    pub gradient: &'a mut [f32],
    pub touched: &'a mut [f32],
    pub words: &'a mut [u32],
    pub elements: usize,
}

/// Makes the results known to the device and computes them; gives the beginnings of the rows' occurrences.
pub fn sum_rows(
    device: &Device,
    cuda: &Cuda,
    table: &TableRows,
    features: &[FeatureRows<'_>],
    results: &mut RowResults<'_>,
    seed: u64,
) -> Result<Vec<u32>, Failure> {
    device.buffer("row index", results.index, false);
    device.buffer("row gradients", results.gradient, false);
    device.buffer("touched", results.touched, false);
    device.buffer("words of the update", results.words, true);
    let total: usize = features.iter().map(|f| f.rows.len()).sum();
    let (launches, counts) = row_launches(cuda, total as u32, table.rows, table.every);
    let unwritten = |n: usize| vec![u32::MAX; n];
    let mut buffers = [total, total, total, total, counts as usize, results.index.len() + 1].map(unwritten);
    for (k, b) in buffers.iter_mut().enumerate() {
        device.buffer(&format!("rows buffer {k}"), b, false);
    }
    let mut address = vec![0u64; RowsAddress::Features as usize];
    for (at, k) in [
        (RowsAddress::Keys, 0),
        (RowsAddress::Places, 1),
        (RowsAddress::OtherKeys, 2),
        (RowsAddress::OtherPlaces, 3),
        (RowsAddress::Counts, 4),
        (RowsAddress::Begins, 5),
    ] {
        address[at as usize] = buffers[k].as_ptr() as u64;
    }
    address[RowsAddress::Rows as usize] = results.index.as_ptr() as u64;
    address[RowsAddress::Gradient as usize] = results.gradient.as_ptr() as u64;
    address[RowsAddress::Touched as usize] = results.touched.as_ptr() as u64;
    address[RowsAddress::Touches as usize] = table.touches as u64;
    address[RowsAddress::Update as usize] = results.words.as_ptr() as u64;
    let mut words = vec![0u32; RowsWord::Features as usize];
    words[RowsWord::Total as usize] = total as u32;
    words[RowsWord::Width as usize] = table.width;
    words[RowsWord::TableRows as usize] = table.rows;
    words[RowsWord::Elements as usize] = results.elements as u32;
    words.push(features.len() as u32);
    for f in features {
        address.extend([f.rows.as_ptr() as u64, f.gradient as u64, f.places as u64]);
        words.extend([f.rows.len() as u32, f.stride]);
    }
    for l in launches {
        let mut address = address.clone();
        if l.swapped {
            address.swap(RowsAddress::Keys as usize, RowsAddress::OtherKeys as usize);
            address.swap(RowsAddress::Places as usize, RowsAddress::OtherPlaces as usize);
        }
        words[RowsWord::Shift as usize] = l.shift;
        words[RowsWord::Count as usize] = l.count;
        device.launch(l.kernel, (l.blocks, 1), cuda.threads, l.shared, &address, &words, &mut [], seed)?;
    }
    let [_, _, _, _, _, begins] = buffers;
    Ok(begins)
}
