//! Words of other libraries and languages, and what stands for them here: the help of messages
//! about names that are not known.

use super::load::listed;
use super::value::nearest;

/// What to write for an unknown name in an expression.
pub(super) fn name(name: &str) -> Option<&'static str> {
    Some(match name {
        "range" => "write the list out: `[0, 1, 2]`",
        "len" => "`length(s)` counts the entries of a sequence, `size(x)` the components of a vector",
        "Linear" | "Dense" | "dense" | "fc" => "a fully connected layer is `linear(x, n)`, of `std.layer`",
        "MLP" | "Sequential" => "a stack of layers is `mlp(x, [64, 32], relu)`, of `std.layer`",
        "Embedding" | "lookup" => "declare the vectors of ids with `embedding`, and read them with `embed(group)`",
        "cat" | "concatenate" | "stack" => "vectors are joined with `concat(a, b)`",
        "matmul" | "dot" => "a matrix product is `x @ w`, an inner product `sum(x * y)`",
        "pow" => "write `x ^ n`",
        "clamp" => "write `min(max(x, low), high)`",
        "log1p" => "write `log(1 + x)`",
        "detach" | "no_grad" => "write `stop_gradient(x)`",
        "bce" | "BCELoss" | "binary_crossentropy" | "binary_cross_entropy" | "BCEWithLogitsLoss" => {
            "the loss of a binary label is `cross_entropy(click)`, of `std.loss`"
        }
        _ => return None,
    })
}

/// What to write for an unknown kind of feature.
pub(super) fn kind(name: &str) -> Option<&'static str> {
    Some(match name {
        "string" | "str" | "text" | "varchar" => "ids that are strings are `category of string`",
        "int" | "int32" | "int64" | "integer" | "long" | "id" => "ids are `category`, amounts are `number`",
        "float" | "float32" | "float64" | "double" | "numeric" => "write `number`",
        "bool" | "boolean" | "binary" => "an id that is 0 or 1 is `category(2)`, an amount is `number`",
        "list" | "array" | "multi" | "sequence" => {
            "a list of ids is a field of a `sequence`; a list of k numbers is `number[k]`"
        }
        _ => return None,
    })
}

/// What to write for an argument that a function with the parameters `known` does not have.
pub(super) fn argument(name: &str, known: &[&str]) -> String {
    let takes = || format!("it takes {}", listed(known));
    match (nearest(name, known.iter().copied()), name) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, "learning_rate" | "rate" | "eta" | "step_size") if known.contains(&"lr") => "write `lr`".into(),
        (None, "weight_decay" | "l2" | "decay") => {
            "a penalty is a setting of its own, `regularize l2(1e-4)`: in `train`, or in the braces of a table".into()
        }
        (None, "activation") => format!("{}: apply the activation to the result, `relu(…)`", takes()),
        (None, "by" | "group_by") if known == ["target", "sample_weight"] => {
            "the AUC of each group is `gauc`, of `std.metric`".into()
        }
        (None, _) => takes(),
    }
}

/// The known word that was probably meant: one that is near, or one that the word begins with
/// (`batch_size`, `initialiser`).
pub(super) fn word<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let begins = |k: &&&str| k.len() >= 4 && name.starts_with(**k);
    nearest(name, known.iter().copied()).or_else(|| known.iter().find(begins).copied())
}
