//! The fixtures of `tests/reference`: tensors, names, models and batches, as its README describes
//! them.

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::interpret::Samples;
use din_compiler::model::CheckedModel;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Samples that are trained on; the rest is evaluated.
pub const TRAINING: usize = 200;

/// Networks and optimizers of the fixtures.
pub const CASES: [&str; 9] = [
    "base_sgd",
    "base_adam",
    "din_sgd",
    "din_adam",
    "dice_sgd",
    "dice_adam",
    "din_sgd_adaptive",
    "dice_adam_adaptive",
    "din_adam_dense",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference")
}

/// A file of tensors: numbers as f64, 64-bit ids as they are.
pub struct Tensors {
    numbers: BTreeMap<String, Vec<f64>>,
    ids: BTreeMap<String, Vec<i64>>,
}

impl Tensors {
    pub fn read(name: &str) -> Tensors {
        let bytes = std::fs::read(folder().join("fixtures").join(format!("{name}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut found = Tensors { numbers: BTreeMap::new(), ids: BTreeMap::new() };
        for (name, view) in file.tensors() {
            let (four, eight) = (view.data().chunks_exact(4), view.data().chunks_exact(8));
            let numbers = match view.dtype() {
                Dtype::F64 => eight.map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
                Dtype::I32 => four.map(|b| f64::from(i32::from_le_bytes(b.try_into().unwrap()))).collect(),
                _ => {
                    found.ids.insert(name, eight.map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect());
                    continue;
                }
            };
            found.numbers.insert(name, numbers);
        }
        found
    }

    pub fn get(&self, name: &str) -> &[f64] {
        self.numbers.get(name).unwrap_or_else(|| panic!("no tensor `{name}` in the fixture"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    pub fn ids(&self, name: &str) -> &[i64] {
        &self.ids[name]
    }

    pub fn integers(&self, name: &str) -> Vec<i64> {
        self.get(name).iter().map(|&v| v as i64).collect()
    }
}

/// Fixture names and names of the program, from `names.json`.
pub struct Names(serde_json::Value);

impl Names {
    pub fn read() -> Names {
        Names(serde_json::from_slice(&std::fs::read(folder().join("names.json")).unwrap()).unwrap())
    }

    /// The fixture's name for a table or feature of the program.
    pub fn exact(&self, kind: &str, program: &str) -> String {
        let map = self.0[kind].as_object().unwrap();
        map.iter()
            .find(|(_, v)| *v == program)
            .map(|(k, _)| k.clone())
            .unwrap_or_else(|| panic!("{kind} `{program}` is not in names.json"))
    }

    /// The fixture's name for a parameter or state of the program.
    pub fn tensor(&self, program: &str) -> String {
        let map = self.0["prefix"].as_object().unwrap();
        map.iter()
            .find_map(|(k, v)| program.strip_prefix(v.as_str().unwrap()).map(|rest| format!("{k}{rest}")))
            .unwrap_or_else(|| panic!("parameter `{program}` is not in names.json"))
    }
}

/// One training fixture with its model.
pub struct Case {
    pub model: CheckedModel,
    pub data: Tensors,
    pub start: Tensors,
    pub end: Tensors,
    pub names: Names,
}

/// What looks at (name, expected, found) of one tensor.
pub type Judge<'a> = &'a mut dyn FnMut(&str, &[f64], &[f64]);

impl Case {
    pub fn read(name: &str) -> Case {
        let path = folder().join("specs").join(format!("{name}.din"));
        let text = std::fs::read_to_string(&path).unwrap();
        let checked = check(&format!("{name}.din"), &text, &NoFiles, &CheckOptions::default());
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

    /// Whether row 0 of the table is the OOV row, the fixture's rows following it.
    pub fn dynamic(fixture: &str) -> bool {
        matches!(fixture, "good" | "shop" | "cate")
    }

    /// Weights of a table before training; where it is dynamic, the OOV row first.
    pub fn start_table(&self, t: usize) -> Vec<f64> {
        let name = self.names.exact("table", &self.model.tables[t].name);
        let mut weights = Vec::new();
        if Self::dynamic(&name) {
            weights.extend_from_slice(self.start.get(&format!("init.unseen.{name}")));
        }
        weights.extend_from_slice(self.start.get(&format!("init.table.{name}")));
        weights
    }

    /// Training samples that contain each row's id; empty for fixed tables, which no fixture
    /// regularizes.
    pub fn counts(&self, t: usize) -> Vec<f64> {
        let name = self.names.exact("table", &self.model.tables[t].name);
        if !Self::dynamic(&name) {
            return Vec::new();
        }
        let mut counts = vec![0.0];
        counts.extend_from_slice(self.data.get(&format!("count.{name}")));
        counts
    }

    pub fn start_param(&self, p: usize) -> Vec<f64> {
        self.start.get(&format!("init.param.{}", self.names.tensor(&self.model.parameters[p].name))).to_vec()
    }

    pub fn start_state(&self, s: usize) -> Vec<f64> {
        self.start.get(&format!("init.state.{}", self.names.tensor(&self.model.states[s].name))).to_vec()
    }

    /// The samples of the given numbers as a batch.
    pub fn batch(&self, numbers: &[usize]) -> Samples {
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

    /// Sample numbers of each of the 50 steps.
    pub fn steps(&self) -> Vec<Vec<usize>> {
        let samples: Vec<usize> = self.data.integers("step.samples").iter().map(|&v| v as usize).collect();
        let offsets = self.data.integers("step.offsets");
        offsets.windows(2).map(|w| samples[w[0] as usize..w[1] as usize].to_vec()).collect()
    }

    /// Samples that no step trained on.
    pub fn held_out(&self) -> Vec<usize> {
        (TRAINING..self.data.get("label").len()).collect()
    }

    /// Hands every part of an outcome with PyTorch's to `judge`: what it is, found, expected.
    pub fn compare(&self, found: &Outcome, judge: Judge<'_>) {
        judge("losses", &found.losses, self.end.get("losses"));
        for (k, p) in self.model.parameters.iter().enumerate() {
            let name = self.names.tensor(&p.name);
            judge(&p.name, &found.params[k], self.end.get(&format!("final.param.{name}")));
            for (slot, values) in self.model.updates[p.update as usize].slots.iter().zip(&found.param_slots[k]) {
                let expected = self.end.get(&format!("final.slot.{}.param.{name}", slot.name));
                judge(&format!("{} of {}", slot.name, p.name), values, expected);
            }
        }
        for (k, t) in self.model.tables.iter().enumerate() {
            let name = self.names.exact("table", &t.name);
            let first = if Self::dynamic(&name) { t.width as usize } else { 0 };
            judge(&t.name, &found.tables[k][first..], self.end.get(&format!("final.table.{name}")));
            if first > 0 {
                let unseen = self.start.get(&format!("init.unseen.{name}"));
                judge(&format!("OOV row of {}", t.name), &found.tables[k][..first], unseen);
            }
            for (slot, values) in self.model.updates[t.update as usize].slots.iter().zip(&found.table_slots[k]) {
                let expected = self.end.get(&format!("final.slot.{}.table.{name}", slot.name));
                judge(&format!("{} of {}", slot.name, t.name), &values[first..], expected);
            }
        }
        for (k, s) in self.model.states.iter().enumerate() {
            judge(&s.name, &found.states[k], self.end.get(&format!("final.state.{}", self.names.tensor(&s.name))));
        }
        judge("evaluated logits", &found.logits, self.end.get("evaluated.logits"));
    }
}

/// What a run of 50 steps leaves. Tables have the OOV row first where they are dynamic.
#[derive(Debug, Default)]
pub struct Outcome {
    pub losses: Vec<f64>,
    pub params: Vec<Vec<f64>>,
    pub param_slots: Vec<Vec<Vec<f64>>>,
    pub tables: Vec<Vec<f64>>,
    pub table_slots: Vec<Vec<Vec<f64>>>,
    pub states: Vec<Vec<f64>>,
    /// Of the samples that were held out, by the inference graph.
    pub logits: Vec<f64>,
}
