//! The reference interpreter: executes any graph, forward and backward, in f64. Slow and obvious;
//! the oracle of every backend.
//!
//! Each node is computed whole, in topological order, exactly as the table at the top of
//! [`crate::graph`] says. A value is a flat `Vec<f64>` of `n(axis) x width` numbers, elements in
//! order, components row-major. Update graphs run in the same way, their axis 1 being `rows`.
//!
//! [`run`] gives values, [`run_magnitude`] beside them a rounding-error scale for every number,
//! [`InterpreterSession`] whole training steps.

mod error_bound;
mod ops;
mod step;

pub use error_bound::{Magnitudes, run_magnitude};
pub use step::{InterpreterSession, Samples, StepError, StepReport, TableData, TensorData};

use crate::graph::{
    AxisId, AxisKind, AxisTree, BATCH, GLOBAL, Graph, GraphStage, InputId, InputKind, NodeId, Op, TableId, UniqueKeys,
};
use std::collections::BTreeMap;
use std::fmt;

/// What comes from outside at one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Elements of axis 1: samples, or touched rows.
    pub batch: usize,
    /// By axis: `n(parent) + 1` offsets; the elements under `p` are `offsets[p]..offsets[p + 1]`.
    /// Empty (or absent) for `once`, axis 1, the requests, a fixed axis, and a sequence that is
    /// common (its entries once a request have them).
    pub offsets: Vec<Vec<usize>>,
    /// `n(request) + 1` offsets of the samples of each request; empty where there are no requests.
    pub requests: Vec<usize>,
    /// By input: `n(axis) x width` numbers. Empty (or absent) for ids.
    pub numbers: Vec<Vec<f64>>,
    /// Steps done before this one.
    pub steps: u64,
    /// What the random numbers of dropout are made from.
    pub seed: u64,
    /// By table and input, the row number of the id at each element of the input's axis.
    pub rows: BTreeMap<(TableId, InputId), Vec<usize>>,
}

/// What a model has learned so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// By parameter, row-major.
    pub params: Vec<Vec<f64>>,
    /// By state.
    pub states: Vec<Vec<f64>>,
    /// By table: rows one after the other.
    pub tables: Vec<Vec<f64>>,
}

/// Why a graph cannot be run on these inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterpretError {
    /// The node that could not be computed; `None` when the inputs contradict the axes.
    pub node: Option<NodeId>,
    pub message: String,
}

impl fmt::Display for InterpretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(n) => write!(f, "node {}: {}", n.index(), self.message),
            None => write!(f, "{}", self.message),
        }
    }
}

impl std::error::Error for InterpretError {}

/// Values of the nodes that the roots need.
#[derive(Clone, Debug)]
pub struct Run {
    values: Vec<Option<Vec<f64>>>,
    sizes: Sizes,
    /// The entries that are computed now, in a recurrence: those of one step.
    step: Option<Vec<usize>>,
}

impl Run {
    /// Nothing computed yet.
    pub fn new(graph: &Graph, inputs: &Inputs) -> Result<Run, InterpretError> {
        Ok(Run { values: vec![None; graph.bound()], sizes: Sizes::new(graph, inputs)?, step: None })
    }

    /// Computes one node, its operands being computed; in a recurrence, at the entries of a step.
    pub fn compute(
        &mut self,
        graph: &Graph,
        inputs: &Inputs,
        values: &Values,
        id: NodeId,
    ) -> Result<(), InterpretError> {
        if let Some(value) = source(graph, &self.sizes, inputs, values, id)? {
            self.set(id, value);
            return Ok(());
        }
        let value = ops::compute(graph, self, inputs, id);
        match &self.step {
            None => self.set(id, value),
            Some(step) => {
                let all = self.values[id.index()].as_mut().expect("`compute_stage` makes room for a recurrence");
                put(all, &value, graph.node(id).width(), step);
            }
        }
        Ok(())
    }

    /// Computes a stage, its nodes by `compute`. The members of a recurrence are computed once per
    /// step, at the entries of the step alone.
    pub fn compute_stage<E>(
        &mut self,
        graph: &Graph,
        stage: &GraphStage,
        compute: &mut dyn FnMut(&mut Run, NodeId) -> Result<(), E>,
    ) -> Result<(), E> {
        let recurrence = match stage {
            GraphStage::Node(id) => return compute(self, *id),
            GraphStage::Recurrence(recurrence) => recurrence,
        };
        let previous = graph.node(recurrence.previous);
        let lists = self.sizes.parents[previous.axis.index()].clone();
        for &id in &recurrence.members {
            self.set(id, vec![0.0; lists.len() * graph.node(id).width()]);
        }
        for step in steps(&lists, recurrence.backward) {
            let states = step.before(self.value(recurrence.scan), previous.width());
            let before = self.values[recurrence.previous.index()].as_mut().expect("it was set above");
            put(before, &states, previous.width(), &step.entries);
            self.step = Some(step.entries);
            let members = recurrence.members.iter().filter(|id| **id != recurrence.previous);
            let computed = members.copied().try_for_each(|id| compute(self, id));
            self.step = None;
            computed?;
        }
        Ok(())
    }

    /// The elements of `axis` that are computed now.
    fn elements(&self, axis: AxisId) -> Vec<usize> {
        match &self.step {
            Some(step) => step.clone(),
            None => (0..self.sizes.count(axis)).collect(),
        }
    }

    /// Gives a node a value instead of computing it, such as one that a derivative must not see
    /// move.
    pub fn set(&mut self, id: NodeId, value: Vec<f64>) {
        if self.values.len() <= id.index() {
            self.values.resize(id.index() + 1, None);
        }
        self.values[id.index()] = Some(value);
    }

    /// The value of a node that a root needs; empty for any other.
    pub fn value(&self, id: NodeId) -> &[f64] {
        self.values.get(id.index()).and_then(|v| v.as_deref()).expect("a run computes what the roots need")
    }

    /// Number of elements and who lies above whom.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }
}

/// Number of elements by axis, and every element's ancestors.
#[derive(Clone, Debug)]
pub struct Sizes {
    counts: Vec<usize>,
    /// By axis, each element's parent.
    parents: Vec<Vec<usize>>,
    /// By axis, each element's second parent.
    commons: Vec<Vec<usize>>,
    /// By axis: if it is one of pairs, the second entry of each.
    seconds: Vec<Vec<usize>>,
    /// By group, the element of each element of the axis that it joins.
    joined: Vec<Vec<usize>>,
    /// By group, the first element that each of its elements stands for.
    firsts: Vec<Vec<usize>>,
    axes: AxisTree,
}

impl Sizes {
    pub fn new(graph: &Graph, inputs: &Inputs) -> Result<Sizes, InterpretError> {
        let fail = |message: String| InterpretError { node: None, message };
        let n = graph.axes.count();
        let mut sizes = Sizes {
            counts: vec![1; n],
            parents: vec![Vec::new(); n],
            commons: vec![Vec::new(); n],
            seconds: vec![Vec::new(); n],
            joined: vec![Vec::new(); n],
            firsts: vec![Vec::new(); n],
            axes: graph.axes.clone(),
        };
        let ascending = |name: &str, offsets: &[usize], count: usize| {
            let sound = offsets.len() == count + 1 && offsets[0] == 0 && offsets.windows(2).all(|w| w[0] <= w[1]);
            let why = || fail(format!("`{name}` needs {} ascending offsets from 0, found {offsets:?}", count + 1));
            if sound { Ok(()) } else { Err(why()) }
        };
        let owners = |offsets: &[usize]| -> Vec<usize> {
            offsets.windows(2).enumerate().flat_map(|(p, w)| std::iter::repeat_n(p, w[1] - w[0])).collect()
        };
        let batch = BATCH.index();
        sizes.counts[batch] = inputs.batch;
        sizes.parents[batch] = vec![0; inputs.batch];
        if let Some(request) = graph.axes.request() {
            let requests = inputs.requests.len().saturating_sub(1);
            ascending("request", &inputs.requests, requests)?;
            if inputs.requests[requests] != inputs.batch {
                return Err(fail(format!("the requests have {} samples", inputs.requests[requests])));
            }
            sizes.counts[request.index()] = requests;
            sizes.parents[request.index()] = vec![0; requests];
            sizes.commons[batch] = owners(&inputs.requests);
        }
        // First the lists with offsets of their own, then the common ones on the samples, then
        // lists of one length, then second names and pairs.
        for (id, axis) in graph.axes.iter() {
            let AxisKind::Sequence { parent, shared: None, .. } = axis.kind else { continue };
            let k = id.index();
            let offsets = inputs.offsets.get(k).map_or(&[][..], |o| o);
            ascending(&axis.name, offsets, sizes.counts[parent.index()])?;
            sizes.parents[k] = owners(offsets);
            sizes.counts[k] = sizes.parents[k].len();
        }
        for (id, axis) in graph.axes.iter() {
            let AxisKind::Sequence { shared: Some(entries), .. } = axis.kind else { continue };
            let k = id.index();
            let offsets = &inputs.offsets[entries.index()];
            let requests = sizes.commons[batch].clone();
            for (sample, r) in requests.into_iter().enumerate() {
                for entry in offsets[r]..offsets[r + 1] {
                    sizes.parents[k].push(sample);
                    sizes.commons[k].push(entry);
                }
            }
            sizes.counts[k] = sizes.parents[k].len();
        }
        for (id, axis) in graph.axes.iter() {
            let AxisKind::Fixed { size } = axis.kind else { continue };
            let owners = (0..inputs.batch).flat_map(|sample| std::iter::repeat_n(sample, size as usize));
            sizes.parents[id.index()] = owners.collect();
            sizes.counts[id.index()] = inputs.batch * size as usize;
        }
        for (id, axis) in graph.axes.iter() {
            let (of, pairs) = match axis.kind {
                // The steps of a recurrence are numbered like the entries here: what their order is
                // for does not concern an interpreter.
                AxisKind::Second { of } | AxisKind::Steps { of } => (of, false),
                AxisKind::Pairs { of, .. } => (of, true),
                AxisKind::Global
                | AxisKind::Batch { .. }
                | AxisKind::Request
                | AxisKind::Sequence { .. }
                | AxisKind::Fixed { .. }
                | AxisKind::Unique(_) => continue,
            };
            let lists = if of == BATCH { &sizes.commons } else { &sizes.parents }[of.index()].clone();
            if pairs {
                for (first, list) in lists.iter().enumerate() {
                    for second in (0..lists.len()).filter(|&second| lists[second] == *list) {
                        sizes.parents[id.index()].push(first);
                        sizes.seconds[id.index()].push(second);
                    }
                }
            } else {
                sizes.parents[id.index()] = sizes.parents[of.index()].clone();
                sizes.commons[id.index()] = sizes.commons[of.index()].clone();
            }
            sizes.counts[id.index()] = sizes.parents[id.index()].len();
        }
        for (id, UniqueKeys { over, keys }) in graph.axes.uniques() {
            let k = id.index();
            let key = |&(table, feature): &(u32, u32)| {
                let input = graph
                    .inputs
                    .iter()
                    .position(|i| matches!(i.kind, InputKind::Ids { feature: f, .. } if f == feature))?;
                inputs.rows.get(&(TableId(table), InputId(input as u32)))
            };
            let columns: Option<Vec<&Vec<usize>>> = keys.iter().map(key).collect();
            let columns = columns.ok_or_else(|| fail(format!("axis `{}` needs row numbers", graph.axis(id).name)))?;
            let mut known: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
            for i in 0..sizes.counts[over.index()] {
                let rows: Option<Vec<usize>> = columns.iter().map(|rows| rows.get(i).copied()).collect();
                let rows = rows.ok_or_else(|| fail(format!("axis `{}` needs row numbers", graph.axis(id).name)))?;
                let next = known.len();
                let element = *known.entry(rows).or_insert(next);
                if element == next {
                    sizes.firsts[k].push(i);
                }
                sizes.joined[k].push(element);
            }
            sizes.counts[k] = known.len();
            sizes.parents[k] = vec![0; known.len()];
        }
        Ok(sizes)
    }

    /// Number of elements of `axis`.
    pub fn count(&self, axis: AxisId) -> usize {
        self.counts[axis.index()]
    }

    /// The element of `to` above element `i` of `from`; `to` is `from` or an ancestor of it.
    pub fn ancestor(&self, from: AxisId, to: AxisId, i: usize) -> usize {
        if from == to {
            return i;
        }
        if to == GLOBAL {
            return 0;
        }
        if let Some(unique) = self.axes.unique(to) {
            return self.joined[to.index()][self.ancestor(from, unique.over, i)];
        }
        let steps = [
            (self.axes.parent(from), &self.parents),
            (self.axes.shared(from), &self.commons),
            (self.axes.second_of_pairs(from), &self.seconds),
        ];
        let step = steps
            .into_iter()
            .find_map(|(above, owners)| Some((above.filter(|a| self.axes.is_ancestor(to, *a))?, owners)));
        let (above, owners) = step.expect("the graph was verified: `to` is an ancestor of `from`");
        self.ancestor(above, to, owners[from.index()][i])
    }

    /// For each element of `axis`, the first that it stands for: itself where the axis is not a
    /// unique one.
    pub fn firsts(&self, axis: AxisId) -> Vec<usize> {
        match self.axes.unique(axis) {
            Some(_) => self.firsts[axis.index()].clone(),
            None => (0..self.count(axis)).collect(),
        }
    }

    /// A value of `from` (or an ancestor of it) read at every element of `to`.
    pub fn expand(&self, value: &[f64], width: usize, from: AxisId, to: AxisId) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.count(to) * width);
        for i in 0..self.count(to) {
            let p = self.ancestor(to, from, i);
            out.extend_from_slice(&value[p * width..(p + 1) * width]);
        }
        out
    }
}

/// Computes every node that the roots need. The graph must pass [`crate::graph::verify`].
pub fn run(graph: &Graph, inputs: &Inputs, values: &Values) -> Result<Run, InterpretError> {
    let mut run = Run::new(graph, inputs)?;
    for stage in graph.stages() {
        run.compute_stage(graph, &stage, &mut |run, id| run.compute(graph, inputs, values, id))?;
    }
    Ok(run)
}

/// The entries that a recurrence treats at once: one of each list that is long enough.
struct Step {
    entries: Vec<usize>,
    /// Of each, the entry whose state it begins with; `None` in the first step.
    before: Option<Vec<usize>>,
}

impl Step {
    /// By entry of the step, what `states` has for the entry before; 0 where there is none.
    fn before(&self, states: &[f64], width: usize) -> Vec<f64> {
        match &self.before {
            None => vec![0.0; self.entries.len() * width],
            Some(before) => before.iter().flat_map(|&i| &states[i * width..(i + 1) * width]).copied().collect(),
        }
    }
}

/// The steps of a recurrence, in order. `lists` has the list of each entry.
fn steps(lists: &[usize], backward: bool) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut begin = 0;
    for list in lists.chunk_by(|a, b| a == b) {
        for k in 0..list.len() {
            let at = |k: usize| if backward { begin + list.len() - 1 - k } else { begin + k };
            if steps.len() == k {
                steps.push(Step { entries: Vec::new(), before: (k > 0).then(Vec::new) });
            }
            steps[k].entries.push(at(k));
            if let Some(before) = &mut steps[k].before {
                before.push(at(k - 1));
            }
        }
        begin += list.len();
    }
    steps
}

/// Writes the values of some entries among those of all.
fn put(all: &mut [f64], values: &[f64], width: usize, entries: &[usize]) {
    for (&i, value) in entries.iter().zip(values.chunks_exact(width)) {
        all[i * width..(i + 1) * width].copy_from_slice(value);
    }
}

/// The value of a node that reads from outside; `None` for an op on operands.
fn source(
    graph: &Graph,
    sizes: &Sizes,
    inputs: &Inputs,
    values: &Values,
    id: NodeId,
) -> Result<Option<Vec<f64>>, InterpretError> {
    let node = graph.node(id);
    let fail = |message: String| InterpretError { node: Some(id), message };
    let n = sizes.count(node.axis);
    let sized = |what: &str, k: usize, from: &[Vec<f64>]| match from.get(k) {
        Some(v) if v.len() == n * node.width() => Ok(v.clone()),
        found => {
            let found = found.map_or(0, Vec::len);
            Err(fail(format!("{what} {k} needs {n} x {} numbers, has {found}", node.width())))
        }
    };
    Ok(Some(match &node.op {
        Op::Const(c) => vec![*c; n * node.width()],
        Op::Input(i) => sized("input", i.index(), &inputs.numbers)?,
        Op::Param(p) => sized("parameter", p.index(), &values.params)?,
        Op::State(s) => sized("state", s.index(), &values.states)?,
        Op::Lookup { table, input } => {
            let rows = inputs.rows.get(&(*table, *input)).map_or(&[][..], |r| r);
            let needed = sizes.count(graph.inputs[input.index()].axis);
            if rows.len() != needed {
                return Err(fail(format!("needs {needed} row numbers, has {}", rows.len())));
            }
            let weights = values.tables.get(table.index()).map_or(&[][..], |t| t);
            let width = node.width();
            let mut out = Vec::with_capacity(n * width);
            for row in sizes.firsts(node.axis).into_iter().map(|i| rows[i]) {
                let found = weights.get(row * width..(row + 1) * width);
                let found = found.ok_or_else(|| fail(format!("table {} has no row {row}", table.0)))?;
                out.extend_from_slice(found);
            }
            out
        }
        Op::Length(d) => {
            let mut lengths = vec![0.0; n];
            for &p in &sizes.parents[d.index()] {
                lengths[p] += 1.0;
            }
            lengths
        }
        Op::Position(d) => {
            let lists = &sizes.parents[d.index()];
            (0..n).map(|i| lists[..i].iter().filter(|list| **list == lists[i]).count() as f64).collect()
        }
        Op::SampleNumber(BATCH) => (0..n).map(|sample| sample as f64).collect(),
        Op::SampleNumber(_) => {
            let requests = &sizes.commons[BATCH.index()];
            let first = |request| requests.iter().position(|r| *r == request).expect("a request has a sample");
            (0..n).map(|request| first(request) as f64).collect()
        }
        Op::Count(d) => vec![sizes.count(*d) as f64],
        _ => return Ok(None),
    }))
}
