//! `din test`: the `test` blocks of specs and libraries, run by the reference interpreter; no data
//! are read.

use crate::args::TestArgs;
use crate::failure::{Failure, Outcome, USER_ERROR};
use crate::sources::{self, Beside};
use crate::terminal::Console;
use din_compiler::front::{self, TestFailure};
use din_grammar::SourceMap;

pub fn test(console: &Console, args: &TestArgs) -> Outcome {
    let (mut passed, mut failed, mut wrong) = (0, 0, 0);
    let (mut unread, mut shown) = (Vec::new(), Vec::new());
    for path in &sources::expanded(&args.files)? {
        let text = match sources::read(path) {
            Ok(text) => text,
            Err(failure) => {
                unread.push(failure);
                continue;
            }
        };
        let name = path.display().to_string();
        let outcome = front::test(&name, &text, &Beside::of(path));
        console.diagnostics(&outcome.diagnostics, &outcome.sources);
        wrong += outcome.diagnostics.iter().filter(|d| d.is_error()).count();
        shown.extend(outcome.diagnostics);
        for report in &outcome.reports {
            if report.failures.is_empty() {
                passed += 1;
                console.result(format!("ok      {name}: {}", report.name));
                continue;
            }
            failed += 1;
            console.result(format!("failed  {}: {}", outcome.sources.location(report.span), report.name));
            for failure in &report.failures {
                console.result_raw(&text_of(failure, &outcome.sources));
            }
        }
    }
    let mut code = 0;
    for failure in unread {
        console.error(&failure.message);
        code = code.max(failure.code);
    }
    console.more_about(&shown);
    if console.human() {
        let errors = if wrong > 0 { format!(", {wrong} with errors") } else { String::new() };
        console.remark(format!("{passed} passed, {failed} failed{errors}"));
    }
    if failed > 0 || wrong > 0 {
        code = code.max(USER_ERROR);
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::reported(code)),
    }
}

/// Place, expected and found values of a failure, on lines of their own.
fn text_of(failure: &TestFailure, sources: &SourceMap) -> String {
    let TestFailure { span, expected, found, difference, tolerance } = failure;
    let differs = if difference.is_nan() {
        "not a number, or one of them infinite".to_string()
    } else {
        format!("differ by {difference:.3e}, more than {tolerance:e}")
    };
    format!("  {}: {differs}\n    expected {expected}\n    found    {found}\n", sources.location(*span))
}
