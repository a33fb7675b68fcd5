//! The streams of a GPU. Commands happen in the order of the main stream, with two exceptions: a
//! batch is uploaded while the last run is still under way, and launches on the side stream run
//! concurrently until the two streams join.

use super::super::launch_timer::record;
use super::super::library::{self, Api, CUevent, CUstream, Failed};

/// See the module. Whoever calls has the context current.
#[derive(Debug)]
pub(super) struct Streams {
    pub main: CUstream,
    transfers: CUstream,
    side: CUstream,
    /// Behind what came before the last run; behind the last transfer.
    run_event: CUevent,
    upload_event: CUevent,
    /// Where the side stream forks, and where it joins.
    fork_event: CUevent,
    join_event: CUevent,
    /// Whether there was a run, and whether the side stream is forked now.
    ran: bool,
    forked: bool,
}

fn stream(api: &Api) -> Result<CUstream, Failed> {
    let mut stream = std::ptr::null_mut();
    // SAFETY: the context is current; destroyed by `Streams::destroy`.
    let code = unsafe { (api.stream_create)(&mut stream, library::STREAM_NON_BLOCKING) };
    api.check("cuStreamCreate", code).map(|()| stream)
}

/// An event that does not know the time.
pub(super) fn event(api: &Api) -> Result<CUevent, Failed> {
    let mut event = std::ptr::null_mut();
    // SAFETY: the context is current; destroyed by who asked for it.
    let code = unsafe { (api.event_create)(&mut event, library::EVENT_WITHOUT_TIME) };
    api.check("cuEventCreate", code).map(|()| event)
}

/// What is asked of a stream from here on waits for an event.
fn wait(api: &Api, stream: CUstream, event: CUevent) -> Result<(), Failed> {
    // SAFETY: a live stream and event of the current context; 0 is the only flag there is.
    api.check("cuStreamWaitEvent", unsafe { (api.stream_wait_event)(stream, event, 0) })
}

impl Streams {
    /// None yet, see [`Streams::open`].
    pub fn none() -> Streams {
        let (stream, event) = (std::ptr::null_mut(), std::ptr::null_mut());
        Streams {
            main: stream,
            transfers: stream,
            side: stream,
            run_event: event,
            upload_event: event,
            fork_event: event,
            join_event: event,
            ran: false,
            forked: false,
        }
    }

    pub fn open(&mut self, api: &Api) -> Result<(), Failed> {
        for each in [&mut self.main, &mut self.transfers, &mut self.side] {
            *each = stream(api)?;
        }
        for each in [&mut self.run_event, &mut self.upload_event, &mut self.fork_event, &mut self.join_event] {
            *each = event(api)?;
        }
        Ok(())
    }

    /// A run comes next.
    pub fn begin_run(&mut self, api: &Api) -> Result<(), Failed> {
        self.ran = true;
        record(api, self.run_event, self.main)
    }

    /// The stream for a transfer that waits for what came before the last run alone.
    /// [`Streams::upload_done`] follows.
    pub fn upload_stream(&self, api: &Api) -> Result<CUstream, Failed> {
        if self.ran {
            wait(api, self.transfers, self.run_event)?;
        }
        Ok(self.transfers)
    }

    /// What comes next waits for the transfer.
    pub fn upload_done(&self, api: &Api) -> Result<(), Failed> {
        record(api, self.upload_event, self.transfers)?;
        wait(api, self.main, self.upload_event)
    }

    /// The side stream, until [`Streams::join`].
    pub fn fork(&mut self, api: &Api) -> Result<CUstream, Failed> {
        if !self.forked {
            record(api, self.fork_event, self.main)?;
            wait(api, self.side, self.fork_event)?;
            self.forked = true;
        }
        Ok(self.side)
    }

    /// What comes next on the main stream waits for the side stream.
    pub fn join(&mut self, api: &Api) -> Result<(), Failed> {
        if std::mem::take(&mut self.forked) {
            record(api, self.join_event, self.side)?;
            wait(api, self.main, self.join_event)?;
        }
        Ok(())
    }

    /// A capture has ended, and with it the fork of the side stream.
    pub fn reset_fork(&mut self) {
        self.forked = false;
    }

    /// Waits for all of them; errors cannot be reported.
    pub fn destroy(&mut self, api: &Api) {
        // SAFETY: made by `open` and used no more once they are done.
        unsafe {
            for stream in [self.transfers, self.side, self.main] {
                if !stream.is_null() {
                    (api.stream_wait)(stream);
                    (api.stream_destroy)(stream);
                }
            }
            for event in [self.run_event, self.upload_event, self.fork_event, self.join_event] {
                if !event.is_null() {
                    (api.event_destroy)(event);
                }
            }
        }
        *self = Streams::none();
    }
}
