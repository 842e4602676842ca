//! Device global memory: allocations in a sparse 64-bit address space.

use crate::forbidden::Forbidden;
use crate::written::Written;
use thiserror::Error;

/// First address handed out. Low addresses, null among them, stay unmapped.
const FIRST_ADDRESS: u64 = 1 << 36;
/// Unmapped bytes between allocations: wide enough that an address that lost its high half, or
/// an index computed in 32 bits, never lands in another allocation.
const GUARD: u64 = 1 << 32;
/// Allocations start at multiples of this, as `cudaMalloc`'s do, plus the misalignment asked for.
const ALIGNMENT: u64 = 256;

/// Why the host could not use a range of device memory.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryError {
    /// The range does not lie inside one allocation.
    #[error("{bytes} bytes at {address:#x} do not lie inside one allocation")]
    Unmapped {
        /// First byte asked for.
        address: u64,
        /// Length asked for.
        bytes: usize,
    },
    /// The address is not one that `allocate` returned, or it was freed.
    #[error("{address:#x} is not the address of a live allocation")]
    NotAnAllocation {
        /// The address given.
        address: u64,
    },
    /// The range holds bytes that neither the host nor a kernel has written.
    #[error("byte {offset} of `{name}` was read by the host, but nothing has written it")]
    Uninitialised {
        /// The allocation's name.
        name: String,
        /// Bytes from its start to the first byte that was not written.
        offset: usize,
    },
}

#[derive(Clone, Debug)]
struct Allocation {
    address: u64,
    name: String,
    bytes: u64,
    /// Nothing, once it is freed.
    data: Vec<u8>,
    written: Written,
    forbidden: Forbidden,
    read_only: bool,
    freed: bool,
}

impl Allocation {
    fn end(&self) -> u64 {
        self.address + self.bytes
    }
}

/// Global memory of the emulated device.
///
/// Every allocation has its exact length in bytes, with gigabytes of unmapped addresses on each
/// side; an access by a kernel must lie wholly inside one allocation. Fresh memory holds nothing:
/// reading a byte that nothing has written, by a kernel or by the host, is an error.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// In increasing order of address.
    allocations: Vec<Allocation>,
    /// Addresses of each module's `.global` variables, by module identity.
    module_variables: Vec<(u64, Vec<u64>)>,
}

/// The allocation nearest to an address that hit none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The allocation's name.
    pub name: String,
    /// Its first address.
    pub address: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes from the start of the allocation to the address (negative: before it).
    pub offset: i128,
    /// Whether it has been freed.
    pub freed: bool,
}

impl Memory {
    /// Memory with nothing allocated.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Allocates `bytes` bytes at a 256-byte-aligned address and returns the address.
    ///
    /// The name appears in faults. A length of zero is allowed: every access to it faults.
    pub fn allocate(&mut self, name: &str, bytes: usize) -> u64 {
        self.allocate_misaligned(name, bytes, 0)
    }

    /// Allocates so that `address % 256 == misalign % 256`.
    pub fn allocate_misaligned(&mut self, name: &str, bytes: usize, misalign: usize) -> u64 {
        let past_guard = self.allocations.last().map_or(FIRST_ADDRESS, |last| last.end() + GUARD);
        let address = past_guard.next_multiple_of(ALIGNMENT) + misalign as u64 % ALIGNMENT;
        self.allocations.push(Allocation {
            address,
            name: name.to_owned(),
            bytes: bytes as u64,
            // Zeroed pages come from the system untouched, so a huge allocation costs nothing until
            // it is written; the zeroes themselves are never seen.
            data: vec![0; bytes],
            written: Written::none_of(bytes),
            forbidden: Forbidden::default(),
            read_only: false,
            freed: false,
        });
        address
    }

    /// Allocates memory that holds zeroes.
    pub(crate) fn allocate_zeroed(&mut self, name: &str, bytes: usize) -> u64 {
        let address = self.allocate(name, bytes);
        if let Some(allocation) = self.allocations.last_mut() {
            allocation.written.insert(0..bytes);
        }
        address
    }

    /// Forbids (or allows again) writes by kernels to the allocation that starts at `address`.
    ///
    /// The host's [`Memory::write`] is not affected.
    ///
    /// # Errors
    /// [`MemoryError::NotAnAllocation`] where `address` is not the start of a live allocation.
    pub fn set_read_only(&mut self, address: u64, read_only: bool) -> Result<(), MemoryError> {
        let index = self.start_of(address)?;
        self.allocations[index].read_only = read_only;
        Ok(())
    }

    /// Puts a range of bytes out of use: every access by a kernel that touches it is a
    /// [`FaultKind::Forbidden`](crate::FaultKind::Forbidden). Made for the gaps between the rows of a
    /// strided matrix.
    ///
    /// The host's [`Memory::write`] and [`Memory::read`] are not affected.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`] where the range does not lie inside one allocation.
    pub fn forbid(&mut self, address: u64, bytes: usize) -> Result<(), MemoryError> {
        let unmapped = MemoryError::Unmapped { address, bytes };
        let (index, offset) = self.find(address, bytes as u64).ok_or(unmapped)?;
        self.allocations[index].forbidden.insert(offset..offset + bytes);
        Ok(())
    }

    /// Copies `data` to device memory, which initialises it.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`] where the range does not lie inside one allocation.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<(), MemoryError> {
        let unmapped = MemoryError::Unmapped { address, bytes: data.len() };
        let (index, offset) = self.find(address, data.len() as u64).ok_or(unmapped)?;
        let allocation = &mut self.allocations[index];
        allocation.data[offset..offset + data.len()].copy_from_slice(data);
        allocation.written.insert(offset..offset + data.len());
        Ok(())
    }

    /// Copies device memory to `data`.
    ///
    /// # Errors
    /// [`MemoryError::Unmapped`] where the range does not lie inside one allocation,
    /// [`MemoryError::Uninitialised`] where nothing has written some byte of it; `data` is then
    /// unchanged. A host that wants to see which bytes a kernel left alone writes a pattern first.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), MemoryError> {
        let unmapped = MemoryError::Unmapped { address, bytes: data.len() };
        let (index, offset) = self.find(address, data.len() as u64).ok_or(unmapped)?;
        let allocation = &self.allocations[index];
        if let Some(offset) = allocation.written.first_missing(offset..offset + data.len()) {
            return Err(MemoryError::Uninitialised { name: allocation.name.clone(), offset });
        }
        data.copy_from_slice(&allocation.data[offset..offset + data.len()]);
        Ok(())
    }

    /// Frees the allocation that starts at `address`; its addresses are never used again.
    ///
    /// # Errors
    /// [`MemoryError::NotAnAllocation`] where `address` is not the start of a live allocation.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let index = self.start_of(address)?;
        let allocation = &mut self.allocations[index];
        allocation.freed = true;
        allocation.data = Vec::new();
        allocation.written = Written::none_of(0);
        allocation.forbidden = Forbidden::default();
        Ok(())
    }

    fn start_of(&self, address: u64) -> Result<usize, MemoryError> {
        self.allocations
            .binary_search_by_key(&address, |allocation| allocation.address)
            .ok()
            .filter(|index| !self.allocations[*index].freed)
            .ok_or(MemoryError::NotAnAllocation { address })
    }

    /// The live allocation that holds the whole range, and the range's offset in it.
    pub(crate) fn find(&self, address: u64, bytes: u64) -> Option<(usize, usize)> {
        let after = self.allocations.partition_point(|allocation| allocation.address <= address);
        let index = after.checked_sub(1)?;
        let allocation = &self.allocations[index];
        let offset = address - allocation.address;
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= allocation.bytes);
        (fits && !allocation.freed).then_some((index, offset as usize))
    }

    /// First address and length of an allocation that [`Memory::find`] returned.
    pub(crate) fn extent(&self, index: usize) -> (u64, u64) {
        let allocation = &self.allocations[index];
        (allocation.address, allocation.bytes)
    }

    pub(crate) fn is_read_only(&self, index: usize) -> bool {
        self.allocations[index].read_only
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        &self.allocations[index].name
    }

    pub(crate) fn data(&self, index: usize) -> &[u8] {
        &self.allocations[index].data
    }

    pub(crate) fn data_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.allocations[index].data
    }

    /// Which bytes of an allocation have been written.
    pub(crate) fn written(&self, index: usize) -> &Written {
        &self.allocations[index].written
    }

    pub(crate) fn written_mut(&mut self, index: usize) -> &mut Written {
        &mut self.allocations[index].written
    }

    /// The bytes of an allocation that are out of use.
    pub(crate) fn forbidden(&self, index: usize) -> &Forbidden {
        &self.allocations[index].forbidden
    }

    /// Whether any byte of an allocation may be read: all have been written, and none is forbidden.
    pub(crate) fn is_plain(&self, index: usize) -> bool {
        let allocation = &self.allocations[index];
        allocation.written.is_whole() && allocation.forbidden.is_empty()
    }

    /// The allocation closest to an address, for messages.
    pub(crate) fn nearest(&self, address: u64) -> Option<Nearest> {
        let distance = |allocation: &Allocation| {
            if address < allocation.address {
                allocation.address - address
            } else {
                address.saturating_sub(allocation.end())
            }
        };
        let allocation = self.allocations.iter().min_by_key(|allocation| distance(allocation))?;
        Some(Nearest {
            name: allocation.name.clone(),
            address: allocation.address,
            bytes: allocation.bytes,
            offset: i128::from(address) - i128::from(allocation.address),
            freed: allocation.freed,
        })
    }

    pub(crate) fn module_variables(&self, module: u64) -> Option<&[u64]> {
        self.module_variables.iter().find(|(id, _)| *id == module).map(|(_, list)| list.as_slice())
    }

    pub(crate) fn set_module_variables(&mut self, module: u64, addresses: Vec<u64>) {
        self.module_variables.push((module, addresses));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_apart_and_aligned() {
        let mut memory = Memory::new();
        let a = memory.allocate("a", 10);
        let b = memory.allocate_misaligned("b", 10, 6);
        assert_eq!((a % 256, b % 256), (0, 6));
        assert!(b >= a + 10 + GUARD);
        assert_eq!(memory.find(a + 9, 1), Some((0, 9)));
        assert_eq!(memory.find(a + 9, 2), None);
        assert_eq!(memory.find(b - 1, 1), None);
        assert_eq!(memory.find(u64::MAX, 8), None);
    }

    #[test]
    fn host_transfers_stay_inside_one_allocation() {
        let mut memory = Memory::new();
        let a = memory.allocate("a", 4);
        memory.write(a, &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 2];
        memory.read(a + 2, &mut back).unwrap();
        assert_eq!(back, [3, 4]);
        let error = memory.write(a + 1, &[0; 4]).unwrap_err();
        assert_eq!(error, MemoryError::Unmapped { address: a + 1, bytes: 4 });
    }

    #[test]
    fn the_host_reads_only_what_was_written() {
        let mut memory = Memory::new();
        let a = memory.allocate("a", 8);
        memory.write(a, &[1, 2, 3]).unwrap();
        let mut back = [9; 4];
        let error = memory.read(a, &mut back).unwrap_err();
        assert_eq!(error, MemoryError::Uninitialised { name: "a".to_owned(), offset: 3 });
        assert_eq!(back, [9; 4]);
        memory.read(a, &mut back[..3]).unwrap();
        assert_eq!(back, [1, 2, 3, 9]);
        memory.read(a + 8, &mut []).unwrap();
    }

    #[test]
    fn freed_memory_is_unmapped() {
        let mut memory = Memory::new();
        let a = memory.allocate("a", 4);
        memory.free(a).unwrap();
        assert_eq!(memory.free(a), Err(MemoryError::NotAnAllocation { address: a }));
        assert_eq!(memory.find(a, 4), None);
        assert!(memory.nearest(a).unwrap().freed);
    }

    #[test]
    fn nearest_names_the_side() {
        let mut memory = Memory::new();
        let a = memory.allocate("a", 16);
        let b = memory.allocate("b", 16);
        assert_eq!(memory.nearest(a + 16).unwrap().offset, 16);
        let before = memory.nearest(b - 4).unwrap();
        assert_eq!((before.name.as_str(), before.offset), ("b", -4));
    }
}
