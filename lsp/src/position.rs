//! Places as editors name them: a line and a column, in UTF-16 code units or in bytes.

use din_grammar::Span;
use gen_lsp_types::{Position, Range};

/// What the columns of a connection count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnUnit {
    Utf8,
    Utf16,
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    starts: Vec<usize>,
    unit: ColumnUnit,
}

impl Lines {
    pub fn new(text: &str, unit: ColumnUnit) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(i, _)| i + 1);
        Self { starts: [0].into_iter().chain(breaks).collect(), unit }
    }

    /// The place of a byte; inside of a character, that of the character.
    pub fn position(&self, text: &str, offset: usize) -> Position {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = &text[self.starts[line]..offset];
        Position { line: line as u32, character: self.columns(before) }
    }

    pub fn columns(&self, text: &str) -> u32 {
        match self.unit {
            ColumnUnit::Utf8 => text.len() as u32,
            ColumnUnit::Utf16 => text.encode_utf16().count() as u32,
        }
    }

    /// The byte of a place. A column behind the end of its line is the end, a line behind the last
    /// is the end of the text, as the protocol has it.
    pub fn offset(&self, text: &str, position: Position) -> usize {
        let line = position.line as usize;
        let Some(&start) = self.starts.get(line) else { return text.len() };
        let end = self.starts.get(line + 1).map_or(text.len(), |next| next - 1);
        let content = text[start..end].strip_suffix('\r').unwrap_or(&text[start..end]);
        let wanted = position.character as usize;
        let mut seen = 0;
        for (at, c) in content.char_indices() {
            if seen >= wanted {
                return start + at;
            }
            seen += match self.unit {
                ColumnUnit::Utf8 => c.len_utf8(),
                ColumnUnit::Utf16 => c.len_utf16(),
            };
        }
        start + content.len()
    }

    pub fn range(&self, text: &str, span: Span) -> Range {
        Range { start: self.position(text, span.start as usize), end: self.position(text, span.end as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_what_was_agreed() {
        // One unit of UTF-16 and two bytes, two units and four bytes.
        let text = "a\n// é😀x\r\nlast";
        let utf16 = Lines::new(text, ColumnUnit::Utf16);
        let utf8 = Lines::new(text, ColumnUnit::Utf8);
        let x = text.find('x').expect("it is there");
        assert_eq!(utf16.position(text, x), Position { line: 1, character: 6 });
        assert_eq!(utf8.position(text, x), Position { line: 1, character: 9 });
        for lines in [&utf16, &utf8] {
            for (offset, _) in text.char_indices().filter(|(_, c)| !matches!(c, '\n' | '\r')) {
                assert_eq!(lines.offset(text, lines.position(text, offset)), offset);
            }
        }
        // Inside of a character is its end or beginning, never a panic.
        let inside = utf16.offset(text, Position { line: 1, character: 5 });
        assert!(text.is_char_boundary(inside));
        assert_eq!(utf16.offset(text, Position { line: 1, character: 99 }), x + 1);
        assert_eq!(utf16.offset(text, Position { line: 99, character: 0 }), text.len());
    }
}
