//! Zeroed memory that grows without copying: an anonymous mapping, moved by the page table
//! (`mremap`), with huge pages asked for.
//!
//! Guarantees that bytes keep their values over growth, that new ones are 0, and that pages never
//! written take no memory. Growing may move the base address; nothing else does.

use super::TableError;
use din_program::BF16_PADDING;
use half::bf16;
use memmap2::{MmapMut, MmapOptions};

/// From this size on huge pages are asked for.
const HUGE: usize = 2 << 20;

/// See the module.
#[derive(Debug, Default)]
struct Region {
    map: Option<MmapMut>,
}

impl Region {
    fn bytes(&self) -> usize {
        self.map.as_ref().map_or(0, |m| m.len())
    }

    fn pointer(&self) -> *mut u8 {
        // The mapping is held as a raw pointer, so writing through it is allowed to whoever has
        // exclusive use of the region.
        self.map.as_ref().map_or(std::ptr::NonNull::<u128>::dangling().as_ptr().cast(), |m| m.as_ptr().cast_mut())
    }

    /// Makes room for `bytes` at least, at least doubling.
    fn reserve(&mut self, bytes: usize) -> Result<(), TableError> {
        if bytes <= self.bytes() {
            return Ok(());
        }
        let step = if bytes >= HUGE { HUGE } else { 64 << 10 };
        let target = bytes.max(self.bytes().saturating_mul(2));
        let target = target.checked_next_multiple_of(step).ok_or(TableError::Memory { bytes: target as u64 })?;
        let failed = |_| TableError::Memory { bytes: target as u64 };
        let map = match self.map.take() {
            Some(map) => grow(map, target).map_err(failed)?,
            None => MmapOptions::new().len(target).no_reserve_swap().map_anon().map_err(failed)?,
        };
        #[cfg(target_os = "linux")]
        if target >= HUGE && !cfg!(miri) {
            // A wish: without huge pages everything works, slower.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        self.map = Some(map);
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn grow(mut map: MmapMut, bytes: usize) -> std::io::Result<MmapMut> {
    // SAFETY: the mapping is anonymous, so every page of the longer one can be accessed; nobody
    // holds a pointer into it over growth.
    unsafe { map.remap(bytes, memmap2::RemapOptions::new().may_move(true)) }?;
    Ok(map)
}

#[cfg(not(target_os = "linux"))]
fn grow(map: MmapMut, bytes: usize) -> std::io::Result<MmapMut> {
    let mut larger = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
    larger[..map.len()].copy_from_slice(&map);
    Ok(larger)
}

/// Types whose all-zero bytes are a value, without padding or pointers.
///
/// # Safety
/// Any zeroed bytes must be a valid value, and alignment at most a page.
pub(super) unsafe trait Zeroed: Copy {
    /// Bytes behind the last value that may be read.
    const PADDING: usize;
}
// SAFETY: 0.0.
unsafe impl Zeroed for f32 {
    const PADDING: usize = 0;
}
// SAFETY: 0.0 in 16 bits.
unsafe impl Zeroed for bf16 {
    const PADDING: usize = BF16_PADDING;
}

/// An array in a region.
#[derive(Debug)]
pub(super) struct ZeroedVec<T> {
    region: Region,
    length: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: Zeroed> ZeroedVec<T> {
    pub fn new() -> Self {
        Self { region: Region::default(), length: 0, kind: std::marker::PhantomData }
    }

    /// Lengthens it with zeroes; may move it.
    pub fn extend_to(&mut self, length: usize) -> Result<(), TableError> {
        let bytes = length.checked_mul(size_of::<T>()).ok_or(TableError::Memory { bytes: u64::MAX })?;
        self.region.reserve(bytes.saturating_add(T::PADDING))?;
        self.length = self.length.max(length);
        Ok(())
    }

    #[inline]
    pub fn pointer(&self) -> *mut T {
        self.region.pointer().cast()
    }

    #[inline]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `extend_to` reserved `length` values; zeroed bytes are values; pages are more
        // aligned than any T.
        unsafe { std::slice::from_raw_parts(self.pointer(), self.length) }
    }

    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.length) }
    }
}

/// Rows of `width` values, contiguous: row `r` begins at `pointer() + r * width`.
#[derive(Debug)]
pub(super) struct Slab<T = f32> {
    pub values: ZeroedVec<T>,
    pub width: usize,
}

impl<T: Zeroed> Slab<T> {
    pub fn new(width: usize) -> Self {
        Self { values: ZeroedVec::new(), width }
    }

    pub fn extend_to(&mut self, rows: usize) -> Result<(), TableError> {
        self.values.extend_to(rows.checked_mul(self.width).ok_or(TableError::Memory { bytes: u64::MAX })?)
    }

    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        &mut self.values.as_mut_slice()[row * self.width..(row + 1) * self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_keeps_values_and_adds_zeroes() {
        let sizes: [usize; 7] =
            if cfg!(miri) { [1, 2, 10, 100, 101, 1_000, 9_000] } else { [1, 2, 100, 5_000, 5_001, 400_000, 1_000_000] };
        let mut slab = Slab::<f32>::new(3);
        for rows in sizes {
            slab.extend_to(rows).unwrap();
            assert!(slab.row_mut(rows - 1).iter().all(|&v| v == 0.0));
            slab.row_mut(rows - 1).fill(rows as f32);
        }
        for rows in sizes {
            assert!(slab.row_mut(rows - 1).iter().all(|&v| v == rows as f32));
        }
        assert_eq!(slab.values.as_slice().len(), 3 * sizes[6]);
        assert_eq!(slab.values.as_slice().iter().filter(|v| **v != 0.0).count(), 21);
    }

    #[test]
    fn too_much_is_an_error() {
        assert!(Slab::<f32>::new(1 << 20).extend_to(1 << 60).is_err());
        assert!(Slab::<f32>::new(1 << 10).extend_to(1 << 45).is_err());
    }
}
