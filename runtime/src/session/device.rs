//! Where the steps of a session run.

use crate::Result;
use crate::exec::Executor;
use crate::exec::cpu::CpuExecutor;
use crate::exec::cuda::{CudaExecutor, CudaImage, CudaOptions, Gpu};
use crate::threads::Threads;
use din_program::cuda::Cuda;
use din_program::{Isa, Program};
use std::fmt;
use std::sync::Arc;

/// How the CPU is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Default: all cores.
    pub threads: Option<usize>,
    /// Default: the best level that both the CPU and the program have.
    pub isa: Option<Isa>,
}

impl CpuOptions {
    pub fn thread_count(&self) -> usize {
        // Where the system does not say how many cores there are, one is certain.
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
    }

    /// The threads of a session.
    pub fn start_threads(&self) -> Result<Arc<Threads>> {
        Ok(Threads::new(self.thread_count())?)
    }
}

/// Where steps run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    #[default]
    Cpu,
    /// GPU `number`, with the program's CUDA form.
    Cuda {
        number: u32,
        launches: Arc<Cuda>,
        images: Vec<CudaImage>,
        /// Bytes for tables, where it is not what fits. Several ranks keep tables on the host.
        table_memory: Option<usize>,
        /// Whether the number is that of the rank among those of its machine; else it was asked
        /// for.
        by_rank: bool,
    },
}

impl Device {
    /// What runs the program's steps on the device.
    pub fn executor(
        &self,
        program: &Arc<Program>,
        options: &CpuOptions,
        threads: &Arc<Threads>,
    ) -> Result<Box<dyn Executor>> {
        let isa = crate::cpu::choose(options.isa)?;
        Ok(match self {
            Self::Cpu => Box::new(CpuExecutor::new(program.clone(), threads.clone(), isa)?),
            Self::Cuda { number, launches, images, table_memory, by_rank: _ } => {
                let gpu = Gpu::open(*number, images)?;
                let options = CudaOptions { table_memory: *table_memory, isa: Some(isa), ..CudaOptions::default() };
                Box::new(CudaExecutor::with(program.clone(), launches.clone(), gpu, options, threads.clone())?)
            }
        })
    }
}

/// As it is asked for.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda { by_rank: true, .. } => write!(f, "cuda"),
            Self::Cuda { number, by_rank: false, .. } => write!(f, "cuda:{number}"),
        }
    }
}
