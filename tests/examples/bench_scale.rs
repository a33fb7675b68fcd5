//! How the cost of a training step grows: over the batch, the length of histories, the width of
//! embeddings, and the rows of a table.
//!
//! ```text
//! bench_scale --spec bench/din_step.din [--axis batch,length,width,rows,ids] [--threads 2] [--steps 15] [--most-rows 50000000]
//! ```
//!
//! Batches are made in memory, ids uniform. `rows`: a table of fixed size; `ids`: one that grows,
//! filled before. Prints one JSON line a point, `{"axis", "value", "ms"}`, the median step.

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_program::Program;
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::random::Stream;
use din_runtime::session::Session;
use din_runtime::threads::Threads;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// One point: what the step is made of.
#[derive(Clone)]
struct Point {
    batch: usize,
    /// Entries of each history, all the same.
    length: usize,
    width: usize,
    goods: u64,
    /// Whether the goods' table grows as ids come.
    grows: bool,
}

const USUAL: Point = Point { batch: 1024, length: 32, width: 16, goods: 100_000, grows: false };

fn program(spec: &str, point: &Point) -> Outcome<Arc<Program>> {
    let goods = if point.grows { "category".to_string() } else { format!("category({})", point.goods) };
    let text = spec
        .replace("category(100_000)", &goods)
        .replace("[16]", &format!("[{}]", point.width))
        .replace("keep last 100", &format!("keep last {}", point.length.max(1)));
    let checked = check("scaled.din", &text, &NoFiles, &CheckOptions::default());
    let model = checked.model.ok_or_else(|| format!("{:?}", checked.diagnostics))?;
    Ok(Arc::new(
        compile(&model, &CompileOptions { levels: vec![cpu::detect()], checked: false, ..CompileOptions::default() })?
            .program,
    ))
}

/// Ids uniform over a feature's rows; `number` tells batches apart.
fn batch(program: &Program, point: &Point, number: u64) -> Batch {
    let schema = &program.schema;
    let draw = |name: &str, n: usize, rows: u64| -> Vec<u64> {
        let stream = Stream::new(number, name, 0);
        (0..n).map(|i| (stream.uniform(i as u64) * rows as f64) as u64).collect()
    };
    let mut made = Batch {
        rows: point.batch,
        requests: Vec::new(),
        offsets: vec![(0..=point.batch).map(|s| (s * point.length) as u32).collect(); schema.sequences.len()],
        ids: Vec::new(),
        dense: vec![Vec::new(); schema.features.len()],
        labels: vec![draw("label", point.batch, 2).iter().map(|&l| l as f32).collect(); schema.labels.len()],
        present: vec![vec![1.0; point.batch]; schema.labels.len()],
        ..Batch::default()
    };
    for feature in &schema.features {
        let n = point.batch * if feature.sequence.is_some() { point.length } else { 1 };
        let rows = match feature.kind {
            din_program::schema::FeatureKind::Fixed { size, .. } => size,
            _ => point.goods,
        };
        made.ids.push(draw(&feature.path(), n, rows));
    }
    made
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn measure(spec: &str, point: &Point, threads: usize, steps: usize) -> Outcome<f64> {
    let program = program(spec, point)?;
    let threads = Threads::new(threads)?;
    let executor = CpuExecutor::new(program.clone(), threads.clone(), cpu::detect())?;
    let mut session = Session::new(Box::new(executor), threads, 1)?;
    if point.grows {
        // Every id once: a batch of candidates alone.
        let filling = Point { batch: 1 << 16, length: 0, ..point.clone() };
        let mut all = batch(&program, &filling, 0);
        let place = program.schema.features.iter().position(|f| f.path() == "ad.good_id").ok_or("no ad.good_id")?;
        let mut next = 0;
        while next < point.goods {
            for (i, id) in all.ids[place].iter_mut().enumerate() {
                *id = (next + i as u64).min(point.goods - 1);
            }
            next += filling.batch as u64;
            session.train(&all)?;
        }
    }
    let batches: Vec<Batch> = (1..=8).map(|n| batch(&program, point, n)).collect();
    for b in &batches[..3] {
        session.train(b)?;
    }
    let mut seconds = Vec::new();
    for k in 0..steps {
        let begin = Instant::now();
        session.train(&batches[k % batches.len()])?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(median(seconds) * 1e3)
}

fn main() -> Outcome<()> {
    let mut axes = "batch,length,width,rows,ids".to_string();
    let (mut spec, mut threads, mut steps, mut most) = ("bench/din_step.din".to_string(), 2, 15, 50_000_000u64);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--spec" => spec = value,
            "--axis" => axes = value,
            "--threads" => threads = value.parse()?,
            "--steps" => steps = value.parse()?,
            "--most-rows" => most = value.parse()?,
            _ => return Err(format!("unexpected `{word}`").into()),
        }
    }
    let spec = std::fs::read_to_string(spec)?;
    for axis in axes.split(',') {
        let rows = [100_000, 316_000, 1_000_000, 3_160_000, 10_000_000, 50_000_000];
        let points: Vec<(u64, Point)> = match axis {
            "batch" => [256, 512, 1024, 2048, 4096, 8192].map(|n| (n as u64, Point { batch: n, ..USUAL })).to_vec(),
            "length" => [8, 16, 32, 64, 128, 256].map(|n| (n as u64, Point { length: n, ..USUAL })).to_vec(),
            "width" => [8, 16, 32, 64, 128].map(|n| (n as u64, Point { width: n, ..USUAL })).to_vec(),
            // A fixed number of categories is at most 2^24.
            "rows" => rows[..5].iter().map(|&n| (n, Point { goods: n, ..USUAL })).collect(),
            "ids" => rows.map(|n| (n, Point { goods: n, grows: true, ..USUAL })).to_vec(),
            _ => return Err(format!("--axis {axis}: expected batch, length, width, rows or ids").into()),
        };
        for (value, point) in points.into_iter().filter(|(_, p)| p.goods <= most) {
            let ms = measure(&spec, &point, threads, steps)?;
            println!("{}", serde_json::json!({ "axis": axis, "value": value, "ms": ms }));
        }
    }
    Ok(())
}
