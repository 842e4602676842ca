//! Heads and groups.

use super::{parameter, read, side_by_side, upload, wanted};
use crate::{elements, gpu};
use cudarc::driver::CudaSlice;
use half::bf16;
use warpnorm::cuda::{PartLayout, RopeTables, Rows, RowsMut};
use warpnorm::parity::{Case, Rotation, Values};
use warpnorm::{Activation, DType, Input, Norm, Rope, RopeRounding, Scope};

const ROWS: usize = 37;
const Q_HEADS: usize = 6;
const K_HEADS: usize = 2;
const HIDDEN: usize = 128;

/// What stands for V: it is to be left as it is.
fn v() -> Vec<u8> {
    (0..ROWS * K_HEADS * HIDDEN).flat_map(|at| (at as u16).to_ne_bytes()).collect()
}

/// Q's and K's heads with a weight of their own each, and 40 positions, some of which no table has.
fn qk(norm: Norm) -> Case {
    let case = Case::of_parts(norm, DType::BF16, ROWS, Q_HEADS, HIDDEN, Values::Unit, 5).expect("a shape");
    let mut case = case.with_weight(DType::BF16).with_second(K_HEADS);
    if let Some(rope) = norm.rope {
        let mut rotation = Rotation::new(rope, DType::BF16, 40);
        let positions = (0..ROWS as i64).map(|row| [row * 7 % 40, 39, 40, 1 << 31, -1][row as usize % 5]);
        rotation.positions = Some(positions.collect());
        case.rope = Some(rotation);
    }
    case
}

/// `[q | k | v]` rows, and where the heads of Q and of K lie in them.
fn packed(q: &[u8], k: &[u8]) -> (Vec<u8>, PartLayout, PartLayout) {
    let row = (Q_HEADS + 2 * K_HEADS) * HIDDEN;
    let q_layout = PartLayout::packed(ROWS, Q_HEADS, HIDDEN).with_row_stride(row);
    let k_layout = PartLayout::packed(ROWS, K_HEADS, HIDDEN).with_row_stride(row).starting_at(Q_HEADS * HIDDEN);
    let heads = |count: usize| count * HIDDEN * 2;
    let bytes = side_by_side(&[(q, heads(Q_HEADS)), (k, heads(K_HEADS)), (&v(), heads(K_HEADS))]);
    (bytes, q_layout, k_layout)
}

/// The rows of a table that has `[cos | sin]` for each position.
fn cache(rotation: &Rotation, rope: Rope) -> Vec<u8> {
    let row = rope.dim / 2 * rotation.dtype.size();
    side_by_side(&[(&rotation.cos, row), (&rotation.sin, row)])
}

#[test]
#[ignore = "needs a GPU"]
fn packed_heads_are_normalised_and_rotated_in_their_place() {
    let cuda = gpu();
    for rope in [
        Rope::half_split(HIDDEN),
        Rope::interleaved(HIDDEN).with_rounding(RopeRounding::Each),
        Rope::half_split(HIDDEN / 2),
    ] {
        let case = qk(Norm::rms_norm(1e-6).with_rope(rope));
        let wanted = wanted(&cuda, &case);
        let (before, q, k) = packed(&case.x, &case.second.as_ref().expect("K").x);
        let (after, ..) = packed(&wanted.y, &wanted.second_y.expect("K"));
        let after: Vec<u16> = elements(&after);

        let rotation = case.rope.as_ref().expect("the norm rotates");
        let positions = rotation.positions.as_ref().expect("given");
        let stream = cuda.stream();
        let of_64 = stream.clone_htod(positions).expect("copies");
        // Those of 2³¹ and of −1 are past the end in either type.
        let of_32: Vec<i32> = positions.iter().map(|&position| position as i32).collect();
        let unsigned: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
        let (of_32, unsigned) = (stream.clone_htod(&of_32), stream.clone_htod(&unsigned));
        let (of_32, unsigned) = (of_32.expect("copies"), unsigned.expect("copies"));
        let cached = upload::<bf16>(&cuda, &cache(rotation, rope));
        let (cos, sin) = (upload::<bf16>(&cuda, &rotation.cos), upload::<bf16>(&cuda, &rotation.sin));
        let table = |table| Rows::contiguous(table, rope.dim / 2).expect("whole rows");
        let apart = || RopeTables::new(&table(&cos), &table(&sin)).expect("one shape");
        let cached = || RopeTables::cache(&cached, rope.dim).expect("whole rows");

        for (what, tables) in [
            ("a cache, i64", cached().positions(&of_64)),
            ("a cache, i32", cached().positions(&of_32)),
            ("two tables, u32", apart().positions(&unsigned)),
        ] {
            let mut qkv = upload::<bf16>(&cuda, &before);
            let weight = parameter::<bf16>(&cuda, &case.weight);
            let k_weight = parameter::<bf16>(&cuda, &case.second.as_ref().expect("K").weight);
            let [mut q, mut k] = RowsMut::disjoint(&mut qkv, [q, k]).expect("side by side");
            let call = cuda.kernels().norm(&case.norm).weight(&weight).second_in_place(&mut k).second_weight(&k_weight);
            call.rope(&tables).run_in_place(stream, &mut q).expect("launches");
            assert!(read(&cuda, &qkv) == after, "{rope:?}, {what}");
        }
    }
}

/// f32 tables whose angles stand twice in a row, as Hugging Face has them; rows are their own positions.
#[test]
#[ignore = "needs a GPU"]
fn tables_may_be_strided_and_positions_absent() {
    let cuda = gpu();
    let rope = Rope::half_split(HIDDEN);
    let mut case = qk(Norm::rms_norm(1e-6).with_rope(rope));
    let rotation = Rotation::new(rope, DType::F32, 40);
    case.rope = Some(rotation.clone());
    let wanted = wanted(&cuda, &case);
    let row = HIDDEN / 2 * size_of::<f32>();
    let twice = |table: &[u8]| upload::<f32>(&cuda, &side_by_side(&[(table, row), (table, row)]));
    let (cos, sin) = (twice(&rotation.cos), twice(&rotation.sin));
    let table = |table| Rows::strided(table, 40, HIDDEN / 2, HIDDEN).expect("long enough");
    let tables = RopeTables::new(&table(&cos), &table(&sin)).expect("one shape");

    let second = case.second.as_ref().expect("K");
    let (mut q, mut k) = (upload::<bf16>(&cuda, &case.x), upload::<bf16>(&cuda, &second.x));
    let (weight, k_weight) = (parameter::<bf16>(&cuda, &case.weight), parameter::<bf16>(&cuda, &second.weight));
    let mut q_heads = RowsMut::parts(&mut q, PartLayout::packed(ROWS, Q_HEADS, HIDDEN)).expect("whole rows");
    let mut k_heads = RowsMut::parts(&mut k, PartLayout::packed(ROWS, K_HEADS, HIDDEN)).expect("whole rows");
    let call = cuda.kernels().norm(&case.norm).weight(&weight).second_in_place(&mut k_heads).second_weight(&k_weight);
    call.rope(&tables).run_in_place(cuda.stream(), &mut q_heads).expect("launches");
    assert!(read(&cuda, &q) == elements::<u16>(&wanted.y), "q");
    assert!(read(&cuda, &k) == elements::<u16>(&wanted.second_y.expect("K")), "k");
}

/// From packed projections into tensors of their own, and into one in which each head of Q has one of K behind it;
/// LayerNorm with a bias, and rotated by nothing.
#[test]
#[ignore = "needs a GPU"]
fn heads_go_from_one_layout_to_another() {
    let cuda = gpu();
    let norm = Norm::layer_norm(1e-5).with_scope(Scope::Head);
    let case = Case::of_parts(norm, DType::BF16, ROWS, K_HEADS, HIDDEN, Values::Unit, 6).expect("a shape");
    let case = case.with_weight(DType::F32).with_bias(DType::F32).with_second(K_HEADS);
    let wanted = wanted(&cuda, &case);
    let (wanted_q, wanted_k) = (wanted.y, wanted.second_y.expect("K"));
    let second = case.second.as_ref().expect("K");
    let row = K_HEADS * HIDDEN * 2;
    let qk = upload::<bf16>(&cuda, &side_by_side(&[(&case.x, row), (&second.x, row)]));
    let (weight, bias) = (parameter::<f32>(&cuda, &case.weight), parameter::<f32>(&cuda, &case.bias));
    let (k_weight, k_bias) = (parameter::<f32>(&cuda, &second.weight), parameter::<f32>(&cuda, &second.bias));
    let layout = PartLayout::packed(ROWS, K_HEADS, HIDDEN);
    let q = Rows::parts(&qk, layout.with_row_stride(2 * K_HEADS * HIDDEN)).expect("long enough");
    let k = layout.with_row_stride(2 * K_HEADS * HIDDEN).starting_at(K_HEADS * HIDDEN);
    let k = Rows::parts(&qk, k).expect("long enough");
    let run = |q_out: &mut RowsMut<'_, bf16>, k_out: &mut RowsMut<'_, bf16>| {
        let call = cuda.kernels().norm(&norm).weight(&weight).bias(&bias);
        let call = call.second(&k, k_out).second_weight(&k_weight).second_bias(&k_bias);
        call.run(cuda.stream(), &q, q_out).expect("launches");
    };

    let mut q_out: CudaSlice<bf16> = cuda.stream().alloc_zeros(ROWS * K_HEADS * HIDDEN).expect("allocates");
    let mut k_out: CudaSlice<bf16> = cuda.stream().alloc_zeros(ROWS * K_HEADS * HIDDEN).expect("allocates");
    run(
        &mut RowsMut::parts(&mut q_out, layout).expect("whole rows"),
        &mut RowsMut::parts(&mut k_out, layout).expect("whole rows"),
    );
    assert!(read(&cuda, &q_out) == elements::<u16>(&wanted_q) && read(&cuda, &k_out) == elements::<u16>(&wanted_k));

    // Seven elements between a head and the next, which are to stay as they are.
    let step = 2 * HIDDEN + 7;
    let blank = vec![bf16::ONE; ROWS * K_HEADS * step];
    let mut both = cuda.stream().clone_htod(&blank).expect("copies");
    let layout = layout.with_part_stride(step);
    let [mut q_out, mut k_out] =
        RowsMut::disjoint(&mut both, [layout, layout.starting_at(HIDDEN)]).expect("between one another");
    run(&mut q_out, &mut k_out);
    let gap = bf16::ONE.to_le_bytes().repeat(ROWS * K_HEADS * 7);
    let all = side_by_side(&[(&wanted_q, HIDDEN * 2), (&wanted_k, HIDDEN * 2), (&gap, 14)]);
    assert!(read(&cuda, &both) == elements::<u16>(&all));
}

/// Mamba-2's norm of groups, of packed `[z | x]` rows, into a tensor of its own and in its place.
#[test]
#[ignore = "needs a GPU"]
fn groups_of_packed_rows() {
    let cuda = gpu();
    let (rows, groups, hidden) = (9, 4, 96);
    let row = groups * hidden;
    for norm in [
        Norm::rms_norm(1e-5).with_scope(Scope::Group).with_input(Input::Gated(Activation::SILU)),
        Norm::rms_norm(1e-5).with_scope(Scope::Group).with_gate(Activation::SILU),
    ] {
        let case = Case::of_parts(norm, DType::BF16, rows, groups, hidden, Values::Unit, 7).expect("a shape");
        let mut case = case.with_weight(DType::F32);
        case.outputs.rstd = true;
        let wanted = wanted(&cuda, &case);
        let z = case.gate.as_ref().expect("the norm is gated");
        let mut zx = upload::<bf16>(&cuda, &side_by_side(&[(z, row * 2), (&case.x, row * 2)]));
        let weight = parameter::<f32>(&cuda, &case.weight);
        let mut rstd: CudaSlice<f32> = cuda.stream().alloc_zeros(rows * groups).expect("allocates");
        let mut out: CudaSlice<bf16> = cuda.stream().alloc_zeros(rows * row).expect("allocates");
        let packed = PartLayout::packed(rows, groups, hidden);
        let (z_layout, x_layout) = (packed.with_row_stride(2 * row), packed.with_row_stride(2 * row).starting_at(row));

        let gate = Rows::parts(&zx, z_layout).expect("long enough");
        let x = Rows::parts(&zx, x_layout).expect("long enough");
        let mut y = RowsMut::parts(&mut out, packed).expect("whole rows");
        let call = cuda.kernels().norm(&norm).gate(&gate).weight(&weight).rstd(&mut rstd);
        call.run(cuda.stream(), &x, &mut y).expect("launches");
        assert!(read(&cuda, &out) == elements::<u16>(&wanted.y), "{norm:?}");
        let rstd = cuda.stream().clone_dtoh(&rstd).expect("copies");
        cuda.stream().synchronize().expect("runs");
        assert_eq!(Some(rstd), wanted.rstd, "{norm:?}");

        let [gate, mut x] = RowsMut::disjoint(&mut zx, [z_layout, x_layout]).expect("side by side");
        let call = cuda.kernels().norm(&norm).gate(&gate.as_rows()).weight(&weight);
        call.run_in_place(cuda.stream(), &mut x).expect("launches");
        let after = side_by_side(&[(z, row * 2), (&wanted.y, row * 2)]);
        assert!(read(&cuda, &zx) == elements::<u16>(&after), "{norm:?} in its place");
    }
}
