//! Blocks and statements: `let`, `layer`, `param`, `constant`, `state`, `update`, assignment,
//! `for`.

use super::elaborator::Elaborator;
use super::scope::{NameScope, Referent};
use super::value::{Callee, ExprValue, nearest};
use super::walk::Context;
use din_grammar::ast::{self, Block, Statement, StatementKind};
use din_grammar::{Diagnostic, Span};
use std::rc::Rc;

impl<'a> Elaborator<'a> {
    pub fn block(&mut self, scope: &mut NameScope<'a>, block: &'a Block) -> ExprValue<'a> {
        scope.blocks.push(Vec::new());
        for statement in &block.statements {
            if self.exhausted() {
                break;
            }
            self.statement(scope, statement);
        }
        let value = match &block.value {
            Some(e) => self.expr(scope, e),
            None => ExprValue::Nothing,
        };
        scope.blocks.pop();
        value
    }

    pub fn statement(&mut self, scope: &mut NameScope<'a>, statement: &'a Statement) {
        match &statement.kind {
            StatementKind::Let(l) => self.let_(scope, l),
            StatementKind::Layer(l) => self.layer(scope, l),
            StatementKind::Param(v) => self.param(scope, v, statement.span),
            StatementKind::Constant(v) => self.constant(scope, v, statement.span),
            StatementKind::State(v) => self.state(scope, v, statement.span),
            StatementKind::Update { name, value } => self.update(scope, name, value),
            StatementKind::Assign { name, value } => self.assign(scope, name, value),
            StatementKind::For { each, body } => self.for_(scope, each, body),
            StatementKind::Expr(e) => {
                self.expr(scope, e);
                self.report(
                    Diagnostic::error("E0319", "the value of this expression is not used", e.span, "has no effect")
                        .help("bind it with `let`, or remove it"),
                );
            }
        }
    }

    /// Refuses a second binding of a name in one body; whether it is the first.
    pub fn fresh(&mut self, scope: &NameScope<'a>, name: &'a ast::Ident) -> bool {
        let first = scope.find(&name.name);
        if let Some(first) = first {
            let d = Diagnostic::error("E0203", format!("`{}` is defined twice", name.name), name.span, "again here")
                .label(first.span, "first here");
            // A model has no assignment.
            let member = scope.function.is_none() && self.walk.context == Context::Model && scope.blocks.len() == 1;
            let d = d.help(if member {
                "use another name".to_string()
            } else {
                format!("assign a new value with `{} = …`, or use another name", name.name)
            });
            self.report(d);
        }
        first.is_none()
    }

    /// Refuses names of a pattern that the body has, or that stand in it twice.
    pub fn fresh_names(&mut self, scope: &NameScope<'a>, pattern: &'a ast::Pattern) {
        let names = pattern.names();
        for (i, name) in names.iter().enumerate() {
            match names[..i].iter().find(|before| before.name == name.name) {
                Some(first) => self.report(
                    Diagnostic::error("E0203", format!("`{}` is defined twice", name.name), name.span, "again here")
                        .label(first.span, "first here")
                        .help("use another name"),
                ),
                None => drop(self.fresh(scope, name)),
            }
        }
    }

    pub fn let_(&mut self, scope: &mut NameScope<'a>, l: &'a ast::Let) {
        self.fresh_names(scope, &l.pattern);
        let segment = l.pattern.names().iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join("_");
        let value = self.under(Some(segment), true, |me| me.expr(scope, &l.value));
        let value = match &l.pattern {
            ast::Pattern::Name(_) => self.usable(value, l.value.span),
            ast::Pattern::Parts { .. } => value,
        };
        self.bind_pattern(scope, &l.pattern, value, l.value.span);
    }

    /// A value that a name can stand for.
    pub(super) fn usable(&mut self, value: ExprValue<'a>, span: Span) -> ExprValue<'a> {
        match value {
            ExprValue::Nothing => self.fault(
                Diagnostic::error("E0318", "this block has no value", span, "ends with a statement")
                    .help("end it with the expression that it stands for"),
            ),
            v => v,
        }
    }

    pub fn layer(&mut self, scope: &mut NameScope<'a>, l: &'a ast::Layer) {
        self.fresh(scope, &l.name);
        let value = self.under(Some(l.name.name.clone()), true, |me| me.expr(scope, &l.value));
        let value = match value {
            ExprValue::Function(inner) => {
                let mut path = self.walk.path.clone();
                path.push(l.name.name.clone());
                ExprValue::Function(Rc::new(Callee::Layer { path, inner }))
            }
            ExprValue::Poison => ExprValue::Poison,
            other => {
                let found = self.describe(&other);
                self.fault(
                    Diagnostic::error("E0509", "a layer is a function", l.value.span, found.clone())
                        .note(format!("expected a function\nfound {found}"))
                        .help("leave its input open: `layer tower = mlp(_, [64], relu)`"),
                )
            }
        };
        self.note(scope, l.name.span, &value);
        scope.bind(&l.name.name, value, l.name.span);
    }

    fn for_(&mut self, scope: &mut NameScope<'a>, each: &'a ast::ForEach, body: &'a Block) {
        self.turns(scope, each, |me, scope| {
            let value = me.block(scope, body);
            if let (Some(e), false) = (&body.value, matches!(value, ExprValue::Poison)) {
                me.report(
                    Diagnostic::error("E0319", "the value of a turn of `for` is not used", e.span, "has no effect")
                        .help("assign it to a name from outside the loop: `x = …`"),
                );
                return false;
            }
            true
        });
    }

    fn assign(&mut self, scope: &mut NameScope<'a>, name: &'a ast::Ident, value: &'a ast::Expr) {
        let v = self.under(None, true, |me| me.expr(scope, value));
        let v = self.usable(v, value.span);
        let Some(binding) = scope.find(&name.name) else {
            let known: Vec<&str> = scope.blocks.iter().flatten().map(|b| b.name).collect();
            let mut d = Diagnostic::error("E0204", format!("unknown name `{}`", name.name), name.span, "not in scope");
            d = match nearest(&name.name, known) {
                Some(near) => d.did_you_mean(name.span, near),
                None => d.help(format!("a new name is bound with `let {} = …`", name.name)),
            };
            self.report(d);
            return;
        };
        let (bound, first) = (binding.referent.clone(), binding.span);
        let new = match bound {
            Referent::Value(_) => Referent::Value(v),
            Referent::Weight(old) => match self.slot_value(&old, v, value.span) {
                Some(t) => Referent::Weight(t),
                None => Referent::Value(ExprValue::Poison),
            },
            Referent::Slot(slot, old) => match self.slot_value(&old, v, value.span) {
                Some(t) => Referent::Slot(slot, t),
                None => Referent::Value(ExprValue::Poison),
            },
            Referent::State(state, old) => {
                self.walk.updated.entry(state).or_insert((old.node, name.span));
                self.report(
                    Diagnostic::error("E0504", format!("`{}` is a state", name.name), name.span, "assigned here")
                        .label(first, "declared here")
                        .help(format!("its value after the step is set by `update {} = …`", name.name)),
                );
                return;
            }
            Referent::Label(_) | Referent::Key(_) | Referent::Absent(_) => return,
        };
        scope.find_mut(&name.name).expect("the binding was found above").referent = new;
    }
}
