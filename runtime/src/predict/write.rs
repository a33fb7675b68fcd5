//! The file of predictions: Parquet or CSV by its name.

use super::csv::CsvWriter;
use crate::fs::AtomicFile;
use crate::{Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// A format that predictions are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    Parquet,
    Csv,
}

impl OutputFormat {
    /// By the extension.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("parquet" | "pq") => Ok(Self::Parquet),
            Some("csv") => Ok(Self::Csv),
            _ => Err(Error::input(format!("{}: expected a name that ends in .parquet or .csv", path.display()))),
        }
    }

    /// The extension of a part's name.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
        }
    }

    /// Lists and the like have no text in CSV.
    fn check(self, path: &Path, schema: &Schema) -> Result<()> {
        let nested = schema.fields().iter().find(|field| field.data_type().is_nested());
        match (self, nested) {
            (Self::Csv, Some(field)) => Err(Error::input(format!(
                "{}: expected columns of plain values, found \"{}\" of {}",
                path.display(),
                field.name(),
                field.data_type()
            ))
            .help("write a .parquet file")),
            (Self::Parquet, _) | (Self::Csv, None) => Ok(()),
        }
    }
}

enum Writer {
    Parquet(Box<ArrowWriter<File>>),
    Csv(Box<CsvWriter<BufWriter<File>>>),
}

/// A file of predictions that takes its name when it is whole.
pub struct PredictionWriter {
    writer: Writer,
    file: AtomicFile,
    path: PathBuf,
}

impl PredictionWriter {
    /// `begins`: the file begins the output, so that a CSV file has a header.
    pub fn create(path: &Path, format: OutputFormat, schema: SchemaRef, begins: bool) -> Result<Self> {
        format.check(path, &schema)?;
        let mut file = AtomicFile::create(path)?;
        let handle = file.file().try_clone().map_err(|e| Error::file("write", path, &e))?;
        let writer = match format {
            OutputFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_created_by("din".into())
                    .build();
                let writer = ArrowWriter::try_new(handle, schema, Some(properties)).map_err(|e| failed(path, &e))?;
                Writer::Parquet(Box::new(writer))
            }
            OutputFormat::Csv => {
                let mut writer = CsvWriter::new(BufWriter::new(handle));
                if begins {
                    writer.write_header(&schema).map_err(|e| failed(path, &e))?;
                }
                Writer::Csv(Box::new(writer))
            }
        };
        Ok(Self { writer, file, path: path.to_path_buf() })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.writer {
            Writer::Parquet(writer) => writer.write(batch).map_err(|e| failed(&self.path, &e)),
            Writer::Csv(writer) => writer.write(batch).map_err(|e| failed(&self.path, &e)),
        }
    }

    /// Flushes to the disk and renames.
    pub fn finish(self) -> Result<()> {
        let Self { writer, file, path } = self;
        match writer {
            Writer::Parquet(writer) => {
                writer.close().map_err(|e| failed(&path, &e))?;
            }
            // The header and each batch were flushed.
            Writer::Csv(_) => {}
        }
        file.commit()
    }
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::machine(format!("{}: cannot write: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_schema::{DataType, Field};

    #[test]
    fn a_label_of_lists_is_written_to_parquet_alone() {
        let list = DataType::new_list(DataType::Int64, true);
        let schema = Schema::new(vec![Field::new("click", list, true)]);
        let path = Path::new("p.csv");
        let error = OutputFormat::Csv.check(path, &schema).expect_err("CSV has no lists");
        assert!(error.message.starts_with("p.csv: ") && error.message.contains("\"click\""), "{error}");
        assert_eq!(error.exit_code(), 1);
        assert_eq!(OutputFormat::Parquet.check(path, &schema), Ok(()));
        let plain = Schema::new(vec![Field::new("click", DataType::Null, true)]);
        assert_eq!(OutputFormat::Csv.check(path, &plain), Ok(()));
    }
}
