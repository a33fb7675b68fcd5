//! Text to the typed syntax tree.
//!
//! [`parse`] scans (`scan`), lets pest read the cooked text by `din.pest`, and builds the tree
//! (`build`, `model`, `expression`). When pest refuses the whole, `recover` cuts the file into
//! definitions, members and statements and parses each alone, so that every independent error is
//! reported; `explain` puts each into words, `slip` says how to mend common ones, and `pieces`
//! makes a tree of what parses.
//!
//! Guarantees: no text causes a panic; time is linear in the text, except for the cutting, which is
//! linear in the text times the depth of definitions (three); brackets nest at most [`MAX_NESTING`]
//! deep and expressions at most [`MAX_HEIGHT`], so that a walk over the tree may recurse.

mod build;
mod explain;
mod expression;
mod model;
mod pieces;
mod recover;
mod slip;

pub use crate::scan::{MAX_BYTES, MAX_NESTING};

use crate::scan::scan;
use crate::{Diagnostic, FileId, Span, ast};
use build::Builder;
use pest::Parser;

/// The height of an expression's tree: nested parts, and operators and calls in one chain,
/// together.
pub const MAX_HEIGHT: usize = 256;

/// Words that are never names.
pub const RESERVED: [&str; 21] = [
    "and", "as", "constant", "else", "false", "fn", "for", "if", "in", "layer", "let", "model", "not", "or", "over",
    "param", "state", "true", "update", "use", "where",
];

#[derive(pest_derive::Parser)]
#[grammar = "din.pest"]
pub(crate) struct Grammar;

/// Parses one file. Errors come in the order of the text, one an independent fault.
pub fn parse(text: &str, file: FileId) -> Result<ast::File, Vec<Diagnostic>> {
    let (tree, errors) = parse_recovering(text, file);
    if errors.is_empty() { Ok(tree) } else { Err(errors) }
}

/// Parses as much of a file as can be read, for editors: the tree, and the errors as [`parse`]
/// gives them. Of a file with errors, the tree has all imports, definitions, members, statements,
/// fields and settings that parse by themselves. A `let` or `layer` that does not parse keeps its
/// name, with [`ast::ExprKind::Hole`] for its value; so does the value of a function whose last
/// line does not.
pub fn parse_recovering(text: &str, file: FileId) -> (ast::File, Vec<Diagnostic>) {
    let scan = scan(text, file);
    if scan.fatal {
        let span = Span::new(file, 0, text.len());
        let empty = ast::File { docs: Vec::new(), edition: None, imports: Vec::new(), items: Vec::new(), span };
        return (empty, scan.errors);
    }
    if scan.errors.is_empty()
        && let Ok(mut pairs) = Grammar::parse(Rule::file, &scan.cooked)
        && let Some(pair) = pairs.next()
    {
        let mut builder = Builder::new(file, 0, text);
        let tree = builder.file(pair);
        return (tree, sorted(builder.errors));
    }
    let (tree, errors) = recover::recover(text, file, scan);
    (tree, sorted(errors))
}

fn sorted(mut errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
    errors.sort_by_key(|d| d.labels.first().map_or(0, |l| l.span.start));
    errors
}
