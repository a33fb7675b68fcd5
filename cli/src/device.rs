//! Where steps run: what was asked for, what the machine has, and the kernels for it.

use crate::args::DeviceArgs;
use crate::failure::Failure;
use crate::terminal::Console;
use din_compiler::{Compiled, codegen};
use din_program::cuda::Precision;
use din_runtime::bundle::GpuKernels;
use din_runtime::comm::{Communicator, any_rank};
use din_runtime::exec::Backend;
use din_runtime::exec::cuda::{CudaTarget, DeviceError, Gpu, ImageCache, Nvrtc};
use din_runtime::run_dir::{OpenedRun, RunRecord};
use din_runtime::session::Device;
use std::sync::Arc;

/// Where steps run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceArg {
    Cpu,
    /// [`DeviceArg::OwnGpu`] where there are GPUs, else the CPU.
    Auto,
    /// The GPU whose number is that of the rank among those of its machine: the first on one rank.
    OwnGpu,
    Cuda(u32),
}

impl std::fmt::Display for DeviceArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Auto => write!(f, "auto"),
            Self::OwnGpu => write!(f, "cuda"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// `cpu`, `auto`, `cuda:1`, or `cuda` for a rank's own.
pub fn parse(text: &str) -> Result<DeviceArg, String> {
    match (text, text.strip_prefix("cuda:").map(str::parse)) {
        ("cpu", _) => Ok(DeviceArg::Cpu),
        ("auto", _) => Ok(DeviceArg::Auto),
        ("cuda", _) => Ok(DeviceArg::OwnGpu),
        (_, Some(Ok(number))) => Ok(DeviceArg::Cuda(number)),
        _ => Err("expected cpu, auto, cuda, or cuda: and a number, such as cuda:0".into()),
    }
}

/// A number of bytes, with K, M, G or T, or KiB and so on, for powers of 1024.
pub fn bytes(text: &str) -> Result<usize, String> {
    let text = text.strip_suffix("iB").filter(|text| text.ends_with(char::is_alphabetic)).unwrap_or(text);
    let (digits, scale) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        Some(b'T') => (&text[..text.len() - 1], 1 << 40),
        _ => (text, 1usize),
    };
    let number = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(scale));
    number.ok_or_else(|| "expected a number of bytes, such as 500M or 20G".into())
}

/// A GPU that is there.
pub struct ProbedGpu {
    pub name: String,
    /// Such as 90 for sm_90.
    pub architecture: u32,
}

/// What was asked for, with the kernels that `kernels` gives for it. `auto` is the CPU only where
/// there is no driver or no GPU, on every rank; `table_memory` is the GPU memory that tables may
/// use. Every rank calls it.
pub fn choose(
    console: &Console,
    asked: DeviceArg,
    table_memory: Option<usize>,
    ranks: &dyn Communicator,
    kernels: impl FnOnce(&ProbedGpu) -> Result<GpuKernels, Failure>,
) -> Result<Device, Failure> {
    let (place, beside) = place_on_host(ranks.rank(), (0..ranks.size()).map(|rank| ranks.host(rank)));
    let (number, by_rank) = match asked {
        DeviceArg::Cpu => return Ok(Device::Cpu),
        DeviceArg::Auto | DeviceArg::OwnGpu => (place as u32, true),
        DeviceArg::Cuda(number) => (number, false),
    };
    let probed = Gpu::probe(number);
    let absent = matches!(probed, Err(DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. }));
    let any_gpu = match asked {
        DeviceArg::Auto => any_rank(ranks, !absent)?,
        DeviceArg::OwnGpu | DeviceArg::Cuda(_) | DeviceArg::Cpu => true,
    };
    let gpu = match probed {
        Ok((name, architecture)) => ProbedGpu { name, architecture },
        Err(error) if absent && !any_gpu => {
            let text = error.to_string();
            console.remark(format!("on the CPU: {}", text.lines().next().expect("the error has a text")));
            return Ok(Device::Cpu);
        }
        Err(DeviceError::NoDevice { found, .. }) if by_rank && beside > 1 && found > 0 => {
            return Err(Failure::system_error(format!(
                "{beside} ranks run on {}, which has GPUs for {found} of them\n  help: start at most {found} there; or, \
                 where the launcher shows each rank a GPU of its own, pass --device cuda:0; or pass --device cpu",
                ranks.host(ranks.rank())
            )));
        }
        Err(error) if absent && asked == DeviceArg::Auto => {
            let text = error.to_string();
            return Err(Failure::system_error(format!(
                "{}, while other ranks have a GPU\n  help: pass --device cpu, or start ranks on machines with GPUs alone",
                text.lines().next().expect("the error has a text")
            )));
        }
        Err(error) => return Err(Failure::system_error(error.to_string())),
    };
    let GpuKernels { launches, images } = kernels(&gpu)?;
    match ranks.size() {
        1 => console.remark(format!("on GPU {number}, {}", gpu.name)),
        ranks => {
            console.remark(format!("on a GPU of each of {ranks} ranks; the first's is GPU {number}, {}", gpu.name))
        }
    }
    Ok(Device::Cuda { number, launches: Arc::new(launches), images, table_memory, by_rank })
}

/// The number of a rank among those of its machine, from 0, and how many these are; `hosts` names
/// the machine of each rank.
fn place_on_host(rank: usize, hosts: impl Iterator<Item = String>) -> (usize, usize) {
    let hosts: Vec<String> = hosts.collect();
    let beside = |other: &usize| hosts[*other] == hosts[rank];
    ((0..rank).filter(beside).count(), (0..hosts.len()).filter(beside).count())
}

/// The kernels of a compiled program for a GPU, by NVRTC or from what it has compiled before.
pub fn compiled(compiled: &Compiled, precision: Precision, gpu: &ProbedGpu) -> Result<GpuKernels, Failure> {
    images(compiled, precision, &[CudaTarget::Cubin(gpu.architecture)])
}

/// The kernels that an executable carries.
pub fn carried(kernels: Option<&GpuKernels>, gpu: &ProbedGpu) -> Result<GpuKernels, Failure> {
    kernels.cloned().ok_or_else(|| {
        let (device, architecture) = (gpu.name.clone(), gpu.architecture);
        Failure::system_error(DeviceError::NoImage { device, architecture, images: vec![] }.to_string())
    })
}

/// The CUDA form of a program with an image for each target, some compiled side by side.
pub fn images(compiled: &Compiled, precision: Precision, targets: &[CudaTarget]) -> Result<GpuKernels, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::system_error(e.to_string());
    let options = codegen::cuda::CodegenOptions { precision, ..Default::default() };
    let made = codegen::cuda::program(&compiled.program, &compiled.kernels, &options).map_err(|e| failed(&e))?;
    let (nvrtc, cache) = (Nvrtc::load().map_err(|e| failed(&e))?, ImageCache::of_user());
    let file = format!("{}.cu", compiled.program.model);
    let mut images = Vec::with_capacity(targets.len());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    for some in targets.chunks(threads) {
        let one = |target| cache.compile(&nvrtc, &made.source, &file, target);
        let found = std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|&target| scope.spawn(move || one(target))).collect();
            running.into_iter().map(|r| r.join()).collect::<Vec<_>>()
        });
        for image in found {
            let image = image.map_err(|_| Failure::system_error("a thread of the compiler failed"))?;
            images.push(image.map_err(|e| failed(&e))?);
        }
    }
    Ok(GpuKernels::new(made.launches, images))
}

/// Where steps are asked to run: by the option, else where the run to resume began, else on the
/// CPU.
pub fn requested(args: &DeviceArgs, resume: Option<&OpenedRun>) -> Result<DeviceArg, Failure> {
    match (args.device, resume) {
        (Some(device), _) => Ok(device),
        (None, None) => Ok(DeviceArg::Cpu),
        (None, Some(OpenedRun { directory, record })) => parse(&record.device).map_err(|why| {
            let file = directory.path().join("run.json");
            Failure::user_error(format!("{}: `device` is `{}`: {why}", file.display(), record.device))
        }),
    }
}

/// The precision of a run's products. On a GPU, what the CPU has trained is computed in f32.
pub fn precision(record: &RunRecord) -> Precision {
    match record.backend {
        Backend::Cpu(_) => Precision::F32,
        Backend::Cuda { precision, .. } => precision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes() {
        for (text, number) in [("7", 7), ("20K", 20 << 10), ("500M", 500 << 20), ("64GiB", 64 << 30), ("2TiB", 2 << 40)]
        {
            assert_eq!(bytes(text), Ok(number));
        }
        for wrong in ["", "G", "iB", "1.5G", "64GB", "-1K"] {
            assert!(bytes(wrong).is_err_and(|why| why.contains("500M")), "{wrong}");
        }
    }

    #[test]
    fn devices() {
        assert_eq!(parse("cpu"), Ok(DeviceArg::Cpu));
        assert_eq!(parse("cuda:3"), Ok(DeviceArg::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x"] {
            assert!(parse(wrong).is_err_and(|why| why.contains("cuda:0")), "{wrong}");
        }
        for each in [DeviceArg::Cpu, DeviceArg::Auto, DeviceArg::OwnGpu, DeviceArg::Cuda(2)] {
            assert_eq!(parse(&each.to_string()), Ok(each));
        }
    }

    #[test]
    fn ranks_are_numbered_on_their_machines() {
        let hosts = ["a", "a", "b", "a", "b", "c"];
        let place = |rank| place_on_host(rank, hosts.iter().map(ToString::to_string));
        assert_eq!((0..6).map(place).collect::<Vec<_>>(), [(0, 3), (1, 3), (0, 2), (2, 3), (1, 2), (0, 1)]);
    }
}
