//! What the models of a project may cost: `[budget]` of `din.toml`.

use crate::device;
use din_compiler::footprint::{self, Footprint};
use din_compiler::model::CheckedModel;
use din_compiler::optimize::PassError;
use din_grammar::{Diagnostic, Span};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// A limit, or what is expected of data: above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount(f64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number above 0, or bytes such as \"8GiB\"")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Amount, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Amount, E> {
        match value.is_finite() && value > 0.0 {
            true => Ok(Amount(value)),
            false => Err(E::custom(format!("expected a number above 0, found {value}"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
        let bytes = device::bytes(&text.replace(' ', "")).map_err(E::custom)?;
        self.visit_f64(bytes as f64)
    }
}

/// What a model may cost at most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Weights outside of tables.
    pub parameters: Option<Amount>,
    /// Floating-point operations of a prediction.
    pub flops_per_sample: Option<Amount>,
    /// Bytes of table rows that a prediction looks up.
    pub bytes_per_sample: Option<Amount>,
    /// Bytes of all tables in training, with optimizer state.
    pub table_memory: Option<Amount>,
}

/// Limits of the models of a project, and what is expected of their data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// Of every model.
    pub limits: Limits,
    /// Instead of those, by the model's name.
    pub models: BTreeMap<String, Limits>,
    /// Ids of growing tables.
    pub rows: BTreeMap<String, Amount>,
    /// Entries of lists.
    pub lengths: BTreeMap<String, Amount>,
}

impl Budget {
    fn limits_of(&self, model: &str) -> Limits {
        let (all, own) = (self.limits, self.models.get(model).copied().unwrap_or_default());
        Limits {
            parameters: own.parameters.or(all.parameters),
            flops_per_sample: own.flops_per_sample.or(all.flops_per_sample),
            bytes_per_sample: own.bytes_per_sample.or(all.bytes_per_sample),
            table_memory: own.table_memory.or(all.table_memory),
        }
    }
}

/// What of a model exceeds its budget, said at `name`, the model's.
///
/// # Errors
/// A pass broke the graph: a bug of the compiler.
pub fn over_budget(budget: &Budget, model: &CheckedModel, name: Span) -> Result<Vec<Diagnostic>, PassError> {
    let limits = budget.limits_of(&model.name);
    let mut over = Vec::new();
    if limits == Limits::default() {
        return Ok(over);
    }
    let length = |sequence: &din_program::schema::Sequence| {
        footprint::kept_length(sequence, budget.lengths.get(&sequence.name).map(|amount| amount.0))
    };
    let cost = Footprint::of(model, length)?;
    let lengths: Vec<String> =
        model.schema.sequences.iter().map(|s| format!("{} of `{}`", length(s), s.name)).collect();
    let of_lengths = match lengths.is_empty() {
        true => String::new(),
        false => format!("with lists of {} entries", lengths.join(", ")),
    };
    let bytes = |bytes: f64| din_runtime::placement::shown_bytes(bytes);
    let limited = [
        ("parameters", limits.parameters, cost.dense_weights as f64, "dense weights", ""),
        ("flops_per_sample", limits.flops_per_sample, cost.flops_per_sample, "operations per sample", &of_lengths),
    ];
    for (setting, limit, found, what, how) in limited {
        if let Some(Amount(limit)) = limit.filter(|limit| found > limit.0) {
            let numbers = [grouped(found), grouped(limit)];
            over.push(exceeded(setting, what, numbers, name, how));
        }
    }
    if let Some(Amount(limit)) = limits.bytes_per_sample.filter(|limit| cost.row_bytes_per_sample > limit.0) {
        let numbers = [bytes(cost.row_bytes_per_sample), bytes(limit)];
        over.push(exceeded("bytes_per_sample", "of table rows per sample", numbers, name, &of_lengths));
    }
    if let Some(limit) = limits.table_memory {
        over.extend(table_memory(budget, model, name, limit.0));
    }
    Ok(over)
}

fn table_memory(budget: &Budget, model: &CheckedModel, name: Span, limit: f64) -> Option<Diagnostic> {
    let (mut total, mut open) = (0.0, Vec::new());
    for table in &model.tables {
        let known = budget.rows.get(&table.name).map(|amount| amount.0 as u64);
        match footprint::rows(table, known) {
            Some(rows) => total += rows as f64 * footprint::row_bytes(model, table) as f64,
            None => open.push(table.name.as_str()),
        }
    }
    let bytes = |bytes: f64| din_runtime::placement::shown_bytes(bytes);
    if total > limit {
        return Some(exceeded("table_memory", "of tables in training", [bytes(total), bytes(limit)], name, ""));
    }
    let first = open.first()?;
    let message = format!("`table_memory` of model `{}` cannot be decided", model.name);
    let label = format!("rows of {} are not known", open.join(", "));
    let help = format!("say in din.toml how many ids there are: `[budget.rows]` and `{first} = 1_000_000`");
    Some(Diagnostic::error("E0902", message, name, label).help(help))
}

fn exceeded(setting: &str, what: &str, [found, limit]: [String; 2], name: Span, how: &str) -> Diagnostic {
    let message = format!("the model exceeds its budget: {found} {what}, `{setting}` is {limit}");
    let diagnostic = Diagnostic::error("E0902", message, name, format!("{found} {what}"));
    let diagnostic = if how.is_empty() { diagnostic } else { diagnostic.note(how) };
    diagnostic.help(format!("make the model smaller, or raise `{setting}` in din.toml"))
}

/// A whole number in groups of three digits: `1,000,000`.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
