//! `din` itself under `mpirun`: the bits of one process.

use crate::failures;
use crate::same::assert_same;
use crate::scene::{SHARDED, Scene, TRAIN};
use crate::support::{DIN, Ended, Mpi, ended};
use std::fs;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

#[track_caller]
fn went_well(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Trains as one process into `one`.
fn trained_alone(more: &str) -> Scene {
    let scene = Scene::new();
    went_well(&scene.alone(&format!("{TRAIN} --out {{folder}}/one {more}")));
    scene
}

#[test]
fn ranks_train_evaluate_and_predict_like_one() {
    let scene = trained_alone("--epochs 3 --threads 2");
    let eval = |run: &str| format!("eval {{folder}}/{run} --data {{log}}/test.parquet --json");
    let predict = |run: &str| format!("predict {{folder}}/one --data {{log}}/test.parquet --out {{folder}}/{run}.csv");
    went_well(&scene.alone(&predict("one")));
    let predicted = fs::read(scene.at("one.csv")).unwrap();
    for (mpi, ranks) in [(Mpi::Open, 2), (Mpi::Open, 3), (Mpi::Open, 4), (Mpi::Mpich, 1), (Mpi::Mpich, 2)] {
        let name = format!("{mpi:?}{ranks}");
        let trained = scene.on(mpi, ranks, &format!("{TRAIN} --out {{folder}}/{name} --epochs 3 {SHARDED}"));
        went_well(&trained);
        let line = format!("{}: best", scene.at(&name).display());
        assert_eq!(trained.out.matches(&line).count(), 1, "one rank speaks: {trained:?}");
        assert_same(&scene.at("one"), &scene.at(&name));
        let last = scene.checkpoints(&name).pop().unwrap();
        for table in ["good", "user.age_level"] {
            let part =
                scene.at(&name).join("checkpoints").join(&last).join(format!("table.{table}.1-of-{ranks}.safetensors"));
            assert_eq!(part.exists(), ranks > 1, "{}", part.display());
        }

        let (evaluated, alone) = (scene.on(mpi, ranks, &eval(&name)), scene.alone(&eval(&name)));
        went_well(&evaluated);
        assert_eq!(evaluated.out, alone.out, "{name}");
        went_well(&scene.on(mpi, ranks, &predict(&name)));
        let out = scene.at(&format!("{name}.csv"));
        let joined = match ranks {
            1 => fs::read(out).unwrap(),
            _ => {
                let part = |rank: usize| fs::read(out.join(format!("part-{rank:05}-of-{ranks:05}.csv"))).unwrap();
                let parts: Vec<Vec<u8>> = (0..ranks).map(part).collect();
                // The data are one row group.
                let least = predicted.len() / ranks / 2;
                assert!(parts.iter().all(|part| part.len() > least), "{name}: each rank has its share");
                parts.concat()
            }
        };
        assert!(joined == predicted, "predictions of {name}");
    }
}

/// Ranks that share batches wait for each other in more places than one.
#[test]
fn a_wrong_row_of_shared_batches_is_reported_once_with_its_place() {
    let scene = trained_alone("--epochs 1");
    let data = scene.at("data");
    fs::create_dir(&data).unwrap();
    // Four files of one block each, which three ranks cannot divide evenly.
    (0..4).for_each(|k| fs::write(data.join(format!("{k}.csv")), failures::rows(5_000)).unwrap());
    let good = fs::read_to_string(data.join("2.csv")).unwrap();
    fs::write(data.join("2.csv"), format!("{good}7,0,3,shoe,7,5|6,1|2,1\n")).unwrap();
    for line in [
        "train {log}/small.din --train {log}/train --valid {folder}/data --out {folder}/run",
        "predict {folder}/one --data {folder}/data --out {folder}/run.csv",
        "eval {folder}/one --data {folder}/data",
    ] {
        let mut command = Mpi::Open.run(3);
        let ended = ended(command.arg(DIN).args(scene.words(line)).args(["--threads", "1", "--rank-timeout", "5"]));
        let errors = ended.errors();
        assert_eq!((ended.code, errors.len()), (Some(1), 1), "{line}: {ended:?}");
        assert!(errors[0].contains("2.csv: line 5002, column \"good_id\""), "{line}: {ended:?}");
        assert!(ended.took < Duration::from_secs(10), "{ended:?}");
        assert!(!scene.at("run").exists() && !scene.at("run.csv").exists(), "{line}: something is left");
    }
}

/// One rank speaks; each of them takes part.
#[test]
fn a_plan_measures_communication_between_the_ranks() {
    let scene = trained_alone("--epochs 1");
    let line = "plan {log}/small.din --ranks 8 --measure --json";
    let measured = |ended: &Ended| -> serde_json::Value {
        went_well(ended);
        serde_json::from_str::<serde_json::Value>(&ended.out).unwrap()["rates"].clone()
    };
    for mpi in Mpi::BOTH {
        let rates = measured(&scene.on(mpi, 3, &format!("{line} --stats {{folder}}/one")));
        assert_eq!((&rates["source"], &rates["communication"]), (&"measured".into(), &"measured".into()), "{mpi:?}");
        let number = |rate: &str| rates[rate].as_f64().unwrap();
        for rate in ["bandwidth", "reading", "ids"] {
            assert!(number(rate) > 0.0, "{mpi:?}: {rate} in {rates}");
        }
        // Where three ranks share two cores, all of the time may count for one of the two.
        let (latency, message) = (number("latency"), number("message"));
        assert!(latency >= 0.0 && message >= 0.0 && latency + message > 0.0, "{mpi:?}: {rates}");
    }
    // By itself there is nobody to talk to, and without a run nothing to read.
    let alone = measured(&scene.alone(line));
    assert_eq!((&alone["source"], &alone["communication"]), (&"measured".into(), &"default".into()));
    assert_eq!((&alone["reading"], &alone["bandwidth"]), (&serde_json::Value::Null, &12.5e9.into()));
}

#[test]
fn an_executable_trains_on_ranks() {
    let scene = trained_alone("--threads 1");
    // Large, and the scene may lie in memory.
    let folder = TempDir::new().unwrap();
    let ranker = folder.path().join("ranker");
    went_well(&scene.alone(&format!("build {{log}}/small.din -o {} -q", ranker.display())));
    let line = format!("{TRAIN} --out {{folder}}/ranks {SHARDED} --threads 1").replace(" {log}/small.din", "");
    went_well(&ended(Mpi::Open.run(3).arg(&ranker).args(scene.words(&line))));
    assert_same(&scene.at("one"), &scene.at("ranks"));
}

#[test]
fn a_run_goes_on_with_any_number_of_ranks() {
    // The metrics within an epoch are made while the ids of the batches behind are under way.
    let scene = trained_alone("--epochs 4 --evaluate-every 5");
    let line = format!("{TRAIN} --out {{folder}}/run {SHARDED} --evaluate-every 5 --epochs");
    went_well(&scene.on(Mpi::Open, 3, &format!("{line} 1")));
    went_well(&scene.on(Mpi::Mpich, 2, &format!("{line} 2 --resume")));
    went_well(&scene.alone(&format!("{line} 3 --resume")));
    went_well(&scene.on(Mpi::Open, 4, &format!("{line} 4 --resume")));
    assert_same(&scene.at("one"), &scene.at("run"));
}

/// A spec whose feature is a number.
const NUMBERS: &str = "edition 2026
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.sgd
fn shifted(v: [1]) -> [1] {
    param b: [1] = 0
    v * 1e-9 + b
}
model m {
    features a { x: number }
    label click: binary
    predict click ~ bernoulli(logit = shifted(a.x))
    train { loss cross_entropy(click)  optimizer sgd(lr = 0.1)  batch 256  epochs 1 }
    report auc(click)
}
";

/// What all ranks warn of, and what each finds at another place of the data.
#[test]
fn warnings_are_shown_once_whichever_rank_has_them() {
    let scene = Scene::new();
    fs::write(scene.at("m.din"), NUMBERS).unwrap();
    fs::create_dir(scene.at("log")).unwrap();
    let rows = |x: &str| "x,click\n".to_string() + &format!("1,0\n{x},0\n3,0\n").repeat(200);
    // 2^24 + 1 is no f32. The last file has other labels than the others.
    for k in 0..6 {
        let text = rows(if k < 4 { "2" } else { "16777217" });
        fs::write(scene.at(&format!("log/{k}.csv")), if k == 5 { text.replace("3,0", "3,1") } else { text }).unwrap();
    }
    for (mpi, ranks) in [(Mpi::Open, 3), (Mpi::Mpich, 3), (Mpi::Open, 1)] {
        let out = format!("{mpi:?}{ranks}");
        let trained =
            scene.on(mpi, ranks, &format!("train {{folder}}/m.din --train {{folder}}/log --out {{folder}}/{out}"));
        went_well(&trained);
        let warnings = trained.warnings();
        assert_eq!(warnings.len(), 2, "{mpi:?} {ranks}: {trained:?}");
        assert!(warnings.iter().any(|said| said.starts_with("warning: no --valid: ")), "{mpi:?} {ranks}: {trained:?}");
        let column = warnings.iter().find(|said| said.contains("column \"x\": expected ")).unwrap();
        assert!(column.starts_with("warning: rank") == (ranks > 1), "{mpi:?} {ranks}: {trained:?}");
        let evaluated = scene.on(mpi, ranks, &format!("eval {{folder}}/{out} --data {{folder}}/log/0.csv"));
        assert_eq!(evaluated.warnings().len(), 1, "{mpi:?} {ranks}: {evaluated:?}");
        assert!(evaluated.warnings()[0].contains("log/0.csv: the run was trained on this file"), "{evaluated:?}");
    }
}

#[test]
fn what_is_wrong_is_said_once() {
    let scene = Scene::new();
    for mpi in Mpi::BOTH {
        for (line, part) in [
            ("train {log}/small.din --out {folder}/r --resume".to_string(), "no training data"),
            (format!("{TRAIN} --out {{folder}}/r").replace("small.din", "none.din"), "none.din"),
            ("eval {folder}/none --data {log}/test.parquet".to_string(), "none"),
            (
                format!("{TRAIN} --out {{folder}}/r --leaves 2"),
                "3 ranks: expected at most 2, one for each leaf of a batch",
            ),
        ] {
            let wrong = scene.on(mpi, 3, &line);
            assert_eq!(wrong.errors().len(), 1, "{line}: {wrong:?}");
            assert!(wrong.errors()[0].contains(part), "{line}: {wrong:?}");
            assert!(matches!(mpi, Mpi::Mpich) || wrong.code == Some(1), "{line}: {wrong:?}");
            assert!(!scene.at("r").exists(), "{line}");
        }
    }
}

/// Two ranks with one line, the third with another.
fn unlike(scene: &Scene, line: &str, other: &str) -> Ended {
    let mut command: Command = Mpi::Open.run(2);
    command.arg(DIN).args(scene.words(line)).args([":", "-n", "1", DIN]).args(scene.words(other));
    ended(&mut command)
}

#[test]
fn ranks_that_were_started_differently_are_refused() {
    let scene = trained_alone("--epochs 3");
    let train = format!("{TRAIN} --out {{folder}}/r --threads 1");
    let eval = "eval {folder}/one --data {log}/test.parquet --threads 1".to_string();
    let predict = "predict {folder}/one --data {log}/test.parquet --out {folder}/p.csv --threads 1".to_string();
    for (line, other, parts) in [
        (&train, format!("{train} --seed 9"), ["seed 0", "seed 9"]),
        (&train, format!("{train} --epochs 7"), ["epochs 2", "epochs 7"]),
        (&train, format!("{train} --checkpoint-every 3"), ["after each epoch only", "a checkpoint every 3 steps"]),
        (&train, format!("{train} --placement good=replicated"), ["table `good` sharded", "table `good` replicated"]),
        (&train, format!("{train} --set lr=0.1"), ["program ", "program "]),
        (&train, train.replace("valid.parquet", "test.parquet"), ["validation data ", "validation data "]),
        (&train, train.replace("/train --", "/train/1train.parquet --"), ["training data ", "training data "]),
        (&train, format!("{train} --profile"), ["no profile", "a profile"]),
        (&train, format!("{train} --resume"), ["train", "train --resume"]),
        (&train, eval.clone(), ["train", "eval"]),
        (&eval, eval.replace("test.parquet", "valid.parquet"), ["data ", "data "]),
        (&eval, format!("{eval} --checkpoint last"), ["checkpoint step-", "checkpoint step-"]),
        (&predict, predict.replace("test.parquet", "valid.parquet"), ["data ", "data "]),
        (&predict, format!("{predict} --logits"), ["no logits", "logits"]),
    ] {
        let refused = unlike(&scene, line, &other);
        assert_eq!((refused.code, refused.errors().len()), (Some(1), 1), "{other}: {refused:?}");
        let error = refused.errors()[0];
        assert!(
            error.contains(": expected the same") && parts.iter().all(|part| error.contains(part)),
            "{other}: {error}"
        );
        assert!(!scene.at("r").exists() && !scene.at("p.csv").exists(), "{other}");
    }
    // Threads are each rank's own.
    went_well(&unlike(&scene, &eval, &eval.replace("--threads 1", "--threads 2")));
}
