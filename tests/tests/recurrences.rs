//! Recurrences in a program: what contradicts is refused before a batch is read.

use din_compiler::{CompileOptions, Compiled, compile};
use din_program::schedule::{Operation, Phase, Schedule, StepLoop};
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::threads::Threads;
use din_tests::specs::{RECURRENT, checked};
use std::sync::Arc;

fn compiled() -> Compiled {
    let options = CompileOptions { levels: vec![cpu::detect()], checked: true, ..CompileOptions::default() };
    compile(&checked("recurrent.din", RECURRENT), &options).unwrap()
}

/// The first phase with a recurrence.
fn recurrent(schedule: &mut Schedule) -> &mut Phase {
    schedule.phases.iter_mut().find(|phase| !phase.recurrences.is_empty()).unwrap()
}

fn first_loop(schedule: &mut Schedule) -> &mut StepLoop {
    &mut recurrent(schedule).recurrences[0]
}

type Spoil = fn(&mut Schedule);

/// A program is untrusted: the calls of its recurrences are checked before they run.
#[test]
fn recurrences_that_contradict_are_refused() {
    let wrong: [(&str, Spoil); 7] = [
        ("calls that are not there", |s| first_loop(s).calls.end += 1000),
        ("no calls", |s| {
            let calls = &mut first_loop(s).calls;
            calls.end = calls.start;
        }),
        ("calls of two recurrences", |s| {
            let twice = first_loop(s).clone();
            recurrent(s).recurrences.push(twice);
        }),
        ("a state that is carried outside", |s| recurrent(s).recurrences.clear()),
        ("a phase over the samples", |s| {
            let found = first_loop(s).clone();
            let phase = s.phases.iter_mut().find(|p| s.axes.steps_of(p.axis).is_none() && p.calls.len() > 1);
            phase.unwrap().recurrences.push(StepLoop { calls: 0..1, ..found });
        }),
        ("steps in a phase over the entries", |s| {
            let phase = s.phases.iter_mut().find(|p| !p.recurrences.is_empty()).unwrap();
            phase.axis = s.axes.steps_of(phase.axis).unwrap();
            phase.recurrences.clear();
            phase.calls.retain(|call| !matches!(call.op, Operation::Carry { .. }));
        }),
        ("a sum over all samples in a step", |s| {
            let steps = s.phases.iter().find(|p| !p.recurrences.is_empty()).unwrap().axis;
            let sums =
                |p: &&mut Phase| p.axis == steps && p.calls.iter().any(|c| matches!(c.op, Operation::Outer { .. }));
            let phase = s.phases.iter_mut().find(sums).expect("gradients of weights are summed over steps");
            let at = phase.calls.iter().position(|c| matches!(c.op, Operation::Outer { .. })).unwrap() as u32;
            phase.recurrences = vec![StepLoop { calls: at..at + 1, backward: false }];
        }),
    ];
    let sound = compiled().program;
    let loads = |program| CpuExecutor::new(Arc::new(program), Threads::new(1).unwrap(), cpu::detect());
    assert!(loads(sound.clone()).is_ok());
    for (what, spoil) in wrong {
        let mut program = sound.clone();
        spoil(&mut program.train);
        assert!(loads(program).is_err(), "{what} is taken");
    }
}
