//! Measuring runs on data: metrics with intervals, slices, calibration.

use super::shown;
use super::training::direction;
use crate::args::ReportArgs;
use crate::commands::examined::{Groupings, LoadedRun, RunMeasurement, grouping_of};
use crate::failure::Failure;
use crate::terminal::Console;
use din_program::Program;
use din_program::schema::{Direction, GroupBy, TableKind};
use din_report::{
    DataSection, Estimate, EstimatedMetric, MetricColumn, PairedDifference, PredictionSection, ScoreHistogram,
    SliceRow, SliceTable, calibration_bins, calibration_error,
};
use din_runtime::evaluate::distinct_keys;
use din_runtime::metric::{self, ExaminedMetric, ExaminedRows, ExaminedSlices, Interval, RowGrouping};
use din_runtime::signal;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// Bins of a calibration plot, and of a distribution of scores.
const CALIBRATION_BINS: usize = 15;
const SCORE_BINS: usize = 40;

/// One run on the data.
struct Measured {
    rows: ExaminedRows,
    metrics: Vec<ExaminedMetric>,
}

pub fn measure(console: &Console, args: &ReportArgs, runs: &[LoadedRun]) -> Result<DataSection, Failure> {
    signal::install();
    let (cpu, input) = (&args.cpu, &args.input);
    let of = RunMeasurement::new(&args.data, &args.checkpoint, cpu, input, &args.intervals, &runs[0]);
    let mut section = DataSection {
        files: args.data.iter().map(|path| shown(path)).collect(),
        resamples: of.bootstrap.resamples,
        ..DataSection::default()
    };
    let mut measured: Vec<Measured> = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let of_run = examine_run(console, args, run, &of, (&mut section, number))?;
        measured.push(of_run);
    }
    section.rows = measured[0].rows.rows;
    section.resampled = of.resampled(&measured[0].rows);
    metrics(&measured, &mut section);
    differences(runs, &measured, &mut section);
    Ok(section)
}

fn examine_run(
    console: &Console,
    args: &ReportArgs,
    run: &LoadedRun,
    of: &RunMeasurement<'_>,
    (section, number): (&mut DataSection, usize),
) -> Result<Measured, Failure> {
    let groupings = |program: &Program, cluster: Option<GroupBy>| {
        let slicings = args.by.iter().map(|name| grouping_of(program, "--by", name)).collect::<Result<_, _>>()?;
        let mut others = own_groupings(program);
        if let (Some(by), Some(name)) = (cluster, &of.key) {
            match known_keys(run, program, by)? {
                Ok(known) => others.push(RowGrouping::Known { name: name.clone(), by, known: Arc::new(known) }),
                Err(why) => {
                    section.remarks.push(format!("{}: new and known {name} are not told apart: {why}.", run.name));
                }
            }
        }
        Ok(Groupings { slicings, others })
    };
    let (rows, opened) = of.examine(console, run, number == 0, groupings)?;
    let (program, bootstrap) = (opened.session.program().clone(), &of.bootstrap);
    let threads = opened.session.threads();
    let metrics = rows.metrics(bootstrap, threads);
    for (index, prediction) in program.predictions.iter().enumerate() {
        if let Some(examined) = rows.prediction(index, &program) {
            let bins = calibration_bins(examined.logits, examined.labels, CALIBRATION_BINS);
            section.predictions.push(PredictionSection {
                run: number,
                name: prediction.name.clone(),
                pcoc: metric::calibration(examined.logits, examined.labels).ok(),
                ece: calibration_error(&bins),
                bins,
                scores: ScoreHistogram::new(examined.logits, examined.labels, SCORE_BINS),
            });
        }
    }
    let tables = rows.slices(bootstrap, threads);
    // One slice that nobody asked for says nothing that the whole does not.
    let tables = tables.into_iter().filter(|table| table.slices.len() > 1 || args.by.contains(&table.by));
    section.slices.extend(tables.map(|slices| slice_table(number, slices, &metrics)));
    Ok(Measured { rows, metrics })
}

/// By what rows are grouped without being asked: lengths of lists, and how often training has seen
/// the ids of growing tables.
fn own_groupings(program: &Program) -> Vec<RowGrouping> {
    let schema = &program.schema;
    let lengths = schema.sequences.iter().enumerate();
    let mut all: Vec<RowGrouping> =
        lengths.map(|(k, sequence)| RowGrouping::Length { name: sequence.name.clone(), sequence: k as u32 }).collect();
    for (table, spec) in program.tables.iter().enumerate() {
        let growing = matches!(spec.kind, TableKind::Dynamic { .. });
        for &feature in spec.features.iter().filter(|_| growing) {
            let of = &schema.features[feature as usize];
            if of.sequence.is_none() {
                all.push(RowGrouping::Frequency { name: of.path(), feature, table });
            }
        }
    }
    all
}

/// The values of a key in the training data, or why they are not known.
fn known_keys(run: &LoadedRun, program: &Program, by: GroupBy) -> Result<Result<FxHashSet<u64>, String>, Failure> {
    let GroupBy::Key(key) = by else {
        return Ok(Err("they are a feature's; its frequency says how often training saw them".into()));
    };
    let paths = run.record.train.paths();
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Ok(Err(format!("the training data are not there any more ({})", missing.display())));
    }
    Ok(Ok(distinct_keys(&program.schema, key, &paths, run.record.list_separator)?))
}

fn estimate(of: &ExaminedMetric) -> Estimate {
    interval(of.value.ok(), &of.resampled)
}

fn interval(value: Option<f64>, resampled: &[f64]) -> Estimate {
    let interval = value.and_then(|_| Interval::percentile(resampled, 0.95));
    Estimate { value, interval: interval.map(|interval| (interval.low, interval.high)) }
}

fn slice_table(run: usize, of: ExaminedSlices, all: &[ExaminedMetric]) -> SliceTable {
    let columns = all.iter().map(|metric| MetricColumn { name: metric.name.clone(), all: estimate(metric) });
    let rows = of.slices.iter().map(|slice| SliceRow {
        label: slice.label.clone(),
        rows: slice.rows,
        values: slice.metrics.iter().map(estimate).collect(),
    });
    SliceTable { run, by: of.by, columns: columns.collect(), rows: rows.collect(), left_out: of.left_out }
}

/// Every metric that a run has, in the order of the first run that has it.
fn metrics(measured: &[Measured], section: &mut DataSection) {
    for run in measured {
        for metric in &run.metrics {
            if section.metrics.iter().all(|known| known.name != metric.name) {
                let of = |run: &Measured| run.metrics.iter().find(|m| m.name == metric.name).map(estimate);
                section.metrics.push(EstimatedMetric {
                    name: metric.name.clone(),
                    direction: direction(metric.direction).into(),
                    runs: measured.iter().map(of).collect(),
                });
            }
        }
    }
}

/// Of each other run from the first.
fn differences(runs: &[LoadedRun], measured: &[Measured], section: &mut DataSection) {
    let [first, others @ ..] = measured else { return };
    for (number, other) in (1..).zip(others) {
        if !first.rows.is_paired_with(&other.rows) {
            let (a, b) = (&runs[0].name, &runs[number].name);
            section.remarks.push(format!("{a} and {b} read other rows or keys: their differences are not paired."));
            continue;
        }
        for metric in &first.metrics {
            let Some(same) = other.metrics.iter().find(|m| m.name == metric.name) else { continue };
            let value = metric.value.ok().zip(same.value.ok()).map(|(first, other)| other - first);
            let resampled: Vec<f64> = metric.resampled.iter().zip(&same.resampled).map(|(a, b)| b - a).collect();
            let difference = interval(value, &resampled);
            section.differences.push(PairedDifference {
                metric: metric.name.clone(),
                run: number,
                difference,
                better: better(metric.direction, &difference),
            });
        }
    }
}

/// Which is better, where the interval says so. Where values are to be near 1, a difference has no
/// direction.
fn better(direction: Direction, difference: &Estimate) -> Option<bool> {
    let (low, high) = difference.interval.filter(|&(low, high)| low > 0.0 || high < 0.0)?;
    debug_assert!(low <= high);
    match direction {
        Direction::HigherIsBetter => Some(low > 0.0),
        Direction::LowerIsBetter => Some(high < 0.0),
        Direction::NearerToOneIsBetter => None,
    }
}
