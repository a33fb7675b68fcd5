//! What decides the bits of results beside the program, the data and the seed.

use crate::cpu;
use din_program::Isa;
use din_program::cuda::Precision;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// The arithmetic of an executor. As text, in `run.json` and checkpoints: `cpu v4`,
/// `cuda sm_90 tf32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    Cpu(Isa),
    Cuda {
        /// Such as 90 for `sm_90`.
        architecture: u32,
        precision: Precision,
    },
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(isa) => write!(f, "cpu v{}", cpu::level(*isa)),
            Self::Cuda { architecture, precision } => write!(f, "cuda sm_{architecture} {precision}"),
        }
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Backend, String> {
        let parsed = match *text.split(' ').collect::<Vec<_>>() {
            ["cpu", "v2"] => Some(Self::Cpu(Isa::V2)),
            ["cpu", "v3"] => Some(Self::Cpu(Isa::V3)),
            ["cpu", "v4"] => Some(Self::Cpu(Isa::V4)),
            ["cuda", architecture, precision] => {
                let number = architecture.strip_prefix("sm_").and_then(|digits| digits.parse().ok());
                number
                    .zip(precision.parse().ok())
                    .map(|(architecture, precision)| Self::Cuda { architecture, precision })
            }
            _ => None,
        };
        parsed.ok_or_else(|| format!("expected a back end such as `cpu v4` or `cuda sm_90 f32`, found `{text}`"))
    }
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Backend, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn back_ends_are_read_as_they_are_written() {
        let cuda = |architecture, precision| Backend::Cuda { architecture, precision };
        for (backend, text) in [
            (Backend::Cpu(Isa::V2), "cpu v2"),
            (Backend::Cpu(Isa::V3), "cpu v3"),
            (Backend::Cpu(Isa::V4), "cpu v4"),
            (cuda(90, Precision::F32), "cuda sm_90 f32"),
            (cuda(86, Precision::Tf32), "cuda sm_86 tf32"),
            (cuda(100, Precision::Bf16), "cuda sm_100 bf16"),
        ] {
            assert_eq!((backend.to_string().as_str(), text.parse()), (text, Ok(backend)));
            assert_eq!(serde_json::from_str::<Backend>(&serde_json::to_string(&backend).unwrap()).unwrap(), backend);
        }
        for wrong in
            ["", "cpu", "v4", "cpu v5", "cpu  v4", "cuda sm_90", "cuda 90 f32", "cuda sm_x f32", "cuda sm_90 f16"]
        {
            assert!(wrong.parse::<Backend>().is_err_and(|why| why.contains(&format!("`{wrong}`"))), "{wrong}");
        }
    }
}
