//! What can be written at a place, with signatures.

use crate::context::{BlockKind, ColumnOwner, NamePlace, enclosing_call, place, prefix};
use crate::documents::{Document, Documents};
use crate::signature::{called, markdown};
use din_compiler::front::analysis::{self, Analysis, LibraryItem, Symbol, SymbolId, SymbolKind, library_items};
use din_compiler::front::library_sources;
use din_grammar::MEMBER_WORDS;
use gen_lsp_types::{CompletionItem, CompletionItemKind, Position, Range, TextEdit};
use std::collections::BTreeSet;
use std::fs;

const ITEM_WORDS: [&str; 9] = ["use", "edition", "fn", "model", "schema", "test", "optimizer", "regularizer", "metric"];
const STATEMENT_WORDS: [&str; 7] = ["let", "layer", "param", "constant", "state", "update", "for"];
const TEST_WORDS: [&str; 4] = ["let", "layer", "given", "expect"];
const FIELD_KINDS: [&str; 2] = ["category", "number"];
const KEY_KINDS: [&str; 2] = ["int64", "string"];

pub(crate) fn complete(documents: &Documents, document: &Document, position: Position) -> Vec<CompletionItem> {
    let analysis = documents.analysis(document);
    let offset = document.offset(position);
    let written = Written { documents, document, analysis: &analysis, offset };
    match place(&document.text, offset) {
        NamePlace::Prose => Vec::new(),
        NamePlace::Module(_) => written.modules(""),
        NamePlace::Imported(module) => written.imported(&module),
        NamePlace::Field(base) => written.fields(&base),
        NamePlace::Axis => written.axes(),
        NamePlace::Line(block) => written.line(block),
        NamePlace::Kind(ColumnOwner::Field) => words(&FIELD_KINDS),
        NamePlace::Kind(ColumnOwner::Label) => words(&analysis::label_kinds()),
        NamePlace::Kind(ColumnOwner::Key) => words(&KEY_KINDS),
        NamePlace::Kind(ColumnOwner::Parameter) => words(&analysis::type_words()),
        NamePlace::Expression => written.names(),
    }
}

fn words(words: &[&str]) -> Vec<CompletionItem> {
    let item = |word: &&str| CompletionItem {
        label: (*word).to_owned(),
        kind: Some(CompletionItemKind::Keyword),
        ..CompletionItem::default()
    };
    words.iter().map(item).collect()
}

fn kind(kind: SymbolKind) -> CompletionItemKind {
    match kind {
        SymbolKind::Function
        | SymbolKind::Regularizer
        | SymbolKind::Optimizer
        | SymbolKind::Metric
        | SymbolKind::Alias
        | SymbolKind::Builtin
        | SymbolKind::Layer
        | SymbolKind::Table => CompletionItemKind::Function,
        SymbolKind::Schema | SymbolKind::Model => CompletionItemKind::Class,
        SymbolKind::Module => CompletionItemKind::Module,
        SymbolKind::Parameter
        | SymbolKind::Value
        | SymbolKind::Weight
        | SymbolKind::Constant
        | SymbolKind::State
        | SymbolKind::LoopVariable
        | SymbolKind::Label
        | SymbolKind::Key
        | SymbolKind::Output
        | SymbolKind::Given => CompletionItemKind::Variable,
        SymbolKind::Size | SymbolKind::Axis => CompletionItemKind::TypeParameter,
        SymbolKind::Features | SymbolKind::Sequence => CompletionItemKind::Struct,
        SymbolKind::Field => CompletionItemKind::Field,
        SymbolKind::Hyper => CompletionItemKind::Constant,
    }
}

/// A document at a place.
struct Written<'a> {
    documents: &'a Documents,
    document: &'a Document,
    analysis: &'a Analysis,
    offset: usize,
}

impl Written<'_> {
    fn item(&self, symbol: &Symbol) -> CompletionItem {
        let value = symbol.definition.and_then(|span| self.analysis.values(span).first());
        let detail = match value {
            Some(value) if symbol.kind == SymbolKind::Value => format!("{}: {}", symbol.name, value.text),
            _ => symbol.heading.clone(),
        };
        CompletionItem {
            label: symbol.name.clone(),
            kind: Some(kind(symbol.kind)),
            detail: Some(detail),
            documentation: (!symbol.docs.is_empty()).then(|| markdown(symbol.docs.join("\n"))),
            // Names of the body come before those of the file, these before those of the language.
            sort_text: Some(match symbol.kind {
                SymbolKind::Builtin => format!("3{}", symbol.name),
                _ if symbol.definition.is_some_and(|span| span.file.0 != 0) => format!("2{}", symbol.name),
                _ => format!("1{}", symbol.name),
            }),
            ..CompletionItem::default()
        }
    }

    fn library_item(&self, item: &LibraryItem) -> CompletionItem {
        CompletionItem {
            label: item.name.clone(),
            kind: Some(kind(item.kind)),
            detail: Some(item.heading.clone()),
            documentation: Some(markdown(format!("of `{}`\n\n{}", item.module, item.docs.join("\n")))),
            sort_text: Some(format!("4{}", item.name)),
            ..CompletionItem::default()
        }
    }

    /// Everything that an expression can name here, and what the library would have.
    fn names(&self) -> Vec<CompletionItem> {
        let mut items = self.arguments();
        let mut seen = BTreeSet::new();
        for id in self.analysis.visible_at(self.offset) {
            let symbol = self.analysis.symbol(id);
            if seen.insert(symbol.name.as_str()) {
                items.push(self.item(symbol));
            }
        }
        items.extend(words(&["training", "true", "false", "if", "else", "over", "where", "as"]));
        if prefix(&self.document.text, self.offset).is_empty() {
            return items;
        }
        for item in library_items().iter().filter(|item| !seen.contains(item.name.as_str())) {
            let at = import_place(self.analysis);
            let position = self.document.lines.position(&self.document.text, at);
            let new_text = format!("use {}.{}\n", item.module, item.name);
            items.push(CompletionItem {
                additional_text_edits: Some(vec![TextEdit {
                    range: Range { start: position, end: position },
                    new_text,
                }]),
                ..self.library_item(item)
            });
        }
        items
    }

    /// The names of arguments of the call at hand.
    fn arguments(&self) -> Vec<CompletionItem> {
        let Some(call) = enclosing_call(&self.document.text, self.offset) else { return Vec::new() };
        let Some(signature) = called(self.analysis, &call.callee, self.offset) else { return Vec::new() };
        let argument = |(text, name): &(String, String)| CompletionItem {
            label: format!("{name} = "),
            filter_text: Some(name.clone()),
            kind: Some(CompletionItemKind::Property),
            detail: Some(text.clone()),
            sort_text: Some(format!("0{name}")),
            ..CompletionItem::default()
        };
        signature.parameters.iter().map(argument).collect()
    }

    fn line(&self, block: BlockKind) -> Vec<CompletionItem> {
        match block {
            BlockKind::File => words(&ITEM_WORDS),
            BlockKind::Members => words(&MEMBER_WORDS),
            BlockKind::Fields => Vec::new(),
            BlockKind::Train => words(analysis::train_settings()),
            BlockKind::Table => words(analysis::table_options()),
            BlockKind::Test => words(&TEST_WORDS),
            BlockKind::Statements => {
                let mut items = words(&STATEMENT_WORDS);
                items.extend(self.names());
                items
            }
        }
    }

    fn axes(&self) -> Vec<CompletionItem> {
        let seen = self.analysis.visible_at(self.offset).into_iter().map(|id| self.analysis.symbol(id));
        let axes = seen.filter(|symbol| matches!(symbol.kind, SymbolKind::Axis | SymbolKind::Sequence));
        axes.map(|symbol| self.item(symbol)).collect()
    }

    /// What can stand behind the dot of a group, a record or a prediction.
    fn fields(&self, base: &str) -> Vec<CompletionItem> {
        let Some(id) = self.analysis.lookup(base, self.offset) else { return Vec::new() };
        let symbol = self.analysis.symbol(id);
        if matches!(symbol.kind, SymbolKind::Features | SymbolKind::Sequence) {
            return self.analysis.fields_of(id).into_iter().map(|id| self.item(self.analysis.symbol(id))).collect();
        }
        let field = |name: &String| CompletionItem {
            label: name.clone(),
            kind: Some(CompletionItemKind::Field),
            ..CompletionItem::default()
        };
        self.field_names(id).iter().map(field).collect()
    }

    /// The fields of the values that a name was seen with.
    fn field_names(&self, id: SymbolId) -> Vec<String> {
        let places = self.analysis.occurrences().iter().filter(|o| o.symbol == id).map(|o| o.span);
        let values = places.flat_map(|span| self.analysis.values(span));
        let names: BTreeSet<String> = values.flat_map(|value| value.fields.iter().cloned()).collect();
        names.into_iter().collect()
    }

    fn modules(&self, below: &str) -> Vec<CompletionItem> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        if below.is_empty() {
            names.insert("std".into());
            names.extend(self.specs_beside());
        }
        for (module, _) in library_sources() {
            let rest = module.strip_prefix(below).and_then(|rest| rest.strip_prefix('.'));
            names.extend(rest.map(str::to_owned));
        }
        let item = |label: String| CompletionItem {
            label,
            kind: Some(CompletionItemKind::Module),
            ..CompletionItem::default()
        };
        names.into_iter().map(item).collect()
    }

    /// The names of a module, and the modules below it.
    fn imported(&self, module: &str) -> Vec<CompletionItem> {
        let mut items = self.modules(module);
        if module.starts_with("std") {
            items.extend(library_items().iter().filter(|item| item.module == module).map(|i| self.library_item(i)));
            return items;
        }
        let beside = self.documents.beside(self.document.path.as_deref());
        let parts: Vec<String> = module.split('.').map(str::to_owned).collect();
        let Some((name, text)) = din_compiler::front::SourceProvider::read(&beside, &parts) else { return items };
        let other = din_compiler::front::analysis::analyse_names(&name, &text, &beside);
        let exported = other.symbols().map(|(_, symbol)| symbol).filter(|symbol| {
            let own = symbol.definition.is_some_and(|span| span.file.0 == 0);
            own && matches!(
                symbol.kind,
                SymbolKind::Function
                    | SymbolKind::Regularizer
                    | SymbolKind::Optimizer
                    | SymbolKind::Metric
                    | SymbolKind::Schema
            )
        });
        items.extend(exported.map(|symbol| self.item(symbol)));
        items
    }

    /// The modules that lie beside the document.
    fn specs_beside(&self) -> Vec<String> {
        let own = self.document.path.as_deref();
        let Some(folder) = own.and_then(std::path::Path::parent) else { return Vec::new() };
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        let specs = paths.filter(|path| path.extension().is_some_and(|e| e == "din") && Some(path.as_path()) != own);
        specs.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    }
}

/// Where another import is added: behind the last, or before the first definition.
fn import_place(analysis: &Analysis) -> usize {
    let text = analysis.sources.files().first().map_or("", |file| file.text.as_str());
    let head = analysis.tree.imports.last().map(|import| import.span);
    match head.or(analysis.tree.edition.as_ref().map(|edition| edition.span)) {
        Some(last) => {
            let end = last.end as usize;
            text[end..].find('\n').map_or(text.len(), |line| end + line + 1)
        }
        None => 0,
    }
}
