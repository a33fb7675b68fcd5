//! Files of the language by its grammar, with blanks, line ends and comments wherever they are
//! allowed.

use proptest::prelude::*;
use proptest::strategy::Union;

/// `~` in the templates: a gap inside of brackets or after an operator, where a line may end.
const GAP: char = '~';

fn gap() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        12 => Just(""),
        3 => Just(" "),
        1 => Just("\n"),
        1 => Just("\n\n  "),
        1 => Just(" // note\n"),
        1 => Just("\n  // own\n"),
    ]
}

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "x",
        "y",
        "history",
        "label",
        "key",
        "mean",
        "_a1",
        "optimizer",
        "a_long_name_for_a_value",
        "s",
    ])
    .prop_map(str::to_owned)
}

fn leaf() -> Union<BoxedStrategy<String>> {
    let fixed = ["1", "0.5", "1e-3", "1_000_000", "24GiB", "\"a // b\"", "true", "_", "[]"];
    Union::new([name().boxed(), proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned).boxed()])
}

/// An expression as a template with gaps.
pub fn expression() -> BoxedStrategy<String> {
    let operator = proptest::sample::select(vec!["+", "-", "*", "/", "@", "^", "..", "and", "or", "where", "=="]);
    leaf()
        .boxed()
        .prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                (inner.clone(), operator.clone(), inner.clone()).prop_map(|(a, o, b)| match o {
                    // Comparisons do not chain.
                    "==" => format!("(({a}) == ~({b}))"),
                    // No part of a comparison, `and` or `or` without parentheses.
                    "where" => format!("(({a}) where ~({b}))"),
                    _ => format!("({a}) {o} ~{b}"),
                }),
                inner.clone().prop_map(|a| format!("-({a})")),
                inner.clone().prop_map(|a| format!("not ({a})")),
                (name(), proptest::collection::vec((any::<u8>(), inner.clone()), 0..4)).prop_map(|(f, parts)| {
                    let parts: Vec<String> = parts
                        .into_iter()
                        .map(|(kind, e)| match kind % 6 {
                            0 => format!("~by ~= {e}~"),
                            1 => format!("~{e} over s~"),
                            2 => format!("~{e} over s where ~({e})~"),
                            3 => format!("({e}) as t~"),
                            _ => format!("~{e}~"),
                        })
                        .collect();
                    format!("{f}({}).field", parts.join(","))
                }),
                proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("[~{}~,~]", parts.join("~,~"))),
                (inner.clone(), inner.clone(), name())
                    .prop_map(|(e, list, x)| format!("[~{e}~ for~ {x}~ in~ {list}~ for (~a,~ (~b,~ c~)~) in {list}~]")),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("(~{}~)", parts.join(",~"))),
                (inner.clone(), inner.clone(), inner.clone(), any::<bool>()).prop_map(|(c, a, b, flat)| {
                    if flat {
                        format!("if ({c}) {{ {a} }} else {{ {b} }}")
                    } else {
                        format!(
                            "if ({c}) {{ // then\n{a}\n}} else if x {{\n\n{b}\n// end\n}} else {{ let q = {a}\nq }}"
                        )
                    }
                }),
            ]
        })
        .boxed()
}

fn statement() -> impl Strategy<Value = String> {
    let e = expression;
    prop_oneof![
        (name(), e()).prop_map(|(n, e)| format!("let {n} = ~{e}")),
        e().prop_map(|e| format!("let (~a,~ b~) = {e} // trailing")),
        e().prop_map(|e| format!("let (~(~a,~ b,~)~,~ c~) = {e}")),
        (name(), e()).prop_map(|(n, e)| format!("{n} = {e}")),
        (name(), e()).prop_map(|(n, e)| format!("update {n} = {e}")),
        (name(), e()).prop_map(|(n, e)| format!("layer {n} = ~{e}")),
        (name(), e()).prop_map(|(n, e)| format!("param {n}: [n,~ 3] = {e},~ b")),
        (name(), e()).prop_map(|(n, e)| format!("state {n}: s => [d] = {e}  let c = 1")),
        (name(), e()).prop_map(|(n, e)| format!("for {n} in {e} {{ x = {e} }}")),
        (e(), e()).prop_map(|(list, e)| format!("for (~a,~ b~) in {list} {{ x = {e} }}")),
        e().prop_map(|e| format!("for i in [{e}] {{\n// inside\nx = x\n\n\n  y = {e} }}")),
        e(),
        Just("// own line".to_owned()),
        Just(String::new()),
    ]
}

fn member() -> impl Strategy<Value = String> {
    let e = expression;
    prop_oneof![
        (name(), e()).prop_map(|(n, e)| format!("let {n} = ~{e}")),
        (name(), e()).prop_map(|(n, e)| format!("hyper {n} = {e} in ~log(1,~ 2)")),
        (name(), e()).prop_map(|(n, e)| format!("hyper {n} = {e} in [1,~ 2] when {e}")),
        (name(), e()).prop_map(|(n, e)| format!("param {n}: [n,~ 3] = {e},~ b: [1]  let (a,~ b) = {e}")),
        name().prop_map(|n| format!("features {n} {{ a: category(10~,~ clip~)   b: number[~4~] from \"odd name\" c: category of string }}")),
        name().prop_map(|n| format!("/// Doc of\n/// {n}\nsequence {n} (~keep~ last 10~)\n{{\n/// field\n a: category // c\n\n b: date from for }}")),
        name().prop_map(|n| format!("features {n} {{ a: category(10~,~ hash~) of string missing \"\" as -1 mark b~ c: number from log(~1 + x~)  missing\n d: category of (~a.b~,~ c.d~)  e: category of string from \"x y\" pooled by mean weighted by w missing as - 0.5 }}")),
        name().prop_map(|n| format!("sequence {n} (~keep~ last 10~) missing mark absent {{ a: category missing }}")),
        name().prop_map(|n| format!("sequence {n} (~keep~ last 10~) known at t before \"u v\" missing {{ a: category in \"f\" }}")),
        name().prop_map(|n| format!("features {n} after  label {{ a: category of string in \"a b\" from c  after: number after  label }}")),
        name().prop_map(|n| format!("label {n}: binary from col missing -1  key k: int64 // key")),
        e().prop_map(|e| format!("embedding g [{e}] for a.b,~ c.d {{ init {e}  optimizer sgd(0.1) // c\n /// d\n init x\n}}")),
        Just("embedding [~8~] for each of a,~ b".to_owned()),
        Just("embedding wide [~1~] for each of a,~ b { init 0 }".to_owned()),
        e().prop_map(|e| format!("predict click ~ bernoulli(logit = {e})").replacen('~', "\u{7}", 1)),
        (e(), e()).prop_map(|(a, b)| format!("train {{\n loss {a}\n\n // c\n batch {b} // d\n clip global_norm 5  optimizer a(1) with dense updates for x.0.y,~ z  epochs 2 }}")),
        (e(), e()).prop_map(|(a, b)| format!("report {a},~ {b}")),
        e().prop_map(|e| format!("assert ({e}) < 24GiB")),
        Just("common a,~ b by c".to_owned()),
        Just("request by c  common a by b".to_owned()),
        Just("// own line\n\n\n".to_owned()),
    ]
}

fn test_part() -> impl Strategy<Value = String> {
    let e = expression;
    prop_oneof![
        (name(), e()).prop_map(|(n, e)| format!("given {n}: [~2~] =~ {e}")),
        (name(), e()).prop_map(|(n, e)| format!("given {n}: samples => s => [2,~ 3] = {e} // c")),
        e().prop_map(|e| format!("given param a.0.b = ~{e}")),
        e().prop_map(|e| format!("given state mean = ~{e}  let x = {e}")),
        (e(), e()).prop_map(|(a, b)| format!("expect {a} = {b} within 1e-6")),
        (e(), e()).prop_map(|(a, b)| format!("expect {a} =\n{b}")),
        (name(), e()).prop_map(|(n, e)| format!("layer {n} = ~{e}")),
        Just("// own line".to_owned()),
    ]
}

fn item() -> impl Strategy<Value = String> {
    prop_oneof![
        (name(), proptest::collection::vec(statement(), 0..6), expression()).prop_map(|(n, body, e)| {
            format!("fn {n}(~x: [n],~ y:~ s => [d, 2],~ z: list~ of~ s => [d],~ f: fn~=~{e}) -> list of [n]\n{{ // head\n{}\n}}", body.join("\n"))
        }),
        (name(), proptest::collection::vec(member(), 0..6))
            .prop_map(|(n, body)| format!("/// A model\nmodel {n} {{\n{}\n}}", body.join("\n"))),
        (name(), proptest::collection::vec(member(), 0..3))
            .prop_map(|(n, body)| format!("model {n} on shop // c\n{{\n{}\n}}", body.join("\n"))),
        (name(), proptest::collection::vec(member(), 0..4))
            .prop_map(|(n, body)| format!("/// A schema\nschema {n} {{ // c\n{}\n}}", body.join("\n"))),
        (any::<bool>(), proptest::collection::vec(test_part(), 0..5)).prop_map(|(training, body)| {
            let training = if training { " in training" } else { "" };
            format!("test \"a name\"{training}\n{{\n{}\n}}", body.join("\n"))
        }),
        (name(), expression()).prop_map(|(n, e)| format!("regularizer {n}(lambda) = ~{e} // c")),
        (name(), proptest::collection::vec(statement(), 1..4))
            .prop_map(|(n, body)| format!("optimizer {n}(lr~) per row {{\n{}\n}}", body.join("\n"))),
        name().prop_map(|n| format!("metric {n}(~p: prediction,~ by: key~)")),
    ]
}

/// A whole file that parses.
pub fn file() -> impl Strategy<Value = String> {
    let head = "//! Doc\nedition 2026 // now\nuse std.a.{~\nb as c,\n// in\n d }\nuse x.y as z\n".replace(GAP, "");
    (any::<bool>(), proptest::collection::vec(item(), 0..4), proptest::collection::vec(gap(), 64)).prop_map(
        move |(with_head, items, gaps)| {
            let template = if with_head { head.clone() } else { String::new() } + &items.join("\n\n// between\n");
            let mut text = String::new();
            let mut next = gaps.iter().cycle();
            for c in template.chars() {
                match c {
                    GAP => text.push_str(next.next().copied().unwrap_or("")),
                    '\u{7}' => text.push('~'),
                    c => text.push(c),
                }
            }
            text
        },
    )
}
