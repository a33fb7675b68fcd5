//! From a spec on disk to a program, with diagnostics shown on the way.

use crate::failure::{Failure, INPUT};
use crate::sources;
use crate::terminal::Console;
use din_compiler::model::Model;
use din_compiler::{CompileError, CompileOptions, Compiled};
use std::path::Path;

/// Checks and compiles.
pub fn compile(console: &Console, path: &Path, sets: &[(String, String)]) -> Result<Compiled, Failure> {
    let model = sources::checked(console, path, sets)?;
    compile_model(console, &model)
}

pub fn compile_model(console: &Console, model: &Model) -> Result<Compiled, Failure> {
    din_compiler::compile(model, &CompileOptions::default()).map_err(|error| match error {
        CompileError::Model(diagnostic) => {
            console.diagnostics(&[*diagnostic], &model.sources);
            Failure::said(INPUT)
        }
        CompileError::Internal(_) => Failure::machine(format!(
            "{error}\n  help: this is a bug of din {}; please report it with the spec",
            env!("CARGO_PKG_VERSION")
        )),
        CompileError::Codegen(e) => Failure::machine(e.to_string()),
    })
}
