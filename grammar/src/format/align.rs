//! Columns: neighbouring lines of one kind get their cells aligned, and comments at the ends of
//! neighbouring lines of one indentation too.

use super::doc::{CELL, COMMENT, KIND, WIDE_CELL};

/// A column is aligned when its cells differ in width by at most this.
const MAX_SPREAD: usize = 24;
/// Comments are aligned when the lines before them differ in width by at most this.
const MAX_COMMENT_SPREAD: usize = 60;

struct Row {
    kind: Option<char>,
    indent: usize,
    /// Text and the blanks that at least follow it.
    cells: Vec<(String, usize)>,
    comment: Option<String>,
}

/// Replaces the marks of the laid text by blanks.
pub(super) fn align(text: &str) -> String {
    let mut rows: Vec<Row> = text.lines().map(row).collect();
    let mut start = 0;
    while start < rows.len() {
        let same = |row: &Row| row.kind.is_some() && row.kind == rows[start].kind && row.indent == rows[start].indent;
        let length = rows.iter().skip(start).take_while(|row| same(row)).count().max(1);
        align_cells(&mut rows[start..start + length]);
        start += length;
    }
    let lines: Vec<String> = rows.iter().map(line).collect();
    let widths: Vec<usize> = lines.iter().map(|l| l.chars().count()).collect();
    let mut out = String::new();
    let mut i = 0;
    while i < rows.len() {
        let indent = rows[i].indent;
        let length = rows.iter().skip(i).take_while(|row| row.comment.is_some() && row.indent == indent).count();
        let run = &widths[i..i + length];
        let widest = run.iter().copied().max().unwrap_or(0);
        let aligned = widest - run.iter().copied().min().unwrap_or(0) <= MAX_COMMENT_SPREAD;
        for j in i..i + length.max(1) {
            out.push_str(&lines[j]);
            if let Some(comment) = &rows[j].comment {
                let blanks = 2 + if aligned { widest - widths[j] } else { 0 };
                out.extend(std::iter::repeat_n(' ', blanks));
                out.push_str(comment);
            }
            out.push('\n');
        }
        i += length.max(1);
    }
    out
}

fn row(text: &str) -> Row {
    let (code, comment) = match text.split_once(COMMENT) {
        Some((code, comment)) => (code, Some(comment.to_owned())),
        None => (text, None),
    };
    let indent = code.len() - code.trim_start_matches(' ').len();
    let mut code = &code[indent..];
    let mut kind = None;
    if let Some(rest) = code.strip_prefix(KIND) {
        kind = rest.chars().next();
        code = &rest[kind.map_or(0, char::len_utf8)..];
    }
    let mut cells = Vec::new();
    while let Some(at) = code.find([CELL, WIDE_CELL]) {
        let gap = if code[at..].starts_with(CELL) { 1 } else { 3 };
        cells.push((code[..at].to_owned(), gap));
        code = &code[at + 1..];
    }
    cells.push((code.to_owned(), 0));
    Row { kind, indent, cells, comment }
}

fn align_cells(rows: &mut [Row]) {
    let columns = rows.iter().map(|row| row.cells.len() - 1).max().unwrap_or(0);
    for column in 0..columns {
        let width = |row: &Row| {
            row.cells.get(column).filter(|_| column + 1 < row.cells.len()).map(|(text, _)| text.chars().count())
        };
        let widest = rows.iter().filter_map(width).max().unwrap_or(0);
        let least = rows.iter().filter_map(width).min().unwrap_or(0);
        if widest - least > MAX_SPREAD {
            continue;
        }
        for row in rows.iter_mut() {
            if let Some(own) = width(row) {
                row.cells[column].1 += widest - own;
            }
        }
    }
}

fn line(row: &Row) -> String {
    let mut out = " ".repeat(row.indent);
    for (text, gap) in &row.cells {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', *gap));
    }
    out.truncate(out.trim_end().len());
    out
}
