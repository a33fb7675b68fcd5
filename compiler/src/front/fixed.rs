//! Lists as entries: `xs as f`, and back to one vector by `concat(x over f)`.

use super::elaborator::Elaborator;
use super::scope::{NameScope, NamedAxis};
use super::value::{ArgumentValue, ExprValue, Over, Tensor, counted};
use super::walk::Context;
use crate::graph::{AxisId, AxisKind, BATCH, NodeId};
use din_grammar::ast;
use din_grammar::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    /// `xs as f`: the items of a list as the entries of an axis, which each sample has.
    pub(super) fn list_as_entries(
        &mut self,
        scope: &mut NameScope<'a>,
        (items, at): (&[ExprValue<'a>], Span),
        name: &'a ast::Ident,
        span: Span,
    ) -> ExprValue<'a> {
        let Some(entries) = self.entries_of(items, at) else {
            self.lost_axis(scope, name, name.span);
            return ExprValue::Poison;
        };
        let Some(axis) = self.fixed_axis(scope, name, (items.len(), at)) else { return ExprValue::Poison };
        let nodes: Vec<NodeId> = entries.iter().map(|t| t.node).collect();
        let joined = if let [only] = nodes[..] { Ok(only) } else { self.walk.graph.concat(nodes, span) };
        match joined.and_then(|joined| self.walk.graph.unflatten(joined, axis, span)) {
            Ok(node) => {
                let fields =
                    entries[0].fields.clone().filter(|own| entries.iter().all(|t| t.fields.as_ref() == Some(own)));
                ExprValue::Tensor(Tensor { node, fields })
            }
            Err(e) => self.type_error(e, span),
        }
    }

    /// The items of a list as vectors of one size, one or none for each sample.
    fn entries_of(&mut self, items: &[ExprValue<'a>], at: Span) -> Option<Vec<Tensor>> {
        let fault = |me: &mut Self, message: String, label: String, help: &str| {
            me.report(Diagnostic::error("E0325", message, at, label).help(help));
            None
        };
        if let Context::Update(_) = self.walk.context {
            let help = "in an optimizer or regularizer, reduce the list itself";
            return fault(self, "`as` in an update".into(), "not possible here".into(), help);
        }
        if items.is_empty() {
            return fault(
                self,
                "a list without items has no entries".into(),
                "no items".into(),
                "give it one at least",
            );
        }
        let mut entries: Vec<Tensor> = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let t = self.tensor(item.clone(), at)?;
            let node = self.walk.graph.node(t.node);
            let (axis, rank) = (node.axis, node.shape.0.len());
            if rank != 1 {
                let found = self.describe_tensor(&t);
                let message = format!("item {i} of this list is no vector");
                return fault(self, message, found, "entries are vectors of one size");
            }
            if !self.walk.graph.axes.is_ancestor(axis, BATCH) {
                let over = self.axis_here(axis);
                let message = format!("item {i} of this list has entries itself");
                let help = format!("reduce it first, such as `sum(x over {over})`, or leave the list as it is");
                return fault(self, message, format!("varies over `{over}`"), &help);
            }
            if let Some(first) = entries.first()
                && self.walk.graph.node(first.node).width() != self.walk.graph.node(t.node).width()
            {
                let (first, found) = (self.describe_tensor(first), self.describe_tensor(&t));
                self.report(
                    Diagnostic::error("E0325", "the items of this list have different sizes", at, "as entries")
                        .note(format!("expected items of {first}\nfound item {i} of {found}"))
                        .help("bring them to one size, such as by `project(x, 8)` of each"),
                );
                return None;
            }
            entries.push(t);
        }
        let width = self.walk.graph.node(entries[0].node).width() * entries.len();
        if width as f64 > super::elaborator::MAX_WIDTH {
            self.report(
                Diagnostic::error("E0702", "the entries are too wide", at, counted(width, "component"))
                    .note(format!("expected at most {} components in all", super::elaborator::MAX_WIDTH)),
            );
            return None;
        }
        Some(entries)
    }

    /// The axis of `size` entries that is called `name`: the one that the body knows, or a new one.
    fn fixed_axis(
        &mut self,
        scope: &mut NameScope<'a>,
        name: &'a ast::Ident,
        (size, at): (usize, Span),
    ) -> Option<AxisId> {
        if let Some(NamedAxis { axis: Some(known), span: first, .. }) = scope.axis(&name.name)
            && let AxisKind::Fixed { size: entries } = *self.walk.graph.axes.kind(known)
        {
            if entries as usize == size {
                return Some(known);
            }
            let entries = counted(entries as usize, "item");
            self.report(
                Diagnostic::error("E0325", format!("`{}` has {entries}", name.name), at, counted(size, "item"))
                    .label(first, "named here")
                    .help("choose another name for these, which are other entries"),
            );
            return None;
        }
        let axis = self.walk.graph.axes.add_fixed(&name.name, size as u32);
        self.name_axis(scope, name, axis).then_some(axis)
    }

    /// `concat(x over f)`: the entries of a list that became an axis, one behind the other.
    pub(super) fn joined_entries(&mut self, given: &ArgumentValue<'a>, over: &Over<'a>, span: Span) -> ExprValue<'a> {
        let Some(t) = self.tensor(given.value.clone(), given.span) else { return ExprValue::Poison };
        let axes = &self.walk.graph.axes;
        let varies = self.walk.graph.node(t.node).axis;
        let Some(size) = axes.fixed(over.axis) else {
            let name = self.axis_here(over.axis);
            return self.fault(
                Diagnostic::error("E0314", "`concat` over lists of any length", given.span, format!("over `{name}`"))
                    .note("expected an axis that a list has become: `xs as f`")
                    .help(format!("reduce it: `concat(sum(x over {name}), y)`")),
            );
        };
        if varies != over.axis {
            let (found, wanted) = (self.describe_tensor(&t), self.axis_here(over.axis));
            return self.fault(
                Diagnostic::error("E0314", "the value does not vary over this axis alone", given.span, found)
                    .note(format!("expected a value over `{wanted}`"))
                    .help("reduce what else it varies over first, such as `sum(x over t)`"),
            );
        }
        if let Some((_, place)) = over.condition {
            return self.fault(
                Diagnostic::error("E0314", "`concat` keeps all entries", place, "no condition is possible here")
                    .help("put 0 for those that do not count: `concat(select(c, x, 0) over f)`"),
            );
        }
        let width = size as usize * self.walk.graph.node(t.node).width();
        if width as f64 > super::elaborator::MAX_WIDTH {
            return self.fault(
                Diagnostic::error("E0702", "the joined value is too wide", given.span, counted(width, "component"))
                    .note(format!("expected at most {} components", super::elaborator::MAX_WIDTH)),
            );
        }
        let first = self.walk.graph.axes.first_name(varies);
        let built = self.walk.graph.rename(t.node, first, span).and_then(|x| self.walk.graph.flatten(x, span));
        match built {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: None }),
            Err(e) => self.type_error(e, span),
        }
    }
}
