//! Asking for memory before it is read. A prefetch reads nothing that the program can see, so any
//! address is allowed and no bit depends on it; where the processor has none, these do nothing.

/// A cache line of x86-64, in bytes.
const LINE: usize = 64;

/// Asks for the lines of `bytes` bytes from `base` on, as near as the first-level cache.
#[inline(always)]
pub(crate) fn prefetch<T>(base: *const T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    lines(base.cast(), bytes, |line| {
        // SAFETY: see the module.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line) };
    });
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (base, bytes);
}

/// The same as far as the second-level cache, for what is read later than the next few loads.
#[inline(always)]
pub(crate) fn prefetch_second_level<T>(base: *const T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    lines(base.cast(), bytes, |line| {
        // SAFETY: see the module.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(line) };
    });
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (base, bytes);
}

/// Calls `ask` with an address in each line.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn lines(base: *const i8, bytes: usize, ask: impl Fn(*const i8)) {
    let before = base as usize % LINE;
    for line in (0..before + bytes).step_by(LINE) {
        ask(base.wrapping_add(line).wrapping_sub(before));
    }
}
