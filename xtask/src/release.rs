//! Tagging a version, after everything that must hold has been checked.

use crate::arguments::{TestOptions, Version};
use crate::check::check;
use crate::command::{Outcome, output, program, read, run};
use crate::test::test;

pub fn release(version: &Version) -> Outcome {
    let tag = format!("v{version}");
    clean(&output(&mut program("git", ["status", "--porcelain"]))?)?;
    if !output(&mut program("git", ["tag", "--list", &tag]))?.is_empty() {
        return Err(format!("the tag {tag} is there already"));
    }
    manifest_agrees(&read("Cargo.toml")?, version)?;
    changelog_agrees(&read("CHANGELOG.md")?, version)?;
    check()?;
    test(&TestOptions { nvrtc: true, mpi: true, arguments: Vec::new() })?;
    // The checks may have changed a file, such as Cargo.lock.
    clean(&output(&mut program("git", ["status", "--porcelain"]))?)?;
    run(&mut program("git", ["tag", "--annotate", &tag, "--message", &format!("Din {version}")]))?;
    let branch = output(&mut program("git", ["branch", "--show-current"]))?;
    println!("\n{tag} is tagged here. To publish it:\n\n    git push origin {} {tag}", branch.trim());
    Ok(())
}

/// `status` is what `git status --porcelain` prints.
fn clean(status: &str) -> Outcome {
    if status.is_empty() { Ok(()) } else { Err(format!("commit these changes first:\n{}", status.trim_end())) }
}

/// The version of `[workspace.package]` is the one to release.
fn manifest_agrees(manifest: &str, version: &Version) -> Outcome {
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.package]").skip(1);
    let found = lines.take_while(|line| !line.starts_with('[')).find_map(|line| line.strip_prefix("version = "));
    match found {
        Some(found) if found == format!("\"{version}\"") => Ok(()),
        Some(found) => Err(format!("Cargo.toml has version {found}, not \"{version}\"")),
        None => Err("Cargo.toml has no version in [workspace.package]".into()),
    }
}

/// The changelog begins with a section for the version, dated `YYYY-MM-DD`, that is not empty.
fn changelog_agrees(changelog: &str, version: &Version) -> Outcome {
    let mut sections = changelog.split("\n## ").skip(1);
    let section = sections.next().ok_or("CHANGELOG.md has no section")?;
    let (title, body) = section.split_once('\n').unwrap_or((section, ""));
    let Some(date) = title.strip_prefix(&format!("{version}, ")) else {
        return Err(format!("the first section of CHANGELOG.md is `{title}`, not `{version}, YYYY-MM-DD`"));
    };
    let digits = date.replace(|c: char| c.is_ascii_digit(), "0");
    if digits != "0000-00-00" {
        return Err(format!("CHANGELOG.md dates {version} `{date}`; expected YYYY-MM-DD"));
    }
    if body.trim().is_empty() {
        return Err(format!("CHANGELOG.md says nothing of {version}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: Version = Version(0, 2, 1);

    #[test]
    fn only_a_tree_without_changes_is_clean() {
        assert_eq!(clean(""), Ok(()));
        assert_eq!(clean(" M Cargo.lock\n"), Err("commit these changes first:\n M Cargo.lock".into()));
    }

    #[test]
    fn the_manifest_has_the_version() {
        let text = |version: &str| {
            format!("[workspace]\n[workspace.package]\nedition = \"2024\"\nversion = \"{version}\"\n\n[dependencies]\n")
        };
        assert_eq!(manifest_agrees(&text("0.2.1"), &VERSION), Ok(()));
        let why = manifest_agrees(&text("0.2.10"), &VERSION).unwrap_err();
        assert_eq!(why, "Cargo.toml has version \"0.2.10\", not \"0.2.1\"");
        // That of another table does not count.
        let other = "[workspace.package]\n[workspace.dependencies]\nversion = \"0.2.1\"\n";
        assert!(manifest_agrees(other, &VERSION).is_err());
        assert!(manifest_agrees("", &VERSION).is_err());
        let here = read("Cargo.toml").unwrap();
        assert_eq!(manifest_agrees(&here, &env!("CARGO_PKG_VERSION").parse().unwrap()), Ok(()));
    }

    #[test]
    fn the_changelog_has_a_dated_section() {
        let text =
            |title: &str| format!("# Changelog\n\n## {title}\n\n- A change.\n\n## 0.1.0, 2026-11-28\n\n- First.\n");
        assert_eq!(changelog_agrees(&text("0.2.1, 2026-12-01"), &VERSION), Ok(()));
        for wrong in ["0.2.1, unreleased", "0.2.1", "0.2.10, 2026-12-01", "0.2.1, 2026-12", "Next"] {
            assert!(changelog_agrees(&text(wrong), &VERSION).is_err(), "{wrong}");
        }
        assert!(
            changelog_agrees("# Changelog\n\n## 0.2.1, 2026-12-01\n\n## 0.1.0, 2026-11-28\n\n- First.\n", &VERSION)
                .is_err()
        );
        // An older section does not count, nor does a file without any.
        assert!(changelog_agrees(&text("0.2.1, 2026-12-01"), &Version(0, 1, 0)).is_err());
        assert!(changelog_agrees("# Changelog\n", &VERSION).is_err());
    }
}
