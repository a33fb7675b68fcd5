//! Starting ranks.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The command whose ranks most tests start.
pub const DIN: &str = env!("CARGO_BIN_EXE_din");

/// An MPI library that is tested.
#[derive(Clone, Copy, Debug)]
pub enum Mpi {
    Open,
    Mpich,
}

impl Mpi {
    pub const BOTH: [Mpi; 2] = [Mpi::Open, Mpi::Mpich];

    pub fn other(self) -> Mpi {
        match self {
            Mpi::Open => Mpi::Mpich,
            Mpi::Mpich => Mpi::Open,
        }
    }

    /// The library that was built for it.
    pub fn library(self) -> PathBuf {
        let built = std::env::var_os("DIN_TEST_MPI").expect("`cargo xtask test --mpi` runs these tests");
        let name = match self {
            Mpi::Open => "openmpi",
            Mpi::Mpich => "mpich",
        };
        PathBuf::from(built).join(name).join("libdin_mpi.so")
    }

    /// `mpirun` with a number of ranks.
    pub fn run(self, ranks: usize) -> Command {
        let mut command;
        match self {
            Mpi::Open => {
                command = Command::new("mpirun.openmpi");
                command.args(["--oversubscribe", "--allow-run-as-root"]);
            }
            Mpi::Mpich => command = Command::new("mpirun.mpich"),
        }
        command.args(["-n", &ranks.to_string()]).env("DIN_MPI_LIBRARY", self.library());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The variable by which the launcher tells a rank its number.
    pub fn rank_variable(self) -> &'static str {
        match self {
            Mpi::Open => "OMPI_COMM_WORLD_RANK",
            Mpi::Mpich => "PMI_RANK",
        }
    }

    /// Ranks that play a role of [`crate::role`].
    pub fn play(self, ranks: usize, role: &str) -> Command {
        let mut command = self.run(ranks);
        command.arg(std::env::current_exe().unwrap());
        command.args(["role::a_rank", "--exact", "--nocapture"]).env("DIN_TEST_ROLE", role);
        command
    }
}

/// What a run of ranks came to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Ended {
    /// Waits for a run.
    pub fn of(child: Child) -> Ended {
        let begin = Instant::now();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: status.code(), out: text(&stdout), err: text(&stderr), took: begin.elapsed() }
    }

    /// The lines of our own that say why the run ended.
    pub fn errors(&self) -> Vec<&str> {
        self.err.lines().filter(|line| line.starts_with("error: ")).collect()
    }

    /// The lines of our own that warn.
    pub fn warnings(&self) -> Vec<&str> {
        self.err.lines().filter(|line| line.starts_with("warning: ")).collect()
    }
}

/// Sends a signal to a process.
pub fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// The name by which errors call this machine.
pub fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_string()
}

/// Runs ranks to their end.
pub fn ended(command: &mut Command) -> Ended {
    Ended::of(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
}
