//! Messages arrive.

use crate::support::{Mpi, ended, host};

#[track_caller]
fn all_are_content(mpi: Mpi, ranks: usize, round_words: usize) {
    let ended = ended(&mut mpi.play(ranks, &format!("rounds={round_words}")));
    assert_eq!(ended.code, Some(0), "{mpi:?} {ranks} {ended:?}");
    for rank in 0..ranks {
        let line = format!("rank {rank} of {ranks} is content");
        assert_eq!(ended.out.matches(&line).count(), 1, "{mpi:?} {line}: {ended:?}");
    }
}

#[test]
fn threads_exchange_messages_of_any_length() {
    for mpi in Mpi::BOTH {
        [1, 2, 3, 4].into_iter().for_each(|ranks| all_are_content(mpi, ranks, 1 << 28));
    }
}

#[test]
fn long_messages_travel_in_rounds() {
    Mpi::BOTH.into_iter().for_each(|mpi| all_are_content(mpi, 3, 3000));
}

#[test]
fn warnings_of_all_ranks_arrive_once() {
    for mpi in Mpi::BOTH {
        let ended = ended(&mut mpi.play(4, "warn=3"));
        assert_eq!(ended.code, Some(0), "{mpi:?} {ended:?}");
        let mut warnings = ended.warnings();
        warnings.sort();
        assert_eq!(warnings, ["warning: of all", &format!("warning: rank 3 on {}: of one", host())], "{mpi:?}");
    }
}

#[test]
fn what_communication_costs_is_printed() {
    for mpi in Mpi::BOTH {
        let ended = ended(&mut mpi.play(2, "measure"));
        assert_eq!(ended.code, Some(0), "{mpi:?} {ended:?}");
        assert_eq!(ended.out.matches(" us").count(), 3, "{mpi:?} {ended:?}");
        println!("{mpi:?}\n{}", ended.out);
    }
}
