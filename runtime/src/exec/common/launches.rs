//! Checks the CUDA form of a program, and the program's schedules with it, so that an executor on a
//! device can follow its numbers. Generated code itself is trusted, as on the CPU.

use super::CheckError;
use super::validate::{ScheduleRole, Validator};
use din_program::cuda::{Cuda, Grid, Launches, PointerArg, ScalarArg};
use din_program::schedule::{AxisId, BATCH, GLOBAL, KernelArg, Phase, Schedule, Storage};
use din_program::{Program, Update};

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Whether all that the launches and the schedules name is there.
pub fn check_launches(program: &Program, cuda: &Cuda) -> Result<(), CheckError> {
    let refused = |schedule: &str, why: String| CheckError::Schedule {
        schedule: schedule.into(),
        location: String::new(),
        why: format!("its CUDA form does not fit: {why}"),
    };
    let overall = || {
        let expected = 2 + program.updates.len();
        ensure(cuda.schedules.len() == expected, || {
            format!("it has {} schedules, the program {expected}", cuda.schedules.len())
        })?;
        let threads = cuda.threads.is_multiple_of(32) && (32..=1024).contains(&cuda.threads);
        ensure(threads && (1..1 << 16).contains(&cuda.chunks), || {
            format!("blocks of {} threads, {} chunks", cuda.threads, cuda.chunks)
        })
    };
    super::check_description(program)?;
    overall().map_err(|why| refused("train", why))?;
    let one = |schedule: &Schedule, launches: &Launches, name: &str, role: ScheduleRole<'_>| {
        let validator = Validator { program, schedule, name, role, axes: &schedule.axes };
        validator.check()?;
        of_schedule(&validator, launches).map_err(|why| refused(name, why))
    };
    one(&program.train, &cuda.schedules[0], "train", ScheduleRole::F32_STEP)?;
    one(&program.infer, &cuda.schedules[1], "infer", ScheduleRole::F32_STEP)?;
    let update = |index: u32, of: &str, rows: bool| -> Result<(&Update, &Launches, String), CheckError> {
        let name = format!("update of {of}");
        match program.updates.get(index as usize).zip(cuda.schedules.get(2 + index as usize)) {
            Some((u, launches)) if u.rows == rows => Ok((u, launches, name)),
            _ => Err(refused(&name, format!("update {index} does not serve it"))),
        }
    };
    for table in &program.tables {
        let (u, launches, name) = update(table.update, &table.name, true)?;
        one(&u.schedule, launches, &name, ScheduleRole::Rows { width: table.width, slots: &u.slots })?;
        let known = table.features.iter().all(|&f| (f as usize) < program.schema.features.len());
        ensure(known, || "it serves a feature that does not exist".into()).map_err(|why| refused(&name, why))?;
    }
    for parameter in &program.parameters {
        let (u, launches, name) = update(parameter.update, &parameter.name, false)?;
        one(&u.schedule, launches, &name, ScheduleRole::Tensor { slots: &u.slots })?;
    }
    for (k, &index) in program.squared_norms.iter().enumerate() {
        let table = program.tables.get(k);
        let (u, launches, name) = update(index, "squared norms", table.is_some())?;
        let role = match table {
            Some(table) => ScheduleRole::Rows { width: table.width, slots: &u.slots },
            None => ScheduleRole::Tensor { slots: &u.slots },
        };
        one(&u.schedule, launches, &name, role)?;
    }
    Ok(())
}

fn of_schedule(validator: &Validator<'_>, launches: &Launches) -> Result<(), String> {
    let schedule = validator.schedule;
    // Stands for the phase of an address, which no phase owns.
    let phase = Phase::new(BATCH, 1);
    let tiling = |t: u32, cut: bool| match launches.tilings.get(t as usize) {
        Some(tiling) if !cut || tiling.entries > 0 => Ok(()),
        _ => Err(format!("tiling {t} of {}", launches.tilings.len())),
    };
    // What lies under samples or requests.
    let under = |d: AxisId| {
        validator.axis(d)?;
        let listed = d == BATCH && validator.axes.request().is_some() || validator.axes.unique(d).is_some();
        if listed { Ok(()) } else { validator.sequence(d) }
    };
    for t in &launches.tilings {
        validator.axis(t.axis)?;
        ensure(t.samples > 0 || t.axis == GLOBAL, || format!("tiles of {t:?}"))?;
        if t.entries > 0 {
            validator.sequence(t.axis)?;
        }
        if validator.axes.steps_of(t.axis).is_some() {
            // The entries have one order.
            let alike = launches.tilings.iter().all(|other| other.axis != t.axis || other == t);
            ensure(alike && t.entries == 0, || format!("tiles of steps, {t:?}"))?;
        }
    }
    let steps = |d: AxisId| {
        validator.axis(d)?;
        ensure(launches.tilings.iter().any(|t| t.axis == d), || format!("tiles of axis {}", d.0))?;
        ensure(validator.axes.steps_of(d).is_some(), || format!("steps of axis {}", d.0))
    };
    for address in &launches.pointers {
        match *address {
            PointerArg::Buffer(id) => {
                let b = validator.buffer(id)?;
                ensure(!matches!(b.place, Storage::Tile(_) | Storage::Partial), || {
                    format!("an address of buffer {} ({:?})", id.0, b.place)
                })?;
            }
            PointerArg::Argument(source @ (KernelArg::Buffer(_) | KernelArg::Function(_))) => {
                return Err(format!("an address of {source:?}"));
            }
            PointerArg::Argument(source) => validator.source(&phase, source)?,
            PointerArg::Offsets(d) => under(d)?,
            PointerArg::Members(d) => {
                validator.axis(d)?;
                ensure(validator.axes.unique(d).is_some(), || format!("members of axis {}", d.0))?;
            }
            PointerArg::Tiles(t) => tiling(t, true)?,
            PointerArg::Steps(d) | PointerArg::StepTiles(d) => steps(d)?,
            PointerArg::Partials => {}
        }
    }
    for word in &launches.scalars {
        match *word {
            ScalarArg::Elements(d) => validator.axis(d)?,
            ScalarArg::Tiles(t) => tiling(t, true)?,
            ScalarArg::Longest(t) => {
                tiling(t, false)?;
                let axis = launches.tilings[t as usize].axis;
                if validator.axes.steps_of(axis).is_none() {
                    tiling(t, true)?;
                }
            }
        }
    }
    for launch in &launches.launches {
        ensure((launch.phase as usize) < schedule.phases.len(), || format!("phase {}", launch.phase))?;
        match launch.grid {
            Grid::Tiles { tiling: t } => tiling(t, false)?,
            Grid::Blocks(blocks) => ensure(blocks > 0, || format!("{} has no blocks", launch.kernel))?,
        }
    }
    Ok(())
}
