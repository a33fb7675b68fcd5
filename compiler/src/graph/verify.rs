//! The well-formedness of a graph: every rule of the table at the top of [`crate::graph`], checked.
//!
//! A graph that passes is acyclic, its edges mirror its operands, every node has the axis and shape
//! that its op and operands give, every id is in range, and every root exists and has the type its
//! kind demands. Later phases rely on it and do not panic.

use super::{
    Absorbed, AxisId, AxisKind, BATCH, GLOBAL, Graph, Input, InputId, InputKind, Node, NodeId, Op, Root, Shape, TableId,
};
use din_grammar::Span;
use petgraph::Direction;
use petgraph::visit::EdgeRef;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A broken rule. It is a bug of the compiler, not of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// The node that breaks it.
    pub node: Option<NodeId>,
    /// The root (index into [`Graph::roots`]) that breaks it.
    pub root: Option<usize>,
    pub rule: String,
    /// Where the node comes from.
    pub span: Span,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.root, self.node) {
            (Some(r), Some(n)) => write!(f, "root {r} (node {}): {}", n.index(), self.rule),
            (Some(r), None) => write!(f, "root {r}: {}", self.rule),
            (None, Some(n)) => write!(f, "node {}: {}", n.index(), self.rule),
            (None, None) => write!(f, "{}", self.rule),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks all rules; the first broken one is the error.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    tables(graph).map_err(|rule| VerifyError { node: None, root: None, rule, span: Span::default() })?;
    for id in graph.ids() {
        let fail = |rule| VerifyError { node: Some(id), root: None, rule, span: graph.node(id).span };
        edges(graph, id).map_err(fail)?;
    }
    if let Some(id) = on_a_cycle(graph) {
        let rule = "depends on itself".into();
        return Err(VerifyError { node: Some(id), root: None, rule, span: graph.node(id).span });
    }
    for id in graph.ids() {
        let fail = |rule| VerifyError { node: Some(id), root: None, rule, span: graph.node(id).span };
        node(graph, graph.node(id)).map_err(fail)?;
    }
    recurrences(graph)?;
    for (k, root) in graph.roots.iter().enumerate() {
        let id = root.node();
        let existing = graph.nodes.node_weight(id);
        let span = existing.map_or(Span::default(), |n| n.span);
        let fail = |rule| VerifyError { node: existing.map(|_| id), root: Some(k), rule, span };
        let node = existing.ok_or_else(|| fail(format!("names node {}, which does not exist", id.index())))?;
        self::root(graph, root, node).map_err(fail)?;
        if graph.roots[..k].iter().any(|earlier| same_target(graph, earlier, root)) {
            return Err(fail("stands twice".into()));
        }
    }
    Ok(())
}

/// A recurrence has one beginning and one end, of one type; what lies between is computed element
/// by element on its axis, and belongs to no other recurrence.
fn recurrences(graph: &Graph) -> Result<(), VerifyError> {
    let (mut begins, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for id in graph.ids() {
        let node = graph.node(id);
        let fail = |rule: &str| VerifyError { node: Some(id), root: None, rule: rule.into(), span: node.span };
        if let Op::Previous { scan, backward } = node.op
            && begins.insert(scan, (id, backward)).is_some()
        {
            return Err(fail("a recurrence begins twice"));
        }
        if let Op::Scan { scan, backward } = node.op
            && ends.insert(scan, (id, backward)).is_some()
        {
            return Err(fail("a recurrence ends twice"));
        }
    }
    for (scan, &(id, backward)) in &begins {
        let node = graph.node(id);
        let fits = ends.get(scan).is_some_and(|&(end, direction)| {
            let end = graph.node(end);
            (end.axis, &end.shape, direction) == (node.axis, &node.shape, backward)
        });
        if !fits {
            let rule = "the recurrence has no end of the same axis, shape and direction".into();
            return Err(VerifyError { node: Some(id), root: None, rule, span: node.span });
        }
    }
    if begins.is_empty() {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for recurrence in graph.recurrences(&graph.order_all()) {
        let axis = graph.node(recurrence.previous).axis;
        for &id in &recurrence.members {
            let node = graph.node(id);
            let end = id == recurrence.previous || id == recurrence.scan;
            let broken = [
                (node.axis != axis, "is in a recurrence over another axis"),
                (!end && !node.op.is_per_element(), "is in a recurrence and not computed element by element"),
                (!seen.insert(id), "is in two recurrences"),
            ];
            if let Some((_, rule)) = broken.into_iter().find(|(broken, _)| *broken) {
                return Err(VerifyError { node: Some(id), root: None, rule: rule.into(), span: node.span });
            }
        }
    }
    Ok(())
}

type Rule = Result<(), String>;

fn demand(holds: bool, rule: impl FnOnce() -> String) -> Rule {
    if holds { Ok(()) } else { Err(rule()) }
}

/// Axes, inputs, and the shapes of parameters and states.
fn tables(g: &Graph) -> Rule {
    g.axes.check()?;
    for (axis, unique) in g.axes.uniques() {
        for (n, key) in unique.keys.iter().enumerate() {
            let (table, feature) = *key;
            let ids = |i: &Input| {
                matches!(i.kind, InputKind::Ids { feature: f, .. } if f == feature) && i.axis == unique.over
            };
            let known =
                g.inputs.iter().any(ids) && (table as usize) < g.tables.len() && !unique.keys[..n].contains(key);
            demand(known, || format!("axis {} cannot have the key ({table}, {feature})", axis.0))?;
        }
    }
    for (k, i) in g.inputs.iter().enumerate() {
        demand(i.axis.index() < g.axes.count(), || format!("input {k} has no axis {}", i.axis.0))?;
        shape(&i.shape, i.axis).map_err(|e| format!("input {k}: {e}"))?;
        match i.kind {
            InputKind::Ids { .. } => {
                demand(i.shape == Shape::scalar(), || format!("input {k} holds ids and must have shape [1]"))?;
            }
            InputKind::Step | InputKind::Epoch => {
                let fits = i.axis == GLOBAL && i.shape == Shape::scalar();
                demand(fits, || format!("input {k} is the step or epoch and must be global, [1]"))?;
            }
            InputKind::SquaredNorms => {
                demand(i.axis == GLOBAL && i.shape.0.len() == 1, || {
                    format!("input {k} has a number by table and parameter and must be global, a vector")
                })?;
            }
            _ => {}
        }
    }
    for (what, shapes) in [("parameter", &g.params), ("state", &g.states)] {
        for (k, s) in shapes.iter().enumerate() {
            shape(s, GLOBAL).map_err(|e| format!("{what} {k}: {e}"))?;
        }
    }
    match g.tables.iter().position(|&w| w == 0) {
        Some(k) => Err(format!("table {k} has width 0")),
        None => Ok(()),
    }
}

fn shape(s: &Shape, axis: AxisId) -> Rule {
    demand(matches!(s.0.len(), 1 | 2), || format!("shape {:?} is not of rank 1 or 2", s.0))?;
    demand(s.0.iter().all(|&n| n > 0), || format!("shape {:?} has an empty axis", s.0))?;
    demand(s.0.len() == 1 || axis == GLOBAL, || format!("a matrix {:?} must live on the global axis", s.0))
}

/// Edges mirror operands; operands exist.
fn edges(g: &Graph, id: NodeId) -> Rule {
    let operands = &g.node(id).operands;
    for &o in operands {
        demand(g.nodes.contains_node(o), || format!("operand {} does not exist", o.index()))?;
    }
    let mut found: Vec<(u32, NodeId)> =
        g.nodes.edges_directed(id, Direction::Incoming).map(|e| (*e.weight(), e.source())).collect();
    found.sort();
    let mirrored = found.len() == operands.len()
        && found.iter().zip(operands).enumerate().all(|(k, (&(at, from), &o))| at as usize == k && from == o);
    demand(mirrored, || "its edges do not mirror its operands".into())
}

fn on_a_cycle(g: &Graph) -> Option<NodeId> {
    let mut waiting = vec![0usize; g.bound()];
    let mut ready = Vec::new();
    for id in g.ids() {
        waiting[id.index()] = g.node(id).operands.len();
        if g.node(id).operands.is_empty() {
            ready.push(id);
        }
    }
    while let Some(id) = ready.pop() {
        for e in g.nodes.edges_directed(id, Direction::Outgoing) {
            let user = e.target();
            waiting[user.index()] -= 1;
            if waiting[user.index()] == 0 {
                ready.push(user);
            }
        }
    }
    g.ids().find(|id| waiting[id.index()] > 0)
}

/// The operand count, the ids, and the type that the op and its operands give.
fn node(g: &Graph, n: &Node) -> Rule {
    demand(n.axis.index() < g.axes.count(), || format!("axis {} does not exist", n.axis.0))?;
    shape(&n.shape, n.axis)?;
    match n.op.arity() {
        Some(k) => demand(n.operands.len() == k, || format!("takes {k} operands, has {}", n.operands.len()))?,
        None => demand(!n.operands.is_empty(), || "takes at least one operand".into())?,
    }
    let operand = |k: usize| g.node(n.operands[k]);
    let mut axis = GLOBAL;
    for &o in &n.operands {
        let d = g.node(o).axis;
        axis = g
            .axes
            .join(axis, d)
            .ok_or_else(|| format!("operands vary over unrelated axes, axes {} and {}", axis.0, d.0))?;
    }
    let exists = |d: AxisId| demand(d.index() < g.axes.count(), || format!("axis {} does not exist", d.0));
    let in_range =
        |what: &str, k: usize, len: usize| demand(k < len, || format!("{what} {k} is out of range, there are {len}"));
    let vector = |k: usize| {
        let s = &operand(k).shape;
        demand(s.0.len() == 1, || format!("operand {k} must be a vector, has shape {:?}", s.0))
    };
    let shape = match &n.op {
        Op::Const(_) => {
            axis = n.axis;
            n.shape.clone()
        }
        Op::Input(i) => {
            in_range("input", i.index(), g.inputs.len())?;
            let input = &g.inputs[i.index()];
            demand(!matches!(input.kind, InputKind::Ids { .. }), || "ids may be read by lookups only".into())?;
            axis = input.axis;
            input.shape.clone()
        }
        Op::Param(p) => {
            in_range("parameter", p.index(), g.params.len())?;
            g.params[p.index()].clone()
        }
        Op::State(s) => {
            in_range("state", s.index(), g.states.len())?;
            g.states[s.index()].clone()
        }
        Op::Lookup { table, input } => {
            in_range("table", table.index(), g.tables.len())?;
            in_range("input", input.index(), g.inputs.len())?;
            let ids = matches!(g.inputs[input.index()].kind, InputKind::Ids { .. });
            demand(ids, || "a lookup must read ids".into())?;
            axis = of_rows(g, *table, *input, n.axis);
            Shape::vector(g.tables[table.index()])
        }
        Op::Length(d) => {
            exists(*d)?;
            axis = g.axes.parent(*d).ok_or("the global axis lies under no element")?;
            Shape::scalar()
        }
        Op::Position(d) => {
            exists(*d)?;
            let entries = matches!(g.axes.kind(*d), AxisKind::Sequence { .. } | AxisKind::Fixed { .. });
            demand(entries, || format!("axis {} is neither a sequence nor fixed", d.0))?;
            axis = *d;
            Shape::scalar()
        }
        Op::SampleNumber(d) => {
            exists(*d)?;
            let sampled = *d == BATCH || g.axes.request() == Some(*d);
            demand(sampled, || format!("axis {} is that of neither samples nor requests", d.0))?;
            axis = *d;
            Shape::scalar()
        }
        Op::DropoutMask { rate, .. } => {
            demand((0.0..1.0).contains(rate), || format!("a rate of {rate}"))?;
            demand(axis != GLOBAL, || "a mask that is the same for all samples".into())?;
            (0..3).try_for_each(|k| demand(operand(k).width() == 1, || format!("operand {k} is not one number")))?;
            demand(n.shape.0.len() == 1, || format!("has shape {:?}, which is no vector", n.shape.0))?;
            n.shape.clone()
        }
        Op::Count(d) => {
            exists(*d)?;
            Shape::scalar()
        }
        Op::Unary(_) | Op::StopGradient => operand(0).shape.clone(),
        Op::Binary(_) | Op::Select => g.elementwise(&n.operands).map_err(|_| {
            let shapes: Vec<_> = n.operands.iter().map(|&o| &g.node(o).shape.0).collect();
            format!("elementwise operands of shapes {shapes:?}")
        })?,
        Op::Broadcast => {
            let x = operand(0);
            demand(g.axes.is_ancestor(x.axis, n.axis), || {
                format!("broadcasts from axis {} to {}, which is not below it", x.axis.0, n.axis.0)
            })?;
            demand(x.shape == n.shape || x.width() == 1, || {
                format!("broadcasts shape {:?} to {:?}", x.shape.0, n.shape.0)
            })?;
            axis = n.axis;
            n.shape.clone()
        }
        Op::Concat => {
            (0..n.operands.len()).try_for_each(vector)?;
            Shape::vector(n.operands.iter().map(|&o| g.node(o).width()).sum())
        }
        Op::Slice { start } => {
            let (end, width) = (start + n.width(), operand(0).width());
            demand(end <= width, || format!("components {start}..{end} of an operand of width {width}"))?;
            n.shape.clone()
        }
        Op::Reshape => {
            let from = &operand(0).shape;
            demand(from.width() == n.width(), || format!("reshape from {:?} to {:?}", from.0, n.shape.0))?;
            n.shape.clone()
        }
        Op::MatMul | Op::MatMulT => {
            let w = operand(1);
            let (&[k, m], GLOBAL) = (w.shape.0.as_slice(), w.axis) else {
                return Err("operand 1 must be a matrix on the global axis".into());
            };
            let (from, to) = if n.op == Op::MatMul { (k, m) } else { (m, k) };
            let x = &operand(0).shape;
            demand(*x == Shape::vector(from), || format!("operand 0 must have shape [{from}], has {:?}", x.0))?;
            Shape::vector(to)
        }
        Op::Outer => {
            vector(0)?;
            vector(1)?;
            axis = GLOBAL;
            Shape::matrix(operand(0).width(), operand(1).width())
        }
        Op::Absorbed(form) => {
            let on = |k: usize, d: AxisId| -> Result<usize, String> {
                demand(operand(k).axis == d, || {
                    format!("operand {k} must be in axis {}, is in {}", d.0, operand(k).axis.0)
                })?;
                vector(k)?;
                Ok(operand(k).width())
            };
            let sequence = operand(0).axis;
            demand(g.axes.parent(sequence) == Some(BATCH), || "operand 0 must be on a sequence".into())?;
            let matrix = || match (operand(2).shape.0.as_slice(), operand(2).axis) {
                (&[k, n], GLOBAL) if k % 2 == 0 => Ok((k / 2, n)),
                _ => Err("operand 2 must be a matrix on the global axis with an even number of rows".to_string()),
            };
            let (found, wanted, of, shape) = match form {
                Absorbed::Product => {
                    let (e, n) = matrix()?;
                    ([on(0, sequence)?, on(1, BATCH)?], [e, e], sequence, Shape::vector(n))
                }
                Absorbed::ProductT => {
                    let (e, n) = matrix()?;
                    ([on(0, sequence)?, on(1, BATCH)?], [n, e], sequence, Shape::vector(e))
                }
                Absorbed::Outer => {
                    let (e, n) = (on(0, sequence)?, on(2, sequence)?);
                    ([on(1, BATCH)?, n], [e, n], GLOBAL, Shape::matrix(2 * e, n))
                }
                Absorbed::Sum => {
                    let (e, n) = matrix()?;
                    ([on(0, sequence)?, on(1, sequence)?], [e, n], BATCH, Shape::vector(e))
                }
            };
            demand(found == wanted, || format!("operands have widths {found:?}, not {wanted:?}"))?;
            axis = of;
            shape
        }
        Op::Sum { to } | Op::Max { to } => {
            exists(*to)?;
            let from = operand(0).axis;
            demand(g.axes.is_ancestor(*to, from) && *to != from, || {
                format!("reduces from axis {} to {}, which is not above it", from.0, to.0)
            })?;
            axis = *to;
            operand(0).shape.clone()
        }
        Op::Rename { to } => {
            exists(*to)?;
            let from = operand(0).axis;
            demand(g.axes.entries(from) == g.axes.entries(*to) && from != *to, || {
                format!("axis {} is no other name of the elements of axis {}", to.0, from.0)
            })?;
            axis = *to;
            operand(0).shape.clone()
        }
        Op::Unflatten { to } => {
            exists(*to)?;
            vector(0)?;
            let (size, width) = (fixed(g, *to)?, operand(0).width());
            demand(g.axes.is_ancestor(axis, BATCH), || {
                format!("operand 0 must be on the samples, is in axis {}", axis.0)
            })?;
            demand(width.is_multiple_of(size), || format!("{width} components are not {size} equal parts"))?;
            axis = *to;
            Shape::vector(width / size)
        }
        Op::Flatten => {
            vector(0)?;
            let width = fixed(g, axis)? * operand(0).width();
            axis = BATCH;
            Shape::vector(width)
        }
        Op::SumValue => Shape::scalar(),
        Op::Previous { .. } => {
            demand(matches!(g.axes.kind(n.axis), AxisKind::Sequence { .. } | AxisKind::Steps { .. }), || {
                format!("axis {} is no sequence", n.axis.0)
            })?;
            axis = n.axis;
            n.shape.clone()
        }
        Op::Scan { .. } => {
            demand(matches!(g.axes.kind(axis), AxisKind::Sequence { .. } | AxisKind::Steps { .. }), || {
                format!("axis {} is no sequence", axis.0)
            })?;
            vector(0)?;
            operand(0).shape.clone()
        }
        Op::Statistic(statistic) => {
            vector(0)?;
            axis = GLOBAL;
            Shape::vector(statistic.description().results as usize * operand(0).width())
        }
    };
    demand(n.axis == axis, || format!("has axis {}, its operands give {}", n.axis.0, axis.0))?;
    demand(n.shape == shape, || format!("has shape {:?}, its operands give {:?}", n.shape.0, shape.0))
}

/// Entries of a fixed axis, under their first name.
fn fixed(g: &Graph, axis: AxisId) -> Result<usize, String> {
    let size = g.axes.fixed(axis).filter(|_| g.axes.first_name(axis) == axis);
    size.map(|size| size as usize).ok_or_else(|| format!("axis {} is not fixed", axis.0))
}

fn root(g: &Graph, root: &Root, n: &Node) -> Rule {
    let typed = |axis: AxisId, shape: &Shape| {
        demand(n.axis == axis && n.shape == *shape, || {
            format!("must have axis {} and shape {:?}, has {} and {:?}", axis.0, shape.0, n.axis.0, n.shape.0)
        })
    };
    let in_range =
        |what: &str, k: usize, len: usize| demand(k < len, || format!("{what} {k} is out of range, there are {len}"));
    match root {
        Root::Named { .. } => Ok(()),
        Root::Loss(_) => typed(GLOBAL, &Shape::scalar()),
        Root::Prediction { .. } | Root::Output { .. } => typed(BATCH, &Shape::vector(n.width())),
        Root::State { state, .. } => {
            in_range("state", state.index(), g.states.len())?;
            typed(GLOBAL, &g.states[state.index()])
        }
        Root::ParamGradient { param, .. } => {
            in_range("parameter", param.index(), g.params.len())?;
            typed(GLOBAL, &g.params[param.index()])
        }
        Root::RowGradient { table, input, .. } => {
            in_range("table", table.index(), g.tables.len())?;
            in_range("input", input.index(), g.inputs.len())?;
            let axis = of_rows(g, *table, *input, n.axis);
            typed(axis, &Shape::vector(g.tables[table.index()]))
        }
        Root::Weight(_) => updated(g, n, &InputKind::Weight),
        Root::Slot { slot, .. } => updated(g, n, &InputKind::Slot { slot: *slot }),
    }
}

/// Where rows are read: at each id, or in a group that has the look-up among its keys.
fn of_rows(g: &Graph, table: TableId, input: InputId, found: AxisId) -> AxisId {
    match g.unique_key(found, table, input) {
        Some(_) => found,
        None => g.inputs[input.index()].axis,
    }
}

/// A new weight or slot has its old one's type; where nothing reads the old one, that of an element
/// of `rows` or above.
fn updated(g: &Graph, n: &Node, kind: &InputKind) -> Rule {
    match g.inputs.iter().find(|i| i.kind == *kind) {
        Some(old) => demand(g.axes.is_ancestor(n.axis, old.axis) && (n.shape == old.shape || n.width() == 1), || {
            format!("must fit axis {} and shape {:?}, has {} and {:?}", old.axis.0, old.shape.0, n.axis.0, n.shape.0)
        }),
        None => demand(g.axes.is_ancestor(n.axis, BATCH), || format!("has axis {}, beyond `rows`", n.axis.0)),
    }
}

fn same_target(g: &Graph, a: &Root, b: &Root) -> bool {
    let axis = |id: &NodeId| g.nodes.node_weight(*id).map(|n| n.axis);
    match (a, b) {
        (Root::Loss(_), Root::Loss(_)) | (Root::Weight(_), Root::Weight(_)) => true,
        (Root::Prediction { index: a, .. }, Root::Prediction { index: b, .. }) => a == b,
        (Root::Output { index: a, .. }, Root::Output { index: b, .. }) => a == b,
        (Root::Named { name: a, .. }, Root::Named { name: b, .. }) => a == b,
        (Root::State { state: a, .. }, Root::State { state: b, .. }) => a == b,
        (Root::ParamGradient { param: a, .. }, Root::ParamGradient { param: b, .. }) => a == b,
        (Root::RowGradient { table: a, input: i, node: m }, Root::RowGradient { table: b, input: k, node: n }) => {
            (a, i) == (b, k) && axis(m) == axis(n)
        }
        (Root::Slot { slot: a, .. }, Root::Slot { slot: b, .. }) => a == b,
        (
            Root::Loss(_)
            | Root::Weight(_)
            | Root::Prediction { .. }
            | Root::Output { .. }
            | Root::Named { .. }
            | Root::State { .. }
            | Root::ParamGradient { .. }
            | Root::RowGradient { .. }
            | Root::Slot { .. },
            _,
        ) => false,
    }
}

#[cfg(test)]
mod tests;
