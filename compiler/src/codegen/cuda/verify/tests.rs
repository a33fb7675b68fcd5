//! Each rule by a kernel that breaks it, and by one that does not.

use super::super::kernel_ir::*;
use super::verify;
use din_program::schedule::{AxisId, BATCH};

const ENTRIES: AxisId = AxisId(2);

/// A kernel over a sequence with arrays `x` (entries, 8 wide), `index` (samples of entries), `s` (samples, 4 wide), `w` (once, 8) and `t` (rows of table 0, 8).
fn kernel() -> KernelIr {
    let array = |name: &str, numbers, rows, width| Array {
        name: name.into(),
        numbers,
        rows,
        width,
        stride: width,
        binding: ArrayBinding::Address(0),
    };
    KernelIr {
        name: "k".into(),
        comment: vec![],
        walk: Walk::Sequence {
            unit: BATCH,
            axis: ENTRIES,
            samples: 4,
            entries: 8,
            tiles: 0,
            longest: 1,
            bounds: 0,
            offsets: 1,
        },
        threads: 64,
        chunks: 4,
        strides: (1, 1),
        variables: vec![],
        arrays: vec![
            array("x", ElementKind::F32, Rows::Local(ENTRIES), 8),
            array("index", ElementKind::Index(IndexBound::Local(BATCH)), Rows::Local(ENTRIES), 1),
            array("s", ElementKind::F32, Rows::Local(BATCH), 4),
            array("w", ElementKind::F32, Rows::One, 8),
            array("t", ElementKind::F32, Rows::Table(Some(0)), 8),
        ],
        copies: None,
        partials: vec![],
        scratch: (0, 0),
        shared: 0,
        begin_barrier: false,
        end_barrier: false,
        body: vec![],
    }
}

const X: ArrayId = ArrayId(0);
const INDEX: ArrayId = ArrayId(1);
const S: ArrayId = ArrayId(2);
const W: ArrayId = ArrayId(3);
const T: ArrayId = ArrayId(4);

fn load(array: ArrayId, row: Row, column: Column) -> ValueExpr {
    ValueExpr::Load(Element { array, row, column })
}

/// Statements for each entry and column `0..width`, a warp an entry.
fn entries(k: &mut KernelIr, width: u32, body: impl FnOnce(&mut KernelIr, Var, Var) -> Vec<Stmt>) -> Stmt {
    let row = k.variable("r", VarType::Index(IndexBound::Local(ENTRIES)));
    let column = k.variable("c", VarType::Index(IndexBound::Below(width)));
    let inner = body(k, row, column);
    let lanes = Stmt::For { over: column, range: LoopRange::Lanes { width }, body: inner };
    Stmt::For { over: row, range: LoopRange::Warps { axis: ENTRIES }, body: vec![lanes] }
}

fn broken(k: &KernelIr, by: &str) {
    match verify(k) {
        Ok(()) => panic!("nothing is wrong, expected `{by}`"),
        Err(why) => assert!(why.contains(by), "`{why}` is not `{by}`"),
    }
}

#[test]
fn accesses_within_their_arrays() {
    let mut k = kernel();
    let all = entries(&mut k, 4, |k, row, column| {
        let sample = k.variable("i", VarType::Index(IndexBound::Local(BATCH)));
        let v = k.variable("v", VarType::F32);
        vec![
            Stmt::Let { to: sample, value: load(INDEX, Row::At(row), Column::Fixed(0)) },
            Stmt::Let { to: v, value: load(S, Row::At(sample), Column::At(column, 0)) },
            Stmt::Store { at: Element { array: X, row: Row::At(row), column: Column::At(column, 4) }, value: v },
        ]
    });
    k.body.extend([all, Stmt::Barrier]);
    assert_eq!(verify(&k), Ok(()));
}

#[test]
fn a_column_beyond_the_last() {
    for (array, width, more, fixed) in [(X, 4, 5, 8), (W, 8, 1, 9)] {
        for column_at in [true, false] {
            let mut k = kernel();
            let all = entries(&mut k, width, |k, row, column| {
                let v = k.variable("v", VarType::F32);
                let row = if array == W { Row::First } else { Row::At(row) };
                let at = if column_at { Column::At(column, more) } else { Column::Fixed(fixed) };
                vec![Stmt::Let { to: v, value: load(array, row, at) }]
            });
            k.body.push(all);
            broken(&k, "a column of");
        }
    }
}

#[test]
fn a_row_of_another_axis() {
    for array in [S, W, T] {
        let mut k = kernel();
        let all = entries(&mut k, 4, |k, row, column| {
            let v = k.variable("v", VarType::F32);
            vec![Stmt::Let { to: v, value: load(array, Row::At(row), Column::At(column, 0)) }]
        });
        k.body.push(all);
        broken(&k, "a row of");
    }
}

#[test]
fn a_barrier_that_some_threads_miss() {
    let inside: [fn(&mut KernelIr) -> Stmt; 4] = [
        |_| Stmt::Single { body: vec![Stmt::Barrier] },
        |_| Stmt::FirstLane { body: vec![Stmt::Barrier] },
        |k| entries(k, 4, |_, _, _| vec![Stmt::Barrier]),
        |k| {
            let row = k.variable("r", VarType::Index(IndexBound::Local(ENTRIES)));
            Stmt::For { over: row, range: LoopRange::Warps { axis: ENTRIES }, body: vec![Stmt::Barrier] }
        },
    ];
    for make in inside {
        let mut k = kernel();
        let statement = make(&mut k);
        k.body.push(statement);
        broken(&k, "a barrier that not all threads");
    }
    // All threads walk the same entries.
    let mut k = kernel();
    let row = k.variable("r", VarType::Index(IndexBound::Local(ENTRIES)));
    let range = LoopRange::Rows { axis: ENTRIES, group: None, groups: 1 };
    k.body.push(Stmt::For { over: row, range, body: vec![Stmt::Barrier] });
    assert_eq!(verify(&k), Ok(()));
}

#[test]
fn a_call_that_some_threads_miss() {
    let mut k = kernel();
    let call = Stmt::Call { text: "din_fill<8>(w, 0.0f)".into(), arrays: vec![] };
    k.body.push(Stmt::Single { body: vec![call] });
    broken(&k, "not all threads of the block call");
}

#[test]
fn a_call_that_sees_too_much() {
    let mut k = kernel();
    let seen = ArrayView { array: X, rows: Rows::Local(ENTRIES), column: 4, columns: 5 };
    k.body.push(Stmt::Call { text: "f(x)".into(), arrays: vec![seen] });
    broken(&k, "a call sees columns");
}

#[test]
fn a_sum_over_part_of_a_warp() {
    let mut k = kernel();
    let all = entries(&mut k, 4, |k, _, _| {
        let (v, sum) = (k.variable("v", VarType::F32), k.variable("sum", VarType::F32));
        vec![Stmt::Let { to: v, value: ValueExpr::Number(1.0) }, Stmt::Let { to: sum, value: ValueExpr::WarpSum(v) }]
    });
    k.body.push(all);
    broken(&k, "a sum over a warp");
}

#[test]
fn values_before_they_are_there() {
    let mut k = kernel();
    let (v, w) = (k.variable("v", VarType::F32), k.variable("w", VarType::F32));
    k.body.push(Stmt::Single { body: vec![Stmt::Let { to: v, value: ValueExpr::Number(0.0) }] });
    k.body
        .push(Stmt::Single { body: vec![Stmt::Let { to: w, value: ValueExpr::Unary(crate::graph::UnaryOp::Exp, v) }] });
    broken(&k, "`v` is read before it has a value");
}

#[test]
fn indices_are_not_numbers() {
    let mut k = kernel();
    let v = k.variable("v", VarType::Index(IndexBound::Below(3)));
    k.body.push(Stmt::Let { to: v, value: ValueExpr::Number(1.0) });
    broken(&k, "an index is a constant");
    let mut k = kernel();
    let all = entries(&mut k, 4, |k, row, _| {
        let v = k.variable("v", VarType::F32);
        vec![Stmt::Let { to: v, value: load(INDEX, Row::At(row), Column::Fixed(0)) }]
    });
    k.body.push(all);
    broken(&k, "is loaded as");
}

#[test]
fn arrays_that_do_not_fit() {
    let slot = |shared, scratch| Array {
        name: "tile".into(),
        numbers: ElementKind::F32,
        rows: Rows::Local(ENTRIES),
        width: 7,
        stride: 8,
        binding: ArrayBinding::Slot { shared, scratch },
    };
    let mut k = kernel();
    (k.shared, k.scratch) = (64, (0, 8));
    k.arrays.push(slot(Some(0), (0, 0)));
    assert_eq!(verify(&k), Ok(()));
    for wrong in [slot(Some(4), (0, 0)), slot(None, (0, 1))] {
        let mut k = k.clone();
        k.arrays.push(wrong);
        broken(&k, "does not fit");
    }
}

/// Elements of other tiles are read by an index that is one of theirs, and never written.
#[test]
fn elements_of_other_tiles() {
    const REQUESTS: AxisId = AxisId(3);
    const COMMON: AxisId = AxisId(4);
    let mut k = kernel();
    let array = |name: &str, numbers, rows| Array {
        name: name.into(),
        numbers,
        rows,
        width: 1,
        stride: 1,
        binding: ArrayBinding::Address(0),
    };
    k.arrays.push(array("request", ElementKind::Index(IndexBound::Whole(REQUESTS)), Rows::Local(BATCH)));
    k.arrays.push(array("begin", ElementKind::Index(IndexBound::Whole(COMMON)), Rows::Whole(REQUESTS)));
    k.arrays.push(array("y", ElementKind::F32, Rows::Whole(COMMON)));
    let (request, begin, y) = (ArrayId(5), ArrayId(6), ArrayId(7));
    let all = |k: &mut KernelIr, bound: IndexBound, by: Option<AxisId>, write: bool| {
        let all = entries(k, 4, |k, row, _| {
            let sample = k.variable("s", VarType::Index(IndexBound::Local(BATCH)));
            let of = k.variable("q", VarType::Index(IndexBound::Whole(REQUESTS)));
            let first = k.variable("f", VarType::Index(IndexBound::Whole(COMMON)));
            let entry = k.variable("e", VarType::Index(bound));
            let v = k.variable("v", VarType::F32);
            let fixed = Column::Fixed(0);
            let at = Element { array: y, row: Row::At(if by.is_some() { row } else { entry }), column: fixed };
            let mut body = vec![
                Stmt::Let { to: sample, value: load(INDEX, Row::At(row), fixed) },
                Stmt::Let { to: of, value: load(request, Row::At(sample), fixed) },
                Stmt::Let { to: first, value: load(begin, Row::At(of), fixed) },
                Stmt::Let { to: entry, value: ValueExpr::Paired { first, row, sample } },
                Stmt::Let { to: v, value: ValueExpr::Load(at) },
            ];
            body.extend(write.then_some(Stmt::Store { at, value: v }));
            body
        });
        k.body.push(all);
    };
    let mut good = k.clone();
    all(&mut good, IndexBound::Whole(COMMON), None, false);
    assert_eq!(verify(&good), Ok(()));
    let mut written = k.clone();
    all(&mut written, IndexBound::Whole(COMMON), None, true);
    broken(&written, "do not own its rows");
    let mut by_row = k.clone();
    all(&mut by_row, IndexBound::Whole(COMMON), Some(ENTRIES), false);
    broken(&by_row, "a row of `y`");
    let mut local = k.clone();
    all(&mut local, IndexBound::Local(ENTRIES), None, false);
    broken(&local, "a pair of an entry in the tile itself");
    let mut other = k.clone();
    all(&mut other, IndexBound::Whole(REQUESTS), None, false);
    broken(&other, "Index");
    let mut looped = k;
    let row = looped.variable("r", VarType::Index(IndexBound::Local(REQUESTS)));
    let range = LoopRange::Rows { axis: REQUESTS, group: None, groups: 1 };
    looped.body.push(Stmt::For { over: row, range, body: vec![] });
    broken(&looped, "a loop over axis 3");
}
