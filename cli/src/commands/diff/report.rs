//! A difference as text, as Markdown and as JSON.

use crate::markdown::{cell, code};
use din_compiler::difference::{ChangeKind, ModelChange, ModelCost, ModelDifference, TensorFate, TensorFit, Verdict};
use din_runtime::placement::shown_bytes;
use serde::Serialize;
use std::fmt::Write;

/// What differs, with how the two models are called: on the command line, and in their specs.
#[derive(Serialize)]
pub struct DifferenceReport<'a> {
    pub old: (&'a str, &'a str),
    pub new: (&'a str, &'a str),
    #[serde(flatten)]
    pub difference: ModelDifference,
}

/// A row of the table of costs.
struct CostRow {
    what: &'static str,
    old: String,
    new: String,
    change: String,
}

impl DifferenceReport<'_> {
    fn sentence(&self) -> String {
        let tensors = &self.difference.checkpoint.tensors;
        let lacking = |fit: &&TensorFit| matches!(fit.fate, TensorFate::New | TensorFate::Resized { .. });
        let lacks = tensors.iter().filter(lacking).count();
        let of = tensors.iter().filter(|fit| fit.fate != TensorFate::Dropped).count();
        match self.difference.verdict {
            Verdict::Same => "The models are the same.".into(),
            Verdict::Compatible => "A checkpoint of the old model has every weight of the new one.".into(),
            Verdict::Incompatible => {
                format!("A checkpoint of the old model lacks {lacks} of the {of} tensors of the new one.")
            }
        }
    }

    fn costs(&self) -> Vec<CostRow> {
        let [old, new] = &self.difference.cost;
        let mut rows = Vec::new();
        let mut row = |what, of: fn(&ModelCost) -> f64, shown: fn(f64) -> String| {
            let (a, b) = (of(old), of(new));
            rows.push(CostRow { what, old: shown(a), new: shown(b), change: change(a, b) });
        };
        row("dense weights", |cost| cost.dense_weights as f64, |n| format!("{n:.0}"));
        row("bytes of these", |cost| cost.dense_bytes as f64, shown_bytes);
        row("operations per sample", |cost| cost.flops_per_sample, |n| format!("{n:.0}"));
        row("bytes of rows per sample", |cost| cost.row_bytes_per_sample, shown_bytes);
        rows
    }

    /// `matmul 4 to 5, add 7 to 9`
    fn operations(&self) -> Option<String> {
        let each = self.difference.operations.iter().map(|o| format!("{} {} to {}", o.operation, o.old, o.new));
        let all: Vec<String> = each.collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// The tensors of a checkpoint by what becomes of them: title, and one line each.
    fn tensors(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut groups: Vec<(&'static str, Vec<String>)> = Vec::new();
        for fit in &self.difference.checkpoint.tensors {
            let (title, line) = match &fit.fate {
                TensorFate::Kept => ("kept", fit.tensor.clone()),
                TensorFate::Renamed { new_name } => {
                    ("kept under another name", format!("{} as {new_name}", fit.tensor))
                }
                TensorFate::New => ("new", fit.tensor.clone()),
                TensorFate::Dropped => ("dropped", fit.tensor.clone()),
                TensorFate::Resized { old, new } => ("resized", format!("{}: {old} to {new}", fit.tensor)),
            };
            match groups.iter_mut().find(|(known, _)| *known == title) {
                Some((_, lines)) => lines.push(line),
                None => groups.push((title, vec![line])),
            }
        }
        let lost = &self.difference.checkpoint.optimizer_state_lost;
        if !lost.is_empty() {
            groups.push(("kept without optimizer state", lost.clone()));
        }
        groups
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{} (model {}) to {} (model {})", self.old.0, self.old.1, self.new.0, self.new.1);
        if self.difference.verdict == Verdict::Same {
            let _ = writeln!(out, "{}", self.sentence());
            return out;
        }
        for change in &self.difference.changes {
            let _ = writeln!(out, "  {} {} {}{}", sign(change), change.part.word(), change.name, detail(change));
        }
        let _ = writeln!(out, "\n{:<26} {:>14} {:>14}", "", "old", "new");
        for CostRow { what, old, new, change } in self.costs() {
            let _ = writeln!(out, "{what:<26} {old:>14} {new:>14}  {change}");
        }
        if let Some(operations) = self.operations() {
            let _ = writeln!(out, "operations of prediction: {operations}");
        }
        let _ = writeln!(out, "\n{}", self.sentence());
        for (title, lines) in self.tensors() {
            let _ = writeln!(out, "  {title}: {}", lines.join("; "));
        }
        out
    }

    pub fn markdown(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "### {} to {}\n", code(self.old.0), code(self.new.0));
        let _ = writeln!(out, "**{}**", self.sentence());
        if self.difference.verdict == Verdict::Same {
            return out;
        }
        if !self.difference.changes.is_empty() {
            let _ = writeln!(out, "\n| | part | name | what |\n| --- | --- | --- | --- |");
        }
        for change in &self.difference.changes {
            let detail = detail(change);
            let detail = cell(detail.trim_start_matches(": "));
            let (word, name) = (change.part.word(), code(&change.name));
            let _ = writeln!(out, "| {} | {word} | {name} | {detail} |", kind(change));
        }
        let _ = writeln!(out, "\n| cost | old | new | |\n| --- | ---: | ---: | ---: |");
        for CostRow { what, old, new, change } in self.costs() {
            let _ = writeln!(out, "| {what} | {old} | {new} | {change} |");
        }
        if let Some(operations) = self.operations() {
            let _ = writeln!(out, "\nOperations of prediction: {operations}.");
        }
        let groups = self.tensors();
        let counts: Vec<String> = groups.iter().map(|(title, lines)| format!("{} {title}", lines.len())).collect();
        let _ = writeln!(out, "\n<details><summary>Tensors of a checkpoint: {}</summary>\n", counts.join(", "));
        for (title, lines) in &groups {
            let lines: Vec<String> = lines.iter().map(|line| code(line)).collect();
            let _ = writeln!(out, "- {title}: {}", lines.join(", "));
        }
        let _ = writeln!(out, "\n</details>");
        out
    }
}

fn sign(change: &ModelChange) -> char {
    match change.kind {
        ChangeKind::Added { .. } => '+',
        ChangeKind::Removed { .. } => '-',
        ChangeKind::Renamed { .. } | ChangeKind::Changed { .. } => '~',
    }
}

fn kind(change: &ModelChange) -> &'static str {
    match change.kind {
        ChangeKind::Added { .. } => "added",
        ChangeKind::Removed { .. } => "removed",
        ChangeKind::Renamed { .. } => "renamed",
        ChangeKind::Changed { .. } => "changed",
    }
}

fn detail(change: &ModelChange) -> String {
    match &change.kind {
        ChangeKind::Added { what } | ChangeKind::Removed { what } if what.is_empty() => String::new(),
        ChangeKind::Added { what } | ChangeKind::Removed { what } => format!(": {what}"),
        ChangeKind::Renamed { new_name } => format!(": now {new_name}"),
        ChangeKind::Changed { properties } => {
            let each = properties.iter().map(|change| match (change.property, change.old.as_str()) {
                // Of a value there is nothing to be shown.
                ("value", "as it was") => change.new.clone(),
                ("value", old) => format!("{old} to {}", change.new),
                (property, old) => format!("{property} {} to {}", or_nothing(old), or_nothing(&change.new)),
            });
            format!(": {}", each.collect::<Vec<_>>().join("; "))
        }
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// `+3.4 %`; nothing where nothing changed.
fn change(old: f64, new: f64) -> String {
    if old == new {
        return String::new();
    }
    if old == 0.0 {
        return "from 0".into();
    }
    let percent = 100.0 * (new - old) / old;
    let digits = if percent.abs() < 10.0 { 2 } else { 0 };
    format!("{percent:+.digits$} %")
}
