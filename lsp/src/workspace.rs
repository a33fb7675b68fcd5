//! The other specs of a workspace, for what is asked across files.

use std::fs;
use std::path::{Path, PathBuf};

/// Most files that are looked through, and how deep folders are.
const MAX_FILES: usize = 2_000;
const MAX_DEPTH: usize = 12;

/// The `.din` files below the folders, in the order of their paths. Hidden folders and build
/// outputs are left out, and links to folders are not followed.
pub(crate) fn specs(roots: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in roots {
        below(root, MAX_DEPTH, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if found.len() >= MAX_FILES {
            return;
        }
        let path = entry.path();
        let name = entry.file_name();
        let hidden = name.to_string_lossy().starts_with('.') || name == "target" || name == "node_modules";
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !hidden && depth > 0 => below(&path, depth - 1, found),
            Ok(kind) if kind.is_file() && path.extension().is_some_and(|e| e == "din") => found.push(path),
            Ok(_) | Err(_) => {}
        }
    }
}
