//! `din build`: a copy of this executable with the compiled program behind it, and kernels for GPUs where they are asked for.

use crate::args::Build;
use crate::compile::compile;
use crate::device;
use crate::failure::Outcome;
use crate::terminal::Console;
use din_runtime::container;

pub fn build(console: &Console, args: &Build) -> Outcome {
    let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
    let kernels = match args.cuda.as_slice() {
        [] => None,
        targets => {
            let mut targets = targets.to_vec();
            targets.sort();
            targets.dedup();
            Some(device::images(&compiled, args.precision.into(), &targets)?)
        }
    };
    let built = container::build(&container::own_path()?, &compiled.program, kernels.as_ref(), &args.out)?;
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
