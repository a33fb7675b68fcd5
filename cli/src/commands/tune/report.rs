//! What a study says: a line for each job that ends, and the result.

use super::winner::WinnerReport;
use super::{StudyRun, Trial};
use crate::failure::Outcome;
use din_tune::TrialState;
use serde_json::{Map, Value, json};

/// Trials of the last table.
const SHOWN: usize = 10;

impl StudyRun<'_> {
    /// The line of a trial that has come to a rung, or ended.
    pub fn say(&self, number: usize) {
        let trial = &self.trials[number];
        let what = match (&trial.cause, trial.value) {
            (Some(cause), _) => format!("failed: {cause}"),
            (None, Some(value)) => format!("{} {value:.4}", self.objective.title()),
            (None, None) => "no value".into(),
        };
        let best = match self.best() {
            Some(best) if best == number => ", best so far".into(),
            Some(best) => match self.trials[best].value {
                Some(value) => format!("; best is trial {best} with {value:.4}"),
                None => String::new(),
            },
            None => String::new(),
        };
        self.console.remark(format!("trial {number}, {}: {} -> {what}{best}", self.length(trial), values(trial)));
    }

    /// How long a trial has been trained.
    fn length(&self, trial: &Trial) -> String {
        format!("{:.2} epochs", self.passes(trial.samples))
    }

    fn passes(&self, samples: u64) -> f64 {
        samples as f64 / self.rows.max(1) as f64
    }

    /// Trials by what they came to, the best first.
    fn ranking(&self) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..self.trials.len()).filter(|&n| self.trials[n].value.is_some()).collect();
        let key = |n: &usize| {
            let trial = &self.trials[*n];
            (self.trained_whole(*n), trial.rung, trial.value.map_or(f64::INFINITY, |value| self.objective.loss(value)))
        };
        numbers.sort_by(|one, other| {
            let (one, other) = (key(one), key(other));
            (other.0, other.1).cmp(&(one.0, one.1)).then(one.2.total_cmp(&other.2))
        });
        numbers
    }

    pub fn report(&self, best: usize, winner: Option<&WinnerReport>) -> Outcome {
        if self.args.json {
            self.console.result(self.json(best, winner)?.to_string());
            return Ok(());
        }
        let title = self.objective.title();
        let ranking = self.ranking();
        self.console.result(format!("trial  epochs  {title:<12}  values"));
        for &number in ranking.iter().take(SHOWN) {
            let trial = &self.trials[number];
            let value = trial.value.map_or("-".into(), |value| format!("{value:.4}"));
            let width = title.len().max(12);
            self.console.result(format!(
                "{number:>5}  {:>6.2}  {value:<width$}  {}",
                self.passes(trial.samples),
                values(trial)
            ));
        }
        let of = |state: TrialState| self.trials.iter().filter(|trial| trial.state == state).count();
        let trained: f64 = self.trials.iter().map(|trial| self.passes(trial.samples)).sum();
        let whole = self.trials.len() as f64 * f64::from(self.epochs);
        self.console.result(format!(
            "{} trials: {} trained whole, {} stopped at a rung, {} failed; {trained:.1} passes over the training data, \
             {:.0} % of the {whole:.0} of whole trainings",
            self.trials.len(),
            of(TrialState::Complete),
            of(TrialState::Pruned),
            of(TrialState::Failed),
            100.0 * trained / whole.max(1.0)
        ));
        if !self.trained_whole(best) {
            self.console.warning("no trial was trained whole: the best one is the best of those that came furthest");
        }
        let (sets, _) = self.settings_of(best)?;
        let sets: Vec<String> = sets.iter().map(|(name, value)| format!("--set {name}={value}")).collect();
        self.console.result(format!("best: trial {best}, {}", sets.join(" ")));
        self.console.result(format!("  again: {}", self.command_of(best)?));
        if let Some(winner) = winner {
            self.show_winner(winner);
        }
        Ok(())
    }

    fn show_winner(&self, winner: &WinnerReport) {
        let title = self.objective.title();
        let seeds: Vec<String> = winner.runs.iter().map(|run| run.seed.to_string()).collect();
        let valid: Vec<f64> = winner.runs.iter().map(|run| run.valid).collect();
        let test: Vec<f64> = winner.runs.iter().filter_map(|run| run.test).collect();
        self.console.result(format!("trained again with seeds {}, which nothing was selected with:", seeds.join(", ")));
        self.console.result(format!("  {title} on the validation data: {}", spread(&valid)));
        if !test.is_empty() {
            let times = match winner.test_evaluations {
                1 => "evaluated once".to_string(),
                times => format!("evaluated {times} times in this study, so it is no longer unseen"),
            };
            self.console.result(format!("  {title} on the test data, {times}: {}", spread(&test)));
        }
    }

    /// The line that trains a trial again.
    fn command_of(&self, trial: usize) -> Result<String, crate::failure::Failure> {
        let (sets, rungs) = self.settings_of(trial)?;
        Ok(self.commands(trial, sets, rungs, super::settings::RungEnd::Whole).1)
    }

    fn json(&self, best: usize, winner: Option<&WinnerReport>) -> Result<Value, crate::failure::Failure> {
        let trials: Vec<Value> = (0..self.trials.len()).map(|number| self.trial_json(number)).collect();
        let samples: u64 = self.trials.iter().map(|trial| trial.samples).sum();
        Ok(json!({
            "study": self.args.out.display().to_string(),
            "metric": self.objective.title(),
            "maximize": self.objective.maximizes(),
            "trials": trials,
            "best": best,
            "command": self.command_of(best)?,
            "samples": samples,
            "passes": self.passes(samples),
            "passes_of_whole_trainings": self.trials.len() as f64 * f64::from(self.epochs),
            "winner": winner.map(|winner| json!({
                "trial": winner.trial,
                "runs": winner.runs,
                "valid": statistics(winner.runs.iter().map(|run| run.valid).collect()),
                "test": statistics(winner.runs.iter().filter_map(|run| run.test).collect()),
                "test_evaluations": winner.test_evaluations,
            })),
        }))
    }

    fn trial_json(&self, number: usize) -> Value {
        let trial = &self.trials[number];
        let values: Map<String, Value> = trial.values.iter().map(|v| (v.name.clone(), json!(v.value))).collect();
        let state = match trial.state {
            TrialState::Complete => "complete",
            TrialState::Pruned => "pruned",
            TrialState::Failed => "failed",
            TrialState::Running => "running",
        };
        json!({
            "number": number,
            "state": state,
            "values": values,
            "value": trial.value,
            "rung": trial.rung,
            "samples": trial.samples,
            "cause": trial.cause,
            "run": self.run_directory(number),
        })
    }
}

/// `layers=2 lr=0.001`, by name: so they stand in the journal.
fn values(trial: &Trial) -> String {
    let mut values: Vec<_> = trial.values.iter().collect();
    values.sort_by(|one, other| one.name.cmp(&other.name));
    values.iter().map(|chosen| format!("{}={}", chosen.name, chosen.value)).collect::<Vec<_>>().join(" ")
}

/// Mean and sample standard deviation.
fn moments(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt())))
}

fn spread(values: &[f64]) -> String {
    match moments(values) {
        Some((mean, Some(deviation))) => format!("mean {mean:.4}, standard deviation {deviation:.4}"),
        Some((mean, None)) => format!("{mean:.4}"),
        None => "none".into(),
    }
}

fn statistics(values: Vec<f64>) -> Value {
    match moments(&values) {
        Some((mean, deviation)) => json!({"mean": mean, "standard_deviation": deviation}),
        None => Value::Null,
    }
}
