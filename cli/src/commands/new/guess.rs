//! A first model of the columns of a file: features by their types and names, lists of one length
//! as a sequence, a table for each id, and a network above all. What was guessed has a comment.

use super::is_name;
use din_runtime::data::{SampledColumn, SampledKind};
use std::collections::BTreeSet;
use std::fmt::Write;

/// Names of labels, the first one that is there being predicted.
const LABELS: [&str; 15] = [
    "click",
    "clicked",
    "is_click",
    "label",
    "target",
    "y",
    "is_clicked",
    "bought",
    "purchase",
    "purchased",
    "conversion",
    "converted",
    "like",
    "liked",
    "is_like",
];
const USERS: [&str; 5] = ["user_id", "uid", "user", "member_id", "customer_id"];
const REQUESTS: [&str; 5] = ["request_id", "impression_id", "query_id", "search_id", "req_id"];
/// How names of columns of a group begin, or what they are called.
const OF_USER: [&str; 8] = ["user", "member", "customer", "uid", "gender", "age", "country", "city"];
const OF_ITEM: [&str; 12] =
    ["item", "ad", "good", "goods", "product", "video", "article", "brand", "category", "cate", "shop", "price"];
/// Words in names of what is known only after the impression.
const OUTCOMES: [&str; 6] = ["watch", "watched", "dwell", "duration", "stay", "outcome"];
/// Integers with so few values are taken for ids.
const FEW: usize = 50;
/// Seconds since 1970 of a time in this century.
const TIME: f64 = 9e8;

/// A field of a group.
#[derive(Clone, Debug)]
struct GuessedField {
    /// Its name in the group.
    name: String,
    /// What it is, with the column that it is read from.
    declaration: String,
    /// Of ids; the type that fields of one table have in common.
    ids: Option<&'static str>,
    /// What was guessed.
    guess: Option<&'static str>,
}

/// Features of one entity.
#[derive(Clone, Debug)]
struct GuessedGroup {
    name: String,
    fields: Vec<GuessedField>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct GuessedModel {
    groups: Vec<GuessedGroup>,
    /// With whether whole lists may be missing.
    sequences: Vec<(GuessedGroup, bool)>,
    label: String,
    /// A key of the rows that are ranked together, and its type.
    request: Option<(String, &'static str)>,
    /// The ids by which GAUC is averaged: `user.user_id`.
    user: Option<String>,
    /// Columns that the model does not read, and why.
    pub left_out: Vec<(String, String)>,
}

impl GuessedModel {
    /// # Errors
    /// There is no label, or nothing beside it.
    pub fn of(columns: &[SampledColumn], label: Option<&str>) -> Result<Self, String> {
        let label = label_of(columns, label)?;
        let mut groups: Vec<GuessedGroup> = ["user", "item", "context"].map(group).into();
        let (mut left_out, mut lists) = (Vec::new(), Vec::new());
        let (mut request, mut user) = (None, None);
        for column in columns.iter().filter(|column| column.name != label) {
            let lower = column.name.to_lowercase();
            let mut leave = |why: &str| left_out.push((column.name.clone(), why.to_string()));
            match (&column.kind, &column.lengths) {
                (SampledKind::Other(kind), _) => leave(&format!("it is {kind}, which no feature is made of")),
                (_, Some(_)) if is_time(column, &lower) => leave("it looks like times, of which `gap` makes features"),
                (_, Some(lengths)) => match width(column, lengths) {
                    Some(width) => groups[place(&lower)].fields.push(vector(column, width)),
                    None => lists.push(column),
                },
                (kind, None) if REQUESTS.contains(&&*lower) && request.is_none() && is_name(&column.name) => {
                    let kind = if *kind == SampledKind::Text { "string" } else { "int64" };
                    request = Some((column.name.clone(), kind));
                }
                (_, None) if LABELS.contains(&&*lower) && is_binary(column) => leave("it looks like another label"),
                (_, None) if lower.split('_').any(|part| OUTCOMES.contains(&part)) => {
                    leave("it looks like an outcome, which is not known before the label")
                }
                (SampledKind::Integer, None) if is_time(column, &lower) => {
                    leave("it looks like a time, of which `gap` and `hour` make features")
                }
                (_, None) => {
                    let field = scalar(column);
                    if user.is_none() && USERS.contains(&&*lower) && field.ids.is_some() {
                        user = Some(format!("user.{}", field.name));
                    }
                    groups[place(&lower)].fields.push(field);
                }
            }
        }
        let items: BTreeSet<String> =
            groups.iter().flat_map(|group| group.fields.iter().map(|field| field.name.clone())).collect();
        let sequences = sequences(&lists, &items);
        groups.retain(|group| !group.fields.is_empty());
        match groups.is_empty() && sequences.is_empty() {
            true => Err(format!("there is no column to predict `{label}` from")),
            false => Ok(Self { groups, sequences, label, request, user, left_out }),
        }
    }

    /// The text of the model, to be formatted.
    pub fn spec(&self, name: &str, data: &str) -> String {
        let mut text = format!(
            "//! A first model of the columns of {data}, written by `din new` from its first rows. Where\n\
             //! it says `guess`, look whether it is so.\nedition 2026\n\n"
        );
        let mut imports =
            vec!["std.activation.relu", "std.layer.{linear, mlp}", "std.loss.cross_entropy", "std.optimizer.adam"];
        imports.push(if self.user.is_some() {
            "std.metric.{auc, gauc, log_loss}"
        } else {
            "std.metric.{auc, log_loss}"
        });
        if !self.sequences.is_empty() {
            imports.push("std.pooling.mean_pool");
        }
        imports.sort_unstable();
        // Writing to a string cannot fail.
        imports.iter().for_each(|import| _ = writeln!(text, "use {import}"));
        let _ = writeln!(text, "\nmodel {name} {{");
        for (column, why) in &self.left_out {
            let _ = writeln!(text, "// Not read: {}, {why}.", column.replace('\n', " "));
        }
        for group in &self.groups {
            let _ = writeln!(text, "features {} {{\n{}}}", group.name, fields(group));
        }
        for (group, missing) in &self.sequences {
            let missing = if *missing { " missing" } else { "" };
            let head = format!("sequence {} (keep last 50){missing}", group.name);
            let _ =
                writeln!(text, "// guess: one sequence, since its lists have the same lengths in each row\n{head} {{");
            let _ = writeln!(text, "{}}}", fields(group));
        }
        let _ = writeln!(text, "label {}: binary", self.label);
        if let Some((key, kind)) = &self.request {
            let _ = writeln!(text, "key {key}: {kind}");
        }
        let _ = writeln!(text, "\n{}", self.tables());
        let mut parts: Vec<String> = self.groups.iter().map(|group| format!("embed({})", group.name)).collect();
        parts.extend(self.sequences.iter().map(|(group, _)| format!("mean_pool(embed({}))", group.name)));
        let input = match parts.as_slice() {
            [only] => only.clone(),
            _ => format!("concat({})", parts.join(", ")),
        };
        if !self.sequences.is_empty() {
            text.push_str(
                "// std.attention.interest weighs the history by the candidate, where both have the same fields.\n",
            );
        }
        let gauc = self.user.as_ref().map_or(String::new(), |user| format!("gauc({}, by = {user}), ", self.label));
        let label = &self.label;
        let _ = writeln!(
            text,
            "let hidden = mlp({input}, [64, 32], relu)\n\npredict {label} ~ bernoulli(logit = linear(hidden, 1))\n\n\
             train {{\nloss cross_entropy({label})\noptimizer adam(lr = 1e-3)\nbatch 512\nepochs 2\n}}\n\
             report auc({label}), {gauc}log_loss({label})\n}}"
        );
        text
    }

    /// A table for each field of ids; entries of a sequence share that of the field of their name.
    fn tables(&self) -> String {
        let mut text = String::new();
        let sequences = || self.sequences.iter().map(|(group, _)| group);
        let ids = |group: &GuessedGroup| group.fields.iter().filter(|f| f.ids.is_some()).cloned().collect::<Vec<_>>();
        for group in &self.groups {
            for field in ids(group) {
                let mut readers = vec![format!("{}.{}", group.name, field.name)];
                for sequence in sequences() {
                    let same =
                        ids(sequence).into_iter().filter(|entry| entry.name == field.name && entry.ids == field.ids);
                    readers.extend(same.map(|entry| format!("{}.{}", sequence.name, entry.name)));
                }
                let _ = writeln!(text, "embedding {}_vector [8] for {}", field.name, readers.join(", "));
            }
        }
        let shared = |entry: &GuessedField| {
            let mut all = self.groups.iter().flat_map(|group| &group.fields);
            all.any(|field| field.name == entry.name && field.ids.is_some() && field.ids == entry.ids)
        };
        for sequence in sequences() {
            for entry in ids(sequence).into_iter().filter(|entry| !shared(entry)) {
                let (group, name) = (&sequence.name, &entry.name);
                let _ = writeln!(text, "embedding {group}_{name}_vector [8] for {group}.{name}");
            }
        }
        text
    }
}

fn group(name: &str) -> GuessedGroup {
    GuessedGroup { name: name.into(), fields: Vec::new() }
}

/// A line for each field.
fn fields(group: &GuessedGroup) -> String {
    let mut text = String::new();
    for GuessedField { name, declaration, guess, .. } in &group.fields {
        let guess = guess.map_or(String::new(), |guess| format!(" // guess: {guess}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {declaration}{guess}");
    }
    text
}

fn is_binary(column: &SampledColumn) -> bool {
    let number = matches!(column.kind, SampledKind::Boolean | SampledKind::Integer | SampledKind::Float);
    let of_two = column.range.is_some_and(|(least, greatest)| least >= 0.0 && greatest <= 1.0);
    number && column.lengths.is_none() && of_two && column.distinct <= 2
}

fn label_of(columns: &[SampledColumn], asked: Option<&str>) -> Result<String, String> {
    let found = |name: &str| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    let binary: Vec<&str> = columns.iter().filter(|c| is_binary(c)).map(|c| c.name.as_str()).collect();
    let some = if binary.is_empty() { "none has these values alone".into() } else { binary.join(", ") };
    let label = match asked {
        Some(name) => columns
            .iter()
            .find(|column| column.name == name)
            .ok_or_else(|| format!("there is no column `{name}`\n  help: name one of 0 and 1: {some}"))?,
        None => LABELS.iter().find_map(|name| found(name).filter(|column| is_binary(column))).ok_or_else(|| {
            format!("no column looks like a label by its name\n  help: name one of 0 and 1 by --label: {some}")
        })?,
    };
    match (is_binary(label), is_name(&label.name)) {
        (true, true) => Ok(label.name.clone()),
        (false, _) => {
            Err(format!("column `{}` has other values than 0 and 1\n  help: name one of: {some}", label.name))
        }
        (true, false) => Err(format!(
            "the name of column `{}` cannot be that of a label\n  help: rename it, such as to `click`",
            label.name
        )),
    }
}

/// Index of the group of a column: user, item, context.
fn place(name: &str) -> usize {
    let first = name.split('_').next().unwrap_or(name);
    match (OF_USER.contains(&first), OF_ITEM.contains(&first)) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

/// A list of numbers of one length in all rows is a vector.
fn width(column: &SampledColumn, lengths: &[usize]) -> Option<usize> {
    let first = *lengths.first().filter(|&&length| length > 1)?;
    (column.kind == SampledKind::Float && lengths.iter().all(|&length| length == first)).then_some(first)
}

fn is_time(column: &SampledColumn, name: &str) -> bool {
    let named = ["time", "times", "date", "dates", "timestamp", "timestamps", "ts"]
        .iter()
        .any(|word| name.split('_').any(|part| part == *word));
    (named || name.ends_with("_at")) && column.range.is_some_and(|(least, _)| least > TIME)
}

/// A name of the language for a column, and `from` where it is another one.
fn named(column: &str) -> (String, String) {
    if is_name(column) {
        return (column.into(), column.into());
    }
    let plain: String =
        column.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let name = format!("column_{}", plain.trim_matches('_'));
    (name, format!("\"{}\"", column.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn vector(column: &SampledColumn, width: usize) -> GuessedField {
    let (name, from) = named(&column.name);
    let declaration = match name == from {
        true => format!("number[{width}]"),
        false => format!("number[{width}] from {from}"),
    };
    GuessedField { name, declaration, ids: None, guess: Some("a vector, since all lists have this length") }
}

/// Whether integers are ids, and whether that is guessed.
fn integers_are_ids(column: &SampledColumn) -> (bool, bool) {
    let words = ["id", "ids", "code", "type", "level", "category", "cate", "brand", "hour", "weekday", "gender"];
    let named = column.name.to_lowercase().split('_').any(|part| words.contains(&part));
    let negative = column.range.is_some_and(|(least, _)| least < 0.0);
    (named || (column.distinct <= FEW && !negative), !named)
}

fn scalar(column: &SampledColumn) -> GuessedField {
    let (name, from) = named(&column.name);
    let read = if name == from { String::new() } else { format!(" from {from}") };
    let missing = if column.nulls > 0 { " missing" } else { "" };
    let id = |kind: &'static str, guess| GuessedField {
        name: name.clone(),
        declaration: format!("{kind}{read}{missing}"),
        ids: Some(kind),
        guess,
    };
    let number = |guess| GuessedField {
        name: name.clone(),
        declaration: format!("number from standard({from}){}", if column.nulls > 0 { " missing as 0" } else { "" }),
        ids: None,
        guess,
    };
    match &column.kind {
        SampledKind::Text => id("category of string", None),
        // Only Parquet has booleans as ids.
        SampledKind::Boolean if column.is_of_texts => id("category of string", None),
        SampledKind::Boolean if column.nulls == 0 => id("category(2)", None),
        SampledKind::Boolean => {
            GuessedField { declaration: format!("category(3){read} missing as 2"), ..id("category(2)", None) }
        }
        SampledKind::Integer => match integers_are_ids(column) {
            (true, false) => id("category", None),
            (true, true) => id("category", Some("ids, since it has few values")),
            (false, _) => number(Some("a number, since it has many values")),
        },
        SampledKind::Float | SampledKind::Other(_) => number(None),
    }
}

/// Lists that have the same lengths in all rows are fields of one sequence.
fn sequences(lists: &[&SampledColumn], items: &BTreeSet<String>) -> Vec<(GuessedGroup, bool)> {
    let mut aligned: Vec<Vec<&SampledColumn>> = Vec::new();
    for list in lists {
        match aligned.iter_mut().find(|some| some[0].lengths == list.lengths) {
            Some(some) => some.push(list),
            None => aligned.push(vec![list]),
        }
    }
    let mut names = BTreeSet::new();
    let made = aligned.into_iter().map(|columns| {
        let prefix = common_prefix(&columns);
        let wanted = match prefix.trim_end_matches('_') {
            prefix if is_name(prefix) && !["user", "item", "context"].contains(&prefix) => prefix.to_string(),
            _ => "history".into(),
        };
        let mut name = wanted.clone();
        for number in 2.. {
            if names.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}_{number}");
        }
        let missing = columns.iter().any(|column| column.nulls > 0);
        let mut group = group(&name);
        group.fields = columns.iter().map(|column| entry(column, &prefix, items)).collect();
        (group, missing)
    });
    made.collect()
}

/// What the names of columns begin with, up to a `_`; of one column, up to the first.
fn common_prefix(columns: &[&SampledColumn]) -> String {
    let first = &columns[0].name;
    let ends = first.match_indices('_').map(|(at, _)| &first[..=at]);
    let of_all = ends.filter(|prefix| columns.iter().all(|column| column.name.starts_with(prefix)));
    let prefixes: Vec<&str> = of_all.collect();
    let found = if columns.len() == 1 { prefixes.first() } else { prefixes.last() };
    found.copied().unwrap_or_default().to_string()
}

/// A field of a sequence: `good_id` of `visited_good_ids`, if the candidate has a field of that
/// name.
fn entry(column: &SampledColumn, prefix: &str, items: &BTreeSet<String>) -> GuessedField {
    let rest = column.name.strip_prefix(prefix).unwrap_or(&column.name);
    let singular = [rest.strip_suffix("ies").map(|stem| format!("{stem}y")), rest.strip_suffix('s').map(String::from)];
    let known = singular.iter().flatten().find(|name| items.contains(*name)).cloned();
    let (own, from) = named(&column.name);
    let name = known.unwrap_or_else(|| if is_name(rest) { rest.into() } else { own });
    let (kind, ids) = match &column.kind {
        SampledKind::Text => ("category of string", Some("category of string")),
        SampledKind::Boolean if column.is_of_texts => ("category of string", Some("category of string")),
        SampledKind::Boolean => ("category(2)", Some("category(2)")),
        SampledKind::Integer => ("category", Some("category")),
        SampledKind::Float | SampledKind::Other(_) => ("number", None),
    };
    let declaration = match ids {
        Some(_) => format!("{kind} from {from}"),
        None => format!("number from standard({from})"),
    };
    let guess = matches!(column.kind, SampledKind::Integer if ids.is_some()).then_some("ids");
    GuessedField { name, declaration, ids, guess }
}
