//! Passes over columns of a batch that are as fast as memory: compiled twice, for any x86-64 and for AVX2, and chosen on the machine. The result is the
//! same.

macro_rules! lanes {
    ($($(#[$doc:meta])* pub(crate) fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty $body:block)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name($($arg: $type),*) -> $result {
            #[inline(always)]
            fn body($($arg: $type),*) -> $result $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) -> $result { body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: this machine has it.
                return unsafe { avx2($($arg),*) };
            }
            body($($arg),*)
        }
    )*};
}

lanes! {
    /// Copies ids that are row numbers, as many as both have; whether all are below `size`.
    pub(crate) fn narrow(ids: &[u64], rows: &mut [u32], size: u64) -> bool {
        let (mut high, mut most) = (0, 0);
        for (&id, row) in ids.iter().zip(rows) {
            high |= id;
            *row = id as u32;
            most = most.max(*row);
        }
        high >> 32 == 0 && (u64::from(most) < size || ids.is_empty())
    }

    /// Copies numbers, as many as both have; the largest of them, or 0.
    pub(crate) fn copy_max(from: &[u32], to: &mut [u32]) -> u32 {
        let mut most = 0;
        for (&from, to) in from.iter().zip(to) {
            *to = from;
            most = most.max(from);
        }
        most
    }

    /// The largest number, or 0.
    pub(crate) fn max(numbers: &[u32]) -> u32 {
        numbers.iter().copied().fold(0, u32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_numbers_are_seen_wherever_they_stand() {
        for at in 0..67 {
            let mut from = vec![3u32; 67];
            from[at] = u32::MAX - 1;
            let mut to = vec![0; 67];
            assert_eq!((copy_max(&from, &mut to), max(&from)), (u32::MAX - 1, u32::MAX - 1));
            assert_eq!(to, from);
            let mut ids = vec![7u64; 67];
            assert!(narrow(&ids, &mut to, 8) && to == [7; 67]);
            for wrong in [8, 1 << 32, u64::MAX] {
                ids[at] = wrong;
                assert!(!narrow(&ids, &mut to, 8), "{wrong}");
            }
        }
        assert!(narrow(&[], &mut [], 0));
        assert_eq!((max(&[]), copy_max(&[], &mut [])), (0, 0));
    }
}
