//! The first pass over a file: its tokens, its comments, its brackets, and the *cooked* text that the grammar reads.
//!
//! Guarantees: linear time; what it accepts has balanced brackets nested at most [`MAX_NESTING`] deep, closed strings and
//! no foreign characters, so that the grammar, which recurses on brackets only, cannot exhaust the stack. The cooked text
//! has the length of the file and the same byte offsets: ordinary comments, and line breaks inside `( )` and `[ ]`, are
//! spaces in it.

use crate::{Diagnostic, FileId, Span};

/// Brackets of all kinds may nest this deep.
pub const MAX_NESTING: usize = 128;
/// The size of a file in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Lexical errors after which the rest of the file is not scanned for more.
const MAX_ERRORS: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Word,
    Number,
    String,
    /// One mark: `(`, `->`, `==`…
    Mark,
    /// `// …`
    Comment,
    /// `/// …`
    Doc,
    /// `//! …`
    FileDoc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
    /// Line breaks between the previous token and this one.
    pub breaks: u32,
}

pub(crate) struct Scan {
    pub tokens: Vec<Token>,
    pub cooked: String,
    pub errors: Vec<Diagnostic>,
    /// Nothing more can be said of the file.
    pub fatal: bool,
}

const MARKS_2: [&str; 6] = ["->", "=>", "==", "!=", "<=", ">="];
const MARKS_1: &str = "(){}[],:.~=<>+-*/@^";

#[derive(Clone, Copy)]
struct Open {
    mark: u8,
    at: usize,
}

struct Scanner<'t> {
    text: &'t str,
    file: FileId,
    at: usize,
    breaks: u32,
    tokens: Vec<Token>,
    cooked: Vec<u8>,
    errors: Vec<Diagnostic>,
    open: Vec<Open>,
    /// The last `{` whose `}` stands further left than it should, with that `}`.
    suspect: Option<(usize, usize)>,
    fatal: bool,
}

pub(crate) fn scan(text: &str, file: FileId) -> Scan {
    if text.len() > MAX_BYTES {
        let end = (0..=64).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
        let error = Diagnostic::error("E0109", "this file is too large", Span::new(file, 0, end), "in this file")
            .note(format!("expected at most {MAX_BYTES} bytes"))
            .note(format!("found {} bytes", text.len()))
            .help("divide it into several files and import them with `use`");
        return Scan { tokens: Vec::new(), cooked: String::new(), errors: vec![error], fatal: true };
    }
    let mut s = Scanner {
        text,
        file,
        at: 0,
        breaks: 0,
        tokens: Vec::new(),
        cooked: text.as_bytes().to_vec(),
        errors: Vec::new(),
        open: Vec::new(),
        suspect: None,
        fatal: false,
    };
    if text.starts_with('\u{FEFF}') {
        s.at = '\u{FEFF}'.len_utf8();
    }
    while s.at < text.len() && !s.fatal {
        s.step();
        s.fatal |= s.errors.len() >= MAX_ERRORS;
    }
    if !s.fatal {
        s.definition_ends(None);
    }
    // Only whole characters were replaced, byte by byte, by spaces.
    let cooked = String::from_utf8(s.cooked).unwrap_or_default();
    Scan { tokens: s.tokens, cooked, errors: s.errors, fatal: s.fatal }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end)
    }

    fn blank(&mut self, start: usize, end: usize) {
        if let Some(bytes) = self.cooked.get_mut(start..end) {
            bytes.fill(b' ');
        }
    }

    fn token(&mut self, kind: TokenKind, length: usize) {
        self.tokens.push(Token { kind, start: self.at, end: self.at + length, breaks: self.breaks });
        self.breaks = 0;
        self.at += length;
    }

    fn step(&mut self) {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else { return };
        match c {
            '\n' => {
                if matches!(self.open.last(), Some(Open { mark: b'(' | b'[', .. })) {
                    self.blank(self.at, self.at + 1);
                }
                self.breaks += 1;
                self.at += 1;
            }
            ' ' | '\t' | '\r' => self.at += 1,
            '/' if rest.starts_with("//") => self.comment(),
            '"' => self.string(),
            _ if c.is_ascii_digit() => {
                let n = number_length(rest);
                self.token(TokenKind::Number, n);
            }
            _ if is_word(c) => {
                let n = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                self.before_word(rest.get(..n).unwrap_or(""));
                self.token(TokenKind::Word, n);
            }
            _ => self.mark(c),
        }
    }

    /// Characters that would act on a terminal or hide text from a reader, in a comment or a string.
    fn unseen(&mut self, start: usize, end: usize) {
        let text = self.text.get(start..end).unwrap_or("");
        let bad = |c: char| {
            (c.is_control() && !matches!(c, '\t' | '\r'))
                || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
        };
        if let Some((i, c)) = text.char_indices().find(|(_, c)| bad(*c)) {
            let span = self.span(start + i, start + i + c.len_utf8());
            let message = format!("the control character `{}` is not part of the language", c.escape_unicode());
            let error = Diagnostic::error("E0102", message, span, "an unseen character");
            self.errors.push(error.help("remove it"));
        }
    }

    fn comment(&mut self) {
        let rest = self.rest();
        let length = rest.find('\n').unwrap_or(rest.len());
        self.unseen(self.at, self.at + length);
        let kind = if rest.starts_with("//!") {
            TokenKind::FileDoc
        } else if rest.starts_with("///") && !rest.starts_with("////") {
            TokenKind::Doc
        } else {
            TokenKind::Comment
        };
        let (start, end) = (self.at, self.at + length);
        if kind != TokenKind::Comment && !self.doc_in_place() {
            let span = self.span(start, end);
            self.errors.push(
                Diagnostic::error("E0110", "this doc comment documents nothing", span, "not before a definition")
                    .note("expected on lines of its own, before what it documents")
                    .help("write an ordinary comment, with `//`"),
            );
            self.blank(start, end);
        } else if kind == TokenKind::Comment {
            self.blank(start, end);
        }
        self.token(kind, length);
    }

    /// A doc comment begins its line and stands outside of parentheses.
    fn doc_in_place(&self) -> bool {
        (self.breaks > 0 || self.tokens.is_empty()) && !matches!(self.open.last(), Some(Open { mark: b'(' | b'[', .. }))
    }

    fn string(&mut self) {
        let rest = self.rest();
        let mut escaped = false;
        for (i, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.unseen(self.at, self.at + i + 1);
                    return self.token(TokenKind::String, i + 1);
                }
                _ => {}
            }
        }
        let line = rest.split('\n').next().unwrap_or("").trim_end().len().max(1);
        let span = self.span(self.at, self.at + line);
        self.errors.push(
            Diagnostic::error("E0104", "this string is not closed", span, "no `\"` before the end of the line")
                .help("close it with `\"`"),
        );
        self.neutral(line);
    }

    /// Leaves `length` bad bytes behind as a name would stand there, so that one fault is told once.
    fn neutral(&mut self, length: usize) {
        if let Some(bytes) = self.cooked.get_mut(self.at..self.at + length) {
            bytes.fill(b'_');
            bytes[0] = b'x';
        }
        self.token(TokenKind::Word, length);
    }

    fn mark(&mut self, c: char) {
        let rest = self.rest();
        if let Some(foreign) = foreign(rest) {
            return self.foreign(foreign);
        }
        if let Some(two) = rest.get(..2)
            && MARKS_2.contains(&two)
        {
            return self.token(TokenKind::Mark, 2);
        }
        if !MARKS_1.contains(c) {
            let length: usize = rest.chars().take_while(|&c| !c.is_ascii()).map(char::len_utf8).sum();
            let length = length.max(c.len_utf8());
            let found = rest.get(..length).unwrap_or("").escape_debug().to_string();
            let error = Diagnostic::error(
                "E0102",
                format!("`{found}` is not part of the language"),
                self.span(self.at, self.at + length),
                if c.is_ascii() { "unknown character" } else { "names are ASCII letters, digits and `_`" },
            )
            .help("outside of strings and comments, use ASCII letters, digits and the marks of the language");
            self.errors.push(error);
            if c.is_alphabetic() {
                self.neutral(length);
            } else {
                self.blank(self.at, self.at + length);
                self.at += length;
            }
            return;
        }
        match c {
            '(' | '[' | '{' => {
                self.open.push(Open { mark: c as u8, at: self.at });
                if self.open.len() > MAX_NESTING {
                    let error = Diagnostic::error(
                        "E0107",
                        "brackets are nested too deep",
                        self.span(self.at, self.at + 1),
                        "one level too many",
                    )
                    .note(format!("expected at most {MAX_NESTING} levels"))
                    .help("name an inner part with `let`, or make it a function");
                    self.errors.push(error);
                    self.fatal = true;
                }
            }
            ')' | ']' | '}' => return self.close(c as u8),
            _ => {}
        }
        self.token(TokenKind::Mark, 1);
    }

    /// Reports a mark of another language and goes on as if its counterpart had been written.
    fn foreign(&mut self, foreign: &Foreign) {
        let rest = self.rest();
        let mark = foreign.mark;
        let line = rest.find('\n').unwrap_or(rest.len());
        let error = Diagnostic::error(
            "E0102",
            format!("`{mark}` is not part of the language"),
            self.span(self.at, self.at + mark.len()),
            "not a mark of Din",
        );
        // The rest of a comment or string says nothing to the grammar.
        let skipped = match mark {
            "/*" => rest.find("*/").map_or(line, |n| n + 2),
            "#" => line,
            "'" => rest.get(1..line).and_then(|r| r.find('\'')).map_or(1, |n| n + 2),
            _ => 0,
        };
        self.errors.push(error.help(foreign.help));
        if mark == "'" && skipped > 1 {
            return self.neutral(skipped);
        }
        if skipped > 0 {
            for (i, b) in rest_bytes(self.text, self.at, skipped).enumerate() {
                if b != b'\n' {
                    self.blank(self.at + i, self.at + i + 1);
                }
            }
            self.at += skipped;
            return;
        }
        if let Some(bytes) = self.cooked.get_mut(self.at..self.at + mark.len()) {
            bytes.copy_from_slice(foreign.cooked.as_bytes());
        }
        self.at += mark.len();
    }

    /// A closing bracket. One that does not fit is told, and the cooked text is mended so that the rest can be read.
    fn close(&mut self, mark: u8) {
        let meant = self.open.iter().rposition(|open| closing(open.mark) == mark);
        let here = self.span(self.at, self.at + 1);
        match (self.open.last().copied(), meant) {
            (Some(open), _) if closing(open.mark) == mark => {
                self.open.pop();
                if mark == b'}' && self.breaks > 0 && self.indent(self.at) < self.indent(open.at) {
                    self.suspect = Some((open.at, self.at));
                }
                self.token(TokenKind::Mark, 1);
            }
            (Some(_), Some(meant)) => {
                while self.open.len() > meant + 1
                    && let Some(open) = self.open.pop()
                {
                    let error = self.unclosed(open).label(here, format!("found `{}` instead", mark as char));
                    let help = format!("add `{}` before the `{}`", closing(open.mark) as char, mark as char);
                    self.errors.push(error.help(help));
                    self.without(open);
                }
                self.open.pop();
                self.token(TokenKind::Mark, 1);
            }
            (Some(open), None) if open.mark != b'{' && mark != b'}' => {
                let error = self.unclosed(open).label(here, format!("found `{}` instead", mark as char));
                self.errors.push(error.help(format!("write `{}` here", closing(open.mark) as char)));
                self.open.pop();
                if let Some(byte) = self.cooked.get_mut(self.at) {
                    *byte = closing(open.mark);
                }
                self.token(TokenKind::Mark, 1);
            }
            _ => {
                let error =
                    Diagnostic::error("E0108", format!("`{}` closes nothing", mark as char), here, "none is open")
                        .help("remove it, or look for a bracket closed too early above");
                self.errors.push(error);
                self.blank(self.at, self.at + 1);
                self.at += 1;
            }
        }
    }

    fn unclosed(&self, open: Open) -> Diagnostic {
        Diagnostic::error(
            "E0108",
            format!("`{}` is not closed", open.mark as char),
            self.span(open.at, open.at + 1),
            format!("expected a `{}` for this one", closing(open.mark) as char),
        )
    }

    /// Takes an unclosed bracket out of the cooked text, and gives back the line ends that it made blanks.
    fn without(&mut self, open: Open) {
        self.blank(open.at, open.at + 1);
        for i in open.at..self.at {
            if self.text.as_bytes().get(i) == Some(&b'\n')
                && let Some(byte) = self.cooked.get_mut(i)
            {
                *byte = b'\n';
            }
        }
    }

    /// Before a word: one that begins a statement cannot stand inside parentheses, and one that begins a definition at the
    /// left margin cannot stand inside a block, so a bracket was left open.
    fn before_word(&mut self, word: &str) {
        if self.open.is_empty() || self.breaks == 0 {
            return;
        }
        let margin = self.at == 0 || self.text.as_bytes().get(self.at - 1) == Some(&b'\n');
        if margin && matches!(word, "fn" | "model") && self.heads_definition(word) {
            self.definition_ends(Some(word.len()));
        } else if matches!(word, "let" | "layer" | "param" | "state" | "update" | "use") {
            let here = self.span(self.at, self.at + word.len());
            while let Some(open) = self.open.pop_if(|open| open.mark != b'{') {
                let error = self.unclosed(open).label(here, "the next statement begins here");
                self.errors.push(error.help(format!("add the missing `{}`", closing(open.mark) as char)));
                self.without(open);
            }
        }
    }

    /// `fn name(` or `model name`: not the type `fn`.
    fn heads_definition(&self, word: &str) -> bool {
        let rest = self.rest().get(word.len()..).unwrap_or("").trim_start_matches(' ');
        let name = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        name > 0 && (word == "model" || rest.get(name..).is_some_and(|r| r.trim_start_matches(' ').starts_with('(')))
    }

    /// The file, or with the length of its first word the next definition, comes where brackets are open: tells the
    /// innermost, and closes all in the cooked text.
    fn definition_ends(&mut self, next: Option<usize>) {
        let Some(&last) = self.open.last() else { return };
        let here = self.span(self.at, self.at + next.unwrap_or(0));
        let said = if next.is_some() { "the next definition begins here" } else { "the file ends here" };
        // A `}` further left than the line of its `{` was meant for another.
        let suspect = self.suspect.filter(|(at, _)| last.mark == b'{' && *at > last.at);
        let mut error = match suspect {
            Some((at, _)) => self.unclosed(Open { mark: b'{', at }),
            None => self.unclosed(last),
        };
        if let Some((_, close)) = suspect {
            error = error.label(self.span(close, close + 1), "this one seems to belong to an outer block");
        }
        self.errors.push(error.label(here, said).help(format!("add the missing `{}`", closing(last.mark) as char)));
        let mut missing = 0;
        while let Some(open) = self.open.pop() {
            if open.mark == b'{' {
                missing += 1;
            } else {
                self.without(open);
            }
        }
        self.suspect = None;
        // Closing braces go where blanks are: between the last token and this one, or behind the end.
        let end = if next.is_some() { self.at } else { self.text.len() + missing };
        if next.is_none() {
            self.cooked.resize(end, b' ');
        }
        let from = self.tokens.last().map_or(0, |t| t.end);
        if end < from + missing {
            self.fatal = true;
            return;
        }
        for at in end - missing..end {
            if let Some(byte) = self.cooked.get_mut(at) {
                *byte = b'}';
            }
            self.tokens.push(Token { kind: TokenKind::Mark, start: at, end: at + 1, breaks: 0 });
        }
        self.breaks = 1;
    }

    /// The blanks before the first mark of the line at a place.
    fn indent(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or("");
        let line = before.rfind('\n').map_or(0, |i| i + 1);
        self.text.get(line..).map_or(0, |l| l.len() - l.trim_start_matches([' ', '\t']).len())
    }
}

fn rest_bytes(text: &str, at: usize, length: usize) -> impl Iterator<Item = u8> + use<'_> {
    text.as_bytes().iter().skip(at).take(length).copied()
}

pub(crate) fn closing(mark: u8) -> u8 {
    match mark {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

/// `1_000`, `1.5e-3`, `24GiB`: as the rule `number` reads it.
fn number_length(text: &str) -> usize {
    let b = text.as_bytes();
    let at = |i: usize| b.get(i).copied().unwrap_or(0);
    let digits = |mut i: usize| {
        while at(i).is_ascii_digit() || (at(i) == b'_' && at(i + 1).is_ascii_digit()) {
            i += 1;
        }
        i
    };
    let mut i = digits(0);
    if at(i) == b'.' && at(i + 1).is_ascii_digit() {
        i = digits(i + 1);
    }
    if at(i) | 32 == b'e' {
        let j = if matches!(at(i + 1), b'+' | b'-') { i + 2 } else { i + 1 };
        if at(j).is_ascii_digit() {
            i = digits(j);
        }
    }
    while at(i).is_ascii_alphanumeric() || (at(i) == b'_' && i > 0) {
        i += 1;
    }
    i
}

/// A mark of another language, what Din writes instead, and what the grammar reads in its place.
struct Foreign {
    mark: &'static str,
    help: &'static str,
    cooked: &'static str,
}

fn foreign(rest: &str) -> Option<&'static Foreign> {
    const fn row(mark: &'static str, help: &'static str, cooked: &'static str) -> Foreign {
        Foreign { mark, help, cooked }
    }
    const TABLE: [Foreign; 14] = [
        row("&&", "write `and`", "* "),
        row("||", "write `or`", "* "),
        row("**", "write `^` for a power", "^ "),
        row("+=", "write the operation out: `x = x + …`", "= "),
        row("-=", "write the operation out: `x = x - …`", "= "),
        row("*=", "write the operation out: `x = x * …`", "= "),
        row("/=", "write the operation out: `x = x / …`", "= "),
        row("/*", "comments begin with `//` and end with the line", "  "),
        row("*/", "comments begin with `//` and end with the line", "  "),
        row(";", "statements end with their line; remove it", "\n"),
        row("#", "comments begin with `//`", " "),
        row("'", "strings are written with `\"`", " "),
        row("%", "there is no remainder operator", "*"),
        row("!", "write `not`", "-"),
    ];
    TABLE.iter().find(|row| rest.starts_with(row.mark) && !rest.starts_with("!="))
}
