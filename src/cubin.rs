//! Machine code that this build carries for named chips, beside the PTX that any may compile.
//!
//! A driver loads a cubin in a fraction of the time that compiling PTX takes. One comes with every prebuilt PTX for
//! compute capability 9.0; for other chips the build makes them, where `WARPNORM_CUBINS` asks for it.

use crate::plan::{Instance, Module};
use crate::ptx::Origin;
use std::borrow::Cow;
use std::fmt;

/// The machine code of one module for one chip.
#[derive(Clone, Copy)]
pub struct EmbeddedCubin {
    instance: &'static Instance,
    /// The chip, compute capability × 10. Runs on this capability and later ones of the same major.
    pub target: u32,
    /// Bytes of the ELF file.
    code_bytes: usize,
    /// The ELF file, as a `.lzma` file where it is [`Origin::Prebuilt`].
    file: &'static Aligned<[u8]>,
}

/// Bytes that are read as an ELF file, whose headers have words of 8 bytes.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

impl EmbeddedCubin {
    /// The module.
    pub fn module(&self) -> Module {
        self.instance.module
    }

    /// The names of its kernels.
    pub fn kernels(&self) -> &'static [&'static str] {
        self.instance.kernels_on(self.target)
    }

    /// The ELF file. Where it is prebuilt, every call decompresses it anew, which takes some milliseconds.
    pub fn code(&self) -> Cow<'static, [u8]> {
        match ORIGIN {
            Origin::Prebuilt => Cow::Owned(ORIGIN.read(&self.file.0, self.code_bytes, self)),
            Origin::Nvcc => Cow::Borrowed(&self.file.0),
        }
    }

    /// Bytes of the ELF file.
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }

    /// Bytes that it takes in the binary.
    pub fn file_bytes(&self) -> usize {
        self.file.0.len()
    }
}

/// The module, its type and its chip, such as `add_rms_norm.bf16.sm_90.cubin`.
impl fmt::Display for EmbeddedCubin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.sm_{}.cubin", self.instance.name, self.instance.module.dtype, self.target)
    }
}

impl fmt::Debug for EmbeddedCubin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedCubin")
            .field("module", &self.module())
            .field("target", &self.target)
            .field("bytes", &self.code_bytes)
            .finish()
    }
}

include!(concat!(env!("OUT_DIR"), "/cubins.rs"));

/// Every cubin of this build.
pub fn cubins() -> &'static [EmbeddedCubin] {
    CUBINS
}

/// The compiler of the cubins and its version; None where there are none.
pub fn compiler() -> Option<&'static str> {
    (!CUBINS.is_empty()).then_some(COMPILER)
}

/// The cubin of a module that a device loads in place of PTX, unless its driver refuses it, if there is one: for its
/// compute capability or an earlier one of the same major, from a toolkit of no later major than the CUDA version that
/// its driver states. (CUDA C++ Programming Guide, binary compatibility; CUDA Compatibility, minor version
/// compatibility.)
pub fn select(module: Module, capability: (u32, u32), driver: (u32, u32)) -> Option<&'static EmbeddedCubin> {
    let mine = CUBINS.iter().filter(|cubin| cubin.instance.module == module);
    let runs = mine.filter(|cubin| runs(cubin.target, TOOLKIT, capability, driver));
    runs.max_by_key(|cubin| cubin.target)
}

fn runs(target: u32, toolkit: u32, (major, minor): (u32, u32), driver: (u32, u32)) -> bool {
    target / 10 == major && target % 10 <= minor && toolkit <= driver.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the programming guide: a cubin for 8.6 runs on 8.6 and 8.9, and not on 8.0 or 9.0.
    #[test]
    fn a_cubin_runs_on_its_chip_and_later_ones_of_the_same_major() {
        let on = |target, capability| runs(target, 12, capability, (12, 2));
        assert_eq!([(8, 0), (8, 6), (8, 9), (9, 0)].map(|capability| on(86, capability)), [false, true, true, false]);
        assert_eq!([(9, 0), (10, 0), (12, 0)].map(|capability| on(90, capability)), [true, false, false]);
        assert_eq!([(10, 0), (10, 3), (12, 0), (12, 1)].map(|it| on(100, it)), [true, true, false, false]);
        assert!(on(120, (12, 1)));
    }

    #[test]
    fn drivers_of_an_earlier_major_are_spared_it() {
        let under = |toolkit, driver| runs(90, toolkit, (9, 0), driver);
        assert!(under(12, (12, 0)) && under(12, (13, 0)) && under(13, (13, 0)));
        assert!(!under(13, (12, 9)));
    }
}
