//! A model in training on the shim: the runtime's engine, with the host's side of the model.

use din_compiler::interpret::Samples;
use din_program::Program;
use din_program::cuda::Cuda;
use din_runtime::exec::cuda::{CudaExecutor, CudaOptions, DeviceError, Driver};
use din_runtime::exec::{BatchCut, DenseState, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use std::sync::Arc;

/// The engine, and what it was uploaded from or was last downloaded to.
#[derive(Debug)]
pub struct Trainer<D: Driver> {
    pub engine: CudaExecutor<D>,
    pub state: DenseState,
    pub tables: Vec<Table>,
}

/// A batch as the runtime reads it.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    pub rows: usize,
    pub requests: Vec<u32>,
    pub offsets: Vec<Vec<u32>>,
    pub row_numbers: Vec<Vec<Vec<u32>>>,
    pub dense: Vec<Vec<f32>>,
    pub labels: Vec<Vec<f32>>,
    pub present: Vec<Vec<f32>>,
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

/// The samples of the interpreter as the runtime reads them.
pub fn columns(program: &Program, samples: &Samples) -> Columns {
    let numbers = |t: usize, f: u32| samples.rows.get(&(t as u32, f)).map(|r| r.iter().map(|&n| n as u32).collect());
    let tables = program.tables.iter().enumerate();
    let features = 0..program.schema.features.len() as u32;
    Columns {
        rows: samples.batch,
        requests: samples.requests.iter().map(|&n| n as u32).collect(),
        offsets: samples.offsets.iter().map(|o| o.iter().map(|&n| n as u32).collect()).collect(),
        row_numbers: tables
            .map(|(t, spec)| spec.features.iter().map(|&f| numbers(t, f).unwrap_or_default()).collect())
            .collect(),
        dense: features.map(|f| samples.dense.get(&f).map_or(vec![], |d| narrow(d))).collect(),
        labels: samples.labels.iter().map(|l| narrow(l)).collect(),
        present: (0..samples.labels.len())
            .map(|k| samples.present.get(k).map_or(vec![1.0; samples.batch], |p| narrow(p)))
            .collect(),
    }
}

impl Columns {
    pub fn inputs(&self) -> StepInputs<'_> {
        StepInputs {
            rows: self.rows,
            requests: &self.requests,
            offsets: &self.offsets,
            row_numbers: &self.row_numbers,
            dense: &self.dense,
            labels: &self.labels,
            present: &self.present,
            fetched: None,
            cut: BatchCut::Whole(DEFAULT_LEAVES),
            first_row: 0,
            epoch: 1,
        }
    }
}

impl<D: Driver> Trainer<D> {
    pub fn new(
        program: &Arc<Program>,
        cuda: &Arc<Cuda>,
        driver: D,
        state: DenseState,
        tables: Vec<Table>,
    ) -> Result<Trainer<D>, DeviceError> {
        Self::with(program, cuda, driver, state, tables, CudaOptions::default())
    }

    pub fn with(
        program: &Arc<Program>,
        cuda: &Arc<Cuda>,
        driver: D,
        state: DenseState,
        tables: Vec<Table>,
        options: CudaOptions,
    ) -> Result<Trainer<D>, DeviceError> {
        let mut engine = CudaExecutor::with(program.clone(), cuda.clone(), driver, options, Threads::caller())?;
        engine.upload(&state, &tables)?;
        Ok(Trainer { engine, state, tables })
    }

    /// One step; gives the loss.
    pub fn train(&mut self, samples: &Samples) -> Result<f32, DeviceError> {
        let columns = columns(self.engine.program(), samples);
        self.engine.train_step(&mut self.tables, &columns.inputs())
    }

    /// Loss and logits of the first prediction by the inference schedule.
    pub fn infer(&mut self, samples: &Samples) -> Result<(f32, Vec<f32>), DeviceError> {
        let columns = columns(self.engine.program(), samples);
        let loss = self.engine.infer(&mut self.tables, &columns.inputs())?;
        Ok((loss.unwrap_or(f32::NAN), self.engine.predicted(0).to_vec()))
    }

    /// Brings all values back.
    pub fn download(&mut self) -> Result<(), DeviceError> {
        self.engine.download(&mut self.state, &mut self.tables)
    }
}
