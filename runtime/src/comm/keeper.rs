//! Keeping MPICH's launcher from killing the ranks before they have ended by themselves.
//!
//! Hydra, the launcher of MPICH, has a connection to each rank, on which the rank says when MPI has
//! ended there. If one closes before that, it kills all ranks of the machine at once: often before
//! they have said why the run ends, and with a signal's exit code. So each rank has a second
//! process, the keeper, that holds the same connection and does nothing: when its rank has ended,
//! in whatever way, the connection stays open for a while, in which the other ranks report the
//! cause and end too. A rank that is stopped is killed by the launcher as before, a while later.

use super::launch::Launcher;
use std::ffi::c_int;
use std::io::{self, Write};
use std::os::fd::FromRawFd;
use std::time::Duration;

/// Where the launcher says which file is its connection.
const CONNECTION: &str = "PMI_FD";

/// The keeper of this process's connection. Dropped, or when this process has ended, it closes the
/// connection after a while.
#[derive(Debug)]
pub(super) struct ConnectionKeeper {
    /// What the keeper reads from the other end of this pipe is the end of its work.
    work: io::PipeWriter,
}

impl ConnectionKeeper {
    /// Starts the keeper of a rank of MPICH's launcher; `None` under another one, or where the
    /// system allows no further process: the run goes on without. To be called before MPI is
    /// started.
    pub fn start(launcher: Launcher, hold: Duration) -> Option<Self> {
        match launcher {
            Launcher::Mpich => {
                let connection = std::env::var(CONNECTION).ok()?.parse().ok()?;
                Self::of(connection, hold).ok()
            }
            Launcher::OpenMpi | Launcher::Slurm | Launcher::Pmix => None,
        }
    }

    fn of(connection: c_int, hold: Duration) -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: the array has the two places that are written to.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let [end, work] = ends;
        // SAFETY: the new process calls only functions that POSIX allows between `fork` and `exec`
        // in a process with threads, and does not return.
        let process = unsafe { libc::fork() };
        if process == 0 {
            keep(connection, end, hold);
        }
        // What `close` answers does not matter: the file is closed.
        // SAFETY: a file of this function alone.
        unsafe { libc::close(end) };
        // SAFETY: a file of this function alone, which the value owns from now on.
        let work = unsafe { io::PipeWriter::from_raw_fd(work) };
        if process < 0 { Err(io::Error::last_os_error()) } else { Ok(Self { work }) }
    }

    /// MPI has ended well: the keeper ends at once.
    pub fn dismiss(&self) {
        // Where it cannot be told, it has ended, or ends a little later.
        let _ = (&self.work).write(&[0]);
    }
}

/// What the keeper does: all of it, without memory of the heap.
fn keep(connection: c_int, end: c_int, hold: Duration) -> ! {
    /// As many files as the process may have open before MPI is started.
    const FILES: c_int = 1024;
    let wait = libc::timespec { tv_sec: hold.as_secs() as libc::time_t, tv_nsec: hold.subsec_nanos().into() };
    // SAFETY: system calls on files that nothing else uses in this process, which has one thread
    // and shares no memory, and on locals.
    unsafe {
        // Signals to the ranks as a group do not concern it.
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"din-keeper".as_ptr());
        for file in 0..FILES {
            if file != connection && file != end {
                libc::close(file);
            }
        }
        let mut told = 0u8;
        loop {
            match libc::read(end, (&raw mut told).cast(), 1) {
                1 => libc::_exit(0),
                // Signals are none of its business.
                -1 if *libc::__errno_location() == libc::EINTR => {}
                _ => break,
            }
        }
        libc::nanosleep(&wait, std::ptr::null_mut());
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    /// How long a connection stays open after its own end has been closed.
    fn stays_open(hold: Duration, end: impl FnOnce(ConnectionKeeper)) -> Duration {
        let (own, mut launcher) = UnixStream::pair().unwrap();
        let keeper = ConnectionKeeper::of(own.as_raw_fd(), hold).unwrap();
        drop(own);
        let begin = Instant::now();
        end(keeper);
        assert_eq!(launcher.read(&mut [0]).unwrap(), 0, "it closes");
        begin.elapsed()
    }

    #[test]
    fn a_connection_stays_open_for_a_while_after_its_process_unless_all_went_well() {
        let hold = Duration::from_millis(400);
        assert!(stays_open(hold, drop) >= hold);
        let begin = Instant::now();
        stays_open(Duration::from_secs(3600), |keeper| keeper.dismiss());
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
}
