//! The ranks of a run: joining them at the start of a verb, and ending together. One of them, the
//! first, speaks for all.

use crate::args::RanksArgs;
use crate::failure::{Failure, INTERRUPTED, Outcome, SYSTEM_ERROR};
use crate::terminal::Console;
use din_runtime::comm::{self, Channel, Communicator, ConnectOptions, Notice, Reporter, check_agreement};
use din_runtime::{Error, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

/// Runs a verb on the ranks that a launcher has started, or on the one that this process is. All
/// ranks are to be asked for the same `task`.
pub fn on_ranks(
    console: &Console,
    args: &RanksArgs,
    task: &str,
    verb: impl FnOnce(&Console, &Arc<dyn Communicator>) -> Outcome,
) -> Outcome {
    let ranks = connect(console, args)?;
    let task = format!("din {} {task}", env!("CARGO_PKG_VERSION"));
    let outcome = check_agreement(&*ranks, Channel::Step, &[task])
        .map_err(Failure::from)
        .and_then(|()| verb(&console.of_rank(&ranks), &ranks));
    match outcome {
        // What is stopped by a signal stops on all ranks at the same place.
        Err(failure) if failure.code == INTERRUPTED => {
            finish(&*ranks)?;
            Err(if ranks.rank() == 0 { failure } else { Failure::reported(INTERRUPTED) })
        }
        Ok(()) => finish(&*ranks),
        Err(failure) => Err(end(&*ranks, failure)),
    }
}

/// Joins the ranks.
pub fn connect(console: &Console, args: &RanksArgs) -> Result<Arc<dyn Communicator>, Failure> {
    let shown = console.clone();
    let options = ConnectOptions {
        library: args.mpi_library.clone(),
        rank_timeout: Duration::from_secs(args.rank_timeout),
        reporter: Reporter::new(move |notice| match notice {
            Notice::Error(error) => shown.error(&error.message),
            Notice::Warning(warning) => shown.show_warning(warning),
        }),
        ..ConnectOptions::default()
    };
    Ok(comm::connect(&options)?)
}

fn finish(ranks: &dyn Communicator) -> Outcome {
    ranks.finish().map_err(|error| end(ranks, error.into()))
}

/// Ends all ranks for a failure of this one. What is left to be reported here, is returned.
fn end(ranks: &dyn Communicator, failure: Failure) -> Failure {
    if ranks.size() == 1 {
        return failure;
    }
    let kind = match failure.code {
        INTERRUPTED => ErrorKind::Stopped,
        SYSTEM_ERROR => ErrorKind::System,
        _ => ErrorKind::User,
    };
    let message = match failure.message.is_empty() {
        // What was wrong has been said, by the first rank at least.
        true => "the spec has errors; `din check` shows them".to_string(),
        false => failure.message,
    };
    let ending = ranks.fail(&Error { kind, message });
    match ending.reported {
        true => Failure::reported(ending.error.exit_code()),
        false => ending.error.into(),
    }
}
