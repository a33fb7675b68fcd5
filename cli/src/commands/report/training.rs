//! What runs recorded while they trained.

use crate::commands::examined::LoadedRun;
use crate::failure::Failure;
use din_program::schema::Direction;
use din_report::{KernelTime, RunReport, TrainingCurve, ValueCurve};
use din_runtime::fs::metadata;
use din_runtime::run_dir::MetricsLine;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::HigherIsBetter => "higher is better",
        Direction::LowerIsBetter => "lower is better",
        Direction::NearerToOneIsBetter => "nearest to 1 is best",
    }
}

/// Adds the curves of all runs.
pub fn curves(runs: &[LoadedRun], report: &mut RunReport) -> Result<(), Failure> {
    for (number, run) in runs.iter().enumerate() {
        let lines = run.directory.metrics(u64::MAX)?;
        report.losses.push(TrainingCurve {
            run: number,
            points: lines.iter().map(|line| (line.step as f64, line.train_loss)).collect(),
            epochs: lines.iter().filter(|line| line.ends_epoch()).map(|line| line.step as f64).collect(),
        });
        let best = run.directory.best()?.and_then(|best| step_of(&best.checkpoint));
        for metric in &run.program.metrics {
            let points = values(&lines, &metric.name);
            if points.is_empty() {
                continue;
            }
            let known = report.metrics.iter().position(|curve| curve.name == metric.name);
            let at = known.unwrap_or_else(|| {
                report.metrics.push(ValueCurve {
                    name: metric.name.clone(),
                    direction: direction(metric.kind.direction()).into(),
                    runs: Vec::new(),
                    best: Vec::new(),
                });
                report.metrics.len() - 1
            });
            report.metrics[at].best.extend(best.map(|step| (number, step as f64)));
            report.metrics[at].runs.push((number, points));
        }
    }
    Ok(())
}

/// Steps, values and epochs of a metric.
fn values(lines: &[MetricsLine], metric: &str) -> Vec<(f64, f64, u32)> {
    let value = |line: &MetricsLine| line.valid.as_ref()?.get(metric)?.as_f64();
    lines.iter().filter_map(|line| value(line).map(|value| (line.step as f64, value, line.epoch))).collect()
}

/// `step-0000000120`
fn step_of(checkpoint: &str) -> Option<u64> {
    checkpoint.strip_prefix("step-")?.parse().ok()
}

/// What is read of `trace.json`.
#[derive(Deserialize)]
struct Trace {
    #[serde(rename = "traceEvents")]
    events: Vec<TraceEvent>,
}

#[derive(Deserialize)]
struct TraceEvent {
    name: String,
    cat: String,
    /// Microseconds.
    dur: f64,
    args: TraceArguments,
}

#[derive(Deserialize)]
struct TraceArguments {
    from: String,
}

/// Kernels that a profile recorded, the slowest first.
pub fn kernels(run: &Path) -> Result<Vec<KernelTime>, Failure> {
    let path = run.join("trace.json");
    if metadata(&path)?.is_none() {
        return Ok(Vec::new());
    }
    let text = fs::read(&path).map_err(|e| Failure::from(din_runtime::Error::file("read", &path, &e)))?;
    let trace: Trace = serde_json::from_slice(&text).map_err(|e| {
        let help = "remove it, or put back what `train --profile` wrote";
        Failure::user_error(format!("{}: expected a trace of din: {e}\n  help: {help}", path.display()))
    })?;
    let mut by_kernel: BTreeMap<(String, String), f64> = BTreeMap::new();
    for TraceEvent { name, cat, dur, args } in trace.events {
        if cat != "infer" {
            *by_kernel.entry((name, args.from)).or_default() += dur / 1e6;
        }
    }
    let mut kernels: Vec<KernelTime> =
        by_kernel.into_iter().map(|((name, location), seconds)| KernelTime { name, location, seconds }).collect();
    kernels.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    Ok(kernels)
}
