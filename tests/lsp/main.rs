//! `din lsp` as an editor drives it: the real process, by messages over its standard input and
//! output.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod client;
mod edits;
mod every_spec;
mod renames;
mod requests;
mod text;
