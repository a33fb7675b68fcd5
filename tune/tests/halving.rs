//! Halving against a slow, literal form of Algorithm 2 of Li et al. (2020), and schedules against
//! what they promise.
#![allow(clippy::unwrap_used)]

use din_tune::{ChosenValue, JobOutcome, Ladder, NextJob, Sampler, Scheduler, StudyJob, TrialProgress};
use std::collections::BTreeSet;

/// A number from 0 to 999 that looks random.
fn noise(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.wrapping_mul(0xD1B5_4A32_D192_ED03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 32) % 1000
}

/// `get_job` of the paper, by the words of the algorithm: from the highest rung down, the top
/// `|rung| / factor` of the rung by rank, less those that were promoted from it.
fn literal(ladder: Ladder, trials: &[TrialProgress]) -> Option<usize> {
    for rung in (0..ladder.rungs - 1).rev() {
        let here: Vec<usize> = (0..trials.len()).filter(|&t| trials[t].losses.len() > rung).collect();
        let mut promotable = Vec::new();
        for &t in &here {
            let better = |&&o: &&usize| {
                let (mine, other) = (trials[t].losses[rung], trials[o].losses[rung]);
                other < mine || other == mine && o < t
            };
            let rank = here.iter().filter(better).count();
            let promoted = trials[t].sent_to > rung;
            if rank < here.len() / ladder.factor && !promoted && !trials[t].ended && trials[t].losses[rung].is_finite()
            {
                promotable.push((rank, t));
            }
        }
        if let Some((_, t)) = promotable.into_iter().min() {
            return Some(t);
        }
    }
    None
}

#[test]
fn promotions_are_those_of_the_paper() {
    let mut promoted = 0;
    for case in 0..3000 {
        let ladder = Ladder { rungs: 1 + (noise(case, 1) % 4) as usize, factor: 2 + (noise(case, 2) % 3) as usize };
        let count = noise(case, 3) % 20;
        let trials: Vec<TrialProgress> = (0..count)
            .map(|t| {
                let sent_to = (noise(case, 10 + t) % ladder.rungs as u64) as usize;
                let reached = sent_to + usize::from(!noise(case, 40 + t).is_multiple_of(4));
                let loss = |rung: u64| match noise(case, 70 + t).is_multiple_of(9) && rung + 1 == reached as u64 {
                    true => f64::INFINITY,
                    // Equal ones too.
                    false => (noise(case, 100 + 20 * rung + t) % 12) as f64,
                };
                let losses: Vec<f64> = (0..reached as u64).map(loss).collect();
                let ended = losses.last().is_some_and(|l| l.is_infinite()) || noise(case, 200 + t).is_multiple_of(7);
                TrialProgress { sent_to, losses, ended }
            })
            .collect();
        let found = ladder.promotion(&trials);
        assert_eq!(found, literal(ladder, &trials), "case {case}");
        promoted += usize::from(found.is_some());
    }
    assert!(promoted > 500, "{promoted}");
}

fn scheduler(trials: usize, parallel: usize) -> Scheduler {
    Scheduler { sampler: Sampler::Random, seed: 1, trials, ladder: Ladder { rungs: 3, factor: 3 }, parallel }
}

/// Runs a study; the job that ends next among those that run is drawn by `order`.
fn simulate(scheduler: &Scheduler, order: u64) -> Vec<StudyJob> {
    let mut jobs: Vec<StudyJob> = Vec::new();
    let mut running: Vec<usize> = Vec::new();
    for turn in 0.. {
        while running.len() < scheduler.parallel {
            let begun = jobs.iter().filter(|job| job.rung == 0).count();
            let (trial, rung) = match scheduler.next(&jobs, &vec![false; begun]) {
                NextJob::Begin => (begun, 0),
                NextJob::Promote { trial, rung } => (trial, rung),
                NextJob::Wait | NextJob::Done => break,
            };
            running.push(jobs.len());
            jobs.push(StudyJob { trial, rung, outcome: None });
        }
        if running.is_empty() {
            return jobs;
        }
        let job = running.remove((noise(order, turn) % running.len() as u64) as usize);
        let (trial, rung) = (jobs[job].trial as u64, jobs[job].rung as u64);
        // A little noise, so that the order changes from rung to rung; some fail.
        let loss = (noise(7, trial) + noise(8 + rung, trial) / 4) as f64;
        jobs[job].outcome = Some(match noise(9 + rung, trial) % 17 {
            0 => JobOutcome::Failed,
            _ => JobOutcome::Scored { loss, ended: rung == 2 },
        });
    }
    unreachable!("the loop ends by a return")
}

/// Whatever ends first, a study of several jobs at a time is the same; and it does run several.
#[test]
fn the_order_in_which_jobs_end_does_not_change_the_study() {
    for parallel in [1, 2, 3, 5] {
        let scheduler = scheduler(30, parallel);
        let expected = simulate(&scheduler, 0);
        for order in 1..60 {
            assert_eq!(simulate(&scheduler, order), expected, "{parallel} jobs, order {order}");
        }
    }
}

/// A study that is stopped anywhere goes on to the same: the next job depends on the jobs alone.
#[test]
fn every_trial_is_begun_and_few_are_trained_whole() {
    for parallel in [1, 2, 4] {
        let jobs = simulate(&scheduler(40, parallel), 3);
        let at = |rung: usize| jobs.iter().filter(|job| job.rung == rung).count();
        assert_eq!(at(0), 40);
        // A third goes on, give or take those that were promoted before better ones came.
        assert!((13..=20).contains(&at(1)) && (4..=9).contains(&at(2)), "{} {}", at(1), at(2));
        // No trial skips a rung, or comes to one twice.
        let seen: BTreeSet<(usize, usize)> = jobs.iter().map(|job| (job.trial, job.rung)).collect();
        assert_eq!(seen.len(), jobs.len());
        assert!(jobs.iter().all(|job| job.rung == 0 || seen.contains(&(job.trial, job.rung - 1))));
    }
}

/// Without halving, jobs are trials, one after the other, and nothing waits for long.
#[test]
fn without_halving_trials_follow_each_other() {
    let scheduler = Scheduler { ladder: Ladder { rungs: 1, factor: 3 }, ..scheduler(9, 1) };
    let jobs = simulate(&scheduler, 1);
    assert_eq!(jobs.iter().map(|job| job.trial).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    assert_eq!(scheduler.next(&jobs, &[false; 9]), NextJob::Done);
    let values: Vec<Vec<ChosenValue>> = vec![Vec::new(); 9];
    let _ = scheduler.suggester(&jobs, &values);
}

/// With too few trials for a promotion, the best of them is trained whole all the same.
#[test]
fn a_study_of_few_trials_has_one_that_is_trained_whole() {
    for (trials, parallel) in [(1, 1), (2, 1), (2, 3), (5, 1), (8, 2)] {
        let jobs = simulate(&scheduler(trials, parallel), 1);
        let whole: Vec<usize> = jobs.iter().filter(|job| job.rung == 2).map(|job| job.trial).collect();
        assert_eq!(whole.len(), 1, "{trials} trials");
        // Of the trials at rung 1, none was better there.
        let loss = |trial: usize| {
            let job = jobs.iter().find(|job| job.trial == trial && job.rung == 1);
            job.and_then(|job| match job.outcome {
                Some(JobOutcome::Scored { loss, .. }) => Some(loss),
                _ => None,
            })
        };
        let best = (0..trials).filter_map(loss).fold(f64::INFINITY, f64::min);
        assert_eq!(loss(whole[0]), Some(best), "{trials} trials");
    }
}
