//! `din fmt`: the one standard layout, written in place by rename, or only compared with `--check`.

use crate::args::FmtArgs;
use crate::failure::{Failure, Outcome, USER_ERROR};
use crate::sources;
use crate::terminal::Console;
use din_grammar::{Diagnostic, SourceMap, format};
use din_runtime::fs::rewrite_atomically;
use std::path::Path;

pub fn fmt(console: &Console, args: &FmtArgs) -> Outcome {
    let mut code = 0;
    let mut would_change = 0;
    let mut shown = Vec::new();
    for path in &args.files {
        match one(console, path, args.check, &mut shown) {
            Ok(false) => {}
            Ok(true) if args.check => {
                console.result(format!("{}: would change", path.display()));
                would_change += 1;
            }
            Ok(true) => console.remark(format!("{}: written", path.display())),
            Err(failure) => {
                if !failure.message.is_empty() {
                    console.error(&failure.message);
                }
                code = code.max(failure.code);
            }
        }
    }
    console.more_about(&shown);
    if would_change > 0 {
        console.remark("help: run `din fmt` on the files above");
        code = code.max(USER_ERROR);
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::reported(code)),
    }
}

/// Whether the file is, or would be, another one afterwards; what is wrong with it is added to
/// `shown`.
fn one(console: &Console, path: &Path, check: bool, shown: &mut Vec<Diagnostic>) -> Result<bool, Failure> {
    let standard_input = path == Path::new("-");
    let text = if standard_input { sources::standard_input()? } else { sources::read(path)? };
    let mut map = SourceMap::default();
    map.add(if standard_input { "<stdin>".into() } else { path.display().to_string() }, text.as_str());
    let formatted = match format(&text) {
        Ok(formatted) => formatted,
        Err(diagnostics) => {
            console.diagnostics(&diagnostics, &map);
            shown.extend(diagnostics);
            return Err(Failure::reported(USER_ERROR));
        }
    };
    let changed = formatted != text;
    if standard_input && !check {
        console.result_raw(&formatted);
        return Ok(false);
    }
    if changed && !check {
        rewrite_atomically(path, formatted.as_bytes())?;
    }
    Ok(changed)
}
