//! The program: the one place where the compiler and the runtime meet. A versioned, serialisable
//! artifact with the input schema, tables, parameters, schedule, machine code and the sources it
//! came from. Same spec and flags, same bytes.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod axes;
pub mod cuda;
pub mod dropout;
pub mod schedule;
pub mod schema;

use schedule::{MathFunction, Schedule};
use schema::{Metric, Output, Parameter, Prediction, Schema, State, TableSpec, Training};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Raised whenever a type of this crate, the kernel ABI or the meaning of a call changes.
pub const FORMAT: u32 = 12;

/// A compiled model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// [`FORMAT`] of the compiler that wrote it.
    pub format: u32,
    /// Version of the compiler that wrote it.
    pub compiler: String,
    /// Such as `x86_64-unknown-linux-gnu`.
    pub triple: String,
    /// The model's name.
    pub model: String,
    /// Name and text of every file that the model was made from, its own first. Names are paths
    /// from the model's folder, so that they do not depend on where it lies; `std.…` are the
    /// library's.
    pub sources: Vec<(String, String)>,
    /// Hyper-parameters and their values.
    pub hypers: Vec<(String, f64)>,
    /// The columns of the data that it reads.
    pub schema: Schema,
    /// Embedding tables; other parts name them by index.
    pub tables: Vec<TableSpec>,
    /// Dense parameters; other parts name them by index.
    pub parameters: Vec<Parameter>,
    /// Values that a step carries to the next without a gradient.
    pub states: Vec<State>,
    /// One per label that is predicted.
    pub predictions: Vec<Prediction>,
    /// What `infer` computes beside predictions and loss: first what prediction writes on request,
    /// in the order of the spec, then the conditions of metrics.
    pub outputs: Vec<Output>,
    /// What `report` asks for, in its order.
    pub metrics: Vec<Metric>,
    /// Batch, epochs and seed, where the command line gives none.
    pub training: Training,
    /// What `tables` and `parameters` name by index: how they are updated.
    pub updates: Vec<Update>,
    /// Where gradients are limited by the norm of all of them: by table, then by parameter, the
    /// index in `updates` of what sums the squares of its gradient into its only slot, before any
    /// weight is updated. Else empty.
    pub squared_norms: Vec<u32>,
    /// Forward, backward and state updates. Updates of weights follow it, one an entry of `tables`
    /// and `parameters`.
    pub train: Schedule,
    /// Predictions and loss.
    pub infer: Schedule,
    /// The same on tables in BF16: it differs from `infer` in the kernels that read rows.
    pub infer_bf16: Schedule,
    /// The generated functions; schedules name them by index.
    pub kernels: Vec<Kernel>,
    /// The kernels' machine code, one blob for each ISA level, ascending.
    pub code: Vec<Code>,
}

/// How a weight is updated. Its schedule's axis 1 is the touched rows of a table, or the elements
/// of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// `adam + adaptive`
    pub name: String,
    /// Optimizer state, by number of [`schedule::Storage::UpdateSlot`].
    pub slots: Vec<UpdateSlot>,
    /// Whether the schedule is for table rows (with [`schedule::KernelArg::RowIndex`]) rather than
    /// tensor elements.
    pub rows: bool,
    /// One step of the optimizer, regularizer included.
    pub schedule: Schedule,
}

/// One value that an optimizer keeps beside each weight, row or tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateSlot {
    /// As the optimizer declares it: `m`.
    pub name: String,
    /// What there is one value for.
    pub per: SlotScope,
    /// The value before the first step.
    pub init: f32,
}

/// What an optimizer keeps one value of its state for.
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
    /// What its code does with its arguments.
    pub signature: Signature,
}

/// What the code of a kernel does with its arguments. The runtime holds every call against it, so
/// that a schedule cannot hand a kernel an array that is narrower, shorter or of another kind than
/// the one its code was generated for. The code itself is trusted, as an executable's is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Number of arguments.
    pub arguments: u32,
    /// Every array of numbers that the code reads or writes.
    pub arrays: Vec<ArrayUse>,
    /// Arguments that are addresses of functions of the runtime.
    pub functions: Vec<(u32, MathFunction)>,
}

/// One way in which a kernel reaches an array of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArrayUse {
    /// Number of the argument that points at the array.
    pub argument: u32,
    /// Which row of the array an element reaches.
    pub access: Access,
    /// Numbers from one row to the next.
    pub stride: u32,
    /// Columns `0..columns` of a row may be touched.
    pub columns: u32,
    /// Whether the code writes to the array, or only reads it.
    pub writes: bool,
    /// What its numbers are: [`TablePrecision::F32`] unless it is a table's.
    pub precision: TablePrecision,
}

/// What the weights of a table are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TablePrecision {
    /// As they are trained.
    #[default]
    F32,
    /// The upper half of an f32, for inference: a sign, 8 bits of exponent, 7 of significand.
    Bf16,
}

impl TablePrecision {
    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

impl std::fmt::Display for TablePrecision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// Bytes behind the last row of a table in BF16 that code may read, and makes nothing of.
pub const BF16_PADDING: usize = 16;

/// How a kernel finds the row of an array for element `i` of its call's axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// Row `i`.
    Row,
    /// Row `index[i]`, `index` being the argument of that number, an array of `u32`.
    Indexed {
        /// Number of the argument.
        index: u32,
    },
    /// Row `outer[inner[i]]`: a gather for the sample that an entry belongs to.
    Nested {
        /// Number of the argument that maps the middle axis to rows of the array.
        outer: u32,
        /// Number of the argument that maps the call's elements to the middle axis.
        inner: u32,
    },
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
    /// The level whose instructions it uses.
    pub isa: Isa,
    /// Machine code of all kernels, one behind the other.
    pub bytes: Vec<u8>,
    /// Offset into `bytes`, by kernel.
    pub entries: Vec<u32>,
}

/// Why bytes are not a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not written by this format version.
    Format {
        /// The format that it was written by.
        found: u32,
    },
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
        let body = postcard::to_stdvec(self).expect("plain data are serialised into a growing vector");
        let mut bytes = self.format.to_le_bytes().to_vec();
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        bytes
    }

    /// The program that [`Program::encode`] made these bytes of.
    ///
    /// # Errors
    ///
    /// Another format version, or bytes that are not what was written.
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
        let (program, behind): (Program, _) =
            postcard::take_from_bytes(body).map_err(|e| DecodeError::Damaged(e.to_string()))?;
        if program.format != found {
            return Err(damaged("its contents have another format"));
        }
        if !behind.is_empty() {
            return Err(damaged("more follows its contents"));
        }
        Ok(program)
    }

    /// What sums the squares of a table's gradient, as an index into `updates`; `None` where
    /// nothing asks for them.
    pub fn squared_norm_of_table(&self, table: usize) -> Option<u32> {
        self.squared_norms.get(table).copied().filter(|_| table < self.tables.len())
    }

    /// The same of a parameter.
    pub fn squared_norm_of_parameter(&self, parameter: usize) -> Option<u32> {
        self.squared_norms.get(self.tables.len() + parameter).copied()
    }

    /// The update programs of a table that sum over its rows, in the order in which they run: what
    /// sums the squares of its gradient, and an update as one with a state per tensor.
    pub fn sums_over_rows(&self, table: usize) -> impl Iterator<Item = &Update> {
        let update = self.tables.get(table).map(|table| table.update);
        let all = [self.squared_norm_of_table(table), update].into_iter().flatten();
        all.filter_map(|index| self.updates.get(index as usize)).filter(|update| {
            let phases = &update.schedule.phases;
            update.rows && phases.iter().any(|phase| phase.axis != schedule::GLOBAL && !phase.reductions.is_empty())
        })
    }

    /// Whether one of a table's update programs sums over its rows.
    pub fn is_summed_over_rows(&self, table: usize) -> bool {
        self.sums_over_rows(table).next().is_some()
    }

    /// What the update of this number keeps per weight, row or tensor.
    ///
    /// # Panics
    /// There is no such update, as an executor that accepted the program has made sure of.
    pub fn slots(&self, update: u32) -> &[UpdateSlot] {
        &self.updates[update as usize].slots
    }

    /// Hex SHA-256 of the encoded program.
    pub fn hash(&self) -> String {
        Sha256::digest(self.encode()).iter().map(|b| format!("{b:02x}")).collect()
    }
}
