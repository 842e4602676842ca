//! What the PTX ISA has beyond this executor.

/// Opcodes of the ISA that this executor does not know: no mistakes of who wrote the text.
#[rustfmt::skip]
pub(crate) const NOT_EXECUTED: [&str; 49] = [
    "alloca", "clusterlaunchcontrol", "cp", "elect", "fns", "istypep", "ldmatrix",
    "mbarrier", "mma", "movmatrix", "multimem", "setmaxnreg", "stackrestore", "stacksave",
    "stmatrix", "suld", "suq", "sured", "sust", "tcgen05", "tensormap", "tex", "tld4", "txq", "vabsdiff",
    "vabsdiff2", "vabsdiff4", "vadd", "vadd2", "vadd4", "vavrg2", "vavrg4", "vmad", "vmax", "vmax2", "vmax4", "vmin",
    "vmin2", "vmin4", "vset", "vset2", "vset4", "vshl", "vshr", "vsub", "vsub2", "vsub4", "wgmma", "wmma",
];
