//! The types of a Parquet file's columns: how they are read, and what is said of those that are
//! not.

use super::super::bind::{ColumnType, RequiredColumn};
use super::super::decode::accepts;
use super::super::error::{DataError, FaultKind};
use arrow_schema::DataType;
use din_program::schema::LabelKind;
use parquet::basic::{Compression, ConvertedType, LogicalType, Type as PhysicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use std::path::Path;
use std::sync::Arc;

/// The metadata with the schema that the file is read by. Text is bytes there: the library does not
/// check all text to be UTF-8, so `decode` does. Columns that are not required have no annotations,
/// so that none of theirs is an obstacle.
pub(super) fn readable(
    metadata: ParquetMetaData,
    is_wanted: impl Fn(usize) -> bool,
) -> Result<ParquetMetaData, ParquetError> {
    let mut builder = metadata.into_builder();
    let groups = builder.take_row_groups();
    let metadata = builder.build();
    let file = metadata.file_metadata();
    let root = file.schema_descr().root_schema();
    let columns = root.get_fields().iter().enumerate();
    let columns = columns.map(|(index, column)| plain(column, is_wanted(index))).collect::<Result<_, _>>()?;
    let root = Type::group_type_builder(root.name()).with_fields(columns).build()?;
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_string),
        None,
        Arc::new(SchemaDescriptor::new(Arc::new(root))),
        file.column_orders().cloned(),
    );
    Ok(ParquetMetaData::new(file, groups))
}

fn plain(column: &TypePtr, required: bool) -> Result<TypePtr, ParquetError> {
    let info = column.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let plain = match column.as_ref() {
        Type::PrimitiveType { .. } if required && !is_text(column) => return Ok(column.clone()),
        Type::PrimitiveType { physical_type, type_length, .. } => {
            let mut builder =
                Type::primitive_type_builder(info.name(), *physical_type).with_length(*type_length).with_id(id);
            if info.has_repetition() {
                builder = builder.with_repetition(info.repetition());
            }
            builder.build()?
        }
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| plain(field, required)).collect::<Result<_, _>>()?;
            let mut builder = Type::group_type_builder(info.name()).with_fields(fields).with_id(id);
            if info.has_repetition() {
                builder = builder.with_repetition(info.repetition());
            }
            if required {
                builder = builder
                    .with_converted_type(info.converted_type())
                    .with_logical_type(info.logical_type_ref().cloned());
            }
            builder.build()?
        }
    };
    Ok(Arc::new(plain))
}

/// Bytes that may be read as UTF-8. Some writers do not mark text as such.
fn is_text(column: &Type) -> bool {
    let info = column.get_basic_info();
    let annotated = match info.logical_type_ref() {
        Some(LogicalType::String | LogicalType::Json | LogicalType::Enum) => true,
        Some(_) => false,
        None => matches!(
            info.converted_type(),
            ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM
        ),
    };
    column.is_primitive() && column.get_physical_type() == PhysicalType::BYTE_ARRAY && annotated
}

/// Refuses a column that does not hold what is required. `kind` is how the column is read, `column`
/// how the file describes it.
pub(super) fn check_type(
    required: &RequiredColumn,
    path: &Path,
    kind: &DataType,
    column: &Type,
) -> Result<(), DataError> {
    let (base, depth) = base(required, kind);
    let leaf = leaf(column);
    let text = *base == DataType::Binary && is_text(leaf);
    if accepts(required, kind) && (text || *base != DataType::Binary) {
        return Ok(());
    }
    let error = required.wrong_type(path, &spoken(kind, leaf), text, matches!(kind, DataType::List(_)));
    Err(match help(required, base, leaf, depth) {
        Some(help) => error.help(help),
        None => error,
    })
}

/// The type in the output of a column that prediction passes through: how it is read, text as text,
/// and UTC as an offset, which needs no table of time zones to be written.
pub(super) fn passed_through(kind: &DataType, column: &Type) -> DataType {
    match kind {
        DataType::Binary if is_text(column) => DataType::Utf8,
        DataType::Timestamp(unit, Some(zone)) if **zone == *"UTC" => DataType::Timestamp(*unit, Some("+00:00".into())),
        other => other.clone(),
    }
}

/// How many lists a value of the column lies in.
fn lists(required: &RequiredColumn) -> usize {
    let vector = matches!(required.values, ColumnType::Numbers { width } if width != 1);
    usize::from(required.sequence.is_some()) + usize::from(vector)
}

/// The type inside of as many lists as are required, at most, and how many these are.
fn base<'a>(required: &RequiredColumn, kind: &'a DataType) -> (&'a DataType, usize) {
    let (mut base, mut depth) = (kind, 0);
    while depth < lists(required)
        && let DataType::List(item) = base
    {
        base = item.data_type();
        depth += 1;
    }
    (base, depth)
}

/// The innermost type of nested lists.
fn leaf(mut column: &Type) -> &Type {
    while let Type::GroupType { fields, .. } = column
        && let [only] = fields.as_slice()
    {
        column = only;
    }
    column
}

/// What the values are, in the plural.
fn spoken(kind: &DataType, leaf: &Type) -> String {
    match kind {
        DataType::List(item) => format!("lists of {}", spoken(item.data_type(), leaf)),
        DataType::Null => "nothing but nulls".into(),
        DataType::Boolean => "booleans".into(),
        DataType::Binary => bytes(leaf).into(),
        DataType::FixedSizeBinary(_) if leaf.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid) => {
            "UUIDs".into()
        }
        DataType::FixedSizeBinary(length) => format!("byte strings of {length} bytes"),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("decimals ({precision} digits, {scale} of them behind the point)")
        }
        DataType::Date32 => "dates".into(),
        DataType::Timestamp(..) => "timestamps".into(),
        DataType::Time32(_) | DataType::Time64(_) => "times of day".into(),
        DataType::Interval(_) => "intervals of time".into(),
        DataType::Struct(_) => "structs".into(),
        DataType::Map(..) => "maps".into(),
        other => other.to_string().to_lowercase(),
    }
}

/// What a column of bytes of any length holds.
fn bytes(leaf: &Type) -> &'static str {
    let info = leaf.get_basic_info();
    match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::String), _) | (None, ConvertedType::UTF8) => "strings",
        (Some(LogicalType::Json), _) | (None, ConvertedType::JSON) => "JSON documents",
        (Some(LogicalType::Bson), _) | (None, ConvertedType::BSON) => "BSON documents",
        (Some(LogicalType::Enum), _) | (None, ConvertedType::ENUM) => "strings of an enum",
        (Some(LogicalType::Geometry(_) | LogicalType::Geography(_)), _) => "geometries",
        (Some(_), _) => "bytes of a type that is not known here",
        (None, _) => "bytes (not marked as strings)",
    }
}

/// How to make what is required of a column of type `base`; `None` where the required types alone
/// say it.
fn help(required: &RequiredColumn, base: &DataType, leaf: &Type, depth: usize) -> Option<String> {
    let column = &required.column;
    let list = if depth > 0 { "[]" } else { "" };
    let (sql, pandas) = match required.values {
        ColumnType::StringIds | ColumnType::StringKeys | ColumnType::Texts | ColumnType::ClassTexts => {
            ("VARCHAR", "str")
        }
        ColumnType::Numbers { .. } => ("DOUBLE", "float64"),
        ColumnType::Label { kind: LabelKind::Number | LabelKind::Weight, .. } => ("DOUBLE", "float64"),
        ColumnType::IntegerIds | ColumnType::FixedIds { .. } | ColumnType::IntegerKeys | ColumnType::Label { .. } => {
            ("BIGINT", "int64")
        }
        // The fields of the sequence say what its entries are.
        ColumnType::Lists => return None,
    };
    let cast = || {
        let cast = format!("cast the column: `CAST({column} AS {sql}{list})` in SQL");
        if depth > 0 { cast } else { format!("{cast}, `.astype(\"{pandas}\")` in pandas") }
    };
    let text = matches!(
        required.values,
        ColumnType::StringIds | ColumnType::StringKeys | ColumnType::Texts | ColumnType::ClassTexts
    );
    Some(match base {
        DataType::Null => "the file gives the column no type: fill in values, or name another with `from`".into(),
        DataType::List(_) if depth == lists(required) && depth > 0 => {
            format!("write one list per row: `flatten({column})` in SQL")
        }
        DataType::Struct(_) => {
            format!("write the field that is wanted as a column of its own: `{column}.field AS field` in SQL")
        }
        DataType::Map(..) => {
            format!("write keys and values as two list columns: `map_keys({column})`, `map_values({column})` in SQL")
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => cast(),
        DataType::Boolean | DataType::Float16 | DataType::Float32 | DataType::Float64 if text => cast(),
        DataType::Boolean if depth == lists(required) => cast(),
        DataType::Date32
        | DataType::Timestamp(..)
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Interval(_) => match required.values {
            ColumnType::StringIds | ColumnType::StringKeys | ColumnType::Texts | ColumnType::ClassTexts => cast(),
            ColumnType::Numbers { .. } => {
                "write a small number, such as the days since a fixed date: numbers are 32-bit floats".into()
            }
            ColumnType::IntegerIds
            | ColumnType::FixedIds { .. }
            | ColumnType::IntegerKeys
            | ColumnType::Label { .. } => {
                format!("write an integer: `CAST(EXTRACT(EPOCH FROM {column}) AS BIGINT)` in SQL")
            }
            ColumnType::Lists => unreachable!("these are answered above"),
        },
        DataType::FixedSizeBinary(_) if leaf.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid) => {
            let declare = if text { "" } else { ", and declare it a string" };
            format!("write the UUIDs as text: `CAST({column} AS VARCHAR{list})` in SQL{declare}")
        }
        DataType::FixedSizeBinary(_) | DataType::Binary if !is_text(leaf) => {
            let declare = if text { "" } else { ", and declare it a string" };
            format!("write the bytes as text: `hex({column})` in SQL{declare}")
        }
        DataType::Binary
            if bytes(leaf) == "JSON documents"
                && matches!(required.values, ColumnType::Numbers { .. } | ColumnType::Label { .. }) =>
        {
            format!("write the wanted value as a column of its own: `json_extract({column}, '$.name')` in SQL")
        }
        _ => return None,
    })
}

/// Refuses a column chunk whose compression is not read.
pub(super) fn check_codec(required: &RequiredColumn, path: &Path, codec: Compression) -> Result<(), DataError> {
    let name = match codec {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::LZ4_RAW
        | Compression::ZSTD(_) => return Ok(()),
        Compression::LZO => "LZO",
        Compression::BROTLI(_) => "Brotli",
    };
    Err(required
        .fault(
            FaultKind::Format,
            path,
            "a column compressed with zstd, snappy, gzip or LZ4, or not compressed",
            format!("one compressed with {name}"),
        )
        .help("write the file with zstd or snappy"))
}
