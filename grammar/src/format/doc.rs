//! A document for the formatter: text, places where a line may break, and comments; and its layout
//! within a width.
//!
//! A group is laid on one line when it fits and holds no comment and no hard break; else each of
//! its lines breaks. Line breaks are written late, so that a comment that ended a line ends it
//! again, wherever its tokens have gone.

/// Marks in the laid text that `align` turns into blanks: the kind of a line follows the first. No
/// file that parses has such characters.
pub(super) const KIND: char = '\u{1}';
pub(super) const CELL: char = '\u{2}';
pub(super) const WIDE_CELL: char = '\u{3}';
pub(super) const WIDE_CELL_TEXT: &str = "\u{3}";
pub(super) const COMMENT: char = '\u{4}';

#[derive(Clone, Debug)]
pub(super) enum Doc {
    Text(String),
    /// Flat: the text; broken: the end of the line.
    Line(&'static str),
    /// Flat: nothing; broken: the text.
    IfBroken(&'static str),
    /// Marks of columns, which lines of a broken body have and lines of a flat one share with their
    /// neighbours.
    Mark {
        flat: String,
        broken: String,
    },
    /// The end of the line, with an empty line behind it when true.
    Hard(bool),
    /// An ordinary comment; `own` when it has its line for itself.
    Comment {
        text: String,
        own: bool,
    },
    Indent(Vec<Doc>),
    Group {
        parts: Vec<Doc>,
        broken: bool,
    },
}

impl Doc {
    pub(super) fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }

    pub(super) fn group(parts: Vec<Doc>) -> Doc {
        let broken = parts.iter().any(Doc::breaks);
        Doc::Group { parts, broken }
    }

    /// Holds a break that does not depend on the width.
    pub(super) fn breaks(&self) -> bool {
        match self {
            Doc::Hard(_) | Doc::Comment { .. } => true,
            Doc::Indent(parts) => parts.iter().any(Doc::breaks),
            Doc::Group { broken, .. } => *broken,
            _ => false,
        }
    }
}

const STEP: usize = 4;

struct Layout {
    width: usize,
    out: String,
    /// Characters on the current line.
    column: usize,
    /// Line ends to write before the next text (two leave an empty line), and its indentation.
    pending: usize,
    indent: usize,
    /// A comment has ended the line.
    commented: bool,
}

/// Lays out the documents, one after the other.
pub(super) fn layout(docs: &[Doc], width: usize) -> String {
    let mut layout = Layout { width, out: String::new(), column: 0, pending: 0, indent: 0, commented: false };
    let mut stack: Vec<(usize, bool, &Doc)> = docs.iter().rev().map(|doc| (0, true, doc)).collect();
    while let Some((indent, broken, doc)) = stack.pop() {
        match doc {
            Doc::Text(text) => layout.write(text),
            Doc::Line(_) if broken => layout.end_line(1, indent),
            Doc::Line(flat) => layout.write(flat),
            Doc::IfBroken(text) if broken => layout.write(text),
            Doc::IfBroken(_) => {}
            Doc::Mark { flat, broken: text } => layout.write(if broken { text } else { flat }),
            Doc::Hard(blank) => layout.end_line(if *blank { 2 } else { 1 }, indent),
            Doc::Comment { text, own } => layout.comment(text, *own, indent),
            Doc::Indent(parts) => stack.extend(parts.iter().rev().map(|part| (indent + STEP, broken, part))),
            Doc::Group { parts, broken } => {
                let broken = *broken || !layout.fits(parts, &stack);
                stack.extend(parts.iter().rev().map(|part| (indent, broken, part)));
            }
        }
    }
    layout.out.truncate(layout.out.trim_end().len());
    if !layout.out.is_empty() {
        layout.out.push('\n');
    }
    layout.out
}

impl Layout {
    fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.pending > 0 {
            if text == " " {
                return;
            }
            self.start_line();
        }
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn start_line(&mut self) {
        if !self.out.is_empty() {
            self.out.extend(std::iter::repeat_n('\n', self.pending));
        }
        self.out.extend(std::iter::repeat_n(' ', self.indent));
        self.column = self.indent;
        self.pending = 0;
        self.commented = false;
    }

    fn end_line(&mut self, lines: usize, indent: usize) {
        self.pending = self.pending.max(lines);
        self.indent = indent;
    }

    fn comment(&mut self, text: &str, own: bool, indent: usize) {
        if own || self.commented || self.out.is_empty() {
            self.end_line(1, if self.pending > 0 { self.indent } else { indent });
            self.start_line();
            self.out.push_str(text);
        } else {
            self.out.push(COMMENT);
            self.out.push_str(text);
        }
        self.commented = true;
        self.end_line(1, indent);
    }

    /// The parts on one line, and what follows up to the next break, stay within the width.
    fn fits(&self, parts: &[Doc], rest: &[(usize, bool, &Doc)]) -> bool {
        let start = if self.pending > 0 { self.indent } else { self.column };
        let mut left = self.width.saturating_sub(start) as isize;
        let mut inner: Vec<(bool, &Doc)> = parts.iter().rev().map(|part| (false, part)).collect();
        let mut rest = rest.iter().rev();
        while left >= 0 {
            let (broken, doc) = match inner.pop() {
                Some(next) => next,
                None => match rest.next() {
                    Some((_, broken, doc)) => (*broken, *doc),
                    None => return true,
                },
            };
            match doc {
                Doc::Text(text) => left -= text.chars().count() as isize,
                Doc::Line(_) if broken => return true,
                Doc::Line(flat) => left -= flat.chars().count() as isize,
                Doc::IfBroken(text) if broken => left -= text.len() as isize,
                Doc::IfBroken(_) => {}
                Doc::Mark { flat, broken: text } => {
                    left -= if broken { text } else { flat }.chars().count() as isize;
                }
                Doc::Hard(_) | Doc::Comment { .. } => return true,
                Doc::Indent(parts) => inner.extend(parts.iter().rev().map(|part| (broken, part))),
                // What follows may break as soon as it can.
                Doc::Group { parts, broken: own } => {
                    inner.extend(parts.iter().rev().map(|part| (broken || *own, part)));
                }
            }
        }
        false
    }
}
