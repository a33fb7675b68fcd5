//! The arguments of the running verbs: `train`, `eval` and `predict`.

use super::{PlacementArg, PrecisionArg, RanksArgs, SpecArgs, plan};
use crate::device::{self, DeviceArg};
use clap::{Args, ValueEnum};
use din_program::TablePrecision;
use din_runtime::leaves::{MAX_LEAVES, is_allowed};
use std::path::PathBuf;

pub const TRAIN_EXAMPLES: &str = "Example:\n  din train models/din.din --train train.parquet --valid valid.parquet --out run/\n  \
din train models/din.din --train day1.parquet day2.parquet --valid day3.parquet --out run/ --set lr=3e-4 --seed 2\n  \
din train models/din.din --out run/ --resume --epochs 4   # goes on where the run stopped\n  \
din train models/din.din --train train.parquet --valid valid.parquet --out run/ --device cuda:0\n\n\
Same spec, data, seed and ISA level give the same bits at any number of threads, stopped and resumed or not.\n\
Ctrl-C finishes the step, writes a checkpoint and stops.";

#[derive(Debug, Args)]
pub struct DinTrainArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    #[command(flatten)]
    pub train: TrainArgs,
    /// What a GPU computes products in [default: f32; on --resume as the run began]
    #[arg(long, value_enum, value_name = "P")]
    pub precision: Option<PrecisionArg>,
}

pub(super) fn leaves(text: &str) -> Result<u32, String> {
    let allowed = text.parse().ok().filter(|&leaves| is_allowed(leaves));
    allowed.ok_or_else(|| format!("expected a power of two from 1 to {MAX_LEAVES}"))
}

/// Settings of a training run.
#[derive(Clone, Debug, Args)]
pub struct TrainArgs {
    /// Training data: Parquet or CSV files, or directories of them
    #[arg(long, visible_alias = "data", num_args = 1.., value_name = "FILE")]
    pub train: Vec<PathBuf>,
    /// Validation data, evaluated after each epoch; the best epoch is chosen on it
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub valid: Vec<PathBuf>,
    /// The run directory to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Go on with the run in --out from its last checkpoint
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    pub steps: StepArgs,
    /// Where the rows of a table are in a run of several ranks: TABLE=sharded or TABLE=replicated
    /// [default: replicated where it is small, see `din plan`]
    #[arg(long, value_name = "TABLE=PLACE", value_delimiter = ',', value_parser = plan::table_placement,
        help_heading = "Distributed")]
    pub placement: Vec<(String, PlacementArg)>,
    /// Seed of initial weights and order [default: the spec's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Also write a checkpoint every so many steps [default: after each epoch only]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: Option<u64>,
    /// Also evaluate the validation data every so many steps, with a checkpoint each; the best one
    /// is chosen among all evaluations [default: after each epoch only]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub evaluate_every: Option<u64>,
    /// Stop after this step of the run, with a checkpoint; --resume goes on
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u64).range(1..))]
    pub stop_after: Option<u64>,
    /// Refused: tables are trained in f32
    #[arg(long, value_enum, value_name = "P", hide = true)]
    pub tables: Option<TablesArg>,
    /// Print at the end where the time went, kernel by kernel; the first steps also as
    /// DIR/trace.json, for Perfetto or chrome://tracing
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub cpu: CpuArgs,
    #[command(flatten)]
    pub input: CsvArgs,
    #[command(flatten)]
    pub ranks: RanksArgs,
}

/// What the steps of a training are, instead of what the spec says.
#[derive(Clone, Copy, Debug, Args)]
pub struct StepArgs {
    /// Passes over the training data [default: the spec's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Samples a step [default: the spec's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// Leaves that a step is cut into at most, a power of two: as many ranks can share a step.
    /// Other leaves give other bits [default: 16; 4 where towers are computed once per distinct id]
    #[arg(long, value_name = "N", value_parser = leaves)]
    pub leaves: Option<u32>,
}

/// Where steps run.
#[derive(Clone, Copy, Debug, Args)]
pub struct DeviceArgs {
    /// Where steps run: cpu; cuda:0 (the first GPU, and so on); cuda, GPU k for rank k of a
    /// machine; or auto, which is cuda where there is a GPU. A GPU needs NVIDIA's driver, and for
    /// `din` itself NVRTC; its results are not the CPU's bit for bit [default: cpu; on --resume
    /// where the run began]
    #[arg(long, value_name = "DEVICE", value_parser = device::parse)]
    pub device: Option<DeviceArg>,
    /// GPU memory that tables may use, such as 20G; of a larger table the GPU holds a part, with
    /// the same results [default: three quarters of what is free]
    #[arg(long, value_name = "BYTES", value_parser = device::bytes)]
    pub gpu_table_memory: Option<usize>,
}

/// How the CPU is used.
#[derive(Clone, Debug, Args)]
pub struct CpuArgs {
    /// Threads [default: all cores]; results do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Instruction set level to use instead of the best one here; results are the same bits only at
    /// the same level
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub isa: Option<IsaLevel>,
}

/// How text data are read.
#[derive(Clone, Debug, Args)]
pub struct CsvArgs {
    /// What separates the entries of a list in a CSV field [default: |; of a run, what it began
    /// with]
    #[arg(long, value_name = "CHAR", value_parser = one_byte)]
    pub list_separator: Option<u8>,
}

pub(super) fn one_byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        &[byte] if byte.is_ascii() && byte != b'"' && byte != b'\n' => Ok(byte),
        _ => Err("expected one ASCII character".into()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IsaLevel {
    /// SSE4.2
    V2,
    /// AVX2, FMA
    V3,
    /// AVX-512
    V4,
}

impl From<IsaLevel> for din_program::Isa {
    fn from(level: IsaLevel) -> Self {
        match level {
            IsaLevel::V2 => Self::V2,
            IsaLevel::V3 => Self::V3,
            IsaLevel::V4 => Self::V4,
        }
    }
}

/// What the weights of tables are stored as while a trained model predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TablesArg {
    /// As they were trained
    F32,
    /// Rounded to 16 bits: half the memory and traffic
    Bf16,
}

impl From<TablesArg> for TablePrecision {
    fn from(tables: TablesArg) -> Self {
        match tables {
            TablesArg::F32 => Self::F32,
            TablesArg::Bf16 => Self::Bf16,
        }
    }
}

/// A trained run and which of its checkpoints.
#[derive(Clone, Debug, Args)]
pub struct TrainedArgs {
    /// The run directory
    pub run: PathBuf,
    /// `best`, `last`, or the name of one in the run's `checkpoints`
    #[arg(long, default_value = "best", value_name = "NAME")]
    pub checkpoint: String,
}

#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(flatten)]
    pub trained: TrainedArgs,
    /// Data with labels: Parquet or CSV files, or directories of them
    #[arg(long, num_args = 1.., required = true, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print each metric by the values of a key or a categorical feature, too, such as `user.city`
    #[arg(long, value_name = "FIELD")]
    pub by: Vec<String>,
    /// bf16: print each metric with tables in f32 and in BF16, and the difference; on a CPU alone
    #[arg(long, value_enum, value_name = "P", default_value_t = TablesArg::F32)]
    pub tables: TablesArg,
    /// Print at the end what was decoded and how much memory was used, rank by rank
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub cpu: CpuArgs,
    #[command(flatten)]
    pub input: CsvArgs,
    #[command(flatten)]
    pub ranks: RanksArgs,
}

#[derive(Debug, Args)]
pub struct PredictArgs {
    #[command(flatten)]
    pub trained: TrainedArgs,
    /// Data, with or without labels: Parquet or CSV files, or directories of them
    #[arg(long, num_args = 1.., required = true, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// File to write, .parquet or .csv: key columns, labels where the data have them, one
    /// probability per prediction
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also write the logits, which `eval` ranks by: `<label>_logit` beside `<label>_probability`
    #[arg(long)]
    pub logits: bool,
    /// Also write the spec's outputs (`output query = …`), as lists: to .parquet alone
    #[arg(long)]
    pub outputs: bool,
    /// What the weights of tables are stored as; bf16 takes half the memory and rounds them, on a
    /// CPU alone: `eval --tables bf16` says what that costs
    #[arg(long, value_enum, value_name = "P", default_value_t = TablesArg::F32)]
    pub tables: TablesArg,
    /// Replace --out if it is there
    #[arg(long)]
    pub force: bool,
    /// Print at the end what was decoded and how much memory was used, rank by rank
    #[arg(long)]
    pub profile: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub cpu: CpuArgs,
    #[command(flatten)]
    pub input: CsvArgs,
    #[command(flatten)]
    pub ranks: RanksArgs,
}
