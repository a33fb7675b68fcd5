//! Checks a batch, the model values and the tables against the program before a step touches them:
//! generated code addresses memory by these numbers without further checks.

use super::{BatchCut, CheckError, DenseState, FetchedRows, StepInputs};
use crate::column_loops;
use crate::leaves::MAX_LEAVES;
use crate::table::Table;
use din_program::axes::AxisKind;
use din_program::schema::{Feature, FeatureKind};
use din_program::{Program, SlotScope, TablePrecision};

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), CheckError> {
    if holds { Ok(()) } else { Err(CheckError::Input(why())) }
}

fn expect(what: impl FnOnce() -> String, found: usize, expected: usize) -> Result<(), CheckError> {
    ensure(found == expected, || format!("{}: expected {expected}, found {found}", what()))
}

/// Checks that the entries of fixed axes, and the pairs of entries, can be numbered in 32 bits. The
/// lists were checked before.
fn check_entries(program: &Program, inputs: &StepInputs<'_>, samples: usize) -> Result<(), CheckError> {
    let trees = [&program.train.axes, &program.infer.axes];
    let kinds = trees.into_iter().flat_map(|axes| axes.iter().map(move |(_, axis)| (axes, &axis.kind)));
    for (axes, kind) in kinds {
        if let AxisKind::Fixed { size } = *kind {
            let entries = (samples as u64).saturating_mul(u64::from(size));
            ensure(entries < u64::from(u32::MAX), || {
                format!("it has {entries} entries of {size} per sample, expected fewer than 2^32 - 1: make it smaller")
            })?;
        }
        let AxisKind::Pairs { of, .. } = *kind else { continue };
        let squares =
            |lists: &[u32]| -> Vec<u64> { lists.windows(2).map(|list| u64::from(list[1] - list[0]).pow(2)).collect() };
        let (pairs, of) = match *axes.kind(of) {
            AxisKind::Sequence { sequence, shared, .. } => {
                let mut pairs = squares(&inputs.offsets[sequence as usize]);
                if shared.is_some() {
                    let samples = inputs.requests.windows(2).map(|w| u64::from(w[1] - w[0]));
                    pairs.iter_mut().zip(samples).for_each(|(pairs, samples)| *pairs = pairs.saturating_mul(samples));
                }
                (pairs, format!("lists of `{}`", program.schema.sequences[sequence as usize].name))
            }
            AxisKind::Batch { .. } => (squares(inputs.requests), "requests".into()),
            AxisKind::Fixed { size } => {
                let pairs = (samples as u64).saturating_mul(u64::from(size).pow(2));
                (vec![pairs], format!("lists of {size}"))
            }
            AxisKind::Global
            | AxisKind::Request
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => unreachable!("checked: pairs are of entries or of samples"),
        };
        let pairs = pairs.into_iter().fold(0, u64::saturating_add);
        ensure(pairs < u64::from(u32::MAX), || {
            format!(
                "its {of} have {pairs} pairs, expected fewer than 2^32 - 1: make them shorter, or the batch smaller"
            )
        })?;
    }
    Ok(())
}

/// `labels`: whether every label must have data.
pub fn check_step(
    program: &Program,
    state: &DenseState,
    tables: &[Table],
    inputs: &StepInputs<'_>,
    labels: bool,
) -> Result<(), CheckError> {
    values(program, state)?;
    check_batch(program, tables, inputs, labels)
}

/// The batch and the tables alone, for an executor that keeps the model values itself.
pub fn check_batch(
    program: &Program,
    tables: &[Table],
    inputs: &StepInputs<'_>,
    labels: bool,
) -> Result<(), CheckError> {
    check_batch_except(program, tables, inputs, labels, &|_, _| false)
}

/// The same but for the row numbers of some features, by table and the position among its features.
pub fn check_batch_except(
    program: &Program,
    tables: &[Table],
    inputs: &StepInputs<'_>,
    labels: bool,
    excepted: &dyn Fn(usize, usize) -> bool,
) -> Result<(), CheckError> {
    check_tables(program, tables, if labels { TableUse::Training } else { TableUse::Inference })?;
    let schema = &program.schema;
    let rows = inputs.rows;
    let part = matches!(inputs.cut, BatchCut::Part(_));
    ensure(rows > 0 || part, || "it has no samples".into())?;
    ensure(rows < u32::MAX as usize, || format!("it has {rows} samples, expected fewer than 2^32 - 1"))?;
    expect(|| "sequences".into(), inputs.offsets.len(), schema.sequences.len())?;
    expect(|| "tables".into(), inputs.row_numbers.len(), program.tables.len())?;
    expect(|| "features".into(), inputs.dense.len(), schema.features.len())?;
    let requests = inputs.requests.len().saturating_sub(1);
    match (schema.has_requests(), inputs.requests) {
        (false, given) => expect(|| "requests".into(), given.len(), 0)?,
        (true, given) => {
            let ends = given.first() == Some(&0) && given.last() == Some(&(rows as u32));
            ensure(ends && given.is_sorted(), || {
                format!("requests: expected the first sample of each, ascending from 0, and at the end {rows}")
            })?;
        }
    }
    check_cut(inputs.cut, if schema.has_requests() { requests } else { rows })?;
    let mut pairs = 0u64;
    for (sequence, offsets) in schema.sequences.iter().zip(inputs.offsets) {
        let owners = if sequence.common { requests } else { rows };
        let sound = offsets.len() == owners + 1 && offsets[0] == 0 && offsets.is_sorted();
        ensure(sound, || {
            format!("offsets of sequence `{}`: expected {} ascending numbers from 0", sequence.name, owners + 1)
        })?;
        if sequence.common {
            let samples = inputs.requests.windows(2).map(|w| u64::from(w[1] - w[0]));
            let lengths = offsets.windows(2).map(|w| u64::from(w[1] - w[0]));
            pairs = pairs.max(samples.zip(lengths).map(|(a, b)| a * b).sum());
        }
    }
    ensure(pairs < u64::from(u32::MAX), || {
        format!("its samples and the entries of their requests make {pairs} pairs, expected fewer than 2^32 - 1")
    })?;
    check_entries(program, inputs, rows)?;
    let elements_of = |feature: &Feature| match (feature.sequence, feature.common) {
        (None, false) => rows,
        (None, true) => requests,
        (Some(s), _) => inputs.offsets[s as usize].last().map_or(0, |&n| n as usize),
    };
    for (f, feature) in schema.features.iter().enumerate() {
        let elements = elements_of(feature);
        match feature.kind {
            FeatureKind::Dense { width } => {
                expect(
                    || format!("numbers of `{}`", feature.path()),
                    inputs.dense[f].len(),
                    elements * width as usize,
                )?;
            }
            FeatureKind::Dynamic { .. } | FeatureKind::Fixed { .. } => {}
        }
    }
    if let Some(fetched) = inputs.fetched {
        expect(|| "tables with fetched rows".into(), fetched.len(), program.tables.len())?;
        for (table, fetched) in tables.iter().zip(fetched) {
            check_fetched(table, fetched)?;
        }
    }
    for (t, ((spec, table), resolved)) in program.tables.iter().zip(tables).zip(inputs.row_numbers).enumerate() {
        let rows = inputs.row_source(t).count(table);
        expect(|| format!("features of table `{}`", spec.name), resolved.len(), spec.features.len())?;
        for (k, (&f, numbers)) in spec.features.iter().zip(resolved).enumerate() {
            let Some(feature) = schema.features.get(f as usize) else { continue };
            let elements = elements_of(feature);
            expect(|| format!("row numbers of `{}`", feature.path()), numbers.len(), elements)?;
            let largest = if excepted(t, k) { 0 } else { column_loops::max(numbers) as usize };
            ensure(elements == 0 || largest < rows, || {
                format!("`{}` names row {largest} of table `{}`, which has {rows} rows", feature.path(), spec.name)
            })?;
        }
    }
    for (what, columns) in [("labels", inputs.labels), ("presence", inputs.present)] {
        expect(|| what.into(), columns.len(), schema.labels.len())?;
        for (label, column) in schema.labels.iter().zip(columns) {
            let missing = column.is_empty() && !labels;
            ensure(missing || column.len() == rows, || {
                format!("{what} of `{}`: expected {rows}, found {}", label.name, column.len())
            })?;
        }
    }
    Ok(())
}

/// Rows that were fetched from a table and served from it.
fn check_fetched(table: &Table, fetched: &FetchedRows) -> Result<(), CheckError> {
    let (name, FetchedRows { count, values, owned_by, served }) = (table.name(), fetched);
    ensure(values.are(count * table.width(), table.precision()), || {
        format!("fetched values of table `{name}`: expected {count} rows in {}", table.precision())
    })?;
    ensure(owned_by.iter().all(|rows| rows.start <= rows.end && rows.end as usize <= *count), || {
        format!("owners of the fetched rows of table `{name}`: expected ranges below {count}")
    })?;
    expect(|| format!("ranks that table `{name}` serves"), served.len(), owned_by.len())?;
    ensure(served.iter().flatten().all(|&row| (row as usize) < table.rows()), || {
        format!("served rows of table `{name}`: expected numbers below {}", table.rows())
    })
}

/// The leaves of a batch with so many units.
fn check_cut(cut: BatchCut<'_>, units: usize) -> Result<(), CheckError> {
    let most = MAX_LEAVES as usize;
    match cut {
        BatchCut::Whole(leaves) => ensure(leaves.is_power_of_two() && leaves <= MAX_LEAVES, || {
            format!("leaves: expected a power of two up to {most}, found {leaves}")
        }),
        BatchCut::All(leaves) | BatchCut::Part(leaves) => {
            let bounds = &leaves.bounds;
            let all = bounds.first() == Some(&0) && bounds.last() == Some(&(units as u32)) && bounds.is_sorted();
            let known = leaves.total.is_power_of_two() && leaves.total <= most && leaves.numbers().end <= leaves.total;
            ensure(all && known, || {
                format!("leaves: expected {units} samples or requests in some of at most {most}, found {leaves:?}")
            })
        }
    }
}

/// For an executor whose steps are of whole batches, with tables read in place.
pub fn check_whole(inputs: &StepInputs<'_>) -> Result<(), CheckError> {
    ensure(inputs.fetched.is_none() && !matches!(inputs.cut, BatchCut::Part(_)), || {
        "it is a part of a batch, which this executor does not run".into()
    })
}

/// For an executor of one rank of several, which has no tables of its own.
pub fn check_fetched_rows(inputs: &StepInputs<'_>) -> Result<(), CheckError> {
    ensure(inputs.fetched.is_some(), || "its rows were not fetched from the ranks that own them".into())
}

/// The model values and the tables.
pub fn check_model(program: &Program, state: &DenseState, tables: &[Table]) -> Result<(), CheckError> {
    values(program, state)?;
    check_tables(program, tables, TableUse::Training)
}

fn values(program: &Program, state: &DenseState) -> Result<(), CheckError> {
    let widths = |found: &[Vec<f32>], expected: &mut dyn Iterator<Item = usize>| {
        let count = expected.zip(found).filter(|(width, values)| values.len() == *width).count();
        count == found.len()
    };
    let params = &program.parameters;
    let states = &program.states;
    let fits = state.params.len() == params.len()
        && state.param_slots.len() == params.len()
        && state.states.len() == states.len()
        && widths(&state.params, &mut params.iter().map(|p| p.width()))
        && widths(&state.states, &mut states.iter().map(|s| s.width()))
        && params.iter().zip(&state.param_slots).all(|(p, slots)| {
            let Some(update) = program.updates.get(p.update as usize) else { return false };
            let widths = update.slots.iter().map(|s| if s.per == SlotScope::Weight { p.width() } else { 1 });
            slots.len() == update.slots.len() && widths.zip(slots).all(|(width, slot)| slot.len() == width)
        });
    ensure(fits, || "the model's values have other shapes than the program's parameters and states".into())
}

/// What a step does with tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableUse {
    /// Reads and updates them: they are in f32, with the state of their optimizers.
    Training,
    /// Reads them, in any one precision.
    Inference,
}

pub fn check_tables(program: &Program, tables: &[Table], used: TableUse) -> Result<(), CheckError> {
    ensure(tables.len() == program.tables.len(), || {
        format!("expected {} tables, found {}", program.tables.len(), tables.len())
    })?;
    for (spec, table) in program.tables.iter().zip(tables) {
        let update = program.updates.get(spec.update as usize).expect("the description was checked: updates exist");
        let slots = &update.slots;
        ensure(used == TableUse::Inference || table.precision() == TablePrecision::F32, || {
            format!("table `{}` is in {}, for inference on a CPU alone: expected f32", spec.name, table.precision())
        })?;
        let (one, other) = (tables[0].precision(), table.precision());
        ensure(one == other, || format!("tables in {one} and in {other}: expected one of these for all"))?;
        let without = used == TableUse::Inference && table.slot_count() == 0;
        let states = table.slot_count() == slots.len()
            && slots.iter().enumerate().all(|(k, slot)| table.slot_scope(k) == slot.per);
        let fits = table.width() == spec.width as usize && (states || without);
        ensure(fits, || {
            format!("table `{}` has another width or other optimizer states than the program's", spec.name)
        })?;
    }
    Ok(())
}
