//! A plan as text or as JSON.

use crate::args::PlannedDevice;
use din_runtime::placement::{Plan, RateSource, Rates, TablePlan, Traffic, shown_bytes};
use din_runtime::table::Placement;
use indicatif::HumanCount;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// What nobody said and no log showed.
#[derive(Debug, Default, Serialize)]
pub struct Assumptions {
    /// Ids of tables.
    pub rows: BTreeMap<String, u64>,
    /// Exponent of Zipf's law, where a table's ids are expected to follow it.
    pub zipf: Option<f64>,
    /// Entries of sequences.
    pub lengths: BTreeMap<String, f64>,
    /// Samples per request.
    pub candidates: Option<f64>,
}

/// What is printed.
#[derive(Debug, Serialize)]
pub struct PlanReport<'a> {
    pub model: &'a str,
    #[serde(serialize_with = "device_name")]
    pub device: PlannedDevice,
    /// Of a rank.
    pub threads: u32,
    pub assumptions: Assumptions,
    #[serde(flatten)]
    pub plan: Plan,
}

fn device_name<S: Serializer>(device: &PlannedDevice, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match device {
        PlannedDevice::Cpu => "cpu",
        PlannedDevice::H100 => "h100",
        PlannedDevice::H200 => "h200",
    })
}

/// `1,234`, or `1.2` where that says more.
fn shown_count(count: f64) -> String {
    if count < 10.0 && (count - count.round()).abs() > 0.05 {
        return format!("{count:.1}");
    }
    HumanCount(count.round() as u64).to_string()
}

/// `1.23 ms`
fn shown_time(seconds: f64) -> String {
    let (scaled, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (1e3 * s, "ms"),
        s => (1e6 * s, "us"),
    };
    let digits = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.digits$} {unit}")
}

fn plural(count: u64, one: &str) -> String {
    format!("{} {one}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

fn leaves(count: usize) -> String {
    if count == 1 { "one leaf".into() } else { format!("{count} leaves") }
}

impl fmt::Display for PlanReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.memory(f)?;
        self.traffic(f)?;
        self.time(f)
    }
}

impl PlanReport<'_> {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        let each = match self.device {
            PlannedDevice::Cpu => plural(u64::from(self.threads), "thread"),
            PlannedDevice::H100 => "one H100".into(),
            PlannedDevice::H200 => "one H200".into(),
        };
        writeln!(
            f,
            "model {} on {} of {each}: batch {} in {}, {} samples per rank",
            self.model,
            plural(plan.ranks as u64, "rank"),
            HumanCount(u64::from(plan.batch)),
            leaves(plan.leaves),
            shown_count(plan.samples)
        )?;
        writeln!(
            f,
            "rates: {}",
            match plan.rates.source {
                RateSource::Default => "of another machine; --measure times the model on this one",
                RateSource::Published => "published peaks, not measured: a step takes longer",
                RateSource::Measured => "measured on this machine",
                RateSource::Given => unreachable!("only communication has rates that are given"),
            }
        )?;
        if plan.ranks > 1 {
            let Rates { bandwidth, latency, message, communication, .. } = &plan.rates;
            writeln!(
                f,
                "communication: {}/s, latency {}, {} per message{}",
                shown_bytes(*bandwidth),
                shown_time(*latency),
                shown_time(*message),
                match communication {
                    RateSource::Default => ", not measured; `mpirun -n N din plan --measure` measures it",
                    RateSource::Published => ", not measured",
                    RateSource::Measured => ", measured",
                    RateSource::Given => ", as given",
                }
            )?;
        }
        let mut assumed = Vec::new();
        let Assumptions { rows, zipf, lengths, candidates } = &self.assumptions;
        assumed.extend(rows.iter().map(|(name, rows)| format!("{name} has {} ids", HumanCount(*rows))));
        assumed.extend(zipf.map(|s| format!("ids follow Zipf's law with exponent {s}")));
        assumed.extend(lengths.iter().map(|(name, length)| format!("lists of {name} have {length} entries")));
        assumed.extend(candidates.map(|count| format!("a request has {count} samples")));
        if !assumed.is_empty() {
            writeln!(f, "assumed: {}", assumed.join("; "))?;
        }
        if plan.idle_ranks > 0 {
            writeln!(
                f,
                "{} of {} ranks have no samples: the batch has {} only; a larger --batch gives each rank one",
                plan.idle_ranks,
                plan.ranks,
                leaves(plan.leaves)
            )?;
        }
        Ok(())
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = &self.plan.memory;
        writeln!(f, "\nmemory per rank")?;
        for table in &self.plan.tables {
            let held = &table.memory;
            let state = held.state.iter().map(|(name, bytes)| (name.as_str(), *bytes));
            let parts = [("weights", held.weights)].into_iter().chain(state).chain([
                ("frequency", held.frequency),
                ("updates", held.updates),
                ("index", held.index),
            ]);
            let parts: Vec<String> = parts
                .filter(|(_, bytes)| *bytes > 0)
                .map(|(name, bytes)| format!("{name} {}", shown_bytes(bytes as f64)))
                .collect();
            writeln!(
                f,
                "  {:<24} {:>10}  {:<10} {:>18}: {}",
                format!("{} [{}]", table.name, table.width),
                shown_bytes(held.total as f64),
                place(table),
                plural(held.rows, "row"),
                parts.join(", ")
            )?;
        }
        let mut line = |name: &str, bytes: u64, what: &str| {
            writeln!(f, "{}", format!("  {name:<24} {:>10}  {what}", shown_bytes(bytes as f64)).trim_end())
        };
        line("dense part", memory.dense, "parameters, their optimizer's state, states")?;
        line("step", memory.step, "buffers, occurrences of ids, fetched rows, messages")?;
        line("reading", memory.reading, "windows and batches of data")?;
        line("process", memory.process, "the executable, the library for MPI")?;
        line("in training", memory.training, "all of these")?;
        line("for a moment", memory.transient, "while an index is doubled or a checkpoint is written")?;
        line("at most", memory.total, "")?;
        if let Some(device) = memory.device {
            let what = if self.plan.ranks == 1 { "rows of tables, dense part, step" } else { "dense part, step" };
            line("of it on the GPU", device, what)?;
        }
        if let Some(available) = memory.available {
            line("there is", available, "")?;
        }
        Ok(())
    }

    fn traffic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traffic = &self.plan.traffic;
        writeln!(f, "\nids and bytes per rank and step")?;
        let head = ["table", "ids", "distinct", "in the batch", "sent", "received"].map(String::from);
        let rows = self.plan.tables.iter().map(|table| {
            let sum = table.traffic.total();
            [
                table.name.clone(),
                shown_count(table.entries),
                shown_count(table.distinct),
                shown_count(table.distinct_of_batch),
                shown_bytes(sum.sent),
                shown_bytes(sum.received),
            ]
        });
        for [name, entries, distinct, of_batch, sent, received] in std::iter::once(head).chain(rows) {
            write!(f, "  {name:<24} {entries:>12} {distinct:>12} {of_batch:>14}")?;
            match self.plan.ranks {
                1 => writeln!(f)?,
                _ => writeln!(f, " {sent:>11} {received:>11}")?,
            }
        }
        if self.plan.ranks == 1 {
            return Ok(());
        }
        let mut line = |name: &str, sum: &Traffic| {
            writeln!(f, "  {name:<65} {:>11} {:>11}", shown_bytes(sum.sent), shown_bytes(sum.received))
        };
        line("reductions, in blocks", &traffic.blocks)?;
        line("reductions, gathered", &traffic.gathered)?;
        line("samples", &traffic.samples)?;
        line("together", &traffic.total)?;
        let tables = &traffic.tables;
        let parts = [("ids", tables.ids), ("rows", tables.rows), ("row gradients", tables.gradients)];
        let parts = parts.map(|(name, sum)| format!("{name} {}", shown_bytes(sum.sent)));
        writeln!(f, "  sent for tables: {}", parts.join(", "))
    }

    fn time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, work) = (&self.plan.time, &self.plan.work);
        writeln!(f, "\ntime per step")?;
        let what = |part: &str| match part {
            "lookup" => format!("{} ids", shown_count(work.ids)),
            "compute" => {
                let flops = work.product_flops / 1e9;
                format!("{flops:.2} GFLOP of products, {} of other values", shown_bytes(work.value_bytes))
            }
            "all-to-all" => plural(u64::from(self.plan.traffic.exchanges), "operation"),
            "gather" => plural(u64::from(self.plan.traffic.gathers), "operation"),
            "reading" => "by threads that share the cores of the step's".into(),
            "update" => {
                let bytes = shown_bytes(work.row_bytes + work.host_row_bytes);
                format!("{bytes} of rows, gradients and optimizer state")
            }
            other => unreachable!("a step has no part `{other}`"),
        };
        for (part, seconds) in time.parts() {
            if seconds == 0.0 {
                continue;
            }
            let mark = if part == time.bottleneck { "; the bottleneck" } else { "" };
            writeln!(f, "  {part:<24} {:>10}  {}{mark}", shown_time(seconds), what(part))?;
        }
        if time.ahead > 0.0 {
            let mark = if time.bottleneck == "ahead" { "; the bottleneck" } else { "" };
            let what = "ids and samples of later batches, at the same time";
            writeln!(f, "  {:<24} {:>10}  {what}{mark}", "ahead", shown_time(time.ahead))?;
        }
        let rate = HumanCount(self.plan.samples_per_second as u64);
        writeln!(f, "  {:<24} {:>10}  {rate} samples/s of all ranks", "step", shown_time(time.total))
    }
}

fn place(table: &TablePlan) -> &'static str {
    match table.placement {
        Placement::Sharded => "sharded",
        Placement::Replicated => "replicated",
    }
}
