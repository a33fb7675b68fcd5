//! What the standard library defines, for completion.

use super::SymbolKind;
use super::declare::{docs_of, heading_of, parameters_of};
use crate::front::library_sources;
use din_grammar::{FileId, SourceMap};
use std::sync::OnceLock;

/// A definition of the standard library.
#[derive(Clone, Debug)]
pub struct LibraryItem {
    /// The module that has it: `std.layer`.
    pub module: &'static str,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SymbolKind,
    /// `fn linear(x: [n], width: int) -> [width]`
    pub heading: String,
    /// Its doc comment, by line.
    pub docs: Vec<String>,
    /// The texts and names of its parameters.
    pub parameters: Vec<(String, String)>,
}

/// All definitions of the standard library, by module.
pub fn library_items() -> &'static [LibraryItem] {
    static ITEMS: OnceLock<Vec<LibraryItem>> = OnceLock::new();
    ITEMS.get_or_init(|| {
        let mut found = Vec::new();
        for (module, text) in library_sources() {
            let mut sources = SourceMap::default();
            sources.add(*module, *text);
            let (tree, _) = din_grammar::parse_recovering(text, FileId(0));
            for item in &tree.items {
                let (Some(name), Some(kind)) = (item.name(), SymbolKind::of_item(item)) else { continue };
                found.push(LibraryItem {
                    module,
                    name: name.name.clone(),
                    kind,
                    heading: heading_of(item, &sources),
                    docs: docs_of(item).to_vec(),
                    parameters: parameters_of(item, &sources),
                });
            }
        }
        found
    })
}
