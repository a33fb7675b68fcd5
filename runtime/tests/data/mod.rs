//! Data sets read from files that the tests write with Arrow, and from some that pyarrow wrote.

mod csv;
mod damage;
mod errors;
mod folders;
mod formats;
mod in_order;
mod keys;
mod known;
mod layouts;
mod order;
mod parquet_files;
mod pyarrow_log;
mod ranks;
mod ranks_ends;
mod ranks_shared;
mod requests;
mod rounded;
mod support;
