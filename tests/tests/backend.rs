//! Generated code equals the interpreter on random graphs, forward and backward, within 32 epsilon
//! times the magnitude of what was summed; every primitive occurs in at least 100 graphs, empty
//! sequences in at least a tenth.

use din_compiler::codegen::LEVELS;
use din_compiler::graph::{
    BATCH, BinaryOp, GLOBAL, Graph, Input, InputId, InputKind, Op, Root, Shape, UnaryOp, verify,
};
use din_compiler::interpret::{Inputs, Values};
use din_compiler::optimize;
use din_compiler::plan::{Kernels, PlanOptions, plan};
use din_grammar::{SourceMap, Span};
use din_program::Isa;
use din_runtime::cpu;
use din_tests::agreement::worst_error;
use din_tests::machine::{self, name_all};
use din_tests::primitives::{PRIMITIVES, primitive};
use din_tests::random_graph::{Case, Options, case, has_empty};
use std::collections::{BTreeMap, HashMap};

/// Compares all roots; gives the largest error in units of epsilon times scale.
fn compare(case: &Case, isa: Isa, what: &str) -> f64 {
    let found = machine::run(case, 1, isa).unwrap_or_else(|e| panic!("{what}: {e}"));
    worst_error(case, &found, 32.0, what)
}

#[test]
fn random_graphs() {
    let isa = cpu::detect();
    let mut levels = vec![Isa::V2, Isa::V3, Isa::V4];
    levels.retain(|l| *l <= isa);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut graphs, mut empty, mut worst) = (0, 0, 0.0f64);
    for seed in 0.. {
        let focus = PRIMITIVES[seed as usize % PRIMITIVES.len()];
        let mut c = case(seed, &Options { draws: 16, focus: Some(focus), ..Options::default() });
        verify(&c.graph).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        if seed % 3 == 1 {
            name_all(&mut c);
        }
        if seed % 3 == 2 {
            optimize::train(&mut c.graph, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        }
        let mut here: Vec<&str> = c.graph.order().iter().map(|&id| primitive(&c.graph.node(id).op)).collect();
        here.sort_unstable();
        here.dedup();
        for p in here {
            *seen.entry(p).or_default() += 1;
        }
        graphs += 1;
        empty += usize::from(has_empty(&c));
        worst = worst.max(compare(&c, levels[seed as usize % levels.len()], &format!("seed {seed}")));
        let covered = PRIMITIVES.iter().all(|p| seen.get(p).is_some_and(|&n| n >= 100));
        if covered && graphs >= 300 {
            break;
        }
        assert!(seed < 20_000, "not every primitive in 100 graphs: {seen:?}");
    }
    assert!(empty * 10 >= graphs, "{empty} of {graphs} graphs have empty sequences");
    println!("{graphs} graphs, {empty} with empty sequences, worst error {worst:.2} epsilon times scale");
}

/// Rows of up to ten vectors of sixteen and a rest: the loops over columns, which narrow rows do
/// not reach.
#[test]
fn wide_random_graphs() {
    let levels = [Isa::V2, Isa::V3, Isa::V4];
    let mut wide = 0;
    for seed in 100_000..100_000 + 3 * PRIMITIVES.len() as u64 {
        let focus = PRIMITIVES[seed as usize % PRIMITIVES.len()];
        let mut c = case(seed, &Options { draws: 10, focus: Some(focus), widest: 170 });
        match seed % 3 {
            1 => name_all(&mut c),
            2 => {
                let mut differentiated = c.graph.clone();
                if optimize::train(&mut differentiated, true).is_ok() {
                    c.graph = differentiated;
                }
            }
            _ => {}
        }
        // The sum over a row runs in one chain a lane: over a whole matrix of 20,000 numbers its
        // error grows past the bound.
        let sums = c.graph.order().into_iter().filter(|&id| c.graph.node(id).op == Op::SumValue);
        if sums.into_iter().any(|id| c.graph.node(c.graph.node(id).operands[0]).width() > 2048) {
            continue;
        }
        wide += usize::from(c.graph.order().iter().any(|&id| c.graph.node(id).width() > 48));
        for isa in levels.into_iter().filter(|l| *l <= cpu::detect()) {
            compare(&c, isa, &format!("seed {seed}, {isa:?}"));
        }
    }
    assert!(wide > PRIMITIVES.len(), "{wide} graphs with wide rows");
}

/// More sums over columns in one region than any level has registers.
#[test]
fn many_row_sums_of_one_region() {
    const SUMS: usize = 40;
    let span = Span::default();
    let mut graph = Graph::default();
    let kind = InputKind::Dense { feature: 0 };
    graph.inputs.push(Input { name: "x".into(), kind, axis: BATCH, shape: Shape::vector(8) });
    let x = graph.input(InputId(0), span);
    for k in 0..SUMS {
        let factor = graph.constant((k + 1) as f64, span);
        let scaled = graph.binary(BinaryOp::Multiply, x, factor, span).unwrap();
        let node = graph.sum_value(scaled, span);
        graph.roots.push(Root::Named { name: format!("sum {k}"), node });
    }
    // Two samples whose numbers sum to 36 and to -8.
    let numbers = (1..=8).map(f64::from).chain([-1.0; 8]).collect();
    let inputs = Inputs { batch: 2, offsets: vec![vec![]; 2], numbers: vec![numbers], ..Inputs::default() };
    let case = Case { graph, inputs, values: Values::default() };
    for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
        let found = machine::run(&case, 1, isa).unwrap();
        let expected: Vec<Vec<f32>> = (1..=SUMS).map(|k| vec![36.0 * k as f32, -8.0 * k as f32]).collect();
        assert_eq!(found, expected, "{isa:?}");
    }
}

/// What would be one kernel of thousands of operations is several of bounded size, which store what
/// the next ones need.
#[test]
fn large_regions_are_split() {
    const STEPS: usize = 600;
    let span = Span::default();
    let mut graph = Graph::default();
    let kind = InputKind::Dense { feature: 0 };
    graph.inputs.push(Input { name: "x".into(), kind, axis: BATCH, shape: Shape::vector(5) });
    let x = graph.input(InputId(0), span);
    // Each value is made of the one before it and of one far back, so that many are alive at once.
    let mut values = vec![x];
    for k in 1..=STEPS {
        let (last, back) = (values[k - 1], values[k / 2]);
        let sum = graph.binary(BinaryOp::Add, last, back, span).unwrap();
        values.push(graph.unary(UnaryOp::Tanh, sum, span));
    }
    let total = graph.sum_value(values[STEPS], span);
    for (name, node) in [("last", values[STEPS]), ("total", total)] {
        graph.roots.push(Root::Named { name: name.into(), node });
    }
    let mut kernels = Kernels::default();
    let schedule =
        plan(&graph, &graph.order(), "t", &PlanOptions::default(), &SourceMap::default(), &mut kernels).unwrap();
    let calls: usize = schedule.phases.iter().map(|p| p.calls.len()).sum();
    let sizes: Vec<usize> = kernels.regions.iter().map(|r| r.body.len()).collect();
    // 1200 items, at most 256 per kernel, each with loads of at most two values.
    assert!(calls >= 5 && sizes.iter().all(|&n| n <= 3 * 256), "{calls} calls, {sizes:?}");

    let numbers = (0..15).map(|k| f64::from(k) / 8.0 - 1.0).collect();
    let inputs = Inputs { batch: 3, offsets: vec![vec![]; 2], numbers: vec![numbers], ..Inputs::default() };
    let case = Case { graph, inputs, values: Values::default() };
    for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
        compare(&case, isa, "split");
    }
}

/// A graph with a vector `x` and a number `s` per sample, and its values for `batch` samples.
fn vector_and_number(width: usize, batch: usize) -> Case {
    let mut graph = Graph::default();
    for (feature, (name, width)) in [("x", width), ("s", 1)].into_iter().enumerate() {
        let kind = InputKind::Dense { feature: feature as u32 };
        graph.inputs.push(Input { name: name.into(), kind, axis: BATCH, shape: Shape::vector(width) });
    }
    let wave =
        |count: usize, scale: f64| (0..count).map(|k| f64::from((scale * (k as f64 * 0.7).sin()) as f32)).collect();
    let numbers = vec![wave(batch * width, 3.0), wave(batch, 1.0)];
    let inputs = Inputs { batch, offsets: vec![vec![]; 2], numbers, ..Inputs::default() };
    Case { graph, inputs, values: Values::default() }
}

/// Rows that end in every number of lanes, with values, comparisons and sums over columns, and flat
/// ranges of numbers that end in any.
#[test]
fn rows_of_every_width() {
    let span = Span::default();
    for width in 1..=40 {
        let mut case = vector_and_number(width, 3);
        let g = &mut case.graph;
        let (x, s) = (g.input(InputId(0), span), g.input(InputId(1), span));
        let smooth = g.unary(UnaryOp::Sigmoid, x, span);
        let scaled = g.binary(BinaryOp::Multiply, x, s, span).unwrap();
        let less = g.binary(BinaryOp::Less, scaled, s, span).unwrap();
        let chosen = g.select(less, smooth, scaled, span).unwrap();
        let sum = g.sum_value(chosen, span);
        let flat = g.unary(UnaryOp::Tanh, x, span);
        let constant = g.constant(3.0, span);
        let constants = g.select(less, constant, scaled, span).unwrap();
        let threes = g.sum_value(constants, span);
        for (name, node) in [("chosen", chosen), ("sum", sum), ("flat", flat), ("threes", threes)] {
            case.graph.roots.push(Root::Named { name: name.into(), node });
        }
        for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
            compare(&case, isa, &format!("width {width}, {isa:?}"));
        }
    }
}

/// Exponentials and sigmoids of inference, at every width: as accurate as `codegen::math` says,
/// also where the result leaves the range of normal numbers. Each is the same number wherever it
/// stands.
#[test]
fn functions_of_inference() {
    let span = Span::default();
    let special =
        [0.0, f64::INFINITY, f64::NEG_INFINITY, 87.2, 88.5, -87.2, -88.5, -1e30, 1e30, f64::NAN, 16.6, -16.67];
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let options = PlanOptions { inference: true, ..PlanOptions::default() };
    for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
        let mut known: HashMap<(usize, u32), u32> = HashMap::new();
        for width in 1..=40 {
            let mut case = vector_and_number(width, 3);
            let g = &mut case.graph;
            let (x, s) = (g.input(InputId(0), span), g.input(InputId(1), span));
            let found = [UnaryOp::Exp, UnaryOp::Sigmoid].map(|op| g.unary(op, x, span));
            // By rows too, not as one flat range.
            let products = found.map(|y| g.binary(BinaryOp::Multiply, y, s, span).unwrap());
            for node in found.into_iter().chain(products) {
                case.graph.roots.push(Root::Named { name: format!("n{}", node.index()), node });
            }
            let steps = (0..3 * width).map(|k| f64::from((k as f64 * 2.7 - 3.0 * width as f64) as f32 * 0.37));
            let mut xs: Vec<f64> = steps.collect();
            let places = xs.iter_mut().zip(special.iter().cycle().skip(width)).step_by(3);
            places.for_each(|(x, &s)| *x = f64::from(s as f32));
            case.inputs.numbers[0] = xs.clone();
            case.inputs.numbers[1] = vec![1.0; 3];
            let found = machine::run_planned(&case, 1, isa, &options).unwrap();
            for (k, numbers) in found.iter().enumerate() {
                let exact: &dyn Fn(f64) -> f64 = if k % 2 == 0 { &f64::exp } else { &sigmoid };
                for (&x, &y) in xs.iter().zip(numbers) {
                    let what = format!("{isa:?}, width {width}, function {}: {y} of {x}", k % 2);
                    if x.is_nan() {
                        assert!(y.is_nan(), "{what}");
                        continue;
                    }
                    let exact = exact(x);
                    if exact >= 127.5f64.exp2() {
                        assert!(y >= 2.3e38, "{what}");
                        continue;
                    }
                    // What is below all normal numbers may be 0.
                    let ulp = (exact.max(f64::MIN_POSITIVE).log2().floor() - 23.0).exp2();
                    let ulps = if x.abs() <= 20.0 { 4.0 } else { 6.0 };
                    assert!((f64::from(y) - exact).abs() <= ulps * ulp + 1.2e-38, "{what}, not {exact}");
                    let first = *known.entry((k % 2, (x as f32).to_bits())).or_insert(y.to_bits());
                    assert_eq!(first, y.to_bits(), "{what}");
                }
            }
        }
    }
}

/// Sums and maxima of entries, of samples and over everything, at widths that end in every number
/// of lanes and that take more blocks than are written together. Some samples have no entries.
#[test]
fn sums_and_maxima_of_every_width() {
    let span = Span::default();
    for width in (4..=40).chain([80, 95, 150, 200, 210]) {
        let mut graph = Graph::default();
        let entries = graph.axes.add_sequence("s", 0, BATCH);
        let kind = InputKind::Dense { feature: 0 };
        graph.inputs.push(Input { name: "x".into(), kind, axis: entries, shape: Shape::vector(width) });
        let x = graph.input(InputId(0), span);
        let smooth = graph.unary(UnaryOp::Sigmoid, x, span);
        let scaled = graph.binary(BinaryOp::Multiply, x, smooth, span).unwrap();
        let sum = graph.sum(smooth, BATCH, span).unwrap();
        let maximum = graph.max(scaled, BATCH, span).unwrap();
        let all = graph.sum(scaled, GLOBAL, span).unwrap();
        let largest = graph.max(smooth, GLOBAL, span).unwrap();
        for (name, node) in [("sum", sum), ("maximum", maximum), ("all", all), ("largest", largest)] {
            graph.roots.push(Root::Named { name: name.into(), node });
        }
        let offsets = vec![0, 3, 3, 4, 9, 9, 11];
        let wave = |k: usize| f64::from((3.0 * (k as f64 * 0.7).sin()) as f32);
        let numbers = vec![(0..11 * width).map(wave).collect()];
        let inputs = Inputs { batch: 6, offsets: vec![vec![], vec![], offsets], numbers, ..Inputs::default() };
        let case = Case { graph, inputs, values: Values::default() };
        for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
            compare(&case, isa, &format!("width {width}, {isa:?}"));
        }
    }
}

/// More values and comparisons alive at once than any level has registers: some wait on the stack.
#[test]
fn more_values_than_registers() {
    const VALUES: usize = 40;
    let span = Span::default();
    for width in [12, 48] {
        for comparisons in [false, true] {
            let mut case = vector_and_number(width, 2);
            let g = &mut case.graph;
            let (x, s) = (g.input(InputId(0), span), g.input(InputId(1), span));
            let mut values = Vec::new();
            for k in 0..VALUES {
                let c = g.constant(k as f64 / 16.0 - 1.0, span);
                let sum = g.binary(BinaryOp::Add, x, c, span).unwrap();
                values.push(match comparisons {
                    true => g.binary(BinaryOp::Less, sum, s, span).unwrap(),
                    false => g.binary(BinaryOp::Multiply, sum, s, span).unwrap(),
                });
            }
            // Each value is read once in this order, and once in the other.
            let mut total = x;
            let half = g.constant(0.5, span);
            for &value in values.iter().chain(values.iter().rev()) {
                let next = match comparisons {
                    true => g.select(value, s, total, span).unwrap(),
                    false => g.binary(BinaryOp::Add, total, value, span).unwrap(),
                };
                total = g.binary(BinaryOp::Multiply, next, half, span).unwrap();
            }
            let sum = g.sum_value(total, span);
            for (name, node) in [("total", total), ("sum", sum)] {
                case.graph.roots.push(Root::Named { name: name.into(), node });
            }
            for isa in LEVELS.into_iter().filter(|l| *l <= cpu::detect()) {
                compare(&case, isa, &format!("width {width}, comparisons {comparisons}, {isa:?}"));
            }
        }
    }
}
