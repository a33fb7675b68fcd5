//! The shim as a driver of the runtime's engine: device memory on the host, every access of a
//! kernel checked, and every transfer too.

use super::Device;
use din_runtime::exec::cuda::{
    ASYNC_READ_BYTES, ASYNC_READS, Command, DeviceArray, DeviceError, DevicePtr, Driver, KernelLaunch, TimedLaunch,
};
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A device with memory of its own. Several may share a compiled source, on one thread.
#[derive(Debug)]
pub struct Shim<'d> {
    device: &'d Device,
    /// Bytes by address.
    blocks: BTreeMap<DevicePtr, usize>,
    /// Orders of threads and blocks are drawn from it.
    seed: u64,
    /// Allocations and launches so far.
    pub allocations: usize,
    pub launches: u64,
    /// The last list as text, without the arrays that it declared.
    pub list: String,
    /// The launch that fails, counted from 1, and the bytes of which an allocation fails: 0 and all
    /// bits in the beginning.
    pub failing: Cell<u64>,
    pub refused: Cell<usize>,
    /// Whether it launches nothing, and reads zeros.
    pub idle: Cell<bool>,
    /// Bytes that were fetched and not given yet.
    fetches: VecDeque<Vec<u8>>,
    /// What was lent.
    lent: Vec<u32>,
    /// What its clock says, since measuring began: a block takes a microsecond.
    clock: Duration,
    timed: Option<Vec<TimedLaunch>>,
}

/// What the shim says that it is.
pub const ARCHITECTURE: u32 = 80;

/// As the trait promises.
const ALIGN: usize = 256;

impl<'d> Shim<'d> {
    pub fn new(device: &'d Device, seed: u64) -> Shim<'d> {
        Shim {
            device,
            blocks: BTreeMap::new(),
            seed,
            allocations: 0,
            launches: 0,
            list: String::new(),
            failing: Cell::new(0),
            refused: Cell::new(usize::MAX),
            idle: Cell::new(false),
            fetches: VecDeque::new(),
            lent: Vec::new(),
            clock: Duration::ZERO,
            timed: None,
        }
    }

    fn layout(bytes: usize) -> Result<Layout, String> {
        Layout::from_size_align(bytes.max(1), ALIGN).map_err(|e| e.to_string())
    }

    /// That a range lies in one block.
    fn within(&self, call: &'static str, at: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        let block = self.blocks.range(..=at).next_back();
        match block.is_some_and(|(base, size)| at - base + bytes as u64 <= *size as u64) {
            true => Ok(()),
            false => Err(DeviceError::Call { call, why: format!("{bytes} bytes at {at:#x} are in no block") }),
        }
    }

    fn written(&self, call: &'static str, at: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        match self.device.unwritten_at(at, bytes) {
            0 => Ok(()),
            n => Err(DeviceError::Call { call, why: format!("{n} of {} numbers are not written", bytes / 4) }),
        }
    }
}

impl Driver for Shim<'_> {
    const CHECKS: bool = true;

    fn architecture(&self) -> u32 {
        ARCHITECTURE
    }

    fn allocate(&mut self, bytes: usize, what: &'static str) -> Result<DevicePtr, DeviceError> {
        let refused = DeviceError::Memory { bytes, what };
        let layout = Self::layout(bytes).ok().filter(|_| bytes < self.refused.get()).ok_or(refused)?;
        // SAFETY: the layout has a size.
        let at = unsafe { alloc(layout) };
        if at.is_null() {
            return Err(DeviceError::Memory { bytes, what });
        }
        // SAFETY: so many bytes were just allocated. They are no numbers, for whatever reads them
        // unwritten.
        unsafe { std::ptr::write_bytes(at, 0xff, layout.size()) };
        self.blocks.insert(at as u64, bytes);
        self.allocations += 1;
        Ok(at as u64)
    }

    fn free(&mut self, at: DevicePtr) {
        if let Some((bytes, layout)) = self.blocks.remove(&at).and_then(|b| Some((b, Self::layout(b).ok()?))) {
            self.device.forget(at, bytes.max(1));
            // SAFETY: allocated with this layout, and known to nobody any more.
            unsafe { dealloc(at as *mut u8, layout) };
        }
    }

    fn write(&mut self, to: DevicePtr, bytes: &[u8]) -> Result<(), DeviceError> {
        self.within("write", to, bytes.len())?;
        // SAFETY: within a block; no launch is running.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn staging_buffer(&mut self, bytes: usize) -> Result<&mut [u32], DeviceError> {
        // No numbers, for whatever is sent unwritten.
        self.lent.clear();
        self.lent.resize(bytes.div_ceil(4), u32::MAX);
        Ok(&mut self.lent)
    }

    fn upload(&mut self, to: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        self.within("send", to, bytes)?;
        if bytes > self.lent.len() * 4 {
            return Err(DeviceError::Call { call: "send", why: format!("{bytes} bytes were not lent") });
        }
        // SAFETY: within a block, and of so many bytes; no launch is running.
        unsafe { std::ptr::copy_nonoverlapping(self.lent.as_ptr().cast(), to as *mut u8, bytes) };
        Ok(())
    }

    fn read(&mut self, from: DevicePtr, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.within("read", from, bytes.len())?;
        if self.idle.get() {
            bytes.fill(0);
            return Ok(());
        }
        self.written("read", from, bytes.len())?;
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn read_async(&mut self, from: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        if bytes > ASYNC_READ_BYTES || self.fetches.len() == ASYNC_READS {
            return Err(DeviceError::Call { call: "fetch", why: "too much".into() });
        }
        let mut fetched = vec![0; bytes];
        self.read(from, &mut fetched)?;
        self.fetches.push_back(fetched);
        Ok(())
    }

    fn finish_read(&mut self, bytes: &mut [u8]) -> Result<(), DeviceError> {
        match self.fetches.pop_front() {
            Some(fetched) if fetched.len() == bytes.len() => {
                bytes.copy_from_slice(&fetched);
                Ok(())
            }
            other => Err(DeviceError::Call { call: "fetched", why: format!("{other:?}") }),
        }
    }

    fn copy(&mut self, from: DevicePtr, to: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        self.within("copy from", from, bytes)?;
        self.within("copy to", to, bytes)?;
        if self.idle.get() {
            return Ok(());
        }
        self.written("copy", from, bytes)?;
        // SAFETY: as above, and the caller's ranges are apart.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn launch(&mut self, launch: &KernelLaunch<'_>) -> Result<(), DeviceError> {
        self.launches += 1;
        let arguments = (launch.pointers as *const u64, launch.scalars as *const u32, launch.scratch as *mut f32);
        self.within("launch", launch.pointers, 0)?;
        self.within("launch", launch.scalars, 0)?;
        if let Some(timed) = &mut self.timed {
            let length = Duration::from_micros(u64::from(launch.grid.0) * u64::from(launch.grid.1));
            let (kernel, location) = (launch.kernel.to_string(), launch.location.to_string());
            timed.push(TimedLaunch { kernel, location, begin: self.clock, length });
            self.clock += length;
        }
        if self.idle.get() {
            return Ok(());
        }
        let seed = self.seed ^ self.launches.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let result = match self.launches == self.failing.get() {
            true => Err("it was told to fail".into()),
            // SAFETY: the engine staged them for this kernel; what they lead to is checked by the
            // shim.
            false => unsafe {
                self.device.launch_at(launch.kernel, launch.grid, launch.threads, launch.shared, arguments, seed)
            },
        };
        result.map_err(|why| DeviceError::Launch {
            kernel: launch.kernel.into(),
            location: launch.location.into(),
            why,
        })
    }

    fn run(&mut self, commands: &[Command<'_>]) -> Result<(), DeviceError> {
        self.list.clear();
        for command in commands {
            match command {
                Command::Launch(launch) => self.launch(launch)?,
                Command::Copy { from, to, bytes, .. } => self.copy(*from, *to, *bytes)?,
                Command::Join => {}
                Command::Arrays { block, bytes, arrays } => {
                    self.declare_arrays(*block, *bytes, arrays);
                    continue;
                }
            }
            self.list += &format!("{command:?}\n");
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn set_timing(&mut self, on: bool) -> Result<(), DeviceError> {
        self.clock = Duration::ZERO;
        self.timed = on.then(Vec::new);
        Ok(())
    }

    fn timed_launches(&mut self) -> Result<Vec<TimedLaunch>, DeviceError> {
        Ok(self.timed.as_mut().map(std::mem::take).unwrap_or_default())
    }

    fn declare_arrays(&mut self, block: DevicePtr, bytes: usize, arrays: &[DeviceArray]) {
        self.device.forget(block, bytes.max(1));
        for a in arrays {
            // SAFETY: parts of a block, which is forgotten before it is freed.
            unsafe { self.device.buffer_at(a.what, a.at, a.bytes, a.written) };
        }
    }
}

impl Drop for Shim<'_> {
    fn drop(&mut self) {
        for at in self.blocks.keys().copied().collect::<Vec<_>>() {
            self.free(at);
        }
    }
}
