//! The verbs, one file each or a few that belong together.

mod build;
mod check;
mod demo;
mod description;
mod diff;
mod doctor;
mod embed;
mod emit;
mod examined;
mod explain;
mod fmt;
mod gate;
mod graph;
mod info;
mod manual;
mod new;
mod plan;
mod report;
mod run;
mod synth;
mod test;
mod tune;

use crate::args::{ReportFormat, StandaloneVerb, TrainArgs, Verb};
use crate::failure::{Failure, Outcome, USAGE_ERROR};
use crate::ranks::on_ranks;
use crate::terminal::Console;
use din_runtime::bundle::Bundle;

/// Runs a verb of `din`.
pub fn din(console: &Console, verb: Verb) -> Outcome {
    let markdown = matches!(verb, Verb::Diff(_) | Verb::Gate(_)) && console.format() == ReportFormat::Markdown;
    if !matches!(verb, Verb::Check(_)) && !markdown {
        refuse_report(console)?;
    }
    match verb {
        Verb::New(args) => new::new(console, &args),
        Verb::Check(args) => check::check(console, &args),
        Verb::Test(args) => test::test(console, &args),
        Verb::Explain(args) => {
            explain::explain(console, &args);
            Ok(())
        }
        Verb::Fmt(args) => fmt::fmt(console, &args),
        Verb::Completions(args) => {
            manual::completions(console, &args);
            Ok(())
        }
        Verb::Man(args) => manual::man(console, &args),
        Verb::Lsp(_) => din_lsp::serve().map_err(|e| Failure::user_error(e.to_string())),
        Verb::Info(args) => info::info(console, &args),
        Verb::Diff(args) => diff::diff(console, &args),
        Verb::Doctor(args) => doctor::doctor(console, &args),
        Verb::Graph(args) => graph::graph(console, &args),
        Verb::Emit(args) => emit::emit(console, &args),
        Verb::Build(args) => build::build(console, &args),
        Verb::Train(args) => {
            let train = &args.train;
            on_ranks(console, &train.ranks, train_task(train), |console, ranks| run::din_train(console, &args, ranks))
        }
        Verb::Tune(args) => tune::tune(console, &args),
        Verb::Eval(args) => {
            on_ranks(console, &args.ranks, "eval", |console, ranks| run::eval(console, None, &args, ranks))
        }
        Verb::Predict(args) => {
            on_ranks(console, &args.ranks, "predict", |console, ranks| run::predict(console, None, &args, ranks))
        }
        Verb::Embed(args) => embed::embed(console, &args),
        Verb::Attribute(args) => embed::attribute(console, &args),
        Verb::Report(args) => report::report(console, &args),
        Verb::Gate(args) => gate::gate(console, &args),
        Verb::Plan(args) => {
            on_ranks(console, &args.launched, "plan", |console, ranks| plan::plan(console, &args, &**ranks))
        }
        Verb::Synth(args) => synth::synth(console, &args),
        Verb::Demo(args) => demo::demo(console, &args),
    }
}

/// Runs a verb of an executable that carries a program.
pub fn standalone(console: &Console, bundle: &Bundle, verb: StandaloneVerb) -> Outcome {
    refuse_report(console)?;
    match verb {
        StandaloneVerb::Train(args) => on_ranks(console, &args.ranks, train_task(&args), |console, ranks| {
            run::own_train(console, bundle, &args, ranks)
        }),
        StandaloneVerb::Eval(args) => {
            on_ranks(console, &args.ranks, "eval", |console, ranks| run::eval(console, Some(bundle), &args, ranks))
        }
        StandaloneVerb::Predict(args) => on_ranks(console, &args.ranks, "predict", |console, ranks| {
            run::predict(console, Some(bundle), &args, ranks)
        }),
        StandaloneVerb::Info(args) => info::show(console, &bundle.program, bundle.kernels.as_ref(), args.json),
    }
}

/// Reports are of `din check`, Markdown of `din diff` and `din gate` too.
fn refuse_report(console: &Console) -> Outcome {
    match console.format().is_report() {
        false => Ok(()),
        true => Err(Failure {
            code: USAGE_ERROR,
            message: "--format: reports are of `din check`\n  help: write human, concise or json".into(),
        }),
    }
}

fn train_task(args: &TrainArgs) -> &'static str {
    if args.resume { "train --resume" } else { "train" }
}
