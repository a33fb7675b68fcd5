//! How a part of the work ended on every rank.

use super::{Channel, Communicator, Messages, ids, push_id};
use crate::{Error, ErrorKind, Result};

/// Ends a part of the work that all ranks do: each says how it ended, with a text or an error.
/// Gives what all of them said, by rank.
///
/// # Errors
/// On every rank the error of the first rank that failed, so that all stop for one cause; it names
/// the rank.
pub fn share_outcomes(ranks: &dyn Communicator, channel: Channel, own: Result<String>) -> Result<Vec<String>> {
    if ranks.size() == 1 {
        return own.map(|text| vec![text]);
    }
    let (kind, text) = match &own {
        Ok(text) => (0, text),
        Err(error) => (code(error.kind), &error.message),
    };
    let mut message = vec![kind, text.len() as u32];
    message.extend(text.as_bytes().chunks(4).map(|piece| {
        let mut bytes = [0; 4];
        bytes[..piece.len()].copy_from_slice(piece);
        u32::from_le_bytes(bytes)
    }));
    let mut received = Messages::default();
    if let Err(error) = ranks.all_gather(channel, &message, &mut received) {
        // Where this rank has a reason of its own, that is what the user has to know.
        return Err(own.err().unwrap_or(error));
    }
    let said = |(rank, message)| outcome(message).map_err(|error| error.of_rank(rank, &ranks.host(rank)));
    received.iter().enumerate().map(said).collect()
}

/// Refuses ranks that differ in what all must have in common: a line for each thing, such as
/// `seed 7`.
///
/// # Errors
/// On every rank, with the first line that differs.
pub fn check_agreement(ranks: &dyn Communicator, channel: Channel, own: &[String]) -> Result<()> {
    let all = share_outcomes(ranks, channel, Ok(own.join("\n")))?;
    for (rank, other) in all.iter().enumerate() {
        let others: Vec<&str> = other.lines().collect();
        let differs = |k: &usize| own.get(*k).map(String::as_str) != others.get(*k).copied();
        if let Some(k) = (0..own.len().max(others.len())).find(differs) {
            let here = own.get(k).map_or("nothing of that", String::as_str);
            let there = others.get(k).copied().unwrap_or("nothing of that");
            let first = ranks.rank();
            return Err(Error::input(format!("rank {first} has {here}, rank {rank} {there}: expected the same"))
                .help("start all ranks by one command with the same files; where CPUs differ, pass --isa"));
        }
    }
    Ok(())
}

/// Whether it is so on any rank. Every rank asks.
///
/// # Errors
/// Another rank failed.
pub fn any_rank(ranks: &dyn Communicator, here: bool) -> Result<bool> {
    if ranks.size() == 1 {
        return Ok(here);
    }
    let mut received = Messages::default();
    ranks.all_gather(Channel::Step, &[u32::from(here)], &mut received)?;
    Ok(received.words.contains(&1))
}

/// Has the first rank do what only one may do, while the others wait; `None` on those.
///
/// # Errors
/// On every rank that of the first.
pub fn on_first_rank<T>(
    ranks: &dyn Communicator,
    channel: Channel,
    work: impl FnOnce() -> Result<T>,
) -> Result<Option<T>> {
    let done = (ranks.rank() == 0).then(work);
    let outcome = match &done {
        Some(Err(error)) => Err(error.clone()),
        Some(Ok(_)) | None => Ok(String::new()),
    };
    share_outcomes(ranks, channel, outcome)?;
    done.transpose()
}

fn code(kind: ErrorKind) -> u32 {
    match kind {
        ErrorKind::User => 1,
        ErrorKind::System => 2,
        ErrorKind::Stopped => 3,
    }
}

/// What a rank said.
fn outcome(message: &[u32]) -> Result<String> {
    let (&[kind, length], words) = message.split_first_chunk().expect("an outcome begins with two words");
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(length as usize);
    let text = String::from_utf8(bytes).expect("an outcome is text");
    match [ErrorKind::User, ErrorKind::System, ErrorKind::Stopped].into_iter().find(|&found| code(found) == kind) {
        Some(kind) => Err(Error { kind, message: text }),
        None => Ok(text),
    }
}

/// The sums of counts over all ranks; every rank calls it.
///
/// # Errors
/// Another rank failed.
pub fn sum_over_ranks<const N: usize>(own: [u64; N], ranks: &dyn Communicator) -> Result<[u64; N]> {
    let (mut words, mut received) = (Vec::new(), Messages::default());
    own.into_iter().for_each(|count| push_id(&mut words, count));
    ranks.all_gather(Channel::Step, &words, &mut received)?;
    let mut sums = [0; N];
    received.iter().for_each(|words| sums.iter_mut().zip(ids(words)).for_each(|(sum, count)| *sum += count));
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comm::in_process;

    #[test]
    fn the_first_line_that_differs_is_named() {
        let check = |lines: [&[&str]; 3]| {
            std::thread::scope(|scope| {
                let checks = in_process(3).into_iter().map(|comm| {
                    scope.spawn(move || {
                        let own: Vec<String> = lines[comm.rank()].iter().map(|line| line.to_string()).collect();
                        check_agreement(comm.as_ref(), Channel::Step, &own).map_err(|error| error.message)
                    })
                });
                checks.collect::<Vec<_>>().into_iter().map(|check| check.join().unwrap()).collect::<Vec<_>>()
            })
        };
        assert_eq!(check([&["seed 1", "batch 2"]; 3]), [Ok(()), Ok(()), Ok(())]);
        let said = check([&["seed 1", "batch 2"], &["seed 1", "batch 2"], &["seed 1", "batch 3"]]);
        let begins = |rank: usize, begin: &str| said[rank].as_ref().is_err_and(|message| message.starts_with(begin));
        assert!(begins(0, "rank 0 has batch 2, rank 2 batch 3: expected the same"), "{said:?}");
        assert!(begins(1, "rank 1 has batch 2, rank 2 batch 3"), "{said:?}");
        assert!(begins(2, "rank 2 has batch 3, rank 0 batch 2"), "{said:?}");
        assert!(check([&["train"], &["train", "--resume"], &["train"]]).iter().all(|said| said.is_err()));
    }

    #[test]
    fn all_ranks_hear_all_texts_or_the_error_of_the_first_that_failed() {
        std::thread::scope(|scope| {
            for comm in in_process(4) {
                scope.spawn(move || {
                    let texts = ["", "a", "zwölf", "12345678"].map(String::from);
                    let said = share_outcomes(comm.as_ref(), Channel::Step, Ok(texts[comm.rank()].clone()));
                    assert_eq!(said.unwrap(), texts);
                    let first = on_first_rank(comm.as_ref(), Channel::Step, || Ok(comm.rank()));
                    assert_eq!(first.unwrap(), (comm.rank() == 0).then_some(0));
                    let own = match comm.rank() {
                        1 => Err(Error::machine("disk full").help("free some")),
                        3 => Err(Error::input("a wrong file")),
                        _ => Ok(String::new()),
                    };
                    let error = share_outcomes(comm.as_ref(), Channel::Step, own).unwrap_err();
                    let expected = Error::machine("disk full").help("free some");
                    assert_eq!(error, expected.of_rank(1, &comm.host(1)));
                });
            }
        });
    }
}
