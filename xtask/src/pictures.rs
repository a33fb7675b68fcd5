//! The pictures of models in `docs/gallery.md`.

use crate::command::{Outcome, cargo, read, root, run};

/// Draws each picture that the page shows anew: `gallery/din.svg` from the model
/// `din.din`, which stands in `models/` or in a folder of it.
pub fn pictures() -> Outcome {
    let page = read("docs/gallery.md")?;
    let names: Vec<&str> =
        page.split("](gallery/").skip(1).filter_map(|rest| rest.split_once(".svg)")).map(|(name, _)| name).collect();
    for name in names {
        let (model, svg) = (model(name)?, format!("docs/gallery/{name}.svg"));
        run(&mut cargo(["run", "--quiet", "--locked", "--", "graph", &model, "--out", &svg]))?;
    }
    Ok(())
}

/// The path of a model of that name, from the root of the repository.
fn model(name: &str) -> Result<String, String> {
    let folders = ["models", "models/interaction", "models/sequence", "models/multitask", "models/retrieval"];
    let path = folders.iter().map(|folder| format!("{folder}/{name}.din")).find(|path| root().join(path).exists());
    path.ok_or_else(|| format!("docs/gallery.md: there is no model {name}.din for the picture gallery/{name}.svg"))
}
