//! From a spec on disk to a program, with diagnostics shown on the way.

use crate::failure::Failure;
use crate::sources;
use crate::terminal::Console;
use din_compiler::model::CheckedModel;
use din_compiler::{CompileError, CompileOptions, Compiled, PassRun};
use din_program::Program;
use std::path::Path;

/// Checks and compiles.
pub fn compile(console: &Console, path: &Path, sets: &[(String, String)]) -> Result<Compiled, Failure> {
    let model = sources::checked(console, path, sets)?;
    compile_checked(console, &model)
}

/// Compiles, and says so if it takes a while.
pub fn compile_checked(console: &Console, model: &CheckedModel) -> Result<Compiled, Failure> {
    console.busy(&format!("compiling {}", model.name), || compile_model(model))
}

/// Compiles anew what `program`, of the run at `run`, was made from. Another version of the
/// compiler may make another program, which is reported.
pub fn again(console: &Console, program: &Program, run: &Path) -> Result<Compiled, Failure> {
    let model = sources::recorded(program).ok_or_else(|| {
        let help = "run it on the CPU, or use the version of din that made it";
        let (name, by) = (run.display(), &program.compiler);
        Failure::user_error(format!(
            "{name}: this version does not compile the run's spec, which was of {by}\n  help: {help}"
        ))
    })?;
    let compiled = compile_checked(console, &model)?;
    if compiled.program.hash() != program.hash() {
        let name = run.display();
        console
            .warning(format!("{name}: the run began with a program of another compiler version; its bits may differ"));
    }
    Ok(compiled)
}

pub fn compile_model(model: &CheckedModel) -> Result<Compiled, Failure> {
    compile_observed(model, &mut |_| {})
}

/// [`compile_model`], with every pass over every graph shown to `observer`.
pub fn compile_observed(model: &CheckedModel, observer: &mut dyn FnMut(PassRun<'_>)) -> Result<Compiled, Failure> {
    din_compiler::compile_observed(model, &CompileOptions::default(), observer).map_err(|error| match error {
        CompileError::Internal { .. } => Failure::system_error(format!(
            "{error}\n  help: this is a bug of din {}; please report it with the spec",
            env!("CARGO_PKG_VERSION")
        )),
        CompileError::MissingVocabulary { .. } => {
            Failure::user_error(format!("{error}\n  help: its path is that from the folder of the spec"))
        }
        CompileError::Codegen(e) => Failure::system_error(e.to_string()),
    })
}
