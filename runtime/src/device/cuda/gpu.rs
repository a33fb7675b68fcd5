//! A GPU by NVIDIA's driver: the device's primary context, one module, one stream, and pinned memory between host and device.
//!
//! Guarantees: no driver, no GPU and no fitting image are errors that say what to do; nothing panics. Writes return when the host's bytes are
//! in pinned memory, so the host readies the next step while the GPU works; what a kernel did wrong is told by the call that waits for it.

use super::driver::{Address, DeviceError, Driver, Launch, Timed};
use super::library::{self, Api, Handle};
use super::measure::{Measuring, record};
use super::{Image, Target};
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;

/// Most bytes of one pinned buffer: larger transfers go in parts.
const PART: usize = 16 << 20;
/// Dynamic shared memory that needs no asking.
const SHARED: u32 = 48 << 10;

/// Memory of the host that the GPU copies from and to.
#[derive(Debug)]
struct Pinned {
    at: *mut u8,
    bytes: usize,
    /// Recorded behind the last copy from it.
    event: Handle,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    handle: Handle,
    /// Dynamic shared memory that it may have.
    shared: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Gpu {
    api: Api,
    device: library::Device,
    name: String,
    architecture: u32,
    /// Most shared memory of a block.
    most_shared: u32,
    context: Handle,
    stream: Handle,
    module: Handle,
    functions: HashMap<String, Function>,
    pinned: Vec<Pinned>,
    next: usize,
    /// Kernel and location of the last launch since the stream was waited for.
    last: Option<(String, String)>,
    measuring: Option<Measuring>,
}

// SAFETY: the driver's handles may be used from any thread with their context current, which every function here sees to.
unsafe impl Send for Gpu {}

/// The image for an architecture: machine code of it or of an earlier one of its generation, else the newest PTX that is not too new.
fn choose(images: &[Image], architecture: u32) -> Option<&Image> {
    let rank = |image: &&Image| match image.target {
        Target::Cubin(n) if n <= architecture && n / 10 == architecture / 10 => Some((1, n)),
        Target::Ptx(n) if n <= architecture => Some((0, n)),
        _ => None,
    };
    images.iter().filter(|i| rank(i).is_some()).max_by_key(rank)
}

/// A GPU that is there.
struct Found {
    device: library::Device,
    name: String,
    architecture: u32,
    most_shared: u32,
}

impl Found {
    fn new(api: &Api, number: u32) -> Result<Found, DeviceError> {
        let (mut count, mut device) = (0, 0);
        // SAFETY: here and below, addresses of live variables of the header's types.
        api.check("cuDeviceGetCount", unsafe { (api.device_count)(&mut count) })?;
        if i64::from(number) >= i64::from(count) {
            return Err(DeviceError::NoDevice { asked: number, found: u32::try_from(count).unwrap_or(0) });
        }
        // SAFETY: the number is one of the devices'.
        api.check("cuDeviceGet", unsafe { (api.device)(&mut device, number as c_int) })?;
        let attribute = |which: c_int| -> Result<u32, DeviceError> {
            let mut value = 0;
            // SAFETY: a live device.
            api.check("cuDeviceGetAttribute", unsafe { (api.device_attribute)(&mut value, which, device) })?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        let architecture = attribute(library::COMPUTE_MAJOR)? * 10 + attribute(library::COMPUTE_MINOR)?;
        let most_shared = attribute(library::SHARED_OPT_IN)?;
        let mut name = [0u8; 128];
        // SAFETY: the driver writes at most so many bytes, 0 at their end.
        let code = unsafe { (api.device_name)(name.as_mut_ptr().cast::<c_char>(), name.len() as c_int - 1, device) };
        api.check("cuDeviceGetName", code)?;
        let name = String::from_utf8_lossy(name.split(|&b| b == 0).next().unwrap_or_default()).into_owned();
        Ok(Found { device, name, architecture, most_shared })
    }
}

impl Gpu {
    /// Opens GPU `number` with the kernels of the image that fits it.
    pub fn open(number: u32, images: &[Image]) -> Result<Gpu, DeviceError> {
        Self::with(Api::load()?, number, images)
    }

    /// The same by the driver's library in a file.
    pub fn open_with(library: &Path, number: u32, images: &[Image]) -> Result<Gpu, DeviceError> {
        Self::with(Api::open(&[library.into()])?, number, images)
    }

    /// What GPU `number` is called, and its architecture: 90 for sm_90.
    pub fn probe(number: u32) -> Result<(String, u32), DeviceError> {
        let found = Found::new(&Api::load()?, number)?;
        Ok((found.name, found.architecture))
    }

    fn with(api: Api, number: u32, images: &[Image]) -> Result<Gpu, DeviceError> {
        let Found { device, name, architecture, most_shared } = Found::new(&api, number)?;
        let Some(image) = choose(images, architecture) else {
            let images = images.iter().map(|i| i.target).collect();
            return Err(DeviceError::NoImage { device: name, architecture, images });
        };
        let none: Handle = std::ptr::null_mut();
        let mut gpu = Gpu {
            api,
            device,
            name,
            architecture,
            most_shared,
            context: none,
            stream: none,
            module: none,
            functions: HashMap::new(),
            pinned: Vec::new(),
            next: 0,
            last: None,
            measuring: None,
        };
        let mut context = none;
        // SAFETY: a live device; released when `gpu` is dropped.
        gpu.api.check("cuDevicePrimaryCtxRetain", unsafe { (gpu.api.retain)(&mut context, device) })?;
        gpu.context = context;
        gpu.current()?;
        let mut stream = none;
        // SAFETY: the context is current; destroyed when `gpu` is dropped.
        let code = unsafe { (gpu.api.stream_create)(&mut stream, library::STREAM_NON_BLOCKING) };
        gpu.api.check("cuStreamCreate", code)?;
        gpu.stream = stream;
        gpu.load(image)?;
        Ok(gpu)
    }

    /// Loads an image; PTX is compiled here by the driver.
    fn load(&mut self, image: &Image) -> Result<(), DeviceError> {
        let mut code = image.code.clone();
        // PTX is a text that ends with 0.
        code.push(0);
        let mut log = vec![0u8; 8 << 10];
        let mut options = [library::JIT_ERROR_LOG, library::JIT_ERROR_LOG_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
        let mut module = std::ptr::null_mut();
        // SAFETY: the image is whole and live; two options with a buffer and its size, as the header says.
        let found = unsafe {
            (self.api.module_load)(&mut module, code.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
        };
        if found != 0 {
            let log = String::from_utf8_lossy(log.split(|&b| b == 0).next().unwrap_or_default()).trim().to_string();
            let why = format!("{} for {} on {}", self.api.text(found), image.target, self.name);
            let why = if log.is_empty() { why } else { format!("{why}: {log}") };
            return Err(DeviceError::Call { call: "cuModuleLoadDataEx", why });
        }
        self.module = module;
        Ok(())
    }

    /// As the driver calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Such as 90 for sm_90.
    pub fn architecture(&self) -> u32 {
        self.architecture
    }

    fn current(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained.
        self.api.check("cuCtxSetCurrent", unsafe { (self.api.set_current)(self.context) })
    }

    /// An error of a call that waits may be a kernel's.
    fn waited(&mut self, call: &'static str, code: library::Code) -> Result<(), DeviceError> {
        match (code, self.last.take()) {
            (0, _) => Ok(()),
            (_, Some((kernel, location))) => {
                let why = format!("{} (by this kernel, the last one launched, or one before it)", self.api.text(code));
                Err(DeviceError::Launch { kernel, location, why })
            }
            (_, None) => self.api.check(call, code),
        }
    }

    fn wait_for_stream(&mut self) -> Result<(), DeviceError> {
        // SAFETY: a live stream of the current context.
        let code = unsafe { (self.api.stream_wait)(self.stream) };
        self.waited("cuStreamSynchronize", code)
    }

    /// One of two pinned buffers in turn, with room for `bytes` and no copy under way.
    fn pinned(&mut self, bytes: usize) -> Result<usize, DeviceError> {
        let k = self.next;
        self.next = (k + 1) % 2;
        if k == self.pinned.len() {
            let mut event = std::ptr::null_mut();
            // SAFETY: the context is current; destroyed with the buffer.
            let code = unsafe { (self.api.event_create)(&mut event, library::EVENT_WITHOUT_TIME) };
            self.api.check("cuEventCreate", code)?;
            self.pinned.push(Pinned { at: std::ptr::null_mut(), bytes: 0, event });
        }
        let event = self.pinned[k].event;
        // SAFETY: a live event; one that was never recorded counts as done.
        let code = unsafe { (self.api.event_wait)(event) };
        if code != 0 {
            self.waited("cuEventSynchronize", code)?;
        }
        if self.pinned[k].bytes < bytes {
            let capacity = (bytes + bytes / 4).clamp(1 << 16, PART);
            let old = std::mem::replace(&mut self.pinned[k].at, std::ptr::null_mut());
            self.pinned[k].bytes = 0;
            if !old.is_null() {
                // SAFETY: allocated below, and no copy uses it any more.
                self.api.check("cuMemFreeHost", unsafe { (self.api.free_host)(old.cast()) })?;
            }
            let mut at = std::ptr::null_mut();
            // SAFETY: the context is current; freed above or when `self` is dropped.
            let code = unsafe { (self.api.allocate_host)(&mut at, capacity, 0) };
            self.api.check("cuMemHostAlloc", code)?;
            self.pinned[k].at = at.cast();
            self.pinned[k].bytes = capacity;
        }
        Ok(k)
    }

    fn function(&mut self, launch: &Launch<'_>) -> Result<Handle, DeviceError> {
        let failed =
            |why: String| DeviceError::Launch { kernel: launch.kernel.into(), location: launch.location.into(), why };
        let function = match self.functions.get_mut(launch.kernel) {
            Some(found) => found,
            None => {
                let name = CString::new(launch.kernel).map_err(|e| failed(e.to_string()))?;
                let mut handle = std::ptr::null_mut();
                // SAFETY: the module is live; functions live as long.
                let code = unsafe { (self.api.function)(&mut handle, self.module, name.as_ptr()) };
                if code != 0 {
                    return Err(failed(format!("it is not in the image: {}", self.api.text(code))));
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
                return Err(failed(self.api.text(code)));
            }
            function.shared = launch.shared;
        }
        Ok(function.handle)
    }
}

impl Driver for Gpu {
    fn level(&self) -> String {
        format!("sm_{}", self.architecture)
    }

    fn allocate(&mut self, bytes: usize, what: &'static str) -> Result<Address, DeviceError> {
        self.current()?;
        let mut at = 0;
        // SAFETY: the context is current; freed by `free`, or with the context.
        match unsafe { (self.api.allocate)(&mut at, bytes.max(1)) } {
            library::OUT_OF_MEMORY => Err(DeviceError::Memory { bytes, what }),
            code => self.api.check("cuMemAlloc", code).map(|()| at),
        }
    }

    fn free(&mut self, at: Address) {
        // What fails here has failed before, or will be told by the next call.
        if self.current().is_ok() {
            // SAFETY: allocated by `allocate`; nothing uses it once the stream is done.
            unsafe {
                (self.api.stream_wait)(self.stream);
                (self.api.free)(at);
            }
        }
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.current()?;
        let mut to = to;
        for part in bytes.chunks(PART) {
            let k = self.pinned(part.len())?;
            let Pinned { at, event, .. } = self.pinned[k];
            // SAFETY: the buffer has room for the part and no copy under way; the event is recorded behind this one, so that it is not
            // written again before the copy is done. The device's range is the caller's.
            unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), at, part.len());
                self.api.check("cuMemcpyHtoDAsync", (self.api.to_device)(to, at.cast(), part.len(), self.stream))?;
                self.api.check("cuEventRecord", (self.api.event_record)(event, self.stream))?;
            }
            to += part.len() as u64;
        }
        Ok(())
    }

    fn read(&mut self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.current()?;
        let mut from = from;
        for part in bytes.chunks_mut(PART) {
            let k = self.pinned(part.len())?;
            let at = self.pinned[k].at;
            // SAFETY: the buffer has room for the part and no copy under way. The device's range is the caller's.
            let code = unsafe { (self.api.to_host)(at.cast(), from, part.len(), self.stream) };
            if code != 0 {
                self.waited("cuMemcpyDtoHAsync", code)?;
            }
            self.wait_for_stream()?;
            // SAFETY: the copy is done.
            unsafe { std::ptr::copy_nonoverlapping(at, part.as_mut_ptr(), part.len()) };
            from += part.len() as u64;
        }
        Ok(())
    }

    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), DeviceError> {
        self.current()?;
        // SAFETY: the ranges are the caller's.
        let code = unsafe { (self.api.within)(to, from, bytes, self.stream) };
        self.api.check("cuMemcpyDtoDAsync", code)
    }

    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), DeviceError> {
        self.current()?;
        let function = self.function(launch)?;
        let around = self.measuring.as_mut().map(|m| m.around(&self.api)).transpose()?;
        if let Some([begin, _]) = around {
            record(&self.api, begin, self.stream)?;
        }
        let mut values = [launch.addresses, launch.words, launch.scratch];
        let mut arguments = values.each_mut().map(|v| std::ptr::from_mut(v).cast::<c_void>());
        // SAFETY: a live function with three arguments of eight bytes each; the driver copies them before it returns.
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
                self.stream,
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        if code != 0 {
            let (kernel, location) = (launch.kernel.into(), launch.location.into());
            return Err(DeviceError::Launch { kernel, location, why: self.api.text(code) });
        }
        let (kernel, location) = self.last.get_or_insert_default();
        launch.kernel.clone_into(kernel);
        launch.location.clone_into(location);
        if let (Some([_, end]), Some(measuring)) = (around, &mut self.measuring) {
            record(&self.api, end, self.stream)?;
            measuring.launched(launch);
        }
        Ok(())
    }

    fn measure(&mut self, on: bool) -> Result<(), DeviceError> {
        self.current()?;
        if let Some(measuring) = self.measuring.take() {
            measuring.end(&self.api);
        }
        if on {
            self.measuring = Some(Measuring::begin(&self.api, self.stream)?);
        }
        Ok(())
    }

    fn measured(&mut self) -> Result<Vec<Timed>, DeviceError> {
        self.current()?;
        self.wait_for_stream()?;
        self.measuring.as_mut().map_or_else(|| Ok(Vec::new()), |m| m.take(&self.api))
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
        // SAFETY: each was made by `self` and is used no more once the stream is done; errors have no one to be told to.
        unsafe {
            if !self.stream.is_null() {
                (self.api.stream_wait)(self.stream);
            }
            if let Some(measuring) = self.measuring.take() {
                measuring.end(&self.api);
            }
            for p in self.pinned.drain(..) {
                if !p.at.is_null() {
                    (self.api.free_host)(p.at.cast());
                }
                (self.api.event_destroy)(p.event);
            }
            if !self.module.is_null() {
                (self.api.module_unload)(self.module);
            }
            if !self.stream.is_null() {
                (self.api.stream_destroy)(self.stream);
            }
            (self.api.release)(self.device);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn images(targets: &[Target]) -> Vec<Image> {
        targets.iter().map(|&target| Image { target, code: vec![], log: String::new() }).collect()
    }

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

    /// Holds on any machine: without a driver or GPU that is the error, with one that there is no image.
    #[test]
    fn a_gpu_without_kernels_is_told() {
        let error = Gpu::open(0, &[]).unwrap_err();
        let expected =
            matches!(error, DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. } | DeviceError::NoImage { .. });
        assert!(expected, "{error}");
    }

    #[test]
    fn images_are_chosen() {
        use Target::{Cubin, Ptx};
        let all = images(&[Ptx(80), Cubin(80), Cubin(90), Ptx(90), Cubin(100)]);
        let chosen = |architecture| choose(&all, architecture).map(|i| i.target);
        assert_eq!(chosen(80), Some(Cubin(80)));
        assert_eq!(chosen(86), Some(Cubin(80)));
        assert_eq!(chosen(90), Some(Cubin(90)));
        assert_eq!(chosen(103), Some(Cubin(100)));
        assert_eq!(chosen(120), Some(Ptx(90)));
        assert_eq!(chosen(75), None);
        assert_eq!(choose(&[], 90).map(|i| i.target), None);
    }
}
