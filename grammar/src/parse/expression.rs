//! Expressions: the flat sequence that the grammar reads, ordered by precedence.
//!
//! Loosest first: `or`, `and`, `not`, comparisons (which do not chain), `..`, `+ -`, `where`,
//! `* / @`, unary `-`, `^` (right). The height of the tree is bounded before it is built.

use super::build::{Builder, Children, PestNode, unexpected};
use super::{MAX_HEIGHT, Rule};
use crate::ast::*;
use crate::scan::unit_start;
use crate::{Diagnostic, Span};
use std::iter::Peekable;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Infix {
    Binary(BinaryOperator),
    Where,
}

const NOT: u8 = 3;
const COMPARE: u8 = 4;
const NEGATE: u8 = 9;

/// Operator, and the precedence by which it binds.
fn infix(text: &str) -> (Infix, u8) {
    use BinaryOperator::*;
    let (op, precedence) = match text {
        "or" => (Or, 1),
        "and" => (And, 2),
        "==" => (Equal, COMPARE),
        "!=" => (NotEqual, COMPARE),
        "<" => (Less, COMPARE),
        "<=" => (LessEqual, COMPARE),
        ">" => (Greater, COMPARE),
        ">=" => (GreaterEqual, COMPARE),
        ".." => (Range, 5),
        "+" => (Add, 6),
        "-" => (Subtract, 6),
        "where" => return (Infix::Where, 7),
        "*" => (Multiply, 8),
        "/" => (Divide, 8),
        "@" => (Product, 8),
        "^" => (Power, 10),
        other => unreachable!("din.pest: `{other}` is no operator"),
    };
    (Infix::Binary(op), precedence)
}

impl Builder<'_> {
    /// The expression of an `expression` node that stands `height` levels down in the tree.
    pub(super) fn expression(&mut self, node: PestNode, height: usize) -> Expr {
        let span = self.span(&node);
        // Every operator, call and field of this sequence adds at most one level.
        let added = 1 + Children::new(node.clone()).filter(|child| !is_primary(child.as_rule())).count();
        if height + added > MAX_HEIGHT {
            self.errors.push(
                Diagnostic::error(
                    "E0107",
                    "this expression is nested too deep",
                    span,
                    "too many parts in one expression",
                )
                .note(format!("expected at most {MAX_HEIGHT} operators, calls and nested parts along one path"))
                .help("name parts of it with `let`"),
            );
            return Expr { kind: ExprKind::Hole, span };
        }
        let mut sequence = Children::new(node).peekable();
        self.climb(&mut sequence, 0, height + added)
    }

    /// Precedence climbing over prefix, primary, postfix and infix nodes.
    fn climb<'i>(&mut self, nodes: &mut Peekable<Children<'i>>, least: u8, height: usize) -> Expr {
        let mut left = self.operand(nodes, least, height);
        let mut compared: Option<Span> = None;
        while let Some(node) = nodes.next_if(|n| n.as_rule() == Rule::infix && infix(n.as_str()).1 >= least) {
            let (op, precedence) = infix(node.as_str());
            if precedence == COMPARE
                && let Some(first) = compared.replace(self.span(&node))
            {
                self.errors.push(
                    Diagnostic::error("E0111", "comparisons do not chain", self.span(&node), "a second comparison")
                        .label(first, "the first is here")
                        .help("write `a < b and b < c`"),
                );
            }
            let condition = (op == Infix::Binary(BinaryOperator::And)
                || op == Infix::Binary(BinaryOperator::Or)
                || precedence == COMPARE)
                .then(|| (node.as_str().to_owned(), self.span(&node)));
            // `^` groups to the right, all others to the left.
            let next = if precedence > NEGATE { precedence } else { precedence + 1 };
            let right = self.climb(nodes, next, height);
            if let Some((operator, at)) = condition
                && let Some(open) = open_where(&left).or_else(|| open_where(&right))
            {
                self.errors.push(
                    Diagnostic::error(
                        "E0113",
                        format!("`where` binds tighter than `{operator}`"),
                        at,
                        "not part of the condition",
                    )
                    .label(open, "the condition ends here")
                    .help("put the condition into parentheses: `… where (a > b)`"),
                );
            }
            let span = left.span.to(right.span);
            let (left_box, right) = (Box::new(left), Box::new(right));
            let kind = match op {
                Infix::Binary(op) => ExprKind::Binary { op, left: left_box, right },
                Infix::Where => ExprKind::Where { value: left_box, condition: right },
            };
            left = Expr { kind, span };
        }
        left
    }

    fn operand<'i>(&mut self, nodes: &mut Peekable<Children<'i>>, least: u8, height: usize) -> Expr {
        let node = nodes.next().expect("din.pest: an operator is followed by an operand");
        if node.as_rule() == Rule::prefix {
            let (op, own) =
                if node.as_str() == "-" { (UnaryOperator::Negate, NEGATE) } else { (UnaryOperator::Not, NOT) };
            // As the right operand of an operator that binds tighter, it takes no more than that
            // operator would: `a where not b + c` is `(a where (not b)) + c`.
            let least = own.max(least);
            let value = self.climb(nodes, least, height);
            let span = self.span(&node).to(value.span);
            return Expr { kind: ExprKind::Unary { op, value: Box::new(value) }, span };
        }
        let mut value = self.primary(node, height);
        while let Some(node) = nodes.next_if(|n| matches!(n.as_rule(), Rule::call | Rule::field | Rule::second_name)) {
            let span = value.span.to(self.span(&node));
            let kind = if node.as_rule() == Rule::call {
                let arguments = Children::new(node).map(|argument| self.argument(argument, height)).collect();
                ExprKind::Call { callee: Box::new(value), arguments }
            } else {
                self.named(value, node)
            };
            value = Expr { kind, span };
        }
        value
    }

    /// A field of a value, or its entries under a second name.
    fn named(&mut self, value: Expr, node: PestNode) -> ExprKind {
        let rule = node.as_rule();
        let name = self.ident(&Children::new(node).need());
        let value = Box::new(value);
        match rule {
            Rule::field => ExprKind::Field { base: value, name },
            Rule::second_name => ExprKind::SecondName { value, axis: name },
            other => unexpected(other),
        }
    }

    /// `log(1 + price)` after the `from` of a field.
    pub(super) fn computed(&mut self, node: PestNode) -> Expr {
        let mut children = Children::new(node);
        let callee = self.primary(children.need(), 1);
        let call = children.need();
        let span = callee.span.to(self.span(&call));
        let arguments = Children::new(call).map(|argument| self.argument(argument, 1)).collect();
        Expr { kind: ExprKind::Call { callee: Box::new(callee), arguments }, span }
    }

    /// A number, perhaps negative, or a text.
    pub(super) fn literal(&mut self, node: PestNode) -> Expr {
        let span = self.span(&node);
        let mut children = Children::new(node);
        let minus = children.given(Rule::minus).is_some();
        let value = self.primary(children.need(), 1);
        match minus {
            true => Expr { kind: ExprKind::Unary { op: UnaryOperator::Negate, value: Box::new(value) }, span },
            false => value,
        }
    }

    fn argument(&mut self, node: PestNode, height: usize) -> Argument {
        let span = self.span(&node);
        let mut children = Children::new(node);
        let name = children.given(Rule::argument_name).map(|n| self.ident(&Children::new(n).need()));
        let value = self.expression(children.need(), height);
        let over = children.next().map(|axis| self.ident(&axis));
        let condition = self.condition(children, height);
        Argument { name, value, over, condition, span }
    }

    /// What follows `over s where`.
    fn condition(&mut self, mut children: Children, height: usize) -> Option<Expr> {
        children.next().map(|condition| self.expression(condition, height))
    }

    fn primary(&mut self, node: PestNode, height: usize) -> Expr {
        let span = self.span(&node);
        let kind = match node.as_rule() {
            Rule::number => self.number(&node),
            Rule::string => ExprKind::Text(self.string(&node)),
            Rule::k_true => ExprKind::Bool(true),
            Rule::k_false => ExprKind::Bool(false),
            Rule::hole => ExprKind::Hole,
            Rule::list => self.list(node, height),
            Rule::group => {
                let mut parts: Vec<Expr> = Children::new(node).map(|part| self.expression(part, height)).collect();
                match parts.pop() {
                    // Parentheses around one expression only widen its span.
                    Some(only) if parts.is_empty() => only.kind,
                    last => {
                        parts.extend(last);
                        ExprKind::Tuple(parts)
                    }
                }
            }
            Rule::if_ => return self.if_(node, height),
            Rule::identifier => ExprKind::Name(node.as_str().to_owned()),
            other => unexpected(other),
        };
        Expr { kind, span }
    }

    /// `[a, b]`, `[f(x) for x in xs]`
    fn list(&mut self, node: PestNode, height: usize) -> ExprKind {
        let mut items = Vec::new();
        let mut each = Vec::new();
        for part in Children::new(node) {
            match part.as_rule() {
                Rule::for_each => each.push(self.for_each(&mut Children::new(part), height)),
                _ => items.push(self.expression(part, height)),
            }
        }
        if each.is_empty() {
            return ExprKind::List(items);
        }
        let value = items.pop().expect("din.pest: an expression stands before the first `for`");
        ExprKind::Comprehension { value: Box::new(value), each }
    }

    /// `if a {…} else if b {…} else {…}`: an `else if` is a block whose value is the inner `if`.
    fn if_(&mut self, node: PestNode, height: usize) -> Expr {
        let span = self.span(&node);
        let parts: Vec<PestNode> = Children::new(node).collect();
        // Condition and block in turn, and the last block.
        if height + parts.len() / 2 > MAX_HEIGHT {
            self.errors.push(
                Diagnostic::error("E0107", "this chain of conditions is too long", span, "too many branches")
                    .note(format!("expected at most {MAX_HEIGHT} levels"))
                    .help("divide it between functions"),
            );
            return Expr { kind: ExprKind::Hole, span };
        }
        let height = height + parts.len() / 2;
        let mut parts = parts.into_iter();
        let mut branches = Vec::new();
        let mut otherwise = None;
        while let Some(node) = parts.next() {
            if node.as_rule() == Rule::block {
                otherwise = Some(self.block(node, height));
            } else if let Some(block) = parts.next() {
                let condition = self.expression(node, height);
                branches.push((condition, self.block(block, height)));
            }
        }
        let mut otherwise = otherwise.unwrap_or(Block { statements: Vec::new(), value: None, span });
        let mut result = Expr { kind: ExprKind::Hole, span };
        let last = branches.len().saturating_sub(1);
        for (i, (condition, then)) in branches.into_iter().rev().enumerate() {
            let start = if i == last { span.start } else { condition.span.start };
            let span = Span { start, ..span };
            let kind = ExprKind::If { condition: Box::new(condition), then, otherwise };
            result = Expr { kind, span };
            if i == last {
                break;
            }
            otherwise = Block { statements: Vec::new(), value: Some(Box::new(result)), span };
            result = Expr { kind: ExprKind::Hole, span };
        }
        result
    }

    pub(super) fn number(&mut self, node: &PestNode) -> ExprKind {
        let text = node.as_str();
        let split = unit_start(text);
        let (digits, unit) = text.split_at(split);
        let plain: String = digits.chars().filter(|c| *c != '_').collect();
        let span = self.span(node);
        if unit.starts_with('_') || unit.ends_with('_') {
            self.number_error(span, "this number is malformed", "expected `_` only between two digits".to_owned());
            return ExprKind::Int(0);
        }
        let value: f64 = plain.parse().unwrap_or(f64::INFINITY);
        if !value.is_finite() {
            self.number_error(span, "this number is too large", format!("expected at most {:e}", f64::MAX));
            return ExprKind::Float(0.0);
        }
        if !unit.is_empty() {
            let unit = Ident { name: unit.to_owned(), span: Span { start: span.start + split as u32, ..span } };
            return ExprKind::Quantity { value, unit };
        }
        if plain.contains(['.', 'e', 'E']) {
            return ExprKind::Float(value);
        }
        match plain.parse() {
            Ok(value) => ExprKind::Int(value),
            Err(_) => {
                self.number_error(span, "this whole number is too large", format!("expected at most {}", i64::MAX));
                ExprKind::Int(0)
            }
        }
    }

    /// The value of a string literal.
    pub(super) fn string(&mut self, node: &PestNode) -> String {
        let span = self.span(node);
        let text = node.as_str();
        let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or("");
        let mut value = String::with_capacity(inner.len());
        let mut chars = inner.char_indices();
        while let Some((i, c)) = chars.next() {
            if c != '\\' {
                value.push(c);
                continue;
            }
            match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\')) => value.push(c),
                other => {
                    let length = 1 + other.map_or(0, char::len_utf8);
                    let start = span.start as usize + 1 + i;
                    let escape = Span::new(span.file, start, start + length);
                    self.errors.push(
                        Diagnostic::error("E0104", "unknown escape in a string", escape, "unknown escape")
                            .note("expected `\\\"`, `\\\\`, `\\n` or `\\t`")
                            .help("write `\\\\` for a backslash"),
                    );
                }
            }
        }
        value
    }
}

/// The condition of a `where` that ends an expression and stands in no parentheses.
fn open_where(e: &Expr) -> Option<Span> {
    match &e.kind {
        // Parentheses widen the span of what they hold.
        ExprKind::Where { condition, .. } if condition.span.end == e.span.end => Some(condition.span),
        ExprKind::Binary { right, .. } if right.span.end == e.span.end => open_where(right),
        ExprKind::Unary { value, .. } if value.span.end == e.span.end => open_where(value),
        _ => None,
    }
}

fn is_primary(rule: Rule) -> bool {
    !matches!(rule, Rule::prefix | Rule::infix | Rule::call | Rule::field | Rule::second_name)
}
