//! What the first rank has heard of warnings, its own included, and which of them are to be shown.

use crate::comm::RankWarning;
use std::time::{Duration, Instant};

/// A warning waits so long for the other ranks to give it too. Ranks warn of what they have in
/// common at the same place of their work, so few wait to the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many ranks of a warning are named at most.
const NAMED: usize = 8;

/// Warnings by what they are about.
#[derive(Debug, Default)]
pub(super) struct HeardWarnings {
    heard: Vec<HeardWarning>,
}

#[derive(Debug)]
struct HeardWarning {
    /// Of the lowest rank that has given it since it was shown.
    warning: RankWarning,
    from: usize,
    /// How often each rank has warned of it.
    times: Vec<u32>,
    /// How often it was shown.
    shown: u32,
    /// Since when it is to be shown once more.
    since: Option<Instant>,
}

impl HeardWarnings {
    /// A rank warns, at a moment.
    pub fn hear(&mut self, rank: usize, warning: RankWarning, ranks: usize, now: Instant) {
        let at = self.heard.iter().position(|heard| heard.warning.about == warning.about).unwrap_or_else(|| {
            let (warning, times) = (warning.clone(), vec![0; ranks]);
            self.heard.push(HeardWarning { warning, from: rank, times, shown: 0, since: None });
            self.heard.len() - 1
        });
        let heard = &mut self.heard[at];
        heard.times[rank] += 1;
        if heard.times[rank] > heard.shown {
            if heard.since.is_none() || rank < heard.from {
                (heard.warning, heard.from) = (warning, rank);
            }
            heard.since.get_or_insert(now);
        }
    }

    /// Takes what is to be shown now: what all ranks have warned of, and what has waited for long
    /// enough, or all if nothing more will come. `hosts` by rank.
    pub fn take(&mut self, now: Instant, nothing_more: bool, hosts: &[String]) -> Vec<String> {
        let mut due = Vec::new();
        for heard in &mut self.heard {
            let Some(since) = heard.since else { continue };
            let ranks: Vec<usize> = (0..hosts.len()).filter(|&rank| heard.times[rank] > heard.shown).collect();
            let of_all = ranks.len() == hosts.len();
            if of_all || nothing_more || now.duration_since(since) >= PATIENCE {
                let text = &heard.warning.text;
                due.push(if of_all { text.clone() } else { named(&ranks, hosts, text) });
                heard.shown += 1;
                heard.since = heard.times.iter().any(|&times| times > heard.shown).then_some(now);
            }
        }
        due
    }

    /// Whether something waits to be shown.
    pub fn waits(&self) -> bool {
        self.heard.iter().any(|heard| heard.since.is_some())
    }
}

/// Says which ranks have warned.
fn named(ranks: &[usize], hosts: &[String], text: &str) -> String {
    let numbers = |of: &[usize]| of.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    match ranks {
        [rank] => format!("rank {rank} on {}: {text}", hosts[*rank]),
        [first @ .., last] if ranks.len() <= NAMED => format!("ranks {} and {last}: {text}", numbers(first)),
        _ => format!("ranks {} and {} others: {text}", numbers(&ranks[..NAMED]), ranks.len() - NAMED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown at once, and what is shown when nothing more comes.
    fn shown(ranks: usize, warnings: &[(usize, &str)]) -> (Vec<String>, Vec<String>) {
        let hosts: Vec<String> = (0..ranks).map(|rank| format!("host{rank}")).collect();
        let (mut heard, now) = (HeardWarnings::default(), Instant::now());
        warnings.iter().for_each(|&(rank, text)| heard.hear(rank, text.into(), ranks, now));
        let at_once = heard.take(now, false, &hosts);
        assert_eq!(heard.take(now + PATIENCE / 2, false, &hosts), [""; 0]);
        let waits = heard.waits();
        let later = heard.take(now + PATIENCE, false, &hosts);
        assert_eq!(waits, !later.is_empty());
        assert_eq!((heard.waits(), heard.take(now + PATIENCE * 9, true, &hosts)), (false, Vec::new()));
        (at_once, later)
    }

    #[test]
    fn what_all_ranks_warn_of_is_shown_once_and_what_some_do_with_their_numbers() {
        let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        let (at_once, later) = shown(3, &[(1, "a"), (0, "a"), (2, "b"), (2, "a"), (0, "c"), (1, "c")]);
        assert_eq!((at_once, later), (texts(&["a"]), texts(&["rank 2 on host2: b", "ranks 0 and 1: c"])));
        let many: Vec<(usize, &str)> = (1..12).map(|rank| (rank, "x")).collect();
        assert_eq!(shown(12, &many).1, ["ranks 1, 2, 3, 4, 5, 6, 7, 8 and 3 others: x"]);
    }

    #[test]
    fn a_warning_that_comes_late_or_again_is_counted_by_rank() {
        let hosts = ["a".to_string(), "b".to_string()];
        let (mut heard, now) = (HeardWarnings::default(), Instant::now());
        heard.hear(0, "x".into(), 2, now);
        assert_eq!(heard.take(now + PATIENCE, false, &hosts), ["rank 0 on a: x"]);
        // The other rank's is the same warning.
        heard.hear(1, "x".into(), 2, now + PATIENCE);
        assert!(!heard.waits());
        // Both a second time.
        heard.hear(1, "x".into(), 2, now);
        heard.hear(0, "x".into(), 2, now);
        assert_eq!(heard.take(now, false, &hosts), ["x"]);
        assert!(!heard.waits());
    }
    #[test]
    fn of_warnings_about_the_same_the_lowest_ranks_text_is_shown() {
        let hosts = ["a".to_string(), "b".to_string(), "c".to_string()];
        let (mut heard, now) = (HeardWarnings::default(), Instant::now());
        let warning = |line: u32| RankWarning { about: "column x".into(), text: format!("line {line}: column x") };
        [(2, 9), (1, 5)].iter().for_each(|&(rank, line)| heard.hear(rank, warning(line), 3, now));
        assert_eq!(heard.take(now, false, &hosts), [""; 0]);
        assert_eq!(heard.take(now, true, &hosts), ["ranks 1 and 2: line 5: column x"]);
        [(0, 7), (1, 8)].iter().for_each(|&(rank, line)| heard.hear(rank, warning(line), 3, now));
        assert_eq!(heard.take(now, true, &hosts), ["rank 1 on b: line 8: column x"], "that of rank 0 has been shown");
    }
}
