//! NVIDIA's driver library: the thirty-odd functions that a GPU needs, bound as `bind` says.

use super::DeviceError;
use super::bind::{self, api, or};
use cudarc::driver::sys::{self, CUdevice_attribute, CUevent_flags, CUfunction_attribute, CUjit_option, CUresult};
use cudarc::driver::sys::{CUstream_flags, CUstreamCaptureMode};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::PathBuf;

pub(super) use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUstream,
};

/// Names the library's file.
const VARIABLE: &str = "DIN_CUDA_DRIVER";
const NAME: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// What a call returns: a `CUresult`, or one that this version of the header does not know.
pub(super) type StatusCode = c_int;

pub(super) const OUT_OF_MEMORY: StatusCode = CUresult::CUDA_ERROR_OUT_OF_MEMORY as StatusCode;
pub(super) const NOT_FOUND: StatusCode = CUresult::CUDA_ERROR_NOT_FOUND as StatusCode;
const NO_DEVICE: StatusCode = CUresult::CUDA_ERROR_NO_DEVICE as StatusCode;
pub(super) const COMPUTE_MAJOR: CUdevice_attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
pub(super) const COMPUTE_MINOR: CUdevice_attribute = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
/// Most shared memory of a block that asks for it.
pub(super) const SHARED_OPT_IN: CUdevice_attribute =
    CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
/// The function attribute with which it asks.
pub(super) const DYNAMIC_SHARED: CUfunction_attribute =
    CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
/// A capture minds this thread's calls alone.
pub(super) const CAPTURE_THREAD_LOCAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
pub(super) const STREAM_NON_BLOCKING: c_uint = CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
pub(super) const EVENT_WITH_TIME: c_uint = CUevent_flags::CU_EVENT_DEFAULT as c_uint;
pub(super) const EVENT_WITHOUT_TIME: c_uint = CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint;
pub(super) const JIT_ERROR_LOG: CUjit_option = CUjit_option::CU_JIT_ERROR_LOG_BUFFER;
pub(super) const JIT_ERROR_LOG_BYTES: CUjit_option = CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES;

/// The errors that a running kernel leaves behind, for whatever call comes next to tell.
const OF_KERNEL: [CUresult; 9] = [
    CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
    CUresult::CUDA_ERROR_LAUNCH_TIMEOUT,
    CUresult::CUDA_ERROR_ASSERT,
    CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR,
    CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION,
    CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
    CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE,
    CUresult::CUDA_ERROR_INVALID_PC,
    CUresult::CUDA_ERROR_LAUNCH_FAILED,
];

/// Whether an error is one of those.
pub(super) fn of_kernel(code: StatusCode) -> bool {
    OF_KERNEL.iter().any(|&e| e as StatusCode == code)
}

/// The errors of an image that the driver cannot use.
const OF_IMAGE: [CUresult; 4] = [
    CUresult::CUDA_ERROR_INVALID_IMAGE,
    CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU,
    CUresult::CUDA_ERROR_INVALID_PTX,
    CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
];

/// Whether an error is one of those.
pub(super) fn of_image(code: StatusCode) -> bool {
    OF_IMAGE.iter().any(|&e| e as StatusCode == code)
}

/// A call that failed. Nearly every call may tell what a kernel under way has done instead.
#[derive(Debug)]
pub(super) struct Failed {
    pub call: &'static str,
    pub code: StatusCode,
    pub why: String,
}

impl From<Failed> for DeviceError {
    fn from(Failed { call, why, .. }: Failed) -> DeviceError {
        DeviceError::Call { call, why }
    }
}

api! {
    struct Api -> StatusCode as CUresult;
    init: cuInit(c_uint);
    version: cuDriverGetVersion(*mut c_int);
    error_text: cuGetErrorString(StatusCode as CUresult, *mut *const c_char);
    device_count: cuDeviceGetCount(*mut c_int);
    device: cuDeviceGet(*mut CUdevice, c_int);
    device_name: cuDeviceGetName(*mut c_char, c_int, CUdevice);
    device_attribute: cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
    retain: cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    release: cuDevicePrimaryCtxRelease_v2(CUdevice);
    set_current: cuCtxSetCurrent(CUcontext);
    stream_create: cuStreamCreate(*mut CUstream, c_uint);
    stream_destroy: cuStreamDestroy_v2(CUstream);
    stream_wait: cuStreamSynchronize(CUstream);
    stream_wait_event: cuStreamWaitEvent(CUstream, CUevent, c_uint);
    capture_begin: cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
    capture_end: cuStreamEndCapture(CUstream, *mut CUgraph);
    graph_destroy: cuGraphDestroy(CUgraph);
    graph_ready: cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, u64);
    graph_launch: cuGraphLaunch(CUgraphExec, CUstream);
    ready_destroy: cuGraphExecDestroy(CUgraphExec);
    event_create: cuEventCreate(*mut CUevent, c_uint);
    event_destroy: cuEventDestroy_v2(CUevent);
    event_record: cuEventRecord(CUevent, CUstream);
    event_wait: cuEventSynchronize(CUevent);
    event_elapsed: cuEventElapsedTime(*mut f32, CUevent, CUevent);
    memory: cuMemGetInfo_v2(*mut usize, *mut usize);
    allocate: cuMemAlloc_v2(*mut CUdeviceptr, usize);
    free: cuMemFree_v2(CUdeviceptr);
    allocate_host: cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    free_host: cuMemFreeHost(*mut c_void);
    to_device: cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
    to_host: cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
    within: cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
    module_load: cuModuleLoadDataEx(*mut CUmodule, *const c_void, c_uint, *mut CUjit_option, *mut *mut c_void);
    module_unload: cuModuleUnload(CUmodule);
    function: cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    function_attribute: cuFuncSetAttribute(CUfunction, CUfunction_attribute, c_int);
    launch: cuLaunchKernel(
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void
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
        let (library, file) = bind::open(files).map_err(|(tried, why)| DeviceError::NoDriver { tried, why })?;
        let path = file.display().to_string();
        let api = Self::bind(library).map_err(|e| DeviceError::Foreign { path, why: e.to_string() })?;
        // SAFETY: may be called at any time; 0 is the only flag there is.
        match unsafe { (api.init)(0) } {
            NO_DEVICE => Err(DeviceError::NoDevice { asked: 0, found: 0 }),
            code => Ok(api.check("cuInit", code).map(|()| api)?),
        }
    }

    pub fn check(&self, call: &'static str, code: StatusCode) -> Result<(), Failed> {
        if code == 0 { Ok(()) } else { Err(Failed { call, code, why: self.text(code) }) }
    }

    /// What an error is called.
    pub fn text(&self, code: StatusCode) -> String {
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
