//! The next job of a study.

use crate::halving::{Ladder, TrialProgress};
use crate::sampler::{Evidence, Sampler, Suggester};
use crate::space::ChosenValue;

/// What came of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JobOutcome {
    /// The loss of the trial by then; `ended` where it goes no further by itself.
    Scored {
        loss: f64,
        ended: bool,
    },
    Failed,
}

/// A trial that was sent to a rung.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyJob {
    pub trial: usize,
    pub rung: usize,
    /// `None` while it goes on.
    pub outcome: Option<JobOutcome>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum NextJob {
    /// Train a new trial up to rung 0, with values of the suggester.
    Begin,
    /// Train a trial up to a rung.
    Promote { trial: usize, rung: usize },
    /// Wait for jobs that go on.
    Wait,
    /// No job is left.
    Done,
}

/// Decides what is tried, and how far.
///
/// With several jobs at a time, which one ends first depends on the machine. So that the study does
/// not, job `k` is decided by the outcomes of the jobs before `k - horizon` alone, and waits for
/// them; `horizon` is twice the number of jobs that may run beside it. Only if these give nothing
/// to do are later outcomes looked at, one more at a time.
#[derive(Clone, Debug)]
pub struct Scheduler {
    pub sampler: Sampler,
    pub seed: u64,
    /// Trials to begin.
    pub trials: usize,
    pub ladder: Ladder,
    /// Jobs at a time, at least 1.
    pub parallel: usize,
}

impl Scheduler {
    /// `given_up` says of each trial whether it may not be promoted any more.
    pub fn next(&self, jobs: &[StudyJob], given_up: &[bool]) -> NextJob {
        let begun = jobs.iter().filter(|job| job.rung == 0).count();
        for known in self.known(jobs.len())..=jobs.len() {
            if jobs[..known].iter().any(|job| job.outcome.is_none()) {
                return NextJob::Wait;
            }
            if let Some(trial) = self.ladder.promotion(&progress(jobs, known, given_up)) {
                return NextJob::Promote { trial, rung: 1 + sent_to(jobs, trial) };
            }
            if begun < self.trials {
                return NextJob::Begin;
            }
        }
        self.finish(jobs, given_up)
    }

    /// A study of few trials may have promoted none to the end: then the one that came furthest,
    /// and is the best there, goes on, so that there is a winner that was trained whole.
    fn finish(&self, jobs: &[StudyJob], given_up: &[bool]) -> NextJob {
        let is_whole = |job: &StudyJob| matches!(job.outcome, Some(JobOutcome::Scored { ended: true, .. }));
        if jobs.iter().any(is_whole) {
            return NextJob::Done;
        }
        let trials = progress(jobs, jobs.len(), given_up);
        let waiting = trials.iter().enumerate().filter(|(_, t)| !t.ended && t.sent_to + 1 < self.ladder.rungs);
        let furthest = waiting.max_by(|(one, a), (other, b)| {
            let loss = |trial: &TrialProgress| trial.losses.last().copied().unwrap_or(f64::INFINITY);
            a.sent_to.cmp(&b.sent_to).then(loss(b).total_cmp(&loss(a))).then(other.cmp(one))
        });
        match furthest {
            Some((trial, progress)) => NextJob::Promote { trial, rung: progress.sent_to + 1 },
            None => NextJob::Done,
        }
    }

    /// Jobs whose outcomes decide job `number`.
    fn known(&self, number: usize) -> usize {
        number.saturating_sub(2 * (self.parallel - 1))
    }

    /// What suggests the values of the trial that begins as the next job.
    pub fn suggester<'a>(&self, jobs: &[StudyJob], values: &'a [Vec<ChosenValue>]) -> Suggester<'a> {
        let decided = &jobs[..self.known(jobs.len())];
        let mut evidence = Vec::new();
        for (trial, values) in values.iter().enumerate() {
            // Its last job says most.
            let last = decided.iter().rev().find(|job| job.trial == trial && job.outcome.is_some());
            let Some((job, outcome)) = last.and_then(|job| job.outcome.map(|outcome| (job, outcome))) else { continue };
            let reached = match outcome {
                // One that stopped by itself is as good as it gets.
                JobOutcome::Scored { loss, ended: true } => Some((self.ladder.rungs - 1, loss)),
                JobOutcome::Scored { loss, ended: false } => Some((job.rung, loss)),
                JobOutcome::Failed => None,
            };
            evidence.push(Evidence { values, reached });
        }
        Suggester::new(self.sampler, self.seed, values.len() as u64, evidence)
    }
}

fn sent_to(jobs: &[StudyJob], trial: usize) -> usize {
    jobs.iter().filter(|job| job.trial == trial).map(|job| job.rung).max().expect("a trial that began has a job")
}

/// How far all trials have come by the outcomes of the first `known` jobs.
fn progress(jobs: &[StudyJob], known: usize, given_up: &[bool]) -> Vec<TrialProgress> {
    let mut trials: Vec<TrialProgress> = Vec::new();
    for (k, job) in jobs.iter().enumerate() {
        if job.rung == 0 {
            let ended = given_up.get(trials.len()).copied().unwrap_or(false);
            trials.push(TrialProgress { ended, ..TrialProgress::default() });
        }
        let trial = &mut trials[job.trial];
        trial.sent_to = job.rung;
        match job.outcome.filter(|_| k < known) {
            Some(JobOutcome::Scored { loss, ended }) => {
                trial.losses.push(loss);
                trial.ended |= ended;
            }
            Some(JobOutcome::Failed) => {
                trial.losses.push(f64::INFINITY);
                trial.ended = true;
            }
            None => {}
        }
    }
    trials
}
