//! Reads of bytes that nothing has written, and accesses to bytes that are out of use, or still in use by others.

use super::access::{Placement, Region, Request};
use super::registers::{LANES, lanes_of};
use super::warp::Warp;
use super::{Machine, Outcome};
use crate::fault::{Access, AccessKind, Fault, FaultKind, Space};
use std::ops::Range;

impl Machine<'_> {
    /// For the lanes of the request: that what they touch is not forbidden, that what they read has
    /// been written, and that what they write now is.
    ///
    /// Neighbouring lanes with neighbouring bytes are taken together.
    pub(super) fn check_usable(
        &mut self,
        warp: &mut Warp,
        request: Request,
        addresses: &[u64; LANES],
        placement: &Placement,
    ) -> Outcome<()> {
        let bytes = request.bytes as usize;
        let mut left = request.mask;
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let region = placement.region[first];
            let start = placement.offset[first];
            let mut end = start + bytes;
            left &= left - 1;
            // Frames of local memory adjoin, but are not one memory.
            while left != 0 && region != Region::Local {
                let lane = left.trailing_zeros() as usize;
                if placement.region[lane] != region || placement.offset[lane] != end {
                    break;
                }
                end += bytes;
                left &= left - 1;
            }
            if let Region::Global(index) = region
                && let Some(byte) = self.memory.forbidden(index).first_in(start..end)
            {
                let kind = |access, byte, name, offset| FaultKind::Forbidden { access, byte, name, offset };
                return Err(self.unusable(warp, request, addresses, placement, (region, byte), kind));
            }
            if request.kind != AccessKind::Store
                && let Some(missing) = self.first_unwritten(warp, region, start..end)
            {
                let kind = |access, byte, name, offset| FaultKind::Uninitialised { access, byte, name, offset };
                return Err(self.unusable(warp, request, addresses, placement, (region, missing), kind));
            }
            if request.kind != AccessKind::Load {
                self.mark_written(warp, region, start..end);
            }
        }
        Ok(())
    }

    /// For lanes that access global memory: that those which have not waited for the launches before this one touch
    /// nothing that these may be using.
    pub(super) fn check_ready(
        &self,
        warp: &Warp,
        request: Request,
        addresses: &[u64; LANES],
        placement: &Placement,
        global: u32,
    ) -> Outcome<()> {
        if self.unready.is_empty() {
            return Ok(());
        }
        for lane in lanes_of(global & !warp.waited) {
            let start = addresses[lane];
            let end = start + u64::from(request.bytes);
            let touched = self.unready.iter().filter(|range| range.start < end && start < range.end);
            let Some(byte) = touched.map(|range| range.start.max(start)).min() else { continue };
            let (address, bytes) = (start, request.bytes);
            let access = Access { space: Space::Global, kind: request.kind, address, bytes };
            let name = self.region_name(placement.region[lane]);
            let offset = placement.offset[lane] as u64 + (byte - start);
            return Err(self.fault(warp, 1 << lane, FaultKind::Unready { access, byte, name, offset }));
        }
        Ok(())
    }

    fn first_unwritten(&self, warp: &Warp, region: Region, range: Range<usize>) -> Option<usize> {
        match region {
            Region::Global(index) => self.memory.written(index).first_missing(range),
            Region::Shared(cta) => self.ctas[cta].written.first_missing(range),
            Region::Local => warp.local_written.first_missing(range),
            Region::Const | Region::Param => None,
        }
    }

    fn mark_written(&mut self, warp: &mut Warp, region: Region, range: Range<usize>) {
        match region {
            Region::Global(index) => {
                let written = self.memory.written_mut(index);
                written.insert(range);
                if written.is_whole() {
                    self.last_hit.update(index, self.memory.is_plain(index));
                }
            }
            Region::Shared(cta) => {
                self.ctas[cta].written.insert(range);
            }
            Region::Local => {
                warp.local_written.insert(range);
            }
            Region::Const | Region::Param => {}
        }
    }

    /// The fault of the first lane that touches a byte of a region. `kind` takes the access, the
    /// byte's address, the memory's name and the byte's offset in it.
    fn unusable(
        &self,
        warp: &Warp,
        request: Request,
        addresses: &[u64; LANES],
        placement: &Placement,
        (region, missing): (Region, usize),
        kind: impl FnOnce(Access, u64, String, u64) -> FaultKind,
    ) -> Box<Fault> {
        let touches = |lane: &usize| {
            let start = placement.offset[*lane];
            placement.region[*lane] == region && (start..start + request.bytes as usize).contains(&missing)
        };
        let lane = lanes_of(request.mask).find(touches).unwrap_or(0);
        let address = addresses[lane];
        let access = Access { space: region.space(), kind: request.kind, address, bytes: request.bytes };
        let name = self.region_name(region);
        let frame = if region == Region::Local { lane * self.kernel.local_bytes as usize } else { 0 };
        let byte = address + (missing - placement.offset[lane]) as u64;
        self.fault(warp, 1 << lane, kind(access, byte, name, (missing - frame) as u64))
    }
}
