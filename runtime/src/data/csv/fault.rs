//! What is wrong with a text file, put into words.

use crate::data::bind::Binding;
use crate::data::error::{DataError, FaultKind, Location};
use crate::data::records::{CsvRecord, Malformed, Problem, RecordError};
use std::path::Path;

const QUOTE_HELP: &str = "where a value contains a quote, write it twice and quote the whole field: `\"5\"\" disk\"`";

/// Refuses a header that is one field because the columns are separated in another way.
pub(super) fn check_delimiter(
    path: &Path,
    (names, line): (&[&str], u64),
    delimiter: u8,
    binding: &Binding,
) -> Result<(), DataError> {
    let &[name] = names else { return Ok(()) };
    let other = name.bytes().find(|&byte| other_delimiter(byte, delimiter));
    let Some(other) = other.filter(|_| binding.required.iter().all(|required| required.column != name)) else {
        return Ok(());
    };
    let expected = format!("columns separated by {}, as the file's name says", named(delimiter));
    let found = format!("a header of one field with {} in it", named(other));
    Err(DataError::new(FaultKind::Format, path, expected, found)
        .at(Location::Line(line))
        .help(delimiter_help(other, delimiter)))
}

/// Whether a byte separates columns in files other than those with this delimiter.
pub(super) fn other_delimiter(byte: u8, delimiter: u8) -> bool {
    byte != delimiter && matches!(byte, b',' | b';' | b'\t' | b'|')
}

pub(super) fn delimiter_help(other: u8, delimiter: u8) -> String {
    match other {
        b',' => "give the file the ending .csv if commas separate its columns".into(),
        b'\t' => "give the file the ending .tsv if tabs separate its columns".into(),
        _ => format!("write the file with {} between the columns", named(delimiter)),
    }
}

/// A delimiter in messages.
pub(super) fn named(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "a tab".into(),
        other => format!("`{}`", char::from(other)),
    }
}

pub(super) fn wrong_count(path: &Path, record: &CsvRecord, expected: usize, delimiter: u8) -> DataError {
    let (first, last) = (record.start.line, record.last_line);
    let help = if last > first {
        format!("a quoted field goes on to line {last}: close it where it ends, and write quotes inside it twice")
    } else if record.len() > expected {
        format!("quote fields that contain {}", named(delimiter))
    } else {
        "take the line out if it is a comment or a total; if the record is cut short, write it again".into()
    };
    let expected = format!("{expected} fields, as in the header");
    DataError::new(FaultKind::FieldCount, path, expected, record.len().to_string()).at(Location::Line(first)).help(help)
}

/// The error of a record that cannot be read. `names`: of the columns, where the header is known.
pub(super) fn failed(path: &Path, failure: RecordError, delimiter: u8, names: &[&str]) -> DataError {
    let Malformed { line, field, problem } = match failure {
        RecordError::Io(e) => return DataError::io(path, &e),
        RecordError::Malformed(malformed) => malformed,
    };
    let quote_help = QUOTE_HELP.to_string();
    let (expected, found, help) = match problem {
        Problem::OpenQuote => {
            ("a quote that closes the field".into(), "none to the end of the file".into(), quote_help)
        }
        Problem::BareQuote { text } if text.trim().is_empty() => (
            "a quote only where a field begins".into(),
            "space before a quote".into(),
            "take the space out, so that the field begins with its quote".into(),
        ),
        Problem::BareQuote { text } => {
            ("an unquoted field without quotes".into(), format!("a quote after `{text}`"), quote_help)
        }
        Problem::AfterQuote { text, line: closed } => {
            let after = match closed == line {
                true => "the closing quote".to_string(),
                false => format!("the quote that closes the field in line {closed}"),
            };
            let expected = format!("{} or the end of the line after {after}", named(delimiter));
            match text.bytes().next().filter(|&byte| other_delimiter(byte, delimiter)) {
                Some(other) => (expected, named(other), delimiter_help(other, delimiter)),
                None => (expected, format!("`{text}`"), quote_help),
            }
        }
        Problem::LoneCr => (
            "lines that end with LF or CRLF, as the first one does".into(),
            "a CR alone".into(),
            "take it out, or quote the field that contains it".into(),
        ),
        Problem::TooLong { limit } => (
            format!("a record of at most {} MiB", limit >> 20),
            "a longer one".into(),
            "look for a quote that opens here and is never closed".into(),
        ),
    };
    let error = DataError::new(FaultKind::Malformed, path, expected, found).at(Location::Line(line)).help(help);
    match names.get(field) {
        Some(name) => error.column(*name),
        None => error,
    }
}

pub(super) fn changed(path: &Path, line: u64) -> DataError {
    DataError::new(FaultKind::Damaged, path, "the records that the file had when it was opened", "other records")
        .at(Location::Line(line))
        .help("the file changed while it was read: start again")
}
