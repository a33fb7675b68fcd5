//! Whether this process is one of several that a launcher has started, read from the environment
//! that launchers set.

use crate::{Error, Result};
use std::fmt;

/// Who started the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Launcher {
    /// `mpirun` of Open MPI, also as the Kubeflow operator runs it.
    OpenMpi,
    /// `mpirun` of MPICH or of a library made from it (Hydra).
    Mpich,
    /// `srun`.
    Slurm,
    /// Another launcher that speaks PMIx.
    Pmix,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenMpi => "Open MPI's mpirun",
            Self::Mpich => "MPICH's mpirun",
            Self::Slurm => "srun",
            Self::Pmix => "a launcher that speaks PMIx",
        })
    }
}

/// What a launcher says of the processes that it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RankLaunch {
    pub launcher: Launcher,
    /// This process among them.
    pub rank: usize,
    /// Their number, where the launcher tells.
    pub size: Option<usize>,
}

/// Reads variables, by the function that gives the value of one. Nothing where no launcher has set
/// any: this process runs by itself.
pub(super) fn detect(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<RankLaunch>> {
    let number = |name: &str| match variable(name) {
        None => Ok(None),
        Some(text) => match text.trim().parse::<usize>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::input(format!("environment variable {name}: expected a number, found `{text}`"))
                .help("it is set by launchers such as mpirun; unset it to run as a single process")),
        },
    };
    // A batch script of Slurm has the variables of its allocation, but only a step of `srun` has
    // this one. `mpirun` starts its helpers by `srun`: so its own variables are looked at first.
    let step = variable("SLURM_STEP_ID").is_some();
    let step_size = if step { number("SLURM_STEP_NUM_TASKS")? } else { None };
    let hydra = variable("HYDI_CONTROL_FD").is_some();
    let by_pmi = if step && !hydra { Launcher::Slurm } else { Launcher::Mpich };
    let by_pmix = if step { Launcher::Slurm } else { Launcher::Pmix };
    let found = [
        (Launcher::OpenMpi, number("OMPI_COMM_WORLD_RANK")?, number("OMPI_COMM_WORLD_SIZE")?),
        (by_pmi, number("PMI_RANK")?, number("PMI_SIZE")?),
        (by_pmix, number("PMIX_RANK")?, step_size),
        (Launcher::Slurm, if step { number("SLURM_PROCID")? } else { None }, step_size),
    ];
    let launch = found.into_iter().find_map(|(launcher, rank, size)| Some(RankLaunch { launcher, rank: rank?, size }));
    match launch {
        Some(RankLaunch { launcher, rank, size: Some(size) }) if rank >= size => {
            let why = format!("{launcher} says that this process is rank {rank} of {size}, which cannot be");
            Err(Error::input(why).help("unset the variables of the launcher to run as a single process"))
        }
        launch => Ok(launch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(environment: &[(&str, &str)]) -> Result<Option<RankLaunch>> {
        detect(&|name| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn launchers_are_known_by_what_they_set() {
        let slurm = [("SLURM_STEP_ID", "0"), ("SLURM_PROCID", "5"), ("SLURM_STEP_NUM_TASKS", "8")];
        let with = |more: &[(&'static str, &'static str)]| [&slurm[..], more].concat();
        let launch = |launcher, rank, size| Some(RankLaunch { launcher, rank, size });
        for (environment, expected) in [
            (vec![], None),
            (
                vec![("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "4"), ("PMIX_RANK", "1")],
                launch(Launcher::OpenMpi, 1, Some(4)),
            ),
            (vec![("PMI_RANK", "0"), ("PMI_SIZE", "2"), ("HYDI_CONTROL_FD", "7")], launch(Launcher::Mpich, 0, Some(2))),
            (slurm.to_vec(), launch(Launcher::Slurm, 5, Some(8))),
            (with(&[("PMIX_RANK", "5")]), launch(Launcher::Slurm, 5, Some(8))),
            (with(&[("PMI_RANK", "5"), ("PMI_SIZE", "8")]), launch(Launcher::Slurm, 5, Some(8))),
            // Within a step of its own, mpirun's ranks are the ones that count.
            (
                with(&[("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "2")]),
                launch(Launcher::OpenMpi, 1, Some(2)),
            ),
            (
                with(&[("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("HYDI_CONTROL_FD", "7")]),
                launch(Launcher::Mpich, 1, Some(2)),
            ),
            (vec![("PMIX_RANK", "3")], launch(Launcher::Pmix, 3, None)),
            // A batch script, which is no step: `din` in it is one process.
            (vec![("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4"), ("SLURM_JOB_ID", "9")], None),
        ] {
            assert_eq!(detected(&environment).unwrap(), expected, "{environment:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_that_names_it() {
        let error = detected(&[("PMI_RANK", "x"), ("PMI_SIZE", "2")]).unwrap_err();
        assert!(error.message.starts_with("environment variable PMI_RANK: expected a number, found `x`"), "{error}");
        let error = detected(&[("OMPI_COMM_WORLD_RANK", "4"), ("OMPI_COMM_WORLD_SIZE", "4")]).unwrap_err();
        assert!(error.message.contains("rank 4 of 4"), "{error}");
    }
}
