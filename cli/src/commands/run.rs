//! The running verbs: train, eval and predict, for `din` and for the executables it builds.

use crate::args::{DeviceArg, DinTrain, Eval, Machine, Predict, Train};
use crate::compile::compile;
use crate::failure::{Failure, INTERRUPTED, Outcome};
use crate::profile;
use crate::progress::Progress;
use crate::terminal::Console;
use din_compiler::{Compiled, codegen};
use din_program::Program;
use din_runtime::checkpoint;
use din_runtime::data::{Dataset, Mode, OpenOptions};
use din_runtime::device::cuda::{Gpu, Nvrtc, Target};
use din_runtime::evaluate::evaluate;
use din_runtime::predict;
use din_runtime::run::{RunDirectory, interrupt};
use din_runtime::train::{self, Device, Options, Session, Summary};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Without a batch size in the spec's training settings that would suit, evaluation reads so many rows at a time.
const LEAST_BATCH: u32 = 1024;

pub fn din_train(console: &Console, args: &DinTrain) -> Outcome {
    let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
    let device = device(console, &compiled, args.device)?;
    train_verb(console, &Arc::new(compiled.program), &args.train, device)
}

/// What was asked for, with the kernels for it.
fn device(console: &Console, compiled: &Compiled, asked: DeviceArg) -> Result<Device, Failure> {
    let number = match asked {
        DeviceArg::Cpu => return Ok(Device::Cpu),
        DeviceArg::Auto => 0,
        DeviceArg::Cuda(number) => number,
    };
    let make = || -> Result<(String, Device), String> {
        let (name, architecture) = Gpu::probe(number).map_err(|e| e.to_string())?;
        let made = codegen::cuda::program(&compiled.program, &compiled.kernels, &Default::default())
            .map_err(|e| e.to_string())?;
        let file = format!("{}.cu", compiled.program.model);
        let nvrtc = Nvrtc::load().map_err(|e| e.to_string())?;
        let image = nvrtc.compile(&made.source, &file, Target::Cubin(architecture)).map_err(|e| e.to_string())?;
        Ok((name, Device::Cuda { number, launches: Arc::new(made.launches), images: vec![image] }))
    };
    match make() {
        Ok((name, device)) => {
            console.remark(format!("on GPU {number}, {name}"));
            Ok(device)
        }
        Err(why) if asked == DeviceArg::Auto => {
            let why = why.lines().next().unwrap_or_default();
            console.remark(format!("on the CPU: {why}"));
            Ok(Device::Cpu)
        }
        Err(why) => Err(Failure::machine(why)),
    }
}

pub fn train_verb(console: &Console, program: &Arc<Program>, args: &Train, device: Device) -> Outcome {
    let options = Options {
        train: args.train.clone(),
        valid: args.valid.clone(),
        out: args.out.clone(),
        resume: args.resume,
        epochs: args.epochs,
        batch: args.batch,
        seed: args.seed,
        machine: machine(&args.machine),
        device,
        list_separator: args.input.list_separator,
        checkpoint_every: args.checkpoint_every,
        profile: args.profile,
    };
    let summary = train(console, program, &options)?;
    let at = args.out.display();
    if let Some(profile) = &summary.profile {
        let trace = args.out.join("trace.json");
        std::fs::write(&trace, profile.chrome_trace().to_string())
            .map_err(|e| Failure::machine(format!("{}: {e}", trace.display())))?;
        console.result(profile::table(profile));
    }
    if summary.stopped && summary.steps == 0 {
        console.remark(format!("{at}: stopped before the first step; nothing is kept"));
        return Err(Failure::said(INTERRUPTED));
    }
    if summary.stopped {
        let going_on = "the same command and --resume";
        console.remark(format!(
            "{at}: stopped at step {}; a checkpoint holds the place: go on by {going_on}",
            summary.steps
        ));
        return Err(Failure::said(INTERRUPTED));
    }
    match summary.best {
        Some(best) => {
            let by = match (&best.metric, best.value) {
                (Some(metric), Some(value)) => format!("best {metric} {value:.4} in epoch {}", best.epoch),
                _ => format!("last epoch {}", best.epoch),
            };
            console.result(format!("{at}: {by}, checkpoint {}", best.checkpoint));
        }
        None => console.result(format!("{at}: no epoch was asked for")),
    }
    Ok(())
}

/// Trains and shows how it goes.
pub fn train(console: &Console, program: &Arc<Program>, options: &Options) -> Result<Summary, Failure> {
    train_with(program, options, Progress::new(console))
}

/// The same, each line with a name before it.
pub fn train_named(
    console: &Console,
    program: &Arc<Program>,
    options: &Options,
    name: &str,
) -> Result<Summary, Failure> {
    train_with(program, options, Progress::new(console).named(name))
}

fn train_with(program: &Arc<Program>, options: &Options, mut progress: Progress<'_>) -> Result<Summary, Failure> {
    set_threads(options.machine.thread_count());
    interrupt::install();
    Ok(train::train(program, options, &mut |event| progress.show(event))?)
}

pub fn machine(args: &Machine) -> train::Machine {
    train::Machine { threads: args.threads.map(|n| n as usize), isa: args.isa.map(Into::into) }
}

/// Before anything else uses threads.
fn set_threads(threads: usize) {
    din_runtime::train::set_threads(threads);
}

/// A run's model, ready to predict.
struct Opened {
    session: Session,
    run: RunDirectory,
    checkpoint: String,
    batch: usize,
}

/// `own`: the program of a stand-alone executable; otherwise the run's own is used.
fn open(own: Option<&Arc<Program>>, path: &Path, name: &str, machine: &train::Machine) -> Result<Opened, Failure> {
    set_threads(machine.thread_count());
    let run = RunDirectory::open(path)?;
    let record = run.record()?;
    let program = match own {
        Some(program) => program.clone(),
        None => Arc::new(run.program()?),
    };
    let folder = run.checkpoint(name)?;
    let loaded = checkpoint::load(&folder, &program)?;
    let engine = train::engine(&program, machine)?;
    let checkpoint = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Opened {
        session: Session::restored(engine, loaded),
        run,
        checkpoint,
        batch: record.batch.max(LEAST_BATCH) as usize,
    })
}

pub fn eval(console: &Console, own: Option<&Arc<Program>>, args: &Eval) -> Outcome {
    let mut opened = open(own, &args.trained.run, &args.trained.checkpoint, &machine(&args.machine))?;
    let options = OpenOptions { list_separator: args.input.list_separator, ..OpenOptions::new(Mode::Evaluate) };
    let data = Dataset::open_with(&args.data, &opened.session.program().schema, &options)
        .map_err(din_runtime::run::Error::from)?;
    warn_of_reuse(console, &opened.run, &data)?;
    let mut progress = Progress::new(console);
    let report = evaluate(&mut opened.session, &data, opened.batch, &mut |event| progress.show(event))?;
    if args.json {
        let mut json = report.to_json();
        json["model"] = opened.session.program().model.clone().into();
        json["run"] = args.trained.run.display().to_string().into();
        json["checkpoint"] = opened.checkpoint.into();
        json["data"] = args.data.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().into();
        console.result(json.to_string());
    } else {
        console.remark(format!("{} rows, checkpoint {}", report.rows, opened.checkpoint));
        for value in &report.values {
            console.result(value.to_string());
        }
    }
    Ok(())
}

/// Figures on data that trained or chose the model are not what new data would give.
fn warn_of_reuse(console: &Console, run: &RunDirectory, data: &Dataset) -> Outcome {
    let record = run.record()?;
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let files: Vec<PathBuf> = data.files().map(canonical).collect();
    let shared = |had: &[PathBuf]| files.iter().find(|file| had.contains(file)).cloned();
    if let Some(file) = shared(&record.train.files) {
        console.warning(&format!(
            "{}: the run was trained on this file; the figures say nothing of new data",
            file.display()
        ));
    }
    if let Some(file) = record.valid.as_ref().and_then(|valid| shared(&valid.files)) {
        let why = "the best checkpoint was chosen on this file; the figures are too good for new data";
        console.warning(&format!("{}: {why}", file.display()));
    }
    Ok(())
}

pub fn predict(console: &Console, own: Option<&Arc<Program>>, args: &Predict) -> Outcome {
    // What can be wrong with the output is found before anything is read.
    predict::Form::of(&args.out)?;
    if args.out.exists() && !args.force {
        let help = "choose another --out, or pass --force to replace it";
        return Err(Failure::input(format!("{}: already exists\n  help: {help}", args.out.display())));
    }
    let mut opened = open(own, &args.trained.run, &args.trained.checkpoint, &machine(&args.machine))?;
    let program = opened.session.program().clone();
    let (data, labels) = predict::open(&program, &args.data, args.input.list_separator)?;
    let mut progress = Progress::new(console);
    let mut observe = |event| progress.show(event);
    let written = predict::predict(&mut opened.session, &data, labels, &args.out, opened.batch, &mut observe)?;
    console.remark(format!("{}: {} rows of {}", args.out.display(), written.rows, written.columns.join(", ")));
    Ok(())
}
