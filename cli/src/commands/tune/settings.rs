//! What a study is made of: data, metric and rungs; and that it is the same when it goes on.

use crate::args::{HalvingArg, SamplerArg, TuneArgs};
use crate::failure::Failure;
use din_compiler::front::SETTING;
use din_compiler::model::CheckedModel;
use din_program::schema::{Direction, Metric};
use din_runtime::data::{Dataset, OpenOptions, ReadMode};
use din_runtime::fs::{sha256, xxh3_file};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Raised when the meaning of a study's journal changes.
const FORMAT: u32 = 1;

/// How far a job trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RungEnd {
    /// Up to a step.
    Step(u64),
    /// So many epochs.
    Epochs(u32),
    /// To the end.
    Whole,
}

/// The rungs of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rungs {
    /// From rung 0; the last is [`RungEnd::Whole`].
    pub ends: Vec<RungEnd>,
    /// Steps between evaluations within epochs.
    pub evaluate_every: Option<u64>,
}

impl Rungs {
    pub fn new(args: &TuneArgs, epochs: u32, batch: u32, rows: u64) -> Self {
        let factor = u64::from(args.reduction_factor);
        // Of the last rung, the part that rung 0 trains: one of so many.
        let parts = factor.saturating_pow(args.rungs - 1);
        let mut ends = Vec::new();
        let mut evaluate_every = None;
        match args.halving {
            HalvingArg::Samples => {
                let whole = u64::from(epochs) * rows.div_ceil(u64::from(batch));
                let first = whole.div_ceil(parts).max(1);
                let steps = std::iter::successors(Some(first), |step| Some(step.saturating_mul(factor)));
                ends.extend(steps.take_while(|&step| step < whole).map(RungEnd::Step));
                evaluate_every = (!ends.is_empty()).then_some(first);
            }
            HalvingArg::Epochs => {
                let first = u64::from(epochs).div_ceil(parts).max(1);
                let rungs = std::iter::successors(Some(first), |rung| Some(rung.saturating_mul(factor)));
                let below = rungs.take_while(|&rung| rung < u64::from(epochs));
                ends.extend(below.map(|rung| RungEnd::Epochs(rung as u32)));
            }
            HalvingArg::Off => {}
        }
        ends.push(RungEnd::Whole);
        Self { ends, evaluate_every }
    }
}

/// A data set of the study.
pub struct StudyData {
    pub option: &'static str,
    /// Absolute, links resolved, with the hash of the bytes.
    pub files: Vec<(PathBuf, String)>,
    pub rows: u64,
}

impl StudyData {
    pub fn open(
        option: &'static str,
        paths: &[PathBuf],
        model: &CheckedModel,
        mode: ReadMode,
        separator: Option<u8>,
    ) -> Result<Self, Failure> {
        let mut options = OpenOptions::new(mode);
        if let Some(separator) = separator {
            options.list_separator = separator;
        }
        let data = Dataset::open_with(paths, &model.schema, &options).map_err(din_runtime::Error::from)?;
        let mut files = Vec::new();
        for file in data.files() {
            let path = fs::canonicalize(file).map_err(|e| Failure::from(din_runtime::Error::file("read", file, &e)))?;
            let hash = xxh3_file(file)?;
            files.push((path, hash));
        }
        Ok(Self { option, files, rows: data.rows() })
    }

    fn hashes(&self) -> Value {
        let file = |(path, hash): &(PathBuf, String)| {
            let name = path.file_name().map(|name| name.to_string_lossy());
            json!({"file": name, "xxh3": hash})
        };
        self.files.iter().map(file).collect()
    }
}

/// Refuses a file of the test data that anything is selected or trained on, whatever its path.
pub fn refuse_selection_on(test: &StudyData, others: &[&StudyData]) -> Result<(), Failure> {
    for (path, hash) in &test.files {
        for other in others {
            let same = other.files.iter().find(|(other, its)| its == hash || same_file(path, other));
            if let Some((found, _)) = same {
                let (path, found, option) = (path.display(), found.display(), other.option);
                return Err(Failure::user_error(format!(
                    "selection on the test file is refused: {path} of --test is the same as {found} of {option}\n  \
                     help: give --test data that nothing is trained or selected on, or leave it out"
                )));
            }
        }
    }
    Ok(())
}

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    one == other || identity(one).is_some() && identity(one) == identity(other)
}

/// The metric that trials are compared by.
#[derive(Clone, Debug)]
pub struct Objective {
    pub metric: String,
    pub direction: Direction,
}

impl Objective {
    pub fn of(args: &TuneArgs, model: &CheckedModel) -> Result<Self, Failure> {
        let names = || model.metrics.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = match &args.metric {
            // `auc` is enough where one metric begins so.
            Some(asked) => {
                let exact = model.metrics.iter().find(|metric| metric.name == *asked);
                let begins = |metric: &&Metric| metric.name.split('(').next() == Some(asked);
                let mut short = model.metrics.iter().filter(begins);
                match (exact, short.next(), short.next()) {
                    (Some(metric), _, _) | (None, Some(metric), None) => Some(metric),
                    (None, _, _) => None,
                }
            }
            None => model.metrics.get(model.training.select as usize),
        };
        match (found, &args.metric) {
            (Some(metric), _) => Ok(Self { metric: metric.name.clone(), direction: metric.kind.direction() }),
            (None, Some(asked)) => Err(Failure::user_error(format!(
                "--metric {asked}: expected one metric of the report\n  help: it has {}",
                names()
            ))),
            (None, None) => Err(Failure::user_error(
                "trials are compared by a metric, and the spec reports none\n  help: add one, such as `report auc(click)`",
            )),
        }
    }

    pub fn maximizes(&self) -> bool {
        match self.direction {
            Direction::HigherIsBetter => true,
            Direction::LowerIsBetter | Direction::NearerToOneIsBetter => false,
        }
    }

    /// What the journal has of a value: one that is best where it is highest or lowest.
    pub fn recorded(&self, metric: f64) -> f64 {
        match self.direction {
            Direction::HigherIsBetter | Direction::LowerIsBetter => metric,
            Direction::NearerToOneIsBetter => (metric - 1.0).abs(),
        }
    }

    /// Lower is better.
    pub fn loss(&self, recorded: f64) -> f64 {
        if self.maximizes() { -recorded } else { recorded }
    }

    /// As tables call what [`Objective::recorded`] gives.
    pub fn title(&self) -> String {
        match self.direction {
            Direction::HigherIsBetter | Direction::LowerIsBetter => self.metric.clone(),
            Direction::NearerToOneIsBetter => format!("|{} - 1|", self.metric),
        }
    }
}

/// What may not change while a study goes on, by name.
pub fn record(
    args: &TuneArgs,
    model: &CheckedModel,
    objective: &Objective,
    (train, valid): (&StudyData, &StudyData),
    (seed, rungs): (u64, &Rungs),
) -> Map<String, Value> {
    let mut texts = String::new();
    for file in model.sources.files().iter().filter(|file| file.name != SETTING) {
        texts += &file.text;
        texts.push('\0');
    }
    for vocabulary in &model.schema.vocabularies {
        texts += &vocabulary.text;
        texts.push('\0');
    }
    let sampler = match args.sampler {
        SamplerArg::Tpe => "tpe",
        SamplerArg::Random => "random",
    };
    let halving = match args.halving {
        HalvingArg::Samples => "samples",
        HalvingArg::Epochs => "epochs",
        HalvingArg::Off => "off",
    };
    let pins: Map<String, Value> = args.spec.sets.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let record = json!({
        "format": FORMAT,
        "spec": sha256(texts.as_bytes()),
        "set": pins,
        "train": train.hashes(),
        "valid": valid.hashes(),
        "list-separator": args.input.list_separator.map(char::from),
        "metric": objective.metric,
        "sampler": sampler,
        "halving": halving,
        "rungs": rungs.ends.len(),
        "reduction-factor": args.reduction_factor,
        "seed": seed,
        "epochs": args.steps.epochs.unwrap_or(model.training.epochs),
        "batch": args.steps.batch,
        "leaves": args.steps.leaves,
        "isa": args.cpu.isa.map(|level| format!("{:?}", din_program::Isa::from(level)).to_lowercase()),
        "device": args.device.device.as_ref().map(ToString::to_string),
        "precision": args.precision.map(|p| din_program::cuda::Precision::from(p).to_string()),
    });
    match record {
        Value::Object(map) => map,
        _ => unreachable!("a JSON object was written"),
    }
}

/// Refuses to go on with a study that was begun otherwise; names what differs.
pub fn check_same(at: &Path, had: Option<&Value>, now: &Map<String, Value>) -> Result<(), Failure> {
    let at = at.display();
    let Some(had) = had.and_then(Value::as_object) else {
        return Err(Failure::user_error(format!(
            "{at}: expected the journal of a study of `din tune`, found another's\n  help: choose another --out"
        )));
    };
    for (name, now) in now {
        let had = had.get(name).unwrap_or(&Value::Null);
        if had == now {
            continue;
        }
        let shown = |value: &Value| match value {
            Value::Null => "none".to_string(),
            value => value.to_string(),
        };
        let what = match name.as_str() {
            "format" => "a study of another version of din",
            "spec" => "another spec (SHA-256)",
            "train" => "other training data",
            "valid" => "other validation data",
            _ => "other options",
        };
        let option = match name.as_str() {
            "format" | "spec" => name.clone(),
            option => format!("--{option}"),
        };
        return Err(Failure::user_error(format!(
            "{at}: the study began with {what}: {option} was {}, is {}\n  \
             help: give what it began with, or choose another --out",
            shown(had),
            shown(now)
        )));
    }
    Ok(())
}
