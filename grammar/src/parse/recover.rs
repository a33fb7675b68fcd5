//! Every independent syntax error of a file that pest refused.
//!
//! The file is cut where definitions begin, a refused model where members begin, a refused body
//! where statements, fields or settings begin; each piece is parsed alone and its first error
//! explained. Cutting goes by brackets and line starts; the scanner has repaired brackets that do
//! not match.

use super::build::{Builder, Children};
use super::explain::{self, ParseRefusal};
use super::pieces::{BrokenPlace, Heading, Pieces};
use super::{Grammar, RESERVED, Rule};
use crate::ast::{File, Ident};
use crate::scan::{MEMBER_WORDS, Scan, Token, TokenKind};
use crate::{Diagnostic, FileId, Span};
use pest::Parser;
use std::ops::Range;

pub(super) const ITEM_WORDS: [&str; 7] = ["fn", "model", "optimizer", "regularizer", "metric", "schema", "test"];
/// Syntax errors after which no more are sought.
const MAX_ERRORS: usize = 50;
/// Bodies within bodies that are cut: a model's members' fields, a function's loops.
const MAX_LEVELS: usize = 3;
pub(super) const TEST_WORDS: [&str; 4] = ["let", "layer", "given", "expect"];
const STATEMENT_WORDS: [&str; 7] = ["let", "layer", "param", "constant", "state", "update", "for"];

/// A token that the grammar sees, and whether it begins its line.
#[derive(Clone, Copy)]
pub(super) struct SeenToken {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
    pub fresh: bool,
}

pub(super) struct Cutter<'t> {
    pub file: FileId,
    pub text: &'t str,
    pub cooked: String,
    pub tokens: Vec<SeenToken>,
    errors: Vec<Diagnostic>,
    /// Reserved words that were used as names; each is reported once.
    reserved_names: Vec<String>,
    /// A body has no `{`, so that nothing behind it has a place.
    open_body: bool,
    /// What was read of the body at hand.
    kept: Pieces,
}

/// What the pieces of a body are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    Members,
    Statements,
    Fields,
    Settings,
    TestParts,
}

/// What can be read of the file, and its errors.
pub(super) fn recover(text: &str, file: FileId, scanned: Scan) -> (File, Vec<Diagnostic>) {
    let Scan { tokens, cooked, errors, .. } = scanned;
    let lexical = errors.len();
    let tokens = seen(&tokens, &cooked);
    let kept = Pieces::default();
    let mut cutter = Cutter { file, text, tokens, cooked, errors, reserved_names: Vec::new(), open_body: false, kept };
    let mut head = true;
    for chunk in cutter.definitions() {
        if cutter.errors.len() >= MAX_ERRORS || cutter.open_body {
            break;
        }
        let is_head = cutter.is_head(chunk.start);
        if is_head && !head {
            cutter.late_head(chunk.start);
        }
        // An import in the words of another language comes before definitions too.
        head &= is_head || matches!(cutter.word(chunk.start), "import" | "from" | "include");
        cutter.definition(chunk);
    }
    let mut errors = cutter.reported_once(lexical);
    if cutter.open_body {
        errors.retain(|error| error.code != "E0108" || !error.message.starts_with("`}`"));
    }
    let Pieces { docs, edition, imports, items, .. } = std::mem::take(&mut cutter.kept);
    let tree = File { docs, edition, imports, items, span: Span::new(file, 0, text.len()) };
    if errors.is_empty() {
        // Every piece parses and the whole does not: report what pest says of the whole.
        if let Some(refusal) = cutter.refused(Rule::file, 0..cutter.tokens.len(), 0) {
            errors.push(explain::explain(&cutter, &refusal));
        }
    }
    (tree, errors)
}

fn seen(tokens: &[Token], cooked: &str) -> Vec<SeenToken> {
    let mut fresh = true;
    let mut out = Vec::with_capacity(tokens.len());
    for t in tokens {
        fresh |= t.breaks > 0;
        let blank = cooked.as_bytes().get(t.start) == Some(&b' ');
        if t.kind == TokenKind::Comment || blank {
            continue;
        }
        out.push(SeenToken { kind: t.kind, start: t.start, end: t.end, fresh });
        fresh = false;
    }
    out
}

impl Cutter<'_> {
    /// The token as the grammar reads it; empty behind the last.
    pub(super) fn word(&self, i: usize) -> &str {
        self.tokens.get(i).and_then(|t| self.cooked.get(t.start..t.end)).unwrap_or("")
    }

    pub(super) fn span(&self, i: usize) -> Span {
        match self.tokens.get(i) {
            Some(t) => Span::new(self.file, t.start.min(self.text.len()), t.end.min(self.text.len())),
            None => Span::new(self.file, self.text.len(), self.text.len()),
        }
    }

    fn is_doc(&self, i: usize) -> bool {
        self.tokens.get(i).is_some_and(|t| matches!(t.kind, TokenKind::Doc | TokenKind::FileDoc))
    }

    /// The first token of a piece that is not a doc comment.
    fn first(&self, range: &Range<usize>) -> usize {
        range.clone().find(|&i| !self.is_doc(i)).unwrap_or(range.start)
    }

    fn is_head(&self, i: usize) -> bool {
        matches!(self.word(i), "use" | "edition") || self.tokens.get(i).is_some_and(|t| t.kind == TokenKind::FileDoc)
    }

    /// The index behind the bracket that closes the one at `i`; of the end when none does.
    fn behind(&self, i: usize, end: usize) -> usize {
        let mut depth = 0usize;
        for j in i..end {
            match self.word(j) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return j + 1;
                    }
                }
                _ => {}
            }
        }
        end
    }

    /// Token ranges of the definitions, imports and the rest between them.
    fn definitions(&self) -> Vec<Range<usize>> {
        let mut starts = Vec::new();
        let mut i = 0;
        let mut ended = true;
        while i < self.tokens.len() {
            let word = self.word(i);
            let known = ITEM_WORDS.contains(&word) || matches!(word, "use" | "edition") || self.is_doc(i);
            let documented = i > 0 && self.is_doc(i - 1) && !self.is_head(i - 1);
            if (ended || (known && self.tokens[i].fresh)) && !documented {
                starts.push(i);
            }
            if matches!(word, "(" | "[" | "{") {
                i = self.behind(i, self.tokens.len());
                ended = self.word(i - 1) == "}";
            } else {
                ended = self.head_ends(i);
                i += 1;
            }
        }
        ranges(starts, self.tokens.len())
    }

    /// The token is the last of an `edition` or `use` line.
    fn head_ends(&self, i: usize) -> bool {
        if self.tokens.get(i + 1).is_some_and(|t| !t.fresh) {
            return false;
        }
        let mut j = i;
        while j > 0 && !self.tokens[j].fresh {
            j -= 1;
            if i - j > 64 {
                return false;
            }
        }
        self.is_head(j)
    }

    fn late_head(&mut self, i: usize) {
        let word = self.word(i).to_owned();
        let (what, place) = match word.as_str() {
            "use" => ("`use`", "before the first definition"),
            "edition" => ("`edition`", "before the first definition"),
            _ => ("the file's doc comment", "at the top of the file"),
        };
        let help = format!("move it {}", if place.starts_with("at") { "to the top of the file" } else { place });
        self.errors.push(
            Diagnostic::error("E0112", format!("{what} comes too late"), self.span(i), format!("expected {place}"))
                .help(help),
        );
    }

    /// Parses the tokens of a piece as `rule`; `None` when they parse, with the tree and its errors
    /// kept.
    fn refused(&mut self, rule: Rule, range: Range<usize>, first: usize) -> Option<ParseRefusal> {
        let start = if rule == Rule::file { 0 } else { self.tokens.get(range.start)?.start };
        // Up to the next piece, so that the end of the line is part of it.
        let end = self.tokens.get(range.end).map_or(self.cooked.len(), |t| t.start);
        let cooked = self.cooked.get(start..end)?;
        match Grammar::parse(rule, cooked) {
            Err(error) => Some(ParseRefusal::new(error, rule, start, range, first)),
            Ok(pairs) => {
                let mut builder = Builder::new(self.file, start, self.text);
                for pair in pairs {
                    for child in Children::new(pair) {
                        self.kept.keep(&mut builder, rule, child);
                    }
                }
                self.errors.append(&mut builder.errors);
                None
            }
        }
    }

    fn explain(&mut self, refusal: &ParseRefusal) {
        let reserved = explain::reserved_word(self, refusal);
        if reserved.as_ref().is_some_and(|word| self.reserved_names.contains(word)) {
            return;
        }
        let error = explain::explain(self, refusal);
        if error.code == "E0103" {
            self.reserved_names.extend(reserved);
        }
        self.errors.push(error);
    }

    fn definition(&mut self, range: Range<usize>) {
        let first = self.first(&range);
        if self.is_head(first) {
            if let Some(refusal) = self.refused(Rule::lone_head, range, first) {
                self.explain(&refusal);
            }
            return;
        }
        if self.is_doc(first) {
            let span = self.span(first);
            self.errors.push(explain::doc_of_nothing(span));
            return;
        }
        if !ITEM_WORDS.contains(&self.word(first)) {
            let error = explain::unknown_item(self.word(first), self.span(first));
            self.errors.push(error);
            return;
        }
        let behind = if self.word(first + 2) == "on" { first + 4 } else { first + 2 };
        if matches!(self.word(first), "model" | "schema") && MEMBER_WORDS.contains(&self.word(behind)) {
            let error = explain::model_without_brace(self, first);
            self.errors.push(error);
            self.open_body = true;
            return;
        }
        let Some(refusal) = self.refused(Rule::lone_item, range.clone(), first) else { return };
        let body = match self.word(first) {
            "model" | "schema" => Some(Body::Members),
            "test" => Some(Body::TestParts),
            "fn" | "optimizer" => Some(Body::Statements),
            _ => None,
        };
        self.deeper(body, range, first, refusal, 1);
    }

    /// Looks for the errors of a refused piece in its heading and its body; reports the refusal
    /// itself when there are none.
    fn deeper(&mut self, body: Option<Body>, range: Range<usize>, first: usize, refusal: ParseRefusal, level: usize) {
        let before = self.errors.len();
        if let Some(body) = body
            && let Some(open) = self.body(&range)
        {
            let close = self.behind(open, range.end);
            let outer = std::mem::take(&mut self.kept);
            // The heading ends before the brace: cut the text there.
            let heading = self.refused(Rule::lone_heading, range.start..open, first);
            if let Some(heading) = &heading {
                self.explain(heading);
            }
            let read = self.kept.take_heading();
            let read = read.unwrap_or_else(|| Heading::named(self.name(first + 1)));
            self.pieces(body, open + 1..close.saturating_sub(1), level);
            let inner = std::mem::replace(&mut self.kept, outer);
            let span = self.span(first).to(self.span(close.saturating_sub(1)));
            let word = self.word(first).to_owned();
            self.kept.assemble(&word, read, inner, span);
            if close < range.end && self.errors.len() == before {
                self.explain(&refusal);
            }
        }
        if self.errors.len() == before {
            self.explain(&refusal);
        }
    }

    /// The token as a name.
    fn name(&self, i: usize) -> Option<Ident> {
        let is_name = self.tokens.get(i).is_some_and(|t| t.kind == TokenKind::Word);
        let name = self.word(i);
        (is_name && !RESERVED.contains(&name)).then(|| Ident { name: name.to_owned(), span: self.span(i) })
    }

    /// Keeps what can be known of a piece of a body that does not parse.
    fn keep_broken(&mut self, body: Body, range: &Range<usize>, first: usize) {
        let place = match body {
            Body::Members => BrokenPlace::Model,
            Body::Statements => BrokenPlace::Body,
            Body::TestParts => BrokenPlace::Test,
            Body::Fields | Body::Settings => return,
        };
        let span = self.span(first).to(self.span(range.end.saturating_sub(1).max(first)));
        let word = self.word(first).to_owned();
        match (word.as_str(), self.name(first + 1)) {
            ("let" | "layer", Some(name)) => self.kept.broken_binding(&word, name, place, span),
            _ if place == BrokenPlace::Body => self.kept.broken_statement(span),
            _ => {}
        }
    }

    /// The brace that opens the body of a piece: the first outside of parentheses.
    fn body(&self, range: &Range<usize>) -> Option<usize> {
        let mut i = range.start;
        while i < range.end {
            match self.word(i) {
                "{" => return Some(i),
                "(" | "[" => i = self.behind(i, range.end),
                _ => i += 1,
            }
        }
        None
    }

    /// Cuts a body and reports the errors of its pieces.
    fn pieces(&mut self, body: Body, range: Range<usize>, level: usize) {
        let mut starts = Vec::new();
        let mut i = range.start;
        while i < range.end {
            if self.begins(body, i, &range) {
                starts.push(i);
            }
            i = match self.word(i) {
                "(" | "[" | "{" => self.behind(i, range.end),
                _ => i + 1,
            };
        }
        for piece in ranges(starts, range.end) {
            if self.errors.len() >= MAX_ERRORS || self.open_body {
                break;
            }
            self.piece(body, piece, level);
        }
    }

    fn begins(&self, body: Body, i: usize, range: &Range<usize>) -> bool {
        if i == range.start {
            return true;
        }
        // A doc comment begins what it documents.
        if self.is_doc(i - 1) {
            return false;
        }
        if self.is_doc(i) {
            return true;
        }
        let (word, fresh) = (self.word(i), self.tokens[i].fresh);
        let after_block = self.word(i - 1) == "}";
        match body {
            Body::Fields => {
                self.tokens[i].kind == TokenKind::Word
                    && (self.word(i + 1) == ":" || (fresh && !self.continues(i) && !matches!(word, "from" | "of")))
            }
            Body::Settings => fresh && !self.continues(i),
            Body::TestParts => (TEST_WORDS.contains(&word) && self.word(i + 1) != "=") || (fresh && !self.continues(i)),
            Body::Members => {
                ((fresh || after_block) && MEMBER_WORDS.contains(&word) && self.word(i + 1) != "=")
                    || (fresh && !self.continues(i))
            }
            Body::Statements => {
                // On one line, a word in the place of a name or value begins nothing.
                let word_stands = fresh || !(STATEMENT_WORDS.contains(&self.word(i - 1)) || self.continues(i));
                (STATEMENT_WORDS.contains(&word) && word_stands) || (fresh && !self.continues(i))
            }
        }
    }

    /// The token goes on with what the line before began.
    fn continues(&self, i: usize) -> bool {
        let operator = |word: &str| {
            matches!(
                word,
                "," | "="
                    | "~"
                    | "+"
                    | "*"
                    | "/"
                    | "@"
                    | "^"
                    | "=="
                    | "!="
                    | "<"
                    | "<="
                    | ">"
                    | ">="
                    | "and"
                    | "or"
                    | "where"
            )
        };
        let word = self.word(i);
        let before = self.word(i - 1);
        // The `for` of an embedding, not of a loop.
        let features = word == "for" && self.word(i + 2) != "in";
        operator(before) || matches!(before, "-" | "in") || operator(word) || matches!(word, "{" | "else") || features
    }

    fn piece(&mut self, body: Body, range: Range<usize>, level: usize) {
        let mut range = range;
        if matches!(body, Body::Statements | Body::TestParts) && self.is_doc(range.start) {
            let span = self.span(range.start);
            self.errors.push(explain::doc_of_nothing(span));
            while self.is_doc(range.start) && range.start < range.end {
                range.start += 1;
            }
            if range.is_empty() {
                return;
            }
        }
        let first = self.first(&range);
        if self.is_doc(first) {
            let span = self.span(first);
            return self.errors.push(explain::doc_of_nothing(span));
        }
        let rule = match body {
            Body::Members => Rule::lone_member,
            Body::Statements => Rule::lone_statements,
            Body::Fields => Rule::lone_field,
            Body::Settings => Rule::lone_setting,
            Body::TestParts => Rule::lone_test_part,
        };
        if body == Body::Members && !MEMBER_WORDS.contains(&self.word(first)) {
            let error = explain::unknown_member(self, first, self.word(first), self.span(first));
            return self.errors.push(error);
        }
        let Some(refusal) = self.refused(rule, range.clone(), first) else { return };
        if body == Body::Members && self.lacks_brace(first, &range) {
            let error = explain::body_without_brace(self, first, range.end - 1);
            self.errors.push(error);
            self.open_body = true;
            return;
        }
        let inner = match (body, self.word(first)) {
            _ if level >= MAX_LEVELS => None,
            (Body::Members, "features" | "sequence") => Some(Body::Fields),
            (Body::Members, "train" | "embedding") => Some(Body::Settings),
            (Body::Statements, "for") => Some(Body::Statements),
            _ => None,
        };
        if inner.is_none() {
            self.keep_broken(body, &range, first);
        }
        self.deeper(inner, range, first, refusal, level + 1);
    }

    /// The heading of a body, and then a line that begins no member.
    fn lacks_brace(&self, first: usize, range: &Range<usize>) -> bool {
        let next = self.word(range.end);
        let whole = match self.word(first) {
            "train" => range.end == first + 1,
            "features" | "sequence" => range.end >= first + 2 && !matches!(self.word(first + 1), "{" | "("),
            _ => false,
        };
        whole && self.body(range).is_none() && !MEMBER_WORDS.contains(&next) && !next.is_empty() && next != "}"
    }

    /// The errors without those that only follow from another: a syntax error on the line of a
    /// lexical one, and all but the first at one place.
    fn reported_once(&mut self, lexical: usize) -> Vec<Diagnostic> {
        let errors = std::mem::take(&mut self.errors);
        let at = |d: &Diagnostic| d.labels.first().map_or(0, |l| l.span.start as usize);
        let line_of = |at: usize| self.text.get(..at).map_or(0, |t| t.rfind('\n').map_or(0, |i| i + 1));
        let lexical_lines: Vec<usize> = errors.iter().take(lexical).map(|d| line_of(at(d))).collect();
        let mut out: Vec<Diagnostic> = Vec::new();
        for (i, error) in errors.into_iter().enumerate() {
            let place = at(&error);
            let follows = i >= lexical && lexical_lines.contains(&line_of(place));
            if !follows && !out.iter().any(|d| at(d) == place && d.code == error.code) {
                out.push(error);
            }
        }
        out
    }
}

fn ranges(starts: Vec<usize>, end: usize) -> Vec<Range<usize>> {
    let ends = starts.iter().skip(1).copied().chain([end]);
    starts.iter().copied().zip(ends).map(|(a, b)| a..b).collect()
}
