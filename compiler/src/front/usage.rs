//! What is written but never used. Runs only where there is no error, so that a fault is not
//! followed by warnings about its consequences.

use super::declarations::TableReader;
use super::distribution::usual;
use super::elaborator::Elaborator;
use super::load::Module;
use super::names::{self, Names};
use super::walk::InputKey;
use din_grammar::ast::{self, MemberKind, StatementKind, TestPartKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::FeatureKind;

impl<'a> Elaborator<'a> {
    /// Names of a file that nothing reads.
    pub fn unused_names(&mut self, module: &'a Module, library: bool) {
        let mut used = Names::default();
        for item in &module.file.items {
            names::in_item(item, &mut used);
        }
        for import in &module.file.imports {
            for wanted in &import.names {
                let bound = wanted.alias.as_ref().unwrap_or(&wanted.name);
                if !used.contains_key(bound.name.as_str()) {
                    let d = Diagnostic::warning(
                        "W0201",
                        format!("`{}` is imported and never used", bound.name),
                        bound.span,
                        "never used",
                    );
                    let removed = self.import_of(import, wanted);
                    self.report(d.help("remove it from the `use`").edit(removed, ""));
                }
            }
        }
        for item in &module.file.items {
            if let Some(name) = item.name()
                && !library
                && !matches!(item, ast::Item::Model(_))
                && !used.contains_key(name.name.as_str())
            {
                let kind = super::load::item_kind(item);
                self.report(
                    Diagnostic::warning(
                        "W0204",
                        format!("the {kind} `{}` is never used", name.name),
                        name.span,
                        "never used",
                    )
                    .help("remove it, or use it"),
                );
            }
            match item {
                ast::Item::Function(f) => {
                    let mut inside = Names::default();
                    names::in_block(&f.body, &mut inside);
                    names::in_parameters(&f.parameters, &mut inside);
                    // A type that names an axis does not use it; parameters are used by the
                    // body alone.
                    self.unused_parameters(&f.parameters, &inside);
                    self.unused_lets(&f.body, &inside);
                }
                ast::Item::Optimizer(o) => {
                    let mut inside = Names::default();
                    names::in_block(&o.body, &mut inside);
                    self.unused_parameters(&o.parameters, &inside);
                    self.unused_lets(&o.body, &inside);
                }
                ast::Item::Regularizer(r) => {
                    let mut inside = Names::default();
                    names::in_expr(&r.body, &mut inside);
                    self.unused_parameters(&r.parameters, &inside);
                }
                ast::Item::Metric(_) => {}
                ast::Item::Model(m) => self.unused_members(m),
                ast::Item::Schema(_) => {}
                ast::Item::Test(t) => self.unused_in_test(t),
            }
        }
    }

    /// What is removed so that a name is not imported: its line, or its place in the braces with a
    /// comma.
    fn import_of(&self, import: &ast::Use, wanted: &ast::UseName) -> Span {
        let text = self.sources.get(import.span.file).map_or("", |file| file.text.as_str());
        let own = wanted.alias.as_ref().map_or(wanted.name.span, |alias| wanted.name.span.to(alias.span));
        let blanks = |rest: &str| rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if let [_] = import.names.as_slice() {
            let end = import.span.end as usize;
            let rest = text.get(end..).unwrap_or("");
            let behind = blanks(rest);
            let line = behind + usize::from(rest[behind..].starts_with('\n'));
            return Span { end: (end + line) as u32, ..import.span };
        }
        let behind = text.get(own.end as usize..).unwrap_or("");
        match behind.trim_start().strip_prefix(',') {
            Some(next) => Span { end: (text.len() - next.len() + blanks(next)) as u32, ..own },
            // The last one: with the comma before.
            None => {
                let before = text.get(..own.start as usize).unwrap_or("").trim_end();
                let start = before.strip_suffix(',').unwrap_or(before).len();
                Span { start: start as u32, ..own }
            }
        }
    }

    fn unused(&mut self, what: &str, name: &ast::Ident) {
        let code = match what {
            "parameter" => "W0202",
            "hyper-parameter" => "W0205",
            _ => "W0203",
        };
        let d = Diagnostic::warning(code, format!("the {what} `{}` is never used", name.name), name.span, "never used");
        self.report(d.help("remove it, or use it"));
    }

    fn unused_parameters(&mut self, parameters: &'a [ast::ParameterDecl], inside: &Names<'a>) {
        for p in parameters {
            if !inside.contains_key(p.name.name.as_str()) {
                self.unused("parameter", &p.name);
            }
        }
    }

    /// Of several names at least one must be read: the others have to be called something.
    fn unused_let(&mut self, l: &'a ast::Let, inside: &Names<'a>) {
        let names = l.pattern.names();
        if !names.iter().any(|n| inside.contains_key(n.name.as_str())) {
            self.unused("value", names.first().expect("a pattern has a name"));
        }
    }

    fn unused_lets(&mut self, block: &'a ast::Block, inside: &Names<'a>) {
        for statement in &block.statements {
            match &statement.kind {
                StatementKind::Let(l) => self.unused_let(l, inside),
                StatementKind::Layer(l) if !inside.contains_key(l.name.name.as_str()) => self.unused("layer", &l.name),
                StatementKind::Param(v) if !inside.contains_key(v.name.name.as_str()) => self.unused("weight", &v.name),
                StatementKind::Constant(v) if !inside.contains_key(v.name.name.as_str()) => {
                    self.unused("constant", &v.name);
                }
                StatementKind::For { body, .. } => self.unused_lets(body, inside),
                StatementKind::Layer(_)
                | StatementKind::Param(_)
                | StatementKind::Constant(_)
                | StatementKind::State(_)
                | StatementKind::Update { .. }
                | StatementKind::Assign { .. }
                | StatementKind::Expr(_) => {}
            }
        }
    }

    fn unused_members(&mut self, model: &'a ast::Model) {
        let mut used = Names::default();
        for member in &model.members {
            names::in_member(member, &mut used);
        }
        for member in &model.members {
            match &member.kind {
                MemberKind::Let(l) => self.unused_let(l, &used),
                MemberKind::Param(variables) => {
                    for v in variables.iter().filter(|v| !used.contains_key(v.name.name.as_str())) {
                        self.unused("weight", &v.name);
                    }
                }
                MemberKind::Constant(variables) => {
                    for v in variables.iter().filter(|v| !used.contains_key(v.name.name.as_str())) {
                        self.unused("constant", &v.name);
                    }
                }
                MemberKind::Layer(l) if !used.contains_key(l.name.name.as_str()) => self.unused("layer", &l.name),
                MemberKind::Hyper { name, .. } if !used.contains_key(name.name.as_str()) => {
                    self.unused("hyper-parameter", name);
                }
                MemberKind::Layer(_)
                | MemberKind::Hyper { .. }
                | MemberKind::Features { .. }
                | MemberKind::Sequence { .. }
                | MemberKind::Label { .. }
                | MemberKind::Key { .. }
                | MemberKind::Embedding(_)
                | MemberKind::Predict { .. }
                | MemberKind::Train(_)
                | MemberKind::Report { .. }
                | MemberKind::Output { .. }
                | MemberKind::Assert { .. }
                | MemberKind::Common { .. }
                | MemberKind::Request(_) => {}
            }
        }
    }

    /// Values and layers of a test that it does not read.
    fn unused_in_test(&mut self, test: &'a ast::Test) {
        let mut used = Names::default();
        names::in_test(test, &mut used);
        for part in &test.parts {
            match &part.kind {
                TestPartKind::Let(l) => self.unused_let(l, &used),
                TestPartKind::Layer(l) if !used.contains_key(l.name.name.as_str()) => self.unused("layer", &l.name),
                TestPartKind::Given { name, .. } if !used.contains_key(name.name.as_str()) => {
                    self.unused("value", name);
                }
                TestPartKind::Layer(_)
                | TestPartKind::Given { .. }
                | TestPartKind::GivenWeight { .. }
                | TestPartKind::Expect { .. } => {}
            }
        }
    }

    /// Features, tables and labels that come to nothing.
    pub fn unused_declarations(&mut self) {
        // A model reads of a schema what it needs.
        for f in self.schema_extent.features..self.declarations.schema.features.len() {
            if !self.declarations.used_features.contains(&f) {
                let path = self.declarations.schema.features[f].path();
                let span = self.declarations.feature_spans[f];
                let d = Diagnostic::warning(
                    "W0401",
                    format!("the feature `{path}` is never used"),
                    span,
                    "read and thrown away",
                );
                let number = matches!(self.declarations.schema.features[f].kind, FeatureKind::Dense { .. });
                self.report(if number {
                    d.help(format!("use it, `{path}`, or remove it"))
                } else if self.declarations.tables_of[f].is_empty() {
                    d.help(format!("give it a table, `embedding name [16] for {path}`, or remove it"))
                } else {
                    d.help(format!("embed it, `embed({path})`, or remove it"))
                });
            }
        }
        for t in 0..self.declarations.tables.len() {
            // A feature that is never used has been reported already; its table follows from it.
            let each = self.declarations.table_readers[t] != TableReader::Name;
            let used = &self.declarations.used_features;
            let reported = each && !self.declarations.tables[t].features.iter().any(|f| used.contains(&(*f as usize)));
            let of_schema = |f: &u32| (*f as usize) < self.schema_extent.features;
            if reported && self.declarations.tables[t].features.iter().all(of_schema) {
                // Of a schema some fields may stay unread, but not all that have tables here.
                let span = self.declarations.table_spans[t];
                let mut read = self.declarations.used_tables.iter().map(|&other| self.declarations.table_spans[other]);
                if read.all(|other| other != span) {
                    let d = Diagnostic::warning("W0402", "no table of these groups is read", span, "never read");
                    self.report(d.help("embed one of their fields, or remove it"));
                }
                continue;
            }
            if !reported && !self.declarations.used_tables.contains(&t) {
                let (name, span) = (self.declarations.tables[t].name.clone(), self.declarations.table_spans[t]);
                let d = Diagnostic::warning("W0402", format!("the table `{name}` is never read"), span, "never read");
                self.report(match self.declarations.table_readers[t] {
                    TableReader::Family(_) => d.help(format!("call it, `{}(…)`, or remove it", self.reader_name(t))),
                    TableReader::Name | TableReader::Embed => d.help("embed its features, or remove it"),
                });
            }
        }
        for l in self.schema_extent.labels..self.declarations.schema.labels.len() {
            let read = self.walk.inputs.contains_key(&InputKey::Label(l as u32));
            if !read && !self.predictions.iter().any(|p| p.label as usize == l) {
                let kind = self.declarations.schema.labels[l].kind;
                let (name, span) = (self.declarations.schema.labels[l].name.clone(), self.declarations.label_spans[l]);
                let d = Diagnostic::warning(
                    "W0601",
                    format!("the label `{name}` is never predicted, nor read by the loss"),
                    span,
                    "never used",
                );
                self.report(match usual(kind) {
                    Some(usual) => d.help(format!("add `predict {name} ~ {}`, or remove it", usual.example())),
                    None => d.help(format!("multiply the loss by it, `{name} * …`, or remove it")),
                });
            }
        }
    }
}
