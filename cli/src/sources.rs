//! Reading specs and the files beside them.

use crate::failure::Failure;
use crate::revision::{self, AtRevision};
use crate::terminal::Console;
use din_compiler::front::{self, FileFault, SourceProvider};
use din_compiler::model::CheckedModel;
use din_program::Program;
use din_runtime::fs::metadata;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes of a spec; a larger file is surely not one.
const LIMIT: u64 = 4 << 20;

/// Most bytes of a vocabulary: places in it fit 32 bits.
const VOCABULARY_LIMIT: u64 = 1 << 30;

/// Imports of files beside the model: `use towers.deep` reads `towers.din` in the model's folder.
pub struct Beside {
    folder: PathBuf,
}

impl Beside {
    pub fn of(model: &Path) -> Self {
        Self { folder: din_runtime::fs::parent(model).to_path_buf() }
    }
}

impl Beside {
    fn path(&self, module: &[String]) -> PathBuf {
        let mut path = self.folder.clone();
        path.extend(module);
        path.set_extension("din");
        path
    }
}

/// The folder of a spec, as the user gave it: empty where only the file's name was given.
pub fn folder_of(spec: &Path) -> &Path {
    spec.parent().unwrap_or(Path::new(""))
}

/// As diagnostics name a file.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

impl SourceProvider for Beside {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let path = self.path(module);
        Some((shown(&path), read(&path).ok()?))
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        let path = self.folder.join(path);
        match metadata(&path) {
            Ok(None) => Err(FileFault::Missing),
            Ok(Some(_)) => match file_text(&path, VOCABULARY_LIMIT, "a vocabulary") {
                Ok(text) => Ok((shown(&path), text)),
                Err(failure) => Err(FileFault::Unreadable(failure.message)),
            },
            Err(error) => Err(FileFault::Unreadable(error.message)),
        }
    }
}

/// The same imports from what a program holds.
struct Recorded<'a>(&'a Program);

impl SourceProvider for Recorded<'_> {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let name = front::recorded_name(module);
        self.0.sources.iter().find(|(known, _)| *known == name).cloned()
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        let found = self.0.schema.vocabularies.iter().find(|vocabulary| vocabulary.path == path);
        found.map(|vocabulary| (path.to_string(), vocabulary.text.clone())).ok_or(FileFault::Missing)
    }
}

/// The model that a program was made from, by its own sources; `None` where this version finds
/// errors in them.
pub fn recorded(program: &Program) -> Option<CheckedModel> {
    let (name, text) = program.sources.first()?;
    let setting = |(name, text): &(String, String)| {
        let (key, value) = (name == front::SETTING).then(|| text.split_once('='))??;
        Some((key.into(), value.into()))
    };
    let options = front::CheckOptions { sets: program.sources.iter().filter_map(setting).collect() };
    let checked = front::check(name, text, &Recorded(program), &options);
    checked.model.filter(|_| !checked.diagnostics.iter().any(|d| d.is_error()))
}

/// The text of a spec.
pub fn read(path: &Path) -> Result<String, Failure> {
    file_text(path, LIMIT, "a spec")
}

/// The text of a project's settings.
pub fn project_text(path: &Path) -> Result<String, Failure> {
    file_text(path, LIMIT, "the settings of a project")
}

/// The text of a regular file of at most so many bytes.
fn file_text(path: &Path, limit: u64, what: &str) -> Result<String, Failure> {
    let failed = |e: io::Error| Failure::from(din_runtime::Error::file("read", path, &e));
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_file() {
        let found = if kind.is_dir() { "a folder" } else { "a device, pipe or socket" };
        let name = path.display();
        return Err(Failure::user_error(format!("{name}: expected {what}, a regular file, found {found}")));
    }
    let file = fs::File::open(path).map_err(failed)?;
    text(file, (&path.display().to_string(), limit, what), failed)
}

/// The text of a spec on standard input.
pub fn standard_input() -> Result<String, Failure> {
    let failed = |e: io::Error| Failure::system_error(format!("standard input: cannot read: {e}"));
    text(io::stdin().lock(), ("standard input", LIMIT, "a spec"), failed)
}

/// The text of a source, which may be without end: what is read is bounded.
fn text(
    source: impl Read,
    (name, limit, what): (&str, u64, &str),
    failed: impl Fn(io::Error) -> Failure,
) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Failure::user_error(format!("{name}: expected {what} of at most {limit} bytes, found more")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]).into_owned();
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        Failure::user_error(format!("{name}:{line}:{column}: expected UTF-8 text, found other bytes"))
    })
}

/// Writes a report, whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Ok(din_runtime::fs::write_atomically(path, text.as_bytes())?)
}

/// The paths that a pattern stands for; the path itself where it is there, or is no pattern.
fn matching(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let text = path.to_string_lossy();
    if !text.contains(['*', '?', '[']) || metadata(path)?.is_some() {
        return Ok(vec![path.to_path_buf()]);
    }
    let wrong = |why: String| Failure::user_error(format!("{text}: {why}"));
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let paths = glob::glob_with(&text, options).map_err(|e| wrong(format!("the pattern is wrong: {}", e.msg)))?;
    let found = paths.collect::<Result<Vec<_>, _>>().map_err(|e| Failure::system_error(e.to_string()))?;
    match found.is_empty() {
        true => Err(wrong("expected files that the pattern matches, found none".into())),
        false => Ok(found),
    }
}

/// The files of a command line, each once. A pattern stands for what it matches, a folder for the
/// `.din` files below it, in the order of their paths. Links to folders are not followed, so that
/// the walk ends.
pub fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let mut given = Vec::new();
    for path in paths {
        given.extend(matching(path)?);
    }
    for path in &given {
        // What is not there, or is no spec, is said when it is read.
        if !metadata(path)?.is_some_and(|found| found.is_dir()) {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            let failed = |e: io::Error| Failure::from(din_runtime::Error::file("read", &folder, &e));
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let path = entry.path();
                if entry.file_type().map_err(failed)?.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "din") {
                    files.push(path);
                }
            }
        }
        if files.len() == before {
            return Err(Failure::user_error(format!(
                "{}: expected .din files below this folder, found none",
                path.display()
            )));
        }
        files[before..].sort();
    }
    let mut known = BTreeSet::new();
    files.retain(|file| known.insert(file.clone()));
    Ok(files)
}

/// Reads and checks a spec; shows its diagnostics.
pub fn checked(console: &Console, path: &Path, sets: &[(String, String)]) -> Result<CheckedModel, Failure> {
    let text = read(path)?;
    checked_text(console, &path.display().to_string(), &text, &Beside::of(path), sets)
}

/// The same of a spec as it was in a git revision.
pub fn checked_of_revision(console: &Console, revision: &str, path: &str) -> Result<CheckedModel, Failure> {
    let text = revision::read(revision, path)?;
    checked_text(console, &format!("{revision}:{path}"), &text, &AtRevision::of(revision, path), &[])
}

fn checked_text(
    console: &Console,
    name: &str,
    text: &str,
    provider: &dyn SourceProvider,
    sets: &[(String, String)],
) -> Result<CheckedModel, Failure> {
    let options = front::CheckOptions { sets: sets.to_vec() };
    let checked = front::check(name, text, provider, &options);
    console.diagnostics(&checked.diagnostics, &checked.sources);
    console.more_about(&checked.diagnostics);
    match checked.model {
        Some(model) if !checked.diagnostics.iter().any(|d| d.is_error()) => Ok(model),
        _ => Err(Failure::reported(crate::failure::USER_ERROR)),
    }
}
