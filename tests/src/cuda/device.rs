//! A compiled source as a device: memory is made known to the shim, kernels are launched by name.

use libloading::Library;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The compiled library, in the folder of a device.
const OBJECT: &str = "kernels.so";

/// Why a source did not compile, or what the shim found.
pub type Failure = String;

type Register = unsafe extern "C" fn(*const c_char, *mut c_void, usize, c_int);
type Unwritten = unsafe extern "C" fn(*const c_void, usize) -> usize;
type Forget = unsafe extern "C" fn(*const c_void, usize);
type Skip = unsafe extern "C" fn(c_int);
type Reset = unsafe extern "C" fn();
type Launch = unsafe extern "C" fn(
    *const c_void,
    c_uint,
    c_uint,
    c_uint,
    usize,
    *const u64,
    *const u32,
    *mut f32,
    c_ulonglong,
) -> *const c_char;

/// One compiled source. Not to be used by two threads at once: the shim has one state.
#[derive(Debug)]
pub struct Device {
    library: Library,
    register: Register,
    unwritten: Unwritten,
    reset: Reset,
    forget: Forget,
    skip: Skip,
    launch: Launch,
    folder: tempfile::TempDir,
}

/// The bytes of a compiled library.
type Object = Result<Vec<u8>, Failure>;

/// By level of the optimiser and source; each is empty until it is compiled.
type Compiled = BTreeMap<(u32, String), Arc<OnceLock<Object>>>;

/// Compiles a source.
fn object(source: &str, level: u32) -> Object {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (text, object) = (folder.path().join("kernels.cpp"), folder.path().join(OBJECT));
    std::fs::write(&text, source).map_err(|e| e.to_string())?;
    let shim = Path::new(env!("CARGO_MANIFEST_DIR")).join("shim/shim.h");
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "g++".into());
    let mut command = Command::new(&compiler);
    command.args(["-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]);
    command.args(["-Wall", "-Wno-unknown-pragmas", "-Wno-unused", "-Wno-attributes", "-Wno-maybe-uninitialized"]);
    command.arg(format!("-O{level}")).arg("-include").arg(shim).arg("-o").arg(&object).arg(&text);
    let output = command.output().map_err(|e| format!("{compiler}: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).chars().take(4000).collect());
    }
    std::fs::read(&object).map_err(|e| e.to_string())
}

impl Device {
    /// Compiles a source with the optimiser at `level` (0 for much code that runs little); one that
    /// this process has compiled before only gets a state of its own.
    pub fn compile(source: &str, level: u32) -> Result<Device, Failure> {
        static COMPILED: Mutex<Compiled> = Mutex::new(BTreeMap::new());
        let key = (level, source.to_string());
        let entry = COMPILED.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        // Others with the same source wait here.
        let object = entry.get_or_init(|| object(source, level)).as_ref().map_err(Failure::clone)?;
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        std::fs::write(folder.path().join(OBJECT), object).map_err(|e| e.to_string())?;
        Self::open(folder)
    }

    /// A device with a state of its own, for another thread.
    pub fn copy(&self) -> Result<Device, Failure> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        std::fs::copy(self.path(), folder.path().join(OBJECT)).map_err(|e| e.to_string())?;
        Self::open(folder)
    }

    fn open(folder: tempfile::TempDir) -> Result<Device, Failure> {
        let object = folder.path().join(OBJECT);
        // SAFETY: the library was made from our own source; it has no initialisers but those of its
        // own state.
        let library = unsafe { Library::new(&object) }.map_err(|e| e.to_string())?;
        // SAFETY: `shim.h` defines these functions with these types.
        unsafe {
            let register = *library.get::<Register>(b"din_shim_buffer").map_err(|e| e.to_string())?;
            let unwritten = *library.get::<Unwritten>(b"din_shim_unwritten").map_err(|e| e.to_string())?;
            let reset = *library.get::<Reset>(b"din_shim_reset").map_err(|e| e.to_string())?;
            let forget = *library.get::<Forget>(b"din_shim_forget").map_err(|e| e.to_string())?;
            let skip = *library.get::<Skip>(b"din_shim_skip").map_err(|e| e.to_string())?;
            let launch = *library.get::<Launch>(b"din_shim_launch").map_err(|e| e.to_string())?;
            Ok(Device { library, register, unwritten, reset, forget, skip, launch, folder })
        }
    }

    /// The compiled library.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(OBJECT)
    }

    /// Makes memory known; `written` where it holds numbers already.
    pub fn buffer<T: Copy>(&self, name: &str, memory: &mut [T], written: bool) {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: the shim keeps the address; it is used by launches only, whose callers keep the
        // memory.
        unsafe {
            (self.register)(name.as_ptr(), memory.as_mut_ptr().cast(), size_of_val(memory), c_int::from(written));
        }
    }

    /// Makes `bytes` bytes at an address known.
    ///
    /// # Safety
    ///
    /// They are live, and written by launches alone, until they are forgotten.
    pub unsafe fn buffer_at(&self, name: &str, at: u64, bytes: usize, written: bool) {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: the shim keeps the address; it is used by launches only.
        unsafe { (self.register)(name.as_ptr(), at as *mut c_void, bytes, c_int::from(written)) }
    }

    /// Numbers of a known buffer that nothing has written.
    pub fn unwritten<T>(&self, memory: &[T]) -> usize {
        self.unwritten_at(memory.as_ptr() as u64, size_of_val(memory))
    }

    /// The same, from an address on.
    pub fn unwritten_at(&self, at: u64, bytes: usize) -> usize {
        // SAFETY: the address is looked up, not followed.
        unsafe { (self.unwritten)(at as *const c_void, bytes) }
    }

    /// Forgets the buffers that begin within a range.
    pub fn forget(&self, at: u64, bytes: usize) {
        // SAFETY: no launch is running; addresses are compared alone.
        unsafe { (self.forget)(at as *const c_void, bytes) }
    }

    /// Forgets all buffers.
    pub fn reset(&self) {
        // SAFETY: no launch is running.
        unsafe { (self.reset)() }
    }

    /// Leaves out the barriers of a line of the source, counted from 1, from now on; 0 for none.
    pub fn skip(&self, line: usize) {
        // SAFETY: no launch is running.
        unsafe { (self.skip)(line as c_int) }
    }

    /// Runs a kernel; all memory that `address` leads to, and `scratch`, must be known and live.
    #[allow(clippy::too_many_arguments)]
    pub fn launch(
        &self,
        kernel: &str,
        grid: (u32, u32),
        threads: u32,
        shared: u32,
        address: &[u64],
        batch: &[u32],
        scratch: &mut [f32],
        seed: u64,
    ) -> Result<(), Failure> {
        let arguments = (address.as_ptr(), batch.as_ptr(), scratch.as_mut_ptr());
        // SAFETY: the slices live; the rest is as documented.
        unsafe { self.launch_at(kernel, grid, threads, shared, arguments, seed) }
    }

    /// The same, by addresses.
    ///
    /// # Safety
    ///
    /// The addresses lead to as many addresses and words as the kernel reads.
    pub unsafe fn launch_at(
        &self,
        kernel: &str,
        grid: (u32, u32),
        threads: u32,
        shared: u32,
        (address, batch, scratch): (*const u64, *const u32, *mut f32),
        seed: u64,
    ) -> Result<(), Failure> {
        // SAFETY: a function of the library, only handed on.
        let function = unsafe { self.library.get::<*const c_void>(kernel.as_bytes()) };
        let function = function.map_err(|e| format!("{kernel}: {e}"))?;
        // SAFETY: generated kernels have the shim's type; every access of theirs is checked against
        // the known buffers.
        let error = unsafe {
            (self.launch)(*function, grid.0, grid.1, threads, shared as usize, address, batch, scratch, seed)
        };
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the shim's error ends with 0 and stays until the next launch.
        Err(format!("{kernel}: {}", unsafe { CStr::from_ptr(error) }.to_string_lossy()))
    }
}
