//! What the training data decide of features: values of a run, beside its weights.

use din_program::schema::DataStatistic;
use std::sync::{Arc, OnceLock};

/// The numbers of every statistic that a schema has, in its order. Data can be opened with a place
/// for them that is filled later, before a value is read that needs them; clones are one place.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    values: Arc<OnceLock<Vec<Vec<f32>>>>,
}

impl Statistics {
    /// With these numbers.
    pub fn new(values: Vec<Vec<f32>>) -> Self {
        Self { values: Arc::new(OnceLock::from(values)) }
    }

    /// Puts the numbers into their place.
    ///
    /// # Panics
    /// Other numbers are there.
    pub fn set(&self, values: Vec<Vec<f32>>) {
        let held = self.values.get_or_init(|| values.clone());
        assert_eq!(held, &values, "the statistics of a run are gathered or read once");
    }

    /// By statistic of the schema, its numbers; `None` before they are known.
    pub fn values(&self) -> Option<&[Vec<f32>]> {
        self.values.get().map(Vec::as_slice)
    }

    /// The numbers of a statistic.
    ///
    /// # Panics
    /// They are not known, or of another schema.
    pub fn of(&self, wanted: &[DataStatistic], statistic: u32) -> &[f32] {
        let values = self.values().expect("statistics are known before a value is read that needs them");
        let numbers = &values[statistic as usize];
        assert_eq!(numbers.len(), wanted[statistic as usize].kind.values(), "the statistics are of this schema");
        numbers
    }
}
