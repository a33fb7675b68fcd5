//! Syntax errors in words: what was expected where the parser stopped, what was found, the form of
//! the construct, and one help where a common slip is recognisable.

use super::Rule;
use super::build::shortened;
use super::recover::{Cutter, ITEM_WORDS, TEST_WORDS};
use super::slip;
use crate::scan::{MEMBER_WORDS, TokenKind};
use crate::suggest::nearest;
use crate::{Diagnostic, Span};
use pest::error::{Error, ErrorVariant, InputLocation};
use std::ops::Range;

/// Where pest stopped in a piece, and what it could have gone on with.
pub(super) struct ParseRefusal {
    pub(super) rule: Rule,
    at: usize,
    pub(super) expected: Vec<Rule>,
    /// The tokens of the piece.
    range: Range<usize>,
    /// The word that names the construct.
    pub(super) first: usize,
}

impl ParseRefusal {
    pub(super) fn new(error: Error<Rule>, rule: Rule, base: usize, range: Range<usize>, first: usize) -> Self {
        let at = match error.location {
            InputLocation::Pos(at) | InputLocation::Span((at, _)) => base + at,
        };
        let expected = match error.variant {
            ErrorVariant::ParsingError { positives, .. } => positives,
            ErrorVariant::CustomError { .. } => Vec::new(),
        };
        Self { rule, at, expected, range, first }
    }
}

pub(super) fn reserved_name(word: &str, span: Span) -> Diagnostic {
    Diagnostic::error("E0103", format!("`{word}` is a reserved word"), span, "used as a name")
        .note("expected a name")
        .help(format!("choose another name, such as `{word}_`"))
}

pub(super) fn doc_of_nothing(span: Span) -> Diagnostic {
    Diagnostic::error("E0110", "this doc comment documents nothing", span, "nothing follows that takes one")
        .note("expected a definition, a member, a field or a setting after it")
        .help("write an ordinary comment, with `//`")
}

pub(super) fn unknown_item(word: &str, span: Span) -> Diagnostic {
    let shown = shortened(word);
    let error = Diagnostic::error("E0106", format!("`{shown}` begins no definition"), span, "unknown here")
        .note("expected `use`, `fn`, `model`, `schema`, `test`, `optimizer`, `regularizer` or `metric`");
    let help = match word {
        "function" | "def" | "func" | "fun" | "proc" => "a function is written `fn name(x: [n]) { … }`".to_owned(),
        "import" | "from" | "include" => "imports are written `use std.layer.{linear, mlp}`".to_owned(),
        "let" | "const" | "hyper" | "features" | "sequence" | "label" | "key" | "embedding" | "predict" | "train"
        | "output" | "report" | "layer" | "param" | "constant" => {
            format!("`{word}` belongs inside `model name {{ … }}`")
        }
        _ => match nearest(word, ITEM_WORDS.into_iter().chain(["use", "edition"])) {
            Some(known) => return error.did_you_mean(span, known),
            None => return error,
        },
    };
    error.help(help)
}

pub(super) fn unknown_member(cutter: &Cutter, i: usize, word: &str, span: Span) -> Diagnostic {
    let shown = shortened(word);
    let error = Diagnostic::error("E0106", format!("`{shown}` begins no member of a model"), span, "unknown here")
        .note(format!("expected {}", alternatives(&MEMBER_WORDS.map(|w| format!("`{w}`")))));
    let help = match word {
        _ if cutter.word(i + 1) == "=" && named_before(cutter, i, word) => {
            format!("a model names each value once: give the new one a name of its own, `let {shown}_2 = …`")
        }
        _ if cutter.word(i + 1) == "=" => {
            format!("a model names each value once, `let {shown} = …`; a new value for a name is for functions")
        }
        "feature" => return error.did_you_mean(span, "features"),
        "table" => return error.did_you_mean(span, "embedding"),
        "loss" | "optimizer" | "batch" | "epochs" | "regularize" => format!("`{word}` belongs inside `train {{ … }}`"),
        "state" | "update" | "for" | "if" => format!("`{word}` belongs inside `fn name(…) {{ … }}`"),
        "fn" | "def" | "function" => "functions are defined outside of the model: `fn name(x: [n]) { … }`".to_owned(),
        "use" | "import" | "from" | "include" => {
            "imports stand above the model: `use std.layer.{linear, mlp}`".to_owned()
        }
        "const" | "var" | "val" | "set" | "auto" => "to name a value, write `let name = …`".to_owned(),
        "return" => "a model returns nothing: `predict click ~ bernoulli(logit = …)` says what it predicts".to_owned(),
        "print" | "println" | "log" => {
            "nothing is printed from a model: `output name = x` writes a value beside the predictions".to_owned()
        }
        "target" | "y" | "labels" => "did you mean `label`? `label click: binary`".to_owned(),
        "input" | "inputs" | "columns" | "column" | "feature_columns" | "fields" | "schema" | "data" => {
            "what comes in is declared by `features name { field: category }` and `sequence name { … }`".to_owned()
        }
        "id" | "user_id" | "keys" => "a column for grouping is `key user_id: int64`".to_owned(),
        "seed" | "select" | "patience" | "clip" | "settings" | "training" | "fit" | "epoch" | "lr" => {
            "it belongs inside `train { … }`: `optimizer adam(lr = 1e-3)`, `epochs 1`, `seed 7`".to_owned()
        }
        "params" | "hyperparameter" | "hyperparameters" | "config" => {
            "a number that can be set is `hyper lr = 1e-3`".to_owned()
        }
        "metric" | "metrics" | "eval" | "evaluate" => "did you mean `report`? `report auc(click)`".to_owned(),
        _ => match nearest(word, MEMBER_WORDS) {
            Some(known) => return error.did_you_mean(span, known),
            None => return error,
        },
    };
    error.help(help)
}

/// Whether `let word` stands before token `i`.
fn named_before(cutter: &Cutter, i: usize, word: &str) -> bool {
    (1..i).any(|j| cutter.word(j) == word && matches!(cutter.word(j - 1), "let" | "layer" | "output"))
}

/// `model shop` and then a member; `first` is the word `model` or `schema`.
pub(super) fn model_without_brace(cutter: &Cutter, first: usize) -> Diagnostic {
    let what = cutter.word(first);
    // `model name`, `model name on schema`
    let last = if cutter.word(first + 2) == "on" { first + 3 } else { first + 1 };
    let name = (first + 1..=last).map(|i| shortened(cutter.word(i))).collect::<Vec<_>>().join(" ");
    let end = cutter.span(last).end as usize;
    let found = shortened(cutter.word(last + 1));
    let place = Span::new(cutter.file, end, end);
    Diagnostic::error("E0101", format!("expected `{{`, found `{found}`"), place, "expected `{`")
        .note(format!("the form is `{what} name {{ … }}`"))
        .help(format!("the members of a {what} stand in braces: write `{what} {name} {{` here and `}}` at its end"))
}

/// `train`, `features` or `sequence` without a body, from token `first` to token `last`.
pub(super) fn body_without_brace(cutter: &Cutter, first: usize, last: usize) -> Diagnostic {
    let what = cutter.word(first);
    let heading = (first..=last).map(|i| shortened(cutter.word(i))).collect::<Vec<_>>().join(" ");
    let parts = if what == "train" { "settings" } else { "fields" };
    let end = cutter.span(last).end as usize;
    let place = Span::new(cutter.file, end, end);
    let error = Diagnostic::error("E0101", "expected `{`, found the end of the line", place, "expected `{`");
    let error = match form(what) {
        Some(form) => error.note(format!("the form is `{form}`")),
        None => error,
    };
    error.help(format!("the {parts} stand in braces: write `{heading} {{` here and `}}` at their end"))
}

/// The reserved word at which the parse stopped, if it did at one.
pub(super) fn reserved_word(cutter: &Cutter, refusal: &ParseRefusal) -> Option<String> {
    let place = Place::of(cutter, refusal);
    place.reserved().then(|| place.found.to_owned())
}

pub(super) fn explain(cutter: &Cutter, refusal: &ParseRefusal) -> Diagnostic {
    let place = Place::of(cutter, refusal);
    let expected = phrases(refusal);
    let wants = |rule| refusal.expected.contains(&rule);
    if place.kind == Some(TokenKind::Doc) && !place.line_ended || wants(Rule::doc) && refusal.expected.len() == 1 {
        return doc_of_nothing(place.span);
    }
    if place.line_ended && OPERATORS.contains(&place.found) && !goes_on(place.previous) {
        let span = cutter.span(place.index);
        return Diagnostic::error(
            "E0101",
            format!("expected a statement, found `{}`", place.found),
            span,
            "begins a line",
        )
        .note("an expression ends with its line, unless an operator ends the line or a bracket is open")
        .help(format!("move `{}` to the end of the line before", place.found));
    }
    if place.found == "for" && place.previous == "[" && !place.line_ended {
        let error = Diagnostic::error("E0101", "expected an expression, found `for`", place.span, "no item before it");
        return error.help("write what an item is before its loop: `[f(x) for x in xs]`");
    }
    let names = [
        Rule::identifier,
        Rule::pattern,
        Rule::parameter,
        Rule::variable,
        Rule::import_name,
        Rule::expression,
        Rule::reported,
    ];
    if place.reserved() && names.into_iter().any(wants) && !place.begins_statement(refusal) {
        let error = reserved_name(place.found, place.span);
        if place.found == "layer" && place.next == "." {
            return error.help("import names and use them alone: `use std.layer.{linear}`, then `linear(…)`");
        }
        return error;
    }
    let wanted = alternatives(&expected);
    let found = place.description();
    if wanted == found {
        // The line is right, and the next one goes on where nothing is open.
        let next = shortened(place.found);
        let span = cutter.span(place.index);
        return Diagnostic::error("E0101", format!("expected a new statement, found `{next}`"), span, "begins a line")
            .help(format!("begin the line with a word such as `let`, or remove `{next}`"));
    }
    let mut error = Diagnostic::error(
        "E0101",
        format!("expected {wanted}, found {found}"),
        place.span,
        if wanted.len() > 60 { "not expected here".to_owned() } else { format!("expected {wanted}") },
    );
    if let Some(form) = form(cutter.word(refusal.first))
        && refusal.expected.iter().any(|r| is_structural(*r))
        && place.depth == 0
        && (refusal.rule != Rule::lone_test_part || TEST_WORDS.contains(&cutter.word(refusal.first)))
    {
        error = error.note(format!("the form is `{form}`"));
    }
    slip::help(error, cutter, refusal, &place)
}

/// The token at which the parse stopped.
pub(super) struct Place<'c> {
    pub(super) index: usize,
    pub(super) span: Span,
    pub(super) found: &'c str,
    pub(super) previous: &'c str,
    pub(super) next: &'c str,
    pub(super) kind: Option<TokenKind>,
    /// The line, or the file, ended before `found`.
    pub(super) line_ended: bool,
    /// Brackets open between the start of the piece and here.
    pub(super) depth: usize,
}

impl<'c> Place<'c> {
    fn of(cutter: &'c Cutter, refusal: &ParseRefusal) -> Self {
        let i = cutter.tokens.partition_point(|t| t.end <= refusal.at);
        // Brackets that the scanner added stand behind the end.
        let token = cutter.tokens.get(i).filter(|t| t.start < cutter.text.len());
        let line_ended = token.is_none_or(|t| t.fresh) && i > refusal.first;
        let span = if line_ended {
            let end = cutter.tokens.get(i - 1).map_or(0, |t| t.end);
            Span::new(cutter.file, end, end)
        } else {
            cutter.span(i)
        };
        let mut depth = 0usize;
        for j in refusal.range.start..i {
            match cutter.word(j) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let previous = if i > 0 { cutter.word(i - 1) } else { "" };
        let (found, next) = (cutter.word(i), cutter.word(i + 1));
        Place { index: i, span, found, previous, next, kind: token.map(|t| t.kind), line_ended, depth }
    }

    fn reserved(&self) -> bool {
        !self.line_ended && super::RESERVED.contains(&self.found)
    }

    /// A statement's word where an expression was expected is a missing expression, not a name.
    fn begins_statement(&self, refusal: &ParseRefusal) -> bool {
        [Rule::expression, Rule::reported].iter().any(|rule| refusal.expected.contains(rule))
            && matches!(self.found, "let" | "param" | "constant" | "update" | "fn" | "use")
            || matches!(self.found, "over" | "where" | "and" | "or" | "else" | "in" | "as")
                && !refusal.expected.contains(&Rule::identifier)
    }

    fn description(&self) -> String {
        match self.kind {
            None => "the end of the file".to_owned(),
            Some(_) if self.line_ended => "the end of the line".to_owned(),
            Some(TokenKind::Doc | TokenKind::FileDoc) => "a doc comment".to_owned(),
            Some(TokenKind::String) => "a string".to_owned(),
            Some(_) => format!("`{}`", shortened(self.found)),
        }
    }
}

const OPERATORS: [&str; 16] =
    ["+", "*", "/", "@", "^", "==", "!=", "<", "<=", ">", ">=", "..", "and", "or", "where", "~"];

/// The word leaves the line open.
fn goes_on(word: &str) -> bool {
    OPERATORS.contains(&word) || matches!(word, "-" | "=" | "," | ":" | "not" | "in")
}

/// How a construct is written.
fn form(word: &str) -> Option<&'static str> {
    Some(match word {
        "edition" => "edition 2026",
        "use" => "use module.{name, name as other}",
        "fn" => "fn name(x: [n], option = 1) -> [n] { … }",
        "model" => "model name { … }",
        "schema" => "schema name { features … label … }",
        "test" => "test \"name\" { given x: [2] = [1, 2]  expect f(x) = [3, 4] }",
        "given" => "given name: axis => [n] = values",
        "expect" => "expect expression = values within tolerance",
        "optimizer" => "optimizer name(lr = 0.1) per weight { … }",
        "regularizer" => "regularizer name(lambda) = expression",
        "metric" => "metric name(target: prediction, option = value)",
        "features" => "features group { field: kind from column missing as value }",
        "sequence" => "sequence name (keep last 100) { field: kind from column }",
        "label" => "label name: binary from column missing -1",
        "key" => "key name: int64 from column",
        "embedding" => "embedding name [16] for group.field, group.field { setting value }",
        "hyper" => "hyper name = default in space when condition",
        "let" => "let name = expression",
        "layer" => "layer name = function(_, option)",
        "predict" => "predict label ~ bernoulli(logit = expression)",
        "train" => "train { setting value }",
        "output" => "output name = expression",
        "report" => "report metric(label), metric(label, option = value) by field",
        "assert" => "assert expression < expression",
        "common" => "common group, group by key",
        "request" => "request by key, request of 64",
        "param" => "param name: [n] = initial",
        "constant" => "constant name: [n] = initial",
        "state" => "state name: [n] = initial",
        "update" => "update name = expression",
        "for" => "for name in list { … }",
        _ => return None,
    })
}

/// The rule is a part of a construct's form, not of an expression within it.
fn is_structural(rule: Rule) -> bool {
    use Rule::*;
    !matches!(
        rule,
        infix
            | call
            | field
            | prefix
            | number
            | string
            | k_true
            | k_false
            | k_if
            | if_
            | list
            | group
            | hole
            | expression
            | p_comma
            | p_rparen
            | p_rbrack
            | p_close
            | end_of_statement
            | end_of_member
            | end_of_setting
            | end_of_test_part
            | k_over
            | for_each
            | EOI
    )
}

/// What the expected rules stand for, each once: names first, marks and words next, the ends last.
fn phrases(refusal: &ParseRefusal) -> Vec<String> {
    use Rule::*;
    let rules = &refusal.expected;
    let value = rules.iter().any(|r| matches!(r, list | group | number | expression | reported | prefix));
    let after_value = rules.contains(&infix);
    let said = |rule: &Rule| match rule {
        // Where any expression may come, its first marks say no more; where one may go on, neither.
        p_lparen | p_lbrack if value => None,
        p_lparen | p_dot | p_equals | k_as if after_value => None,
        EOI => Some(match refusal.rule {
            lone_heading => (2, "`{`".to_owned()),
            lone_field => (4, "the end of the field".to_owned()),
            lone_item => (4, "the end of the definition".to_owned()),
            _ => (4, "the end of the line".to_owned()),
        }),
        _ => phrase(*rule, value),
    };
    let mut ranked: Vec<(u8, String)> = rules.iter().filter_map(said).collect();
    ranked.sort();
    ranked.dedup();
    if ranked.is_empty() {
        return vec!["something else".to_owned()];
    }
    ranked.into_iter().map(|(_, text)| text).collect()
}

fn phrase(rule: Rule, value: bool) -> Option<(u8, String)> {
    use Rule::*;
    let mark = |rank, text: &str| Some((rank, format!("`{text}`")));
    let words = |rank, text: &str| Some((rank, text.to_owned()));
    match rule {
        expression | reported | list | group | number | prefix => words(0, "an expression"),
        string | identifier | hole | k_true | k_false | k_if | if_ if value => words(0, "an expression"),
        string => words(1, "a string"),
        identifier | any_word | import_name | parameter | variable | pattern => words(0, "a name"),
        count => words(0, "a whole number"),
        dimension => words(0, "a size"),
        ty | ty_of_item | list_type | k_list => words(0, "a type"),
        kind => words(0, "a kind"),
        scope => words(0, "`weight`, `row` or `tensor`"),
        argument => words(0, "an argument"),
        field_paths | field_path => words(0, "a field, such as `ad.good_id`"),
        each_of => mark(1, "each of"),
        item | lone_item | file => words(2, "a definition"),
        lone_statements => words(0, "a statement"),
        import | lone_head => mark(1, "use"),
        member | lone_member => words(0, "a member of the model"),
        feature_field | feature_body | lone_field => words(1, "a field"),
        setting | setting_body | lone_setting => words(1, "a setting"),
        infix => words(1, "an operator"),
        call => None,
        for_each | for_weights => mark(2, "for"),
        field => None,
        parameters | p_lparen => mark(2, "("),
        p_rparen => mark(3, ")"),
        p_lbrack | shape => mark(2, "["),
        p_rbrack => mark(3, "]"),
        p_open | block | fields | settings => mark(2, "{"),
        p_close => mark(3, "}"),
        p_comma => mark(2, ","),
        p_colon => mark(2, ":"),
        p_dot | import_group => mark(2, "."),
        p_tilde => mark(2, "~"),
        p_arrow => mark(2, "->"),
        p_fat => mark(2, "=>"),
        p_equals => mark(2, "="),
        p_least => mark(2, ">="),
        admission => words(1, "`when` or `top`"),
        keep | category_size | classes | tuple => mark(2, "("),
        pooled | k_pooled => mark(2, "pooled by"),
        missing | missing_list => mark(2, "missing"),
        replacement => mark(2, "as"),
        marked => mark(2, "mark"),
        literal => words(1, "a number or a string"),
        minus => None,
        column | computed | vectors | k_from => mark(2, "from"),
        alias | k_as => mark(2, "as"),
        vocabulary => mark(2, "in"),
        known | known_at => mark(2, "known at"),
        after_label | k_after => None,
        k_over => mark(2, "over"),
        end_of_statement | end_of_member | end_of_setting | end_of_test_part => words(4, "the end of the line"),
        statement_word | member_word | setting_word | test_word => None,
        given | given_weight | expect | lone_test_part => words(0, "`given`, `let` or `expect`"),
        given_type | given_axis => words(0, "a type"),
        weight_path => words(0, "the path of a weight"),
        tolerance => mark(2, "within"),
        on_schema => mark(2, "on"),
        in_training => mark(2, "in training"),
        _ => {
            let name = format!("{rule:?}");
            name.strip_prefix("k_").and_then(|word| mark(2, word))
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
