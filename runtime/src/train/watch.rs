//! What the training data give reason to warn of: numbers that lose digits, labels that nothing can
//! be learned from.

use super::Event;
use crate::Result;
use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages, ids, push_id};
use crate::data::Dataset;
use din_program::Program;

/// The known values of a label: how many rows, the least and the largest value.
#[derive(Clone, Copy, Debug)]
struct SeenLabels {
    known: u64,
    least: f32,
    largest: f32,
}

impl SeenLabels {
    const NONE: Self = Self { known: 0, least: f32::INFINITY, largest: f32::NEG_INFINITY };

    fn add(&mut self, other: Self) {
        self.known += other.known;
        self.least = self.least.min(other.least);
        self.largest = self.largest.max(other.largest);
    }
}

/// Looks at the data of a run while they are read.
#[derive(Debug)]
pub(super) struct Watch {
    /// Columns that were warned of, in any data set of the run.
    columns: Vec<Option<String>>,
    /// By label.
    seen: Vec<SeenLabels>,
    /// Whether `seen` began with an epoch.
    whole: bool,
}

impl Watch {
    /// `whole`: the next batch is the first of an epoch.
    pub fn new(program: &Program, whole: bool) -> Self {
        Self { columns: Vec::new(), seen: vec![SeenLabels::NONE; program.schema.labels.len()], whole }
    }

    /// Warns of columns of a data set, each once in a run.
    pub fn columns(&mut self, data: &Dataset, observe: &mut dyn FnMut(Event)) {
        for warning in data.warnings() {
            if !self.columns.contains(&warning.column) {
                observe(Event::Warning((&warning).into()));
                self.columns.push(warning.column.clone());
            }
        }
    }

    /// Counts the labels of a batch, as long as only one value of them was seen.
    pub fn labels(&mut self, batch: &Batch) {
        if !self.whole {
            return;
        }
        let labels = batch.labels.iter().zip(&batch.present);
        for (seen, (labels, present)) in self.seen.iter_mut().zip(labels) {
            if seen.least < seen.largest {
                continue;
            }
            for (&value, _) in labels.iter().zip(present).filter(|(_, present)| **present != 0.0) {
                seen.add(SeenLabels { known: 1, least: value, largest: value });
            }
        }
    }

    /// After an epoch: warns, once, of predicted labels that nothing can be learned from. Every
    /// rank of the run calls it, and warns of the same.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn end_of_epoch(
        &mut self,
        program: &Program,
        ranks: &dyn Communicator,
        observe: &mut dyn FnMut(Event),
    ) -> Result<()> {
        if !std::mem::take(&mut self.whole) {
            return Ok(());
        }
        let (mut own, mut received) = (Vec::new(), Messages::default());
        for seen in &self.seen {
            push_id(&mut own, seen.known);
            own.extend([seen.least, seen.largest].map(f32::to_bits));
        }
        ranks.all_gather(Channel::Step, &own, &mut received)?;
        self.seen.fill(SeenLabels::NONE);
        for of_rank in received.iter() {
            for (seen, of_rank) in self.seen.iter_mut().zip(of_rank.as_chunks::<4>().0) {
                let known = ids(&of_rank[..2]).next().expect("two words are an id");
                let [least, largest] = [of_rank[2], of_rank[3]].map(f32::from_bits);
                seen.add(SeenLabels { known, least, largest });
            }
        }
        for prediction in &program.predictions {
            let index = prediction.label as usize;
            let label = &program.schema.labels[index];
            let at = format!("label {}, {}", label.name, label.location);
            let column = &label.column;
            let found = match self.seen[index] {
                SeenLabels { known: 0, .. } => "no row has a known value".to_string(),
                SeenLabels { known, least, largest } if least == largest => {
                    format!("all {known} known values are {least}")
                }
                SeenLabels { .. } => continue,
            };
            observe(Event::Warning(
                format!(
                    "training data: column \"{column}\": {found}, from which nothing can be learned \
                 ({at}); help: check the join or the filter that made the data"
                )
                .into(),
            ));
        }
        Ok(())
    }
}
