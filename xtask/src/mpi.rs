//! Building the library through which the runtime calls MPI, for one MPI library or another.

use crate::command::{Outcome, output, program, run, target};
use std::fs;
use std::path::PathBuf;

/// The MPI libraries that are tested, by the compilers that build for them.
pub const TESTED: [&str; 2] = ["mpicc.openmpi", "mpicc.mpich"];

/// Where the libraries lie, each in a folder named for its MPI.
pub fn folder() -> PathBuf {
    target().join("mpi")
}

/// Builds `libdin_mpi.so` for the MPI of a compiler.
pub fn build(mpicc: &str) -> Outcome {
    // Only Open MPI's compiler knows this option.
    let open_mpi = output(&mut program(mpicc, ["--showme:version"])).is_ok_and(|text| text.contains("Open MPI"));
    let flags = output(&mut program(mpicc, ["-show"])).map_err(|why| {
        let help = "install an MPI (Debian: openmpi-bin libopenmpi-dev, or mpich libmpich-dev), or name its compiler";
        format!("{why}\n  help: {help} by --mpicc")
    })?;
    let folder = folder().join(if open_mpi { "openmpi" } else { "mpich" });
    let target = folder.join("build");
    let manifest = ["rustc", "--locked", "--release", "--manifest-path", "runtime/mpi/Cargo.toml", "--target-dir"];
    let mut command = program("cargo", manifest);
    command.arg(&target).args(["--", "-C", "link-arg=-Wl,--enable-new-dtags"]);
    // The library finds its MPI where that is now, in whatever folder it is installed.
    let folders = flags.split_whitespace().filter_map(|flag| flag.strip_prefix("-L"));
    for folder in folders {
        command.args(["-C", &format!("link-arg=-Wl,-rpath,{folder}")]);
    }
    run(command.env("MPICC", mpicc))?;
    let (from, to) = (target.join("release/libdin_mpi.so"), folder.join("libdin_mpi.so"));
    fs::copy(&from, &to).map_err(|why| format!("{}: {why}", from.display()))?;
    println!("{}", to.display());
    Ok(())
}
