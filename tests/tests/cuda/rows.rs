//! The kernels that sum row gradients against the runtime's own occurrences, bit for bit: many blocks, several digits, several features,
//! features without gradients, rows that occur thousands of times.

use din_compiler::codegen::cuda::{Options, Purpose, Unit, source};
use din_compiler::plan::Kernels;
use din_program::cuda::Cuda;
use din_program::schedule::{Axes, ONCE, Schedule};
use din_runtime::table::Occurrences;
use din_tests::cuda::{Device, FeatureRows, RowResults, TableRows, sum_rows};
use din_tests::random_graph::Random;

/// The kernels alone: the source of an update that does nothing.
fn device() -> (Device, Cuda) {
    let schedule = Schedule {
        domains: vec![None, Some(ONCE)],
        buffers: vec![],
        slots: vec![],
        groups: vec![],
        tile_slots: vec![],
        phases: vec![],
        roots: vec![],
    };
    let (name, axes) = ("u".into(), Axes::rows());
    let unit = Unit { name, schedule: &schedule, purpose: Purpose::Rows, widths: &[], axes: &axes, features: &[] };
    let options = Options { threads: 64, chunks: 5, ..Options::default() };
    let made = source("rows", &[unit], &Kernels::default(), &options).unwrap();
    (Device::compile(&made.source, 1).unwrap(), made.launches)
}

struct Case {
    table_rows: usize,
    width: usize,
    /// Occurrences by feature, and whether a gradient flows.
    features: Vec<(usize, bool)>,
    every: bool,
    /// Whether rows are elsewhere than their numbers say: row `r` of `n` at `(5 r + 2) % n`, with `n` no multiple of 5.
    elsewhere: bool,
}

fn check(device: &Device, cuda: &Cuda, case: &Case, seed: u64) {
    device.reset();
    let mut r = Random::new(seed);
    let stride = case.width + 3;
    let at = |row: u32| if case.elsewhere { (5 * row + 2) % case.table_rows as u32 } else { row };
    let mut features: Vec<(Vec<u32>, Vec<f32>)> = case
        .features
        .iter()
        .map(|&(n, flows)| {
            // Squared: some rows are common.
            let rows = (0..n).map(|_| (r.unit().powi(2) * case.table_rows as f64) as u32).collect();
            let gradient = if flows { r.numbers(n * stride).iter().map(|&g| g as f32).collect() } else { vec![] };
            (rows, gradient)
        })
        .collect();
    let mut places: Vec<Vec<u32>> = features.iter().map(|f| f.0.iter().map(|&r| at(r)).collect()).collect();
    places.iter_mut().for_each(|p| device.buffer("places of rows", p, true));
    for (rows, gradient) in &mut features {
        device.buffer("row numbers", rows, true);
        device.buffer("gradient", gradient, true);
    }
    let slices: Vec<&[u32]> = features.iter().map(|f| f.0.as_slice()).collect();
    let mut expected = Occurrences::new();
    expected.build(&slices, case.table_rows);
    if case.every {
        expected.cover(case.table_rows);
    }
    let total: usize = slices.iter().map(|s| s.len()).sum();
    let most = if case.every { case.table_rows } else { total };
    let (mut index, mut gradient, mut touched) = (vec![0; most], vec![f32::NAN; most * case.width], vec![0.5; most]);
    let (mut touches, mut words) = (vec![3.0; case.table_rows], vec![7, 7, 7]);
    device.buffer("touches", &mut touches, true);
    let of_features: Vec<FeatureRows<'_>> = features
        .iter()
        .zip(&places)
        .map(|((rows, gradient), places)| FeatureRows {
            rows,
            places: if case.elsewhere { places.as_ptr() } else { std::ptr::null() },
            gradient: if gradient.is_empty() { std::ptr::null() } else { gradient.as_ptr() },
            stride: stride as u32,
        })
        .collect();
    let table = TableRows {
        width: case.width as u32,
        rows: case.table_rows as u32,
        every: case.every,
        touches: touches.as_mut_ptr(),
    };
    let mut results = RowResults {
        index: &mut index,
        gradient: &mut gradient,
        touched: &mut touched,
        words: &mut words,
        elements: 1,
    };
    let begins = sum_rows(device, cuda, &table, &of_features, &mut results, seed).unwrap();
    let count = expected.rows.len();
    assert_eq!(words, [7, count as u32, 7]);
    let expected_places: Vec<u32> = expected.rows.iter().map(|&r| at(r)).collect();
    assert_eq!(index[..count], expected_places);
    assert_eq!(begins[..=count], expected.offsets);
    for (i, row) in gradient.chunks(case.width).take(count).enumerate() {
        for (c, &found) in row.iter().enumerate() {
            let mut sum = 0.0f32;
            for o in expected.of(i) {
                let of = &features[o.feature as usize].1;
                if !of.is_empty() {
                    sum += of[o.element as usize * stride + c];
                }
            }
            assert_eq!(found, sum, "row {i}, column {c}");
        }
    }
    for row in 0..case.table_rows as u32 {
        let occurs = slices.iter().any(|s| s.contains(&row));
        assert_eq!(touches[at(row) as usize], if occurs { 4.0 } else { 3.0 });
    }
    if case.every {
        assert_eq!(touched, expected.touched);
    }
}

#[test]
fn sums_are_those_of_the_runtime() {
    let (device, cuda) = device();
    let case = |table_rows, width, features: &[(usize, bool)], every| Case {
        table_rows,
        width,
        features: features.to_vec(),
        every,
        elsewhere: false,
    };
    let moved = |case: Case| Case { elsewhere: true, ..case };
    let cases = [
        // A block has 512 occurrences.
        case(1000, 5, &[(700, true), (1, true), (1900, true)], false),
        case(300, 40, &[(513, true), (0, true), (400, false)], false),
        case(17, 1, &[(3000, true)], false),
        moved(case(1001, 5, &[(700, true), (1, true), (1900, true)], false)),
        moved(case(33, 2, &[(90, true), (0, true), (40, false)], false)),
        case(1, 3, &[(40, true), (5, true)], false),
        case(3000, 4, &[(512, true)], false),
        case(200, 33, &[(90, true), (600, true)], true),
        case(5, 2, &[(1, false), (1, true)], true),
    ];
    for (k, case) in cases.iter().enumerate() {
        check(&device, &cuda, case, k as u64 + 1);
    }
}
