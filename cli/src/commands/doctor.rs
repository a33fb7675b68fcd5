//! `din doctor`: what of this machine din can use, what it cannot, and how to get that.

mod devices;
mod machine;
mod storage;
mod trial;

use crate::args::{DoctorArgs, ReportFormat};
use crate::failure::{Failure, Outcome, SYSTEM_ERROR};
use crate::terminal::Console;
use serde::Serialize;
use serde_json::json;

/// How well a part of the machine serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    /// As well as din can use it.
    Good,
    /// It works, but something is slower or smaller than it could be.
    Limited,
    /// It is not there, and only what needs it does not work.
    Absent,
    /// Din does not work without it.
    Broken,
}

/// What was found of one part of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Checkup {
    /// What was looked at.
    name: &'static str,
    health: Health,
    /// What is there.
    found: String,
    /// What follows for din.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<String>,
    /// How to get what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Checkup {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, health: Health::Good, found: found.into(), effect: None, help: None }
    }

    /// One that has an effect, and a help.
    fn poor(
        name: &'static str,
        health: Health,
        found: impl Into<String>,
        effect: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { name, health, found: found.into(), effect: Some(effect.into()), help: Some(help.into()) }
    }

    fn text(&self) -> String {
        let word = match self.health {
            Health::Good => "ok",
            Health::Limited => "limited",
            Health::Absent => "absent",
            Health::Broken => "BROKEN",
        };
        let mut text = format!("{word:<8} {:<12} {}\n", self.name, self.found);
        for (what, said) in [("effect", &self.effect), ("help", &self.help)] {
            if let Some(said) = said {
                text.push_str(&format!("{:22}{what}: {said}\n", ""));
            }
        }
        text
    }
}

pub fn doctor(console: &Console, args: &DoctorArgs) -> Outcome {
    let checkups = vec![
        machine::processor(),
        machine::isa(),
        machine::memory(),
        machine::huge_pages(),
        trial::trial(),
        storage::storage(&args.folder),
        machine::git(),
        devices::driver(),
        devices::nvrtc(),
        devices::mpi(args.mpi_library.as_deref()),
        devices::launcher(),
    ];
    let works = checkups.iter().all(|checkup| checkup.health != Health::Broken);
    match console.format() {
        ReportFormat::Json => {
            let version = env!("CARGO_PKG_VERSION");
            console.result(json!({ "version": version, "works": works, "checkups": checkups }).to_string());
        }
        ReportFormat::Human | ReportFormat::Concise => {
            checkups.iter().for_each(|checkup| console.result_raw(&checkup.text()));
        }
        ReportFormat::Markdown
        | ReportFormat::Sarif
        | ReportFormat::Github
        | ReportFormat::Gitlab
        | ReportFormat::Junit => unreachable!("refused before: formats of findings"),
    }
    match works {
        true => Ok(()),
        false => Err(Failure { code: SYSTEM_ERROR, message: "din does not work here".into() }),
    }
}
