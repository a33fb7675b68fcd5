//! The tree of every construct, checked by hand against the language's page: what was written,
//! where, in which order.
#![allow(clippy::unwrap_used)]

use din_grammar::ast::*;
use din_grammar::{FileId, SourceMap, Span, parse};

const ALL: &str = include_str!("texts/all.din");
const DIN: &str = include_str!("texts/din.din");

fn tree(text: &str) -> File {
    parse(text, FileId(0)).unwrap_or_else(|e| panic!("{e:#?}\n{text}"))
}

/// An expression as an S-expression.
fn show(e: &Expr) -> String {
    let all = |parts: &[Expr]| parts.iter().map(show).collect::<Vec<_>>().join(" ");
    match &e.kind {
        ExprKind::Name(name) => name.clone(),
        ExprKind::Int(v) => format!("{v}"),
        ExprKind::Float(v) => format!("{v:?}"),
        ExprKind::Text(v) => format!("{v:?}"),
        ExprKind::Bool(v) => format!("{v}"),
        ExprKind::List(parts) => format!("[{}]", all(parts)),
        ExprKind::Comprehension { value, each } => {
            format!("[{} {}]", show(value), each.iter().map(loops).collect::<Vec<_>>().join(" "))
        }
        ExprKind::Tuple(parts) => format!("(tuple {})", all(parts)),
        ExprKind::Hole => "_".into(),
        ExprKind::Call { callee, arguments } => {
            let mut out = format!("({}", show(callee));
            for a in arguments {
                let name = a.name.as_ref().map(|n| format!("{}=", n.name)).unwrap_or_default();
                let over = a.over.as_ref().map(|n| format!("/{}", n.name)).unwrap_or_default();
                let condition = a.condition.as_ref().map(|c| format!("?{}", show(c))).unwrap_or_default();
                out += &format!(" {name}{}{over}{condition}", show(&a.value));
            }
            out + ")"
        }
        ExprKind::Field { base, name } => format!("{}.{}", show(base), name.name),
        ExprKind::SecondName { value, axis } => format!("({} as {})", show(value), axis.name),
        ExprKind::Unary { op, value } => format!("({op:?} {})", show(value)),
        ExprKind::Binary { op, left, right } => format!("({op:?} {} {})", show(left), show(right)),
        ExprKind::If { condition, then, otherwise } => {
            format!("(if {} {} {})", show(condition), block(then), block(otherwise))
        }
        ExprKind::Where { value, condition } => format!("(where {} {})", show(value), show(condition)),
        ExprKind::Quantity { value, unit } => format!("{value}:{}", unit.name),
    }
}

fn ty(t: &Option<Type>) -> String {
    let shape = |dims: &[Dimension]| {
        let dims: Vec<String> = dims
            .iter()
            .map(|d| match d {
                Dimension::Name(n) => n.name.clone(),
                Dimension::Size { value, .. } => value.to_string(),
            })
            .collect();
        format!("[{}]", dims.join(","))
    };
    match t.as_ref().map(|t| &t.kind) {
        None => String::new(),
        Some(TypeKind::ListOf(item)) => format!(":list of{}", ty(&Some((**item).clone()))),
        Some(TypeKind::Shape(dims)) => format!(":{}", shape(dims)),
        Some(TypeKind::Ragged { axis, element }) => format!(":{}=>{}", axis.name, shape(element)),
        Some(TypeKind::Named(n)) => format!(":{}", n.name),
    }
}

fn block(b: &Block) -> String {
    let mut parts: Vec<String> = b.statements.iter().map(statement).collect();
    parts.extend(b.value.as_ref().map(|v| format!("=> {}", show(v))));
    format!("{{{}}}", parts.join("; "))
}

fn names(names: &[Ident]) -> String {
    names.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(",")
}

fn pattern(p: &Pattern) -> String {
    let inner = |part: &Pattern| match part {
        Pattern::Name(name) => name.name.clone(),
        Pattern::Parts { .. } => format!("({})", pattern(part)),
    };
    match p {
        Pattern::Name(name) => name.name.clone(),
        Pattern::Parts { parts, .. } => parts.iter().map(inner).collect::<Vec<_>>().join(","),
    }
}

fn loops(each: &ForEach) -> String {
    format!("for {} {}", pattern(&each.pattern), show(&each.list))
}

fn variable(v: &Variable) -> String {
    let init = v.init.as_ref().map(|i| format!(" {}", show(i))).unwrap_or_default();
    format!("{}{}{init}", v.name.name, ty(&v.ty))
}

fn statement(s: &Statement) -> String {
    match &s.kind {
        StatementKind::Let(l) => format!("let {} {}", pattern(&l.pattern), show(&l.value)),
        StatementKind::Layer(l) => format!("layer {} {}", l.name.name, show(&l.value)),
        StatementKind::Param(v) => format!("param {}", variable(v)),
        StatementKind::Constant(v) => format!("constant {}", variable(v)),
        StatementKind::State(v) => format!("state {}", variable(v)),
        StatementKind::Update { name, value } => format!("update {} {}", name.name, show(value)),
        StatementKind::Assign { name, value } => format!("set {} {}", name.name, show(value)),
        StatementKind::For { each, body } => format!("{} {}", loops(each), block(body)),
        StatementKind::Expr(e) => format!("expr {}", show(e)),
    }
}

fn parameters(list: &[ParameterDecl]) -> String {
    let one = |p: &ParameterDecl| {
        let default = p.default.as_ref().map(|d| format!("={}", show(d))).unwrap_or_default();
        format!("{}{}{default}", p.name.name, ty(&p.ty))
    };
    list.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn expression(text: &str) -> String {
    match &tree(&format!("regularizer r() = {text}")).items[0] {
        Item::Regularizer(r) => show(&r.body),
        other => panic!("{other:?}"),
    }
}

fn function(file: &File, index: usize) -> &Function {
    match &file.items[index] {
        Item::Function(f) => f,
        other => panic!("{other:?}"),
    }
}

fn model(file: &File) -> &Model {
    file.items.iter().find_map(|item| if let Item::Model(m) = item { Some(m) } else { None }).unwrap()
}

#[test]
fn precedence_and_grouping() {
    for (text, expected) in [
        ("a + b * c", "(Add a (Multiply b c))"),
        ("a - b - c", "(Subtract (Subtract a b) c)"),
        ("a / b * c @ d", "(Product (Multiply (Divide a b) c) d)"),
        ("a ^ b ^ c", "(Power a (Power b c))"),
        ("-a ^ b", "(Negate (Power a b))"),
        ("2 ^ -a * b", "(Multiply (Power 2 (Negate a)) b)"),
        ("-a * b", "(Multiply (Negate a) b)"),
        ("a - -b", "(Subtract a (Negate b))"),
        ("- - a", "(Negate (Negate a))"),
        ("(a + b) * c", "(Multiply (Add a b) c)"),
        ("a or b and not c == d + 1", "(Or a (And b (Not (Equal c (Add d 1)))))"),
        ("not a and b", "(And (Not a) b)"),
        ("not a + b", "(Not (Add a b))"),
        ("a * not b + c", "(Add (Multiply a (Not b)) c)"),
        ("a where not b + c", "(Add (where a (Not b)) c)"),
        ("a < b", "(Less a b)"),
        ("a <= b", "(LessEqual a b)"),
        ("a > b", "(Greater a b)"),
        ("a >= b", "(GreaterEqual a b)"),
        ("a != b", "(NotEqual a b)"),
        ("a + 0.5 * b where c + d", "(Add (Add a (where (Multiply 0.5 b) c)) d)"),
        ("a(b).c(d)", "((a b).c d)"),
        ("f()", "(f)"),
        ("f(a,)", "(f a)"),
        ("(a, b)", "(tuple a b)"),
        ("((a))", "a"),
        ("[a, [], 1]", "[a [] 1]"),
        ("0..n", "(Range 0 n)"),
        ("1.5..a.b + 1", "(Range 1.5 (Add a.b 1))"),
        ("a .. b == c", "(Equal (Range a b) c)"),
        ("[x for x in xs]", "[x for x xs]"),
        ("[a * b for (a, b) in pairs(x)\n for i in 0..2]", "[(Multiply a b) for a,b (pairs x) for i (Range 0 2)]"),
        ("dice(momentum = 0.9, _)", "(dice momentum=0.9 _)"),
        ("sum(a * b over s)", "(sum (Multiply a b)/s)"),
        ("p.label", "p.label"),
        ("x.for", "x.for"),
        ("android", "android"),
        ("iffy + not_a + _a", "(Add (Add iffy not_a) _a)"),
        ("if a { b } else { c }", "(if a {=> b} {=> c})"),
        ("if a { b } else if c { d } else { e }", "(if a {=> b} {=> (if c {=> d} {=> e})})"),
        ("1_000_000", "1000000"),
        ("9223372036854775807", "9223372036854775807"),
        ("1.5", "1.5"),
        ("1e3", "1000.0"),
        ("1_0.2_5E-0_2", "0.1025"),
        ("24GiB", "24:GiB"),
        ("1.5e3ms", "1500:ms"),
        ("\"a\\\"\\\\\\n\\t// é\"", "\"a\\\"\\\\\\n\\t// é\""),
        ("true and false", "(And true false)"),
        ("a +\n b", "(Add a b)"),
        ("f(a\n + b,\n c)", "(f (Add a b) c)"),
    ] {
        assert_eq!(expression(text), expected, "{text}");
    }
}

#[test]
fn a_line_ends_a_statement() {
    let file = tree("fn f(x) {\n let a = x\n -x\n (x)\n [a,\n a]\n}");
    let f = function(&file, 0);
    assert_eq!(block(&f.body), "{let a x; expr (Negate x); expr x; => [a a]}");
    // On one line the next begins with its own word, or follows a block.
    let file = tree("fn f(x) { let a = x let b = a param c update d = 1 for i in [1] { x = i } x }");
    assert_eq!(block(&function(&file, 0).body), "{let a x; let b a; param c; update d 1; for i [1] {set x i}; => x}");
    let file = tree("fn f(x: list of s => [d], y: list) -> list of fn { for (a, b) in x { y = a } y }");
    let f = function(&file, 0);
    assert_eq!(parameters(&f.parameters), "x:list of:s=>[d] y:list");
    assert_eq!((ty(&f.result).as_str(), block(&f.body).as_str()), (":list of:fn", "{for a,b x {set y a}; => y}"));
    assert_eq!(block(&function(&tree("fn f() { }"), 0).body), "{}");
    assert_eq!(block(&function(&tree("fn f()\n{\nlet a =\n1\n}"), 0).body), "{let a 1}");
}

#[test]
fn the_head_of_a_file() {
    let file = tree(ALL);
    assert_eq!(file.docs, ["Every construct of the language, once or more.", "Not a sensible model."]);
    assert_eq!(file.edition.as_ref().unwrap().year, 2026);
    let uses: Vec<String> = file
        .imports
        .iter()
        .map(|u| {
            let names: Vec<String> = u
                .names
                .iter()
                .map(|n| {
                    format!("{}{}", n.name.name, n.alias.as_ref().map(|a| format!("/{}", a.name)).unwrap_or_default())
                })
                .collect();
            format!("{}: {}", names_of(&u.path), names.join(" "))
        })
        .collect();
    assert_eq!(uses, ["std.layer: linear mlp/tower", "towers: deep/wide"]);
    assert_eq!(file.items.len(), 5);
}

fn names_of(path: &[Ident]) -> String {
    path.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(".")
}

#[test]
fn definitions() {
    let file = tree(ALL);
    let f = function(&file, 0);
    assert_eq!(f.docs, ["A function."]);
    assert_eq!(parameters(&f.parameters), "history:s=>[d] query:[d] width:int=4 scale=0.5 activation:fn size:[16]");
    assert_eq!(ty(&f.result), ":[d]");
    let expected = [
        "param weight:[d,n] (glorot)",
        "param bias:[n] 0",
        "state mean:[d] 0",
        "layer gate (mlp _ [64 32] relu)",
        "let m,v (if training {=> (moments history)} {=> (if (Equal scale 0) {=> (tuple mean mean)} {let z mean; => (tuple z z)})})",
        "update mean (Add (Multiply 0.9 mean) (Multiply 0.1 m))",
        "for h [1 2 3] {set query (activation (linear query h))}",
        "let w (Product (exp (Subtract (sum (Multiply history query)/d) (max x/s))) (Power weight (Negate (Power 2 v))))",
        "let ok (Or (And (Not (Equal a b)) (LessEqual c d)) (NotEqual e f))",
    ];
    let found: Vec<String> = f.body.statements.iter().map(statement).collect();
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(
        show(f.body.value.as_ref().unwrap()),
        "(Divide (Negate (sum (Multiply w history)/s)) (Add 1000000 0.0015))"
    );

    let Item::Regularizer(r) = &file.items[1] else { panic!() };
    assert_eq!((parameters(&r.parameters).as_str(), show(&r.body).as_str()), ("lambda", "(Multiply lambda weight)"));
    let Item::Optimizer(o) = &file.items[2] else { panic!() };
    assert_eq!(
        (o.scope, block(&o.body).as_str()),
        (OptimizerScope::Tensor, "{set weight (Subtract weight (Multiply lr grad))}")
    );
    let Item::Metric(m) = &file.items[3] else { panic!() };
    assert_eq!(parameters(&m.parameters), "target:prediction by:key weight=impressions");
}

#[test]
fn the_standard_library_of_the_language_page() {
    let dice = tree(include_str!("texts/activation.din"));
    let f = function(&dice, 0);
    assert_eq!(dice.docs, ["std.activation"]);
    assert_eq!(f.docs, ["Data-adaptive activation. Zhou et al., 2017, Eqs. (4)-(7)."]);
    assert_eq!(parameters(&f.parameters), "x:[n] momentum=0.99 eps=1e-8");
    assert_eq!(
        block(&f.body),
        "{param alpha:[n] 0; state mean:[n] 0; state var:[n] 1; \
         let m,v (if training {=> (moments x)} {=> (tuple mean var)}); \
         update mean (Add (Multiply momentum mean) (Multiply (Subtract 1 momentum) m)); \
         update var (Add (Multiply momentum var) (Multiply (Subtract 1 momentum) v)); \
         let p (sigmoid (Divide (Subtract x m) (sqrt (Add v eps)))); \
         => (Add (Multiply (Multiply alpha (Subtract 1 p)) x) (Multiply p x))}"
    );
    let mlp = tree(include_str!("texts/layer.din"));
    assert_eq!(block(&function(&mlp, 0).body), "{for h sizes {set x (activation (linear x h))}; => x}");
    let interest = tree(include_str!("texts/attention.din"));
    assert_eq!(
        block(&function(&interest, 0).body),
        "{let unit (mlp (concat history candidate (Subtract history candidate) (Multiply history candidate)) hidden activation); \
         => (sum (Multiply (linear unit 1) history)/s)}"
    );
    let optimizers = tree(include_str!("texts/optimizer.din"));
    let Item::Optimizer(adam) = &optimizers.items[0] else { panic!() };
    assert_eq!((adam.scope, adam.body.statements.len()), (OptimizerScope::Weight, 5));
    let Item::Optimizer(adagrad) = &optimizers.items[1] else { panic!() };
    assert_eq!(adagrad.scope, OptimizerScope::Row);
    let regularizers = tree(include_str!("texts/regularizer.din"));
    let Item::Regularizer(adaptive) = &regularizers.items[0] else { panic!() };
    assert_eq!(show(&adaptive.body), "(Multiply (Divide lambda frequency) weight)");
}

fn field(f: &FeatureField) -> String {
    let kind = match &f.kind.kind {
        FeatureKindName::Category { size, outside, of, vocabulary } => {
            let size = size.as_ref().map(|s| format!("({})", show(s))).unwrap_or_default();
            let outside = match outside {
                OutsideDecl::Refused => "",
                OutsideDecl::Clipped => " clip",
                OutsideDecl::Hashed => " hash",
            };
            let path = |p: &FieldPath| format!("{}.{}", p.group.name, p.field.name);
            let of = match of {
                None => String::new(),
                Some(IdsDecl::Type(key)) => format!(" of {}", key.name),
                Some(IdsDecl::Tuple { fields, .. }) => {
                    format!(" of ({})", fields.iter().map(path).collect::<Vec<_>>().join(" "))
                }
            };
            let vocabulary = vocabulary.as_ref().map(|file| format!(" in {}", file.path)).unwrap_or_default();
            format!("category{size}{outside}{of}{vocabulary}")
        }
        FeatureKindName::Number { width } => {
            format!("number{}", width.as_ref().map(|w| format!("[{}]", show(w))).unwrap_or_default())
        }
        FeatureKindName::Other(name) => format!("?{}", name.name),
    };
    let source = match &f.source {
        None => String::new(),
        Some(FieldSource::Column(column)) => format!(" from {}", column.name),
        Some(FieldSource::Computed(e)) => format!(" from {}", show(e)),
    };
    let pooled = f.pooled.as_ref().map(|p| {
        format!(
            " pooled {}{}",
            p.by.name,
            p.weights.as_ref().map(|w| format!(" weighted {}", w.name)).unwrap_or_default()
        )
    });
    let missing = f.missing.as_ref().map(missing).unwrap_or_default();
    let later = if f.after_label.is_some() { " after label" } else { "" };
    format!("{}: {kind}{source}{}{missing}{later}", f.name.name, pooled.unwrap_or_default())
}

fn column_of(f: &FeatureField) -> &Ident {
    match f.source.as_ref().unwrap() {
        FieldSource::Column(column) => column,
        FieldSource::Computed(_) => panic!("a function of a column"),
    }
}

fn missing(m: &MissingDecl) -> String {
    let value = m.value.as_ref().map(|e| format!(" {}", show(e))).unwrap_or_default();
    let replacement = m.replacement.as_ref().map(|e| format!(" as {}", show(e))).unwrap_or_default();
    let mark = m.mark.as_ref().map(|name| format!(" mark {}", name.name)).unwrap_or_default();
    format!(" missing{value}{replacement}{mark}")
}

fn known(k: Option<&KnownDecl>) -> String {
    match k {
        None => String::new(),
        Some(KnownDecl::AfterLabel(_)) => " after label".into(),
        Some(KnownDecl::Before { times, moment, .. }) => format!(" known {} before {}", times.name, moment.name),
    }
}

fn reported(r: &ReportedMetric) -> String {
    let by = r.by.as_ref().map(|by| format!(" by {}", show(by))).unwrap_or_default();
    format!("{}{by}", show(&r.metric))
}

fn setting(s: &Setting) -> String {
    let updates = s.updates.as_ref().map(|u| format!("with {} updates", if u.dense { "dense" } else { "sparse" }));
    let weights: Vec<&str> = s.weights.iter().map(|path| path.name.as_str()).collect();
    let weights = (!weights.is_empty()).then(|| format!("for {}", weights.join(", ")));
    if let Some(admission) = &s.admission {
        let (limit, by) = (show(&s.values[0]), &admission.by.name);
        return match admission.top {
            true => format!("admit top {limit} by {by}"),
            false => format!("admit when {by} >= {limit}"),
        };
    }
    let file = s.file.as_ref().map(|f| format!("from {:?}", f.path));
    let word = std::iter::once(s.word.name.clone()).chain(file);
    word.chain(s.values.iter().map(show)).chain(updates).chain(weights).collect::<Vec<_>>().join(" ")
}

fn member(m: &Member) -> String {
    let list = |parts: Vec<String>| parts.join("; ");
    match &m.kind {
        MemberKind::Features { name, known: when, fields } => {
            format!("features {}{} {{{}}}", name.name, known(when.as_ref()), list(fields.iter().map(field).collect()))
        }
        MemberKind::Sequence { name, keep, known: when, missing: lists, fields } => {
            let keep = keep.as_ref().map(|k| format!(" {}{}", if k.last { "last" } else { "first" }, k.count));
            let fields = list(fields.iter().map(field).collect());
            let lists = lists.as_ref().map(missing).unwrap_or_default();
            let known = known(when.as_ref());
            format!("sequence {}{}{known}{lists} {{{fields}}}", name.name, keep.unwrap_or_default())
        }
        MemberKind::Label { name, kind, classes, column, missing } => {
            let column = column.as_ref().map(|c| format!(" from {}", c.name)).unwrap_or_default();
            let missing = missing.as_ref().map(|e| format!(" missing {}", show(e))).unwrap_or_default();
            let classes = match classes.as_slice() {
                [] => String::new(),
                classes => format!("({})", list(classes.iter().map(show).collect())),
            };
            format!("label {}: {}{classes}{column}{missing}", name.name, kind.name)
        }
        MemberKind::Key { name, kind, column } => {
            format!(
                "key {}: {}{}",
                name.name,
                kind.name,
                column.as_ref().map(|c| format!(" from {}", c.name)).unwrap_or_default()
            )
        }
        MemberKind::Embedding(e) => {
            let target = match &e.target {
                EmbeddingTarget::Fields { paths, .. } => {
                    list(paths.iter().map(|p| format!("{}.{}", p.group.name, p.field.name)).collect())
                }
                EmbeddingTarget::EachOf { groups, .. } => format!("each {}", names(groups)),
            };
            let options = list(e.options.iter().map(setting).collect());
            format!("embedding {} [{}] {target} {{{options}}}", e.name().map_or("-", |n| &n.name), show(&e.width))
        }
        MemberKind::Hyper { name, default, space, condition } => {
            let condition = condition.as_ref().map(|c| format!(" when {}", show(c))).unwrap_or_default();
            let space = space.as_ref().map(show).unwrap_or_default();
            format!("hyper {} {} {space}{condition}", name.name, show(default))
        }
        MemberKind::Param(variables) => format!("param {}", list(variables.iter().map(variable).collect())),
        MemberKind::Constant(constants) => format!("constant {}", list(constants.iter().map(variable).collect())),
        MemberKind::Let(l) => format!("let {} {}", pattern(&l.pattern), show(&l.value)),
        MemberKind::Layer(l) => format!("layer {} {}", l.name.name, show(&l.value)),
        MemberKind::Predict { target, distribution } => format!("predict {} {}", target.name, show(distribution)),
        MemberKind::Train(t) => format!("train {{{}}}", list(t.settings.iter().map(setting).collect())),
        MemberKind::Report { metrics } => format!("report {}", list(metrics.iter().map(reported).collect())),
        MemberKind::Output { name, value } => format!("output {} {}", name.name, show(value)),
        MemberKind::Assert { condition } => format!("assert {}", show(condition)),
        MemberKind::Request(RequestDecl::By(key)) => format!("request by {}", key.name),
        MemberKind::Request(RequestDecl::Of { count, .. }) => format!("request of {count}"),
        MemberKind::Common { groups, by } => format!("common {} by {}", names(groups), by.name),
    }
}

#[test]
fn members() {
    let file = tree(ALL);
    let m = model(&file);
    assert_eq!(
        (m.name.name.as_str(), m.docs.as_slice()),
        ("all", ["A model.".to_owned(), "Two lines.".to_owned()].as_slice())
    );
    let expected = [
        "features user {gender: category(2) clip; tags: category of string from tag list; price: number; vec: number[4] from v; when: ?date}",
        "sequence visited first20 {good_id: category from visited_good_ids; at: number}",
        "features outcome after label {reason: category of string in reasons.txt from why missing; at: number}",
        "features profile known updated_at before shown at {after: number missing as 0 after label; known: number}",
        "sequence read last5 known clicked_at before shown_at missing {good_id: category}",
        "label click: binary from is_click missing (Negate 1)",
        "key user_id: int64 from uid",
        "hyper lr 0.001 (log 0.0001 0.01)",
        "hyper hidden 64 [32 64] when (And (GreaterEqual layers 2) wide)",
        "hyper depth 2  when deep",
        "embedding good [16] visited.good_id {init (normal 0.01); regularize (adaptive 0.01); optimizer (sgd 0.1)}",
        "embedding shop [4] visited.good_id {init from \"a b.safetensors\" 0; admit top 1000 by frequency}",
        "embedding - [8] each user,visited {}",
        "layer net (tower _ [200 80] (dice momentum=0.9 _))",
        "param bias:[1] 0; scale:[n,3] (normal 0.1)",
        "let a,b (tuple (embed user) (embed visited))",
        "let (c,d),e (f a)",
        "predict click (bernoulli logit=(net (concat a b)))",
        "train {loss (Add (cross_entropy click) (where (Multiply 0.5 (cross_entropy long_view)) present)); \
         optimizer (adam lr=lr) with dense updates; optimizer (sgd 0.1) with sparse updates for tower.unit.0, good; batch 1024; clip global_norm 5; admit when frequency >= 5}",
        "report (auc click) by user_id; (gauc click by=user_id)",
        "assert (Less (memory tables) 24:GiB)",
        "common user,visited by request_id",
        "label kind: class(\"a b\"; \"c\") from action missing \"d\"",
        "request by request_id",
    ];
    let found: Vec<String> = m.members.iter().map(member).collect();
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(m.members[0].docs, ["The user."]);
    let MemberKind::Features { fields, .. } = &m.members[0].kind else { panic!() };
    assert_eq!(fields[0].docs, ["Sex as told."]);
    let MemberKind::Train(train) = &m.members[18].kind else { panic!() };
    assert_eq!(train.settings[0].docs, ["Only where it is known."]);
}

#[test]
fn the_model_of_the_language_page() {
    let file = tree(DIN);
    let found: Vec<String> = model(&file).members.iter().map(member).collect();
    let expected = [
        "features user {gender: category(2); age_level: category(10)}",
        "features ad {good_id: category; shop_id: category; cate_id: category}",
        "features scene {pid: category(10); time: category(10)}",
        "sequence visited last100 {good_id: category from visited_good_ids; shop_id: category from visited_shop_ids; cate_id: category from visited_cate_ids}",
        "label click: binary",
        "key user_id: int64",
        "embedding good [16] ad.good_id; visited.good_id {regularize (adaptive 0.01)}",
        "embedding shop [16] ad.shop_id; visited.shop_id {}",
        "embedding cate [16] ad.cate_id; visited.cate_id {}",
        "embedding - [8] each user,scene {}",
        "let candidate (embed ad)",
        "let history (embed visited)",
        "let taste (interest history candidate activation=prelu)",
        "let hidden (mlp (concat (embed user) (embed scene) taste candidate) [200 80] dice)",
        "predict click (bernoulli logit=(linear hidden 1))",
        "train {loss (cross_entropy click); optimizer (adam lr=0.001); batch 1024; epochs 2}",
        "report (auc click); (gauc click by=user_id); (log_loss click)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn spans_are_the_text_of_their_nodes() {
    let mut sources = SourceMap::default();
    // Before it, another file; in it, comments, blanks and wide characters.
    sources.add("other", "x");
    let text = "// é\nfn f(x: [n] = 1  ,  y: s => [d]) -> [n]  {\n  param w: [n] = 0 ,  b\n  let (a, b) = - x ^ (2 + y) * g( a = x . y , b over s )  // é\n  if a { b } else if c { d } else { e }\n}\n";
    let file = sources.add("f.din", text);
    let tree = parse(text, file).unwrap();
    let at = |span: Span| {
        assert_eq!(span.file, file);
        sources.text(span)
    };
    let f = function(&tree, 0);
    assert_eq!(at(tree.span), text);
    assert!(at(f.span).starts_with("fn f(") && at(f.span).ends_with("}"));
    assert_eq!(at(f.name.span), "f");
    assert_eq!(at(f.parameters[0].span), "x: [n] = 1");
    assert_eq!(at(f.parameters[0].ty.as_ref().unwrap().span), "[n]");
    assert_eq!(at(f.parameters[0].default.as_ref().unwrap().span), "1");
    assert_eq!(at(f.parameters[1].ty.as_ref().unwrap().span), "s => [d]");
    assert_eq!(at(f.result.as_ref().unwrap().span), "[n]");
    let [w, b, l] = f.body.statements.as_slice() else { panic!() };
    assert_eq!((at(w.span), at(b.span)), ("w: [n] = 0", "b"));
    assert_eq!(at(l.span), "let (a, b) = - x ^ (2 + y) * g( a = x . y , b over s )");
    let StatementKind::Let(l) = &l.kind else { panic!() };
    assert_eq!(at(l.pattern.names()[1].span), "b");
    let ExprKind::Binary { left, right, .. } = &l.value.kind else { panic!() };
    assert_eq!((at(left.span), at(right.span)), ("- x ^ (2 + y)", "g( a = x . y , b over s )"));
    let ExprKind::Unary { value, .. } = &left.kind else { panic!() };
    assert_eq!(at(value.span), "x ^ (2 + y)");
    let ExprKind::Call { callee, arguments } = &right.kind else { panic!() };
    assert_eq!((at(callee.span), at(arguments[0].span), at(arguments[1].span)), ("g", "a = x . y", "b over s"));
    assert_eq!(at(arguments[0].value.span), "x . y");
    assert_eq!(at(arguments[1].over.as_ref().unwrap().span), "s");
    let value = f.body.value.as_ref().unwrap();
    assert_eq!(at(value.span), "if a { b } else if c { d } else { e }");
    let ExprKind::If { then, otherwise, .. } = &value.kind else { panic!() };
    assert_eq!((at(then.span), at(otherwise.span)), ("{ b }", "c { d } else { e }"));

    let all = sources.add("all.din", ALL);
    let tree = parse(ALL, all).unwrap();
    let found: Vec<&str> = model(&tree).members.iter().map(|m| sources.text(m.span)).collect();
    assert!(found[0].starts_with("features user {") && found[0].ends_with('}'));
    assert_eq!(found[5], "label click: binary from is_click missing -1");
    assert_eq!(found[6], "key user_id: int64 from uid");
    assert_eq!(found[12], "embedding [8] for each of user, visited");
    assert_eq!(found[14], "param bias: [1] = 0, scale: [n, 3] = normal(0.1)");
    assert_eq!(found[21], "common user, visited by request_id");
    let MemberKind::Features { fields, .. } = &model(&tree).members[0].kind else { panic!() };
    assert_eq!(sources.text(fields[1].span), "tags: category of string from \"tag list\"");
    assert_eq!(sources.text(fields[0].kind.span), "category(2, clip)");
    assert_eq!(sources.text(column_of(&fields[1]).span), "\"tag list\"");
    let MemberKind::Assert { condition } = &model(&tree).members[20].kind else { panic!() };
    let ExprKind::Binary { right, .. } = &condition.kind else { panic!() };
    let ExprKind::Quantity { unit, .. } = &right.kind else { panic!() };
    assert_eq!(sources.text(unit.span), "GiB");
}

#[test]
fn windows_line_ends_tabs_and_a_byte_order_mark() {
    let text = format!("\u{FEFF}{}", DIN.replace('\n', "\r\n").replace("    ", "\t"));
    assert_eq!(tree(&text).items.len(), 1);
    assert_eq!(model(&tree(&text)).members.len(), model(&tree(DIN)).members.len());
    assert!(parse("", FileId(0)).unwrap().items.is_empty());
}
