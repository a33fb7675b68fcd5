//! The settings of a row of Table 3: `din tune` chooses them on the validation data.

use super::EPOCHS;
use super::plan::{DataSet, SEARCHED, Setting, Variant};
use super::runs::{Place, file, scratch};
use crate::command::{output, program};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Trials that a study trains at a time. Fixed, since a study depends on it.
const JOBS: u32 = 2;

/// The best settings of a search of so many trials over the hyper-parameters of a variant; the
/// others are pinned at 0.
pub fn settings(
    set: &DataSet,
    place: &Place,
    data: &Path,
    variant: &Variant,
    trials: u32,
) -> Result<Vec<Setting>, String> {
    let study = scratch().join("studies").join(set.folder).join(format!(
        "{}-{},trials={trials}",
        variant.spec,
        variant.tuned.join("-")
    ));
    let kept = study.with_extension("json");
    let text = match fs::read_to_string(&kept) {
        Ok(text) => text,
        Err(_) => {
            // Not halved: what a regularizer is worth shows after the first epoch, and a search
            // that stops trials before prefers high rates and no regularization.
            let mut tune = program(&place.din, ["tune", "--json", "--quiet", "--resume", "--seeds", "0"]);
            tune.args(["--halving", "off"]);
            tune.arg(format!("experiments/specs/{}_{}.din", set.name, variant.spec));
            tune.arg("--train").arg(file(data, "train")).arg("--valid").arg(file(data, "valid"));
            tune.arg("--out").arg(&study).args(["--seed", "1"]);
            tune.args(["--trials", &trials.to_string(), "--epochs", &EPOCHS.to_string()]);
            tune.args(["--jobs", &JOBS.to_string(), "--threads", &place.jobs.max(JOBS as usize).to_string()]);
            for pinned in SEARCHED.iter().filter(|name| !variant.tuned.contains(name)) {
                tune.args(["--set", &format!("{pinned}=0")]);
            }
            let text = output(&mut tune)?;
            fs::write(&kept, &text).map_err(|e| format!("{}: {e}", kept.display()))?;
            // Journal and logs stay; the tables of the trials are large.
            let trials = study.join("trials");
            fs::remove_dir_all(&trials).map_err(|e| format!("{}: {e}", trials.display()))?;
            text
        }
    };
    let wrong = |what: &str| format!("{}: {what}", kept.display());
    let result: Value = serde_json::from_str(&text).map_err(|e| wrong(&e.to_string()))?;
    let best = result["best"].as_u64().and_then(|best| result["trials"].get(best as usize));
    let values = best.and_then(|trial| trial["values"].as_object()).ok_or_else(|| wrong("no best trial"))?;
    Ok(values.iter().map(|(name, value)| (name.clone(), value.to_string())).collect())
}
