//! Checkpoints that several ranks write and read together.

use super::*;
use crate::comm::{Communicator, in_process};
use crate::table::Placement;
use crate::threads::Threads;
use proptest::prelude::*;
use std::path::PathBuf;

/// What each of so many ranks makes, by rank; ranks are threads.
fn on_ranks<T: Send>(ranks: usize, work: impl Fn(&dyn Communicator) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> =
            in_process(ranks).into_iter().map(|comm| scope.spawn(move || work(comm.as_ref()))).collect();
        started.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

fn plan(comm: &dyn Communicator, buckets: u32, placements: &[Placement]) -> ShardPlan {
    let sharding = Sharding { buckets, rank: comm.rank(), ranks: comm.size() };
    ShardPlan { sharding, placements: placements.to_vec() }
}

/// The value of a component of an id's row in some array: all of them differ.
fn value(id: u64, field: usize, component: usize) -> f32 {
    (id % 8191) as f32 + field as f32 / 8.0 + component as f32 / 64.0
}

/// A rank's part of one model. Ids come in another order on each rank.
fn part(program: &Arc<Program>, ids: &[u64], plan: &ShardPlan) -> ModelState {
    let mut tables = Vec::new();
    for (k, spec) in program.tables.iter().enumerate() {
        let slots = &program.updates[0].slots;
        let mut table = Table::of_shard(spec, slots, 7, plan.shard(k), &Threads::caller()).unwrap();
        if table.is_dynamic() {
            let own = ids.iter().filter(|&&id| table.shard().is_none_or(|shard| shard.owns(id)));
            let mut own: Vec<u64> = own.copied().collect();
            let count = own.len().max(1);
            own.rotate_left(plan.sharding.rank % count);
            for id in own {
                table.insert_loaded(id, !id.is_multiple_of(3)).unwrap();
            }
        }
        let rows = table.in_key_order();
        for (number, (field, width)) in table.row_fields().into_iter().enumerate() {
            let oov = table.is_dynamic().then_some((5, 0, true));
            for &(id, row, _) in rows.iter().chain(&oov) {
                for component in 0..width {
                    table.field_mut(field)[row as usize * width + component] = value(id, number, component);
                }
            }
        }
        table.slot_mut(2)[0] = 0.25;
        tables.push(table);
    }
    let mut dense = DenseState::new(program);
    (dense.step, dense.seed) = (41, 7);
    dense.params[0].iter_mut().zip(1..).for_each(|(x, k)| *x = k as f32);
    ModelState::restored(program.clone(), dense, tables, Statistics::default(), plan, LoadPurpose::Training)
}

/// Saves as so many ranks; what each of them was told.
fn save_as(ranks: usize, folder: &Path, ids: &[u64], placements: &[Placement]) -> Vec<Result<PathBuf>> {
    let program = program();
    on_ranks(ranks, |comm| {
        let model = part(&program, ids, &plan(comm, 16, placements));
        save(folder, &model, &manifest(&program, 41), comm)
    })
}

/// The names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const SHARDED: [Placement; 2] = [Placement::Sharded; 2];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Against the model that was built for the reading ranks; and those that read save it again,
    /// with the bytes of whoever saved it first as so many.
    #[test]
    fn any_number_of_ranks_reads_what_any_other_wrote(
        ids in prop::collection::btree_set(prop_oneof![0u64..40, any::<u64>()], 0..60),
        writers in 1usize..=4,
        readers in 1usize..=4,
        buckets in prop_oneof![Just(16u32), Just(64)],
        placements in prop::collection::vec(prop_oneof![Just(Placement::Sharded), Just(Placement::Replicated)], 2),
        placed_then in prop::collection::vec(prop_oneof![Just(Placement::Sharded), Just(Placement::Replicated)], 2),
    ) {
        let (folder, program) = (tempfile::tempdir().unwrap(), program());
        let ids: Vec<u64> = ids.into_iter().collect();
        for path in save_as(writers, folder.path(), &ids, &placements) {
            prop_assert_eq!(path.unwrap(), folder.path().join("step-0000000041"));
        }
        prop_assert_eq!(names(folder.path()), ["step-0000000041"]);
        let path = folder.path().join("step-0000000041");
        let again = tempfile::tempdir().unwrap();
        on_ranks(readers, |comm| {
            let plan = plan(comm, buckets, &placed_then);
            let loaded = load(&path, &program, &plan, LoadPurpose::Training).unwrap();
            let expected = part(&program, &ids, &plan);
            assert_eq!(loaded.model.dense, expected.dense);
            for (loaded, expected) in loaded.model.tables.iter().zip(&expected.tables) {
                assert_eq!(loaded.shard(), expected.shard());
                assert_eq!(by_id(loaded), by_id(expected));
                assert_eq!((loaded.rows(), loaded.slot(2)), (expected.rows(), expected.slot(2)));
            }
            let manifest = Manifest { leaves: buckets, ..manifest(&program, 41) };
            save(again.path(), &loaded.model, &manifest, comm).unwrap();
        });
        let found = read_manifest(&again.path().join("step-0000000041")).unwrap();
        prop_assert_eq!(found.ranks as usize, readers);
        if (writers, buckets) == (readers, 16) && (placements == placed_then || writers == 1) {
            prop_assert_eq!(found.files, read_manifest(&path).unwrap().files);
        }
    }
}

#[test]
fn files_are_named_by_their_part() {
    let folder = tempfile::tempdir().unwrap();
    save_as(3, folder.path(), &[1, 2, 3], &[Placement::Sharded, Placement::Replicated])[0].as_ref().unwrap();
    let path = folder.path().join("step-0000000041");
    let tables = ["good.1-of-3", "good.2-of-3", "good.3-of-3", "pid"].map(|name| format!("table.{name}.safetensors"));
    let expected = [&["dense.safetensors".to_string(), "manifest.json".to_string()], &tables[..]].concat();
    assert_eq!(names(&path), expected);
    assert_eq!(read_manifest(&path).unwrap().files.len(), 5);
}

#[test]
fn a_damaged_or_missing_part_is_named_and_refused() {
    let (folder, program) = (tempfile::tempdir().unwrap(), program());
    save_as(3, folder.path(), &[1, 2, 3, 4, 5, 6, 7], &SHARDED)[0].as_ref().unwrap();
    let path = folder.path().join("step-0000000041");
    for table in ["good", "pid"] {
        for rank in 0..3 {
            let file = part_file(table, rank, 3);
            let bytes = fs::read(path.join(&file)).unwrap();
            let mut altered = bytes.clone();
            altered[bytes.len() / 2] ^= 4;
            fs::write(path.join(&file), altered).unwrap();
            let error = load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap_err();
            assert!(error.message.contains(&file) && error.message.contains("SHA-256"), "{error}");
            // On several ranks it is refused by those whose rows it has.
            let loaded =
                on_ranks(3, |comm| load(&path, &program, &plan(comm, 16, &SHARDED), LoadPurpose::Training).is_ok());
            assert_eq!(loaded, [0, 1, 2].map(|reader| reader != rank));
            fs::remove_file(path.join(&file)).unwrap();
            let error = load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap_err();
            assert!(error.message.contains(&file) && error.exit_code() == 1, "{error}");
            fs::write(path.join(&file), bytes).unwrap();
        }
    }
    load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap();
}

/// Files under right hashes that are not what the manifest says: exchanged parts, a part too few.
#[test]
fn parts_that_do_not_make_a_table_are_refused() {
    let (folder, program) = (tempfile::tempdir().unwrap(), program());
    let ids: Vec<u64> = (0..20).collect();
    save_as(2, folder.path(), &ids, &SHARDED)[0].as_ref().unwrap();
    let path = folder.path().join("step-0000000041");
    let written = read_manifest(&path).unwrap();
    let refused = |manifest: &Manifest| {
        fs::write(path.join(MANIFEST), manifest.to_text().unwrap()).unwrap();
        load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap_err().message
    };
    for table in ["good", "pid"] {
        let (one, two) = (part_file(table, 0, 2), part_file(table, 1, 2));
        for (from, to) in [(&one, &two), (&two, &one)] {
            let kept = fs::read(path.join(to)).unwrap();
            fs::copy(path.join(from), path.join(to)).unwrap();
            let mut exchanged = written.clone();
            exchanged.files.insert(to.clone(), written.files[from].clone());
            let message = refused(&exchanged);
            assert!(message.contains(to) && message.contains("expected ids of this part"), "{message}");
            fs::write(path.join(to), kept).unwrap();
        }
        let mut without = written.clone();
        without.files.remove(&two);
        assert!(refused(&without).contains(&format!("expected the hash of {two}, found none")));
    }
    for (leaves, ranks) in [(0, 1), (48, 2), (2048, 2), (16, 0), (16, 17)] {
        let message = refused(&Manifest { leaves, ranks, ..written.clone() });
        assert!(message.contains("manifest.json: leaves and ranks: expected a power of two"), "{message}");
    }
    fs::write(path.join(MANIFEST), written.to_text().unwrap()).unwrap();
    load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap();
}

#[test]
fn what_fails_on_one_rank_fails_on_all_and_leaves_nothing() {
    let (folder, program) = (tempfile::tempdir().unwrap(), program());
    let ids: Vec<u64> = (0..50).collect();
    for failing in 0..3 {
        let told = on_ranks(3, |comm| {
            let mut model = part(&program, &ids, &plan(comm, 16, &SHARDED));
            if comm.rank() >= failing {
                *model.tables[0].weights_mut().last_mut().unwrap() = f32::INFINITY;
            }
            save(folder.path(), &model, &manifest(&program, 41), comm).unwrap_err()
        });
        assert!(told[0].message.contains("the training diverged") && told[0].exit_code() == 1, "{}", told[0]);
        assert!(told.iter().all(|error| *error == told[0]), "one message on all ranks");
        assert_eq!(names(folder.path()), [""; 0], "nothing is left");
    }
    // The folder cannot be made; the name is taken by a file.
    let missing = folder.path().join("missing");
    for error in save_as(2, &missing, &ids, &SHARDED) {
        assert!(error.unwrap_err().message.contains("missing"));
    }
    fs::write(folder.path().join("step-0000000041"), "no folder").unwrap();
    for error in save_as(2, folder.path(), &ids, &SHARDED) {
        assert!(error.unwrap_err().message.contains("step-0000000041"));
    }
    assert_eq!(names(folder.path()), ["step-0000000041"]);
}

/// A run that was stopped at the end of an epoch and resumed with another number of ranks may save
/// that step again: its tables are divided otherwise then.
#[test]
fn a_step_saved_again_by_another_number_of_ranks_keeps_its_files() {
    let (folder, program) = (tempfile::tempdir().unwrap(), program());
    let ids: Vec<u64> = (0..50).collect();
    save_as(2, folder.path(), &ids, &SHARDED)[1].as_ref().unwrap();
    let path = folder.path().join("step-0000000041");
    let written = read_manifest(&path).unwrap();
    for ranks in [1, 2, 3] {
        let ends = Manifest { train_loss: ranks as f64, ..manifest(&program, 41) };
        on_ranks(ranks, |comm| {
            let model = part(&program, &ids, &plan(comm, 16, &SHARDED));
            save(folder.path(), &model, &ends, comm).unwrap();
        });
        let found = read_manifest(&path).unwrap();
        assert_eq!((found.ranks, &found.files, found.train_loss), (2, &written.files, ends.train_loss));
        assert_eq!(names(folder.path()), ["step-0000000041"]);
        let loaded = load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap();
        assert_eq!(loaded.model.tables[0].ids(), 50);
    }
}
