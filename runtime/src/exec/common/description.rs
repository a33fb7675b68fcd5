//! Checks that every number by which one part of a program names another names a part that exists
//! and that is of the right kind. Schedules are checked by `validate`.

use super::CheckError;
use din_program::Program;
use din_program::schema::{Distribution, Feature, FeatureKind, GroupBy, KeyType, MetricKind, OutputPurpose, TableKind};

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
    if let Some(requests) = &schema.requests {
        within(&requests.location, "key", requests.key, schema.keys.len())?;
    } else if schema.features.iter().any(|f| f.common) || schema.sequences.iter().any(|s| s.common) {
        return Err(error("", "common features without requests".into()));
    }
    for table in &program.tables {
        within(&table.location, "update", table.update, program.updates.len())?;
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
    for prediction in &program.predictions {
        within("", "label", prediction.label, schema.labels.len())?;
        let label = &schema.labels[prediction.label as usize];
        if !prediction.distribution.predicts(label.kind) {
            return Err(error(&label.location, format!("the distribution of {} does not fit it", prediction.name)));
        }
    }
    for metric in &program.metrics {
        within("", "prediction", metric.prediction, program.predictions.len())?;
        let of_classes = program.predictions[metric.prediction as usize].distribution == Distribution::Bernoulli;
        if metric.kind.name().of_classes() != of_classes {
            return Err(error("", format!("metric {} does not fit its prediction", metric.name)));
        }
        if let Some(condition) = metric.condition {
            within("", "output", condition, program.outputs.len())?;
            let output = &program.outputs[condition as usize];
            if output.purpose != OutputPurpose::Condition || output.width != 1 {
                return Err(error(&output.location, format!("it is no condition of metric {}", metric.name)));
            }
        }
        if let MetricKind::Ranked { k: 0, .. } = metric.kind {
            return Err(error("", format!("metric {} counts no samples", metric.name)));
        }
        match metric.kind.grouping() {
            None => {}
            Some(GroupBy::Key(key)) => within("", "key", key, schema.keys.len())?,
            Some(by @ (GroupBy::Feature(k) | GroupBy::Common(k))) => {
                within("", "feature", k, schema.features.len())?;
                let feature = &schema.features[k as usize];
                let dense = matches!(feature.kind, FeatureKind::Dense { .. });
                let common = matches!(by, GroupBy::Common(_));
                if dense || feature.sequence.is_some() || feature.common != common {
                    let why = format!("metric {} groups rows by {}", metric.name, feature.path());
                    return Err(error(&feature.location, why));
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

/// Whether ids of the feature are rows, or become rows, of such a table.
fn resolves(table: TableKind, feature: &Feature) -> bool {
    let key_of = |key: KeyType| matches!(&feature.kind, FeatureKind::Dynamic { key: of } if *of == key);
    match table {
        // An id beyond the table's rows is an error of the batch that has it.
        TableKind::Fixed { .. } => matches!(&feature.kind, FeatureKind::Fixed { .. }),
        TableKind::Dynamic { key } => key_of(key),
    }
}
