//! Common slips where the parse stopped, and what to write instead.

use super::Rule;
use super::build::shortened;
use super::explain::{ParseRefusal, Place};
use super::recover::Cutter;
use crate::scan::TokenKind;
use crate::{Diagnostic, Span};

/// What to write, and the edits that write it where no more is to be decided.
struct Remedy {
    help: String,
    edits: Vec<(Span, String)>,
}

impl Remedy {
    fn of(help: impl Into<String>) -> Self {
        Self { help: help.into(), edits: Vec::new() }
    }

    fn edit(mut self, span: Span, text: impl Into<String>) -> Self {
        self.edits.push((span, text.into()));
        self
    }
}

/// The error with the help for a slip that is recognised.
pub(super) fn help(error: Diagnostic, cutter: &Cutter, refusal: &ParseRefusal, place: &Place) -> Diagnostic {
    let remedy = of_construct(cutter, refusal, place).or_else(|| of_tokens(cutter, refusal, place).map(Remedy::of));
    match remedy {
        Some(Remedy { help, edits }) => {
            edits.into_iter().fold(error.help(help), |error, (span, text)| error.edit(span, text))
        }
        None => error,
    }
}

const LIST_COLUMN: &str = "a list column is pooled, `tags: category of string pooled by mean`, or a field of a `sequence`: \
     `sequence tags { tag: category of string from tags }`";

const LAMBDA: &str = "functions have names: define `fn name(x: [n]) -> [n] { … }`, and write `name` here";

/// One help for a slip that the tokens around show, whatever the construct.
fn of_tokens(cutter: &Cutter, refusal: &ParseRefusal, place: &Place) -> Option<String> {
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
        ":" if here && matches!(construct, "param" | "constant" | "state") && place.depth == 0 && after_value => {
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

/// A slip in the form of one construct.
fn of_construct(cutter: &Cutter, refusal: &ParseRefusal, place: &Place) -> Option<Remedy> {
    let here = !place.line_ended;
    match cutter.word(refusal.first) {
        _ if refusal.rule == Rule::lone_field => of_field(cutter, place, refusal),
        "embedding" => of_embedding(cutter, place, refusal),
        "features" | "sequence" => of_group(cutter, place, refusal),
        "use" => of_import(cutter, place, refusal),
        "let" | "layer" => of_binding(cutter, place, refusal),
        "hyper" => of_hyper(cutter, place, refusal),
        "assert" if refusal.rule == Rule::lone_test_part => {
            Some(Remedy::of("a test says what it expects: `expect f(x) = 3`").edit(place.span, "expect"))
        }
        word => of_member(cutter, place, refusal, word),
    }
    .or_else(|| {
        if !here {
            return None;
        }
        // The axis of a reduction.
        if place.found == "." && place.index >= 2 && cutter.word(place.index - 2) == "over" {
            let of = shortened(place.previous);
            if declares(cutter, "features", place.previous) {
                return Some(Remedy::of(format!(
                    "a field of `features` is one vector, that of its list if it is `pooled`: \
                     `embed({of}.{})` needs no reduction",
                    shortened(place.next)
                )));
            }
            let field = cutter.span(place.index).to(cutter.span(place.index + 1));
            return Some(
                Remedy::of(format!("entries are those of the whole sequence: write `over {of}`")).edit(field, ""),
            );
        }
        if digit(place.previous) && digit(place.found) && refusal.expected.contains(&Rule::infix) && place.depth > 0 {
            let after = cutter.span(place.index - 1).end as usize;
            let (a, b) = (shortened(place.previous), shortened(place.found));
            return Some(
                Remedy::of(format!("items have a comma between them: `{a}, {b}`"))
                    .edit(Span::new(cutter.file, after, after), ","),
            );
        }
        None
    })
}

fn of_field(cutter: &Cutter, place: &Place, refusal: &ParseRefusal) -> Option<Remedy> {
    let (found, previous, next) = (place.found, place.previous, place.next);
    let wants = |rule| refusal.expected.contains(&rule);
    if place.line_ended {
        return None;
    }
    if previous == "keep" && wants(Rule::p_colon) {
        return Some(Remedy::of(format!(
            "`keep` stands before the brace: `sequence name (keep last {}) {{ … }}`",
            if digit(next) { shortened(next) } else { "100".to_owned() }
        )));
    }
    if wants(Rule::p_colon) && is_name(found) && is_name(previous) && !matches!(found, "from" | "missing") {
        let (name, kind) = (shortened(previous), shortened(found));
        let after = cutter.span(place.index - 1).end as usize;
        return Some(
            Remedy::of(format!("a field is a name, `:` and its kind: `{name}: {kind}`"))
                .edit(Span::new(cutter.file, after, after), ":"),
        );
    }
    let size = place.index >= 3 && cutter.word(place.index - 3) == "category" && cutter.word(place.index - 2) == "(";
    if found == "=" && size {
        let named = cutter.span(place.index - 1).to(cutter.span(place.index));
        return Some(
            Remedy::of(format!("the number of ids stands alone: `category({})`", shortened(next))).edit(named, ""),
        );
    }
    if found == "(" && next == "keep" {
        return Some(Remedy::of(
            "`keep` is of a sequence: `sequence tags (keep last 100) { tag: category of string from tags }`",
        ));
    }
    if (found == "=" || matches!(found, "default" | "default_value" | "fill" | "fillna" | "else"))
        && place.depth == 0
        && (digit(next) || next == "-" || next.starts_with('"'))
        && !wants(Rule::p_colon)
    {
        let written = if previous == "missing" { "as" } else { "missing as" };
        return Some(
            Remedy::of(format!("the value of what is missing is said by `missing as {}`", shortened(next)))
                .edit(place.span, written),
        );
    }
    if previous == "from" && (matches!(found, "(" | "-") || digit(found)) {
        return Some(Remedy::of(ARITHMETIC));
    }
    if matches!(found, "+" | "-" | "*" | "/") && is_name(previous) && cutter.word(place.index - 2) == "from" {
        let (a, b) = (shortened(previous), shortened(next));
        return Some(match found {
            "-" if is_name(next) => Remedy::of(format!(
                "the time between two columns is `gap({a}, {b})`; other arithmetic is for the network"
            ))
            .edit(cutter.span(place.index - 1).to(cutter.span(place.index + 1)), format!("gap({a}, {b})")),
            _ => Remedy::of(ARITHMETIC),
        });
    }
    if previous == "in" && found == "[" {
        return Some(Remedy::of("a vocabulary is a text file with an id on each line: `in \"words.txt\"`"));
    }
    // A second field without its colon: what stands before it is complete.
    if wants(Rule::EOI) && is_name(found) && place.depth == 0 && (next == "=" || matches!(next, "category" | "number"))
    {
        let name = shortened(found);
        let after = cutter.span(place.index).end as usize;
        let (kind, span) = if next == "=" {
            (cutter.word(place.index + 2), cutter.span(place.index + 1))
        } else {
            (next, Span::new(cutter.file, after, after))
        };
        return Some(
            Remedy::of(format!("a field is a name, `:` and its kind: `{name}: {}`", shortened(kind))).edit(span, ":"),
        );
    }
    None
}

fn of_embedding(cutter: &Cutter, place: &Place, refusal: &ParseRefusal) -> Option<Remedy> {
    let (found, previous) = (place.found, place.previous);
    let wants = |rule| refusal.expected.contains(&rule);
    let here = !place.line_ended;
    if here && found == "," && place.depth == 1 && wants(Rule::p_rbrack) {
        let rows = cutter.span(place.index - 1).to(cutter.span(place.index));
        return Some(
            Remedy::of(format!(
                "the brackets hold the width of a vector alone, `[{}]`; rows are made for the ids of the data",
                shortened(place.next)
            ))
            .edit(rows, ""),
        );
    }
    if here && wants(Rule::p_lbrack) && place.depth == 0 && is_name(previous) {
        let name = shortened(previous);
        if found == "(" && cutter.word(place.index + 2) == ")" {
            let width = shortened(place.next);
            return Some(
                Remedy::of(format!("the width stands in brackets: `embedding {name} [{width}] for …`"))
                    .edit(place.span.to(cutter.span(place.index + 2)), format!(" [{width}]")),
            );
        }
        let before = place.span.start as usize;
        return Some(
            Remedy::of(format!("the width of a vector stands in brackets: `embedding {name} [16] for …`"))
                .edit(Span::new(cutter.file, before, before), "[16] "),
        );
    }
    if wants(Rule::p_dot) && place.depth == 0 && is_name(previous) && previous != "for" && found != "." {
        let name = shortened(previous);
        let group = declares(cutter, "features", previous) || declares(cutter, "sequence", previous);
        return Some(Remedy::of(if group {
            format!(
                "name a field of it, `for {name}.field`; tables for all its fields are `embedding [8] for each of {name}`"
            )
        } else {
            format!("name the feature with its group: `for group.{name}`")
        }));
    }
    None
}

/// The heading of `features` or `sequence`.
fn of_group(cutter: &Cutter, place: &Place, refusal: &ParseRefusal) -> Option<Remedy> {
    let wants = |rule| refusal.expected.contains(&rule);
    if wants(Rule::k_before) {
        let known = shortened(place.previous);
        return Some(Remedy::of(format!(
            "two columns are compared, when a value was known and the moment of the row: \
             `known at {known} before shown_at`"
        )));
    }
    if place.line_ended {
        return None;
    }
    if place.previous == "before" {
        return Some(Remedy::of("a column stands here, with the time of each row: `before shown_at`"));
    }
    if matches!(place.previous, "last" | "first") && place.found == "-" {
        return Some(
            Remedy::of(format!("write the number without a sign: `keep {} {}`", place.previous, shortened(place.next)))
                .edit(cutter.span(place.index), ""),
        );
    }
    None
}

fn of_import(cutter: &Cutter, place: &Place, refusal: &ParseRefusal) -> Option<Remedy> {
    let wants = |rule| refusal.expected.contains(&rule);
    if place.line_ended {
        return None;
    }
    if place.depth > 0 && wants(Rule::p_comma) && is_name(place.found) && is_name(place.previous) {
        let after = cutter.span(place.index - 1).end as usize;
        let (a, b) = (shortened(place.previous), shortened(place.found));
        return Some(
            Remedy::of(format!("names have a comma between them: `{a}, {b}`"))
                .edit(Span::new(cutter.file, after, after), ","),
        );
    }
    if place.kind == Some(TokenKind::String) && place.previous == "use" {
        let file = place.found.trim_matches('"').trim_end_matches(".din").replace('/', ".");
        return Some(Remedy::of(format!(
            "a file beside this one is named without quotes, with what is taken from it: `use {}.{{name}}`",
            shortened(&file)
        )));
    }
    None
}

fn of_binding(cutter: &Cutter, place: &Place, refusal: &ParseRefusal) -> Option<Remedy> {
    let (found, previous, next) = (place.found, place.previous, place.next);
    let wants = |rule| refusal.expected.contains(&rule);
    if place.line_ended || place.depth > 0 {
        return None;
    }
    let whole_type = cutter.word(place.index + 2) == "=" || next == "[";
    match found {
        "~" if wants(Rule::p_equals) => Some(Remedy::of("write `=` here").edit(place.span, "=")),
        ":" if wants(Rule::p_equals) && next == "=" => {
            Some(Remedy::of("write `=` without a colon").edit(place.span, ""))
        }
        ":" if wants(Rule::p_equals) && !whole_type => Some(Remedy::of("write `=` here").edit(place.span, "=")),
        "-" if wants(Rule::p_equals) && is_name(previous) && is_name(next) => {
            let name = format!("{}_{}", shortened(previous), shortened(next));
            let whole = cutter.span(place.index - 1).to(cutter.span(place.index + 1));
            Some(Remedy::of(format!("names are made of letters, digits and `_`: `{name}`")).edit(whole, name))
        }
        _ if wants(Rule::pattern) && digit(found) && !next.is_empty() => {
            let name = format!("_{}", shortened(found));
            Some(Remedy::of(format!("a name begins with a letter or `_`: `{name}`")).edit(place.span, name))
        }
        _ => None,
    }
}

fn of_hyper(cutter: &Cutter, place: &Place, refusal: &ParseRefusal) -> Option<Remedy> {
    if !refusal.expected.contains(&Rule::p_equals) || place.depth > 0 || !is_name(place.previous) {
        return None;
    }
    let name = shortened(place.previous);
    if place.line_ended {
        return Some(Remedy::of(format!("give it a value: `hyper {name} = 1`")).edit(place.span, " = 1"));
    }
    if place.found == ":" && cutter.word(place.index + 2) == "=" {
        let ty = cutter.span(place.index).to(cutter.span(place.index + 1));
        let value = shortened(cutter.word(place.index + 3));
        return Some(Remedy::of(format!("it is a number, and takes no type: `hyper {name} = {value}`")).edit(ty, ""));
    }
    None
}

/// Members of a model that are written in one line, and statements.
fn of_member(cutter: &Cutter, place: &Place, refusal: &ParseRefusal, construct: &str) -> Option<Remedy> {
    let (found, previous) = (place.found, place.previous);
    let wants = |rule| refusal.expected.contains(&rule);
    let here = !place.line_ended;
    match construct {
        "label" | "key" if !here && wants(Rule::p_colon) && place.depth == 0 => {
            let kind = if construct == "label" { "binary" } else { "int64" };
            let what = if construct == "label" { "kind" } else { "type" };
            Some(
                Remedy::of(format!("say its {what}: `{construct} {}: {kind}`", shortened(previous)))
                    .edit(place.span, format!(": {kind}")),
            )
        }
        "predict" if here && wants(Rule::p_tilde) && matches!(found, ":" | "==" | "=") => {
            Some(Remedy::of("a distribution is given with `~`: write `~` here").edit(place.span, "~"))
        }
        "report" if here && found == "{" && place.depth == 0 => {
            Some(Remedy::of("metrics have commas between them and no braces: `report auc(click), log_loss(click)`"))
        }
        "common" if wants(Rule::k_by) => {
            let key = declared_key(cutter);
            let name = key.unwrap_or("request_id");
            let groups: Vec<&str> = (refusal.first..place.index).map(|i| cutter.word(i)).collect();
            let line = groups.join(" ").replace(" ,", ",");
            let remedy = Remedy::of(format!("requests are told apart by a key: `{} by {name}`", shortened(&line)));
            Some(if here || key.is_none() { remedy } else { remedy.edit(place.span, format!(" by {name}")) })
        }
        "request" if here && previous == "of" && is_name(found) => Some(
            Remedy::of(format!("requests of the rows with one key are `request by {}`", shortened(found)))
                .edit(cutter.span(place.index - 1), "by"),
        ),
        "test" if here && wants(Rule::string) && is_name(found) => {
            let name = shortened(found);
            Some(
                Remedy::of(format!("the name of a test is a text: `test \"{name}\"`"))
                    .edit(place.span, format!("\"{name}\"")),
            )
        }
        "for" if here && found == ":" && place.depth == 0 => {
            Some(Remedy::of("the body of a loop stands in braces: `for x in xs { … }`"))
        }
        _ => None,
    }
}

/// The name of the first `key` of the file.
fn declared_key<'c>(cutter: &'c Cutter) -> Option<&'c str> {
    let key = (0..cutter.tokens.len()).find(|&i| cutter.word(i) == "key" && cutter.word(i + 2) == ":")?;
    Some(cutter.word(key + 1))
}

/// Whether the file declares `name` by this word.
fn declares(cutter: &Cutter, word: &str, name: &str) -> bool {
    (1..cutter.tokens.len()).any(|i| cutter.word(i) == name && cutter.word(i - 1) == word)
}

fn digit(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

const ARITHMETIC: &str = "arithmetic stands inside of a function of the column, such as `log(1 + price)`, and \
     `standard(price)` scales it; or compute in the network, with `embed(ad.price)`";
