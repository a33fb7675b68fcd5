//! What a run directory records, and that it is compared when it is used.

use crate::support::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A log of the small model's columns: rows `0..rows`, each clicked on where `click` says so.
fn csv(rows: u32, click: impl Fn(u32) -> bool) -> String {
    let head = "user_id,gender,age_level,good_id,cate_id,visited_good_ids,visited_cate_ids,click\n";
    let row = |k: u32| {
        let (good, cate, click) = (100 + k % 30, k % 7, u32::from(click(k)));
        format!("{},{},{},{good},{cate},{}|{},1|2,{click}\n", k % 20, k % 2, k % 5, k % 9, k % 4)
    };
    head.to_string() + &(0..rows).map(row).collect::<String>()
}

/// A command on a run.
type Verb<'a> = &'a dyn Fn(&Path) -> Ran;

fn resume(run: &Path, more: &str) -> Ran {
    din(&format!("train {{model}} --out {{run}} --resume --epochs 2 {more}"), &[("model", &small()), ("run", run)])
}

#[test]
fn a_run_is_not_resumed_on_data_whose_contents_have_changed() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let [first, second, valid, run] = ["a.csv", "b.csv", "valid.parquet", "run"].map(at);
    let whole = csv(300, |k| k % 3 == 0);
    fs::write(&first, &whole).unwrap();
    fs::write(&second, &whole).unwrap();
    fs::copy(data().join("valid.parquet"), &valid).unwrap();
    let line = "train {model} --train {a} {b} --valid {valid} --out {run} --epochs 1 --threads 1";
    let paths: [(&str, &Path); 5] =
        [("model", &small()), ("a", &first), ("b", &second), ("valid", &valid), ("run", &run)];
    din(line, &paths).expect(0);
    let refused = |file: &PathBuf| {
        let before = hashes(&run);
        let said = resume(&run, "").expect(1).says("the contents have changed since the run").err;
        assert!(said.starts_with(&format!("error: {}: ", file.display())), "{said}");
        assert!(said.contains("help: give the files as they were, or train into another --out"), "{said}");
        assert_eq!(hashes(&run), before);
    };
    // Name, length, number of rows and header stay; every label is another.
    fs::write(&second, csv(300, |k| k % 3 != 0)).unwrap();
    refused(&second);
    fs::write(&second, &whole).unwrap();
    // One bit in the midst of a Parquet file, far from its footer.
    let mut bytes = fs::read(&valid).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&valid, &bytes).unwrap();
    refused(&valid);
    bytes[middle] ^= 1;
    fs::write(&valid, &bytes).unwrap();
    // More rows than there were.
    fs::write(&second, csv(301, |k| k % 3 == 0)).unwrap();
    refused(&second);
    fs::write(&second, &whole).unwrap();
    // The same contents in another folder are the same data.
    let moved = at("moved");
    fs::create_dir(&moved).unwrap();
    for file in [&first, &second, &valid] {
        fs::rename(file, moved.join(file.file_name().unwrap())).unwrap();
    }
    let [a, b, valid] = ["a.csv", "b.csv", "valid.parquet"].map(|name| moved.join(name).display().to_string());
    resume(&run, &format!("--train {a} {b} --valid {valid}")).expect(0);
}

/// A copy of the run that all tests share, with the first digit after `behind` in file `name`
/// raised by one.
fn altered(to: &Path, name: &str, behind: &str) {
    copy_folder(trained(), to);
    let path = to.join(name);
    let mut bytes = fs::read(&path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let begin = text.find(behind).unwrap();
    let at = begin + text[begin..].find(|c: char| c.is_ascii_digit()).unwrap();
    bytes[at] = if bytes[at] == b'9' { b'0' } else { bytes[at] + 1 };
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_run_with_an_altered_number_is_refused() {
    let folder = TempDir::new().unwrap();
    let last = format!("checkpoints/{}/manifest.json", names(&trained().join("checkpoints")).pop().unwrap());
    let verbs: [Verb<'_>; 4] = [
        &|run| din("eval {run} --data {data}/test.parquet", &[("run", run), ("data", data())]),
        &|run| din("eval {run} --data {data}/test.parquet --checkpoint last", &[("run", run), ("data", data())]),
        &|run| din("info {run}", &[("run", run)]),
        &|run| resume(run, ""),
    ];
    let [eval, eval_last, info, resume] = verbs;
    let cases: [(&str, &str, &[Verb<'_>]); 8] = [
        ("run.json", "\"seed\"", &[eval, info, resume]),
        ("run.json", "\"batch\"", &[eval, info, resume]),
        ("metrics.jsonl", "\"valid\"", &[info, resume]),
        ("best.json", "\"value\"", &[eval, info]),
        (&last, "\"batch\": ", &[eval_last, resume]),
        (&last, "\"ranks\"", &[eval_last, resume]),
        ("run.json", "\"leaves\"", &[eval, info, resume]),
        (&last, "\"step\"", &[eval_last, resume]),
    ];
    for (k, (name, behind, verbs)) in cases.into_iter().enumerate() {
        let run = folder.path().join(k.to_string());
        altered(&run, name, behind);
        for verb in verbs {
            let said = verb(&run).expect(1).says(": the text was altered").says("help: ").err;
            assert!(said.contains(name), "{said}");
        }
    }
    // The last checkpoint needs no choice, and the choice can be made again.
    let run = folder.path().join("3");
    eval_last(&run).expect(0);
    resume(&run).expect(0);
    assert_eq!(fs::read(run.join("best.json")).unwrap(), fs::read(trained().join("best.json")).unwrap());
}

/// Weights grow a hundredfold with each step: finite in a checkpoint, too large for the step after
/// it.
#[test]
fn a_run_that_diverges_behind_its_newest_checkpoint_keeps_the_one_before() {
    let folder = TempDir::new().unwrap();
    let (spec, file, run) = (folder.path().join("m.din"), folder.path().join("a.csv"), folder.path().join("run"));
    let text = fs::read_to_string(small()).unwrap();
    let (head, model) = text.split_once("model small").unwrap();
    let grow = "optimizer grow(rate) per weight {\n    weight = weight * rate + grad * 0\n}\n\n";
    let model = model.replace("optimizer adam(lr = lr)", "optimizer grow(rate = lr)");
    let model = model.replace("{ regularize adaptive(0.001) }", "");
    let head = head.replace("use std.optimizer.adam\n", "").replace("use std.regularizer.adaptive\n", "");
    fs::write(&spec, format!("{head}{grow}model small{model}")).unwrap();
    fs::write(&file, csv(800, |k| k % 3 == 0)).unwrap();
    let paths: [(&str, &Path); 3] = [("spec", &spec), ("file", &file), ("run", &run)];
    let line = "train {spec} --train {file} --out {run} --set lr=100 --batch 16 --checkpoint-every 1 --threads 1";
    let said = din(line, &paths).expect(1).says("the loss became ").err;
    let step: u64 = said.split("at step ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let kept = [step - 2, step - 1].map(|step| format!("step-{step:010}"));
    assert_eq!(names(&run.join("checkpoints")), kept);
    // A resume meets the same numbers, and leaves both where they are.
    din("train {spec} --out {run} --resume --set lr=100 --checkpoint-every 1 --threads 1", &paths).expect(1);
    assert_eq!(names(&run.join("checkpoints")), kept);
    din(&format!("eval {{run}} --data {{file}} --checkpoint {}", kept[0]), &paths).expect(0);
}

/// The small model, with its hidden layer's width from a module beside it, as `folder/m.din`.
fn spec_with_a_module(folder: &Path) -> PathBuf {
    let text = fs::read_to_string(small()).unwrap();
    let text = text.replace("use std.regularizer.adaptive\n", "use std.regularizer.adaptive\nuse shared.sizes.width\n");
    fs::create_dir_all(folder.join("shared")).unwrap();
    fs::write(folder.join("shared/sizes.din"), "fn width() { 16 }\n").unwrap();
    let spec = folder.join("m.din");
    fs::write(&spec, text.replace("candidate), [16], dice)", "candidate), [width()], dice)")).unwrap();
    spec
}

#[test]
fn a_spec_built_from_two_folders_gives_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let [one, two] = ["one", "deeper/two"].map(|name| spec_with_a_module(&folder.path().join(name)));
    let built = |spec: &Path, from: &Path, name: &str| {
        let out = folder.path().join(name);
        let mut command = std::process::Command::new(din_path());
        run(command.current_dir(from), "build {spec} -o {out}", &[("spec", spec), ("out", &out)]).expect(0);
        fs::read(out).unwrap()
    };
    let absolute = built(&one, folder.path(), "a");
    assert!(absolute == built(Path::new("./m.din"), two.parent().unwrap(), "b"));
    // What the program is made of is still refused as its output.
    let module = one.with_file_name("shared/sizes.din");
    let line = "build {spec} -o {out} --force";
    din(line, &[("spec", &one), ("out", &module)]).expect(1).says("expected a file to write, found the input");
}

#[test]
fn messages_name_the_spec_as_it_was_given() {
    let folder = TempDir::new().unwrap();
    spec_with_a_module(&folder.path().join("specs"));
    fs::write(folder.path().join("a.csv"), csv(40, |k| k % 3 == 0)).unwrap();
    fs::write(folder.path().join("b.csv"), csv(40, |k| k % 3 == 0).replace("gender", "sex")).unwrap();
    let from = |inside: &str, line: &str| {
        let mut command = std::process::Command::new(din_path());
        run(command.current_dir(folder.path().join(inside)), line, &[])
    };
    for (inside, spec) in [("", "specs/m.din"), ("specs", "m.din"), ("specs", "./m.din"), ("specs", "../specs/m.din")] {
        let data = folder.path().join("b.csv").display().to_string();
        let ran = from(inside, &format!("train {spec} --train {data} --out run")).expect(1);
        assert!(ran.err.contains(&format!(", {spec}:")), "{}", ran.err);
    }
    let shown = from("", "train specs/m.din --train a.csv --out run --epochs 1 --profile").expect(0).out;
    let trace = fs::read_to_string(folder.path().join("run/trace.json")).unwrap();
    assert!(trace.contains("\"specs/m.din:") && trace.contains("\"std.layer:"), "{trace}");
    // Which kernels take longest, and are therefore shown, is not known.
    let is_place =
        |word: &&str| word.matches(':').count() == 2 && word.rsplitn(3, ':').take(2).all(|n| n.parse::<u32>().is_ok());
    let places: Vec<&str> = shown.lines().filter_map(|l| l.split_whitespace().last()).filter(is_place).collect();
    assert!(!places.is_empty() && places.iter().all(|place| trace.contains(&format!("\"{place}\""))), "{shown}");
}

#[test]
fn a_run_keeps_the_spec_with_its_modules_and_settings() {
    let folder = TempDir::new().unwrap();
    let spec = spec_with_a_module(&folder.path().join("specs"));
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(
        &spec,
        text.replace("    hyper lr = 3e-3\n", "    hyper lr = 3e-3\n    hyper dims = 4\n")
            .replace("good [4]", "good [dims]"),
    )
    .unwrap();
    let run = folder.path().join("run");
    let paths: [(&str, &Path); 3] = [("spec", &spec), ("data", data()), ("run", &run)];
    let sets = "--set lr=0.01 --set dims=6 --threads 1";
    din(&format!("train {{spec}} --train {{data}}/test.parquet --out {{run}} --epochs 1 {sets}"), &paths).expect(0);
    for (kept, given) in [("m.din", &spec), ("shared/sizes.din", &spec.with_file_name("shared/sizes.din"))] {
        assert_eq!(fs::read(run.join("spec").join(kept)).unwrap(), fs::read(given).unwrap());
    }
    assert_eq!(fs::read_to_string(run.join("spec/--set.din")).unwrap(), "lr=0.01\ndims=6");
    // The copy is the same spec.
    let line = format!("train {{run}}/spec/m.din --out {{run}} --resume --epochs 2 {sets}");
    din(&line, &paths).expect(0);
}
