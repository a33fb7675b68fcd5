//! Tables divided over ranks, beside the same tables on one rank.

use super::*;
use crate::comm::{Communicator, in_process};

/// What each of so many ranks makes, by rank; ranks are threads.
fn on_ranks<T: Send>(ranks: usize, work: impl Fn(&dyn Communicator) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> =
            in_process(ranks).into_iter().map(|comm| scope.spawn(move || work(comm.as_ref()))).collect();
        started.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// The part of a rank, of 16 buckets.
fn shard(comm: &dyn Communicator) -> Option<Sharding> {
    Some(Sharding { buckets: 16, rank: comm.rank(), ranks: comm.size() })
}

/// By id: weights, frequency and updates.
type Rows = BTreeMap<u64, (Vec<f32>, f32, f32)>;

fn rows_by_id(table: &Table) -> Rows {
    let values = |at: u32| (row(table, at).to_vec(), table.frequency()[at as usize], table.updates()[at as usize]);
    table.in_key_order().into_iter().map(|(id, at, _)| (id, values(at))).collect()
}

/// The rows of all parts, none of which may be in two.
fn joined(parts: Vec<Rows>) -> Rows {
    let count: usize = parts.iter().map(BTreeMap::len).sum();
    let all: Rows = parts.into_iter().flatten().collect();
    assert_eq!(all.len(), count, "an id has rows on two ranks");
    all
}

fn of_shard(spec: &schema::TableSpec, shard: Option<Sharding>) -> Table {
    Table::of_shard(spec, &adam(), 7, shard, &Threads::caller()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Initial values, and the OOV row to the bit; with rare ids and without any.
    #[test]
    fn parts_have_the_rows_and_the_oov_row_of_the_whole(
        given in prop::collection::btree_map(any::<u64>(), (0u8..8, prop::array::uniform5(-3.0f32..3.0)), 0..60),
        least in prop_oneof![Just(0u8), Just(4)],
        ranks in 1usize..=5,
    ) {
        let dynamic = spec("good", DYNAMIC, Init::Normal(1.0));
        let fill = |shard: Option<Sharding>, comm: &dyn Communicator| {
            let mut table = of_shard(&dynamic, shard);
            let own: Vec<u64> =
                given.keys().copied().filter(|&id| shard.is_none_or(|sharding| sharding.owns(id))).collect();
            let mut rows = Vec::new();
            table.resolve_train(&own, &mut rows).unwrap();
            let drawn = rows_by_id(&table);
            for (id, &at) in own.iter().zip(&rows) {
                let (updates, weights) = &given[id];
                table.updates_mut()[at as usize] = f32::from(*updates.max(&least));
                table.weights_mut()[at as usize * 5..][..5].copy_from_slice(weights);
            }
            let mut tables = [of_shard(&spec("f", TableKind::Fixed { size: 9 }, Init::Constant(0.0)), shard), table];
            fill_oov_rows(&mut tables, comm, &Threads::caller()).unwrap();
            (drawn, row(&tables[1], 0).to_vec())
        };
        let (drawn, oov) = fill(None, &crate::comm::LocalCommunicator);
        let (parts, oovs): (Vec<_>, Vec<_>) = on_ranks(ranks, |comm| fill(shard(comm), comm)).into_iter().unzip();
        prop_assert_eq!(joined(parts), drawn);
        for part in oovs {
            prop_assert_eq!(&part, &oov);
        }
    }

    /// Also where every rank has the whole table.
    #[test]
    fn frequencies_counted_by_parts_are_those_of_the_whole(
        samples in prop::collection::vec((0u64..20, prop::collection::vec(0u64..20, 0..8)), 1..60),
        ranks in 1usize..=4,
        fixed in any::<bool>(),
    ) {
        let schema = two_fields();
        let kind = if fixed { TableKind::Fixed { size: 20 } } else { DYNAMIC };
        let spec = spec("good", kind, Init::Normal(1.0));
        let batch = |samples: &[(u64, Vec<u64>)]| {
            let mut batch = Batch::for_schema(&schema);
            for (ad, visited) in samples {
                batch.ids[0].push(*ad);
                batch.ids[1].extend(visited);
                batch.offsets[0].push(batch.ids[1].len() as u32);
                batch.rows += 1;
            }
            batch
        };
        let mut whole = of_shard(&spec, None);
        let mut counter = FrequencyCounter::new(&[0, 1]);
        samples.chunks(7).for_each(|part| counter.add(&mut whole, &schema, &batch(part)).unwrap());
        counter.finish(&mut whole);
        let count = |comm: &dyn Communicator, shard: Option<Sharding>| {
            let own = samples.chunks(7).skip(comm.rank()).step_by(comm.size());
            let mut frequencies = IdFrequencies::new(&[0, 1]);
            own.for_each(|part| frequencies.add(&schema, &batch(part)));
            let mut tables = [of_shard(&spec, shard)];
            join_frequencies(&mut tables, vec![(0, frequencies)], comm).unwrap();
            assert!(fixed || tables[0].frequency()[0] == 1.0);
            assert!(tables[0].in_key_order().iter().all(|&(_, _, seen)| seen == fixed));
            rows_by_id(&tables[0])
        };
        prop_assert_eq!(joined(on_ranks(ranks, |comm| count(comm, shard(comm)))), rows_by_id(&whole));
        for replica in on_ranks(ranks, |comm| count(comm, None)) {
            prop_assert_eq!(replica, rows_by_id(&whole));
        }
    }
}

#[test]
fn a_part_of_a_fixed_table_has_the_rows_that_its_rank_owns() {
    let fixed = spec("gender", TableKind::Fixed { size: 3000 }, Init::Uniform(0.5));
    let whole = of_shard(&fixed, None);
    for ranks in 2..=4 {
        let mut parts = Vec::new();
        for rank in 0..ranks {
            let sharding = Sharding { buckets: 16, rank, ranks };
            let mut part = of_shard(&fixed, Some(sharding));
            let own: Vec<u64> = (0..3000).filter(|&id| sharding.owns(id)).rev().collect();
            assert_eq!((part.rows(), part.ids(), part.shard()), (own.len(), own.len(), Some(&sharding)));
            let (mut rows, mut read) = (Vec::new(), Vec::new());
            part.resolve_train(&own, &mut rows).unwrap();
            part.resolve_read(&own, &mut read).unwrap();
            assert_eq!(rows, (0..own.len() as u32).rev().collect::<Vec<_>>(), "ascending ids");
            assert_eq!(rows, read);
            assert!(own.iter().zip(rows).all(|(&id, at)| row(&part, at) == row(&whole, id as u32)));
            // The error is that of the whole table.
            let error = TableError::OutOfRange { table: "gender".into(), id: 3000, size: 3000 };
            assert_eq!(part.resolve_train(&[own[0], 3000], &mut read).unwrap_err(), error);
            assert_eq!(part.resolve_read(&[3000], &mut read).unwrap_err(), error);
            assert_eq!(part.row_of(3000).unwrap_err(), error);
            parts.push(rows_by_id(&part));
        }
        assert_eq!(joined(parts), rows_by_id(&whole));
    }
}

#[test]
#[should_panic(expected = "a rank is asked for no id that another owns")]
fn a_row_of_another_rank_is_never_taken_for_one_of_its_own() {
    let fixed = spec("gender", TableKind::Fixed { size: 3000 }, Init::Uniform(0.5));
    let sharding = Sharding { buckets: 16, rank: 0, ranks: 2 };
    let table = of_shard(&fixed, Some(sharding));
    let other = (0..3000).find(|&id| !sharding.owns(id)).unwrap();
    let _ = table.resolve_read(&[other], &mut Vec::new());
}
