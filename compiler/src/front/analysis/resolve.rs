//! Which definition each name of a file stands for, by the scopes of the language.

use super::declare::declared_parameters;
use super::{NameOccurrence, NameRole, Symbol, SymbolId, SymbolKind};
use crate::front::load::{Module, recorded_name};
use crate::front::value::Builtin;
use din_grammar::ast::{self, Block, Expr, ExprKind, ForEach, Ident, Item, MemberKind, StatementKind, TestPartKind};
use din_grammar::parts::ExprPart;
use din_grammar::{FileId, SourceMap, Span};
use rustc_hash::FxHashMap;

pub(super) struct Resolver<'a> {
    pub sources: &'a SourceMap,
    pub symbols: Vec<Symbol>,
    pub occurrences: Vec<NameOccurrence>,
    /// By group and name.
    pub fields: FxHashMap<(SymbolId, &'a str), SymbolId>,
    modules: &'a [Module],
    by_definition: FxHashMap<Span, SymbolId>,
    builtins: FxHashMap<&'static str, SymbolId>,
    /// Names of items and imports of the file.
    globals: FxHashMap<&'a str, SymbolId>,
    /// Names of the body at hand, by block.
    blocks: Vec<Vec<(&'a str, SymbolId)>>,
    /// Sizes and axes that types name.
    sizes: Vec<(&'a str, SymbolId)>,
    axes: Vec<(&'a str, SymbolId)>,
    /// The definition whose body is walked.
    owner: Option<SymbolId>,
    /// In a function that bears the name of a builtin, the name is the builtin's.
    own_name: Option<&'a str>,
    /// The block at hand.
    region: Span,
    /// What a `let` stands for, for the fields of records.
    lets: FxHashMap<SymbolId, &'a Expr>,
}

impl<'a> Resolver<'a> {
    /// Resolves the names of module `root`, which is file 0.
    pub fn run(modules: &'a [Module], sources: &'a SourceMap, root: usize) -> Self {
        let file = &modules[root].file;
        let mut resolver = Resolver {
            sources,
            symbols: Vec::new(),
            occurrences: Vec::new(),
            fields: FxHashMap::default(),
            modules,
            by_definition: FxHashMap::default(),
            builtins: FxHashMap::default(),
            globals: FxHashMap::default(),
            blocks: Vec::new(),
            sizes: Vec::new(),
            axes: Vec::new(),
            owner: None,
            own_name: None,
            region: file.span,
            lets: FxHashMap::default(),
        };
        for builtin in Builtin::all() {
            resolver.builtin(builtin, file.span);
        }
        for module in modules {
            for item in &module.file.items {
                resolver.item(item);
            }
        }
        file.imports.iter().for_each(|import| resolver.import(import));
        for item in &file.items {
            let Some(name) = item.name() else { continue };
            let Some(&id) = resolver.by_definition.get(&name.span) else { continue };
            resolver.occurs(name.span, id, NameRole::Definition);
            if !matches!(item, Item::Model(_)) {
                resolver.symbols[id.0 as usize].visible = Some(file.span);
                resolver.globals.entry(&name.name).or_insert(id);
            }
        }
        file.items.iter().for_each(|item| resolver.body(item));
        resolver
    }

    fn builtin(&mut self, (name, builtin): (&'static str, Builtin), everywhere: Span) {
        let symbol = Symbol {
            name: name.into(),
            kind: SymbolKind::Builtin,
            definition: None,
            whole: None,
            heading: builtin.form(),
            docs: Vec::new(),
            parameters: Vec::new(),
            owner: None,
            target: None,
            visible: Some(everywhere),
            own_column: None,
        };
        let id = self.add(symbol);
        self.builtins.insert(name, id);
    }

    pub(super) fn add(&mut self, symbol: Symbol) -> SymbolId {
        let id = SymbolId(self.symbols.len() as u32);
        if let Some(definition) = symbol.definition {
            self.by_definition.entry(definition).or_insert(id);
        }
        self.symbols.push(symbol);
        id
    }

    pub(super) fn bind(&mut self, name: &'a str, id: SymbolId) {
        if let Some(block) = self.blocks.last_mut() {
            block.push((name, id));
        }
    }

    pub(super) fn occurs(&mut self, span: Span, symbol: SymbolId, role: NameRole) {
        if span.file == FileId(0) {
            self.occurrences.push(NameOccurrence { span, symbol, role });
        }
    }

    fn import(&mut self, import: &'a ast::Use) {
        let (Some(first), Some(last)) = (import.path.first(), import.path.last()) else { return };
        let path: Vec<String> = import.path.iter().map(|part| part.name.clone()).collect();
        let called = path.join(".");
        let Some(module) = self.modules.iter().find(|m| m.name == called) else { return };
        let start = Span { start: 0, end: 0, ..module.file.span };
        let heading = if path[0] == "std" { called.clone() } else { recorded_name(&path) };
        let name = Ident { name: called, span: start };
        let symbol =
            Symbol { heading, docs: module.file.docs.clone(), ..self.symbol_of(&name, SymbolKind::Module, start) };
        let id = self.add(symbol);
        self.occurs(first.span.to(last.span), id, NameRole::Read);
        let everywhere = Some(self.region);
        for wanted in &import.names {
            let is_wanted = |item: &&Item| {
                !matches!(item, Item::Model(_)) && item.name().is_some_and(|name| name.name == wanted.name.name)
            };
            let Some(item) = module.file.items.iter().find(is_wanted) else { continue };
            let Some(&item) = item.name().and_then(|name| self.by_definition.get(&name.span)) else { continue };
            self.occurs(wanted.name.span, item, NameRole::Import);
            let (bound, id) = match &wanted.alias {
                None => (&wanted.name, item),
                Some(alias) => {
                    let target = self.symbols[item.0 as usize].clone();
                    let symbol = Symbol {
                        name: alias.name.clone(),
                        kind: SymbolKind::Alias,
                        definition: Some(alias.span),
                        whole: Some(wanted.name.span.to(alias.span)),
                        target: Some(item),
                        ..target
                    };
                    let id = self.add(symbol);
                    self.occurs(alias.span, id, NameRole::Definition);
                    (alias, id)
                }
            };
            self.symbols[id.0 as usize].visible = everywhere;
            self.globals.entry(&bound.name).or_insert(id);
        }
    }

    fn find(&self, name: &str) -> Option<SymbolId> {
        let bound = self.blocks.iter().rev().flat_map(|block| block.iter().rev()).find(|(n, _)| *n == name);
        let size = || self.sizes.iter().find(|(n, _)| *n == name);
        let builtin = || self.builtins.get(name).copied();
        bound
            .or_else(size)
            .map(|(_, id)| *id)
            .or_else(|| if self.own_name == Some(name) { builtin() } else { None })
            .or_else(|| self.globals.get(name).copied())
            .or_else(builtin)
    }

    fn read(&mut self, name: &str, span: Span) -> Option<SymbolId> {
        let id = self.find(name)?;
        self.occurs(span, id, NameRole::Read);
        Some(id)
    }

    fn read_ident(&mut self, name: &Ident) -> Option<SymbolId> {
        self.read(&name.name, name.span)
    }

    /// Reads a name that nothing is asked of.
    fn mention(&mut self, name: &Ident) {
        self.read_ident(name);
    }

    fn axis(&mut self, name: &Ident) {
        match self.axes.iter().find(|(n, _)| *n == name.name) {
            Some(&(_, id)) => self.occurs(name.span, id, NameRole::Read),
            None => self.mention(name),
        }
    }

    /// An axis that a type or `as` names, if it is not known yet.
    fn name_axis(&mut self, name: &'a Ident) {
        if self.axes.iter().any(|(n, _)| *n == name.name) {
            return self.axis(name);
        }
        let id = self.define(name, SymbolKind::Axis, name.span, self.region.start);
        self.axes.push((&name.name, id));
    }

    /// A name of the body at hand, to be read from `from` to the end of the block.
    fn define(&mut self, name: &'a Ident, kind: SymbolKind, whole: Span, from: u32) -> SymbolId {
        let end = self.region.end.max(from);
        let visible = Some(Span { start: from, end, ..self.region });
        let symbol = Symbol { visible, owner: self.owner, ..self.symbol_of(name, kind, whole) };
        let id = self.add(symbol);
        self.occurs(name.span, id, NameRole::Definition);
        id
    }

    fn bind_new(&mut self, name: &'a Ident, kind: SymbolKind, whole: Span) -> SymbolId {
        let id = self.define(name, kind, whole, whole.end);
        self.bind(&name.name, id);
        id
    }

    fn within(&mut self, region: Span, walk: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.region, region);
        self.blocks.push(Vec::new());
        walk(self);
        self.blocks.pop();
        self.region = outer;
    }

    fn body(&mut self, item: &'a Item) {
        (self.sizes, self.axes) = (Vec::new(), Vec::new());
        self.owner = item.name().and_then(|name| self.by_definition.get(&name.span).copied());
        match item {
            Item::Function(f) => {
                self.own_name = Some(&f.name.name);
                self.within(f.span, |me| {
                    me.parameters(item);
                    f.result.iter().for_each(|ty| me.ty(ty));
                    me.block(&f.body);
                });
                self.own_name = None;
            }
            Item::Optimizer(o) => self.within(o.span, |me| {
                me.parameters(item);
                me.block(&o.body);
            }),
            Item::Regularizer(r) => self.within(r.span, |me| {
                me.parameters(item);
                me.expr(&r.body);
            }),
            Item::Metric(m) => self.within(m.span, |me| me.parameters(item)),
            Item::Schema(s) => self.within(s.span, |me| {
                s.members.iter().for_each(|member| me.declare(member, s.span));
                s.members.iter().for_each(|member| me.member(member));
            }),
            Item::Model(m) => self.within(m.span, |me| me.model(m)),
            Item::Test(t) => self.within(t.span, |me| t.parts.iter().for_each(|part| me.test_part(part))),
        }
        self.owner = None;
    }

    /// All parameters are bound before their types: a size of the name of a parameter is that.
    fn parameters(&mut self, item: &'a Item) {
        let parameters = declared_parameters(item);
        for p in parameters {
            if let Some(&id) = self.by_definition.get(&p.name.span) {
                self.bind(&p.name.name, id);
                self.occurs(p.name.span, id, NameRole::Definition);
            }
        }
        for p in parameters {
            p.ty.iter().for_each(|ty| self.parameter_type(ty));
            p.default.iter().for_each(|value| self.expr(value));
        }
    }

    fn parameter_type(&mut self, ty: &'a ast::Type) {
        let dimensions = match &ty.kind {
            ast::TypeKind::Shape(dimensions) => dimensions,
            ast::TypeKind::Ragged { axis, element } => {
                self.name_axis(axis);
                element
            }
            ast::TypeKind::ListOf(item) => return self.parameter_type(item),
            ast::TypeKind::Named(_) => return,
        };
        for dimension in dimensions {
            let ast::Dimension::Name(name) = dimension else { continue };
            let bound = self.blocks.last().is_some_and(|block| block.iter().any(|(n, _)| *n == name.name));
            if bound || self.sizes.iter().any(|(n, _)| *n == name.name) {
                self.read_ident(name);
                continue;
            }
            let id = self.define(name, SymbolKind::Size, name.span, self.region.start);
            self.sizes.push((&name.name, id));
        }
    }

    /// A type whose names are known.
    fn ty(&mut self, ty: &'a ast::Type) {
        let dimensions = match &ty.kind {
            ast::TypeKind::Shape(dimensions) => dimensions,
            ast::TypeKind::Ragged { axis, element } => {
                self.axis(axis);
                element
            }
            ast::TypeKind::ListOf(item) => return self.ty(item),
            ast::TypeKind::Named(_) => return,
        };
        self.dimensions(dimensions);
    }

    fn dimensions(&mut self, dimensions: &'a [ast::Dimension]) {
        for dimension in dimensions {
            if let ast::Dimension::Name(name) = dimension {
                self.read_ident(name);
            }
        }
    }

    fn model(&mut self, model: &'a ast::Model) {
        if let Some(schema) = model.schema.as_ref()
            && let Some(id) = self.read_ident(schema)
        {
            let id = self.symbols[id.0 as usize].target.unwrap_or(id);
            let definition = self.symbols[id.0 as usize].definition;
            let items = self.modules.iter().flat_map(|module| &module.file.items);
            let found = items.filter_map(|item| match item {
                Item::Schema(s) if Some(s.name.span) == definition => Some(s),
                _ => None,
            });
            for member in found.take(1).flat_map(|s| &s.members) {
                self.declare(member, model.span);
            }
        }
        model.members.iter().for_each(|member| self.declare(member, model.span));
        model.members.iter().for_each(|member| self.member(member));
    }

    fn member(&mut self, member: &'a ast::Member) {
        match &member.kind {
            MemberKind::Features { fields, .. } | MemberKind::Sequence { fields, .. } => {
                fields.iter().for_each(|field| self.field_parts(field));
            }
            MemberKind::Label { classes, missing, .. } => classes.iter().chain(missing).for_each(|e| self.expr(e)),
            MemberKind::Key { .. } => {}
            MemberKind::Embedding(embedding) => {
                self.expr(&embedding.width);
                match &embedding.target {
                    ast::EmbeddingTarget::Fields { paths, .. } => paths.iter().for_each(|path| self.field_path(path)),
                    ast::EmbeddingTarget::EachOf { groups, .. } => {
                        groups.iter().for_each(|group| self.mention(group));
                    }
                }
                embedding.options.iter().for_each(|setting| self.setting(setting));
            }
            MemberKind::Hyper { default, space, condition, .. } => {
                [Some(default), space.as_ref(), condition.as_ref()].into_iter().flatten().for_each(|e| self.expr(e));
            }
            MemberKind::Let(l) => self.let_(l, member.span),
            MemberKind::Layer(l) => self.layer(l, member.span),
            MemberKind::Param(variables) => {
                variables.iter().for_each(|v| self.variable(v, SymbolKind::Weight, member.span));
            }
            MemberKind::Constant(variables) => {
                variables.iter().for_each(|v| self.variable(v, SymbolKind::Constant, member.span));
            }
            MemberKind::Predict { target, distribution } => {
                self.read_ident(target);
                self.expr(distribution);
            }
            MemberKind::Output { name, value } => {
                self.expr(value);
                self.bind_new(name, SymbolKind::Output, member.span);
            }
            MemberKind::Train(train) => train.settings.iter().for_each(|setting| self.setting(setting)),
            MemberKind::Report { metrics } => {
                for reported in metrics {
                    self.expr(&reported.metric);
                    reported.by.iter().for_each(|by| self.expr(by));
                }
            }
            MemberKind::Assert { condition } => self.expr(condition),
            MemberKind::Common { groups, by } => {
                groups.iter().chain([by]).for_each(|name| self.mention(name));
            }
            MemberKind::Request(ast::RequestDecl::By(key)) => self.mention(key),
            MemberKind::Request(ast::RequestDecl::Of { .. }) => {}
        }
    }

    fn field_parts(&mut self, field: &'a ast::FeatureField) {
        use ast::FeatureKindName as Kind;
        match &field.kind.kind {
            Kind::Category { size, of, .. } => {
                size.iter().for_each(|size| self.expr(size));
                if let Some(ast::IdsDecl::Tuple { fields, .. }) = of {
                    fields.iter().for_each(|path| self.field_path(path));
                }
            }
            Kind::Number { width } => width.iter().for_each(|width| self.expr(width)),
            Kind::Other(_) => {}
        }
        // The names in a function of columns are columns of the data.
    }

    fn field_path(&mut self, path: &'a ast::FieldPath) {
        if let Some(group) = self.read_ident(&path.group) {
            self.field_of(group, &path.field);
        }
    }

    fn field_of(&mut self, group: SymbolId, field: &Ident) {
        if let Some(&id) = self.fields.get(&(group, field.name.as_str())) {
            self.occurs(field.span, id, NameRole::Read);
        }
    }

    fn setting(&mut self, setting: &'a ast::Setting) {
        setting.values.iter().for_each(|value| self.expr(value));
        setting.weights.iter().for_each(|path| self.weight_path(path));
    }

    /// `tower.hidden.weight`: the first part is a name of the model.
    fn weight_path(&mut self, path: &'a Ident) {
        let first = path.name.split('.').next().unwrap_or(&path.name);
        let span = Span { end: path.span.start + first.len() as u32, ..path.span };
        self.read(first, span);
    }

    fn let_(&mut self, l: &'a ast::Let, whole: Span) {
        self.expr(&l.value);
        for name in l.pattern.names() {
            let id = self.bind_new(name, SymbolKind::Value, whole);
            self.lets.insert(id, &l.value);
        }
    }

    fn layer(&mut self, l: &'a ast::Layer, whole: Span) {
        self.expr(&l.value);
        self.bind_new(&l.name, SymbolKind::Layer, whole);
    }

    fn variable(&mut self, v: &'a ast::Variable, kind: SymbolKind, whole: Span) {
        v.ty.iter().for_each(|ty| self.ty(ty));
        v.init.iter().for_each(|init| self.expr(init));
        self.bind_new(&v.name, kind, whole);
    }

    fn test_part(&mut self, part: &'a ast::TestPart) {
        match &part.kind {
            TestPartKind::Let(l) => self.let_(l, part.span),
            TestPartKind::Layer(l) => self.layer(l, part.span),
            TestPartKind::Given { name, axes, shape, value } => {
                axes.iter().for_each(|axis| self.name_axis(axis));
                self.dimensions(shape);
                self.expr(value);
                self.bind_new(name, SymbolKind::Given, part.span);
            }
            TestPartKind::GivenWeight { path, value, .. } => {
                self.weight_path(path);
                self.expr(value);
            }
            TestPartKind::Expect { value, expected, within } => {
                [Some(value), Some(expected), within.as_ref()].into_iter().flatten().for_each(|e| self.expr(e));
            }
        }
    }

    fn block(&mut self, block: &'a Block) {
        self.within(block.span, |me| {
            for statement in &block.statements {
                match &statement.kind {
                    StatementKind::Let(l) => me.let_(l, statement.span),
                    StatementKind::Layer(l) => me.layer(l, statement.span),
                    StatementKind::Param(v) => me.variable(v, SymbolKind::Weight, statement.span),
                    StatementKind::Constant(v) => me.variable(v, SymbolKind::Constant, statement.span),
                    StatementKind::State(v) => me.variable(v, SymbolKind::State, statement.span),
                    StatementKind::Update { name, value } | StatementKind::Assign { name, value } => {
                        me.expr(value);
                        if let Some(id) = me.find(&name.name) {
                            me.occurs(name.span, id, NameRole::Write);
                        }
                    }
                    StatementKind::For { each, body } => {
                        me.expr(&each.list);
                        me.within(body.span, |me| {
                            me.pattern(each, body.span);
                            me.block(body);
                        });
                    }
                    StatementKind::Expr(e) => me.expr(e),
                }
            }
            block.value.iter().for_each(|value| me.expr(value));
        });
    }

    fn pattern(&mut self, each: &'a ForEach, region: Span) {
        for name in each.pattern.names() {
            let whole = name.span.to(each.list.span);
            let id = self.define(name, SymbolKind::LoopVariable, whole, region.start);
            self.bind(&name.name, id);
        }
    }

    fn comprehension(&mut self, value: &'a Expr, each: &'a [ForEach], region: Span) {
        let Some((outer, inner)) = each.split_first() else { return self.expr(value) };
        self.expr(&outer.list);
        self.within(region, |me| {
            me.pattern(outer, region);
            me.comprehension(value, inner, region);
        });
    }

    fn expr(&mut self, e: &'a Expr) {
        match &e.kind {
            ExprKind::Name(name) => {
                self.read(name, e.span);
            }
            ExprKind::Comprehension { value, each } => self.comprehension(value, each, e.span),
            ExprKind::Call { callee, arguments } => self.call(callee, arguments),
            ExprKind::Field { base, name } => {
                self.expr(base);
                // The fields of a record are those of the groups that it was made of.
                let mut groups = Vec::new();
                self.groups_in(base, 0, &mut groups);
                let fields = groups.iter().filter_map(|group| self.fields.get(&(*group, name.name.as_str())));
                let fields: Vec<SymbolId> = fields.copied().collect();
                if let [field] = fields.as_slice() {
                    self.occurs(name.span, *field, NameRole::Read);
                }
            }
            ExprKind::SecondName { value, axis } => {
                self.expr(value);
                self.name_axis(axis);
            }
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Text(_)
            | ExprKind::Bool(_)
            | ExprKind::Hole
            | ExprKind::Quantity { .. }
            | ExprKind::List(_)
            | ExprKind::Tuple(_)
            | ExprKind::Unary { .. }
            | ExprKind::Binary { .. }
            | ExprKind::If { .. }
            | ExprKind::Where { .. } => {
                for part in e.parts() {
                    match part {
                        ExprPart::Expr(part) => self.expr(part),
                        ExprPart::Block(block) => self.block(block),
                    }
                }
            }
        }
    }

    /// The groups that are named in an expression or in the `let`s that it names.
    fn groups_in(&self, e: &'a Expr, depth: usize, groups: &mut Vec<SymbolId>) {
        const MAX_LETS: usize = 8;
        if let ExprKind::Name(name) = &e.kind {
            let Some(id) = self.find(name) else { return };
            let symbol = &self.symbols[id.0 as usize];
            if matches!(symbol.kind, SymbolKind::Features | SymbolKind::Sequence) {
                if !groups.contains(&id) {
                    groups.push(id);
                }
            } else if let Some(value) = self.lets.get(&id).filter(|_| depth < MAX_LETS) {
                self.groups_in(value, depth + 1, groups);
            }
            return;
        }
        for part in e.parts() {
            if let ExprPart::Expr(part) = part {
                self.groups_in(part, depth, groups);
            }
        }
    }

    fn call(&mut self, callee: &'a Expr, arguments: &'a [ast::Argument]) {
        self.expr(callee);
        let called = match &callee.kind {
            ExprKind::Name(name) => self.find(name),
            _ => None,
        };
        let called = called.map(|id| self.symbols[id.0 as usize].target.unwrap_or(id));
        let of_axis = matches!(&callee.kind, ExprKind::Name(name) if name == "length" || name == "position");
        for argument in arguments {
            if let (Some(name), Some(called)) = (&argument.name, called)
                && let Some(id) = self.parameter_of(called, &name.name)
            {
                self.occurs(name.span, id, NameRole::Read);
            }
            match &argument.value.kind {
                ExprKind::Name(name) if of_axis && self.axes.iter().any(|(n, _)| n == name) => {
                    let name = Ident { name: name.clone(), span: argument.value.span };
                    self.axis(&name);
                }
                _ => self.expr(&argument.value),
            }
            argument.over.iter().for_each(|axis| self.axis(axis));
            argument.condition.iter().for_each(|condition| self.expr(condition));
        }
    }

    fn parameter_of(&self, called: SymbolId, name: &str) -> Option<SymbolId> {
        let symbol = &self.symbols[called.0 as usize];
        symbol.parameters.iter().find(|(_, own)| own == name)?;
        // The parameters of an item follow it.
        let after = called.0 as usize + 1..called.0 as usize + 1 + symbol.parameters.len();
        let of = |s: &Symbol| s.kind == SymbolKind::Parameter && s.name == name && s.owner == Some(called);
        let found = self.symbols.get(after.clone())?.iter().position(of)?;
        Some(SymbolId((after.start + found) as u32))
    }
}
