//! The engine on schedules written by hand: equal to the same model in f64, same bits at any number
//! of threads, contradictions refused.

mod program;
mod ranks;

use self::program::*;
use din_program::Isa;
use din_program::schedule::*;
use din_program::schema::{GroupBy, GroupWeight, Metric, MetricKind, TableKind};
use din_runtime::cpu;
use din_runtime::exec::{CheckError, ExecError};

/// Makes something wrong.
type Spoil<T> = fn(&mut T);

fn close(got: &[f32], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(g) - w).abs() <= 2e-4 * (1.0 + w.abs()), "{what}[{i}]: {g} for {w}");
    }
}

fn levels() -> Vec<Isa> {
    [Isa::V2, Isa::V3, Isa::V4].into_iter().filter(|&isa| isa <= cpu::detect()).collect()
}

/// Batch sizes that grow and shrink; one sample alone; more tiles than chunks.
const SIZES: [usize; 9] = [40, 1, 7, 64, 300, 2, 300, 65, 1000];

#[test]
fn steps_equal_f64() {
    for isa in levels() {
        for threads in [1, 3] {
            let program = program();
            let (mut state, mut tables) = (state(&program), tables(&program));
            let mut reference = Reference::new(&state, &tables[0]);
            let mut engine = engine(program, threads, isa).unwrap();
            let mut random = Random(5);
            for (step, rows) in SIZES.into_iter().enumerate() {
                let columns = Columns::random(&mut random, rows);
                let loss = engine.train_step(&mut state, &mut tables, &columns.inputs()).unwrap();
                let want = reference.step(&columns);
                let what = |part: &str| format!("{isa:?}, {threads} threads, step {step}: {part}");
                close(&[loss], &[want], &what("loss"));
                close(engine.train_predicted(0), &reference.logits, &what("logits"));
                close(&state.states[0], &reference.moments, &what("moments"));
                close(&state.params[0], &reference.w, &what("w"));
                close(tables[0].weights(), &reference.table, &what("rows"));
                close(tables[0].slot(0), &reference.seen, &what("seen"));
                close(tables[0].updates(), &reference.updates, &what("updates"));
                let largest =
                    engine.train_results().find(|(root, _)| matches!(root, ScheduleRoot::Named { .. })).unwrap().1;
                close(largest, &reference.largest, &what("largest"));
            }
            assert_eq!(state.step, SIZES.len() as u64);
        }
    }
}

#[test]
fn sequences_may_all_be_empty() {
    let program = program();
    let (mut state, mut tables) = (state(&program), tables(&program));
    let mut reference = Reference::new(&state, &tables[0]);
    let mut engine = engine(program, 2, cpu::detect()).unwrap();
    let mut columns = Columns::random(&mut Random(6), 50);
    columns.offsets[0].fill(0);
    columns.row_numbers[0][0].clear();
    let loss = engine.train_step(&mut state, &mut tables, &columns.inputs()).unwrap();
    close(&[loss], &[reference.step(&columns)], "loss");
    close(&state.states[0], &[0.0; 2 * H], "moments of nothing");
    close(&state.params[0], &reference.w, "w");
    close(tables[0].weights(), &reference.table, "rows");
}

#[test]
fn inference_changes_nothing_and_needs_no_labels() {
    let program = program();
    let (state, tables) = (state(&program), tables(&program));
    let mut reference = Reference::new(&state, &tables[0]);
    let mut engine = engine(program, 2, cpu::detect()).unwrap();
    let mut columns = Columns::random(&mut Random(7), 130);
    let before = (state.clone(), tables[0].weights().to_vec());
    let loss = engine.infer(&state, &tables, &columns.inputs()).unwrap();
    let want = reference.step(&columns);
    close(&[loss.unwrap()], &[want], "loss");
    close(engine.predicted(0), &reference.logits, "logits");
    columns.labels[0].clear();
    columns.present[0].clear();
    engine.infer(&state, &tables, &columns.inputs()).unwrap();
    close(engine.predicted(0), &reference.logits, "logits without labels");
    assert_eq!((state, tables[0].weights().to_vec()), before);
}

#[test]
fn bits_do_not_depend_on_threads() {
    let run = |threads| {
        let program = program();
        let (mut state, mut tables) = (state(&program), tables(&program));
        let mut engine = engine(program, threads, cpu::detect()).unwrap();
        let mut random = Random(8);
        let mut bits: Vec<u32> = Vec::new();
        for rows in SIZES {
            let columns = Columns::random(&mut random, rows);
            let loss = engine.train_step(&mut state, &mut tables, &columns.inputs()).unwrap();
            bits.push(loss.to_bits());
            bits.extend(engine.train_results().flat_map(|(_, values)| values).map(|v| v.to_bits()));
        }
        let values = state.params.iter().chain(&state.states).flatten().chain(tables[0].weights());
        bits.extend(values.map(|v| v.to_bits()));
        bits
    };
    let one = run(1);
    for threads in [2, 3, 8] {
        assert!(run(threads) == one, "{threads} threads");
    }
}

#[test]
fn wrong_batches_are_errors() {
    let program = program();
    let (mut state, mut tables) = (state(&program), tables(&program));
    let before = (state.clone(), tables[0].weights().to_vec());
    let mut engine = engine(program, 1, cpu::detect()).unwrap();
    let wrong: [(&str, Spoil<Columns>); 9] = [
        ("no samples", |c| {
            *c = Columns::random(&mut Random(1), 0);
        }),
        ("a row beyond the table", |c| c.row_numbers[0][1][3] = ROWS as u32),
        ("too few row numbers", |c| {
            c.row_numbers[0][0].pop();
        }),
        ("offsets that fall", |c| c.offsets[0][4] = u32::MAX),
        ("offsets from 1", |c| c.offsets[0][0] = 1),
        ("too few offsets", |c| {
            c.offsets[0].pop();
        }),
        ("no sequences", |c| c.offsets.clear()),
        ("too many numbers", |c| c.dense[2].push(0.0)),
        ("no labels", |c| c.labels[0].clear()),
    ];
    for (what, spoil) in wrong {
        let mut columns = Columns::random(&mut Random(2), 20);
        columns.row_numbers[0][1][0] = 1;
        spoil(&mut columns);
        let outcome = engine.train_step(&mut state, &mut tables, &columns.inputs());
        assert!(matches!(outcome, Err(ExecError::Check(CheckError::Input(_)))), "{what}: {outcome:?}");
    }
    state.params[0].pop();
    let columns = Columns::random(&mut Random(2), 20);
    assert!(engine.train_step(&mut state, &mut tables, &columns.inputs()).is_err());
    state.params[0].push(before.0.params[0][D * H - 1]);
    assert_eq!((state, tables[0].weights().to_vec()), before);
}

#[test]
fn contradictions_are_refused_with_their_location() {
    let wrong: [(&str, Spoil<Schedule>); 12] = [
        ("buffer", |s| s.phases[1].calls[0].op = Operation::Fill { buffer: BufferId(99), value: 0.0 }),
        ("slot", |s| s.slots[1].width = 1),
        ("axis", |s| s.phases[0].axis = AxisId(3)),
        ("parent", |s| {
            let wrong = AxisKind::Sequence { sequence: 0, parent: GLOBAL, shared: None };
            s.axes.get_mut(AxisId(2)).unwrap().kind = wrong;
        }),
        ("kernel", |s| s.phases[2].calls[0].op = Operation::Kernel { kernel: KernelId(7), args: vec![] }),
        ("columns", |s| {
            let Operation::MatMul { n, .. } = &mut s.phases[1].calls[2].op else { unreachable!() };
            *n = 6;
        }),
        ("matrix", |s| {
            let Operation::MatMul { w_stride, .. } = &mut s.phases[1].calls[2].op else { unreachable!() };
            *w_stride = 6;
        }),
        ("race", |s| s.phases[1].calls[0].axis = GLOBAL),
        ("partial without reduction", |s| s.phases[3].reductions.clear()),
        ("width of a reduction", |s| s.phases[2].reductions[0].into = BufferId(14)),
        ("result of a tile", |s| s.roots[1] = ScheduleRoot::Prediction { index: 0, buffer: BufferId(2) }),
        ("state", |s| s.roots[3] = ScheduleRoot::State { state: 1, buffer: BufferId(6) }),
    ];
    for (what, spoil) in wrong {
        let mut program = program();
        spoil(&mut program.train);
        let outcome = engine(program, 1, Isa::V2);
        assert!(matches!(outcome, Err(ExecError::Check(CheckError::Schedule { .. }))), "{what}");
    }
    let mut program = program();
    program.train.phases[1].calls[0].op = Operation::Fill { buffer: BufferId(99), value: 0.0 };
    let error = engine(program, 1, Isa::V2).unwrap_err().to_string();
    assert_eq!(error, "hand.din:1:1: the program's train schedule is invalid: buffer 99 of 20; build it again");
}

/// Random damage to the numbers of a program (its schema, tables and schedules, with the
/// calls of kernels in place) is either refused or harmless. Here the kernels keep to their
/// signatures, as generated code does, so nothing but the checks stands between a wrong number and
/// memory that is not the step's.
#[test]
fn damaged_programs_are_refused_or_harmless() {
    let mut random = Random(11);
    let (mut refused, mut ran) = (0, 0);
    for _ in 0..4000 {
        let whole = program();
        let mut json = serde_json::to_value(&whole).unwrap();
        let part = ["train", "train", "infer", "updates", "schema", "tables"][random.below(6)];
        for _ in 0..1 + random.below(3) {
            let mut numbers = Vec::new();
            collect(&mut json[part], &mut numbers);
            let at = random.below(numbers.len());
            let value = match random.below(3) {
                0 => random.below(8) as u64,
                1 => random.below(40) as u64,
                _ => [1 << 31, u64::from(u32::MAX), 1 << 20, 4096][random.below(4)],
            };
            *numbers.swap_remove(at) = value.into();
        }
        let Ok(program) = serde_json::from_value::<din_program::Program>(json) else { continue };
        let schedules = [&program.train, &program.infer, &program.updates[0].schedule, &program.updates[1].schedule];
        // Gigabytes for a step are allowed; a test need not have them.
        let large = schedules.iter().any(|s| {
            s.slots.iter().chain(&s.tile_slots).any(|slot| slot.width > 1 << 14)
                || s.buffers.iter().any(|b| b.width > 1 << 14)
        });
        let rows = match program.tables[0].kind {
            TableKind::Fixed { size } => size,
            TableKind::Dynamic { .. } => 1,
        };
        let large = large || program.tables[0].width > 1 << 14 || rows > 1 << 14;
        let made = engine(program.clone(), 2, cpu::detect());
        let (false, Ok(mut engine)) = (large, made) else {
            refused += 1;
            continue;
        };
        let (mut state, mut tables) = (state(&program), tables(&program));
        let columns = Columns::random(&mut random, 30);
        let trained = engine.train_step(&mut state, &mut tables, &columns.inputs()).is_ok();
        let inferred = engine.infer(&state, &tables, &columns.inputs()).is_ok();
        ran += usize::from(trained && inferred);
    }
    assert!(refused > 1500 && ran > 100, "{refused} refused, {ran} ran");
}

/// The faults that a hash and the checks of buffers cannot see: a call names a kernel whose code
/// was made for other arguments.
#[test]
fn a_call_is_held_against_the_signature_of_its_kernel() {
    let calls = |s: &mut Schedule, phase: usize, call: usize, change: &dyn Fn(&mut KernelId, &mut Vec<KernelArg>)| {
        let Operation::Kernel { kernel, args } = &mut s.phases[phase].calls[call].op else { unreachable!() };
        change(kernel, args);
    };
    let refusal = |change: &dyn Fn(&mut din_program::Program)| {
        let mut program = program();
        change(&mut program);
        engine(program, 1, Isa::V2).expect_err("refused").to_string()
    };
    // Both take three arguments; `spread` writes rows of 5 where x has 4.
    let other = refusal(&|p| calls(&mut p.train, 1, 1, &|kernel, _| kernel.0 = 3));
    assert!(other.contains("argument 0, table 0, is reached by Table(0)") || other.contains("rows of"), "{other}");
    let fewer = refusal(&|p| calls(&mut p.train, 2, 0, &|_, args| args.truncate(10)));
    assert!(fewer.contains("a kernel of 11 arguments called with 10"), "{fewer}");
    // The gradient of the pool, 5 wide, where rows of `ad.item`, 4 wide, are written.
    let wide = refusal(&|p| calls(&mut p.train, 2, 0, &|_, args| args[9] = KernelArg::Buffer(BufferId(16))));
    assert!(wide.contains("argument 9, buffer 16, has rows of 5; the kernel reads 4 columns of rows of 4"), "{wide}");
    // A label is read, never written.
    let written = refusal(&|p| calls(&mut p.train, 2, 0, &|_, args| args[6] = KernelArg::Buffer(BufferId(8))));
    assert!(written.contains("argument 6, buffer 8 (Label(0)), is written"), "{written}");
    // Rows of the entries of a sequence, in a call over the samples.
    let shorter = refusal(&|p| {
        calls(&mut p.train, 2, 0, &|_, args| args[2] = KernelArg::Rows { table: 0, feature: 0 });
    });
    assert!(shorter.contains("has no number for each element of axis 1"), "{shorter}");
    let function = refusal(&|p| {
        calls(&mut p.train, 2, 0, &|_, args| args[5] = KernelArg::Function(MathFunction::Exp));
    });
    assert!(function.contains("argument 5 is Function(Exp)"), "{function}");
    // Optimizer state of the rows where the gradient, by position, belongs.
    let update = refusal(&|p| {
        calls(&mut p.updates[0].schedule, 0, 0, &|_, args| args[1] = KernelArg::Buffer(BufferId(0)));
    });
    assert!(update.contains("argument 1, buffer 0 of axis 1, is read by rows of Of(AxisId(1))"), "{update}");
}

#[test]
fn numbers_of_a_programs_description_are_checked() {
    let refusal = |change: &dyn Fn(&mut din_program::Program)| {
        let mut program = program();
        change(&mut program);
        engine(program, 1, Isa::V2).expect_err("refused").to_string()
    };
    let metric = |prediction, kind| Metric {
        name: "m".into(),
        prediction,
        kind,
        condition: None,
        sample_weight: None,
        slices: vec![],
    };
    let of = refusal(&|p| p.metrics = vec![metric(1, MetricKind::Auc)]);
    assert!(of.contains("prediction 1 of 1"), "{of}");
    let by = |by| metric(0, MetricKind::Gauc { by, weight: GroupWeight::None });
    assert!(refusal(&|p| p.metrics = vec![by(GroupBy::Key(0))]).contains("key 0 of 0"));
    let sequence = refusal(&|p| p.metrics = vec![by(GroupBy::Feature(0))]);
    assert!(sequence.contains("metric m groups rows by visited.item"), "{sequence}");
    let select = refusal(&|p| {
        p.metrics = vec![metric(0, MetricKind::Auc)];
        p.training.select = 1;
    });
    assert!(select.contains("selected metric 1 of 1"), "{select}");
    assert!(refusal(&|p| p.predictions[0].label = 3).contains("label 3 of 1"));
    let served = refusal(&|p| p.tables[0].features.push(2));
    assert!(served.contains("it cannot hold the ids of ad.price"), "{served}");
    assert!(refusal(&|p| p.schema.features[0].sequence = Some(4)).contains("sequence 4 of 1"));
}

fn collect<'a>(json: &'a mut serde_json::Value, into: &mut Vec<&'a mut serde_json::Value>) {
    match json {
        serde_json::Value::Number(_) => into.push(json),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|v| collect(v, into)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|v| collect(v, into)),
        _ => {}
    }
}

#[test]
fn the_profile_counts_calls() {
    let program = program();
    let (mut state, mut tables) = (state(&program), tables(&program));
    let mut engine = engine(program, 2, cpu::detect()).unwrap();
    let columns = Columns::random(&mut Random(3), 500);
    engine.train_step(&mut state, &mut tables, &columns.inputs()).unwrap();
    assert!(engine.profile().is_empty());
    engine.set_profile(true);
    for _ in 0..3 {
        engine.train_step(&mut state, &mut tables, &columns.inputs()).unwrap();
    }
    let profile = engine.profile();
    let entries = u64::from(columns.offsets[0][500]);
    let product = profile.iter().find(|r| r.name == "matmul 4x5").unwrap();
    assert_eq!((product.schedule.as_str(), product.elements), ("train", 3 * entries));
    assert_eq!(product.flops, 2.0 * 20.0 * 3.0 * entries as f64);
    assert!(profile.iter().any(|r| r.schedule == "update rows of item" && r.name == "k4"));
    assert!(profile.iter().all(|r| r.calls > 0 && r.seconds >= 0.0));
    engine.set_profile(false);
    assert!(engine.profile().is_empty());
}
