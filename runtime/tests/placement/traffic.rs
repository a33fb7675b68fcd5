//! Words between ranks, operations, seconds: small cases, computed by hand.

use super::{always, options, program};
use din_program::schema::{TableKind, TableSpec};
use din_runtime::placement::{IdDistribution, Plan, Traffic, TrafficPlan, choose};
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
    // Three quarters of 5 ids are another rank's; three ranks ask for a quarter of 5 each. One word
    // in each message says how many they are.
    close(words(item.traffic.ids), (2.0 * 3.75 + 3.0, 2.0 * 3.75 + 3.0));
    close(words(item.traffic.rows), (4.0 * 3.75, 4.0 * 3.75));
    // Gradients have 4 floats each, and one word in each message says how many there are.
    close(words(item.traffic.gradients), (4.0 * 3.75 + 3.0, 4.0 * 3.75 + 3.0));
    // 10 ids and their gradients of 2 floats, to three ranks.
    let kind = &plan.tables[1];
    assert_eq!(kind.placement, Placement::Replicated);
    close(words(kind.traffic.ids), (63.0, 63.0));
    assert_eq!(kind.traffic.rows, Traffic::default());
    close(words(kind.traffic.gradients), (63.0, 63.0));
    // Of 1024 samples, three quarters are decoded elsewhere: 11 ids of two words, one kind, a
    // length, and two bits of a label.
    close(words(plan.traffic.samples), (768.0 * 24.0625, 768.0 * 24.0625));
    // Messages of ids and rows begin with a word.
    let sum = plan.tables.iter().map(|table| table.traffic.total().sent).sum::<f64>() + 4.0 * 6.0;
    let TrafficPlan { blocks, gathered, samples, total, .. } = plan.traffic;
    close((total.sent, 0.0), (sum + blocks.sent + gathered.sent + samples.sent, 0.0));
}

/// Floats that are reduced over samples: weights and biases of 4 x 400 and 400 x 1, and the loss.
const REDUCED: f64 = 1600.0 + 400.0 + 400.0 + 1.0 + 1.0;

#[test]
fn few_floats_go_to_all_ranks() {
    let program = program();
    let plan = Plan::new(&always(&program, 1000), &options(&program, 4));
    let axes = program.train.axes.count() as f64;
    close(words(plan.traffic.gathered), (3.0 * (REDUCED + axes), 3.0 * (REDUCED + axes)));
    assert_eq!((plan.traffic.blocks, plan.traffic.exchanges, plan.traffic.gathers), (Traffic::default(), 2, 2));
}

#[test]
fn many_floats_go_out_in_blocks_and_come_back_joined() {
    let program = program();
    let plan = Plan::new(&always(&program, 1000), &options(&program, 16));
    // The last rank joins most: a sixteenth of each matrix, and the two single floats.
    let block = 100.0 + 25.0 + 25.0 + 1.0 + 1.0;
    let axes = 15.0 * program.train.axes.count() as f64;
    close(words(plan.traffic.blocks), (REDUCED - block, 15.0 * block));
    close(words(plan.traffic.gathered), (15.0 * block + axes, REDUCED - block + axes));
    assert_eq!((plan.traffic.exchanges, plan.traffic.gathers), (3, 2));
}

/// Leaves 0..5, 5..10 and 10..16: subtrees of 4 + 1, 1 + 2 + 2 and 2 + 4 leaves of 256 samples. The
/// last rank has most samples, and 6 of 16 buckets.
#[test]
fn three_ranks_send_a_gradient_per_subtree() {
    let program = program();
    let mut model = always(&program, 1600);
    let plan = Plan::new(&model, &options(&program, 3));
    assert_eq!((plan.samples, plan.tables[0].memory.rows), (6.0 * 256.0, 601));
    // Five rows in each subtree of each rank.
    let item = &plan.tables[0].traffic;
    close(words(item.gradients), (2.0 * 20.0 * 10.0 / 16.0 + 4.0, (2.0 + 3.0) * 20.0 * 6.0 / 16.0 + 5.0));

    // A thousand ids, each in a thousandth of the samples: each gradient says whose it is.
    model.tables[0].distribution = IdDistribution::Measured(vec![(1e-3, 1e3)]);
    let plan = Plan::new(&model, &options(&program, 3));
    let distinct = |leaves: i32| 1e3 * (1.0 - (1.0 - 1e-3f64).powi(256 * leaves));
    let words_of = |trees: &[i32]| 5.0 * trees.iter().map(|&leaves| distinct(leaves)).sum::<f64>();
    let (own, others) = (words_of(&[2, 4]), words_of(&[4, 1]) + words_of(&[1, 2, 2]));
    close(words(plan.tables[0].traffic.gradients), (own * 10.0 / 16.0 + 4.0, others * 6.0 / 16.0 + 5.0));
    assert!((plan.tables[0].distinct - distinct(6)).abs() < 1e-6);
    assert!((plan.tables[0].distinct_of_batch - distinct(16)).abs() < 1e-6);
}

#[test]
fn one_rank_sends_nothing() {
    let program = program();
    let plan = Plan::new(&always(&program, 1000), &options(&program, 1));
    assert_eq!((plan.traffic.total, plan.traffic.exchanges, plan.traffic.gathers), (Traffic::default(), 0, 0));
    assert_eq!((plan.time.all_to_all, plan.time.gather, plan.time.ahead), (0.0, 0.0, 0.0));
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
    (options.rates.bandwidth, options.rates.latency, options.rates.message) = (1e6, 1.0, 0.25);
    let plan = Plan::new(&always(&program, 1000), &options);
    // Two operations each of 1.25 s, and their bytes.
    let traffic = &plan.traffic;
    let exchanged = (traffic.tables.rows.sent + traffic.tables.gradients.sent) / 1e6;
    assert!((plan.time.all_to_all - (2.5 + exchanged)).abs() < 1e-9);
    assert!((plan.time.gather - (2.5 + traffic.gathered.sent / 1e6)).abs() < 1e-9);
    assert!((plan.time.ahead - (2.5 + (traffic.tables.ids.sent + traffic.samples.sent) / 1e6)).abs() < 1e-9);
    // Forward, weight gradient and operand gradient of 4 x 400, the first two of 400 x 1 (the third
    // is element-wise), for 2048 samples.
    assert_eq!(plan.work.product_flops, 2048.0 * 2.0 * (3.0 * 1600.0 + 2.0 * 400.0));
    assert!((plan.time.compute - plan.work.product_flops / 1e9).abs() < 1e-9);
    assert_eq!(plan.time.bottleneck, "gather");
    let sum: f64 = plan.time.parts().iter().map(|(_, seconds)| seconds).sum();
    assert_eq!(plan.time.total, sum);
    assert_eq!(plan.samples_per_second, 4096.0 / sum);
}

#[test]
fn small_fixed_tables_are_replicated() {
    let program = program();
    let fixed = |size| TableSpec { kind: TableKind::Fixed { size }, ..program.tables[1].clone() };
    // A row takes 2 + 1 + 2 words.
    for (size, ranks, expected) in [
        (10, 2, Placement::Replicated),
        ((64 << 10) / 20, 2, Placement::Replicated),
        ((64 << 10) / 20 + 1, 2, Placement::Sharded),
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
