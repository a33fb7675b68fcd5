//! Seeded mutations of specs: words, calls and lines that are swapped, left out, doubled or
//! replaced, and numbers that change.

use crate::random_graph::Random;

/// Numbers that a mutation writes instead of another.
const NUMBERS: [&str; 15] =
    ["100000", "16777216", "4294967295", "0", "1", "2", "3", "5", "8", "17", "33", "64", "100", "1000", "4096"];

const OPERATORS: [&str; 8] = ["+", "-", "*", "/", "^", "<", ">", ","];

/// A group where a sequence is expected, and the other way round.
const GROUPS: [&str; 2] = ["features", "sequence"];

/// Makes mutations with the words of some texts.
#[derive(Clone, Debug)]
pub struct Mutator {
    words: Vec<String>,
}

impl Mutator {
    /// One that inserts words of `texts`.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let words = texts.into_iter().flat_map(tokens).filter(|t| !t.trim().is_empty()).collect();
        Mutator { words }
    }

    /// `text` with one or two changes. Most are such that a spec may stay right.
    pub fn mutate(&self, text: &str, random: &mut Random) -> String {
        let mut t = tokens(text);
        for _ in 0..1 + random.below(2) {
            match random.below(12) {
                0..4 => replace(&mut t, random, is_number, |random| NUMBERS[random.below(NUMBERS.len())].into()),
                4..6 => replace(&mut t, random, is_operator, |random| OPERATORS[random.below(OPERATORS.len())].into()),
                6..8 => {
                    if let Some(from) = choose(&t, random, is_name) {
                        let name = t[from].clone();
                        replace(&mut t, random, is_name, |_| name.clone());
                    }
                }
                8 => move_code(&mut t, random),
                9 => lines(&mut t, random),
                10 => replace(&mut t, random, is_group, |random| GROUPS[random.below(GROUPS.len())].into()),
                _ => self.break_syntax(&mut t, random),
            }
        }
        t.concat()
    }

    /// A word away, replaced by any other, twice, or at another place.
    fn break_syntax(&self, t: &mut Vec<String>, random: &mut Random) {
        if t.is_empty() {
            return;
        }
        let (at, other) = (random.below(t.len()), random.below(t.len()));
        let word = self.words[random.below(self.words.len())].clone();
        match random.below(5) {
            0 => drop(t.remove(at)),
            1 => t[at] = word,
            2 => t.insert(at, word),
            3 => t.insert(at, t[at].clone()),
            _ => t.swap(at, other),
        }
    }
}

/// Another word for one that `wanted` holds for.
fn replace(
    t: &mut [String],
    random: &mut Random,
    wanted: impl Fn(&str) -> bool,
    with: impl FnOnce(&mut Random) -> String,
) {
    if let Some(at) = choose(t, random, wanted) {
        t[at] = with(random);
    }
}

/// One line, or two or three that follow one another, away, or twice.
fn lines(t: &mut Vec<String>, random: &mut Random) {
    let ends: Vec<usize> = (0..t.len()).filter(|&k| t[k] == "\n").collect();
    if ends.len() < 2 {
        return;
    }
    let first = random.below(ends.len() - 1);
    let last = (first + 1 + random.below(3)).min(ends.len() - 1);
    let range = ends[first] + 1..ends[last] + 1;
    let lines = t[range.clone()].to_vec();
    let doubled = if random.chance(0.5) { [lines.clone(), lines].concat() } else { Vec::new() };
    t.splice(range, doubled);
}

/// What stands at one place also at another: a word, or a call with its arguments.
fn move_code(t: &mut Vec<String>, random: &mut Random) {
    let (from, to) = (choose(t, random, is_name), choose(t, random, is_name));
    let (Some(from), Some(to)) = (from, to) else { return };
    let call = t[from + 1..].iter().take(12).position(|x| x == ")").map_or(from, |k| from + 1 + k);
    let taken = t[from..=if random.chance(0.5) { from } else { call }].to_vec();
    t.splice(to..=to, taken);
}

/// The number of one of the tokens that `wanted` holds for.
fn choose(t: &[String], random: &mut Random, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let all: Vec<usize> = (0..t.len()).filter(|&k| wanted(&t[k])).collect();
    (!all.is_empty()).then(|| all[random.below(all.len())])
}

fn is_operator(word: &str) -> bool {
    OPERATORS.contains(&word)
}

fn is_group(word: &str) -> bool {
    GROUPS.contains(&word)
}

fn is_number(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_digit())
}

fn is_name(word: &str) -> bool {
    word.chars().all(|c| c.is_alphanumeric() || c == '_') && !is_number(word)
}

/// Words, and every other character by itself, without comments that fill a line.
fn tokens(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut word = false;
    let lines = text.lines().filter(|l| !l.trim_start().starts_with("//"));
    for c in lines.flat_map(|l| l.chars().chain(['\n'])) {
        let part = c.is_alphanumeric() || c == '_';
        match out.last_mut() {
            Some(last) if part && word => last.push(c),
            _ => out.push(c.to_string()),
        }
        word = part;
    }
    out
}
