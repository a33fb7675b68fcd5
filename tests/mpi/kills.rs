//! SIGKILL on a random rank at random moments: whatever it met, the run goes on to the bits of an
//! undisturbed one.
//!
//! `cargo xtask soak` raises the number of kills, which `DIN_TEST_KILLS` names.

use crate::same::assert_same;
use crate::scene::{SHARDED, Scene, TRAIN};
use crate::support::{Ended, Mpi, host};
use std::time::{Duration, Instant};

/// Ranks of the runs, in turn; one is a process by itself.
const RANKS: [usize; 3] = [1, 2, 4];
/// All ranks have ended so long after one was killed, and their launcher too.
const DEADLINE: Duration = Duration::from_secs(8);

/// Numbers of a generator with a fixed beginning: the moments are random, since the machine is.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// The message of ours, which the ranks that are left print. Before they are connected, and behind
/// their last step, there is none.
#[track_caller]
fn at_most_one_message(ended: &Ended, victim: usize) -> bool {
    let errors = ended.errors();
    let message = format!("error: rank {victim} on {}: its process has ended", host());
    assert!(errors.len() <= 1 && errors.iter().all(|error| error.starts_with(&message)), "{ended:?}");
    errors.len() == 1
}

#[test]
fn a_run_that_is_killed_at_random_moments_comes_to_the_same_bits() {
    let kills: usize = std::env::var("DIN_TEST_KILLS").map_or(4, |kills| kills.parse().expect("a number of kills"));
    let mut numbers = Numbers(kills as u64);
    let scene = Scene::new();
    let line = format!("{TRAIN} --epochs 8 --checkpoint-every 4 --rank-timeout 5");
    let begin = Instant::now();
    let undisturbed = scene.alone(&format!("{line} --out {{folder}}/one"));
    assert_eq!(undisturbed.code, Some(0), "{undisturbed:?}");
    // By number of ranks: how long a whole run takes.
    let mut took = RANKS.map(|_| begin.elapsed());
    let (mut killed, mut messages, mut ends) = (0, 0, 0);
    let mut turn = 0;
    for number in 0.. {
        let run = format!("run{number}");
        loop {
            let ranks = RANKS[turn % RANKS.len()];
            let mpi = if turn % 2 == 0 { Mpi::Open } else { Mpi::Mpich };
            // A run that was killed before it had a record begins again.
            let resume = if scene.at(&run).join("run.json").exists() { "--resume" } else { "" };
            let begin = Instant::now();
            let line = format!("{line} {SHARDED} --out {{folder}}/{run} {resume}");
            let mut running = match ranks {
                1 => scene.start_alone(&line),
                _ => scene.start(mpi, ranks, &[], &line),
            };
            let mut victim = None;
            if killed < kills {
                let wait = Duration::from_millis(numbers.below(took[turn % RANKS.len()].as_millis() as u64));
                let rank = numbers.below(ranks as u64) as usize;
                let process = running.process(rank);
                std::thread::sleep(wait.saturating_sub(begin.elapsed()));
                // It may have ended by itself.
                if process.is_some_and(|process| running.kill(process)) {
                    victim = Some(rank);
                }
            }
            let ended = running.ended_within(if victim.is_some() { DEADLINE } else { Duration::from_secs(120) });
            // It may have ended by itself at that moment.
            let victim = victim.filter(|_| ended.code != Some(0));
            let step = scene.checkpoints(&run).pop().unwrap_or_else(|| "the beginning".into());
            let place = format!("{run}, {ranks} ranks, {mpi:?}, victim {victim:?}, at {step}");
            println!("{place}: {:?} after {:.1} s", ended.code, begin.elapsed().as_secs_f64());
            if let Some(victim) = victim {
                killed += 1;
                messages += usize::from(ranks > 1 && at_most_one_message(&ended, victim));
                if !scene.checkpoints(&run).is_empty() {
                    scene.last_is_valid(&run);
                }
            } else {
                assert_eq!(ended.code, Some(0), "{place}: {ended:?}");
                took[turn % RANKS.len()] = begin.elapsed();
            }
            turn += 1;
            if victim.is_none() {
                break;
            }
        }
        assert_same(&scene.at("one"), &scene.at(&run));
        ends += 1;
        if killed == kills {
            break;
        }
    }
    println!(
        "{kills} kills, {messages} of them reported by the ranks that were left; {ends} runs came to the same bits"
    );
}
