//! Levels of warnings: what `din.toml` and the command line of `check` make of them.

use crate::codes::CodePage;
use din_grammar::{Diagnostic, Severity};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::str::FromStr;

/// What becomes of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LintLevel {
    /// It is not shown.
    Allow,
    /// It is shown.
    Warn,
    /// It is an error.
    Deny,
}

/// Which warnings a level is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LintSet {
    /// Those whose codes have no level of their own.
    All,
    /// Those of a code.
    Code(&'static str),
}

/// The word for [`LintSet::All`].
const ALL: &str = "warnings";

impl FromStr for LintSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == ALL {
            return Ok(Self::All);
        }
        let page = CodePage::of(text).map_err(|why| format!("{why}; `{ALL}` stands for all warnings"))?;
        match page.code.starts_with('W') {
            true => Ok(Self::Code(page.code)),
            false => Err(format!("{} is an error, which has no level; warnings begin with W", page.code)),
        }
    }
}

/// Levels from one place.
#[derive(Clone, Debug, Default, PartialEq)]
struct Levels {
    all: Option<LintLevel>,
    codes: BTreeMap<&'static str, LintLevel>,
}

/// The levels of all warnings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LintLevels {
    project: Levels,
    command: Levels,
}

impl LintLevels {
    /// What `din.toml` says.
    pub fn set_in_project(&mut self, set: LintSet, level: LintLevel) {
        match set {
            LintSet::All => self.project.all = Some(level),
            LintSet::Code(code) => {
                self.project.codes.insert(code, level);
            }
        }
    }

    /// What the command line says, of which the strictest level holds.
    pub fn set_by_command(&mut self, set: LintSet, level: LintLevel) {
        let known = match set {
            LintSet::All => self.command.all.get_or_insert(level),
            LintSet::Code(code) => self.command.codes.entry(code).or_insert(level),
        };
        *known = level.max(*known);
    }

    /// The level of a code. A level of its own comes before that of `warnings`, and the command
    /// line before `din.toml`, whose allowed codes `--deny warnings` leaves allowed.
    fn of(&self, code: &str) -> LintLevel {
        let own = self.project.codes.get(code).copied();
        match (self.command.codes.get(code), self.command.all) {
            (Some(&level), _) => level,
            (None, Some(_)) if own == Some(LintLevel::Allow) => LintLevel::Allow,
            (None, Some(level)) => level,
            (None, None) => own.or(self.project.all).unwrap_or(LintLevel::Warn),
        }
    }

    /// Leaves out what is allowed, and makes errors of what is denied.
    pub fn apply(&self, diagnostics: &mut Vec<Diagnostic>) {
        diagnostics.retain_mut(|diagnostic| match diagnostic.severity {
            Severity::Error => true,
            Severity::Warning => match self.of(diagnostic.code) {
                LintLevel::Allow => false,
                LintLevel::Warn => true,
                LintLevel::Deny => {
                    diagnostic.severity = Severity::Error;
                    true
                }
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LintLevel::{Allow, Deny, Warn};

    fn set(text: &str) -> LintSet {
        text.parse().expect("a code of a warning")
    }

    #[test]
    fn only_warnings_have_levels() {
        assert_eq!(set("warnings"), LintSet::All);
        assert_eq!(set("w0201"), LintSet::Code("W0201"));
        assert!("E0301".parse::<LintSet>().expect_err("an error").contains("E0301 is an error"));
        assert!("W9999".parse::<LintSet>().expect_err("no code").contains("there is no such code"));
    }

    #[test]
    fn the_level_of_a_code_comes_before_that_of_all_and_the_command_line_before_the_project() {
        let mut levels = LintLevels::default();
        assert_eq!(levels.of("W0201"), Warn);
        levels.set_in_project(set("warnings"), Allow);
        levels.set_in_project(set("W0203"), Deny);
        assert_eq!((levels.of("W0201"), levels.of("W0203")), (Allow, Deny));
        levels.set_by_command(set("W0203"), Warn);
        assert_eq!(levels.of("W0203"), Warn);
        levels.set_by_command(set("W0203"), Deny);
        levels.set_by_command(set("W0203"), Allow);
        assert_eq!(levels.of("W0203"), Deny);
    }

    #[test]
    fn denying_all_warnings_leaves_those_that_the_project_allows() {
        let mut levels = LintLevels::default();
        levels.set_in_project(set("W0201"), Allow);
        levels.set_in_project(set("W0203"), Warn);
        levels.set_by_command(set("warnings"), Deny);
        assert_eq!((levels.of("W0201"), levels.of("W0203"), levels.of("W0401")), (Allow, Deny, Deny));
        levels.set_by_command(set("W0203"), Warn);
        assert_eq!(levels.of("W0203"), Warn);
    }
}
