//! Training of whole models by the runtime's CUDA executor, compared with the interpreter, wherever
//! the generated source runs.
#![allow(clippy::unwrap_used)]

use super::{Device, Failure, Shim, Trainer};
use crate::batches;
use crate::random_graph::Random;
use din_compiler::CompileOptions;
use din_compiler::codegen::cuda::{self, CodegenOptions};
use din_compiler::interpret::{InterpreterSession, Samples, TableData, TensorData};
use din_compiler::model::CheckedModel;
use din_program::SlotScope;
use din_program::cuda::Precision;
use din_program::schema::{Feature, FeatureKind, TableKind};
use din_runtime::exec::DenseState;
use din_runtime::exec::cuda::Driver;
use din_runtime::table::Table;
use std::sync::Arc;

/// What runs compiled source.
pub trait Storage {
    type Driver<'a>: Driver
    where
        Self: 'a;

    /// A device of its own; `seed` is of the order of threads, where that can be chosen.
    fn driver(&self, seed: u64) -> Self::Driver<'_>;
}

impl Storage for Device {
    type Driver<'a> = Shim<'a>;

    fn driver(&self, seed: u64) -> Shim<'_> {
        Shim::new(self, seed)
    }
}

pub const ROWS: usize = 37;
/// The bias of a softmax's scores, in a unit: it changes nothing, so its gradient is rounding
/// alone, and optimizers that divide by it differ.
const UNSEEN: &str = "b.score.bias";
pub const STEPS: u64 = 20;

/// Random samples of a model whose tables have [`ROWS`] rows; lists of at most `most` entries.
pub fn samples(model: &CheckedModel, r: &mut Random, batch: usize, most: usize) -> Samples {
    let schema = &model.schema;
    // Of one sample up to all that are left.
    let mut requests = Vec::new();
    while schema.has_requests() && requests.last() != Some(&batch) {
        let at = requests.last().map_or(0, |&at: &usize| at + 1 + r.below(batch - at));
        requests.push(at);
    }
    let offsets: Vec<Vec<usize>> = schema
        .sequences
        .iter()
        .map(|s| {
            let mut offsets = vec![0];
            for _ in 0..if s.common { requests.len() - 1 } else { batch } {
                let n = if r.below(4) == 0 { 0 } else { r.below(most + 1) };
                offsets.push(offsets[offsets.len() - 1] + n);
            }
            offsets
        })
        .collect();
    let count = |f: u32| match &schema.features[f as usize] {
        Feature { sequence: Some(s), .. } => offsets[*s as usize].last().copied().unwrap_or(0),
        Feature { common: true, .. } => requests.len() - 1,
        _ => batch,
    };
    let mut samples = Samples { batch, ..Samples::default() };
    for (f, feature) in model.schema.features.iter().enumerate() {
        if let FeatureKind::Dense { width } = feature.kind {
            samples.dense.insert(f as u32, r.numbers(count(f as u32) * width as usize));
        }
    }
    for (t, table) in model.tables.iter().enumerate() {
        for &f in &table.features {
            let n = count(f);
            // Squared: some rows are common.
            let rows = (0..n).map(|_| (r.unit() * r.unit() * ROWS as f64) as usize).collect();
            samples.rows.insert((t as u32, f), rows);
        }
    }
    let labels = model.schema.labels.iter().map(|label| batches::values(label.kind));
    samples.labels = labels.map(|values| (0..batch).map(|_| r.below(values) as f64).collect()).collect();
    samples.offsets = offsets;
    samples.requests = requests;
    samples
}

/// # Panics
///
/// Where two tensors differ by more than `bound` of the second's norm.
pub fn close(what: &str, found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    let off = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt();
    assert!(off <= bound * norm + 1e-9, "{what} is off by {off:e}, its norm is {norm:e}");
}

/// Trains a model on two devices and by the interpreter; `compile` makes what runs the generated
/// source.
///
/// # Panics
///
/// Where the two differ by more than `bound` of a tensor's norm, or two runs by a bit.
pub fn train<P: Storage>(
    name: &str,
    model: &CheckedModel,
    options: &CodegenOptions,
    (steps, bound): (u64, f64),
    compile: impl Fn(&str) -> Result<P, Failure>,
) {
    let compiled =
        din_compiler::compile(model, &CompileOptions { levels: vec![], checked: true, ..CompileOptions::default() })
            .unwrap();
    let mut r = Random::new(name.len() as u64);
    let some =
        |r: &mut Random, n: usize| -> Vec<f64> { r.numbers(n).iter().map(|v| f64::from((v * 0.3) as f32)).collect() };
    let params: Vec<Vec<f64>> = model.parameters.iter().map(|p| some(&mut r, p.width())).collect();
    let states: Vec<Vec<f64>> =
        model.states.iter().map(|s| some(&mut r, s.width()).iter().map(|v| v.abs() + 0.5).collect()).collect();
    let tables: Vec<(Vec<f64>, Vec<f64>)> = model
        .tables
        .iter()
        .map(|t| (some(&mut r, ROWS * t.width as usize), (0..ROWS).map(|_| 1.0 + r.below(50) as f64).collect()))
        .collect();
    let tensors = params.iter().zip(&model.parameters);
    let tensors = tensors.map(|(w, p)| TensorData::new(&model.updates[p.update as usize], w.clone())).collect();
    let rows = tables.iter().zip(&model.tables).map(|((w, counts), t)| {
        TableData::new(&model.updates[t.update as usize], t.width as usize, w.clone(), counts.clone())
    });
    let mut session = InterpreterSession::new(model, tensors, states.clone(), rows.collect()).unwrap();
    let mut program = compiled.program.clone();
    // The interpreter's tables have so many rows from the start.
    let size = ROWS as u64;
    for table in &mut program.tables {
        table.kind = TableKind::Fixed { size };
        for &feature in &table.features {
            program.schema.features[feature as usize].kind = FeatureKind::Fixed { size, clip: false };
        }
    }
    let made = cuda::program(&program, &compiled.kernels, options).unwrap();
    let (program, launches) = (Arc::new(program), Arc::new(made.launches));
    let place = compile(&made.source).unwrap_or_else(|e| panic!("{name}: {e}"));
    let new = |seed| {
        let mut state = DenseState::new(&program);
        state.params.iter_mut().zip(&params).for_each(|(to, from)| fill(to, from));
        state.states.iter_mut().zip(&states).for_each(|(to, from)| fill(to, from));
        let mut host = crate::tables::tables(&program, 1).unwrap();
        for (table, (weights, counts)) in host.iter_mut().zip(&tables) {
            fill(table.weights_mut(), weights);
            fill(table.frequency_mut(), counts);
        }
        Trainer::new(&program, &launches, place.driver(seed), state, host).unwrap()
    };
    let (mut trainer, mut again) = (new(1), new(77));
    for step in 0..steps {
        let samples = samples(model, &mut r, 10, 9);
        let expected = session.train(&samples).unwrap();
        let loss = trainer.train(&samples).unwrap_or_else(|e| panic!("{name}, step {step}: {e}"));
        close(&format!("{name}: loss of step {step}"), &[loss], &[expected.loss], bound);
        if step < 2 {
            assert_eq!(again.train(&samples).unwrap(), loss, "{name}: order of threads");
            trainer.download().unwrap();
            again.download().unwrap();
            assert!(again.state == trainer.state, "{name}: order of threads");
            for (a, b) in again.tables.iter().zip(&trainer.tables) {
                same(a, b, &format!("{name}: order of threads"));
            }
        }
    }
    if options.precision != Precision::F32 {
        return;
    }
    trainer.download().unwrap();
    assert_eq!(trainer.state.step, steps);
    for (k, (p, q)) in trainer.state.params.iter().zip(&session.params).enumerate() {
        let what = &model.parameters[k].name;
        if what.as_str() == UNSEEN {
            continue;
        }
        close(&format!("{name}: {what}"), p, &q.weights, bound);
        let update = &model.updates[model.parameters[k].update as usize];
        for (s, (a, b)) in trainer.state.param_slots[k].iter().zip(&q.slots).enumerate() {
            if update.slots[s].per == SlotScope::Weight {
                close(&format!("{name}: slot {s} of {what}"), a, b, bound);
            }
        }
    }
    for (k, (p, q)) in trainer.tables.iter().zip(&session.tables).enumerate() {
        let what = &model.tables[k].name;
        close(&format!("{name}: table {what}"), p.weights(), &q.weights, bound);
        close(&format!("{name}: updates of {what}"), p.updates(), &q.updates, 0.0);
        for (s, b) in q.slots.iter().enumerate() {
            close(&format!("{name}: slot {s} of {what}"), p.slot(s), b, bound);
        }
    }
    for (k, (a, b)) in trainer.state.states.iter().zip(&session.states).enumerate() {
        close(&format!("{name}: state {}", model.states[k].name), a, b, bound);
    }
    let samples = samples(model, &mut r, 23, 40);
    let (loss, logits) = trainer.infer(&samples).unwrap_or_else(|e| panic!("{name}, inference: {e}"));
    let expected = session.evaluate(&samples).unwrap();
    close(&format!("{name}: loss of inference"), &[loss], &[expected.loss], bound);
    close(&format!("{name}: logits"), &logits, &expected.predictions[0], bound);
}

fn fill(to: &mut [f32], from: &[f64]) {
    assert_eq!(to.len(), from.len());
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from as f32);
}

/// Two tables have the same bits.
pub fn same(a: &Table, b: &Table, what: &str) {
    assert!(a.weights() == b.weights() && a.updates() == b.updates(), "{what}: {}", a.name());
    (0..a.slot_count()).for_each(|k| assert!(a.slot(k) == b.slot(k), "{what}: slot {k} of {}", a.name()));
}
