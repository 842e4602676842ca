//! Barriers, and exchanges among the lanes of a warp.

use super::Decoder;
use super::operand::{Width, narrow};
use super::types::{Modifiers, Type};
use crate::error::ParseError;
use crate::exec::registers::{PredOperand, Reg};
use crate::ir::{BarrierReduction, CtaBarrier, Exchange, Op, ShuffleMode};
use crate::parse::ast::{Instruction, Operand};

type Decoded = Result<Op, ParseError>;

impl<'a> Decoder<'_, 'a> {
    /// `bar`, `barrier`, `bar.warp` and `barrier.cluster`.
    pub(super) fn barrier(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        if inst.opcode == "bar" && mods.take("warp") {
            return self.warp_barrier(inst, mods);
        }
        if inst.opcode == "barrier" && mods.take("cluster") {
            return self.cluster_barrier(inst, mods);
        }
        mods.take("cta");
        let aligned = inst.opcode == "bar" || mods.take("aligned");
        if mods.take("red") {
            return self.barrier_reduction(inst, mods, aligned);
        }
        let waits = mods.take("sync");
        if !waits && !mods.take("arrive") {
            return Err(inst.operand_error("`.sync`, `.arrive` or `.red` is missing"));
        }
        let threads = match inst.operands.len() {
            1 if waits => None,
            2 => Some(self.source::<u32>(inst, 1, Type::U32)?),
            _ => return Err(inst.operand_error("one or two operands are wanted")),
        };
        let id = self.source::<u32>(inst, 0, Type::U32)?;
        let reduction = None;
        Ok(Op::CtaBarrier(Box::new(CtaBarrier { id, threads, waits, aligned, reduction })))
    }

    fn barrier_reduction(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, aligned: bool) -> Decoded {
        let ty = mods.take_type(inst)?;
        // `bar.red.op d, id {, threads}, p`
        let threads = match inst.operands.len() {
            3 => None,
            4 => Some(self.source::<u32>(inst, 2, Type::U32)?),
            _ => return Err(inst.operand_error("three or four operands are wanted")),
        };
        let id = self.source::<u32>(inst, 1, Type::U32)?;
        let source = self.pred_source(inst, inst.operands.len() - 1)?;
        let reduction = if mods.take("popc") {
            if ty != Type::U32 {
                return Err(inst.operand_error("`.popc` gives `.u32`"));
            }
            BarrierReduction::Popc { dest: self.dest::<u32>(inst, ty)?, source }
        } else {
            let and = mods.take("and");
            if ty != Type::Pred || (!and && !mods.take("or")) {
                return Err(inst.operand_error("`.popc.u32`, `.and.pred` or `.or.pred` is wanted"));
            }
            let dest = self
                .pred_dest(inst, self.operand(inst, 0)?)?
                .ok_or_else(|| inst.operand_error("`_` cannot be this destination"))?;
            if and { BarrierReduction::And { dest, source } } else { BarrierReduction::Or { dest, source } }
        };
        let reduction = Some(reduction);
        Ok(Op::CtaBarrier(Box::new(CtaBarrier { id, threads, waits: true, aligned, reduction })))
    }

    fn warp_barrier(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        if !mods.take("sync") {
            return Err(inst.operand_error("`.sync` is missing"));
        }
        inst.expect_operands(1)?;
        let members = self.source::<u32>(inst, 0, Type::B32)?;
        Ok(Op::Exchange { members, exchange: Box::new(Exchange::Barrier) })
    }

    fn cluster_barrier(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let aligned = mods.take("aligned");
        inst.expect_operands(0)?;
        if mods.take("arrive") {
            let relaxed = mods.take_one(&["release", "relaxed"]) == Some("relaxed");
            Ok(Op::ClusterArrive { aligned, relaxed })
        } else if mods.take("wait") {
            mods.take("acquire");
            Ok(Op::ClusterWait { aligned })
        } else {
            Err(inst.operand_error("`.arrive` or `.wait` is missing"))
        }
    }

    /// `shfl`, `vote`, `match`, `redux` and `activemask`.
    pub(super) fn exchange(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>) -> Decoded {
        let ty = mods.take_type(inst)?;
        if inst.opcode == "activemask" {
            inst.expect_operands(1)?;
            if ty != Type::B32 {
                return Err(inst.operand_error("this opcode takes `.b32`"));
            }
            return Ok(Op::ActiveMask { dest: self.dest::<u32>(inst, ty)? });
        }
        if !mods.take("sync") {
            return Err(inst.unsupported(format!("`{}` without `.sync`", inst.opcode)));
        }
        let (exchange, members) = match inst.opcode {
            "shfl" => (self.shuffle(inst, mods, ty)?, 4),
            "vote" => (self.vote(inst, mods, ty)?, 2),
            "match" => (self.match_lanes(inst, mods, ty)?, 2),
            _ => (self.reduce(inst, mods, ty)?, 2),
        };
        inst.expect_operands(members + 1)?;
        let members: Reg<u32> = self.source::<u32>(inst, members, Type::B32)?;
        Ok(Op::Exchange { members, exchange: Box::new(exchange) })
    }

    /// A destination `d` or `d|p`.
    fn dest_and_predicate(
        &mut self,
        inst: &Instruction<'a>,
        ty: Type,
    ) -> Result<(Option<Reg<u32>>, Option<u32>), ParseError> {
        let (dest, pred) = match self.operand(inst, 0)? {
            Operand::Pair(dest, pred) => (&**dest, self.pred_dest(inst, pred)?),
            dest => (dest, None),
        };
        let dest = self.dest_or_sink(inst, dest, ty, Width::Exact)?;
        Ok((dest.map(narrow), pred))
    }

    fn shuffle(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Result<Exchange, ParseError> {
        let mode = mods
            .take_map(|name| {
                Some(match name {
                    "up" => ShuffleMode::Up,
                    "down" => ShuffleMode::Down,
                    "bfly" => ShuffleMode::Butterfly,
                    "idx" => ShuffleMode::Index,
                    _ => return None,
                })
            })
            .ok_or_else(|| inst.operand_error("a shuffle mode is missing from the opcode"))?;
        if ty != Type::B32 {
            return Err(inst.operand_error("this opcode takes `.b32`"));
        }
        let (dest, in_range) = self.dest_and_predicate(inst, ty)?;
        let value = self.source::<u32>(inst, 1, ty)?;
        let lane = self.source::<u32>(inst, 2, Type::B32)?;
        let clamp = self.source::<u32>(inst, 3, Type::B32)?;
        Ok(Exchange::Shuffle { mode, dest, in_range, value, lane, clamp })
    }

    fn vote(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Result<Exchange, ParseError> {
        let source: PredOperand = self.pred_source(inst, 1)?;
        if mods.take("ballot") {
            if ty != Type::B32 {
                return Err(inst.operand_error("`.ballot` gives `.b32`"));
            }
            return Ok(Exchange::Ballot { dest: self.dest::<u32>(inst, ty)?, source });
        }
        if ty != Type::Pred {
            return Err(inst.operand_error("this vote gives `.pred`"));
        }
        let dest = self
            .pred_dest(inst, self.operand(inst, 0)?)?
            .ok_or_else(|| inst.operand_error("`_` cannot be this destination"))?;
        if mods.take("all") {
            Ok(Exchange::VoteAll { dest, source })
        } else if mods.take("any") {
            Ok(Exchange::VoteAny { dest, source })
        } else if mods.take("uni") {
            Ok(Exchange::VoteUniform { dest, source })
        } else {
            Err(inst.operand_error("a kind of vote is missing from the opcode"))
        }
    }

    fn match_lanes(
        &mut self,
        inst: &Instruction<'a>,
        mods: &mut Modifiers<'a>,
        ty: Type,
    ) -> Result<Exchange, ParseError> {
        if !matches!(ty, Type::B32 | Type::B64) {
            return Err(inst.operand_error("this opcode takes `.b32` and `.b64`"));
        }
        let operand = self.operand(inst, 1)?;
        let value = self.source_any(inst, operand, ty, Width::Exact)?;
        if mods.take("any") {
            return Ok(Exchange::MatchAny { dest: self.dest::<u32>(inst, Type::B32)?, value });
        }
        if !mods.take("all") {
            return Err(inst.operand_error("`.any` or `.all` is missing"));
        }
        let (dest, all) = self.dest_and_predicate(inst, Type::B32)?;
        Ok(Exchange::MatchAll { dest, all, value })
    }

    fn reduce(&mut self, inst: &Instruction<'a>, mods: &mut Modifiers<'a>, ty: Type) -> Result<Exchange, ParseError> {
        let combine: Option<fn(u32, u32) -> u32> = mods.take_map(|name| {
            Some(match (name, ty) {
                ("add", Type::U32 | Type::S32) => u32::wrapping_add as fn(u32, u32) -> u32,
                ("min", Type::U32) => u32::min,
                ("max", Type::U32) => u32::max,
                ("min", Type::S32) => |a, b| (a as i32).min(b as i32) as u32,
                ("max", Type::S32) => |a, b| (a as i32).max(b as i32) as u32,
                ("and", Type::B32) => |a, b| a & b,
                ("or", Type::B32) => |a, b| a | b,
                ("xor", Type::B32) => |a, b| a ^ b,
                _ => return None,
            })
        });
        let combine = combine.ok_or_else(|| inst.operand_error("this reduction does not take this type"))?;
        let dest = self.dest::<u32>(inst, ty)?;
        let value = self.source::<u32>(inst, 1, ty)?;
        Ok(Exchange::Reduce { dest, value, combine })
    }
}
