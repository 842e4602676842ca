//! Heads beside those of x.

use super::{NormCall, Parameter};
use crate::cuda::{IntoView, Rows, RowsMut};
use crate::{Element, ParameterOf};

/// The heads that are normalised beside those of x, and their parameters.
#[derive(Debug)]
pub struct Second<'a, E> {
    pub(in crate::cuda) heads: SecondHeads<'a, E>,
    pub(in crate::cuda) weight: Option<Parameter<'a>>,
    pub(in crate::cuda) bias: Option<Parameter<'a>>,
}

#[derive(Debug)]
pub enum SecondHeads<'a, E> {
    None,
    Apart(Rows<'a, E>, RowsMut<'a, E>),
    InPlace(RowsMut<'a, E>),
}

impl<E> Second<'_, E> {
    pub(super) const fn none() -> Self {
        Self { heads: SecondHeads::None, weight: None, bias: None }
    }
}

/// Heads and groups. Where the norm is of those, by [`Norm::with_scope`](crate::Norm::with_scope) or
/// [`Norm::with_rope`](crate::Norm::with_rope), x, y and gate are [`Rows::parts`] and [`RowsMut::parts`].
///
/// QK-norm and rotary embedding of packed projections in their place, as Qwen3 has them, in one launch:
///
/// ```no_run
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use half::bf16;
/// use warpnorm::cuda::{Kernels, PartLayout, RopeTables, RowsMut};
/// use warpnorm::{Norm, Rope, RopeRounding, WeightRounding};
///
/// # fn f(kernels: &Kernels, stream: &CudaStream, mut qkv: CudaSlice<bf16>, rows: usize, q_weight: CudaSlice<bf16>, k_weight: CudaSlice<bf16>, cos_sin: CudaSlice<bf16>, positions: CudaSlice<i64>) -> Result<(), warpnorm::Error> {
/// let (q_heads, k_heads, v_heads, hidden) = (32, 8, 8, 128);
/// let row = (q_heads + k_heads + v_heads) * hidden;
/// let q = PartLayout::packed(rows, q_heads, hidden).with_row_stride(row);
/// let k = PartLayout::packed(rows, k_heads, hidden).with_row_stride(row).starting_at(q_heads * hidden);
/// // Two mutable views of one buffer, which share no element; V is left as it is.
/// let [mut q, mut k] = RowsMut::disjoint(&mut qkv, [q, k])?;
///
/// // vLLM's cache: [cos | sin] of a position is a row of it.
/// let tables = RopeTables::cache(&cos_sin, hidden)?.positions(&positions);
/// let norm = Norm::rms_norm(1e-6)
///     .with_weight_rounding(WeightRounding::BeforeWeight)
///     .with_rope(Rope::half_split(hidden).with_rounding(RopeRounding::Each));
/// kernels
///     .norm(&norm)
///     .weight(&q_weight)
///     .second_in_place(&mut k)
///     .second_weight(&k_weight)
///     .rope(&tables)
///     .run_in_place(stream, &mut q)
/// # }
/// ```
///
/// Mamba-2's norm of groups, gated before (its `norm_before_gate` false), of packed `[z | x]` rows. The weight is as
/// long as the row:
///
/// ```no_run
/// # use cudarc::driver::{CudaSlice, CudaStream};
/// # use half::bf16;
/// use warpnorm::cuda::{Kernels, PartLayout, Rows, RowsMut};
/// use warpnorm::{Activation, Input, Norm, Scope};
///
/// # fn f(kernels: &Kernels, stream: &CudaStream, zx: CudaSlice<bf16>, rows: usize, weight: CudaSlice<f32>, mut out: CudaSlice<bf16>) -> Result<(), warpnorm::Error> {
/// let (groups, hidden) = (8, 512);
/// let row = groups * hidden;
/// let packed = PartLayout::packed(rows, groups, hidden);
/// let z = Rows::parts(&zx, packed.with_row_stride(2 * row))?;
/// let x = Rows::parts(&zx, packed.with_row_stride(2 * row).starting_at(row))?;
/// let mut y = RowsMut::parts(&mut out, packed)?;
/// let norm = Norm::rms_norm(1e-5).with_scope(Scope::Group).with_input(Input::Gated(Activation::SILU));
/// kernels.norm(&norm).gate(&z).weight(&weight).run(stream, &x, &mut y)
/// # }
/// ```
impl<'a, E: Element> NormCall<'a, E> {
    /// With heads beside those of x, in the same launch: as many rows of heads of as many elements, of a number of
    /// their own. They have a weight and a bias of their own where those of x do.
    ///
    /// ```no_run
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::f16;
    /// # use warpnorm::cuda::{Kernels, PartLayout, Rows, RowsMut};
    /// # use warpnorm::{Norm, Scope};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, qkv: CudaSlice<f16>, rows: usize, mut q_out: CudaSlice<f16>, mut k_out: CudaSlice<f16>) -> Result<(), warpnorm::Error> {
    /// let (heads, hidden) = (16, 64);
    /// let packed = PartLayout::packed(rows, heads, hidden);
    /// let in_qkv = packed.with_row_stride(3 * heads * hidden);
    /// let q = Rows::parts(&qkv, in_qkv)?;
    /// let k = Rows::parts(&qkv, in_qkv.starting_at(heads * hidden))?;
    /// let mut q_out = RowsMut::parts(&mut q_out, packed)?;
    /// let mut k_out = RowsMut::parts(&mut k_out, packed)?;
    /// let norm = Norm::layer_norm(1e-6).with_scope(Scope::Head);
    /// kernels.norm(&norm).second(&k, &mut k_out).run(stream, &q, &mut q_out)
    /// # }
    /// ```
    ///
    /// No two outputs are the same rows:
    ///
    /// ```compile_fail,E0499
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::f16;
    /// # use warpnorm::cuda::{Kernels, PartLayout, RowsMut};
    /// # use warpnorm::{Norm, Scope};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, mut qk: CudaSlice<f16>, layout: PartLayout) -> Result<(), warpnorm::Error> {
    /// let norm = Norm::rms_norm(1e-6).with_scope(Scope::Head);
    /// let mut q = RowsMut::parts(&mut qk, layout)?;
    /// kernels.norm(&norm).second_in_place(&mut q).run_in_place(stream, &mut q)
    /// # }
    /// ```
    ///
    /// Nor is a buffer borrowed twice but by [`RowsMut::disjoint`], which checks what it lends:
    ///
    /// ```compile_fail,E0499
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::f16;
    /// # use warpnorm::cuda::{Kernels, PartLayout, RowsMut};
    /// # use warpnorm::{Norm, Scope};
    /// # fn f(kernels: &Kernels, stream: &CudaStream, mut qk: CudaSlice<f16>, q: PartLayout, k: PartLayout) -> Result<(), warpnorm::Error> {
    /// let norm = Norm::rms_norm(1e-6).with_scope(Scope::Head);
    /// let mut q = RowsMut::parts(&mut qk, q)?;
    /// let mut k = RowsMut::parts(&mut qk, k)?;
    /// kernels.norm(&norm).second_in_place(&mut k).run_in_place(stream, &mut q)
    /// # }
    /// ```
    ///
    /// ```compile_fail,E0499
    /// # use cudarc::driver::{CudaSlice, CudaStream};
    /// # use half::f16;
    /// # use warpnorm::cuda::{PartLayout, RowsMut};
    /// # fn f(stream: &std::sync::Arc<CudaStream>, mut qk: CudaSlice<f16>, q: PartLayout, k: PartLayout) -> Result<(), Box<dyn std::error::Error>> {
    /// let [mut q, mut k] = RowsMut::disjoint(&mut qk, [q, k])?;
    /// stream.memset_zeros(&mut qk)?;
    /// # q.as_rows();
    /// # Ok(())
    /// # }
    /// ```
    pub fn second(mut self, x: &Rows<'a, E>, y: &'a mut RowsMut<'_, E>) -> Self {
        self.second.heads = SecondHeads::Apart(x.clone(), y.reborrow());
        self
    }

    /// As [`second`](Self::second), and the result takes their place.
    pub fn second_in_place(mut self, x: &'a mut RowsMut<'_, E>) -> Self {
        self.second.heads = SecondHeads::InPlace(x.reborrow());
        self
    }

    /// With the γ of the heads beside those of x, `hidden` elements of the weight's type.
    pub fn second_weight<W: ParameterOf<E>>(mut self, weight: impl IntoView<'a, Element = W>) -> Self {
        self.second.weight = Some(Parameter::new(weight.into_view()));
        self
    }

    /// With the β of the heads beside those of x, `hidden` elements of the bias's type.
    pub fn second_bias<W: ParameterOf<E>>(mut self, bias: impl IntoView<'a, Element = W>) -> Self {
        self.second.bias = Some(Parameter::new(bias.into_view()));
        self
    }
}
