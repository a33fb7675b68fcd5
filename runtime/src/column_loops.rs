//! Passes over columns of a batch that are as fast as memory: compiled twice, for any x86-64 and
//! for AVX2, and chosen on the machine. The result is the same.

macro_rules! column_loops {
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

column_loops! {
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

    /// Copies values, as many as both have; the largest of them, or 0.
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

/// [`copy_max`] past the caches, where the machine can and `to` begins at a multiple of 32 bytes.
pub(crate) fn stream_max(from: &[u32], to: &mut [u32]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn avx2(from: &[[u32; 8]], to: &mut [[u32; 8]]) -> u32 {
            use std::arch::x86_64::{
                _mm_sfence, _mm256_loadu_si256, _mm256_max_epu32, _mm256_setzero_si256, _mm256_storeu_si256,
                _mm256_stream_si256,
            };
            let mut most = _mm256_setzero_si256();
            for (from, to) in from.iter().zip(to) {
                // SAFETY: 32 bytes each, `to` at a multiple of 32.
                unsafe {
                    let numbers = _mm256_loadu_si256(from.as_ptr().cast());
                    _mm256_stream_si256(to.as_mut_ptr().cast(), numbers);
                    most = _mm256_max_epu32(most, numbers);
                }
            }
            // Before whoever is told of the copy.
            _mm_sfence();
            let mut all = [0u32; 8];
            // SAFETY: room for 32 bytes.
            unsafe { _mm256_storeu_si256(all.as_mut_ptr().cast(), most) };
            max(&all)
        }
        let count = from.len().min(to.len());
        if to.as_ptr().addr().is_multiple_of(32) && std::arch::is_x86_feature_detected!("avx2") {
            let ((from, from_rest), (to, to_rest)) = (from[..count].as_chunks(), to[..count].as_chunks_mut());
            // SAFETY: this machine has it, and `to` is at a multiple of 32 bytes.
            let most = unsafe { avx2(from, to) };
            return most.max(copy_max(from_rest, to_rest));
        }
    }
    copy_max(from, to)
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
            for begin in 0..9 {
                let mut room = vec![0; 80];
                assert_eq!(stream_max(&from, &mut room[begin..]), u32::MAX - 1);
                assert!(room[begin..begin + 67] == from && room[begin + 67..].iter().all(|x| *x == 0));
            }
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
