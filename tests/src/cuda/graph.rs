//! Bare graphs on the shim: many are planned into one source, so that the host's compiler runs once; then each runs on its inputs.

use super::schedule::{Given, root_buffer, run};
use super::{Device, Failure};
use crate::machine::schema;
use crate::random_graph::Case;
use din_compiler::codegen::CodegenError;
use din_compiler::codegen::cuda::{Options, Purpose, Unit, source};
use din_compiler::graph::{DomainId, InputKind};
use din_compiler::interpret::Sizes;
use din_compiler::plan::{self, Kernels};
use din_grammar::SourceMap;
use din_program::cuda::Cuda;
use din_program::schedule::{Axes, Domain, Place, Root, Schedule, Source};

/// Cases with their schedules and the source of all.
#[derive(Debug)]
pub struct Corpus {
    cases: Vec<Case>,
    schedules: Vec<Schedule>,
    pub source: String,
    cuda: Cuda,
}

/// Domain of each feature of a graph's inputs.
fn features(case: &Case) -> Vec<Domain> {
    let mut all = Vec::new();
    for input in &case.graph.inputs {
        if let InputKind::Ids { feature } | InputKind::Dense { feature } = input.kind {
            let feature = feature as usize;
            all.resize(all.len().max(feature + 1), Domain(1));
            all[feature] = Domain(input.domain.0);
        }
    }
    all
}

impl Corpus {
    /// Plans the cases and generates their source.
    pub fn new(cases: Vec<Case>, options: &Options) -> Result<Corpus, CodegenError> {
        let mut kernels = Kernels::default();
        let mut schedules = Vec::new();
        for (k, case) in cases.iter().enumerate() {
            let g = &case.graph;
            let name = format!("g{k}");
            let planned =
                plan::plan(g, &g.order(), &name, &plan::Options::default(), &SourceMap::default(), &mut kernels);
            schedules.push(planned.map_err(|_| CodegenError::Kernel { name, why: "the graph has a cycle".into() })?);
        }
        let widths: Vec<Vec<u32>> = cases.iter().map(|c| c.graph.tables.iter().map(|&w| w as u32).collect()).collect();
        let axes: Vec<Axes> =
            cases.iter().zip(&schedules).map(|(c, s)| Axes::new(&schema(&c.graph), &s.groups)).collect();
        let features: Vec<Vec<Domain>> = cases.iter().map(features).collect();
        let units: Vec<Unit<'_>> = schedules
            .iter()
            .enumerate()
            .map(|(k, schedule)| Unit {
                name: format!("g{k}"),
                schedule,
                purpose: Purpose::Step,
                widths: &widths[k],
                axes: &axes[k],
                features: &features[k],
            })
            .collect();
        let made = source("random graphs", &units, &kernels, options)?;
        Ok(Corpus { cases, schedules, source: made.source, cuda: made.launches })
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

    /// Values of the roots of one case, `n(domain) x width` each, in the order of `Graph::roots`.
    pub fn run(&self, device: &Device, number: usize, seed: u64) -> Result<Vec<Vec<f32>>, Failure> {
        let (case, schedule) = (&self.cases[number], &self.schedules[number]);
        device.reset();
        let known = |name: String, values: &[f64]| {
            let mut values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            device.buffer(&name, &mut values, true);
            values
        };
        let all = |name: &str, values: &[Vec<f64>]| -> Vec<Vec<f32>> {
            values.iter().enumerate().map(|(k, v)| known(format!("{name} {k}"), v)).collect()
        };
        let params = all("param", &case.values.params);
        let states = all("state", &case.values.states);
        let tables = all("table", &case.values.tables);
        let inputs = all("input", &case.inputs.numbers);
        let ones = known("ones".into(), &vec![1.0; case.inputs.batch]);
        let input = |wanted: InputKind| {
            let at = case.graph.inputs.iter().position(|i| i.kind == wanted);
            at.map_or(ones.as_ptr(), |k| inputs[k].as_ptr()).cast_mut()
        };
        let place = |place: Place| match place {
            Place::Param(k) => params[k as usize].as_ptr().cast_mut(),
            Place::State(k) => states[k as usize].as_ptr().cast_mut(),
            Place::Dense(feature) => input(InputKind::Dense { feature }),
            Place::Label(label) => input(InputKind::Label { label }),
            Place::Present(label) => input(InputKind::Present { label }),
            _ => std::ptr::null_mut(),
        };
        let mut rows = Vec::new();
        for ((table, input), numbers) in &case.inputs.rows {
            let InputKind::Ids { feature } = case.graph.inputs[input.index()].kind else { continue };
            let mut numbers: Vec<u32> = numbers.iter().map(|&n| n as u32).collect();
            device.buffer("row numbers", &mut numbers, true);
            rows.push((table.0, feature, numbers));
        }
        let sizes = Sizes::new(&case.graph, &case.inputs).map_err(|e| e.to_string())?;
        let mut of_groups = Vec::new();
        for (k, domain) in case.graph.domains.iter().enumerate() {
            let Some(group) = &domain.group else { continue };
            let firsts = sizes.firsts(DomainId(k as u32));
            let mut keys = Vec::new();
            for key in &group.keys {
                let all = &case.inputs.rows[key];
                let mut numbers: Vec<u32> = firsts.iter().map(|&i| all[i] as u32).collect();
                device.buffer("row numbers of a group", &mut numbers, true);
                keys.push(numbers);
            }
            of_groups.push(keys);
        }
        let source = |source: Source| match source {
            Source::GroupRows { group, key } => of_groups[group as usize][key as usize].as_ptr(),
            Source::Rows { table, feature } => {
                let found = rows.iter().find(|(t, f, _)| (*t, *f) == (table, feature));
                found.map_or(std::ptr::null(), |(_, _, numbers)| numbers.as_ptr())
            }
            Source::Table(t) => tables[t as usize].as_ptr().cast(),
            _ => std::ptr::null(),
        };
        let step = case.graph.inputs.iter().position(|i| i.kind == InputKind::Step);
        let given = Given {
            graph: &case.graph,
            sizes: &sizes,
            step: step.map_or(1, |k| case.inputs.numbers[k][0] as u64),
            place: &place,
            source: &source,
        };
        let launches = &self.cuda.schedules[number];
        let running = run(device, &self.cuda, launches, schedule, &given, seed)?;
        let mut results = Vec::new();
        for root in &schedule.roots {
            let id = root_buffer(root);
            let buffer = &schedule.buffers[id.index()];
            let elements = given.count(buffer.domain);
            let numbers = running.result(device, schedule, id, elements)?;
            results.push(match root {
                Root::RowGradient { view, table, .. } => {
                    let (from, width) = (view.column as usize, case.graph.tables[*table as usize]);
                    numbers.chunks(buffer.width as usize).flat_map(|r| r[from..from + width].to_vec()).collect()
                }
                _ => numbers.to_vec(),
            });
        }
        Ok(results)
    }
}
