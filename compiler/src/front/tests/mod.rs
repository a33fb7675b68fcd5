//! The front end on small models; what is asserted is the model, not what this crate prints.
#![allow(clippy::unwrap_used)]

use super::*;

fn errors(text: &str) -> Vec<String> {
    let checked = check("test.din", text, &NoFiles, &Options::default());
    checked.diagnostics.iter().map(|d| format!("{} {}", d.code, d.message)).collect()
}

#[test]
fn shipped_models_are_clean() {
    for name in ["base"] {
        let path = format!("{}/../models/{name}.din", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(errors(&text), Vec::<String>::new(), "{name}");
    }
}
