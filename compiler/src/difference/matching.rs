//! Whether two graphs compute the same values: a walk from pairs of roots through both. What the
//! text calls a value, and where it stands, plays no part.

use crate::graph::{AxisId, AxisKind, AxisTree, Graph, Input, InputKind, NodeId, Op};
use crate::model::CheckedModel;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// Which of two models' names stand for the same: of parameters, states and tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Named {
    Parameter,
    State,
    Table,
}

/// Names of the old model that the new one has replaced by others: (sort, old name) to the new
/// name.
pub(super) type Renames = BTreeMap<(Named, String), String>;

/// A graph with the model whose it is.
#[derive(Clone, Copy)]
pub(super) struct ModelGraph<'a> {
    pub model: &'a CheckedModel,
    pub graph: &'a Graph,
}

impl ModelGraph<'_> {
    fn name(&self, named: Named, index: usize) -> &str {
        match named {
            Named::Parameter => &self.model.parameters[index].name,
            Named::State => &self.model.states[index].name,
            Named::Table => &self.model.tables[index].name,
        }
    }

    fn has(&self, named: Named, name: &str) -> bool {
        match named {
            Named::Parameter => self.model.parameters.iter().any(|p| p.name == name),
            Named::State => self.model.states.iter().any(|s| s.name == name),
            Named::Table => self.model.tables.iter().any(|t| t.name == name),
        }
    }

    /// What an axis is, whatever the text calls it and whichever its number.
    fn axis(&self, axis: AxisId) -> String {
        let (axes, schema): (&AxisTree, _) = (&self.graph.axes, &self.model.schema);
        match axes.kind(axis) {
            AxisKind::Global => "global".into(),
            AxisKind::Batch { .. } => "samples".into(),
            AxisKind::Request => "requests".into(),
            AxisKind::Sequence { sequence, parent, .. } => {
                format!("{} of {}", schema.sequences[*sequence as usize].name, self.axis(*parent))
            }
            AxisKind::Fixed { size } => format!("{size} entries"),
            AxisKind::Second { of } => format!("second {}", self.axis(*of)),
            AxisKind::Steps { of } => format!("steps {}", self.axis(*of)),
            AxisKind::Pairs { of, .. } => format!("pairs {}", self.axis(*of)),
            AxisKind::Unique(keys) => {
                let key = |&(table, feature): &(u32, u32)| {
                    let table = &self.model.tables[table as usize].name;
                    format!("{table} {}", schema.features[feature as usize].path())
                };
                let keys: Vec<String> = keys.keys.iter().map(key).collect();
                format!("distinct {}", keys.join(", "))
            }
        }
    }

    /// What an input is, likewise.
    fn input(&self, input: &Input) -> String {
        let schema = &self.model.schema;
        let what = match input.kind {
            InputKind::Ids { feature, .. } => format!("ids {}", schema.features[feature as usize].path()),
            InputKind::Dense { feature } => format!("numbers {}", schema.features[feature as usize].path()),
            InputKind::Label { label } => format!("label {}", schema.labels[label as usize].name),
            InputKind::Present { label } => format!("present {}", schema.labels[label as usize].name),
            InputKind::Slot { slot } => format!("slot {slot}"),
            InputKind::Step
            | InputKind::Epoch
            | InputKind::SquaredNorms
            | InputKind::Weight
            | InputKind::Gradient
            | InputKind::Frequency
            | InputKind::UpdateCount
            | InputKind::InBatch => format!("{:?}", input.kind),
        };
        format!("{what} {:?} on {}", input.shape.0, self.axis(input.axis))
    }
}

/// What is known to be the same of two graphs.
#[derive(Clone, Default)]
struct Known {
    pairs: FxHashSet<(NodeId, NodeId)>,
    scans: FxHashMap<usize, usize>,
    renames: Renames,
    /// The new names that are taken.
    taken: FxHashSet<(Named, String)>,
}

/// A walk through two graphs.
pub(super) struct Matching<'a> {
    old: ModelGraph<'a>,
    new: ModelGraph<'a>,
    /// Whether a name of the old model that the new one lacks may stand for one that the old one
    /// lacks.
    renaming: bool,
    known: Known,
}

impl<'a> Matching<'a> {
    pub fn new(old: ModelGraph<'a>, new: ModelGraph<'a>, renaming: bool, renames: Renames) -> Self {
        let taken = renames.iter().map(|((named, _), new)| (*named, new.clone())).collect();
        Matching { old, new, renaming, known: Known { renames, taken, ..Known::default() } }
    }

    /// Names that were found to be others on the way.
    pub fn renames(&self) -> &Renames {
        &self.known.renames
    }

    /// Takes two values for the same, whatever they are.
    pub fn assume(&mut self, old: NodeId, new: NodeId) {
        self.known.pairs.insert((old, new));
    }

    /// Whether two values are the same. If not, nothing that was found on the way is kept.
    pub fn same(&mut self, old: NodeId, new: NodeId) -> bool {
        let before = self.known.clone();
        let same = self.walk(old, new);
        if !same {
            self.known = before;
        }
        same
    }

    fn walk(&mut self, old: NodeId, new: NodeId) -> bool {
        let mut open = vec![(old, new)];
        while let Some((old, new)) = open.pop() {
            if !self.known.pairs.insert((old, new)) {
                continue;
            }
            let (a, b) = (self.old.graph.node(old), self.new.graph.node(new));
            let alike = a.shape == b.shape
                && a.operands.len() == b.operands.len()
                && self.old.axis(a.axis) == self.new.axis(b.axis);
            if !alike || !self.same_op(&a.op, &b.op, &mut open) {
                return false;
            }
            open.extend(a.operands.iter().copied().zip(b.operands.iter().copied()));
        }
        true
    }

    /// Whether two operations are the same, but for their operands. `open` takes what they need
    /// beside those.
    fn same_op(&mut self, old: &Op, new: &Op, open: &mut Vec<(NodeId, NodeId)>) -> bool {
        let same_axis = |a: AxisId, b: AxisId| self.old.axis(a) == self.new.axis(b);
        match (old, new) {
            (Op::Input(a), Op::Input(b)) => self.same_input(a.index(), b.index()),
            (Op::Param(a), Op::Param(b)) => self.same_name(Named::Parameter, a.index(), b.index()),
            (Op::State(a), Op::State(b)) => self.same_name(Named::State, a.index(), b.index()),
            (Op::Lookup { table: a, input: x }, Op::Lookup { table: b, input: y }) => {
                self.same_input(x.index(), y.index()) && self.same_name(Named::Table, a.index(), b.index())
            }
            (Op::Length(a), Op::Length(b))
            | (Op::Position(a), Op::Position(b))
            | (Op::SampleNumber(a), Op::SampleNumber(b))
            | (Op::Count(a), Op::Count(b))
            | (Op::Rename { to: a }, Op::Rename { to: b })
            | (Op::Unflatten { to: a }, Op::Unflatten { to: b })
            | (Op::Sum { to: a }, Op::Sum { to: b })
            | (Op::Max { to: a }, Op::Max { to: b }) => same_axis(*a, *b),
            // Which numbers are drawn is no matter of what is computed.
            (Op::DropoutMask { rate: a, .. }, Op::DropoutMask { rate: b, .. }) => a.to_bits() == b.to_bits(),
            (Op::Scan { scan: a, backward: x }, Op::Scan { scan: b, backward: y }) => {
                x == y && self.same_scan(*a, *b, open)
            }
            (Op::Previous { scan: a, backward: x }, Op::Previous { scan: b, backward: y }) => {
                x == y && self.same_scan(*a, *b, open)
            }
            (a, b) => a.key() == b.key(),
        }
    }

    fn same_input(&self, old: usize, new: usize) -> bool {
        self.old.input(&self.old.graph.inputs[old]) == self.new.input(&self.new.graph.inputs[new])
    }

    /// The end of a recurrence belongs to it, wherever the walk comes in.
    fn same_scan(&mut self, old: usize, new: usize, open: &mut Vec<(NodeId, NodeId)>) -> bool {
        if let Some(&known) = self.known.scans.get(&old) {
            return known == new;
        }
        self.known.scans.insert(old, new);
        match (self.old.graph.scans().get(&old), self.new.graph.scans().get(&new)) {
            (Some(&a), Some(&b)) => open.push((a, b)),
            (None, _) | (_, None) => return false,
        }
        true
    }

    fn same_name(&mut self, named: Named, old: usize, new: usize) -> bool {
        let (a, b) = (self.old.name(named, old).to_owned(), self.new.name(named, new).to_owned());
        if let Some(known) = self.known.renames.get(&(named, a.clone())) {
            return *known == b;
        }
        if a == b {
            return true;
        }
        let free = self.renaming && !self.new.has(named, &a) && !self.old.has(named, &b);
        if !free || !self.known.taken.insert((named, b.clone())) {
            return false;
        }
        self.known.renames.insert((named, a), b);
        true
    }
}
