//! The interpreter against an independent PyTorch implementation in float64: 50 training steps of the base model, DIN and DIN with Dice, by
//! SGD, Adam and Eq. (9), and the evaluation after them. `tests/reference/README.md` describes the fixtures; no Python is needed here.
//!
//! Every loss, weight, optimizer slot, running statistic and logit must be within 1e-9 (of the number, and of 1 where it is smaller).

#![allow(clippy::unwrap_used)]

use din_compiler::front::{NoFiles, Options, check};
use din_compiler::interpret::{Samples, Session, TableData, TensorData};
use din_compiler::model::Model;
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The bound on differences, absolute below 1 and relative above.
const BOUND: f64 = 1e-9;
const TRAINING: usize = 200;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference")
}

/// A file of tensors, as f64 whatever their type (ids stay below 2^31).
struct Tensors(BTreeMap<String, Vec<f64>>);

impl Tensors {
    fn read(name: &str) -> Tensors {
        let bytes = std::fs::read(folder().join("fixtures").join(format!("{name}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut found = BTreeMap::new();
        for (name, view) in file.tensors() {
            use safetensors::Dtype;
            let values = match view.dtype() {
                Dtype::F64 => view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
                Dtype::I32 => {
                    view.data().chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(b.try_into().unwrap()))).collect()
                }
                // 64-bit ids: the interpreter is given rows.
                _ => continue,
            };
            found.insert(name, values);
        }
        Tensors(found)
    }

    fn get(&self, name: &str) -> &[f64] {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor `{name}` in the fixture"))
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        self.get(name).iter().map(|&v| v as i64).collect()
    }
}

/// Fixture names and names of the program, from `names.json`.
struct Names(serde_json::Value);

impl Names {
    fn read() -> Names {
        Names(serde_json::from_slice(&std::fs::read(folder().join("names.json")).unwrap()).unwrap())
    }

    /// The fixture's name for a table or feature of the program.
    fn exact(&self, kind: &str, program: &str) -> String {
        let map = self.0[kind].as_object().unwrap();
        map.iter()
            .find(|(_, v)| *v == program)
            .map(|(k, _)| k.clone())
            .unwrap_or_else(|| panic!("{kind} `{program}` is not in names.json"))
    }

    /// The fixture's name for a parameter or state of the program.
    fn tensor(&self, program: &str) -> String {
        let map = self.0["prefix"].as_object().unwrap();
        map.iter()
            .find_map(|(k, v)| program.strip_prefix(v.as_str().unwrap()).map(|rest| format!("{k}{rest}")))
            .unwrap_or_else(|| panic!("parameter `{program}` is not in names.json"))
    }
}

/// One training fixture with its model.
struct Case {
    model: Model,
    data: Tensors,
    start: Tensors,
    end: Tensors,
    names: Names,
}

impl Case {
    fn read(name: &str) -> Case {
        let path = folder().join("specs").join(format!("{name}.din"));
        let text = std::fs::read_to_string(&path).unwrap();
        let checked = check(&format!("{name}.din"), &text, &NoFiles, &Options::default());
        assert!(checked.diagnostics.is_empty(), "{name}: {:?}", checked.diagnostics);
        let network = name.split('_').next().unwrap();
        Case {
            model: checked.model.unwrap(),
            data: Tensors::read("data"),
            start: Tensors::read(&format!("start_{network}")),
            end: Tensors::read(name),
            names: Names::read(),
        }
    }

    /// Whether row 0 of the table is `unseen`, the fixture's rows following it.
    fn dynamic(fixture: &str) -> bool {
        matches!(fixture, "good" | "shop" | "cate")
    }

    fn session(&self) -> Session<'_> {
        let params = self.model.parameters.iter().map(|p| {
            let weights = self.start.get(&format!("init.param.{}", self.names.tensor(&p.name))).to_vec();
            assert_eq!(weights.len(), p.width(), "{}", p.name);
            TensorData::new(&self.model.updates[p.update as usize], weights)
        });
        let tables = self.model.tables.iter().map(|t| {
            let name = self.names.exact("table", &t.name);
            let (mut weights, mut counts) = (Vec::new(), Vec::new());
            if Self::dynamic(&name) {
                weights.extend_from_slice(self.start.get(&format!("init.unseen.{name}")));
                counts.push(0.0);
                counts.extend_from_slice(self.data.get(&format!("count.{name}")));
            }
            weights.extend_from_slice(self.start.get(&format!("init.table.{name}")));
            TableData::new(&self.model.updates[t.update as usize], t.width as usize, weights, counts)
        });
        let states = self
            .model
            .states
            .iter()
            .map(|s| self.start.get(&format!("init.state.{}", self.names.tensor(&s.name))).to_vec());
        Session::new(&self.model, params.collect(), states.collect(), tables.collect()).unwrap()
    }

    /// The samples of the given numbers as a batch.
    fn batch(&self, numbers: &[usize]) -> Samples {
        let all: Vec<usize> = self.data.integers("offsets").iter().map(|&v| v as usize).collect();
        let mut offsets = vec![0];
        let mut entries = Vec::new();
        for &s in numbers {
            entries.extend(all[s]..all[s + 1]);
            offsets.push(entries.len());
        }
        let mut rows = BTreeMap::new();
        for (t, table) in self.model.tables.iter().enumerate() {
            let first = i64::from(Self::dynamic(&self.names.exact("table", &table.name)));
            for &f in &table.features {
                let feature = &self.model.schema.features[f as usize];
                let values = self.data.integers(&self.names.exact("feature", &feature.path()));
                let at = if feature.sequence.is_some() { &entries[..] } else { numbers };
                rows.insert((t as u32, f), at.iter().map(|&i| usize::try_from(values[i] + first).unwrap()).collect());
            }
        }
        let label = self.data.get("label");
        let labels = vec![numbers.iter().map(|&s| label[s]).collect()];
        Samples { batch: numbers.len(), offsets: vec![offsets], rows, labels, ..Samples::default() }
    }

    /// The batches of the 50 steps.
    fn batches(&self) -> Vec<Samples> {
        let offsets = self.data.integers("step.offsets");
        let samples: Vec<usize> = self.data.integers("step.samples").iter().map(|&v| v as usize).collect();
        offsets.windows(2).map(|w| self.batch(&samples[w[0] as usize..w[1] as usize])).collect()
    }
}

/// Fails where a number is off by more than [`BOUND`]; returns the largest difference.
fn close(what: &str, found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let mut worst = 0.0f64;
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        let difference = (a - b).abs() / b.abs().max(1.0);
        assert!(difference <= BOUND, "{what}[{i}]: found {a:e}, PyTorch has {b:e}");
        worst = worst.max(difference);
    }
    worst
}

/// The gradient of the first step, by parameter and by table row.
fn first_gradient(name: &str) {
    let case = Case::read(name);
    let report = case.session().train(&case.batches()[0]).unwrap();
    for (p, gradient) in case.model.parameters.iter().zip(&report.param_gradients) {
        close(&p.name, gradient, case.start.get(&format!("gradient.param.{}", case.names.tensor(&p.name))));
    }
    for (t, gradients) in case.model.tables.iter().zip(&report.row_gradients) {
        let name = case.names.exact("table", &t.name);
        let expected = case.start.get(&format!("gradient.table.{name}"));
        let mut found = vec![0.0; expected.len()];
        for (&row, g) in gradients {
            let at = (row - usize::from(Case::dynamic(&name))) * t.width as usize;
            found[at..at + g.len()].copy_from_slice(g);
        }
        close(&t.name, &found, expected);
    }
}

/// 50 steps, then everything that a run leaves, then the evaluation.
fn fifty_steps(name: &str) {
    let case = Case::read(name);
    let mut session = case.session();
    let mut worst = 0.0f64;
    for (k, batch) in case.batches().iter().enumerate() {
        let loss = session.train(batch).unwrap().loss;
        worst = worst.max(close(&format!("loss of step {k}"), &[loss], &case.end.get("losses")[k..=k]));
    }
    for (p, data) in case.model.parameters.iter().zip(&session.params) {
        let name = case.names.tensor(&p.name);
        worst = worst.max(close(&p.name, &data.weights, case.end.get(&format!("final.param.{name}"))));
        for (slot, values) in case.model.updates[p.update as usize].slots.iter().zip(&data.slots) {
            let expected = case.end.get(&format!("final.slot.{}.param.{name}", slot.name));
            worst = worst.max(close(&format!("{} of {}", slot.name, p.name), values, expected));
        }
    }
    for (t, data) in case.model.tables.iter().zip(&session.tables) {
        let name = case.names.exact("table", &t.name);
        let first = if Case::dynamic(&name) { t.width as usize } else { 0 };
        worst = worst.max(close(&t.name, &data.weights[first..], case.end.get(&format!("final.table.{name}"))));
        if first > 0 {
            close("unseen", &data.weights[..first], case.start.get(&format!("init.unseen.{name}")));
        }
        for (slot, values) in case.model.updates[t.update as usize].slots.iter().zip(&data.slots) {
            let expected = case.end.get(&format!("final.slot.{}.table.{name}", slot.name));
            worst = worst.max(close(&format!("{} of {}", slot.name, t.name), &values[first..], expected));
        }
    }
    for (s, value) in case.model.states.iter().zip(&session.states) {
        worst = worst.max(close(&s.name, value, case.end.get(&format!("final.state.{}", case.names.tensor(&s.name)))));
    }
    let held: Vec<usize> = (TRAINING..case.data.get("label").len()).collect();
    let report = session.evaluate(&case.batch(&held)).unwrap();
    worst = worst.max(close("evaluated logits", &report.predictions[0], case.end.get("evaluated.logits")));
    println!("{name}: largest difference {worst:.1e}");
}

#[test]
fn first_gradients_equal_pytorch() {
    for name in ["base_sgd", "din_sgd", "dice_sgd"] {
        first_gradient(name);
    }
}

#[test]
fn base_by_sgd() {
    fifty_steps("base_sgd");
}

#[test]
fn base_by_adam() {
    fifty_steps("base_adam");
}

#[test]
fn din_by_sgd() {
    fifty_steps("din_sgd");
}

#[test]
fn din_by_adam() {
    fifty_steps("din_adam");
}

#[test]
fn dice_by_sgd() {
    fifty_steps("dice_sgd");
}

#[test]
fn dice_by_adam() {
    fifty_steps("dice_adam");
}

#[test]
fn eq_9_by_sgd() {
    fifty_steps("din_sgd_adaptive");
}

#[test]
fn eq_9_by_adam_with_dice() {
    fifty_steps("dice_adam_adaptive");
}
