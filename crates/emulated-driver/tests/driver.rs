//! What the driver's documentation forbids is refused, through cudarc: `scripts/emulated_driver.sh` has these tests find
//! the library.

use cudarc::driver::sys::{CUfunction, CUgraphInstantiate_flags, CUmodule, CUresult, CUstreamCaptureMode as Mode};
use cudarc::driver::{CudaContext, CudaStream, DevicePtr, DriverError, result};
use std::ffi::{CStr, c_void};
use std::sync::Arc;

/// Stores the first argument's address there.
const STORE: &CStr = c"
.version 7.0
.target sm_70
.address_size 64
.visible .entry store(.param .u64 to)
{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [to];
    st.global.u64 [%rd1], %rd1;
    ret;
}";

const THREAD_LOCAL: Mode = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

fn context() -> Arc<CudaContext> {
    let context = CudaContext::new(0).expect("the driver");
    assert!(context.name().expect("a name").ends_with(", emulated"), "these tests are of the emulated driver");
    context
}

fn load(image: &CStr) -> Result<CUmodule, DriverError> {
    // SAFETY: it ends in a zero byte.
    unsafe { result::module::load_data(image.as_ptr().cast()) }
}

fn store() -> CUfunction {
    let module = load(STORE).expect("loads");
    // SAFETY: the module stays.
    unsafe {
        assert!(result::module::get_function(module, c"stored".to_owned()).is_err());
        result::module::get_function(module, c"store".to_owned()).expect("it is there")
    }
}

/// Launches it; the memory may be too small, to see that that is found.
fn launch(stream: &CudaStream, store: CUfunction, mut address: u64, shared: u32) -> Result<(), DriverError> {
    let mut arguments = [(&raw mut address).cast::<c_void>()];
    // SAFETY: there is the one parameter that it has; what it does to memory is checked.
    unsafe { result::launch_kernel(store, (1, 1, 1), (1, 1, 1), shared, stream.cu_stream(), &mut arguments) }
}

#[track_caller]
fn refused<T>(result: Result<T, DriverError>, wanted: CUresult) {
    let error = result.err().expect("a refusal");
    assert_eq!(error.0, wanted);
    assert!(error.to_string().contains(&format!("{wanted:?}")), "{error}");
}

#[test]
#[ignore = "needs the emulated driver"]
fn without_a_context() {
    let _context = context();
    let other = std::thread::spawn(|| {
        // SAFETY: nothing is allocated.
        unsafe { result::malloc_sync(64) }
    });
    refused(other.join().expect("no panic"), CUresult::CUDA_ERROR_INVALID_CONTEXT);
}

#[test]
#[ignore = "needs the emulated driver"]
fn what_a_capture_does_not_allow() {
    let context = context();
    let (stream, other) = (context.new_stream().expect("a stream"), context.new_stream().expect("a stream"));
    let spoiled = |wanted, what: &dyn Fn() -> Result<(), DriverError>| {
        stream.begin_capture(THREAD_LOCAL).expect("captures");
        refused(what(), wanted);
        refused(stream.end_capture(CUgraphInstantiate_flags(0)), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    };
    spoiled(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &|| stream.synchronize());
    spoiled(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &|| context.synchronize());
    spoiled(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &|| load(STORE).map(|_| ()));
    // Work from before a capture is nothing that its graph can wait for.
    let before = other.record_event(None).expect("records");
    spoiled(CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION, &|| stream.wait(&before));
    // Another stream that takes part has to come back.
    stream.begin_capture(THREAD_LOCAL).expect("captures");
    let fork = stream.record_event(None).expect("records");
    other.wait(&fork).expect("takes part");
    refused(stream.end_capture(CUgraphInstantiate_flags(0)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    stream.begin_capture(THREAD_LOCAL).expect("captures");
    let fork = stream.record_event(None).expect("records");
    other.wait(&fork).expect("takes part");
    stream.wait(&other.record_event(None).expect("records")).expect("comes back");
    assert!(stream.end_capture(CUgraphInstantiate_flags(0)).expect("ends").is_some());
    // The default stream waits for all others.
    let refusal = context.default_stream().begin_capture(THREAD_LOCAL);
    refused(refusal, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

#[test]
#[ignore = "needs the emulated driver"]
fn memory_that_is_not_there_or_holds_nothing() {
    let context = context();
    let stream = context.new_stream().expect("a stream");
    // SAFETY: it is read to see that that fails.
    let empty = unsafe { stream.alloc::<u32>(16) }.expect("allocates");
    refused(stream.clone_dtoh(&empty), CUresult::CUDA_ERROR_INVALID_VALUE);
    // SAFETY: it is freed once, and once more to see that that fails.
    unsafe {
        let address = result::malloc_sync(64).expect("allocates");
        result::free_sync(address).expect("frees");
        refused(result::free_sync(address), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
}

/// A copy on one stream of what another writes, with and without a wait for it.
#[test]
#[ignore = "needs the emulated driver"]
fn a_missing_wait_is_seen() {
    let context = context();
    let (writes, reads) = (context.new_stream().expect("a stream"), context.new_stream().expect("a stream"));
    // SAFETY: all work is waited for before anything is dropped.
    unsafe { context.disable_event_tracking() };
    let store = store();
    let copied = |waits: bool| {
        let place = writes.clone_htod(&[1u64]).expect("allocates");
        let copy = reads.clone_htod(&[2u64]).expect("allocates");
        context.synchronize().expect("runs");
        let (from, to) = (place.device_ptr(&writes).0, copy.device_ptr(&reads).0);
        launch(&writes, store, from, 0).expect("queues");
        let written = writes.record_event(None).expect("records");
        if waits {
            reads.wait(&written).expect("waits");
        }
        // SAFETY: both have eight bytes.
        unsafe { result::memcpy_dtod_async(to, from, 8, reads.cu_stream()) }.expect("queues");
        reads.synchronize().expect("runs");
        let mut found = [0u64];
        // SAFETY: as above.
        unsafe { result::memcpy_dtoh_sync(&mut found, to) }.expect("copies");
        context.synchronize().expect("runs");
        found[0] == from
    };
    assert!(copied(true) && !copied(false));
}

#[test]
#[ignore = "needs the emulated driver"]
fn launches_that_do_not_fit() {
    let context = context();
    let stream = context.new_stream().expect("a stream");
    let (store, place) = (store(), stream.alloc_zeros::<u64>(1).expect("allocates"));
    let address = place.device_ptr(&stream).0;
    launch(&stream, store, address, 0).expect("launches");
    assert_eq!(stream.clone_dtoh(&place).expect("copies"), [address]);
    // Nobody has asked for more than the usual 48 KiB.
    refused(launch(&stream, store, address, 50_000), CUresult::CUDA_ERROR_INVALID_VALUE);
    refused(load(c"no PTX"), CUresult::CUDA_ERROR_INVALID_PTX);
    refused(load(c"\x7fELF"), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
}

/// In a process of its own, which a fault is the end of.
#[test]
#[ignore = "needs the emulated driver"]
fn accesses_out_of_bounds() {
    const CHILD: &str = "EMULATED_DRIVER_FAULT";
    if std::env::var_os(CHILD).is_none() {
        let own = std::env::current_exe().expect("this program");
        let arguments = ["--exact", "accesses_out_of_bounds", "--ignored"];
        let run = std::process::Command::new(own).args(arguments).env(CHILD, "1").output().expect("runs");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && said.contains("st.global.u64"), "{said}");
        return;
    }
    let context = context();
    let stream = context.new_stream().expect("a stream");
    let place = stream.alloc_zeros::<u32>(1).expect("allocates");
    launch(&stream, store(), place.device_ptr(&stream).0, 0).expect("queues");
    refused(stream.synchronize(), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    // It is the end of the context.
    refused(context.synchronize(), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    // What is dropped would be freed in a broken context.
    std::process::exit(0);
}
