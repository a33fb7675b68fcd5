//! The profile of a device, on the shim, whose clock gives every block a microsecond: times and
//! launches are those of the driver, operations those of the CPU engine's profile, updated rows
//! those of the batches; and it costs no bit.

use crate::engine::{case, resolved};
use din_program::cuda::Grid;
use din_program::schedule::Operation;
use din_program::schema::UpdateRule;
use din_runtime::cpu;
use din_runtime::exec::ProfileRow;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::threads::Threads;
use din_tests::random_graph::Random;
use std::collections::{BTreeMap, BTreeSet};

const STEPS: u32 = 3;

#[test]
fn profiles_are_of_what_ran() {
    let case = case("base");
    let all = case.program.train.phases.iter().flat_map(|p| &p.calls);
    let folded = |op: &Operation| matches!(op, Operation::AbsorbedMatMul { .. } | Operation::AbsorbedOuter { .. });
    assert!(!all.into_iter().any(|c| folded(&c.op)), "the CPU does less than a device for these");

    let (state, tables) = case.start();
    let (mut on, mut off) = (case.trainer(state.clone(), tables), case.trainer(state, case.start().1));
    let (mut cpu_state, mut cpu_tables) = case.start();
    let mut cpu = CpuExecutor::new(case.program.clone(), Threads::new(1).unwrap(), cpu::detect()).unwrap();
    on.engine.set_profile(true).unwrap();
    cpu.set_profile(true);
    let before = on.engine.driver().launches;
    let mut r = Random::new(4);
    // By update; row gradients of all tables are summed together.
    let mut distinct: BTreeMap<u32, u64> = BTreeMap::new();
    let mut occurrences = 0;
    for step in 0..STEPS {
        let batch = case.batch(&mut r, 21, 5 * step);
        let resolved_on = resolved(&batch, &mut on.tables);
        let loss = on.engine.train_step(&mut on.tables, &resolved_on.inputs()).unwrap();
        let resolved_off = resolved(&batch, &mut off.tables);
        assert_eq!(off.engine.train_step(&mut off.tables, &resolved_off.inputs()).unwrap(), loss);
        let of_cpu = resolved(&batch, &mut cpu_tables);
        cpu.train_step(&mut cpu_state, &mut cpu_tables, &of_cpu.inputs()).unwrap();
        for (table, features) in case.program.tables.iter().zip(&resolved_on.row_numbers) {
            let rows: BTreeSet<u32> = features.iter().flatten().copied().collect();
            assert_eq!(table.update_rule, UpdateRule::Sparse);
            *distinct.entry(table.update).or_default() += rows.len() as u64;
            occurrences += features.iter().map(Vec::len).sum::<usize>() as u64;
        }
    }
    let launches = on.engine.driver().launches - before;
    on.download().unwrap();
    off.download().unwrap();
    assert!(on.state == off.state && off.engine.profile().is_empty());

    let rows = on.engine.profile();
    assert_eq!(rows.iter().map(|r| r.calls).sum::<u64>(), launches);
    assert!(rows.windows(2).all(|w| w[0].seconds >= w[1].seconds));
    let of = |kernel: &str| -> &ProfileRow { rows.iter().find(|r| r.name == kernel).unwrap() };
    let chunks = f64::from(case.launches.chunks);
    for launch in &case.launches.schedules[0].launches {
        let (row, blocks) = (
            of(&launch.kernel),
            match launch.grid {
                Grid::Tiles { .. } => chunks,
                Grid::Blocks(blocks) => f64::from(blocks),
            },
        );
        assert_eq!((row.schedule.as_str(), row.calls), ("train", u64::from(STEPS)), "{}", row.name);
        assert!((row.seconds - f64::from(STEPS) * blocks * 1e-6).abs() < 1e-12, "{row:?}");
        assert_eq!(row.bytes > 0.0, matches!(launch.grid, Grid::Tiles { .. }), "{row:?}");
    }

    // Operations are those that the CPU counts.
    let flops = |rows: &[ProfileRow]| rows.iter().filter(|r| r.schedule == "train").map(|r| r.flops).sum::<f64>();
    let (found, expected) = (flops(&rows), flops(&cpu.profile()));
    assert!(expected > 0.0 && (found - expected).abs() <= 1e-9 * expected, "{found} for {expected}");
    // Rows are updated once a batch.
    for (update, expected) in distinct {
        let name = format!("din_update{update}_");
        let of_update: Vec<&ProfileRow> = rows.iter().filter(|r| r.name.starts_with(&name) && r.bytes > 0.0).collect();
        assert!(!of_update.is_empty() && of_update.iter().all(|r| r.elements == expected), "{expected}: {of_update:?}");
    }
    let sum = of("din_rows_sum");
    let first = &case.program.tables[0].location;
    assert_eq!((sum.elements, sum.calls, &sum.location), (occurrences, u64::from(STEPS), first));
    let spans = on.engine.spans();
    assert_eq!(spans.len() as u64, launches);
    assert!(spans.windows(2).all(|w| w[0].begin + w[0].length == w[1].begin));
    assert!(spans.iter().all(|s| !s.schedule.is_empty()));
}
