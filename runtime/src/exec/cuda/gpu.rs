//! A GPU behind NVIDIA's driver: the device's primary context, one module, streams, and pinned
//! memory between host and device.
//!
//! Guarantees: a missing driver, GPU or fitting image is an error that says what to do; nothing
//! panics. A write returns when the host's bytes are in pinned memory, so the host prepares the
//! next step while the GPU works. The failure of a kernel is reported by the call that waits for
//! it. It names that kernel only if no other one was under way, which is always so if the
//! environment variable `DIN_CUDA_WAIT` is 1.
//!
//! A list of commands that comes again is captured and replayed (`graphs`). One that cannot be
//! captured is launched plainly from then on: the step is the same, only slower, and
//! [`Gpu::captures`] says how many there were and why.

mod capture;
mod detect;
mod pinned;
mod streams;

use super::CudaImage;
use super::driver::{
    ASYNC_READ_BYTES, ASYNC_READS, Command, DeviceError, DevicePtr, Driver, KernelLaunch, TimedLaunch, WAIT,
};
use super::graphs::{CaptureCounts, GraphNode, Graphs, NextAction};
use super::launch_timer::{LaunchTimer, record};
use super::library::{self, Api, CUcontext, CUdevice, CUfunction, CUmodule, CUstream, Failed};
use detect::{DetectedGpu, choose};
use pinned::{Pinned, Ring};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use streams::Streams;

/// Larger transfers go in parts, but for staging buffers.
const PART: usize = 16 << 20;
/// Writes of at most so many bytes, and how many of them may be under way: the new rows of a batch,
/// behind a step that runs.
const SMALL: usize = 1 << 20;
const SMALL_WRITES: usize = 32;
/// The help for an image that the driver refuses.
const OLD_DRIVER: &str = "what compiled the kernels may be newer than the driver: update the driver, or set DIN_NVRTC to a libnvrtc.so of its version";
/// Dynamic shared memory that needs no asking.
const SHARED: u32 = 48 << 10;

#[derive(Clone, Copy, Debug)]
struct Function {
    handle: CUfunction,
    /// Dynamic shared memory that it may have.
    shared: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Gpu {
    api: Api,
    device: CUdevice,
    name: String,
    architecture: u32,
    /// Most shared memory of a block.
    most_shared: u32,
    context: CUcontext,
    streams: Streams,
    module: CUmodule,
    functions: HashMap<String, Function>,
    /// Pinned buffers: for what is staged, read, or written in large parts; and for small writes.
    large: Ring,
    small: Ring,
    /// Which of the large ones is the staging buffer that was handed out.
    staging: Option<usize>,
    /// What was launched since the stream was waited for.
    pending: Pending,
    /// Whether every launch is waited for.
    wait_each: bool,
    timer: Option<LaunchTimer>,
    /// Bytes by address.
    allocated: BTreeMap<DevicePtr, usize>,
    /// A ring of small pinned buffers, the oldest read that was not finished, and how many there
    /// are.
    read_buffers: Vec<Pinned>,
    first_read: usize,
    reads_in_flight: usize,
    graphs: Graphs,
    captures: bool,
    /// The list that is being run.
    nodes: Vec<GraphNode>,
}

/// Launches under way, and the last of them.
#[derive(Debug, Default)]
struct Pending {
    launches: u64,
    kernel: String,
    location: String,
}

// SAFETY: the driver's handles may be used from any thread with their context current, which every
// function here sees to.
unsafe impl Send for Gpu {}

impl Gpu {
    /// Opens GPU `number` with the kernels of the image that fits it.
    pub fn open(number: u32, images: &[CudaImage]) -> Result<Gpu, DeviceError> {
        Self::with(Api::load()?, number, images)
    }

    /// The same by the driver's library in a file.
    pub fn open_with(library: &Path, number: u32, images: &[CudaImage]) -> Result<Gpu, DeviceError> {
        Self::with(Api::open(&[library.into()])?, number, images)
    }

    /// What GPU `number` is called, and its architecture: 90 for sm_90.
    pub fn probe(number: u32) -> Result<(String, u32), DeviceError> {
        let found = DetectedGpu::new(&Api::load()?, number)?;
        Ok((found.name, found.architecture))
    }

    /// The newest version of CUDA that the driver runs, such as 12 and 8.
    pub fn cuda_version() -> Result<(u32, u32), DeviceError> {
        let (api, mut version) = (Api::load()?, 0);
        // SAFETY: the address of a live number.
        api.check("cuDriverGetVersion", unsafe { (api.version)(&mut version) })?;
        let version = version.unsigned_abs();
        Ok((version / 1000, version % 1000 / 10))
    }

    fn with(api: Api, number: u32, images: &[CudaImage]) -> Result<Gpu, DeviceError> {
        let DetectedGpu { device, name, architecture, most_shared } = DetectedGpu::new(&api, number)?;
        let Some(image) = choose(images, architecture) else {
            let images = images.iter().map(|i| i.target).collect();
            return Err(DeviceError::NoImage { device: name, architecture, images });
        };
        let mut gpu = Gpu {
            api,
            device,
            name,
            architecture,
            most_shared,
            context: std::ptr::null_mut(),
            streams: Streams::none(),
            module: std::ptr::null_mut(),
            functions: HashMap::new(),
            large: Ring::of(2),
            small: Ring::of(SMALL_WRITES),
            staging: None,
            pending: Pending::default(),
            wait_each: std::env::var_os(WAIT).is_some_and(|v| !v.is_empty() && v != "0"),
            timer: None,
            allocated: BTreeMap::new(),
            read_buffers: Vec::new(),
            first_read: 0,
            reads_in_flight: 0,
            graphs: Graphs::default(),
            captures: true,
            nodes: Vec::new(),
        };
        let mut context = std::ptr::null_mut();
        // SAFETY: a live device; released when `gpu` is dropped.
        gpu.api.check("cuDevicePrimaryCtxRetain", unsafe { (gpu.api.retain)(&mut context, device) })?;
        gpu.context = context;
        gpu.current()?;
        gpu.streams.open(&gpu.api)?;
        gpu.load(image)?;
        Ok(gpu)
    }

    /// Loads an image; PTX is compiled here by the driver.
    fn load(&mut self, image: &CudaImage) -> Result<(), DeviceError> {
        let mut code = image.code.clone();
        // PTX is a text that ends with 0.
        code.push(0);
        let mut log = vec![0u8; 8 << 10];
        let mut options = [library::JIT_ERROR_LOG, library::JIT_ERROR_LOG_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
        let mut module = std::ptr::null_mut();
        // SAFETY: the image is whole and live; two options with a buffer and its size, as the
        // header says.
        let found = unsafe {
            (self.api.module_load)(&mut module, code.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
        };
        if found != 0 {
            let log = String::from_utf8_lossy(log.split(|&b| b == 0).next().unwrap_or_default()).trim().to_string();
            let why = format!("{} for {} on {}", self.api.text(found), image.target, self.name);
            let why = if log.is_empty() { why } else { format!("{why}: {log}") };
            let why = if library::of_image(found) { format!("{why}\n  help: {OLD_DRIVER}") } else { why };
            return Err(DeviceError::Call { call: "cuModuleLoadDataEx", why });
        }
        self.module = module;
        Ok(())
    }

    /// As the driver calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether lists that come again are captured, as they are at first. Without, every launch goes
    /// by [`Driver::launch`].
    pub fn set_captures(&mut self, on: bool) {
        self.captures = on;
    }

    /// How lists of commands were run so far.
    pub fn captures(&self) -> &CaptureCounts {
        &self.graphs.counts
    }

    fn current(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained.
        self.check("cuCtxSetCurrent", unsafe { (self.api.set_current)(self.context) })
    }

    /// From now on every launch is waited for, or not, whatever the environment says.
    pub fn wait_for_each(&mut self, on: bool) {
        self.wait_each = on;
    }

    /// So many launches are under way, `last` the last of them.
    fn launched(&mut self, last: &KernelLaunch<'_>, launches: u64) {
        self.pending.launches += launches;
        last.kernel.clone_into(&mut self.pending.kernel);
        last.location.clone_into(&mut self.pending.location);
    }

    /// A call's error. If a kernel under way has failed, the error names it if it is the only one,
    /// else the last one, and says that it may be another.
    fn failure(&self, Failed { call, code, why }: Failed) -> DeviceError {
        let Pending { launches, kernel, location } = &self.pending;
        match *launches {
            1 if library::of_kernel(code) => {
                DeviceError::Launch { kernel: kernel.clone(), location: location.clone(), why }
            }
            2.. if library::of_kernel(code) => {
                DeviceError::Late { kernel: kernel.clone(), location: location.clone(), why }
            }
            _ => DeviceError::Call { call, why },
        }
    }

    fn check(&self, call: &'static str, code: library::StatusCode) -> Result<(), DeviceError> {
        self.api.check(call, code).map_err(|failed| self.failure(failed))
    }

    fn wait_for_stream(&mut self) -> Result<(), DeviceError> {
        // SAFETY: a live stream of the current context.
        self.check("cuStreamSynchronize", unsafe { (self.api.stream_wait)(self.streams.main) })?;
        self.pending.launches = 0;
        Ok(())
    }

    /// The number of one of two pinned buffers, with room for `bytes` and no copy under way.
    fn large(&mut self, bytes: usize) -> Result<usize, DeviceError> {
        self.large.next(&self.api, bytes).map_err(|failed| self.failure(failed))
    }

    fn function(&mut self, launch: &KernelLaunch<'_>) -> Result<CUfunction, DeviceError> {
        let failed =
            |why: String| DeviceError::Launch { kernel: launch.kernel.into(), location: launch.location.into(), why };
        let function = match self.functions.get_mut(launch.kernel) {
            Some(found) => found,
            None => {
                let name = CString::new(launch.kernel).map_err(|e| failed(e.to_string()))?;
                let mut handle = std::ptr::null_mut();
                // SAFETY: the module is live; functions live as long.
                let code = unsafe { (self.api.function)(&mut handle, self.module, name.as_ptr()) };
                self.before("cuModuleGetFunction", code)?;
                if code == library::NOT_FOUND {
                    return Err(failed(format!("it is not in the image: {}", self.api.text(code))));
                }
                if code != 0 {
                    return Err(failed(self.api.text(code)));
                }
                let function = Function { handle, shared: SHARED };
                self.functions.entry(launch.kernel.to_string()).or_insert(function)
            }
        };
        if launch.shared > function.shared {
            if launch.shared > self.most_shared {
                return Err(failed(format!(
                    "it needs {} bytes of shared memory, {} has {} a block; compile it for smaller tiles",
                    launch.shared, self.name, self.most_shared
                )));
            }
            // SAFETY: a live function.
            let code = unsafe {
                (self.api.function_attribute)(function.handle, library::DYNAMIC_SHARED, launch.shared as c_int)
            };
            if code != 0 {
                self.before("cuFuncSetAttribute", code)?;
                return Err(failed(self.api.text(code)));
            }
            function.shared = launch.shared;
        }
        Ok(function.handle)
    }

    /// A call's error where it is that of a kernel launched before.
    fn before(&self, call: &'static str, code: library::StatusCode) -> Result<(), DeviceError> {
        if library::of_kernel(code) && self.pending.launches > 0 { self.check(call, code) } else { Ok(()) }
    }

    /// A copy in a stream.
    fn copy_on(&self, from: DevicePtr, to: DevicePtr, bytes: usize, stream: CUstream) -> Result<(), DeviceError> {
        // SAFETY: the ranges are the caller's.
        let code = unsafe { (self.api.within)(to, from, bytes, stream) };
        self.check("cuMemcpyDtoDAsync", code)
    }

    /// A launch in a stream.
    fn launch_on(&mut self, launch: &KernelLaunch<'_>, stream: CUstream) -> Result<(), DeviceError> {
        let function = self.function(launch)?;
        let around = self.timer.as_mut().map(|m| m.around(&self.api)).transpose()?;
        if let Some([begin, _]) = around {
            record(&self.api, begin, stream).map_err(|failed| self.failure(failed))?;
        }
        let mut values = [launch.pointers, launch.scalars, launch.scratch];
        let mut arguments = values.each_mut().map(|v| std::ptr::from_mut(v).cast::<c_void>());
        // SAFETY: a live function with three arguments of eight bytes each; the driver copies them
        // before it returns.
        let code = unsafe {
            (self.api.launch)(
                function,
                launch.grid.0,
                launch.grid.1,
                1,
                launch.threads,
                1,
                1,
                launch.shared,
                stream,
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.before("cuLaunchKernel", code)?;
        if code != 0 {
            let (kernel, location) = (launch.kernel.into(), launch.location.into());
            return Err(DeviceError::Launch { kernel, location, why: self.api.text(code) });
        }
        self.launched(launch, 1);
        if let (Some([_, end]), Some(measuring)) = (around, &mut self.timer) {
            measuring.launched(launch);
            record(&self.api, end, stream).map_err(|failed| self.failure(failed))?;
        }
        if self.wait_each { self.wait_for_stream() } else { Ok(()) }
    }
}

impl Driver for Gpu {
    fn architecture(&self) -> u32 {
        self.architecture
    }

    fn allocate(&mut self, bytes: usize, what: &'static str) -> Result<DevicePtr, DeviceError> {
        self.current()?;
        let mut at = 0;
        // SAFETY: the context is current; freed by `free`, or with the context.
        match unsafe { (self.api.allocate)(&mut at, bytes.max(1)) } {
            library::OUT_OF_MEMORY => return Err(DeviceError::Memory { bytes, what }),
            code => self.check("cuMemAlloc", code)?,
        }
        self.allocated.insert(at, bytes);
        Ok(at)
    }

    fn free(&mut self, at: DevicePtr) {
        // A failure here has been reported before, or will be by the next call.
        if self.current().is_ok() {
            let bytes = self.allocated.remove(&at).unwrap_or(0);
            let graphs = self.graphs.forget(at, bytes);
            self.destroy(graphs);
            // SAFETY: allocated by `allocate`; nothing uses it once the stream is done.
            unsafe {
                (self.api.stream_wait)(self.streams.main);
                (self.api.free)(at);
            }
        }
    }

    fn write(&mut self, to: DevicePtr, bytes: &[u8]) -> Result<(), DeviceError> {
        self.current()?;
        let mut to = to;
        for part in bytes.chunks(PART) {
            let ring = if part.len() <= SMALL { &mut self.small } else { &mut self.large };
            let k = ring.next(&self.api, part.len()).map_err(|failed| self.failure(failed))?;
            let ring = if part.len() <= SMALL { &self.small } else { &self.large };
            let Pinned { at, event, .. } = ring.buffers[k];
            // SAFETY: the buffer has room for the part and no copy under way; the event is recorded
            // behind this one, so that it is not written again before the copy is done. The
            // device's range is the caller's.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
                self.check("cuMemcpyHtoDAsync", (self.api.to_device)(to, at.cast(), part.len(), self.streams.main))?;
                self.check("cuEventRecord", (self.api.event_record)(event, self.streams.main))?;
            }
            to += part.len() as u64;
        }
        Ok(())
    }

    fn staging_buffer(&mut self, bytes: usize) -> Result<&mut [u32], DeviceError> {
        self.current()?;
        let k = self.large(bytes)?;
        self.staging = Some(k);
        let Pinned { at, bytes, .. } = self.large.buffers[k];
        // SAFETY: the buffer is of so many bytes, at the beginning of a page, with no copy under
        // way; it is borrowed as `self` is.
        Ok(unsafe { std::slice::from_raw_parts_mut(at.cast(), bytes / 4) })
    }

    fn upload(&mut self, to: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        self.current()?;
        let staging = self.staging.take().map(|k| &self.large.buffers[k]);
        let Some(&Pinned { at, event, .. }) = staging.filter(|p| bytes <= p.bytes) else {
            return Err(DeviceError::Call { call: "send", why: format!("{bytes} bytes were not staging") });
        };
        let stream = self.streams.upload_stream(&self.api).map_err(|failed| self.failure(failed))?;
        // SAFETY: the buffer has so many bytes; the event is recorded behind the copy, as above.
        // The device's range is the caller's.
        unsafe {
            self.check("cuMemcpyHtoDAsync", (self.api.to_device)(to, at.cast(), bytes, stream))?;
            self.check("cuEventRecord", (self.api.event_record)(event, stream))?;
        }
        self.streams.upload_done(&self.api).map_err(|failed| self.failure(failed))
    }

    fn read(&mut self, from: DevicePtr, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.current()?;
        let mut from = from;
        for part in bytes.chunks_mut(PART) {
            let k = self.large(part.len())?;
            let at = self.large.buffers[k].at;
            // SAFETY: the buffer has room for the part and no copy under way. The device's range is
            // the caller's.
            let code = unsafe { (self.api.to_host)(at.cast(), from, part.len(), self.streams.main) };
            self.check("cuMemcpyDtoHAsync", code)?;
            self.wait_for_stream()?;
            // SAFETY: the copy is done.
            unsafe { std::ptr::copy_nonoverlapping(at, part.as_mut_ptr(), part.len()) };
            from += part.len() as u64;
        }
        Ok(())
    }

    fn read_async(&mut self, from: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        self.current()?;
        if self.reads_in_flight == ASYNC_READS || bytes > ASYNC_READ_BYTES {
            let why =
                format!("{} read_buffers are under way, and one of {bytes} bytes is asked for", self.reads_in_flight);
            return Err(DeviceError::Call { call: "fetch", why });
        }
        let k = (self.first_read + self.reads_in_flight) % ASYNC_READS;
        while self.read_buffers.len() <= k {
            let buffer = Pinned::new(&self.api, ASYNC_READ_BYTES).map_err(|failed| self.failure(failed))?;
            self.read_buffers.push(buffer);
        }
        let Pinned { at, event, .. } = self.read_buffers[k];
        // SAFETY: the buffer has room, and what it held was given. The device's range is the
        // caller's.
        unsafe {
            self.check("cuMemcpyDtoHAsync", (self.api.to_host)(at.cast(), from, bytes, self.streams.main))?;
            self.check("cuEventRecord", (self.api.event_record)(event, self.streams.main))?;
        }
        self.reads_in_flight += 1;
        Ok(())
    }

    fn finish_read(&mut self, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.current()?;
        if self.reads_in_flight == 0 || bytes.len() > ASYNC_READ_BYTES {
            return Err(DeviceError::Call { call: "fetched", why: "nothing of the size is under way".into() });
        }
        let Pinned { at, event, .. } = self.read_buffers[self.first_read];
        self.first_read = (self.first_read + 1) % ASYNC_READS;
        self.reads_in_flight -= 1;
        // SAFETY: recorded behind the copy.
        self.check("cuEventSynchronize", unsafe { (self.api.event_wait)(event) })?;
        // SAFETY: the copy is done, and the buffer is as large.
        unsafe { std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn copy(&mut self, from: DevicePtr, to: DevicePtr, bytes: usize) -> Result<(), DeviceError> {
        self.current()?;
        self.copy_on(from, to, bytes, self.streams.main)
    }

    fn launch(&mut self, launch: &KernelLaunch<'_>) -> Result<(), DeviceError> {
        self.current()?;
        self.launch_on(launch, self.streams.main)
    }

    fn run(&mut self, commands: &[Command<'_>]) -> Result<(), DeviceError> {
        self.current()?;
        self.resolve(commands)?;
        self.streams.begin_run(&self.api).map_err(|failed| self.failure(failed))?;
        // Within a captured list no launch can be waited for, or timed.
        if !self.captures || self.wait_each || self.timer.is_some() {
            return self.run_plain(commands);
        }
        let (next, gone) = self.graphs.next(&self.nodes);
        self.destroy(gone);
        match next {
            NextAction::Plain => self.run_plain(commands),
            NextAction::Replay(graph) => self.replay(graph, commands),
            NextAction::Capture => match self.capture(commands) {
                Ok(graph) => {
                    self.graphs.captured(graph);
                    self.replay(graph, commands)
                }
                Err(why) => {
                    self.graphs.refused(why.to_string());
                    self.run_plain(commands)
                }
            },
        }
    }

    fn free_memory(&mut self) -> Result<Option<usize>, DeviceError> {
        self.current()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: addresses of live variables; the context is current.
        self.check("cuMemGetInfo", unsafe { (self.api.memory)(&mut free, &mut total) })?;
        Ok(Some(free.min(total)))
    }

    fn set_timing(&mut self, on: bool) -> Result<(), DeviceError> {
        self.current()?;
        if let Some(measuring) = self.timer.take() {
            measuring.end(&self.api);
        }
        if on {
            self.timer = Some(LaunchTimer::begin(&self.api, self.streams.main)?);
        }
        Ok(())
    }

    fn timed_launches(&mut self) -> Result<Vec<TimedLaunch>, DeviceError> {
        self.current()?;
        self.wait_for_stream()?;
        Ok(self.timer.as_mut().map_or_else(|| Ok(Vec::new()), |m| m.take(&self.api))?)
    }

    fn wait(&mut self) -> Result<(), DeviceError> {
        self.current()?;
        self.wait_for_stream()
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.context.is_null() || self.current().is_err() {
            return;
        }
        // SAFETY: each was made by `self` and is used no more once the stream is done; errors
        // cannot be reported.
        unsafe {
            if !self.streams.main.is_null() {
                (self.api.stream_wait)(self.streams.main);
            }
            if let Some(measuring) = self.timer.take() {
                measuring.end(&self.api);
            }
            let Gpu { api, large, small, read_buffers, .. } = self;
            let buffers = large.buffers.drain(..).chain(small.buffers.drain(..)).chain(read_buffers.drain(..));
            buffers.for_each(|buffer| buffer.free(api));
            let graphs = self.graphs.clear();
            self.destroy(graphs);
            if !self.module.is_null() {
                (self.api.module_unload)(self.module);
            }
            self.streams.destroy(&self.api);
            (self.api.release)(self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_told() {
        let error = Api::open(&["no/such/libcuda.so.1".into()]).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, DeviceError::NoDriver { .. }), "{text}");
        assert!(text.contains("no/such/libcuda.so.1") && text.contains("on the CPU"), "{text}");
    }

    #[test]
    fn another_library_is_told() {
        let error = Api::open(&["libc.so.6".into()]).unwrap_err();
        assert!(matches!(error, DeviceError::Foreign { .. } | DeviceError::NoDriver { .. }), "{error}");
    }

    /// Holds on any machine: without a driver or GPU that is the error, with one that there is no
    /// image.
    #[test]
    fn a_gpu_without_kernels_is_told() {
        let error = Gpu::open(0, &[]).unwrap_err();
        let expected =
            matches!(error, DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. } | DeviceError::NoImage { .. });
        assert!(expected, "{error}");
    }
}
