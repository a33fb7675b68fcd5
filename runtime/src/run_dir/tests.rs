//! Tests of run directories: what is made, restored, compared and refused.
use super::*;
use crate::checkpoint::tests::{filled, manifest, program, whole};
use crate::checkpoint::{self, LoadedCheckpoint, Manifest};
use crate::checkpoint::{MANIFEST_FORMAT, save};
use crate::comm::{Channel, Communicator, LocalCommunicator, in_process};
use crate::session::LoadPurpose;
use tempfile::TempDir;

fn record(program: &Program) -> RunRecord {
    let file = FileRecord { path: "/data/train.csv".into(), xxh3: "0123456789abcdef".into() };
    let data = DataRecord { files: vec![file], rows: 4000, fingerprint: "77".into() };
    let written = manifest(program, 1);
    RunRecord {
        format: FORMAT,
        din: written.din,
        model: written.model,
        program: program.hash(),
        backend: written.backend,
        device: "cpu".into(),
        seed: written.seed,
        batch: written.batch,
        leaves: written.leaves,
        ranks: 1,
        list_separator: b'|',
        vocabularies: Vec::new(),
        train: data.clone(),
        valid: Some(data),
    }
}

fn best(step: u64) -> Best {
    let (metric, value) = (Some("auc(click)".into()), Some(0.61));
    Best { checkpoint: checkpoint::name(step), epoch: 1, metric, value }
}

/// A run with a checkpoint of step 1, which is the best, and two epochs' lines.
struct Made {
    _folder: TempDir,
    run: RunDirectory,
    program: Arc<Program>,
    record: RunRecord,
}

impl Made {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let program = program();
        let record = record(&program);
        let run = RunDirectory::create(&folder.path().join("run"), &program, &record).unwrap();
        let made = Self { _folder: folder, run, program, record };
        made.save(&manifest(&made.program, 1));
        made.run.write_best(&best(1)).unwrap();
        let valid = serde_json::Map::from_iter([("auc(click)".to_string(), serde_json::json!(0.61))]);
        let line = |epoch: u32, step| MetricsLine {
            epoch,
            step,
            samples: None,
            train_loss: 0.69,
            valid: Some(valid.clone()),
            text: None,
        };
        made.run.write_metrics(&[line(1, 1), line(2, 2)]).unwrap();
        made
    }

    fn save(&self, manifest: &Manifest) {
        save(&self.run.checkpoints(), &filled(&self.program), manifest, &LocalCommunicator).unwrap();
    }

    fn load(&self, wanted: &str) -> Result<(String, LoadedCheckpoint)> {
        self.run.load(wanted, &self.program, &self.record, &whole(&self.program), LoadPurpose::Training)
    }
}

#[test]
fn no_json_file_with_an_altered_digit_is_believed() {
    let made = Made::new();
    let run = &made.run;
    let manifest = "checkpoints/step-0000000001/manifest.json";
    for name in ["run.json", "best.json", "metrics.jsonl", manifest] {
        let path = run.path().join(name);
        let whole = fs::read(&path).unwrap();
        let places = (0..whole.len()).filter(|&at| whole[at].is_ascii_digit());
        for at in places {
            let mut bytes = whole.clone();
            bytes[at] = if bytes[at] == b'9' { b'0' } else { bytes[at] + 1 };
            fs::write(&path, &bytes).unwrap();
            let error = match name {
                "run.json" => run.record().unwrap_err(),
                "best.json" => made.load("best").unwrap_err(),
                "metrics.jsonl" => run.metrics(u64::MAX).unwrap_err(),
                _ => made.load("last").unwrap_err(),
            };
            assert_eq!(error.exit_code(), 1);
            let message = &error.message;
            // The first digit of a file may be the one of its format.
            let format = [FORMAT, MANIFEST_FORMAT]
                .iter()
                .any(|f| message.contains(&format!("expected format {f}, found {}", f + 1)));
            assert!(message.contains(name) && message.contains("help: "), "{message}");
            assert!(message.contains("the text was altered") || format, "byte {at}: {message}");
        }
        fs::write(&path, &whole).unwrap();
    }
    made.load("best").unwrap();
    assert_eq!(run.metrics(u64::MAX).unwrap().len(), 2);
}

#[test]
fn lines_of_epochs_are_neither_missing_nor_exchanged() {
    let made = Made::new();
    let path = made.run.path().join("metrics.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for other in [vec![lines[1]], vec![lines[1], lines[0]], vec![lines[0], lines[0]]] {
        fs::write(&path, other.join("\n") + "\n").unwrap();
        let message = made.run.metrics(u64::MAX).unwrap_err().message;
        assert!(message.contains("metrics.jsonl:") && message.contains("expected the line of epoch"), "{message}");
    }
}

#[test]
fn a_best_that_was_altered_or_lost_is_chosen_again() {
    let made = Made::new();
    let path = made.run.path().join("best.json");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("0.61", "0.91")).unwrap();
    made.run.restore_best(Some(&best(1))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    fs::remove_file(&path).unwrap();
    made.run.restore_best(Some(&best(1))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
}

#[test]
fn a_checkpoint_and_a_program_of_another_run_are_refused() {
    let made = Made::new();
    for (step, what) in [
        (2, "seed 7, found seed 8"),
        (3, "batch 32, found batch 64"),
        (4, "leaves 16, found leaves 64"),
        (5, "program "),
    ] {
        let mut other = manifest(&made.program, step);
        match step {
            2 => other.seed = 8,
            3 => other.batch = 64,
            4 => other.leaves = 64,
            _ => other.program = "ab".into(),
        }
        made.save(&other);
        let message = made.load("last").unwrap_err().message;
        assert!(message.contains(what) && message.contains(&checkpoint::name(step)), "{message}");
    }
    let mut other = Program::clone(&made.program);
    other.model = "another".into();
    fs::write(made.run.path().join("program.bin"), other.encode()).unwrap();
    let message = made.run.program(&made.record).unwrap_err().message;
    assert!(message.contains("program.bin: expected the program of SHA-256 "), "{message}");
}

/// As a run that goes on training does it: the newer checkpoint, `best.json`, and then the older
/// one goes.
#[test]
fn a_checkpoint_that_is_removed_before_it_is_read_is_looked_up_again() {
    let plan = whole(&program());
    for wanted in ["best", "last"] {
        let made = Made::new();
        let mut step = 1;
        let train_on = |folder: &Path| {
            if step < 4 {
                step += 1;
                made.save(&manifest(&made.program, step));
                made.run.write_best(&best(step)).unwrap();
                checkpoint::remove(folder).unwrap();
            }
        };
        let (name, loaded) =
            made.run.load_with(wanted, &made.program, &made.record, &plan, LoadPurpose::Training, train_on).unwrap();
        assert_eq!((name.as_str(), loaded.manifest.position.step), ("step-0000000004", 4));
    }
    // One that was asked for by name is gone.
    let made = Made::new();
    let gone = |folder: &Path| checkpoint::remove(folder).unwrap();
    let error = made
        .run
        .load_with("step-0000000001", &made.program, &made.record, &plan, LoadPurpose::Training, gone)
        .unwrap_err();
    assert!(error.message.contains("step-0000000001"), "{error}");
    // And the looking ends.
    let made = Made::new();
    let mut step = 1;
    let on_and_on = |folder: &Path| {
        step += 1;
        fs::rename(folder, folder.with_file_name(checkpoint::name(step))).unwrap();
    };
    let error =
        made.run.load_with("last", &made.program, &made.record, &plan, LoadPurpose::Training, on_and_on).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.message.contains("100 checkpoints were removed by the training"), "{error}");
}

#[test]
fn a_best_without_its_checkpoint_is_an_error_that_names_the_others() {
    let made = Made::new();
    made.run.write_best(&best(9)).unwrap();
    let message = made.load("best").unwrap_err().message;
    assert!(message.contains("expected checkpoint `step-0000000009`, found only step-0000000001"), "{message}");
    assert!(message.contains("help: name one of them by --checkpoint"), "{message}");
    made.load("last").unwrap();
}

#[test]
fn a_folder_is_not_left_where_another_rank_fails_while_it_is_made() {
    let folder = TempDir::new().unwrap();
    let (program, path) = (program(), folder.path().join("run"));
    let ranks = in_process(2);
    let error = crate::Error::input("log.csv: line 7");
    let create = || {
        let made = RunDirectory::create(&path, &program, &record(&program));
        ranks[1].fail(&error);
        made
    };
    assert_eq!(open_as_rank(&path, &*ranks[0], create).unwrap_err(), error);
    assert!(!path.exists());
}

/// A folder of files, and one that a process left which was killed while making or clearing it.
#[test]
fn only_what_a_run_may_be_begun_in_is_no_run_to_resume() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run");
    let to_resume = || OpenedRun::to_resume(&path, &LocalCommunicator);
    assert!(to_resume().unwrap().is_none(), "nothing is there");
    fs::create_dir(&path).unwrap();
    assert!(to_resume().unwrap().is_none(), "an empty folder");
    fs::create_dir(path.join("checkpoints")).unwrap();
    let message = to_resume().unwrap_err().message;
    assert!(message.contains("expected a run directory, found a folder without run.json"), "{message}");
    fs::write(path.join(".run.json.making.tmp"), "").unwrap();
    fs::write(path.join(".program.bin.77-0.tmp"), "half").unwrap();
    assert!(to_resume().unwrap().is_none(), "a run that was being made");
    let program = program();
    let run = RunDirectory::create(&path, &program, &record(&program)).unwrap();
    let message = to_resume().unwrap_err().message;
    assert!(message.contains("another process is training"), "{message}");
    drop(run);
    assert_eq!(to_resume().unwrap().unwrap().record, record(&program));
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "text").unwrap();
    let message = to_resume().unwrap_err().message;
    assert!(message.contains("expected a run directory, found a file"), "{message}");
}

/// Ranks are threads here; their folder is one.
#[test]
fn one_rank_writes_and_the_others_read() {
    let folder = TempDir::new().unwrap();
    let (program, path) = (program(), folder.path().join("run"));
    let record = record(&program);
    let on_ranks = |work: &(dyn Fn(&dyn Communicator) + Sync)| {
        std::thread::scope(|scope| {
            in_process(3).into_iter().for_each(|comm| drop(scope.spawn(move || work(comm.as_ref()))));
        });
    };
    on_ranks(&|comm| {
        let create = || RunDirectory::create(&path, &program, &record);
        let run = open_as_rank(&path, comm, create).unwrap();
        assert_eq!((run.made, run._lock.is_some()), (comm.rank() == 0, comm.rank() == 0));
        assert_eq!(run.record().unwrap(), record);
        // All ranks go on while the first holds the lock, and end before it gives it back.
        crate::comm::share_outcomes(comm, Channel::Step, Ok(String::new())).unwrap();
        // What the first rank cannot do, none does.
        let again = open_as_rank(&path, comm, create).unwrap_err();
        assert!(again.message.contains("another process is training into this folder"), "{again}");
        crate::comm::share_outcomes(comm, Channel::Step, Ok(String::new())).unwrap();
    });
    on_ranks(&|comm| {
        let opened = OpenedRun::to_resume(&path, comm).unwrap().unwrap();
        assert_eq!(opened.directory._lock.is_some(), comm.rank() == 0);
        assert_eq!(opened.record, record);
        crate::comm::share_outcomes(comm, Channel::Step, Ok(String::new())).unwrap();
        opened.directory.clear_unless_begun();
    });
    assert!(path.join("run.json").exists(), "whoever resumes a run never clears it away");
}
