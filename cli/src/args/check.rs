//! Arguments of `check`.

use super::{ReportFormat, name_value};
use crate::lints::LintSet;
use clap::Args;
use std::path::PathBuf;

pub const CHECK_EXAMPLES: &str = "Example:\n  din check models/din.din\n  din check models 'layers/**/*.din' --deny warnings\n  \
                                  din check models --format github --output sarif=din.sarif --output junit=din.xml\n\n\
                                  Exit codes: 0 nothing is wrong; 1 there are errors, or warnings that are denied; \
                                  2 the command line is wrong; 3 an error of the system.";

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// .din files, folders of them, or patterns such as 'models/**/*.din'; a file without a model
    /// is checked as a library [default: `paths` of din.toml]
    pub files: Vec<PathBuf>,
    /// Give a hyper-parameter another value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_value)]
    pub sets: Vec<(String, String)>,
    /// Treat as errors: codes such as W0201, or `warnings` for all that are not allowed
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub deny: Vec<LintSet>,
    /// Show as warnings, whatever din.toml says
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub warn: Vec<LintSet>,
    /// Do not show
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    pub allow: Vec<LintSet>,
    /// Write the findings into a file too, in a format of --format
    #[arg(long = "output", value_name = "FORMAT=FILE", value_parser = output)]
    pub outputs: Vec<(ReportFormat, PathBuf)>,
}

fn output(text: &str) -> Result<(ReportFormat, PathBuf), String> {
    use clap::ValueEnum;
    let expected = || {
        let all = ReportFormat::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = all.map(|value| value.get_name().to_owned()).collect();
        format!("expected FORMAT=FILE, such as sarif=din.sarif; formats are {}", names.join(", "))
    };
    let (format, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(expected)?;
    Ok((ReportFormat::from_str(format, false).map_err(|_| expected())?, PathBuf::from(file)))
}
