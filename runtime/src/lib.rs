//! The runtime: runs a program. Data, tables, executors, training, metrics, checkpoints. Knows
//! nothing of syntax.
//!
//! # Example
//!
//! Training a few steps, and predicting. `train::train`, `evaluate::evaluate` and
//! `predict::predict` do the same for whole runs, with checkpoints and files of predictions.
//!
//! ```
//! use din_compiler::front::{CheckOptions, NoFiles, check};
//! use din_compiler::{CompileOptions, compile};
//! use din_runtime::data::{Dataset, Order, ReadMode, StreamOptions};
//! use din_runtime::session::{CpuOptions, Device, Session};
//! use std::sync::Arc;
//!
//! let spec = "
//! edition 2026
//! use std.loss.cross_entropy
//! use std.metric.log_loss
//! use std.optimizer.sgd
//! model tiny {
//!     features ad { item: category(10) }
//!     label click: binary
//!     embedding item [1] for ad.item
//!     predict click ~ bernoulli(logit = sum(item(ad.item)))
//!     train { loss cross_entropy(click)  optimizer sgd(lr = 1)  batch 2  epochs 1 }
//!     report log_loss(click)
//! }";
//! let model = check("tiny.din", spec, &NoFiles, &CheckOptions::default()).model.expect("the spec is right");
//! let program = Arc::new(compile(&model, &CompileOptions::default())?.program);
//!
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("log.csv");
//! std::fs::write(&file, "item,click\n3,1\n5,0\n3,1\n5,0\n")?;
//! let data = Dataset::open(&[&file], &program.schema, ReadMode::Train)?;
//!
//! let seed = 7;
//! let options = CpuOptions::default();
//! let threads = options.start_threads()?;
//! let executor = Device::Cpu.executor(&program, &options, &threads)?;
//! let mut session = Session::new(executor, threads, seed)?;
//! for epoch in 0..10 {
//!     let mut batches = data.stream(StreamOptions::new(2, Order::Shuffled { seed, epoch }))?;
//!     while let Some(batch) = batches.next()? {
//!         session.train(&batch)?;
//!         batches.recycle(batch);
//!     }
//! }
//!
//! let mut batches = data.stream(StreamOptions::new(4, Order::File))?;
//! let batch = batches.next()?.expect("the file has rows");
//! session.infer(&batch)?;
//! let logits = session.predicted(0);
//! assert!(logits[0] > 0.0 && logits[1] < 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allocator;
pub mod batch;
pub mod bundle;
pub mod checkpoint;
pub mod child;
mod column_loops;
pub mod comm;
pub mod cpu;
pub mod data;
pub mod document;
pub mod embedding;
pub mod error;
pub mod evaluate;
pub mod exec;
pub mod fs;
mod identity;
pub mod jit;
pub mod kernels;
pub mod leaves;
pub mod metric;
pub mod placement;
pub mod predict;
mod prefetch;
pub mod random;
pub mod run_dir;
pub mod session;
pub mod signal;
pub mod statistics;
pub mod survey;
pub mod synth;
pub mod table;
pub mod threads;
pub mod train;

pub use error::{Error, ErrorKind, Result};
