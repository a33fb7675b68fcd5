//! What of a spec is searched: its hyper-parameters, with those that are pinned by `--set`.

use crate::failure::{Failure, USER_ERROR};
use crate::sources::{self, Beside};
use crate::terminal::Console;
use din_compiler::front::{self, CheckOptions, HyperParameter, SearchSpace};
use din_compiler::model::CheckedModel;
use din_tune::{ChosenValue, Domain};
use std::path::Path;

/// A spec whose hyper-parameters are searched.
pub struct SpecSpace<'a> {
    name: String,
    text: String,
    beside: Beside,
    /// `--set name=value`.
    pins: &'a [(String, String)],
}

/// A spec with some values chosen.
pub struct SpecChoice {
    /// What `--set` has to say.
    pub sets: Vec<(String, String)>,
    /// The first hyper-parameter that is still to be chosen.
    pub next: Option<(String, Domain)>,
    pub hypers: Vec<HyperParameter>,
}

impl<'a> SpecSpace<'a> {
    pub fn read(path: &Path, pins: &'a [(String, String)]) -> Result<Self, Failure> {
        let (name, text) = (path.display().to_string(), sources::read(path)?);
        Ok(Self { name, text, beside: Beside::of(path), pins })
    }

    /// Which hyper-parameters are there depends on the values of those before them, so they are
    /// chosen one by one, in the order of the spec.
    pub fn choose(&self, console: &Console, chosen: &[ChosenValue]) -> Result<SpecChoice, Failure> {
        let mut sets: Vec<(String, String)> = Vec::new();
        loop {
            let options = CheckOptions { sets: sets.clone() };
            let found = front::hyper_parameters(&self.name, &self.text, &self.beside, &options);
            if found.diagnostics.iter().any(|d| d.is_error()) {
                console.diagnostics(&found.diagnostics, &found.sources);
                return Err(Failure::reported(USER_ERROR));
            }
            if let Some((name, _)) = self.pins.iter().find(|(name, _)| found.hypers.iter().all(|h| h.name != *name)) {
                let known: Vec<&str> = found.hypers.iter().map(|h| h.name.as_str()).collect();
                let help = format!("it has {}", if known.is_empty() { "none".into() } else { known.join(", ") });
                let model = &self.name;
                return Err(Failure::user_error(format!(
                    "{model}: there is no hyper-parameter `{name}` to set\n  help: {help}"
                )));
            }
            let mut next = None;
            let mut set = None;
            for hyper in found.hypers.iter().filter(|hyper| hyper.value.is_some()) {
                if sets.iter().any(|(name, _)| *name == hyper.name) {
                    continue;
                }
                // The last one given counts, as everywhere.
                let pin = self.pins.iter().rev().find(|(name, _)| *name == hyper.name);
                let value = chosen.iter().find(|chosen| chosen.name == hyper.name);
                set = match (pin, value, &hyper.space) {
                    (Some(pin), _, _) => Some(pin.clone()),
                    (None, Some(chosen), _) => Some((hyper.name.clone(), chosen.value.to_string())),
                    (None, None, Some(space)) => {
                        next = Some((hyper.name.clone(), domain(space)));
                        break;
                    }
                    (None, None, None) => continue,
                };
                break;
            }
            match set {
                Some(set) => sets.push(set),
                None => return Ok(SpecChoice { sets, next, hypers: found.hypers }),
            }
        }
    }

    /// Hyper-parameters that are there, have no space and are not pinned: `wide = 4`.
    pub fn fixed(&self, hypers: &[HyperParameter]) -> Vec<String> {
        let pinned = |hyper: &&HyperParameter| self.pins.iter().any(|(name, _)| *name == hyper.name);
        let fixed = hypers.iter().filter(|hyper| hyper.space.is_none() && !pinned(hyper));
        fixed.filter_map(|hyper| Some(format!("{} = {}", hyper.name, hyper.value?))).collect()
    }

    /// The model with some values; what is wrong with it where it does not check.
    pub fn model(&self, sets: &[(String, String)]) -> Result<CheckedModel, String> {
        let options = CheckOptions { sets: sets.to_vec() };
        let checked = front::check(&self.name, &self.text, &self.beside, &options);
        let error = checked.diagnostics.iter().find(|d| d.is_error());
        match (checked.model, error) {
            (Some(model), None) => Ok(model),
            (_, Some(error)) => Err(format!("{}: {}", error.code, error.message)),
            (None, None) => Err("the spec has no model".into()),
        }
    }
}

fn domain(space: &SearchSpace) -> Domain {
    match space {
        SearchSpace::Choices(choices) => Domain::Choices(choices.clone()),
        SearchSpace::Linear { low, high } => Domain::Linear { low: *low, high: *high },
        SearchSpace::Log { low, high } => Domain::Log { low: *low, high: *high },
    }
}
