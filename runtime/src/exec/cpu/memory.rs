//! Memory of a step: page-aligned, zeroed when new, grown in steps that make growth rare, with huge
//! pages asked for.

use crate::exec::ExecError;
use memmap2::{MmapMut, MmapOptions};

/// From this size on huge pages are asked for.
const HUGE: usize = 4 << 20;

/// Floats whose content does not survive growth.
#[derive(Debug, Default)]
pub(super) struct StepMemory {
    map: Option<MmapMut>,
    floats: usize,
}

impl StepMemory {
    /// Makes room for at least `floats` floats; what was there is lost when it grows.
    pub fn reserve(&mut self, floats: usize) -> Result<(), ExecError> {
        if floats <= self.floats && self.map.is_some() {
            return Ok(());
        }
        let bytes = floats.checked_mul(4).ok_or(ExecError::Overflow)?;
        self.map = None;
        self.floats = 0;
        let map = MmapOptions::new().len(bytes.max(64)).map_anon().map_err(|_| ExecError::Memory { bytes })?;
        #[cfg(target_os = "linux")]
        if bytes >= HUGE {
            // A wish: without huge pages everything works, slower.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = HUGE;
        self.map = Some(map);
        self.floats = floats;
        Ok(())
    }

    /// Base address, aligned to a page. Writing through it is for whoever has exclusive use of it.
    pub fn pointer(&self) -> *mut f32 {
        self.map.as_ref().map_or(std::ptr::null_mut(), |m| m.as_ptr().cast_mut().cast())
    }
}

/// `n` rounded up to whole cache lines of 16 floats.
pub(super) fn lines(n: usize) -> usize {
    n.next_multiple_of(16)
}

/// `width x elements`, in whole cache lines.
pub(super) fn area(width: usize, elements: usize) -> Result<usize, ExecError> {
    let floats = width.checked_mul(elements).filter(|&n| n < isize::MAX as usize / 8);
    floats.map(lines).ok_or(ExecError::Overflow)
}
