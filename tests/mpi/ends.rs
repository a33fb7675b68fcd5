//! A rank that dies, hangs or fails ends all of them, in time and with one message.

use crate::role::TIMEOUT;
use crate::support::{Ended, Mpi, ended, host, signal};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const RANKS: usize = 4;

/// Starts ranks that communicate, and the processes that they are, by rank.
fn waiting(mut command: Command) -> (Child, Vec<u32>) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut processes = vec![0; RANKS];
    while processes.contains(&0) {
        let line = lines.next().unwrap().unwrap();
        if let Some(rest) = line.trim().split_once("process ").map(|(_, rest)| rest) {
            let (rank, process) = rest.split_once(' ').unwrap();
            processes[rank.parse::<usize>().unwrap()] = process.parse().unwrap();
        }
    }
    // What follows goes nowhere, but must not fail.
    std::thread::spawn(move || lines.for_each(drop));
    std::thread::sleep(Duration::from_millis(300));
    (child, processes)
}

#[track_caller]
fn one_message(mpi: Mpi, ended: &Ended, begin: &str) {
    let errors = ended.errors();
    assert!(errors.len() == 1 && errors[0].starts_with(&format!("error: {begin}")), "{mpi:?} {begin} {ended:?}");
    assert_ne!(ended.code, Some(0), "{mpi:?} {ended:?}");
}

#[test]
fn a_rank_that_is_killed_ends_all_at_once() {
    for mpi in Mpi::BOTH {
        for victim in 0..RANKS {
            let (child, processes) = waiting(mpi.play(RANKS, "wait"));
            signal("-KILL", processes[victim]);
            let ended = Ended::of(child);
            assert!(ended.took < Duration::from_secs(4), "{mpi:?} {ended:?}");
            one_message(mpi, &ended, &format!("rank {victim} on {}: its process has ended", host()));
        }
    }
}

#[test]
fn a_rank_that_is_stopped_ends_all_within_the_timeout() {
    for mpi in Mpi::BOTH {
        for victim in [0, 2] {
            let (child, processes) = waiting(mpi.play(RANKS, "wait"));
            let begin = Instant::now();
            signal("-STOP", processes[victim]);
            let ended = Ended::of(child);
            assert!(begin.elapsed() < TIMEOUT, "{mpi:?} {ended:?}");
            let message = format!("rank {victim} on {}: nothing came from it", host());
            one_message(mpi, &ended, &message);
            assert!(processes.iter().all(|id| !std::path::Path::new(&format!("/proc/{id}/exe")).exists()), "{mpi:?}");
        }
    }
}

#[test]
fn a_rank_that_computes_for_ever_ends_all() {
    for mpi in Mpi::BOTH {
        let ended = ended(&mut mpi.play(2, "freeze=1"));
        assert!(ended.out.contains("frozen"), "progress was heeded: {mpi:?} {ended:?}");
        one_message(mpi, &ended, &format!("rank 1 on {}: it has made no progress", host()));
        assert_eq!(ended.code, Some(3), "{mpi:?} {ended:?}");
        assert!(ended.took < TIMEOUT * 3, "{mpi:?} {ended:?}");
    }
}

#[test]
fn a_rank_that_flushes_for_longer_than_the_timeout_is_waited_for() {
    for mpi in Mpi::BOTH {
        let ended = ended(&mut mpi.play(3, "operate=2"));
        assert_eq!((ended.code, ended.errors().len()), (Some(0), 0), "{mpi:?} {ended:?}");
        let warning = format!("rank 2 on {}: an operation such as a flush to the disk takes longer", host());
        assert_eq!(ended.warnings().len(), 1, "{mpi:?} {ended:?}");
        assert!(ended.warnings()[0].contains(&warning), "{mpi:?} {ended:?}");
    }
}

#[test]
fn an_error_of_one_rank_is_reported_once_and_keeps_its_exit_code() {
    for mpi in Mpi::BOTH {
        for who in [0, 3] {
            let ended = ended(&mut mpi.play(RANKS, &format!("fail={who}")));
            let message = format!("rank {who} on {}: log.csv: line 7: expected 0 or 1, found x", host());
            one_message(mpi, &ended, &message);
            assert_eq!(ended.code, Some(1), "{mpi:?} {ended:?}");
        }
    }
}

#[test]
fn the_library_of_another_mpi_is_an_error_that_says_so() {
    for mpi in Mpi::BOTH {
        let ended = ended(mpi.play(2, "wait").env("DIN_MPI_LIBRARY", mpi.other().library()));
        assert_eq!(ended.code, Some(1), "{mpi:?} {ended:?}");
        let errors = ended.errors();
        assert!(errors.len() == 1 && errors[0].contains("it is not the MPI of the launcher"), "{mpi:?} {ended:?}");
        assert!(errors[0].contains("has started 2 ranks") && errors[0].contains("rank 0 of 1"), "{mpi:?} {ended:?}");
    }
}

#[test]
fn a_library_that_is_missing_is_an_error_that_names_the_package() {
    for (mpi, package) in [(Mpi::Open, "libopenmpi-dev"), (Mpi::Mpich, "libmpich-dev")] {
        let ended = ended(mpi.play(2, "wait").env("DIN_MPI_LIBRARY", "/no/such/libdin_mpi.so"));
        assert_eq!((ended.code, ended.errors().len()), (Some(1), 1), "{mpi:?} {ended:?}");
        for part in ["/no/such/libdin_mpi.so (DIN_MPI_LIBRARY)", package, "cargo xtask mpi"] {
            assert!(ended.err.contains(part), "{part}: {mpi:?} {ended:?}");
        }
    }
}
