use super::*;
use crate::front::{CheckOptions, FileFault, SourceProvider, check};

/// A vocabulary of these lines.
struct Lines(&'static str);

impl SourceProvider for Lines {
    fn read(&self, _module: &[String]) -> Option<(String, String)> {
        None
    }

    fn vocabulary(&self, path: &str) -> Result<(String, String), FileFault> {
        Ok((path.into(), self.0.into()))
    }
}

/// A model of two labels with these members.
fn model_of(members: &str, lines: &'static str) -> CheckedModel {
    let text = format!(
        "edition 2026\nuse std.activation.{{relu, sigmoid}}\nuse std.layer.linear\nuse std.loss.cross_entropy\n\
         use std.metric.auc\nuse std.optimizer.sgd\nuse std.recurrent.gru\nmodel m {{\n\
         features ad {{ item: category\n city: category of string in \"cities.txt\" }}\n\
         sequence seen {{ item: category from seen_items }}\n\
         label click: binary\nlabel bought: binary\n\
         embedding item [4] for ad.item, seen.item\nembedding city [2] for ad.city\n\
         let x = embed(ad)\nlet past = item(seen.item)\n\
         {members}\n\
         report auc(click), auc(bought)\n}}\n"
    );
    let checked = check("m.din", &text, &Lines(lines), &CheckOptions::default());
    let said: Vec<String> = checked.diagnostics.iter().map(|d| format!("{}: {}", d.code, d.message)).collect();
    checked.model.unwrap_or_else(|| panic!("{said:?}\n{text}"))
}

fn model(members: &str) -> CheckedModel {
    model_of(members, "Rome\nOslo\n")
}

const TRAIN: &str =
    "train { loss cross_entropy(click) + cross_entropy(bought)\n optimizer sgd(lr = 0.1)\n batch 2\n epochs 1 }";

fn difference(old: &CheckedModel, new: &CheckedModel) -> ModelDifference {
    ModelDifference::between(old, new).unwrap_or_else(|e| panic!("{e}"))
}

/// The verdict, and the parts that changed with their names.
fn changed(old: &str, new: &str) -> (Verdict, Vec<String>) {
    let found = difference(&model(old), &model(new));
    let names = found.changes.iter().map(|change| match &change.kind {
        ChangeKind::Renamed { new_name } => format!("{} {} to {new_name}", change.part.word(), change.name),
        ChangeKind::Added { .. } => format!("+{} {}", change.part.word(), change.name),
        ChangeKind::Removed { .. } => format!("-{} {}", change.part.word(), change.name),
        ChangeKind::Changed { .. } => format!("{} {}", change.part.word(), change.name),
    });
    (found.verdict, names.collect())
}

fn two(click: &str, bought: &str) -> String {
    format!("predict click ~ bernoulli(logit = {click})\npredict bought ~ bernoulli(logit = {bought})\n{TRAIN}")
}

#[test]
fn predictions_are_known_by_their_labels_and_not_by_their_order() {
    let one =
        "predict click ~ bernoulli(logit = linear(x, 1))\npredict bought ~ bernoulli(logit = linear(relu(x), 1))\n";
    let other =
        "predict bought ~ bernoulli(logit = linear(relu(x), 1))\npredict click ~ bernoulli(logit = linear(x, 1))\n";
    let (verdict, names) = changed(&format!("{one}{TRAIN}"), &format!("{other}{TRAIN}"));
    // The sum of the loss is in the order in which it is written, as is everything else.
    assert_eq!((verdict, names), (Verdict::Same, Vec::new()));
}

#[test]
fn one_prediction_of_two_is_another() {
    let (verdict, names) = changed(&two("linear(x, 1)", "linear(x, 1)"), &two("linear(x, 1)", "linear(relu(x), 1)"));
    assert_eq!((verdict, names), (Verdict::Compatible, vec!["prediction bought".to_string()]));
}

#[test]
fn a_loss_is_told_from_the_prediction_that_it_reads() {
    let old = two("linear(x, 1)", "linear(x, 1)");
    let new = two("linear(relu(x), 1)", "linear(x, 1)");
    assert_eq!(changed(&old, &new).1, ["prediction click"]);
    let doubled = new.replace("loss cross_entropy(click)", "loss 2 * cross_entropy(click)");
    assert_eq!(changed(&old, &doubled).1, ["prediction click", "loss loss"]);
}

/// Weights that change places are no renames: a checkpoint has both under their names.
#[test]
fn names_that_both_have_are_not_renamed() {
    let of = |first: &str, second: &str| {
        two(&format!("linear({first}, 1)"), &format!("linear({second}, 1)"))
            .replace("predict click", "let a = linear(x, 4)\nlet b = linear(x, 4)\npredict click")
    };
    let (verdict, names) = changed(&of("relu(a)", "b"), &of("relu(b)", "a"));
    assert_eq!((verdict, names), (Verdict::Compatible, vec!["prediction click".into(), "prediction bought".into()]));
    let (verdict, names) =
        changed(&of("relu(a)", "b"), &of("relu(a)", "b").replace("let b", "let c").replace("(b, ", "(c, "));
    let renamed = ["parameter b.weight to c.weight", "parameter b.bias to c.bias"];
    assert_eq!((verdict, names), (Verdict::Compatible, renamed.map(String::from).to_vec()));
}

#[test]
fn recurrences_are_compared_step_by_step() {
    let gru = |members: &str| two("linear(sum(gru(past, 4) over seen), 1)", members);
    assert_eq!(changed(&gru("linear(x, 1)"), &gru("linear(1 * x, 1)")).0, Verdict::Same);
    let other = gru("linear(x, 1)").replace("gru(past, 4)", "gru(2 * past, 4)");
    assert_eq!(changed(&gru("linear(x, 1)"), &other).1, ["prediction click"]);
}

#[test]
fn rows_of_another_vocabulary_stand_for_other_ids() {
    let members = two("linear(x, 1)", "linear(x, 1)");
    let found = difference(&model_of(&members, "Rome\nOslo\n"), &model_of(&members, "Oslo\nRome\n"));
    assert_eq!(found.verdict, Verdict::Incompatible);
    let fate = TensorFate::Resized { old: "3 rows of 2".into(), new: "3 rows of 2, of other ids".into() };
    assert!(found.checkpoint.tensors.contains(&TensorFit { tensor: "table city".into(), fate }), "{found:?}");
}

#[test]
fn costs_are_counted() {
    let found = difference(&model(&two("linear(x, 1)", "linear(x, 1)")), &model(&two("linear(x, 1)", "linear(x, 1)")));
    let [old, new] = found.cost;
    assert_eq!(old, new);
    // Two layers of 6 weights and a bias: 2 x 6 operations and an addition each.
    assert_eq!((old.dense_weights, old.dense_bytes, old.flops_per_sample), (14, 56, 26.0));
    assert_eq!(old.row_bytes_per_sample, f64::from(4 * (4 + 2)));
}
