//! Asynchronous successive halving (Li, Jamieson, Rostamizadeh, Gonina, Ben-tzur, Hardt, Recht,
//! Talwalkar, "A system for massively parallel hyperparameter tuning", MLSys 2020).

/// The rungs: how often a trial is stopped, and how many of those that reach a rung go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// At least 1; the last one is the end of training.
    pub rungs: usize,
    /// Of the trials at a rung, the best `1 / factor` are promoted; at least 2.
    pub factor: usize,
}

/// How far a trial has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialProgress {
    /// The highest rung that it was sent to.
    pub sent_to: usize,
    /// Its loss at each rung that it has reached, from rung 0; infinite where it failed there.
    pub losses: Vec<f64>,
    /// It goes no further: it failed, stopped by itself, or was given up.
    pub ended: bool,
}

impl Ladder {
    /// The trial to train further, if there is one: of the highest rung that has one, the best of
    /// those among the best `1 / factor` of their rung that have not been sent on. Of equal ones,
    /// the earlier.
    pub fn promotion(&self, trials: &[TrialProgress]) -> Option<usize> {
        (0..self.rungs.saturating_sub(1)).rev().find_map(|rung| {
            let mut reached: Vec<(f64, usize)> = trials
                .iter()
                .enumerate()
                .filter_map(|(number, trial)| trial.losses.get(rung).map(|&loss| (loss, number)))
                .collect();
            reached.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
            reached.truncate(reached.len() / self.factor);
            let waits = |&(loss, number): &(f64, usize)| {
                let trial = &trials[number];
                loss.is_finite() && trial.sent_to == rung && !trial.ended
            };
            reached.into_iter().find(waits).map(|(_, number)| number)
        })
    }
}
