//! The command line of `din`, and of the executables it builds.

mod plan;
mod ranks;

pub use plan::{PLAN_EXAMPLES, PlacementArg, PlanArgs, PlannedDevice};
pub use ranks::RanksArgs;

use crate::device::{self, DeviceArg};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use din_runtime::exec::cuda::CudaTarget;
use din_runtime::leaves::{MAX_LEAVES, is_allowed};
use std::path::PathBuf;

/// A small language for click-through-rate ranking models: check, train, evaluate, predict, and
/// build stand-alone executables.
#[derive(Debug, Parser)]
#[command(name = "din", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Din {
    #[command(flatten)]
    pub terminal: TerminalArgs,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 an error in the input (spec, data, run); 2 in the command line; \
3 of the system (disk, memory); 130 stopped by Ctrl-C.\n\
Start with `din demo`, which needs no data.";

/// How things are shown.
#[derive(Clone, Debug, Args)]
pub struct TerminalArgs {
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Say only what was asked for, and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Form of diagnostics
    #[arg(long, global = true, value_enum, default_value_t = DiagnosticFormat::Human)]
    pub format: DiagnosticFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiagnosticFormat {
    /// With the source text and what points into it
    Human,
    /// One line each
    Concise,
    /// One JSON object each
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check specs: names, types, shapes, tables, training; no data are read
    #[command(after_help = "Example:\n  din check models/din.din\n  din check --format json models/*.din")]
    Check(CheckArgs),
    /// Write specs in the one standard layout
    #[command(
        after_help = "Example:\n  din fmt models/*.din\n  din fmt --check models/*.din   # exit code 1 if any would change\n  \
                            din fmt - < model.din          # to standard output"
    )]
    Fmt(FmtArgs),
    /// Say what a model, a run or an executable holds: columns, tables, parameters, code
    #[command(after_help = "Example:\n  din info models/din.din\n  din info run/\n  din info ranker")]
    Info(InfoArgs),
    /// Print what a compiler stage makes of a spec
    #[command(after_help = "Example:\n  din emit models/din.din --stage graph")]
    Emit(EmitArgs),
    /// Build a stand-alone executable that trains, evaluates and predicts with the model
    #[command(
        after_help = "Example:\n  din build models/din.din -o ranker\n  ./ranker train --train a.parquet --valid b.parquet --out run/\n  \
                            din build models/din.din -o ranker --cuda sm_80,sm_90,compute_90\n\n\
                            The executable holds the generated machine code and needs no compiler, linker or `din` where it runs; \
                            with --cuda the kernels for GPUs too, which need NVIDIA's driver alone."
    )]
    Build(BuildArgs),
    /// Train a model into a run directory
    #[command(after_help = TRAIN_EXAMPLES)]
    Train(DinTrainArgs),
    /// Measure a trained run on data with labels
    #[command(after_help = "Example:\n  din eval run/ --data test.parquet\n  din eval run/ --data test.parquet --json")]
    Eval(EvalArgs),
    /// Write one probability for each row of data
    #[command(after_help = "Example:\n  din predict run/ --data today.parquet --out scores.parquet\n  \
                            din predict run/ --data today.parquet --out scores.csv")]
    Predict(PredictArgs),
    /// Say what a run of several ranks would take, before anything runs: memory, traffic, time
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Box<PlanArgs>),
    /// Make a click log with known truth: train.parquet, valid.parquet, test.parquet, truth.json
    #[command(after_help = "Example:\n  din synth --out log --rows 200000 --seed 7")]
    Synth(SynthArgs),
    /// Make data, train a pooling model and DIN on them, and compare both with the truth
    #[command(after_help = "Example:\n  din demo\n  din demo --out demo --rows 150000")]
    Demo(DemoArgs),
}

const TRAIN_EXAMPLES: &str = "Example:\n  din train models/din.din --train train.parquet --valid valid.parquet --out run/\n  \
din train models/din.din --train day1.parquet day2.parquet --valid day3.parquet --out run/ --set lr=3e-4 --seed 2\n  \
din train models/din.din --out run/ --resume --epochs 4   # goes on where the run stopped\n  \
din train models/din.din --train train.parquet --valid valid.parquet --out run/ --device cuda:0\n\n\
Same spec, data, seed and ISA level give the same bits at any number of threads, stopped and resumed or not.\n\
Ctrl-C finishes the step, writes a checkpoint and stops.";

/// A spec and what is set in it.
#[derive(Clone, Debug, Args)]
pub struct SpecArgs {
    /// The model, a .din file
    pub model: PathBuf,
    /// Give a hyper-parameter another value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_value)]
    pub sets: Vec<(String, String)>,
}

fn name_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().into(), value.trim().into()))
        }
        _ => Err("expected NAME=VALUE, such as lr=3e-4".into()),
    }
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// .din files, or folders of them; a file without a model is checked as a library
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Give a hyper-parameter another value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_value)]
    pub sets: Vec<(String, String)>,
    /// Treat warnings as errors
    #[arg(long)]
    pub deny_warnings: bool,
}

#[derive(Debug, Args)]
pub struct FmtArgs {
    /// .din files, or - for standard input
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Write nothing; exit code 1 if a file would change
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// A .din file, a run directory or a built executable
    pub what: PathBuf,
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_value)]
    pub sets: Vec<(String, String)>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct EmitArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// What to print
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    pub stage: Stage,
    /// Print the graphs after each run of this pass that changed them, or of `all`, instead of a
    /// stage
    #[arg(long, value_name = "PASS", value_parser = pass_names(), conflicts_with = "stage")]
    pub print_after: Option<String>,
    /// Print how long each pass took over each graph, instead of a stage
    #[arg(long, conflicts_with = "stage")]
    pub timings: bool,
    /// Instruction set level of `clif` and `asm`
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = IsaLevel::V3)]
    pub isa: IsaLevel,
    /// What `cuda`, `ptx` and `sass` compute products in
    #[arg(long, value_enum, value_name = "P", default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    /// Architecture of `ptx` and `sass`, such as 90
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(80..1000))]
    pub arch: u32,
}

/// What `--print-after` takes.
fn pass_names() -> PossibleValuesParser {
    let passes = din_compiler::optimize::PASSES.iter().map(|pass| pass.name);
    PossibleValuesParser::new(passes.chain([din_compiler::optimize::DIFFERENTIATE, "all"]))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// Exact products
    F32,
    /// Operands of 10 bits of mantissa, on tensor cores
    Tf32,
    /// Operands of 7 bits of mantissa, on tensor cores
    Bf16,
}

impl From<PrecisionArg> for din_program::cuda::Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Tf32 => Self::Tf32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The syntax tree
    Ast,
    /// The tensor graphs as elaborated
    Graph,
    /// The tensor graphs with derivatives, after all passes
    Optimized,
    /// The schedule: phases, calls and buffers
    Schedule,
    /// Cranelift's intermediate code
    Clif,
    /// The machine code
    Asm,
    /// CUDA C++ of all kernels
    Cuda,
    /// PTX of it; needs NVRTC
    Ptx,
    /// Machine code of a GPU; needs NVRTC, and a disassembler of the CUDA toolkit
    Sass,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub spec: SpecArgs,
    /// The executable to write
    #[arg(short, long)]
    pub out: PathBuf,
    /// Replace --out even if it is no executable that `din build` wrote
    #[arg(long)]
    pub force: bool,
    /// Also embed kernels for GPUs, one image per architecture: sm_90 is machine code for that
    /// architecture, compute_90 is PTX, which the driver compiles for it and for later ones. Needs
    /// NVRTC, but no GPU
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub cuda: Vec<CudaTarget>,
    /// What GPUs compute products in
    #[arg(long, value_enum, value_name = "P", default_value_t = PrecisionArg::F32, requires = "cuda")]
    pub precision: PrecisionArg,
}

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

fn leaves(text: &str) -> Result<u32, String> {
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
    /// Passes over the training data [default: the spec's]
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Samples a step [default: the spec's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// Where the rows of a table are in a run of several ranks: TABLE=sharded or TABLE=replicated
    /// [default: replicated where it is small, see `din plan`]
    #[arg(long, value_name = "TABLE=PLACE", value_delimiter = ',', value_parser = plan::table_placement,
        help_heading = "Distributed")]
    pub placement: Vec<(String, PlacementArg)>,
    /// Leaves that a step is cut into at most, a power of two: as many ranks can share a step.
    /// Other leaves give other bits [default: 16; 4 where towers are computed once per distinct id]
    #[arg(long, value_name = "N", value_parser = leaves)]
    pub leaves: Option<u32>,
    /// Seed of initial weights and order [default: the spec's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Also write a checkpoint every so many steps [default: after each epoch only]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: Option<u64>,
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

/// Where steps run.
#[derive(Clone, Copy, Debug, Args)]
pub struct DeviceArgs {
    /// Where steps run: cpu; cuda:0 (the first GPU, and so on); cuda, GPU k for rank k of a machine;
    /// or auto, which is cuda where there is a GPU. A GPU needs NVIDIA's driver, and for `din` itself
    /// NVRTC; its results are not the CPU's bit for bit [default: cpu; on --resume where the run
    /// began]
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

fn one_byte(text: &str) -> Result<u8, String> {
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
    /// Replace --out if it is there
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    #[command(flatten)]
    pub cpu: CpuArgs,
    #[command(flatten)]
    pub input: CsvArgs,
    #[command(flatten)]
    pub ranks: RanksArgs,
}

#[derive(Clone, Debug, Args)]
pub struct SynthArgs {
    /// Folder to write into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub world: WorldArgs,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

#[derive(Clone, Debug, Args)]
pub struct WorldArgs {
    /// Seed of everything random; same options, same bytes
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Rows of the three files together: 80, 10 and 10 %
    #[arg(long, default_value_t = 150_000, value_name = "N")]
    pub rows: u64,
    /// Users [default: a 25th of the rows]
    #[arg(long, value_name = "N")]
    pub users: Option<usize>,
    /// Different goods
    #[arg(long, default_value_t = 3_000, value_name = "N")]
    pub goods: usize,
    /// Categories of goods
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub categories: usize,
}

#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Folder to write into; it must not exist [default: a new temporary folder]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub world: WorldArgs,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

/// A built executable: a trained or trainable ranking model that needs nothing else.
#[derive(Debug, Parser)]
#[command(max_term_width = 110, after_help = STANDALONE_CODES)]
pub struct StandaloneDin {
    #[command(flatten)]
    pub terminal: TerminalArgs,
    #[command(subcommand)]
    pub verb: StandaloneVerb,
}

const STANDALONE_CODES: &str = "Exit codes: 0 success; 1 an error in the input (data, run); 2 in the command line; \
3 of the system (disk, memory); 130 stopped by Ctrl-C.";

#[derive(Debug, Subcommand)]
pub enum StandaloneVerb {
    /// Train the model into a run directory
    Train(TrainArgs),
    /// Measure a trained run on data with labels
    Eval(EvalArgs),
    /// Write one probability for each row of data
    Predict(PredictArgs),
    /// Say what the model holds: columns, tables, parameters, code
    Info(StandaloneInfoArgs),
}

#[derive(Debug, Args)]
pub struct StandaloneInfoArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_lines_are_consistent() {
        Din::command().debug_assert();
        StandaloneDin::command().debug_assert();
    }
}
