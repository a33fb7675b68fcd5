//! The planner of distributed training: traffic and work against numbers computed by hand, memory
//! against tables that hold so many ids.
#![allow(clippy::indexing_slicing)]

mod memory;
mod traffic;

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::placement::{IdDistribution, ModelUse, Rates, RunPlanOptions, TableIds};

/// One dynamic table of width 4 with two features, one of them a list, one fixed table of width 2,
/// and two dense layers: 4 x 400 and 400 x 1, each with a bias.
pub fn program() -> Program {
    let spec = "
edition 2026
use std.layer.linear
use std.loss.cross_entropy
use std.metric.log_loss
use std.optimizer.adam
use std.pooling.sum_pool
model small {
    features ad { item: category  kind: category(10) }
    sequence seen { item: category from seen_items }
    label click: binary
    embedding item [4] for ad.item, seen.item
    embedding kind [2] for ad.kind
    let hidden = linear(item(ad.item) * sum_pool(item(seen.item)), 400)
    predict click ~ bernoulli(logit = linear(hidden, 1) + sum(kind(ad.kind)))
    train { loss cross_entropy(click)  optimizer adam(lr = 0.1)  batch 4096  epochs 1 }
    report log_loss(click)
}";
    let checked = check("small.din", spec, &NoFiles, &CheckOptions::default());
    let model = checked.model.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    let mut program = compile(&model, &CompileOptions::default()).unwrap().program;
    // As a regularizer would.
    program.tables.iter_mut().for_each(|table| table.reads_frequency = true);
    program
}

/// Five items that every sample contains, among `items`, and all kinds: whatever part of a batch a
/// rank has, it fetches 5 items and 10 kinds.
pub fn always(program: &Program, items: u64) -> ModelUse<'_> {
    let table = |rows, ids| TableIds { rows, distribution: IdDistribution::Measured(vec![(1.0, ids)]) };
    let tables = vec![table(items, 5.0), table(10, 10.0)];
    ModelUse { program, tables, lengths: vec![10.0], candidates: 1.0, samples: None }
}

pub fn options(program: &Program, ranks: usize) -> RunPlanOptions {
    RunPlanOptions {
        ranks,
        batch: 4096,
        leaves: DEFAULT_LEAVES,
        threads: 1,
        epochs: 1,
        placements: vec![None; program.tables.len()],
        rates: Rates::cpu(1),
        memory: None,
    }
}
