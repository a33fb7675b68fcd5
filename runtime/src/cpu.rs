//! What this CPU can run: the levels of x86-64.

use din_program::Isa;
use std::fmt;

/// An ISA level was asked for that is above what the CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsupportedIsa {
    pub asked: Isa,
    pub found: Isa,
}

impl fmt::Display for UnsupportedIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, asked) = (level(self.found), level(self.asked));
        write!(f, "this CPU runs x86-64 level {found} at most, not the level {asked} asked for")
    }
}

impl std::error::Error for UnsupportedIsa {}

/// Number of an x86-64 psABI level, as in `v3`.
pub fn level(isa: Isa) -> u32 {
    match isa {
        Isa::V2 => 2,
        Isa::V3 => 3,
        Isa::V4 => 4,
    }
}

/// The highest level of this CPU. [`Isa::V2`] stands for "portable" where the CPU has less or is of
/// another family; whether a program's code runs there is decided by
/// [`crate::jit::CodeImage::load`].
pub fn detect() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let v3 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("movbe");
        let v4 = v3
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if v4 {
            return Isa::V4;
        }
        if v3 {
            return Isa::V3;
        }
    }
    Isa::V2
}

/// The CPU's level, or the lower one that is asked for.
pub fn choose(asked: Option<Isa>) -> Result<Isa, UnsupportedIsa> {
    let found = detect();
    match asked {
        Some(asked) if asked > found => Err(UnsupportedIsa { asked, found }),
        Some(asked) => Ok(asked),
        None => Ok(found),
    }
}

/// Whether this CPU runs code of `isa` at all.
pub fn runs(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        match isa {
            Isa::V2 => {
                is_x86_feature_detected!("sse4.2")
                    && is_x86_feature_detected!("ssse3")
                    && is_x86_feature_detected!("popcnt")
                    && is_x86_feature_detected!("cmpxchg16b")
            }
            Isa::V3 | Isa::V4 => detect() >= isa,
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_chosen_downwards_only() {
        let found = detect();
        assert_eq!(choose(None).unwrap(), found);
        assert_eq!(choose(Some(Isa::V2)).unwrap(), Isa::V2);
        if found < Isa::V4 {
            assert!(matches!(choose(Some(Isa::V4)), Err(UnsupportedIsa { .. })));
        }
    }
}
