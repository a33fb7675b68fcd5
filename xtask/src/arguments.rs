//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt;
use std::num::ParseIntError;
use std::path::PathBuf;
use std::str::FromStr;

/// Tasks of development
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub task: Task,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Check formatting, lints, documentation, licences and every spec that the repository ships
    Check,
    /// Run all tests of the workspace
    Test(TestOptions),
    /// Write the expected diagnostics and the snapshots of generated CUDA anew; read the difference
    Bless(BlessOptions),
    /// Compare training steps with those of other libraries
    ///
    /// The options are those of bench/suite.py: `cargo xtask bench --help` lists them. The first
    /// run installs the other libraries from PyPI below target/.
    #[command(disable_help_flag = true)]
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Build the library through which `din` calls MPI, target/mpi/openmpi or target/mpi/mpich
    ///
    /// Needs the development files of an MPI library, and libclang.
    Mpi {
        /// The compiler of the MPI library to build for
        #[arg(long, default_value = "mpicc")]
        mpicc: String,
    },
    /// Kill ranks that train at random moments, and compare what the run comes to
    ///
    /// Needs what `cargo xtask test --mpi` needs.
    Soak {
        /// How often
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        kills: u32,
    },
    /// Build the documentation of the workspace's crates; a warning is an error
    Doc {
        /// Show it in a browser
        #[arg(long)]
        open: bool,
    },
    /// Draw the pictures of models in docs/gallery.md anew
    Pictures,
    /// Train the models of the paper's Table 3 and Figures 6 and 7, and write experiments/results
    Experiments(ExperimentOptions),
    /// Check that a version is ready to be released, and tag it
    Release {
        /// Such as 0.1.0
        version: Version,
    },
    /// Fuzz one target, or each for a minute (needs nightly Rust and cargo-fuzz)
    Fuzz(FuzzOptions),
    /// Run the tests of the unsafe code in Miri (needs nightly Rust with Miri)
    Miri {
        /// Passed to the test binary in place of the default filters
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

/// What to train.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct ExperimentOptions {
    /// Data sets: kuairand, movietweetings, synth [default: those at hand]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = ["kuairand", "movietweetings", "synth"])]
    pub sets: Vec<String>,
    /// A folder with train.parquet, valid.parquet and test.parquet of each data set in a folder of
    /// its name [default: the synthetic log alone]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Trials of each search; 0 leaves out what needs one: Table 3 and Figure 7
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub trials: u32,
    /// Seeds of each row of Table 3
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub seeds: u32,
    /// The `din` to run [default: a release build, made first]
    #[arg(long, value_name = "FILE")]
    pub din: Option<PathBuf>,
    /// Runs at a time [default: one for each core]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct TestOptions {
    /// Also run the tests that compile CUDA with NVRTC (DIN_NVRTC may name its library)
    #[arg(long)]
    pub nvrtc: bool,
    /// Also run the tests that start ranks by mpirun; needs Open MPI, MPICH and libclang
    #[arg(long)]
    pub mpi: bool,
    /// Passed to `cargo test`
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Args)]
pub struct BlessOptions {
    /// Also write the table of the GPU resources that each kernel takes; needs NVRTC
    #[arg(long)]
    pub nvrtc: bool,
}

#[derive(Debug, PartialEq, Eq, Args)]
pub struct FuzzOptions {
    /// What to fuzz; without it, every target for a minute
    #[arg(value_enum)]
    pub target: Option<FuzzTarget>,
    /// Passed to libFuzzer, such as -max_total_time=60
    #[arg(last = true)]
    pub arguments: Vec<String>,
}

/// A fuzz target: a function of `tests/src/fuzz`, and a binary of `fuzz/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FuzzTarget {
    /// Parses and renders the diagnostics
    Parser,
    /// Checks a spec
    Checker,
    /// Formats twice
    Formatter,
    /// Decodes and validates a program
    Program,
    /// Reads the program that is appended to an executable
    Bundle,
    /// Reads a CSV file
    Csv,
    /// Reads a Parquet file
    Parquet,
}

impl FuzzTarget {
    /// As the command line, the folder of its corpus and its binary name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Checker => "checker",
            Self::Formatter => "formatter",
            Self::Program => "program",
            Self::Bundle => "bundle",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u32>, ParseIntError> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            // What reads as a number in another way, such as `01` or `+1`, is not how a version is
            // written.
            Ok(&[major, minor, patch]) if Version(major, minor, patch).to_string() == text => {
                Ok(Version(major, minor, patch))
            }
            Ok(_) | Err(_) => Err("expected MAJOR.MINOR.PATCH, such as 0.1.0".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::path::Path;

    fn parse(line: &str) -> Result<Task, clap::Error> {
        let words = std::iter::once("cargo xtask").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.task)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn tasks_without_options_are_parsed() {
        assert_eq!(parse("check").unwrap(), Task::Check);
        assert_eq!(parse("test").unwrap(), Task::Test(TestOptions::default()));
        assert_eq!(parse("bless").unwrap(), Task::Bless(BlessOptions::default()));
        assert_eq!(parse("doc").unwrap(), Task::Doc { open: false });
        assert_eq!(parse("pictures").unwrap(), Task::Pictures);
        assert_eq!(parse("miri").unwrap(), Task::Miri { arguments: vec![] });
    }

    #[test]
    fn options_are_parsed() {
        let arguments = vec!["-p".to_string(), "din-grammar".to_string()];
        assert_eq!(
            parse("test --nvrtc -- -p din-grammar").unwrap(),
            Task::Test(TestOptions { nvrtc: true, mpi: false, arguments })
        );
        assert_eq!(parse("test --mpi").unwrap(), Task::Test(TestOptions { mpi: true, ..TestOptions::default() }));
        for (line, mpicc) in [("mpi", "mpicc"), ("mpi --mpicc mpicc.mpich", "mpicc.mpich")] {
            assert_eq!(parse(line).unwrap(), Task::Mpi { mpicc: mpicc.into() });
        }
        for (line, kills) in [("soak", 50), ("soak --kills 3", 3)] {
            assert_eq!(parse(line).unwrap(), Task::Soak { kills });
        }
        assert_eq!(parse("bless --nvrtc").unwrap(), Task::Bless(BlessOptions { nvrtc: true }));
        assert_eq!(parse("doc --open").unwrap(), Task::Doc { open: true });
        assert_eq!(parse("fuzz").unwrap(), Task::Fuzz(FuzzOptions { target: None, arguments: vec![] }));
        assert_eq!(parse("release 0.1.0").unwrap(), Task::Release { version: Version(0, 1, 0) });
    }

    #[test]
    fn bench_passes_every_option_on_help_included() {
        let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
        for options in ["", "--help", "--seconds 3 --only din", "-h"] {
            assert_eq!(parse(&format!("bench {options}")).unwrap(), Task::Bench { options: words(options) });
        }
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "",
            "chekc",
            "check --fast",
            "test din",
            "release",
            "fuzz nothing",
            "fuzz csv 3",
            "doc now",
            "soak --kills 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn only_versions_are_versions() {
        for wrong in ["0.1", "0.1.0.0", "v0.1.0", "0.01.0", "+0.1.0", "0.1.x", "0.1.-1", "", "0.1.99999999999"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
            assert!(parse(&format!("release {wrong}")).is_err(), "{wrong}");
        }
        assert_eq!("12.0.3".parse(), Ok(Version(12, 0, 3)));
    }

    #[test]
    fn every_fuzz_target_is_parsed_by_its_name_and_has_a_binary_and_a_corpus() {
        let root = crate::command::root();
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        for target in FuzzTarget::value_variants() {
            let name = target.name();
            let options = FuzzOptions { target: Some(*target), arguments: vec!["-runs=1".into()] };
            assert_eq!(parse(&format!("fuzz {name} -- -runs=1")).unwrap(), Task::Fuzz(options));
            let source = format!("fuzz_targets/{name}.rs");
            assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"{source}\"\n")), "{name}");
            for path in [Path::new("fuzz").join(source), Path::new("tests/corpus").join(name)] {
                assert!(root.join(&path).exists(), "{}", path.display());
            }
        }
        let binaries = manifest.matches("[[bin]]").count();
        assert_eq!(binaries, FuzzTarget::value_variants().len());
    }
}
