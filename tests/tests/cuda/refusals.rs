//! A schedule that the planner cannot have made is refused or compiled, but never a panic; and what
//! is printed is always verified.

use crate::models::{files, model, name};
use din_compiler::codegen::CodegenError;
use din_compiler::codegen::cuda::{CodegenOptions, program};
use din_compiler::model::CheckedModel;
use din_compiler::{CompileOptions, Compiled, compile};
use din_program::Program;
use din_tests::random_graph::Random;
use din_tests::requests;
use serde_json::Value;

fn compiled(model: &CheckedModel) -> Compiled {
    compile(model, &CompileOptions { levels: vec![], checked: true, ..CompileOptions::default() }).unwrap()
}

fn din() -> Compiled {
    let file = files().into_iter().find(|f| name(f) == "din_dice").unwrap();
    compiled(&model(&file))
}

/// All whole numbers of a value, in order.
fn numbers<'v>(value: &'v mut Value, found: &mut Vec<&'v mut Value>) {
    match value {
        Value::Number(n) if n.is_u64() => found.push(value),
        Value::Array(all) => all.iter_mut().for_each(|v| numbers(v, found)),
        Value::Object(all) => all.values_mut().for_each(|v| numbers(v, found)),
        _ => {}
    }
}

#[test]
fn damaged_schedules_are_no_panic() {
    damage(&din());
    damage(&compiled(&requests::model(true, "dice")));
}

fn damage(compiled: &Compiled) {
    let mut r = Random::new(11);
    let (mut refused, mut made) = (0, 0);
    let whole = serde_json::to_value(&compiled.program.train).unwrap();
    for _ in 0..400 {
        let mut damaged = whole.clone();
        let mut found = Vec::new();
        numbers(&mut damaged, &mut found);
        let at = r.below(found.len());
        let kinds = [0, 1, 2, 5, 63, 4096, 1 << 20, u64::from(u32::MAX)];
        *found[at] = Value::from(kinds[r.below(kinds.len())]);
        let train = serde_json::from_value(damaged).unwrap();
        let damaged = Program { train, ..compiled.program.clone() };
        match program(&damaged, &compiled.kernels, &CodegenOptions::default()) {
            Ok(_) => made += 1,
            Err(CodegenError::Kernel { why, .. }) => {
                assert!(!why.is_empty());
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(refused > 100, "{refused} refused, {made} made");
}

#[test]
fn equal_programs_give_equal_text() {
    let source = || {
        let compiled = din();
        program(&compiled.program, &compiled.kernels, &CodegenOptions::default()).unwrap().source
    };
    assert_eq!(source(), source());
}

#[test]
fn blocks_that_no_device_has_are_refused() {
    let compiled = din();
    for (threads, chunks) in [(0, 256), (48, 256), (2048, 256), (256, 0), (256, 1 << 20)] {
        let options = CodegenOptions { threads, chunks, ..CodegenOptions::default() };
        assert!(program(&compiled.program, &compiled.kernels, &options).is_err(), "{threads}, {chunks}");
    }
}
