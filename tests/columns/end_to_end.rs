//! Batch normalisation: statistics, folded, then the affine op, against the formula in f64.

use crate::devices;
use crate::harness::{Case, Values};
use ptx_emu::Memory;
use warpnorm::emulated::Emulated;
use warpnorm::reference::{decode, encode, round, ulp};
use warpnorm::{Call, DType, Norm, RawRows, RawVector};

/// y = (x − mean)/√(variance + eps)·γ + β of every element, written down plainly in f64.
fn exact(case: &Case) -> Vec<f64> {
    let x = decode(case.dtype, &case.x);
    let (dtype, gamma, beta) = case.gamma_and_beta().expect("γ and β are given");
    let (gamma, beta) = (decode(dtype, &gamma), decode(dtype, &beta));
    let mut y = vec![0.0; x.len()];
    for column in 0..case.hidden {
        let values = || x.iter().skip(column).step_by(case.hidden);
        let mean = values().sum::<f64>() / case.rows as f64;
        let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / case.rows as f64;
        let root = (variance + f64::from(case.eps)).sqrt();
        for (row, x) in values().enumerate() {
            y[row * case.hidden + column] = (x - mean) / root * gamma[column] + beta[column];
        }
    }
    y
}

#[test]
fn statistics_and_one_affine_launch_are_batch_normalisation() {
    for device in devices() {
        for dtype in DType::ALL {
            for (values, rows, hidden) in
                [(Values::Unit, 64, 100), (Values::LargeMean, 300, 24), (Values::Scaled, 33, 48)]
            {
                let mut case = Case::new(values, dtype, rows, hidden).placed(4, 0);
                case.parameters = Some(DType::F32);
                let emulated = Emulated::new(device.clone());
                let mut memory = Memory::new();
                let statistics = case.lay_out(&mut memory);
                emulated.launch_columns(&statistics, &mut memory).expect("runs");

                let out = memory.allocate("y", rows * hidden * dtype.size());
                let y = RawRows { address: out, stride: hidden };
                let mut affine = Call::new(Norm::affine(), dtype, rows, hidden, statistics.x, y);
                let vector =
                    |address: Option<u64>| Some(RawVector { address: address.expect("wanted"), dtype: DType::F32 });
                (affine.weight, affine.bias) = (vector(statistics.scale), vector(statistics.shift));
                emulated.launch(&affine, &mut memory).expect("runs").expect("launched");

                let mut bytes = vec![0; rows * hidden * dtype.size()];
                memory.read(out, &mut bytes).expect("written");
                let columns = case.reference();
                for (at, (got, exact)) in decode(dtype, &bytes).into_iter().zip(exact(&case)).enumerate() {
                    let column = &columns[at % hidden];
                    let x = decode(dtype, &case.x)[at].abs();
                    // What scale and shift may be off comes through, and y is rounded once.
                    let error = column.scale_error * x + column.shift_error + ulp(dtype, exact);
                    assert!((got - exact).abs() <= error, "{dtype} {values:?} {at}: {got} for {exact} ± {error:e}");
                }
                if dtype != DType::F32 && values == Values::Unit {
                    let wanted = encode(dtype, exact(&case).into_iter().map(|y| round(dtype, y)));
                    let size = dtype.size();
                    let differing =
                        bytes.chunks(size).zip(wanted.chunks(size)).filter(|(got, wanted)| got != wanted).count();
                    // f32 statistics are some 2^-12 of a 16-bit ULP off: hardly an element rounds otherwise.
                    assert!(differing * 200 < rows * hidden, "{dtype}: {differing} of {}", rows * hidden);
                }
            }
        }
    }
}
