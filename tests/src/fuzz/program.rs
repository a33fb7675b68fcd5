//! Targets that take a compiled program.

use super::{Outcome, seal};
use din_program::{Isa, Program};
use din_runtime::bundle;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::threads::Threads;
use std::sync::Arc;

/// Decodes a program, as it is and with its hash set right, and lets the runtime validate it. Its
/// machine code is loaded, and never run.
///
/// # Panics
///
/// Where a decoded program is encoded as one that is decoded to another.
pub fn program(data: &[u8]) -> Outcome {
    let plain = load(data);
    let sealed = seal::program(data).map_or(Outcome::Refused, |sealed| load(&sealed));
    Outcome::of(plain == Outcome::Accepted || sealed == Outcome::Accepted)
}

fn load(data: &[u8]) -> Outcome {
    let Ok(program) = Program::decode(data) else { return Outcome::Refused };
    let encoded = program.encode();
    // Numbers may be NaN, so that the bytes are compared.
    let again = Program::decode(&encoded).expect("what was encoded is decoded");
    assert!(again.encode() == encoded, "encoding and decoding changes the program");
    Outcome::of(CpuExecutor::new(Arc::new(program), Threads::caller(), Isa::V2).is_ok())
}

/// Reads an executable with an appended program, as it is and with its hashes set right.
///
/// # Panics
///
/// Where no temporary file can be written.
pub fn bundle(data: &[u8]) -> Outcome {
    let read = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), bytes).expect("a temporary file is written");
        Outcome::of(bundle::read(file.path()).is_ok_and(|carried| carried.is_some()))
    };
    let plain = read(data);
    let sealed = seal::bundle(data).map_or(Outcome::Refused, |sealed| read(&sealed));
    Outcome::of(plain == Outcome::Accepted || sealed == Outcome::Accepted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::seeds;
    use din_program::{DecodeError, FORMAT};

    /// What `decode` says of a program that is encoded after a change, with a right hash.
    fn said(change: impl Fn(&mut Vec<u8>)) -> Result<Program, DecodeError> {
        let mut bytes = seeds("program").into_iter().find(|seed| seed.name == "smallest.din").expect("a seed").bytes;
        change(&mut bytes);
        Program::decode(&seal::program(&bytes).expect("longer than a header"))
    }

    #[test]
    fn a_program_that_contradicts_its_header_or_is_followed_by_more_is_refused() {
        let program = said(|_| {}).unwrap();
        assert_eq!(program.format, FORMAT);
        let followed = said(|bytes| bytes.push(0));
        assert_eq!(followed, Err(DecodeError::Damaged("more follows its contents".into())));
        // The contents begin with the format, which is small enough for one byte.
        let contradicting = said(|bytes| bytes[36] += 1);
        assert_eq!(contradicting, Err(DecodeError::Damaged("its contents have another format".into())));
    }
}
