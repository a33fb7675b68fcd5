//! A table as tensors, ascending by key, and back.

use super::tensors::{Lazy, Tensors};
use crate::table::Table;
use crate::{Error, Result};
use din_program::schema::{self, TableKind};
use din_program::{Program, SlotScope, UpdateSlot};
use safetensors::tensor::Dtype;
use std::borrow::Cow;
use std::path::Path;

fn slots_of<'a>(program: &'a Program, spec: &schema::Table) -> &'a [UpdateSlot] {
    program.updates.get(spec.update as usize).map_or(&[][..], |u| &u.slots)
}

/// Rows `order` of a slab, gathered when written.
fn gathered<'a>(shape: Vec<usize>, slab: &'a [f32], width: usize, order: &'a [(u64, u32, bool)]) -> Lazy<'a> {
    Lazy::made(Dtype::F32, shape, move || {
        let mut bytes = Vec::with_capacity(order.len() * width * 4);
        for &(_, row, _) in order {
            let at = row as usize * width;
            for number in slab.get(at..at + width).unwrap_or_default() {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        Cow::Owned(bytes)
    })
}

/// `order` is the table's [`Table::in_key_order`].
pub fn tensors<'a>(
    program: &Program,
    spec: &schema::Table,
    table: &'a Table,
    order: &'a [(u64, u32, bool)],
) -> Vec<(String, Lazy<'a>)> {
    let (n, width) = (order.len(), table.width());
    let mut all = Vec::new();
    let mut slabs: Vec<(String, &'a [f32], usize)> = vec![
        ("weight".into(), table.weights(), width),
        ("count".into(), table.counts(), 1),
        ("touches".into(), table.touches(), 1),
    ];
    for (k, slot) in slots_of(program, spec).iter().enumerate() {
        let name = format!("slot.{}", slot.name);
        match slot.per {
            SlotScope::Tensor => all.push((name, Lazy::f32(vec![1], table.slot(k)))),
            SlotScope::Weight | SlotScope::Row => slabs.push((name, table.slot(k), table.slot_width(k))),
        }
    }
    for (name, slab, width) in slabs {
        let per_row = name == "weight" || width > 1;
        let shape = |n: usize| if per_row { vec![n, width] } else { vec![n] };
        if table.is_dynamic() {
            all.push((format!("unseen.{name}"), Lazy::f32(shape(1), slab.get(..width).unwrap_or_default())));
        }
        all.push((name, gathered(shape(n), slab, width, order)));
    }
    if table.is_dynamic() {
        let bytes = |make: fn(&(u64, u32, bool)) -> [u8; 8], size: usize| {
            move || Cow::Owned(order.iter().flat_map(|entry| make(entry).into_iter().take(size)).collect::<Vec<u8>>())
        };
        all.push(("keys".into(), Lazy::made(Dtype::U64, vec![n], bytes(|e| e.0.to_le_bytes(), 8))));
        all.push(("rows".into(), Lazy::made(Dtype::U64, vec![n], bytes(|e| u64::from(e.1).to_le_bytes(), 8))));
        all.push(("seen".into(), Lazy::made(Dtype::U8, vec![n], bytes(|e| u64::from(e.2).to_le_bytes(), 1))));
    }
    all
}

/// The table that [`tensors`] wrote, row for row.
pub fn restore(
    program: &Program,
    spec: &schema::Table,
    tensors: &Tensors<'_>,
    seed: u64,
    folder: &Path,
) -> Result<Table> {
    let slots = slots_of(program, spec);
    let located = |what: String| {
        let file = folder.join(super::table_file(&spec.name));
        Error::input(format!("{}: {what}", file.display()))
    };
    let mut table = Table::blank(spec, slots, seed).map_err(|e| Error::machine(e.to_string()))?;
    let width = table.width();
    let order: Vec<usize> = match spec.kind {
        TableKind::Fixed { .. } => (0..table.rows()).collect(),
        TableKind::Dynamic { .. } => {
            let n = tensors.rows("keys")?;
            let (keys, rows, seen) =
                (tensors.u64("keys", &[n])?, tensors.u64("rows", &[n])?, tensors.u8("seen", &[n])?);
            // Ids are entered in the order of their rows, so that each gets its old number.
            let mut by_row: Vec<usize> = vec![usize::MAX; n];
            for (k, &row) in rows.iter().enumerate() {
                match row.checked_sub(1).and_then(|r| by_row.get_mut(r as usize)) {
                    Some(place) if *place == usize::MAX => *place = k,
                    _ => return Err(located(format!("`rows`: expected each of 1 to {n} once, found {row}"))),
                }
            }
            for (at, &k) in by_row.iter().enumerate() {
                let (Some(&key), Some(&seen)) = (keys.get(k), seen.get(k)) else { continue };
                let row = table.insert_loaded(key, seen != 0).map_err(|e| Error::machine(e.to_string()))?;
                if row as usize != at + 1 {
                    return Err(located(format!("`keys`: expected distinct ids, found {key} twice")));
                }
            }
            rows.iter().map(|&row| row as usize).collect()
        }
    };
    let n = order.len();
    let dynamic = table.is_dynamic();
    let fill = |name: &str, per_row: bool, width: usize, target: &mut [f32]| -> Result<()> {
        let shape = |n: usize| if per_row { vec![n, width] } else { vec![n] };
        let numbers = tensors.f32(name, &shape(n))?;
        for (from, &row) in numbers.chunks_exact(width.max(1)).zip(&order) {
            if let Some(to) = target.get_mut(row * width..(row + 1) * width) {
                to.copy_from_slice(from);
            }
        }
        if dynamic {
            let unseen = tensors.f32(&format!("unseen.{name}"), &shape(1))?;
            if let Some(to) = target.get_mut(..width) {
                to.copy_from_slice(&unseen);
            }
        }
        Ok(())
    };
    fill("weight", true, width, table.weights_mut())?;
    fill("count", false, 1, table.counts_mut())?;
    fill("touches", false, 1, table.touches_mut())?;
    for (k, slot) in slots.iter().enumerate() {
        let name = format!("slot.{}", slot.name);
        let slot_width = table.slot_width(k);
        match slot.per {
            SlotScope::Tensor => {
                let number = tensors.f32(&name, &[1])?;
                table.slot_mut(k).copy_from_slice(&number);
            }
            SlotScope::Weight | SlotScope::Row => fill(&name, slot_width > 1, slot_width, table.slot_mut(k))?,
        }
    }
    Ok(table)
}
