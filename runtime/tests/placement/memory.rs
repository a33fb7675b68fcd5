//! Predicted bytes against tables that hold so many ids, and what is said where they do not fit.

use super::{always, options, program};
use din_program::schema::TableKind;
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::placement::{ModelUse, Plan, RunPlanOptions};
use din_runtime::table::{Placement, Sharding, Table};
use din_runtime::threads::Threads;
use std::path::Path;

/// The rows of one rank of several, as the hash divides them.
#[test]
fn tables_take_what_was_predicted() {
    let program = program();
    let spec = &program.tables[0];
    for (ids, ranks) in
        [(1_000, 1), (100_000, 1), (131_072, 1), (131_073, 1), (300_000, 2), (1_000_000, 3), (500_000, 16)]
    {
        let plan = Plan::new(&always(&program, ids), &options(&program, ranks));
        let most = (0..ranks)
            .map(|rank| {
                let sharding = Sharding { buckets: DEFAULT_LEAVES, rank, ranks };
                let slots = program.slots(spec.update);
                let mut table = Table::of_shard(spec, slots, 1, Some(sharding), &Threads::caller()).unwrap();
                let own: Vec<u64> = (0..ids).filter(|&id| sharding.owner(id) == rank).collect();
                table.resolve_train(&own, &mut Vec::new()).unwrap();
                table.bytes()
            })
            .max()
            .unwrap();
        let predicted = plan.tables[0].memory.total;
        let error = predicted as f64 / most as f64 - 1.0;
        assert!(error.abs() < 0.05, "{ids} ids on {ranks} ranks: {predicted} predicted, {most} held");
    }
    // Replicated.
    let fixed = &program.tables[1];
    let plan = Plan::new(&always(&program, 10), &options(&program, 2));
    assert_eq!(plan.tables[1].memory.total, Table::new(fixed, program.slots(fixed.update), 1).unwrap().bytes());
}

#[test]
fn parts_of_fixed_tables_take_what_was_predicted() {
    let mut program = program();
    program.tables[1].kind = TableKind::Fixed { size: 300_000 };
    let spec = &program.tables[1];
    for ranks in [2, 3, 16] {
        let mut model = always(&program, 10);
        model.tables[1].rows = 300_000;
        let plan = Plan::new(&model, &options(&program, ranks));
        assert_eq!(plan.tables[1].placement, Placement::Sharded);
        let bytes = (0..ranks).map(|rank| {
            let sharding = Sharding { buckets: DEFAULT_LEAVES, rank, ranks };
            let slots = program.slots(spec.update);
            Table::of_shard(spec, slots, 1, Some(sharding), &Threads::caller()).unwrap().bytes()
        });
        let (predicted, most) = (plan.tables[1].memory.total, bytes.max().unwrap());
        let error = predicted as f64 / most as f64 - 1.0;
        assert!(error.abs() < 0.05, "{ranks} ranks: {predicted} predicted, {most} held");
    }
}

#[test]
fn the_sum_is_that_of_its_parts() {
    let program = program();
    let plan = Plan::new(&always(&program, 100_000), &options(&program, 2));
    let table = &plan.tables[0].memory;
    // 50,001 rows of 4 weights, Adam's two moments of each, frequency and updates; 2^15 lines.
    assert_eq!(table.rows, 50_001);
    assert_eq!(table.state, [("m".to_string(), 16 * 50_001), ("v".to_string(), 16 * 50_001)]);
    assert_eq!((table.weights, table.frequency, table.updates), (16 * 50_001, 4 * 50_001, 4 * 50_001));
    // The order of the ids, and the weights in it.
    assert_eq!((table.index, table.transient), (64 << 15, 16 * 50_000 + 16 * 50_001));
    assert_eq!(table.total, 56 * 50_001 + (64 << 15));
    let memory = &plan.memory;
    // Weights and biases, and Adam's two moments of each.
    assert_eq!(memory.dense, 3 * 4 * 2401);
    assert_eq!(memory.tables, plan.tables.iter().map(|table| table.memory.total).sum::<u64>());
    let training = memory.tables + memory.dense + memory.step + memory.reading + memory.process;
    // Reading takes more than a checkpoint, which is written without it.
    assert_eq!((memory.training, memory.total), (training, training));
    assert_eq!((memory.device, memory.needed()), (None, memory.total));
    let several = RunPlanOptions { epochs: 2, ..options(&program, 2) };
    let several = Plan::new(&always(&program, 100_000), &several).memory;
    // Both windows are full, of which one is used up when the checkpoint is written.
    assert_eq!(several.total, several.training);
    let large = RunPlanOptions { epochs: 2, ..options(&program, 2) };
    let large = Plan::new(&ModelUse { samples: Some(5000), ..always(&program, 10_000_000) }, &large).memory;
    assert!(large.training < large.total && large.total < large.training + large.transient, "{large:?}");
}

/// What nobody writes takes no memory.
#[test]
fn frequencies_that_nobody_reads_take_none() {
    let mut program = program();
    let counted = Plan::new(&always(&program, 1000), &options(&program, 1)).memory.tables;
    program.tables.iter_mut().for_each(|table| table.reads_frequency = false);
    let uncounted = Plan::new(&always(&program, 1000), &options(&program, 1)).memory.tables;
    assert_eq!(counted - uncounted, 4 * (1001 + 10));
}

/// Of a window, of which there are two, a rank has its part.
#[test]
fn windows_are_shared_by_ranks_and_end_with_the_data() {
    let program = program();
    let reading = |ranks, samples, epochs| {
        let model = ModelUse { samples, ..always(&program, 1000) };
        Plan::new(&model, &RunPlanOptions { epochs, ..options(&program, ranks) }).memory.reading
    };
    let few = reading(1, Some(10_000), 1);
    // A sample has 12 ids, a list, a label and its place; finished batches are six.
    let sample = 8 * 12 + 4 + 8;
    let decoding = 20 << 20;
    assert_eq!(few, 10_000 * (sample + 12) + 6 * 4096 * sample + decoding);
    assert_eq!(reading(1, Some(10_000), 3), few + 10_000 * (sample + 12));
    assert_eq!(reading(1, None, 1), reading(1, Some(1 << 40), 1));
    let whole = reading(1, None, 1);
    assert_eq!(whole, 2 * (1 << 20) * (sample + 12) + 6 * 4096 * sample + decoding);
    assert!(reading(4, None, 1) < whole / 2);
}

#[test]
fn what_does_not_fit_says_what_would() {
    let program = program();
    let model = always(&program, 1_000_000_000);
    let check = |ranks, memory, placement| {
        let mut options = options(&program, ranks);
        (options.memory, options.placements[0]) = (Some(memory), placement);
        Plan::new(&model, &options).check(&model, &options, Path::new("models"))
    };
    // 56 bytes per row, an index of 32 GiB and, while it is saved, 16 bytes per row for the weights
    // and as many for their order.
    check(1, 115 << 30, None).unwrap();
    let error = check(1, 60 << 30, None).unwrap_err().to_string();
    assert!(error.starts_with("models/small.din:12:15: a rank of 1 needs 11"), "{error}");
    assert!(error.contains("and has 60.0 GiB; table `item` takes 84.2 GiB of it"), "{error}");
    assert!(error.contains("help: --ranks 2"), "{error}");
    let error = check(4, 60 << 30, Some(Placement::Replicated)).unwrap_err().to_string();
    assert!(error.contains("help: --placement item=sharded") && !error.contains("--ranks"), "{error}");
    let error = check(1, 1 << 20, None).unwrap_err().to_string();
    assert!(error.contains("give a rank more memory"), "{error}");
    // No table has more than 2^32 - 2 rows.
    let huge = always(&program, 10_000_000_000);
    let options = options(&program, 2);
    let error = Plan::new(&huge, &options).check(&huge, &options, Path::new("")).unwrap_err().to_string();
    assert!(error.contains("5000000001 rows on a rank, of which there may be 4294967294"), "{error}");
    assert!(error.contains("help: --ranks 4"), "{error}");
}
