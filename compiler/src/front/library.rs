//! Files without a model: names and arity are checked everywhere, bodies at sample sizes.

use super::conform::TypeWord;
use super::declare::common_groups;
use super::distribution::DistributionName;
use super::elaborator::Elaborator;
use super::rule::{RuleCall, RuleDefinition};
use super::schedule::RuleArgument;
use super::scope::NameScope;
use super::unread::is_called_with_one_value;
use super::update::{Before, Updates};
use super::value::{ArgumentValue, Builtin, Callee, ExprValue, Tensor};
use super::walk::{Context, GraphWalk, InputKey};
use crate::graph::{AxisId, BATCH, Graph, InputKind, Shape, UnaryOp};
use crate::model::UpdateScope;
use din_grammar::ast;
use din_program::schema::{Distribution, Label, LabelKind, Prediction, UpdateRule};
use rustc_hash::FxHashMap;
use std::rc::Rc;

impl<'a> Elaborator<'a> {
    pub fn library(&mut self, module: usize) {
        let modules = self.modules;
        self.sampling = true;
        for item in &modules[module].file.items {
            if let ast::Item::Schema(schema) = item {
                self.schema_alone(module, schema);
                continue;
            }
            for training in [true, false] {
                self.walk = GraphWalk::new(Graph::default(), training, Context::Model);
                match item {
                    ast::Item::Function(f) => self.sample_function(module, f),
                    ast::Item::Optimizer(o) => {
                        let rule = self.sample_rule(module, o);
                        let over = UpdateScope::Rows { width: 3, rule: UpdateRule::Sparse };
                        self.update_program(&mut Updates::default(), &rule, &Before::default(), over);
                    }
                    ast::Item::Regularizer(r) => {
                        let rule = self.sample_rule(module, r);
                        self.regularizer_alone(&rule);
                    }
                    ast::Item::Metric(_) | ast::Item::Schema(_) | ast::Item::Model(_) | ast::Item::Test(_) => {}
                }
            }
        }
    }

    /// The declarations of a schema, as a model would read them.
    fn schema_alone(&mut self, module: usize, schema: &'a ast::SchemaDecl) {
        let before = std::mem::take(&mut self.declarations);
        let members = self.schema_members(schema);
        let common = common_groups(&members);
        let mut scope = NameScope::new(module, None);
        for member in &members {
            self.declare_columns(&mut scope, member, &common);
        }
        self.finish_columns(&scope, &members);
        self.declarations = before;
    }

    /// Calls a function with arguments that fit its types, if they say enough; otherwise checks its
    /// text.
    fn sample_function(&mut self, module: usize, f: &'a ast::Function) {
        self.walk.graph.axes.add_sequence("sequence", 0, BATCH);
        self.walk.graph.axes.add_requests(&[]);
        self.walk.context = Context::Loss;
        self.walk.named = true;
        let mut sizes: FxHashMap<&'a str, usize> = FxHashMap::default();
        let mut axes: Vec<&'a str> = Vec::new();
        let mut given = Vec::new();
        for p in &f.parameters {
            // An activation stands for a function, and for no other kind of them.
            if !is_called_with_one_value(f, &p.name.name) {
                return self.unread_function(module, f);
            }
            let value = match &p.ty {
                None if p.default.is_some() => continue,
                None => return self.unread_function(module, f),
                Some(ty) => match self.sample(ty, &mut sizes, &mut axes, p) {
                    Some(value) => value,
                    None => return self.unread_function(module, f),
                },
            };
            given.push(ArgumentValue { name: Some(&p.name), value, over: None, span: p.span });
        }
        self.apply(&Rc::new(Callee::Defined { module, function: f }), given, f.name.span);
    }

    /// A value of the type; `None` where there is none to be made.
    fn sample(
        &mut self,
        ty: &'a ast::Type,
        sizes: &mut FxHashMap<&'a str, usize>,
        axes: &mut Vec<&'a str>,
        p: &'a ast::ParameterDecl,
    ) -> Option<ExprValue<'a>> {
        Some(match &ty.kind {
            ast::TypeKind::Shape(d) => self.sample_tensor(d, BATCH, sizes, p),
            ast::TypeKind::Ragged { axis, element } => {
                if !axes.contains(&axis.name.as_str()) {
                    axes.push(&axis.name);
                }
                if axes.len() > 1 {
                    return None;
                }
                self.sample_tensor(element, AxisId(2), sizes, p)
            }
            ast::TypeKind::ListOf(item) => {
                let items = [self.sample(item, sizes, axes, p)?, self.sample(item, sizes, axes, p)?];
                ExprValue::List(items.into())
            }
            ast::TypeKind::Named(n) => match TypeWord::by_name(&n.name)? {
                TypeWord::Int => ExprValue::Number(3.0),
                TypeWord::Number | TypeWord::NonNegative | TypeWord::Positive | TypeWord::Fraction => {
                    ExprValue::Number(0.5)
                }
                TypeWord::Bool => ExprValue::Bool(true),
                TypeWord::List => ExprValue::List([ExprValue::Number(8.0), ExprValue::Number(4.0)].into()),
                TypeWord::Function => ExprValue::Function(Rc::new(Callee::Builtin(Builtin::Unary(UnaryOp::Tanh)))),
                TypeWord::Prediction | TypeWord::ClassPrediction => {
                    self.sample_prediction(p, DistributionName::Bernoulli)
                }
                TypeWord::PredictionBy(name) => self.sample_prediction(p, name),
                TypeWord::NumericPrediction => self.sample_prediction(p, DistributionName::Normal),
                TypeWord::Label => {
                    self.sample_prediction(p, DistributionName::Bernoulli);
                    ExprValue::Label { index: 0, named: p.span }
                }
                TypeWord::Text | TypeWord::Key => return None,
            },
        })
    }

    fn sample_tensor(
        &mut self,
        dimensions: &'a [ast::Dimension],
        axis: AxisId,
        sizes: &mut FxHashMap<&'a str, usize>,
        p: &'a ast::ParameterDecl,
    ) -> ExprValue<'a> {
        let mut shape = Vec::new();
        for d in dimensions {
            shape.push(match d {
                ast::Dimension::Size { value, .. } => (*value as usize).clamp(1, 1 << 20),
                ast::Dimension::Name(n) => {
                    // Unequal sizes, that are divided into 2, 3, 4, 6 or 12 parts.
                    let next = 12 * (5 + 2 * sizes.len());
                    *sizes.entry(&n.name).or_insert(next)
                }
            });
        }
        let matrix = shape.len() == 2;
        let kind = InputKind::Dense { feature: 0 };
        let axis = if matrix { crate::graph::GLOBAL } else { axis };
        let key = InputKey::Sample(self.walk.graph.inputs.len());
        let input = self.input(key, p.name.name.clone(), kind, axis, Shape(shape.into()));
        ExprValue::Tensor(Tensor { node: self.walk.graph.input(input, p.span), fields: None })
    }

    /// A prediction by a distribution all of whose parameters are given.
    fn sample_prediction(&mut self, p: &'a ast::ParameterDecl, name: DistributionName) -> ExprValue<'a> {
        let of_three = LabelKind::Class { size: 3 };
        let (distribution, kind, parameters): (_, _, &[&'static str]) = match name {
            DistributionName::Bernoulli => (Distribution::Bernoulli, LabelKind::Binary, &["logit"]),
            DistributionName::Normal => (Distribution::Normal, LabelKind::Number, &["mean", "std"]),
            DistributionName::Poisson => (Distribution::Poisson, LabelKind::Count, &["log_rate"]),
            DistributionName::Quantile => (Distribution::Quantile { level: 0.5 }, LabelKind::Number, &["value"]),
            DistributionName::Categorical => (Distribution::Categorical { classes: 3 }, of_three, &["logits"]),
            DistributionName::Ordinal => (Distribution::Ordinal { classes: 3 }, of_three, &["score"]),
        };
        if self.predictions.is_empty() {
            self.predictions.push(Prediction { name: "sample".into(), label: 0, distribution });
            self.declarations.schema.labels.push(Label {
                name: "sample".into(),
                column: "sample".into(),
                kind,
                classes: Vec::new(),
                missing: None,
                location: String::new(),
            });
        }
        let nodes: Vec<_> = parameters
            .iter()
            .map(|&parameter| {
                let key = InputKey::SamplePrediction(parameter);
                let kind = InputKind::Dense { feature: 0 };
                let input = self.input(key, parameter.into(), kind, BATCH, Shape::vector(distribution.width()));
                (parameter, self.walk.graph.input(input, p.span))
            })
            .collect();
        self.walk.predicted = vec![Some(self.predicted_value(distribution, &nodes, p.span))];
        self.walk.predicted_at = vec![p.span];
        ExprValue::Prediction { index: 0, named: p.span, distribution }
    }

    /// The rule with its defaults, or 0.5, as arguments.
    fn sample_rule<D: RuleDefinition>(&mut self, module: usize, definition: &'a D) -> RuleCall<'a, D> {
        let mut arguments = Vec::new();
        let mut scope = NameScope::new(module, None);
        for p in definition.parameters() {
            let default = p.default.as_ref().and_then(|d| {
                let value = self.expr(&mut scope, d);
                self.number(value, &format!("`{}`", p.name.name), d.span)
            });
            let value = default.unwrap_or(0.5);
            scope.bind(&p.name.name, ExprValue::Number(value), p.name.span);
            arguments.push(RuleArgument::Number(value));
        }
        RuleCall { module, definition, arguments, span: definition.name().span }
    }
}
