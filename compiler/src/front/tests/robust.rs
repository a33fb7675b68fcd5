//! Hostile and broken input: never a panic, never without end, one report per fault.
//! `tests/tests/agree.rs` tries mutations of specs.

use super::*;

/// Values of the network where settings and metrics stand, which read numbers and labels.
#[test]
fn a_value_of_the_network_among_settings_and_metrics_is_reported() {
    for (place, code) in [
        ("report auc(embed(h))", "E0614"),
        ("report auc(sum(embed(h) over h))", "E0614"),
        ("report auc(click.logit)", "E0614"),
        ("report auc(exp(click.logit) * embed(ad))", "E0614"),
        ("report gauc(click, by = embed(h))", "E0614"),
    ] {
        let text = format!(
            "{HEAD}model m {{\n features ad {{ good_id: category }}\n \
             sequence h {{ good: category }}\n label click: binary\n embedding good [4] for ad.good_id, h.good\n \
             let x = sum(embed(h) over h)\n predict click ~ bernoulli(logit = linear(concat(x, embed(ad)), 1))\n \
             train {{ loss cross_entropy(click)\n optimizer sgd(lr = 0.1)\n batch 4\n epochs 1 }}\n {place}\n}}\n"
        );
        let checked = check("f.din", &text, &NoFiles, &CheckOptions::default());
        let codes: Vec<_> = checked.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect();
        assert_eq!(codes, [code], "{place}: {text}");
        let text = text.replace(place, "report auc(click)").replace("sgd(lr = 0.1)", "sgd(lr = embed(h))");
        let checked = check("f.din", &text, &NoFiles, &CheckOptions::default());
        assert!(checked.model.is_none() && checked.diagnostics.iter().any(Diagnostic::is_error), "{text}");
    }
}

#[test]
fn deep_calls_and_expressions_end_in_a_report() {
    // Each function nests its parameter 200 deep, and calls the next.
    let mut functions = String::new();
    for k in 0..40 {
        let inner = if k == 39 { "x".to_string() } else { format!("f{}(x)", k + 1) };
        functions += &format!("fn f{k}(x: [n]) {{ {}{inner}{} }}\n", "(0 + ".repeat(100), ")".repeat(100));
    }
    assert_eq!(network_codes(&functions, "predict click ~ bernoulli(logit = sum(f0(embed(ad))))"), ["E0701"]);
}

#[test]
fn work_is_bounded() {
    let list = format!("[{}]", vec!["1"; 1000].join(", "));
    let loops = format!(
        "fn f(x: [n]) {{ for a in {list} {{ for b in {list} {{ for c in {list} {{ let d = a + b + c }} }} }} x }}"
    );
    assert_eq!(network_codes(&loops, "predict click ~ bernoulli(logit = sum(f(embed(ad))))"), ["E0703"]);
    let wide = "fn f(x: [n]) { for a in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] { for b in [1, 2, 3, 4, 5, 6, 7] { x = concat(x, x) } } x }";
    let codes = network_codes(wide, "predict click ~ bernoulli(logit = sum(f(embed(ad))))");
    assert_eq!(codes, ["E0702"]);
}

#[test]
fn one_fault_is_one_report() {
    // The faulty value goes through functions, records, reductions and the loss.
    let found = network_codes(
        "",
        "
    let a = embed(add)
    let b = a.good_id - 2 * sum(a over visited)
    let c = interest(embed(visited), a, activation = prelu)
    let (d, e) = (b, c)
    predict click ~ bernoulli(logit = linear(mlp(concat(d, e), [3], dice), 1))
",
    );
    assert_eq!(found, ["E0204"]);
}

#[test]
fn independent_faults_are_all_reported() {
    let found = network_codes(
        "fn f(x: [n]) { x + unknown }",
        "
    let a = f(embed(ad))
    let b = embed(ad.god_id)
    let c = sum(embed(visited) over visits)
    predict click ~ bernoulli(logit = linear(concat(a, b, c), 1.5))
",
    );
    assert_eq!(found, ["E0204", "E0213", "E0314", "E0307"]);
}

#[test]
fn files_beside_the_model_are_imported() {
    struct Two;
    impl SourceProvider for Two {
        fn read(&self, module: &[String]) -> Option<(String, String)> {
            let text = match module.join(".").as_str() {
                "shared.towers" => {
                    "use std.layer.linear\nuse shared.sizes.width\nfn tower(x: [n]) { linear(x, width()) }\n"
                }
                "shared.sizes" => "fn width() { 6 }\n",
                _ => return None,
            };
            Some((format!("{}.din", module.join("/")), text.into()))
        }
    }
    let text = format!(
        "{HEAD}use shared.towers.tower as tall\nmodel m {{{GROUPS}let t = tall(embed(ad))\npredict click ~ bernoulli(logit = linear(t, 1)){TRAIN}}}"
    );
    let checked = check("test.din", &text, &Two, &CheckOptions::default());
    let m = checked.model.unwrap();
    assert_eq!(shape_of(&m, "t.linear.weight"), [6, 6]);
    assert_eq!(m.sources.files()[0].name, "test.din");
    assert!(m.sources.files().iter().any(|f| f.name == "shared/sizes.din"));
    assert_eq!(m.parameters[0].location.split(':').next(), Some("std.layer"));
}

#[test]
fn imports_are_bounded() {
    struct Chain;
    impl SourceProvider for Chain {
        fn read(&self, module: &[String]) -> Option<(String, String)> {
            let n: u32 = module.first()?.strip_prefix('m')?.parse().ok()?;
            Some((format!("m{n}.din"), format!("use m{}.f{}\nfn f{n}(x: [n]) {{ x }}\n", n + 1, n + 1)))
        }
    }
    let text =
        format!("{HEAD}use m0.f0\nmodel m {{{GROUPS}predict click ~ bernoulli(logit = sum(f0(embed(ad)))){TRAIN}}}");
    let checked = check("test.din", &text, &Chain, &CheckOptions::default());
    let errors: Vec<&str> = checked.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect();
    assert_eq!(errors, ["E0704"]);
}

/// One layer whose calls declare one name as a parameter and as a state, in either order.
#[test]
fn a_name_is_a_parameter_or_a_state_and_not_both() {
    let functions = "fn f(x: [n], kept: bool) {
    if kept {
        state w: [n] = 0
        update w = w
        x + w
    } else {
        param w: [n] = 0
        x + w
    }
}";
    for (first, second) in [("true", "false"), ("false", "true")] {
        let body = format!(
            "layer l = f(_, _)
    let a = l(embed(ad), {first})
    let b = l(embed(ad), {second})
    predict click ~ bernoulli(logit = linear(a + b, 1))"
        );
        assert_eq!(network_codes(functions, &body), ["E0501"], "{first}");
    }
}

/// States of any shape take a single value; `concat` takes any number of values, as a function too.
#[test]
fn single_values_spread_and_concat_joins() {
    let functions = "fn f(x: [n]) {
    state w: [n, 3] = 0
    let (m, v) = moments(sum(x))
    update w = m
    x + sum(w)
}
fn join(g: fn, x: [n], y: [m]) { g(x, y, x) }";
    let body = "predict click ~ bernoulli(logit = linear(join(concat, f(embed(ad)), embed(user)), 1))";
    let m = network(functions, body);
    assert_eq!(shape_of(&m, "click.weight"), [6 + 7 + 6, 1]);
}
