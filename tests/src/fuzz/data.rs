//! Targets that take a data file.

use super::Outcome;
use crate::specs::checked;
use din_program::schema::Schema;
use din_runtime::data::{DataError, Dataset, Order, ReadMode, StreamError, StreamOptions};
use std::path::Path;
use std::sync::LazyLock;

/// Columns of every kind, and little else.
const SPEC: &str = "edition 2026
use std.loss.cross_entropy
use std.metric.log_loss
use std.optimizer.sgd
model fuzz {
    features ad { item: category  tag: category of string  size: category(4)  price: number  place: number[2] }
    sequence seen (keep last 3) { items: category  tags: category of string  prices: number }
    label click: binary
    key user: int64
    key session: string
    embedding [1] for each of ad
    embedding [1] for each of seen
    let logit = sum(embed(ad)) + ad.price + sum(ad.place) + sum(sum(embed(seen)) + seen.prices over seen)
    predict click ~ bernoulli(logit = logit)
    train { loss cross_entropy(click)  optimizer sgd(lr = 0.1)  batch 4  epochs 1 }
    report log_loss(click)
}
";

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| checked("fuzz.din", SPEC).schema);

/// Reads the bytes as a CSV file, to train and to predict.
///
/// # Panics
///
/// Where a batch contradicts the schema, or no temporary file can be written.
pub fn csv(data: &[u8]) -> Outcome {
    read(data, ".csv")
}

/// Reads the bytes as a Parquet file, to train and to predict.
///
/// # Panics
///
/// As [`csv`] does.
pub fn parquet(data: &[u8]) -> Outcome {
    read(data, ".parquet")
}

fn read(data: &[u8], suffix: &str) -> Outcome {
    let file = tempfile::Builder::new().suffix(suffix).tempfile().expect("a temporary file");
    std::fs::write(file.path(), data).expect("a temporary file is written");
    let evaluated = stream(file.path(), ReadMode::Evaluate);
    let predicted = stream(file.path(), ReadMode::Predict);
    if evaluated.is_ok() {
        assert!(predicted.is_ok(), "a file with labels serves to predict too: {predicted:?}");
    }
    for error in [evaluated.as_ref().err(), predicted.as_ref().err()].into_iter().flatten() {
        assert!(!error.to_string().is_empty());
    }
    Outcome::of(evaluated.is_ok())
}

/// Reads all batches, and counts their rows.
fn stream(path: &Path, mode: ReadMode) -> Result<(), DataError> {
    let data = Dataset::open(&[path], &SCHEMA, mode)?;
    let mut batches = data.stream(StreamOptions::new(3, Order::File))?;
    let mut rows = 0;
    let of_data = |error| match error {
        StreamError::Data(error) => error,
        StreamError::Ranks(error) => unreachable!("there is one rank: {error}"),
    };
    while let Some(batch) = batches.next().map_err(of_data)? {
        for offsets in &batch.offsets {
            assert_eq!(offsets.len(), batch.rows + 1, "one list per row");
            assert!(offsets[0] == 0 && offsets.is_sorted(), "lists follow one another");
        }
        for (feature, (ids, numbers)) in SCHEMA.features.iter().zip(batch.ids.iter().zip(&batch.dense)) {
            let entries = feature.sequence.map_or(batch.rows, |s| batch.offsets[s as usize][batch.rows] as usize);
            assert!(numbers.iter().all(|number| number.is_finite()), "{} is not a number", feature.path());
            assert!(ids.len() == entries || numbers.len() % entries.max(1) == 0, "{}", feature.path());
        }
        rows += batch.rows as u64;
        batches.recycle(batch);
    }
    assert_eq!(rows, data.rows(), "every row is in one batch");
    Ok(())
}
