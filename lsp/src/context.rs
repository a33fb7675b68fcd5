//! What can stand at a place of a half-written text, by the text alone: the line at hand hardly
//! ever parses while it is typed.

/// What a name that begins at a place would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamePlace {
    /// Inside of a comment or text: nothing.
    Prose,
    /// Behind `use`: a module, whose path begins with this.
    Module(String),
    /// In the braces of a `use`, or behind its last dot: a name of this module or a module below
    /// it.
    Imported(String),
    /// Behind a dot: a field of what this names.
    Field(String),
    /// Behind `over`: an axis.
    Axis,
    /// Where a definition, member, statement or setting begins.
    Line(BlockKind),
    /// Behind the colon of a field, label or key.
    Kind(ColumnOwner),
    /// In an expression.
    Expression,
}

/// What encloses a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    File,
    /// Of a model or schema.
    Members,
    /// Of a function or optimizer.
    Statements,
    Fields,
    Train,
    Table,
    Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnOwner {
    Field,
    Label,
    Key,
    Parameter,
}

/// A call that encloses a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnclosingCall {
    pub callee: String,
    /// The number of the argument at the place, from 0.
    pub argument: usize,
    /// Its name, if it has one.
    pub named: Option<String>,
}

/// The text before a place without the contents of comments and of texts in quotes.
struct CodeBefore {
    text: String,
    /// The place is inside of a comment or a text.
    prose: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Code,
    Comment,
    Quotes,
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn code_before(text: &str, offset: usize) -> CodeBefore {
    let mut code = String::with_capacity(offset);
    let (mut inside, mut last) = (Inside::Code, '\n');
    for c in text[..offset].chars() {
        let next = match (inside, c) {
            // Neither goes on beyond its line.
            (_, '\n') => Inside::Code,
            (Inside::Code, '"') => Inside::Quotes,
            (Inside::Code, '/') if last == '/' => Inside::Comment,
            (Inside::Quotes, '"') if last != '\\' => Inside::Code,
            (inside, _) => inside,
        };
        if inside == Inside::Code || next == Inside::Code {
            code.push(c);
        }
        inside = next;
        // A backslash that is itself escaped escapes nothing.
        last = if c == '\\' && last == '\\' { ' ' } else { c };
    }
    CodeBefore { text: code, prose: inside != Inside::Code }
}

/// The part of a name that is written before a place.
pub(crate) fn prefix(text: &str, offset: usize) -> &str {
    let before = &text[..offset];
    &before[before.trim_end_matches(is_letter).len()..]
}

pub(crate) fn place(text: &str, offset: usize) -> NamePlace {
    let CodeBefore { text: code, prose } = code_before(text, offset);
    if prose {
        return NamePlace::Prose;
    }
    let code = code.trim_end_matches(is_letter);
    let line = code[code.rfind('\n').map_or(0, |at| at + 1)..].trim_start();
    if let Some(path) = line.strip_prefix("use ") {
        return import(path.trim_start());
    }
    // An import over several lines.
    if let Some(open) = code.rfind('{').filter(|at| !code[*at..].contains('}'))
        && let Some(path) = code[code[..open].rfind('\n').map_or(0, |at| at + 1)..].trim_start().strip_prefix("use ")
    {
        return import(path);
    }
    let trimmed = code.trim_end_matches([' ', '\t']);
    if let Some(base) = trimmed.strip_suffix('.').filter(|base| !base.ends_with('.')) {
        return NamePlace::Field(base[base.trim_end_matches(is_letter).len()..].to_owned());
    }
    let last = &trimmed[trimmed.trim_end_matches(is_letter).len()..];
    if last == "over" {
        return NamePlace::Axis;
    }
    let block = blocks(code);
    if trimmed.ends_with(':') {
        let before = trimmed.trim_end_matches(':').trim_end_matches(is_letter).trim_end();
        let word = &before[before.trim_end_matches(is_letter).len()..];
        return match (word, block) {
            ("label", _) => NamePlace::Kind(ColumnOwner::Label),
            ("key", _) => NamePlace::Kind(ColumnOwner::Key),
            (_, BlockKind::Fields) => NamePlace::Kind(ColumnOwner::Field),
            _ => NamePlace::Kind(ColumnOwner::Parameter),
        };
    }
    let begins = trimmed.is_empty() || trimmed.ends_with(['\n', '{', '}']);
    // In parentheses and brackets a line goes on.
    if begins && open_bracket(code).is_none() { NamePlace::Line(block) } else { NamePlace::Expression }
}

fn import(path: &str) -> NamePlace {
    match path.split_once('{') {
        Some((module, _)) => NamePlace::Imported(module.trim_end().trim_end_matches('.').to_owned()),
        None => match path.rfind('.') {
            Some(dot) => NamePlace::Imported(path[..dot].to_owned()),
            None => NamePlace::Module(path.to_owned()),
        },
    }
}

const HEADS: [(&str, BlockKind); 11] = [
    ("model", BlockKind::Members),
    ("schema", BlockKind::Members),
    ("fn", BlockKind::Statements),
    ("optimizer", BlockKind::Statements),
    ("for", BlockKind::Statements),
    ("if", BlockKind::Statements),
    ("features", BlockKind::Fields),
    ("sequence", BlockKind::Fields),
    ("train", BlockKind::Train),
    ("embedding", BlockKind::Table),
    ("test", BlockKind::Test),
];

/// What encloses the end of a text.
fn blocks(code: &str) -> BlockKind {
    let mut open: Vec<BlockKind> = Vec::new();
    // The first word of the definition, member or statement at hand that can have a block.
    let mut head: Option<BlockKind> = None;
    let mut word = String::new();
    let mut brackets = 0usize;
    for c in code.chars().chain([' ']) {
        if is_letter(c) {
            word.push(c);
            continue;
        }
        if let Some((_, kind)) = HEADS.iter().find(|(known, _)| *known == word)
            && head.is_none()
            && brackets == 0
        {
            head = Some(*kind);
        }
        word.clear();
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            '{' => {
                let inner = head.take().or_else(|| open.last().copied()).unwrap_or(BlockKind::File);
                open.push(inner);
            }
            '}' => {
                open.pop();
                head = None;
            }
            // A line that names a block may have the brace on the next.
            '\n' if brackets == 0 && head != Some(BlockKind::Members) => head = None,
            _ => {}
        }
    }
    open.last().copied().unwrap_or(BlockKind::File)
}

/// The place of the innermost bracket that is open at the end of a text; braces enclose none.
fn open_bracket(code: &str) -> Option<usize> {
    let mut closed = 0usize;
    for (at, c) in code.char_indices().rev() {
        match c {
            ')' | ']' => closed += 1,
            '(' | '[' if closed == 0 => return Some(at),
            '(' | '[' => closed -= 1,
            '{' | '}' => return None,
            _ => {}
        }
    }
    None
}

/// The innermost call whose parentheses enclose a place.
pub(crate) fn enclosing_call(text: &str, offset: usize) -> Option<EnclosingCall> {
    let CodeBefore { text: code, prose } = code_before(text, offset);
    if prose {
        return None;
    }
    let mut rest = code.as_str();
    loop {
        let open = open_bracket(rest)?;
        let before = &rest[..open];
        let callee = &before[before.trim_end_matches(is_letter).len()..];
        if rest[open..].starts_with('(') && !callee.is_empty() {
            let arguments = split_arguments(&code[open + 1..]);
            let last = arguments.last().map_or("", |last| last.trim_start());
            let named = last.split_once('=').filter(|(_, value)| !value.starts_with('='));
            let named = named.map(|(name, _)| name.trim_end()).filter(|name| name.chars().all(is_letter));
            return Some(EnclosingCall {
                callee: callee.to_owned(),
                argument: arguments.len().saturating_sub(1),
                named: named.map(str::to_owned),
            });
        }
        rest = before;
    }
}

/// The parts between the commas that no bracket encloses.
fn split_arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of `|` in a text.
    fn at(text: &str) -> NamePlace {
        let offset = text.find('|').expect("the text has a mark");
        place(&text.replacen('|', "", 1), offset)
    }

    #[test]
    fn half_written_lines_have_places() {
        assert_eq!(at("use st|"), NamePlace::Module(String::new()));
        assert_eq!(at("use std.la|"), NamePlace::Imported("std".into()));
        assert_eq!(at("use std.layer.{linear, m|}"), NamePlace::Imported("std.layer".into()));
        assert_eq!(at("use std.layer.{\n    linear,\n    m|"), NamePlace::Imported("std.layer".into()));
        assert_eq!(at("mo|"), NamePlace::Line(BlockKind::File));
        assert_eq!(at("model m {\n    fea|"), NamePlace::Line(BlockKind::Members));
        assert_eq!(at("model m on s\n{\n    fea|"), NamePlace::Line(BlockKind::Members));
        assert_eq!(at("model m {\n    features ad { a: cat|"), NamePlace::Kind(ColumnOwner::Field));
        assert_eq!(at("model m {\n    label click: |"), NamePlace::Kind(ColumnOwner::Label));
        assert_eq!(at("model m {\n    train {\n        lo|"), NamePlace::Line(BlockKind::Train));
        assert_eq!(at("model m {\n    train { loss a }\n    re|"), NamePlace::Line(BlockKind::Members));
        assert_eq!(at("model m {\n    let a = embed(ad).|"), NamePlace::Field(String::new()));
        assert_eq!(at("model m {\n    let a = ad.go|"), NamePlace::Field("ad".into()));
        assert_eq!(at("fn f(x: s => [d]) {\n    sum(x over |"), NamePlace::Axis);
        assert_eq!(at("fn f(x: [n]) {\n    for i in 0..3 {\n        |"), NamePlace::Line(BlockKind::Statements));
        assert_eq!(at("fn f(x: [n]) {\n    let y = concat(x,\n        |"), NamePlace::Expression);
        assert_eq!(at("// a comment |"), NamePlace::Prose);
        assert_eq!(at("test \"half|"), NamePlace::Prose);
        assert_eq!(at("test \"whole\" {\n    ex|"), NamePlace::Line(BlockKind::Test));
        assert_eq!(at("fn f(x: [n]) { x // é\n|"), NamePlace::Line(BlockKind::Statements));
    }

    #[test]
    fn calls_enclose_their_arguments() {
        let call = |text: &str| enclosing_call(text, text.len());
        let expected = |callee: &str, argument, named: Option<&str>| {
            Some(EnclosingCall { callee: callee.into(), argument, named: named.map(str::to_owned) })
        };
        assert_eq!(call("let a = mlp(x, [200, 80], "), expected("mlp", 2, None));
        assert_eq!(call("let a = mlp(linear(x, 3), activation = re"), expected("mlp", 1, Some("activation")));
        assert_eq!(call("let a = mlp(x, [200, "), expected("mlp", 1, None));
        assert_eq!(call("let a = mlp(x)"), None);
        assert_eq!(call("model m { let a = (x"), None);
    }
}
