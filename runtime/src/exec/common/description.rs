//! Checks that every number by which one part of a program names another names a part that exists
//! and that is of the right kind. Schedules are checked by `validate`.

use super::CheckError;
use din_program::schema::{
    Boundaries, ColumnValues, Combination, DataStatistic, DataStatisticKind, Feature, FeatureKind, FeatureSource,
    GroupBy, KeyType, LARGEST_GAP, LabelKind, Made, Metric, MetricKind, MissingLabel, OutputPurpose, Replacement,
    SliceBy, Step, TableKind,
};
use din_program::{Program, SlotScope};

/// A contradiction is an error with the location of the part that has it.
pub fn check_description(program: &Program) -> Result<(), CheckError> {
    let error = |location: &str, why: String| CheckError::Schedule {
        schedule: "description".into(),
        location: location.to_string(),
        why,
    };
    let schema = &program.schema;
    let within = |location: &str, what: &str, index: u32, count: usize| {
        ((index as usize) < count).then_some(()).ok_or_else(|| error(location, format!("{what} {index} of {count}")))
    };
    for feature in &schema.features {
        if let Some(sequence) = feature.sequence {
            within(&feature.location, "sequence", sequence, schema.sequences.len())?;
            let common = schema.sequences[sequence as usize].common;
            if common != feature.common {
                return Err(error(&feature.location, "a feature and its sequence differ in being common".into()));
            }
        }
    }
    check_sources(program)?;
    if let Some(requests) = &schema.requests {
        within(&requests.location, "key", requests.key, schema.keys.len())?;
        if schema.in_batch.is_some() {
            return Err(error(&requests.location, "requests are declared twice".into()));
        }
    } else if schema.features.iter().any(|f| f.common) || schema.sequences.iter().any(|s| s.common) {
        return Err(error("", "common features without requests".into()));
    }
    if let Some(requests) = schema.in_batch.as_ref().filter(|requests| requests.size < 2) {
        return Err(error(&requests.location, format!("a request has {} samples", requests.size)));
    }
    for table in &program.tables {
        within(&table.location, "update", table.update, program.updates.len())?;
        let update = &program.updates[table.update as usize];
        if table.frozen && !(update.slots.is_empty() && update.schedule.phases.is_empty()) {
            return Err(error(&table.location, "it is frozen and has an update".into()));
        }
        let chooses = matches!(table.kind, TableKind::Dynamic { .. }) && !table.frozen;
        if table.admission.is_some() && !chooses {
            return Err(error(&table.location, "it admits ids and has nothing to choose from, or is frozen".into()));
        }
        for &feature in &table.features {
            within(&table.location, "feature", feature, schema.features.len())?;
            let served = &schema.features[feature as usize];
            if !resolves(table.kind, served) {
                let why = format!("it cannot hold the ids of {}", served.path());
                return Err(error(&table.location, why));
            }
        }
    }
    for parameter in &program.parameters {
        within(&parameter.location, "update", parameter.update, program.updates.len())?;
    }
    if !program.squared_norms.is_empty() {
        let (found, expected) = (program.squared_norms.len(), program.tables.len() + program.parameters.len());
        if found != expected {
            return Err(error("", format!("{found} sums of squares of gradients, expected {expected}")));
        }
        for &index in &program.squared_norms {
            within("", "update", index, program.updates.len())?;
            match program.updates[index as usize].slots.as_slice() {
                [slot] if slot.per == SlotScope::Tensor => {}
                slots => {
                    let why = format!("update {index} with {} states sums no squares of gradients", slots.len());
                    return Err(error("", why));
                }
            }
        }
    }
    for label in &schema.labels {
        let of_texts = match label.kind {
            LabelKind::Class { size } if !(2..=LabelKind::MAX_CLASSES).contains(&size) => {
                return Err(error(&label.location, format!("a label of {size} classes")));
            }
            LabelKind::Class { size } if label.classes.len() == size as usize => true,
            LabelKind::Class { .. } | LabelKind::Binary | LabelKind::Number | LabelKind::Count | LabelKind::Weight => {
                if !label.classes.is_empty() {
                    return Err(error(&label.location, format!("{} texts of its classes", label.classes.len())));
                }
                false
            }
        };
        let fits = match &label.missing {
            None => true,
            Some(MissingLabel::Number(_)) => !of_texts,
            Some(MissingLabel::Text(_)) => of_texts,
        };
        if !fits {
            return Err(error(&label.location, "its missing value is of another type".into()));
        }
    }
    for prediction in &program.predictions {
        within("", "label", prediction.label, schema.labels.len())?;
        let label = &schema.labels[prediction.label as usize];
        if !prediction.distribution.predicts(label.kind) {
            return Err(error(&label.location, format!("the distribution of {} does not fit it", prediction.name)));
        }
    }
    let of_metric = |metric: &Metric, index: u32, purpose: OutputPurpose| {
        within("", "output", index, program.outputs.len())?;
        let output = &program.outputs[index as usize];
        match output.purpose == purpose && output.width == 1 {
            true => Ok(()),
            false => Err(error(&output.location, format!("metric {} cannot read it", metric.name))),
        }
    };
    for metric in &program.metrics {
        within("", "prediction", metric.prediction, program.predictions.len())?;
        let distribution = program.predictions[metric.prediction as usize].distribution;
        if !metric.kind.name().measures(distribution) {
            return Err(error("", format!("metric {} does not fit its prediction", metric.name)));
        }
        if let Some(condition) = metric.condition {
            of_metric(metric, condition, OutputPurpose::Condition)?;
        }
        if let Some(weight) = metric.sample_weight {
            of_metric(metric, weight, OutputPurpose::SampleWeight)?;
            if !metric.kind.name().takes_weights() {
                return Err(error("", format!("metric {} takes no weights", metric.name)));
            }
        }
        if let MetricKind::Ranked { k: 0, .. } = metric.kind {
            return Err(error("", format!("metric {} counts no samples", metric.name)));
        }
        let slices = metric.slices.iter().map(|slicing| &slicing.by);
        for by in metric.kind.grouping().map(SliceBy::Value).iter().chain(slices) {
            match by {
                SliceBy::Value(GroupBy::Key(key)) => within("", "key", *key, schema.keys.len())?,
                SliceBy::Value(by @ (GroupBy::Feature(k) | GroupBy::Common(k))) => {
                    within("", "feature", *k, schema.features.len())?;
                    let feature = &schema.features[*k as usize];
                    let dense = matches!(feature.kind, FeatureKind::Dense { .. });
                    let common = matches!(by, GroupBy::Common(_));
                    if dense || feature.sequence.is_some() || feature.common != common {
                        let why = format!("metric {} groups rows by {}", metric.name, feature.path());
                        return Err(error(&feature.location, why));
                    }
                }
                SliceBy::Bucket { output, boundaries } => {
                    of_metric(metric, *output, OutputPurpose::Slice)?;
                    if !boundaries.is_sorted_by(|a, b| a < b) {
                        return Err(error("", format!("metric {} has boundaries that do not ascend", metric.name)));
                    }
                }
            }
        }
    }
    // A program without metrics selects nothing.
    if !program.metrics.is_empty() {
        within("", "selected metric", program.training.select, program.metrics.len())?;
    }
    if program.training.batch == 0 {
        return Err(error("", "a batch of 0 samples".into()));
    }
    Ok(())
}

/// Where features' values come from: parts and statistics exist, and give values of the feature's
/// kind.
fn check_sources(program: &Program) -> Result<(), CheckError> {
    let schema = &program.schema;
    let ids = |feature: &Feature| !matches!(feature.kind, FeatureKind::Dense { .. });
    for feature in &schema.features {
        let refused = |why: &str| {
            Err(CheckError::Schedule {
                schedule: "description".into(),
                location: feature.location.clone(),
                why: format!("{}: {why}", feature.path()),
            })
        };
        let has = |statistic: u32, moments: bool| {
            let found = schema.statistics.get(statistic as usize);
            let own = |of: &DataStatistic| schema.features.get(of.feature as usize) == Some(feature);
            found.filter(|of| own(of)).is_some_and(|of| matches!(of.kind, DataStatisticKind::Moments) == moments)
        };
        let steps_fit = |steps: &[Step]| {
            steps.iter().all(|step| match *step {
                Step::Standard { statistic } => has(statistic, true),
                Step::Clip(least, most) => least <= most,
                Step::Add(_) | Step::Multiply(_) | Step::Divide(_) | Step::Log => true,
            })
        };
        match &feature.source {
            FeatureSource::Column(_) => {}
            FeatureSource::Absent => return refused("it has no source"),
            FeatureSource::ListMark { .. } => {
                if feature.kind != (FeatureKind::Dense { width: 1 }) {
                    return refused("a mark is a number");
                }
            }
            FeatureSource::Rule { rule, .. } => {
                let (of_ids, width) = match rule.holds {
                    ColumnValues::Integers | ColumnValues::Strings => (true, 1),
                    ColumnValues::Numbers { width } => (false, width),
                };
                let fits = match &rule.makes {
                    Made::Mark => feature.kind == (FeatureKind::Dense { width: 1 }),
                    Made::Id => of_ids && matches!(feature.kind, FeatureKind::Dynamic { .. }),
                    Made::FixedId { size, clip } => {
                        rule.holds == ColumnValues::Integers
                            && feature.kind == (FeatureKind::Fixed { size: *size, clip: *clip })
                    }
                    Made::HashedId { size } => of_ids && *size > 0 && ids(feature),
                    // An id beyond the size is an error of the batch that has it.
                    Made::VocabularyRow { vocabulary } => {
                        rule.holds == ColumnValues::Strings
                            && (*vocabulary as usize) < schema.vocabularies.len()
                            && matches!(feature.kind, FeatureKind::Fixed { .. })
                    }
                    Made::Number { steps } => {
                        !of_ids && steps_fit(steps) && feature.kind == (FeatureKind::Dense { width })
                    }
                    Made::Bucket { steps, boundaries } => {
                        let known = match boundaries {
                            Boundaries::Given(given) => given.is_sorted(),
                            Boundaries::Quantiles { statistic } => has(*statistic, false),
                        };
                        !of_ids && ids(feature) && steps_fit(steps) && known
                    }
                    Made::Calendar { steps, .. } => !of_ids && ids(feature) && steps_fit(steps),
                };
                let fits = fits && (width == 1 || matches!(rule.makes, Made::Mark | Made::Number { .. }));
                let numbers = matches!(feature.kind, FeatureKind::Dense { .. });
                let replaced = rule.missing.as_ref().is_none_or(|missing| match missing.becomes {
                    Replacement::Number(_) => numbers,
                    Replacement::Id(_) | Replacement::Text(_) | Replacement::OwnId => !numbers,
                });
                if !fits || !replaced {
                    return refused("its rule makes other values than it has");
                }
            }
            FeatureSource::Features(combination) => {
                let fits = |part: &Feature| {
                    part.combination().is_none()
                        && ids(part)
                        && (part.common || !feature.common)
                        && match combination {
                            Combination::Cross { .. } | Combination::Equal { .. } | Combination::Gap { .. } => {
                                part.sequence.is_none() || part.sequence == feature.sequence
                            }
                            Combination::Overlap { .. } => feature.sequence.is_none(),
                        }
                };
                let made = match combination {
                    Combination::Cross { size, .. } => ids(feature) && *size != Some(0),
                    Combination::Equal { .. } | Combination::Overlap { .. } => {
                        feature.kind == (FeatureKind::Dense { width: 1 })
                    }
                    Combination::Gap { makes, missing, .. } => gap_fits(feature, makes, missing.as_ref()),
                };
                let parts = combination.parts().iter().map(|&part| schema.features.get(part as usize));
                if combination.parts().is_empty() || !made || !parts.into_iter().all(|part| part.is_some_and(fits)) {
                    return refused("it cannot be made of these features");
                }
            }
        }
    }
    for known in &schema.known {
        let whole = |feature: u32| {
            let feature = schema.features.get(feature as usize)?;
            let ids = feature.kind == (FeatureKind::Dynamic { key: KeyType::Int64 });
            (ids && feature.source == FeatureSource::column(feature.column()?)).then_some(feature)
        };
        if whole(known.times).is_none() || whole(known.moment).is_none_or(|moment| moment.sequence.is_some()) {
            return Err(CheckError::Schedule {
                schedule: "description".into(),
                location: known.location.clone(),
                why: format!("{}: its times are no columns of whole numbers", known.group),
            });
        }
    }
    for statistic in &schema.statistics {
        let of = schema.features.get(statistic.feature as usize);
        let ruled = of.is_some_and(|feature| match &feature.source {
            FeatureSource::Rule { rule, .. } => {
                matches!(rule.makes, Made::Number { .. } | Made::Bucket { .. } | Made::Calendar { .. })
            }
            FeatureSource::Column(_)
            | FeatureSource::ListMark { .. }
            | FeatureSource::Features(_)
            | FeatureSource::Absent => false,
        });
        let counted = match statistic.kind {
            DataStatisticKind::Moments => true,
            DataStatisticKind::Quantiles { buckets } => (2..=1 << 16).contains(&buckets),
        };
        if !ruled || !counted {
            return Err(CheckError::Schedule {
                schedule: "description".into(),
                location: of.map_or_else(String::new, |feature| feature.location.clone()),
                why: format!("a statistic of feature {}", statistic.feature),
            });
        }
    }
    Ok(())
}

/// Whether what is made of gaps are values of the feature, whatever the gap.
fn gap_fits(feature: &Feature, makes: &Made, missing: Option<&Replacement>) -> bool {
    let in_range = |steps: &[Step]| Step::range(steps, (-LARGEST_GAP, LARGEST_GAP)).is_some();
    let number = feature.kind == (FeatureKind::Dense { width: 1 });
    let fits = match makes {
        Made::Mark => number,
        Made::Number { steps } => number && in_range(steps),
        Made::Bucket { steps, boundaries: Boundaries::Given(given) } => {
            let holds = matches!(feature.kind, FeatureKind::Fixed { size, .. } if size > given.len() as u64);
            holds && in_range(steps) && given.is_sorted()
        }
        Made::Bucket { boundaries: Boundaries::Quantiles { .. }, .. }
        | Made::Id
        | Made::FixedId { .. }
        | Made::HashedId { .. }
        | Made::VocabularyRow { .. }
        | Made::Calendar { .. } => false,
    };
    let replaced = match missing {
        None => true,
        Some(Replacement::Number(_)) => number,
        Some(Replacement::Id(_)) => !number,
        Some(Replacement::Text(_) | Replacement::OwnId) => false,
    };
    fits && replaced
}

/// Whether ids of the feature are rows, or become rows, of such a table.
fn resolves(table: TableKind, feature: &Feature) -> bool {
    let key_of = |key: KeyType| matches!(&feature.kind, FeatureKind::Dynamic { key: of } if *of == key);
    match table {
        // An id beyond the table's rows is an error of the batch that has it.
        TableKind::Fixed { .. } => matches!(&feature.kind, FeatureKind::Fixed { .. }),
        TableKind::Dynamic { key } => key_of(key),
    }
}
