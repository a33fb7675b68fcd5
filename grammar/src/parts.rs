//! What files and expressions are made of, for walks that treat most kinds of them alike.

use crate::ast::{Block, Expr, ExprKind, File, Item, Model};

impl File {
    /// The models that it defines; a file without one is a library.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.items.iter().filter_map(|item| match item {
            Item::Model(model) => Some(model),
            Item::Function(_)
            | Item::Regularizer(_)
            | Item::Optimizer(_)
            | Item::Metric(_)
            | Item::Schema(_)
            | Item::Test(_) => None,
        })
    }
}

/// A part of an expression.
#[derive(Clone, Copy, Debug)]
pub enum ExprPart<'a> {
    /// An operand, an argument, an item and the like.
    Expr(&'a Expr),
    /// A branch of an `if`.
    Block(&'a Block),
}

impl Expr {
    /// The parts that it is directly made of, in the order written.
    pub fn parts(&self) -> Vec<ExprPart<'_>> {
        use ExprPart::{Block, Expr};
        match &self.kind {
            ExprKind::Name(_)
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Text(_)
            | ExprKind::Bool(_)
            | ExprKind::Hole
            | ExprKind::Quantity { .. } => Vec::new(),
            ExprKind::List(items) | ExprKind::Tuple(items) => items.iter().map(Expr).collect(),
            ExprKind::Comprehension { value, each } => {
                let lists = each.iter().map(|each| Expr(&each.list));
                [Expr(value)].into_iter().chain(lists).collect()
            }
            ExprKind::Call { callee, arguments } => {
                let given = arguments.iter().flat_map(|a| [Some(&a.value), a.condition.as_ref()]);
                [Expr(callee)].into_iter().chain(given.flatten().map(Expr)).collect()
            }
            ExprKind::Field { base: value, .. }
            | ExprKind::SecondName { value, .. }
            | ExprKind::Unary { value, .. } => vec![Expr(value)],
            ExprKind::Binary { left, right, .. } => vec![Expr(left), Expr(right)],
            ExprKind::If { condition, then, otherwise } => vec![Expr(condition), Block(then), Block(otherwise)],
            ExprKind::Where { value, condition } => vec![Expr(value), Expr(condition)],
        }
    }
}
