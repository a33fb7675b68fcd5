//! What the shim finds: a good kernel passes, and five kinds of bugs seeded in it are each caught,
//! as what they are.

use din_compiler::codegen::cuda::{CodegenOptions, PRELUDE};
use din_compiler::optimize;
use din_tests::cuda::{Corpus, Device, Shim};
use din_tests::unit::{activation_case, activation_unit};

/// The absorbed activation unit with its gradients: gathers, products, sums by sample and over all,
/// partial sums, several tiles a block.
fn unit() -> Corpus {
    let mut case = activation_case(5, activation_unit(8, 16).0, 14, 9);
    optimize::train(&mut case.graph, true).unwrap();
    optimize::run(&mut case.graph, optimize::LOWER, true).unwrap();
    let options = CodegenOptions {
        threads: 64,
        chunks: 2,
        batch_tile: 4,
        sequence_tile: 16,
        sequence_samples: 4,
        recurrence_tile: 4,
        ..CodegenOptions::default()
    };
    Corpus::new(vec![case], &options).unwrap()
}

/// Where the kernels begin, behind the prelude.
fn kernels(source: &str) -> usize {
    source.find("// Phase 0").unwrap()
}

/// The source with the first `from` of its kernels become `to`.
fn mutated(source: &str, from: &str, to: &str) -> String {
    let (prelude, kernels) = source.split_at(kernels(source));
    assert!(kernels.contains(from), "no `{from}` in\n{kernels}");
    format!("{prelude}{}", kernels.replacen(from, to, 1))
}

/// What the shim says of a mutation, in whatever order threads run.
fn caught(corpus: &Corpus, source: &str, as_what: &str) {
    let device = Device::compile(source, 0).unwrap();
    for seed in 1..4 {
        match corpus.run(Shim::new(&device, seed), 0) {
            Ok(_) => panic!("nothing was said of a bug: {as_what}"),
            Err(e) => assert!(e.contains(as_what), "{e} is not `{as_what}`"),
        }
    }
}

#[test]
fn the_good_one_passes_in_any_order() {
    let corpus = unit();
    let device = Device::compile(&corpus.source, 0).unwrap();
    let first = corpus.run(Shim::new(&device, 1), 0).unwrap();
    for seed in 2..12 {
        assert_eq!(corpus.run(Shim::new(&device, seed), 0).unwrap(), first);
    }
}

/// The barriers that the compiler sets are needed, and the shim sees when one is left out.
#[test]
fn a_missing_barrier() {
    let corpus = unit();
    let device = Device::compile(&corpus.source, 0).unwrap();
    let (mut left_out, mut spare) = (0, Vec::new());
    for (k, _) in corpus.source.lines().enumerate().filter(|(_, l)| l.trim() == "din_barrier();") {
        device.skip(k + 1);
        let found = corpus.run(Shim::new(&device, k as u64 + 1), 0);
        device.skip(0);
        // Those of the prelude stand in functions that are not all called.
        let called = corpus.source.lines().take(k).any(|l| l.starts_with("// Phase 0"));
        match found {
            Ok(_) => spare.extend(called.then_some(k + 1)),
            Err(e) => {
                assert!(e.contains("race") || e.contains("unwritten"), "{e}");
                left_out += 1;
            }
        }
    }
    assert!(left_out >= 8, "{left_out} barriers");
    // Between two sums by groups of threads whose threads happen to write what they alone have
    // read; behind a product of which each thread has one number, the one that it reads.
    assert!(spare.len() <= 2, "lines {spare:?} can do without their barriers");
}

#[test]
fn a_divergent_barrier() {
    let corpus = unit();
    caught(
        &corpus,
        &mutated(&corpus.source, "din_barrier();", "if (din_thread() >= 40u) return;\ndin_barrier();"),
        "divergent barrier",
    );
    // Both sides wait, but not at the same one.
    let two = "if (din_thread() % 2u) {\ndin_barrier();\n} else {\ndin_barrier();\n}";
    caught(&corpus, &mutated(&corpus.source, "din_barrier();", two), "divergent barrier");
}

#[test]
fn an_index_out_of_bounds() {
    let corpus = unit();
    caught(&corpus, &mutated(&corpus.source, "[size_t(", "[99u + size_t("), "out of bounds");
}

#[test]
fn a_race() {
    let corpus = unit();
    // All groups of threads take the first group's rows.
    let group = corpus.source[kernels(&corpus.source)..].find(" / 8u;").unwrap() + kernels(&corpus.source);
    let mut source = corpus.source.clone();
    source.replace_range(group..group + 6, " / 64u;");
    caught(&corpus, &source, "race");
}

#[test]
fn an_unwritten_output() {
    let corpus = unit();
    // The last row of each tile is forgotten.
    caught(&corpus, &mutated(&corpus.source, "< count1; ", "+ 1u < count1; "), "unwritten");
    // A result that nothing reads afterwards.
    let at = corpus.source.rfind("] = v").unwrap();
    let line = corpus.source[..at].rfind('\n').unwrap();
    let mut source = corpus.source.clone();
    source.replace_range(line..at + source[at..].find('\n').unwrap(), "");
    caught(&corpus, &source, "not written");
}

/// A warp's operation without all of its lanes.
#[test]
fn a_divergent_warp() {
    let corpus = unit();
    let source =
        mutated(&corpus.source, "din_barrier();", "if (din_thread() % 4u == 0u) din_warp_sum(1.0f);\ndin_barrier();");
    caught(&corpus, &source, "divergent");
}

/// Lanes that meet in memory need a barrier of their warp; one that is left out, or that not all
/// lanes come to, is seen.
#[test]
fn barriers_of_a_warp() {
    let kernel = |between: &str| {
        format!(
            "{PRELUDE}
extern \"C\" DIN_KERNEL(DIN_THREADS) din_turns(DinPointers address, DinScalars batch, DinPtr<float> scratch) {{
    const DinPtr<unsigned> words = din_shared_u32();
    words[din_thread()] = din_thread();
    {between}
    const unsigned other = words[din_thread() ^ 1u];
    {between}
    words[din_thread()] = other + din_popcount(din_ballot(din_lane() < 5u));
    din_warp_barrier();
    din_pointer<unsigned>(address, 0u)[din_thread()] = words[din_thread()];
}}
"
        )
    };
    let run = |between: &str, seed: u64| {
        let device =
            Device::compile(&format!("#define DIN_THREADS 64u\n#define DIN_PRECISION 0\n{}", kernel(between)), 0)
                .unwrap();
        let mut out = vec![0u32; 64];
        device.buffer("out", &mut out, false);
        let done = device.launch("din_turns", (1, 1), 64, 256, &[out.as_ptr() as u64], &[], &mut [], seed);
        done.map(|()| out)
    };
    for seed in 1..6 {
        let expected: Vec<u32> = (0..64).map(|t| (t ^ 1) + 5).collect();
        assert_eq!(run("din_warp_barrier();", seed).unwrap(), expected);
        let error = run("", seed).unwrap_err();
        assert!(error.contains("race") || error.contains("unwritten"), "{error}");
        let error = run("if (din_thread() < 40u) din_warp_barrier();", seed).unwrap_err();
        assert!(["race", "unwritten", "divergent"].iter().any(|what| error.contains(what)), "{error}");
    }
}
