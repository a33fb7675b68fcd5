//! `optimizer … for …` and `regularize … for …`: settings of `train` for the weights and tables
//! under a path.
//!
//! A path covers the weight or table of that name and all whose names continue it. Two paths are
//! disjoint or one covers the other, so of those that cover a name the longest is the most specific
//! one, and it decides, whatever the order of the settings. A setting without `for` is for the
//! rest.

use super::elaborator::Elaborator;
use super::load::listed;
use super::rule::RuleCall;
use super::scope::NameScope;
use super::train::TrainSettings;
use super::value::nearest;
use crate::graph::{Graph, Node, Op};
use crate::optimize::rewrite::rebuild;
use din_grammar::ast::{self, ExprKind};
use din_grammar::{Diagnostic, Span};
use din_program::schema::UpdateRule;
use std::cell::RefCell;

/// What a setting says of the updates of weights.
#[derive(Clone, Debug)]
pub(super) enum OptimizerChoice<'a> {
    /// An optimizer, and which rows of a table its steps update.
    Steps(RuleCall<'a, ast::Optimizer>, UpdateRule),
    /// They stay as they are; `span` is that of the word.
    Frozen { span: Span },
}

/// What a setting says of what is added to gradients.
#[derive(Clone, Debug)]
pub(super) enum RegularizerChoice<'a> {
    Rule(RuleCall<'a, ast::Regularizer>),
    None,
}

impl<'a> RegularizerChoice<'a> {
    pub fn rule(&self) -> Option<&RuleCall<'a, ast::Regularizer>> {
        match self {
            RegularizerChoice::Rule(rule) => Some(rule),
            RegularizerChoice::None => None,
        }
    }
}

/// The weights and tables that stay as they are, by number.
#[derive(Clone, Debug, Default)]
pub(super) struct FrozenWeights {
    pub parameters: Vec<usize>,
    pub tables: Vec<usize>,
}

impl FrozenWeights {
    /// Lets no gradient reach them.
    pub fn stop_gradients(&self, graph: &mut Graph) {
        if self.parameters.is_empty() && self.tables.is_empty() {
            return;
        }
        rebuild(graph, |graph, node| {
            let frozen = match &node.op {
                Op::Param(p) => self.parameters.contains(&p.index()),
                Op::Lookup { table, .. } => self.tables.contains(&table.index()),
                _ => false,
            };
            let (axis, shape, span) = (node.axis, node.shape.clone(), node.span);
            let value = graph.push(node);
            if !frozen {
                return value;
            }
            graph.push(Node { op: Op::StopGradient, operands: [value].into_iter().collect(), axis, shape, span })
        });
    }
}

/// What the settings of one word say, by path.
pub(super) struct ByPath<'a, R> {
    /// In the order of the text; without a path the one for the rest. `None` where the value has a
    /// fault.
    rules: Vec<(Option<&'a ast::Ident>, Option<R>)>,
    /// By rule, whether it was chosen for something.
    chosen: RefCell<Vec<bool>>,
}

impl<'a, R> ByPath<'a, R> {
    /// What is said of a weight or table: the outer `None` where nothing is, the inner one where it
    /// has a fault. `paths_alone`: what is for the rest is not for this.
    pub fn choose(&self, name: &str, paths_alone: bool) -> Option<Option<&R>> {
        let covering = self.rules.iter().enumerate().filter(|(_, (path, _))| match path {
            Some(path) => covers(&path.name, name),
            None => !paths_alone,
        });
        let (number, (_, rule)) = covering.max_by_key(|(_, (path, _))| path.map_or(0, |path| path.name.len()))?;
        self.chosen.borrow_mut()[number] = true;
        Some(rule.as_ref())
    }

    /// Every rule with its path, and whether it was chosen.
    pub fn all(&self) -> impl Iterator<Item = (Option<&'a ast::Ident>, Option<&R>, bool)> {
        let chosen = self.chosen.borrow().clone();
        self.rules.iter().zip(chosen).map(|((path, rule), chosen)| (*path, rule.as_ref(), chosen))
    }
}

/// Whether a path leads to what has this name.
fn covers(path: &str, name: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The paths that lead to a name, itself the last.
fn paths_to(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(at, _)| &name[..at]).chain([name])
}

impl<'a> Elaborator<'a> {
    /// What the settings with a word say; `value` makes a rule of a setting.
    pub(super) fn by_path<R: Clone>(
        &mut self,
        train: &TrainSettings<'a>,
        word: &str,
        mut value: impl FnMut(&mut Self, &'a ast::Setting) -> Option<R>,
    ) -> ByPath<'a, R> {
        let mut rules: Vec<(Option<&'a ast::Ident>, Option<R>)> = Vec::new();
        for setting in train.settings.iter().copied().filter(|s| s.word.name == word) {
            let rule = value(self, setting);
            if setting.weights.is_empty() {
                rules.push((None, rule));
                continue;
            }
            for path in &setting.weights {
                let same = rules.iter().filter_map(|(known, _)| *known).find(|known| known.name == path.name);
                if let Some(first) = same {
                    let message = format!("`{word}` is given twice for `{}`", path.name);
                    let d = Diagnostic::error("E0605", message, path.span, "again here");
                    self.report(d.label(first.span, "first here").help("remove one of them"));
                    continue;
                }
                rules.push((Some(path), rule.clone()));
            }
        }
        let chosen = RefCell::new(vec![false; rules.len()]);
        ByPath { rules, chosen }
    }

    /// Reports each path that leads nowhere, and each to what other settings decide.
    pub(super) fn useless_paths<R>(&mut self, word: &str, rules: &ByPath<'a, R>) {
        let tables = self.declarations.tables.iter().map(|table| &table.name);
        let names: Vec<String> = tables.chain(self.parameters.iter().map(|p| &p.name)).cloned().collect();
        for (path, _, chosen) in rules.all() {
            let Some(path) = path.filter(|_| !chosen) else { continue };
            if names.iter().any(|name| covers(&path.name, name)) {
                let message = format!("this `{word}` is for nothing under `{}`", path.name);
                let d = Diagnostic::error("E0625", message, path.span, "decided elsewhere");
                let d = d.note(match word {
                    "regularize" => {
                        "a longer path or the table's own option decides, and vectors are never decayed".into()
                    }
                    _ => format!("what is more specific decides: a longer path, or the table's own `{word}`"),
                });
                self.report(d.help("remove the path, or what is more specific"));
                continue;
            }
            let message = format!("no weight or table is called `{}`", path.name);
            let d = Diagnostic::error("E0625", message, path.span, "leads to nothing");
            let mut paths: Vec<&str> = names.iter().flat_map(|name| paths_to(name)).collect();
            paths.sort_unstable();
            paths.dedup();
            let d = match nearest(&path.name, paths.iter().copied()) {
                Some(near) => d.did_you_mean(path.span, near),
                None => {
                    paths.retain(|path| !path.contains('.'));
                    d.help(format!("paths begin with {}", listed(&paths)))
                }
            };
            self.report(d);
        }
    }

    /// The optimizer of a setting, or that there is none.
    pub(super) fn optimizer_choice(
        &mut self,
        scope: &mut NameScope<'a>,
        setting: &'a ast::Setting,
    ) -> Option<OptimizerChoice<'a>> {
        let value = setting.values.first()?;
        if self.is_word(scope, value, "frozen") {
            if let Some(updates) = &setting.updates {
                let d = Diagnostic::error("E0607", "`frozen` makes no updates", updates.span, "not understood here");
                self.report(d.help("remove the words"));
            }
            return Some(OptimizerChoice::Frozen { span: value.span });
        }
        let rule = match &setting.updates {
            Some(updates) if updates.dense => UpdateRule::Dense,
            Some(_) | None => UpdateRule::Sparse,
        };
        Some(OptimizerChoice::Steps(self.rule(scope, value)?, rule))
    }

    /// The regularizer of a setting, or that there is none.
    pub(super) fn regularizer_choice(
        &mut self,
        scope: &mut NameScope<'a>,
        setting: &'a ast::Setting,
    ) -> Option<RegularizerChoice<'a>> {
        let value = setting.values.first()?;
        if self.is_word(scope, value, "none") {
            return Some(RegularizerChoice::None);
        }
        self.rule(scope, value).map(RegularizerChoice::Rule)
    }

    /// Whether a value is the word, where nothing else has that name.
    fn is_word(&self, scope: &NameScope<'a>, value: &ast::Expr, word: &str) -> bool {
        matches!(&value.kind, ExprKind::Name(name) if name == word)
            && scope.find(word).is_none()
            && !self.modules[scope.module].names.contains_key(word)
    }

    /// `for` says which weights of a model a setting of `train` is for; no other setting has it.
    pub(super) fn weights_elsewhere(&mut self, setting: &ast::Setting, of_train: bool) {
        let Some(first) = setting.weights.first() else { return };
        let word = setting.word.name.as_str();
        if of_train && matches!(word, "optimizer" | "regularize") {
            return;
        }
        let help = match of_train {
            true => format!("remove `for`: `{word}` is for the whole model"),
            false => format!("remove `for`: `{word}` is the table's own"),
        };
        let message = "`for` belongs to an `optimizer` or `regularize` of `train`";
        self.report(Diagnostic::error("E0607", message, first.span, "not understood here").help(help));
    }
}

#[cfg(test)]
mod tests {
    use super::{covers, paths_to};

    #[test]
    fn a_path_ends_between_parts() {
        assert!(covers("a.b", "a.b") && covers("a.b", "a.b.0.c") && covers("a", "a.b"));
        assert!(!covers("a.b", "a.bc") && !covers("a.b", "a") && !covers("b", "a.b"));
        assert_eq!(paths_to("a.0.c").collect::<Vec<_>>(), ["a", "a.0", "a.0.c"]);
    }
}
