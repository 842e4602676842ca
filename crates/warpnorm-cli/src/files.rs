//! Files: what is read is checked first, what is written appears whole or not at all.

use crate::error::ToolError;
use safetensors::tensor::{SafeTensorError, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use warpnorm::host::{Outputs, Problem, Vector};
use warpnorm::quantise::{CodeType, Quantisation, ScaleLayout, ScaleType};
use warpnorm::{CallError, DType, Norm};

#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian, and their elements are passed on as they are");

/// What is wrong with the contents of a file.
#[derive(Debug, Error)]
pub enum FileFault {
    /// The file is not in the format.
    #[error("not a safetensors file: {0}")]
    Format(SafeTensorError),
    /// The file ends before its last tensor.
    #[error("truncated: tensor `{name}` ends at byte {end} of the data, and {given} are there")]
    Truncated {
        /// A tensor that is not all there.
        name: String,
        /// Where it ends, in bytes.
        end: usize,
        /// Bytes of data in the file.
        given: usize,
    },
    /// A tensor is not in the file.
    #[error("no tensor `{name}`; the file has {present}")]
    Missing {
        /// The tensor.
        name: String,
        /// Those that are there.
        present: String,
    },
    /// A tensor has elements that no norm takes.
    #[error("tensor `{name}` is {given}, wanted F32, F16 or BF16")]
    Type {
        /// The tensor.
        name: String,
        /// The type of its elements.
        given: Dtype,
    },
    /// A residual of another type than x.
    #[error("tensor `{name}` is {given}, wanted {wanted} as x is")]
    ResidualType {
        /// The tensor.
        name: String,
        /// Its type.
        given: DType,
        /// The type of x.
        wanted: DType,
    },
    /// A tensor without dimensions has no rows.
    #[error("tensor `{name}` is a scalar, wanted at least one dimension")]
    Scalar {
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than x makes it have.
    #[error("tensor `{name}` has shape {given:?}, wanted {wanted:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        given: Vec<usize>,
        /// The shape wanted.
        wanted: Vec<usize>,
    },
    /// A baseline that is none.
    #[error("not a profile: {0}")]
    Profile(serde_json::Error),
    /// A baseline of another GPU.
    #[error("the profile is of {given}, wanted one of {wanted}")]
    ProfiledGpu {
        /// The GPU of the baseline.
        given: String,
        /// The GPU that is profiled.
        wanted: String,
    },
}

/// A safetensors file in memory.
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The header of the format, as far as offsets go.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    _metadata: Option<HashMap<String, String>>,
    #[serde(flatten)]
    tensors: HashMap<String, TensorInfo>,
}

impl TensorFile {
    /// Reads a file whole.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, ToolError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { path: path.to_owned(), bytes }),
            Err(source) => Err(ToolError::Read { path: path.to_owned(), source }),
        }
    }

    /// Checks the header.
    ///
    /// # Errors
    /// The file is not in the format, or truncated.
    pub fn tensors(&self) -> Result<Tensors<'_>, ToolError> {
        let tensors = check_offsets(&self.bytes)
            .and_then(|()| SafeTensors::deserialize(&self.bytes).map_err(FileFault::Format))
            .map_err(|fault| self.fault(fault))?;
        Ok(Tensors { file: self, tensors })
    }

    fn fault(&self, fault: FileFault) -> ToolError {
        ToolError::File { path: self.path.clone(), fault }
    }
}

/// Refuses offsets past the end of the file: the format's own reader adds them up without a check for
/// overflow, and has no word for a file that is too short.
fn check_offsets(bytes: &[u8]) -> Result<(), FileFault> {
    let format = FileFault::Format;
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(format(SafeTensorError::HeaderTooSmall))?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| format(SafeTensorError::HeaderTooLarge))?;
    let (header, data) = rest.split_at_checked(length).ok_or(format(SafeTensorError::InvalidHeaderLength))?;
    let header: Header =
        serde_json::from_slice(header).map_err(|error| format(SafeTensorError::InvalidHeaderDeserialization(error)))?;
    let past_the_end = header.tensors.into_iter().filter(|(_, info)| info.data_offsets.1 > data.len());
    // The first by name, for a message that does not change from run to run.
    match past_the_end.min_by(|a, b| a.0.cmp(&b.0)) {
        Some((name, info)) => Err(FileFault::Truncated { name, end: info.data_offsets.1, given: data.len() }),
        None => Ok(()),
    }
}

/// The tensors of a file.
pub struct Tensors<'a> {
    file: &'a TensorFile,
    tensors: SafeTensors<'a>,
}

/// The tensors of one norm in a file.
#[derive(Debug)]
pub struct NormInput<'a> {
    /// What stands before the tensors' names and a dot; empty where nothing does.
    pub prefix: String,
    /// The type of x and residual.
    pub dtype: DType,
    /// The shape of x, hidden size last.
    pub shape: Vec<usize>,
    /// All dimensions but the last, multiplied.
    pub rows: usize,
    /// The last dimension; at least 1.
    pub hidden: usize,
    /// The elements of x.
    pub x: &'a [u8],
    /// The elements of the residual.
    pub residual: Option<&'a [u8]>,
    /// The weight.
    pub weight: Option<Vector<'a>>,
    /// The bias.
    pub bias: Option<Vector<'a>>,
}

/// Names of the tensors of a norm.
const NAMES: [&str; 4] = ["x", "residual", "weight", "bias"];

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

impl<'a> NormInput<'a> {
    /// A tensor of this norm as the file names it.
    pub fn tensor_name(&self, name: &str) -> String {
        join(&self.prefix, name)
    }

    /// The problem that a norm of these tensors is.
    pub fn problem(&self, norm: Norm, tensor_scale: Option<f32>, outputs: Outputs) -> Problem<'a> {
        Problem {
            residual: self.residual,
            weight: self.weight,
            bias: self.bias,
            tensor_scale,
            outputs,
            ..Problem::new(norm, self.dtype, self.rows, self.hidden, self.x)
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

    /// Names of tensors that the norm without a prefix does not use, sorted.
    pub fn unused(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.tensors.names().into_iter().collect();
        names.into_iter().filter(|name| !NAMES.contains(name)).map(str::to_owned).collect()
    }

    /// The tensors of the norm under a prefix.
    ///
    /// # Errors
    /// x is missing, or shapes and types do not fit one another.
    pub fn norm_input(&self, prefix: &str) -> Result<NormInput<'a>, ToolError> {
        let (dtype, x) = self.floating(&join(prefix, "x"))?.ok_or_else(|| self.missing(&join(prefix, "x")))?;
        let shape = x.shape().to_vec();
        let Some((&hidden, leading)) = shape.split_last() else {
            return Err(self.file.fault(FileFault::Scalar { name: join(prefix, "x") }));
        };
        if hidden == 0 {
            return Err(CallError::Hidden { given: 0 }.into());
        }
        let product = leading.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let rows = product.ok_or(CallError::TooLarge { rows: usize::MAX, stride: hidden })?;
        Ok(NormInput {
            prefix: prefix.to_owned(),
            dtype,
            rows,
            hidden,
            x: x.data(),
            residual: self.residual(&join(prefix, "residual"), dtype, &shape)?,
            weight: self.vector(&join(prefix, "weight"), hidden)?,
            bias: self.vector(&join(prefix, "bias"), hidden)?,
            shape,
        })
    }

    fn residual(&self, name: &str, wanted: DType, shape: &[usize]) -> Result<Option<&'a [u8]>, ToolError> {
        let Some((given, residual)) = self.floating(name)? else { return Ok(None) };
        if given != wanted {
            return Err(self.file.fault(FileFault::ResidualType { name: name.to_owned(), given, wanted }));
        }
        self.check_shape(name, residual.shape(), shape)?;
        Ok(Some(residual.data()))
    }

    fn vector(&self, name: &str, hidden: usize) -> Result<Option<Vector<'a>>, ToolError> {
        let Some((dtype, vector)) = self.floating(name)? else { return Ok(None) };
        self.check_shape(name, vector.shape(), &[hidden])?;
        Ok(Some(Vector { dtype, bytes: vector.data() }))
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
            given => return Err(self.file.fault(FileFault::Type { name: name.to_owned(), given })),
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

/// A tensor to be written.
pub struct OutputTensor<'a> {
    /// Its name.
    pub name: &'static str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub bytes: &'a [u8],
}

/// The format's name of an activation type.
pub fn format_type(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
    }
}

/// The codes of rows of this shape. Two e2m1 codes share a byte, as servers store them.
pub fn codes_tensor<'a>(quantisation: &Quantisation, shape: &[usize], bytes: &'a [u8]) -> OutputTensor<'a> {
    let dtype = match quantisation.code {
        CodeType::E4m3 => Dtype::F8_E4M3,
        CodeType::E5m2 => Dtype::F8_E5M2,
        CodeType::Int8 => Dtype::I8,
        CodeType::E2m1 => Dtype::U8,
    };
    let (leading, hidden) = split(shape);
    let shape = leading.iter().copied().chain([quantisation.row_bytes(hidden)]).collect();
    OutputTensor { name: "codes", dtype, shape, bytes }
}

/// The scales of rows of this shape; None where the quantisation makes none.
pub fn scales_tensor<'a>(quantisation: &Quantisation, shape: &[usize], bytes: &'a [u8]) -> Option<OutputTensor<'a>> {
    let dtype = match quantisation.scaling.scale_type()? {
        ScaleType::F32 => Dtype::F32,
        ScaleType::Ue8m0 => Dtype::F8_E8M0,
        ScaleType::E4m3 => Dtype::F8_E4M3,
    };
    let (leading, hidden) = split(shape);
    let (rows, groups): (usize, usize) = (leading.iter().product(), quantisation.groups(hidden));
    let shape = match quantisation.scaling.layout() {
        ScaleLayout::RowMajor => leading.iter().copied().chain([groups]).collect(),
        ScaleLayout::ColumnMajor { alignment } => vec![groups, rows.next_multiple_of(alignment.max(1))],
        ScaleLayout::Tiled => vec![rows.div_ceil(128), groups.div_ceil(4), 32, 4, 4],
    };
    Some(OutputTensor { name: "scales", dtype, shape, bytes })
}

/// All dimensions but the last, and the last.
fn split(shape: &[usize]) -> (&[usize], usize) {
    match shape.split_last() {
        Some((&hidden, leading)) => (leading, hidden),
        None => (&[], 1),
    }
}

/// A safetensors file of these tensors. The same tensors make the same bytes: a single metadata entry
/// has no order to vary.
///
/// # Errors
/// A tensor's bytes do not fit its shape.
pub fn serialize(tensors: Vec<OutputTensor<'_>>, metadata: (String, String)) -> Result<Vec<u8>, SafeTensorError> {
    let mut views = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        views.push((tensor.name, TensorView::new(tensor.dtype, tensor.shape, tensor.bytes)?));
    }
    safetensors::serialize(views, Some(HashMap::from([metadata])))
}

/// A file that is going to be written.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    folder: PathBuf,
}

impl Destination {
    /// Checks that a file can be written here, before the work that it is to hold.
    ///
    /// # Errors
    /// The path is no place for a file, or its folder takes none.
    pub fn new(path: &Path) -> Result<Self, ToolError> {
        let fail = |source| ToolError::Write { path: path.to_owned(), source: without_temporary_path(source) };
        // Through links, so that what is replaced is the file and not the link to it.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if path.file_name().is_none() || path.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(fail(io::Error::other("not a regular file")));
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let destination = Self { path, folder };
        destination.temporary().map_err(fail)?;
        Ok(destination)
    }

    /// Writes the file: beside its place, then into it in one step.
    ///
    /// # Errors
    /// The system refuses; then nothing has changed at the path.
    pub fn write(&self, contents: &[u8]) -> Result<(), ToolError> {
        let fail = |source| ToolError::Write { path: self.path.clone(), source: without_temporary_path(source) };
        let mut file = self.temporary().map_err(fail)?;
        file.write_all(contents).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
        file.persist(&self.path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    /// A file in the same folder that is gone when dropped, with the permissions of the one that it is
    /// to replace, or else those of any new file.
    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".warpnorm-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(&self.folder)?;
        if let Ok(there) = self.path.metadata() {
            file.as_file().set_permissions(there.permissions())?;
        }
        Ok(file)
    }
}

/// The system's error alone: tempfile adds the path of the temporary file, which says nothing to who
/// gave another.
fn without_temporary_path(error: io::Error) -> io::Error {
    // One that wraps no other is the system's own; one of no known kind is this file's.
    let wrapped = error.get_ref().is_some() && error.kind() != io::ErrorKind::Other;
    if wrapped { io::Error::from(error.kind()) } else { error }
}
