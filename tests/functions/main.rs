//! The elementary functions of `kernels/common`, run by the PTX executor on every 16-bit argument and on f32
//! ones, against the f64 reference.

mod harness;

use harness::{arguments, run, run_with};
use ptx_emu::Approximations;
use warpnorm::parity::Tolerance;
use warpnorm::reference::activate;
use warpnorm::{Activation, DType};

const ACTIVATIONS: [Activation; 10] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::LeakyRelu { slope: -3e7 },
    Activation::Sigmoid,
    Activation::SILU,
    Activation::Swish { beta: 1.702 },
    Activation::Swish { beta: -1e-3 },
    Activation::GeluTanh,
    Activation::GeluExact,
];

/// `F32_ACTIVATION_ERROR` of the kernels, in units of 2⁻²⁴.
const ACTIVATION_ERROR: f64 = 6.0;

/// The smallest f32, and the smallest normal one.
const SMALLEST: f64 = 1.401_298_464_324_817e-45;
const SMALLEST_NORMAL: f64 = f32::MIN_POSITIVE as f64;

/// The largest error found and where, for messages.
struct Largest {
    what: String,
    error: f64,
    x: f32,
}

impl Largest {
    fn new(what: impl ToString) -> Largest {
        Largest { what: what.to_string(), error: 0.0, x: 0.0 }
    }

    /// Takes an element into account: NaN for NaN and infinity for infinity, or an error in units of `unit`.
    fn add(&mut self, x: f32, found: f64, wanted: f64, unit: f64) {
        let same = found == wanted || found.is_nan() && wanted.is_nan();
        let error = if same { 0.0 } else { (found - wanted).abs() / unit };
        // Infinities and NaNs on one side only make it one of them.
        if error.is_nan() || error > self.error {
            (self.error, self.x) = (error, x);
        }
        assert!(error.is_finite(), "{} of {x:e}: {found:e} for {wanted:e}", self.what);
    }

    fn check(&self, allowed: f64) {
        println!("{}: {:.3} at {:e}", self.what, self.error, self.x);
        assert!(self.error <= allowed, "{}: an error of {} at {:e}", self.what, self.error, self.x);
    }
}

#[test]
fn f32_activations() {
    let x = arguments();
    for activation in ACTIVATIONS {
        let mut largest = Largest::new(activation);
        let mut underflow = Largest::new(format!("{activation} below f32's normal range"));
        for (&x, value) in x.iter().zip(run("activation_f32", activation, &x)) {
            let wanted = activate(activation, x);
            let found = f64::from(value);
            if wanted.abs() >= SMALLEST_NORMAL || !wanted.is_finite() {
                largest.add(x, found, wanted, wanted.abs() / (1u64 << 24) as f64);
            } else {
                underflow.add(x, found, wanted, SMALLEST);
            }
        }
        largest.check(ACTIVATION_ERROR);
        underflow.check(4.0);
    }
}

/// Whatever a GPU makes of approximate instructions: within the tolerance, which has some room to spare.
#[test]
fn activations_of_16_bits() {
    let x = arguments();
    for activation in ACTIVATIONS {
        let mut largest = Largest::new(activation);
        for approximations in Approximations::ALL {
            for (&x, value) in x.iter().zip(run_with("activation_16_bit", activation, &x, approximations)) {
                let wanted = activate(activation, x);
                let tolerated = Tolerance::error_of_activation(DType::BF16, activation, f64::from(x), wanted);
                largest.add(x, f64::from(value), wanted, tolerated);
            }
        }
        largest.check(1.0);
        let exact = matches!(activation, Activation::Identity | Activation::Relu);
        assert!(exact || largest.error > 0.25, "{activation}: an error of {} only", largest.error);
    }
}

/// Numbers of these exponents: fractions of every kind, and the ends.
fn of_exponents<const N: usize>(exponents: [u32; N]) -> Vec<f32> {
    let fractions = || (0..1 << 23).step_by(191).chain([1, 2, (1 << 23) - 1]);
    let of = |exponent: u32| fractions().map(move |fraction| f32::from_bits(exponent << 23 | fraction));
    exponents.into_iter().flat_map(of).collect()
}

/// Half a unit in the last place for the rounding, and a sixteenth, of any number whose reciprocal is a normal one.
#[test]
fn reciprocals() {
    // Exponents of those that activations have, and the largest and smallest.
    let x = of_exponents([1, 2, 126, 127, 128, 129, 130, 131, 251, 252]);
    let mut largest = Largest::new("reciprocal");
    for (&x, value) in x.iter().zip(run("reciprocal", Activation::Identity, &x)) {
        let wanted = 1.0 / f64::from(x);
        largest.add(x, f64::from(value), wanted, wanted / (1u64 << 24) as f64);
    }
    largest.check(1.125);
    assert!(run("reciprocal", Activation::Identity, &[f32::NAN])[0].is_nan());
}

/// Two thirds of a unit in the last place, of the root of any normal number.
#[test]
fn reciprocal_roots() {
    let x = of_exponents([1, 2, 99, 100, 126, 127, 128, 129, 253, 254]);
    let mut largest = Largest::new("reciprocal root");
    for (&x, value) in x.iter().zip(run("reciprocal_root", Activation::Identity, &x)) {
        let wanted = 1.0 / f64::from(x).sqrt();
        largest.add(x, f64::from(value), wanted, wanted / (1u64 << 24) as f64);
    }
    largest.check(4.0 / 3.0);
}

#[test]
fn reciprocals_of_powers_of_two() {
    let x: Vec<f32> = (-126..=126).map(|exponent| 2f32.powi(exponent)).collect();
    let wanted: Vec<f32> = x.iter().map(|x| 1.0 / x).collect();
    assert_eq!(run("reciprocal_of_power_of_two", Activation::Identity, &x), wanted);
}
