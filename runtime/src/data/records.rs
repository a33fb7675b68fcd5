//! Records of delimited text, by the rules of RFC 4180 and nothing laxer.
//!
//! - A field is unquoted and contains no quote, or it begins with a quote right after the delimiter
//!   and ends with one right before the next delimiter or line end; `""` inside is one quote.
//! - Lines end with LF or CRLF, or in a file whose first line does, with CR.
//! - Blank lines are skipped, and counted. Line numbers count every line end, inside quotes too.
//!
//! Anything else is a [`Malformed`] text with its line, so that no quote is taken for a value or
//! joins lines unseen.

use std::io::{self, BufRead, BufReader, Read};

/// Bytes that a record may have at most: what a quote that is never closed can make us hold.
const LONGEST_RECORD: u64 = 1 << 26;

/// Characters of the text that a message shows.
const SHOWN: usize = 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Bytes of the file before it.
    pub offset: u64,
    /// From 1.
    pub line: u64,
}

/// The fields of one record, without their quotes.
#[derive(Debug)]
pub(super) struct CsvRecord {
    bytes: Vec<u8>,
    /// By field: where it ends in `bytes`.
    ends: Vec<usize>,
    pub start: Start,
    /// The line it ends on.
    pub last_line: u64,
}

/// Why reading a record failed.
#[derive(Debug)]
pub(super) enum RecordError {
    Io(io::Error),
    Malformed(Malformed),
}

/// Text that breaks the rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The line of the fault; of a quoted field the line where its quote opened.
    pub line: u64,
    /// Index of the field in its record.
    pub field: usize,
    pub problem: Problem,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// A quoted field that goes on to the end of the file.
    OpenQuote,
    /// A quote inside an unquoted field, with the text up to it.
    BareQuote { text: String },
    /// Text between a closing quote and the next delimiter, and the line of that quote.
    AfterQuote { text: String, line: u64 },
    /// A CR outside quotes in a file whose first line does not end with one.
    LoneCr,
    /// More than [`LONGEST_RECORD`] bytes.
    TooLong { limit: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// LF or CRLF.
    Lf,
    Cr,
}

/// Reads records one after the other.
#[derive(Debug)]
pub(super) struct Records<R> {
    input: BufReader<Retrying<R>>,
    delimiter: u8,
    /// By byte: whether an unquoted field ends before it.
    special: [bool; 256],
    /// The next byte.
    at: Start,
    /// How the first line that was read ends.
    line_end: Option<LineEnd>,
}

/// Reads again where a signal came between.
#[derive(Debug)]
struct Retrying<R>(R);

impl<R: Read> Read for Retrying<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(to) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl CsvRecord {
    pub fn new() -> Self {
        let start = Start { offset: 0, line: 1 };
        Self { bytes: Vec::new(), ends: Vec::new(), start, last_line: start.line }
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// # Panics
    ///
    /// If there is no field of this index.
    pub fn field(&self, index: usize) -> &[u8] {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[index]]
    }

    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.field(index))
    }

    fn begin(&mut self, start: Start) {
        self.bytes.clear();
        self.ends.clear();
        self.start = start;
    }
}

impl<R: Read> Records<R> {
    /// Reads `input`, which stands at `start` of the text. A byte order mark at the beginning of
    /// the text is left out. `line_end`: that of the text's first line, where this is known.
    pub fn new(input: R, delimiter: u8, start: Start, line_end: Option<LineEnd>) -> io::Result<Self> {
        let mut special = [false; 256];
        for byte in [delimiter, b'"', b'\n', b'\r'] {
            special[usize::from(byte)] = true;
        }
        let input = BufReader::with_capacity(1 << 18, Retrying(input));
        let mut records = Self { input, delimiter, special, at: start, line_end };
        if start.offset == 0 && records.input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            records.consume(BYTE_ORDER_MARK.len());
        }
        Ok(records)
    }

    /// How the first line ends; `None` before it was read.
    pub fn line_end(&self) -> Option<LineEnd> {
        self.line_end
    }

    /// Reads the next record; false at the end of the text.
    pub fn read(&mut self, record: &mut CsvRecord) -> Result<bool, RecordError> {
        while let Some(byte @ (b'\n' | b'\r')) = self.peek()? {
            self.end_line(byte, 0)?;
        }
        record.begin(self.at);
        if self.peek()?.is_none() {
            return Ok(false);
        }
        loop {
            match self.peek()? {
                Some(b'"') => self.quoted(record)?,
                Some(_) | None => self.unquoted(record)?,
            }
            record.ends.push(record.bytes.len());
            record.last_line = self.at.line;
            match self.peek()? {
                Some(byte @ (b'\n' | b'\r')) => {
                    self.end_line(byte, record.len() - 1)?;
                    return Ok(true);
                }
                // A field ends before a delimiter, a line end, or the end of the text.
                Some(_) => self.consume(1),
                None => return Ok(true),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, RecordError> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.at.offset += count as u64;
    }

    fn unquoted(&mut self, record: &mut CsvRecord) -> Result<(), RecordError> {
        let begin = record.bytes.len();
        loop {
            let chunk = self.input.fill_buf()?;
            let found = chunk.iter().position(|&byte| self.special[usize::from(byte)]);
            let count = found.unwrap_or(chunk.len());
            let done = chunk.is_empty() || found.is_some();
            let bare_quote = found.is_some_and(|at| chunk[at] == b'"');
            record.bytes.extend_from_slice(&chunk[..count]);
            self.consume(count);
            self.check_length(record, self.at.line)?;
            if bare_quote {
                let text = shown(&record.bytes[begin..]);
                return Err(malformed(self.at.line, record.len(), Problem::BareQuote { text }));
            }
            if done {
                return Ok(());
            }
        }
    }

    /// Reads a field that begins with a quote, and that quote.
    fn quoted(&mut self, record: &mut CsvRecord) -> Result<(), RecordError> {
        let (opened, field) = (self.at.line, record.len());
        self.consume(1);
        loop {
            let chunk = self.input.fill_buf()?;
            if chunk.is_empty() {
                return Err(malformed(opened, field, Problem::OpenQuote));
            }
            let found = memchr::memchr3(b'"', b'\n', b'\r', chunk).map(|at| (at, chunk[at]));
            let count = found.map_or(chunk.len(), |(at, _)| at);
            record.bytes.extend_from_slice(&chunk[..count]);
            self.consume(count);
            self.check_length(record, opened)?;
            let Some((_, byte)) = found else { continue };
            self.consume(1);
            let next = self.peek()?;
            match (byte, next) {
                (b'"', Some(b'"')) => {
                    record.bytes.push(b'"');
                    self.consume(1);
                }
                (b'"', None | Some(b'\n' | b'\r')) => return Ok(()),
                (b'"', Some(next)) if next == self.delimiter => return Ok(()),
                (b'"', Some(_)) => {
                    let line = self.at.line;
                    let chunk = self.input.fill_buf()?;
                    let end = chunk.iter().position(|&byte| self.special[usize::from(byte)]);
                    let text = shown(&chunk[..end.unwrap_or(chunk.len())]);
                    return Err(malformed(opened, field, Problem::AfterQuote { text, line }));
                }
                (line_end, next) => {
                    record.bytes.push(line_end);
                    // CRLF is one line end, counted at its LF.
                    self.at.line += u64::from(line_end == b'\n' || next != Some(b'\n'));
                }
            }
        }
    }

    /// Steps over the line end that begins with `byte`, behind the field of this index.
    fn end_line(&mut self, byte: u8, field: usize) -> Result<(), RecordError> {
        self.consume(1);
        let lone = byte == b'\r' && self.peek()? != Some(b'\n');
        if byte == b'\r' && !lone {
            self.consume(1);
        }
        let line_end = if lone { LineEnd::Cr } else { LineEnd::Lf };
        let first = *self.line_end.get_or_insert(line_end);
        if lone && first != LineEnd::Cr {
            return Err(malformed(self.at.line, field, Problem::LoneCr));
        }
        self.at.line += 1;
        Ok(())
    }

    /// Refuses a record that goes on too long; `line` is where its present field began.
    fn check_length(&self, record: &CsvRecord, line: u64) -> Result<(), RecordError> {
        let limit = LONGEST_RECORD;
        match self.at.offset - record.start.offset > limit {
            true => Err(malformed(line, record.len(), Problem::TooLong { limit })),
            false => Ok(()),
        }
    }
}

impl From<io::Error> for RecordError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn malformed(line: u64, field: usize, problem: Problem) -> RecordError {
    RecordError::Malformed(Malformed { line, field, problem })
}

/// The beginning of a text, for messages.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
