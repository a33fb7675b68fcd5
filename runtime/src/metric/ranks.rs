//! Metrics of rows that lie on several ranks.
//!
//! Rank 0 gets the rows of all ranks, in their order, and computes as one rank does: a group whose
//! rows lie on several ranks is one group, and sums run over the rows in their order. It holds what
//! a run of one rank holds. The rows travel in rounds of bounded size.

use super::auc::Undefined;
use super::report::{Collected, Detail, MetricValue, Metrics};
use crate::Result;
use crate::comm::{Channel, Communicator, Messages, floats_as_words, ids, push_id, words_as_floats};
use din_program::schema::{Metric, MetricKind};
use std::ops::Range;

/// Rows that rank 0 receives in one round, of all ranks together.
const ROUND_ROWS: usize = 4 << 20;

impl Metrics {
    /// The values over the rows of all ranks, the same on every rank: those of one rank to which
    /// the rows were pushed in the order of ranks. Every rank of the run calls it.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn finish_over_ranks(mut self, ranks: &dyn Communicator) -> Result<Vec<MetricValue>> {
        if ranks.size() == 1 {
            return Ok(self.finish());
        }
        self.gather(ranks, (ROUND_ROWS / ranks.size()).max(1))?;
        let mut words = Vec::new();
        if ranks.rank() == 0 {
            self.finish().iter().for_each(|value| push_value(value, &mut words));
        }
        let mut received = Messages::default();
        ranks.all_gather(Channel::Step, &words, &mut received)?;
        let values = received.get(0).as_chunks::<VALUE_WORDS>().0;
        assert_eq!(values.len(), self.metrics.len(), "ranks run one program");
        Ok(self.metrics.iter().zip(values).map(|(metric, words)| value(metric, words)).collect())
    }

    /// Moves all rows to rank 0, `round` of each rank at a time.
    fn gather(&mut self, ranks: &dyn Communicator, round: usize) -> Result<()> {
        let (mut send, mut received) = (Messages::default(), Messages::default());
        let mut counts = Vec::new();
        self.collected.iter().for_each(|collected| push_id(&mut counts, collected.labels.len() as u64));
        ranks.all_gather(Channel::Step, &counts, &mut received)?;
        let counts: Vec<Vec<usize>> = received.iter().map(|of| ids(of).map(|rows| rows as usize).collect()).collect();
        for (prediction, collected) in self.collected.iter_mut().enumerate() {
            let rows: Vec<usize> = counts.iter().map(|of| of[prediction]).collect();
            let most = rows[1..].iter().copied().max().unwrap_or(0);
            if ranks.rank() == 0 {
                collected.resize(rows.iter().sum());
            }
            for begin in (0..most).step_by(round) {
                let part = |rank: usize| begin.min(rows[rank])..(begin + round).min(rows[rank]);
                send.clear();
                if ranks.rank() > 0 {
                    collected.append_to(part(ranks.rank()), &mut send.words);
                }
                (0..ranks.size()).for_each(|_| send.end_message());
                ranks.all_to_all(Channel::Step, &send, &mut received)?;
                if ranks.rank() == 0 {
                    let mut first = rows[0];
                    for (from, own) in rows.iter().enumerate().skip(1) {
                        let part = part(from);
                        collected.set(first + part.start..first + part.end, received.get(from));
                        first += own;
                    }
                }
            }
            if ranks.rank() > 0 {
                collected.resize(0);
            }
        }
        Ok(())
    }
}

impl Collected {
    fn resize(&mut self, rows: usize) {
        self.logits.resize(rows, 0.0);
        self.labels.resize(rows, false);
        self.groups.iter_mut().for_each(|(_, keys)| keys.resize(rows, 0));
    }

    /// Appends rows to a message: logits, labels as bits, and the keys of each grouping.
    fn append_to(&self, rows: Range<usize>, words: &mut Vec<u32>) {
        words.extend_from_slice(floats_as_words(&self.logits[rows.clone()]));
        let bits = |labels: &[bool]| labels.iter().rev().fold(0, |bits, &label| bits << 1 | u32::from(label));
        words.extend(self.labels[rows.clone()].chunks(32).map(bits));
        for (_, keys) in &self.groups {
            keys[rows.clone()].iter().for_each(|&key| push_id(words, key));
        }
    }

    /// Sets rows to those of a message.
    fn set(&mut self, rows: Range<usize>, words: &[u32]) {
        let count = rows.len();
        let (logits, words) = words.split_at(count);
        self.logits[rows.clone()].copy_from_slice(words_as_floats(logits));
        let (labels, mut words) = words.split_at(count.div_ceil(32));
        for (k, label) in self.labels[rows.clone()].iter_mut().enumerate() {
            *label = labels[k / 32] >> (k % 32) & 1 == 1;
        }
        for (_, keys) in &mut self.groups {
            let (of_group, rest) = words.split_at(2 * count);
            keys[rows.clone()].iter_mut().zip(ids(of_group)).for_each(|(key, id)| *key = id);
            words = rest;
        }
        assert!(words.is_empty(), "ranks run one program");
    }
}

/// Words of a metric's value: why it has none, or 0; its bits; three counts.
const VALUE_WORDS: usize = 9;

fn push_value(value: &MetricValue, words: &mut Vec<u32>) {
    let (why, number) = match value.value {
        Ok(number) => (0, number),
        Err(Undefined::NoRows) => (1, 0.0),
        Err(Undefined::OneClass) => (2, 0.0),
        Err(Undefined::NaN) => (3, 0.0),
    };
    let counts = match value.detail {
        Detail::Auc { positives, negatives } => [positives, negatives, 0],
        Detail::Gauc { groups, skipped_groups, skipped_rows } => [groups, skipped_groups, skipped_rows],
        Detail::LogLoss { rows } => [rows, 0, 0],
    };
    words.push(why);
    push_id(words, number.to_bits());
    counts.iter().for_each(|&count| push_id(words, count));
}

fn value(metric: &Metric, words: &[u32; VALUE_WORDS]) -> MetricValue {
    let mut numbers = ids(&words[1..]);
    let mut next = || numbers.next().expect("a value has four numbers");
    let number = f64::from_bits(next());
    let counts = [next(), next(), next()];
    let value = match words[0] {
        0 => Ok(number),
        1 => Err(Undefined::NoRows),
        2 => Err(Undefined::OneClass),
        3 => Err(Undefined::NaN),
        _ => unreachable!("rank 0 sends one of these"),
    };
    let detail = match metric.kind {
        MetricKind::Auc => Detail::Auc { positives: counts[0], negatives: counts[1] },
        MetricKind::Gauc { .. } => {
            Detail::Gauc { groups: counts[0], skipped_groups: counts[1], skipped_rows: counts[2] }
        }
        MetricKind::LogLoss => Detail::LogLoss { rows: counts[0] },
    };
    MetricValue { name: metric.name.clone(), value, direction: metric.kind.direction(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, KeyColumn};
    use crate::comm::in_process;
    use din_program::schema::{GroupBy, GroupWeight, Prediction};
    use proptest::prelude::*;

    /// User, item, then for each of two predictions: logit, label or none.
    type Row = (u8, u64, [(f32, Option<bool>); 2]);

    fn metrics() -> Metrics {
        let metric = |name: &str, prediction, kind| Metric { name: name.into(), prediction, kind };
        let gauc = |by, weight| MetricKind::Gauc { by, weight };
        let prediction = |name: &str, label| Prediction { name: name.into(), label };
        let metrics = [
            metric("auc(a)", 0, MetricKind::Auc),
            metric("gauc by user", 0, gauc(GroupBy::Key(0), GroupWeight::Clicks)),
            metric("gauc by item", 0, gauc(GroupBy::Feature(0), GroupWeight::Impressions)),
            metric("log_loss(a)", 0, MetricKind::LogLoss),
            metric("log_loss(b)", 1, MetricKind::LogLoss),
            metric("gauc(b)", 1, gauc(GroupBy::Key(0), GroupWeight::None)),
        ];
        Metrics::new(&[prediction("a", 1), prediction("b", 0)], &metrics)
    }

    fn push(metrics: &mut Metrics, rows: &[Row]) {
        let of = |prediction: usize| move |row: &Row| row.2[prediction];
        let labels = |prediction| rows.iter().map(move |row| f32::from(u8::from(of(prediction)(row).1 == Some(true))));
        let present = |prediction| rows.iter().map(move |row| f32::from(u8::from(of(prediction)(row).1.is_some())));
        let batch = Batch {
            rows: rows.len(),
            ids: vec![rows.iter().map(|row| row.1).collect()],
            labels: vec![labels(1).collect(), labels(0).collect()],
            present: vec![present(1).collect(), present(0).collect()],
            keys: vec![KeyColumn::String(rows.iter().map(|row| format!("user {}", row.0)).collect())],
            ..Batch::default()
        };
        let logits: Vec<Vec<f32>> = (0..2).map(|p| rows.iter().map(|row| of(p)(row).0).collect()).collect();
        metrics.push(&batch, &logits);
    }

    /// Values with their bits: NaN is no value, and -0 is not 0.
    fn bits(values: &[MetricValue]) -> Vec<(std::result::Result<u64, Undefined>, Detail)> {
        values.iter().map(|value| (value.value.map(f64::to_bits), value.detail.clone())).collect()
    }

    /// What each rank finishes with, where the rows are cut at `cuts`.
    fn over_ranks(rows: &[Row], cuts: &[usize], round: usize) -> Vec<Vec<MetricValue>> {
        let bounds = [&[0], cuts, &[rows.len()]].concat();
        let ranks = in_process(bounds.len() - 1);
        std::thread::scope(|scope| {
            let run = |(comm, own): (std::sync::Arc<dyn Communicator>, &[usize])| {
                let rows = &rows[own[0]..own[1]];
                scope.spawn(move || {
                    let mut metrics = metrics();
                    rows.chunks(7).for_each(|batch| push(&mut metrics, batch));
                    metrics.gather(&*comm, round).unwrap();
                    // All rows are on rank 0; to gather them again moves nothing.
                    metrics.finish_over_ranks(&*comm).unwrap()
                })
            };
            let running: Vec<_> = ranks.into_iter().zip(bounds.windows(2)).map(run).collect();
            running.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let logit = prop_oneof![8 => -3.0f32..3.0, 1 => Just(0.5), 1 => Just(-0.0)];
        let label = prop_oneof![3 => any::<bool>().prop_map(Some), 1 => Just(None)];
        let values = (logit, label);
        let row = (0u8..5, prop_oneof![0..3u64, any::<u64>()], [values.clone(), values]);
        prop::collection::vec(row, 0..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_cut_gives_the_bits_of_one_rank(
            rows in rows(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            round in 1usize..50,
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
            cuts.sort_unstable();
            let mut one = metrics();
            push(&mut one, &rows);
            let expected = one.finish();
            for values in over_ranks(&rows, &cuts, round) {
                prop_assert_eq!(bits(&values), bits(&expected));
                let named = |value: &MetricValue| (value.name.clone(), value.direction);
                prop_assert!(values.iter().map(named).eq(expected.iter().map(named)));
            }
        }
    }

    /// A sum that is cut by ranks and then added has other bits than one in the order of rows.
    #[test]
    fn the_order_of_rows_decides_the_bits_of_log_loss() {
        let rows: Vec<Row> = (0..1000)
            .map(|k: u64| (0, 0, [((k * 37 % 101) as f32 / 9.0 - 5.0, Some(k.is_multiple_of(3))); 2]))
            .collect();
        let of = |rows: &[Row]| {
            let mut metrics = metrics();
            push(&mut metrics, rows);
            metrics.finish()[3].value.unwrap()
        };
        let halves = (of(&rows[..500]) * 500.0 + of(&rows[500..]) * 500.0) / 1000.0;
        assert_ne!(halves.to_bits(), of(&rows).to_bits());
        assert_eq!(over_ranks(&rows, &[500], 64)[1][3].value.unwrap().to_bits(), of(&rows).to_bits());
    }

    #[test]
    fn every_rank_knows_why_there_is_no_value() {
        let row = |logit, label| (1, 2, [(logit, label); 2]);
        let undefined = |rows: &[Row], cuts: &[usize]| {
            let values = over_ranks(rows, cuts, 4);
            assert!(values.iter().all(|of_rank| *of_rank == values[0]));
            values[0].iter().map(|value| value.value).collect::<Vec<_>>()
        };
        assert_eq!(undefined(&[], &[0, 0, 0]), [Err(Undefined::NoRows); 6]);
        assert_eq!(undefined(&[row(1.0, None), row(2.0, None)], &[1]), [Err(Undefined::NoRows); 6]);
        let one_class = undefined(&[row(0.0, Some(true)), row(2.0, Some(true))], &[1, 1]);
        assert_eq!(one_class[..3], [Err(Undefined::OneClass); 3]);
        assert!(one_class[3].is_ok());
        let rows = [row(0.0, Some(true)), row(1.0, Some(false)), row(f32::NAN, Some(true))];
        assert_eq!(undefined(&rows, &[2]), [Err(Undefined::NaN); 6]);
    }
}
