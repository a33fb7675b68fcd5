//! `din new`: a folder to begin with, that checks, and whose README has commands that run.

mod guess;

use crate::args::{NewArgs, Template};
use crate::failure::{Failure, Outcome};
use crate::sources;
use crate::terminal::Console;
use din_grammar::{FileId, parse};
use din_runtime::data::sample;
use din_runtime::fs::{metadata, parent, sync_folder, write_atomically};
use guess::GuessedModel;
use std::fs;
use std::path::{Path, PathBuf};

const WORKFLOW: &str = include_str!("new/templates/models.yml");
const SETTINGS: &str = include_str!("new/templates/din.toml");
const IGNORED: &str = include_str!("new/templates/gitignore");

/// A file of the project, by its path in the folder.
struct NewFile {
    path: String,
    text: String,
}

pub fn new(console: &Console, args: &NewArgs) -> Outcome {
    let folder = &args.folder;
    if metadata(folder)?.is_some() {
        let help = "choose another name; nothing was written";
        return Err(Failure::user_error(format!("{}: already exists\n  help: {help}", folder.display())));
    }
    let name = model_name(folder)?;
    let mut texts = match &args.columns {
        Some(data) => of_columns(console, args, data, &name)?,
        None => of_template(args.from, &name),
    };
    texts.push(NewFile { path: "din.toml".into(), text: SETTINGS.into() });
    texts.push(NewFile { path: ".gitignore".into(), text: IGNORED.into() });
    texts.push(NewFile { path: ".github/workflows/models.yml".into(), text: WORKFLOW.into() });
    write(console, folder, &name, &texts)?;
    texts.iter().for_each(|text| console.result(folder.join(&text.path).display().to_string()));
    console.remark(format!("go on with {}", folder.join("README.md").display()));
    Ok(())
}

/// The model's name: that of the folder, with `_` for what names cannot have.
fn model_name(folder: &Path) -> Result<String, Failure> {
    let last = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    match is_name(&name) {
        true => Ok(name),
        false => Err(Failure::user_error(format!(
            "{}: expected a folder whose name can be that of a model\n  help: begin it with a letter, such as `shop`",
            folder.display()
        ))),
    }
}

/// Whether the language takes it as a name.
fn is_name(name: &str) -> bool {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain && parse(&format!("fn {name}(x: [n]) -> [n] {{ x }}\n"), FileId(0)).is_ok()
}

/// A model of the repository, under the project's name.
fn of_template(template: Template, name: &str) -> Vec<NewFile> {
    const INTERACTION: &str = include_str!("../../../models/interaction/columns.din");
    const MULTITASK: &str = include_str!("../../../models/multitask/columns.din");
    const RETRIEVAL: &str = include_str!("../../../models/retrieval/columns.din");
    let (own, text, columns) = match template {
        Template::Din => ("din", include_str!("../../../models/din.din"), None),
        Template::Base => ("base", include_str!("../../../models/base.din"), None),
        Template::DeepFm => ("deepfm", include_str!("../../../models/interaction/deepfm.din"), Some(INTERACTION)),
        Template::DcnV2 => ("dcnv2", include_str!("../../../models/interaction/dcnv2.din"), Some(INTERACTION)),
        Template::Mmoe => ("mmoe", include_str!("../../../models/multitask/mmoe.din"), Some(MULTITASK)),
        Template::TwoTower => ("two_tower", include_str!("../../../models/retrieval/two_tower.din"), Some(RETRIEVAL)),
    };
    let spec = text.replacen(&format!("\nmodel {own} "), &format!("\nmodel {name} "), 1);
    let mut texts = vec![NewFile { path: format!("models/{name}.din"), text: spec }];
    texts.extend(columns.map(|text| NewFile { path: "models/columns.din".into(), text: text.into() }));
    let readme = include_str!("new/templates/synthetic.md").replace("NAME", name);
    texts.push(NewFile { path: "README.md".into(), text: readme });
    texts
}

/// A model of the columns of a file.
fn of_columns(console: &Console, args: &NewArgs, data: &Path, name: &str) -> Result<Vec<NewFile>, Failure> {
    let columns = sample(data, args.list_separator).map_err(din_runtime::Error::from)?;
    let guessed = GuessedModel::of(&columns, args.label.as_deref())
        .map_err(|why| Failure::user_error(format!("{}: {why}", data.display())))?;
    for (column, why) in &guessed.left_out {
        console.remark(format!("column {column} is left out: {why}"));
    }
    let file = data.file_name().unwrap_or(data.as_os_str());
    let spec = guessed.spec(name, &file.to_string_lossy());
    let spec = din_grammar::format(&spec).map_err(|diagnostics| {
        let why = diagnostics.first().map_or("no reason given", |diagnostic| diagnostic.message.as_str());
        Failure::system_error(format!("the guessed model cannot be read: {why}; this is a bug of din"))
    })?;
    let path = data.canonicalize().map_err(|e| din_runtime::Error::file("read", data, &e))?;
    let separator = match args.list_separator {
        b'|' => String::new(),
        other => format!(" --list-separator {}", quoted(&char::from(other).to_string())),
    };
    let readme = include_str!("new/templates/columns.md")
        .replace("NAME", name)
        .replace("DATA", &quoted(&path.display().to_string()))
        .replace("SEPARATOR", &separator);
    Ok(vec![
        NewFile { path: format!("models/{name}.din"), text: spec },
        NewFile { path: "README.md".into(), text: readme },
    ])
}

/// A word of a shell's command.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:=".contains(c);
    match word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Writes beside the folder, checks the model, and renames: the folder is whole or absent.
fn write(console: &Console, folder: &Path, name: &str, texts: &[NewFile]) -> Outcome {
    let above = parent(folder);
    let failed = |doing: &str, at: &Path, e: &std::io::Error| Failure::from(din_runtime::Error::file(doing, at, e));
    fs::create_dir_all(above).map_err(|e| failed("make", above, &e))?;
    let making = Making::new(above, name)?;
    for NewFile { path, text } in texts {
        let path = making.0.join(path);
        fs::create_dir_all(parent(&path)).map_err(|e| failed("make", parent(&path), &e))?;
        write_atomically(&path, text.as_bytes())?;
    }
    sources::checked(console, &making.0.join(format!("models/{name}.din")), &[])?;
    fs::rename(&making.0, folder).map_err(|e| failed("make", folder, &e))?;
    sync_folder(above)?;
    Ok(())
}

/// A folder with a temporary name, which goes unless it is renamed.
struct Making(PathBuf);

impl Making {
    fn new(above: &Path, name: &str) -> Result<Self, Failure> {
        let path = above.join(format!(".{name}.{}.tmp", std::process::id()));
        fs::create_dir(&path).map_err(|e| din_runtime::Error::file("make", &path, &e))?;
        Ok(Self(path))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // It is not there any more if it was renamed.
        let _ = fs::remove_dir_all(&self.0);
    }
}
