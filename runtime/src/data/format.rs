//! Which kind of data a file holds: by its first bytes, then by the ending of its name.

use super::error::{DataError, FaultKind};
use std::path::Path;

/// First bytes of a file that [`of`] looks at.
pub(super) const HEAD: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataFormat {
    Parquet,
    /// Text with this delimiter.
    Separated(u8),
}

const CONVERT: &str = "write it as Parquet, or export it as CSV";
const EXPORT: &str = "export the sheet as CSV in UTF-8";
const UNPACK: &str = "unpack it first";
const RECODE: &str = "save it as UTF-8";

/// First bytes of files that are neither Parquet nor CSV, what such a file is, and what helps.
/// None of them can begin a CSV file in UTF-8 that holds no control characters.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"\xff\xfe\0\0", "text in UTF-32", RECODE),
    (b"\0\0\xfe\xff", "text in UTF-32", RECODE),
    (b"\xff\xfe", "text in UTF-16", RECODE),
    (b"\xfe\xff", "text in UTF-16", RECODE),
    (b"PK\x03\x04", "a zip or Excel file", "unpack the zip file, or export the sheet as CSV in UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an Excel file of an old version", EXPORT),
    (b"ARROW1\0", "an Arrow IPC (Feather) file", CONVERT),
    (b"Obj\x01", "an Avro file", CONVERT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", CONVERT),
    (b"SQLite format 3\0", "an SQLite database", CONVERT),
    (b"\x1f\x8b", "a gzip file", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd file", UNPACK),
    (b"\x04\x22\x4d\x18", "an LZ4 file", UNPACK),
    (b"BZh91AY&SY", "a bzip2 file", UNPACK),
    (b"\xfd7zXZ\0", "an xz file", UNPACK),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file", "fetch the file with `git lfs pull`"),
];

/// By the ending of the name.
pub(super) fn of_name(path: &Path) -> Option<DataFormat> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "parquet" | "pq" | "parq" => Some(DataFormat::Parquet),
        "csv" | "txt" => Some(DataFormat::Separated(b',')),
        "tsv" => Some(DataFormat::Separated(b'\t')),
        _ => None,
    }
}

/// The kind of a file that begins with `head`, its first [`HEAD`] bytes or all that it has.
pub(super) fn of(path: &Path, head: &[u8]) -> Result<DataFormat, DataError> {
    let by_name = of_name(path);
    let no_text = head.contains(&0);
    let other = |found: &str, help: &str| {
        let expected = match by_name {
            Some(DataFormat::Parquet) => "a Parquet file, as its name says",
            Some(DataFormat::Separated(_)) => "a CSV file, as its name says",
            None => "a Parquet or CSV file",
        };
        Err(DataError::new(FaultKind::Format, path, expected, found).help(help))
    };
    if head.starts_with(b"PAR1") {
        return Ok(DataFormat::Parquet);
    }
    if let Some((_, found, help)) = OTHERS.iter().find(|(begin, _, _)| head.starts_with(begin)) {
        return other(found, help);
    }
    if head.starts_with(b"PARE") && (no_text || by_name == Some(DataFormat::Parquet)) {
        return other("an encrypted Parquet file", "write it without encryption");
    }
    if head.starts_with(b"ORC") && no_text {
        return other("an ORC file", CONVERT);
    }
    if let Some((found, help)) = other_text(head) {
        return other(found, help);
    }
    match by_name {
        // Cut off before the end of its first four bytes.
        Some(DataFormat::Parquet) if b"PAR1".starts_with(head) => Ok(DataFormat::Parquet),
        Some(DataFormat::Parquet) => other(
            "a file that does not begin with PAR1",
            "check what wrote the file; if it is CSV, give it the ending .csv (or .tsv, separated by tabs)",
        ),
        Some(DataFormat::Separated(_)) if no_text => {
            other("zero bytes, as of text in UTF-16 or a binary file", "save the text as UTF-8")
        }
        Some(kind @ DataFormat::Separated(_)) => Ok(kind),
        None => other("another kind of file", "give CSV files the ending .csv (or .tsv, separated by tabs)"),
    }
}

/// Text that is no CSV: what it is, and what helps.
fn other_text(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |with: &str| text.len() >= with.len() && text[..with.len()].eq_ignore_ascii_case(with.as_bytes());
    if begins("<!doctype") || begins("<html") {
        return Some(("an HTML page", "check the address it was loaded from; the page may say why"));
    }
    if begins("<?xml") {
        return Some(("an XML file", CONVERT));
    }
    let object = text.strip_prefix(b"[").unwrap_or(text).trim_ascii_start().strip_prefix(b"{");
    // A name that begins with `{` and has a quote behind it would be no field of CSV.
    object.is_some_and(|inside| inside.trim_ascii_start().starts_with(b"\"")).then_some(("JSON", CONVERT))
}
