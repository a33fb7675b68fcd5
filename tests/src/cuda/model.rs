//! A model in training on the shim: whole steps as the runtime makes them on a device, from row numbers to updated rows.

use super::rows::{FeatureRows, RowResults, TableRows, sum_rows};
use super::schedule::{Given, Running, launch, ready, run};
use super::{Device, Failure};
use din_compiler::codegen::CodegenError;
use din_compiler::codegen::cuda::{Options, program};
use din_compiler::interpret::Samples;
use din_compiler::plan::Kernels;
use din_program::cuda::{Cuda, Word};
use din_program::schedule::{BATCH, Place, Root, Source};
use din_program::{Program, SlotScope, Update};

/// Weights and what the optimizer keeps beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    pub weights: Vec<f32>,
    pub slots: Vec<Vec<f32>>,
    /// By row: see `Place::RowCount` and `Place::Touches`.
    pub counts: Vec<f32>,
    pub touches: Vec<f32>,
}

/// A program with all that training changes.
#[derive(Debug)]
pub struct Trainer {
    pub program: Program,
    pub source: String,
    pub cuda: Cuda,
    pub params: Vec<Held>,
    pub states: Vec<Vec<f32>>,
    pub tables: Vec<Held>,
    pub steps: u64,
}

/// The schedules of [`program`] before its updates.
const TRAIN: usize = 0;
const INFER: usize = 1;
const UPDATES: usize = 2;

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

fn slots(update: &Update, weights: usize, rows: usize) -> Vec<Vec<f32>> {
    let length = |per| match per {
        SlotScope::Weight => weights,
        SlotScope::Row => rows,
        SlotScope::Tensor => 1,
    };
    update.slots.iter().map(|s| vec![s.init; length(s.per)]).collect()
}

impl Trainer {
    /// Before the first step: parameters, states, and by table weights and counts.
    pub fn new(
        program_: Program,
        kernels: &Kernels,
        options: &Options,
        params: &[Vec<f64>],
        states: &[Vec<f64>],
        tables: &[(Vec<f64>, Vec<f64>)],
    ) -> Result<Trainer, CodegenError> {
        let made = program(&program_, kernels, options)?;
        let params = params.iter().zip(&program_.parameters).map(|(w, p)| {
            let slots = slots(&program_.updates[p.update as usize], w.len(), w.len());
            Held { weights: narrow(w), slots, ..Held::default() }
        });
        let tables = tables.iter().zip(&program_.tables).map(|((w, counts), t)| {
            let slots = slots(&program_.updates[t.update as usize], w.len(), counts.len());
            Held { weights: narrow(w), slots, counts: narrow(counts), touches: vec![0.0; counts.len()] }
        });
        Ok(Trainer {
            params: params.collect(),
            states: states.iter().map(|s| narrow(s)).collect(),
            tables: tables.collect(),
            steps: 0,
            source: made.source,
            cuda: made.launches,
            program: program_,
        })
    }

    /// One step; gives the loss.
    pub fn train(&mut self, device: &Device, samples: &Samples, seed: u64) -> Result<f32, Failure> {
        let running = self.forward(device, samples, TRAIN, seed)?;
        let schedule = self.program.train.clone();
        let loss = self.loss(device, &running, TRAIN)?;
        let mut states = Vec::new();
        for root in &schedule.roots {
            if let Root::State { state, buffer } = root {
                states.push((*state as usize, running.result(device, &schedule, *buffer, 1)?.to_vec()));
            }
        }
        self.update_tables(device, samples, &running, seed)?;
        self.update_params(device, &running, seed)?;
        for (k, values) in states {
            self.states[k] = values;
        }
        self.steps += 1;
        Ok(loss)
    }

    /// Loss and logits of the first prediction by the inference schedule.
    pub fn infer(&mut self, device: &Device, samples: &Samples, seed: u64) -> Result<(f32, Vec<f32>), Failure> {
        let running = self.forward(device, samples, INFER, seed)?;
        let schedule = &self.program.infer;
        let logits = schedule.roots.iter().find_map(|r| match r {
            Root::Prediction { index: 0, buffer } => Some(running.result(device, schedule, *buffer, samples.batch)),
            _ => None,
        });
        let logits = logits.unwrap_or(Ok(&[]))?.to_vec();
        Ok((self.loss(device, &running, INFER)?, logits))
    }

    fn loss(&self, device: &Device, running: &Running, which: usize) -> Result<f32, Failure> {
        let schedule = if which == TRAIN { &self.program.train } else { &self.program.infer };
        let found = schedule.roots.iter().find_map(|r| if let Root::Loss(b) = r { Some(*b) } else { None });
        found.map_or(Ok(f32::NAN), |b| Ok(running.result(device, schedule, b, 1)?[0]))
    }

    fn forward(&mut self, device: &Device, samples: &Samples, which: usize, seed: u64) -> Result<Running, Failure> {
        device.reset();
        for (k, p) in self.params.iter_mut().enumerate() {
            device.buffer(&format!("param {k}"), &mut p.weights, true);
        }
        for (k, s) in self.states.iter_mut().enumerate() {
            device.buffer(&format!("state {k}"), s, true);
        }
        for (k, t) in self.tables.iter_mut().enumerate() {
            device.buffer(&format!("table {k}"), &mut t.weights, true);
        }
        let known = |mut values: Vec<f32>| {
            device.buffer("column", &mut values, true);
            values
        };
        let labels: Vec<Vec<f32>> = samples.labels.iter().map(|l| known(narrow(l))).collect();
        let present: Vec<Vec<f32>> = (0..labels.len())
            .map(|k| known(samples.present.get(k).map_or(vec![1.0; samples.batch], |p| narrow(p))))
            .collect();
        let dense: Vec<(u32, Vec<f32>)> = samples.dense.iter().map(|(f, d)| (*f, known(narrow(d)))).collect();
        let rows = row_numbers(device, samples);
        let place = |place: Place| match place {
            Place::Param(k) => self.params[k as usize].weights.as_ptr().cast_mut(),
            Place::State(k) => self.states[k as usize].as_ptr().cast_mut(),
            Place::Dense(f) => {
                dense.iter().find(|(g, _)| *g == f).map_or(std::ptr::null_mut(), |d| d.1.as_ptr().cast_mut())
            }
            Place::Label(k) => labels[k as usize].as_ptr().cast_mut(),
            Place::Present(k) => present[k as usize].as_ptr().cast_mut(),
            _ => std::ptr::null_mut(),
        };
        let source = |source: Source| match source {
            Source::Rows { table, feature } => {
                rows.iter().find(|r| (r.0, r.1) == (table, feature)).map_or(std::ptr::null(), |r| r.2.as_ptr())
            }
            Source::Table(t) => self.tables[t as usize].weights.as_ptr().cast(),
            _ => std::ptr::null(),
        };
        let offsets = offsets(samples);
        let given =
            Given { samples: samples.batch, offsets: &offsets, step: self.steps + 1, place: &place, source: &source };
        let schedule = if which == TRAIN { &self.program.train } else { &self.program.infer };
        run(device, &self.cuda, &self.cuda.schedules[which], schedule, &given, seed)
    }

    fn update_tables(&mut self, device: &Device, samples: &Samples, train: &Running, seed: u64) -> Result<(), Failure> {
        let rows = row_numbers(device, samples);
        for t in 0..self.tables.len() {
            let spec = self.program.tables[t].clone();
            let of_table: Vec<&(u32, u32, Vec<u32>)> =
                spec.features.iter().filter_map(|f| rows.iter().find(|r| r.0 as usize == t && r.1 == *f)).collect();
            let total: usize = of_table.iter().map(|r| r.2.len()).sum();
            if total == 0 && !spec.every_row {
                continue;
            }
            let held = &mut self.tables[t];
            let table_rows = held.touches.len();
            let most = if spec.every_row { table_rows } else { total };
            for values in held.slots.iter_mut().chain([&mut held.counts, &mut held.touches]) {
                device.buffer("optimizer state", values, true);
            }
            let mut gradient = vec![f32::NAN; most * spec.width as usize];
            let mut touched = vec![f32::NAN; most];
            let mut index = vec![u32::MAX; most];
            let place = |place: Place| match place {
                Place::Weight => held.weights.as_ptr().cast_mut(),
                Place::Gradient => gradient.as_ptr().cast_mut(),
                Place::Touched => touched.as_ptr().cast_mut(),
                Place::UpdateSlot(k) => held.slots[k as usize].as_ptr().cast_mut(),
                Place::RowCount => held.counts.as_ptr().cast_mut(),
                Place::Touches => held.touches.as_ptr().cast_mut(),
                _ => std::ptr::null_mut(),
            };
            let source = |source: Source| match source {
                Source::RowIndex => index.as_ptr(),
                _ => std::ptr::null(),
            };
            let given = Given { samples: most, offsets: &[], step: self.steps + 1, place: &place, source: &source };
            let update = spec.update as usize;
            let launches = &self.cuda.schedules[UPDATES + update];
            let schedule = &self.program.updates[update].schedule;
            let mut running = ready(device, &self.cuda, launches, schedule, &given);
            let of_features: Vec<FeatureRows<'_>> = of_table
                .iter()
                .map(|(_, feature, rows)| {
                    let found = self.program.train.roots.iter().find_map(|r| match r {
                        Root::RowGradient { table, feature: f, view } if *table as usize == t && f == feature => {
                            Some(*view)
                        }
                        _ => None,
                    });
                    let (gradient, stride) = found.map_or((std::ptr::null(), 0), |view| {
                        let base = train.address(&self.program.train, view.buffer).wrapping_add(view.column as usize);
                        (base.cast_const(), self.program.train.buffers[view.buffer.index()].width)
                    });
                    FeatureRows { rows, gradient, stride }
                })
                .collect();
            let table = TableRows {
                width: spec.width,
                rows: table_rows as u32,
                every: spec.every_row,
                touches: held.touches.as_ptr().cast_mut(),
            };
            let elements = launches.words.iter().position(|w| *w == Word::Elements(BATCH)).unwrap_or(0);
            let mut results = RowResults {
                index: &mut index,
                gradient: &mut gradient,
                touched: &mut touched,
                words: &mut running.words,
                elements,
            };
            sum_rows(device, &self.cuda, &table, &of_features, &mut results, seed)?;
            launch(device, &self.cuda, launches, std::slice::from_mut(&mut running), seed)?;
        }
        Ok(())
    }

    /// All parameters of an update in one launch, side by side.
    fn update_params(&mut self, device: &Device, train: &Running, seed: u64) -> Result<(), Failure> {
        for held in &mut self.params {
            for values in &mut held.slots {
                device.buffer("optimizer state", values, true);
            }
        }
        for (number, update) in self.program.updates.iter().enumerate().filter(|(_, u)| !u.rows) {
            let launches = &self.cuda.schedules[UPDATES + number];
            let mut instances = Vec::new();
            for (k, parameter) in self.program.parameters.iter().enumerate() {
                let gradient = self.program.train.roots.iter().find_map(|r| match r {
                    Root::ParamGradient { param, buffer } if *param as usize == k => Some(*buffer),
                    _ => None,
                });
                let Some(gradient) = gradient.filter(|_| parameter.update as usize == number) else { continue };
                let held = &self.params[k];
                let gradient = train.address(&self.program.train, gradient);
                let place = |place: Place| match place {
                    Place::Weight => held.weights.as_ptr().cast_mut(),
                    Place::Gradient => gradient,
                    Place::UpdateSlot(k) => held.slots[k as usize].as_ptr().cast_mut(),
                    _ => std::ptr::null_mut(),
                };
                let given = Given {
                    samples: held.weights.len(),
                    offsets: &[],
                    step: self.steps + 1,
                    place: &place,
                    source: &|_| std::ptr::null(),
                };
                instances.push(ready(device, &self.cuda, launches, &update.schedule, &given));
            }
            if !instances.is_empty() {
                launch(device, &self.cuda, launches, &mut instances, seed)?;
            }
        }
        Ok(())
    }
}

/// Table, feature and row numbers, known to the device.
fn row_numbers(device: &Device, samples: &Samples) -> Vec<(u32, u32, Vec<u32>)> {
    let numbers = samples.rows.iter().map(|(&(table, feature), rows)| {
        let mut rows: Vec<u32> = rows.iter().map(|&r| r as u32).collect();
        device.buffer("row numbers", &mut rows, true);
        (table, feature, rows)
    });
    numbers.collect()
}

fn offsets(samples: &Samples) -> Vec<Vec<u32>> {
    samples.offsets.iter().map(|o| o.iter().map(|&n| n as u32).collect()).collect()
}
