//! Child processes that do not outlive this one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts a command in a process group of its own: a terminal's Ctrl-C does not reach it, since
/// who started it asks it to stop. If the calling thread ends before it, killed or not, the system
/// kills it, so that nothing writes to its files any more when the work is begun anew.
///
/// # Errors
/// It cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let parent = std::process::id();
    let tie = move || {
        // SAFETY: both are system calls that take and give integers and touch no memory of ours;
        // they may be made between fork and exec.
        let (tied, now) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong), libc::getppid()) };
        if tied != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have ended before the child was tied to it.
        if now as u32 != parent { Err(io::Error::from_raw_os_error(libc::ESRCH)) } else { Ok(()) }
    };
    command.process_group(0);
    // SAFETY: `tie` only makes system calls, and allocates nothing: an error from a number needs no
    // memory.
    unsafe { command.pre_exec(tie) };
    command.spawn()
}

/// Asks a child to stop, as Ctrl-C would. One that has been waited for is not asked.
pub fn ask_to_stop(child: &Child) {
    // SAFETY: the process number is that of a child that has not been waited for, so no other
    // process has it; sending a signal touches no memory of ours.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
}
