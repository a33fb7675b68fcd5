//! The kernels of the model of `program`, in Rust.

use super::{D, H, RATE};
use din_program::{Access, ArrayUse, Signature, TablePrecision};
use din_runtime::jit::KernelFn;

fn at(args: *const *mut u8, k: usize) -> *mut f32 {
    // SAFETY: the schedules below give each kernel its arguments.
    unsafe { (*args.add(k)).cast() }
}

fn index(args: *const *mut u8, k: usize, i: u64) -> usize {
    // SAFETY: as above.
    unsafe { *(*args.add(k)).cast::<u32>().add(i as usize) as usize }
}

/// `x_i = table[rows_i]`
unsafe extern "C" fn gather(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        // SAFETY: `x` has width D, the row is one of the table's.
        unsafe {
            std::ptr::copy_nonoverlapping(
                at(args, 0).add(index(args, 1, i) * D),
                at(args, 2).wrapping_add(i as usize * D),
                D,
            )
        };
    }
}

/// `pool[parent_i] += h_i`
unsafe extern "C" fn pool(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        for c in 0..H {
            // SAFETY: both have width H.
            unsafe {
                *at(args, 2).wrapping_add(index(args, 1, i) * H + c) += *at(args, 0).wrapping_add(i as usize * H + c)
            };
        }
    }
}

/// Args: pool, table, rows, dense, label, count, logit, loss partial, largest partial, gradient of
/// logit (wide D), gradient of pool.
unsafe extern "C" fn head(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin as usize..end as usize {
        // SAFETY: the widths are those of the schedule.
        unsafe {
            let p = at(args, 0).add(i * H);
            let mut logit = *at(args, 3).add(i);
            for c in 0..H {
                logit += *p.add(c);
                let largest = at(args, 8).add(c);
                *largest = (*largest).max(*p.add(c));
            }
            for c in 0..D {
                logit += *at(args, 1).add(index(args, 2, i as u64) * D + c);
            }
            *at(args, 6).add(i) = logit;
            let count = *at(args, 5);
            let d = logit - *at(args, 4).add(i);
            *at(args, 7) += d * d / count;
            for c in 0..D {
                *at(args, 9).add(i * D + c) = 2.0 * d / count;
            }
            for c in 0..H {
                *at(args, 10).add(i * H + c) = 2.0 * d / count;
            }
        }
    }
}

/// `gh_i = gp[parent_i]`
unsafe extern "C" fn spread(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        for c in 0..H {
            // SAFETY: both have width H.
            unsafe {
                *at(args, 2).wrapping_add(i as usize * H + c) = *at(args, 0).add(index(args, 1, i) * H + c);
            }
        }
    }
}

/// Args: weight, gradient, row index, seen, updates.
unsafe extern "C" fn update_rows(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin..end {
        let row = index(args, 2, i);
        // SAFETY: weights are addressed by row number, gradients by position.
        unsafe {
            for c in 0..D {
                *at(args, 0).add(row * D + c) -= RATE * *at(args, 1).wrapping_add(i as usize * D + c);
            }
            *at(args, 3).add(row) += *at(args, 4).add(row);
        }
    }
}

/// Args: gradient, sum of squares.
unsafe extern "C" fn squares(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin as usize..end as usize {
        // SAFETY: both have width 1.
        unsafe { *at(args, 1) += *at(args, 0).add(i) * *at(args, 0).add(i) };
    }
}

/// Args: weight, gradient, sum of squares.
unsafe extern "C" fn update_tensor(args: *const *mut u8, begin: u64, end: u64) {
    for i in begin as usize..end as usize {
        // SAFETY: all have width 1.
        unsafe { *at(args, 0).add(i) -= RATE * *at(args, 1).add(i) / (1.0 + *at(args, 2)) };
    }
}

/// What each of [`KERNELS`] does with its arguments.
pub fn signatures() -> [Signature; 7] {
    use Access::{Indexed, Once, Row};
    let array = |argument, access, width: usize, writes| ArrayUse {
        argument,
        access,
        stride: width as u32,
        columns: width as u32,
        writes,
        precision: TablePrecision::F32,
    };
    let signature =
        |arguments, arrays: &[ArrayUse]| Signature { arguments, arrays: arrays.to_vec(), functions: vec![] };
    [
        signature(3, &[array(0, Indexed { index: 1 }, D, false), array(2, Row, D, true)]),
        signature(3, &[array(0, Row, H, false), array(2, Indexed { index: 1 }, H, true)]),
        signature(
            11,
            &[
                array(0, Row, H, false),
                array(1, Indexed { index: 2 }, D, false),
                array(3, Row, 1, false),
                array(4, Row, 1, false),
                array(5, Once, 1, false),
                array(6, Row, 1, true),
                array(7, Once, 1, true),
                array(8, Once, H, true),
                array(9, Row, D, true),
                array(10, Row, H, true),
            ],
        ),
        signature(3, &[array(0, Indexed { index: 1 }, H, false), array(2, Row, H, true)]),
        signature(
            5,
            &[
                array(0, Indexed { index: 2 }, D, true),
                array(1, Row, D, false),
                array(3, Indexed { index: 2 }, 1, true),
                array(4, Indexed { index: 2 }, 1, false),
            ],
        ),
        signature(2, &[array(0, Row, 1, false), array(1, Once, 1, true)]),
        signature(3, &[array(0, Row, 1, true), array(1, Row, 1, false), array(2, Once, 1, false)]),
    ]
}

pub const KERNELS: [KernelFn; 7] = [gather, pool, head, spread, update_rows, squares, update_tensor];
