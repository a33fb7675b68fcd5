//! Nothing is allocated in a step once capacities have grown: counted by the allocator itself, on
//! all threads.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "engine/program/mod.rs"]
mod program;

use program::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as the caller's.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The only test of this binary: another one's allocations would be counted too.
#[test]
fn steps_allocate_nothing() {
    let program = program();
    let (mut state, mut tables) = (state(&program), tables(&program));
    let mut engine = engine(program, 3, din_runtime::cpu::detect()).unwrap();
    let mut random = Random(4);
    let batches: Vec<Columns> = (0..20).map(|k| Columns::random(&mut random, 200 + 10 * (k % 5))).collect();
    let largest = Columns::random(&mut random, 300);
    engine.train_step(&mut state, &mut tables, &largest.inputs()).unwrap();
    engine.infer(&state, &tables, &largest.inputs()).unwrap();
    let before = COUNT.load(Ordering::Relaxed);
    for batch in &batches {
        engine.train_step(&mut state, &mut tables, &batch.inputs()).unwrap();
        engine.infer(&state, &tables, &batch.inputs()).unwrap();
    }
    assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0);
}
