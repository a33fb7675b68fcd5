//! The update of one table: its row gradients are sorted and summed by row (`din_rows_*`), then the update's schedule runs over those rows.

use super::DeviceError;
use super::commands::{Kernels, List};
use super::driver::{Driver, Launch};
use super::held::DeviceTable;
use super::memory::{At, Bases, NONE, Space, bytes_of_mut};
use super::stage::{Given, Instances, Ready, Stage};
use din_program::cuda::{Cuda, Launches, RowsAddress, RowsLaunch, RowsWord, Word, row_launches};
use din_program::schedule::{BATCH, Place, Source};
use din_program::{Update, schema};

/// One feature of a table in a batch: row numbers, where the rows are ([`NONE`] where that is their number), the first gradient (`NONE` where none
/// flows) and the numbers from one to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeatureRows {
    pub rows: At,
    pub places: At,
    pub elements: usize,
    pub gradient: At,
    pub stride: u32,
}

/// What a table's update is made from.
pub(super) struct Wanted<'a> {
    pub cuda: &'a Cuda,
    pub launches: &'a Launches,
    pub update: &'a Update,
    pub spec: &'a schema::Table,
    pub held: &'a DeviceTable,
    pub features: &'a [FeatureRows],
    pub step: u64,
}

/// A table's update with its data staged.
#[derive(Debug)]
pub(super) struct TableUpdate {
    /// Index among the updates.
    pub update: usize,
    /// Row numbers that are sorted.
    pub occurrences: usize,
    space: Space,
    pub ready: Ready,
    /// With the words of each.
    launches: Vec<(RowsLaunch, At)>,
    /// As they are and with the roles of the two pairs changed.
    addresses: [At; 2],
    /// The word that says how many rows there are; the device writes it.
    elements: At,
}

impl TableUpdate {
    /// `None` where the batch has nothing to update.
    pub fn new(stage: &mut Stage, wanted: &Wanted<'_>) -> Result<Option<TableUpdate>, DeviceError> {
        let Wanted { spec, held, features, .. } = *wanted;
        let total: usize = features.iter().map(|f| f.elements).sum();
        if total == 0 && !spec.every_row {
            return Ok(None);
        }
        if total >= u32::MAX as usize {
            let why = format!("the batch reads table `{}` {total} times, expected fewer than 2^32 - 1", spec.name);
            return Err(DeviceError::Input(why));
        }
        let buckets = stage.space.buckets;
        // No bounds of its own: a sum has those of what it sums.
        let total_room: usize = features.iter().map(|f| buckets.room(f.elements)).sum();
        let total_room = total_room.min(u32::MAX as usize - 1);
        let (most, room) = if spec.every_row { (held.rows, buckets.room(held.rows)) } else { (total, total_room) };
        let (launches, counts) = row_launches(wanted.cuda, total_room as u32, held.rows as u32, spec.every_row);
        let mut space = Space::new(buckets);
        let gradient = At::Work(space.matrix(most, room, spec.width, "row gradients")?);
        let touched = At::Work(space.within(most, room, "touched")?);
        let index = At::Work(space.within(most, room, "row index")?);
        let begins = At::Work(space.within(most + 1, room + 1, "beginnings of rows")?);
        let mut sorting = [NONE; 4];
        for at in &mut sorting {
            *at = At::Work(space.within(total, total_room, "occurrences")?);
        }
        let counts = At::Work(space.exact(counts as usize, "counts of digits")?);
        let place = |place: Place| match place {
            Place::Weight => At::Fixed(held.weights.at),
            Place::Gradient => gradient,
            Place::Touched => touched,
            Place::UpdateSlot(k) => held.slots.get(k as usize).map_or(NONE, |b| At::Fixed(b.at)),
            Place::RowCount => At::Fixed(held.counts.at),
            Place::Touches => At::Fixed(held.touches.at),
            _ => NONE,
        };
        let source = |source: Source| if source == Source::RowIndex { index } else { NONE };
        let step = wanted.step;
        let given = Given { samples: most, room, layout: None, step, home: At::Work, place: &place, source: &source };
        let mut instances = Instances::default();
        instances.add(stage, &mut space, (wanted.cuda, wanted.launches, &wanted.update.schedule), &given)?;
        let ready = instances.ready(stage)?;

        let words = &wanted.launches.words;
        let elements = words.iter().position(|w| *w == Word::Elements(BATCH)).unwrap_or(words.len());
        let mut address = vec![NONE; RowsAddress::Features as usize];
        for (name, at) in [
            (RowsAddress::Keys, sorting[0]),
            (RowsAddress::Places, sorting[1]),
            (RowsAddress::OtherKeys, sorting[2]),
            (RowsAddress::OtherPlaces, sorting[3]),
            (RowsAddress::Counts, counts),
            (RowsAddress::Rows, index),
            (RowsAddress::Begins, begins),
            (RowsAddress::Gradient, gradient),
            (RowsAddress::Touched, touched),
            (RowsAddress::Touches, At::Fixed(held.touches.at)),
            (RowsAddress::Update, ready.words),
        ] {
            address[name as usize] = at;
        }
        let mut words = vec![0u32; RowsWord::Features as usize];
        words[RowsWord::Total as usize] = total as u32;
        words[RowsWord::Width as usize] = spec.width;
        words[RowsWord::TableRows as usize] = held.rows as u32;
        words[RowsWord::Elements as usize] = elements as u32;
        words.push(features.len() as u32);
        for f in features {
            address.extend([f.rows, f.gradient, f.places]);
            words.extend([f.elements as u32, f.stride]);
        }
        let as_they_are = stage.addresses(&address)?;
        address.swap(RowsAddress::Keys as usize, RowsAddress::OtherKeys as usize);
        address.swap(RowsAddress::Places as usize, RowsAddress::OtherPlaces as usize);
        let changed = stage.addresses(&address)?;
        let mut with_words = Vec::with_capacity(launches.len());
        for launch in launches {
            words[RowsWord::Shift as usize] = launch.shift;
            words[RowsWord::Count as usize] = launch.count;
            with_words.push((launch, stage.put(&words, "words of row gradients")?));
        }
        Ok(Some(TableUpdate {
            update: spec.update as usize,
            occurrences: total,
            elements: ready.words.plus(elements * 4),
            space,
            ready,
            launches: with_words,
            addresses: [as_they_are, changed],
        }))
    }

    /// Kernels that ready the gradients, once each.
    pub fn kernels(&self) -> Vec<&'static str> {
        let mut all: Vec<&'static str> = Vec::new();
        for (launch, _) in &self.launches {
            if !all.contains(&launch.kernel) {
                all.push(launch.kernel);
            }
        }
        all
    }

    /// Rows that were updated, once it ran.
    pub fn distinct<D: Driver>(&self, driver: &mut D, bases: &Bases) -> Result<usize, DeviceError> {
        let mut found = [0u32];
        driver.read(bases.resolve(self.elements), bytes_of_mut(&mut found))?;
        Ok(found[0] as usize)
    }

    /// Bytes of its work space.
    pub fn bytes(&self) -> usize {
        self.space.bytes
    }

    pub fn list<'a>(&self, list: &mut List<'a>, kernels: &Kernels<'a>) {
        let bases = *list.bases();
        list.arrays(&self.space, bases.work);
        for (launch, words) in &self.launches {
            list.launch(Launch {
                kernel: launch.kernel,
                location: kernels.location,
                grid: (launch.blocks, 1),
                threads: kernels.cuda.threads,
                shared: launch.shared,
                addresses: bases.resolve(self.addresses[usize::from(launch.swapped)]),
                words: bases.resolve(*words),
                scratch: 0,
            });
        }
        list.schedule(kernels, &self.ready);
    }
}
