//! Single- and double-precision arithmetic.
//!
//! Exact operations are rounded once, in any direction: where the hardware of the host cannot,
//! the result is formed in f64, rounded to odd (which loses nothing a later rounding to f32 or
//! narrower needs), and rounded again.

/// A rounding direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Nearest,
    /// To nearest, ties away from zero.
    NearestAway,
    Zero,
    Down,
    Up,
}

/// The NaN that f32 arithmetic produces.
pub(crate) const NAN32: u32 = 0x7fff_ffff;
/// The NaN that f64 arithmetic produces where no operand is NaN.
pub(crate) const NAN64: u64 = 0xfff8_0000_0000_0000;

/// Replaces any NaN by the one that f32 arithmetic produces.
pub(crate) fn canonical32(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(NAN32) } else { x }
}

/// A NaN result of f64 arithmetic: the first NaN operand made quiet, or the default.
pub(crate) fn canonical64(result: f64, operands: &[f64]) -> f64 {
    if !result.is_nan() {
        return result;
    }
    let operand = operands.iter().find(|operand| operand.is_nan());
    operand.map_or(f64::from_bits(NAN64), |nan| f64::from_bits(nan.to_bits() | 1 << 51))
}

/// Flushes a subnormal value to a zero of its sign.
pub(crate) fn flush32(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// Clamps to [0, 1]; NaN becomes zero.
pub(crate) fn saturate32(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// Clamps to [0, 1]; NaN becomes zero.
pub(crate) fn saturate64(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// Given a value rounded to nearest and the sign of what rounding lost, the value rounded to odd.
fn to_odd(rounded: f64, lost: f64) -> f64 {
    let bits = rounded.to_bits();
    if lost == 0.0 || lost.is_nan() || !rounded.is_finite() || bits & 1 != 0 {
        return rounded;
    }
    let away = (lost > 0.0) == (rounded > 0.0);
    f64::from_bits(if away { bits + 1 } else { bits.wrapping_sub(1) })
}

/// `a + b`, rounded to odd.
pub(crate) fn add_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let b_part = sum - a;
    let lost = (a - (sum - b_part)) + (b - b_part);
    to_odd(sum, lost)
}

fn div_odd(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    // remainder = a - quotient·b, exact; the quotient errs in its direction times b's sign.
    let remainder = (-quotient).mul_add(b, a);
    to_odd(quotient, remainder * 1f64.copysign(b))
}

fn sqrt_odd(a: f64) -> f64 {
    let root = a.sqrt();
    to_odd(root, (-root).mul_add(root, a))
}

/// Rounds an f64 that is exact or rounded to odd.
pub(crate) fn round_to_f32(x: f64, rounding: Rounding) -> f32 {
    let nearest = x as f32;
    let back = f64::from(nearest);
    if back == x || x.is_nan() {
        return nearest;
    }
    match rounding {
        Rounding::Nearest => nearest,
        Rounding::NearestAway => {
            // Only an exact tie that went towards zero differs.
            let other = if x > 0.0 { nearest.next_up() } else { nearest.next_down() };
            let tie = (f64::from(other) - x).abs() == (x - back).abs() && back.abs() < x.abs();
            if tie { other } else { nearest }
        }
        Rounding::Zero if back.abs() > x.abs() => {
            if x > 0.0 {
                nearest.next_down()
            } else {
                nearest.next_up()
            }
        }
        Rounding::Down if back > x => nearest.next_down(),
        Rounding::Up if back < x => nearest.next_up(),
        _ => nearest,
    }
}

/// Rounds to an integral value.
pub(crate) fn round_to_integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => x.round_ties_even(),
        Rounding::NearestAway => x.round(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

/// The integer that an integral value is, saturated to 128 bits; `None` for NaN.
pub(crate) fn to_integer(x: f64) -> Option<i128> {
    (!x.is_nan()).then_some(x as i128)
}

/// An integer of at most 64 bits and a sign as f64, rounded to odd.
pub(crate) fn from_integer_odd(n: i128) -> f64 {
    let rounded = n as f64;
    let lost = n - rounded as i128;
    to_odd(rounded, lost as f64)
}

/// An integer of at most 64 bits and a sign as f64.
pub(crate) fn from_integer(n: i128, rounding: Rounding) -> f64 {
    let nearest = n as f64;
    let back = nearest as i128;
    match rounding {
        Rounding::Zero if back.abs() > n.abs() => {
            if n > 0 {
                nearest.next_down()
            } else {
                nearest.next_up()
            }
        }
        Rounding::Down if back > n => nearest.next_down(),
        Rounding::Up if back < n => nearest.next_up(),
        _ => nearest,
    }
}

/// An exact zero sum is negative when rounding down, unless both terms are +0.
fn signed_zero_sum(sum: f64, a: f64, b: f64, rounding: Rounding) -> f64 {
    if sum == 0.0 && rounding == Rounding::Down && (a.is_sign_negative() || b.is_sign_negative()) { -0.0 } else { sum }
}

pub(crate) fn add32(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a + b;
    }
    let (a, b) = (f64::from(a), f64::from(b));
    round_to_f32(signed_zero_sum(add_odd(a, b), a, b, rounding), rounding)
}

pub(crate) fn mul32(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a * b;
    }
    round_to_f32(f64::from(a) * f64::from(b), rounding)
}

pub(crate) fn fma32(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a.mul_add(b, c);
    }
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    round_to_f32(signed_zero_sum(add_odd(product, c), product, c, rounding), rounding)
}

pub(crate) fn div32(a: f32, b: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a / b;
    }
    round_to_f32(div_odd(f64::from(a), f64::from(b)), rounding)
}

pub(crate) fn sqrt32(a: f32, rounding: Rounding) -> f32 {
    if rounding == Rounding::Nearest {
        return a.sqrt();
    }
    round_to_f32(sqrt_odd(f64::from(a)), rounding)
}

/// `min` or `max`, -0 below +0; NaN as in [`min_max`].
pub(crate) trait MinMax: Copy {
    fn is_nan(self) -> bool;
    /// -0 counts as less than +0.
    fn less(self, other: Self) -> bool;
}

impl MinMax for f32 {
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
    fn less(self, other: f32) -> bool {
        self < other || (self == other && self.is_sign_negative() && other.is_sign_positive())
    }
}

impl MinMax for f64 {
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
    fn less(self, other: f64) -> bool {
        self < other || (self == other && self.is_sign_negative() && other.is_sign_positive())
    }
}

/// The smaller or larger value. `None` stands for the NaN that arithmetic produces: where both
/// are NaN, or with `propagate_nan` where either is.
pub(crate) fn min_max<T: MinMax>(a: T, b: T, max: bool, propagate_nan: bool) -> Option<T> {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => None,
        (true, false) | (false, true) if propagate_nan => None,
        (true, false) => Some(b),
        (false, true) => Some(a),
        (false, false) => Some(if a.less(b) != max { a } else { b }),
    }
}

/// What approximate f32 instructions (`rcp.approx`, `ex2.approx` and their like) return: anything near enough to the
/// exact value will do for the ISA, and GPUs differ. A kernel whose results are the same for all of these does not depend on
/// which one it runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Approximations {
    /// The f32 nearest to the exact value.
    #[default]
    Nearest,
    /// The least f32 that the ISA allows.
    Least,
    /// The largest.
    Largest,
    /// The least reciprocal or quotient, and the largest of what is none: of a reciprocal of something else that is
    /// approximate, the errors add up, where otherwise they cancel.
    LeastReciprocals,
    /// The largest reciprocal or quotient, and the least of what is none.
    LargestReciprocals,
}

impl Approximations {
    /// Every variant.
    pub const ALL: [Approximations; 5] = [
        Approximations::Nearest,
        Approximations::Least,
        Approximations::Largest,
        Approximations::LeastReciprocals,
        Approximations::LargestReciprocals,
    ];

    /// Of an exact value, what the instruction returns.
    fn of(self, exact: f64, bound: Bound, is_reciprocal: bool) -> f32 {
        let nearest = exact as f32;
        let up = match self {
            _ if nearest == 0.0 || !nearest.is_finite() => return nearest,
            Approximations::Nearest => return nearest,
            Approximations::Least => false,
            Approximations::Largest => true,
            Approximations::LeastReciprocals => !is_reciprocal,
            Approximations::LargestReciprocals => is_reciprocal,
        };
        let step = |value: f32| if up { value.next_up() } else { value.next_down() };
        match bound {
            Bound::Ulps(ulps) => (0..ulps).fold(nearest, |value, _| step(value)),
            Bound::Error { absolute, relative } => {
                let error = absolute + relative * exact.abs();
                // Rounded towards the exact value, so as not to leave the bound.
                let (moved, rounding) =
                    if up { (exact + error, Rounding::Down) } else { (exact - error, Rounding::Up) };
                round_to_f32(moved, rounding)
            }
        }
    }
}

/// How far an approximate f32 instruction may be off, by the PTX ISA.
#[derive(Clone, Copy)]
enum Bound {
    /// So many units in the last place from the nearest f32.
    Ulps(u32),
    Error {
        absolute: f64,
        relative: f64,
    },
}

/// The approximate functions of the special function unit, computed in f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approximate {
    Reciprocal,
    SquareRoot,
    ReciprocalSquareRoot,
    Exp2,
    Log2,
    Sine,
    Cosine,
    Tanh,
}

/// An approximate function in f64.
pub(crate) fn approximate(function: Approximate, x: f64) -> f64 {
    match function {
        Approximate::Reciprocal => 1.0 / x,
        Approximate::SquareRoot => x.sqrt(),
        // 1/√(-0) is -Inf: the square root of -0 is -0.
        Approximate::ReciprocalSquareRoot => 1.0 / x.sqrt(),
        Approximate::Exp2 => x.exp2(),
        Approximate::Log2 if x == 0.0 => f64::NEG_INFINITY,
        Approximate::Log2 => x.log2(),
        Approximate::Sine => x.sin(),
        Approximate::Cosine => x.cos(),
        Approximate::Tanh => x.tanh(),
    }
}

impl Approximate {
    /// The f32 form.
    pub(crate) fn f32(self, x: f32, approximations: Approximations) -> f32 {
        let absolute = |power: f64| Bound::Error { absolute: power.exp2(), relative: 0.0 };
        let relative = |power: f64| Bound::Error { absolute: 0.0, relative: power.exp2() };
        let bound = match self {
            Approximate::Reciprocal => Bound::Ulps(1),
            Approximate::Exp2 => Bound::Ulps(2),
            Approximate::SquareRoot => relative(-23.0),
            Approximate::ReciprocalSquareRoot => relative(-22.9),
            Approximate::Log2 if (0.5..=2.0).contains(&x) => absolute(-22.6),
            Approximate::Log2 => relative(-22.0),
            Approximate::Sine | Approximate::Cosine => absolute(-20.5),
            Approximate::Tanh => relative(-11.0),
        };
        // The ISA tables what becomes of zeros, infinities and NaN.
        let tabled = x == 0.0 || !x.is_finite();
        let approximations = if tabled { Approximations::Nearest } else { approximations };
        let is_reciprocal = matches!(self, Approximate::Reciprocal | Approximate::ReciprocalSquareRoot);
        approximations.of(approximate(self, f64::from(x)), bound, is_reciprocal)
    }
}

/// `div.approx.f32`: beyond |b| = 2^126 the quotient is zero, or NaN for a dividend that is not finite.
pub(crate) fn div_approximate(a: f32, b: f32, approximations: Approximations) -> f32 {
    const LIMIT: f32 = f32::from_bits(0x7e80_0000);
    if b.is_finite() && b.abs() > LIMIT {
        if !a.is_finite() {
            return f32::NAN;
        }
        return 0f32.copysign(a) * 1f32.copysign(b);
    }
    div_full(a, b, approximations)
}

/// `div.full.f32`.
pub(crate) fn div_full(a: f32, b: f32, approximations: Approximations) -> f32 {
    approximations.of(f64::from(a) / f64::from(b), Bound::Ulps(2), true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Rounding::{Down, Nearest, NearestAway, Up, Zero};

    const TINY: f32 = f32::from_bits(1);

    #[test]
    fn directed_sums() {
        let ulp = f32::EPSILON;
        for (rounding, sum, difference) in
            [(Nearest, 1.0, 1.0), (Zero, 1.0, 1.0 - ulp / 2.0), (Down, 1.0, 1.0 - ulp / 2.0), (Up, 1.0 + ulp, 1.0)]
        {
            assert_eq!(add32(1.0, TINY, rounding), sum, "{rounding:?}");
            assert_eq!(add32(1.0, -TINY, rounding), difference, "{rounding:?}");
        }
        assert_eq!(add32(1.0, -1.0, Down).to_bits(), 0x8000_0000);
        assert_eq!(add32(1.0, -1.0, Up).to_bits(), 0);
        assert_eq!(add32(0.0, 0.0, Down).to_bits(), 0);
        assert_eq!(add32(f32::MAX, f32::MAX, Zero), f32::MAX);
        assert_eq!(add32(f32::MAX, f32::MAX, Up), f32::INFINITY);
        assert_eq!(add32(-f32::MAX, -f32::MAX, Up), -f32::MAX);
    }

    #[test]
    fn directed_products_and_quotients() {
        // 1/3 = 0x3eaaaaaa|aaaa…: nearest rounds up.
        assert_eq!(div32(1.0, 3.0, Nearest).to_bits(), 0x3eaa_aaab);
        assert_eq!(div32(1.0, 3.0, Down).to_bits(), 0x3eaa_aaaa);
        assert_eq!(div32(-1.0, 3.0, Down).to_bits(), 0xbeaa_aaab);
        assert_eq!(div32(1.0, -3.0, Up).to_bits(), 0xbeaa_aaaa);
        assert_eq!(div32(6.0, 3.0, Up), 2.0);
        // √2 = 0x3fb504f3|33…
        assert_eq!(sqrt32(2.0, Nearest).to_bits(), 0x3fb5_04f3);
        assert_eq!(sqrt32(2.0, Up).to_bits(), 0x3fb5_04f4);
        assert_eq!(sqrt32(4.0, Up), 2.0);
        assert_eq!(mul32(TINY, 0.5, Up), TINY);
        assert_eq!(mul32(TINY, 0.5, Down), 0.0);
        assert_eq!(mul32(f32::MAX, -2.0, Zero), -f32::MAX);
    }

    #[test]
    fn fused_in_every_direction() {
        let a = 1.0 + f32::EPSILON;
        // a² = 1 + 2ε + ε², ε = 2^-23; minus (1 + 2ε) leaves ε² exactly.
        assert_eq!(fma32(a, a, -(1.0 + 2.0 * f32::EPSILON), Zero), f32::EPSILON * f32::EPSILON);
        assert_eq!(fma32(a, a, 0.0, Up), 1.0 + 3.0 * f32::EPSILON);
        assert_eq!(fma32(a, a, 0.0, Down), 1.0 + 2.0 * f32::EPSILON);
        assert_eq!(fma32(1.0, 1.0, -TINY, Down), 1.0 - f32::EPSILON / 2.0);
    }

    #[test]
    fn ties() {
        let tie = 1.0 + f64::from(f32::EPSILON) / 2.0;
        assert_eq!(round_to_f32(tie, Nearest), 1.0);
        assert_eq!(round_to_f32(tie, NearestAway), 1.0 + f32::EPSILON);
        assert_eq!(round_to_f32(-tie, NearestAway), -1.0 - f32::EPSILON);
        assert_eq!(round_to_f32(1e-60, Up), TINY);
        assert_eq!(round_to_f32(-1e-60, Zero).to_bits(), 0x8000_0000);
    }

    #[test]
    fn minimum_and_maximum() {
        assert_eq!(min_max(1.0f32, f32::NAN, false, false), Some(1.0));
        assert_eq!(min_max(1.0f32, f32::NAN, false, true), None);
        assert_eq!(min_max(f32::NAN, f32::NAN, true, false), None);
        assert_eq!(min_max(0.0f32, -0.0, false, false).map(f32::to_bits), Some(0x8000_0000));
        assert_eq!(min_max(-0.0f32, 0.0, true, false).map(f32::to_bits), Some(0));
        assert_eq!(min_max(2.0f64, 3.0, true, false), Some(3.0));
    }

    #[test]
    fn reciprocals_lean_against_the_rest() {
        let of = |function: Approximate, approximations| function.f32(3.3, approximations);
        for (against, of_reciprocals, of_others) in [
            (Approximations::LeastReciprocals, Approximations::Least, Approximations::Largest),
            (Approximations::LargestReciprocals, Approximations::Largest, Approximations::Least),
        ] {
            assert_ne!(of(Approximate::Exp2, of_reciprocals), of(Approximate::Exp2, of_others));
            assert_eq!(of(Approximate::Reciprocal, against), of(Approximate::Reciprocal, of_reciprocals));
            assert_eq!(of(Approximate::Exp2, against), of(Approximate::Exp2, of_others));
            assert_eq!(div_full(1.0, 3.3, against), div_full(1.0, 3.3, of_reciprocals));
        }
    }

    #[test]
    fn approximate_edges() {
        assert_eq!(approximate(Approximate::Log2, -0.0), f64::NEG_INFINITY);
        assert_eq!(approximate(Approximate::ReciprocalSquareRoot, -0.0), f64::NEG_INFINITY);
        assert!(approximate(Approximate::ReciprocalSquareRoot, -1.0).is_nan());
        assert_eq!(div_approximate(1.0, f32::MAX, Approximations::Largest), 0.0);
        assert!(div_approximate(f32::INFINITY, f32::MAX, Approximations::Nearest).is_nan());
        assert_eq!(div_approximate(6.0, 3.0, Approximations::Nearest), 2.0);
    }
}
