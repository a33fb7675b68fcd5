//! The other verbs, help, and exit codes.

use crate::support::*;
use din_compiler::graph::{Graph, Root};
use din_compiler::optimize::PASSES;
use std::fs;
use tempfile::TempDir;

#[test]
fn every_shipped_spec_checks() {
    for folder in ["models", "stdlib"] {
        for name in names(&root().join(folder)).iter().filter(|name| name.ends_with(".din")) {
            let path = root().join(folder).join(name);
            let ran = din("check {path}", &[("path", &path)]).expect(0);
            assert!(ran.err.is_empty(), "{name}: {}", ran.err);
        }
    }
}

#[test]
fn a_folder_stands_for_the_specs_below_it() {
    let folder = TempDir::new().unwrap();
    let here = [("here", folder.path())];
    din("check {here}", &here).expect(1).says("expected .din files below this folder, found none");
    fs::create_dir_all(folder.path().join("b/c")).unwrap();
    fs::write(folder.path().join("b/c/two.din"), "fn f(x: [n]) -> [n] { x }\n").unwrap();
    fs::write(folder.path().join("a.din"), "fn g(x: [n]) -> [n] { y }\n").unwrap();
    fs::write(folder.path().join("b/text.md"), "no spec").unwrap();
    let ran = din("check {here}", &here).expect(1);
    assert!(ran.err.contains("unknown name `y`") && ran.err.contains("1 error"), "{}", ran.err);
    assert!(ran.out.contains("two.din: library"), "{}", ran.out);
}

#[test]
fn what_is_no_regular_file_is_no_spec() {
    for verb in ["check", "fmt", "emit"] {
        din(&format!("{verb} /dev/zero"), &[]).expect(1).says("/dev/zero: expected a spec, a regular file");
    }
    let mut command = std::process::Command::new(din_path());
    command.stdin(fs::File::open("/dev/zero").unwrap());
    run(&mut command, "fmt -", &[]).expect(1).says("standard input: expected a spec of at most 4194304 bytes");
    let folder = TempDir::new().unwrap();
    din("fmt {here}", &[("here", folder.path())]).expect(1).says("found a folder");
    let path = folder.path().join("latin.din");
    fs::write(&path, b"edition 2026\n// \xc3\xbcber \xfc\n").unwrap();
    din("check {path}", &[("path", &path)]).expect(1).says("latin.din:2:9: expected UTF-8 text");
}

#[test]
fn the_readmes_spec_checks_and_is_in_the_standard_layout() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let spec = readme.split("```din\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("my.din");
    fs::write(&path, spec).unwrap();
    din("check --deny warnings {path}", &[("path", &path)]).expect(0);
    din("fmt --check {path}", &[("path", &path)]).expect(0);
    // And it runs: strings, lists in CSV, a numeric feature.
    let row = |user: u32, item: u32, click: u32| {
        format!("{user},{},{item},b{},{}.5,{item}|7,b1|b2,{click}\n", ["de", "fr"][user as usize % 2], item % 3, item)
    };
    let head = "user_id,country,item_id,brand,price,hist_item_ids,hist_brands,click\n";
    for (name, shift) in [("a.csv", 0), ("b.csv", 1)] {
        let rows: String = (0..600).map(|k| row(k % 40, (k * 7 + shift) % 50, (k / 3) % 2)).collect();
        fs::write(folder.path().join(name), format!("{head}{rows}")).unwrap();
    }
    let line = "train {here}/my.din --train {here}/a.csv --valid {here}/b.csv --out {here}/run --epochs 1 --batch 128";
    din(line, &[("here", folder.path())]).expect(0);
}

#[test]
fn exit_codes_of_the_command_line() {
    din("", &[]).expect(2);
    din("fly", &[]).expect(2);
    din("check", &[]).expect(2);
    din("train model.din --out run --threads 0", &[]).expect(2);
    din("train model.din --out run --set lr", &[]).expect(2).says("NAME=VALUE");
    din("check nowhere.din", &[]).expect(1).says("nowhere.din");
    assert!(din("--help", &[]).expect(0).out.contains("din demo"));
    for verb in ["check", "test", "fmt", "info", "emit", "build", "train", "eval", "predict", "plan", "synth", "demo"] {
        let help = din(&format!("{verb} --help"), &[]).expect(0).out;
        assert!(help.contains("Example:") || verb == "demo", "{verb}: {help}");
    }
}

#[test]
fn check_renders_diagnostics_in_three_forms() {
    let folder = TempDir::new().unwrap();
    let spec = folder.path().join("wrong.din");
    fs::write(&spec, fs::read_to_string(small()).unwrap().replace("embed(visited)", "embed(visits)")).unwrap();
    let check = |form: &str| din(&format!("check {{spec}} --format {form}"), &[("spec", &spec)]).expect(1);
    let human = check("human").err;
    assert!(human.contains("embed(visits)") && human.contains("wrong.din:"), "{human}");
    let concise = check("concise").err;
    assert!(concise.lines().all(|line| line.contains("wrong.din:") && line.contains("error[E")), "{concise}");
    for line in check("json").out.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn explain_prints_pages_of_codes() {
    let one = din("explain e0302", &[]).expect(0).out;
    assert!(one.starts_with("E0302: ") && one.contains("    model ranker {"), "{one}");
    let two = din("explain E0302 W0203", &[]).expect(0).out;
    assert!(two.starts_with(&one) && two.contains("\nW0203: "), "{two}");
    din("explain E0300", &[]).expect(2).says("there is no such code; near it are E0301, E0302, E0303");
    din("explain shapes", &[]).expect(2).says("such as E0302");
    // The binary has the pages of the repository, all of them.
    let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let listed: Vec<serde_json::Value> = din("explain --json", &[]).expect(0).out.lines().map(parsed).collect();
    let codes: Vec<String> = listed.iter().map(|page| format!("{}.md", page["code"].as_str().unwrap())).collect();
    assert_eq!(codes, names(&root().join("docs/reference/codes")));
    let list = din("explain", &[]).expect(0).out;
    for (line, page) in list.lines().zip(&listed) {
        assert_eq!(line, format!("{}  {}", page["code"].as_str().unwrap(), page["title"].as_str().unwrap()));
    }
    let page = parsed(&din("explain --json E0302", &[]).expect(0).out);
    assert_eq!(page["page"], fs::read_to_string(root().join("docs/reference/codes/E0302.md")).unwrap());
}

/// After the last diagnostic, once, and for people only.
#[test]
fn diagnostics_name_the_pages_of_their_codes() {
    let folder = TempDir::new().unwrap();
    let here = [("here", folder.path())];
    for (name, from, to) in [("a", "embed(visited)", "embed(visits)"), ("b", "batch", "bach")] {
        let text = fs::read_to_string(small()).unwrap().replace(from, to);
        fs::write(folder.path().join(name).with_extension("din"), text).unwrap();
    }
    let more = |line: &str| {
        let ran = din(line, &here).expect(1);
        assert_eq!(ran.err.matches("din explain").count(), 1, "{}", ran.err);
        ran.err.lines().find(|line| line.contains("din explain")).unwrap().to_string()
    };
    assert_eq!(more("check {here}/a.din"), "for more about this error: din explain E0204");
    assert_eq!(more("emit {here}/a.din --stage graph"), "for more about this error: din explain E0204");
    let both = more("check {here}");
    assert_eq!(both, "for more about these codes: din explain E0204 E0606");
    for form in ["--format concise", "--format json", "--quiet"] {
        let ran = din(&format!("check {{here}} {form}"), &here).expect(1);
        assert!(!ran.err.contains("din explain") && !ran.out.contains("din explain"), "{form}: {}", ran.err);
    }
    // What it names can be asked for.
    din("explain E0204 E0606", &[]).expect(0);
}

#[test]
fn fmt_writes_the_standard_layout_and_check_only_compares() {
    let folder = TempDir::new().unwrap();
    let spec = folder.path().join("m.din");
    let neat = fs::read_to_string(root().join("models/base.din")).unwrap();
    fs::write(&spec, neat.replace("    label", "label ").replace(" = ", "   =   ")).unwrap();
    let before = fs::read(&spec).unwrap();
    din("fmt --check {spec}", &[("spec", &spec)]).expect(1);
    assert_eq!(fs::read(&spec).unwrap(), before);
    din("fmt {spec}", &[("spec", &spec)]).expect(0);
    assert_eq!(fs::read_to_string(&spec).unwrap(), neat);
    din("fmt --check {spec}", &[("spec", &spec)]).expect(0);
    assert_eq!(names(folder.path()), ["m.din"]);
}

#[test]
fn emit_shows_every_stage() {
    for stage in ["ast", "graph", "optimized", "schedule", "clif", "asm", "cuda", "cuda --precision bf16"] {
        let ran = din(&format!("emit {{model}} --stage {stage}"), &[("model", &small())]).expect(0);
        assert!(ran.out.lines().count() > 20, "{stage}: {}", ran.out);
    }
}

/// Each form is read by something that knows it, or by its own rules.
#[test]
fn graph_draws_a_model() {
    let folder = TempDir::new().unwrap();
    let paths = [("here", folder.path()), ("model", &small())];
    let file = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for name in ["m.svg", "m.html", "m.dot", "m.mmd", "m.json"] {
        din(&format!("graph {{model}} -o {{here}}/{name}"), &paths).expect(0);
    }
    let json: serde_json::Value = serde_json::from_str(&file("m.json")).unwrap();
    let nodes = json["nodes"].as_array().unwrap();
    let index = |name: &str| nodes.iter().position(|node| node["name"] == name).unwrap();
    // Shapes and weights are those that `info` has.
    let info: serde_json::Value = serde_json::from_str(&din("info {model} --json", &paths).expect(0).out).unwrap();
    let weights: u64 = nodes.iter().map(|node| node["weights"].as_u64().unwrap()).sum();
    assert_eq!(weights, info["dense_weights"].as_u64().unwrap(), "{json}");
    assert_eq!(nodes[index("visited")]["kind"], "sequence");
    let svg = file("m.svg");
    let drawn = roxmltree::Document::parse(&svg).unwrap();
    let of = |class: &str| drawn.descendants().filter(|n| n.attribute("class") == Some(class)).count();
    assert_eq!((of("node"), of("edge")), (nodes.len(), json["edges"].as_array().unwrap().len()));
    let page = file("m.html");
    assert!(page.contains(&format!("name: \"{}\"", nodes[0]["name"].as_str().unwrap())), "{page}");
    assert!(!page.contains("http://") || page.matches("http://").count() == page.matches("http://www.w3.org").count());
    assert!(file("m.dot").starts_with("digraph \"") && file("m.mmd").starts_with("flowchart BT\n"));
    assert_eq!(din("graph {model} -o - --as svg", &paths).expect(0).out, svg);
    din("graph {model} -o {here}/m.png", &paths).expect(2).says("--as svg");
    din("graph {model} -o {model} --as svg", &paths).expect(1).says("found the input");
}

/// What `--print-after` prints is a graph in the textual form, of the graphs that the pass changed.
#[test]
fn emit_shows_the_graphs_after_a_pass_and_the_time_of_each_pass() {
    let ran = din("emit {model} --print-after differentiate", &[("model", &small())]).expect(0);
    let text = ran.out.strip_prefix("# train after differentiate\n").unwrap();
    assert!(!text.contains("\n# "), "{text}");
    let graph: Graph = text.parse().unwrap();
    assert!(graph.roots.iter().any(|root| matches!(root, Root::ParamGradient { .. })), "{text}");
    let table = din("emit {model} --timings", &[("model", &small())]).expect(0).out;
    for pass in PASSES {
        assert!(table.lines().any(|line| line.split_whitespace().nth(2) == Some(pass.name)), "{}: {table}", pass.name);
    }
    din("emit {model} --print-after nothing", &[("model", &small())]).expect(2).says("simplify, deduplicate");
    din("emit {model} --timings --stage asm", &[("model", &small())]).expect(2);
}

/// A machine without the compiler of CUDA source gets an error that says what to install.
#[test]
fn emit_without_nvrtc_says_what_to_do() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_din"));
    command.arg("emit").arg(small()).args(["--stage", "ptx"]).env("DIN_NVRTC", "no/such/libnvrtc.so");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no/such/libnvrtc.so") && said.contains("nvidia-cuda-nvrtc"), "{said}");
}

#[test]
fn synth_is_deterministic_and_replaces_nothing() {
    let folder = TempDir::new().unwrap();
    let make = |name: &str, seed: u32| {
        let out = folder.path().join(name);
        din(&format!("synth --out {{out}} --rows 500 --seed {seed}"), &[("out", &out)]).expect(0);
        fs::read(out.join("train.parquet")).unwrap()
    };
    let a = make("a", 1);
    assert!(a == make("b", 1) && a != make("c", 2));
    din("synth --out {out} --rows 500", &[("out", &folder.path().join("a"))]).expect(1).says("already exists");
    let truth = json(&folder.path().join("a/truth.json"));
    let auc = truth["splits"][1]["bayes"]["auc"].as_f64().unwrap();
    assert!(auc > 0.5 && auc < 1.0);
}

#[test]
fn the_demo_shows_attention_above_pooling_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let mut command = std::process::Command::new(din_path());
    let ran = run(command.env("TMPDIR", folder.path()), "demo --rows 60000", &[]).expect(0);
    let auc = |name: &str| -> f64 {
        let line = ran.out.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!(auc("din") > auc("base") + 0.05 && auc("din") < auc("truth"), "{}", ran.out);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn tests_of_files_are_run() {
    let root = root();
    let library = root.join("stdlib");
    let ran = din("test {library}", &[("library", &library)]).expect(0);
    assert!(ran.out.contains("dice in training") && ran.err.contains(" 0 failed"), "{}{}", ran.out, ran.err);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("mine.din");
    let text = "fn twice(x: [n]) -> [n] { 2 * x }
test \"right\" {
    given x: [2] = [1, 2]
    expect twice(x) = [2, 4]
}
test \"wrong\" {
    given x: [2] = [1, 2]
    expect twice(x) = [2, 5]
    expect twice(x) = [2, 4.01] within 0.1
}
";
    fs::write(&path, text).unwrap();
    let ran = din("test {path}", &[("path", &path)]).expect(1);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", ran.out);
    assert!(lines[0].starts_with("ok ") && lines[0].ends_with("mine.din: right"), "{}", lines[0]);
    assert!(lines[1].starts_with("failed ") && lines[1].ends_with("mine.din:6:6: wrong"), "{}", lines[1]);
    assert!(lines[2].ends_with("mine.din:8:12: differ by 1.000e0, more than 1e-6"), "{}", lines[2]);
    assert_eq!(lines[3..], ["    expected [2, 5]", "    found    [2, 4]"]);
    fs::write(&path, text.replace("twice(x) = [2, 5]", "thrice(x) = [2, 5]")).unwrap();
    let ran = din("test {path}", &[("path", &path)]).expect(1);
    assert!(ran.err.contains("unknown name `thrice`") && ran.err.contains("1 passed, 0 failed"), "{}", ran.err);
}

/// Two models on one schema: each asks the data for what it reads, and errors of the data name the
/// schema's file.
#[test]
fn models_share_a_schema() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(
        at("columns.din"),
        "schema shop {
    features ad   { item: category(8)   brand: category of string   price: number }
    features user { city: category(4) }
    label click:  binary
    label bought: binary
    key   user_id: int64
}
",
    )
    .unwrap();
    let model = |body: &str| {
        format!(
            "use columns.shop\nuse std.layer.linear\nuse std.loss.cross_entropy\nuse std.metric.log_loss\n\
             use std.optimizer.sgd\nmodel m on shop {{\nembedding [2] for each of ad, user\n{body}\n\
             predict click ~ bernoulli(logit = linear(x, 1))\n\
             train {{ loss cross_entropy(click)  optimizer sgd(lr = 0.1)  batch 4  epochs 1 }}\nreport log_loss(click)\n}}\n"
        )
    };
    fs::write(at("one.din"), model("let x = embed(ad.item)")).unwrap();
    fs::write(at("two.din"), model("let x = concat(embed(ad.item), ad.price)")).unwrap();
    let rows: String = (0..16).map(|i| format!("{},{},{}\n", i % 8, i % 2, i)).collect();
    fs::write(at("log.csv"), format!("item,click,user_id\n{rows}")).unwrap();
    let paths = ["one.din", "two.din", "columns.din", "log.csv", "run", "run2", "out.csv", "ranker"].map(at);
    let [one, two, columns, log, run, run2, out, ranker] = &paths;
    din("check --deny warnings {one} {two} {columns}", &[("one", one), ("two", two), ("columns", columns)]).expect(0);
    din("train {one} --train {log} --out {run}", &[("one", one), ("log", log), ("run", run)]).expect(0);
    let ran = din("info {run}", &[("run", run)]).expect(0);
    assert!(ran.out.contains("ad.item") && !ran.out.contains("brand"), "{}", ran.out);
    din("predict {run} --data {log} --out {out}", &[("run", run), ("log", log), ("out", out)]).expect(0);
    let written = fs::read_to_string(out).unwrap();
    assert!(written.lines().next().unwrap().contains("user_id"), "{written}");
    let failed = din("train {two} --train {log} --out {run2}", &[("two", two), ("log", log), ("run2", run2)]);
    failed.expect(1).says("price").says("columns.din:2:");
    // The program has the schema's text, and needs no file.
    din("build {one} -o {ranker}", &[("one", one), ("ranker", ranker)]).expect(0);
    fs::remove_file(columns).unwrap();
    let mut command = std::process::Command::new(ranker);
    let ran = crate::support::run(&mut command, "info", &[]).expect(0);
    assert!(ran.out.contains("ad.item"), "{}", ran.out);
}

/// Bash and `man` take them; every verb has a page.
#[test]
fn completions_and_manual_pages_are_those_of_the_command_line() {
    let folder = TempDir::new().unwrap();
    let help = din("help", &[]).expect(0).out;
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() >= 15, "{verbs:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = din(&format!("completions {shell}"), &[]).expect(0).out;
        assert!(verbs.iter().all(|verb| script.contains(verb)), "{shell}");
    }
    let script = folder.path().join("din.bash");
    fs::write(&script, din("completions bash", &[]).expect(0).out).unwrap();
    let completed = std::process::Command::new("bash")
        .arg("-c")
        .arg(format!(
            "source {}; COMP_WORDS=(din ch); COMP_CWORD=1; _din din ch din; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        ))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(completed.stdout).unwrap().trim(), "check");
    din("completions csh", &[]).expect(2).says("csh");

    let pages = folder.path().join("man1");
    din("man --out {pages}", &[("pages", &pages)]).expect(0);
    for verb in &verbs {
        let page = fs::read_to_string(pages.join(format!("din-{verb}.1"))).unwrap();
        assert!(page.contains(".TH ") && page.contains(&format!("din {verb}")), "{page}");
    }
    assert_eq!(din("man", &[]).expect(0).out, fs::read_to_string(pages.join("din.1")).unwrap());
}
