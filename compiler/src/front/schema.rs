//! Schemas: the columns that several models share, `model m on shop`.
//!
//! A schema is declared before the model's own members, in the scope of its own file. What the
//! model does not read of it is left out: the walk runs with all of it, which finds what is read,
//! and then again with that alone.

use super::elaborator::Elaborator;
use super::load::{item_kind, listed};
use super::names::{self, Names};
use super::scope::NameScope;
use super::value::nearest;
use super::walk::InputKey;
use din_grammar::Diagnostic;
use din_grammar::ast::{self, MemberKind};
use rustc_hash::FxHashSet;

/// What a model reads of its schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SchemaReading {
    /// Group and field.
    pub fields: FxHashSet<(String, String)>,
    pub labels: FxHashSet<String>,
}

/// How much of the declarations is the schema's: the first of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SchemaExtent {
    pub features: usize,
    pub labels: usize,
}

impl<'a> Elaborator<'a> {
    /// The schema that the model names, with the module of its file.
    pub(super) fn schema_of(&mut self, module: usize, model: &'a ast::Model) -> Option<(usize, &'a ast::SchemaDecl)> {
        let name = model.schema.as_ref()?;
        let modules = self.modules;
        let known = &modules[module].names;
        let Some(&definition) = known.get(&name.name) else {
            let mut schemas: Vec<&str> = Vec::new();
            for (known, definition) in known {
                if definition.item.is_some_and(|id| matches!(self.item(id), ast::Item::Schema(_))) {
                    schemas.push(known);
                }
            }
            schemas.sort_unstable();
            let d = Diagnostic::error("E0204", format!("unknown schema `{}`", name.name), name.span, "not in scope");
            let d = match nearest(&name.name, schemas.iter().copied()) {
                Some(near) => d.did_you_mean(name.span, near),
                None if !schemas.is_empty() => d.help(format!("this file has {}", listed(&schemas))),
                None => {
                    d.help(format!("import it: `use file.{}`, or define it: `schema {} {{ … }}`", name.name, name.name))
                }
            };
            self.report(d);
            self.broken_schema = true;
            return None;
        };
        // A failed import is reported already.
        let found = definition.item.map(|id| (id, self.item(id)));
        match found {
            Some((id, ast::Item::Schema(schema))) => Some((id.module, schema)),
            Some((_, other)) => {
                let kind = item_kind(other);
                self.report(
                    Diagnostic::error("E0206", format!("`{}` is not a schema", name.name), name.span, "after `on`")
                        .note(format!("expected a schema\nfound {kind} `{}`", name.name))
                        .help("a schema is defined by `schema name { features … label … }`"),
                );
                self.broken_schema = true;
                None
            }
            None => {
                self.broken_schema = true;
                None
            }
        }
    }

    /// The members that declare columns, those of the schema first.
    pub(super) fn schema_members(&mut self, schema: &'a ast::SchemaDecl) -> Vec<&'a ast::Member> {
        let mut members = Vec::new();
        for member in &schema.members {
            let (word, span) = match &member.kind {
                MemberKind::Features { .. }
                | MemberKind::Sequence { .. }
                | MemberKind::Label { .. }
                | MemberKind::Key { .. }
                | MemberKind::Common { .. }
                | MemberKind::Request(_) => {
                    members.push(member);
                    continue;
                }
                MemberKind::Embedding(_) => ("embedding", member.span),
                MemberKind::Hyper { .. } => ("hyper", member.span),
                MemberKind::Let(_) => ("let", member.span),
                MemberKind::Layer(_) => ("layer", member.span),
                MemberKind::Param(_) => ("param", member.span),
                MemberKind::Constant(_) => ("constant", member.span),
                MemberKind::Predict { .. } => ("predict", member.span),
                MemberKind::Train(_) => ("train", member.span),
                MemberKind::Report { .. } => ("report", member.span),
                MemberKind::Output { .. } => ("output", member.span),
                MemberKind::Assert { .. } => ("assert", member.span),
            };
            let word_span = din_grammar::Span { end: span.start + word.len() as u32, ..span };
            self.report(
                Diagnostic::error("E0420", format!("`{word}` is no part of a schema"), word_span, "of a model")
                    .label(schema.name.span, "in this schema")
                    .note("expected `features`, `sequence`, `label`, `key`, `common` or `request`")
                    .help(format!("move it into the models: `model name on {} {{ … }}`", schema.name.name)),
            );
        }
        if members.is_empty() {
            let d = Diagnostic::error(
                "E0411",
                format!("schema `{}` declares no columns", schema.name.name),
                schema.name.span,
                "empty",
            );
            self.report(d.help("add `features name { … }` or `label name: binary`"));
        }
        members
    }

    /// Declares a schema in a scope of its own file, and gives its names to the model's.
    pub(super) fn declare_schema(
        &mut self,
        scope: &mut NameScope<'a>,
        (module, members): (usize, &[&'a ast::Member]),
        common: &[&'a str],
    ) {
        let mut own = NameScope::new(module, None);
        self.in_schema = true;
        for member in members {
            self.declare_columns(&mut own, member, common);
        }
        self.in_schema = false;
        self.schema_extent = SchemaExtent {
            features: self.declarations.schema.features.len(),
            labels: self.declarations.schema.labels.len(),
        };
        for binding in own.blocks.into_iter().flatten() {
            // An import or definition of the model's file under the name of one of the schema.
            let defined = self.modules[scope.module].names.get(binding.name).map(|definition| definition.span);
            if let Some(first) = defined.filter(|_| module != scope.module) {
                let message = format!("`{}` is defined twice", binding.name);
                self.report(
                    Diagnostic::error("E0203", message, first, "again here")
                        .label(binding.span, "first here, in the schema")
                        .help("rename one of them, or import under another name: `use m.{a as b}`"),
                );
                continue;
            }
            scope.bind_as(binding.name, binding.referent, binding.span);
        }
        scope.axes.extend(own.axes);
    }

    /// Whether a field of the schema is declared: in the second walk only what the first has read.
    pub(super) fn declares_field(&self, group: &str, field: &str) -> bool {
        match &self.reading {
            Some(reading) if self.in_schema => reading.fields.contains(&(group.to_owned(), field.to_owned())),
            Some(_) | None => true,
        }
    }

    pub(super) fn declares_label(&self, label: &str) -> bool {
        match &self.reading {
            Some(reading) if self.in_schema => reading.labels.contains(label),
            Some(_) | None => true,
        }
    }

    /// The labels that the graph of this walk reads.
    pub(super) fn note_labels(&mut self) {
        let labels = self.walk.inputs.keys().filter_map(|key| match key {
            InputKey::Label(label) | InputKey::Present(label) => Some(*label as usize),
            InputKey::Feature(_) | InputKey::Sample(_) | InputKey::SamplePrediction(_) => None,
        });
        self.declarations.named_labels.extend(labels);
    }

    /// What the model reads of its schema; `None` where that is all of it.
    pub(super) fn schema_reading(&self, model: &'a ast::Model, members: &[&'a ast::Member]) -> Option<SchemaReading> {
        let declarations = &self.declarations;
        let extent = self.schema_extent;
        let mut read: FxHashSet<usize> =
            declarations.used_features.union(&declarations.named_features).copied().collect();
        let parts: Vec<usize> = read
            .iter()
            .filter_map(|&f| declarations.schema.features[f].combination())
            .flat_map(|combination| combination.parts().iter().map(|&part| part as usize))
            .collect();
        read.extend(parts);
        let mut names = Names::default();
        model.members.iter().for_each(|member| names::in_member(member, &mut names));
        // The lengths of a list are those of one of its columns.
        for member in members {
            let MemberKind::Sequence { name, .. } = &member.kind else { continue };
            let group = declarations.groups.iter().find(|group| group.name == name.name);
            let range = group.expect("a group of the schema is declared").features.clone();
            let list = |f: &usize| {
                let feature = &declarations.schema.features[*f];
                feature.sequence.is_some() && feature.column().is_some()
            };
            let mark = range.clone().any(|f| read.contains(&f) && declarations.schema.features[f].sequence.is_none());
            let named = mark || names.contains_key(name.name.as_str());
            if named && !range.clone().any(|f| list(&f) && read.contains(&f)) {
                read.extend(range.clone().find(list));
            }
        }
        // A mark is made with the field that it is of.
        for member in members {
            let (MemberKind::Features { name, fields, .. } | MemberKind::Sequence { name, fields, .. }) = &member.kind
            else {
                continue;
            };
            let group = declarations.groups.iter().find(|group| group.name == name.name);
            let range = group.expect("a group of the schema is declared").features.clone();
            let index = |name: &ast::Ident| range.clone().find(|&f| declarations.schema.features[f].name == name.name);
            for field in fields {
                let mark = field.missing.as_ref().and_then(|missing| missing.mark.as_ref()).and_then(index);
                if mark.is_some_and(|mark| read.contains(&mark)) {
                    read.extend(index(&field.name));
                }
            }
        }
        let predicted = self.predictions.iter().map(|p| p.label as usize);
        let labels: FxHashSet<usize> = declarations.named_labels.iter().copied().chain(predicted).collect();
        let all_features = (0..extent.features).all(|f| read.contains(&f));
        if all_features && (0..extent.labels).all(|l| labels.contains(&l)) {
            return None;
        }
        let field = |f: usize| {
            let feature = &declarations.schema.features[f];
            (feature.group.clone(), feature.name.clone())
        };
        Some(SchemaReading {
            fields: (0..extent.features).filter(|f| read.contains(f)).map(field).collect(),
            labels: (0..extent.labels)
                .filter(|l| labels.contains(l))
                .map(|l| declarations.schema.labels[l].name.clone())
                .collect(),
        })
    }
}
