//! `common` features: deduplicated equals replicated, in the reference and in compiled code, and
//! what it saves is what the closed form says.

use din_compiler::interpret::{self, TableData, TensorData};
use din_compiler::{CompileOptions, compile};
use din_program::schedule::{AxisKind, KernelArg, Operation, Schedule, ScheduleRoot};
use din_program::{Isa, Program};
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::session::Session;
use din_runtime::threads::Threads;
use din_tests::random_graph::Random;
use din_tests::requests::{DIM, E, HIDDEN, IDS, Log, TOWER, UNIT, logs, model, samples};
use std::sync::Arc;

fn program(common: bool, activation: &str) -> Arc<Program> {
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
    Arc::new(compile(&model(common, activation), &options).unwrap().program)
}

/// Losses of training in the reference, f64.
fn reference(common: bool, activation: &str) -> Vec<f64> {
    let model = model(common, activation);
    let mut r = Random::new(9);
    let mut small = |n: usize| -> Vec<f64> { r.numbers(n).iter().map(|x| 0.2 * x).collect() };
    let update = |k: u32| &model.updates[k as usize];
    let params: Vec<TensorData> =
        model.parameters.iter().map(|p| TensorData::new(update(p.update), small(p.width()))).collect();
    let states =
        model.states.iter().map(|s| vec![if s.name.ends_with("var") { 1.0 } else { 0.0 }; s.width()]).collect();
    let tables = model.tables.iter().map(|t| {
        let weights = small(IDS * t.width as usize);
        TableData::new(update(t.update), t.width as usize, weights, vec![3.0; IDS])
    });
    let tables = tables.collect();
    let mut session = interpret::InterpreterSession::new(&model, params, states, tables).unwrap();
    let mut losses = Vec::new();
    for log in logs() {
        losses.push(session.train(&samples(&model, &log.batch(common))).unwrap().loss);
    }
    losses.push(session.evaluate(&samples(&model, &logs()[0].batch(common))).unwrap().loss);
    losses
}

#[test]
fn deduplicated_equals_replicated_in_the_reference() {
    for activation in ["dice", "prelu", "sigmoid"] {
        let (once, flat) = (reference(true, activation), reference(false, activation));
        assert!(
            once.iter().zip(&flat).all(|(a, b)| (a - b).abs() <= 1e-10 * b.abs()),
            "{activation}: {once:?} {flat:?}"
        );
        assert!(flat.windows(2).any(|w| (w[0] - w[1]).abs() > 1e-3), "nothing was learned: {flat:?}");
    }
}

/// Losses of training, logits afterwards, and all weights of tables.
fn trained(common: bool, activation: &str, threads: usize, isa: Isa) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let threads = Threads::new(threads).unwrap();
    let engine = CpuExecutor::new(program(common, activation), threads.clone(), isa).unwrap();
    let mut session = Session::new(Box::new(engine), threads, 7).unwrap();
    let mut counters = session.frequency_counters();
    logs().iter().for_each(|log| session.count(&mut counters, &log.batch(common)).unwrap());
    session.finish_counting(counters).unwrap();
    let losses = logs().iter().map(|log| session.train(&log.batch(common)).unwrap()).collect();
    session.infer(&logs()[1].batch(common)).unwrap();
    let logits = session.predicted(0).to_vec();
    let tables = session.tables().iter().flat_map(|t| t.weights().to_vec()).collect();
    (losses, logits, tables)
}

#[test]
fn deduplicated_equals_replicated_in_compiled_code() {
    let close = |a: &[f32], b: &[f32], bound: f32| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= bound * b.abs().max(0.1))
    };
    for activation in ["dice", "sigmoid"] {
        let (once, flat) = (trained(true, activation, 1, cpu::detect()), trained(false, activation, 1, cpu::detect()));
        assert!(close(&once.0, &flat.0, 2e-5), "{activation}: losses {:?} {:?}", once.0, flat.0);
        assert!(close(&once.1, &flat.1, 1e-3), "{activation}: logits {:?} {:?}", once.1, flat.1);

        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let off = norm(&mut once.2.iter().zip(&flat.2).map(|(a, b)| a - b)) / norm(&mut flat.2.iter().copied());
        assert!(once.2.len() == flat.2.len() && off < 1e-4, "{activation}: tables are off by {off:e}");
        assert_eq!(once, trained(true, activation, 2, cpu::detect()), "{activation}: threads change bits");
    }
}

/// Sessions on threads of their own read one model at the same time, each with other batches; none
/// can train it.
#[test]
fn one_model_serves_several_sessions() {
    let program = program(true, "dice");
    let executor =
        |threads: &Arc<Threads>| Box::new(CpuExecutor::new(program.clone(), threads.clone(), cpu::detect()).unwrap());
    let logits = |session: &mut Session, log: &Log| {
        session.infer(&log.batch(true)).unwrap();
        session.predicted(0).to_vec()
    };
    let threads = Threads::new(2).unwrap();
    let mut owner = Session::new(executor(&threads), threads, 7).unwrap();
    let mut counters = owner.frequency_counters();
    logs().iter().for_each(|log| owner.count(&mut counters, &log.batch(true)).unwrap());
    owner.finish_counting(counters).unwrap();
    for log in logs() {
        owner.train(&log.batch(true)).unwrap();
    }
    let expected: Vec<Vec<f32>> = logs().iter().map(|log| logits(&mut owner, log)).collect();
    let model = owner.into_shared().unwrap();
    let found: Vec<Vec<Vec<f32>>> = std::thread::scope(|scope| {
        let reader = || {
            let threads = Threads::caller();
            let mut session = Session::reader(executor(&threads), threads, model.clone());
            let found = (0..5).map(|_| logs().iter().map(|log| logits(&mut session, log)).collect::<Vec<_>>()).last();
            let refused = session.train(&logs()[0].batch(true)).unwrap_err();
            assert!(refused.message.contains("shared"), "{refused}");
            found.unwrap()
        };
        let running: Vec<_> = (0..3).map(|_| scope.spawn(reader)).collect();
        running.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert!(expected.iter().flatten().all(|logit| logit.is_finite()), "{expected:?}");
    assert!(expected.windows(2).any(|w| w[0] != w[1]), "all batches give the same logits");
    assert!(found.iter().all(|found| *found == expected), "{found:?} {expected:?}");
}

/// A candidate has the same logit, bit for bit, whatever stands beside it in the batch: other
/// requests, other candidates, or nothing.
#[test]
fn logits_do_not_depend_on_the_batch() {
    for common in [true, false] {
        let threads = Threads::new(2).unwrap();
        for isa in [Isa::V2, Isa::V3, Isa::V4].into_iter().filter(|l| *l <= cpu::detect()) {
            let options = CompileOptions { levels: vec![isa], checked: true, ..CompileOptions::default() };
            let program = Arc::new(compile(&model(common, "sigmoid"), &options).unwrap().program);
            let engine = CpuExecutor::new(program, threads.clone(), isa).unwrap();
            let mut session = Session::new(Box::new(engine), threads.clone(), 7).unwrap();
            let logs = [Log::new(3, vec![70, 1, 9, 33], vec![100, 3, 0, 41]), Log::new(4, vec![300], vec![7])];
            let mut counters = session.frequency_counters();
            logs.iter().for_each(|log| session.count(&mut counters, &log.batch(common)).unwrap());
            session.finish_counting(counters).unwrap();
            session.train(&logs[0].batch(common)).unwrap();
            let mut logits = |log: &Log| -> Vec<u32> {
                session.infer(&log.batch(common)).unwrap();
                session.predicted(0).iter().map(|x| x.to_bits()).collect()
            };
            for log in &logs {
                let together = logits(log);
                let mut first = 0;
                for (request, &candidates) in log.candidates.iter().enumerate() {
                    for part in [0..candidates, 0..1, candidates / 3..candidates] {
                        let expected = &together[first + part.start..first + part.end];
                        let found = logits(&log.part(request, part.clone()));
                        assert_eq!(found, expected, "{isa:?}, common {common}, request {request}, {part:?}");
                    }
                    first += candidates;
                }
            }
        }
    }
}

/// Multiply-adds of all products of a schedule on a batch.
fn multiply_adds(schedule: &Schedule, counts: &[u64]) -> u64 {
    let mut total = 0;
    for call in schedule.phases.iter().flat_map(|p| &p.calls) {
        let n = counts[call.axis.index()];
        total += match call.op {
            Operation::MatMul { k, n: m, .. } => n * u64::from(k) * u64::from(m),
            Operation::Outer { k, n: m, .. } => n * u64::from(k) * u64::from(m),
            // By entry, and the sample's matrix.
            Operation::AbsorbedMatMul { e, n: m, .. } | Operation::AbsorbedOuter { e, n: m, .. } => {
                (n + counts[1]) * u64::from(e) * u64::from(m)
            }
            _ => 0,
        };
    }
    total
}

/// Bytes of table rows that a schedule's kernels read: each kernel once by each feature that it
/// looks up.
fn gathered(program: &Program, schedule: &Schedule, counts: &[u64]) -> u64 {
    let mut total = 0;
    for call in schedule.phases.iter().flat_map(|p| &p.calls) {
        let Operation::Kernel { args, .. } = &call.op else { continue };
        for arg in args {
            if let KernelArg::Rows { table, .. } = arg {
                total += counts[call.axis.index()] * u64::from(program.tables[*table as usize].width) * 4;
            }
        }
    }
    total
}

fn counts(program: &Program, batch: &Batch) -> Vec<u64> {
    let axes = &program.train.axes;
    let requests = batch.requests.len() as u64;
    let entries = u64::from(*batch.offsets[0].last().unwrap());
    let samples = batch.rows as u64;
    let of = |kind: &AxisKind| match kind {
        AxisKind::Global => 1,
        AxisKind::Batch { .. } => samples,
        // Every request of the test has as many candidates as the others.
        AxisKind::Sequence { shared: Some(_), .. } => entries * samples / (requests - 1),
        AxisKind::Sequence { shared: None, .. } => entries,
        AxisKind::Request => requests - 1,
        AxisKind::Fixed { .. } | AxisKind::Second { .. } | AxisKind::Steps { .. } | AxisKind::Pairs { .. } => {
            panic!("these models have no pairs of entries and no recurrences")
        }
        AxisKind::Unique(_) => panic!("towers of this size are not deduplicated"),
    };
    axes.iter().map(|(_, axis)| of(&axis.kind)).collect()
}

/// 4 requests of 200 candidates and 50 behaviours: what depends on the request alone is done and
/// read 4 times, not 800.
#[test]
fn two_hundred_candidates_share_their_request() {
    let log = Log::new(1, vec![200; 4], vec![50; 4]);
    let [requests, samples, entries, pairs] = [4u64, 800, 200, 40_000];
    let [e, dim, hidden] = [E, DIM, HIDDEN].map(|n| n as u64);
    let ([t0, t1], [u0, u1]) = (TOWER.map(|n| n as u64), UNIT.map(|n| n as u64));
    let (once, flat) = (program(true, "sigmoid"), program(false, "sigmoid"));
    let (of_once, of_flat) = (counts(&once, &log.batch(true)), counts(&flat, &log.batch(false)));

    // Inference. By request: the tower, and its part of the next layer. By entry: the key's term of
    // the first layer.
    let by_request = 2 * dim * t0 + t0 * t1 + t1 * hidden;
    let by_sample = 2 * e * hidden + hidden;
    let by_pair = u0 * u1 + u1;
    let unit_of_sample = e * u0;
    assert_eq!(
        multiply_adds(&once.infer, &of_once),
        requests * by_request + samples * (by_sample + unit_of_sample) + entries * e * u0 + pairs * (e * u0 + by_pair)
    );
    // Flat: the key's term comes with the candidate's, folded into a matrix a sample.
    assert_eq!(
        multiply_adds(&flat.infer, &of_flat),
        samples * (by_request + by_sample + unit_of_sample) + (pairs + samples) * e * u0 + pairs * by_pair
    );
    let row = dim * 4;
    // The candidate is read twice: by the unit and by the layer above it.
    assert_eq!(gathered(&once, &once.infer, &of_once), (2 * requests + 2 * 2 * samples + 2 * entries) * row);
    assert_eq!(gathered(&flat, &flat.infer, &of_flat), (2 * samples + 2 * 2 * samples + 2 * pairs) * row);

    // Training: gradients of table rows, which the update sorts and sums, come once a request too.
    let gradients = |p: &Program, counts: &[u64]| -> u64 {
        let roots = p.train.roots.iter().filter_map(|r| match r {
            ScheduleRoot::RowGradient { feature, .. } => Some(&p.schema.features[*feature as usize]),
            _ => None,
        });
        roots.map(|f| counts[p.train.axes.feature(f).unwrap().index()] * row).sum()
    };
    assert_eq!(gradients(&once, &of_once), (2 * requests + 2 * samples + 2 * entries) * row);
    assert_eq!(gradients(&flat, &of_flat), (2 * samples + 2 * samples + 2 * pairs) * row);
    assert!(multiply_adds(&once.train, &of_once) < multiply_adds(&flat.train, &of_flat));
    // The batch itself: an id is 8 bytes.
    let bytes = |b: &Batch| b.ids.iter().map(|v| v.len() as u64 * 8).sum::<u64>();
    assert_eq!(bytes(&log.batch(true)), (2 * requests + 2 * samples + 2 * entries) * 8);
    assert_eq!(bytes(&log.batch(false)), (2 * samples + 2 * samples + 2 * pairs) * 8);
}
