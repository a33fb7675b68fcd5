//! What PyTorch needs to train models of `models/` as Din does (`tests/reference/zoo/make.py`), and
//! what Din makes of them.
//!
//! ```text
//! zoo_start FOLDER [--interpret] [MODEL…]
//! ```
//!
//! Writes the log into `FOLDER/log`, and for each model `FOLDER/<model>.safetensors`, with `/` of
//! the name as `-`:
//!
//! - `param.<name>`, `state.<name>`, `table.<name>`: f32, initial values; of a growing table the
//!   rows of the log's ids, in their order, and `ids.<name>`, i64, the ids;
//! - `feature.<name>`: i64, the ids of a feature, over all samples of the log and their entries;
//! - `losses.v2`, `.v3` and `.v4`, as far as this CPU has the levels: f64, by step;
//! - `gradient.param.<name>`, `gradient.table.<name>`: f64, of the first step, at the best level;
//! - `interpreted`: f64, the losses by the interpreter, with `--interpret`; it takes minutes.

use din_compiler::codegen::LEVELS;
use din_runtime::cpu;
use din_tests::zoo::{MODELS, STEPS, Zoo, in_order, make_log};
use safetensors::tensor::{Dtype, TensorView};
use std::error::Error;
use std::path::PathBuf;

/// A tensor's name, kind, shape and bytes.
type Written = (String, Dtype, Vec<usize>, Vec<u8>);

fn floats(name: String, shape: Vec<usize>, values: &[f32]) -> Written {
    (name, Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn doubles(name: String, shape: Vec<usize>, values: &[f64]) -> Written {
    (name, Dtype::F64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn ids(name: String, values: impl Iterator<Item = u64>) -> Written {
    let bytes: Vec<u8> = values.flat_map(u64::to_le_bytes).collect();
    (name, Dtype::I64, vec![bytes.len() / 8], bytes)
}

fn tensors(zoo: &Zoo, interpret: bool) -> Vec<Written> {
    let (start, trained) = (zoo.start(), zoo.train(cpu::detect()));
    let gradient = |name: &str| trained.gradients[name].as_slice();
    let mut written = Vec::new();
    for isa in LEVELS.into_iter().filter(|&isa| isa <= cpu::detect()) {
        let losses = zoo.train(isa).losses;
        written.push(doubles(format!("losses.{isa:?}").to_lowercase(), vec![losses.len()], &losses));
    }
    if interpret {
        let losses = zoo.interpret(STEPS);
        written.push(doubles("interpreted".into(), vec![losses.len()], &losses));
    }
    for (parameter, values) in zoo.program.parameters.iter().zip(&start.dense.params) {
        let name = format!("param.{}", parameter.name);
        let shape: Vec<usize> = parameter.shape.iter().map(|&n| n as usize).collect();
        written.push(doubles(format!("gradient.{name}"), shape.clone(), gradient(&name)));
        written.push(floats(name, shape, values));
    }
    for (state, values) in zoo.program.states.iter().zip(&start.dense.states) {
        let shape = state.shape.iter().map(|&n| n as usize).collect();
        written.push(floats(format!("state.{}", state.name), shape, values));
    }
    for table in &start.tables {
        let (name, values) = (format!("table.{}", table.name()), in_order(table, table.weights()));
        let shape = vec![values.len() / table.width(), table.width()];
        written.push(doubles(format!("gradient.{name}"), shape.clone(), gradient(&name)));
        written.push(floats(name, shape, &values));
        if table.is_dynamic() {
            let keys = table.in_key_order().into_iter().map(|(id, _, _)| id);
            written.push(ids(format!("ids.{}", table.name()), keys));
        }
    }
    for (f, feature) in zoo.program.schema.features.iter().enumerate() {
        let values = zoo.batches.iter().flat_map(|batch| batch.ids[f].iter().copied());
        written.push(ids(format!("feature.{}.{}", feature.group, feature.name), values));
    }
    written
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let folder = PathBuf::from(words.next().ok_or("usage: zoo_start FOLDER [--interpret] [MODEL…]")?);
    let (options, asked): (Vec<String>, Vec<String>) = words.partition(|word| word == "--interpret");
    let log = make_log(&folder.join("log"));
    for name in MODELS.iter().filter(|name| asked.is_empty() || asked.iter().any(|a| a == *name)) {
        let zoo = Zoo::new(name, &log, 1, &LEVELS);
        let tensors = tensors(&zoo, !options.is_empty());
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            Ok::<_, safetensors::SafeTensorError>((name.clone(), TensorView::new(*dtype, shape.clone(), bytes)?))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>()?;
        let path = folder.join(format!("{}.safetensors", name.replace('/', "-")));
        safetensors::serialize_to_file(views, None, &path)?;
        println!("{}", path.display());
    }
    Ok(())
}
