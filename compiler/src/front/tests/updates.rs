//! Optimizers and regularizers as update graphs.

use super::*;
use crate::graph::{BATCH, GLOBAL, InputKind};
use crate::model::UpdateScope;
use din_program::SlotScope;
use din_program::schema::UpdateRule;

fn small(options: &str, train: &str, functions: &str) -> CheckedModel {
    model(&format!(
        "{HEAD}{functions}\nmodel m {{
    features ad {{ good_id: category }}
    label click: binary
    embedding good [4] for ad.good_id {{ {options} }}
    predict click ~ bernoulli(logit = linear(embed(ad), 1))
    train {{ loss cross_entropy(click)  {train}  batch 4  epochs 1 }}
    report auc(click)
}}
"
    ))
}

fn table_update(m: &CheckedModel) -> &crate::model::UpdateGraph {
    &m.updates[m.tables[0].update as usize]
}

#[test]
fn a_table_and_a_matrix_have_their_own_rules() {
    let m = small("regularize adaptive(0.01)", "optimizer adam()  regularize l2(1e-4)", "");
    let rows = table_update(&m);
    assert_eq!(
        (rows.name.as_str(), rows.scope),
        ("adam + adaptive", UpdateScope::Rows { width: 4, rule: UpdateRule::Sparse })
    );
    assert!(m.tables[0].reads_frequency);
    let of = |name: &str| {
        let p = m.parameters.iter().find(|p| p.name == name).unwrap();
        &m.updates[p.update as usize]
    };
    // Decay is for matrices; a bias has none.
    assert_eq!((of("click.weight").name.as_str(), of("click.weight").scope), ("adam + l2", UpdateScope::Elements));
    assert_eq!(of("click.bias").name, "adam");
    let kinds: Vec<&InputKind> = rows.graph.inputs.iter().map(|i| &i.kind).collect();
    assert!(kinds.contains(&&InputKind::Frequency) && kinds.contains(&&InputKind::Step));
    assert_eq!(kinds.iter().filter(|k| matches!(k, InputKind::Slot { .. })).count(), 2);
    assert!(rows.slots.iter().all(|s| s.per == SlotScope::Weight && s.init == 0.0));
}

#[test]
fn a_row_has_one_accumulator() {
    let m = small("optimizer rowwise_adagrad(0.1)", "optimizer sgd(0.1)", "");
    let update = table_update(&m);
    assert_eq!(update.slots[0].per, SlotScope::Row);
    let slot = update.graph.inputs.iter().find(|i| matches!(i.kind, InputKind::Slot { .. })).unwrap();
    assert_eq!((slot.axis, slot.shape.width()), (BATCH, 1));
    for root in &update.graph.roots {
        let node = update.graph.node(root.node());
        let width = if matches!(root, Root::Weight(_)) { 4 } else { 1 };
        assert_eq!((node.axis, node.width()), (BATCH, width));
    }
}

#[test]
fn a_tensor_is_reduced_over_its_rows() {
    let trust = "
optimizer trust(lr) per tensor {
    state norm = 0
    norm = 0.9 * norm + 0.1 * mean(grad * grad)
    weight = weight - lr * grad / sqrt(norm + 1e-8)
}
";
    let m = small("optimizer trust(0.1)", "optimizer trust(0.2)", trust);
    let update = table_update(&m);
    assert_eq!(update.slots[0].per, SlotScope::Tensor);
    let slot = update.graph.roots.iter().find(|r| matches!(r, Root::Slot { .. })).unwrap().node();
    assert_eq!(update.graph.node(slot).axis, GLOBAL);
    assert_eq!(nodes(&update.graph, |op| *op == Op::Count(BATCH)).len(), 1);
    assert_eq!(m.updates.len(), 2);
}

#[test]
fn a_number_for_every_weight_is_repeated() {
    let zero = "optimizer forget(lr) per weight {\n    weight = lr\n}\n";
    let m = small("optimizer forget(0.5)", "optimizer sgd(0.1)", zero);
    let update = table_update(&m);
    let root = update.graph.roots.iter().find(|r| matches!(r, Root::Weight(_))).unwrap().node();
    assert_eq!((update.graph.node(root).axis, update.graph.node(root).width()), (BATCH, 4));
}

#[test]
fn a_dense_weight_is_touched_by_every_step() {
    let f = "optimizer slowing(lr) per weight {\n    weight = weight - lr / updates * grad\n}\n";
    let m = small("", "optimizer slowing(0.5)", f);
    let kinds = |u: u32| m.updates[u as usize].graph.inputs.iter().map(|i| i.kind.clone()).collect::<Vec<_>>();
    assert!(kinds(m.tables[0].update).contains(&InputKind::UpdateCount));
    assert!(kinds(m.parameters[0].update).contains(&InputKind::Step));
}

#[test]
fn equal_rules_are_one_program() {
    let m = small("", "optimizer sgd(0.1)", "");
    assert_eq!(m.updates.len(), 2);
    let m = small("optimizer sgd(0.2)", "optimizer sgd(0.1)", "");
    assert_eq!(m.updates.len(), 2);
}
