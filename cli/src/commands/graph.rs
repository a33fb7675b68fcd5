//! `din graph`: the picture of a model.

use crate::args::{GraphArgs, PictureForm};
use crate::failure::{Failure, Outcome, USAGE_ERROR};
use crate::sources::{self, Beside};
use crate::terminal::Console;
use din_compiler::front::analysis::analyse;
use din_compiler::picture::{Picture, dot, html, mermaid, svg};
use serde_json::{Value, json};
use std::path::Path;

pub fn graph(console: &Console, args: &GraphArgs) -> Outcome {
    let form = args.form.or_else(|| PictureForm::of_name(&args.out)).ok_or_else(|| Failure {
        code: USAGE_ERROR,
        message: format!(
            "{}: expected a name that ends in .svg, .html, .dot, .mmd or .json\n  help: or say --as svg",
            args.out.display()
        ),
    })?;
    let model = sources::checked(console, &args.model, &[])?;
    let text = sources::read(&args.model)?;
    let analysis = analyse(&args.model.display().to_string(), &text, &Beside::of(&args.model));
    let picture = Picture::of(&model, &analysis);
    let text = match form {
        PictureForm::Svg => svg(&picture),
        PictureForm::Html => html(&picture),
        PictureForm::Dot => dot(&picture),
        PictureForm::Mermaid => mermaid(&picture),
        PictureForm::Json => format!("{}\n", json_of(&picture)),
    };
    if args.out == Path::new("-") {
        console.result_raw(&text);
        return Ok(());
    }
    let read = model.sources.files().iter().map(|file| Path::new(&file.name));
    din_runtime::fs::not_an_input(&args.out, read.chain([args.model.as_path()]))?;
    sources::write(&args.out, &text)
}

/// Nodes by index, and edges from what is read to what reads it.
fn json_of(picture: &Picture) -> Value {
    let nodes = picture.nodes.iter().map(|node| {
        json!({
            "name": node.name,
            "kind": node.kind.text(),
            "lines": node.lines,
            "shape": node.shape,
            "axis": node.axis,
            "weights": node.weights,
            "docs": node.docs,
            "place": node.place,
        })
    });
    let edges = picture.edges.iter().map(|(from, to)| json!({ "from": from, "to": to }));
    json!({ "model": picture.model, "nodes": nodes.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>() })
}
