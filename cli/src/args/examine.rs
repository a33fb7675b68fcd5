//! The arguments of `embed` and `attribute`: what a trained model has learned.

use clap::Args;
use std::path::PathBuf;

pub const EMBED_EXAMPLES: &str = "Example:\n  din embed run/ --table good -o good.parquet";
pub const ATTRIBUTE_EXAMPLES: &str = "Example:\n  din attribute run/ --table good --id 42 --neighbours 10";

#[derive(Debug, Args)]
pub struct EmbedArgs {
    /// The run directory
    pub run: PathBuf,
    /// The table
    #[arg(long, value_name = "TABLE")]
    pub table: String,
    /// File to write, .parquet or .csv: a row for each id, with its vector
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// `best`, `last`, or the name of one in the run's `checkpoints`
    #[arg(long, default_value = "best", value_name = "NAME")]
    pub checkpoint: String,
    /// Replace --out if it is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct AttributeArgs {
    /// The run directory
    pub run: PathBuf,
    /// The table of the id
    #[arg(long, value_name = "TABLE")]
    pub table: String,
    /// The id, as it stands in the data
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub id: String,
    /// Print so many ids with the nearest vectors, by the cosine
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub neighbours: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// `best`, `last`, or the name of one in the run's `checkpoints`
    #[arg(long, default_value = "best", value_name = "NAME")]
    pub checkpoint: String,
}
