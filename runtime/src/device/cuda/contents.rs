//! The numbers of a step's write: where each array's come from, and how they get into the memory from which the device takes them, once and by
//! several threads.
//!
//! Row numbers are checked on their way, against the rows of their table: the device sees none of them before all are known to be sound.

use super::held::DeviceTable;
use super::memory::{Bases, words_of};
use super::stage::{Stage, members, offsets};
use crate::engine::{Layout, StepInputs};
use crate::lanes;
use crate::spread::spread;
use din_program::schedule::Domain;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where numbers are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbers {
    /// The stage's own words and addresses, from a position on; bounds of a tiling.
    Own(usize),
    Addresses(usize),
    Tiles(usize),
    /// Row numbers of a feature, by its position in the table, and where the rows are.
    Rows {
        table: usize,
        feature: usize,
    },
    Places {
        table: usize,
        feature: usize,
    },
    /// The same of a key of a group.
    GroupRows {
        table: usize,
        group: u32,
        key: usize,
    },
    GroupPlaces {
        table: usize,
        group: u32,
        key: usize,
    },
    Dense(usize),
    Label(usize),
    Present(usize),
    Zeros,
    /// Of the layout.
    Offsets(Domain),
    Members(Domain),
    Lengths(Domain),
    Above {
        of: Domain,
        to: Domain,
    },
}

/// An array of a step's write, in numbers of 4 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub at: usize,
    pub count: usize,
    pub numbers: Numbers,
}

/// What a step's numbers are copied from.
pub(super) struct Contents<'a> {
    pub stage: &'a Stage,
    pub inputs: &'a StepInputs<'a>,
    pub layout: &'a Layout,
    pub tables: &'a [DeviceTable],
    pub bases: Bases,
}

/// Numbers that a thread takes at a time.
const CHUNK: usize = 32 << 10;

/// From so many bytes on, columns go past the caches: the device reads them from memory, and they would drive out what the next step reads.
const STREAM: usize = 8 << 20;

impl Contents<'_> {
    /// Copies all of it; false where a row number is none of its table.
    pub fn copy(&self, to: &mut [u32]) -> bool {
        let numbers = self.stage.space.bytes / 4;
        let Some(to) = to.get_mut(..numbers) else { return false };
        let chunks: Vec<Mutex<&mut [u32]>> = to.chunks_mut(CHUNK).map(Mutex::new).collect();
        let sound = AtomicBool::new(true);
        spread(chunks.len(), &|k| {
            let copied = chunks[k].lock().is_ok_and(|mut to| self.copy_chunk(k * CHUNK, &mut to));
            if !copied {
                sound.store(false, Ordering::Relaxed);
            }
        });
        sound.into_inner()
    }

    /// What belongs to the numbers from `begin` on.
    fn copy_chunk(&self, begin: usize, to: &mut [u32]) -> bool {
        let (parts, end) = (&self.stage.parts, begin + to.len());
        let first = parts.partition_point(|p| p.at + p.count <= begin);
        let mut sound = true;
        for part in parts[first..].iter().take_while(|p| p.at < end) {
            let (from, until) = (part.at.max(begin), (part.at + part.count).min(end));
            sound &= self.copy_part(part.numbers, from - part.at, &mut to[from - begin..until - begin]);
        }
        sound
    }

    /// Some of an array, from its number `first` on.
    fn copy_part(&self, numbers: Numbers, first: usize, to: &mut [u32]) -> bool {
        let end = first + to.len();
        let (inputs, layout) = (self.inputs, self.layout);
        let group = |group, key: usize| layout.group(group).map_or(&[][..], |g| &g.rows[key][first..end]);
        match numbers {
            Numbers::Own(at) => to.copy_from_slice(&self.stage.own[at + first..at + end]),
            Numbers::Addresses(at) => {
                // They begin and end at even numbers, as chunks do.
                let addresses = &self.stage.addresses[at + first / 2..at + end / 2];
                for (to, &address) in to.as_chunks_mut::<2>().0.iter_mut().zip(addresses) {
                    to.copy_from_slice(words_of(&[self.bases.resolve(address)]));
                }
            }
            Numbers::Tiles(k) => to.copy_from_slice(&self.stage.tiles[k][first..end]),
            Numbers::Rows { table, feature } => {
                return self.copy_rows(table, &inputs.row_numbers[table][feature][first..end], to);
            }
            Numbers::GroupRows { table, group: g, key } => return self.copy_rows(table, group(g, key), to),
            Numbers::Places { table, feature } => {
                self.copy_places(table, &inputs.row_numbers[table][feature][first..end], to);
            }
            Numbers::GroupPlaces { table, group: g, key } => self.copy_places(table, group(g, key), to),
            Numbers::Dense(k) => to.copy_from_slice(&words_of(&inputs.dense[k])[first..end]),
            Numbers::Label(k) => to.copy_from_slice(&words_of(&inputs.labels[k])[first..end]),
            Numbers::Present(k) => to.copy_from_slice(&words_of(&inputs.present[k])[first..end]),
            Numbers::Zeros => to.fill(0),
            Numbers::Offsets(d) => to.copy_from_slice(&offsets(layout, d)[first..end]),
            Numbers::Members(d) => to.copy_from_slice(&members(layout, d)[first..end]),
            Numbers::Lengths(d) => {
                let lengths = offsets(layout, d)[first..=end].windows(2).map(|w| (w[1] - w[0]) as f32);
                to.iter_mut().zip(lengths).for_each(|(to, length)| *to = length.to_bits());
            }
            Numbers::Above { of, to: above } => layout.above(of, above, first, to),
        }
        true
    }

    fn copy_rows(&self, table: usize, rows: &[u32], to: &mut [u32]) -> bool {
        let most =
            if self.stage.space.bytes > STREAM { lanes::stream_max(rows, to) } else { lanes::copy_max(rows, to) };
        (most as usize) < self.tables[table].rows
    }

    fn copy_places(&self, table: usize, rows: &[u32], to: &mut [u32]) {
        if let Some(cache) = &self.tables[table].cache {
            to.iter_mut().zip(cache.places_of(rows)).for_each(|(to, place)| *to = place);
        }
    }
}
