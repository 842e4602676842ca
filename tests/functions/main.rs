//! The elementary functions of `kernels/common`, run by the PTX executor on every 16-bit argument and on f32
//! ones, against the f64 reference.

mod harness;

use harness::{Output, arguments, run};
use warpnorm::Activation;
use warpnorm::reference::activate;

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

/// `ACTIVATION_ERROR` of the kernels, in units of 2⁻²⁴.
const ACTIVATION_ERROR: f64 = 6.0;

/// The error of the forms in two floats.
const ERROR_IN_TWO: f64 = 1.0 / (1u64 << 38) as f64;

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
fn f32_form() {
    let x = arguments();
    for activation in ACTIVATIONS {
        let mut largest = Largest::new(activation);
        let mut underflow = Largest::new(format!("{activation} below f32's normal range"));
        for (&x, output) in x.iter().zip(run("activate_f32", activation, 0.0, &x)) {
            let wanted = activate(activation, x);
            let found = f64::from(output.hi);
            let lacks_digits = output.integer != 0;
            if wanted.abs() >= SMALLEST_NORMAL || !wanted.is_finite() {
                largest.add(x, found, wanted, wanted.abs() / (1u64 << 24) as f64);
                let lowest = found.abs() == SMALLEST_NORMAL || wanted.abs() <= SMALLEST_NORMAL * (1.0 + 1e-6);
                assert!(!lacks_digits || lowest, "{activation} of {x:e} has all digits");
            } else {
                underflow.add(x, found, wanted, SMALLEST);
                // Only a kind that computes nothing may leave a value below unmarked.
                let exact = activation.code() <= 1 || x == 0.0 || found.abs() >= SMALLEST_NORMAL;
                assert_eq!(lacks_digits, !exact, "{activation} of {x:e}: {found:e}");
            }
        }
        largest.check(ACTIVATION_ERROR);
        underflow.check(4.0);
    }
}

#[test]
fn two_floats() {
    let x = arguments();
    for activation in ACTIVATIONS {
        let mut largest = Largest::new(activation);
        for (&x, output) in x.iter().zip(run("activate_two", activation, 0.0, &x)) {
            let wanted = activate(activation, x);
            let found = if output.hi.is_finite() { output.value() } else { f64::from(output.hi) };
            assert!((-252..=0).contains(&output.integer), "{activation} of {x:e}: exponent {}", output.integer);
            let normalised = output.hi + output.lo == output.hi || !output.hi.is_finite();
            assert!(normalised, "{activation} of {x:e}: {output:?} overlap");
            largest.add(x, found, wanted, wanted.abs() * ERROR_IN_TWO);
            assert_side(activation, x, &output, wanted);
        }
        largest.check(1.0);
    }
}

/// Where the reference is on a side of x or of x/2, the low part is on the same.
fn assert_side(activation: Activation, x: f32, output: &Output, wanted: f64) {
    if !wanted.is_finite() || output.integer != 0 || activation.code() < Activation::Sigmoid.code() {
        return;
    }
    let factor = if activation == Activation::Sigmoid { 1.0 } else { f64::from(x) };
    for middle in [factor, factor / 2.0] {
        if f64::from(output.hi) == middle {
            let side = |difference: f64| if difference == 0.0 { 0 } else { difference.signum() as i32 };
            let wanted = side(wanted - middle);
            assert_eq!(side(f64::from(output.lo)), wanted, "{activation} of {x:e}: {output:?} beside {middle:e}");
        }
    }
}

#[test]
fn products_bring_values_back_into_range() {
    let x = arguments();
    for activation in ACTIVATIONS {
        for factor in [1.0f32, -1.5e-3, 3.3e38] {
            let mut largest = Largest::new(format!("{activation}, times {factor:e}"));
            for (&x, output) in x.iter().zip(run("activate_times", activation, factor, &x)) {
                let wanted = activate(activation, x) * f64::from(factor);
                let found = if output.hi.is_finite() { output.value() } else { f64::from(output.hi) };
                // Past f32's range both are infinite; next to its end either may be.
                if wanted.abs() > 3.402_8e38 && found.abs() > 3.402_8e38 {
                    continue;
                }
                // Low parts end at the smallest f32.
                largest.add(x, found, wanted, (wanted.abs() * ERROR_IN_TWO).max(SMALLEST));
            }
            largest.check(1.0);
        }
    }
}

/// As good as rounded correctly, of any number whose reciprocal is a normal one.
#[test]
fn reciprocals() {
    let of = |exponent: u32, fraction: u32| f32::from_bits(exponent << 23 | fraction);
    // Fractions of every kind, and the ends; exponents of those that activations have, and the largest and smallest.
    let fractions = || (0..1 << 23).step_by(191).chain([1, 2, (1 << 23) - 1]);
    let x: Vec<f32> = [1, 2, 126, 127, 128, 129, 130, 131, 251, 252]
        .into_iter()
        .flat_map(|exponent| fractions().map(move |fraction| of(exponent, fraction)))
        .collect();
    let mut largest = Largest::new("reciprocal");
    for (&x, output) in x.iter().zip(run("reciprocal_f32", Activation::Identity, 0.0, &x)) {
        let wanted = 1.0 / f64::from(x);
        largest.add(x, f64::from(output.hi), wanted, wanted / (1u64 << 24) as f64);
    }
    largest.check(1.01);
    assert!(run("reciprocal_f32", Activation::Identity, 0.0, &[f32::NAN])[0].hi.is_nan());
}
