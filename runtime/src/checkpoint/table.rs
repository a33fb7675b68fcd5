//! A table as tensors, ascending by key, and back.

use super::tensors::{LazyTensor, Tensors};
use crate::session::LoadPurpose;
use crate::table::{RowField, Sharding, Table, TableError};
use crate::{Error, Result};
use din_program::schema::{self, TableKind};
use din_program::{Program, SlotScope, UpdateSlot};
use safetensors::tensor::Dtype;
use std::borrow::Cow;
use std::path::Path;

/// Rows after which the memory of a file is given back: it is read from front to back.
const RELEASED: usize = 1 << 18;

/// A tensor with a row for each id.
#[derive(Debug)]
struct RowTensor {
    /// `weight`, `frequency`, `updates`, `slot.m`
    name: String,
    /// Values per row.
    width: usize,
    /// Whether its shape is `[rows, width]`; otherwise it is `[rows]`.
    matrix: bool,
    field: RowField,
}

impl RowTensor {
    fn new(field: RowField, width: usize, slots: &[UpdateSlot]) -> Self {
        let name = match field {
            RowField::Weights => "weight".into(),
            RowField::Frequency => "frequency".into(),
            RowField::Updates => "updates".into(),
            RowField::Slot(k) => format!("slot.{}", slots[k].name),
        };
        Self { name, width, matrix: field == RowField::Weights || width > 1, field }
    }

    fn shape(&self, rows: usize) -> Vec<usize> {
        if self.matrix { vec![rows, self.width] } else { vec![rows] }
    }

    /// Name of the tensor of the OOV row.
    fn oov_name(&self) -> String {
        format!("oov.{}", self.name)
    }
}

/// The tensors with a row for each id, and the optimizer's states with one value per table: name
/// and slot.
fn layout(slots: &[UpdateSlot], table: &Table) -> (Vec<RowTensor>, Vec<(String, usize)>) {
    let rows = table.row_fields().into_iter().map(|(field, width)| RowTensor::new(field, width, slots)).collect();
    let per_table = slots.iter().enumerate().filter(|(_, slot)| slot.per == SlotScope::Tensor);
    (rows, per_table.map(|(k, slot)| (format!("slot.{}", slot.name), k)).collect())
}

/// Rows `order` of a slab, gathered when written.
fn gathered<'a>(tensor: &RowTensor, slab: &'a [f32], order: &'a [(u64, u32, bool)]) -> LazyTensor<'a> {
    let width = tensor.width;
    LazyTensor::lazy(Dtype::F32, tensor.shape(order.len()), move || {
        let mut bytes = Vec::with_capacity(order.len() * width * size_of::<f32>());
        for &(_, row, _) in order {
            let at = row as usize * width;
            slab[at..at + width].iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        }
        Cow::Owned(bytes)
    })
}

/// `order` is the table's [`Table::in_key_order`].
pub fn tensors<'a>(
    program: &Program,
    spec: &schema::TableSpec,
    table: &'a Table,
    order: &'a [(u64, u32, bool)],
) -> Vec<(String, LazyTensor<'a>)> {
    let n = order.len();
    let mut all = Vec::new();
    let (row_tensors, scalars) = layout(program.slots(spec.update), table);
    for (name, k) in scalars {
        all.push((name, LazyTensor::f32(vec![1], table.slot(k))));
    }
    for tensor in row_tensors {
        let slab = table.field(tensor.field);
        if table.is_dynamic() {
            all.push((tensor.oov_name(), LazyTensor::f32(tensor.shape(1), &slab[..tensor.width])));
        }
        let gathered = gathered(&tensor, slab, order);
        all.push((tensor.name, gathered));
    }
    if has_keys(table) {
        let bytes = |make: fn(&(u64, u32, bool)) -> [u8; 8], size: usize| {
            move || Cow::Owned(order.iter().flat_map(|entry| make(entry).into_iter().take(size)).collect::<Vec<u8>>())
        };
        all.push(("keys".into(), LazyTensor::lazy(Dtype::U64, vec![n], bytes(|e| e.0.to_le_bytes(), 8))));
        if table.is_dynamic() {
            all.push(("seen".into(), LazyTensor::lazy(Dtype::U8, vec![n], bytes(|e| u64::from(e.2).to_le_bytes(), 1))));
        }
    }
    all
}

/// Whether the ids of a file's rows are written: those of a whole fixed table are known.
fn has_keys(table: &Table) -> bool {
    table.is_dynamic() || table.shard().is_some()
}

/// An id that a file has and this rank owns.
struct Found {
    id: u64,
    /// Its place in the file.
    at: u32,
    /// Which file.
    part: u16,
    seen: bool,
}

/// The rows of a table that a rank owns (`None`: all), from files that [`tensors`] wrote, each
/// beside the part of the table that it is. Rows are numbered by ascending id. For inference, only
/// the weights are read, for an examination the counts too.
pub fn restore(
    program: &Program,
    spec: &schema::TableSpec,
    parts: &[(Tensors<'_>, Option<Sharding>)],
    seed: u64,
    shard: Option<Sharding>,
    purpose: LoadPurpose,
    folder: &Path,
) -> Result<Table> {
    let machine = |e: TableError| Error::machine(e.to_string());
    let slots = match purpose {
        LoadPurpose::Training => program.slots(spec.update),
        LoadPurpose::Inference(_) | LoadPurpose::Examination => &[],
    };
    let mut table = Table::blank(spec, slots, seed, shard, purpose.precision()).map_err(machine)?;
    let mut found = Vec::new();
    let mut rows_of = Vec::new();
    for (part, (tensors, of)) in parts.iter().enumerate() {
        rows_of.push(find(&mut found, spec.kind, tensors, *of, part as u16, shard)?);
    }
    // Runs that are ascending already.
    found.sort_by_key(|found: &Found| found.id);
    // The OOV row comes before them.
    let first = usize::from(table.is_dynamic());
    if table.is_dynamic() {
        for found in &found {
            table.insert_loaded(found.id, found.seen).map_err(machine)?;
        }
    }
    if table.rows() != first + found.len() {
        let (folder, name, expected, found) = (folder.display(), &spec.name, table.rows(), found.len());
        return Err(Error::input(format!("{folder}: table `{name}`: expected rows of {expected} ids, found {found}")));
    }
    let (mut row_tensors, scalars) = layout(slots, &table);
    row_tensors.retain(|tensor| match purpose {
        // For an examination, the table has no optimizer state.
        LoadPurpose::Training | LoadPurpose::Examination => true,
        LoadPurpose::Inference(_) => tensor.field == RowField::Weights,
    });
    for tensor in &row_tensors {
        let width = tensor.width;
        let values =
            parts.iter().zip(&rows_of).map(|((part, _), &rows)| part.floats(&tensor.name, &tensor.shape(rows)));
        let values = values.collect::<Result<Vec<_>>>()?;
        for (row, found) in (first..).zip(&found) {
            if row.is_multiple_of(RELEASED) {
                parts.iter().for_each(|(part, _)| part.release());
            }
            let values = &values[usize::from(found.part)][found.at as usize * width..][..width];
            set_row(&mut table, tensor, row, values.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        }
    }
    // Every file has what a table has only once.
    let (any, _) = parts.first().expect("a table has a file");
    for (name, k) in scalars {
        table.slot_mut(k).copy_from_slice(&any.f32(&name, &[1])?);
    }
    if table.is_dynamic() {
        for tensor in &row_tensors {
            let oov = any.f32(&tensor.oov_name(), &tensor.shape(1))?;
            set_row(&mut table, tensor, 0, oov.into_iter());
        }
    }
    Ok(table)
}

/// Writes what a tensor has of a row into the table.
fn set_row(table: &mut Table, tensor: &RowTensor, row: usize, values: impl Iterator<Item = f32>) {
    match tensor.field {
        RowField::Weights => table.set_row(row, values),
        field @ (RowField::Frequency | RowField::Updates | RowField::Slot(_)) => {
            let to = &mut table.field_mut(field)[row * tensor.width..][..tensor.width];
            to.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        }
    }
}

/// Adds the ids of a file that a rank owns; gives how many the file has. `of`: the part of the
/// table that it is.
fn find(
    found: &mut Vec<Found>,
    kind: TableKind,
    tensors: &Tensors<'_>,
    of: Option<Sharding>,
    part: u16,
    own: Option<Sharding>,
) -> Result<usize> {
    let located = |what: String| Error::input(format!("{}: `keys`: {what}", tensors.path().display()));
    let owned = |id: u64| own.is_none_or(|own| own.owns(id));
    if let (TableKind::Fixed { size }, None) = (kind, of) {
        let all = (0..size).filter(|&id| owned(id));
        found.extend(all.map(|id| Found { id, at: id as u32, part, seen: true }));
        return Ok(size as usize);
    }
    let rows = tensors.rows("keys")?;
    let keys = tensors.integers("keys", &[rows])?;
    let seen = match kind {
        TableKind::Dynamic { .. } => Some(tensors.bytes("seen", &[rows])?),
        TableKind::Fixed { .. } => None,
    };
    if rows >= u32::MAX as usize {
        return Err(located(format!("expected fewer than 2^32 - 1 ids, found {rows}")));
    }
    let mut last = None;
    for (at, &id) in keys.iter().enumerate() {
        let id = u64::from_le_bytes(id);
        if let Some(last) = last.replace(id).filter(|&last| last >= id) {
            return Err(located(format!("expected ascending ids, found {id} after {last}")));
        }
        if !of.is_none_or(|of| of.owns(id)) {
            return Err(located(format!("expected ids of this part of the table alone, found {id}")));
        }
        if let TableKind::Fixed { size } = kind
            && id >= size
        {
            return Err(located(format!("expected ids below {size}, found {id}")));
        }
        if owned(id) {
            found.push(Found { id, at: at as u32, part, seen: seen.is_none_or(|seen| seen[at] != 0) });
        }
    }
    Ok(rows)
}
