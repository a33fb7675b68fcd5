//! Schedules, limits of gradients, losses and dropout against their formulas, by the interpreter.

use din_compiler::graph::{InputKind, Op, Root};
use din_compiler::interpret::{Inputs, InterpreterSession, Samples, TableData, TensorData, Values, run};
use din_compiler::model::{CheckedModel, UpdateScope};
use din_compiler::{CompileOptions, compile};
use din_program::{Program, dropout};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::threads::Threads;
use din_tests::specs;
use std::f64::consts::PI;
use std::sync::Arc;

/// A model of one number, `x`, with a logit that is `x` and a weight.
fn model(uses: &str, loss: &str, train: &str) -> CheckedModel {
    specs::checked(
        "unit.din",
        &format!(
            "edition 2026\n{uses}\nuse std.metric.log_loss\nuse std.layer.linear\n\
             model unit {{\nfeatures one {{ e: category(5)  x: number }}\nlabel y: binary\nembedding table [2] for one.e\n\
             predict y ~ bernoulli(logit = one.x + 0 * linear(table(one.e), 1))\n\
             train {{ loss {loss}  {train}  batch 4  epochs 1 }}\nreport log_loss(y)\n}}\n"
        ),
    )
}

fn trained(uses: &str, optimizer: &str) -> CheckedModel {
    model(&format!("use std.loss.cross_entropy\nuse std.optimizer.sgd\n{uses}"), "cross_entropy(y)", optimizer)
}

/// What the update of dense weights (or of table rows of width 2) makes of zeros.
fn updated(model: &CheckedModel, rows: bool, gradient: &[f64], step: f64, epoch: f64) -> Vec<f64> {
    let of_rows = |scope| matches!(scope, UpdateScope::Rows { .. });
    let update = model.updates.iter().find(|update| of_rows(update.scope) == rows).unwrap();
    let batch = if rows { gradient.len() / 2 } else { gradient.len() };
    let numbers = update.graph.inputs.iter().map(|input| match input.kind {
        InputKind::Gradient => gradient.to_vec(),
        InputKind::Step => vec![step],
        InputKind::Epoch => vec![epoch],
        _ => vec![0.0; gradient.len()],
    });
    let inputs = Inputs { batch, numbers: numbers.collect(), ..Inputs::default() };
    let run = run(&update.graph, &inputs, &Values::default()).unwrap();
    let weight = update.graph.roots.iter().find(|root| matches!(root, Root::Weight(_))).unwrap();
    run.value(weight.node()).to_vec()
}

fn near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {found}, expected {expected}");
}

/// A rate, and what it is at step `s` of epoch `e`.
type Schedule = (&'static str, fn(f64, f64) -> f64);

#[test]
fn schedules_have_their_formulas() {
    let schedules: [Schedule; 9] = [
        ("0.3", |_, _| 0.3),
        ("0.1 * warmup(step, 100)", |s, _| 0.1 * (s / 100.0).min(1.0)),
        ("cosine(step, 50, floor = 0.1)", |s, _| 0.1 + 0.9 * 0.5 * (1.0 + (PI * ((s - 1.0) / 50.0).min(1.0)).cos())),
        ("exponential(step, 0.5, 10)", |s, _| 0.5f64.powf((s - 1.0) / 10.0)),
        ("linear_decay(step, 40, floor = 0.25)", |s, _| (1.0 - 0.75 * (s - 1.0) / 40.0).max(0.25)),
        ("step_decay(epoch, [3, 6], 0.1)", |_, e| {
            if e < 3.0 {
                1.0
            } else if e < 6.0 {
                0.1
            } else {
                0.01
            }
        }),
        ("piecewise(step, 1, [(10, 0.5), (30, 0.125)])", |s, _| {
            if s < 10.0 {
                1.0
            } else if s < 30.0 {
                0.5
            } else {
                0.125
            }
        }),
        ("0.5 ^ (epoch - 1) * min(1, step / 7)", |s, e| 0.5f64.powf(e - 1.0) * (s / 7.0).min(1.0)),
        ("max(0, 1 - step / 20)", |s, _| (1.0 - s / 20.0).max(0.0)),
    ];
    let uses = "use std.schedule.{cosine, exponential, linear_decay, piecewise, step_decay, warmup}";
    for (text, rate) in schedules {
        let model = trained(uses, &format!("optimizer sgd(lr = {text})"));
        for epoch in [1.0, 2.0, 3.0, 6.0, 9.0] {
            for step in [1.0, 2.0, 7.0, 10.0, 26.0, 30.0, 51.0, 400.0] {
                for rows in [false, true] {
                    let found = updated(&model, rows, &[1.0, -2.0], step, epoch);
                    near(found[0], -rate(step, epoch), &format!("{text} at {step}, {epoch}"));
                    near(found[1], 2.0 * rate(step, epoch), &format!("{text} at {step}, {epoch}"));
                }
            }
        }
    }
}

/// Rates of different tables are different updates; equal ones are shared.
#[test]
fn equal_schedules_share_an_update() {
    let text = |lr: &str| {
        format!(
            "edition 2026\nuse std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.sgd\nuse std.layer.linear\n\
             model unit {{\nfeatures one {{ a: category(5)  b: category(5) }}\nlabel y: binary\n\
             embedding one_table [2] for one.a {{ optimizer sgd(lr = 1 / step) }}\n\
             embedding other [2] for one.b {{ optimizer sgd(lr = {lr}) }}\n\
             predict y ~ bernoulli(logit = linear(concat(one_table(one.a), other(one.b)), 1))\n\
             train {{ loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 4  epochs 1 }}\nreport log_loss(y)\n}}\n"
        )
    };
    assert_eq!(specs::checked("unit.din", &text("2 / step")).updates.len(), 3);
    let shadowed = text("1 / step").replace("model unit {", "model unit {\nhyper step = 4");
    let model = specs::checked("unit.din", &shadowed);
    assert!(model.updates.iter().all(|u| u.graph.inputs.iter().all(|i| i.kind != InputKind::Step)));
}

#[test]
fn gradients_are_limited() {
    let by_value = trained("", "optimizer sgd(lr = 1)  clip value 0.5");
    let gradient = [0.2, -0.7, 3.0, -0.5];
    for rows in [false, true] {
        assert_eq!(updated(&by_value, rows, &gradient, 1.0, 1.0), [-0.2, 0.5, -0.5, 0.5]);
    }
    let by_norm = trained("", "optimizer sgd(lr = 1)  clip norm 2");
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    for rows in [false, true] {
        for (found, g) in updated(&by_norm, rows, &gradient, 1.0, 1.0).iter().zip(gradient) {
            near(*found, -g * 2.0 / norm, "limited by norm");
        }
        // Below the limit nothing changes, and a gradient of 0 stays 0.
        assert_eq!(updated(&by_norm, rows, &[0.5, -1.0], 1.0, 1.0), [-0.5, 1.0]);
        assert_eq!(updated(&by_norm, rows, &[0.0, 0.0], 1.0, 1.0), [0.0, 0.0]);
    }
}

/// A loss and its value for logit `z` and label `y`.
type Loss = (&'static str, fn(f64, f64) -> f64);

#[test]
fn losses_have_their_formulas() {
    fn probability(z: f64) -> f64 {
        1.0 / (1.0 + (-z).exp())
    }
    let losses: [Loss; 5] = [
        ("smoothed_cross_entropy(y)", |z, y| {
            let (p, y) = (probability(z), 0.9 * y + 0.05);
            -y * p.ln() - (1.0 - y) * (1.0 - p).ln()
        }),
        ("smoothed_cross_entropy(y, smoothing = 0)", |z, y| {
            let p = probability(z);
            -y * p.ln() - (1.0 - y) * (1.0 - p).ln()
        }),
        ("focal(y)", |z, y| {
            let (p, alpha) = if y == 1.0 { (probability(z), 0.25) } else { (probability(-z), 0.75) };
            -alpha * (1.0 - p).powi(2) * p.ln()
        }),
        ("focal(y, gamma = 0.5, alpha = 0.5)", |z, y| {
            let p = if y == 1.0 { probability(z) } else { probability(-z) };
            -0.5 * (1.0 - p).sqrt() * p.ln()
        }),
        ("uncertainty_weighted(focal(y, gamma = 0, alpha = 0.5)) + 0 * cross_entropy(y)", |z, y| {
            let p = if y == 1.0 { probability(z) } else { probability(-z) };
            -0.5 * p.ln()
        }),
    ];
    let uses =
        "use std.loss.{cross_entropy, focal, smoothed_cross_entropy, uncertainty_weighted}\nuse std.optimizer.sgd";
    for (text, value) in losses {
        let needed = uses.replace("{cross_entropy, focal, smoothed_cross_entropy, uncertainty_weighted}", &{
            let all = ["cross_entropy", "focal", "smoothed_cross_entropy", "uncertainty_weighted"];
            format!(
                "{{{}}}",
                all.into_iter().filter(|name| text.contains(&format!("{name}("))).collect::<Vec<_>>().join(", ")
            )
        });
        let model = model(&needed, text, "optimizer sgd(lr = 0.1)");
        let logits = [-3.0, -0.4, 0.0, 1.7];
        for y in [0.0, 1.0] {
            let samples = Samples {
                batch: 4,
                dense: [(1, logits.to_vec())].into(),
                labels: vec![vec![y; 4]],
                rows: [((0, 0), vec![0; 4])].into(),
                ..Samples::default()
            };
            let session = session(&model);
            let found = session.evaluate(&samples).unwrap().loss;
            near(found, logits.iter().map(|&z| value(z, y)).sum::<f64>() / 4.0, text);
        }
    }
}

fn session(model: &CheckedModel) -> InterpreterSession<'_> {
    let params = model.parameters.iter().map(|p| {
        TensorData::new(&model.updates[p.update as usize], vec![0.0; p.shape.iter().product::<u32>() as usize])
    });
    let tables = model.tables.iter().map(|t| {
        TableData::new(
            &model.updates[t.update as usize],
            t.width as usize,
            vec![1.0; 5 * t.width as usize],
            vec![1.0; 5],
        )
    });
    InterpreterSession::new(model, params.collect(), vec![], tables.collect()).unwrap()
}

/// What training sees of embedded ids whose table has dropout: each occurrence whole or not at all,
/// at each step another choice, and everything outside of training.
#[test]
fn ids_are_dropped_whole() {
    let model = specs::checked(
        "unit.din",
        "edition 2026\nuse std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.sgd\n\
         model unit {\nfeatures one { e: category(5) }\nsequence many { e: category(5) from es }\nlabel y: binary\n\
         embedding table [2] for one.e, many.e { dropout 0.25 }\n\
         predict y ~ bernoulli(logit = sum(table(one.e)) + sum(sum(table(many.e)) over many))\n\
         train { loss cross_entropy(y)  optimizer sgd(lr = 0)  batch 4  epochs 1 }\nreport log_loss(y)\n}\n",
    );
    let lists = [0usize, 3, 3, 4];
    let samples = Samples {
        batch: 3,
        offsets: vec![lists.to_vec()],
        labels: vec![vec![1.0; 3]],
        rows: [((0, 0), vec![1; 3]), ((0, 1), vec![2; 4])].into(),
        ..Samples::default()
    };
    let mut session = session(&model);
    session.seed = 11;
    // All weights are 1: a vector of 2 counts 2, or 2 / 0.75 where it is kept.
    assert_eq!(session.evaluate(&samples).unwrap().predictions[0], [8.0, 2.0, 4.0]);
    let mut seen = Vec::new();
    for step in 1..=40 {
        let found = session.train(&samples).unwrap().predictions[0].clone();
        let kept = |site: u32, sample: usize, place: usize| {
            let at = [sample as f32, place as f32, 0.0, 0.0];
            2.0 * dropout::factor(0.25, dropout::key(11, site, step), at)
        };
        for sample in 0..3 {
            let entries = (lists[sample]..lists[sample + 1]).map(|entry| kept(1, sample, entry - lists[sample]));
            near(found[sample], kept(0, sample, 0) + entries.sum::<f64>(), "kept ids");
        }
        seen.push(found);
    }
    seen.dedup();
    assert!(seen.len() > 20, "another choice at most steps");
}

/// What comes before a dropout is computed once per distinct id, its mask and what follows once per
/// sample.
#[test]
fn masks_are_of_samples_where_ids_are_deduplicated() {
    let text = |dropout: &str| {
        format!(
            "edition 2026\nuse std.activation.relu\nuse std.layer.{{linear, mlp}}\nuse std.loss.cross_entropy\n\
             use std.metric.log_loss\nuse std.optimizer.sgd\n\
             model unit {{\nfeatures one {{ e: category  x: number }}\nlabel y: binary\nembedding table [128] for one.e\n\
             let first = mlp(table(one.e), [64], relu{dropout})\nlet tower = mlp(first, [64], relu)\n\
             predict y ~ bernoulli(logit = linear(concat(tower, one.x), 1))\n\
             train {{ loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 4  epochs 1 }}\nreport log_loss(y)\n}}\n"
        )
    };
    for (dropout, masks) in [("", 0), (", dropout_rate = 0.5", 1)] {
        let model = specs::checked("unit.din", &text(dropout));
        let options = CompileOptions { levels: vec![], checked: true, ..CompileOptions::default() };
        let train = compile(&model, &options).unwrap().train;
        let unique = |id| train.axes.unique(train.node(id).axis).is_some();
        let found: Vec<_> = train.ids().filter(|&id| matches!(train.node(id).op, Op::DropoutMask { .. })).collect();
        assert_eq!(found.len(), masks);
        assert!(found.iter().all(|&id| !unique(id)), "a mask per distinct id");
        let products = train.ids().filter(|&id| train.node(id).op == Op::MatMul);
        let on_ids = products.filter(|&id| unique(id)).count();
        // Without a mask: both layers of the tower, and its part of the last product.
        assert!(on_ids == if masks == 0 { 3 } else { 1 }, "{on_ids} products per distinct id");
    }
}

/// A model with weights under `a`, `b.0` and `b.1`, and two tables.
fn by_path(train: &str, of_table: &str) -> CheckedModel {
    specs::checked(
        "unit.din",
        &format!(
            "edition 2026\nuse std.activation.sigmoid\nuse std.layer.{{linear, mlp}}\nuse std.loss.cross_entropy\n\
             use std.metric.log_loss\nuse std.optimizer.{{adam, sgd}}\nuse std.regularizer.l2\n\
             model unit {{\nfeatures one {{ e: category(5)  f: category(5) }}\nlabel y: binary\n\
             embedding table [2] for one.e\nembedding other [3] for one.f {of_table}\n\
             let a = linear(table(one.e), 3)\nlet b = mlp(concat(a, other(one.f)), [4, 2], sigmoid)\n\
             predict y ~ bernoulli(logit = sum(b))\n\
             train {{ loss cross_entropy(y)  {train}  batch 4  epochs 1 }}\nreport log_loss(y)\n}}\n"
        ),
    )
}

/// Every weight and table after so many steps, by name.
fn after(model: &CheckedModel, steps: usize) -> std::collections::BTreeMap<String, Vec<f64>> {
    let number = |k: usize| ((k * 37 % 19) as f64 - 9.0) / 10.0;
    let weights = |shape: &[u32]| (0..shape.iter().product::<u32>() as usize).map(number).collect::<Vec<f64>>();
    let tensors = model.parameters.iter();
    let tensors = tensors.map(|p| TensorData::new(&model.updates[p.update as usize], weights(&p.shape)));
    let rows = model.tables.iter().map(|t| {
        TableData::new(&model.updates[t.update as usize], t.width as usize, weights(&[5, t.width]), Vec::new())
    });
    let mut session = InterpreterSession::new(model, tensors.collect(), Vec::new(), rows.collect()).unwrap();
    for step in 0..steps {
        let rows = (0..2).map(|t| ((t, t), (0..4).map(|k| (k * 3 + step) % 4).collect())).collect();
        let labels = vec![vec![0.0, 1.0, 1.0, 0.0]];
        session.train(&Samples { batch: 4, rows, labels, ..Samples::default() }).unwrap();
    }
    let params = model.parameters.iter().zip(session.params).map(|(p, data)| (p.name.clone(), data.weights));
    let tables = model.tables.iter().zip(session.tables).map(|(t, data)| (t.name.clone(), data.weights));
    params.chain(tables).collect()
}

/// After one step each weight is what its rule makes of it in the model where all have that rule.
#[test]
fn the_longest_path_decides() {
    let start = after(&by_path("optimizer sgd(lr = 0.1)", ""), 0);
    let sgd = after(&by_path("optimizer sgd(lr = 0.1)", ""), 1);
    let adam = after(&by_path("optimizer adam(lr = 0.1)", ""), 1);
    let decayed = after(&by_path("optimizer sgd(lr = 0.1)  regularize l2(0.5)", ""), 1);
    assert!(start.keys().all(|name| sgd[name] != adam[name] && sgd[name] != start[name]));
    // In any order.
    let settings = [
        "optimizer sgd(lr = 0.1)",
        "optimizer adam(lr = 0.1) for b, table",
        "optimizer frozen for b.0",
        "optimizer sgd(lr = 0.1) for b.0.weight",
        "regularize l2(0.5) for b.0",
        "regularize none for b.1",
    ];
    for order in [[0, 1, 2, 3, 4, 5], [3, 5, 2, 4, 1, 0]] {
        let text: Vec<&str> = order.iter().map(|&k| settings[k]).collect();
        let found = after(&by_path(&text.join("  "), ""), 1);
        for (name, values) in &found {
            let expected = match name.as_str() {
                "a.weight" | "a.bias" | "other" => &sgd,
                "b.0.bias" => &start,
                "b.0.weight" => &decayed,
                "b.1.weight" | "b.1.bias" | "table" => &adam,
                other => panic!("a weight {other}"),
            };
            assert_eq!(values, &expected[name], "{name}");
        }
    }
    // A table's own option comes before a path; a regularizer for it needs one.
    let found = after(&by_path("optimizer adam(lr = 0.1)", "{ optimizer sgd(lr = 0.1) }"), 1);
    assert!(found["other"] == sgd["other"] && found["table"] == adam["table"]);
    let found = after(&by_path("optimizer sgd(lr = 0.1)  regularize l2(0.5) for other", ""), 1);
    assert!(found["other"] != sgd["other"] && found["table"] == sgd["table"] && found["a.weight"] == sgd["a.weight"]);
}

/// What is frozen stays, has no gradient and no state, and the norm of all gradients lacks it.
#[test]
fn frozen_weights_stay() {
    let text = "optimizer adam(lr = 0.1)  optimizer frozen for b, table  clip global_norm 0.01";
    let model = by_path(text, "{ optimizer frozen }");
    let (start, found) = (after(&model, 0), after(&model, 3));
    for (name, values) in &found {
        assert_eq!(*values == start[name], !name.starts_with("a."), "{name}");
    }
    for update in model.parameters.iter().filter(|p| p.name.starts_with("b.")).map(|p| p.update) {
        assert!(model.updates[update as usize].slots.is_empty());
    }
    let compiled = compile(&model, &CompileOptions { levels: vec![], ..CompileOptions::default() }).unwrap();
    let trained: Vec<&str> = compiled
        .train
        .roots
        .iter()
        .filter_map(|root| match root {
            Root::ParamGradient { param, .. } => Some(model.parameters[param.index()].name.as_str()),
            Root::RowGradient { .. } => Some("a table"),
            _ => None,
        })
        .collect();
    assert_eq!(trained.len(), 2, "{trained:?}");
    // The limit is on what is left: with SGD, a step is the limit times the rate.
    let model = by_path("optimizer sgd(lr = 1)  optimizer frozen for b, table, other  clip global_norm 0.001", "");
    let (start, found) = (after(&model, 0), after(&model, 1));
    let moved = found.iter().flat_map(|(name, values)| values.iter().zip(&start[name]).map(|(a, b)| (a - b).powi(2)));
    near(moved.sum::<f64>().sqrt(), 0.001, "the norm of what has moved");
}

/// A program whose sums of squares contradict its tables and parameters is refused.
#[test]
fn a_damaged_limit_is_an_error() {
    let model = by_path("optimizer sgd(lr = 0.1)  clip global_norm 1", "");
    let options = CompileOptions { levels: vec![cpu::detect()], ..CompileOptions::default() };
    let program = compile(&model, &options).unwrap().program;
    assert_eq!(program.squared_norms.len(), model.tables.len() + model.parameters.len());
    let made = |norms: Vec<u32>| {
        let program = Program { squared_norms: norms, ..program.clone() };
        CpuExecutor::new(Arc::new(program), Threads::new(1).unwrap(), cpu::detect())
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    let norms = program.squared_norms.clone();
    assert_eq!(made(norms.clone()), Ok(()));
    let told = |norms: Vec<u32>, what: &str| {
        let why = made(norms).unwrap_err();
        assert!(why.contains(what), "{why}");
    };
    told(norms[1..].to_vec(), "sums of squares of gradients, expected");
    told(norms.iter().map(|_| u32::MAX).collect(), "update 4294967295 of");
    told(norms.iter().map(|_| model.tables[0].update).collect(), "sums no squares");
    told(norms.iter().rev().copied().collect(), "does not serve it");
}
