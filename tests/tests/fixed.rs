//! Fixed axes in a program: what contradicts is refused before a batch is read.

use din_compiler::{CompileOptions, compile};
use din_program::axes::AxisKind;
use din_program::schedule::{BATCH, Call, Operation, Schedule};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::threads::Threads;
use din_tests::specs::{FIXED, checked};
use std::sync::Arc;

type Spoil = fn(&mut Schedule);

/// The first call that copies vectors to entries.
fn unflatten(schedule: &mut Schedule) -> &mut Call {
    let mut calls = schedule.phases.iter_mut().flat_map(|phase| &mut phase.calls);
    calls.find(|call| matches!(call.op, Operation::Unflatten { .. })).unwrap()
}

/// The first call that copies entries to vectors: their number, and columns.
fn flatten(schedule: &mut Schedule) -> (&mut u32, &mut u32) {
    let mut calls = schedule.phases.iter_mut().flat_map(|phase| &mut phase.calls);
    let found = calls.find_map(|call| match &mut call.op {
        Operation::Flatten { size, width, .. } => Some((size, width)),
        _ => None,
    });
    found.unwrap()
}

/// A program is untrusted: the calls of its fixed axes are checked before they run.
#[test]
fn fixed_axes_that_contradict_are_refused() {
    let wrong: [(&str, Spoil); 7] = [
        ("an axis of no entries", |s| {
            let axis = unflatten(s).axis;
            s.axes.get_mut(axis).unwrap().kind = AxisKind::Fixed { size: 0 };
        }),
        ("an axis of more entries than are copied", |s| {
            let axis = unflatten(s).axis;
            let size = s.axes.fixed(axis).unwrap();
            s.axes.get_mut(axis).unwrap().kind = AxisKind::Fixed { size: size + 1 };
        }),
        ("a copy over the samples", |s| unflatten(s).axis = BATCH),
        ("more parts than entries", |s| *flatten(s).0 += 1),
        ("parts that are wider than the entries", |s| *flatten(s).1 += 1000),
        ("as many parts as overflow", |s| *flatten(s).1 = u32::MAX),
        ("entries that are read as samples", |s| {
            if let Operation::Unflatten { x, out, .. } = &mut unflatten(s).op {
                std::mem::swap(x, out);
            }
        }),
    ];
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
    let sound = compile(&checked("fixed.din", FIXED), &options).unwrap().program;
    let loads = |program| CpuExecutor::new(Arc::new(program), Threads::new(1).unwrap(), cpu::detect());
    assert!(loads(sound.clone()).is_ok());
    for (what, spoil) in wrong {
        let mut program = sound.clone();
        spoil(&mut program.train);
        assert!(loads(program).is_err(), "{what} is taken");
    }
}
