//! The parameters of the call that is being written.

use crate::context::enclosing_call;
use crate::documents::{Document, Documents};
use din_compiler::front::analysis::{Analysis, library_items};
use gen_lsp_types::{
    ActiveParameter, Documentation, MarkupContent, MarkupKind, ParameterInformation, ParameterInformationLabel,
    Position, SignatureHelp, SignatureInformation,
};

/// What a name that is called is.
pub(crate) struct CalledSignature {
    pub heading: String,
    pub docs: Vec<String>,
    /// Texts and names.
    pub parameters: Vec<(String, String)>,
}

/// What stands behind the name of a call at a byte of the file: also of the library where it is not
/// imported yet.
pub(crate) fn called(analysis: &Analysis, name: &str, offset: usize) -> Option<CalledSignature> {
    if let Some(id) = analysis.lookup(name, offset) {
        let symbol = analysis.symbol(analysis.target(id));
        let (heading, docs) = (symbol.heading.clone(), symbol.docs.clone());
        return Some(CalledSignature { heading, docs, parameters: symbol.parameters.clone() });
    }
    let item = library_items().iter().find(|item| item.name == name)?;
    let (heading, docs) = (item.heading.clone(), item.docs.clone());
    Some(CalledSignature { heading, docs, parameters: item.parameters.clone() })
}

pub(crate) fn help(documents: &Documents, document: &Document, position: Position) -> Option<SignatureHelp> {
    let analysis = documents.analysis(document);
    let offset = document.offset(position);
    let call = enclosing_call(&document.text, offset)?;
    let signature = called(&analysis, &call.callee, offset)?;
    let named = call.named.and_then(|name| signature.parameters.iter().position(|(_, own)| *own == name));
    let active = named.unwrap_or(call.argument) as u32;
    let parameters = signature.parameters.iter().map(|(text, _)| ParameterInformation {
        label: ParameterInformationLabel::String(text.clone()),
        documentation: None,
    });
    let information = SignatureInformation {
        label: signature.heading,
        documentation: (!signature.docs.is_empty()).then(|| markdown(signature.docs.join("\n"))),
        parameters: Some(parameters.collect()),
        active_parameter: Some(ActiveParameter::Int(active)),
    };
    Some(SignatureHelp {
        signatures: vec![information],
        active_signature: Some(0),
        active_parameter: Some(ActiveParameter::Int(active)),
    })
}

pub(crate) fn markdown(value: String) -> Documentation {
    Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value })
}
