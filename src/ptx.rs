//! The PTX that this build carries, and which of it a device runs.

use crate::plan::{Form, Instance, Kernel, Module, Path, Sink, Source, Threads};
use crate::{DType, Family, PlanError};
use lzma_rust2::LzmaReader;
use std::fmt;
use std::io::Read;

/// Where code of this build came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Shipped with the crate, compressed.
    Prebuilt,
    /// Compiled by the build with nvcc.
    Nvcc,
}

impl Origin {
    /// So many bytes of what is embedded as this file.
    pub(crate) fn read(self, file: &[u8], bytes: usize, what: &dyn fmt::Display) -> Vec<u8> {
        let mut content = Vec::with_capacity(bytes);
        let limit = bytes as u64;
        let read = match self {
            // No limit on memory: the dictionary, whose size the file's head says, is about as long as the content.
            Self::Prebuilt => LzmaReader::new_mem_limit(file, u32::MAX, None)
                .and_then(|reader| reader.take(limit).read_to_end(&mut content)),
            Self::Nvcc => file.take(limit).read_to_end(&mut content),
        };
        // Constants: the build compared prebuilt files with the hashes that were noted when they were compressed, and
        // has read the others.
        match read {
            Ok(read) => assert_eq!(read, bytes, "{what}: another length"),
            Err(error) => panic!("{what}: {error}"),
        }
        content
    }
}

/// How the PTX of this build was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Where it came from.
    pub origin: Origin,
    /// The compiler and its version.
    pub compiler: &'static str,
    /// Hash of the kernel sources it was compiled from.
    pub source_hash: &'static str,
}

/// The PTX of one module for one target.
#[derive(Clone, Copy)]
pub struct EmbeddedModule {
    instance: &'static Instance,
    /// The target, compute capability × 10. Runs on this capability and all later ones.
    pub target: u32,
    /// The PTX ISA version, major and minor.
    pub isa: (u32, u32),
    /// Bytes of other texts before this one in the file.
    offset: usize,
    /// Bytes of the text.
    ptx_bytes: usize,
    /// The texts for all targets as a `.lzma` file where they are [`Origin::Prebuilt`]; the text itself where it is
    /// [`Origin::Nvcc`].
    file: &'static [u8],
}

impl EmbeddedModule {
    /// The module.
    pub fn module(&self) -> Module {
        self.instance.module
    }

    /// The module's name, without its type.
    pub fn name(&self) -> &'static str {
        self.instance.name
    }

    /// The names of the module's kernels.
    pub fn kernels(&self) -> &'static [&'static str] {
        self.instance.kernels_on(self.target)
    }

    /// The PTX text. Where it is prebuilt, every call decompresses it anew, which takes some milliseconds.
    pub fn ptx(&self) -> String {
        let mut text = PROVENANCE.origin.read(self.file, self.offset + self.ptx_bytes, self);
        text.drain(..self.offset);
        String::from_utf8(text).unwrap_or_else(|error| panic!("{self}: {error}"))
    }

    /// The text without the module's other kernels: what is to run one need not compile them. Where it is none of
    /// [`kernels`](Self::kernels), without any.
    pub fn ptx_of(&self, kernel: Kernel) -> String {
        let text = self.ptx();
        let mut of_kernel = String::with_capacity(text.len());
        let mut within_other = false;
        for line in text.split_inclusive('\n') {
            // A kernel begins and ends at the beginnings of lines.
            if let Some(head) = line.strip_prefix(".visible .entry ") {
                within_other = head.split('(').next().is_none_or(|name| name.trim_end() != kernel.name());
            }
            if !within_other {
                of_kernel.push_str(line);
            } else if line.trim_end() == "}" {
                within_other = false;
            }
        }
        of_kernel
    }

    /// Bytes of the PTX text.
    pub fn ptx_bytes(&self) -> usize {
        self.ptx_bytes
    }

    /// Bytes that the PTX takes in the binary: where it is prebuilt, of the compressed file that the module's text for
    /// every target is in.
    pub fn file_bytes(&self) -> usize {
        self.file.len()
    }
}

impl fmt::Debug for EmbeddedModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedModule")
            .field("module", &self.module())
            .field("target", &self.target)
            .field("isa", &self.isa)
            .field("ptx_bytes", &self.ptx_bytes)
            .finish_non_exhaustive()
    }
}

/// The module, its type and its target, such as `add_rms_norm.bf16.sm_90`.
impl fmt::Display for EmbeddedModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.sm_{}", self.name(), self.module().dtype, self.target)
    }
}

include!(concat!(env!("OUT_DIR"), "/ptx_modules.rs"));

/// How the PTX of this build was made.
pub fn provenance() -> &'static Provenance {
    &PROVENANCE
}

/// Bytes that the PTX of all modules takes in the binary.
pub fn embedded_bytes() -> usize {
    // Of the texts in a file, one begins it.
    MODULES.iter().filter(|embedded| embedded.offset == 0).map(EmbeddedModule::file_bytes).sum()
}

/// Every module of this build, for every target.
pub fn modules() -> &'static [EmbeddedModule] {
    MODULES
}

/// The PTX of a module that a device runs: of those that its compute capability and its driver take, the one
/// for the latest target. `driver` is the CUDA version that the driver states, None for a device
/// that takes any PTX.
///
/// # Errors
/// The build has no such module, no PTX for the capability, or only such that the driver is too old for.
pub fn select(
    module: Module,
    capability: (u32, u32),
    driver: Option<(u32, u32)>,
) -> Result<&'static EmbeddedModule, PlanError> {
    module.index()?;
    let mine = || MODULES.iter().filter(move |embedded| embedded.instance.module == module);
    let runs = || mine().filter(move |embedded| embedded.target <= capability.0 * 10 + capability.1);
    let Some(best) = runs().max_by_key(|embedded| embedded.target) else {
        let targets = mine().map(|embedded| format!("sm_{}", embedded.target)).collect::<Vec<_>>().join(", ");
        return Err(PlanError::Capability { capability, targets });
    };
    let Some(driver) = driver else { return Ok(best) };
    let driver_isa = driver_isa(driver);
    runs().filter(|embedded| embedded.isa <= driver_isa).max_by_key(|embedded| embedded.target).ok_or(PlanError::Isa {
        ptx: best.isa,
        driver,
        driver_isa,
    })
}

/// The newest PTX ISA that a driver takes, by the CUDA version it states (PTX ISA manual, release
/// notes). Since CUDA 13.0 the two versions run in step, four ISA majors apart.
pub fn driver_isa((major, minor): (u32, u32)) -> (u32, u32) {
    match (major, minor) {
        (..11, _) => (6, 5),
        (11, minor) => (7, minor.min(8)),
        (12, minor @ 0..=5) => (8, minor),
        (12, 6) => (8, 5),
        (12, minor) => (8, minor - 1),
        (major, minor) => (major - 4, minor),
    }
}
