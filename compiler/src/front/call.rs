//! Calls: arguments bound to parameters by position and name, types unified, bodies elaborated
//! under their path.

use super::conform::TypeWord;
use super::elaborator::{Elaborator, MAX_CALLS};
use super::foreign;
use super::scope::{NameScope, NamedAxis, Referent};
use super::value::{
    ArgumentValue, Builtin, Callee, ExprValue, Over, PartialApplication, PartialArgument, counted, nearest,
};
use super::walk::CallFrame;
use din_grammar::ast::{self, Argument, Expr, ExprKind};
use din_grammar::{Diagnostic, Span};
use std::rc::Rc;

impl<'a> Elaborator<'a> {
    pub fn call(
        &mut self,
        scope: &mut NameScope<'a>,
        e: &'a Expr,
        callee: &'a Expr,
        arguments: &'a [Argument],
    ) -> ExprValue<'a> {
        if let ExprKind::Name(name) = &callee.kind
            && matches!(name.as_str(), "normal" | "uniform" | "glorot" | "fan_in")
            && scope.find(name).is_none()
            && !self.modules[scope.module].names.contains_key(name)
        {
            return self.fault(
                Diagnostic::error("E0410", format!("`{name}` is an initialiser, not a value"), e.span, "not a value")
                    .help(format!("initialisers stand in `param w: [n] = {name}(…)` and after `init`")),
            );
        }
        let function = self.expr(scope, callee);
        let of_axis = |callee: &Callee<'a>| matches!(callee, Callee::Builtin(Builtin::Length | Builtin::Position));
        let of_axis = matches!(&function, ExprValue::Function(f) if of_axis(f));
        let mut given: Vec<PartialArgument<'a>> = Vec::with_capacity(arguments.len());
        for argument in arguments {
            let span = argument.span;
            if of_axis
                && argument.is_plain()
                && let ExprKind::Name(name) = &argument.value.kind
                && (scope.axis(name).is_some() || scope.find(name).is_none())
                && let Some(named) = self.axis_called(scope, name, span)
            {
                let over = named.axis.map(|axis| Over { axis, condition: None });
                let value = if over.is_some() { ExprValue::Nothing } else { ExprValue::Poison };
                given.push(PartialArgument::Given(ArgumentValue { name: None, value, over, span }));
                continue;
            }
            let value = match argument.value.kind {
                ExprKind::Hole => None,
                _ => Some(self.expr(scope, &argument.value)),
            };
            let over = match &argument.over {
                None => None,
                Some(axis) => match self.axis_called(scope, &axis.name, axis.span) {
                    Some(NamedAxis { axis: Some(axis), .. }) => {
                        let condition = argument.condition.as_ref().map(|c| (self.expr(scope, c), c.span));
                        Some(Over { axis, condition })
                    }
                    Some(NamedAxis { axis: None, .. }) => {
                        given.push(PartialArgument::Given(ArgumentValue::poison(span)));
                        continue;
                    }
                    None => {
                        let mut d = Diagnostic::error(
                            "E0314",
                            format!("there is no axis `{}` here", axis.name),
                            axis.span,
                            "not an axis",
                        );
                        let known: Vec<&str> = scope.axes.iter().map(|a| a.name).collect();
                        let group = scope
                            .find(&axis.name)
                            .is_some_and(|bound| matches!(bound.referent, Referent::Value(ExprValue::Group(_))));
                        d = match nearest(&axis.name, known.iter().copied()) {
                            Some(near) => d.did_you_mean(axis.span, near),
                            None if group => d.help(format!(
                                "`{}` has one value per sample, which no reduction is needed for; sequences are {}",
                                axis.name,
                                super::load::listed(&known)
                            )),
                            None if known.is_empty() => d.help("axes come from sequences: `fn f(x: s => [d])`"),
                            None => d.help(format!("axes here: {}", super::load::listed(&known))),
                        };
                        self.report(d);
                        given.push(PartialArgument::Given(ArgumentValue::poison(span)));
                        continue;
                    }
                },
            };
            let name = argument.name.as_ref();
            given.push(match value {
                Some(value) => PartialArgument::Given(ArgumentValue { name, value, over, span }),
                None => PartialArgument::Hole { name, over, span },
            });
        }
        match function {
            ExprValue::Poison => ExprValue::Poison,
            ExprValue::Function(f) => {
                let mut complete = Vec::with_capacity(given.len());
                for argument in &given {
                    match argument {
                        PartialArgument::Given(argument) => complete.push(argument.clone()),
                        PartialArgument::Hole { .. } => return self.partial(f, given, e.span),
                    }
                }
                if let Callee::Builtin(b) = *f
                    && b == Builtin::Concat
                {
                    let labels: Vec<Option<&'a str>> = arguments.iter().map(|a| label(&a.value)).collect();
                    return self.concat(&complete, &labels, e.span);
                }
                self.apply(&f, complete, e.span)
            }
            other => {
                let found = self.describe(&other);
                self.fault(
                    Diagnostic::error("E0308", "this cannot be called", callee.span, found.clone())
                        .note(format!("expected a function, layer or table\nfound {found}")),
                )
            }
        }
    }

    fn partial(&mut self, callee: Rc<Callee<'a>>, arguments: Vec<PartialArgument<'a>>, span: Span) -> ExprValue<'a> {
        if let Callee::Defined { function, .. } = &*callee {
            for argument in &arguments {
                let (PartialArgument::Given(ArgumentValue { name, .. }) | PartialArgument::Hole { name, .. }) =
                    argument;
                if let Some(name) = name
                    && !function.parameters.iter().any(|p| p.name.name == name.name)
                {
                    return self.unknown_argument(function, name);
                }
            }
            if arguments.len() > function.parameters.len() {
                return self.too_many(&function.name.name, &function.parameters, arguments.len(), span);
            }
        }
        ExprValue::Function(Rc::new(Callee::Partial(PartialApplication { callee, arguments })))
    }

    pub(super) fn unknown_argument(&mut self, function: &'a ast::Function, name: &ast::Ident) -> ExprValue<'a> {
        let known: Vec<&str> = function.parameters.iter().map(|p| p.name.name.as_str()).collect();
        let mut d = Diagnostic::error(
            "E0208",
            format!("`{}` has no parameter `{}`", function.name.name, name.name),
            name.span,
            "no such parameter",
        )
        .label(function.name.span, "defined here");
        d = foreign::argument(d, name, &known);
        self.fault(d)
    }

    fn too_many(&mut self, name: &str, parameters: &[ast::ParameterDecl], found: usize, span: Span) -> ExprValue<'a> {
        let predicted = |p: &ast::ParameterDecl| {
            matches!(&p.ty, Some(ast::Type { kind: ast::TypeKind::Named(word), .. })
                if TypeWord::by_name(&word.name).is_some_and(TypeWord::is_prediction))
        };
        let names: Vec<&str> = parameters.iter().map(|p| p.name.name.as_str()).collect();
        let help = match parameters.first() {
            Some(first) if predicted(first) => {
                format!("the name of a label stands for the label and its prediction: write `{name}(click)`")
            }
            Some(_) => format!("it takes {}: remove what is too many", super::load::listed(&names)),
            None => format!("write `{name}()`"),
        };
        self.fault(
            Diagnostic::error("E0210", format!("too many arguments for `{name}`"), span, counted(found, "argument"))
                .note(format!("expected at most {}\nfound {found}", counted(parameters.len(), "argument")))
                .help(help),
        )
    }

    /// Calls `callee` with complete arguments.
    pub fn apply(&mut self, callee: &Rc<Callee<'a>>, given: Vec<ArgumentValue<'a>>, span: Span) -> ExprValue<'a> {
        match &**callee {
            Callee::Builtin(b) => self.builtin(*b, given, span),
            Callee::Table(t) => self.table_call(*t, &given, span),
            Callee::Family(f) => self.family_call(*f, &given, span),
            Callee::Partial(p) => {
                let mut rest = given.into_iter().peekable();
                let mut all: Vec<ArgumentValue<'a>> = Vec::new();
                let holes = p.holes();
                for argument in &p.arguments {
                    let (name, over, hole) = match argument {
                        PartialArgument::Given(argument) => {
                            all.push(argument.clone());
                            continue;
                        }
                        PartialArgument::Hole { name, over, span } => (*name, over.clone(), *span),
                    };
                    match rest.next_if(|g| g.name.is_none()) {
                        Some(g) if over.is_some() && g.over.is_some() => {
                            return self.fault(
                                Diagnostic::error(
                                    "E0314",
                                    format!("the axis of `{}` is given already", callee.name()),
                                    g.span,
                                    "a second axis",
                                )
                                .label(hole, "the first is given here")
                                .help("remove one of them"),
                            );
                        }
                        Some(g) => all.push(ArgumentValue { name, over: over.or(g.over), ..g }),
                        None => {
                            return self.fault(
                                Diagnostic::error(
                                    "E0209",
                                    format!("an argument of `{}` is missing", callee.name()),
                                    span,
                                    "leaves `_` open",
                                )
                                .label(hole, "left open here")
                                .note(format!("expected {}", counted(holes, "argument"))),
                            );
                        }
                    }
                }
                if let Some(extra) = rest.peek().filter(|g| g.name.is_none()) {
                    let d = Diagnostic::error(
                        "E0210",
                        format!("too many arguments for `{}`", callee.name()),
                        extra.span,
                        "nothing is open for it",
                    )
                    .note(format!("expected {}", counted(holes, "argument")));
                    return self.fault(d);
                }
                all.extend(rest);
                self.apply(&p.callee, all, span)
            }
            Callee::Layer { path, inner } => {
                let key = path.join(".");
                let calls = self.walk.layer_calls.entry(key.clone()).or_insert(0);
                *calls += 1;
                let call = *calls;
                let outer = std::mem::replace(&mut self.walk.path, path.clone());
                let named = std::mem::replace(&mut self.walk.named, true);
                self.walk.layers.push((key, call));
                let value = self.apply(inner, given, span);
                self.walk.layers.pop();
                self.walk.path = outer;
                self.walk.named = named;
                value
            }
            Callee::Defined { module, function } => self.instantiate(*module, function, given, span),
        }
    }

    /// The body of a function for these arguments.
    fn instantiate(
        &mut self,
        module: usize,
        function: &'a ast::Function,
        given: Vec<ArgumentValue<'a>>,
        span: Span,
    ) -> ExprValue<'a> {
        if self.walk.frames.len() >= MAX_CALLS {
            self.report(
                Diagnostic::error(
                    "E0701",
                    format!("calls are nested more than {MAX_CALLS} deep"),
                    span,
                    format!("calls `{}` once more", function.name.name),
                )
                .help("a function cannot call itself without end; repeat with `for`"),
            );
            self.exhaust();
            return ExprValue::Poison;
        }
        let Some(arguments) = self.arrange(&function.name, &function.parameters, given, span) else {
            return ExprValue::Poison;
        };
        // Called from a file, not by the library itself.
        let library = self.sources.get(span.file).is_some_and(|f| f.name.starts_with("std."));
        let of_schedules = self.modules[module].name == "std.schedule" && !library;
        let mut scope = NameScope::new(module, Some(&function.name.name));
        for (parameter, given) in function.parameters.iter().zip(arguments) {
            let (value, at) = match given {
                Some(g) => (g.value, g.span),
                None => {
                    let default = parameter.default.as_ref().expect("`arrange` demands an argument without a default");
                    (self.expr(&mut scope, default), default.span)
                }
            };
            let value = self.conform(&mut scope, &function.name.name, parameter, value, at);
            if of_schedules {
                self.steps_ascend(&function.name.name, &value, at);
            }
            // `fn f(x: [n], n: int)`: the number must be the size.
            let size = scope.dimensions.iter().find(|d| d.name == parameter.name.name).and_then(|d| d.size);
            if let (Some(size), ExprValue::Number(n)) = (size, &value)
                && *n != size as f64
            {
                let what =
                    format!("`{}` of `{}` is not the size it stands for", parameter.name.name, function.name.name);
                self.report(
                    Diagnostic::error("E0302", what, at, format!("{n}"))
                        .label(parameter.span, "a size of an earlier argument bears this name")
                        .note(format!("expected {size}\nfound {n}")),
                );
            }
            self.note(&scope, parameter.name.span, &value);
            scope.bind(&parameter.name.name, value, parameter.name.span);
        }
        self.note_sizes(&scope);
        let name = if self.walk.named { None } else { Some(function.name.name.clone()) };
        let named = scope.axes.iter().filter_map(|named| Some((named.axis?, named.name.to_owned())));
        let axes = named.collect();
        self.instantiated.insert(function.name.span);
        self.walk.frames.push(CallFrame { name: function.name.name.clone(), call: span, axes });
        let value = self.under(name, false, |me| {
            let value = me.block(&mut scope, &function.body);
            me.check_states(&scope);
            me.keep_inside(&scope, function, value)
        });
        let value = self.conform_result(&mut scope, function, value);
        self.walk.frames.pop();
        if of_schedules {
            self.doubtful_schedule(&function.name.name, &value, span);
        }
        value
    }

    /// Refuses `over` in an argument of what is no reduction; whether there was none.
    pub fn no_axis(&mut self, name: &str, argument: &Argument) -> bool {
        let Some(axis) = &argument.over else { return true };
        self.report(
            Diagnostic::error("E0314", format!("`{name}` takes no axis"), argument.span, "`over` is not possible here")
                .help(format!("reduce the value first: `sum(… over {})`", axis.name)),
        );
        false
    }

    /// One argument, or none, a parameter; faults in number and names are reported.
    pub fn arrange(
        &mut self,
        name: &'a ast::Ident,
        parameters: &'a [ast::ParameterDecl],
        given: Vec<ArgumentValue<'a>>,
        span: Span,
    ) -> Option<Vec<Option<ArgumentValue<'a>>>> {
        if let Some(fault) = self.other_order(name, parameters, &given, span) {
            self.report(fault);
            return None;
        }
        let mut slots: Vec<Option<ArgumentValue<'a>>> = parameters.iter().map(|_| None).collect();
        let count = given.len();
        let mut position = 0;
        let mut fine = true;
        for g in given {
            if let Some(over) = g.over {
                let axis = self.walk.graph.axis(over.axis).name.clone();
                self.report(
                    Diagnostic::error(
                        "E0314",
                        format!("`{}` takes no axis", name.name),
                        g.span,
                        "`over` stands in reductions, such as `sum`",
                    )
                    .help(format!("give `{}` the sequence itself; its type names the axis `{axis}`", name.name)),
                );
                fine = false;
                continue;
            }
            let index = match g.name {
                None => {
                    position += 1;
                    position - 1
                }
                Some(n) => match parameters.iter().position(|p| p.name.name == n.name) {
                    Some(i) => i,
                    None => {
                        let known: Vec<&str> = parameters.iter().map(|p| p.name.name.as_str()).collect();
                        let mut d = Diagnostic::error(
                            "E0208",
                            format!("`{}` has no parameter `{}`", name.name, n.name),
                            n.span,
                            "no such parameter",
                        )
                        .label(name.span, "defined here");
                        d = foreign::argument(d, n, &known);
                        self.report(d);
                        fine = false;
                        continue;
                    }
                },
            };
            match slots.get_mut(index) {
                None => {
                    self.too_many(&name.name, parameters, count, g.span);
                    return None;
                }
                Some(Some(first)) => {
                    let d = Diagnostic::error(
                        "E0211",
                        format!("`{}` is given twice", parameters[index].name.name),
                        g.span,
                        "again here",
                    )
                    .label(first.span, "first here");
                    self.report(d.help("drop one of them"));
                    fine = false;
                }
                Some(slot) => *slot = Some(g),
            }
        }
        let missing: Vec<&str> = parameters
            .iter()
            .zip(&slots)
            .filter(|(p, s)| s.is_none() && p.default.is_none())
            .map(|(p, _)| p.name.name.as_str())
            .collect();
        if !missing.is_empty() && fine {
            let what = if missing.len() == 1 { "argument is" } else { "arguments are" };
            let mut d = Diagnostic::error(
                "E0209",
                format!("{} {what} missing in the call of `{}`", missing.len(), name.name),
                span,
                format!("{} not given", super::load::listed(&missing)),
            )
            .label(name.span, "defined here");
            // What was meant for the missing parameter may have gone to an optional one before it.
            let optional = parameters.iter().zip(&slots).filter(|(p, _)| p.default.is_some());
            for (p, given) in optional.filter_map(|(p, slot)| Some((p, slot.as_ref()?))) {
                if given.name.is_none() {
                    d = d.label(given.span, format!("by position, this is `{}`", p.name.name));
                }
            }
            let tensor = parameters.iter().find(|p| p.name.name == missing[0]).is_some_and(|p| {
                matches!(p.ty.as_ref().map(|t| &t.kind), Some(ast::TypeKind::Shape(_) | ast::TypeKind::Ragged { .. }))
            });
            let example = parameters.iter().find(|p| p.name.name == missing[0]).and_then(example).unwrap_or("…");
            // The library is right: what it was given is called with too few arguments.
            let library = self.sources.get(span.file).is_some_and(|f| f.name.starts_with("std."));
            self.report(d.help(if library && !self.walk.frames.is_empty() {
                let arguments = counted(count, "argument");
                format!("give a function of {arguments}, such as `{}(_, {} = {example})`", name.name, missing[0])
            } else if missing == ["steps"] && parameters.first().is_some_and(|p| p.name.name == "step") {
                // `warmup(1000)`: the number went to the step.
                format!("the step comes first: write `{}(step, 1000)`", name.name)
            } else if tensor && count == 0 {
                format!("add `{} = …`, or write `{}` for the function itself", missing[0], name.name)
            } else {
                format!("add `{} = {example}`", missing[0])
            }));
            fine = false;
        }
        fine.then_some(slots)
    }
}

/// A value that an argument of this type may have.
fn example(parameter: &ast::ParameterDecl) -> Option<&'static str> {
    match &parameter.ty.as_ref()?.kind {
        ast::TypeKind::Named(word) => TypeWord::by_name(&word.name)?.example(),
        ast::TypeKind::Shape(_) | ast::TypeKind::Ragged { .. } | ast::TypeKind::ListOf(_) => None,
    }
}

/// What `concat` calls an operand that is no record: the name it was written with.
fn label(e: &Expr) -> Option<&str> {
    match &e.kind {
        ExprKind::Name(n) => Some(n),
        ExprKind::Field { name, .. } => Some(&name.name),
        _ => None,
    }
}
