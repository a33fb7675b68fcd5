//! Rows on their way from the rank that predicts them to the rank that writes them, where ranks
//! share the batches of a data set.
//!
//! Guarantees that a rank gets the rows of its part, in their order, and that no request is cut.

use crate::Result;
use crate::comm::{Channel, Communicator, Messages};
use crate::data::{Dataset, Message, push_arrays};
use arrow_array::{ArrayRef, RecordBatch};
use std::sync::Arc;

/// What ranks send each other for each batch.
#[derive(Debug)]
pub(super) struct RowExchange {
    ranks: Arc<dyn Communicator>,
    /// By rank, the number of the first row of its part.
    begins: Vec<u64>,
    sent: Messages,
    received: Messages,
}

impl RowExchange {
    pub fn new(data: &Dataset, ranks: Arc<dyn Communicator>) -> RowExchange {
        let begins = (0..ranks.size()).map(|rank| data.part_rows(rank, ranks.size()).start).collect();
        RowExchange { ranks, begins, sent: Messages::default(), received: Messages::default() }
    }

    /// Sends the rows of a batch to the ranks whose parts they are in, and gives those of this
    /// rank's part. `first_row` is the number of the first; `requests` are as those of a batch.
    ///
    /// # Errors
    /// Another rank failed.
    pub fn exchange(&mut self, record: &RecordBatch, first_row: u64, requests: &[u32]) -> Result<Vec<RecordBatch>> {
        let rows = record.num_rows();
        // Where a rank's rows begin: where the first request does that begins in its part.
        let begin = |rank: usize| {
            let Some(begin) = self.begins.get(rank) else { return rows };
            let row = begin.saturating_sub(first_row).min(rows as u64) as usize;
            let later = requests.partition_point(|&first| (first as usize) < row);
            requests.get(later).map_or(row, |&first| first as usize)
        };
        self.sent.clear();
        for rank in 0..self.ranks.size() {
            let (begin, end) = (begin(rank), begin(rank + 1));
            self.sent.words.push((end - begin) as u32);
            if begin < end {
                let own = record.slice(begin, end - begin);
                own.columns().iter().for_each(|column| push_arrays(std::slice::from_ref(column), &mut self.sent.words));
            }
            self.sent.end_message();
        }
        self.ranks.all_to_all(Channel::Step, &self.sent, &mut self.received)?;
        let schema = record.schema();
        let rows = |words| {
            let mut message = Message { words };
            if message.number() == 0 {
                return None;
            }
            let columns = schema.fields().iter().map(|field| {
                let mut arrays = message.arrays(field.data_type());
                arrays.pop().expect("one array was sent")
            });
            let columns: Vec<ArrayRef> = columns.collect();
            Some(RecordBatch::try_new(schema.clone(), columns).expect("ranks write one schema"))
        };
        Ok(self.received.iter().filter_map(rows).collect())
    }
}
