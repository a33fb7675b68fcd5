//! What `check` accepts compiles: through every pass, verified after each, to schedules that the
//! engine takes, to machine code and to CUDA C++. On the repository's specs, and on thousands of
//! mutations.

use din_compiler::codegen::{cuda, generate};
use din_compiler::front::{CheckOptions, check, check_library, library_sources};
use din_compiler::graph::verify;
use din_compiler::model::CheckedModel;
use din_compiler::plan::{Kernels, region::Region};
use din_compiler::{CompileError, CompileOptions, compile};
use din_program::Isa;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::jit::KernelFn;
use din_runtime::threads::Threads;
use din_tests::mutations::Mutator;
use din_tests::random_graph::Random;
use din_tests::specs::{self, Beside, shown};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A spec, and the folder that its imports are looked for in.
struct Spec {
    name: String,
    text: String,
    folder: PathBuf,
}

fn spec(path: &Path) -> Spec {
    let (name, text) = (shown(path), std::fs::read_to_string(path).unwrap());
    Spec { name, text, folder: path.parent().unwrap().to_path_buf() }
}

/// Look-ups that are only compared, behind `stop_gradient`; weights and a table whose gradient is
/// found to be 0 everywhere, which `check` does not try to find; a prediction that the loss trains
/// without its name.
const DELIBERATE: &str = "edition 2026
use std.activation.sigmoid
use std.layer.linear
use std.loss.cross_entropy
use std.metric.auc
use std.optimizer.adam
use std.regularizer.l2
model deliberate {
    features ad { item_id: category }
    sequence watched { item_id: category from hist_item_ids }
    label click: binary
    label bought: binary
    embedding item [8] for ad.item_id, watched.item_id
    embedding odd [4] for ad.item_id
    let norms = sum(item(watched.item_id))
    let many = sum(stop_gradient(select(norms > 0, 1, 0)) over watched)
    let nothing = 0 * sigmoid(linear(item(ad.item_id), 1)) + 0 * sigmoid(sum(odd(ad.item_id)))
    let logit = linear(concat(item(ad.item_id), many), 1)
    predict click ~ bernoulli(logit = logit + nothing)
    predict bought ~ bernoulli(logit = logit)
    train { loss cross_entropy(click)  optimizer adam()  regularize l2(0.1)  batch 256  epochs 1 }
    report auc(click)
}
";

/// Models that are meant to be right, then the wrong ones, and files without a model.
fn corpus() -> (Vec<Spec>, Vec<Spec>) {
    let right = ["models", "bench", "tests/models", "tests/reference/specs"];
    let shipped = right.iter().flat_map(|f| specs::inside(f)).map(|p| spec(&p));
    let (mut right, schemas): (Vec<Spec>, Vec<Spec>) = shipped.partition(|s| s.text.contains("\nmodel "));
    let units = specs::unit_texts().into_iter();
    right.extend(units.map(|(name, _, text)| Spec { name, text, folder: specs::root() }));
    let (name, text) = ("deliberate.din".to_string(), DELIBERATE.to_string());
    right.push(Spec { name, text, folder: specs::root() });
    let mut wrong: Vec<Spec> = specs::inside("tests/ui").iter().map(|p| spec(p)).chain(schemas).collect();
    let library = library_sources().iter();
    wrong.extend(library.map(|(n, t)| Spec { name: n.to_string(), text: t.to_string(), folder: specs::root() }));
    (right, wrong)
}

unsafe extern "C" fn never_called(_: *const *mut u8, _: u64, _: u64) {}

/// Compiles models; a kernel that an earlier one had is not generated again.
#[derive(Default)]
struct Compiler {
    generated: HashSet<Region>,
}

impl Compiler {
    fn compile(&mut self, model: &CheckedModel) -> Result<(), String> {
        let options = CompileOptions { levels: Vec::new(), checked: true, ..CompileOptions::default() };
        let compiled = match compile(model, &options) {
            // `check` does not ask for the file, which training needs.
            Err(CompileError::MissingVocabulary { .. }) => return Ok(()),
            compiled => compiled.map_err(|e| e.to_string())?,
        };
        let mut new = Kernels::default();
        let all = compiled.kernels;
        for ((region, name), location) in all.regions.iter().zip(&all.names).zip(&all.locations) {
            if self.generated.insert(region.clone()) {
                new.regions.push(region.clone());
                new.names.push(name.clone());
                new.locations.push(location.clone());
            }
        }
        generate(&new, Isa::V4).map_err(|e| e.to_string())?;
        let on_gpu = cuda::program(&compiled.program, &all, &cuda::CodegenOptions::default());
        on_gpu.map_err(|e| e.to_string())?;
        let program = Arc::new(compiled.program);
        let functions = vec![never_called as KernelFn; program.kernels.len()];
        // SAFETY: the engine makes no step, so it calls none of them.
        let engine = unsafe { CpuExecutor::with_kernels(program, Threads::caller(), Isa::V2, &functions) };
        engine.map(drop).map_err(|e| e.to_string())
    }

    /// Whether `check` accepts the spec; what broke, where something did.
    fn accepts(&mut self, spec: &Spec) -> Result<bool, String> {
        let all = || {
            let provider = Beside(spec.folder.clone());
            let checked = check(&spec.name, &spec.text, &provider, &CheckOptions::default());
            let errors = checked.diagnostics.iter().any(|d| d.is_error());
            if checked.model.is_none() != errors {
                return Err("a model and errors, or neither".to_string());
            }
            check_library(&spec.name, &spec.text, &provider);
            let Some(model) = checked.model else { return Ok(false) };
            for graph in [&model.train, &model.infer] {
                verify(graph).map_err(|e| e.to_string())?;
            }
            self.compile(&model).map(|()| true)
        };
        let broke = |panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(format!("panic: {}", text.unwrap_or_default()))
        };
        catch_unwind(AssertUnwindSafe(all)).unwrap_or_else(broke)
    }
}

#[test]
fn specs_that_check_accepts_compile() {
    let (right, wrong) = corpus();
    let mut compiler = Compiler::default();
    for spec in &right {
        assert_eq!(compiler.accepts(spec), Ok(true), "{}", spec.name);
    }
    for spec in &wrong {
        compiler.accepts(spec).unwrap_or_else(|e| panic!("{}: {e}", spec.name));
    }
}

#[test]
fn mutations_that_check_accepts_compile() {
    let (right, wrong) = corpus();
    let texts: Vec<&str> = right.iter().chain(&wrong).map(|s| s.text.as_str()).collect();
    let mutator = Mutator::new(texts);
    let mut compiler = Compiler::default();
    let mut failures = Vec::new();
    let mut accepted = 0;
    // So many mutations, and more until so many were accepted: few are where many specs are wrong.
    for seed in 0..4000 {
        if seed >= 2000 && accepted >= 400 {
            break;
        }
        let mut random = Random::new(seed);
        // Three of four from a spec that is right.
        let list = if random.chance(0.75) { &right } else { &wrong };
        let of = &list[random.below(list.len())];
        let text = mutator.mutate(&of.text, &mut random);
        let spec = Spec { name: of.name.clone(), text, folder: of.folder.clone() };
        match compiler.accepts(&spec) {
            Ok(taken) => accepted += usize::from(taken),
            Err(e) => failures.push(format!("seed {seed}, {}: {e}\n{}", spec.name, spec.text)),
        }
    }
    let shown: Vec<&str> = failures.iter().take(3).map(String::as_str).collect();
    assert!(failures.is_empty(), "{} fail, among them\n{}", failures.len(), shown.join("\n\n"));
    assert!(accepted >= 400, "{accepted} accepted");
}
