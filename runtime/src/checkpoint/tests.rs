use super::*;
use crate::comm::LocalCommunicator;
use crate::exec::Backend;
use crate::table::{RowValues, Table};
use din_program::schedule::Schedule;
use din_program::schema::{self, Init, KeyType, Parameter, Schema, TableKind, Training, UpdateRule};
use din_program::{FORMAT, Isa, SlotScope, TablePrecision, Update, UpdateSlot};
use std::collections::BTreeMap;

mod parts;

pub(crate) fn program() -> Arc<Program> {
    let empty = Schedule {
        axes: din_program::axes::AxisTree::rows(),
        buffers: vec![],
        slots: vec![],
        tile_slots: vec![],
        phases: vec![],
        roots: vec![],
    };
    let slot = |name: &str, per| UpdateSlot { name: name.into(), per, init: 0.5 };
    let table = |name: &str, kind| schema::TableSpec {
        name: name.into(),
        width: 3,
        kind,
        init: Init::Normal(0.1),
        features: vec![],
        update: 0,
        reads_frequency: true,
        update_rule: UpdateRule::Sparse,
        frozen: false,
        vectors: None,
        admission: None,
        location: String::new(),
    };
    Arc::new(Program {
        format: FORMAT,
        compiler: "0.1.0".into(),
        triple: "any".into(),
        model: "m".into(),
        sources: vec![],
        hypers: vec![],
        schema: Schema::default(),
        tables: vec![
            table("good", TableKind::Dynamic { key: KeyType::Int64 }),
            table("pid", TableKind::Fixed { size: 4 }),
        ],
        parameters: vec![Parameter {
            name: "hidden.0.weight".into(),
            shape: vec![2, 3],
            init: Init::Constant(1.5),
            update: 0,
            location: String::new(),
        }],
        states: vec![schema::State {
            name: "x.mean".into(),
            shape: vec![2],
            init: Init::Constant(0.0),
            location: String::new(),
        }],
        predictions: vec![],
        outputs: vec![],
        metrics: vec![],
        training: Training { batch: 1, epochs: 1, seed: 0, select: 0, patience: None },
        squared_norms: vec![],
        updates: vec![Update {
            name: "u".into(),
            slots: vec![slot("m", SlotScope::Weight), slot("s", SlotScope::Row), slot("t", SlotScope::Tensor)],
            rows: true,
            schedule: empty.clone(),
        }],
        train: empty.clone(),
        infer: empty.clone(),
        infer_bf16: empty,
        kernels: vec![],
        code: vec![],
    })
}

pub(crate) fn manifest(program: &Program, step: u64) -> Manifest {
    Manifest {
        format: manifest::FORMAT,
        din: "0.1.0".into(),
        model: program.model.clone(),
        program: program.hash(),
        backend: Backend::Cpu(Isa::V3),
        seed: 7,
        batch: 32,
        leaves: 16,
        ranks: 1,
        position: Position { step, epoch: 1, batch: 2, loss_sum: 0.1 + 0.2, samples: 64 },
        train_loss: 0.5,
        metrics: vec![("auc(click)".into(), Some(0.75)), ("gauc".into(), None)],
        structure: describe(program),
        files: BTreeMap::new(),
    }
}

/// All rows in one process.
pub(crate) fn whole(program: &Program) -> ShardPlan {
    ShardPlan::whole(program.tables.len())
}

/// Tables after two fake steps over scattered ids, every value different.
pub(crate) fn filled(program: &Arc<Program>) -> ModelState {
    let mut tables: Vec<Table> =
        program.tables.iter().map(|spec| Table::new(spec, &program.updates[0].slots, 7).unwrap()).collect();
    let mut rows = Vec::new();
    for ids in [[90u64, 5, 90, 1 << 60], [3, 5, 12, 77]] {
        tables[0].resolve_train(&ids, &mut rows).unwrap();
    }
    tables[0].insert_loaded(4, false).unwrap();
    let mut next = 0.0;
    let mut number = |slab: &mut [f32]| {
        for x in slab {
            next += 1.0;
            *x = next / 7.0;
        }
    };
    for table in &mut tables {
        number(table.weights_mut());
        number(table.frequency_mut());
        number(table.updates_mut());
        for k in 0..3 {
            number(table.slot_mut(k));
        }
    }
    let mut state = DenseState::new(program);
    number(&mut state.params[0]);
    for slot in &mut state.param_slots[0] {
        number(slot);
    }
    number(&mut state.states[0]);
    (state.step, state.seed) = (41, 7);
    ModelState::restored(program.clone(), state, tables, Statistics::default(), &whole(program), LoadPurpose::Training)
}

/// What a table has for each id: whether training has seen it, and its values. The OOV row comes
/// first.
fn by_id(table: &Table) -> Vec<(Option<u64>, bool, Vec<f32>)> {
    let row = |row: u32| {
        let fields = table.row_fields().into_iter();
        fields.flat_map(|(field, width)| &table.field(field)[row as usize * width..][..width]).copied().collect()
    };
    let oov = table.is_dynamic().then(|| (None, false, row(0)));
    oov.into_iter().chain(table.in_key_order().into_iter().map(|(id, at, seen)| (Some(id), seen, row(at)))).collect()
}

#[test]
fn everything_comes_back_bit_for_bit_id_for_id() {
    let folder = tempfile::tempdir().unwrap();
    let program = program();
    let model = filled(&program);
    let path = save(folder.path(), &model, &manifest(&program, 41), &LocalCommunicator).unwrap();
    assert_eq!(list(folder.path()).unwrap(), ["step-0000000041"]);
    let loaded = load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap();
    assert_eq!(loaded.model.dense, model.dense);
    assert_eq!(loaded.manifest.position, manifest(&program, 41).position);
    for (a, b) in model.tables.iter().zip(&loaded.model.tables) {
        assert_eq!(by_id(a), by_id(b));
        assert_eq!((a.rows(), a.slot(2)), (b.rows(), b.slot(2)));
    }
    // Ids came in another order than that in which they were restored; the files do not show it.
    assert_ne!(model.tables[0].weights(), loaded.model.tables[0].weights());
    let again = save(folder.path(), &loaded.model, &manifest(&program, 41), &LocalCommunicator);
    assert_eq!(read_manifest(&again.unwrap()).unwrap().files, loaded.manifest.files);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the checkpoint is left");
}

/// For inference, neither optimizer states nor counts are read, and weights are rounded as asked.
#[test]
fn inference_reads_weights_alone() {
    let program = program();
    let folder = tempfile::tempdir().unwrap();
    let model = filled(&program);
    let path = save(folder.path(), &model, &manifest(&program, 41), &LocalCommunicator).unwrap();
    let read = |precision| load(&path, &program, &whole(&program), LoadPurpose::Inference(precision)).unwrap().model;
    let (trained, rounded) = (read(TablePrecision::F32), read(TablePrecision::Bf16));
    let training = load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap().model;
    for ((trained, rounded), table) in trained.tables.iter().zip(&rounded.tables).zip(&training.tables) {
        assert_eq!((trained.slot_count(), rounded.slot_count(), table.slot_count()), (0, 0, 3));
        assert!(trained.frequency().iter().chain(trained.updates()).all(|&count| count == 0.0));
        assert_eq!(trained.weights(), table.weights());
        assert_eq!((trained.precision(), rounded.precision()), (TablePrecision::F32, TablePrecision::Bf16));
        assert_eq!(trained.in_key_order(), rounded.in_key_order());
        let mut rows = RowValues::default();
        rows.clear(TablePrecision::Bf16);
        rows.append_rows(rounded, &(0..rounded.rows() as u32).collect::<Vec<_>>());
        let expected: Vec<half::bf16> = table.weights().iter().map(|&x| half::bf16::from_f32(x)).collect();
        assert!(rows.are(expected.len(), TablePrecision::Bf16) && rows == RowValues::Bf16(expected));
        assert_eq!(trained.bytes() - rounded.bytes(), 2 * trained.weights().len() as u64);
    }
}

#[test]
fn every_altered_file_is_named_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let program = program();
    let model = filled(&program);
    let path = save(folder.path(), &model, &manifest(&program, 1), &LocalCommunicator).unwrap();
    for file in ["dense.safetensors", "table.good.safetensors", "table.pid.safetensors"] {
        let written = fs::read(path.join(file)).unwrap();
        for at in [0, written.len() / 2, written.len() - 1] {
            let mut bytes = written.clone();
            bytes[at] ^= 4;
            fs::write(path.join(file), &bytes).unwrap();
            let error = load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap_err();
            assert!(error.message.contains(file) && error.message.contains("SHA-256"), "{error}");
            assert_eq!(error.exit_code(), 1);
        }
        fs::write(path.join(file), &written).unwrap();
        fs::rename(path.join(file), path.join("gone")).unwrap();
        assert!(load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap_err().message.contains(file));
        fs::rename(path.join("gone"), path.join(file)).unwrap();
    }
    load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap();
}

#[test]
fn another_models_checkpoint_is_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let program = program();
    let model = filled(&program);
    let path = save(folder.path(), &model, &manifest(&program, 1), &LocalCommunicator).unwrap();
    let mut other = Program::clone(&program);
    other.tables[0].width = 8;
    other.parameters[0].name = "hidden.0.kernel".into();
    let message = load(&path, &Arc::new(other), &whole(&program), LoadPurpose::Training).unwrap_err().message;
    for part in [
        "only in the checkpoint: table good [3] of int64 ids with m per weight, s per row, t per tensor",
        "only in the model: table good [8] of int64 ids",
        "only in the checkpoint: parameter hidden.0.weight [2, 3]",
        "only in the model: parameter hidden.0.kernel [2, 3]",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

/// An epoch may end with a step that `--checkpoint-every` has just saved. A folder cannot take the
/// place of another at once, so the one that is there stays, and its manifest is renamed over: a
/// kill at any moment leaves a whole checkpoint.
#[test]
fn saving_the_same_step_again_replaces_the_manifest_alone() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let program = program();
    let model = filled(&program);
    let save =
        |model: &ModelState, manifest: &Manifest| super::save(folder.path(), model, manifest, &LocalCommunicator);
    let inside = manifest(&program, 41);
    let ends = Manifest { position: Position { epoch: 2, batch: 0, ..inside.position }, ..inside.clone() };
    let path = save(&model, &inside).unwrap();
    let places = || -> Vec<u64> {
        ["", "dense.safetensors", "table.good.safetensors", "table.pid.safetensors"]
            .map(|name| fs::metadata(path.join(name)).unwrap().ino())
            .into()
    };
    let before = places();
    assert_eq!(save(&model, &ends).unwrap(), path);
    assert_eq!(places(), before, "nothing was moved");
    assert_eq!(
        load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap().manifest.position,
        ends.position
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing but the checkpoint is left");
    // What a kill before the rename leaves: the checkpoint as it was, and a hidden folder that goes
    // when the run is resumed.
    let half = folder.path().join(".step-0000000041.7.tmp");
    fs::create_dir(&half).unwrap();
    save::write_files(&half, &model, &LocalCommunicator).unwrap();
    assert_eq!(list(folder.path()).unwrap(), ["step-0000000041"]);
    clean(folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // Other tensors under the same step would be a bug; what is there stays.
    let mut other = filled(&program);
    other.dense.params[0][0] += 1.0;
    let error = save(&other, &inside).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert_eq!(load(&path, &program, &whole(&program), LoadPurpose::Training).unwrap().model.dense, model.dense);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
