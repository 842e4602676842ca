//! All that the driver knows: handles, memory, captures.

use crate::Outcome;
use crate::capture::Captures;
use crate::queue::{Point, Stream};
use crate::work::Work;
use cudarc::driver::sys::{CUcontext, CUresult};
use ptx_emu::{Memory, Module};
use std::cell::Cell;
use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// The primary context of the device, the only one that there is.
pub(crate) const CONTEXT: CUcontext = ptr::without_provenance_mut(0xc0);

thread_local! {
    /// Whether the context is current on this thread.
    pub(crate) static IS_CURRENT: Cell<bool> = const { Cell::new(false) };
}

/// A number that stands for something, as the pointer that callers have of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle(pub usize);

impl Handle {
    pub(crate) fn of<T>(pointer: *mut T) -> Self {
        Self(pointer.addr())
    }

    pub(crate) fn pointer<T>(self) -> *mut T {
        ptr::without_provenance_mut(self.0)
    }

    /// Whether it is one of the streams that are always there.
    pub(crate) fn is_default_stream(self) -> bool {
        self.0 <= 2
    }
}

pub(crate) struct Function {
    pub module: Handle,
    pub name: String,
    /// Bytes of dynamic shared memory that launches may have.
    pub dynamic_shared: u32,
}

/// What an event stands behind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recorded {
    Never,
    /// Work of a stream.
    Behind(Point),
    /// Work that is done, since then.
    At(Instant),
    /// In a capture, by a stream.
    In(Handle, Handle),
}

pub(crate) struct State {
    last: usize,
    pub memory: Memory,
    /// Bytes of every allocation, and of all of them.
    pub allocated: HashMap<u64, usize>,
    pub taken: usize,
    pub modules: HashMap<Handle, Arc<Module>>,
    pub functions: HashMap<Handle, Function>,
    pub streams: HashMap<Handle, Stream>,
    pub events: HashMap<Handle, Recorded>,
    pub captures: Captures,
    /// The streams of cuBLAS's handles.
    pub blas: HashMap<Handle, Handle>,
    pub graphs: HashMap<Handle, Arc<Vec<Work>>>,
    pub executables: HashMap<Handle, Arc<Vec<Work>>>,
    /// A fault of a kernel ends all that comes after it.
    pub fault: Option<CUresult>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The state, for a caller that needs a context: what the driver refuses without one is refused, and what follows a
/// fault is.
pub(crate) fn locked() -> Outcome<Locked> {
    if !IS_CURRENT.get() {
        return Err(CUresult::CUDA_ERROR_INVALID_CONTEXT);
    }
    // Every step leaves it whole.
    let mut guard = STATE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    guard.get_or_insert_with(|| State {
        last: 0x1000,
        memory: Memory::new(),
        allocated: HashMap::new(),
        taken: 0,
        modules: HashMap::new(),
        functions: HashMap::new(),
        streams: HashMap::new(),
        events: HashMap::new(),
        captures: Captures::default(),
        blas: HashMap::new(),
        graphs: HashMap::new(),
        executables: HashMap::new(),
        fault: None,
    });
    let locked = Locked(guard);
    locked.fault.map_or(Ok(locked), Err)
}

pub(crate) struct Locked(MutexGuard<'static, Option<State>>);

impl std::ops::Deref for Locked {
    type Target = State;
    fn deref(&self) -> &State {
        self.0.as_ref().unwrap_or_else(|| unreachable!("made when it was locked"))
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.as_mut().unwrap_or_else(|| unreachable!("made when it was locked"))
    }
}

impl State {
    /// A handle that nothing had before.
    pub(crate) fn handle(&mut self) -> Handle {
        self.last += 0x10;
        Handle(self.last)
    }
}
