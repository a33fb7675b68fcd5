//! Fragments of tensor cores as NVIDIA's CuTe lays them out
//! (`tests/reference/fixtures/mma_layouts.json`): what products load, what the shim's tensor core
//! makes of it, and what of that is stored. So the shim and the kernels cannot be wrong in the same
//! way.

use din_compiler::codegen::cuda::PRELUDE;
use din_tests::cuda::Device;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// The row and column of an operand's elements, by lane and value.
type Elements = Vec<Vec<[usize; 2]>>;

#[derive(Deserialize)]
struct Layout {
    instruction: String,
    shape: [usize; 3],
    a: Elements,
    b: Elements,
    c: Elements,
}

fn layout(name: &str) -> Layout {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/fixtures/mma_layouts.json");
    let mut all: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    serde_json::from_value(all[name].take()).unwrap()
}

/// One product of the instruction's size, of 16 x `depth` and `depth` x 8 numbers, that keeps what
/// each lane hands to its tensor core and gets back: registers of A, then of B, then the sums.
fn source(precision: usize, name: &str, kind: &str, depth: usize) -> String {
    format!(
        "#define DIN_THREADS 32u
#define DIN_PRECISION {precision}
#undef din_mma_{name}
#define din_mma_{name}(c, a, b) (din_mma_at(shim::Kind::{kind}, c, a, b, __LINE__), keep(c, a, b))
static unsigned kept[32][10];
static void keep(const float* c, const unsigned* a, const unsigned* b) {{
    unsigned* to = kept[din_thread()];
    std::memcpy(to, a, 16), std::memcpy(to + 4, b, 8), std::memcpy(to + 6, c, 16);
}}
{PRELUDE}
extern \"C\" DIN_KERNEL(DIN_THREADS) din_one(DinPointers address, DinScalars batch, DinPtr<float> scratch) {{
    const DinRows<{depth}u, 1u> a = {{din_pointer<const float>(address, 0u)}};
    const DinMatrix<8u, 1u> b = {{din_pointer<const float>(address, 1u)}};
    const DinStore<8u, 1u> c = {{din_pointer<float>(address, 2u)}};
    din_product_mma<8u, 1u, 1u>(16u, {depth}u, a, b, c);
    for (unsigned e = 0u; e < 10u; ++e) din_pointer<unsigned>(address, 3u)[din_thread() * 10u + e] = kept[din_thread()][e];
}}
"
    )
}

/// The numbers in a lane's registers: one each in TF32, two in BF16, the first in the low half.
fn values(registers: &[u32], precision: usize) -> Vec<f32> {
    let both = |&r: &u32| [f32::from_bits(r << 16), f32::from_bits(r & 0xffff_0000)];
    match precision {
        1 => registers.iter().map(|&r| f32::from_bits(r)).collect(),
        _ => registers.iter().flat_map(both).collect(),
    }
}

#[test]
fn fragments_are_those_of_the_instruction() {
    for (precision, name, kind) in [(1, "tf32", "Tf32"), (2, "bf16", "Bf16")] {
        let layout = layout(name);
        let [m, n, depth] = layout.shape;
        assert_eq!((m, n), (16, 8));
        assert!(PRELUDE.contains(&format!("\"{} {{%0, %1, %2, %3}}, {{%4, ", layout.instruction)), "{name}");
        // Whole numbers that are exact in both, different for each element of a matrix; so are the
        // sums.
        let mut a: Vec<f32> = (0..m * depth).map(|i| (i * 77 % 256) as f32).collect();
        let mut b: Vec<f32> = (0..depth * n).map(|i| (i * 53 % 128) as f32).collect();
        let product = |at: usize| (0..depth).map(|k| a[at / n * depth + k] * b[k * n + at % n]).sum();
        let expected: Vec<f32> = (0..m * n).map(product).collect();

        let device = Device::compile(&source(precision, name, kind, depth), 0).unwrap();
        let (mut c, mut kept) = (vec![0f32; m * n], vec![0u32; 320]);
        device.buffer("a", &mut a, true);
        device.buffer("b", &mut b, true);
        device.buffer("c", &mut c, false);
        device.buffer("kept", &mut kept, false);
        let address = [a.as_ptr() as u64, b.as_ptr() as u64, c.as_ptr() as u64, kept.as_ptr() as u64];
        device.launch("din_one", (1, 1), 32, 0, &address, &[], &mut [], 1).unwrap();

        let of = |elements: &[[usize; 2]], matrix: &[f32], columns: usize| -> Vec<f32> {
            elements.iter().map(|[row, column]| matrix[row * columns + column]).collect()
        };
        for (lane, held) in kept.chunks(10).enumerate() {
            assert_eq!(values(&held[..4], precision), of(&layout.a[lane], &a, depth), "{name}, A of lane {lane}");
            assert_eq!(values(&held[4..6], precision), of(&layout.b[lane], &b, n), "{name}, B of lane {lane}");
            assert_eq!(values(&held[6..], 1), of(&layout.c[lane], &expected, n), "{name}, the sums of lane {lane}");
        }
        assert_eq!(c, expected, "{name}");
    }
}
