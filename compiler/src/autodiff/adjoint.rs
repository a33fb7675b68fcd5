//! Sums of contributions to one node's adjoint.
//!
//! A contribution is a whole value of the node's type, or a piece of it (from a `Slice`). Pieces
//! are joined by one `Concat` over the node's components, so that slices that tile a node cost no
//! addition and no zero is added to anything; components that no piece covers are 0.

use crate::graph::{BinaryOp, Graph, NodeId, Shape, TypeError};
use din_grammar::Span;

/// The contributions so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Adjoint {
    wholes: Vec<NodeId>,
    /// `(start, vector)`: components `start..start + width of vector`.
    pieces: Vec<(usize, NodeId)>,
}

impl Adjoint {
    /// Adds a value of the node's axis and shape.
    pub(super) fn add(&mut self, value: NodeId) {
        self.wholes.push(value);
    }

    /// Adds a vector of the node's axis for the components from `start`.
    pub(super) fn add_piece(&mut self, start: usize, vector: NodeId) {
        self.pieces.push((start, vector));
    }

    /// The sum, of the type of `of`. There is at least one contribution.
    pub(super) fn finish(mut self, graph: &mut Graph, of: NodeId) -> Result<NodeId, TypeError> {
        let span = graph.node(of).span;
        if !self.pieces.is_empty() {
            let joined = join(graph, &self.pieces, of)?;
            self.wholes.push(joined);
        }
        total(graph, &self.wholes, span)
    }
}

/// The sum of values of one type.
pub(super) fn total(graph: &mut Graph, parts: &[NodeId], span: Span) -> Result<NodeId, TypeError> {
    let (&first, rest) = parts.split_first().ok_or(TypeError::Empty)?;
    rest.iter().try_fold(first, |sum, &part| graph.binary(BinaryOp::Add, sum, part, span))
}

/// One value of the type of `of` from pieces of it.
fn join(graph: &mut Graph, pieces: &[(usize, NodeId)], of: NodeId) -> Result<NodeId, TypeError> {
    let (axis, shape, span) = (graph.node(of).axis, graph.node(of).shape.clone(), graph.node(of).span);
    let ends = |graph: &Graph, &(start, v): &(usize, NodeId)| (start, start + graph.node(v).width());
    let mut cuts = vec![0, shape.width()];
    for piece in pieces {
        let (start, end) = ends(graph, piece);
        cuts.extend([start, end]);
    }
    cuts.sort_unstable();
    cuts.dedup();
    let mut segments = Vec::new();
    for cut in cuts.windows(2) {
        let (from, to) = (cut[0], cut[1]);
        let mut parts = Vec::new();
        for piece in pieces {
            let (start, end) = ends(graph, piece);
            if start <= from && to <= end {
                let whole = (start, end) == (from, to);
                let shape = Shape::vector(to - from);
                parts.push(if whole { piece.1 } else { graph.slice(piece.1, from - start, shape, span)? });
            }
        }
        segments.push(if parts.is_empty() {
            graph.constant_of(0.0, axis, Shape::vector(to - from), span)
        } else {
            total(graph, &parts, span)?
        });
    }
    let flat = if segments.len() == 1 { segments[0] } else { graph.concat(segments, span)? };
    if graph.node(flat).shape == shape { Ok(flat) } else { graph.reshape(flat, shape, span) }
}
