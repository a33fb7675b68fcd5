//! Arguments of `doctor`.

use clap::Args;
use std::path::PathBuf;

pub const DOCTOR_EXAMPLES: &str = "Example:\n  din doctor\n  din doctor --folder /data/runs --format json\n\n\
                                   Exit codes: 0 din works here, whatever else is missing; 3 it does not.";

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Where runs are to be written: its file system is tried
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// The library for MPI [default: searched as `train` does]
    #[arg(long, value_name = "FILE")]
    pub mpi_library: Option<PathBuf>,
}
