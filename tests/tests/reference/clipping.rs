//! `clip global_norm` against PyTorch in float64 (`tests/reference/clipping.py`): weights and rows
//! after five steps, by SGD and Adam, of which some are limited and some are not.

use crate::fixture::Tensors;
use din_compiler::interpret::{InterpreterSession, Samples, TableData, TensorData};
use din_tests::specs;

const STEPS: usize = 5;

/// Trains by `optimizer`; compares with the fixture's `which`.
fn compare(optimizer: &str, which: &str, bound: f64) {
    let all = Tensors::read("clipping");
    let limit = all.get("limit")[0];
    let (first, second, labels) = (all.ids("first"), all.ids("second"), all.get("label"));
    let text = format!(
        "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.log_loss\n\
         use std.optimizer.{{adam, sgd}}\n\
         model clipped {{\nfeatures one {{ first: category(7)  second: category(7) }}\nlabel y: binary\n\
         embedding table [3] for one.first, one.second\n\
         let hidden = linear(concat(table(one.first), table(one.second)), 4)\n\
         let logit = linear(tanh(hidden), 1)\npredict y ~ bernoulli(logit = logit)\n\
         train {{ loss cross_entropy(y)  optimizer {optimizer}  clip global_norm {limit}  batch 6  epochs 1 }}\n\
         report log_loss(y)\n}}\n"
    );
    let model = specs::checked("clipped.din", &text);
    let start = |name: &str| all.get(&format!("start/{name}")).to_vec();
    let own = |path: &str| path.replace(".linear", "");
    let weights = model.parameters.iter();
    let weights = weights.map(|p| TensorData::new(&model.updates[p.update as usize], start(&own(&p.name))));
    let update = &model.updates[model.tables[0].update as usize];
    let table = TableData::new(update, 3, start("table"), Vec::new());
    let mut session = InterpreterSession::new(&model, weights.collect(), Vec::new(), vec![table]).unwrap();
    for step in 0..STEPS {
        let samples = labels.len() / STEPS;
        let of_step = step * samples..(step + 1) * samples;
        let rows = |ids: &[i64]| ids[of_step.clone()].iter().map(|&id| id as usize).collect::<Vec<_>>();
        let features = &model.tables[0].features;
        let rows = [((0, features[0]), rows(first)), ((0, features[1]), rows(second))];
        let batch = Samples {
            batch: samples,
            rows: rows.into_iter().collect(),
            labels: vec![labels[of_step.clone()].to_vec()],
            ..Samples::default()
        };
        session.train(&batch).unwrap();
    }
    let check = |name: &str, found: &[f64]| {
        let expected = all.get(&format!("{which}/{name}"));
        assert_eq!(found.len(), expected.len(), "{which}/{name}");
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            let off = (a - b).abs();
            assert!(off <= bound * b.abs().max(1.0), "{which}/{name}[{i}]: {a:e}, PyTorch has {b:e}");
        }
    };
    for (p, trained) in model.parameters.iter().zip(&session.params) {
        check(&own(&p.name), &trained.weights);
    }
    check("table", &session.tables[0].weights);
}

#[test]
fn a_limit_of_the_norm_of_all_gradients_is_that_of_pytorch() {
    compare("sgd(lr = 0.5)", "sgd/limited", 1e-12);
    compare("adam(lr = 0.05) with dense updates", "adam/limited", 1e-12);
}

/// `clip_grad_norm_` divides by the norm + 1e-6.
#[test]
fn clip_grad_norm_differs_by_its_epsilon() {
    compare("sgd(lr = 0.5)", "sgd/torch", 1e-5);
    compare("adam(lr = 0.05) with dense updates", "adam/torch", 1e-5);
}
