//! The GPU of a number as the driver describes it, and which of a program's images is for it.

use super::super::library::{self, Api};
use super::super::{CudaImage, CudaTarget, DeviceError};
use cudarc::driver::sys::CUdevice_attribute;
use std::ffi::{c_char, c_int};

/// The image for an architecture: machine code of it or of an earlier one of its generation, else
/// the newest PTX that is not too new.
pub(super) fn choose(images: &[CudaImage], architecture: u32) -> Option<&CudaImage> {
    let rank = |image: &&CudaImage| match image.target {
        CudaTarget::Cubin(n) if n <= architecture && n / 10 == architecture / 10 => Some((1, n)),
        CudaTarget::Ptx(n) if n <= architecture => Some((0, n)),
        _ => None,
    };
    images.iter().filter(|i| rank(i).is_some()).max_by_key(rank)
}

/// A GPU that is there.
pub(super) struct DetectedGpu {
    pub device: library::CUdevice,
    pub name: String,
    pub architecture: u32,
    /// Most shared memory of a block.
    pub most_shared: u32,
}

impl DetectedGpu {
    pub fn new(api: &Api, number: u32) -> Result<DetectedGpu, DeviceError> {
        let (mut count, mut device) = (0, 0);
        // SAFETY: here and below, addresses of live variables of the header's types.
        api.check("cuDeviceGetCount", unsafe { (api.device_count)(&mut count) })?;
        if i64::from(number) >= i64::from(count) {
            return Err(DeviceError::NoDevice { asked: number, found: u32::try_from(count).unwrap_or(0) });
        }
        // SAFETY: the number is one of the devices'.
        api.check("cuDeviceGet", unsafe { (api.device)(&mut device, number as c_int) })?;
        let attribute = |which: CUdevice_attribute| -> Result<u32, DeviceError> {
            let mut value = 0;
            // SAFETY: a live device.
            api.check("cuDeviceGetAttribute", unsafe { (api.device_attribute)(&mut value, which, device) })?;
            Ok(u32::try_from(value).unwrap_or(0))
        };
        let architecture = attribute(library::COMPUTE_MAJOR)? * 10 + attribute(library::COMPUTE_MINOR)?;
        let most_shared = attribute(library::SHARED_OPT_IN)?;
        let mut name = [0u8; 128];
        // SAFETY: the driver writes at most so many bytes, 0 at their end.
        let code = unsafe { (api.device_name)(name.as_mut_ptr().cast::<c_char>(), name.len() as c_int - 1, device) };
        api.check("cuDeviceGetName", code)?;
        let name = String::from_utf8_lossy(name.split(|&b| b == 0).next().unwrap_or_default()).into_owned();
        Ok(DetectedGpu { device, name, architecture, most_shared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(targets: &[CudaTarget]) -> Vec<CudaImage> {
        targets.iter().map(|&target| CudaImage { target, code: vec![], log: String::new() }).collect()
    }

    #[test]
    fn images_are_chosen() {
        use CudaTarget::{Cubin, Ptx};
        let all = images(&[Ptx(80), Cubin(80), Cubin(90), Ptx(90), Cubin(100)]);
        let chosen = |architecture| choose(&all, architecture).map(|i| i.target);
        assert_eq!(chosen(80), Some(Cubin(80)));
        assert_eq!(chosen(86), Some(Cubin(80)));
        assert_eq!(chosen(90), Some(Cubin(90)));
        assert_eq!(chosen(103), Some(Cubin(100)));
        assert_eq!(chosen(120), Some(Ptx(90)));
        assert_eq!(chosen(75), None);
        assert_eq!(choose(&[], 90).map(|i| i.target), None);
    }
}
