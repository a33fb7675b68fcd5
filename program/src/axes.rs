//! Axes: what values have one element for, shared by the compiler's graph and the program's
//! schedules.
//!
//! ```text
//! global                       one element
//! ├── batch                    one per sample (in update programs: per row of a table)
//! │   ├── sequence             one per entry of a list of each sample; lists may nest
//! │   │   ├── second           the same entries under a second name
//! │   │   ├── steps            the same entries, numbered in the order of a recurrence
//! │   │   └── pairs            one per pair of entries of the same list
//! │   ├── fixed                one per entry of a list that has one length in all samples; has a
//! │   │                        second name and pairs as a sequence
//! │   └── pairs                one per pair of samples of the same request
//! ├── second                   the samples under a second name
//! ├── request                  one per request, where samples are grouped into requests
//! │   └── sequence             the entries of a common list, once per request
//! └── unique                   one per distinct combination of row numbers on another axis
//! ```
//!
//! A recurrence computes the state of an entry from that of the entry before. So that it advances
//! many lists at once, it numbers the entries otherwise: within each leaf of the batch first the
//! first entries of all lists, then all second ones, and so on; longer lists come first, equally
//! long ones in their order. The entries that a step treats then lie side by side, in the order of
//! those of the step before.
//!
//! The axes form a tree by [`AxisTree::parent`]. Two features add a second ancestor: the samples of
//! a request lie under its element of the request axis as well, and the entries of a common list
//! lie under those that are kept once per request. A pair of entries lies under its first entry,
//! and under its second entry on the axis of the second name. The samples of a request pair like
//! the entries of a list, and are meant where entries of pairs are spoken of. A unique axis is an
//! ancestor of the axis whose elements it joins. [`AxisTree::is_ancestor`] knows all of these.

use crate::schema::{Feature, Schema};
use serde::{Deserialize, Serialize};

/// Index of an axis in its [`AxisTree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AxisId(pub u32);

impl AxisId {
    /// As an index of a slice.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The axis with one element; the first of every tree.
pub const GLOBAL: AxisId = AxisId(0);
/// The samples of the batch, in update programs the rows; the second of every tree.
pub const BATCH: AxisId = AxisId(1);

/// Most keys of a unique axis.
pub const MAX_KEYS: usize = 32;

/// One axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// For messages: `global`, `batch`, `rows`, the name of a sequence.
    pub name: String,
    /// What its elements are.
    pub kind: AxisKind,
}

/// What the elements of an axis are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AxisKind {
    /// One element.
    Global,
    /// One per sample; each lies in one request where there is a request axis.
    Batch {
        /// The request axis.
        request: Option<AxisId>,
    },
    /// One per request: consecutive samples that agree in the common features.
    Request,
    /// One per entry of a list that each element of `parent` has.
    Sequence {
        /// Index into [`Schema::sequences`].
        sequence: u32,
        /// The axis whose elements have a list each.
        parent: AxisId,
        /// Of a common sequence, on the samples: the axis with its entries once per request.
        shared: Option<AxisId>,
    },
    /// One per entry of a list of `size` entries that each sample has: the model's own values, such
    /// as the vectors of its fields.
    Fixed {
        /// Entries of each sample, at least 1.
        size: u32,
    },
    /// The entries of `of` under a second name, by which they pair with those under the first; or
    /// the samples, where there are requests.
    Second {
        /// The axis of the entries.
        of: AxisId,
    },
    /// The entries of `of`, numbered in the order of a recurrence: see the module.
    Steps {
        /// The sequence.
        of: AxisId,
    },
    /// One per pair of entries of the same list: under each entry of `of`, all entries of its list.
    Pairs {
        /// The axis of the first entries.
        of: AxisId,
        /// The axis of the second entries: those of `of` under their second name.
        second: AxisId,
    },
    /// One per distinct combination of row numbers.
    Unique(UniqueKeys),
}

/// Elements of `over` whose row numbers agree in all keys are one element, in the order of their
/// first occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueKeys {
    /// The axis whose elements it joins.
    pub over: AxisId,
    /// (table, feature), at most [`MAX_KEYS`]; the features are on `over`.
    pub keys: Vec<(u32, u32)>,
}

/// The axes of a graph or of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AxisTree {
    axes: Vec<Axis>,
}

impl AxisTree {
    /// The global axis and one more, of kind [`AxisKind::Batch`]: `batch`, or `rows` in update
    /// programs.
    pub fn new(batch: impl Into<String>) -> AxisTree {
        let global = Axis { name: "global".into(), kind: AxisKind::Global };
        AxisTree { axes: vec![global, Axis { name: batch.into(), kind: AxisKind::Batch { request: None } }] }
    }

    /// The axes of update programs.
    pub fn rows() -> AxisTree {
        Self::new("rows")
    }

    /// The axes that the inputs of a model have: samples, the sequences in their order, then, where
    /// there are requests, the request axis and the entries of common sequences.
    pub fn of_schema(schema: &Schema) -> AxisTree {
        let mut axes = Self::new("batch");
        let mut common = Vec::new();
        for (sequence, s) in (0u32..).zip(&schema.sequences) {
            let axis = axes.add_sequence(s.name.clone(), sequence, BATCH);
            if s.common {
                common.push(axis);
            }
        }
        if schema.has_requests() {
            axes.add_requests(&common);
        }
        axes
    }

    /// Adds an axis; [`AxisTree::check`] says whether it fits.
    pub fn push(&mut self, axis: Axis) -> AxisId {
        self.axes.push(axis);
        AxisId(self.axes.len() as u32 - 1)
    }

    /// Adds the entries of a list that each element of `parent` has.
    pub fn add_sequence(&mut self, name: impl Into<String>, sequence: u32, parent: AxisId) -> AxisId {
        self.push(Axis { name: name.into(), kind: AxisKind::Sequence { sequence, parent, shared: None } })
    }

    /// Adds a list of `size` entries that each sample has.
    pub fn add_fixed(&mut self, name: impl Into<String>, size: u32) -> AxisId {
        self.push(Axis { name: name.into(), kind: AxisKind::Fixed { size } })
    }

    /// Adds the second name `name` of the entries of `of`, and the pairs of entries of each list.
    /// Returns both axes.
    pub fn add_pairs(&mut self, of: AxisId, name: &str) -> [AxisId; 2] {
        let first = if of == BATCH { "samples" } else { &self.axis(of).name }.to_owned();
        let second = self.push(Axis { name: name.into(), kind: AxisKind::Second { of } });
        let pairs = self.push(Axis { name: format!("pairs of {first}"), kind: AxisKind::Pairs { of, second } });
        [second, pairs]
    }

    /// Adds the entries of the sequence `of` in the order of a recurrence.
    pub fn add_steps(&mut self, of: AxisId) -> AxisId {
        let name = format!("steps of {}", self.axis(of).name);
        self.push(Axis { name, kind: AxisKind::Steps { of } })
    }

    /// Adds the request axis and, for each of the sequences in `common`, its entries once per
    /// request. Returns the request axis.
    pub fn add_requests(&mut self, common: &[AxisId]) -> AxisId {
        let request = self.push(Axis { name: "request".into(), kind: AxisKind::Request });
        self.axes[BATCH.index()].kind = AxisKind::Batch { request: Some(request) };
        for &on_samples in common {
            let AxisKind::Sequence { sequence, parent, .. } = self.axis(on_samples).kind else {
                panic!("axis {} is no sequence, so it has no entries per request", on_samples.0)
            };
            let shared = Some(self.add_sequence(self.axis(on_samples).name.clone(), sequence, request));
            self.axes[on_samples.index()].kind = AxisKind::Sequence { sequence, parent, shared };
        }
        request
    }

    /// Adds an axis of the distinct combinations of row numbers.
    pub fn add_unique(&mut self, keys: UniqueKeys) -> AxisId {
        let name = format!("unique {}", self.axis(keys.over).name);
        self.push(Axis { name, kind: AxisKind::Unique(keys) })
    }

    /// Number of axes.
    pub fn count(&self) -> usize {
        self.axes.len()
    }

    /// The ids of all axes, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = AxisId> + use<> {
        (0..self.axes.len() as u32).map(AxisId)
    }

    /// All axes in order, with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (AxisId, &Axis)> {
        self.ids().zip(&self.axes)
    }

    /// The axis, which must be one of this tree.
    pub fn axis(&self, id: AxisId) -> &Axis {
        &self.axes[id.index()]
    }

    /// The axis of that id; `None` where there is none.
    pub fn get(&self, id: AxisId) -> Option<&Axis> {
        self.axes.get(id.index())
    }

    /// For changes that [`AxisTree::check`] checks afterwards.
    pub fn get_mut(&mut self, id: AxisId) -> Option<&mut Axis> {
        self.axes.get_mut(id.index())
    }

    /// What the elements of an axis of this tree are.
    pub fn kind(&self, id: AxisId) -> &AxisKind {
        &self.axis(id).kind
    }

    /// The axis whose elements own this one's; `None` for the global axis alone.
    pub fn parent(&self, id: AxisId) -> Option<AxisId> {
        match *self.kind(id) {
            AxisKind::Global => None,
            AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Unique(_) => Some(GLOBAL),
            AxisKind::Sequence { parent, .. } => Some(parent),
            AxisKind::Fixed { .. } => Some(BATCH),
            AxisKind::Second { of } | AxisKind::Steps { of } => self.parent(of),
            AxisKind::Pairs { of, .. } => Some(of),
        }
    }

    /// Of pairs of entries: the axis of the second ones; `None` for any other axis.
    pub fn second_of_pairs(&self, id: AxisId) -> Option<AxisId> {
        match *self.kind(id) {
            AxisKind::Pairs { second, .. } => Some(second),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Unique(_) => None,
        }
    }

    /// The axis whose elements are those of `id` under their first name: `id` itself, but for a
    /// second name.
    pub fn first_name(&self, id: AxisId) -> AxisId {
        match *self.kind(id) {
            AxisKind::Second { of } => of,
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => id,
        }
    }

    /// The axis of the same elements under their first name and in their first order: `id` itself,
    /// but for a second name and for the steps of a recurrence.
    pub fn entries(&self, id: AxisId) -> AxisId {
        self.steps_of(id).unwrap_or_else(|| self.first_name(id))
    }

    /// Of the steps of a recurrence: the sequence; `None` for any other axis.
    pub fn steps_of(&self, id: AxisId) -> Option<AxisId> {
        match *self.kind(id) {
            AxisKind::Steps { of } => Some(of),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => None,
        }
    }

    /// The axes of the second name of an axis of entries and of their pairs; `None` without a
    /// second name.
    pub fn pairs(&self, of: AxisId) -> Option<[AxisId; 2]> {
        self.iter().find_map(|(id, axis)| match axis.kind {
            AxisKind::Pairs { of: first, second } => (first == of).then_some([second, id]),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Unique(_) => None,
        })
    }

    /// The second axis above: of the samples the requests, under either name; of a common sequence
    /// on the samples, in either order, its entries once per request.
    pub fn shared(&self, id: AxisId) -> Option<AxisId> {
        match *self.kind(id) {
            AxisKind::Batch { request } => request,
            AxisKind::Sequence { shared, .. } => shared,
            AxisKind::Second { of: BATCH } => self.request(),
            AxisKind::Steps { of } => self.shared(of),
            AxisKind::Global
            | AxisKind::Request
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => None,
        }
    }

    /// The axis, under its first name and in its first order, whose [`AxisTree::shared`] is `id`.
    pub fn sharers(&self, id: AxisId) -> Option<AxisId> {
        self.ids().find(|&below| self.entries(below) == below && self.shared(below) == Some(id))
    }

    /// The axis by which the entries of pairs lie side by side: their owners', or of samples the
    /// requests; `None` for entries that do not pair.
    pub fn lists(&self, entries: AxisId) -> Option<AxisId> {
        match *self.kind(entries) {
            AxisKind::Batch { request } => request,
            AxisKind::Sequence { parent, .. } => Some(parent),
            AxisKind::Fixed { .. } => Some(BATCH),
            AxisKind::Global
            | AxisKind::Request
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => None,
        }
    }

    /// The request axis, where there is one.
    pub fn request(&self) -> Option<AxisId> {
        self.shared(BATCH)
    }

    /// The keys of a unique axis; `None` for any other kind.
    pub fn unique(&self, id: AxisId) -> Option<&UniqueKeys> {
        match self.kind(id) {
            AxisKind::Unique(keys) => Some(keys),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => None,
        }
    }

    /// The unique axes, in order.
    pub fn uniques(&self) -> impl Iterator<Item = (AxisId, &UniqueKeys)> {
        self.ids().filter_map(|id| Some((id, self.unique(id)?)))
    }

    /// Of a fixed axis, and of its entries under a second name: how many each sample has; `None`
    /// for any other axis.
    pub fn fixed(&self, id: AxisId) -> Option<u32> {
        match *self.kind(id) {
            AxisKind::Fixed { size } => Some(size),
            AxisKind::Second { of } => self.fixed(of),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Sequence { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => None,
        }
    }

    /// Whether the elements are entries of lists that may have none, or pairs of such.
    pub fn may_be_empty(&self, id: AxisId) -> bool {
        match *self.kind(id) {
            AxisKind::Sequence { .. } => true,
            AxisKind::Second { of } | AxisKind::Steps { of } | AxisKind::Pairs { of, .. } => self.may_be_empty(of),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Fixed { .. }
            | AxisKind::Unique(_) => false,
        }
    }

    /// Whether the elements are entries of lists, or pairs of them.
    pub fn has_entries(&self, id: AxisId) -> bool {
        match self.kind(id) {
            AxisKind::Sequence { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => true,
            AxisKind::Global | AxisKind::Batch { .. } | AxisKind::Request | AxisKind::Unique(_) => false,
        }
    }

    /// Whether the elements are the entries of a common sequence, once per request.
    pub fn is_per_request(&self, id: AxisId) -> bool {
        match *self.kind(id) {
            AxisKind::Sequence { parent, .. } => Some(parent) == self.request(),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => false,
        }
    }

    /// The axis by which tiles of a phase over `id` are cut, so that no list crosses a tile: the
    /// samples, the requests, or the elements of a unique axis. The global axis counts to the
    /// samples.
    pub fn tile_axis(&self, id: AxisId) -> AxisId {
        match *self.kind(id) {
            AxisKind::Global | AxisKind::Batch { .. } | AxisKind::Fixed { .. } => BATCH,
            AxisKind::Request | AxisKind::Unique(_) => id,
            AxisKind::Sequence { parent, .. } => self.tile_axis(parent),
            AxisKind::Second { of } | AxisKind::Steps { of } | AxisKind::Pairs { of, .. } => self.tile_axis(of),
        }
    }

    /// The axis whose elements a segment sum over `into` adds up: those that share its elements.
    pub fn segment_source(&self, into: AxisId) -> Option<AxisId> {
        match self.kind(into) {
            AxisKind::Unique(keys) => Some(keys.over),
            AxisKind::Request | AxisKind::Sequence { .. } => self.sharers(into),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. } => None,
        }
    }

    /// The entries on the samples that belong to a common sequence's entries per request; any other
    /// axis itself.
    pub fn on_samples(&self, id: AxisId) -> AxisId {
        match self.kind(id) {
            AxisKind::Sequence { .. } => self.sharers(id).unwrap_or(id),
            AxisKind::Global
            | AxisKind::Batch { .. }
            | AxisKind::Request
            | AxisKind::Fixed { .. }
            | AxisKind::Second { .. }
            | AxisKind::Steps { .. }
            | AxisKind::Pairs { .. }
            | AxisKind::Unique(_) => id,
        }
    }

    /// Whether `a` is `b` or an ancestor of `b`.
    pub fn is_ancestor(&self, a: AxisId, b: AxisId) -> bool {
        a == b
            || [self.parent(b), self.shared(b), self.second_of_pairs(b)]
                .into_iter()
                .flatten()
                .any(|above| self.is_ancestor(a, above))
            // What joins the entries of a sequence joins them in any order.
            || self.unique(a).is_some_and(|keys| {
                self.is_ancestor(keys.over, b) || self.steps_of(b).is_some_and(|of| self.is_ancestor(keys.over, of))
            })
    }

    /// Whether each element of `of` lies under one of `to`, which is neither `of` nor the global
    /// axis, or is one of `to` by another number: where an index array says which.
    pub fn is_indexed(&self, of: AxisId, to: AxisId) -> bool {
        let renumbered = self.first_name(of) != self.first_name(to) && self.entries(of) == self.entries(to);
        of != to && to != GLOBAL && (self.is_ancestor(to, of) || renumbered)
    }

    /// The shallowest axis that both are ancestors of, or are; `None` where there is none.
    pub fn join(&self, a: AxisId, b: AxisId) -> Option<AxisId> {
        if self.is_ancestor(a, b) {
            return Some(b);
        }
        if self.is_ancestor(b, a) {
            return Some(a);
        }
        // Steps are a sequence's entries again: what is below two axes is the sequence.
        let places = self.ids().filter(|&d| self.steps_of(d).is_none());
        let below: Vec<AxisId> = places.filter(|&d| self.is_ancestor(a, d) && self.is_ancestor(b, d)).collect();
        below.iter().copied().find(|&d| below.iter().all(|&other| self.is_ancestor(d, other)))
    }

    /// The axis of a feature's values; `None` where the tree lacks it.
    pub fn feature(&self, feature: &Feature) -> Option<AxisId> {
        let on_samples = match feature.sequence {
            None => Some(BATCH),
            Some(s) => self.iter().find_map(|(id, axis)| match axis.kind {
                AxisKind::Sequence { sequence, parent, .. } => {
                    (sequence == s && Some(parent) != self.request()).then_some(id)
                }
                AxisKind::Global
                | AxisKind::Batch { .. }
                | AxisKind::Request
                | AxisKind::Fixed { .. }
                | AxisKind::Second { .. }
                | AxisKind::Steps { .. }
                | AxisKind::Pairs { .. }
                | AxisKind::Unique(_) => None,
            }),
        };
        if feature.common { on_samples.and_then(|id| self.shared(id)) } else { on_samples }
    }

    /// Whether the tree is one: every axis names axes that may be where it says. Errors say what is
    /// wrong, for a message about the graph or program that holds the tree.
    pub fn check(&self) -> Result<(), String> {
        let kinds: Vec<&AxisKind> = self.axes.iter().map(|a| &a.kind).collect();
        let [AxisKind::Global, AxisKind::Batch { .. }, rest @ ..] = kinds.as_slice() else {
            return Err("the first two axes must be the global axis and the batch".into());
        };
        if rest.iter().any(|k| matches!(k, AxisKind::Global | AxisKind::Batch { .. })) {
            return Err("there is one global axis and one batch".into());
        }
        for (id, axis) in self.iter() {
            // What owns an axis comes before it, so that no axis is its own ancestor.
            let earlier = |at: AxisId| at < id && at != GLOBAL;
            let plain = |at: AxisId| earlier(at) && self.unique(at).is_none();
            let fits = match &axis.kind {
                AxisKind::Global => true,
                AxisKind::Batch { request } => {
                    request.is_none_or(|r| self.get(r).is_some_and(|a| a.kind == AxisKind::Request))
                }
                AxisKind::Request => self.request() == Some(id),
                AxisKind::Sequence { sequence, parent, shared } => {
                    plain(*parent) && shared.is_none_or(|s| *parent == BATCH && self.is_shared_form(*sequence, s))
                }
                AxisKind::Fixed { size } => *size > 0,
                AxisKind::Second { of } => earlier(*of) && self.lists(*of).is_some(),
                AxisKind::Steps { of } => earlier(*of) && matches!(self.kind(*of), AxisKind::Sequence { .. }),
                AxisKind::Pairs { of, second } => {
                    earlier(*second)
                        && *self.kind(*second) == AxisKind::Second { of: *of }
                        && self.pairs(*of).is_some_and(|[_, pairs]| pairs == id)
                }
                AxisKind::Unique(UniqueKeys { over, .. }) => plain(*over),
            };
            if !fits {
                return Err(format!("axis {} cannot be {:?}", id.0, axis.kind));
            }
            if let AxisKind::Unique(UniqueKeys { keys, .. }) = &axis.kind
                && !(1..=MAX_KEYS).contains(&keys.len())
            {
                return Err(format!("axis {} has {} keys, where it may have 1 to {MAX_KEYS}", id.0, keys.len()));
            }
            let shares = |below: &AxisId| self.entries(*below) == *below && self.shared(*below) == Some(id);
            let sharing = self.ids().filter(shares).count();
            if sharing > 1 {
                return Err(format!("{sharing} axes share the entries of axis {}", id.0));
            }
        }
        Ok(())
    }

    /// Whether `shared` has the entries of `sequence` once per request.
    fn is_shared_form(&self, sequence: u32, shared: AxisId) -> bool {
        let wanted = self.request().map(|parent| AxisKind::Sequence { sequence, parent, shared: None });
        self.get(shared).is_some_and(|axis| Some(&axis.kind) == wanted.as_ref())
    }
}

#[cfg(test)]
mod tests;
