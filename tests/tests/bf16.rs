//! Inference on tables in BF16: rounding is PyTorch's, code agrees with the interpreter on rounded
//! tables, and has the bits of inference in f32 on tables that were rounded beforehand.

use din_compiler::codegen::{LEVELS, generate};
use din_compiler::graph::{BATCH, BinaryOp, Graph, GroupId, Input, InputId, InputKind, Op, Root, Shape, TableId};
use din_compiler::interpret::{Inputs, Values};
use din_compiler::plan::{Kernels, PlanOptions, plan};
use din_compiler::{CompileOptions, compile};
use din_grammar::{SourceMap, Span};
use din_program::schema::{Init, TableKind, TableSpec, UpdateRule};
use din_program::{Isa, Program, TablePrecision};
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::session::{ModelState, Session};
use din_runtime::table::{RowValues, Table};
use din_runtime::threads::Threads;
use din_tests::agreement::worst_error;
use din_tests::batches::batch;
use din_tests::machine::{self, CaseInputs, Results, name_all};
use din_tests::random_graph::{Case, Options, Random, case};
use din_tests::requests::{logs, model as requests};
use din_tests::specs;
use std::sync::Arc;

/// The nearest number of eight bits of significand, of two as near the even one: by arithmetic,
/// where the runtime looks at bits.
fn rounded(x: f32) -> f32 {
    let x = f64::from(x);
    if x == 0.0 || !x.is_finite() {
        return x as f32;
    }
    // Of the least normal number and below it, numbers are equally far from each other.
    let exponent = x.abs().log2().floor().max(-126.0);
    let unit = 2f64.powf(exponent - 7.0);
    let rounded = (x / unit).round_ties_even() * unit;
    if rounded.abs() >= 2f64.powi(128) { f32::INFINITY.copysign(x as f32) } else { rounded as f32 }
}

fn levels() -> impl Iterator<Item = Isa> {
    LEVELS.into_iter().filter(|level| *level <= cpu::detect())
}

/// Numbers as a table in BF16 stores them.
fn stored(numbers: &[f32]) -> Vec<u16> {
    let spec = TableSpec {
        name: "t".into(),
        width: 1,
        kind: TableKind::Fixed { size: numbers.len() as u64 },
        init: Init::Constant(0.0),
        features: vec![],
        update: 0,
        reads_frequency: false,
        update_rule: UpdateRule::Sparse,
        frozen: false,
        vectors: None,
        admission: None,
        location: String::new(),
    };
    let mut table = Table::new(&spec, &[], 0).unwrap();
    table.weights_mut().copy_from_slice(numbers);
    table.round_to_bf16().unwrap();
    let mut rows = RowValues::default();
    rows.clear(TablePrecision::Bf16);
    rows.append_rows(&table, &(0..numbers.len() as u32).collect::<Vec<_>>());
    let RowValues::Bf16(rows) = rows else { panic!("{rows:?}") };
    rows.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn rounding_is_that_of_pytorch() {
    let text = include_str!("../reference/fixtures/bf16_rounding.json");
    let pairs: Vec<(u32, u16)> = serde_json::from_str(text).unwrap();
    let numbers: Vec<f32> = pairs.iter().map(|&(bits, _)| f32::from_bits(bits)).collect();
    for (&(bits, expected), found) in pairs.iter().zip(stored(&numbers)) {
        let (x, read) = (f32::from_bits(bits), f32::from_bits(u32::from(expected) << 16));
        // Which NaN it is, nothing reads.
        let nan = x.is_nan() && f32::from_bits(u32::from(found) << 16).is_nan() && read.is_nan();
        assert!(found == expected || nan, "{bits:#010x} became {found:#06x}, not {expected:#06x}");
        // The rounding of the tests below.
        assert!(rounded(x).to_bits() == read.to_bits() || nan, "{x:e} is {read:e}, not {:e}", rounded(x));
    }
    assert!(pairs.len() > 1000);
}

/// Runs the case's graph for inference on tables in BF16.
fn run(case: &Case, threads: usize, isa: Isa) -> (Results, bool) {
    let mut kernels = Kernels::default();
    let options = PlanOptions { tables: TablePrecision::Bf16, ..PlanOptions::default() };
    let graph = &case.graph;
    let schedule = plan(graph, &graph.order(), "infer_bf16", &options, &SourceMap::default(), &mut kernels).unwrap();
    let reads = kernels
        .described()
        .iter()
        .any(|kernel| kernel.signature.arrays.iter().any(|array| array.precision == TablePrecision::Bf16));
    let mut program = machine::around(case, schedule);
    std::mem::swap(&mut program.infer_bf16, &mut program.train);
    program.kernels = kernels.described();
    program.code = vec![generate(&kernels, isa).unwrap()];
    let program = Arc::new(program);
    let mut executor = CpuExecutor::new(program.clone(), Threads::new(threads).unwrap(), isa).unwrap();
    let mut given = CaseInputs::new(case, &program).unwrap();
    given.tables.iter_mut().for_each(|table| table.round_to_bf16().unwrap());
    executor.infer(&given.state, &given.tables, &given.inputs()).unwrap();
    (executor.infer_results().map(|(_, numbers)| numbers.to_vec()).collect(), reads)
}

/// The case with tables that hold only what BF16 has.
fn on_rounded_tables(case: &Case) -> Case {
    let mut case = case.clone();
    case.values.tables.iter_mut().flatten().for_each(|x| *x = f64::from(rounded(*x as f32)));
    case
}

/// Compares with the interpreter, and bit by bit with f32 code, at every level.
fn compare(case: &Case, what: &str) -> bool {
    let rounded = on_rounded_tables(case);
    let mut read = false;
    for isa in levels() {
        let what = format!("{what}, {isa:?}");
        let (found, reads) = run(case, 1, isa);
        worst_error(&rounded, &found, 32.0, &what);
        let bits = |results: &Results| -> Vec<Vec<u32>> {
            results.iter().map(|numbers| numbers.iter().map(|x| x.to_bits()).collect()).collect()
        };
        let trained = machine::run(&rounded, 1, isa).unwrap();
        assert!(bits(&found) == bits(&trained), "{what}: other bits than in f32");
        assert!(bits(&found) == bits(&run(case, 3, isa).0), "{what}: other bits on 3 threads");
        read |= reads;
    }
    read
}

#[test]
fn random_graphs() {
    let mut read = 0;
    for seed in 0..90 {
        let widest = if seed % 3 == 0 { 170 } else { 0 };
        let mut case = case(seed, &Options { draws: 10, focus: Some("lookup"), widest });
        // A schedule for inference has no gradients; a sum over a whole matrix has one long chain.
        case.graph.roots.retain(|root| matches!(root, Root::Named { .. } | Root::Prediction { .. } | Root::Loss(_)));
        if seed % 2 == 1 {
            name_all(&mut case);
        }
        let sums = case.graph.order().into_iter().filter(|&id| case.graph.node(id).op == Op::SumValue);
        if sums.into_iter().any(|id| case.graph.node(case.graph.node(id).operands[0]).width() > 2048) {
            continue;
        }
        read += usize::from(compare(&case, &format!("seed {seed}")));
    }
    assert!(read >= 60, "{read} graphs read a table");
}

/// Rows that end in every number of lanes and such that loops go over: of the ids of samples and of
/// entries, and one number for a whole row. The last row of a table is among those that are read.
#[test]
fn rows_of_every_width() {
    let span = Span::default();
    for width in (1..=40).chain([63, 80, 95, 150, 200, 210, 333]) {
        let mut graph = Graph::default();
        let entries = graph.axes.add_sequence("s", 0, BATCH);
        for (feature, axis) in [(0, BATCH), (1, entries)] {
            let kind = InputKind::Ids { feature, group: GroupId(feature) };
            graph.inputs.push(Input { name: format!("id{feature}"), kind, axis, shape: Shape::vector(1) });
        }
        graph.tables = vec![width, 1];
        let look_up = |graph: &mut Graph, table: u32, input: u32| graph.lookup(TableId(table), InputId(input), span);
        let (own, listed) = (look_up(&mut graph, 0, 0), look_up(&mut graph, 0, 1));
        let (scale, weight) = (look_up(&mut graph, 1, 0), look_up(&mut graph, 1, 1));
        let weighted = graph.binary(BinaryOp::Multiply, listed, weight, span).unwrap();
        let near = graph.binary(BinaryOp::Multiply, listed, own, span).unwrap();
        let (pooled, score) = (graph.sum(weighted, BATCH, span).unwrap(), graph.sum_value(near, span));
        let largest = graph.max(near, BATCH, span).unwrap();
        let scaled = graph.binary(BinaryOp::Divide, own, scale, span).unwrap();
        for (name, node) in [("pooled", pooled), ("score", score), ("largest", largest), ("scaled", scaled)] {
            graph.roots.push(Root::Named { name: name.into(), node });
        }
        let mut random = Random::new(width as u64);
        let tables = vec![random.numbers(5 * width), random.numbers(5).iter().map(|x| x + 3.0).collect()];
        let offsets = vec![vec![], vec![], vec![0, 3, 3, 7]];
        let rows: Vec<Vec<usize>> = vec![vec![4, 0, 2], vec![1, 4, 2, 0, 3, 3, 4]];
        let by_input = (0..2u32).flat_map(|t| (0..2u32).map(move |i| (t, i)));
        let rows = by_input.map(|(t, i)| ((TableId(t), InputId(i)), rows[i as usize].clone())).collect();
        let inputs = Inputs { batch: 3, offsets, numbers: vec![vec![]; 2], rows, ..Inputs::default() };
        let case = Case { graph, inputs, values: Values { tables, ..Values::default() } };
        assert!(compare(&case, &format!("width {width}")));
    }
}

/// A session after a few steps, with its tables as they are asked for.
fn trained(program: &Arc<Program>, batches: &[Batch], isa: Isa, tables: impl Fn(&mut ModelState)) -> Session {
    let threads = Threads::new(1).unwrap();
    let executor = |threads: &Arc<Threads>| Box::new(CpuExecutor::new(program.clone(), threads.clone(), isa).unwrap());
    let mut session = Session::new(executor(&threads), threads.clone(), 5).unwrap();
    let mut counters = session.frequency_counters();
    batches.iter().for_each(|batch| session.count(&mut counters, batch).unwrap());
    session.finish_counting(counters).unwrap();
    for batch in batches {
        session.train(batch).unwrap();
    }
    let mut model = Arc::try_unwrap(session.into_shared().unwrap()).unwrap();
    tables(&mut model);
    Session::with_model(executor(&threads), threads, model)
}

fn logits(session: &mut Session, batches: &[Batch]) -> Vec<u32> {
    let mut all = Vec::new();
    for batch in batches {
        session.infer(batch).unwrap();
        all.extend(session.predicted(0).iter().map(|x| x.to_bits()));
    }
    all
}

/// Whole models, with requests, towers that are computed once per distinct id, dynamic tables and
/// ids that training has not seen.
#[test]
fn models_have_the_bits_of_tables_rounded_beforehand() {
    let mut models = vec![("requests", requests(true, "dice")), ("flat", requests(false, "prelu"))];
    models.push(("towers", specs::checked("towers.din", &din_tests::towers::spec())));
    for name in ["base", "din", "din_dice"] {
        models.push((name, specs::model(&specs::root().join(format!("models/{name}.din")))));
    }
    for (name, model) in models {
        let program = Arc::new(compile(&model, &CompileOptions::default()).unwrap().program);
        let mut random = Random::new(8);
        let mut draw = |rows: usize| match name {
            "requests" | "flat" => logs()[rows % 6].batch(name == "requests"),
            _ => batch(&program.schema, rows, &mut random),
        };
        let (train, test): (Vec<_>, Vec<_>) =
            ((0..6).map(|k| draw(40 + k)).collect(), (0..4).map(|k| draw(70 + k)).collect());
        for isa in levels() {
            let what = format!("{name}, {isa:?}");
            let mut beforehand = trained(&program, &train, isa, |model| {
                for table in &mut model.tables {
                    table.weights_mut().iter_mut().for_each(|x| *x = rounded(*x));
                }
            });
            let mut stored = trained(&program, &train, isa, |_| {});
            let as_trained = logits(&mut stored, &test);
            stored.round_tables().unwrap();
            assert!(stored.tables().iter().all(|table| table.precision() == TablePrecision::Bf16));
            let found = logits(&mut stored, &test);
            assert!(found == logits(&mut beforehand, &test), "{what}");
            assert!(found != as_trained, "{what}: rounding has changed nothing");
            let refused = stored.train(&train[0]).unwrap_err();
            assert!(refused.message.contains("not trained"), "{what}: {refused}");
        }
    }
}
