//! Where the first error of a spec with one wrong token stands: on the line of the token, as far as
//! the text can tell.

use super::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is done to one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TokenMutation {
    Deleted,
    Doubled,
    Swapped,
    Replaced,
}

const ALL: [TokenMutation; 4] =
    [TokenMutation::Deleted, TokenMutation::Doubled, TokenMutation::Swapped, TokenMutation::Replaced];

/// Of some mutations of one kind: those that are errors, and those of them whose first error is on
/// the line of the token.
#[derive(Clone, Copy, Debug, Default)]
struct PlaceCount {
    tried: usize,
    errors: usize,
    at_line: usize,
}

/// A multiplicative generator, Steele and Vigna's splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Byte ranges of the tokens outside of comments.
fn tokens(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    let mut out = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        let rest = &text[i..];
        let end = match bytes[i] {
            b' ' | b'\n' | b'\t' | b'\r' => {
                i += 1;
                continue;
            }
            _ if rest.starts_with("//") => {
                i += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'"' => i + 1 + rest[1..].find(['"', '\n']).map_or(rest.len() - 1, |k| k + 1),
            // A decimal point belongs to its number, and a path is several tokens.
            b if b.is_ascii_digit() => i + bytes[i..].iter().take_while(|b| word(**b)).count(),
            b if b.is_ascii_alphabetic() || b == b'_' => {
                i + bytes[i..].iter().take_while(|b| word(**b) && **b != b'.').count()
            }
            _ => {
                let two = ["->", "=>", "==", "!=", "<=", ">=", ".."].into_iter().any(|mark| rest.starts_with(mark));
                i + if two { 2 } else { rest.chars().next().map_or(1, char::len_utf8) }
            }
        };
        out.push((i, end));
        i = end;
    }
    out
}

/// The text with one token changed, and its line from 1; `None` where nothing changes.
fn mutate(text: &str, kind: TokenMutation, draw: &mut Draw) -> Option<(String, u32)> {
    let all = tokens(text);
    let at = draw.below(all.len());
    let (start, end) = all[at];
    let of = |(a, b): (usize, usize)| &text[a..b];
    let line = text[..start].matches('\n').count() as u32 + 1;
    let new = match kind {
        TokenMutation::Deleted => format!("{}{}", &text[..start], &text[end..]),
        TokenMutation::Doubled => format!("{} {}{}", &text[..end], of(all[at]), &text[end..]),
        TokenMutation::Swapped => {
            let next = *all.get(at + 1)?;
            if text[end..next.0].contains('\n') {
                return None;
            }
            let (between, behind) = (&text[end..next.0], &text[next.1..]);
            format!("{}{}{between}{}{behind}", &text[..start], of(next), of(all[at]))
        }
        TokenMutation::Replaced => {
            let other = of(all[draw.below(all.len())]);
            // A space keeps it a token of its own.
            format!("{} {other} {}", &text[..start], &text[end..])
        }
    };
    let same = |a: &str, b: &str| a.split_whitespace().eq(b.split_whitespace());
    (!same(&new, text)).then_some((new, line))
}

/// Files beside a spec.
struct BesideSpec(PathBuf);

impl SourceProvider for BesideSpec {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let mut path = self.0.clone();
        path.extend(module);
        path.set_extension("din");
        Some((module.join("/"), std::fs::read_to_string(path).ok()?))
    }
}

/// The first error of a text, and its line if it is in the text itself.
fn first_error(path: &Path, text: &str) -> Option<(Diagnostic, Option<u32>)> {
    let beside = BesideSpec(path.parent().map(Path::to_path_buf).unwrap_or_default());
    // What has no model is a schema, or functions.
    let (diagnostics, sources) = if text.contains("\ntrain ") || text.contains("train {") {
        let checked = check("m.din", text, &beside, &CheckOptions::default());
        (checked.diagnostics, checked.sources)
    } else {
        check_library("m.din", text, &beside)
    };
    let first = diagnostics.into_iter().find(Diagnostic::is_error)?;
    let span = first.labels.first().expect("a diagnostic has a label").span;
    let own = sources.get(span.file).is_some_and(|file| file.name == "m.din");
    let line = own.then(|| sources.line_column(span).0 as u32);
    Some((first, line))
}

/// Tries `tried` mutations of each kind of a spec.
fn count(path: &Path, tried: usize, seed: u64) -> BTreeMap<TokenMutation, PlaceCount> {
    let text = std::fs::read_to_string(path).expect("a spec of the repository");
    let mut draw = Draw(seed);
    let mut out = BTreeMap::new();
    for kind in ALL {
        let of: &mut PlaceCount = out.entry(kind).or_default();
        while of.tried < tried {
            let Some((mutated, line)) = mutate(&text, kind, &mut draw) else { continue };
            of.tried += 1;
            let Some((_, at)) = first_error(path, &mutated) else { continue };
            of.errors += 1;
            of.at_line += usize::from(at == Some(line));
        }
    }
    out
}

/// The specs of `models/`, in order of their paths.
fn models() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let inside = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder of the repository");
        entries.map(|entry| entry.expect("it is readable").path()).collect()
    };
    let mut all = inside(&root);
    all.extend(inside(&root).iter().filter(|path| path.is_dir()).flat_map(|folder| inside(folder)));
    all.retain(|path| path.extension().is_some_and(|e| e == "din"));
    all.sort();
    all
}

/// Checks the share over all `specs`, `tried` mutations of each kind.
fn share(specs: &[PathBuf], tried: usize) {
    let mut all: BTreeMap<TokenMutation, PlaceCount> = BTreeMap::new();
    for path in specs {
        for (kind, found) in count(path, tried, 7) {
            let of = all.entry(kind).or_default();
            of.tried += found.tried;
            of.errors += found.errors;
            of.at_line += found.at_line;
        }
    }
    for (kind, of) in &all {
        println!("{kind:?}: {} tried, {} errors, {} on the line", of.tried, of.errors, of.at_line);
    }
    let errors: usize = all.values().map(|of| of.errors).sum();
    let at_line: usize = all.values().map(|of| of.at_line).sum();
    println!("together {at_line} of {errors}");
    assert!(errors > specs.len() && at_line * 10 >= errors * 8, "{at_line} of {errors}");
}

/// A sample of what the next test tries.
#[test]
fn the_first_error_is_on_the_line_of_a_wrong_token() {
    let every: Vec<PathBuf> = models().into_iter().step_by(8).collect();
    share(&every, 3);
}

/// `cargo test --release -p din-compiler --lib -- --ignored --nocapture wrong_token_of_every_model`
#[test]
#[ignore = "200 mutations of each model take minutes"]
fn the_first_error_is_on_the_line_of_a_wrong_token_of_every_model() {
    share(&models(), 50);
}
