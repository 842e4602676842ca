//! What a fault must say.

use crate::harness::{Case, File, Launch};
use ptx_emu::{Access, AccessKind, Fault, FaultKind, RaceAccess, SourceLine, Space, Whereabouts};
use std::ops::Range;

/// A thread, or those of which one it is where that depends on the order in which they run.
#[derive(Clone, Debug)]
pub struct Who {
    ctas: Range<u32>,
    threads: Range<u32>,
}

pub const fn thread(cta: u32, thread: u32) -> Who {
    Who { ctas: cta..cta + 1, threads: thread..thread + 1 }
}

pub const fn among(ctas: Range<u32>, threads: Range<u32>) -> Who {
    Who { ctas, threads }
}

impl Who {
    fn check(&self, cta: [u32; 3], thread: [u32; 3]) -> Result<(), String> {
        let right = self.ctas.contains(&cta[0])
            && self.threads.contains(&thread[0])
            && [cta[1], cta[2], thread[1], thread[2]] == [0; 4];
        if right { Ok(()) } else { Err(format!("CTA {cta:?}, thread {thread:?} in place of {self:?}")) }
    }
}

/// What an address is counted from.
#[derive(Clone, Copy, Debug)]
enum Base {
    Null,
    In,
    Out,
    Spare,
    /// Shared, local, constant or parameter memory. Generic addresses, and those that name a CTA,
    /// say so above the 24 bits that count.
    Space,
}

/// An address, or several of which it is one.
#[derive(Clone, Debug)]
pub struct At(Base, Range<i64>);

/// The argument of that name (the space's memory, where it is empty), and bytes from its start.
pub const fn at(base: &str, offset: i64) -> At {
    one_of(base, offset..offset + 1)
}

pub const fn one_of(base: &str, offsets: Range<i64>) -> At {
    let base = match base.as_bytes() {
        b"in" => Base::In,
        b"out" => Base::Out,
        b"spare" => Base::Spare,
        b"null" => Base::Null,
        b"" => Base::Space,
        _ => panic!("no argument has that name"),
    };
    At(base, offsets)
}

impl At {
    /// Bytes from the base to an address.
    fn offset(&self, address: u64, launch: &Launch) -> i64 {
        let from = |start: u64| address.wrapping_sub(start) as i64;
        match self.0 {
            Base::Null => from(0),
            Base::In => from(launch.input),
            Base::Out => from(launch.output),
            Base::Spare => from(launch.spare),
            Base::Space => i64::from((address as u32) << 8 >> 8) - ((address as i64 & 1 << 23) << 1),
        }
    }

    /// Whether it is this address; if so, the bytes from the base.
    fn check(&self, address: u64, launch: &Launch) -> Result<i64, String> {
        let offset = self.offset(address, launch);
        if self.1.contains(&offset) {
            Ok(offset)
        } else {
            Err(format!("address {address:#x}, byte {offset} in place of {:?} of {:?}", self.1, self.0))
        }
    }
}

/// The access that a fault names.
#[derive(Clone, Debug)]
pub struct Hit(pub Space, pub AccessKind, pub u32, pub At);

impl Hit {
    /// Whether it is this access; if so, the bytes from the address's base.
    fn check(&self, access: &Access, launch: &Launch) -> Result<i64, String> {
        let Hit(space, kind, bytes, at) = self;
        if (*space, *kind, *bytes) != (access.space, access.kind, access.bytes) {
            return Err(format!("{access} in place of {self:?}"));
        }
        at.check(access.address, launch)
    }
}

/// One of the accesses of a race, and the mark of its line.
#[derive(Clone, Debug)]
pub struct Side(pub AccessKind, pub Who, pub &'static str);

impl Side {
    fn check(&self, access: &RaceAccess, file: &File, case: &Case) -> Result<(), String> {
        let Side(kind, who, mark) = self;
        if *kind != access.kind {
            return Err(format!("{} in place of {kind}", access.kind));
        }
        who.check(access.cta, access.thread)?;
        line(file, case, mark, access.ptx_line, &access.instruction, access.source.as_ref()).map(drop)
    }
}

/// What a fault must be, and say.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The access, the nearest allocation or memory, its bytes, and whether it has been freed.
    OutOfBounds(Hit, &'static str, u64, bool),
    Misaligned(Hit),
    /// The access, and the name of what it hit.
    ReadOnly(Hit, &'static str),
    /// The access, the first byte that nobody has written from the start of what it hit, and the
    /// name of that.
    Uninitialised(Hit, u64, &'static str),
    /// The same for the first byte out of use.
    Forbidden(Hit, u64, &'static str),
    /// The access, none of whose bytes are ready, and the name of what it hit.
    Unready(Hit, &'static str),
    /// The access, and a part of the reason.
    InvalidAccess(Hit, &'static str),
    /// The address and the bytes that both sides touch, and the name of what they lie in.
    Race(Space, At, u32, &'static str, [Side; 2]),
    /// The access that may have come too late.
    EarlyExit(Side),
    /// The mask, the thread that does not come, and the mark of the line where it is, unless it has
    /// exited.
    AbsentThread(u32, u32, Option<&'static str>),
    /// The barrier, the threads that it is for, and those that have come.
    UnmetBarrier(u32, u32, u32),
    /// A part of the reason.
    InvalidSync(&'static str),
    /// Parts of what it says of those who wait.
    DivergentBarrier(&'static [&'static str]),
    Deadlock(&'static [&'static str]),
    Trap,
    /// The index, and the entries of the table.
    BranchIndex(u32, u32),
    InstructionLimit(u64),
}

/// A fault that is to be found: the thread at fault, the mark of its line (none where any marked line
/// will do), and the rest.
#[derive(Clone, Debug)]
pub struct Found(pub Who, pub &'static str, pub Wanted);

impl Found {
    /// Whether it is this fault.
    pub fn check(&self, fault: &Fault, file: &File, case: &Case, launch: &Launch) -> Result<(), String> {
        let Found(who, mark, wanted) = self;
        if fault.kernel != case.kernels[0] {
            return Err(format!("kernel {} in place of {}", fault.kernel, case.kernels[0]));
        }
        who.check(fault.cta, fault.thread)?;
        let line = line(file, case, mark, fault.ptx_line, &fault.instruction, fault.source.as_ref())?;
        let message = fault.to_string();
        let parts = [
            format!("kernel `{}`", fault.kernel),
            format!("PTX line {}: `{}`", fault.ptx_line, fault.instruction),
            format!("{}:{line}", file.name),
            format!("CTA {:?}, thread {:?}", fault.cta, fault.thread),
        ];
        if let Some(part) = parts.iter().find(|part| !message.contains(part.as_str())) {
            return Err(format!("the message lacks `{part}`"));
        }
        wanted.check(fault, file, case, launch)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{found:?} in place of {wanted:?}")) }
}

fn part(whole: &str, part: &str) -> Result<(), String> {
    if whole.contains(part) { Ok(()) } else { Err(format!("`{whole}` lacks `{part}`")) }
}

impl Wanted {
    fn check(&self, fault: &Fault, file: &File, case: &Case, launch: &Launch) -> Result<(), String> {
        match (self, &fault.kind) {
            (Wanted::OutOfBounds(hit, name, bytes, freed), FaultKind::OutOfBounds { access, nearest }) => {
                let mut offset = i128::from(hit.check(access, launch)?);
                let near = nearest.as_ref().ok_or("no allocation is near")?;
                if matches!(hit.3.0, Base::Null | Base::Space) {
                    offset -= i128::from(near.address);
                }
                same((near.name.as_str(), near.bytes, near.offset, near.freed), (*name, *bytes, offset, *freed))
            }
            (Wanted::Misaligned(hit), FaultKind::Misaligned { access }) => hit.check(access, launch).map(drop),
            (Wanted::ReadOnly(hit, wanted), FaultKind::ReadOnly { access, name }) => {
                hit.check(access, launch)?;
                same(name.as_str(), wanted)
            }
            (Wanted::Uninitialised(hit, first, wanted), FaultKind::Uninitialised { access, byte, name, offset })
            | (Wanted::Forbidden(hit, first, wanted), FaultKind::Forbidden { access, byte, name, offset }) => {
                let start = hit.check(access, launch)? as u64;
                same((name.as_str(), *offset, byte - access.address), (*wanted, *first, first - start))
            }
            (Wanted::Unready(hit, wanted), FaultKind::Unready { access, byte, name, offset }) => {
                let start = hit.check(access, launch)? as u64;
                same((name.as_str(), *offset, *byte), (*wanted, start, access.address))
            }
            (Wanted::InvalidAccess(hit, why), FaultKind::InvalidAccess { access, reason }) => {
                hit.check(access, launch)?;
                part(reason, why)
            }
            (
                Wanted::Race(in_space, at, width, whose, sides),
                FaultKind::Race { first, second, space, address, bytes, name },
            ) => {
                same((space, *bytes, name.as_str()), (in_space, *width, *whose))?;
                at.check(*address, launch)?;
                same((fault.cta, fault.thread, fault.ptx_line), (second.cta, second.thread, second.ptx_line))?;
                // Which side comes first depends on the order in which they run.
                let both = |a: &Side, b: &Side| a.check(first, file, case).and(b.check(second, file, case));
                both(&sides[0], &sides[1]).or_else(|_| both(&sides[1], &sides[0]))
            }
            (Wanted::EarlyExit(side), FaultKind::EarlyExit { access }) => side.check(access, file, case),
            (Wanted::AbsentThread(mask, who, mark), FaultKind::AbsentThread { members, absent, whereabouts }) => {
                same((*members, *absent), (*mask, [*who, 0, 0]))?;
                match (mark, whereabouts) {
                    (None, Whereabouts::Exited) => Ok(()),
                    (Some(mark), Whereabouts::At { ptx_line, source, instruction }) => {
                        line(file, case, mark, *ptx_line, instruction, source.as_ref()).map(drop)
                    }
                    _ => Err(format!("{whereabouts}, in place of {mark:?}")),
                }
            }
            (Wanted::UnmetBarrier(number, count, come), FaultKind::UnmetBarrier { id, threads, arrived, .. }) => {
                same((id, threads, arrived), (number, count, come))
            }
            (Wanted::InvalidSync(why), FaultKind::InvalidSync { reason }) => part(reason, why),
            (Wanted::DivergentBarrier(parts), FaultKind::DivergentBarrier { waiting })
            | (Wanted::Deadlock(parts), FaultKind::Deadlock { waiting }) => {
                let waiting = waiting.join("; ");
                parts.iter().try_for_each(|wanted| part(&waiting, wanted))
            }
            (Wanted::Trap, FaultKind::Trap) => Ok(()),
            (Wanted::BranchIndex(at, entries), FaultKind::BranchIndex { index, targets }) => {
                same((at, entries), (index, targets))
            }
            (Wanted::InstructionLimit(wanted), FaultKind::InstructionLimit { limit }) => same(limit, wanted),
            (wanted, kind) => Err(format!("{} in place of {wanted:?}", kind.name())),
        }
    }

    /// What [`FaultKind::name`] calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Wanted::OutOfBounds(..) => "out of bounds",
            Wanted::Misaligned(..) => "misaligned",
            Wanted::ReadOnly(..) => "read-only",
            Wanted::Uninitialised(..) => "uninitialised",
            Wanted::Forbidden(..) => "forbidden",
            Wanted::Unready(..) => "unready",
            Wanted::InvalidAccess(..) => "invalid access",
            Wanted::Race(..) => "race",
            Wanted::EarlyExit(..) => "early exit",
            Wanted::AbsentThread(..) => "absent thread",
            Wanted::UnmetBarrier(..) => "unmet barrier",
            Wanted::InvalidSync(..) => "invalid synchronisation",
            Wanted::DivergentBarrier(..) => "divergent barrier",
            Wanted::Deadlock(..) => "deadlock",
            Wanted::Trap => "trap",
            Wanted::BranchIndex(..) => "branch index",
            Wanted::InstructionLimit(..) => "instruction limit",
        }
    }
}

/// Whether an instruction stands at its line of the PTX, and comes from a marked line of the source;
/// if so, the number of that.
fn line(
    file: &File,
    case: &Case,
    mark: &str,
    ptx_line: u32,
    instruction: &str,
    source: Option<&SourceLine>,
) -> Result<u32, String> {
    let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let text: String = file.faulty.lines().skip((ptx_line as usize).wrapping_sub(1)).collect();
    // Calls go over several lines.
    part(&plain(text.split(';').next().unwrap_or_default()), &plain(instruction))?;
    let marked = file.marked(case.kernels[0], mark);
    match source {
        Some(source) if source.file == file.name && marked.contains(&source.line) => Ok(source.line),
        _ => Err(format!("{source:?} in place of line {marked:?} (`{mark}`)")),
    }
}
