//! `din build`: a copy of this executable with the compiled program behind it, and kernels for GPUs
//! where they are asked for.

use crate::args::BuildArgs;
use crate::compile::compile;
use crate::device;
use crate::failure::{Failure, Outcome};
use crate::terminal::Console;
use din_runtime::bundle;
use din_runtime::fs::{metadata, not_an_input, parent};
use std::path::{Path, PathBuf};

pub fn build(console: &Console, args: &BuildArgs) -> Outcome {
    let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
    let own = bundle::own_path()?;
    let folder = parent(&args.spec.model);
    let sources: Vec<PathBuf> = compiled.program.sources.iter().map(|(name, _)| folder.join(name)).collect();
    not_an_input(&args.out, sources.iter().chain([&args.spec.model, &own]).map(PathBuf::as_path))?;
    if !args.force {
        replaceable(&args.out)?;
    }
    let kernels = match args.cuda.as_slice() {
        [] => None,
        targets => {
            let mut targets = targets.to_vec();
            targets.sort();
            targets.dedup();
            Some(device::images(&compiled, args.precision.into(), &targets)?)
        }
    };
    let built = bundle::build(&own, &compiled.program, kernels.as_ref(), &args.out)?;
    let levels: Vec<String> = compiled.program.code.iter().map(|c| format!("{:?}", c.isa).to_lowercase()).collect();
    let gpus = kernels.as_ref().map_or(String::new(), |kernels| {
        let targets: Vec<String> = kernels.targets().map(|t| t.to_string()).collect();
        format!("and {} KiB of kernels for {} ", built.kernels.div_ceil(1024), targets.join(", "))
    });
    console.remark(format!(
        "{}: model {}, {} kernels for x86-64 {}, {} KiB of program {gpus}behind {} KiB of runtime",
        args.out.display(),
        compiled.program.model,
        compiled.program.kernels.len(),
        levels.join(", "),
        built.program.div_ceil(1024),
        built.executable.div_ceil(1024),
    ));
    Ok(())
}

/// Without --force only an executable that `build` wrote is replaced. Writing itself refuses
/// whatever is not a regular file.
fn replaceable(out: &Path) -> Outcome {
    if metadata(out)?.is_some_and(|found| found.is_file()) && !matches!(bundle::read(out), Ok(Some(_))) {
        let help = "choose another --out, or pass --force to replace it";
        let found = "expected an executable that `din build` wrote, or no file";
        return Err(Failure::user_error(format!("{}: {found}, found another file\n  help: {help}", out.display())));
    }
    Ok(())
}
