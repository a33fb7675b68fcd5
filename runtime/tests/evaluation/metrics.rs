//! The report of several ranks.

use super::support::*;
use din_runtime::data::{Dataset, ReadMode};
use din_runtime::evaluate::{Report, evaluate};
use din_runtime::metric::{Detail, Undefined};
use din_runtime::session::{DataPass, OnSignal, PassEvent};
use std::path::PathBuf;

fn report(trained: &Trained, files: &[PathBuf], batch: usize, ranks: usize) -> Vec<Report> {
    let rows = Dataset::open(files, &trained.program.schema, ReadMode::Evaluate).unwrap().rows();
    on_ranks(ranks, |comm| {
        let data = Dataset::open(files, &trained.program.schema, ReadMode::Evaluate).unwrap();
        let mut events = Vec::new();
        let report =
            evaluate(&mut trained.session(), &data, batch, OnSignal::GoOn, comm, &mut |event| events.push(event))
                .unwrap();
        if comm.rank() == 0 {
            assert_eq!(events[0], PassEvent::Begin { pass: DataPass::Evaluating, rows, done: 0 });
            let [.., PassEvent::Advance { rows: last, .. }, PassEvent::End] = events[..] else { panic!("{events:?}") };
            assert_eq!(last, rows);
        } else {
            assert!(events.is_empty(), "one rank reports progress");
        }
        report
    })
}

fn bits(report: &Report) -> Vec<(String, Result<u64, Undefined>, Detail)> {
    let values = report.values.iter();
    values.map(|value| (value.name.clone(), value.value.map(f64::to_bits), value.detail.clone())).collect()
}

#[test]
fn every_rank_reports_what_one_rank_does() {
    // One row group; then 4 + 3 of two sizes: fewer than 8.
    for groups in [&[2_000][..], &[300, 400]] {
        let folder = tempfile::tempdir().unwrap();
        let (trained, files) = clicks(folder.path(), groups);
        let expected = report(&trained, &files, 100, 1).remove(0);
        assert_eq!(expected.rows, 2000);
        assert!(expected.values.iter().all(|value| value.value.is_ok()));
        assert!(expected.values[0].value.unwrap() > 0.55, "the model has learned something: {expected:?}");
        // Every user has rows in all parts.
        assert!(matches!(expected.values[1].detail, Detail::Gauc { groups: 40..=60, .. }), "{expected:?}");
        for ranks in [2, 3, 4, 8] {
            for (rank, report) in report(&trained, &files, 64, ranks).iter().enumerate() {
                assert_eq!(report.rows, expected.rows);
                assert_eq!(bits(report), bits(&expected), "rank {rank} of {ranks}");
            }
        }
    }
}

/// Requests go over the ends of batches and of what ranks decode.
#[test]
fn reports_of_requests_are_those_of_one_rank() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, file) = requests(folder.path(), 3_000);
    let files = [file];
    let expected = report(&trained, &files, 100, 1).remove(0);
    assert!(expected.values.iter().all(|value| value.value.is_ok()), "{expected:?}");
    for ranks in [2, 3, 4] {
        assert!(report(&trained, &files, 64, ranks).iter().all(|report| bits(report) == bits(&expected)));
    }
}

#[test]
fn what_one_rank_cannot_define_no_rank_does() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, file) = logarithm(folder.path(), (0..35).map(|k| k as f32).collect());
    let expected = report(&trained, std::slice::from_ref(&file), 100, 1).remove(0);
    assert_eq!(expected.values[0].value, Err(Undefined::OneClass));
    assert!(expected.values[2].value.is_ok());
    for ranks in [2, 3, 4, 6] {
        let reports = report(&trained, std::slice::from_ref(&file), 7, ranks);
        assert!(reports.iter().all(|report| bits(report) == bits(&expected)));
    }
}

#[test]
fn a_row_without_a_value_is_named_and_all_ranks_end() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, file) = logarithm(folder.path(), (0..40).map(|k| if k == 27 { -3.0 } else { 1.0 }).collect());
    for ranks in [1, 2, 3, 4] {
        let errors = on_ranks(ranks, |comm| {
            let data = Dataset::open(&[&file], &trained.program.schema, ReadMode::Evaluate).unwrap();
            evaluate(&mut trained.session(), &data, 5, OnSignal::GoOn, comm, &mut |_| {}).unwrap_err().message
        });
        let named = |error: &String| error.contains("numbers.parquet: row 27: the prediction of `click`");
        assert!(errors.iter().all(|error| named(error) && error.contains("a.x = -3")), "{errors:?}");
    }
}
