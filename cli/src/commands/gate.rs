//! `din gate`: whether a run may replace another one, by their metrics on the same data.

use super::examined::{Groupings, LoadedRun, RunMeasurement};
use crate::args::{GateArgs, ReportFormat};
use crate::failure::{CLOSED, Failure, Outcome};
use crate::markdown::{cell, code};
use crate::terminal::Console;
use din_program::schema::Direction;
use din_runtime::metric::{ExaminedMetric, ExaminedRows, Interval};
use din_runtime::signal;
use serde::Serialize;
use std::fmt::Write as _;

/// The probability with which an interval holds what it is of.
const LEVEL: f64 = 0.95;

/// What is said of a metric beside the baseline's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// The whole interval is a gain.
    Better,
    /// No value of the interval is a loss beyond the margin.
    WithinMargin,
    /// Some values are, and some are not.
    Undecided,
    /// Every value is a loss beyond the margin.
    Worse,
}

impl Verdict {
    /// Of the interval of the gain: what the run is better by.
    fn of(gain: Interval, margin: f64) -> Self {
        match gain {
            Interval { high, .. } if high < -margin => Self::Worse,
            Interval { low, .. } if low > 0.0 => Self::Better,
            Interval { low, .. } if low >= -margin => Self::WithinMargin,
            Interval { .. } => Self::Undecided,
        }
    }

    fn closes(self, strict: bool) -> bool {
        match self {
            Self::Worse => true,
            Self::Undecided => strict,
            Self::Better | Self::WithinMargin => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::WithinMargin => "within the margin",
            Self::Undecided => "undecided",
            Self::Worse => "worse",
        }
    }
}

#[derive(Debug, Serialize)]
struct Comparison {
    metric: String,
    baseline: f64,
    run: f64,
    /// What the run is better by: the difference where higher is better, its opposite where lower
    /// is, and how much nearer to 1 it is otherwise.
    gain: f64,
    /// 95 %.
    interval: (f64, f64),
    margin: f64,
    verdict: Verdict,
    closes: bool,
}

#[derive(Debug, Serialize)]
struct Bound {
    metric: String,
    run: f64,
    /// `at least` or `at most`.
    is_to_be: &'static str,
    bound: f64,
    closes: bool,
}

#[derive(Debug, Serialize)]
struct GateReport {
    run: String,
    baseline: Option<String>,
    rows: u64,
    /// What a resample draws.
    resampled: String,
    resamples: usize,
    comparisons: Vec<Comparison>,
    bounds: Vec<Bound>,
    open: bool,
}

pub fn gate(console: &Console, args: &GateArgs) -> Outcome {
    signal::install();
    let paths: Vec<_> = [&args.run].into_iter().chain(&args.baseline).cloned().collect();
    let runs = LoadedRun::all(&paths)?;
    let of = RunMeasurement::new(&args.data, &args.checkpoint, &args.cpu, &args.input, &args.intervals, &runs[0]);
    let mut measured = Vec::with_capacity(runs.len());
    for (number, run) in runs.iter().enumerate() {
        let (rows, opened) = of.examine(console, run, number == 0, |_, _| Ok(Groupings::default()))?;
        let metrics = rows.metrics(&of.bootstrap, opened.session.threads());
        measured.push((rows, metrics));
    }
    let (rows, metrics) = &measured[0];
    let comparisons = match (&measured[1..], &runs[1..]) {
        ([baseline], [old]) => {
            comparisons(args, (&runs[0].name, rows, metrics), (&old.name, &baseline.0, &baseline.1))?
        }
        (_, _) => Vec::new(),
    };
    let bounds = bounds(args, &runs[0].name, metrics)?;
    let open = !comparisons.iter().any(|c| c.closes) && !bounds.iter().any(|b| b.closes);
    let report = GateReport {
        run: runs[0].name.clone(),
        baseline: runs.get(1).map(|run| run.name.clone()),
        rows: rows.rows,
        resampled: of.resampled(rows),
        resamples: of.bootstrap.resamples,
        comparisons,
        bounds,
        open,
    };
    match console.format() {
        ReportFormat::Human | ReportFormat::Concise => console.result_raw(&report.text()),
        ReportFormat::Markdown => console.result_raw(&report.markdown()),
        ReportFormat::Json => {
            console.result(serde_json::to_string(&report).expect("names and numbers that are finite are JSON"));
        }
        ReportFormat::Sarif | ReportFormat::Github | ReportFormat::Gitlab | ReportFormat::Junit => {
            unreachable!("refused before: formats of findings")
        }
    }
    if open { Ok(()) } else { Err(Failure::reported(CLOSED)) }
}

/// The metric of a run, or what it has instead.
fn metric<'m>(run: &str, metrics: &'m [ExaminedMetric], name: &str) -> Result<&'m ExaminedMetric, Failure> {
    metrics.iter().find(|metric| metric.name == name).ok_or_else(|| {
        let all: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        Failure::user_error(format!("{run}: no metric {name} is reported\n  help: it has {}", all.join(", ")))
    })
}

/// Its value on the data, or why there is none.
fn value(run: &str, metric: &ExaminedMetric) -> Result<f64, Failure> {
    let help = "measure it on data where it is defined, or name others with --metric";
    let undefined = |why: &dyn std::fmt::Display| {
        Failure::user_error(format!("{run}: {} is undefined on these data: {why}\n  help: {help}", metric.name))
    };
    match &metric.value {
        Ok(value) if value.is_finite() => Ok(*value),
        Ok(value) => Err(undefined(&format!("it is {value}"))),
        Err(why) => Err(undefined(why)),
    }
}

/// What `new` is better by than `old`.
fn gain(direction: Direction, old: f64, new: f64) -> f64 {
    match direction {
        Direction::HigherIsBetter => new - old,
        Direction::LowerIsBetter => old - new,
        Direction::NearerToOneIsBetter => (old - 1.0).abs() - (new - 1.0).abs(),
    }
}

type Side<'m> = (&'m str, &'m ExaminedRows, &'m [ExaminedMetric]);

fn comparisons(args: &GateArgs, new: Side<'_>, old: Side<'_>) -> Result<Vec<Comparison>, Failure> {
    if !new.1.is_paired_with(old.1) {
        let help = "both models must read the same rows, and have the key that --key names";
        let (new, old) = (new.0, old.0);
        return Err(Failure::user_error(format!("{new} and {old} read other rows or other keys\n  help: {help}")));
    }
    let chosen: Vec<&ExaminedMetric> = match args.metric.as_slice() {
        [] => new.2.iter().filter(|metric| old.2.iter().any(|other| other.name == metric.name)).collect(),
        names => names.iter().map(|name| metric(new.0, new.2, name)).collect::<Result<_, _>>()?,
    };
    if chosen.is_empty() {
        let help = "give both models the same metric in `report`, or set bounds with --least and --most";
        return Err(Failure::user_error(format!("{} and {} have no metric in common\n  help: {help}", new.0, old.0)));
    }
    if let Some((unknown, _)) = args.margin.iter().find(|(name, _)| chosen.iter().all(|metric| metric.name != *name)) {
        let all: Vec<&str> = chosen.iter().map(|metric| metric.name.as_str()).collect();
        let help = format!("compared are {}", all.join(", "));
        return Err(Failure::user_error(format!("--margin: {unknown} is not compared\n  help: {help}")));
    }
    let mut found = Vec::new();
    for ours in chosen {
        let theirs = metric(old.0, old.2, &ours.name)?;
        let (run, baseline) = (value(new.0, ours)?, value(old.0, theirs)?);
        let resampled: Vec<f64> =
            theirs.resampled.iter().zip(&ours.resampled).map(|(&old, &new)| gain(ours.direction, old, new)).collect();
        let interval = Interval::percentile(&resampled, LEVEL).ok_or_else(|| {
            let help = "measure on more data, or leave it out by naming others with --metric";
            Failure::user_error(format!(
                "{} is undefined on too many resamples of these data\n  help: {help}",
                ours.name
            ))
        })?;
        let margin = args.margin.iter().rfind(|(name, _)| *name == ours.name).map_or(0.0, |&(_, margin)| margin);
        let verdict = Verdict::of(interval, margin);
        found.push(Comparison {
            metric: ours.name.clone(),
            baseline,
            run,
            gain: gain(ours.direction, baseline, run),
            interval: (interval.low, interval.high),
            margin,
            verdict,
            closes: verdict.closes(args.strict),
        });
    }
    Ok(found)
}

fn bounds(args: &GateArgs, run: &str, metrics: &[ExaminedMetric]) -> Result<Vec<Bound>, Failure> {
    let least = args.least.iter().map(|bound| ("at least", bound));
    let most = args.most.iter().map(|bound| ("at most", bound));
    least
        .chain(most)
        .map(|(is_to_be, (name, bound))| {
            let value = value(run, metric(run, metrics, name)?)?;
            let closes = if is_to_be == "at least" { value < *bound } else { value > *bound };
            Ok(Bound { metric: name.clone(), run: value, is_to_be, bound: *bound, closes })
        })
        .collect()
}

impl GateReport {
    fn outcome(&self) -> &'static str {
        if self.open { "open" } else { "closed" }
    }

    fn measured(&self) -> String {
        let how = format!("{} rows; 95 % of {} resamples of {}", self.rows, self.resamples, self.resampled);
        match &self.baseline {
            Some(baseline) => format!("{} beside {baseline}, {how}", self.run),
            None => format!("{}, {} rows", self.run, self.rows),
        }
    }

    fn text(&self) -> String {
        let mut out = format!("{}\n", self.measured());
        let names = self.comparisons.iter().map(|c| c.metric.len()).chain(self.bounds.iter().map(|b| b.metric.len()));
        let width = names.chain(["metric".len()]).max().expect("the heading is among them");
        // Writing to a string cannot fail.
        if !self.comparisons.is_empty() {
            let _ = writeln!(out, "{:width$}  baseline      run  gain [95 %]                    margin", "metric");
        }
        for Comparison { metric, baseline, run, gain, interval: (low, high), margin, verdict, closes } in
            &self.comparisons
        {
            let closed = if *closes { ": closed" } else { "" };
            let _ = writeln!(
                out,
                "{metric:width$}  {baseline:>8.4} {run:>8.4}  {gain:+.4} [{low:+.4}, {high:+.4}]  {margin:>8.4}  {}{closed}",
                verdict.name()
            );
        }
        for Bound { metric, run, is_to_be, bound, closes } in &self.bounds {
            let (is, closed) = if *closes { ("is not", ": closed") } else { ("is", "") };
            let _ = writeln!(out, "{metric:width$}  {run:.4} {is} {is_to_be} {bound}{closed}");
        }
        let _ = writeln!(out, "the gate is {}", self.outcome());
        out
    }

    fn markdown(&self) -> String {
        let mut out = format!("**The gate is {}**: {}.\n", self.outcome(), cell(&self.measured()));
        // Writing to a string cannot fail.
        if !self.comparisons.is_empty() {
            out += "\n| metric | baseline | run | gain [95 %] | margin | |\n| --- | --- | --- | --- | --- | --- |\n";
        }
        for Comparison { metric, baseline, run, gain, interval: (low, high), margin, verdict, closes } in
            &self.comparisons
        {
            let said = if *closes { format!("**{}**", verdict.name()) } else { verdict.name().into() };
            let metric = code(metric);
            let _ = writeln!(
                out,
                "| {metric} | {baseline:.4} | {run:.4} | {gain:+.4} [{low:+.4}, {high:+.4}] | {margin:.4} | {said} |"
            );
        }
        if !self.bounds.is_empty() {
            out += "\n| metric | run | is to be | |\n| --- | --- | --- | --- |\n";
        }
        for Bound { metric, run, is_to_be, bound, closes } in &self.bounds {
            let said = if *closes { "**no**" } else { "yes" };
            let _ = writeln!(out, "| {} | {run:.4} | {is_to_be} {bound} | {said} |", code(metric));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_follows_from_the_interval_and_the_margin() {
        let of = |low, high, margin| Verdict::of(Interval { low, high }, margin);
        assert_eq!(of(0.01, 0.02, 0.0), Verdict::Better);
        assert_eq!(of(-0.01, 0.02, 0.0), Verdict::Undecided);
        assert_eq!(of(-0.01, 0.02, 0.01), Verdict::WithinMargin);
        assert_eq!(of(-0.03, -0.01, 0.0), Verdict::Worse);
        assert_eq!(of(-0.03, -0.01, 0.02), Verdict::Undecided);
        assert_eq!(of(-0.03, -0.01, 0.03), Verdict::WithinMargin);
        assert_eq!(of(0.0, 0.0, 0.0), Verdict::WithinMargin, "a run beside itself");
    }

    #[test]
    fn gains_are_towards_what_is_better() {
        assert_eq!(gain(Direction::HigherIsBetter, 0.5, 0.75), 0.25);
        assert_eq!(gain(Direction::LowerIsBetter, 0.5, 0.75), -0.25);
        assert_eq!(gain(Direction::NearerToOneIsBetter, 1.5, 0.75), 0.25);
    }
}
