//! The few functions of MPI that the runtime uses, behind a C interface that is the same for every
//! MPI library: `din` opens this library when a launcher has started several ranks, and needs no
//! MPI otherwise.
//!
//! There are four channels, each a duplicate of `MPI_COMM_WORLD` with at most one operation under
//! way. An operation is started, then tested until it is complete: after the start, no call blocks.
//! One mutex serialises the calls, so that `MPI_THREAD_SERIALIZED` is enough. Nothing is ever
//! reduced by MPI. Counts and offsets are of words of 32 bits.
//!
//! Every function but the texts returns 0, or a code that [`din_mpi_error`] puts into words.
//! `runtime/src/comm/library.rs` declares the same functions; [`INTERFACE`] changes with them.

use mpi::ffi;
use std::ffi::{c_char, c_int};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The version of this interface.
const INTERFACE: u32 = 2;
const CHANNELS: usize = 4;

/// Codes of our own; those of MPI are positive.
const NOT_STARTED: c_int = -1;
const TOO_FEW_THREADS: c_int = -2;
const BUSY: c_int = -3;
const STOPPED: c_int = -4;
const NO_CHANNEL: c_int = -5;
/// MPI was started or finished before; it can be only once.
const STARTED_BEFORE: c_int = -6;

struct Channels {
    communicators: [ffi::MPI_Comm; CHANNELS],
    /// What is under way on each.
    requests: [Option<ffi::MPI_Request>; CHANNELS],
    /// No call of MPI may follow.
    stopped: bool,
}

// SAFETY: the handles are pointers or numbers that any thread may pass to MPI, one at a time; the
// mutex around `Channels` sees to that.
unsafe impl Send for Channels {}

static CHANNELS_OF_RUN: Mutex<Option<Channels>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Channels>> {
    CHANNELS_OF_RUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What MPI answers as an error.
fn checked(code: c_int) -> Result<(), c_int> {
    if code == ffi::MPI_SUCCESS as c_int { Ok(()) } else { Err(code) }
}

/// What a function answers: 0, or the code of an error.
fn code(outcome: Result<(), c_int>) -> c_int {
    match outcome {
        Ok(()) => 0,
        Err(code) => code,
    }
}

/// Starts an operation of a channel that has none under way. `operation` is MPI's.
fn start_operation(channel: c_int, operation: impl FnOnce(ffi::MPI_Comm, &mut ffi::MPI_Request) -> c_int) -> c_int {
    with_channel(channel, |communicator, under_way| {
        if under_way.is_some() {
            return Err(BUSY);
        }
        // SAFETY: a constant that is initialised with the library.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        checked(operation(communicator, &mut request))?;
        *under_way = Some(request);
        Ok(())
    })
}

/// Something done with a channel, between the start and the end of MPI.
fn with_channel(
    channel: c_int,
    act: impl FnOnce(ffi::MPI_Comm, &mut Option<ffi::MPI_Request>) -> Result<(), c_int>,
) -> c_int {
    let mut guard = lock();
    let Some(channels) = guard.as_mut() else { return NOT_STARTED };
    if channels.stopped {
        return STOPPED;
    }
    match usize::try_from(channel) {
        Ok(index) if index < CHANNELS => code(act(channels.communicators[index], &mut channels.requests[index])),
        Ok(_) | Err(_) => NO_CHANNEL,
    }
}

/// The version of this interface; the only function that every version has.
#[unsafe(no_mangle)]
pub extern "C" fn din_mpi_interface() -> u32 {
    INTERFACE
}

/// Starts MPI, and makes the channels. Blocks until all ranks have come so far.
#[unsafe(no_mangle)]
pub extern "C" fn din_mpi_start() -> c_int {
    let mut guard = lock();
    let mut begun = 0;
    // SAFETY: MPI allows it at any time; the pointer is of a local.
    unsafe { ffi::MPI_Initialized(&mut begun) };
    if guard.is_some() || begun != 0 {
        return STARTED_BEFORE;
    }
    code(start().map(|channels| *guard = Some(channels)))
}

fn start() -> Result<Channels, c_int> {
    let mut granted = 0;
    // SAFETY: MPI has not been started, and accepts null for the arguments of the program; the
    // constants are initialised with the library.
    unsafe {
        let wanted = ffi::RSMPI_THREAD_SERIALIZED;
        checked(ffi::MPI_Init_thread(std::ptr::null_mut(), std::ptr::null_mut(), wanted, &mut granted))?;
        if granted < wanted {
            return Err(TOO_FEW_THREADS);
        }
    }
    let mut communicators = [const { None }; CHANNELS];
    for made in &mut communicators {
        // SAFETY: MPI has been started; every rank makes the duplicates in the same order, and the
        // pointer is of a local. From then on a failing call returns instead of ending the process.
        unsafe {
            let mut duplicate = ffi::RSMPI_COMM_NULL;
            checked(ffi::MPI_Comm_dup(ffi::RSMPI_COMM_WORLD, &mut duplicate))?;
            checked(ffi::MPI_Comm_set_errhandler(duplicate, ffi::RSMPI_ERRORS_RETURN))?;
            *made = Some(duplicate);
        }
    }
    let communicators = communicators.map(|made| made.expect("the loop made every one"));
    Ok(Channels { communicators, requests: [const { None }; CHANNELS], stopped: false })
}

/// This rank and their number.
///
/// # Safety
/// `rank` and `size` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn din_mpi_rank(rank: *mut c_int, size: *mut c_int) -> c_int {
    with_channel(0, |communicator, _| {
        // SAFETY: a communicator of MPI, and pointers that the caller vouches for.
        unsafe {
            checked(ffi::MPI_Comm_rank(communicator, rank))?;
            checked(ffi::MPI_Comm_size(communicator, size))
        }
    })
}

/// Starts to send `counts[p]` words from `offsets[p]` of `send` to every rank `p`, and to receive
/// likewise.
///
/// # Safety
/// The counts and offsets are as many as there are ranks, and lie inside `send` and `received`. All
/// six stay where they are, `received` is left alone and the others stay as they are until
/// [`din_mpi_test`] says that it is complete, or [`din_mpi_stop`] was called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn din_mpi_all_to_all(
    channel: c_int,
    send: *const u32,
    counts: *const c_int,
    offsets: *const c_int,
    received: *mut u32,
    received_counts: *const c_int,
    received_offsets: *const c_int,
) -> c_int {
    // SAFETY: as the caller vouches.
    start_operation(channel, |communicator, request| unsafe {
        ffi::MPI_Ialltoallv(
            send.cast(),
            counts,
            offsets,
            ffi::RSMPI_UINT32_T,
            received.cast(),
            received_counts,
            received_offsets,
            ffi::RSMPI_UINT32_T,
            communicator,
            request,
        )
    })
}

/// Starts to send `count` words to every rank, and to receive `received_counts[p]` of each rank
/// `p` at `received_offsets[p]`.
///
/// # Safety
/// As for [`din_mpi_all_to_all`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn din_mpi_all_gather(
    channel: c_int,
    send: *const u32,
    count: c_int,
    received: *mut u32,
    received_counts: *const c_int,
    received_offsets: *const c_int,
) -> c_int {
    // SAFETY: as the caller vouches.
    start_operation(channel, |communicator, request| unsafe {
        ffi::MPI_Iallgatherv(
            send.cast(),
            count,
            ffi::RSMPI_UINT32_T,
            received.cast(),
            received_counts,
            received_offsets,
            ffi::RSMPI_UINT32_T,
            communicator,
            request,
        )
    })
}

/// Sets `complete` to whether the operation of a channel is complete: 1 or 0.
///
/// # Safety
/// `complete` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn din_mpi_test(channel: c_int, complete: *mut c_int) -> c_int {
    with_channel(channel, |_, under_way| {
        let Some(request) = under_way.as_mut() else { return Err(NOT_STARTED) };
        // SAFETY: an operation of MPI that is under way, whose buffers the caller of its start
        // keeps; `complete` as the caller vouches.
        let done = unsafe {
            checked(ffi::MPI_Test(request, complete, ffi::RSMPI_STATUS_IGNORE))?;
            *complete != 0
        };
        if done {
            *under_way = None;
        }
        Ok(())
    })
}

/// From now on no function calls MPI, so that buffers of operations under way may be given up.
#[unsafe(no_mangle)]
pub extern "C" fn din_mpi_stop() {
    if let Some(channels) = lock().as_mut() {
        channels.stopped = true;
    }
}

/// Ends MPI. Blocks until all ranks have come so far; nothing may be under way.
#[unsafe(no_mangle)]
pub extern "C" fn din_mpi_finish() -> c_int {
    let mut guard = lock();
    let Some(channels) = guard.as_mut() else { return NOT_STARTED };
    if channels.stopped {
        return STOPPED;
    }
    if channels.requests.iter().any(Option::is_some) {
        return BUSY;
    }
    channels.stopped = true;
    // SAFETY: MPI has been started and not ended, and nothing is under way.
    code(checked(unsafe { ffi::MPI_Finalize() }))
}

/// Writes a text and a 0 into `capacity` bytes at `to`; what does not fit is cut off.
///
/// # Safety
/// `capacity` bytes, one at least, may be written at `to`.
unsafe fn write(text: &[u8], to: *mut c_char, capacity: usize) {
    let bytes = text.len().min(capacity - 1);
    // SAFETY: `bytes + 1` is at most `capacity`.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), bytes);
        to.add(bytes).write(0);
    }
}

/// The name of the MPI library and its version.
///
/// # Safety
/// `capacity` bytes, one at least, may be written at `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn din_mpi_library(to: *mut c_char, capacity: usize) {
    let _serial = lock();
    let mut text = vec![0u8; ffi::MPI_MAX_LIBRARY_VERSION_STRING as usize + 1];
    let mut length = 0;
    // SAFETY: may be called at any time; the buffer has the size that MPI asks for.
    unsafe { ffi::MPI_Get_library_version(text.as_mut_ptr().cast(), &mut length) };
    text.truncate(usize::try_from(length).expect("MPI gives the length of a text"));
    // SAFETY: as the caller vouches.
    unsafe { write(&text, to, capacity) };
}

/// What a code means.
///
/// # Safety
/// `capacity` bytes, one at least, may be written at `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn din_mpi_error(code: c_int, to: *mut c_char, capacity: usize) {
    let own = match code {
        NOT_STARTED => Some("nothing was started"),
        TOO_FEW_THREADS => Some("the library does not allow calls of several threads, one at a time"),
        BUSY => Some("an operation is under way"),
        STOPPED => Some("communication has ended"),
        NO_CHANNEL => Some("there is no such channel"),
        STARTED_BEFORE => Some("MPI was started before"),
        _ => None,
    };
    if let Some(text) = own {
        // SAFETY: as the caller vouches.
        return unsafe { write(text.as_bytes(), to, capacity) };
    }
    let _serial = lock();
    let mut text = vec![0u8; ffi::MPI_MAX_ERROR_STRING as usize + 1];
    let mut length = 0;
    // SAFETY: the code came of MPI; the buffer has the size that MPI asks for.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast(), &mut length) };
    text.truncate(usize::try_from(length).expect("MPI gives the length of a text"));
    // SAFETY: as the caller vouches.
    unsafe { write(&text, to, capacity) };
}
