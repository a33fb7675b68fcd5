//! Each rule by a kernel that breaks it, and by one that does not.

use super::super::call::{DeviceCall, LeftOperand, Matrix, ProductOutput, RightOperand};
use super::super::kernel_ir::*;
use super::super::thread_tile::ThreadTile;
use super::verify;
use din_program::schedule::{AxisId, BATCH};

const ENTRIES: AxisId = AxisId(2);

/// A kernel over a sequence with arrays `x` (entries, 8 wide), `index` (samples of entries), `s`
/// (samples, 4 wide), `w` (once, 8) and `t` (rows of table 0, 8).
fn kernel() -> KernelIr {
    let array = |pointer: u32, name: &str, numbers, rows, width| Array {
        name: name.into(),
        numbers,
        rows,
        width,
        stride: width,
        binding: ArrayBinding::Address(pointer),
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
            array(0, "x", ElementKind::F32, Rows::Local(ENTRIES), 8),
            array(1, "index", ElementKind::Index(IndexBound::Local(BATCH)), Rows::Local(ENTRIES), 1),
            array(2, "s", ElementKind::F32, Rows::Local(BATCH), 4),
            array(3, "w", ElementKind::F32, Rows::One, 8),
            array(4, "t", ElementKind::F32, Rows::Table(Some(0)), 8),
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
const M: ArrayId = ArrayId(5);
const Y: ArrayId = ArrayId(6);

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
    let call = Stmt::Call(product(8, 4, 8));
    k.body.push(Stmt::Single { body: vec![call] });
    broken(&k, "not all threads of the block call");
}

/// All threads walk the steps of a tile, each behind the one before; the entries of a step are not
/// those of one sample.
#[test]
fn steps_of_tiles_of_steps() {
    let stepwise = || {
        let walk = Walk::Steps {
            unit: BATCH,
            axis: ENTRIES,
            samples: 4,
            elements: 0,
            longest: 1,
            offsets: 1,
            steps: 2,
            tiles: 3,
        };
        KernelIr { walk, ..kernel() }
    };
    let carry = |from: u32, to: u32| {
        let columns = |column| {
            let view = ArrayView { array: X, rows: Rows::Local(ENTRIES), column, columns: 4 };
            Matrix { view, stride: 8 }
        };
        Stmt::Call(DeviceCall::Carry { axis: ENTRIES, width: 4, x: columns(from), out: columns(to) })
    };
    let steps = |body| Stmt::Steps { backward: false, body };
    let mut k = stepwise();
    k.body.push(steps(vec![carry(0, 4), Stmt::Barrier, carry(4, 0)]));
    assert_eq!(verify(&k), Ok(()));
    k.walk = kernel().walk;
    broken(&k, "in tiles without steps");
    let mut k = stepwise();
    k.body.push(Stmt::Single { body: vec![steps(vec![])] });
    broken(&k, "steps that not all threads");
    let mut k = stepwise();
    k.body.push(steps(vec![carry(0, 4), carry(4, 0)]));
    broken(&k, "no barrier between");
    let mut k = stepwise();
    k.body.push(carry(0, 4));
    broken(&k, "carried outside of steps");
    let mut k = stepwise();
    let sample = k.variable("s", VarType::Index(IndexBound::Local(BATCH)));
    let row = k.variable("r", VarType::Index(IndexBound::Local(ENTRIES)));
    let entries = Stmt::For { over: row, range: LoopRange::Entries { axis: ENTRIES, sample }, body: vec![] };
    let range = LoopRange::Rows { axis: BATCH, group: None, groups: 1 };
    k.body.push(Stmt::For { over: sample, range, body: vec![entries] });
    broken(&k, "entries of axis 2");
}

/// The rows of `y` become the product of those of `x`, of which `columns` are seen, with a K x N
/// matrix.
fn product(k: u32, n: u32, columns: u32) -> DeviceCall {
    let rows = |array, width, columns| {
        let view = ArrayView { array, rows: Rows::Local(ENTRIES), column: 0, columns };
        Matrix { view, stride: width }
    };
    let w = ArrayView { array: M, rows: Rows::One, column: 0, columns: k * n };
    DeviceCall::Product {
        axis: ENTRIES,
        k,
        n,
        left: LeftOperand::Rows(rows(X, 8, columns)),
        right: RightOperand::Rows(Matrix { view: w, stride: n }),
        output: ProductOutput::Store(rows(Y, 4, n)),
        tile: ThreadTile { rows: 1, columns: 1 },
    }
}

/// With `m`, an 8 x 4 matrix, and `y`, entries, 4 wide.
fn kernel_of_products() -> KernelIr {
    let mut k = kernel();
    let array = |pointer, name: &str, rows, width| Array {
        name: name.into(),
        numbers: ElementKind::F32,
        rows,
        width,
        stride: width,
        binding: ArrayBinding::Address(pointer),
    };
    k.arrays.extend([array(5, "m", Rows::One, 32), array(6, "y", Rows::Local(ENTRIES), 4)]);
    k
}

#[test]
fn operands_of_calls_lie_in_their_arrays() {
    let check = |call: DeviceCall, by: Option<&str>| {
        let mut k = kernel_of_products();
        k.body.push(Stmt::Call(call));
        match by {
            None => assert_eq!(verify(&k), Ok(())),
            Some(by) => broken(&k, by),
        }
    };
    check(product(8, 4, 8), None);
    check(product(8, 4, 7), Some("8 columns of the 7 seen of `x`"));
    check(product(9, 4, 9), Some("columns 0..+9 of 8 in `x`"));
    check(product(8, 5, 8), Some("columns 0..+40 of 32 in `m`"));
    check(product(8, 0, 8), Some("sizes [8, 0, 1, 1]"));
    let changed = |change: &dyn Fn(&mut Matrix, &mut Matrix, &mut Matrix)| {
        let DeviceCall::Product {
            axis,
            k,
            n,
            left: LeftOperand::Rows(mut x),
            right: RightOperand::Rows(mut w),
            output: ProductOutput::Store(mut out),
            tile,
        } = product(8, 4, 8)
        else {
            panic!("a product");
        };
        change(&mut x, &mut w, &mut out);
        let (left, right) = (LeftOperand::Rows(x), RightOperand::Rows(w));
        DeviceCall::Product { axis, k, n, left, right, output: ProductOutput::Store(out), tile }
    };
    // As many values of a matrix as its rows of 3 values, but rows of 4 are multiplied by.
    check(changed(&|_, w, _| w.stride = 5), Some("39 columns of the 32 seen of `m`"));
    check(changed(&|x, _, _| x.stride = 4), Some("rows of `x` are 8 apart"));
    check(changed(&|x, _, _| x.view.array = S), Some("`s` has rows"));
    check(changed(&|x, _, _| (x.view.array, x.view.rows) = (S, Rows::Local(BATCH))), Some("`s` has rows"));
    check(changed(&|_, _, out| (out.view.array, out.stride) = (INDEX, 1)), Some("in `index`"));
    check(changed(&|_, _, out| (out.view.array, out.view.rows) = (T, Rows::Table(Some(0)))), Some("`t` has rows"));
    check(changed(&|_, _, out| out.view.array = ArrayId(99)), Some("array 99 does not exist"));
    let fill_rows = |axis, array, rows| DeviceCall::FillRows {
        axis,
        out: Matrix { view: ArrayView { array, rows, column: 0, columns: 4 }, stride: 4 },
        value: 0.0,
    };
    check(fill_rows(BATCH, S, Rows::Local(BATCH)), None);
    check(fill_rows(AxisId(7), S, Rows::Local(AxisId(7))), Some("axis 7 in other tiles"));
    let flat = ArrayView { array: W, rows: Rows::One, column: 0, columns: 8 };
    check(DeviceCall::FillGrid { out: flat, value: 0.0 }, Some("does not treat the tiles"));
    let how = Accumulation::Add;
    check(DeviceCall::JoinGroups { width: 33, groups: 2, how, sums: flat, out: flat }, Some("66 threads"));
}

/// A partial sum that nothing fills is stored by the first tile, and any other is filled and added
/// to.
#[test]
fn partial_sums_begin_somewhere() {
    for (stored, first, by) in [
        (true, true, None),
        (false, false, None),
        (true, false, Some("`p` is added to but never filled")),
        (false, true, Some("`p` is stored in the first tile but filled")),
    ] {
        let mut k = kernel_of_products();
        (k.copies, k.begin_barrier, k.end_barrier) = (Some((9, 32)), true, true);
        k.partials.push(PartialSum { offset: 0, width: 32, start: 0.0, stored });
        k.arrays.push(Array {
            name: "p".into(),
            numbers: ElementKind::F32,
            rows: Rows::One,
            width: 32,
            stride: 32,
            binding: ArrayBinding::Partial { offset: 0 },
        });
        let rows = |array, width| {
            let view = ArrayView { array, rows: Rows::Local(ENTRIES), column: 0, columns: width };
            Matrix { view, stride: width }
        };
        let view = ArrayView { array: ArrayId(7), rows: Rows::One, column: 0, columns: 32 };
        let out = Matrix { view, stride: 4 };
        k.body.push(Stmt::Call(DeviceCall::Outer {
            axis: ENTRIES,
            m: 8,
            n: 4,
            left: rows(X, 8),
            right: rows(Y, 4),
            output: if first { ProductOutput::StoreFirstTile(out) } else { ProductOutput::Accumulate(out) },
            tile: ThreadTile { rows: 1, columns: 1 },
        }));
        match by {
            None => assert_eq!(verify(&k), Ok(())),
            Some(by) => broken(&k, by),
        }
        // What was filled is there for all threads behind a barrier.
        if (stored, first) == (false, false) {
            k.begin_barrier = false;
            broken(&k, "no barrier between the start of partial sums and their use");
        }
    }
}

/// What one statement writes, the next one reads behind a barrier alone; so does the next tile,
/// where its buffers are the same.
#[test]
fn accesses_that_meet_are_a_barrier_apart() {
    let fill = || {
        let view = ArrayView { array: X, rows: Rows::Local(ENTRIES), column: 0, columns: 8 };
        Stmt::Call(DeviceCall::FillRows { axis: ENTRIES, out: Matrix { view, stride: 8 }, value: 1.0 })
    };
    let body = |statements: Vec<Stmt>| KernelIr { body: statements, ..kernel_of_products() };
    let read = || Stmt::Call(product(8, 4, 8));
    assert_eq!(verify(&body(vec![fill(), Stmt::Barrier, read()])), Ok(()));
    broken(&body(vec![fill(), read()]), "no barrier between `x` and `x`");
    broken(&body(vec![read(), fill()]), "no barrier between `x` and `x`");
    broken(&body(vec![read(), read()]), "no barrier between `y` and `y`");
    // A product that adds to the one before: each thread to what it has stored.
    let adding = |n: u32| {
        let DeviceCall::Product { axis, k, left, right, output, tile, .. } = product(8, n, 8) else {
            panic!("a product");
        };
        let output = ProductOutput::Accumulate(output.out());
        Stmt::Call(DeviceCall::Product { axis, k, n, left, right, output, tile })
    };
    assert_eq!(verify(&body(vec![read(), adding(4)])), Ok(()));
    broken(&body(vec![read(), adding(3)]), "no barrier between `y` and `y`");
    // A region's loop counts as well, by its columns.
    for (column, by) in [(7, None), (3, Some("no barrier between `w` and `w`"))] {
        let mut k = kernel_of_products();
        let v = k.variable("v", VarType::F32);
        let store = Stmt::Store { at: Element { array: W, row: Row::First, column: Column::Fixed(column) }, value: v };
        let number = Stmt::Let { to: v, value: ValueExpr::Number(0.0) };
        let flat = ArrayView { array: W, rows: Rows::One, column: 0, columns: 4 };
        let join = DeviceCall::JoinGroups { width: 4, groups: 1, how: Accumulation::Add, sums: flat, out: flat };
        k.body.extend([Stmt::Single { body: vec![number, store] }, Stmt::Call(join)]);
        match by {
            None => assert_eq!(verify(&k), Ok(())),
            Some(by) => broken(&k, by),
        }
    }
    // The next tile has other rows in device memory, but the same shared memory.
    let tile = |end_barrier: bool| {
        let mut k = body(vec![fill(), Stmt::Barrier, read()]);
        (k.shared, k.scratch, k.end_barrier) = (64, (0, 8), end_barrier);
        k.arrays[X.0 as usize].binding = ArrayBinding::Slot { shared: Some(0), scratch: (0, 0) };
        k
    };
    assert_eq!(verify(&tile(true)), Ok(()));
    broken(&tile(false), "no barrier between `x` and `x` of the next tile");
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
