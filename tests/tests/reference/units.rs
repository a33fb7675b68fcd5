//! Single units against PyTorch in float64: value and every derivative on random input, within
//! 1e-12 (relative above 1).
//!
//! Each unit stands in a model whose inputs are rows of tables and whose logit is `sum(value *
//! upstream)`, so that the loss `logit` has the fixture's derivatives (times 1 / samples, the loss
//! being a mean).

use super::fixture::Tensors;
use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::interpret::{InterpreterSession, Samples, TableData, TensorData};
use din_compiler::model::CheckedModel;
use std::collections::BTreeMap;

const BOUND: f64 = 1e-12;

fn close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= BOUND * b.abs().max(1.0), "{what}[{i}]: found {a:e}, PyTorch has {b:e}");
    }
}

/// A model around `value`, which may read the groups `one` (an id a sample) and `many` (a sequence
/// of ids), each with the field `e`.
fn model(uses: &str, value: &str, width: usize, rows: (usize, usize), lists: bool) -> CheckedModel {
    let (one, many) = rows;
    let mut declared = format!("features given {{ upstream: number[{width}] }}\n");
    if one > 0 {
        declared +=
            &format!("features one {{ e: category({one}) from one_e }}\nembedding candidate [{width}] for one.e\n");
    }
    if lists {
        declared +=
            &format!("sequence many {{ e: category({many}) from many_e }}\nembedding history [{width}] for many.e\n");
    }
    let text = format!(
        "edition 2026\n{uses}\nuse std.metric.log_loss\nuse std.optimizer.sgd\n\
         fn plain(p: prediction) -> [1] {{ p.logit }}\n\
         model unit {{\n{declared}label y: binary\nlet value = {value}\n\
         predict y ~ bernoulli(logit = sum(concat(value) * given.upstream))\n\
         train {{ loss plain(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }}\nreport log_loss(y)\n}}\n"
    );
    let checked = check("unit.din", &text, &NoFiles, &CheckOptions::default());
    checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics))
}

/// Runs one step and compares. `tables`: the fixture's name by table; parameters and states have
/// the name after `value.`.
fn unit(name: &str, uses: &str, value: &str, tables: &[(&str, &str)]) {
    let all = Tensors::read("units");
    let get = |what: &str| all.get(&format!("{name}/{what}"));
    let lists = all.has(&format!("{name}/offsets"));
    let offsets: Vec<usize> = if lists { get("offsets").iter().map(|&v| v as usize).collect() } else { Vec::new() };
    let rows = |table: &str| tables.iter().find(|(t, _)| *t == table).map(|(_, f)| get(f).len());
    let upstream = get("upstream");
    // Units without lists have `alpha`, one a position.
    let width = if lists { upstream.len() / (offsets.len() - 1) } else { get("alpha").len() };
    let samples = upstream.len() / width;
    let count = |table: &str| rows(table).map_or(0, |n| n / width);
    let model = model(uses, value, width, (count("candidate"), count("history")), lists);

    // The fixture's name of a parameter or state.
    let own = |path: &str| path.trim_start_matches("value.").replace("linear.", "score.");
    let params = model
        .parameters
        .iter()
        .map(|p| TensorData::new(&model.updates[p.update as usize], get(&own(&p.name)).to_vec()));
    let fixture = |table: &str| tables.iter().find(|(t, _)| *t == table).map(|(_, f)| *f).unwrap();
    let data = model
        .tables
        .iter()
        .map(|t| TableData::new(&model.updates[t.update as usize], width, get(fixture(&t.name)).to_vec(), Vec::new()));
    let states = model.states.iter().map(|s| match all.has(&format!("{name}/running.{}", own(&s.name))) {
        true => get(&format!("running.{}", own(&s.name))).to_vec(),
        false => vec![f64::from(u8::from(s.name.ends_with("var"))); s.width()],
    });
    let mut session = InterpreterSession::new(&model, params.collect(), states.collect(), data.collect()).unwrap();

    let mut batch = Samples { batch: samples, labels: vec![vec![0.0; samples]], ..Samples::default() };
    if lists {
        batch.offsets.push(offsets);
    }
    for (t, table) in model.tables.iter().enumerate() {
        batch.rows.insert((t as u32, table.features[0]), (0..count(&table.name)).collect());
    }
    let given = model.schema.features.iter().position(|f| f.name == "upstream").unwrap();
    batch.dense.insert(given as u32, upstream.to_vec());

    let products: Vec<f64> = get("value").iter().zip(upstream).map(|(v, u)| v * u).collect();
    let expected: Vec<f64> = products.chunks(width).map(|row| row.iter().sum()).collect();
    if name.ends_with("_eval") {
        close(name, &session.evaluate(&batch).unwrap().predictions[0], &expected);
        return;
    }
    let report = session.train(&batch).unwrap();
    close(name, &report.predictions[0], &expected);
    let scaled = |numbers: &[f64]| numbers.iter().map(|g| g * samples as f64).collect::<Vec<_>>();
    for (p, g) in model.parameters.iter().zip(&report.param_gradients) {
        let own = own(&p.name);
        close(&format!("{name}: gradient of {own}"), &scaled(g), get(&format!("gradient.{own}")));
    }
    for (t, g) in model.tables.iter().zip(&report.row_gradients) {
        let flat: Vec<f64> = g.values().flatten().copied().collect();
        let own = fixture(&t.name);
        close(&format!("{name}: gradient of {own}"), &scaled(&flat), get(&format!("gradient.{own}")));
    }
    for (s, value) in model.states.iter().zip(&session.states) {
        let new = format!("{name}/new.{}", own(&s.name));
        if all.has(&new) {
            close(&new, value, all.get(&new));
        }
    }
}

const CANDIDATE: &[(&str, &str)] = &[("candidate", "x")];
const HISTORY: &[(&str, &str)] = &[("history", "x")];
const BOTH: &[(&str, &str)] = &[("candidate", "candidate"), ("history", "history")];

#[test]
fn prelu() {
    unit("prelu", "use std.activation.prelu", "prelu(embed(one))", CANDIDATE);
}

#[test]
fn dice() {
    for name in ["dice_train", "dice_train_one", "dice_eval"] {
        unit(name, "use std.activation.dice", "dice(embed(one))", CANDIDATE);
    }
}

#[test]
fn interest() {
    for (name, function, activation) in [
        ("interest_prelu", "interest", "prelu"),
        ("interest_sigmoid", "interest", "sigmoid"),
        ("interest_dice", "interest", "dice"),
        ("interest_softmax_prelu", "interest_softmax", "prelu"),
    ] {
        let uses = format!("use std.activation.{activation}\nuse std.attention.{function}");
        let value = format!("{function}(embed(many), embed(one), hidden = [8, 4], activation = {activation})");
        unit(name, &uses, &value, BOTH);
    }
}

#[test]
fn pooling() {
    unit("sum_pooling", "use std.pooling.sum_pool", "sum_pool(embed(many))", HISTORY);
    unit("mean_pooling", "use std.pooling.mean_pool", "mean_pool(embed(many))", HISTORY);
}

/// Reductions over entries, over those for which a condition holds, and over their pairs.
#[test]
fn entries_and_pairs() {
    unit(
        "self_attention",
        "use std.attention.self_attention",
        "sum(self_attention(embed(many), 3) over many)",
        HISTORY,
    );
    for (name, value) in [
        ("softmax", "sum(softmax(X over many) * X * X over many)"),
        ("softmax_where", "sum(softmax(X over many where sum(X) > 0) * X over many)"),
        ("mean_where", "mean(X over many where sum(X) > 0)"),
        ("max_where", "max(X over many where sum(X) > 0)"),
        ("first", "first(X * length(many) over many)"),
        ("last_where", "last(X over many where sum(X) > 0)"),
        ("positions", "sum(position(many) * X * X over many) - last(X over many)"),
        ("pairs", "max(mean(tanh(X * (X as t) + (X as t)) over many) over t)"),
    ] {
        unit(name, "", &value.replace('X', "embed(many)"), HISTORY);
    }
}

/// One update of six rows at step 3, plain, by Eq. (9) and by Eq. (10).
#[test]
fn row_updates() {
    let all = Tensors::read("units");
    let get = |what: &str| all.get(&format!("row_update/{what}"));
    for (optimizer, setting) in [("sgd", "sgd(lr = 0.1)"), ("adam", "adam(lr = 0.001)")] {
        for (penalty, regularizer) in [("plain", ""), ("adaptive", "adaptive(0.01)"), ("difacto", "difacto(1e-7)")] {
            let (import, regularize) = match regularizer {
                "" => (String::new(), String::new()),
                r => (format!("use std.regularizer.{penalty}\n"), format!(" {{ regularize {r} }}")),
            };
            let text = format!(
                "edition 2026\nuse std.metric.log_loss\nuse std.optimizer.{optimizer}\n{import}\
                 fn plain(p: prediction) -> [1] {{ p.logit }}\n\
                 model unit {{\nfeatures ad {{ e: category }}\nfeatures given {{ upstream: number[4] }}\nlabel y: binary\n\
                 embedding row [4] for ad.e{regularize}\n\
                 predict y ~ bernoulli(logit = sum(embed(ad) * given.upstream))\n\
                 train {{ loss plain(y)  optimizer {setting}  batch 6  epochs 1 }}\nreport log_loss(y)\n}}\n"
            );
            let checked = check("update.din", &text, &NoFiles, &CheckOptions::default());
            let model = checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics));
            let update = &model.updates[model.tables[0].update as usize];
            let mut table = TableData::new(update, 4, get("weight").to_vec(), get("count").to_vec());
            for (slot, values) in update.slots.iter().zip(&mut table.slots) {
                *values = get(&format!("slot.{}", slot.name)).to_vec();
            }
            let mut session = InterpreterSession::new(&model, Vec::new(), Vec::new(), vec![table]).unwrap();
            session.steps = 2;
            let upstream = get("gradient").iter().map(|g| g * 6.0).collect();
            let batch = Samples {
                batch: 6,
                rows: BTreeMap::from([((0, 0), (0..6).collect())]),
                dense: BTreeMap::from([(1, upstream)]),
                labels: vec![vec![0.0; 6]],
                ..Samples::default()
            };
            session.train(&batch).unwrap();
            let table = &session.tables[0];
            let name = format!("{optimizer}.{penalty}");
            close(&name, &table.weights, get(&format!("{name}.weight")));
            for (slot, values) in update.slots.iter().zip(&table.slots) {
                let what = format!("{name}.slot.{}", slot.name);
                close(&what, values, get(&what));
            }
        }
    }
}
