//! A model with `common` features and logs of requests for it: what tests of every back end train
//! on.

use crate::random_graph::Random;
use din_compiler::front::{self, NoFiles};
use din_compiler::interpret::Samples;
use din_compiler::model::CheckedModel;
use din_runtime::batch::Batch;
use std::ops::Range;

const USER: usize = 2;
const AD: usize = 2;
/// Ids of every table.
pub const IDS: usize = 40;
pub const DIM: usize = 16;
pub const E: usize = AD * DIM;
pub const UNIT: [usize; 2] = [80, 40];
pub const TOWER: [usize; 2] = [32, 16];
pub const HIDDEN: usize = 64;

/// A ranking model with a tower over the user, attention over the history and its mean.
/// `activation` is the unit's and the tower's.
pub fn spec(common: bool, activation: &str) -> String {
    let common = if common { "common user, visited by request_id" } else { "" };
    format!(
        "edition 2026\nuse std.activation.{{dice, prelu, sigmoid}}\nuse std.attention.interest\nuse std.layer.{{linear, mlp}}\n\
         use std.loss.cross_entropy\nuse std.metric.{{auc, gauc}}\nuse std.optimizer.sgd\nuse std.regularizer.adaptive\n\
         model ranker {{\n\
         features user {{ gender: category({IDS})  age: category({IDS}) }}\n\
         features ad {{ good: category({IDS})  shop: category({IDS}) }}\n\
         sequence visited {{ good: category({IDS}) from goods  shop: category({IDS}) from shops }}\n\
         label click: binary\nkey request_id: int64\n{common}\n\
         embedding good [{DIM}] for ad.good, visited.good {{ regularize adaptive(0.01) }}\n\
         embedding shop [{DIM}] for ad.shop, visited.shop\n\
         embedding [{DIM}] for each of user\n\
         let candidate = embed(ad)\nlet history = embed(visited)\n\
         let person = mlp(embed(user), [{}, {}], {activation})\n\
         let taste = interest(history, candidate, hidden = [{}, {}], activation = {activation})\n\
         let hidden = mlp(concat(person, taste, candidate), [{HIDDEN}], prelu)\n\
         predict click ~ bernoulli(logit = linear(hidden, 1))\n\
         train {{ loss cross_entropy(click)  optimizer sgd(lr = 0.5)  batch 64  epochs 1 }}\n\
         report auc(click), gauc(click, by = user.age)\n}}\n",
        TOWER[0], TOWER[1], UNIT[0], UNIT[1]
    )
}

pub fn model(common: bool, activation: &str) -> CheckedModel {
    let text = spec(common, activation);
    let checked = front::check("ranker.din", &text, &NoFiles, &front::CheckOptions::default());
    checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics))
}

/// Requests as a log has them: of `candidates` samples and `entries` behaviours each.
#[derive(Clone, Debug)]
pub struct Log {
    pub candidates: Vec<usize>,
    pub entries: Vec<usize>,
    /// Ids by feature, of requests for the user, of samples for the ad, of the requests' entries
    /// for the history.
    ids: Vec<Vec<u64>>,
    clicks: Vec<f32>,
}

impl Log {
    pub fn new(seed: u64, candidates: Vec<usize>, entries: Vec<usize>) -> Log {
        let mut r = Random::new(seed);
        let samples: usize = candidates.iter().sum();
        let total: usize = entries.iter().sum();
        let counts = [candidates.len(), candidates.len(), samples, samples, total, total];
        let mut ids: Vec<Vec<u64>> = Vec::new();
        for n in counts {
            ids.push((0..n).map(|_| r.below(IDS) as u64).collect());
        }
        let clicks = (0..samples).map(|_| r.below(2) as f32).collect();
        Log { candidates, entries, ids, clicks }
    }

    /// One request with some of its candidates.
    pub fn part(&self, request: usize, candidates: Range<usize>) -> Log {
        let first = |lengths: &[usize]| lengths[..request].iter().sum::<usize>();
        let (sample, entry) = (first(&self.candidates), first(&self.entries));
        let samples = sample + candidates.start..sample + candidates.end;
        let entries = entry..entry + self.entries[request];
        let ranges = [request..request + 1, samples.clone(), entries];
        let parts = self.ids.iter().enumerate().map(|(f, ids)| ids[ranges[f / 2].clone()].to_vec());
        Log {
            candidates: vec![candidates.len()],
            entries: vec![self.entries[request]],
            ids: parts.collect(),
            clicks: self.clicks[samples].to_vec(),
        }
    }

    /// As one row a sample, or with what requests have in common once.
    pub fn batch(&self, common: bool) -> Batch {
        let samples = self.clicks.len();
        let mut batch = Batch { rows: samples, ids: self.ids.clone(), dense: vec![Vec::new(); 6], ..Batch::default() };
        batch.labels = vec![self.clicks.clone()];
        batch.present = vec![vec![1.0; samples]];
        let ends = |lengths: &[usize]| -> Vec<u32> {
            let mut ends = vec![0u32];
            lengths.iter().for_each(|n| ends.push(ends[ends.len() - 1] + *n as u32));
            ends
        };
        if common {
            batch.requests = ends(&self.candidates);
            batch.offsets = vec![ends(&self.entries)];
            return batch;
        }
        let owner: Vec<usize> = self.candidates.iter().enumerate().flat_map(|(r, &n)| vec![r; n]).collect();
        let starts = ends(&self.entries);
        batch.offsets = vec![ends(&owner.iter().map(|&r| self.entries[r]).collect::<Vec<_>>())];
        for f in 0..USER {
            batch.ids[f] = owner.iter().map(|&r| self.ids[f][r]).collect();
        }
        for f in USER + AD..USER + 2 * AD {
            let list = |&r: &usize| self.ids[f][starts[r] as usize..starts[r + 1] as usize].to_vec();
            batch.ids[f] = owner.iter().flat_map(list).collect();
        }
        batch
    }
}

pub fn logs() -> Vec<Log> {
    (0..6)
        .map(|k| {
            let mut r = Random::new(50 + k);
            let requests = 1 + r.below(9);
            let candidates = (0..requests).map(|_| 1 + r.below(7)).collect();
            let entries = (0..requests).map(|_| if r.below(4) == 0 { 0 } else { r.below(12) }).collect();
            Log::new(k, candidates, entries)
        })
        .collect()
}

/// The samples of a batch for the reference; tables are those of the program, rows of fixed tables
/// are ids.
pub fn samples(model: &CheckedModel, batch: &Batch) -> Samples {
    let mut samples = Samples {
        batch: batch.rows,
        offsets: batch.offsets.iter().map(|o| o.iter().map(|&n| n as usize).collect()).collect(),
        requests: batch.requests.iter().map(|&n| n as usize).collect(),
        labels: vec![batch.labels[0].iter().map(|&x| f64::from(x)).collect()],
        ..Samples::default()
    };
    for (t, table) in model.tables.iter().enumerate() {
        for &f in &table.features {
            samples.rows.insert((t as u32, f), batch.ids[f as usize].iter().map(|&id| id as usize).collect());
        }
    }
    samples
}
