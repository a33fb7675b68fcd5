//! What is checked without running a test.

use crate::command::{Outcome, cargo, program, root, run};
use crate::licenses;
use std::fs;

/// Folders whose specs are shipped: they are right, without a warning, and in the standard layout.
const SPECS: [&str; 9] = [
    "models",
    "models/interaction",
    "models/multitask",
    "models/retrieval",
    "models/sequence",
    "models/techniques",
    "stdlib",
    "bench",
    "experiments/specs",
];

pub fn check() -> Outcome {
    run(&mut cargo(["fmt", "--all", "--", "--check"]))?;
    run(&mut cargo(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    doc(false)?;
    licenses::check()?;
    let specs = specs()?;
    // A test is built too, so that the libraries have the features that tests need: those of `cargo
    // xtask test`, which are not built again then.
    run(&mut cargo(["build", "--locked", "--workspace", "--bin", "din", "--test", "ui"]))?;
    // It lies beside this program.
    let din = std::env::current_exe().map_err(|e| format!("the path of this program: {e}"))?.with_file_name("din");
    for verb in [&["check", "--deny", "warnings"][..], &["fmt", "--check"], &["test"]] {
        run(program(&din, verb).args(&specs))?;
    }
    Ok(())
}

/// The documentation of the workspace's crates, for who changes them: private items are included,
/// so that public ones may link to them.
pub fn doc(open: bool) -> Outcome {
    let mut command = cargo(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"]);
    if open {
        command.arg("--open");
    }
    run(command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))
}

/// The specs that are shipped, as paths from the root, in order.
fn specs() -> Result<Vec<String>, String> {
    let mut specs = Vec::new();
    for folder in SPECS {
        for entry in fs::read_dir(root().join(folder)).map_err(|e| format!("{folder}: {e}"))? {
            let name = entry.map_err(|e| format!("{folder}: {e}"))?.file_name();
            let name = name.to_str().ok_or_else(|| format!("{folder}: a name that is not UTF-8"))?;
            if name.ends_with(".din") {
                specs.push(format!("{folder}/{name}"));
            }
        }
    }
    specs.sort();
    Ok(specs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_of_every_folder_are_found() {
        let specs = specs().unwrap();
        for spec in [
            "models/din.din",
            "models/sequence/bst.din",
            "stdlib/activation.din",
            "bench/din_step.din",
            "experiments/specs/synth_din.din",
        ] {
            assert!(specs.iter().any(|s| s == spec), "{spec}");
        }
        assert!(specs.is_sorted());
    }
}
