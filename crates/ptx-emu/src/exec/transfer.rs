//! Loads, stores and atomics, once their addresses are checked.

use super::access::{Request, addresses};
use super::registers::{AnyReg, lanes_of};
use super::warp::Warp;
use super::{Machine, Outcome};
use crate::fault::AccessKind;
use crate::ir::{Atomic, Load, Ordering, Store};

/// Reads a little-endian value of 1, 2, 4 or 8 bytes.
fn read_value(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

fn write_value(bytes: &mut [u8], value: u64) {
    match bytes.len() {
        4 => bytes.copy_from_slice(&(value as u32).to_le_bytes()),
        length => bytes.copy_from_slice(&value.to_le_bytes()[..length]),
    }
}

fn extend(value: u64, bytes: u32, signed: bool) -> u64 {
    if !signed || bytes >= 8 {
        return value;
    }
    let shift = 64 - 8 * bytes;
    (((value << shift) as i64) >> shift) as u64
}

/// The most bytes that one lane accesses at once.
const WIDEST: usize = 16;

impl Machine<'_> {
    fn synchronise(&mut self, warp: &Warp, mask: u32, ordering: Ordering) {
        if let Ordering::Synchronises(scope) = ordering {
            self.clocks.fence(Self::party(warp, mask), scope);
        }
    }

    pub(super) fn load(&mut self, warp: &mut Warp, load: &Load, mask: u32) -> Outcome<()> {
        let addresses = addresses(warp, load.address, load.space);
        let element = load.element_bytes as usize;
        let total = element * load.dests.len();
        let request = Request { space: load.space, kind: AccessKind::Load, bytes: total as u32, mask };
        let placement = self.place(warp, request, &addresses)?;
        self.synchronise(warp, mask, load.ordering);
        self.race_loads(warp, mask, total, load.ordering, &placement)?;
        let Warp { registers, local, .. } = warp;
        let words = load.element_bytes == 4;
        let mut at = None;
        let mut region: &[u8] = &[];
        for lane in lanes_of(mask) {
            if at != Some(placement.region[lane]) {
                at = Some(placement.region[lane]);
                region = self.bytes(local, placement.region[lane]);
            }
            let offset = placement.offset[lane];
            let bytes = &region[offset..offset + total];
            for (chunk, dest) in bytes.chunks_exact(element).zip(&load.dests) {
                match (dest, chunk) {
                    // By far the commonest.
                    (Some(AnyReg::W32(dest)), [a, b, c, d]) if words => {
                        dest.write(registers)[lane] = u32::from_le_bytes([*a, *b, *c, *d]);
                    }
                    (Some(dest), _) => {
                        let value = extend(read_value(chunk), load.element_bytes, load.signed);
                        dest.set(registers, lane, value);
                    }
                    (None, _) => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn store(&mut self, warp: &mut Warp, store: &Store, mask: u32) -> Outcome<()> {
        let addresses = addresses(warp, store.address, store.space);
        let element = store.element_bytes as usize;
        let total = element * store.sources.len();
        let request = Request { space: store.space, kind: AccessKind::Store, bytes: total as u32, mask };
        let placement = self.place(warp, request, &addresses)?;
        self.synchronise(warp, mask, store.ordering);
        let mut buffer = [0; WIDEST];
        let new = &mut buffer[..total];
        for lane in lanes_of(mask) {
            for (chunk, source) in new.chunks_exact_mut(element).zip(&store.sources) {
                write_value(chunk, source.get(&warp.registers, lane));
            }
            let (region, offset) = (placement.region[lane], placement.offset[lane]);
            let range = offset..offset + total;
            self.race_write(warp, lane, (region, range.clone()), store.ordering, Some(new))?;
            self.bytes_mut(&mut warp.local, region)[range].copy_from_slice(new);
        }
        Ok(())
    }

    /// Lanes take effect in order of their index.
    pub(super) fn atomic(&mut self, warp: &mut Warp, atomic: &Atomic, mask: u32) -> Outcome<()> {
        let addresses = addresses(warp, atomic.address, atomic.space);
        let element = atomic.element_bytes as usize;
        let total = element * atomic.operands.len();
        let request = Request { space: atomic.space, kind: AccessKind::Atomic, bytes: total as u32, mask };
        let placement = self.place(warp, request, &addresses)?;
        self.synchronise(warp, mask, atomic.ordering);
        for lane in lanes_of(mask) {
            let offset = placement.offset[lane];
            let place = (placement.region[lane], offset..offset + total);
            self.race_write(warp, lane, place, atomic.ordering, None)?;
            let Warp { registers, local, .. } = &mut *warp;
            for (index, operand) in atomic.operands.iter().enumerate() {
                let operand = operand.get(registers, lane);
                let swap = atomic.swap.map_or(0, |swap| swap.get(registers, lane));
                let start = offset + index * element;
                let bytes = self.bytes_mut(local, placement.region[lane]);
                let bytes = &mut bytes[start..start + element];
                let old = read_value(bytes);
                write_value(bytes, (atomic.update)(old, operand, swap));
                if let Some(Some(dest)) = atomic.dests.get(index) {
                    dest.set(registers, lane, old);
                }
            }
        }
        Ok(())
    }
}
