//! The pictures of models in `docs/gallery.md`.

use crate::command::{Outcome, cargo, output, program, read, root, run};
use std::fs;

/// Draws each picture that the page shows anew, by Graphviz: `gallery/din.svg` from the model
/// `din.din`, which stands in `models/` or in a folder of it.
pub fn pictures() -> Outcome {
    let page = read("docs/gallery.md")?;
    let names: Vec<&str> =
        page.split("](gallery/").skip(1).filter_map(|rest| rest.split_once(".svg)")).map(|(name, _)| name).collect();
    let folder = root().join("target/pictures");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for name in names {
        let model = model(name)?;
        let text = output(&mut cargo(["run", "--quiet", "--locked", "--", "emit", &model, "--stage", "dot"]))?;
        let dot = folder.join(name).with_extension("dot");
        fs::write(&dot, text).map_err(|e| format!("{}: {e}", dot.display()))?;
        let svg = format!("docs/gallery/{name}.svg");
        run(program("dot", ["-Tsvg", "-o", &svg]).arg(&dot))?;
    }
    Ok(())
}

/// The path of a model of that name, from the root of the repository.
fn model(name: &str) -> Result<String, String> {
    let folders = ["models", "models/interaction", "models/sequence", "models/multitask", "models/retrieval"];
    let path = folders.iter().map(|folder| format!("{folder}/{name}.din")).find(|path| root().join(path).exists());
    path.ok_or_else(|| format!("docs/gallery.md: there is no model {name}.din for the picture gallery/{name}.svg"))
}
