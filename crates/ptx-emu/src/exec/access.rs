//! The one place where memory accesses are checked and counted.
//!
//! All lanes of one instruction come here together, with their addresses, and leave with the
//! places their bytes live in.

use super::registers::{LANES, lanes_of};
use super::warp::Warp;
use super::{Machine, Outcome};
use crate::fault::{Access, AccessKind, FaultKind, Space};
use crate::ir::{
    AddressOperand, CLUSTER_RANK_SHIFT, CONST_WINDOW, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, StateSpace,
};
use crate::memory::Nearest;

/// A block of bytes that accesses go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Region {
    /// An allocation of global memory.
    Global(usize),
    /// The shared memory of a CTA of the cluster.
    Shared(usize),
    Local,
    Const,
    Param,
}

impl Region {
    pub(super) fn space(self) -> Space {
        match self {
            Region::Global(_) => Space::Global,
            Region::Shared(_) => Space::Shared,
            Region::Local => Space::Local,
            Region::Const => Space::Const,
            Region::Param => Space::Param,
        }
    }
}

/// Where the bytes of each lane live.
pub(crate) struct Placement {
    pub region: [Region; LANES],
    pub offset: [usize; LANES],
}

/// The allocation of global memory that was hit last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastHit {
    start: u64,
    bytes: u64,
    index: usize,
    read_only: bool,
    /// Whether any byte may be read.
    plain: bool,
}

impl LastHit {
    /// Records how the allocation of an index stands, if it is this one.
    pub(super) fn update(&mut self, index: usize, plain: bool) {
        if self.index == index {
            self.plain = plain;
        }
    }
}

/// An instruction's access to memory, the same for all lanes but for the address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub space: StateSpace,
    pub kind: AccessKind,
    pub bytes: u32,
    pub mask: u32,
}

const WINDOW_MASK: u64 = 0xffff_ffff_0000_0000;

/// The addresses of all lanes.
pub(crate) fn addresses(warp: &Warp, operand: AddressOperand, space: StateSpace) -> [u64; LANES] {
    let mut out = [0u64; LANES];
    match operand.base {
        super::registers::AnyReg::W64(base) => {
            let base = base.read(&warp.registers);
            for lane in 0..LANES {
                out[lane] = base[lane].wrapping_add(operand.offset as u64);
            }
        }
        super::registers::AnyReg::W32(base) => {
            let base = base.read(&warp.registers);
            for lane in 0..LANES {
                out[lane] = u64::from(base[lane]).wrapping_add(operand.offset as u64);
            }
            if !matches!(space, StateSpace::Generic | StateSpace::Global) {
                // Addresses in 32-bit registers wrap at 32 bits.
                out.iter_mut().for_each(|address| *address &= 0xffff_ffff);
            }
        }
    }
    out
}

impl Machine<'_> {
    /// Checks the access of every lane in the mask, counts it, and says where its bytes live.
    pub(crate) fn place(&mut self, warp: &mut Warp, request: Request, addresses: &[u64; LANES]) -> Outcome<Placement> {
        let mut placement = Placement { region: [Region::Param; LANES], offset: [0; LANES] };
        if request.space == StateSpace::Global {
            let partial = self.place_global(warp, request, addresses, &mut placement)?;
            self.check_usable(warp, Request { mask: partial, ..request }, addresses, &placement)?;
            self.check_ready(warp, request, addresses, &placement, request.mask)?;
            self.count_global(request, addresses, request.mask);
            return Ok(placement);
        }
        let (mut global, mut shared, mut local) = (0u32, false, false);
        for lane in lanes_of(request.mask) {
            let (region, offset) = self.place_lane(warp, request, addresses[lane], lane)?;
            placement.region[lane] = region;
            placement.offset[lane] = offset;
            match region {
                Region::Global(_) => global |= 1 << lane,
                Region::Shared(_) => shared = true,
                Region::Local => local = true,
                Region::Const | Region::Param => {}
            }
        }
        self.check_usable(warp, request, addresses, &placement)?;
        if global != 0 {
            self.check_ready(warp, request, addresses, &placement, global)?;
            self.count_global(request, addresses, global);
        }
        if shared {
            self.count_shared(warp.cta, request, &placement);
        }
        self.report.local_accesses += u64::from(local);
        Ok(placement)
    }

    /// Returns the lanes whose allocations may hold bytes that nothing has written, or forbidden ones.
    fn place_global(
        &mut self,
        warp: &Warp,
        request: Request,
        addresses: &[u64; LANES],
        placement: &mut Placement,
    ) -> Outcome<u32> {
        let mut partial = 0;
        let bytes = u64::from(request.bytes);
        let loads = request.kind == AccessKind::Load;
        for lane in lanes_of(request.mask) {
            let address = addresses[lane];
            let offset = address.wrapping_sub(self.last_hit.start);
            let hit = offset < self.last_hit.bytes
                && self.last_hit.bytes - offset >= bytes
                && address & (bytes - 1) == 0
                && (loads || !self.last_hit.read_only);
            let (region, offset) = if hit {
                (Region::Global(self.last_hit.index), offset as usize)
            } else {
                self.place_lane(warp, request, address, lane)?
            };
            partial |= u32::from(!self.last_hit.plain) << lane;
            placement.region[lane] = region;
            placement.offset[lane] = offset;
        }
        Ok(partial)
    }

    /// Checks one lane's access.
    fn place_lane(&mut self, warp: &Warp, request: Request, address: u64, lane: usize) -> Outcome<(Region, usize)> {
        let cluster = request.space == StateSpace::SharedCluster;
        let (region, offset) = match request.space {
            StateSpace::Global => (Region::Global(0), address),
            StateSpace::Shared | StateSpace::SharedCluster => {
                self.shared_region(warp, request, address, lane, cluster)?
            }
            StateSpace::Local => (Region::Local, address),
            StateSpace::Const => (Region::Const, address),
            StateSpace::Param => (Region::Param, address),
            StateSpace::Generic => match address & WINDOW_MASK {
                SHARED_WINDOW => self.shared_region(warp, request, address - SHARED_WINDOW, lane, true)?,
                LOCAL_WINDOW => (Region::Local, address - LOCAL_WINDOW),
                CONST_WINDOW => (Region::Const, address - CONST_WINDOW),
                PARAM_WINDOW => (Region::Param, address - PARAM_WINDOW),
                _ => (Region::Global(0), address),
            },
        };
        let access = Access { space: region.space(), kind: request.kind, address, bytes: request.bytes };
        let bytes = u64::from(request.bytes);
        if offset & (bytes - 1) != 0 {
            return Err(self.fault(warp, 1 << lane, FaultKind::Misaligned { access }));
        }
        let within = |size: u64| offset.checked_add(bytes).is_some_and(|end| end <= size);
        let writes = request.kind != AccessKind::Load;
        let place = match region {
            Region::Global(_) => match self.memory.find(address, bytes) {
                Some((index, offset)) => {
                    if writes && self.memory.is_read_only(index) {
                        let name = self.memory.name(index).to_owned();
                        let kind = FaultKind::ReadOnly { access, name };
                        return Err(self.fault(warp, 1 << lane, kind));
                    }
                    let (start, bytes) = self.memory.extent(index);
                    let read_only = self.memory.is_read_only(index);
                    let plain = self.memory.is_plain(index);
                    self.last_hit = LastHit { start, bytes, index, read_only, plain };
                    Some((Region::Global(index), offset))
                }
                None => None,
            },
            Region::Shared(cta) => {
                let size = self.ctas[cta].shared.len() as u64;
                within(size).then_some((region, offset as usize))
            }
            Region::Local => within(self.kernel.local_bytes)
                .then(|| (region, offset as usize + lane * self.kernel.local_bytes as usize)),
            Region::Const | Region::Param => {
                if writes {
                    let nearest = self.nearest(region, offset);
                    let name = nearest.map_or_else(|| region.space().to_string(), |near| near.name);
                    let kind = FaultKind::ReadOnly { access, name };
                    return Err(self.fault(warp, 1 << lane, kind));
                }
                let inside = |(start, size): (u64, u64)| {
                    offset >= start && offset - start < size && size - (offset - start) >= bytes
                };
                let fits = if region == Region::Const {
                    self.constant_variables.iter().any(|(_, start, size)| inside((*start, *size)))
                } else {
                    self.kernel.parameters.iter().any(|p| inside((p.offset, p.bytes)))
                };
                fits.then_some((region, offset as usize))
            }
        };
        place.ok_or_else(|| {
            let nearest = self.nearest(region, offset);
            self.fault(warp, 1 << lane, FaultKind::OutOfBounds { access, nearest })
        })
    }

    /// The CTA that a shared address names, and the offset in its shared memory.
    fn shared_region(
        &self,
        warp: &Warp,
        request: Request,
        address: u64,
        lane: usize,
        cluster: bool,
    ) -> Outcome<(Region, u64)> {
        // An address too large for any window is out of bounds of the CTA's own memory.
        let rank = if address >> 32 == 0 { address >> CLUSTER_RANK_SHIFT } else { 0 };
        if rank == 0 {
            return Ok((Region::Shared(warp.cta), address));
        }
        let cta = rank as usize - 1;
        let reason = match self.ctas.get(cta) {
            None => format!("CTA rank {cta} is beyond the cluster of {}", self.ctas.len()),
            Some(_) if cta != warp.cta && !cluster => {
                "shared memory of another CTA needs `.shared::cluster`".to_owned()
            }
            Some(target) if cta != warp.cta && target.live_threads == 0 => {
                format!("CTA rank {cta} has exited, and its shared memory with it")
            }
            Some(_) => {
                let offset = address & ((1 << CLUSTER_RANK_SHIFT) - 1);
                return Ok((Region::Shared(cta), offset));
            }
        };
        let access = Access { space: Space::Shared, kind: request.kind, address, bytes: request.bytes };
        Err(self.fault(warp, 1 << lane, FaultKind::InvalidAccess { access, reason }))
    }

    /// What memory a region is.
    pub(super) fn region_name(&self, region: Region) -> String {
        match region {
            Region::Global(index) => self.memory.name(index).to_owned(),
            Region::Shared(cta) => self.shared_name(cta),
            Region::Local => "local memory".to_owned(),
            Region::Const | Region::Param => format!("{} memory", region.space()),
        }
    }

    /// The same whoever accesses it, since a race has two sides.
    fn shared_name(&self, cta: usize) -> String {
        match self.ctas.len() {
            1 => "shared memory".to_owned(),
            _ => format!("shared memory of CTA rank {cta}"),
        }
    }

    fn nearest(&self, region: Region, offset: u64) -> Option<Nearest> {
        let of = |name: String, address: u64, bytes: u64| Nearest {
            name,
            address,
            bytes,
            // An address below the space's start has wrapped around.
            offset: i128::from(offset as i64) - i128::from(address),
            freed: false,
        };
        match region {
            Region::Global(_) => self.memory.nearest(offset),
            Region::Shared(cta) => Some(of(self.shared_name(cta), 0, self.ctas[cta].shared.len() as u64)),
            Region::Local => Some(of("local memory".to_owned(), 0, self.kernel.local_bytes)),
            Region::Param => self
                .kernel
                .parameters
                .iter()
                .rfind(|parameter| parameter.offset <= offset)
                .map(|parameter| of(parameter.name.clone(), parameter.offset, parameter.bytes)),
            Region::Const => self
                .constant_variables
                .iter()
                .rfind(|(_, start, _)| *start <= offset)
                .map(|(name, start, bytes)| of(name.clone(), *start, *bytes)),
        }
    }

    /// The bytes of a region.
    pub(crate) fn bytes<'m>(&'m self, local: &'m [u8], region: Region) -> &'m [u8] {
        match region {
            Region::Global(index) => self.memory.data(index),
            Region::Shared(cta) => &self.ctas[cta].shared,
            Region::Local => local,
            Region::Const => self.constants,
            Region::Param => &self.parameters,
        }
    }

    /// The bytes of a region that [`Machine::place`] granted for writing.
    pub(crate) fn bytes_mut<'m>(&'m mut self, local: &'m mut [u8], region: Region) -> &'m mut [u8] {
        match region {
            Region::Global(index) => self.memory.data_mut(index),
            Region::Shared(cta) => &mut self.ctas[cta].shared,
            Region::Local => local,
            // Writes to these never pass `place`.
            Region::Const | Region::Param => &mut [],
        }
    }
}
