//! Whole transformer blocks, the chains of `examples/blocks`, from end to end: the kernels in the executor against
//! the networks' formulas, launch by launch against the CPU reference, and with one thing at a time left out, which
//! must show.

#[path = "../../examples/blocks/chains/mod.rs"]
mod chains;
mod devices;
mod formulas;

use chains::gemma2::Gemma2;
use chains::minilm::{MiniLm, Recorded};
use chains::n_gpt::NGpt;
use chains::post_norm::PostNorm;
use chains::qwen3::Qwen3;
use chains::{CpuMatMul, Machine, Tensor};
use devices::{Alternating, Changing};
use formulas::Network;
use formulas::plain::{Matrix, Plain};
use warpnorm::DType;
use warpnorm::host::{Device, Problem};
use warpnorm::reference::Cpu;
use warpnorm::{Activation, Input};

/// How much further off than the unfused computation a chain may be.
const FACTOR: f64 = 2.0;

fn networks(dtype: DType, recorded: &MiniLm) -> [Box<dyn Network>; 6] {
    [
        Box::new(Qwen3::new(dtype)),
        Box::new(PostNorm::bert(dtype, recorded)),
        Box::new(Recorded::new(dtype, recorded)),
        Box::new(PostNorm::deep_norm(dtype)),
        Box::new(Gemma2::new(dtype)),
        Box::new(NGpt::new(dtype)),
    ]
}

fn recorded() -> MiniLm {
    MiniLm::load().expect("the fixture is in the repository")
}

fn forward(network: &dyn Network, device: &dyn Device) -> Tensor {
    network.forward(&Machine { device, matmul: &CpuMatMul }).expect("the chain runs")
}

fn relative_l2(got: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    let difference: f64 = got.iter().zip(wanted).map(|(got, wanted)| (got - wanted).powi(2)).sum();
    (difference / wanted.iter().map(|wanted| wanted * wanted).sum::<f64>()).sqrt()
}

/// What a network puts out in f64, and how far from it a result may be: twice as far as the same network with every
/// step rounded to the activation type, as it is where each is a kernel of its own.
struct Expected {
    exact: Vec<f64>,
    unfused: f64,
}

impl Expected {
    fn of(network: &dyn Network, dtype: DType) -> Self {
        let exact = network.formula(Plain { dtype: None }).values;
        let unfused = relative_l2(&network.formula(Plain { dtype: Some(dtype) }).values, &exact);
        assert!(unfused > 0.0, "{} {dtype}: nothing was rounded", network.name());
        Self { exact, unfused }
    }

    /// The error in units of what the unfused computation's is.
    fn error(&self, y: &Tensor) -> f64 {
        relative_l2(&Matrix::of(y).values, &self.exact) / self.unfused
    }
}

#[test]
fn every_chain_computes_its_network() {
    let recorded = recorded();
    for dtype in DType::ALL {
        for network in networks(dtype, &recorded) {
            let expected = Expected::of(&*network, dtype);
            let device = Alternating::default();
            let y = forward(&*network, &device);
            let error = expected.error(&y);
            println!(
                "{:42} {dtype:4} relative L2 {:.1e}, {error:.2} of the unfused computation's",
                network.name(),
                error * expected.unfused
            );
            assert!(error <= FACTOR, "{} {dtype}: {error} of {}", network.name(), expected.unfused);
        }
    }
}

/// 16-bit results are the reference's, value for value, but for the share that the table of tolerances leaves to ties; f32
/// ones are within its units. Where no launch has differed, nor has the chain.
#[test]
fn every_launch_agrees_with_the_reference() {
    let recorded = recorded();
    for dtype in DType::ALL {
        for network in networks(dtype, &recorded) {
            let name = network.name();
            let device = Alternating::default();
            let y = forward(&*network, &device);
            let seen = device.seen();
            assert_eq!(seen.failed, Vec::<String>::new(), "{name} {dtype}");
            println!(
                "{name:42} {dtype:4} {} launches, {} of {} elements differ",
                seen.launches, seen.differing, seen.elements
            );
            let (y, reference) = (Matrix::of(&y).values, Matrix::of(&forward(&*network, &Cpu)).values);
            if dtype != DType::F32 {
                // Near ties, which f32 arithmetic decides otherwise than f64 does.
                let near_ties = seen.elements / 1000;
                assert!(seen.differing <= near_ties, "{name} {dtype}: {} of {}", seen.differing, seen.elements);
                assert!(seen.differing > 0 || y == reference, "{name} {dtype}: the chain differs");
            }
            // A difference in the last place of one launch goes through what follows, and grows no more than those
            // of the unfused computation do.
            let (difference, unfused) = (relative_l2(&y, &reference), Expected::of(&*network, dtype).unfused);
            assert!(difference <= FACTOR * unfused, "{name} {dtype}: {difference} of {unfused}");
        }
    }
}

/// The residual stream of a real network, carried by 13 norms, ends where numpy's f64 ended.
#[test]
fn recorded_blocks_end_in_the_recorded_output() {
    let recorded = recorded();
    let wanted = &recorded.norms.last().expect("13 norms").y;
    let y = forward(&Recorded::new(DType::F32, &recorded), &Alternating::default());
    let difference = relative_l2(&Matrix::of(&y).values, wanted);
    println!("relative L2 distance to the recording: {difference:.1e}");
    // Each norm and each sum rounds to f32, 6e-8 at most relative to its element.
    assert!(difference <= 1e-6, "{difference}");
}

/// With one launch returning what it was given, every chain is out of its tolerance, in the type that has the widest.
#[test]
fn a_launch_that_is_left_out_shows() {
    let recorded = recorded();
    for network in networks(DType::BF16, &recorded) {
        let expected = Expected::of(&*network, DType::BF16);
        let mut at = 0;
        loop {
            let device = Changing::omitting(at);
            let error = expected.error(&forward(&*network, &device));
            if !device.changed() {
                break;
            }
            println!("{:42} without launch {at}: {error:.1}", network.name());
            assert!(error > FACTOR, "{} without launch {at}: {error}", network.name());
            at += 1;
        }
        assert!(at >= 6, "{}: {at} launches", network.name());
    }
}

/// A change of what an op is given; none where that has no such thing.
type Change = (&'static str, fn(&mut Problem<'_>) -> Option<()>);

const CHANGES: [Change; 12] = [
    ("weight", |problem| {
        if problem.second.is_some() {
            return None;
        }
        (problem.norm.weight_offset, problem.inner_weight) = (0.0, None);
        problem.weight.take().map(drop)
    }),
    ("bias", |problem| problem.bias.take().map(drop)),
    ("bias of the Linear", |problem| problem.linear_bias.take().map(drop)),
    ("order of two weights", |problem| {
        std::mem::swap(problem.inner_weight.as_mut()?, problem.weight.as_mut()?);
        Some(())
    }),
    ("offset of the weights", |problem| {
        let given = problem.norm.weight_offset;
        problem.norm.weight_offset = 0.0;
        (given != 0.0).then_some(())
    }),
    ("scale of the residual", |problem| match &mut problem.norm.input {
        Input::ResidualAdd(add) if add.scale != 1.0 => {
            add.scale = 1.0;
            Some(())
        }
        _ => None,
    }),
    ("scale of the rates", |problem| match &mut problem.norm.input {
        Input::Interpolation(interpolation) => {
            interpolation.rate_scale = 1.0;
            Some(())
        }
        _ => None,
    }),
    ("rotation", |problem| {
        problem.rope = None;
        problem.norm.rope.take().map(drop)
    }),
    ("positions", |problem| {
        problem.rope.as_mut()?.positions = Some(&[0; 5]);
        Some(())
    }),
    ("weights of Q's and K's heads", |problem| {
        problem.second.as_mut()?.weight.take()?;
        problem.weight.take().map(drop)
    }),
    ("order of the two halves of packed rows", |problem| {
        std::mem::swap(&mut problem.x, problem.gate.as_mut()?);
        Some(())
    }),
    ("activation", |problem| {
        let activation = problem.norm.gate.as_mut()?;
        *activation = Activation::Relu;
        Some(())
    }),
];

/// So it is with one kind of parameter left out or exchanged, in f32: what a weight near 1 or a small bias changes,
/// bf16's roundings may hide.
#[test]
fn a_parameter_that_is_changed_shows() {
    let recorded = recorded();
    let mut applied = [0; CHANGES.len()];
    for network in networks(DType::F32, &recorded) {
        let expected = Expected::of(&*network, DType::F32);
        for (index, (name, change)) in CHANGES.into_iter().enumerate() {
            let device = Changing::with(change);
            let error = expected.error(&forward(&*network, &device));
            if device.changed() {
                applied[index] += 1;
                println!("{:42} with the {name} changed: {error:.0}", network.name());
                assert!(error > 100.0 * FACTOR, "{} with the {name} changed: {error}", network.name());
            }
        }
    }
    for ((name, _), applied) in CHANGES.iter().zip(applied) {
        assert!(applied > 0, "no chain has this: {name}");
    }
}
