//! Joins the chunks' partial copies: pairwise by a tree over chunk numbers, so bits do not depend on threads.

use super::phase::Shared;
use super::prepare::PreparedReduction;
use crate::kernels::Gemm;
use crate::threads::ThreadPool;
use din_program::schedule::Combine;

/// Numbers of one job; its copies stay in the first-level cache.
const BLOCK: usize = 512;
/// Below this many numbers nobody is woken.
const SMALL: usize = 32 * 1024;

fn blocks(r: &PreparedReduction) -> usize {
    match r.combine {
        Combine::Sum | Combine::Max => r.width.div_ceil(BLOCK),
        Combine::Moments => 1,
    }
}

/// All reductions of a phase.
pub(super) fn reduce(shared: &Shared<'_>, phase: usize, pool: &mut ThreadPool) {
    let (mut jobs, mut numbers) = (0, 0);
    for instance in shared.instances.iter().filter(|i| i.chunks(phase) > 0) {
        for r in &instance.prepared.phases[phase].reductions {
            jobs += blocks(r);
            numbers += r.width * instance.chunks(phase);
        }
    }
    let job = |job: usize, _: usize| {
        let mut job = job;
        for instance in shared.instances.iter().filter(|i| i.chunks(phase) > 0) {
            for r in &instance.prepared.phases[phase].reductions {
                let count = blocks(r);
                if job < count {
                    let copies = instance.partials.pointer().wrapping_add(r.offset);
                    let stride = instance.prepared.partial_floats;
                    let into = instance.addresses[r.into.index()];
                    // SAFETY: the copies of this phase's chunks lie `partial_floats` apart; `into` is a once buffer of the checked width;
                    // jobs write disjoint blocks.
                    unsafe { join(r, job, copies, stride, instance.chunks(phase), into, shared.gemm) };
                    return;
                }
                job -= count;
            }
        }
    };
    if numbers < SMALL {
        for i in 0..jobs {
            job(i, 0);
        }
    } else {
        pool.run(jobs, &job);
    }
}

/// # Safety
///
/// `copies` are valid for `chunks` copies of the partial, `stride` apart; `into` is valid for the result.
unsafe fn join(
    r: &PreparedReduction,
    block: usize,
    copies: *mut f32,
    stride: usize,
    chunks: usize,
    into: *mut f32,
    gemm: Gemm,
) {
    let (begin, end) = match r.combine {
        Combine::Moments => (0, r.width),
        _ => (block * BLOCK, ((block + 1) * BLOCK).min(r.width)),
    };
    let mut step = 1;
    while step < chunks {
        for chunk in (0..chunks - step).step_by(2 * step) {
            let (a, b) =
                (copies.wrapping_add(chunk * stride + begin), copies.wrapping_add((chunk + step) * stride + begin));
            // SAFETY: both copies are valid and different.
            unsafe {
                match r.combine {
                    Combine::Sum => gemm.add(a, b, end - begin),
                    Combine::Max => gemm.max(a, b, end - begin),
                    Combine::Moments => {
                        let width = (r.width - 1) / 2;
                        join_moments(a, b, *b.add(2 * width), width);
                    }
                }
            }
        }
        step *= 2;
    }
    // SAFETY: the first copy holds the joined numbers; `into` has room for them and lies in the arena, away from the copies.
    unsafe {
        match r.combine {
            Combine::Sum | Combine::Max => {
                std::ptr::copy_nonoverlapping(copies.add(begin), into.add(begin), end - begin);
            }
            Combine::Moments => {
                let width = (r.width - 1) / 2;
                let count = *copies.add(2 * width);
                for i in 0..width {
                    *into.add(i) = *copies.add(i);
                    *into.add(width + i) = if count > 0.0 { *copies.add(width + i) / count } else { 0.0 };
                }
            }
        }
    }
}

/// Joins `[mean, M2]` of `count` more elements to `[mean, M2, count]`. Chan, Golub & LeVeque 1983, Eq. 2.1.
///
/// # Safety
///
/// `total` is valid for `2 * width + 1` numbers, `more` for `2 * width`.
pub(super) unsafe fn join_moments(total: *mut f32, more: *const f32, count: f32, width: usize) {
    // SAFETY: the caller vouches for the sizes.
    unsafe {
        let before = *total.add(2 * width);
        if count == 0.0 {
            return;
        }
        let all = before + count;
        let (share, weight) = (count / all, before * (count / all));
        for i in 0..width {
            let delta = *more.add(i) - *total.add(i);
            *total.add(i) += delta * share;
            *total.add(width + i) += *more.add(width + i) + delta * delta * weight;
        }
        *total.add(2 * width) = all;
    }
}
