//! Models on schemas read what they need of them; tests in files run.

use super::*;

const SHOP: &str = "
schema shop {
    features ad   { good_id: category  shop_id: category  price: number from log(price) missing as 0 mark no_price }
    features user { age: category(10)  income: number from standard(income)  city: category
                    tags: category of string pooled by mean weighted by tag_weights }
    features match { age_shop: category of (user.age, ad.shop_id) }
    sequence visited missing mark no_history { good_id: category from goods  shop_id: category from shops }
    sequence liked { good_id: category from liked_goods  n: number from liked_n }
    label click: binary
    label bought: binary missing -1
    label seconds: number
    key user_id: int64
    key request_id: int64
    common user, visited by request_id
}
";

/// The columns that a model on the schema reads, in the order of the program.
fn columns(body: &str) -> Vec<String> {
    let m = model(&format!("{HEAD}{SHOP}model m on shop {{{body}{TRAIN}}}\n"));
    crate::graph::verify(&m.train).unwrap();
    crate::graph::verify(&m.infer).unwrap();
    let features = m.schema.features.iter().map(|f| f.column().map_or_else(|| f.path(), str::to_owned));
    let labels = m.schema.labels.iter().map(|l| l.column.clone());
    features.chain(labels).chain(m.schema.keys.iter().map(|k| k.column.clone())).collect()
}

#[test]
fn columns_that_no_part_reads_are_left_out() {
    let found = columns(
        "embedding [4] for each of ad, user
        predict click ~ bernoulli(logit = linear(embed(ad.shop_id), 1))",
    );
    assert_eq!(found, ["shop_id", "click", "user_id", "request_id"]);
    // A field beside others of its group, the mark of a number, and a list by its length alone.
    let found = columns(
        "embedding [4] for each of ad
        let x = concat(embed(ad.good_id), ad.no_price, length(visited), no_history)
        predict click ~ bernoulli(logit = linear(x, 1))",
    );
    assert_eq!(found, ["good_id", "price", "price", "goods", "goods", "click", "user_id", "request_id"]);
    // Crosses need their parts, pooled lists their weights; a label may be in the loss alone.
    let found = columns(
        "embedding [4] for each of ad, user, match
        let x = concat(embed(match.age_shop), embed(user.tags))
        predict click ~ bernoulli(logit = linear(x, 1))
        predict bought ~ bernoulli(logit = linear(x, 1))",
    );
    let expected =
        ["shop_id", "age", "tags", "match.age_shop", "tag_weights", "click", "bought", "user_id", "request_id"];
    assert_eq!(found, expected);
}

#[test]
fn what_a_model_names_is_read() {
    // A table for it, or a value that comes to nothing.
    let found = columns(
        "embedding good [4] for ad.good_id, liked.good_id
        let unused = user.income
        predict click ~ bernoulli(logit = linear(good(ad.good_id), 1))",
    );
    assert_eq!(found, ["good_id", "income", "liked_goods", "click", "user_id", "request_id"]);
}

#[test]
fn a_model_on_a_schema_is_the_model_with_its_members() {
    let members = SHOP.trim().trim_start_matches("schema shop {").trim_end_matches('}');
    let body = "
    embedding good [4] for ad.good_id, visited.good_id, liked.good_id
    embedding shops [2] for ad.shop_id, visited.shop_id
    embedding [3] for each of user, match
    let good_id = embed(ad.good_id)
    let shop_id = embed(ad.shop_id)
    let h = mean(embed(visited) over visited) + concat(good_id, shop_id)
";
    let rest = "
    let l = sum(concat(embed(liked.good_id), liked.n) over liked)
    predict click ~ bernoulli(logit = linear(concat(h, l, ad.price, ad.no_price, no_history, embed(user), embed(match)), 1))
    predict bought ~ bernoulli(logit = linear(h, 1))
    train { loss cross_entropy(click)  optimizer sgd(0.1)  batch 8  epochs 1 }
    report auc(click)
";
    let body = format!("{body}{rest}");
    let on = model(&format!("{HEAD}{SHOP}model m on shop {{{body}}}\n"));
    let plain = model(&format!("{HEAD}model m {{{members}{body}}}\n"));
    assert_eq!(on.train.len(), plain.train.len());
    let shapes = |m: &CheckedModel| m.parameters.iter().map(|p| (p.name.clone(), p.shape.clone())).collect::<Vec<_>>();
    assert_eq!(shapes(&on), shapes(&plain));
    // The label `seconds` is not read.
    assert_eq!((on.schema.labels.len(), plain.schema.labels.len()), (2, 3));
    let paths = |m: &CheckedModel| m.schema.features.iter().map(din_program::schema::Feature::path).collect::<Vec<_>>();
    assert_eq!(paths(&on), paths(&plain));
}

#[test]
fn tests_pass_and_fail_as_computed_by_hand() {
    let text = "
use std.activation.{dice, relu}
use std.layer.linear
fn total(x: s => [d]) -> [d] { sum(x over s) }
test \"entries of one sample\" {
    given x: s => [2] = [[1, 2], [3, 4]]
    expect total(x) = [4, 6]
    expect x = [[1, 2], [3, 4]]
    expect length(s) = 2
}
test \"entries of three samples, and a value that they share\" {
    given x: samples => s => [1] = [[[1]], [], [[2], [3]]]
    given y: [1] = 10
    expect y = [10, 10, 10]
}
test \"samples\" {
    given x: samples => s => [1] = [[1], [], [2, 3]]
    given y: [1] = 10
    expect total(x) = [1, 0, 5]
    expect total(x) + y = [11, 10, 15]
    expect x * y = [[10], [], [20, 30]]
    expect [total(x), y] = [[1, 0, 5], [10, 10, 10]]
}
test \"weights by name\" {
    given x: [2] = [1, 2]
    given param y.weight = [[1, 10], [2, 20]]
    given param y.bias = [0.5, 0]
    let y = linear(x, 2)
    expect y = [5.5, 50]
    expect sum(y) = 55.5
}
test \"statistics of the batch\" in training {
    given x: samples => [1] = [-1, 1]
    let y = dice(x, eps = 1e-12)
    expect y = [-0.2689414213699951, 0.7310585786300049] within 1e-9
}
test \"running statistics\" {
    given x: [1] = 3
    given state y.mean = [1]
    given state y.var = [4]
    given param y.alpha = [0.5]
    let y = dice(x)
    expect y = 2.5966 within 1e-4
}
test \"wrong\" {
    given x: [2] = [1, -2]
    expect relu(x) = [1, -2]
    expect relu(x) = [1, 0.1] within 0.2
    expect 1.5 = 1
}
";
    let outcome = test("test.din", text, &NoFiles);
    assert_eq!(rendered(&outcome.diagnostics, &outcome.sources), "");
    let (wrong, right) = outcome.reports.split_last().unwrap();
    assert_eq!(right.len(), 6);
    for report in right {
        assert_eq!(report.failures, [], "{}", report.name);
    }
    let failures: Vec<_> =
        wrong.failures.iter().map(|f| (f.expected.as_str(), f.found.as_str(), f.difference)).collect();
    assert_eq!(failures, [("[1, -2]", "[1, 0]", 2.0), ("[1]", "[1.5]", 0.5)]);
    assert_eq!(outcome.sources.location(wrong.failures[0].span), "test.din:47:12");
}
