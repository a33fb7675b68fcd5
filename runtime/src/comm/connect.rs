//! Joining the ranks of a run.

use super::keeper::ConnectionKeeper;
use super::launch::{RankLaunch, detect};
use super::library::{self, MpiLibrary, how_to_build};
use super::mpi::{Exchange, MpiCommunicator};
use super::watch::{Listener, RankAddress, RankWatch, WatchOptions, exit_at_once};
use super::{Channel, Communicator, LocalCommunicator, Messages};
use crate::{Error, Result, signal};
use std::fmt;
use std::io::{self, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Before ranks are joined, the one of a machine that speaks waits so long with an error, for the
/// others to learn that it does.
const GATHERING: Duration = Duration::from_secs(1);
/// The others end so much later, unless the launcher ends them when the first has gone.
const PRECEDENCE: Duration = Duration::from_secs(3);

/// What one rank shows for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Why all ranks end.
    Error(Error),
    /// A warning, with the ranks that it is of unless all have it.
    Warning(String),
}

/// How notices are shown.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(&Notice) + Send + Sync>);

impl Reporter {
    /// By a function, which a thread of the watch calls.
    pub fn new(show: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self(Arc::new(show))
    }

    /// Shows a notice.
    pub(super) fn show(&self, notice: &Notice) {
        (self.0)(notice);
    }
}

/// On standard error.
impl Default for Reporter {
    fn default() -> Self {
        Self::new(|notice| {
            let line = match notice {
                Notice::Error(error) => format!("error: {error}\n"),
                Notice::Warning(warning) => format!("warning: {warning}\n"),
            };
            // In one write, since the launcher writes there too. Where it fails, nobody reads it.
            let _ = io::stderr().write_all(line.as_bytes());
        })
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// How the ranks of a run are joined.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The file of the library for MPI; otherwise it is searched for.
    pub library: Option<PathBuf>,
    /// All ranks have ended so long after one has stopped to make progress, or to answer.
    pub rank_timeout: Duration,
    /// Most words that a rank sends at a time; longer messages travel in rounds.
    pub round_words: usize,
    /// Shows the error that ends all ranks, on one of them, and warnings on the first.
    pub reporter: Reporter,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            library: None,
            rank_timeout: Duration::from_secs(30),
            // A GiB.
            round_words: 1 << 28,
            reporter: Reporter::default(),
        }
    }
}

/// Joins the ranks that a launcher (`mpirun`, `srun`) has started: this process becomes one of
/// them. A process that was started by itself is the only rank of its run, and no library is
/// opened.
///
/// Where there are several, SIGTERM, Ctrl-C and SIGHUP from now on ask to stop (see [`signal`]),
/// since launchers send them to the ranks that are left.
///
/// # Errors
/// The library for MPI is missing, belongs to another MPI than the launcher, or the ranks do not
/// reach each other.
pub fn connect(options: &ConnectOptions) -> Result<Arc<dyn Communicator>> {
    match detect(&|name| std::env::var(name).ok())? {
        None | Some(RankLaunch { size: Some(1), .. }) => Ok(Arc::new(LocalCommunicator)),
        Some(launch) => join(options, launch).inspect_err(speak_alone),
    }
}

/// An error before the ranks are joined is mostly one of all of them. On each machine one reports
/// it, which is found out by a name that only one process can take; the others end in silence.
fn speak_alone(error: &Error) {
    let name = format!("din-{}", std::os::unix::process::parent_id());
    let taken = SocketAddr::from_abstract_name(name).and_then(|address| UnixListener::bind_addr(&address));
    match taken {
        Err(why) if why.kind() == io::ErrorKind::AddrInUse => {
            sleep(GATHERING + PRECEDENCE);
            exit_at_once(error.exit_code());
        }
        // Where there are no such names, every rank speaks.
        Ok(_) | Err(_) => sleep(GATHERING),
    }
}

fn join(options: &ConnectOptions, launch: RankLaunch) -> Result<Arc<dyn Communicator>> {
    let library = library::open(options.library.as_deref(), launch.launcher)?;
    let keeper = ConnectionKeeper::start(launch.launcher, hold(options.rank_timeout));
    let joined = guard(options, launch);
    library.start()?;
    let (rank, size) = library.rank()?;
    if launch.size.is_some_and(|expected| expected != size) || launch.rank != rank {
        return Err(another_mpi(&library, launch, (rank, size)));
    }
    let listener = Listener::open()?;
    let exchange = Exchange::new(library, (rank, size), options.round_words);
    let addresses = addresses(&exchange, &listener.address)?;
    let hosts: Arc<[String]> = addresses.iter().map(|address| address.host.clone()).collect();
    let streams = listener.connect(rank, &addresses, Instant::now() + options.rank_timeout)?;
    signal::install();
    let watched = WatchOptions::of_process(rank, hosts.clone(), options.rank_timeout, options.reporter.clone());
    let watch = RankWatch::start(streams, watched)?;
    drop(joined);
    Ok(Arc::new(MpiCommunicator { exchange, watch, hosts, keeper }))
}

/// The launcher's connection to a rank that has ended stays open so long, for the others to end by
/// themselves.
fn hold(timeout: Duration) -> Duration {
    (timeout / 8).clamp(Duration::from_millis(500), Duration::from_secs(2))
}

/// Ends the process if the ranks are not joined in time: MPI itself would wait for ever. Dropping
/// what is returned says that they are.
fn guard(options: &ConnectOptions, launch: RankLaunch) -> mpsc::Sender<()> {
    let (joined, waits) = mpsc::channel::<()>();
    let (timeout, reporter) = (options.rank_timeout, options.reporter.clone());
    std::thread::spawn(move || {
        if waits.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            let rank = launch.rank;
            let why = format!("rank {rank}: MPI has not joined the ranks within {:.1} s", timeout.as_secs_f64());
            let error = Error::machine(why).help(
                "see whether all ranks have started and their machines reach each other; --rank-timeout allows more",
            );
            speak_alone(&error);
            let code = error.exit_code();
            reporter.show(&Notice::Error(error));
            exit_at_once(code);
        }
    });
    joined
}

/// MPI counts the ranks in another way than the launcher: the library is not made for it.
fn another_mpi(library: &MpiLibrary, launch: RankLaunch, (rank, size): (usize, usize)) -> Error {
    let RankLaunch { launcher, .. } = launch;
    let started = launch.size.map_or_else(|| "several ranks".to_string(), |size| format!("{size} ranks"));
    let found = library.description();
    let path = library.path.display();
    if size == 1 {
        // It has started nothing, and waits for nobody.
        let _ = library.finish();
    }
    Error::input(format!(
        "{launcher} has started {started}, this one as rank {}, but the MPI of {path} ({found}) takes it for rank {rank} \
         of {size}: it is not the MPI of the launcher",
        launch.rank
    ))
    .help(format!("start the ranks by the mpirun of that MPI, or {}", how_to_build(launcher)))
}

/// Where the ranks can be reached, by rank.
fn addresses(exchange: &Exchange, own: &RankAddress) -> Result<Vec<RankAddress>> {
    let bytes = postcard::to_stdvec(own).expect("memory takes what is written");
    let words: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
    let mut received = Messages::default();
    // The guard ends the process where this takes too long.
    exchange.all_gather(Channel::Step, &words, &mut received, &|| Ok(()))?;
    let address = |words: &[u32]| {
        let bytes: Vec<u8> = words.iter().map(|&word| word as u8).collect();
        postcard::from_bytes(&bytes).map_err(|_| {
            Error::input("the ranks do not run the same version of din").help("install one version on all machines")
        })
    };
    received.iter().map(address).collect()
}
