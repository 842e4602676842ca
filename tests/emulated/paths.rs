//! The paths of the kernels: aligned calls run code of their own, and get what all others get, bit by bit.

use crate::judge;
use crate::support::ops::{groups, heads, ropes, steps, two_norms};
use crate::support::{Failures, bias, case};
use warpnorm::emulated::Emulated;
use warpnorm::host::{Output, Placement};
use warpnorm::parity::{Case, Rotation, Values};
use warpnorm::plan::{Form, Path, Threads};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{
    Activation, DType, DeviceFacts, Family, Input, Norm, PostAdd, PostRounding, ResidualAdd, ResidualRounding, Scope,
    WeightRounding,
};

/// Of rows that begin anywhere.
const SHIFTED: Form = Form::registers(Path::Shifted, Threads::Paired);

fn norms() -> Vec<Norm> {
    let wide = ResidualAdd { scale: 1.5, rounding: ResidualRounding::Wide };
    let post_adds = [(1.0, PostRounding::Single), (0.75, PostRounding::Each)];
    let with_adds = |norm: Norm| {
        let post_adds = post_adds.map(|(scale, rounding)| norm.with_post_add(PostAdd { scale, rounding }));
        let adds = [norm, norm.with_residual_add(ResidualAdd::default()), norm.with_residual_add(wide)];
        adds.into_iter().chain(post_adds)
    };
    let mut norms: Vec<_> = [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)].into_iter().flat_map(with_adds).collect();
    norms.push(Norm::l2_norm());
    norms
}

/// RMS norms with codes, of y as the activation type holds it and before.
fn quantised_norms() -> impl Iterator<Item = Norm> {
    let quantisations = [
        Quantisation::per_token(CodeType::E4m3),
        Quantisation::per_group(CodeType::Int8, 64),
        Quantisation::per_tensor_wide(),
    ];
    let norm = Norm::rms_norm(1e-6);
    let norms = [norm, norm.with_residual_add(ResidualAdd::default())];
    norms.into_iter().flat_map(move |norm| quantisations.map(|quantisation| norm.with_quantisation(quantisation)))
}

fn is_wide(norm: &Norm) -> bool {
    norm.quantisation == Some(Quantisation::per_tensor_wide())
}

/// What an op does before the weight, of which f32 values make nothing.
fn weight_rounding(norm: &Norm, dtype: DType) -> WeightRounding {
    if dtype == DType::F32 { WeightRounding::Single } else { norm.weight_rounding }
}

/// Whether the op has results of this type: codes are of 16 bits.
fn is_there(norm: &Norm, dtype: DType) -> bool {
    norm.quantisation.is_none() || dtype != DType::F32
}

/// What is done with the weights: each is a path of its own for RMS norms.
fn of_weights(norm: Norm) -> [Norm; 3] {
    [norm, norm.with_weight_rounding(WeightRounding::BeforeWeight), norm.with_weight_offset(1.0)]
}

/// A device that holds so few threads at a time that they are paired.
fn small_h200() -> DeviceFacts {
    DeviceFacts { multiprocessors: 1, ..DeviceFacts::h200() }
}

/// The outputs of a case whose tensors lie so, and the form of its kernel.
fn run(device: DeviceFacts, case: &Case, placement: Placement) -> (Output, Form) {
    let run = Emulated::new(device).run_counted(&case.as_problem(), placement);
    let (output, launched) = run.expect("runs");
    (output, launched.expect("launched").0.kernel.form())
}

/// All tensors of an output. A NaN is not equal to itself: the statistics are compared by their bits.
fn tensors(output: &Output) -> impl PartialEq + use<> {
    let bits = |values: &Option<Vec<f32>>| values.as_ref().map(|values| values.iter().map(|x| x.to_bits()).collect());
    let statistics: [Option<Vec<u32>>; 2] = [bits(&output.mean), bits(&output.rstd)];
    (output.y.clone(), output.residual.clone(), output.codes.clone(), output.scales.clone(), statistics)
}

/// Compares a case of rows by the kernels that are there for it.
fn hold(failures: &mut Failures, case: &Case) {
    let wanted = match (weight_rounding(&case.norm, case.dtype), case.norm.weight_offset == 0.0) {
        // Few models have a bias without a mean.
        _ if case.bias.is_some() && case.norm.family != Family::LayerNorm => Path::General,
        (WeightRounding::Single, true) => Path::Aligned,
        // Of the others there are kernels where models ask for them.
        _ if case.norm.family == Family::LayerNorm => Path::General,
        (WeightRounding::BeforeWeight, _) if case.norm.post_add.is_some() => Path::General,
        (WeightRounding::BeforeWeight, _) => Path::AlignedRounded,
        (_, false) if case.norm.quantisation.is_some() && !is_wide(&case.norm) => Path::General,
        (_, false) => Path::AlignedWithOffset,
    };
    let single = Form::registers(wanted, Threads::Single);
    // Only of rows of more than a warp, and of norms with one tensor in and one out.
    let plain = case.norm.input == Input::Plain && case.norm.post_add.is_none() && case.norm.quantisation.is_none();
    let quantised = case.norm.input == Input::Plain && case.norm.quantisation.is_some();
    let warps = case.hidden.div_ceil(512);
    let many = warps > 1 && case.rows * warps > 32;
    let evenly = warps.is_multiple_of(2) || warps > 8;
    let groups = case.hidden.div_ceil(16).max(2).next_power_of_two();
    let paired = match case.hidden {
        hidden if hidden.is_multiple_of(1024) && quantised && !is_wide(&case.norm) => Threads::PairedEven,
        hidden if hidden.is_multiple_of(512) => Threads::PairedFull,
        // Of codes there are no such kernels. A chunk of 16 bytes for each lane.
        hidden if hidden.is_multiple_of(512 / case.dtype.size()) && plain => Threads::PairedLines,
        _ => Threads::Paired,
    };
    let pays = paired != Threads::Paired || evenly;
    let threads = match wanted {
        Path::Aligned if (plain || quantised) && many && pays => paired,
        Path::AlignedRounded | Path::AlignedWithOffset if plain && many && pays => paired,
        Path::Aligned if plain && (4..=32).contains(&groups) && case.rows * groups > 1024 => Threads::PairedLanes,
        _ => Threads::Single,
    };
    let aligned = compare(failures, case, single, Form { threads, ..single });
    // Tensors of rows alone do not lie at multiples of 16 bytes.
    let apart = Placement { padding: 1, ..Placement::default() };
    let (shifted, shifted_form) = run(small_h200(), case, apart);
    let is_moved =
        plain || case.norm.residual_add().is_some() && case.norm.quantisation.is_none() && case.dtype != DType::F32;
    let is_shifted = is_moved && many && wanted == Path::Aligned;
    assert_eq!(shifted_form, if is_shifted { SHIFTED } else { Form::GENERAL }, "{:?}", case.norm);
    record(failures, case, &aligned, &shifted, "by paired threads, shifted");
}

/// Judges a case whose tensors are aligned, and compares what it gets by the kernels for few rows and for many with what
/// it gets one element further on.
fn compare(failures: &mut Failures, case: &Case, few: Form, many: Form) -> Output {
    judge(failures, &DeviceFacts::h200(), case, Placement::default());
    let (aligned, form) = run(DeviceFacts::h200(), case, Placement::default());
    let further_on = Placement { offset: 1, ..Placement::default() };
    let (general, other_form) = run(DeviceFacts::h200(), case, further_on);
    assert_eq!((form, other_form), (few, Form::GENERAL), "{:?}", case.norm);
    let (crowded, crowded_form) = run(small_h200(), case, Placement::default());
    assert_eq!(crowded_form, many, "{:?}", case.norm);
    record(failures, case, &aligned, &general, "where it is not aligned");
    record(failures, case, &aligned, &crowded, "where there are many rows");
    aligned
}

fn record(failures: &mut Failures, case: &Case, wanted: &Output, found: &Output, what: &str) {
    let Case { norm, dtype, rows, hidden, .. } = case;
    let same = tensors(wanted) == tensors(found);
    failures.record((!same).then(|| format!("{rows} × {hidden} {dtype} {norm:?}: other bits {what}")));
}

#[test]
fn aligned_calls_get_the_bits_of_others() {
    let mut failures = Failures::default();
    for (index, values) in Values::ALL.into_iter().enumerate() {
        let norms = norms().into_iter().chain(quantised_norms());
        for (turn, norm) in norms.flat_map(of_weights).enumerate() {
            for dtype in DType::ALL.into_iter().filter(|&dtype| is_there(&norm, dtype)) {
                for (weight, bias) in [(None, None), (Some(dtype), None), (Some(dtype), Some(dtype))] {
                    if weight.is_none() && norm.weight_offset != 0.0 {
                        continue;
                    }
                    if bias.is_some() && (norm.post_add.is_some() || norm.quantisation.is_some()) {
                        continue;
                    }
                    // Scales are of whole groups.
                    let least = if norm.quantisation.is_some() { 128 } else { 8 };
                    let hidden = [least, 64, 640, 768, 1280, 1536, 4096][(index + turn) % 7];
                    let rows = if (640..2000).contains(&hidden) { 17 } else { 3 };
                    let mut case = case((norm, weight, bias), dtype, rows, hidden, values, 31);
                    // Of y before it is rounded there are only the codes.
                    case.outputs.y &= !is_wide(&norm);
                    hold(&mut failures, &case);
                }
            }
        }
    }
    failures.assert_none();
}

/// Heads, which lie beside others, are rotated or not, and share the lanes of a warp.
#[test]
fn heads_of_rows() {
    let mut failures = Failures::default();
    let mut number = 0;
    for dtype in DType::ALL {
        for hidden in [32, 64, 96, 128, 200, 256, 512] {
            let norms = of_weights(Norm::rms_norm(1e-6)).into_iter().chain([Norm::l2_norm(), Norm::layer_norm(1e-5)]);
            for norm in norms.map(|norm| norm.with_scope(Scope::Head)) {
                let ropes = ropes(hidden);
                for rope in [None, Some(ropes[number % 2]), Some(ropes[number % ropes.len()])] {
                    number += 2;
                    let norm = Norm { rope, ..norm };
                    let rows = if number % 3 == 0 { 3 } else { 48 };
                    let mut case = heads(norm, dtype, (rows, 3, hidden), number);
                    if norm.weight_offset != 0.0 && case.weight.is_none() {
                        continue;
                    }
                    let tables = if number % 4 == 0 { DType::F32 } else { dtype };
                    case.rope = rope.map(|rope| Rotation::new(rope, tables, 64));
                    let lanes = hidden.div_ceil(16).next_power_of_two();
                    let teams = rows * (3 + case.second.as_ref().map_or(0, |heads| heads.count));
                    let few = Form::registers(path_of(&norm, dtype), Threads::Single);
                    let are_paired = lanes >= 4 && teams * lanes > 1024;
                    let threads = if are_paired { Threads::PairedLanes } else { Threads::Single };
                    compare(&mut failures, &case, few, Form { threads, ..few });
                }
            }
        }
    }
    failures.assert_none();
}

/// The path of an aligned call of an op that has one for it.
fn path_of(norm: &Norm, dtype: DType) -> Path {
    match (weight_rounding(norm, dtype), norm.weight_offset != 0.0) {
        (WeightRounding::Single, false) => Path::Aligned,
        (WeightRounding::BeforeWeight, _) => Path::AlignedRounded,
        (_, true) => Path::AlignedWithOffset,
    }
}

/// Groups and gates, two norms after each other, and no norm.
#[test]
fn other_ops() {
    let mut failures = Failures::default();
    let mut norms: Vec<_> = groups().into_iter().flat_map(of_weights).collect();
    norms.extend(two_norms().into_iter().flat_map(of_weights));
    norms.extend(steps());
    norms.push(Norm::affine());
    for activation in [Activation::SILU, Activation::GeluExact, Activation::Relu] {
        let gated = Norm::rms_norm(1e-5).with_gate(activation);
        norms.extend([Norm::activation(activation), Norm::rms_norm(1e-5).with_input(Input::Gated(activation))]);
        norms.extend(of_weights(gated));
    }
    for quantisation in [Quantisation::per_token(CodeType::E4m3), Quantisation::per_group(CodeType::Int8, 64)] {
        let post_norm = Norm::rms_norm(1e-6).with_input(Input::PostNorm(PostAdd::default()));
        let quantised = [
            Norm::activation(Activation::SILU),
            Norm::layer_norm(1e-5),
            Norm::layer_norm(1e-5).with_residual_add(ResidualAdd::default()),
            Norm::rms_norm(1e-6).with_post_add(PostAdd::default()),
            post_norm,
            post_norm.with_weight_offset(1.0),
        ];
        norms.extend(quantised.map(|norm| norm.with_quantisation(quantisation)));
    }
    let mut number = 0;
    for dtype in DType::ALL {
        for norm in norms.iter().filter(|norm| is_there(norm, dtype)) {
            for values in [Values::Unit, Values::OutlierChannel] {
                number += 1;
                // Scales are of whole groups.
                let ragged = if norm.quantisation.is_some() { 192 } else { 200 };
                let hidden = [64, ragged, 1024, 4096][number % 4];
                let parts = if norm.scope == Scope::Group { 3 } else { 1 };
                let rows = if number % 3 == 0 { 3 } else { 1 + 16 * 1024 / hidden };
                let mut case =
                    Case::of_parts(*norm, dtype, rows, parts, hidden, values, number as u64).expect("a shape");
                if norm.family != Family::Identity || norm.gate.is_none() {
                    case = case.with_weight(dtype);
                }
                if *norm == Norm::affine() {
                    case = case.with_bias(dtype);
                }
                if matches!(norm.input, Input::PostNorm(_)) {
                    case = case.with_inner_weight(dtype);
                }
                // With and without the tensor whose activation is a factor: of x itself, where it is not there.
                if norm.family == Family::Identity && number % 2 == 0 {
                    case.gate = None;
                }
                let of_groups = norm.scope == Scope::Group && norm.input == Input::Plain && norm.gate.is_none();
                let of_two = matches!(norm.input, Input::PostNorm(_)) && norm.quantisation.is_none();
                let after_norm = norm.gate.is_some() && norm.family != Family::Identity;
                let path = match path_of(norm, dtype) {
                    Path::AlignedRounded if norm.weight_offset != 0.0 || !of_groups && !after_norm => Path::General,
                    Path::AlignedWithOffset if !of_groups && !of_two => Path::General,
                    path => path,
                };
                let few = Form::registers(path, Threads::Single);
                let lanes = hidden.div_ceil(16).next_power_of_two();
                let has_pairs = of_groups || after_norm && path != Path::General;
                let codes_of_layer_norm =
                    norm.quantisation.is_some() && (norm.family, norm.input) == (Family::LayerNorm, Input::Plain);
                let threads = match lanes {
                    ..=32 if has_pairs && rows * parts * lanes > 1024 => Threads::PairedLanes,
                    33.. if codes_of_layer_norm && rows * lanes > 1024 => Threads::PairedEven,
                    _ => Threads::Single,
                };
                compare(&mut failures, &case, few, Form { threads, ..few });
            }
        }
    }
    failures.assert_none();
}

/// Weights that no bound of a product holds for: infinite and without number, the largest, and zeros of both signs.
#[test]
fn weights_at_the_ends_of_the_range() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        let (infinity, sign) = match dtype {
            DType::F32 => (0x7f80_0000_u32, 1 << 31),
            DType::F16 => (0x7c00, 1 << 15),
            DType::BF16 => (0x7f80, 1 << 15),
        };
        let (largest, nan) = (infinity - 1, sign - 1);
        let ends = [infinity, infinity | sign, nan, largest, largest | sign, 0, sign, 1];
        for norm in norms().into_iter().flat_map(of_weights) {
            for bias in [None, Some(dtype)] {
                if bias.is_some() && norm.post_add.is_some() {
                    continue;
                }
                let mut case = case((norm, Some(dtype), bias), dtype, 3, 512, Values::Unit, 32);
                let (_, weight) = case.weight.as_mut().expect("a weight");
                for (place, bits) in ends.into_iter().enumerate() {
                    // In either half of a word.
                    let at = dtype.size() * (53 * place + place % 2);
                    weight[at..at + dtype.size()].copy_from_slice(&bits.to_le_bytes()[..dtype.size()]);
                }
                hold(&mut failures, &case);
            }
        }
    }
    failures.assert_none();
}

/// Rows that pairs of warps divide evenly, and that they do not: with no second warp in the last, or with a part of it.
#[test]
fn pairs_of_warps() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6), Norm::l2_norm()].into_iter().flat_map(of_weights) {
            for hidden in [520, 768, 1000, 1024, 1528, 4104, 4608, 5120, 16_384] {
                let rows = 16 * 1024 / hidden + 1;
                for values in [Values::Unit, Values::OutlierChannel] {
                    let case = case((norm, Some(dtype), bias(&norm, dtype)), dtype, rows, hidden, values, 33);
                    hold(&mut failures, &case);
                }
            }
        }
    }
    failures.assert_none();
}

/// Teams that share a thread block, the last of which has no rows for some: these go along with the last row, and change
/// nothing of it, not even where y lies over x.
#[test]
fn pairs_of_warps_that_share_thread_blocks() {
    let mut failures = Failures::default();
    let in_place = Placement { in_place: true, ..Placement::default() };
    for dtype in DType::ALL {
        for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)] {
            for (hidden, of_block) in [(520_usize, 4), (768, 4), (1024, 4), (1536, 2), (2048, 2), (2560, 1), (4096, 1)]
            {
                for left in 1..=of_block {
                    let rows = (16 * 1024 / hidden).next_multiple_of(4) + left;
                    let case = case((norm, Some(dtype), bias(&norm, dtype)), dtype, rows, hidden, Values::Unit, 34);
                    let (shared, launched) =
                        Emulated::new(small_h200()).run_counted(&case.as_problem(), in_place).expect("runs");
                    let (plan, report) = launched.expect("launched");
                    assert_eq!((plan.block[1], plan.args.rows_per_cta), (of_block as u32, of_block as u32), "{hidden}");
                    let (apart, _) = run(DeviceFacts::h200(), &case, Placement::default());
                    record(&mut failures, &case, &apart, &shared, "in thread blocks that teams share");
                    let stored = (rows * hidden * dtype.size()) as u64;
                    let statistics = 4 * rows as u64 * (1 + u64::from(norm.family == Family::LayerNorm));
                    assert_eq!(report.global_stores.bytes, stored + statistics, "{hidden}: rows are stored twice");
                }
            }
        }
    }
    failures.assert_none();
}

/// The same of codes, whose scales are of a row or of groups that either line of a warp has a part of.
#[test]
fn pairs_of_warps_with_codes() {
    let mut failures = Failures::default();
    let quantisations = [
        Quantisation::per_token(CodeType::E4m3),
        Quantisation::per_token(CodeType::Int8),
        Quantisation::per_group(CodeType::E4m3, 128),
        Quantisation::per_group(CodeType::E5m2, 64),
        Quantisation::mxfp8(),
        Quantisation::nvfp4(),
        Quantisation::per_tensor(CodeType::Int8),
        Quantisation::per_tensor_wide(),
    ];
    for dtype in [DType::F16, DType::BF16] {
        for (turn, quantisation) in quantisations.into_iter().enumerate() {
            let norm = match turn % 3 {
                0 => Norm::rms_norm(1e-6),
                1 if quantisation != Quantisation::per_tensor_wide() => Norm::layer_norm(1e-5),
                _ => Norm::l2_norm(),
            };
            let norm = norm.with_quantisation(quantisation);
            for hidden in [640, 768, 1024, 4608, 4736, 16_384] {
                let rows = 16 * 1024 / hidden + 1;
                let mut case = case((norm, Some(dtype), None), dtype, rows, hidden, Values::OutlierChannel, 37);
                case.outputs.y = turn % 3 == 0 && !is_wide(&norm);
                hold(&mut failures, &case);
            }
        }
    }
    failures.assert_none();
}

/// Teams of 4 to 32 threads, all of whose threads have all of their chunks or not, and a last CTA that some have no row
/// in.
#[test]
fn pairs_of_lanes() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        for norm in [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6), Norm::l2_norm()] {
            for hidden in [40, 64, 72, 128, 200, 256, 264, 512] {
                let rows = 1024 / usize::div_ceil(hidden, 16).next_power_of_two() + 5;
                for (values, parameters) in [(Values::Unit, Some(dtype)), (Values::OutlierChannel, None)] {
                    let bias = parameters.and_then(|dtype| bias(&norm, dtype));
                    hold(&mut failures, &case((norm, parameters, bias), dtype, rows, hidden, values, 35));
                }
            }
        }
    }
    failures.assert_none();
}

/// Rows that are walked in slabs, the last of which is full, a part, or a single chunk; by one thread block and by a
/// cluster of them, staged and read again.
#[test]
fn long_rows() {
    let mut failures = Failures::default();
    for dtype in DType::ALL {
        let plain = [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6), Norm::l2_norm()];
        let with_residual = plain.map(|norm| norm.with_residual_add(ResidualAdd::default()));
        for (turn, norm) in plain.into_iter().chain(with_residual).enumerate() {
            for hidden in [[16_512, 49_152], [65_536, 139_264], [131_072, 24_448]][turn % 3] {
                let parameters = (turn % 4 != 3).then_some(dtype);
                let bias = parameters.and_then(|dtype| bias(&norm, dtype));
                let case = case((norm, parameters, bias), dtype, 2, hidden, Values::OutlierChannel, 36);
                let further_on = Placement { offset: 1, ..Placement::default() };
                let (general, form) = run(DeviceFacts::h200(), &case, further_on);
                assert_eq!(form, Form::LOOPED);
                for device in [DeviceFacts::h200(), small_h200()] {
                    let (aligned, form) = run(device, &case, Placement::default());
                    assert_eq!(form, Form::looped(Path::Aligned), "{norm:?}");
                    let what = || format!("{hidden} {dtype} {norm:?}: other bits");
                    failures.record((tensors(&general) != tensors(&aligned)).then(what));
                }
                judge(&mut failures, &DeviceFacts::h200(), &case, Placement::default());
            }
        }
    }
    failures.assert_none();
}

/// Rows of any number of elements that begin anywhere, by paired threads: each as it is alone, by the general path.
/// Lines end in the middle of a warp and with one, and with warps that have nothing beside them.
#[test]
fn rows_that_begin_anywhere() {
    let mut failures = Failures::default();
    let placement = |padding, stagger, in_place| Placement { padding, offset: 0, stagger, in_place };
    // Tensors that begin alike, and each elsewhere.
    let placements = [(0, 0, false), (3, 0, false), (0, 0, true), (6, 0, true), (0, 1, false), (1, 3, true)]
        .map(|(padding, stagger, in_place)| placement(padding, stagger, in_place));
    for dtype in DType::ALL {
        let norms = [Norm::layer_norm(1e-5), Norm::rms_norm(1e-6)];
        let wide = ResidualAdd { scale: 1.5, rounding: ResidualRounding::Wide };
        let adds = norms.map(|norm| norm.with_residual_add(wide));
        // f32 with a residual is moved by the general kernel.
        let adds = adds.into_iter().filter(|_| dtype != DType::F32);
        for norm in norms.into_iter().chain(adds) {
            for (turn, hidden) in [513, 767, 1023, 1025, 1537, 3595, 4095, 4097, 16_383].into_iter().enumerate() {
                let rows = 32 / usize::div_ceil(hidden, 512) + 3;
                // The weights of every other one are missing.
                let parameters = (turn % 2 == 0).then_some(dtype);
                let bias = parameters.and_then(|dtype| bias(&norm, dtype));
                let mut case = case((norm, parameters, bias), dtype, rows, hidden, Values::Unit, 34);
                (case.outputs.mean, case.outputs.rstd) = (norm.family == Family::LayerNorm, true);
                let (general, form) = run(DeviceFacts::h200(), &case, placements[turn % 6]);
                assert_eq!(form, Form::GENERAL);
                for placement in placements {
                    let (shifted, form) = run(small_h200(), &case, placement);
                    assert_eq!(form, SHIFTED, "{hidden}");
                    let what = || format!("{rows} × {hidden} {dtype} {norm:?} {placement:?}: other bits");
                    failures.record((general != shifted).then(what));
                }
                judge(&mut failures, &small_h200(), &case, placements[(turn + 1) % 6]);
            }
        }
    }
    failures.assert_none();
}
