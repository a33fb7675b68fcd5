//! What a model holds: columns, tables, parameters, states and their names and sizes.

use super::*;
use din_program::schedule::Statistic;
use din_program::schema::{
    FeatureKind, GroupBy, GroupWeight, Init, KeyType, MetricKind, OutputPurpose, SliceBy, TableKind,
};

fn shipped(name: &str) -> CheckedModel {
    let path = format!("{}/../models/{name}.din", env!("CARGO_MANIFEST_DIR"));
    model(&std::fs::read_to_string(path).unwrap())
}

#[test]
fn din_has_the_sizes_of_its_text() {
    let m = shipped("din");
    // 3 ids of 16: the unit sees 4 * 48, the MLP 4 * 8 + 48 + 48.
    let expected: [(&str, &[u32]); 16] = [
        ("taste.unit.0.weight", &[192, 80]),
        ("taste.unit.0.bias", &[80]),
        ("taste.unit.0.alpha", &[80]),
        ("taste.unit.1.weight", &[80, 40]),
        ("taste.unit.1.bias", &[40]),
        ("taste.unit.1.alpha", &[40]),
        ("taste.linear.weight", &[40, 1]),
        ("taste.linear.bias", &[1]),
        ("hidden.0.weight", &[128, 200]),
        ("hidden.0.bias", &[200]),
        ("hidden.0.alpha", &[200]),
        ("hidden.1.weight", &[200, 80]),
        ("hidden.1.bias", &[80]),
        ("hidden.1.alpha", &[80]),
        ("click.weight", &[80, 1]),
        ("click.bias", &[1]),
    ];
    let found: Vec<(&str, &[u32])> = m.parameters.iter().map(|p| (p.name.as_str(), p.shape.as_slice())).collect();
    assert_eq!(found, expected);
    assert_eq!(m.parameters[2].init, Init::Constant(0.25));
    assert_eq!(m.parameters[0].init, Init::Uniform((6.0f64 / 272.0).sqrt()));
    let tables: Vec<(&str, u32, bool)> =
        m.tables.iter().map(|t| (t.name.as_str(), t.width, t.reads_frequency)).collect();
    assert_eq!(
        tables,
        [
            ("good", 16, true),
            ("shop", 16, false),
            ("cate", 16, false),
            ("user.gender", 8, false),
            ("user.age_level", 8, false),
            ("scene.pid", 8, false),
            ("scene.time", 8, false),
        ]
    );
    assert_eq!(m.tables[0].kind, TableKind::Dynamic { key: KeyType::Int64 });
    assert_eq!(m.tables[4].kind, TableKind::Fixed { size: 10 });
    assert_eq!(m.tables[0].init, Init::Normal(0.01));
    assert_eq!((m.training.batch, m.training.epochs, m.training.select), (1024, 2, 0));
    // Rows of 16 with and without Eq. (9), rows of 8, elements of dense tensors.
    let mut updates: Vec<&str> = m.updates.iter().map(|u| u.name.as_str()).collect();
    updates.sort_unstable();
    assert_eq!(updates, ["adam", "adam", "adam", "adam + adaptive"]);
    assert_ne!(m.tables[0].update, m.tables[1].update);
    assert_eq!(m.tables[1].update, m.tables[2].update);
}

#[test]
fn dice_adds_two_states_per_unit() {
    let m = shipped("din_dice");
    let states: Vec<(&str, &[u32], Init)> =
        m.states.iter().map(|s| (s.name.as_str(), s.shape.as_slice(), s.init)).collect();
    assert_eq!(states.len(), 8);
    assert_eq!(states[0], ("taste.unit.0.mean", &[80][..], Init::Constant(0.0)));
    assert_eq!(states[1], ("taste.unit.0.var", &[80][..], Init::Constant(1.0)));
    assert_eq!(states[7], ("hidden.1.var", &[80][..], Init::Constant(1.0)));
    // Every state has its new value in training, none outside.
    let updated = |g: &Graph| g.roots.iter().filter(|r| matches!(r, Root::State { .. })).count();
    assert_eq!((updated(&m.train), updated(&m.infer)), (8, 0));
    assert!(nodes(&m.infer, |op| matches!(op, Op::Statistic(Statistic::Moments))).is_empty());
    assert_eq!(nodes(&m.train, |op| matches!(op, Op::Statistic(Statistic::Moments))).len(), 4);
}

#[test]
fn independent_lists_are_three_axes() {
    let m = shipped("din_multihot");
    let axes: Vec<&str> = m.train.axes.iter().map(|(_, axis)| axis.name.as_str()).collect();
    assert_eq!(axes, ["global", "batch", "goods", "shops", "cates"]);
    assert_eq!(shape_of(&m, "shop_taste.unit.0.weight"), [64, 80]);
    assert_eq!(shape_of(&m, "hidden.0.weight"), [128, 200]);
}

#[test]
fn columns_and_keys_are_bound() {
    let m = shipped("kuairand");
    let features: Vec<(String, &str, Option<u32>)> =
        m.schema.features.iter().map(|f| (f.path(), f.column().unwrap(), f.sequence)).collect();
    assert_eq!(
        features,
        [
            ("user.user_id".into(), "user_id", None),
            ("video.video_id".into(), "video_id", None),
            ("video.tag".into(), "tag", None),
            ("scene.tab".into(), "tab", None),
            ("scene.hour".into(), "hour", None),
            ("watched.video_id".into(), "hist_video_ids", Some(0)),
            ("watched.tag".into(), "hist_tags", Some(0)),
        ]
    );
    assert_eq!(m.schema.features[2].kind, FeatureKind::Dynamic { key: KeyType::String });
    assert_eq!(m.schema.features[3].kind, FeatureKind::Fixed { size: 15, clip: false });
    assert_eq!(m.schema.sequences[0].keep.map(|k| (k.last, k.count)), Some((true, 50)));
    assert_eq!(m.predictions.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["is_click", "long_view"]);
    assert_eq!(m.metrics.len(), 6);
    assert_eq!(m.metrics[0].name, "auc(long_view)");
    assert_eq!(m.metrics[1].kind, MetricKind::Gauc { by: GroupBy::Feature(0), weight: GroupWeight::Impressions });
    assert_eq!(m.metrics[0].prediction, 1);
    assert_eq!(m.schema.features[1].location.rsplit_once("test.din:").map(|l| l.0), Some(""));
}

#[test]
fn names_follow_lets_loops_and_tail_calls() {
    let m = network(
        "
fn block(x: [n]) {
    let first = linear(x, 5)
    second(first)
}
fn second(x: [n]) {
    for k in [3, 2] {
        let part = linear(x, k)
        x = concat(part, linear(x, 1))
    }
    linear(x, 4)
}
",
        "
    let tower = block(embed(ad))
    predict click ~ bernoulli(logit = linear(tower, 1))
",
    );
    assert_eq!(
        names(&m),
        [
            "tower.first.weight",
            "tower.first.bias",
            "tower.second.0.part.weight",
            "tower.second.0.part.bias",
            "tower.second.0.weight",
            "tower.second.0.bias",
            "tower.second.1.part.weight",
            "tower.second.1.part.bias",
            "tower.second.1.weight",
            "tower.second.1.bias",
            "tower.second.linear.weight",
            "tower.second.linear.bias",
            "click.weight",
            "click.bias",
        ]
    );
    assert_eq!(shape_of(&m, "tower.second.1.part.weight"), [4, 2]);
}

#[test]
fn a_layer_shares_its_weights() {
    let m = network(
        "",
        "
    layer tower = mlp(_, [5, 3], prelu)
    let a = tower(embed(ad))
    let b = tower(sum(embed(visited) over visited))
    predict click ~ bernoulli(logit = sum(a * b))
",
    );
    assert_eq!(names(&m).len(), 6);
    assert_eq!(names(&m)[0], "tower.0.weight");
    let uses = nodes(&m.train, |op| matches!(op, Op::MatMul)).len();
    assert_eq!((uses, nodes(&m.train, |op| matches!(op, Op::Param(_))).len()), (4, 6));
}

#[test]
fn partial_application_fixes_and_leaves_open() {
    let m = network(
        "fn twice(f: fn, x: [n]) { f(f(x)) }\nfn scale(x: [n], by = 1) -> [n] { by * x }",
        "
    let a = twice(scale(by = 3, _), embed(ad))
    let b = mlp(a, [4], dice(momentum = 0.5, _))
    predict click ~ bernoulli(logit = linear(b, 1))
",
    );
    let constants = nodes(&m.train, |op| *op == Op::Const(3.0)).len();
    assert_eq!(constants, 2);
    assert!(!nodes(&m.train, |op| *op == Op::Const(0.5)).is_empty());
}

#[test]
fn numbers_of_a_group_stand_for_themselves() {
    let m =
        network("", "let x = embed(user)\n predict click ~ bernoulli(logit = linear(concat(x.taste, x.age, x), 1))");
    // age 3, income 1, taste 3
    assert_eq!(shape_of(&m, "click.weight"), [3 + 3 + 7, 1]);
    let m = network("", "predict click ~ bernoulli(logit = user.income + sum(user.taste * embed(user.age)))");
    assert_eq!(names(&m), Vec::<&str>::new());
}

#[test]
fn hyper_parameters_take_any_compile_time_place() {
    let text = |sets: &[(&str, &str)]| {
        let text = format!(
            "{HEAD}model m {{
    hyper width = 4 in [4, 8]
    hyper rate = 1e-3 in log(1e-4, 1)
    hyper ids = 100
    features ad {{ good_id: category(ids) }}
    label click: binary
    embedding good [width] for ad.good_id {{ init normal(rate) }}
    let h = mlp(embed(ad), [2 * width, width], prelu)
    predict click ~ bernoulli(logit = linear(h, 1))
    train {{ loss cross_entropy(click)  optimizer adam(lr = rate)  batch 4 * width  epochs 1  seed 7 }}
    report auc(click)
}}
"
        );
        let sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        check("test.din", &text, &NoFiles, &CheckOptions { sets }).model.unwrap()
    };
    let m = text(&[]);
    assert_eq!((m.tables[0].width, m.training.batch, m.training.seed), (4, 16, 7));
    let m = text(&[("width", "8"), ("rate", "0.5")]);
    assert_eq!((m.tables[0].width, m.training.batch), (8, 32));
    assert_eq!(m.tables[0].init, Init::Normal(0.5));
    assert_eq!(shape_of(&m, "h.0.weight"), [8, 16]);
    assert_eq!(m.hypers, [("width".into(), 8.0), ("rate".into(), 0.5), ("ids".into(), 100.0)]);
    assert!(!nodes(&m.updates[0].graph, |op| *op == Op::Const(0.5)).is_empty());
}

/// The name of a metric says what tells it from another one, and no more.
#[test]
fn metrics_of_one_label_by_two_groupings_have_two_names() {
    let names = |report: &str, train: &str| {
        let m = model(&format!(
            "{HEAD}model m {{{GROUPS} key request_id: int64
    predict click ~ bernoulli(logit = sum(embed(user)))
    train {{ loss cross_entropy(click)  optimizer sgd(0.1)  batch 8  epochs 1  {train} }}
    report {report}
}}"
        ));
        (m.metrics.iter().map(|m| m.name.clone()).collect::<Vec<_>>(), m.training.select)
    };
    assert_eq!(names("gauc(click, by = request_id)", ""), (vec!["gauc(click)".to_string()], 0));
    let (two, select) =
        names("gauc(click, by = request_id), gauc(click, by = user.age)", "select gauc(click, by = user.age)");
    assert_eq!(two, ["gauc(click, by = request_id)", "gauc(click, by = user.age)"]);
    assert_eq!(select, 1);
    let weights = "gauc(click, by = request_id, weight = clicks), gauc(click, by = user.age, weight = clicks), \
                   gauc(click, by = user.age)";
    assert_eq!(
        names(weights, "").0,
        ["gauc(click, by = request_id, weight = clicks)", "gauc(click, by = user.age, weight = clicks)", "gauc(click)"]
    );
}

/// Slices belong to a metric: reported by several things, it is one metric with all slices.
#[test]
fn the_same_metric_by_several_things_is_one() {
    let m = model(&format!(
        "{HEAD}model m {{{GROUPS} key request_id: int64
    predict click ~ bernoulli(logit = sum(embed(user)))
    train {{ loss cross_entropy(click)  optimizer sgd(0.1)  batch 8  epochs 1  select auc(click) }}
    report gauc(click, by = user.age) by request_id, auc(click), auc(click) by user.age,
        auc(click) by buckets(click.probability, [0.1, 0.5]), auc(click) where click.label by user.age
}}"
    ));
    let slices = |index: usize| -> Vec<(&str, &SliceBy)> {
        m.metrics[index].slices.iter().map(|slicing| (slicing.name.as_str(), &slicing.by)).collect()
    };
    let names: Vec<&str> = m.metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["gauc(click)", "auc(click)", "auc(click) where click.label"]);
    assert_eq!(m.training.select, 1);
    let age = m.schema.features.iter().position(|feature| feature.path() == "user.age").unwrap() as u32;
    let by_age = SliceBy::Value(GroupBy::Feature(age));
    let key = m.schema.keys.iter().position(|key| key.name == "request_id").unwrap() as u32;
    assert_eq!(slices(0), [("request_id", &SliceBy::Value(GroupBy::Key(key)))]);
    let buckets = SliceBy::Bucket { output: 0, boundaries: vec![0.1, 0.5] };
    assert_eq!(slices(1), [("user.age", &by_age), ("buckets(click.probability, [0.1, 0.5])", &buckets)]);
    assert_eq!(slices(2), [("user.age", &by_age)]);
    let outputs: Vec<_> = m.outputs.iter().map(|output| (output.name.as_str(), output.purpose)).collect();
    assert_eq!(outputs, [("click.probability", OutputPurpose::Slice), ("click.label", OutputPurpose::Condition)]);
}

#[test]
fn the_library_defines_the_metrics_that_the_runtime_computes() {
    let (_, text) = library_sources().iter().find(|(module, _)| *module == "std.metric").unwrap();
    let file = din_grammar::parse(text, din_grammar::FileId::default()).unwrap();
    let mut defined: Vec<&str> = Vec::new();
    for item in &file.items {
        let ast::Item::Metric(metric) = item else { panic!("`std.metric` has metrics alone") };
        defined.push(&metric.name.name);
        let samples = metric.parameters.iter().find(|parameter| parameter.name.name == "k");
        if let Some(default) = samples.and_then(|k| k.default.as_ref()) {
            let text = &text[default.span.start as usize..default.span.end as usize];
            assert_eq!(text.parse(), Ok(crate::front::report::RANKED_SAMPLES));
        }
    }
    let mut computed = din_program::schema::MetricName::ALL.map(|name| name.text());
    defined.sort_unstable();
    computed.sort_unstable();
    assert_eq!(defined, computed);
}
