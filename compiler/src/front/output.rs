//! The columns of the file that prediction writes: predictions, labels and keys.

use super::elaborator::Elaborator;
use din_grammar::ast::{self, ExprKind, MemberKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::Distribution;

/// What the column of a prediction is called after its label. Of a faulty one it does not matter.
fn column(distribution: &ast::Expr) -> &'static str {
    let ExprKind::Call { callee, .. } = &distribution.kind else { return "probability" };
    match &callee.kind {
        ExprKind::Name(name) if name == "normal" => Distribution::Normal.column(),
        ExprKind::Name(name) if name == "poisson" => Distribution::Poisson.column(),
        ExprKind::Name(name) if name == "quantile" => Distribution::Quantile { level: 0.5 }.column(),
        _ => Distribution::Bernoulli.column(),
    }
}

impl<'a> Elaborator<'a> {
    /// Two of the columns that `din predict` writes must not have one name.
    pub(super) fn output_columns(&mut self, model: &'a ast::Model) {
        let mut probabilities: Vec<(String, Span, &str)> = Vec::new();
        let mut labels: Vec<(String, Span, &str)> = Vec::new();
        let mut keys: Vec<(String, Span, &str)> = Vec::new();
        for member in &model.members {
            match &member.kind {
                MemberKind::Predict { target, distribution } => {
                    let name = format!("{}_{}", target.name, column(distribution));
                    probabilities.push((name, target.span, "predicted here"));
                }
                MemberKind::Label { name, column, .. } => {
                    let at = column.as_ref().unwrap_or(name);
                    labels.push((at.name.clone(), at.span, "a label here"));
                }
                MemberKind::Key { name, column, .. } => {
                    let at = column.as_ref().unwrap_or(name);
                    keys.push((at.name.clone(), at.span, "a key here"));
                }
                MemberKind::Features { .. }
                | MemberKind::Sequence { .. }
                | MemberKind::Embedding(_)
                | MemberKind::Hyper { .. }
                | MemberKind::Let(_)
                | MemberKind::Layer(_)
                | MemberKind::Train(_)
                | MemberKind::Report { .. }
                | MemberKind::Assert { .. }
                | MemberKind::Common { .. } => {}
            }
        }
        // What a group has twice in itself is another fault, but for keys.
        let mut seen = probabilities;
        for (group, among_themselves) in [(labels, false), (keys, true)] {
            let known = seen.len();
            for column in group {
                let end = if among_themselves { seen.len() } else { known };
                if let Some((name, first, what)) = seen[..end].iter().find(|b| b.0 == column.0) {
                    let d = Diagnostic::error(
                        "E0415",
                        format!("two columns of the output are called `{name}`"),
                        column.1,
                        "passed through to the output of `din predict`",
                    );
                    let d = d.label(*first, *what);
                    self.report(d.help("name another column with `from`, or remove one of them"));
                }
                seen.push(column);
            }
        }
    }
}
