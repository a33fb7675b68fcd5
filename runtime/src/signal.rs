//! Stopping on Ctrl-C (SIGINT), SIGTERM and SIGHUP (a closed terminal): the first asks the run to
//! finish its step, the second ends the process at once. A signal that was ignored at the start
//! (`nohup`, a background job of a script) stays ignored.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether the user asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

#[cfg(unix)]
mod handler {
    use super::{ASKED, Ordering};

    const SIGHUP: i32 = 1;
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;
    const DEFAULT: usize = 0;
    const IGNORE: usize = 1;

    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
    }

    extern "C" fn ask(number: i32) {
        ASKED.store(true, Ordering::Relaxed);
        // SAFETY: `signal` may be called from a handler (POSIX, async-signal-safe functions); the
        // default action takes no argument of ours.
        unsafe { signal(number, DEFAULT) };
    }

    pub fn install() {
        for number in [SIGHUP, SIGINT, SIGTERM] {
            // SAFETY: ignoring a signal runs no code of ours; the answer is what was set before.
            let before = unsafe { signal(number, IGNORE) };
            if before != IGNORE {
                // SAFETY: `ask` is an `extern "C"` function of one int that lives as long as the
                // program and only stores to an atomic and calls `signal`, both allowed in a
                // handler.
                unsafe { signal(number, ask as extern "C" fn(i32) as usize) };
            }
        }
    }
}

/// From now on Ctrl-C, SIGTERM and SIGHUP ask instead of killing.
pub fn install() {
    #[cfg(unix)]
    handler::install();
}
