//! A model with two towers over ids, and batches for it in which few ids are distinct: what
//! `optimize::deduplicate` is for.

use crate::random_graph::Random;
use din_compiler::front::{self, NoFiles};
use din_compiler::model::CheckedModel;
use din_runtime::batch::Batch;

pub const IDS: usize = 300;
pub const DIM: usize = 32;
pub const TOWER: [usize; 2] = [96, 48];
pub const HIDDEN: usize = 64;

/// Two towers, one over the ad and one over each visited thing, under a layer that joins them. The
/// ad is read raw as well.
pub fn spec() -> String {
    format!(
        "edition 2026\nuse std.activation.sigmoid\nuse std.layer.{{linear, mlp}}\nuse std.loss.cross_entropy\n\
         use std.metric.auc\nuse std.optimizer.adam\nmodel towers {{\n\
         features user {{ who: category({IDS}) }}\n\
         features ad {{ good: category({IDS})  shop: category({IDS}) }}\n\
         sequence visited {{ good: category({IDS}) from goods  shop: category({IDS}) from shops }}\n\
         label click: binary\n\
         embedding good [{DIM}] for ad.good, visited.good\n\
         embedding shop [{DIM}] for ad.shop, visited.shop\n\
         embedding who [{DIM}] for user.who\n\
         let one = mlp(embed(ad), [{}, {}], sigmoid)\n\
         let taste = sum(mlp(embed(visited), [{}, {}], sigmoid) over visited)\n\
         let hidden = mlp(concat(embed(user), one, taste, embed(ad)), [{HIDDEN}], sigmoid)\n\
         predict click ~ bernoulli(logit = linear(hidden, 1))\n\
         train {{ loss cross_entropy(click)  optimizer adam(lr = 0.01)  batch 64  epochs 1 }}\n\
         report auc(click)\n}}\n",
        TOWER[0], TOWER[1], TOWER[0], TOWER[1]
    )
}

/// Ads that are among `distinct` pairs of good and shop, lists likewise.
pub fn batch(seed: u64, rows: usize, distinct: usize) -> Batch {
    let mut r = Random::new(seed);
    let mut offsets = vec![0u32];
    (0..rows).for_each(|k| offsets.push(offsets[k] + r.below(12) as u32));
    let entries = offsets[rows] as usize;
    let mut thing = |n: usize| -> [Vec<u64>; 2] {
        let things: Vec<u64> = (0..n).map(|_| r.below(distinct) as u64).collect();
        [things.clone(), things.iter().map(|t| t * 7 % IDS as u64).collect()]
    };
    let ([good, shop], [goods, shops]) = (thing(rows), thing(entries));
    let who = (0..rows).map(|_| r.below(IDS) as u64).collect();
    Batch {
        rows,
        ids: vec![who, good, shop, goods, shops],
        dense: vec![Vec::new(); 5],
        labels: vec![(0..rows).map(|_| r.below(2) as f32).collect()],
        present: vec![vec![1.0; rows]],
        offsets: vec![offsets],
        ..Batch::default()
    }
}

/// # Panics
///
/// Where the spec is wrong.
pub fn model() -> CheckedModel {
    let checked = front::check("towers.din", &spec(), &NoFiles, &front::CheckOptions::default());
    checked.model.unwrap_or_else(|| panic!("{:?}", checked.diagnostics))
}
