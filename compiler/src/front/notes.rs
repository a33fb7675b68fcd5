//! What is noted of the values in the file at hand while it is checked, for editors.

use super::distribution::DistributionName;
use super::elaborator::Elaborator;
use super::scope::NameScope;
use super::value::{Callee, ExprValue, number_text};
use crate::graph::{BATCH, GLOBAL};
use din_grammar::{FileId, Span};
use rustc_hash::FxHashMap;

/// What is known of a value before any data are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSummary {
    /// What kind of value it is.
    pub form: ValueForm,
    /// Itself, in short: `[48]`, `visited => [good_id: 16, shop_id: 16]`, `0.001`, `[200, 80]`.
    pub text: String,
    /// Of a tensor, how often there is one: `one per row`, `one per entry of visited`.
    pub axis: Option<String>,
    /// The names that may stand behind a dot: fields of a record or group, parts of a prediction.
    pub fields: Vec<String>,
}

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueForm {
    /// A number that is known at compile time.
    Number,
    /// A bool that is known at compile time.
    Bool,
    /// A text.
    Text,
    /// A list.
    List,
    /// A tuple.
    Tuple,
    /// A function, a layer or a partial application.
    Function,
    /// A table, or the tables of several fields.
    Table,
    /// A value that the network computes.
    Tensor,
    /// A `features` or `sequence` block.
    Group,
    /// A field of a group.
    Field,
    /// A prediction.
    Prediction,
    /// A label.
    Label,
    /// An amount of memory.
    Quantity,
}

/// Most different values that are noted at one place; a function has one per call.
const MAX_VALUES: usize = 4;
/// Most items of a list that are shown.
const MAX_ITEMS: usize = 8;

/// Values by place, in the file that is checked.
#[derive(Debug, Default)]
pub(super) struct ValueNotes {
    pub values: FxHashMap<(u32, u32), Vec<ValueSummary>>,
}

impl<'a> Elaborator<'a> {
    /// Notes the value at a place, if notes are taken.
    pub(super) fn note(&mut self, scope: &NameScope<'a>, span: Span, value: &ExprValue<'a>) {
        if self.notes.is_none() || span.file != FileId(0) {
            return;
        }
        let Some(summary) = self.summary(scope, value) else { return };
        let notes = self.notes.as_mut().expect("notes are taken, as seen above");
        let known = notes.values.entry((span.start, span.end)).or_default();
        if known.len() < MAX_VALUES && !known.contains(&summary) {
            known.push(summary);
        }
    }

    /// Notes what the names of sizes stand for in a body.
    pub(super) fn note_sizes(&mut self, scope: &NameScope<'a>) {
        if self.notes.is_none() || self.sampling {
            return;
        }
        for size in &scope.dimensions {
            if let Some(n) = size.size {
                self.note(scope, size.span, &ExprValue::Number(n as f64));
            }
        }
    }

    fn summary(&self, scope: &NameScope<'a>, value: &ExprValue<'a>) -> Option<ValueSummary> {
        let plain = |form, text: String| Some(ValueSummary { form, text, axis: None, fields: Vec::new() });
        let schema = &self.declarations.schema;
        match value {
            // A definition that is checked by itself has numbers and lists of examples.
            ExprValue::Number(_) | ExprValue::Bool(_) | ExprValue::Text(_) | ExprValue::List(_) if self.sampling => {
                None
            }
            ExprValue::Number(n) => plain(ValueForm::Number, number_text(*n)),
            ExprValue::Bool(b) => plain(ValueForm::Bool, b.to_string()),
            ExprValue::Text(text) => plain(ValueForm::Text, format!("\"{text}\"")),
            ExprValue::List(items) => plain(ValueForm::List, self.items_text(scope, items, "[", "]")),
            ExprValue::Tuple(items) => plain(ValueForm::Tuple, self.items_text(scope, items, "(", ")")),
            ExprValue::Function(f) => {
                let form = match &**f {
                    Callee::Table(_) | Callee::Family(_) => ValueForm::Table,
                    Callee::Defined { .. } | Callee::Builtin(_) | Callee::Partial(_) | Callee::Layer { .. } => {
                        ValueForm::Function
                    }
                };
                plain(form, self.describe(value))
            }
            ExprValue::Tensor(t) => {
                let node = self.walk.graph.node(t.node);
                let size = |n: usize| self.size_text(scope, n);
                let shape = match &t.fields {
                    Some(fields) => {
                        let parts: Vec<String> =
                            fields.iter().map(|f| format!("{}: {}", f.name, size(f.width))).collect();
                        format!("[{}]", parts.join(", "))
                    }
                    None => {
                        let parts: Vec<String> = node.shape.0.iter().map(|&n| size(n)).collect();
                        format!("[{}]", parts.join(", "))
                    }
                };
                let axes = &self.walk.graph.axes;
                let axis = match node.axis {
                    GLOBAL => "one for the whole batch".to_owned(),
                    BATCH => "one per row".to_owned(),
                    axis if Some(axis) == axes.request() => "one per request".to_owned(),
                    axis => format!("one per entry of {}", axes.axis(axis).name),
                };
                let text = match axes.has_entries(node.axis) {
                    true => format!("{} => {shape}", axes.axis(node.axis).name),
                    false => shape,
                };
                let fields = t.fields.iter().flat_map(|fields| fields.iter().map(|f| f.name.to_string())).collect();
                Some(ValueSummary { form: ValueForm::Tensor, text, axis: Some(axis), fields })
            }
            ExprValue::Group(g) => {
                let group = &self.declarations.groups[*g];
                let fields = group.features.clone().map(|f| schema.features[f].name.clone()).collect();
                let text = group.name.to_owned();
                Some(ValueSummary { form: ValueForm::Group, text, axis: None, fields })
            }
            ExprValue::Feature(f) => plain(ValueForm::Field, schema.features[*f].path()),
            ExprValue::Prediction { distribution, .. } => {
                let fields = DistributionName::of(*distribution).fields();
                let fields = fields.iter().map(|field| (*field).to_owned()).collect();
                Some(ValueSummary { form: ValueForm::Prediction, text: self.describe(value), axis: None, fields })
            }
            ExprValue::Label { .. } => {
                let fields = ["label", "present"].map(str::to_owned).to_vec();
                Some(ValueSummary { form: ValueForm::Label, text: self.describe(value), axis: None, fields })
            }
            ExprValue::Quantity(bytes) => plain(ValueForm::Quantity, format!("{} bytes", number_text(*bytes))),
            ExprValue::Nothing | ExprValue::Poison => None,
        }
    }

    /// A size; in a definition that is checked by itself the name of its type, where it has one.
    fn size_text(&self, scope: &NameScope<'a>, n: usize) -> String {
        let named = scope.dimensions.iter().filter(|_| self.sampling).find(|d| d.size == Some(n));
        named.map_or_else(|| n.to_string(), |d| d.name.to_owned())
    }

    fn items_text(&self, scope: &NameScope<'a>, items: &[ExprValue<'a>], open: &str, close: &str) -> String {
        let shown = items.iter().take(MAX_ITEMS);
        let mut parts: Vec<String> =
            shown.map(|item| self.summary(scope, item).map_or_else(|| "…".into(), |s| s.text)).collect();
        if items.len() > MAX_ITEMS {
            parts.push(format!("… {} items", items.len()));
        }
        format!("{open}{}{close}", parts.join(", "))
    }
}
