//! The first pass over a file: its tokens, its comments, its brackets, and the *cooked* text that
//! the grammar reads.
//!
//! Guarantees: linear time; what it accepts has balanced brackets nested at most [`MAX_NESTING`]
//! deep, closed strings and no foreign characters, so that the grammar, which recurses on brackets
//! only, cannot exhaust the stack. The cooked text has the length of the file and the same byte
//! offsets: ordinary comments, and line breaks inside `( )` and `[ ]`, are spaces in it.

mod brackets;

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

/// Words that begin a member of a model.
pub const MEMBER_WORDS: [&str; 17] = [
    "features",
    "sequence",
    "label",
    "key",
    "embedding",
    "hyper",
    "let",
    "layer",
    "param",
    "constant",
    "predict",
    "train",
    "report",
    "assert",
    "output",
    "common",
    "request",
];
const MARKS_2: [&str; 7] = ["->", "=>", "==", "!=", "<=", ">=", ".."];
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
    let cooked = String::from_utf8(s.cooked).expect("only whole characters were replaced, byte by byte, by spaces");
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
                let unit = unit_start(rest);
                let n = unit + rest.get(unit..).and_then(|r| r.find(|c| !is_word(c))).unwrap_or(rest.len() - unit);
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

    /// Characters that would act on a terminal or hide text from a reader, in a comment or a
    /// string.
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

    /// Leaves `length` bad bytes behind as a name would stand there, so that one fault is reported
    /// once.
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
            .help(match c {
                '“' | '”' | '„' | '«' | '»' | '‘' | '’' => {
                    "strings are written with the straight quote `\"`"
                }
                '−' | '–' | '—' => "write the ASCII `-`",
                '×' | '·' => "write `*`",
                '÷' => "write `/`",
                '→' => "write `->` or `=>`",
                '?' => "to choose, write `if c { a } else { b }` at compile time, or `select(c, a, b)`",
                _ => "outside of strings and comments, use ASCII letters, digits and the marks of the language",
            });
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
        // `1%` before the end of an argument or a line.
        let after = rest.get(1..).unwrap_or("").trim_start_matches(' ');
        let percent = mark == "%" && (after.is_empty() || after.starts_with([')', ',', '\n', '\r', ']', '}']));
        self.errors.push(error.help(match percent {
            true => "write a percentage as a fraction: 1 percent is `0.01`",
            false => foreign.help,
        }));
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
}

fn rest_bytes(text: &str, at: usize, length: usize) -> impl Iterator<Item = u8> + use<'_> {
    text.as_bytes().iter().skip(at).take(length).copied()
}

/// The bytes of a number before its unit: digits, fraction and exponent, as the rule `number` reads
/// them.
pub(crate) fn unit_start(text: &str) -> usize {
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
