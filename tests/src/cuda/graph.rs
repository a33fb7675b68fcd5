//! Bare graphs on a device: many are planned into one source, so that it is compiled once; then
//! each runs by the runtime's engine on its inputs.

use super::Failure;
use crate::machine::{CaseInputs, around, result, scheduled};
use crate::primitives::PRIMITIVES;
use crate::random_graph::{self, Case, case};
use din_compiler::codegen::CodegenError;
use din_compiler::codegen::cuda::{CodegenOptions, SchedulePurpose, ScheduleUnit, source};
use din_compiler::graph::Root;
use din_compiler::optimize::{self, Thresholds};
use din_compiler::plan::Kernels;
use din_program::Program;
use din_program::cuda::{Cuda, Launches};
use din_program::schedule::AxisId;
use din_runtime::exec::cuda::{CudaExecutor, Driver};
use std::sync::Arc;

/// Cases with their programs and the source of all.
#[derive(Debug)]
pub struct Corpus {
    cases: Vec<Case>,
    programs: Vec<(Arc<Program>, Arc<Cuda>)>,
    pub source: String,
}

/// Launches of a schedule that does nothing.
fn nothing() -> Launches {
    let name = "nothing".into();
    Launches { name, pointers: vec![], scalars: vec![], tilings: vec![], partial_floats: 0, launches: vec![] }
}

impl Corpus {
    /// Plans the cases and generates their source.
    pub fn new(cases: Vec<Case>, options: &CodegenOptions) -> Result<Corpus, CodegenError> {
        let mut kernels = Kernels::default();
        let mut programs = Vec::new();
        for (k, case) in cases.iter().enumerate() {
            programs.push(around(case, scheduled(&case.graph, &format!("g{k}"), &mut kernels)));
        }
        programs.iter_mut().for_each(|p| p.kernels = kernels.described());
        let widths: Vec<Vec<u32>> = programs.iter().map(|p| p.tables.iter().map(|t| t.width).collect()).collect();
        let of_features = |p: &Program| {
            let axis = |f| p.train.axes.feature(f).expect("the schema is the graph's");
            p.schema.features.iter().map(axis).collect()
        };
        let features: Vec<Vec<AxisId>> = programs.iter().map(of_features).collect();
        let units: Vec<ScheduleUnit<'_>> = programs
            .iter()
            .enumerate()
            .map(|(k, program)| ScheduleUnit {
                name: format!("g{k}"),
                schedule: &program.train,
                purpose: SchedulePurpose::Step,
                widths: &widths[k],
                axes: &program.train.axes,
                features: &features[k],
            })
            .collect();
        let made = source("random graphs", &units, &kernels, options)?;
        let forms = made.launches.schedules.iter().map(|of_case| Cuda {
            schedules: vec![of_case.clone(), nothing(), nothing(), nothing()],
            ..made.launches.clone()
        });
        let forms: Vec<Cuda> = forms.collect();
        let programs = programs.into_iter().zip(forms).map(|(p, c)| (Arc::new(p), Arc::new(c))).collect();
        Ok(Corpus { cases, programs, source: made.source })
    }

    pub fn len(&self) -> usize {
        self.cases.len()
    }

    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    pub fn case(&self, number: usize) -> &Case {
        &self.cases[number]
    }

    /// Values of the roots of one case, `n(axis) x width` each, in the order of `Graph::roots`.
    pub fn run(&self, driver: impl Driver, number: usize) -> Result<Vec<Vec<f32>>, Failure> {
        let (program, cuda) = &self.programs[number];
        let mut given = CaseInputs::new(&self.cases[number], program).map_err(|e| e.to_string())?;
        let mut engine = CudaExecutor::new(program.clone(), cuda.clone(), driver).map_err(|e| e.to_string())?;
        engine.upload(&given.state, &given.tables).map_err(|e| e.to_string())?;
        let mut tables = std::mem::take(&mut given.tables);
        let found = engine.gradients(&mut tables, &given.inputs()).map_err(|e| e.to_string())?;
        Ok(program.train.roots.iter().zip(&found).map(|(root, numbers)| result(program, root, numbers)).collect())
    }
}

/// The case of a seed; every second with all that may be grouped on groups, every third with all
/// nodes as roots, every third differentiated.
pub fn varied(seed: u64, widest: usize, draws: usize) -> Case {
    let focus = PRIMITIVES[seed as usize % PRIMITIVES.len()];
    let mut c = case(seed, &random_graph::Options { draws, focus: Some(focus), widest });
    if seed.is_multiple_of(2) {
        optimize::deduplicate(&mut c.graph, Thresholds { least: 0.0, least_each: 0.0 });
    }
    match seed % 3 {
        1 => {
            for (k, node) in c.graph.order().into_iter().enumerate() {
                c.graph.roots.push(Root::Named { name: format!("n{k}"), node });
            }
        }
        2 => {
            let mut differentiated = c.graph.clone();
            if optimize::train(&mut differentiated, true).is_ok() {
                c.graph = differentiated;
            }
        }
        _ => {}
    }
    c
}
