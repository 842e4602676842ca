//! CUDA tensors: their own stream and context, one launch.

use crate::error::of_library;
use crate::prepared::{Buffer, Prepared};
use crate::run::Storages;
use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr, DevicePtrMut, SyncOnDrop};
use candle_core::cuda_backend::{CudaStorage, CudaStorageSlice};
use candle_core::{CudaDevice, DType as CandleDType, Device, Error, Result, Storage, StorageRef, Tensor};
use std::collections::BTreeMap;
use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};
use warpnorm::cuda::Kernels;
use warpnorm::plan::Module;
use warpnorm::{DType, Norm, Role};

/// The kernels of every GPU that a norm ran on, by ordinal: as many as the machine has GPUs, for as long as the
/// program runs. candle works in a GPU's primary context, which all its devices of that GPU share.
static KERNELS: RwLock<BTreeMap<usize, Arc<Kernels>>> = RwLock::new(BTreeMap::new());

/// The kernels that norms on this device run on: for launches beside candle's, on addresses or on slices of cudarc,
/// and for what [`Kernels`] says of the device.
///
/// # Errors
/// The driver fails.
pub fn kernels(device: &CudaDevice) -> Result<Arc<Kernels>> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let ordinal = context.ordinal();
    // The map is whole after every step, so a panic elsewhere spoils nothing.
    if let Some(kernels) = KERNELS.read().unwrap_or_else(PoisonError::into_inner).get(&ordinal) {
        return Ok(Arc::clone(kernels));
    }
    let mut all = KERNELS.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(kernels) = all.get(&ordinal) {
        return Ok(Arc::clone(kernels));
    }
    let kernels = Arc::new(Kernels::new(context).map_err(of_library)?);
    all.insert(ordinal, Arc::clone(&kernels));
    Ok(kernels)
}

/// Loads what these norms of activations of one type run on: before the first request of a server, and before a graph
/// is captured. Does nothing on a CPU.
///
/// Rows of x alone that are two nested strides apart run as heads: `with_scope(Scope::Head)`.
///
/// # Errors
/// The type is none of f32, f16 and bf16, there are no kernels for such a norm or such a GPU, or the driver fails.
pub fn warm_up(device: &Device, norms: &[Norm], dtype: CandleDType) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    let dtype = match dtype {
        CandleDType::F32 => DType::F32,
        CandleDType::F16 => DType::F16,
        CandleDType::BF16 => DType::BF16,
        given => return Err(Error::msg(format!("activations are {given:?}, wanted f32, f16 or bf16"))),
    };
    let modules: Vec<Module> = norms.iter().map(|norm| Module::of(norm, dtype)).collect();
    kernels(device)?.warm_up(&modules).map_err(of_library)
}

/// Results in device memory.
struct Results(Vec<(Role, CudaStorageSlice)>);

impl Results {
    fn allocate(prepared: &Prepared<'_>, device: &CudaDevice) -> Result<Self> {
        let buffer = |(role, buffer, length)| -> Result<_> {
            // Scales of no row are written by nobody.
            if role == Role::Scales {
                return Ok((
                    role,
                    match buffer {
                        Buffer::F32 => CudaStorageSlice::F32(device.alloc_zeros(length)?),
                        _ => CudaStorageSlice::U8(device.alloc_zeros(length)?),
                    },
                ));
            }
            // SAFETY: the launch writes all of it before anything that the stream, or an event of it, orders after.
            let slice = unsafe {
                match (buffer, prepared.dtype) {
                    (Buffer::Activations, DType::F32) | (Buffer::F32, _) => {
                        CudaStorageSlice::F32(device.alloc(length)?)
                    }
                    (Buffer::Activations, DType::F16) => CudaStorageSlice::F16(device.alloc(length)?),
                    (Buffer::Activations, DType::BF16) => CudaStorageSlice::BF16(device.alloc(length)?),
                    (Buffer::Bytes, _) => CudaStorageSlice::U8(device.alloc(length)?),
                }
            };
            Ok((role, slice))
        };
        Ok(Self(prepared.results().map(buffer).collect::<Result<_>>()?))
    }

    fn into_storages(self, device: &CudaDevice) -> Storages {
        let mut storages = Storages::default();
        for (role, slice) in self.0 {
            let storage = Storage::Cuda(CudaStorage { slice, device: device.clone() });
            let place = match role {
                Role::ResidualOut => &mut storages.residual,
                Role::SecondY => &mut storages.second,
                Role::Codes => &mut storages.codes,
                Role::Scales => &mut storages.scales,
                _ => &mut storages.y,
            };
            *place = Some(storage);
        }
        storages
    }
}

pub(crate) fn run(prepared: &Prepared<'_>, device: &CudaDevice) -> Result<Storages> {
    let kernels = kernels(device)?;
    let stream = device.cuda_stream();
    let inputs: Vec<(Role, &Tensor, usize)> = prepared.inputs().collect();
    let mut results = Results::allocate(prepared, device)?;
    let locked = Locked::new(&inputs);

    let mut addresses: Vec<(Role, u64)> = Vec::with_capacity(inputs.len() + results.0.len());
    // Dropped after the launch: then the slices have their events of being read and written.
    let mut events: Vec<SyncOnDrop<'_>> = Vec::with_capacity(addresses.capacity());
    for (at, &(role, tensor, offset)) in inputs.iter().enumerate() {
        let (start, event) = read(locked.storage(at), &stream)?;
        addresses.push((role, start + (offset * tensor.dtype().size_in_bytes()) as u64));
        events.push(event);
    }
    for (role, slice) in &mut results.0 {
        let (start, event) = write(slice, &stream)?;
        addresses.push((*role, start));
        events.push(event);
    }
    // cudarc notes in the context what failed while the stream was made to wait for its tensors.
    stream.context().check_err().map_err(Error::wrap)?;
    // A tensor that is not there is not asked for; null would be refused.
    let address = |role| addresses.iter().find(|(one, _)| *one == role).map_or(0, |(_, address)| *address);
    let call = prepared.call(address);
    // SAFETY:
    // 1. Inputs are tensors of candle, whose layouts stay within their storages, and rows were derived from those;
    //    vectors are as long as was checked; results were allocated with the lengths that the call has, packed.
    // 2. The storages are locked, and so alive, until the launch is queued. candle frees device memory in the
    //    order of the stream that it was allocated on, after the events that `events` record where there are several
    //    streams. Graphs are the capturing caller's to keep alive, as with all ops of candle.
    // 3. Inputs are locked for reading, results are not known to anyone yet; other streams are ordered by the events.
    // 4. Tensors of candle were written on their stream, which `read` waits for where it is another one.
    unsafe { kernels.launch_raw(&stream, &call) }.map_err(of_library)?;
    drop(events);
    drop(locked);
    Ok(results.into_storages(device))
}

/// The address of a storage's first element, and the event of its being read.
fn read<'a>(storage: &'a Storage, stream: &'a CudaStream) -> Result<(u64, SyncOnDrop<'a>)> {
    let Storage::Cuda(storage) = storage else { return Err(Error::msg("a tensor left its device")) };
    match &storage.slice {
        CudaStorageSlice::F32(slice) => Ok(slice.device_ptr(stream)),
        CudaStorageSlice::F16(slice) => Ok(slice.device_ptr(stream)),
        CudaStorageSlice::BF16(slice) => Ok(slice.device_ptr(stream)),
        CudaStorageSlice::U32(slice) => Ok(slice.device_ptr(stream)),
        CudaStorageSlice::I32(slice) => Ok(slice.device_ptr(stream)),
        CudaStorageSlice::I64(slice) => Ok(slice.device_ptr(stream)),
        // Refused when the norm was prepared.
        _ => Err(Error::msg("no norm has tensors of this type")),
    }
}

/// The address of a result's first element, and the event of its being written.
fn write<'a>(slice: &'a mut CudaStorageSlice, stream: &'a CudaStream) -> Result<(u64, SyncOnDrop<'a>)> {
    match slice {
        CudaStorageSlice::F32(slice) => Ok(slice.device_ptr_mut(stream)),
        CudaStorageSlice::F16(slice) => Ok(slice.device_ptr_mut(stream)),
        CudaStorageSlice::BF16(slice) => Ok(slice.device_ptr_mut(stream)),
        CudaStorageSlice::U8(slice) => Ok(slice.device_ptr_mut(stream)),
        _ => Err(Error::msg("no norm has results of this type")),
    }
}

/// The storages of tensors, each locked once: two views of one storage would else lock it twice, which waits forever
/// where a writer stands between the two.
struct Locked<'a> {
    guards: Vec<StorageRef<'a>>,
    /// Of every tensor, the guard of its storage.
    places: Vec<usize>,
}

impl<'a> Locked<'a> {
    fn new(tensors: &[(Role, &'a Tensor, usize)]) -> Self {
        // Which storage it is, only its lock tells; none is held while the next one is asked.
        let identity = |tensor: &'a Tensor| {
            let (guard, _) = tensor.storage_and_layout();
            ptr::from_ref(StorageRef::rwlock(&guard)).addr()
        };
        let mut guards = Vec::with_capacity(tensors.len());
        let mut places = Vec::with_capacity(tensors.len());
        let identities: Vec<usize> = tensors.iter().map(|(_, tensor, _)| identity(tensor)).collect();
        let mut first: Vec<usize> = Vec::with_capacity(tensors.len());
        for (&identity, (_, tensor, _)) in identities.iter().zip(tensors) {
            let place = match first.iter().position(|&one| one == identity) {
                Some(place) => place,
                None => {
                    first.push(identity);
                    guards.push(tensor.storage_and_layout().0);
                    guards.len() - 1
                }
            };
            places.push(place);
        }
        Self { guards, places }
    }

    fn storage(&self, tensor: usize) -> &Storage {
        &self.guards[self.places[tensor]]
    }
}
