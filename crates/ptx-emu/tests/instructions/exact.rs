//! Floating-point formats of any width, decoded to exact numbers and rounded once: the oracle of
//! everything that rounds. It works on integers of any length and shares nothing with the executor.

use std::cmp::Ordering;

/// A non-negative integer, in limbs of 64 bits, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Natural(Vec<u64>);

impl Natural {
    pub fn new(n: u128) -> Natural {
        Natural(vec![n as u64, (n >> 64) as u64])
    }

    fn limb(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    fn bit(&self, index: usize) -> bool {
        self.limb(index / 64) >> (index % 64) & 1 != 0
    }

    /// Position of the highest set bit, plus one.
    fn length(&self) -> usize {
        let top = self.0.iter().rposition(|limb| *limb != 0);
        top.map_or(0, |top| top * 64 + 64 - self.0[top].leading_zeros() as usize)
    }

    fn shifted_left(&self, by: usize) -> Natural {
        let mut limbs = vec![0; by / 64];
        let mut carry = 0;
        for limb in &self.0 {
            let wide = u128::from(*limb) << (by % 64);
            limbs.push(wide as u64 | carry);
            carry = (wide >> 64) as u64;
        }
        limbs.push(carry);
        Natural(limbs)
    }

    fn plus(&self, other: &Natural) -> Natural {
        let mut carry = 0;
        let limbs = (0..=self.0.len().max(other.0.len())).map(|i| {
            let sum = u128::from(self.limb(i)) + u128::from(other.limb(i)) + carry;
            carry = sum >> 64;
            sum as u64
        });
        Natural(limbs.collect())
    }

    /// The difference, of which `other` is the smaller.
    fn minus(&self, other: &Natural) -> Natural {
        let mut borrow = 0;
        let limbs = (0..self.0.len().max(other.0.len())).map(|i| {
            let difference = i128::from(self.limb(i)) - i128::from(other.limb(i)) - borrow;
            borrow = i128::from(difference < 0);
            difference as u64
        });
        Natural(limbs.collect())
    }

    fn compare(&self, other: &Natural) -> Ordering {
        let top = self.0.len().max(other.0.len());
        (0..top).rev().map(|i| self.limb(i).cmp(&other.limb(i))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn any_below(&self, position: usize) -> bool {
        (0..position).any(|index| self.bit(index))
    }

    fn low(&self) -> u128 {
        u128::from(self.limb(1)) << 64 | u128::from(self.limb(0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    Nearest,
    Away,
    Zero,
    Down,
    Up,
}

/// `digits · 2^exponent`, and a little more where `sticky`.
#[derive(Clone, Debug)]
pub struct Number {
    pub negative: bool,
    pub digits: Natural,
    pub exponent: i32,
    pub sticky: bool,
}

#[derive(Clone, Debug)]
pub enum Value {
    Nan,
    Infinite(bool),
    Finite(Number),
}

impl Number {
    pub fn integer(n: i128) -> Number {
        Number { negative: n < 0, digits: Natural::new(n.unsigned_abs()), exponent: 0, sticky: false }
    }

    pub fn is_zero(&self) -> bool {
        self.digits.length() == 0 && !self.sticky
    }

    /// The magnitude as a multiple of `2^quantum`, rounded.
    fn quantised(&self, quantum: i32, rounding: Rounding) -> u128 {
        let drop = quantum - self.exponent;
        if drop <= 0 {
            assert!(!self.sticky, "not enough digits to round");
            return self.digits.shifted_left(-drop as usize).low();
        }
        let drop = drop as usize;
        let length = self.digits.length();
        let kept = (drop..length.max(drop)).rev().fold(0, |n: u128, index| n << 1 | u128::from(self.digits.bit(index)));
        let half = self.digits.bit(drop - 1);
        let rest = self.sticky || self.digits.any_below(drop - 1);
        let up = match rounding {
            Rounding::Nearest => half && (rest || kept & 1 != 0),
            Rounding::Away => half,
            Rounding::Zero => false,
            Rounding::Down => self.negative && (half || rest),
            Rounding::Up => !self.negative && (half || rest),
        };
        kept + u128::from(up)
    }

    /// Rounded to an integer, the sign of zero kept.
    pub fn integral(&self, rounding: Rounding) -> Number {
        if self.exponent >= 0 {
            return self.clone();
        }
        let digits = Natural::new(self.quantised(0, rounding));
        Number { negative: self.negative, digits, exponent: 0, sticky: false }
    }

    /// Clamped to a range of integers, after rounding to one.
    pub fn to_integer(&self, rounding: Rounding, least: i128, most: i128) -> i128 {
        if self.digits.length() as i32 + self.exponent > 100 {
            return if self.negative { least } else { most };
        }
        let magnitude = self.quantised(0, rounding) as i128;
        (if self.negative { -magnitude } else { magnitude }).clamp(least, most)
    }
}

/// A binary format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub exponent_bits: u32,
    pub mantissa_bits: u32,
    /// Without infinities, the code with all bits set is NaN and its exponent holds numbers.
    pub infinities: bool,
    /// The NaN that PTX produces.
    pub nan: u64,
}

const fn format(exponent_bits: u32, mantissa_bits: u32, infinities: bool, nan: u64) -> Format {
    Format { exponent_bits, mantissa_bits, infinities, nan }
}

pub const F64: Format = format(11, 52, true, 0xfff8_0000_0000_0000);
pub const F32: Format = format(8, 23, true, 0x7fff_ffff);
pub const F16: Format = format(5, 10, true, 0x7fff);
pub const BF16: Format = format(8, 7, true, 0x7fff);
pub const TF32: Format = format(8, 10, true, 0x3ffff);
pub const E4M3: Format = format(4, 3, false, 0x7f);
pub const E5M2: Format = format(5, 2, true, 0x7f);

impl Format {
    pub fn sign(self) -> u64 {
        1 << (self.exponent_bits + self.mantissa_bits)
    }

    fn least_exponent(self) -> i32 {
        2 - (1 << (self.exponent_bits - 1))
    }

    pub fn infinity(self) -> u64 {
        ((1 << self.exponent_bits) - 1) << self.mantissa_bits
    }

    pub fn max(self) -> u64 {
        if self.infinities { self.infinity() - 1 } else { self.sign() - 2 }
    }

    pub fn is_nan(self, code: u64) -> bool {
        code & (self.sign() - 1) > if self.infinities { self.infinity() } else { self.max() }
    }

    pub fn is_subnormal(self, code: u64) -> bool {
        let magnitude = code & (self.sign() - 1);
        magnitude != 0 && magnitude < 1 << self.mantissa_bits
    }

    /// Subnormal codes to zeroes of their sign.
    pub fn flush(self, code: u64) -> u64 {
        if self.is_subnormal(code) { code & self.sign() } else { code }
    }

    pub fn decode(self, code: u64) -> Value {
        let (negative, magnitude) = (code & self.sign() != 0, code & (self.sign() - 1));
        if self.is_nan(code) {
            return Value::Nan;
        }
        if magnitude > self.max() {
            return Value::Infinite(negative);
        }
        let fraction = magnitude & ((1 << self.mantissa_bits) - 1);
        let field = (magnitude >> self.mantissa_bits) as i32;
        let hidden = if field == 0 { 0 } else { 1 << self.mantissa_bits };
        Value::Finite(Number {
            negative,
            digits: Natural::new(u128::from(fraction | hidden)),
            exponent: self.least_exponent() + (field - 1).max(0) - self.mantissa_bits as i32,
            sticky: false,
        })
    }

    /// The value's code, rounded once. `saturate` keeps overflow and infinity at the largest number.
    pub fn encode(self, value: &Value, rounding: Rounding, saturate: bool) -> u64 {
        let saturate = saturate || !self.infinities;
        let sign = |negative: bool| if negative { self.sign() } else { 0 };
        let number = match value {
            Value::Nan => return self.nan,
            Value::Infinite(negative) => {
                return sign(*negative) | if saturate { self.max() } else { self.infinity() };
            }
            Value::Finite(number) => number,
        };
        let negative = number.negative;
        let mantissa = self.mantissa_bits as i32;
        let leading = number.digits.length() as i32 + number.exponent - 1;
        let mut quantum = leading.max(self.least_exponent()) - mantissa;
        let mut significand = number.quantised(quantum, rounding);
        if significand == 1 << (mantissa + 1) {
            (significand, quantum) = (significand >> 1, quantum + 1);
        }
        let field = if significand >> mantissa == 0 { 0 } else { quantum + mantissa - self.least_exponent() + 1 };
        let fraction = significand as u64 & ((1 << mantissa) - 1);
        let code = (field as u64) << mantissa | fraction;
        if code <= self.max() {
            return sign(negative) | code;
        }
        let stays = match rounding {
            Rounding::Nearest | Rounding::Away => false,
            Rounding::Zero => true,
            Rounding::Down => !negative,
            Rounding::Up => negative,
        };
        sign(negative) | if stays || saturate { self.max() } else { self.infinity() }
    }
}

pub fn add(a: &Value, b: &Value, rounding: Rounding) -> Value {
    let (a, b) = match (a, b) {
        (Value::Finite(a), Value::Finite(b)) => (a, b),
        (Value::Nan, _) | (_, Value::Nan) => return Value::Nan,
        (Value::Infinite(a), Value::Infinite(b)) if a != b => return Value::Nan,
        (Value::Infinite(negative), _) | (_, Value::Infinite(negative)) => return Value::Infinite(*negative),
    };
    let exponent = a.exponent.min(b.exponent);
    let [x, y] = [a, b].map(|n| n.digits.shifted_left((n.exponent - exponent) as usize));
    let (negative, digits) = match (a.negative == b.negative, x.compare(&y)) {
        (true, _) => (a.negative, x.plus(&y)),
        // The sum of opposites is +0, but rounding down it is -0.
        (false, Ordering::Equal) => (rounding == Rounding::Down, Natural::new(0)),
        (false, Ordering::Greater) => (a.negative, x.minus(&y)),
        (false, Ordering::Less) => (b.negative, y.minus(&x)),
    };
    Value::Finite(Number { negative, digits, exponent, sticky: false })
}

/// The factors have at most 64 digits.
pub fn mul(a: &Value, b: &Value) -> Value {
    let negative = |value: &Value| match value {
        Value::Nan => false,
        Value::Infinite(negative) => *negative,
        Value::Finite(number) => number.negative,
    };
    let negative = negative(a) != negative(b);
    match (a, b) {
        (Value::Finite(a), Value::Finite(b)) => {
            let digits = Natural::new(a.digits.low() * b.digits.low());
            Value::Finite(Number { negative, digits, exponent: a.exponent + b.exponent, sticky: false })
        }
        (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
        (Value::Finite(zero), _) | (_, Value::Finite(zero)) if zero.is_zero() => Value::Nan,
        _ => Value::Infinite(negative),
    }
}

pub fn negate(a: Value) -> Value {
    match a {
        Value::Nan => Value::Nan,
        Value::Infinite(negative) => Value::Infinite(!negative),
        Value::Finite(number) => Value::Finite(Number { negative: !number.negative, ..number }),
    }
}

/// A quotient of numbers of at most 32 digits, with 40 digits or more.
pub fn div(a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) | (Value::Infinite(_), Value::Infinite(_)) => Value::Nan,
        (Value::Infinite(a), Value::Finite(b)) => Value::Infinite(*a != b.negative),
        (Value::Finite(a), Value::Infinite(b)) => {
            Value::Finite(Number { negative: a.negative != *b, ..Number::integer(0) })
        }
        (Value::Finite(a), Value::Finite(b)) => {
            let negative = a.negative != b.negative;
            if b.is_zero() {
                return if a.is_zero() { Value::Nan } else { Value::Infinite(negative) };
            }
            let (dividend, divisor) = (a.digits.low() << 72, b.digits.low());
            let (digits, sticky) = (Natural::new(dividend / divisor), dividend % divisor != 0);
            Value::Finite(Number { negative, digits, exponent: a.exponent - b.exponent - 72, sticky })
        }
    }
}

/// The square root of a number of at most 32 digits, with 30 digits or more.
pub fn sqrt(a: &Value) -> Value {
    match a {
        Value::Infinite(false) => Value::Infinite(false),
        Value::Finite(a) if a.is_zero() => Value::Finite(a.clone()),
        Value::Finite(a) if !a.negative => {
            let odd = a.exponent.rem_euclid(2);
            let square = a.digits.low() << (60 + odd);
            let root = square.isqrt();
            let (digits, sticky) = (Natural::new(root), root * root != square);
            Value::Finite(Number { negative: false, digits, exponent: (a.exponent - odd - 60) / 2, sticky })
        }
        _ => Value::Nan,
    }
}

/// The oracle itself, against the host's arithmetic and the `half` crate.
#[test]
fn agrees_with_the_host() {
    let mut random = crate::edges::Random::new(7);
    for i in 0..20_000u64 {
        // Exponents near each other every second time, or sums would seldom do more than pick one.
        let near = |x: u32| if i % 2 == 0 { x } else { x & 0x81ff_ffff | 0x3e00_0000 };
        let [x, y, z]: [u32; 3] = std::array::from_fn(|_| near(random.next() as u32));
        let [a, b, c] = [x, y, z].map(|bits| F32.decode(u64::from(bits)));
        let [x, y, z] = [x, y, z].map(f32::from_bits);
        let product = mul(&a, &b);
        for (value, host) in [
            (add(&a, &b, Rounding::Nearest), x + y),
            (mul(&a, &b), x * y),
            (add(&product, &c, Rounding::Nearest), x.mul_add(y, z)),
            (div(&a, &b), x / y),
            (sqrt(&a), x.sqrt()),
        ] {
            let got = F32.encode(&value, Rounding::Nearest, false);
            assert_eq!(got, if host.is_nan() { F32.nan } else { u64::from(host.to_bits()) }, "{x:e} {y:e} {z:e}");
        }
        let finite = |code: u64, wanted: u64| assert_eq!(if x.is_nan() { wanted } else { code }, wanted, "{x:e}");
        finite(F16.encode(&a, Rounding::Nearest, false), u64::from(half::f16::from_f32(x).to_bits()));
        finite(BF16.encode(&a, Rounding::Nearest, false), u64::from(half::bf16::from_f32(x).to_bits()));
        let wide = random.next();
        let narrowed = F32.encode(&F64.decode(wide), Rounding::Nearest, false);
        finite(narrowed, if F64.is_nan(wide) { F32.nan } else { u64::from((f64::from_bits(wide) as f32).to_bits()) });
        let integer = F32.encode(&Value::Finite(Number::integer(i128::from(wide))), Rounding::Nearest, false);
        assert_eq!(integer, u64::from((wide as f32).to_bits()));
    }
}
