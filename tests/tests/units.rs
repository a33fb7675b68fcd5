//! The standard library's functions by central differences: parameters, embedded ids, lists with
//! empty ones, batch statistics.

use din_compiler::autodiff::differentiate;
use din_compiler::front::{CheckOptions, NoFiles, check, library_sources};
use din_compiler::graph::{Graph, Root};
use din_compiler::interpret::{Inputs, Samples, Values};
use din_compiler::model::CheckedModel;
use din_compiler::optimize;
use din_tests::differences;
use din_tests::random_graph::Random;

/// Import, expression over `q` (one vector of 5 a sample) and `k` (one an entry of `many`).
const UNITS: &[(&str, &str)] = &[
    ("activation.relu", "relu(q)"),
    ("activation.relu", "sum(relu(k) over many)"),
    ("activation.leaky_relu", "leaky_relu(q, slope = 0.1)"),
    ("activation.sigmoid", "sigmoid(q)"),
    ("activation.tanh", "tanh(q)"),
    ("activation.identity", "identity(q)"),
    ("activation.prelu", "prelu(q)"),
    ("activation.prelu", "sum(prelu(k) over many)"),
    ("activation.dice", "dice(q)"),
    ("activation.dice", "sum(dice(k) over many)"),
    ("layer.linear", "linear(q, 3)"),
    ("layer.{linear, mlp}|activation.prelu", "mlp(q, [4, 3], prelu)"),
    ("layer.{linear, mlp}|activation.dice", "mlp(concat(q, sum(k over many)), [4, 3], dice)"),
    ("layer.{linear, mlp}|activation.prelu", "mlp(dropout(q, 0.3), [4, 3], prelu, dropout_rate = 0.5)"),
    (
        "layer.linear",
        "sum(dropout(linear(k, 3), 0.4) * sum(dropout(softmax(sum(k * (k as t)) over t), 0.5) over t) over many)",
    ),
    ("attention.interest|activation.prelu", "interest(k, q, hidden = [4, 3], activation = prelu)"),
    ("attention.interest|activation.dice", "interest(k, q, hidden = [4, 3], activation = dice)"),
    ("attention.interest|activation.sigmoid", "interest(k, q, hidden = [4], activation = sigmoid)"),
    ("attention.interest_softmax|activation.prelu", "interest_softmax(k, q, hidden = [4, 3], activation = prelu)"),
    ("attention.interest_softmax|activation.tanh", "interest_softmax(k, q, hidden = [4], activation = tanh)"),
    ("attention.self_attention", "sum(self_attention(k, 3) over many)"),
    ("layer.linear", "sum(softmax(k over many) * linear(k, 5) over many)"),
    ("layer.linear", "sum(softmax(linear(k, 2) over many where sum(k) > 0) over many)"),
    ("layer.linear", "mean(linear(k, 5) over many where k > 0.2)"),
    ("layer.linear", "max(linear(k, 2) + sum(q) over many where sum(q * k) > 0)"),
    ("layer.linear", "sum(mean(tanh(linear(concat(k, k as t), 5)) * k over many where sum(k) > 0) over t)"),
    ("layer.linear", "last(linear(k, 2) over many) + first(sum(k) over many)"),
    ("layer.linear", "first(linear(k, 2) over many where sum(k) > 0) + last(sum(k) over many where sum(k) < 0.5)"),
    ("layer.linear", "sum(last(position(many) * k * (k as t) over t where sum(k) > 0) over many)"),
    ("attention.multi_head_attention", "sum(multi_head_attention(k, 2, 3) over many)"),
    ("layer.linear", "concat(softmax(q) * q, max(linear(q, 7)), min(q))"),
    ("layer.linear", "sum(softmax(linear(k, 3)) * max(k) over many)"),
    ("layer.linear", "concat(softmax([q * i for i in 1..4]), linear(q, 2))"),
    ("layer.linear", "max([linear(q * i, 3) for i in 1..3]) * min([sum(q) * i for i in 3..5])"),
    ("interaction.fm|layer.linear", "fm(split(linear(concat(q, q * q), 6), 3))"),
    ("interaction.inner_products|layer.linear", "inner_products(split(linear(q, 6), 3))"),
    ("interaction.attentional_pairs", "attentional_pairs(split(concat(q, sum(q * q)), 3), 2)"),
    ("interaction.bi_interaction", "bi_interaction(split(concat(q, q * q), 5))"),
    ("interaction.bilinear", "bilinear(split(concat(q, sum(q * q)), 3))"),
    ("interaction.senet", "concat(senet(split(concat(q, sum(q * q)), 3), 2))"),
    ("interaction.cross", "cross(q, 2)"),
    ("interaction.cin", "cin(split(concat(q, sum(q * q)), 3), [2, 2])"),
    ("layer.project", "project(q, 3)"),
    ("layer.project", "tied(q, 3)"),
    ("layer.linear", "sum(tied(linear(k, 4), 3) over many)"),
    ("layer.feed_forward|activation.tanh", "feed_forward(q, 3, tanh)"),
    ("layer.layer_norm", "layer_norm(q)"),
    ("layer.{layer_norm, linear}", "sum(layer_norm(linear(k, 4)) over many)"),
    ("layer.l2_normalize", "l2_normalize(q)"),
    ("attention.target_attention", "target_attention(k, q, sum(k) > 0, 2, 3)"),
    ("attention.target_head", "target_head(k, q, sum(q * k) < 0.5, 3)"),
    ("attention.top|layer.linear", "sum(top(sum(k), 2) * linear(k, 3) over many)"),
    ("attention.recent_interest|activation.tanh", "recent_interest(k, q, 2, hidden = [4, 3], activation = tanh)"),
    ("transformer.with_recency", "sum(with_recency(k, 2) * k over many)"),
    (
        "transformer.transformer_block|activation.tanh",
        "sum(transformer_block(k, heads = 2, width = 3, hidden = 4, activation = tanh, dropout_rate = 0.2) over many)",
    ),
    ("recurrent.gru", "last(gru(k, 4) over many)"),
    ("recurrent.augru", "sum(augru(shift(k * q over many), sum(k), 2) * sum(k * q) over many)"),
    ("recurrent.augru", "last(augru(k, softmax(sum(k * q) over many), 3) over many)"),
    ("recurrent.gru_cell", "last(scan(gru_cell(_, k, attention = 1), q over many) over many)"),
    ("recurrent.gru_cell", "mean(scan(gru_cell(_, k, attention = sum(q)), 2 over many where sum(k) > 0) over many)"),
    ("recurrent.gru", "first(gru(k, 4, backward = true) over many)"),
    (
        "recurrent.gru_cell",
        "first(scan(gru_cell(_, k, attention = 1), q over many where sum(k) > 0, backward = true) over many)",
    ),
    ("recurrent.agru", "last(agru(k, sum(k * q), 3) over many)"),
    ("recurrent.lstm", "last(lstm(k, 3) over many)"),
    ("recurrent.{bidirectional, lstm}", "sum(bidirectional(k, lstm(_, 2)) over many)"),
    ("recurrent.{bidirectional, gru}", "max(bidirectional(k, gru(_, 2)) over many)"),
    ("layer.linear", "sum(shift(linear(k, 5) over many) * k over many)"),
    ("layer.linear", "sum(linear(split(concat(q, q * q), 5) as f, 3) * (1 + position(f)) over f)"),
    ("layer.linear", "concat(softmax(linear([q, q * q, 0.5 * q] as f, 2) over f) * length(f) over f)"),
    ("layer.linear", "mean(split(q) as f over f) + max(split(linear(q, 6), 3) as g over g where position(g) > 0)"),
    ("attention.self_attention", "concat(self_attention([q, sum(k over many), q * q] as f, 3) over f)"),
    (
        "layer.linear",
        "sum(max(sum((split(linear(q, 6), 3) as f) * ((split(concat(q, sum(q)), 3) as f) as g)) over g \
         where position(f) != position(g)) over f)",
    ),
    ("layer.linear", "sum(shift(linear(k, 5) over many, backward = true) * k over many)"),
    ("multitask.gated", "gated(q, split(concat(q, sum(q * q)), 3))"),
    ("multitask.experts|activation.tanh", "sum(experts(q, 2, [3], tanh))"),
    ("multitask.customized_gates|activation.tanh", "concat(customized_gates([q, q * q], q, 2, [3], tanh))"),
    ("pooling.sum_pool", "sum_pool(k)"),
    ("pooling.mean_pool", "mean_pool(k)"),
    ("pooling.max_pool", "max_pool(k)"),
];

/// The loss is the cross-entropy of `sum(unit * upstream)`, so `loss.cross_entropy` is in every
/// check.
fn model(uses: &str, unit: &str) -> CheckedModel {
    let uses: String = uses.split('|').map(|u| format!("use std.{u}\n")).collect();
    let text = format!(
        "edition 2026\n{uses}use std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.sgd\n\
         fn tied(x: [n], width: int) -> [n] {{\nparam w: [n, width]\n(x @ w) @ transpose(w)\n}}\n\
         model unit {{\n\
         features one {{ e: category(6) }}\nfeatures given {{ upstream: number }}\n\
         sequence many {{ e: category(6) from many_e }}\n\
         label y: binary\n\
         embedding table [5] for one.e, many.e\n\
         let q = table(one.e)\nlet k = table(many.e)\nlet value = {unit}\n\
         predict y ~ bernoulli(logit = given.upstream * sum(value * value + value))\n\
         train {{ loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }}\nreport log_loss(y)\n}}\n"
    );
    let checked = check("unit.din", &text, &NoFiles, &CheckOptions::default());
    checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics))
}

fn random(model: &CheckedModel, graph: &Graph, r: &mut Random, lengths: &[usize]) -> (Inputs, Values) {
    let n = lengths.len();
    let mut offsets = vec![0];
    lengths.iter().for_each(|l| offsets.push(offsets[offsets.len() - 1] + l));
    let entries = offsets[n];
    let mut samples = Samples {
        batch: n,
        offsets: vec![offsets],
        labels: vec![(0..n).map(|_| r.below(2) as f64).collect()],
        ..Samples::default()
    };
    for (k, feature) in model.schema.features.iter().enumerate() {
        let count = if feature.sequence.is_some() { entries } else { n };
        if feature.name == "upstream" {
            samples.dense.insert(k as u32, r.numbers(count));
        } else {
            samples.rows.insert((0, k as u32), (0..count).map(|_| r.below(6)).collect());
        }
    }
    let values = Values {
        params: model.parameters.iter().map(|p| r.numbers(p.width())).collect(),
        states: model.states.iter().map(|s| r.numbers(s.width()).iter().map(|v| v.abs() + 0.5).collect()).collect(),
        tables: vec![r.numbers(6 * 5)],
    };
    (samples.bind(graph, 1), values)
}

#[test]
fn every_unit_by_finite_differences() {
    for (k, (uses, unit)) in UNITS.iter().enumerate() {
        let model = model(uses, unit);
        for (seed, lengths) in [(1, vec![3, 0, 2, 1, 0, 4]), (2, vec![2]), (3, vec![1, 5, 2])] {
            let mut r = Random::new(100 * k as u64 + seed);
            // The training graph, with batch statistics, and the other, with the running ones.
            for (part, graph) in [("train", &model.train), ("infer", &model.infer)] {
                let mut plain = graph.clone();
                differentiate(&mut plain).unwrap();
                let (inputs, values) = random(&model, &plain, &mut r, &lengths);
                differences::check(&plain, &inputs, &values, seed)
                    .unwrap_or_else(|e| panic!("{unit}, {part}, lengths {lengths:?}: {e}"));
                // What is compiled: the same derivatives after all passes.
                let mut best = graph.clone();
                optimize::train(&mut best, true).unwrap();
                let a = differences::gradient(&plain, &inputs, &values).unwrap();
                let b = differences::gradient(&best, &inputs, &values).unwrap();
                for (x, y) in a.params.iter().chain(&a.tables).zip(b.params.iter().chain(&b.tables)) {
                    let close = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-11 * (1.0 + x.abs());
                    assert!(x.iter().zip(y).all(close), "{unit}, {part}: {x:?} became {y:?}");
                }
            }
        }
    }
}

/// Batches whose lists are all empty: everything stays finite, and what only the lists feed has
/// derivative 0.
#[test]
fn empty_lists_leave_no_trace() {
    for (uses, unit) in UNITS {
        let model = model(uses, unit);
        let mut graph = model.train.clone();
        optimize::train(&mut graph, true).unwrap();
        let mut r = Random::new(7);
        let (inputs, values) = random(&model, &graph, &mut r, &[0, 0, 0]);
        let run = din_compiler::interpret::run(&graph, &inputs, &values).unwrap();
        for root in &graph.roots {
            assert!(run.value(root.node()).iter().all(|v| v.is_finite()), "{unit}: {root:?}");
            if matches!(root, Root::ParamGradient { .. }) && unit.contains("interest") {
                assert!(run.value(root.node()).iter().all(|&v| v == 0.0), "{unit}: {root:?}");
            }
        }
    }
}

/// A function added to these files of the library must be added here.
#[test]
fn no_unit_is_left_out() {
    for (file, text) in library_sources() {
        let module = file.trim_start_matches("std.");
        if !["activation", "attention", "interaction", "layer", "pooling"].contains(&module) {
            continue;
        }
        for name in text.lines().filter_map(|l| l.strip_prefix("fn ")).filter_map(|l| l.split('(').next()) {
            let used = |(_, unit): &(&str, &str)| unit.contains(&format!("{name}("));
            assert!(UNITS.iter().any(used), "{file}.{name} has no finite-difference check");
        }
    }
}
