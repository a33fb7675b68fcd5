//! When values are known: fields that are known after the label only must not reach a prediction,
//! and times are checked where the data are read.

use super::declarations::PendingKnown;
use super::elaborator::Elaborator;
use super::field::FieldGroup;
use crate::graph::{AxisKind, Graph, InputKind, NodeId, Op};
use din_grammar::{Diagnostic, Span};
use din_program::schema::KnownBefore;
use rustc_hash::FxHashSet;
use std::collections::VecDeque;

/// A value that is known after the label only, and a prediction or output that depends on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leak {
    /// Index of the feature in the schema.
    feature: usize,
    /// The prediction or output.
    into: String,
    /// Where that is declared.
    into_at: Span,
    /// Where it is read on the way there.
    used: Span,
}

impl<'a> Elaborator<'a> {
    /// After all groups: the features that hold times which are checked.
    pub(super) fn finish_known(&mut self) {
        for PendingKnown { group, times, moment, span } in std::mem::take(&mut self.declarations.known) {
            // Prediction has no need of them.
            let unread = FieldGroup { at_prediction: false, ..group };
            let known = KnownBefore {
                group: group.name.name.clone(),
                times: self.time(unread, times, group.sequence, None),
                moment: self.time(unread, moment, None, None),
                location: self.location(span),
            };
            self.declarations.used_features.extend([known.times as usize, known.moment as usize]);
            self.declarations.schema.known.push(known);
        }
    }

    /// What is known after the label only and reaches a prediction or an output of this walk.
    pub(super) fn leaks(&self) -> Vec<Leak> {
        let mut leaks = Vec::new();
        let predicted = self.walk.predicted.iter().zip(&self.predictions).zip(&self.walk.predicted_at);
        for ((value, prediction), &at) in predicted {
            let Some(value) = value else { continue };
            let nodes: Vec<NodeId> = [Some(value.root), value.log_rate, value.std].into_iter().flatten().collect();
            leaks.extend(self.leaks_into(&nodes, &format!("the prediction of `{}`", prediction.name), at));
        }
        for (output, &node) in self.outputs.iter().zip(&self.walk.outputs) {
            let at = self.walk.graph.node(node).span;
            leaks.extend(self.leaks_into(&[node], &format!("the output `{}`", output.name), at));
        }
        leaks
    }

    /// The features of this kind below some nodes, each once.
    fn leaks_into(&self, from: &[NodeId], into: &str, into_at: Span) -> Vec<Leak> {
        let graph = &self.walk.graph;
        let mut leaks: Vec<Leak> = Vec::new();
        // From the nearest on, each with the operation that reads it.
        let mut seen: FxHashSet<NodeId> = from.iter().copied().collect();
        let mut queue: VecDeque<(NodeId, Option<Span>)> = from.iter().map(|&node| (node, None)).collect();
        while let Some((id, above)) = queue.pop_front() {
            let node = graph.node(id);
            if let Some(feature) = self.later_feature(graph, id) {
                if leaks.iter().all(|leak| leak.feature != feature) {
                    // One node stands for all reads of a feature, with the place of the first.
                    let reads = matches!(node.op, Op::Input(_) | Op::Lookup { .. });
                    let reader = above.filter(|&span| reads && !self.in_library(span));
                    leaks.push(Leak { feature, into: into.to_string(), into_at, used: reader.unwrap_or(node.span) });
                }
                continue;
            }
            for &operand in node.operands.iter().filter(|&&operand| seen.insert(operand)) {
                queue.push_back((operand, Some(node.span)));
            }
        }
        leaks
    }

    /// The feature that a node reads, if it, or what it is made of, is known after the label only.
    /// How long the lists of a sequence are is known as late as its fields.
    fn later_feature(&self, graph: &Graph, node: NodeId) -> Option<usize> {
        let features = &self.declarations.schema.features;
        let node = graph.node(node);
        let axis = if let Op::Length(axis) = node.op { axis } else { node.axis };
        if let AxisKind::Sequence { sequence, .. } = graph.axes.kind(axis) {
            let mut fields =
                features.iter().enumerate().filter(|(_, f)| f.sequence == Some(*sequence) && f.is_decoded());
            if let Some((first, _)) = fields.clone().next()
                && fields.all(|(_, feature)| !feature.at_prediction)
            {
                return Some(first);
            }
        }
        let (Op::Input(input) | Op::Lookup { input, .. }) = node.op else { return None };
        let (InputKind::Dense { feature } | InputKind::Ids { feature, .. }) = graph.inputs[input.index()].kind else {
            return None;
        };
        let parts = features[feature as usize].combination().map_or(&[][..], |combination| combination.parts());
        let mut all = [feature].into_iter().chain(parts.iter().copied()).map(|feature| feature as usize);
        all.find(|&feature| !features[feature].at_prediction)
    }

    /// Reports what leaks in either walk.
    pub(super) fn report_leaks(&mut self, training: Vec<Leak>, inference: Vec<Leak>) {
        for leak in &inference {
            self.report_leak(leak, false);
        }
        let known =
            |leak: &Leak| inference.iter().any(|other| (other.feature, &other.into) == (leak.feature, &leak.into));
        for leak in training.iter().filter(|leak| !known(leak)) {
            self.report_leak(leak, true);
        }
    }

    fn report_leak(&mut self, Leak { feature, into, into_at, used }: &Leak, training_alone: bool) {
        let path = self.declarations.schema.features[*feature].path();
        let declared = self.declarations.feature_spans[*feature];
        let message = format!("`{path}` is known after the label only, and reaches {into}");
        let mut d = Diagnostic::error("E0630", message, *used, "depends on it");
        if declared != *used {
            d = d.label(declared, "declared `after label` here");
        }
        if into_at != used {
            d = d.label(*into_at, "reaches this");
        }
        if training_alone {
            d = d.note("it does in training alone: outside of it, what the model has learnt from it is not there");
        }
        self.report(d.help("use it in the loss, in sample weights or in metrics; or leave it out"));
    }
}
