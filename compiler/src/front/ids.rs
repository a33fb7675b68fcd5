//! What the network reads of ids without a table: whether two are equal, and how many lists have
//! in common.

use super::elaborator::Elaborator;
use super::table::IdOrigin;
use super::value::{ExprValue, Tensor};
use crate::graph::UnaryOp;
use din_grammar::{Diagnostic, Span};
use din_program::schema::{Combination, Feature, FeatureKind, FeatureSource};

impl<'a> Elaborator<'a> {
    /// `watched.cate_id == ad.cate_id`: 1 where the ids are equal, else 0; with `not`, the other
    /// way round.
    pub(super) fn ids_equal(&mut self, not: bool, l: (usize, Span), r: (usize, Span), span: Span) -> ExprValue<'a> {
        if !self.comparable(l, r) {
            return ExprValue::Poison;
        }
        let features = &self.declarations.schema.features;
        let (a, b) = (&features[l.0], &features[r.0]);
        let lists = [(l, a), (r, b)].into_iter().find(|((f, _), _)| self.declarations.pooled.contains_key(f));
        if let Some(((_, at), feature)) = lists {
            let (path, x, y) = (feature.path(), a.path(), b.path());
            return self.fault(
                Diagnostic::error("E0323", format!("`{path}` has several ids"), at, "a list")
                    .help(format!("count those that two lists have in common: `overlap({x}, {y})`")),
            );
        }
        let sequence = match (a.sequence, b.sequence) {
            (Some(s), Some(t)) if s != t => {
                let text = |s: u32| self.declarations.schema.sequences[s as usize].name.clone();
                let (s, t) = (text(s), text(t));
                return self.fault(
                    Diagnostic::error("E0303", "`==` on ids over different axes", r.1, format!("varies over `{t}`"))
                        .label(l.1, format!("varies over `{s}`"))
                        .note("expected one axis: entries of different sequences have no order in common")
                        .help(format!("count those that both have: `overlap({}, {})`", a.path(), b.path())),
                );
            }
            (s, t) => s.or(t),
        };
        let common = a.common && b.common;
        if sequence.is_some_and(|s| self.declarations.schema.sequences[s as usize].common) && !common {
            let name = &self.declarations.schema.sequences[sequence.unwrap_or_default() as usize].name;
            let help = format!("take `{name}` out of `common`");
            return self.not_built("a common sequence's ids compared with those of each sample", &help, span);
        }
        let of = [l.0 as u32, r.0 as u32];
        let name = format!("{} == {}", a.name, b.path());
        let equal = self.combined(Combination::Equal { of }, name, (sequence, common), span);
        match not {
            true => {
                ExprValue::Tensor(Tensor { node: self.walk.graph.unary(UnaryOp::Not, equal.node, span), fields: None })
            }
            false => ExprValue::Tensor(equal),
        }
    }

    /// `overlap(a, b)`: how many entries of the list `a` have an id that `b` has, too.
    pub(super) fn overlap(&mut self, l: (ExprValue<'a>, Span), r: (ExprValue<'a>, Span), span: Span) -> ExprValue<'a> {
        let mut sides = [0; 2];
        for (side, (value, at)) in sides.iter_mut().zip([l.clone(), r.clone()]) {
            *side = match value {
                ExprValue::Poison => return ExprValue::Poison,
                ExprValue::Feature(f) => f,
                other => {
                    let found = self.describe(&other);
                    return self.fault(
                        Diagnostic::error("E0307", "`overlap` takes two fields with ids", at, found.clone())
                            .note(format!("expected a field, such as `visited.cate_id`\nfound {found}")),
                    );
                }
            };
        }
        let [a, b] = sides;
        if !self.comparable((a, l.1), (b, r.1)) {
            return ExprValue::Poison;
        }
        let (x, y) = (&self.declarations.schema.features[a], &self.declarations.schema.features[b]);
        if x.sequence.is_none() {
            let path = x.path();
            return self
                .fault(Diagnostic::error("E0323", format!("`{path}` is no list"), l.1, "one id").help(
                    "the first field is the list whose entries are counted; two single ids are compared by `==`",
                ));
        }
        let name = format!("{} in {}", x.name, y.path());
        let common = x.common && y.common;
        let of = [a as u32, b as u32];
        ExprValue::Tensor(self.combined(Combination::Overlap { of }, name, (None, common), span))
    }

    pub(super) fn has_ids(&self, feature: usize) -> bool {
        !matches!(self.declarations.schema.features[feature].kind, FeatureKind::Dense { .. })
    }

    /// Whether two fields have ids of one kind; reports it where they do not.
    fn comparable(&mut self, l: (usize, Span), r: (usize, Span)) -> bool {
        let features = &self.declarations.schema.features;
        for (f, at) in [l, r] {
            let feature = &features[f];
            if matches!(feature.kind, FeatureKind::Dense { .. }) {
                let path = feature.path();
                self.report(
                    Diagnostic::error("E0323", format!("`{path}` holds numbers, not ids"), at, "a number")
                        .help("compare ids with ids, and numbers with numbers"),
                );
                return false;
            }
            if feature.combination().is_some() {
                let path = feature.path();
                if let Some(Combination::Gap { .. }) = feature.combination() {
                    let d =
                        Diagnostic::error("E0323", format!("`{path}` has buckets of a gap"), at, "no ids of a column");
                    self.report(d.help("compare fields that hold ids"));
                    return false;
                }
                self.report(
                    Diagnostic::error("E0323", format!("`{path}` is a cross"), at, "ids of combinations")
                        .help("compare the fields that it is of"),
                );
                return false;
            }
        }
        let kind = |feature: &Feature| match feature.kind {
            FeatureKind::Dynamic { key } => (Some(key), 0),
            FeatureKind::Fixed { size, .. } => (None, size),
            FeatureKind::Dense { .. } => unreachable!("numbers are refused above"),
        };
        let (a, b) = (&features[l.0], &features[r.0]);
        if (kind(a), IdOrigin::of(a)) == (kind(b), IdOrigin::of(b)) {
            return true;
        }
        let (found, wanted) = (super::table::ids_text(b), super::table::ids_text(a));
        self.report(
            Diagnostic::error("E0323", "ids of different kinds are never equal", r.1, &found)
                .label(l.1, &wanted)
                .note(format!("expected {wanted}\nfound {found}"))
                .help("declare both as the same kind of `category`"),
        );
        false
    }

    /// A number that is made of other features, as an input of the graph: one for all its uses.
    fn combined(
        &mut self,
        combination: Combination,
        name: String,
        (sequence, common): (Option<u32>, bool),
        span: Span,
    ) -> Tensor {
        let source = FeatureSource::Features(combination);
        let known = self.declarations.schema.features.iter().position(|feature| feature.source == source);
        let feature = known.unwrap_or_else(|| {
            let FeatureSource::Features(of) = &source else { unreachable!("made above") };
            let group = self.declarations.schema.features[of.parts()[0] as usize].group.clone();
            let (location, kind) = (self.location(span), FeatureKind::Dense { width: 1 });
            let declarations = &mut self.declarations;
            let at_prediction = true;
            declarations.schema.features.push(Feature {
                group,
                name,
                source,
                kind,
                sequence,
                common,
                at_prediction,
                location,
            });
            declarations.feature_spans.push(span);
            declarations.tables_of.push(Vec::new());
            declarations.schema.features.len() - 1
        });
        self.dense_input(feature, 1, span)
    }
}
