//! The page: HTML with its style, without scripts.

use crate::chart::{self, Histogram, Line, LineChart, Point, colour, hex, interval_bar, share_bar};
use crate::contents::{
    DataSection, Estimate, KernelTime, PredictionSection, RunFact, RunReport, RunSection, SliceTable, ValueCurve,
};
use std::fmt::Write;

/// Text with the characters that mean something in HTML written otherwise.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

macro_rules! put {
    // Writing to a string cannot fail.
    ($out:expr, $($part:tt)*) => { let _ = write!($out, $($part)*); };
}

const STYLE: &str = include_str!("page/style.css");

/// The report as one file of HTML.
pub fn html(report: &RunReport) -> String {
    let title = escaped(&report.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}{}</style>\n\
         </head>\n<body>\n<header><h1>{title}</h1><p>{}</p></header>\n",
        series_style(),
        escaped(&report.made_by)
    );
    if report.runs.len() > 1 {
        out += &legend(report);
    }
    out += "<main>\n";
    if let Some(data) = &report.data {
        measured(&mut out, report, data);
    }
    curves(&mut out, report);
    if let Some(data) = &report.data {
        predictions(&mut out, report, data);
        slices(&mut out, report, data);
    }
    differences(&mut out, report);
    for (k, run) in report.runs.iter().enumerate() {
        self::run(&mut out, report, k, run);
    }
    out += "</main>\n</body>\n</html>\n";
    out
}

/// The series' colours for a dark page: lighter ones.
fn series_style() -> String {
    const DARK: [&str; 7] = ["#58A6FF", "#FF8A4C", "#3FD0A0", "#E29AC5", "#F2B84B", "#8BD3FF", "#A8A8A8"];
    let pairs = || chart::SERIES.iter().map(|colour| hex(*colour)).zip(DARK);
    let mut out = String::new();
    let mut rules = String::new();
    for (light, dark) in pairs() {
        put!(rules, "svg [stroke=\"{light}\"]{{stroke:{dark}}}svg [fill=\"{light}\"]{{fill:{dark}}}");
    }
    put!(out, "@media screen and (prefers-color-scheme:dark){{{rules}}}\n");
    out
}

fn swatch(run: usize) -> String {
    format!(
        r#"<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true"><rect width="12" height="12" rx="2" fill="{}"/></svg>"#,
        hex(colour(run))
    )
}

fn named(report: &RunReport, run: usize) -> String {
    match report.runs.len() {
        0 | 1 => escaped(&report.runs[run].name),
        _ => format!("{}{}", swatch(run), escaped(&report.runs[run].name)),
    }
}

fn legend(report: &RunReport) -> String {
    let items: Vec<String> = (0..report.runs.len()).map(|run| format!("<li>{}</li>", named(report, run))).collect();
    format!("<ul class=\"legend\" aria-label=\"Runs\">{}</ul>\n", items.join(""))
}

fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-3 { format!("{value:.2e}") } else { format!("{value:.4}") }
}

fn estimate(of: &Estimate) -> String {
    match (of.value, of.interval) {
        (None, _) => "<span class=\"quiet\">undefined</span>".into(),
        (Some(value), None) => format!("{} <span class=\"quiet\">no interval</span>", number(value)),
        (Some(value), Some((low, high))) => {
            format!("{} <span class=\"quiet\">[{}, {}]</span>", number(value), number(low), number(high))
        }
    }
}

fn measured(out: &mut String, report: &RunReport, data: &DataSection) {
    put!(
        out,
        "<section><h2>Test metrics</h2>\n<p>{} rows of {}. Intervals hold 95 %: percentiles of {} resamples of {}.</p>\n",
        data.rows,
        escaped(&data.files.join(", ")),
        data.resamples,
        escaped(&data.resampled)
    );
    *out += "<table><thead><tr><th>metric</th>";
    for run in 0..report.runs.len() {
        put!(out, "<th>{}</th>", named(report, run));
    }
    *out += "<th></th></tr></thead><tbody>\n";
    for metric in &data.metrics {
        put!(
            out,
            "<tr><th>{}<br><span class=\"quiet\">{}</span></th>",
            escaped(&metric.name),
            escaped(&metric.direction)
        );
        for run in &metric.runs {
            put!(out, "<td>{}</td>", run.as_ref().map_or("<span class=\"quiet\">not reported</span>".into(), estimate));
        }
        let bounds = spread(metric.runs.iter().flatten());
        *out += "<td class=\"bars\">";
        for (run, value) in metric.runs.iter().enumerate() {
            if let Some(Estimate { value: Some(value), interval }) = value {
                let bar = interval_bar(*value, *interval, None, bounds);
                put!(out, "<div style=\"--series:{}\" class=\"s{}\">{bar}</div>", hex(colour(run)), chart::series(run));
            }
        }
        *out += "</td></tr>\n";
    }
    *out += "</tbody></table>\n";
    if !data.differences.is_empty() {
        put!(
            out,
            "<h3>Differences from {}</h3>\n<p>Paired: both models on the same resamples.</p>\n<table><thead><tr>\
             <th>metric</th><th>run</th><th>difference</th><th>verdict</th></tr></thead><tbody>\n",
            named(report, 0)
        );
        for difference in &data.differences {
            let verdict = match difference.better {
                Some(true) => "<span class=\"better\">better</span>",
                Some(false) => "<span class=\"worse\">worse</span>",
                None => "<span class=\"quiet\">not told apart</span>",
            };
            put!(
                out,
                "<tr><th>{}</th><td>{}</td><td>{}</td><td>{verdict}</td></tr>\n",
                escaped(&difference.metric),
                named(report, difference.run),
                estimate(&difference.difference)
            );
        }
        *out += "</tbody></table>\n";
    }
    for remark in &data.remarks {
        put!(out, "<p class=\"quiet\">{}</p>\n", escaped(remark));
    }
    *out += "</section>\n";
}

/// From the least to the largest end of all intervals.
fn spread<'a>(estimates: impl Iterator<Item = &'a Estimate>) -> (f64, f64) {
    let ends = estimates.filter_map(|e| e.value.map(|value| e.interval.unwrap_or((value, value))));
    ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (a, b)| (low.min(a), high.max(b)))
}

fn figure(title: &str, svg: &str) -> String {
    format!("<figure><figcaption>{}</figcaption>{svg}</figure>\n", escaped(title))
}

fn curves(out: &mut String, report: &RunReport) {
    *out += "<section><h2>Training</h2>\n<div class=\"charts\">\n";
    let lines = report.losses.iter().map(|curve| Line {
        colour: colour(curve.run),
        points: curve
            .points
            .iter()
            .map(|&(x, y)| Point {
                x,
                y,
                tooltip: format!("{}\nstep {x}: {}", report.runs[curve.run].name, number(y)),
                marked: false,
                interval: None,
            })
            .collect(),
    });
    let mut marks: Vec<f64> = match &report.losses[..] {
        [one] => one.epochs.clone(),
        _ => Vec::new(),
    };
    marks.pop();
    let title = "Training loss";
    let chart = LineChart { title, x: "step", y: "loss", lines: lines.collect(), marks, diagonal: false };
    *out += &figure(title, &chart::lines(&chart));
    for curve in &report.metrics {
        *out += &value_curve(report, curve);
    }
    *out += "</div>\n";
    if report.metrics.iter().any(|curve| !curve.best.is_empty()) {
        *out += "<p class=\"quiet\">A ring marks the best checkpoint of a run.</p>\n";
    }
    *out += "</section>\n";
}

fn value_curve(report: &RunReport, curve: &ValueCurve) -> String {
    let lines = curve.runs.iter().map(|(run, points)| Line {
        colour: colour(*run),
        points: points
            .iter()
            .map(|&(x, y, epoch)| Point {
                x,
                y,
                tooltip: format!("{}\nepoch {epoch}, step {x}: {}", report.runs[*run].name, number(y)),
                marked: curve.best.contains(&(*run, x)),
                interval: None,
            })
            .collect(),
    });
    let title = format!("Validation {} ({})", curve.name, curve.direction);
    let chart = LineChart {
        title: &title,
        x: "step",
        y: &curve.name,
        lines: lines.collect(),
        marks: Vec::new(),
        diagonal: false,
    };
    figure(&title, &chart::lines(&chart))
}

fn predictions(out: &mut String, report: &RunReport, data: &DataSection) {
    if data.predictions.is_empty() {
        return;
    }
    *out += "<section><h2>Calibration and scores</h2>\n<div class=\"charts\">\n";
    let mut names: Vec<&str> = Vec::new();
    for prediction in &data.predictions {
        if !names.contains(&prediction.name.as_str()) {
            names.push(&prediction.name);
        }
    }
    for name in names {
        let of_name: Vec<&PredictionSection> = data.predictions.iter().filter(|p| p.name == name).collect();
        *out += &calibration(report, name, &of_name);
        for prediction in of_name {
            *out += &scores(report, prediction);
        }
    }
    *out += "</div>\n<p class=\"quiet\">Calibration: samples in bins of equal number by probability; bars hold 95 % \
             (Wilson). PCOC is the sum of probabilities by the number of labels that are 1; ECE the mean distance of \
             a bin from the diagonal.</p>\n</section>\n";
}

fn calibration(report: &RunReport, name: &str, runs: &[&PredictionSection]) -> String {
    let line = |prediction: &&PredictionSection| Line {
        colour: colour(prediction.run),
        points: prediction
            .bins
            .iter()
            .map(|bin| Point {
                x: bin.predicted,
                y: bin.observed,
                tooltip: format!(
                    "{}\npredicted {}, observed {} [{}, {}]\n{} samples",
                    report.runs[prediction.run].name,
                    number(bin.predicted),
                    number(bin.observed),
                    number(bin.interval.0),
                    number(bin.interval.1),
                    bin.samples
                ),
                marked: false,
                interval: Some(bin.interval),
            })
            .collect(),
    };
    let title = format!("Calibration of {name}");
    let chart = LineChart {
        title: &title,
        x: "mean predicted probability",
        y: "share of labels that are 1",
        lines: runs.iter().map(line).collect(),
        marks: Vec::new(),
        diagonal: true,
    };
    let facts: Vec<String> = runs
        .iter()
        .map(|p| {
            let shown = |value: Option<f64>| value.map_or("undefined".into(), number);
            format!("<li>{}: PCOC {}, ECE {}</li>", named(report, p.run), shown(p.pcoc), shown(p.ece))
        })
        .collect();
    format!(
        "<figure><figcaption>{}</figcaption>{}<ul class=\"legend\">{}</ul></figure>\n",
        escaped(&title),
        chart::lines(&chart),
        facts.join("")
    )
}

fn scores(report: &RunReport, prediction: &PredictionSection) -> String {
    let mut title = format!("Scores of {} by label", prediction.name);
    if report.runs.len() > 1 {
        title += &format!(", {}", report.runs[prediction.run].name);
    }
    let [zeros, ones] = &prediction.scores.shares;
    let (grey, blue) = (chart::SERIES[6], chart::SERIES[0]);
    let series = vec![(grey, "label 0", zeros.as_slice()), (blue, "label 1", ones.as_slice())];
    let chart =
        Histogram { title: &title, x: "logit", y: "share of samples", bounds: &prediction.scores.bounds, series };
    let [negatives, positives] = prediction.scores.samples;
    format!(
        "<figure><figcaption>{}</figcaption>{}<ul class=\"legend\"><li>{}label 0: {negatives} samples</li>\
         <li>{}label 1: {positives} samples</li></ul></figure>\n",
        escaped(&title),
        chart::histogram(&chart),
        swatch(6),
        swatch(0)
    )
}

fn slices(out: &mut String, report: &RunReport, data: &DataSection) {
    if data.slices.is_empty() {
        return;
    }
    *out += "<section><h2>Slices</h2>\n<p>Each metric on the rows of a slice; the thin line is its value on all \
             rows.</p>\n";
    for table in &data.slices {
        slice_table(out, report, table);
    }
    *out += "</section>\n";
}

fn slice_table(out: &mut String, report: &RunReport, table: &SliceTable) {
    put!(out, "<h3>By {}", escaped(&table.by));
    if report.runs.len() > 1 {
        put!(out, ", {}", named(report, table.run));
    }
    *out += "</h3>\n<table class=\"slices\"><thead><tr><th>slice</th><th>rows</th>";
    for column in &table.columns {
        put!(out, "<th colspan=\"2\">{}</th>", escaped(&column.name));
    }
    *out += "</tr></thead><tbody>\n";
    let of_column = |k: usize| table.rows.iter().map(move |row| &row.values[k]).chain([&table.columns[k].all]);
    let bounds: Vec<(f64, f64)> = (0..table.columns.len()).map(|k| spread(of_column(k))).collect();
    for row in &table.rows {
        put!(out, "<tr><th>{}</th><td class=\"count\">{}</td>", escaped(&row.label), row.rows);
        for ((value, column), bounds) in row.values.iter().zip(&table.columns).zip(&bounds) {
            let bar = value.value.map(|v| interval_bar(v, value.interval, column.all.value, *bounds));
            put!(
                out,
                "<td>{}</td><td class=\"s{}\" style=\"--series:{}\">{}</td>",
                estimate(value),
                chart::series(table.run),
                hex(colour(table.run)),
                bar.unwrap_or_default()
            );
        }
        *out += "</tr>\n";
    }
    *out += "</tbody></table>\n";
    if table.left_out > 0 {
        put!(out, "<p class=\"quiet\">{} smaller slices are not shown.</p>\n", table.left_out);
    }
}

fn differences(out: &mut String, report: &RunReport) {
    if report.differences.is_empty() {
        return;
    }
    put!(
        out,
        "<section><h2>Differences of the specs</h2>\n<p>From that of {}, as <code>din diff</code> says.</p>\n",
        named(report, 0)
    );
    for difference in &report.differences {
        put!(out, "<h3>{}</h3>\n<pre>{}</pre>\n", named(report, difference.run), escaped(difference.text.trim_end()));
    }
    *out += "</section>\n";
}

/// Rows of cells; the first row is the heading.
fn cells(out: &mut String, rows: &[Vec<String>]) {
    let [heading, rows @ ..] = rows else { return };
    *out += "<table><thead><tr>";
    heading.iter().for_each(|cell| *out += &format!("<th>{}</th>", escaped(cell)));
    *out += "</tr></thead><tbody>\n";
    for row in rows {
        *out += "<tr>";
        row.iter().for_each(|cell| *out += &format!("<td>{}</td>", escaped(cell)));
        *out += "</tr>\n";
    }
    *out += "</tbody></table>\n";
}

fn run(out: &mut String, report: &RunReport, number: usize, run: &RunSection) {
    put!(out, "<section><h2>{}</h2>\n<dl>", named(report, number));
    for RunFact { name, value } in &run.facts {
        put!(out, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value));
    }
    *out += "</dl>\n<h3>Tables</h3>\n";
    cells(out, &run.tables);
    put!(out, "<details><summary>{} parameters</summary>\n", run.parameters.len().saturating_sub(1));
    cells(out, &run.parameters);
    *out += "</details>\n";
    kernels(out, &run.kernels);
    put!(out, "<details><summary>Spec</summary>\n<pre>{}</pre></details>\n</section>\n", escaped(&run.spec));
}

fn kernels(out: &mut String, kernels: &[KernelTime]) {
    const MOST: usize = 20;
    let total: f64 = kernels.iter().map(|kernel| kernel.seconds).sum();
    if total <= 0.0 {
        return;
    }
    *out += "<h3>Time by kernel</h3>\n<p>Of the first calls that <code>--profile</code> recorded.</p>\n<table \
             class=\"kernels\"><thead><tr><th>kernel</th><th>from</th><th>share</th><th></th></tr></thead><tbody>\n";
    let largest = kernels.first().map_or(1.0, |kernel| kernel.seconds);
    for kernel in kernels.iter().take(MOST) {
        put!(
            out,
            "<tr><th>{}</th><td>{}</td><td class=\"count\">{:.1} %</td><td class=\"share\">{}</td></tr>\n",
            escaped(&kernel.name),
            escaped(&kernel.location),
            100.0 * kernel.seconds / total,
            share_bar(kernel.seconds / largest)
        );
    }
    *out += "</tbody></table>\n";
    if kernels.len() > MOST {
        put!(out, "<p class=\"quiet\">{} more take less.</p>\n", kernels.len() - MOST);
    }
}
