//! `test` blocks: calls of functions with given values, and what they are expected to give.
//!
//! A test is elaborated as a definition is, on a graph of its own, in training and outside of it,
//! so that `check` finds its faults. What it expects is computed by the f64 interpreter.

use super::elaborator::Elaborator;
use super::scope::{NameScope, NamedAxis};
use super::value::{ExprValue, Tensor, counted, number_text};
use super::walk::{Context, GraphWalk, InputKey};
use crate::graph::{AxisId, AxisKind, BATCH, GLOBAL, Graph, InputKind, NodeId, Root, Shape};
use crate::interpret::{self, Inputs, Values};
use din_grammar::ast::{self, TestPartKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::Init;
use std::rc::Rc;

/// How far a value may be from what is expected, where the test does not say.
pub const TOLERANCE: f64 = 1e-6;

/// The word for the axis of samples in the type of a given value.
const SAMPLES: &str = "samples";

/// What became of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestReport {
    /// The text in quotes.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// What differs; empty where it passes.
    pub failures: Vec<TestFailure>,
}

/// A value that is not what was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct TestFailure {
    /// The expression.
    pub span: Span,
    /// As the test writes it.
    pub expected: String,
    /// As the test would write it.
    pub found: String,
    /// The greatest difference of two numbers; not a number where one of them is none.
    pub difference: f64,
    /// What it may be.
    pub tolerance: f64,
}

/// Numbers of nested lists, and how long the lists are.
#[derive(Clone, Debug, Default, PartialEq)]
struct NestedNumbers {
    numbers: Vec<f64>,
    /// By level, the outermost first, the length of each list.
    lengths: Vec<Vec<usize>>,
}

impl NestedNumbers {
    /// The numbers as the language writes them.
    fn text(&self) -> String {
        let mut items: Vec<String> = self.numbers.iter().map(|n| number_text(*n)).collect();
        for lengths in self.lengths.iter().rev() {
            let mut rest = items.into_iter();
            items = lengths
                .iter()
                .map(|&n| format!("[{}]", rest.by_ref().take(n).collect::<Vec<_>>().join(", ")))
                .collect();
        }
        items.concat()
    }
}

/// What one list of a value has an item for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Samples,
    Entries { axis: String },
    Size(usize),
}

/// A value that is compared.
struct Expected {
    span: Span,
    node: NodeId,
    values: NestedNumbers,
    tolerance: f64,
}

/// A test that can be run.
pub(super) struct PreparedTest {
    graph: Graph,
    inputs: Inputs,
    values: Values,
    expected: Vec<Expected>,
}

/// What is given while a test is elaborated.
#[derive(Default)]
struct Given<'a> {
    /// The number of samples, and where it was given first.
    samples: Option<(usize, Span)>,
    /// Of each ragged axis: its name, the lengths of its lists by sample, and where they were given
    /// first. Where the values are not per sample there is one list.
    lists: Vec<(&'a str, Vec<usize>, Span)>,
    /// By input.
    numbers: Vec<(NestedNumbers, bool)>,
}

impl<'a> Elaborator<'a> {
    /// Elaborates a test, in training and outside of it; `None` where it has a fault.
    pub(super) fn prepare_test(&mut self, module: usize, test: &'a ast::Test) -> Option<PreparedTest> {
        let parameters = std::mem::take(&mut self.parameters);
        let parameter_ids = std::mem::take(&mut self.parameter_ids);
        let states = std::mem::take(&mut self.states);
        let state_ids = std::mem::take(&mut self.state_ids);
        let sampling = std::mem::replace(&mut self.sampling, false);
        let errors = self.diagnostics.iter().filter(|d| d.is_error()).count();
        // A weight that is there outside of training alone is an error, so training comes first.
        let mut prepared = self.elaborate_test(module, test, true);
        if !test.training {
            prepared = self.elaborate_test(module, test, false);
        }
        self.sampling = sampling;
        self.parameters = parameters;
        self.parameter_ids = parameter_ids;
        self.states = states;
        self.state_ids = state_ids;
        let faultless = self.diagnostics.iter().filter(|d| d.is_error()).count() == errors;
        prepared.filter(|_| faultless)
    }

    fn elaborate_test(&mut self, module: usize, test: &'a ast::Test, training: bool) -> Option<PreparedTest> {
        self.walk = GraphWalk::new(Graph::default(), training, Context::Model);
        let mut scope = NameScope::new(module, None);
        let mut given = Given::default();
        let mut weights: Vec<(bool, &'a ast::Ident, &'a ast::Expr, ExprValue<'a>)> = Vec::new();
        let mut expected: Vec<(Span, ExprValue<'a>, Span, ExprValue<'a>, f64)> = Vec::new();
        for part in &test.parts {
            if self.exhausted() {
                return None;
            }
            match &part.kind {
                TestPartKind::Let(l) => self.let_(&mut scope, l),
                TestPartKind::Layer(l) => self.layer(&mut scope, l),
                TestPartKind::Given { name, axes, shape, value } => {
                    self.fresh(&scope, name);
                    let bound = self.given(&mut scope, &mut given, (name, axes, shape), value);
                    scope.bind(&name.name, bound.map_or(ExprValue::Poison, ExprValue::Tensor), name.span);
                }
                TestPartKind::GivenWeight { state, path, value } => {
                    let found = self.expr(&mut scope, value);
                    weights.push((*state, path, value, found));
                }
                TestPartKind::Expect { value, expected: wanted, within } => {
                    let tolerance = within.as_ref().map_or(Some(TOLERANCE), |e| {
                        let value = self.expr(&mut scope, e);
                        self.number(value, "a tolerance", e.span)
                    });
                    let found = self.expr(&mut scope, value);
                    let wanted_value = self.expr(&mut scope, wanted);
                    expected.push((value.span, found, wanted.span, wanted_value, tolerance.unwrap_or(TOLERANCE)));
                }
            }
        }
        if expected.is_empty() {
            let d = Diagnostic::error("E0801", "the test expects nothing", test.name.span, "no `expect`");
            self.report(d.help("add what a call gives: `expect f(x) = [1, 2]`"));
        }
        let values = self.test_weights(test, weights);
        let mut compared = Vec::new();
        for (at, found, wanted_at, wanted, tolerance) in expected {
            self.expectation(&given, (found, at), (wanted, wanted_at), tolerance, &mut compared);
        }
        let mut graph = std::mem::take(&mut self.walk.graph);
        graph.roots = compared.iter().zip(0..).map(|(e, index)| Root::Output { index, node: e.node }).collect();
        let inputs = inputs(&graph, given);
        Some(PreparedTest { graph, inputs, values: values?, expected: compared })
    }

    /// `given history: samples => s => [2] = …`
    fn given(
        &mut self,
        scope: &mut NameScope<'a>,
        given: &mut Given<'a>,
        (name, axes, shape): (&'a ast::Ident, &'a [ast::Ident], &'a [ast::Dimension]),
        value: &'a ast::Expr,
    ) -> Option<Tensor> {
        let (per_sample, entries) = match axes {
            [] => (false, None),
            [only] if only.name == SAMPLES => (true, None),
            [entries] => (false, Some(entries)),
            [samples, entries] if samples.name == SAMPLES && entries.name != SAMPLES => (true, Some(entries)),
            [first, .., last] => {
                self.report(
                    Diagnostic::error("E0801", "these axes are not of a given value", first.span.to(last.span), "axes")
                        .note("expected `samples => [n]`, `s => [n]` or `samples => s => [n]`")
                        .help("give one value per sample, with the lists of one sequence"),
                );
                return None;
            }
        };
        let mut sizes = Vec::new();
        for dimension in shape {
            match dimension {
                ast::Dimension::Size { value, span } => {
                    sizes.push(self.size(ExprValue::Number(*value as f64), "a size", *span)?);
                }
                ast::Dimension::Name(n) => {
                    self.report(
                        Diagnostic::error("E0801", "a given value has sizes in numbers", n.span, "a name")
                            .help(format!("write the number of components: `{}: [2]`", name.name)),
                    );
                    return None;
                }
            }
        }
        if sizes.len() > 2 || sizes.len() == 2 && !axes.is_empty() {
            let span = value.span;
            let d = Diagnostic::error("E0801", "only a weight has two sizes", name.span, "given per element");
            self.report(d.label(span, "its value").help("give a vector, or leave the axes out"));
            return None;
        }
        let mut levels = Vec::new();
        levels.extend(per_sample.then_some(Level::Samples));
        levels.extend(entries.map(|axis| Level::Entries { axis: axis.name.clone() }));
        levels.extend(sizes.iter().map(|&n| Level::Size(n)));
        let found = self.expr(scope, value);
        let numbers = self.nested(&levels, (&found, value.span))?;
        if per_sample {
            let samples = numbers.lengths[0][0];
            match given.samples {
                Some((before, first)) if before != samples => {
                    self.report(
                        Diagnostic::error("E0801", "the numbers of samples differ", value.span, format!("{samples}"))
                            .label(first, format!("{before}"))
                            .help("give as many values of each"),
                    );
                    return None;
                }
                Some(_) => {}
                None => given.samples = Some((samples, value.span)),
            }
        }
        let axis = match entries {
            Some(entries) => self.given_lists(scope, given, entries, &numbers, per_sample, value.span)?,
            // A matrix does not vary.
            None if sizes.len() == 2 => GLOBAL,
            None => BATCH,
        };
        given.numbers.push((numbers, per_sample));
        let key = InputKey::Sample(self.walk.graph.inputs.len());
        let kind = InputKind::Dense { feature: 0 };
        let input = self.input(key, name.name.clone(), kind, axis, Shape(sizes.into()));
        Some(Tensor { node: self.walk.graph.input(input, name.span), fields: None })
    }

    /// The ragged axis of given lists, whose lengths must be the same each time.
    fn given_lists(
        &mut self,
        scope: &mut NameScope<'a>,
        given: &mut Given<'a>,
        entries: &'a ast::Ident,
        numbers: &NestedNumbers,
        per_sample: bool,
        at: Span,
    ) -> Option<AxisId> {
        let lengths = numbers.lengths[usize::from(per_sample)].clone();
        let known = given.lists.iter().position(|(name, ..)| *name == entries.name);
        if let Some(k) = known {
            let (_, before, first) = &given.lists[k];
            if *before != lengths {
                let (found, before, first) = (format!("{lengths:?} entries"), format!("{before:?} entries"), *first);
                self.report(
                    Diagnostic::error("E0801", format!("the lists of `{}` differ in length", entries.name), at, found)
                        .label(first, before)
                        .help("give one value per entry of the same lists, or name another axis"),
                );
                return None;
            }
        } else {
            given.lists.push((&entries.name, lengths, at));
            let sequence = given.lists.len() as u32 - 1;
            let axis = self.walk.graph.axes.add_sequence(entries.name.clone(), sequence, BATCH);
            scope.axes.push(NamedAxis { name: &entries.name, axis: Some(axis), span: entries.span });
        }
        scope.axis(&entries.name).and_then(|named| named.axis)
    }

    /// The numbers of nested lists, one level of lists for each of `levels`; reports others.
    fn nested(&mut self, levels: &[Level], (value, at): (&ExprValue<'a>, Span)) -> Option<NestedNumbers> {
        let mut nested = NestedNumbers { numbers: Vec::new(), lengths: vec![Vec::new(); levels.len()] };
        match self.nested_into(levels, 0, value, &mut nested) {
            Ok(()) => Some(nested),
            Err(None) => None,
            Err(Some(found)) => {
                let form = form(levels);
                self.report(
                    Diagnostic::error("E0801", "the values do not have the form that is needed", at, found.clone())
                        .note(format!("expected {form}\nfound {found}"))
                        .help(
                            "write numbers in lists, the outermost for the first axis or size; a list of entries is \
                             `given x: s => [2]`",
                        ),
                );
                None
            }
        }
    }

    /// What was found instead where it does not fit; nothing where that is reported already.
    fn nested_into(
        &self,
        levels: &[Level],
        depth: usize,
        value: &ExprValue<'a>,
        into: &mut NestedNumbers,
    ) -> Result<(), Option<String>> {
        match (levels.get(depth), value) {
            (_, ExprValue::Poison) => Err(None),
            (None, ExprValue::Number(n)) => {
                into.numbers.push(*n);
                Ok(())
            }
            // A scalar may stand without brackets.
            (Some(Level::Size(1)), ExprValue::Number(n)) if depth + 1 == levels.len() => {
                into.lengths[depth].push(1);
                into.numbers.push(*n);
                Ok(())
            }
            (Some(level), ExprValue::List(items)) => {
                if let Level::Size(n) = level
                    && items.len() != *n
                {
                    return Err(Some(format!("a list of {} where {n} are needed", items.len())));
                }
                into.lengths[depth].push(items.len());
                items.iter().try_for_each(|item| self.nested_into(levels, depth + 1, item, into))
            }
            (Some(_) | None, other) => Err(Some(self.describe(other))),
        }
    }

    /// Values of parameters and states: those that the test gives, else their initialisers.
    fn test_weights(
        &mut self,
        test: &'a ast::Test,
        given: Vec<(bool, &'a ast::Ident, &'a ast::Expr, ExprValue<'a>)>,
    ) -> Option<Values> {
        let mut sound = true;
        let known: Vec<(bool, String, Vec<u32>, Init)> = (self.parameters.iter())
            .map(|p| (false, p.name.clone(), p.shape.clone(), p.init))
            .chain(self.states.iter().map(|s| (true, s.name.clone(), s.shape.clone(), s.init)))
            .collect();
        let mut values: Vec<Option<Vec<f64>>> = known
            .iter()
            .map(|(_, _, shape, init)| match init {
                Init::Constant(c) => Some(vec![*c; shape.iter().map(|&n| n as usize).product()]),
                Init::Normal(_) | Init::Uniform(_) => None,
            })
            .collect();
        let mut seen: Vec<&'a ast::Ident> = Vec::new();
        for (state, path, value, found) in given {
            if let Some(first) = seen.iter().find(|before| before.name == path.name) {
                let d = Diagnostic::error("E0203", format!("`{}` is given twice", path.name), path.span, "again here");
                self.report(d.label(first.span, "first here").help("remove one of them"));
                sound = false;
                continue;
            }
            seen.push(path);
            let Some(k) = known.iter().position(|(of_state, name, ..)| *of_state == state && *name == path.name) else {
                let what = if state { "state or constant" } else { "param" };
                let other: Vec<&str> = known.iter().filter(|k| k.0 == state).map(|k| k.1.as_str()).collect();
                let message = format!("the test has no {what} `{}`", path.name);
                let d = Diagnostic::error("E0802", message, path.span, "not one of them");
                let help = match super::value::nearest(&path.name, other.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if other.is_empty() => format!("what is called here has no {what}: remove it"),
                    None => format!("it has {}", super::load::listed(&other)),
                };
                self.report(d.help(help));
                sound = false;
                continue;
            };
            let levels: Vec<Level> = known[k].2.iter().map(|&n| Level::Size(n as usize)).collect();
            match self.nested(&levels, (&found, value.span)) {
                Some(numbers) => values[k] = Some(numbers.numbers),
                None => {
                    // Not asked for once more.
                    values[k] = Some(Vec::new());
                    sound = false;
                }
            }
        }
        let mut out = Values::default();
        for ((state, name, shape, _), value) in known.iter().zip(values) {
            let Some(value) = value else {
                let zeros = form(&shape.iter().map(|&n| Level::Size(n as usize)).collect::<Vec<_>>());
                self.report(
                    Diagnostic::error("E0802", format!("`{name}` starts at random"), test.name.span, "not given")
                        .note(format!("expected {zeros}"))
                        .help(format!("give its values: `given param {name} = …`")),
                );
                sound = false;
                continue;
            };
            let list = if *state { &mut out.states } else { &mut out.params };
            list.push(value);
        }
        sound.then_some(out)
    }

    /// Compares a value with what is expected of it; the items of a list each by itself.
    fn expectation(
        &mut self,
        given: &Given<'a>,
        (found, at): (ExprValue<'a>, Span),
        (wanted, wanted_at): (ExprValue<'a>, Span),
        tolerance: f64,
        into: &mut Vec<Expected>,
    ) {
        let items: Option<Rc<[ExprValue<'a>]>> = match &found {
            ExprValue::List(items) | ExprValue::Tuple(items) => Some(items.iter().cloned().collect()),
            _ => None,
        };
        if let Some(items) = items {
            let wanted: Vec<ExprValue<'a>> = match &wanted {
                ExprValue::List(wanted) | ExprValue::Tuple(wanted) if wanted.len() == items.len() => {
                    wanted.iter().cloned().collect()
                }
                ExprValue::Poison => return,
                other => {
                    let other = self.describe(other);
                    let count = items.len();
                    self.report(
                        Diagnostic::error("E0801", "the value is a list", wanted_at, other.clone())
                            .label(at, format!("{count} items"))
                            .note(format!("expected a list of {count}\nfound {other}"))
                            .help("write a list with what is expected of each item"),
                    );
                    return;
                }
            };
            for (item, wanted) in items.iter().zip(wanted) {
                self.expectation(given, (item.clone(), at), (wanted, wanted_at), tolerance, into);
            }
            return;
        }
        let Some(Tensor { node, .. }) = self.tensor(found, at) else { return };
        let (axis, shape) = (self.walk.graph.node(node).axis, self.walk.graph.node(node).shape.clone());
        let mut levels = Vec::new();
        if axis != GLOBAL && given.samples.is_some() {
            levels.push(Level::Samples);
        }
        if axis != GLOBAL && axis != BATCH {
            let AxisKind::Sequence { .. } = self.walk.graph.axis(axis).kind else {
                let found = self.axis_text(axis);
                let d = Diagnostic::error("E0801", "this value cannot be compared", at, format!("varies over {found}"));
                self.report(d.help("reduce it, or compare a value over the entries of a list"));
                return;
            };
            levels.push(Level::Entries { axis: self.walk.graph.axis(axis).name.clone() });
        }
        levels.extend(shape.0.iter().map(|&n| Level::Size(n)));
        let Some(values) = self.nested(&levels, (&wanted, wanted_at)) else { return };
        for (level, found) in levels.iter().zip(&values.lengths) {
            let needed = match level {
                Level::Size(_) => continue,
                Level::Samples => given.samples.iter().map(|(samples, _)| *samples).collect(),
                Level::Entries { axis } => lengths_of(given, axis),
            };
            if *found != needed {
                let what = match level {
                    Level::Samples => "samples",
                    Level::Entries { .. } | Level::Size(_) => "entries",
                };
                self.report(
                    Diagnostic::error(
                        "E0801",
                        format!("the {what} are others than those given"),
                        wanted_at,
                        format!("{found:?}"),
                    )
                    .label(at, format!("{needed:?}"))
                    .note(format!("expected {needed:?} {what}\nfound {found:?}"))
                    .help(format!("write a value for each of the {what}")),
                );
                return;
            }
        }
        into.push(Expected { span: at, node, values, tolerance });
    }
}

/// The lengths of the lists of an axis, by sample.
fn lengths_of(given: &Given, axis: &str) -> Vec<usize> {
    let lists = given.lists.iter().find(|(name, ..)| *name == axis);
    let (_, lengths, _) = lists.expect("a ragged axis of a test is one of its given values");
    let samples = given.samples.map_or(1, |(samples, _)| samples);
    if lengths.len() == samples { lengths.clone() } else { vec![lengths[0]; samples] }
}

/// `a list with a list of 2 numbers per sample`
fn form(levels: &[Level]) -> String {
    match levels {
        [] => "a number".to_string(),
        [Level::Size(n)] => format!("a list of {}", counted(*n, "number")),
        [Level::Size(n), inner @ ..] => format!("a list of {n}, each {}", form(inner)),
        [Level::Samples, inner @ ..] => format!("a list with {} per sample", form(inner)),
        [Level::Entries { axis }, inner @ ..] => format!("a list with {} per entry of `{axis}`", form(inner)),
    }
}

/// What the interpreter reads: each value that is not given per sample is that of all of them.
fn inputs(graph: &Graph, given: Given) -> Inputs {
    let batch = given.samples.map_or(1, |(samples, _)| samples);
    let mut offsets = vec![Vec::new(); graph.axes.count()];
    for (id, axis) in graph.axes.iter() {
        if let AxisKind::Sequence { .. } = axis.kind {
            let mut end = 0;
            let lengths = lengths_of(&given, &axis.name);
            offsets[id.index()] = std::iter::once(0)
                .chain(lengths.into_iter().map(|n| {
                    end += n;
                    end
                }))
                .collect();
        }
    }
    let numbers = given.numbers.into_iter().zip(&graph.inputs).map(|((nested, per_sample), input)| {
        let times = if per_sample || input.axis == GLOBAL { 1 } else { batch };
        nested.numbers.repeat(times)
    });
    Inputs { batch, offsets, numbers: numbers.collect(), ..Inputs::default() }
}

impl PreparedTest {
    /// Runs the test; what differs.
    pub(super) fn run(&self) -> Vec<TestFailure> {
        let run = interpret::run(&self.graph, &self.inputs, &self.values);
        let run = run.expect("a test gives every input and weight in the form that the graph asks for");
        let mut failures = Vec::new();
        for expected in &self.expected {
            let found = NestedNumbers { numbers: run.value(expected.node).to_vec(), ..expected.values.clone() };
            let pairs = || expected.values.numbers.iter().zip(&found.numbers);
            let same = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= expected.tolerance;
            if found.numbers.len() == expected.values.numbers.len() && pairs().all(same) {
                continue;
            }
            let difference = pairs()
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, |greatest: f64, d| if greatest.is_nan() || d.is_nan() { f64::NAN } else { greatest.max(d) });
            failures.push(TestFailure {
                span: expected.span,
                expected: expected.values.text(),
                found: found.text(),
                difference,
                tolerance: expected.tolerance,
            });
        }
        failures
    }
}
