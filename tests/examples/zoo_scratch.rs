//! scratch
use din_runtime::cpu;
use din_runtime::exec::cpu::CpuExecutor;
use din_runtime::session::Session;
use din_tests::zoo::*;
use std::path::Path;
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    if a.len() == 2 && a[1] == "isa" {
        for i in [din_program::Isa::V2, din_program::Isa::V3, din_program::Isa::V4] {
            let z = Zoo::new(&a[0], Path::new("target/zoo/log/train.parquet"), 1, &[i]);
            println!("{}", serde_json::json!(z.train(i).losses));
        }
        return;
    }
    let zoo = Zoo::new(&a[0], Path::new("target/zoo/log/train.parquet"), 1, &[cpu::detect()]);
    let th = din_runtime::threads::Threads::new(1).unwrap();
    let ex = CpuExecutor::new(zoo.program.clone(), th.clone(), cpu::detect()).unwrap();
    let mut s = Session::with_model(Box::new(ex), th, zoo.start());
    let n: usize = a[1].parse().unwrap();
    if a.len() > 2 {
        println!("{}", serde_json::json!(zoo.interpret(n)));
        return;
    }
    for b in &zoo.batches[..n] {
        s.train(b).unwrap();
    }
    let m = s.model().unwrap();
    let mut out = serde_json::Map::new();
    for (i, p) in zoo.program.parameters.iter().enumerate() {
        out.insert(format!("param.{}", p.name), serde_json::json!({"w": m.dense.params[i], "m": m.dense.param_slots[i][0], "v": m.dense.param_slots[i].get(1)}));
    }
    for t in &m.tables {
        out.insert(format!("table.{}", t.name()), serde_json::json!({"w": in_order(t, t.weights()), "m": in_order(t, t.slot(0)), "v": in_order(t, t.slot(1))}));
    }
    println!("{}", serde_json::Value::Object(out));
}
