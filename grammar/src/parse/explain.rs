//! Syntax errors in words: what was expected where the parser stopped, what was found, the form of
//! the construct, and one help where a common slip is recognisable.

use super::Rule;
use super::build::shortened;
use super::recover::{Cutter, ITEM_WORDS};
use crate::scan::{MEMBER_WORDS, TokenKind};
use crate::suggest::nearest;
use crate::{Diagnostic, Span};
use pest::error::{Error, ErrorVariant, InputLocation};
use std::ops::Range;

/// Where pest stopped in a piece, and what it could have gone on with.
pub(super) struct ParseRefusal {
    rule: Rule,
    at: usize,
    expected: Vec<Rule>,
    /// The tokens of the piece.
    range: Range<usize>,
    /// The word that names the construct.
    first: usize,
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
        | "output" | "report" | "layer" | "param" => format!("`{word}` belongs inside `model name {{ … }}`"),
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
    {
        error = error.note(format!("the form is `{form}`"));
    }
    match slip(cutter, refusal, &place) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// The token at which the parse stopped.
struct Place<'c> {
    index: usize,
    span: Span,
    found: &'c str,
    previous: &'c str,
    next: &'c str,
    kind: Option<TokenKind>,
    /// The line, or the file, ended before `found`.
    line_ended: bool,
    /// Brackets open between the start of the piece and here.
    depth: usize,
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
            && matches!(self.found, "let" | "param" | "update" | "fn" | "use")
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

const LIST_COLUMN: &str = "a list column is pooled, `tags: category of string pooled by mean`, or a field of a `sequence`: \
     `sequence tags { tag: category of string from tags }`";

const LAMBDA: &str = "functions have names: define `fn name(x: [n]) -> [n] { … }`, and write `name` here";

const OPERATORS: [&str; 16] =
    ["+", "*", "/", "@", "^", "==", "!=", "<", "<=", ">", ">=", "..", "and", "or", "where", "~"];

/// The word leaves the line open.
fn goes_on(word: &str) -> bool {
    OPERATORS.contains(&word) || matches!(word, "-" | "=" | "," | ":" | "not" | "in")
}

/// One help for a slip that the surrounding tokens show.
fn slip(cutter: &Cutter, refusal: &ParseRefusal, place: &Place) -> Option<String> {
    use Rule::*;
    let wants = |rule| refusal.expected.contains(&rule);
    let after_value = wants(infix);
    let construct = cutter.word(refusal.first);
    let (found, previous) = (place.found, place.previous);
    let here = !place.line_ended;
    let help = match found {
        "if" if here && construct == "hyper" => "a condition stands behind `when`: `when layers > 1`".to_owned(),
        "." if here && construct == "request" => {
            let name = shortened(place.next);
            format!("a request is known by a key: declare `key {name}: int64`, and write `request by {name}`")
        }
        _ if here && previous == "lambda" => LAMBDA.to_owned(),
        _ if here && previous == "." && found.starts_with(|c: char| c.is_ascii_digit()) => {
            "the parts of a tuple are named: `let (a, b) = …`".to_owned()
        }
        "[" if here && refusal.rule == lone_field && matches!(previous, "list" | "List" | "array" | "set") => {
            LIST_COLUMN.to_owned()
        }
        "." if here && refusal.rule == lone_field && cutter.word(place.index.saturating_sub(2)) == "of" => {
            "the fields of a cross stand in parentheses: `category of (user.gender, ad.cate_id)`".to_owned()
        }
        "." if here && construct == "common" => {
            "requests are told by a key: `key request_id: int64`, and `by request_id`".to_owned()
        }
        ":" if here && construct == "fn" && wants(p_arrow) => "the result is written with `->`".to_owned(),
        "*" if here && construct == "use" => "what is taken is named: `use std.activation.{prelu, relu}`".to_owned(),
        "," if here && construct == "use" && place.depth == 0 => {
            "several names stand in braces: `use std.activation.{prelu, relu}`".to_owned()
        }
        "if" if here && after_value => {
            "what data decide is chosen by `select(condition, a, b)`, what is known before by `if c { a } else { b }`"
                .to_owned()
        }
        "[" if here && after_value && is_name(previous) && !index(place.next) => {
            format!("a call has parentheses: `{}(…)`; values have no index", shortened(previous))
        }
        _ if here
            && construct == "fn"
            && wants(p_comma)
            && is_name(found)
            && matches!(place.next, ":" | "=" | "," | ")") =>
        {
            format!("put a comma before `{}`", shortened(found))
        }
        "*" if here && !after_value && (wants(argument) || wants(expression)) => {
            "lists are given as they are, without a star: `concat(xs)`".to_owned()
        }
        "from" if here && refusal.rule == lone_field && wants(p_colon) => {
            let (name, of) = (shortened(previous), shortened(place.next));
            format!("the kind stands first: `{name}: category from {of}`")
        }
        "from" if here && refusal.rule == lone_field => {
            "`from` stands before `missing` and `pooled`: `name: number from column missing as 0`".to_owned()
        }
        "missing" if here && refusal.rule == lone_field && wants(p_colon) => {
            format!("the kind stands first: `{}: number missing as 0`", shortened(previous))
        }
        "+" if here && refusal.rule == lone_field && previous.starts_with('"') => {
            "a column is one name or one string: write it out".to_owned()
        }
        _ if here && refusal.rule == lone_field && place.kind == Some(TokenKind::String) && previous == "," => {
            "ids that are texts are `category of string`, without a list of them".to_owned()
        }
        _ if here && construct == "sequence" && previous == "keep" => {
            format!("which entries are kept is said: `(keep last {})`", shortened(found))
        }
        _ if here && construct == "sequence" && previous == "(" && wants(k_keep) && found != "keep" => {
            "write `(keep last 100)`".to_owned()
        }
        ":" if here && matches!(construct, "param" | "state") && place.depth == 0 && after_value => {
            format!("the shape stands before the initial value: `{construct} name: [n] = 0`")
        }
        "B" | "KB" | "MB" | "GB" | "TB" | "KiB" | "MiB" | "GiB" | "TiB"
            if here && after_value && previous.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            format!("a unit stands directly behind its number: `{previous}{found}`")
        }
        "," if here && refusal.rule == lone_setting && construct == "loss" && place.depth == 0 => {
            "losses of several labels are added: write `+` instead of `,`".to_owned()
        }
        "[" if here && refusal.rule == lone_field && previous == "category" && place.next == "]" => {
            LIST_COLUMN.to_owned()
        }
        ":" | "=" if here && refusal.rule == lone_setting && place.depth == 0 => {
            format!("a setting is a word and its values: remove `{found}`")
        }
        "=" if here && construct == "given" && wants(p_colon) => {
            format!("say what form the value has: `given {}: [2] = …`", shortened(previous))
        }
        "=" if here && wants(p_colon) && !wants(p_equals) => "kinds are written with `:`: write `:` here".to_owned(),
        "=" if here && wants(p_tilde) => "a distribution is given with `~`: write `~` here".to_owned(),
        "=" if here && after_value => "to compare, write `==`".to_owned(),
        "=" if here && wants(p_open) => "the body stands in `{ … }`, without `=`".to_owned(),
        "==" if wants(p_equals) && here => "`==` compares; to define, write `=`".to_owned(),
        "=>" if here && wants(p_arrow) => "the result is written with `->`".to_owned(),
        "->" if here && wants(p_fat) => "a ragged value is written `s => [d]`".to_owned(),
        ":" if here && (construct == "let" || construct == "layer") && place.depth == 0 => {
            format!("a `{construct}` takes no type: it follows from the value")
        }
        ":" if here && wants(p_equals) && !wants(p_colon) => "write `=` here".to_owned(),
        ":" if here && after_value => format!("an argument is named with `=`: `{} = …`", shortened(previous)),
        _ if construct == "expect" && after_value && place.depth == 0 && found != "within" => {
            "what is expected stands behind `=`: `expect f(x) = [1, 2]`".to_owned()
        }
        "," if here && refusal.rule == lone_setting && place.depth == 0 => {
            "settings are separated by lines: remove `,`".to_owned()
        }
        "," if here && refusal.rule == lone_field && wants(p_colon) => {
            format!("a field is a name and its kind, without a comma: `{}: category`", shortened(previous))
        }
        "[" if here && refusal.rule == lone_field && previous == ":" => LIST_COLUMN.to_owned(),
        "of" if here && refusal.rule == lone_field && matches!(previous, "list" | "array" | "set") => {
            LIST_COLUMN.to_owned()
        }
        "," if here && refusal.rule == lone_field && place.depth == 0 => {
            "fields are separated by blanks or lines: remove `,`".to_owned()
        }
        "." if here && construct == "embedding" && !wants(p_dot) && after_each(cutter, refusal, place) => {
            let (owner, name) = (shortened(previous), shortened(place.next));
            format!(
                "`each of` takes whole groups, `for each of {owner}`; a table for one field has a name: \
                 `embedding {name} [8] for {owner}.{name}`"
            )
        }
        "+" | "-" | "*" | "/" if here && wants(p_rbrack) && !after_value => {
            "a size is a name or a number: give the function a parameter such as `m: int`, and write `m` here"
                .to_owned()
        }
        "->" | "=>" if here && after_value => LAMBDA.to_owned(),
        "over" if here && previous == "," => "write the axis without a comma: `sum(x over s)`".to_owned(),
        "[" if here && wants(p_colon) => "write `:` before the type".to_owned(),
        "[" if here && after_value => {
            "values have no index: an entry of a sequence is `first(x over s)` or `last(x over s)`, a field `x.name`, \
             and `split(x, n)` gives equal parts"
                .to_owned()
        }
        "." if here && place.next.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("write a digit before the point: `0.{}`", shortened(place.next))
        }
        "." if here && previous.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("write a digit after the point: `{}.0`", shortened(previous))
        }
        "(" if here && previous == "number" => "the width stands in brackets: `number[4]`".to_owned(),
        "[" if here && previous == "category" => "the number of ids stands in parentheses: `category(10)`".to_owned(),
        "clip" if here && wants(p_comma) => "put a comma before `clip`".to_owned(),
        "{" if here && construct == "metric" => {
            "a metric is a signature: the runtime computes it; remove the body".to_owned()
        }
        "hash" if here && wants(p_comma) => "put a comma before `hash`".to_owned(),
        "keep" if here && construct == "sequence" => "write `(keep last 100)`".to_owned(),
        "]" if here && previous == "[" && wants(dimension) => "a scalar has the shape `[1]`".to_owned(),
        _ if wants(k_else) && !wants(k_if) => "an `if` is a value: give it an `else { … }`".to_owned(),
        _ if wants(k_per) => "say what the body is run for: `per weight`, `per row` or `per tensor`".to_owned(),
        _ if previous == "return" && here => "the last expression of a block is its value: remove `return`".to_owned(),
        _ if matches!(previous, "elif" | "elsif" | "elseif") => "write `else if`".to_owned(),
        _ if previous == "while" && here => "loops are written `for x in list { … }` and unrolled".to_owned(),
        _ if matches!(previous, "const" | "var" | "val") && after_value => "to name a value, write `let`".to_owned(),
        _ if wants(p_open) && !wants(infix) => "the body stands in `{ … }`".to_owned(),
        _ if wants(p_dot) && construct == "use" => {
            "an import names a module and what it takes from it: `use std.layer.mlp`".to_owned()
        }
        _ if wants(k_each) && !wants(identifier) && !wants(field_path) && here && place.next == "." => {
            let (of, name) = (shortened(found), shortened(cutter.word(place.index + 2)));
            format!("a table for listed features has a name: `embedding {name} [8] for {of}.{name}`")
        }
        _ if wants(p_dot) && construct == "embedding" => "name the feature with its group: `for ad.good_id`".to_owned(),
        _ if here && after_value && (wants(block) || wants(p_open)) && place.kind != Some(TokenKind::Mark) => {
            "the two values stand in braces: `if c { a } else { b }`".to_owned()
        }
        _ if here
            && after_value
            && is_name(previous)
            && is_name(found)
            && !super::RESERVED.contains(&found)
            && !matches!(previous, "return" | "while" | "elif" | "elsif" | "elseif" | "const" | "var" | "val") =>
        {
            let (f, x) = (shortened(previous), shortened(found));
            if place.depth > 0 {
                return Some(format!("arguments have a comma between them, `{f}, {x}`, a product a mark, `{f} * {x}`"));
            }
            format!("a call has parentheses, `{f}({x})`, a product a mark, `{f} * {x}`")
        }
        _ if here
            && after_value
            && previous.starts_with(|c: char| c.is_ascii_digit())
            && is_name(found)
            && !super::RESERVED.contains(&found)
            && !found.ends_with('B') =>
        {
            format!("a product has a mark: `{previous} * {}`", shortened(found))
        }
        _ => return None,
    };
    Some(help)
}

/// A word that can be a name.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// What begins an index: `[0]`, `[-1]`, `[:5]`.
fn index(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == ':')
}

/// `each` stands between the word of the construct and here.
fn after_each(cutter: &Cutter, refusal: &ParseRefusal, place: &Place) -> bool {
    (refusal.first..place.index).any(|i| cutter.word(i) == "each")
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
