//! The command line of `din`, and of the executables it builds.

mod check;
mod compile;
mod diff;
mod doctor;
mod examine;
mod gate;
mod graph;
mod new;
mod plan;
mod ranks;
mod report;
mod run;
mod tune;

pub use check::{CHECK_EXAMPLES, CheckArgs};
pub use compile::{BuildArgs, EmitArgs, PrecisionArg, Stage};
pub use diff::{DIFF_EXAMPLES, DiffArgs};
pub use doctor::{DOCTOR_EXAMPLES, DoctorArgs};
pub use examine::{ATTRIBUTE_EXAMPLES, AttributeArgs, EMBED_EXAMPLES, EmbedArgs};
pub use gate::{GATE_EXAMPLES, GateArgs};
pub use graph::{GRAPH_EXAMPLES, GraphArgs, PictureForm};
pub use new::{NEW_EXAMPLES, NewArgs, Template};
pub use plan::{PLAN_EXAMPLES, PlacementArg, PlanArgs, PlannedDevice};
pub use ranks::RanksArgs;
pub use report::{IntervalArgs, REPORT_EXAMPLES, ReportArgs};
pub use run::{
    CpuArgs, CsvArgs, DeviceArgs, DinTrainArgs, EvalArgs, IsaLevel, PredictArgs, StepArgs, TRAIN_EXAMPLES, TablesArg,
    TrainArgs, TrainedArgs,
};
pub use tune::{HalvingArg, SamplerArg, TUNE_EXAMPLES, TuneArgs};

use crate::codes::CodePage;
use clap::{Args, Parser, Subcommand, ValueEnum};
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
    #[arg(long, global = true, value_enum, default_value_t = ReportFormat::Human)]
    pub format: ReportFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// With the source text and what points into it
    #[value(alias = "text")]
    Human,
    /// One line each
    Concise,
    /// One JSON object each
    Json,
    /// Tables; of `check` and `diff`
    Markdown,
    /// SARIF 2.1.0, of `check` alone, as the next ones
    Sarif,
    /// Annotations of GitHub Actions
    Github,
    /// GitLab's Code Quality
    Gitlab,
    /// JUnit's XML, a test case for each file
    Junit,
}

impl ReportFormat {
    /// Whether it is a report: written as a whole at the end.
    pub fn is_report(self) -> bool {
        match self {
            Self::Human | Self::Concise | Self::Json => false,
            Self::Markdown | Self::Sarif | Self::Github | Self::Gitlab | Self::Junit => true,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a folder for a model: spec, settings, CI, and a README with the commands
    #[command(after_help = NEW_EXAMPLES)]
    New(NewArgs),
    /// Check specs: names, types, shapes, tables, training; no data are read
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Run the `test` blocks of specs and libraries, by the reference interpreter
    #[command(
        after_help = "Example:\n  din test my_layers.din\n  din test stdlib models   # folders: all .din files below them"
    )]
    Test(TestArgs),
    /// Say what a code of an error or warning means, with a failing and a corrected example
    #[command(after_help = "Example:\n  din explain E0302\n  din explain   # lists all codes")]
    Explain(ExplainArgs),
    /// Write specs in the one standard layout
    #[command(
        after_help = "Example:\n  din fmt models/*.din\n  din fmt --check models/*.din   # exit code 1 if any would change\n  \
                            din fmt - < model.din          # to standard output"
    )]
    Fmt(FmtArgs),
    /// Serve an editor: the Language Server Protocol over standard input and output
    #[command(after_help = "An editor starts it; docs/editors.md says how.\n\nExample:\n  din lsp")]
    Lsp(LspArgs),
    /// Print what completes `din` and its options in a shell
    #[command(after_help = "Example:\n  din completions bash > ~/.local/share/bash-completion/completions/din\n  \
                            din completions zsh > ~/.zfunc/_din\n  \
                            din completions fish > ~/.config/fish/completions/din.fish")]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each verb
    #[command(after_help = "Example:\n  din man | man -l -\n  din man --out ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Say what of this machine din can use, what it cannot, and how to get that
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Say what a model, a run or an executable holds: columns, tables, parameters, code
    #[command(after_help = "Example:\n  din info models/din.din\n  din info run/\n  din info ranker")]
    Info(InfoArgs),
    /// Say what differs between two models by meaning, and what a checkpoint of the one is to the
    /// other
    #[command(after_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Draw a model: groups, tables, layers with shapes and numbers of weights, predictions
    #[command(after_help = GRAPH_EXAMPLES)]
    Graph(GraphArgs),
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
    /// Search the hyper-parameters of a spec: trains many trials, most of them only in part
    #[command(after_help = TUNE_EXAMPLES)]
    Tune(Box<TuneArgs>),
    /// Measure a trained run on data with labels
    #[command(
        after_help = "Example:\n  din eval run/ --data test.parquet\n  din eval run/ --data test.parquet --json\n  \
                            din eval run/ --data test.parquet --by user.city\n  \
                            din eval run/ --data test.parquet --tables bf16   # what half the memory would cost"
    )]
    Eval(EvalArgs),
    /// Write one probability for each row of data
    #[command(after_help = "Example:\n  din predict run/ --data today.parquet --out scores.parquet\n  \
                            din predict run/ --data today.parquet --out scores.csv --tables bf16")]
    Predict(PredictArgs),
    /// Write a page about trained runs: curves, metrics with intervals, slices, calibration
    #[command(after_help = REPORT_EXAMPLES)]
    Report(Box<ReportArgs>),
    /// Say whether a trained run may replace another one: compare their metrics on the same data
    #[command(after_help = GATE_EXAMPLES)]
    Gate(Box<GateArgs>),
    /// Write the vectors of a table of a trained run, with their ids
    #[command(after_help = EMBED_EXAMPLES)]
    Embed(EmbedArgs),
    /// Say what a trained model has learned: the ids that are nearest to an id
    #[command(after_help = ATTRIBUTE_EXAMPLES)]
    Attribute(AttributeArgs),
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
pub struct TestArgs {
    /// .din files, or folders of them
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Codes, such as E0302 [default: a list of all]
    #[arg(value_name = "CODE", value_parser = CodePage::of)]
    pub codes: Vec<CodePage>,
    /// Print JSON: one object per code, with its page in Markdown
    #[arg(long)]
    pub json: bool,
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
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write `din.1` and a page for each verb into this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct LspArgs {
    /// Over standard input and output, as always; some editors say so
    #[arg(long, hide = true)]
    pub stdio: bool,
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
    /// Categories that each user is drawn to [default: 2 to 5]
    #[arg(long, value_name = "N")]
    pub interests: Option<usize>,
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
