//! Where the time of a step goes: seconds, elements, operations and bytes of every call, and the
//! first calls one by one for a trace. Costs one test a call when it is off.

use super::bound_schedule::BoundSchedule;
use crate::exec::common::{CallSpan, ElementRange, ProfileRow};
use din_program::schedule::Work;
use std::time::Instant;

/// Calls that a thread keeps one by one: some steps of a model of usual size.
const MOST_SPANS: usize = 1 << 14;

#[derive(Clone, Copy, Debug)]
struct TimedCall {
    schedule: u32,
    phase: u32,
    call: u32,
    begin: Instant,
    end: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct CallTotals {
    calls: u64,
    elements: u64,
    nanoseconds: u64,
}

/// One thread's totals: by schedule, by phase, by call, and one more for what precedes a tile's
/// calls.
#[derive(Debug, Default)]
pub(super) struct Clock {
    cells: Option<Vec<Vec<Vec<CallTotals>>>>,
    spans: Vec<TimedCall>,
}

impl Clock {
    pub fn switch(&mut self, schedules: Option<&[BoundSchedule]>) {
        self.cells = schedules.map(|schedules| {
            let calls = |i: &BoundSchedule| {
                i.prepared.phases.iter().map(|p| vec![CallTotals::default(); p.calls.len() + 1]).collect()
            };
            schedules.iter().map(calls).collect()
        });
        self.spans = if self.cells.is_some() { Vec::with_capacity(MOST_SPANS) } else { Vec::new() };
    }

    #[inline]
    pub fn start(&self) -> Option<Instant> {
        self.cells.as_ref().map(|_| Instant::now())
    }

    #[inline]
    pub fn stop(
        &mut self,
        schedule: usize,
        phase: usize,
        call: usize,
        begin: Option<Instant>,
        range: ElementRange,
    ) -> Option<Instant> {
        let (Some(cells), Some(begin)) = (&mut self.cells, begin) else { return None };
        let now = Instant::now();
        let cell = &mut cells[schedule][phase][call];
        cell.calls += 1;
        cell.elements += (range.1 - range.0) as u64;
        cell.nanoseconds += (now - begin).as_nanos() as u64;
        if self.spans.len() < self.spans.capacity() {
            self.spans.push(TimedCall {
                schedule: schedule as u32,
                phase: phase as u32,
                call: call as u32,
                begin,
                end: now,
            });
        }
        Some(now)
    }

    /// Adds this thread's totals to `rows`, which has one for each call and each preparation, in
    /// order.
    pub fn collect(&self, rows: &mut [ProfileRow]) {
        let cells = self.cells.iter().flatten().flatten().flatten();
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.calls += cell.calls;
            row.elements += cell.elements;
            row.seconds += cell.nanoseconds as f64 * 1e-9;
        }
    }
}

/// The calls that the clocks kept, one clock per thread, by time.
pub(super) fn spans<'a>(schedules: &[BoundSchedule], clocks: impl Iterator<Item = &'a Clock>) -> Vec<CallSpan> {
    let kept: Vec<(usize, TimedCall)> =
        clocks.enumerate().flat_map(|(thread, clock)| clock.spans.iter().map(move |k| (thread, *k))).collect();
    let Some(origin) = kept.iter().map(|(_, k)| k.begin).min() else { return Vec::new() };
    let mut spans = Vec::with_capacity(kept.len());
    for (thread, k) in kept {
        let schedule = &schedules[k.schedule as usize];
        let call = schedule.prepared.phases[k.phase as usize].calls.get(k.call as usize);
        spans.push(CallSpan {
            schedule: schedule.prepared.name.clone(),
            name: call.map_or(SUMS, |c| &c.name).to_string(),
            location: call.map_or("", |c| &c.location).to_string(),
            thread,
            begin: k.begin - origin,
            length: k.end - k.begin,
        });
    }
    spans.sort_by_key(|s| s.begin);
    spans
}

/// What precedes the calls of a tile of table rows.
const SUMS: &str = "sum row gradients";

/// One empty row for each call of the schedules, in the order of the clocks' cells, with operations
/// and bytes of one element.
pub(super) fn rows(schedules: &[BoundSchedule]) -> Vec<ProfileRow> {
    let mut rows = Vec::new();
    for schedule in schedules {
        for (phase, p) in schedule.prepared.phases.iter().enumerate() {
            let row = |name: &str, location: &str, work: Work| ProfileRow {
                schedule: schedule.prepared.name.clone(),
                phase,
                name: name.to_string(),
                location: location.to_string(),
                calls: 0,
                elements: 0,
                seconds: 0.0,
                flops: work.flops,
                bytes: work.bytes,
            };
            rows.extend(p.calls.iter().map(|c| row(&c.name, &c.location, c.work)));
            rows.push(row(SUMS, "", Work::default()));
        }
    }
    rows
}
