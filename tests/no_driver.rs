//! Machines without an NVIDIA driver: typed errors, no panic. Skipped where there is a driver.
#![cfg(all(feature = "cuda", target_os = "linux"))]

use std::ffi::{CStr, c_char, c_int, c_void};
use warpnorm::Error;
use warpnorm::cuda::{Cuda, CudaError, devices};

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
}

/// Asks the loader itself, under the names that drivers install.
fn driver_is_there() -> bool {
    const RTLD_LAZY: c_int = 1;
    let opens = |name: &CStr| {
        // SAFETY: the name is a C string; loading the driver's library has no effect but its presence.
        !unsafe { dlopen(name.as_ptr(), RTLD_LAZY) }.is_null()
    };
    opens(c"libcuda.so.1") || opens(c"libcuda.so")
}

#[test]
fn a_device_is_refused_with_a_typed_error() {
    if driver_is_there() {
        println!("skipped: this machine has an NVIDIA driver");
        return;
    }
    for ordinal in [0, 1, usize::MAX] {
        let error = Cuda::new(ordinal).expect_err("there is no driver");
        assert!(matches!(error, Error::Cuda(CudaError::NoDriver)), "{error:?}");
        assert!(error.to_string().contains("libcuda"), "{error}");
    }
}

#[test]
fn listing_devices_is_refused_with_a_typed_error() {
    if driver_is_there() {
        println!("skipped: this machine has an NVIDIA driver");
        return;
    }
    let error = devices().expect_err("there is no driver");
    assert_eq!(error, CudaError::NoDriver);
    assert!(error.to_string().contains("NVIDIA driver"), "{error}");
}
