//! The vectors of a trained table with the ids that they are of: written to a file, and searched
//! for those next to each other.

use crate::data::string_id;
use crate::predict::{OutputFormat, PredictionWriter};
use crate::table::Table;
use crate::{Error, Result};
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use din_program::Program;
use din_program::schema::{FeatureSource, KeyType, Made, TableKind, Vocabulary};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Rows that are written at a time.
const ROWS: usize = 1 << 16;

/// What the ids of a table are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum IdForm {
    Integers,
    /// Texts, of which the table keeps a hash of 64 bits alone.
    Hashes,
    /// The lines of a vocabulary, by row.
    Entries(Vec<String>),
}

/// An id of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddedId {
    Integer(i64),
    /// Of a text.
    Hash(u64),
    Text(String),
    /// What stands for all ids without a row.
    Oov,
}

impl fmt::Display for EmbeddedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(id) => write!(f, "{id}"),
            Self::Hash(hash) => write!(f, "{hash:016x}"),
            Self::Text(text) => f.write_str(text),
            Self::Oov => f.write_str("(not in training)"),
        }
    }
}

/// A vector that is near to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    pub id: EmbeddedId,
    /// Cosine of the angle between the two.
    pub cosine: f64,
}

/// The vectors of one table.
#[derive(Debug)]
pub struct TableVectors<'a> {
    table: &'a Table,
    form: IdForm,
    /// Ids with their rows, ascending by id; those that evaluation reads.
    ids: Vec<(u64, u32)>,
}

impl<'a> TableVectors<'a> {
    /// The table of this name, of a program whose tables, in f32, are these.
    ///
    /// # Errors
    /// There is none.
    pub fn of(program: &Program, tables: &'a [Table], name: &str) -> Result<Self> {
        let Some(index) = program.tables.iter().position(|table| table.name == name) else {
            let known: Vec<&str> = program.tables.iter().map(|table| table.name.as_str()).collect();
            let error = Error::input(format!("--table {name}: the model has no table of this name"));
            return Err(match known.is_empty() {
                true => error.help("it has no tables"),
                false => error.help(format!("its tables are {}", known.join(", "))),
            });
        };
        let (spec, table) = (&program.tables[index], &tables[index]);
        let vocabulary = spec.features.iter().find_map(|&feature| {
            let FeatureSource::Rule { rule, .. } = &program.schema.features[feature as usize].source else {
                return None;
            };
            let Made::VocabularyRow { vocabulary } = rule.makes else { return None };
            Some(&program.schema.vocabularies[vocabulary as usize])
        });
        let form = match (spec.kind, vocabulary) {
            (_, Some(vocabulary)) => IdForm::Entries(Vocabulary::owned_entries(vocabulary)),
            (TableKind::Fixed { .. } | TableKind::Dynamic { key: KeyType::Int64 }, None) => IdForm::Integers,
            (TableKind::Dynamic { key: KeyType::String }, None) => IdForm::Hashes,
        };
        let rows = table.in_key_order().into_iter();
        let ids = rows.filter(|(_, _, seen)| *seen).map(|(id, row, _)| (id, row)).collect();
        Ok(Self { table, form, ids })
    }

    /// Ids that have vectors of their own.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no id has a vector.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn shown(&self, id: u64) -> EmbeddedId {
        match &self.form {
            IdForm::Integers => EmbeddedId::Integer(id as i64),
            IdForm::Hashes => EmbeddedId::Hash(id),
            // The row behind the entries is that of texts that are none.
            IdForm::Entries(entries) => entries.get(id as usize).cloned().map_or(EmbeddedId::Oov, EmbeddedId::Text),
        }
    }

    fn vector(&self, row: u32) -> &'a [f32] {
        let width = self.table.width();
        &self.table.weights()[row as usize * width..][..width]
    }

    /// The id that a text names: a number, a text whose hash the table has, or an entry of the
    /// vocabulary.
    ///
    /// # Errors
    /// It is none, or training has not seen it.
    fn place_of(&self, text: &str) -> Result<usize> {
        let fault = |expected: String| Error::input(format!("--id {text}: {expected}"));
        let id = match &self.form {
            IdForm::Integers => {
                let number = text.parse::<i64>().map(|id| id as u64).or_else(|_| text.parse::<u64>());
                number.map_err(|_| fault("expected an integer, as the ids of the table are".into()))?
            }
            IdForm::Hashes => string_id(text),
            IdForm::Entries(entries) => {
                let found = entries.iter().position(|entry| entry == text);
                found.ok_or_else(|| fault("the vocabulary of the table has no such line".into()))? as u64
            }
        };
        let place = self.ids.binary_search_by_key(&id, |(id, _)| *id);
        place.map_err(|_| {
            fault(format!("table `{}` has no vector of its own for it", self.table.name()))
                .help("training has not seen it often enough; name another")
        })
    }

    /// The `count` ids whose vectors have the least angle to that of an id, nearest first; of equal
    /// ones, that of the lesser id first. A vector of zeros has no angle, and is left out.
    ///
    /// # Errors
    /// There is no vector of this id, or it is 0.
    pub fn neighbours(&self, id: &str, count: usize) -> Result<Vec<Neighbour>> {
        let own = self.place_of(id)?;
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let centre = self.vector(self.ids[own].1);
        let norm = dot(centre, centre).sqrt();
        if norm == 0.0 {
            return Err(Error::input(format!("--id {id}: its vector is 0, which has no angle to others"))
                .help("name another id"));
        }
        let others = self.ids.iter().enumerate().filter(|(place, _)| *place != own);
        let mut found: Vec<(f64, usize)> = others
            .filter_map(|(place, (_, row))| {
                let vector = self.vector(*row);
                let length = dot(vector, vector).sqrt();
                (length > 0.0).then(|| (dot(centre, vector) / (norm * length), place))
            })
            .collect();
        let nearest = |a: &(f64, usize), b: &(f64, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if found.len() > count {
            found.select_nth_unstable_by(count, nearest);
            found.truncate(count);
        }
        found.sort_by(nearest);
        Ok(found.into_iter().map(|(cosine, place)| Neighbour { id: self.shown(self.ids[place].0), cosine }).collect())
    }

    /// Writes every id with its vector, ascending by id as the table keeps them: to Parquet as a
    /// list, to CSV a column per component. A table that grows, or of a vocabulary, has one more
    /// row, whose id is null: the vector of all other ids. Gives the number of rows.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<usize> {
        let format = OutputFormat::of(path)?;
        let width = self.table.width();
        let (name, kind) = match self.form {
            IdForm::Integers => ("id", DataType::Int64),
            IdForm::Hashes => ("hash", DataType::UInt64),
            IdForm::Entries(_) => ("id", DataType::Utf8),
        };
        let list = Arc::new(Field::new_list_field(DataType::Float32, false));
        let mut fields = vec![Field::new(name, kind, true)];
        match format {
            OutputFormat::Parquet => {
                fields.push(Field::new("vector", DataType::FixedSizeList(list.clone(), width as i32), false));
            }
            OutputFormat::Csv => {
                fields.extend((0..width).map(|k| Field::new(format!("v{k}"), DataType::Float32, false)));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let oov = self.table.is_dynamic().then_some((None, 0));
        let rows: Vec<(Option<u64>, u32)> = self.ids.iter().map(|&(id, row)| (Some(id), row)).chain(oov).collect();
        let mut file = PredictionWriter::create(path, format, schema.clone(), true)?;
        for part in rows.chunks(ROWS) {
            let ids = part.iter().map(|(id, _)| id.map_or(EmbeddedId::Oov, |id| self.shown(id)));
            let ids: ArrayRef = match self.form {
                IdForm::Integers => Arc::new(Int64Array::from_iter(part.iter().map(|(id, _)| id.map(|id| id as i64)))),
                IdForm::Hashes => Arc::new(UInt64Array::from_iter(part.iter().map(|(id, _)| *id))),
                IdForm::Entries(_) => Arc::new(StringArray::from_iter(ids.map(|id| match id {
                    EmbeddedId::Text(text) => Some(text),
                    EmbeddedId::Oov | EmbeddedId::Integer(_) | EmbeddedId::Hash(_) => None,
                }))),
            };
            let mut columns = vec![ids];
            match format {
                OutputFormat::Parquet => {
                    let values = part.iter().flat_map(|(_, row)| self.vector(*row)).copied();
                    let values: ArrayRef = Arc::new(Float32Array::from_iter_values(values));
                    let lists = FixedSizeListArray::try_new(list.clone(), width as i32, values, None);
                    columns.push(Arc::new(lists.map_err(|e| Error::machine(format!("{}: {e}", path.display())))?));
                }
                OutputFormat::Csv => columns.extend((0..width).map(|k| {
                    let component = part.iter().map(|(_, row)| self.vector(*row)[k]);
                    Arc::new(Float32Array::from_iter_values(component)) as ArrayRef
                })),
            }
            let batch = RecordBatch::try_new(schema.clone(), columns);
            file.write(&batch.map_err(|e| Error::machine(format!("{}: {e}", path.display())))?)?;
        }
        file.finish()?;
        Ok(rows.len())
    }
}
