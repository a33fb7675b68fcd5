//! Algebra on products of concatenations.
//!
//! `concat(k, q, k - q, k * q) W`, with `k` on a sequence and `q` on the samples, is `k (Wk + Wd) +
//! q (Wq - Wd) + (k * q) Wp`: the 4E-wide operand never exists, the term of `q` is computed once a
//! sample instead of once an entry, and what stays on the sequence is one product, `concat(k, k *
//! q)` with the rows of `Wk + Wd` over those of `Wp`.
//!
//! In general the operand of a product is taken apart into *terms*: an atom (anything that is not a
//! concatenation or constant multiple, nor a sum that it pays to take apart), its first row of `W`,
//! and a coefficient. The rows that belong to one atom are combined, and the atoms of one axis
//! multiplied together. That is done only where it lowers the cost (see [`SAMPLES`]); a
//! concatenation whose pieces live in one axis and do not repeat keeps its single product.

use super::rewrite::rebuild;
use crate::graph::{AxisId, BinaryOp, GLOBAL, Graph, Node, NodeId, Op, Shape, TypeError, UnaryOp};
use din_grammar::Span;

/// How many elements the axes are taken to have: samples a batch, requests a batch, entries a list.
/// The decision hardly depends on them, since all terms but the combined weights scale alike.
const SAMPLES: f64 = 256.0;
const REQUESTS: f64 = 32.0;
const ENTRIES: f64 = 16.0;

/// Bounds the work on hostile nests of sums.
const MOST_TERMS: usize = 256;

pub(super) fn run(graph: &mut Graph) {
    rebuild(graph, |new, node| {
        let split = if node.op == Op::MatMul { split(new, &node) } else { Ok(None) };
        let split = split.expect("the terms of a product have the types of its operands' parts");
        split.unwrap_or_else(|| new.push(node))
    });
}

/// `coefficient * atom W[row..row + width of atom]`
#[derive(Clone, Copy, Debug, PartialEq)]
struct Term {
    atom: NodeId,
    row: usize,
    coefficient: f64,
}

/// An atom with all its terms: multiplied with `sum of coefficient * W[row..row + width]`.
#[derive(Clone, Debug, PartialEq)]
struct AtomGroup {
    /// Neighbouring atoms treated alike, to be concatenated.
    atoms: Vec<NodeId>,
    width: usize,
    /// `(row, coefficient)`
    rows: Vec<(usize, f64)>,
}

fn nominal(graph: &Graph, axis: AxisId) -> f64 {
    let Some(parent) = graph.axes.parent(axis) else { return 1.0 };
    if let Some(unique) = graph.axes.unique(axis) {
        return nominal(graph, unique.over) / 2.0;
    }
    nominal(graph, parent)
        * match parent {
            GLOBAL if Some(axis) == graph.axes.request() => REQUESTS,
            GLOBAL => SAMPLES,
            _ => ENTRIES,
        }
}

fn split(g: &mut Graph, node: &Node) -> Result<Option<NodeId>, TypeError> {
    let n = node.width();
    let cost = |terms: &[Term]| {
        let by_axis = group(g, terms);
        // Adding up the products of several axes, and combining weights.
        let mut cost = (by_axis.len() - 1) as f64 * n as f64 * nominal(g, node.axis);
        for (d, groups) in by_axis {
            for group in groups {
                cost += 2.0 * nominal(g, d) * (group.width * n) as f64;
                cost += ((group.rows.len() - 1) * group.width * n) as f64;
            }
        }
        cost
    };
    let mut terms = Vec::new();
    expand(g, Term { atom: node.operands[0], row: 0, coefficient: 1.0 }, &mut terms);
    let single = 2.0 * nominal(g, node.axis) * (g.node(node.operands[0]).width() * n) as f64;
    let mut best = cost(&terms);
    // A sum is taken apart where that pays: by itself, or all of them together.
    let mut at = 0;
    while at < terms.len() {
        if let Some(parts) = sides(g, terms[at]) {
            let mut trial = terms.clone();
            trial.splice(at..=at, parts);
            let found = cost(&trial);
            if found < best {
                (terms, best) = (trial, found);
                continue;
            }
        }
        at += 1;
    }
    let mut all = terms.clone();
    let mut at = 0;
    while at < all.len() {
        match sides(g, all[at]) {
            Some(parts) if all.len() < MOST_TERMS => drop(all.splice(at..=at, parts)),
            _ => at += 1,
        }
    }
    let found = cost(&all);
    if found < best {
        (terms, best) = (all, found);
    }
    if terms.len() < 2 || best >= single {
        return Ok(None);
    }
    let by_axis = group(g, &terms);
    let w = node.operands[1];
    let mut sum: Option<NodeId> = None;
    for (_, groups) in by_axis {
        let product = product(g, &groups, w, node.span)?;
        sum = Some(match sum {
            None => product,
            Some(sum) => g.binary(BinaryOp::Add, sum, product, node.span)?,
        });
    }
    match sum {
        Some(sum) => g.broadcast(sum, node.axis, &node.shape, node.span).map(Some),
        None => Ok(None),
    }
}

/// Takes a term apart at concatenations, signs and constant factors.
fn expand(g: &Graph, term: Term, terms: &mut Vec<Term>) {
    let Term { atom, row, coefficient } = term;
    let node = g.node(atom);
    match (&node.op, node.operands.as_slice()) {
        (Op::Concat, operands) => {
            let mut row = row;
            for &o in operands {
                expand(g, Term { atom: o, row, coefficient }, terms);
                row += g.node(o).width();
            }
        }
        (Op::Broadcast, &[a]) if g.node(a).shape == node.shape => expand(g, Term { atom: a, ..term }, terms),
        (Op::Unary(UnaryOp::Negate), &[a]) => expand(g, Term { atom: a, row, coefficient: -coefficient }, terms),
        (Op::Binary(BinaryOp::Multiply), &[a, b]) if g.node(a).shape == node.shape => match g.node(b).op {
            Op::Const(c) => expand(g, Term { atom: a, row, coefficient: coefficient * c }, terms),
            _ => terms.push(term),
        },
        _ => terms.push(term),
    }
}

/// The terms of both sides of a sum or difference of two equal shapes.
fn sides(g: &Graph, term: Term) -> Option<Vec<Term>> {
    let node = g.node(term.atom);
    let sign = match node.op {
        Op::Binary(BinaryOp::Add) => 1.0,
        Op::Binary(BinaryOp::Subtract) => -1.0,
        _ => return None,
    };
    let (a, b) = (node.operands[0], node.operands[1]);
    if g.node(a).shape != node.shape || g.node(b).shape != node.shape {
        return None;
    }
    let mut terms = Vec::new();
    expand(g, Term { atom: a, ..term }, &mut terms);
    expand(g, Term { atom: b, coefficient: sign * term.coefficient, ..term }, &mut terms);
    Some(terms)
}

/// Terms by axis (in order of appearance), then by atom; neighbouring atoms whose rows run side by
/// side become one group.
fn group(g: &Graph, terms: &[Term]) -> Vec<(AxisId, Vec<AtomGroup>)> {
    let mut atoms: Vec<AtomGroup> = Vec::new();
    for term in terms {
        let found = atoms.iter_mut().find(|a| a.atoms[0] == term.atom);
        let rows = match found {
            Some(group) => &mut group.rows,
            None => {
                let width = g.node(term.atom).width();
                atoms.push(AtomGroup { atoms: vec![term.atom], width, rows: Vec::new() });
                let last = atoms.len() - 1;
                &mut atoms[last].rows
            }
        };
        match rows.iter_mut().find(|(row, _)| *row == term.row) {
            Some((_, c)) => *c += term.coefficient,
            None => rows.push((term.row, term.coefficient)),
        }
    }
    let mut by_axis: Vec<(AxisId, Vec<AtomGroup>)> = Vec::new();
    for mut atom in atoms {
        atom.rows.retain(|&(_, c)| c != 0.0);
        if atom.rows.is_empty() {
            // It cancelled; a product with a zero weight keeps the result's type and its NaNs out
            // of sight.
            atom.rows.push((0, 0.0));
        }
        let axis = g.node(atom.atoms[0]).axis;
        let at = by_axis.iter().position(|(d, _)| *d == axis);
        let Some(at) = at else {
            by_axis.push((axis, vec![atom]));
            continue;
        };
        let groups = &mut by_axis[at].1;
        match groups.last_mut() {
            Some(last) if follows(last, &atom) => {
                last.atoms.append(&mut atom.atoms);
                last.width += atom.width;
            }
            _ => groups.push(atom),
        }
    }
    by_axis
}

fn follows(a: &AtomGroup, b: &AtomGroup) -> bool {
    a.rows.len() == b.rows.len()
        && a.rows.iter().zip(&b.rows).all(|(&(ra, ca), &(rb, cb))| ra + a.width == rb && ca == cb)
}

/// The product of the groups' atoms, all of one axis, with their combined rows of `w`.
fn product(g: &mut Graph, groups: &[AtomGroup], w: NodeId, span: Span) -> Result<NodeId, TypeError> {
    let n = g.node(w).shape.0[1];
    let atoms: Vec<NodeId> = groups.iter().flat_map(|group| group.atoms.iter().copied()).collect();
    let width: usize = groups.iter().map(|group| group.width).sum();
    let x = if atoms.len() == 1 { atoms[0] } else { g.concat(atoms, span)? };
    let x = if g.node(x).shape.0.len() == 1 { x } else { g.reshape(x, Shape::vector(width), span)? };
    let mut parts = Vec::new();
    for group in groups {
        let shape = Shape::vector(group.width * n);
        let mut sum: Option<NodeId> = None;
        for &(row, coefficient) in &group.rows {
            let rows = g.slice(w, row * n, shape.clone(), span)?;
            sum = Some(combine(g, sum, rows, coefficient, span)?);
        }
        parts.extend(sum);
    }
    let flat = if parts.len() == 1 { parts[0] } else { g.concat(parts, span)? };
    let matrix = g.reshape(flat, Shape::matrix(width, n), span)?;
    g.matmul(x, matrix, span)
}

/// `sum + coefficient * rows`
fn combine(
    g: &mut Graph,
    sum: Option<NodeId>,
    rows: NodeId,
    coefficient: f64,
    span: Span,
) -> Result<NodeId, TypeError> {
    assert_eq!(g.node(rows).axis, GLOBAL, "rows of a weight");
    let scaled = if coefficient.abs() == 1.0 {
        rows
    } else {
        let factor = g.constant(coefficient.abs(), span);
        g.binary(BinaryOp::Multiply, rows, factor, span)?
    };
    match (sum, coefficient < 0.0) {
        (None, false) => Ok(scaled),
        (None, true) => Ok(g.unary(UnaryOp::Negate, scaled, span)),
        (Some(sum), false) => g.binary(BinaryOp::Add, sum, scaled, span),
        (Some(sum), true) => g.binary(BinaryOp::Subtract, sum, scaled, span),
    }
}
