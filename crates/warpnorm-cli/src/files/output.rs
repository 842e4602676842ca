//! Tensors to be written, and files that appear whole or not at all.

use crate::error::ToolError;
use safetensors::Dtype;
use safetensors::tensor::{SafeTensorError, TensorView};
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use warpnorm::DType;
use warpnorm::quantise::{CodeType, Quantisation, ScaleLayout, ScaleType};

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
    /// Checks that a file can be written here, before the work that it is to hold. Its folder is made where it is not
    /// there.
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
        if let Err(source) = std::fs::create_dir_all(&folder) {
            return Err(ToolError::Folder { path, folder, source });
        }
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
