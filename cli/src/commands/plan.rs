//! `din plan`: what a run of several ranks would take.

mod report;

use crate::args::{PlanArgs, PlannedDevice};
use crate::compile::compile;
use crate::failure::{Failure, Outcome};
use crate::sources::folder_of;
use crate::terminal::Console;
use din_grammar::suggest::nearest;
use din_program::Program;
use din_program::schema::{TableKind, seen_from};
use din_runtime::comm::Communicator;
use din_runtime::leaves::default_leaves;
use din_runtime::placement::{IdDistribution, ModelUse, Plan, RateSource, Rates, RunPlanOptions, TableIds};
use din_runtime::session::CpuOptions;
use din_runtime::survey::{self, LogSurvey};
use report::{Assumptions, PlanReport};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries of a list of which nothing is known.
const LENGTH: f64 = 20.0;
/// Samples of a request of which nothing is known.
const CANDIDATES: f64 = 10.0;
/// Ids of a dynamic table of which nothing is known.
const ROWS: u64 = 1_000_000;
/// Threads of a rank whose machine is not this one.
const THREADS: u32 = 16;
/// Memory of GPUs.
const H100_BYTES: u64 = 80_000_000_000;
const H200_BYTES: u64 = 141_000_000_000;

pub fn plan(console: &Console, args: &PlanArgs, ranks: &dyn Communicator) -> Outcome {
    let program = Arc::new(compile(console, &args.spec.model, &args.spec.sets)?.program);
    let survey = args.stats.as_deref().map(LogSurvey::of_run).transpose()?;
    if let Some(why) = survey.as_ref().and_then(|survey| survey.unread.as_ref()) {
        console.warning(format!("lengths of lists are assumed, since the run's data cannot be read: {why}"));
    }
    let (model, assumptions) = expected(&program, args, survey.as_ref())?;
    let mut options = options(&program, args)?;
    if args.measure {
        options.rates = measured(&program, &model, &options, args, ranks)?;
    }
    if args.bandwidth.is_some() || args.latency.is_some() {
        options.rates.communication = RateSource::Given;
    }
    if let Some(bytes) = args.bandwidth {
        options.rates.bandwidth = bytes as f64;
    }
    if let Some(microseconds) = args.latency {
        options.rates.latency = 1e-6 * microseconds;
    }
    let plan = Plan::new(&model, &options);
    plan.check(&model, &options, folder_of(&args.spec.model))?;
    let report = PlanReport { model: &program.model, device: args.device, threads: options.threads, assumptions, plan };
    if args.json {
        console.result(json!(report).to_string());
    } else {
        console.result_raw(&report.to_string());
    }
    Ok(())
}

/// What the command line says by name, each name being one of `known`.
fn by_name<T: Copy>(
    args: &PlanArgs,
    option: &str,
    what: &str,
    given: &[(String, T)],
    known: &[&str],
) -> Result<BTreeMap<String, T>, Failure> {
    for (name, _) in given {
        if !known.contains(&name.as_str()) {
            let help = match (nearest(name, known.iter().copied()), known) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, []) => format!("the model has no {what}"),
                (None, known) => format!("the model has {}", known.join(", ")),
            };
            let spec = args.spec.model.display();
            return Err(Failure::user_error(format!("{spec}: {option}: unknown {what} `{name}`\n  help: {help}")));
        }
    }
    Ok(given.iter().cloned().collect())
}

/// What is expected of the data: what the command line says, else the run's log, else assumptions.
fn expected<'a>(
    program: &'a Program,
    args: &PlanArgs,
    survey: Option<&LogSurvey>,
) -> Result<(ModelUse<'a>, Assumptions), Failure> {
    let names: Vec<&str> = program.tables.iter().map(|table| table.name.as_str()).collect();
    let rows = by_name(args, "--rows", "table", &args.rows, &names)?;
    let sequences: Vec<&str> = program.schema.sequences.iter().map(|sequence| sequence.name.as_str()).collect();
    let lengths = by_name(args, "--lengths", "sequence", &args.lengths, &sequences)?;
    let mut assumptions = Assumptions::default();
    let mut tables = Vec::with_capacity(program.tables.len());
    for spec in &program.tables {
        let known = survey.and_then(|survey| survey.tables.get(&spec.name));
        let given = rows.get(&spec.name).copied();
        let count = match (spec.kind, given, known) {
            (TableKind::Fixed { size }, Some(given), _) if given != size => {
                return Err(Failure::user_error(format!(
                    "{}: --rows: table `{}` has {size} rows, found {given}\n  help: leave it out; the spec has its size",
                    seen_from(folder_of(&args.spec.model), &spec.location),
                    spec.name
                )));
            }
            (TableKind::Fixed { size }, _, _) => size,
            (TableKind::Dynamic { .. }, Some(given), _) => given,
            (TableKind::Dynamic { .. }, None, Some(known)) => known.rows,
            (TableKind::Dynamic { .. }, None, None) => {
                assumptions.rows.insert(spec.name.clone(), ROWS);
                ROWS
            }
        };
        let distribution = known.map_or_else(
            || {
                assumptions.zipf = Some(args.zipf);
                IdDistribution::Zipf { rows: count, exponent: args.zipf }
            },
            |known| known.distribution.clone(),
        );
        tables.push(TableIds { rows: count, distribution });
    }
    let length = |sequence: &din_program::schema::Sequence| {
        let known = lengths.get(&sequence.name).or_else(|| survey?.lengths.get(&sequence.name)).copied();
        let kept = |length: f64| sequence.keep.map_or(length, |keep| length.min(f64::from(keep.count)));
        if known.is_none() {
            assumptions.lengths.insert(sequence.name.clone(), kept(LENGTH));
        }
        kept(known.unwrap_or(LENGTH))
    };
    let lengths = program.schema.sequences.iter().map(length).collect();
    let candidates = match (&program.schema.requests, args.candidates) {
        (None, None) => 1.0,
        (None, Some(_)) => {
            let spec = args.spec.model.display();
            let help = "leave it out; see `visited by` in docs/reference/language.md for specs that have requests";
            return Err(Failure::user_error(format!(
                "{spec}: --candidates: the model has no requests\n  help: {help}"
            )));
        }
        (Some(_), Some(given)) => given,
        (Some(_), None) => match survey.filter(|survey| survey.unread.is_none()) {
            Some(survey) => survey.candidates,
            None => {
                assumptions.candidates = Some(CANDIDATES);
                CANDIDATES
            }
        },
    };
    let samples = args.samples.or(survey.map(|survey| survey.samples));
    Ok((ModelUse { program, tables, lengths, candidates, samples }, assumptions))
}

/// How the run is to be.
fn options(program: &Program, args: &PlanArgs) -> Result<RunPlanOptions, Failure> {
    let names: Vec<&str> = program.tables.iter().map(|table| table.name.as_str()).collect();
    let placements = by_name(args, "--placement", "table", &args.placement, &names)?;
    let placement = |name: &&str| placements.get(*name).map(|&asked| asked.into());
    let leaves = args.leaves.unwrap_or_else(|| default_leaves(program).max(args.ranks.next_power_of_two()));
    if args.ranks > leaves {
        let ranks = args.ranks;
        return Err(Failure::user_error(format!(
            "--ranks {ranks}: expected {leaves} ranks at most, one per leaf\n  help: --leaves {}",
            ranks.next_power_of_two()
        )));
    }
    if args.measure && args.device != PlannedDevice::Cpu {
        let help = "leave out --measure, or plan for --device cpu";
        return Err(Failure::user_error(format!("--measure times steps on this CPU, not on a GPU\n  help: {help}")));
    }
    let threads = match (args.threads, args.measure) {
        (Some(threads), _) => threads,
        (None, true) => CpuOptions::default().thread_count() as u32,
        (None, false) => THREADS,
    };
    let (rates, memory) = match args.device {
        PlannedDevice::Cpu => (Rates::cpu(threads), None),
        PlannedDevice::H100 => (Rates::h100(), Some(H100_BYTES)),
        PlannedDevice::H200 => (Rates::h200(), Some(H200_BYTES)),
    };
    Ok(RunPlanOptions {
        ranks: args.ranks as usize,
        batch: args.batch.unwrap_or(program.training.batch),
        leaves,
        threads,
        epochs: args.epochs.unwrap_or(program.training.epochs),
        placements: names.iter().map(placement).collect(),
        rates,
        memory: args.memory.map(|bytes| bytes as u64).or(memory),
    })
}

/// Rates of this machine, at the size that a rank's part of a batch has: of all ranks that take
/// part.
fn measured(
    program: &Arc<Program>,
    model: &ModelUse<'_>,
    options: &RunPlanOptions,
    args: &PlanArgs,
    ranks: &dyn Communicator,
) -> Result<Rates, Failure> {
    let samples = Plan::new(model, options).samples.round().max(1.0) as u32;
    let cpu = CpuOptions { threads: Some(options.threads as usize), isa: args.isa.map(Into::into) };
    let mut rates = survey::measure_network(ranks, options.rates)?;
    rates.reading = args.stats.as_deref().map(survey::measure_reading).transpose()?;
    Ok(survey::measure(program, model, samples, &cpu, rates, ranks)?)
}
