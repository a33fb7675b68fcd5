//! What only GPUs and runs of several ranks need.

use super::machine::program;
use super::{Checkup, Health};
use din_runtime::comm;
use din_runtime::exec::cuda::{DeviceError, Gpu, Nvrtc};
use std::fs;
use std::path::Path;

const WITHOUT_GPU: &str = "no --device cuda; everything else works";

pub(super) fn driver() -> Checkup {
    let name = "GPU";
    let (major, minor) = match Gpu::cuda_version() {
        Ok(version) => version,
        Err(error) => return refused(name, &error),
    };
    // Such as `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  …`.
    let kernel_module = fs::read_to_string("/proc/driver/nvidia/version").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("NVRM version:"))?.to_string();
        line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(String::from)
    });
    let driver = match kernel_module {
        Some(version) => format!("driver {version} for CUDA {major}.{minor}"),
        None => format!("driver for CUDA {major}.{minor}"),
    };
    let mut gpus = Vec::new();
    for number in 0.. {
        match Gpu::probe(number) {
            Ok((name, architecture)) => gpus.push(format!("{number}: {name} (sm_{architecture})")),
            Err(DeviceError::NoDevice { .. }) if number > 0 => break,
            Err(error) => return refused(name, &error),
        }
    }
    let found = format!("{driver}; {}", gpus.join(", "));
    match major < 12 {
        true => {
            let help = "install a driver of version 525 or later";
            Checkup::poor(name, Health::Absent, found, format!("too old: {WITHOUT_GPU}"), help)
        }
        false => Checkup::good(name, found),
    }
}

pub(super) fn nvrtc() -> Checkup {
    let name = "NVRTC";
    match Nvrtc::load() {
        Ok(nvrtc) => {
            let (major, minor) = nvrtc.version();
            Checkup::good(name, format!("{major}.{minor}"))
        }
        Err(error) => {
            let (found, help) = parts(&error.to_string());
            let effect = "no --device cuda, `build --cuda`, `emit --stage ptx`; built executables need none";
            Checkup::poor(name, Health::Absent, found, effect, help)
        }
    }
}

/// The library through which ranks call MPI.
pub(super) fn mpi(option: Option<&Path>) -> Checkup {
    match comm::find_mpi(option) {
        Ok(mpi) => Checkup::good("MPI", format!("{}: {}", mpi.path.display(), mpi.description)),
        Err(error) => {
            let (found, help) = parts(&error.message);
            // What follows are the places where it was looked for.
            let found = found.split_once(": ").map_or(found.clone(), |(found, _)| found.to_string());
            let effect = "no runs of several ranks; everything else works";
            Checkup::poor("MPI", Health::Absent, found, effect, help)
        }
    }
}

pub(super) fn launcher() -> Checkup {
    let found: Vec<String> =
        ["mpirun", "srun"].iter().filter_map(|name| program(name)).map(|path| path.display().to_string()).collect();
    match found.is_empty() {
        false => Checkup::good("launcher", found.join(", ")),
        true => {
            let effect = "nothing here starts several ranks";
            let help = "install openmpi-bin or mpich, or use Slurm's srun";
            Checkup::poor("launcher", Health::Absent, "neither mpirun nor srun on PATH", effect, help)
        }
    }
}

fn refused(name: &'static str, error: &DeviceError) -> Checkup {
    let (found, help) = parts(&error.to_string());
    Checkup::poor(name, Health::Absent, found, WITHOUT_GPU, help)
}

/// A message, in one line, and its help.
fn parts(message: &str) -> (String, String) {
    let (found, help) = message.split_once("\n  help: ").unwrap_or((message, "see the message"));
    let lines: Vec<&str> = found.lines().map(str::trim).collect();
    (lines.join(" "), help.replace('\n', " "))
}
