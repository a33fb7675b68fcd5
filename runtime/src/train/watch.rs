//! What the training data give reason to warn of: numbers that lose digits, labels that nothing can
//! be learned from.

use super::Event;
use crate::Result;
use crate::batch::Batch;
use crate::comm::{Channel, Communicator, Messages, ids, push_id};
use crate::data::Dataset;
use din_program::Program;

/// Looks at the data of a run while they are read.
#[derive(Debug)]
pub(super) struct Watch {
    /// Columns that were warned of, in any data set of the run.
    columns: Vec<Option<String>>,
    /// By label: rows whose value is known, and of these the rows with a 1.
    seen: Vec<(u64, u64)>,
    /// Whether `seen` began with an epoch.
    whole: bool,
}

impl Watch {
    /// `whole`: the next batch is the first of an epoch.
    pub fn new(program: &Program, whole: bool) -> Self {
        Self { columns: Vec::new(), seen: vec![(0, 0); program.schema.labels.len()], whole }
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
        for ((known, ones), (labels, present)) in self.seen.iter_mut().zip(labels) {
            if *known == 0 || *ones == 0 || ones == known {
                *known += present.iter().filter(|&&p| p != 0.0).count() as u64;
                *ones += labels.iter().filter(|&&l| l != 0.0).count() as u64;
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
        self.seen.iter().for_each(|&(known, ones)| [known, ones].iter().for_each(|&count| push_id(&mut own, count)));
        ranks.all_gather(Channel::Step, &own, &mut received)?;
        self.seen.fill((0, 0));
        for of_rank in received.iter() {
            let counts: Vec<u64> = ids(of_rank).collect();
            for ((known, ones), of_rank) in self.seen.iter_mut().zip(counts.as_chunks::<2>().0) {
                *known += of_rank[0];
                *ones += of_rank[1];
            }
        }
        for prediction in &program.predictions {
            let index = prediction.label as usize;
            let label = &program.schema.labels[index];
            let at = format!("label {}, {}", label.name, label.location);
            let column = &label.column;
            let found = match self.seen[index] {
                (0, _) => "no row has a known value".to_string(),
                (known, 0) => format!("all {known} known values are 0"),
                (known, ones) if ones == known => format!("all {known} known values are 1"),
                _ => continue,
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
