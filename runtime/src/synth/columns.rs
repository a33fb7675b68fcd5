//! Rows of the synthetic log as Arrow columns: Table 2's, `user_id`, and `click`; then what came of
//! a click, and times.

use super::world::{Impression, Visit, World};
use arrow_array::builder::{Int64Builder, ListBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// Builders of one record batch; all numbers are int64, none is null.
#[derive(Default)]
pub struct Columns {
    /// In the order of [`PLAIN`].
    plain: [Vec<i64>; PLAIN.len()],
    lengths: Vec<usize>,
    /// In the order of [`LISTS`].
    lists: [Vec<i64>; LISTS.len()],
}

const PLAIN: [&str; 12] = [
    "user_id",
    "gender",
    "age_level",
    "good_id",
    "shop_id",
    "cate_id",
    "pid",
    "time",
    "click",
    "bought",
    "watch_ms",
    "shown_at",
];
const LISTS: [&str; 5] =
    ["visited_good_ids", "visited_shop_ids", "visited_cate_ids", "visited_times", "visited_sessions"];

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Int64, false))
}

impl Columns {
    pub fn schema() -> SchemaRef {
        let plain = PLAIN.iter().map(|&name| Field::new(name, DataType::Int64, false));
        let lists = LISTS.iter().map(|&name| Field::new(name, DataType::List(item()), false));
        Arc::new(Schema::new(plain.chain(lists).collect::<Vec<Field>>()))
    }

    /// `history` is of goods, oldest first.
    pub fn push(&mut self, i: &Impression, history: &[Visit], world: &World) {
        let row = [
            i64::from(i.user) + 1,
            i64::from(i.gender),
            i64::from(i.age_level),
            id(i.good),
            i64::from(world.shop(i.good)) + 1,
            i64::from(world.category(i.good)) + 1,
            i64::from(i.pid),
            i64::from(i.time),
            i64::from(i.click),
            i64::from(i.bought),
            i.watch_ms,
            i.shown_at,
        ];
        for (column, value) in self.plain.iter_mut().zip(row) {
            column.push(value);
        }
        self.lengths.push(history.len());
        for &Visit { good, at, session } in history {
            let entry = [
                id(good),
                i64::from(world.shop(good)) + 1,
                i64::from(world.category(good)) + 1,
                at,
                i64::from(session),
            ];
            for (column, value) in self.lists.iter_mut().zip(entry) {
                column.push(value);
            }
        }
    }

    pub fn finish(self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let Columns { plain, lengths, lists } = self;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(PLAIN.len() + LISTS.len());
        columns.extend(plain.map(|values| -> ArrayRef { Arc::new(arrow_array::Int64Array::from(values)) }));
        for values in lists {
            let mut list = ListBuilder::new(Int64Builder::with_capacity(values.len())).with_field(item());
            let mut values = values.into_iter();
            for &length in &lengths {
                list.values().append_slice(&values.by_ref().take(length).collect::<Vec<_>>());
                list.append(true);
            }
            columns.push(Arc::new(list.finish()));
        }
        RecordBatch::try_new(schema.clone(), columns)
    }
}

/// Goods are numbered by category and popularity; their ids say nothing: a bijection of 32 bits,
/// from 1.
fn id(good: u32) -> i64 {
    i64::from(good.wrapping_mul(0x9E37_79B1) ^ 0x5bd1_e995) + 1
}
