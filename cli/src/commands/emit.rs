//! `din emit`: what a stage of the compiler makes of a spec, as text.

use crate::args::{EmitArgs, Stage};
use crate::compile::{compile, compile_observed};
use crate::failure::{Failure, Outcome, USER_ERROR};
use crate::sources;
use crate::terminal::Console;
use din_compiler::codegen;
use din_compiler::graph::Graph;
use din_grammar::SourceMap;
use din_program::schedule::{Operation, Schedule};
use din_program::{Code, Program};
use din_runtime::exec::cuda::{CudaImage, CudaTarget, Nvrtc};
use din_runtime::fs::AtomicFile;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::time::Duration;

pub fn emit(console: &Console, args: &EmitArgs) -> Outcome {
    if args.print_after.is_some() || args.timings {
        return passes(console, args);
    }
    match args.stage {
        Stage::Ast => {
            let text = sources::read(&args.spec.model)?;
            let mut map = SourceMap::default();
            let file = map.add(args.spec.model.display().to_string(), text.as_str());
            match din_grammar::parse(&text, file) {
                Ok(tree) => console.result(format!("{tree:#?}")),
                Err(diagnostics) => {
                    console.diagnostics(&diagnostics, &map);
                    console.more_about(&diagnostics);
                    return Err(Failure::reported(USER_ERROR));
                }
            }
        }
        Stage::Graph => {
            let model = sources::checked(console, &args.spec.model, &args.spec.sets)?;
            section(console, "train", &dump(&model.train));
            section(console, "infer", &dump(&model.infer));
            for update in &model.updates {
                section(console, &format!("update {}", update.name), &dump(&update.graph));
            }
        }
        Stage::Optimized => {
            let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
            section(console, "train", &dump(&compiled.train));
            section(console, "infer", &dump(&compiled.infer));
            for (update, graph) in compiled.program.updates.iter().zip(&compiled.updates) {
                section(console, &format!("update {}", update.name), &dump(graph));
            }
        }
        Stage::Schedule => {
            let program = compile(console, &args.spec.model, &args.spec.sets)?.program;
            section(console, "train", &schedule(&program, &program.train));
            section(console, "infer", &schedule(&program, &program.infer));
            section(console, "infer on tables in BF16", &schedule(&program, &program.infer_bf16));
            for update in &program.updates {
                section(console, &format!("update {}", update.name), &schedule(&program, &update.schedule));
            }
        }
        Stage::Clif => {
            let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
            let kernels = &compiled.kernels;
            for (k, (region, name)) in kernels.regions.iter().zip(&kernels.names).enumerate() {
                let text = codegen::clif(region, k as u32, args.isa.into()).map_err(machine)?;
                section(console, name, &text);
            }
        }
        Stage::Asm => {
            let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
            let isa = args.isa.into();
            console.result(codegen::assembly(&compiled.kernels, isa).map_err(machine)?);
            if let Some(code) = compiled.program.code.iter().find(|code| code.isa == isa) {
                section(console, "code as an executable holds it", &hexadecimal(&compiled.program, code));
            }
        }
        Stage::Cuda => {
            console.result(cuda(console, args)?);
        }
        Stage::Ptx => {
            let source = cuda(console, args)?;
            let image = compile_cuda(&source, args, CudaTarget::Ptx(args.arch))?;
            console.result(String::from_utf8_lossy(&image.code));
        }
        Stage::Sass => {
            let source = cuda(console, args)?;
            let image = compile_cuda(&source, args, CudaTarget::Cubin(args.arch))?;
            console.result(disassemble(&image.code)?);
        }
    }
    Ok(())
}

/// What the passes do to each graph, and how long they take.
fn passes(console: &Console, args: &EmitArgs) -> Outcome {
    let model = sources::checked(console, &args.spec.model, &args.spec.sets)?;
    let mut graphs = vec![("train".to_string(), model.train.text()), ("infer".to_string(), model.infer.text())];
    graphs.extend(model.updates.iter().map(|update| (update.name.clone(), update.graph.text())));
    // By graph, the text after the last pass.
    let mut last: BTreeMap<String, String> = graphs.into_iter().collect();
    let mut runs: Vec<(String, &str, Duration, usize)> = Vec::new();
    compile_observed(&model, &mut |run| {
        runs.push((run.graph_name.to_string(), run.pass, run.elapsed, run.graph.len()));
        let text = run.graph.text();
        let wanted = args.print_after.as_deref().is_some_and(|pass| pass == run.pass || pass == "all");
        let before = last.insert(run.graph_name.to_string(), text.clone());
        if wanted && before.as_ref() != Some(&text) {
            section(console, &format!("{} after {}", run.graph_name, run.pass), &text);
        }
    })?;
    if args.timings {
        let mut table = format!("{:>10}  {:>7}  {:<16} graph\n", "ms", "nodes", "pass");
        for (graph, pass, elapsed, nodes) in &runs {
            let ms = 1e3 * elapsed.as_secs_f64();
            table.push_str(&format!("{ms:>10.3}  {nodes:>7}  {pass:<16} {graph}\n"));
        }
        let total: Duration = runs.iter().map(|run| run.2).sum();
        table.push_str(&format!("{:>10.3}  in all\n", 1e3 * total.as_secs_f64()));
        console.result(table);
    }
    Ok(())
}

fn cuda(console: &Console, args: &EmitArgs) -> Result<String, Failure> {
    let compiled = compile(console, &args.spec.model, &args.spec.sets)?;
    let options = codegen::cuda::CodegenOptions { precision: args.precision.into(), ..Default::default() };
    let made = codegen::cuda::program(&compiled.program, &compiled.kernels, &options).map_err(machine)?;
    Ok(made.source)
}

fn compile_cuda(source: &str, args: &EmitArgs, target: CudaTarget) -> Result<CudaImage, Failure> {
    let name = args.spec.model.file_stem().map_or("model".into(), |s| s.to_string_lossy());
    let compiled = Nvrtc::load().and_then(|nvrtc| nvrtc.compile(source, &format!("{name}.cu"), target));
    compiled.map_err(|e| Failure::system_error(e.to_string()))
}

/// The listing of a CUBIN by a disassembler of the CUDA toolkit.
fn disassemble(cubin: &[u8]) -> Result<String, Failure> {
    // Never committed, so that it goes when it is dropped.
    let mut file = AtomicFile::create(&std::env::temp_dir().join("din.cubin"))?;
    let written = file.file().write_all(cubin);
    written.map_err(|e| din_runtime::Error::file("write", file.temporary(), &e))?;
    let mut listing = None;
    for (program, options) in [("nvdisasm", &[][..]), ("cuobjdump", &["-sass"][..])] {
        let ran = std::process::Command::new(program).args(options).arg(file.temporary()).output();
        if let Some(output) = ran.ok().filter(|o| o.status.success()) {
            listing = Some(String::from_utf8_lossy(&output.stdout).into_owned());
            break;
        }
    }
    listing.ok_or_else(|| {
        Failure::system_error(
            "neither nvdisasm nor cuobjdump runs here\n  help: install the CUDA toolkit's binary utilities, or use `--stage ptx`",
        )
    })
}

fn machine(error: codegen::CodegenError) -> Failure {
    Failure::system_error(error.to_string())
}

fn section(console: &Console, title: &str, text: &str) {
    console.result(format!("# {title}\n{}\n", text.trim_end()));
}

fn dump(graph: &Graph) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for id in graph.order() {
        let node = graph.node(id);
        let axis = &graph.axis(node.axis).name;
        let operands: Vec<String> = node.operands.iter().map(|o| format!("%{}", o.index())).collect();
        let _ = writeln!(text, "%{}: {axis} {:?} = {:?} {}", id.index(), node.shape.0, node.op, operands.join(", "));
    }
    for root in &graph.roots {
        let _ = writeln!(text, "{root:?}");
    }
    text
}

/// The bytes of a blob, each kernel's under its name.
fn hexadecimal(program: &Program, code: &Code) -> String {
    let mut text = String::new();
    let starts = code.entries.iter().map(|&at| at as usize);
    let ends = starts.clone().skip(1).chain([code.bytes.len()]);
    for ((kernel, start), end) in program.kernels.iter().zip(starts).zip(ends) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "; {}", kernel.name);
        for (k, line) in code.bytes.get(start..end).unwrap_or_default().chunks(32).enumerate() {
            let bytes: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
            let _ = writeln!(text, "{:08x}: {}", start + 32 * k, bytes.join(" "));
        }
    }
    text
}

/// A line for each buffer, phase and call.
fn schedule(program: &Program, schedule: &Schedule) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (k, buffer) in schedule.buffers.iter().enumerate() {
        let _ = writeln!(text, "b{k} = {:?} x {} in {:?}", buffer.axis, buffer.width, buffer.place);
    }
    for (k, phase) in schedule.phases.iter().enumerate() {
        let _ = writeln!(text, "phase {k} over {:?}, tiles of {}", phase.axis, phase.tile_rows);
        for call in &phase.calls {
            let what = match &call.op {
                Operation::Kernel { kernel, args } => {
                    let name = program.kernels.get(kernel.index()).map_or("?", |k| k.name.as_str());
                    format!("{name} {args:?}")
                }
                other => format!("{other:?}"),
            };
            let _ = writeln!(text, "  {:?}: {what}  // {}", call.axis, call.location);
        }
        for reduction in &phase.reductions {
            let _ = writeln!(text, "  join {reduction:?}");
        }
    }
    for root in &schedule.roots {
        let _ = writeln!(text, "{root:?}");
    }
    text
}
