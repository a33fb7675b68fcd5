//! Which regions get vector code. What it computes, `tests/tests/backend.rs` compares with the
//! interpreter.

use super::build;
use crate::graph::{BATCH, BinaryOp, UnaryOp};
use crate::plan::region::{Access, Instruction, OutputMode, Region, RegionOutput, StridedView, ValueId};
use din_program::schedule::{AxisId, BufferId, KernelArg};
use din_program::{Isa, TablePrecision};

fn view(argument: u32, width: u32) -> StridedView {
    StridedView { argument, access: Access::Row, stride: width + 3, column: 1, width, precision: TablePrecision::F32 }
}

/// A region that reads `width` columns and writes what `body` makes of them.
fn region(width: u32, body: impl FnOnce(&mut Region, ValueId) -> Vec<ValueId>, mode: OutputMode) -> Region {
    let mut region = Region::new(BATCH, width, false);
    let input = region.argument(KernelArg::Buffer(BufferId(0)));
    let output = region.argument(KernelArg::Buffer(BufferId(1)));
    let x = region.emit(Instruction::Load(view(input, width)));
    for value in body(&mut region, x) {
        let width = if mode == OutputMode::StoreRowSum { 1 } else { width };
        region.outputs.push(RegionOutput { value, place: view(output, width), mode });
    }
    region
}

/// `count` values, each read in their order and then in the opposite one.
fn all_alive(region: &mut Region, x: ValueId, count: u32) -> Vec<ValueId> {
    let mut values = Vec::new();
    for k in 0..count {
        let c = region.emit(Instruction::Const(f64::from(k) + 2.0));
        values.push(region.emit(Instruction::Binary(BinaryOp::Multiply, x, c)));
    }
    let mut total = x;
    for &value in values.iter().chain(values.iter().rev()) {
        total = region.emit(Instruction::Binary(BinaryOp::Subtract, total, value));
    }
    vec![total]
}

fn text(region: &Region, isa: Isa) -> String {
    build(region, isa, true).expect("the region gains by vector code").text
}

#[test]
fn values_that_find_no_register_go_to_the_stack() {
    for (isa, registers) in [(Isa::V3, 16), (Isa::V4, 32)] {
        let few = region(32, |r, x| all_alive(r, x, registers / 2), OutputMode::Store);
        assert!(!text(&few, isa).contains("[rsp"), "{isa:?}");
        let many = region(32, |r, x| all_alive(r, x, 2 * registers), OutputMode::Store);
        assert!(text(&many, isa).contains("[rsp"), "{isa:?}");
    }
}

#[test]
fn sums_that_find_no_register_go_to_the_stack() {
    let sums = |r: &mut Region, x| {
        let scaled = (0..40).map(|k| {
            let c = r.emit(Instruction::Const(f64::from(k)));
            r.emit(Instruction::Binary(BinaryOp::Multiply, x, c))
        });
        scaled.collect()
    };
    let region = region(20, sums, OutputMode::StoreRowSum);
    for isa in [Isa::V3, Isa::V4] {
        assert!(text(&region, isa).contains("[rsp"), "{isa:?}");
    }
}

#[test]
fn narrow_rows_and_level_v2_are_left_to_cranelift() {
    let sigmoid = |r: &mut Region, x| vec![r.emit(Instruction::Unary(UnaryOp::Sigmoid, x))];
    for (width, isa, gains) in [
        (3, Isa::V3, false),
        (3, Isa::V4, false),
        (4, Isa::V3, true),
        (4, Isa::V4, true),
        (64, Isa::V2, false),
        (64, Isa::V3, true),
    ] {
        let found = build(&region(width, sigmoid, OutputMode::Store), isa, false);
        assert_eq!(found.is_some(), gains, "{width} {isa:?}");
    }
}

/// The second block's first operation stands before the last one of the first block.
#[test]
fn blocks_of_long_chains_take_turns() {
    let sigmoid = |r: &mut Region, x| vec![r.emit(Instruction::Unary(UnaryOp::Sigmoid, x))];
    for (isa, lanes) in [(Isa::V3, 8), (Isa::V4, 16)] {
        let text = text(&region(4 * lanes, sigmoid, OutputMode::Store), isa);
        let (load, divide) = (text.rfind("vxorps").or(text.rfind("vpxord")), text.find("vdivps"));
        assert!(load.unwrap() < divide.unwrap(), "{isa:?}: {text}");
        assert_eq!(text.matches("vdivps").count(), 4, "{isa:?}");
    }
}

/// Exponentials and sigmoids of inference take fewer operations.
#[test]
fn functions_of_inference_are_short() {
    for (op, most) in [(UnaryOp::Exp, 13), (UnaryOp::Sigmoid, 14)] {
        for (isa, lanes) in [(Isa::V3, 8), (Isa::V4, 16)] {
            let mut region = region(lanes, |r, x| vec![r.emit(Instruction::Unary(op, x))], OutputMode::Store);
            let operations = |region: &Region| {
                let text = text(region, isa);
                let arithmetic =
                    ["vmaxps", "vminps", "vfm", "vaddps", "vsubps", "vmulps", "vdivps", "vps", "vpa", "vxor", "vpx"];
                text.lines().filter(|line| arithmetic.iter().any(|name| line.contains(name))).count()
            };
            let long = operations(&region);
            region.short_functions = true;
            let short = operations(&region);
            assert!(short <= most && short + 5 <= long, "{op:?}, {isa:?}: {short} of {long}");
        }
    }
}

/// A sum that neighbouring elements share is stored when the next one begins, and at the end: not
/// by each element.
#[test]
fn shared_sums_are_kept_in_registers() {
    let index = |region: &mut Region| region.argument(KernelArg::Ancestor { of: AxisId(2), to: BATCH });
    for (isa, width, stores) in [(Isa::V3, 16, 4), (Isa::V4, 32, 4)] {
        let mut region = Region::new(AxisId(2), width, false);
        let x = region.argument(KernelArg::Buffer(BufferId(0)));
        let value = region.emit(Instruction::Load(view(x, width)));
        let (sum, index) = (region.argument(KernelArg::Buffer(BufferId(1))), index(&mut region));
        let place = StridedView {
            argument: sum,
            access: Access::Indexed { index },
            stride: width,
            column: 0,
            width,
            precision: TablePrecision::F32,
        };
        region.outputs.push(RegionOutput { value, place, mode: OutputMode::Add });
        let text = text(&region, isa);
        // Two blocks, stored where the row changes and behind the loop.
        assert_eq!(text.matches("vmovups [").count(), stores, "{isa:?}: {text}");
        let (adds, last_store) = (text.rfind("vaddps").unwrap(), text.rfind("vmovups [").unwrap());
        assert!(!text[adds..last_store].contains("jump if Equal"), "{isa:?}: {text}");
    }
}

/// Columns beyond whole vectors: half a vector needs no mask, and known numbers no masked store.
#[test]
fn ends_of_rows() {
    let sigmoid = |r: &mut Region, x| vec![r.emit(Instruction::Unary(UnaryOp::Sigmoid, x))];
    for (width, masked) in [(16, false), (20, false), (21, true), (5, true), (4, false)] {
        let text = text(&region(width, sigmoid, OutputMode::Store), Isa::V3);
        assert_eq!(text.contains("vmaskmovps ymm") || text.contains("vmaskmovps xmm"), masked, "{width}");
        assert!(!text.contains("vmaskmovps ["), "{width}");
    }
}

/// Numbers in BF16 are widened and shifted. LLVM's disassembler reads the bytes as `vpmovzxwd`, at
/// AVX-512 `{k7}{z}` at the end of a row, and `vpbroadcastw`.
#[test]
fn rows_in_bf16_are_widened() {
    let evex = |masking: u8, opcode: u8| [0x62, 0xf2, 0x7d, masking, opcode];
    for (isa, whole, end, one) in [
        (Isa::V3, vec![0xc4, 0xe2, 0x7d, 0x33], vec![0xc4, 0xe2, 0x79, 0x33], vec![0xc4, 0xe2, 0x7d, 0x79]),
        (Isa::V4, evex(0x48, 0x33).to_vec(), evex(0xcf, 0x33).to_vec(), evex(0x48, 0x79).to_vec()),
    ] {
        let width = if isa == Isa::V3 { 12 } else { 20 };
        let mut region = Region::new(BATCH, width, false);
        let index = region.argument(KernelArg::Rows { table: 0, feature: 0 });
        let load = |region: &mut Region, table: u32, width: u32| {
            let argument = region.argument(KernelArg::Table(table));
            let access = Access::Indexed { index };
            let place =
                StridedView { argument, access, stride: width, column: 0, width, precision: TablePrecision::Bf16 };
            region.emit(Instruction::Load(place))
        };
        let (row, scale) = (load(&mut region, 0, width), load(&mut region, 1, 1));
        let value = region.emit(Instruction::Binary(BinaryOp::Multiply, row, scale));
        let out = region.argument(KernelArg::Buffer(BufferId(0)));
        let place = StridedView { stride: width, column: 0, ..view(out, width) };
        region.outputs.push(RegionOutput { value, place, mode: OutputMode::Store });
        let made = build(&region, isa, true).unwrap();
        // Which registers they name is in the rest of the second byte, and behind.
        let found = |bytes: &[u8]| {
            let alike = |window: &&[u8]| {
                window.iter().zip(bytes).enumerate().all(|(k, (a, b))| if k == 1 { a & 7 == b & 7 } else { a == b })
            };
            made.bytes.windows(bytes.len()).filter(alike).count()
        };
        assert_eq!((found(&whole), found(&end)), (1, 1), "{isa:?}: {}", made.text);
        assert!(found(&one) >= 1 && made.text.contains("vpslld"), "{isa:?}: {}", made.text);
    }
}
