//! Named passes over the graph, in one visible list.
//!
//! A pass keeps every root's meaning, axis and shape; node numbers may change. Before
//! differentiation run [`FORWARD`], after it [`BACKWARD`] ([`train`] does both with `differentiate`
//! between), on graphs that are not differentiated [`INFER`]. With verification on, the graph is
//! checked after each pass, and the error names the culprit.
//!
//! `deduplicate` and `split_products` stand before differentiation, so the gradients of what they
//! make are cheap too.

mod absorb;
mod cost;
mod cse;
mod dce;
mod deduplicate;
pub(crate) mod rewrite;
mod share_concats;
mod simplify;
mod split_products;

pub use cost::flops;
pub use deduplicate::{Thresholds, deduplicate};

use crate::autodiff::{DifferentiateError, Gradients, differentiate};
use crate::graph::{Graph, VerifyError, verify};
use std::fmt;
use std::time::{Duration, Instant};

/// A graph to an equivalent one.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    pub name: &'static str,
    pub run: fn(&mut Graph),
}

const SIMPLIFY: Pass = Pass { name: "simplify", run: simplify::run };
const SPLIT_PRODUCTS: Pass = Pass { name: "split_products", run: split_products::run };
const CSE: Pass = Pass { name: "cse", run: cse::run };
const DCE: Pass = Pass { name: "dce", run: dce::run };
const SHARE_CONCATS: Pass = Pass { name: "share_concats", run: share_concats::run };
const DEDUPLICATE: Pass = Pass { name: "deduplicate", run: deduplicate::run };
const ABSORB: Pass = Pass { name: "absorb", run: absorb::run };
const ERASE_STOPS: Pass = Pass { name: "erase_stops", run: simplify::erase_stops };

/// All passes, by name.
pub const PASSES: &[Pass] = &[SIMPLIFY, DEDUPLICATE, SPLIT_PRODUCTS, CSE, DCE, SHARE_CONCATS, ERASE_STOPS, ABSORB];

/// Before `differentiate`.
pub const FORWARD: &[Pass] = &[SIMPLIFY, CSE, DEDUPLICATE, SPLIT_PRODUCTS, SIMPLIFY, CSE, SHARE_CONCATS, DCE];

/// After `differentiate`, when `stop_gradient` has done its work.
pub const BACKWARD: &[Pass] = &[ERASE_STOPS, SIMPLIFY, CSE, SIMPLIFY, CSE, DCE];

/// For graphs that are not differentiated: inference and updates.
pub const INFER: &[Pass] = &[ERASE_STOPS, SIMPLIFY, CSE, DEDUPLICATE, SPLIT_PRODUCTS, SIMPLIFY, CSE, DCE];

/// What makes graphs that say the same in other words equal, and nothing more: for comparisons.
pub const CANONICAL: &[Pass] = &[SIMPLIFY, CSE, SIMPLIFY, CSE, DCE];

/// Last, before the graph is planned; what it makes is only computed.
pub const LOWER: &[Pass] = &[ABSORB, DCE];

/// A pass that broke the graph: a bug of the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassError {
    /// Name of the pass, `differentiate`, or `input` for a graph that was broken before.
    pub pass: &'static str,
    pub error: VerifyError,
}

impl fmt::Display for PassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after pass `{}`: {}", self.pass, self.error)
    }
}

impl std::error::Error for PassError {}

/// Name under which an [`Observer`] sees differentiation, which stands among the passes.
pub const DIFFERENTIATE: &str = "differentiate";

/// Sees each pass: its name, the graph after it, and how long it took.
pub type Observer<'a> = dyn FnMut(&'static str, &Graph, Duration) + 'a;

/// Runs `passes` in order, verifying the input and every result if `checked`.
pub fn run(graph: &mut Graph, passes: &[Pass], checked: bool) -> Result<(), PassError> {
    run_observed(graph, passes, checked, &mut |_, _, _| {})
}

/// [`run`], with each pass shown to `observer`.
pub fn run_observed(
    graph: &mut Graph,
    passes: &[Pass],
    checked: bool,
    observer: &mut Observer<'_>,
) -> Result<(), PassError> {
    check(graph, "input", checked)?;
    for pass in passes {
        let start = Instant::now();
        (pass.run)(graph);
        observer(pass.name, graph, start.elapsed());
        check(graph, pass.name, checked)?;
    }
    Ok(())
}

/// Why a train graph could not be made: a bug of the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainError {
    Pass(PassError),
    Differentiate(DifferentiateError),
}

impl fmt::Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(e) => write!(f, "{e}"),
            Self::Differentiate(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for TrainError {}

/// [`FORWARD`], `differentiate`, [`BACKWARD`].
pub fn train(graph: &mut Graph, checked: bool) -> Result<Gradients, TrainError> {
    train_observed(graph, FORWARD, checked, &mut |_, _, _| {})
}

/// `forward`, `differentiate`, [`BACKWARD`], each shown to `observer`.
pub fn train_observed(
    graph: &mut Graph,
    forward: &[Pass],
    checked: bool,
    observer: &mut Observer<'_>,
) -> Result<Gradients, TrainError> {
    run_observed(graph, forward, checked, observer).map_err(TrainError::Pass)?;
    let start = Instant::now();
    let gradients = differentiate(graph).map_err(TrainError::Differentiate)?;
    observer(DIFFERENTIATE, graph, start.elapsed());
    check(graph, DIFFERENTIATE, checked).map_err(TrainError::Pass)?;
    run_observed(graph, BACKWARD, checked, observer).map_err(TrainError::Pass)?;
    Ok(gradients)
}

fn check(graph: &Graph, pass: &'static str, checked: bool) -> Result<(), PassError> {
    if !checked && !cfg!(debug_assertions) {
        return Ok(());
    }
    verify(graph).map_err(|error| PassError { pass, error })
}
