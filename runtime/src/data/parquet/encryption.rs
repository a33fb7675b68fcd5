//! Which parts of a Parquet file are encrypted. The decoding library passes over what says so, and
//! would then take encrypted pages for damaged ones.
//!
//! Columns are marked in the footer, a structure in Thrift's compact protocol: field 4 of the file
//! has the row groups, field 1 of a row group the column chunks, and a chunk with a field 8 is
//! encrypted.

use super::input::PositionedFile;
use parquet::errors::ParquetError;
use std::collections::HashSet;

/// Bytes at the end of a file: the length of the footer and four letters.
const TAIL: usize = 8;

/// Row group and leaf column of every encrypted column chunk. The file's footer is known to be
/// whole.
pub(super) fn encrypted_columns(input: &PositionedFile) -> Result<HashSet<(usize, usize)>, ParquetError> {
    let malformed = || ParquetError::General("a footer that is malformed".into());
    let tail = input.tail(TAIL)?;
    let (length, _) = tail.split_first_chunk().ok_or_else(malformed)?;
    let footer = input.tail(u32::from_le_bytes(*length) as usize + TAIL)?;
    let mut found = HashSet::new();
    let mut reader = Compact { bytes: &footer, depth: 0 };
    let mut group = 0;
    reader
        .fields(&mut |reader, field, kind| {
            if (field, kind) != (4, LIST) {
                return reader.skip(kind);
            }
            reader.structs(&mut |reader| {
                let mut leaf = 0;
                reader.fields(&mut |reader, field, kind| {
                    if (field, kind) != (1, LIST) {
                        return reader.skip(kind);
                    }
                    reader.structs(&mut |reader| {
                        reader.fields(&mut |reader, field, kind| {
                            if field == 8 {
                                found.insert((group, leaf));
                            }
                            reader.skip(kind)
                        })?;
                        leaf += 1;
                        Some(())
                    })
                })?;
                group += 1;
                Some(())
            })
        })
        .ok_or_else(malformed)?;
    Ok(found)
}

const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Reads Thrift's compact protocol; `None` where it is malformed.
struct Compact<'a> {
    bytes: &'a [u8],
    /// Of the structures that are open.
    depth: usize,
}

impl<'a> Compact<'a> {
    /// Calls `visit` with the number and the type of every field of a structure; it reads the
    /// value.
    fn fields(&mut self, visit: &mut dyn FnMut(&mut Compact<'a>, i64, u8) -> Option<()>) -> Option<()> {
        const DEEPEST: usize = 32;
        self.depth += 1;
        let mut field = 0i64;
        while self.depth <= DEEPEST {
            let header = self.byte()?;
            if header == 0 {
                self.depth -= 1;
                return Some(());
            }
            field = match header >> 4 {
                0 => {
                    let coded = self.number()?;
                    (coded >> 1) as i64 ^ -((coded & 1) as i64)
                }
                more => field.checked_add(i64::from(more))?,
            };
            visit(self, field, header & 15)?;
        }
        None
    }

    /// Calls `visit` for every element of a list of structures; it reads the element.
    fn structs(&mut self, visit: &mut dyn FnMut(&mut Compact<'a>) -> Option<()>) -> Option<()> {
        let (count, STRUCT) = self.list()? else { return None };
        (0..count).try_for_each(|_| visit(self))
    }

    /// The count and the type of the elements that follow.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.number()?,
            few => u64::from(few),
        };
        Some((count, header & 15))
    }

    /// Reads the value of a field over.
    fn skip(&mut self, kind: u8) -> Option<()> {
        match kind {
            // Booleans: their value is their type.
            1 | 2 => Some(()),
            _ => self.skip_element(kind),
        }
    }

    /// Reads an element of a list over.
    fn skip_element(&mut self, kind: u8) -> Option<()> {
        match kind {
            1..=3 => self.byte().map(drop),
            4..=6 => self.number().map(drop),
            7 => self.take(8),
            8 => {
                let length = self.number()?;
                self.take(length)
            }
            LIST | 10 => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind))
            }
            11 => {
                let count = self.number()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4)?;
                    self.skip_element(kinds & 15)
                })
            }
            STRUCT => self.fields(&mut |reader, _, kind| reader.skip(kind)),
            _ => None,
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    fn take(&mut self, count: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(number);
            }
        }
        None
    }
}
