//! Replays the corpus of every fuzz target, and seeded mutations of it, on the base Rust. A panic
//! in any thread, or a property that does not hold, fails; what did it is written to a file that
//! the message names. `cargo xtask fuzz` looks for more.

use din_tests::fuzz::{self, Outcome, Seed, mutate, seeds};
use din_tests::mutations::Mutator;
use din_tests::random_graph::Random;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

type Target = fn(&[u8]) -> Outcome;

/// What panicked since the last input, in any thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn panics() -> MutexGuard<'static, Vec<String>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes panics known that a library catches or that end a thread of its own.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            panics().push(panic.to_string());
            before(panic);
        }));
    });
}

/// Runs one input.
fn run(name: &str, target: Target, what: &str, bytes: &[u8]) -> Outcome {
    let outcome = catch_unwind(|| target(bytes));
    let said = std::mem::take(&mut *panics());
    if let Ok(outcome) = outcome
        && said.is_empty()
    {
        return outcome;
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
    std::fs::write(&path, bytes).expect("a temporary file is written");
    panic!("{name}: {what}: {said:?}\nthe input is {}; copy it to tests/corpus/{name}/", path.display());
}

/// How the inputs of a corpus are mutated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutations {
    /// Bytes alone.
    Bytes,
    /// Bytes, and every other time the words of a spec.
    Words,
}

/// Replays the corpus, of which at least `least` inputs are accepted and as many refused, and
/// `count` mutations of each input, of which some are accepted and some refused.
fn replay(name: &str, target: Target, least: usize, count: u64, mutations: Mutations) {
    watch();
    let corpus = seeds(name);
    let replayed = |seed: &Seed| run(name, target, &seed.name, &seed.bytes);
    let outcomes: Vec<Outcome> = corpus.iter().map(replayed).collect();
    let (accepted, refused) = tally(&outcomes);
    assert!(accepted >= least && refused >= least, "{name}: {accepted} inputs are accepted, {refused} refused");

    let texts: Vec<String> = corpus.iter().map(|seed| String::from_utf8_lossy(&seed.bytes).into_owned()).collect();
    let mutator = Mutator::new(texts.iter().map(String::as_str));
    let mut outcomes = Vec::new();
    for (k, seed) in (0u64..).zip(&corpus) {
        let mut random = Random::new(k);
        for n in 0..count {
            let bytes = if mutations == Mutations::Words && n % 2 == 1 {
                mutator.mutate(&String::from_utf8_lossy(&seed.bytes), &mut random).into_bytes()
            } else {
                let other = &corpus[random.below(corpus.len())];
                mutate(&seed.bytes, &other.bytes, &mut random)
            };
            outcomes.push(run(name, target, &format!("mutation {n} of {}", seed.name), &bytes));
        }
    }
    let (accepted, refused) = tally(&outcomes);
    println!("{name}: {accepted} mutations are accepted, {refused} refused");
    assert!(accepted > 0 && refused > 0, "{name}: {accepted} mutations are accepted, {refused} refused");
}

fn tally(outcomes: &[Outcome]) -> (usize, usize) {
    let accepted = outcomes.iter().filter(|outcome| **outcome == Outcome::Accepted).count();
    (accepted, outcomes.len() - accepted)
}

/// One test, so that a panic is the one input's that runs; the targets use threads of their own.
#[test]
fn corpora_and_their_mutations_neither_panic_nor_break_a_property() {
    use Mutations::{Bytes, Words};
    replay("parser", fuzz::parser, 5, 150, Words);
    replay("checker", fuzz::checker, 4, 60, Words);
    replay("formatter", fuzz::formatter, 5, 150, Words);
    replay("program", fuzz::program, 2, 200, Bytes);
    replay("bundle", fuzz::bundle, 2, 150, Bytes);
    replay("csv", fuzz::csv, 5, 80, Bytes);
    replay("parquet", fuzz::parquet, 3, 100, Bytes);
}

/// Mutations depend on their seed alone, and change the input.
#[test]
fn mutations_come_again() {
    let mutated = |seed| mutate(b"let a = b", b"model m", &mut Random::new(seed));
    let changed = (0..100).filter(|seed| mutated(*seed) != b"let a = b").count();
    assert!((0..100).all(|seed| mutated(seed) == mutated(seed)));
    assert!(changed > 90, "{changed} of 100 mutations change the input");
}
