//! Values that are known after the label only: training and evaluation read them, prediction does
//! not.

use crate::support::*;
use std::fmt::Write;
use std::fs;
use tempfile::TempDir;

const SPEC: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.auc\n\
    use std.optimizer.adam\nmodel m {\n\
    features ad { good: category  dwell: number missing as 0 mark unread after label }\n\
    features outcome after label { kind: category of string  hour: category from hour(left)  tags: category pooled by mean \
    since: number from log(1 + clip(gap(left, shown), 0, 1e6)) }\n\
    sequence read after label { item: category from read }\n\
    sequence seen (keep last 2) known at clicked before shown { item: category from seen }\n\
    label y: binary\n\
    embedding item [3] for ad.good, read.item, seen.item\nembedding tags [1] for outcome.tags\n\
    predict y ~ bernoulli(logit = linear(concat(item(ad.good), sum(item(seen.item) over seen)), 1))\n\
    train { loss (1 + log(1 + ad.dwell) + 0.1 * length(read) + 0.1 * ad.unread + 0.1 * outcome.since) * cross_entropy(y) +\n\
    0.01 * sum(tags(outcome.tags) * tags(outcome.tags)) + 0.01 * sum(mean(item(read.item) * item(read.item) over read))\n\
    optimizer adam(lr = 0.05)  batch 32  epochs 2 }\n\
    report auc(y, sample_weight = ad.dwell) by outcome.kind, auc(y) where (length(read) > 0) by outcome.hour\n}\n";

/// Two files of the same rows, the second without what is known after the label.
fn logs() -> (String, String) {
    let (mut all, mut cut) =
        (String::from("good,seen,y,dwell,kind,left,tags,read,clicked,shown\n"), String::from("good,seen\n"));
    for k in 0..300u64 {
        let shown = 1_700_000_000 + 60 * k;
        let list = |n: u64, of: &dyn Fn(u64) -> u64| (0..n).map(|i| of(i).to_string()).collect::<Vec<_>>().join("|");
        let (good, seen) = (k * 7 % 23, list(k % 4, &|i| (k + i * 5) % 23));
        let clicked = list(k % 4, &|i| shown - 1 - i);
        let dwell = if k % 5 == 0 { String::new() } else { (k % 60).to_string() };
        let (kind, read) = (["a", "b", "c"][k as usize % 3], list(k % 3, &|i| (k + i) % 23));
        let _ = writeln!(cut, "{good},{seen}");
        let (y, left) = (u8::from(good > 11), shown + k % 7_200);
        let tags = list(1 + k % 2, &|i| k % 4 + i);
        let _ = writeln!(all, "{good},{seen},{y},{dwell},{kind},{left},{tags},{read},{clicked},{shown}");
    }
    (all, cut)
}

#[test]
fn prediction_asks_for_nothing_that_is_known_after_the_label() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let (all, cut) = logs();
    fs::write(here.join("m.din"), SPEC).unwrap();
    fs::write(here.join("all.csv"), all).unwrap();
    fs::write(here.join("cut.csv"), cut).unwrap();
    let paths = [("here", here)];
    din("train {here}/m.din --train {here}/all.csv --valid {here}/all.csv --out {here}/run", &paths).expect(1);
    din("train {here}/m.din --train {here}/all.csv --out {here}/run", &paths).expect(0);
    din("predict {here}/run --data {here}/all.csv --out {here}/a.csv", &paths).expect(0);
    din("predict {here}/run --data {here}/cut.csv --out {here}/c.csv", &paths).expect(0);
    // The label is passed through where the data have it.
    let column = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(here.join(name)).unwrap();
        text.lines().map(|line| line.rsplit(',').next().unwrap().to_string()).collect()
    };
    assert_eq!(column("a.csv"), column("c.csv"));
    assert_eq!(column("a.csv").len(), 301);
    let report = din("eval {here}/run --data {here}/all.csv", &paths).expect(0).out;
    for part in ["  by outcome.kind\n", "  by outcome.hour\n", "auc(y) where"] {
        assert!(report.contains(part) || part.starts_with("auc"), "{part}: {report}");
    }
    din("eval {here}/run --data {here}/cut.csv", &paths).expect(1).says("dwell");
    let info = din("info {here}/m.din", &paths).expect(0).out;
    assert!(info.contains("dwell                    number, may be missing, not read by prediction"), "{info}");
}

#[test]
fn a_history_from_after_the_moment_ends_training_with_its_line() {
    let folder = TempDir::new().unwrap();
    let here = folder.path();
    let (all, _) = logs();
    let lines: Vec<String> = all
        .lines()
        .enumerate()
        .map(|(k, line)| match k {
            // Row 7, whose last entries but one was clicked then.
            8 => line.replace("1700000420", "1700000418"),
            _ => line.to_string(),
        })
        .collect();
    fs::write(here.join("m.din"), SPEC).unwrap();
    fs::write(here.join("late.csv"), lines.join("\n")).unwrap();
    let late = din("train {here}/m.din --train {here}/late.csv --out {here}/run", &[("here", here)]).expect(1);
    late.says("late.csv")
        .says("line 9")
        .says("clicked")
        .says("before 1700000418")
        .says("1700000418 in entry 0")
        .says("1 of 300 rows");
}
