//! `din synth`: the synthetic click log.

use crate::args::{SynthArgs, WorldArgs};
use crate::failure::{Failure, Outcome};
use crate::terminal::Console;
use din_runtime::signal;
use din_runtime::synth::{SynthOptions, Truth, generate};
use std::path::Path;

pub fn synth(console: &Console, args: &SynthArgs) -> Outcome {
    let truth = make(console, &args.out, &args.world, args.force)?;
    for split in &truth.splits {
        let rate = split.clicks as f64 / split.rows as f64;
        let bayes = split.bayes.map_or(String::new(), |b| {
            format!("; the truth itself scores AUC {:.4}, GAUC {:.4}, log loss {:.4}", b.auc, b.gauc, b.log_loss)
        });
        console.result(format!(
            "{}: {} rows, {:.1} % clicked, mean history {:.1}{bayes}",
            args.out.join(&split.file).display(),
            split.rows,
            100.0 * rate,
            split.mean_history,
        ));
    }
    Ok(())
}

/// Makes the log with a bar.
pub fn make(console: &Console, out: &Path, world: &WorldArgs, force: bool) -> Result<Truth, Failure> {
    let options = SynthOptions {
        seed: world.seed,
        rows: world.rows,
        users: world.users,
        goods: world.goods,
        categories: world.categories,
        interests: world.interests,
        force,
    };
    signal::install();
    let bar = console.bar("making data", world.rows);
    let truth = generate(out, &options, &mut |rows| bar.set_position(rows))?;
    bar.finish_and_clear();
    Ok(truth)
}
