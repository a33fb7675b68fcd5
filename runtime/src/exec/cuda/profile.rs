//! Where the time of steps goes on a device: launches, seconds and work by kernel, and the first
//! launches one by one.
//!
//! Work is what the schedule says of kernels over tiles: the operations of products and statistics
//! as the device does them, and the bytes that a kernel moves between global memory and the chip if
//! each is moved once. What lies in a tile's buffers costs nothing.

use super::driver::TimedLaunch;
use crate::exec::common::{CallSpan, ProfileRow};
use din_program::Program;
use din_program::cuda::{Grid, Launches};
use din_program::schedule::{AbsorbedWeight, AxisId, AxisTree, BATCH, BufferId, KernelArg, Phase, Schedule, Storage};
use rustc_hash::FxHashMap;

/// Launches that are kept one by one: some steps of a model of usual size.
const MAX_SPANS: usize = 1 << 14;

/// What was measured so far.
#[derive(Debug, Default)]
pub(super) struct DeviceProfile {
    rows: Vec<ProfileRow>,
    spans: Vec<CallSpan>,
    /// By kernel and location.
    known: FxHashMap<(String, String), usize>,
}

/// A schedule that ran.
pub(super) struct ScheduleRun<'a> {
    /// For people: `train`, `update adam`.
    pub name: &'a str,
    pub schedule: &'a Schedule,
    pub launches: &'a Launches,
    pub axes: &'a AxisTree,
    /// Elements of an axis, over all instances.
    pub count: &'a dyn Fn(AxisId) -> usize,
}

impl DeviceProfile {
    fn row(&mut self, kernel: &str, location: &str) -> &mut ProfileRow {
        let rows = &mut self.rows;
        let at = *self.known.entry((kernel.to_string(), location.to_string())).or_insert_with(|| {
            rows.push(ProfileRow {
                schedule: String::new(),
                phase: 0,
                name: kernel.to_string(),
                location: location.to_string(),
                calls: 0,
                elements: 0,
                seconds: 0.0,
                flops: 0.0,
                bytes: 0.0,
            });
            rows.len() - 1
        });
        &mut rows[at]
    }

    /// Adds launches, in their order.
    pub fn add(&mut self, timed: &[TimedLaunch]) {
        for t in timed {
            let row = self.row(&t.kernel, &t.location);
            row.calls += 1;
            row.seconds += t.length.as_secs_f64();
        }
        let room = MAX_SPANS.saturating_sub(self.spans.len());
        for t in timed.iter().take(room) {
            let schedule = self.row(&t.kernel, &t.location).schedule.clone();
            self.spans.push(CallSpan {
                schedule,
                name: t.kernel.clone(),
                location: t.location.clone(),
                thread: 0,
                begin: t.begin,
                length: t.length,
            });
        }
    }

    /// Adds the work of a schedule that ran once.
    pub fn worked(&mut self, program: &Program, ran: &ScheduleRun<'_>) {
        for launch in &ran.launches.launches {
            let phase = ran.schedule.phases.get(launch.phase as usize);
            let row = self.row(&launch.kernel, &launch.location);
            row.phase = launch.phase as usize;
            if row.schedule.is_empty() {
                row.schedule = ran.name.to_string();
            }
            if let (Grid::Tiles { .. }, Some(phase)) = (launch.grid, phase) {
                let (flops, bytes) = work(program, ran, phase);
                row.elements += (ran.count)(phase.axis) as u64;
                row.flops += flops;
                row.bytes += bytes;
            }
        }
    }

    /// Adds the work of summing a table's row gradients: `occurrences` rows of `width` numbers to
    /// `distinct` ones. `location` is that of the first table.
    pub fn summed(&mut self, kernels: &[&str], location: &str, occurrences: usize, distinct: usize, width: u32) {
        for &kernel in kernels {
            let row = self.row(kernel, location);
            if row.schedule.is_empty() {
                row.schedule = "row gradients".into();
            }
            row.elements += occurrences as u64;
            if kernel == "din_rows_sum" {
                row.bytes += 4.0 * f64::from(width) * (occurrences + distinct) as f64;
            }
        }
    }

    /// Slowest first.
    pub fn rows(&self) -> Vec<ProfileRow> {
        let mut rows: Vec<ProfileRow> = self.rows.iter().filter(|r| r.calls > 0).cloned().collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        rows
    }

    pub fn spans(&self) -> Vec<CallSpan> {
        self.spans.clone()
    }
}

/// Operations and bytes of a phase.
fn work(program: &Program, ran: &ScheduleRun<'_>, phase: &Phase) -> (f64, f64) {
    let mut flops = 0.0;
    let mut touched: Vec<KernelArg> = Vec::new();
    let mut touch = |source: KernelArg| {
        if !touched.contains(&source) {
            touched.push(source);
        }
    };
    for call in &phase.calls {
        let buffers = &ran.schedule.buffers;
        let width = |id: BufferId| buffers.get(id.index()).filter(|b| b.axis == call.axis).map(|b| b.width);
        flops += call.work(width, AbsorbedWeight::BothHalves).flops * (ran.count)(call.axis) as f64;
        call.op.args().into_iter().for_each(&mut touch);
    }
    let numbers = |source: &KernelArg| match *source {
        KernelArg::Buffer(id) => match ran.schedule.buffers.get(id.index()) {
            Some(b) if !matches!(b.place, Storage::Tile(_) | Storage::Partial) => {
                (ran.count)(b.axis) as f64 * f64::from(b.width)
            }
            _ => 0.0,
        },
        // A pair's entry and request are found by its sample.
        KernelArg::Ancestor { of, to } => {
            let by_sample = Some(to) == ran.axes.request() || ran.axes.is_per_request(to);
            let found = by_sample && ran.axes.has_entries(of) && !ran.axes.is_per_request(of);
            (ran.count)(if found { BATCH } else { of }) as f64
        }
        KernelArg::Rows { table, feature } => {
            let width = program.tables.get(table as usize).map_or(0, |t| t.width);
            let axis = ran.axes.feature(&program.schema.features[feature as usize]);
            let axis = axis.expect("the program was checked: its features are on its axes");
            (ran.count)(axis) as f64 * (1.0 + f64::from(width))
        }
        KernelArg::UniqueRows { axis, key } => {
            let unique = ran.axes.unique(axis).expect("the program was checked: the axis is a unique one");
            let (table, _) = unique.keys[key as usize];
            (ran.count)(axis) as f64 * (1.0 + f64::from(program.tables[table as usize].width))
        }
        KernelArg::RowIndex => (ran.count)(BATCH) as f64,
        KernelArg::Table(_) | KernelArg::Function(_) => 0.0,
    };
    (flops, 4.0 * touched.iter().map(numbers).sum::<f64>())
}
