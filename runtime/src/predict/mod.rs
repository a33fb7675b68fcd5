//! Prediction: one row of output for each row of data, in its order: the key columns, the labels where the data have them, and
//! `<label>_probability` for each prediction. Written as a whole or not at all.

mod write;

use crate::batch::{Batch, KeyColumn};
use crate::data::{Dataset, FaultKind, Mode, OpenOptions, Order, StreamOptions};
use crate::evaluate::not_a_number;
use crate::run::{Error, Result};
use crate::train::{Event, Pass, Session};
use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use din_program::Program;
use din_program::schema::KeyType;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use write::Form;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub columns: Vec<String>,
}

/// Opens data for prediction; labels are read where every one of them is there. The second value says whether they are.
pub fn open(program: &Program, paths: &[PathBuf], list_separator: u8) -> Result<(Dataset, bool)> {
    let options = |mode| OpenOptions { list_separator, ..OpenOptions::new(mode) };
    match Dataset::open_with(paths, &program.schema, &options(Mode::Evaluate)) {
        Ok(data) => Ok((data, true)),
        Err(e)
            if e.kind == FaultKind::MissingColumn
                && e.column.as_ref().is_some_and(|c| program.schema.labels.iter().any(|l| l.column == *c)) =>
        {
            Ok((Dataset::open_with(paths, &program.schema, &options(Mode::Predict))?, false))
        }
        Err(e) => Err(e.into()),
    }
}

/// Predicts every row of `data` into `out`.
pub fn predict(
    session: &mut Session,
    data: &Dataset,
    labels: bool,
    out: &Path,
    batch: usize,
    observe: &mut dyn FnMut(Event),
) -> Result<Written> {
    let program = session.program().clone();
    let schema = columns(&program, labels);
    let mut output = write::Output::create(out, schema.clone())?;
    observe(Event::Begin { what: Pass::Predicting, rows: data.rows(), done: 0 });
    let options = StreamOptions { threads: session.reading_threads(), ..StreamOptions::new(batch, Order::File) };
    let mut batches = data.stream(options)?;
    let mut rows = 0;
    while let Some(batch) = batches.next()? {
        session.infer(&batch)?;
        let logits: Vec<&[f32]> = (0..program.predictions.len()).map(|k| session.logits(k)).collect();
        if let Some((_, row)) = not_a_number(&logits) {
            return Err(Error::input(format!("row {}: the prediction is not a number", rows + row as u64))
                .help("the weights have diverged: train with a lower learning rate"));
        }
        let arrays = arrays(&program, &batch, labels, &logits);
        let record = RecordBatch::try_new(schema.clone(), arrays)
            .map_err(|e| Error::machine(format!("{}: {e}", out.display())))?;
        output.write(&record)?;
        rows += batch.rows as u64;
        batches.recycle(batch);
        observe(Event::Advance { rows, loss: None });
    }
    output.finish()?;
    observe(Event::End);
    Ok(Written { rows, columns: schema.fields().iter().map(|f| f.name().clone()).collect() })
}

fn columns(program: &Program, labels: bool) -> SchemaRef {
    let mut fields = Vec::new();
    for key in &program.schema.keys {
        let kind = match key.kind {
            KeyType::Int64 => DataType::Int64,
            KeyType::String => DataType::Utf8,
        };
        fields.push(Field::new(&key.column, kind, false));
    }
    if labels {
        fields.extend(program.schema.labels.iter().map(|l| Field::new(&l.column, DataType::Float32, true)));
    }
    let probability = |name: &str| Field::new(format!("{name}_probability"), DataType::Float32, false);
    fields.extend(program.predictions.iter().map(|p| probability(&p.name)));
    Arc::new(Schema::new(fields))
}

fn arrays(program: &Program, batch: &Batch, labels: bool, logits: &[&[f32]]) -> Vec<ArrayRef> {
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for key in &batch.keys {
        arrays.push(match key {
            KeyColumn::Int64(values) => Arc::new(Int64Array::from(values.clone())),
            KeyColumn::String(values) => Arc::new(StringArray::from_iter_values(values)),
        });
    }
    if labels {
        for (values, present) in batch.labels.iter().zip(&batch.present).take(program.schema.labels.len()) {
            let known = values.iter().zip(present).map(|(&value, &present)| (present != 0.0).then_some(value));
            arrays.push(Arc::new(known.collect::<Float32Array>()));
        }
    }
    for logits in logits {
        // In f64, so that a rare probability keeps its digits.
        let probability = logits.iter().map(|&z| (1.0 / (1.0 + (-f64::from(z)).exp())) as f32);
        arrays.push(Arc::new(Float32Array::from_iter_values(probability)));
    }
    arrays
}
