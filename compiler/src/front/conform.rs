//! Types of parameters and results: what an argument may be, sizes and axes unified.

use super::distribution::DistributionName;
use super::elaborator::Elaborator;
use super::scope::{NameScope, NamedAxis, Referent, SizeBinding};
use super::value::{ExprValue, Tensor, fields_text, number_text};
use din_grammar::ast::{self, ExprKind};
use din_grammar::{Diagnostic, Span};

/// A type that is a word; the others are shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeWord {
    Int,
    Number,
    /// At least 0.
    NonNegative,
    /// Above 0, in 32 bits too.
    Positive,
    /// At least 0 and below 1, in 32 bits too.
    Fraction,
    List,
    Bool,
    Function,
    Text,
    /// Of any distribution.
    Prediction,
    /// Of one distribution.
    PredictionBy(DistributionName),
    /// Of a number or count.
    NumericPrediction,
    /// Of a label with two classes or more.
    ClassPrediction,
    /// A label, predicted or not: its values.
    Label,
    Key,
}

impl TypeWord {
    pub const ALL: [(&'static str, TypeWord); 21] = [
        ("int", TypeWord::Int),
        ("number", TypeWord::Number),
        ("float", TypeWord::Number),
        ("non_negative", TypeWord::NonNegative),
        ("positive", TypeWord::Positive),
        ("fraction", TypeWord::Fraction),
        ("list", TypeWord::List),
        ("bool", TypeWord::Bool),
        ("fn", TypeWord::Function),
        ("text", TypeWord::Text),
        ("prediction", TypeWord::Prediction),
        ("bernoulli", TypeWord::PredictionBy(DistributionName::Bernoulli)),
        ("normal", TypeWord::PredictionBy(DistributionName::Normal)),
        ("poisson", TypeWord::PredictionBy(DistributionName::Poisson)),
        ("quantile", TypeWord::PredictionBy(DistributionName::Quantile)),
        ("categorical", TypeWord::PredictionBy(DistributionName::Categorical)),
        ("ordinal", TypeWord::PredictionBy(DistributionName::Ordinal)),
        ("numeric", TypeWord::NumericPrediction),
        ("classes", TypeWord::ClassPrediction),
        ("label", TypeWord::Label),
        ("key", TypeWord::Key),
    ];

    pub fn by_name(name: &str) -> Option<TypeWord> {
        Self::ALL.iter().find(|(n, _)| *n == name).map(|(_, word)| *word)
    }

    fn is_number(self) -> bool {
        use TypeWord::*;
        match self {
            Int | Number | NonNegative | Positive | Fraction => true,
            List | Bool | Function | Text | Prediction | PredictionBy(_) | NumericPrediction | ClassPrediction
            | Label | Key => false,
        }
    }

    pub fn is_prediction(self) -> bool {
        use TypeWord::*;
        match self {
            Prediction | PredictionBy(_) | NumericPrediction | ClassPrediction => true,
            Int | Number | NonNegative | Positive | Fraction | List | Bool | Function | Text | Label | Key => false,
        }
    }

    /// Whether the value is of the type; a faulty value is of every type.
    pub fn holds(self, value: &ExprValue<'_>) -> bool {
        let number = |fits: fn(f64) -> bool| matches!(value, ExprValue::Number(n) if fits(*n));
        let predicted = |fits: &dyn Fn(DistributionName) -> bool| match value {
            ExprValue::Prediction { distribution, .. } => fits(DistributionName::of(*distribution)),
            _ => false,
        };
        let right = match self {
            TypeWord::Int => number(|n| n.fract() == 0.0),
            TypeWord::Number => number(|_| true),
            TypeWord::NonNegative => number(|n| n >= 0.0),
            TypeWord::Positive => number(|n| n as f32 > 0.0),
            TypeWord::Fraction => number(|n| n >= 0.0 && (n as f32) < 1.0),
            TypeWord::List => matches!(value, ExprValue::List(_)),
            TypeWord::Bool => matches!(value, ExprValue::Bool(_)),
            TypeWord::Function => matches!(value, ExprValue::Function(_)),
            TypeWord::Text => matches!(value, ExprValue::Text(_)),
            TypeWord::Prediction => predicted(&|_| true),
            TypeWord::PredictionBy(name) => predicted(&|of| of == name),
            TypeWord::NumericPrediction => predicted(&|of| !of.is_of_classes()),
            TypeWord::ClassPrediction => predicted(&DistributionName::is_of_classes),
            TypeWord::Label => matches!(value, ExprValue::Label { .. }),
            // Keys are arguments of metrics alone, which do not come by here.
            TypeWord::Key => false,
        };
        right || matches!(value, ExprValue::Poison)
    }

    /// A value of the type, where one can be named.
    pub fn example(self) -> Option<&'static str> {
        Some(match self {
            TypeWord::Int => "8",
            TypeWord::Number | TypeWord::NonNegative | TypeWord::Positive | TypeWord::Fraction => "0.1",
            TypeWord::List => "[64, 32]",
            TypeWord::Bool => "true",
            TypeWord::Function => "relu",
            TypeWord::Text => "\"name\"",
            TypeWord::Prediction
            | TypeWord::PredictionBy(_)
            | TypeWord::NumericPrediction
            | TypeWord::ClassPrediction
            | TypeWord::Label
            | TypeWord::Key => return None,
        })
    }

    /// How to write a value of the type instead of this one.
    fn instead_of(self, value: &ExprValue<'_>) -> Option<String> {
        Some(match (self, value) {
            (TypeWord::List, ExprValue::Tensor(_)) => {
                "the vectors of a record are `fields(x)`, equal parts of a vector `split(x, n)`".into()
            }
            (TypeWord::List, ExprValue::Number(n)) => format!("write the list `[{}]`", number_text(*n)),
            (TypeWord::Function, ExprValue::Text(text)) => {
                format!("write the function itself, without quotes: `{text}`")
            }
            (TypeWord::Function, ExprValue::Tensor(_)) => {
                "give the function itself, such as `relu`, not a call of it".into()
            }
            (TypeWord::Fraction, ExprValue::Number(n)) if *n >= 10.0 && *n < 100.0 => {
                format!("a share of {0} in a hundred is `{1}`", number_text(*n), number_text(*n / 100.0))
            }
            (word, ExprValue::Function(_)) if word.is_number() => {
                "give a number; of a function, its value: a schedule is `1e-3 * warmup(step, 1000)`".into()
            }
            (TypeWord::NonNegative, ExprValue::Number(n)) => format!("write `{}`, or 0", number_text(-n)),
            (TypeWord::Positive, ExprValue::Number(n)) if *n < 0.0 => format!("write `{}`", number_text(-n)),
            (TypeWord::Positive, ExprValue::Number(_)) => "write a number above 0 in 32 bits, such as `1e-8`".into(),
            (TypeWord::Fraction, ExprValue::Number(_)) => {
                "write 0, or a number below 1 in 32 bits, such as `0.1` or `0.9`".into()
            }
            (word, ExprValue::Prediction { distribution, .. }) if word.is_prediction() => {
                match DistributionName::of(*distribution) {
                    DistributionName::Bernoulli => {
                        "a prediction by `bernoulli` has the loss `cross_entropy` or `focal`"
                    }
                    DistributionName::Normal => {
                        "a prediction by `normal` has the loss `squared_error`, `huber` or `gaussian_nll`"
                    }
                    DistributionName::Poisson => "a prediction by `poisson` has the loss `poisson_nll`",
                    DistributionName::Quantile => "a prediction by `quantile` has the loss `pinball`",
                    DistributionName::Categorical => {
                        "a prediction by `categorical` has the loss `softmax_cross_entropy`"
                    }
                    DistributionName::Ordinal => "a prediction by `ordinal` has the loss `ordinal_nll`",
                }
                .into()
            }
            (TypeWord::Int, ExprValue::Tensor(_)) => {
                "sizes are known before data are read: write a number such as `8`, or `size(x)`".into()
            }
            (TypeWord::Int, ExprValue::Number(n)) => {
                format!("write a whole number, such as `{}`", number_text(n.round()))
            }
            (_, ExprValue::Tensor(_)) if self.is_number() => {
                "write a number that is known before data are read, such as `0.1`, or a `hyper`".into()
            }
            (_, ExprValue::Label { .. }) => return None,
            (word, _) if word.is_prediction() => "name a label that is predicted, such as `click`".into(),
            (word, _) => format!("write, for example, `{}`", word.example()?),
        })
    }

    /// What a value of the type is called in messages.
    pub fn text(self) -> &'static str {
        match self {
            TypeWord::Int => "a compile-time whole number",
            TypeWord::Number => "a compile-time number",
            TypeWord::NonNegative => "a compile-time number of at least 0",
            TypeWord::Positive => "a compile-time number above 0",
            TypeWord::Fraction => "a compile-time number of at least 0 and below 1",
            TypeWord::List => "a list, such as `[80, 40]`",
            TypeWord::Bool => "a compile-time bool",
            TypeWord::Function => "a function",
            TypeWord::Text => "a text",
            TypeWord::Prediction => "a prediction",
            TypeWord::PredictionBy(DistributionName::Bernoulli) => "a prediction by `bernoulli`",
            TypeWord::PredictionBy(DistributionName::Normal) => "a prediction by `normal`",
            TypeWord::PredictionBy(DistributionName::Poisson) => "a prediction by `poisson`",
            TypeWord::PredictionBy(DistributionName::Quantile) => "a prediction by `quantile`",
            TypeWord::PredictionBy(DistributionName::Categorical) => "a prediction by `categorical`",
            TypeWord::PredictionBy(DistributionName::Ordinal) => "a prediction by `ordinal`",
            TypeWord::NumericPrediction => "a prediction of a number or count",
            TypeWord::ClassPrediction => "a prediction by `bernoulli`, `categorical` or `ordinal`",
            TypeWord::Label => "a label",
            TypeWord::Key => "a key",
        }
    }
}

impl<'a> Elaborator<'a> {
    /// Checks an argument against the type of its parameter, binding sizes and axes.
    pub fn conform(
        &mut self,
        scope: &mut NameScope<'a>,
        function: &str,
        parameter: &'a ast::ParameterDecl,
        value: ExprValue<'a>,
        at: Span,
    ) -> ExprValue<'a> {
        let Some(ty) = &parameter.ty else {
            // Without a type the default says which kind it is.
            let wanted = parameter.default.as_ref().and_then(|d| match d.kind {
                ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Unary { .. } => Some(TypeWord::Number),
                ExprKind::List(_) => Some(TypeWord::List),
                ExprKind::Bool(_) => Some(TypeWord::Bool),
                _ => None,
            });
            return match wanted {
                Some(kind) => self.kind(function, &parameter.name.name, parameter.span, kind, value, at),
                None => value,
            };
        };
        self.conform_type(scope, function, (&parameter.name.name, parameter.span), ty, value, at)
    }

    /// Checks a value against a type; `name` and `asked` are those of the parameter.
    fn conform_type(
        &mut self,
        scope: &mut NameScope<'a>,
        function: &str,
        (name, asked): (&str, Span),
        ty: &'a ast::Type,
        value: ExprValue<'a>,
        at: Span,
    ) -> ExprValue<'a> {
        match &ty.kind {
            ast::TypeKind::ListOf(item) => {
                let ExprValue::List(items) = self.kind(function, name, asked, TypeWord::List, value, at) else {
                    self.lost_names(scope, item, at);
                    return ExprValue::Poison;
                };
                let mut fine = true;
                let mut conform = |(i, value): (usize, &ExprValue<'a>)| {
                    if !fine {
                        // One fault of a list says enough.
                        return ExprValue::Poison;
                    }
                    let name = format!("item {i} of {name}");
                    let value = self.conform_type(scope, function, (&name, asked), item, value.clone(), at);
                    fine &= !matches!(value, ExprValue::Poison);
                    value
                };
                let items = items.iter().enumerate().map(&mut conform).collect();
                if fine { ExprValue::List(items) } else { ExprValue::Poison }
            }
            ast::TypeKind::Named(kind) => {
                let Some(word) = self.type_word(kind) else { return ExprValue::Poison };
                self.kind(function, name, asked, word, value, at)
            }
            ast::TypeKind::Shape(dimensions) => {
                let Some(t) = self.tensor_argument(scope, dimensions, value, at) else { return ExprValue::Poison };
                if self.unify(scope, function, name, dimensions, &t, at) {
                    ExprValue::Tensor(t)
                } else {
                    ExprValue::Poison
                }
            }
            ast::TypeKind::Ragged { axis, element } => {
                let Some(t) = self.tensor_argument(scope, element, value, at) else {
                    self.lost_axis(scope, axis, at);
                    return ExprValue::Poison;
                };
                let varies = self.walk.graph.node(t.node).axis;
                let found_axis = self.walk.graph.axes.on_samples(varies);
                let pairs = self.walk.graph.axes.second_of_pairs(varies).is_some();
                if pairs || !self.walk.graph.axes.has_entries(varies) {
                    let found = self.describe_tensor(&t);
                    self.lost_axis(scope, axis, at);
                    lost_sizes(scope, element, at);
                    return self.fault(
                        Diagnostic::error(
                            "E0304",
                            format!("`{name}` of `{function}` must be a sequence"),
                            at,
                            found.clone(),
                        )
                        .label(asked, "a ragged axis is asked for here")
                        .note(format!("expected `{}`\nfound {found}", self.sources.text(ty.span)))
                        .help(if pairs {
                            "reduce the pairs of entries to one of the two first, such as `sum(x over t)`"
                        } else {
                            "give it `embed(…)` of a `sequence`"
                        }),
                    );
                }
                match scope.axis(&axis.name) {
                    None => scope.axes.push(NamedAxis { name: &axis.name, axis: Some(found_axis), span: at }),
                    Some(NamedAxis { axis: Some(first), span: first_at, .. }) if first != found_axis => {
                        let (a, b) = (self.axis_text(first), self.axis_text(found_axis));
                        lost_sizes(scope, element, at);
                        return self.fault(
                            Diagnostic::error(
                                "E0303",
                                format!("`{function}` asks for two values over one axis `{}`", axis.name),
                                at,
                                format!("varies over {b}"),
                            )
                            .label(first_at, format!("varies over {a}")),
                        );
                    }
                    Some(_) => {}
                }
                if self.unify(scope, function, name, element, &t, at) {
                    ExprValue::Tensor(t)
                } else {
                    ExprValue::Poison
                }
            }
        }
    }

    /// The type that a word names; reports one that names none.
    pub fn type_word(&mut self, word: &ast::Ident) -> Option<TypeWord> {
        let found = TypeWord::by_name(&word.name);
        if found.is_none() {
            self.unknown_word("E0307", "type", word, &TypeWord::ALL.map(|(name, _)| name));
        }
        found
    }

    /// The types that a definition's heading names, whether it is used or not.
    pub fn heading_types(&mut self, item: &'a ast::Item) {
        let (parameters, result, numbers) = match item {
            ast::Item::Function(f) => (&f.parameters, f.result.as_ref(), false),
            ast::Item::Optimizer(o) => (&o.parameters, None, true),
            ast::Item::Regularizer(r) => (&r.parameters, None, true),
            ast::Item::Metric(m) => (&m.parameters, None, false),
            ast::Item::Schema(_) | ast::Item::Model(_) | ast::Item::Test(_) => return,
        };
        for ty in parameters.iter().filter_map(|p| p.ty.as_ref()).chain(result) {
            let word = match &ty.kind {
                ast::TypeKind::Named(word) => match self.type_word(word) {
                    Some(word) => Some(word),
                    None => continue,
                },
                ast::TypeKind::ListOf(item) => match &item.kind {
                    ast::TypeKind::Named(word) if self.type_word(word).is_none() => continue,
                    _ => None,
                },
                ast::TypeKind::Shape(_) | ast::TypeKind::Ragged { .. } => None,
            };
            if numbers && !word.is_some_and(TypeWord::is_number) {
                let kind = super::load::item_kind(item);
                let d = Diagnostic::error(
                    "E0307",
                    format!("parameters of this {kind} must be numbers"),
                    ty.span,
                    "not a number type",
                );
                self.report(d.help("write `number` or `int`, or leave the type out"));
            }
        }
    }

    /// The axis of a faulty argument: known, and poison.
    pub fn lost_axis(&mut self, scope: &mut NameScope<'a>, axis: &'a ast::Ident, at: Span) {
        if scope.axis(&axis.name).is_none() {
            scope.axes.push(NamedAxis { name: &axis.name, axis: None, span: at });
        }
    }

    /// The sizes and axes that the type of a faulty argument names: known, and poison.
    fn lost_names(&mut self, scope: &mut NameScope<'a>, ty: &'a ast::Type, at: Span) {
        match &ty.kind {
            ast::TypeKind::Named(_) => {}
            ast::TypeKind::Shape(dimensions) => lost_sizes(scope, dimensions, at),
            ast::TypeKind::Ragged { axis, element } => {
                self.lost_axis(scope, axis, at);
                lost_sizes(scope, element, at);
            }
            ast::TypeKind::ListOf(item) => self.lost_names(scope, item, at),
        }
    }

    /// The argument of a parameter with a shape. If it is faulty, the sizes that the shape names
    /// are unknown, and nothing more is reported of them.
    pub fn tensor_argument(
        &mut self,
        scope: &mut NameScope<'a>,
        dimensions: &'a [ast::Dimension],
        value: ExprValue<'a>,
        at: Span,
    ) -> Option<Tensor> {
        let tensor = self.tensor(value, at);
        if tensor.is_none() {
            lost_sizes(scope, dimensions, at);
        }
        tensor
    }

    pub fn unify(
        &mut self,
        scope: &mut NameScope<'a>,
        function: &str,
        name: &str,
        dimensions: &'a [ast::Dimension],
        t: &Tensor,
        at: Span,
    ) -> bool {
        let shape = self.walk.graph.node(t.node).shape.0.clone();
        let found = self.describe_tensor(t);
        if shape.len() != dimensions.len() {
            let d =
                Diagnostic::error("E0302", format!("`{name}` of `{function}` has the wrong rank"), at, found.clone());
            self.report(d.note(format!("expected {} sizes\nfound {found}", dimensions.len())).help(
                match dimensions.len() {
                    1 => "a vector is needed: `embed(…)`, or `x @ w` of a matrix `w`",
                    _ => "a matrix is a weight of its own: `param w: [k, n]`",
                },
            ));
            return false;
        }
        for (dimension, &size) in dimensions.iter().zip(&shape) {
            let mut record = None;
            let (wanted, origin) = match dimension {
                ast::Dimension::Size { value, span } => (*value as usize, Some((span, "the size is fixed here"))),
                ast::Dimension::Name(n) => match scope.dimensions.iter().find(|d| d.name == n.name) {
                    Some(SizeBinding { size: None, .. }) => continue,
                    Some(SizeBinding { size: Some(s), span, fields, .. }) => {
                        record = fields.as_deref();
                        (*s, Some((span, "the size comes from here")))
                    }
                    None => match scope.find(&n.name).map(|b| b.referent.clone()) {
                        Some(Referent::Value(ExprValue::Number(s))) => (s as usize, None),
                        _ => {
                            let fields = t.fields.clone();
                            let bound = SizeBinding { name: &n.name, size: Some(size), fields, span: at };
                            scope.dimensions.push(bound);
                            continue;
                        }
                    },
                },
            };
            if wanted != size {
                let mut d = Diagnostic::error(
                    "E0302",
                    format!("`{name}` of `{function}` has the wrong size"),
                    at,
                    found.clone(),
                )
                .note(match record {
                    Some(fields) if t.fields.is_some() => format!("expected {}\nfound {found}", fields_text(fields)),
                    Some(_) | None => format!("expected [{wanted}]\nfound {found}"),
                });
                if let Some((span, text)) = origin {
                    d = d.label(*span, format!("{text}: {wanted}"));
                }
                d.help = match record {
                    Some(_) if t.fields.is_some() => {
                        Some("the fields of both need vectors of one width, best of the same tables".into())
                    }
                    Some(_) | None => (dimensions.len() == 1).then(|| {
                        format!(
                            "a layer gives it another size, `linear(x, {wanted})`; or make what it comes from as wide"
                        )
                    }),
                };
                self.report(d);
                return false;
            }
        }
        true
    }

    pub fn kind(
        &mut self,
        function: &str,
        name: &str,
        asked: Span,
        word: TypeWord,
        value: ExprValue<'a>,
        at: Span,
    ) -> ExprValue<'a> {
        // A predicted label is a label too.
        let value = match (word, value) {
            (TypeWord::Label, ExprValue::Prediction { index, named, .. }) => {
                ExprValue::Label { index: self.predictions[index].label, named }
            }
            (_, value) => value,
        };
        if word.holds(&value) {
            return value;
        }
        if let ExprValue::Label { index, .. } = value
            && word.is_prediction()
        {
            return self.not_predicted(index, at);
        }
        let (expected, found) = (word.text(), self.describe(&value));
        let mut d =
            Diagnostic::error("E0307", format!("`{name}` of `{function}` must be {expected}"), at, found.clone())
                .label(asked, "asked for here")
                .note(format!("expected {expected}\nfound {found}"));
        d.help = word.instead_of(&value);
        self.fault(d)
    }

    pub fn conform_result(
        &mut self,
        scope: &mut NameScope<'a>,
        function: &'a ast::Function,
        value: ExprValue<'a>,
    ) -> ExprValue<'a> {
        if matches!(value, ExprValue::Nothing) {
            return self.fault(
                Diagnostic::error(
                    "E0318",
                    format!("`{}` has no value", function.name.name),
                    function.name.span,
                    "its body ends with a statement",
                )
                .help("end the body with the expression that it stands for"),
            );
        }
        let Some(ty) = &function.result else { return value };
        let at = function.body.value.as_ref().map_or(function.name.span, |v| v.span);
        if let ast::TypeKind::Shape(_) = &ty.kind
            && let Some(axis) = self.not_reduced(scope, function, &value)
        {
            let found = self.describe(&value);
            let text = format!("the value of `{}` varies over `{axis}`", function.name.name);
            return self.fault(
                Diagnostic::error("E0306", text, at, found).label(ty.span, "promised to be reduced").help(format!(
                    "reduce it, such as by `sum(… over {axis})`, or write `-> {axis} => {}`",
                    self.sources.text(ty.span)
                )),
            );
        }
        self.conform_result_type(scope, &function.name.name, ty, value, at)
    }

    /// The axis that the types of the function's parameters name and over which its value varies,
    /// unless an argument whose type does not say so varies over it as well.
    fn not_reduced(&self, scope: &NameScope<'a>, function: &ast::Function, value: &ExprValue<'a>) -> Option<&'a str> {
        let axes = &self.walk.graph.axes;
        let varies = |value: &ExprValue<'a>| match value {
            ExprValue::Tensor(t) => Some(axes.on_samples(self.walk.graph.node(t.node).axis)),
            _ => None,
        };
        let axis = varies(value)?;
        let named = scope.axes.iter().find(|named| named.axis.is_some_and(|own| axes.on_samples(own) == axis))?;
        let said = |p: &ast::ParameterDecl| {
            p.ty.as_ref().is_some_and(|ty| !matches!(ty.kind, ast::TypeKind::Shape(_) | ast::TypeKind::Named(_)))
        };
        let also = function.parameters.iter().filter(|p| !said(p)).any(|p| match scope.find(&p.name.name) {
            Some(binding) => match &binding.referent {
                Referent::Value(value) => varies(value).is_some_and(|over| axes.is_ancestor(axis, over)),
                _ => false,
            },
            None => false,
        });
        (!also).then_some(named.name)
    }

    fn conform_result_type(
        &mut self,
        scope: &mut NameScope<'a>,
        function: &str,
        ty: &'a ast::Type,
        value: ExprValue<'a>,
        at: Span,
    ) -> ExprValue<'a> {
        if matches!(value, ExprValue::Poison) {
            return value;
        }
        let dimensions = match &ty.kind {
            ast::TypeKind::ListOf(item) => {
                let ExprValue::List(items) = value else {
                    return self.wrong_result(function, ty, TypeWord::List, &value, at);
                };
                let conform =
                    |value: &ExprValue<'a>| self.conform_result_type(scope, function, item, value.clone(), at);
                let items: Vec<_> = items.iter().map(conform).collect();
                let poison = items.iter().any(|item| matches!(item, ExprValue::Poison));
                return if poison { ExprValue::Poison } else { ExprValue::List(items.into()) };
            }
            ast::TypeKind::Shape(d) => d,
            ast::TypeKind::Ragged { axis, element } => {
                let wanted = scope.axis(&axis.name).and_then(|named| named.axis);
                if let ExprValue::Tensor(t) = &value
                    && wanted.is_some_and(|w| w != self.walk.graph.axes.on_samples(self.walk.graph.node(t.node).axis))
                {
                    let found = self.describe_tensor(t);
                    return self.fault(
                        Diagnostic::error(
                            "E0306",
                            format!("the value of `{function}` does not vary over `{}`", axis.name),
                            at,
                            found,
                        )
                        .label(ty.span, "promised here"),
                    );
                }
                element
            }
            ast::TypeKind::Named(word) => {
                let Some(word) = self.type_word(word) else { return ExprValue::Poison };
                if word.holds(&value) {
                    return value;
                }
                return self.wrong_result(function, ty, word, &value, at);
            }
        };
        let Some(t) = self.tensor(value, at) else { return ExprValue::Poison };
        let shape = self.walk.graph.node(t.node).shape.0.clone();
        let known = |d: &ast::Dimension| match d {
            ast::Dimension::Size { value, .. } => Some(*value as usize),
            ast::Dimension::Name(n) => match scope.dimensions.iter().find(|k| k.name == n.name) {
                Some(k) => k.size,
                None => match scope.find(&n.name).map(|b| &b.referent) {
                    Some(Referent::Value(ExprValue::Number(s))) => Some(*s as usize),
                    _ => None,
                },
            },
        };
        let wanted: Vec<Option<usize>> = dimensions.iter().map(known).collect();
        let fits = wanted.len() == shape.len() && wanted.iter().zip(&shape).all(|(w, s)| w.is_none_or(|w| w == *s));
        if fits {
            return ExprValue::Tensor(t);
        }
        let expected: Vec<String> = wanted.iter().map(|w| w.map_or("_".into(), |w| w.to_string())).collect();
        let found = self.describe_tensor(&t);
        self.fault(
            Diagnostic::error("E0306", format!("the value of `{function}` has the wrong shape"), at, &found)
                .label(ty.span, "promised here")
                .note(format!("expected [{}]\nfound {found}", expected.join(", ")))
                .help(format!("make the value `[{}]`, or promise what it is behind `->`", expected.join(", "))),
        )
    }

    fn wrong_result(
        &mut self,
        function: &str,
        ty: &ast::Type,
        word: TypeWord,
        value: &ExprValue<'a>,
        at: Span,
    ) -> ExprValue<'a> {
        let (expected, found) = (word.text(), self.describe(value));
        self.fault(
            Diagnostic::error("E0306", format!("the value of `{function}` is not {expected}"), at, found.clone())
                .label(ty.span, "promised here")
                .note(format!("expected {expected}\nfound {found}")),
        )
    }
}

/// The sizes that a faulty argument's shape names: known, and poison.
fn lost_sizes<'a>(scope: &mut NameScope<'a>, dimensions: &'a [ast::Dimension], at: Span) {
    for d in dimensions {
        if let ast::Dimension::Name(n) = d
            && !scope.dimensions.iter().any(|k| k.name == n.name)
        {
            scope.dimensions.push(SizeBinding { name: &n.name, size: None, fields: None, span: at });
        }
    }
}
