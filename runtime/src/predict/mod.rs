//! Prediction: one row of output for each row of data, in its order: the key columns, the labels
//! that the data have, both as they are, and the columns of each prediction, which its distribution
//! names: `<label>_probability`, `<label>_mean`, …; on request also `<label>_logit`, and the
//! outputs of the spec. Written as a whole or not at all. Several ranks write a folder of parts.
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
use crate::metric::classes::{most_probable, probabilities};
use crate::session::{DataPass, InferenceOptions, Inferred, OnSignal, PassEvent, Session, infer_all};
use crate::statistics::Statistics;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use arrow_select::concat::concat;
use din_program::Program;
use din_program::schema::{Distribution, Label, Output, OutputPurpose, Prediction, PredictionColumn};
use parts::PartsFolder;
use share::RowExchange;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use write::OutputFormat;
pub(crate) use write::PredictionWriter;

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// A file; of several ranks a folder, in which each writes one.
    pub path: PathBuf,
    pub format: OutputFormat,
    /// Also `<label>_logit`, for each predicted probability.
    pub logits: bool,
    /// Also the spec's outputs, as lists: of Parquet alone.
    pub outputs: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionSummary {
    pub rows: u64,
    /// In the order of the file: names, and what they hold.
    pub columns: Vec<(String, ColumnContents)>,
}

/// What a column of the output holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnContents {
    Key,
    Label,
    /// What is predicted, by its distribution.
    Prediction(Distribution, PredictionColumn),
    Logit,
    /// An output of the spec, so many floats wide.
    Output(u32),
}

impl fmt::Display for ColumnContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Label => "label, as in the data",
            Self::Prediction(distribution, column) => match (column, distribution) {
                (PredictionColumn::Probability, _) => "probability that the label is 1, f32",
                (PredictionColumn::MeanClass, _) => "mean of the number of the class, f32",
                (PredictionColumn::ClassNumber | PredictionColumn::ClassText, _) => "most probable class",
                (PredictionColumn::ClassProbability(_), _) => "probability of the class, f32",
                (PredictionColumn::Root, Distribution::Normal) => "mean of the label, f32",
                (PredictionColumn::Root, Distribution::Poisson) => "mean count, f32",
                (PredictionColumn::Root, Distribution::Quantile { level }) => {
                    return write!(f, "{level} quantile of the label, f32");
                }
                (
                    PredictionColumn::Root,
                    Distribution::Bernoulli | Distribution::Categorical { .. } | Distribution::Ordinal { .. },
                ) => unreachable!("their roots are no columns"),
            },
            Self::Logit => "logit, f32",
            Self::Output(width) => return write!(f, "output of {width} f32"),
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
    if output.outputs && written_outputs(program).next().is_none() {
        return Err(Error::input(format!("{}: the model has no outputs to write", output.path.display()))
            .help("declare one in the spec: `output query = …`"));
    }
    if output.outputs && output.format == OutputFormat::Csv {
        return Err(Error::input(format!("{}: outputs are vectors, which CSV does not hold", output.path.display()))
            .help("write a .parquet file"));
    }
    let columns = columns(program, output);
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
    let program = session.program().clone();
    let columns = columns(&program, output);
    let schema = schema(data, &columns);
    let parts = if ranks.size() > 1 { Some(PartsFolder::create(output, data, &**ranks)?) } else { None };
    let path = parts.as_ref().map_or(output.path.as_path(), PartsFolder::own_part);
    let mut file = PredictionWriter::create(path, output.format, schema.clone(), ranks.rank() == 0)?;
    let options = InferenceOptions { pass: DataPass::Predicting, batch, on_signal: OnSignal::Stop };
    let mut exchange = match data.row_division(ranks.size()) {
        RowDivision::ByBlocks => None,
        RowDivision::ByBatches => Some(RowExchange::new(data, ranks.clone())),
    };
    let rows = infer_all(session, data, options, ranks, observe, |first_row, batch, values| {
        let record = record(&program, &schema, batch, values, output)
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
fn columns(program: &Program, options: &OutputOptions) -> Vec<OutputColumn> {
    let keys = program.schema.keys.iter().map(|key| OutputColumn {
        name: key.column.clone(),
        origin: format!("key {} ({})", key.name, key.location),
        contents: ColumnContents::Key,
    });
    // Two labels may read one column.
    let labels = program
        .schema
        .labels
        .iter()
        .enumerate()
        .filter(|(k, label)| program.schema.labels[..*k].iter().all(|before| before.column != label.column));
    let labels = labels.map(|(_, label)| OutputColumn {
        name: label.column.clone(),
        origin: format!("label {} ({})", label.name, label.location),
        contents: ColumnContents::Label,
    });
    let predicted = |p: &Prediction, what: &str, contents| OutputColumn {
        name: format!("{}_{what}", p.name),
        origin: format!("the {what} of {}", p.name),
        contents,
    };
    let predictions = program.predictions.iter().flat_map(|p| {
        let columns = p.distribution.columns(&program.schema.labels[p.label as usize]);
        columns
            .into_iter()
            .map(move |(column, what)| predicted(p, &what, ColumnContents::Prediction(p.distribution, column)))
    });
    let mut columns: Vec<OutputColumn> = keys.chain(labels).chain(predictions).collect();
    if options.logits {
        columns.extend(logit_predictions(program).map(|(_, p)| predicted(p, "logit", ColumnContents::Logit)));
    }
    if options.outputs {
        columns.extend(written_outputs(program).map(|(_, output)| OutputColumn {
            name: output.name.clone(),
            origin: format!("output {} ({})", output.name, output.location),
            contents: ColumnContents::Output(output.width),
        }));
    }
    columns
}

/// The predictions that have a logit, with their indices.
fn logit_predictions(program: &Program) -> impl Iterator<Item = (usize, &Prediction)> {
    program.predictions.iter().enumerate().filter(|(_, p)| p.distribution == Distribution::Bernoulli)
}

fn schema(data: &Dataset, columns: &[OutputColumn]) -> SchemaRef {
    let mut fields: Vec<Field> = data.passthrough().collect();
    fields.extend(columns.iter().filter_map(|column| {
        let kind = match column.contents {
            ColumnContents::Prediction(_, PredictionColumn::ClassText) => DataType::Utf8,
            ColumnContents::Prediction(_, PredictionColumn::ClassNumber) => DataType::Int64,
            ColumnContents::Prediction(..) | ColumnContents::Logit => DataType::Float32,
            ColumnContents::Output(width) => vectors(width),
            ColumnContents::Key | ColumnContents::Label => return None,
        };
        Some(Field::new(&column.name, kind, false))
    }));
    Arc::new(Schema::new(fields))
}

/// The outputs that prediction may write, with their indices.
fn written_outputs(program: &Program) -> impl Iterator<Item = (usize, &Output)> {
    program.outputs.iter().enumerate().filter(|(_, output)| output.purpose == OutputPurpose::Written)
}

/// The type of a column of vectors.
fn vectors(width: u32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), width as i32)
}

fn record(
    program: &Program,
    schema: &SchemaRef,
    batch: &Batch,
    values: &Inferred,
    options: &OutputOptions,
) -> Result<RecordBatch, ArrowError> {
    if batch.rows == 0 {
        return Ok(RecordBatch::new_empty(schema.clone()));
    }
    RecordBatch::try_new(schema.clone(), arrays(program, batch, values, options)?)
}

fn arrays(
    program: &Program,
    batch: &Batch,
    values: &Inferred,
    options: &OutputOptions,
) -> Result<Vec<ArrayRef>, ArrowError> {
    let mut arrays = Vec::new();
    for parts in batch.passthrough.iter().filter(|parts| !parts.is_empty()) {
        let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
        arrays.push(concat(&parts)?);
    }
    for (prediction, roots) in program.predictions.iter().zip(&values.predicted) {
        arrays.extend(prediction_arrays(prediction, &program.schema.labels[prediction.label as usize], roots));
    }
    if options.logits {
        let logits = logit_predictions(program).map(|(k, _)| Float32Array::from(values.predicted[k].to_vec()));
        arrays.extend(logits.map(|array| Arc::new(array) as ArrayRef));
    }
    if options.outputs {
        for (k, output) in written_outputs(program) {
            let field = Arc::new(Field::new_list_field(DataType::Float32, false));
            let values: ArrayRef = Arc::new(Float32Array::from(values.outputs[k].to_vec()));
            arrays.push(Arc::new(FixedSizeListArray::try_new(field, output.width as i32, values, None)?));
        }
    }
    Ok(arrays)
}

/// The columns of a prediction whose roots are these, one vector per row.
fn prediction_arrays(prediction: &Prediction, label: &Label, roots: &[f32]) -> Vec<ArrayRef> {
    let rows = || roots.chunks(prediction.distribution.width());
    // By row, then by class. In f64, so that a rare probability keeps its digits.
    let probabilities: Vec<f64> = match prediction.distribution {
        Distribution::Categorical { .. } | Distribution::Ordinal { .. } => rows().flat_map(probabilities).collect(),
        Distribution::Bernoulli | Distribution::Normal | Distribution::Poisson | Distribution::Quantile { .. } => {
            Vec::new()
        }
    };
    let by_row = || probabilities.chunks(prediction.distribution.width());
    let array = |(column, _): (PredictionColumn, String)| -> ArrayRef {
        match column {
            PredictionColumn::Probability => {
                let probability = roots.iter().map(|&z| (1.0 / (1.0 + (-f64::from(z)).exp())) as f32);
                Arc::new(Float32Array::from_iter_values(probability))
            }
            PredictionColumn::Root => Arc::new(Float32Array::from(roots.to_vec())),
            PredictionColumn::ClassNumber => {
                Arc::new(Int64Array::from_iter_values(rows().map(|logits| most_probable(logits) as i64)))
            }
            PredictionColumn::ClassText => {
                let classes = rows().map(|logits| &label.classes[most_probable(logits)]);
                Arc::new(StringArray::from_iter_values(classes))
            }
            PredictionColumn::ClassProbability(class) => {
                let of_class = by_row().map(|probabilities| probabilities[class as usize] as f32);
                Arc::new(Float32Array::from_iter_values(of_class))
            }
            PredictionColumn::MeanClass => {
                let mean = |row: &[f64]| row.iter().zip(0u32..).map(|(p, class)| p * f64::from(class)).sum::<f64>();
                Arc::new(Float32Array::from_iter_values(by_row().map(|row| mean(row) as f32)))
            }
        }
    };
    prediction.distribution.columns(label).into_iter().map(array).collect()
}
