//! The interpreter: every loss, weight, optimizer slot, running statistic and logit within 1e-9 of
//! PyTorch's (relative above 1).

use super::fixture::{Case, Outcome};
use din_compiler::interpret::{InterpreterSession, TableData, TensorData};

const BOUND: f64 = 1e-9;

fn session(case: &Case) -> InterpreterSession<'_> {
    let model = &case.model;
    let params = model.parameters.iter().enumerate().map(|(k, p)| {
        let weights = case.start_param(k);
        assert_eq!(weights.len(), p.width(), "{}", p.name);
        TensorData::new(&model.updates[p.update as usize], weights)
    });
    let tables = model.tables.iter().enumerate().map(|(k, t)| {
        TableData::new(&model.updates[t.update as usize], t.width as usize, case.start_table(k), case.counts(k))
    });
    let states = (0..model.states.len()).map(|k| case.start_state(k));
    InterpreterSession::new(model, params.collect(), states.collect(), tables.collect()).unwrap()
}

fn outcome(case: &Case) -> Outcome {
    let mut session = session(case);
    let losses = case.steps().iter().map(|s| session.train(&case.batch(s)).unwrap().loss).collect();
    let mut report = session.evaluate(&case.batch(&case.held_out())).unwrap();
    Outcome {
        losses,
        params: session.params.iter().map(|p| p.weights.clone()).collect(),
        param_slots: session.params.iter().map(|p| p.slots.clone()).collect(),
        tables: session.tables.iter().map(|t| t.weights.clone()).collect(),
        table_slots: session.tables.iter().map(|t| t.slots.clone()).collect(),
        logits: report.predictions.swap_remove(0),
        states: session.states,
    }
}

/// Fails where a number is off by more than [`BOUND`]; returns the largest difference.
fn close(what: &str, found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let mut worst = 0.0f64;
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        let difference = (a - b).abs() / b.abs().max(1.0);
        assert!(difference <= BOUND, "{what}[{i}]: found {a:e}, PyTorch has {b:e}");
        worst = worst.max(difference);
    }
    worst
}

fn fifty_steps(name: &str) {
    let case = Case::read(name);
    let mut worst = 0.0f64;
    case.compare(&outcome(&case), &mut |what, found, expected| worst = worst.max(close(what, found, expected)));
    println!("{name}: largest difference {worst:.1e}");
}

/// By parameter and by table row, before any update.
#[test]
fn first_gradients() {
    for name in ["base_sgd", "din_sgd", "dice_sgd"] {
        let case = Case::read(name);
        let report = session(&case).train(&case.batch(&case.steps()[0])).unwrap();
        for (p, gradient) in case.model.parameters.iter().zip(&report.param_gradients) {
            close(&p.name, gradient, case.start.get(&format!("gradient.param.{}", case.names.tensor(&p.name))));
        }
        for (t, gradients) in case.model.tables.iter().zip(&report.row_gradients) {
            let name = case.names.exact("table", &t.name);
            let expected = case.start.get(&format!("gradient.table.{name}"));
            let mut found = vec![0.0; expected.len()];
            for (&row, g) in gradients {
                let at = (row - usize::from(Case::dynamic(&name))) * t.width as usize;
                found[at..at + g.len()].copy_from_slice(g);
            }
            close(&t.name, &found, expected);
        }
    }
}

#[test]
fn base() {
    fifty_steps("base_sgd");
    fifty_steps("base_adam");
}

#[test]
fn din() {
    fifty_steps("din_sgd");
    fifty_steps("din_adam");
}

#[test]
fn din_with_dice() {
    fifty_steps("dice_sgd");
    fifty_steps("dice_adam");
}

#[test]
fn eq_9() {
    fifty_steps("din_sgd_adaptive");
    fifty_steps("dice_adam_adaptive");
}
