//! Activations: the f64 reference against values of 25 digits, the edges of f32, and parameters.

use std::collections::BTreeMap;
use warpnorm::reference::activate;
use warpnorm::{Activation, ActivationError};

/// By `scripts/activation_tables.py values`.
const TABLE: &str = include_str!("../fixtures/activations.txt");

/// The relative error that the reference promises.
const PROMISED: f64 = 1e-15;

const SMOOTH: [Activation; 6] = [
    Activation::Sigmoid,
    Activation::SILU,
    Activation::Swish { beta: 1.702 },
    Activation::Swish { beta: -0.5 },
    Activation::GeluTanh,
    Activation::GeluExact,
];

/// An activation, an argument and the value, line by line.
fn table() -> impl Iterator<Item = (Activation, f32, f64)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let (activation, bits, value) = match words[..] {
            ["sigmoid", bits, value] => (Activation::Sigmoid, bits, value),
            ["swish", beta, bits, value] => (Activation::Swish { beta: beta.parse().unwrap() }, bits, value),
            ["gelu_tanh", bits, value] => (Activation::GeluTanh, bits, value),
            ["gelu_exact", bits, value] => (Activation::GeluExact, bits, value),
            _ => panic!("{line}"),
        };
        (activation, f32::from_bits(u32::from_str_radix(bits, 16).unwrap()), value.parse().unwrap())
    })
}

#[test]
fn values_are_those_of_the_table() {
    let mut largest: BTreeMap<String, f64> = BTreeMap::new();
    let mut lines = 0;
    for (activation, x, wanted) in table() {
        let found = activate(activation, x);
        lines += 1;
        // 1e-80 and less is 0 in the table, and may be in the reference.
        if wanted == 0.0 {
            assert!(found.abs() < 1e-79, "{activation} of {x}: {found}");
            continue;
        }
        let error = ((found - wanted) / wanted).abs();
        assert!(error <= PROMISED, "{activation} of {x}: {found} for {wanted}, an error of {error:.1e}");
        let entry = largest.entry(activation.to_string()).or_default();
        *entry = entry.max(error);
    }
    assert_eq!((lines, largest.len()), (996, SMOOTH.len()));
    println!("largest relative errors: {largest:?}");
}

#[test]
fn pieces_are_exact() {
    for x in [-3.0f32, -1e-40, -0.0, 0.0, 1e-40, 2.5, 3e38] {
        let wide = f64::from(x);
        assert_eq!(activate(Activation::Identity, x), wide);
        assert_eq!(activate(Activation::Relu, x), if x > 0.0 { wide } else { 0.0 });
        let leaky = activate(Activation::LeakyRelu { slope: 0.01 }, x);
        assert_eq!(leaky, if x > 0.0 { wide } else { wide * f64::from(0.01f32) });
    }
    assert!(activate(Activation::Relu, -0.0).is_sign_positive());
}

#[test]
fn nan_gives_nan_and_infinities_what_the_formula_gives() {
    let linear = [Activation::Identity, Activation::Relu, Activation::LeakyRelu { slope: 0.01 }];
    for activation in SMOOTH.into_iter().chain(linear) {
        assert!(activate(activation, f32::NAN).is_nan(), "{activation}");
    }
    let infinities = |activation| [f32::NEG_INFINITY, f32::INFINITY].map(|x| activate(activation, x));
    assert_eq!(infinities(Activation::Identity), [f64::NEG_INFINITY, f64::INFINITY]);
    assert_eq!(infinities(Activation::Relu), [0.0, f64::INFINITY]);
    assert_eq!(infinities(Activation::LeakyRelu { slope: 0.01 }), [f64::NEG_INFINITY, f64::INFINITY]);
    assert_eq!(infinities(Activation::Sigmoid), [0.0, 1.0]);
    for activation in [Activation::SILU, Activation::GeluTanh, Activation::GeluExact] {
        let [low, high] = infinities(activation);
        assert!(low.is_nan() && high == f64::INFINITY, "{activation}: {low}, {high}");
    }
    let [low, high] = infinities(Activation::Swish { beta: -1.0 });
    assert!(low == f64::NEG_INFINITY && high.is_nan());
    // 0·∞ has no sign.
    assert!(infinities(Activation::Swish { beta: 0.0 }).iter().all(|value| value.is_nan()));
}

#[test]
fn a_swish_of_beta_0_is_half_its_argument() {
    for x in [-3e38f32, -1.0, -1e-45, 0.5, 3e38] {
        assert_eq!(activate(Activation::Swish { beta: 0.0 }, x), f64::from(x) / 2.0);
    }
}

#[test]
fn factors_rise_from_one_half_to_1() {
    for activation in SMOOTH {
        // σ(−x/2) falls.
        let mirrored = activation == Activation::Swish { beta: -0.5 };
        let share = |x: f32| {
            let factor = if activation == Activation::Sigmoid { 1.0 } else { f64::from(x) };
            activate(activation, x) / factor
        };
        for x in [80.0f32, 100.0, 1e10, 3e38] {
            let x = if mirrored { -x } else { x };
            assert!((share(x) - 1.0).abs() < 1e-15 && share(x) <= 1.0, "{activation} of {x}: {}", share(x));
        }
        let rises = |x: f32| if mirrored { share(x) < 0.5 } else { share(x) > 0.5 };
        for power in [1, 10, 20, 30, 40, 48] {
            let x = 0.5f32.powi(power);
            assert!(rises(x) && !rises(-x) && share(-x) != 0.5, "{activation} of ±2^-{power}");
        }
        for x in [1e-20, 1e-30, 1e-45] {
            assert_eq!([share(x), share(-x)], [0.5; 2], "{activation} of ±{x}");
        }
    }
}

#[test]
fn parameters_are_finite() {
    for given in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let refused = |activation: Activation| activation.validate().unwrap_err();
        let slope = refused(Activation::LeakyRelu { slope: given });
        assert!(matches!(slope, ActivationError::Slope { given: found } if found.to_bits() == given.to_bits()));
        assert_eq!(slope.to_string(), format!("slope of leaky ReLU is {given}, wanted a finite value"));
        let beta = refused(Activation::Swish { beta: given });
        assert!(matches!(beta, ActivationError::Beta { given: found } if found.to_bits() == given.to_bits()));
        assert_eq!(beta.to_string(), format!("β of Swish is {given}, wanted a finite value"));
    }
    for activation in SMOOTH.into_iter().chain([Activation::Relu, Activation::LeakyRelu { slope: -0.0 }]) {
        assert_eq!(activation.validate(), Ok(()));
    }
}
