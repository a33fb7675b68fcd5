//! Blocks and statements: `let`, `layer`, `param`, `state`, `update`, assignment, `for`.

use super::elaborator::Elaborator;
use super::scope::{NameScope, Referent};
use super::value::{Callee, ExprValue, counted, nearest};
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
            StatementKind::State(v) => self.state(scope, v, statement.span),
            StatementKind::Update { name, value } => self.update(scope, name, value),
            StatementKind::Assign { name, value } => self.assign(scope, name, value),
            StatementKind::For { variable, list, body } => self.for_(scope, variable, list, body),
            StatementKind::Expr(e) => {
                self.expr(scope, e);
                self.report(
                    Diagnostic::error("E0319", "the value of this expression is not used", e.span, "has no effect")
                        .help("bind it with `let`, or remove it"),
                );
            }
        }
    }

    /// Refuses a second binding of a name in one body.
    pub fn fresh(&mut self, scope: &NameScope<'a>, name: &'a ast::Ident) {
        if let Some(first) = scope.find(&name.name) {
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
    }

    pub fn let_(&mut self, scope: &mut NameScope<'a>, l: &'a ast::Let) {
        for name in &l.names {
            self.fresh(scope, name);
        }
        let segment = l.names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join("_");
        let value = self.under(Some(segment), true, |me| me.expr(scope, &l.value));
        if let [name] = l.names.as_slice() {
            let value = self.usable(value, l.value.span);
            scope.bind(&name.name, value, name.span);
            return;
        }
        let items = match value {
            ExprValue::Tuple(items) if items.len() == l.names.len() => Some(items),
            ExprValue::Poison => None,
            other => {
                let found = self.describe(&other);
                self.report(
                    Diagnostic::error(
                        "E0315",
                        format!("{} for this value", counted(l.names.len(), "name")),
                        l.value.span,
                        found.clone(),
                    )
                    .note(format!("expected a tuple of {}\nfound {found}", l.names.len())),
                );
                None
            }
        };
        for (i, name) in l.names.iter().enumerate() {
            let value = items.as_ref().map_or(ExprValue::Poison, |items| items[i].clone());
            scope.bind(&name.name, value, name.span);
        }
    }

    /// A value that a name can stand for.
    fn usable(&mut self, value: ExprValue<'a>, span: Span) -> ExprValue<'a> {
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
        scope.bind(&l.name.name, value, l.name.span);
    }

    fn for_(&mut self, scope: &mut NameScope<'a>, variable: &'a ast::Ident, list: &'a ast::Expr, body: &'a Block) {
        let value = self.expr(scope, list);
        let Some(items) = self.list(value, "what `for` runs over", list.span) else { return };
        self.fresh(scope, variable);
        for (i, item) in items.iter().enumerate() {
            if self.exhausted() {
                return;
            }
            scope.blocks.push(Vec::new());
            scope.bind(&variable.name, item.clone(), variable.span);
            let value = self.under(Some(i.to_string()), self.walk.named, |me| me.block(scope, body));
            scope.blocks.pop();
            if let (Some(e), false) = (&body.value, matches!(value, ExprValue::Poison)) {
                self.report(
                    Diagnostic::error("E0319", "the value of a turn of `for` is not used", e.span, "has no effect")
                        .help("assign it to a name from outside the loop: `x = …`"),
                );
                return;
            }
        }
    }

    fn assign(&mut self, scope: &mut NameScope<'a>, name: &'a ast::Ident, value: &'a ast::Expr) {
        let v = self.under(None, true, |me| me.expr(scope, value));
        let v = self.usable(v, value.span);
        let Some(binding) = scope.find(&name.name) else {
            let known: Vec<&str> = scope.blocks.iter().flatten().map(|b| b.name).collect();
            let mut d = Diagnostic::error("E0204", format!("unknown name `{}`", name.name), name.span, "not in scope");
            d.help = Some(match nearest(&name.name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a new name is bound with `let {} = …`", name.name),
            });
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
            Referent::Label(_) | Referent::Key(_) => return,
        };
        scope.find_mut(&name.name).expect("the binding was found above").referent = new;
    }
}
