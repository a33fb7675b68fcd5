//! `clip global_norm` against PyTorch in float64 (`tests/reference/clipping.py`): weights and rows
//! after five steps, by SGD and Adam, of which some are limited and some are not. By the
//! interpreter, and by the compiled program at 1 and 2 threads.

use super::fixture::Tensors;
use din_compiler::interpret::{InterpreterSession, Samples, TableData, TensorData};
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{BatchCut, DenseState, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::threads::Threads;
use din_tests::{specs, tables};
use std::ops::Range;
use std::sync::Arc;

const STEPS: usize = 5;

struct Case {
    all: Tensors,
    model: CheckedModel,
}

/// The name that the fixture has for a weight.
fn own(path: &str) -> String {
    path.replace(".linear", "")
}

impl Case {
    fn new(optimizer: &str) -> Case {
        let all = Tensors::read("clipping");
        let limit = all.get("limit")[0];
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
        Case { all, model: specs::checked("clipped.din", &text) }
    }

    fn start(&self, name: &str) -> Vec<f64> {
        self.all.get(&format!("start/{name}")).to_vec()
    }

    /// Where the samples of a step are.
    fn of_step(&self, step: usize) -> Range<usize> {
        let samples = self.all.get("label").len() / STEPS;
        step * samples..(step + 1) * samples
    }

    /// Parameters, then the table, after all steps of the interpreter.
    fn interpreted(&self) -> Vec<Vec<f64>> {
        let model = &self.model;
        let weights = model.parameters.iter();
        let weights = weights.map(|p| TensorData::new(&model.updates[p.update as usize], self.start(&own(&p.name))));
        let update = &model.updates[model.tables[0].update as usize];
        let table = TableData::new(update, 3, self.start("table"), Vec::new());
        let mut session = InterpreterSession::new(model, weights.collect(), Vec::new(), vec![table]).unwrap();
        for step in 0..STEPS {
            let range = self.of_step(step);
            let rows = |ids: &[i64]| ids[range.clone()].iter().map(|&id| id as usize).collect::<Vec<_>>();
            let features = &model.tables[0].features;
            let first = ((0, features[0]), rows(self.all.ids("first")));
            let second = ((0, features[1]), rows(self.all.ids("second")));
            let batch = Samples {
                batch: range.len(),
                rows: [first, second].into_iter().collect(),
                labels: vec![self.all.get("label")[range.clone()].to_vec()],
                ..Samples::default()
            };
            session.train(&batch).unwrap();
        }
        let weights = session.params.into_iter().map(|p| p.weights);
        weights.chain(session.tables.into_iter().map(|t| t.weights)).collect()
    }

    /// The same of the compiled program.
    fn compiled(&self, threads: usize) -> Vec<Vec<f64>> {
        let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
        let program = Arc::new(compile(&self.model, &options).unwrap().program);
        let mut engine = CpuExecutor::new(program.clone(), Threads::new(threads).unwrap(), cpu::detect()).unwrap();
        let narrow = |numbers: &[f64]| numbers.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let mut state = DenseState::new(&program);
        for (values, parameter) in state.params.iter_mut().zip(&program.parameters) {
            *values = narrow(&self.start(&own(&parameter.name)));
        }
        let mut tables = tables::tables(&program, 1).unwrap();
        tables[0].weights_mut().copy_from_slice(&narrow(&self.start("table")));
        for step in 0..STEPS {
            let range = self.of_step(step);
            let rows = |ids: &[i64]| ids[range.clone()].iter().map(|&id| id as u32).collect::<Vec<_>>();
            let labels = narrow(&self.all.get("label")[range.clone()]);
            let inputs = StepInputs {
                requests: &[],
                rows: range.len(),
                offsets: &[],
                row_numbers: &[vec![rows(self.all.ids("first")), rows(self.all.ids("second"))]],
                dense: &[Vec::new(), Vec::new()],
                present: &[vec![1.0; labels.len()]],
                labels: &[labels],
                fetched: None,
                cut: BatchCut::Whole(DEFAULT_LEAVES),
                first_row: 0,
                epoch: 1,
            };
            engine.train_step(&mut state, &mut tables, &inputs).unwrap();
        }
        let wide = |numbers: &[f32]| numbers.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        state.params.iter().map(|p| wide(p)).chain(tables.iter().map(|t| wide(t.weights()))).collect()
    }

    fn check(&self, which: &str, found: &[Vec<f64>], bound: f64) {
        let names = self.model.parameters.iter().map(|p| own(&p.name)).chain(["table".into()]);
        for (name, found) in names.zip(found) {
            let expected = self.all.get(&format!("{which}/{name}"));
            assert_eq!(found.len(), expected.len(), "{which}/{name}");
            for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                let off = (a - b).abs();
                assert!(off <= bound * b.abs().max(1.0), "{which}/{name}[{i}]: {a:e}, PyTorch has {b:e}");
            }
        }
    }
}

#[test]
fn a_limit_of_the_norm_of_all_gradients_is_that_of_pytorch() {
    for (optimizer, name) in [("sgd(lr = 0.5)", "sgd"), ("adam(lr = 0.05) with dense updates", "adam")] {
        let case = Case::new(optimizer);
        case.check(&format!("{name}/limited"), &case.interpreted(), 1e-12);
        let one = case.compiled(1);
        case.check(&format!("{name}/limited"), &one, 1e-5);
        assert_eq!(case.compiled(2), one, "{name} at 2 threads");
    }
}

/// `clip_grad_norm_` divides by the norm + 1e-6.
#[test]
fn clip_grad_norm_differs_by_its_epsilon() {
    for (optimizer, name) in [("sgd(lr = 0.5)", "sgd"), ("adam(lr = 0.05) with dense updates", "adam")] {
        let case = Case::new(optimizer);
        case.check(&format!("{name}/torch"), &case.interpreted(), 1e-5);
    }
}
