//! Labels of all kinds from a spec to predictions: numbers, counts, weights, labels that the loss
//! alone reads, probabilities that are products, and outputs.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const SPEC: &str = "edition 2026

use std.activation.relu
use std.layer.{linear, mlp}
use std.loss.{cross_entropy, gaussian_nll, pinball, poisson_nll, soft_cross_entropy}
use std.metric.{auc, mae, rmse, xauc}
use std.optimizer.adam

model shop {
    features user { id: category   age: number }
    features item { id: category }
    label click: binary
    label bought: binary
    label time: number missing -1
    label late: number from time missing -1
    label likes: count
    label importance: weight
    label teacher: number
    key row: int64

    embedding [4] for each of user, item
    let x = mlp(concat(embed(user), embed(item)), [8], relu)
    let ctr = sigmoid(linear(x, 1))
    output query = concat(embed(user.id), user.age)

    predict click  ~ bernoulli(probability = ctr)
    predict bought ~ bernoulli(probability = ctr * sigmoid(linear(x, 1)))
    predict time   ~ normal(mean = linear(x, 1), std = softplus(linear(x, 1)) + 0.1)
    predict late   ~ quantile(0.9, value = linear(x, 1))
    predict likes  ~ poisson(log_rate = linear(x, 1))

    train {
        loss      importance * cross_entropy(click) + cross_entropy(bought) + gaussian_nll(time) where present +
                  pinball(late) where present + poisson_nll(likes) + 0.1 * soft_cross_entropy(click, sigmoid(teacher))
        optimizer adam(lr = 0.02)
        batch     32
        epochs    3
    }
    report auc(click), auc(bought), rmse(time), mae(late), xauc(time), rmse(likes),
        auc(bought) where click.label, mae(late) where (user.age > 1)
}
";

const HEAD: &str = "row,id,age,item,click,bought,time,likes,importance,teacher";

struct Shop {
    folder: TempDir,
}

impl Shop {
    fn new() -> Self {
        let shop = Self { folder: TempDir::new().unwrap() };
        let spec = SPEC.replace("features item { id: category }", "features item { id: category from item }");
        fs::write(shop.at("m.din"), spec).unwrap();
        shop.write("train.csv", HEAD, (0..400).map(row));
        shop
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, head: &str, rows: impl Iterator<Item = String>) {
        let lines: Vec<String> = std::iter::once(head.to_string()).chain(rows).collect();
        fs::write(self.at(name), lines.join("\n") + "\n").unwrap();
    }

    fn din(&self, line: &str) -> Ran {
        din(line, &[("at", self.folder.path())])
    }
}

fn row(k: u64) -> String {
    let (user, item) = (k * 7 % 23, k * 5 % 17);
    let click = u64::from((user + item) % 3 == 0);
    let bought = click * u64::from(k.is_multiple_of(2));
    let time = if k.is_multiple_of(10) { "-1".to_string() } else { format!("{}.5", user % 5) };
    let teacher = if click == 1 { 1.5 } else { -1.5 };
    format!("{k},{user},0.5,{item},{click},{bought},{time},{},{},{teacher}", item % 4, 1 + k % 2)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn labels_of_all_kinds_are_trained_reported_and_predicted() {
    let shop = Shop::new();
    shop.din("train {at}/m.din --train {at}/train.csv --out {at}/run").expect(0);
    let eval = shop.din("eval {at}/run --data {at}/train.csv --json").expect(0);
    let report: serde_json::Value = serde_json::from_str(&eval.out).unwrap();
    let metric = |name: &str| {
        let all = report["metrics"].as_array().unwrap();
        let found = all.iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("{name}: {report}"));
        (found["value"].as_f64().unwrap(), found["labelled_rows"].as_u64())
    };
    assert_eq!(metric("rmse(time)").1, Some(360), "missing times are left out");
    assert_eq!(metric("rmse(likes)").1, Some(400));
    // Of clicks alone; and of no row at all.
    let found = |name: &str| report["metrics"].as_array().unwrap().iter().find(|m| m["name"] == name).unwrap().clone();
    let clicks = (0..400).filter(|k| row(*k).split(',').nth(4) == Some("1")).count() as u64;
    let bought = found("auc(bought) where click.label");
    assert_eq!(bought["positives"].as_u64().unwrap() + bought["negatives"].as_u64().unwrap(), clicks);
    assert_eq!(found("mae(late) where (user.age > 1)")["undefined"], "no labelled rows");
    assert!(metric("rmse(time)").0 < 2.0 && metric("mae(late)").0 < 4.0);
    assert!((0.0..=1.0).contains(&metric("xauc(time)").0));

    // Neither labels nor what the loss alone reads are asked for.
    shop.write("new.csv", "row,id,age,item", (0..5).map(|k| format!("{k},{k},0.5,3")));
    shop.din("predict {at}/run --data {at}/new.csv --out {at}/p.csv").expect(0);
    let written = lines(&shop.at("p.csv"));
    assert_eq!(written[0], "row,click_probability,bought_probability,time_mean,late_quantile,likes_rate");
    for line in &written[1..] {
        let values: Vec<f64> = line.split(',').skip(1).map(|v| v.parse().unwrap()).collect();
        let [click, bought, _, _, likes] = values[..] else { panic!("{line}") };
        assert!(0.0 < bought && bought < click && click < 1.0 && likes > 0.0, "{line}");
    }
    // Two labels of one column are one column of the output; logits are of probabilities.
    shop.din("predict {at}/run --data {at}/train.csv --out {at}/q.csv --logits")
        .expect(0)
        .says("time_mean: mean of the label")
        .says("late_quantile: 0.9 quantile of the label")
        .says("likes_rate: mean count");
    let head = "row,click,bought,time,likes,importance,teacher,click_probability,bought_probability,time_mean,\
                late_quantile,likes_rate,click_logit,bought_logit";
    assert_eq!(lines(&shop.at("q.csv"))[0], head);
}

#[test]
fn values_that_are_none_of_the_kind_are_named() {
    let shop = Shop::new();
    let wrong = |column: &str, value: &str| {
        let place = HEAD.split(',').position(|c| c == column).unwrap();
        let changed = |k: u64| {
            let line = row(k);
            let mut values: Vec<&str> = line.split(',').collect();
            if k == 6 {
                values[place] = value;
            }
            values.join(",")
        };
        shop.write("bad.csv", HEAD, (0..20).map(changed));
        shop.din("train {at}/m.din --train {at}/bad.csv --out {at}/bad").expect(1).says("bad.csv: line 8").err
    };
    for (column, value, expected) in [
        ("likes", "2.5", "expected a whole number from 0 to 16777216, found 2.5"),
        ("likes", "-1", "expected a whole number from 0 to 16777216, found -1"),
        ("likes", "20000000", "expected a whole number from 0 to 16777216, found 20000000"),
        ("importance", "-0.5", "expected a finite number, 0 or more, found -0.5"),
        ("importance", "", "expected a finite number, 0 or more, found null"),
        ("time", "nan", "expected a finite number, found NaN"),
        ("time", "1e39", "expected a finite number, found 1"),
        ("time", "long", "expected a finite number, found"),
        ("click", "2", "expected 0 or 1, found 2"),
    ] {
        let said = wrong(column, value);
        assert!(said.contains(expected) && said.contains(&format!("\"{column}\"")), "{column} {value}: {said}");
    }
}

#[test]
fn outputs_are_written_to_parquet_on_request() {
    let shop = Shop::new();
    shop.din("train {at}/m.din --train {at}/train.csv --out {at}/run").expect(0);
    shop.din("build {at}/m.din -o {at}/exe").expect(0);
    let line = "predict {at}/run --data {at}/train.csv --out {at}/p.parquet --outputs";
    shop.din(line).expect(0).says("query: output of 5 f32");
    let exe = "predict {at}/run --data {at}/train.csv --out {at}/e.parquet --outputs";
    run(&mut std::process::Command::new(shop.at("exe")), exe, &[("at", shop.folder.path())]).expect(0);
    assert_eq!(fs::read(shop.at("p.parquet")).unwrap(), fs::read(shop.at("e.parquet")).unwrap());
    let csv = shop.din("predict {at}/run --data {at}/train.csv --out {at}/p.csv --outputs").expect(1);
    assert!(csv.err.contains("outputs are vectors, which CSV does not hold"), "{}", csv.err);
}

const CLASSES: &str = "edition 2026

use std.layer.{linear, mlp}
use std.loss.{ordinal_nll, softmax_cross_entropy}
use std.metric.{accuracy, log_loss}
use std.optimizer.adam

model shop {
    features user { id: category   city: category(2) }
    label kind: class(3)
    label action: class(\"buy\", \"save it\", \"leave\") missing \"unknown\"
    label stars: class(5) from rating missing -1
    key row: int64

    embedding [4] for each of user
    let x = mlp(embed(user), [8], tanh)

    predict kind   ~ categorical(logits = linear(x, 3))
    predict action ~ categorical(logits = linear(x, 3))
    predict stars  ~ ordinal(score = linear(x, 1))

    train {
        loss      softmax_cross_entropy(kind) + softmax_cross_entropy(action) where present +
                  ordinal_nll(stars) where present
        optimizer adam(lr = 0.05)
        batch     32
        epochs    8
    }
    report accuracy(kind), log_loss(kind), accuracy(action), log_loss(stars), accuracy(stars) by user.city
}
";

const CLASSES_HEAD: &str = "row,id,city,kind,action,rating";

/// Every label follows from the user, so that all can be learned.
fn class_row(k: u64) -> String {
    let user = k * 7 % 12;
    let action = match (k % 10, user % 3) {
        (0, _) => "unknown",
        (5, _) => "",
        (_, 0) => "buy",
        (_, 1) => "save it",
        _ => "leave",
    };
    let rating = if k % 10 == 3 { -1 } else { (user / 3) as i64 + 1 };
    format!("{k},{user},{},{},{action},{rating}", user % 2, user % 3)
}

fn class_shop() -> Shop {
    let shop = Shop { folder: TempDir::new().unwrap() };
    fs::write(shop.at("m.din"), CLASSES).unwrap();
    shop.write("train.csv", CLASSES_HEAD, (0..400).map(class_row));
    shop
}

#[test]
fn classes_are_trained_reported_and_predicted() {
    let shop = class_shop();
    shop.din("train {at}/m.din --train {at}/train.csv --out {at}/run --threads 1").expect(0);
    let eval = shop.din("eval {at}/run --data {at}/train.csv --json").expect(0);
    let report: serde_json::Value = serde_json::from_str(&eval.out).unwrap();
    let found = |name: &str| report["metrics"].as_array().unwrap().iter().find(|m| m["name"] == name).unwrap();
    for (name, rows) in [("accuracy(kind)", 400), ("accuracy(action)", 320), ("accuracy(stars)", 360)] {
        assert_eq!(found(name)["labelled_rows"], rows, "{name}");
        assert!(found(name)["value"].as_f64().unwrap() > 0.95, "{report}");
    }
    assert!(found("log_loss(kind)")["value"].as_f64().unwrap() < 0.2, "{report}");
    let slices = found("accuracy(stars)")["slices"][0]["slices"].as_array().unwrap();
    assert_eq!(slices.iter().map(|slice| slice["rows"].as_u64().unwrap()).sum::<u64>(), 360);

    // Without labels, by the run and by an executable: the same bytes.
    shop.write("new.csv", "row,id,city", (0..12).map(|k| format!("{k},{k},{}", k % 2)));
    shop.din("predict {at}/run --data {at}/new.csv --out {at}/p.csv")
        .expect(0)
        .says("action_class: most probable class")
        .says("stars_mean: mean of the number of the class")
        .says("kind_probability_2: probability of the class");
    let written = lines(&shop.at("p.csv"));
    let head = "row,kind_class,kind_probability_0,kind_probability_1,kind_probability_2,action_class,\
                action_probability_buy,action_probability_save it,action_probability_leave,stars_mean,stars_class,\
                stars_probability_0,stars_probability_1,stars_probability_2,stars_probability_3,stars_probability_4";
    assert_eq!(written[0], head);
    for (user, line) in written[1..].iter().enumerate() {
        let values: Vec<&str> = line.split(',').collect();
        let numbers = |range: std::ops::Range<usize>| values[range].iter().map(|v| v.parse::<f64>().unwrap());
        assert_eq!(values[1], (user % 3).to_string(), "{line}");
        assert_eq!(values[5], ["buy", "save it", "leave"][user % 3], "{line}");
        assert_eq!(values[10], (user / 3 + 1).to_string(), "{line}");
        for own in [2..5, 6..9, 11..16] {
            assert!((numbers(own.clone()).sum::<f64>() - 1.0).abs() < 1e-6, "{line}");
            assert!(numbers(own).all(|p| (0.0..=1.0).contains(&p)), "{line}");
        }
        let mean: f64 = numbers(11..16).zip(0..).map(|(p, class)| p * f64::from(class)).sum();
        assert!((mean - values[9].parse::<f64>().unwrap()).abs() < 1e-5, "{line}");
    }
    shop.din("build {at}/m.din -o {at}/exe").expect(0);
    let line = "predict {at}/run --data {at}/new.csv --out {at}/e.csv";
    run(&mut std::process::Command::new(shop.at("exe")), line, &[("at", shop.folder.path())]).expect(0);
    assert_eq!(fs::read(shop.at("p.csv")).unwrap(), fs::read(shop.at("e.csv")).unwrap());

    // As Parquet, with the labels of the data beside them; texts are read from it again.
    shop.din("predict {at}/run --data {at}/train.csv --out {at}/p.parquet").expect(0);
    let sliced = shop.din("eval {at}/run --data {at}/train.csv --by user.city").expect(0).out;
    assert!(sliced.contains("accuracy(kind) ") && sliced.matches("by user.city").count() == 5, "{sliced}");
    shop.din("train {at}/m.din --train {at}/train.csv --out {at}/other --threads 3").expect(0);
    let weights = |run: &str| {
        shop.din(&format!("predict {{at}}/{run} --data {{at}}/new.csv --out {{at}}/{run}.csv")).expect(0);
        fs::read(shop.at(&format!("{run}.csv"))).unwrap()
    };
    assert_eq!(weights("run"), weights("other"), "the same bits at any number of threads");
}

#[test]
fn values_that_are_no_class_are_named() {
    let shop = class_shop();
    for (column, value, expected, help) in [
        ("kind", "3", "expected a whole number from 0 to 2, found 3", "classes are counted from 0"),
        ("kind", "-1", "expected a whole number from 0 to 2, found -1", "declare `missing -1`"),
        ("kind", "1.5", "expected a whole number from 0 to 2, found 1.5", "stands for"),
        ("kind", "buy", "expected a whole number from 0 to 2, found `buy`", "declare the texts of the classes"),
        ("kind", "", "expected a whole number from 0 to 2, found null", "drop the row"),
        ("action", "Buy", "expected one of \"buy\", \"save it\", \"leave\", found \"Buy\"", "add it to the classes"),
    ] {
        let place = CLASSES_HEAD.split(',').position(|c| c == column).unwrap();
        let changed = |k: u64| {
            let line = class_row(k);
            let mut values: Vec<&str> = line.split(',').collect();
            if k == 6 {
                values[place] = value;
            }
            values.join(",")
        };
        shop.write("bad.csv", CLASSES_HEAD, (0..20).map(changed));
        let said =
            shop.din("train {at}/m.din --train {at}/bad.csv --out {at}/bad").expect(1).says("bad.csv: line 8").err;
        assert!(said.contains(expected) && said.contains(help), "{column} {value}: {said}");
    }
}
