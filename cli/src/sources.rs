//! Reading specs and the files beside them.

use crate::failure::Failure;
use crate::terminal::Console;
use din_compiler::front::{self, SourceProvider};
use din_compiler::model::Model;
use din_program::Program;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of a spec; a larger file is surely not one.
const LIMIT: u64 = 4 << 20;

/// Imports of files beside the model: `use towers.deep` reads `towers.din` in the model's folder.
pub struct Beside {
    folder: PathBuf,
}

impl Beside {
    pub fn of(model: &Path) -> Self {
        Self { folder: din_runtime::run::file::parent(model).to_path_buf() }
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
}

/// The same imports from what a program holds.
struct Recorded<'a>(&'a Program);

impl SourceProvider for Recorded<'_> {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let name = front::recorded_name(module);
        self.0.sources.iter().find(|(known, _)| *known == name).cloned()
    }
}

/// The model that a program was made from, by its own sources; `None` where this version finds errors in them.
pub fn recorded(program: &Program) -> Option<Model> {
    let (name, text) = program.sources.first()?;
    let setting = |(name, text): &(String, String)| {
        let (key, value) = (name == front::SETTING).then(|| text.split_once('='))??;
        Some((key.into(), value.into()))
    };
    let options = front::Options { sets: program.sources.iter().filter_map(setting).collect() };
    let checked = front::check(name, text, &Recorded(program), &options);
    checked.model.filter(|_| !checked.diagnostics.iter().any(|d| d.is_error()))
}

/// The text of a spec.
pub fn read(path: &Path) -> Result<String, Failure> {
    let failed = |e: io::Error| Failure::from(din_runtime::run::Error::file("read", path, &e));
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > LIMIT {
        return Err(Failure::input(format!(
            "{}: expected a spec of at most {LIMIT} bytes, found {length} bytes",
            path.display()
        )));
    }
    let bytes = fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(good).filter(|&&b| b == b'\n').count() + 1;
        Failure::input(format!("{}:{line}: expected UTF-8 text, found other bytes", path.display()))
    })
}

/// Reads and checks a spec; shows its diagnostics.
pub fn checked(console: &Console, path: &Path, sets: &[(String, String)]) -> Result<Model, Failure> {
    let text = read(path)?;
    let options = front::Options { sets: sets.to_vec() };
    let checked = front::check(&path.display().to_string(), &text, &Beside::of(path), &options);
    console.diagnostics(&checked.diagnostics, &checked.sources);
    match checked.model {
        Some(model) if !checked.diagnostics.iter().any(|d| d.is_error()) => Ok(model),
        _ => Err(Failure::said(crate::failure::INPUT)),
    }
}
