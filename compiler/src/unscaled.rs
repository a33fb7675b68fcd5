//! Numbers of the data that a product takes as they are.
#![warn(missing_docs)]

use crate::graph::{InputKind, NodeId, Op, Root};
use crate::model::CheckedModel;
use crate::optimize::{self, PassError};
use din_program::schema::{Feature, FeatureSource, Made};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// Numeric features, by their index in the schema, that a matrix product of a prediction takes as
/// the column has them: neither their field nor the network makes anything of them before.
///
/// # Errors
/// A pass broke the graph: a bug of the compiler.
pub fn unscaled_numbers(model: &CheckedModel) -> Result<BTreeSet<u32>, PassError> {
    let mut graph = model.infer.clone();
    graph.roots.retain(|root| !matches!(root, Root::Loss(_)));
    // Afterwards a field that is taken out of a record is read by itself.
    optimize::run(&mut graph, optimize::CANONICAL, false)?;
    let products = graph.order().into_iter().map(|id| graph.node(id));
    let products = products.filter(|node| matches!(node.op, Op::MatMul | Op::MatMulT));
    let mut open: Vec<NodeId> = products.filter_map(|product| product.operands.first().copied()).collect();
    let mut seen = FxHashSet::default();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = graph.node(id);
        if let Op::Input(input) = node.op
            && let InputKind::Dense { feature } = graph.inputs[input.index()].kind
            && is_the_column(&model.schema.features[feature as usize])
        {
            found.insert(feature);
        }
        if keeps_numbers(&node.op) {
            open.extend(node.operands.iter().copied());
        }
    }
    Ok(found)
}

/// Whether its numbers are those of its column.
fn is_the_column(feature: &Feature) -> bool {
    match &feature.source {
        FeatureSource::Column(_) => true,
        FeatureSource::Rule { rule, .. } => matches!(&rule.makes, Made::Number { steps } if steps.is_empty()),
        FeatureSource::ListMark { .. } | FeatureSource::Features(_) | FeatureSource::Absent => false,
    }
}

/// Whether the values have the numbers of the operands, or sums of them.
fn keeps_numbers(op: &Op) -> bool {
    match op {
        Op::StopGradient
        | Op::Broadcast
        | Op::Rename { .. }
        | Op::Unflatten { .. }
        | Op::Flatten
        | Op::Concat
        | Op::Slice { .. }
        | Op::Reshape
        | Op::Sum { .. }
        | Op::Max { .. }
        | Op::SumValue => true,
        Op::Const(_)
        | Op::Input(_)
        | Op::Param(_)
        | Op::State(_)
        | Op::Lookup { .. }
        | Op::Length(_)
        | Op::Position(_)
        | Op::SampleNumber(_)
        | Op::DropoutMask { .. }
        | Op::Count(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::MatMul
        | Op::MatMulT
        | Op::Outer
        | Op::Absorbed(_)
        | Op::Statistic(_)
        | Op::Previous { .. }
        | Op::Scan { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::{CheckOptions, NoFiles, check};

    #[test]
    fn numbers_that_nothing_is_made_of() {
        let text = "edition 2026\nuse std.activation.relu\nuse std.layer.{layer_norm, linear, mlp}\n\
            use std.loss.cross_entropy\nuse std.metric.auc\nuse std.optimizer.sgd\nmodel m {\n\
            features a { raw: number  filled: number missing as 0  alone: number  taken: number  unread: number }\n\
            features b { scaled: number from standard(c)  logarithm: number  normal: number  times: number }\n\
            sequence s { price: number  age: number }\nlabel y: binary\n\
            let record = embed(a)\nlet inside = concat(record.raw, b.scaled, log(1 + abs(b.logarithm)))\n\
            let h = mlp(concat(inside, record.filled, sum(embed(s).price over s)), [4], relu)\n\
            let n = linear(layer_norm(concat(b.normal, b.times)), 1)\n\
            let t = linear(b.times / 1000, 1)\nlet k = linear(record.taken, 1)\n\
            predict y ~ bernoulli(logit = linear(h, 1) + t + n + k + a.alone)\n\
            train { loss cross_entropy(y)  optimizer sgd(lr = 0.1)  batch 8  epochs 1 }\nreport auc(y)\n}\n";
        let checked = check("m.din", text, &NoFiles, &CheckOptions::default());
        let model = checked.model.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        let found = unscaled_numbers(&model).expect("the passes keep the graph sound");
        let names: Vec<String> = found.iter().map(|&feature| model.schema.features[feature as usize].path()).collect();
        assert_eq!(names, ["a.raw", "a.filled", "a.taken", "s.price"]);
    }
}
