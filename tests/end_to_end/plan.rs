//! `din plan`: what it prints and refuses, and what it says of a log against the log itself.

use crate::support::*;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The plan of `models/din.din` as JSON.
fn plan(more: &str) -> Value {
    let ran = din(&format!("plan {{model}} --json {more}"), &[("model", &root().join("models/din.din"))]).expect(0);
    serde_json::from_str(&ran.out).unwrap()
}

fn table<'a>(plan: &'a Value, name: &str) -> &'a Value {
    plan["tables"].as_array().unwrap().iter().find(|table| table["name"] == name).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn a_plan_says_what_a_rank_holds_sends_and_takes() {
    let model = root().join("models/din.din");
    let line = "plan {model} --ranks 64 --rows good=1e9,shop=1e7 --batch 65536 --memory 8GiB";
    let text = din(line, &[("model", &model)]).expect(0).out;
    for part in [
        "model din on 64 ranks of 16 threads: batch 65,536 in 64 leaves, 1,024 samples per rank",
        "assumed: cate has 1,000,000 ids; ids follow Zipf's law with exponent 1.05; lists of visited have 20 entries",
        "good [16]                  3.41 GiB  sharded       15,625,001 rows: weights 954 MiB, m 954 MiB, v 954 MiB",
        "user.gender [8]               200 B  replicated             2 rows:",
        "there is                   8.00 GiB",
        "; the bottleneck",
    ] {
        assert!(text.contains(part), "expected `{part}` in:\n{text}");
    }
    // The same numbers as JSON, and their sums.
    let plan = plan("--ranks 64 --rows good=1e9 --rows shop=1e7 --batch 65536 --memory 8G");
    assert_eq!((&plan["ranks"], &plan["leaves"], &plan["device"]), (&64.into(), &64.into(), &"cpu".into()));
    assert_eq!(table(&plan, "good")["memory"]["rows"], 15_625_001);
    assert_eq!(table(&plan, "good")["placement"], "sharded");
    let parts = ["lookup", "compute", "all_to_all", "gather", "update", "reading"];
    let sum: f64 = parts.iter().map(|part| number(&plan["time"][part])).sum();
    assert!((sum - number(&plan["time"]["total"])).abs() < 1e-12);
    assert_eq!(plan["assumptions"]["rows"], serde_json::json!({"cate": 1_000_000}));
}

#[test]
fn settings_change_what_they_say() {
    let (few, many) = (plan("--ranks 4 --lengths visited=5"), plan("--ranks 4 --lengths visited=50"));
    assert_eq!(number(&table(&few, "good")["entries"]), 256.0 * 6.0);
    assert_eq!(number(&table(&many, "good")["entries"]), 256.0 * 51.0);
    // The spec keeps 100 entries of a list.
    assert_eq!(number(&table(&plan("--ranks 4 --lengths visited=500"), "good")["entries"]), 256.0 * 101.0);
    let sharp = plan("--ranks 4 --lengths visited=5 --zipf 2");
    assert!(number(&table(&sharp, "good")["distinct"]) < number(&table(&few, "good")["distinct"]));
    let moved = plan("--ranks 4 --placement user.gender=sharded,shop=replicated");
    assert_eq!(table(&moved, "user.gender")["placement"], "sharded");
    assert_eq!(table(&moved, "shop")["memory"]["rows"], 1_000_001);
    let slow = plan("--ranks 4 --lengths visited=5 --bandwidth 125M --latency 50");
    assert!(number(&slow["time"]["all_to_all"]) > 5.0 * number(&few["time"]["all_to_all"]));
    let gpu = plan("--ranks 4 --device h100");
    assert_eq!(
        (&gpu["rates"]["source"], &gpu["memory"]["available"]),
        (&"published".into(), &80_000_000_000u64.into())
    );
    // Tables of several ranks are on their hosts, which update the rows.
    let [device, dense, step] = ["device", "dense", "step"].map(|part| number(&gpu["memory"][part]));
    assert_eq!(device, dense + step);
    assert!(number(&gpu["work"]["host_row_bytes"]) > 0.0);
    let alone = plan("--ranks 1 --device h100");
    let tables = number(&alone["memory"]["tables"]);
    assert!((0.5 * tables..number(&alone["memory"]["total"])).contains(&number(&alone["memory"]["device"])));
    assert_eq!(number(&alone["work"]["host_row_bytes"]), 0.0);
    let idle = din("plan {model} --ranks 64", &[("model", &root().join("models/din.din"))]).expect(0).out;
    assert!(idle.contains("48 of 64 ranks have no samples: the batch has 16 leaves only"), "{idle}");
}

#[test]
fn what_cannot_be_planned_says_why() {
    let model = root().join("models/din.din");
    let fails = |more: &str, code: i32| din(&format!("plan {{model}} {more}"), &[("model", &model)]).expect(code);
    fails("--ranks 2 --rows god=1e6", 1).says("din.din: --rows: unknown table `god`\n  help: did you mean `good`?");
    fails("--ranks 2 --placement x=sharded", 1).says("the model has good, shop, cate, user.gender");
    fails("--ranks 2 --lengths visitd=3", 1).says("unknown sequence `visitd`\n  help: did you mean `visited`?");
    fails("--ranks 2 --rows user.gender=3", 1).says("din.din:31:").says("table `user.gender` has 2 rows, found 3");
    fails("--ranks 2 --candidates 5", 1).says("the model has no requests");
    fails("--ranks 32 --leaves 16", 1).says("expected 16 ranks at most, one per leaf\n  help: --leaves 32");
    fails("--ranks 2 --device h100 --measure", 1).says("--measure times steps on this CPU");
    fails("--ranks 2 --stats nowhere", 1).says("nowhere: expected a run directory");
    for wrong in
        ["--ranks 0", "--ranks 2000", "--ranks 2 --rows good=1.5", "--ranks 2 --leaves 12", "--ranks 2 --zipf x"]
    {
        fails(wrong, 2);
    }
    let ran = fails("--ranks 4 --rows good=1e10 --memory 64GiB", 1);
    let ran = ran.says("din.din:28:15: a rank of 4 needs").says("has 64.0 GiB; table `good` takes 594 GiB of it");
    ran.says("help: --ranks 64");
}

/// Ids of a run's log, counted in the batches of the run, against what is expected of its
/// frequencies and updates.
#[test]
fn a_log_has_the_distinct_ids_that_were_expected() {
    let line = "plan {model} --ranks 2 --stats {run} --json";
    let ran = din(line, &[("model", &small()), ("run", trained())]).expect(0);
    let plan: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["assumptions"]["rows"], serde_json::json!({}));
    assert_eq!((&plan["assumptions"]["zipf"], &plan["assumptions"]["lengths"]), (&Value::Null, &serde_json::json!({})));

    let bytes = std::fs::read(trained().join("program.bin")).unwrap();
    let program = din_program::Program::decode(&bytes).unwrap();
    let data = Dataset::open(&[data().join("train.parquet")], &program.schema, ReadMode::Train).unwrap();
    // Half a batch of 256 is what a rank has.
    let order = Order::Shuffled { seed: program.training.seed, epoch: 1 };
    let mut batches = data.stream(StreamOptions::new(128, order)).unwrap();
    let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut parts = 0;
    while let Some(batch) = batches.next().unwrap() {
        if batch.rows == 128 {
            parts += 1;
            for table in &program.tables {
                let ids = table.features.iter().flat_map(|&f| &batch.ids[f as usize]);
                let entries = ids.clone().count();
                let sum = sums.entry(&table.name).or_default();
                *sum = (sum.0 + entries, sum.1 + ids.collect::<BTreeSet<_>>().len());
            }
        }
    }
    for (name, (entries, distinct)) in sums {
        let (entries, distinct) = (entries as f64 / f64::from(parts), distinct as f64 / f64::from(parts));
        let expected = table(&plan, name);
        let near =
            |found: &Value, mean: f64| assert!((number(found) / mean - 1.0).abs() < 0.03, "{name}: {found}, {mean}");
        near(&expected["entries"], entries);
        near(&expected["distinct"], distinct);
    }
}

/// The parts of a step that was timed add up to it; on one rank nothing else is in it.
#[test]
fn measured_rates_are_of_this_machine() {
    let ran = din("plan {model} --ranks 1 --threads 1 --measure --json", &[("model", &small())]).expect(0);
    let plan: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["rates"]["source"], "measured");
    for rate in ["products", "values", "rows", "ids"] {
        assert!(number(&plan["rates"][rate]) > 1e4, "{rate}: {}", plan["rates"]);
    }
    assert!((1e-5..10.0).contains(&number(&plan["time"]["total"])), "{}", plan["time"]);
}
