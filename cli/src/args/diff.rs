//! Arguments of `diff`.

use clap::Args;

pub const DIFF_EXAMPLES: &str = "Example:\n  din diff old.din new.din\n  din diff main:models/din.din models/din.din\n  \
                                 din diff run/ models/din.din --format markdown\n\n\
                                 Exit codes: 0 the models are the same; 10 they differ, and a checkpoint of the old one has every \
                                 weight of the new one; 11 it has not; 1, 2 and 3 as of all verbs.";

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The old model: a .din file, a file of a git revision such as main:models/din.din, a run
    /// directory, or a built executable
    pub old: String,
    /// The new model, likewise
    pub new: String,
}
