//! The arguments of `tune`.

use super::{CpuArgs, CsvArgs, DeviceArgs, PrecisionArg, SpecArgs, StepArgs};
use clap::{Args, ValueEnum};
use din_tune::Sampler;
use std::path::PathBuf;
use std::time::Duration;

pub const TUNE_EXAMPLES: &str = "Example:\n  \
din tune model.din --train train.parquet --valid valid.parquet --out study/\n  \
din tune model.din --train train.parquet --valid valid.parquet --out study/ --resume   # goes on where it stopped\n  \
din tune model.din --train train.parquet --valid valid.parquet --test test.parquet --out study/ --trials 100 --jobs 4\n  \
optuna-dashboard study/journal.log   # pictures, by Optuna\n\n\
What is searched are the hyper-parameters of the spec that have a space: `hyper lr = 1e-3 in log(1e-4, 1e-2)`.";

/// Settings of a study.
#[derive(Clone, Debug, Args)]
pub struct TuneArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Training data: Parquet or CSV files, or directories of them
    #[arg(long, visible_alias = "data", num_args = 1.., required = true, value_name = "FILE")]
    pub train: Vec<PathBuf>,
    /// Validation data, on which trials are compared
    #[arg(long, num_args = 1.., required = true, value_name = "FILE")]
    pub valid: Vec<PathBuf>,
    /// Test data, on which the winner is evaluated at the end; nothing is selected on them
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub test: Vec<PathBuf>,
    /// Folder of the study: journal, a run directory for each trial, the winner's runs
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on with the study in --out
    #[arg(long)]
    pub resume: bool,
    /// Trials to begin
    #[arg(long, visible_alias = "n-trials", default_value_t = 40, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub trials: u32,
    /// How values are suggested
    #[arg(long, value_enum, default_value_t = SamplerArg::Tpe)]
    pub sampler: SamplerArg,
    /// What successive halving counts: each rung trains the best trials of the one before on more
    /// samples, or more epochs
    #[arg(long, value_enum, default_value_t = HalvingArg::Samples)]
    pub halving: HalvingArg,
    /// Rungs of halving, the last of which is a whole training
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub rungs: u32,
    /// Of the trials at a rung, one of so many goes on, and is trained so many times as long
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100))]
    pub reduction_factor: u32,
    /// Trials that are trained at a time; they share the threads
    #[arg(short, long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: u32,
    /// Seed of the suggestions, and of every trial's weights and order [default: the spec's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The metric of the report that trials are compared by [default: the one that selects
    /// checkpoints]
    #[arg(long, value_name = "NAME")]
    pub metric: Option<String>,
    /// Seeds that the winner is trained again with, other than the trials'; 0 leaves that out
    #[arg(long, default_value_t = 3, value_name = "K", value_parser = clap::value_parser!(u32).range(..=1000))]
    pub seeds: u32,
    /// Begin no more trainings of trials after so long, such as 90s, 30m or 8h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub steps: StepArgs,
    /// What a GPU computes products in [default: f32]
    #[arg(long, value_enum, value_name = "P")]
    pub precision: Option<PrecisionArg>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub cpu: CpuArgs,
    #[command(flatten)]
    pub input: CsvArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SamplerArg {
    /// Tree-structured Parzen estimator: near good trials
    Tpe,
    /// At random
    Random,
}

impl From<SamplerArg> for Sampler {
    fn from(sampler: SamplerArg) -> Self {
        match sampler {
            SamplerArg::Tpe => Self::Tpe,
            SamplerArg::Random => Self::Random,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HalvingArg {
    /// Parts of the training, also within an epoch
    Samples,
    /// Whole epochs
    Epochs,
    /// Every trial is a whole training
    Off,
}

/// `90`, `90s`, `30m`, `8h`
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, unit @ ('s' | 'm' | 'h'))) => (&text[..at], unit),
        _ => (text, 's'),
    };
    let seconds = match unit {
        'm' => 60.0,
        'h' => 3600.0,
        _ => 1.0,
    };
    let parsed = number.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0 && *n < 1e9);
    parsed.map(|n| Duration::from_secs_f64(n * seconds)).ok_or_else(|| "expected a time such as 90s, 30m or 8h".into())
}
