//! The language server of Din: what an editor asks of a spec, by the Language Server Protocol over
//! standard input and output.
//!
//! | file | part |
//! | --- | --- |
//! | `server` | the loop: messages in, answers out |
//! | `documents` | open documents, their analyses, the files beside them |
//! | `position`, `uri` | places and files as editors name them |
//! | `library` | the standard library as files that an editor can open |
//! | `workspace` | the other specs of a workspace |
//! | `diagnostics`, `actions` | faults while typing, and the corrections that are known |
//! | `hover`, `navigate`, `rename`, `hints`, `tokens`, `outline` | what is asked of names and values |
//! | `completion`, `context`, `signature` | what can be written at a place, in half-written text too |
//!
//! Everything that it knows of a spec comes from `din_compiler::front::analysis`. It reads files;
//! it writes none but the copy of the standard library.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod actions;
mod completion;
mod context;
mod diagnostics;
mod documents;
mod hints;
mod hover;
mod library;
mod navigate;
mod outline;
mod position;
mod rename;
mod server;
mod signature;
mod tokens;
mod uri;
mod workspace;

pub use server::{ServeError, serve};
