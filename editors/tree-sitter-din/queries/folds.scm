[
  (block)
  (members)
  (feature_list)
  (settings)
  (test_body)
  (import_group)
  (arguments)
  (parameters)
  (list)
  (comprehension)
  (tuple)
  (parenthesized)
] @fold
