//! Pest's pairs to the tree: the members of a model, their fields and settings.

use super::Rule;
use super::build::{Builder, Children, PestNode, unexpected};
use crate::ast::*;

impl Builder<'_> {
    pub(super) fn member(&mut self, node: PestNode) -> Member {
        let mut children = Children::new(node);
        let docs = self.docs(&mut children);
        let node = children.need();
        let span = self.span(&node);
        let rule = node.as_rule();
        let kind = match rule {
            Rule::let_ => MemberKind::Let(self.let_(node, 0)),
            Rule::layer => MemberKind::Layer(self.layer(node, 0)),
            Rule::parameter_list => {
                MemberKind::Param(Children::new(node).map(|variable| self.variable(variable, 0)).collect())
            }
            Rule::constant_list => {
                MemberKind::Constant(Children::new(node).map(|variable| self.variable(variable, 0)).collect())
            }
            Rule::embedding => MemberKind::Embedding(self.embedding(node)),
            Rule::train => {
                let settings = self.settings(Children::new(node).need());
                MemberKind::Train(Train { settings, span })
            }
            Rule::report => {
                let metrics = Children::new(node).map(|metric| self.reported(metric)).collect();
                MemberKind::Report { metrics }
            }
            Rule::assertion => MemberKind::Assert { condition: self.expression(Children::new(node).need(), 0) },
            Rule::common => {
                let mut groups: Vec<Ident> = Children::new(node).map(|name| self.ident(&name)).collect();
                let by = groups.pop().expect("din.pest: the list ends with the name after `by`");
                MemberKind::Common { groups, by }
            }
            Rule::request => {
                let by = Children::new(node).need();
                MemberKind::Request(match by.as_rule() {
                    Rule::count => RequestDecl::Of { count: self.count(&by), span: self.span(&by) },
                    _ => RequestDecl::By(self.ident(&by)),
                })
            }
            _ => self.named_member(rule, node),
        };
        Member { docs, kind, span }
    }

    /// `auc(click) by user.city`
    fn reported(&mut self, node: PestNode) -> ReportedMetric {
        let mut children = Children::new(node);
        let metric = self.expression(children.need(), 0);
        let by = children.next().map(|by| self.expression(by, 0));
        ReportedMetric { metric, by }
    }

    /// Members that begin with their name.
    fn named_member(&mut self, rule: Rule, node: PestNode) -> MemberKind {
        let mut children = Children::new(node);
        let name = self.ident(&children.need());
        match rule {
            Rule::features => {
                let known = children.given(Rule::known).map(|known| self.known(known));
                MemberKind::Features { name, known, fields: self.fields(children.need()) }
            }
            Rule::sequence => {
                let keep = children.given(Rule::keep).map(|keep| self.keep(keep));
                let known = children.given(Rule::known).map(|known| self.known(known));
                let missing = children.given(Rule::missing_list).map(|missing| self.missing(missing));
                MemberKind::Sequence { name, keep, known, missing, fields: self.fields(children.need()) }
            }
            Rule::label => {
                let kind = self.ident(&children.need());
                let classes = children.given(Rule::classes).map(Children::new).into_iter().flatten();
                let classes = classes.map(|class| self.expression(class, 0)).collect();
                let column = children.given(Rule::column).map(|column| self.column(column));
                let missing = children.next().map(|value| self.expression(value, 0));
                MemberKind::Label { name, kind, classes, column, missing }
            }
            Rule::key => {
                let kind = self.ident(&children.need());
                let column = children.given(Rule::column).map(|column| self.column(column));
                MemberKind::Key { name, kind, column }
            }
            Rule::hyper => {
                let default = self.expression(children.need(), 0);
                let space = children.given(Rule::expression).map(|value| self.expression(value, 0));
                let condition = children.given(Rule::k_when).map(|_| self.expression(children.need(), 0));
                MemberKind::Hyper { name, default, space, condition }
            }
            Rule::output => MemberKind::Output { name, value: self.expression(children.need(), 0) },
            Rule::predict => MemberKind::Predict { target: name, distribution: self.expression(children.need(), 0) },
            other => unexpected(other),
        }
    }

    /// `after label`, `known at clicked_at before shown_at`
    pub(super) fn known(&mut self, node: PestNode) -> KnownDecl {
        let node = Children::new(node).need();
        let span = self.span(&node);
        match node.as_rule() {
            Rule::after_label => KnownDecl::AfterLabel(span),
            Rule::known_at => {
                let mut columns = Children::new(node).map(|column| self.column_name(&column));
                let mut column = || columns.next().expect("din.pest: two columns");
                KnownDecl::Before { times: column(), moment: column(), span }
            }
            other => unexpected(other),
        }
    }

    pub(super) fn keep(&mut self, node: PestNode) -> KeepDecl {
        let span = self.span(&node);
        let mut children = Children::new(node);
        let last = children.need().as_rule() == Rule::k_last;
        KeepDecl { last, count: self.count(&children.need()), span }
    }

    /// A column of the data: a word, or a string where the data's name is no word.
    fn column(&mut self, node: PestNode) -> Ident {
        self.column_name(&Children::new(node).need())
    }

    fn column_name(&mut self, node: &PestNode) -> Ident {
        match node.as_rule() {
            Rule::string => Ident { name: self.string(node), span: self.span(node) },
            Rule::any_word => self.ident(node),
            other => unexpected(other),
        }
    }

    fn fields(&mut self, node: PestNode) -> Vec<FeatureField> {
        Children::new(node).map(|field| self.feature_field(field)).collect()
    }

    pub(super) fn feature_field(&mut self, node: PestNode) -> FeatureField {
        let mut children = Children::new(node);
        let docs = self.docs(&mut children);
        let body = children.need();
        let span = self.span(&body);
        let mut children = Children::new(body);
        let name = self.ident(&children.need());
        let kind = self.kind(children.need());
        let (mut source, mut pooled, mut missing, mut after_label) = (None, None, None, None);
        for part in children {
            match part.as_rule() {
                Rule::column => source = Some(FieldSource::Column(self.column(part))),
                Rule::computed => source = Some(FieldSource::Computed(self.computed(part))),
                Rule::pooled => pooled = Some(self.pooled(part)),
                Rule::missing => missing = Some(self.missing(part)),
                Rule::after_label => after_label = Some(self.span(&part)),
                other => unexpected(other),
            }
        }
        FeatureField { docs, name, kind, source, pooled, missing, after_label, span }
    }

    /// `missing -1 as 0 mark no_income`
    pub(super) fn missing(&mut self, node: PestNode) -> MissingDecl {
        let span = self.span(&node);
        let (mut value, mut replacement, mut mark) = (None, None, None);
        for part in Children::new(node) {
            match part.as_rule() {
                Rule::literal => value = Some(self.literal(part)),
                Rule::replacement => replacement = Some(self.literal(Children::new(part).need())),
                Rule::marked => mark = Some(self.ident(&Children::new(part).need())),
                other => unexpected(other),
            }
        }
        MissingDecl { value, replacement, mark, span }
    }

    /// `pooled by mean weighted by tag_weights`
    fn pooled(&mut self, node: PestNode) -> PooledDecl {
        let span = self.span(&node);
        let mut children = Children::new(node);
        let by = self.ident(&children.need());
        let weights = children.next().map(|column| self.column_name(&column));
        PooledDecl { by, weights, span }
    }

    fn kind(&mut self, node: PestNode) -> FeatureKindDecl {
        let span = self.span(&node);
        let child = Children::new(node).need();
        let kind = match child.as_rule() {
            Rule::category => {
                let (mut size, mut outside, mut of, mut vocabulary) = (None, OutsideDecl::Refused, None, None);
                for part in Children::new(child) {
                    match part.as_rule() {
                        Rule::category_size => {
                            let mut parts = Children::new(part);
                            size = Some(self.expression(parts.need(), 0));
                            outside = match parts.next().map(|word| word.as_rule()) {
                                None => OutsideDecl::Refused,
                                Some(Rule::k_clip) => OutsideDecl::Clipped,
                                Some(Rule::k_hash) => OutsideDecl::Hashed,
                                Some(other) => unexpected(other),
                            };
                        }
                        Rule::tuple => {
                            let span = self.span(&part);
                            let fields = Children::new(part).map(|path| self.field_path(path)).collect();
                            of = Some(IdsDecl::Tuple { fields, span });
                        }
                        Rule::identifier => of = Some(IdsDecl::Type(self.ident(&part))),
                        Rule::vocabulary => {
                            let path = Children::new(part).need();
                            vocabulary = Some(FileDecl { path: self.string(&path), span: self.span(&path) });
                        }
                        other => unexpected(other),
                    }
                }
                FeatureKindName::Category { size, outside, of, vocabulary }
            }
            Rule::numeric => {
                let width = Children::new(child).next().map(|width| self.expression(width, 0));
                FeatureKindName::Number { width }
            }
            Rule::identifier => FeatureKindName::Other(self.ident(&child)),
            other => unexpected(other),
        };
        FeatureKindDecl { kind, span }
    }

    fn embedding(&mut self, node: PestNode) -> Embedding {
        let mut children = Children::new(node);
        let name = children.given(Rule::identifier).map(|name| self.ident(&name));
        let width = self.expression(children.need(), 0);
        let target = children.need();
        let target = match (name, target.as_rule()) {
            (Some(name), Rule::field_paths) => {
                let paths = Children::new(target).map(|path| self.field_path(path)).collect();
                EmbeddingTarget::Fields { name, paths }
            }
            (name, Rule::each_of) => {
                let groups = Children::new(target).map(|group| self.ident(&group)).collect();
                EmbeddingTarget::EachOf { name, groups }
            }
            (_, other) => unexpected(other),
        };
        let options = children.next().map(|node| self.settings(node)).unwrap_or_default();
        Embedding { width, target, options }
    }

    pub(super) fn field_path(&mut self, node: PestNode) -> FieldPath {
        let span = self.span(&node);
        let mut children = Children::new(node);
        let group = self.ident(&children.need());
        FieldPath { group, field: self.ident(&children.need()), span }
    }

    fn settings(&mut self, node: PestNode) -> Vec<Setting> {
        Children::new(node).map(|setting| self.setting(setting)).collect()
    }

    pub(super) fn setting(&mut self, node: PestNode) -> Setting {
        let mut children = Children::new(node);
        let docs = self.docs(&mut children);
        let body = children.need();
        let span = self.span(&body);
        let mut children = Children::new(body);
        let word = self.ident(&children.need());
        let (mut values, mut updates, mut weights) = (Vec::new(), None, Vec::new());
        let (mut file, mut admission) = (None, None);
        for child in children {
            match child.as_rule() {
                Rule::updates => updates = Some(self.updates(child)),
                Rule::for_weights => weights = Children::new(child).map(|path| self.ident(&path)).collect(),
                Rule::expression => values.push(self.expression(child, 0)),
                Rule::vectors => {
                    let mut children = Children::new(child);
                    let path = children.need();
                    file = Some(FileDecl { path: self.string(&path), span: self.span(&path) });
                    values.extend(children.map(|other| self.expression(other, 0)));
                }
                Rule::admission => {
                    let mut children = Children::new(child);
                    let top = children.need().as_rule() == Rule::k_top;
                    let (first, second) = (children.need(), children.need());
                    let (by, limit) = if top { (second, first) } else { (first, second) };
                    admission = Some(AdmissionDecl { top, by: self.ident(&by) });
                    values.push(self.expression(limit, 0));
                }
                other => unexpected(other),
            }
        }
        Setting { docs, word, values, updates, weights, file, admission, span }
    }

    fn updates(&mut self, node: PestNode) -> UpdatesDecl {
        let span = self.span(&node);
        let mut children = Children::new(node);
        let dense = children.need().as_rule() == Rule::k_dense;
        UpdatesDecl { dense, span }
    }
}
