/// <reference types="tree-sitter-cli/dsl" />
// The grammar of Din for editors. The reference is grammar/src/din.pest; this one accepts every
// text that it accepts, and some more, such as a line end where none may stand.
//
// A line end is a blank here, unless the external scanner says that something ends with it. The
// words of the language that are names elsewhere need no care where a name cannot stand: a word is
// read as a keyword only where that keyword may follow. Where both may, `keyword_or_name` is used.

// From the loosest to the tightest.
const PREC = {
  or: 1,
  and: 2,
  not: 3,
  compare: 4,
  range: 5,
  add: 6,
  where: 7,
  multiply: 8,
  minus: 9,
  power: 10,
  postfix: 11,
};

const list = (item) => seq(item, repeat(seq(',', item)));
const listWithEnd = (item) => seq(list(item), optional(','));
const keyword_or_name = ($, ...words) => choice($.identifier, ...words.map((word) => alias(word, $.identifier)));

module.exports = grammar({
  name: 'din',

  word: ($) => $.identifier,

  extras: ($) => [/[ \t\r\n\uFEFF]/, $.comment, $.doc_comment, $.file_doc_comment],

  // All of them are empty, before what they see: see src/scanner.c.
  externals: ($) => [$._end, $._end_of_setting, $._end_of_line, $._error_sentinel],

  conflicts: ($) => [
    // The word `missing`, `from`… on the line of a field: more of it, or the name of the next one.
    [$.feature],
    [$.missing],
    [$.category],
    [$.pooled],
  ],

  supertypes: ($) => [$._item, $._statement, $._expression, $._type],

  inline: ($) => [$._field_name, $._axis_name],

  rules: {
    source_file: ($) => seq(optional($.edition), repeat($.import), repeat($._item)),

    // Three forms, no two of which begin with the same text of the same length.
    comment: (_) => token(choice(/\/\/([^\/!\n][^\n]*)?/, /\/\/\/\/[^\n]*/)),
    doc_comment: (_) => token(/\/\/\/([^\/\n][^\n]*)?/),
    file_doc_comment: (_) => token(/\/\/![^\n]*/),

    // ---- the file --------------------------------------------------------------------------------

    edition: ($) => seq('edition', $.number),
    // A node for the path alone would take two words of look-ahead.
    import: ($) =>
      seq(
        'use',
        field('path', $.identifier),
        repeat(seq('.', field('path', $.identifier))),
        optional(choice(seq('.', $.import_group), $._alias)),
      ),
    import_group: ($) => seq('{', listWithEnd($.import_name), '}'),
    import_name: ($) => seq(field('name', $.identifier), optional($._alias)),
    _alias: ($) => seq('as', field('alias', $.identifier)),

    _item: ($) => choice($.function, $.regularizer, $.optimizer, $.metric, $.schema, $.model, $.test),
    function: ($) =>
      seq(
        'fn',
        field('name', $.identifier),
        field('parameters', $.parameters),
        optional(seq('->', field('result', $._type))),
        field('body', $.block),
      ),
    regularizer: ($) =>
      seq(
        'regularizer',
        field('name', $.identifier),
        field('parameters', $.parameters),
        '=',
        field('value', $._expression),
      ),
    optimizer: ($) =>
      seq(
        'optimizer',
        field('name', $.identifier),
        field('parameters', $.parameters),
        'per',
        field('scope', choice('weight', 'row', 'tensor')),
        field('body', $.block),
      ),
    metric: ($) => seq('metric', field('name', $.identifier), field('parameters', $.parameters)),
    schema: ($) => seq('schema', field('name', $.identifier), field('body', $.members)),
    model: ($) =>
      seq(
        'model',
        field('name', $.identifier),
        optional(seq('on', field('schema', $.identifier))),
        field('body', $.members),
      ),
    test: ($) =>
      seq('test', field('name', $.string), optional(seq('in', 'training')), field('body', $.test_body)),

    parameters: ($) => seq('(', optional(listWithEnd($.parameter)), ')'),
    parameter: ($) => seq(field('name', $.identifier), optional($._typed), optional(seq('=', $._expression))),
    _typed: ($) => seq(':', field('type', $._type)),

    _type: ($) => choice($.list_type, $.ragged_type, $.shape, $.type_name),
    list_type: ($) => seq('list', 'of', choice($.ragged_type, $.shape, $.type_name)),
    ragged_type: ($) => seq(field('axis', $._axis_name), '=>', $.shape),
    type_name: ($) => choice('fn', keyword_or_name($, 'list')),
    _axis_name: ($) => keyword_or_name($, 'list'),
    shape: ($) => seq('[', listWithEnd(choice($.identifier, $.number)), ']'),

    // ---- statements ------------------------------------------------------------------------------

    block: ($) => seq('{', repeat(choice($.for, seq($._statement, $._end))), '}'),
    _statement: ($) => choice($.let, $.layer, $.param, $.constant, $.state, $.update, $.assignment, $._expression),
    let: ($) => seq('let', field('pattern', $._pattern), '=', field('value', $._expression)),
    _pattern: ($) => choice($.identifier, $.tuple_pattern),
    tuple_pattern: ($) => seq('(', listWithEnd($._pattern), ')'),
    layer: ($) => seq('layer', field('name', $.identifier), '=', field('value', $._expression)),
    param: ($) => seq('param', list($.variable)),
    constant: ($) => seq('constant', list($.variable)),
    state: ($) => seq('state', list($.variable)),
    variable: ($) => seq(field('name', $.identifier), optional($._typed), optional(seq('=', $._expression))),
    update: ($) => seq('update', field('name', $.identifier), '=', field('value', $._expression)),
    assignment: ($) => seq(field('name', $.identifier), '=', field('value', $._expression)),
    for: ($) =>
      seq('for', field('pattern', $._pattern), 'in', field('list', $._expression), field('body', $.block)),

    // ---- expressions -----------------------------------------------------------------------------

    _expression: ($) =>
      choice(
        $.identifier,
        $.number,
        $.string,
        $.boolean,
        $.hole,
        $.if,
        $.list,
        $.comprehension,
        $.parenthesized,
        $.tuple,
        $.unary,
        $.binary,
        $.call,
        $.field_access,
        $.second_name,
      ),
    unary: ($) =>
      choice(
        prec(PREC.minus, seq('-', field('operand', $._expression))),
        prec(PREC.not, seq('not', field('operand', $._expression))),
      ),
    binary: ($) => {
      const row = (precedence, associate, ...operators) =>
        associate(
          precedence,
          seq(
            field('left', $._expression),
            field('operator', operators.length > 1 ? choice(...operators) : operators[0]),
            field('right', $._expression),
          ),
        );
      return choice(
        row(PREC.or, prec.left, 'or'),
        row(PREC.and, prec.left, 'and'),
        row(PREC.compare, prec.left, '==', '!=', '<', '<=', '>', '>='),
        row(PREC.range, prec.left, '..'),
        row(PREC.add, prec.left, '+', '-'),
        row(PREC.where, prec.left, 'where'),
        row(PREC.multiply, prec.left, '*', '/', '@'),
        row(PREC.power, prec.right, '^'),
      );
    },
    call: ($) =>
      prec(PREC.postfix, seq(field('function', $._expression), field('arguments', $.arguments))),
    arguments: ($) => seq('(', optional(listWithEnd($.argument)), ')'),
    argument: ($) =>
      seq(
        optional(seq(field('name', $.identifier), '=')),
        field('value', $._expression),
        optional(
          seq('over', field('axis', $.identifier), optional(seq('where', field('condition', $._expression)))),
        ),
      ),
    field_access: ($) =>
      prec(PREC.postfix, seq(field('value', $._expression), '.', field('field', $.identifier))),
    second_name: ($) =>
      prec(PREC.postfix, seq(field('value', $._expression), 'as', field('axis', $.identifier))),
    list: ($) => seq('[', optional(listWithEnd($._expression)), ']'),
    comprehension: ($) => seq('[', field('item', $._expression), repeat1($.for_each), ']'),
    for_each: ($) => seq('for', field('pattern', $._pattern), 'in', field('list', $._expression)),
    parenthesized: ($) => seq('(', $._expression, ')'),
    tuple: ($) => seq('(', $._expression, choice(',', seq(repeat1(seq(',', $._expression)), optional(','))), ')'),
    if: ($) =>
      seq(
        'if',
        field('condition', $._expression),
        field('then', $.block),
        repeat($.else_if),
        'else',
        field('else', $.block),
      ),
    else_if: ($) => seq('else', 'if', field('condition', $._expression), field('then', $.block)),

    boolean: (_) => choice('true', 'false'),
    hole: (_) => '_',
    identifier: (_) => /[A-Za-z_][A-Za-z0-9_]*/,
    // With its unit: `24GiB`.
    number: (_) => /[0-9](_?[0-9])*(\.[0-9](_?[0-9])*)?([eE][+-]?[0-9](_?[0-9])*)?[A-Za-z0-9_]*/,
    string: ($) => seq('"', repeat(choice($._string_text, $.escape_sequence)), token.immediate('"')),
    _string_text: (_) => token.immediate(prec(1, /[^"\\\n]+/)),
    escape_sequence: (_) => token.immediate(/\\[^\n]/),

    // ---- tests -----------------------------------------------------------------------------------

    test_body: ($) => seq('{', repeat(seq(choice($.let, $.layer, $.given, $.given_weight, $.expect), $._end)), '}'),
    given: ($) =>
      seq('given', field('name', $.identifier), ':', field('type', $.given_type), '=', field('value', $._expression)),
    given_type: ($) => seq(repeat(seq(field('axis', $.identifier), '=>')), $.shape),
    given_weight: ($) =>
      seq('given', choice('param', 'constant', 'state'), field('path', $.weight_path), '=', field('value', $._expression)),
    weight_path: ($) => seq($.identifier, repeat(seq('.', choice($.identifier, $.index)))),
    index: (_) => /[0-9][A-Za-z0-9_]*/,
    expect: ($) =>
      seq(
        'expect',
        field('value', $._expression),
        '=',
        field('expected', $._expression),
        optional(seq('within', field('tolerance', $.number))),
      ),

    // ---- members of a model ----------------------------------------------------------------------

    members: ($) => seq('{', repeat($._member), '}'),
    _member: ($) =>
      choice(
        $.features,
        $.sequence,
        $.embedding,
        $.train,
        seq(
          choice(
            $.label,
            $.key,
            $.hyper,
            $.let,
            $.layer,
            $.param,
            $.constant,
            $.predict,
            $.output,
            $.report,
            $.assert,
            $.common,
            $.request,
          ),
          $._end,
        ),
      ),

    features: ($) =>
      seq('features', field('name', $.identifier), optional($._known), field('body', $.feature_list)),
    sequence: ($) =>
      seq(
        'sequence',
        field('name', $.identifier),
        optional($.keep),
        optional($._known),
        optional(seq('missing', optional($.mark))),
        field('body', $.feature_list),
      ),
    keep: ($) => seq('(', 'keep', choice('last', 'first'), $.number, ')'),
    _known: ($) => choice($.after_label, $.known_at),
    after_label: (_) => seq('after', 'label'),
    known_at: ($) => seq('known', 'at', $._column_name, 'before', $._column_name),
    _column_name: ($) => choice($.string, alias($.identifier, $.column)),

    feature_list: ($) => seq('{', repeat(seq($.feature, optional($._end_of_line))), '}'),
    feature: ($) =>
      seq(
        field('name', $._field_name),
        ':',
        field('kind', $._kind),
        optional(choice($.from, $.computed)),
        optional($.pooled),
        optional($.missing),
        optional($.after_label),
      ),
    _field_name: ($) => keyword_or_name($, 'from', 'pooled', 'missing', 'after', 'mark', 'of', 'weighted'),
    _kind: ($) => choice($.category, $.numeric, alias($.identifier, $.type_name)),
    category: ($) =>
      seq(
        'category',
        optional(seq('(', field('size', $._expression), optional(seq(',', choice('clip', 'hash'))), ')')),
        optional(seq('of', choice($.crossed, alias($.identifier, $.type_name)))),
        optional(seq('in', field('vocabulary', $.string))),
      ),
    crossed: ($) => seq('(', listWithEnd($.field_path), ')'),
    numeric: ($) => seq('number', optional(seq('[', field('size', $._expression), ']'))),
    from: ($) => seq('from', $._column_name),
    computed: ($) => seq('from', field('function', $.identifier), field('arguments', $.arguments)),
    pooled: ($) =>
      seq('pooled', 'by', field('by', $.identifier), optional(seq('weighted', 'by', $._column_name))),
    missing: ($) =>
      seq('missing', optional($._literal), optional(seq('as', field('replacement', $._literal))), optional($.mark)),
    mark: ($) => seq('mark', field('name', $.identifier)),
    _literal: ($) => choice(seq(optional('-'), $.number), $.string),

    label: ($) =>
      seq(
        'label',
        field('name', $.identifier),
        ':',
        field('kind', alias($.identifier, $.type_name)),
        optional($.classes),
        optional($.from),
        optional(seq('missing', field('missing', $._expression))),
      ),
    classes: ($) => seq('(', listWithEnd($._expression), ')'),
    key: ($) =>
      seq(
        'key',
        field('name', $.identifier),
        ':',
        field('kind', alias($.identifier, $.type_name)),
        optional($.from),
      ),
    hyper: ($) =>
      seq(
        'hyper',
        field('name', $.identifier),
        '=',
        field('value', $._expression),
        optional(seq('in', field('range', $._expression))),
        optional(seq('when', field('condition', $._expression))),
      ),
    predict: ($) => seq('predict', field('label', $.identifier), '~', field('value', $._expression)),
    output: ($) => seq('output', field('name', $.identifier), '=', field('value', $._expression)),
    report: ($) => seq('report', list($.reported)),
    reported: ($) => seq($._expression, optional(seq('by', field('by', $._expression)))),
    assert: ($) => seq('assert', $._expression),
    common: ($) => seq('common', list(field('group', $.identifier)), 'by', field('by', $.identifier)),
    request: ($) => seq('request', choice(seq('by', field('by', $.identifier)), seq('of', $.number))),

    embedding: ($) =>
      seq(
        'embedding',
        choice(
          seq(field('name', $.identifier), $._width, choice($.each_of, list($.field_path))),
          seq($._width, $.each_of),
        ),
        optional($.settings),
      ),
    _width: ($) => seq('[', field('width', $._expression), ']', 'for'),
    each_of: ($) => seq('each', 'of', list(field('group', $.identifier))),
    field_path: ($) => seq(field('group', keyword_or_name($, 'each')), '.', field('field', $.identifier)),

    train: ($) => seq('train', field('body', $.settings)),
    settings: ($) => seq('{', repeat($._setting), '}'),
    _setting: ($) =>
      choice(
        alias($._bare_setting, $.setting),
        seq(choice($.vectors, $.admission, $.setting), $._end_of_setting),
      ),
    // These two are checked by din later: what follows the first word of a value may be anything.
    vectors: ($) =>
      seq(
        field('name', alias('init', $.identifier)),
        'from',
        repeat(field('value', $._expression)),
        optional(seq('else', field('otherwise', $._expression))),
        optional($._how),
      ),
    admission: ($) =>
      seq(
        field('name', alias('admit', $.identifier)),
        choice(
          seq('when', repeat(field('value', $._expression))),
          seq('top', repeat(field('value', $._expression)), optional(seq('by', field('by', $.identifier)))),
        ),
        optional($._how),
      ),
    _bare_setting: ($) => seq(field('name', $._setting_name), $._end_of_line),
    setting: ($) => seq(field('name', $._setting_name), repeat1(field('value', $._expression)), optional($._how)),
    _how: ($) => choice($.updates, seq(optional($.updates), 'for', list($.weight_path))),
    updates: (_) => seq('with', choice('dense', 'sparse'), 'updates'),
    _setting_name: ($) => keyword_or_name($, 'init', 'admit'),
  },
});
