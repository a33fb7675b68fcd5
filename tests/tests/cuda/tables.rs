//! Tables that are on the device in parts: the bits are those of tables that are there whole,
//! whatever comes and goes.

use crate::engine::{case, on_gpu, resolved};
use crate::lists::same;
use din_runtime::exec::cuda::{CudaOptions, DeviceError};
use din_runtime::table::Table;
use din_tests::cuda::{Shim, Trainer};
use din_tests::random_graph::Random;
use std::collections::BTreeSet;

/// Bytes of a row with its counts and its optimizer's state.
fn row_bytes(table: &Table) -> usize {
    let slots = (0..table.slot_count()).map(|k| table.slot(k).len() / table.rows()).sum::<usize>();
    (table.width() + 2 + slots) * 4
}

/// Room for so many rows of each table.
fn room(tables: &[Table], rows: usize) -> CudaOptions {
    CudaOptions { table_memory: Some(tables.iter().map(|t| row_bytes(t) * rows).sum()), ..CudaOptions::default() }
}

fn logits(trainer: &mut Trainer<Shim<'_>>, batch: &din_tests::cuda::Columns) -> Vec<f32> {
    let batch = resolved(batch, &mut trainer.tables);
    trainer.engine.infer(&mut trainer.tables, &batch.inputs()).unwrap();
    trainer.engine.predicted(0).to_vec()
}

/// Batches read 38 rows of a table at most, ids move on and come back; large tables grow beyond
/// what fits.
fn trains_in_parts(wanted: &str, rows: usize, most_lists: usize) {
    let case = case(wanted);
    let mut whole = case.trainer_with(CudaOptions::default()).unwrap();
    let mut parts = case.trainer_with(room(&whole.tables, rows)).unwrap();
    assert!(parts.engine.resident_rows().iter().all(Option::is_none), "all tables are small in the beginning");
    let mut r = Random::new(41);
    let mut lists = BTreeSet::new();
    for step in 0..36 {
        let first = [0, 30, 60, 0, 90, 120, 30, 160][step % 8];
        let batch = case.batch(&mut r, 9 + step % 3, first);
        let expected = on_gpu(&mut whole, &batch).unwrap();
        assert_eq!(on_gpu(&mut parts, &batch), Ok(expected), "{wanted}, step {step}");
        if step >= 24 {
            lists.insert(parts.engine.driver().list.clone());
        }
        if step % 7 == 3 {
            let batch = case.batch(&mut r, 5, 160 - first);
            assert!(logits(&mut whole, &batch) == logits(&mut parts, &batch), "{wanted}, after step {step}");
        }
        if step == 20 {
            // Values may be looked at, or moved, at any time.
            same(&mut whole, &mut parts);
            parts.engine.upload(&parts.state, &parts.tables).unwrap();
        }
    }
    let found = parts.engine.resident_rows();
    println!("{wanted}: {found:?}, {} lists", lists.len());
    let in_parts = found.iter().zip(&parts.tables).filter_map(|(part, table)| Some((part.as_ref()?, table)));
    for (&(room, came, went), table) in in_parts.clone() {
        assert!(room < table.rows() && came > went && went > 0, "{}: {room} {came} {went}", table.name());
    }
    assert!(in_parts.clone().any(|(&(_, _, went), _)| went > 100));
    let largest = parts.tables.iter().map(Table::rows).max();
    assert_eq!(in_parts.map(|(_, table)| table.rows()).max(), largest);
    // What moves is no part of a step's list; uploads of batches are double-buffered.
    assert!(lists.len() <= most_lists, "{} lists", lists.len());
    same(&mut whole, &mut parts);
}

#[test]
fn din_trains_in_parts() {
    trains_in_parts("din", 30, 2);
}

/// Optimizer state by row; frequency and updates; two features that read one table.
#[test]
fn units_train_in_parts() {
    trains_in_parts("unit_rowwise_adagrad", 40, 2);
    trains_in_parts("unit_adam", 50, 2);
}

/// Its shapes, of requests, samples, their entries and pairs, fall into more buckets.
#[test]
fn requests_train_in_parts() {
    trains_in_parts("requests", 50, 16);
}

#[test]
fn what_does_not_fit_is_told_and_changes_nothing() {
    let case = case("din");
    let mut whole = case.trainer_with(CudaOptions::default()).unwrap();
    let mut parts = case.trainer_with(room(&whole.tables, 20)).unwrap();
    let mut r = Random::new(3);
    for step in 0..6 {
        let batch = case.batch(&mut r, 2, 10 * step);
        assert_eq!(on_gpu(&mut parts, &batch), on_gpu(&mut whole, &batch), "step {step}");
    }
    // Its ids have rows from the second time on.
    let large = case.batch(&mut r, 60, 0);
    for tables in [&mut parts.tables, &mut whole.tables] {
        resolved(&large, tables);
    }
    let large = resolved(&large, &mut parts.tables);
    let error = parts.engine.train_step(&mut parts.tables, &large.inputs()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DeviceError::TableCache { .. }), "{text}");
    assert!(text.contains("rows of table `") && text.contains("smaller batch"), "{text}");
    for step in 0..6 {
        let batch = case.batch(&mut r, 2, 10 * step);
        assert_eq!(on_gpu(&mut parts, &batch), on_gpu(&mut whole, &batch), "step {step} after the refusal");
    }
}

/// A batch is placed, and then there is no memory for it.
#[test]
fn a_step_that_does_not_run_changes_nothing() {
    let case = case("din");
    let mut whole = case.trainer_with(CudaOptions::default()).unwrap();
    let mut parts = case.trainer_with(room(&whole.tables, 30)).unwrap();
    let mut r = Random::new(6);
    for step in 0..12 {
        let batch = case.batch(&mut r, 8, 30 * (step % 5));
        assert_eq!(on_gpu(&mut parts, &batch), on_gpu(&mut whole, &batch), "step {step}");
    }
    let before = parts.engine.resident_rows();
    assert!(before.iter().any(|p| p.is_some_and(|(_, _, went)| went > 0)), "{before:?}");
    parts.engine.driver().refused.set(1);
    let large = case.batch(&mut r, 120, 90);
    resolved(&large, &mut whole.tables);
    let large = resolved(&large, &mut parts.tables);
    let error = parts.engine.train_step(&mut parts.tables, &large.inputs()).unwrap_err();
    assert!(matches!(error, DeviceError::Memory { .. }), "{error}");
    parts.engine.driver().refused.set(usize::MAX);
    assert_eq!(parts.engine.resident_rows(), before);
    for step in 0..12 {
        let batch = case.batch(&mut r, 8, 30 * (step % 5));
        assert_eq!(on_gpu(&mut parts, &batch), on_gpu(&mut whole, &batch), "step {step} after the failure");
    }
}

#[test]
fn tables_with_dense_updates_must_fit() {
    let case = case("kuairand");
    let error = case.trainer_with(CudaOptions { table_memory: Some(64), ..CudaOptions::default() }).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, DeviceError::Whole { .. }) && text.contains("`with dense updates`"), "{text}");
}
