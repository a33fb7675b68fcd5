//! A step's list of commands: two lists for all batches of a bucket, since uploads are
//! double-buffered to two places, and no bit that depends on it.

use crate::engine::{Case, case, on_gpu, resolved};
use din_runtime::exec::cuda::CudaOptions;
use din_tests::cuda::{Columns, Shim, Trainer};
use din_tests::random_graph::Random;
use std::collections::{BTreeMap, BTreeSet};

/// Two trainers have the same bits.
pub fn same(a: &mut Trainer<Shim<'_>>, b: &mut Trainer<Shim<'_>>) {
    a.download().unwrap();
    b.download().unwrap();
    assert!(a.state == b.state);
    for (a, b) in a.tables.iter().zip(&b.tables) {
        let slots = (0..a.slot_count()).all(|k| a.slot(k) == b.slot(k));
        assert!(a.weights() == b.weights() && a.updates() == b.updates() && slots, "{}", a.name());
    }
}

fn batches(case: &Case, count: usize, from: usize, to: usize) -> Vec<Columns> {
    let mut r = Random::new(17);
    (0..count)
        .map(|_| from + r.below(to - from))
        .collect::<Vec<_>>()
        .iter()
        .map(|&n| case.batch(&mut r, n, 0))
        .collect()
}

fn moves_no_bit(wanted: &str) {
    let case = case(wanted);
    let mut exact = case.trainer_with(CudaOptions { buckets: 0, ..CudaOptions::default() }).unwrap();
    let mut few = case.trainer_with(CudaOptions { buckets: 1, ..CudaOptions::default() }).unwrap();
    let mut usual = case.trainer_with(CudaOptions::default()).unwrap();
    for (step, batch) in batches(&case, 8, 1, 40).iter().enumerate() {
        let expected = on_gpu(&mut exact, batch).unwrap();
        assert_eq!(on_gpu(&mut few, batch), Ok(expected), "{wanted}, step {step}");
        assert_eq!(on_gpu(&mut usual, batch), Ok(expected), "{wanted}, step {step}");
    }
    let batch = &batches(&case, 1, 20, 21)[0];
    let of = |trainer: &mut Trainer<Shim<'_>>| {
        let batch = resolved(batch, &mut trainer.tables);
        trainer.engine.infer(&mut trainer.tables, &batch.inputs()).unwrap();
        trainer.engine.predicted(0).to_vec()
    };
    let expected = of(&mut exact);
    assert!(of(&mut few) == expected && of(&mut usual) == expected, "{wanted}: logits");
    same(&mut exact, &mut few);
    same(&mut exact, &mut usual);
}

#[test]
fn buckets_move_no_bit() {
    moves_no_bit("din");
}

#[test]
fn buckets_move_no_bit_of_requests() {
    moves_no_bit("requests");
}

/// Every row is updated in each step.
#[test]
fn buckets_move_no_bit_on_every_row() {
    moves_no_bit("kuairand");
}

/// The bound that a size falls under, written anew: multiples of 16 up to 128, from there eight a
/// doubling.
fn bound(size: usize) -> usize {
    let mut apart = 16;
    while apart * 16 < size {
        apart *= 2;
    }
    size.max(1).div_ceil(apart) * apart
}

#[test]
fn a_bucket_has_few_lists() {
    let case = case("din");
    let mut trainer = case.trainer_with(CudaOptions::default()).unwrap();
    let mut exact = case.trainer_with(CudaOptions { buckets: 0, ..CudaOptions::default() }).unwrap();
    // Only lists are looked at.
    trainer.engine.driver().idle.set(true);
    exact.engine.driver().idle.set(true);
    // As training has them, and some of any size.
    let batches = [batches(&case, 60, 900, 901), batches(&case, 40, 600, 1000)].concat();
    // Blocks get their memory, ids their rows.
    for batch in &batches {
        on_gpu(&mut trainer, batch).unwrap();
        on_gpu(&mut exact, batch).unwrap();
    }
    let (mut lists, mut sizes) = (BTreeMap::<_, BTreeSet<String>>::new(), BTreeMap::<_, usize>::new());
    let mut of_exact = BTreeSet::new();
    for batch in &batches {
        on_gpu(&mut trainer, batch).unwrap();
        on_gpu(&mut exact, batch).unwrap();
        let entries: Vec<usize> = batch.offsets.iter().map(|o| bound(o[batch.rows] as usize)).collect();
        let key = (bound(batch.rows), entries);
        *sizes.entry(key.clone()).or_default() += 1;
        lists.entry(key).or_default().insert(trainer.engine.driver().list.clone());
        of_exact.insert(exact.engine.driver().list.clone());
    }
    assert!(lists.values().all(|l| l.len() <= 2), "{:?}", lists.iter().map(|(k, l)| (k, l.len())).collect::<Vec<_>>());
    println!("100 batches: {} lists with buckets, {} without; {sizes:?}", lists.len(), of_exact.len());
    // One of the usual size more often than not has the layout of all others.
    let usual = sizes.iter().filter(|(key, _)| key.0 == bound(900)).map(|(_, &n)| n).max();
    assert!(usual >= Some(40) && lists.len() * 2 < of_exact.len(), "{usual:?}");
}

/// What needs the batch alone runs concurrently with the step's own launches, and what updates
/// parameters with what updates tables.
#[test]
fn what_does_not_wait_runs_on_the_side_stream() {
    let case = case("din_dice");
    let mut trainer = case.trainer_with(CudaOptions::default()).unwrap();
    on_gpu(&mut trainer, &case.batch(&mut Random::new(3), 9, 0)).unwrap();
    let list = &trainer.engine.driver().list;
    let lines = |kernel: &str| -> Vec<(usize, bool)> {
        let all = list.lines().enumerate().filter(|(_, l)| l.contains(kernel));
        all.map(|(k, l)| (k, l.contains("side_stream: true"))).collect()
    };
    let (rows, sums, train, join) = (lines("din_rows_"), lines("din_rows_sum"), lines("din_train_"), lines("Join"));
    let (first_sum, joins) = (sums[0].0, (join[0].0, join[1].0));
    assert!(rows.iter().all(|&(k, side)| side == (k < first_sum)) && sums.len() == 1);
    assert!(train.iter().all(|&(k, side)| !side && k < joins.0), "the step's own follow one another");
    assert!(rows[0].0 < train[0].0 && joins.0 < first_sum && first_sum < joins.1);
    let copies = lines("Copy");
    assert!(!copies.is_empty() && copies.iter().all(|&(k, side)| side && k > joins.0));
    let all = list.lines().filter(|l| !l.starts_with("Join")).count();
    println!("{all} launches and copies, {} of them on the side stream", lines("side_stream: true").len());
}
