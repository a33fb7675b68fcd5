//! Arguments of `graph`.

use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

pub const GRAPH_EXAMPLES: &str = "Example:\n  din graph models/din.din -o din.svg\n  din graph models/din.din -o din.html   # moves, zooms, folds\n  \
                                  din graph models/din.din -o - --as mermaid";

#[derive(Debug, Args)]
pub struct GraphArgs {
    /// The model, a .din file
    pub model: PathBuf,
    /// The file to write, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// What to write [default: by the ending of --out]
    #[arg(long = "as", value_enum, value_name = "FORM", required_if_eq("out", "-"))]
    pub form: Option<PictureForm>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PictureForm {
    /// A drawing
    Svg,
    /// A page with the drawing that needs no network
    Html,
    /// The language of Graphviz
    Dot,
    /// The language of Mermaid, for Markdown
    Mermaid,
    /// Nodes and edges
    Json,
}

impl PictureForm {
    /// By the ending of a file's name.
    pub fn of_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "svg" => Some(Self::Svg),
            "html" | "htm" => Some(Self::Html),
            "dot" | "gv" => Some(Self::Dot),
            "mermaid" | "mmd" => Some(Self::Mermaid),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}
