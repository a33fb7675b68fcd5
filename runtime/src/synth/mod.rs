//! `din synth`: a click log with known truth, for newcomers without data, tests and benchmarks.
//!
//! Writes `train.parquet`, `valid.parquet`, `test.parquet` (80, 10 and 10 % of the rows, in the
//! order of time) with the columns of Table 2 of the paper, what came of a click, and times, and
//! `truth.json` with what the
//! probabilities that the clicks were drawn with would score: no model can be expected above it.
//! Streamed: memory grows with users and goods, and by 13 bytes for each row of `valid` and `test`.
//! Same options, same bytes.

mod columns;
mod world;

pub use world::{HISTORY, Impression, Size, Visit, World};

use crate::fs::{AtomicFile, metadata, write_atomically};
use crate::metric::{auc, gauc, log_loss};
use crate::signal;
use crate::{Error, Result};
use columns::Columns;
use din_program::schema::GroupWeight;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Rows in a record batch, and in a row group.
const BATCH: usize = 8_192;
const GROUP: usize = 65_536;

/// What to make.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthOptions {
    pub seed: u64,
    /// Rows of the three files together; at least 10.
    pub rows: u64,
    /// Default: a 25th of the rows.
    pub users: Option<usize>,
    pub goods: usize,
    pub categories: usize,
    /// Categories that each user is drawn to; default: 2 to 5.
    pub interests: Option<usize>,
    /// Replace files that are there.
    pub force: bool,
}

impl Default for SynthOptions {
    fn default() -> Self {
        Self { seed: 1, rows: 150_000, users: None, goods: 3_000, categories: 100, interests: None, force: false }
    }
}

/// What a file holds and what its true probabilities score on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Split {
    pub file: String,
    pub rows: u64,
    pub clicks: u64,
    pub bought: u64,
    /// Mean entries of a history.
    pub mean_history: f64,
    /// Of the true probabilities, against the clicks drawn from them; absent for the training file.
    pub bayes: Option<Score>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    pub auc: f64,
    /// Groups are users, weighted by impressions.
    pub gauc: f64,
    pub log_loss: f64,
}

/// Contents of `truth.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Truth {
    pub seed: u64,
    pub rows: u64,
    pub users: usize,
    pub goods: usize,
    pub categories: usize,
    /// Of each user, where they were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interests: Option<usize>,
    pub splits: Vec<Split>,
}

/// Makes the log in `folder` (created if absent); `progress` gets the number of rows written so
/// far.
pub fn generate(folder: &Path, options: &SynthOptions, progress: &mut dyn FnMut(u64)) -> Result<Truth> {
    if options.rows < 10 {
        return Err(Error::input(format!("--rows {}: expected at least 10", options.rows)));
    }
    let size = Size {
        users: options.users.unwrap_or((options.rows / 25).clamp(20, u64::from(u32::MAX)) as usize),
        goods: options.goods.max(1),
        categories: options.categories.max(1),
        interests: options.interests,
    };
    if size.goods < size.categories {
        let (goods, categories) = (size.goods, size.categories);
        return Err(Error::input(format!(
            "--goods {goods}: expected at least one good for each of {categories} categories"
        )));
    }
    if let Some(interests) = size.interests.filter(|n| !(1..size.categories).contains(n)) {
        let (categories, most) = (size.categories, size.categories.saturating_sub(1));
        return Err(Error::input(format!(
            "--interests {interests}: expected 1 to {most}, fewer than the {categories} categories"
        )));
    }
    if size.users == 0 || size.users > u32::MAX as usize || size.goods > u32::MAX as usize / 4 {
        return Err(Error::input("expected between 1 and 4294967295 users and at most 1073741823 goods"));
    }
    let held = options.rows / 10;
    let lengths = [("train", options.rows - 2 * held), ("valid", held), ("test", held)];
    let path = |name: &str| -> PathBuf { folder.join(format!("{name}.parquet")) };
    let truth_path = folder.join("truth.json");
    if !options.force {
        for there in lengths.iter().map(|(name, _)| path(name)).chain([truth_path.clone()]) {
            if metadata(&there)?.is_some() {
                return Err(Error::input(format!("{}: already exists", there.display()))
                    .help("choose another --out, or pass --force to replace it"));
            }
        }
    }
    fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, &e))?;

    let mut world = World::new(options.seed, size);
    let (mut splits, mut files, mut written) = (Vec::new(), Vec::new(), 0);
    for (name, rows) in lengths {
        let path = path(name);
        let mut file = AtomicFile::create(&path)?;
        let failed =
            |e: parquet::errors::ParquetError| Error::machine(format!("{}: cannot write: {e}", path.display()));
        let schema = Columns::schema();
        let mut writer = ArrowWriter::try_new(file.file(), schema.clone(), Some(properties())).map_err(failed)?;
        let mut scores = (name != "train").then(Scores::default);
        let (mut clicks, mut bought, mut entries, mut left) = (0, 0, 0, rows);
        while left > 0 {
            let count = left.min(BATCH as u64);
            let mut columns = Columns::default();
            for _ in 0..count {
                let mut line = None;
                world.next(&mut |impression, history| {
                    line = Some((impression.clone(), history.collect::<Vec<Visit>>()));
                });
                let Some((impression, history)) = line else { continue };
                clicks += u64::from(impression.click);
                bought += u64::from(impression.bought);
                entries += history.len() as u64;
                columns.push(&impression, &history, &world);
                if let Some(scores) = &mut scores {
                    scores.push(&impression);
                }
            }
            let batch = columns.finish(&schema).map_err(|e| Error::machine(format!("{}: {e}", path.display())))?;
            writer.write(&batch).map_err(failed)?;
            if signal::asked() {
                return Err(Error::stopped(folder, "nothing is written"));
            }
            left -= count;
            written += count;
            progress(written);
        }
        writer.close().map_err(failed)?;
        files.push(file);
        splits.push(Split {
            file: format!("{name}.parquet"),
            rows,
            clicks,
            bought,
            mean_history: entries as f64 / rows as f64,
            bayes: scores.map(|s| s.score()).transpose()?,
        });
    }
    for file in files {
        file.commit()?;
    }
    let Size { users, goods, categories, interests } = size;
    let truth = Truth { seed: options.seed, rows: options.rows, users, goods, categories, interests, splits };
    let mut text = serde_json::to_string_pretty(&truth).map_err(|e| Error::machine(e.to_string()))?;
    text.push('\n');
    write_atomically(&truth_path, text.as_bytes())?;
    Ok(truth)
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP))
        .set_created_by("din synth".into())
        .build()
}

/// True probabilities and outcomes of a held-out file.
#[derive(Default)]
struct Scores {
    logit: Vec<f32>,
    click: Vec<bool>,
    user: Vec<u64>,
}

impl Scores {
    fn push(&mut self, impression: &Impression) {
        self.logit.push(impression.logit as f32);
        self.click.push(impression.click);
        self.user.push(u64::from(impression.user));
    }

    fn score(&self) -> Result<Score> {
        let undefined =
            |why| Error::input(format!("the synthetic log is too small to be scored ({why})")).help("raise --rows");
        Ok(Score {
            auc: auc(&self.logit, &self.click).value.map_err(undefined)?,
            gauc: gauc(&self.user, &self.logit, &self.click, GroupWeight::Impressions).value.map_err(undefined)?,
            log_loss: log_loss(&self.logit, &self.click).map_err(undefined)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::RecordBatch;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn same_seed_same_bytes_and_another_seed_others() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, seed| {
            let out = folder.path().join(name);
            let options = SynthOptions { seed, rows: 3_000, ..SynthOptions::default() };
            generate(&out, &options, &mut |_| ()).unwrap();
            ["train.parquet", "valid.parquet", "test.parquet", "truth.json"].map(|f| fs::read(out.join(f)).unwrap())
        };
        let (a, b, c) = (make("a", 5), make("b", 5), make("c", 6));
        assert_eq!(a, b);
        assert_ne!(a[0], c[0]);
        let error = generate(&folder.path().join("a"), &SynthOptions::default(), &mut |_| ()).unwrap_err();
        assert!(error.message.contains("already exists"), "{error}");
    }

    /// XXH3, 64 bits, of the values of some columns of a file, column by column.
    fn hash_of(path: &Path, names: &[&str]) -> u64 {
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
        let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for name in names {
            for batch in &batches {
                let column = batch.column_by_name(name).unwrap();
                let numbers = match column.as_list_opt::<i32>() {
                    Some(lists) => {
                        lists.offsets().windows(2).for_each(|pair| hash.update(&(pair[1] - pair[0]).to_le_bytes()));
                        lists.values().clone()
                    }
                    None => column.clone(),
                };
                numbers.as_primitive::<Int64Type>().values().iter().for_each(|x| hash.update(&x.to_le_bytes()));
            }
        }
        hash.digest()
    }

    /// What documents and tests say of the log rests on these values.
    #[test]
    fn columns_that_were_first_keep_their_values() {
        const FIRST: [&str; 12] = [
            "user_id",
            "gender",
            "age_level",
            "good_id",
            "shop_id",
            "cate_id",
            "pid",
            "time",
            "visited_good_ids",
            "visited_shop_ids",
            "visited_cate_ids",
            "click",
        ];
        let folder = tempfile::tempdir().unwrap();
        let options = SynthOptions { rows: 20_000, ..SynthOptions::default() };
        generate(folder.path(), &options, &mut |_| ()).unwrap();
        let hashes =
            ["train", "valid", "test"].map(|name| hash_of(&folder.path().join(format!("{name}.parquet")), &FIRST));
        assert_eq!(hashes, [12_874_441_106_131_296_367, 13_643_662_272_655_824_414, 10_378_510_343_074_173_966]);
    }
}
