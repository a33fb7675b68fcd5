//! The models of `models/` that PyTorch trains too, in float64 (`tests/reference/zoo`): the log
//! that both read, the weights that both start from, and Din's side of the training.
#![allow(clippy::unwrap_used)]

use crate::specs::{Beside, root, shown};
use din_compiler::front::{CheckOptions, check};
use din_compiler::graph::Op;
use din_compiler::interpret::{InterpreterSession, Samples, TableData, TensorData};
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_program::schema::TableSpec;
use din_program::{Isa, Program};
use din_runtime::batch::Batch;
use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::leaves::{LeafRange, RequestCut};
use din_runtime::session::{ModelState, Session};
use din_runtime::synth::{self, SynthOptions};
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Paths below `models/`, without the extension.
pub const MODELS: &[&str] = &[
    "din",
    "interaction/afm",
    "interaction/autoint",
    "interaction/dcn",
    "interaction/dcnv2",
    "interaction/dcnv2_mixture",
    "interaction/deep_crossing",
    "interaction/deepfm",
    "interaction/ffm",
    "interaction/fibinet",
    "interaction/finalmlp",
    "interaction/fm",
    "interaction/fwfm",
    "interaction/lr",
    "interaction/lsplm",
    "interaction/masknet",
    "interaction/nfm",
    "interaction/pnn",
    "interaction/wide_deep",
    "interaction/xdeepfm",
    "multitask/esmm",
    "multitask/mmoe",
    "multitask/pepnet",
    "multitask/ple",
    "multitask/shared_bottom",
    "multitask/uncertainty",
    "retrieval/dssm",
    "retrieval/two_tower",
    "retrieval/two_tower_in_batch",
    "sequence/bst",
    "sequence/can",
    "sequence/deepintent",
    "sequence/dien",
    "sequence/dsin",
    "sequence/eta",
    "sequence/hstu",
    "sequence/sasrec",
    "sequence/sdim",
    "sequence/sim_hard",
    "sequence/sim_soft",
    "sequence/transact",
    "sequence/twin",
    "sequence/youtube_ranking",
];

/// Steps that are compared; the log has so many batches.
pub const STEPS: usize = 50;
/// Samples of a batch, whatever the model's `train` says: both sides read the log in its order.
pub const BATCH: usize = 64;
/// Seed of the initial weights.
pub const SEED: u64 = 1;

/// Makes the log in a folder: `din synth --rows 4000 --seed 7 --users 100 --goods 300 --categories
/// 20`. Gives the file of the rows to train on.
///
/// # Panics
///
/// Where the folder cannot be written.
pub fn make_log(folder: &Path) -> PathBuf {
    let rows = (STEPS * BATCH * 10 / 8) as u64;
    let options =
        SynthOptions { seed: 7, rows, users: Some(100), goods: 300, categories: 20, interests: None, force: true };
    synth::generate(folder, &options, &mut |_| {}).unwrap();
    folder.join("train.parquet")
}

/// A model of the folder.
///
/// # Panics
///
/// Where it is wrong.
pub fn model(name: &str) -> CheckedModel {
    checked(name, |text| text)
}

/// A model without dropout, whose random numbers PyTorch does not have: every rate of 0.1 is 0.
///
/// # Panics
///
/// Where the model is wrong, or has dropout at another rate.
pub fn without_dropout(name: &str) -> CheckedModel {
    without_dropout_and(name, |text| text)
}

/// A model without dropout, whose optimizer also moves the rows of tables that no id of the batch
/// reads: `with dense updates`.
///
/// # Panics
///
/// Where the model is wrong, has dropout at another rate, or sets its optimizer otherwise than by
/// one line `optimizer adam(lr = …)`.
pub fn with_dense_updates(name: &str) -> CheckedModel {
    without_dropout_and(name, |text| {
        let optimizer = text.lines().find(|line| line.trim_start().starts_with("optimizer adam(lr = "));
        let optimizer = optimizer.unwrap_or_else(|| panic!("{name} has no line `optimizer adam(lr = …)`"));
        assert!(optimizer.ends_with(')'), "{name}: `{optimizer}` has settings besides the learning rate");
        text.replace(optimizer, &format!("{optimizer} with dense updates"))
    })
}

fn without_dropout_and(name: &str, change: impl Fn(String) -> String) -> CheckedModel {
    let off = |text: String| text.replace("dropout_rate = 0.1)", "dropout_rate = 0)").replace(", 0.1)", ", 0)");
    let model = checked(name, |text| change(off(text)));
    let graph = &model.train;
    assert!(!graph.ids().any(|id| matches!(graph.node(id).op, Op::DropoutMask { .. })), "{name} has dropout");
    model
}

fn checked(name: &str, change: impl Fn(String) -> String) -> CheckedModel {
    let path = root().join("models").join(name).with_extension("din");
    let text = change(std::fs::read_to_string(&path).unwrap());
    let imports = Beside(path.parent().unwrap().to_path_buf());
    let checked = check(&shown(&path), &text, &imports, &CheckOptions::default());
    checked.model.unwrap_or_else(|| panic!("{name}: {:?}", checked.diagnostics))
}

/// A model, compiled, and the batches that it is trained on.
#[derive(Debug)]
pub struct Zoo {
    pub model: CheckedModel,
    pub program: Arc<Program>,
    pub batches: Vec<Batch>,
    threads: Arc<Threads>,
}

/// Numbers by the names of weights and tables; of a growing table, rows in order of their ids.
pub type Named = BTreeMap<String, Vec<f64>>;

/// What training gave.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Mean loss of each batch, before its update.
    pub losses: Vec<f64>,
    /// Gradients of the first step, with what the regularizer adds; of a row that the first batch
    /// does not contain, 0.
    pub gradients: Named,
}

impl Zoo {
    /// # Panics
    ///
    /// Where the model does not compile or does not read the log.
    pub fn new(name: &str, log: &Path, threads: usize, levels: &[Isa]) -> Zoo {
        let zoo = Zoo::of(without_dropout(name), log, BATCH, Threads::new(threads).unwrap(), levels);
        assert_eq!((zoo.batches.len(), zoo.batches[STEPS - 1].rows), (STEPS, BATCH));
        zoo
    }

    /// A model that was checked, and the log in batches of so many samples.
    ///
    /// # Panics
    ///
    /// Where the model does not compile or does not read the log.
    pub fn of(model: CheckedModel, log: &Path, batch: usize, threads: Arc<Threads>, levels: &[Isa]) -> Zoo {
        let options = CompileOptions { levels: levels.to_vec(), ..CompileOptions::default() };
        let program = Arc::new(compile(&model, &options).unwrap().program);
        let dataset = Dataset::open(&[log], &program.schema, ReadMode::Train).unwrap();
        let mut stream = dataset.stream(StreamOptions::new(batch, Order::File)).unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = stream.next().unwrap() {
            batches.push(batch);
        }
        Zoo { model, program, batches, threads }
    }

    /// The model before training, with a row for each id of the log.
    ///
    /// # Panics
    ///
    /// Where an id is not one of a fixed table.
    pub fn start(&self) -> ModelState {
        let mut state = ModelState::new(self.program.clone(), &self.threads, SEED).unwrap();
        let mut rows = state.row_numbers();
        for batch in &self.batches {
            state.resolve_train(&self.threads, batch, &mut rows).unwrap();
        }
        state
    }

    /// Trains the model on every batch, at a level that it was compiled for.
    ///
    /// # Panics
    ///
    /// Where a step fails.
    pub fn train(&self, isa: Isa) -> Trained {
        let executor = CpuExecutor::new(self.program.clone(), self.threads.clone(), isa).unwrap();
        let start = self.start();
        let mut session = Session::with_model(Box::new(executor), self.threads.clone(), self.start());
        let mut counters = session.frequency_counters();
        for batch in &self.batches {
            session.count(&mut counters, batch).unwrap();
        }
        session.finish_counting(counters).unwrap();
        let mut losses = vec![f64::from(session.train(&self.batches[0]).unwrap())];
        let gradients = self.first_gradients(&start, session.model().unwrap());
        losses.extend(self.batches[1..].iter().map(|batch| f64::from(session.train(batch).unwrap())));
        Trained { losses, gradients }
    }

    /// The losses of as many of the same steps by the interpreter, in f64.
    ///
    /// # Panics
    ///
    /// Where a step fails.
    pub fn interpret(&self, steps: usize) -> Vec<f64> {
        let mut start = self.start();
        let mut counters = start.frequency_counters();
        for batch in &self.batches {
            start.count(&mut counters, batch).unwrap();
        }
        start.finish_counting(counters);
        let model = &self.model;
        let params = model.parameters.iter().zip(&start.dense.params);
        let params = params.map(|(p, values)| TensorData::new(&model.updates[p.update as usize], wide(values)));
        let tables = model.tables.iter().zip(&start.tables).map(|(spec, table)| {
            let (weights, counts) = (wide(table.weights()), wide(table.frequency()));
            TableData::new(&model.updates[spec.update as usize], table.width(), weights, counts)
        });
        let states = start.dense.states.iter().map(|values| wide(values)).collect();
        let (params, tables) = (params.collect(), tables.collect());
        let mut session = InterpreterSession::new(model, params, states, tables).unwrap();
        let mut rows = start.row_numbers();
        let samples = self.batches[..steps].iter().map(|batch| {
            start.resolve_train(&self.threads, batch, &mut rows).unwrap();
            session.train(&samples(model, batch, &rows)).unwrap().loss
        });
        samples.collect()
    }

    /// The gradients of the first step, from what the optimizer has made of them.
    fn first_gradients(&self, before: &ModelState, after: &ModelState) -> Named {
        let mut found = Named::new();
        for (p, parameter) in self.program.parameters.iter().enumerate() {
            let names = self.slot_names(parameter.update);
            let gradients =
                gradients(&names, &after.dense.param_slots[p], &before.dense.params[p], &after.dense.params[p]);
            found.insert(format!("param.{}", parameter.name), gradients);
        }
        for ((spec, before), after) in self.program.tables.iter().zip(&before.tables).zip(&after.tables) {
            let names = self.slot_names(spec.update);
            let slots: Vec<Vec<f32>> = (0..after.slot_count()).map(|k| in_order(after, after.slot(k))).collect();
            let (before, after) = (in_order(before, before.weights()), in_order(after, after.weights()));
            found.insert(format!("table.{}", spec.name), gradients(&names, &slots, &before, &after));
        }
        found
    }

    fn slot_names(&self, update: u32) -> Vec<&str> {
        self.program.slots(update).iter().map(|slot| slot.name.as_str()).collect()
    }
}

/// A batch as the interpreter reads it; row numbers are by table and by its features.
fn samples(model: &CheckedModel, batch: &Batch, rows: &[Vec<Vec<u32>>]) -> Samples {
    let of_table = |(t, table): (usize, &TableSpec)| {
        let numbers = rows[t].iter().map(|numbers| numbers.iter().map(|&row| row as usize).collect());
        table.features.iter().map(move |&f| (t as u32, f)).zip(numbers).collect::<Vec<_>>()
    };
    let requests = model.schema.in_batch.as_ref().map(|requests| {
        let mut cut = RequestCut::default();
        cut.set(&LeafRange::whole(batch.rows, 1), requests.size);
        cut.requests.iter().map(|&sample| sample as usize).collect()
    });
    Samples {
        batch: batch.rows,
        requests: requests.unwrap_or_default(),
        offsets: batch.offsets.iter().map(|o| o.iter().map(|&n| n as usize).collect()).collect(),
        rows: model.tables.iter().enumerate().flat_map(of_table).collect(),
        dense: (0..).zip(&batch.dense).filter(|(_, numbers)| !numbers.is_empty()).map(|(f, x)| (f, wide(x))).collect(),
        labels: batch.labels.iter().map(|values| wide(values)).collect(),
        present: batch.present.iter().map(|values| wide(values)).collect(),
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// The gradients of the first step, by the optimizer's states of these names, which were 0 before,
/// and the weights before and after it.
fn gradients(names: &[&str], slots: &[Vec<f32>], before: &[f32], after: &[f32]) -> Vec<f64> {
    let first = slots[0].iter().map(|&x| f64::from(x));
    match names {
        // Adam: m = (1 - beta1) * gradient.
        ["m", "v"] => first.map(|m| m / (1.0 - 0.9)).collect(),
        // FTRL: z = gradient - sigma * weight, and the weights are 0 before the first step.
        ["z", "n"] => first.collect(),
        // AdaGrad: s = gradient^2, and the weight moves against the gradient.
        ["s"] => {
            let moved = before.iter().zip(after).map(|(&before, &after)| f64::from(before) - f64::from(after));
            first.zip(moved).map(|(s, moved)| s.sqrt().copysign(moved)).collect()
        }
        _ => panic!("{names:?} are states of an optimizer whose gradients are not known here"),
    }
}

/// The numbers of rows, as wide as the table's: of a growing table without the OOV row, in order of
/// ids.
pub fn in_order(table: &Table, numbers: &[f32]) -> Vec<f32> {
    if !table.is_dynamic() {
        return numbers.to_vec();
    }
    let row = |number: u32| &numbers[number as usize * table.width()..][..table.width()];
    table.in_key_order().into_iter().flat_map(|(_, number, _)| row(number)).copied().collect()
}
