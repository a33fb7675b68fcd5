//! Buffers and where they live: lifetimes are recorded while calls are emitted, then slots are
//! shared by a linear scan.

use din_program::schedule::{AxisId, Buffer, BufferId, Slot, SlotId, Storage};
use rustc_hash::FxHashMap;

/// A point in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SchedulePoint {
    phase: usize,
    call: usize,
}

#[derive(Clone, Copy, Debug)]
struct Lifetime {
    from: SchedulePoint,
    to: SchedulePoint,
}

/// All buffers of a schedule in the making.
#[derive(Debug, Default)]
pub struct BufferPlan {
    buffers: Vec<Buffer>,
    lives: Vec<Option<Lifetime>>,
    external: FxHashMap<Storage, BufferId>,
}

impl BufferPlan {
    fn add(&mut self, axis: AxisId, width: u32, place: Storage) -> BufferId {
        self.buffers.push(Buffer { axis, width, place });
        self.lives.push(None);
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// A buffer that the runtime provides; one for each place.
    pub fn external(&mut self, place: Storage, axis: AxisId, width: u32) -> BufferId {
        if let Some(&id) = self.external.get(&place) {
            return id;
        }
        let id = self.add(axis, width, place);
        self.external.insert(place, id);
        id
    }

    pub fn arena(&mut self, axis: AxisId, width: u32) -> BufferId {
        self.add(axis, width, Storage::Arena(SlotId(0)))
    }

    pub fn tile(&mut self, axis: AxisId, width: u32) -> BufferId {
        self.add(axis, width, Storage::Tile(SlotId(0)))
    }

    pub fn partial(&mut self, width: u32) -> BufferId {
        self.add(din_program::schedule::GLOBAL, width, Storage::Partial)
    }

    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.index()]
    }

    /// The phase that writes the buffer; the first where it is there before the step. `None` where
    /// that is not known.
    pub fn made(&self, id: BufferId) -> Option<usize> {
        match self.buffers[id.index()].place {
            Storage::Param(_) | Storage::State(_) => Some(0),
            Storage::Arena(_) => self.lives[id.index()].map(|life| life.from.phase),
            _ => None,
        }
    }

    /// The buffer is read or written by that call.
    pub fn touch(&mut self, id: BufferId, phase: usize, call: usize) {
        let at = SchedulePoint { phase, call };
        let life = self.lives[id.index()].get_or_insert(Lifetime { from: at, to: at });
        life.from = life.from.min(at);
        life.to = life.to.max(at);
    }

    /// Gives every arena and tile buffer its slot; returns buffers, arena slots and tile slots.
    pub fn finish(mut self) -> (Vec<Buffer>, Vec<Slot>, Vec<Slot>) {
        let mut arena: Vec<(Slot, usize)> = Vec::new();
        // Phase and call after which a tile slot is free again.
        let mut tile: Vec<(Slot, SchedulePoint)> = Vec::new();
        let mut order: Vec<usize> = (0..self.buffers.len()).filter(|&k| self.lives[k].is_some()).collect();
        order.sort_by_key(|&k| (self.lives[k].map(|l| l.from), k));
        for k in order {
            let Some(life) = self.lives[k] else { continue };
            let Buffer { axis, width, place } = self.buffers[k];
            let place = match place {
                Storage::Arena(_) => {
                    let free = |end: &usize| *end < life.from.phase;
                    Storage::Arena(take(&mut arena, axis, width, free, life.to.phase))
                }
                Storage::Tile(_) => {
                    let free = |end: &SchedulePoint| *end < life.from;
                    Storage::Tile(take(&mut tile, axis, width, free, life.to))
                }
                other => other,
            };
            self.buffers[k].place = place;
        }
        (self.buffers, arena.into_iter().map(|s| s.0).collect(), tile.into_iter().map(|s| s.0).collect())
    }
}

/// The narrowest free slot that is wide enough, else the widest free one made wider, else a new
/// one.
fn take<T>(slots: &mut Vec<(Slot, T)>, axis: AxisId, width: u32, free: impl Fn(&T) -> bool, end: T) -> SlotId {
    let mut best: Option<usize> = None;
    for (k, (slot, until)) in slots.iter().enumerate() {
        if slot.axis != axis || !free(until) {
            continue;
        }
        let better = match best.map(|b| slots[b].0.width) {
            None => true,
            Some(w) if w >= width => slot.width >= width && slot.width < w,
            Some(w) => slot.width > w,
        };
        if better {
            best = Some(k);
        }
    }
    match best {
        Some(k) => {
            slots[k].0.width = slots[k].0.width.max(width);
            slots[k].1 = end;
            SlotId(k as u32)
        }
        None => {
            slots.push((Slot { axis, width }, end));
            SlotId(slots.len() as u32 - 1)
        }
    }
}
