//! Whether two runs have the same bits, whatever ranks have written them.

use crate::scene::{Scene, TRAIN};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The two runs have the same metrics, best and last checkpoint, bit for bit.
#[track_caller]
pub fn assert_same(one: &Path, other: &Path) {
    for name in ["metrics.jsonl", "best.json"] {
        let text = |run: &Path| fs::read_to_string(run.join(name)).unwrap();
        assert_eq!(text(one), text(other), "{name} of {} and {}", one.display(), other.display());
    }
    let (own, others) = (checkpoints(one), checkpoints(other));
    assert_eq!(own.last(), others.last(), "the last checkpoints of {} and {}", one.display(), other.display());
    for name in own.iter().filter(|name| others.contains(name)) {
        let [one, other] = [one, other].map(|run| run.join("checkpoints").join(name));
        let (one_tensors, other_tensors) = (tensors(&one), tensors(&other));
        let names = |tensors: &BTreeMap<String, Vec<u8>>| tensors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&one_tensors), names(&other_tensors), "{} {}", one.display(), other.display());
        let differ: Vec<&String> = one_tensors
            .iter()
            .filter(|(name, values)| other_tensors[*name] != **values)
            .map(|(name, _)| name)
            .collect();
        assert!(differ.is_empty(), "{differ:?} of {} and {}", one.display(), other.display());
    }
}

/// Names of a run's checkpoints, ascending.
fn checkpoints(run: &Path) -> Vec<String> {
    let entries = fs::read_dir(run.join("checkpoints")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The bytes of every tensor of a checkpoint. The parts of a table are one: its rows are ascending
/// by id, each after its id.
pub fn tensors(checkpoint: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut rows: BTreeMap<String, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    for entry in fs::read_dir(checkpoint).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "safetensors") {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        // A part is named `table.<name>.<k>-of-<n>`.
        let name = match stem.rsplit_once('.') {
            Some((name, part)) if part.contains("-of-") => name,
            _ => stem,
        };
        // A table whose rows all are in one file needs no ids there where they are 0, 1, 2 …
        let keys: Option<Vec<u64>> = file
            .tensor("keys")
            .ok()
            .map(|keys| keys.data().as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect());
        let height = file.tensor("weight").ok().filter(|_| name != "dense").map(|weight| weight.shape()[0]);
        for (tensor, view) in file.iter() {
            let whole = format!("{name}/{tensor}");
            if height == Some(view.shape()[0]) && !tensor.starts_with("oov.") {
                let height = view.shape()[0];
                let width = if height == 0 { 0 } else { view.data().len() / height };
                let rows = rows.entry(whole).or_default();
                if tensor == "keys" {
                    continue;
                }
                let key = |row: usize| keys.as_ref().map_or(row as u64, |keys| keys[row]);
                rows.extend((0..height).map(|row| (key(row), view.data()[row * width..(row + 1) * width].to_vec())));
            } else {
                // What a table has once is the same in all parts.
                let had = all.insert(whole.clone(), view.data().to_vec());
                assert!(had.is_none_or(|had| had == view.data()), "{whole} of {}", checkpoint.display());
            }
        }
    }
    for (name, mut rows) in rows {
        if name.ends_with("/keys") {
            continue;
        }
        rows.sort();
        assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}: an id twice");
        all.insert(name, rows.into_iter().flat_map(|(key, row)| key.to_le_bytes().into_iter().chain(row)).collect());
    }
    assert!(all.len() > 4, "{} has tensors", checkpoint.display());
    all
}

#[test]
fn another_seed_makes_another_value_of_every_kind() {
    let scene = Scene::new();
    let made = [0, 1].map(|seed| {
        let trained = scene.alone(&format!("{TRAIN} --epochs 1 --out {{folder}}/{seed} --seed {seed}"));
        assert_eq!(trained.code, Some(0), "{trained:?}");
        tensors(&scene.at(&seed.to_string()).join("checkpoints/step-0000000016"))
    });
    let [one, other] = made;
    let differ: Vec<&str> =
        one.iter().filter(|(name, values)| other[*name] != **values).map(|(name, _)| &**name).collect();
    let tensors = [
        "dense/click.weight",
        "dense/click.weight.slot.m",
        "dense/state.hidden.0.var",
        "table.cate/slot.v",
        "table.good/updates",
        "table.good/weight",
        "table.user.age_level/weight",
    ];
    for name in tensors {
        assert!(differ.contains(&name), "{name} of {differ:?}");
    }
    // Its values are of the data, whatever their order is.
    assert!(one.contains_key("table.good/frequency") && !differ.contains(&"table.good/frequency"), "{differ:?}");
}
