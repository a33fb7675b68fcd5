//! Device memory of an executor: blocks that grow and are kept, and how a step divides them.

use super::driver::{DeviceArray, DeviceError, DevicePtr, Driver};

/// Where an array begins: at an address, or in one of a step's blocks, whose addresses are known
/// when all sizes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelativePtr {
    Fixed(DevicePtr),
    /// Data of the batch, written by the host.
    Staged(usize),
    /// Buffers of the training or inference schedule.
    Arena(usize),
    /// Buffers of an update.
    Work(usize),
}

/// Nothing: kernels test for it where it is allowed.
pub(super) const NULL: RelativePtr = RelativePtr::Fixed(0);

impl RelativePtr {
    pub fn plus(self, bytes: usize) -> RelativePtr {
        match self {
            RelativePtr::Fixed(at) => RelativePtr::Fixed(at.wrapping_add(bytes as u64)),
            RelativePtr::Staged(at) => RelativePtr::Staged(at.saturating_add(bytes)),
            RelativePtr::Arena(at) => RelativePtr::Arena(at.saturating_add(bytes)),
            RelativePtr::Work(at) => RelativePtr::Work(at.saturating_add(bytes)),
        }
    }
}

/// Addresses of a step's blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockBases {
    pub staged: DevicePtr,
    pub arena: DevicePtr,
    pub work: DevicePtr,
}

impl BlockBases {
    pub fn resolve(&self, at: RelativePtr) -> DevicePtr {
        match at {
            RelativePtr::Fixed(at) => at,
            RelativePtr::Staged(at) => self.staged + at as u64,
            RelativePtr::Arena(at) => self.arena + at as u64,
            RelativePtr::Work(at) => self.work + at as u64,
        }
    }
}

/// A quarter more memory than asked for, or no more than that where there is not so much; with its
/// size.
fn more(driver: &mut impl Driver, bytes: usize, what: &'static str) -> Result<(DevicePtr, usize), DeviceError> {
    let capacity = bytes.saturating_add(bytes / 4);
    match driver.allocate(capacity, what) {
        Err(DeviceError::Memory { .. }) => Ok((driver.allocate(bytes, what)?, bytes)),
        found => Ok((found?, capacity)),
    }
}

/// Memory whose capacity grows by a quarter more than asked, where there is so much, and never
/// shrinks.
#[derive(Debug, Default)]
pub(super) struct DeviceBlock {
    pub at: DevicePtr,
    capacity: usize,
}

impl DeviceBlock {
    /// Makes room for `bytes` at least; what was there is lost when it grows.
    pub fn reserve(&mut self, driver: &mut impl Driver, bytes: usize, what: &'static str) -> Result<(), DeviceError> {
        self.reserve_keeping(driver, bytes, 0, what)
    }

    /// Makes room for `bytes` at least; the first `kept` bytes keep their values.
    pub fn reserve_keeping(
        &mut self,
        driver: &mut impl Driver,
        bytes: usize,
        kept: usize,
        what: &'static str,
    ) -> Result<(), DeviceError> {
        if bytes <= self.capacity {
            return Ok(());
        }
        // No more than is asked for where there is not more.
        if kept == 0 {
            // The old memory may be what the new needs.
            self.free(driver);
            (self.at, self.capacity) = more(driver, bytes, what)?;
        } else {
            let (at, capacity) = more(driver, bytes, what)?;
            if let Err(e) = driver.copy(self.at, at, kept) {
                driver.free(at);
                return Err(e);
            }
            self.free(driver);
            (self.at, self.capacity) = (at, capacity);
        }
        Ok(())
    }

    /// Makes room for `bytes` and no more; what was there is lost.
    pub fn exactly(&mut self, driver: &mut impl Driver, bytes: usize, what: &'static str) -> Result<(), DeviceError> {
        if self.capacity != bytes {
            self.free(driver);
        }
        if bytes > self.capacity {
            self.at = driver.allocate(bytes, what)?;
            self.capacity = bytes;
        }
        Ok(())
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn free(&mut self, driver: &mut impl Driver) {
        if self.capacity > 0 {
            driver.free(self.at);
        }
        *self = DeviceBlock::default();
    }
}

/// How much room arrays get whose sizes change from batch to batch, so that batches of about one
/// size have one layout: sizes up to the same bound get the same room. Nothing but addresses
/// depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SizeBuckets {
    /// Bounds between a power of two and the next; 0 for room as asked.
    pub per_doubling: usize,
}

/// Bounds are apart at least so much.
const NARROWEST: usize = 16;

impl SizeBuckets {
    /// The least bound from `count` on.
    pub fn room(self, count: usize) -> usize {
        if self.per_doubling == 0 {
            return count;
        }
        let count = count.max(1);
        let power = 1 << (count - 1).max(1).ilog2();
        let apart = (power / self.per_doubling).max(NARROWEST);
        count.checked_next_multiple_of(apart).unwrap_or(count)
    }
}

/// Arrays side by side, from offset 0.
#[derive(Debug, Default)]
pub(super) struct BlockLayout {
    pub bytes: usize,
    pub buckets: SizeBuckets,
    /// Offset, bytes, and what it is.
    arrays: Vec<(usize, usize, &'static str)>,
}

/// Arrays begin at multiples of this.
const LINE: usize = 256;

impl BlockLayout {
    pub fn new(buckets: SizeBuckets) -> BlockLayout {
        BlockLayout { buckets, ..BlockLayout::default() }
    }

    pub fn clear(&mut self) {
        self.bytes = 0;
        self.arrays.clear();
    }

    /// `count` numbers of 4 bytes, with room for `room` of them; the offset.
    pub fn within(&mut self, count: usize, room: usize, what: &'static str) -> Result<usize, DeviceError> {
        let at = self.bytes;
        let too_much = DeviceError::Memory { bytes: usize::MAX, what };
        let room = room.max(count).checked_mul(4).filter(|&b| b < isize::MAX as usize / 8).ok_or(too_much)?;
        self.bytes += room.next_multiple_of(LINE);
        if count > 0 {
            self.arrays.push((at, count * 4, what));
        }
        Ok(at)
    }

    /// `count` numbers, as many in every batch.
    pub fn exact(&mut self, count: usize, what: &'static str) -> Result<usize, DeviceError> {
        self.within(count, count, what)
    }

    /// `count` numbers, more or fewer in another batch.
    pub fn array(&mut self, count: usize, what: &'static str) -> Result<usize, DeviceError> {
        self.within(count, self.buckets.room(count), what)
    }

    /// `rows x width` numbers, with room for `room` rows.
    pub fn matrix(&mut self, rows: usize, room: usize, width: u32, what: &'static str) -> Result<usize, DeviceError> {
        let too_much = DeviceError::Memory { bytes: usize::MAX, what };
        let room = room.max(rows).checked_mul(width as usize).ok_or(too_much)?;
        self.within(rows * width as usize, room, what)
    }

    /// The arrays, in a block at an address.
    pub fn arrays(&self, at: DevicePtr, written: bool) -> Vec<DeviceArray> {
        let arrays = self.arrays.iter();
        arrays.map(|&(offset, bytes, what)| DeviceArray { at: at + offset as u64, bytes, what, written }).collect()
    }

    /// Tells the driver of the arrays.
    pub fn declare<D: Driver>(&self, driver: &mut D, at: DevicePtr, written: bool) {
        if D::CHECKS {
            driver.declare_arrays(at, self.bytes, &self.arrays(at, written));
        }
    }
}

/// Values of 4 or 8 bytes, of any bits, without padding.
pub(super) trait Plain: Copy {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for f32 {}

pub(super) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: plain numbers have no padding, and a byte no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

pub(super) fn words_of<T: Plain>(values: &[T]) -> &[u32] {
    // SAFETY: plain numbers have no padding, and 4 or 8 bytes at a multiple of 4 at least.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values) / 4) }
}

pub(super) fn bytes_of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and any bytes are a number.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_few_and_close() {
        let buckets = SizeBuckets { per_doubling: 8 };
        let rooms: std::collections::BTreeSet<usize> = (0..1 << 16).map(|n| buckets.room(n)).collect();
        // 16 to 128 by 16, then eight a doubling.
        assert_eq!(rooms.len(), 8 + 9 * 8);
        for n in 0..1usize << 16 {
            let room = buckets.room(n);
            assert!(room >= n && room <= (n + n / 8).max(n + NARROWEST) && buckets.room(room) == room, "{n}: {room}");
        }
        assert_eq!(buckets.room(usize::MAX), usize::MAX);
        assert_eq!(SizeBuckets::default().room(77), 77);
    }
}
