//! Tasks of development that take more than one command: `cargo xtask --help` lists them.
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod check;
mod command;
mod experiments;
mod licenses;
mod mpi;
mod nightly;
mod pictures;
mod release;
mod test;

use arguments::{Arguments, Task};
use clap::Parser;
use command::Outcome;
use std::process::ExitCode;

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Outcome {
    match task {
        Task::Check => check::check(),
        Task::Test(options) => test::test(&options),
        Task::Bless(options) => test::bless(&options),
        Task::Bench { options } => bench::bench(&options),
        Task::Mpi { mpicc } => mpi::build(&mpicc),
        Task::Soak { kills } => test::soak(kills),
        Task::Doc { open } => check::doc(open),
        Task::Pictures => pictures::pictures(),
        Task::Experiments(options) => experiments::experiments(&options),
        Task::Release { version } => release::release(&version),
        Task::Fuzz(options) => nightly::fuzz(&options),
        Task::Miri { arguments } => nightly::miri(&arguments),
    }
}
