//! The JSON documents of a run directory. Each ends with a hash of its own text, so that one that
//! was altered is refused rather than believed. They stay plain JSON to whoever else reads them.
//!
//! The last member of the object is `"xxh3"`: 16 hexadecimal digits of the XXH3 hash (64 bits, seed
//! 0) of all text before the comma in front of that member.

use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// How a document is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonLayout {
    /// A file of its own, one member per line.
    File,
    /// One line among others, without its line break.
    Line,
}

impl JsonLayout {
    /// What stands around the hash.
    fn around(self) -> (&'static str, &'static str) {
        match self {
            Self::File => (",\n  \"xxh3\": \"", "\"\n}\n"),
            Self::Line => (",\"xxh3\":\"", "\"}"),
        }
    }

    /// The end of a document that begins with `body`.
    fn end(self, body: &str) -> String {
        let (before, after) = self.around();
        format!("{before}{:016x}{after}", xxh3_64(body.as_bytes()))
    }
}

/// The text of a document. `value` serialises as an object with members.
pub fn to_text<T: Serialize>(value: &T, layout: JsonLayout) -> Result<String> {
    let (json, end) = match layout {
        JsonLayout::File => (serde_json::to_string_pretty(value), "\n}"),
        JsonLayout::Line => (serde_json::to_string(value), "}"),
    };
    let json = json.map_err(|e| Error::machine(format!("cannot write a document as JSON: {e}")))?;
    let body = json.strip_suffix(end).expect("documents are objects");
    Ok(body.to_string() + &layout.end(body))
}

/// Reads a file that is one document. `format` is what its member of that name has to be, for one
/// that has it; `help` says what to do about a file that was altered.
///
/// # Errors
/// A file that cannot be read; another text than [`to_text`] made; another format, or another type
/// than `T`.
pub fn read<T: DeserializeOwned>(path: &Path, format: Option<u32>, help: &str) -> Result<T> {
    let (text, place) = (read_text(path, help)?, path.display());
    if let Some(format) = format {
        // Before the hash: other formats may have none.
        let found = serde_json::from_str::<Head>(&text).map_err(|_| altered(place, help))?.format;
        if found != format {
            return Err(Error::input(format!("{}: expected format {format}, found {found}", path.display()))
                .help("use the version of din that wrote it"));
        }
    }
    from_text(&text, JsonLayout::File, path.display(), help)
}

/// Reads a file with a document on each line: text and value of each.
///
/// # Errors
/// As [`read`], with the number of the line.
pub fn read_lines<T: DeserializeOwned>(path: &Path, help: &str) -> Result<Vec<(String, T)>> {
    let text = read_text(path, help)?;
    let line = |(k, line): (usize, &str)| {
        let place = format!("{}:{}", path.display(), k + 1);
        Ok((line.to_string(), from_text(line, JsonLayout::Line, place, help)?))
    };
    text.lines().enumerate().map(line).collect()
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// `place` is where the text stands: a file, or a file and a line.
fn from_text<T: DeserializeOwned>(text: &str, layout: JsonLayout, place: impl fmt::Display, help: &str) -> Result<T> {
    let length = layout.end("").len();
    let body = text.len().checked_sub(length).and_then(|length| text.get(..length));
    let whole = body.is_some_and(|body| text.get(body.len()..) == Some(&layout.end(body)));
    if !whole {
        return Err(altered(place, help));
    }
    serde_json::from_str(text)
        .map_err(|e| Error::input(format!("{place}: not as this version of din writes it: {e}")).help(help))
}

fn read_text(path: &Path, help: &str) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::file("read", path, &e))?;
    String::from_utf8(bytes).map_err(|_| altered(path.display(), help))
}

fn altered(place: impl fmt::Display, help: &str) -> Error {
    Error::input(format!("{place}: the text was altered: expected its own XXH3 hash at the end, found another"))
        .help(help)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_hash_is_of_the_text_before_it() {
        // The hashes are those of the Python package xxhash: xxh3_64_hexdigest.
        let value = json!({ "epoch": 3 });
        assert_eq!(to_text(&value, JsonLayout::Line).unwrap(), "{\"epoch\":3,\"xxh3\":\"6e799d22dd3eddfe\"}");
        assert_eq!(
            to_text(&value, JsonLayout::File).unwrap(),
            "{\n  \"epoch\": 3,\n  \"xxh3\": \"e96e0b015702cc19\"\n}\n"
        );
    }

    #[test]
    fn a_text_with_any_byte_altered_added_or_missing_is_refused() {
        let value = json!({ "loss": 0.25, "names": ["a", "b"] });
        for layout in [JsonLayout::File, JsonLayout::Line] {
            let text = to_text(&value, layout).unwrap();
            let read: Value = from_text(&text, layout, "run.json", "").unwrap();
            assert_eq!(read["loss"], value["loss"]);
            for at in 0..text.len() {
                for other in [text[..at].to_string() + "7" + &text[at..], text[..at].to_string()] {
                    let error = from_text::<Value>(&other, layout, "run.json", "").unwrap_err();
                    assert!(error.message.starts_with("run.json: the text was altered"), "{other}: {error}");
                }
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1;
                let other = String::from_utf8(bytes).unwrap();
                assert!(from_text::<Value>(&other, layout, "run.json", "").is_err(), "{other}");
            }
        }
    }
}
