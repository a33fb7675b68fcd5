//! Forms that say something shorter: each gives the model that the longer form gives.

use super::*;
use din_program::schema::{Init, Requests};

/// Operations, operands, axes and shapes of the training graph: all but the places in the text.
fn graph(model: &CheckedModel) -> Vec<String> {
    let graph = &model.train;
    let line = |id: NodeId| {
        let node = graph.node(id);
        format!("{:?} {:?} {:?} {:?}", node.op, node.operands, node.axis, node.shape)
    };
    graph.ids().map(line).collect()
}

/// Two networks are one.
fn same(functions: &str, short: &str, long: &str) {
    let models = [short, long].map(|body| {
        let predict = "predict click ~ bernoulli(logit = linear(y, 1))\n";
        network(functions, &format!("{body}\n{predict}"))
    });
    assert_eq!(graph(&models[0]), graph(&models[1]), "{short}");
    assert_eq!(names(&models[0]), names(&models[1]), "{short}");
}

#[test]
fn patterns_take_the_parts_of_tuples_and_lists() {
    let halves = "fn halves(x: [n]) {\n    let (a, b) = split(x, 2)\n    (a, b)\n}\n";
    let long =
        "let x = embed(ad.good_id)\nlet parts = split(x, 2)\nlet y = sum([p * i for (p, i) in zip(parts, [2, 3])])";
    let x = "let x = embed(ad.good_id)\n";
    same(halves, &format!("{x}let (a, b) = split(x, 2)\nlet y = a * 2 + b * 3"), long);
    same(halves, &format!("{x}let (a, b) = halves(x)\nlet y = a * 2 + b * 3"), long);
    same(halves, &format!("{x}let ((a, (b)), c) = (halves(x), 3)\nlet y = a * 2 + b * c"), long);
    let loops = "let y = sum([a * i + b * j for ((a, b), (i, j)) in [(halves(x), [2, 3])]])";
    same(halves, &format!("{x}{loops}"), long);
    let folded = "fn folded(x: [n]) {
    let total = 0
    for ((i, p), (weight)) in zip(enumerate(split(x, 2)), [2, 3]) { total = total + p * weight + 0 * i }
    total
}\n";
    let m = network(folded, "predict click ~ bernoulli(logit = sum(folded(embed(ad.good_id))))\n");
    assert_eq!(nodes(&m.train, |op| matches!(op, Op::Slice { .. })).len(), 2);
}

/// The path of what is made in a `let` has all of its names.
#[test]
fn weights_of_a_pattern_have_its_names() {
    let body = "let ((a, b), c) = ((linear(embed(ad), 2), 1), 2)\npredict click ~ bernoulli(logit = sum(a) + b + c)\n";
    let m = network("", body);
    assert_eq!(names(&m), ["a_b_c.weight", "a_b_c.bias"]);
}

#[test]
fn embed_of_several_is_the_record_of_all() {
    same("", "let y = embed(ad, user)", "let y = concat(embed(ad), embed(user))");
    same("", "let y = embed(ad.good_id, user)", "let y = concat(embed(ad.good_id), embed(user))");
    // A sequence and a candidate: the latter beside each entry.
    let pooled = |x: &str| format!("let x = {x}\nlet y = sum(x over visited)");
    same("", &pooled("embed(visited, ad)"), &pooled("concat(embed(visited), embed(ad))"));
    let wide = "embedding wide [1] for each of user, ad\n";
    same("", &format!("{wide}let y = wide(user, ad)"), &format!("{wide}let y = concat(wide(user), wide(ad))"));
    // Fields have their names, single ones too.
    let fields = "let x = embed(ad.good_id, user)\nlet y = concat(x.good_id, x.age, x.taste)";
    let by_field = "let x = embed(user)\nlet g = embed(ad.good_id)\nlet y = concat(g, x.age, x.taste)";
    let widths = [fields, by_field].map(|body| {
        let m = network("", &format!("{body}\npredict click ~ bernoulli(logit = linear(y, 1))\n"));
        shape_of(&m, "click.weight").to_vec()
    });
    assert_eq!(widths, [[10, 1], [10, 1]]);
}

#[test]
fn a_model_may_have_the_name_of_a_function_or_value() {
    let function = "fn deep(x: [n]) { linear(x, 1) }\n";
    let body = "let deeper = deep(embed(ad))\npredict click ~ bernoulli(logit = deeper)\n";
    let m = model(&format!("{HEAD}{function}\nmodel deep {{{GROUPS}{body}{TRAIN}}}\n"));
    assert_eq!((m.name.as_str(), names(&m)), ("deep", vec!["deeper.linear.weight", "deeper.linear.bias"]));
    let body = "let mlp_like = linear(embed(ad), 1)\npredict click ~ bernoulli(logit = mlp_like)\n";
    assert_eq!(model(&format!("{HEAD}model mlp_like {{{GROUPS}{body}{TRAIN}}}\n")).name, "mlp_like");
    assert_eq!(model(&format!("{HEAD}model mlp {{{GROUPS}{body}{TRAIN}}}\n")).name, "mlp");
}

#[test]
fn a_model_has_weights_of_its_own() {
    let text = format!(
        "{HEAD}model m {{{GROUPS}
    hyper width = 3
    param bias: [1] = 0.5, mix: [9, width] = normal(0.1)
    param scale: [width]
    predict click ~ bernoulli(logit = sum(embed(ad, user.age) @ mix * scale) + bias)
    param task: [1] = 0
    train {{
        loss exp(-task) * cross_entropy(click) + task
        optimizer sgd(0.1)
        optimizer adam(lr = 0.01) for bias, task
        regularize l2(0.1) for mix
        batch 8
        epochs 1
    }}
    report auc(click)
}}\n"
    );
    let m = model(&text);
    let found: Vec<(&str, &[u32], &Init, &str)> = m
        .parameters
        .iter()
        .map(|p| (p.name.as_str(), p.shape.as_slice(), &p.init, m.updates[p.update as usize].name.as_str()))
        .collect();
    let expected: [(&str, &[u32], &Init, &str); 4] = [
        ("bias", &[1], &Init::Constant(0.5), "adam"),
        ("mix", &[9, 3], &Init::Normal(0.1), "sgd + l2"),
        ("scale", &[3], &Init::Constant(0.0), "sgd"),
        ("task", &[1], &Init::Constant(0.0), "adam"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn requests_need_no_common_feature() {
    let of = |requests: &str| {
        let loss = "fn shares(p: prediction) -> [1] { -p.label * log(softmax(p.logit over request)) }\n";
        let body = "predict click ~ bernoulli(logit = sum(embed(ad)))\n";
        let train = TRAIN.replace("cross_entropy(click)", "shares(click)");
        let text =
            format!("{HEAD}{loss}model m {{{GROUPS}\nkey id: int64\nkey q: int64\n{requests}\n{body}{train}}}\n");
        model(&text)
    };
    let m = of("request by q");
    let Some(Requests { key: 1, .. }) = m.schema.requests else { panic!("{:?}", m.schema.requests) };
    assert!(m.schema.features.iter().all(|f| !f.common));
    let request = m.train.axes.request().unwrap();
    assert_eq!(m.train.axes.axis(request).name, "request");
    // The loss is that of a model which has a common feature beside.
    assert_eq!(graph(&m), graph(&of("common user by q")));
}

/// `.present` is the presence of a label that may be missing, and 1 of one that may not.
#[test]
fn functions_see_which_labels_are_known() {
    let of = |functions: &str, loss: &str| {
        let text = format!(
            "{HEAD}{functions}model m {{
    features ad {{ good_id: category }}
    label click: binary
    label bought: binary missing -1
    label score: number missing -1
    embedding good [4] for ad.good_id
    predict bought ~ bernoulli(logit = sum(embed(ad)))
    predict click ~ bernoulli(logit = linear(embed(ad), 1))
    train {{ loss cross_entropy(click) + {loss}  optimizer sgd(0.1)  batch 4  epochs 1 }}
    report log_loss(click)
}}
"
        );
        let checked = check("test.din", &text, &NoFiles, &CheckOptions::default());
        let codes: Vec<&str> = checked.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect();
        match checked.model {
            Some(model) => Ok(graph(&model)),
            None => Err(codes),
        }
    };
    let present = of("", "(cross_entropy(bought) where present)");
    assert!(present.is_ok());
    assert_eq!(of("", "(cross_entropy(bought) where bought.present)"), present);
    let own = "fn own(p: prediction) -> [1] { cross_entropy(p) where p.present }\n";
    assert_eq!(of(own, "own(bought)"), present);
    // A predicted label is a label too; a label is one of which there is no prediction to read.
    let label = "fn own(p: prediction, l: label) -> [1] { cross_entropy(p) where l.present }\n";
    assert_eq!(of(label, "own(bought, bought)"), present);
    let far = "fn far(p: prediction, l: label) -> [1] { abs(p.logit - l) where (p.present and l.present) }\n";
    assert!(of(far, "far(bought, score)").is_ok());
    assert!(of(far, "far(click, score)").is_ok());
    // What does not read it is held to `where present`, as is what a condition leaves open.
    let blind = "fn blind(p: prediction, l: label) -> [1] { abs(p.logit - l) where p.present }\n";
    assert_eq!(of(blind, "blind(click, score)"), Err(vec!["E0613"]));
    assert_eq!(of("", "(cross_entropy(bought) where (bought.present or click.label))"), Err(vec!["E0613"]));
    assert_eq!(of("", "(cross_entropy(bought) where score.present)"), Err(vec!["E0613"]));
    assert!(of("", "(cross_entropy(bought) where (click.label and bought.present))").is_ok());
    assert_eq!(of(blind, "blind(click, 0.5)"), Err(vec!["E0307"]));
}

#[test]
fn hyper_parameters_are_there_under_their_conditions() {
    let of = |sets: &[(&str, &str)]| {
        let text = format!(
            "{HEAD}model m {{{GROUPS}
    hyper layers = 1 in [1, 2, 3]
    hyper second = 8 in [8, 16] when layers >= 2
    hyper third = 4 in [4, 6] when second > 8 and layers == 3
    hyper last = 2 when third < 6
    let sizes = if layers == 1 {{ [] }} else if layers == 2 {{ [second] }} else {{ [second] + (if second > 8 {{ [third, last] }} else {{ [] }}) }}
    predict click ~ bernoulli(logit = linear(mlp(embed(ad), sizes, prelu), 1)){TRAIN}
}}\n"
        );
        let sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let checked = check("test.din", &text, &NoFiles, &CheckOptions { sets });
        let codes: Vec<&str> = checked.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.code).collect();
        match checked.model {
            Some(m) => Ok(m.hypers.into_iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>()),
            None => Err(codes),
        }
    };
    let listed = |hypers: &[&str]| Ok(hypers.iter().map(|h| h.to_string()).collect::<Vec<_>>());
    assert_eq!(of(&[]), listed(&["layers 1"]));
    assert_eq!(of(&[("layers", "2"), ("second", "16")]), listed(&["layers 2", "second 16"]));
    assert_eq!(of(&[("layers", "3")]), listed(&["layers 3", "second 8"]));
    let all = of(&[("layers", "3"), ("second", "16")]);
    assert_eq!(all, listed(&["layers 3", "second 16", "third 4", "last 2"]));
    // `last` is not there, and the network reads it.
    assert_eq!(of(&[("layers", "3"), ("second", "16"), ("third", "6")]), Err(vec!["E0212"]));
    assert_eq!(of(&[("second", "16")]), Err(vec!["E0212"]));
    assert_eq!(of(&[("layers", "2"), ("third", "6")]), Err(vec!["E0212"]));
}
