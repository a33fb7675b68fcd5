//! NVRTC: CUDA C++ to CUBIN or PTX. The library is opened when it is asked for, by the environment
//! variable `DIN_NVRTC` or its usual names.
//!
//! Guarantees: a missing or foreign library, a missing function and a source that does not compile
//! are errors that say what to do; nothing panics. The dozen functions are bound as `bind` says.

use super::bind::{self, api, or};
use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};
use libloading::Library;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Names the library's file.
pub const VARIABLE: &str = "DIN_NVRTC";
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
/// Tensor cores with TF32 and BF16 begin here.
pub(super) const LEAST: u32 = 80;

api! {
    struct Api -> c_int as nvrtcResult;
    version: nvrtcVersion(*mut c_int, *mut c_int);
    known_count: nvrtcGetNumSupportedArchs(*mut c_int);
    known: nvrtcGetSupportedArchs(*mut c_int);
    create: nvrtcCreateProgram(
        *mut nvrtcProgram, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char
    );
    compile: nvrtcCompileProgram(nvrtcProgram, c_int, *const *const c_char);
    destroy: nvrtcDestroyProgram(*mut nvrtcProgram);
    cubin_size: nvrtcGetCUBINSize(nvrtcProgram, *mut usize);
    cubin: nvrtcGetCUBIN(nvrtcProgram, *mut c_char);
    ptx_size: nvrtcGetPTXSize(nvrtcProgram, *mut usize);
    ptx: nvrtcGetPTX(nvrtcProgram, *mut c_char);
    log_size: nvrtcGetProgramLogSize(nvrtcProgram, *mut usize);
    log: nvrtcGetProgramLog(nvrtcProgram, *mut c_char);
    message: nvrtcGetErrorString(c_int as nvrtcResult) -> *const c_char;
}

/// How something of a program is got: its size, then as many bytes.
type Size = unsafe extern "C" fn(nvrtcProgram, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(nvrtcProgram, *mut c_char) -> c_int;

/// What to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CudaTarget {
    /// Machine code of one architecture, `sm_90`.
    Cubin(u32),
    /// PTX for it and later ones, `compute_90`.
    Ptx(u32),
}

impl fmt::Display for CudaTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cubin(n) => write!(f, "sm_{n}"),
            Self::Ptx(n) => write!(f, "compute_{n}"),
        }
    }
}

impl FromStr for CudaTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<CudaTarget, String> {
        let number = |n: &str| n.parse::<u32>().ok().filter(|n| (LEAST..1000).contains(n));
        let (sm, compute) = (text.strip_prefix("sm_"), text.strip_prefix("compute_"));
        let target = sm.and_then(number).map(CudaTarget::Cubin).or(compute.and_then(number).map(CudaTarget::Ptx));
        target.ok_or_else(|| format!("expected sm_{LEAST} or later, or compute_{LEAST} or later, found `{text}`"))
    }
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NvrtcError {
    /// No library: what was tried, and the last reason.
    Missing { tried: Vec<String>, why: String },
    /// A library of that name, but not NVRTC.
    Foreign { path: String, why: String },
    /// An architecture that this NVRTC does not know.
    Target { target: CudaTarget, version: (i32, i32), known: Vec<i32> },
    /// The source does not compile for the target.
    Source { target: CudaTarget, log: String },
    /// A call failed otherwise.
    Call { call: &'static str, why: String },
}

impl fmt::Display for NvrtcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { tried, why } => write!(
                f,
                "NVRTC, the compiler of CUDA source, was not found: tried {}: {why}\n  help: install it (CUDA 12 or 13, or the Python \
                 package nvidia-cuda-nvrtc) and set {VARIABLE} to its libnvrtc.so",
                tried.join(", ")
            ),
            Self::Foreign { path, why } => {
                write!(f, "`{path}` is not NVRTC: {why}\n  help: set {VARIABLE} to libnvrtc.so of CUDA 12 or 13")
            }
            Self::Target { target, version: (major, minor), known } => {
                let known: Vec<String> = known.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "NVRTC {major}.{minor} does not compile for {target}\n  help: it knows the architectures {}; for others set \
                     {VARIABLE} to another version's libnvrtc.so",
                    known.join(", ")
                )
            }
            Self::Source { target, log } => write!(f, "the generated source does not compile for {target}:\n{log}"),
            Self::Call { call, why } => write!(f, "NVRTC's {call} failed: {why}"),
        }
    }
}

impl std::error::Error for NvrtcError {}

/// The compiler.
#[derive(Debug)]
pub struct Nvrtc {
    api: Api,
    version: (i32, i32),
    /// The architectures it knows; empty where it cannot say.
    known: Vec<i32>,
    _builtins: Vec<Library>,
}

/// NVRTC opens a second library by name when it compiles, and finds it outside of the system's
/// folders only if it is open already.
fn builtins(file: &Path) -> Vec<Library> {
    let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let beside = entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so"));
    // SAFETY: as for NVRTC itself.
    beside.filter_map(|e| unsafe { Library::new(e.path()) }.ok()).collect()
}

/// The architectures that the compiler lists.
fn known(api: &Api) -> Vec<i32> {
    let mut n = 0;
    // SAFETY: the address of a live number.
    if unsafe { (api.known_count)(&mut n) } != 0 || !(1..1000).contains(&n) {
        return Vec::new();
    }
    let mut all = vec![0; n as usize];
    // SAFETY: room for as many numbers as it said.
    if unsafe { (api.known)(all.as_mut_ptr()) } == 0 { all } else { Vec::new() }
}

/// The options that are passed with the source.
pub(super) fn options(target: CudaTarget) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture={target}"), "--std=c++17".into(), "--restrict".into()];
    if let CudaTarget::Cubin(_) = target {
        options.push("--ptxas-options=-v".into());
    }
    options
}

/// A compiled source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaImage {
    pub target: CudaTarget,
    /// CUBIN, or the PTX's text.
    pub code: Vec<u8>,
    /// What the compiler had to say; empty where the image was not compiled just now.
    pub log: String,
}

/// What a kernel takes on a target, as the assembler says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub kernel: String,
    pub registers: u32,
    /// Bytes stored to and loaded from memory for want of registers.
    pub spill_stores: u32,
    pub spill_loads: u32,
    /// Bytes of local memory a thread.
    pub stack: u32,
}

impl Nvrtc {
    /// Opens the library that `DIN_NVRTC` names, else the system's.
    pub fn load() -> Result<Nvrtc, NvrtcError> {
        match std::env::var_os(VARIABLE) {
            Some(path) => Self::open(&[PathBuf::from(path)]),
            None => Self::open(&NAMES.map(PathBuf::from)),
        }
    }

    /// Opens the first of some files that is there.
    pub fn open(files: &[PathBuf]) -> Result<Nvrtc, NvrtcError> {
        let (library, file) = bind::open(files).map_err(|(tried, why)| NvrtcError::Missing { tried, why })?;
        let path = file.display().to_string();
        let api = Api::bind(library).map_err(|e| NvrtcError::Foreign { path, why: e.to_string() })?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the addresses of live numbers.
        unsafe { (api.version)(&mut major, &mut minor) };
        Ok(Nvrtc { known: known(&api), version: (major, minor), api, _builtins: builtins(file) })
    }

    /// Major and minor, such as 13 and 0.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Compiles a source; `name` stands in messages. CUBINs come with the assembler's account, see
    /// [`CudaImage::resources`].
    pub fn compile(&self, source: &str, name: &str, target: CudaTarget) -> Result<CudaImage, NvrtcError> {
        let text = |s: &str| {
            CString::new(s)
                .map_err(|_| NvrtcError::Call { call: "nvrtcCreateProgram", why: "a text with a zero byte".into() })
        };
        let (CudaTarget::Cubin(architecture) | CudaTarget::Ptx(architecture)) = target;
        if !self.known.is_empty() && !self.known.contains(&(architecture as i32)) {
            return Err(NvrtcError::Target { target, version: self.version, known: self.known.clone() });
        }
        let (source, name) = (text(source)?, text(name)?);
        let options = options(target).iter().map(|o| text(o)).collect::<Result<Vec<CString>, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program: nvrtcProgram = std::ptr::null_mut();
        // SAFETY: both texts end with 0 and live until the program is destroyed; there are no
        // headers.
        let code = unsafe {
            (self.api.create)(&mut program, source.as_ptr(), name.as_ptr(), 0, std::ptr::null(), std::ptr::null())
        };
        self.check("nvrtcCreateProgram", code)?;
        let program = Owned { nvrtc: self, program };
        // SAFETY: the program is live, and so are the options.
        let code = unsafe { (self.api.compile)(program.program, options.len() as c_int, options.as_ptr()) };
        let log = self.get("nvrtcGetProgramLog", (self.api.log_size, self.api.log), &program)?;
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_string();
        const SOURCE: c_int = nvrtcResult::NVRTC_ERROR_COMPILATION as c_int;
        if code == SOURCE {
            return Err(NvrtcError::Source { target, log });
        }
        // The log says what is missing, such as the library of built-in functions.
        self.check("nvrtcCompileProgram", code).map_err(|e| match e {
            NvrtcError::Call { call, why } if !log.is_empty() => {
                NvrtcError::Call { call, why: format!("{why}: {log}") }
            }
            e => e,
        })?;
        let code = match target {
            CudaTarget::Cubin(_) => self.get("nvrtcGetCUBIN", (self.api.cubin_size, self.api.cubin), &program)?,
            CudaTarget::Ptx(_) => {
                let mut text = self.get("nvrtcGetPTX", (self.api.ptx_size, self.api.ptx), &program)?;
                text.truncate(text.iter().position(|&b| b == 0).unwrap_or(text.len()));
                text
            }
        };
        Ok(CudaImage { target, code, log })
    }

    fn get(&self, call: &'static str, (size, get): (Size, Get), program: &Owned<'_>) -> Result<Vec<u8>, NvrtcError> {
        let mut bytes = 0;
        // SAFETY: the program is live.
        self.check(call, unsafe { size(program.program, &mut bytes) })?;
        let mut found = vec![0u8; bytes];
        // SAFETY: the program is live and the vector has the room that was asked for.
        self.check(call, unsafe { get(program.program, found.as_mut_ptr().cast()) })?;
        Ok(found)
    }

    fn check(&self, call: &'static str, code: c_int) -> Result<(), NvrtcError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: any number may be asked for; the text is static.
        let message = unsafe { (self.api.message)(code) };
        if message.is_null() {
            return Err(NvrtcError::Call { call, why: format!("error {code}") });
        }
        // SAFETY: not null, so a text that ends with 0.
        Err(NvrtcError::Call { call, why: unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned() })
    }
}

/// A program that is destroyed in the end.
struct Owned<'a> {
    nvrtc: &'a Nvrtc,
    program: nvrtcProgram,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: made by the same library and used no more.
        unsafe { (self.nvrtc.api.destroy)(&mut self.program) };
    }
}

impl CudaImage {
    /// Whether it can be what it says, before a driver is given it: a file may hold anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (expected, found) = match self.target {
            CudaTarget::Cubin(_) => ("machine code", self.code.starts_with(b"\x7fELF")),
            CudaTarget::Ptx(_) => {
                let text = !self.code.contains(&0) && std::str::from_utf8(&self.code).is_ok();
                ("PTX", text && !self.code.is_empty())
            }
        };
        if found { Ok(()) } else { Err(format!("image for {} is not {expected}", self.target)) }
    }

    /// What each kernel takes, by name, from the assembler's account in the log.
    pub fn resources(&self) -> Vec<Resources> {
        let mut all: Vec<Resources> = Vec::new();
        let before = |line: &str, what: &str| -> Option<u32> {
            let head = line.get(..line.find(what)?)?;
            head.trim_end().rsplit([' ', ',']).next()?.parse().ok()
        };
        for line in self.log.lines() {
            if let Some(rest) = line.split("Compiling entry function '").nth(1) {
                let kernel = rest.split('\'').next().unwrap_or_default().to_string();
                all.push(Resources { kernel, ..Resources::default() });
            }
            let Some(last) = all.last_mut() else { continue };
            last.registers = before(line, " registers").unwrap_or(last.registers);
            last.spill_stores = before(line, " bytes spill stores").unwrap_or(last.spill_stores);
            last.spill_loads = before(line, " bytes spill loads").unwrap_or(last.spill_loads);
            last.stack = before(line, " bytes stack frame").unwrap_or(last.stack);
        }
        all.sort_by(|a, b| a.kernel.cmp(&b.kernel));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!("sm_90".parse(), Ok(CudaTarget::Cubin(90)));
        assert_eq!("compute_100".parse(), Ok(CudaTarget::Ptx(100)));
        for wrong in ["sm_", "sm_75", "90", "sm_90a", "compute_x", "sm_-80"] {
            assert!(wrong.parse::<CudaTarget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_missing_library_is_told() {
        let error = Nvrtc::open(&["no/such/libnvrtc.so".into()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no/such/libnvrtc.so") && text.contains(VARIABLE), "{text}");
    }

    #[test]
    fn another_library_is_told() {
        let Err(error) = Nvrtc::open(&["libc.so.6".into()]) else { panic!("libc is not NVRTC") };
        assert!(matches!(error, NvrtcError::Foreign { .. } | NvrtcError::Missing { .. }), "{error}");
    }

    #[test]
    fn the_assemblers_account() {
        let log = "ptxas info    : 0 bytes gmem\nptxas info    : Compiling entry function 'b' for 'sm_90'\nptxas info    : Function properties for b\n    \
                   64 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\nptxas info    : Used 40 registers, used 1 barriers, 64 bytes cumulative stack size\n\
                   ptxas info    : Compiling entry function 'a' for 'sm_90'\nptxas info    : Used 9 registers, used 0 barriers\n";
        let found = CudaImage { target: CudaTarget::Cubin(90), code: vec![], log: log.into() }.resources();
        let b = Resources { kernel: "b".into(), registers: 40, spill_stores: 8, spill_loads: 12, stack: 64 };
        assert_eq!(found, [Resources { kernel: "a".into(), registers: 9, ..Resources::default() }, b]);
    }
}
