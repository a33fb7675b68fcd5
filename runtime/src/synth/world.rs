//! The synthetic world behind `din synth`: goods, shops, categories, users with several interests,
//! and the probability of a click.
//!
//! # The truth
//!
//! Categories fall into families. A user is drawn to 2 to 5 categories (or as many as are asked
//! for), each with its own weight, and has a list of visited goods: 85 % from these interests, the
//! rest from anywhere. Shown a good `g` of category `c`,
//!
//! ```text
//! relevance = sum over the visited goods h of  1 if category(h) = c, 1/4 if only the family is the same, else 0
//! logit     = -2.8 + 4 (1 - exp(-relevance / 2)) + quality(g) + taste(gender, age, family(c)) + slot(pid) + hour(time)
//! ```
//!
//! So a click depends on the part of the history that is related to the candidate and on nothing
//! else of it: the local activation of Zhou et al., 2017, section 3.2. A pooled history has to
//! carry every interest at once to say the same.
//!
//! What follows a click has a truth of its own, and draws from streams of its own, so that nothing
//! above depends on it: a clicked good is bought with
//!
//! ```text
//! logit = -1 + worth(g) + means(gender, age, family(c))
//! ```
//!
//! and watched for a time whose logarithm is normal about one that depends on its category and on
//! whether it is bought. Rows are a minute apart. Visits have times, the last ones before the row,
//! and fall into sessions, which end with half an hour without a visit.
//!
//! Everything is a function of the seed; only IEEE basic operations and square roots are used, so
//! the bits do not depend on the machine.

use crate::random::{Stream, normal_pair};
use std::collections::VecDeque;

/// Entries of a history.
pub const HISTORY: usize = 100;
const FAMILY_SIZE: usize = 5;
const SHOPS_PER_CATEGORY: usize = 3;
/// When the first row was shown, and seconds from row to row.
const FIRST_SHOWN: i64 = 1_700_000_000;
const ROW_SECONDS: i64 = 60;
/// A session ends with so many seconds without a visit.
const SESSION_SECONDS: i64 = 1_800;
const POSITIONS: usize = 10;
const AGES: usize = 10;

/// Sizes of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub users: usize,
    pub goods: usize,
    pub categories: usize,
    /// Categories that each user is drawn to; `None`: 2 to 5, which the user's draws decide.
    pub interests: Option<usize>,
}

/// One shown good and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Impression {
    pub user: u32,
    pub gender: u8,
    pub age_level: u8,
    pub good: u32,
    pub pid: u8,
    pub time: u8,
    pub click: bool,
    /// Of the probability with which the click was drawn.
    pub logit: f64,
    /// Only after a click.
    pub bought: bool,
    /// Milliseconds; 0 without a click.
    pub watch_ms: i64,
    /// Unix seconds.
    pub shown_at: i64,
}

/// A visited good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    pub good: u32,
    /// Unix seconds.
    pub at: i64,
    /// Number of the user's session, from 0.
    pub session: u32,
}

/// A random stream read in order.
pub struct Draws {
    stream: Stream,
    next: u64,
}

impl Draws {
    pub fn new(seed: u64, name: &str, id: u64) -> Self {
        Self { stream: Stream::new(seed, name, id), next: 0 }
    }

    fn at(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub fn uniform(&mut self) -> f64 {
        let at = self.at();
        self.stream.uniform(at)
    }

    fn below(&mut self, n: usize) -> usize {
        let at = self.at();
        self.stream.below(at, n as u64) as usize
    }

    fn normal(&mut self) -> f64 {
        let at = self.at();
        let word = self.stream.word(at);
        normal_pair(word as u32, (word >> 32) as u32).0
    }
}

/// A discrete distribution, drawn from by its running sums.
struct Tail(Vec<f64>);

impl Tail {
    /// Weights `weight(1), weight(2), …`.
    fn new(n: usize, weight: impl Fn(f64) -> f64) -> Self {
        let mut sum = 0.0;
        Tail(
            (1..=n)
                .map(|k| {
                    sum += weight(k as f64);
                    sum
                })
                .collect(),
        )
    }

    fn total(&self) -> f64 {
        *self.0.last().expect("there is something to draw")
    }

    fn draw(&self, draws: &mut Draws) -> usize {
        let x = draws.uniform() * self.total();
        self.0.partition_point(|&sum| sum <= x).min(self.0.len() - 1)
    }
}

/// A visitor and what they visited, newest last.
struct User {
    gender: u8,
    age_level: u8,
    interests: Vec<usize>,
    weights: Tail,
    history: VecDeque<Visit>,
}

impl User {
    /// Appends a visit, in the last session or in a new one.
    fn visit(&mut self, good: u32, at: i64) {
        let session = self.history.back().map_or(0, |last| last.session + u32::from(at - last.at > SESSION_SECONDS));
        self.history.push_back(Visit { good, at, session });
    }
}

/// Goods, shops and categories, and the users met so far.
pub struct World {
    seed: u64,
    categories: Tail,
    /// Goods of a category, most popular first: `first[c]..first[c + 1]`.
    first: Vec<u32>,
    popularity: Vec<Tail>,
    category_of: Vec<u32>,
    shop_of: Vec<u32>,
    quality: Vec<f64>,
    taste: Vec<f64>,
    slot: Vec<f64>,
    hour: Vec<f64>,
    activity: Tail,
    users: Vec<Option<Box<User>>>,
    draws: Draws,
    worth: Vec<f64>,
    means: Vec<f64>,
    /// Of the logarithm of seconds, by category.
    watch: Vec<f64>,
    /// See [`Size::interests`].
    interests: Option<usize>,
    /// Rows before the next.
    rows: u64,
}

impl World {
    pub fn new(seed: u64, size: Size) -> Self {
        let categories = size.categories.max(1);
        let goods = size.goods.max(categories);
        let zipf34 = |k: f64| 1.0 / (k.sqrt() * k.sqrt().sqrt());
        let tail = Tail::new(categories, zipf34);
        // Every category has a good; the rest are shared out by popularity.
        let total = tail.total();
        let mut first = vec![0u32];
        for (c, sum) in tail.0.iter().enumerate() {
            let shared = ((goods - categories) as f64 * sum / total) as u32;
            first.push(c as u32 + 1 + shared);
        }
        *first.last_mut().expect("it begins with 0") = goods as u32;
        let (mut category_of, mut popularity) = (Vec::with_capacity(goods), Vec::with_capacity(categories));
        for c in 0..categories {
            let n = (first[c + 1] - first[c]) as usize;
            category_of.extend(std::iter::repeat_n(c as u32, n));
            popularity.push(Tail::new(n, |k| 1.0 / k));
        }
        let mut draws = Draws::new(seed, "synth world", 0);
        let shop_of = category_of
            .iter()
            .map(|&c| c * SHOPS_PER_CATEGORY as u32 + draws.below(SHOPS_PER_CATEGORY) as u32)
            .collect();
        let mut normals = |n: usize, deviation: f64| (0..n).map(|_| draws.normal() * deviation).collect::<Vec<_>>();
        let quality = normals(goods, 0.4);
        let taste = normals(2 * AGES * categories.div_ceil(FAMILY_SIZE), 0.25);
        let (slot, hour) = (normals(POSITIONS, 0.3), normals(POSITIONS, 0.2));
        let mut later = Draws::new(seed, "synth outcomes of goods", 0);
        let mut normals = |n: usize, deviation: f64| (0..n).map(|_| later.normal() * deviation).collect::<Vec<_>>();
        let (worth, means, watch) = (normals(goods, 0.7), normals(taste.len(), 0.7), normals(categories, 0.6));
        World {
            seed,
            categories: tail,
            first,
            popularity,
            category_of,
            shop_of,
            quality,
            taste,
            slot,
            hour,
            interests: size.interests,
            activity: Tail::new(size.users.max(1), |k| 1.0 / k.sqrt()),
            users: (0..size.users.max(1)).map(|_| None).collect(),
            draws: Draws::new(seed, "synth log", 0),
            worth,
            means,
            watch,
            rows: 0,
        }
    }

    pub fn category(&self, good: u32) -> u32 {
        self.category_of[good as usize]
    }

    pub fn shop(&self, good: u32) -> u32 {
        self.shop_of[good as usize]
    }

    /// Categories are numbered by popularity; families take every n-th, so that each has popular
    /// and rare ones.
    fn family(&self, category: u32) -> u32 {
        category % (self.first.len() as u32 - 1).div_ceil(FAMILY_SIZE as u32)
    }

    /// The next line of the log; `show` sees the user's history (oldest first) as it was before.
    pub fn next(&mut self, show: &mut dyn FnMut(&Impression, &mut dyn Iterator<Item = Visit>)) {
        let row = self.rows;
        self.rows += 1;
        let shown_at = FIRST_SHOWN + ROW_SECONDS * row as i64;
        let user = self.activity.draw(&mut self.draws);
        if self.users[user].is_none() {
            self.users[user] = Some(Box::new(self.meet(user, shown_at)));
        }
        let Some(mut person) = self.users[user].take() else { return };
        let draws = &mut self.draws;
        let category = match draws.uniform() < 0.35 {
            true => person.interests[person.weights.draw(draws)],
            false => self.categories.draw(draws),
        };
        let good = self.first[category] + self.popularity[category].draw(draws) as u32;
        let (pid, time) = (draws.below(POSITIONS), draws.below(POSITIONS));
        let logit = self.logit(&person, good, pid, time);
        let click = self.draws.uniform() < 1.0 / (1.0 + exp(-logit));
        let (bought, watch_ms) = self.outcome(&person, good, click, row);
        let impression = Impression {
            user: user as u32,
            gender: person.gender,
            age_level: person.age_level,
            good,
            pid: pid as u8,
            time: time as u8,
            click,
            logit,
            bought,
            watch_ms,
            shown_at,
        };
        show(&impression, &mut person.history.iter().copied());
        // Half of the clicks are visits; visits also come from elsewhere.
        let visit = self.draws.uniform() < 0.5 && click;
        let elsewhere = self.draws.uniform() < 0.1;
        if visit {
            person.visit(good, shown_at + ROW_SECONDS / 3);
        }
        if elsewhere {
            let other = Self::visit(&self.categories, &self.first, &self.popularity, &person, &mut self.draws);
            person.visit(other, shown_at + ROW_SECONDS / 2);
        }
        while person.history.len() > HISTORY {
            person.history.pop_front();
        }
        self.users[user] = Some(person);
    }

    fn logit(&self, person: &User, good: u32, pid: usize, time: usize) -> f64 {
        let category = self.category(good);
        let family = self.family(category);
        let relevance: f64 = person
            .history
            .iter()
            .map(|h| match self.category(h.good) {
                c if c == category => 1.0,
                c if self.family(c) == family => 0.25,
                _ => 0.0,
            })
            .sum();
        let cell = self.cell(person, category);
        -2.8 + 4.0 * (1.0 - exp(-relevance / 2.0))
            + self.quality[good as usize]
            + self.taste[cell]
            + self.slot[pid]
            + self.hour[time]
    }

    /// Of gender, age and family, in `taste` and `means`.
    fn cell(&self, person: &User, category: u32) -> usize {
        let families = self.taste.len() / (2 * AGES);
        let of_person = usize::from(person.gender) * AGES + usize::from(person.age_level);
        of_person * families + self.family(category) as usize
    }

    /// Whether a good is bought, and the milliseconds for which it is watched.
    fn outcome(&self, person: &User, good: u32, click: bool, row: u64) -> (bool, i64) {
        if !click {
            return (false, 0);
        }
        let mut draws = Draws::new(self.seed, "synth outcomes", row);
        let category = self.category(good);
        let logit = -1.0 + self.worth[good as usize] + self.means[self.cell(person, category)];
        let bought = draws.uniform() < 1.0 / (1.0 + exp(-logit));
        let seconds = exp(2.5 + self.watch[category as usize] + 0.7 * f64::from(bought) + 0.5 * draws.normal());
        (bought, (1000.0 * seconds) as i64)
    }

    /// A new user whose history ends before a time: a function of the seed and the number alone,
    /// but for the times.
    fn meet(&self, number: usize, before: i64) -> User {
        let mut draws = Draws::new(self.seed, "synth user", number as u64);
        // Drawn in any case, so that the rest of a user does not depend on the option.
        let drawn = 2 + draws.below(4);
        let count = self.interests.unwrap_or(drawn).min(self.first.len() - 1);
        let mut interests: Vec<usize> = Vec::with_capacity(count);
        while interests.len() < count {
            let category = self.categories.draw(&mut draws);
            if !interests.contains(&category) {
                interests.push(category);
            }
        }
        let shares: Vec<f64> = (0..count).map(|_| 0.2 + draws.uniform()).collect();
        let weights = Tail::new(count, |k| shares[k as usize - 1]);
        let mut user = User {
            gender: draws.below(2) as u8,
            age_level: draws.below(AGES) as u8,
            interests,
            weights,
            history: VecDeque::new(),
        };
        let mut length = 0;
        // One user in fifty is new; the others' lists have a mean near 23.
        if draws.uniform() >= 0.02 {
            length = 3;
            while length < HISTORY && draws.uniform() < 0.95 {
                length += 1;
            }
        }
        // Some minutes from visit to visit, or hours.
        let mut times = Draws::new(self.seed, "synth visit times", number as u64);
        let gaps: Vec<i64> = (0..length)
            .map(|_| if times.uniform() < 0.7 { 20 + times.below(600) } else { 3_600 + times.below(200_000) } as i64)
            .collect();
        let mut at = before - gaps.iter().sum::<i64>();
        for gap in gaps {
            let good = Self::visit(&self.categories, &self.first, &self.popularity, &user, &mut draws);
            user.visit(good, at);
            at += gap;
        }
        user
    }

    fn visit(categories: &Tail, first: &[u32], popularity: &[Tail], user: &User, draws: &mut Draws) -> u32 {
        let category = match draws.uniform() < 0.85 {
            true => user.interests[user.weights.draw(draws)],
            false => categories.draw(draws),
        };
        first[category] + popularity[category].draw(draws) as u32
    }
}

/// `e^x` for `|x| <= 700` from basic operations alone.
fn exp(x: f64) -> f64 {
    let k = (x * std::f64::consts::LOG2_E).round().clamp(-1000.0, 1000.0);
    let r = x - k * std::f64::consts::LN_2;
    let mut sum = 1.0;
    for n in (1..=16).rev() {
        sum = 1.0 + sum * r / f64::from(n);
    }
    sum * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_system() {
        for k in -4000..4000 {
            let x = f64::from(k) / 100.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "{x}");
        }
    }

    #[test]
    fn clicks_follow_the_related_part_of_the_history() {
        let mut world = World::new(3, Size { users: 500, goods: 1000, categories: 50, interests: None });
        let category_of = world.category_of.clone();
        let (mut related, mut unrelated) = ((0, 0), (0, 0));
        for _ in 0..20_000 {
            world.next(&mut |i, history| {
                let c = category_of[i.good as usize];
                let hit = history.filter(|h| category_of[h.good as usize] == c).count() >= 2;
                let cell = if hit { &mut related } else { &mut unrelated };
                cell.0 += 1;
                cell.1 += u32::from(i.click);
            });
        }
        let rate = |(n, k): (i32, u32)| f64::from(k) / f64::from(n);
        assert!(rate(related) > 0.4 && rate(unrelated) < 0.25, "{related:?} {unrelated:?}");
    }

    #[test]
    fn what_follows_a_click_follows_its_truth_and_history_ends_before_the_row() {
        let mut world = World::new(3, Size { users: 500, goods: 1000, categories: 50, interests: None });
        let worth = world.worth.clone();
        let (mut rates, mut sessions) = ([(0, 0); 2], 0);
        for row in 0..20_000i64 {
            world.next(&mut |i, history| {
                let visits: Vec<Visit> = history.collect();
                assert_eq!(i.shown_at, FIRST_SHOWN + ROW_SECONDS * row);
                assert!(visits.last().is_none_or(|last| last.at < i.shown_at));
                for pair in visits.windows(2) {
                    assert!(pair[0].at <= pair[1].at);
                    let apart = pair[1].at - pair[0].at > SESSION_SECONDS;
                    assert_eq!(pair[1].session - pair[0].session, u32::from(apart));
                    sessions += u32::from(apart);
                }
                assert!(i.click || !i.bought);
                assert_eq!(i.click, i.watch_ms > 0);
                if i.click {
                    let cell = &mut rates[usize::from(worth[i.good as usize] > 0.0)];
                    *cell = (cell.0 + 1, cell.1 + u32::from(i.bought));
                }
            });
        }
        let [poor, rich] = rates.map(|(n, k)| f64::from(k) / f64::from(n));
        assert!(poor > 0.1 && rich > poor + 0.1 && rich < 0.6, "{poor} {rich}");
        assert!(sessions > 1_000);
    }

    /// Of a user with one interest, most visits are of its category; of one with eight, few are of
    /// any.
    #[test]
    fn histories_are_of_as_many_categories_as_asked_for() {
        let shares = [1, 8].map(|interests| {
            let size = Size { users: 500, goods: 1000, categories: 50, interests: Some(interests) };
            let mut world = World::new(3, size);
            let category_of = world.category_of.clone();
            let (mut greatest, mut visits) = (0, 0);
            for _ in 0..5_000 {
                world.next(&mut |_, history| {
                    let mut by_category = [0; 50];
                    history.for_each(|visit| by_category[category_of[visit.good as usize] as usize] += 1);
                    greatest += by_category.iter().max().expect("there are categories");
                    visits += by_category.iter().sum::<i32>();
                });
            }
            f64::from(greatest) / f64::from(visits)
        });
        assert!(shares[0] > 0.8 && shares[1] < 0.5, "{shares:?}");
    }

    #[test]
    fn popularity_has_a_long_tail() {
        let mut world = World::new(1, Size { users: 500, goods: 1000, categories: 50, interests: None });
        let mut seen = vec![0u32; 1000];
        for _ in 0..20_000 {
            world.next(&mut |i, _| seen[i.good as usize] += 1);
        }
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let head: u32 = seen.iter().take(100).sum();
        assert!(head > 8_000, "the first tenth of the goods has {head} of 20000 impressions");
        assert!(seen.iter().filter(|&&n| n > 0).count() > 900);
    }
}
