//! Symbols of definitions: items and their parameters, and the declarations of a model or schema.

use super::resolve::Resolver;
use super::{NameRole, Symbol, SymbolId, SymbolKind};
use din_grammar::ast::{self, FeatureKindName, FieldSource, Ident, IdsDecl, Item, Member, MemberKind};
use din_grammar::{SourceMap, Span};

/// What stands before the body of a definition, on one line.
pub(super) fn heading_of(item: &Item, sources: &SourceMap) -> String {
    let (span, end) = match item {
        Item::Function(f) => (f.span, f.body.span.start),
        Item::Optimizer(o) => (o.span, o.body.span.start),
        Item::Regularizer(r) => (r.span, r.span.end),
        Item::Metric(m) => (m.span, m.span.end),
        Item::Schema(s) => (s.span, s.name.span.end),
        Item::Model(m) => (m.span, m.schema.as_ref().unwrap_or(&m.name).span.end),
        Item::Test(t) => (t.span, t.name.span.end),
    };
    // A body that was read piece by piece begins where its definition does.
    let text = if end > span.start { sources.text(Span { end, ..span }) } else { sources.text(span) };
    on_one_line(text.split('{').next().unwrap_or(text))
}

/// With one blank for each run of white space.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn docs_of(item: &Item) -> &[String] {
    match item {
        Item::Function(f) => &f.docs,
        Item::Optimizer(o) => &o.docs,
        Item::Regularizer(r) => &r.docs,
        Item::Metric(m) => &m.docs,
        Item::Schema(s) => &s.docs,
        Item::Model(m) => &m.docs,
        Item::Test(t) => &t.docs,
    }
}

pub(super) fn declared_parameters(item: &Item) -> &[ast::ParameterDecl] {
    match item {
        Item::Function(f) => &f.parameters,
        Item::Optimizer(o) => &o.parameters,
        Item::Regularizer(r) => &r.parameters,
        Item::Metric(m) => &m.parameters,
        Item::Schema(_) | Item::Model(_) | Item::Test(_) => &[],
    }
}

/// The texts and names of the parameters.
pub(super) fn parameters_of(item: &Item, sources: &SourceMap) -> Vec<(String, String)> {
    let text = |p: &ast::ParameterDecl| (on_one_line(sources.text(p.span)), p.name.name.clone());
    declared_parameters(item).iter().map(text).collect()
}

fn span_of(item: &Item) -> Span {
    match item {
        Item::Function(f) => f.span,
        Item::Optimizer(o) => o.span,
        Item::Regularizer(r) => r.span,
        Item::Metric(m) => m.span,
        Item::Schema(s) => s.span,
        Item::Model(m) => m.span,
        Item::Test(t) => t.span,
    }
}

impl<'a> Resolver<'a> {
    /// The symbol of an item, and those of its parameters.
    pub(super) fn item(&mut self, item: &'a Item) -> Option<SymbolId> {
        let (name, kind) = (item.name()?, SymbolKind::of_item(item)?);
        let symbol = Symbol {
            heading: heading_of(item, self.sources),
            docs: docs_of(item).to_vec(),
            parameters: parameters_of(item, self.sources),
            ..self.symbol_of(name, kind, span_of(item))
        };
        let owner = self.add(symbol);
        for p in declared_parameters(item) {
            let heading = on_one_line(self.sources.text(p.span));
            let symbol = self.symbol_of(&p.name, SymbolKind::Parameter, p.span);
            // In what is no body, a parameter is named by calls alone.
            let visible = Some(span_of(item));
            self.add(Symbol { heading, owner: Some(owner), visible, ..symbol });
        }
        Some(owner)
    }

    /// A symbol without what only some have.
    pub(super) fn symbol_of(&self, name: &Ident, kind: SymbolKind, whole: Span) -> Symbol {
        Symbol {
            name: name.name.clone(),
            kind,
            definition: Some(name.span),
            whole: Some(whole),
            heading: on_one_line(self.sources.text(whole)),
            docs: Vec::new(),
            parameters: Vec::new(),
            owner: None,
            target: None,
            visible: None,
            own_column: None,
        }
    }

    /// Declares what a member of a model or schema declares beside its network, visible in
    /// `region`.
    pub(super) fn declare(&mut self, member: &'a Member, region: Span) {
        match &member.kind {
            MemberKind::Features { name, fields, .. } => {
                let group = self.group(member, name, SymbolKind::Features, region);
                fields.iter().for_each(|field| self.field(group, field));
            }
            MemberKind::Sequence { name, missing, fields, .. } => {
                let group = self.group(member, name, SymbolKind::Sequence, region);
                fields.iter().for_each(|field| self.field(group, field));
                self.mark(group, missing.as_ref());
            }
            MemberKind::Label { name, kind, classes, column, .. } => {
                let behind = match classes.last() {
                    None => kind.span,
                    Some(last) => {
                        let rest = Span { start: last.span.end, end: member.span.end, ..last.span };
                        let close = self.sources.text(rest).find(')').expect("din.pest: classes end with `)`");
                        Span { end: last.span.end + close as u32 + 1, ..last.span }
                    }
                };
                self.column_named(member, name, SymbolKind::Label, (column.as_ref(), behind), region);
            }
            MemberKind::Key { name, kind, column } => {
                self.column_named(member, name, SymbolKind::Key, (column.as_ref(), kind.span), region);
            }
            MemberKind::Embedding(embedding) => {
                if let Some(name) = embedding.name() {
                    self.declared(member, name, SymbolKind::Table, region);
                }
            }
            MemberKind::Hyper { name, .. } => {
                self.declared(member, name, SymbolKind::Hyper, region);
            }
            MemberKind::Let(_)
            | MemberKind::Layer(_)
            | MemberKind::Param(_)
            | MemberKind::Constant(_)
            | MemberKind::Predict { .. }
            | MemberKind::Train(_)
            | MemberKind::Report { .. }
            | MemberKind::Output { .. }
            | MemberKind::Assert { .. }
            | MemberKind::Common { .. }
            | MemberKind::Request { .. } => {}
        }
    }

    fn declared(&mut self, member: &'a Member, name: &'a Ident, kind: SymbolKind, region: Span) -> SymbolId {
        let symbol = self.symbol_of(name, kind, member.span);
        let heading = symbol.heading.split_once(" {").map_or(symbol.heading.as_str(), |(head, _)| head).to_owned();
        let symbol = Symbol { heading, docs: member.docs.clone(), visible: Some(region), ..symbol };
        let id = self.add(symbol);
        self.bind(&name.name, id);
        self.occurs(name.span, id, NameRole::Definition);
        id
    }

    fn group(&mut self, member: &'a Member, name: &'a Ident, kind: SymbolKind, region: Span) -> SymbolId {
        self.declared(member, name, kind, region)
    }

    fn column_named(
        &mut self,
        member: &'a Member,
        name: &'a Ident,
        kind: SymbolKind,
        (column, behind): (Option<&'a Ident>, Span),
        region: Span,
    ) {
        let id = self.declared(member, name, kind, region);
        if column.is_none() {
            self.symbols[id.0 as usize].own_column = Some(Span { start: behind.end, ..behind });
        }
    }

    fn field(&mut self, group: SymbolId, field: &'a ast::FeatureField) {
        let of_others = matches!(&field.kind.kind, FeatureKindName::Category { of: Some(IdsDecl::Tuple { .. }), .. });
        let own_column = match &field.source {
            None if !of_others => Some(Span { start: field.kind.span.end, ..field.kind.span }),
            None | Some(FieldSource::Column(_) | FieldSource::Computed(_)) => None,
        };
        let symbol = self.symbol_of(&field.name, SymbolKind::Field, field.span);
        self.add_field(group, Symbol { docs: field.docs.clone(), own_column, ..symbol }, &field.name);
        self.mark(group, field.missing.as_ref());
    }

    /// The field that is 1 where another is missing.
    fn mark(&mut self, group: SymbolId, missing: Option<&'a ast::MissingDecl>) {
        let Some((missing, name)) = missing.and_then(|m| Some((m, m.mark.as_ref()?))) else { return };
        let symbol = self.symbol_of(name, SymbolKind::Field, missing.span);
        self.add_field(group, symbol, name);
    }

    fn add_field(&mut self, group: SymbolId, symbol: Symbol, name: &'a Ident) {
        let id = self.add(Symbol { owner: Some(group), ..symbol });
        self.fields.entry((group, &name.name)).or_insert(id);
        self.occurs(name.span, id, NameRole::Definition);
    }
}
