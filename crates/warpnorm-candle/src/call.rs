//! A norm with its tensors, before anything is computed.

use crate::error::{TensorError, of_library};
use crate::prepared::Prepared;
use crate::run::{self, Outputs, Wanted};
use candle_core::{Result, Tensor};
use warpnorm::{Norm, ProgrammaticLaunch};

/// Begins a norm of candle tensors: see [`NormCall`].
pub fn norm<'a>(norm: &Norm) -> NormCall<'a> {
    NormCall {
        norm: *norm,
        weight: None,
        bias: None,
        residual: None,
        linear_bias: None,
        gate: None,
        inner_weight: None,
        rate: None,
        groups: None,
        second: None,
        second_bias: None,
        rope: None,
        tensor_scale: None,
        programmatic_launch: ProgrammaticLaunch::Off,
    }
}

/// A norm with all that the library can do in the same pass, on candle tensors: what the functions of this crate are
/// short for.
///
/// The norm is over the last dimension, of tensors of any rank. x, residual, gate and results are f32, f16 or bf16,
/// all of one type and one shape; vectors are f32 or of that type, weight and bias alike. Results are contiguous
/// tensors of their own.
///
/// Views are read where they lie: rows may be any stride apart. A view whose rows one launch cannot walk is refused
/// and never copied behind the caller's back; `.contiguous()` copies it. So is one whose last dimension does not lie
/// side by side.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use warpnorm::{Activation, Norm};
///
/// # fn main() -> candle_core::Result<()> {
/// // Mamba-2's norm: of two groups of 4 channels, x·silu(z) before the norm.
/// let norm = warpnorm::presets::mamba2();
/// let (x, z) = (Tensor::ones((3, 8), DType::BF16, &Device::Cpu)?, Tensor::ones((3, 8), DType::BF16, &Device::Cpu)?);
/// let weight = Tensor::ones(8, DType::F32, &Device::Cpu)?;
/// let y = warpnorm_candle::norm(&norm).groups(2).gate(&z).weight(&weight).run(&x)?;
/// assert_eq!(y.dims(), [3, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is computed before one of the run methods is called"]
pub struct NormCall<'a> {
    pub(crate) norm: Norm,
    pub(crate) weight: Option<&'a Tensor>,
    pub(crate) bias: Option<&'a Tensor>,
    pub(crate) residual: Option<&'a Tensor>,
    pub(crate) linear_bias: Option<&'a Tensor>,
    pub(crate) gate: Option<&'a Tensor>,
    pub(crate) inner_weight: Option<&'a Tensor>,
    pub(crate) rate: Option<&'a Tensor>,
    pub(crate) groups: Option<usize>,
    pub(crate) second: Option<SecondHeads<'a>>,
    pub(crate) second_bias: Option<&'a Tensor>,
    pub(crate) rope: Option<RopeTables<'a>>,
    pub(crate) tensor_scale: Option<&'a Tensor>,
    pub(crate) programmatic_launch: ProgrammaticLaunch,
}

/// Heads that are normalised beside those of x, with a weight of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondHeads<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) weight: Option<&'a Tensor>,
}

/// The tables of a rotary embedding.
#[derive(Clone, Copy, Debug)]
pub struct RopeTables<'a> {
    /// The cosines, `[positions, rotated elements / 2]`, f32 or of the type of x.
    pub cos: &'a Tensor,
    /// The sines, likewise.
    pub sin: &'a Tensor,
    /// The position of every row of x: as many elements as x has without its last two dimensions, u32, i32 or i64.
    /// None: the rows are the positions of the tables, one for one, as they are for one sequence whose part of the
    /// tables was narrowed out.
    pub positions: Option<&'a Tensor>,
}

/// The results of a norm that quantises.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The codes, as bytes (u8): the shape of x, where a byte holds one; half as many in the last dimension where
    /// it holds two.
    pub codes: Tensor,
    /// The scales, where the norm makes them: f32, or u8 of scales of one byte. Of row-major ones the last dimension
    /// is the groups of a row; others are one dimension of as many as
    /// [`scale_count`](warpnorm::quantise::Quantisation::scale_count) says, and those of no row are zero.
    pub scales: Option<Tensor>,
    /// The new residual stream, where it was asked for.
    pub residual: Option<Tensor>,
}

impl<'a> NormCall<'a> {
    /// γ, as long as the last dimension.
    pub fn weight(mut self, weight: &'a Tensor) -> Self {
        self.weight = Some(weight);
        self
    }

    /// β, as long as γ and of its type.
    pub fn bias(mut self, bias: &'a Tensor) -> Self {
        self.bias = Some(bias);
        self
    }

    /// The residual stream that comes in, where the norm takes one.
    pub fn residual(mut self, residual: &'a Tensor) -> Self {
        self.residual = Some(residual);
        self
    }

    /// The bias of the Linear that x comes from, where it has not been added and the norm adds a residual in front.
    pub fn linear_bias(mut self, bias: &'a Tensor) -> Self {
        self.linear_bias = Some(bias);
        self
    }

    /// The gate z, where the norm has one.
    pub fn gate(mut self, gate: &'a Tensor) -> Self {
        self.gate = Some(gate);
        self
    }

    /// γ of the first of two norms: [`Input::PostNorm`](warpnorm::Input::PostNorm).
    pub fn inner_weight(mut self, weight: &'a Tensor) -> Self {
        self.inner_weight = Some(weight);
        self
    }

    /// The rates of an [`Input::Interpolation`](warpnorm::Input::Interpolation).
    pub fn rate(mut self, rate: &'a Tensor) -> Self {
        self.rate = Some(rate);
        self
    }

    /// How many groups a row is, where the norm is of groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = Some(groups);
        self
    }

    /// Heads beside those of x, where the norm is of heads: K beside Q, of as many rows. They have a weight where x
    /// has one.
    pub fn second(mut self, x: &'a Tensor, weight: Option<&'a Tensor>) -> Self {
        self.second = Some(SecondHeads { x, weight });
        self
    }

    /// β of the heads beside those of x.
    pub fn second_bias(mut self, bias: &'a Tensor) -> Self {
        self.second_bias = Some(bias);
        self
    }

    /// The tables of the rotary embedding, where the norm rotates.
    pub fn rope(mut self, tables: RopeTables<'a>) -> Self {
        self.rope = Some(tables);
        self
    }

    /// The f32 scale that is given for all of a tensor, of one element; where the norm's quantisation takes one.
    pub fn tensor_scale(mut self, scale: &'a Tensor) -> Self {
        self.tensor_scale = Some(scale);
        self
    }

    /// Lets the launch [begin early](ProgrammaticLaunch::WaitFirst), before the kernel in front of it has completed, for
    /// which it waits before it accesses any tensor: as safe as without. Without effect on GPUs before compute
    /// capability 9.0 and on CPU tensors.
    ///
    /// candle launches none of its own kernels so. A kernel of others in front of it in the stream that was itself
    /// launched programmatically, and lets those behind it begin early, has to [wait](ProgrammaticLaunch) with all of
    /// its threads, too: else what is in front of that kernel may still be running when this launch accesses its
    /// tensors.
    pub fn programmatic_launch(mut self) -> Self {
        self.programmatic_launch = self.programmatic_launch.max(ProgrammaticLaunch::WaitFirst);
        self
    }

    /// As [`programmatic_launch`](Self::programmatic_launch), and weights and biases
    /// [may be read](ProgrammaticLaunch::ParametersFirst) before the wait.
    ///
    /// # Safety
    /// No kernel that may still be running when this one begins writes weights, biases or rates of this norm: neither
    /// the one in front of it in the stream nor, where that was launched programmatically, those in front of that.
    /// Parameters of a loaded model that has been synchronised with keep it.
    pub unsafe fn parameters_first(mut self) -> Self {
        self.programmatic_launch = ProgrammaticLaunch::ParametersFirst;
        self
    }

    /// Normalises x.
    ///
    /// # Errors
    /// Tensors do not fit the norm or one another, their views cannot be walked, or the device fails; and where the
    /// norm quantises or x has heads beside it.
    pub fn run(self, x: &Tensor) -> Result<Tensor> {
        self.results(
            self.second.is_some(),
            "one result is asked for of two tensors of heads",
            "run_pair for heads beside those of x",
        )?;
        Ok(self.outputs(x, Wanted::default())?.y)
    }

    /// Normalises x and returns the new residual stream beside y, each in its own memory.
    ///
    /// # Errors
    /// As [`run`](Self::run), and where the norm makes no residual stream.
    pub fn run_with_residual(self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let Outputs { y, residual, .. } = self.outputs(x, Wanted { residual: true })?;
        match residual {
            Some(residual) => Ok((y, residual)),
            None => Err(warpnorm::CallError::ResidualOut).map_err(|error| of_library(error.into())),
        }
    }

    /// Normalises x and the heads beside it.
    ///
    /// # Errors
    /// As [`run`](Self::run), and where there are no heads beside x.
    pub fn run_pair(self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let asked = "two results are asked for";
        self.results(self.second.is_none(), asked, "heads beside those of x, given by second()")?;
        let Outputs { y, second, .. } = self.outputs(x, Wanted::default())?;
        match second {
            Some(second) => Ok((y, second)),
            None => Err(TensorError::Results { asked, wanted: "heads beside those of x" }.into()),
        }
    }

    /// Normalises x and quantises the result in the same pass.
    ///
    /// # Errors
    /// As [`run`](Self::run), and where the norm does not quantise.
    pub fn run_quantised(self, x: &Tensor) -> Result<Quantised> {
        self.quantised(x, Wanted::default())
    }

    /// The same, with the new residual stream.
    ///
    /// # Errors
    /// As [`run_quantised`](Self::run_quantised), and where the norm makes no residual stream.
    pub fn run_quantised_with_residual(self, x: &Tensor) -> Result<Quantised> {
        self.quantised(x, Wanted { residual: true })
    }

    fn quantised(self, x: &Tensor, wanted: Wanted) -> Result<Quantised> {
        let asked = "codes are asked for";
        self.results(self.norm.quantisation.is_none(), asked, "a norm with a quantisation")?;
        let prepared = Prepared::new(&self, x, wanted)?;
        let (codes, scales, residual) = run::quantised(&prepared)?;
        Ok(Quantised { codes, scales, residual })
    }

    fn outputs(self, x: &Tensor, wanted: Wanted) -> Result<Outputs> {
        let quantises = self.norm.quantisation.is_some();
        self.results(quantises, "y is asked for of a norm that quantises it", "run_quantised")?;
        run::outputs(&Prepared::new(&self, x, wanted)?)
    }

    fn results(&self, refused: bool, asked: &'static str, wanted: &'static str) -> Result<()> {
        if refused { Err(TensorError::Results { asked, wanted }.into()) } else { Ok(()) }
    }
}
