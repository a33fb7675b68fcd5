//! Functions that nothing calls: what can be said of them without an instantiation. Names, the
//! number and names of arguments, and arguments that are written as constants of a wrong type.
//! Their shapes are known where they are called alone.

use super::conform::TypeWord;
use super::elaborator::Elaborator;
use super::names;
use super::scope::NameScope;
use super::value::{ArgumentValue, Builtin, ExprValue};
use din_grammar::Span;
use din_grammar::ast::{self, Block, Expr, ExprKind, StatementKind};
use din_grammar::parts::ExprPart;

impl<'a> Elaborator<'a> {
    /// The functions of the user's files that no call reached.
    pub fn unread_functions(&mut self) {
        let modules = self.modules;
        for (module, of) in modules.iter().enumerate().filter(|(_, m)| !m.name.starts_with("std.")) {
            for item in &of.file.items {
                match item {
                    ast::Item::Function(f) if !self.instantiated.contains(&f.name.span) => {
                        self.unread_function(module, f);
                    }
                    // Defaults that no call needed.
                    ast::Item::Function(f) => {
                        let mut used = names::Names::default();
                        f.parameters
                            .iter()
                            .filter_map(|p| p.default.as_ref())
                            .for_each(|d| names::in_expr(d, &mut used));
                        let mut local: Vec<&'a str> = f.parameters.iter().map(|p| p.name.name.as_str()).collect();
                        local.extend(sizes_and_axes(f));
                        self.names_known(module, f, used, &local);
                    }
                    ast::Item::Optimizer(_)
                    | ast::Item::Regularizer(_)
                    | ast::Item::Metric(_)
                    | ast::Item::Schema(_)
                    | ast::Item::Model(_)
                    | ast::Item::Test(_) => {}
                }
            }
        }
    }

    /// One function, by its text.
    pub(super) fn unread_function(&mut self, module: usize, f: &'a ast::Function) {
        let mut used = names::Names::default();
        names::in_block(&f.body, &mut used);
        names::in_parameters(&f.parameters, &mut used);
        let mut local: Vec<&'a str> = f.parameters.iter().map(|p| p.name.name.as_str()).collect();
        local.push("training");
        bound_in(&f.body, &mut local);
        local.extend(sizes_and_axes(f));
        self.names_known(module, f, used, &local);
        let scope = NameScope::new(module, Some(&f.name.name));
        let mut calls = Vec::new();
        f.parameters.iter().filter_map(|p| p.default.as_ref()).for_each(|d| calls_in(d, &mut calls));
        calls_in_block(&f.body, &mut calls);
        for (name, arguments, span) in calls {
            if !local.contains(&name) {
                self.unread_call(&scope, name, arguments, span);
            }
        }
    }

    /// Reports those of the names that the function reads and that nothing binds.
    fn names_known(&mut self, module: usize, f: &'a ast::Function, used: names::Names<'a>, local: &[&'a str]) {
        let scope = NameScope::new(module, Some(&f.name.name));
        let mut unknown: Vec<(&'a str, Span)> = used.into_iter().filter(|(n, _)| !local.contains(n)).collect();
        unknown.sort_unstable_by_key(|(_, span)| *span);
        let initialisers = ["normal", "uniform", "glorot", "fan_in"];
        // A condition of `where`, and the samples of a request.
        let of_losses = ["present", super::over::REQUEST];
        for (name, span) in unknown {
            if !initialisers.contains(&name) && !of_losses.contains(&name) {
                self.resolve(&scope, name, span);
            }
        }
    }

    /// A call by the name of a function.
    fn unread_call(&mut self, scope: &NameScope<'a>, name: &'a str, arguments: &'a [ast::Argument], span: Span) {
        let hole = arguments.iter().any(|a| matches!(a.value.kind, ExprKind::Hole));
        let Some(definition) = self.modules[scope.module].names.get(name) else {
            if let Some(builtin) = Builtin::by_name(name).filter(|_| !hole) {
                self.builtin_arguments(builtin, arguments, span);
            }
            return;
        };
        let Some(ast::Item::Function(function)) = definition.item.map(|id| self.item(id)) else { return };
        if hole {
            for argument in arguments.iter().filter_map(|a| a.name.as_ref()) {
                if !function.parameters.iter().any(|p| p.name.name == argument.name) {
                    self.unknown_argument(function, argument);
                }
            }
            return;
        }
        let given = arguments.iter().map(|a| ArgumentValue {
            name: a.name.as_ref(),
            value: constant(&a.value),
            over: None,
            span: a.span,
        });
        let Some(slots) = self.arrange(&function.name, &function.parameters, given.collect(), span) else { return };
        for (parameter, slot) in function.parameters.iter().zip(slots) {
            if let (Some(ArgumentValue { value, span, .. }), Some(ast::TypeKind::Named(word))) =
                (slot, parameter.ty.as_ref().map(|ty| &ty.kind))
                && let Some(word) = TypeWord::by_name(&word.name)
            {
                self.kind(&function.name.name, &parameter.name.name, parameter.span, word, value, span);
            }
        }
    }

    /// The number and names of the arguments of a function of the language.
    fn builtin_arguments(&mut self, builtin: Builtin, arguments: &'a [ast::Argument], span: Span) {
        let (least, most) = builtin.arity();
        let named = arguments.iter().any(|a| a.name.is_some());
        if arguments.len() < least || most.is_some_and(|most| arguments.len() > most) || named {
            let given =
                arguments.iter().map(|a| ArgumentValue { name: a.name.as_ref(), ..ArgumentValue::poison(a.span) });
            match builtin {
                Builtin::Concat if !arguments.is_empty() => {
                    self.concat(&given.collect::<Vec<_>>(), &vec![None; arguments.len()], span)
                }
                _ => self.builtin(builtin, given.collect(), span),
            };
        }
    }
}

/// The value of a constant that is written out; anything else is not known here.
fn constant<'a>(e: &'a Expr) -> ExprValue<'a> {
    match &e.kind {
        ExprKind::Int(n) => ExprValue::Number(*n as f64),
        ExprKind::Float(x) => ExprValue::Number(*x),
        ExprKind::Text(text) => ExprValue::Text(text.as_str().into()),
        ExprKind::Bool(b) => ExprValue::Bool(*b),
        ExprKind::List(items) => ExprValue::List(items.iter().map(constant).collect()),
        ExprKind::Name(_)
        | ExprKind::Comprehension { .. }
        | ExprKind::Tuple(_)
        | ExprKind::Hole
        | ExprKind::Call { .. }
        | ExprKind::Field { .. }
        | ExprKind::SecondName { .. }
        | ExprKind::Unary { .. }
        | ExprKind::Binary { .. }
        | ExprKind::If { .. }
        | ExprKind::Where { .. }
        | ExprKind::Quantity { .. } => ExprValue::Poison,
    }
}

/// Whether the function calls its parameter with one value alone, as an activation is called.
pub(super) fn is_called_with_one_value(f: &ast::Function, parameter: &str) -> bool {
    let mut calls = Vec::new();
    calls_in_block(&f.body, &mut calls);
    let mut own = calls.iter().filter(|(name, ..)| *name == parameter);
    own.all(|(_, arguments, _)| matches!(arguments, [ast::Argument { name: None, .. }]))
}

/// A call by a name: the name, the arguments, the place.
type NamedCall<'a> = (&'a str, &'a [ast::Argument], Span);

fn calls_in<'a>(e: &'a Expr, out: &mut Vec<NamedCall<'a>>) {
    if let ExprKind::Call { callee, arguments } = &e.kind
        && let ExprKind::Name(name) = &callee.kind
    {
        out.push((name, arguments, e.span));
    }
    for part in e.parts() {
        match part {
            ExprPart::Expr(part) => calls_in(part, out),
            ExprPart::Block(block) => calls_in_block(block, out),
        }
    }
}

fn calls_in_block<'a>(block: &'a Block, out: &mut Vec<NamedCall<'a>>) {
    for statement in &block.statements {
        match &statement.kind {
            StatementKind::Let(ast::Let { value, .. })
            | StatementKind::Layer(ast::Layer { value, .. })
            | StatementKind::Update { value, .. }
            | StatementKind::Assign { value, .. }
            | StatementKind::Expr(value) => calls_in(value, out),
            // Behind `param` stand initialisers.
            StatementKind::Param(_) | StatementKind::Constant(_) | StatementKind::State(_) => {}
            StatementKind::For { each, body } => {
                calls_in(&each.list, out);
                calls_in_block(body, out);
            }
        }
    }
    block.value.iter().for_each(|value| calls_in(value, out));
}

/// The names of sizes and axes in the types of a function.
fn sizes_and_axes(f: &ast::Function) -> Vec<&str> {
    let mut sizes = names::Names::default();
    let types = f.parameters.iter().filter_map(|p| p.ty.as_ref()).chain(&f.result);
    let mut axes = Vec::new();
    for ty in types {
        axes.extend(named_axis(ty));
        names::in_type(ty, &mut sizes);
    }
    axes.extend(sizes.into_keys());
    axes
}

/// The axis that a type names.
fn named_axis(ty: &ast::Type) -> Option<&str> {
    match &ty.kind {
        ast::TypeKind::Ragged { axis, .. } => Some(&axis.name),
        ast::TypeKind::ListOf(item) => named_axis(item),
        ast::TypeKind::Shape(_) | ast::TypeKind::Named(_) => None,
    }
}

/// Names that a block binds, anywhere in it.
fn bound_in<'a>(block: &'a Block, out: &mut Vec<&'a str>) {
    for s in &block.statements {
        match &s.kind {
            StatementKind::Let(l) => {
                out.extend(l.pattern.names().into_iter().map(|n| n.name.as_str()));
                bound_in_expr(&l.value, out);
            }
            StatementKind::Layer(l) => out.push(&l.name.name),
            StatementKind::Param(v) | StatementKind::Constant(v) | StatementKind::State(v) => {
                out.push(&v.name.name);
            }
            StatementKind::For { each, body } => {
                out.extend(each.pattern.names().into_iter().map(|n| n.name.as_str()));
                bound_in(body, out);
            }
            StatementKind::Update { value, .. } | StatementKind::Assign { value, .. } | StatementKind::Expr(value) => {
                bound_in_expr(value, out);
            }
        }
    }
    block.value.iter().for_each(|value| bound_in_expr(value, out));
}

/// Names that parts of an expression bind: second names of entries, the blocks of an `if`, the
/// loops of comprehensions.
fn bound_in_expr<'a>(e: &'a Expr, out: &mut Vec<&'a str>) {
    if let ExprKind::SecondName { axis, .. } = &e.kind {
        out.push(&axis.name);
    }
    if let ExprKind::Comprehension { each, .. } = &e.kind {
        out.extend(each.iter().flat_map(|each| each.pattern.names()).map(|n| n.name.as_str()));
    }
    for part in e.parts() {
        match part {
            ExprPart::Expr(part) => bound_in_expr(part, out),
            ExprPart::Block(block) => bound_in(block, out),
        }
    }
}
