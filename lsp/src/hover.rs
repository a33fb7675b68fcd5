//! What is said of a name under the cursor.

use crate::documents::{Document, Documents};
use din_compiler::front::analysis::{Analysis, NameOccurrence, Symbol, SymbolKind, ValueForm, ValueSummary};
use gen_lsp_types::{Contents, Hover, MarkupContent, MarkupKind, Position};

pub(crate) fn hover(documents: &Documents, document: &Document, position: Position) -> Option<Hover> {
    let analysis = documents.analysis(document);
    let occurrence = analysis.occurrence_at(document.offset(position))?;
    let value = describe(&analysis, occurrence);
    let contents = Contents::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value });
    Some(Hover { contents, range: Some(document.range(occurrence.span)) })
}

/// The heading of the definition with the values at hand, then its documentation, in Markdown.
fn describe(analysis: &Analysis, occurrence: &NameOccurrence) -> String {
    let symbol = analysis.symbol(occurrence.symbol);
    let mut text = format!("```din\n{}\n```\n", symbol.heading);
    let kind = match (symbol.kind, symbol.owner.map(|owner| analysis.symbol(owner))) {
        (SymbolKind::Alias, _) => "imported under another name".to_owned(),
        (kind @ (SymbolKind::Field | SymbolKind::Parameter), Some(owner)) => {
            format!("{} of `{}`", kind.text(), owner.name)
        }
        (kind, _) => kind.text().to_owned(),
    };
    text += &kind;
    let values = values_of(analysis, occurrence, symbol);
    let shown: Vec<String> = values.iter().map(value_text).collect();
    match shown.as_slice() {
        [] => {}
        [only] => text += &format!(": {only}"),
        several => {
            text += ", by call:\n";
            several.iter().for_each(|value| text += &format!("\n- {value}"));
        }
    }
    text.push('\n');
    if let Some(module) = module_of(analysis, symbol) {
        text += &format!("\nof `{module}`\n");
    }
    if !symbol.docs.is_empty() {
        text += &format!("\n---\n\n{}\n", symbol.docs.join("\n"));
    }
    text
}

/// What is known of the value at this place, or else where the name is defined. What functions,
/// groups and the like are is said by their heading.
fn values_of(analysis: &Analysis, occurrence: &NameOccurrence, symbol: &Symbol) -> Vec<ValueSummary> {
    let here = analysis.values(occurrence.span);
    let values = match (here, symbol.definition) {
        ([], Some(definition)) => analysis.values(definition),
        (here, _) => here,
    };
    let told = |value: &&ValueSummary| match value.form {
        ValueForm::Number
        | ValueForm::Bool
        | ValueForm::Text
        | ValueForm::List
        | ValueForm::Tuple
        | ValueForm::Tensor
        | ValueForm::Prediction
        | ValueForm::Quantity => true,
        ValueForm::Function => symbol.kind == SymbolKind::Parameter,
        ValueForm::Table | ValueForm::Group | ValueForm::Field | ValueForm::Label => false,
    };
    values.iter().filter(told).cloned().collect()
}

fn value_text(value: &ValueSummary) -> String {
    match (value.form, &value.axis) {
        (ValueForm::Prediction | ValueForm::Function, _) => value.text.clone(),
        (_, Some(axis)) => format!("`{}`, {axis}", value.text),
        (_, None) => format!("`{}`", value.text),
    }
}

/// The module of a definition of another file.
fn module_of<'a>(analysis: &'a Analysis, symbol: &Symbol) -> Option<&'a str> {
    let at = symbol.target.map_or(symbol.definition, |target| analysis.symbol(target).definition)?;
    let elsewhere = at.file.0 != 0 && symbol.kind != SymbolKind::Module;
    let file = analysis.sources.get(at.file).filter(|_| elsewhere)?;
    Some(&file.recorded)
}
