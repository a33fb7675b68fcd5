//! Text in Markdown.

/// Text in a cell of a table: on one line, without meaning of its own.
pub fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push(' '),
            '<' => out += "&lt;",
            '\\' | '|' | '*' | '_' | '[' | ']' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Text as code, in a cell or outside; a backtick in it becomes an apostrophe.
pub fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|").replace('\n', " "))
}
