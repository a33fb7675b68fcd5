//! What a rank does, by the role that its environment names.

use din_runtime::Error;
use din_runtime::comm::{Channel, Communicator, ConnectOptions, LongOperation, Messages, connect, progress};
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The deadline of the runs that end badly.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// For runs that must not end by it.
const LONG: Duration = Duration::from_secs(60);

/// Not a test: what the processes run that `mpirun` starts. By itself it has no role.
#[test]
fn a_rank() {
    let Ok(role) = std::env::var("DIN_TEST_ROLE") else { return };
    let (name, argument) = role.split_once('=').unwrap_or((&role, "0"));
    let argument: usize = argument.parse().unwrap();
    let badly = ["wait", "freeze", "operate", "fail"].contains(&name);
    let rank_timeout = if badly { TIMEOUT } else { LONG };
    let mut options = ConnectOptions { rank_timeout, ..ConnectOptions::default() };
    if name == "rounds" {
        options.round_words = argument;
    }
    let comm = connect(&options).unwrap_or_else(|error| {
        report(&error);
        std::process::exit(error.exit_code().into())
    });
    let outcome = match name {
        "rounds" => exchange(&comm),
        "measure" => measure(&*comm),
        "wait" => wait(&*comm),
        "freeze" => freeze(&*comm, argument),
        "operate" => operate(&*comm, argument),
        "warn" => warn(&*comm, argument),
        "fail" => fail(&*comm, argument),
        _ => unreachable!("the roles are those above"),
    };
    let code = match outcome.and_then(|()| comm.finish()) {
        Ok(()) => 0,
        Err(error) => {
            let ending = comm.fail(&error);
            if !ending.reported {
                report(&ending.error);
            }
            ending.error.exit_code()
        }
    };
    // The harness, whose main thread this is not, has nothing to add.
    std::process::exit(code.into());
}

/// In one write, since the launcher writes there too.
fn report(error: &Error) {
    std::io::stderr().write_all(format!("error: {error}\n").as_bytes()).unwrap();
}

/// Numbers that every rank makes alike.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The length of a message: often 0 or short, sometimes long.
    fn length(&mut self) -> usize {
        let most = [1, 8, 61, 62, 300, 20_000][(self.next() % 6) as usize];
        (self.next() % (most + 1)) as usize
    }
}

/// The words that one rank sends to another in a round.
fn message(seed: u64, length: usize) -> Vec<u32> {
    (0..length as u64)
        .map(|at| (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ at.wrapping_mul(0x85EB_CA6B)) as u32)
        .collect()
}

/// Threads exchange messages of random lengths, each on a channel, and look at every word.
fn exchange(comm: &Arc<dyn Communicator>) -> Result<(), Error> {
    let threads = Channel::ALL.map(|channel| {
        let comm = comm.clone();
        std::thread::spawn(move || exchange_on(&*comm, channel))
    });
    threads.into_iter().try_for_each(|thread| thread.join().unwrap())?;
    println!("rank {} of {} is content", comm.rank(), comm.size());
    Ok(())
}

fn exchange_on(comm: &dyn Communicator, channel: Channel) -> Result<(), Error> {
    let (rank, size) = (comm.rank(), comm.size());
    let mut numbers = Numbers(channel.index() as u64 + 1);
    let (mut send, mut received) = (Messages::default(), Messages::default());
    for round in 0..60u64 {
        let seed = |from: usize, to: usize| (round * 64 + from as u64) * 64 + to as u64 + channel.index() as u64 * 977;
        let lengths: Vec<Vec<usize>> = (0..size).map(|_| (0..size).map(|_| numbers.length()).collect()).collect();
        send.clear();
        (0..size).for_each(|to| send.push(&message(seed(rank, to), lengths[rank][to])));
        comm.all_to_all(channel, &send, &mut received)?;
        assert_eq!(received.count(), size);
        for from in 0..size {
            assert_eq!(
                received.get(from),
                message(seed(from, rank), lengths[from][rank]),
                "{channel:?} {round} {from}"
            );
        }
        comm.all_gather(channel, &message(seed(rank, rank), lengths[rank][0]), &mut received)?;
        assert_eq!(received.count(), size);
        for from in 0..size {
            assert_eq!(received.get(from), message(seed(from, from), lengths[from][0]), "{channel:?} {round} {from}");
        }
    }
    Ok(())
}

/// How long communications take; the first rank prints it.
fn measure(comm: &dyn Communicator) -> Result<(), Error> {
    let mut received = Messages::default();
    let mut timed = |what: &str, times: u32, act: &mut dyn FnMut(&mut Messages) -> Result<(), Error>| {
        (0..times / 10).try_for_each(|_| act(&mut received))?;
        let begin = Instant::now();
        (0..times).try_for_each(|_| act(&mut received))?;
        if comm.rank() == 0 {
            println!("{what}: {:.1} us", begin.elapsed().as_secs_f64() * 1e6 / f64::from(times));
        }
        Ok::<(), Error>(())
    };
    timed("all_gather of nothing", 2000, &mut |received| comm.all_gather(Channel::Step, &[], received))?;
    timed("all_gather of 16 KiB", 500, &mut |received| comm.all_gather(Channel::Step, &[1; 4096], received))?;
    let mut send = Messages::default();
    (0..comm.size()).for_each(|_| send.push(&vec![1; (1 << 20) / comm.size()]));
    timed("all_to_all of 4 MiB from each rank", 100, &mut |received| comm.all_to_all(Channel::Step, &send, received))
}

/// Communicates for longer than the deadline, telling the process of each rank first.
fn wait(comm: &dyn Communicator) -> Result<(), Error> {
    println!("process {} {}", comm.rank(), std::process::id());
    let end = Instant::now() + TIMEOUT * 6;
    let mut received = Messages::default();
    while Instant::now() < end {
        comm.all_gather(Channel::Step, &[7], &mut received)?;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// One rank computes for ever, while its other threads and the other ranks wait. Before it does,
/// it works for longer than the deadline, and tells so.
fn freeze(comm: &dyn Communicator, who: usize) -> Result<(), Error> {
    comm.all_gather(Channel::Step, &[], &mut Messages::default())?;
    if comm.rank() == who {
        let begin = Instant::now();
        while begin.elapsed() < TIMEOUT + TIMEOUT / 2 {
            progress();
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("frozen");
        loop {
            std::hint::spin_loop();
        }
    }
    comm.all_gather(Channel::Step, &[], &mut Messages::default())
}

/// One rank does something that takes longer than the deadline, and cannot tell its progress.
fn operate(comm: &dyn Communicator, who: usize) -> Result<(), Error> {
    if comm.rank() == who {
        let operation = LongOperation::begin();
        std::thread::sleep(TIMEOUT + TIMEOUT / 2);
        drop(operation);
    }
    comm.all_gather(Channel::Step, &[], &mut Messages::default())
}

/// All ranks warn of one thing, one rank of another, at the end of their work.
fn warn(comm: &dyn Communicator, who: usize) -> Result<(), Error> {
    assert!(comm.warn(&"of all".into()));
    comm.all_gather(Channel::Step, &[], &mut Messages::default())?;
    if comm.rank() == who {
        assert!(comm.warn(&"of one".into()));
    }
    Ok(())
}

/// One rank meets an error, while the others wait for it.
fn fail(comm: &dyn Communicator, who: usize) -> Result<(), Error> {
    for round in 0..20 {
        if comm.rank() == who && round == 10 {
            return Err(Error::input("log.csv: line 7: expected 0 or 1, found x"));
        }
        comm.all_gather(Channel::Step, &[], &mut Messages::default())?;
    }
    Ok(())
}
