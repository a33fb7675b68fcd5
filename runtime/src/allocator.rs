//! The system's allocator.

/// Gives memory that was freed back to the system. glibc keeps what lies between blocks that are in
/// use, for all threads that have ever taken memory; others return it by themselves.
pub(crate) fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time, by any thread; memory that is in use stays as it is.
    unsafe {
        libc::malloc_trim(0);
    }
}
