//! The tree of a file that pest refused, made of the pieces that parse.
//!
//! A definition whose body was cut is there with the pieces of its body that parse. A `let` or
//! `layer` that does not parse keeps its name, so that other lines may read it: its value is a
//! hole, of which the checker knows nothing.

use super::Rule;
use super::build::{Builder, Children, PestNode};
use crate::Span;
use crate::ast::*;

/// What was read of the pieces of one body or of the file, in the order written.
#[derive(Default)]
pub(super) struct Pieces {
    pub docs: Docs,
    pub edition: Option<Edition>,
    pub imports: Vec<Use>,
    pub items: Vec<Item>,
    members: Vec<Member>,
    fields: Vec<FeatureField>,
    settings: Vec<Setting>,
    statements: Vec<Statement>,
    test_parts: Vec<TestPart>,
    heading: Option<Heading>,
}

/// What stands before the `{` of a definition whose body is cut.
#[derive(Default)]
pub(super) struct Heading {
    docs: Docs,
    name: Option<Ident>,
    schema: Option<Ident>,
    parameters: Vec<ParameterDecl>,
    result: Option<Type>,
    scope: Option<OptimizerScope>,
    training: bool,
    known: Option<KnownDecl>,
    keep: Option<KeepDecl>,
    missing: Option<MissingDecl>,
    /// The width of an embedding, or the list of a loop.
    value: Option<Expr>,
    groups: Vec<Ident>,
    paths: Vec<FieldPath>,
    pattern: Option<Pattern>,
}

impl Heading {
    /// Of which only the name can be read.
    pub fn named(name: Option<Ident>) -> Self {
        Self { name, ..Self::default() }
    }
}

impl Pieces {
    /// Keeps a part of what parsed as `rule`.
    pub fn keep(&mut self, builder: &mut Builder, rule: Rule, node: PestNode) {
        match (rule, node.as_rule()) {
            (Rule::lone_heading, _) => {
                let heading = self.heading.get_or_insert_default();
                builder.heading_part(heading, node);
            }
            (Rule::lone_test_part, _) => {
                let part = builder.test_part(node);
                self.test_parts.push(part);
            }
            (Rule::lone_statements, _) => builder.statement(node, 0, &mut self.statements),
            (_, Rule::item) => self.items.push(builder.item(node)),
            (_, Rule::member) => self.members.push(builder.member(node)),
            (_, Rule::feature_field) => self.fields.push(builder.feature_field(node)),
            (_, Rule::setting) => self.settings.push(builder.setting(node)),
            (_, Rule::import) => self.imports.push(builder.import(node)),
            (_, Rule::edition) => self.edition = Some(builder.edition(node)),
            (_, Rule::file_doc) => self.docs.push(builder.doc(&node)),
            // Marks and ends.
            _ => {}
        }
    }

    pub fn take_heading(&mut self) -> Option<Heading> {
        self.heading.take()
    }

    /// Adds the definition that begins with `word`, of what was read of its heading and its body.
    pub fn assemble(&mut self, word: &str, heading: Heading, body: Pieces, span: Span) {
        let Heading { docs, name, schema, parameters, result, scope, training, known, keep, missing, .. } = heading;
        let member = match (word, name) {
            ("model", Some(name)) => {
                return self.items.push(Item::Model(Model { docs, name, schema, members: body.members, span }));
            }
            ("schema", Some(name)) => {
                return self.items.push(Item::Schema(SchemaDecl { docs, name, members: body.members, span }));
            }
            ("test", Some(name)) => {
                return self.items.push(Item::Test(Test { docs, name, training, parts: body.test_parts, span }));
            }
            ("fn", Some(name)) => {
                let body = block(body.statements, span);
                return self.items.push(Item::Function(Function { docs, name, parameters, result, body, span }));
            }
            ("optimizer", Some(name)) => {
                let Some(scope) = scope else { return };
                let body = block(body.statements, span);
                return self.items.push(Item::Optimizer(Optimizer { docs, name, parameters, scope, body, span }));
            }
            ("for", _) => {
                let (Some(pattern), Some(list)) = (heading.pattern, heading.value) else { return };
                let body = block(body.statements, span);
                let kind = StatementKind::For { each: ForEach { pattern, list }, body };
                return self.statements.push(Statement { kind, span });
            }
            ("features", Some(name)) => MemberKind::Features { name, known, fields: body.fields },
            ("sequence", Some(name)) => MemberKind::Sequence { name, keep, known, missing, fields: body.fields },
            ("train", _) => MemberKind::Train(Train { settings: body.settings, span }),
            ("embedding", name) => {
                let Some(width) = heading.value else { return };
                let target = match (name, heading.groups) {
                    (Some(name), groups) if groups.is_empty() => EmbeddingTarget::Fields { name, paths: heading.paths },
                    (name, groups) => EmbeddingTarget::EachOf { name, groups },
                };
                MemberKind::Embedding(Embedding { width, target, options: body.settings })
            }
            // A definition without a name.
            _ => return,
        };
        self.members.push(Member { docs, kind: member, span });
    }

    /// Keeps the name of a `let` or `layer` that does not parse: a member, or else a statement or a
    /// part of a test.
    pub fn broken_binding(&mut self, word: &str, name: Ident, place: BrokenPlace, span: Span) {
        let value = Expr { kind: ExprKind::Hole, span };
        match (place, word) {
            (BrokenPlace::Model, "let") => {
                let kind = MemberKind::Let(Let { pattern: Pattern::Name(name), value });
                self.members.push(Member { docs: Docs::new(), kind, span });
            }
            (BrokenPlace::Model, _) => {
                let kind = MemberKind::Layer(Layer { name, value });
                self.members.push(Member { docs: Docs::new(), kind, span });
            }
            (BrokenPlace::Body, "let") => {
                let kind = StatementKind::Let(Let { pattern: Pattern::Name(name), value });
                self.statements.push(Statement { kind, span });
            }
            (BrokenPlace::Body, _) => {
                let kind = StatementKind::Layer(Layer { name, value });
                self.statements.push(Statement { kind, span });
            }
            (BrokenPlace::Test, "let") => {
                let kind = TestPartKind::Let(Let { pattern: Pattern::Name(name), value });
                self.test_parts.push(TestPart { kind, span });
            }
            (BrokenPlace::Test, _) => {
                let kind = TestPartKind::Layer(Layer { name, value });
                self.test_parts.push(TestPart { kind, span });
            }
        }
    }

    /// Keeps the place of a statement that does not parse: as the last of its body, it is a value
    /// of which nothing is known.
    pub fn broken_statement(&mut self, span: Span) {
        let hole = Expr { kind: ExprKind::Hole, span };
        self.statements.push(Statement { kind: StatementKind::Expr(hole), span });
    }
}

/// What holds a `let` that does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrokenPlace {
    Model,
    Body,
    Test,
}

/// A block of these statements, the last of which is its value if it is an expression.
pub(super) fn block(mut statements: Vec<Statement>, span: Span) -> Block {
    let mut value = None;
    if let Some(Statement { kind: StatementKind::Expr(_), .. }) = statements.last()
        && let Some(Statement { kind: StatementKind::Expr(last), .. }) = statements.pop()
    {
        value = Some(Box::new(last));
    }
    Block { statements, value, span }
}

impl Builder<'_> {
    /// Adds a part of a heading that parsed.
    fn heading_part(&mut self, heading: &mut Heading, node: PestNode) {
        match node.as_rule() {
            Rule::doc => heading.docs.push(self.doc(&node)),
            Rule::identifier => heading.name = Some(self.ident(&node)),
            Rule::string => heading.name = Some(Ident { name: self.string(&node), span: self.span(&node) }),
            Rule::on_schema => heading.schema = Some(self.ident(&Children::new(node).need())),
            Rule::in_training => heading.training = true,
            Rule::parameters => heading.parameters = self.parameters(node),
            Rule::ty => heading.result = Some(self.ty(node)),
            Rule::scope => heading.scope = Some(self.scope(&node)),
            Rule::known => heading.known = Some(self.known(node)),
            Rule::keep => heading.keep = Some(self.keep(node)),
            Rule::missing_list => heading.missing = Some(self.missing(node)),
            Rule::expression => heading.value = Some(self.expression(node, 0)),
            Rule::each_of => heading.groups = Children::new(node).map(|group| self.ident(&group)).collect(),
            Rule::field_paths => heading.paths = Children::new(node).map(|path| self.field_path(path)).collect(),
            Rule::pattern => heading.pattern = Some(self.pattern(node)),
            // Marks and words.
            _ => {}
        }
    }
}
