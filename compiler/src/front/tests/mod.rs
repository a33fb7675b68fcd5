//! The front end on small models; what is asserted is the model, not what this crate prints.
#![allow(clippy::unwrap_used)]

use super::*;

fn rendered(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    din_grammar::render(diagnostics, sources, din_grammar::Style::Human { color: false })
}

#[test]
fn shipped_models_are_clean() {
    let folder = format!("{}/../models", env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let checked = check(&path.display().to_string(), &text, &NoFiles, &Options::default());
        assert_eq!(rendered(&checked.diagnostics, &checked.sources), "", "{}", path.display());
        let model = checked.model.unwrap();
        assert!(!model.train.is_empty() && !model.infer.is_empty());
        crate::graph::verify(&model.train).unwrap();
        crate::graph::verify(&model.infer).unwrap();
        for update in &model.updates {
            crate::graph::verify(&update.graph).unwrap();
        }
        seen += 1;
    }
    assert!(seen >= 12, "{seen} models");
}

#[test]
fn the_library_is_clean() {
    for (name, text) in library_sources() {
        let (diagnostics, sources) = check_library(name, text, &NoFiles);
        assert_eq!(rendered(&diagnostics, &sources), "", "{name}");
    }
}
