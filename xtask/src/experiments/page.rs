//! The page of a data set in `experiments/results`, with its pictures.

use super::plan::{DataSet, Setting};
use super::runs::{Evaluation, Measures, Trained};
use super::{Curve, Interests, Row};
use crate::command::{Outcome, output, program, root};
use din_report::{Line, LineChart, Point, colour, picture};
use std::fmt::Write;
use std::fs;

/// What stands on the page.
pub struct Page<'a> {
    pub set: &'a DataSet,
    pub rows: &'a [Row],
    pub curves: &'a [Curve],
    /// Of the synthetic log alone.
    pub interests: &'a [Interests],
    pub trials: u32,
    pub seeds: u32,
}

/// Mean and sample standard deviation.
fn mean_and_spread(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

fn shown(settings: &[Setting]) -> String {
    let shown: Vec<String> = settings.iter().map(|(name, value)| format!("`{name}={value}`")).collect();
    if shown.is_empty() { "defaults".into() } else { shown.join(" ") }
}

impl Page<'_> {
    pub fn write(&self) -> Outcome {
        let folder = root().join("experiments/results");
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let write = |name: String, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
        };
        let name = self.set.name;
        for (figure, svg) in self.pictures() {
            write(format!("{name}-{figure}.svg"), &svg)?;
        }
        write(format!("{name}.md"), &self.text()?)
    }

    /// The pictures by the ends of their names.
    fn pictures(&self) -> Vec<(&'static str, String)> {
        let figure_6 = |y: &str, title: &str, of: &dyn Fn(&Evaluation) -> f64| {
            let series = |curve: &Curve| {
                let strength = curve.strength.as_ref().map_or(String::new(), |(_, value)| format!(", {value}"));
                (format!("{}{strength}", curve.regularization.title), by_step(&curve.trained, of))
            };
            drawn(title, ("step", y), &self.curves.iter().map(series).collect::<Vec<_>>())
        };
        let figure_7 = |y: &str, title: &str, of: &dyn Fn(&Evaluation) -> f64| {
            let series = |row: &Row| (row.variant.title.to_string(), by_step(&row.trained[0], of));
            drawn(title, ("step", y), &self.rows.iter().map(series).collect::<Vec<_>>())
        };
        let mut pictures = vec![
            ("figure-6-gauc", figure_6("GAUC", "GAUC on the validation data", &|e| e.gauc)),
            ("figure-6-loss", figure_6("log loss", "log loss on the validation data", &|e| e.log_loss)),
            ("figure-6-train", figure_6("log loss", "log loss of training, since the point before", &|e| e.train_loss)),
        ];
        if !self.rows.is_empty() {
            pictures.push(("figure-7-gauc", figure_7("GAUC", "GAUC on the validation data", &|e| e.gauc)));
            pictures.push(("figure-7-loss", figure_7("log loss", "log loss on the validation data", &|e| e.log_loss)));
        }
        if !self.interests.is_empty() {
            pictures.push(("interests", self.interests_picture()));
        }
        pictures
    }

    fn interests_picture(&self) -> String {
        let series = |title: &str, of: &dyn Fn(&Interests) -> f64| {
            (title.to_string(), self.interests.iter().map(|i| (f64::from(i.number), of(i))).collect())
        };
        let mean = |trained: &[Trained]| mean_and_spread(&gaucs(trained)).0;
        let all = [
            series("base model", &|i| mean(&i.base)),
            series("DIN", &|i| mean(&i.din)),
            series("true probabilities", &|i| i.truth),
        ];
        drawn("GAUC on the test data", ("interests of each user", "GAUC"), &all)
    }

    fn text(&self) -> Result<String, String> {
        let set = self.set;
        let version = output(&mut program("git", ["rev-parse", "--short", "HEAD"]))?;
        let mut text = format!(
            "# {}\n\nMade by `cargo xtask experiments --data DATA --sets {} --trials {} --seeds {}` at {}, level {}.\n\
             [The README](../README.md) says what was done.\n",
            set.title,
            set.name,
            self.trials,
            self.seeds,
            version.trim(),
            if std::arch::is_x86_feature_detected!("avx512f") { "v4" } else { "v3" },
        );
        if !self.rows.is_empty() {
            self.table_3(&mut text).expect("a string takes any text");
        }
        self.figure_6(&mut text).expect("a string takes any text");
        if !self.rows.is_empty() {
            let _ = write!(
                text,
                "\n## Figure 7\n\nThe models of Table 3, seed 1.\n\n![GAUC by step]({0}-figure-7-gauc.svg)\n\n\
                 ![log loss by step]({0}-figure-7-loss.svg)\n",
                set.name
            );
        }
        if !self.interests.is_empty() {
            self.interests(&mut text).expect("a string takes any text");
        }
        Ok(text)
    }

    fn interests(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n## What attention is for\n\n![GAUC by interests]({}-interests.svg)\n", self.set.name)?;
        writeln!(text, "| interests of each user | base model | DIN | gain | true probabilities |")?;
        writeln!(text, "| --- | --- | --- | --- | --- |")?;
        for Interests { number, truth, base, din } in self.interests {
            let [base, din] = [base, din].map(|trained| mean_and_spread(&gaucs(trained)));
            writeln!(
                text,
                "| {number} | {:.4} ± {:.4} | {:.4} ± {:.4} | {:+.4} | {truth:.4} |",
                base.0,
                base.1,
                din.0,
                din.1,
                din.0 - base.0
            )?;
        }
        Ok(())
    }

    fn table_3(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n## Table 3\n")?;
        writeln!(text, "| model | settings | GAUC | gain | AUC | log loss | best epoch |")?;
        writeln!(text, "| --- | --- | --- | --- | --- | --- | --- |")?;
        let column = |row: &Row, of: &dyn Fn(&Measures) -> f64| {
            mean_and_spread(&row.trained.iter().map(|trained| of(&trained.test)).collect::<Vec<_>>())
        };
        let base = column(&self.rows[0], &|m| m.gauc).0;
        for row in self.rows {
            let [gauc, auc, loss] = [
                column(row, &|m: &Measures| m.gauc),
                column(row, &|m: &Measures| m.auc),
                column(row, &|m: &Measures| m.log_loss),
            ];
            let epochs: Vec<String> = row.trained.iter().map(|trained| trained.best().epoch.to_string()).collect();
            writeln!(
                text,
                "| {} | {} | {:.4} ± {:.4} | {:+.4} | {:.4} ± {:.4} | {:.4} ± {:.4} | {} |",
                row.variant.title,
                shown(&row.settings),
                gauc.0,
                gauc.1,
                gauc.0 - base,
                auc.0,
                auc.1,
                loss.0,
                loss.1,
                epochs.join(", ")
            )?;
        }
        writeln!(text, "\nThe first run of each row, in the root of the repository:\n\n```sh")?;
        for row in self.rows {
            writeln!(text, "{}", row.trained[0].command)?;
        }
        writeln!(text, "```")
    }

    fn figure_6(&self, text: &mut String) -> std::fmt::Result {
        let name = self.set.name;
        writeln!(
            text,
            "\n## Figure 6\n\nThe base model, seed 1, learning rate 0.001, each regularization at the strength whose log loss\nis the least after the last epoch.\n"
        )?;
        writeln!(text, "![GAUC by step]({name}-figure-6-gauc.svg)\n")?;
        writeln!(text, "![log loss by step]({name}-figure-6-loss.svg)\n")?;
        writeln!(text, "![training loss by step]({name}-figure-6-train.svg)\n")?;
        writeln!(
            text,
            "| regularization | strength | GAUC after epoch 1 | best | after the last | log loss after epoch 1 | best | after the last |"
        )?;
        writeln!(text, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for curve in self.curves {
            let evaluations = &curve.trained.curve;
            let first = evaluations.iter().rfind(|e| e.epoch == 1).expect("an epoch ends with an evaluation");
            let last = curve.trained.last();
            let greatest = evaluations.iter().map(|e| e.gauc).fold(f64::NEG_INFINITY, f64::max);
            let least = evaluations.iter().map(|e| e.log_loss).fold(f64::INFINITY, f64::min);
            let strength = curve.strength.as_ref().map_or("".into(), |(name, value)| format!("`{name}={value}`"));
            writeln!(
                text,
                "| {} | {strength} | {:.4} | {greatest:.4} | {:.4} | {:.4} | {least:.4} | {:.4} |",
                curve.regularization.title, first.gauc, last.gauc, first.log_loss, last.log_loss
            )?;
        }
        Ok(())
    }
}

/// On the test data, by seed.
fn gaucs(trained: &[Trained]) -> Vec<f64> {
    trained.iter().map(|trained| trained.test.gauc).collect()
}

/// A name, and points ascending by x.
type Series = (String, Vec<(f64, f64)>);

fn by_step(trained: &Trained, of: &dyn Fn(&Evaluation) -> f64) -> Vec<(f64, f64)> {
    trained.curve.iter().map(|e| (e.step as f64, of(e))).collect()
}

fn drawn(title: &str, (x, y): (&str, &str), series: &[Series]) -> String {
    let line = |(k, (name, points)): (usize, &Series)| {
        let point =
            |&(x, y): &(f64, f64)| Point { x, y, tooltip: format!("{name}: {y:.4}"), marked: false, interval: None };
        Line { colour: colour(k), points: points.iter().map(point).collect() }
    };
    let lines = series.iter().enumerate().map(line).collect();
    let names: Vec<&str> = series.iter().map(|(name, _)| name.as_str()).collect();
    picture(&LineChart { title, x, y, lines, marks: Vec::new(), diagonal: false }, &names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.std([1, 2, 3, 4], ddof=1)`.
    #[test]
    fn spreads_are_of_samples() {
        let (mean, spread) = mean_and_spread(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(mean, 2.5);
        assert!((spread - 1.290_994_448_735_805_6).abs() < 1e-15);
        assert_eq!(mean_and_spread(&[0.7]), (0.7, 0.0));
    }
}
