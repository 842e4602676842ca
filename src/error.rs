//! Everything that can be refused or go wrong, as types.

use crate::ActivationError;
use crate::plan::Module;
use crate::quantise::QuantiseError;
use crate::{DType, Family, MAX_HIDDEN, MAX_ROTATED_HEAD, Scope};
use thiserror::Error;

/// A value of an op description that is never valid.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum NormError {
    /// See [`Norm::eps`](crate::Norm::eps).
    #[error("eps is {given}, wanted a finite value of at least 0")]
    Eps {
        /// The value given.
        given: f32,
    },
    /// See [`Norm::weight_offset`](crate::Norm::weight_offset).
    #[error("weight offset is {given}, wanted a finite value")]
    WeightOffset {
        /// The value given.
        given: f32,
    },
    /// The activation of the gate has an invalid parameter.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// See [`ResidualAdd::scale`](crate::ResidualAdd::scale).
    #[error("residual scale is {given}, wanted a finite value")]
    ResidualScale {
        /// The value given.
        given: f32,
    },
    /// See [`PostAdd::scale`](crate::PostAdd::scale).
    #[error("the scale of the residual add after the norm is {given}, wanted a finite value above 0")]
    PostScale {
        /// The value given.
        given: f32,
    },
    /// See [`Interpolation::rate_scale`](crate::Interpolation::rate_scale).
    #[error("rate scale is {given}, wanted a finite value")]
    RateScale {
        /// The value given.
        given: f32,
    },
    /// See [`Rope::dim`](crate::Rope::dim).
    #[error("{given} elements of a head are to be rotated, wanted an even number from 2 to {MAX_ROTATED_HEAD}")]
    RopeDim {
        /// The number given.
        given: usize,
    },
    /// Two things are asked for that are not computed in one pass.
    #[error("{asked} {supported}")]
    Combination {
        /// What is asked for.
        asked: &'static str,
        /// What it is supported with.
        supported: &'static str,
    },
}

/// The role of a tensor in a call, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The input.
    X,
    /// The residual stream that comes in.
    Residual,
    /// γ.
    Weight,
    /// β.
    Bias,
    /// The output.
    Y,
    /// The residual stream that goes out.
    ResidualOut,
    /// The mean of every row, or of every column.
    Mean,
    /// The reciprocal standard deviation, or reciprocal root mean square, of every row or column.
    Rstd,
    /// The quantised output.
    Codes,
    /// The scales of the quantised output.
    Scales,
    /// The scale that is given for all of a tensor.
    TensorScale,
    /// The bias of the Linear that x comes from.
    LinearBias,
    /// z, whose activation the result is multiplied by, or x before the norm.
    Gate,
    /// The weight of the first of two norms.
    InnerWeight,
    /// The rates at which one normalised row moves towards another.
    Rate,
    /// The heads that are normalised beside those of x, with parameters of their own.
    SecondX,
    /// The result of those.
    SecondY,
    /// Their γ.
    SecondWeight,
    /// Their β.
    SecondBias,
    /// The cosines of the rotary embedding.
    Cos,
    /// The sines.
    Sin,
    /// The position of every row.
    Positions,
    /// γ·rstd of every column.
    Scale,
    /// β − mean·γ·rstd of every column.
    Shift,
}

impl Role {
    /// The name as messages write it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::X => "x",
            Role::Residual => "residual",
            Role::Weight => "weight",
            Role::Bias => "bias",
            Role::Y => "y",
            Role::ResidualOut => "residual_out",
            Role::Mean => "mean",
            Role::Rstd => "rstd",
            Role::Codes => "codes",
            Role::Scales => "scales",
            Role::TensorScale => "tensor_scale",
            Role::LinearBias => "linear_bias",
            Role::Gate => "gate",
            Role::InnerWeight => "inner_weight",
            Role::Rate => "rate",
            Role::SecondX => "second_x",
            Role::SecondY => "second_y",
            Role::SecondWeight => "second_weight",
            Role::SecondBias => "second_bias",
            Role::Cos => "cos",
            Role::Sin => "sin",
            Role::Positions => "positions",
            Role::Scale => "scale",
            Role::Shift => "shift",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A call that cannot be made: its tensors do not fit the op or one another.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CallError {
    /// The op description itself is invalid.
    #[error(transparent)]
    Norm(#[from] NormError),
    /// The quantisation is invalid, or rows cannot be divided as it asks.
    #[error(transparent)]
    Quantise(#[from] QuantiseError),
    /// Quantisation starts from 16-bit values.
    #[error("{given} activations are asked to be quantised, wanted f16 or bf16")]
    QuantisedType {
        /// The activation type.
        given: DType,
    },
    /// A tensor that the op needs is not there.
    #[error("there is no {role}, which the op needs")]
    Absent {
        /// The tensor.
        role: Role,
    },
    /// A tensor is there that the op has no use for.
    #[error("{role} is given, which the op does not use")]
    Unused {
        /// The tensor.
        role: Role,
    },
    /// A buffer is of a type that what is to be stored in it is not.
    #[error("{role} is a buffer of {given}, wanted {wanted} for {stored}")]
    StoredType {
        /// The tensor.
        role: Role,
        /// What is to be stored: a type of codes or scales.
        stored: &'static str,
        /// The Rust type of the buffer's elements.
        given: &'static str,
        /// The Rust type that it is stored as.
        wanted: &'static str,
    },
    /// Hidden sizes from 1 to [`MAX_HIDDEN`] are supported.
    #[error("hidden size is {given}, wanted 1 to {MAX_HIDDEN}")]
    Hidden {
        /// The size given.
        given: usize,
    },
    /// A tensor has another number of rows or columns than x, codes have other rows than x needs, or the tables of
    /// the rotary embedding have other angles than the norm needs.
    #[error(
        "{role} is {rows} × {hidden}, wanted {wanted_rows} × {wanted_hidden}{}",
        match .role {
            Role::Codes => ", in bytes, for the rows of x",
            Role::Cos => " for the elements that are rotated",
            Role::Sin => " as cos is",
            _ => " as x is",
        }
    )]
    Shape {
        /// The tensor.
        role: Role,
        /// Its rows.
        rows: usize,
        /// Its columns; of codes, the bytes of a row.
        hidden: usize,
        /// The rows of x; for cos and sin, the positions of cos.
        wanted_rows: usize,
        /// The columns of x; for codes, the bytes that a row of them takes; for cos and sin, half of the elements
        /// that are rotated.
        wanted_hidden: usize,
    },
    /// A vector has the wrong length.
    #[error("{role} has {given} elements, wanted {wanted}")]
    Length {
        /// The vector.
        role: Role,
        /// Its length.
        given: usize,
        /// The hidden size (weight, bias; of all groups), the number of rows (mean, rstd; times the parts of each;
        /// positions), the [number of scales](crate::quantise::Quantisation::scale_count) (scales), or 1
        /// (tensor_scale).
        wanted: usize,
    },
    /// Rows of a tensor overlap.
    #[error(
        "{role} has a row stride of {given} {}, {hidden}",
        if *.role == Role::Codes { "bytes, wanted at least those of a row" } else { "elements, wanted at least the hidden size" }
    )]
    Stride {
        /// The tensor.
        role: Role,
        /// Its stride.
        given: usize,
        /// The hidden size; for codes, the bytes of a row.
        hidden: usize,
    },
    /// A buffer is shorter than its shape and stride need.
    #[error(
        "a buffer of {given} elements is too short for {rows} rows of {hidden} with stride {stride}, \
         wanted at least {wanted}"
    )]
    Buffer {
        /// Elements in the buffer.
        given: usize,
        /// Elements needed.
        wanted: usize,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        hidden: usize,
        /// Stride asked for.
        stride: usize,
    },
    /// A buffer's length is no multiple of the hidden size.
    #[error("a buffer of {given} elements is not a whole number of rows of {hidden}")]
    PartialRow {
        /// Elements in the buffer.
        given: usize,
        /// The hidden size.
        hidden: usize,
    },
    /// The tensor's bytes do not fit a 64-bit address space.
    #[error("{rows} rows with a stride of {stride} elements exceed the address space")]
    TooLarge {
        /// Rows asked for.
        rows: usize,
        /// Stride asked for.
        stride: usize,
    },
    /// The op has a residual add and the call no residual, or the other way round.
    #[error("{}", if *.wanted { "the norm takes a residual, but none is given" } else { "a residual is given, but the norm takes none" })]
    Residual {
        /// Whether the op adds one.
        wanted: bool,
    },
    /// The residual stream is to be stored, but none comes in.
    #[error("residual_out is given, but the norm adds no residual before its statistic")]
    ResidualOut,
    /// Weights of this type do not go with these activations.
    #[error("{role} is {given} beside {activation} activations, wanted {activation}{}", if *.activation == DType::F32 { "" } else { " or f32" })]
    ParameterType {
        /// weight or bias.
        role: Role,
        /// Its type.
        given: DType,
        /// The type of x.
        activation: DType,
    },
    /// Weight and bias differ in type.
    #[error("weight is {weight} and bias {bias}, wanted one type for both")]
    ParameterTypes {
        /// The type of the weight.
        weight: DType,
        /// The type of the bias.
        bias: DType,
    },
    /// The bias of a Linear is of the type of what the Linear puts out.
    #[error("linear_bias is {given}, wanted {activation} as x is")]
    LinearBiasType {
        /// Its type.
        given: DType,
        /// The type of x.
        activation: DType,
    },
    /// An offset has nothing to be added to.
    #[error("a weight offset of {offset} is given, but no weight")]
    OffsetWithoutWeight {
        /// The offset.
        offset: f32,
    },
    /// The parameters of a second norm, or of other heads, differ in type from those of the first.
    #[error("{role} is {given}, wanted {wanted} as the weight or bias beside it")]
    SecondType {
        /// The vector.
        role: Role,
        /// Its type.
        given: DType,
        /// The type of the other.
        wanted: DType,
    },
    /// Rows that are normalised whole have one part; others have at least one.
    #[error("a row is divided into {given} parts, wanted {}", match .scope { Scope::Row => "1: the norm is of whole rows", Scope::Head => "at least 1 head", Scope::Group => "at least 1 group" })]
    Parts {
        /// The number of parts.
        given: usize,
        /// What the norm is of.
        scope: Scope,
    },
    /// A row of a tensor has other heads or groups than one of x.
    #[error("a row of {role} has {given} heads or groups, wanted {wanted} as x has")]
    PartCount {
        /// The tensor.
        role: Role,
        /// Its heads or groups.
        given: usize,
        /// Those of x.
        wanted: usize,
    },
    /// Rows that are to be written, and are of one buffer, share an element, or cannot be told apart.
    #[error("rows {first} and {second} of the layouts given share elements, or lie across one another")]
    NotDisjoint {
        /// The index of one of the layouts.
        first: usize,
        /// That of the other.
        second: usize,
    },
    /// Heads or groups of a row overlap.
    #[error("{role} has a stride of {given} elements from head to head or group to group, wanted at least {hidden}")]
    PartStride {
        /// The tensor.
        role: Role,
        /// Its stride.
        given: usize,
        /// Elements of a head or group.
        hidden: usize,
    },
    /// A head is too small for the rotation, or too large for the kernels that rotate.
    #[error(
        "{dim} elements of heads of {hidden} are to be rotated, wanted at most all, of heads of at most {MAX_ROTATED_HEAD}"
    )]
    RotatedHead {
        /// Elements to rotate.
        dim: usize,
        /// Elements of a head.
        hidden: usize,
    },
    /// The tables of the rotary embedding lack positions.
    #[error("cos and sin have {given} positions, wanted at least {wanted}")]
    RopeEntries {
        /// Positions of the tables.
        given: usize,
        /// The number of rows where positions are theirs, else 1.
        wanted: usize,
    },
    /// Columns without rows have no statistics.
    #[error("statistics of no rows are asked for, wanted at least 1 row")]
    NoRows,
    /// Nothing is to be stored of the statistics of columns.
    #[error("no output is given, wanted at least one of mean, rstd, scale and shift")]
    NoOutput,
    /// RMSNorm computes no mean.
    #[error("mean is asked for, but {family} computes none")]
    Mean {
        /// The family.
        family: Family,
    },
    /// An address is null where a tensor is to be.
    #[error("{role} is a null address")]
    Null {
        /// The tensor.
        role: Role,
    },
    /// An address is no multiple of the element size.
    #[error("{role} starts at address {address:#x}, wanted a multiple of its element size, {size}")]
    Misaligned {
        /// The tensor.
        role: Role,
        /// Its address.
        address: u64,
        /// Bytes an element takes.
        size: usize,
    },
    /// An output shares memory with another tensor other than element for element.
    #[error(
        "{output} overlaps {other}; an output may lie exactly over x or residual (same address and \
         stride), or apart from every other tensor"
    )]
    Overlap {
        /// The output.
        output: Role,
        /// What it overlaps.
        other: Role,
    },
}

/// A device on which a call cannot run, or a build that cannot run it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The kernels are not compiled for this combination of statistic, source, sink and type.
    #[error("this build has no module {module}; with this statistic and type it has {}", module.beside())]
    NoModule {
        /// The module that the call needs.
        module: Module,
    },
    /// More rows than a grid can have.
    #[error("{rows} rows take {ctas} thread blocks, and {device} launches at most {limit}")]
    Grid {
        /// Rows asked for.
        rows: u64,
        /// Thread blocks they take.
        ctas: u64,
        /// What the device allows.
        limit: u32,
        /// The device.
        device: String,
    },
    /// The device cannot run a team of this size.
    #[error("a row takes {threads} threads, and {device} runs at most {limit} in a thread block")]
    Threads {
        /// Threads the row takes.
        threads: u32,
        /// What the device allows.
        limit: u32,
        /// The device.
        device: String,
    },
    /// No PTX in this build runs on the device.
    #[error(
        "no PTX in this build runs on compute capability {}.{} (it has {targets})",
        capability.0, capability.1
    )]
    Capability {
        /// The device's compute capability.
        capability: (u32, u32),
        /// The targets that the build has.
        targets: String,
    },
    /// The driver is too old for the PTX in this build.
    #[error(
        "the PTX in this build is of ISA {}.{}, and the driver (CUDA {}.{}) takes at most ISA {}.{}; \
         update the driver or build with an older compiler",
        ptx.0, ptx.1, driver.0, driver.1, driver_isa.0, driver_isa.1
    )]
    Isa {
        /// The ISA of the PTX that fits the device.
        ptx: (u32, u32),
        /// The CUDA version that the driver states.
        driver: (u32, u32),
        /// The newest ISA that such a driver takes.
        driver_isa: (u32, u32),
    },
}

/// Any failure of this crate.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The call cannot be made.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The call cannot run on this device.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The CUDA driver is missing, or refused something.
    #[cfg(feature = "cuda")]
    #[error(transparent)]
    Cuda(#[from] crate::cuda::CudaError),
    /// The problem's bytes do not fit its shapes, or memory around an output changed.
    #[error(transparent)]
    Host(#[from] crate::host::HostError),
    /// The executor found a fault.
    #[cfg(feature = "emulator")]
    #[error(transparent)]
    Emulated(#[from] crate::emulated::EmulatedError),
}
