//! Arithmetic on tensors and records: shapes, axes and fields.

use super::compile_time::symbol;
use super::distribution::DistributionName;
use super::elaborator::Elaborator;
use super::value::{Callee, ExprValue, RecordField, Tensor, fields_text, shape_text};
use super::walk::{Context, InputKey};
use crate::graph::{self, AxisId, InputKind, NodeId, Shape, TypeError};
use din_grammar::ast::BinaryOperator;
use din_grammar::{Diagnostic, Span};
use din_program::schema::FeatureKind;
use std::rc::Rc;

impl<'a> Elaborator<'a> {
    /// A value as a tensor: numbers become constants, numeric features become inputs. Reports any
    /// other value.
    pub fn tensor(&mut self, value: ExprValue<'a>, span: Span) -> Option<Tensor> {
        let help;
        let found = match value {
            ExprValue::Tensor(t) => return Some(t),
            ExprValue::Poison => return None,
            ExprValue::Number(n) => {
                if !self.within_f32(n, "this number", span) {
                    return None;
                }
                return Some(Tensor { node: self.walk.graph.constant(n, span), fields: None });
            }
            ExprValue::Bool(b) => {
                let n = if b { 1.0 } else { 0.0 };
                return Some(Tensor { node: self.walk.graph.constant(n, span), fields: None });
            }
            ExprValue::Feature(f) => {
                let feature = &self.declarations.schema.features[f];
                if let FeatureKind::Dense { width } = feature.kind {
                    return Some(self.dense_input(f, width, span));
                }
                let path = feature.path();
                self.report(
                    Diagnostic::error(
                        "E0320",
                        format!("`{path}` holds ids, not numbers"),
                        span,
                        "ids have no arithmetic",
                    )
                    .help(format!("look its vectors up first: `embed({path})`")),
                );
                return None;
            }
            ExprValue::Label { index, named } => {
                self.note_label(index, named);
                return Some(Tensor { node: self.label_node(index, span), fields: None });
            }
            ExprValue::Prediction { distribution, .. } => {
                let fields = DistributionName::of(distribution).fields().iter().map(|field| format!("`.{field}`"));
                let fields: Vec<String> = fields.collect();
                let (last, others) = fields.split_last().expect("every prediction has a label");
                self.report(
                    Diagnostic::error("E0307", "a prediction is not a number", span, "which of its values?")
                        .help(format!("take {} or {last}", others.join(", "))),
                );
                return None;
            }
            ExprValue::Group(g) => {
                let name = self.declarations.groups[g].name;
                self.report(
                    Diagnostic::error("E0320", format!("`{name}` is a group of features"), span, "not a vector yet")
                        .help(format!("look its vectors up first: `embed({name})`")),
                );
                return None;
            }
            other => {
                help = instead(&other);
                self.describe(&other)
            }
        };
        let mut d = Diagnostic::error("E0307", "a number or a tensor is needed here", span, found.clone())
            .note(format!("expected a number or a tensor\nfound {found}"));
        d.help = help;
        self.report(d);
        None
    }

    /// Input node of a numeric feature.
    pub fn dense_input(&mut self, feature: usize, width: u32, span: Span) -> Tensor {
        let path = self.declarations.schema.features[feature].path();
        let axis = self.feature_axis(feature);
        let kind = InputKind::Dense { feature: feature as u32 };
        let input = self.input(InputKey::Feature(feature), path, kind, axis, Shape::vector(width as usize));
        self.declarations.use_feature(feature);
        Tensor { node: self.walk.graph.input(input, span), fields: None }
    }

    /// Where a feature's values live: samples, or the entries of its sequence; for a common one,
    /// requests, or the entries of each request.
    pub fn feature_axis(&self, feature: usize) -> AxisId {
        let feature = &self.declarations.schema.features[feature];
        let axis = feature.sequence.map_or(graph::BATCH, |s| AxisId(2 + s));
        match self.walk.graph.axes.shared(axis) {
            Some(common) if feature.common => common,
            _ => axis,
        }
    }

    /// A built node as a value without fields. A type error that the callers did not foresee is
    /// reported in general words.
    pub fn built(&mut self, result: Result<NodeId, TypeError>, span: Span) -> ExprValue<'a> {
        match result {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields: None }),
            Err(error) => self.type_error(error, span),
        }
    }

    /// A type error of an operation over one expression.
    pub fn type_error(&mut self, error: TypeError, span: Span) -> ExprValue<'a> {
        let d = match error {
            TypeError::AxisTree { left, right } => {
                let (l, r) = (self.axis_text(left), self.axis_text(right));
                Diagnostic::error("E0303", "operands vary over different axes", span, format!("{l} and {r}"))
                    .help("reduce one of them first: `sum(x over …)`")
            }
            TypeError::Shapes { left, right } => {
                let (l, r) = (shape_text(&left), shape_text(&right));
                Diagnostic::error("E0301", "shapes differ", span, format!("{l} and {r}"))
                    .note(format!("expected {l}\nfound {r}"))
            }
            TypeError::NotAMatrix { found, .. } => {
                Diagnostic::error("E0309", "a matrix is needed", span, shape_text(&found))
                    .help("declare it as `param w: [k, n]`")
            }
            TypeError::NotAVector { found } => {
                Diagnostic::error("E0301", "a vector is needed", span, shape_text(&found))
            }
            TypeError::OutOfRange { width, end } => {
                Diagnostic::error("E0301", "components outside the value", span, format!("{end} of {width}"))
            }
            TypeError::NotAnAncestor { of, .. } => {
                let d = self.axis_text(of);
                Diagnostic::error("E0314", "nothing to reduce over", span, format!("varies over {d}"))
            }
            TypeError::Empty => Diagnostic::error("E0209", "nothing to join", span, "no arguments"),
        };
        self.fault(d)
    }

    /// `l op r` on tensors.
    pub fn arithmetic(
        &mut self,
        op: BinaryOperator,
        l: (ExprValue<'a>, Span),
        r: (ExprValue<'a>, Span),
        span: Span,
    ) -> ExprValue<'a> {
        let (lt, rt) = (self.tensor(l.0, l.1), self.tensor(r.0, r.1));
        let (Some(lt), Some(rt)) = (lt, rt) else { return ExprValue::Poison };
        if op == BinaryOperator::Product {
            return self.product((lt, l.1), (rt, r.1), false, span);
        }
        if op == BinaryOperator::Divide
            && let graph::Op::Const(divisor) = self.walk.graph.node(rt.node).op
            && divisor as f32 == 0.0
        {
            return self.fault(
                Diagnostic::error("E0311", "division by zero", r.1, format!("divides by {divisor}"))
                    .note("the result is infinite, or NaN, for every sample")
                    .help("divide by another number, or leave the division out"),
            );
        }
        let Some(fields) = self.same_fields(symbol(op), (&lt, l.1), (&rt, r.1)) else { return ExprValue::Poison };
        use graph::BinaryOp as G;
        let (x, y) = (lt.node, rt.node);
        let built = match op {
            BinaryOperator::Add => self.walk.graph.binary(G::Add, x, y, span),
            BinaryOperator::Subtract => self.walk.graph.binary(G::Subtract, x, y, span),
            BinaryOperator::Multiply => self.walk.graph.binary(G::Multiply, x, y, span),
            BinaryOperator::Divide => self.walk.graph.binary(G::Divide, x, y, span),
            BinaryOperator::Power => self.walk.graph.binary(G::Power, x, y, span),
            BinaryOperator::Less => self.walk.graph.binary(G::Less, x, y, span),
            BinaryOperator::LessEqual => self.walk.graph.binary(G::LessEqual, x, y, span),
            BinaryOperator::Greater => self.walk.graph.binary(G::Less, y, x, span),
            BinaryOperator::GreaterEqual => self.walk.graph.binary(G::LessEqual, y, x, span),
            BinaryOperator::Equal => self.walk.graph.binary(G::Equal, x, y, span),
            BinaryOperator::NotEqual => self
                .walk
                .graph
                .binary(G::Equal, x, y, span)
                .map(|n| self.walk.graph.unary(graph::UnaryOp::Not, n, span)),
            // On 0 and 1; of two truths the smaller and the larger.
            BinaryOperator::And => self.truths(G::Min, x, y, span),
            BinaryOperator::Or => self.truths(G::Max, x, y, span),
            BinaryOperator::Product => unreachable!("products are made above"),
            BinaryOperator::Range => unreachable!("ranges are no arithmetic"),
        };
        match built {
            Ok(node) => ExprValue::Tensor(Tensor { node, fields }),
            Err(error) => self.type_error(error, span),
        }
    }

    fn truths(&mut self, op: graph::BinaryOp, x: NodeId, y: NodeId, span: Span) -> Result<NodeId, TypeError> {
        let not = graph::UnaryOp::Not;
        let (x, y) = (self.walk.graph.unary(not, x, span), self.walk.graph.unary(not, y, span));
        let (x, y) = (self.walk.graph.unary(not, x, span), self.walk.graph.unary(not, y, span));
        self.walk.graph.binary(op, x, y, span)
    }

    /// Checks axes, shapes and fields of two operands of an elementwise operation; the fields of
    /// the result.
    pub fn same_fields(
        &mut self,
        what: &str,
        l: (&Tensor, Span),
        r: (&Tensor, Span),
    ) -> Option<Option<Rc<[RecordField]>>> {
        let (ln, rn) = (self.walk.graph.node(l.0.node), self.walk.graph.node(r.0.node));
        if self.walk.graph.axes.join(ln.axis, rn.axis).is_none() {
            let (a, b) = (self.axis_text(ln.axis), self.axis_text(rn.axis));
            self.report(
                Diagnostic::error(
                    "E0303",
                    format!("`{what}` on values over different axes"),
                    r.1,
                    format!("varies over {b}"),
                )
                .label(l.1, format!("varies over {a}"))
                .note("expected one axis: entries of different sequences have no order in common")
                .help(format!("reduce one of them first, such as `sum(x over {})`", b.trim_matches('`'))),
            );
            return None;
        }
        let (ls, rs) = (ln.shape.clone(), rn.shape.clone());
        if let (Some(a), Some(b)) = (&l.0.fields, &r.0.fields)
            && a != b
            && !(ls.width() == 1 || rs.width() == 1)
        {
            let (at, bt) = (fields_text(a), fields_text(b));
            let mut d = Diagnostic::error("E0305", format!("`{what}` on records with different fields"), r.1, &bt)
                .label(l.1, &at)
                .note(format!("expected {at}\nfound {bt}"));
            let sorted = |f: &[RecordField]| {
                let mut v: Vec<_> = f.iter().map(|f| (f.name.clone(), f.width)).collect();
                v.sort();
                v
            };
            let nameless = a.iter().chain(b.iter()).find(|f| f.name.starts_with("_"));
            d = if let Some(field) = nameless {
                let name = &field.name;
                d.help(format!("`{name}` is an operand of `concat` without a name: give it one with `let` before"))
            } else if sorted(a) == sorted(b) {
                d.help("declare the fields of both groups in the same order")
            } else {
                d.help("give both groups the same fields, or take single fields: `x.field`")
            };
            self.report(d);
            return None;
        }
        if ls.width() != 1 && rs.width() != 1 && ls != rs {
            let (a, b) = (self.describe_tensor(l.0), self.describe_tensor(r.0));
            self.report(
                Diagnostic::error("E0301", format!("`{what}` on values of different shapes"), r.1, &b)
                    .label(l.1, &a)
                    .note(format!("expected {}\nfound {}", shape_text(&ls), shape_text(&rs)))
                    .help("shapes must be equal, or one of them `[1]`, which scales every component"),
            );
            return None;
        }
        let wide = |t: &Tensor, w: usize, other: usize| t.fields.clone().filter(|_| w >= other);
        Some(wide(l.0, ls.width(), rs.width()).or_else(|| wide(r.0, rs.width(), ls.width())))
    }

    /// `x @ w`, or `x @ transpose(w)`.
    pub(super) fn product(
        &mut self,
        x: (Tensor, Span),
        w: (Tensor, Span),
        transposed: bool,
        span: Span,
    ) -> ExprValue<'a> {
        let wn = self.walk.graph.node(w.0.node);
        let (&[rows, columns], graph::GLOBAL) = (wn.shape.0.as_slice(), wn.axis) else {
            let found = self.describe_tensor(&w.0);
            return self.fault(
                Diagnostic::error("E0309", "`@` needs a matrix on the right", w.1, found)
                    .help("declare it as `param w: [k, n]`; a product of two vectors is `sum(a * b)`"),
            );
        };
        let (xs, ws) = (self.walk.graph.node(x.0.node).shape.clone(), wn.shape.clone());
        let (k, n) = if transposed { (columns, rows) } else { (rows, columns) };
        if xs.0.as_slice() != [k] {
            return self.fault(
                Diagnostic::error("E0309", "the sizes of a matrix product differ", x.1, shape_text(&xs))
                    .label(w.1, shape_text(&ws))
                    .note(format!("expected [{k}] on the left\nfound {}", shape_text(&xs)))
                    .help(match *xs.0.as_slice() {
                        [width] if width == n && transposed => {
                            "leave `transpose` out, `x @ w`: the size on the left is the matrix's first".to_owned()
                        }
                        [width] if width == n => {
                            "the sizes of the matrix stand the other way round: first that of the value on the left, then \
                             that of the result; or write `x @ transpose(w)`"
                                .to_owned()
                        }
                        [width] if transposed => format!("a matrix whose transpose fits it is `[{n}, {width}]`"),
                        [width] => format!("a matrix for it is `[{width}, {n}]`"),
                        _ => "the left side is a vector: `x @ w`".to_owned(),
                    }),
            );
        }
        let built = if transposed {
            self.walk.graph.matmul_t(x.0.node, w.0.node, span)
        } else {
            self.walk.graph.matmul(x.0.node, w.0.node, span)
        };
        self.built(built, span)
    }

    /// In an update the reductions of a whole tensor run over its rows too.
    pub fn reduces_rows(&self) -> bool {
        matches!(self.walk.context, Context::Update(din_grammar::ast::OptimizerScope::Tensor))
    }
}

/// What to write instead of something that is no value of the network.
fn instead(value: &ExprValue<'_>) -> Option<String> {
    match value {
        ExprValue::List(items) if matches!(items.first(), Some(ExprValue::List(_))) => {
            Some("a matrix is a weight, declared in a function: `param w: [k, n]`".into())
        }
        ExprValue::List(_) | ExprValue::Tuple(_) => Some("a list is no vector: `concat(a, b)` joins vectors".into()),
        ExprValue::Function(callee) => Some(match &**callee {
            Callee::Table(_) | Callee::Family(_) => "a table is a function of its features: call it with one".into(),
            Callee::Defined { .. } | Callee::Builtin(_) | Callee::Partial(_) | Callee::Layer { .. } => {
                format!("call it: `{}(…)`", callee.name())
            }
        }),
        ExprValue::Text(text) => Some(match super::foreign::name(text) {
            Some(help) => help.to_owned(),
            None => format!("names are written without quotes: `{text}`"),
        }),
        ExprValue::Number(_)
        | ExprValue::Bool(_)
        | ExprValue::Tensor(_)
        | ExprValue::Group(_)
        | ExprValue::Feature(_)
        | ExprValue::Prediction { .. }
        | ExprValue::Label { .. }
        | ExprValue::Quantity(_)
        | ExprValue::Nothing
        | ExprValue::Poison => None,
    }
}
