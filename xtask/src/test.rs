//! Running tests, and accepting what they find.

use crate::arguments::{BlessOptions, TestOptions};
use crate::command::{Outcome, cargo, run};
use crate::mpi;
use std::process::Command;

/// The tests that compile CUDA with NVRTC; `cargo test` runs them only when it is asked to. With
/// `-p`, features would differ from those of the workspace, and all dependencies be built again.
const NVRTC: [&str; 8] = ["test", "--locked", "--workspace", "--test", "cuda", "nvrtc::", "--", "--ignored"];

/// The tests that start ranks by `mpirun`, which `cargo test` leaves out. Each starts several
/// processes: they take turns.
const MPI: [&str; 7] = ["test", "--locked", "--workspace", "--test", "mpi", "--", "--test-threads=1"];

pub fn test(options: &TestOptions) -> Outcome {
    run(cargo(["test", "--locked", "--workspace"]).args(&options.arguments))?;
    if options.nvrtc {
        run(&mut cargo(NVRTC))?;
    }
    if options.mpi {
        run(&mut mpi_tests()?)?;
    }
    Ok(())
}

/// `cargo test` of the ranks, whose libraries it builds first.
fn mpi_tests() -> Result<Command, String> {
    mpi::TESTED.into_iter().try_for_each(mpi::build)?;
    let mut tests = cargo(MPI);
    tests.env("DIN_TEST_MPI", mpi::folder());
    Ok(tests)
}

/// Kills ranks at random moments.
pub fn soak(kills: u32) -> Outcome {
    run(mpi_tests()?.args(["kills::", "--nocapture"]).env("DIN_TEST_KILLS", kills.to_string()))
}

pub fn bless(options: &BlessOptions) -> Outcome {
    let blessed = |arguments: &[&str]| run(cargo(arguments).env("DIN_BLESS", "1"));
    blessed(&["test", "--locked", "--workspace", "--test", "ui"])?;
    blessed(&["test", "--locked", "--workspace", "--test", "codes", "every_code"])?;
    blessed(&["test", "--locked", "--workspace", "--test", "cuda", "snapshots::"])?;
    if options.nvrtc {
        blessed(&NVRTC)?;
    }
    println!("read the difference before you commit it: git diff");
    Ok(())
}
