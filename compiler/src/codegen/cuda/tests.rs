//! `rows.cuh` names the pointers and scalars of its kernels as `din_program::cuda` does.

use super::ROWS;
use din_program::cuda::{
    FeaturePointer, FeatureScalar, MovePointer, MoveScalar, ROWS_DIGITS, ROWS_ROUNDS, RowsPointer, RowsScalar,
    TablePointer, TableScalar,
};
use std::collections::BTreeMap;

/// The values of all enumerators and of all numbers that are defined.
fn numbers() -> BTreeMap<String, u32> {
    let mut numbers = BTreeMap::new();
    let mut rest = ROWS;
    while let Some((_, after)) = rest.split_once("enum {") {
        let (body, after) = after.split_once("};").unwrap();
        for (value, name) in (0..).zip(body.split(',').map(str::trim)) {
            assert_eq!(numbers.insert(name.to_string(), value), None, "{name} stands twice");
        }
        rest = after;
    }
    for line in ROWS.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["#define", name, value] = words[..]
            && let Ok(value) = value.trim_end_matches('u').parse()
        {
            numbers.insert(name.to_string(), value);
        }
    }
    numbers
}

#[test]
fn the_kernels_of_row_gradients_read_what_the_runtime_writes() {
    let expected = [
        ("DIN_KEYS", RowsPointer::Keys as u32),
        ("DIN_PLACES", RowsPointer::Places as u32),
        ("DIN_OTHER_KEYS", RowsPointer::OtherKeys as u32),
        ("DIN_OTHER_PLACES", RowsPointer::OtherPlaces as u32),
        ("DIN_COUNTS", RowsPointer::Counts as u32),
        ("DIN_SCALARS", RowsPointer::Scalars as u32),
        ("DIN_TABLES", RowsPointer::Tables as u32),
        ("DIN_ROWS", TablePointer::Rows as u32),
        ("DIN_BEGINS", TablePointer::Begins as u32),
        ("DIN_PIECES", TablePointer::Pieces as u32),
        ("DIN_GRADIENT", TablePointer::Gradient as u32),
        ("DIN_FIRST_SUMS", TablePointer::FirstSums as u32),
        ("DIN_LAST_SUMS", TablePointer::LastSums as u32),
        ("DIN_TOUCHED", TablePointer::InBatch as u32),
        ("DIN_TOUCHES", TablePointer::UpdateCount as u32),
        ("DIN_ELEMENTS", TablePointer::Elements as u32),
        ("DIN_TABLE_POINTERS", TablePointer::COUNT as u32),
        ("DIN_FEATURE_ROWS", FeaturePointer::Rows as u32),
        ("DIN_FEATURE_GRADIENT", FeaturePointer::Gradient as u32),
        ("DIN_FEATURE_PLACES", FeaturePointer::Places as u32),
        ("DIN_FEATURE_POINTERS", FeaturePointer::COUNT as u32),
        ("DIN_SHIFT", RowsScalar::Shift as u32),
        ("DIN_FIRST", TableScalar::First as u32),
        ("DIN_TOTAL", TableScalar::Total as u32),
        ("DIN_WIDTH", TableScalar::Width as u32),
        ("DIN_TABLE_ROWS", TableScalar::Rows as u32),
        ("DIN_EVERY", TableScalar::Every as u32),
        ("DIN_FIRST_FEATURE", TableScalar::FirstFeature as u32),
        ("DIN_FEATURES", TableScalar::Features as u32),
        ("DIN_FIRST_BLOCK", TableScalar::FirstBlock as u32),
        ("DIN_BLOCKS", TableScalar::Blocks as u32),
        ("DIN_FIRST_SUM", TableScalar::FirstSum as u32),
        ("DIN_FIRST_WHOLE", TableScalar::FirstWhole as u32),
        ("DIN_LANES", TableScalar::Lanes as u32),
        ("DIN_PIECE", TableScalar::Piece as u32),
        ("DIN_TABLE_SCALARS", TableScalar::COUNT as u32),
        ("DIN_BEFORE", FeatureScalar::Before as u32),
        ("DIN_FEATURE_STRIDE", FeatureScalar::Stride as u32),
        ("DIN_FEATURE_SCALARS", FeatureScalar::COUNT as u32),
        ("DIN_COMING", MovePointer::Coming as u32),
        ("DIN_GOING", MovePointer::Going as u32),
        ("DIN_ARRAYS", MovePointer::Arrays as u32),
        ("DIN_OUT", MoveScalar::Out as u32),
        ("DIN_IN", MoveScalar::In as u32),
        ("DIN_STRIDE", MoveScalar::Stride as u32),
        ("DIN_ARRAY_COUNT", MoveScalar::Arrays as u32),
        // The widths of the arrays follow their number.
        ("DIN_ARRAY_WIDTHS", MoveScalar::Arrays as u32 + 1),
        ("DIN_DIGITS", ROWS_DIGITS),
        ("DIN_ROUNDS", ROWS_ROUNDS),
    ];
    let expected: BTreeMap<String, u32> = expected.map(|(name, value)| (name.to_string(), value)).into();
    assert_eq!(numbers(), expected);
}
