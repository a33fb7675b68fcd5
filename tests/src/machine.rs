//! Runs a bare graph on the CPU executor: a program is made around it, with a schema that fits its
//! inputs, so that generated code can be compared with the interpreter node by node.

use crate::random_graph::Case;
use din_compiler::codegen::generate;
use din_compiler::graph::{self, AxisId, AxisKind, AxisTree, BATCH, Graph, InputKind, Op, TableId};
use din_compiler::plan::{Kernels, PlanOptions, plan};
use din_grammar::SourceMap;
use din_program::schedule::{Schedule, ScheduleRoot};
use din_program::schema::{
    self, Distribution, Feature, FeatureKind, FeatureSource, Init, Key, KeyType, Label, LabelKind, Parameter, Requests,
    Schema, Sequence, TableKind, Training, UpdateRule,
};
use din_program::{FORMAT, Isa, Program, Update};
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{BatchCut, CheckError, DenseState, ExecError, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use std::sync::Arc;

/// Values of the roots, `n(axis) x width` each, in the order of `Graph::roots`.
pub type Results = Vec<Vec<f32>>;

/// Compiles the graph and runs it once on the case's inputs.
pub fn run(case: &Case, threads: usize, isa: Isa) -> Result<Results, ExecError> {
    run_planned(case, threads, isa, &PlanOptions::default())
}

/// [`run`], with the graph planned as `options` say.
pub fn run_planned(case: &Case, threads: usize, isa: Isa, options: &PlanOptions) -> Result<Results, ExecError> {
    let program = planned(case, isa, options);
    let mut executor = CpuExecutor::new(Arc::new(program), Threads::new(threads)?, isa)?;
    execute(case, &mut executor)
}

/// Makes every node a root, so that each is compared; fusion then stores everything.
pub fn name_all(case: &mut Case) {
    for (k, node) in case.graph.order().into_iter().enumerate() {
        case.graph.roots.push(graph::Root::Named { name: format!("n{k}"), node });
    }
}

/// What a case gives an executor.
#[derive(Debug)]
pub struct CaseInputs {
    pub state: DenseState,
    pub tables: Vec<Table>,
    samples: usize,
    requests: Vec<u32>,
    offsets: Vec<Vec<u32>>,
    rows: Vec<Vec<Vec<u32>>>,
    dense: Vec<Vec<f32>>,
    labels: Vec<Vec<f32>>,
    present: Vec<Vec<f32>>,
}

impl CaseInputs {
    /// For a program made for the case.
    pub fn new(case: &Case, program: &Program) -> Result<CaseInputs, ExecError> {
        let mut state = DenseState::new(program);
        state.params = narrow(&case.values.params);
        state.states = narrow(&case.values.states);
        (state.step, state.seed) = (case.inputs.steps, case.inputs.seed);
        let mut tables = Vec::new();
        for (spec, numbers) in program.tables.iter().zip(&case.values.tables) {
            let mut t = Table::new(spec, &[], 0).map_err(|e| CheckError::Input(e.to_string()))?;
            for (to, from) in t.weights_mut().iter_mut().zip(numbers) {
                *to = *from as f32;
            }
            tables.push(t);
        }
        let narrow_offsets = |o: &[usize]| -> Vec<u32> { o.iter().map(|&n| n as u32).collect() };
        let own = sequences(&case.graph).map(|(d, _)| case.graph.axes.shared(d).unwrap_or(d));
        let mut dense = vec![Vec::new(); program.schema.features.len()];
        let mut rows: Vec<Vec<Vec<u32>>> = Vec::new();
        for (t, spec) in program.tables.iter().enumerate() {
            let numbers = |&f: &u32| {
                let ids = |kind: &InputKind| matches!(*kind, InputKind::Ids { feature, .. } if feature == f);
                let of = case
                    .inputs
                    .rows
                    .iter()
                    .find(|((a, i), _)| a.index() == t && ids(&case.graph.inputs[i.index()].kind));
                of.map_or(Vec::new(), |(_, r)| r.iter().map(|&n| n as u32).collect())
            };
            rows.push(spec.features.iter().map(numbers).collect());
        }
        let one = vec![vec![1.0; case.inputs.batch]; program.schema.labels.len()];
        let (mut labels, mut present) = (one.clone(), one);
        for (k, input) in case.graph.inputs.iter().enumerate() {
            match input.kind {
                InputKind::Dense { feature } => {
                    dense[feature as usize] = case.inputs.numbers[k].iter().map(|&x| x as f32).collect();
                }
                InputKind::Label { label } => labels[label as usize] = narrow(&case.inputs.numbers[k..=k]).remove(0),
                InputKind::Present { label } => present[label as usize] = narrow(&case.inputs.numbers[k..=k]).remove(0),
                _ => {}
            }
        }
        Ok(CaseInputs {
            state,
            tables,
            samples: case.inputs.batch,
            requests: narrow_offsets(&case.inputs.requests),
            offsets: own.map(|d| narrow_offsets(&case.inputs.offsets[d.index()])).collect(),
            rows,
            dense,
            labels,
            present,
        })
    }

    pub fn inputs(&self) -> StepInputs<'_> {
        StepInputs {
            rows: self.samples,
            requests: &self.requests,
            offsets: &self.offsets,
            row_numbers: &self.rows,
            dense: &self.dense,
            labels: &self.labels,
            present: &self.present,
            fetched: None,
            cut: BatchCut::Whole(DEFAULT_LEAVES),
            first_row: 0,
            epoch: 1,
        }
    }
}

/// Of a result's buffer what the graph's root has: of a row gradient, its columns.
pub fn result(program: &Program, root: &ScheduleRoot, numbers: &[f32]) -> Vec<f32> {
    match root {
        ScheduleRoot::RowGradient { view, table, .. } => {
            let stride = program.train.buffers[view.buffer.index()].width as usize;
            let (from, width) = (view.column as usize, program.tables[*table as usize].width as usize);
            numbers.chunks(stride).flat_map(|row| row[from..from + width].to_vec()).collect()
        }
        _ => numbers.to_vec(),
    }
}

/// Runs an executor made from [`program`] once.
pub fn execute(case: &Case, executor: &mut CpuExecutor) -> Result<Results, ExecError> {
    let program = executor.program().clone();
    let given = CaseInputs::new(case, &program)?;
    executor.gradients(&given.state, &given.tables, &given.inputs())?;
    Ok(executor.train_results().map(|(root, numbers)| result(&program, root, numbers)).collect())
}

fn narrow(values: &[Vec<f64>]) -> Vec<Vec<f32>> {
    values.iter().map(|v| v.iter().map(|&x| x as f32).collect()).collect()
}

/// A program whose training schedule is the graph.
pub fn program(case: &Case, isa: Isa) -> Program {
    planned(case, isa, &PlanOptions::default())
}

fn planned(case: &Case, isa: Isa, options: &PlanOptions) -> Program {
    let mut kernels = Kernels::default();
    let schedule = schedule(&case.graph, "graph", options, &mut kernels);
    let code = generate(&kernels, isa).expect("planned regions compile");
    Program { kernels: kernels.described(), code: vec![code], ..around(case, schedule) }
}

/// A random graph's schedule; its regions join the kernels.
pub fn scheduled(graph: &Graph, name: &str, kernels: &mut Kernels) -> Schedule {
    schedule(graph, name, &PlanOptions::default(), kernels)
}

fn schedule(graph: &Graph, name: &str, options: &PlanOptions, kernels: &mut Kernels) -> Schedule {
    plan(graph, &graph.order(), name, options, &SourceMap::default(), kernels).expect("random graphs have no cycle")
}

/// A program around a case's schedule, without code.
pub fn around(case: &Case, schedule: Schedule) -> Program {
    let graph = &case.graph;
    let empty = |axes: AxisTree| Schedule {
        axes,
        buffers: vec![],
        slots: vec![],
        tile_slots: vec![],
        phases: vec![],
        roots: vec![],
    };
    let location = String::new;
    let update = |rows| Update { name: "none".into(), slots: vec![], rows, schedule: empty(AxisTree::rows()) };
    let tables = graph.tables.iter().enumerate().map(|(t, &width)| schema::TableSpec {
        name: format!("t{t}"),
        width: width as u32,
        kind: TableKind::Fixed { size: (case.values.tables[t].len() / width) as u64 },
        init: Init::Constant(0.0),
        features: features_of(graph, t),
        update: 0,
        reads_frequency: false,
        update_rule: UpdateRule::Sparse,
        frozen: false,
        vectors: None,
        admission: None,
        location: location(),
    });
    let parameters = graph.params.iter().enumerate().map(|(k, shape)| Parameter {
        name: format!("p{k}"),
        shape: shape.0.iter().map(|&n| n as u32).collect(),
        init: Init::Constant(0.0),
        update: 1,
        location: location(),
    });
    let states = graph.states.iter().enumerate().map(|(k, shape)| schema::State {
        name: format!("s{k}"),
        shape: shape.0.iter().map(|&n| n as u32).collect(),
        init: Init::Constant(0.0),
        location: location(),
    });
    Program {
        format: FORMAT,
        compiler: "test".into(),
        triple: "x86_64-unknown-linux-gnu".into(),
        model: "graph".into(),
        sources: vec![],
        hypers: vec![],
        schema: schema_of(graph),
        tables: tables.collect(),
        parameters: parameters.collect(),
        states: states.collect(),
        predictions: graph
            .roots
            .iter()
            .filter(|r| matches!(r, din_compiler::graph::Root::Prediction { .. }))
            .map(|_| din_program::schema::Prediction {
                name: "p".into(),
                label: 0,
                distribution: Distribution::Bernoulli,
            })
            .collect(),
        outputs: vec![],
        metrics: vec![],
        training: Training { batch: 1, epochs: 1, seed: 0, select: 0, patience: None },
        updates: vec![update(true), update(false)],
        squared_norms: vec![],
        infer: empty(schedule.axes.clone()),
        infer_bf16: empty(schedule.axes.clone()),
        train: schedule,
        kernels: vec![],
        code: vec![],
    }
}

/// Features whose ids a node looks up in the table.
fn features_of(graph: &Graph, table: usize) -> Vec<u32> {
    let mut features: Vec<u32> = graph
        .ids()
        .filter_map(|id| match graph.node(id).op {
            Op::Lookup { table: TableId(t), input } if t as usize == table => match graph.inputs[input.index()].kind {
                InputKind::Ids { feature, .. } => Some(feature),
                _ => None,
            },
            _ => None,
        })
        .collect();
    features.sort_unstable();
    features.dedup();
    features
}

/// The sequences over the samples.
fn sequences(graph: &Graph) -> impl Iterator<Item = (AxisId, &din_compiler::graph::Axis)> {
    let sequence = |axis: &graph::Axis| matches!(axis.kind, AxisKind::Sequence { parent: BATCH, .. });
    graph.axes.iter().filter(move |(_, axis)| sequence(axis))
}

/// A schema that fits the inputs.
pub fn schema_of(graph: &Graph) -> Schema {
    let mut schema = Schema::default();
    for (id, axis) in sequences(graph) {
        let (name, common) = (axis.name.clone(), graph.axes.shared(id).is_some());
        schema.sequences.push(Sequence { name, keep: None, missing: false, common, location: String::new() });
    }
    if graph.axes.request().is_some() {
        schema.requests = Some(Requests { key: 0, location: String::new() });
        let (name, kind) = ("request".to_string(), KeyType::Int64);
        schema.keys.push(Key { column: name.clone(), name, kind, location: String::new() });
    }
    let mut features: Vec<(u32, Feature)> = Vec::new();
    for input in &graph.inputs {
        let (number, kind) = match input.kind {
            InputKind::Ids { feature, .. } => (feature, FeatureKind::Fixed { size: 1 << 20, clip: false }),
            InputKind::Dense { feature } => (feature, FeatureKind::Dense { width: input.shape.width() as u32 }),
            _ => continue,
        };
        let AxisId(axis) = graph.axes.on_samples(input.axis);
        let request = Some(input.axis) == graph.axes.request();
        features.push((
            number,
            Feature {
                group: "g".into(),
                name: input.name.clone(),
                source: FeatureSource::column(input.name.clone()),
                kind,
                sequence: if request { None } else { axis.checked_sub(2) },
                common: request || axis != input.axis.0,
                at_prediction: true,
                location: String::new(),
            },
        ));
    }
    let labels = graph.inputs.iter().filter_map(|i| match i.kind {
        InputKind::Label { label } | InputKind::Present { label } => Some(label + 1),
        _ => None,
    });
    let predicted = graph.roots.iter().any(|r| matches!(r, din_compiler::graph::Root::Prediction { .. }));
    for k in 0..labels.max().unwrap_or(0).max(u32::from(predicted)) {
        let (name, location) = (format!("y{k}"), String::new());
        let (kind, classes) = (LabelKind::Binary, Vec::new());
        schema.labels.push(Label { column: name.clone(), name, kind, classes, missing: None, location });
    }
    features.sort_by_key(|f| f.0);
    schema.features = features.into_iter().map(|f| f.1).collect();
    schema
}
