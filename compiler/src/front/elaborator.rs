//! The elaborator: what all walks share, the resolution of names, the descriptions of values in
//! messages, reporting and limits.

use super::condition::ReportValue;
use super::declarations::Declarations;
use super::distribution::DistributionName;
use super::foreign;
use super::load::{Definition, DefinitionId, Module, listed};
use super::notes::ValueNotes;
use super::schema::{SchemaExtent, SchemaReading};
use super::scope::{NameScope, Referent};
use super::value::{Builtin, Callee, ExprValue, Tensor, nearest, reserved};
use super::vocabulary::Vocabularies;
use super::walk::{CallFrame, Context, GraphWalk, InputKey};
use crate::graph::{AxisId, BATCH, GLOBAL, Graph, InputId, Shape};
use din_grammar::{Diagnostic, SourceMap, Span, ast};
use din_program::schema::{Output, Parameter, Prediction, State};
use rustc_hash::{FxHashMap, FxHashSet};
use std::rc::Rc;

/// Calls inside calls.
pub(super) const MAX_CALLS: usize = 48;
/// Expressions inside expressions, over all calls.
const MAX_DEPTH: usize = 400;
/// Nodes of one graph.
const MAX_NODES: usize = 100_000;
/// Expressions evaluated for one model.
const MAX_STEPS: u64 = 1_000_000;
/// Components of one value.
pub(super) const MAX_WIDTH: f64 = 16_777_216.0;

/// What all walks share: sources, declarations, parameters and states, faults and limits.
pub(super) struct Elaborator<'a> {
    pub modules: &'a [Module],
    pub sources: &'a SourceMap,
    pub vocabularies: &'a Vocabularies,
    pub diagnostics: Vec<Diagnostic>,
    reported: FxHashSet<(&'static str, Span, String)>,
    pub walk: GraphWalk,
    pub declarations: Declarations<'a>,
    pub parameters: Vec<Parameter>,
    pub parameter_ids: FxHashMap<String, usize>,
    pub states: Vec<State>,
    pub state_ids: FxHashMap<String, usize>,
    pub predictions: Vec<Prediction>,
    pub outputs: Vec<Output>,
    /// What metrics read of each sample beside its prediction, each once.
    pub report_values: Vec<ReportValue<'a>>,
    /// Definitions are checked by themselves, outside any model.
    pub sampling: bool,
    /// A `predict` is faulty or none is there: labels without prediction are its consequence.
    pub unpredicted: bool,
    /// What is declared of the model's schema; everything, where it is not known yet.
    pub reading: Option<SchemaReading>,
    /// The declarations at hand are the schema's.
    pub in_schema: bool,
    /// The declarations that are the schema's.
    pub schema_extent: SchemaExtent,
    /// The model's schema is not there, which is reported: nothing more can be said of the model.
    pub broken_schema: bool,
    /// The functions whose bodies were elaborated, by the place of their names.
    pub instantiated: FxHashSet<Span>,
    /// Values by place, where an editor asks for them.
    pub notes: Option<ValueNotes>,
    /// Names of groups that are not there and were reported: other uses of them say nothing new.
    unknown_groups: FxHashSet<String>,
    depth: usize,
    steps: u64,
    exhausted: bool,
}

impl<'a> Elaborator<'a> {
    pub fn new(modules: &'a [Module], sources: &'a SourceMap, vocabularies: &'a Vocabularies) -> Self {
        Elaborator {
            modules,
            sources,
            vocabularies,
            diagnostics: Vec::new(),
            reported: FxHashSet::default(),
            // For what the declarations compute.
            walk: GraphWalk::new(Graph::default(), true, Context::Model),
            declarations: Declarations::default(),
            parameters: Vec::new(),
            parameter_ids: FxHashMap::default(),
            states: Vec::new(),
            state_ids: FxHashMap::default(),
            predictions: Vec::new(),
            outputs: Vec::new(),
            report_values: Vec::new(),
            sampling: false,
            unpredicted: false,
            reading: None,
            in_schema: false,
            schema_extent: SchemaExtent::default(),
            broken_schema: false,
            instantiated: FxHashSet::default(),
            notes: None,
            unknown_groups: FxHashSet::default(),
            depth: 0,
            steps: 0,
            exhausted: false,
        }
    }

    /// Runs `body` on a walk of its own, which is returned beside the result.
    pub fn on_walk<T>(&mut self, walk: GraphWalk, body: impl FnOnce(&mut Self) -> T) -> (T, GraphWalk) {
        let outer = std::mem::replace(&mut self.walk, walk);
        let result = body(self);
        (result, std::mem::replace(&mut self.walk, outer))
    }

    /// Runs `body` in a context.
    pub fn in_context<T>(&mut self, context: Context, body: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.walk.context, context);
        let result = body(self);
        self.walk.context = outer;
        result
    }

    /// Reports a fault once; inside functions with the trace of calls that led there.
    pub fn report(&mut self, diagnostic: Diagnostic) {
        let frames = self.walk.frames.clone();
        self.report_in(&frames, diagnostic);
    }

    /// Reports a fault once, with the trace of these calls.
    pub fn report_in(&mut self, frames: &[CallFrame], mut diagnostic: Diagnostic) {
        let Some(first) = diagnostic.labels.first() else { return };
        if !self.reported.insert((diagnostic.code, first.span, diagnostic.message.clone())) {
            return;
        }
        // The library has no faults of its own: several reports about one call of it are one fault
        // of that call.
        let library = |span: Span| self.sources.get(span.file).is_some_and(|f| f.name.starts_with("std."));
        let in_library = library(first.span);
        if let Some(outer) = frames.first()
            && in_library
            && !self.reported.insert((diagnostic.code, outer.call, String::new()))
        {
            return;
        }
        // A definition that is checked by itself is called from nowhere.
        let frames = match frames.split_first() {
            Some((_, inner)) if self.sampling => inner,
            Some(_) | None => frames,
        };
        // A fault inside the library stands at the file's own call.
        if in_library
            && let Some(called) = frames.iter().rfind(|frame| !library(frame.call))
            && diagnostic.labels.iter().all(|l| l.span != called.call)
        {
            let text = format!("in this call of `{}`", called.name);
            diagnostic.labels.insert(0, din_grammar::LabelledSpan { span: called.call, text });
        }
        if let Some(outer) = frames.first()
            && diagnostic.labels.iter().all(|l| l.span != outer.call)
        {
            diagnostic.labels.push(din_grammar::LabelledSpan { span: outer.call, text: "in this call".into() });
        }
        const SHOWN: usize = 6;
        for frame in frames.iter().rev().take(SHOWN) {
            diagnostic.notes.push(format!("in `{}`, called at {}", frame.name, self.sources.location(frame.call)));
        }
        if frames.len() > SHOWN {
            diagnostic.notes.push(format!("and {} calls further out", frames.len() - SHOWN));
        }
        self.diagnostics.push(diagnostic);
    }

    /// Reports and gives poison.
    pub fn fault(&mut self, diagnostic: Diagnostic) -> ExprValue<'a> {
        self.report(diagnostic);
        ExprValue::Poison
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Counts one expression; false when the limits are passed (reported once), and then for good.
    pub fn enter(&mut self, span: Span) -> bool {
        if self.exhausted {
            return false;
        }
        self.depth += 1;
        self.steps += 1;
        let limit = if self.depth > MAX_DEPTH {
            Some(("E0701", format!("expressions are nested more than {MAX_DEPTH} deep")))
        } else if self.steps > MAX_STEPS {
            Some(("E0703", format!("checking takes more than {MAX_STEPS} steps")))
        } else if self.walk.graph.len() > MAX_NODES {
            Some(("E0702", format!("the graph has more than {MAX_NODES} operations")))
        } else {
            None
        };
        if let Some((code, message)) = limit {
            self.report(
                Diagnostic::error(code, message, span, "the limit is passed here")
                    .help("unroll less: shorten the lists that `for` runs over, or the chain of calls"),
            );
            self.exhausted = true;
            self.depth -= 1;
            return false;
        }
        true
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Stops the walk after a limit was reported.
    pub fn exhaust(&mut self) {
        self.exhausted = true;
    }

    pub fn location(&self, span: Span) -> String {
        self.sources.recorded_location(span)
    }

    /// Runs `body` with the path that `names` add.
    pub fn under<T>(&mut self, name: Option<String>, named: bool, body: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.walk.named;
        let depth = self.walk.path.len();
        self.walk.path.extend(name);
        self.walk.named = named;
        let value = body(self);
        self.walk.named = before;
        self.walk.path.truncate(depth);
        value
    }

    /// `taste.unit.0.weight`
    pub fn full_name(&self, own: &str) -> String {
        let mut name = self.walk.path.join(".");
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(own);
        name
    }

    /// What an axis is called: the sequence's name.
    pub fn axis_text(&self, axis: AxisId) -> String {
        match axis {
            GLOBAL => "nothing: it is one value for the whole batch".into(),
            BATCH => "the samples only".into(),
            d if Some(d) == self.walk.graph.axes.request() => "the requests only".into(),
            d => format!("`{}`", self.walk.graph.axis(d).name),
        }
    }

    /// What the entries that a value varies over are called in the body at hand.
    pub fn axis_here(&self, axis: AxisId) -> String {
        let axes = &self.walk.graph.axes;
        let entries = axes.second_of_pairs(axis).unwrap_or(axis);
        let same = |own: AxisId| own == entries || axes.on_samples(own) == axes.on_samples(entries);
        let named = self.walk.frames.last().and_then(|frame| frame.axes.iter().find(|(own, _)| same(*own)));
        named.map_or_else(|| axes.axis(entries).name.clone(), |(_, name)| name.clone())
    }

    /// What a value is, for messages.
    pub fn describe(&self, value: &ExprValue<'a>) -> String {
        match value {
            ExprValue::Number(n) => format!("the number {}", super::value::number_text(*n)),
            ExprValue::Bool(b) => format!("`{b}`"),
            ExprValue::Text(_) => "a text".into(),
            ExprValue::List(_) => "a list".into(),
            ExprValue::Tuple(items) => format!("a tuple of {}", items.len()),
            ExprValue::Function(f) => match &**f {
                Callee::Table(t) => format!("the table `{}`", self.declarations.tables[*t].name),
                Callee::Family(f) => format!("the tables `{}`", self.declarations.families[*f].name),
                other => format!("the function `{}`", other.name()),
            },
            ExprValue::Tensor(t) => self.describe_tensor(t),
            ExprValue::Group(g) => format!("the group `{}`", self.declarations.groups[*g].name),
            ExprValue::Feature(f) => format!("the feature `{}`", self.declarations.schema.features[*f].path()),
            ExprValue::Prediction { distribution, .. } => {
                format!("a prediction by `{}`", DistributionName::of(*distribution).text())
            }
            ExprValue::Label { index, .. } => {
                format!("the label `{}`", self.declarations.schema.labels[*index as usize].name)
            }
            ExprValue::Quantity(_) => "an amount of memory".into(),
            ExprValue::Nothing => "no value".into(),
            ExprValue::Poison => "a faulty value".into(),
        }
    }

    pub fn describe_tensor(&self, t: &Tensor) -> String {
        let node = self.walk.graph.node(t.node);
        let shape = match &t.fields {
            Some(fields) => super::value::fields_text(fields),
            None => super::value::shape_text(&node.shape),
        };
        if self.walk.graph.axes.has_entries(node.axis) {
            format!("{} => {shape}", self.walk.graph.axis(node.axis).name)
        } else {
            shape
        }
    }

    /// Resolves a name; reports it when unknown.
    pub fn resolve(&mut self, scope: &NameScope<'a>, name: &str, span: Span) -> ExprValue<'a> {
        if let Some(binding) = scope.find(name) {
            let binding = binding.clone();
            match binding.referent {
                Referent::Value(ExprValue::Feature(feature)) => {
                    self.declarations.named_features.insert(feature);
                }
                Referent::Label(label) => {
                    self.declarations.named_labels.insert(label);
                }
                Referent::Value(_)
                | Referent::State(..)
                | Referent::Weight(_)
                | Referent::Slot(..)
                | Referent::Key(_)
                | Referent::Absent(_) => {}
            }
            return match binding.referent {
                Referent::Value(v) => v,
                Referent::State(_, t) | Referent::Weight(t) | Referent::Slot(_, t) => ExprValue::Tensor(t),
                Referent::Label(label) => self.label_value(label, binding.span, span),
                Referent::Absent(condition) => self.absent_hyper(name, condition, span),
                Referent::Key(_) => self.fault(
                    Diagnostic::error("E0206", format!("`{name}` is a key, not a feature"), span, "not a value")
                        .label(binding.span, "declared here: carried through for grouping and output")
                        .help("to feed the column to the model, declare it in a `features` block as well"),
                ),
            };
        }
        if let Some(d) = scope.dimensions.iter().find(|d| d.name == name) {
            return d.size.map_or(ExprValue::Poison, |n| ExprValue::Number(n as f64));
        }
        let own = scope.function == Some(name);
        if let Some(builtin) = Builtin::by_name(name).filter(|_| own) {
            return ExprValue::Function(Rc::new(Callee::Builtin(builtin)));
        }
        if let Some(&definition) = self.modules[scope.module].names.get(name) {
            return self.defined(definition, name, span);
        }
        if name == "training" {
            return ExprValue::Bool(self.walk.training);
        }
        if let Some(builtin) = Builtin::by_name(name) {
            return ExprValue::Function(Rc::new(Callee::Builtin(builtin)));
        }
        self.unknown(scope, name, span)
    }

    /// A top-level item.
    pub fn item(&self, id: DefinitionId) -> &'a ast::Item {
        &self.modules[id.module].file.items[id.item]
    }

    fn defined(&mut self, definition: Definition, name: &str, span: Span) -> ExprValue<'a> {
        let Some(id) = definition.item else { return ExprValue::Poison };
        let item = self.item(id);
        if let ast::Item::Function(function) = item {
            return ExprValue::Function(Rc::new(Callee::Defined { module: id.module, function }));
        }
        self.no_value(item, name, span)
    }

    /// Reports an item that is no value.
    fn no_value(&mut self, item: &ast::Item, name: &str, span: Span) -> ExprValue<'a> {
        let help = match item {
            ast::Item::Function(_) => unreachable!("a function is a value"),
            ast::Item::Optimizer(_) => Some("an optimizer stands after the word `optimizer`"),
            ast::Item::Regularizer(_) => Some("a regularizer stands after the word `regularize`"),
            ast::Item::Metric(_) => Some("a metric stands after the word `report`"),
            ast::Item::Schema(_) => Some("a schema stands after a model's name: `model name on …`"),
            ast::Item::Model(_) => None,
            ast::Item::Test(_) => unreachable!("a test has no name to be found by"),
        };
        let kind = super::load::item_kind(item);
        let mut d = Diagnostic::error("E0206", format!("`{name}` is not a function"), span, "used as a value")
            .note(format!("expected a function or value\nfound {kind} `{name}`"));
        d.help = help.map(str::to_owned);
        self.fault(d)
    }

    fn unknown(&mut self, scope: &NameScope<'a>, name: &str, span: Span) -> ExprValue<'a> {
        if let Some(r) = reserved(name) {
            return self.not_built(r.what, r.instead, span);
        }
        if self.walk.frames.is_empty() && self.unknown_groups.contains(name) {
            return ExprValue::Poison;
        }
        let modules = self.modules;
        let model = |item: &&ast::Item| matches!(item, ast::Item::Model(m) if m.name.name == name);
        if let Some(model) = modules[scope.module].file.items.iter().find(model) {
            return self.no_value(model, name, span);
        }
        let mut d = Diagnostic::error("E0204", format!("unknown name `{name}`"), span, "not in scope");
        let mut own: Vec<&str> = scope.blocks.iter().flatten().map(|b| b.name).collect();
        own.extend(scope.dimensions.iter().map(|d| d.name));
        let mut known = own.clone();
        known.extend(self.modules[scope.module].names.keys().map(String::as_str));
        known.extend(Builtin::all().map(|b| b.0));
        own.sort_unstable();
        known.sort_unstable();
        d = if let (Context::Update(_), Some(now)) = (self.walk.context, renamed(name)) {
            d.help(format!("write `{now}`, as `{name}` is called now")).edit(span, now)
        } else if let Some(module) = library_home(name) {
            let place = self.import_place(scope.module);
            d.help(format!("add `use {module}.{name}`")).edit(place, format!("use {module}.{name}\n"))
        } else if let Some(path) = self.path_of_field(name) {
            d.did_you_mean(span, &path)
        } else if let Some(later) = self.hyper_below(scope, name, span) {
            d.label(later, "declared here, below").help(format!("move `hyper {name}` above this one"))
        } else if let Some(later) = self.defined_below(scope, name, span) {
            d.label(later, "defined here, below").help(format!("move the line that defines `{name}` above this one"))
        } else if scope.axis(name).is_some() {
            d.help(format!("`{name}` is an axis, not a value: it stands after `over`, and in `length({name})`"))
        } else if let Some(help) = foreign::name(name) {
            // A word of another library may yet be a slip in a name of the file's own.
            d.help(match nearest(name, own.iter().copied()) {
                Some(near) => format!("{help}; or did you mean `{near}`?"),
                None => help.to_owned(),
            })
        } else if let Some(near) = nearest(name, known.iter().copied()) {
            d.did_you_mean(span, near)
        } else {
            // `ReLU`, `Adam`, and slips in names that are not imported.
            let lower = name.to_ascii_lowercase();
            let all = library_names();
            let meant = match library_home(&lower) {
                Some(module) => Some((lower.as_str(), module)),
                None => nearest(name, all.iter().map(String::as_str))
                    .and_then(|near| library_home(near).map(|module| (near, module))),
            };
            match meant {
                Some((near, module)) => {
                    let place = self.import_place(scope.module);
                    d.help(format!("did you mean `{near}`, of `{module}`?"))
                        .edit(place, format!("use {module}.{near}\n"))
                        .edit(span, near)
                }
                None if self.walk.context == Context::Loss && !self.declarations.schema.labels.is_empty() => {
                    let labels: Vec<&str> = self.declarations.schema.labels.iter().map(|l| l.name.as_str()).collect();
                    d.help(format!("labels are {}", super::load::listed(&labels)))
                }
                None => d,
            }
        };
        self.fault(d)
    }

    /// Where an import is added to a file: in the line behind the last one, or behind the edition.
    fn import_place(&self, module: usize) -> Span {
        let file = &self.modules[module].file;
        let head = file.imports.last().map(|import| import.span).or(file.edition.as_ref().map(|e| e.span));
        let text = self.sources.text(file.span);
        let start = head.map_or(0, |last| {
            let end = last.end as usize;
            text[end..].find('\n').map_or(text.len(), |line| end + line + 1)
        });
        Span::new(file.span.file, start, start)
    }

    /// Where a model gives the name to a value below the place at which it is read.
    fn defined_below(&self, scope: &NameScope<'a>, name: &str, span: Span) -> Option<Span> {
        let own = self.value_of_model(scope, name).filter(|own| own.start > span.end);
        own.filter(|_| self.walk.frames.is_empty())
    }

    /// Where a model declares a hyper-parameter of this name below the place at which it is read.
    fn hyper_below(&self, scope: &NameScope<'a>, name: &str, span: Span) -> Option<Span> {
        let members = self.modules[scope.module].file.models().flat_map(|model| &model.members);
        for member in members {
            if let ast::MemberKind::Hyper { name: own, .. } = &member.kind
                && own.name == name
                && own.span.start > span.end
            {
                return Some(own.span);
            }
        }
        None
    }

    /// Where a model gives the name to a value of its network.
    pub fn value_of_model(&self, scope: &NameScope<'a>, name: &str) -> Option<Span> {
        let members = self.modules[scope.module].file.models().flat_map(|model| &model.members);
        let mut names = members.flat_map(|member| match &member.kind {
            ast::MemberKind::Let(l) => l.pattern.names(),
            ast::MemberKind::Param(variables) | ast::MemberKind::Constant(variables) => {
                variables.iter().map(|v| &v.name).collect()
            }
            ast::MemberKind::Layer(l) => vec![&l.name],
            ast::MemberKind::Output { name, .. } => vec![name],
            ast::MemberKind::Features { .. }
            | ast::MemberKind::Sequence { .. }
            | ast::MemberKind::Label { .. }
            | ast::MemberKind::Key { .. }
            | ast::MemberKind::Common { .. }
            | ast::MemberKind::Request(_)
            | ast::MemberKind::Embedding(_)
            | ast::MemberKind::Hyper { .. }
            | ast::MemberKind::Predict { .. }
            | ast::MemberKind::Train(_)
            | ast::MemberKind::Report { .. }
            | ast::MemberKind::Assert { .. } => Vec::new(),
        });
        names.find(|own| own.name == name).map(|own| own.span)
    }

    /// What a name behind a module of another library stands for here: `torch.relu`.
    pub fn foreign_member(&mut self, scope: &NameScope<'a>, e: &'a ast::Expr) -> Option<ExprValue<'a>> {
        let ast::ExprKind::Field { base, name } = &e.kind else { return None };
        let mut root = &**base;
        while let ast::ExprKind::Field { base, .. } = &root.kind {
            root = base;
        }
        let ast::ExprKind::Name(module) = &root.kind else { return None };
        if !foreign::is_namespace(module) || self.has_meaning(scope, module) {
            return None;
        }
        let word = name.name.as_str();
        let lower = word.to_ascii_lowercase();
        let of = |word: &str| library_home(word).map(|home| format!("write `{word}`, with `use {home}.{word}` above"));
        let help = if let Some(help) = of(word) {
            help
        } else if Builtin::by_name(word).is_some() {
            format!("write `{word}`: functions of the language need no module")
        } else if let Some(help) = foreign::name(word) {
            help.to_owned()
        } else if let Some(help) = of(&lower) {
            help
        } else {
            foreign::name(module).unwrap_or("names stand alone: `use std.layer.linear`, then `linear(x, 8)`").to_owned()
        };
        let d = Diagnostic::error("E0204", format!("unknown name `{module}`"), root.span, "not in scope");
        Some(self.fault(d.help(help)))
    }

    /// Whether the name stands for something here, or would if it were imported or built.
    pub fn has_meaning(&self, scope: &NameScope<'a>, name: &str) -> bool {
        let defined = scope.find(name).is_some() || self.modules[scope.module].names.contains_key(name);
        let size = scope.dimensions.iter().any(|d| d.name == name);
        let known = name == "training" || Builtin::by_name(name).is_some() || reserved(name).is_some();
        defined || size || known || library_home(name).is_some()
    }

    /// In a model, the only field of this name, with its group: `user.age`.
    fn path_of_field(&self, name: &str) -> Option<String> {
        let features = &self.declarations.schema.features;
        let mut named = features.iter().filter(|feature| self.walk.frames.is_empty() && feature.name == name);
        named.next().filter(|_| named.next().is_none()).map(|feature| feature.path())
    }

    /// E0790: a word that is kept for something not there yet.
    pub fn not_built(&mut self, what: &str, instead: &str, span: Span) -> ExprValue<'a> {
        self.fault(
            Diagnostic::error("E0790", format!("{what}: reserved, not built yet"), span, "not built yet").help(instead),
        )
    }

    /// A group that is not there, once for all uses of its name.
    pub fn unknown_group(&mut self, name: &ast::Ident) {
        if self.unknown_groups.insert(name.name.clone()) {
            let known: Vec<&str> = self.declarations.groups.iter().map(|g| g.name).collect();
            self.unknown_word("E0404", "group", name, &known);
        }
    }

    /// An unknown word among `known`.
    pub fn unknown_word(&mut self, code: &'static str, what: &str, word: &ast::Ident, known: &[&str]) -> ExprValue<'a> {
        let mut d = Diagnostic::error(code, format!("unknown {what} `{}`", word.name), word.span, "not known here");
        if let Some(help) = foreign::instead(what, &word.name) {
            return self.fault(d.help(help));
        }
        d = match foreign::word(&word.name, known) {
            Some(near) => d.did_you_mean(word.span, near),
            None if known.len() == 1 => d.help(format!("the only one is {}", listed(known))),
            None => d.help(format!("known are {}", listed(known))),
        };
        self.fault(d)
    }

    /// The input of the key in the graph of this walk, added where it is not there yet.
    pub fn input(
        &mut self,
        key: InputKey,
        name: String,
        kind: crate::graph::InputKind,
        axis: AxisId,
        shape: Shape,
    ) -> InputId {
        if let Some(&id) = self.walk.inputs.get(&key) {
            return id;
        }
        let id = InputId(self.walk.graph.inputs.len() as u32);
        self.walk.graph.inputs.push(crate::graph::Input { name, kind, axis, shape });
        self.walk.inputs.insert(key, id);
        id
    }
}

/// What a former name of an optimizer's or regularizer's scope is called now.
fn renamed(name: &str) -> Option<&'static str> {
    match name {
        "count" => Some("frequency"),
        "touches" => Some("updates"),
        _ => None,
    }
}

/// What the library defines.
fn library_names() -> Vec<String> {
    let heads = ["\nfn ", "\noptimizer ", "\nregularizer ", "\nmetric "];
    let defined = |(_, text): &(&'static str, &'static str)| -> Vec<String> {
        let after = heads.iter().flat_map(|head| text.split(head).skip(1));
        after.filter_map(|rest| rest.split('(').next()).map(str::to_owned).collect()
    };
    super::load::LIBRARY.iter().flat_map(defined).collect()
}

/// The library module that defines `name`.
pub(super) fn library_home(name: &str) -> Option<&'static str> {
    let heads = ["fn", "optimizer", "regularizer", "metric"];
    super::load::LIBRARY
        .iter()
        .find_map(|(module, text)| heads.iter().any(|h| text.contains(&format!("\n{h} {name}("))).then_some(*module))
}
