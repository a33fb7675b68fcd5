//! What the graphs compute: axes, reductions, losses, states. Values are computed by the reference
//! interpreter where sizes are small.

use super::*;
use crate::graph::{AxisId, BATCH, GLOBAL, InputKind, UnaryOp};
use din_program::schedule::Statistic;
use din_program::schema::{GroupBy, GroupWeight, MetricKind};

fn logit(m: &CheckedModel) -> NodeId {
    m.infer.roots.iter().find(|r| matches!(r, Root::Prediction { .. })).unwrap().node()
}

#[test]
fn reductions_name_their_axis() {
    let m = network(
        "",
        "
    let s = sum(embed(visited) over visited)
    let a = mean(embed(visited) over visited)
    let b = max(embed(visited) over visited)
    predict click ~ bernoulli(logit = sum(s * a * b) * length(visited))
",
    );
    let visited = AxisId(2);
    assert_eq!(nodes(&m.infer, |op| matches!(op, Op::Sum { to: BATCH })).len(), 2);
    assert_eq!(nodes(&m.infer, |op| matches!(op, Op::Max { to: BATCH })).len(), 1);
    assert!(!nodes(&m.infer, |op| *op == Op::Length(visited)).is_empty());
    assert_eq!(m.infer.node(logit(&m)).axis, BATCH);
}

#[test]
fn a_candidate_is_repeated_along_the_history() {
    let m = network(
        "",
        "
    let taste = interest(embed(visited), embed(ad), hidden = [3], activation = prelu)
    predict click ~ bernoulli(logit = linear(taste.shop_id, 1))
",
    );
    // The unit sees history, candidate, difference and product of [good: 4, shop: 2].
    assert_eq!(shape_of(&m, "taste.unit.0.weight"), [24, 3]);
    // The result keeps the fields of the history: shop_id is components 4 and 5.
    assert_eq!(shape_of(&m, "click.weight"), [2, 1]);
    let slices = nodes(&m.infer, |op| *op == Op::Slice { start: 4 });
    assert_eq!(slices.len(), 1);
    assert_eq!(m.infer.node(slices[0]).axis, BATCH);
}

#[test]
fn the_loss_is_the_mean_over_the_global_batch() {
    let m = network("", "predict click ~ bernoulli(logit = linear(embed(ad), 1))");
    let loss = m.train.roots.iter().find(|r| matches!(r, Root::Loss(_))).unwrap().node();
    let node = m.train.node(loss);
    assert_eq!((node.axis, &node.op), (GLOBAL, &Op::Binary(crate::graph::BinaryOp::Divide)));
    assert_eq!(m.train.node(node.operands[0]).op, Op::Sum { to: GLOBAL });
    assert_eq!(m.train.node(node.operands[1]).op, Op::Count(BATCH));
}

#[test]
fn losses_add_up_and_missing_labels_do_not_count() {
    let text = format!(
        "{HEAD}model m {{
    features ad {{ good_id: category }}
    label click: binary
    label bought: binary missing -1
    embedding good [4] for ad.good_id
    let x = embed(ad)
    let buys = linear(x, 1)
    predict click ~ bernoulli(logit = linear(x, 1))
    predict bought ~ bernoulli(logit = buys)
    train {{
        loss cross_entropy(click) + 0.5 * cross_entropy(bought) where present
        optimizer sgd(0.1)
        batch 4
        epochs 1
    }}
    report log_loss(click), auc(bought)
}}
"
    );
    let checked = check("test.din", &text, &NoFiles, &CheckOptions::default());
    let m = checked.model.unwrap();
    let present = m.train.inputs.iter().filter(|i| matches!(i.kind, InputKind::Present { label: 1 })).count();
    assert_eq!(present, 1);
    assert_eq!(m.schema.labels[1].missing, Some(din_program::schema::MissingLabel::Number(-1.0)));
    // The term of `bought` alone is 0 where it is missing: the sum of both terms is what is
    // averaged.
    let masks = nodes(&m.train, |op| *op == Op::Select);
    assert_eq!(masks.len(), 1);
    let loss = m.train.roots.iter().find(|r| matches!(r, Root::Loss(_))).unwrap().node();
    let total = m.train.node(m.train.node(loss).operands[0]).operands[0];
    assert_eq!(m.train.node(total).op, Op::Binary(crate::graph::BinaryOp::Add));
    assert_eq!(m.train.node(total).operands[1], masks[0]);
    // Chosen by the first ranking metric: log loss is none.
    assert_eq!(m.training.select, 1);
}

#[test]
fn where_present_means_the_same_in_a_function() {
    let model = |functions: &str, loss: &str| {
        let text = format!(
            "{HEAD}{functions}model m {{
    features ad {{ good_id: category }}
    label click: binary
    label bought: binary missing -1
    embedding good [4] for ad.good_id
    let x = embed(ad)
    predict click ~ bernoulli(logit = linear(x, 1))
    predict bought ~ bernoulli(logit = linear(x, 1))
    train {{ loss {loss}  optimizer sgd(0.1)  batch 4  epochs 1 }}
    report log_loss(click)
}}
"
        );
        let checked = check("test.din", &text, &NoFiles, &CheckOptions::default());
        let codes = checked.diagnostics.iter().map(|d| d.code);
        let codes: Vec<&str> = codes.filter(|code| code.starts_with('E')).collect();
        (codes, checked.model.map(|m| nodes(&m.train, |op| *op == Op::Select).len()))
    };
    let known = "fn known(p: prediction) -> [1] {\n    let q = p\n    cross_entropy(q) where present\n}\n";
    assert_eq!(model(known, "cross_entropy(click) + known(bought)"), (vec![], Some(1)));
    // A label that is always present needs no mask, and the function none of its own.
    assert_eq!(model(known, "known(click) + known(bought)"), (vec![], Some(1)));
    // Passing the prediction on says nothing of how it is read.
    let both = "fn both(p: prediction) -> [1] { (cross_entropy(p) where present) + cross_entropy(p) }\n";
    assert_eq!(model(both, "cross_entropy(click) + both(bought)").0, ["E0613"]);
}

#[test]
fn statistics_over_an_empty_axis_leave_the_state_alone() {
    let m = network(
        "",
        "
    let taste = interest(embed(visited), embed(ad), hidden = [3], activation = dice)
    predict click ~ bernoulli(logit = linear(mlp(taste, [2], dice), 1))
",
    );
    for root in &m.train.roots {
        let Root::State { state, node } = root else { continue };
        let name = &m.states[state.index()].name;
        let node = m.train.node(*node);
        assert_eq!(node.axis, GLOBAL);
        if name.starts_with("taste") {
            // count(visited) ? new : old
            assert_eq!(node.op, Op::Select, "{name}");
            assert_eq!(m.train.node(node.operands[0]).op, Op::Count(AxisId(2)));
            assert_eq!(m.train.node(node.operands[2]).op, Op::State(*state));
        } else {
            // A batch has samples.
            assert_ne!(node.op, Op::Select, "{name}");
        }
    }
}

#[test]
fn inference_reads_the_running_statistics() {
    let m = network("", "predict click ~ bernoulli(logit = linear(dice(embed(ad)), 1))");
    assert_eq!(nodes(&m.infer, |op| matches!(op, Op::State(_))).len(), 2);
    assert_eq!(nodes(&m.train, |op| matches!(op, Op::Statistic(Statistic::Moments))).len(), 1);
    assert_eq!(m.train.params, m.infer.params);
    assert_eq!(m.train.states, m.infer.states);
}

#[test]
fn a_library_function_may_bear_the_name_of_a_builtin() {
    let text = format!(
        "{}model m {{{GROUPS}predict click ~ bernoulli(logit = linear(sigmoid(embed(ad)), 1)){TRAIN}}}",
        HEAD.replace("{dice, prelu}", "sigmoid")
    );
    let m = model(&text);
    assert_eq!(nodes(&m.infer, |op| *op == Op::Unary(UnaryOp::Sigmoid)).len(), 1);
}

#[test]
fn a_row_is_looked_up_once() {
    let m = network(
        "",
        "let a = embed(ad)\n let b = embed(ad)\n predict click ~ bernoulli(logit = sum(a * b) + sum(good(ad.good_id)))",
    );
    assert_eq!(nodes(&m.infer, |op| matches!(op, Op::Lookup { .. })).len(), 2);
}

#[test]
fn tables_are_functions_where_several_hold_a_feature() {
    let wide = "embedding wide [1] for ad.good_id { init 0  optimizer adam(lr = 0.01) }\n";
    let m = network("", &format!("{wide}predict click ~ bernoulli(logit = wide(ad.good_id) + sum(good(ad.good_id)))"));
    let table = m.tables.iter().find(|t| t.name == "wide").unwrap();
    assert_eq!(m.updates[table.update as usize].name, "adam");
    assert_eq!(table.init, din_program::schema::Init::Constant(0.0));
    assert_eq!(network_codes("", &format!("{wide}predict click ~ bernoulli(logit = sum(embed(ad)))")), ["E0403"]);
}

/// The first-order part of Wide & Deep: `user` has ten ages and four numbers, `ad` a good and a
/// shop.
#[test]
fn a_named_family_is_read_by_its_name_and_the_nameless_one_by_embed() {
    let wide = "embedding wide [1] for each of user, ad { init 0 }\n";
    let m = network(
        "",
        &format!("{wide}predict click ~ bernoulli(logit = sum(embed(user)) + sum(wide(user)) + sum(wide(ad)))"),
    );
    let tables: Vec<(&str, u32)> = m.tables.iter().map(|t| (t.name.as_str(), t.width)).collect();
    let expected = [
        ("good", 4),
        ("shop", 2),
        ("user.age", 3),
        ("wide.user.age", 1),
        ("wide.ad.good_id", 1),
        ("wide.ad.shop_id", 1),
    ];
    assert_eq!(tables, expected);
    let read = |table| nodes(&m.infer, |op| matches!(op, Op::Lookup { table: t, .. } if t.0 == table)).len();
    assert_eq!([0, 1, 2, 3, 4, 5].map(read), [0, 0, 1, 1, 1, 1]);
    let one = format!("{wide}predict click ~ bernoulli(logit = wide(ad.shop_id) + sum(wide(ad).good_id))");
    assert_eq!(network_codes("", &one), Vec::<&str>::new());
}

#[test]
fn a_hole_keeps_its_axis() {
    let body = "let total = sum(_ over visited)\n predict click ~ bernoulli(logit = sum(total(embed(visited))))";
    assert_eq!(
        nodes(&network("", body).infer, |op| matches!(op, Op::Sum { to } if *to == crate::graph::BATCH)).len(),
        1
    );
}

#[test]
fn fields_must_agree_in_name_order_and_size() {
    let pair = |features: &str| {
        codes(&format!(
            "{HEAD}model m {{
    features a {{ x: category  y: category }}
    features b {{ {features} }}
    label click: binary
    embedding p [4] for a.x, b.x
    embedding q [4] for a.y, b.y
    predict click ~ bernoulli(logit = sum(embed(a) * embed(b))){TRAIN}}}"
        ))
    };
    assert_eq!(pair("x: category from x2  y: category from y2"), Vec::<&str>::new());
    assert_eq!(pair("y: category from y2  x: category from x2"), ["E0305"]);
}

#[test]
fn matrices_and_elementwise_shapes() {
    let ok = |f: &str| {
        network_codes(&format!("fn f(x: [n]) {{ {f} }}"), "predict click ~ bernoulli(logit = sum(f(embed(ad))))")
    };
    assert_eq!(ok("param w: [n, 2]\n x @ w"), Vec::<&str>::new());
    assert_eq!(ok("param w: [2, n]\n x @ w"), ["E0309"]);
    assert_eq!(ok("param w: [n]\n x + w"), Vec::<&str>::new());
    assert_eq!(ok("param w: [1]\n x + w"), Vec::<&str>::new());
    assert_eq!(ok("param w: [3]\n x + w"), ["E0301"]);
    assert_eq!(ok("param w: [n]\n x + 2 ^ w + min(x, 0) - abs(x) / (1 + exp(w))"), Vec::<&str>::new());
    assert_eq!(ok("let k = size(x) / 2\n param w: [k]\n x * sum(w)"), Vec::<&str>::new());
}

#[test]
fn a_size_and_a_number_of_one_name_agree() {
    let call = |n: usize| {
        let body = format!("predict click ~ bernoulli(logit = sum(f(embed(ad), {n})))");
        network_codes("fn f(x: [n], n: int) { n * x }", &body)
    };
    assert_eq!(call(6), Vec::<&str>::new());
    assert_eq!(call(5), ["E0302"]);
}

#[test]
fn a_key_may_be_a_feature_and_group_by_counts_as_use() {
    let text = format!(
        "{HEAD}model m {{
    features ad {{ good_id: category }}
    features user {{ user_id: category }}
    key user_id: int64
    label click: binary
    embedding good [4] for ad.good_id
    predict click ~ bernoulli(logit = linear(embed(ad), 1))
    train {{ loss cross_entropy(click)  optimizer sgd(0.1)  batch 4  epochs 1 }}
    report gauc(click, by = user.user_id, weight = clicks), gauc(click, by = user_id)
}}
"
    );
    let checked = check("test.din", &text, &NoFiles, &CheckOptions::default());
    assert!(!checked.diagnostics.iter().any(|d| d.code == "W0401"));
    let m = checked.model.unwrap();
    assert_eq!(m.metrics[0].name, "gauc(click, weight = clicks)");
    assert_eq!(m.metrics[1].kind, MetricKind::Gauc { by: GroupBy::Key(0), weight: GroupWeight::Impressions });
}
