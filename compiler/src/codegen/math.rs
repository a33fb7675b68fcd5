//! Elementary functions as inline Cranelift code, for one f32, four f32 or one f64 at a time.
//!
//! f32 functions are range reduction and a polynomial (coefficients of the Cephes library, S. Moshier), within 2 ulp over the
//! range where the result is normal; NaN goes in, NaN comes out. f64 ones (the step's scalars) call the runtime.

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

/// What a value is in the code at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    One,
    Four,
    Double,
}

/// Emits arithmetic on values of one kind.
pub struct Math<'a, 'b> {
    pub b: &'a mut FunctionBuilder<'b>,
    pub lanes: Lanes,
    /// Whether fused multiply-add exists on the target level.
    pub fma: bool,
}

/// A comparison's result.
#[derive(Clone, Copy)]
pub struct Mask(pub Value);

impl Math<'_, '_> {
    pub fn ty(&self) -> Type {
        match self.lanes {
            Lanes::One => types::F32,
            Lanes::Four => types::F32X4,
            Lanes::Double => types::F64,
        }
    }

    fn int(&self) -> Type {
        match self.lanes {
            Lanes::Four => types::I32X4,
            _ => types::I32,
        }
    }

    pub fn constant(&mut self, x: f64) -> Value {
        match self.lanes {
            Lanes::One => self.b.ins().f32const(x as f32),
            Lanes::Double => self.b.ins().f64const(x),
            Lanes::Four => self.vector((x as f32).to_bits(), types::F32X4),
        }
    }

    fn vector(&mut self, bits: u32, ty: Type) -> Value {
        let bytes: Vec<u8> = bits.to_le_bytes().repeat(4);
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(ty, constant)
    }

    fn integer(&mut self, x: i32) -> Value {
        match self.lanes {
            Lanes::Four => self.vector(x as u32, types::I32X4),
            _ => self.b.ins().iconst(types::I32, i64::from(x as u32)),
        }
    }

    fn bits(&mut self, x: Value) -> Value {
        let ty = self.int();
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, flags, x)
    }

    fn float(&mut self, x: Value) -> Value {
        let ty = self.ty();
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, flags, x)
    }

    /// `x * y + z`
    pub fn mul_add(&mut self, x: Value, y: Value, z: Value) -> Value {
        if self.fma {
            self.b.ins().fma(x, y, z)
        } else {
            let p = self.b.ins().fmul(x, y);
            self.b.ins().fadd(p, z)
        }
    }

    pub fn compare(&mut self, cc: FloatCC, x: Value, y: Value) -> Mask {
        Mask(self.b.ins().fcmp(cc, x, y))
    }

    pub fn choose(&mut self, mask: Mask, x: Value, y: Value) -> Value {
        match self.lanes {
            Lanes::Four => {
                let m = self.float(mask.0);
                self.b.ins().bitselect(m, x, y)
            }
            _ => self.b.ins().select(mask.0, x, y),
        }
    }

    /// 1 or 0
    pub fn number(&mut self, mask: Mask) -> Value {
        let (one, zero) = (self.constant(1.0), self.constant(0.0));
        self.choose(mask, one, zero)
    }

    /// The smaller; `y` where either is NaN.
    pub fn least(&mut self, x: Value, y: Value) -> Value {
        let m = self.compare(FloatCC::LessThan, x, y);
        self.choose(m, x, y)
    }

    /// The greater; `y` where either is NaN.
    pub fn greatest(&mut self, x: Value, y: Value) -> Value {
        let m = self.compare(FloatCC::LessThan, y, x);
        self.choose(m, x, y)
    }

    fn polynomial(&mut self, x: Value, coefficients: &[f64]) -> Value {
        let mut p = self.constant(coefficients[0]);
        for &c in &coefficients[1..] {
            let c = self.constant(c);
            p = self.mul_add(p, x, c);
        }
        p
    }

    /// `exp(x)` for `x` clamped to where the result is a normal number.
    fn exp_clamped(&mut self, x: Value) -> Value {
        let (low, high) = (self.constant(-87.3), self.constant(88.3));
        let x = self.greatest(low, x);
        let x = self.least(high, x);
        // Adding 1.5 * 2^23 rounds to an integer that stands in the low bits.
        let magic = self.constant(12_582_912.0);
        let log2e = self.constant(std::f64::consts::LOG2_E);
        let t = self.mul_add(x, log2e, magic);
        let n = self.b.ins().fsub(t, magic);
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
        let square = self.b.ins().fmul(r, r);
        let p = self.mul_add(p, square, r);
        let one = self.constant(1.0);
        let p = self.b.ins().fadd(p, one);
        let bits = self.bits(t);
        let exponent = self.b.ins().ishl_imm_u(bits, 23);
        let p = self.bits(p);
        let scaled = self.b.ins().iadd(p, exponent);
        self.float(scaled)
    }

    pub fn exp(&mut self, x: Value) -> Value {
        let y = self.exp_clamped(x);
        let (low, high) = (self.constant(-87.3), self.constant(88.3));
        let (zero, infinity) = (self.constant(0.0), self.constant(f64::INFINITY));
        let m = self.compare(FloatCC::LessThan, x, low);
        let y = self.choose(m, zero, y);
        // Between 88.3 and the overflow at 88.72: exp(x - 1) * e.
        let one = self.constant(1.0);
        let less = self.b.ins().fsub(x, one);
        let near = self.exp_clamped(less);
        let e = self.constant(std::f64::consts::E);
        let near = self.b.ins().fmul(near, e);
        let over = self.constant(88.722_84);
        let beyond = self.compare(FloatCC::GreaterThan, x, over);
        let near = self.choose(beyond, infinity, near);
        let m = self.compare(FloatCC::GreaterThan, x, high);
        self.choose(m, near, y)
    }

    pub fn sigmoid(&mut self, x: Value) -> Value {
        let minus = self.b.ins().fneg(x);
        let e = self.exp_clamped(minus);
        let one = self.constant(1.0);
        let d = self.b.ins().fadd(one, e);
        self.b.ins().fdiv(one, d)
    }

    pub fn tanh(&mut self, x: Value) -> Value {
        let absolute = self.b.ins().fabs(x);
        let two = self.constant(2.0);
        let one = self.constant(1.0);
        let double = self.b.ins().fmul(absolute, two);
        let e = self.exp_clamped(double);
        let d = self.b.ins().fadd(e, one);
        let q = self.b.ins().fdiv(two, d);
        let large = self.b.ins().fsub(one, q);
        let zero = self.constant(0.0);
        let negative = self.compare(FloatCC::LessThan, x, zero);
        let minus = self.b.ins().fneg(large);
        let large = self.choose(negative, minus, large);
        let z = self.b.ins().fmul(x, x);
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
        let p = self.b.ins().fmul(p, z);
        let small = self.mul_add(p, x, x);
        let bound = self.constant(0.625);
        let m = self.compare(FloatCC::LessThan, absolute, bound);
        self.choose(m, small, large)
    }

    pub fn log(&mut self, x: Value) -> Value {
        // x = m * 2^e with m in [sqrt(1/2), sqrt(2)).
        let bits = self.bits(x);
        let offset = self.integer(0x3f35_04f3);
        let shifted = self.b.ins().isub(bits, offset);
        let e = self.b.ins().sshr_imm_u(shifted, 23);
        let exponent = self.b.ins().ishl_imm_u(e, 23);
        let m = self.b.ins().isub(bits, exponent);
        let m = self.float(m);
        let ty = self.ty();
        let e = self.b.ins().fcvt_from_sint(ty, e);
        let one = self.constant(1.0);
        let f = self.b.ins().fsub(m, one);
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
        let z = self.b.ins().fmul(f, f);
        let y = self.b.ins().fmul(p, f);
        let y = self.b.ins().fmul(y, z);
        let (lo, half, hi) = (self.constant(-2.121_944_4e-4), self.constant(-0.5), self.constant(0.693_359_375));
        let y = self.mul_add(e, lo, y);
        let y = self.mul_add(z, half, y);
        let y = self.b.ins().fadd(f, y);
        let y = self.mul_add(e, hi, y);
        let (zero, nan) = (self.constant(0.0), self.constant(f64::NAN));
        let (least, most) = (self.constant(f64::NEG_INFINITY), self.constant(f64::INFINITY));
        let m = self.compare(FloatCC::Equal, x, zero);
        let y = self.choose(m, least, y);
        let m = self.compare(FloatCC::UnorderedOrLessThan, x, zero);
        let y = self.choose(m, nan, y);
        let m = self.compare(FloatCC::Equal, x, most);
        self.choose(m, most, y)
    }

    /// `max(x, 0) + log(1 + exp(-|x|))`
    pub fn softplus(&mut self, x: Value) -> Value {
        let absolute = self.b.ins().fabs(x);
        let minus = self.b.ins().fneg(absolute);
        let u = self.exp_clamped(minus);
        // log(1 + u), corrected for the rounding of 1 + u.
        let one = self.constant(1.0);
        let w = self.b.ins().fadd(one, u);
        let l = self.log(w);
        let d = self.b.ins().fsub(w, one);
        let exact = self.compare(FloatCC::Equal, d, u);
        let none = self.constant(0.0);
        let lost = self.compare(FloatCC::Equal, d, none);
        let safe = self.choose(lost, one, d);
        let ratio = self.b.ins().fdiv(u, safe);
        let corrected = self.b.ins().fmul(l, ratio);
        let l = self.choose(exact, l, corrected);
        let l = self.choose(lost, u, l);
        let positive = self.greatest(none, x);
        self.b.ins().fadd(positive, l)
    }

    pub fn sign(&mut self, x: Value) -> Value {
        let zero = self.constant(0.0);
        let (one, minus) = (self.constant(1.0), self.constant(-1.0));
        let m = self.compare(FloatCC::GreaterThan, x, zero);
        let up = self.choose(m, one, zero);
        let m = self.compare(FloatCC::LessThan, x, zero);
        self.choose(m, minus, up)
    }

    /// `x ^ n` by repeated squaring.
    pub fn integral_power(&mut self, x: Value, n: i32) -> Value {
        let mut result: Option<Value> = None;
        let mut square = x;
        let mut left = n.unsigned_abs();
        while left > 0 {
            if left & 1 == 1 {
                result = Some(match result {
                    None => square,
                    Some(r) => self.b.ins().fmul(r, square),
                });
            }
            left >>= 1;
            if left > 0 {
                square = self.b.ins().fmul(square, square);
            }
        }
        let one = self.constant(1.0);
        match result {
            None => one,
            Some(r) if n < 0 => self.b.ins().fdiv(one, r),
            Some(r) => r,
        }
    }
}
