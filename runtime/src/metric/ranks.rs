//! Metrics of rows that lie on several ranks.
//!
//! Rank 0 gets the rows of all ranks, in their order, and computes as one rank does: a group whose
//! rows lie on several ranks is one group, and sums run over the rows in their order. It holds what
//! a run of one rank holds. The rows travel in rounds of bounded size.

use super::auc::Undefined;
use super::report::{Collected, CollectedSpan, Detail, MetricValue, Metrics};
use super::slices::{SliceValue, Slices};
use crate::Result;
use crate::comm::{Channel, Communicator, Messages, floats_as_words, ids, push_id, words_as_floats};
use crate::data::{Message, push_bytes};
use din_program::schema::{Metric, MetricKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::Range;

/// Rows that rank 0 receives in one round, of all ranks together.
const ROUND_ROWS: usize = 4 << 20;

impl Metrics {
    /// The values over the rows of all ranks, the same on every rank: those of one rank that
    /// collected them all. Every rank of the run calls it.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn finish_over_ranks(mut self, ranks: &dyn Communicator) -> Result<Vec<MetricValue>> {
        if ranks.size() == 1 {
            return Ok(self.finish());
        }
        self.gather(ranks, (ROUND_ROWS / ranks.size()).max(1))?;
        self.gather_slice_values(ranks)?;
        let mut words = Vec::new();
        if ranks.rank() == 0 {
            let values = self.finish();
            values.iter().for_each(|value| push_value(value, &mut words));
            let slices: Vec<&[Slices]> = values.iter().map(|value| value.slices.as_slice()).collect();
            push_encoded(&slices, &mut words);
        }
        let mut received = Messages::default();
        ranks.all_gather(Channel::Step, &words, &mut received)?;
        let (values, slices) = received.get(0).split_at(VALUE_WORDS * self.metrics.len());
        let slices: Vec<Vec<Slices>> = decoded(&mut Message { words: slices });
        let values = self.metrics.iter().zip(values.as_chunks::<VALUE_WORDS>().0);
        Ok(values.zip(slices).map(|((metric, words), slices)| value(metric, words, slices)).collect())
    }

    /// Tells rank 0 what the slices of all ranks are called.
    fn gather_slice_values(&mut self, ranks: &dyn Communicator) -> Result<()> {
        if self.slice_values.is_empty() {
            return Ok(());
        }
        let (mut send, mut received) = (Messages::default(), Messages::default());
        if ranks.rank() > 0 {
            for own in &self.slice_values {
                let values: Vec<(&u64, &SliceValue)> = own.values.iter().collect();
                push_encoded(&values, &mut send.words);
            }
        }
        (0..ranks.size()).for_each(|_| send.end_message());
        ranks.all_to_all(Channel::Step, &send, &mut received)?;
        if ranks.rank() == 0 {
            for words in received.iter().skip(1) {
                let mut message = Message { words };
                for all in &mut self.slice_values {
                    all.values.extend(decoded::<Vec<(u64, SliceValue)>>(&mut message));
                }
            }
        }
        Ok(())
    }

    /// Moves all rows to rank 0, `round` of each rank at a time.
    fn gather(&mut self, ranks: &dyn Communicator, round: usize) -> Result<()> {
        let (mut send, mut received) = (Messages::default(), Messages::default());
        let mut own = Vec::new();
        for CollectedSpan { rows, labelled } in &self.spans {
            let labelled = labelled.iter().map(|&rows| rows as u64);
            [rows.start, rows.end].into_iter().chain(labelled).for_each(|number| push_id(&mut own, number));
        }
        ranks.all_gather(Channel::Step, &own, &mut received)?;
        let populations = self.collected.len();
        let spans: Vec<Vec<CollectedSpan>> = received.iter().map(|words| spans(words, populations)).collect();
        for (population, collected) in self.collected.iter_mut().enumerate() {
            let places = Places::new(&spans, population);
            let most = (1..ranks.size()).map(|rank| places.rows(rank)).max().unwrap_or(0);
            if ranks.rank() == 0 {
                collected.resize((0..ranks.size()).map(|rank| places.rows(rank)).sum());
                places.of_rank[0].iter().rev().for_each(|place| collected.move_rows(place));
            }
            for begin in (0..most).step_by(round) {
                let part = |rank: usize| begin.min(places.rows(rank))..(begin + round).min(places.rows(rank));
                send.clear();
                if ranks.rank() > 0 {
                    collected.append_to(part(ranks.rank()), &mut send.words);
                }
                (0..ranks.size()).for_each(|_| send.end_message());
                ranks.all_to_all(Channel::Step, &send, &mut received)?;
                if ranks.rank() == 0 {
                    (1..ranks.size()).for_each(|from| collected.set(&places.of(from, part(from)), received.get(from)));
                }
            }
            if ranks.rank() > 0 {
                collected.resize(0);
            }
        }
        self.spans.clear();
        if ranks.rank() == 0 {
            let labelled = self.collected.iter().map(|collected| collected.labels.len()).collect();
            let end = spans.iter().flatten().map(|span| span.rows.end).max().unwrap_or(0);
            self.spans.push(CollectedSpan { rows: 0..end, labelled });
        }
        Ok(())
    }
}

/// Spans as ranks send them.
fn spans(words: &[u32], populations: usize) -> Vec<CollectedSpan> {
    let numbers: Vec<u64> = ids(words).collect();
    let span = |numbers: &[u64]| CollectedSpan {
        rows: numbers[0]..numbers[1],
        labelled: numbers[2..].iter().map(|&rows| rows as usize).collect(),
    };
    numbers.chunks(2 + populations).map(span).collect()
}

/// Rows of one rank that lie side by side on it and in the order of all rows.
#[derive(Clone, Copy, Debug)]
struct RowPlace {
    /// The first among the rank's.
    own: usize,
    /// The first among all.
    all: usize,
    rows: usize,
}

/// Where the labelled rows of each rank lie in the order of all rows.
struct Places {
    /// By rank, ascending both on it and among all.
    of_rank: Vec<Vec<RowPlace>>,
}

impl Places {
    /// Of a population; `spans` are those of each rank.
    fn new(spans: &[Vec<CollectedSpan>], population: usize) -> Places {
        let of_rank = |(rank, spans): (usize, &Vec<CollectedSpan>)| {
            spans.iter().map(|span| (span.rows.start, rank, span.labelled[population])).collect::<Vec<_>>()
        };
        let mut ordered: Vec<_> = spans.iter().enumerate().flat_map(of_rank).collect();
        ordered.sort_unstable();
        let mut places = Places { of_rank: vec![Vec::new(); spans.len()] };
        let mut all = 0;
        for (_, rank, rows) in ordered {
            let own = places.rows(rank);
            places.of_rank[rank].push(RowPlace { own, all, rows });
            all += rows;
        }
        places
    }

    /// Labelled rows of a rank.
    fn rows(&self, rank: usize) -> usize {
        self.of_rank[rank].last().map_or(0, |last| last.own + last.rows)
    }

    /// Where these of a rank's rows lie among all.
    fn of(&self, rank: usize, rows: Range<usize>) -> Vec<Range<usize>> {
        let first = self.of_rank[rank].partition_point(|place| place.own + place.rows <= rows.start);
        let overlapping = self.of_rank[rank][first..].iter().take_while(|place| place.own < rows.end);
        let place = |place: &RowPlace| {
            let (begin, end) = (rows.start.max(place.own), rows.end.min(place.own + place.rows));
            place.all + begin - place.own..place.all + end - place.own
        };
        overlapping.map(place).collect()
    }
}

impl Collected {
    fn resize(&mut self, rows: usize) {
        self.predicted.resize(rows, 0.0);
        self.labels.resize(rows);
        self.weights.iter_mut().for_each(|weights| weights.resize(rows, 0.0));
        self.groups.iter_mut().for_each(|(_, keys)| keys.resize(rows, 0));
    }

    /// Appends rows to a message: predictions, labels, weights, and the keys of each grouping.
    fn append_to(&self, rows: Range<usize>, words: &mut Vec<u32>) {
        words.extend_from_slice(floats_as_words(&self.predicted[rows.clone()]));
        self.labels.append_to(rows.clone(), words);
        if let Some(weights) = &self.weights {
            words.extend_from_slice(floats_as_words(&weights[rows.clone()]));
        }
        for (_, keys) in &self.groups {
            keys[rows.clone()].iter().for_each(|&key| push_id(words, key));
        }
    }

    /// Moves rows of this rank, which come first, to their place among all.
    fn move_rows(&mut self, place: &RowPlace) {
        let from = place.own..place.own + place.rows;
        self.predicted.copy_within(from.clone(), place.all);
        self.labels.copy_within(from.clone(), place.all);
        self.weights.iter_mut().for_each(|weights| weights.copy_within(from.clone(), place.all));
        self.groups.iter_mut().for_each(|(_, keys)| keys.copy_within(from.clone(), place.all));
    }

    /// Sets the rows in these places to those of a message.
    fn set(&mut self, places: &[Range<usize>], words: &[u32]) {
        let count = places.iter().map(Range::len).sum();
        let (predicted, words) = words.split_at(count);
        let (labels, mut words) = words.split_at(self.labels.words(count));
        let rows = || places.iter().cloned().flatten();
        rows().zip(words_as_floats(predicted)).for_each(|(row, &value)| self.predicted[row] = value);
        self.labels.set(rows(), labels);
        if let Some(weights) = &mut self.weights {
            let (of_rows, rest) = words.split_at(count);
            rows().zip(words_as_floats(of_rows)).for_each(|(row, &weight)| weights[row] = weight);
            words = rest;
        }
        for (_, keys) in &mut self.groups {
            let (of_group, rest) = words.split_at(2 * count);
            rows().zip(ids(of_group)).for_each(|(row, id)| keys[row] = id);
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
        Err(Undefined::NoPositives) => (4, 0.0),
        Err(Undefined::EqualLabels) => (5, 0.0),
        Err(Undefined::Weight) => (6, 0.0),
        Err(Undefined::NoWeight) => (7, 0.0),
    };
    let counts = match value.detail {
        Detail::Area { positives, negatives } => [positives, negatives, 0],
        Detail::Gauc { groups, skipped_groups, skipped_rows }
        | Detail::Ranked { groups, skipped_groups, skipped_rows } => [groups, skipped_groups, skipped_rows],
        Detail::Mean { rows } => [rows, 0, 0],
    };
    words.push(why);
    push_id(words, number.to_bits());
    counts.iter().for_each(|&count| push_id(words, count));
}

fn push_encoded(value: &impl Serialize, words: &mut Vec<u32>) {
    let bytes = postcard::to_stdvec(value).expect("values in memory can be encoded");
    push_bytes(&bytes, words);
}

/// What [`push_encoded`] appended.
fn decoded<T: DeserializeOwned>(message: &mut Message) -> T {
    postcard::from_bytes(&message.bytes()).expect("ranks run one program")
}

fn value(metric: &Metric, words: &[u32; VALUE_WORDS], slices: Vec<Slices>) -> MetricValue {
    let mut numbers = ids(&words[1..]);
    let mut next = || numbers.next().expect("a value has four numbers");
    let number = f64::from_bits(next());
    let counts = [next(), next(), next()];
    let value = match words[0] {
        0 => Ok(number),
        1 => Err(Undefined::NoRows),
        2 => Err(Undefined::OneClass),
        3 => Err(Undefined::NaN),
        4 => Err(Undefined::NoPositives),
        5 => Err(Undefined::EqualLabels),
        6 => Err(Undefined::Weight),
        7 => Err(Undefined::NoWeight),
        _ => unreachable!("rank 0 sends one of these"),
    };
    let detail = match metric.kind {
        MetricKind::Auc | MetricKind::PrAuc => Detail::Area { positives: counts[0], negatives: counts[1] },
        MetricKind::Gauc { .. } => {
            Detail::Gauc { groups: counts[0], skipped_groups: counts[1], skipped_rows: counts[2] }
        }
        MetricKind::Ranked { .. } => {
            Detail::Ranked { groups: counts[0], skipped_groups: counts[1], skipped_rows: counts[2] }
        }
        MetricKind::LogLoss
        | MetricKind::Accuracy
        | MetricKind::NormalizedEntropy
        | MetricKind::RelativeInformationGain
        | MetricKind::Calibration
        | MetricKind::Brier
        | MetricKind::RootMeanSquaredError
        | MetricKind::MeanAbsoluteError
        | MetricKind::Xauc => Detail::Mean { rows: counts[0] },
    };
    MetricValue { name: metric.name.clone(), value, direction: metric.kind.direction(), detail, slices }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, KeyColumn};
    use crate::comm::in_process;
    use din_program::schema::{Distribution, GroupBy, GroupWeight, Prediction, RankedMeasure};
    use proptest::prelude::*;

    /// User, item, then for each of two predictions: logit, label or none. A third prediction is of
    /// numbers that follow from these.
    type Row = (u8, u64, [(f32, Option<bool>); 2]);

    fn metrics() -> Metrics {
        let metric = |name: &str, prediction, kind| Metric {
            name: name.into(),
            prediction,
            kind,
            condition: None,
            sample_weight: None,
            slices: Vec::new(),
        };
        let gauc = |by, weight| MetricKind::Gauc { by, weight };
        let prediction = |name: &str, label, distribution| Prediction { name: name.into(), label, distribution };
        let metrics = [
            metric("auc(a)", 0, MetricKind::Auc),
            metric("gauc by user", 0, gauc(GroupBy::Key(0), GroupWeight::Clicks)),
            metric("gauc by item", 0, gauc(GroupBy::Feature(0), GroupWeight::Impressions)),
            metric("log_loss(a)", 0, MetricKind::LogLoss),
            metric("log_loss(b)", 1, MetricKind::LogLoss),
            metric("gauc(b)", 1, gauc(GroupBy::Key(0), GroupWeight::None)),
            metric("pr_auc(a)", 0, MetricKind::PrAuc),
            metric("pcoc(b)", 1, MetricKind::Calibration),
            metric("ndcg(b)", 1, MetricKind::Ranked { measure: RankedMeasure::Ndcg, by: GroupBy::Feature(0), k: 3 }),
            metric("rmse(c)", 2, MetricKind::RootMeanSquaredError),
            metric("xauc(c)", 2, MetricKind::Xauc),
        ];
        let only = Metric { condition: Some(0), ..metric("auc(b) where", 1, MetricKind::Auc) };
        // Weights are the values of the condition.
        let weighted = |name, prediction, kind| Metric { sample_weight: Some(0), ..metric(name, prediction, kind) };
        let weighted = [
            weighted("auc(a, sample_weight)", 0, MetricKind::Auc),
            weighted("rmse(c, sample_weight)", 2, MetricKind::RootMeanSquaredError),
        ];
        let metrics = [&metrics[..], &[only], &weighted].concat();
        let (a, b) = (prediction("a", 1, Distribution::Bernoulli), prediction("b", 0, Distribution::Bernoulli));
        Metrics::new(&[a, b, prediction("c", 2, Distribution::Normal)], &metrics)
    }

    fn push(metrics: &mut Metrics, first_row: usize, rows: &[Row]) {
        let of = |prediction: usize| move |row: &Row| row.2[prediction];
        let labels = |prediction| rows.iter().map(move |row| f32::from(u8::from(of(prediction)(row).1 == Some(true))));
        let present = |prediction| rows.iter().map(move |row| f32::from(u8::from(of(prediction)(row).1.is_some())));
        let batch = Batch {
            rows: rows.len(),
            ids: vec![rows.iter().map(|row| row.1).collect()],
            labels: vec![labels(1).collect(), labels(0).collect(), rows.iter().map(|row| row.1 as f32 / 8.0).collect()],
            present: vec![present(1).collect(), present(0).collect(), present(0).collect()],
            keys: vec![KeyColumn::String(rows.iter().map(|row| format!("user {}", row.0)).collect())],
            ..Batch::default()
        };
        let predicted = [0, 1, 0].map(|p| rows.iter().map(|row| of(p)(row).0).collect::<Vec<f32>>());
        let condition: Vec<f32> = rows.iter().map(|row| (row.1 % 3) as f32).collect();
        metrics.push(first_row as u64, &batch, &predicted, &[&condition]);
    }

    /// Values with their bits: NaN is no value, and -0 is not 0.
    fn bits(values: &[MetricValue]) -> Vec<(std::result::Result<u64, Undefined>, Detail)> {
        values.iter().map(|value| (value.value.map(f64::to_bits), value.detail.clone())).collect()
    }

    /// What each rank finishes with, where the rows are cut at `cuts` and rank `owner(part)` has a
    /// part.
    fn over_ranks(
        rows: &[Row],
        cuts: &[usize],
        ranks: usize,
        owner: impl Fn(usize) -> usize + Sync,
        round: usize,
    ) -> Vec<Vec<MetricValue>> {
        let bounds = [&[0], cuts, &[rows.len()]].concat();
        let (bounds, owner) = (&bounds, &owner);
        std::thread::scope(|scope| {
            let run = |comm: std::sync::Arc<dyn Communicator>| {
                scope.spawn(move || {
                    let mut metrics = metrics();
                    for (_, own) in bounds.windows(2).enumerate().filter(|(part, _)| owner(*part) == comm.rank()) {
                        let batches = rows[own[0]..own[1]].chunks(7).enumerate();
                        batches.for_each(|(k, batch)| push(&mut metrics, own[0] + 7 * k, batch));
                    }
                    metrics.gather(&*comm, round).unwrap();
                    // All rows are on rank 0; to gather them again moves nothing.
                    metrics.finish_over_ranks(&*comm).unwrap()
                })
            };
            let running: Vec<_> = in_process(ranks).into_iter().map(run).collect();
            running.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    /// The same where each rank has one part.
    fn by_parts(rows: &[Row], cuts: &[usize], round: usize) -> Vec<Vec<MetricValue>> {
        over_ranks(rows, cuts, cuts.len() + 1, |part| part, round)
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
            owners in prop::collection::vec(0usize..4, 6),
            round in 1usize..50,
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(rows.len() + 1)).collect();
            cuts.sort_unstable();
            let mut one = metrics();
            push(&mut one, 0, &rows);
            let expected = one.finish();
            let scattered = over_ranks(&rows, &cuts, 4, |part| owners[part], round);
            for values in by_parts(&rows, &cuts, round).into_iter().chain(scattered) {
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
            push(&mut metrics, 0, rows);
            metrics.finish()[3].value.unwrap()
        };
        let halves = (of(&rows[..500]) * 500.0 + of(&rows[500..]) * 500.0) / 1000.0;
        assert_ne!(halves.to_bits(), of(&rows).to_bits());
        assert_eq!(by_parts(&rows, &[500], 64)[1][3].value.unwrap().to_bits(), of(&rows).to_bits());
    }

    #[test]
    fn every_rank_knows_why_there_is_no_value() {
        let row = |logit, label| (1, 2, [(logit, label); 2]);
        let undefined = |rows: &[Row], cuts: &[usize]| {
            let values = by_parts(rows, cuts, 4);
            assert!(values.iter().all(|of_rank| *of_rank == values[0]));
            values[0].iter().map(|value| value.value).collect::<Vec<_>>()
        };
        assert_eq!(undefined(&[], &[0, 0, 0]), [Err(Undefined::NoRows); 14]);
        assert_eq!(undefined(&[row(1.0, None), row(2.0, None)], &[1]), [Err(Undefined::NoRows); 14]);
        let one_class = undefined(&[row(0.0, Some(true)), row(2.0, Some(true))], &[1, 1]);
        assert_eq!(one_class[..3], [Err(Undefined::OneClass); 3]);
        assert!(one_class[3].is_ok());
        let rows = [row(0.0, Some(true)), row(1.0, Some(false)), row(f32::NAN, Some(true))];
        assert_eq!(undefined(&rows, &[2]), [Err(Undefined::NaN); 14]);
    }
}
