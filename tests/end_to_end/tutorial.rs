//! `docs/tutorial.md` as its reader follows it: files are saved, changes made and commands run in
//! their order, and what these print is what the page shows, up to the last digits of metrics,
//! which depend on the instruction set level.

use crate::support::*;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// How far a number may be from the one that the page shows.
const TOLERANCE: f64 = 0.03;

/// The blocks of the page: what stands behind the first backticks, and the text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = page.split("\n```").collect();
    assert!(parts.len() % 2 == 1, "a block is not closed");
    let inner = parts.iter().skip(1).step_by(2);
    inner.map(|block| block.split_once('\n').expect("a block has a line of its kind")).collect()
}

/// The text after a change: lines that begin with `-` are replaced by those that begin with `+`,
/// and all others stay; `@@` stands between two places.
fn changed(text: &str, change: &str) -> String {
    let mut text = text.to_string();
    for place in change.split("\n@@\n") {
        let side = |left_out: char| -> String {
            place
                .lines()
                .filter(|line| !line.starts_with(left_out))
                .map(|line| format!("{}\n", line.get(1..).unwrap_or("")))
                .collect()
        };
        let (before, after) = (side('+'), side('-'));
        assert_eq!(text.matches(&before).count(), 1, "expected once:\n{before}\nin:\n{text}");
        text = text.replace(&before, &after);
    }
    text
}

/// Whether two lines say the same. Numbers with decimals need only be near, and in a row of a file,
/// which has no spaces, be numbers; which epoch was the best one is not compared.
fn agrees(shown: &str, printed: &str) -> bool {
    let words = |line: &str| -> Vec<String> {
        let line = line.trim_end_matches(", best so far");
        line.split([' ', ',', '|', '(', ')']).map(str::to_string).collect()
    };
    let number = |word: &str| word.contains('.').then(|| word.parse::<f64>().ok()).flatten();
    let tolerance = if shown.contains(' ') { TOLERANCE } else { f64::INFINITY };
    let chance = |line: &str| line.contains(" in epoch ") || line.contains("checkpoint step-");
    let (before, after) = (words(shown), words(printed));
    let counted = |word: &str| word.trim_start_matches("step-").parse::<u64>().is_ok();
    before.len() == after.len()
        && before.iter().zip(&after).all(|(a, b)| match (number(a), number(b)) {
            (Some(a), Some(b)) => (a - b).abs() <= tolerance,
            _ => a == b || chance(shown) && counted(a) && counted(b),
        })
}

/// Runs the commands of a block, each on one line or several that end with a backslash.
fn follow(folder: &Path, block: &str) {
    let text = block.replace("\\\n", "");
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("$ ").unwrap_or_else(|| panic!("expected a command: {line}"));
        let mut shown = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            shown.push(line);
        }
        let din = din_path();
        let path = format!("{}:{}", din.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-c", &format!("{command} 2>&1")])
            .env("PATH", path)
            .current_dir(folder)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}\n{printed}");
        let mut printed_lines = printed.lines();
        for shown in &shown {
            if *shown == "…" {
                continue;
            }
            let found = printed_lines.any(|line| agrees(shown, line));
            assert!(found, "{command}\nthe page shows: {shown}\nin this order of:\n{printed}");
        }
        if !shown.contains(&"…") {
            assert_eq!(printed.lines().count(), shown.len(), "{command}\n{printed}");
        }
    }
}

#[test]
fn the_tutorial_is_right() {
    let page = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let folder = TempDir::new().unwrap();
    let here = [("here", folder.path())];
    let blocks = blocks(&page);
    let script = blocks.iter().find(|(kind, _)| *kind == "awk").expect("the page has the script of its log");
    fs::write(folder.path().join("log.awk"), format!("{}\n", script.1)).unwrap();
    let spec = folder.path().join("shop.din");
    let mut changes = 0;
    for (kind, text) in &blocks {
        match *kind {
            "awk" => continue,
            "csv" => {
                let log = fs::read_to_string(folder.path().join("train.csv")).unwrap();
                assert!(log.starts_with(text), "train.csv begins otherwise");
                continue;
            }
            "din" => fs::write(&spec, format!("{text}\n")).unwrap(),
            "diff" => {
                fs::write(&spec, changed(&fs::read_to_string(&spec).unwrap(), text)).unwrap();
                changes += 1;
            }
            "console" => {
                follow(folder.path(), text);
                continue;
            }
            other => panic!("unknown kind of block `{other}`"),
        }
        din("check --deny warnings {here}/shop.din", &here).expect(0);
        din("fmt --check {here}/shop.din", &here).expect(0);
    }
    assert!(changes >= 8, "{changes} changes");
}

#[test]
fn changes_and_lines_are_compared() {
    assert_eq!(changed("a\nb\nc\n", " a\n-b\n+d\n+e"), "a\nd\ne\nc\n");
    assert_eq!(changed("a\nb\nc\n", "-a\n@@\n c\n+d"), "b\nc\nd\n");
    assert!(agrees("auc(click) 0.7351, best", "auc(click) 0.7349, best"));
    assert!(agrees("best auc 0.71 in epoch 3, checkpoint step-0009", "best auc 0.72 in epoch 2, checkpoint step-0006"));
    assert!(agrees("u1,0,0.31", "u1,0,0.49") && !agrees("u1,0,0.31", "u1,1,0.31"));
    for other in ["auc(click) 0.6351, best", "auc(bought) 0.7351, best", "auc(click) 0.7351", "auc(click) 0.7351, last"]
    {
        assert!(!agrees("auc(click) 0.7351, best", other), "{other}");
    }
}
