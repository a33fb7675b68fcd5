//! What it gains, or costs, to compute a tower over ids once for each distinct id: training steps
//! with the pass `deduplicate` and without it, interleaved, over towers of several sizes and shares
//! of ids that are distinct.
//!
//! ```text
//! bench_deduplicate [--threads 2] [--steps 15]
//! ```
//!
//! Prints one JSON line a point: `{"on", "tower", "share", "grouped_ms", "plain_ms", "ratio"}`;
//! `share` is the distinct ids by the elements, on 2048 samples or on their 32 768 list entries.
//! Batches are made in memory.

use din_compiler::front::{CheckOptions, NoFiles, check};
use din_compiler::{CompileOptions, compile};
use din_runtime::batch::Batch;
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::leaves::DEDUPLICATING_LEAVES;
use din_runtime::random::Stream;
use din_runtime::session::Session;
use din_runtime::threads::Threads;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

const SAMPLES: usize = 2048;
const LIST: usize = 16;
/// Ids of the table.
const IDS: usize = SAMPLES * LIST;

fn spec(on_list: bool, tower: &[usize], width: usize) -> String {
    let value = match on_list {
        true => format!("sum(mlp(embed(visited), {tower:?}, relu) over visited)"),
        false => format!("mlp(embed(ad), {tower:?}, relu)"),
    };
    let unused = if on_list { "embed(ad)" } else { "sum(embed(visited) over visited)" };
    format!(
        "edition 2026\nuse std.activation.relu\nuse std.layer.{{linear, mlp}}\nuse std.loss.cross_entropy\nuse std.metric.auc\n\
         use std.optimizer.adam\nmodel towers {{\nfeatures user {{ who: category({IDS}) }}\n\
         features ad {{ good: category({IDS}) }}\nsequence visited {{ good: category({IDS}) from goods }}\nlabel click: binary\n\
         embedding good [{width}] for ad.good, visited.good\nembedding who [8] for user.who\n\
         let tower = {value}\n\
         let hidden = mlp(concat(embed(user), tower, {unused}), [16], relu)\n\
         predict click ~ bernoulli(logit = linear(hidden, 1))\n\
         train {{ loss cross_entropy(click)  optimizer adam(lr = 0.001)  batch {SAMPLES}  epochs 1 }}\nreport auc(click)\n}}\n"
    )
}

fn session(text: &str, grouped: bool, threads: usize, leaves: u32) -> Outcome<Session> {
    let checked = check("towers.din", text, &NoFiles, &CheckOptions::default());
    let model = checked.model.ok_or_else(|| format!("{:?}", checked.diagnostics))?;
    let without = if grouped { vec![] } else { vec!["deduplicate"] };
    let program = compile(&model, &CompileOptions { levels: vec![cpu::detect()], checked: false, without })?.program;
    if program.train.axes.uniques().next().is_none() == grouped {
        return Err(format!("the tower is not one that is grouped: {text}").into());
    }
    let threads = Threads::new(threads)?;
    let executor = CpuExecutor::new(Arc::new(program), threads.clone(), cpu::detect())?;
    let mut session = Session::new(Box::new(executor), threads, 1)?;
    session.set_leaves(leaves);
    Ok(session)
}

fn batch(number: u64, distinct: usize) -> Batch {
    let draw = |name: &str, n: usize, below: usize| -> Vec<u64> {
        let stream = Stream::new(number, name, 0);
        (0..n).map(|i| (stream.uniform(i as u64) * below as f64) as u64).collect()
    };
    Batch {
        rows: SAMPLES,
        offsets: vec![(0..=SAMPLES).map(|s| (s * LIST) as u32).collect()],
        ids: vec![
            draw("who", SAMPLES, IDS),
            draw("good", SAMPLES, distinct.min(SAMPLES)),
            draw("goods", SAMPLES * LIST, distinct),
        ],
        dense: vec![Vec::new(); 3],
        labels: vec![draw("label", SAMPLES, 2).iter().map(|&l| l as f32).collect()],
        present: vec![vec![1.0; SAMPLES]],
        ..Batch::default()
    }
}

fn main() -> Outcome<()> {
    let (mut threads, mut steps, mut leaves) = (2, 15, DEDUPLICATING_LEAVES);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--threads" => threads = value.parse()?,
            "--steps" => steps = value.parse()?,
            "--leaves" => leaves = value.parse()?,
            _ => return Err(format!("unexpected `{word}`").into()),
        }
    }
    // All that the pass takes: smaller ones stay where they are.
    let towers: [(usize, &[usize]); 3] = [(32, &[96, 48]), (64, &[128, 64]), (64, &[256, 128])];
    for on_list in [false, true] {
        let elements = if on_list { IDS } else { SAMPLES };
        for (width, tower) in towers {
            let text = spec(on_list, tower, width);
            let mut grouped = session(&text, true, threads, leaves)?;
            let mut plain = session(&text, false, threads, leaves)?;
            for share in [1, 2, 4, 16] {
                let batches: Vec<Batch> = (1..=4).map(|n| batch(n, elements / share)).collect();
                let mut seconds = [Vec::new(), Vec::new()];
                for k in 0..steps + 2 {
                    for (side, times) in [&mut grouped, &mut plain].into_iter().zip(&mut seconds) {
                        let begin = Instant::now();
                        side.train(&batches[k % batches.len()])?;
                        times.push(begin.elapsed().as_secs_f64() * 1e3);
                    }
                }
                let median = |times: &mut Vec<f64>| {
                    times.drain(..2);
                    times.sort_by(f64::total_cmp);
                    times[times.len() / 2]
                };
                let [grouped, plain] = seconds.each_mut().map(median);
                println!(
                    "{}",
                    serde_json::json!({
                        "on": if on_list { "entries" } else { "samples" },
                        "tower": format!("{width}-{}", tower.iter().map(usize::to_string).collect::<Vec<_>>().join("-")),
                        "share": 1.0 / share as f64,
                        "grouped_ms": (grouped * 1e3).round() / 1e3,
                        "plain_ms": (plain * 1e3).round() / 1e3,
                        "ratio": (plain / grouped * 100.0).round() / 100.0,
                    })
                );
            }
        }
    }
    Ok(())
}
