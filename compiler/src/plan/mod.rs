//! From a graph to a schedule: items, phases, regions and buffers. See `din_program::schedule` for
//! what a schedule means.

mod emit;
mod item;
mod pairs;
mod phase;
pub mod region;
mod steps;
mod storage;

use crate::graph::{Graph, InputKind, NodeId, Root};
use din_grammar::SourceMap;
use din_program::TablePrecision;
use din_program::schedule::{KernelId, Schedule, ScheduleRoot};
use region::Region;
use rustc_hash::FxHashMap;
use std::borrow::Cow;

/// Choices of the planner; none changes a result by more than rounding.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Samples a tile.
    pub batch_tile: u32,
    /// Sequence entries a tile, about.
    pub sequence_tile: u32,
    /// An update program over table rows: weights are addressed by row number.
    pub rows: bool,
    /// The graph of inference: see [`Region::short_functions`].
    pub inference: bool,
    /// What tables are read as.
    pub tables: TablePrecision,
}

impl Default for PlanOptions {
    fn default() -> Self {
        let tables = TablePrecision::F32;
        PlanOptions { batch_tile: 64, sequence_tile: 128, rows: false, inference: false, tables }
    }
}

/// All regions of a program; equal ones are generated once.
#[derive(Debug, Default)]
pub struct Kernels {
    pub regions: Vec<Region>,
    pub names: Vec<String>,
    pub locations: Vec<String>,
    known: FxHashMap<Region, KernelId>,
}

impl Kernels {
    fn add(&mut self, region: Region, prefix: &str, location: &str) -> KernelId {
        // Of the arguments the code depends on their number alone, its signature also on the
        // functions.
        let mut key = region.clone();
        for argument in &mut key.arguments {
            if !matches!(argument, din_program::schedule::KernelArg::Function(_)) {
                *argument = din_program::schedule::KernelArg::RowIndex;
            }
        }
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let id = KernelId(self.regions.len() as u32);
        self.names.push(format!("{prefix}.{}.{}", id.0, emit::describe(&region)));
        self.locations.push(location.to_string());
        self.known.insert(key, id);
        self.regions.push(region);
        id
    }

    /// What the runtime is told of each kernel.
    pub fn described(&self) -> Vec<din_program::Kernel> {
        let named = self.names.iter().zip(&self.locations).zip(&self.regions);
        let kernel = |((name, location), region): ((&String, &String), &Region)| din_program::Kernel {
            name: name.clone(),
            location: location.clone(),
            signature: region.signature(),
        };
        named.map(kernel).collect()
    }
}

/// The graph cannot be ordered; `verify` would have said why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cyclic;

/// Plans `graph`, whose nodes `order` lists with operands first.
pub fn plan(
    graph: &Graph,
    order: &[NodeId],
    name: &str,
    options: &PlanOptions,
    sources: &SourceMap,
    kernels: &mut Kernels,
) -> Result<Schedule, Cyclic> {
    let stepped = steps::by_step(graph, order);
    let (graph, order) = match &stepped {
        Some(stepped) => (stepped, Cow::Owned(stepped.order())),
        None => (graph, Cow::Borrowed(order)),
    };
    let prepared = pairs::by_first_entry(graph, &order);
    let mut items = match &prepared {
        Some(graph) => item::lower(graph, &graph.order()),
        None => item::lower(graph, &order),
    };
    let mut groups = phase::phases(&items).ok_or(Cyclic)?;
    phase::rematerialise(&mut items, &mut groups);
    phase::prune(&items, &mut groups);
    let (mut schedule, views) = emit::emit(&items, &groups, name, options, sources, kernels);
    for (root, view) in graph.roots.iter().zip(views) {
        let Some(view) = view else { continue };
        let buffer = view.buffer;
        schedule.roots.push(match root {
            Root::Loss(_) => ScheduleRoot::Loss(buffer),
            Root::Prediction { index, .. } => ScheduleRoot::Prediction { index: *index, buffer },
            Root::Output { index, .. } => ScheduleRoot::Output { index: *index, buffer },
            Root::Named { name, .. } => ScheduleRoot::Named { name: name.clone(), buffer },
            Root::State { state, .. } => ScheduleRoot::State { state: state.0, buffer },
            Root::ParamGradient { param, .. } => ScheduleRoot::ParamGradient { param: param.0, buffer },
            Root::RowGradient { table, input, .. } => {
                let kind = &graph.inputs[input.index()].kind;
                let feature = if let InputKind::Ids { feature, .. } = kind { Some(*feature) } else { None };
                let feature = feature.expect("`verify` holds the input of a look-up to be ids");
                ScheduleRoot::RowGradient { table: table.0, feature, view }
            }
            Root::Weight(_) | Root::Slot { .. } => continue,
        });
    }
    Ok(schedule)
}
