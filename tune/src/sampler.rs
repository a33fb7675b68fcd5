//! Suggestions of values. A suggestion is a function of the seed, the number of the trial, the name
//! of the hyper-parameter and the evidence, and of nothing else.

use crate::parzen::{Density, DrawSource};
use crate::space::{ChosenValue, Domain, rounded};
use din_runtime::random::Stream;
use libm::{exp, log};

/// How values are suggested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// From the space alone.
    Random,
    /// By the tree-structured Parzen estimator: near good trials and far from the others.
    Tpe,
}

/// Trials before TPE begins; until then values are random.
const STARTUP_TRIALS: usize = 10;
/// Values that TPE draws near good trials, of which it suggests the most promising one.
const CANDIDATES: usize = 24;
/// Good trials at most: the best tenth of all.
const MOST_GOOD: usize = 25;

/// What is known of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence<'a> {
    pub values: &'a [ChosenValue],
    /// The highest rung that it has been trained to, and its loss there; `None` where it failed.
    pub reached: Option<(usize, f64)>,
}

/// Suggests the values of one trial.
#[derive(Clone, Debug)]
pub struct Suggester<'a> {
    sampler: Sampler,
    seed: u64,
    trial: u64,
    /// The better ones first.
    evidence: Vec<Evidence<'a>>,
    good: usize,
}

impl<'a> Suggester<'a> {
    /// Trials are better the further they were trained, since only good ones are promoted, then
    /// the lower their loss is. Failed ones are the worst: others near them would fail too.
    pub fn new(sampler: Sampler, seed: u64, trial: u64, mut evidence: Vec<Evidence<'a>>) -> Self {
        evidence.sort_by(|one, other| match (one.reached, other.reached) {
            (Some((rung, loss)), Some((other_rung, other_loss))) => {
                other_rung.cmp(&rung).then(loss.total_cmp(&other_loss))
            }
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        let good = evidence.len().div_ceil(10).min(MOST_GOOD);
        Self { sampler, seed, trial, evidence, good }
    }

    /// A value for a hyper-parameter, which is of its domain.
    pub fn suggest(&self, name: &str, domain: &Domain) -> f64 {
        let mut draws = DrawSource::new(Stream::new(self.seed, &format!("tune {name}"), self.trial));
        let informed = self.evidence.len() >= STARTUP_TRIALS
            && self.evidence[..self.good].iter().any(|trial| trial.reached.is_some());
        match self.sampler {
            Sampler::Tpe if informed => self.estimated(name, domain, &mut draws),
            Sampler::Tpe | Sampler::Random => random(domain, &mut draws),
        }
    }

    /// What lies where good trials are dense, compared with the others. Trials without this
    /// hyper-parameter say nothing of it.
    fn estimated(&self, name: &str, domain: &Domain, draws: &mut DrawSource) -> f64 {
        let density = |trials: &[Evidence<'_>]| {
            let value = |trial: &Evidence<'_>| {
                trial.values.iter().find(|chosen| chosen.name == name).map(|chosen| chosen.value)
            };
            let values = trials.iter().filter_map(value);
            match domain {
                Domain::Choices(choices) => {
                    let number = |value: f64| choices.iter().position(|&choice| choice == value);
                    Density::of_choices(choices.len(), &values.filter_map(number).collect::<Vec<_>>())
                }
                Domain::Linear { low, high } => Density::of_range(*low, *high, &values.collect::<Vec<_>>()),
                Domain::Log { low, high } => {
                    Density::of_range(log(*low), log(*high), &values.map(log).collect::<Vec<_>>())
                }
            }
        };
        let (good, others) = self.evidence.split_at(self.good);
        let (good, others) = (density(good), density(others));
        let mut best: Option<(f64, f64)> = None;
        for _ in 0..CANDIDATES {
            let candidate = good.draw(draws);
            let gain = good.log_density(candidate) - others.log_density(candidate);
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, candidate));
            }
        }
        let (_, drawn) = best.expect("at least one candidate was drawn");
        match domain {
            Domain::Choices(choices) => choices[drawn as usize],
            Domain::Linear { low, high } => rounded(drawn, *low, *high),
            Domain::Log { low, high } => rounded(exp(drawn), *low, *high),
        }
    }
}

fn random(domain: &Domain, draws: &mut DrawSource) -> f64 {
    match domain {
        Domain::Choices(choices) => choices[draws.below(choices.len())],
        Domain::Linear { low, high } => rounded(low + draws.uniform() * (high - low), *low, *high),
        Domain::Log { low, high } => {
            let (least, most) = (log(*low), log(*high));
            rounded(exp(least + draws.uniform() * (most - least)), *low, *high)
        }
    }
}
