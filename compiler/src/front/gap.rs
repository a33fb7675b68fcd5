//! Fields of the time between two columns, `gap(later, earlier)` and `before(moment, times)`: each
//! is made of two features that are in no group.

use super::computed::{Computed, GapColumns};
use super::declarations::PendingGap;
use super::elaborator::Elaborator;
use super::field::{Declared, FieldGroup};
use super::scope::NameScope;
use din_grammar::{Diagnostic, ast};
use din_program::schema::{
    ColumnValues, Combination, FeatureKind, FeatureSource, KeyType, Made, Missing, Replacement, ValueRule,
};

impl<'a> Elaborator<'a> {
    /// A field from `gap(later, earlier)` or `before(moment, times)`: its times become features
    /// that are in no group when all groups are declared.
    pub(super) fn gap_field(
        &mut self,
        scope: &mut NameScope<'a>,
        group: FieldGroup<'a>,
        field: &'a ast::FeatureField,
        gap: GapColumns,
        computed: Computed,
    ) -> Option<(FeatureKind, FeatureSource)> {
        if let Some(pooled) = &field.pooled {
            self.report(
                Diagnostic::error("E0418", "a gap is not pooled", pooled.span, "one time, or one per entry")
                    .help("put the times into a `sequence`, and reduce what is made of them there"),
            );
            return None;
        }
        if gap.of_sample && group.sequence.is_none() {
            self.report(
                Diagnostic::error("E0417", "`before` is of the entries of a list", gap.span, "in `features`")
                    .help(format!("write `gap({}, {})`", gap.later.name, gap.earlier.name)),
            );
            return None;
        }
        let Declared { mut kind, makes, .. } = self.computed_kind(scope, group, field, computed)?;
        let missing = match &field.missing {
            Some(missing) => Some(self.missing(scope, field, missing, &mut kind, ColumnValues::Integers, &makes)?),
            None => None,
        };
        let feature = self.declarations.schema.features.len();
        let becomes = missing.as_ref().map(|missing| missing.becomes.clone());
        let value = missing.map(|missing| Missing { becomes: Replacement::OwnId, ..missing });
        self.declarations.gaps.push(PendingGap { feature, group, columns: gap, missing: value });
        Some((kind, FeatureSource::Features(Combination::Gap { of: [0, 0], makes, missing: becomes })))
    }

    /// After all groups: the features that hold the times of gaps.
    pub(super) fn finish_gaps(&mut self) {
        for gap in std::mem::take(&mut self.declarations.gaps) {
            let PendingGap { feature, group, columns: GapColumns { later, earlier, of_sample, .. }, missing } = gap;
            let sequence = if of_sample { None } else { group.sequence };
            let times = [(later, sequence), (earlier, group.sequence)];
            let of = times.map(|(column, sequence)| self.time(group, &column, sequence, missing.as_ref()));
            match &mut self.declarations.schema.features[feature].source {
                FeatureSource::Features(Combination::Gap { of: parts, .. }) => *parts = of,
                other => unreachable!("a gap was declared as one, and is {other:?}"),
            }
            self.declarations.used_features.extend(of.map(|part| part as usize));
        }
    }

    /// The feature that holds the times of a column, one for all gaps of a group.
    pub(super) fn time(
        &mut self,
        group: FieldGroup<'a>,
        column: &ast::Ident,
        sequence: Option<u32>,
        missing: Option<&Missing>,
    ) -> u32 {
        let source = match missing {
            None => FeatureSource::column(&column.name),
            Some(missing) => {
                let (holds, missing) = (ColumnValues::Integers, Some(missing.clone()));
                FeatureSource::Rule { column: column.name.clone(), rule: ValueRule { holds, missing, makes: Made::Id } }
            }
        };
        let name = format!("times of {}", column.name);
        let known = self.declarations.schema.features.iter().position(|feature| {
            feature.name == name
                && feature.group == group.name.name
                && feature.source == source
                && feature.at_prediction == group.at_prediction
        });
        if let Some(known) = known {
            return known as u32;
        }
        let number = self.declarations.schema.features.len() as u32;
        let kind = FeatureKind::Dynamic { key: KeyType::Int64 };
        self.push_feature(group, &ast::Ident { name, span: column.span }, kind, source, sequence);
        number
    }
}
