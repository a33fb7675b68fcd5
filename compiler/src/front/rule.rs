//! Optimizers and regularizers as settings name them: a definition and its arguments.

use super::elaborator::Elaborator;
use super::load::item_kind;
use super::names;
use super::schedule::{ElaboratedArgument, RuleArgument};
use super::scope::NameScope;
use super::value::{ArgumentValue, ExprValue};
use din_grammar::ast::{self, ExprKind};
use din_grammar::{Diagnostic, Span};

/// What a setting can name: an optimizer or a regularizer.
pub(super) trait RuleDefinition {
    /// With its article.
    const KIND: &'static str;
    const EXAMPLE: &'static str;

    fn of(item: &ast::Item) -> Option<&Self>;
    fn name(&self) -> &ast::Ident;
    fn parameters(&self) -> &[ast::ParameterDecl];
    /// Names that its body reads.
    fn reads(&self) -> names::Names<'_>;
}

impl RuleDefinition for ast::Optimizer {
    const KIND: &'static str = "an optimizer";
    const EXAMPLE: &'static str = "adam(lr = 1e-3)";

    fn of(item: &ast::Item) -> Option<&Self> {
        if let ast::Item::Optimizer(optimizer) = item { Some(optimizer) } else { None }
    }

    fn name(&self) -> &ast::Ident {
        &self.name
    }

    fn parameters(&self) -> &[ast::ParameterDecl] {
        &self.parameters
    }

    fn reads(&self) -> names::Names<'_> {
        let mut out = names::Names::default();
        names::in_block(&self.body, &mut out);
        out
    }
}

impl RuleDefinition for ast::Regularizer {
    const KIND: &'static str = "a regularizer";
    const EXAMPLE: &'static str = "l2(1e-4)";

    fn of(item: &ast::Item) -> Option<&Self> {
        if let ast::Item::Regularizer(regularizer) = item { Some(regularizer) } else { None }
    }

    fn name(&self) -> &ast::Ident {
        &self.name
    }

    fn parameters(&self) -> &[ast::ParameterDecl] {
        &self.parameters
    }

    fn reads(&self) -> names::Names<'_> {
        let mut out = names::Names::default();
        names::in_expr(&self.body, &mut out);
        out
    }
}

/// `adam(lr = 1e-3)`: a definition and its arguments.
#[derive(Debug)]
pub(super) struct RuleCall<'a, D> {
    pub module: usize,
    pub definition: &'a D,
    pub arguments: Vec<RuleArgument>,
    pub span: Span,
}

impl<D> Clone for RuleCall<'_, D> {
    fn clone(&self) -> Self {
        RuleCall { arguments: self.arguments.clone(), ..*self }
    }
}

impl<D: RuleDefinition> RuleCall<'_, D> {
    /// Whether it reads the frequency of a row's id.
    pub fn reads_frequency(&self) -> bool {
        self.definition.reads().contains_key("frequency")
    }

    pub fn key(&self) -> RuleKey {
        let arguments = self.arguments.iter().map(RuleArgument::key).collect();
        RuleKey { module: self.module, name: self.definition.name().name.clone(), arguments }
    }
}

/// What tells rules apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleKey {
    module: usize,
    name: String,
    arguments: Vec<String>,
}

impl<'a> Elaborator<'a> {
    /// An optimizer or regularizer as a setting names it.
    pub fn rule<D: RuleDefinition>(&mut self, scope: &mut NameScope<'a>, e: &'a ast::Expr) -> Option<RuleCall<'a, D>> {
        let (callee, arguments): (&'a ast::Expr, &'a [ast::Argument]) = match &e.kind {
            ExprKind::Call { callee, arguments } => (callee, arguments),
            _ => (e, &[]),
        };
        let wanted = D::KIND;
        let ExprKind::Name(name) = &callee.kind else {
            self.report(
                Diagnostic::error("E0607", format!("not {wanted}"), e.span, "not understood")
                    .help(format!("write the name of {wanted} and its arguments, such as `{}`", D::EXAMPLE)),
            );
            return None;
        };
        let Some(&definition) = self.modules[scope.module].names.get(name.as_str()) else {
            let value = self.resolve(scope, name, callee.span);
            if !matches!(value, ExprValue::Poison) {
                let found = self.describe(&value);
                self.report(
                    Diagnostic::error("E0206", format!("`{name}` is not {wanted}"), callee.span, found.clone())
                        .note(format!("expected {wanted}\nfound {found}")),
                );
            }
            return None;
        };
        let id = definition.item?;
        let item = self.item(id);
        let Some(definition) = D::of(item) else {
            let found = item_kind(item);
            self.report(
                Diagnostic::error("E0206", format!("`{name}` is not {wanted}"), callee.span, format!("a {found}"))
                    .note(format!("expected {wanted}\nfound the {found} `{name}`")),
            );
            return None;
        };
        let walk = self.schedule_walk();
        let (arguments, walk) =
            self.on_walk(walk, |me| me.rule_arguments(scope, definition, id.module, arguments, e.span));
        let arguments = arguments?.into_iter().map(|argument| RuleArgument::of(argument, &walk.graph)).collect();
        Some(RuleCall { module: id.module, definition, arguments, span: e.span })
    }

    /// The arguments of a rule, on the walk of their schedules.
    fn rule_arguments<D: RuleDefinition>(
        &mut self,
        scope: &mut NameScope<'a>,
        definition: &'a D,
        module: usize,
        arguments: &'a [ast::Argument],
        span: Span,
    ) -> Option<Vec<ElaboratedArgument>> {
        let name = &definition.name().name;
        let mut given = Vec::new();
        self.bind_step_and_epoch(scope, span);
        for a in arguments {
            if !self.no_axis(name, a) {
                break;
            }
            let value = self.expr(scope, &a.value);
            given.push(ArgumentValue { name: a.name.as_ref(), value, over: None, span: a.span });
        }
        scope.blocks.pop();
        if given.len() < arguments.len() {
            return None;
        }
        let slots = self.arrange(definition.name(), definition.parameters(), given, span)?;
        let mut inner = NameScope::new(module, None);
        let mut found = Vec::new();
        for (parameter, slot) in definition.parameters().iter().zip(slots) {
            let (value, span) = match slot {
                Some(g) => (g.value, g.span),
                None => {
                    let default = parameter.default.as_ref().expect("`arrange` demands an argument without a default");
                    (self.expr(&mut inner, default), default.span)
                }
            };
            let word = match &parameter.ty {
                Some(ast::Type { kind: ast::TypeKind::Named(word), .. }) => Some(self.type_word(word)?),
                // Shapes and lists are refused where the definition stands.
                Some(ast::Type {
                    kind: ast::TypeKind::Shape(_) | ast::TypeKind::Ragged { .. } | ast::TypeKind::ListOf(_),
                    ..
                })
                | None => None,
            };
            let what = format!("`{}` of `{name}`", parameter.name.name);
            if let ExprValue::Tensor(t) = &value {
                let node = self.schedule(t, word, &what, span)?;
                inner.bind(&parameter.name.name, value, parameter.name.span);
                found.push(ElaboratedArgument::Schedule(node));
                continue;
            }
            let value = match word {
                Some(word) => self.kind(name, &parameter.name.name, parameter.span, word, value, span),
                None => value,
            };
            let n = self.number(value, &what, span)?;
            if !self.within_f32(n, &what, span) {
                return None;
            }
            inner.bind(&parameter.name.name, ExprValue::Number(n), parameter.name.span);
            found.push(ElaboratedArgument::Number(n));
        }
        Some(found)
    }
}
