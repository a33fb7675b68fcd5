//! How long launches take, by the driver's events around them. The context is current wherever this
//! is called.

use super::driver::{KernelLaunch, TimedLaunch};
use super::library::{self, Api, CUevent, CUstream, Failed};
use std::time::Duration;

/// Launches between events.
#[derive(Debug)]
pub(super) struct LaunchTimer {
    /// Recorded when measuring began.
    base: CUevent,
    /// Before and after a launch; used again.
    events: Vec<[CUevent; 2]>,
    /// Kernel and location of the launches under way.
    launches: Vec<(String, String)>,
}

/// Records an event behind what the stream was asked for.
pub(super) fn record(api: &Api, event: CUevent, stream: CUstream) -> Result<(), Failed> {
    // SAFETY: a live event and stream of the current context.
    api.check("cuEventRecord", unsafe { (api.event_record)(event, stream) })
}

/// An event that knows the time.
fn event(api: &Api) -> Result<CUevent, Failed> {
    let mut event = std::ptr::null_mut();
    // SAFETY: the context is current; destroyed by `LaunchTimer::end`.
    let code = unsafe { (api.event_create)(&mut event, library::EVENT_WITH_TIME) };
    api.check("cuEventCreate", code).map(|()| event)
}

fn elapsed(api: &Api, from: CUevent, to: CUevent) -> Result<Duration, Failed> {
    let mut ms = 0.0f32;
    // SAFETY: live events, both recorded and done.
    api.check("cuEventElapsedTime", unsafe { (api.event_elapsed)(&mut ms, from, to) })?;
    Ok(Duration::try_from_secs_f64(f64::from(ms) / 1e3).unwrap_or_default())
}

impl LaunchTimer {
    pub fn begin(api: &Api, stream: CUstream) -> Result<LaunchTimer, Failed> {
        let measuring = LaunchTimer { base: event(api)?, events: Vec::new(), launches: Vec::new() };
        record(api, measuring.base, stream)?;
        Ok(measuring)
    }

    /// The events for before and after the next launch.
    pub fn around(&mut self, api: &Api) -> Result<[CUevent; 2], Failed> {
        if let Some(&found) = self.events.get(self.launches.len()) {
            return Ok(found);
        }
        let pair = [event(api)?, event(api)?];
        self.events.push(pair);
        Ok(pair)
    }

    /// A launch is asked for, with both events recorded.
    pub fn launched(&mut self, launch: &KernelLaunch<'_>) {
        self.launches.push((launch.kernel.into(), launch.location.into()));
    }

    /// The launches since this was last asked, all of which are done.
    pub fn take(&mut self, api: &Api) -> Result<Vec<TimedLaunch>, Failed> {
        let times = self.launches.drain(..).zip(&self.events).map(|((kernel, location), &[begin, end])| {
            let (begin, length) = (elapsed(api, self.base, begin)?, elapsed(api, begin, end)?);
            Ok(TimedLaunch { kernel, location, begin, length })
        });
        times.collect()
    }

    pub fn end(self, api: &Api) {
        for event in self.events.into_iter().flatten().chain([self.base]) {
            // SAFETY: made by `event` and used no more; the driver keeps one that is still to be
            // recorded.
            unsafe { (api.event_destroy)(event) };
        }
    }
}
