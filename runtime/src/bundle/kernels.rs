//! What an executable may carry beside its program: the program's CUDA form and one image per
//! architecture.
//!
//! ```text
//! [ format: u32 ][ length of the head: u64 ][ head ][ images, one after the other ]
//! ```
//!
//! The head has the launches, and of each image its target and length. Guarantees: same contents,
//! same bytes; bytes that do not make a whole list of images that could be what they say are an
//! error. Whether the launches fit the program is the engine's to check.

use crate::exec::cuda::{CudaImage, CudaTarget};
use din_program::cuda::Cuda;
use serde::{Deserialize, Serialize};

/// Raised when the layout, a type of `din_program::cuda` or what kernels are given changes.
const FORMAT: u32 = 2;
/// Most images; there are fewer architectures.
const MOST: usize = 256;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuKernels {
    pub launches: Cuda,
    /// Ascending by target, each once; at least one.
    pub images: Vec<CudaImage>,
}

#[derive(Serialize)]
struct HeadRef<'a> {
    launches: &'a Cuda,
    images: Vec<(CudaTarget, u64)>,
}

#[derive(Deserialize)]
struct Head {
    launches: Cuda,
    images: Vec<(CudaTarget, u64)>,
}

impl GpuKernels {
    /// Puts the images in order; of two for one target the first stays.
    pub fn new(launches: Cuda, mut images: Vec<CudaImage>) -> GpuKernels {
        images.sort_by_key(|i| i.target);
        images.dedup_by_key(|i| i.target);
        GpuKernels { launches, images }
    }

    /// What can be run: `sm_80`, `compute_90`.
    pub fn targets(&self) -> impl Iterator<Item = CudaTarget> {
        self.images.iter().map(|i| i.target)
    }

    pub fn encode(&self) -> Vec<u8> {
        let images = self.images.iter().map(|i| (i.target, i.code.len() as u64)).collect();
        let head = postcard::to_stdvec(&HeadRef { launches: &self.launches, images })
            .expect("plain data serialise into a vector that grows");
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(head.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&head);
        self.images.iter().for_each(|i| bytes.extend_from_slice(&i.code));
        bytes
    }

    /// Says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<GpuKernels, String> {
        let cut = || "its kernels are cut short".to_string();
        let (format, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let format = u32::from_le_bytes(*format);
        if format != FORMAT {
            return Err(format!("its kernels have format {format}, this runtime reads format {FORMAT}"));
        }
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
        let (head, mut codes) = rest.split_at_checked(length).ok_or_else(cut)?;
        let (head, behind) =
            postcard::take_from_bytes::<Head>(head).map_err(|e| format!("its kernels are damaged: {e}"))?;
        let ascending = head.images.windows(2).all(|w| matches!(w, [(a, _), (b, _)] if a < b));
        if !behind.is_empty() || !ascending || !(1..=MOST).contains(&head.images.len()) {
            return Err("its list of kernels is not one that a build writes".into());
        }
        let mut images = Vec::with_capacity(head.images.len());
        for (target, length) in head.images {
            let length = usize::try_from(length).map_err(|_| cut())?;
            let (code, rest) = codes.split_at_checked(length).ok_or_else(cut)?;
            let image = CudaImage { target, code: code.to_vec(), log: String::new() };
            image.check().map_err(|why| format!("its {why}"))?;
            images.push(image);
            codes = rest;
        }
        if !codes.is_empty() {
            return Err("more follows its kernels than they say".into());
        }
        Ok(GpuKernels { launches: head.launches, images })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use din_program::cuda::Precision;

    pub fn some() -> GpuKernels {
        let launches = Cuda { precision: Precision::Tf32, threads: 256, chunks: 7, schedules: vec![] };
        let image = |target, code: &[u8]| CudaImage { target, code: code.into(), log: String::new() };
        let images = vec![
            image(CudaTarget::Ptx(90), b".version 8.0"),
            image(CudaTarget::Cubin(90), b"\x7fELF\0code"),
            image(CudaTarget::Cubin(80), b"\x7fELF"),
            image(CudaTarget::Cubin(90), b"\x7fELF a second time"),
        ];
        GpuKernels::new(launches, images)
    }

    #[test]
    fn images_come_back_in_order() {
        let kernels = some();
        assert_eq!(kernels.targets().map(|t| t.to_string()).collect::<Vec<_>>(), ["sm_80", "sm_90", "compute_90"]);
        assert_eq!(GpuKernels::decode(&kernels.encode()).unwrap(), kernels);
    }

    /// The bundle's hashes are not what keeps these out.
    #[test]
    fn bytes_that_no_build_writes_are_refused() {
        let whole = some().encode();
        for length in 0..whole.len() {
            assert!(GpuKernels::decode(&whole[..length]).is_err(), "cut to {length}");
        }
        let refused = |change: &dyn Fn(&mut GpuKernels), said: &str| {
            let mut kernels = some();
            change(&mut kernels);
            let error = GpuKernels::decode(&kernels.encode()).unwrap_err();
            assert!(error.contains(said), "{error}");
        };
        refused(&|k| k.images.clear(), "list of kernels");
        refused(&|k| k.images.swap(0, 1), "list of kernels");
        refused(&|k| k.images[1].target = CudaTarget::Cubin(80), "list of kernels");
        refused(&|k| k.images[0].code = b"text".to_vec(), "image for sm_80 is not machine code");
        refused(&|k| k.images[2].code = b"a\0b".to_vec(), "image for compute_90 is not PTX");
        refused(&|k| k.images[2].code.clear(), "image for compute_90 is not PTX");
        let mut more = whole.clone();
        more.push(0);
        assert!(GpuKernels::decode(&more).unwrap_err().contains("more follows"));
        let mut other = whole.clone();
        other[0] = 9;
        assert!(GpuKernels::decode(&other).unwrap_err().contains("format 9"));
        let mut long = whole;
        long[4..12].fill(0xff);
        assert!(GpuKernels::decode(&long).unwrap_err().contains("cut short"));
    }
}
