//! Evaluation and prediction on several ranks, which are threads here: what they report and write
//! is what one rank does, to the last bit.

mod metrics;
mod predictions;
mod slices;
mod support;
