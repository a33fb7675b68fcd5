//! A profile as a table for the terminal.

use din_runtime::comm::Channel;
use din_runtime::data::ReadingProfile;
use din_runtime::train::{RankProfile, TrainingProfile};
use std::fmt::Write;

/// Kernels of the table, slowest first; the rest is one line.
const MOST: usize = 24;

/// Where the time of training went. Shares are of the kernels' time; `of peak` is the rate of
/// products against that of one core, which a GPU does not have.
pub fn table(p: &TrainingProfile) -> String {
    let steps = p.steps.max(1) as f64;
    let kernels = p.kernels().max(1e-12);
    let (wall, ms) = (p.training.as_secs_f64(), 1e3 / steps);
    let mut t = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(t, "{text}");
    };
    let on = match &p.device {
        Some(level) => format!("{level} and {} threads", p.threads),
        None => format!("{} threads", p.threads),
    };
    line(format_args!(
        "{} steps, {} samples, {on}: {:.2} ms per step, {:.0} samples/s",
        p.steps,
        p.samples,
        wall * ms,
        p.samples as f64 / wall.max(1e-9)
    ));
    line(format_args!(
        "per step: waiting for data {:.2} ms, rows of ids {:.2} ms; kernels {:.2} ms{}",
        p.waiting.as_secs_f64() * ms,
        p.lookups.as_secs_f64() * ms,
        kernels * ms,
        if p.device.is_some() { "" } else { " over all threads" }
    ));
    if let (Some(roof), Some(floor)) = (p.roof, p.floor()) {
        line(format_args!(
            "one core at most: {:.0} GFLOP/s, {:.1} GB/s from memory; products alone would take {:.2} ms of its time, {:.0} % of the kernels'",
            roof.flops / 1e9,
            roof.bytes / 1e9,
            floor * ms,
            100.0 * floor / kernels
        ));
    }
    for (rank, r) in p.ranks.iter().enumerate() {
        let of = |channel: Channel| r.traffic[channel.index()];
        let (sent, received) = r.traffic.iter().fold((0, 0), |(s, r), t| (s + t.sent, r + t.received));
        line(format_args!(
            "rank {rank}: {:.2} ms per step; waiting for data and ids {:.2} ms, rows {:.2} ms, exchanges of the step \
             {:.2} ms; {:.1} KiB sent and {:.1} KiB received per step",
            r.training.as_secs_f64() * ms,
            r.waiting.as_secs_f64() * ms,
            r.lookups.as_secs_f64() * ms,
            of(Channel::Step).time.as_secs_f64() * ms,
            sent as f64 / steps / 1024.0,
            received as f64 / steps / 1024.0
        ));
    }
    line(format_args!("{}", reading(&p.reading)));
    if let Some(slowest) = p.ranks.iter().map(work).reduce(f64::max).filter(|&time| time > 0.0) {
        let mean = p.ranks.iter().map(work).sum::<f64>() / p.ranks.len() as f64;
        line(format_args!(
            "imbalance: the busiest rank works {:.0} % longer than the mean",
            100.0 * (slowest / mean - 1.0)
        ));
    }
    line(format_args!(
        "{:>7} {:>8} {:>9} {:>8} {:>7}  {:<28} {:<34} from",
        "share", "ms/step", "GFLOP/s", "of peak", "GB/s", "schedule", "kernel"
    ));
    for row in p.rows.iter().take(MOST) {
        let (flops, bytes) = (row.flops / row.seconds, row.bytes / row.seconds);
        let (rate, peak) = match row.flops > 0.0 {
            true => {
                let peak = p.roof.map(|roof| format!("{:.0} %", 100.0 * flops / roof.flops));
                (format!("{:.1}", flops / 1e9), peak.unwrap_or_default())
            }
            false => (String::new(), String::new()),
        };
        let moved = if row.bytes > 0.0 { format!("{:.1}", bytes / 1e9) } else { String::new() };
        line(format_args!(
            "{:>5.1} % {:>8.3} {:>9} {:>8} {:>7}  {:<28} {:<34} {}",
            100.0 * row.seconds / kernels,
            row.seconds * ms,
            rate,
            peak,
            moved,
            row.schedule,
            row.name,
            row.location
        ));
    }
    let rest: f64 = p.rows.iter().skip(MOST).map(|r| r.seconds).sum();
    if rest > 0.0 {
        line(format_args!("{:>5.1} % {:>8.3} {} more", 100.0 * rest / kernels, rest * ms, p.rows.len() - MOST));
    }
    t.trim_end().to_string()
}

/// What each rank has read, a line each.
pub fn reading(ranks: &[ReadingProfile]) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let line = |(rank, profile): (usize, &ReadingProfile)| {
        let ReadingProfile { decoded, peak_memory } = profile;
        let of = if ranks.len() > 1 { format!("rank {rank}: ") } else { String::new() };
        format!(
            "{of}{} rows decoded, of columns of {:.1} MiB; {:.1} MiB of memory at most",
            decoded.rows,
            mebibytes(decoded.bytes),
            mebibytes(*peak_memory)
        )
    };
    ranks.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// Seconds that a rank does not wait for data or for other ranks.
fn work(rank: &RankProfile) -> f64 {
    let waits = rank.waiting + rank.traffic[Channel::Step.index()].time;
    rank.training.saturating_sub(waits).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use din_program::cuda::Precision;
    use din_runtime::data::Decoded;
    use din_runtime::exec::{Backend, ProfileRow, Roofline};
    use std::time::Duration;

    #[test]
    fn a_device_has_no_core() {
        let row = ProfileRow {
            schedule: "train".into(),
            phase: 3,
            name: "din_train_3".into(),
            location: "m.din:4:9".into(),
            calls: 2,
            elements: 10,
            seconds: 0.004,
            flops: 8e6,
            bytes: 0.0,
        };
        let mut profile = TrainingProfile {
            steps: 2,
            samples: 20,
            threads: 4,
            device: Some(Backend::Cuda { architecture: 90, precision: Precision::F32 }),
            training: Duration::from_millis(10),
            waiting: Duration::ZERO,
            lookups: Duration::ZERO,
            rows: vec![row],
            spans: vec![],
            roof: None,
            ranks: vec![],
            reading: vec![ReadingProfile { decoded: Decoded { rows: 1_000, bytes: 3 << 19 }, peak_memory: 100 << 20 }],
        };
        let text = table(&profile);
        assert!(text.contains("\n1000 rows decoded, of columns of 1.5 MiB; 100.0 MiB of memory at most\n"), "{text}");
        assert!(
            text.contains("cuda sm_90 f32 and 4 threads: 5.00 ms per step") && text.contains("kernels 2.00 ms\n"),
            "{text}"
        );
        assert!(!text.contains("one core") && text.contains("100.0 %    2.000       2.0"), "{text}");
        (profile.device, profile.roof) = (None, Some(Roofline { flops: 4e9, cache_bytes: 4e10, bytes: 1e10 }));
        let text = table(&profile);
        assert!(text.contains("\n1000 rows decoded, of columns of 1.5 MiB; 100.0 MiB of memory at most\n"), "{text}");
        assert!(text.contains("one core at most: 4 GFLOP/s") && text.contains("50 %"), "{text}");
    }
}
