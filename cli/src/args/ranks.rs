//! Arguments of the verbs that run on several ranks.

use clap::Args;
use std::path::PathBuf;

/// The ranks of a run that `mpirun` or another launcher has started.
#[derive(Clone, Debug, Args)]
pub struct RanksArgs {
    /// The library for MPI, which `cargo xtask mpi` builds [default: DIN_MPI_LIBRARY, or
    /// libdin_mpi.so beside the executable or in the system's folders]
    #[arg(long, value_name = "FILE", help_heading = "Distributed")]
    pub mpi_library: Option<PathBuf>,
    /// All ranks end with an error so many seconds after one has stopped to make progress
    #[arg(long, value_name = "SECONDS", default_value_t = 30, help_heading = "Distributed",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub rank_timeout: u64,
}
