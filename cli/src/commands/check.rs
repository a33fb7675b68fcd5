//! `din check`: diagnostics of specs and libraries; nothing is written.

use crate::args::CheckArgs;
use crate::failure::{Failure, Outcome, USER_ERROR};
use crate::sources::{self, Beside};
use crate::terminal::Console;
use din_compiler::front;

pub fn check(console: &Console, args: &CheckArgs) -> Outcome {
    let (mut errors, mut warnings) = (0, 0);
    let (mut unread, mut shown) = (Vec::new(), Vec::new());
    for path in &sources::expanded(&args.files)? {
        let text = match sources::read(path) {
            Ok(text) => text,
            Err(failure) => {
                unread.push(failure);
                continue;
            }
        };
        let name = path.display().to_string();
        let provider = Beside::of(path);
        let (diagnostics, sources, model) = if has_model(&text) {
            let options = front::CheckOptions { sets: args.sets.clone() };
            let checked = front::check(&name, &text, &provider, &options);
            (checked.diagnostics, checked.sources, checked.model)
        } else {
            let (diagnostics, sources) = front::check_library(&name, &text, &provider);
            (diagnostics, sources, None)
        };
        console.diagnostics(&diagnostics, &sources);
        let wrong = diagnostics.iter().filter(|d| d.is_error()).count();
        errors += wrong;
        warnings += diagnostics.len() - wrong;
        shown.extend(diagnostics);
        if wrong == 0 && console.human() && !console.quiet {
            match model {
                Some(model) => {
                    let weights: usize = model.parameters.iter().map(|p| p.width()).sum();
                    for missing in &model.missing_vocabularies {
                        let path = &model.schema.vocabularies[missing.vocabulary as usize].path;
                        let place = sources.location(missing.span);
                        console
                            .remark(format!("{place}: there is no file `{path}`; what depends on it is not checked"));
                    }
                    let (tables, features) = (model.tables.len(), model.schema.features.len());
                    console.result(format!(
                        "{name}: model {}: {features} features, {tables} tables, {weights} dense weights",
                        model.name
                    ));
                }
                None => console.result(format!("{name}: library")),
            }
        }
    }
    let mut code = 0;
    for failure in unread {
        console.error(&failure.message);
        code = code.max(failure.code);
    }
    if errors > 0 || (warnings > 0 && args.deny_warnings) {
        code = code.max(USER_ERROR);
    }
    console.more_about(&shown);
    if errors + warnings > 0 && console.human() {
        console.remark(format!("{}, {}", count(errors, "error"), count(warnings, "warning")));
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::reported(code)),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Whether the text holds a model. Text that does not parse counts as a model, so that its errors
/// are shown in the same way.
fn has_model(text: &str) -> bool {
    match din_grammar::parse(text, din_grammar::FileId(0)) {
        Ok(file) => file.items.iter().any(|item| matches!(item, din_grammar::ast::Item::Model(_))),
        Err(_) => true,
    }
}
