//! Trained runs, and what they come to on data: what `report` and `gate` share.

use crate::args::{CpuArgs, CsvArgs, DeviceArgs, IntervalArgs, TablesArg, TrainedArgs};
use crate::commands::run::{
    OpenedAs, TrainedModel, cpu_options, open, remark_of_left_out, warn_of_reuse, warn_of_values,
};
use crate::device::DeviceArg;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::terminal::Console;
use din_program::Program;
use din_program::schema::{GroupBy, SliceBy, Slicing};
use din_runtime::comm::{Communicator, LocalCommunicator};
use din_runtime::data::{Dataset, OpenOptions, ReadMode};
use din_runtime::evaluate;
use din_runtime::metric::{self, Bootstrap, ExaminedRows, RowGrouping};
use din_runtime::run_dir::{RunDirectory, RunRecord};
use din_runtime::session::LoadPurpose;
use std::path::PathBuf;
use std::sync::Arc;

/// A run as it lies on disk.
pub struct LoadedRun {
    pub name: String,
    pub directory: RunDirectory,
    pub record: RunRecord,
    pub program: Program,
}

impl LoadedRun {
    /// The runs of these directories, in their order.
    pub fn all(paths: &[PathBuf]) -> Result<Vec<LoadedRun>, Failure> {
        let mut runs = Vec::with_capacity(paths.len());
        for (path, name) in paths.iter().zip(names(paths)) {
            let directory = RunDirectory::open(path)?;
            let record = directory.record()?;
            let program = directory.program(&record)?;
            runs.push(LoadedRun { name, directory, record, program });
        }
        Ok(runs)
    }
}

/// What runs are called: the ends of their paths, as long as it takes to tell them apart.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let parts = |path: &PathBuf| -> Vec<String> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        path.iter().map(|part| part.to_string_lossy().into_owned()).collect()
    };
    let all: Vec<Vec<String>> = paths.iter().map(parts).collect();
    let longest = all.iter().map(Vec::len).max().unwrap_or(1);
    let ends = |count: usize| -> Vec<String> {
        all.iter().map(|parts| parts[parts.len().saturating_sub(count)..].join("/")).collect()
    };
    let differ = |names: &[String]| names.iter().enumerate().all(|(k, name)| !names[..k].contains(name));
    (1..=longest).map(ends).find(|names| differ(names)).unwrap_or_else(|| ends(longest))
}

/// How runs are measured.
pub struct RunMeasurement<'a> {
    pub data: &'a [PathBuf],
    /// Of each run.
    pub checkpoint: &'a str,
    pub cpu: &'a CpuArgs,
    pub input: &'a CsvArgs,
    pub bootstrap: Bootstrap,
    /// The key or feature whose rows are drawn together.
    pub key: Option<String>,
}

/// How rows are grouped besides.
#[derive(Default)]
pub struct Groupings {
    pub slicings: Vec<Slicing>,
    pub others: Vec<RowGrouping>,
}

impl<'a> RunMeasurement<'a> {
    /// Rows are drawn together by what `intervals` names, else by what the first run's GAUC groups
    /// by, else by its first key.
    pub fn new(
        data: &'a [PathBuf],
        checkpoint: &'a str,
        cpu: &'a CpuArgs,
        input: &'a CsvArgs,
        intervals: &IntervalArgs,
        first: &LoadedRun,
    ) -> Self {
        let bootstrap = Bootstrap { resamples: intervals.resamples as usize, seed: intervals.seed };
        let key = intervals.key.clone().or_else(|| default_key(&first.program));
        Self { data, checkpoint, cpu, input, bootstrap, key }
    }

    /// What a resample draws, such as `the 90 values of user_id, rows of one value together`.
    pub fn resampled(&self, rows: &ExaminedRows) -> String {
        match &self.key {
            Some(key) => format!("the {} values of {key}, rows of one value together", rows.clusters()),
            None => format!("the {} rows", rows.clusters()),
        }
    }

    /// Reads the data once. `first`: what is left out of the data is said. `groupings` is given the
    /// run's program, and the key or feature whose rows are drawn together.
    pub fn examine(
        &self,
        console: &Console,
        run: &LoadedRun,
        first: bool,
        groupings: impl FnOnce(&Program, Option<GroupBy>) -> Result<Groupings, Failure>,
    ) -> Result<(ExaminedRows, TrainedModel), Failure> {
        let trained = TrainedArgs { run: run.directory.path().to_path_buf(), checkpoint: self.checkpoint.to_string() };
        let device = DeviceArgs { device: Some(DeviceArg::Cpu), gpu_table_memory: None };
        let opened_as = OpenedAs { tables: TablesArg::F32, purpose: LoadPurpose::Examination };
        let alone: Arc<dyn Communicator> = Arc::new(LocalCommunicator);
        let mut opened = open(console, None, &trained, &device, &cpu_options(self.cpu), opened_as, &alone)?;
        let program = opened.session.program().clone();
        let cluster = match self.key.as_ref().map(|key| grouping_of(&program, "--key", key)).transpose()? {
            Some(Slicing { by: SliceBy::Value(by), .. }) => Some(by),
            Some(Slicing { by: SliceBy::Bucket { .. }, .. }) | None => None,
        };
        let Groupings { slicings, others } = groupings(&program, cluster)?;
        let separator = opened.list_separator(console, self.input.list_separator);
        let options = OpenOptions {
            list_separator: separator,
            statistics: opened.session.statistics().clone(),
            texts: metric::texts(&program.schema, &slicings),
            ..OpenOptions::new(ReadMode::Evaluate)
        };
        let data = Dataset::open_with(self.data, &program.schema, &options).map_err(din_runtime::Error::from)?;
        if first {
            remark_of_left_out(console, &data);
        }
        warn_of_reuse(console, &opened.record, &data);
        let all = slicings.into_iter().map(RowGrouping::Value).chain(others).collect();
        let mut progress = Progress::new(console).named(&run.name);
        let mut observe = |event| progress.show_pass(event);
        let rows = evaluate::examine(&mut opened.session, &data, opened.batch, cluster, all, &mut observe);
        drop(progress);
        warn_of_values(console, &data);
        Ok((rows?, opened))
    }
}

/// What GAUC groups by, else the first key.
fn default_key(program: &Program) -> Option<String> {
    let schema = &program.schema;
    let grouping = program.metrics.iter().find_map(|metric| metric.kind.grouping());
    match grouping {
        Some(GroupBy::Key(key)) => Some(schema.keys[key as usize].name.clone()),
        Some(GroupBy::Feature(feature) | GroupBy::Common(feature)) => Some(schema.features[feature as usize].path()),
        None => schema.keys.first().map(|key| key.name.clone()),
    }
}

/// The name of an option's field as the key or feature of a model.
pub fn grouping_of(program: &Program, option: &str, name: &str) -> Result<Slicing, Failure> {
    metric::slicing(&program.schema, name).map_err(|e| Failure::user_error(e.message.replacen("--by", option, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_called_by_what_tells_them_apart() {
        let of = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(of(&["/x/base", "/x/din"]), ["base", "din"]);
        assert_eq!(of(&["/x/a/run", "/x/b/run", "/x/c"]), ["a/run", "b/run", "x/c"]);
        assert_eq!(of(&["/x/run", "/x/run"]), ["//x/run", "//x/run"]);
    }
}
