//! Real activations: every LayerNorm of all-MiniLM-L6-v2, whose results were computed in f64 by numpy.

use half::{bf16, f16};
use safetensors::SafeTensors;
use warpnorm::emulated::Emulated;
use warpnorm::host::{Device, Placement, Problem, Vector};
use warpnorm::parity::judge;
use warpnorm::{DType, DeviceFacts, Norm, ResidualAdd, ResidualRounding};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/minilm-layer-norms.safetensors");

/// The model's eps, and its post-norm residual add, which keeps the sum in f32.
fn norm() -> Norm {
    Norm::layer_norm(1e-12).with_residual_add(ResidualAdd { scale: 1.0, rounding: ResidualRounding::Wide })
}

fn f64s(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
}

fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

#[test]
fn every_layer_norm_of_the_model() {
    let file = std::fs::read(FIXTURE).expect("the fixture is in the repository");
    let tensors = SafeTensors::deserialize(&file).expect("a valid file");
    let names = tensors.names();
    let prefixes: Vec<&str> = names.iter().filter_map(|name| name.strip_suffix(".y")).collect();
    assert_eq!(prefixes.len(), 13);
    let device = Emulated::new(DeviceFacts::h200());
    for prefix in prefixes {
        let tensor = |name| tensors.tensor(&format!("{prefix}.{name}")).expect("the fixture has it");
        let (x, residual, weight, bias) = (tensor("x"), tensor("residual"), tensor("weight"), tensor("bias"));
        let vector = |bytes| Some(Vector { dtype: DType::F32, bytes });
        let problem = Problem {
            residual: Some(residual.data()),
            weight: vector(weight.data()),
            bias: vector(bias.data()),
            ..Problem::new(norm(), DType::F32, x.shape()[0], x.shape()[1], x.data())
        };
        let output = device.run(&problem, Placement::default()).expect("runs");
        let verdict = judge(&problem, &output).expect("sizes fit");
        assert!(verdict.passed, "{prefix}: {verdict:?}");

        // Against numpy: rounding the sum to f32 alone moves y by up to 4e-7 (fixtures/README.md).
        let exact = f64s(tensor("y").data());
        let (mut difference, mut total) = (0.0, 0.0);
        for (got, exact) in f32s(&output.y).into_iter().zip(&exact) {
            let error = f64::from(got) - exact;
            assert!(error.abs() <= 5e-6, "{prefix}: {got} for {exact}");
            difference += error * error;
            total += exact * exact;
        }
        assert!((difference / total).sqrt() <= 1e-6, "{prefix}: {difference} of {total}");

        // The same activations as a server in 16 bits holds them, beside the model's f32 weights.
        for dtype in [DType::F16, DType::BF16] {
            let narrow = |bytes: &[u8]| -> Vec<u8> {
                let values = f32s(bytes).into_iter();
                match dtype {
                    DType::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
                    _ => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
                }
            };
            let (x, residual) = (narrow(x.data()), narrow(residual.data()));
            let problem = Problem { dtype, x: &x, residual: Some(&residual), ..problem };
            let output = device.run(&problem, Placement::default()).expect("runs");
            let verdict = judge(&problem, &output).expect("sizes fit");
            assert!(verdict.passed, "{prefix} {dtype}: {verdict:?}");
        }
    }
}
