//! Pest's pairs to the tree: the file, imports, definitions, types and statements.
//!
//! It relies on the shape of `din.pest`: a child that a rule demands exists. What the grammar
//! cannot say (numbers out of range, doc comments before nothing, trees too high) is reported here.

use super::Rule;
use crate::ast::*;
use crate::{Diagnostic, FileId, Span};
use pest::iterators::{Pair, Pairs};

pub(super) type PestNode<'i> = Pair<'i, Rule>;

/// The children of a node, without marks and words.
pub(super) struct Children<'i> {
    pairs: Pairs<'i, Rule>,
}

impl<'i> Children<'i> {
    pub(super) fn new(node: PestNode<'i>) -> Self {
        Self { pairs: node.into_inner() }
    }

    pub(super) fn peek(&mut self) -> Option<Rule> {
        while let Some(pair) = self.pairs.peek() {
            if !is_mark(pair.as_rule()) {
                return Some(pair.as_rule());
            }
            self.pairs.next();
        }
        None
    }

    pub(super) fn given(&mut self, rule: Rule) -> Option<PestNode<'i>> {
        if self.peek()? == rule { self.pairs.next() } else { None }
    }

    /// The child that the grammar puts here.
    pub(super) fn need(&mut self) -> PestNode<'i> {
        self.peek();
        self.pairs.next().expect("din.pest: the rule demands this child")
    }
}

impl<'i> Iterator for Children<'i> {
    type Item = PestNode<'i>;

    fn next(&mut self) -> Option<PestNode<'i>> {
        self.peek()?;
        self.pairs.next()
    }
}

/// Stops at a rule that the grammar does not have at this place.
pub(super) fn unexpected(rule: Rule) -> ! {
    unreachable!("din.pest: `{rule:?}` cannot stand here")
}

/// Rules whose presence says nothing that the parent rule or its order of children does not say.
fn is_mark(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        p_open
            | p_close
            | p_lparen
            | p_rparen
            | p_lbrack
            | p_rbrack
            | p_comma
            | p_colon
            | p_dot
            | p_tilde
            | p_arrow
            | p_fat
            | p_equals
            | p_least
            | k_after
            | k_as
            | k_at
            | k_before
            | k_known
            | k_fn
            | k_edition
            | k_else
            | k_for
            | k_if
            | k_in
            | k_layer
            | k_let
            | k_over
            | k_param
            | k_constant
            | k_state
            | k_update
            | k_use
            | k_assert
            | k_by
            | k_category
            | k_common
            | k_each
            | k_embedding
            | k_expect
            | k_features
            | k_from
            | k_given
            | k_hyper
            | k_keep
            | k_key
            | k_label
            | k_list
            | k_mark
            | k_metric
            | k_missing
            | k_model
            | k_number
            | k_of
            | k_on
            | k_optimizer
            | k_output
            | k_per
            | k_pooled
            | k_predict
            | k_regularizer
            | k_report
            | k_request
            | k_schema
            | k_sequence
            | k_test
            | k_train
            | k_training
            | k_updates
            | k_weighted
            | k_where
            | k_with
            | k_within
            | statement_word
            | member_word
            | setting_word
            | test_word
            | end_of_test_part
            | end_of_statement
            | end_of_member
            | end_of_setting
            | EOI
    )
}

pub(super) struct Builder<'t> {
    file: FileId,
    /// Where the parsed piece begins in the file.
    base: usize,
    /// The whole file.
    text: &'t str,
    pub(super) errors: Vec<Diagnostic>,
}

impl<'t> Builder<'t> {
    pub(super) fn new(file: FileId, base: usize, text: &'t str) -> Self {
        Self { file, base, text, errors: Vec::new() }
    }

    /// The text of a node without the blanks that pest reads before an absent last part.
    pub(super) fn span(&self, node: &PestNode) -> Span {
        let span = node.as_span();
        let end = span.start() + span.as_str().trim_end().len();
        Span::new(self.file, self.base + span.start(), self.base + end)
    }

    pub(super) fn ident(&self, node: &PestNode) -> Ident {
        Ident { name: node.as_str().to_owned(), span: self.span(node) }
    }

    /// The text of a doc comment without its marker and one blank.
    pub(super) fn doc(&self, node: &PestNode) -> String {
        let line = node.as_str().get(3..).unwrap_or("").trim_end();
        line.strip_prefix(' ').unwrap_or(line).to_owned()
    }

    pub(super) fn docs(&self, children: &mut Children) -> Docs {
        let mut docs = Docs::new();
        while let Some(node) = children.given(Rule::doc) {
            docs.push(self.doc(&node));
        }
        docs
    }

    /// A whole number that the grammar knows to be digits.
    pub(super) fn count(&mut self, node: &PestNode) -> u64 {
        let digits: String = node.as_str().chars().filter(|c| *c != '_').collect();
        digits.parse().ok().filter(|n| *n <= i64::MAX as u64).unwrap_or_else(|| {
            self.number_error(self.span(node), "this number is too large", format!("expected at most {}", i64::MAX));
            0
        })
    }

    pub(super) fn number_error(&mut self, span: Span, message: &str, note: String) {
        let text = self.text.get(span.start as usize..span.end as usize).unwrap_or("");
        self.errors.push(Diagnostic::error("E0105", message, span, format!("`{}`", shortened(text))).note(note));
    }

    pub(super) fn file(&mut self, node: PestNode) -> File {
        let span = Span::new(self.file, 0, self.text.len());
        let mut children = Children::new(node);
        let mut file = File { docs: Docs::new(), edition: None, imports: Vec::new(), items: Vec::new(), span };
        while let Some(node) = children.given(Rule::file_doc) {
            file.docs.push(self.doc(&node));
        }
        for node in children {
            match node.as_rule() {
                Rule::edition => file.edition = Some(self.edition(node)),
                Rule::import => file.imports.push(self.import(node)),
                Rule::item => file.items.push(self.item(node)),
                other => unexpected(other),
            }
        }
        file
    }

    pub(super) fn edition(&mut self, node: PestNode) -> Edition {
        let span = self.span(&node);
        let year = self.count(&Children::new(node).need());
        Edition { year: u32::try_from(year).unwrap_or(u32::MAX), span }
    }

    pub(super) fn import(&mut self, node: PestNode) -> Use {
        let span = self.span(&node);
        let mut path = Vec::new();
        let mut names = Vec::new();
        let mut alias = None;
        for child in Children::new(node) {
            match child.as_rule() {
                Rule::any_word => path.push(self.ident(&child)),
                Rule::alias => alias = Some(self.ident(&Children::new(child).need())),
                Rule::import_group => {
                    for name in Children::new(child) {
                        let mut parts = Children::new(name);
                        let name = self.ident(&parts.need());
                        let alias = parts.next().map(|a| self.ident(&Children::new(a).need()));
                        names.push(UseName { name, alias });
                    }
                }
                other => unexpected(other),
            }
        }
        if names.is_empty()
            && let Some(name) = path.pop()
        {
            // A reserved word is no name that a module has; it may be a module, of which the
            // checker knows.
            names.push(UseName { name, alias });
        }
        Use { path, names, span }
    }

    pub(super) fn item(&mut self, node: PestNode) -> Item {
        let mut children = Children::new(node);
        let docs = self.docs(&mut children);
        let node = children.need();
        let span = self.span(&node);
        let rule = node.as_rule();
        let mut children = Children::new(node);
        if rule == Rule::test {
            return Item::Test(self.test(docs, span, children));
        }
        let name = self.ident(&children.need());
        if rule == Rule::model {
            let schema = children.given(Rule::on_schema).map(|on| self.ident(&Children::new(on).need()));
            let members = children.map(|member| self.member(member)).collect();
            return Item::Model(Model { docs, name, schema, members, span });
        }
        if rule == Rule::schema {
            let members = children.map(|member| self.member(member)).collect();
            return Item::Schema(SchemaDecl { docs, name, members, span });
        }
        let parameters = self.parameters(children.need());
        match rule {
            Rule::function => {
                let result = children.given(Rule::ty).map(|ty| self.ty(ty));
                let body = self.block(children.need(), 0);
                Item::Function(Function { docs, name, parameters, result, body, span })
            }
            Rule::regularizer => {
                let body = self.expression(children.need(), 0);
                Item::Regularizer(Regularizer { docs, name, parameters, body, span })
            }
            Rule::optimizer => {
                let scope = self.scope(&children.need());
                let body = self.block(children.need(), 0);
                Item::Optimizer(Optimizer { docs, name, parameters, scope, body, span })
            }
            Rule::metric => Item::Metric(MetricDecl { docs, name, parameters, span }),
            other => unexpected(other),
        }
    }

    pub(super) fn scope(&self, node: &PestNode) -> OptimizerScope {
        match node.as_str() {
            "weight" => OptimizerScope::Weight,
            "row" => OptimizerScope::Row,
            "tensor" => OptimizerScope::Tensor,
            other => unreachable!("din.pest: `{other}` is no scope"),
        }
    }

    fn test(&mut self, docs: Docs, span: Span, mut children: Children) -> Test {
        let text = children.need();
        let name = Ident { name: self.string(&text), span: self.span(&text) };
        let training = children.given(Rule::in_training).is_some();
        let parts = children.map(|part| self.test_part(part)).collect();
        Test { docs, name, training, parts, span }
    }

    pub(super) fn test_part(&mut self, node: PestNode) -> TestPart {
        let span = self.span(&node);
        let kind = match node.as_rule() {
            Rule::let_ => TestPartKind::Let(self.let_(node, 0)),
            Rule::layer => TestPartKind::Layer(self.layer(node, 0)),
            Rule::given => {
                let mut children = Children::new(node);
                let name = self.ident(&children.need());
                let (mut axes, mut shape) = (Vec::new(), Vec::new());
                for part in Children::new(children.need()) {
                    match part.as_rule() {
                        Rule::given_axis => axes.push(self.ident(&Children::new(part).need())),
                        Rule::shape => shape = self.shape(part),
                        other => unexpected(other),
                    }
                }
                TestPartKind::Given { name, axes, shape, value: self.expression(children.need(), 0) }
            }
            Rule::given_weight => {
                let state =
                    node.clone().into_inner().any(|part| matches!(part.as_rule(), Rule::k_constant | Rule::k_state));
                let mut children = Children::new(node);
                let path = self.ident(&children.need());
                TestPartKind::GivenWeight { state, path, value: self.expression(children.need(), 0) }
            }
            Rule::expect => {
                let mut children = Children::new(node);
                let value = self.expression(children.need(), 0);
                let expected = self.expression(children.need(), 0);
                let within = children.next().map(|node| self.tolerance(node));
                TestPartKind::Expect { value, expected, within }
            }
            other => unexpected(other),
        };
        TestPart { kind, span }
    }

    fn tolerance(&mut self, node: PestNode) -> Expr {
        let number = Children::new(node).need();
        let span = self.span(&number);
        Expr { kind: self.number(&number), span }
    }

    pub(super) fn parameters(&mut self, node: PestNode) -> Vec<ParameterDecl> {
        Children::new(node).map(|parameter| self.parameter(parameter)).collect()
    }

    fn parameter(&mut self, node: PestNode) -> ParameterDecl {
        let span = self.span(&node);
        let mut children = Children::new(node);
        let name = self.ident(&children.need());
        let ty = children.given(Rule::ty).map(|ty| self.ty(ty));
        let default = children.next().map(|value| self.expression(value, 0));
        ParameterDecl { name, ty, default, span }
    }

    pub(super) fn ty(&mut self, node: PestNode) -> Type {
        let span = self.span(&node);
        let child = Children::new(node).need();
        let kind = match child.as_rule() {
            Rule::list_type => TypeKind::ListOf(Box::new(self.ty(Children::new(child).need()))),
            Rule::shape => TypeKind::Shape(self.shape(child)),
            Rule::ragged => {
                let mut children = Children::new(child);
                let axis = self.ident(&children.need());
                TypeKind::Ragged { axis, element: self.shape(children.need()) }
            }
            Rule::identifier | Rule::fn_type => TypeKind::Named(self.ident(&child)),
            other => unexpected(other),
        };
        Type { kind, span }
    }

    fn shape(&mut self, node: PestNode) -> Vec<Dimension> {
        let mut shape = Vec::new();
        for dimension in Children::new(node) {
            let child = Children::new(dimension).need();
            shape.push(match child.as_rule() {
                Rule::count => Dimension::Size { value: self.count(&child), span: self.span(&child) },
                Rule::identifier => Dimension::Name(self.ident(&child)),
                other => unexpected(other),
            });
        }
        shape
    }

    /// A block at the given height of the tree.
    pub(super) fn block(&mut self, node: PestNode, height: usize) -> Block {
        let span = self.span(&node);
        let mut statements = Vec::new();
        for statement in Children::new(node) {
            self.statement(statement, height, &mut statements);
        }
        super::pieces::block(statements, span)
    }

    pub(super) fn statement(&mut self, node: PestNode, height: usize, into: &mut Vec<Statement>) {
        let span = self.span(&node);
        let rule = node.as_rule();
        let kind = match rule {
            Rule::let_ => StatementKind::Let(self.let_(node, height)),
            Rule::layer => StatementKind::Layer(self.layer(node, height)),
            Rule::parameter_list | Rule::constant_list | Rule::state_list => {
                for node in Children::new(node) {
                    let span = self.span(&node);
                    let variable = self.variable(node, height);
                    let kind = match rule {
                        Rule::parameter_list => StatementKind::Param(variable),
                        Rule::constant_list => StatementKind::Constant(variable),
                        _ => StatementKind::State(variable),
                    };
                    into.push(Statement { kind, span });
                }
                return;
            }
            Rule::update | Rule::assign => {
                let mut children = Children::new(node);
                let name = self.ident(&children.need());
                let value = self.expression(children.need(), height);
                match rule {
                    Rule::update => StatementKind::Update { name, value },
                    _ => StatementKind::Assign { name, value },
                }
            }
            Rule::for_loop => {
                let mut children = Children::new(node);
                let each = self.for_each(&mut children, height);
                let body = self.block(children.need(), height + 1);
                StatementKind::For { each, body }
            }
            Rule::expression => StatementKind::Expr(self.expression(node, height)),
            other => unexpected(other),
        };
        into.push(Statement { kind, span });
    }

    pub(super) fn variable(&mut self, node: PestNode, height: usize) -> Variable {
        let mut children = Children::new(node);
        let name = self.ident(&children.need());
        let ty = children.given(Rule::ty).map(|ty| self.ty(ty));
        let init = children.next().map(|value| self.expression(value, height));
        Variable { name, ty, init }
    }

    pub(super) fn let_(&mut self, node: PestNode, height: usize) -> Let {
        let mut children = Children::new(node);
        let pattern = self.pattern(children.need());
        Let { pattern, value: self.expression(children.need(), height) }
    }

    pub(super) fn pattern(&mut self, node: PestNode) -> Pattern {
        let span = self.span(&node);
        let mut children = Children::new(node);
        if let Some(name) = children.given(Rule::identifier) {
            return Pattern::Name(self.ident(&name));
        }
        let mut parts: Vec<Pattern> = children.map(|part| self.pattern(part)).collect();
        match parts.pop() {
            // Parentheses around one pattern mean nothing.
            Some(only) if parts.is_empty() => only,
            last => {
                parts.extend(last);
                Pattern::Parts { parts, span }
            }
        }
    }

    /// `for pattern in list`, as the next children of a node.
    pub(super) fn for_each(&mut self, children: &mut Children, height: usize) -> ForEach {
        let pattern = self.pattern(children.need());
        ForEach { pattern, list: self.expression(children.need(), height) }
    }

    pub(super) fn layer(&mut self, node: PestNode, height: usize) -> Layer {
        let mut children = Children::new(node);
        let name = self.ident(&children.need());
        Layer { name, value: self.expression(children.need(), height) }
    }
}

pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((i, _)) => format!("{}…", &text[..i]),
        None => text.to_owned(),
    }
}
