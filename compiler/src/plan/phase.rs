//! Which items run in which phase, and at which level within it.
//!
//! A phase walks one axis. An item joins a phase when all it needs is done, or computed earlier in
//! the same phase and usable there (what is joined from chunks is not). Values that are cheap to
//! compute from gathers, or from what is stored anyway, are computed anew in each phase that needs
//! them rather than stored. Within a phase, items of one level do not depend on each other through
//! memory: element-wise items of equal axis, width and level become one region.

use super::item::{Destination, ElementwiseOp, OperandSource, WorkItem, WorkItemId, WorkKind, WorkList, WorkOperand};
use crate::elementwise::Cost;
use din_program::schedule::{AxisId, BATCH, GLOBAL};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::ops::Range;

/// Items of one phase, in an order that respects needs.
#[derive(Clone, Debug)]
pub struct PhaseItems {
    pub axis: AxisId,
    pub items: Vec<WorkItemId>,
}

/// Splits the items into phases. Fails only on a cycle, which `verify` rules out.
pub fn phases(all: &WorkList) -> Option<Vec<PhaseItems>> {
    let n = all.items.len();
    let mut phase_of: Vec<Option<usize>> = vec![None; n];
    let mut groups: Vec<PhaseItems> = Vec::new();
    // Requests, what is theirs, and unique axes before the samples, which read them.
    let by_samples = |d: &AxisId| all.axes.tile_axis(*d) == BATCH;
    let (last, first): (Vec<AxisId>, Vec<AxisId>) = all.axes.ids().skip(1).partition(by_samples);
    let axes: Vec<AxisId> = [GLOBAL].into_iter().chain(first).chain(last).collect();
    let mut together: FxHashMap<Option<usize>, Vec<WorkItemId>> = FxHashMap::default();
    for (k, item) in all.items.iter().enumerate().filter(|(_, item)| item.recurrence.is_some()) {
        together.entry(item.recurrence).or_default().push(WorkItemId(k));
    }
    let mut done = 0;
    while done < n {
        let before = done;
        for &d in &axes {
            let number = groups.len();
            let mut members = Vec::new();
            for (k, item) in all.items.iter().enumerate() {
                if phase_of[k].is_some() || item.axis != d {
                    continue;
                }
                let is_usable = |need: WorkItemId, item: &WorkItem| match phase_of[need.0] {
                    None => false,
                    Some(p) if p == number => usable_in_phase(all, need, item),
                    Some(_) => true,
                };
                let available = |item: &WorkItem| item.needs().all(|need| is_usable(need, item));
                // The parts of a concat are written where its buffer is made, and the items of a
                // recurrence run together: all in one phase.
                let ready = match item.into {
                    _ if item.recurrence.is_some() => {
                        let whole = &together[&item.recurrence];
                        let inside = |need: WorkItemId| all.items[need.0].recurrence == item.recurrence;
                        let ready = whole.iter().all(|of| {
                            let of = &all.items[of.0];
                            of.needs().all(|need| inside(need) || is_usable(need, of))
                        });
                        if ready {
                            whole.iter().for_each(|of| phase_of[of.0] = Some(number));
                            members.extend(whole);
                            done += whole.len();
                        }
                        continue;
                    }
                    Some(Destination::Concat { item: concat, .. }) => {
                        let parts = &all.items[concat.0].after;
                        parts.iter().all(|p| available(&all.items[p.0]))
                    }
                    Some(Destination::External { .. }) | None => available(item),
                };
                if ready {
                    phase_of[k] = Some(number);
                    members.push(WorkItemId(k));
                    done += 1;
                }
            }
            if !members.is_empty() {
                groups.push(PhaseItems { axis: d, items: members });
                // Cheap axes first: start again from `once` after every phase.
                break;
            }
        }
        if done == before {
            return None;
        }
    }
    Some(groups)
}

fn usable_in_phase(all: &WorkList, need: WorkItemId, user: &WorkItem) -> bool {
    let of_second = |o: &WorkOperand| o.second && o.src == OperandSource::Item(need);
    let need = &all.items[need.0];
    if need.joins_chunks() {
        return false;
    }
    // Recurrences run last in their phase, one after the other.
    if need.recurrence.is_some() && need.recurrence != user.recurrence {
        return false;
    }
    // A tile of pairs has all pairs of some first entries; their second entries may be in other
    // tiles.
    if all.axes.second_of_pairs(user.axis).is_some() && user.operands.iter().any(of_second) {
        return false;
    }
    // A transposed weight is made in a phase before.
    !(matches!(user.kind, WorkKind::MatMulT { .. }) && need.axis == GLOBAL && user.axis == GLOBAL)
}

/// Most element-wise operations worth repeating instead of storing a value.
const CHEAP: usize = 8;
/// The same for values over pairs of entries, of which a batch has more than of any other element.
const CHEAP_PAIRS: usize = 64;

/// See [`CHEAP`].
fn cheap(all: &WorkList, axis: AxisId) -> usize {
    if all.axes.second_of_pairs(axis).is_some() { CHEAP_PAIRS } else { CHEAP }
}

/// Gives every phase its own copy of the cheap values that it reads from earlier phases.
pub fn rematerialise(all: &mut WorkList, groups: &mut [PhaseItems]) {
    let mut phase_of: FxHashMap<WorkItemId, usize> = FxHashMap::default();
    for (p, g) in groups.iter().enumerate() {
        for &i in &g.items {
            phase_of.insert(i, p);
        }
    }
    let stored = stored(all, groups, &phase_of);
    for (p, group) in groups.iter_mut().enumerate() {
        let mut copies: FxHashMap<WorkItemId, WorkItemId> = FxHashMap::default();
        let mut members = Vec::new();
        for &i in &group.items.clone() {
            for o in 0..all.items[i.0].operands.len() {
                let OperandSource::Item(source) = all.items[i.0].operands[o].src else { continue };
                if phase_of[&source] == p || all.items[source.0].axis != group.axis || group.axis == GLOBAL {
                    continue;
                }
                if let Some(copy) = clone_cheap(all, source, &stored, &mut copies, &mut members) {
                    all.items[i.0].operands[o].src = OperandSource::Item(copy);
                }
            }
            members.push(i);
        }
        for &m in &members {
            phase_of.insert(m, p);
        }
        group.items = members;
    }
}

/// Items that another phase reads and that are not cheap to compute anew: these cross phases in
/// memory. Cheap ones may begin at them.
fn stored(all: &WorkList, groups: &[PhaseItems], phase_of: &FxHashMap<WorkItemId, usize>) -> FxHashSet<WorkItemId> {
    let mut crossing: FxHashSet<WorkItemId> = FxHashSet::default();
    for (p, group) in groups.iter().enumerate() {
        for &i in &group.items {
            crossing.extend(all.items[i.0].needs().filter(|need| phase_of[need] != p));
        }
    }
    let mut stored = FxHashSet::default();
    for &i in groups.iter().flat_map(|g| &g.items).filter(|i| crossing.contains(i)) {
        if cheap_cost(all, i, &stored, cheap(all, all.items[i.0].axis)).is_none() {
            stored.insert(i);
        }
    }
    stored
}

/// Cost of computing an item from gathers, externals and stored values alone, in element-wise
/// operations; `None` where that is not cheap.
fn cheap_cost(all: &WorkList, id: WorkItemId, stored: &FxHashSet<WorkItemId>, limit: usize) -> Option<usize> {
    let item = &all.items[id.0];
    let pairs = all.axes.second_of_pairs(item.axis).is_some();
    let own = match item.kind {
        WorkKind::Elementwise(ElementwiseOp::Unary(op)) if op.description().cost == Cost::Expensive && !pairs => {
            return None;
        }
        WorkKind::Elementwise(ElementwiseOp::DropoutMask { .. }) if !pairs => return None,
        WorkKind::RowSum if pairs => 1,
        WorkKind::Elementwise(_) => 1,
        WorkKind::Concat => 0,
        WorkKind::MatMul { .. }
        | WorkKind::MatMulT { .. }
        | WorkKind::Outer { .. }
        | WorkKind::Absorbed { .. }
        | WorkKind::Sum { .. }
        | WorkKind::Max { .. }
        | WorkKind::SegmentReduce(_)
        | WorkKind::RowSum
        | WorkKind::Carry
        | WorkKind::Unflatten
        | WorkKind::Flatten
        | WorkKind::Statistic(_) => return None,
    };
    let mut cost = own;
    for need in item.needs() {
        // What lies in a shallower axis is small and already stored.
        if all.items[need.0].axis != item.axis || stored.contains(&need) {
            continue;
        }
        cost += cheap_cost(all, need, stored, limit.checked_sub(cost)?)?;
    }
    (cost <= limit).then_some(cost)
}

fn clone_cheap(
    all: &mut WorkList,
    id: WorkItemId,
    stored: &FxHashSet<WorkItemId>,
    copies: &mut FxHashMap<WorkItemId, WorkItemId>,
    members: &mut Vec<WorkItemId>,
) -> Option<WorkItemId> {
    if let Some(&copy) = copies.get(&id) {
        return Some(copy);
    }
    cheap_cost(all, id, stored, cheap(all, all.items[id.0].axis))?;
    let mut item = all.items[id.0].clone();
    // Computed anew outside of its recurrence, whose states are stored.
    item.recurrence = None;
    for o in &mut item.operands {
        if let OperandSource::Item(need) = o.src
            && all.items[need.0].axis == item.axis
            && !stored.contains(&need)
        {
            o.src = OperandSource::Item(clone_cheap(all, need, stored, copies, members)?);
        }
    }
    let parts: Vec<WorkItemId> = std::mem::take(&mut item.after);
    for part in parts {
        item.after.push(clone_cheap(all, part, stored, copies, members)?);
    }
    all.items.push(item);
    let copy = WorkItemId(all.items.len() - 1);
    for k in 0..all.items[copy.0].after.len() {
        let part = all.items[copy.0].after[k];
        if let Some(Destination::Concat { item, .. }) = &mut all.items[part.0].into {
            *item = copy;
        }
    }
    copies.insert(id, copy);
    members.push(copy);
    Some(copy)
}

/// Drops items that nothing needs any more; keeps roots and commits.
pub fn prune(all: &WorkList, groups: &mut Vec<PhaseItems>) {
    let mut live = vec![false; all.items.len()];
    let mut stack: Vec<WorkItemId> = Vec::new();
    for root in all.roots.iter().flatten() {
        if let OperandSource::Item(i) = root.src {
            stack.push(i);
        }
    }
    for (k, item) in all.items.iter().enumerate() {
        if matches!(item.into, Some(Destination::External { .. })) {
            stack.push(WorkItemId(k));
        }
    }
    while let Some(i) = stack.pop() {
        if !std::mem::replace(&mut live[i.0], true) {
            let item = &all.items[i.0];
            stack.extend(item.needs().chain(item.carried.iter().filter_map(WorkOperand::item)));
        }
    }
    for g in groups.iter_mut() {
        g.items.retain(|i| live[i.0]);
    }
    groups.retain(|g| !g.items.is_empty());
}

/// Whether `user`, iterating its axis and width, may read `operand` of item `need` from a register
/// of the same region.
pub fn fuses(need: &WorkItem, operand: &WorkOperand, user: &WorkItem) -> bool {
    let computed = matches!(need.kind, WorkKind::Elementwise(_)) && need.into.is_none();
    let same = need.axis == user.axis && need.width == user.width;
    computed && user.is_in_a_region() && same && operand.column == 0 && operand.width == need.width
}

/// When the items of a phase run.
pub struct PhaseLevels {
    pub levels: FxHashMap<WorkItemId, u32>,
    /// In order.
    pub recurrences: Vec<RecurrenceLevels>,
}

/// The levels that only the items of a recurrence have.
pub struct RecurrenceLevels {
    pub levels: Range<u32>,
    pub backward: bool,
}

/// Level of every item of a phase: first those outside of recurrences, then each recurrence.
pub fn levels(all: &WorkList, group: &PhaseItems) -> PhaseLevels {
    let part = |recurrence: Option<usize>| PhaseItems {
        axis: group.axis,
        items: group.items.iter().copied().filter(|i| all.items[i.0].recurrence == recurrence).collect(),
    };
    let mut found = PhaseLevels { levels: levels_of(all, &part(None)), recurrences: Vec::new() };
    // What follows the last level puts its maxima right.
    let mut next = found.levels.values().max().map_or(0, |last| last + 2);
    for (k, recurrence) in all.recurrences.iter().enumerate() {
        let members = part(Some(k));
        let own = levels_of(all, &members);
        let Some(last) = own.values().max() else { continue };
        let levels = next..next + last + 1;
        found.levels.extend(own.into_iter().map(|(item, level)| (item, levels.start + level)));
        next = levels.end;
        found.recurrences.push(RecurrenceLevels { levels, backward: recurrence.backward });
    }
    found
}

fn levels_of(all: &WorkList, group: &PhaseItems) -> FxHashMap<WorkItemId, u32> {
    let mut level: FxHashMap<WorkItemId, u32> = FxHashMap::default();
    for &i in &group.items {
        let item = &all.items[i.0];
        let mut at = 0;
        for o in &item.operands {
            if let OperandSource::Item(need) = o.src
                && let Some(&l) = level.get(&need)
            {
                let from = &all.items[need.0];
                at = at.max(if fuses(from, o, item) { l } else { l + ready_after(from) });
            }
        }
        for need in &item.after {
            if let Some(&l) = level.get(need) {
                let from = &all.items[need.0];
                let together = same_region(from, item) && item.kind != WorkKind::Concat;
                at = at.max(if together { l } else { l + ready_after(from) });
            }
        }
        level.insert(i, at);
    }
    sink(all, group, &mut level);
    split(all, group, &mut level);
    level
}

/// Most items of one region. The time that allocating registers takes grows faster than the kernel:
/// a model whose largest has 3,100 instructions unsplit compiles in 0.4 times its time once split.
/// The regions of `models/` have 30 instructions at most.
pub const MAX_REGION_ITEMS: u32 = 256;

/// Cuts what would be one region of more than [`MAX_REGION_ITEMS`] items into several, at levels of
/// their own that follow one another. What goes from one to the next is stored between them.
fn split(all: &WorkList, group: &PhaseItems, level: &mut FxHashMap<WorkItemId, u32>) {
    // By level, axis and width of a region: its items so far.
    let mut sizes: FxHashMap<(u32, AxisId, u32), u32> = FxHashMap::default();
    // By level: the levels that it becomes. By item of a region: which of them.
    let mut parts: BTreeMap<u32, u32> = level.values().map(|&l| (l, 1)).collect();
    let mut part: FxHashMap<WorkItemId, u32> = FxHashMap::default();
    for &i in &group.items {
        let item = &all.items[i.0];
        if item.is_in_a_region() {
            let at = level[&i];
            let size = sizes.entry((at, item.axis, item.width)).or_default();
            let own = *size / MAX_REGION_ITEMS;
            *size += 1;
            part.insert(i, own);
            parts.entry(at).and_modify(|n| *n = (*n).max(own + 1));
        }
    }
    // By level: the first of the levels that it becomes. Gaps between levels stay.
    let mut added = 0;
    let first: FxHashMap<u32, u32> = parts
        .iter()
        .map(|(&l, &n)| {
            let first = l + added;
            added += n - 1;
            (l, first)
        })
        .collect();
    for (i, l) in level.iter_mut() {
        *l = first[l] + part.get(i).copied().unwrap_or(0);
    }
}

/// Levels that pass before a result can be read from memory.
fn ready_after(item: &WorkItem) -> u32 {
    match item.kind {
        // The maximum of nothing is put right by a region of its own.
        WorkKind::Max { .. } => 2,
        // A concat does nothing itself: its parts wrote.
        WorkKind::Concat => 0,
        WorkKind::Elementwise(_)
        | WorkKind::MatMul { .. }
        | WorkKind::MatMulT { .. }
        | WorkKind::Outer { .. }
        | WorkKind::Absorbed { .. }
        | WorkKind::Sum { .. }
        | WorkKind::SegmentReduce(_)
        | WorkKind::RowSum
        | WorkKind::Carry
        | WorkKind::Unflatten
        | WorkKind::Flatten
        | WorkKind::Statistic(_) => 1,
    }
}

fn same_region(a: &WorkItem, b: &WorkItem) -> bool {
    matches!(a.kind, WorkKind::Elementwise(_))
        && matches!(b.kind, WorkKind::Elementwise(_))
        && a.axis == b.axis
        && a.width == b.width
}

/// Moves element-wise items down to the first level that reads them, so that they fuse there
/// instead of being stored.
fn sink(all: &WorkList, group: &PhaseItems, level: &mut FxHashMap<WorkItemId, u32>) {
    let mut users: FxHashMap<WorkItemId, Vec<WorkItemId>> = FxHashMap::default();
    for &i in &group.items {
        for need in all.items[i.0].needs() {
            users.entry(need).or_default().push(i);
        }
    }
    for &i in group.items.iter().rev() {
        let item = &all.items[i.0];
        if !matches!(item.kind, WorkKind::Elementwise(_)) || item.into.is_some() {
            continue;
        }
        let Some(users) = users.get(&i) else { continue };
        let into_maps = users.iter().all(|u| {
            let user = &all.items[u.0];
            let operand = user.operands.iter().find(|o| o.src == OperandSource::Item(i));
            matches!(user.kind, WorkKind::Elementwise(_))
                && operand.is_none_or(|o| fuses(item, o, user))
                && same_region(item, user)
        });
        if !into_maps {
            continue;
        }
        if let Some(lowest) = users.iter().filter_map(|u| level.get(u)).min().copied() {
            let own = level.entry(i).or_insert(lowest);
            *own = (*own).max(lowest);
        }
    }
}
