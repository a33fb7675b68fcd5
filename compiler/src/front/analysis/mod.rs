//! What an editor asks of a spec: which definition a name stands for, where else it stands, and
//! what is known of a value, without any run of the model.
//!
//! [`analyse`] checks a file as [`super::check`] and [`super::check_library`] do, and keeps what
//! they forget. It reads a file that has syntax errors as far as
//! [`parse_recovering`](din_grammar::parse_recovering) does. Like the rest of the compiler it opens
//! no files.
//!
//! Names are resolved over the syntax tree (`resolve`, `declare`), so that a faulty file has them
//! too; values are noted while the checker elaborates (`super::notes`).

mod declare;
mod library;
mod resolve;
mod words;

pub use super::notes::{ValueForm, ValueSummary};
pub use library::{LibraryItem, library_items};
pub use words::{label_kinds, table_options, train_settings, type_words};

use super::elaborator::Elaborator;
use super::load::{Loader, Module};
use super::notes::ValueNotes;
use super::{SourceProvider, checked_library, checked_model, sorted, vocabulary};
use din_grammar::ast::{self, File};
use din_grammar::{Diagnostic, FileId, SourceMap, Span};
use resolve::Resolver;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Index of a symbol of an [`Analysis`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolId(pub u32);

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SymbolKind {
    /// `fn`
    Function,
    /// `regularizer`
    Regularizer,
    /// `optimizer`
    Optimizer,
    /// `metric`
    Metric,
    /// `schema`
    Schema,
    /// `model`
    Model,
    /// A module, in an import.
    Module,
    /// Another name for an imported definition: `use m.{a as b}`.
    Alias,
    /// A function that the language has.
    Builtin,
    /// A parameter of a definition.
    Parameter,
    /// A size that a type names: the `n` of `x: [n]`.
    Size,
    /// An axis that a type or `as` names: the `s` of `x: s => [d]`.
    Axis,
    /// `let`
    Value,
    /// `layer`
    Layer,
    /// `param`
    Weight,
    /// `constant`
    Constant,
    /// `state`
    State,
    /// What a `for` binds.
    LoopVariable,
    /// `features`
    Features,
    /// `sequence`
    Sequence,
    /// A field of a group.
    Field,
    /// `label`
    Label,
    /// `key`
    Key,
    /// A table: `embedding`.
    Table,
    /// `hyper`
    Hyper,
    /// `output`
    Output,
    /// `given`, in a test.
    Given,
}

/// A definition.
#[derive(Clone, Debug)]
pub struct Symbol {
    /// As it is written where it is defined.
    pub name: String,
    /// What it is.
    pub kind: SymbolKind,
    /// The place of its name; of a module, the beginning of its file. None of a builtin.
    pub definition: Option<Span>,
    /// The whole definition; for a builtin that of nothing.
    pub whole: Option<Span>,
    /// What it is written as, on one line if it can be: the head of a function, the text of a
    /// field.
    pub heading: String,
    /// Its doc comment, by line.
    pub docs: Vec<String>,
    /// The texts of the parameters of a definition that is called, and of those their names.
    pub parameters: Vec<(String, String)>,
    /// The definition that it belongs to: the group of a field, the function of a parameter.
    pub owner: Option<SymbolId>,
    /// What an alias stands for.
    pub target: Option<SymbolId>,
    /// Where its name can be read; `None` behind a dot only, or where it cannot be named.
    pub visible: Option<Span>,
    /// The place of ` from name`, where the data's column has the name of the field, label or key:
    /// under another name it must be written.
    pub own_column: Option<Span>,
}

/// What a name does at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRole {
    /// It is defined there.
    Definition,
    /// It is imported.
    Import,
    /// It is read.
    Read,
    /// It is given a new value.
    Write,
}

/// A name at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameOccurrence {
    /// The place.
    pub span: Span,
    /// What stands there.
    pub symbol: SymbolId,
    /// What it does there.
    pub role: NameRole,
}

/// What [`analyse`] finds.
#[derive(Debug)]
pub struct Analysis {
    /// As `din check` gives them: those of a model, or else of a library.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read; the one that was asked for is the first.
    pub sources: SourceMap,
    /// Its syntax tree.
    pub tree: Arc<File>,
    /// Whether it has no syntax errors.
    pub whole: bool,
    symbols: Vec<Symbol>,
    occurrences: Vec<NameOccurrence>,
    values: FxHashMap<(u32, u32), Vec<ValueSummary>>,
}

/// The names of a file without its faults and values, which takes a fraction of [`analyse`].
pub fn analyse_names(name: &str, text: &str, provider: &dyn SourceProvider) -> Analysis {
    let mut loader = Loader::new(provider);
    let (root, diagnostics) = loader.root_recovering(name, text);
    let Loader { mut modules, sources, .. } = loader;
    let (symbols, occurrences) = names_of(&modules, &sources, root);
    let tree = modules.swap_remove(root).file;
    let whole = diagnostics.is_empty();
    Analysis { diagnostics, sources, tree, whole, symbols, occurrences, values: FxHashMap::default() }
}

fn names_of(modules: &[Module], sources: &SourceMap, root: usize) -> (Vec<Symbol>, Vec<NameOccurrence>) {
    let Resolver { symbols, mut occurrences, .. } = Resolver::run(modules, sources, root);
    occurrences.sort_by_key(|o| (o.span.start, o.span.end));
    occurrences.dedup_by_key(|o| (o.span.start, o.span.end));
    (symbols, occurrences)
}

/// Analyses the file `text`; `name` is how diagnostics call it.
pub fn analyse(name: &str, text: &str, provider: &dyn SourceProvider) -> Analysis {
    let mut loader = Loader::new(provider);
    let (root, syntax) = loader.root_recovering(name, text);
    let Loader { mut modules, mut sources, diagnostics, .. } = loader;
    let (symbols, occurrences) = names_of(&modules, &sources, root);
    let vocabularies = vocabulary::read(provider, &modules, &mut sources);
    let mut elaborator = Elaborator::new(&modules, &sources, &vocabularies);
    elaborator.diagnostics = syntax.clone();
    elaborator.diagnostics.extend(diagnostics);
    elaborator.notes = Some(ValueNotes::default());
    if modules[root].file.models().next().is_some() {
        checked_model(&mut elaborator, root, &[]);
    } else {
        checked_library(&mut elaborator, root);
    }
    let notes = elaborator.notes.take().expect("the notes that were given above");
    let whole = syntax.is_empty();
    // What is missing in a file with syntax errors is no fault of the rest.
    let diagnostics = sorted(if whole { std::mem::take(&mut elaborator.diagnostics) } else { syntax });
    drop(elaborator);
    let tree = modules.swap_remove(root).file;
    Analysis { diagnostics, sources, tree, whole, symbols, occurrences, values: notes.values }
}

impl Analysis {
    /// The symbol of an index of this analysis.
    pub fn symbol(&self, id: SymbolId) -> &Symbol {
        &self.symbols[id.0 as usize]
    }

    /// All symbols.
    pub fn symbols(&self) -> impl Iterator<Item = (SymbolId, &Symbol)> {
        self.symbols.iter().zip(0..).map(|(symbol, index)| (SymbolId(index), symbol))
    }

    /// The names in the file, in its order.
    pub fn occurrences(&self) -> &[NameOccurrence] {
        &self.occurrences
    }

    /// The name at a byte of the file, or that ends there.
    pub fn occurrence_at(&self, offset: usize) -> Option<&NameOccurrence> {
        let at = |o: &&NameOccurrence| o.span.start as usize <= offset && offset <= o.span.end as usize;
        let behind = self.occurrences.partition_point(|o| o.span.start as usize <= offset);
        // A name that begins there comes before one that ends there.
        self.occurrences[..behind].iter().rev().take(2).find(at)
    }

    /// What an alias stands for at last; any other symbol itself.
    pub fn target(&self, id: SymbolId) -> SymbolId {
        self.symbol(id).target.unwrap_or(id)
    }

    /// The symbol that is defined at a place.
    pub fn defined_at(&self, span: Span) -> Option<SymbolId> {
        self.symbols().find(|(_, s)| s.definition == Some(span)).map(|(id, _)| id)
    }

    /// The values that were found at a place: none where it is faulty or never reached, several
    /// where a function is called with different ones.
    pub fn values(&self, span: Span) -> &[ValueSummary] {
        if span.file != FileId(0) {
            return &[];
        }
        self.values.get(&(span.start, span.end)).map_or(&[], Vec::as_slice)
    }

    /// The symbols that a name can stand for at a byte of the file, the nearest first.
    pub fn visible_at(&self, offset: usize) -> Vec<SymbolId> {
        let seen = |s: &Symbol| {
            let holds = |v: &Span| v.file == FileId(0) && v.start as usize <= offset && offset <= v.end as usize;
            s.visible.filter(holds)
        };
        let length = |(id, s): (SymbolId, &Symbol)| seen(s).map(|visible| (visible.end - visible.start, id));
        let mut found: Vec<(u32, SymbolId)> = self.symbols().filter_map(length).collect();
        found.sort_by_key(|(length, _)| *length);
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// What a name stands for at a byte of the file.
    pub fn lookup(&self, name: &str, offset: usize) -> Option<SymbolId> {
        self.visible_at(offset).into_iter().find(|id| self.symbol(*id).name == name)
    }

    /// The fields of a group.
    pub fn fields_of(&self, group: SymbolId) -> Vec<SymbolId> {
        let of = |s: &Symbol| s.kind == SymbolKind::Field && s.owner == Some(group);
        self.symbols().filter(|(_, s)| of(s)).map(|(id, _)| id).collect()
    }
}

impl SymbolKind {
    /// The word that messages call it by.
    pub fn text(self) -> &'static str {
        match self {
            SymbolKind::Function => "function",
            SymbolKind::Regularizer => "regularizer",
            SymbolKind::Optimizer => "optimizer",
            SymbolKind::Metric => "metric",
            SymbolKind::Schema => "schema",
            SymbolKind::Model => "model",
            SymbolKind::Module => "module",
            SymbolKind::Alias => "import",
            SymbolKind::Builtin => "function of the language",
            SymbolKind::Parameter => "parameter",
            SymbolKind::Size => "size",
            SymbolKind::Axis => "axis",
            SymbolKind::Value => "value",
            SymbolKind::Layer => "layer",
            SymbolKind::Weight => "weight",
            SymbolKind::Constant => "constant",
            SymbolKind::State => "state",
            SymbolKind::LoopVariable => "loop variable",
            SymbolKind::Features => "features",
            SymbolKind::Sequence => "sequence",
            SymbolKind::Field => "field",
            SymbolKind::Label => "label",
            SymbolKind::Key => "key",
            SymbolKind::Table => "table",
            SymbolKind::Hyper => "hyper-parameter",
            SymbolKind::Output => "output",
            SymbolKind::Given => "given value",
        }
    }

    /// Of an item of a file.
    fn of_item(item: &ast::Item) -> Option<Self> {
        Some(match item {
            ast::Item::Function(_) => Self::Function,
            ast::Item::Regularizer(_) => Self::Regularizer,
            ast::Item::Optimizer(_) => Self::Optimizer,
            ast::Item::Metric(_) => Self::Metric,
            ast::Item::Schema(_) => Self::Schema,
            ast::Item::Model(_) => Self::Model,
            ast::Item::Test(_) => return None,
        })
    }
}
