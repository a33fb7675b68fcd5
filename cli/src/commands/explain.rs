//! `din explain`: what a code of an error or warning means.

use crate::args::ExplainArgs;
use crate::codes::{CodePage, PAGES};
use crate::terminal::Console;
use serde::Serialize;

#[derive(Serialize)]
struct Json<'a> {
    code: &'a str,
    title: &'a str,
    /// Markdown; left out in the list of all codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    page: Option<&'a str>,
}

pub fn explain(console: &Console, args: &ExplainArgs) {
    let all = args.codes.is_empty();
    let pages: &[CodePage] = if all { PAGES } else { &args.codes };
    for (k, page) in pages.iter().enumerate() {
        if args.json {
            let object = Json { code: page.code, title: page.title(), page: (!all).then_some(page.text) };
            console.result(serde_json::to_string(&object).expect("texts can be written as JSON"));
        } else if all {
            console.result(format!("{}  {}", page.code, page.title()));
        } else {
            let between = if k == 0 { "" } else { "\n" };
            console.result_raw(&format!("{between}{}", page.plain()));
        }
    }
}
