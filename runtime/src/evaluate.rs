//! Evaluation: the spec's report on a whole data set, exact, in file order, nothing learned from
//! it.

use crate::batch::KeyColumn;
use crate::comm::{Communicator, LocalCommunicator};
use crate::data::{Dataset, OpenOptions, Order, ReadMode, StreamOptions, string_id};
use crate::metric::{
    Detail, Examination, ExaminedRows, MetricValue, Metrics, RowGrouping, Slice, SliceContext, Slices, Undefined,
};
use crate::session::{DataPass, InferenceOptions, OnSignal, PassEvent, Session, infer_all};
use crate::{Error, Result};
use din_program::TablePrecision;
use din_program::schema::{GroupBy, Schema, Slicing, Vocabulary};
use rustc_hash::FxHashSet;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The metrics of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub rows: u64,
    /// In the order of the spec's report.
    pub values: Vec<MetricValue>,
}

impl Report {
    /// Names and values; `None` where undefined.
    pub fn metrics(&self) -> Vec<(String, Option<f64>)> {
        self.values.iter().map(|v| (v.name.clone(), v.value.as_ref().ok().copied())).collect()
    }

    /// By name; null where undefined.
    pub fn to_map(&self) -> Map<String, Value> {
        self.metrics().into_iter().map(|(name, value)| (name, json!(value))).collect()
    }

    /// With what stands behind the values.
    pub fn to_json(&self) -> Value {
        let metrics: Vec<Value> = self
            .values
            .iter()
            .map(|v| {
                let mut line = measured(&v.value, &v.detail);
                line["name"] = json!(v.name);
                if !v.slices.is_empty() {
                    line["slices"] = v.slices.iter().map(slices).collect();
                }
                line
            })
            .collect();
        json!({ "rows": self.rows, "metrics": metrics })
    }
}

/// A value of a metric with what stands behind it.
fn measured(value: &std::result::Result<f64, Undefined>, detail: &Detail) -> Value {
    let mut line = json!({ "value": value.as_ref().ok() });
    if let Err(why) = value {
        line["undefined"] = json!(why.to_string());
    }
    match detail {
        Detail::Area { positives, negatives } => {
            line["positives"] = json!(positives);
            line["negatives"] = json!(negatives);
        }
        Detail::Gauc { groups, skipped_groups, skipped_rows } => {
            line["groups"] = json!(groups);
            line["one_class_groups_left_out"] = json!(skipped_groups);
            line["their_rows"] = json!(skipped_rows);
        }
        Detail::Ranked { groups, skipped_groups, skipped_rows } => {
            line["groups"] = json!(groups);
            line["groups_without_positives_left_out"] = json!(skipped_groups);
            line["their_rows"] = json!(skipped_rows);
        }
        Detail::Mean { rows } => line["labelled_rows"] = json!(rows),
    }
    line
}

/// A metric on every slice of its rows.
fn slices(of: &Slices) -> Value {
    let slice = |slice: &Slice| {
        let mut line = measured(&slice.value, &slice.detail);
        line["slice"] = slice.of.to_json();
        line["rows"] = json!(slice.rows);
        line
    };
    json!({ "by": of.by, "slices": of.slices.iter().map(slice).collect::<Vec<_>>() })
}

/// What tables in BF16 change of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct PrecisionReport {
    /// On tables in f32.
    pub trained: Report,
    /// On tables in BF16.
    pub rounded: Report,
}

impl PrecisionReport {
    /// Each metric with its two values and what it has gained.
    fn lines(&self) -> impl Iterator<Item = (&MetricValue, &MetricValue, Option<f64>)> {
        self.trained.values.iter().zip(&self.rounded.values).map(|(trained, rounded)| {
            let difference = trained.value.as_ref().ok().zip(rounded.value.as_ref().ok()).map(|(t, r)| r - t);
            (trained, rounded, difference)
        })
    }

    /// That of the rounded tables, each metric with its value on those in f32 and the difference.
    pub fn to_json(&self) -> Value {
        let mut json = self.rounded.to_json();
        json["tables"] = json!(TablePrecision::Bf16.to_string());
        for (k, (trained, _, difference)) in self.lines().enumerate() {
            let line = &mut json["metrics"][k];
            line["value_f32"] = json!(trained.value.as_ref().ok());
            line["difference"] = json!(difference);
        }
        json
    }
}

/// A table: what a metric is on tables in f32, in BF16, and the difference.
impl fmt::Display for PrecisionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: &str = "tables in";
        let longest = self.trained.values.iter().map(|value| value.name.chars().count()).fold(HEAD.len(), usize::max);
        write!(f, "{HEAD:longest$} {:>10} {:>10} {:>11}", "f32", "bf16", "difference")?;
        for (trained, rounded, difference) in self.lines() {
            write!(f, "\n{:longest$}", trained.name)?;
            for value in [trained, rounded] {
                match &value.value {
                    Ok(value) => write!(f, " {value:>10.6}")?,
                    Err(_) => write!(f, " {:>10}", "undefined")?,
                }
            }
            match (difference, &trained.value, &rounded.value) {
                (Some(0.0), _, _) => write!(f, " {:>11}", 0)?,
                (Some(difference), _, _) => write!(f, " {difference:>+11.1e}")?,
                (None, Err(why), _) | (None, Ok(_), Err(why)) => write!(f, " ({why})")?,
                (None, Ok(_), Ok(_)) => unreachable!("two values have a difference"),
            }
        }
        Ok(())
    }
}

/// [`evaluate`] as the tables are, then rounded to BF16, in which the session keeps them.
///
/// # Errors
/// As [`evaluate`] and [`Session::round_tables`].
pub fn evaluate_rounded(
    session: &mut Session,
    data: &Dataset,
    batch: usize,
    on_signal: OnSignal,
    ranks: &Arc<dyn Communicator>,
    observe: &mut dyn FnMut(PassEvent),
) -> Result<PrecisionReport> {
    let trained = evaluate(session, data, batch, on_signal, ranks, observe)?;
    session.round_tables()?;
    let rounded = evaluate(session, data, batch, on_signal, ranks, observe)?;
    Ok(PrecisionReport { trained, rounded })
}

/// Evaluates all of `data`, which was opened with [`crate::data::ReadMode::Evaluate`], without
/// slices. Every rank of the run calls it and evaluates some of the rows; all get the report of one
/// rank that evaluates them all, to the last bit. Rank 0 observes, and holds what a run of one rank
/// would: [`Metrics`].
///
/// # Errors
/// Data that cannot be read, a prediction that is not a number, or another rank failed. An error of
/// kind `Stopped`, on all ranks, if a signal has stopped it.
pub fn evaluate(
    session: &mut Session,
    data: &Dataset,
    batch: usize,
    on_signal: OnSignal,
    ranks: &Arc<dyn Communicator>,
    observe: &mut dyn FnMut(PassEvent),
) -> Result<Report> {
    let program = session.program().clone();
    let metrics = Metrics::new(&program.predictions, &program.metrics);
    collect(session, data, batch, on_signal, (metrics, ranks), observe)
}

/// [`evaluate`] with the slices of the program's metrics, and each of them sliced by `more`, too.
/// The data were opened with the [`texts`](crate::metric::texts) of the slices.
///
/// # Errors
/// As [`evaluate`].
///
/// # Panics
/// The data were opened without these texts.
pub fn evaluate_slices(
    session: &mut Session,
    data: &Dataset,
    batch: usize,
    on_signal: OnSignal,
    more: &[Slicing],
    ranks: &Arc<dyn Communicator>,
    observe: &mut dyn FnMut(PassEvent),
) -> Result<Report> {
    let program = session.program().clone();
    let mut metrics = program.metrics.clone();
    for metric in &mut metrics {
        for slicing in more {
            if metric.slices.iter().all(|own| own.by != slicing.by) {
                metric.slices.push(slicing.clone());
            }
        }
    }
    let metrics = Metrics::with_slices(&program.predictions, &metrics, context(session, data));
    collect(session, data, batch, on_signal, (metrics, ranks), observe)
}

fn context(session: &Session, data: &Dataset) -> SliceContext {
    let schema = session.program().schema.clone();
    SliceContext {
        statistics: session.statistics().clone(),
        entries: schema.vocabularies.iter().map(Vocabulary::owned_entries).collect(),
        texts: data.options().texts.clone(),
        schema,
    }
}

/// Predicts all of `data`, opened as for [`evaluate_slices`], and keeps what metrics on resamples
/// and slices are made of: about 20 bytes per row, and 8 more for each grouping. `cluster_by`: what
/// the rows of a cluster have in common; without it, each row is one. The model was loaded for
/// [`Examination`](crate::session::LoadPurpose::Examination) where a grouping is by frequency.
///
/// # Errors
/// As [`evaluate`], on one rank.
pub fn examine(
    session: &mut Session,
    data: &Dataset,
    batch: usize,
    cluster_by: Option<GroupBy>,
    groupings: Vec<RowGrouping>,
    observe: &mut dyn FnMut(PassEvent),
) -> Result<ExaminedRows> {
    if data.rows() >= u64::from(u32::MAX) / 2 {
        let first = data.files().next().expect("a data set has a file").display();
        return Err(Error::input(format!("{first}: expected fewer than 2^31 rows to examine, found {}", data.rows()))
            .help("name fewer files"));
    }
    let program = session.program().clone();
    let mut examination = Examination::new(&program, context(session, data), cluster_by, groupings);
    let options = InferenceOptions { pass: DataPass::Evaluating, batch, on_signal: OnSignal::Stop };
    let alone: Arc<dyn Communicator> = Arc::new(LocalCommunicator);
    let rows = infer_all(session, data, options, &alone, observe, |first_row, batch, values| {
        examination.push(first_row, batch, &values.predicted, &values.outputs);
        Ok(())
    })?;
    if rows.is_none() {
        let first = data.files().next().expect("a data set has a file");
        return Err(Error::stopped(first, "nothing is measured"));
    }
    examination.finish(session.tables())
}

/// The values of a key in the data at `paths`, of which no other column is read; strings by their
/// hash.
///
/// # Errors
/// Data that cannot be read.
pub fn distinct_keys(schema: &Schema, key: u32, paths: &[PathBuf], list_separator: u8) -> Result<FxHashSet<u64>> {
    let alone = Schema { keys: vec![schema.keys[key as usize].clone()], ..Schema::default() };
    let options = OpenOptions { list_separator, ..OpenOptions::new(ReadMode::Evaluate) };
    let data = Dataset::open_with(paths, &alone, &options)?;
    let mut batches = data.stream(StreamOptions::new(data.bounded_batch(1 << 16), Order::File))?;
    let mut found = FxHashSet::default();
    while let Some(batch) = batches.next()? {
        match &batch.keys[0] {
            KeyColumn::Int64(column) => found.extend(column.iter().map(|&key| key as u64)),
            KeyColumn::String(column) => found.extend(column.iter().map(|key| string_id(key))),
        }
        batches.recycle(batch);
    }
    Ok(found)
}

fn collect(
    session: &mut Session,
    data: &Dataset,
    batch: usize,
    on_signal: OnSignal,
    (mut metrics, ranks): (Metrics, &Arc<dyn Communicator>),
    observe: &mut dyn FnMut(PassEvent),
) -> Result<Report> {
    let options = InferenceOptions { pass: DataPass::Evaluating, batch, on_signal };
    let rows = infer_all(session, data, options, ranks, observe, |first_row, batch, values| {
        metrics.push(first_row, batch, &values.predicted, &values.outputs);
        Ok(())
    })?;
    let rows = rows.ok_or_else(|| {
        let first = data.files().next().expect("a data set has a file");
        Error::stopped(first, "nothing is measured")
    })?;
    Ok(Report { rows, values: metrics.finish_over_ranks(&**ranks)? })
}
