//! `din build`: a copy of this executable with the compiled program behind it.

use crate::args::Build;
use crate::compile::compile;
use crate::failure::Outcome;
use crate::terminal::Console;
use din_runtime::container;

pub fn build(console: &Console, args: &Build) -> Outcome {
    let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
    let built = container::build(&container::own_path()?, &compiled.program, &args.out)?;
    let levels: Vec<String> = compiled.program.code.iter().map(|c| format!("{:?}", c.isa).to_lowercase()).collect();
    console.remark(format!(
        "{}: model {}, {} kernels for x86-64 {}, {} KiB of program behind {} KiB of runtime",
        args.out.display(),
        compiled.program.model,
        compiled.program.kernels.len(),
        levels.join(", "),
        built.program.div_ceil(1024),
        built.executable.div_ceil(1024),
    ));
    Ok(())
}
