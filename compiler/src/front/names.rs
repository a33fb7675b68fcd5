//! Names as they are written: which occur in an expression or body, without resolving them.

use din_grammar::Span;
use din_grammar::ast::{self, Block, Expr, ExprKind, ForEach, StatementKind};
use din_grammar::parts::ExprPart;
use rustc_hash::FxHashMap;

/// Each name and where it is read first.
pub(super) type Names<'a> = FxHashMap<&'a str, Span>;

/// Names read by an expression; names of arguments and fields are not.
pub(super) fn in_expr<'a>(e: &'a Expr, out: &mut Names<'a>) {
    match &e.kind {
        ExprKind::Name(n) => {
            out.entry(n).or_insert(e.span);
        }
        ExprKind::Comprehension { value, each } => in_comprehension(value, each, out),
        ExprKind::Call { callee, arguments } => {
            in_expr(callee, out);
            for a in arguments {
                in_expr(&a.value, out);
                out.extend(a.over.as_ref().map(|o| (o.name.as_str(), o.span)));
                a.condition.iter().for_each(|c| in_expr(c, out));
            }
        }
        ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Text(_)
        | ExprKind::Bool(_)
        | ExprKind::Hole
        | ExprKind::Quantity { .. }
        | ExprKind::List(_)
        | ExprKind::Tuple(_)
        | ExprKind::Field { .. }
        | ExprKind::SecondName { .. }
        | ExprKind::Unary { .. }
        | ExprKind::Binary { .. }
        | ExprKind::If { .. }
        | ExprKind::Where { .. } => {
            for part in e.parts() {
                match part {
                    ExprPart::Expr(part) => in_expr(part, out),
                    ExprPart::Block(block) => in_block(block, out),
                }
            }
        }
    }
}

/// Names read by the loops and the value of a comprehension, but for those that the loops bind.
fn in_comprehension<'a>(value: &'a Expr, each: &'a [ForEach], out: &mut Names<'a>) {
    let Some((outer, inner)) = each.split_first() else { return in_expr(value, out) };
    in_expr(&outer.list, out);
    let mut inside = Names::default();
    in_comprehension(value, inner, &mut inside);
    inside.retain(|name, _| !outer.pattern.names().iter().any(|bound| bound.name == *name));
    for (name, span) in inside {
        out.entry(name).or_insert(span);
    }
}

/// Names read in a block. A name that is only assigned to is not read.
pub(super) fn in_block<'a>(block: &'a Block, out: &mut Names<'a>) {
    for statement in &block.statements {
        match &statement.kind {
            StatementKind::Let(l) => in_expr(&l.value, out),
            StatementKind::Layer(l) => in_expr(&l.value, out),
            StatementKind::Param(v) | StatementKind::Constant(v) | StatementKind::State(v) => in_variable(v, out),
            StatementKind::Update { value, .. } | StatementKind::Assign { value, .. } => in_expr(value, out),
            StatementKind::For { each, body } => {
                in_expr(&each.list, out);
                in_block(body, out);
            }
            StatementKind::Expr(e) => in_expr(e, out),
        }
    }
    if let Some(value) = &block.value {
        in_expr(value, out);
    }
}

fn in_variable<'a>(v: &'a ast::Variable, out: &mut Names<'a>) {
    v.ty.iter().for_each(|ty| in_type(ty, out));
    v.init.iter().for_each(|init| in_expr(init, out));
}

pub(super) fn in_type<'a>(ty: &'a ast::Type, out: &mut Names<'a>) {
    let dimensions = match &ty.kind {
        ast::TypeKind::Shape(d) => d,
        ast::TypeKind::Ragged { element, .. } => element,
        ast::TypeKind::Named(_) => return,
        ast::TypeKind::ListOf(item) => return in_type(item, out),
    };
    for d in dimensions {
        if let ast::Dimension::Name(n) = d {
            out.entry(&n.name).or_insert(n.span);
        }
    }
}

pub(super) fn in_parameters<'a>(parameters: &'a [ast::ParameterDecl], out: &mut Names<'a>) {
    for p in parameters {
        if let Some(d) = &p.default {
            in_expr(d, out);
        }
        if let Some(ty) = &p.ty {
            in_type(ty, out);
        }
    }
}

/// Names read by an item, its own declaration excepted.
pub(super) fn in_item<'a>(item: &'a ast::Item, out: &mut Names<'a>) {
    match item {
        ast::Item::Function(f) => {
            in_parameters(&f.parameters, out);
            in_block(&f.body, out);
        }
        ast::Item::Optimizer(o) => {
            in_parameters(&o.parameters, out);
            in_block(&o.body, out);
        }
        ast::Item::Regularizer(r) => {
            in_parameters(&r.parameters, out);
            in_expr(&r.body, out);
        }
        ast::Item::Metric(m) => in_parameters(&m.parameters, out),
        ast::Item::Schema(s) => s.members.iter().for_each(|member| in_member(member, out)),
        ast::Item::Model(m) => {
            out.extend(m.schema.as_ref().map(|schema| (schema.name.as_str(), schema.span)));
            m.members.iter().for_each(|member| in_member(member, out));
        }
        ast::Item::Test(t) => in_test(t, out),
    }
}

/// Names read by a test.
pub(super) fn in_test<'a>(test: &'a ast::Test, out: &mut Names<'a>) {
    use ast::TestPartKind as P;
    for part in &test.parts {
        match &part.kind {
            P::Let(l) => in_expr(&l.value, out),
            P::Layer(l) => in_expr(&l.value, out),
            P::Given { value, .. } | P::GivenWeight { value, .. } => in_expr(value, out),
            P::Expect { value, expected, .. } => {
                in_expr(value, out);
                in_expr(expected, out);
            }
        }
    }
}

pub(super) fn in_member<'a>(member: &'a ast::Member, out: &mut Names<'a>) {
    use ast::MemberKind as M;
    match &member.kind {
        M::Features { fields, .. } | M::Sequence { fields, .. } => {
            for f in fields {
                if let Some(ast::FieldSource::Computed(e)) = &f.source {
                    in_expr(e, out);
                }
                match &f.kind.kind {
                    ast::FeatureKindName::Category { size: Some(e), .. }
                    | ast::FeatureKindName::Number { width: Some(e) } => in_expr(e, out),
                    ast::FeatureKindName::Category { size: None, .. }
                    | ast::FeatureKindName::Number { width: None }
                    | ast::FeatureKindName::Other(_) => {}
                }
            }
        }
        M::Label { classes, missing, .. } => classes.iter().chain(missing).for_each(|e| in_expr(e, out)),
        M::Key { .. } | M::Common { .. } | M::Request(_) => {}
        M::Embedding(e) => {
            in_expr(&e.width, out);
            e.options.iter().flat_map(|o| &o.values).for_each(|v| in_expr(v, out));
            match &e.target {
                ast::EmbeddingTarget::Fields { paths, .. } => {
                    out.extend(paths.iter().map(|p| (p.group.name.as_str(), p.group.span)))
                }
                ast::EmbeddingTarget::EachOf { groups, .. } => {
                    out.extend(groups.iter().map(|g| (g.name.as_str(), g.span)))
                }
            }
        }
        M::Hyper { default, space, condition, .. } => {
            in_expr(default, out);
            space.iter().chain(condition).for_each(|e| in_expr(e, out));
        }
        M::Param(variables) | M::Constant(variables) => variables.iter().for_each(|v| in_variable(v, out)),
        M::Let(l) => in_expr(&l.value, out),
        M::Layer(l) => in_expr(&l.value, out),
        M::Output { value, .. } => in_expr(value, out),
        M::Predict { distribution, .. } => in_expr(distribution, out),
        M::Train(t) => t.settings.iter().flat_map(|s| &s.values).for_each(|v| in_expr(v, out)),
        M::Report { metrics } => {
            metrics.iter().flat_map(|m| std::iter::once(&m.metric).chain(&m.by)).for_each(|e| in_expr(e, out));
        }
        M::Assert { condition } => in_expr(condition, out),
    }
}
