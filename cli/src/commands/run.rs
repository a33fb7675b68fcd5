//! The running verbs: train, eval and predict, for `din` and for the executables it builds.

use crate::args::{CpuArgs, DeviceArgs, DinTrainArgs, EvalArgs, PredictArgs, TablesArg, TrainArgs, TrainedArgs};
use crate::compile::{self, compile_checked};
use crate::device::{self, DeviceArg};
use crate::failure::{Failure, INTERRUPTED, Outcome};
use crate::profile;
use crate::progress::Progress;
use crate::sources::{self, folder_of};
use crate::terminal::Console;
use din_compiler::model::CheckedModel;
use din_compiler::unscaled::unscaled_numbers;
use din_program::cuda::Precision;
use din_program::{Program, TablePrecision};
use din_runtime::bundle::Bundle;
use din_runtime::comm::{Channel, Communicator, check_agreement};
use din_runtime::data::{Dataset, OpenOptions, ReadMode, sample};
use din_runtime::evaluate::{PrecisionReport, Report, evaluate_rounded, evaluate_slices};
use din_runtime::fs::{metadata, not_an_input, write_atomically};
use din_runtime::metric;
use din_runtime::placement::shard_plan;
use din_runtime::predict::{self, OutputFormat, OutputOptions};
use din_runtime::run_dir::{OpenedRun, RunDirectory, RunRecord, same_spec};
use din_runtime::session::{CpuOptions, Device, LoadPurpose, OnSignal, Session};
use din_runtime::signal;
use din_runtime::table::ShardPlan;
use din_runtime::train::{self, Summary, TrainingEnd, TrainingOptions};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows that evaluation reads at a time if the batch size of training is not suitable.
const LEAST_BATCH: u32 = 1024;

pub fn din_train(console: &Console, args: &DinTrainArgs, ranks: &Arc<dyn Communicator>) -> Outcome {
    let model = sources::checked(console, &args.spec.model, &args.spec.sets)?;
    let compiled = compile_checked(console, &model)?;
    let resume = run_to_resume(console, &args.train, &**ranks)?;
    if resume.is_none() && ranks.rank() == 0 {
        warn_of_unscaled_numbers(console, &model, &args.train)?;
    }
    let asked = device::requested(&args.train.device, resume.as_ref())?;
    let precision = match (args.precision, &resume) {
        (Some(precision), _) => precision.into(),
        (None, Some(run)) => device::precision(&run.record),
        (None, None) => Precision::default(),
    };
    if args.precision.is_some() && asked == DeviceArg::Cpu {
        let help = "leave it out, or choose a GPU by --device cuda:0";
        return Err(Failure::user_error(format!("--precision applies only to GPU runs\n  help: {help}")));
    }
    let memory = args.train.device.gpu_table_memory;
    let device = device::choose(console, asked, memory, &**ranks, |gpu| device::compiled(&compiled, precision, gpu))?;
    let program = Arc::new(compiled.program);
    train_verb(console, &program, folder_of(&args.spec.model), &args.train, (resume, device), ranks)
}

/// From this magnitude on, numbers are far from the vectors beside them, which start near 0.
const LARGE: f64 = 100.0;

/// Warns of large numbers that a matrix product takes as the data have them: their share of its
/// gradient is as much larger as they are.
fn warn_of_unscaled_numbers(console: &Console, model: &CheckedModel, args: &TrainArgs) -> Result<(), Failure> {
    let unscaled = unscaled_numbers(model).map_err(|error| Failure::system_error(error.to_string()))?;
    let Some(data) = args.train.first().filter(|_| !unscaled.is_empty()) else { return Ok(()) };
    // What is wrong with the file is told where it is read as a whole.
    let Ok(columns) = sample(data, args.input.list_separator.unwrap_or(b'|')) else { return Ok(()) };
    for feature in unscaled.into_iter().map(|feature| &model.schema.features[feature as usize]) {
        let name = feature.column().expect("it is one of a column");
        let range = columns.iter().find(|column| column.name == name).and_then(|column| column.range);
        if let Some((least, greatest)) = range
            && least.abs().max(greatest.abs()) > LARGE
        {
            let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let name = if word { name.to_owned() } else { format!("{name:?}") };
            console.warning(format!(
                "{}: `{}` is from {least} to {greatest} in the first rows, and a layer takes it as it is\n  help: scale \
                 it, such as by `{}: number from standard({name})`, or `log(1 + {name})` if it is never negative",
                feature.location,
                feature.path(),
                feature.name,
            ));
        }
    }
    Ok(())
}

pub fn own_train(console: &Console, own: &Bundle, args: &TrainArgs, ranks: &Arc<dyn Communicator>) -> Outcome {
    let resume = run_to_resume(console, args, &**ranks)?;
    let asked = device::requested(&args.device, resume.as_ref())?;
    let memory = args.device.gpu_table_memory;
    let device = device::choose(console, asked, memory, &**ranks, |gpu| device::carried(own.kernels.as_ref(), gpu))?;
    // Where the spec of an executable lay is not known.
    train_verb(console, &own.program, Path::new(""), args, (resume, device), ranks)
}

/// The run that `--resume` continues, if there is one.
fn run_to_resume(console: &Console, args: &TrainArgs, ranks: &dyn Communicator) -> Result<Option<OpenedRun>, Failure> {
    if !args.resume {
        return Ok(None);
    }
    let found = OpenedRun::to_resume(&args.out, ranks)?;
    if found.is_none() {
        console.remark(format!("{}: no run yet; starting from the beginning", args.out.display()));
    }
    Ok(found)
}

fn train_verb(
    console: &Console,
    program: &Arc<Program>,
    spec_folder: &Path,
    args: &TrainArgs,
    (resume, device): (Option<OpenedRun>, Device),
    ranks: &Arc<dyn Communicator>,
) -> Outcome {
    if args.tables.is_some() {
        let help = "leave --tables out here; `eval --tables bf16` and `predict --tables bf16` round a trained run's";
        return Err(Failure::user_error(format!("tables are trained in f32\n  help: {help}")));
    }
    let options = TrainingOptions {
        spec_folder: spec_folder.into(),
        train: args.train.clone(),
        valid: args.valid.clone(),
        out: args.out.clone(),
        resume,
        epochs: args.steps.epochs,
        batch: args.steps.batch,
        leaves: args.steps.leaves,
        seed: args.seed,
        cpu: cpu_options(&args.cpu),
        device,
        list_separator: args.input.list_separator,
        checkpoint_every: args.checkpoint_every,
        evaluate_every: args.evaluate_every,
        stop_after: args.stop_after,
        profile: args.profile,
        placements: args.placement.iter().map(|(table, place)| (table.clone(), (*place).into())).collect(),
        ranks: ranks.clone(),
    };
    let summary = train(console, program, &options)?;
    let at = args.out.display();
    if let Some(profile) = &summary.profile {
        let trace = args.out.join("trace.json");
        write_atomically(&trace, profile.chrome_trace().to_string().as_bytes())?;
        console.result(profile::table(profile));
    }
    let interrupted = summary.ending == TrainingEnd::Interrupted;
    if interrupted && summary.steps == 0 {
        console.remark(format!("{at}: stopped before the first step; nothing is kept"));
        return Err(Failure::reported(INTERRUPTED));
    }
    if interrupted {
        let going_on = "the same command and --resume";
        console.remark(format!(
            "{at}: stopped at step {}; a checkpoint holds the place: go on by {going_on}",
            summary.steps
        ));
        return Err(Failure::reported(INTERRUPTED));
    }
    if summary.ending == TrainingEnd::StopAfter {
        console.remark(format!("{at}: stopped after step {} as asked; --resume goes on", summary.steps));
    }
    match summary.best {
        Some(best) => {
            let by = match (&best.metric, best.value) {
                (Some(metric), Some(value)) => format!("best {metric} {value:.4} in epoch {}", best.epoch),
                _ => format!("last epoch {}", best.epoch),
            };
            console.result(format!("{at}: {by}, checkpoint {}", best.checkpoint));
        }
        None if summary.steps > 0 => console.result(format!("{at}: not evaluated yet, step {}", summary.steps)),
        None => console.result(format!("{at}: no epoch was asked for")),
    }
    Ok(())
}

/// Trains and shows how it goes.
pub fn train(console: &Console, program: &Arc<Program>, options: &TrainingOptions) -> Result<Summary, Failure> {
    train_with(program, options, Progress::new(console))
}

/// The same, each line with a name before it.
pub fn train_named(
    console: &Console,
    program: &Arc<Program>,
    options: &TrainingOptions,
    name: &str,
) -> Result<Summary, Failure> {
    train_with(program, options, Progress::new(console).named(name))
}

fn train_with(
    program: &Arc<Program>,
    options: &TrainingOptions,
    mut progress: Progress<'_>,
) -> Result<Summary, Failure> {
    signal::install();
    Ok(train::train(program, options, &mut |event| progress.show(event))?)
}

pub fn cpu_options(args: &CpuArgs) -> CpuOptions {
    CpuOptions { threads: args.threads.map(|n| n as usize), isa: args.isa.map(Into::into) }
}

/// The model of a run, ready to predict.
pub(super) struct TrainedModel {
    pub session: Session,
    pub record: RunRecord,
    pub checkpoint: String,
    pub batch: usize,
}

/// What a model is opened as.
pub(super) struct OpenedAs {
    /// What tables are asked for as.
    pub tables: TablesArg,
    /// What is loaded of them on a CPU.
    pub purpose: LoadPurpose,
}

impl TrainedModel {
    /// What the run began with, unless another one is asked for, which is reported: the data may be
    /// another system's.
    pub(super) fn list_separator(&self, console: &Console, asked: Option<u8>) -> u8 {
        let recorded = self.record.list_separator;
        if let Some(asked) = asked.filter(|&asked| asked != recorded) {
            let (had, asked) = (char::from(recorded), char::from(asked));
            console.remark(format!("lists are separated by `{asked}` as asked; the run was trained with `{had}`"));
        }
        asked.unwrap_or(recorded)
    }

    /// Refuses ranks that were asked for something else.
    fn check_agreement(&self, data: &Dataset, more: &[String], ranks: &dyn Communicator) -> Outcome {
        let mut own = vec![
            format!("program {}", self.session.program().hash()),
            format!("checkpoint {}", self.checkpoint),
            format!("data {}", data.fingerprint()),
            format!("back end {}", self.session.backend()),
        ];
        own.extend_from_slice(more);
        Ok(check_agreement(ranks, Channel::Step, &own)?)
    }
}

/// `own`: what a stand-alone executable carries; otherwise the run's own program is used.
pub(super) fn open(
    console: &Console,
    own: Option<&Bundle>,
    trained: &TrainedArgs,
    device_args: &DeviceArgs,
    cpu: &CpuOptions,
    opened_as: OpenedAs,
    ranks: &Arc<dyn Communicator>,
) -> Result<TrainedModel, Failure> {
    let run = RunDirectory::open(&trained.run)?;
    let record = run.record()?;
    let (asked, memory) = (device::requested(device_args, None)?, device_args.gpu_table_memory);
    if opened_as.tables == TablesArg::Bf16 && matches!(asked, DeviceArg::OwnGpu | DeviceArg::Cuda(_)) {
        return Err(no_bf16_on(&asked));
    }
    let (program, device) = match own {
        Some(own) => {
            let kernels = |gpu: &device::ProbedGpu| device::carried(own.kernels.as_ref(), gpu);
            (own.program.clone(), device::choose(console, asked, memory, &**ranks, kernels)?)
        }
        None => {
            let mut program = run.program(&record)?;
            // A run holds no kernels for GPUs: they are compiled from its sources again, as for
            // training.
            let device = device::choose(console, asked, memory, &**ranks, |gpu| {
                let compiled = compile::again(console, &program, &trained.run)?;
                let made = device::compiled(&compiled, device::precision(&record), gpu)?;
                program = compiled.program;
                Ok(made)
            })?;
            (Arc::new(program), device)
        }
    };
    let purpose = match (&device, opened_as.tables) {
        (Device::Cpu, _) => opened_as.purpose,
        // A GPU gets all that a table has.
        (Device::Cuda { .. }, TablesArg::F32) => LoadPurpose::Training,
        (Device::Cuda { .. }, TablesArg::Bf16) => return Err(no_bf16_on(&device)),
    };
    let threads = cpu.start_threads()?;
    // The executor checks the program, which the checkpoint is read for.
    let executor = device.executor(&program, cpu, &threads)?;
    let divided = ranks.size() > 1;
    let plan = match divided {
        true => shard_plan(&program, record.leaves, &**ranks, &[])?,
        false => ShardPlan::whole(program.tables.len()),
    };
    let (checkpoint, loaded) = run.load(&trained.checkpoint, &program, &record, &plan, purpose)?;
    if own.is_some() && record.program != program.hash() && !same_spec(&run.program(&record)?, &program) {
        let help = "use the executable built from the spec that the run keeps in `spec/`, or `din` itself";
        return Err(Failure::user_error(format!(
            "{}: expected a run of this executable's model `{}`, found one trained with another spec or other --set \
             values (program {}, not {})\n  help: {help}",
            trained.run.display(),
            program.model,
            record.program,
            program.hash(),
        )));
    }
    let mut session = Session::with_model(executor, threads, loaded.model);
    if divided {
        session.join_ranks(ranks.clone(), plan)?;
    }
    let batch = record.batch.max(LEAST_BATCH) as usize;
    Ok(TrainedModel { session, record, checkpoint, batch })
}

fn no_bf16_on(device: &dyn Display) -> Failure {
    let help = "add --device cpu, or leave --tables out";
    Failure::user_error(format!("--tables bf16 is for a CPU; on {device} tables are in f32\n  help: {help}"))
}

pub fn eval(console: &Console, own: Option<&Bundle>, args: &EvalArgs, ranks: &Arc<dyn Communicator>) -> Outcome {
    // Both are evaluated.
    let tables = OpenedAs { tables: args.tables, purpose: LoadPurpose::Inference(TablePrecision::F32) };
    let mut opened = open(console, own, &args.trained, &args.device, &cpu_options(&args.cpu), tables, ranks)?;
    let program = opened.session.program().clone();
    let by = args.by.iter().map(|name| metric::slicing(&program.schema, name)).collect::<Result<Vec<_>, _>>()?;
    let texts = match args.tables {
        TablesArg::F32 => {
            let own = program.metrics.iter().flat_map(|metric| &metric.slices);
            metric::texts(&program.schema, own.chain(&by))
        }
        TablesArg::Bf16 if by.is_empty() => Vec::new(),
        TablesArg::Bf16 => {
            let help = "leave one of them out";
            let message = format!("--tables bf16 compares metrics over all rows, and --by slices them\n  help: {help}");
            return Err(Failure::user_error(message));
        }
    };
    let options = OpenOptions {
        list_separator: opened.list_separator(console, args.input.list_separator),
        statistics: opened.session.statistics().clone(),
        texts,
        ..OpenOptions::new(ReadMode::Evaluate)
    };
    let data =
        Dataset::open_with(&args.data, &opened.session.program().schema, &options).map_err(din_runtime::Error::from)?;
    let sliced = format!("slices by {}", args.by.join(", "));
    opened.check_agreement(&data, &[profiled(args.profile), stored(args.tables), sliced], &**ranks)?;
    remark_of_left_out(console, &data);
    warn_of_reuse(console, &opened.record, &data);
    let mut progress = Progress::new(console);
    let mut observe = |event| progress.show_pass(event);
    let (session, batch) = (&mut opened.session, opened.batch);
    let report = match args.tables {
        TablesArg::F32 => {
            evaluate_slices(session, &data, batch, OnSignal::Stop, &by, ranks, &mut observe).map(Measured::Trained)
        }
        TablesArg::Bf16 => {
            evaluate_rounded(session, &data, batch, OnSignal::Stop, ranks, &mut observe).map(Measured::Both)
        }
    };
    drop(progress);
    warn_of_values(console, &data);
    let report = report?;
    if args.json {
        let mut json = match &report {
            Measured::Trained(report) => report.to_json(),
            Measured::Both(report) => report.to_json(),
        };
        json["model"] = opened.session.program().model.clone().into();
        json["run"] = args.trained.run.display().to_string().into();
        json["checkpoint"] = opened.checkpoint.into();
        json["data"] = args.data.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().into();
        console.result(json.to_string());
    } else {
        let shown = |rows| console.remark(format!("{rows} rows, checkpoint {}", opened.checkpoint));
        match report {
            Measured::Trained(report) => {
                shown(report.rows);
                for value in &report.values {
                    console.result(value.to_string());
                    value.slices.iter().for_each(|slices| console.result(slices.to_string()));
                }
            }
            Measured::Both(report) => {
                shown(report.trained.rows);
                console.result(report.to_string());
            }
        }
    }
    show_reading(console, args.profile, &data, &**ranks)
}

/// What `eval` has measured.
enum Measured {
    Trained(Report),
    Both(PrecisionReport),
}

/// What tables are asked for as: all ranks are asked for the same.
fn stored(tables: TablesArg) -> String {
    format!("tables in {}", TablePrecision::from(tables))
}

/// Whether a rank shows what was read: all do, or none.
fn profiled(profile: bool) -> String {
    if profile { "a profile" } else { "no profile" }.into()
}

/// What each rank has read, where that is asked for.
fn show_reading(console: &Console, profile: bool, data: &Dataset, ranks: &dyn Communicator) -> Outcome {
    if profile {
        console.remark(profile::reading(&data.reading_profile(ranks)?));
    }
    Ok(())
}

pub(super) fn remark_of_left_out(console: &Console, data: &Dataset) {
    if let Some(left_out) = data.left_out() {
        console.remark(left_out);
    }
}

/// Figures on data that trained or chose the model are not what new data would give.
pub(super) fn warn_of_reuse(console: &Console, record: &RunRecord, data: &Dataset) {
    let shared = |had: &[PathBuf]| had.iter().find(|file| data.holds(file)).cloned();
    if let Some(file) = shared(&record.train.paths()) {
        console.warning(format!(
            "{}: the run was trained on this file; the figures say nothing of new data",
            file.display()
        ));
    }
    if let Some(file) = record.valid.as_ref().and_then(|valid| shared(&valid.paths())) {
        let why = "the best checkpoint was chosen on this file; the figures are too good for new data";
        console.warning(format!("{}: {why}", file.display()));
    }
}

pub(super) fn warn_of_values(console: &Console, data: &Dataset) {
    data.warnings().iter().for_each(|warning| console.warning(warning));
}

pub fn predict(console: &Console, own: Option<&Bundle>, args: &PredictArgs, ranks: &Arc<dyn Communicator>) -> Outcome {
    // What can be wrong with the output is found before anything is read.
    let format = OutputFormat::of(&args.out)?;
    if metadata(&args.out)?.is_some() && !args.force {
        let help = "choose another --out, or pass --force to replace it";
        return Err(Failure::user_error(format!("{}: already exists\n  help: {help}", args.out.display())));
    }
    let tables = OpenedAs { tables: args.tables, purpose: LoadPurpose::Inference(args.tables.into()) };
    let mut opened = open(console, own, &args.trained, &args.device, &cpu_options(&args.cpu), tables, ranks)?;
    let program = opened.session.program().clone();
    let output = OutputOptions { path: args.out.clone(), format, logits: args.logits, outputs: args.outputs };
    let separator = opened.list_separator(console, args.input.list_separator);
    let data = predict::open(&program, &args.data, separator, opened.session.statistics(), &output)?;
    not_an_input(&args.out, data.files())?;
    let logits = if args.logits { "logits" } else { "no logits" };
    let outputs = if args.outputs { "outputs" } else { "no outputs" };
    opened.check_agreement(
        &data,
        &[
            format!("output {}", args.out.display()),
            logits.into(),
            outputs.into(),
            profiled(args.profile),
            stored(args.tables),
        ],
        &**ranks,
    )?;
    remark_of_left_out(console, &data);
    signal::install();
    let mut progress = Progress::new(console);
    let mut observe = |event| progress.show_pass(event);
    let written = predict::predict(&mut opened.session, &data, &output, opened.batch, ranks, &mut observe);
    drop(progress);
    warn_of_values(console, &data);
    let written = written?;
    console.remark(format!("{}: {} rows", args.out.display(), written.rows));
    for (name, holds) in &written.columns {
        console.remark(format!("  {name}: {holds}"));
    }
    show_reading(console, args.profile, &data, &**ranks)
}
