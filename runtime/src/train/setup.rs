//! Everything that is checked and opened before the first step: a new run, or one that goes on.

use super::profile::Times;
use super::watch::Watch;
use super::{Event, choose, files_of};
use crate::checkpoint::{self, Position};
use crate::comm::{Channel, Communicator, MeasuredCommunicator, check_agreement, on_first_rank, share_outcomes};
use crate::cpu;
use crate::data::{Batches, Dataset, OpenOptions, ReadMode};
use crate::exec::Executor;
use crate::fs::xxh3_file;
use crate::leaves::default_leaves;
use crate::placement::shard_plan;
use crate::run_dir::{
    DataRecord, FORMAT, FileRecord, METRICS_HELP, MetricsLine, OpenedRun, RunDirectory, RunRecord, VocabularyRecord,
    changed_vocabulary, open_as_rank, same_spec,
};
use crate::session::{CpuOptions, Device, LoadPurpose, ModelState, Session};
use crate::statistics::Statistics;
use crate::table::{Placement, ShardPlan};
use crate::threads::Threads;
use crate::{Error, Result};
use din_program::Program;
use din_program::schema::{Schema, TableSpec, seen_from};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// What training is asked to do.
#[derive(Clone, Debug)]
pub struct TrainingOptions {
    /// The folder in which the spec lies, as the user gave it: messages name places in the spec
    /// from there.
    pub spec_folder: PathBuf,
    /// Files and folders; may be empty on `resume`, which then reads what the run began with.
    pub train: Vec<PathBuf>,
    pub valid: Vec<PathBuf>,
    pub out: PathBuf,
    /// The run in `out` to go on with; `None` makes a new one.
    pub resume: Option<OpenedRun>,
    /// Default: the spec's.
    pub epochs: Option<u32>,
    pub batch: Option<u32>,
    /// Leaves of a batch at most: see [`crate::leaves`].
    pub leaves: Option<u32>,
    pub seed: Option<u64>,
    pub cpu: CpuOptions,
    pub device: Device,
    /// Separator of lists in CSV fields. Default: `|`; on `resume` what the run began with, and
    /// another one is refused.
    pub list_separator: Option<u8>,
    /// Steps between checkpoints inside an epoch.
    pub checkpoint_every: Option<u64>,
    /// Steps between evaluations inside an epoch, each with a checkpoint; needs `valid`.
    pub evaluate_every: Option<u64>,
    /// The step after which training stops, as it would be stopped by Ctrl-C.
    pub stop_after: Option<u64>,
    /// Measure where time goes; the bits of the result do not depend on it.
    pub profile: bool,
    /// Tables, by name, that are to be sharded or replicated whatever their size; the bits of the
    /// result do not depend on it.
    pub placements: Vec<(String, Placement)>,
    /// The ranks that train together; `LocalCommunicator` for one.
    pub ranks: Arc<dyn Communicator>,
}

/// A run that is ready to step.
pub struct TrainingRun {
    pub program: Arc<Program>,
    pub program_hash: String,
    pub session: Session,
    pub directory: RunDirectory,
    pub train: Dataset,
    pub valid: Option<Dataset>,
    pub position: Position,
    pub lines: Vec<MetricsLine>,
    /// The next epoch's batches, read ahead.
    pub ahead: Option<Batches>,
    pub seed: u64,
    pub batch: u32,
    pub leaves: u32,
    pub ranks: Arc<dyn Communicator>,
    /// The same as `ranks`, where a profile of several is asked for.
    pub measured: Option<Arc<MeasuredCommunicator>>,
    pub epochs: u32,
    /// No step has been done: counts are still to be made.
    pub fresh: bool,
    /// The step of the newest checkpoint, until a step behind it has had a finite loss: the one
    /// before it stays as long.
    pub unproven: Option<u64>,
    /// For the profile.
    pub times: Times,
    pub watch: Watch,
}

pub fn prepare(
    program: &Arc<Program>,
    options: &TrainingOptions,
    observe: &mut dyn FnMut(Event),
) -> Result<TrainingRun> {
    match &options.resume {
        Some(run) => resume(program, run, options, observe),
        None => begin(program, options, observe),
    }
}

fn open(
    paths: &[PathBuf],
    schema: &Schema,
    mode: ReadMode,
    (list_separator, statistics): (u8, &Statistics),
    observe: &mut dyn FnMut(Event),
) -> Result<Dataset> {
    let options = OpenOptions { list_separator, statistics: statistics.clone(), ..OpenOptions::new(mode) };
    let data = Dataset::open_with(paths, schema, &options)?;
    if let Some(left_out) = data.left_out() {
        observe(Event::Note(left_out));
    }
    Ok(data)
}

fn record_of(data: &Dataset, threads: &Threads) -> Result<DataRecord> {
    let (rows, fingerprint) = (data.rows(), data.fingerprint());
    let file = |(path, xxh3)| FileRecord { path, xxh3 };
    let files = files_of(data)?.into_iter().zip(hashes_of(data, threads)?).map(file).collect();
    Ok(DataRecord { files, rows, fingerprint })
}

/// The hash of each file's bytes, in the order of the files. Every file is read once, several side
/// by side.
fn hashes_of(data: &Dataset, threads: &Threads) -> Result<Vec<String>> {
    let files: Vec<&Path> = data.files().collect();
    let hashes: Vec<OnceLock<Result<String>>> = files.iter().map(|_| OnceLock::new()).collect();
    threads.parallel_for(files.len(), &|k| {
        hashes[k].get_or_init(|| xxh3_file(files[k]));
    });
    hashes.into_iter().map(|hash| hash.into_inner().expect("every job of the loop has run")).collect()
}

/// Refuses data other than those that a run began with.
fn check_same(data: &Dataset, had: &DataRecord, at: &Path, what: &str, threads: &Threads) -> Result<()> {
    let help = "give the files as they were, or train into another --out";
    let found = hashes_of(data, threads)?;
    let mut pairs = data.files().zip(had.files.iter().zip(&found));
    if data.files().count() == had.files.len()
        && let Some((file, (had, found))) = pairs.find(|(_, (had, found))| had.xxh3 != **found)
        && file.file_name() == had.path.file_name()
    {
        return Err(Error::input(format!(
            "{}: the contents have changed since the run began: expected XXH3 {}, found {found}",
            file.display(),
            had.xxh3,
        ))
        .help(help));
    }
    if data.fingerprint() != had.fingerprint || data.files().count() != had.files.len() {
        return Err(Error::input(format!(
            "{}: the {what} data are not those that the run began with: expected {} rows of {}, found {} rows of {}",
            at.display(),
            had.rows,
            names(&had.paths()),
            data.rows(),
            names(&files_of(data)?),
        ))
        .help(help));
    }
    Ok(())
}

fn begin(program: &Arc<Program>, options: &TrainingOptions, observe: &mut dyn FnMut(Event)) -> Result<TrainingRun> {
    if options.train.is_empty() {
        return Err(Error::input("no training data").help("name them: --train FILE …"));
    }
    let separator = options.list_separator.unwrap_or(b'|');
    let schema = program.schema.seen_from(&options.spec_folder);
    let statistics = Statistics::default();
    let train = open(&options.train, &schema, ReadMode::Train, (separator, &statistics), observe)?;
    let valid = match options.valid.is_empty() {
        true => None,
        false => Some(open(&options.valid, &schema, ReadMode::Evaluate, (separator, &statistics), observe)?),
    };
    check_apart(&train, valid.as_ref())?;
    check_patience(program, valid.is_some())?;
    check_evaluate_every(options, valid.is_some())?;
    if valid.is_none() {
        observe(Event::Warning("no --valid: nothing is measured, and the last epoch counts as the best".into()));
    }
    let seed = options.seed.unwrap_or(program.training.seed);
    let batch = options.batch.unwrap_or(program.training.batch);
    let threads = options.cpu.start_threads()?;
    let executor = options.device.executor(program, &options.cpu, &threads)?;
    let leaves = options.leaves.unwrap_or_else(|| default_leaves(program));
    let plan = shard_plan(program, leaves, &*options.ranks, &options.placements)?;
    let mut model = ModelState::of_shard(program.clone(), &threads, seed, &plan)?;
    model.statistics = statistics;
    let session = session(executor, &threads, model, plan.clone(), options, leaves)?;
    check_alike(&session, (&train, valid.as_ref()), (seed, batch, leaves), &plan, options)?;
    let program_hash = program.hash();
    let record = || -> Result<RunRecord> {
        Ok(RunRecord {
            format: FORMAT,
            din: env!("CARGO_PKG_VERSION").into(),
            model: program.model.clone(),
            program: program_hash.clone(),
            backend: session.backend(),
            device: options.device.to_string(),
            seed,
            batch,
            leaves,
            ranks: options.ranks.size() as u32,
            list_separator: separator,
            vocabularies: program.schema.vocabularies.iter().map(VocabularyRecord::of).collect(),
            train: record_of(&train, &threads)?,
            valid: valid.as_ref().map(|valid| record_of(valid, &threads)).transpose()?,
        })
    };
    let create = || RunDirectory::create(&options.out, program, &record()?);
    let directory = open_as_rank(&options.out, &*options.ranks, create)?;
    Ok(TrainingRun {
        program: program.clone(),
        program_hash,
        session,
        directory,
        train,
        valid,
        position: Position::default(),
        lines: Vec::new(),
        ahead: None,
        seed,
        batch,
        leaves,
        ranks: options.ranks.clone(),
        measured: None,
        epochs: options.epochs.unwrap_or(program.training.epochs),
        fresh: true,
        unproven: None,
        times: Times::default(),
        watch: Watch::new(program, true),
    })
}

/// Early stopping looks at a metric on validation data.
fn check_patience(program: &Program, validates: bool) -> Result<()> {
    if program.training.patience.is_some() && !validates {
        return Err(Error::input("the spec has `patience`, but there are no validation data to stop early by")
            .help("name them, --valid FILE …, or leave `patience` out of `train`"));
    }
    Ok(())
}

/// Evaluations within epochs are of validation data.
fn check_evaluate_every(options: &TrainingOptions, validates: bool) -> Result<()> {
    if options.evaluate_every.is_some() && !validates {
        return Err(Error::input("--evaluate-every: there are no validation data to evaluate")
            .help("name them, --valid FILE …, or leave --evaluate-every out"));
    }
    Ok(())
}

fn resume(
    program: &Arc<Program>,
    OpenedRun { directory, record }: &OpenedRun,
    options: &TrainingOptions,
    observe: &mut dyn FnMut(Event),
) -> Result<TrainingRun> {
    let at = options.out.display();
    // Checkpoints name the program that the run keeps, also where the same spec now lies under
    // another path.
    let program_hash = record.program.clone();
    if program_hash != program.hash() {
        let began = directory.program(record)?;
        if let Some((had, has)) = changed_vocabulary(&began, program) {
            let [had, found] = [had, has].map(|vocabulary| VocabularyRecord::of(vocabulary).sha256);
            let place = seen_from(&options.spec_folder, &has.location);
            return Err(Error::input(format!(
                "{place}: `{}`: the vocabulary has changed since the run began: expected SHA-256 {had}, found {found}",
                has.path,
            ))
            .help(format!(
                "put the file back, which the run has in `spec/{}`, or train into another --out",
                has.path
            )));
        }
        if !same_spec(&began, program) {
            return Err(Error::input(format!("{at}: the run began with another spec or other --set values"))
                .help("train into another --out, or go back to the spec in the run's `spec/`"));
        }
        // Machine code holds no paths: where it agrees, only the spec's place is another.
        if began.compiler != program.compiler || began.code != program.code {
            observe(Event::Warning(format!(
                "{at}: the run began with a program of another compiler version; its bits may differ from an uninterrupted run's"
            ).into()));
        }
    }
    let differs = |what: &str, had: String, asked: String| {
        Err(Error::input(format!("{at}: the run began with {what} {had}, not {asked}"))
            .help("leave the option out, or train into another --out"))
    };
    if let Some(seed) = options.seed.filter(|&seed| seed != record.seed) {
        return differs("seed", record.seed.to_string(), seed.to_string());
    }
    if let Some(separator) = options.list_separator.filter(|&separator| separator != record.list_separator) {
        let (had, asked) = (char::from(record.list_separator), char::from(separator));
        return differs("list separator", format!("`{had}`"), format!("`{asked}`"));
    }
    if let Some(batch) = options.batch.filter(|&batch| batch != record.batch) {
        return differs("batch", record.batch.to_string(), batch.to_string());
    }
    if let Some(leaves) = options.leaves.filter(|&leaves| leaves != record.leaves) {
        return differs("leaves", record.leaves.to_string(), leaves.to_string());
    }
    let threads = options.cpu.start_threads()?;
    let schema = program.schema.seen_from(&options.spec_folder);
    let statistics = Statistics::default();
    let mut data =
        |asked: &[PathBuf], had: Option<&DataRecord>, mode: ReadMode, what: &str| -> Result<Option<Dataset>> {
            let paths = match (asked.is_empty(), had) {
                (false, _) => asked.to_vec(),
                (true, Some(had)) => had.paths(),
                (true, None) => return Ok(None),
            };
            let data = open(&paths, &schema, mode, (record.list_separator, &statistics), observe)?;
            match had {
                // Rank 0 looks at the contents; `check_alike` sees to it that all have the same.
                Some(had) => {
                    let check = || check_same(&data, had, &options.out, what, &threads);
                    on_first_rank(&*options.ranks, Channel::Step, check)?;
                    Ok(Some(data))
                }
                None => {
                    Err(Error::input(format!("{at}: the run began without validation data")).help("leave --valid out"))
                }
            }
        };
    let train = data(&options.train, Some(&record.train), ReadMode::Train, "training")?
        .ok_or_else(|| Error::input(format!("{at}: the run has no training data")))?;
    let valid = data(&options.valid, record.valid.as_ref(), ReadMode::Evaluate, "validation")?;
    check_evaluate_every(options, valid.is_some())?;
    let executor = options.device.executor(program, &options.cpu, &threads)?;
    let plan = shard_plan(program, record.leaves, &*options.ranks, &options.placements)?;
    on_first_rank(&*options.ranks, Channel::Step, || directory.clean())?;
    let (mut model, position, fresh) = match checkpoint::list(&directory.checkpoints())?.last() {
        Some(name) => {
            let loaded = directory.load(name, program, record, &plan, LoadPurpose::Training);
            // A rank reads files that the others do not look at.
            let outcome = loaded.as_ref().map(|_| String::new()).map_err(Error::clone);
            share_outcomes(&*options.ranks, Channel::Step, outcome)?;
            let (_, loaded) = loaded?;
            (loaded.model, loaded.manifest.position, false)
        }
        None => {
            observe(Event::Note(format!("{at}: no checkpoint yet; starting from the beginning")));
            (ModelState::of_shard(program.clone(), &threads, record.seed, &plan)?, Position::default(), true)
        }
    };
    if let Some(values) = model.statistics.values() {
        statistics.set(values.to_vec());
    }
    model.statistics = statistics;
    let session = session(executor, &threads, model, plan.clone(), options, record.leaves)?;
    let settings = (record.seed, record.batch, record.leaves);
    check_alike(&session, (&train, valid.as_ref()), settings, &plan, options)?;
    let backend = session.backend();
    if backend != record.backend {
        observe(Event::Warning(
            format!(
                "{at}: the run began on {}, this is {backend}; its bits will differ from an uninterrupted run's",
                record.backend
            )
            .into(),
        ));
    }
    on_first_rank(&*options.ranks, Channel::Step, || {
        let mut lines = directory.metrics(position.step)?;
        restore_line(directory, &mut lines, position)?;
        directory.write_metrics(&lines)?;
        directory.restore_best(choose::best(program, &lines).as_ref())
    })?;
    let lines = directory.metrics(position.step)?;
    Ok(TrainingRun {
        program: program.clone(),
        program_hash,
        session,
        directory: directory.clone(),
        train,
        valid,
        position,
        lines,
        ahead: None,
        seed: record.seed,
        batch: record.batch,
        leaves: record.leaves,
        ranks: options.ranks.clone(),
        measured: None,
        epochs: options.epochs.unwrap_or(program.training.epochs),
        fresh,
        unproven: (!fresh).then_some(position.step),
        times: Times::default(),
        watch: Watch::new(program, position.batch == 0),
    })
}

fn session(
    executor: Box<dyn Executor>,
    threads: &Arc<Threads>,
    model: ModelState,
    plan: ShardPlan,
    options: &TrainingOptions,
    leaves: u32,
) -> Result<Session> {
    let mut session = Session::with_model(executor, threads.clone(), model);
    session.set_leaves(leaves);
    if options.ranks.size() > 1 {
        session.join_ranks(options.ranks.clone(), plan)?;
    }
    Ok(session)
}

/// Refuses ranks that were started with different settings, or compute with different bits.
fn check_alike(
    session: &Session,
    (train, valid): (&Dataset, Option<&Dataset>),
    (seed, batch, leaves): (u64, u32, u32),
    plan: &ShardPlan,
    options: &TrainingOptions,
) -> Result<()> {
    let program = session.program();
    let placement = |(table, placement): (&TableSpec, &Placement)| match placement {
        Placement::Sharded => format!("table `{}` sharded", table.name),
        Placement::Replicated => format!("table `{}` replicated", table.name),
    };
    let every = |steps: u64| format!("a checkpoint every {steps} steps");
    let mut own = vec![
        format!("program {}", program.hash()),
        format!("training data {}", train.fingerprint()),
        valid.map_or_else(|| "no validation data".into(), |valid| format!("validation data {}", valid.fingerprint())),
        format!("seed {seed}"),
        format!("batch {batch}"),
        format!("leaves {leaves}"),
        format!("epochs {}", options.epochs.unwrap_or(program.training.epochs)),
        options.checkpoint_every.map_or_else(|| "a checkpoint after each epoch only".into(), every),
        options.evaluate_every.map_or_else(
            || "an evaluation after each epoch only".into(),
            |steps| format!("an evaluation every {steps} steps"),
        ),
        options.stop_after.map_or_else(|| "all steps".into(), |step| format!("steps up to {step}")),
        if options.profile { "a profile" } else { "no profile" }.into(),
        format!("back end {}", session.backend()),
        // Of GPU ranks too: the host updates rows.
        format!("instructions of the CPU v{}", cpu::level(cpu::choose(options.cpu.isa)?)),
    ];
    own.extend(program.tables.iter().zip(&plan.placements).map(placement));
    check_agreement(&*options.ranks, Channel::Step, &own)
}

/// A crash between a checkpoint and its line of metrics lost only the line: its metrics are in the
/// manifest.
///
/// # Errors
/// Lines of other epochs are missing.
fn restore_line(directory: &RunDirectory, lines: &mut Vec<MetricsLine>, position: Position) -> Result<()> {
    if position.step > 0 && lines.last().is_none_or(|line| line.step != position.step) {
        let manifest = checkpoint::read_manifest(&directory.checkpoints().join(checkpoint::name(position.step)))?;
        let within = position.batch != 0;
        // A checkpoint within an epoch may be one without an evaluation.
        if !within || !manifest.metrics.is_empty() {
            let valid = manifest.metrics.iter().map(|(name, value)| (name.clone(), serde_json::json!(value)));
            lines.push(MetricsLine {
                epoch: position.epoch + u32::from(within),
                step: position.step,
                samples: within.then_some(position.samples),
                train_loss: manifest.train_loss,
                valid: (!manifest.metrics.is_empty()).then(|| valid.collect()),
                text: None,
            });
        }
    }
    let ended = lines.iter().filter(|line| line.ends_epoch()).count();
    if ended != position.epoch as usize {
        let (path, epochs) = (directory.path().join("metrics.jsonl"), position.epoch);
        return Err(Error::input(format!("{}: expected lines of {epochs} epochs, found {ended}", path.display()))
            .help(METRICS_HELP));
    }
    Ok(())
}

fn names(files: &[PathBuf]) -> String {
    let mut names: Vec<String> = files.iter().take(3).map(|f| f.display().to_string()).collect();
    if files.len() > 3 {
        names.push(format!("{} more", files.len() - 3));
    }
    names.join(", ")
}

/// Measuring on what was trained on would choose the most overfitted epoch.
fn check_apart(train: &Dataset, valid: Option<&Dataset>) -> Result<()> {
    let Some(valid) = valid else { return Ok(()) };
    match valid.files().find(|file| train.holds(file)) {
        Some(file) => Err(Error::input(format!(
            "{}: expected validation data apart from the training data, found the same file in both",
            file.display()
        ))
        .help("hold some rows out: later days, or other users")),
        None => Ok(()),
    }
}
