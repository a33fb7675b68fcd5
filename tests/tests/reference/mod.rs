//! The interpreter and the compiled back end against an independent PyTorch implementation in
//! float64: 50 training steps of the base model, DIN and DIN with Dice, by SGD, Adam and Eq. (9),
//! and the evaluation after them; then single units. `tests/reference/README.md` describes the
//! fixtures; no Python is needed here.

mod backend;
mod class_losses;
mod clipping;
mod dropout;
mod fixture;
mod interactions;
mod interpreter;
mod losses;
mod request_losses;
mod units;
