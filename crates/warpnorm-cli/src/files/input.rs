//! The tensors of norms in a file.

use super::{FileFault, TensorFile};
use crate::error::ToolError;
use crate::tensors::{self, Present, join};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeSet;
use warpnorm::host::{BatchProblem, Heads, Outputs, Problem, RopeTables, Vector};
use warpnorm::{BatchStatistics, CallError, DType, Family, Norm, PositionType, Rope, Scope};

/// What floating-point tensors are.
const FLOATING: &str = "F32, F16 or BF16";

/// The tensors of a file.
pub struct Tensors<'a> {
    pub(super) file: &'a TensorFile,
    pub(super) tensors: SafeTensors<'a>,
}

/// The tensors of one norm in a file.
#[derive(Debug)]
pub struct NormInput<'a> {
    /// What stands before the tensors' names and a dot; empty where nothing does.
    pub prefix: String,
    /// The type of x, residual and gate.
    pub dtype: DType,
    /// The shape of x; its last dimension is a row.
    pub shape: Vec<usize>,
    /// All dimensions but the last, multiplied.
    pub rows: usize,
    /// Elements of a row, or of a part of it; at least 1.
    pub hidden: usize,
    /// Heads or groups of a row.
    pub parts: usize,
    /// The shape of the second heads' tensor, if there is one.
    pub second_shape: Option<Vec<usize>>,
    norm: Norm,
    x: &'a [u8],
    residual: Option<&'a [u8]>,
    gate: Option<&'a [u8]>,
    weight: Option<Vector<'a>>,
    bias: Option<Vector<'a>>,
    linear_bias: Option<Vector<'a>>,
    inner_weight: Option<Vector<'a>>,
    rate: Option<Vector<'a>>,
    second: Option<Heads<'a>>,
    rope: Option<(&'a [u8], &'a [u8], DType)>,
    positions: Option<(Vec<i64>, PositionType)>,
}

impl NormInput<'_> {
    /// All that there is to ask for beside y: second heads leave out the statistics.
    pub fn all_outputs(&self) -> Outputs {
        let statistics = self.second.is_none();
        Outputs {
            y: true,
            residual: self.norm.input.stores_residual(),
            mean: statistics && self.norm.family == Family::LayerNorm,
            rstd: statistics && self.norm.family != Family::Identity,
        }
    }

    /// The problem that the statistics of these tensors' columns are.
    pub fn batch_problem(&self, statistics: BatchStatistics) -> BatchProblem<'_> {
        let problem = BatchProblem::new(statistics, self.dtype, self.rows, self.hidden, self.x);
        BatchProblem { weight: self.weight, bias: self.bias, ..problem }
    }

    /// The problem that the norm of these tensors is.
    pub fn problem(&self, tensor_scale: Option<f32>, outputs: Outputs) -> Problem<'_> {
        Problem {
            residual: self.residual,
            gate: self.gate,
            weight: self.weight,
            bias: self.bias,
            linear_bias: self.linear_bias,
            inner_weight: self.inner_weight,
            rate: self.rate,
            tensor_scale,
            parts: self.parts,
            second: self.second,
            rope: self.rope.map(|(cos, sin, dtype)| RopeTables {
                cos,
                sin,
                dtype,
                positions: self.positions.as_ref().map(|(positions, _)| positions.as_slice()),
                position_type: self.positions.as_ref().map_or(PositionType::I64, |(_, kind)| *kind),
            }),
            outputs,
            ..Problem::new(self.norm, self.dtype, self.rows, self.hidden, self.x)
        }
    }
}

impl<'a> Tensors<'a> {
    /// The prefixes under which there is an x, sorted.
    ///
    /// # Errors
    /// There is none.
    pub fn prefixes(&self) -> Result<Vec<String>, ToolError> {
        let names = self.tensors.names();
        let prefixes: BTreeSet<String> = names
            .iter()
            .filter_map(|name| if *name == "x" { Some("") } else { name.strip_suffix(".x") })
            .map(str::to_owned)
            .collect();
        if prefixes.is_empty() {
            return Err(self.missing("x"));
        }
        Ok(prefixes.into_iter().collect())
    }

    /// Names of tensors that norms without a prefix know nothing of, sorted.
    pub fn unused(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.tensors.names().into_iter().collect();
        names.into_iter().filter(|name| !tensors::names().any(|known| known == *name)).map(str::to_owned).collect()
    }

    /// Which tensors of norms there are under a prefix.
    ///
    /// # Errors
    /// There is no x.
    pub fn present(&self, prefix: &str) -> Result<Present, ToolError> {
        let there = |name: &str| self.tensors.tensor(name).ok();
        if there(&join(prefix, "x")).is_none() {
            return Err(self.missing(&join(prefix, "x")));
        }
        let cos = there(&join(prefix, "cos"));
        let table_row = cos.and_then(|cos| cos.shape().last().copied());
        Ok(Present::new(prefix, |name| there(name).is_some(), table_row))
    }

    /// The tensors of a norm under a prefix, of rows of so many parts.
    ///
    /// # Errors
    /// x is missing, or shapes and types do not fit one another.
    pub fn norm_input(&self, prefix: &str, norm: Norm, parts: usize) -> Result<NormInput<'a>, ToolError> {
        let name = |name: &str| join(prefix, name);
        let (dtype, x) = self.floating(&name("x"))?.ok_or_else(|| self.missing(&name("x")))?;
        let shape = x.shape().to_vec();
        let Some((&row, leading)) = shape.split_last() else {
            return Err(self.file.fault(FileFault::Scalar { name: name("x") }));
        };
        if row == 0 {
            return Err(CallError::Hidden { given: 0 }.into());
        }
        if parts == 0 || row % parts != 0 {
            let what = if norm.scope == Scope::Head { "heads" } else { "groups" };
            return Err(self.file.fault(FileFault::Parts { name: name("x"), given: row, parts, what }));
        }
        let product = leading.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let rows = product.ok_or(CallError::TooLarge { rows: usize::MAX, stride: row })?;
        let hidden = row / parts;
        let parameters = if norm.scope == Scope::Group { row } else { hidden };
        let second = self.second_heads(prefix, dtype, leading, hidden)?;
        Ok(NormInput {
            prefix: prefix.to_owned(),
            dtype,
            rows,
            hidden,
            parts,
            second_shape: second.as_ref().map(|(_, shape)| shape.clone()),
            norm,
            x: x.data(),
            residual: self.matrix(&name("residual"), dtype, &shape)?,
            gate: self.matrix(&name("gate"), dtype, &shape)?,
            weight: self.vector(&name("weight"), parameters)?,
            bias: self.vector(&name("bias"), parameters)?,
            linear_bias: self.vector(&name("linear_bias"), hidden)?,
            inner_weight: self.vector(&name("inner_weight"), hidden)?,
            rate: self.vector(&name("rate"), hidden)?,
            second: second.map(|(heads, _)| heads),
            rope: norm.rope.map(|rope| self.tables(prefix, rope)).transpose()?,
            positions: self.positions(&name("positions"), leading)?,
            shape,
        })
    }

    /// A matrix of the type and shape of x.
    fn matrix(&self, name: &str, wanted: DType, shape: &[usize]) -> Result<Option<&'a [u8]>, ToolError> {
        let Some((given, matrix)) = self.floating(name)? else { return Ok(None) };
        self.check_type(name, given, wanted, "x")?;
        self.check_shape(name, matrix.shape(), shape)?;
        Ok(Some(matrix.data()))
    }

    fn vector(&self, name: &str, length: usize) -> Result<Option<Vector<'a>>, ToolError> {
        let Some((dtype, vector)) = self.floating(name)? else { return Ok(None) };
        self.check_shape(name, vector.shape(), &[length])?;
        Ok(Some(Vector { dtype, bytes: vector.data() }))
    }

    /// The second heads and their shape, that of x but for the number of heads.
    fn second_heads(
        &self,
        prefix: &str,
        wanted: DType,
        leading: &[usize],
        hidden: usize,
    ) -> Result<Option<(Heads<'a>, Vec<usize>)>, ToolError> {
        let name = |name: &str| join(prefix, name);
        let Some((given, x)) = self.floating(&name("second_x"))? else { return Ok(None) };
        self.check_type(&name("second_x"), given, wanted, "x")?;
        let row = x.shape().last().copied().unwrap_or(0);
        if row == 0 || row % hidden != 0 {
            return Err(self.file.fault(FileFault::SecondHeads { name: name("second_x"), given: row, hidden }));
        }
        let shape: Vec<usize> = leading.iter().copied().chain([row]).collect();
        self.check_shape(&name("second_x"), x.shape(), &shape)?;
        let heads = Heads {
            x: x.data(),
            count: row / hidden,
            weight: self.vector(&name("second_weight"), hidden)?,
            bias: self.vector(&name("second_bias"), hidden)?,
        };
        Ok(Some((heads, shape)))
    }

    /// cos and sin, and their type.
    fn tables(&self, prefix: &str, rope: Rope) -> Result<(&'a [u8], &'a [u8], DType), ToolError> {
        let table = |table: &str| {
            let name = join(prefix, table);
            self.floating(&name)?.ok_or_else(|| self.missing(&name)).map(|found| (name, found))
        };
        let (name, (dtype, cos)) = table("cos")?;
        let half = rope.dim / 2;
        if cos.shape().len() != 2 || cos.shape()[1] != half {
            return Err(self.file.fault(FileFault::Table { name, given: cos.shape().to_vec(), half }));
        }
        let (name, (given, sin)) = table("sin")?;
        self.check_type(&name, given, dtype, "cos")?;
        self.check_shape(&name, sin.shape(), cos.shape())?;
        Ok((cos.data(), sin.data(), dtype))
    }

    /// A position for every row.
    fn positions(&self, name: &str, leading: &[usize]) -> Result<Option<(Vec<i64>, PositionType)>, ToolError> {
        let Ok(view) = self.tensors.tensor(name) else { return Ok(None) };
        self.check_shape(name, view.shape(), leading)?;
        let (words, _) = view.data().as_chunks::<4>();
        let (long_words, _) = view.data().as_chunks::<8>();
        match view.dtype() {
            Dtype::I32 => {
                let positions = words.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect();
                Ok(Some((positions, PositionType::I32)))
            }
            Dtype::I64 => {
                let positions = long_words.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect();
                Ok(Some((positions, PositionType::I64)))
            }
            given => Err(self.file.fault(FileFault::Type { name: name.to_owned(), given, wanted: "I32 or I64" })),
        }
    }

    fn check_type(&self, name: &str, given: DType, wanted: DType, like: &'static str) -> Result<(), ToolError> {
        if given == wanted {
            return Ok(());
        }
        Err(self.file.fault(FileFault::OtherType { name: name.to_owned(), given, wanted, like }))
    }

    fn check_shape(&self, name: &str, given: &[usize], wanted: &[usize]) -> Result<(), ToolError> {
        if given == wanted {
            return Ok(());
        }
        let (given, wanted) = (given.to_vec(), wanted.to_vec());
        Err(self.file.fault(FileFault::Shape { name: name.to_owned(), given, wanted }))
    }

    /// A tensor, if it is there, and the type of its elements.
    fn floating(&self, name: &str) -> Result<Option<(DType, TensorView<'a>)>, ToolError> {
        let Ok(view) = self.tensors.tensor(name) else { return Ok(None) };
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            given => {
                return Err(self.file.fault(FileFault::Type { name: name.to_owned(), given, wanted: FLOATING }));
            }
        };
        Ok(Some((dtype, view)))
    }

    fn missing(&self, name: &str) -> ToolError {
        /// Names that a message lists at most.
        const LISTED: usize = 8;
        let names: BTreeSet<&str> = self.tensors.names().into_iter().collect();
        let mut present = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
        if names.len() > LISTED {
            present.push_str(&format!(", … ({} in all)", names.len()));
        } else if names.is_empty() {
            present.push_str("none");
        }
        self.file.fault(FileFault::Missing { name: name.to_owned(), present })
    }
}
