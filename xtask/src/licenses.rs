//! The licences of everything that is compiled into Din, held against `deny.toml`. cargo-deny reads
//! that file too, and also knows advisories and duplicate versions; this check needs nothing that
//! is not already there.

use crate::command::{Outcome, cargo, output, read};
use serde_json::Value;

/// The one platform that Din runs on.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

pub fn check() -> Outcome {
    eprintln!("\n== licences (deny.toml)");
    let allowed = allowed(&read("deny.toml")?)?;
    let metadata = ["metadata", "--locked", "--format-version", "1", "--filter-platform", TRIPLE];
    let metadata: Value =
        serde_json::from_str(&output(&mut cargo(metadata))?).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let refused: Vec<String> = packages.iter().filter_map(|package| refuse(package, &allowed).err()).collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(format!("licences that deny.toml does not allow:\n{}", refused.join("\n")))
}

fn refuse(package: &Value, allowed: &[String]) -> Outcome {
    let text = |field: &str| package[field].as_str();
    let name = format!("{} {}", text("name").unwrap_or("?"), text("version").unwrap_or("?"));
    let license = text("license").ok_or_else(|| format!("{name} states no licence"))?;
    match Expression::new(license).holds(allowed) {
        Some(true) => Ok(()),
        Some(false) => Err(format!("{name} has {license}")),
        None => Err(format!("{name} has `{license}`, which is not an SPDX expression")),
    }
}

/// The list `allow` of `deny.toml`'s `[licenses]`, one licence per line.
fn allowed(deny: &str) -> Result<Vec<String>, String> {
    let lines = deny.lines().skip_while(|line| *line != "[licenses]").skip_while(|line| *line != "allow = [").skip(1);
    let lines = lines.map(str::trim).take_while(|line| *line != "]");
    let licenses: Vec<String> = lines
        .filter(|line| !line.starts_with('#'))
        .map(|line| match line.strip_prefix('"').and_then(|line| line.strip_suffix("\",")) {
            Some(license) => Ok(license.to_string()),
            None => Err(format!("deny.toml: `{line}` in `allow` is not a licence in quotes")),
        })
        .collect::<Result<_, _>>()?;
    if licenses.is_empty() { Err("deny.toml allows no licence".into()) } else { Ok(licenses) }
}

/// An SPDX licence expression, also with the older `/` for `OR`.
struct Expression {
    /// What is still to be read, the next word last.
    words: Vec<String>,
}

impl Expression {
    fn new(text: &str) -> Self {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        Expression { words: spaced.split_whitespace().rev().map(str::to_string).collect() }
    }

    /// Whether the licences allow it; `None` where it is not an expression.
    fn holds(mut self, allowed: &[String]) -> Option<bool> {
        let holds = self.or(allowed)?;
        self.words.is_empty().then_some(holds)
    }

    fn or(&mut self, allowed: &[String]) -> Option<bool> {
        let mut holds = self.and(allowed)?;
        while self.accept("OR") {
            holds |= self.and(allowed)?;
        }
        Some(holds)
    }

    fn and(&mut self, allowed: &[String]) -> Option<bool> {
        let mut holds = self.license(allowed)?;
        while self.accept("AND") {
            holds &= self.license(allowed)?;
        }
        Some(holds)
    }

    fn license(&mut self, allowed: &[String]) -> Option<bool> {
        if self.accept("(") {
            let holds = self.or(allowed)?;
            return self.accept(")").then_some(holds);
        }
        let mut license = self.words.pop()?;
        if ["OR", "AND", "WITH", ")"].contains(&license.as_str()) {
            return None;
        }
        if self.accept("WITH") {
            license = format!("{license} WITH {}", self.words.pop()?);
        }
        Some(allowed.contains(&license))
    }

    fn accept(&mut self, word: &str) -> bool {
        let found = self.words.last().is_some_and(|next| next == word);
        if found {
            self.words.pop();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_hold_as_spdx_says() {
        let allowed = ["MIT", "Apache-2.0", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_string);
        let holds = |text: &str| Expression::new(text).holds(&allowed);
        for text in [
            "MIT",
            "GPL-3.0-only OR MIT",
            "MIT/GPL-2.0-only",
            "Apache-2.0 / MIT",
            "Apache-2.0 WITH LLVM-exception",
            "(GPL-3.0-only OR MIT) AND Zlib",
            "GPL-3.0-only AND GPL-2.0-only OR MIT",
            "MIT OR GPL-3.0-only AND GPL-2.0-only",
        ] {
            assert_eq!(holds(text), Some(true), "{text}");
        }
        for text in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "MIT WITH LLVM-exception",
            "(GPL-3.0-only OR MIT) AND GPL-2.0-only",
            "mit",
        ] {
            assert_eq!(holds(text), Some(false), "{text}");
        }
        for text in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT Zlib", "MIT WITH", "()"] {
            assert_eq!(holds(text), None, "{text}");
        }
    }

    #[test]
    fn packages_are_refused_by_name() {
        let allowed = ["MIT".to_string()];
        let package = |license: Value| json!({"name": "thing", "version": "1.2.3", "license": license});
        assert_eq!(refuse(&package(json!("MIT")), &allowed), Ok(()));
        assert_eq!(refuse(&package(json!("Zlib")), &allowed), Err("thing 1.2.3 has Zlib".into()));
        assert_eq!(refuse(&package(Value::Null), &allowed), Err("thing 1.2.3 states no licence".into()));
    }

    #[test]
    fn the_allowed_licences_are_read() {
        let text = "[other]\nallow = [\n    \"X\",\n]\n\n[licenses]\nversion = 2\nallow = [\n    # why\n    \"MIT\",\n    \"Zlib\",\n]\n";
        assert_eq!(allowed(text), Ok(vec!["MIT".to_string(), "Zlib".to_string()]));
        assert!(allowed("[licenses]\nallow = [\n]\n").is_err());
        assert!(allowed("[licenses]\nallow = [\n    MIT\n]\n").is_err());
        let here = allowed(&read("deny.toml").unwrap()).unwrap();
        assert!(here.contains(&"MIT".to_string()));
        assert!(!here.iter().any(|license| license.contains("GPL")), "{here:?}");
    }
}
