//! What the training data give reason to warn of: numbers that lose digits, labels that nothing can
//! be learned from.

use super::Event;
use crate::batch::Batch;
use crate::data::{DataError, Dataset};
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
                observe(Event::Warning(DataError::to_string(&warning)));
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

    /// After an epoch: warns, once, of predicted labels that nothing can be learned from.
    pub fn end_of_epoch(&mut self, program: &Program, observe: &mut dyn FnMut(Event)) {
        if !std::mem::take(&mut self.whole) {
            return;
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
            observe(Event::Warning(format!(
                "training data: column \"{column}\": {found}, from which nothing can be learned \
                 ({at}); help: check the join or the filter that made the data"
            )));
        }
    }
}
