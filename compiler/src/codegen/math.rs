//! Elementary functions, written once over the primitives of a target: Cranelift code for one f32,
//! four f32 or one f64 (`cranelift`), or a vector program (`vector`).
//!
//! f32 functions are range reduction and a polynomial (coefficients of the Cephes library, S.
//! Moshier), within 2 ulp over the range where the result is normal; NaN goes in, NaN comes out.
//! f64 ones (the step's scalars) call the runtime.

use crate::graph::{BinaryOp, UnaryOp};
use crate::plan::region;
use din_program::dropout;

/// Of two numbers; false where one is NaN but for `NotEqual` and `NotGreaterEqual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    Less,
    LessEqual,
    Equal,
    NotEqual,
    Greater,
    NotGreaterEqual,
}

/// A number, or a comparison not yet made one.
#[derive(Clone, Copy, Debug)]
pub enum Repr<V, M> {
    Number(V),
    Mask(M),
}

/// Primitives of a target, and what is made of them.
pub trait Arithmetic {
    type Value: Copy;
    /// A comparison's result.
    type Mask: Copy;

    fn constant(&mut self, x: f64) -> Self::Value;
    fn integer(&mut self, x: i32) -> Self::Value;
    /// The number's bits as an integer, and back.
    fn bits(&mut self, x: Self::Value) -> Self::Value;
    fn float(&mut self, x: Self::Value) -> Self::Value;
    fn add(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    fn subtract(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    fn multiply(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    fn divide(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    fn negate(&mut self, x: Self::Value) -> Self::Value;
    fn absolute(&mut self, x: Self::Value) -> Self::Value;
    fn sqrt(&mut self, x: Self::Value) -> Self::Value;
    /// `x * y + z`, fused where the level has it.
    fn mul_add(&mut self, x: Self::Value, y: Self::Value, z: Self::Value) -> Self::Value;
    fn add_integers(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    fn subtract_integers(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    /// Bit by bit, of integers.
    fn and(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    fn exclusive_or(&mut self, x: Self::Value, y: Self::Value) -> Self::Value;
    fn shift_left(&mut self, x: Self::Value, by: i64) -> Self::Value;
    /// With the sign.
    fn shift_right(&mut self, x: Self::Value, by: i64) -> Self::Value;
    fn of_integers(&mut self, x: Self::Value) -> Self::Value;
    fn compare(&mut self, how: Comparison, x: Self::Value, y: Self::Value) -> Self::Mask;
    fn choose(&mut self, mask: Self::Mask, x: Self::Value, y: Self::Value) -> Self::Value;

    /// 1 or 0
    fn number(&mut self, mask: Self::Mask) -> Self::Value {
        let (one, zero) = (self.constant(1.0), self.constant(0.0));
        self.choose(mask, one, zero)
    }

    /// The smaller; `y` where either is NaN.
    fn least(&mut self, x: Self::Value, y: Self::Value) -> Self::Value {
        let m = self.compare(Comparison::Less, x, y);
        self.choose(m, x, y)
    }

    /// The greater; `y` where either is NaN.
    fn greatest(&mut self, x: Self::Value, y: Self::Value) -> Self::Value {
        let m = self.compare(Comparison::Less, y, x);
        self.choose(m, x, y)
    }

    fn polynomial(&mut self, x: Self::Value, coefficients: &[f64]) -> Self::Value {
        let mut p = self.constant(coefficients[0]);
        for &c in &coefficients[1..] {
            let c = self.constant(c);
            p = self.mul_add(p, x, c);
        }
        p
    }

    /// `exp(x)` for `x` clamped to where the result is a normal number.
    fn exp_clamped(&mut self, x: Self::Value) -> Self::Value {
        let (low, high) = (self.constant(-87.3), self.constant(88.3));
        let x = self.greatest(low, x);
        let x = self.least(high, x);
        // Adding 1.5 * 2^23 rounds to an integer that stands in the low bits.
        let magic = self.constant(12_582_912.0);
        let log2e = self.constant(std::f64::consts::LOG2_E);
        let t = self.mul_add(x, log2e, magic);
        let n = self.subtract(t, magic);
        let (hi, lo) = (self.constant(-0.693_359_375), self.constant(2.121_944_4e-4));
        let r = self.mul_add(n, hi, x);
        let r = self.mul_add(n, lo, r);
        let p = self.polynomial(
            r,
            &[
                1.987_569_150_0e-4,
                1.398_199_950_7e-3,
                8.333_451_907_3e-3,
                4.166_579_589_4e-2,
                1.666_666_545_9e-1,
                5.000_000_120_1e-1,
            ],
        );
        let square = self.multiply(r, r);
        let p = self.mul_add(p, square, r);
        let one = self.constant(1.0);
        let p = self.add(p, one);
        let bits = self.bits(t);
        let exponent = self.shift_left(bits, 23);
        let p = self.bits(p);
        let scaled = self.add_integers(p, exponent);
        self.float(scaled)
    }

    fn exp(&mut self, x: Self::Value) -> Self::Value {
        let y = self.exp_clamped(x);
        let (low, high) = (self.constant(-87.3), self.constant(88.3));
        let (zero, infinity) = (self.constant(0.0), self.constant(f64::INFINITY));
        let m = self.compare(Comparison::Less, x, low);
        let y = self.choose(m, zero, y);
        // Between 88.3 and the overflow at 88.72: exp(x - 1) * e.
        let one = self.constant(1.0);
        let less = self.subtract(x, one);
        let near = self.exp_clamped(less);
        let e = self.constant(std::f64::consts::E);
        let near = self.multiply(near, e);
        let over = self.constant(88.722_84);
        let beyond = self.compare(Comparison::Greater, x, over);
        let near = self.choose(beyond, infinity, near);
        let m = self.compare(Comparison::Greater, x, high);
        self.choose(m, near, y)
    }

    fn sigmoid(&mut self, x: Self::Value) -> Self::Value {
        let minus = self.negate(x);
        let e = self.exp_clamped(minus);
        let one = self.constant(1.0);
        let d = self.add(one, e);
        self.divide(one, d)
    }

    /// `p` and `2^n` whose product is `exp(sign * x)`, by fewer operations than
    /// [`Self::exp_clamped`]; `mul_add` must be fused. `x` is clamped first: to bounds between
    /// which `n` is at least -127, for which 0 stands in the place of `2^n`, and at most 128, for
    /// which it is infinity.
    ///
    /// The remainder is taken in one step. Its polynomial, of degree 5, is that of least relative
    /// error which begins with `1 + r`.
    fn exp_factors(&mut self, x: Self::Value, sign: f64, [low, high]: [f64; 2]) -> (Self::Value, Self::Value) {
        let (low, high) = (self.constant(low), self.constant(high));
        let x = self.greatest(low, x);
        let x = self.least(high, x);
        // Adding 1.5 * 2^23 + 127 rounds to an integer whose low bits are the exponent of `2^n`.
        let magic = self.constant(12_583_039.0);
        let log2e = self.constant(sign * std::f64::consts::LOG2_E);
        let t = self.mul_add(x, log2e, magic);
        let n = self.subtract(t, magic);
        // The remainder times the sign.
        let ln2 = self.constant(-sign * std::f64::consts::LN_2);
        let r = self.mul_add(n, ln2, x);
        let even = [4.189_033_153_0e-2, 4.999_923_031_0e-1, 1.0];
        let odd = [8.312_501_338_2e-3, 1.666_711_538_8e-1, 1.0].map(|c| sign * c);
        let p = self.polynomial(r, &[odd[0], even[0], odd[1], even[1], odd[2], even[2]]);
        let bits = self.bits(t);
        let exponent = self.shift_left(bits, 23);
        (p, self.float(exponent))
    }

    /// [`Self::exp`] by 12 operations; `mul_add` must be fused. Within 3 ulp for `x` between -20
    /// and 20, within 6 ulp beyond; 0 below `2^-126.5`, infinite above `2^127.5`.
    fn short_exp(&mut self, x: Self::Value) -> Self::Value {
        let (p, scale) = self.exp_factors(x, 1.0, [-88.3, 88.9]);
        self.multiply(p, scale)
    }

    /// [`Self::sigmoid`] by 13 operations instead of 19; `mul_add` must be fused. Within 3.3 ulp
    /// for `x` between -20 and 20, within 6 ulp beyond.
    fn short_sigmoid(&mut self, x: Self::Value) -> Self::Value {
        let (p, scale) = self.exp_factors(x, -1.0, [-88.3, 87.3]);
        let one = self.constant(1.0);
        let d = self.mul_add(p, scale, one);
        self.divide(one, d)
    }

    fn tanh(&mut self, x: Self::Value) -> Self::Value {
        let absolute = self.absolute(x);
        let two = self.constant(2.0);
        let one = self.constant(1.0);
        let double = self.multiply(absolute, two);
        let e = self.exp_clamped(double);
        let d = self.add(e, one);
        let q = self.divide(two, d);
        let large = self.subtract(one, q);
        let zero = self.constant(0.0);
        let negative = self.compare(Comparison::Less, x, zero);
        let minus = self.negate(large);
        let large = self.choose(negative, minus, large);
        let z = self.multiply(x, x);
        let p = self.polynomial(
            z,
            &[
                -5.704_988_727_45e-3,
                2.063_908_879_54e-2,
                -5.373_971_555_31e-2,
                1.333_144_220_36e-1,
                -3.333_328_194_22e-1,
            ],
        );
        let p = self.multiply(p, z);
        let small = self.mul_add(p, x, x);
        let bound = self.constant(0.625);
        let m = self.compare(Comparison::Less, absolute, bound);
        self.choose(m, small, large)
    }

    fn log(&mut self, x: Self::Value) -> Self::Value {
        // x = m * 2^e with m in [sqrt(1/2), sqrt(2)).
        let bits = self.bits(x);
        let offset = self.integer(0x3f35_04f3);
        let shifted = self.subtract_integers(bits, offset);
        let e = self.shift_right(shifted, 23);
        let exponent = self.shift_left(e, 23);
        let m = self.subtract_integers(bits, exponent);
        let m = self.float(m);
        let e = self.of_integers(e);
        let one = self.constant(1.0);
        let f = self.subtract(m, one);
        let p = self.polynomial(
            f,
            &[
                7.037_683_629_2e-2,
                -1.151_461_031_0e-1,
                1.167_699_874_0e-1,
                -1.242_014_084_6e-1,
                1.424_932_278_7e-1,
                -1.666_805_766_5e-1,
                2.000_071_476_5e-1,
                -2.499_999_399_3e-1,
                3.333_333_117_4e-1,
            ],
        );
        let z = self.multiply(f, f);
        let y = self.multiply(p, f);
        let y = self.multiply(y, z);
        let (lo, half, hi) = (self.constant(-2.121_944_4e-4), self.constant(-0.5), self.constant(0.693_359_375));
        let y = self.mul_add(e, lo, y);
        let y = self.mul_add(z, half, y);
        let y = self.add(f, y);
        let y = self.mul_add(e, hi, y);
        let (zero, nan) = (self.constant(0.0), self.constant(f64::NAN));
        let (least, most) = (self.constant(f64::NEG_INFINITY), self.constant(f64::INFINITY));
        let m = self.compare(Comparison::Equal, x, zero);
        let y = self.choose(m, least, y);
        let m = self.compare(Comparison::NotGreaterEqual, x, zero);
        let y = self.choose(m, nan, y);
        let m = self.compare(Comparison::Equal, x, most);
        self.choose(m, most, y)
    }

    /// `max(x, 0) + log(1 + exp(-|x|))`
    fn softplus(&mut self, x: Self::Value) -> Self::Value {
        let absolute = self.absolute(x);
        let minus = self.negate(absolute);
        let u = self.exp_clamped(minus);
        // log(1 + u), corrected for the rounding of 1 + u.
        let one = self.constant(1.0);
        let w = self.add(one, u);
        let l = self.log(w);
        let d = self.subtract(w, one);
        let exact = self.compare(Comparison::Equal, d, u);
        let none = self.constant(0.0);
        let lost = self.compare(Comparison::Equal, d, none);
        let safe = self.choose(lost, one, d);
        let ratio = self.divide(u, safe);
        let corrected = self.multiply(l, ratio);
        let l = self.choose(exact, l, corrected);
        let l = self.choose(lost, u, l);
        let positive = self.greatest(none, x);
        self.add(positive, l)
    }

    fn sign(&mut self, x: Self::Value) -> Self::Value {
        let zero = self.constant(0.0);
        let (one, minus) = (self.constant(1.0), self.constant(-1.0));
        let m = self.compare(Comparison::Greater, x, zero);
        let up = self.choose(m, one, zero);
        let m = self.compare(Comparison::Less, x, zero);
        self.choose(m, minus, up)
    }

    /// `x ^ n` by repeated squaring.
    fn integral_power(&mut self, x: Self::Value, n: i32) -> Self::Value {
        let mut result: Option<Self::Value> = None;
        let mut square = x;
        let mut left = n.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                result = Some(match result {
                    None => square,
                    Some(r) => self.multiply(r, square),
                });
            }
            left >>= 1;
            if left > 0 {
                square = self.multiply(square, square);
            }
        }
        let one = self.constant(1.0);
        match result {
            None => one,
            Some(r) if n < 0 => self.divide(one, r),
            Some(r) => r,
        }
    }

    fn rotate_left(&mut self, x: Self::Value, by: u32) -> Self::Value {
        let upper = self.shift_left(x, i64::from(by));
        // Shifted with the sign, whose copies the mask takes away.
        let lower = self.shift_right(x, i64::from(32 - by));
        let mask = self.integer((1 << by) - 1);
        let lower = self.and(lower, mask);
        self.add_integers(upper, lower)
    }

    /// [`din_program::dropout::factor`]; of values as `Instruction::DropoutMask` has them.
    fn dropout_mask(&mut self, rate: f64, of: [Self::Value; 6]) -> Self::Value {
        let [sample, first, second, component, low, high] = of.map(|value| self.bits(value));
        let low = self.add_integers(low, first);
        let high = self.add_integers(high, second);
        let parity = self.integer(dropout::PARITY as i32);
        let third = self.exclusive_or(low, high);
        let third = self.exclusive_or(third, parity);
        let keys = [low, high, third];
        let mut x = self.add_integers(sample, keys[0]);
        let mut y = self.add_integers(component, keys[1]);
        for round in 0..dropout::ROUNDS {
            x = self.add_integers(x, y);
            y = self.rotate_left(y, dropout::ROTATIONS[round % 8]);
            y = self.exclusive_or(y, x);
            if round % 4 == 3 {
                let injection = round / 4 + 1;
                x = self.add_integers(x, keys[injection % 3]);
                y = self.add_integers(y, keys[(injection + 1) % 3]);
                let number = self.integer(injection as i32);
                y = self.add_integers(y, number);
            }
        }
        let upper = self.shift_right(x, 8);
        let mask = self.integer(0x00ff_ffff);
        let upper = self.and(upper, mask);
        let upper = self.of_integers(upper);
        // Both are whole numbers of 24 bits, which are exact.
        let threshold = self.constant(f64::from(dropout::threshold(rate)));
        let (zero, scale) = (self.constant(0.0), self.constant(dropout::scale(rate)));
        let dropped = self.compare(Comparison::Less, upper, threshold);
        self.choose(dropped, zero, scale)
    }

    fn of_repr(&mut self, value: Repr<Self::Value, Self::Mask>) -> Self::Value {
        match value {
            Repr::Number(v) => v,
            Repr::Mask(m) => self.number(m),
        }
    }

    fn to_mask(&mut self, value: Repr<Self::Value, Self::Mask>) -> Self::Mask {
        match value {
            Repr::Mask(m) => m,
            Repr::Number(v) => {
                let zero = self.constant(0.0);
                self.compare(Comparison::NotEqual, v, zero)
            }
        }
    }

    /// `short` asks for functions of fewer operations where there are any; `mul_add` must be fused
    /// then.
    fn unary(&mut self, op: UnaryOp, x: Self::Value, short: bool) -> Repr<Self::Value, Self::Mask> {
        Repr::Number(match op {
            UnaryOp::Negate => self.negate(x),
            UnaryOp::Exp if short => self.short_exp(x),
            UnaryOp::Exp => self.exp(x),
            UnaryOp::Log => self.log(x),
            UnaryOp::Sqrt => self.sqrt(x),
            UnaryOp::Sigmoid if short => self.short_sigmoid(x),
            UnaryOp::Sigmoid => self.sigmoid(x),
            UnaryOp::Tanh => self.tanh(x),
            UnaryOp::Softplus => self.softplus(x),
            UnaryOp::Abs => self.absolute(x),
            UnaryOp::Sign => self.sign(x),
            UnaryOp::Not => {
                let zero = self.constant(0.0);
                return Repr::Mask(self.compare(Comparison::Equal, x, zero));
            }
        })
    }

    /// `None` for a power that takes a call; `exponent` is that of a power, where known.
    fn binary(
        &mut self,
        op: BinaryOp,
        x: Self::Value,
        y: Self::Value,
        exponent: Option<f64>,
    ) -> Option<Repr<Self::Value, Self::Mask>> {
        Some(Repr::Number(match op {
            BinaryOp::Add => self.add(x, y),
            BinaryOp::Subtract => self.subtract(x, y),
            BinaryOp::Multiply => self.multiply(x, y),
            BinaryOp::Divide => self.divide(x, y),
            BinaryOp::Min => self.least(x, y),
            BinaryOp::Max => self.greatest(x, y),
            BinaryOp::Power => match exponent {
                Some(0.5) => self.sqrt(x),
                Some(c) if region::is_simple_power(c) => self.integral_power(x, c as i32),
                _ => return None,
            },
            BinaryOp::Less => return Some(Repr::Mask(self.compare(Comparison::Less, x, y))),
            BinaryOp::LessEqual => return Some(Repr::Mask(self.compare(Comparison::LessEqual, x, y))),
            BinaryOp::Equal => return Some(Repr::Mask(self.compare(Comparison::Equal, x, y))),
        }))
    }
}
