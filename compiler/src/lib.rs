//! The compiler: from a syntax tree to a checked model, to graphs, to a program. It opens no files,
//! starts no threads and uses no devices.
//!
//! # Example
//!
//! ```
//! use din_compiler::front::{CheckOptions, NoFiles, check};
//! use din_compiler::{CompileOptions, compile};
//! use din_grammar::{Style, render};
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
//! let checked = check("tiny.din", spec, &NoFiles, &CheckOptions::default());
//! let model = checked.model.expect("the spec is right");
//! let program = compile(&model, &CompileOptions::default())?.program;
//! assert_eq!(program.schema.features[0].path(), "ad.item");
//!
//! // A wrong spec has diagnostics with their places instead of a model.
//! let checked = check("tiny.din", &spec.replace("10", "0"), &NoFiles, &CheckOptions::default());
//! assert!(checked.model.is_none());
//! let text = render(&checked.diagnostics, &checked.sources, Style::Concise);
//! assert!(text.starts_with("tiny.din:7:34: error[E0"), "{text}");
//! # Ok::<(), din_compiler::CompileError>(())
//! ```
#![forbid(unsafe_code)]

pub mod autodiff;
pub mod codegen;
pub mod compile;
pub mod difference;
pub mod elementwise;
pub mod footprint;
pub mod front;
pub mod graph;
pub mod interpret;
pub mod model;
pub mod optimize;
pub mod picture;
pub mod plan;
pub mod statistic;
pub mod unscaled;

pub use compile::{CompileError, CompileOptions, Compiled, PassRun, compile, compile_observed};
