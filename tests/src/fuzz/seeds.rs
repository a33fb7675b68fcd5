//! The inputs that fuzzing begins with.

use crate::specs::{checked, root};
use din_compiler::{CompileOptions, compile};
use din_program::{Isa, Program};
use din_runtime::bundle;
use std::fs;
use std::path::Path;

/// An input, and the file of the corpus that it is or is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The inputs of `tests/corpus/<target>`, in order of their names. The format of programs changes
/// with the compiler, so what the corpora of `program` and `bundle` hold are specs (`*.din`), and
/// inputs are made of them; every other file is one as it is.
///
/// # Panics
///
/// Where the folder cannot be read, or a spec is wrong.
pub fn seeds(target: &str) -> Vec<Seed> {
    let folder = root().join("tests/corpus").join(target);
    let entries = fs::read_dir(&folder).expect("the corpus of the target");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry of the corpus").file_name().into_string().expect("a name in UTF-8"))
        .collect();
    names.sort();
    let made = |name: String| {
        let bytes = fs::read(folder.join(&name)).expect("a file of the corpus");
        let bytes = match target {
            "program" if name.ends_with(".din") => compiled(&name, &bytes).encode(),
            "bundle" if name.ends_with(".din") => executable(&compiled(&name, &bytes)),
            _ => bytes,
        };
        Seed { name, bytes }
    };
    names.into_iter().map(made).collect()
}

fn compiled(name: &str, spec: &[u8]) -> Program {
    let text = std::str::from_utf8(spec).expect("a spec is text");
    let options = CompileOptions { levels: vec![Isa::V2], ..CompileOptions::default() };
    compile(&checked(name, text), &options).expect("what is checked compiles").program
}

/// The program behind the smallest ELF file.
fn executable(program: &Program) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (base, out): (&Path, &Path) = (&folder.path().join("base"), &folder.path().join("out"));
    fs::write(base, elf()).expect("a temporary file is written");
    bundle::build(base, program, None, out).expect("an executable is built");
    fs::read(out).expect("the executable is read")
}

/// A header, and a table of one section that ends the file.
fn elf() -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&64u64.to_le_bytes());
    bytes[54..62].copy_from_slice(&[56, 0, 0, 0, 64, 0, 1, 0]);
    bytes
}
