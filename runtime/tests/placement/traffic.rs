//! Words between ranks, operations, seconds: small cases, computed by hand.

use crate::{always, options, program};
use din_program::schema::{TableKind, TableSpec};
use din_runtime::placement::{Plan, Traffic, choose};
use din_runtime::table::Placement;

fn words(traffic: Traffic) -> (f64, f64) {
    (traffic.sent / 4.0, traffic.received / 4.0)
}

fn close(found: (f64, f64), expected: (f64, f64)) {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
    assert!(near(found.0, expected.0) && near(found.1, expected.1), "expected {expected:?}, found {found:?}");
}

#[test]
fn four_ranks_send_what_was_counted_by_hand() {
    let program = program();
    let plan = Plan::new(&always(&program, 1000), &options(&program, 4));
    assert_eq!((plan.leaves, plan.samples, plan.idle_ranks), (16, 1024.0, 0));
    let item = &plan.tables[0];
    assert_eq!((item.placement, item.entries, item.distinct), (Placement::Sharded, 11.0 * 1024.0, 5.0));
    // Three quarters of 5 ids are another rank's; three ranks ask for a quarter of 5 each.
    close(words(item.traffic.ids), (2.0 * 3.75, 2.0 * 3.75));
    close(words(item.traffic.rows), (4.0 * 3.75, 4.0 * 3.75));
    // Per id one count, and one subtree with its number and 4 floats.
    close(words(item.traffic.gradients), (6.0 * 3.75, 6.0 * 3.75));
    assert_eq!(item.traffic.replicated, Traffic::default());
    // 10 ids of two words with count, subtree and 2 floats, to three ranks.
    let kind = &plan.tables[1];
    assert_eq!(kind.placement, Placement::Replicated);
    close(words(kind.traffic.replicated), (10.0 * 6.0 * 3.0, 10.0 * 6.0 * 3.0));
    close(words(kind.traffic.total()), words(kind.traffic.replicated));
}

#[test]
fn dense_gradients_go_out_in_blocks_and_come_back_joined() {
    let program = program();
    let plan = Plan::new(&always(&program, 1000), &options(&program, 4));
    // Weights and biases of 4 x 400 and 400 x 1, and the loss.
    let reduced: f64 = 1600.0 + 400.0 + 400.0 + 1.0 + 1.0;
    let all = (plan.traffic.dense.sent + plan.traffic.reductions.sent) / 4.0;
    // Three quarters, twice, of what goes in blocks; three times what every rank gets.
    let blocks = plan.traffic.dense.sent / 4.0 / 1.5;
    let small = plan.traffic.reductions.sent / 4.0 / 3.0;
    assert!((blocks + small - reduced).abs() < 1e-6, "{blocks} in blocks, {small} gathered, {all} words");
    assert!(blocks >= 2400.0);
    assert_eq!(plan.traffic.dense.sent, plan.traffic.dense.received);
}

#[test]
fn three_ranks_send_a_gradient_per_subtree() {
    let program = program();
    let mut only_items = options(&program, 3);
    only_items.placements = vec![Some(Placement::Sharded), Some(Placement::Sharded)];
    let plan = Plan::new(&always(&program, 1600), &only_items);
    // Leaves 0..5, 5..10 and 10..16: subtrees of 4 + 1, 1 + 2 + 2 and 2 + 4 leaves. The rank in the
    // middle sends most: each of its 5 ids three times, 11 of 16 to others.
    let item = &plan.tables[0].traffic;
    close(words(item.gradients), (5.0 * (1.0 + 3.0 * 5.0) * 11.0 / 16.0, (5.0 * 2.0 + 5.0 * 4.0 * 5.0) * 5.0 / 16.0));
    // The last rank has 6 leaves and 6 buckets.
    assert_eq!((plan.samples, plan.tables[0].memory.rows), (4096.0 - 2560.0, 601));
}

#[test]
fn one_rank_sends_nothing() {
    let program = program();
    let plan = Plan::new(&always(&program, 1000), &options(&program, 1));
    assert_eq!((plan.traffic.total, plan.traffic.exchanges, plan.traffic.gathers), (Traffic::default(), 0, 0));
    assert_eq!((plan.time.all_to_all, plan.time.gather, plan.time.ids_ahead), (0.0, 0.0, 0.0));
}

/// A batch with fewer leaves than ranks leaves ranks without samples, which still own rows.
#[test]
fn a_small_batch_leaves_ranks_idle() {
    let program = program();
    let mut small = options(&program, 16);
    small.batch = 300;
    let plan = Plan::new(&always(&program, 1600), &small);
    assert_eq!((plan.leaves, plan.idle_ranks, plan.samples), (4, 12, 75.0));
    assert_eq!(plan.tables[0].memory.rows, 101);
}

#[test]
fn products_and_times_are_those_of_the_model() {
    let program = program();
    let mut options = options(&program, 2);
    (options.rates.products, options.rates.values) = (1e9, 1e30);
    (options.rates.bandwidth, options.rates.latency) = (1e6, 1.0);
    let plan = Plan::new(&always(&program, 1000), &options);
    // Forward, weight gradient and operand gradient of 4 x 400, the first two of 400 x 1 (the third
    // is element-wise), for 2048 samples.
    assert_eq!(plan.work.product_flops, 2048.0 * 2.0 * (3.0 * 1600.0 + 2.0 * 400.0));
    assert!((plan.time.compute - plan.work.product_flops / 1e9).abs() < 1e-9);
    let traffic = &plan.traffic;
    let exchanged = (traffic.tables.rows.sent + traffic.tables.gradients.sent + traffic.dense.sent / 2.0) / 1e6;
    assert!((plan.time.all_to_all - (f64::from(traffic.exchanges) + exchanged)).abs() < 1e-9);
    let gathered = (traffic.tables.replicated.sent + traffic.reductions.sent + traffic.dense.sent / 2.0) / 1e6;
    assert!((plan.time.gather - (f64::from(traffic.gathers) + gathered)).abs() < 1e-9);
    assert_eq!(plan.time.bottleneck, if traffic.exchanges > traffic.gathers { "all-to-all" } else { "gather" });
    let sum: f64 = plan.time.parts().iter().map(|(_, seconds)| seconds).sum();
    assert_eq!(plan.time.total, sum);
    assert_eq!(plan.samples_per_second, 4096.0 / sum);
}

#[test]
fn small_fixed_tables_are_replicated() {
    let program = program();
    let fixed = |size| TableSpec { kind: TableKind::Fixed { size }, ..program.tables[1].clone() };
    // A row takes 2 + 1 + 1 + 2 words.
    for (size, ranks, expected) in [
        (10, 2, Placement::Replicated),
        ((64 << 10) / 24, 2, Placement::Replicated),
        ((64 << 10) / 24 + 1, 2, Placement::Sharded),
        (10, 512, Placement::Sharded),
        (2, 512, Placement::Replicated),
        (u64::MAX, 1024, Placement::Sharded),
    ] {
        assert_eq!(choose(&fixed(size), ranks, None), expected, "{size} rows, {ranks} ranks");
    }
    assert_eq!(choose(&program.tables[0], 2, None), Placement::Sharded);
    assert_eq!(choose(&program.tables[0], 2, Some(Placement::Replicated)), Placement::Replicated);
    assert_eq!(choose(&fixed(10), 2, Some(Placement::Sharded)), Placement::Sharded);
}
