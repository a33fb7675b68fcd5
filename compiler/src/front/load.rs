//! Modules: the file itself, the embedded standard library and files beside the model. Resolves
//! imports and top-level names.

use super::value::nearest;
use super::{SETTING, SourceProvider};
use din_grammar::{Diagnostic, FileId, SourceMap, Span, ast};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// The standard library, by module name.
pub(super) const LIBRARY: [(&str, &str); 14] = [
    ("std.activation", include_str!("../../../stdlib/activation.din")),
    ("std.attention", include_str!("../../../stdlib/attention.din")),
    ("std.interaction", include_str!("../../../stdlib/interaction.din")),
    ("std.layer", include_str!("../../../stdlib/layer.din")),
    ("std.list", include_str!("../../../stdlib/list.din")),
    ("std.loss", include_str!("../../../stdlib/loss.din")),
    ("std.metric", include_str!("../../../stdlib/metric.din")),
    ("std.multitask", include_str!("../../../stdlib/multitask.din")),
    ("std.optimizer", include_str!("../../../stdlib/optimizer.din")),
    ("std.pooling", include_str!("../../../stdlib/pooling.din")),
    ("std.regularizer", include_str!("../../../stdlib/regularizer.din")),
    ("std.schedule", include_str!("../../../stdlib/schedule.din")),
    ("std.recurrent", include_str!("../../../stdlib/recurrent.din")),
    ("std.transformer", include_str!("../../../stdlib/transformer.din")),
];

/// Most files of one compilation.
const MAX_MODULES: usize = 64;

/// One parsed file.
pub(super) struct Module {
    /// `std.activation`; empty for the file that is checked.
    pub name: String,
    pub file: Arc<ast::File>,
    /// What a top-level name stands for. Nothing names a model, so its name is none of them.
    pub names: FxHashMap<String, Definition>,
}

/// What a top-level name of a module stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Definition {
    /// `None` where the import failed. That is reported; the use of the name is not.
    pub item: Option<DefinitionId>,
    /// Where the name was introduced: the import or the item.
    pub span: Span,
}

/// Where a top-level item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DefinitionId {
    pub module: usize,
    /// Index into the items of the module's file.
    pub item: usize,
}

/// How far an imported module has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loading {
    /// It is being loaded: an import of it now closes a circle.
    InProgress,
    /// Index into [`Loader::modules`].
    Loaded(usize),
    /// It is not there or does not parse, which is reported.
    Failed,
}

pub(super) struct Loader<'p> {
    provider: &'p dyn SourceProvider,
    pub modules: Vec<Module>,
    pub sources: SourceMap,
    pub diagnostics: Vec<Diagnostic>,
    /// Imported modules by name.
    known: FxHashMap<String, Loading>,
}

pub(super) fn item_kind(item: &ast::Item) -> &'static str {
    match item {
        ast::Item::Function(_) => "function",
        ast::Item::Regularizer(_) => "regularizer",
        ast::Item::Optimizer(_) => "optimizer",
        ast::Item::Metric(_) => "metric",
        ast::Item::Schema(_) => "schema",
        ast::Item::Model(_) => "model",
        ast::Item::Test(_) => "test",
    }
}

/// A module as it is found.
struct Source {
    /// How a program calls it, wherever it lies.
    recorded: String,
    /// How diagnostics call it.
    display: String,
    text: String,
}

/// How a program names module `shared.towers`, a file beside the model: `shared/towers.din`.
pub fn recorded_name(module: &[String]) -> String {
    format!("{}.din", module.join("/"))
}

impl<'p> Loader<'p> {
    pub fn new(provider: &'p dyn SourceProvider) -> Self {
        Loader {
            provider,
            modules: Vec::new(),
            sources: SourceMap::default(),
            diagnostics: Vec::new(),
            known: FxHashMap::default(),
        }
    }

    /// Loads the file that is checked and everything it imports. Returns the file's index, or
    /// `None` if it does not parse.
    pub fn root(&mut self, name: &str, text: &str) -> Option<usize> {
        let recorded = Path::new(name).file_name().map_or(name.into(), |file| file.to_string_lossy());
        let file = self.sources.add_recorded(recorded, name, text);
        self.module(String::new(), text, file)
    }

    /// Loads as much of the file as can be read, and what it imports: the file's index, and its
    /// syntax errors.
    pub fn root_recovering(&mut self, name: &str, text: &str) -> (usize, Vec<Diagnostic>) {
        let recorded = Path::new(name).file_name().map_or(name.into(), |file| file.to_string_lossy());
        let id = self.sources.add_recorded(recorded, name, text);
        let (file, errors) = din_grammar::parse_recovering(text, id);
        (self.parsed_module(String::new(), Arc::new(file)), errors)
    }

    /// The values that are set for hyper-parameters, each with its place in a source of its own.
    pub fn settings(&mut self, sets: &[(String, String)]) -> Vec<(String, String, Span)> {
        let placed = |(key, value): &(String, String)| {
            let file = self.sources.add(SETTING, format!("{key}={value}"));
            let begin = key.len() + 1;
            (key.clone(), value.clone(), Span::new(file, begin, begin + value.len()))
        };
        sets.iter().map(placed).collect()
    }

    fn module(&mut self, name: String, text: &str, id: FileId) -> Option<usize> {
        match din_grammar::parse(text, id) {
            Ok(file) => Some(self.parsed_module(name, Arc::new(file))),
            Err(errors) => {
                self.diagnostics.extend(errors);
                None
            }
        }
    }

    fn parsed_module(&mut self, name: String, file: Arc<ast::File>) -> usize {
        if let Some(edition) = &file.edition
            && edition.year != 2026
        {
            self.diagnostics.push(
                Diagnostic::error("E0207", format!("unknown edition {}", edition.year), edition.span, "not an edition")
                    .help("write `edition 2026`"),
            );
        }
        let mut names: FxHashMap<String, Definition> = FxHashMap::default();
        let mut taken: Vec<(&ast::Ident, Definition)> = Vec::new();
        let mut meant: Vec<(String, Definition)> = Vec::new();
        for import in &file.imports {
            let path: Vec<&str> = import.path.iter().map(|i| i.name.as_str()).collect();
            let first = import.path.first().expect("the grammar demands a path");
            let span = import.path.iter().fold(first.span, |span, part| span.to(part.span));
            if let [only] = import.names.as_slice()
                && let Some((error, exported)) = self.module_for_name(&path, only, span)
            {
                self.diagnostics.push(error);
                // What was meant to be imported is not reported again where it is used.
                let lost = Definition { item: None, span: only.name.span };
                meant.extend(exported.into_iter().map(|name| (name, lost)));
                continue;
            }
            let Some(module) = self.import(&path, span) else { continue };
            for wanted in &import.names {
                let bound = wanted.alias.as_ref().unwrap_or(&wanted.name);
                let item = self.exported(module, &wanted.name, &path.join("."));
                let item = item.map(|item| DefinitionId { module, item });
                taken.push((bound, Definition { item, span: bound.span }));
            }
        }
        let index = self.modules.len();
        for (item, i) in file.items.iter().zip(0..) {
            let Some(name) = item.name().filter(|_| !matches!(item, ast::Item::Model(_))) else { continue };
            let item = Some(DefinitionId { module: index, item: i });
            taken.push((name, Definition { item, span: name.span }));
        }
        for (name, definition) in taken {
            if let Some(first) = names.get(&name.name) {
                self.diagnostics.push(
                    Diagnostic::error("E0203", format!("`{}` is defined twice", name.name), name.span, "again here")
                        .label(first.span, "first here")
                        .help("rename one of them, or import under another name: `use m.{a as b}`"),
                );
            } else {
                names.insert(name.name.clone(), definition);
            }
        }
        // Names of imports that failed altogether are poison too.
        for import in &file.imports {
            for wanted in &import.names {
                let bound = wanted.alias.as_ref().unwrap_or(&wanted.name);
                names.entry(bound.name.clone()).or_insert(Definition { item: None, span: bound.span });
            }
        }
        for (name, lost) in meant {
            names.entry(name).or_insert(lost);
        }
        self.modules.push(Module { name, file, names });
        index
    }

    fn exported(&mut self, module: usize, name: &ast::Ident, path: &str) -> Option<usize> {
        let items = &self.modules[module].file.items;
        let called = |i: &ast::Item| i.name().is_some_and(|n| n.name == name.name);
        let model = |i: &ast::Item| matches!(i, ast::Item::Model(_));
        let found = items.iter().position(|i| called(i) && !model(i)).or_else(|| items.iter().position(called));
        match found.map(|i| (i, &items[i])) {
            Some((_, ast::Item::Model(_))) => {
                let d = Diagnostic::error(
                    "E0206",
                    format!("`{}` is a model; models are not imported", name.name),
                    name.span,
                    "not a function, optimizer, regularizer, metric or schema",
                );
                self.diagnostics
                    .push(d.help("move what both models share into a function or a schema, and import that"));
                None
            }
            Some((i, _)) => Some(i),
            None => {
                let all: Vec<&str> = items.iter().filter_map(|i| i.name()).map(|name| name.name.as_str()).collect();
                let mut d = Diagnostic::error(
                    "E0202",
                    format!("`{path}` has no `{}`", name.name),
                    name.span,
                    format!("not defined in `{path}`"),
                );
                d = match nearest(&name.name, all.iter().copied()) {
                    Some(near) => d.did_you_mean(name.span, near),
                    None if let Some(help) = super::foreign::exported(path, &name.name) => d.help(help),
                    None if all.len() <= 24 && !all.is_empty() => d.help(format!("it has {}", listed(&all))),
                    None => d,
                };
                self.diagnostics.push(d);
                None
            }
        }
    }

    /// A module, if there is one.
    fn source(&self, path: &[&str]) -> Option<Source> {
        if path.first() == Some(&"std") {
            let name = path.join(".");
            let (_, text) = LIBRARY.iter().find(|(n, _)| *n == name)?;
            return Some(Source { recorded: name.clone(), display: name, text: text.to_string() });
        }
        let parts: Vec<String> = path.iter().map(|s| s.to_string()).collect();
        let (display, text) = self.provider.read(&parts)?;
        Some(Source { recorded: recorded_name(&parts), display, text })
    }

    /// `use std.loss`: the error of an import whose only name, behind no module, is that of a
    /// module, with the names that the module has.
    fn module_for_name(&self, path: &[&str], wanted: &ast::UseName, span: Span) -> Option<(Diagnostic, Vec<String>)> {
        let full: Vec<&str> = path.iter().copied().chain([wanted.name.name.as_str()]).collect();
        let Source { text, .. } = self.source(&full)?;
        if self.source(path).is_some() {
            return None;
        }
        let items = din_grammar::parse(&text, FileId::default()).map(|file| file.items).unwrap_or_default();
        let exported: Vec<String> = items
            .iter()
            .filter(|i| !matches!(i, ast::Item::Model(_)))
            .filter_map(|i| i.name())
            .map(|n| n.name.clone())
            .collect();
        let module = full.join(".");
        let example = exported.first().map_or("name", String::as_str);
        let help = format!("`use` takes names out of a module: `use {module}.{{{example}}}`");
        let span = span.to(wanted.name.span);
        let error =
            Diagnostic::error("E0201", format!("cannot import the module `{module}` itself"), span, "names a module");
        Some((error.help(help), exported))
    }

    fn import(&mut self, path: &[&str], span: Span) -> Option<usize> {
        let name = path.join(".");
        match self.known.get(&name) {
            Some(Loading::Failed) => return None,
            Some(Loading::Loaded(index)) => return Some(*index),
            Some(Loading::InProgress) => {
                self.diagnostics.push(
                    Diagnostic::error("E0205", format!("`{name}` imports itself"), span, "closes the circle")
                        .help("move what both files need into a third one"),
                );
                return None;
            }
            None => {}
        }
        if self.known.len() >= MAX_MODULES {
            let d = Diagnostic::error(
                "E0704",
                format!("more than {MAX_MODULES} files are imported"),
                span,
                "this import is one too many",
            );
            self.diagnostics.push(d.help("join small files"));
            return None;
        }
        let Some(Source { recorded, display, text }) = self.source(path) else {
            let mut d = Diagnostic::error("E0201", format!("there is no module `{name}`"), span, "not found");
            d = if path.first() == Some(&"std") {
                let all: Vec<&str> = LIBRARY.iter().map(|(n, _)| *n).collect();
                match nearest(&name, all.iter().copied()) {
                    Some(near) => d.did_you_mean(span, near),
                    None => d.help(format!("the library has {}", listed(&all))),
                }
            } else {
                let file = format!("`{}.din`", path.join("/"));
                let own = format!("std.{name}");
                d.help(match LIBRARY.iter().any(|(n, _)| *n == own) {
                    true => format!("the library's module is `{own}`; {file} would be a file beside the model"),
                    false => format!("expected the file {file} beside the model"),
                })
            };
            self.diagnostics.push(d);
            self.known.insert(name, Loading::Failed);
            return None;
        };
        self.known.insert(name.clone(), Loading::InProgress);
        let id = self.sources.add_recorded(recorded, display, text.as_str());
        let index = match path.first() {
            Some(&"std") => Some(self.parsed_module(name.clone(), library_module(&name, &text, id))),
            _ => self.module(name.clone(), &text, id),
        };
        self.known.insert(name, index.map_or(Loading::Failed, Loading::Loaded));
        index
    }
}

/// A module of the library, parsed once in a process for each number that it has as a file: most
/// files import the same modules in the same order.
fn library_module(name: &str, text: &str, id: FileId) -> Arc<ast::File> {
    static PARSED: Mutex<BTreeMap<(String, FileId), Arc<ast::File>>> = Mutex::new(BTreeMap::new());
    let key = (name.to_string(), id);
    // The lock is not held while a module is parsed; whoever comes second parses it once more.
    let parsed = || PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = parsed().get(&key) {
        return file.clone();
    }
    let file = din_grammar::parse(text, id).expect("a test parses every module of the library");
    parsed().entry(key).or_insert(Arc::new(file)).clone()
}

/// `` `a`, `b` and `c` ``
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
