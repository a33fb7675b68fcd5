//! Training: a program and data to a run directory.
//!
//! Guarantees: nothing is written before program, machine, data files and columns are known to fit;
//! a fault before the first checkpoint leaves no run directory behind; the bits of every checkpoint
//! depend on program, data, seed, batch and ISA level (or GPU) alone, not on threads, and not on
//! where the run was stopped and resumed.

mod ahead;
mod choose;
mod diverged;
mod gather;
mod passes;
mod profile;
mod setup;
mod vectors;
mod watch;

pub use profile::{RankProfile, TrainingProfile};
pub use setup::TrainingOptions;

use crate::allocator::give_back_freed_memory;
use crate::batch::Batch;
use crate::checkpoint::{self, Manifest, Position, describe};
use crate::comm::{self, MeasuredCommunicator, RankWarning};
use crate::data::{Batches, Dataset, Order, StreamOptions};
use crate::evaluate::{Report, evaluate};
use crate::run_dir::{Best, MetricsLine};
use crate::session::{DataPass, OnSignal, PassEvent};
use crate::signal;
use crate::{Error, Result};
use ahead::{StepBatch, StepBatches};
use din_program::Program;
use passes::{check, count, gather};
use setup::TrainingRun;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// What training reports while it goes on.
#[derive(Clone, Debug)]
pub enum Event {
    Pass(PassEvent),
    /// At the end of an epoch, and after an evaluation within one.
    Evaluated {
        line: MetricsLine,
        report: Option<Report>,
        best: bool,
    },
    Warning(RankWarning),
    Note(String),
}

impl From<PassEvent> for Event {
    fn from(event: PassEvent) -> Self {
        Self::Pass(event)
    }
}

/// Why training went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainingEnd {
    /// After the last epoch, or by `patience`.
    Finished,
    /// After the step that `stop_after` names; a checkpoint holds the place.
    StopAfter,
    /// By Ctrl-C; a checkpoint holds the place, unless no step had been done.
    Interrupted,
}

/// How training ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub epochs: u32,
    pub steps: u64,
    pub best: Option<Best>,
    pub lines: Vec<MetricsLine>,
    pub ending: TrainingEnd,
    /// Where it was asked for.
    pub profile: Option<TrainingProfile>,
}

/// Trains into `options.out`.
///
/// Every rank of a run calls it. Rank 0 observes, the others only their warnings; it writes what is
/// in the run directory but for the other ranks' parts of checkpoints. The directory lies where all
/// ranks reach it.
///
/// # Errors
/// The data, the program or the machine do not fit, or another rank failed.
pub fn train(program: &Arc<Program>, options: &TrainingOptions, observe: &mut dyn FnMut(Event)) -> Result<Summary> {
    let leads = options.ranks.rank() == 0;
    let observe: &mut dyn FnMut(Event) = if leads { observe } else { &mut |event| only_warnings(event, observe) };
    let measures = options.profile && options.ranks.size() > 1;
    let measured = measures.then(|| Arc::new(MeasuredCommunicator::new(options.ranks.clone())));
    let mut options = options.clone();
    if let Some(measured) = &measured {
        options.ranks = measured.clone();
    }
    let mut run = setup::prepare(program, &options, observe)?;
    run.measured = measured;
    let outcome = drive(&mut run, &options, observe);
    if let Err(error) = &outcome {
        // Before the data of the next epoch, which may be under way, are dropped: see `epoch`.
        options.ranks.fail(error);
        run.directory.clear_unless_begun();
    }
    outcome
}

/// What a rank observes that does not lead.
fn only_warnings(event: Event, observe: &mut dyn FnMut(Event)) {
    match event {
        Event::Warning(_) => observe(event),
        Event::Pass(_) | Event::Evaluated { .. } | Event::Note(_) => {}
    }
}

fn drive(run: &mut TrainingRun, options: &TrainingOptions, observe: &mut dyn FnMut(Event)) -> Result<Summary> {
    let given = if run.fresh { vectors::load(run, options)? } else { Vec::new() };
    let begun = !run.fresh || gather(run, options, observe)?;
    if begun && run.fresh && run.position.epoch < run.epochs {
        // The first window is read while these passes go on.
        run.ahead = Some(first_stream(run)?);
    }
    let ready = begun && (!run.fresh || check(run, observe)? && count(run, observe)?);
    let ending = if ready {
        vectors::report(run, &given, observe)?;
        run.session.set_profile(options.profile)?;
        epochs(run, options, observe)?
    } else {
        TrainingEnd::Interrupted
    };
    let stopped = ending == TrainingEnd::Interrupted;
    if stopped {
        // Before the first step there is nothing to keep.
        run.directory.clear_unless_begun();
    } else {
        prune(run)?;
    }
    let profile = match options.profile {
        true => Some(TrainingProfile::new(&run.session, run.times, &run.train, &options.spec_folder, &*run.ranks)?),
        false => None,
    };
    Ok(Summary {
        epochs: run.position.epoch,
        steps: run.position.step,
        best: if stopped || !run.leads() { None } else { run.directory.best()? },
        lines: std::mem::take(&mut run.lines),
        ending,
        profile,
    })
}

/// The epochs that are still to come, up to where training ends.
fn epochs(run: &mut TrainingRun, options: &TrainingOptions, observe: &mut dyn FnMut(Event)) -> Result<TrainingEnd> {
    while run.position.epoch < run.epochs && !ends_early(run, observe)? {
        if options.stop_after.is_some_and(|step| step <= run.position.step) {
            return Ok(TrainingEnd::StopAfter);
        }
        if run.any_rank(signal::asked())? {
            return Ok(TrainingEnd::Interrupted);
        }
        match epoch(run, options, observe)? {
            TrainingEnd::Finished => {}
            between @ (TrainingEnd::StopAfter | TrainingEnd::Interrupted) => return Ok(between),
        }
    }
    Ok(TrainingEnd::Finished)
}

/// Whether `patience` ends the run before its last epoch: rank 0 decides, which has the metrics.
fn ends_early(run: &TrainingRun, observe: &mut dyn FnMut(Event)) -> Result<bool> {
    if run.program.training.patience.is_none() {
        return Ok(false);
    }
    let over = run.any_rank(run.leads() && choose::is_over(&run.program, &run.lines))?;
    if over && let Some(patience) = run.program.training.patience {
        let metric = &run.program.metrics[run.program.training.select as usize].name;
        observe(Event::Note(format!("stopped early: {metric} got no better in {patience} epochs (`patience`)")));
    }
    Ok(over)
}

/// The rest of the current epoch, its evaluation and its checkpoint, or what came between.
fn epoch(run: &mut TrainingRun, options: &TrainingOptions, observe: &mut dyn FnMut(Event)) -> Result<TrainingEnd> {
    let number = run.position.epoch + 1;
    begin_training_pass(run, observe);
    run.session.set_epoch(number);
    let begin = Instant::now();
    let before = run.measured.as_ref().map(|measured| measured.traffic());
    let batches = match run.ahead.take() {
        Some(batches) => batches,
        None => first_stream(run)?,
    };
    let mut batches = StepBatches::start(batches, run.session.row_asker()?)?;
    match steps(run, options, &mut batches, observe) {
        Ok(TrainingEnd::Finished) => drop(batches),
        Ok(between) => return Ok(between),
        Err(error) => {
            // The threads behind the batches may wait for ranks that wait for this one.
            run.ranks.fail(&error);
            return Err(error);
        }
    }
    run.times.training += begin.elapsed();
    if let (Some(measured), Some(before)) = (&run.measured, before) {
        for (sum, (now, before)) in run.times.traffic.iter_mut().zip(measured.traffic().into_iter().zip(before)) {
            sum.add(now.since(before));
        }
    }
    observe(PassEvent::End.into());
    run.watch.end_of_epoch(&run.program, &*run.ranks, observe)?;
    let report = validate(run, observe)?;
    let Position { loss_sum, samples, step, .. } = run.position;
    let train_loss = loss_sum / samples.max(1) as f64;
    run.position = Position { step, epoch: number, batch: 0, loss_sum: 0.0, samples: 0 };
    let valid = report.as_ref().map(Report::to_map);
    record(run, MetricsLine { epoch: number, step, samples: None, train_loss, valid, text: None }, report, observe)?;
    Ok(TrainingEnd::Finished)
}

/// The metrics of the validation data, where there are any.
fn validate(run: &mut TrainingRun, observe: &mut dyn FnMut(Event)) -> Result<Option<Report>> {
    let Some(valid) = &run.valid else { return Ok(None) };
    let batch = run.batch as usize;
    let mut pass = |event: PassEvent| observe(event.into());
    let report = evaluate(&mut run.session, valid, batch, OnSignal::GoOn, &run.ranks, &mut pass)?;
    run.watch.columns(valid, observe);
    Ok(Some(report))
}

/// An evaluation within an epoch, after all steps so far have given their losses.
fn evaluate_within(run: &mut TrainingRun, observe: &mut dyn FnMut(Event)) -> Result<()> {
    observe(PassEvent::End.into());
    let Position { step, loss_sum, samples, .. } = run.position;
    let report = validate(run, observe)?;
    let line = MetricsLine {
        epoch: run.position.epoch + 1,
        step,
        samples: Some(samples),
        train_loss: loss_sum / samples.max(1) as f64,
        valid: report.as_ref().map(Report::to_map),
        text: None,
    };
    record(run, line, report, observe)?;
    begin_training_pass(run, observe);
    Ok(())
}

fn begin_training_pass(run: &TrainingRun, observe: &mut dyn FnMut(Event)) {
    let pass = DataPass::Training { epoch: run.position.epoch + 1, epochs: run.epochs };
    observe(PassEvent::Begin { pass, rows: run.train.rows(), done: run.position.samples }.into());
}

/// The steps of an epoch, up to its end, or to what comes before, with a checkpoint there.
fn steps(
    run: &mut TrainingRun,
    options: &TrainingOptions,
    batches: &mut StepBatches,
    observe: &mut dyn FnMut(Event),
) -> Result<TrainingEnd> {
    let number = run.position.epoch + 1;
    let window = run.train.window_rows(&order(run, number));
    // Steps whose losses are still to come.
    let mut asked_for = VecDeque::new();
    loop {
        let asked = Instant::now();
        let next = batches.next()?;
        run.times.waiting += asked.elapsed();
        let Some(StepBatch { batch, asked }) = next else { break };
        let stops = match &asked {
            None => {
                run.session.submit_step(&batch)?;
                signal::asked()
            }
            Some(asked) => run.session.submit_asked(&batch, asked, signal::asked())?,
        };
        let samples = batch.global_rows;
        run.times.steps += 1;
        run.times.samples += samples as u64;
        asked_for.push_back((run.session.step_number(), samples));
        let step = run.session.step_number();
        let is_due = |every: Option<u64>| every.is_some_and(|n| step.is_multiple_of(n));
        let is_last = options.stop_after == Some(step);
        let (evaluates, saves) = (is_due(options.evaluate_every), is_due(options.checkpoint_every) || is_last);
        let ahead = if stops || saves || evaluates { 0 } else { run.session.steps_in_flight() };
        run.watch.labels(&batch);
        run.watch.columns(&run.train, observe);
        settle(run, &mut asked_for, ahead, Some(&batch), observe)?;
        let left = run.train.rows().saturating_sub(run.position.samples);
        batches.recycle(StepBatch { batch, asked });
        // The next epoch's first window is read while the last one of this runs out.
        if run.ahead.is_none() && number < run.epochs && left <= window {
            run.ahead = Some(run.train.stream_on(order(run, number), run.ranks.clone())?);
        }
        // The end of the epoch has its own. One that is due is made on Ctrl-C too: a run that goes
        // on behind it would have none.
        if evaluates && left > 0 {
            evaluate_within(run, observe)?;
        } else if saves || stops {
            save(run, None)?;
        }
        if stops || is_last && left > 0 {
            observe(PassEvent::End.into());
            return Ok(if stops { TrainingEnd::Interrupted } else { TrainingEnd::StopAfter });
        }
    }
    settle(run, &mut asked_for, 0, None, observe)?;
    Ok(TrainingEnd::Finished)
}

/// Takes the losses of steps (number and samples) until so many are still to come: the position is
/// behind those that it has taken. `batch` is the last step's.
fn settle(
    run: &mut TrainingRun,
    asked_for: &mut VecDeque<(u64, usize)>,
    left: usize,
    batch: Option<&Batch>,
    observe: &mut dyn FnMut(Event),
) -> Result<()> {
    while asked_for.len() > left {
        let (step, rows) = asked_for.pop_front().expect("more than `left` are to come");
        let loss = run.session.next_loss()?.expect("a step that was submitted has a loss");
        let (position, loss) = (&mut run.position, f64::from(loss));
        position.step = step;
        position.batch += 1;
        position.samples += rows as u64;
        position.loss_sum += loss * rows as f64;
        if !loss.is_finite() {
            return Err(diverged::explain(run, loss, step, batch, observe)?);
        }
        let mean = position.loss_sum / position.samples as f64;
        observe(PassEvent::Advance { rows: position.samples, loss: Some(mean) }.into());
        if run.unproven.is_some_and(|saved| saved < step) {
            run.unproven = None;
            prune(run)?;
        }
    }
    Ok(())
}

/// The first batches that are trained on. No step can run before their window is read, so all
/// threads read it.
fn first_stream(run: &TrainingRun) -> Result<Batches> {
    let options = StreamOptions {
        skip: run.position.batch,
        opening_threads: run.session.threads().count(),
        ..order(run, run.position.epoch)
    };
    Ok(run.train.stream_on(options, run.ranks.clone())?)
}

/// How an epoch, from 0, reads the training data.
fn order(run: &TrainingRun, epoch: u32) -> StreamOptions {
    reading(run, Order::Shuffled { seed: run.seed, epoch: u64::from(epoch) })
}

fn reading(run: &TrainingRun, order: Order) -> StreamOptions {
    StreamOptions {
        threads: run.session.reading_threads(),
        leaves: run.leaves,
        ..StreamOptions::new(run.batch as usize, order)
    }
}

/// A checkpoint, the line of the evaluation that was made at it, and which is the best by now.
fn record(
    run: &mut TrainingRun,
    line: MetricsLine,
    report: Option<Report>,
    observe: &mut dyn FnMut(Event),
) -> Result<()> {
    // The checkpoint first: a metrics line without one would be of weights that are lost.
    save(run, Some((line.train_loss, report.as_ref())))?;
    run.lines.push(line.clone());
    if run.leads() {
        run.directory.write_metrics(&run.lines)?;
    }
    let best = choose::best(&run.program, &run.lines);
    let is_best = best.as_ref().is_some_and(|b| b.checkpoint == checkpoint::name(line.step) && b.value.is_some());
    if report.is_some() && run.lines.len() == 1 && !is_best {
        let selecting = &run.program.metrics[run.program.training.select as usize].name;
        observe(Event::Warning(format!(
            "validation data: {selecting} is undefined, so that the last epoch counts as the best; help: validate on \
             data with known labels of both classes"
        ).into()));
    }
    if let Some(best) = best.filter(|_| run.leads()) {
        run.directory.write_best(&best)?;
    }
    observe(Event::Evaluated { line, report, best: is_best });
    Ok(())
}

/// `evaluated`: training loss and report of the evaluation that was made at this checkpoint.
fn save(run: &mut TrainingRun, evaluated: Option<(f64, Option<&Report>)>) -> Result<()> {
    let manifest = Manifest {
        format: checkpoint::MANIFEST_FORMAT,
        din: env!("CARGO_PKG_VERSION").into(),
        model: run.program.model.clone(),
        program: run.program_hash.clone(),
        backend: run.session.backend(),
        seed: run.seed,
        batch: run.batch,
        leaves: run.leaves,
        ranks: run.ranks.size() as u32,
        position: run.position,
        train_loss: evaluated.map_or(0.0, |(loss, _)| loss),
        metrics: evaluated.and_then(|(_, report)| report).map_or_else(Vec::new, Report::metrics),
        structure: describe(&run.program),
        files: std::collections::BTreeMap::new(),
    };
    // What the epoch's data took is not held while rows are gathered.
    run.train.free_spare_memory();
    give_back_freed_memory();
    checkpoint::save(&run.directory.checkpoints(), run.session.model()?, &manifest, run.ranks.as_ref())?;
    run.unproven = Some(run.position.step);
    Ok(())
}

/// Keeps the best and the last checkpoint; the newer ones are durable by now.
fn prune(run: &TrainingRun) -> Result<()> {
    if !run.leads() {
        return Ok(());
    }
    let folder = run.directory.checkpoints();
    let best = run.directory.best()?.map(|b| b.checkpoint);
    let names = checkpoint::list(&folder)?;
    for name in names.iter().rev().skip(1).filter(|name| Some(*name) != best.as_ref()) {
        checkpoint::remove(&folder.join(name))?;
    }
    Ok(())
}

impl TrainingRun {
    /// Whether this rank writes what all have in common, and observes.
    fn leads(&self) -> bool {
        self.ranks.rank() == 0
    }

    /// Whether it is so on any rank. Every rank asks.
    fn any_rank(&self, here: bool) -> Result<bool> {
        comm::any_rank(&*self.ranks, here)
    }
}

/// Absolute paths of a data set's files, for the run's record.
pub(crate) fn files_of(data: &Dataset) -> Result<Vec<std::path::PathBuf>> {
    data.files().map(|path| std::fs::canonicalize(path).map_err(|e| Error::file("look for", path, &e))).collect()
}
