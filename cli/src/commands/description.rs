//! What a program holds: described once, printed as text or as JSON.

use crate::failure::Failure;
use din_program::schema::{
    Admission, Boundaries, ColumnValues, Combination, FeatureKind, FeatureSource, KeyType, Label, Made, Metric,
    TableKind, ValueRule,
};
use din_program::{Program, SlotScope, Update};
use din_runtime::bundle::GpuKernels;
use din_runtime::run_dir::VocabularyRecord;
use din_runtime::table::Table;
use serde::Serialize;
use std::fmt::{self, Write};

/// JSON has all but what is skipped, which is for readers of the text.
#[derive(Serialize)]
pub struct Description {
    model: String,
    /// SHA-256.
    program: String,
    format: u32,
    compiler: String,
    triple: String,
    hypers: Vec<Hyper>,
    columns: Vec<Column>,
    labels: Vec<String>,
    /// What their values are.
    #[serde(skip)]
    label_values: Vec<String>,
    keys: Vec<String>,
    /// Files whose lines are ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vocabularies: Vec<VocabularyRow>,
    tables: Vec<TableRow>,
    parameters: Vec<Tensor>,
    states: Vec<Tensor>,
    /// Values of all dense parameters.
    dense_weights: u64,
    /// Values of all states.
    #[serde(skip)]
    state_values: u64,
    /// Values that the optimizers keep beside the dense parameters.
    #[serde(skip)]
    optimizer_values: u64,
    /// Number of generated kernels.
    kernels: usize,
    code: Vec<Code>,
    cuda: Option<Gpu>,
    report: Vec<String>,
    #[serde(skip)]
    training: String,
}

#[derive(Serialize)]
struct Hyper {
    name: String,
    value: f64,
}

#[derive(Serialize)]
struct Column {
    column: String,
    feature: String,
    /// `int64 id, list of sequence history`
    #[serde(skip)]
    kind: String,
}

#[derive(Serialize)]
struct VocabularyRow {
    path: String,
    entries: u64,
    sha256: String,
}

#[derive(Serialize)]
struct TableRow {
    name: String,
    width: u32,
    /// Of a fixed table.
    rows: Option<u64>,
    features: Vec<String>,
    update: String,
    /// The file that rows start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    init_from: Option<String>,
    /// Which ids have rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    admits: Option<String>,
    bytes_per_id: Bytes,
}

#[derive(Serialize)]
struct Bytes {
    least: u64,
    most: u64,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    shape: Vec<u32>,
    /// Of a parameter.
    #[serde(skip)]
    update: Option<String>,
}

#[derive(Serialize)]
struct Code {
    isa: String,
    bytes: usize,
}

#[derive(Serialize)]
struct Gpu {
    precision: String,
    images: Vec<Image>,
}

#[derive(Serialize)]
struct Image {
    target: String,
    bytes: usize,
}

impl Description {
    /// # Errors
    /// The program refers to a part that it does not have: it was altered.
    pub fn new(program: &Program, kernels: Option<&GpuKernels>) -> Result<Self, Failure> {
        let schema = &program.schema;
        let mut columns = Vec::with_capacity(schema.features.len());
        for f in &schema.features {
            let mut kind = kind_of(&f.kind);
            if let Some(sequence) = f.sequence {
                kind += &format!(", list of sequence {}", part("sequence", &schema.sequences, sequence)?.name);
            }
            let column = match &f.source {
                FeatureSource::Column(column) => column.clone(),
                FeatureSource::Rule { column, rule } => {
                    kind += &ruled(rule);
                    column.clone()
                }
                FeatureSource::ListMark { column } => {
                    kind = "1 where the list is missing".into();
                    column.clone()
                }
                FeatureSource::Absent => f.path(),
                FeatureSource::Features(combination) => {
                    let parts: Vec<String> = combination
                        .parts()
                        .iter()
                        .map(|&part_of| Ok(part("feature", &schema.features, part_of)?.path()))
                        .collect::<Result<_, Failure>>()?;
                    let made = match combination {
                        Combination::Cross { .. } => "cross",
                        Combination::Equal { .. } => "equality",
                        Combination::Gap { .. } => "gap",
                        Combination::Overlap { .. } => "overlap",
                    };
                    kind += &format!(", {made} of {}", parts.join(", "));
                    f.path()
                }
            };
            if !f.at_prediction {
                kind += ", not read by prediction";
            }
            columns.push(Column { column, feature: f.path(), kind });
        }
        let mut tables = Vec::with_capacity(program.tables.len());
        for t in &program.tables {
            let update = update_of(program, t.update)?;
            let (least, most) = Table::bytes_per_id(t, &update.slots).into_inner();
            let feature = |&f: &u32| Ok(part("feature", &schema.features, f)?.path());
            tables.push(TableRow {
                name: t.name.clone(),
                width: t.width,
                rows: match t.kind {
                    TableKind::Fixed { size } => Some(size),
                    TableKind::Dynamic { .. } => None,
                },
                features: t.features.iter().map(feature).collect::<Result<_, Failure>>()?,
                update: update.name.clone(),
                admits: t.admission.map(|admission| match admission {
                    Admission::AtLeast(samples) => format!("frequency >= {samples}"),
                    Admission::Top(ids) => format!("top {ids} by frequency"),
                }),
                init_from: t.vectors.as_ref().map(|file| file.path.clone()),
                bytes_per_id: Bytes { least, most },
            });
        }
        let (mut parameters, mut optimizer_values) = (Vec::with_capacity(program.parameters.len()), 0);
        for p in &program.parameters {
            let update = update_of(program, p.update)?;
            let values = |scope: SlotScope| match scope {
                SlotScope::Weight => p.width() as u64,
                SlotScope::Row | SlotScope::Tensor => 1,
            };
            optimizer_values += update.slots.iter().map(|slot| values(slot.per)).sum::<u64>();
            parameters.push(Tensor { name: p.name.clone(), shape: p.shape.clone(), update: Some(update.name.clone()) });
        }
        let state =
            |s: &din_program::schema::State| Tensor { name: s.name.clone(), shape: s.shape.clone(), update: None };
        let report: Vec<String> = program.metrics.iter().map(|m| m.name.clone()).collect();
        let sliced = |metric: &Metric| {
            let by = metric.slices.iter().map(|slicing| format!(" by {}", slicing.name));
            std::iter::once(metric.name.clone()).chain(by).collect::<String>()
        };
        let reported: Vec<String> = program.metrics.iter().map(sliced).collect();
        let chosen_by = match report.is_empty() {
            true => "the last epoch",
            false => part("selected metric", &report, program.training.select)?,
        };
        let patience = match program.training.patience {
            Some(epochs) => format!(", patience {epochs}"),
            None => String::new(),
        };
        let training = format!(
            "training: batch {}, {} epochs{patience}, seed {}; reports {}; best by {chosen_by}",
            program.training.batch,
            program.training.epochs,
            program.training.seed,
            reported.join(", ")
        );
        Ok(Self {
            model: program.model.clone(),
            program: program.hash(),
            format: program.format,
            compiler: program.compiler.clone(),
            triple: program.triple.clone(),
            hypers: program.hypers.iter().map(|(n, v)| Hyper { name: n.clone(), value: *v }).collect(),
            columns,
            labels: schema.labels.iter().map(|l| l.column.clone()).collect(),
            label_values: schema.labels.iter().map(Label::expected).collect(),
            keys: schema.keys.iter().map(|k| k.column.clone()).collect(),
            vocabularies: schema
                .vocabularies
                .iter()
                .map(|vocabulary| {
                    let VocabularyRecord { path, sha256 } = VocabularyRecord::of(vocabulary);
                    VocabularyRow { path, entries: vocabulary.oov_row(), sha256 }
                })
                .collect(),
            tables,
            parameters,
            states: program.states.iter().map(state).collect(),
            dense_weights: program.parameters.iter().map(|p| p.width() as u64).sum(),
            state_values: program.states.iter().map(|s| s.width() as u64).sum(),
            optimizer_values,
            kernels: program.kernels.len(),
            code: program
                .code
                .iter()
                .map(|c| Code { isa: format!("{:?}", c.isa).to_lowercase(), bytes: c.bytes.len() })
                .collect(),
            cuda: kernels.map(|k| Gpu {
                precision: k.launches.precision.to_string(),
                images: k.images.iter().map(|i| Image { target: i.target.to_string(), bytes: i.code.len() }).collect(),
            }),
            report,
            training,
        })
    }
}

/// Headings and rows of tables.
impl Description {
    pub fn table_cells(&self) -> Vec<Vec<String>> {
        let heading = ["table", "width", "rows", "features", "update", "bytes per id in training"];
        let row = |t: &TableRow| {
            let rows = t.rows.map_or("as ids come".into(), |rows| rows.to_string());
            let bytes = format!("{} to {}", t.bytes_per_id.least, t.bytes_per_id.most);
            vec![t.name.clone(), t.width.to_string(), rows, t.features.join(", "), t.update.clone(), bytes]
        };
        std::iter::once(heading.map(String::from).to_vec()).chain(self.tables.iter().map(row)).collect()
    }

    pub fn parameter_cells(&self) -> Vec<Vec<String>> {
        let heading = ["parameter or state", "shape", "update"].map(String::from).to_vec();
        let row = |t: &Tensor| {
            vec![t.name.clone(), format!("{:?}", t.shape), t.update.clone().unwrap_or_else(|| "state".into())]
        };
        std::iter::once(heading).chain(self.parameters.iter().chain(&self.states).map(row)).collect()
    }
}

/// A part that another one refers to by its number.
fn part<'a, T>(what: &str, parts: &'a [T], index: u32) -> Result<&'a T, Failure> {
    let count = parts.len();
    parts.get(index as usize).ok_or_else(|| {
        Failure::user_error(format!(
            "the program refers to {what} {index} of {count}\n  help: it was altered; build it again"
        ))
    })
}

fn update_of(program: &Program, index: u32) -> Result<&Update, Failure> {
    part("update", &program.updates, index)
}

fn kind_of(kind: &FeatureKind) -> String {
    match kind {
        FeatureKind::Dynamic { key: KeyType::Int64 } => "int64 id".into(),
        FeatureKind::Dynamic { key: KeyType::String } => "string id".into(),
        FeatureKind::Fixed { size, clip } => format!("id 0..{size}{}", if *clip { ", clipped" } else { "" }),
        FeatureKind::Dense { width: 1 } => "number".into(),
        FeatureKind::Dense { width } => format!("{width} numbers"),
    }
}

/// What a rule makes of a column's values.
fn ruled(rule: &ValueRule) -> String {
    let of = match rule.holds {
        ColumnValues::Integers => "integers",
        ColumnValues::Strings => "strings",
        ColumnValues::Numbers { .. } => "numbers",
    };
    let made = match &rule.makes {
        Made::Mark => ", 1 where missing".to_string(),
        Made::Id | Made::FixedId { .. } => String::new(),
        Made::HashedId { .. } => format!(", by a hash of {of}"),
        Made::VocabularyRow { .. } => ", lines of a vocabulary".to_string(),
        Made::Number { steps } if steps.is_empty() => String::new(),
        Made::Number { .. } => ", computed".to_string(),
        Made::Calendar { .. } => ", a part of a date or time".to_string(),
        Made::Bucket { boundaries: Boundaries::Given(_), .. } => ", buckets of numbers".to_string(),
        Made::Bucket { boundaries: Boundaries::Quantiles { .. }, .. } => ", quantiles of numbers".to_string(),
    };
    let missing = if rule.missing.is_some() && rule.makes != Made::Mark { ", may be missing" } else { "" };
    made + missing
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: usize| bytes.div_ceil(1024);
        writeln!(f, "model {} ({}, program {:.12})", self.model, self.compiler, self.program)?;
        writeln!(f, "\ncolumns")?;
        for Column { column, kind, .. } in &self.columns {
            writeln!(f, "  {column:<24} {kind}")?;
        }
        for (label, values) in self.labels.iter().zip(&self.label_values) {
            writeln!(f, "  {label:<24} label, {values}")?;
        }
        for key in &self.keys {
            writeln!(f, "  {key:<24} key")?;
        }
        if !self.vocabularies.is_empty() {
            writeln!(f, "\nvocabularies")?;
        }
        for VocabularyRow { path, entries, sha256 } in &self.vocabularies {
            writeln!(f, "  {path:<24} {entries} entries, SHA-256 {sha256}")?;
        }
        writeln!(f, "\ntables")?;
        for t in &self.tables {
            let rows = match (t.rows, &t.admits) {
                (Some(size), _) => format!("{size} rows"),
                (None, Some(rule)) => format!("rows of ids: {rule}"),
                (None, None) => "rows as ids come".into(),
            };
            let Bytes { least, most } = t.bytes_per_id;
            let update = &t.update;
            let from = t.init_from.as_ref().map_or(String::new(), |path| format!(", from {path}"));
            writeln!(
                f,
                "  {:<24} [{}], {rows}, {least} to {most} bytes per id in training, {update}{from}",
                t.name, t.width
            )?;
        }
        writeln!(f, "\nparameters")?;
        for Tensor { name, shape, update } in self.parameters.iter().chain(&self.states) {
            writeln!(f, "  {name:<32} {shape:?}, {}", update.as_deref().unwrap_or("state"))?;
        }
        writeln!(
            f,
            "  together {} dense weights and {} states; {} KiB with the optimizer's",
            self.dense_weights,
            self.state_values,
            (4 * (self.dense_weights + self.optimizer_values + self.state_values)).div_ceil(1024)
        )?;
        let code: Vec<String> = self.code.iter().map(|c| format!("{} ({} KiB)", c.isa, kib(c.bytes))).collect();
        writeln!(f, "\ncode: {} kernels for x86-64 {}", self.kernels, code.join(", "))?;
        if let Some(gpu) = &self.cuda {
            let images: Vec<String> =
                gpu.images.iter().map(|i| format!("{} ({} KiB)", i.target, kib(i.bytes))).collect();
            writeln!(f, "GPU: {}, products in {}", images.join(", "), gpu.precision)?;
        }
        f.write_str(&self.training)?;
        f.write_char('\n')
    }
}
