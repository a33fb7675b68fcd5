//! Fields that are made from columns: by statistics of the training data, vocabularies, hashes,
//! crosses and times. Ranks that share a row group by columns make them as one process does.

use crate::same::assert_same;
use crate::scene::Scene;
use crate::support::{Ended, Mpi};
use std::fmt::Write;
use std::fs;
use std::path::Path;

#[track_caller]
fn went_well(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Predictions of one process and of ranks, joined.
#[track_caller]
fn predicts_alike(scene: &Scene, data: &str, ranks: usize) {
    let predict = |out: &str| format!("predict {{folder}}/one --data {data} --out {{folder}}/{out}");
    went_well(&scene.alone(&predict("one.csv")));
    let out = format!("parts{ranks}.csv");
    went_well(&scene.on(Mpi::Open, ranks, &predict(&out)));
    let part = |rank| fs::read(scene.at(&out).join(format!("part-{rank:05}-of-{ranks:05}.csv"))).unwrap();
    assert!((0..ranks).flat_map(part).eq(fs::read(scene.at("one.csv")).unwrap()), "predictions of {ranks} ranks");
}

/// Quantiles, means, crosses and hashes of one row group of Parquet.
#[test]
fn statistics_and_crosses_are_those_of_one_process() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference");
    let scene = Scene::new();
    fs::copy(reference.join("specs/features.din"), scene.at("m.din")).unwrap();
    fs::copy(reference.join("fixtures/features.parquet"), scene.at("log.parquet")).unwrap();
    let train =
        |out: &str| format!("train {{folder}}/m.din --train {{folder}}/log.parquet --out {{folder}}/{out} --epochs 2");
    went_well(&scene.alone(&train("one")));
    for (mpi, ranks) in [(Mpi::Open, 2), (Mpi::Open, 3), (Mpi::Mpich, 2)] {
        let run = format!("{mpi:?}{ranks}");
        went_well(&scene.on(mpi, ranks, &train(&run)));
        assert_same(&scene.at("one"), &scene.at(&run));
    }
    predicts_alike(&scene, "{folder}/log.parquet", 3);
}

const CITIES: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.auc\n\
    use std.optimizer.adam\nmodel m {\n\
    features user { city: category of string in \"cities.txt\"  hour: category from hour(shown) }\n\
    sequence seen known at clicked before shown { city: category of string in \"cities.txt\" from seen }\n\
    label y: binary\n\
    embedding city [3] for user.city, seen.city\nembedding hour [2] for user.hour\n\
    predict y ~ bernoulli(logit = linear(concat(embed(user), sum(city(seen.city) over seen)), 1))\n\
    train { loss cross_entropy(y)  optimizer adam(lr = 0.05)  batch 32  epochs 2 }\n\
    report auc(y) by user.city\n}\n";

/// Rows of a log; the last entry of row `late`, if there is one, comes a second after its row.
fn cities(late: Option<u64>) -> String {
    let names = ["Paris", "paris", "New York", "Oslo", "Rome", ""];
    let mut text = String::from("city,shown,seen,clicked,y\n");
    for k in 0..1_500u64 {
        let shown = 1_700_000_000 + 613 * k;
        let list = |of: &dyn Fn(u64) -> String| (0..1 + k % 3).map(of).collect::<Vec<_>>().join("|");
        // An empty text among others would be no entry of a CSV list.
        let seen = list(&|i| names[((k + i * 2) % 5) as usize].to_string());
        let clicked = list(&|i| (if late == Some(k) && i == k % 3 { shown + 1 } else { shown - 1 - i }).to_string());
        let city = names[(k * 5 % 6) as usize];
        let city = if city.is_empty() { "unknown" } else { city };
        let _ = writeln!(text, "{city},{shown},{seen},{clicked},{}", u8::from(k * 7 % 11 < 4));
    }
    text
}

fn scene_of_cities() -> Scene {
    let scene = Scene::new();
    fs::write(scene.at("m.din"), CITIES).unwrap();
    fs::write(scene.at("cities.txt"), "Paris\nNew York\nOslo\n").unwrap();
    fs::write(scene.at("log.csv"), cities(None)).unwrap();
    scene
}

#[test]
fn vocabularies_and_times_are_those_of_one_process() {
    let scene = scene_of_cities();
    let train = |out: &str| format!("train {{folder}}/m.din --train {{folder}}/log.csv --out {{folder}}/{out}");
    went_well(&scene.alone(&train("one")));
    for (mpi, ranks) in [(Mpi::Open, 2), (Mpi::Open, 3), (Mpi::Mpich, 2)] {
        let run = format!("{mpi:?}{ranks}");
        went_well(&scene.on(mpi, ranks, &train(&run)));
        assert_same(&scene.at("one"), &scene.at(&run));
        let eval = |run: &str| format!("eval {{folder}}/{run} --data {{folder}}/log.csv --json");
        let evaluated = scene.on(mpi, ranks, &eval(&run));
        went_well(&evaluated);
        assert_eq!(evaluated.out, scene.alone(&eval(&run)).out, "{run}: metrics by city");
    }
    predicts_alike(&scene, "{folder}/log.csv", 2);
}

#[test]
fn a_time_that_comes_too_late_is_reported_once_with_its_place() {
    let scene = scene_of_cities();
    fs::write(scene.at("late.csv"), cities(Some(1_234))).unwrap();
    let ended = scene.on(Mpi::Open, 3, "train {folder}/m.din --train {folder}/late.csv --out {folder}/run");
    let errors = ended.errors();
    assert_eq!((ended.code, errors.len()), (Some(1), 1), "{ended:?}");
    assert!(errors[0].contains("late.csv: line 1236, column \"clicked\""), "{ended:?}");
    assert!(!scene.at("run").exists(), "nothing is left behind");
}
