//! A small model with its schedules written by hand and its kernels written in Rust, and the same
//! model in f64.
//!
//! Table `item` (width 4) serves `visited.item` (a sequence) and `ad.item`; `W` is `4 x 5`. With
//! `x` the rows of `visited.item`: `h = x W`, `(mean, variance) = moments(h)`, `pool = sum(h over
//! visited)`, `logit = sum(pool) + sum(row of ad.item) + dense`, `loss = mean((logit - label)^2)`,
//! `largest = max(pool)`. Rows: `weight -= 0.1 * grad`, `seen += updates`. `W`: `weight -= 0.1 *
//! grad / (1 + sum(grad^2))`, which takes two phases.

use din_program::schedule::*;
use din_program::schema::{
    self, Feature, FeatureKind, Init, Label, Parameter, Prediction, Schema, Sequence, Training, UpdateRule,
};
use din_program::{Access, ArrayUse, FORMAT, Isa, Program, Signature, SlotScope, Update, UpdateSlot};
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::exec::{BatchCut, DenseState, ExecError, StepInputs};
use din_runtime::jit::KernelFn;
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::table::Table;
use din_runtime::threads::Threads;
use std::sync::Arc;

pub const ROWS: usize = 50;
pub const D: usize = 4;
pub const H: usize = 5;
const RATE: f32 = 0.1;

fn at(args: *const *mut u8, k: usize) -> *mut f32 {
    // SAFETY: the schedules below give each kernel its arguments.
    unsafe { (*args.add(k)).cast() }
}

fn index(args: *const *mut u8, k: usize, i: u64) -> usize {
    // SAFETY: as above.
    unsafe { *(*args.add(k)).cast::<u32>().add(i as usize) as usize }
}

/// `x_i = table[rows_i]`
unsafe extern "C" fn gather(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        // SAFETY: `x` has width D, the row is one of the table's.
        unsafe {
            std::ptr::copy_nonoverlapping(
                at(args, 0).add(index(args, 1, i) * D),
                at(args, 2).wrapping_add(i as usize * D),
                D,
            )
        };
    }
}

/// `pool[parent_i] += h_i`
unsafe extern "C" fn pool(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        for c in 0..H {
            // SAFETY: both have width H.
            unsafe {
                *at(args, 2).wrapping_add(index(args, 1, i) * H + c) += *at(args, 0).wrapping_add(i as usize * H + c)
            };
        }
    }
}

/// Args: pool, table, rows, dense, label, count, logit, loss partial, largest partial, gradient of
/// logit (wide D), gradient of pool.
unsafe extern "C" fn head(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin as usize..end as usize {
        // SAFETY: the widths are those of the schedule.
        unsafe {
            let p = at(args, 0).add(i * H);
            let mut logit = *at(args, 3).add(i);
            for c in 0..H {
                logit += *p.add(c);
                let largest = at(args, 8).add(c);
                *largest = (*largest).max(*p.add(c));
            }
            for c in 0..D {
                logit += *at(args, 1).add(index(args, 2, i as u64) * D + c);
            }
            *at(args, 6).add(i) = logit;
            let count = *at(args, 5);
            let d = logit - *at(args, 4).add(i);
            *at(args, 7) += d * d / count;
            for c in 0..D {
                *at(args, 9).add(i * D + c) = 2.0 * d / count;
            }
            for c in 0..H {
                *at(args, 10).add(i * H + c) = 2.0 * d / count;
            }
        }
    }
}

/// `gh_i = gp[parent_i]`
unsafe extern "C" fn spread(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        for c in 0..H {
            // SAFETY: both have width H.
            unsafe {
                *at(args, 2).wrapping_add(i as usize * H + c) = *at(args, 0).add(index(args, 1, i) * H + c);
            }
        }
    }
}

/// Args: weight, gradient, row index, seen, updates.
unsafe extern "C" fn update_rows(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        let row = index(args, 2, i);
        // SAFETY: weights are addressed by row number, gradients by position.
        unsafe {
            for c in 0..D {
                *at(args, 0).add(row * D + c) -= RATE * *at(args, 1).wrapping_add(i as usize * D + c);
            }
            *at(args, 3).add(row) += *at(args, 4).add(row);
        }
    }
}

/// Args: gradient, sum of squares.
unsafe extern "C" fn squares(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin as usize..end as usize {
        // SAFETY: both have width 1.
        unsafe { *at(args, 1) += *at(args, 0).add(i) * *at(args, 0).add(i) };
    }
}

/// Args: weight, gradient, sum of squares.
unsafe extern "C" fn update_tensor(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin as usize..end as usize {
        // SAFETY: all have width 1.
        unsafe { *at(args, 0).add(i) -= RATE * *at(args, 1).add(i) / (1.0 + *at(args, 2)) };
    }
}

/// What each of [`KERNELS`] does with its arguments.
fn signatures() -> [Signature; 7] {
    use Access::{Indexed, Once, Row};
    let array = |argument, access, width: usize, writes| ArrayUse {
        argument,
        access,
        stride: width as u32,
        columns: width as u32,
        writes,
    };
    let signature =
        |arguments, arrays: &[ArrayUse]| Signature { arguments, arrays: arrays.to_vec(), functions: vec![] };
    [
        signature(3, &[array(0, Indexed { index: 1 }, D, false), array(2, Row, D, true)]),
        signature(3, &[array(0, Row, H, false), array(2, Indexed { index: 1 }, H, true)]),
        signature(
            11,
            &[
                array(0, Row, H, false),
                array(1, Indexed { index: 2 }, D, false),
                array(3, Row, 1, false),
                array(4, Row, 1, false),
                array(5, Once, 1, false),
                array(6, Row, 1, true),
                array(7, Once, 1, true),
                array(8, Once, H, true),
                array(9, Row, D, true),
                array(10, Row, H, true),
            ],
        ),
        signature(3, &[array(0, Indexed { index: 1 }, H, false), array(2, Row, H, true)]),
        signature(
            5,
            &[
                array(0, Indexed { index: 2 }, D, true),
                array(1, Row, D, false),
                array(3, Indexed { index: 2 }, 1, true),
                array(4, Indexed { index: 2 }, 1, false),
            ],
        ),
        signature(2, &[array(0, Row, 1, false), array(1, Once, 1, true)]),
        signature(3, &[array(0, Row, 1, true), array(1, Row, 1, false), array(2, Once, 1, false)]),
    ]
}

pub const KERNELS: [KernelFn; 7] = [gather, pool, head, spread, update_rows, squares, update_tensor];
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
                reductions: vec![Reduction { partial: BufferId(2), into: BufferId(3), combine: Combine::Sum }],
            },
            Phase {
                axis: BATCH,
                tile_rows: 7,
                calls: vec![kernel(BATCH, 6, vec![b(0), b(1), b(3)])],
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
        column: name.into(),
        kind,
        sequence,
        common: false,
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
            requests: None,
            features: vec![
                feature("visited", "item", item.clone(), Some(0)),
                feature("ad", "item", item, None),
                feature("ad", "price", FeatureKind::Dense { width: 1 }, None),
            ],
            sequences: vec![Sequence { name: "visited".into(), keep: None, common: false, location: location() }],
            labels: vec![Label { name: "click".into(), column: "click".into(), missing: None, location: location() }],
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
        predictions: vec![Prediction { name: "click".into(), label: 0 }],
        metrics: vec![],
        training: Training { batch: 32, epochs: 1, seed: 1, select: 0 },
        updates: vec![rows_update(), tensor_update()],
        train: step(true),
        infer: step(false),
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

/// A stream of numbers, SplitMix64 (Steele, Lea & Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// The columns of a batch, owned.
pub struct Columns {
    pub rows: usize,
    pub offsets: Vec<Vec<u32>>,
    pub row_numbers: Vec<Vec<Vec<u32>>>,
    pub dense: Vec<Vec<f32>>,
    pub labels: Vec<Vec<f32>>,
    pub present: Vec<Vec<f32>>,
}

impl Columns {
    /// A third of the samples have no entries; a few have more than a tile.
    pub fn random(random: &mut Random, rows: usize) -> Columns {
        let mut offsets = vec![0u32];
        for _ in 0..rows {
            let length = match random.below(9) {
                0..=2 => 0,
                8 => 30 + random.below(20),
                _ => random.below(7),
            };
            offsets.push(offsets[offsets.len() - 1] + length as u32);
        }
        let mut ids = |n: usize| (0..n).map(|_| random.below(ROWS) as u32).collect::<Vec<u32>>();
        let row_numbers = vec![vec![ids(offsets[rows] as usize), ids(rows)]];
        let price = (0..rows).map(|_| random.float()).collect();
        let click = (0..rows).map(|_| random.below(2) as f32).collect();
        Columns {
            rows,
            offsets: vec![offsets],
            row_numbers,
            dense: vec![vec![], vec![], price],
            labels: vec![click],
            present: vec![vec![1.0; rows]],
        }
    }

    pub fn inputs(&self) -> StepInputs<'_> {
        StepInputs {
            requests: &[],
            rows: self.rows,
            offsets: &self.offsets,
            row_numbers: &self.row_numbers,
            dense: &self.dense,
            labels: &self.labels,
            present: &self.present,
            fetched: None,
            cut: BatchCut::Whole(DEFAULT_LEAVES),
        }
    }
}

pub fn state(program: &Program) -> DenseState {
    let mut state = DenseState::new(program);
    let mut random = Random(99);
    state.params[0].iter_mut().for_each(|w| *w = random.float());
    state
}

pub fn tables(program: &Program) -> Vec<Table> {
    program.tables.iter().map(|t| Table::new(t, &program.updates[t.update as usize].slots, 7).unwrap()).collect()
}

/// The model in f64, by its definition.
pub struct Reference {
    pub w: Vec<f64>,
    pub table: Vec<f64>,
    pub seen: Vec<f64>,
    pub updates: Vec<f64>,
    pub moments: Vec<f64>,
    pub logits: Vec<f64>,
    pub largest: Vec<f64>,
}

impl Reference {
    pub fn new(state: &DenseState, table: &Table) -> Self {
        Reference {
            w: state.params[0].iter().map(|&w| f64::from(w)).collect(),
            table: table.weights().iter().map(|&w| f64::from(w)).collect(),
            seen: vec![0.0; ROWS],
            updates: vec![0.0; ROWS],
            moments: vec![0.0; 2 * H],
            logits: vec![],
            largest: vec![],
        }
    }

    /// One step; returns the loss.
    pub fn step(&mut self, c: &Columns) -> f64 {
        let (items, ads) = (&c.row_numbers[0][0], &c.row_numbers[0][1]);
        let h: Vec<[f64; H]> = items
            .iter()
            .map(|&row| {
                std::array::from_fn(|j| (0..D).map(|k| self.table[row as usize * D + k] * self.w[k * H + j]).sum())
            })
            .collect();
        for j in 0..H {
            let n = h.len() as f64;
            let mean = if h.is_empty() { 0.0 } else { h.iter().map(|h| h[j]).sum::<f64>() / n };
            let variance = if h.is_empty() { 0.0 } else { h.iter().map(|h| (h[j] - mean).powi(2)).sum::<f64>() / n };
            (self.moments[j], self.moments[H + j]) = (mean, variance);
        }
        let mut loss = 0.0;
        let (mut gw, mut gt) = (vec![0.0; D * H], vec![0.0; ROWS * D]);
        let mut touched = [false; ROWS];
        self.largest = vec![f64::NEG_INFINITY; H];
        self.logits.clear();
        for (s, &ad) in ads.iter().enumerate() {
            let entries = c.offsets[0][s] as usize..c.offsets[0][s + 1] as usize;
            let pool: [f64; H] = std::array::from_fn(|j| h[entries.clone()].iter().map(|h| h[j]).sum());
            for (largest, p) in self.largest.iter_mut().zip(pool) {
                *largest = largest.max(p);
            }
            let ad = ad as usize;
            let row: f64 = self.table[ad * D..(ad + 1) * D].iter().sum();
            let logit = pool.iter().sum::<f64>() + row + f64::from(c.dense[2][s]);
            self.logits.push(logit);
            let d = logit - f64::from(c.labels[0][s]);
            loss += d * d / c.rows as f64;
            let g = 2.0 * d / c.rows as f64;
            touched[ad] = true;
            gt[ad * D..(ad + 1) * D].iter_mut().for_each(|t| *t += g);
            for i in entries {
                let row = items[i] as usize;
                touched[row] = true;
                for k in 0..D {
                    for j in 0..H {
                        gw[k * H + j] += self.table[row * D + k] * g;
                        gt[row * D + k] += self.w[k * H + j] * g;
                    }
                }
            }
        }
        let squares: f64 = gw.iter().map(|g| g * g).sum();
        for (w, g) in self.w.iter_mut().zip(gw) {
            *w -= f64::from(RATE) * g / (1.0 + squares);
        }
        for row in (0..ROWS).filter(|&r| touched[r]) {
            self.updates[row] += 1.0;
            self.seen[row] += self.updates[row];
            for k in 0..D {
                self.table[row * D + k] -= f64::from(RATE) * gt[row * D + k];
            }
        }
        loss
    }
}
