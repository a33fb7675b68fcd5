//! Words of other libraries and languages, and what stands for them here: the help of messages
//! about names that are not known.

use super::load::listed;
use super::value::nearest;
use din_grammar::{Diagnostic, ast};

/// What to write for an unknown name in an expression.
pub(super) fn name(name: &str) -> Option<&'static str> {
    Some(match name {
        "True" | "TRUE" => "write `true`",
        "False" | "FALSE" => "write `false`",
        "None" | "null" | "nil" | "NULL" | "undefined" => {
            "there is no empty value: leave out the default, or write one; `missing` of a field or label says what a null is"
        }
        "nan" | "NaN" | "inf" | "Inf" | "infinity" => {
            "numbers are finite; a NaN of a column counts as a null: `missing as 0` of a field, `missing -1` of a label"
        }
        "torch" | "tf" | "nn" | "np" | "F" | "keras" | "jnp" | "math" | "numpy" | "layers" => {
            "names stand alone: import them, such as `use std.layer.{linear, mlp}`, and write `linear(x, 8)`"
        }
        "range" | "arange" | "xrange" | "linspace" => "the numbers from 0 to `n - 1` are `0..n`",
        "len" | "count" | "shape" | "ndim" | "numel" => {
            "`length(s)` counts the entries of a sequence, `size(x)` the components of a vector"
        }
        "Linear" | "Dense" | "dense" | "fc" | "FullyConnected" | "fully_connected" | "addmm" => {
            "a fully connected layer is `linear(x, n)`, of `std.layer`"
        }
        "MLP" | "Sequential" | "DNN" | "dnn" | "FeedForward" => {
            "a stack of layers is `mlp(x, [64, 32], relu)`, of `std.layer`"
        }
        "Embedding" | "EmbeddingBag" | "lookup" | "embedding_lookup" | "gather" | "take" | "embedding" => {
            "declare the vectors of ids with `embedding`, and read them with `embed(group)`"
        }
        "cat" | "concatenate" | "stack" | "hstack" | "vstack" | "Concatenate" | "append" | "join" => {
            "vectors are joined with `concat(a, b)`, lists with `a + b`"
        }
        "matmul" | "mm" | "bmm" | "dot" | "einsum" | "inner" | "tensordot" => {
            "a matrix product is `x @ w`, an inner product `sum(x * y)`"
        }
        "multiply" | "mul" | "add" | "subtract" | "sub" | "divide" | "div" => {
            "arithmetic is by component: `x + y`, `x - y`, `x * y`, `x / y`"
        }
        "pow" | "power" => "write `x ^ n`",
        "square" | "sqr" => "write `x ^ 2`",
        "rsqrt" => "write `1 / sqrt(x)`",
        "reciprocal" => "write `1 / x`",
        "clamp" | "clip_by_value" | "clip" => {
            "write `min(max(x, low), high)`; a column is clipped by `from clip(column, low, high)`"
        }
        "log1p" => "write `log(1 + x)`",
        "log2" => "write `log(x) / log(2)`",
        "log10" | "ln" => "`log` is the natural logarithm: write `log(x)`, or `log(x) / log(10)`",
        "expm1" => "write `exp(x) - 1`",
        "logsigmoid" | "log_sigmoid" => "write `-softplus(-x)`",
        "log_softmax" | "logsumexp" => "write it out: `log(sum(exp(x)))`",
        "logit" => "write `log(p / (1 - p))`; a prediction has its logit, `click.logit`",
        "reduce_sum" | "add_n" | "SUM" | "nansum" | "reduceSum" => {
            "write `sum(x)` over the components, `sum(x over s)` over the entries of a sequence"
        }
        "cumsum" | "cumulative_sum" | "running_sum" => {
            "of all entries up to each: `sum((x as t) over t where position(t) <= position(s))`"
        }
        "reduce_mean" | "average" | "avg" | "AVG" | "global_average_pooling" | "GlobalAveragePooling1D" => {
            "write `mean(x)` over the components, `mean(x over s)` over the entries of a sequence"
        }
        "reduce_max" | "amax" | "maximum" | "MAX" | "fmax" => {
            "write `max(x)` over the components, `max(x over s)` over the entries, `max(a, b)` of two values"
        }
        "reduce_min" | "amin" | "minimum" | "MIN" | "fmin" => {
            "write `min(x)` over the components, `min(a, b)` of two values"
        }
        "argmax" | "topk" | "top_k" | "argsort" | "sort" | "sorted" => {
            "there is no sorting; `top(score, n)` of `std.attention` marks the `n` best entries"
        }
        "norm" | "normalize" | "l2_norm" | "l2norm" => {
            "a vector of length 1 is `l2_normalize(x)`, of `std.layer`; its length is `sqrt(sum(x * x))`"
        }
        "cosine_similarity" | "CosineSimilarity" => "write `sum(l2_normalize(x) * l2_normalize(y))`, of `std.layer`",
        "unsqueeze" | "squeeze" | "expand_dims" | "expand" | "tile" | "repeat" | "broadcast_to" | "reshape"
        | "view" | "flatten" | "Flatten" | "permute" => {
            "leave it out: functions are written for one element, and a value without an axis is repeated along it"
        }
        "pad" | "pad_sequence" | "pad_sequences" | "mask" | "masked_fill" | "sequence_mask" | "Masking" => {
            "there is no padding and no mask: a reduction `over s` sees the entries of each list alone"
        }
        "where" | "cond" | "ifelse" | "if_else" | "iif" | "IF" | "coalesce" | "case" | "CASE" => {
            "write `select(condition, a, b)`"
        }
        "zeros" | "ones" | "zeros_like" | "ones_like" | "full" | "constant" | "tensor" | "Tensor" | "array"
        | "Variable" | "Parameter" | "get_variable" => {
            "a number stands for any shape; a weight is `param w: [n] = 0`, in a function"
        }
        "randn" | "rand" | "random" | "random_normal" | "truncated_normal" | "xavier" | "xavier_uniform"
        | "he_normal" | "kaiming" | "kaiming_uniform" => {
            "initialisers are `normal(0.01)`, `uniform(0.1)`, `glorot()` and `fan_in()`: `param w: [k, n] = glorot()`"
        }
        "detach" | "no_grad" => "write `stop_gradient(x)`",
        "elu" | "ELU" | "selu" | "SELU" | "celu" => {
            "write it out: `select(x > 0, x, exp(min(x, 0)) - 1)`, or take `leaky_relu` of `std.activation`"
        }
        "gelu" | "GELU" => "write a function of your own: `fn gelu(x: [n]) -> [n] { x * sigmoid(1.702 * x) }`",
        "silu" | "SiLU" | "swish" | "Swish" => {
            "write a function of your own: `fn silu(x: [n]) -> [n] { x * sigmoid(x) }`"
        }
        "relu6" | "ReLU6" | "hard_sigmoid" | "hard_swish" | "hardtanh" => "write it out: `min(max(x, 0), 6)`",
        "mish" | "Mish" => "write it out: `x * tanh(softplus(x))`",
        "LeakyReLU" | "leakyrelu" | "LeakyRelu" | "lrelu" => "write `leaky_relu`, of `std.activation`",
        "Softmax" | "soft_max" => "write `softmax(x over s)` over the entries, `softmax(x)` over the components",
        "Softplus" | "soft_plus" => "write `softplus(x)`",
        "Sigmoid" | "logistic" | "expit" | "sigm" => "write `sigmoid(x)`",
        "BatchNorm" | "BatchNorm1d" | "BatchNormalization" | "batch_norm" | "batchnorm" | "bn" => {
            "`layer_norm(x)`, of `std.layer`, normalises each vector; `moments(x)` gives mean and variance of the batch"
        }
        "LayerNorm" | "LayerNormalization" | "layernorm" | "RMSNorm" => "write `layer_norm(x)`, of `std.layer`",
        "Dropout" => "write `dropout(x, 0.1)`",
        "MultiheadAttention" | "MultiHeadAttention" | "attention" | "Attention" | "self_attn" => {
            "write `multi_head_attention(x, heads, width)` or `interest(history, candidate, activation = prelu)`, of \
             `std.attention`"
        }
        "LSTM" | "RNN" | "rnn" | "GRU" | "GRUCell" | "LSTMCell" | "AUGRU" => {
            "recurrences are `gru(x, 32)`, `augru` and `lstm`, of `std.recurrent`, and `scan(step, 32 over s)`"
        }
        "Conv1d" | "conv1d" | "Conv2d" | "conv2d" => {
            "there are no convolutions; a layer over all fields is `linear(concat(a, b), n)`"
        }
        "bce"
        | "BCELoss"
        | "binary_crossentropy"
        | "binary_cross_entropy"
        | "BCEWithLogitsLoss"
        | "BCE"
        | "logloss"
        | "binary_cross_entropy_with_logits"
        | "sigmoid_cross_entropy_with_logits"
        | "nll_loss"
        | "CrossEntropyLoss"
        | "crossentropy"
        | "logistic_loss" => "the loss of a binary label is `cross_entropy(click)`, of `std.loss`",
        "mse" | "MSE" | "MSELoss" | "mse_loss" | "mean_squared_error" | "l2_loss" | "L2Loss" => {
            "the loss of a number is `squared_error(label)`, of `std.loss`; the metric is `rmse(label)`"
        }
        "mae_loss" | "L1Loss" | "l1_loss" | "absolute_error" | "mean_absolute_error" => {
            "the loss of a number is `huber(label)` or `squared_error(label)`, of `std.loss`; the metric is `mae(label)`"
        }
        "quantile_loss" | "pinball_loss" => "write `pinball(label)`, of `std.loss`",
        "hinge" | "triplet" | "bpr" | "BPR" | "bpr_loss" => {
            "the loss of pairs of a request is `pairwise(click)`, of `std.loss`"
        }
        "focal_loss" | "FocalLoss" => "write `focal(click)`, of `std.loss`",
        "SGD" | "Adam" | "AdamW" | "Adagrad" | "FTRL" | "Ftrl" => {
            "optimizers are those of `std.optimizer`: `adam`, `sgd`, `ftrl`"
        }
        "rmsprop" | "RMSprop" | "RMSProp" | "adadelta" | "nadam" | "lamb" | "radam" | "lion" | "Lion" | "adamax" => {
            "`std.optimizer` has `adam`, `adamw`, `adagrad`, `momentum`, `sgd` and `ftrl`; write others as `optimizer name(lr) per weight { … }`"
        }
        "weight_decay" | "L2" | "l1_l2" | "L1" => "a penalty on weights is `regularize l2(1e-4)`",
        "CosineAnnealingLR" | "cosine_decay" | "CosineDecay" | "cosine_annealing" => {
            "write `adam(lr = 1e-3 * cosine(step, 10_000))`, of `std.schedule`"
        }
        "StepLR" | "MultiStepLR" | "ExponentialLR" | "exponential_decay" | "ExponentialDecay" | "LambdaLR" => {
            "schedules are `step_decay`, `exponential` and `linear_decay`, of `std.schedule`: \
             `adam(lr = 1e-3 * step_decay(epoch, [10, 20], 0.1))`"
        }
        "groupby" | "group_by" | "GROUP" | "partition_by" | "join_on" => {
            "rows are not grouped in the network; the samples of a request are reduced in `loss`: `sum(x over request)`"
        }
        "bucketize" | "bucket" | "digitize" | "cut" | "qcut" | "Discretization" => {
            "a number becomes ids at its column: `price: category from buckets(price, [1, 10])`, or `quantiles(price, 10)`"
        }
        "one_hot" | "onehot" | "to_categorical" | "get_dummies" | "OneHotEncoder" => {
            "ids are not numbers: declare them `category`, and read their vectors with `embed(field)`"
        }
        "hash" | "hash_bucket" | "md5" | "crc32" | "Hashing" | "FeatureHasher" => {
            "ids are hashed at their declaration: `id: category(1_000_000, hash)`"
        }
        "standardize" | "StandardScaler" | "zscore" | "scale" | "Normalization" | "MinMaxScaler" => {
            "a column is standardised at its field: `price: number from standard(price)`"
        }
        "fillna" | "isnull" | "isnan" | "is_null" | "isna" | "nan_to_num" | "ISNULL" | "IFNULL" => {
            "missing values are named at the field: `price: number missing as 0 mark no_price`"
        }
        "crossed_column" | "HashedCrossing" | "feature_cross" => {
            "a cross is a field: `both: category(100_000, hash) of (user.gender, ad.brand)`"
        }
        "print" | "println" | "display" | "assert_shape" => {
            "nothing is printed from a model: `din info FILE` lists shapes; `output name = x` writes a value beside predictions"
        }
        "append_to" | "map" | "filter" | "reduce" | "apply" => "write `[f(x) for x in xs]`",
        "abs_" | "fabs" => "write `abs(x)`",
        "floor" | "ceil" | "round" | "int" | "float" | "str" => {
            "numbers of the network are not rounded or converted; prepare the column, or make ids of it by `buckets`"
        }
        "sin" | "cos" | "tan" => "there are no angles; a part of a date is `category from hour(time)`",
        "e" | "E" => "write `exp(x)`",
        "pi" | "PI" => "write the number: `3.14159265`",
        "global_step" | "iteration" | "iter" | "step_num" | "num_steps" | "current_step" => {
            "the number of the step is `step`, in the arguments of an optimizer: `adam(lr = 1e-3 * warmup(step, 1000))`"
        }
        "step" | "epoch" => {
            "it is known in the arguments of an optimizer alone: `optimizer adam(lr = lr * warmup(step, 1000))`"
        }
        "super" | "self" | "this" => "functions have no object: they are called by name, `linear(x, 8)`",
        "int64" | "int32" | "string" | "int16" => "ids that are strings are `category of string`, integers `category`",
        _ => return None,
    })
}

/// What to import instead of a name that a module of the library does not have.
pub(super) fn exported(module: &str, wanted: &str) -> Option<&'static str> {
    if module == "std.metric" { metric(wanted) } else { name(wanted) }
}

/// What to write instead of an unknown function of a column.
pub(super) fn of_column(name: &str) -> &'static str {
    match name {
        "log1p" => "write `log(1 + column)`",
        "log2" | "log10" | "ln" => "`log` is the natural logarithm",
        "clamp" | "clip_by_value" => "write `clip(column, low, high)`",
        "minmax" | "min_max" | "normalize" | "zscore" | "standardize" | "standardise" | "scale" | "norm" => {
            "write `standard(column)`, or `(x - low) / c` inside of another function"
        }
        "bucket" | "bucketize" | "bucketise" | "discretize" | "cut" => {
            "write `buckets(column, [1, 10])`, of a `category`"
        }
        "quantile" | "qcut" => "write `quantiles(column, 10)`, of a `category`",
        "hash" | "hash_bucket" => "write `category(1_000_000, hash)`",
        "year" | "minute" | "date" | "dayofweek" => "parts of a date are `hour`, `weekday`, `day` and `month`",
        _ => "other functions are for the network: read the column as it is, and compute with `embed(group.field)`",
    }
}

/// Modules of other libraries before a dot: `torch.relu`. The name behind the dot is what is meant.
pub(super) fn is_namespace(name: &str) -> bool {
    matches!(name, "torch" | "tf" | "nn" | "np" | "F" | "keras" | "jnp" | "math" | "numpy" | "layers" | "std" | "jax")
}

/// What to write for a field of a value that is a property or method of a tensor elsewhere: `x.T`.
pub(super) fn property(name: &str) -> Option<&'static str> {
    Some(match name {
        "T" | "t" | "mT" | "transpose" | "permute" => {
            "a matrix is transposed on the right of `@`, `x @ transpose(w)`; a product of two vectors is `sum(a * b)`"
        }
        "shape" | "size" | "ndim" | "numel" | "length" | "len" => {
            "`size(x)` is the number of components, `length(s)` that of the entries of a sequence"
        }
        "view" | "reshape" | "flatten" | "squeeze" | "unsqueeze" | "expand" | "repeat" => {
            "leave it out: functions are written for one element, without the batch"
        }
        "detach" | "data" => "write `stop_gradient(x)`",
        "item" | "numpy" | "cpu" | "cuda" | "to" | "float" | "int" | "long" => {
            "leave it out: values have no place and no other type"
        }
        "pow" | "square" => "write `x ^ 2`",
        "values" | "embeddings" | "weight" => "take the value itself",
        _ => return None,
    })
}

/// What to write for an unknown kind of feature.
pub(super) fn kind(name: &str) -> Option<&'static str> {
    Some(match name {
        "string" | "str" | "text" | "varchar" => "ids that are strings are `category of string`",
        "int" | "int32" | "int64" | "integer" | "long" | "id" => "ids are `category`, amounts are `number`",
        "float" | "float32" | "float64" | "double" | "numeric" | "dense" | "continuous" | "real" | "decimal" => {
            "write `number`"
        }
        "categorical" | "sparse" | "enum" | "varlen" | "token" => "write `category`",
        "timestamp" | "datetime" | "date" | "time" => {
            "a part of a date is `category from hour(column)`, a time between two columns `number from gap(a, b)`"
        }
        "bool" | "boolean" | "binary" => "an id that is 0 or 1 is `category(2)`, an amount is `number`",
        "cross" | "crossed" | "combination" | "interaction" => {
            "a cross is `category of (user.gender, ad.cate_id)`, or `category(100_000, hash) of (…)`"
        }
        "bucket" | "bucketized" | "bucketised" | "buckets" | "quantile" | "quantiles" => {
            "write `category from buckets(column, [1, 10])`, or `category from quantiles(column, 10)`"
        }
        "hash" | "hashed" => "write `category(1_000_000, hash)`",
        "pooled" | "bag" | "multivalent" | "multihot" => "write `category pooled by mean`",
        "list" | "array" | "multi" | "sequence" | "vector" | "embedding" | "tensor" => {
            "a list of ids is a field of a `sequence`, or `category pooled by mean`; a list of k numbers is `number[k]`"
        }
        _ => return None,
    })
}

/// With what to write for an argument that a function with the parameters `known` does not have.
pub(super) fn argument(d: Diagnostic, name: &ast::Ident, known: &[&str]) -> Diagnostic {
    match nearest(&name.name, known.iter().copied()).filter(|_| name.name != "betas") {
        Some(near) => d.did_you_mean(name.span, near),
        None => match meant(&name.name, known) {
            Some(parameter) => d.help(format!("write `{parameter}`")).edit(name.span, parameter),
            None => d.help(other_argument(&name.name, known)),
        },
    }
}

fn other_argument(name: &str, known: &[&str]) -> String {
    let takes = || format!("it takes {}", listed(known));
    match name {
        "learning_rate" | "rate" | "eta" | "step_size" if known.contains(&"lr") => "write `lr`".into(),
        "weight_decay" | "l2" | "decay" => {
            "a penalty is a setting of its own, `regularize l2(1e-4)`: in `train`, or in the braces of a table".into()
        }
        "betas" if known.contains(&"beta1") => "write `beta1 = 0.9, beta2 = 0.999`".into(),
        "activation" => format!("{}: apply the activation to the result, `relu(…)`", takes()),
        "by" | "group_by" if known == ["target", "sample_weight"] => {
            "the AUC of each group is `gauc`, of `std.metric`".into()
        }
        _ => takes(),
    }
}

/// What to write for an unknown word after which the message asks for a `what`.
pub(super) fn instead(what: &str, name: &str) -> Option<&'static str> {
    match what {
        "setting of `train`" => setting(name),
        "option of a table" => option(name),
        "metric" => metric(name),
        "kind of label" => label(name),
        "type" => parameter_type(name),
        _ => None,
    }
}

fn setting(name: &str) -> Option<&'static str> {
    Some(match name {
        "early_stopping" | "early_stop" | "early_stopping_rounds" | "stop_after" => {
            "write `patience 3`, the epochs without improvement after which training ends"
        }
        "lr" | "eta" | "step_size" | "rate" => "the learning rate is an argument: `optimizer adam(lr = 1e-3)`",
        "scheduler" | "lr_scheduler" | "lr_schedule" | "schedule" | "warmup" | "warmup_steps" | "lr_decay"
        | "decay" => "a schedule is a factor of the learning rate: `optimizer adam(lr = 1e-3 * warmup(step, 1000))`",
        "weight_decay" | "l2" | "l1" | "penalty" | "regularizer" | "regularization" | "reg" => {
            "write `regularize l2(1e-4)`"
        }
        "grad_clip" | "gradient_clip" | "clip_norm" | "max_grad_norm" | "max_norm" | "clipnorm" | "clipvalue"
        | "clip_grad_norm" => "write `clip norm 10`, `clip global_norm 10` or `clip value 1`",
        "batch_size" | "batchsize" | "minibatch" | "bs" | "mini_batch" => "write `batch 1024`",
        "num_epochs" | "n_epochs" | "iterations" | "max_epochs" | "steps" | "max_steps" | "num_steps" | "epoch" => {
            "write `epochs 1`"
        }
        "metric" | "metrics" | "eval_metric" | "monitor" => {
            "metrics stand in `report` of the model; `select auc(click)` says which of them chooses the checkpoint"
        }
        "device" | "gpu" | "cuda" | "num_gpus" | "threads" | "num_workers" | "workers" | "data" | "train_data"
        | "valid" | "validation" | "validation_split" | "out" | "save" | "log_every" => {
            "it belongs to the command, not to the model: see `din train --help`"
        }
        "random_state" | "random_seed" => "write `seed 7`",
        "dropout" | "dropout_rate" | "keep_prob" => {
            "write it where it acts: `dropout(x, 0.1)`, or `mlp(…, dropout_rate = 0.1)`"
        }
        _ => return None,
    })
}

fn option(name: &str) -> Option<&'static str> {
    Some(match name {
        "initializer" | "initialiser" | "initial" | "init_std" | "std" => "write `init normal(0.01)`",
        "l2" | "weight_decay" | "regularizer" | "regularization" | "embedding_l2" => "write `regularize l2(1e-4)`",
        "lr" | "learning_rate" => "the learning rate is an argument: `optimizer adam(lr = 1e-3)`",
        "trainable" | "freeze" | "requires_grad" => "rows that stay as they are: `optimizer frozen`",
        "pooling" | "combiner" | "pool" => "lists are pooled where they are declared: `tags: category pooled by mean`",
        "min_count" | "min_freq" | "min_frequency" | "filter" | "threshold" => "write `admit when frequency >= 5`",
        "max_size" | "capacity" | "vocab_size" | "num_embeddings" | "size" | "rows" => {
            "write `admit top 1_000_000 by frequency`, or declare the ids `category(1_000_000, hash)`"
        }
        "dim" | "width" | "embedding_dim" => {
            "the width stands in brackets behind the name: `embedding name [16] for …`"
        }
        "pretrained" | "weights" | "from" | "load" => "write `init from \"vectors.safetensors\"`",
        _ => return None,
    })
}

fn metric(name: &str) -> Option<&'static str> {
    Some(match name {
        "acc" | "binary_accuracy" => "write `accuracy(click)`",
        "precision" | "recall" | "f1" | "f1_score" => {
            "there is no threshold at 0.5: rank by `auc(click)` or `pr_auc(click)`, judge probabilities by `log_loss(click)`"
        }
        "AUC" | "roc_auc" | "roc_auc_score" | "ROC" | "auroc" => "write `auc(click)`",
        "logloss" | "LogLoss" | "bce" | "cross_entropy" | "binary_crossentropy" | "loss" => "write `log_loss(click)`",
        "prauc" | "average_precision" | "auprc" | "aupr" | "average_precision_score" => "write `pr_auc(click)`",
        "mse" | "MSE" | "mean_squared_error" | "RMSE" => "write `rmse(watch_time)`, the root of it",
        "MAE" | "mean_absolute_error" => "write `mae(watch_time)`",
        "uauc" | "user_auc" | "GAUC" | "group_auc" | "wuauc" => "write `gauc(click, by = user_id)`",
        "hr" | "hitrate" | "hit" | "HR" => "write `hit_rate(click, by = user_id, k = 10)`",
        "NDCG" | "dcg" => "write `ndcg(click, by = user_id, k = 10)`",
        "MRR" | "map" | "MAP" => "write `mrr(click, by = user_id, k = 10)`",
        "ne" | "NE" => "write `normalized_entropy(click)`",
        "ece" | "calibration" | "copc" | "COPC" => "write `pcoc(click)`, predicted clicks over clicks",
        _ => return None,
    })
}

fn label(name: &str) -> Option<&'static str> {
    Some(match name {
        "bool" | "boolean" | "int" | "click" | "class" | "category" | "int64" | "label" | "binary_label" => {
            "a label of 0 and 1 is `binary`, a whole number of 0 or more `count`, any number `number`"
        }
        "float" | "float32" | "float64" | "double" | "regression" | "real" | "numeric" => "write `number`",
        _ => return None,
    })
}

fn parameter_type(name: &str) -> Option<&'static str> {
    Some(match name {
        "str" | "string" | "String" => "write `text`",
        "float32" | "float64" | "double" | "real" => "write `number`",
        "integer" | "int32" | "int64" | "size" | "usize" => "write `int`",
        "function" | "Callable" | "callable" | "func" | "Function" => "write `fn`",
        "boolean" | "Bool" => "write `bool`",
        "tensor" | "Tensor" | "vector" | "array" | "Vector" | "ndarray" => {
            "a vector of any size is `[n]`, a value per entry of a sequence `s => [n]`"
        }
        "scalar" => "a scalar is `[1]`",
        "matrix" | "Matrix" => "a matrix is `[k, n]`",
        "List" | "tuple" | "Tuple" | "dict" => "write `list`, or `list of [d]`",
        "label" | "Label" => "a label and its prediction are a `prediction`, such as `bernoulli`",
        _ => return None,
    })
}

/// The parameter that other libraries call so.
fn meant<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let parameters: &[&str] = match name {
        "act" | "act_fn" | "activation_fn" | "nonlinearity" | "non_linearity" | "fn" => &["activation"],
        "units" | "out_features" | "output_dim" | "out_dim" | "dim" | "n_out" | "out" | "output_size" => {
            &["n", "width"]
        }
        "hidden_units" | "hidden_sizes" | "layers" | "dims" | "hidden_dims" | "hidden_size" | "hidden"
        | "units_list" => &["sizes", "hidden"],
        "dropout" | "p" | "drop" | "drop_rate" | "keep_prob" | "rate" => &["dropout_rate", "rate"],
        "momentum" | "beta" => &["beta1", "mu"],
        "epsilon" => &["eps"],
        "group" | "group_by" | "groups" | "user" | "groupby" | "on" | "key" => &["by"],
        "top_k" | "topk" | "at" | "n" | "cutoff" => &["k"],
        "weights" | "sample_weights" => &["sample_weight", "weight"],
        "num_heads" | "n_heads" | "nhead" => &["heads"],
        "num_experts" | "n_experts" => &["count"],
        "query" | "target" | "item" => &["candidate"],
        "key_value" | "keys" | "behavior" | "seq" | "sequence" => &["history", "x"],
        "steps_total" | "total_steps" | "warmup_steps" | "num_warmup_steps" | "T_max" | "decay_steps" => &["steps"],
        "gamma" | "decay_rate" => &["rate", "factor"],
        "milestones" | "boundaries" => &["bounds"],
        _ => return None,
    };
    parameters.iter().find_map(|p| known.iter().find(|k| *k == p).copied())
}

/// The known word that was probably meant: one that is near, or one that the word begins with
/// (`batch_size`, `initialiser`).
pub(super) fn word<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let begins = |k: &&&str| k.len() >= 4 && name.starts_with(**k);
    nearest(name, known.iter().copied()).or_else(|| known.iter().find(begins).copied())
}
