//! A model with `common` features from a log of requests to predictions.

use crate::support::*;
use std::fmt::Write;
use std::fs;
use tempfile::TempDir;

const SPEC: &str = "edition 2026\n
use std.activation.{dice, sigmoid}\nuse std.attention.interest\nuse std.layer.{linear, mlp}\nuse std.loss.cross_entropy
use std.metric.{auc, gauc, log_loss}\nuse std.optimizer.adam\nuse std.regularizer.adaptive\n
model ranker {
    features user { age: category(10) }
    features ad { item: category }
    sequence visited (keep last 20) { item: category from items }
    label click: binary
    key request_id: string
    common user, visited by request_id
    embedding item [8] for ad.item, visited.item { regularize adaptive(0.001) }
    embedding age [4] for user.age
    let person = mlp(embed(user), [8], dice)
    let taste = interest(embed(visited), embed(ad), hidden = [16], activation = sigmoid)
    let hidden = mlp(concat(person, taste, embed(ad)), [16], dice)
    predict click ~ bernoulli(logit = linear(hidden, 1))
    train { loss cross_entropy(click)  optimizer adam(lr = 1e-2)  batch 128  epochs 6 }
    report auc(click), gauc(click, by = user.age), log_loss(click)
}
";

/// Requests of 1 to 8 candidates; an item that was visited is clicked.
fn log(requests: usize, first: usize) -> String {
    let mut text = "request_id,age,items,item,click\n".to_string();
    for r in first..first + requests {
        let seen: Vec<usize> = (0..r % 7).map(|k| (r * 31 + k * 17) % 60).collect();
        let list: Vec<String> = seen.iter().map(usize::to_string).collect();
        for k in 0..1 + r * 5 % 8 {
            let item = if k % 2 == 0 && !seen.is_empty() { seen[k % seen.len()] } else { (r * 13 + k * 7) % 60 };
            let click = u8::from(seen.contains(&item));
            writeln!(text, "r{r},{},{},{item},{click}", r % 10, list.join("|")).unwrap();
        }
    }
    text
}

#[test]
fn a_log_of_requests_trains_evaluates_and_predicts() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (spec, train, valid) = (at("ranker.din"), at("train.csv"), at("valid.csv"));
    let (run, scores) = (at("run"), at("scores.csv"));
    fs::write(&spec, SPEC).unwrap();
    fs::write(&train, log(1_500, 0)).unwrap();
    fs::write(&valid, log(200, 1_500)).unwrap();
    let paths = [("spec", &*spec), ("train", &*train), ("valid", &*valid), ("run", &*run), ("scores", &*scores)];
    din("train {spec} --train {train} --valid {valid} --out {run}", &paths).expect(0);
    let report = din("eval {run} --data {valid}", &paths).expect(0).out;
    let auc = report.split("auc(click) ").nth(1).and_then(|t| t.split_whitespace().next()).unwrap();
    let auc: f64 = auc.trim_end_matches(',').parse().unwrap();
    assert!(auc > 0.9, "{report}");
    din("predict {run} --data {valid} --out {scores}", &paths).expect(0);
    // One line a row, in the order of the file.
    let keys = |text: &str, column: usize| -> Vec<String> {
        text.lines().skip(1).map(|l| l.split(',').nth(column).unwrap().to_string()).collect()
    };
    let (given, found) = (log(200, 1_500), fs::read_to_string(&scores).unwrap());
    let column = found.lines().next().unwrap().split(',').position(|c| c == "request_id").unwrap();
    assert_eq!(keys(&found, column), keys(&given, 0));

    // A row that contradicts its request.
    let rows: Vec<String> = given.lines().map(str::to_string).collect();
    let second = (2..rows.len()).find(|&k| rows[k].split(',').next() == rows[k - 1].split(',').next()).unwrap();
    let mut wrong = rows.clone();
    let cells: Vec<&str> = rows[second].split(',').collect();
    let age = (cells[1].parse::<usize>().unwrap() + 1) % 10;
    wrong[second] = format!("{},{age},{}", cells[0], cells[2..].join(","));
    fs::write(&valid, wrong.join("\n")).unwrap();
    din("eval {run} --data {valid}", &paths)
        .expect(1)
        .says(&format!("row {}", second - 1))
        .says("\"age\"")
        .says("take `user` out of `common`");
}
