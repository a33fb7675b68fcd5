//! The files that several ranks write.

use super::support::*;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_select::concat::concat_batches;
use din_program::TablePrecision;
use din_program::schema::{Feature, FeatureKind, FeatureSource, Schema};
use din_runtime::comm::{Communicator, LocalCommunicator};
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::predict::{self, OutputFormat, OutputOptions, PredictionSummary};
use din_runtime::statistics::Statistics;
use din_runtime::table::Placement;
use din_runtime::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn output(path: PathBuf) -> OutputOptions {
    let format = OutputFormat::of(&path).unwrap();
    OutputOptions { path, format, logits: true, outputs: false }
}

/// With the outputs of the model, where it has some and the file can hold them.
fn with_outputs(trained: &Trained, options: OutputOptions) -> OutputOptions {
    let outputs = options.format == OutputFormat::Parquet && !trained.program.outputs.is_empty();
    OutputOptions { outputs, ..options }
}

/// Predicts files with so many ranks.
fn predict(
    trained: &Trained,
    files: &[PathBuf],
    output: &OutputOptions,
    ranks: usize,
) -> Vec<Result<PredictionSummary>> {
    let run = |comm: &Arc<dyn Communicator>| {
        let data = predict::open(&trained.program, files, b'|', &Statistics::default(), output).unwrap();
        predict::predict(&mut trained.session(), &data, output, 64, comm, &mut |_| {})
    };
    if ranks == 1 { vec![run(&(Arc::new(LocalCommunicator) as Arc<dyn Communicator>))] } else { on_ranks(ranks, run) }
}

/// Names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn the_parts_one_after_the_other_are_the_file_of_one_rank() {
    // One row group; several of two sizes; many.
    for groups in [&[2_000][..], &[300, 400], &[20]] {
        let folder = tempfile::tempdir().unwrap();
        let (trained, files) = clicks(folder.path(), groups);
        compare_parts(folder.path(), &trained, &files, 2_000);
    }
}

#[test]
fn outputs_are_the_values_of_their_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, files) = clicks(folder.path(), &[300, 400]);
    let options = with_outputs(&trained, output(folder.path().join("out.parquet")));
    predict(&trained, &files, &options, 1).remove(0).unwrap();
    let written = rows(&options.path);
    let logits = written.column_by_name("click_logit").unwrap().as_primitive::<Float32Type>();
    let vectors = written.column_by_name("vector").unwrap().as_fixed_size_list();
    assert_eq!((written.num_rows(), vectors.value_length()), (2_000, 9));
    let values = vectors.values().as_primitive::<Float32Type>().values();
    // The first component is the logit.
    assert!(values.chunks(9).map(|vector| vector[0]).eq(logits.values().iter().copied()));
    assert!(values.chunks(9).any(|vector| vector[1..].iter().any(|v| *v != 0.0)));
    let csv = output(folder.path().join("out.csv"));
    let refused =
        predict::open(&trained.program, &files, b'|', &Statistics::default(), &OutputOptions { outputs: true, ..csv });
    assert!(refused.unwrap_err().message.contains("outputs are vectors, which CSV does not hold"));
}

/// Compares what 2, 3, 4 and 8 ranks write with what one rank does.
fn compare_parts(folder: &Path, trained: &Trained, files: &[PathBuf], count: usize) {
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    let [csv, parquet] = ["one.csv", "one.parquet"].map(|name| {
        let written = predict(trained, files, &with_outputs(trained, output(out.join(name))), 1).remove(0).unwrap();
        assert_eq!(written.rows, count as u64);
        (out.join(name), written)
    });
    let (text, one) = (fs::read(&csv.0).unwrap(), rows(&parquet.0));
    assert_eq!(one.num_rows(), count);
    for ranks in [2, 3, 4, 8] {
        for (extension, expected) in [("csv", &csv.1), ("parquet", &parquet.1)] {
            let path = out.join(format!("several.{extension}"));
            for written in predict(trained, files, &with_outputs(trained, output(path.clone())), ranks) {
                assert_eq!(written.unwrap(), *expected);
            }
            let parts: Vec<String> =
                (0..ranks).map(|rank| format!("part-{rank:05}-of-{ranks:05}.{extension}")).collect();
            assert_eq!(names(&path), parts);
            let parts = parts.iter().map(|part| path.join(part));
            if extension == "csv" {
                assert!(parts.flat_map(|part| fs::read(part).unwrap()).eq(text.iter().copied()), "{ranks} ranks");
            } else {
                let parts: Vec<RecordBatch> = parts.map(|part| rows(&part)).collect();
                assert_eq!(concat_batches(one.schema_ref(), &parts).unwrap(), one, "{ranks} ranks");
                // About equally many rows: none is empty while another has twice its share.
                let even = count / ranks;
                assert!(parts.iter().all(|part| part.num_rows().abs_diff(even) <= even / 8 + 10), "{ranks} ranks");
            }
        }
        // Earlier predictions were replaced, and nothing else is left.
        assert_eq!(names(&out), ["one.csv", "one.parquet", "several.csv", "several.parquet"]);
    }
}

/// Keys of requests pass through, and no part begins within a request.
#[test]
fn requests_are_whole_in_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, file) = requests(folder.path(), 3_000);
    let count = rows(&file).num_rows();
    compare_parts(folder.path(), &trained, &[file], count);
    let parts = folder.path().join("out/several.csv");
    let texts: Vec<String> = names(&parts).iter().map(|part| fs::read_to_string(parts.join(part)).unwrap()).collect();
    let request = |line: Option<&str>| line.unwrap().split(',').next().unwrap().to_string();
    for pair in texts.windows(2) {
        assert_ne!(request(pair[0].lines().last()), request(pair[1].lines().next()));
    }
}

/// Fewer rows than ranks.
#[test]
fn a_rank_without_rows_writes_an_empty_part() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, file) = logarithm(folder.path(), vec![1.0; 3]);
    let files = [file];
    predict(&trained, &files, &output(folder.path().join("one.csv")), 1).remove(0).unwrap();
    let out = folder.path().join("out.csv");
    assert!(predict(&trained, &files, &output(out.clone()), 4).iter().all(Result::is_ok));
    let parts: Vec<String> = names(&out).iter().map(|part| fs::read_to_string(out.join(part)).unwrap()).collect();
    assert_eq!(parts.concat(), fs::read_to_string(folder.path().join("one.csv")).unwrap());
    assert_eq!((parts.len(), parts.iter().filter(|part| part.contains(",1,")).count()), (4, 3), "{parts:?}");
}

/// A model of predictions could read the folder as one file.
#[test]
fn a_folder_of_parts_is_one_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, files) = clicks(folder.path(), &[300, 400]);
    let out = folder.path().join("out.parquet");
    assert!(predict(&trained, &files, &output(out.clone()), 8).iter().all(Result::is_ok));
    let probability = Feature {
        group: "p".into(),
        name: "click".into(),
        source: FeatureSource::column("click_probability"),
        kind: FeatureKind::Dense { width: 1 },
        sequence: None,
        common: false,
        at_prediction: true,
        location: "m.din:1:1".into(),
    };
    let schema = Schema { features: vec![probability], ..Schema::default() };
    let probabilities = |path: &Path| {
        let data = Dataset::open(&[path], &schema, ReadMode::Predict).unwrap();
        assert_eq!(data.rows(), 2000);
        data.stream(StreamOptions::new(4000, Order::File)).unwrap().next().unwrap().unwrap().dense.remove(0)
    };
    let one = folder.path().join("one.parquet");
    predict(&trained, &files, &output(one.clone()), 1).remove(0).unwrap();
    assert_eq!(probabilities(&out), probabilities(&one));
}

/// A header is there even if the first rank has no rows.
#[test]
fn the_first_part_has_the_header_whoever_has_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, file) = logarithm(folder.path(), vec![1.0; 7]);
    let files = [file];
    predict(&trained, &files, &output(folder.path().join("one.csv")), 1).remove(0).unwrap();
    for ranks in [2, 3, 4] {
        let out = folder.path().join("out.csv");
        assert!(predict(&trained, &files, &output(out.clone()), ranks).iter().all(Result::is_ok));
        let parts: Vec<String> = names(&out).iter().map(|part| fs::read_to_string(out.join(part)).unwrap()).collect();
        assert!(parts[0].starts_with("id,click,click_probability,click_logit\n"), "{parts:?}");
        assert_eq!(parts.concat(), fs::read_to_string(folder.path().join("one.csv")).unwrap());
        assert!(parts.iter().all(|part| part.contains(",1,")), "one row group, all ranks: {parts:?}");
    }
}

fn messages(outcomes: Vec<Result<PredictionSummary>>) -> Vec<String> {
    outcomes.into_iter().map(|outcome| outcome.unwrap_err().message).collect()
}

#[test]
fn an_error_of_any_rank_leaves_nothing_and_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    for bad in [3, 17, 25, 38] {
        let numbers = (0..40).map(|k| if k == bad { -3.0 } else { 1.0 }).collect();
        let (trained, file) = logarithm(folder.path(), numbers);
        let files = [file];
        let out = folder.path().join("out");
        fs::create_dir_all(out.join("there.csv")).unwrap();
        let there = out.join("there.csv/part-00000-of-00001.csv");
        fs::write(&there, "earlier").unwrap();
        for ranks in [2, 3, 4, 5] {
            for name in ["new.csv", "new.parquet", "there.csv"] {
                let errors = messages(predict(&trained, &files, &output(out.join(name)), ranks));
                let row = format!("numbers.parquet: row {bad}: the prediction of `click` is not a number");
                assert!(errors.iter().all(|error| error.contains(&row)), "{errors:?}");
                assert_eq!(names(&out), ["there.csv"]);
                assert_eq!(names(&out.join("there.csv")), ["part-00000-of-00001.csv"]);
                assert_eq!(fs::read_to_string(&there).unwrap(), "earlier");
            }
        }
    }
}

#[test]
fn a_folder_of_other_files_and_inputs_are_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, file) = logarithm(folder.path(), vec![1.0; 40]);
    let refused = |files: &[PathBuf], path: &Path, why: &str| {
        let before = names(folder.path());
        let errors = messages(predict(&trained, files, &output(path.to_path_buf()), 3));
        let said = format!("{}: expected a folder to write, or predictions to replace, found {why}", path.display());
        assert!(errors[0].starts_with(&said), "{errors:?}");
        assert_eq!(names(folder.path()), before);
    };
    let out = folder.path().join("out.parquet");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    refused(std::slice::from_ref(&file), &out, "a folder with notes.txt in it");
    fs::remove_file(out.join("notes.txt")).unwrap();
    let part = out.join("part-00000-of-00001.parquet");
    fs::copy(&file, &part).unwrap();
    refused(std::slice::from_ref(&part), &out, "the input part-00000-of-00001.parquet in it");
    refused(std::slice::from_ref(&file), &file, "an input");
    assert!(part.exists() && file.exists());
    // Where it is not an input, it is replaced.
    assert!(predict(&trained, std::slice::from_ref(&file), &output(out.clone()), 2).iter().all(Result::is_ok));
    assert_eq!(names(&out).len(), 2);
    // A folder that is missing cannot hold one.
    let missing = folder.path().join("missing/out.parquet");
    let error: Error = predict(&trained, &[file], &output(missing), 2).remove(0).unwrap_err();
    assert!(error.exit_code() == 1 && error.message.contains("missing/out.parquet: cannot write"), "{error}");
}

/// On tables in BF16 too: of which a rank has some rows, and gets others, or has all.
#[test]
fn ranks_on_tables_in_bf16_write_what_one_rank_does() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, files) = clicks(folder.path(), &[300, 400]);
    let checkpoint = trained.save(folder.path());
    let run = |comm: &Arc<dyn Communicator>, name: &str, placement, tables| {
        let data =
            predict::open(&trained.program, &files, b'|', &Statistics::default(), &output(folder.path().join(name)))
                .unwrap();
        let mut session = rank_of(&trained.program, &checkpoint, comm, placement, tables);
        let out = output(folder.path().join(name));
        predict::predict(&mut session, &data, &out, 64, comm, &mut |_| {}).unwrap();
    };
    let alone = Arc::new(LocalCommunicator) as Arc<dyn Communicator>;
    for tables in [TablePrecision::F32, TablePrecision::Bf16] {
        run(&alone, &format!("{tables}.csv"), Placement::Replicated, tables);
    }
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let expected = text("bf16.csv");
    assert!(expected.lines().count() == 2001 && expected != text("f32.csv"));
    for (ranks, placement) in [(2, Placement::Sharded), (3, Placement::Sharded), (3, Placement::Replicated)] {
        let name = format!("{ranks}-{placement:?}.csv");
        on_ranks(ranks, |comm| run(comm, &name, placement, TablePrecision::Bf16));
        let parts = names(&folder.path().join(&name));
        let text: String = parts.iter().map(|part| text(&format!("{name}/{part}"))).collect();
        assert!(text == expected, "{name}");
    }
}
