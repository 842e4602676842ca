//! Loads, stores, atomics and cache hints.

use super::Decoder;
use super::operand::Width;
use super::types::{Modifiers, Type};
use crate::error::ParseError;
use crate::exec::registers::AnyReg;
use crate::ir::{Atomic, AtomicFn, Load, MemoryScope, Op, Ordering, StateSpace, Store};
use crate::parse::ast::{Instruction, Operand};
use crate::semantics::float::{canonical32, canonical64, flush32};
use crate::semantics::small::{BF16, F16};

type Decoded = Result<Op, ParseError>;

fn state_space(name: &str) -> Option<StateSpace> {
    Some(match name {
        "global" => StateSpace::Global,
        "shared" | "shared::cta" => StateSpace::Shared,
        "shared::cluster" => StateSpace::SharedCluster,
        "local" => StateSpace::Local,
        "const" => StateSpace::Const,
        "param" | "param::entry" | "param::func" => StateSpace::Param,
        _ => return None,
    })
}

const SCOPES: &[&str] = &["cta", "cluster", "gpu", "sys"];

fn memory_scope(name: &str) -> MemoryScope {
    match name {
        "cta" => MemoryScope::Cta,
        "cluster" => MemoryScope::Cluster,
        _ => MemoryScope::Gpu,
    }
}

const L1_PRIORITIES: &[&str] =
    &["L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"];
const PREFETCH_SIZES: &[&str] = &["L2::64B", "L2::128B", "L2::256B"];

/// Takes what says how an access is ordered and cached; says what order it asks for, and whether a
/// cache policy follows the other operands.
///
/// With threads that run one after another, every order that it can ask for is kept: only the
/// search for races tells them apart. How an access is cached changes no value.
fn take_qualifiers(
    inst: &Instruction<'_>,
    mods: &mut Modifiers<'_>,
    space: StateSpace,
) -> Result<(Ordering, bool), ParseError> {
    let global = matches!(space, StateSpace::Global | StateSpace::Generic);
    let shared = matches!(space, StateSpace::Shared | StateSpace::SharedCluster);
    if inst.opcode == "ldu" || !(global || shared) {
        return Ok((Ordering::Weak, false));
    }
    let load = inst.opcode == "ld";
    let mmio = global && mods.take("mmio");
    let weak = mods.take("weak");
    let strong: &[&str] = match load {
        _ if weak => &[],
        _ if mmio => &["relaxed"],
        true => &["volatile", "relaxed", "acquire"],
        false => &["volatile", "relaxed", "release"],
    };
    let order = mods.take_one(strong);
    let scope = if matches!(order, None | Some("volatile")) { None } else { mods.take_one(SCOPES) };
    let ordering = match (order, scope.map(memory_scope)) {
        (None, _) => Ordering::Weak,
        (Some("volatile"), _) => return Ok((Ordering::Relaxed(MemoryScope::Gpu), false)),
        (Some(_), None) => return Err(inst.operand_error("a scope such as `.gpu` is missing")),
        (Some("relaxed"), Some(scope)) => Ordering::Relaxed(scope),
        (Some(_), Some(scope)) => Ordering::Synchronises(scope),
    };
    if mmio && (order, scope) != (Some("relaxed"), Some("sys")) {
        return Err(inst.operand_error("`.mmio` goes with `.relaxed.sys`"));
    }
    if !global || mmio {
        return Ok((ordering, false));
    }
    let operators: &[&str] = match load {
        _ if ordering != Ordering::Weak => &[],
        true if space == StateSpace::Global && !weak && mods.take("nc") => &["ca", "cg", "cs"],
        true => &["ca", "cg", "cs", "lu", "cv"],
        false => &["wb", "cg", "cs", "wt"],
    };
    if mods.take_one(operators).is_none() {
        mods.take_one(L1_PRIORITIES);
    }
    if load {
        mods.take_one(PREFETCH_SIZES);
    }
    Ok((ordering, mods.take("L2::cache_hint")))
}

/// The modifiers that loads and stores share.
struct Modified {
    space: StateSpace,
    ordering: Ordering,
    ty: Type,
    count: usize,
    /// Whether a cache policy follows the other operands.
    policy: bool,
}

fn access(inst: &Instruction<'_>, mods: &mut Modifiers<'_>) -> Result<Modified, ParseError> {
    let ty = mods.take_type(inst)?;
    if !ty.is_plain() {
        return Err(inst.operand_error("loads and stores do not take this type"));
    }
    let space = mods.take_map(state_space).unwrap_or(StateSpace::Generic);
    let refused = match inst.opcode {
        "st" => space == StateSpace::Const || inst.modifiers.contains(&"param::entry"),
        "ldu" => !matches!(space, StateSpace::Global | StateSpace::Generic),
        _ => false,
    };
    if refused {
        return Err(inst.operand_error("this opcode does not work on this state space"));
    }
    let (ordering, policy) = take_qualifiers(inst, mods, space)?;
    let count = mods
        .take_map(|name| match name {
            "v2" => Some(2),
            "v4" => Some(4),
            _ => None,
        })
        .unwrap_or(1);
    if count * ty.bytes() as usize > 16 {
        return Err(inst.unsupported("an access of more than 16 bytes"));
    }
    Ok(Modified { space, ordering, ty, count, policy })
}

impl<'a> Decoder<'_, 'a> {
    /// The registers of a vector operand, or of a single one.
    fn elements<'i>(
        inst: &Instruction<'a>,
        operand: &'i Operand<'a>,
        count: usize,
    ) -> Result<&'i [Operand<'a>], ParseError> {
        match operand {
            Operand::Vector(elements) if elements.len() == count => Ok(elements),
            Operand::Vector(elements) => {
                let given = elements.len();
                Err(inst.operand_error(format!("{given} elements, the opcode says {count}")))
            }
            operand if count == 1 => Ok(std::slice::from_ref(operand)),
            _ => Err(inst.operand_error("a vector in braces is wanted")),
        }
    }

    fn check_policy(&mut self, inst: &Instruction<'a>, policy: bool, operands: usize) -> Result<(), ParseError> {
        if policy {
            self.source::<u64>(inst, operands, Type::B64)?;
        }
        inst.expect_operands(operands + usize::from(policy))
    }

    pub(super) fn load(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let Modified { space, ordering, ty, count, policy } = access(inst, mods)?;
        self.check_policy(inst, policy, 2)?;
        let (address, space) = self.address(inst, 1, space)?;
        let elements = Self::elements(inst, self.operand(inst, 0)?, count)?;
        let dests = elements
            .iter()
            .map(|element| self.dest_or_sink(inst, element, ty, Width::AtLeast))
            .collect::<Result<_, _>>()?;
        let (element_bytes, signed) = (ty.bytes(), ty.is_signed());
        Ok(Op::Load(Box::new(Load { space, ordering, address, element_bytes, signed, dests })))
    }

    pub(super) fn store(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let Modified { space, ordering, ty, count, policy } = access(inst, mods)?;
        self.check_policy(inst, policy, 2)?;
        let (address, space) = self.address(inst, 0, space)?;
        let sources = self.value_operands(inst, 1, ty, count)?;
        Ok(Op::Store(Box::new(Store { space, ordering, address, element_bytes: ty.bytes(), sources })))
    }

    fn value_operands(
        &mut self,
        inst: &Instruction<'a>,
        index: usize,
        ty: Type,
        count: usize,
    ) -> Result<Vec<AnyReg>, ParseError> {
        let elements = Self::elements(inst, self.operand(inst, index)?, count)?;
        elements.iter().map(|element| self.source_any(inst, element, ty, Width::AtLeast)).collect()
    }

    /// `atom` and `red`.
    pub(super) fn atomic(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let returns = inst.opcode == "atom";
        let ty = match mods.take_type(inst)? {
            packed @ (Type::F16x2 | Type::Bf16x2) => packed,
            ty if ty.bytes() >= 2 => ty,
            _ => return Err(inst.operand_error("atomics take types of 16, 32 and 64 bits")),
        };
        let noftz = mods.take("noftz");
        let operation = mods
            .take_map(|name| {
                ["add", "min", "max", "exch", "cas", "inc", "dec", "and", "or", "xor"]
                    .into_iter()
                    .find(|known| *known == name)
            })
            .ok_or_else(|| inst.operand_error("an atomic operation is missing from the opcode"))?;
        let count = mods
            .take_map(|name| match name {
                "v2" => Some(2),
                "v4" => Some(4),
                _ => None,
            })
            .unwrap_or(1);
        if count > 1 && (ty != Type::F32 || operation != "add") {
            return Err(inst.unsupported("this vector atomic"));
        }
        let orders: &[&str] =
            if returns { &["relaxed", "acquire", "release", "acq_rel"] } else { &["relaxed", "release"] };
        let order = mods.take_one(orders);
        let scope = mods.take_one(SCOPES).map_or(MemoryScope::Gpu, memory_scope);
        let ordering = match order {
            None | Some("relaxed") => Ordering::Relaxed(scope),
            Some(_) => Ordering::Synchronises(scope),
        };
        let space = mods.take_map(state_space).unwrap_or(StateSpace::Generic);
        let global = matches!(space, StateSpace::Global | StateSpace::Generic);
        if count > 1 && !global {
            return Err(inst.operand_error("vector atomics work on global memory"));
        }
        let policy = global && mods.take("L2::cache_hint");
        let first = usize::from(returns);
        let cas = operation == "cas";
        if !returns && matches!(operation, "exch" | "cas") {
            return Err(inst.unknown_modifier(operation));
        }
        self.check_policy(inst, policy, first + 2 + usize::from(cas))?;
        let (address, space) = self.address(inst, first, space)?;
        if !matches!(space, StateSpace::Generic | StateSpace::Global | StateSpace::Shared | StateSpace::SharedCluster) {
            return Err(inst.operand_error("atomics work on global and shared memory"));
        }
        let update = update(operation, ty, noftz, space)
            .ok_or_else(|| inst.operand_error("this atomic does not take this type"))?;
        let dests = if returns {
            let elements = Self::elements(inst, self.operand(inst, 0)?, count)?;
            elements
                .iter()
                .map(|element| self.dest_or_sink(inst, element, ty, Width::Exact))
                .collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let operands = self.value_operands(inst, first + 1, ty, count)?;
        let swap = if cas {
            let operand = self.operand(inst, first + 2)?;
            Some(self.source_any(inst, operand, ty, Width::Exact)?)
        } else {
            None
        };
        let element_bytes = ty.bytes();
        Ok(Op::Atomic(Box::new(Atomic { space, ordering, address, element_bytes, dests, operands, swap, update })))
    }

    /// Prefetches and cache policies, which change no value.
    pub(super) fn cache_hint(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let operands = match inst.opcode {
            "createpolicy" => return self.create_policy(inst, mods),
            "prefetch" => {
                let space = mods.take_one(&["global", "local"]);
                let levels: &[&str] = match space {
                    Some("global") => &["L1", "L2", "L2::evict_last", "L2::evict_normal"],
                    _ => &["L1", "L2"],
                };
                mods.take_one(levels).map(|_| 1)
            }
            "prefetchu" => mods.take("L1").then_some(1),
            _ => {
                mods.take("global");
                mods.take("L2::evict_normal").then_some(2)
            }
        };
        inst.expect_operands(operands.ok_or_else(|| inst.operand_error("a cache level is missing from the opcode"))?)?;
        Ok(Op::Nop)
    }

    /// A cache policy is an opaque word, which the accesses that take it ignore.
    fn create_policy(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        if mods.take_type(inst)? != Type::B64 {
            return Err(inst.operand_error("a policy is `.b64`"));
        }
        let kind = mods.take_one(&["fractional", "range", "cvt"]);
        let known = match kind {
            Some("cvt") => mods.take("L2"),
            _ => {
                if kind == Some("range") {
                    mods.take("global");
                }
                // The first priority is for part of the accesses, a second for the rest.
                let first = ["L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged"];
                let first = mods.take_one(&first);
                mods.take_one(&["L2::evict_first", "L2::evict_unchanged"]);
                first.is_some()
            }
        };
        let operands = match kind {
            Some("range") => 4..=4,
            Some("cvt") => 2..=2,
            _ => 1..=2,
        };
        if kind.is_none() || !known || !operands.contains(&inst.operands.len()) {
            return Err(inst.operand_error("not a form of this opcode"));
        }
        let d = self.dest::<u64>(inst, Type::B64)?;
        let zero = super::operand::narrow(self.constant(0, Type::B64));
        Ok(Op::Alu(crate::exec::registers::map1::<u64, u64>(d, zero, |zero| zero)))
    }
}

/// The update of an atomic, on the raw bits of old value, operand and swap value.
fn update(operation: &str, ty: Type, noftz: bool, space: StateSpace) -> Option<AtomicFn> {
    let is_half = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
    if noftz != (is_half && operation == "add") {
        return None;
    }
    let bits = ty.bits();
    let signed = move |raw: u64| ((raw << (64 - bits)) as i64) >> (64 - bits);
    let wide = matches!(bits, 32 | 64);
    Some(match (operation, ty) {
        ("exch", _) if ty.is_untyped() && wide => Box::new(|_, b, _| b),
        ("cas", _) if ty.is_untyped() => Box::new(|old, compare, swap| if old == compare { swap } else { old }),
        ("and", _) if ty.is_untyped() && wide => Box::new(|a, b, _| a & b),
        ("or", _) if ty.is_untyped() && wide => Box::new(|a, b, _| a | b),
        ("xor", _) if ty.is_untyped() && wide => Box::new(|a, b, _| a ^ b),
        ("add", Type::U32 | Type::S32 | Type::U64) => Box::new(|a, b, _| a.wrapping_add(b)),
        ("inc", Type::U32) => Box::new(|a, b, _| if a >= b { 0 } else { a + 1 }),
        ("dec", Type::U32) => Box::new(|a, b, _| if a == 0 || a > b { b } else { a - 1 }),
        ("min", Type::U32 | Type::U64) => Box::new(|a, b, _| a.min(b)),
        ("max", Type::U32 | Type::U64) => Box::new(|a, b, _| a.max(b)),
        ("min", Type::S32 | Type::S64) => Box::new(move |a, b, _| if signed(b) < signed(a) { b } else { a }),
        ("max", Type::S32 | Type::S64) => Box::new(move |a, b, _| if signed(b) > signed(a) { b } else { a }),
        ("add", Type::F32) => {
            // Atomics on global memory flush subnormals, those on shared memory do not; a
            // generic address could be either, and is taken to be global.
            let flush = matches!(space, StateSpace::Global | StateSpace::Generic);
            Box::new(move |a, b, _| {
                let end = |x: f32| if flush { flush32(x) } else { x };
                let [a, b] = [a, b].map(|raw| end(f32::from_bits(raw as u32)));
                u64::from(canonical32(end(a + b)).to_bits())
            })
        }
        ("add", Type::F64) => Box::new(|a, b, _| {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            canonical64(a + b, &[a, b]).to_bits()
        }),
        ("add", Type::F16) => Box::new(|a, b, _| u64::from(F16.add(a as u16, b as u16))),
        ("add", Type::Bf16) => Box::new(|a, b, _| u64::from(BF16.add(a as u16, b as u16))),
        ("add", Type::F16x2 | Type::Bf16x2) => {
            let format = if ty == Type::F16x2 { F16 } else { BF16 };
            Box::new(move |a, b, _| {
                let low = format.add(a as u16, b as u16);
                let high = format.add((a >> 16) as u16, (b >> 16) as u16);
                u64::from(high) << 16 | u64::from(low)
            })
        }
        _ => return None,
    })
}
