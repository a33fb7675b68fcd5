//! Host memory that the GPU copies from and to: a ring of buffers, each used again when the copy
//! from it is done.

use super::super::library::{Api, CUevent, Failed};
use super::streams::event;

/// A buffer. Whoever calls for one has the context current.
#[derive(Debug)]
pub(super) struct Pinned {
    pub at: *mut u8,
    pub bytes: usize,
    /// Recorded behind the last copy from it.
    pub event: CUevent,
}

impl Pinned {
    pub fn new(api: &Api, bytes: usize) -> Result<Pinned, Failed> {
        let mut pinned = Pinned { at: std::ptr::null_mut(), bytes: 0, event: event(api)? };
        match pinned.grow(api, bytes) {
            Ok(()) => Ok(pinned),
            Err(failed) => {
                pinned.free(api);
                Err(failed)
            }
        }
    }

    /// Has room for so many bytes; what it held is lost. No copy is under way.
    fn grow(&mut self, api: &Api, bytes: usize) -> Result<(), Failed> {
        if bytes <= self.bytes {
            return Ok(());
        }
        self.bytes = 0;
        let old = std::mem::replace(&mut self.at, std::ptr::null_mut());
        if !old.is_null() {
            // SAFETY: allocated below, and no copy uses it any more.
            api.check("cuMemFreeHost", unsafe { (api.free_host)(old.cast()) })?;
        }
        let mut at = std::ptr::null_mut();
        // SAFETY: the context is current; freed above or by `free`.
        api.check("cuMemHostAlloc", unsafe { (api.allocate_host)(&mut at, bytes, 0) })?;
        (self.at, self.bytes) = (at.cast(), bytes);
        Ok(())
    }

    /// No copy is under way; errors cannot be reported.
    pub fn free(self, api: &Api) {
        // SAFETY: both were made above and are used no more.
        unsafe {
            if !self.at.is_null() {
                (api.free_host)(self.at.cast());
            }
            (api.event_destroy)(self.event);
        }
    }
}

/// A ring of buffers.
#[derive(Debug)]
pub(super) struct Ring {
    pub buffers: Vec<Pinned>,
    most: usize,
    next: usize,
}

impl Ring {
    pub fn of(most: usize) -> Ring {
        Ring { buffers: Vec::new(), most, next: 0 }
    }

    /// The number of the next one, which has room for `bytes` and no copy under way.
    pub fn next(&mut self, api: &Api, bytes: usize) -> Result<usize, Failed> {
        let k = self.next;
        let room = bytes.saturating_add(bytes / 4).max(1 << 16);
        match self.buffers.get_mut(k) {
            None => self.buffers.push(Pinned::new(api, room)?),
            Some(buffer) => {
                // SAFETY: a live event; one that was never recorded counts as done.
                api.check("cuEventSynchronize", unsafe { (api.event_wait)(buffer.event) })?;
                if buffer.bytes < bytes {
                    buffer.grow(api, room)?;
                }
            }
        }
        self.next = (k + 1) % self.most;
        Ok(k)
    }
}
