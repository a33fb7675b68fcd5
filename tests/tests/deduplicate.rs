//! What depends on the rows of one thing, once for each distinct one: equal to once an element in
//! the reference, in gradients and in compiled code, and what it saves is what the closed form
//! says.

use din_compiler::autodiff::differentiate;
use din_compiler::graph::{Graph, Op, Root, verify};
use din_compiler::interpret::{Run, run};
use din_compiler::optimize::{self, Thresholds, deduplicate};
use din_compiler::{CompileOptions, compile};
use din_program::axes::UniqueKeys;
use din_program::schedule::{AxisId, AxisKind, AxisTree, BATCH, GLOBAL, KernelArg, MAX_KEYS, Operation, Schedule};
use din_program::{Isa, Program};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{CheckError, ExecError};
use din_runtime::session::Session;
use din_runtime::threads::Threads;
use din_tests::agreement::worst_error;
use din_tests::machine;
use din_tests::random_graph::{Case, Options, case};
use din_tests::towers::{DIM, HIDDEN, TOWER, batch, model};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything that may be grouped is.
const ALWAYS: Thresholds = Thresholds { least: 0.0, least_each: 0.0 };

fn grouped(graph: &Graph) -> bool {
    graph.axes.uniques().next().is_some()
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + a.abs() + b.abs()))
}

/// By parameter, and, summed over occurrences, by table and row.
type Gradients = (Vec<Vec<f64>>, BTreeMap<(u32, usize), Vec<f64>>);

fn gradients(graph: &Graph, case: &Case) -> Gradients {
    let run: Run = run(graph, &case.inputs, &case.values).unwrap();
    let (mut params, mut rows) = (vec![Vec::new(); graph.params.len()], BTreeMap::new());
    for root in &graph.roots {
        let value = run.value(root.node());
        match root {
            Root::ParamGradient { param, .. } => params[param.index()] = value.to_vec(),
            Root::RowGradient { table, input, .. } => {
                let width = graph.tables[table.index()];
                let numbers = &case.inputs.rows[&(*table, *input)];
                let firsts = run.sizes().firsts(graph.node(root.node()).axis);
                for (i, g) in firsts.into_iter().zip(value.chunks(width)) {
                    let sum = rows.entry((table.0, numbers[i])).or_insert_with(|| vec![0.0; width]);
                    sum.iter_mut().zip(g).for_each(|(s, g)| *s += g);
                }
            }
            _ => {}
        }
    }
    (params, rows)
}

#[test]
fn random_graphs_keep_values_and_gradients() {
    let (mut found, mut compared) = (0, 0);
    for seed in 0..400 {
        let case = case(seed, &Options::default());
        let mut graph = case.graph.clone();
        deduplicate(&mut graph, ALWAYS);
        verify(&graph).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        if !grouped(&graph) {
            continue;
        }
        found += 1;
        let read: Graph = graph.text().parse().unwrap();
        assert_eq!(read.text(), graph.text(), "seed {seed}");
        let values = |g: &Graph| -> Vec<Vec<f64>> {
            let run = run(g, &case.inputs, &case.values).unwrap();
            g.roots.iter().map(|r| run.value(r.node()).to_vec()).collect()
        };
        let (plain, once) = (values(&case.graph), values(&graph));
        assert!(plain.iter().zip(&once).all(|(a, b)| close(a, b)), "seed {seed}: {plain:?} {once:?}");

        let mut plain = case.graph.clone();
        differentiate(&mut plain).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        optimize::train(&mut graph, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let (plain, once) = (gradients(&plain, &case), gradients(&graph, &case));
        // A gradient that is found to be 0 everywhere may have gone, and no other.
        let gone = |gradient: &[f64]| gradient.iter().all(|&g| g == 0.0);
        for (k, (a, b)) in plain.0.iter().zip(&once.0).enumerate() {
            assert!(close(a, b) || b.is_empty() && gone(a), "seed {seed}, parameter {k}: {a:?} {b:?}");
        }
        for (row, a) in &plain.1 {
            let b = once.1.get(row);
            let same = b.map_or_else(|| gone(a), |b| close(a, b));
            assert!(same, "seed {seed}, row {row:?}: {a:?} {b:?}");
        }
        assert!(once.1.keys().all(|row| plain.1.contains_key(row)), "seed {seed}: a row without occurrences");
        compared += 1;
    }
    assert!(found > 200 && compared > 120, "{found} with groups, {compared} differentiated");
}

#[test]
fn random_graphs_in_compiled_code() {
    let levels = [Isa::V2, Isa::V3, Isa::V4];
    let (mut found, mut inner) = (0, 0);
    for seed in 0..240u64 {
        let mut c = case(seed, &Options { draws: 16, ..Options::default() });
        deduplicate(&mut c.graph, ALWAYS);
        if seed % 2 == 0 {
            optimize::train(&mut c.graph, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        if !grouped(&c.graph) {
            continue;
        }
        found += 1;
        let on_group = |id: &din_compiler::graph::NodeId| {
            let node = c.graph.node(*id);
            c.graph.axes.unique(node.axis).is_some() && !matches!(node.op, Op::Lookup { .. })
        };
        inner += usize::from(c.graph.order().iter().any(on_group));
        let isa = levels[seed as usize % 3].min(cpu::detect());
        let one = machine::run(&c, 1, isa).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        worst_error(&c, &one, 32.0, &format!("seed {seed}"));
        let bits = |r: &machine::Results| r.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&one), bits(&machine::run(&c, 3, isa).unwrap()), "seed {seed}: threads");
    }
    assert!(found > 120 && inner > 80, "{found} with groups, {inner} with work on them");
}

fn program(without: Vec<&'static str>) -> Arc<Program> {
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, without };
    Arc::new(compile(&model(), &options).unwrap().program)
}

/// Losses of training, logits afterwards, all weights of tables, and how many updates each row had.
fn trained(program: &Arc<Program>, threads: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
    let threads = Threads::new(threads).unwrap();
    let engine = CpuExecutor::new(program.clone(), threads.clone(), cpu::detect()).unwrap();
    let mut session = Session::new(Box::new(engine), threads, 7).unwrap();
    let losses = (0..8).map(|k| session.train(&batch(k, 96 - 7 * k as usize, 20 + 10 * k as usize)).unwrap()).collect();
    session.infer(&batch(99, 50, 9)).unwrap();
    let logits = session.predicted(0).to_vec();
    let tables = session.tables().iter().flat_map(|t| t.weights().to_vec()).collect();
    let updates = session.tables().iter().flat_map(|t| t.updates().to_vec()).collect();
    (losses, logits, tables, updates)
}

#[test]
fn training_equals_that_without_groups() {
    let (once, plain) = (program(vec![]), program(vec!["deduplicate"]));
    assert_eq!([&once, &plain].map(|p| p.train.axes.uniques().count()), [2, 0]);
    let (a, b) = (trained(&once, 2), trained(&plain, 2));
    let near = |a: &[f32], b: &[f32], bound: f32| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= bound * b.abs().max(0.1))
    };
    assert!(near(&a.0, &b.0, 2e-5), "{:?} {:?}", a.0, b.0);
    assert!(near(&a.1, &b.1, 2e-3) && near(&a.2, &b.2, 2e-3), "logits or tables");
    assert_eq!(a.3, b.3, "the same rows are touched");
    let bits = |x: &[f32]| x.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let other = trained(&once, 3);
    assert_eq!((bits(&a.0), bits(&a.1), bits(&a.2)), (bits(&other.0), bits(&other.1), bits(&other.2)), "threads");
}

/// Multiply-adds of the schedule's products.
fn multiply_adds(schedule: &Schedule, count: impl Fn(&AxisKind) -> u64) -> u64 {
    let of = |c: &din_program::schedule::Call| {
        let size = match c.op {
            Operation::MatMul { k, n, .. } | Operation::Outer { k, n, .. } => u64::from(k) * u64::from(n),
            Operation::AbsorbedMatMul { .. } | Operation::AbsorbedOuter { .. } => panic!("nothing is folded here"),
            _ => 0,
        };
        size * count(schedule.axes.kind(c.axis))
    };
    schedule.phases.iter().flat_map(|p| &p.calls).map(of).sum()
}

/// 200 ads that are 20 different ones: the tower's products are done 20 times, forward and
/// backward.
#[test]
fn products_are_done_once_a_distinct_id() {
    let data = batch(3, 200, 20);
    let pairs = |good: usize| -> BTreeSet<(u64, u64)> {
        data.ids[good].iter().copied().zip(data.ids[good + 1].iter().copied()).collect()
    };
    let (samples, entries) = (200u64, data.ids[3].len() as u64);
    let (ads, visited) = (pairs(1).len() as u64, pairs(3).len() as u64);
    assert!(ads == 20 && visited == 20 && entries > 800);
    let [d, h, t0, t1] = [DIM, HIDDEN, TOWER[0], TOWER[1]].map(|n| n as u64);
    let program = program(vec![]);
    // The user, the visited's towers and the ad meet the joint layer as one product a sample, the
    // ad's tower as its own an ad.
    let by_sample = samples * h * (d + t1 + 2 * d);
    let by_thing = (ads + visited) * (2 * d * t0 + t0 * t1) + ads * t1 * h;
    // The last layer has one column: its gradient towards what it reads is no product.
    for (schedule, times, last) in [(&program.infer, 1, 1), (&program.train, 3, 2)] {
        let count = |kind: &AxisKind| match kind {
            AxisKind::Batch { .. } => samples,
            AxisKind::Sequence { .. } => entries,
            AxisKind::Unique(unique) => [visited, ads][usize::from(unique.over == BATCH)],
            AxisKind::Global
            | AxisKind::Request
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => 1,
        };
        let expected = times * (by_sample + by_thing) + last * samples * h;
        assert_eq!(multiply_adds(schedule, count), expected);
    }
}

type Spoil = fn(&mut Schedule);

/// A program is untrusted: unique axes and what reads them are checked before a batch is.
#[test]
fn unique_axes_that_contradict_are_refused() {
    fn of_uniques(schedule: &mut Schedule, change: impl Fn(AxisId, u32) -> (AxisId, u32)) {
        for call in schedule.phases.iter_mut().flat_map(|p| &mut p.calls) {
            let Operation::Kernel { args, .. } = &mut call.op else { continue };
            for arg in args {
                if let KernelArg::UniqueRows { axis, key } = arg {
                    (*axis, *key) = change(*axis, *key);
                }
            }
        }
    }
    fn first_unique(schedule: &mut Schedule) -> &mut UniqueKeys {
        let id = schedule.axes.uniques().next().expect("there are two").0;
        match &mut schedule.axes.get_mut(id).expect("it is there").kind {
            AxisKind::Unique(unique) => unique,
            kind => panic!("{kind:?} is not unique"),
        }
    }
    let wrong: [(&str, Spoil); 10] = [
        ("over the global axis", |s| first_unique(s).over = GLOBAL),
        ("over itself", |s| first_unique(s).over = AxisId(3)),
        ("over nothing", |s| first_unique(s).over = AxisId(99)),
        ("over another axis than its keys", |s| {
            let second = s.axes.uniques().nth(1).expect("there are two").1.over;
            first_unique(s).over = second;
        }),
        ("no keys", |s| first_unique(s).keys.clear()),
        ("more keys than there may be", |s| {
            let unique = first_unique(s);
            unique.keys = vec![unique.keys[0]; MAX_KEYS + 1];
        }),
        ("a feature that the table does not serve", |s| first_unique(s).keys[0].1 = 0),
        ("one axis too few", |s| {
            let mut fewer = AxisTree::new("batch");
            for (_, axis) in s.axes.iter().skip(2).take(s.axes.count() - 3) {
                fewer.push(axis.clone());
            }
            s.axes = fewer;
        }),
        ("a key that is not there", |s| of_uniques(s, |axis, key| (axis, key + 9))),
        ("an axis that is not there", |s| of_uniques(s, |_, key| (AxisId(77), key))),
    ];
    let sound = program(vec![]);
    for (what, spoil) in wrong {
        let mut program = (*sound).clone();
        spoil(&mut program.train);
        let outcome = CpuExecutor::new(Arc::new(program), Threads::new(1).unwrap(), cpu::detect());
        assert!(matches!(outcome, Err(ExecError::Check(CheckError::Schedule { .. }))), "{what}");
    }
}
