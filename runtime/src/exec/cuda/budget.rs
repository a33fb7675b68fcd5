//! Which tables a device has whole, and how many rows of the others, if its memory is too small for
//! all.

use super::driver::DeviceError;
use super::table_cache::{MOST, row_bytes};
use crate::table::Table;
use din_program::schema::{self, UpdateRule};

/// Bytes that a table of so many rows takes with the room in which it grows.
pub(super) fn bytes_with_headroom(row: usize, rows: usize) -> usize {
    let bytes = row.saturating_mul(rows);
    bytes.saturating_add(bytes / 4)
}

/// By table, how many rows the device has room for; `None` for all of them, and where there is no
/// budget. Tables with dense updates are there whole; of the others the small ones are, up to half
/// of the budget, and the large ones share the rest by their sizes.
pub(super) fn assign_residency(
    specs: &[schema::TableSpec],
    tables: &[Table],
    budget: Option<usize>,
) -> Result<Vec<Option<usize>>, DeviceError> {
    let bytes: Vec<usize> = tables.iter().map(|t| bytes_with_headroom(row_bytes(t), t.rows())).collect();
    let all = bytes.iter().fold(0usize, |all, b| all.saturating_add(*b));
    let Some(budget) = budget.filter(|&b| b < all) else { return Ok(vec![None; tables.len()]) };
    let mut taken = 0usize;
    let (must, mut may): (Vec<usize>, Vec<usize>) =
        (0..tables.len()).partition(|&t| specs[t].update_rule == UpdateRule::Dense);
    for t in must {
        taken = taken.saturating_add(bytes[t]);
        if taken > budget {
            return Err(DeviceError::Whole { table: tables[t].name().into(), bytes: bytes[t], budget });
        }
    }
    may.sort_by_key(|&t| (bytes[t], t));
    let mut rooms = vec![None; tables.len()];
    let mut large = Vec::new();
    for t in may {
        match taken.saturating_add(bytes[t]) {
            then if then <= budget / 2 => taken = then,
            _ => large.push(t),
        }
    }
    let (left, wanted) = ((budget - taken) as u128, large.iter().map(|&t| bytes[t] as u128).sum::<u128>().max(1));
    for t in large {
        let room = (left * bytes[t] as u128 / wanted) as usize / row_bytes(&tables[t]);
        rooms[t] = Some(room.min(MOST));
    }
    Ok(rooms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use din_program::schema::{Init, TableKind};

    fn case(sizes: &[(u64, UpdateRule)]) -> (Vec<schema::TableSpec>, Vec<Table>) {
        let spec = |(k, &(size, update_rule)): (usize, &(u64, UpdateRule))| schema::TableSpec {
            name: format!("t{k}"),
            kind: TableKind::Fixed { size },
            width: 2,
            init: Init::Constant(0.0),
            update: 0,
            features: vec![],
            reads_frequency: false,
            update_rule,
            frozen: false,
            vectors: None,
            admission: None,
            location: String::new(),
        };
        let specs: Vec<schema::TableSpec> = sizes.iter().enumerate().map(spec).collect();
        let tables = specs.iter().map(|s| Table::new(s, &[], 1).unwrap()).collect();
        (specs, tables)
    }

    /// A row has 16 bytes here: two weights, its frequency and its updates.
    #[test]
    fn small_tables_are_whole_and_large_ones_share() {
        let (specs, tables) = case(&[
            (1000, UpdateRule::Sparse),
            (10, UpdateRule::Sparse),
            (3000, UpdateRule::Sparse),
            (20, UpdateRule::Dense),
        ]);
        let assign_residency = |budget| assign_residency(&specs, &tables, budget);
        assert_eq!(assign_residency(None), Ok(vec![None; 4]));
        assert_eq!(assign_residency(Some(4030 * 20)), Ok(vec![None; 4]));
        // With room to grow the tables take 20000, 200, 60000 and 400 bytes. The first is within
        // half of this budget.
        assert_eq!(assign_residency(Some(20_600 + 44_000)), Ok(vec![None, None, Some(2750), None]));
        // Here the rest is shared one to three.
        assert_eq!(assign_residency(Some(600 + 6_400)), Ok(vec![Some(100), None, Some(300), None]));
        let error = assign_residency(Some(399)).unwrap_err();
        assert_eq!(error, DeviceError::Whole { table: "t3".into(), bytes: 400, budget: 399 });
        assert!(error.to_string().contains("dense updates"), "{error}");
    }
}
