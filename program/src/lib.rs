//! The program: the one place where the compiler and the runtime meet. A versioned, serialisable artifact with the input schema,
//! tables, parameters, schedule, machine code and the sources it came from. Same spec and flags, same bytes.

pub mod axes;
pub mod cuda;
pub mod schedule;
pub mod schema;

use schedule::{MathFunction, Schedule};
use schema::{Metric, Parameter, Prediction, Schema, State, Table, Training};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Raised whenever a type of this crate, the kernel ABI or the meaning of a call changes.
pub const FORMAT: u32 = 6;

/// A compiled model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub format: u32,
    /// Version of the compiler that wrote it.
    pub compiler: String,
    /// Such as `x86_64-unknown-linux-gnu`.
    pub triple: String,
    /// The model's name.
    pub model: String,
    /// Name and text of every file that the model was made from, its own first. Names are paths from
    /// the model's folder, so that they do not depend on where it lies; `std.…` are the library's.
    pub sources: Vec<(String, String)>,
    /// Hyper-parameters and their values.
    pub hypers: Vec<(String, f64)>,
    pub schema: Schema,
    pub tables: Vec<Table>,
    pub parameters: Vec<Parameter>,
    pub states: Vec<State>,
    pub predictions: Vec<Prediction>,
    pub metrics: Vec<Metric>,
    pub training: Training,
    pub updates: Vec<Update>,
    /// Forward, backward and state updates. Updates of weights follow it, one an entry of `tables` and `parameters`.
    pub train: Schedule,
    /// Predictions and loss.
    pub infer: Schedule,
    pub kernels: Vec<Kernel>,
    /// The kernels' machine code, one blob for each ISA level, ascending.
    pub code: Vec<Code>,
}

/// How a weight is updated. Its schedule's axis 1 is the touched rows of a table, or the elements of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// `adam + adaptive`
    pub name: String,
    pub slots: Vec<UpdateSlot>,
    /// Whether the schedule is for table rows (with [`schedule::KernelArg::RowIndex`]) rather than tensor elements.
    pub rows: bool,
    pub schedule: Schedule,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateSlot {
    pub name: String,
    pub per: SlotScope,
    pub init: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotScope {
    /// As wide as the weight.
    Weight,
    /// One number a row.
    Row,
    /// One number a tensor.
    Tensor,
}

/// A generated function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// For profiles: `train.3.sigmoid_multiply`.
    pub name: String,
    /// `file:line:column` of what asked for it.
    pub location: String,
    pub signature: Signature,
}

/// What the code of a kernel does with its arguments. The runtime holds every call against it, so
/// that a schedule cannot hand a kernel an array that is narrower, shorter or of another kind than
/// the one its code was generated for. The code itself is trusted, as an executable's is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Number of arguments.
    pub arguments: u32,
    /// Every array of f32 that the code reads or writes.
    pub arrays: Vec<ArrayUse>,
    /// Arguments that are addresses of functions of the runtime.
    pub functions: Vec<(u32, MathFunction)>,
}

/// One way in which a kernel reaches an array of f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArrayUse {
    /// Number of the argument that points at the array.
    pub argument: u32,
    pub access: Access,
    /// f32 numbers from one row to the next.
    pub stride: u32,
    /// Columns `0..columns` of a row may be touched.
    pub columns: u32,
    pub writes: bool,
}

/// How a kernel finds the row of an array for element `i` of its call's axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Row `i`.
    Row,
    /// Row `index[i]`, `index` being the argument of that number, an array of `u32`.
    Indexed { index: u32 },
    /// Row `outer[inner[i]]`: a gather for the sample that an entry belongs to.
    Nested { outer: u32, inner: u32 },
    /// Row 0.
    Once,
}

/// Levels of the x86-64 psABI; machine code for one runs on all later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Isa {
    /// SSE4.2
    V2,
    /// AVX2, FMA
    V3,
    /// AVX-512
    V4,
}

/// Position-independent code without relocations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Code {
    pub isa: Isa,
    pub bytes: Vec<u8>,
    /// Offset into `bytes`, by kernel.
    pub entries: Vec<u32>,
}

/// Why bytes are not a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not written by this format version.
    Format { found: u32 },
    /// Cut short or altered.
    Damaged(String),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Format { found } => {
                write!(f, "the program has format {found}, this runtime reads format {FORMAT}; build it again")
            }
            Self::Damaged(why) => write!(f, "the program is damaged: {why}"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl Program {
    /// Deterministic bytes: format, SHA-256 of the rest, the rest.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising plain data into a growing vector cannot fail.
        let body = postcard::to_stdvec(self).unwrap_or_default();
        let mut bytes = self.format.to_le_bytes().to_vec();
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Program, DecodeError> {
        let damaged = |why: &str| DecodeError::Damaged(why.into());
        let (format, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("too short"))?;
        let found = u32::from_le_bytes(*format);
        if found != FORMAT {
            return Err(DecodeError::Format { found });
        }
        let (digest, body) = rest.split_first_chunk::<32>().ok_or_else(|| damaged("too short"))?;
        if Sha256::digest(body).as_slice() != digest {
            return Err(damaged("its hash does not match"));
        }
        postcard::from_bytes(body).map_err(|e| DecodeError::Damaged(e.to_string()))
    }

    /// Hex SHA-256 of the encoded program.
    pub fn hash(&self) -> String {
        Sha256::digest(self.encode()).iter().map(|b| format!("{b:02x}")).collect()
    }
}
