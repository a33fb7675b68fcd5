; The captures are those that Neovim, Helix, Zed and `tree-sitter highlight` know. Of several that fit,
; Neovim and Zed take the last and the others the first, so that no node is captured twice, but for
; names, which predicates tell apart.

(comment) @comment
(doc_comment) @comment.documentation
(file_doc_comment) @comment.documentation

(number) @number
(index) @number
(boolean) @boolean
(string) @string
(escape_sequence) @string.escape
(hole) @variable.builtin

[
  "edition"
  "use"
] @keyword.import

[
  "fn"
  "regularizer"
  "optimizer"
  "metric"
] @keyword.function

[
  "if"
  "else"
] @keyword.conditional

"for" @keyword.repeat

[
  "and"
  "or"
  "not"
  "where"
  "over"
  "as"
] @keyword.operator

[
  "schema"
  "model"
  "test"
  "features"
  "sequence"
  "label"
  "key"
  "embedding"
  "hyper"
  "let"
  "layer"
  "param"
  "constant"
  "state"
  "update"
  "predict"
  "output"
  "train"
  "report"
  "assert"
  "common"
  "request"
  "given"
  "expect"
  "on"
  "in"
  "training"
  "per"
  "weight"
  "row"
  "tensor"
  "list"
  "of"
  "within"
  "keep"
  "last"
  "first"
  "after"
  "known"
  "at"
  "before"
  "clip"
  "hash"
  "from"
  "pooled"
  "weighted"
  "by"
  "missing"
  "mark"
  "when"
  "top"
  "each"
  "with"
  "dense"
  "sparse"
  "updates"
] @keyword

(category "category" @type.builtin)
(numeric "number" @type.builtin)
(type_name) @type

[
  "="
  "->"
  "=>"
  "~"
  "=="
  "!="
  "<"
  "<="
  ">"
  ">="
  ".."
  "+"
  "-"
  "*"
  "/"
  "@"
  "^"
] @operator

[
  "("
  ")"
  "["
  "]"
  "{"
  "}"
] @punctuation.bracket

[
  ","
  "."
  ":"
] @punctuation.delimiter

; Names by where they stand.

(import path: (identifier) @module)
(import_name name: (identifier) @function)
(import alias: (identifier) @function)
(import_name alias: (identifier) @function)

(function name: (identifier) @function)
(regularizer name: (identifier) @function)
(optimizer name: (identifier) @function)
(metric name: (identifier) @function)
(model name: (identifier) @type)
(model schema: (identifier) @type)
(schema name: (identifier) @type)

(parameter name: (identifier) @variable.parameter)
(argument name: (identifier) @variable.parameter)
(ragged_type axis: (identifier) @label)
(given_type axis: (identifier) @label)
(argument axis: (identifier) @label)
(second_name axis: (identifier) @label)
(shape (identifier) @variable)

(call function: (identifier) @function.call)
(computed function: (identifier) @function.call)
(field_access field: (identifier) @property)
(field_path group: (identifier) @variable)
(field_path field: (identifier) @property)

(feature name: (identifier) @property)
(column) @property
(setting name: (identifier) @attribute)
(vectors name: (identifier) @attribute)
(admission name: (identifier) @attribute)
(weight_path (identifier) @property)
