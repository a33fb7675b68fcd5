; The outline of Zed.

(function "fn" @context name: (identifier) @name) @item
(regularizer "regularizer" @context name: (identifier) @name) @item
(optimizer "optimizer" @context name: (identifier) @name) @item
(metric "metric" @context name: (identifier) @name) @item
(schema "schema" @context name: (identifier) @name) @item
(model "model" @context name: (identifier) @name) @item
(test "test" @context name: (string) @name) @item
(features "features" @context name: (identifier) @name) @item
(sequence "sequence" @context name: (identifier) @name) @item
(label "label" @context name: (identifier) @name) @item
(key "key" @context name: (identifier) @name) @item
(embedding "embedding" @context name: (identifier) @name) @item
(hyper "hyper" @context name: (identifier) @name) @item
(layer "layer" @context name: (identifier) @name) @item
(predict "predict" @context label: (identifier) @name) @item
(output "output" @context name: (identifier) @name) @item
(train "train" @name) @item
