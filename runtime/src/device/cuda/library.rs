//! NVIDIA's driver library: the thirty functions that a GPU needs.
//!
//! They are bound here as NVRTC's are, not through `cudarc`: that crate panics where a function is missing from the installed driver, opens
//! an unversioned `libcuda.so` (a development stub) before the driver's own `libcuda.so.1`, and cannot be told which file to use. Here a
//! missing library, a foreign one and a missing function are errors when it is opened.

use super::DeviceError;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;

/// Names the library's file.
const VARIABLE: &str = "DIN_CUDA_DRIVER";
const NAME: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

pub(super) type Code = c_int;
pub(super) type Device = c_int;
/// Handles: context, stream, event, module, function, graph.
pub(super) type Handle = *mut c_void;

pub(super) const OUT_OF_MEMORY: Code = 2;
const NO_DEVICE: Code = 100;
pub(super) const COMPUTE_MAJOR: c_int = 75;
pub(super) const COMPUTE_MINOR: c_int = 76;
/// Most shared memory of a block that asks for it.
pub(super) const SHARED_OPT_IN: c_int = 97;
/// The function attribute with which it asks.
pub(super) const DYNAMIC_SHARED: c_int = 8;
/// A capture minds this thread's calls alone.
pub(super) const CAPTURE_THREAD_LOCAL: c_int = 1;
pub(super) const STREAM_NON_BLOCKING: c_uint = 1;
pub(super) const EVENT_WITH_TIME: c_uint = 0;
pub(super) const EVENT_WITHOUT_TIME: c_uint = 2;
pub(super) const JIT_ERROR_LOG: c_int = 5;
pub(super) const JIT_ERROR_LOG_BYTES: c_int = 6;

/// Whether an error is one that a running kernel leaves behind, for whatever call comes next to tell.
pub(super) fn of_kernel(code: Code) -> bool {
    // Illegal address, timeout, assertion, stack, instruction, misaligned address, address space, program counter, anything else.
    matches!(code, 700 | 702 | 710 | 714..=719)
}

macro_rules! api {
    ($($field:ident = $name:literal: fn($($arg:ty),*);)*) => {
        /// The functions, by what they do.
        #[derive(Debug)]
        pub(super) struct Api {
            $(pub $field: unsafe extern "C" fn($($arg),*) -> Code,)*
            _library: Library,
        }

        impl Api {
            fn bind(library: Library, path: &str) -> Result<Api, DeviceError> {
                let foreign = |e: libloading::Error| DeviceError::Foreign { path: path.into(), why: e.to_string() };
                // SAFETY: these are the types of the functions in CUDA's header `cuda.h`; versioned names never change theirs.
                unsafe {
                    Ok(Api {
                        $($field: *library.get(concat!($name, "\0").as_bytes()).map_err(foreign)?,)*
                        _library: library,
                    })
                }
            }
        }
    };
}

api! {
    init = "cuInit": fn(c_uint);
    error_text = "cuGetErrorString": fn(Code, *mut *const c_char);
    device_count = "cuDeviceGetCount": fn(*mut c_int);
    device = "cuDeviceGet": fn(*mut Device, c_int);
    device_name = "cuDeviceGetName": fn(*mut c_char, c_int, Device);
    device_attribute = "cuDeviceGetAttribute": fn(*mut c_int, c_int, Device);
    retain = "cuDevicePrimaryCtxRetain": fn(*mut Handle, Device);
    release = "cuDevicePrimaryCtxRelease_v2": fn(Device);
    set_current = "cuCtxSetCurrent": fn(Handle);
    stream_create = "cuStreamCreate": fn(*mut Handle, c_uint);
    stream_destroy = "cuStreamDestroy_v2": fn(Handle);
    stream_wait = "cuStreamSynchronize": fn(Handle);
    capture_begin = "cuStreamBeginCapture_v2": fn(Handle, c_int);
    capture_end = "cuStreamEndCapture": fn(Handle, *mut Handle);
    graph_destroy = "cuGraphDestroy": fn(Handle);
    graph_ready = "cuGraphInstantiateWithFlags": fn(*mut Handle, Handle, u64);
    graph_launch = "cuGraphLaunch": fn(Handle, Handle);
    ready_destroy = "cuGraphExecDestroy": fn(Handle);
    event_create = "cuEventCreate": fn(*mut Handle, c_uint);
    event_destroy = "cuEventDestroy_v2": fn(Handle);
    event_record = "cuEventRecord": fn(Handle, Handle);
    event_wait = "cuEventSynchronize": fn(Handle);
    memory = "cuMemGetInfo_v2": fn(*mut usize, *mut usize);
    event_elapsed = "cuEventElapsedTime": fn(*mut f32, Handle, Handle);
    allocate = "cuMemAlloc_v2": fn(*mut u64, usize);
    free = "cuMemFree_v2": fn(u64);
    allocate_host = "cuMemHostAlloc": fn(*mut *mut c_void, usize, c_uint);
    free_host = "cuMemFreeHost": fn(*mut c_void);
    to_device = "cuMemcpyHtoDAsync_v2": fn(u64, *const c_void, usize, Handle);
    to_host = "cuMemcpyDtoHAsync_v2": fn(*mut c_void, u64, usize, Handle);
    within = "cuMemcpyDtoDAsync_v2": fn(u64, u64, usize, Handle);
    module_load = "cuModuleLoadDataEx": fn(*mut Handle, *const c_void, c_uint, *mut c_int, *mut *mut c_void);
    module_unload = "cuModuleUnload": fn(Handle);
    function = "cuModuleGetFunction": fn(*mut Handle, Handle, *const c_char);
    function_attribute = "cuFuncSetAttribute": fn(Handle, c_int, c_int);
    launch = "cuLaunchKernel": fn(
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void
    );
}

impl Api {
    /// Opens and initialises the driver: the file that `DIN_CUDA_DRIVER` names, or the usual one.
    pub fn load() -> Result<Api, DeviceError> {
        match std::env::var_os(VARIABLE) {
            Some(file) => Self::open(&[file.into()]),
            None => Self::open(&[NAME.into()]),
        }
    }

    /// The first of some files that is there.
    pub fn open(files: &[PathBuf]) -> Result<Api, DeviceError> {
        let (mut tried, mut why) = (Vec::new(), String::new());
        for file in files {
            // SAFETY: the driver's initialisers have no requirements; any other file is the user's choice.
            match unsafe { Library::new(file) } {
                Ok(library) => {
                    let api = Self::bind(library, &file.display().to_string())?;
                    // SAFETY: may be called at any time; 0 is the only flag there is.
                    return match unsafe { (api.init)(0) } {
                        NO_DEVICE => Err(DeviceError::NoDevice { asked: 0, found: 0 }),
                        code => api.check("cuInit", code).map(|()| api),
                    };
                }
                Err(e) => {
                    tried.push(file.display().to_string());
                    why = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
                }
            }
        }
        Err(DeviceError::NoDriver { tried, why })
    }

    pub fn check(&self, call: &'static str, code: Code) -> Result<(), DeviceError> {
        if code == 0 { Ok(()) } else { Err(DeviceError::Call { call, why: self.text(code) }) }
    }

    /// What an error is called.
    pub fn text(&self, code: Code) -> String {
        let mut text = std::ptr::null();
        // SAFETY: any number may be asked for; the text is static.
        let found = unsafe { (self.error_text)(code, &mut text) };
        if found != 0 || text.is_null() {
            return format!("error {code}");
        }
        // SAFETY: a text of the driver, ending with 0.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }
}
