//! The back half of the compiler on one page: a checked model to a program.
//!
//! train graph -> `optimize::train` (passes, derivative, passes) -> `plan` -> `codegen`; the infer
//! graph and the update graphs take the same road without derivative. Every stage is kept in
//! [`Compiled`] so that `din emit` can show it.
#![warn(missing_docs)]

use crate::codegen::{self, CodegenError};
use crate::graph::{BATCH, GLOBAL, Graph};
use crate::model::{CheckedModel, UpdateGraph, UpdateScope};
use crate::optimize::{self, Pass, PassError, TrainError};
use crate::plan::{self, Kernels, PlanOptions};
use din_grammar::Span;
use din_program::schedule::Schedule;
use din_program::{FORMAT, Isa, Program, TablePrecision, Update, UpdateSlot};
use std::time::Duration;

/// How a model is compiled.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// ISA levels to generate code for.
    pub levels: Vec<Isa>,
    /// Verify the graph after every pass even in release builds.
    pub checked: bool,
    /// Names of passes to leave out; see `optimize::PASSES`.
    pub without: Vec<&'static str>,
}

impl Default for CompileOptions {
    fn default() -> Self {
        CompileOptions { levels: codegen::LEVELS.to_vec(), checked: false, without: Vec::new() }
    }
}

/// Why a checked model does not become a program. It is never the model's fault: `front` decides
/// alone what a model may say, and what it accepts compiles.
#[derive(Clone, Debug)]
pub enum CompileError {
    /// A bug of the compiler: what broke, and the place of the text that it came from.
    Internal {
        /// What broke.
        what: String,
        /// `file:line:column`, where the fault has a place in the text.
        at: Option<String>,
    },
    /// A vocabulary that the model names was not there.
    MissingVocabulary {
        /// From the folder of the spec.
        path: String,
        /// `file:line:column`: where the spec names it.
        at: String,
    },
    /// Machine code could not be generated.
    Codegen(CodegenError),
}

impl std::fmt::Display for CompileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Internal { what, at: Some(at) } => write!(f, "{at}: internal error of the compiler: {what}"),
            Self::Internal { what, at: None } => write!(f, "internal error of the compiler: {what}"),
            Self::MissingVocabulary { path, at } => {
                write!(f, "{at}: there is no file `{path}`, whose lines are ids")
            }
            Self::Codegen(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// A program with the stages it went through.
#[derive(Debug)]
pub struct Compiled {
    /// What the runtime runs.
    pub program: Program,
    /// Optimised and differentiated.
    pub train: Graph,
    /// Optimised.
    pub infer: Graph,
    /// Optimised, by update.
    pub updates: Vec<Graph>,
    /// The generated loops, as the back ends read them.
    pub kernels: Kernels,
}

/// A pass over one of the graphs of a model.
pub struct PassRun<'a> {
    /// `train`, `infer`, or the name of an update.
    pub graph_name: &'a str,
    /// Name of the pass, or `differentiate`.
    pub pass: &'static str,
    /// As the pass left it.
    pub graph: &'a Graph,
    /// How long the pass took.
    pub elapsed: Duration,
}

/// Compiles a checked model.
pub fn compile(model: &CheckedModel, options: &CompileOptions) -> Result<Compiled, CompileError> {
    compile_observed(model, options, &mut |_| {})
}

/// [`compile`], with every pass over every graph shown to `observer`.
pub fn compile_observed(
    model: &CheckedModel,
    options: &CompileOptions,
    observer: &mut dyn FnMut(PassRun<'_>),
) -> Result<Compiled, CompileError> {
    let pass = |e: PassError| internal(model, e.to_string(), e.error.span);
    if let Some(missing) = model.missing_vocabularies.first() {
        let path = model.schema.vocabularies[missing.vocabulary as usize].path.clone();
        return Err(CompileError::MissingVocabulary { path, at: model.sources.location(missing.span) });
    }
    let mut train = model.train.clone();
    let kept = |passes: &[Pass]| -> Vec<Pass> {
        passes.iter().filter(|p| !options.without.contains(&p.name)).copied().collect()
    };
    let mut observe = |graph_name: &str, pass: &'static str, graph: &Graph, elapsed: Duration| {
        observer(PassRun { graph_name, pass, graph, elapsed });
    };
    let mut see = |pass: &'static str, graph: &Graph, elapsed| observe("train", pass, graph, elapsed);
    optimize::train_observed(&mut train, &kept(optimize::FORWARD), options.checked, &mut see).map_err(|e| match e {
        TrainError::Pass(e) => pass(e),
        TrainError::Differentiate(e) => internal(model, e.to_string(), e.span()),
    })?;
    let mut infer = model.infer.clone();
    let passes = kept(optimize::INFER);
    let mut see = |pass: &'static str, graph: &Graph, elapsed| observe("infer", pass, graph, elapsed);
    optimize::run_observed(&mut infer, &passes, options.checked, &mut see).map_err(pass)?;

    for (name, graph) in [("train", &mut train), ("infer", &mut infer)] {
        let mut see = |pass: &'static str, graph: &Graph, elapsed| observe(name, pass, graph, elapsed);
        optimize::run_observed(graph, optimize::LOWER, options.checked, &mut see).map_err(pass)?;
    }

    let mut kernels = Kernels::default();
    let mut scheduled = |graph: &Graph, name: &str, options: &PlanOptions| -> Result<Schedule, CompileError> {
        let cyclic = |plan::Cyclic| CompileError::Internal { what: format!("the {name} graph has a cycle"), at: None };
        plan::plan(graph, &graph.order(), name, options, &model.sources, &mut kernels).map_err(cyclic)
    };
    let plain = PlanOptions::default();
    let train_schedule = scheduled(&train, "train", &plain)?;
    let infer_schedule = scheduled(&infer, "infer", &PlanOptions { inference: true, ..plain.clone() })?;
    let mut graphs = Vec::new();
    let mut updates = Vec::new();
    for u in &model.updates {
        let mut graph = u.graph.clone();
        let mut see = |pass: &'static str, graph: &Graph, elapsed| observe(&u.name, pass, graph, elapsed);
        optimize::run_observed(&mut graph, optimize::INFER, options.checked, &mut see).map_err(pass)?;
        let rows = matches!(u.scope, UpdateScope::Rows { .. });
        // Elements of a dense tensor are narrow: longer tiles.
        let tile = if rows { 256 } else { 16_384 };
        let schedule = scheduled(&graph, &u.name, &PlanOptions { rows, batch_tile: tile, ..PlanOptions::default() })?;
        updates.push(update(u, rows, schedule));
        graphs.push(graph);
    }
    // Behind all others, whose kernels keep their numbers.
    let bf16 = PlanOptions { inference: true, tables: TablePrecision::Bf16, ..plain };
    let infer_bf16 = scheduled(&infer, "infer_bf16", &bf16)?;
    let mut code = Vec::new();
    for &isa in &options.levels {
        code.push(codegen::generate(&kernels, isa).map_err(CompileError::Codegen)?);
    }
    let program = Program {
        format: FORMAT,
        compiler: format!("din {}", env!("CARGO_PKG_VERSION")),
        triple: "x86_64-unknown-linux-gnu".into(),
        model: model.name.clone(),
        sources: model.sources.files().iter().map(|f| (f.recorded.clone(), f.text.clone())).collect(),
        hypers: model.hypers.clone(),
        schema: model.schema.clone(),
        tables: model.tables.clone(),
        parameters: model.parameters.clone(),
        states: model.states.clone(),
        predictions: model.predictions.clone(),
        outputs: model.outputs.clone(),
        metrics: model.metrics.clone(),
        training: model.training.clone(),
        squared_norms: model.squared_norms.clone(),
        updates,
        train: train_schedule,
        infer: infer_schedule,
        infer_bf16,
        kernels: kernels.described(),
        code,
    };
    Ok(Compiled { program, train, infer, updates: graphs, kernels })
}

fn update(u: &UpdateGraph, rows: bool, schedule: Schedule) -> Update {
    assert!(u.graph.axes.parent(BATCH) == Some(GLOBAL), "the rows of an update stand alone");
    let slots = u.slots.iter().map(|s| UpdateSlot { name: s.name.clone(), per: s.per, init: s.init as f32 });
    Update { name: u.name.clone(), slots: slots.collect(), rows, schedule }
}

/// A bug of the compiler at what came from `span` of the model's text.
fn internal(model: &CheckedModel, what: String, span: Span) -> CompileError {
    // What comes from nowhere in the text has the empty span.
    let at = (span != Span::default()).then(|| model.sources.location(span));
    CompileError::Internal { what, at }
}
