//! Calls on emulated memory: every tensor with a stride and an offset of its own, outputs that lie
//! over other tensors rightly and wrongly.

use super::Description;
use super::verdict::{judged, judged_without_y};
use arbitrary::{Arbitrary, Result, Unstructured};
use ptx_emu::Memory;
use std::collections::HashMap;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Output, Problem};
use warpnorm::plan::{Module, plan};
use warpnorm::{Call, CallError, Error, RawCodes, RawRows, RawVector, Role};

/// What memory holds where nothing has been put: NaN in every type.
const POISON: u8 = 0xff;

/// Where the tensors lie.
#[derive(Debug)]
pub struct Road {
    /// Of x, residual, y and residual_out.
    lies: [Lie; 4],
    /// Elements past an aligned address, of weight and bias.
    vectors: [u8; 2],
    y: Over,
    residual_out: Over,
    /// Bytes by which one address is off.
    skew: Option<(u8, i8)>,
    /// Of codes: bytes between the rows, and bytes past an aligned address.
    codes: Lie,
    /// What is wrong with one of the tensors that quantisation brings.
    wrong: Option<(Part, Wrong)>,
}

/// A tensor that quantisation brings, or takes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Codes,
    Scales,
    TensorScale,
    Y,
}

/// What can be wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// Not there where it is wanted, there where it is not.
    Presence,
    Null,
    /// So many bytes off.
    Off(u8),
    /// Rows so much too close; codes only.
    Stride(u8),
    /// So many bytes into x.
    OverX(u8),
    /// Over y, or over the new residual stream where there is no y.
    OverOutput,
}

/// One matrix.
#[derive(Clone, Copy, Debug)]
struct Lie {
    padding: usize,
    offset: usize,
}

/// Which memory an output lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Nothing,
    X,
    Residual,
    /// In the padding of x, whose rows are made long enough: columns of one packed matrix.
    BesideX,
    /// So many elements into x.
    IntoX(usize),
}

impl<'a> Arbitrary<'a> for Road {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let lie = |u: &mut Unstructured<'a>| -> Result<Lie> {
            Ok(Lie {
                padding: *u.choose(&[0, 0, 0, 1, 2, 4, 7, 8, 24])?,
                offset: *u.choose(&[0, 0, 0, 1, 2, 4, 5, 8])?,
            })
        };
        let over = |u: &mut Unstructured<'a>| -> Result<Over> {
            Ok(match u.int_in_range(0..=15)? {
                0..=5 => Over::Nothing,
                6..=8 => Over::X,
                9..=11 => Over::Residual,
                12..=14 => Over::BesideX,
                _ => Over::IntoX(u.int_in_range(1..=64)?),
            })
        };
        Ok(Road {
            lies: [lie(u)?, lie(u)?, lie(u)?, lie(u)?],
            vectors: [u.int_in_range(0..=9)?, u.int_in_range(0..=9)?],
            y: over(u)?,
            residual_out: over(u)?,
            codes: lie(u)?,
            wrong: if u.ratio(1, 8)? {
                let part = *u.choose(&[Part::Codes, Part::Scales, Part::TensorScale, Part::Y])?;
                let wrong = match u.int_in_range(0..=5)? {
                    0 => Wrong::Presence,
                    1 => Wrong::Null,
                    2 => Wrong::Off(u.int_in_range(1..=8)?),
                    3 => Wrong::Stride(u.int_in_range(1..=8)?),
                    4 => Wrong::OverX(u.int_in_range(0..=64)?),
                    _ => Wrong::OverOutput,
                };
                Some((part, wrong))
            } else {
                None
            },
            skew: if u.ratio(1, 32)? { Some((u.int_in_range(0..=3)?, u.arbitrary()?)) } else { None },
        })
    }
}

/// A matrix in memory: its rows, and the address of the allocation around them.
#[derive(Clone, Copy)]
struct Matrix {
    rows: RawRows,
    allocation: u64,
    bytes: usize,
}

/// The device's memory while a call is set up.
struct Layout<'p> {
    problem: &'p Problem<'p>,
    memory: Memory,
}

impl Layout<'_> {
    /// Poisoned room for the problem's rows.
    fn room(&mut self, name: &str, lie: Lie, stride: usize, slack: usize) -> Matrix {
        let size = self.problem.dtype.size();
        let bytes = (lie.offset + self.problem.rows * stride + slack) * size;
        let allocation = self.memory.allocate(name, bytes);
        self.memory.write(allocation, &vec![POISON; bytes]).expect("just allocated");
        let address = allocation + (lie.offset * size) as u64;
        Matrix { rows: RawRows { address, stride }, allocation, bytes }
    }

    fn put(&mut self, matrix: Matrix, contents: &[u8]) {
        let size = self.problem.dtype.size();
        let row_bytes = self.problem.hidden * size;
        for (row, bytes) in contents.chunks_exact(row_bytes).enumerate() {
            let address = matrix.rows.address + (row * matrix.rows.stride * size) as u64;
            self.memory.write(address, bytes).expect("the room is large enough");
        }
    }

    fn vector(&mut self, name: &str, offset: u8, size: usize, contents: &[u8]) -> u64 {
        let misalign = usize::from(offset) * size;
        let address = self.memory.allocate_misaligned(name, contents.len(), misalign);
        self.memory.write(address, contents).expect("just allocated");
        self.memory.set_read_only(address, true).expect("just allocated");
        address
    }

    fn statistic(&mut self, name: &str) -> u64 {
        self.vector_of_poison(name, self.problem.rows * size_of::<f32>())
    }

    fn vector_of_poison(&mut self, name: &str, bytes: usize) -> u64 {
        let address = self.memory.allocate(name, bytes);
        self.memory.write(address, &vec![POISON; bytes]).expect("just allocated");
        address
    }

    fn gather(&self, rows: RawRows) -> Vec<u8> {
        let size = self.problem.dtype.size();
        let row_bytes = self.problem.hidden * size;
        let mut bytes = vec![0; self.problem.rows * row_bytes];
        for (row, part) in bytes.chunks_exact_mut(row_bytes).enumerate() {
            self.memory.read(rows.address + (row * rows.stride * size) as u64, part).expect("written by the host");
        }
        bytes
    }

    /// Poisoned room for rows of bytes.
    fn bytes(&mut self, name: &str, lie: Lie, rows: usize, row: usize) -> Matrix {
        let stride = row + lie.padding;
        let bytes = lie.offset + rows * stride + 64;
        let allocation = self.memory.allocate(name, bytes);
        self.memory.write(allocation, &vec![POISON; bytes]).expect("just allocated");
        Matrix { rows: RawRows { address: allocation + lie.offset as u64, stride }, allocation, bytes }
    }

    fn gather_bytes(&self, address: u64, stride: usize, rows: usize, row: usize) -> Vec<u8> {
        let mut bytes = vec![0; rows * row];
        for (index, part) in bytes.chunks_exact_mut(row.max(1)).enumerate() {
            self.memory.read(address + (index * stride) as u64, part).expect("written by the host");
        }
        bytes
    }

    fn floats(&self, address: u64) -> Vec<f32> {
        let mut bytes = vec![0; self.problem.rows * 4];
        self.memory.read(address, &mut bytes).expect("written by the host");
        bytes.chunks_exact(4).map(|value| f32::from_ne_bytes(value.try_into().expect("4 bytes"))).collect()
    }
}

impl Road {
    pub fn hold(&self, description: &Description, problem: &Problem<'_>) {
        let mut layout = Layout { problem, memory: Memory::new() };
        let (call, matrices) = self.lay_out(&mut layout);
        let planned = plan(&call, &description.device);
        if let Err(refusal) = call.validate() {
            // By text: a NaN that was refused equals none.
            let wanted = format!("{:?}", Error::Call(refusal.clone()));
            let text = |error: Option<Error>| error.map(|error| format!("{error:?}"));
            assert_eq!(text(planned.err()).as_deref(), Some(&*wanted), "plan of {call:?}");
            let ran = Emulated::new(description.device.clone()).launch(&call, &mut layout.memory);
            assert_eq!(text(ran.err()).as_deref(), Some(&*wanted), "run of {call:?}");
            if matches!(refusal, CallError::Overlap { .. }) {
                assert!(self.may_overlap(&call), "{refusal} in {call:?}");
            }
            return;
        }
        let owners = owners(&call);
        let before: Vec<Vec<u8>> = matrices.iter().map(|matrix| whole(&layout.memory, matrix)).collect();
        let device = Emulated::new(description.device.clone());
        let ran = device.launch(&call, &mut layout.memory);
        if planned.is_err()
            || planned.as_ref().is_ok_and(Option::is_some) && device.target(Module::of(&call.norm, call.dtype)).is_err()
        {
            assert!(matches!(ran, Err(Error::Plan(_))), "{ran:?}");
            return;
        }
        ran.unwrap_or_else(|error| panic!("{error}\n{call:?}"));
        // Nothing but the outputs has changed.
        for (matrix, before) in matrices.iter().zip(before) {
            let after = whole(&layout.memory, matrix);
            let changed = before.iter().zip(&after).position(|(before, after)| before != after);
            for at in changed.into_iter().chain((0..before.len()).filter(|at| before[*at] != after[*at])) {
                let address = matrix.allocation + at as u64;
                assert!(owners.contains_key(&address), "byte {at} of {} changed\n{call:?}", before.len());
            }
        }
        let output = Output {
            second_y: None,
            y: call.y.map_or_else(Vec::new, |y| layout.gather(y)),
            codes: call.codes.zip(problem.norm.quantisation).map(|(codes, quantisation)| {
                let row = quantisation.row_bytes(problem.hidden);
                layout.gather_bytes(codes.address, codes.stride, problem.rows, row)
            }),
            scales: call.scales.map(|scales| layout.gather_bytes(scales, 0, 1, scale_bytes(problem))),
            residual: call.residual_out.map(|rows| layout.gather(rows)),
            mean: call.mean.map(|address| layout.floats(address)),
            rstd: call.rstd.map(|address| layout.floats(address)),
        };
        // A y or a scale that is not asked for may be there by mistake, and the other way round: the call is what
        // counts. Nobody knows the value of a scale that only the call has.
        let mut asked = *problem;
        asked.outputs.y = call.y.is_some();
        asked.tensor_scale = problem.tensor_scale.filter(|_| call.tensor_scale.is_some());
        if call.tensor_scale.is_some() != asked.tensor_scale.is_some() {
            return;
        }
        if call.y.is_some() {
            judged(&asked, &output, description.fill);
        } else {
            judged_without_y(&asked, &output, &device, description.fill);
        }
    }

    /// Whether an output was laid over something at all.
    fn may_overlap(&self, call: &Call) -> bool {
        matches!(self.wrong, Some((_, Wrong::OverX(_) | Wrong::OverOutput | Wrong::Off(_) | Wrong::Stride(_))))
            || call.y.is_some() && self.y != Over::Nothing
            || call.residual_out.is_some() && self.residual_out != Over::Nothing
    }

    fn lay_out(&self, layout: &mut Layout<'_>) -> (Call, Vec<Matrix>) {
        let problem = layout.problem;
        let [x_lie, residual_lie, y_lie, residual_out_lie] = self.lies;
        let hidden = problem.hidden;
        let beside = usize::from(self.y == Over::BesideX) + usize::from(self.residual_out == Over::BesideX);
        let x = layout.room("x", x_lie, hidden * (1 + beside) + x_lie.padding, 64);
        layout.put(x, problem.x);
        let mut matrices = vec![x];
        let residual = problem.residual.map(|bytes| {
            let residual = layout.room("residual", residual_lie, hidden + residual_lie.padding, 0);
            layout.put(residual, bytes);
            matrices.push(residual);
            residual
        });
        let size = problem.dtype.size() as u64;
        let mut columns = 0;
        let mut output = |layout: &mut Layout<'_>, over: Over, name: &str, lie: Lie| -> RawRows {
            match (over, residual) {
                (Over::X, _) => x.rows,
                (Over::Residual, Some(residual)) => residual.rows,
                (Over::BesideX, _) => {
                    columns += 1;
                    RawRows { address: x.rows.address + (columns * hidden) as u64 * size, ..x.rows }
                }
                (Over::IntoX(by), _) => RawRows { address: x.rows.address + by as u64 * size, ..x.rows },
                (Over::Nothing | Over::Residual, _) => {
                    let matrix = layout.room(name, lie, hidden + lie.padding, 0);
                    matrices.push(matrix);
                    matrix.rows
                }
            }
        };
        let y = (problem.norm.quantisation.is_none() || problem.outputs.y).then(|| output(layout, self.y, "y", y_lie));
        let residual_out =
            problem.outputs.residual.then(|| output(layout, self.residual_out, "residual_out", residual_out_lie));
        let mut call = Call::new(problem.norm, problem.dtype, problem.rows, hidden, x.rows, x.rows);
        call.y = y;
        call.residual = residual.map(|residual| residual.rows);
        call.residual_out = residual_out;
        let [weight_offset, bias_offset] = self.vectors;
        call.weight = problem.weight.map(|weight| RawVector {
            address: layout.vector("weight", weight_offset, weight.dtype.size(), weight.bytes),
            dtype: weight.dtype,
        });
        call.bias = problem.bias.map(|bias| RawVector {
            address: layout.vector("bias", bias_offset, bias.dtype.size(), bias.bytes),
            dtype: bias.dtype,
        });
        call.mean = problem.outputs.mean.then(|| layout.statistic("mean"));
        call.rstd = problem.outputs.rstd.then(|| layout.statistic("rstd"));
        if let Some(quantisation) = problem.norm.quantisation {
            let codes = layout.bytes("codes", self.codes, problem.rows, quantisation.row_bytes(hidden));
            let RawRows { address, stride } = codes.rows;
            call.codes = Some(RawCodes { address, stride });
            matrices.push(codes);
            if quantisation.scaling.scale_type().is_some() {
                let scales = layout.bytes("scales", Lie { padding: 0, offset: 0 }, 1, scale_bytes(problem));
                call.scales = Some(scales.rows.address);
                matrices.push(scales);
            }
        }
        call.tensor_scale = problem.tensor_scale.map(|scale| layout.vector("tensor_scale", 0, 4, &scale.to_ne_bytes()));
        if let Some((part, wrong)) = self.wrong {
            spoil(&mut call, part, wrong);
        }
        if let Some((which, by)) = self.skew {
            // Off by less than an element, or by whole ones into what is not the tensor's: only the
            // first is anyone's to refuse, so whole ones are left out.
            let by = i64::from(by) % problem.dtype.size() as i64;
            let skew = |rows: &mut RawRows| rows.address = rows.address.wrapping_add_signed(by);
            match which {
                0 => skew(&mut call.x),
                1 => call.residual.iter_mut().for_each(skew),
                2 => call.y.iter_mut().for_each(skew),
                _ => call.residual_out.iter_mut().for_each(skew),
            }
        }
        (call, matrices)
    }
}

/// Bytes of the scales; of those that cannot be counted, or are more than anyone has, none.
fn scale_bytes(problem: &Problem<'_>) -> usize {
    let count = problem.norm.quantisation.and_then(|quantisation| {
        let size = quantisation.scaling.scale_type()?.size();
        quantisation.scale_count(problem.rows, problem.hidden)?.checked_mul(size)
    });
    count.filter(|&bytes| bytes < 1 << 26).unwrap_or(0)
}

fn takes_tensor_scale(call: &Call) -> bool {
    call.norm.quantisation.is_some_and(|quantisation| quantisation.scaling.takes_tensor_scale())
}

fn spoil(call: &mut Call, part: Part, wrong: Wrong) {
    let output = call.y.or(call.residual_out).unwrap_or(call.x).address;
    let x = call.x.address;
    let moved = |address: u64| match wrong {
        Wrong::Null => 0,
        Wrong::Off(by) => address + u64::from(by),
        Wrong::OverX(by) => x + u64::from(by),
        Wrong::OverOutput => output,
        Wrong::Presence | Wrong::Stride(_) => address,
    };
    let vector = |there: Option<u64>| match wrong {
        Wrong::Presence => {
            if there.is_some() {
                None
            } else {
                Some(1 << 40)
            }
        }
        _ => there.map(moved),
    };
    match (part, wrong) {
        (Part::Y, Wrong::Presence) => call.y = None,
        // Whole elements would lead out of y's memory, which nobody can refuse.
        (Part::Y, Wrong::Off(by)) if usize::from(by).is_multiple_of(call.dtype.size()) => {}
        (Part::Y, _) => call.y.iter_mut().for_each(|y| y.address = moved(y.address)),
        (Part::Scales, _) => call.scales = vector(call.scales),
        // What is read there would be another scale.
        (Part::TensorScale, Wrong::Off(by)) if by % 4 == 0 => {}
        (Part::TensorScale, Wrong::OverX(_) | Wrong::OverOutput) => {}
        // Of one that is wanted and was left out, there is no memory.
        (Part::TensorScale, Wrong::Presence) if call.tensor_scale.is_none() && takes_tensor_scale(call) => {}
        (Part::TensorScale, _) => call.tensor_scale = vector(call.tensor_scale),
        (Part::Codes, Wrong::Presence) => {
            call.codes =
                if call.codes.is_some() { None } else { Some(RawCodes { address: 1 << 40, stride: call.hidden }) };
        }
        (Part::Codes, Wrong::Stride(by)) => {
            call.codes.iter_mut().for_each(|codes| codes.stride = codes.stride.saturating_sub(by.into()));
        }
        (Part::Codes, _) => call.codes.iter_mut().for_each(|codes| codes.address = moved(codes.address)),
    }
}

fn whole(memory: &Memory, matrix: &Matrix) -> Vec<u8> {
    let mut bytes = vec![0; matrix.bytes];
    memory.read(matrix.allocation, &mut bytes).expect("written by the host");
    bytes
}

/// Which output owns each byte. The call is one that was accepted: an output that shares a byte with
/// another tensor shares all of it, element for element, with x or residual.
fn owners(call: &Call) -> HashMap<u64, Role> {
    let size = call.dtype.size() as u64;
    let bytes_of = |rows: RawRows| {
        (0..call.rows as u64).flat_map(move |row| {
            let start = rows.address + row * rows.stride as u64 * size;
            start..start + call.hidden as u64 * size
        })
    };
    let outputs = [(Role::Y, call.y), (Role::ResidualOut, call.residual_out)];
    let inputs = [(Role::X, Some(call.x)), (Role::Residual, call.residual)];
    let mut owners = HashMap::new();
    for (role, rows) in outputs.into_iter().filter_map(|(role, rows)| Some((role, rows?))) {
        for byte in bytes_of(rows) {
            let other = owners.insert(byte, role);
            assert_eq!(other, None, "two outputs share {byte:#x}: {call:?}");
        }
        for (input, other) in inputs.into_iter().filter_map(|(role, rows)| Some((role, rows?))) {
            let over = rows.address == other.address && (rows.stride == other.stride || call.rows == 1);
            if !over && let Some(byte) = bytes_of(other).find(|byte| owners.get(byte) == Some(&role)) {
                panic!("{role} shares {byte:#x} with {input}: {call:?}");
            }
        }
    }
    for (role, byte) in bytes_of_codes(call) {
        let other = owners.insert(byte, role);
        assert_eq!(other, None, "two outputs share {byte:#x}: {call:?}");
    }
    for (input, rows) in inputs.into_iter().filter_map(|(role, rows)| Some((role, rows?))) {
        let shared = bytes_of(rows).find(|byte| matches!(owners.get(byte), Some(Role::Codes | Role::Scales)));
        assert_eq!(shared, None, "codes or scales share it with {input}: {call:?}");
    }
    owners
}

/// The bytes of codes and of scales.
fn bytes_of_codes(call: &Call) -> Vec<(Role, u64)> {
    let Some(quantisation) = call.norm.quantisation else { return Vec::new() };
    let mut bytes = Vec::new();
    if let Some(RawCodes { address, stride }) = call.codes {
        for row in 0..call.rows as u64 {
            let start = address + row * stride as u64;
            bytes.extend((start..start + quantisation.row_bytes(call.hidden) as u64).map(|byte| (Role::Codes, byte)));
        }
    }
    let size = quantisation.scaling.scale_type().map_or(0, |scale_type| scale_type.size()) as u64;
    if let Some(address) = call.scales {
        for (row, group) in
            (0..call.rows).flat_map(|row| (0..quantisation.groups(call.hidden)).map(move |group| (row, group)))
        {
            let start = address + quantisation.scale_index(call.rows, call.hidden, row, group) as u64 * size;
            bytes.extend((start..start + size).map(|byte| (Role::Scales, byte)));
        }
    }
    bytes
}
