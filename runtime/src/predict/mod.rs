//! Prediction: one row of output for each row of data, in its order: the key columns, the labels
//! that the data have, both as they are, and `<label>_probability` for each prediction, on request
//! also `<label>_logit`. Written as a whole or not at all. Several ranks write a folder of parts.
//!
//! - `write`: a file. - `csv`: its rows as text. - `parts`: the folder of several ranks. - `share`:
//!   rows on their way to the rank that writes them.

mod csv;
mod parts;
mod share;
mod write;

use crate::Error;
use crate::batch::Batch;
use crate::comm::Communicator;
use crate::data::{Dataset, OpenOptions, ReadMode, RowDivision};
use crate::session::{DataPass, InferenceOptions, OnSignal, PassEvent, Session, infer_all};
use crate::statistics::Statistics;
use arrow_array::{Array, ArrayRef, Float32Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat;
use din_program::Program;
use parts::PartsFolder;
use share::RowExchange;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use write::PredictionWriter;

pub use write::OutputFormat;

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// A file; of several ranks a folder, in which each writes one.
    pub path: PathBuf,
    pub format: OutputFormat,
    /// Also `<label>_logit`, for each prediction.
    pub logits: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictionSummary {
    pub rows: u64,
    /// In the order of the file: names, and what they hold.
    pub columns: Vec<(String, ColumnContents)>,
}

/// What a column of the output holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnContents {
    Key,
    Label,
    Probability,
    Logit,
}

impl fmt::Display for ColumnContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Label => "label, as in the data",
            Self::Probability => "probability that the label is 1, f32",
            Self::Logit => "logit, f32",
        })
    }
}

/// A column that the output may have.
struct OutputColumn {
    name: String,
    /// `key user (din.din:9:5)`
    origin: String,
    contents: ColumnContents,
}

/// Opens data for prediction by a model with these statistics of its training data.
///
/// # Errors
/// Two columns of the output would have one name; or the data are at fault.
pub fn open(
    program: &Program,
    paths: &[PathBuf],
    list_separator: u8,
    statistics: &Statistics,
    output: &OutputOptions,
) -> Result<Dataset, Error> {
    let columns = columns(program, output.logits);
    for (k, column) in columns.iter().enumerate() {
        if let Some(first) = columns[..k].iter().find(|first| first.name == column.name) {
            return Err(Error::input(format!(
                "{}: two columns would be called \"{}\": {} and {}",
                output.path.display(),
                column.name,
                first.origin,
                column.origin
            ))
            .help("give the key's column another name, in the data and after `from` in the spec"));
        }
    }
    let options = OpenOptions { list_separator, statistics: statistics.clone(), ..OpenOptions::new(ReadMode::Predict) };
    Ok(Dataset::open_with(paths, &program.schema, &options)?)
}

/// Predicts every row of `data`, which [`open`] gave, into the output: a file that is whole or
/// absent.
///
/// Every rank of a run calls it. Of several, each writes the consecutive rows of its part
/// ([`Dataset::part_rows`]) into a file `part-RANK-of-RANKS` of a folder that is whole or absent;
/// a request that goes on in the next part is whole in the one where it begins. The files one after
/// the other have the rows of the one file, and its bytes if they are CSV: only the first has a
/// header. The summary counts the rows of all ranks; rank 0 observes.
///
/// # Errors
/// Data that cannot be read, a prediction that is not a number, an output that cannot be written, a
/// signal that asks to stop (on all ranks, an error of kind `Stopped`), or another rank failed.
/// Then nothing is written.
pub fn predict(
    session: &mut Session,
    data: &Dataset,
    output: &OutputOptions,
    batch: usize,
    ranks: &Arc<dyn Communicator>,
    observe: &mut dyn FnMut(PassEvent),
) -> Result<PredictionSummary, Error> {
    let columns = columns(session.program(), output.logits);
    let schema = schema(data, &columns);
    let parts = if ranks.size() > 1 { Some(PartsFolder::create(output, data, &**ranks)?) } else { None };
    let path = parts.as_ref().map_or(output.path.as_path(), PartsFolder::own_part);
    let mut file = PredictionWriter::create(path, output.format, schema.clone(), ranks.rank() == 0)?;
    let options = InferenceOptions { pass: DataPass::Predicting, batch, on_signal: OnSignal::Stop };
    let mut exchange = match data.row_division(ranks.size()) {
        RowDivision::ByBlocks => None,
        RowDivision::ByBatches => Some(RowExchange::new(data, ranks.clone())),
    };
    let rows = infer_all(session, data, options, ranks, observe, |first_row, batch, logits| {
        let record = record(&schema, batch, logits, output.logits)
            .map_err(|e| Error::machine(format!("{}: {e}", output.path.display())))?;
        match &mut exchange {
            None => file.write(&record),
            Some(exchange) => {
                let records = exchange.exchange(&record, first_row, &batch.requests)?;
                records.iter().try_for_each(|record| file.write(record))
            }
        }
    })?;
    let rows = rows.ok_or_else(|| Error::stopped(&output.path, "nothing is written"))?;
    file.finish()?;
    if let Some(parts) = parts {
        parts.commit(&**ranks)?;
    }
    let written = columns.into_iter().filter(|c| schema.field_with_name(&c.name).is_ok());
    Ok(PredictionSummary { rows, columns: written.map(|c| (c.name, c.contents)).collect() })
}

/// All columns that the output may have, in their order; it leaves out labels that no file has.
fn columns(program: &Program, logits: bool) -> Vec<OutputColumn> {
    let keys = program.schema.keys.iter().map(|key| OutputColumn {
        name: key.column.clone(),
        origin: format!("key {} ({})", key.name, key.location),
        contents: ColumnContents::Key,
    });
    let labels = program.schema.labels.iter().map(|label| OutputColumn {
        name: label.column.clone(),
        origin: format!("label {} ({})", label.name, label.location),
        contents: ColumnContents::Label,
    });
    let predictions = |what: &'static str, contents| {
        program.predictions.iter().map(move |p| OutputColumn {
            name: format!("{}_{what}", p.name),
            origin: format!("the {what} of {}", p.name),
            contents,
        })
    };
    let probabilities = predictions("probability", ColumnContents::Probability);
    let mut columns: Vec<OutputColumn> = keys.chain(labels).chain(probabilities).collect();
    if logits {
        columns.extend(predictions("logit", ColumnContents::Logit));
    }
    columns
}

fn schema(data: &Dataset, columns: &[OutputColumn]) -> SchemaRef {
    let mut fields: Vec<Field> = data.passthrough().collect();
    let made = columns.iter().filter(|c| matches!(c.contents, ColumnContents::Probability | ColumnContents::Logit));
    fields.extend(made.map(|column| Field::new(&column.name, DataType::Float32, false)));
    Arc::new(Schema::new(fields))
}

fn record(schema: &SchemaRef, batch: &Batch, logits: &[&[f32]], write_logits: bool) -> Result<RecordBatch, ArrowError> {
    if batch.rows == 0 {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    RecordBatch::try_new(schema.clone(), arrays(batch, logits, write_logits)?)
}

fn arrays(batch: &Batch, logits: &[&[f32]], write_logits: bool) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut arrays = Vec::new();
    for parts in batch.passthrough.iter().filter(|parts| !parts.is_empty()) {
        let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
        arrays.push(concat(&parts)?);
    }
    for logits in logits {
        // In f64, so that a rare probability keeps its digits.
        let probability = logits.iter().map(|&z| (1.0 / (1.0 + (-f64::from(z)).exp())) as f32);
        arrays.push(Arc::new(Float32Array::from_iter_values(probability)));
    }
    if write_logits {
        let logits = logits.iter().map(|logits| Float32Array::from(logits.to_vec()));
        arrays.extend(logits.map(|array| Arc::new(array) as ArrayRef));
    }
    Ok(arrays)
}
