//! Declarations of a model: hyper-parameters, features, sequences, labels, keys and embedding
//! tables.

use super::declarations::{FeatureGroup, PendingKnown};
use super::elaborator::Elaborator;
use super::field::FieldGroup;
use super::load::listed;
use super::names;
use super::scope::{NameScope, NamedAxis, Referent};
use super::search::{HyperParameter, SearchSpace};
use super::value::{ExprValue, nearest};
use din_grammar::ast::{self, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::{
    Feature, InBatchRequests, Keep, Key, KeyType, Label, LabelKind, MissingLabel, Requests, Sequence,
};

/// What is said of the lists of a sequence.
type ListDecls<'a> = (Option<&'a ast::KeepDecl>, Option<&'a ast::MissingDecl>);

impl<'a> Elaborator<'a> {
    /// Reads all declarations of the model into `declarations`, and binds their names.
    pub fn declare(
        &mut self,
        scope: &mut NameScope<'a>,
        schema: Option<(usize, &[&'a ast::Member])>,
        model: &'a ast::Model,
        sets: &[(String, String, Span)],
    ) {
        let of_schema = schema.map_or(&[][..], |(_, members)| members);
        let all: Vec<&'a ast::Member> = of_schema.iter().copied().chain(&model.members).collect();
        let common = common_groups(&all);
        if let Some(schema) = schema {
            self.declare_schema(scope, schema, &common);
        }
        self.hypers(scope, model, sets);
        for member in &model.members {
            self.declare_columns(scope, member, &common);
        }
        self.finish_columns(scope, &all);
        self.declarations.tables_of = vec![Vec::new(); self.declarations.schema.features.len()];
        for member in &model.members {
            if let MemberKind::Embedding(e) = &member.kind {
                self.embedding(scope, e, member.span);
            }
        }
    }

    /// Declares a group, label or key; `common` are the groups that requests have in common.
    pub(super) fn declare_columns(&mut self, scope: &mut NameScope<'a>, member: &'a ast::Member, common: &[&'a str]) {
        match &member.kind {
            MemberKind::Features { name, known, fields } => {
                let common = common.contains(&name.name.as_str());
                self.group(scope, name, None, (common, known.as_ref()), fields);
            }
            MemberKind::Sequence { name, keep, known, missing, fields } => {
                let common = common.contains(&name.name.as_str());
                self.group(scope, name, Some((keep.as_ref(), missing.as_ref())), (common, known.as_ref()), fields);
            }
            MemberKind::Label { name, kind, classes, column, missing } => {
                self.label(scope, name, (kind, classes), column.as_ref(), missing.as_ref());
            }
            MemberKind::Key { name, kind, column } => self.key(scope, name, kind, column.as_ref()),
            MemberKind::Embedding(_)
            | MemberKind::Hyper { .. }
            | MemberKind::Let(_)
            | MemberKind::Layer(_)
            | MemberKind::Param(_)
            | MemberKind::Constant(_)
            | MemberKind::Predict { .. }
            | MemberKind::Train(_)
            | MemberKind::Report { .. }
            | MemberKind::Output { .. }
            | MemberKind::Assert { .. }
            | MemberKind::Common { .. }
            | MemberKind::Request(_) => {}
        }
    }

    /// What can be said of columns when all of them are declared.
    pub(super) fn finish_columns(&mut self, scope: &NameScope<'a>, members: &[&'a ast::Member]) {
        self.finish_fields(scope);
        self.requests(members);
        self.columns(members);
        self.output_columns(members);
    }

    /// Binds a name of the model; refuses one that is taken, by the model or by an import.
    pub fn claim(&mut self, scope: &mut NameScope<'a>, name: &'a ast::Ident, bound: Referent<'a>) -> bool {
        let imported = self.modules[scope.module].names.get(&name.name).map(|d| d.span);
        let first = scope.find(&name.name).map(|b| b.span).or(imported);
        if let Some(first) = first {
            self.report(
                Diagnostic::error("E0203", format!("`{}` is defined twice", name.name), name.span, "again here")
                    .label(first, "first here")
                    .help("rename one of them"),
            );
            return false;
        }
        scope.bind_as(&name.name, bound, name.span);
        true
    }

    pub(super) fn hypers(&mut self, scope: &mut NameScope<'a>, model: &'a ast::Model, sets: &[(String, String, Span)]) {
        let mut known: Vec<&str> = Vec::new();
        for member in &model.members {
            let MemberKind::Hyper { name, default, space, condition } = &member.kind else { continue };
            known.push(&name.name);
            let value = self.expr(scope, default);
            let number = self.number(value, &format!("the hyper-parameter `{}`", name.name), default.span);
            let space = match (space, number) {
                (Some(space), Some(n)) => self.space(scope, name, n, default.span, space),
                _ => None,
            };
            let what = format!("`{}`", name.name);
            let mut value = number.filter(|n| self.within_f32(*n, &what, default.span));
            if let Some(condition) = condition
                && !self.hyper_condition(scope, condition)
            {
                let set = |(key, _, span): &(String, String, Span)| (key.clone(), key_span(key, *span));
                for (key, at) in sets.iter().filter(|s| s.0 == name.name).map(set) {
                    self.absent_hyper(&key, condition.span, at);
                }
                self.claim(scope, name, Referent::Absent(condition.span));
                self.declarations.hypers.push(HyperParameter { name: name.name.clone(), value: None, space });
                continue;
            }
            for (_, text, span) in sets.iter().filter(|s| s.0 == name.name) {
                match text.trim().replace('_', "").parse::<f64>() {
                    Ok(n) if n.is_finite() => value = self.within_f32(n, &what, *span).then_some(n),
                    Ok(_) | Err(_) => {
                        value = None;
                        self.report(
                            Diagnostic::error("E0307", format!("{what} must be a number"), *span, "not a number")
                                .label(name.span, "declared here")
                                .note(format!(
                                    "expected a number, such as `{}`\nfound `{text}`",
                                    number.unwrap_or(1.0)
                                )),
                        );
                    }
                }
            }
            let bound = value.map_or(ExprValue::Poison, ExprValue::Number);
            self.note(scope, name.span, &bound);
            if self.claim(scope, name, Referent::Value(bound))
                && let Some(value) = value
            {
                self.declarations.hypers.push(HyperParameter { name: name.name.clone(), value: Some(value), space });
            }
        }
        for (name, _, span) in sets {
            if known.contains(&name.as_str()) {
                continue;
            }
            let mut d = Diagnostic::error(
                "E0212",
                format!("model `{}` has no hyper-parameter `{name}`", model.name.name),
                key_span(name, *span),
                "nothing to set",
            );
            d.help = Some(match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => format!("declare it in the model: `hyper {name} = …`"),
                None => format!("it has {}", listed(&known)),
            });
            self.report(d);
        }
    }

    /// Whether the condition of a hyper-parameter holds. One that reads a hyper-parameter which is
    /// not there does not; a faulty one is taken to hold.
    fn hyper_condition(&mut self, scope: &mut NameScope<'a>, condition: &'a ast::Expr) -> bool {
        let mut read = names::Names::default();
        names::in_expr(condition, &mut read);
        let absent = |name: &&str| matches!(scope.find(name).map(|b| &b.referent), Some(Referent::Absent(_)));
        if read.keys().any(absent) {
            return false;
        }
        match self.expr(scope, condition) {
            ExprValue::Bool(holds) => holds,
            ExprValue::Poison => true,
            other => {
                let found = self.describe(&other);
                let message = "a condition of a hyper-parameter is a compile-time bool";
                self.report(
                    Diagnostic::error("E0310", message, condition.span, "not a bool").note(format!(
                        "expected a comparison of hyper-parameters, such as `layers > 1`\nfound {found}"
                    )),
                );
                true
            }
        }
    }

    /// Reports the use of a hyper-parameter whose condition does not hold.
    pub(super) fn absent_hyper(&mut self, name: &str, condition: Span, at: Span) -> ExprValue<'a> {
        let text = self.sources.text(condition).to_owned();
        let set = self.sources.get(at.file).is_some_and(|file| file.name == super::SETTING);
        let d = Diagnostic::error("E0212", format!("there is no `{name}` here"), at, "not there")
            .label(condition, "this does not hold");
        self.fault(if set {
            d.help(format!("set `{name}` only where `{text}`"))
        } else {
            d.help(format!("read it where its condition holds: `if {text} {{ … }} else {{ … }}`"))
        })
    }

    /// `in log(1e-4, 1e-2)`, `in linear(0, 1)`, `in [16, 32]`
    fn space(
        &mut self,
        scope: &mut NameScope<'a>,
        name: &ast::Ident,
        n: f64,
        at: Span,
        space: &'a ast::Expr,
    ) -> Option<SearchSpace> {
        let (word, items, span): (&str, Vec<&'a ast::Expr>, Span) = match &space.kind {
            ast::ExprKind::List(items) => ("list", items.iter().collect(), space.span),
            ast::ExprKind::Call { callee, arguments } => match &callee.kind {
                ast::ExprKind::Name(w) if arguments.iter().all(ast::Argument::is_plain) => {
                    (w, arguments.iter().map(|a| &a.value).collect(), callee.span)
                }
                _ => ("", Vec::new(), space.span),
            },
            _ => ("", Vec::new(), space.span),
        };
        let mut bounds = Vec::new();
        for item in items {
            let value = self.expr(scope, item);
            match self.number(value, "a bound of a search space", item.span) {
                Some(n) => bounds.push(n),
                None => return None,
            }
        }
        let found = match (word, bounds.as_slice()) {
            ("list", [_, ..]) => Some(SearchSpace::Choices(bounds.clone())),
            ("log", &[low, high]) if 0.0 < low && low < high => Some(SearchSpace::Log { low, high }),
            ("linear", &[low, high]) if low < high => Some(SearchSpace::Linear { low, high }),
            _ => None,
        };
        let Some(found) = found else {
            self.report(
                Diagnostic::error("E0410", format!("not a search space for `{}`", name.name), span, "not understood")
                    .help("write `log(low, high)` with 0 < low < high, `linear(low, high)`, or a list of values"),
            );
            return None;
        };
        if !found.contains(n) {
            self.report(
                Diagnostic::error(
                    "E0410",
                    format!("`{}` starts outside its search space", name.name),
                    at,
                    format!("{n}"),
                )
                .label(space.span, "the space")
                .help("widen the space, or start inside it"),
            );
        }
        Some(found)
    }

    /// `common user, visited by request_id`, `request by request_id`, `request of 64`: checks the
    /// names, and notes what a request is.
    fn requests(&mut self, members: &[&'a ast::Member]) {
        let mut first: Option<Span> = None;
        let mut seen: Vec<&'a ast::Ident> = Vec::new();
        for member in members {
            let (groups, by): (&'a [ast::Ident], _) = if let MemberKind::Common { groups, by } = &member.kind {
                (groups, Some(by))
            } else if let MemberKind::Request(request) = &member.kind {
                match request {
                    ast::RequestDecl::By(key) => (&[], Some(key)),
                    ast::RequestDecl::Of { .. } => (&[], None),
                }
            } else {
                continue;
            };
            if let Some(first) = first {
                let d = Diagnostic::error("E0203", "requests are declared twice", member.span, "again here");
                self.report(d.label(first, "first here").help(
                    "one line says what a request is: `common a, b by request_id`, or without common groups \
                     `request by request_id`",
                ));
                continue;
            }
            first = Some(member.span);
            let known: Vec<&str> = self.declarations.groups.iter().map(|g| g.name).collect();
            for group in groups {
                if let Some(before) = seen.iter().find(|s| s.name == group.name) {
                    let d = Diagnostic::error("E0203", format!("`{}` stands twice", group.name), group.span, "again");
                    self.report(d.label(before.span, "first here").help("remove one of them"));
                } else if !known.contains(&group.name.as_str()) {
                    self.unknown_word("E0414", "group of features", group, &known);
                }
                seen.push(group);
            }
            let Some(by) = by else {
                self.in_batch_requests(member);
                continue;
            };
            let keys: Vec<&str> = self.declarations.schema.keys.iter().map(|k| k.name.as_str()).collect();
            let Some(key) = keys.iter().position(|k| *k == by.name) else {
                let mut d = Diagnostic::error("E0414", format!("`{}` is no key", by.name), by.span, "not a key");
                d = match nearest(&by.name, keys.iter().copied()) {
                    Some(near) => d.did_you_mean(by.span, near),
                    None => d.help(format!("declare it: `key {}: int64`", by.name)),
                };
                self.report(d.note("expected the key that all rows of one request have in common"));
                continue;
            };
            let location = self.location(member.span);
            self.declarations.schema.requests = Some(Requests { key: key as u32, location });
        }
    }

    /// `request of 64`
    fn in_batch_requests(&mut self, member: &'a ast::Member) {
        let MemberKind::Request(ast::RequestDecl::Of { count, span }) = &member.kind else {
            unreachable!("only `request of` has no key")
        };
        let size = u32::try_from(*count).ok().filter(|size| *size >= 2);
        if size.is_none() {
            let message = "a request has from 2 to 4294967295 samples";
            let d = Diagnostic::error("E0410", message, *span, format!("found {count}"));
            self.report(d.help(
                "it is how many samples of a batch meet in the loss: `request of 64` gives each of them 63 others",
            ));
        }
        // A model with the fault has requests, too: its loss may be right.
        let size = size.unwrap_or(2);
        let location = self.location(member.span);
        self.declarations.schema.in_batch = Some(InBatchRequests { size, location });
    }

    fn group(
        &mut self,
        scope: &mut NameScope<'a>,
        name: &'a ast::Ident,
        sequence: Option<ListDecls<'a>>,
        (common, known): (bool, Option<&'a ast::KnownDecl>),
        fields: &'a [ast::FeatureField],
    ) {
        let (keep, missing) = sequence.unwrap_or_default();
        let sequence = sequence.is_some();
        let index = self.declarations.groups.len();
        let fresh = self.claim(scope, name, Referent::Value(ExprValue::Group(index)));
        let axis = sequence.then_some(self.declarations.schema.sequences.len() as u32);
        // A sequence of which nothing is read has no axis.
        let read = fields.is_empty() || fields.iter().any(|field| self.declares_field(&name.name, &field.name.name));
        if sequence && read {
            if let Some(keep) = keep
                && (keep.count == 0 || keep.count > u64::from(u32::MAX))
            {
                let bound = if keep.count == 0 { "at least one entry" } else { "fewer entries than 2 ^ 32" };
                self.report(
                    Diagnostic::error("E0413", format!("a sequence keeps {bound}"), keep.span, keep.count.to_string())
                        .help("leave `(keep …)` out to keep all"),
                );
            }
            let location = self.location(name.span);
            self.declarations.schema.sequences.push(Sequence {
                name: name.name.clone(),
                keep: keep.map(|k| Keep { last: k.last, count: k.count.clamp(1, u64::from(u32::MAX)) as u32 }),
                missing: missing.is_some(),
                common,
                location,
            });
            if fresh {
                let axis = crate::graph::AxisId(1 + self.declarations.schema.sequences.len() as u32);
                scope.axes.push(NamedAxis { name: &name.name, axis: Some(axis), span: name.span });
            }
        }
        let start = self.declarations.schema.features.len();
        // Its name is bound: what the fields say may name it.
        self.declarations.groups.push(FeatureGroup { name: &name.name, span: name.span, features: start..start });
        if fields.is_empty() {
            let d = Diagnostic::error("E0411", format!("group `{}` has no fields", name.name), name.span, "empty");
            self.report(d.help("add a field, or remove the group"));
        }
        let at_prediction = !matches!(known, Some(ast::KnownDecl::AfterLabel(_)));
        let group = FieldGroup { name, sequence: axis, common, at_prediction };
        if let Some(ast::KnownDecl::Before { times, moment, span }) = known
            && read
        {
            self.declarations.known.push(PendingKnown { group, times, moment, span: *span });
        }
        let mut names: Vec<&'a ast::Ident> = Vec::new();
        for field in fields {
            self.field_of(scope, group, field, &mut names);
        }
        self.declarations.groups[index].features.end = self.declarations.schema.features.len();
        if let Some(mark) = missing.and_then(|missing| missing.mark.as_ref())
            && self.declares_field(&name.name, &mark.name)
        {
            let of_list = |feature: &&Feature| feature.sequence == axis;
            let column = self.declarations.schema.features[start..].iter().filter(of_list).find_map(Feature::column);
            if let Some(column) = column.map(str::to_string) {
                self.list_mark(scope, group, mark, column);
            }
        }
    }

    fn label(
        &mut self,
        scope: &mut NameScope<'a>,
        name: &'a ast::Ident,
        (kind, classes): (&'a ast::Ident, &'a [ast::Expr]),
        column: Option<&'a ast::Ident>,
        missing: Option<&'a ast::Expr>,
    ) {
        if !self.declares_label(&name.name) {
            return;
        }
        let (known, classes) = match self.label_kind(scope, kind, classes) {
            Some((kind, classes)) => (Some(kind), classes),
            None => (None, Vec::new()),
        };
        // Of a label of an unknown kind nothing more is said.
        self.unpredicted |= known.is_none();
        let missing = missing.map(|m| self.missing_label(scope, &name.name, known, &classes, m));
        let kind = known.unwrap_or(LabelKind::Binary);
        let index = self.declarations.schema.labels.len();
        let location = self.location(name.span);
        if self.claim(scope, name, Referent::Label(index)) {
            let column = column.unwrap_or(name).name.clone();
            let label = Label { name: name.name.clone(), column, kind, classes, missing, location };
            self.declarations.schema.labels.push(label);
            self.declarations.label_spans.push(name.span);
        }
    }

    /// The kind of a label, and of `class("photo", "video")` the texts.
    fn label_kind(
        &mut self,
        scope: &mut NameScope<'a>,
        kind: &'a ast::Ident,
        classes: &'a [ast::Expr],
    ) -> Option<(LabelKind, Vec<String>)> {
        const CLASSES: &str = "write their number, `class(5)`, or their texts, `class(\"photo\", \"video\")`";
        if kind.name == LabelKind::CLASS {
            if classes.is_empty() {
                let d = Diagnostic::error("E0401", "which classes?", kind.span, "neither a number nor texts");
                self.report(d.help(CLASSES));
                return None;
            }
            let (size, texts, span) = self.classes(scope, classes)?;
            if !(2..=LabelKind::MAX_CLASSES as usize).contains(&size) {
                let most = LabelKind::MAX_CLASSES;
                let message = format!("a label has from 2 to {most} classes");
                let d = Diagnostic::error("E0401", message, span, format!("found {size}"));
                self.report(d.help(match size {
                    0 | 1 => CLASSES,
                    _ => "to choose among so many, rank them: `common` features and a loss over requests",
                }));
                return None;
            }
            return Some((LabelKind::Class { size: size as u32 }, texts));
        }
        let Some(known) = LabelKind::PLAIN.into_iter().find(|known| known.word() == kind.name) else {
            self.unknown_word("E0401", "kind of label", kind, &LabelKind::words().collect::<Vec<_>>());
            return None;
        };
        if let [first, .., last] | [first @ last] = classes {
            let span = Span { end: last.span.end, ..first.span };
            let message = format!("`{}` has no classes", kind.name);
            let d = Diagnostic::error("E0401", message, span, "only `class` has them");
            self.report(d.help(format!("write `{}` alone, or `class(…)`", kind.name)));
        }
        Some((known, Vec::new()))
    }

    /// How many classes, their texts if they have some, and where they stand.
    fn classes(&mut self, scope: &mut NameScope<'a>, classes: &'a [ast::Expr]) -> Option<(usize, Vec<String>, Span)> {
        let (first, last) = (classes.first()?, classes.last()?);
        let span = Span { end: last.span.end, ..first.span };
        let mut texts: Vec<String> = Vec::new();
        for class in classes {
            let text =
                match self.expr(scope, class) {
                    ExprValue::Poison => return None,
                    ExprValue::Number(n) if classes.len() == 1 && n >= 0.0 && n.fract() == 0.0 => {
                        return Some((n as usize, Vec::new(), span));
                    }
                    ExprValue::Text(text) => text.to_string(),
                    other => {
                        let found = self.describe(&other);
                        let expected =
                            if classes.len() == 1 { "a whole number, or texts" } else { "a text for each class" };
                        let d = Diagnostic::error("E0401", "classes are counted or named", class.span, found.clone());
                        self.report(d.note(format!("expected {expected}\nfound {found}")).help(
                            "write `class(5)` for the numbers 0 to 4, or `class(\"photo\", \"video\")` for texts",
                        ));
                        return None;
                    }
                };
            if text.is_empty() {
                let d = Diagnostic::error("E0401", "a class has an empty text", class.span, "counts as a null");
                self.report(d.help("name it in the data, or declare the label with `missing`"));
                return None;
            }
            if let Some(before) = texts.iter().position(|known| *known == text) {
                let d =
                    Diagnostic::error("E0401", format!("the class {text:?} stands here twice"), class.span, "again");
                self.report(d.label(classes[before].span, "first here").help("remove one of them"));
                return None;
            }
            texts.push(text);
        }
        Some((texts.len(), texts, span))
    }

    /// The value that stands for "not known". Of a faulty one it is known only that there is one.
    fn missing_label(
        &mut self,
        scope: &mut NameScope<'a>,
        name: &str,
        kind: Option<LabelKind>,
        classes: &[String],
        m: &'a ast::Expr,
    ) -> MissingLabel {
        let value = self.expr(scope, m);
        let (missing, found, own, known) = if classes.is_empty() {
            let Some(n) = self.number(value, "the value of a missing label", m.span) else {
                return MissingLabel::Number(f64::NAN);
            };
            // A number may have any value, and one of them can stand for "not known".
            let own = match kind {
                None | Some(LabelKind::Number) => None,
                Some(LabelKind::Binary) => Some("a number other than 0 and 1".to_string()),
                Some(LabelKind::Count) => Some("a number that is not a count".to_string()),
                Some(LabelKind::Weight) => Some("a number below 0".to_string()),
                Some(LabelKind::Class { .. }) => Some("a number that is no class".to_string()),
            };
            let own = own.filter(|_| kind.is_some_and(|kind| kind.holds(n)));
            (MissingLabel::Number(n), n.to_string(), own, "such as `missing -1`")
        } else {
            let text = match value {
                ExprValue::Poison => return MissingLabel::Text(String::new()),
                ExprValue::Text(text) => text.to_string(),
                other => {
                    let found = self.describe(&other);
                    let message = "the value of a missing label must be a text, as its classes are";
                    let d = Diagnostic::error("E0307", message, m.span, found.clone());
                    self.report(d.note(format!("expected a text\nfound {found}")).help("write `missing \"unknown\"`"));
                    return MissingLabel::Text(String::new());
                }
            };
            let own = classes.contains(&text).then(|| "a text that is no class".to_string());
            (MissingLabel::Text(text.clone()), format!("{text:?}"), own, "such as `missing \"unknown\"`")
        };
        if let Some(own) = own {
            let message = format!("`{name}` is missing where it is {found}");
            self.report(
                Diagnostic::error("E0401", message, m.span, "a label's own value")
                    .note(format!("expected {own}"))
                    .help(format!("write the value that stands for `not known`, {known}")),
            );
        }
        missing
    }

    fn key(
        &mut self,
        scope: &mut NameScope<'a>,
        name: &'a ast::Ident,
        kind: &'a ast::Ident,
        column: Option<&'a ast::Ident>,
    ) {
        // Of a key of an unknown type nothing more is said.
        let kind = self.key_type(kind).unwrap_or(KeyType::Int64);
        let index = self.declarations.schema.keys.len();
        let location = self.location(name.span);
        if self.claim(scope, name, Referent::Key(index)) {
            let column = column.unwrap_or(name).name.clone();
            self.declarations.schema.keys.push(Key { name: name.name.clone(), column, kind, location });
        }
    }
}

/// The names of the groups that some `common` declares.
pub(super) fn common_groups<'a>(members: &[&'a ast::Member]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for member in members {
        if let MemberKind::Common { groups, .. } = &member.kind {
            names.extend(groups.iter().map(|g| g.name.as_str()));
        }
    }
    names
}

/// The name of a setting of the command line, `name=value`; `value` is the place of its value.
fn key_span(name: &str, value: Span) -> Span {
    Span { start: 0, end: name.len() as u32, ..value }
}
