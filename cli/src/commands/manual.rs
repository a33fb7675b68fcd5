//! `din completions` and `din man`: the command line, as shells and `man` read it.

use crate::args::{CompletionsArgs, Din, ManArgs};
use crate::failure::{Failure, Outcome};
use crate::terminal::Console;
use clap::CommandFactory;
use std::fs;

pub fn completions(console: &Console, args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Din::command(), "din", &mut script);
    console.result_raw(&String::from_utf8_lossy(&script));
}

pub fn man(console: &Console, args: &ManArgs) -> Outcome {
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        // As the pages of a folder are made.
        let mut command = Din::command().disable_help_subcommand(true);
        command.build();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        rendered.expect("a vector takes every byte");
        console.result_raw(&String::from_utf8_lossy(&page));
        return Ok(());
    };
    let failed = |e: &std::io::Error| Failure::from(din_runtime::Error::file("write into", folder, e));
    fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    clap_mangen::generate_to(Din::command(), folder).map_err(|e| failed(&e))?;
    console.remark(format!("{}: written", folder.display()));
    Ok(())
}
