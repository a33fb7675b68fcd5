//! SIGKILL on a random rank at random moments: whatever it met, the run goes on to the bits of an
//! undisturbed one.
//!
//! `cargo xtask soak` raises the number of kills, which `DIN_TEST_KILLS` names.

use crate::same::assert_same;
use crate::scene::{Running, SHARDED, Scene, TRAIN};
use crate::support::{Ended, Mpi, host};
use std::time::{Duration, Instant};

/// Ranks of the runs, in turn; one is a process by itself.
const RANKS: [usize; 3] = [1, 2, 4];
const EPOCHS: u64 = 30;
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

/// When a rank is to be killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the start.
    Starting(Duration),
    /// So long after a checkpoint that the run has not had at the start.
    Training(Duration),
}

/// Kills a rank at a moment, unless the run ends before.
fn kill(running: &mut Running, scene: &Scene, run: &str, rank: usize, moment: Moment) -> bool {
    let had = scene.checkpoints(run).pop();
    let Some(process) = running.process(rank) else { return false };
    let wait = match moment {
        Moment::Starting(wait) => wait,
        Moment::Training(wait) => {
            while running.runs(process) && scene.checkpoints(run).pop() == had {
                std::thread::sleep(Duration::from_millis(1));
            }
            wait
        }
    };
    std::thread::sleep(wait);
    running.kill(process)
}

#[test]
fn a_run_that_is_killed_at_random_moments_comes_to_the_same_bits() {
    let kills: usize = std::env::var("DIN_TEST_KILLS").map_or(4, |kills| kills.parse().expect("a number of kills"));
    let mut numbers = Numbers(kills as u64);
    let scene = Scene::new();
    let line = format!("{TRAIN} --epochs {EPOCHS} --checkpoint-every 4 --rank-timeout 5");
    let begin = Instant::now();
    let undisturbed = scene.alone(&format!("{line} --out {{folder}}/one"));
    assert_eq!(undisturbed.code, Some(0), "{undisturbed:?}");
    let took = begin.elapsed().as_micros() as u64;
    let (mut killed, mut messages, mut turn) = (0, 0, 0);
    let mut number = 0;
    while number == 0 || killed < kills {
        let run = format!("run{number}");
        loop {
            let ranks = RANKS[turn % RANKS.len()];
            let mpi = Mpi::BOTH[turn % 2];
            turn += 1;
            // One that was killed before it had begun begins again.
            let line = format!("{line} {SHARDED} --out {{folder}}/{run} --resume");
            let mut running = match ranks {
                1 => scene.start_alone(&line),
                _ => scene.start(mpi, ranks, &[], &line),
            };
            let victim = numbers.below(ranks as u64) as usize;
            let moment = match numbers.below(4) {
                0 => Moment::Starting(Duration::from_micros(numbers.below(took / 2))),
                _ => Moment::Training(Duration::from_micros(numbers.below(took / 3))),
            };
            let disturbed = killed < kills && kill(&mut running, &scene, &run, victim, moment);
            let ended = running.ended_within(if disturbed { DEADLINE } else { Duration::from_secs(120) });
            // It may have ended by itself at that moment.
            let disturbed = disturbed && ended.code != Some(0);
            let step = scene.checkpoints(&run).pop().unwrap_or_else(|| "the beginning".into());
            let what = if disturbed { format!("rank {victim} killed at {moment:?}") } else { "left alone".into() };
            let place = format!("{run}, {ranks} ranks, {mpi:?}, {what}: {step}, {:?}", ended.code);
            println!("{place}, {} messages", ended.errors().len());
            if !disturbed {
                assert_eq!(ended.code, Some(0), "{place}: {ended:?}");
                break;
            }
            killed += 1;
            messages += usize::from(ranks > 1 && at_most_one_message(&ended, victim));
            if !scene.checkpoints(&run).is_empty() {
                scene.last_is_valid(&run);
            }
        }
        assert_same(&scene.at("one"), &scene.at(&run));
        number += 1;
    }
    println!("{killed} kills, {messages} reported by ranks that were left; {number} runs came to the same bits");
}
