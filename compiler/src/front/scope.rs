//! Names in scope in one body, and what they stand for.

use super::value::{ExprValue, RecordField, Tensor};
use crate::graph::{AxisId, StateId};
use din_grammar::Span;
use std::rc::Rc;

/// What a name in scope stands for.
#[derive(Clone, Debug)]
pub(super) struct NameBinding<'a> {
    pub name: &'a str,
    pub referent: Referent<'a>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub(super) enum Referent<'a> {
    Value(ExprValue<'a>),
    State(StateId, Tensor),
    /// Index into the schema's labels.
    Label(usize),
    /// Index into the schema's keys.
    Key(usize),
    /// A hyper-parameter that is not there, since the condition at this place does not hold.
    Absent(Span),
    /// In an optimizer, the weight: its value now.
    Weight(Tensor),
    /// Optimizer state: its slot and its value now.
    Slot(u32, Tensor),
}

/// A size that a function's types have bound.
#[derive(Clone, Debug)]
pub(super) struct SizeBinding<'a> {
    pub name: &'a str,
    /// `None` where the argument was faulty.
    pub size: Option<usize>,
    /// The fields of the argument that bound it, if it is a record.
    pub fields: Option<Rc<[RecordField]>>,
    pub span: Span,
}

/// A ragged axis that a sequence or a function's type has named.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedAxis<'a> {
    pub name: &'a str,
    /// `None` where the argument was faulty.
    pub axis: Option<AxisId>,
    pub span: Span,
}

/// Names visible in one body.
#[derive(Clone, Debug)]
pub(super) struct NameScope<'a> {
    pub module: usize,
    pub blocks: Vec<Vec<NameBinding<'a>>>,
    pub dimensions: Vec<SizeBinding<'a>>,
    /// Ragged axes.
    pub axes: Vec<NamedAxis<'a>>,
    /// Axes that `as` made known in the body.
    pub seconds: Vec<NamedAxis<'a>>,
    /// The function whose body it is.
    pub function: Option<&'a str>,
    /// States declared in the body.
    pub states: Vec<(StateId, Span)>,
}

impl<'a> NameScope<'a> {
    pub fn new(module: usize, function: Option<&'a str>) -> Self {
        NameScope {
            module,
            blocks: vec![Vec::new()],
            dimensions: Vec::new(),
            axes: Vec::new(),
            seconds: Vec::new(),
            function,
            states: Vec::new(),
        }
    }

    pub fn find(&self, name: &str) -> Option<&NameBinding<'a>> {
        self.blocks.iter().rev().flat_map(|b| b.iter().rev()).find(|b| b.name == name)
    }

    pub fn find_mut(&mut self, name: &str) -> Option<&mut NameBinding<'a>> {
        self.blocks.iter_mut().rev().flat_map(|b| b.iter_mut().rev()).find(|b| b.name == name)
    }

    pub fn bind(&mut self, name: &'a str, value: ExprValue<'a>, span: Span) {
        self.bind_as(name, Referent::Value(value), span);
    }

    pub fn bind_as(&mut self, name: &'a str, referent: Referent<'a>, span: Span) {
        let block = self.blocks.last_mut().expect("a scope has a block from its start to its end");
        block.push(NameBinding { name, referent, span });
    }

    pub fn axis(&self, name: &str) -> Option<NamedAxis<'a>> {
        self.axes.iter().find(|a| a.name == name).copied()
    }
}
