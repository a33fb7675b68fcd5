//! Arguments that stand in another order than the parameters, as calls of other libraries write
//! them: `mlp([64], x)`, `dropout(0.5, x)`.

use super::conform::TypeWord;
use super::elaborator::Elaborator;
use super::value::{ArgumentValue, ExprValue};
use din_grammar::ast::{self, ExprKind, TypeKind};
use din_grammar::{Diagnostic, Span};

/// Arguments of which the order is looked for; with more there are too many orders.
const MOST: usize = 6;

impl<'a> Elaborator<'a> {
    /// The fault of positional arguments that fit the parameters in another order than theirs, or
    /// of numbers side by side where a list is asked for. `None` where the order is right, or no
    /// order is.
    pub(super) fn other_order(
        &self,
        name: &ast::Ident,
        parameters: &[ast::ParameterDecl],
        given: &[ArgumentValue<'a>],
        span: Span,
    ) -> Option<Diagnostic> {
        let positional: Vec<&ArgumentValue<'a>> = given.iter().filter(|g| g.name.is_none()).collect();
        let fits = |p: usize, g: usize| {
            parameters.get(p).zip(positional.get(g)).is_some_and(|(p, g)| self.may_be(p, &g.value))
        };
        let written = positional.iter().all(|g| g.over.is_none() && g.span.file == span.file);
        let right = (0..positional.len().min(parameters.len())).all(|i| fits(i, i));
        if right || !written || positional.len() > MOST {
            return None;
        }
        let name_text = &name.name;
        let form: Vec<&str> = parameters.iter().map(|p| p.name.name.as_str()).collect();
        let form = format!("the order is `{name_text}({})`", form.join(", "));
        let text = |g: usize| self.on_one_line(positional[g].span);
        // The numbers that stand where one list is asked for.
        let number = |g: usize| matches!(positional[g].value, ExprValue::Number(_));
        let of_list = |p: &ast::ParameterDecl| match p.ty.as_ref().map(|ty| &ty.kind) {
            Some(TypeKind::Named(word)) => word.name == "list",
            Some(TypeKind::ListOf(_)) => true,
            Some(TypeKind::Shape(_) | TypeKind::Ragged { .. }) | None => false,
        };
        if let Some(at) = (0..positional.len()).find(|&i| !fits(i, i))
            && parameters.get(at).is_some_and(of_list)
            && number(at)
        {
            let numbers = (at..positional.len()).take_while(|&g| number(g)).count();
            let behind = at + numbers..positional.len();
            if behind.clone().all(|g| fits(g + 1 - numbers, g)) {
                let list: Vec<String> = (at..at + numbers).map(text).collect();
                let mut call: Vec<String> = (0..at).map(text).collect();
                call.push(format!("[{}]", list.join(", ")));
                call.extend(behind.map(text));
                call.extend(given.iter().filter(|g| g.name.is_some()).map(|g| self.on_one_line(g.span)));
                let parameter = &parameters[at].name.name;
                let found = if numbers == 1 { "a number".to_owned() } else { format!("{numbers} numbers") };
                let last = positional[at + numbers - 1].span;
                return Some(
                    Diagnostic::error(
                        "E0307",
                        format!("`{parameter}` of `{name_text}` must be a list"),
                        positional[at].span.to(last),
                        &found,
                    )
                    .label(name.span, "defined here")
                    .note(format!("expected a list, such as `[80, 40]`\nfound {found}"))
                    .help(format!("write `{name_text}({})`", call.join(", "))),
                );
            }
        }
        let order = permutation(positional.len(), &|parameter, argument| fits(parameter, argument))?;
        let first = (0..positional.len()).find(|&i| order[i] != i).expect("the order as written does not fit");
        let mut call: Vec<String> = order.iter().map(|&g| text(g)).collect();
        call.extend(given.iter().filter(|g| g.name.is_some()).map(|g| self.on_one_line(g.span)));
        let named = |p: &ast::ParameterDecl| given.iter().any(|g| g.name.is_some_and(|n| n.name == p.name.name));
        let missing = parameters.iter().skip(positional.len()).filter(|p| p.default.is_none() && !named(p));
        call.extend(missing.map(|p| format!("{} = …", p.name.name)));
        let of = |argument: usize| {
            let parameter = order.iter().position(|&g| g == argument).expect("each argument has its parameter");
            format!("this can be `{}`", parameters[parameter].name.name)
        };
        let mut d = Diagnostic::error(
            "E0307",
            format!("the arguments of `{name_text}` stand in another order"),
            positional[first].span,
            of(first),
        );
        for i in (first + 1..positional.len()).filter(|&i| order[i] != i) {
            d = d.label(positional[i].span, of(i));
        }
        Some(d.label(name.span, "defined here").note(form).help(format!("write `{name_text}({})`", call.join(", "))))
    }

    /// Whether a value may be an argument of this parameter, sizes and axes aside.
    fn may_be(&self, parameter: &ast::ParameterDecl, value: &ExprValue<'a>) -> bool {
        let tensor = || {
            matches!(
                value,
                ExprValue::Tensor(_)
                    | ExprValue::Number(_)
                    | ExprValue::Bool(_)
                    | ExprValue::Feature(_)
                    | ExprValue::Label { .. }
            )
        };
        let of_word = |word: TypeWord| word.holds(value);
        if matches!(value, ExprValue::Poison) {
            return true;
        }
        match parameter.ty.as_ref().map(|ty| &ty.kind) {
            Some(TypeKind::Shape(_)) => tensor(),
            Some(TypeKind::Ragged { .. }) => match value {
                ExprValue::Tensor(t) => self.walk.graph.axes.has_entries(self.walk.graph.node(t.node).axis),
                ExprValue::Feature(f) => self.declarations.schema.features[*f].sequence.is_some(),
                _ => false,
            },
            Some(TypeKind::ListOf(_)) => matches!(value, ExprValue::List(_)),
            Some(TypeKind::Named(word)) => TypeWord::by_name(&word.name).is_none_or(of_word),
            None => match parameter.default.as_ref().map(|default| &default.kind) {
                Some(ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Unary { .. }) => of_word(TypeWord::Number),
                Some(ExprKind::List(_)) => of_word(TypeWord::List),
                Some(ExprKind::Bool(_)) => of_word(TypeWord::Bool),
                Some(_) | None => true,
            },
        }
    }

    /// The text of a place, on one line.
    pub(super) fn on_one_line(&self, span: Span) -> String {
        self.sources.text(span).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// For each of `n` parameters the argument that it takes, where all fit; the first such order.
fn permutation(n: usize, fits: &dyn Fn(usize, usize) -> bool) -> Option<Vec<usize>> {
    fn more(order: &mut Vec<usize>, n: usize, fits: &dyn Fn(usize, usize) -> bool) -> bool {
        let parameter = order.len();
        if parameter == n {
            return true;
        }
        for argument in 0..n {
            if order.contains(&argument) || !fits(parameter, argument) {
                continue;
            }
            order.push(argument);
            if more(order, n, fits) {
                return true;
            }
            order.pop();
        }
        false
    }
    let mut order = Vec::new();
    more(&mut order, n, fits).then_some(order)
}
