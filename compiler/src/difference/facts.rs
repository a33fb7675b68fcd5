//! What a model says, as facts that can be compared one by one: each is of a part of the model, has
//! a name, and properties.

use super::ModelPart;
use crate::model::{CheckedModel, UpdateGraph};
use din_grammar::SourceMap;
use din_program::schema::{
    Admission, Boundaries, Combination, DataStatisticKind, Feature, FeatureKind, FeatureSource, Init, KeyType,
    LabelKind, Made, MissingLabel, Schema, Step, TableKind, TableSpec, ValueRule,
};
use std::fmt::Debug;

/// A property of a part.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Property {
    pub name: &'static str,
    /// Equal exactly where the property is.
    pub exact: String,
    /// For readers.
    pub shown: String,
}

/// Something that a model has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub part: ModelPart,
    pub name: String,
    pub properties: Vec<Property>,
}

impl Fact {
    fn new(part: ModelPart, name: impl Into<String>) -> Self {
        Fact { part, name: name.into(), properties: Vec::new() }
    }

    fn with(mut self, name: &'static str, shown: impl Into<String>) -> Self {
        let shown = shown.into();
        self.properties.push(Property { name, exact: shown.clone(), shown });
        self
    }

    /// With a property that is more than is shown of it.
    fn with_exact(mut self, name: &'static str, exact: impl Debug, shown: impl Into<String>) -> Self {
        self.properties.push(Property { name, exact: format!("{exact:?}"), shown: shown.into() });
        self
    }
}

/// All facts of a model but its network, loss and optimizers.
pub(super) fn facts(model: &CheckedModel) -> Vec<Fact> {
    let schema = &model.schema;
    let mut facts: Vec<Fact> = schema.features.iter().map(|feature| of_feature(schema, feature)).collect();
    for sequence in &schema.sequences {
        let keep = sequence.keep.map_or("all entries".into(), |keep| {
            format!("the {} {} entries", if keep.last { "last" } else { "first" }, keep.count)
        });
        let fact = Fact::new(ModelPart::Sequence, &sequence.name).with("keeps", keep);
        let fact = fact.with("a missing list", if sequence.missing { "is empty" } else { "is an error" });
        facts.push(fact.with("per", if sequence.common { "request" } else { "sample" }));
    }
    for label in &schema.labels {
        let kind = match label.kind {
            LabelKind::Class { size } => format!("class({size})"),
            LabelKind::Binary | LabelKind::Number | LabelKind::Count | LabelKind::Weight => label.kind.word().into(),
        };
        let missing = match &label.missing {
            None => "never missing".into(),
            Some(MissingLabel::Number(number)) => format!("missing where {number}"),
            Some(MissingLabel::Text(text)) => format!("missing where {text:?}"),
        };
        let fact = Fact::new(ModelPart::Label, &label.name).with("kind", kind).with("column", &label.column);
        facts.push(fact.with("values", missing).with("classes", label.classes.join(", ")));
    }
    for key in &schema.keys {
        let fact = Fact::new(ModelPart::Key, &key.name).with("column", &key.column);
        facts.push(fact.with("kind", key_text(key.kind)));
    }
    if let Some(requests) = &schema.requests {
        facts.push(Fact::new(ModelPart::Key, "request").with("by", &schema.keys[requests.key as usize].name));
    }
    if let Some(requests) = &schema.in_batch {
        facts.push(Fact::new(ModelPart::Key, "request").with("of", requests.size.to_string()));
    }
    for known in &schema.known {
        let path = |feature: u32| schema.features[feature as usize].path();
        let rule = format!("{} before {}", path(known.times), path(known.moment));
        facts.push(Fact::new(ModelPart::Input, format!("{} known at", known.group)).with("rule", rule));
    }
    facts.extend(model.tables.iter().map(|table| of_table(schema, table)));
    for parameter in &model.parameters {
        let fact = Fact::new(ModelPart::Parameter, &parameter.name);
        facts.push(fact.with("shape", format!("{:?}", parameter.shape)).with("init", init_text(parameter.init)));
    }
    for state in &model.states {
        let fact = Fact::new(ModelPart::State, &state.name);
        facts.push(fact.with("shape", format!("{:?}", state.shape)).with("init", init_text(state.init)));
    }
    for prediction in &model.predictions {
        let shown = format!("{:?}", prediction.distribution).to_lowercase();
        facts.push(Fact::new(ModelPart::Prediction, &prediction.name).with("distribution", shown));
    }
    for output in model.outputs.iter().filter(|o| o.purpose == din_program::schema::OutputPurpose::Written) {
        facts.push(Fact::new(ModelPart::Output, &output.name).with("width", output.width.to_string()));
    }
    for metric in &model.metrics {
        let fact = Fact::new(ModelPart::Metric, &metric.name);
        let slices: Vec<&str> = metric.slices.iter().map(|slicing| slicing.name.as_str()).collect();
        facts.push(fact.with("by", slices.join(", ")));
    }
    let training = &model.training;
    let select = model.metrics.get(training.select as usize).map_or("the last epoch", |metric| metric.name.as_str());
    let patience = training.patience.map_or("none".into(), |epochs| format!("{epochs} epochs"));
    for (name, value) in [
        ("batch", training.batch.to_string()),
        ("epochs", training.epochs.to_string()),
        ("seed", training.seed.to_string()),
        ("select", select.to_string()),
        ("patience", patience),
    ] {
        facts.push(Fact::new(ModelPart::Training, name).with("value", value));
    }
    for (name, value) in &model.hypers {
        facts.push(Fact::new(ModelPart::Hyper, name).with("value", value.to_string()));
    }
    facts
}

fn of_feature(schema: &Schema, feature: &Feature) -> Fact {
    let kind = match &feature.kind {
        FeatureKind::Dynamic { key } => format!("{} id", key_text(*key)),
        FeatureKind::Fixed { size, clip } => format!("id 0..{size}{}", if *clip { ", clipped" } else { "" }),
        FeatureKind::Dense { width: 1 } => "number".into(),
        FeatureKind::Dense { width } => format!("{width} numbers"),
    };
    // Numbers of statistics and vocabularies are not what a feature is.
    let mut exact = match &feature.source {
        FeatureSource::Features(combination) => {
            let parts: Vec<String> =
                combination.parts().iter().map(|&part| schema.features[part as usize].path()).collect();
            let options = match combination {
                Combination::Cross { size, .. } => format!("{size:?}"),
                Combination::Gap { makes, missing, .. } => format!("{makes:?} {missing:?}"),
                Combination::Equal { .. } | Combination::Overlap { .. } => String::new(),
            };
            format!("{:?} {} {options}", std::mem::discriminant(combination), parts.join(", "))
        }
        FeatureSource::Rule { column, rule } => match &rule.makes {
            Made::VocabularyRow { vocabulary } => {
                let path = &schema.vocabularies[*vocabulary as usize].path;
                format!("{column} {:?} {:?} lines of {path}", rule.holds, rule.missing)
            }
            Made::Mark
            | Made::Id
            | Made::FixedId { .. }
            | Made::HashedId { .. }
            | Made::Number { .. }
            | Made::Bucket { .. }
            | Made::Calendar { .. } => format!("{column} {:?}", without_numbers(rule.clone())),
        },
        FeatureSource::Column(_) | FeatureSource::ListMark { .. } | FeatureSource::Absent => {
            format!("{:?}", feature.source)
        }
    };
    let decided = schema.statistics.iter().filter(|s| schema.features[s.feature as usize].path() == feature.path());
    let decided: Vec<DataStatisticKind> = decided.map(|statistic| statistic.kind).collect();
    exact += &format!(" {decided:?}");
    let fact = Fact::new(ModelPart::Input, feature.path()).with("kind", kind);
    let fact = fact.with_exact("values", exact, source_text(schema, &feature.source));
    let list = feature.sequence.map_or("no list", |k| schema.sequences[k as usize].name.as_str());
    let fact = fact.with("list", list).with("per", if feature.common { "request" } else { "sample" });
    fact.with("read by prediction", if feature.at_prediction { "yes" } else { "no" })
}

/// A rule without the numbers of its statistics, which are those of its feature.
fn without_numbers(mut rule: ValueRule) -> ValueRule {
    let steps = match &mut rule.makes {
        Made::Number { steps } | Made::Calendar { steps, .. } => Some(steps),
        Made::Bucket { steps, boundaries } => {
            if let Boundaries::Quantiles { statistic } = boundaries {
                *statistic = 0;
            }
            Some(steps)
        }
        Made::Mark | Made::Id | Made::FixedId { .. } | Made::HashedId { .. } | Made::VocabularyRow { .. } => None,
    };
    for step in steps.into_iter().flatten() {
        if let Step::Standard { statistic } = step {
            *statistic = 0;
        }
    }
    rule
}

/// Where values come from, for readers.
fn source_text(schema: &Schema, source: &FeatureSource) -> String {
    let path = |&feature: &u32| schema.features[feature as usize].path();
    match source {
        FeatureSource::Column(column) => format!("column {column}"),
        FeatureSource::Rule { column, rule } => {
            let made = match &rule.makes {
                Made::Mark => "1 where missing in",
                Made::Id | Made::FixedId { .. } => "",
                Made::HashedId { .. } => "hashes of",
                Made::VocabularyRow { .. } => "lines of a vocabulary by",
                Made::Number { .. } => "computed of",
                Made::Bucket { .. } => "buckets of",
                Made::Calendar { .. } => "part of the time in",
            };
            format!("{made} column {column}").trim_start().to_string()
        }
        FeatureSource::ListMark { column } => format!("1 where the list of column {column} is missing"),
        FeatureSource::Features(combination) => {
            let parts: Vec<String> = combination.parts().iter().map(path).collect();
            let made = match combination {
                Combination::Cross { .. } => "cross",
                Combination::Equal { .. } => "equality",
                Combination::Gap { .. } => "gap",
                Combination::Overlap { .. } => "overlap",
            };
            format!("{made} of {}", parts.join(", "))
        }
        FeatureSource::Absent => "nothing".into(),
    }
}

fn of_table(schema: &Schema, table: &TableSpec) -> Fact {
    let rows = match table.kind {
        TableKind::Fixed { size } => format!("{size} rows"),
        TableKind::Dynamic { key } => format!("a row per {} id", key_text(key)),
    };
    let admits = match table.admission {
        None => "all ids".into(),
        Some(Admission::AtLeast(samples)) => format!("ids of {samples} samples at least"),
        Some(Admission::Top(ids)) => format!("the {ids} most frequent ids"),
    };
    let features: Vec<String> = table.features.iter().map(|&f| schema.features[f as usize].path()).collect();
    let fact = Fact::new(ModelPart::Table, &table.name).with("width", table.width.to_string()).with("rows", rows);
    let fact = fact.with("features", features.join(", ")).with("init", init_text(table.init));
    let vectors = table.vectors.as_ref().map_or("no file", |file| file.path.as_str());
    fact.with("starts from", vectors).with("admits", admits)
}

fn key_text(key: KeyType) -> &'static str {
    match key {
        KeyType::Int64 => "int64",
        KeyType::String => "string",
    }
}

fn init_text(init: Init) -> String {
    match init {
        Init::Constant(value) => value.to_string(),
        Init::Normal(deviation) => format!("normal({deviation})"),
        Init::Uniform(limit) => format!("uniform({limit})"),
    }
}

/// An optimizer as the spec calls it: `adam(lr = 1e-3)`.
pub(super) fn optimizer_text(update: &UpdateGraph, sources: &SourceMap) -> String {
    let words: Vec<&str> = sources.text(update.span).split_whitespace().collect();
    if words.is_empty() { update.name.clone() } else { words.join(" ") }
}

/// `, regularize adaptive`; empty without a regularizer.
pub(super) fn regularizer_text(update: &UpdateGraph) -> String {
    update.name.split_once(" + ").map_or(String::new(), |(_, regularizer)| format!(", regularize {regularizer}"))
}
