//! Machine code, one blob for each ISA level: every region of a program compiled by `vector`,
//! or, at level v2 and where a region gains nothing by it, by Cranelift.
//!
//! Guarantees: the blobs need no linking and no relocation; equal regions give equal bytes; a
//! region that `plan` produced never panics here.

mod cranelift;
pub mod cuda;
mod math;
mod vector;

use crate::plan::Kernels;
use crate::plan::region::Region;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use din_program::{Code, Isa};

/// Why no code came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodegenError {
    /// The environment variable `DIN_FORBID_CODEGEN` is set: used to prove that stand-alone
    /// executables generate nothing.
    Forbidden,
    /// Cranelift refused a kernel; a bug of the compiler.
    Kernel { name: String, why: String },
}

impl std::fmt::Display for CodegenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forbidden => write!(f, "code generation is refused because DIN_FORBID_CODEGEN is set"),
            Self::Kernel { name, why } => write!(f, "kernel `{name}` cannot be compiled (a bug in Din): {why}"),
        }
    }
}

impl std::error::Error for CodegenError {}

/// Every level that blobs are made for, ascending.
pub const LEVELS: [Isa; 3] = [Isa::V2, Isa::V3, Isa::V4];

/// How Cranelift allocates registers.
#[derive(Clone, Copy)]
enum RegisterAllocation {
    /// Its better way, whose time grows faster than the kernel.
    Backtracking,
    /// In one pass over the code, with more loads and stores of what does not fit into registers.
    SinglePass,
}

/// The most instructions of a region whose registers Cranelift allocates in the better way. Of a
/// model of 17,000 operations that one pass allocates 250 at a time, the better way takes half of
/// all compile time. At levels v3 and v4 it concerns single values alone: `vector` has the rest.
const BACKTRACKING_INSTRUCTIONS: usize = 64;

fn target(isa: Isa, allocation: RegisterAllocation) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let registers = match allocation {
        RegisterAllocation::Backtracking => "backtracking",
        RegisterAllocation::SinglePass => "single_pass",
    };
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    for (name, value) in [("opt_level", "speed"), ("enable_verifier", verifier), ("regalloc_algorithm", registers)] {
        flags.set(name, value).map_err(|e| e.to_string())?;
    }
    let mut builder = cranelift_codegen::isa::lookup_by_name("x86_64-unknown-linux-gnu").map_err(|e| e.to_string())?;
    let v2 = ["has_sse3", "has_ssse3", "has_cmpxchg16b", "has_sse41", "has_sse42", "has_popcnt"];
    let v3 = ["has_avx", "has_avx2", "has_bmi1", "has_bmi2", "has_lzcnt", "has_fma"];
    let v4 = ["has_avx512f", "has_avx512dq", "has_avx512vl"];
    let mut enabled: Vec<&str> = v2.to_vec();
    if isa >= Isa::V3 {
        enabled.extend(v3);
    }
    if isa >= Isa::V4 {
        enabled.extend(v4);
    }
    for name in enabled {
        builder.enable(name).map_err(|e| e.to_string())?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())
}

/// Compiles all kernels for one level.
pub fn generate(kernels: &Kernels, isa: Isa) -> Result<Code, CodegenError> {
    if std::env::var_os("DIN_FORBID_CODEGEN").is_some() {
        return Err(CodegenError::Forbidden);
    }
    let mut code = Code { isa, bytes: Vec::new(), entries: Vec::new() };
    compile_all(kernels, isa, false, |_, bytes, _| {
        // Constants behind the code are addressed relative to it: alignment must hold.
        while !code.bytes.len().is_multiple_of(64) {
            code.bytes.push(0xcc);
        }
        code.entries.push(code.bytes.len() as u32);
        code.bytes.extend_from_slice(bytes);
    })?;
    Ok(code)
}

/// Gives each kernel's number, bytes and, where asked for, listing.
fn compile_all(
    kernels: &Kernels,
    isa: Isa,
    listing: bool,
    mut each: impl FnMut(usize, &[u8], &str),
) -> Result<(), CodegenError> {
    let target =
        |allocation| target(isa, allocation).map_err(|why| CodegenError::Kernel { name: format!("{isa:?}"), why });
    let small = target(RegisterAllocation::Backtracking)?;
    let large = target(RegisterAllocation::SinglePass)?;
    let mut context = Context::new();
    for (k, region) in kernels.regions.iter().enumerate() {
        if let Some(found) = vector::build(region, isa, listing) {
            each(k, &found.bytes, &found.text);
            continue;
        }
        let target = if region.body.len() > BACKTRACKING_INSTRUCTIONS { &large } else { &small };
        let failed = |why: String| CodegenError::Kernel { name: kernels.names[k].clone(), why };
        context.clear();
        context.func = cranelift::build(region, k as u32, &**target, isa >= Isa::V3);
        context.set_disasm(listing);
        let compiled =
            context.compile(&**target, &mut ControlPlane::default()).map_err(|e| failed(format!("{:?}", e.inner)))?;
        if !compiled.buffer.relocs().is_empty() {
            return Err(failed(format!("it has relocations: {:?}", compiled.buffer.relocs())));
        }
        each(k, compiled.code_buffer(), compiled.vcode.as_deref().unwrap_or(""));
    }
    Ok(())
}

/// Cranelift's text of one region, for `din emit --stage clif`; of one that `vector` compiles, a
/// line that says so.
pub fn clif(region: &Region, index: u32, isa: Isa) -> Result<String, CodegenError> {
    if vector::build(region, isa, false).is_some() {
        return Ok("; vector code of our own, not by Cranelift: see `--stage asm`, or `--isa v2`\n".into());
    }
    let target = target(isa, RegisterAllocation::Backtracking)
        .map_err(|why| CodegenError::Kernel { name: format!("{isa:?}"), why })?;
    Ok(cranelift::build(region, index, &*target, isa >= Isa::V3).display().to_string())
}

/// Disassembly of all kernels at one level, for `din emit --stage asm`.
pub fn assembly(kernels: &Kernels, isa: Isa) -> Result<String, CodegenError> {
    let mut text = String::new();
    compile_all(kernels, isa, true, |k, _, listing| {
        text.push_str(&format!("; {} ({})\n{listing}\n", kernels.names[k], kernels.locations[k]));
    })?;
    Ok(text)
}
