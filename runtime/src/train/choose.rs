//! Which evaluation is the best: by the spec's selecting metric on the validation data, the earlier
//! one where two are equal.

use crate::checkpoint;
use crate::run_dir::{Best, MetricsLine};
use din_program::Program;

/// The last `patience` epochs were no better than the best one before them: training ends.
pub fn is_over(program: &Program, lines: &[MetricsLine]) -> bool {
    let Some(patience) = program.training.patience else { return false };
    // A run that goes on within an epoch has lines of it, and finishes it first.
    let ended = lines.iter().rev().find(|line| line.ends_epoch());
    let (Some(best), Some(ended)) = (best(program, lines), ended) else { return false };
    best.value.is_some() && best.epoch + patience <= ended.epoch
}

/// `None` before the first evaluation. Without validation data the last epoch counts, by no metric.
pub fn best(program: &Program, lines: &[MetricsLine]) -> Option<Best> {
    let last = lines.last()?;
    let chosen = |line: &MetricsLine, metric: Option<String>, value: Option<f64>| Best {
        checkpoint: checkpoint::name(line.step),
        epoch: line.epoch,
        metric,
        value,
    };
    let Some(metric) = program.metrics.get(program.training.select as usize) else {
        return Some(chosen(last, None, None));
    };
    let direction = metric.kind.direction();
    let mut best: Option<(&MetricsLine, f64)> = None;
    for line in lines {
        let value = line.valid.as_ref().and_then(|v| v.get(&metric.name)).and_then(serde_json::Value::as_f64);
        let Some(value) = value else { continue };
        if best.is_none_or(|(_, old)| direction.is_better(value, old)) {
            best = Some((line, value));
        }
    }
    Some(match best {
        Some((line, value)) => chosen(line, Some(metric.name.clone()), Some(value)),
        None => chosen(last, None, None),
    })
}
