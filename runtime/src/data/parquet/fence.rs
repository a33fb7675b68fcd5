//! Calls into the decoding library, and what it says.

use arrow_schema::ArrowError;
use parquet::errors::ParquetError;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// What the library says of an error, without the layers that it came through.
pub(super) fn said(error: &ParquetError) -> String {
    let text = match error {
        ParquetError::General(text) | ParquetError::NYI(text) | ParquetError::EOF(text) => text.clone(),
        other => other.to_string(),
    };
    if text.contains("CRC checksum mismatch") { "a page that does not fit its checksum".into() } else { text }
}

/// As [`said`]; Arrow's errors hold those of Parquet as text.
pub(super) fn said_by_arrow(error: &ArrowError) -> String {
    match error {
        ArrowError::ParquetError(text) => {
            let text = text.strip_prefix("Parquet error: ").or(text.strip_prefix("EOF: ")).unwrap_or(text);
            said(&ParquetError::General(text.to_string()))
        }
        other => other.to_string(),
    }
}

thread_local! {
    /// Whether this thread is inside the fence, where a panic is an expected way to say that the
    /// input is bad.
    static FENCED: Cell<bool> = const { Cell::new(false) };
}

/// Calls into the decoding library; a panic there becomes an error, and is not printed.
pub(super) fn fenced<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !FENCED.get() {
                other(info);
            }
        }));
    });
    let before = FENCED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    FENCED.set(before);
    result.unwrap_or_else(|payload| {
        let said = payload.downcast_ref::<String>().cloned();
        let said = said.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_string()));
        Err(format!("bytes that cannot be decoded ({})", said.unwrap_or_else(|| "no reason given".into())))
    })
}
