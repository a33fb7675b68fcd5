//! A small model with its schedules written by hand, its kernels (`kernels`) in Rust, and the same
//! model in f64 (`reference`).
//!
//! Table `item` (width 4) serves `visited.item` (a sequence) and `ad.item`; `W` is `4 x 5`. With
//! `x` the rows of `visited.item`: `h = x W`, `(mean, variance) = moments(h)`, `pool = sum(h over
//! visited)`, `logit = sum(pool) + sum(row of ad.item) + dense`, `loss = mean((logit - label)^2)`,
//! `largest = max(pool)`. Rows: `weight -= 0.1 * grad`, `seen += updates`. `W`: `weight -= 0.1 *
//! grad / (1 + sum(grad^2))`, which takes two phases.

mod kernels;
mod reference;

pub use reference::*;

use din_program::schedule::*;
use din_program::schema::{
    self, Distribution, Feature, FeatureKind, FeatureSource, Init, Label, LabelKind, Parameter, Prediction, Schema,
    Sequence, Training, UpdateRule,
};
use din_program::{FORMAT, Isa, Program, SlotScope, Update, UpdateSlot};
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{DenseState, ExecError};
use din_runtime::table::{self, ShardPlan, Table};
use din_runtime::threads::Threads;
use kernels::{KERNELS, signatures};
use std::sync::Arc;

pub const ROWS: usize = 50;
pub const D: usize = 4;
pub const H: usize = 5;
pub const RATE: f32 = 0.1;

const SEQUENCE: AxisId = AxisId(2);

fn call(axis: AxisId, op: Operation) -> Call {
    Call { axis, op, location: "hand.din:1:1".into() }
}

fn kernel(axis: AxisId, k: u32, args: Vec<KernelArg>) -> Call {
    call(axis, Operation::Kernel { kernel: KernelId(k), args })
}

fn buffer(axis: AxisId, width: usize, place: Storage) -> Buffer {
    Buffer { axis, width: width as u32, place }
}

fn slot(axis: AxisId, width: usize) -> Slot {
    Slot { axis, width: width as u32 }
}

fn b(k: u32) -> KernelArg {
    KernelArg::Buffer(BufferId(k))
}

fn view(k: u32) -> View {
    View { buffer: BufferId(k), column: 0 }
}

/// Forward and backward; `backward` false gives the inference schedule.
fn step(backward: bool) -> Schedule {
    let (d, h) = (D as u32, H as u32);
    let buffers = vec![
        buffer(GLOBAL, D * H, Storage::Param(0)),           // 0 W
        buffer(GLOBAL, D * H, Storage::Arena(SlotId(0))),   // 1 W^T
        buffer(SEQUENCE, D, Storage::Tile(SlotId(0))),      // 2 x
        buffer(SEQUENCE, H, Storage::Tile(SlotId(1))),      // 3 h, gh
        buffer(BATCH, H, Storage::Arena(SlotId(1))),        // 4 pool
        buffer(GLOBAL, 2 * H + 1, Storage::Partial),        // 5 moments
        buffer(GLOBAL, 2 * H, Storage::Arena(SlotId(2))),   // 6 moments
        buffer(BATCH, 1, Storage::Dense(2)),                // 7
        buffer(BATCH, 1, Storage::Label(0)),                // 8
        buffer(GLOBAL, 1, Storage::Count(BATCH)),           // 9
        buffer(BATCH, 1, Storage::Arena(SlotId(3))),        // 10 logit
        buffer(GLOBAL, 1, Storage::Partial),                // 11 loss
        buffer(GLOBAL, 1, Storage::Arena(SlotId(4))),       // 12 loss
        buffer(GLOBAL, H, Storage::Partial),                // 13 largest
        buffer(GLOBAL, H, Storage::Arena(SlotId(5))),       // 14 largest
        buffer(BATCH, D, Storage::Arena(SlotId(6))),        // 15 gradient of the rows of ad.item
        buffer(BATCH, H, Storage::Arena(SlotId(7))),        // 16 gradient of pool
        buffer(GLOBAL, D * H, Storage::Partial),            // 17 gradient of W
        buffer(GLOBAL, D * H, Storage::Arena(SlotId(8))),   // 18 gradient of W
        buffer(SEQUENCE, D + 2, Storage::Arena(SlotId(9))), // 19 gradient of x, in columns 1..5
    ];
    let slots = vec![
        slot(GLOBAL, D * H),
        slot(BATCH, H),
        slot(GLOBAL, 2 * H),
        slot(BATCH, 1),
        slot(GLOBAL, 1),
        slot(GLOBAL, H),
        slot(BATCH, D),
        slot(BATCH, H + 1),
        slot(GLOBAL, D * H),
        slot(SEQUENCE, D + 2),
    ];
    let look_up = |feature| [KernelArg::Table(0), KernelArg::Rows { table: 0, feature }];
    let read = |axis| kernel(axis, 0, [look_up(0).as_slice(), &[b(2)]].concat());
    let mut phases = vec![
        Phase {
            axis: GLOBAL,
            tile_rows: 1,
            calls: vec![call(GLOBAL, Operation::Transpose { w: view(0), w_stride: h, out: view(1), k: d, n: h })],
            recurrences: vec![],
            reductions: vec![],
        },
        Phase {
            axis: SEQUENCE,
            tile_rows: 16,
            calls: vec![
                call(BATCH, Operation::Fill { buffer: BufferId(4), value: 0.0 }),
                read(SEQUENCE),
                call(
                    SEQUENCE,
                    Operation::MatMul {
                        x: view(2),
                        w: view(0),
                        w_stride: h,
                        out: view(3),
                        k: d,
                        n: h,
                        accumulate: false,
                    },
                ),
                kernel(SEQUENCE, 1, vec![b(3), KernelArg::Ancestor { of: SEQUENCE, to: BATCH }, b(4)]),
                call(
                    SEQUENCE,
                    Operation::Statistic { statistic: Statistic::Moments, x: view(3), out: BufferId(5), width: h },
                ),
            ],
            recurrences: vec![],
            reductions: vec![Reduction {
                partial: BufferId(5),
                into: BufferId(6),
                combine: Combine::Statistic(Statistic::Moments),
            }],
        },
        Phase {
            axis: BATCH,
            tile_rows: 8,
            calls: vec![kernel(
                BATCH,
                2,
                [&[b(4)], look_up(1).as_slice(), &[b(7), b(8), b(9), b(10), b(11), b(13), b(15), b(16)]].concat(),
            )],
            recurrences: vec![],
            reductions: vec![
                Reduction { partial: BufferId(11), into: BufferId(12), combine: Combine::Sum },
                Reduction { partial: BufferId(13), into: BufferId(14), combine: Combine::Max },
            ],
        },
    ];
    let mut roots = vec![
        ScheduleRoot::Loss(BufferId(12)),
        ScheduleRoot::Prediction { index: 0, buffer: BufferId(10) },
        ScheduleRoot::Named { name: "largest".into(), buffer: BufferId(14) },
    ];
    if backward {
        let out = View { buffer: BufferId(19), column: 1 };
        phases.push(Phase {
            axis: SEQUENCE,
            tile_rows: 16,
            calls: vec![
                read(SEQUENCE),
                kernel(SEQUENCE, 3, vec![b(16), KernelArg::Ancestor { of: SEQUENCE, to: BATCH }, b(3)]),
                call(SEQUENCE, Operation::Outer { x: view(2), g: view(3), out: view(17), k: d, n: h }),
                call(
                    SEQUENCE,
                    Operation::MatMul { x: view(3), w: view(1), w_stride: d, out, k: h, n: d, accumulate: false },
                ),
            ],
            recurrences: vec![],
            reductions: vec![Reduction { partial: BufferId(17), into: BufferId(18), combine: Combine::Sum }],
        });
        roots.extend([
            ScheduleRoot::State { state: 0, buffer: BufferId(6) },
            ScheduleRoot::ParamGradient { param: 0, buffer: BufferId(18) },
            ScheduleRoot::RowGradient { table: 0, feature: 0, view: out },
            ScheduleRoot::RowGradient { table: 0, feature: 1, view: view(15) },
        ]);
    }
    let tile_slots = vec![slot(SEQUENCE, D), slot(SEQUENCE, H)];
    let mut axes = AxisTree::new("batch");
    axes.add_sequence("visited", 0, BATCH);
    Schedule { axes, buffers, slots, tile_slots, phases, roots }
}

fn rows_update() -> Update {
    let schedule = Schedule {
        axes: AxisTree::rows(),
        buffers: vec![
            buffer(BATCH, D, Storage::Weight),
            buffer(BATCH, D, Storage::Gradient),
            buffer(BATCH, 1, Storage::UpdateSlot(0)),
            buffer(BATCH, 1, Storage::UpdateCount),
        ],
        slots: vec![],
        tile_slots: vec![],
        phases: vec![Phase {
            axis: BATCH,
            tile_rows: 8,
            calls: vec![kernel(BATCH, 4, vec![b(0), b(1), KernelArg::RowIndex, b(2), b(3)])],
            recurrences: vec![],
            reductions: vec![],
        }],
        roots: vec![],
    };
    let slots = vec![UpdateSlot { name: "seen".into(), per: SlotScope::Row, init: 0.0 }];
    Update { name: "rows".into(), slots, rows: true, schedule }
}

fn tensor_update() -> Update {
    let schedule = Schedule {
        axes: AxisTree::rows(),
        buffers: vec![
            buffer(BATCH, 1, Storage::Weight),
            buffer(BATCH, 1, Storage::Gradient),
            buffer(GLOBAL, 1, Storage::Partial),
            buffer(GLOBAL, 1, Storage::Arena(SlotId(0))),
        ],
        slots: vec![slot(GLOBAL, 1)],
        tile_slots: vec![],
        phases: vec![
            Phase {
                axis: BATCH,
                tile_rows: 7,
                calls: vec![kernel(BATCH, 5, vec![b(1), b(2)])],
                recurrences: vec![],
                reductions: vec![Reduction { partial: BufferId(2), into: BufferId(3), combine: Combine::Sum }],
            },
            Phase {
                axis: BATCH,
                tile_rows: 7,
                calls: vec![kernel(BATCH, 6, vec![b(0), b(1), b(3)])],
                recurrences: vec![],
                reductions: vec![],
            },
        ],
        roots: vec![],
    };
    Update { name: "tensor".into(), slots: vec![], rows: false, schedule }
}

pub fn program() -> Program {
    let location = || "hand.din:1:1".to_string();
    let feature = |group: &str, name: &str, kind, sequence| Feature {
        group: group.into(),
        name: name.into(),
        source: FeatureSource::column(name),
        kind,
        sequence,
        common: false,
        at_prediction: true,
        location: location(),
    };
    let item = FeatureKind::Fixed { size: ROWS as u64, clip: false };
    Program {
        format: FORMAT,
        compiler: "hand".into(),
        triple: String::new(),
        model: "hand".into(),
        sources: vec![],
        hypers: vec![],
        schema: Schema {
            statistics: Vec::new(),
            vocabularies: Vec::new(),
            known: Vec::new(),
            requests: None,
            in_batch: None,
            features: vec![
                feature("visited", "item", item.clone(), Some(0)),
                feature("ad", "item", item, None),
                feature("ad", "price", FeatureKind::Dense { width: 1 }, None),
            ],
            sequences: vec![Sequence {
                name: "visited".into(),
                keep: None,
                missing: false,
                common: false,
                location: location(),
            }],
            labels: vec![Label {
                name: "click".into(),
                column: "click".into(),
                kind: LabelKind::Binary,
                classes: Vec::new(),
                missing: None,
                location: location(),
            }],
            keys: vec![],
        },
        tables: vec![schema::TableSpec {
            name: "item".into(),
            width: D as u32,
            kind: schema::TableKind::Fixed { size: ROWS as u64 },
            init: Init::Normal(0.5),
            features: vec![0, 1],
            update: 0,
            reads_frequency: false,
            update_rule: UpdateRule::Sparse,
            frozen: false,
            vectors: None,
            admission: None,
            location: location(),
        }],
        parameters: vec![Parameter {
            name: "w".into(),
            shape: vec![D as u32, H as u32],
            init: Init::Constant(0.0),
            update: 1,
            location: location(),
        }],
        states: vec![schema::State {
            name: "moments".into(),
            shape: vec![2 * H as u32],
            init: Init::Constant(0.0),
            location: location(),
        }],
        predictions: vec![Prediction { name: "click".into(), label: 0, distribution: Distribution::Bernoulli }],
        outputs: vec![],
        metrics: vec![],
        training: Training { batch: 32, epochs: 1, seed: 1, select: 0, patience: None },
        updates: vec![rows_update(), tensor_update()],
        squared_norms: vec![],
        train: step(true),
        infer: step(false),
        // The kernels are for tables in f32.
        infer_bf16: Schedule { phases: vec![], roots: vec![], ..step(false) },
        kernels: signatures()
            .into_iter()
            .enumerate()
            .map(|(k, signature)| din_program::Kernel { name: format!("k{k}"), location: location(), signature })
            .collect(),
        code: vec![],
    }
}

pub fn engine(program: Program, threads: usize, isa: Isa) -> Result<CpuExecutor, ExecError> {
    // SAFETY: the kernels above keep to the widths of the schedules above.
    unsafe { CpuExecutor::with_kernels(Arc::new(program), Threads::new(threads)?, isa, &KERNELS) }
}

pub fn state(program: &Program) -> DenseState {
    let mut state = DenseState::new(program);
    let mut random = Random(99);
    state.params[0].iter_mut().for_each(|w| *w = random.float());
    state
}

pub fn tables(program: &Program) -> Vec<Table> {
    table::of_program(program, 7, &ShardPlan::whole(program.tables.len()), &Threads::caller()).unwrap()
}
