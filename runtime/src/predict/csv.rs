//! Writes record batches as CSV.

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, Schema};
use csv::ByteRecord;
use std::io::Write;

/// Rows of a CSV file. Nulls are empty fields; fields are quoted where they have to be.
pub(super) struct CsvWriter<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> CsvWriter<W> {
    pub fn new(writer: W) -> Self {
        Self { writer: csv::Writer::from_writer(writer) }
    }

    /// Appends the names of the columns, and flushes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_header(&mut self, schema: &Schema) -> Result<(), ArrowError> {
        self.writer.write_record(schema.fields().iter().map(|field| field.name())).map_err(failed)?;
        Ok(self.writer.flush()?)
    }

    /// Appends the rows of a batch, and flushes.
    ///
    /// # Errors
    /// A column has no text, or the file cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let options = FormatOptions::default();
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<_, _>>()?;
        let (mut text, mut record) = (String::new(), ByteRecord::new());
        for row in 0..batch.num_rows() {
            record.clear();
            for column in &columns {
                text.clear();
                column.value(row).write(&mut text)?;
                record.push_field(text.as_bytes());
            }
            self.writer.write_byte_record(&record).map_err(failed)?;
        }
        Ok(self.writer.flush()?)
    }
}

fn failed(error: csv::Error) -> ArrowError {
    ArrowError::CsvError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Date32Array, Float32Array, StringArray, UInt64Array};
    use std::sync::Arc;

    #[test]
    fn rows_follow_one_header() {
        let columns: [(&str, ArrayRef); 4] = [
            ("user,id", Arc::new(UInt64Array::from(vec![1, u64::MAX]))),
            ("name", Arc::new(StringArray::from(vec![Some("a \"b\"\nc"), Some("d, e")]))),
            ("day", Arc::new(Date32Array::from(vec![None, Some(19_000)]))),
            ("click", Arc::new(Float32Array::from(vec![0.1, 1e-9]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let mut bytes = Vec::new();
        let mut writer = CsvWriter::new(&mut bytes);
        writer.write_header(batch.schema_ref()).expect("names of columns");
        writer.write(&batch.slice(0, 1)).expect("values that have text");
        writer.write(&batch.slice(1, 1)).expect("values that have text");
        drop(writer);
        let expected = "\"user,id\",name,day,click\n\
                        1,\"a \"\"b\"\"\nc\",,0.1\n\
                        18446744073709551615,\"d, e\",2022-01-08,1e-9\n";
        assert_eq!(String::from_utf8(bytes).expect("text"), expected);
    }
}
