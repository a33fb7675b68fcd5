//! Tests of tables: first sight, evaluation, independence of arrival, counting, loading.
use super::*;
use crate::batch::Batch;
use crate::threads::Threads;
use din_program::schema::{Feature, FeatureKind, FeatureSource, Init, KeyType, Schema, Sequence, UpdateRule};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

mod shards;

fn spec(name: &str, kind: TableKind, init: Init) -> schema::TableSpec {
    schema::TableSpec {
        name: name.into(),
        width: 5,
        kind,
        init,
        features: vec![0, 1],
        update: 0,
        reads_frequency: true,
        update_rule: UpdateRule::Sparse,
        frozen: false,
        vectors: None,
        admission: None,
        location: "t.din:1:1".into(),
    }
}

const DYNAMIC: TableKind = TableKind::Dynamic { key: KeyType::Int64 };

fn adam() -> Vec<UpdateSlot> {
    let slot = |name: &str, per, init| UpdateSlot { name: name.into(), per, init };
    vec![slot("m", SlotScope::Weight, 0.0), slot("s", SlotScope::Row, 0.5), slot("t", SlotScope::Tensor, 2.0)]
}

fn row(table: &Table, row: u32) -> &[f32] {
    &table.weights()[row as usize * table.width()..][..table.width()]
}

#[test]
fn a_new_id_has_its_own_row_at_once_and_evaluation_inserts_nothing() {
    let mut table = Table::new(&spec("good", DYNAMIC, Init::Normal(1.0)), &adam(), 7).unwrap();
    let mut rows = vec![9; 3];
    table.resolve_read(&[10], &mut rows).unwrap();
    assert_eq!(rows, [0], "nothing was trained");
    table.resolve_train(&[10, 20, 10], &mut rows).unwrap();
    assert_eq!(rows, [1, 2, 1]);
    table.resolve_train(&[20, 30], &mut rows).unwrap();
    assert_eq!(rows, [2, 3], "another feature of the same batch");
    table.resolve_read(&[40, 10, u64::MAX], &mut rows).unwrap();
    assert_eq!(rows, [0, 1, 0]);
    assert_eq!((table.rows(), table.ids()), (4, 3), "reading inserts nothing");
    assert_eq!(table.slot(0), [0.0; 20]);
    assert_eq!(table.slot(1), [0.5; 4]);
    assert_eq!(table.slot(2), [2.0]);
    assert_eq!(table.frequency().len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The OOV row against a plain mean in f64, and to the bit whatever the order of the rows.
    #[test]
    fn the_oov_row_is_the_mean_of_rare_ids(
        given in prop::collection::btree_map(any::<u64>(), (0u8..8, prop::array::uniform5(-3.0f32..3.0)), 0..60),
    ) {
        let of = |ids: &[u64]| {
            let mut table = Table::new(&spec("good", DYNAMIC, Init::Normal(1.0)), &adam(), 7).unwrap();
            for &id in ids {
                let row = table.insert_loaded(id, true).unwrap() as usize;
                table.updates_mut()[row] = f32::from(given[&id].0);
                table.weights_mut()[row * 5..(row + 1) * 5].copy_from_slice(&given[&id].1);
            }
            table.fill_oov_row(&Threads::caller());
            let settled = row(&table, 0).to_vec();
            table.fill_oov_row(&Threads::caller());
            assert_eq!(settled, row(&table, 0), "settling twice changes nothing more");
            table.clear_oov_row();
            assert_eq!(row(&table, 0), [0.0; 5], "training does not see it");
            settled
        };
        let mut ids: Vec<u64> = given.keys().copied().collect();
        let settled = of(&ids);
        ids.reverse();
        prop_assert_eq!(&settled, &of(&ids));
        // Rare: 1 to 3 updates. An id without an update, known from the counting pass alone, takes
        // no part.
        let rare: Vec<_> = given.values().filter(|(updates, _)| (1..=3).contains(updates)).collect();
        let trained: Vec<_> = given.values().filter(|(updates, _)| *updates > 0).collect();
        let of = if rare.is_empty() { trained } else { rare };
        for k in 0..5 {
            let mean = of.iter().map(|(_, w)| f64::from(w[k])).sum::<f64>() / of.len() as f64;
            let expected = if of.is_empty() { 0.0 } else { mean };
            prop_assert!((f64::from(settled[k]) - expected).abs() < 1e-6, "{} {expected}", settled[k]);
        }
    }
}

#[test]
fn values_that_are_no_numbers_or_huge_do_not_upset_the_oov_row() {
    let mut table = Table::new(&spec("good", DYNAMIC, Init::Normal(1.0)), &adam(), 7).unwrap();
    for (id, value) in [(1, f32::NAN), (2, f32::INFINITY), (3, f32::MIN), (4, f32::MAX)] {
        let row = table.insert_loaded(id, true).unwrap() as usize;
        table.updates_mut()[row] = 1.0;
        table.weights_mut()[row * 5..(row + 1) * 5].fill(value);
    }
    table.fill_oov_row(&Threads::caller());
    assert!(row(&table, 0).iter().all(|w| w.is_finite()));
}

#[test]
fn every_u64_is_an_id() {
    let mut table = Table::new(&spec("edge", DYNAMIC, Init::Normal(1.0)), &[], 7).unwrap();
    let ids = [0, 1, u64::MAX, u64::MAX - 1, 1 << 63];
    let mut rows = Vec::new();
    table.resolve_train(&ids, &mut rows).unwrap();
    table.resolve_train(&ids, &mut rows).unwrap();
    assert_eq!(rows, [1, 2, 3, 4, 5]);
    assert_ne!(row(&table, 0), row(&table, 1), "id 0 is not the OOV row");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn initial_values_do_not_depend_on_arrival(
        mut ids in prop::collection::vec(any::<u64>(), 1..200),
        seed in any::<u64>(),
    ) {
        let of = |order: &[u64]| {
            let mut table = Table::new(&spec("good", DYNAMIC, Init::Normal(0.1)), &adam(), seed).unwrap();
            for chunk in order.chunks(7) {
                table.resolve_train(chunk, &mut Vec::new()).unwrap();
            }
            let keys = table.in_key_order();
            assert!(keys.iter().all(|k| k.2) && keys.windows(2).all(|w| w[0].0 < w[1].0));
            let values: BTreeMap<u64, Vec<f32>> = keys.iter().map(|&(k, r, _)| (k, row(&table, r).to_vec())).collect();
            (row(&table, 0).to_vec(), values)
        };
        let forward = of(&ids);
        ids.reverse();
        prop_assert_eq!(&forward, &of(&ids));
        // And equals the stream itself.
        let key = Stream::key(seed, "table good");
        for (&id, values) in &forward.1 {
            let mut expected = vec![0.0; 5];
            Stream::keyed(key, id).fill(Init::Normal(0.1), &mut expected);
            prop_assert_eq!(values, &expected);
        }
    }
}

#[test]
fn fixed_tables_are_whole_from_the_start() {
    let fixed = spec("gender", TableKind::Fixed { size: 3000 }, Init::Uniform(0.5));
    let mut table = Table::new(&fixed, &adam(), 7).unwrap();
    assert_eq!((table.rows(), table.weights().len(), table.slot(1).len()), (3000, 15_000, 3000));
    let mut expected = [0.0; 5];
    Stream::keyed(Stream::key(7, "table gender"), 2999).fill(Init::Uniform(0.5), &mut expected);
    assert_eq!(row(&table, 2999), expected);
    let mut rows = Vec::new();
    table.resolve_train(&[2999, 0], &mut rows).unwrap();
    assert_eq!(rows, [2999, 0]);
    let error = table.resolve_read(&[3000], &mut rows).unwrap_err();
    assert_eq!(error, TableError::OutOfRange { table: "gender".into(), id: 3000, size: 3000 });
    assert_eq!(error.to_string(), "table `gender`: expected an id from 0 to 2999, found 3000");
    assert_eq!(table.in_key_order().len(), 3000);
}

fn two_fields() -> Schema {
    let feature = |name: &str, sequence| Feature {
        group: "g".into(),
        name: name.into(),
        source: FeatureSource::column(name),
        kind: FeatureKind::Dynamic { key: KeyType::Int64 },
        sequence,
        common: false,
        at_prediction: true,
        location: "t.din:1:1".into(),
    };
    Schema {
        features: vec![feature("ad", None), feature("visited", Some(0))],
        sequences: vec![Sequence {
            name: "s".into(),
            keep: None,
            missing: false,
            common: false,
            location: "t.din:1:1".into(),
        }],
        ..Schema::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn counts_are_samples_not_occurrences(
        samples in prop::collection::vec((0u64..20, prop::collection::vec(0u64..20, 0..8)), 1..60),
        split in 1usize..20,
    ) {
        let schema = two_fields();
        let mut table = Table::new(&spec("good", DYNAMIC, Init::Constant(0.0)), &[], 1).unwrap();
        let mut counter = FrequencyCounter::new(&[0, 1]);
        for part in samples.chunks(split) {
            let mut batch = Batch::for_schema(&schema);
            for (ad, visited) in part {
                batch.ids[0].push(*ad);
                batch.ids[1].extend(visited);
                batch.offsets[0].push(batch.ids[1].len() as u32);
                batch.rows += 1;
            }
            counter.add(&mut table, &schema, &batch).unwrap();
        }
        counter.finish(&mut table);
        let sets: Vec<BTreeSet<u64>> = samples.iter().map(|(ad, v)| v.iter().copied().chain([*ad]).collect()).collect();
        for (key, row, seen) in table.in_key_order() {
            prop_assert!(!seen);
            prop_assert_eq!(table.frequency()[row as usize], sets.iter().filter(|s| s.contains(&key)).count() as f32);
        }
        prop_assert_eq!(table.frequency()[0], 1.0, "whatever the order of the file");
        // Rows made by counting are not seen: evaluation reads the OOV row until training has them.
        let mut rows = Vec::new();
        table.resolve_read(&[samples[0].0], &mut rows).unwrap();
        prop_assert_eq!(rows[0], 0);
        table.resolve_train(&[samples[0].0], &mut rows).unwrap();
        prop_assert_ne!(rows[0], 0);
        table.resolve_read(&[samples[0].0], &mut rows).unwrap();
        prop_assert_ne!(rows[0], 0);
    }
}

#[test]
fn loaded_rows_count_as_seen() {
    let mut table = Table::new(&spec("good", DYNAMIC, Init::Normal(1.0)), &adam(), 7).unwrap();
    let r = table.insert_loaded(5, true).unwrap() as usize;
    table.weights_mut()[r * 5..(r + 1) * 5].fill(8.0);
    let other = table.insert_loaded(6, false).unwrap();
    let mut rows = Vec::new();
    table.resolve_read(&[5, 6], &mut rows).unwrap();
    assert_eq!(rows, [r as u32, 0]);
    table.resolve_train(&[5, 6], &mut rows).unwrap();
    assert_eq!(rows, [r as u32, other]);
    assert_eq!(row(&table, r as u32), [8.0; 5]);
    table.resolve_read(&[6], &mut rows).unwrap();
    assert_eq!(rows, [other]);
}

#[test]
fn a_million_rows() {
    let mut table = Table::new(&spec("big", DYNAMIC, Init::Constant(1.0)), &adam(), 7).unwrap();
    let count: usize = if cfg!(miri) { 3_000 } else { 1_000_000 };
    let ids: Vec<u64> = (0..count as u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let mut rows = Vec::new();
    table.resolve_train(&ids, &mut rows).unwrap();
    table.resolve_read(&ids, &mut rows).unwrap();
    assert!(rows.iter().enumerate().all(|(i, &r)| r as usize == i + 1));
    assert!(table.weights()[..5].iter().all(|&w| w == 0.0), "no id has row 0");
    assert!(table.weights()[5..5 * count + 5].iter().all(|&w| w == 1.0));
    assert!(table.slot(1).iter().all(|&s| s == 0.5));
}

/// A batch of many parts, with new ids in most of them, beside what the definition says and one
/// feature after the other.
#[test]
fn batches_are_resolved_as_feature_by_feature() {
    let specs =
        [spec("good", DYNAMIC, Init::Normal(1.0)), spec("fixed", TableKind::Fixed { size: 5000 }, Init::Constant(0.0))];
    let new = || specs.each_ref().map(|s| Table::new(s, &[], 3).unwrap());
    let (mut tables, mut others) = (new(), new());
    let mut resolved = vec![vec![Vec::new(); 2]; 2];
    let (mut seen, mut rows) = (BTreeMap::new(), 1u32);
    for step in 0..5u64 {
        let id = |k: u64| ((k + step).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) % (1000 * (step + 1)) % 5000;
        let ids = vec![(0..100).map(id).collect::<Vec<u64>>(), (100..30_000 + 5000 * step).map(id).collect()];
        let batch = Batch { ids, ..Batch::default() };
        resolve_train(&Threads::new(2).unwrap(), &mut tables, &specs, &batch, &mut resolved).unwrap();
        for (ids, found) in batch.ids.iter().zip(&resolved[0]) {
            // New ids take the next rows in the order of the batch.
            let row_of = |id: &u64| {
                *seen.entry(*id).or_insert_with(|| {
                    rows += 1;
                    rows - 1
                })
            };
            let expected: Vec<u32> = ids.iter().map(row_of).collect();
            assert!(*found == expected, "step {step}");
        }
        for (ids, found) in batch.ids.iter().zip(&resolved[1]) {
            assert!(ids.iter().zip(found).all(|(id, row)| *id == u64::from(*row)));
        }
        let mut read = resolved.clone();
        resolve_read(&Threads::caller(), &tables, &specs, &batch, &mut read).unwrap();
        assert!(read == resolved);
        for (ids, found) in batch.ids.iter().zip(&mut resolved[0]) {
            others[0].resolve_train(ids, found).unwrap();
        }
        assert_eq!(tables[0].in_key_order(), others[0].in_key_order());
    }
    // The first id that is none is reported, whichever part finds one first.
    let mut ids = vec![vec![1; 3], vec![2; 40_000]];
    (ids[1][20_000], ids[1][39_000]) = (5000, 6000);
    let error = resolve_train(
        &Threads::new(2).unwrap(),
        &mut tables,
        &specs,
        &Batch { ids, ..Batch::default() },
        &mut resolved,
    )
    .unwrap_err();
    assert_eq!(error, TableError::OutOfRange { table: "fixed".into(), id: 5000, size: 5000 });
}
