//! A table as tensors, ascending by key, and back.

use super::tensors::{LazyTensor, Tensors};
use crate::table::{RowField, Table};
use crate::{Error, Result};
use din_program::schema::{self, TableKind};
use din_program::{Program, SlotScope, UpdateSlot};
use safetensors::tensor::Dtype;
use std::borrow::Cow;
use std::path::Path;

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
fn layout(program: &Program, spec: &schema::TableSpec, table: &Table) -> (Vec<RowTensor>, Vec<(String, usize)>) {
    let slots = program.slots(spec.update);
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
    let (row_tensors, scalars) = layout(program, spec, table);
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
    if table.is_dynamic() {
        let bytes = |make: fn(&(u64, u32, bool)) -> [u8; 8], size: usize| {
            move || Cow::Owned(order.iter().flat_map(|entry| make(entry).into_iter().take(size)).collect::<Vec<u8>>())
        };
        all.push(("keys".into(), LazyTensor::lazy(Dtype::U64, vec![n], bytes(|e| e.0.to_le_bytes(), 8))));
        all.push(("seen".into(), LazyTensor::lazy(Dtype::U8, vec![n], bytes(|e| u64::from(e.2).to_le_bytes(), 1))));
    }
    all
}

/// The table that [`tensors`] wrote. Rows of a dynamic table are numbered by ascending key.
pub fn restore(
    program: &Program,
    spec: &schema::TableSpec,
    tensors: &Tensors<'_>,
    seed: u64,
    folder: &Path,
) -> Result<Table> {
    let mut table =
        Table::blank(spec, program.slots(spec.update), seed, None).map_err(|e| Error::machine(e.to_string()))?;
    let order: Vec<usize> = match spec.kind {
        TableKind::Fixed { .. } => (0..table.rows()).collect(),
        TableKind::Dynamic { .. } => restore_ids(&mut table, tensors, &folder.join(super::table_file(&spec.name)))?,
    };
    let (row_tensors, scalars) = layout(program, spec, &table);
    for tensor in row_tensors {
        let width = tensor.width;
        let values = tensors.f32(&tensor.name, &tensor.shape(order.len()))?;
        let target = table.field_mut(tensor.field);
        for (k, &row) in order.iter().enumerate() {
            target[row * width..][..width].copy_from_slice(&values[k * width..][..width]);
        }
        if table.is_dynamic() {
            let oov = tensors.f32(&tensor.oov_name(), &tensor.shape(1))?;
            table.field_mut(tensor.field)[..width].copy_from_slice(&oov);
        }
    }
    for (name, k) in scalars {
        table.slot_mut(k).copy_from_slice(&tensors.f32(&name, &[1])?);
    }
    Ok(table)
}

/// Inserts the ids of a dynamic table; gives their rows in the order of the tensors.
fn restore_ids(table: &mut Table, tensors: &Tensors<'_>, file: &Path) -> Result<Vec<usize>> {
    let n = tensors.rows("keys")?;
    let (keys, seen) = (tensors.u64("keys", &[n])?, tensors.u8("seen", &[n])?);
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] >= pair[1]) {
        let (file, first, second) = (file.display(), pair[0], pair[1]);
        return Err(Error::input(format!("{file}: `keys`: expected ascending ids, found {second} after {first}")));
    }
    let insert = |(&key, &seen): (&u64, &u8)| {
        let row = table.insert_loaded(key, seen != 0).map_err(|e| Error::machine(e.to_string()))?;
        Ok(row as usize)
    };
    keys.iter().zip(&seen).map(insert).collect()
}
