//! `shift`, the value of the entry before, and the direction of it and of `scan`.

use super::elaborator::Elaborator;
use super::value::{ArgumentValue, Builtin, ExprValue, Tensor};
use din_grammar::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    /// `shift(x over s)`: at each entry the value of the one before it, 0 at the first; with
    /// `backward` of the one behind it, 0 at the last.
    pub(super) fn shift(&mut self, of: ArgumentValue<'a>, backward: bool, span: Span) -> ExprValue<'a> {
        let ArgumentValue { value, over, span: at, .. } = of;
        let Some(over) = over else { return self.no_entries(&value, "shift", "shift(x over s)", at) };
        if let Some((_, place)) = over.condition {
            return self.fault(
                Diagnostic::error("E0314", "`shift` takes no condition", place, "`where` is not possible here")
                    .help("choose with `select(c, shift(x over s), y)`"),
            );
        }
        if self.no_sequence(over.axis, "`shift`", at) {
            return ExprValue::Poison;
        }
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let (varies, shape) = (self.walk.graph.node(t.node).axis, self.walk.graph.node(t.node).shape.clone());
        let axes = &self.walk.graph.axes;
        if axes.on_samples(varies) != axes.on_samples(over.axis) || shape.0.len() != 1 {
            let (found, wanted) = (self.axis_text(varies), self.axis_text(over.axis));
            return self.fault(
                Diagnostic::error(
                    "E0314",
                    "the value does not vary over this axis",
                    at,
                    format!("varies over {found}"),
                )
                .note(format!("expected a value over {wanted}")),
            );
        }
        let number = self.walk.graph.unused_scan();
        self.walk.graph.scan(number, backward, t.node, span);
        let node = self.walk.graph.previous(number, backward, varies, shape.width(), span);
        ExprValue::Tensor(Tensor { node, fields: t.fields })
    }

    /// Takes `backward = …` out of the arguments of `scan` or `shift`, if it is among them.
    pub(super) fn direction(
        &mut self,
        builtin: Builtin,
        given: Vec<ArgumentValue<'a>>,
    ) -> Option<(Vec<ArgumentValue<'a>>, bool)> {
        let directs = |g: &ArgumentValue<'a>| g.name.is_some_and(|name| name.name == "backward");
        let (directions, rest): (Vec<_>, Vec<_>) = given.into_iter().partition(directs);
        if let Some(other) = rest.iter().find_map(|g| g.name) {
            let what = format!("`{}` has no parameter `{}`", builtin.name(), other.name);
            self.report(
                Diagnostic::error("E0208", what, other.span, "no such parameter")
                    .help("the only named argument is `backward = true`: from the last entry to the first"),
            );
            return None;
        }
        let mut directions = directions.into_iter();
        let Some(direction) = directions.next() else { return Some((rest, false)) };
        if let Some(again) = directions.next() {
            self.report(
                Diagnostic::error("E0211", "`backward` is given twice", again.span, "again here")
                    .label(direction.span, "first here")
                    .help("drop one of them"),
            );
            return None;
        }
        match direction.value {
            ExprValue::Bool(backward) if direction.over.is_none() => Some((rest, backward)),
            ExprValue::Poison => None,
            other => {
                let (name, found) = (builtin.name(), self.describe(&other));
                self.report(
                    Diagnostic::error(
                        "E0307",
                        format!("`backward` of `{name}` says in which direction"),
                        direction.span,
                        found,
                    )
                    .note("expected a compile-time bool")
                    .help("write `backward = true`: from the last entry to the first"),
                );
                None
            }
        }
    }
}
