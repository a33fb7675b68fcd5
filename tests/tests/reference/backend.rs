//! The compiled program in f32 on the engine, real ids through the tables' indices: every tensor
//! within 1e-4 of PyTorch's float64, normwise.

use super::fixture::{CASES, Case, Outcome};
use din_compiler::{CompileOptions, compile};
use din_program::{Isa, Program};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{BatchCut, DenseState, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use din_tests::tables::tables;
use std::sync::Arc;

const BOUND: f64 = 1e-4;

fn narrow(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&v| v as f32).collect()
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&v| f64::from(v)).collect()
}

/// A model in training.
struct Running<'c> {
    case: &'c Case,
    program: Arc<Program>,
    engine: CpuExecutor,
    state: DenseState,
    tables: Vec<Table>,
}

impl<'c> Running<'c> {
    fn new(case: &'c Case, threads: usize, isa: Isa) -> Self {
        let options = CompileOptions { levels: vec![isa], checked: true, ..CompileOptions::default() };
        let program = Arc::new(compile(&case.model, &options).unwrap().program);
        let engine = CpuExecutor::new(program.clone(), Threads::new(threads).unwrap(), isa).unwrap();
        let mut state = DenseState::new(&program);
        for (k, numbers) in state.params.iter_mut().enumerate() {
            *numbers = narrow(&case.start_param(k));
        }
        for (k, numbers) in state.states.iter_mut().enumerate() {
            *numbers = narrow(&case.start_state(k));
        }
        let mut tables = tables(&program, 1).unwrap();
        (0..).zip(&mut tables).for_each(|(k, table)| Self::fill(table, case, &program, k));
        Running { case, program, engine, state, tables }
    }

    /// Gives a table the fixture's rows; ids in their order.
    fn fill(table: &mut Table, case: &Case, program: &Program, k: usize) {
        let spec = &program.tables[k];
        if table.is_dynamic() {
            let name = case.names.exact("table", &spec.name);
            for (i, &id) in case.data.ids(&format!("ids.{name}")).iter().enumerate() {
                assert_eq!(table.insert_loaded(id as u64, true).unwrap() as usize, i + 1);
            }
            table.frequency_mut().copy_from_slice(&narrow(&case.counts(k)));
        }
        table.weights_mut().copy_from_slice(&narrow(&case.start_table(k)));
    }

    /// Runs the samples; gives the loss.
    fn run(&mut self, numbers: &[usize], training: bool) -> f32 {
        let samples = self.case.batch(numbers);
        let mut resolved = Vec::new();
        for (t, spec) in self.program.tables.iter().enumerate() {
            let mut by_feature = Vec::new();
            for &f in &spec.features {
                let ids: Vec<u64> = samples.rows[&(t as u32, f)].iter().map(|&row| self.id(t, row)).collect();
                let mut rows = Vec::new();
                if training {
                    self.tables[t].resolve_train(&ids, &mut rows).unwrap();
                } else {
                    self.tables[t].resolve_read(&ids, &mut rows).unwrap();
                }
                by_feature.push(rows);
            }
            resolved.push(by_feature);
        }
        let offsets: Vec<Vec<u32>> = samples.offsets.iter().map(|o| o.iter().map(|&v| v as u32).collect()).collect();
        let labels: Vec<Vec<f32>> = samples.labels.iter().map(|l| narrow(l)).collect();
        let dense = vec![Vec::new(); self.program.schema.features.len()];
        let present: Vec<Vec<f32>> = labels.iter().map(|l| vec![1.0; l.len()]).collect();
        let inputs = StepInputs {
            requests: &[],
            rows: samples.batch,
            offsets: &offsets,
            row_numbers: &resolved,
            dense: &dense,
            labels: &labels,
            present: &present,
            fetched: None,
            cut: BatchCut::Whole(DEFAULT_LEAVES),
            first_row: 0,
            epoch: 1,
        };
        if !training {
            return self.engine.infer(&self.state, &self.tables, &inputs).unwrap().unwrap();
        }
        self.engine.train_step(&mut self.state, &mut self.tables, &inputs).unwrap()
    }

    /// The id of a row; for the OOV row of a dynamic table one that it does not have.
    fn id(&self, t: usize, row: usize) -> u64 {
        let spec = &self.program.tables[t];
        if !self.tables[t].is_dynamic() {
            return row as u64;
        }
        let ids = self.case.data.ids(&format!("ids.{}", self.case.names.exact("table", &spec.name)));
        match row {
            0 => (1..).find(|id| !ids.contains(id)).unwrap() as u64,
            _ => ids[row - 1] as u64,
        }
    }
}

fn outcome(case: &Case, threads: usize, isa: Isa) -> Outcome {
    let mut running = Running::new(case, threads, isa);
    let losses = case.steps().iter().map(|s| f64::from(running.run(s, true))).collect();
    running.run(&case.held_out(), false);
    let slots = |t: &Table| (0..t.slot_count()).map(|k| wide(t.slot(k))).collect();
    Outcome {
        losses,
        params: running.state.params.iter().map(|p| wide(p)).collect(),
        param_slots: running.state.param_slots.iter().map(|p| p.iter().map(|s| wide(s)).collect()).collect(),
        tables: running.tables.iter().map(|t| wide(t.weights())).collect(),
        table_slots: running.tables.iter().map(slots).collect(),
        states: running.state.states.iter().map(|s| wide(s)).collect(),
        logits: wide(running.engine.predicted(0)),
    }
}

/// Fails where a tensor is off by more than [`BOUND`] of its norm; returns the largest ratio.
fn close(name: &str, case: &Case, found: &Outcome) -> f64 {
    let mut worst = 0.0f64;
    case.compare(found, &mut |what, found, expected| {
        assert_eq!(found.len(), expected.len(), "{name}: {what}");
        let norm = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
        let off = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        assert!(off <= BOUND * norm, "{name}: {what} is off by {off:e}, its norm is {norm:e}");
        worst = worst.max(off / norm.max(f64::MIN_POSITIVE));
    });
    worst
}

#[test]
fn fifty_steps() {
    let isa = cpu::detect();
    for name in CASES {
        let case = Case::read(name);
        let worst = close(name, &case, &outcome(&case, 2, isa));
        println!("{name}: largest difference {worst:.1e} of a tensor's norm");
    }
}

#[test]
fn every_level_of_this_cpu() {
    let case = Case::read("dice_adam_adaptive");
    for isa in [Isa::V2, Isa::V3, Isa::V4].into_iter().filter(|&isa| isa <= cpu::detect()) {
        close(&format!("{isa:?}"), &case, &outcome(&case, 1, isa));
    }
}
