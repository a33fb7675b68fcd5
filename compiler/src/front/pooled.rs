//! Lists that are pooled to one vector: `tags: category of string pooled by mean`.

use super::declarations::{PooledField, Pooling};
use super::elaborator::Elaborator;
use super::field::FieldGroup;
use din_grammar::Diagnostic;
use din_grammar::ast;
use din_program::schema::Sequence;

impl<'a> Elaborator<'a> {
    /// The sequence that a pooled list is.
    pub(super) fn pooled_list(
        &mut self,
        group: FieldGroup<'a>,
        field: &'a ast::FeatureField,
        pooled: &ast::PooledDecl,
    ) -> Option<u32> {
        if group.sequence.is_some() {
            self.not_built("a list in each entry of a sequence", "put the list into `features`", pooled.span);
            self.declarations.poisoned_tables = true;
            return group.sequence;
        }
        let number = self.declarations.schema.sequences.len() as u32;
        let location = self.location(field.name.span);
        self.declarations.schema.sequences.push(Sequence {
            name: format!("{}.{}", group.name.name, field.name.name),
            keep: None,
            missing: field.missing.is_some(),
            common: group.common,
            location,
        });
        Some(number)
    }

    /// How the list of a feature becomes one vector.
    pub(super) fn pooling(
        &mut self,
        group: FieldGroup<'a>,
        field: &'a ast::FeatureField,
        pooled: &'a ast::PooledDecl,
        feature: u32,
    ) {
        let by = match pooled.by.name.as_str() {
            "sum" => Pooling::Sum,
            "mean" => Pooling::Mean,
            "sqrt_n" => Pooling::SquareRoot,
            "max" => Pooling::Max,
            _ => {
                self.unknown_word("E0418", "pooling", &pooled.by, &["sum", "mean", "sqrt_n", "max"]);
                self.declarations.poisoned_tables = true;
                return;
            }
        };
        if let (Pooling::Max, Some(weights)) = (by, &pooled.weights) {
            self.report(
                Diagnostic::error("E0418", "a maximum has no weights", weights.span, "weights")
                    .label(pooled.by.span, "a maximum")
                    .help("remove the weights, or pool by `sum`, `mean` or `sqrt_n`"),
            );
            return;
        }
        let weights = pooled.weights.as_ref().map(|column| (group, &field.name, column));
        self.declarations.pooled.insert(feature as usize, PooledField { by, weights: None });
        if let Some(weights) = weights {
            self.declarations.weights.push((feature as usize, weights));
        }
    }
}
