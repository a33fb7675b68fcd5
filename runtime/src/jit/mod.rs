//! A program's machine code in memory: the highest level that this CPU (and the caller's limit) can
//! run, mapped executable.
//!
//! Pages are writable while the code is copied, then readable and executable, never both. A program
//! without code for this CPU is an error, never an illegal instruction. The code itself is trusted:
//! a program is run as one runs an executable; its hash protects against damage, not against
//! malice.

use crate::cpu::{level, runs};
use din_program::{Code, Isa, Program};
use memmap2::{Mmap, MmapMut};
use std::fmt;

/// Why none of the program's machine code runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeError(pub String);

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program's machine code cannot run here: {}", self.0)
    }
}

impl std::error::Error for CodeError {}

/// A generated function: argument addresses, then the call's elements `begin..end`. See
/// `din_program::schedule`.
pub type KernelFn = unsafe extern "C" fn(*const *mut u8, u64, u64);

/// Mapped code.
#[derive(Debug)]
pub struct CodeImage {
    /// Level of the code that was chosen; `None` for a program without kernels.
    pub isa: Option<Isa>,
    map: Option<Mmap>,
    entries: Vec<u32>,
}

impl CodeImage {
    /// Maps the highest code of `program` that is at most `limit` and that the CPU runs.
    pub fn load(program: &Program, limit: Isa) -> Result<CodeImage, CodeError> {
        if program.kernels.is_empty() {
            return Ok(CodeImage { isa: None, map: None, entries: Vec::new() });
        }
        let arch = program.triple.split('-').next().expect("splitting yields one part at least");
        let os = match std::env::consts::OS {
            "macos" => "darwin",
            os => os,
        };
        if arch != std::env::consts::ARCH || !program.triple.contains(os) {
            return Err(CodeError(format!(
                "it is for {}, this machine is {} {}; build it for this machine",
                program.triple,
                std::env::consts::ARCH,
                std::env::consts::OS
            )));
        }
        let code =
            program.code.iter().filter(|c| c.isa <= limit && runs(c.isa)).max_by_key(|c| c.isa).ok_or_else(|| {
                let held: Vec<String> = program.code.iter().map(|c| format!("v{}", level(c.isa))).collect();
                CodeError(format!(
                    "it holds code for x86-64 {}, this run allows v{} at most; build it with --isa v{}",
                    if held.is_empty() { "no level".to_string() } else { held.join(", ") },
                    level(limit),
                    level(limit)
                ))
            })?;
        Self::map(code, program.kernels.len())
    }

    fn map(code: &Code, kernels: usize) -> Result<CodeImage, CodeError> {
        if code.entries.len() != kernels {
            return Err(CodeError(format!(
                "its v{} code has {} entries for {kernels} kernels; build it again",
                level(code.isa),
                code.entries.len()
            )));
        }
        if let Some(entry) = code.entries.iter().find(|&&e| e as usize >= code.bytes.len()) {
            return Err(CodeError(format!(
                "entry {entry} lies outside of its {} bytes of v{} code; build it again",
                code.bytes.len(),
                level(code.isa)
            )));
        }
        let failed = |e: std::io::Error| CodeError(format!("the system does not map executable memory: {e}"));
        let mut map = MmapMut::map_anon(code.bytes.len()).map_err(failed)?;
        map.copy_from_slice(&code.bytes);
        // From here on no page of the map is writable.
        let map = map.make_exec().map_err(failed)?;
        Ok(CodeImage { isa: Some(code.isa), map: Some(map), entries: code.entries.clone() })
    }

    /// Entry points, by kernel. They are valid as long as the image lives.
    pub fn functions(&self) -> Vec<KernelFn> {
        let Some(map) = &self.map else { return Vec::new() };
        self.entries
            .iter()
            .map(|&entry| {
                let address = map.as_ptr().wrapping_add(entry as usize);
                // SAFETY: `address` lies in a readable and executable map (checked in `map`), at an
                // entry that the program declares to be a function of this signature, in code of a
                // level that the CPU runs and for its calling convention. A data pointer and a
                // function pointer have one size on the supported targets.
                unsafe { std::mem::transmute::<*const u8, KernelFn>(address) }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn code_is_mapped_and_called() {
        // mov rax, [rdi]; mov dword [rax + rsi*4], edx; ret   (System V)
        let store = [0x48u8, 0x8b, 0x07, 0x89, 0x14, 0xb0, 0xc3];
        let mut bytes = vec![0xcc; 16];
        bytes.extend_from_slice(&store);
        let code = Code { isa: Isa::V2, bytes, entries: vec![16] };
        let image = CodeImage::map(&code, 1).unwrap();
        let mut out = [0u32; 4];
        let args = [out.as_mut_ptr().cast::<u8>()];
        if cfg!(unix) {
            // SAFETY: the function stores `edx` at `args[0] + 4 * rsi`, which is inside `out`.
            unsafe { image.functions()[0](args.as_ptr(), 2, 77) };
            assert_eq!(out, [0, 0, 77, 0]);
        }
    }

    #[test]
    fn entries_outside_are_refused() {
        let code = Code { isa: Isa::V2, bytes: vec![0xc3; 4], entries: vec![4] };
        assert!(matches!(CodeImage::map(&code, 1), Err(CodeError(_))));
        let code = Code { isa: Isa::V2, bytes: vec![0xc3; 4], entries: vec![] };
        assert!(matches!(CodeImage::map(&code, 1), Err(CodeError(_))));
    }
}
