//! Training on several ranks, each with a device of its own: ranks are threads of this process, and
//! each runs the generated source on a shim. Their results are those of one device and of one CPU
//! within rounding, all ranks agree to the bit, and the same number of ranks has the same bits
//! again.

use crate::models::small;
use din_compiler::codegen::cuda;
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::cuda::Cuda;
use din_runtime::batch::Batch;
use din_runtime::comm::{Communicator, LocalCommunicator, in_process};
use din_runtime::cpu;
use din_runtime::exec::Executor;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::cuda::{CudaExecutor, CudaOptions};
use din_runtime::table::Placement;
use din_runtime::threads::Threads;
use din_tests::batches::batch;
use din_tests::cuda::{Device, Shim, close};
use din_tests::random_graph::Random;
use din_tests::rank_training::{TrainedRank, train_rank};
use din_tests::specs;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Dice in the activation unit and the tower; a table with the adaptive regularizer and lazy Adam,
/// one with dense Adam, and one that grows while an optimizer sums over its rows.
const MIXED: &str = "edition 2026\nuse std.activation.dice\nuse std.attention.interest\nuse std.layer.{linear, mlp}\n\
    use std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.adam\nuse std.pooling.{max_pool, mean_pool}\n\
    use std.regularizer.adaptive\n\
    optimizer trust(lr) per tensor {\n    state norm = 0\n\
    norm = 0.9 * norm + sqrt(sum(grad * grad)) + mean(weight * weight)\n\
    weight = weight - lr * grad / (norm + 0.1)\n}\n\
    model mixed {\nfeatures one { e: category from one_e  c: category(9) from one_c  n: number from one_n }\n\
    sequence many { e: category from many_e  d: category from many_d }\nlabel y: binary\n\
    embedding table [5] for one.e, many.e { regularize adaptive(0.01) }\n\
    embedding fixed [3] for one.c { optimizer adam(lr = 0.01) with dense updates }\n\
    embedding trusted [4] for many.d { optimizer trust(lr = 0.1) }\n\
    let q = table(one.e)\nlet k = table(many.e)\n\
    let a = interest(k, q, hidden = [4, 3], activation = dice)\n\
    let hidden = mlp(concat(a, q, fixed(one.c), mean_pool(trusted(many.d)), max_pool(k), one.n), [6], dice)\n\
    predict y ~ bernoulli(logit = linear(hidden, 1))\n\
    train { loss cross_entropy(y)  optimizer adam(lr = 0.01)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

const LEAVES: u32 = 16;

struct Case {
    program: Arc<Program>,
    launches: Arc<Cuda>,
    /// By rank; the shim of a compiled source is one thread's.
    devices: Vec<Device>,
    batches: Vec<Batch>,
}

impl Case {
    fn new(model: &CheckedModel, sizes: &[usize], most_ranks: usize) -> Case {
        let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
        let compiled = compile(model, &options).unwrap();
        let made = cuda::program(&compiled.program, &compiled.kernels, &small()).unwrap();
        let first = Device::compile(&made.source, 1).unwrap();
        let mut devices: Vec<Device> = (1..most_ranks).map(|_| first.copy().unwrap()).collect();
        devices.push(first);
        let mut random = Random::new(5);
        let batches = sizes.iter().map(|&rows| batch(&compiled.program.schema, rows, &mut random)).collect();
        Case { program: Arc::new(compiled.program), launches: Arc::new(made.launches), devices, batches }
    }

    /// Trains on one CPU.
    fn on_cpu(&self) -> TrainedRank {
        let threads = Threads::new(2).unwrap();
        let executor = CpuExecutor::new(self.program.clone(), threads.clone(), cpu::detect()).unwrap();
        let placements = vec![Placement::Sharded; self.program.tables.len()];
        let ranks: Arc<dyn Communicator> = Arc::new(LocalCommunicator);
        train_rank(Box::new(executor), threads, &self.batches, LEAVES, &ranks, placements)
    }

    /// Trains on so many devices; `seed` is of the order of a device's threads.
    fn on_devices(&'static self, ranks: usize, placements: &[Placement], seed: u64) -> Vec<TrainedRank> {
        let options = CudaOptions { isa: Some(cpu::detect()), ..CudaOptions::default() };
        self.on_devices_with(ranks, placements, seed, options)
    }

    fn on_devices_with(
        &'static self,
        ranks: usize,
        placements: &[Placement],
        seed: u64,
        options: CudaOptions,
    ) -> Vec<TrainedRank> {
        let comms =
            if ranks == 1 { vec![Arc::new(LocalCommunicator) as Arc<dyn Communicator>] } else { in_process(ranks) };
        std::thread::scope(|scope| {
            let run = |comm: Arc<dyn Communicator>| {
                scope.spawn(move || {
                    let threads = Threads::new(1).unwrap();
                    let shim = Shim::new(&self.devices[comm.rank()], seed + comm.rank() as u64);
                    let (program, launches) = (self.program.clone(), self.launches.clone());
                    let executor = CudaExecutor::with(program, launches, shim, options, threads.clone()).unwrap();
                    let executor: Box<dyn Executor> = Box::new(executor);
                    train_rank(executor, threads, &self.batches, LEAVES, &comm, placements.to_vec())
                })
            };
            let handles: Vec<_> = comms.into_iter().map(run).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect()
        })
    }
}

/// What the ranks have together: dense values are the same on all, and so are the rows of a table
/// that each has.
fn together(name: &str, all: Vec<TrainedRank>, placements: &[Placement]) -> TrainedRank {
    let mut all = all.into_iter();
    let mut first = all.next().unwrap();
    for (rank, other) in (1..).zip(all) {
        assert_eq!(other.losses, first.losses, "{name}: losses of rank {rank}");
        assert!(other.dense == first.dense, "{name}: dense values of rank {rank}");
        assert_eq!(other.per_tensor, first.per_tensor, "{name}: per tensor, rank {rank}");
        for ((rows, others), placement) in first.tables.iter_mut().zip(other.tables).zip(placements) {
            for (id, row) in others {
                let shared = *placement == Placement::Replicated || id == u64::MAX;
                match rows.insert(id, row.clone()) {
                    Some(there) => assert!(shared && there == row, "{name}: row {id} on rank {rank}"),
                    None => assert!(!shared, "{name}: row {id} on rank {rank} alone"),
                }
            }
        }
    }
    first
}

fn floats(bits: &[u32]) -> Vec<f32> {
    bits.iter().map(|&bits| f32::from_bits(bits)).collect()
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

fn compare(name: &str, program: &Program, found: &TrainedRank, expected: &TrainedRank, bound: f64) {
    let near = |what: String, found: &[f32], expected: &[f32]| {
        close(&format!("{name}: {what}"), found, &doubles(expected), bound);
    };
    for (step, (found, expected)) in found.losses.iter().zip(&expected.losses).enumerate() {
        near(format!("loss of step {step}"), &floats(&[*found]), &floats(&[*expected]));
    }
    assert_eq!(found.dense.step, expected.dense.step, "{name}");
    for (k, parameter) in program.parameters.iter().enumerate() {
        near(format!("parameter {}", parameter.name), &found.dense.params[k], &expected.dense.params[k]);
    }
    for (k, state) in program.states.iter().enumerate() {
        near(format!("state {}", state.name), &found.dense.states[k], &expected.dense.states[k]);
    }
    near("per tensor".into(), &floats(&found.per_tensor), &floats(&expected.per_tensor));
    let ids = |rows: &BTreeMap<u64, Vec<u32>>| rows.keys().copied().collect::<Vec<_>>();
    for ((spec, found), expected) in program.tables.iter().zip(&found.tables).zip(&expected.tables) {
        assert_eq!(ids(found), ids(expected), "{name}: ids of {}", spec.name);
        let all = |rows: &BTreeMap<u64, Vec<u32>>| rows.values().flat_map(|row| floats(row)).collect::<Vec<_>>();
        near(format!("table {}", spec.name), &all(found), &all(expected));
        // Frequencies and updates are counted.
        let width = spec.width as usize;
        for (id, row) in found {
            assert_eq!(row[width..width + 2], expected[id][width..width + 2], "{name}: {} of {}", id, spec.name);
        }
    }
}

/// Four leaves, so that each of three ranks has some; fewer leaves than ranks; fewer samples.
const SIZES: [usize; 4] = [257, 130, 3, 1];

/// `bound`: how far one device is from the CPU, of a tensor's norm. The distance of several devices
/// from one is less than a thousandth.
fn check(name: &str, model: &CheckedModel, counts: &[usize], bound: f64) {
    let most = counts.iter().copied().max().unwrap();
    let case: &'static Case = Box::leak(Box::new(Case::new(model, &SIZES, most)));
    let tables = case.program.tables.len();
    let expected = case.on_cpu();
    let sharded = vec![Placement::Sharded; tables];
    let alone = together(name, case.on_devices(1, &sharded, 1), &sharded);
    compare(&format!("{name} on one device"), &case.program, &alone, &expected, bound);
    for &ranks in counts {
        // In turn, so that a model of several tables has both; and the other way about.
        for first in [0, 1] {
            let both = [Placement::Sharded, Placement::Replicated];
            let placements: Vec<Placement> = (0..tables).map(|table| both[(first + table) % 2]).collect();
            let name = format!("{name} on {ranks} ranks, {placements:?}");
            let found = together(&name, case.on_devices(ranks, &placements, 1), &placements);
            compare(&name, &case.program, &found, &expected, bound);
            compare(&name, &case.program, &found, &alone, 1e-3);
            if first == 0 {
                let again = together(&name, case.on_devices(ranks, &placements, 77), &placements);
                assert!(again.losses == found.losses && again.dense == found.dense, "{name}, again");
                assert!(again.tables == found.tables && again.per_tensor == found.per_tensor, "{name}, again");
            }
        }
    }
}

#[test]
fn a_model_of_everything_trains_on_ranks() {
    check("mixed", &specs::checked("mixed.din", MIXED), &[2, 3], 2e-3);
}

/// [`MIXED`] with a limit of the norm of all gradients, and SGD where there was Adam: limited
/// gradients are small, and Adam turns their rounding into whole steps. The state per tensor is
/// small, too, so that it shows by how many rows a mean divides.
fn limited() -> CheckedModel {
    let text = MIXED.replace("use std.optimizer.adam", "use std.optimizer.{adam, sgd}");
    let text =
        text.replace("optimizer adam(lr = 0.01)  batch 5", "optimizer sgd(lr = 0.1)  clip global_norm 0.05  batch 5");
    assert!(text.contains("clip global_norm") && text.contains("mean(weight"));
    specs::checked("mixed.din", &text)
}

/// The squares of gradients are summed on the device and on the host.
#[test]
fn a_limit_of_the_norm_of_all_gradients_trains_on_ranks() {
    check("limited", &limited(), &[2, 3], 2e-3);
}

#[test]
fn requests_and_towers_train_on_ranks() {
    let units = specs::units();
    for (wanted, bound) in [("requests", 2e-2), ("towers", 2e-3)] {
        let (_, model) = units.iter().find(|(name, _)| name == wanted).unwrap();
        check(wanted, model, &[3], bound);
    }
}

/// A table whose update sums over its rows, with some of the rows on one device.
#[test]
fn sums_over_rows_do_not_depend_on_where_rows_are() {
    for model in [specs::checked("mixed.din", MIXED), limited()] {
        let case: &'static Case = Box::leak(Box::new(Case::new(&model, &[9, 7, 5, 8, 9, 6, 9, 8], 1)));
        let placements = vec![Placement::Sharded; case.program.tables.len()];
        let whole = together("whole", case.on_devices(1, &placements, 1), &placements);
        let options = CudaOptions { table_memory: Some(6000), ..CudaOptions::default() };
        let parts = together("parts", case.on_devices_with(1, &placements, 5, options), &placements);
        assert!(parts.losses == whole.losses && parts.dense == whole.dense && parts.per_tensor == whole.per_tensor);
        assert!(parts.tables == whole.tables);
    }
}
