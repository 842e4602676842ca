//! Structures that C fills: read only where they are known to be what they say.

use crate::error::Failure;

/// A structure that starts with its size.
///
/// # Safety
/// `repr(C)`, the first field is a `u32`, and every pattern of bytes is a value.
pub(crate) unsafe trait Sized32: Copy {
    /// Its name in the header.
    const NAME: &'static str;
    /// The function that initialises it.
    const INITIALISER: &'static str;
}

/// Reads a structure of C's.
///
/// # Safety
/// The pointer is null, misaligned, or to memory of as many bytes as the structure's first field says.
pub(crate) unsafe fn read<T: Sized32>(argument: &'static str, pointer: *const T) -> Result<T, Failure> {
    check(argument, pointer)?;
    // SAFETY: not null and aligned; the first field is there, as the caller promises.
    let given = unsafe { *pointer.cast::<u32>() };
    check_size::<T>(given as usize)?;
    // SAFETY: as many bytes are there as `T` has, and they are a `T` whatever they are.
    Ok(unsafe { *pointer })
}

/// Writes a structure of C's, if C takes it for as large as it is here.
///
/// # Safety
/// The pointer is null, misaligned, or to memory of `size` bytes that nothing else uses.
pub(crate) unsafe fn write<T: Sized32>(
    argument: &'static str,
    pointer: *mut T,
    size: usize,
    value: T,
) -> Result<(), Failure> {
    check(argument, pointer)?;
    check_size::<T>(size)?;
    // SAFETY: not null, aligned, and of the size of `T`.
    unsafe { *pointer = value };
    Ok(())
}

/// Writes a result, where C wants it.
///
/// # Safety
/// The pointer is null, misaligned, or to a `T` that nothing else uses.
pub(crate) unsafe fn put<T>(argument: &'static str, pointer: *mut T, value: T) -> Result<(), Failure> {
    check(argument, pointer)?;
    // SAFETY: not null, aligned, and of a `T`.
    unsafe { pointer.write(value) };
    Ok(())
}

/// Refuses pointers that cannot be to a `T`.
pub(crate) fn check<T>(argument: &'static str, pointer: *const T) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::NullArgument { argument });
    }
    if !pointer.is_aligned() {
        return Err(Failure::MisalignedArgument { argument, address: pointer.addr(), wanted: align_of::<T>() });
    }
    Ok(())
}

fn check_size<T: Sized32>(given: usize) -> Result<(), Failure> {
    let (structure, initialiser, wanted) = (T::NAME, T::INITIALISER, size_of::<T>());
    if given == wanted { Ok(()) } else { Err(Failure::Size { structure, initialiser, given, wanted }) }
}
