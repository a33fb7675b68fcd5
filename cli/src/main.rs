//! The command `din`. It handles files and the terminal; the compiler and the runtime do the work.
//!
//! At start it looks for a program behind its own executable. With one it is a stand-alone ranker
//! with the running verbs; without it is the compiler. A panic is a bug of ours and ends with exit
//! code 3, never 101.
#![forbid(unsafe_code)]

mod args;
mod codes;
mod commands;
mod compile;
mod device;
mod failure;
mod lints;
mod markdown;
mod profile;
mod progress;
mod project;
mod ranks;
mod report;
mod revision;
mod sources;
mod terminal;

use clap::Parser;
use failure::{Outcome, SYSTEM_ERROR};
use std::process::ExitCode;
use terminal::Console;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_panic));
    match std::panic::catch_unwind(run) {
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::from(SYSTEM_ERROR),
    }
}

fn run() -> u8 {
    let bundle = match din_runtime::bundle::own() {
        Ok(bundle) => bundle,
        Err(error) => {
            eprintln!("error: {error}");
            return error.exit_code();
        }
    };
    let (console, outcome) = match bundle {
        Some(bundle) => {
            let arguments = args::StandaloneDin::parse();
            let console = Console::new(&arguments.terminal);
            let outcome = commands::standalone(&console, &bundle, arguments.verb);
            (console, outcome)
        }
        None => {
            let arguments = args::Din::parse();
            let console = Console::new(&arguments.terminal);
            let outcome = commands::din(&console, arguments.verb);
            (console, outcome)
        }
    };
    finish(&console, outcome)
}

fn finish(console: &Console, outcome: Outcome) -> u8 {
    let code = match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                console.error(&failure.message);
            }
            failure.code
        }
    };
    match console.unwritten() {
        Some(error) => {
            let help = "free the place that it goes to, or write to another one";
            console.error(&format!("standard output: cannot write: {error}; the result is cut short\n  help: {help}"));
            SYSTEM_ERROR
        }
        None => code,
    }
}

fn report_panic(info: &std::panic::PanicHookInfo<'_>) {
    let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
    let payload = info.payload();
    let what = payload
        .downcast_ref::<&str>()
        .map(|s| s.to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    eprintln!("error: din has a bug{place}: {what}");
    eprintln!(
        "  help: please report it with the spec and the command line that led here (version {})",
        env!("CARGO_PKG_VERSION")
    );
}
