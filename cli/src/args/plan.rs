//! The arguments of `din plan`.

use super::{IsaLevel, RanksArgs, SpecArgs, name_value};
use crate::device;
use clap::{Args, ValueEnum};
use din_runtime::leaves::MAX_LEAVES;
use din_runtime::table::Placement;
use std::path::PathBuf;

pub const PLAN_EXAMPLES: &str = "Example:\n  din plan models/din.din --ranks 64 --rows good=1e9,shop=1e7 --batch 65536\n  \
din plan models/din.din --ranks 16 --rows good=1e9 --device h100\n  \
mpirun -n 2 din plan models/din.din --ranks 2 --stats run/ --threads 1 --measure\n\n\
Nothing is trained. docs/operations/planning.md has the model and what it assumes.";

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Ranks of the run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LEAVES)))]
    pub ranks: u32,
    /// Ids that a table will have, over all ranks: good=1e9 [default: those of --stats, else a
    /// million; a fixed table has its own]
    #[arg(long, value_name = "TABLE=N", value_delimiter = ',', value_parser = table_rows)]
    pub rows: Vec<(String, u64)>,
    /// Samples per step, of all ranks together [default: the spec's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// Leaves that a batch is cut into, a power of two [default: that of training, or as many as
    /// ranks]
    #[arg(long, value_name = "N", value_parser = leaves)]
    pub leaves: Option<u32>,
    /// A run directory: how often ids occur is read from its last checkpoint, and how long lists
    /// are from its training data
    #[arg(long, value_name = "RUN")]
    pub stats: Option<PathBuf>,
    /// Without --stats: the k-th most frequent id of a table is proportional to k^-EXPONENT
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.05, value_parser = exponent)]
    pub zipf: f64,
    /// Mean number of entries of a sequence: visited=30 [default: those of --stats, else 20]
    #[arg(long, value_name = "SEQUENCE=N", value_delimiter = ',', value_parser = positive_value)]
    pub lengths: Vec<(String, f64)>,
    /// Mean number of samples per request, of a spec with requests [default: that of --stats, else
    /// 10]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub candidates: Option<f64>,
    /// Samples of the training data, of which a part is in memory [default: those of --stats, else
    /// more than that part]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: Option<u64>,
    /// Passes over the training data [default: the spec's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// What a rank computes on
    #[arg(long, value_enum, value_name = "DEVICE", default_value_t = PlannedDevice::Cpu)]
    pub device: PlannedDevice,
    /// Threads of a rank [default: 16; with --measure all cores of this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Where a table goes, whatever the planner would choose
    #[arg(long, value_name = "TABLE=PLACE", value_delimiter = ',', value_parser = table_placement)]
    pub placement: Vec<(String, PlacementArg)>,
    /// Memory of a rank, such as 64GiB, of its GPU with --device h100 [default: a GPU's; of a CPU
    /// what it needs is only printed]
    #[arg(long, value_name = "BYTES", value_parser = device::bytes)]
    pub memory: Option<usize>,
    /// Time steps of the model on this machine, on made data, instead of taking rates of another
    /// one; takes some seconds. With --stats, reading the run's data too; on ranks that mpirun has
    /// started, communication between them
    #[arg(long)]
    pub measure: bool,
    /// Instruction set level of --measure [default: the best one here]
    #[arg(long, value_enum, value_name = "LEVEL", requires = "measure")]
    pub isa: Option<IsaLevel>,
    /// Bytes per second that a rank sends while it receives as many, such as 12G [default: as
    /// measured between ranks, else 100 Gbit/s; 400 Gbit/s of a GPU]
    #[arg(long, value_name = "BYTES", value_parser = device::bytes)]
    pub bandwidth: Option<usize>,
    /// Microseconds until a message arrives [default: as measured between ranks, else 10; 2 of a
    /// GPU]
    #[arg(long, value_name = "MICROSECONDS", value_parser = positive)]
    pub latency: Option<f64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Ranks that measure together
    #[command(flatten)]
    pub launched: RanksArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlannedDevice {
    /// The cores of the host
    Cpu,
    /// One NVIDIA H100 SXM, by its published rates
    H100,
    /// One NVIDIA H200 SXM, by its published rates
    H200,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementArg {
    Sharded,
    Replicated,
}

impl From<PlacementArg> for Placement {
    fn from(asked: PlacementArg) -> Self {
        match asked {
            PlacementArg::Sharded => Self::Sharded,
            PlacementArg::Replicated => Self::Replicated,
        }
    }
}

fn table_rows(text: &str) -> Result<(String, u64), String> {
    let expected = || "expected TABLE=N, such as good=1e9".to_string();
    let (name, value) = name_value(text).map_err(|_| expected())?;
    let rows = value.parse::<f64>().map_err(|_| expected())?;
    match (1.0..=1e15).contains(&rows) && rows.fract() == 0.0 {
        true => Ok((name, rows as u64)),
        false => Err("expected a whole number of ids from 1 to 1e15".into()),
    }
}

pub(super) fn table_placement(text: &str) -> Result<(String, PlacementArg), String> {
    match name_value(text) {
        Ok((name, place)) if place == "sharded" => Ok((name, PlacementArg::Sharded)),
        Ok((name, place)) if place == "replicated" => Ok((name, PlacementArg::Replicated)),
        Ok(_) | Err(_) => Err("expected TABLE=sharded or TABLE=replicated".into()),
    }
}

fn positive_value(text: &str) -> Result<(String, f64), String> {
    let (name, value) = name_value(text).map_err(|_| "expected SEQUENCE=N, such as visited=30".to_string())?;
    Ok((name, positive(&value)?))
}

fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| *value > 0.0 && *value <= 1e9);
    value.ok_or_else(|| "expected a positive number".into())
}

fn exponent(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| (0.0..=10.0).contains(value));
    value.ok_or_else(|| "expected a number from 0 to 10".into())
}

fn leaves(text: &str) -> Result<u32, String> {
    let value = text.parse::<u32>().ok().filter(|value| value.is_power_of_two() && *value <= MAX_LEAVES);
    value.ok_or_else(|| format!("expected a power of two from 1 to {MAX_LEAVES}"))
}
