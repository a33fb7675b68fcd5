//! Ranks that are threads, with real connections between their watches.

use super::*;
use crate::comm::Notice;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::sleep;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Ranks of a test, and what they report.
struct Run {
    watches: Vec<Option<RankWatch>>,
    progress: Vec<&'static ProgressCounters>,
    reports: mpsc::Receiver<(usize, Error)>,
    warnings: mpsc::Receiver<(usize, String)>,
}

/// Ranks that watch each other. `exit` is a function of the test, which counts its calls.
fn run(size: usize, exit: fn(u8)) -> Run {
    let listeners: Vec<Listener> = (0..size).map(|_| Listener::open().unwrap()).collect();
    let all: Vec<RankAddress> = listeners.iter().map(|listener| listener.address.clone()).collect();
    let hosts: Arc<[String]> = (0..size).map(|rank| format!("host{rank}")).collect();
    let (sender, reports) = mpsc::channel();
    let (warn, warnings) = mpsc::channel();
    let progress: Vec<&'static ProgressCounters> = (0..size).map(|_| &*Box::leak(Box::default())).collect();
    let watches = std::thread::scope(|scope| {
        let start = |(rank, listener): (usize, Listener)| {
            let (all, hosts, sender, warn, progress) =
                (&all, hosts.clone(), sender.clone(), warn.clone(), progress[rank]);
            scope.spawn(move || {
                let streams = listener.connect(rank, all, Instant::now() + Duration::from_secs(20)).unwrap();
                let reporter = Reporter::new(move |notice| match notice {
                    Notice::Error(error) => sender.send((rank, error.clone())).unwrap(),
                    Notice::Warning(text) => warn.send((rank, text.clone())).unwrap(),
                });
                let options = WatchOptions { rank, hosts, timeout: TIMEOUT, reporter, exit, progress };
                Some(RankWatch::start(streams, options).unwrap())
            })
        };
        let threads: Vec<_> = listeners.into_iter().enumerate().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    Run { watches, progress, reports, warnings }
}

impl Run {
    fn watch(&self, rank: usize) -> &RankWatch {
        self.watches[rank].as_ref().unwrap()
    }

    /// The one report of the run: by which rank, and what.
    #[track_caller]
    fn report(&self) -> (usize, Error) {
        let report = self.reports.recv_timeout(TIMEOUT * 3).unwrap();
        assert!(self.reports.recv_timeout(Duration::from_millis(500)).is_err(), "two reports");
        report
    }

    /// What a rank's communications come to return.
    #[track_caller]
    fn failure(&self, rank: usize) -> Error {
        let end = Instant::now() + TIMEOUT * 3;
        while Instant::now() < end {
            if let Err(error) = self.watch(rank).check() {
                return error;
            }
            sleep(Duration::from_millis(5));
        }
        panic!("rank {rank} has not failed")
    }
}

fn no_exit(code: u8) {
    panic!("ended with {code}");
}

fn any_exit(_: u8) {}

/// Makes progress on some ranks until it is dropped.
struct Working {
    /// Its end is the end of the work.
    _work: mpsc::Sender<()>,
}

impl Working {
    fn on(counters: Vec<&'static ProgressCounters>) -> Self {
        let (work, stopped) = mpsc::channel();
        std::thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(mpsc::RecvTimeoutError::Timeout) {
                for counter in &counters {
                    counter.parts.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { _work: work }
    }
}

#[test]
fn ranks_that_work_and_finish_are_left_alone() {
    let mut run = run(3, no_exit);
    let working = Working::on(run.progress.clone());
    sleep(TIMEOUT * 2);
    (0..3).for_each(|rank| run.watch(rank).check().unwrap());
    (0..3).for_each(|rank| run.watch(rank).finished());
    sleep(Duration::from_millis(300));
    drop(working);
    run.watches[1] = None;
    sleep(Duration::from_millis(300));
    assert!(run.reports.try_recv().is_err());
    (0..3).step_by(2).for_each(|rank| run.watch(rank).check().unwrap());
}

#[test]
fn a_rank_that_dies_is_named_at_once_by_the_lowest_that_is_left() {
    static CODE: AtomicU64 = AtomicU64::new(0);
    let mut run = run(3, |code| CODE.store(code.into(), Ordering::Relaxed));
    let begin = Instant::now();
    run.watches[0] = None;
    let (by, error) = run.reports.recv().unwrap();
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    assert!(by == 1 && error.message.starts_with("rank 0 on host0: its process has ended"), "{by}: {error}");
    assert_eq!((run.failure(1), run.failure(2)), (error.clone(), error));
    assert!(run.reports.recv_timeout(Duration::from_millis(500)).is_err(), "two reports");
    // The main threads do not end by themselves.
    assert_eq!(CODE.load(Ordering::Relaxed), 3);
}

#[test]
fn ranks_that_die_together_are_reported_once() {
    let mut run = run(4, any_exit);
    run.watches[0] = None;
    run.watches[1] = None;
    let (by, error) = run.report();
    assert!(by >= 1 && error.message.contains("its process has ended"), "{by}: {error}");
}

#[test]
fn a_rank_that_dies_when_the_others_have_finished_is_reported_once() {
    let mut run = run(4, any_exit);
    (0..3).for_each(|rank| run.watch(rank).finished());
    sleep(Duration::from_millis(300));
    run.watches[3] = None;
    let (by, error) = run.report();
    assert!(by == 0 && error.message.starts_with("rank 3 on host3: its process has ended"), "{by}: {error}");
}

#[test]
fn a_rank_that_stands_still_is_named_though_others_wait_for_it() {
    static CODE: AtomicU64 = AtomicU64::new(0);
    let run = run(3, |code| CODE.store(code.into(), Ordering::Relaxed));
    let begin = Instant::now();
    let _waiting = [run.watch(0).waiting(Channel::Step), run.watch(2).waiting(Channel::Step)];
    // The one that hangs has a thread that waits for the others.
    let _ahead = run.watch(1).waiting(Channel::Ahead);
    let (by, error) = run.report();
    assert!(by == 0 && error.message.starts_with("rank 1 on host1: it has made no progress"), "{by}: {error}");
    while CODE.load(Ordering::Relaxed) == 0 && begin.elapsed() < TIMEOUT {
        sleep(Duration::from_millis(10));
    }
    assert_eq!(CODE.load(Ordering::Relaxed), 3, "all have ended within the timeout");
}

#[test]
fn a_rank_that_reports_progress_may_let_the_others_wait() {
    let run = run(2, no_exit);
    let _waiting = run.watch(0).waiting(Channel::Step);
    let _working = Working::on(vec![run.progress[1]]);
    sleep(TIMEOUT * 2);
    assert!(run.watch(0).check().is_ok() && run.watch(1).check().is_ok());
    (0..2).for_each(|rank| run.watch(rank).finished());
    sleep(Duration::from_millis(200));
}

#[test]
fn a_long_operation_is_no_hang_and_is_warned_of_once() {
    let run = run(2, no_exit);
    let waiting = run.watch(0).waiting(Channel::Step);
    let operation = LongOperation::of(run.progress[1]);
    sleep(TIMEOUT * 2);
    assert!(run.watch(0).check().is_ok() && run.watch(1).check().is_ok());
    drop(operation);
    drop(waiting);
    (0..2).for_each(|rank| run.watch(rank).finished());
    (0..2).for_each(|rank| run.watch(rank).settle());
    let (by, warning) = run.warnings.try_recv().unwrap();
    assert!(by == 0 && warning.starts_with("rank 1 on host1: an operation such as a flush"), "{by}: {warning}");
    assert!(run.warnings.try_recv().is_err() && run.reports.try_recv().is_err());
}

#[test]
fn a_rank_that_stands_still_after_a_long_operation_is_named() {
    let run = run(2, any_exit);
    let _waiting = run.watch(0).waiting(Channel::Step);
    drop(LongOperation::of(run.progress[1]));
    let (by, error) = run.report();
    assert!(by == 0 && error.message.starts_with("rank 1 on host1: it has made no progress"), "{by}: {error}");
}

#[test]
fn warnings_are_shown_by_the_first_rank_before_it_ends() {
    let run = run(3, no_exit);
    let _working = Working::on(run.progress.clone());
    (0..3).for_each(|rank| run.watch(rank).warn(&"of all".into()));
    let shown = run.warnings.recv_timeout(TIMEOUT).unwrap();
    assert_eq!(shown, (0, "of all".to_string()));
    run.watch(2).warn(&"of one".into());
    (0..3).for_each(|rank| run.watch(rank).finished());
    (0..3).rev().for_each(|rank| run.watch(rank).settle());
    assert_eq!(run.warnings.try_recv(), Ok((0, "rank 2 on host2: of one".to_string())));
    assert!(run.warnings.try_recv().is_err() && run.reports.try_recv().is_err());
}

#[test]
fn warnings_come_before_the_error_that_ends_the_run() {
    let run = run(3, any_exit);
    run.watch(1).warn(&"odd values".into());
    run.watch(1).fail(&Error::input("log.csv: line 7"));
    let (by, error) = run.report();
    assert!(by == 0 && error.message.ends_with("log.csv: line 7"), "{by}: {error}");
    assert_eq!(run.warnings.try_recv(), Ok((0, "rank 1 on host1: odd values".to_string())));
}

#[test]
fn a_silent_rank_is_named() {
    let listeners = [Listener::open().unwrap(), Listener::open().unwrap()];
    let all = listeners.each_ref().map(|listener| listener.address.clone());
    let [first, second] = listeners;
    let soon = Instant::now() + Duration::from_secs(20);
    let (sender, reports) = mpsc::channel();
    std::thread::scope(|scope| {
        // A stopped process: its connections stay open, and nothing comes.
        let stopped = scope.spawn(|| second.connect(1, &all, soon).unwrap());
        let streams = first.connect(0, &all, soon).unwrap();
        let reporter = Reporter::new(move |notice| sender.send(notice.clone()).unwrap());
        let hosts = ["a".to_string(), "b".to_string()].into();
        let progress: &'static ProgressCounters = Box::leak(Box::default());
        let options = WatchOptions { rank: 0, hosts, timeout: TIMEOUT, reporter, exit: any_exit, progress };
        let watch = RankWatch::start(streams, options).unwrap();
        let _waiting = watch.waiting(Channel::Step);
        let Notice::Error(error) = reports.recv_timeout(TIMEOUT).unwrap() else { panic!("a warning") };
        assert!(error.message.starts_with("rank 1 on b: nothing came from it"), "{error}");
        drop(stopped.join());
    });
}

#[test]
fn an_error_of_a_rank_is_that_of_all_and_reported_once() {
    let run = run(3, any_exit);
    let ending = run.watch(2).fail(&Error::input("log.csv: line 7: expected 0 or 1"));
    let (by, error) = run.report();
    assert_eq!((by, error.message.as_str()), (0, "rank 2 on host2: log.csv: line 7: expected 0 or 1"));
    assert_eq!(error.exit_code(), 1);
    assert_eq!(ending, Ending { error: error.clone(), reported: true });
    assert_eq!((run.failure(0), run.failure(1)), (error.clone(), error.clone()));
    // What the others then end with is the same.
    let following = run.watch(0).fail(&run.failure(0));
    assert_eq!(following, Ending { error, reported: true });
}

#[test]
fn errors_of_several_ranks_at_once_are_reported_once() {
    let run = run(4, any_exit);
    std::thread::scope(|scope| {
        for watch in run.watches.iter().flatten() {
            scope.spawn(|| assert!(watch.fail(&Error::input("no such file")).reported));
        }
    });
    let (by, error) = run.report();
    assert!(by == 0 && error.message.ends_with("no such file"), "{by}: {error}");
}
