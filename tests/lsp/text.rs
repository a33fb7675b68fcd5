//! Texts as an editor sees them: its own count of lines and UTF-16 columns.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The position of a byte, in UTF-16 code units.
pub fn position(text: &str, offset: usize) -> Value {
    let before = &text[..offset];
    let line = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    json!({ "line": line, "character": before[start..].chars().map(char::len_utf16).sum::<usize>() })
}

/// The byte of a position, in UTF-16 code units.
pub fn offset(text: &str, position: &Value) -> usize {
    let (line, column) = (position["line"].as_u64().unwrap(), position["character"].as_u64().unwrap());
    let start = text.split_inclusive('\n').take(line as usize).map(str::len).sum::<usize>();
    let (mut at, mut units) = (start, 0);
    for c in text[start..].chars().take_while(|c| *c != '\n') {
        if units >= column {
            break;
        }
        units += c.len_utf16() as u64;
        at += c.len_utf8();
    }
    at
}

pub fn slice<'t>(text: &'t str, range: &Value) -> &'t str {
    &text[offset(text, &range["start"])..offset(text, &range["end"])]
}

/// Applies edits that do not overlap.
pub fn edited(text: &str, edits: &Value) -> String {
    let mut edits: Vec<&Value> = edits.as_array().unwrap().iter().collect();
    edits.sort_by_key(|edit| offset(text, &edit["range"]["start"]));
    let mut out = text.to_owned();
    for edit in edits.into_iter().rev() {
        let range = &edit["range"];
        let (start, end) = (offset(text, &range["start"]), offset(text, &range["end"]));
        out.replace_range(start..end, edit["newText"].as_str().unwrap());
    }
    out
}

/// The words of a text and their places, comments and quoted texts included.
pub fn words(text: &str) -> Vec<(usize, &str)> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, letter(c)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                found.push((from, &text[from..at]));
                start = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    found.retain(|(_, word)| !word.starts_with(|c: char| c.is_ascii_digit()));
    found
}

/// All specs below a folder of the repository.
pub fn specs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(specs(&path));
        } else if path.extension().is_some_and(|e| e == "din") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Numbers that look random and are the same each time.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}
