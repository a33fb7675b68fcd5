//! Output: results go to standard output; diagnostics, progress and remarks go to standard error.
//! Progress is shown as bars on a terminal and as plain lines elsewhere.

use crate::args::{Color, ReportFormat, TerminalArgs};
use din_grammar::{Diagnostic, SourceMap, Style};
use din_runtime::comm::{Communicator, RankWarning};
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle, WeakProgressBar};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// The user's side of a verb.
#[derive(Clone, Debug)]
pub struct Console {
    pub quiet: bool,
    format: ReportFormat,
    color: bool,
    bars: bool,
    /// Says nothing: another rank speaks for all.
    silent: bool,
    /// The ranks of the run, the first of which shows the warnings of all.
    ranks: Option<Arc<dyn Communicator>>,
    /// The bar that is drawn, if one is; shared by all clones.
    drawn: DrawnBar,
    /// Why standard output no longer takes the result; shared by all clones.
    cut: Arc<OnceLock<io::Error>>,
}

/// The bar that is drawn, as long as it lives; the thread that watches the ranks writes above it
/// too.
#[derive(Clone, Default)]
struct DrawnBar(Arc<Mutex<WeakProgressBar>>);

impl DrawnBar {
    fn lock(&self) -> MutexGuard<'_, WeakProgressBar> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DrawnBar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DrawnBar")
    }
}

impl Console {
    pub fn new(terminal: &TerminalArgs) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let color = match terminal.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self {
            quiet: terminal.quiet,
            format: terminal.format,
            color,
            bars: is_terminal && !terminal.quiet,
            silent: false,
            ranks: None,
            drawn: DrawnBar::default(),
            cut: Arc::default(),
        }
    }

    /// The console of a rank: the first one speaks for all.
    pub fn of_rank(&self, ranks: &Arc<dyn Communicator>) -> Self {
        let silent = ranks.rank() > 0;
        let (quiet, bars, ranks) = (self.quiet || silent, self.bars && !silent, Some(ranks.clone()));
        Self { silent, quiet, bars, ranks, ..self.clone() }
    }

    /// Draws diagnostics; JSON goes to standard output, as it is the result then. A report is
    /// written at the end, by who has all findings.
    pub fn diagnostics(&self, diagnostics: &[Diagnostic], sources: &SourceMap) {
        if diagnostics.is_empty() {
            return;
        }
        let style = match self.format {
            ReportFormat::Human => Style::Human { color: self.color },
            ReportFormat::Concise => Style::Concise,
            ReportFormat::Json => Style::Json,
            ReportFormat::Markdown
            | ReportFormat::Sarif
            | ReportFormat::Github
            | ReportFormat::Gitlab
            | ReportFormat::Junit => return,
        };
        let text = din_grammar::render(diagnostics, sources, style);
        match style {
            Style::Json => self.result_raw(&text),
            Style::Human { .. } | Style::Concise => self.remark_raw(&text),
        }
    }

    /// Where to read more about what was shown; for people, after the last diagnostic.
    pub fn more_about(&self, diagnostics: &[Diagnostic]) {
        /// A longer line is not read.
        const CODES: usize = 5;
        if !self.human() || diagnostics.is_empty() {
            return;
        }
        let mut codes: Vec<&str> = Vec::new();
        for diagnostic in diagnostics {
            if !codes.contains(&diagnostic.code) {
                codes.push(diagnostic.code);
            }
        }
        let what = match (codes.len(), diagnostics[0].is_error()) {
            (1, true) => "this error",
            (1, false) => "this warning",
            _ => "these codes",
        };
        codes.truncate(CODES);
        self.remark(format!("for more about {what}: din explain {}", codes.join(" ")));
    }

    /// The same for people, whatever was asked for.
    pub fn for_people(&self) -> Self {
        Self { format: ReportFormat::Human, ..self.clone() }
    }

    pub fn format(&self) -> ReportFormat {
        self.format
    }

    pub fn human(&self) -> bool {
        self.format == ReportFormat::Human
    }

    /// A line of the result.
    pub fn result(&self, line: impl AsRef<str>) {
        self.result_raw(&format!("{}\n", line.as_ref()));
    }

    /// Text of the result. The first failure is kept for [`Console::unwritten`], and nothing is
    /// written behind it.
    pub fn result_raw(&self, text: &str) {
        if self.silent || self.cut.get().is_some() {
            return;
        }
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Only one thread writes results while it holds the lock, so the cell is empty here.
            let _ = self.cut.set(error);
        }
    }

    /// Why a part of the result is missing on standard output. A closed pipe (`din info … | head`)
    /// ends the reading, not the work, and is no failure.
    pub fn unwritten(&self) -> Option<&io::Error> {
        self.cut.get().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }

    /// A line beside the result, left out with --quiet.
    pub fn remark(&self, line: impl AsRef<str>) {
        if !self.quiet {
            self.remark_raw(&format!("{}\n", line.as_ref()));
        }
    }

    /// Text on standard error, above the bar if one is drawn.
    fn remark_raw(&self, text: &str) {
        if self.silent {
            return;
        }
        let write = || {
            let _ = io::stderr().lock().write_all(text.as_bytes());
        };
        match self.drawn.lock().upgrade() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// `warning: …`, also with --quiet. On any rank: the first one shows it, once.
    pub fn warning(&self, warning: impl Into<RankWarning>) {
        let warning = warning.into();
        let passed_on = self.ranks.as_ref().is_some_and(|ranks| ranks.warn(&warning));
        if !passed_on {
            self.show_warning(&warning.text);
        }
    }

    /// The same, by this process.
    pub fn show_warning(&self, message: &str) {
        self.remark_raw(&format!("{} {message}\n", self.paint("33;1", "warning:")));
    }

    /// `error: …`
    pub fn error(&self, message: &str) {
        self.remark_raw(&format!("{} {message}\n", self.paint("31;1", "error:")));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.color {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }

    /// Does the work, and says on a terminal what it is once it has taken half a second.
    pub fn busy<R>(&self, what: &str, work: impl FnOnce() -> R) -> R {
        if !self.bars {
            return work();
        }
        std::thread::scope(|scope| {
            let (working, done) = mpsc::channel::<()>();
            scope.spawn(move || {
                if done.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
                    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
                    spinner.enable_steady_tick(Duration::from_millis(100));
                    // Nothing is sent: it ends with the work.
                    let _ = done.recv();
                    spinner.finish_and_clear();
                }
            });
            let result = work();
            drop(working);
            result
        })
    }

    /// A bar of `total` rows; hidden unless standard error is a terminal.
    pub fn bar(&self, what: &str, total: u64) -> ProgressBar {
        if !self.bars {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total);
        let template = "{prefix} {bar:30} {human_pos}/{human_len} rows  {rate}  {eta} left  {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        bar.set_style(style.progress_chars("━╸ ").with_key("rate", rate));
        bar.set_prefix(what.to_string());
        *self.drawn.lock() = bar.downgrade();
        bar
    }
}

/// `20,109 rows/s`
fn rate(state: &ProgressState, to: &mut dyn std::fmt::Write) {
    // A terminal's text cannot fail to be written into a string.
    let _ = write!(to, "{} rows/s", HumanCount(state.per_sec() as u64));
}
