//! The arguments of `gate`.

use super::run::CsvArgs;
use super::{CpuArgs, IntervalArgs};
use clap::Args;
use std::path::PathBuf;

pub const GATE_EXAMPLES: &str = "Example:\n  din gate new/ --baseline old/ --data test.parquet\n  \
din gate new/ --baseline old/ --data test.parquet --margin 'gauc(click)=0.001' --strict\n  \
din gate new/ --data test.parquet --least 'auc(click)=0.70' --most 'log_loss(click)=0.5'\n\n\
Exit codes: 0 the gate is open; 12 it is closed: a metric is worse than the baseline by more than its margin, or \
beyond a bound; 1, 2 and 3 as of all verbs.";

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("demand").args(["baseline", "least", "most"]).required(true).multiple(true))]
pub struct GateArgs {
    /// The run that is to pass
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The run that it must not be worse than
    #[arg(long, value_name = "RUN")]
    pub baseline: Option<PathBuf>,
    /// Data with labels, on which both are measured
    #[arg(long, num_args = 1.., required = true, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Compare this metric of the report, such as `auc(click)` [default: all of them]
    #[arg(long, value_name = "METRIC", requires = "baseline")]
    pub metric: Vec<String>,
    /// Accept so much of a loss in a metric: METRIC=X [default: 0]
    #[arg(long, value_name = "METRIC=X", requires = "baseline", value_parser = margin)]
    pub margin: Vec<(String, f64)>,
    /// Close the gate too where the data do not tell whether the loss is within the margin
    #[arg(long, requires = "baseline")]
    pub strict: bool,
    /// A metric of the run must be at least so much: METRIC=X
    #[arg(long, value_name = "METRIC=X", value_parser = bound)]
    pub least: Vec<(String, f64)>,
    /// A metric of the run must be at most so much: METRIC=X
    #[arg(long, value_name = "METRIC=X", value_parser = bound)]
    pub most: Vec<(String, f64)>,
    #[command(flatten)]
    pub intervals: IntervalArgs,
    /// Of each run: `best`, `last`, or the name of one in its `checkpoints`
    #[arg(long, default_value = "best", value_name = "NAME")]
    pub checkpoint: String,
    #[command(flatten)]
    pub cpu: CpuArgs,
    #[command(flatten)]
    pub input: CsvArgs,
}

fn bound(text: &str) -> Result<(String, f64), String> {
    let help = "expected METRIC=X, such as 'auc(click)=0.7'";
    let (metric, value) = text.rsplit_once('=').ok_or(help)?;
    let value: f64 = value.trim().parse().map_err(|_| help)?;
    match metric.trim() {
        metric if !metric.is_empty() && value.is_finite() => Ok((metric.into(), value)),
        _ => Err(help.into()),
    }
}

fn margin(text: &str) -> Result<(String, f64), String> {
    match bound(text)? {
        (_, value) if value < 0.0 => Err("expected a loss that is accepted, which is 0 or more".into()),
        margin => Ok(margin),
    }
}
