//! `din.toml`, the settings of a project: what `check` reads, how grave warnings are, and what
//! models may cost. It is looked for in the folder of a spec and in those above it.

mod budget;
mod file;

pub use budget::{Budget, over_budget};

use crate::failure::Failure;
use crate::lints::LintLevels;
use din_grammar::{Diagnostic, SourceMap};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file.
pub const PROJECT_FILE: &str = "din.toml";

/// A project as its file says it; without a file, the settings that every model has.
#[derive(Debug, Default)]
pub struct Project {
    /// The folder of the file.
    pub folder: PathBuf,
    /// What `check` checks where it is given nothing, from the folder.
    pub paths: Option<Vec<String>>,
    pub lints: LintLevels,
    pub budget: Budget,
    /// The file as messages name it, with its faults; `None` without a file.
    pub read: Option<ProjectText>,
}

/// What is to be said of a project's file.
#[derive(Debug)]
pub struct ProjectText {
    pub name: String,
    pub diagnostics: Vec<Diagnostic>,
    pub sources: SourceMap,
    pub failure: Option<Failure>,
}

/// The projects of the specs of a command, each read once.
#[derive(Debug, Default)]
pub struct Projects {
    /// By folder: the project that a spec there belongs to.
    known: BTreeMap<PathBuf, Arc<Project>>,
}

impl Projects {
    /// The project of a spec.
    ///
    /// # Errors
    /// The folders above it cannot be looked at.
    pub fn of(&mut self, spec: &Path) -> Result<Arc<Project>, Failure> {
        self.of_folder(din_runtime::fs::parent(spec))
    }

    /// The project that a folder lies in.
    ///
    /// # Errors
    /// The folders above it cannot be looked at.
    pub fn of_folder(&mut self, folder: &Path) -> Result<Arc<Project>, Failure> {
        if let Some(project) = self.known.get(folder) {
            return Ok(project.clone());
        }
        let project = match file_above(folder)? {
            None => Arc::default(),
            Some(file) => {
                let same = |known: &&Arc<Project>| {
                    let read = known.read.as_ref();
                    read.is_some_and(|read| Path::new(&read.name) == file)
                };
                match self.known.values().find(same) {
                    Some(project) => project.clone(),
                    None => Arc::new(file::read(&file)),
                }
            }
        };
        self.known.insert(folder.to_path_buf(), project.clone());
        Ok(project)
    }

    /// All projects that were read, each once.
    pub fn all(&self) -> Vec<Arc<Project>> {
        let mut all: Vec<Arc<Project>> = Vec::new();
        for project in self.known.values() {
            if !all.iter().any(|known| Arc::ptr_eq(known, project)) {
                all.push(project.clone());
            }
        }
        all
    }
}

/// The project's file in the folder or the nearest one above it, named from the current folder
/// where it lies below that.
fn file_above(folder: &Path) -> Result<Option<PathBuf>, Failure> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // A spec in a folder that is not there cannot be read, which is said then.
    let Ok(whole) = std::fs::canonicalize(folder) else { return Ok(None) };
    for above in whole.ancestors() {
        let file = above.join(PROJECT_FILE);
        if din_runtime::fs::metadata(&file)?.is_some_and(|found| found.is_file()) {
            let here = std::env::current_dir().and_then(std::fs::canonicalize).ok();
            let named = here.and_then(|here| file.strip_prefix(here).map(Path::to_path_buf).ok());
            return Ok(Some(named.unwrap_or(file)));
        }
    }
    Ok(None)
}
