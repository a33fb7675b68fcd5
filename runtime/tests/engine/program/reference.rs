//! Random batches for the model of `program`, and the model in f64.

use super::{D, H, RATE, ROWS};
use din_runtime::exec::{BatchCut, DenseState, StepInputs};
use din_runtime::leaves::DEFAULT_LEAVES;
use din_runtime::table::Table;

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
            first_row: 0,
            epoch: 1,
        }
    }
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
