//! What `difference` says of two models, against the programs that they compile to and the
//! structure that checkpoints are held against: on the repository's models, on mutations of them,
//! and on models that are written in other words.

use din_compiler::difference::{ModelDifference, TensorFate, Verdict};
use din_compiler::front::{CheckOptions, check};
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, Compiled, compile};
use din_grammar::format;
use din_program::Program;
use din_runtime::checkpoint::describe;
use din_tests::mutations::Mutator;
use din_tests::random_graph::Random;
use din_tests::specs::{self, Beside, shown};
use serde_json::Value;
use std::path::{Path, PathBuf};

struct Spec {
    name: String,
    text: String,
    folder: PathBuf,
}

/// The models of the repository.
fn models() -> Vec<Spec> {
    let folders = ["models", "models/interaction", "models/multitask", "models/retrieval", "models/sequence"];
    let files = folders.iter().chain(&["tests/models"]).flat_map(|folder| specs::inside(folder));
    let spec = |path: PathBuf| Spec {
        name: shown(&path),
        text: std::fs::read_to_string(&path).unwrap(),
        folder: path.parent().unwrap().to_path_buf(),
    };
    let mut found: Vec<Spec> = files.map(spec).filter(|spec| spec.text.contains("\nmodel ")).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.dedup_by(|a, b| a.name == b.name);
    assert!(found.len() > 40, "{}", found.len());
    found
}

fn checked(name: &str, text: &str, folder: &Path) -> Option<CheckedModel> {
    let checked = check(name, text, &Beside(folder.to_path_buf()), &CheckOptions::default());
    checked.model.filter(|model| model.missing_vocabularies.is_empty())
}

fn compiled(model: &CheckedModel) -> Compiled {
    let options = CompileOptions { levels: Vec::new(), ..CompileOptions::default() };
    compile(model, &options).unwrap_or_else(|e| panic!("{}: {e}", model.name))
}

/// A program without its texts and the places in them, with what its kernels compute.
fn essence(compiled: &Compiled) -> (Value, String) {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !["location", "locations"].contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut value = serde_json::to_value(Program { sources: Vec::new(), ..compiled.program.clone() }).unwrap();
    strip(&mut value);
    (value, format!("{:?}", compiled.kernels.regions))
}

fn between(name: &str, old: &CheckedModel, new: &CheckedModel) -> ModelDifference {
    ModelDifference::between(old, new).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What is said to be the same compiles to the same program, and nothing else; a checkpoint of
/// which all is said to be kept is one of the new model, by the rule that checkpoints are read by.
fn agrees(name: &str, old: &CheckedModel, old_compiled: &Compiled, new: &CheckedModel) -> Verdict {
    let found = between(name, old, new);
    let new_compiled = compiled(new);
    let same = essence(old_compiled) == essence(&new_compiled);
    assert_eq!(found.verdict == Verdict::Same, same, "{name}: {found:?}");
    let fit = &found.checkpoint;
    let all_kept = fit.optimizer_state_lost.is_empty() && fit.tensors.iter().all(|t| t.fate == TensorFate::Kept);
    let (mut was, mut is) = (describe(&old_compiled.program), describe(&new_compiled.program));
    // Statistics of the data are no weights; the order of declarations is no structure.
    [&mut was, &mut is].into_iter().for_each(|lines| {
        lines.retain(|line| !line.starts_with("statistic "));
        lines.sort();
    });
    assert_eq!(all_kept, was == is, "{name}: {fit:?}\n{was:?}\n{is:?}");
    found.verdict
}

#[test]
fn a_model_in_another_layout_is_the_same() {
    for Spec { name, text, folder } in models() {
        let Some(old) = checked(&name, &text, &folder) else { continue };
        let words: String = text.lines().map(|line| format!("{}   // Why.\n\n", line.trim_start())).collect();
        let words = words.replace("//!", "// ");
        let new = checked("another.din", &words, &folder).unwrap_or_else(|| panic!("{name}"));
        let found = between(&name, &old, &new);
        assert_eq!(found.verdict, Verdict::Same, "{name}: {:?}", found.changes);
        assert!(format(&words).is_ok(), "{name}");
    }
}

#[test]
fn models_of_different_files_differ() {
    let all: Vec<(String, CheckedModel)> =
        models().iter().filter_map(|s| Some((s.name.clone(), checked(&s.name, &s.text, &s.folder)?))).collect();
    for pair in all.windows(2).step_by(3) {
        let ((old_name, old), (new_name, new)) = (&pair[0], &pair[1]);
        let name = format!("{old_name} to {new_name}");
        let found = between(&name, old, new);
        assert_ne!(found.verdict, Verdict::Same, "{name}");
        // The other way round, what was added is removed.
        let back = between(&name, new, old);
        let count = |found: &ModelDifference, fate: TensorFate| {
            found.checkpoint.tensors.iter().filter(|tensor| tensor.fate == fate).count()
        };
        assert_eq!(count(&found, TensorFate::New), count(&back, TensorFate::Dropped), "{name}");
        assert_eq!(count(&found, TensorFate::Kept), count(&back, TensorFate::Kept), "{name}");
    }
}

/// Changes of a word or two, most of which are wrong.
#[test]
fn mutations_are_told_from_what_they_come_from_as_programs_are() {
    let models = models();
    let mutator = Mutator::new(models.iter().map(|spec| spec.text.as_str()));
    let mut random = Random::new(18);
    let (mut right, mut same) = (0, 0);
    for Spec { name, text, folder } in &models {
        let Some(old) = checked(name, text, folder) else { continue };
        let old_compiled = compiled(&old);
        for _ in 0..4 {
            let mutated = mutator.mutate(text, &mut random);
            let Some(new) = checked(name, &mutated, folder) else { continue };
            right += 1;
            same += usize::from(agrees(name, &old, &old_compiled, &new) == Verdict::Same);
        }
    }
    assert!(right > 20 && same > 1 && same < right, "{same} of {right} are the same");
}
