//! Data sets read from files that the tests write with Arrow, and from the real sets where they are present.
#![allow(clippy::unwrap_used)]

mod csv;
mod damage;
mod errors;
mod folders;
mod formats;
mod keys;
mod order;
mod parquet_files;
mod real;
mod requests;
mod rounded;
mod support;
