//! Whole groups: the scale from their elements, and the codes under it.

use crate::harness::{Target, bits, download, targets, upload};
use crate::random::Random;
use crate::significant::of_eleven_bits;
use half::{bf16, f16};
use ptx_emu::Memory;
use warpnorm::quantise::{BlockRounding, CodeType, Quantisation, ScaleLayout, Scaling};
use warpnorm::reference::{QuantisedRow, quantise_row};

/// Elements of a group in these tests: two blocks of 32, four of 16.
const SIZE: usize = 64;

/// Groups of bf16 and f16 values, and of such as f16 would hold with the exponents of f32: of all sizes, from one element
/// that is all there is to all alike, with infinities, NaNs and zeros among them.
fn groups() -> Vec<Vec<f32>> {
    let mut source = Random::new(3);
    let mut groups = Vec::new();
    let mut add = |group: &[f32]| {
        groups.push(group.iter().map(|&y| of_eleven_bits(y)).collect());
        groups.push(group.iter().map(|&y| bf16::from_f32(y).to_f32()).collect());
        groups.push(group.iter().map(|&y| f16::from_f32(y).to_f32()).collect());
    };
    for exponent in [-149, -133, -126, -120, -118, -60, -30, -14, -9, 0, 3, 16, 60, 119, 126] {
        let of_that_size: Vec<f32> = (0..SIZE)
            .map(|_| source.with_exponent(-4..1) * 2f32.powi(exponent / 2) * 2f32.powi(exponent - exponent / 2))
            .collect();
        add(&of_that_size);
        // amax at 1.75·2^k, where the rules for powers of two change, and on either side.
        let edge = 2f32.powi(exponent.max(-126)) * 1.75;
        for amax in [edge.next_down(), edge, edge.next_up(), edge / 1.75, edge / 1.75 * 1.5] {
            let mut group: Vec<f32> = of_that_size.iter().map(|y| y * 0.5).collect();
            group[9] = -amax;
            group[41] = amax;
            add(&group);
        }
    }
    for _ in 0..64 {
        add(&(0..SIZE).map(|_| source.f32()).collect::<Vec<_>>());
        let amax = source.with_exponent(-16..16);
        add(&(0..SIZE).map(|_| source.with_exponent(-6..0) * amax).collect::<Vec<_>>());
        // Multiples of a 32nd of the largest: many quotients near ties.
        add(&(0..SIZE).map(|at| (at as f32 - 32.0) / 32.0 * amax).collect::<Vec<_>>());
    }
    let mut odd = vec![1.0; SIZE];
    odd[7] = f32::NAN;
    add(&odd);
    odd[30] = f32::NEG_INFINITY;
    add(&odd);
    add(&[0.0; SIZE]);
    add(&[-0.0; SIZE]);
    add(&[f32::NAN; SIZE]);
    add(&[f32::MAX; SIZE]);
    add(&[f32::from_bits(1); SIZE]);
    groups
}

/// What a launch is told beside values, codes and scales: `Groups` of the kernels from `size` on.
fn settings(quantisation: &Quantisation, tensor_scale: f32) -> Vec<u32> {
    let (floor, upper) = quantisation.amax_bounds().unwrap_or((0.0, f32::INFINITY));
    let power_of_two = matches!(quantisation.scaling, Scaling::PerGroup { power_of_two: true, .. });
    let rounding = match quantisation.scaling {
        Scaling::Mxfp8 { rounding: BlockRounding::Floor, .. } => 1,
        _ => 0,
    };
    let size = quantisation.scaling.group().unwrap_or(SIZE);
    vec![size as u32, floor.to_bits(), upper.to_bits(), tensor_scale.to_bits(), power_of_two.into(), rounding]
}

/// The codes and scales of rows of `SIZE` elements.
fn quantise(target: &Target, quantisation: &Quantisation, tensor_scale: f32, rows: &[Vec<f32>]) -> Vec<QuantisedRow> {
    let family = match quantisation.scaling {
        Scaling::PerTensor | Scaling::PerTensorWide => "per_tensor",
        Scaling::PerToken { .. } | Scaling::PerGroup { .. } => "dynamic",
        Scaling::Mxfp8 { .. } => "mxfp8",
        Scaling::Nvfp4 { .. } => "nvfp4",
    };
    let per_row = SIZE / quantisation.scaling.group().unwrap_or(SIZE);
    let row_words = quantisation.row_bytes(SIZE) / 4;
    let count = rows.len() * per_row;
    let mut memory = Memory::new();
    let values = upload(&mut memory, "values", &bits(&rows.concat()));
    let codes = memory.allocate("codes", 4 * rows.len() * row_words);
    let scales = memory.allocate("scales", 4 * count);
    let mut args: Vec<u8> = [values, codes, scales].into_iter().flat_map(u64::to_le_bytes).collect();
    args.extend((count as u32).to_le_bytes());
    args.extend(settings(quantisation, tensor_scale).into_iter().flat_map(u32::to_le_bytes));
    // The structure ends on a multiple of its pointers' size.
    args.resize(args.len().next_multiple_of(8), 0);
    target.launch(&format!("{family}_{}", quantisation.code), &[&args], count, &mut memory);

    let codes = download(&memory, codes, rows.len() * row_words);
    let given = quantisation.scaling == Scaling::PerTensor;
    let scales = if given { Vec::new() } else { download(&memory, scales, count) };
    let row = |row: usize| QuantisedRow {
        codes: codes[row * row_words..][..row_words].iter().flat_map(|word| word.to_le_bytes()).collect(),
        scales: if given { Vec::new() } else { scales[row * per_row..][..per_row].to_vec() },
    };
    (0..rows.len()).map(row).collect()
}

#[track_caller]
fn agrees(quantisation: Quantisation, tensor_scale: f32) {
    let rows = groups();
    for target in targets() {
        for (y, got) in rows.iter().zip(quantise(&target, &quantisation, tensor_scale, &rows)) {
            let wanted = quantise_row(&quantisation, tensor_scale, y).expect("a possible quantisation");
            assert_eq!(got, wanted, "{} {quantisation:?} {tensor_scale:e} of {y:?}", target.name);
        }
    }
}

#[test]
fn under_a_scale_for_the_tensor() {
    for code in [CodeType::E4m3, CodeType::E5m2, CodeType::Int8] {
        for scale in [1.0, 0.017, 3e-5, 7e20, 1e-38, 0.0, -0.5, f32::from_bits(1), f32::MAX, f32::INFINITY, f32::NAN] {
            agrees(Quantisation::per_tensor(code), scale);
        }
    }
}

#[test]
fn under_a_scale_for_each_row() {
    for code in [CodeType::E4m3, CodeType::E5m2, CodeType::Int8] {
        agrees(Quantisation::per_token(code), 0.0);
    }
    for code in [CodeType::E4m3, CodeType::E5m2] {
        for bound in [1.0, 1e-30, 1e30, 448.0] {
            agrees(Quantisation { code, scaling: Scaling::PerToken { upper_bound: Some(bound) } }, 0.0);
        }
    }
}

#[test]
fn under_a_scale_for_each_group() {
    let layout = ScaleLayout::RowMajor;
    for code in [CodeType::E4m3, CodeType::E5m2, CodeType::Int8] {
        for power_of_two in [false, true] {
            for floor in [1e-10, 1.0 / 512.0, Scaling::LEAST_FLOOR] {
                agrees(
                    Quantisation { code, scaling: Scaling::PerGroup { size: SIZE, layout, power_of_two, floor } },
                    0.0,
                );
            }
        }
    }
}

#[test]
fn in_blocks_of_32() {
    for code in [CodeType::E4m3, CodeType::E5m2] {
        for rounding in [BlockRounding::Up, BlockRounding::Floor] {
            agrees(Quantisation { code, scaling: Scaling::Mxfp8 { rounding, layout: ScaleLayout::RowMajor } }, 0.0);
        }
    }
}

#[test]
fn in_blocks_of_16() {
    for global in [1.0, 896.0, 2688.0 / 3.7, 1e-3, 1e30, 0.0, f32::from_bits(1), f32::MAX, f32::INFINITY, f32::NAN] {
        agrees(Quantisation::nvfp4(), global);
    }
}

/// Every bf16 as amax.
#[test]
fn block_scales_of_every_bf16() {
    let rows: Vec<Vec<f32>> = (0..1 << 15)
        .step_by(2)
        .map(|bits| {
            let mut row = vec![0.0; SIZE];
            row[5] = bf16::from_bits(bits).to_f32();
            row[SIZE - 5] = -bf16::from_bits(bits + 1).to_f32();
            row
        })
        .collect();
    for rounding in [BlockRounding::Up, BlockRounding::Floor] {
        let scaling = Scaling::Mxfp8 { rounding, layout: ScaleLayout::RowMajor };
        let quantisation = Quantisation { code: CodeType::E4m3, scaling };
        for target in targets() {
            for (y, got) in rows.iter().zip(quantise(&target, &quantisation, 0.0, &rows)) {
                let wanted = quantise_row(&quantisation, 0.0, y).expect("a possible quantisation");
                assert_eq!(got, wanted, "{} {rounding:?} {y:?}", target.name);
            }
        }
    }
}
