//! Samplers against closed forms: quantiles of what is drawn, and the optimum of known functions.
#![allow(clippy::unwrap_used)]

use din_tune::{ChosenValue, Domain, Evidence, Sampler, Suggester};

fn suggest(
    sampler: Sampler,
    seed: u64,
    history: &[(Vec<ChosenValue>, Option<f64>)],
    name: &str,
    domain: &Domain,
) -> f64 {
    let evidence = history.iter().map(|(values, loss)| Evidence { values, reached: loss.map(|loss| (0, loss)) });
    Suggester::new(sampler, seed, history.len() as u64, evidence.collect()).suggest(name, domain)
}

/// The share of logarithmically even values below a point is where the point lies between the
/// logarithms of the ends.
#[test]
fn log_ranges_are_even_in_the_logarithm() {
    const N: usize = 4000;
    let log = Domain::Log { low: 1e-4, high: 1e-1 };
    let linear = Domain::Linear { low: -2.0, high: 6.0 };
    let drawn = |domain: &Domain| -> Vec<f64> {
        (0..N as u64).map(|trial| Suggester::new(Sampler::Random, 5, trial, Vec::new()).suggest("x", domain)).collect()
    };
    let share = |values: &[f64], below: f64| values.iter().filter(|&&v| v < below).count() as f64 / N as f64;
    let (logs, evens) = (drawn(&log), drawn(&linear));
    // Five standard errors of a share are at most 5 * 0.5 / sqrt(N).
    let tolerance = 2.5 / (N as f64).sqrt();
    for (below, expected) in [(1e-3, 1.0 / 3.0), (1e-2, 2.0 / 3.0), (3.1623e-3, 0.5), (2e-4, 0.10034)] {
        assert!((share(&logs, below) - expected).abs() < tolerance, "{below}");
    }
    for (below, expected) in [(0.0, 0.25), (2.0, 0.5), (5.0, 0.875)] {
        assert!((share(&evens, below) - expected).abs() < tolerance, "{below}");
    }
    assert!(logs.iter().all(|v| (1e-4..=1e-1).contains(v)) && evens.iter().all(|v| (-2.0..=6.0).contains(v)));
    // Few digits: what is printed is what was tried.
    assert!(logs.iter().all(|v| format!("{v:e}").split('e').next().unwrap().len() <= 5));
}

/// The least loss among 40 trials of a bowl in the logarithm of a rate and a size of a list.
fn least(sampler: Sampler, seed: u64) -> f64 {
    let rate = Domain::Log { low: 1e-5, high: 1.0 };
    let share = Domain::Linear { low: 0.0, high: 1.0 };
    let size = Domain::Choices([8, 16, 32, 64, 128, 256].map(f64::from).to_vec());
    let mut history: Vec<(Vec<ChosenValue>, Option<f64>)> = Vec::new();
    for _ in 0..40 {
        let mut values = Vec::new();
        for (name, domain) in [("rate", &rate), ("share", &share), ("size", &size)] {
            let value = suggest(sampler, seed, &history, name, domain);
            values.push(ChosenValue { name: name.into(), domain: domain.clone(), value });
        }
        let at = |k: usize| values[k].value;
        let loss =
            ((at(0) / 3e-3).log10() / 2.5).powi(2) + (at(1) - 0.7).powi(2) + if at(2) == 64.0 { 0.0 } else { 0.3 };
        history.push((values, Some(loss)));
    }
    history.iter().filter_map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min)
}

/// TPE comes nearer to the optimum than random search does with as many trials: over 30 seeds its
/// mean loss is less than half. Two random searches would be about equal.
#[test]
fn tpe_finds_the_optimum_sooner_than_random_search() {
    const SEEDS: u64 = 30;
    let mean = |sampler| (0..SEEDS).map(|seed| least(sampler, seed)).sum::<f64>() / SEEDS as f64;
    let (tpe, random) = (mean(Sampler::Tpe), mean(Sampler::Random));
    assert!(tpe < 0.5 * random, "TPE {tpe}, random {random}");
    // And not by an easy function: random search is still far from 0.
    assert!(random > 0.02, "{random}");
}

/// A hyper-parameter that is not there in a trial is not part of that trial's evidence: with or
/// without trials that lack it, however bad, what is suggested among the rest is the same.
#[test]
fn trials_without_a_parameter_say_nothing_of_it() {
    let domain = Domain::Linear { low: 0.0, high: 1.0 };
    let of = |name: &str, value: f64| ChosenValue { name: name.into(), domain: domain.clone(), value };
    // 20 trials with it, good below 0.2, and 20 without it, which are neither the best nor few.
    let mut history: Vec<(Vec<ChosenValue>, Option<f64>)> = Vec::new();
    for k in 0..20 {
        let x = f64::from(k) / 20.0;
        history.push((vec![of("first", 0.0), of("second", x)], Some(x)));
        history.push((vec![of("first", 1.0)], Some(5.0)));
    }
    let mut low = 0;
    for seed in 0..200 {
        low += usize::from(suggest(Sampler::Tpe, seed, &history, "second", &domain) < 0.4);
    }
    // Even suggestions would give 80.
    assert!(low > 140, "{low}");
    // Nothing was ever seen of this one: it is even.
    let mut unseen: Vec<f64> = (0..2000).map(|seed| suggest(Sampler::Tpe, seed, &history, "third", &domain)).collect();
    unseen.sort_by(f64::total_cmp);
    let middle = unseen[1000];
    assert!((middle - 0.5).abs() < 0.06, "{middle}");
}

/// Trials that failed are the worst: TPE avoids where they lie.
#[test]
fn tpe_avoids_where_trials_fail() {
    let domain = Domain::Log { low: 1e-4, high: 1.0 };
    let mut history = Vec::new();
    for k in 0..30 {
        let value = 1e-4 * 10f64.powf(4.0 * (f64::from(k) + 0.5) / 30.0);
        let loss = if value > 0.1 { None } else { Some(0.5) };
        history.push((vec![ChosenValue { name: "lr".into(), domain: domain.clone(), value }], loss));
    }
    let high = (0..400).filter(|&seed| suggest(Sampler::Tpe, seed, &history, "lr", &domain) > 0.1).count();
    // Evenly, a quarter would be there.
    assert!(high < 40, "{high}");
}

#[test]
fn suggestions_are_functions_of_seed_trial_and_name() {
    let domain = Domain::Linear { low: 0.0, high: 1.0 };
    let at = |seed, trial, name| Suggester::new(Sampler::Random, seed, trial, Vec::new()).suggest(name, &domain);
    assert_eq!(at(1, 2, "a"), at(1, 2, "a"));
    assert!(at(1, 2, "a") != at(2, 2, "a") && at(1, 2, "a") != at(1, 3, "a") && at(1, 2, "a") != at(1, 2, "b"));
}
