//! Statuses, and the words of the last error of every thread.

use crate::error::Failure;
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a call of this library went. New ones may be added.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It did what was asked.
    Ok = 0,
    /// An argument, a value of a structure, a shape or a pointer is not what it must be.
    InvalidArgument = 1,
    /// There is no kernel for this combination, or this build or the device cannot run it.
    Unsupported = 2,
    /// There is no NVIDIA driver on this machine.
    NoDriver = 3,
    /// The machine has no such device.
    NoDevice = 4,
    /// The driver refused something, or reports a failure of earlier work.
    DriverError = 5,
    /// A tensor is in memory that the device cannot access, or the stream is of another context.
    WrongDevice = 6,
    /// This is no device.
    InvalidHandle = 7,
    /// This device has been destroyed.
    DestroyedHandle = 8,
    /// The stream is capturing and the op's kernel is not loaded: see warpnorm_warm_up.
    NotLoaded = 9,
    /// The executor of the emulated device found a fault.
    EmulatorFault = 10,
    /// A fault of this library, which has left its other devices and calls intact.
    Internal = 11,
}

impl Status {
    fn name(self) -> &'static CStr {
        match self {
            Status::Ok => c"ok",
            Status::InvalidArgument => c"invalid argument",
            Status::Unsupported => c"unsupported",
            Status::NoDriver => c"no driver",
            Status::NoDevice => c"no device",
            Status::DriverError => c"driver error",
            Status::WrongDevice => c"wrong device",
            Status::InvalidHandle => c"invalid handle",
            Status::DestroyedHandle => c"destroyed handle",
            Status::NotLoaded => c"module not loaded",
            Status::EmulatorFault => c"emulator fault",
            Status::Internal => c"internal error",
        }
    }

    const ALL: [Status; 12] = [
        Status::Ok,
        Status::InvalidArgument,
        Status::Unsupported,
        Status::NoDriver,
        Status::NoDevice,
        Status::DriverError,
        Status::WrongDevice,
        Status::InvalidHandle,
        Status::DestroyedHandle,
        Status::NotLoaded,
        Status::EmulatorFault,
        Status::Internal,
    ];
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs an entry point. Neither errors nor panics leave it but as a status, their words kept for this thread.
pub(crate) fn entry(body: impl FnOnce() -> Result<(), Failure>) -> Status {
    // Whatever a panic interrupts is the call's own, or behind locks that a panic does not make useless.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(failure)) => {
            keep(&failure.to_string());
            failure.status()
        }
        Err(payload) => {
            keep(&format!("internal error: {}", words(&*payload)));
            // Dropping it could panic again.
            std::mem::forget(payload);
            Status::Internal
        }
    }
}

fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without words")
}

fn keep(words: &str) {
    let text: Vec<u8> = words.bytes().filter(|&byte| byte != 0).collect();
    let text = CString::new(text).unwrap_or_default();
    // Where the thread is ending and its words are gone already, nobody will ask.
    let _ = LAST.try_with(|last| last.replace(text));
}

/// What went wrong in the last call of this thread that failed, in UTF-8; empty if none has. Valid until the next
/// call of this thread that fails.
#[unsafe(no_mangle)]
pub extern "C" fn warpnorm_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// A status in words, such as `invalid argument`. Valid for ever; of a number that is none, `unknown status`.
#[unsafe(no_mangle)]
pub extern "C" fn warpnorm_status_name(status: u32) -> *const c_char {
    let known = Status::ALL.into_iter().find(|&one| one as u32 == status);
    known.map_or(c"unknown status", Status::name).as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last() -> String {
        // SAFETY: the words of this thread, which nothing replaces here.
        unsafe { CStr::from_ptr(warpnorm_last_error()) }.to_str().expect("UTF-8").to_owned()
    }

    #[test]
    fn a_panic_is_a_status_with_words() {
        assert_eq!(entry(|| panic!("of {}", 3)), Status::Internal);
        assert_eq!(last(), "internal error: of 3");
        assert_eq!(entry(|| std::panic::panic_any(7u8)), Status::Internal);
        assert_eq!(last(), "internal error: a panic without words");
        assert_eq!(entry(|| Ok(())), Status::Ok);
        assert_eq!(last(), "internal error: a panic without words");
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_does_not_get_out() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(entry(|| std::panic::panic_any(Bad)), Status::Internal);
    }

    #[test]
    fn every_status_has_a_number_of_its_own_and_words() {
        for (at, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, at);
            // SAFETY: a static string.
            let name = unsafe { CStr::from_ptr(warpnorm_status_name(at as u32)) };
            assert_ne!(name, c"unknown status");
        }
        // SAFETY: a static string.
        assert_eq!(unsafe { CStr::from_ptr(warpnorm_status_name(Status::ALL.len() as u32)) }, c"unknown status");
    }
}
