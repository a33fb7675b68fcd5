//! Syntax errors: what is reported, where, with which help; and that independent ones are all
//! reported.
#![allow(clippy::unwrap_used)]

use din_grammar::{Diagnostic, FileId, SourceMap, Style, parse, parse_recovering, render};

/// `line:column code: message (help)` of every error.
fn reported(text: &str) -> Vec<String> {
    let mut sources = SourceMap::default();
    let file = sources.add("t.din", text);
    let errors = parse(text, file).expect_err(text);
    errors.iter().map(|e| line(e, &sources)).collect()
}

fn line(e: &Diagnostic, sources: &SourceMap) -> String {
    let (line, column) = sources.line_column(e.labels[0].span);
    let help = e.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    format!("{line}:{column} {}: {}{help}", e.code, e.message)
}

/// Each text has exactly one error, which is reported as follows.
#[test]
fn one_error_each() {
    let in_model = |s: &str| format!("model m {{\n{s}\n}}");
    let in_fn = |s: &str| format!("fn f(x) {{\n{s}\n}}");
    let plain = |s: &str| s.to_owned();
    let table: Vec<(String, &str)> = vec![
        // The file.
        (
            plain("use std"),
            "1:8 E0101: expected `.`, found the end of the file (an import names a module and what it takes from it: `use std.layer.mlp`)",
        ),
        (
            plain("use a.{b c}"),
            "1:10 E0101: expected `,`, `as` or `}`, found `c` (names have a comma between them: `b, c`)",
        ),
        (plain("edition x"), "1:9 E0101: expected a whole number, found `x`"),
        (plain("modle m { }"), "1:1 E0106: `modle` begins no definition (did you mean `model`?)"),
        (
            plain("function f() { }"),
            "1:1 E0106: `function` begins no definition (a function is written `fn name(x: [n]) { … }`)",
        ),
        (
            plain("import a"),
            "1:1 E0106: `import` begins no definition (imports are written `use std.layer.{linear, mlp}`)",
        ),
        (plain("let x = 3"), "1:1 E0106: `let` begins no definition (`let` belongs inside `model name { … }`)"),
        (plain("metric a()\nuse a.b"), "2:1 E0112: `use` comes too late (move it before the first definition)"),
        (
            plain("metric a()\n//! late"),
            "2:1 E0112: the file's doc comment comes too late (move it to the top of the file)",
        ),
        (
            plain("metric a()\n/// nothing"),
            "2:1 E0110: this doc comment documents nothing (write an ordinary comment, with `//`)",
        ),
        // Definitions.
        (plain("fn f x { x }"), "1:6 E0101: expected `(`, found `x`"),
        (plain("fn f(x) = x"), "1:9 E0101: expected `->` or `{`, found `=` (the body stands in `{ … }`, without `=`)"),
        (
            plain("fn f(x) => [n] { x }"),
            "1:9 E0101: expected `->` or `{`, found `=>` (the result is written with `->`)",
        ),
        (plain("fn f(x: []) { x }"), "1:10 E0101: expected a size, found `]` (a scalar has the shape `[1]`)"),
        (
            plain("fn f(x: s -> [d]) { x }"),
            "1:11 E0101: expected `,`, `=>`, `=` or `)`, found `->` (a ragged value is written `s => [d]`)",
        ),
        (plain("fn for(x) { x }"), "1:4 E0103: `for` is a reserved word (choose another name, such as `for_`)"),
        (plain("fn f(let) { x }"), "1:6 E0103: `let` is a reserved word (choose another name, such as `let_`)"),
        (
            plain("optimizer o(lr) { weight = 1 }"),
            "1:17 E0101: expected `per`, found `{` (say what the body is run for: `per weight`, `per row` or `per tensor`)",
        ),
        (
            plain("optimizer o(lr) per table { weight = 1 }"),
            "1:21 E0101: expected `weight`, `row` or `tensor`, found `table`",
        ),
        (plain("regularizer r(x) { x }"), "1:18 E0101: expected `=`, found `{`"),
        (
            plain("metric m(x) { x }"),
            "1:13 E0101: expected the end of the definition, found `{` (a metric is a signature: the runtime computes it; remove the body)",
        ),
        // Statements.
        (in_fn("let x == 3"), "2:7 E0101: expected `=`, found `==` (`==` compares; to define, write `=`)"),
        (
            in_fn("let x: [n] = 3"),
            "2:6 E0101: expected `=`, found `:` (a `let` takes no type: it follows from the value)",
        ),
        (in_fn("let = 3"), "2:5 E0101: expected a name, found `=`"),
        (in_fn("let state = 3"), "2:5 E0103: `state` is a reserved word (choose another name, such as `state_`)"),
        (in_fn("let a = x +"), "2:12 E0101: expected an expression, found the end of the line"),
        (
            in_fn("let a = x\n  * 3"),
            "3:3 E0101: expected a statement, found `*` (move `*` to the end of the line before)",
        ),
        (
            in_fn("param w [n] = 3"),
            "2:9 E0101: expected `,`, `:`, `=` or the end of the line, found `[` (write `:` before the type)",
        ),
        (in_fn("update w + 3"), "2:10 E0101: expected `=`, found `+`"),
        (in_fn("for h sizes { x }"), "2:7 E0101: expected `in`, found `sizes`"),
        (
            in_fn("while x { x }"),
            "2:7 E0101: expected an operator or the end of the line, found `x` (loops are written `for x in list { … }` and unrolled)",
        ),
        (
            in_fn("return x"),
            "2:8 E0101: expected an operator or the end of the line, found `x` (the last expression of a block is its value: remove `return`)",
        ),
        (
            in_fn("/// doc\nlet a = 1"),
            "2:1 E0110: this doc comment documents nothing (write an ordinary comment, with `//`)",
        ),
        (
            in_fn("let a = 1 /// doc"),
            "2:11 E0110: this doc comment documents nothing (write an ordinary comment, with `//`)",
        ),
        // Expressions.
        (
            in_fn("if a { x }"),
            "2:11 E0101: expected `else`, found the end of the line (an `if` is a value: give it an `else { … }`)",
        ),
        (
            in_fn("if a = b { x } else { y }"),
            "2:6 E0101: expected an operator or `{`, found `=` (to compare, write `==`)",
        ),
        (
            in_fn("x[0]"),
            "2:2 E0101: expected an operator or the end of the line, found `[` (values have no index: an entry of a sequence is `first(x over s)` or `last(x over s)`, a field `x.name`, and `split(x, n)` gives equal parts)",
        ),
        (in_fn("f(a: 3)"), "2:4 E0101: expected an operator, `,`, `over` or `)`, found `:` (write `=` here)"),
        (
            in_fn("sum(x, over s)"),
            "2:8 E0101: expected an argument or `)`, found `over` (write the axis without a comma: `sum(x over s)`)",
        ),
        (
            in_fn("f(a b)"),
            "2:5 E0101: expected an operator, `,`, `over` or `)`, found `b` (arguments have a comma between them, `a, b`, a product a mark, `a * b`)",
        ),
        (
            in_fn("let a = embed ad"),
            "2:15 E0101: expected an operator or the end of the line, found `ad` (a call has parentheses, `embed(ad)`, a product a mark, `embed * ad`)",
        ),
        (
            in_fn("let a = 2 x"),
            "2:11 E0101: expected an operator or the end of the line, found `x` (a product has a mark: `2 * x`)",
        ),
        (
            in_fn("let a = if c 1 else 2"),
            "2:14 E0101: expected an operator or `{`, found `1` (the two values stand in braces: `if c { a } else { b }`)",
        ),
        (
            in_fn("let a = mlp[x, 8]"),
            "2:12 E0101: expected an operator or the end of the line, found `[` (a call has parentheses: `mlp(…)`; values have no index)",
        ),
        (
            in_fn("let a = (x, y).0"),
            "2:16 E0101: expected a name, found `0` (the parts of a tuple are named: `let (a, b) = …`)",
        ),
        (
            plain("fn f(x: int y: int) { x }"),
            "1:13 E0101: expected `,`, `=>`, `=` or `)`, found `y` (put a comma before `y`)",
        ),
        (
            plain("use std.layer.*"),
            "1:15 E0101: expected a name or `{`, found `*` (what is taken is named: `use std.activation.{prelu, relu}`)",
        ),
        (in_fn("()"), "2:2 E0101: expected an expression, found `)`"),
        (in_fn("a < b < c"), "2:7 E0111: comparisons do not chain (write `a < b and b < c`)"),
        (in_fn(".5"), "2:1 E0101: expected a statement, found `.` (write a digit before the point: `0.5`)"),
        (in_fn("1."), "2:3 E0101: expected a name, found the end of the line"),
        (in_fn("9223372036854775808"), "2:1 E0105: this whole number is too large"),
        (in_fn("1e999"), "2:1 E0105: this number is too large"),
        (in_fn("1__0"), "2:1 E0105: this number is malformed"),
        (in_fn("\"a\\qb\""), "2:3 E0104: unknown escape in a string (write `\\\\` for a backslash)"),
        (in_fn("let a = \"abc"), "2:9 E0104: this string is not closed (close it with `\"`)"),
        // Marks of other languages.
        (in_fn("a && b"), "2:3 E0102: `&&` is not part of the language (write `and`)"),
        (in_fn("a || b"), "2:3 E0102: `||` is not part of the language (write `or`)"),
        (
            in_fn("let a = 3;"),
            "2:10 E0102: `;` is not part of the language (statements end with their line; remove it)",
        ),
        (in_fn("a ** 2"), "2:3 E0102: `**` is not part of the language (write `^` for a power)"),
        (in_fn("x += 2"), "2:3 E0102: `+=` is not part of the language (write the operation out: `x = x + …`)"),
        (in_fn("x # note"), "2:3 E0102: `#` is not part of the language (comments begin with `//`)"),
        (in_fn("f('x')"), "2:3 E0102: `'` is not part of the language (strings are written with `\"`)"),
        (
            in_fn("x /* a\nb */"),
            "2:3 E0102: `/*` is not part of the language (comments begin with `//` and end with the line)",
        ),
        (
            in_fn("let é = 3"),
            "2:5 E0102: `é` is not part of the language (outside of strings and comments, use ASCII letters, digits and the marks of the language)",
        ),
        (
            in_fn("x // \u{1b}[31m"),
            "2:6 E0102: the control character `\\u{1b}` is not part of the language (remove it)",
        ),
        (in_fn("\"\u{202e}\""), "2:2 E0102: the control character `\\u{202e}` is not part of the language (remove it)"),
        // Brackets.
        (in_fn("let y = (x + 1\ny"), "2:9 E0108: `(` is not closed (add `)` before the `}`)"),
        (in_fn("let y = f(x\nlet z = 3"), "2:10 E0108: `(` is not closed (add the missing `)`)"),
        (
            in_model("let y = layer.linear(x, 1)"),
            "2:9 E0103: `layer` is a reserved word (import names and use them alone: `use std.layer.{linear}`, then `linear(…)`)",
        ),
        (
            in_model("predict c ~ f(logit = g(x)\ntrain { batch 1 }\nreport auc(c)"),
            "2:14 E0108: `(` is not closed (add the missing `)`)",
        ),
        (in_fn("f(x]"), "2:2 E0108: `(` is not closed (write `)` here)"),
        (in_fn("x)"), "2:2 E0108: `)` closes nothing (remove it, or look for a bracket closed too early above)"),
        (plain("fn f(x) {\n x\n\n\nfn g(x) { x }"), "1:9 E0108: `{` is not closed (add the missing `}`)"),
        (plain("model m {\n  train {\n    batch 1\n\n}\n"), "2:9 E0108: `{` is not closed (add the missing `}`)"),
        // Members.
        (
            in_model("feature u { a: category }"),
            "2:1 E0106: `feature` begins no member of a model (did you mean `features`?)",
        ),
        (
            in_model("embeding g [8] for u.a"),
            "2:1 E0106: `embeding` begins no member of a model (did you mean `embedding`?)",
        ),
        (
            in_model("x = 3"),
            "2:1 E0106: `x` begins no member of a model (a model names each value once, `let x = …`; a new value for a name is for functions)",
        ),
        (
            in_model("let x = [1]\nfor i in [1, 2] { let z = i }\nlet y = 2"),
            "3:1 E0106: `for` begins no member of a model (`for` belongs inside `fn name(…) { … }`)",
        ),
        (
            in_model("for i in x\n{\n    let z = i\n}"),
            "2:1 E0106: `for` begins no member of a model (`for` belongs inside `fn name(…) { … }`)",
        ),
        (
            in_model("request by ad.good_id"),
            "2:14 E0101: expected the end of the line, found `.` (a request is known by a key: declare `key good_id: int64`, and write `request by good_id`)",
        ),
        (in_model("request request_id"), "2:9 E0101: expected `by` or `of`, found `request_id`"),
        (
            in_model("hyper a = 1 in [1, 2] if b > 1"),
            "2:23 E0101: expected an operator, `when` or the end of the line, found `if` (a condition stands behind `when`: `when layers > 1`)",
        ),
        (in_model("param bias = 0, [1]"), "2:17 E0101: expected a name, found `[`"),
        (in_fn("let (a, (b, 2)) = x"), "2:13 E0101: expected a name or `)`, found `2`"),
        (in_fn("for ((a, b) in x { }"), "2:5 E0108: `(` is not closed (add `)` before the `}`)"),
        (
            in_model("if training { 1 }\nelse { 2 }"),
            "2:1 E0106: `if` begins no member of a model (`if` belongs inside `fn name(…) { … }`)",
        ),
        (
            in_model("embedding [8] for user.word { init 0 }"),
            "2:19 E0101: expected `each`, found `user` (a table for listed features has a name: `embedding word [8] for user.word`)",
        ),
        (in_model("loss f(x)"), "2:1 E0106: `loss` begins no member of a model (`loss` belongs inside `train { … }`)"),
        (
            in_model("features u { a = category }"),
            "2:16 E0101: expected `:`, found `=` (kinds are written with `:`: write `:` here)",
        ),
        (
            in_model("features u { a: category, b: number }"),
            "2:25 E0101: expected `(`, `from`, `in`, `missing`, `of`, `pooled by` or the end of the field, found `,` (fields are separated by blanks or lines: remove `,`)",
        ),
        (
            in_model("features u { a: number(4) }"),
            "2:23 E0101: expected `[`, `from`, `missing`, `pooled by` or the end of the field, found `(` (the width stands in brackets: `number[4]`)",
        ),
        (
            in_model("features u { a: category[4] }"),
            "2:25 E0101: expected `(`, `from`, `in`, `missing`, `of`, `pooled by` or the end of the field, found `[` (the number of ids stands in parentheses: `category(10)`)",
        ),
        (
            in_model("sequence v keep last 3 { a: category }"),
            "2:12 E0101: expected `(`, `known at`, `missing` or `{`, found `keep` (write `(keep last 100)`)",
        ),
        (
            in_model("sequence v (keep 3) { a: category }"),
            "2:18 E0101: expected `first` or `last`, found `3` (which entries are kept is said: `(keep last 3)`)",
        ),
        (
            in_model("label click = binary"),
            "2:13 E0101: expected `:`, found `=` (kinds are written with `:`: write `:` here)",
        ),
        (in_model("key user_id int64"), "2:13 E0101: expected `:`, found `int64`"),
        (in_model("embedding g [8] u.a"), "2:17 E0101: expected `for`, found `u`"),
        (
            in_model("embedding g [8] for u"),
            "2:22 E0101: expected `.`, found the end of the line (name the feature with its group: `for group.u`)",
        ),
        (in_model("hyper lr 1e-3"), "2:10 E0101: expected `=`, found `1e-3`"),
        (
            in_model("predict c = bernoulli(logit = y)"),
            "2:11 E0101: expected `~`, found `=` (a distribution is given with `~`: write `~` here)",
        ),
        (
            in_model("train { loss a where b > 1 and c < 2 }"),
            "2:24 E0113: `where` binds tighter than `>` (put the condition into parentheses: `… where (a > b)`)",
        ),
        (
            in_model("train { loss a + b * 2 where c and d }"),
            "2:32 E0113: `where` binds tighter than `and` (put the condition into parentheses: `… where (a > b)`)",
        ),
        (
            in_model("train { loss 0 < a + -b where c }"),
            "2:16 E0113: `where` binds tighter than `<` (put the condition into parentheses: `… where (a > b)`)",
        ),
        (
            in_model("report auc(c) gauc(c)"),
            "2:15 E0101: expected an operator, `,`, `by` or the end of the line, found `gauc`",
        ),
        (
            in_model("common a, b"),
            "2:12 E0101: expected `,` or `by`, found the end of the line (requests are told apart by a key: `common a, b by request_id`)",
        ),
        (
            in_model("train {\nloss: x\n}"),
            "3:5 E0101: expected an expression or the end of the line, found `:` (a setting is a word and its values: remove `:`)",
        ),
        (
            in_model("train {\nbatch = 3\n}"),
            "3:7 E0101: expected an expression or the end of the line, found `=` (a setting is a word and its values: remove `=`)",
        ),
    ];
    let mut wrong = String::new();
    for (text, expected) in &table {
        let found = reported(text);
        if found.len() != 1 || found[0] != *expected {
            wrong += &format!("{text}\n  expected {expected}\n  found    {}\n\n", found.join("\n           "));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn independent_errors_are_all_reported() {
    let text = "\
use std.layer.{linear mlp}
model m {
    feature user { a: category }
    features ad {
        a = category
        b: category
        c: number(4)
    }
    let h = f(1
    let k = g(2, )) + 1
    train {
        batch = 12
        epochs 2
        loss f(x y)
    }
    label click binary
}
fn f(x) {
    let a = x +
    for i in [1, 2] {
        x = = 3
        let let = 3
    }
    a
}
modle n { }
fn g(x) { x x }
fn h(x) {
    x
";
    let found: Vec<String> = reported(text).iter().map(|l| l.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(
        found,
        [
            "1:23 E0101",
            "3:5 E0106",
            "5:11 E0101",
            "7:18 E0101",
            "9:14 E0108",
            "10:19 E0108",
            "12:15 E0101",
            "14:18 E0101",
            "16:17 E0101",
            "19:16 E0101",
            "21:13 E0101",
            "22:13 E0103",
            "26:1 E0106",
            "27:13 E0101",
            "28:9 E0108",
        ]
    );
}

#[test]
fn an_error_says_form_expected_found_and_help() {
    let text = "model m {\n    predict click = bernoulli(logit = y)\n}\n";
    let mut sources = SourceMap::default();
    let file = sources.add("models/m.din", text);
    let drawn = render(&parse(text, file).unwrap_err(), &sources, Style::Human { color: false });
    let expected = "\
error[E0101]: expected `~`, found `=`
 --> models/m.din:2:19
  |
2 |     predict click = bernoulli(logit = y)
  |                   ^ expected `~`
  |
  = note: the form is `predict label ~ bernoulli(logit = expression)`
  = help: a distribution is given with `~`: write `~` here

";
    assert_eq!(drawn, expected, "\n{drawn}");
}

#[test]
fn an_unclosed_brace_is_blamed_by_indentation() {
    let text = "model m {\n    features u {\n        a: category\n    label c: binary\n}\n\nfn f(x) { x }\n";
    let mut sources = SourceMap::default();
    let file = sources.add("m.din", text);
    let errors = parse(text, file).unwrap_err();
    assert_eq!((errors.len(), errors[0].code), (1, "E0108"), "nothing follows from it: {errors:?}");
    assert_eq!(sources.line_column(errors[0].labels[0].span), (2, 16));
    assert!(errors[0].labels[1].text.contains("outer"), "{errors:?}");
}

/// `/` in Python is `//` in some of its uses: what it hides here is said at its place.
#[test]
fn a_comment_that_hides_a_bracket_is_pointed_at() {
    let text = "fn f(x) {\n    let y = f([64 // 2])\n    y\n}\n";
    let mut sources = SourceMap::default();
    let errors = parse(text, sources.add("m.din", text)).unwrap_err();
    let places: Vec<_> = errors.iter().map(|e| (e.code, sources.line_column(e.labels[0].span))).collect();
    assert_eq!(places, [("E0108", (2, 14)), ("E0108", (2, 15))]);
    for error in &errors {
        assert!(error.labels.iter().any(|l| sources.line_column(l.span) == (2, 19)), "{error:?}");
    }
}

/// Words that begin members are names too, on lines of their own inside of brackets.
#[test]
fn a_name_that_begins_a_member_elsewhere_may_begin_a_line_in_brackets() {
    for text in ["label,\n key", "sum(\n label over key)", "train\n and key", "train *\n key"] {
        let text = format!("fn f(x) {{ g(\n {text}\n ) }}\n");
        let mut sources = SourceMap::default();
        assert!(parse(&text, sources.add("m.din", text.as_str())).is_ok(), "{text}");
    }
}

/// What a file with syntax errors still has.
#[test]
fn the_pieces_that_parse_are_kept() {
    use din_grammar::ast::{ExprKind, Item, MemberKind, StatementKind};
    let text = "\
edition 2026
use std.layer.linear

fn good(x: [n]) -> [n] { x }
fn half(x: [n], size: int) -> [size] {
    let y = linear(x, )) + 
    let z = x
    for i in 0..3 {
        y = y +
        y = z
    }
    y z (
}
fn ( {}
model m on shop {
    features ad {
        good: category
        bad category
        cate: category
    }
    label click: binary
    let a = embed(ad
    let b = a
    train {
        loss cross_entropy(click)
        optimizer = 3
        batch 8
    }
    report auc(click)
}
";
    let (tree, errors) = parse_recovering(text, FileId(0));
    assert_eq!(Err(errors), parse(text, FileId(0)).map(|_| ()), "the errors are those of `parse`");
    assert_eq!((tree.imports.len(), tree.edition.map(|e| e.year)), (1, Some(2026)));
    let names: Vec<&str> = tree.items.iter().filter_map(|item| Some(item.name()?.name.as_str())).collect();
    assert_eq!(names, ["good", "half", "m"]);
    let Item::Function(half) = &tree.items[1] else { panic!("{:?}", tree.items[1]) };
    let parameters: Vec<&str> = half.parameters.iter().map(|p| p.name.name.as_str()).collect();
    assert_eq!(parameters, ["x", "size"]);
    assert!(half.result.is_some());
    let bound = half.body.statements.iter().filter_map(|s| match &s.kind {
        StatementKind::Let(l) => Some((l.pattern.names()[0].name.as_str(), matches!(l.value.kind, ExprKind::Hole))),
        _ => None,
    });
    assert_eq!(bound.collect::<Vec<_>>(), [("y", true), ("z", false)]);
    assert!(half.body.statements.iter().any(|s| matches!(s.kind, StatementKind::For { .. })));
    assert!(matches!(half.body.value.as_deref().map(|e| &e.kind), Some(ExprKind::Hole)), "{:?}", half.body.value);
    let Item::Model(model) = &tree.items[2] else { panic!("{:?}", tree.items[2]) };
    assert_eq!(model.schema.as_ref().map(|s| s.name.as_str()), Some("shop"));
    let mut seen = Vec::new();
    for member in &model.members {
        match &member.kind {
            MemberKind::Features { fields, .. } => seen.extend(fields.iter().map(|f| f.name.name.clone())),
            MemberKind::Label { name, .. } => seen.push(name.name.clone()),
            MemberKind::Let(l) => seen.push(l.pattern.names()[0].name.clone()),
            MemberKind::Train(train) => seen.extend(train.settings.iter().map(|s| s.word.name.clone())),
            MemberKind::Report { .. } => seen.push("report".into()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["good", "cate", "click", "a", "b", "loss", "batch", "report"]);
}
