//! Statistics on a GPU: the functions of `statistic.cuh` that compute each, and the call for the
//! rows of a tile.

use super::call::DeviceCall;
use super::kernel_builder::{KernelBuilder, LoweringError};
use super::product::{push, rows_of, whole};
use super::region::SUMMED;
use din_program::schedule::{AxisId, Statistic, View};

/// How a statistic is computed on a GPU.
#[derive(Clone, Copy, Debug)]
pub struct DeviceStatistic {
    /// `<WIDTH, STRIDE, GROUPS>(rows, x, sums, total)`: joins the statistic of a tile's rows to
    /// `total`, a partial, with GROUPS threads per component. All threads of the block meet at a
    /// barrier behind the last use of `x` and `sums`; behind it, `total` alone may be written.
    pub tile_function: &'static str,
    /// `<WIDTH, STRIDE, FIRST, PLANE>(chunks, copies, sums, into)`: joins the chunks' partials, in
    /// the order of `join.cuh`, and stores the results. `sums` has PLANE values for each float
    /// that a partial has of a component and for each that it has once.
    pub join_function: &'static str,
    /// Values of `sums` per thread that `tile_function` needs.
    pub shared_per_thread: u32,
}

/// The row of a statistic.
pub fn device_statistic(statistic: Statistic) -> DeviceStatistic {
    match statistic {
        // Sums, and sums of squares.
        Statistic::Moments => {
            DeviceStatistic { tile_function: "din_moments", join_function: "din_join_moments", shared_per_thread: 2 }
        }
    }
}

/// Planes of shared memory that joining the partials needs.
pub const fn planes(statistic: Statistic) -> u32 {
    let row = statistic.description();
    row.floats + row.common_floats
}

/// Appends the call for the elements of the tile.
pub fn emit_statistic(
    builder: &mut KernelBuilder<'_>,
    axis: AxisId,
    statistic: Statistic,
    [x, total]: [View; 2],
    width: u32,
) -> Result<(), LoweringError> {
    let x = rows_of(builder, x, width, axis)?;
    let total = builder.view(total, statistic.partial_width(width))?;
    let groups = (builder.kernel.threads / width).clamp(1, SUMMED);
    let sums = builder.shared(device_statistic(statistic).shared_per_thread * builder.kernel.threads);
    let sums = whole(builder, sums);
    push(builder, DeviceCall::Statistic { statistic, axis, width, groups, x, sums, total });
    // There are barriers within; behind the last one, `total` may be written.
    builder.settled();
    builder.settle(&[], &[total.array]);
    Ok(())
}
