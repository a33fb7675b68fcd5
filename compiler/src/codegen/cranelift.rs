//! One region to one Cranelift function: loops over elements and columns around the region's body.
//!
//! The function is `extern "C" fn(args: *const *mut u8, begin: u64, end: u64)`. It has no
//! relocations: constants stand behind the code, and functions of the runtime are called through
//! addresses among the arguments.

use super::math::{Arithmetic, Comparison, Repr};
use crate::elementwise::DoubleCode;
use crate::graph::UnaryOp;
use crate::plan::region::{Access, Instruction, OutputMode, Region, StridedView};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, Endianness, Function, InstBuilder, MemFlagsData, Signature, Type, UserFuncName, Value,
    types,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use din_program::TablePrecision;
use din_program::schedule::{KernelArg, MathFunction};

/// Column blocks of four that are unrolled rather than looped over.
const UNROLL: u32 = 12;

/// What a value is in the code at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueType {
    F32,
    F32X4,
    F64,
}

/// Emits arithmetic on values of one kind.
struct Math<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    value_type: ValueType,
    /// Whether fused multiply-add exists on the target level.
    fma: bool,
}

impl Math<'_, '_> {
    fn ty(&self) -> Type {
        match self.value_type {
            ValueType::F32 => types::F32,
            ValueType::F32X4 => types::F32X4,
            ValueType::F64 => types::F64,
        }
    }

    fn vector(&mut self, bits: u32, ty: Type) -> Value {
        let bytes: Vec<u8> = bits.to_le_bytes().repeat(4);
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(ty, constant)
    }

    fn cast(&mut self, ty: Type, x: Value) -> Value {
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(ty, flags, x)
    }
}

impl Arithmetic for Math<'_, '_> {
    type Value = Value;
    type Mask = Value;

    fn constant(&mut self, x: f64) -> Value {
        match self.value_type {
            ValueType::F32 => self.b.ins().f32const(x as f32),
            ValueType::F64 => self.b.ins().f64const(x),
            ValueType::F32X4 => self.vector((x as f32).to_bits(), types::F32X4),
        }
    }

    fn integer(&mut self, x: i32) -> Value {
        match self.value_type {
            ValueType::F32X4 => self.vector(x as u32, types::I32X4),
            ValueType::F32 | ValueType::F64 => self.b.ins().iconst(types::I32, i64::from(x as u32)),
        }
    }

    fn bits(&mut self, x: Value) -> Value {
        self.cast(if self.value_type == ValueType::F32X4 { types::I32X4 } else { types::I32 }, x)
    }

    fn float(&mut self, x: Value) -> Value {
        self.cast(self.ty(), x)
    }

    fn add(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().fadd(x, y)
    }

    fn subtract(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().fsub(x, y)
    }

    fn multiply(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().fmul(x, y)
    }

    fn divide(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().fdiv(x, y)
    }

    fn negate(&mut self, x: Value) -> Value {
        self.b.ins().fneg(x)
    }

    fn absolute(&mut self, x: Value) -> Value {
        self.b.ins().fabs(x)
    }

    fn sqrt(&mut self, x: Value) -> Value {
        self.b.ins().sqrt(x)
    }

    fn mul_add(&mut self, x: Value, y: Value, z: Value) -> Value {
        if self.fma {
            return self.b.ins().fma(x, y, z);
        }
        let p = self.b.ins().fmul(x, y);
        self.b.ins().fadd(p, z)
    }

    fn add_integers(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().iadd(x, y)
    }

    fn subtract_integers(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().isub(x, y)
    }

    fn and(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().band(x, y)
    }

    fn exclusive_or(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().bxor(x, y)
    }

    fn shift_left(&mut self, x: Value, by: i64) -> Value {
        self.b.ins().ishl_imm_u(x, by)
    }

    fn shift_right(&mut self, x: Value, by: i64) -> Value {
        self.b.ins().sshr_imm_u(x, by)
    }

    fn of_integers(&mut self, x: Value) -> Value {
        let ty = self.ty();
        self.b.ins().fcvt_from_sint(ty, x)
    }

    fn compare(&mut self, how: Comparison, x: Value, y: Value) -> Value {
        let cc = match how {
            Comparison::Less => FloatCC::LessThan,
            Comparison::LessEqual => FloatCC::LessThanOrEqual,
            Comparison::Equal => FloatCC::Equal,
            Comparison::NotEqual => FloatCC::NotEqual,
            Comparison::Greater => FloatCC::GreaterThan,
            Comparison::NotGreaterEqual => FloatCC::UnorderedOrLessThan,
        };
        // Without AVX, Cranelift 0.135.8 reads an operand of a vector comparison from memory as if
        // it were aligned, which traps. A sum is not in memory; adding 0 changes no comparison.
        let (x, y) = match self.value_type {
            ValueType::F32X4 if !self.fma => {
                let zero = self.constant(0.0);
                (self.b.ins().fadd(x, zero), self.b.ins().fadd(y, zero))
            }
            ValueType::F32 | ValueType::F32X4 | ValueType::F64 => (x, y),
        };
        self.b.ins().fcmp(cc, x, y)
    }

    fn choose(&mut self, mask: Value, x: Value, y: Value) -> Value {
        match self.value_type {
            ValueType::F32X4 => {
                let m = self.float(mask);
                self.b.ins().bitselect(m, x, y)
            }
            ValueType::F32 | ValueType::F64 => self.b.ins().select(mask, x, y),
        }
    }
}

struct Builder<'a, 'b> {
    b: FunctionBuilder<'b>,
    region: &'a Region,
    /// Base addresses, by argument.
    bases: Vec<Value>,
    fma: bool,
    call_conv: CallConv,
}

/// Row addresses and loaded scalars of one element.
struct Row {
    /// Address of column 0, by load instruction and by output.
    loads: Vec<Option<Value>>,
    outputs: Vec<Value>,
}

pub fn signature(call_conv: CallConv) -> Signature {
    let mut s = Signature::new(call_conv);
    s.params.extend([types::I64; 3].map(AbiParam::new));
    s
}

/// Builds the function of a region.
pub fn build(region: &Region, index: u32, isa: &dyn TargetIsa, fma: bool) -> Function {
    let call_conv = isa.default_call_conv();
    let mut function = Function::with_name_signature(UserFuncName::user(0, index), signature(call_conv));
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    let (args, begin, end) = (params[0], params[1], params[2]);
    let bases = (0..region.arguments.len())
        .map(|k| b.ins().load(types::I64, MemFlagsData::trusted().with_readonly().with_can_move(), args, 8 * k as i32))
        .collect();
    let mut builder = Builder { b, region, bases, fma, call_conv };
    if region.is_flat() && !region.uniform {
        builder.flat(begin, end);
    } else {
        builder.rows(begin, end);
    }
    builder.b.ins().return_(&[]);
    builder.b.seal_all_blocks();
    builder.b.finalize(isa.frontend_config());
    function
}

fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl<'b> Builder<'_, 'b> {
    fn math(&mut self, value_type: ValueType) -> Math<'_, 'b> {
        Math { b: &mut self.b, value_type, fma: self.fma }
    }

    /// `for at in from..to step step`; the body gets `at` and the carried values and returns the
    /// new ones.
    fn repeat(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        carried: Vec<Value>,
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let (head, inner, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let at = self.b.append_block_param(head, types::I64);
        let mut held = Vec::new();
        for &c in &carried {
            let ty = self.b.func.dfg.value_type(c);
            held.push(self.b.append_block_param(head, ty));
        }
        self.jump(head, from, &carried);
        self.b.switch_to_block(head);
        let go = self.b.ins().icmp(IntCC::UnsignedLessThan, at, to);
        self.b.ins().brif(go, inner, &[], after, &[]);
        self.b.switch_to_block(inner);
        let next = body(self, at, &held);
        let advanced = self.b.ins().iadd_imm_u(at, step);
        self.jump(head, advanced, &next);
        self.b.switch_to_block(after);
        held
    }

    fn jump(&mut self, to: Block, at: Value, values: &[Value]) {
        let mut arguments = vec![BlockArg::Value(at)];
        arguments.extend(values.iter().map(|&v| BlockArg::Value(v)));
        self.b.ins().jump(to, &arguments);
    }

    /// All arrays dense: one loop over elements times columns, by four, then by one.
    fn flat(&mut self, begin: Value, end: Value) {
        let bytes = i64::from(self.region.width) * 4;
        let from = self.b.ins().imul_imm_u(begin, bytes);
        let to = self.b.ins().imul_imm_u(end, bytes);
        let length = self.b.ins().isub(to, from);
        let whole = self.b.ins().band_imm_s(length, !15);
        let middle = self.b.ins().iadd(from, whole);
        for (value_type, start, stop, step) in [(ValueType::F32X4, from, middle, 16), (ValueType::F32, middle, to, 4)] {
            self.repeat(start, stop, step, vec![], |s, at, _| {
                let row = s.flat_row(at);
                s.body(&row, 0, value_type, &mut []);
                vec![]
            });
        }
    }

    fn flat_row(&mut self, at: Value) -> Row {
        let region = self.region;
        let address = |s: &mut Self, p: &StridedView| {
            let base = s.bases[p.argument as usize];
            if p.access == Access::Once { base } else { s.b.ins().iadd(base, at) }
        };
        let mut row = Row { loads: Vec::new(), outputs: Vec::new() };
        for i in &region.body {
            let value = if let Instruction::Load(p) = i { Some(address(self, p)) } else { None };
            row.loads.push(value);
        }
        for o in &region.outputs {
            let value = address(self, &o.place);
            row.outputs.push(value);
        }
        row
    }

    fn rows(&mut self, begin: Value, end: Value) {
        self.repeat(begin, end, 1, vec![], |s, at, _| {
            s.element(at);
            vec![]
        });
    }

    /// Address of the row of `place` for element `at`.
    fn address(&mut self, place: &StridedView, at: Value) -> Value {
        let base = self.bases[place.argument as usize];
        let row = match place.access {
            Access::Once => return base,
            Access::Row => at,
            Access::Indexed { index } => self.index(index, at),
            Access::Nested { outer, inner } => {
                let sample = self.index(inner, at);
                self.index(outer, sample)
            }
        };
        let offset = self.b.ins().imul_imm_u(row, i64::from(place.stride) * place.precision.bytes() as i64);
        self.b.ins().iadd(base, offset)
    }

    fn index(&mut self, argument: u32, at: Value) -> Value {
        let base = self.bases[argument as usize];
        let offset = self.b.ins().ishl_imm_u(at, 2);
        let address = self.b.ins().iadd(base, offset);
        self.b.ins().uload32(flags(), address, 0)
    }

    fn element(&mut self, at: Value) {
        let region = self.region;
        let mut row = Row { loads: Vec::new(), outputs: Vec::new() };
        for i in &region.body {
            let value = if let Instruction::Load(p) = i { Some(self.address(p, at)) } else { None };
            row.loads.push(value);
        }
        for o in &region.outputs {
            let value = self.address(&o.place, at);
            row.outputs.push(value);
        }
        if region.uniform {
            self.body(&row, 0, ValueType::F64, &mut []);
            return;
        }
        let blocks = region.width / 4;
        let sums = region.outputs.iter().filter(|o| o.mode == OutputMode::StoreRowSum).count();
        let mut wide: Vec<Value> = Vec::new();
        if sums > 0 && blocks > 0 {
            let zero = self.math(ValueType::F32X4).constant(0.0);
            wide = vec![zero; sums];
        }
        if blocks <= UNROLL {
            for c in 0..blocks {
                self.body(&row, 16 * c as i32, ValueType::F32X4, &mut wide);
            }
        } else {
            let from = self.b.ins().iconst(types::I64, 0);
            let to = self.b.ins().iconst(types::I64, i64::from(blocks) * 16);
            wide = self.repeat(from, to, 16, wide, |s, at, held| {
                let mut held = held.to_vec();
                let moved = s.advanced(&row, at);
                s.body(&moved, 0, ValueType::F32X4, &mut held);
                held
            });
        }
        let mut single: Vec<Value> = Vec::new();
        if sums > 0 {
            let zero = self.math(ValueType::F32).constant(0.0);
            single = vec![zero; sums];
        }
        for c in blocks * 4..region.width {
            self.body(&row, 4 * c as i32, ValueType::F32, &mut single);
        }
        self.row_sums(&row, &wide, &single);
    }

    /// The same row, `at` bytes further, where it has a column for each of the region's.
    fn advanced(&mut self, row: &Row, at: Value) -> Row {
        let region = self.region;
        let mut moved = Row { loads: Vec::new(), outputs: Vec::new() };
        for (i, address) in region.body.iter().zip(&row.loads) {
            let value = match (i, address) {
                (Instruction::Load(p), Some(a)) if p.width == region.width => {
                    let by = match p.precision {
                        TablePrecision::F32 => at,
                        TablePrecision::Bf16 => self.b.ins().ushr_imm_u(at, 1),
                    };
                    Some(self.b.ins().iadd(*a, by))
                }
                _ => *address,
            };
            moved.loads.push(value);
        }
        for (o, &address) in region.outputs.iter().zip(&row.outputs) {
            let value = if o.mode == OutputMode::StoreRowSum { address } else { self.b.ins().iadd(address, at) };
            moved.outputs.push(value);
        }
        moved
    }

    fn row_sums(&mut self, row: &Row, wide: &[Value], single: &[Value]) {
        let region = self.region;
        let outputs = region.outputs.iter().zip(&row.outputs).filter(|(o, _)| o.mode == OutputMode::StoreRowSum);
        for (k, (o, &address)) in outputs.enumerate() {
            let mut total = single[k];
            if let Some(&w) = wide.get(k) {
                let l: Vec<Value> = (0..4).map(|i| self.b.ins().extractlane(w, i)).collect();
                let a = self.b.ins().fadd(l[0], l[2]);
                let b = self.b.ins().fadd(l[1], l[3]);
                let s = self.b.ins().fadd(a, b);
                total = self.b.ins().fadd(s, total);
            }
            self.b.ins().store(flags(), total, address, 4 * o.place.column as i32);
        }
    }

    /// The region's body at the columns that start `offset` bytes into the rows; `sums` gains the
    /// row sums' terms.
    fn body(&mut self, row: &Row, offset: i32, value_type: ValueType, sums: &mut [Value]) {
        let region = self.region;
        let mut values: Vec<Repr<Value, Value>> = Vec::with_capacity(region.body.len());
        for (k, i) in region.body.iter().enumerate() {
            let value = match i {
                Instruction::Const(c) => Repr::Number(self.math(value_type).constant(*c)),
                Instruction::Load(p) => {
                    let address = row.loads[k].unwrap_or(self.bases[p.argument as usize]);
                    Repr::Number(self.load(p, address, offset, value_type))
                }
                Instruction::Unary(op, a) => {
                    let a = self.math(value_type).of_repr(values[a.0 as usize]);
                    self.unary(*op, a, value_type)
                }
                Instruction::Binary(op, a, b) => {
                    let mut math = self.math(value_type);
                    let (x, y) = (math.of_repr(values[a.0 as usize]), math.of_repr(values[b.0 as usize]));
                    let found = math.binary(*op, x, y, region.exponent(*b));
                    found.unwrap_or_else(|| Repr::Number(self.power(x, y, value_type)))
                }
                Instruction::DropoutMask { rate, of } => {
                    let mut math = self.math(value_type);
                    let of = of.map(|value| math.of_repr(values[value.0 as usize]));
                    Repr::Number(math.dropout_mask(*rate, of))
                }
                Instruction::Select(c, a, b) => {
                    let mut math = self.math(value_type);
                    let mask = math.to_mask(values[c.0 as usize]);
                    let (x, y) = (math.of_repr(values[a.0 as usize]), math.of_repr(values[b.0 as usize]));
                    Repr::Number(math.choose(mask, x, y))
                }
            };
            values.push(value);
        }
        let mut sum = 0;
        for (o, &address) in region.outputs.iter().zip(&row.outputs) {
            let value = self.math(value_type).of_repr(values[o.value.0 as usize]);
            let at = offset + 4 * o.place.column as i32;
            match o.mode {
                OutputMode::Store => self.store(value, address, at, value_type),
                OutputMode::Add | OutputMode::Max => {
                    let old = self.load_at(address, at, value_type);
                    let new = if o.mode == OutputMode::Add {
                        self.b.ins().fadd(old, value)
                    } else {
                        self.math(value_type).greatest(old, value)
                    };
                    self.store(new, address, at, value_type);
                }
                OutputMode::StoreRowSum => {
                    if value_type == ValueType::F64 {
                        self.store(value, address, at, value_type);
                    } else {
                        sums[sum] = self.b.ins().fadd(sums[sum], value);
                    }
                    sum += 1;
                }
            }
        }
    }

    fn load(&mut self, p: &StridedView, address: Value, offset: i32, value_type: ValueType) -> Value {
        let one_number = p.width != self.region.width || (p.width == 1 && p.access == Access::Once);
        let column = p.precision.bytes() as i32 * p.column as i32;
        if p.precision == TablePrecision::Bf16 {
            let at = if one_number { column } else { column + offset / 2 };
            return self.load_bf16(address, at, one_number, value_type);
        }
        if one_number && value_type == ValueType::F32X4 {
            let one = self.b.ins().load(types::F32, flags(), address, column);
            return self.b.ins().splat(types::F32X4, one);
        }
        let offset = if one_number { 0 } else { offset };
        self.load_at(address, column + offset, value_type)
    }

    /// A number in BF16, or four adjacent ones, as f32.
    fn load_bf16(&mut self, address: Value, at: i32, one_number: bool, value_type: ValueType) -> Value {
        let vector = value_type == ValueType::F32X4;
        let (ty, lower) = match vector && !one_number {
            true => (types::F32X4, self.b.ins().uload16x4(flags(), address, at)),
            false => (types::F32, self.b.ins().uload16(types::I32, flags(), address, at)),
        };
        let bits = self.b.ins().ishl_imm_u(lower, 16);
        let x = self.math(value_type).cast(ty, bits);
        match value_type {
            ValueType::F32X4 if one_number => self.b.ins().splat(types::F32X4, x),
            ValueType::F32X4 | ValueType::F32 => x,
            ValueType::F64 => self.b.ins().fpromote(types::F64, x),
        }
    }

    fn load_at(&mut self, address: Value, at: i32, value_type: ValueType) -> Value {
        match value_type {
            ValueType::F32 => self.b.ins().load(types::F32, flags(), address, at),
            ValueType::F32X4 => self.b.ins().load(types::F32X4, flags(), address, at),
            ValueType::F64 => {
                let x = self.b.ins().load(types::F32, flags(), address, at);
                self.b.ins().fpromote(types::F64, x)
            }
        }
    }

    fn store(&mut self, value: Value, address: Value, at: i32, value_type: ValueType) {
        let value = if value_type == ValueType::F64 { self.b.ins().fdemote(types::F32, value) } else { value };
        self.b.ins().store(flags(), value, address, at);
    }

    fn unary(&mut self, op: UnaryOp, x: Value, value_type: ValueType) -> Repr<Value, Value> {
        if value_type == ValueType::F64
            && let Some(v) = self.unary_double(op, x)
        {
            return Repr::Number(v);
        }
        let short = self.region.short_functions && self.fma;
        self.math(value_type).unary(op, x, short)
    }

    fn unary_double(&mut self, op: UnaryOp, x: Value) -> Option<Value> {
        Some(match op.description().double {
            DoubleCode::Inline => return None,
            DoubleCode::Call(function) => self.call(function, &[x]),
            DoubleCode::Sigmoid => {
                let minus = self.b.ins().fneg(x);
                let e = self.call(MathFunction::Exp, &[minus]);
                let one = self.b.ins().f64const(1.0);
                let d = self.b.ins().fadd(one, e);
                self.b.ins().fdiv(one, d)
            }
            DoubleCode::Softplus => {
                let absolute = self.b.ins().fabs(x);
                let minus = self.b.ins().fneg(absolute);
                let e = self.call(MathFunction::Exp, &[minus]);
                let l = self.call(MathFunction::Log1p, &[e]);
                let mut math = self.math(ValueType::F64);
                let zero = math.constant(0.0);
                let positive = math.greatest(zero, x);
                self.b.ins().fadd(positive, l)
            }
        })
    }

    fn power(&mut self, x: Value, y: Value, value_type: ValueType) -> Value {
        match value_type {
            ValueType::F64 => self.call(MathFunction::Pow, &[x, y]),
            ValueType::F32 => self.power_one(x, y),
            ValueType::F32X4 => {
                let mut result = x;
                for lane in 0..4 {
                    let (a, b) = (self.b.ins().extractlane(x, lane), self.b.ins().extractlane(y, lane));
                    let p = self.power_one(a, b);
                    result = self.b.ins().insertlane(result, p, lane);
                }
                result
            }
        }
    }

    fn power_one(&mut self, x: Value, y: Value) -> Value {
        let (x, y) = (self.b.ins().fpromote(types::F64, x), self.b.ins().fpromote(types::F64, y));
        let p = self.call(MathFunction::Pow, &[x, y]);
        self.b.ins().fdemote(types::F32, p)
    }

    fn call(&mut self, function: MathFunction, arguments: &[Value]) -> Value {
        let mut s = Signature::new(self.call_conv);
        s.params.extend(arguments.iter().map(|_| AbiParam::new(types::F64)));
        s.returns.push(AbiParam::new(types::F64));
        let sig = self.b.import_signature(s);
        let at = self.region.arguments.iter().position(|a| *a == KernelArg::Function(function));
        let at = at.expect("`Region::add_functions` adds what the code calls to the arguments");
        let inst = self.b.ins().call_indirect(sig, self.bases[at], arguments);
        self.b.inst_results(inst)[0]
    }
}
