//! The nearest known word to an unknown one, for "did you mean".

/// The candidate at the smallest edit distance from `word` (insertions, deletions, replacements and
/// swaps of neighbours), if it is near enough to be a slip: at most one edit in three letters, and
/// one for words of up to five. The first of equals is taken.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (word.chars().count() / 3).max(1);
    let near = candidates.into_iter().map(|c| (distance(word, c, limit), c)).filter(|(d, c)| *d <= limit && *c != word);
    near.min_by_key(|(d, _)| *d).map(|(_, c)| c)
}

/// Optimal string alignment distance; anything above `limit` when the lengths alone say so.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_only() {
        let words = ["features", "sequence", "label", "key", "embedding"];
        assert_eq!(nearest("feature", words), Some("features"));
        assert_eq!(nearest("lable", words), Some("label"));
        assert_eq!(nearest("embeding", words), Some("embedding"));
        assert_eq!(nearest("kay", words), Some("key"));
        assert_eq!(nearest("table", words), None);
        assert_eq!(nearest("label", words), None);
        assert_eq!(nearest("", words), None);
    }
}
