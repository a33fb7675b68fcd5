//! `din fmt`: one layout for every file.
//!
//! Guarantees: the formatted text parses to the same tree up to spans; formatting it again changes
//! nothing; every comment is kept, in order. Blocks written on one line stay on it while they fit;
//! in parentheses and brackets the lines are laid anew within [`WIDTH`] characters; one empty line
//! between parts is kept, more are not.

mod align;
mod doc;

use crate::parse::{Grammar, Rule};
use crate::scan::{Token, TokenKind, scan};
use crate::{Diagnostic, FileId, parse};
use doc::{CELL, Doc, KIND};
use pest::Parser;
use pest::iterators::Pair;

/// The width that lines are laid within where they can be broken.
pub const WIDTH: usize = 120;

/// The text in the one layout, or its syntax errors (whose spans name file 0).
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let file = FileId::default();
    parse(text, file)?;
    let scanned = scan(text, file);
    let Some(pair) = Grammar::parse(Rule::file, &scanned.cooked).ok().and_then(|mut pairs| pairs.next()) else {
        // `parse` has read the same cooked text.
        return Ok(text.to_owned());
    };
    let mut printer = Printer { text, tokens: &scanned.tokens, next: 0, marks: true };
    let docs = printer.file(pair);
    let laid = doc::layout(&docs, WIDTH);
    Ok(align::align(&laid))
}

struct Printer<'t> {
    text: &'t str,
    /// All tokens of the file, comments included; those before `next` are printed.
    tokens: &'t [Token],
    next: usize,
    /// Lines have columns: inside of a body on one line, only where it is broken.
    marks: bool,
}

impl Printer<'_> {
    fn mark(&self, mark: char) -> Doc {
        if self.marks { Doc::text(mark) } else { Doc::Mark { flat: " ".into(), broken: mark.into() } }
    }

    /// Begins a line whose cells are aligned with those of its neighbours of the same kind.
    fn kind(&self, kind: char) -> Doc {
        let mark = format!("{KIND}{kind}");
        if self.marks { Doc::text(mark) } else { Doc::Mark { flat: String::new(), broken: mark } }
    }

    /// The comments before the token at `offset`.
    fn comments(&mut self, offset: usize) -> Vec<Doc> {
        let mut docs = Vec::new();
        while let Some(token) = self.tokens.get(self.next)
            && token.start < offset
        {
            if token.kind == TokenKind::Comment {
                let text = self.text.get(token.start..token.end).unwrap_or("").trim_end().to_owned();
                docs.push(Doc::Comment { text, own: token.breaks > 0 });
            }
            self.next += 1;
        }
        docs
    }

    /// One token, after the comments before it.
    fn token(&mut self, pair: &Pair<Rule>) -> Vec<Doc> {
        let mut docs = self.comments(pair.as_span().start());
        docs.push(Doc::text(pair.as_str().trim_end()));
        self.next += 1;
        docs
    }

    /// The parts of a body or of the file, each on its line: own-line comments and single empty
    /// lines are kept.
    fn lines(
        &mut self,
        parts: Vec<Pair<Rule>>,
        end: usize,
        apart: impl Fn(&Pair<Rule>, &Pair<Rule>) -> bool,
    ) -> Vec<Doc> {
        let mut docs: Vec<Doc> = Vec::new();
        let mut last: Option<Pair<Rule>> = None;
        for part in parts {
            let space = last.as_ref().is_some_and(|last| apart(last, &part));
            self.gap(&mut docs, part.as_span().start(), last.is_some(), space);
            docs.extend(self.node(part.clone()));
            last = Some(part);
        }
        self.gap(&mut docs, end, last.is_some(), false);
        // The caller ends the last line.
        if let Some(Doc::Hard(_)) = docs.last() {
            docs.pop();
        }
        docs
    }

    /// What stands between two lines: the comment that ends the first, comments of their own, and
    /// at most one empty line.
    fn gap(&mut self, docs: &mut Vec<Doc>, offset: usize, mut after: bool, mut space: bool) {
        while let Some(token) = self.tokens.get(self.next)
            && token.start < offset
        {
            if token.kind == TokenKind::Comment {
                let text = self.text.get(token.start..token.end).unwrap_or("").trim_end().to_owned();
                let own = token.breaks > 0;
                if own && after {
                    docs.push(Doc::Hard(token.breaks > 1 || space));
                    space = false;
                }
                docs.push(Doc::Comment { text, own });
                after = true;
            }
            self.next += 1;
        }
        if after {
            let blank = self.tokens.get(self.next).is_some_and(|token| token.breaks > 1);
            docs.push(Doc::Hard(blank || space));
        }
    }

    fn file(&mut self, pair: Pair<Rule>) -> Vec<Doc> {
        let parts = children(pair).into_iter().filter(|part| part.as_rule() != Rule::EOI).collect();
        let head = |rule| matches!(rule, Rule::file_doc | Rule::edition | Rule::import);
        let short = |part: &Pair<Rule>| {
            let inner = part.clone().into_inner().find(|p| p.as_rule() != Rule::doc).map(|p| p.as_rule());
            matches!(inner, Some(Rule::regularizer | Rule::metric))
        };
        self.lines(parts, self.text.len(), |last, next| match (head(last.as_rule()), head(next.as_rule())) {
            (true, true) => false,
            (true, false) => true,
            _ => !(short(last) && short(next)),
        })
    }

    /// Comments before the node stand outside of its groups: they break what is around it, not the
    /// node.
    fn node(&mut self, pair: Pair<Rule>) -> Vec<Doc> {
        let mut docs = self.comments(pair.as_span().start());
        docs.extend(self.bare(pair));
        docs
    }

    fn bare(&mut self, pair: Pair<Rule>) -> Vec<Doc> {
        let rule = pair.as_rule();
        match rule {
            Rule::end_of_statement | Rule::end_of_member | Rule::end_of_setting | Rule::end_of_test_part => Vec::new(),
            Rule::item | Rule::member | Rule::feature_field | Rule::setting => self.documented(pair),
            Rule::block | Rule::fields | Rule::settings => vec![self.body(pair)],
            Rule::model | Rule::schema | Rule::test => self.model(pair),
            Rule::expression => vec![self.expression(pair)],
            Rule::call
            | Rule::list
            | Rule::group
            | Rule::parameters
            | Rule::shape
            | Rule::category_size
            | Rule::classes
            | Rule::tuple
            | Rule::keep
            | Rule::import_group => vec![self.bracketed(pair)],
            Rule::report
            | Rule::common
            | Rule::each_of
            | Rule::field_paths
            | Rule::parameter_list
            | Rule::constant_list
            | Rule::state_list => {
                let inner = self.joined(pair, false);
                vec![Doc::group(vec![Doc::Indent(inner)])]
            }
            Rule::let_
            | Rule::layer
            | Rule::update
            | Rule::hyper
            | Rule::predict
            | Rule::output
            | Rule::given
            | Rule::given_weight
            | Rule::expect
            | Rule::label
            | Rule::key
            | Rule::feature_body
            | Rule::setting_body
            | Rule::embedding
            | Rule::features => self.columned(pair),
            Rule::pattern if pair.as_str().starts_with('(') => vec![self.bracketed(pair)],
            _ if pair.clone().into_inner().next().is_none() => self.token(&pair),
            _ => self.joined(pair, false),
        }
    }

    /// Doc comments on their lines, then what they document.
    fn documented(&mut self, pair: Pair<Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        for (i, part) in children(pair).into_iter().enumerate() {
            if i > 0 {
                let comments = self.comments(part.as_span().start());
                docs.push(Doc::Hard(false));
                docs.extend(comments);
            }
            docs.extend(self.node(part));
        }
        docs
    }

    /// Children with one blank between them where the language has one.
    fn joined(&mut self, pair: Pair<Rule>, cells: bool) -> Vec<Doc> {
        let within = pair.as_rule();
        let mut docs = Vec::new();
        let mut last: Option<Pair<Rule>> = None;
        for (i, part) in children(pair).into_iter().enumerate() {
            if matches!(
                part.as_rule(),
                Rule::end_of_statement | Rule::end_of_member | Rule::end_of_setting | Rule::end_of_test_part
            ) {
                continue;
            }
            if let Some(last) = &last {
                if last.as_rule() == Rule::p_comma {
                    docs.push(Doc::Line(" "));
                } else if cells && self.cell(within, i, last.as_rule(), &part) {
                    docs.push(self.mark(CELL));
                } else if blank_between(within, last, part.as_rule()) {
                    docs.push(Doc::text(" "));
                }
            }
            if part.as_rule() == Rule::p_comma {
                docs.extend(self.comma(&part));
            } else {
                docs.extend(self.node(part.clone()));
            }
            last = Some(part);
        }
        docs
    }

    /// A comma stands before the comments that preceded it.
    fn comma(&mut self, pair: &Pair<Rule>) -> Vec<Doc> {
        let mut docs = vec![Doc::text(",")];
        docs.extend(self.comments(pair.as_span().start()));
        self.next += 1;
        docs
    }

    fn columned(&mut self, pair: Pair<Rule>) -> Vec<Doc> {
        let rule = pair.as_rule();
        let kind = match rule {
            Rule::let_ => 'l',
            Rule::layer => 'y',
            Rule::update => 'u',
            Rule::hyper => 'h',
            Rule::predict => 'p',
            Rule::output => 'o',
            Rule::given | Rule::given_weight => 'g',
            Rule::expect => 'x',
            Rule::label | Rule::key => 'k',
            Rule::feature_body => 'f',
            Rule::setting_body => 's',
            Rule::embedding if pair.clone().into_inner().any(|p| p.as_rule() == Rule::identifier) => 'e',
            Rule::embedding => 'E',
            // Where the braces stand does not matter: they are put behind the name.
            _ if pair.clone().into_inner().filter(|p| p.as_rule() == Rule::fields).all(|p| self.on_one_line(&p)) => {
                return self.features_on_one_line(pair);
            }
            _ => return self.joined(pair, false),
        };
        let mut docs = self.comments(pair.as_span().start());
        docs.push(self.kind(kind));
        docs.extend(self.joined(pair, true));
        docs
    }

    /// `features ad { … }`: a row among its neighbours while the body stays on the line.
    fn features_on_one_line(&mut self, pair: Pair<Rule>) -> Vec<Doc> {
        let mut docs = self.comments(pair.as_span().start());
        let mut line = vec![Doc::Mark { flat: format!("{KIND}F"), broken: String::new() }];
        for part in children(pair) {
            match part.as_rule() {
                Rule::fields => {
                    line.push(Doc::Mark { flat: CELL.into(), broken: " ".into() });
                    // The body breaks together with its heading's columns.
                    match self.body(part) {
                        Doc::Group { parts, .. } => line.extend(parts),
                        other => line.push(other),
                    }
                }
                Rule::identifier | Rule::known => {
                    line.push(Doc::text(" "));
                    line.extend(self.node(part));
                }
                _ => line.extend(self.node(part)),
            }
        }
        docs.push(Doc::group(line));
        docs
    }

    /// Whether a column ends between the last child and this one.
    fn cell(&self, within: Rule, index: usize, last: Rule, part: &Pair<Rule>) -> bool {
        match within {
            Rule::let_
            | Rule::layer
            | Rule::update
            | Rule::hyper
            | Rule::output
            | Rule::given
            | Rule::given_weight
            | Rule::expect => part.as_rule() == Rule::p_equals,
            Rule::predict => part.as_rule() == Rule::p_tilde,
            Rule::label => index == 1 && part.as_rule() != Rule::classes,
            Rule::key | Rule::setting_body => index == 1,
            Rule::feature_body => last == Rule::p_colon || matches!(part.as_rule(), Rule::column | Rule::computed),
            Rule::embedding => part.as_rule() == Rule::p_lbrack || part.as_rule() == Rule::k_for,
            _ => false,
        }
    }

    /// No line ends between the first and the last token.
    fn on_one_line(&self, pair: &Pair<Rule>) -> bool {
        let span = pair.as_span();
        let end = span.start() + span.as_str().trim_end().len();
        !self.text.get(span.start()..end).unwrap_or("").contains('\n')
    }

    /// A block in braces: on one line if it was written so and fits.
    fn body(&mut self, pair: Pair<Rule>) -> Doc {
        let flat = self.on_one_line(&pair);
        let (open, close, parts) = braces(pair);
        let mut docs = self.token(&open);
        if flat {
            let mut inner = Vec::new();
            for (i, part) in parts.into_iter().enumerate() {
                let wide = part.as_rule() == Rule::feature_field;
                inner.push(Doc::Line(match i {
                    0 => " ",
                    _ if wide && self.marks => doc::WIDE_CELL_TEXT,
                    _ => "  ",
                }));
                inner.extend(self.flat(part));
            }
            let empty = inner.is_empty();
            docs.push(Doc::Indent(inner));
            docs.push(Doc::Line(if empty { "" } else { " " }));
            docs.extend(self.token(&close));
            return Doc::group(docs);
        }
        let inner = self.lines(parts, close.as_span().start(), |_, _| false);
        if inner.is_empty() {
            docs.extend(self.token(&close));
            return Doc::group(docs);
        }
        // A comment behind the brace stays behind it.
        docs.push(Doc::Indent(std::iter::once(Doc::Hard(false)).chain(inner).collect()));
        docs.push(Doc::Hard(false));
        docs.extend(self.token(&close));
        Doc::group(docs)
    }

    /// A part of a body on one line: no columns of its own.
    fn flat(&mut self, part: Pair<Rule>) -> Vec<Doc> {
        let marks = std::mem::replace(&mut self.marks, false);
        let docs = self.node(part);
        self.marks = marks;
        docs
    }

    fn model(&mut self, pair: Pair<Rule>) -> Vec<Doc> {
        let mut docs = Vec::new();
        let (head, rest): (Vec<_>, Vec<_>) = children(pair).into_iter().partition(|p| {
            matches!(
                p.as_rule(),
                Rule::k_model
                    | Rule::k_schema
                    | Rule::k_test
                    | Rule::identifier
                    | Rule::on_schema
                    | Rule::string
                    | Rule::in_training
            )
        });
        for part in head {
            docs.extend(self.node(part));
            docs.push(Doc::text(" "));
        }
        // What ends a part of a test is empty.
        let mut parts: Vec<_> = rest.into_iter().filter(|p| !p.as_str().is_empty()).collect();
        let (Some(close), open) = (parts.pop(), parts.remove(0)) else { return docs };
        docs.extend(self.token(&open));
        let inner = self.lines(parts, close.as_span().start(), |_, _| false);
        if !inner.is_empty() {
            docs.push(Doc::Indent(std::iter::once(Doc::Hard(false)).chain(inner).collect()));
            docs.push(Doc::Hard(false));
        }
        docs.extend(self.token(&close));
        docs
    }

    /// `( a, b )` and its like: on one line, or each part on its own with a comma behind the last.
    fn bracketed(&mut self, pair: Pair<Rule>) -> Doc {
        let rule = pair.as_rule();
        let mut parts = children(pair);
        if rule == Rule::import_group {
            parts.remove(0);
        }
        let (open, close) = (parts.remove(0), parts.pop());
        let mut docs = if rule == Rule::import_group {
            self.next += 1;
            vec![Doc::text(".")]
        } else {
            Vec::new()
        };
        docs.extend(self.token(&open));
        if parts.last().is_some_and(|p| p.as_rule() == Rule::p_comma) {
            parts.pop();
        }
        let empty = parts.is_empty();
        let single = rule == Rule::group && parts.len() == 1;
        let mut inner = vec![Doc::Line("")];
        let mut last = None;
        let mut comprehension = false;
        for part in parts {
            if part.as_rule() == Rule::p_comma {
                inner.extend(self.comma(&part));
                inner.push(Doc::Line(" "));
                last = None;
                continue;
            }
            if part.as_rule() == Rule::for_each {
                comprehension = true;
                inner.push(Doc::Line(" "));
            } else if last.is_some() {
                inner.push(Doc::text(" "));
            }
            last = Some(part.as_rule());
            inner.extend(self.node(part));
        }
        if !empty && !single && !comprehension && !matches!(rule, Rule::keep | Rule::category_size) {
            inner.push(Doc::IfBroken(","));
        }
        let Some(close) = close else { return Doc::group(docs) };
        inner.extend(self.comments(close.as_span().start()));
        if empty && inner.len() == 1 {
            inner.clear();
        } else {
            docs.push(Doc::Indent(inner));
            docs.push(Doc::Line(""));
        }
        docs.extend(self.token(&close));
        Doc::group(docs)
    }

    /// Breaks, where it must, after the operators that bind most loosely.
    fn expression(&mut self, pair: Pair<Rule>) -> Doc {
        let parts = children(pair);
        let loosest = parts
            .iter()
            .filter(|p| p.as_rule() == Rule::infix && p.as_str() != "..")
            .map(|p| strength(p.as_str()))
            .min();
        let mut docs = Vec::new();
        let mut tail: Vec<Doc> = Vec::new();
        let mut broken = false;
        for part in parts {
            let into = if broken { &mut tail } else { &mut docs };
            if part.as_rule() == Rule::infix && part.as_str() == ".." {
                into.extend(self.token(&part));
                continue;
            }
            if part.as_rule() == Rule::infix {
                into.push(Doc::text(" "));
                into.extend(self.token(&part));
                let line = if Some(strength(part.as_str())) == loosest { Doc::Line(" ") } else { Doc::text(" ") };
                broken = true;
                tail.push(line);
                continue;
            }
            if part.as_rule() == Rule::second_name {
                into.push(Doc::text(" "));
            }
            let word = part.as_rule() == Rule::prefix && part.as_str() == "not";
            into.extend(self.node(part));
            if word {
                into.push(Doc::text(" "));
            }
        }
        docs.push(Doc::Indent(tail));
        Doc::group(docs)
    }
}

fn children(pair: Pair<Rule>) -> Vec<Pair<Rule>> {
    pair.into_inner().collect()
}

/// The braces of a body, and what stands between them.
fn braces(pair: Pair<Rule>) -> (Pair<Rule>, Pair<Rule>, Vec<Pair<Rule>>) {
    let (marks, parts): (Vec<_>, Vec<_>) =
        children(pair).into_iter().partition(|p| matches!(p.as_rule(), Rule::p_open | Rule::p_close));
    let parts = parts.into_iter().filter(|p| !p.as_str().is_empty()).collect();
    let mut marks = marks.into_iter();
    let open = marks.next().expect("din.pest: a body begins with `{`");
    let close = marks.next().expect("din.pest: a body ends with `}`");
    (open, close, parts)
}

fn strength(operator: &str) -> u8 {
    match operator {
        "or" => 1,
        "and" => 2,
        ".." => 4,
        "+" | "-" => 5,
        "where" => 6,
        "*" | "/" | "@" => 7,
        "^" => 8,
        _ => 3,
    }
}

fn blank_between(within: Rule, last: &Pair<Rule>, next: Rule) -> bool {
    let tight_before = matches!(
        next,
        Rule::p_comma
            | Rule::p_colon
            | Rule::p_dot
            | Rule::p_rparen
            | Rule::p_rbrack
            | Rule::parameters
            | Rule::call
            | Rule::field
            | Rule::category_size
            | Rule::classes
            | Rule::import_group
    );
    let tight_after = matches!(last.as_rule(), Rule::p_dot | Rule::p_lparen | Rule::p_lbrack | Rule::minus);
    let number = within == Rule::numeric && next == Rule::p_lbrack;
    !(tight_before || tight_after || number)
}
