//! Refusals of heads, groups, rotations, and of the second and later tensors of the ops.

use crate::gpu;
use cudarc::driver::CudaSlice;
use half::bf16;
use warpnorm::cuda::{Cuda, PartLayout, RopeTables, Rows, RowsMut};
use warpnorm::{CallError, DType, Error, Input, Interpolation, Norm, NormError, PostAdd, Role, Rope, Scope};

fn call_error(result: Result<(), Error>) -> CallError {
    match result {
        Err(Error::Call(error)) => error,
        other => panic!("wanted a call error, got {other:?}"),
    }
}

fn alloc<E: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits>(cuda: &Cuda, length: usize) -> CudaSlice<E> {
    cuda.stream().alloc_zeros(length).expect("allocates")
}

const ROWS: usize = 5;
const HIDDEN: usize = 64;

fn layout(count: usize) -> PartLayout {
    PartLayout::packed(ROWS, count, HIDDEN)
}

#[test]
#[ignore = "needs a GPU"]
fn heads_that_do_not_fit_are_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let heads = Norm::rms_norm(1e-6).with_scope(Scope::Head);
    let (x, second) = (alloc::<bf16>(&cuda, 1280), alloc::<bf16>(&cuda, 1280));
    let (mut y, mut second_y) = (alloc::<bf16>(&cuda, 1280), alloc::<bf16>(&cuda, 1280));
    let weight = alloc::<bf16>(&cuda, HIDDEN);
    let (long, wide) = (alloc::<bf16>(&cuda, 2 * HIDDEN), alloc::<f32>(&cuda, HIDDEN));
    let x = Rows::parts(&x, layout(4)).expect("whole rows");
    let k = Rows::parts(&second, layout(2)).expect("long enough");

    // Buffers, before any call.
    let short = Rows::parts(&second, layout(4).starting_at(1)).expect_err("one element short");
    let (rows, hidden, stride) = (ROWS, 256, 256);
    assert_eq!(short, CallError::Buffer { given: 1280, wanted: 1281, rows, hidden, stride });
    let overlapping = RowsMut::disjoint(&mut second_y, [layout(4), layout(2).with_row_stride(256).starting_at(128)]);
    assert_eq!(overlapping.expect_err("two heads of both"), CallError::NotDisjoint { first: 0, second: 1 });

    // Of x and y.
    let mut three = RowsMut::parts(&mut y, layout(3)).expect("long enough");
    let result = kernels.norm(&heads).run(stream, &x, &mut three);
    assert_eq!(call_error(result), CallError::PartCount { role: Role::Y, given: 3, wanted: 4 });
    let mut y = RowsMut::parts(&mut y, layout(4)).expect("whole rows");
    let result = kernels.norm(&Norm::rms_norm(1e-6)).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Parts { given: 4, scope: Scope::Row });
    let overlapping = x.clone();
    let mut across = RowsMut::parts(&mut second_y, layout(4).with_part_stride(63).with_row_stride(256)).expect("fits");
    let result = kernels.norm(&heads).run(stream, &overlapping, &mut across);
    assert_eq!(call_error(result), CallError::PartStride { role: Role::Y, given: 63, hidden: HIDDEN });
    let result = kernels.norm(&heads).weight(&long).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Length { role: Role::Weight, given: 128, wanted: HIDDEN });
    let groups = Norm::rms_norm(1e-6).with_scope(Scope::Group);
    let result = kernels.norm(&groups).weight(&weight).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Length { role: Role::Weight, given: HIDDEN, wanted: 4 * HIDDEN });
    let mut rstd = alloc::<f32>(&cuda, ROWS);
    let result = kernels.norm(&heads).rstd(&mut rstd).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Length { role: Role::Rstd, given: ROWS, wanted: 4 * ROWS });

    // Of the heads beside.
    let mut k_out = RowsMut::parts(&mut second_y, layout(2)).expect("long enough");
    let fewer = PartLayout { rows: ROWS - 1, ..layout(2) };
    let fewer = Rows::parts(&second, fewer).expect("long enough");
    let result = kernels.norm(&heads).second(&fewer, &mut k_out).run(stream, &x, &mut y);
    let (role, rows, hidden, wanted_rows, wanted_hidden) = (Role::SecondX, ROWS - 1, HIDDEN, ROWS, HIDDEN);
    assert_eq!(call_error(result), CallError::Shape { role, rows, hidden, wanted_rows, wanted_hidden });
    let one = Rows::parts(&second, layout(1)).expect("long enough");
    let result = kernels.norm(&heads).second(&one, &mut k_out).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::PartCount { role: Role::SecondY, given: 2, wanted: 1 });
    let result = kernels.norm(&heads).second(&k, &mut k_out).second_weight(&weight).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Unused { role: Role::SecondWeight });
    let result = kernels.norm(&heads).second(&k, &mut k_out).weight(&weight).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Absent { role: Role::SecondWeight });
    let call = kernels.norm(&heads).second(&k, &mut k_out).weight(&weight).second_weight(&wide);
    let (role, given, wanted) = (Role::SecondWeight, DType::F32, DType::BF16);
    assert_eq!(call_error(call.run(stream, &x, &mut y)), CallError::SecondType { role, given, wanted });
    let result = kernels.norm(&heads).weight(&weight).second_weight(&weight).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Unused { role: Role::SecondWeight });
    let result = kernels.norm(&groups).second(&k, &mut k_out).run(stream, &x, &mut y);
    assert_eq!(call_error(result), CallError::Unused { role: Role::SecondX });
}

#[test]
#[ignore = "needs a GPU"]
fn tables_and_positions_that_do_not_fit_are_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let norm = Norm::rms_norm(1e-6).with_rope(Rope::half_split(HIDDEN));
    let mut x = alloc::<bf16>(&cuda, ROWS * 4 * HIDDEN);
    let mut x = RowsMut::parts(&mut x, layout(4)).expect("whole rows");
    let table = alloc::<bf16>(&cuda, 4 * HIDDEN);
    let (positions, more) = (alloc::<i64>(&cuda, ROWS), alloc::<i32>(&cuda, ROWS + 1));
    let cache = || RopeTables::cache(&table, HIDDEN).expect("whole rows");

    assert_eq!(call_error(kernels.norm(&norm).run_in_place(stream, &mut x)), CallError::Absent { role: Role::Cos });
    let plain = Norm::rms_norm(1e-6).with_scope(Scope::Head);
    let result = kernels.norm(&plain).rope(&cache()).run_in_place(stream, &mut x);
    assert_eq!(call_error(result), CallError::Unused { role: Role::Cos });
    // Four positions, and five rows that are their own.
    let result = kernels.norm(&norm).rope(&cache()).run_in_place(stream, &mut x);
    assert_eq!(call_error(result), CallError::RopeEntries { given: 4, wanted: ROWS });
    kernels.norm(&norm).rope(&cache().positions(&positions)).run_in_place(stream, &mut x).expect("launches");
    let result = kernels.norm(&norm).rope(&cache().positions(&more)).run_in_place(stream, &mut x);
    assert_eq!(call_error(result), CallError::Length { role: Role::Positions, given: ROWS + 1, wanted: ROWS });
    let half = RopeTables::cache(&table, HIDDEN / 2).expect("whole rows").positions(&positions);
    let (role, rows, wanted_rows) = (Role::Cos, 8, 8);
    let shape = CallError::Shape { role, rows, hidden: HIDDEN / 4, wanted_rows, wanted_hidden: HIDDEN / 2 };
    assert_eq!(call_error(kernels.norm(&norm).rope(&half).run_in_place(stream, &mut x)), shape);

    let refused = RopeTables::cache(&table, 63).expect_err("odd");
    assert_eq!(refused, CallError::Norm(NormError::RopeDim { given: 63 }));
    let refused = RopeTables::cache(&table, 60).expect_err("not a whole number");
    assert_eq!(refused, CallError::PartialRow { given: 256, hidden: 60 });
    let cos = Rows::contiguous(&table, 32).expect("whole rows");
    let sin = Rows::contiguous(table.slice(..128), 32).expect("whole rows");
    assert!(matches!(RopeTables::new(&cos, &sin), Err(CallError::Shape { role: Role::Sin, .. })));
}

#[test]
#[ignore = "needs a GPU"]
fn residuals_and_parameters_that_do_not_fit_are_refused() {
    let cuda = gpu();
    let (kernels, stream) = (cuda.kernels(), cuda.stream());
    let x = alloc::<bf16>(&cuda, ROWS * HIDDEN);
    let (mut a, mut b) = (alloc::<bf16>(&cuda, ROWS * HIDDEN), alloc::<bf16>(&cuda, ROWS * HIDDEN));
    let (weight, short) = (alloc::<bf16>(&cuda, HIDDEN), alloc::<bf16>(&cuda, HIDDEN - 1));
    let mut rows = RowsMut::contiguous(&mut a, HIDDEN).expect("whole rows");
    let x = Rows::contiguous(&x, HIDDEN).expect("whole rows");
    let rms = Norm::rms_norm(1e-6);
    let after = rms.with_post_add(PostAdd::default());
    let two = rms.with_input(Input::PostNorm(PostAdd::default()));
    let step = Norm::l2_norm().with_input(Input::Interpolation(Interpolation::default()));

    // y takes the residual's place: the call can have no other one, and needs a norm that takes one.
    let result = kernels.norm(&after).residual(&x).run_over_residual(stream, &x, &mut rows);
    assert_eq!(call_error(result), CallError::Unused { role: Role::Residual });
    let result = kernels.norm(&rms).run_over_residual(stream, &x, &mut rows);
    assert_eq!(call_error(result), CallError::Residual { wanted: false });
    let mut narrow = RowsMut::contiguous(&mut b, HIDDEN / 2).expect("whole rows");
    let result = kernels.norm(&after).run_over_residual(stream, &x, &mut narrow);
    assert!(matches!(call_error(result), CallError::Shape { role: Role::Residual, hidden: 32, .. }));
    // Nothing is added before the norm, so nothing is there to store.
    let mut stored = RowsMut::contiguous(&mut b, HIDDEN).expect("whole rows");
    let result = kernels.norm(&after).residual_in_place(&mut stored).run(stream, &x, &mut rows);
    assert_eq!(call_error(result), CallError::ResidualOut);
    assert_eq!(call_error(kernels.norm(&after).run(stream, &x, &mut rows)), CallError::Residual { wanted: true });

    let length = |role| CallError::Length { role, given: HIDDEN - 1, wanted: HIDDEN };
    let call = kernels.norm(&two).residual(&x).weight(&weight).inner_weight(&short);
    assert_eq!(call_error(call.run(stream, &x, &mut rows)), length(Role::InnerWeight));
    let call = kernels.norm(&two).residual(&x).weight(&weight);
    assert_eq!(call_error(call.run(stream, &x, &mut rows)), CallError::Absent { role: Role::InnerWeight });
    let call = kernels.norm(&rms).inner_weight(&weight);
    assert_eq!(call_error(call.run(stream, &x, &mut rows)), CallError::Unused { role: Role::InnerWeight });
    let call = kernels.norm(&step).residual(&x).rate(&short);
    assert_eq!(call_error(call.run(stream, &x, &mut rows)), length(Role::Rate));
    let call = kernels.norm(&step).residual(&x);
    assert_eq!(call_error(call.run(stream, &x, &mut rows)), CallError::Absent { role: Role::Rate });
}
