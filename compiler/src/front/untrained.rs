//! What no gradient reaches: predictions that have no part in the loss (W0602), and weights, tables
//! and look-ups that could never learn (E0508).
//!
//! Decided on the training graph as it was written, by [`dependences`], and nowhere else: later
//! phases take every model that passes here, whatever their own simplifications find.

use super::distribution::DistributionName;
use super::elaborator::Elaborator;
use super::load::listed;
use super::walk::{CallFrame, VariableInstance};
use crate::autodiff::{Dependence, dependences};
use crate::graph::{NodeId, Op};
use din_grammar::{Diagnostic, Span};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// Names that a message spells out; of more, it counts the rest.
const SHOWN: usize = 4;

/// The table of a look-up, the feature whose ids it reads, and its node.
type Lookup = ((u32, u32), NodeId);

/// A weight without gradient.
struct Lost {
    name: String,
    instance: VariableInstance,
    /// How many of the calls that led to it are the group's; one more than there are, where its
    /// own declaration is what sets it apart.
    depth: usize,
}

impl Elaborator<'_> {
    /// Reports everything that `loss`, a node of the training graph, does not train.
    pub fn untrained(&mut self, loss: NodeId) {
        let found = dependences(&self.walk.graph, loss);
        let trained = |node: NodeId| found[node.index()] == Dependence::Differentiable;
        let mut lookups: Vec<Lookup> = self.walk.lookups.iter().map(|(&k, &n)| (k, n)).collect();
        lookups.sort_unstable();
        let learning = lookups.iter().filter(|(_, node)| trained(*node)).map(|((table, _), _)| *table);
        let learning: FxHashSet<u32> = learning.collect();
        // What only a prediction reads that has no part in the loss: the warning says it.
        let excused = self.outside_the_loss(&found, &learning);
        self.untrained_weights(&found, &excused);
        self.untrained_tables(&found, &excused, &lookups, &learning);
        self.flat_lookups(&found, &lookups, &learning);
    }

    /// Warns of each prediction whose parameters the loss neither reads nor trains by way of what
    /// they are computed from. Returns the nodes that these depend on.
    fn outside_the_loss(&mut self, found: &[Dependence], learning: &FxHashSet<u32>) -> FxHashSet<NodeId> {
        let mut outside = FxHashSet::default();
        for (p, predicted) in self.walk.predicted.clone().into_iter().enumerate() {
            let Some(predicted) = predicted else { continue };
            let nodes = [Some(predicted.root), predicted.log_rate, predicted.std].into_iter().flatten();
            if nodes.clone().any(|node| found[node.index()] != Dependence::None) {
                continue;
            }
            let below = self.walk.graph.order_from([predicted.root]);
            let learned: Vec<bool> = below
                .iter()
                .filter_map(|id| match &self.walk.graph.node(*id).op {
                    Op::Param(_) => Some(found[id.index()] == Dependence::Differentiable),
                    Op::Lookup { table, .. } => Some(learning.contains(&table.0)),
                    // What the loss could train is in parameters and tables alone.
                    Op::Const(_)
                    | Op::Input(_)
                    | Op::State(_)
                    | Op::Length(_)
                    | Op::Position(_)
                    | Op::SampleNumber(_)
                    | Op::DropoutMask { .. }
                    | Op::Count(_)
                    | Op::Unary(_)
                    | Op::Binary(_)
                    | Op::Select
                    | Op::StopGradient
                    | Op::Broadcast
                    | Op::Rename { .. }
                    | Op::Unflatten { .. }
                    | Op::Flatten
                    | Op::Concat
                    | Op::Slice { .. }
                    | Op::Reshape
                    | Op::MatMul
                    | Op::MatMulT
                    | Op::Outer
                    | Op::Absorbed(_)
                    | Op::Sum { .. }
                    | Op::Max { .. }
                    | Op::SumValue
                    | Op::Statistic(_)
                    | Op::Previous { .. }
                    | Op::Scan { .. } => None,
                })
                .collect();
            if !learned.is_empty() && learned.iter().all(|trained| *trained) {
                continue;
            }
            outside.extend(below);
            let name = self.predictions[p].name.clone();
            let loss = DistributionName::of(predicted.distribution).loss();
            let span = self.declarations.label_spans[self.predictions[p].label as usize];
            self.report(
                Diagnostic::warning(
                    "W0602",
                    format!("the prediction of `{name}` has no part in the loss"),
                    span,
                    "never trained",
                )
                .help(format!("add it: `loss … + {loss}({name})`")),
            );
        }
        outside
    }

    /// One error for each call that made nothing but weights without gradient.
    fn untrained_weights(&mut self, found: &[Dependence], excused: &FxHashSet<NodeId>) {
        let weights = self.walk.variables.iter();
        let weights: Vec<(&String, &VariableInstance)> =
            weights.filter(|(_, i)| matches!(self.walk.graph.node(i.node).op, Op::Param(_))).collect();
        let trained = |i: &VariableInstance| found[i.node.index()] == Dependence::Differentiable;
        // By the places that lead to trained weights, every beginning of them.
        let mut shared: FxHashSet<Vec<Span>> = FxHashSet::default();
        for (_, instance) in weights.iter().filter(|(_, i)| trained(i)) {
            let trace: Vec<Span> = instance.trace().collect();
            shared.extend((1..=trace.len()).map(|n| trace[..n].to_vec()));
        }
        let mut groups: BTreeMap<Vec<Span>, Vec<Lost>> = BTreeMap::new();
        for (name, instance) in weights {
            if trained(instance) || excused.contains(&instance.node) {
                continue;
            }
            let trace: Vec<Span> = instance.trace().collect();
            let own = (1..trace.len()).find(|&n| !shared.contains(&trace[..n]));
            let depth = own.unwrap_or(trace.len());
            let lost = Lost { name: name.clone(), instance: instance.clone(), depth };
            groups.entry(trace[..depth].to_vec()).or_default().push(lost);
        }
        for mut group in groups.into_values() {
            group.sort_by(|a, b| a.name.cmp(&b.name));
            self.lost_weights(found, &group);
        }
    }

    /// Reports weights that one call made, by name.
    fn lost_weights(&mut self, found: &[Dependence], group: &[Lost]) {
        let Some(first) = group.first() else { return };
        let frames: &[CallFrame] = &first.instance.frames;
        let declared = self.walk.graph.node(first.instance.node).span;
        // At the weight, where it is one and the user's; else at the user's innermost call of those
        // that the group has in common.
        let calls = &frames[..first.depth.min(frames.len())];
        let users = calls.iter().rposition(|f| !self.in_library(f.call));
        let (span, inside) = match users {
            _ if group.len() == 1 && !self.in_library(declared) => (declared, frames),
            Some(k) => (calls[k].call, &frames[..k]),
            None => (declared, frames),
        };
        let names: Vec<&str> = group.iter().map(|l| l.name.as_str()).collect();
        let message = match names.as_slice() {
            [name] => format!("no gradient reaches the weight `{name}`"),
            _ => {
                let path = common_path(&names);
                let of = if path.is_empty() { String::new() } else { format!(" of `{path}`") };
                format!("no gradient reaches {} weights{of}", names.len())
            }
        };
        let mut d = Diagnostic::error("E0508", message, span, "never trained");
        if names.len() > 1 {
            let all = match names.get(SHOWN..).filter(|rest| !rest.is_empty()) {
                None => listed(&names),
                Some(rest) => {
                    let shown: Vec<String> = names[..SHOWN].iter().map(|n| format!("`{n}`")).collect();
                    format!("{} and {} more", shown.join(", "), rest.len())
                }
            };
            d = d.note(format!("they are {all}"));
        }
        let why: Vec<Dependence> = group.iter().map(|l| found[l.instance.node.index()]).collect();
        let it = if names.len() == 1 { ("it", "its value") } else { ("them", "their values") };
        d = self.explained(d, &why, it);
        self.report_in(inside, d);
    }

    /// One error for each table of whose look-ups none has a gradient; one for all that end at the
    /// same `stop_gradient`.
    fn untrained_tables(
        &mut self,
        found: &[Dependence],
        excused: &FxHashSet<NodeId>,
        lookups: &[Lookup],
        learning: &FxHashSet<u32>,
    ) {
        let mut behind: BTreeMap<Span, Vec<u32>> = BTreeMap::new();
        for of_table in lookups.chunk_by(|a, b| a.0.0 == b.0.0) {
            let ((table, _), _) = of_table[0];
            if learning.contains(&table) || of_table.iter().all(|(_, n)| excused.contains(n)) {
                continue;
            }
            let why: Vec<Dependence> = of_table.iter().map(|(_, n)| found[n.index()]).collect();
            let stop = |w: &Dependence| if let Dependence::Stopped { at } = *w { Some(at) } else { None };
            let stops: Option<Vec<Span>> = why.iter().map(|w| Some(self.walk.graph.node(stop(w)?).span)).collect();
            match stops.as_deref() {
                Some([first, rest @ ..]) if rest.iter().all(|span| span == first) => {
                    behind.entry(*first).or_default().push(table);
                }
                Some(_) | None => self.untrained_table(table, &why),
            }
        }
        for (span, tables) in behind {
            if let [table] = tables[..] {
                let stopped = lookups.iter().filter(|((of, _), _)| *of == table);
                let why: Vec<Dependence> = stopped.map(|(_, n)| found[n.index()]).collect();
                self.untrained_table(table, &why);
                continue;
            }
            let names: Vec<&str> = tables.iter().map(|&t| self.declarations.tables[t as usize].name.as_str()).collect();
            let message = format!("no gradient reaches the tables {}", listed(&names));
            let mut d = Diagnostic::error("E0508", message, span, "a gradient ends here");
            for &table in tables.iter().take(SHOWN) {
                d = d.label(self.declarations.table_spans[table as usize], "never trained");
            }
            self.report(
                d.note("the loss depends on them only through this `stop_gradient`")
                    .help("use their vectors where a gradient can pass, too, or remove them"),
            );
        }
    }

    /// The error for one table.
    fn untrained_table(&mut self, table: u32, why: &[Dependence]) {
        let name = &self.declarations.tables[table as usize].name;
        let message = format!("no gradient reaches the table `{name}`");
        let span = self.declarations.table_spans[table as usize];
        let d = Diagnostic::error("E0508", message, span, "never trained");
        let d = self.explained(d, why, ("it", "its vectors"));
        self.report(d);
    }

    /// Look-ups that only operations without derivative read, of tables that others train: one
    /// error for each place that has such an operation. Behind a `stop_gradient` they are meant.
    fn flat_lookups(&mut self, found: &[Dependence], lookups: &[Lookup], learning: &FxHashSet<u32>) {
        let mut groups: BTreeMap<Span, Vec<&Lookup>> = BTreeMap::new();
        for lookup in lookups {
            let ((table, _), node) = lookup;
            if let Dependence::Flat { at, .. } = found[node.index()]
                && learning.contains(table)
            {
                groups.entry(self.walk.graph.node(at).span).or_default().push(lookup);
            }
        }
        for group in groups.into_values() {
            let what: Vec<String> = group
                .iter()
                .map(|((table, feature), _)| {
                    let feature = self.declarations.schema.features[*feature as usize].path();
                    let table = &self.declarations.tables[*table as usize].name;
                    if *table == feature { format!("`{feature}`") } else { format!("`{feature}` in `{table}`") }
                })
                .collect();
            let plural = if what.len() == 1 { "look-up" } else { "look-ups" };
            let message = format!("no gradient reaches the {plural} of {}", what.join(" and of "));
            let span = self.walk.graph.node(group[0].1).span;
            let d = Diagnostic::error("E0508", message, span, "looked up here");
            let why: Vec<Dependence> = group.iter().map(|(_, n)| found[n.index()]).collect();
            let it = if what.len() == 1 { "it" } else { "them" };
            let d = self.because(d, &why, it);
            self.report(d.help("if that is meant, write `stop_gradient(…)` around it; else remove it"));
        }
    }

    /// Adds why no gradient arrives and what to do. `it`: what has none, and what it holds.
    fn explained(&self, d: Diagnostic, why: &[Dependence], (it, value): (&str, &str)) -> Diagnostic {
        let d = self.because(d, why, it);
        let unread = why.iter().all(|w| *w == Dependence::None);
        d.help(if unread {
            format!("use {value} in a prediction, or remove {it}")
        } else {
            format!("use {value} where a gradient can pass, too, or remove {it}")
        })
    }

    /// Adds why no gradient arrives at what has the dependences `why`.
    fn because(&self, mut d: Diagnostic, why: &[Dependence], it: &str) -> Diagnostic {
        let mut flat: Vec<(Span, &str)> = why
            .iter()
            .filter_map(|w| match *w {
                Dependence::Flat { at, op } => Some((self.walk.graph.node(at).span, op)),
                Dependence::None | Dependence::Stopped { .. } | Dependence::Differentiable => None,
            })
            .collect();
        flat.sort_unstable();
        flat.dedup();
        let stopped = why.iter().any(|w| matches!(w, Dependence::Stopped { .. }));
        d = match (flat.first(), stopped) {
            (None, false) => d.note(format!("the loss does not depend on {it}")),
            (None, true) => d.note(format!("the loss depends on {it} only through `stop_gradient`")),
            (Some((_, op)), _) => {
                d.note(format!("the loss depends on {it} through {op}, whose derivative is 0 everywhere"))
            }
        };
        for (span, op) in flat.into_iter().take(SHOWN) {
            if d.labels.iter().all(|l| l.span != span) {
                d = d.label(span, format!("{op}: a gradient ends here"));
            }
        }
        d
    }

    pub(super) fn in_library(&self, span: Span) -> bool {
        self.sources.get(span.file).is_some_and(|f| f.name.starts_with("std."))
    }
}

/// The longest path that all names begin with: `a.b` of `a.b.x` and `a.b.c.y`.
fn common_path(names: &[&str]) -> String {
    let Some((first, rest)) = names.split_first() else { return String::new() };
    let parts: Vec<&str> = first.split('.').collect();
    let begins = |name: &str, n: usize| name.split('.').take(n).eq(parts[..n].iter().copied());
    let longest = (0..parts.len()).rev().find(|&n| rest.iter().all(|name| begins(name, n)));
    parts[..longest.expect("every name begins with no part")].join(".")
}

#[cfg(test)]
mod tests {
    use super::common_path;

    #[test]
    fn the_common_path_ends_between_parts() {
        assert_eq!(common_path(&["a.bc.x", "a.bd.y"]), "a");
        assert_eq!(common_path(&["a.b.x", "a.b.c.y"]), "a.b");
        assert_eq!(common_path(&["x", "y"]), "");
    }
}
