//! The front end: source text to a [`CheckedModel`].
//!
//! Resolving, checking and elaborating are one walk: a function body is interpreted abstractly at
//! every call, with numbers, lists and functions known at compile time and tensors as graph nodes.
//! The walk runs twice, for the training graph (`training` is true) and for the inference graph,
//! over one list of parameters and states.
//!
//! | file | part |
//! | --- | --- |
//! | `load` | modules, imports, top-level names |
//! | `declarations`, `declare`, `columns`, `table` | features, sequences, labels, keys, hyper-parameters; tables |
//! | `field`, `pooled`, `computed`, `vocabulary` | fields of groups; pooled lists; functions of columns; files of ids |
//! | `elaborator`, `scope`, `walk`, `value` | resolution, reporting, limits; names in scope; the graph and the path; values |
//! | `expr`, `compile_time`, `tensor`, `block` | expressions, arithmetic of numbers and of tensors, statements |
//! | `call`, `arguments`, `conform` | calls; the order of arguments; types of parameters and results |
//! | `builtin`, `embed`, `ids` | functions of the language; vectors of features; ids without a table |
//! | `weight` | weights and states by path name |
//! | `predict`, `distribution`, `probability`, `ordinal`, `output` | predictions; what the loss can read of them; logits of probabilities; cut points; outputs |
//! | `train`, `report`, `condition`, `assertion`, `rule`, `update` | loss, settings; metrics and their conditions; assertions; optimizers and regularizers |
//! | `usage`, `names` | what is unused |
//! | `unread` | functions that nothing calls |
//! | `untrained`, `known` | what no gradient reaches; what is known after the label and reaches a prediction |
//! | `lint`, `sign` | what is hardly ever meant; signs of values |
//! | `library` | files without a model |
//! | `search` | hyper-parameters and their spaces, for who searches them |
//! | `schema` | columns that several models share |
//! | `test` | `test` blocks |
//! | `analysis`, `notes` | names by place, and values by place, for editors |
//!
//! Guarantees: every independent fault is reported once, and nothing that follows from it is
//! reported (a faulty value is *poison*, which every operation passes on); no text causes a panic;
//! depth and work are bounded; the same text gives the same model.
#![warn(missing_docs)]

pub mod analysis;
mod arguments;
mod assertion;
mod block;
mod builtin;
mod by_path;
mod call;
mod clip;
mod columns;
mod compile_time;
mod computed;
mod condition;
mod conform;
mod declarations;
mod declare;
mod distribution;
mod dropout;
mod elaborator;
mod embed;
mod expr;
mod field;
mod fixed;
mod foreign;
mod gap;
mod ids;
mod known;
mod library;
mod lint;
mod list;
mod load;
mod names;
mod notes;
mod ordinal;
mod output;
mod over;
mod pooled;
mod predict;
mod probability;
mod report;
mod rule;
mod scan;
mod schedule;
mod schema;
mod scope;
mod search;
mod shift;
mod sign;
mod table;
mod tensor;
mod test;
mod train;
mod unread;
mod untrained;
mod update;
mod usage;
mod value;
mod vocabulary;
mod walk;
mod weight;

#[cfg(test)]
mod tests;

use crate::graph::{AxisTree, Graph, NodeId, Root, Shape, StateId};
use crate::model::CheckedModel;
use din_grammar::ast::{self, MemberKind};
use din_grammar::{Diagnostic, SourceMap, Span};
use elaborator::Elaborator;
use load::Loader;
use scope::NameScope;
use walk::{Context, GraphWalk};

pub use load::recorded_name;
pub use search::{HyperOutcome, HyperParameter, SearchSpace, hyper_parameters};
pub use test::{TOLERANCE, TestFailure, TestReport};

/// Where imported files beside the model come from; `std.*` is embedded and never asked for.
pub trait SourceProvider {
    /// Display name and text of module `towers` or `shared.towers`; `None` where there is none.
    fn read(&self, module: &[String]) -> Option<(String, String)>;

    /// Display name and text of a vocabulary, by its path from the folder of the spec.
    ///
    /// # Errors
    /// There is none, or it is not readable as text.
    fn vocabulary(&self, _path: &str) -> Result<(String, String), FileFault> {
        Err(FileFault::Missing)
    }
}

/// Why a file that a spec names has no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// It is not there: what depends on it stays open.
    Missing,
    /// It is there, but why it is no text.
    Unreadable(String),
}

/// A provider without files: only `std.*` can be imported.
pub struct NoFiles;

impl SourceProvider for NoFiles {
    fn read(&self, _module: &[String]) -> Option<(String, String)> {
        None
    }
}

/// How a source is called that holds one `name=value` of the command line.
pub const SETTING: &str = "--set";

/// What the command line adds to the text.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// `--set name=value`, in order.
    pub sets: Vec<(String, String)>,
}

/// The outcome of [`check`]: `model` is there exactly when no diagnostic is an error.
#[derive(Debug)]
pub struct CheckOutcome {
    /// The model that the text describes.
    pub model: Option<CheckedModel>,
    /// In source order within a file.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that the diagnostics have places in.
    pub sources: SourceMap,
}

/// The standard library: module name and text of each file.
pub fn library_sources() -> &'static [(&'static str, &'static str)] {
    &load::LIBRARY
}

/// Checks the model in `text`; `name` is how diagnostics call the file.
pub fn check(name: &str, text: &str, provider: &dyn SourceProvider, options: &CheckOptions) -> CheckOutcome {
    let mut loader = Loader::new(provider);
    let root = loader.root(name, text);
    let sets = loader.settings(&options.sets);
    let Loader { modules, mut sources, diagnostics, .. } = loader;
    let Some(root) = root else {
        return CheckOutcome { model: None, diagnostics: sorted(diagnostics), sources };
    };
    let spec = sources.clone();
    let vocabularies = vocabulary::read(provider, &modules, &mut sources);
    let mut elaborator = Elaborator::new(&modules, &sources, &vocabularies);
    elaborator.diagnostics = diagnostics;
    let mut model = checked_model(&mut elaborator, root, &sets);
    let diagnostics = sorted(std::mem::take(&mut elaborator.diagnostics));
    drop(elaborator);
    if let Some(m) = &mut model {
        m.sources = spec;
    }
    CheckOutcome { model, diagnostics, sources }
}

/// The model of module `root`: there exactly when no diagnostic is an error.
fn checked_model(
    elaborator: &mut Elaborator<'_>,
    root: usize,
    sets: &[(String, String, Span)],
) -> Option<CheckedModel> {
    let modules = elaborator.modules;
    modules[root].file.items.iter().for_each(|item| elaborator.heading_types(item));
    let models: Vec<&ast::Model> = modules[root].file.models().collect();
    let mut model = match models.as_slice() {
        [] => {
            let start = Span { end: modules[root].file.span.start, ..modules[root].file.span };
            elaborator.report(
                Diagnostic::error("E0603", "the file has no model", start, "no `model name { … }`")
                    .help("add a model, or check it as a library"),
            );
            None
        }
        [first, rest @ ..] => {
            for more in rest {
                elaborator.report(
                    Diagnostic::error("E0603", "the file has more than one model", more.name.span, "again here")
                        .label(first.name.span, "first here")
                        .help("put each model into a file of its own"),
                );
            }
            let model = elaborator.model(root, first, sets);
            // Again, without what it does not read of its schema.
            match elaborator.reading.take().filter(|_| model.is_some()) {
                Some(reading) => {
                    let mut again = Elaborator::new(modules, elaborator.sources, elaborator.vocabularies);
                    again.reading = Some(reading);
                    let model = again.model(root, first, sets);
                    assert!(
                        model.is_some(),
                        "what a model reads of its schema is a schema for it: {:?}",
                        again.diagnostics
                    );
                    model
                }
                None => model,
            }
        }
    };
    for test in tests_of(&modules[root].file) {
        elaborator.prepare_test(root, test);
    }
    elaborator.unread_functions();
    if !elaborator.has_errors() {
        elaborator.unused_names(&modules[root], false);
    }
    if elaborator.has_errors() {
        model = None;
        // What follows from a fault is not worth a warning.
        elaborator.diagnostics.retain(Diagnostic::is_error);
    }
    model
}

/// Checks a file without a model: names and arity everywhere, and every definition instantiated at
/// sample sizes where the types of its parameters say which.
pub fn check_library(name: &str, text: &str, provider: &dyn SourceProvider) -> (Vec<Diagnostic>, SourceMap) {
    let mut loader = Loader::new(provider);
    let root = loader.root(name, text);
    let Loader { modules, mut sources, diagnostics, .. } = loader;
    let Some(root) = root else { return (sorted(diagnostics), sources) };
    let vocabularies = vocabulary::read(provider, &modules, &mut sources);
    let mut elaborator = Elaborator::new(&modules, &sources, &vocabularies);
    elaborator.diagnostics = diagnostics;
    checked_library(&mut elaborator, root);
    let diagnostics = sorted(std::mem::take(&mut elaborator.diagnostics));
    drop(elaborator);
    (diagnostics, sources)
}

fn checked_library(elaborator: &mut Elaborator<'_>, root: usize) {
    let modules = elaborator.modules;
    modules[root].file.items.iter().for_each(|item| elaborator.heading_types(item));
    elaborator.library(root);
    for test in tests_of(&modules[root].file) {
        elaborator.prepare_test(root, test);
    }
    if !elaborator.has_errors() {
        elaborator.unused_names(&modules[root], true);
    }
}

/// The outcome of [`test()`].
#[derive(Debug)]
pub struct TestOutcome {
    /// In the order of the file; those that have no error.
    pub reports: Vec<TestReport>,
    /// The errors of tests, and those that keep the file from being read.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that reports and diagnostics have places in.
    pub sources: SourceMap,
}

/// Runs the tests of a file, with or without a model, by the f64 interpreter.
pub fn test(name: &str, text: &str, provider: &dyn SourceProvider) -> TestOutcome {
    let mut loader = Loader::new(provider);
    let root = loader.root(name, text);
    let Loader { modules, sources, diagnostics, .. } = loader;
    let mut reports = Vec::new();
    let Some(root) = root else { return TestOutcome { reports, diagnostics: sorted(diagnostics), sources } };
    // Tests see no columns.
    let vocabularies = vocabulary::Vocabularies::default();
    let mut elaborator = Elaborator::new(&modules, &sources, &vocabularies);
    elaborator.diagnostics = diagnostics;
    if !elaborator.has_errors() {
        for test in tests_of(&modules[root].file) {
            if let Some(prepared) = elaborator.prepare_test(root, test) {
                let (name, span) = (test.name.name.clone(), test.name.span);
                reports.push(TestReport { name, span, failures: prepared.run() });
            }
        }
    }
    let diagnostics = sorted(std::mem::take(&mut elaborator.diagnostics));
    drop(elaborator);
    TestOutcome { reports, diagnostics, sources }
}

fn tests_of(file: &ast::File) -> impl Iterator<Item = &ast::Test> {
    file.items.iter().filter_map(|item| match item {
        ast::Item::Test(test) => Some(test),
        ast::Item::Function(_)
        | ast::Item::Regularizer(_)
        | ast::Item::Optimizer(_)
        | ast::Item::Metric(_)
        | ast::Item::Schema(_)
        | ast::Item::Model(_) => None,
    })
}

/// Sorted by file and place in it; equal ones stay in the order of the walk.
fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|d| d.labels.first().map(|l| (l.span.file, l.span.start, l.span.end)));
    diagnostics
}

impl<'a> Elaborator<'a> {
    fn model(&mut self, module: usize, model: &'a ast::Model, sets: &[(String, String, Span)]) -> Option<CheckedModel> {
        let mut scope = NameScope::new(module, None);
        let schema = self.schema_of(module, model);
        if self.broken_schema {
            return None;
        }
        let of_schema = schema.map(|(module, schema)| (module, self.schema_members(schema)));
        let of_schema = of_schema.as_ref().map(|(module, members)| (*module, members.as_slice()));
        self.declare(&mut scope, of_schema, model, sets);
        self.collect_report_values(module, model);
        let train = self.train_settings(model);
        self.predictions_present(model);
        self.network(&scope, model, train.as_ref(), true);
        // Settings and metrics are read beside the graph of the walk: a value of the network that
        // stands there by mistake is then one of this graph, whatever is said of it.
        // Where the settings are at fault there may be no loss; all else is still checked.
        let loss = self.walk.loss;
        let mut updates = update::Updates::default();
        let mut frozen = by_path::FrozenWeights::default();
        let mut metrics = Vec::new();
        let mut training = None;
        if let Some(train) = &train {
            frozen = self.assign_updates(&mut scope, train, &mut updates);
        }
        metrics.extend(self.metrics(&mut scope, model));
        if let Some(train) = &train {
            training = Some(self.training(&mut scope, train, &metrics));
        }
        for member in &model.members {
            if let MemberKind::Assert { condition } = &member.kind {
                self.assert(&mut scope, condition, &updates);
            }
        }
        if !self.has_errors() {
            self.graph_untrained();
            self.doubtful_functions(model.name.span.file);
        }
        let mut updated: Vec<(StateId, (NodeId, Span))> = std::mem::take(&mut self.walk.updated).into_iter().collect();
        updated.sort_by_key(|(state, _)| *state);
        let mut roots: Vec<Root> = loss.map(Root::Loss).into_iter().collect();
        roots.extend(self.prediction_roots());
        roots.extend(updated.into_iter().map(|(state, (node, _))| Root::State { state, node }));
        self.note_labels();
        let leaks = self.leaks();
        let mut trained = std::mem::take(&mut self.walk.graph);
        trained.roots = roots;
        frozen.stop_gradients(&mut trained);

        self.network(&scope, model, train.as_ref(), false);
        let leaks = (leaks, self.leaks());
        self.report_leaks(leaks.0, leaks.1);
        let mut roots = self.prediction_roots();
        roots.extend(self.walk.outputs.iter().zip(0..).map(|(&node, index)| Root::Output { index, node }));
        roots.extend(self.walk.loss.map(Root::Loss));
        let mut inferred = std::mem::take(&mut self.walk.graph);
        inferred.roots = roots;
        let training = training?;
        if self.has_errors() || loss.is_none() {
            return None;
        }
        self.note_labels();
        let found = of_schema.and_then(|(_, members)| self.schema_reading(model, members));
        let outputs = self.all_outputs();
        let params: Vec<Shape> = self.parameters.iter().map(|p| shape(&p.shape)).collect();
        let states: Vec<Shape> = self.states.iter().map(|s| shape(&s.shape)).collect();
        for graph in [&mut trained, &mut inferred] {
            graph.params.clone_from(&params);
            graph.states.clone_from(&states);
        }
        let model = CheckedModel {
            name: model.name.name.clone(),
            sources: SourceMap::default(),
            schema: std::mem::take(&mut self.declarations.schema),
            missing_vocabularies: std::mem::take(&mut self.declarations.missing_vocabularies),
            tables: std::mem::take(&mut self.declarations.tables),
            parameters: std::mem::take(&mut self.parameters),
            states: std::mem::take(&mut self.states),
            predictions: std::mem::take(&mut self.predictions),
            outputs,
            metrics,
            training,
            updates: updates.all,
            squared_norms: updates.squared_norms,
            train: trained,
            infer: inferred,
            hypers: self.declarations.hypers.iter().filter_map(HyperParameter::there).collect(),
        };
        self.reading = found;
        Some(model)
    }

    /// Walks over the members that make the network, in the order written, and the loss.
    fn network(
        &mut self,
        scope: &NameScope<'a>,
        model: &'a ast::Model,
        train: Option<&train::TrainSettings<'a>>,
        training: bool,
    ) {
        self.walk = GraphWalk::new(self.empty_graph(), training, Context::Model);
        let mut scope = scope.clone();
        for member in &model.members {
            if self.exhausted() {
                break;
            }
            match &member.kind {
                MemberKind::Let(l) => {
                    if l.pattern.names().into_iter().any(|n| self.taken(&scope, n)) {
                        continue;
                    }
                    self.let_(&mut scope, l);
                }
                MemberKind::Layer(l) => {
                    if self.taken(&scope, &l.name) {
                        continue;
                    }
                    self.layer(&mut scope, l);
                }
                MemberKind::Param(variables) => {
                    for v in variables {
                        if !self.taken(&scope, &v.name) {
                            self.param(&mut scope, v, v.name.span);
                        }
                    }
                }
                MemberKind::Constant(variables) => {
                    for v in variables {
                        if !self.taken(&scope, &v.name) {
                            self.constant(&mut scope, v, v.name.span);
                        }
                    }
                }
                MemberKind::Predict { target, distribution } => self.predict(&mut scope, target, distribution),
                MemberKind::Output { name, value } => {
                    if self.taken(&scope, name) {
                        continue;
                    }
                    self.output(&mut scope, name, value);
                }
                MemberKind::Features { .. }
                | MemberKind::Sequence { .. }
                | MemberKind::Label { .. }
                | MemberKind::Key { .. }
                | MemberKind::Embedding(_)
                | MemberKind::Hyper { .. }
                | MemberKind::Train(_)
                | MemberKind::Report { .. }
                | MemberKind::Assert { .. }
                | MemberKind::Common { .. }
                | MemberKind::Request(_) => {}
            }
        }
        if let Some(loss) = train.and_then(|t| t.value("loss")) {
            self.loss(&mut scope, loss);
        }
        self.compute_report_values(&mut scope);
    }

    /// Reports a name of the model that hides an import or a definition, for which it goes on to
    /// stand; whether there is one.
    fn taken(&mut self, scope: &NameScope<'a>, name: &ast::Ident) -> bool {
        let Some(&first) = self.modules[scope.module].names.get(&name.name) else { return false };
        let d = Diagnostic::error("E0203", format!("`{}` is defined twice", name.name), name.span, "again here");
        self.report(d.label(first.span, "first here").help("rename one of them"));
        true
    }

    /// Axes and sizes that the declarations give.
    fn empty_graph(&self) -> Graph {
        let mut graph = Graph { axes: AxisTree::of_schema(&self.declarations.schema), ..Graph::default() };
        graph.tables = self.declarations.tables.iter().map(|t| t.width as usize).collect();
        graph
    }

    fn prediction_roots(&self) -> Vec<Root> {
        let predicted = self.walk.predicted.iter().zip(0..);
        predicted.filter_map(|(p, index)| p.map(|p| Root::Prediction { index, node: p.root })).collect()
    }

    fn predictions_present(&mut self, model: &'a ast::Model) {
        if !model.members.iter().any(|m| matches!(m.kind, MemberKind::Predict { .. })) {
            self.unpredicted = true;
            self.report(
                Diagnostic::error(
                    "E0603",
                    format!("model `{}` predicts nothing", model.name.name),
                    model.name.span,
                    "no `predict`",
                )
                .help("add `predict click ~ bernoulli(logit = …)`"),
            );
        }
    }

    /// Unused and untrained parts, seen in the graph of the training walk.
    fn graph_untrained(&mut self) {
        self.unused_declarations();
        if let Some(loss) = self.walk.loss {
            self.untrained(loss);
        }
    }
}

fn shape(sizes: &[u32]) -> Shape {
    Shape(sizes.iter().map(|&n| n as usize).collect())
}
