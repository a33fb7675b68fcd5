//! Specs that tests share: those of `models/`, and small ones that together use every function,
//! optimizer and regularizer of the standard library.

use crate::towers;
use din_compiler::front::{self, FileFault, NoFiles, SourceProvider};
use din_compiler::model::CheckedModel;
use std::path::{Path, PathBuf};

const ACTIVATIONS: &str = "activation.{relu,leaky_relu,sigmoid,tanh,identity,prelu,dice} pooling.sum_pool";
const LAYERS: &str = "activation.{prelu,dice} layer.{linear,mlp} attention.{interest,interest_softmax,self_attention} pooling.{sum_pool,mean_pool,max_pool}";
pub const ACTIVATED: &str = "let a = prelu(q)\nlet b = dice(q)\n\
                         let value = relu(q) + leaky_relu(q, slope = 0.1) + sigmoid(q) + tanh(q) + identity(q) + a + b + sum_pool(k)";
pub const POOLED: &str = "let a = interest(k, q, hidden = [4, 3], activation = dice)\n\
                      let b = interest_softmax(k, q, hidden = [4], activation = prelu)\n\
                      let c = linear(q, 3)\nlet d = mlp(c, [4, 3], dice)\n\
                      let e = self_attention(k, 3)\n\
                      let f = mean(e over many where sum(k) > 0) + max(softmax(e over many) over many where sum(e) < 0)\n\
                      let g = last(k over many where sum(k) > 0) + first(position(many) * k over many) + last(k over many)\n\
                      let value = concat(sum_pool(k), mean_pool(k), max_pool(k), a, b, d, sum(e over many), f, g)";

/// Name, optimizer of all weights, what the table has of its own, what it imports.
pub const SPECS: &[(&str, &str, &str, &str)] = &[
    ("sgd", "sgd(lr = 0.1)", "regularize l2(0.01)", "optimizer.sgd regularizer.l2"),
    ("momentum", "momentum(lr = 0.1)", "regularize adaptive(0.01)", "optimizer.momentum regularizer.adaptive"),
    ("adam", "adam(lr = 0.01)", "regularize difacto(0.01)", "optimizer.adam regularizer.difacto"),
    ("adagrad", "adagrad(lr = 0.01) with dense updates", "", "optimizer.adagrad"),
    (
        "adamw",
        "adamw(lr = 0.01 * warmup(step, 3) * 0.5 ^ (epoch - 1), decay = 0.1)  clip norm 0.05",
        "optimizer adamw(lr = 0.02 * cosine(step, 10), decay = 0.01)  dropout 0.3",
        "optimizer.adamw schedule.{warmup,cosine}",
    ),
    (
        "clipped",
        "sgd(lr = 0.1 * exponential(step, 0.9, 2))  clip value 0.001",
        "",
        "optimizer.sgd schedule.exponential",
    ),
    ("rowwise_adagrad", "sgd(lr = 0.1)", "optimizer rowwise_adagrad(lr = 0.1)", "optimizer.{sgd,rowwise_adagrad}"),
    ("ftrl", "ftrl(alpha = 0.1, l1 = 0.001)", "", "optimizer.ftrl"),
    (
        "clipped_together",
        "momentum(lr = 0.1)  clip global_norm 0.3",
        "optimizer momentum(lr = 0.05) with dense updates  regularize l2(0.01)",
        "optimizer.momentum regularizer.l2",
    ),
    (
        "by_path",
        "momentum(lr = 0.1)  optimizer sgd(lr = 0.05) for a, c.weight, table  optimizer frozen for d, a.unit.0  \
         regularize l2(0.01)  regularize none for c",
        "",
        "optimizer.{momentum,sgd} regularizer.l2",
    ),
];

/// What is common to requests in every place that a value can have: of the request, of its entries,
/// of samples and their entries, and pairs.
const REQUESTS: &str = "edition 2026\nuse std.activation.{dice, prelu}\nuse std.attention.{interest, interest_softmax}\n\
    use std.layer.{linear, mlp}\nuse std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.momentum\n\
    use std.pooling.{max_pool, mean_pool}\nuse std.regularizer.adaptive\n\
    model requests {\nfeatures user { e: category from user_e  n: number[2] from user_n }\nfeatures one { e: category from one_e  n: number from one_n }\n\
    sequence many { e: category from many_e  n: number from many_n }\nsequence own { e: category from own_e }\nlabel y: binary\n\
    key request: int64\ncommon user, many by request\n\
    embedding table [5] for one.e, many.e, own.e { regularize adaptive(0.01) }\nembedding person [3] for user.e\n\
    let q = table(one.e)\nlet k = table(many.e)\nlet p = concat(person(user.e), user.n)\n\
    let a = interest(k, q, hidden = [4, 3], activation = dice)\n\
    let b = interest_softmax(k, q, hidden = [4], activation = prelu)\n\
    let c = interest(table(own.e), q, hidden = [4], activation = prelu)\n\
    let d = mlp(concat(p, mean_pool(k), max_pool(k), length(many)), [7, 4], dice)\n\
    let nearest = max(one.n * many.n over many)\n\
    let hidden = mlp(concat(a, b, c, d, q, one.n, nearest, length(own)), [6], dice)\n\
    predict y ~ bernoulli(logit = linear(hidden, 1))\n\
    train { loss cross_entropy(y)  optimizer momentum(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

/// Samples of a batch that meet in the loss: a softmax over their items, and a mean over them.
const IN_BATCH: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.{cross_entropy, in_batch_softmax}\n\
    use std.metric.log_loss\nuse std.optimizer.momentum\nmodel in_batch {\n\
    features one { e: category  n: number }\nfeatures late after label { log_q: number }\n\
    sequence many { e: category from many_e }\nlabel y: binary\nrequest of 7\nembedding table [5] for one.e, many.e\n\
    let query = linear(sum(table(many.e) over many), 4)\nlet item = linear(concat(table(one.e), one.n), 4)\n\
    predict y ~ bernoulli(logit = sum(query * item))\n\
    train { loss y.label * in_batch_softmax(query, item, late.log_q, temperature = 2) + cross_entropy(y) +\n\
    0.1 * mean(abs(y.logit) over request where y.label) / length(request)\n\
    optimizer momentum(lr = 0.1)  batch 32  epochs 1 }\nreport log_loss(y)\n}\n";

/// Dropout of values in every place: of requests and their entries, of samples and their entries,
/// of entries under a second name, of pairs, of single components, and in a tower over ids.
const DROPOUT: &str = "edition 2026\nuse std.activation.{prelu, relu}\nuse std.layer.{linear, mlp}\n\
    use std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.momentum\nuse std.pooling.mean_pool\n\
    fn mixed(x: s => [d]) -> s => [d] {\nlet other = dropout(x, 0.2) as t\n\
    let weight = softmax(sum(x * other) / sqrt(d) over t)\nsum(dropout(weight, 0.3) * dropout(other, 0.1) over t)\n}\n\
    model dropped {\nfeatures user { e: category from user_e  n: number[2] from user_n }\n\
    features one { e: category from one_e  n: number from one_n }\n\
    sequence many { e: category from many_e  n: number from many_n }\nsequence own { e: category from own_e }\nlabel y: binary\n\
    key request: int64\ncommon user, many by request\n\
    embedding table [5] for one.e, many.e, own.e\nembedding person [3] for user.e\n\
    let q = dropout(table(one.e), 0.25)\nlet k = dropout(table(many.e), 0.5)\nlet p = dropout(concat(person(user.e), user.n), 0.4)\n\
    let tower = mlp(table(one.e), [64, 8], relu, dropout_rate = 0.3)\nlet seen = sum(mixed(table(own.e)) over own)\n\
    let pairs = sum(mixed(k) * q over many)\nlet single = dropout(one.n, 0.5) + sum(dropout(many.n, 0.2) over many)\n\
    let hidden = mlp(concat(p, tower, seen, pairs, single, mean_pool(k)), [6], prelu, dropout_rate = 0.5)\n\
    predict y ~ bernoulli(logit = linear(hidden, 1))\n\
    train { loss cross_entropy(y)  optimizer momentum(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

/// Lists of values over samples and over entries, and what the library makes of them.
pub const LISTS: &str = "edition 2026\nuse std.attention.multi_head_attention\n\
    use std.interaction.{attentional_pairs, fm, inner_products}\nuse std.layer.linear\nuse std.loss.cross_entropy\n\
    use std.metric.log_loss\nuse std.optimizer.momentum\n\
    model lists {\nfeatures one { e: category }\nsequence many { e: category from many_e }\nlabel y: binary\n\
    embedding table [5] for one.e, many.e\nlet q = table(one.e)\nlet k = table(many.e)\n\
    let c = linear(q, 3)\nlet parts = split(softmax(concat(q, c)) * max(q), 4)\n\
    let mixed = concat([linear(a * b, 2) for (a, b) in pairs(split(k)) for i in 0..2])\n\
    let near = attentional_pairs(parts, 3) * fm(parts) + min(c)\n\
    let heads = sum(multi_head_attention(k, 2, 2) + max(mixed) over many)\n\
    let hidden = concat(near, heads, inner_products(parts), softmax(parts), max([c, c * c]), mean(mixed over many))\n\
    predict y ~ bernoulli(logit = linear(hidden, 1))\n\
    train { loss cross_entropy(y)  optimizer momentum(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

/// What else the library has for published models.
pub const BLOCKS: &str = "edition 2026\nuse std.activation.tanh\nuse std.attention.{recent_interest, target_attention, target_head, top}\n\
    use std.interaction.{bi_interaction, bilinear, cin, cross, senet}\n\
    use std.layer.{feed_forward, l2_normalize, layer_norm, linear, project}\nuse std.loss.cross_entropy\nuse std.metric.log_loss\n\
    use std.multitask.{customized_gates, extraction}\nuse std.optimizer.momentum\nuse std.transformer.{transformer_block, with_recency}\n\
    model blocks {\nfeatures one { e: category }\nsequence many { e: category from many_e }\nlabel y: binary\n\
    embedding table [4] for one.e, many.e\nlet q = table(one.e)\nlet k = table(many.e)\n\
    let parts = split(concat(q, linear(q, 2)), 3)\n\
    let products = concat(bi_interaction(parts), bilinear(parts), cin(parts, [2, 2]))\nlet scaled = concat(senet(parts, 2))\n\
    let near = target_attention(k, q, top(sum(q * k), 2), 2, 2)\nlet head = target_head(k, q, sum(k) > 0, 3)\n\
    let recent = recent_interest(k, q, 2, [3], tanh)\n\
    let block = sum(transformer_block(with_recency(k, 3), 2, 2, 3, tanh, dropout_rate = 0.1) over many)\n\
    let (own, common) = extraction([q, near], recent, 2, [3], tanh)\nlet tasks = customized_gates(own, common, 1, [2], tanh)\n\
    let crossed = layer_norm(cross(concat(q, head), 2))\nlet all = l2_normalize(feed_forward(project(crossed, 5), 4, tanh))\n\
    predict y ~ bernoulli(logit = linear(concat(products, scaled, block, tasks, all), 1))\n\
    train { loss cross_entropy(y)  optimizer momentum(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

/// Recurrences over the entries of samples and of requests, of values that vary with the samples,
/// with a first state and a condition, one after another, in both directions, of several parts, and
/// with dropout inside.
pub const RECURRENT: &str = "edition 2026\nuse std.activation.tanh\nuse std.layer.{linear, project}\n\
    use std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.momentum\n\
    use std.recurrent.{agru, agru_cell, augru, bidirectional, gru, gru_cell, lstm, lstm_cell}\n\
    fn cell(h: [n], x, rate: fraction) -> [n] {\ntanh(project(dropout(h, rate), n) + x)\n}\n\
    model recurrent {\nfeatures user { e: category from user_e }\nfeatures one { e: category from one_e }\n\
    sequence many { e: category from many_e }\nsequence own { e: category from own_e }\nlabel y: binary\n\
    key request: int64\ncommon user, many by request\n\
    embedding table [5] for one.e, many.e, own.e\nembedding person [5] for user.e\n\
    let q = table(one.e)\nlet k = table(many.e)\nlet x = table(own.e)\n\
    let shared = gru(k, 4)\nlet evolved = augru(shared, softmax(sum(k * q) over many), 3)\n\
    let begun = scan(gru_cell(_, x, attention = 1), person(user.e) over own where sum(x) > 0)\n\
    let dropped = scan(cell(_, x, 0.2), 5 over own)\nlet again = gru(shift(begun * dropped over own), 2)\n\
    let back = scan(agru_cell(_, again, attention = sum(again)), q over own, backward = true)\n\
    let behind = augru(shift(shared over many, backward = true), sum(k), 3, backward = true)\n\
    let (h, c) = scan(lstm_cell(_, _, x), (person(user.e), 5) over own where sum(x) < 0.5)\n\
    let ways = bidirectional(agru(k, sum(k * q), 2), lstm(_, 2))\n\
    let all = concat(last(shared over many), last(evolved over many), mean(back over own), sum(dropped over own), \
    first(behind over many), last(h + c over own), sum(ways over many))\n\
    predict y ~ bernoulli(logit = linear(all, 1))\n\
    train { loss cross_entropy(y)  optimizer momentum(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

/// Lists as entries: of requests alone, of samples and requests, of weights; reduced with and
/// without conditions, paired, through layers with statistics and dropout, and joined again.
pub const FIXED: &str = "edition 2026\nuse std.activation.dice\nuse std.attention.{multi_head_attention, top}\n\
    use std.layer.{layer_norm, linear, mlp, project}\nuse std.loss.cross_entropy\nuse std.metric.log_loss\n\
    use std.optimizer.momentum\n\
    fn crossed(x: s => [d], y: s => [d]) -> [d] {\n\
    let before = (position(s) as t) < position(s)\nlet query = project(x, 3)\nlet key = project(y, 3)\nlet score = sum(query * (key as t))\n\
    sum(max(softmax(score over t where before) * (y as t) over t) * x over s)\n}\n\
    model fixed {\nfeatures user { e: category from user_e  n: number[5] from user_n }\nfeatures one { e: category  n: number }\n\
    sequence many { e: category from many_e }\nsequence own { e: category from own_e }\nlabel y: binary\n\
    key request: int64\ncommon user, many by request\n\
    embedding table [5] for one.e, many.e, own.e\nembedding person [5] for user.e\nparam weight: [5] = 0.5\n\
    let q = table(one.e)\nlet k = table(many.e)\nlet p = person(user.e)\n\
    let x = [q, p, sum(k over many), mean(table(own.e) over own), one.n * user.n] as f\n\
    let of_user = [p, user.n, p * user.n] as u\nlet weights = [weight, 2 * weight, weight * weight, exp(weight), -weight] as f\n\
    let parts = split(concat(q, linear(p * q, 3)), 4) as g\n\
    let dropped = dropout(mlp(concat(x * weights, q), [6, 4], dice), 0.2)\n\
    let all = concat(crossed(x, layer_norm(x) + weights), concat(multi_head_attention(of_user, 2, 2) over u),\n\
    sum(dropped over f where sum(x) > 0), mean(top(sum(x * q), 2) * x over f), last(parts over g where sum(parts) > 0),\n\
    max(parts * (1 + position(g)) over g) / length(g), sum(mean(sum(q * (x as h)) * x over h) over f))\n\
    predict y ~ bernoulli(logit = linear(all, 1))\n\
    train { loss cross_entropy(y)  optimizer momentum(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

/// Pooled lists, and numbers that are made of ids.
const FEATURES: &str = "edition 2026\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.log_loss\n\
    use std.optimizer.momentum\n\
    model features {\nfeatures one { e: category from one_e\n\
    a: category from tags pooled by sum\nb: category from tags pooled by mean\n\
    c: category from tags pooled by sqrt_n\nd: category from tags pooled by max missing mark none\n\
    f: category from tags pooled by sum weighted by weights\ng: category from tags pooled by mean weighted by weights\n\
    h: category from tags pooled by sqrt_n weighted by weights }\n\
    features both { x: category(9, hash) of (one.e, two.k)  y: category of (two.k, one.e) }\n\
    features two { k: category(4)  n: number from standard(log(1 + n)) }\n\
    sequence many { e: category from many_e  n: number from many_n  x: category of (many.e, two.k) }\nlabel y: binary\n\
    embedding own [3] for one.e, many.e\nembedding tags [3] for one.a, one.b, one.c, one.d, one.f, one.g, one.h\n\
    embedding [3] for each of both, two\nembedding crossed [3] for many.x\n\
    let same = many.e == one.e\n\
    let value = concat(embed(one), embed(both), embed(two), sum(own(many.e) * crossed(many.x) over many where same), \
    mean(many.n over many where many.e != one.e), overlap(many.e, one.e), overlap(one.a, many.e))\n\
    predict y ~ bernoulli(logit = linear(value, 1))\n\
    train { loss cross_entropy(y)  optimizer momentum(lr = 0.1)  batch 5  epochs 1 }\nreport log_loss(y)\n}\n";

/// Frozen tables, of ids as they come and of a fixed number, beside one that is trained.
pub const FROZEN: &str = "edition 2026\nuse std.activation.prelu\nuse std.attention.interest\nuse std.layer.mlp\n\
    use std.loss.cross_entropy\nuse std.metric.log_loss\nuse std.optimizer.adam\nuse std.layer.linear\n\
    model kept {\nfeatures one { e: category  k: category(4)  n: number }\nsequence many { e: category from many_e }\n\
    label y: binary\nembedding still [5] for one.e, many.e { optimizer frozen  init normal(0.5)  dropout 0.2 }\n\
    embedding kinds [3] for one.k { init uniform(0.5)  optimizer frozen }\nembedding own [3] for one.e\n\
    let q = still(one.e)\nlet k = still(many.e)\n\
    let a = interest(k, q, hidden = [4], activation = prelu)\n\
    let hidden = mlp(concat(a, q, kinds(one.k), own(one.e), one.n), [6], prelu)\n\
    predict y ~ bernoulli(logit = linear(hidden, 1))\n\
    train { loss cross_entropy(y)  optimizer adam(lr = 0.01) with dense updates  batch 5  epochs 1 }\n\
    report log_loss(y)\n}\n";

/// The repository: `DIN_ROOT`, or where this was built.
pub fn root() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::env::var_os("DIN_ROOT").map_or(built, PathBuf::from)
}

/// Files of `models/`, without those of its folders.
pub fn files() -> Vec<PathBuf> {
    let folder = root().join("models");
    let mut all = inside("models");
    all.retain(|file| file.parent() == Some(folder.as_path()));
    all
}

pub fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// # Panics
///
/// Where the file cannot be read or is wrong.
pub fn model(file: &Path) -> CheckedModel {
    let text = std::fs::read_to_string(file).expect("a model");
    checked(&format!("models/{}.din", name(file)), &text)
}

/// The small models, by name.
pub fn units() -> Vec<(String, CheckedModel)> {
    unit_texts().into_iter().map(|(name, file, text)| (name, checked(file, &text))).collect()
}

/// Name, file and text of the small models.
pub fn unit_texts() -> Vec<(String, &'static str, String)> {
    let mut all: Vec<_> = SPECS.iter().enumerate().map(|(k, spec)| unit(k, spec)).collect();
    all.push(("requests".into(), "requests.din", REQUESTS.into()));
    all.push(("dropout".into(), "dropout.din", DROPOUT.into()));
    all.push(("lists".into(), "lists.din", LISTS.into()));
    all.push(("blocks".into(), "blocks.din", BLOCKS.into()));
    all.push(("fixed".into(), "fixed.din", FIXED.into()));
    all.push(("recurrent".into(), "recurrent.din", RECURRENT.into()));
    all.push(("towers".into(), "towers.din", towers::spec()));
    all.push(("watch_time".into(), "watch_time.din", include_str!("../models/watch_time.din").into()));
    all.push(("classes".into(), "classes.din", include_str!("../models/classes.din").into()));
    all.push(("products".into(), "products.din", include_str!("../models/products.din").into()));
    all.push(("two_towers".into(), "two_towers.din", include_str!("../models/two_towers.din").into()));
    all.push(("features".into(), "features.din", FEATURES.into()));
    let request_losses = include_str!("../models/request_losses.din");
    all.push(("request_losses".into(), "request_losses.din", request_losses.into()));
    all.push(("frozen".into(), "frozen.din", FROZEN.into()));
    all.push(("in_batch".into(), "in_batch.din", IN_BATCH.into()));
    all
}

/// The model of a spec.
///
/// # Panics
///
/// Where it is wrong.
pub fn checked(file: &str, text: &str) -> CheckedModel {
    let checked = front::check(file, text, &NoFiles, &front::CheckOptions::default());
    checked.model.unwrap_or_else(|| panic!("{text}\n{:?}", checked.diagnostics))
}

fn unit(k: usize, (name, optimizer, table, imports): &(&str, &str, &str, &str)) -> (String, &'static str, String) {
    let (uses, value) = if k.is_multiple_of(2) { (ACTIVATIONS, ACTIVATED) } else { (LAYERS, POOLED) };
    let uses: String = format!("{uses} {imports}").split(' ').map(|u| format!("use std.{u}\n")).collect();
    let block = if table.is_empty() { String::new() } else { format!(" {{ {table} }}") };
    let text = format!(
        "edition 2026\n{uses}use std.loss.cross_entropy\nuse std.metric.log_loss\n\
         model unit {{\nfeatures one {{ e: category }}\nsequence many {{ e: category from many_e }}\nlabel y: binary\n\
         embedding table [5] for one.e, many.e{block}\nlet q = table(one.e)\nlet k = table(many.e)\n{value}\n\
         predict y ~ bernoulli(logit = sum(value))\n\
         train {{ loss cross_entropy(y)  optimizer {optimizer}  batch 5  epochs 1 }}\nreport log_loss(y)\n}}\n"
    );
    (format!("unit_{name}"), "unit.din", text)
}

/// Imports from the files of a folder, under names relative to the repository.
#[derive(Clone, Debug)]
pub struct Beside(pub PathBuf);

impl SourceProvider for Beside {
    fn read(&self, module: &[String]) -> Option<(String, String)> {
        let mut path = self.0.clone();
        path.extend(module);
        path.set_extension("din");
        let text = std::fs::read_to_string(&path).ok()?;
        Some((shown(&path), text))
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        let path = self.0.join(path);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok((shown(&path), text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(FileFault::Missing),
            Err(error) => Err(FileFault::Unreadable(error.to_string())),
        }
    }
}

/// `tests/ui/names/unknown.din`, wherever the repository lies.
pub fn shown(path: &Path) -> String {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    let parts: Vec<_> = inside.iter().map(|p| p.to_string_lossy()).collect();
    parts.join("/")
}

/// The specs in a folder of the repository and in the folders directly inside it, in order of their
/// paths.
///
/// # Panics
///
/// Where the folder cannot be read.
pub fn inside(folder: &str) -> Vec<PathBuf> {
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).expect("a folder of the repository");
        entries.map(|e| e.expect("an entry of the folder").path()).collect()
    };
    let top = list(&root().join(folder));
    let mut all: Vec<PathBuf> = top.iter().filter(|p| p.is_dir()).flat_map(|p| list(p)).chain(top.clone()).collect();
    all.retain(|f| f.extension().is_some_and(|e| e == "din"));
    all.sort();
    all
}
