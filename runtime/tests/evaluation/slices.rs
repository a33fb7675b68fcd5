//! Metrics of slices: those of the slice's rows alone, in a file of their own.

use super::support::*;
use din_program::schema::{GroupBy, SliceBy, Slicing};
use din_runtime::data::{Dataset, OpenOptions, ReadMode};
use din_runtime::evaluate::{Report, evaluate, evaluate_slices};
use din_runtime::metric::{Detail, SliceValue, Slices, Undefined, slicing, texts};
use din_runtime::session::OnSignal;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const SPEC: &str = "edition 2026
use std.layer.linear
use std.loss.{cross_entropy, squared_error}
use std.metric.{auc, gauc, log_loss, pcoc, rmse}
use std.optimizer.sgd
model sliced {
    features user {
        city:   category of string missing
        plan:   category of string missing \"none\" as \"free\"
        age:    category from buckets(years, [18, 30, 65]) missing
        gender: category(2)
    }
    features ad { cate: category  price: number  hour: category from hour(seconds) missing }
    features pair { both: category of (user.city, ad.cate)  few: category(3, hash) of (user.plan, ad.cate) }
    label click: binary missing -1
    label stay: number
    key shop: string
    key request: int64
    REQUESTS
    embedding [2] for each of user, ad, pair
    let all = concat(embed(user), embed(ad), embed(pair))
    predict click ~ bernoulli(logit = linear(all, 1))
    predict stay ~ normal(mean = linear(all, 1))
    train {
        loss cross_entropy(click) where present + squared_error(stay)
        optimizer sgd(lr = 0.05)
        batch 64
        epochs 1
    }
    report auc(click) by user.city, auc(click) by user.age, auc(click) by user.plan,
        gauc(click, by = user.gender) by shop,
        log_loss(click) where (stay.label > 1) by buckets(ad.price, [1, 2.5]),
        rmse(stay) by pair.both, rmse(stay) by pair.few, rmse(stay) by request,
        auc(click, sample_weight = stay.label) by user.city, rmse(stay, sample_weight = 1 + ad.price) by shop,
        pcoc(click) by ad.hour, pcoc(click) by buckets(click.probability, [0.3, 0.5])
}";

#[derive(Clone, Debug)]
struct Row {
    city: Option<&'static str>,
    plan: Option<&'static str>,
    years: Option<f32>,
    gender: u32,
    cate: i64,
    price: f32,
    seconds: Option<i64>,
    click: i32,
    stay: f32,
    shop: String,
    request: usize,
}

/// Requests of up to three rows, which agree in all that is the user's.
fn generated(count: usize) -> Vec<Row> {
    let mut state = 12345u64;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut rows: Vec<Row> = Vec::new();
    for request in 0.. {
        let city = [None, Some("Hangzhou"), Some("Xi'an, west"), Some("Wuhan"), Some("Hangzhou")][draw(5) as usize];
        let plan = [None, Some("none"), Some("free"), Some("paid")][draw(4) as usize];
        let years = [None, Some(17.5), Some(18.0), Some(42.0), Some(70.0)][draw(5) as usize];
        let gender = draw(2) as u32;
        for _ in 0..=draw(3) {
            if rows.len() == count {
                return rows;
            }
            rows.push(Row {
                city,
                plan,
                years,
                gender,
                cate: draw(4) as i64 - 1,
                price: draw(40) as f32 / 10.0,
                seconds: [None, Some(-1), Some(3600 * 5), Some(86_400 * 400)][draw(4) as usize],
                click: [1, 0, 0, 0, -1][draw(5) as usize],
                stay: draw(50) as f32 / 16.0,
                shop: format!("shop {}", draw(6)),
                request,
            });
        }
    }
    rows
}

fn write_csv(path: &Path, rows: &[Row]) {
    let mut text = "city,plan,years,gender,cate,price,seconds,click,stay,shop,request\n".to_string();
    let shown = |number: Option<f32>| number.map_or(String::new(), |number| number.to_string());
    for r in rows {
        let city = r.city.map_or(String::new(), |city| format!("\"{city}\""));
        let (plan, years) = (r.plan.unwrap_or(""), shown(r.years));
        let seconds = r.seconds.map_or(String::new(), |seconds| seconds.to_string());
        let Row { gender, cate, price, click, stay, shop, request, .. } = r;
        writeln!(text, "{city},{plan},{years},{gender},{cate},{price},{seconds},{click},{stay},{shop},{request}")
            .unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn sliced_report(trained: &Trained, path: &Path, batch: usize, ranks: usize, more: &[Slicing]) -> Vec<Report> {
    let schema = &trained.program.schema;
    let own = trained.program.metrics.iter().flat_map(|metric| &metric.slices);
    let options = OpenOptions { texts: texts(schema, own.chain(more)), ..OpenOptions::new(ReadMode::Evaluate) };
    on_ranks(ranks, |comm| {
        let data = Dataset::open_with(&[path], schema, &options).unwrap();
        evaluate_slices(&mut trained.session(), &data, batch, OnSignal::GoOn, more, comm, &mut |_| {}).unwrap()
    })
}

fn text(text: &str) -> SliceValue {
    SliceValue::Text(text.into())
}

fn bucket(boundaries: &[f32], number: f32) -> SliceValue {
    let reached = boundaries.iter().filter(|&&boundary| number >= boundary).count();
    SliceValue::Bucket { from: (reached > 0).then(|| boundaries[reached - 1]), to: boundaries.get(reached).copied() }
}

fn city(row: &Row) -> SliceValue {
    row.city.map_or(SliceValue::Missing, text)
}

/// What a row is sliced by, as its CSV says.
fn value_of(by: &str, row: &Row) -> Option<SliceValue> {
    Some(match by {
        "user.city" => city(row),
        "user.plan" => text(row.plan.filter(|plan| *plan != "none").unwrap_or("free")),
        "user.age" => row.years.map_or(SliceValue::Missing, |years| bucket(&[18.0, 30.0, 65.0], years)),
        "user.gender" => SliceValue::Integer(row.gender.into()),
        "ad.cate" => SliceValue::Integer(row.cate),
        "pair.both" => SliceValue::Combination(vec![city(row), SliceValue::Integer(row.cate)]),
        "ad.hour" => row.seconds.map_or(SliceValue::Missing, |s| SliceValue::Integer(s.rem_euclid(86_400) / 3600)),
        "shop" => text(&row.shop),
        "request" => SliceValue::Integer(row.request as i64),
        "buckets(ad.price, [1, 2.5])" => bucket(&[1.0, 2.5], row.price),
        _ => return None,
    })
}

fn bits(report: &Report) -> Vec<String> {
    let slices = |slices: &Slices| {
        let slice =
            slices.slices.iter().map(|s| format!("{:?}", (&s.of, s.rows, s.value.map(f64::to_bits), &s.detail)));
        format!("{} {}", slices.by, slice.collect::<Vec<_>>().join(" "))
    };
    report
        .values
        .iter()
        .map(|v| {
            let slices: Vec<String> = v.slices.iter().map(slices).collect();
            format!("{} {:?} {:?} {slices:?}", v.name, v.value.map(f64::to_bits), v.detail)
        })
        .collect()
}

#[test]
fn slices_are_the_metrics_of_their_rows_alone() {
    let folder = tempfile::tempdir().unwrap();
    let rows = generated(600);
    let path = folder.path().join("log.csv");
    write_csv(&path, &rows);
    for requests in ["", "common user by request"] {
        let trained = trained(&SPEC.replace("REQUESTS", requests), &path);
        let more: Vec<Slicing> =
            ["ad.cate", "user.gender"].iter().map(|name| slicing(&trained.program.schema, name).unwrap()).collect();
        let report = sliced_report(&trained, &path, 100, 1, &more).remove(0);
        let mut compared = (0, 0);
        for (index, value) in report.values.iter().enumerate() {
            assert!(value.slices.len() >= 3, "{}: its own and two more", value.name);
            for Slices { by, slices } in &value.slices {
                let total: u64 = slices.iter().map(|slice| slice.rows).sum();
                let labelled = |row: &&Row| match value.name.as_str() {
                    name if name.starts_with("rmse(stay") => true,
                    name if name.contains("where") => row.click >= 0 && row.stay > 1.0,
                    _ => row.click >= 0,
                };
                assert_eq!(total as usize, rows.iter().filter(labelled).count(), "{by}");
                assert!(slices.is_sorted_by(|a, b| (b.rows, &a.of) < (a.rows, &b.of)), "{by}: {slices:?}");
                let mut expected: BTreeMap<String, Vec<Row>> = BTreeMap::new();
                let labelled_rows = rows.iter().filter(labelled);
                for row in labelled_rows {
                    let Some(of) = value_of(by, row) else { break };
                    expected.entry(format!("{of:?}")).or_default().push(row.clone());
                }
                if expected.is_empty() {
                    continue;
                }
                assert_eq!(slices.len(), expected.len(), "{by}");
                for slice in slices.iter().take(12) {
                    let own = &expected[&format!("{:?}", slice.of)];
                    assert_eq!(slice.rows as usize, own.len(), "{by} {}", slice.of);
                    let alone = folder.path().join("alone.csv");
                    write_csv(&alone, own);
                    let data = Dataset::open(&[&alone], &trained.program.schema, ReadMode::Evaluate).unwrap();
                    let comm = on_ranks(1, |comm| comm.clone()).remove(0);
                    let whole =
                        evaluate(&mut trained.session(), &data, 37, OnSignal::GoOn, &comm, &mut |_| {}).unwrap();
                    let alone = &whole.values[index];
                    assert_eq!(alone.value.map(f64::to_bits), slice.value.map(f64::to_bits), "{by} {}", slice.of);
                    assert_eq!(alone.detail, slice.detail);
                    compared = match slice.value {
                        Ok(_) => (compared.0 + 1, compared.1),
                        Err(_) => (compared.0, compared.1 + 1),
                    };
                }
            }
        }
        assert!(compared.0 >= 100, "{compared:?}");
        let expected = bits(&report);
        for ranks in [2, 3, 4] {
            for (rank, report) in sliced_report(&trained, &path, 64, ranks, &more).iter().enumerate() {
                assert_eq!(bits(report), expected, "rank {rank} of {ranks}");
            }
        }
    }
}

/// A slice of one class has no AUC, and says why; the others have theirs.
#[test]
fn a_slice_may_be_undefined() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = generated(200);
    rows.iter_mut().filter(|row| row.city == Some("Wuhan")).for_each(|row| row.click = 0);
    let path = folder.path().join("log.csv");
    write_csv(&path, &rows);
    let trained = trained(&SPEC.replace("REQUESTS", ""), &path);
    let report = sliced_report(&trained, &path, 50, 1, &[]).remove(0);
    let by_city = &report.values[0].slices[0];
    assert_eq!(by_city.by, "user.city");
    let wuhan = by_city.slices.iter().find(|slice| slice.of == text("Wuhan")).unwrap();
    assert_eq!(wuhan.value, Err(Undefined::OneClass));
    assert!(matches!(wuhan.detail, Detail::Area { positives: 0, negatives } if negatives == wuhan.rows));
    let hangzhou = by_city.slices.iter().find(|slice| slice.of == text("Hangzhou")).unwrap();
    assert!(hangzhou.value.is_ok());
    let shown = by_city.to_string();
    assert!(shown.contains("undefined (labels of one class only)"), "{shown}");
    let json = report.to_json();
    let slices = json["metrics"][0]["slices"][0]["slices"].as_array().unwrap();
    let wuhan = slices.iter().find(|slice| slice["slice"] == "Wuhan").unwrap();
    assert!(wuhan["value"].is_null() && wuhan["undefined"] == "labels of one class only");
    assert!(slices.iter().any(|slice| slice["slice"].is_null()), "the missing city");
    // No slices unless they are asked for.
    let data = Dataset::open(&[&path], &trained.program.schema, ReadMode::Evaluate).unwrap();
    let comm = on_ranks(1, |comm| comm.clone()).remove(0);
    let plain = evaluate(&mut trained.session(), &data, 50, OnSignal::GoOn, &comm, &mut |_| {}).unwrap();
    assert!(plain.values.iter().all(|value| value.slices.is_empty()));
    assert_eq!(plain.metrics(), report.metrics());
}

#[test]
fn only_so_many_slices_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    write_csv(&path, &generated(200));
    let trained = trained(&SPEC.replace("REQUESTS", ""), &path);
    let report = sliced_report(&trained, &path, 50, 1, &[]).remove(0);
    let rmse = report.values.iter().find(|value| value.name == "rmse(stay)").unwrap();
    let by_request = rmse.slices.iter().find(|slices| slices.by == "request").unwrap();
    let (shown, all) = (by_request.to_string(), by_request.slices.len());
    assert_eq!(shown.lines().count(), Slices::SHOWN + 2);
    assert!(shown.ends_with(&format!("and {} smaller ones, which --json has", all - Slices::SHOWN)), "{shown}");
    let json = report.to_json();
    let of = |value: &serde_json::Value| value["by"] == "request";
    let metric = json["metrics"].as_array().unwrap().iter().find(|metric| metric["name"] == "rmse(stay)").unwrap();
    let slices = metric["slices"].as_array().unwrap().iter().find(|value| of(value)).unwrap();
    assert_eq!(slices["slices"].as_array().unwrap().len(), all);
}

#[test]
fn a_name_that_slices_is_a_key_or_a_categorical_feature() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.csv");
    write_csv(&path, &generated(20));
    let trained = trained(&SPEC.replace("REQUESTS", "common user by request"), &path);
    let schema = &trained.program.schema;
    assert_eq!(slicing(schema, "shop").unwrap().by, SliceBy::Value(GroupBy::Key(0)));
    assert!(matches!(slicing(schema, "user.city").unwrap().by, SliceBy::Value(GroupBy::Common(_))));
    assert!(matches!(slicing(schema, "ad.cate").unwrap().by, SliceBy::Value(GroupBy::Feature(_))));
    let said = |name: &str| slicing(schema, name).unwrap_err().message;
    let unknown = said("town");
    assert!(unknown.contains("--by town: the model has no key or feature of this name"), "{unknown}");
    assert!(unknown.contains("rows are sliced by shop, request, user.city, user.plan"), "{unknown}");
    let number = said("ad.price");
    assert!(number.contains("found a number") && number.contains("by buckets(ad.price, [1, 10, 100])"), "{number}");
}
