//! The elementary functions of `kernels/common`, run by the PTX executor on every 16-bit argument and on f32
//! ones, against the f64 reference.

mod harness;

use half::{bf16, f16};
use harness::{arguments, run, run_with};
use ptx_emu::Approximations;
use std::cmp::Ordering;
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

/// `APPROXIMATE_ACTIVATION_UNITS` of the kernels, in units of 2⁻²⁴.
const APPROXIMATE_ACTIVATION_UNITS: f64 = 12.0;

/// The error of the forms in f64.
const ERROR_IN_F64: f64 = 1.0 / (1u64 << 41) as f64;

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
            let found = f64::from(output.value);
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

/// Whatever the approximate instructions return, what is no normal f32 is marked, and the rest within the bound.
#[test]
fn approximate_form() {
    let x = arguments();
    for (activation, approximations) in all(ACTIVATIONS, Approximations::ALL) {
        let mut largest = Largest::new(format!("{activation}, {approximations:?}"));
        let outputs = run_with("activate_approximately", activation, 0.0, &x, approximations);
        for (&x, output) in x.iter().zip(outputs) {
            let wanted = activate(activation, x);
            let found = f64::from(output.value);
            assert_eq!(output.bits != 0, found.is_nan() || found.abs() < SMALLEST_NORMAL, "{activation} of {x:e}");
            if output.bits == 0 {
                largest.add(x, found, wanted, wanted.abs() / (1u64 << 24) as f64);
            } else {
                // What has all its digits may be marked at either end of f32's range.
                let at_an_end = wanted.abs() <= 4.0 * SMALLEST_NORMAL * f64::from(x.abs().max(1.0)) || x.abs() > 1e12;
                assert!(at_an_end || !wanted.is_finite(), "{activation} of {x:e}: {found:e}");
            }
        }
        largest.check(APPROXIMATE_ACTIVATION_UNITS);
    }
}

#[test]
fn f64_form() {
    let x = arguments();
    for activation in ACTIVATIONS {
        let mut largest = Largest::new(activation);
        for (&x, output) in x.iter().zip(run("activate_f64", activation, 0.0, &x)) {
            let wanted = activate(activation, x);
            largest.add(x, output.wide, wanted, wanted.abs() * ERROR_IN_F64);
            assert_side(activation, x, output.wide, wanted);
        }
        largest.check(1.0);
    }
}

/// Where the reference is on a side of x or of x/2, the value is on the same.
fn assert_side(activation: Activation, x: f32, found: f64, wanted: f64) {
    if !wanted.is_finite() || activation.code() < Activation::Sigmoid.code() {
        return;
    }
    let factor = if activation == Activation::Sigmoid { 1.0 } else { f64::from(x) };
    for middle in [factor, factor / 2.0] {
        let side = |value: f64| value.partial_cmp(&middle);
        assert_eq!(side(found), side(wanted), "{activation} of {x:e}: {found:e} beside {middle:e}");
    }
}

/// A product is rounded once, and what lies next to the middle of two 16-bit values to its side.
#[test]
fn products_are_rounded_once() {
    let x = arguments();
    for (activation, factor) in all(ACTIVATIONS, [1.0f32, -1.5e-3, 3.3e38, 48.0]) {
        let outputs = ["narrow_product_f16", "narrow_product_bf16"].map(|name| run(name, activation, factor, &x));
        for (i, &x) in x.iter().enumerate() {
            let value = activate(activation, x);
            let product = value * f64::from(factor);
            // Rounded to odd: what f64 rounds away tells the side where the rest lies in the middle.
            let rest = value.mul_add(f64::from(factor), -product);
            let exact = match rest.partial_cmp(&0.0) {
                _ if product.to_bits() & 1 == 1 => product,
                Some(Ordering::Less) => product.next_down(),
                Some(Ordering::Greater) => product.next_up(),
                _ => product,
            };
            let error = 2.0 * ERROR_IN_F64 * product.abs();
            for (output, narrow) in outputs.iter().zip([narrow_f16, narrow_bf16]) {
                let bits = output[i].bits;
                let close = narrow(product - error) != narrow(product + error);
                let is_middle = narrow(product.next_down()) != narrow(product.next_up());
                let may_be = if close && !is_middle {
                    [-error, error].map(|by| narrow(product + by))
                } else {
                    [narrow(exact); 2]
                };
                assert!(may_be.contains(&bits), "{activation} of {x:e} times {factor:e}: {bits:#x} for {may_be:x?}");
            }
        }
    }
}

fn narrow_f16(value: f64) -> u32 {
    u32::from(f16::from_f32(rounded_to_odd(value)).to_bits())
}

fn narrow_bf16(value: f64) -> u32 {
    u32::from(bf16::from_f32(rounded_to_odd(value)).to_bits())
}

/// An f32 that rounds to fewer bits as the f64 does; NaN as the kernels have it.
fn rounded_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let even = nearest.to_bits() & 1 == 0;
    match value.partial_cmp(&f64::from(nearest)) {
        _ if nearest == 0.0 => nearest,
        None => f32::from_bits(0x7fff_ffff),
        Some(Ordering::Less) if even => nearest.next_down(),
        Some(Ordering::Greater) if even => nearest.next_up(),
        _ => nearest,
    }
}

/// Every one of the first with every one of the second.
fn all<A: Copy, B: Copy>(
    first: impl IntoIterator<Item = A>,
    second: impl IntoIterator<Item = B> + Clone,
) -> impl Iterator<Item = (A, B)> {
    first.into_iter().flat_map(move |a| second.clone().into_iter().map(move |b| (a, b)))
}

/// Half a unit in the last place for the rounding, and a sixteenth, of any number whose reciprocal is a normal one.
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
        largest.add(x, f64::from(output.value), wanted, wanted / (1u64 << 24) as f64);
    }
    largest.check(1.125);
    assert!(run("reciprocal_f32", Activation::Identity, 0.0, &[f32::NAN])[0].value.is_nan());
}
