//! The arguments of the verbs that compile: `emit` and `build`.

use super::{IsaLevel, SpecArgs};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use din_runtime::exec::cuda::CudaTarget;
use std::path::PathBuf;

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
