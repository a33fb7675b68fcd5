//! The kernels that sum row gradients against the runtime's own occurrences: several tables at
//! once, many blocks, several digits, several features, features without gradients, rows that occur
//! thousands of times, pieces that a row fills or ends with.
//!
//! Gradients are small integers, so that sums have one value in every order; that the order is
//! fixed is seen by running twice with numbers that round.

use din_compiler::codegen::cuda::{CodegenOptions, SchedulePurpose, ScheduleUnit, source};
use din_compiler::plan::Kernels;
use din_program::cuda::Cuda;
use din_program::schedule::{AxisTree, Schedule};
use din_runtime::table::{Occurrences, RowReads};
use din_tests::cuda::{Device, FeatureRows, RowResults, TableRows, sum_rows};
use din_tests::random_graph::Random;
use std::collections::BTreeMap;

/// The kernels alone: the source of an update that does nothing.
fn device() -> (Device, Cuda) {
    let schedule = Schedule {
        axes: AxisTree::rows(),
        buffers: vec![],
        slots: vec![],
        tile_slots: vec![],
        phases: vec![],
        roots: vec![],
    };
    let (name, axes) = ("u".into(), &schedule.axes);
    let unit =
        ScheduleUnit { name, schedule: &schedule, purpose: SchedulePurpose::Rows, widths: &[], axes, features: &[] };
    let options = CodegenOptions { threads: 64, chunks: 5, ..CodegenOptions::default() };
    let made = source("rows", &[unit], &Kernels::default(), &options).unwrap();
    (Device::compile(&made.source, 1).unwrap(), made.launches)
}

#[derive(Clone)]
struct Case {
    table_rows: usize,
    width: usize,
    /// Occurrences by feature, and whether a gradient flows.
    features: Vec<(usize, bool)>,
    every: bool,
    /// Whether rows are elsewhere than their numbers say: row `r` of `n` at `(5 r + 2) % n`, with
    /// `n` no multiple of 5.
    elsewhere: bool,
}

/// A case with its numbers.
struct Drawn {
    case: Case,
    /// By feature: row numbers, where the rows are, gradients.
    features: Vec<(Vec<u32>, Vec<u32>, Vec<f32>)>,
}

impl Drawn {
    fn new(case: &Case, r: &mut Random, whole: bool) -> Drawn {
        let stride = case.width + 3;
        let number = |g: f64| if whole { (g * 8.0).round() as f32 } else { g as f32 };
        let features = case.features.iter().map(|&(n, flows)| {
            // Squared: some rows are common.
            let rows: Vec<u32> = (0..n).map(|_| (r.unit().powi(2) * case.table_rows as f64) as u32).collect();
            let gradient = if flows { r.numbers(n * stride).into_iter().map(number).collect() } else { vec![] };
            (rows.clone(), rows.iter().map(|&row| case.at(row)).collect(), gradient)
        });
        Drawn { case: case.clone(), features: features.collect() }
    }
}

impl Case {
    fn at(&self, row: u32) -> u32 {
        if self.elsewhere { (5 * row + 2) % self.table_rows as u32 } else { row }
    }

    fn total(&self) -> usize {
        self.features.iter().map(|f| f.0).sum()
    }
}

#[derive(PartialEq, Debug)]
struct Found {
    index: Vec<u32>,
    begins: Vec<u32>,
    gradient: Vec<f32>,
    touched: Vec<f32>,
    updates: Vec<f32>,
    elements: Vec<u32>,
    count: Vec<f32>,
}

/// Runs tables together, with room for `spare` occurrences more.
fn run(device: &Device, cuda: &Cuda, drawn: &mut [Drawn], spare: usize, seed: u64) -> Vec<Found> {
    device.reset();
    for (rows, places, gradient) in drawn.iter_mut().flat_map(|d| &mut d.features) {
        device.buffer("row numbers", rows, true);
        device.buffer("places of rows", places, true);
        device.buffer("gradient", gradient, true);
    }
    let found = |d: &Drawn| {
        let most = if d.case.every { d.case.table_rows } else { d.case.total() };
        Found {
            index: vec![0; most],
            begins: vec![u32::MAX; most + 1],
            gradient: vec![f32::MAX; most * d.case.width],
            touched: vec![0.5; most],
            updates: vec![3.0; d.case.table_rows],
            elements: vec![7],
            count: vec![7.0],
        }
    };
    let mut all: Vec<Found> = drawn.iter().map(found).collect();
    let mut tables = Vec::new();
    for (d, f) in drawn.iter().zip(&mut all) {
        device.buffer("updates", &mut f.updates, true);
        let features = d.features.iter().map(|(rows, places, gradient)| FeatureRows {
            rows,
            places: if d.case.elsewhere { places.as_ptr() } else { std::ptr::null() },
            gradient: if gradient.is_empty() { std::ptr::null() } else { gradient.as_ptr() },
            stride: d.case.width as u32 + 3,
        });
        tables.push(TableRows {
            width: d.case.width as u32,
            rows: d.case.table_rows as u32,
            every: d.case.every,
            updates: f.updates.as_mut_ptr(),
            features: features.collect(),
            room: d.case.total() + spare,
            results: RowResults {
                index: &mut f.index,
                begins: &mut f.begins,
                gradient: &mut f.gradient,
                touched: &mut f.touched,
                elements: &mut f.elements,
                count: &mut f.count,
            },
        });
    }
    sum_rows(device, cuda, &mut tables, seed).unwrap();
    drop(tables);
    all
}

fn check(Drawn { case, features }: &Drawn, found: &Found) {
    let stride = case.width + 3;
    let slices: Vec<&[u32]> = features.iter().map(|f| f.0.as_slice()).collect();
    let mut expected = Occurrences::new();
    let reads = |(feature, rows)| RowReads { rows, feature, leaf: 0, first: 0 };
    expected.build(&(0..).zip(slices.iter().copied()).map(reads).collect::<Vec<_>>(), case.table_rows);
    if case.every {
        expected.cover(case.table_rows);
    }
    let count = expected.rows.len();
    assert_eq!(found.elements, [count as u32]);
    assert_eq!(found.count, [count as f32]);
    let places: Vec<u32> = expected.rows.iter().map(|&r| case.at(r)).collect();
    assert_eq!(found.index[..count], places);
    assert_eq!(found.begins[..=count], expected.offsets);
    for (i, row) in found.gradient.chunks(case.width).take(count).enumerate() {
        for (c, &sum) in row.iter().enumerate() {
            let mut all = 0.0f32;
            for o in expected.of(i) {
                let of = &features[o.feature as usize].2;
                if !of.is_empty() {
                    all += of[o.element as usize * stride + c];
                }
            }
            assert_eq!(sum, all, "row {i}, column {c}");
        }
    }
    for row in 0..case.table_rows as u32 {
        let occurs = slices.iter().any(|s| s.contains(&row));
        assert_eq!(found.updates[case.at(row) as usize], if occurs { 4.0 } else { 3.0 });
    }
    if case.every {
        assert_eq!(found.touched, expected.touched);
    }
}

fn cases() -> Vec<Case> {
    let case = |table_rows, width, features: &[(usize, bool)], every| Case {
        table_rows,
        width,
        features: features.to_vec(),
        every,
        elsewhere: false,
    };
    let moved = |case: Case| Case { elsewhere: true, ..case };
    vec![
        // A block has 512 occurrences, a piece 64.
        case(1000, 5, &[(700, true), (1, true), (1900, true)], false),
        case(70_001, 2, &[(1200, true)], false),
        case(300, 40, &[(513, true), (0, true), (400, false)], false),
        case(17, 1, &[(3000, true)], false),
        moved(case(1001, 5, &[(700, true), (1, true), (1900, true)], false)),
        moved(case(33, 2, &[(90, true), (0, true), (40, false)], false)),
        case(1, 3, &[(640, true), (64, true)], false),
        case(3000, 4, &[(512, true)], false),
        case(200, 33, &[(90, true), (600, true)], true),
        case(5, 2, &[(1, false), (1, true)], true),
        case(90, 3, &[(0, true)], true),
    ]
}

#[test]
fn sums_are_those_of_the_runtime() {
    let (device, cuda) = device();
    for (k, case) in cases().iter().enumerate() {
        let seed = k as u64 + 1;
        let mut drawn = [Drawn::new(case, &mut Random::new(seed), true)];
        let found = run(&device, &cuda, &mut drawn, 0, seed);
        check(&drawn[0], &found[0]);
    }
}

#[test]
fn tables_share_launches() {
    let (device, cuda) = device();
    for seed in 1..4 {
        let mut r = Random::new(seed);
        let mut drawn: Vec<Drawn> = cases().iter().map(|case| Drawn::new(case, &mut r, true)).collect();
        // Room for more, as buckets give it, changes nothing.
        let found = run(&device, &cuda, &mut drawn, 700 * (seed as usize - 1), seed);
        drawn.iter().zip(&found).for_each(|(d, f)| check(d, f));
    }
}

#[test]
fn the_order_of_sums_is_fixed() {
    let (device, cuda) = device();
    let mut r = Random::new(9);
    let mut drawn: Vec<Drawn> = cases().iter().map(|case| Drawn::new(case, &mut r, false)).collect();
    let found = run(&device, &cuda, &mut drawn, 0, 1);
    assert!(run(&device, &cuda, &mut drawn, 1000, 2) == found);
}

/// Row numbers say in which order ids came; a resumed run gives others. Numbers that round show
/// that the sum of a row does not depend on which rows come before it.
#[test]
fn a_sum_does_not_depend_on_the_numbers_of_rows() {
    let (device, cuda) = device();
    for (k, case) in cases().iter().enumerate() {
        // 101 is prime, and no number of rows is a multiple of it.
        let count = case.table_rows as u32;
        let renumbered = |row: u32| (101 * row + 7) % count;
        let mut drawn = [Drawn::new(case, &mut Random::new(k as u64 + 40), false)];
        let before = run(&device, &cuda, &mut drawn, 0, 1).remove(0);
        for (rows, places, _) in &mut drawn[0].features {
            rows.iter_mut().for_each(|row| *row = renumbered(*row));
            *places = rows.iter().map(|&row| case.at(row)).collect();
        }
        let after = run(&device, &cuda, &mut drawn, 0, 1).remove(0);
        let sums = |found: &Found| -> BTreeMap<u32, Vec<u32>> {
            let rows = &found.index[..found.elements[0] as usize];
            let bits = found.gradient.chunks(case.width).map(|row| row.iter().map(|x| x.to_bits()).collect());
            rows.iter().copied().zip(bits).collect()
        };
        let (before, after) = (sums(&before), sums(&after));
        assert_eq!(before.len(), after.len());
        for row in 0..count {
            assert_eq!(before.get(&case.at(row)), after.get(&case.at(renumbered(row))), "case {k}, row {row}");
        }
    }
}

#[test]
fn a_long_batch_has_long_pieces() {
    let (device, cuda) = device();
    let case = Case {
        table_rows: 9,
        width: 2,
        features: vec![(40_000, true), (26_000, true)],
        every: false,
        elsewhere: false,
    };
    let mut drawn = [Drawn::new(&case, &mut Random::new(5), true)];
    let found = run(&device, &cuda, &mut drawn, 0, 5);
    check(&drawn[0], &found[0]);
}
