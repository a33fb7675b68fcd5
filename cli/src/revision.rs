//! Specs of a git revision, read through `git`.

use crate::failure::Failure;
use din_compiler::front::{FileFault, SourceProvider};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files beside a spec in a revision.
pub struct AtRevision {
    revision: String,
    folder: PathBuf,
}

impl AtRevision {
    pub fn of(revision: &str, spec: &str) -> Self {
        let folder = Path::new(spec).parent().unwrap_or(Path::new(""));
        Self { revision: revision.into(), folder: folder.to_path_buf() }
    }

    fn beside(&self, path: &Path) -> Result<(String, String), Failure> {
        let path = self.folder.join(path).display().to_string();
        Ok((format!("{}:{path}", self.revision), read(&self.revision, &path)?))
    }
}

impl SourceProvider for AtRevision {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let mut path: PathBuf = module.iter().collect();
        path.set_extension("din");
        self.beside(&path).ok()
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        self.beside(Path::new(path)).map_err(|_| FileFault::Missing)
    }
}

/// The text of a file of a revision; `path` is as git takes it, from the root of the repository, or
/// from the current folder if it begins with `./`.
pub fn read(revision: &str, path: &str) -> Result<String, Failure> {
    let object = format!("{revision}:{path}");
    let wrong = |why: &str| {
        let help = "a model is a .din file, REVISION:PATH of a git repository, a run directory or an executable";
        Failure::user_error(format!("{object}: {why}\n  help: {help}"))
    };
    if revision.starts_with('-') || revision.is_empty() {
        return Err(wrong("expected a revision before the `:`"));
    }
    let output = Command::new("git")
        .args(["cat-file", "blob", &object])
        .output()
        .map_err(|e| Failure::system_error(format!("{object}: cannot run git: {e}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("git reads nothing there");
        return Err(wrong(said.trim_start_matches("fatal: ")));
    }
    String::from_utf8(output.stdout).map_err(|_| wrong("expected UTF-8 text, found other bytes"))
}
