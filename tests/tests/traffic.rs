//! What a training step keeps in memory for each entry of a history, against the closed form.

use din_compiler::front::{self, NoFiles};
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_program::schedule::{AxisId, Operation, Storage};
use std::path::Path;

const VISITED: AxisId = AxisId(2);

fn step() -> Program {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/din_step.din");
    let checked = front::check(
        "din_step.din",
        &std::fs::read_to_string(path).unwrap(),
        &NoFiles,
        &front::CheckOptions::default(),
    );
    compile(&checked.model.unwrap(), &CompileOptions { levels: vec![], checked: true, ..CompileOptions::default() })
        .unwrap()
        .program
}

/// Forward to backward an entry hands on what is dear to compute again and nothing else: the two
/// hidden layers and the weight. Backward to update goes the gradient of its rows. No `4E`-wide
/// value, no key, no derivative of an activation.
#[test]
fn an_entry_keeps_its_layers_and_its_gradient() {
    let (e, unit) = (48, [80, 40]);
    let program = step();
    let mut widths: Vec<u32> = program
        .train
        .buffers
        .iter()
        .filter(|b| b.axis == VISITED && matches!(b.place, Storage::Arena(_)))
        .map(|b| b.width)
        .collect();
    widths.sort_unstable();
    let mut expected = vec![unit[0], unit[1], 1, e];
    expected.sort_unstable();
    assert_eq!(widths, expected);
}

/// No buffer, not even a tile's, is as wide as `concat(k, q, k - q, k * q)`; inference keeps
/// nothing of an entry.
#[test]
fn nothing_is_four_rows_wide() {
    // The widest value of an entry is its first hidden layer: not even `concat(k, k * q)` exists.
    let (e, hidden) = (48, 80);
    let program = step();
    for schedule in [&program.train, &program.infer] {
        let widest = schedule.buffers.iter().filter(|b| b.axis == VISITED).map(|b| b.width).max();
        assert_eq!(widest, Some(hidden.max(e)));
    }
    let kept = |b: &&din_program::schedule::Buffer| b.axis == VISITED && matches!(b.place, Storage::Arena(_));
    assert_eq!(program.infer.buffers.iter().filter(kept).count(), 0);
}

/// Multiply-adds of an entry in all products: forward and both gradients, the first layer `E` wide
/// since `q` is folded into its weight; Eq. (2)'s weight is 1 wide.
#[test]
fn an_entry_multiplies_what_the_folded_form_does() {
    let (e, h0, h1) = (48u64, 80, 40);
    let program = step();
    let mut multiplied = 0;
    for call in program.train.phases.iter().flat_map(|p| &p.calls).filter(|c| c.axis == VISITED) {
        let (Operation::MatMul { k, n, .. }
        | Operation::Outer { k, n, .. }
        | Operation::AbsorbedMatMul { e: k, n, .. }
        | Operation::AbsorbedOuter { e: k, n, .. }) = call.op
        else {
            continue;
        };
        multiplied += u64::from(k) * u64::from(n);
    }
    // The last layer's gradient towards its input is elementwise: the score's times a row of
    // weights.
    assert_eq!(multiplied, 3 * (e * h0 + h0 * h1) + 2 * h1);
}
