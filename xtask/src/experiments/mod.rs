//! The paper's experiments: `cargo xtask experiments` trains the models of Table 3 and of Figures 6
//! and 7 (Zhou et al., 2017) on the data at hand, and writes `experiments/results`.

mod page;
mod plan;
mod runs;
mod tune;

use crate::arguments::ExperimentOptions;
use crate::command::{Outcome, cargo, run, target};
use page::Page;
use plan::{DATA_SETS, DataSet, FIGURE_6, INTERESTS, Regularization, Setting, TABLE_3, Variant};
use runs::{Order, Place, Trained, make_all};
use std::path::{Path, PathBuf};

/// Passes over the training data: enough to see what the first epoch is followed by.
const EPOCHS: u32 = 5;
/// What curves are drawn of.
const SEED: u32 = 1;

/// A row of Table 3: what the search chose, and what came of it, by seed.
pub struct Row {
    pub variant: Variant,
    pub settings: Vec<Setting>,
    pub trained: Vec<Trained>,
}

/// A curve of Figure 6, at the strength whose log loss on the validation data is the least after
/// the last epoch: the figure is about what follows the first one.
pub struct Curve {
    pub regularization: Regularization,
    pub strength: Option<Setting>,
    pub trained: Trained,
}

/// Base model and DIN on a log in which each user has so many interests.
pub struct Interests {
    pub number: u32,
    /// GAUC on the test data of the probabilities that the clicks were drawn from.
    pub truth: f64,
    pub base: Vec<Trained>,
    pub din: Vec<Trained>,
}

pub fn experiments(options: &ExperimentOptions) -> Outcome {
    let din = match &options.din {
        Some(din) => std::fs::canonicalize(din).map_err(|e| format!("{}: {e}", din.display()))?,
        None => {
            run(&mut cargo(["build", "--release", "--locked", "--bin", "din"]))?;
            target().join("release/din")
        }
    };
    let jobs = match options.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().map_err(|e| format!("the number of cores: {e}"))?.get(),
    };
    let whole = |data: &PathBuf| std::fs::canonicalize(data).map_err(|e| format!("{}: {e}", data.display()));
    let data = options.data.as_ref().map(whole).transpose()?;
    let place = Place { din, data, jobs };
    for set in DATA_SETS.iter().filter(|set| options.sets.is_empty() || options.sets.iter().any(|s| s == set.name)) {
        match place.files(set)? {
            Some(files) => of_set(set, &place, &files, options)?,
            None => eprintln!("{}: left out: --data has no folder {} with its three files", set.title, set.folder),
        }
    }
    Ok(())
}

/// All experiments on one data set.
fn of_set(set: &DataSet, place: &Place, data: &Path, options: &ExperimentOptions) -> Outcome {
    eprintln!("\n== {}: Figure 6", set.title);
    let curves = figure_6(set, place, data)?;
    let interests = match set.name {
        "synth" => interests(place, options.seeds)?,
        _ => Vec::new(),
    };
    let rows = if options.trials > 0 {
        eprintln!("\n== {}: Table 3", set.title);
        TABLE_3.iter().map(|variant| row(set, place, data, variant, options)).collect::<Result<Vec<_>, _>>()?
    } else {
        Vec::new()
    };
    Page { set, rows: &rows, curves: &curves, interests: &interests, trials: options.trials, seeds: options.seeds }
        .write()
}

fn figure_6(set: &DataSet, place: &Place, data: &Path) -> Result<Vec<Curve>, String> {
    // All strengths of all curves at once, so that no core waits.
    let mut orders = Vec::new();
    for curve in &FIGURE_6 {
        let order = |settings| Order { set: *set, spec: curve.spec, settings, seed: SEED, epochs: EPOCHS };
        match curve.strengths {
            None => orders.push(order(Vec::new())),
            Some((name, values)) => {
                orders.extend(values.iter().map(|value| order(vec![(name.to_string(), (*value).to_string())])));
            }
        }
    }
    let mut made = orders.iter().zip(make_all(place, data, &orders)?);
    let chosen = |curve: &Regularization| {
        let of_curve = made.by_ref().take(curve.strengths.map_or(1, |(_, values)| values.len()));
        let best = of_curve.min_by(|one, other| one.1.last().log_loss.total_cmp(&other.1.last().log_loss));
        let (order, trained) = best.expect("a curve has a strength at least");
        Curve { regularization: *curve, strength: order.settings.first().cloned(), trained }
    };
    Ok(FIGURE_6.iter().map(chosen).collect())
}

fn interests(place: &Place, seeds: u32) -> Result<Vec<Interests>, String> {
    let of_number = |(number, set): &(u32, DataSet)| {
        eprintln!("\n== {}, {number} interests", set.title);
        let data = place.files(set)?.expect("a synthetic log is made");
        let order = |spec| move |seed| Order { set: *set, spec, settings: Vec::new(), seed, epochs: EPOCHS };
        let orders: Vec<Order> = (1..=seeds).map(order("base")).chain((1..=seeds).map(order("din"))).collect();
        let mut made = make_all(place, &data, &orders)?;
        let din = made.split_off(seeds as usize);
        Ok(Interests { number: *number, truth: runs::truth(&data)?, base: made, din })
    };
    INTERESTS.iter().map(of_number).collect()
}

fn row(
    set: &DataSet,
    place: &Place,
    data: &Path,
    variant: &Variant,
    options: &ExperimentOptions,
) -> Result<Row, String> {
    let settings = tune::settings(set, place, data, variant, options.trials)?;
    let order = |seed| Order { set: *set, spec: variant.spec, settings: settings.clone(), seed, epochs: EPOCHS };
    let orders: Vec<Order> = (1..=options.seeds).map(order).collect();
    Ok(Row { variant: *variant, trained: make_all(place, data, &orders)?, settings })
}
