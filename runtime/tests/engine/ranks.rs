//! A step of one rank of a run: on rows that were fetched, of a part of a batch. What several ranks
//! compute together is in `tests/tests/ranks.rs`.

use super::program::*;
use din_program::schema::UpdateRule;
use din_runtime::comm::LocalCommunicator;
use din_runtime::cpu;
use din_runtime::exec::{BatchCut, CheckError, ExecError, FetchedRows, StepInputs};
use din_runtime::leaves::{DEFAULT_LEAVES, LeafRange};
use din_runtime::table::RowValues;
use std::sync::Arc;

/// The rows that a batch reads, copied from a table, and the batch with numbers of those.
fn fetch(batch: &Columns, weights: &[f32]) -> (FetchedRows, Vec<Vec<Vec<u32>>>) {
    let mut numbers = batch.row_numbers[0].concat();
    numbers.sort_unstable();
    numbers.dedup();
    let values = numbers.iter().flat_map(|&n| weights[n as usize * D..(n as usize + 1) * D].to_vec()).collect();
    let place = |row: &u32| numbers.binary_search(row).unwrap() as u32;
    let renumbered = batch.row_numbers[0].iter().map(|rows| rows.iter().map(place).collect()).collect();
    let count = numbers.len();
    let owned_by = std::iter::once(0..count as u32).collect();
    (FetchedRows { count, values: RowValues::F32(values), owned_by, served: vec![numbers] }, vec![renumbered])
}

/// Steps of the only rank, which read copies of their rows, have the bits of steps that read the
/// table.
#[test]
fn fetched_rows_are_as_good_as_the_table() {
    for rule in [UpdateRule::Sparse, UpdateRule::Dense] {
        let made = || {
            let mut program = program();
            program.tables[0].update_rule = rule;
            (state(&program), tables(&program), engine(program, 2, cpu::detect()).unwrap())
        };
        let ((mut state, mut tables, mut direct), (mut other_state, mut other_tables, mut fetching)) = (made(), made());
        fetching.set_ranks(Arc::new(LocalCommunicator));
        let mut random = Random(23);
        for samples in [40, 1, 7, 300, 64] {
            let batch = Columns::random(&mut random, samples);
            let loss = direct.train_step(&mut state, &mut tables, &batch.inputs()).unwrap();
            let (fetched, row_numbers) = fetch(&batch, other_tables[0].weights());
            let fetched = [fetched];
            let leaves = LeafRange::whole(samples, DEFAULT_LEAVES);
            let cut = BatchCut::Part(&leaves);
            let inputs = StepInputs { row_numbers: &row_numbers, fetched: Some(&fetched), cut, ..batch.inputs() };
            let other_loss = fetching.train_step(&mut other_state, &mut other_tables, &inputs).unwrap();
            assert_eq!(loss.to_bits(), other_loss.to_bits());
            assert_eq!(state, other_state);
            let (a, b) = (&tables[0], &other_tables[0]);
            assert!(a.weights() == b.weights() && a.slot(0) == b.slot(0), "{samples} samples, {rule:?} updates");
            fetching.infer(&other_state, &other_tables, &inputs).unwrap();
        }
    }
}

#[test]
fn parts_that_do_not_fit_are_errors() {
    let program = program();
    let (state, tables) = (state(&program), tables(&program));
    let mut executor = engine(program, 1, cpu::detect()).unwrap();
    let batch = Columns::random(&mut Random(24), 20);
    let (good, row_numbers) = fetch(&batch, tables[0].weights());
    let mut refused = |fetched: Option<&[FetchedRows]>, cut: BatchCut<'_>| {
        let inputs = match fetched {
            Some(_) => StepInputs { row_numbers: &row_numbers, fetched, cut, ..batch.inputs() },
            None => StepInputs { cut, ..batch.inputs() },
        };
        let outcome = executor.gradients(&state, &tables, &inputs);
        matches!(outcome, Err(ExecError::Check(CheckError::Input(_))))
    };
    let whole = BatchCut::Whole(16);
    let leaves = |bounds: &[u32], first, total| LeafRange { bounds: bounds.to_vec(), first, total };
    assert!(!refused(Some(std::slice::from_ref(&good)), whole));
    assert!(!refused(None, BatchCut::Part(&leaves(&[0, 5, 20], 2, 4))));
    for (bounds, first, total) in [
        (&[0, 5, 19][..], 0, 2),
        (&[1, 5, 20], 0, 2),
        (&[0, 21, 20], 0, 2),
        (&[0, 5, 20], 3, 4),
        (&[0, 5, 20], 0, 3),
        (&[], 0, 1),
    ] {
        assert!(refused(None, BatchCut::Part(&leaves(bounds, first, total))), "{bounds:?}");
    }
    assert!(refused(None, BatchCut::Whole(12)) && refused(None, BatchCut::Whole(2048)));
    assert!(refused(Some(&[]), whole));
    let spoiled = |spoil: fn(&mut FetchedRows)| {
        let mut rows = good.clone();
        spoil(&mut rows);
        [rows]
    };
    assert!(refused(Some(&spoiled(|rows| rows.served[0][0] = ROWS as u32)), whole));
    assert!(refused(Some(&spoiled(|rows| truncate(rows, 5))), whole));
    assert!(refused(Some(&spoiled(|rows| rows.owned_by[0].end += 1)), whole));
    let short = spoiled(|rows| {
        rows.count -= 1;
        rows.owned_by[0].end -= 1;
        let numbers = rows.count * D;
        truncate(rows, numbers);
    });
    assert!(refused(Some(&short), whole), "a batch names a row that was not fetched");
}

fn truncate(rows: &mut FetchedRows, numbers: usize) {
    rows.values = RowValues::F32(rows.values.trained()[..numbers].to_vec());
}
