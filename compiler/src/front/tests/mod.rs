//! The front end on models of a few lines. What is asserted is the model that comes out, computed
//! by hand from the text, not what this crate prints; messages are compared in `tests/ui`.
mod layout;
mod meaning;
mod mutations;
mod robust;
mod schemas;
mod surface;
mod updates;

use super::*;
use crate::graph::{NodeId, Op};
use std::path::{Path, PathBuf};

pub(super) const HEAD: &str = "edition 2026
use std.activation.{dice, prelu}
use std.attention.interest
use std.layer.{linear, mlp}
use std.loss.cross_entropy
use std.metric.{auc, gauc, log_loss}
use std.optimizer.{adam, rowwise_adagrad, sgd}
use std.regularizer.{adaptive, l2}
";

pub(super) const GROUPS: &str = "
    features ad { good_id: category  shop_id: category }
    features user { age: category(10)  income: number  taste: number[3] }
    sequence visited (keep last 50) {
        good_id: category from goods
        shop_id: category from shops
    }
    label click: binary
    embedding good [4] for ad.good_id, visited.good_id
    embedding shop [2] for ad.shop_id, visited.shop_id
    embedding [3] for each of user
";

pub(super) const TRAIN: &str = "
    train { loss cross_entropy(click)  optimizer sgd(0.1)  batch 8  epochs 1 }
    report auc(click)
";

pub(super) fn rendered(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    din_grammar::render(diagnostics, sources, din_grammar::Style::Human { color: false })
}

/// The model of a whole text that must have no error; warnings are not looked at.
pub(super) fn model(text: &str) -> CheckedModel {
    let checked = check("test.din", text, &NoFiles, &CheckOptions::default());
    let errors: Vec<Diagnostic> = checked.diagnostics.into_iter().filter(Diagnostic::is_error).collect();
    assert_eq!(rendered(&errors, &checked.sources), "", "{text}");
    checked.model.unwrap()
}

/// `functions`, then a model of the usual groups with this network.
pub(super) fn network(functions: &str, body: &str) -> CheckedModel {
    model(&format!("{HEAD}{functions}\nmodel m {{{GROUPS}{body}{TRAIN}}}\n"))
}

pub(super) fn codes(text: &str) -> Vec<&'static str> {
    let checked = check("test.din", text, &NoFiles, &CheckOptions::default());
    checked.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect()
}

pub(super) fn network_codes(functions: &str, body: &str) -> Vec<&'static str> {
    codes(&format!("{HEAD}{functions}\nmodel m {{{GROUPS}{body}{TRAIN}}}\n"))
}

pub(super) fn names(model: &CheckedModel) -> Vec<&str> {
    model.parameters.iter().map(|p| p.name.as_str()).collect()
}

pub(super) fn shape_of<'m>(model: &'m CheckedModel, name: &str) -> &'m [u32] {
    &model.parameters.iter().find(|p| p.name == name).unwrap().shape
}

/// Nodes of the training graph with this operation.
pub(super) fn nodes(graph: &Graph, wanted: impl Fn(&Op) -> bool) -> Vec<NodeId> {
    graph.ids().filter(|&id| wanted(&graph.node(id).op)).collect()
}

/// Imports from the files of a folder.
struct Beside(PathBuf);

impl SourceProvider for Beside {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let path = self.0.join(module.join("/")).with_extension("din");
        Some((path.display().to_string(), std::fs::read_to_string(&path).ok()?))
    }
}

#[test]
fn shipped_models_are_clean() {
    let list = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let top = list(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models")));
    let families = top.iter().filter(|path| path.is_dir()).flat_map(|folder| list(folder));
    let mut seen = 0;
    for path in families.chain(top.clone()) {
        // A family's `columns.din` is a schema.
        let is_model = path.extension().is_some_and(|e| e == "din") && !path.ends_with("columns.din");
        if !is_model {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let beside = Beside(path.parent().unwrap().to_path_buf());
        let checked = check(&path.display().to_string(), &text, &beside, &CheckOptions::default());
        assert_eq!(rendered(&checked.diagnostics, &checked.sources), "", "{}", path.display());
        let model = checked.model.unwrap();
        assert_eq!(model.name, path.file_stem().unwrap().to_str().unwrap());
        crate::graph::verify(&model.train).unwrap();
        crate::graph::verify(&model.infer).unwrap();
        for update in &model.updates {
            crate::graph::verify(&update.graph).unwrap();
        }
        assert_eq!(din_grammar::format::format(&text).unwrap(), text, "{} is formatted", path.display());
        seen += 1;
    }
    assert!(seen >= 45, "{seen} models");
}

#[test]
fn the_library_is_clean() {
    for (name, text) in library_sources() {
        let (diagnostics, sources) = check_library(name, text, &NoFiles);
        assert_eq!(rendered(&diagnostics, &sources), "", "{name}");
        assert_eq!(din_grammar::format::format(text).unwrap(), *text, "{name} is formatted");
    }
}

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../docs/reference/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn examples_of_the_reference_are_right() {
    let page = page("language.md");
    let blocks: Vec<&str> = page.split("```din\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    for block in &blocks {
        if ["features", "embedding", "key", "hyper", "request"].iter().any(|w| block.starts_with(w)) {
            // Members of a model.
            let text = format!("model m {{\n{block}}}\n");
            assert!(din_grammar::parse(&text, din_grammar::FileId(0)).is_ok(), "{text}");
            continue;
        }
        let (diagnostics, sources) = check_library("page", block, &NoFiles);
        assert_eq!(rendered(&diagnostics, &sources), "");
    }
    assert!(blocks.len() >= 14, "{} blocks", blocks.len());
    let page = self::page("syntax.md");
    let whole = page.rsplit("```din\n").next().unwrap().split("```").next().unwrap();
    let checked = check("page", whole, &NoFiles, &CheckOptions::default());
    assert_eq!(rendered(&checked.diagnostics, &checked.sources), "");
    assert_eq!(checked.model.unwrap().name, "click_model");
}

#[test]
fn the_reference_lists_the_library() {
    let page = page("stdlib.md");
    for (module, text) in library_sources() {
        assert!(page.contains(&format!("## `{module}`")), "{module}");
        let file = din_grammar::parse(text, din_grammar::FileId(0)).unwrap();
        for item in &file.items {
            let Some(name) = item.name().map(|name| &name.name) else { continue };
            assert!(page.contains(&format!("`{name}(")) || page.contains(&format!("`{name}`")), "{module}.{name}");
        }
    }
}

/// The words in the inline code of a page; examples are no explanation.
fn explained(page: &str) -> std::collections::BTreeSet<String> {
    let prose: String = page.split("```").step_by(2).collect();
    let code = prose.split('`').skip(1).step_by(2);
    let words = code.flat_map(|span| span.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_reference_names_every_word_that_the_checker_knows() {
    use din_program::schema::{LabelKind, MetricName};
    let language = explained(&page("language.md"));
    let library = explained(&page("stdlib.md"));
    let mut known: Vec<(&str, &str)> = Vec::new();
    known.extend(value::Builtin::all().map(|(name, _)| ("builtin function", name)));
    known.extend(train::SETTINGS.map(|word| ("setting of `train`", word)));
    known.extend(table::OPTIONS.map(|word| ("option of tables", word)));
    known.extend(distribution::DistributionName::ALL.map(|(word, _)| ("distribution", word)));
    known.extend(conform::TypeWord::ALL.map(|(word, _)| ("type", word)));
    known.extend(LabelKind::words().map(|word| ("kind of label", word)));
    known.extend(computed::FUNCTIONS.map(|word| ("function of a column", word)));
    known.extend(MetricName::ALL.map(|metric| ("metric", metric.text())));
    assert!(known.len() > 80, "{} words", known.len());
    let mut missing: Vec<String> = Vec::new();
    missing.extend(known.iter().filter(|(_, word)| !language.contains(*word)).map(|(what, w)| format!("{what} `{w}`")));
    // The library's items, schedules and metrics among them, and what they may be given.
    for (module, text) in library_sources() {
        let file = din_grammar::parse(text, din_grammar::FileId(0)).unwrap();
        for item in &file.items {
            let Some(name) = item.name() else { continue };
            if !library.contains(&name.name) {
                missing.push(format!("`{module}.{}`", name.name));
            }
        }
    }
    assert!(missing.is_empty(), "docs/reference does not explain {missing:?}");
}
