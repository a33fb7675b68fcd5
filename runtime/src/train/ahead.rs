//! The batches of an epoch, on several ranks each with the rows that it needs: they are asked for
//! while the step before runs.

use crate::batch::Batch;
use crate::data::Batches;
use crate::session::{AskedRows, RowAsker};
use crate::{Error, Result};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::thread::JoinHandle;

/// A batch that is ready for its step.
#[derive(Debug)]
pub(super) struct StepBatch {
    pub batch: Batch,
    /// What was asked for it; `None` on one rank.
    pub asked: Option<AskedRows>,
}

/// See the module.
#[derive(Debug)]
pub(super) enum StepBatches {
    /// On one rank.
    Read(Batches),
    /// On a rank of several.
    Asked(AskedBatches),
}

/// A thread that reads batches and asks for their rows. Dropping it stops the thread, on every rank
/// behind the same batch.
#[derive(Debug)]
pub(super) struct AskedBatches {
    ready: Option<Receiver<Result<StepBatch>>>,
    used: Sender<StepBatch>,
    thread: Option<JoinHandle<()>>,
}

impl StepBatches {
    /// `asker` is `None` on one rank.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(batches: Batches, asker: Option<RowAsker>) -> Result<Self> {
        let Some(asker) = asker else { return Ok(Self::Read(batches)) };
        let (ready_in, ready) = bounded(1);
        let (used, used_out) = bounded(4);
        let work = move || ask(batches, &asker, &ready_in, &used_out);
        let thread = std::thread::Builder::new()
            .name("din-rows".into())
            .spawn(work)
            .map_err(|e| Error::machine(format!("cannot start the thread that asks for rows: {e}")))?;
        Ok(Self::Asked(AskedBatches { ready: Some(ready), used, thread: Some(thread) }))
    }

    /// The next batch; `None` behind the last.
    ///
    /// # Errors
    /// The data cannot be read, or another rank failed.
    pub fn next(&mut self) -> Result<Option<StepBatch>> {
        match self {
            Self::Read(batches) => Ok(batches.next()?.map(|batch| StepBatch { batch, asked: None })),
            Self::Asked(asked) => {
                // The thread ends behind the last batch.
                asked.ready.as_ref().and_then(|ready| ready.recv().ok()).transpose()
            }
        }
    }

    /// Gives back the memory of a batch.
    pub fn recycle(&self, used: StepBatch) {
        match self {
            Self::Read(batches) => batches.recycle(used.batch),
            Self::Asked(asked) => {
                // Where the thread has enough, or is gone, the memory is freed.
                let _ = asked.used.try_send(used);
            }
        }
    }
}

fn ask(mut batches: Batches, asker: &RowAsker, ready: &Sender<Result<StepBatch>>, used: &Receiver<StepBatch>) {
    let mut next = || -> Result<Option<StepBatch>> {
        let Some(batch) = batches.next()? else { return Ok(None) };
        let mut asked = AskedRows::default();
        if let Ok(StepBatch { batch, asked: Some(had) }) = used.try_recv() {
            batches.recycle(batch);
            asked = had;
        }
        let all_go_on = asker.ask_ahead(&batch, &mut asked)?;
        Ok(all_go_on.then_some(StepBatch { batch, asked: Some(asked) }))
    };
    while let Some(batch) = next().transpose() {
        let failed = batch.is_err();
        if ready.send(batch).is_err() && !failed {
            // Nobody takes batches any more: the other ranks, which may ask for the next one, are
            // told. Where they failed there is nobody to tell.
            let _ = asker.end();
            return;
        }
        if failed {
            return;
        }
    }
}

impl Drop for AskedBatches {
    fn drop(&mut self) {
        self.ready = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}
