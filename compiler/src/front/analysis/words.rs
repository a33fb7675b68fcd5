//! Words that are known at some places of a spec alone, for completion.

use crate::front::conform::TypeWord;
use crate::front::{table, train};
use din_program::schema::LabelKind;

/// What settings of `train` begin with.
pub fn train_settings() -> &'static [&'static str] {
    &train::SETTINGS
}

/// What options of a table begin with.
pub fn table_options() -> &'static [&'static str] {
    &table::OPTIONS
}

/// Kinds of labels.
pub fn label_kinds() -> Vec<&'static str> {
    LabelKind::words().collect()
}

/// Types of parameters that are words.
pub fn type_words() -> Vec<&'static str> {
    TypeWord::ALL.iter().map(|(word, _)| *word).collect()
}
