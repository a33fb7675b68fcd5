//! Brackets: which one closes which, and how mismatched brackets are reported and repaired.
//!
//! Guarantees: after the scan, unless it is fatal, the brackets of the cooked text match. A bracket
//! that closes nothing, or is never closed, becomes a blank there; an unclosed `{` is closed where
//! the text is no longer indented further than its line, or else in the blanks before the next
//! definition or at the end.

use super::{MEMBER_WORDS, Open, Scanner, TokenKind, is_word};
use crate::Diagnostic;
use crate::scan::Token;

impl Scanner<'_> {
    /// A closing bracket. One that does not fit is reported, and the cooked text is repaired so
    /// that the rest can be parsed.
    pub(super) fn close(&mut self, mark: u8) {
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
                    self.errors.push(self.commented_out(open, error).help(help));
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

    /// Takes an unclosed bracket out of the cooked text, and gives back the line ends that it made
    /// blanks.
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

    /// Before a word: one that begins a statement cannot stand inside parentheses, and one that
    /// begins a definition at the left margin cannot stand inside a block, so a bracket was left
    /// open.
    pub(super) fn before_word(&mut self, word: &str) {
        if self.open.is_empty() || self.breaks == 0 {
            return;
        }
        let margin = self.at == 0 || self.text.as_bytes().get(self.at - 1) == Some(&b'\n');
        if margin && matches!(word, "fn" | "model" | "schema") && self.heads_definition(word) {
            self.definition_ends(Some(word.len()));
        } else if matches!(word, "let" | "layer" | "param" | "constant" | "state" | "update" | "use")
            || self.heads_member(word)
        {
            let here = self.span(self.at, self.at + word.len());
            while let Some(open) = self.open.pop_if(|open| open.mark != b'{') {
                let error = self.unclosed(open).label(here, "the next statement begins here");
                let help = format!("add the missing `{}`", closing(open.mark) as char);
                self.errors.push(self.commented_out(open, error).help(help));
                self.without(open);
            }
        }
    }

    /// A word that begins a member, with what no expression has behind a name: another name, or
    /// `{`.
    fn heads_member(&self, word: &str) -> bool {
        if !MEMBER_WORDS.contains(&word) {
            return false;
        }
        let rest = self.rest().get(word.len()..).unwrap_or("").trim_start_matches([' ', '\t']);
        let next = rest.get(..rest.find(|c| !is_word(c)).unwrap_or(rest.len())).unwrap_or("");
        let operator = matches!(next, "and" | "or" | "where" | "over" | "else" | "for" | "in");
        rest.starts_with('{') || (next.starts_with(|c: char| !c.is_ascii_digit()) && !operator)
    }

    /// Adds, where it is so, that a comment holds the bracket which would close `open`.
    fn commented_out(&self, open: Open, error: Diagnostic) -> Diagnostic {
        let line = self.text.get(open.at..).map_or(0, |rest| rest.find('\n').unwrap_or(rest.len()));
        let hides = self.tokens.iter().rev().take_while(|t| t.start > open.at).find(|t| {
            let text = self.text.get(t.start..t.end).unwrap_or("");
            t.kind == TokenKind::Comment && t.start < open.at + line && text.contains(closing(open.mark) as char)
        });
        match hides {
            Some(comment) => error
                .label(self.span(comment.start, comment.start + 2), "begins a comment, to the end of the line")
                .note("`//` divides nothing: write `/`"),
            None => error,
        }
    }

    /// `fn name(` or `model name`: not the type `fn`.
    fn heads_definition(&self, word: &str) -> bool {
        let rest = self.rest().get(word.len()..).unwrap_or("").trim_start_matches(' ');
        let name = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        name > 0 && (word != "fn" || rest.get(name..).is_some_and(|r| r.trim_start_matches(' ').starts_with('(')))
    }

    /// The file, or with the length of its first word the next definition, comes where brackets are
    /// open: reports the innermost, and closes all in the cooked text.
    pub(super) fn definition_ends(&mut self, next: Option<usize>) {
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
        // Closed where the indentation ends, that block and what follows parse as they were meant.
        let unclosed = suspect.map_or(last, |(at, _)| Open { mark: b'{', at });
        let mut missing = 0;
        if unclosed.mark == b'{' && self.close_by_indent(unclosed) {
            self.open.pop_if(|open| open.mark == b'{');
        }
        while let Some(open) = self.open.pop() {
            if open.mark == b'{' {
                missing += 1;
            } else {
                self.without(open);
            }
        }
        self.suspect = None;
        // Closing braces go where blanks are: between the last token and this one, or behind the
        // end.
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

    /// Closes a block in the cooked text before the first line that is indented no further than the
    /// block's own; whether there is such a line.
    fn close_by_indent(&mut self, open: Open) -> bool {
        let indent = self.indent(open.at);
        let begins = |t: &Token| {
            t.start > open.at && t.breaks > 0 && t.kind != TokenKind::Comment && self.indent(t.start) <= indent
        };
        let Some(next) = self.tokens.iter().position(begins) else { return false };
        let start = self.tokens[next].start;
        if self.text.as_bytes()[start] == b'}' {
            return false;
        }
        // There is a line end before the token, or blanks behind one.
        let at = start - 1;
        self.cooked[at] = b'}';
        self.tokens.insert(next, Token { kind: TokenKind::Mark, start: at, end: at + 1, breaks: 0 });
        true
    }

    /// The blanks before the first mark of the line at a place.
    fn indent(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or("");
        let line = before.rfind('\n').map_or(0, |i| i + 1);
        self.text.get(line..).map_or(0, |l| l.len() - l.trim_start_matches([' ', '\t']).len())
    }
}

fn closing(mark: u8) -> u8 {
    match mark {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}
