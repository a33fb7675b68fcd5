//! The streams of a GPU. What is asked for happens in the order of the main one, with two exceptions: a batch comes over while the last run is
//! still under way, and launches that may run beside others have a stream of their own until the two meet again.

use super::super::library::{self, Api, CUevent, CUstream, Failed};
use super::super::measure::record;

/// See the module. Whoever calls has the context current.
#[derive(Debug)]
pub(super) struct Streams {
    pub main: CUstream,
    transfers: CUstream,
    beside: CUstream,
    /// Behind what came before the last run; behind the last transfer.
    begun: CUevent,
    sent: CUevent,
    /// Where the stream beside begins, and where it ends.
    parted: CUevent,
    met: CUevent,
    /// Whether there was a run, and whether launches run beside the main stream now.
    ran: bool,
    apart: bool,
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
            beside: stream,
            begun: event,
            sent: event,
            parted: event,
            met: event,
            ran: false,
            apart: false,
        }
    }

    pub fn open(&mut self, api: &Api) -> Result<(), Failed> {
        for each in [&mut self.main, &mut self.transfers, &mut self.beside] {
            *each = stream(api)?;
        }
        for each in [&mut self.begun, &mut self.sent, &mut self.parted, &mut self.met] {
            *each = event(api)?;
        }
        Ok(())
    }

    /// A run comes next.
    pub fn run_begins(&mut self, api: &Api) -> Result<(), Failed> {
        self.ran = true;
        record(api, self.begun, self.main)
    }

    /// The stream for a transfer that waits for what came before the last run alone. [`Streams::sent`] follows.
    pub fn for_transfer(&self, api: &Api) -> Result<CUstream, Failed> {
        if self.ran {
            wait(api, self.transfers, self.begun)?;
        }
        Ok(self.transfers)
    }

    /// What comes next waits for the transfer.
    pub fn sent(&self, api: &Api) -> Result<(), Failed> {
        record(api, self.sent, self.transfers)?;
        wait(api, self.main, self.sent)
    }

    /// The stream for a launch that may run beside others, until [`Streams::meet`].
    pub fn beside(&mut self, api: &Api) -> Result<CUstream, Failed> {
        if !self.apart {
            record(api, self.parted, self.main)?;
            wait(api, self.beside, self.parted)?;
            self.apart = true;
        }
        Ok(self.beside)
    }

    /// What comes next waits for launches beside it.
    pub fn meet(&mut self, api: &Api) -> Result<(), Failed> {
        if std::mem::take(&mut self.apart) {
            record(api, self.met, self.beside)?;
            wait(api, self.main, self.met)?;
        }
        Ok(())
    }

    /// A capture has ended, and with it what ran beside in it.
    pub fn together(&mut self) {
        self.apart = false;
    }

    /// Waits for all of them; errors have no one to be told to.
    pub fn destroy(&mut self, api: &Api) {
        // SAFETY: made by `open` and used no more once they are done.
        unsafe {
            for stream in [self.transfers, self.beside, self.main] {
                if !stream.is_null() {
                    (api.stream_wait)(stream);
                    (api.stream_destroy)(stream);
                }
            }
            for event in [self.begun, self.sent, self.parted, self.met] {
                if !event.is_null() {
                    (api.event_destroy)(event);
                }
            }
        }
        *self = Streams::none();
    }
}
