//! The arguments of `report`.

use super::CpuArgs;
use super::run::CsvArgs;
use clap::Args;
use std::path::PathBuf;

pub const REPORT_EXAMPLES: &str = "Example:\n  din report run/ -o report.html\n  \
din report base/ din/ --data test.parquet --by ad.cate_id -o report.html\n\n\
The page needs no network. docs/guide/reports.md says how to read it.";

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run directories; the others are compared with the first
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The page to write, .html
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Data with labels: measure every run on them
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Measure by the values of a key or a categorical feature, too, such as `user.city`
    #[arg(long, value_name = "FIELD", requires = "data")]
    pub by: Vec<String>,
    #[command(flatten)]
    pub intervals: IntervalArgs,
    /// Of each run: `best`, `last`, or the name of one in its `checkpoints`
    #[arg(long, default_value = "best", value_name = "NAME")]
    pub checkpoint: String,
    /// Replace --out if it is there
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub cpu: CpuArgs,
    #[command(flatten)]
    pub input: CsvArgs,
}

/// How intervals are made.
#[derive(Debug, Args)]
pub struct IntervalArgs {
    /// The key or feature whose rows are drawn together for intervals [default: what GAUC groups
    /// by, else the first key, else each row by itself]
    #[arg(long, value_name = "FIELD", requires = "data")]
    pub key: Option<String>,
    /// Resamples that intervals are made from
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub resamples: u32,
    /// Seed of the resamples
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
}
