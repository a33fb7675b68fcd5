//! The generated source, as it is committed under `tests/cuda/snapshots`: what a change of the
//! compiler does to it can be read there. `DIN_BLESS=1` writes the files anew; read the difference
//! before it is committed.

use crate::models::{files, model, name};
use crate::units::checked;
use din_compiler::codegen::cuda::{CodegenOptions, PRELUDE, ROWS, program};
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, compile};
use std::path::Path;

/// The kernels of some schedules without the prelude.
fn kernels(model: &CheckedModel, schedules: &[&str]) -> String {
    let compiled =
        compile(model, &CompileOptions { levels: vec![], checked: true, ..CompileOptions::default() }).unwrap();
    let made = program(&compiled.program, &compiled.kernels, &CodegenOptions::default()).unwrap();
    let body = made.source.replace(PRELUDE, "").replace(ROWS, "");
    let mut text = String::new();
    // A kernel ends at the first line that is a lone brace, its tile function before it likewise.
    for kernel in body.split("\n// Phase ").skip(1) {
        let of = |s: &&str| kernel.contains(&format!(" din_{s}_"));
        if schedules.iter().any(of) {
            text.push_str("// Phase ");
            text.push_str(kernel.trim_end());
            text.push_str("\n\n");
        }
    }
    text
}

fn compare(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda/snapshots").join(file);
    if std::env::var_os("DIN_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let line = expected.lines().zip(found.lines()).position(|(a, b)| a != b);
    let line = line.unwrap_or(expected.lines().count().min(found.lines().count()));
    assert!(
        found == expected,
        "{file} differs from line {} on:\n{}\nfound\n{}\nDIN_BLESS=1 accepts",
        line + 1,
        expected.lines().nth(line).unwrap_or("(its end)"),
        found.lines().nth(line).unwrap_or("(its end)")
    );
}

#[test]
fn din_trains() {
    let file = files().into_iter().find(|f| name(f) == "din").unwrap();
    compare("din.cu", &kernels(&model(&file), &["train", "update0"]));
}

#[test]
fn a_small_unit() {
    let text = "edition 2026\nuse std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.sgd\nuse std.pooling.mean_pool\n\
                model small {\nfeatures one { e: category(6) }\nsequence many { e: category(6) from many_e }\nlabel y: binary\n\
                embedding table [5] for one.e, many.e\nlet q = table(one.e)\nlet k = table(many.e)\n\
                predict y ~ bernoulli(logit = sum(q * mean_pool(k)))\n\
                train { loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";
    compare("small.cu", &kernels(&checked("small.din", text), &["train", "infer", "update0"]));
}

#[test]
fn a_small_unit_of_requests() {
    let text = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.sgd\n\
                model common {\nfeatures user { e: category(6) from user_e }\nfeatures one { e: category(6) }\nsequence many { e: category(6) from many_e }\n\
                label y: binary\nkey request: int64\ncommon user, many by request\n\
                embedding table [5] for one.e, many.e\nembedding person [3] for user.e\n\
                let weight = sigmoid(linear(concat(table(many.e), table(one.e)), 1))\n\
                let taste = sum(weight * table(many.e) over many)\n\
                predict y ~ bernoulli(logit = sum(table(one.e) * taste) + sum(linear(person(user.e), 2)))\n\
                train { loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";
    compare("common.cu", &kernels(&checked("common.din", text), &["train"]));
}
