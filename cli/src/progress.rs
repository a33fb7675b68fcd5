//! How a run's progress looks: a bar on a terminal, one plain line per evaluation everywhere.

use crate::terminal::Console;
use din_runtime::run_dir::MetricsLine;
use din_runtime::session::{DataPass, PassEvent};
use din_runtime::train::Event;
use indicatif::ProgressBar;

pub struct Progress<'c> {
    console: &'c Console,
    bar: Option<ProgressBar>,
    prefix: String,
}

impl<'c> Progress<'c> {
    pub fn new(console: &'c Console) -> Self {
        Self { console, bar: None, prefix: String::new() }
    }

    /// Put before every line of an epoch, to distinguish runs.
    pub fn named(mut self, name: &str) -> Self {
        self.prefix = format!("{name}: ");
        self
    }

    /// Shows how far a pass has come.
    pub fn show_pass(&mut self, event: PassEvent) {
        match event {
            PassEvent::Begin { pass, rows, done } => {
                let name = match pass {
                    DataPass::Counting => "counting".to_string(),
                    DataPass::Gathering => "statistics".to_string(),
                    DataPass::Training { epoch, epochs } => format!("{}epoch {epoch}/{epochs}", self.prefix),
                    DataPass::Checking => "checking --valid".to_string(),
                    DataPass::Searching => "looking for the row".to_string(),
                    DataPass::Evaluating => "evaluating".to_string(),
                    DataPass::Predicting => "predicting".to_string(),
                };
                let bar = self.console.bar(&name, rows);
                bar.set_position(done);
                self.bar = Some(bar);
            }
            PassEvent::Advance { rows, loss } => {
                if let Some(bar) = self.bar.as_ref().filter(|bar| !bar.is_hidden()) {
                    bar.set_position(rows);
                    if let Some(loss) = loss {
                        bar.set_message(format!("loss {loss:.4}"));
                    }
                }
            }
            PassEvent::End => self.clear(),
        }
    }

    pub fn show(&mut self, event: Event) {
        match event {
            Event::Pass(event) => self.show_pass(event),
            Event::Evaluated { line, report, best } => {
                self.clear();
                let mut text = format!("{}{}: train loss {:.4}", self.prefix, place_of(&line), line.train_loss);
                // `eval` also says how many groups stand behind a value.
                for (name, value) in report.iter().flat_map(|r| r.metrics()) {
                    let value = value.map_or("undefined".into(), |v| format!("{v:.4}"));
                    text.push_str(&format!(", {name} {value}"));
                }
                if best && report.is_some() {
                    text.push_str(", best so far");
                }
                self.console.remark(text);
            }
            Event::Warning(warning) => self.console.warning(warning),
            Event::Note(message) => self.console.remark(message),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Where in training an evaluation was made.
pub fn place_of(line: &MetricsLine) -> String {
    match line.samples {
        None => format!("epoch {}", line.epoch),
        Some(_) => format!("epoch {}, step {}", line.epoch, line.step),
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
