//! How the functions of NVIDIA's libraries are bound.
//!
//! Types, constants and signatures are those that the crate `cudarc` generates from NVIDIA's
//! headers: a function that is declared here otherwise than there does not compile. Opening a
//! library and finding its functions are ours. `cudarc`'s own loading is not used, since it panics
//! where a library or a function is missing, opens an unversioned `libcuda.so` (a development stub)
//! before the driver's own `libcuda.so.1`, and cannot be told which file to use; nor are its
//! functions called, since they return Rust enums, which a newer driver's unknown error code would
//! make undefined behaviour. Here a code is a plain number, and what is missing an error.

use libloading::Library;
use std::path::PathBuf;

/// A type, or the one that stands for it where none is given.
macro_rules! or {
    (() $usual:ty) => {
        $usual
    };
    (($given:ty) $usual:ty) => {
        $given
    };
}

/// A struct with the functions of a library, each under a name of ours, to be found by `bind`.
/// `ours as theirs` is an argument, or the result where none is written, that `cudarc` declares
/// with another type of the same size. The module's `sys` is the one of `cudarc`.
macro_rules! api {
    (struct $api:ident -> $code:ty as $result:ty;
        $($field:ident: $name:ident($($arg:ty $(as $theirs:ty)?),*) $(-> $out:ty)?;)*) => {
        /// The functions, by what they do.
        #[derive(Debug)]
        pub(super) struct $api {
            $(pub $field: unsafe extern "C" fn($($arg),*) -> or!(($($out)?) $code),)*
            /// Never closed: a driver that was initialised does not bear it, and threads of its own
            /// may be in it.
            _library: std::mem::ManuallyDrop<Library>,
        }

        $(const _: unsafe fn($(or!(($($theirs)?) $arg)),*) -> or!(($($out)?) $result) = sys::$name;)*

        impl $api {
            fn bind(library: Library) -> Result<$api, libloading::Error> {
                // SAFETY: these are the types of NVIDIA's headers, checked above; versioned names
                // never change theirs. Where a result is not of their type it is of its size, and
                // takes any value.
                unsafe {
                    Ok($api {
                        $($field: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        _library: std::mem::ManuallyDrop::new(library),
                    })
                }
            }
        }
    };
}

pub(super) use {api, or};

/// The first of some files that is there. The error: what was tried, and the last reason.
pub(super) fn open(files: &[PathBuf]) -> Result<(Library, &PathBuf), (Vec<String>, String)> {
    let mut why = String::new();
    for file in files {
        // SAFETY: the initialisers of NVIDIA's libraries have no requirements; any other file is
        // the user's choice.
        match unsafe { Library::new(file) } {
            Ok(library) => return Ok((library, file)),
            Err(e) => why = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string),
        }
    }
    Err((files.iter().map(|f| f.display().to_string()).collect(), why))
}
