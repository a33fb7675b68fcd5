//! Training the models of the experiments: runs of `din train` in `target/experiments`, of which
//! those that are there already are not made again.

use super::plan::{DataSet, Setting, Source};
use crate::command::{output, program, target};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where experiments run, and how.
#[derive(Clone, Debug)]
pub struct Place {
    /// The command to run.
    pub din: PathBuf,
    /// A folder with a folder for each data set that is read from files.
    pub data: Option<PathBuf>,
    /// Runs at a time, with one thread each.
    pub jobs: usize,
}

impl Place {
    /// The folder with the three files of a data set, or `None` where it is not at hand.
    ///
    /// # Errors
    /// A synthetic log cannot be made.
    pub fn files(&self, set: &DataSet) -> Result<Option<PathBuf>, String> {
        match set.source {
            Source::Files => {
                let folder = self.data.as_ref().map(|data| data.join(set.folder));
                Ok(folder.filter(|folder| ["train", "valid", "test"].iter().all(|part| file(folder, part).is_file())))
            }
            Source::Synthetic(options) => {
                let folder = scratch().join("data").join(set.folder);
                if !file(&folder, "test").is_file() {
                    let mut synth = program(&self.din, ["synth", "--force", "--out"]);
                    output(synth.arg(&folder).args(options))?;
                }
                Ok(Some(folder))
            }
        }
    }
}

/// Where runs and generated data are kept.
pub fn scratch() -> PathBuf {
    target().join("experiments")
}

/// One of the files of a data set: `train`, `valid` or `test`.
pub fn file(folder: &Path, part: &str) -> PathBuf {
    folder.join(part).with_extension("parquet")
}

/// A run to make: a spec with its settings.
#[derive(Clone, Debug)]
pub struct Order {
    pub set: DataSet,
    /// The last word of the spec's name.
    pub spec: &'static str,
    pub settings: Vec<Setting>,
    pub seed: u32,
    pub epochs: u32,
}

/// An evaluation during training.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Evaluation {
    pub epoch: u32,
    pub step: u64,
    /// Mean over the samples since the evaluation before.
    pub train_loss: f64,
    pub auc: f64,
    pub gauc: f64,
    pub log_loss: f64,
}

/// What came of a run.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Trained {
    /// The command, as one would type it in the root of the repository.
    pub command: String,
    pub curve: Vec<Evaluation>,
    /// Of the checkpoint that validation chose, by its step.
    pub best_step: u64,
    /// On the test data, of this checkpoint.
    pub test: Measures,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct Measures {
    pub auc: f64,
    pub gauc: f64,
    pub log_loss: f64,
}

impl Trained {
    /// The evaluation of the chosen checkpoint.
    pub fn best(&self) -> &Evaluation {
        self.curve.iter().find(|e| e.step == self.best_step).expect("the chosen checkpoint was evaluated")
    }

    /// The evaluation at the end of the last epoch.
    pub fn last(&self) -> &Evaluation {
        self.curve.last().expect("a run has an evaluation")
    }
}

impl Order {
    fn folder(&self) -> PathBuf {
        let settings: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let settings = if settings.is_empty() { "default".into() } else { settings.join(",") };
        let spec = format!("{}_{}", self.set.name, self.spec);
        scratch()
            .join("runs")
            .join(self.set.folder)
            .join(spec)
            .join(format!("{settings},seed={},epochs={}", self.seed, self.epochs))
    }

    /// The words of the command but for the program's name, with the folder of the data.
    fn words(&self, data: &Path, out: &Path) -> Vec<String> {
        let shown = |path: PathBuf| path.display().to_string();
        let mut words = vec!["train".into(), format!("experiments/specs/{}_{}.din", self.set.name, self.spec)];
        words.extend(["--train".into(), shown(file(data, "train")), "--valid".into(), shown(file(data, "valid"))]);
        for (name, value) in &self.settings {
            words.extend(["--set".into(), format!("{name}={value}")]);
        }
        words.extend(["--seed".into(), self.seed.to_string(), "--epochs".into(), self.epochs.to_string()]);
        words.extend(["--evaluate-every".into(), self.set.evaluate_every.to_string()]);
        words.extend(["--out".into(), shown(out.to_path_buf())]);
        words
    }

    /// Makes the run, or goes on with what is there of it, and evaluates it.
    fn make(&self, place: &Place, data: &Path) -> Result<Trained, String> {
        let folder = self.folder();
        let kept = folder.join("trained.json");
        if let Ok(text) = fs::read_to_string(&kept) {
            return serde_json::from_str(&text).map_err(|e| format!("{}: {e}", kept.display()));
        }
        let run = folder.join("run");
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        output(program(&place.din, self.words(data, &run)).args(["--resume", "--threads", "1", "--quiet"]))?;
        let mut eval = program(&place.din, ["eval", "--json", "--quiet", "--threads", "1"]);
        let evaluated = output(eval.arg(&run).arg("--data").arg(file(data, "test")))?;
        let trained = self.read(&run, &evaluated)?;
        let text = serde_json::to_string(&trained).expect("numbers and texts become JSON");
        fs::write(&kept, text).map_err(|e| format!("{}: {e}", kept.display()))?;
        // The curves are read; the tables are large.
        fs::remove_dir_all(&run).map_err(|e| format!("{}: {e}", run.display()))?;
        Ok(trained)
    }

    fn read(&self, run: &Path, evaluated: &str) -> Result<Trained, String> {
        let label = self.set.label;
        let wrong = |what: &str| format!("{}: {what}", run.display());
        let number =
            |value: &Value, name: &str| value[name].as_f64().ok_or_else(|| wrong(&format!("no number `{name}`")));
        let text = |name: &str| fs::read_to_string(run.join(name)).map_err(|e| wrong(&format!("{name}: {e}")));
        let parsed = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| wrong(&e.to_string()));
        let rows = number(&parsed(&text("run.json")?)?["train"], "rows")?;
        let mut curve: Vec<Evaluation> = Vec::new();
        // Samples and summed loss of the epoch at the evaluation before.
        let mut before = (0.0, 0.0);
        for line in text("metrics.jsonl")?.lines() {
            let line = parsed(line)?;
            let measures = Measures::read(label, |name| number(&line["valid"], name))?;
            let samples = line["samples"].as_f64().unwrap_or(rows);
            let sum = number(&line, "train_loss")? * samples;
            curve.push(Evaluation {
                epoch: number(&line, "epoch")? as u32,
                step: number(&line, "step")? as u64,
                train_loss: (sum - before.1) / (samples - before.0),
                auc: measures.auc,
                gauc: measures.gauc,
                log_loss: measures.log_loss,
            });
            before = if samples == rows { (0.0, 0.0) } else { (samples, sum) };
        }
        let evaluated: Value = serde_json::from_str(evaluated).map_err(|e| wrong(&e.to_string()))?;
        let metrics = evaluated["metrics"].as_array().ok_or_else(|| wrong("`eval` gives no metrics"))?;
        let test = Measures::read(label, |name| {
            let metric = metrics.iter().find(|metric| metric["name"] == name);
            number(metric.ok_or_else(|| wrong(&format!("`eval` gives no `{name}`")))?, "value")
        })?;
        let checkpoint = evaluated["checkpoint"].as_str().and_then(|name| name.strip_prefix("step-")?.parse().ok());
        let command = self.words(Path::new(&format!("DATA/{}", self.set.folder)), Path::new("run"));
        Ok(Trained {
            command: format!("din {}", command.join(" ")),
            curve,
            best_step: checkpoint.ok_or_else(|| wrong("`eval` names no checkpoint"))?,
            test,
        })
    }
}

impl Measures {
    fn read(label: &str, of: impl Fn(&str) -> Result<f64, String>) -> Result<Self, String> {
        let [auc, gauc, log_loss] = ["auc", "gauc", "log_loss"].map(|name| of(&format!("{name}({label})")));
        Ok(Self { auc: auc?, gauc: gauc?, log_loss: log_loss? })
    }
}

/// GAUC of the true probabilities on the test part of a synthetic log.
pub fn truth(folder: &Path) -> Result<f64, String> {
    let path = folder.join("truth.json");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let truth: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let splits = truth["splits"].as_array();
    let test = splits.and_then(|splits| splits.iter().find(|split| split["file"] == "test.parquet"));
    test.and_then(|split| split["bayes"]["gauc"].as_f64()).ok_or_else(|| format!("{}: no GAUC", path.display()))
}

/// Makes runs, several at a time; they come back in the order of `orders`.
pub fn make_all(place: &Place, data: &Path, orders: &[Order]) -> Result<Vec<Trained>, String> {
    let (next, made) = (AtomicUsize::new(0), Mutex::new(vec![None; orders.len()]));
    let work = || {
        loop {
            let k = next.fetch_add(1, Ordering::Relaxed);
            let Some(order) = orders.get(k) else { return };
            let trained = order.make(place, data);
            eprintln!("  {} of {}: {}", k + 1, orders.len(), order.folder().display());
            made.lock().expect("no thread panics with the lock")[k] = Some(trained);
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..place.jobs {
            threads.spawn(work);
        }
    });
    let made = made.into_inner().expect("no thread panicked");
    made.into_iter().map(|trained| trained.expect("every order was taken")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::DATA_SETS;
    use super::*;

    /// Of an epoch of 100 rows, losses of 0.8 over 40 and then 0.6 over 60 have a mean of 0.68.
    #[test]
    fn losses_are_of_the_samples_since_the_evaluation_before() {
        let folder = scratch().join("tests/reading");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("run.json"), r#"{"train": {"rows": 100}}"#).unwrap();
        let valid = r#"{"auc(long_view)": 0.7, "gauc(long_view)": 0.6, "log_loss(long_view)": 0.5}"#;
        let line = |epoch: u32, step: u32, rest: &str| {
            format!(r#"{{"epoch": {epoch}, "step": {step}, {rest}, "valid": {valid}}}"#)
        };
        let lines = [
            line(1, 4, r#""samples": 40, "train_loss": 0.8"#),
            line(1, 10, r#""train_loss": 0.68"#),
            line(2, 20, r#""train_loss": 0.55"#),
        ];
        fs::write(folder.join("metrics.jsonl"), lines.join("\n")).unwrap();
        let metric = |name: &str, value: f64| format!(r#"{{"name": "{name}(long_view)", "value": {value}}}"#);
        let metrics = [metric("auc", 0.71), metric("gauc", 0.61), metric("log_loss", 0.51)].join(", ");
        let evaluated = format!(r#"{{"checkpoint": "step-0000000010", "metrics": [{metrics}]}}"#);
        let order = Order { set: DATA_SETS[0], spec: "base", settings: Vec::new(), seed: 1, epochs: 2 };
        let trained = order.read(&folder, &evaluated).unwrap();
        let losses: Vec<f64> = trained.curve.iter().map(|evaluation| evaluation.train_loss).collect();
        assert!(
            losses.iter().zip([0.8, 0.6, 0.55]).all(|(found, expected)| (found - expected).abs() < 1e-12),
            "{losses:?}"
        );
        assert_eq!((trained.best().epoch, trained.last().step, trained.test.gauc), (1, 20, 0.61));
    }
}
