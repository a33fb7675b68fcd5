//! What is run: the data sets, and the models of the paper's tables and figures.

/// A data set with a split by time, and the specs that read it.
#[derive(Clone, Copy, Debug)]
pub struct DataSet {
    /// The first word of its specs' names.
    pub name: &'static str,
    /// Of its files.
    pub folder: &'static str,
    pub title: &'static str,
    /// Where its rows are from.
    pub source: Source,
    /// The label, which names the metrics.
    pub label: &'static str,
    /// Steps between evaluations for the curves: about five in an epoch.
    pub evaluate_every: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `train.parquet`, `valid.parquet` and `test.parquet` in a folder below `--data`.
    Files,
    /// `din synth` with these options.
    Synthetic(&'static [&'static str]),
}

pub const DATA_SETS: [DataSet; 3] = [
    DataSet {
        name: "kuairand",
        folder: "kuairand",
        title: "KuaiRand-Pure, long views",
        source: Source::Files,
        label: "long_view",
        evaluate_every: 29,
    },
    DataSet {
        name: "movietweetings",
        folder: "movietweetings",
        title: "MovieTweetings, ratings of 8 or more",
        source: Source::Files,
        label: "liked",
        evaluate_every: 23,
    },
    SYNTH,
];

/// Logs in which each user is drawn to so many categories: what attention is for.
pub const INTERESTS: [(u32, DataSet); 4] = [
    (1, log_of("synth-1", &["--seed", "1", "--rows", "150000", "--interests", "1"])),
    (2, log_of("synth-2", &["--seed", "1", "--rows", "150000", "--interests", "2"])),
    (4, log_of("synth-4", &["--seed", "1", "--rows", "150000", "--interests", "4"])),
    (8, log_of("synth-8", &["--seed", "1", "--rows", "150000", "--interests", "8"])),
];

const fn log_of(folder: &'static str, options: &'static [&'static str]) -> DataSet {
    DataSet { folder, source: Source::Synthetic(options), ..SYNTH }
}

const SYNTH: DataSet = DataSet {
    name: "synth",
    folder: "synth",
    title: "the synthetic log",
    // Fixed before anything was tuned on it.
    source: Source::Synthetic(&["--seed", "1", "--rows", "150000"]),
    label: "click",
    evaluate_every: 23,
};

/// A hyper-parameter that is given a value.
pub type Setting = (String, String);

/// A model that is tuned, then trained with several seeds: a row of Table 3.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub title: &'static str,
    /// The last word of the spec's name.
    pub spec: &'static str,
    /// The hyper-parameters of its search; the others keep their defaults.
    pub tuned: &'static [&'static str],
}

/// The hyper-parameters of the specs of Table 3 that have a space. All but the learning rate are 0
/// where nothing is regularized.
pub const SEARCHED: [&str; 5] = ["lr", "id_dropout", "l2", "difacto", "adaptive"];

/// Table 3, and DIN without a regularizer, which shows what attention does alone.
pub const TABLE_3: [Variant; 6] = [
    Variant { title: "base model", spec: "base", tuned: &["lr"] },
    Variant { title: "base model with dropout of ids", spec: "base", tuned: &["lr", "id_dropout"] },
    Variant { title: "base model with adaptive regularization", spec: "base", tuned: &["lr", "adaptive"] },
    Variant { title: "DIN", spec: "din", tuned: &["lr"] },
    Variant { title: "DIN with adaptive regularization", spec: "din", tuned: &["lr", "adaptive"] },
    Variant { title: "DIN with adaptive regularization and Dice", spec: "din_dice", tuned: &["lr", "adaptive"] },
];

/// A curve of Figure 6: the base model, regularized in one way or not at all.
#[derive(Clone, Copy, Debug)]
pub struct Regularization {
    pub title: &'static str,
    pub spec: &'static str,
    /// The hyper-parameter of its strength, and the values among which validation chooses.
    pub strengths: Option<(&'static str, &'static [&'static str])>,
}

pub const FIGURE_6: [Regularization; 7] = [
    Regularization { title: "without the fine-grained id", spec: "base_coarse", strengths: None },
    Regularization { title: "with it, no regularization", spec: "base", strengths: None },
    // The paper drops half of the ids.
    Regularization { title: "dropout of ids", spec: "base", strengths: Some(("id_dropout", &["0.5"])) },
    Regularization {
        title: "filter by frequency",
        spec: "base_filter",
        strengths: Some(("least", &["5", "20", "100", "500"])),
    },
    Regularization { title: "L2", spec: "base", strengths: Some(("l2", &["1e-5", "1e-4", "1e-3", "1e-2"])) },
    Regularization {
        title: "DiFacto (Eq. 10)",
        spec: "base",
        strengths: Some(("difacto", &["1e-7", "1e-6", "1e-5", "1e-4"])),
    },
    Regularization { title: "adaptive (Eq. 9)", spec: "base", strengths: Some(("adaptive", &["0.1", "1", "3", "10"])) },
];
