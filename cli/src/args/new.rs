//! Arguments of `new`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

pub const NEW_EXAMPLES: &str = "Example:\n  din new shop\n  din new shop --from two_tower\n  \
                                din new shop --columns days1-6.parquet --label click\n\n\
                                It writes the model, din.toml, a workflow of GitHub Actions, README.md and .gitignore; README.md has the \
                                commands to go on with.";

#[derive(Debug, Args)]
pub struct NewArgs {
    /// The folder to make; its name is that of the model
    pub folder: PathBuf,
    /// The model to begin with, on the columns of `din synth`
    #[arg(long, value_enum, value_name = "MODEL", default_value_t = Template::Din, conflicts_with = "columns")]
    pub from: Template,
    /// Begin with the columns of this Parquet or CSV file: features, sequences and tables are
    /// guessed from its first rows, and comments say so
    #[arg(long, value_name = "FILE")]
    pub columns: Option<PathBuf>,
    /// The column to predict, of 0 and 1 [default: one with a name such as click or label]
    #[arg(long, value_name = "COLUMN", requires = "columns")]
    pub label: Option<String>,
    /// What separates the entries of a list in a CSV field
    #[arg(long, value_name = "CHAR", default_value = "|", requires = "columns", value_parser = super::run::one_byte)]
    pub list_separator: u8,
}

/// A model of the repository to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Template {
    /// Attention of the candidate to the history
    Din,
    /// The sum of the history, and a network
    Base,
    /// A factorization machine beside a network
    #[value(name = "deepfm")]
    DeepFm,
    /// A cross network beside a network
    #[value(name = "dcnv2")]
    DcnV2,
    /// Several labels by shared experts
    Mmoe,
    /// Vectors of user and item, for an index
    TwoTower,
}
